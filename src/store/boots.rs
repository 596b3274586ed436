//! Boots and epochs: by which a cursor is recognised as one of this history, or not.

use omctl_protocol::{BootId, Epoch, Position};
use rusqlite::{Connection, OptionalExtension as _, named_params};
use uuid::Uuid;

use super::{Boot, Store, StoreError, sqlite_error};
use crate::clock::{Clock, Entropy};

/// Writes this start's id and the first position it may give, before anything is served.
pub(super) fn begin(connection: &Connection, clock: &Clock, entropy: &Entropy) -> Result<Boot, StoreError> {
    let transaction = connection.unchecked_transaction().map_err(sqlite_error)?;
    let epoch: Option<[u8; 16]> = transaction
        .query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
        .optional()
        .map_err(sqlite_error)?;
    let epoch = match epoch {
        Some(bytes) => Uuid::from_bytes(bytes),
        None => {
            let epoch = entropy.uuid_v7(clock);
            transaction
                .execute("INSERT INTO meta (name, value) VALUES ('epoch', ?1)", [epoch.as_bytes().as_slice()])
                .map_err(sqlite_error)?;
            transaction
                .execute("INSERT INTO meta (name, value) VALUES ('server_secret', ?1)", [entropy.secret().as_slice()])
                .map_err(sqlite_error)?;
            transaction
                .execute("INSERT INTO meta (name, value) VALUES ('server_key', ?1)", [entropy.secret().as_slice()])
                .map_err(sqlite_error)?;
            epoch
        }
    };
    let id = entropy.uuid_v7(clock);
    let first = super::catch_up::newest(&transaction)?.next();
    const INSERT: &str = "INSERT INTO boot (id, first_position, started_ms) VALUES (:id, :first, :now)";
    transaction
        .execute(INSERT, named_params! { ":id": id.as_bytes().as_slice(), ":first": first.0, ":now": clock.now_ms() })
        .map_err(sqlite_error)?;
    transaction.commit().map_err(sqlite_error)?;
    Ok(Boot { id: BootId(id), epoch: Epoch(epoch) })
}

impl Store {
    /// Whether a device's cursor was given by this history: its epoch is ours, its boot is known, and its position is
    /// not past that boot's end.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn knows_cursor(&self, epoch: Epoch, boot: BootId, position: Position) -> Result<bool, StoreError> {
        if epoch != self.boot.epoch {
            return Ok(false);
        }
        self.read(move |connection| {
            const SELECT: &str = "SELECT coalesce(
                    (SELECT min(later.first_position) - 1 FROM boot later WHERE later.number > boot.number), :newest)
                FROM boot WHERE id = :id";
            let newest = super::catch_up::newest(connection)?;
            let end: Option<u64> = connection
                .prepare_cached(SELECT)
                .and_then(|mut statement| {
                    statement
                        .query_row(named_params! { ":id": boot.0.as_bytes().as_slice(), ":newest": newest.0 }, |row| {
                            row.get(0)
                        })
                        .optional()
                })
                .map_err(sqlite_error)?;
            // Behind a tombstone that is gone, a cursor would miss its delete.
            const EXPIRED: &str = "SELECT value FROM meta WHERE name = 'expired'";
            let expired: Option<u64> =
                connection.query_row(EXPIRED, [], |row| row.get(0)).optional().map_err(sqlite_error)?;
            let fresh = position.0 == 0 || expired.is_none_or(|expired| position.0 >= expired);
            Ok(fresh && end.is_some_and(|end| position.0 <= end))
        })
        .await
    }

    /// A secret of this server by its name in the `meta` table (`server_secret`, `server_key`): 32 bytes.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn secret(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        self.read(move |connection| {
            connection
                .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
                .map_err(sqlite_error)
        })
        .await
    }
}
