//! Boots and epochs: by which a cursor is recognised as one of this history, or not.

use omctl_protocol::{BootId, Epoch, Position};
use rusqlite::{Connection, OptionalExtension as _, named_params};
use uuid::Uuid;

use super::{Store, StoreError, sqlite_error};
use crate::clock::{Clock, Entropy};

/// A start of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Its id; cursors name it.
    pub id: BootId,
    /// The history of the log.
    pub epoch: Epoch,
}

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
    let id = BootId(entropy.uuid_v7(clock));
    let first = super::catch_up::newest(&transaction)?.next();
    note(&transaction, id, first, clock.now_ms())?;
    transaction.commit().map_err(sqlite_error)?;
    Ok(Boot { id, epoch: Epoch(epoch) })
}

/// Writes a start's id and the first position it may give.
pub(super) fn note(connection: &Connection, id: BootId, first: Position, now_ms: i64) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO boot (id, first_position, started_ms) VALUES (:id, :first, :now)";
    let named = named_params! { ":id": id.0.as_bytes().as_slice(), ":first": first.0, ":now": now_ms };
    connection.execute(INSERT, named).map(drop).map_err(sqlite_error)
}

/// Notes that what every start so far has told holds up to this position only.
pub(super) fn part_from_all(connection: &Connection, kept: Position) -> Result<(), StoreError> {
    const OURS: &str = "INSERT INTO parting (boot, position) SELECT id, :kept FROM boot WHERE true
        ON CONFLICT (boot) DO NOTHING";
    const ALL: &str = "UPDATE parting SET position = min(position, :kept)";
    for sql in [OURS, ALL] {
        connection.execute(sql, named_params! { ":kept": kept.0 }).map_err(sqlite_error)?;
    }
    Ok(())
}

/// What a device's cursor is worth here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// It was given by this history.
    Known,
    /// It was, but tombstones behind it are gone: its device would miss deletes.
    Expired,
    /// It is of another history. What both share ends here (0: nobody knows).
    Lost {
        /// The last shared position.
        kept: Position,
    },
}

impl Store {
    /// Whether a device's cursor was given by this history: its epoch is ours, its boot is known, and its position is
    /// not past that boot's end.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn cursor(&self, epoch: Epoch, boot: BootId, position: Position) -> Result<Cursor, StoreError> {
        let Boot { id: running, epoch: ours } = self.boot();
        if epoch != ours {
            return Ok(Cursor::Lost { kept: Position(0) });
        }
        self.read(move |connection| {
            let newest = super::catch_up::newest(connection)?;
            let noted = noted_parting(connection, boot)?;
            let Some((number, end)) = end_of_boot(connection, boot)? else {
                let kept = noted.map_or_else(|| parted_before(connection, boot), Ok)?;
                return Ok(Cursor::Lost { kept });
            };
            if position > end.unwrap_or(newest) {
                // A server that was set back while it ran (a snapshot of a machine) has gone on in the same boot: nobody
                // knows where.
                let kept = if boot == running { None } else { end };
                let kept = kept.map(|kept| noted.map_or(kept, |noted| noted.min(kept)));
                tracing::warn!(boot = number, %position, "a device is ahead of this server, which must have been set back");
                return Ok(Cursor::Lost { kept: kept.unwrap_or_default() });
            }
            if let Some(kept) = noted {
                return Ok(Cursor::Lost { kept });
            }
            // Behind a tombstone that is gone, a cursor would miss its delete.
            const EXPIRED: &str = "SELECT value FROM meta WHERE name = 'expired'";
            let expired: Option<u64> =
                connection.query_row(EXPIRED, [], |row| row.get(0)).optional().map_err(sqlite_error)?;
            let fresh = position.0 == 0 || expired.is_none_or(|expired| position.0 >= expired);
            Ok(if fresh { Cursor::Known } else { Cursor::Expired })
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

/// A boot's number and its last position; `None` for the end of the newest one.
fn end_of_boot(connection: &Connection, boot: BootId) -> Result<Option<(i64, Option<Position>)>, StoreError> {
    const SELECT: &str = "SELECT number,
            (SELECT min(later.first_position) - 1 FROM boot later WHERE later.number > boot.number)
        FROM boot WHERE id = :id";
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| {
            let named = named_params! { ":id": boot.0.as_bytes().as_slice() };
            statement.query_row(named, |row| Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?.map(Position)))).optional()
        })
        .map_err(sqlite_error)
}

/// Notes in a copy that is about to replace a store where their histories parted, for each start that only the store
/// knows: devices that were served by these come with their ids.
pub(super) fn note_partings(copy: &Connection, replaced: &Connection) -> rusqlite::Result<()> {
    let boots = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT id, first_position FROM boot ORDER BY number")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, u64>(1)?)))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    let known: std::collections::HashSet<[u8; 16]> = boots(copy)?.into_iter().map(|(id, _)| id).collect();
    let only_there: Vec<_> = boots(replaced)?.into_iter().filter(|(id, _)| !known.contains(id)).collect();
    let shared = only_there.iter().map(|(_, first)| first.saturating_sub(1)).min();
    let mut parted: Vec<([u8; 16], u64)> = only_there.iter().map(|(id, _)| (*id, shared.unwrap_or(0))).collect();
    // What had left the replaced history has left this one there too, or before.
    // A store of an earlier schema has noted nothing.
    if replaced.table_exists(None, "parting")? {
        let mut statement = replaced.prepare("SELECT boot, position FROM parting")?;
        let noted = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, u64>(1)?)))?;
        for row in noted {
            let (id, position): ([u8; 16], u64) = row?;
            if !known.contains(&id) {
                parted.push((id, shared.map_or(position, |shared| position.min(shared))));
            }
        }
    }
    let mut insert = copy.prepare("INSERT OR IGNORE INTO parting (boot, position) VALUES (?1, ?2)")?;
    for (id, position) in parted {
        insert.execute(rusqlite::params![id, position])?;
    }
    Ok(())
}

/// Where this history parted from that of a boot which it does not know: before the first start that came after that
/// boot. Boot ids are UUIDv7, so they rise with the server's clock; a clock that was wrong makes this wrong, and what
/// stands on it (which of two writes is kept) a guess.
fn parted_before(connection: &Connection, boot: BootId) -> Result<Position, StoreError> {
    // Where a backend was set back since, not even that is shared.
    const SELECT: &str = "SELECT min(first_position) - 1, (SELECT min(kept) FROM set_back) FROM boot WHERE id > :id";
    let named = named_params! { ":id": boot.0.as_bytes().as_slice() };
    let (shared, kept): (Option<u64>, Option<u64>) =
        connection.query_row(SELECT, named, |row| Ok((row.get(0)?, row.get(1)?))).map_err(sqlite_error)?;
    let shared = shared.unwrap_or(0);
    Ok(Position(kept.map_or(shared, |kept| kept.min(shared))))
}

/// Where this history parted from that of a boot, as it was noted: by a restore (unless the data folder was exchanged by
/// hand), and when a backend was set back.
fn noted_parting(connection: &Connection, boot: BootId) -> Result<Option<Position>, StoreError> {
    const NOTED: &str = "SELECT position FROM parting WHERE boot = :id";
    connection
        .prepare_cached(NOTED)
        .and_then(|mut statement| {
            let named = named_params! { ":id": boot.0.as_bytes().as_slice() };
            statement.query_row(named, |row| row.get(0).map(Position)).optional()
        })
        .map_err(sqlite_error)
}
