//! Bugs of the store that the simulation must find (`tests/sim`). Only with the feature `planted`.

use std::time::Duration;

use rusqlite::{Connection, named_params};

use super::log::Batch;
use super::state::WriterState;
use super::{DeviceNo, Store, StoreError, sqlite_error};
use crate::planted::has;

/// Positions that a batch takes before its turn.
const TAKEN: u64 = 64;

impl Store {
    /// A batch that has its positions before it is committed, or whose entries of id maps come with the next one.
    pub(super) async fn spoil(&self, mut batch: Batch) -> Result<Batch, StoreError> {
        if has("id_map_late") {
            let mappings = std::mem::take(&mut batch.mappings);
            batch.mappings = self.writer.run(move |state, _| Ok(state.put_off(mappings))).await?;
        }
        if has("position_before_commit") && !batch.journal.is_empty() {
            batch.early = Some(self.writer.run(|state, _| Ok(state.take_positions(TAKEN))).await?);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(batch)
    }

    /// Whether anything of a device was ever refused.
    pub(crate) async fn was_refused(&self, device: DeviceNo) -> Result<bool, StoreError> {
        const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM verdict WHERE device = ?1 AND outcome = 'rejected')";
        self.read(move |connection| connection.query_row(SELECT, [device], |row| row.get(0)).map_err(sqlite_error))
            .await
    }
}

/// Tombstones of a few seconds are gone, and no cursor is the worse for it.
pub(super) fn forget_tombstones(state: &WriterState, connection: &Connection) -> Result<(), StoreError> {
    if !has("tombstones_short") {
        return Ok(());
    }
    super::prune::note_position(connection)?;
    let before = named_params! { ":before": state.clock.now_ms() - 3_000 };
    for sql in [
        "DELETE FROM member WHERE position IN (SELECT position FROM log WHERE body IS NULL AND at_ms < :before)",
        "DELETE FROM log WHERE body IS NULL AND at_ms < :before",
    ] {
        connection.execute(sql, before).map_err(sqlite_error)?;
    }
    Ok(())
}
