//! Up to where devices were told that the server has their mutations.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::frame::parse_frame;
use omctl_protocol::{Down, Incarnation};
use rusqlite::{Connection, OptionalExtension as _};

use super::{Checked, Oracle, wrong};

#[derive(Debug, Default)]
pub(super) struct Watermarks {
    /// The incarnation of each device's last `hello`.
    incarnations: BTreeMap<usize, Incarnation>,
    /// Devices whose `hello` was answered: what comes for an earlier one is not about this incarnation.
    welcomed: BTreeSet<usize>,
    told: BTreeMap<Incarnation, u64>,
}

impl Watermarks {
    pub(super) fn hello(&mut self, device: usize, incarnation: Incarnation) {
        self.incarnations.insert(device, incarnation);
        self.welcomed.remove(&device);
    }

    pub(super) fn hear(&mut self, device: usize, line: &str) {
        if !line.starts_with(r#"{"welcome""#) && !line.starts_with(r#"{"accepted""#) {
            return;
        }
        let (Ok(frame), Some(incarnation)) = (parse_frame::<Down>(line), self.incarnations.get(&device)) else {
            return;
        };
        let accepted = match frame {
            Down::Welcome(welcome) => {
                self.welcomed.insert(device);
                welcome.accepted
            }
            Down::Accepted(accepted) if self.welcomed.contains(&device) => accepted.seq,
            _ => return,
        };
        let told = self.told.entry(*incarnation).or_default();
        *told = accepted.0.max(*told);
    }

    pub(super) fn forget(&mut self) {
        self.told.clear();
        self.welcomed.clear();
    }
}

impl Oracle {
    /// What a device was told to be accepted, the server still has when it comes back.
    pub(super) fn accepted_is_durable(&self, store: &Connection) -> Checked {
        for (incarnation, told) in &self.watermarks.told {
            let accepted: Option<u64> = store
                .query_row(
                    "SELECT accepted FROM main.incarnation WHERE id = ?1",
                    [incarnation.0.as_bytes().as_slice()],
                    |row| row.get(0),
                )
                .optional()
                .expect("a query");
            if accepted.unwrap_or(0) < *told {
                return wrong(format!("{told} mutations of {incarnation} were accepted, the server has {accepted:?}"));
            }
            self.kept(1, 1);
        }
        Ok(())
    }
}
