//! What goes wrong: connections, processes, disks, backends, and restores of old copies.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::{Checked, Event, World};
use crate::device::{copy, copy_into};
use crate::oracle::Mark;
use crate::rng::Rng;

impl World {
    pub(super) fn trouble(&mut self) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        self.faults += 1;
        self.plan(self.rng.between(200, 5_000), Event::Trouble);
        let device = self.rng.below(self.devices.len() as u64) as usize;
        let fault = if self.rng.percent(self.restless) { 4 } else { self.rng.below(15) };
        match fault {
            0..=3 => self.cut(device),
            4 | 5 => {
                let steps = self.rng.below(25);
                self.note(|| format!("server will die in {steps} steps"));
                self.node.crash(steps);
                if steps == 0 {
                    self.server_dies()?;
                }
            }
            6 => self.app_dies(device, false),
            7 => self.devices[device].die_in(self.rng.below(6) as i64),
            8 => self.app_dies(device, true),
            9 | 10 => {
                self.node.weather.down.store(true, Ordering::Relaxed);
                self.note(|| "backend is away".into());
                self.plan(self.rng.between(100, 8_000), Event::BackendReturns);
            }
            12 | 13 => self.back_up_device(device),
            14 => self.restore_device(device),
            _ => self.node.weather.lost_answers.store(self.rng.between(1, 3), Ordering::Relaxed),
        }
        Ok(())
    }

    /// A connection breaks, and each side notices in its own time, or much later.
    fn cut(&mut self, device: usize) {
        let Some(conn) = self.devices[device].conn else { return };
        let (up, down) = *self.rng.pick(&[(true, true), (true, true), (true, false), (false, true)]);
        self.note(|| format!("connection {conn} of device {device} is cut, up {up}, down {down}"));
        let Some(link) = self.conns.get_mut(&conn) else { return };
        link.up_cut |= up;
        link.down_cut |= down;
        let notice = |rng: &Rng| if rng.percent(60) { rng.below(100) } else { rng.below(15_000) };
        let (device_after, server_after) = (notice(&self.rng), notice(&self.rng));
        self.plan(device_after, Event::Lost(conn));
        self.plan(server_after, Event::HungUp(conn));
    }

    /// Somebody makes a copy of everything.
    pub(super) fn take_snapshot(&mut self) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        self.plan(self.rng.between(3_000, 12_000), Event::Snapshot);
        let store = self.node.store.lock().expect("nobody panics here");
        let shop = self.node.shop.lock().expect("nobody panics here");
        self.snapshot = Some(Snapshot { mark: self.oracle.mark(&store), store: copy(&store), shop: copy(&shop) });
        drop((store, shop));
        self.note(|| "a snapshot is taken".into());
        Ok(())
    }

    /// A server that died may come back with the data of its last snapshot; the backend goes on, or goes back with it.
    pub(super) fn may_set_back(&mut self) -> Checked {
        if self.is_healed() || self.snapshot.is_none() || !self.rng.percent(40) {
            return Ok(());
        }
        let with_shop = self.rng.percent(30);
        self.note(|| format!("server is set back{}", if with_shop { " with the shop" } else { "" }));
        self.faults += 1;
        self.era += 1;
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        let mut store = self.node.store.lock().expect("nobody panics here");
        self.oracle.read(&store);
        copy_into(&snapshot.store, &mut store);
        if with_shop {
            copy_into(&snapshot.shop, &mut self.node.shop.lock().expect("nobody panics here"));
        }
        self.oracle.server_is_set_back(&store, &snapshot.mark, with_shop)
    }

    /// A phone is backed up, as it stands on its disk.
    fn back_up_device(&mut self, device: usize) {
        if self.devices[device].is_running() && self.devices[device].back_up() {
            self.note(|| format!("device {device} is backed up"));
        }
    }

    /// A phone is set back to its backup.
    fn restore_device(&mut self, device: usize) {
        if !self.devices[device].is_running() || !self.devices[device].has_backup() {
            return;
        }
        self.note(|| format!("device {device} is set back to its backup"));
        self.app_dies(device, false);
        let backup = self.devices[device].restore();
        self.oracle.set_back(device, backup.written);
        let store = self.node.store.lock().expect("nobody panics here");
        self.oracle.device_is_restored(device, &backup, &store);
    }
}

/// A copy of the server's data and of the shop, taken at one moment.
pub(super) struct Snapshot {
    store: Connection,
    shop: Connection,
    mark: Mark,
}
