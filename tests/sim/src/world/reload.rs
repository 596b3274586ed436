//! Other definitions, while the server runs.

use super::{Checked, Event, World};
use crate::fault::Fault;

impl World {
    pub(super) fn plan_reload(&mut self) {
        if self.faults.may(Fault::HotReload) && self.faults.may(Fault::Schema) {
            self.plan(self.rng.between(2_000, 12_000), Event::Reload);
        }
    }

    pub(super) fn reload(&mut self) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        self.plan(self.rng.between(2_000, 15_000), Event::Reload);
        let next = 1 - self.catalog;
        if self.reloading || !self.node.reload(&self.catalogs[next]) {
            return Ok(());
        }
        self.reloading = true;
        self.note(|| format!("definitions {next} are saved"));
        // What they open may be seen from the first moment on, and what they close until the last.
        let _spared = self.node.disk.spare();
        self.oracle.definitions_come(next, &self.node.store.lock().expect("nobody panics here"));
        Ok(())
    }

    pub(super) fn reloaded(&mut self, is_live: bool) {
        self.reloading = false;
        if is_live {
            self.catalog = 1 - self.catalog;
            self.faults.count(Fault::HotReload);
            self.count_new_definitions();
        }
        let catalog = self.catalog;
        self.note(|| format!("definitions {catalog} are live"));
        let _spared = self.node.disk.spare();
        self.oracle.definitions_are(catalog, &self.node.store.lock().expect("nobody panics here"));
    }
}
