//! What time takes away: receipts behind the restore window, tombstones behind theirs.
//!
//! A cursor older than a tombstone that is gone would miss its delete: such a cursor is not known any more, and its
//! device gets its scopes whole.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::{Store, StoreError, sqlite_error};
use crate::limits;

impl Store {
    /// Removes what is older than its time. Returns how many rows went.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        self.writer
            .run(|state, connection| {
                let now = state.clock.now_ms();
                let receipts = now - limits::RESTORE_WINDOW.as_millis() as i64;
                let tombstones = now - limits::TOMBSTONES_KEPT.as_millis() as i64;
                let verdicts = connection
                    .execute("DELETE FROM verdict WHERE at_ms < :before", named_params! { ":before": tombstones })
                    .map_err(sqlite_error)? as u64;
                let witnesses = super::set_backs::prune(connection, now, receipts)?;
                Ok(prune_receipts(connection, receipts)?
                    + prune_tombstones(connection, tombstones)?
                    + verdicts
                    + witnesses)
            })
            .await
    }
}

/// Receipts go once their device holds them and a restored server could no longer meet them.
fn prune_receipts(connection: &Connection, before_ms: i64) -> Result<u64, StoreError> {
    const MUTATIONS: &str = "DELETE FROM mutation WHERE batch IN (
        SELECT receipt_batch.number FROM receipt_batch
        JOIN incarnation ON incarnation.number = receipt_batch.incarnation
        WHERE receipt_batch.at_ms < :before AND receipt_batch.last_seq <= incarnation.acked)";
    const BATCHES: &str = "DELETE FROM receipt_batch WHERE at_ms < :before AND last_seq <= (
        SELECT acked FROM incarnation WHERE incarnation.number = receipt_batch.incarnation)";
    // Histories that no device is in any more. One that comes back to it all the same begins a new one.
    const HISTORIES: &str = "DELETE FROM incarnation WHERE seen_ms < :before
        AND number NOT IN (SELECT max(number) FROM incarnation GROUP BY device)
        AND NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.incarnation = incarnation.number)
        AND NOT EXISTS (SELECT 1 FROM receipt_batch WHERE receipt_batch.incarnation = incarnation.number)
        AND NOT EXISTS (SELECT 1 FROM mutation WHERE mutation.incarnation = incarnation.number)";
    const TOKENS: [&str; 3] = [
        "DELETE FROM access_token WHERE expires_ms < :before",
        "DELETE FROM refresh_token WHERE expires_ms < :before",
        "DELETE FROM activation_code WHERE expires_ms < :before",
    ];
    let mut gone = 0;
    for sql in [MUTATIONS, BATCHES, HISTORIES].iter().chain(&TOKENS) {
        gone += connection.execute(sql, named_params! { ":before": before_ms }).map_err(sqlite_error)? as u64;
    }
    Ok(gone)
}

fn prune_tombstones(connection: &Connection, before_ms: i64) -> Result<u64, StoreError> {
    const NEWEST_GONE: &str = "SELECT max(position) FROM (
        SELECT position FROM log WHERE body IS NULL AND at_ms < :before
        UNION ALL SELECT position FROM departed WHERE at_ms < :before)";
    const MEMBERS: &str = "DELETE FROM member WHERE position IN (
        SELECT position FROM log WHERE body IS NULL AND at_ms < :before)";
    const TOMBSTONES: &str = "DELETE FROM log WHERE body IS NULL AND at_ms < :before";
    const DEPARTED: &str = "DELETE FROM departed WHERE at_ms < :before";
    let before = named_params! { ":before": before_ms };
    let newest: Option<u64> = connection
        .query_row(NEWEST_GONE, before, |row| row.get(0))
        .optional()
        .map(Option::flatten)
        .map_err(sqlite_error)?;
    let Some(newest) = newest else { return Ok(0) };
    note_position(connection)?;
    // Older cursors are not known any more.
    note(connection, "expired", newest)?;
    let mut gone = 0;
    for sql in [MEMBERS, TOMBSTONES, DEPARTED] {
        gone += connection.execute(sql, before).map_err(sqlite_error)? as u64;
    }
    Ok(gone)
}

/// Remembers the newest position before rows are taken away: none is ever given twice, even if the newest row goes.
pub(super) fn note_position(connection: &Connection) -> Result<(), StoreError> {
    note(connection, "position", super::catch_up::newest(connection)?.0)
}

pub(super) fn note(connection: &Connection, name: &str, value: u64) -> Result<(), StoreError> {
    const NOTE: &str = "INSERT INTO meta (name, value) VALUES (:name, :value)
        ON CONFLICT (name) DO UPDATE SET value = max(value, :value)";
    connection.execute(NOTE, named_params! { ":name": name, ":value": value }).map(drop).map_err(sqlite_error)
}
