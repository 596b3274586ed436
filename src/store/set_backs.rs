//! What was written into backends lately, by which one is recognised that was set back to an old copy of itself, and what
//! becomes of the log then.
//!
//! *Invariant:* once [`Store::begin_set_back`] has committed, no cursor of an earlier start is known any more: every device
//! hears where the histories parted before it is sent a row that went back.

use omctl_protocol::{BootId, MutationId, Position, RecordId};
use rusqlite::{Connection, OptionalExtension as _, named_params};
use uuid::Uuid;

use super::boots::{self, Boot};
use super::feed::Notice;
use super::state::WriterState;
use super::{ChannelNo, IdMapping, Store, StoreError, sqlite_error};

const NEWEST_BATCH: &str = "SELECT coalesce(max(number), 0) FROM receipt_batch";

/// The newest position of the log, and the newest batch of receipts.
pub type Horizon = (Position, u64);

/// One mutation of a commit into a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The backend.
    pub backend: String,
    /// Which table of dedupe rows it stands in.
    pub ledger: [u8; 16],
    /// The mutation.
    pub mutation: MutationId,
    /// Where the store stood before it was written there: what had been settled by then, the backend had before it. `None`
    /// where it was found to be done.
    pub horizon: Option<Horizon>,
}

/// A [`Witness`] as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony {
    /// Rises with each.
    pub number: u64,
    /// Which table of dedupe rows it stands in.
    pub ledger: [u8; 16],
    /// The mutation.
    pub mutation: MutationId,
    /// As [`Witness::horizon`].
    pub horizon: Option<Horizon>,
}

/// A backend that was set back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// The backend.
    pub backend: String,
    /// What was settled up to here is there.
    pub kept: Position,
    /// Receipts in batches behind the first of these, up to the second, may tell of what is not there any more.
    pub batches: (u64, u64),
    /// The position at which the log agreed with the backend again; `None`: not yet.
    pub resumed: Option<Position>,
}

impl Store {
    /// What was noted of a backend, the newest first, beginning behind `before`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn witnesses(
        &self,
        backend: String,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Testimony>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT number, ledger, mutation, position, batch FROM witness
                WHERE backend = :backend AND number < :before ORDER BY number DESC LIMIT :limit";
            let named = named_params! {
                ":backend": backend, ":before": before.map_or(i64::MAX, |before| before as i64), ":limit": limit as i64,
            };
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let rows = statement
                .query_map(named, |row| {
                    Ok(Testimony {
                        number: row.get(0)?,
                        ledger: row.get(1)?,
                        mutation: MutationId(Uuid::from_bytes(row.get(2)?)),
                        horizon: row.get::<_, Option<u64>>(3)?.map(Position).zip(row.get(4)?),
                    })
                })
                .map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }

    /// Where the store stands.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn horizon(&self) -> Result<Horizon, StoreError> {
        self.read(|connection| {
            let batch = connection
                .prepare_cached(NEWEST_BATCH)
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .map_err(sqlite_error)?;
            Ok((super::catch_up::newest(connection)?, batch))
        })
        .await
    }

    /// The backends that were set back, in the order of that.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn set_backs(&self) -> Result<Vec<SetBack>, StoreError> {
        self.read(|connection| {
            const SELECT: &str = "SELECT backend, kept, first_batch, last_batch, resumed FROM set_back ORDER BY number";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let rows = statement
                .query_map([], |row| {
                    Ok(SetBack {
                        backend: row.get(0)?,
                        kept: Position(row.get(1)?),
                        batches: (row.get(2)?, row.get(3)?),
                        resumed: row.get::<_, Option<u64>>(4)?.map(Position),
                    })
                })
                .map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }

    /// Notes that a backend was set back to before the first of these that it lacks (`missing`, a number); what stands up
    /// to `last` is there (`None`: nobody knows how much). A new start of the server begins with it, and devices of all earlier
    /// ones are told where the histories parted.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn begin_set_back(
        &self,
        backend: String,
        missing: u64,
        last: Option<Horizon>,
    ) -> Result<SetBack, StoreError> {
        let entropy = self.entropy.clone();
        let (begun, boot) = self
            .writer
            .run(move |state, connection| {
                let boot = BootId(entropy.uuid_v7(&state.clock));
                let begun = begin(state, connection, (&backend, missing, last), boot)?;
                Ok((begun, boot))
            })
            .await?;
        let mut running = self.boot.lock().expect("nobody panics while naming a boot");
        *running = Boot { id: boot, ..*running };
        Ok(begun)
    }

    /// Notes that the log agrees with a backend again that was set back.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn finish_set_back(&self, backend: String) -> Result<Position, StoreError> {
        self.writer
            .run(move |state, connection| {
                const UPDATE: &str =
                    "UPDATE set_back SET resumed = :position WHERE backend = :backend AND resumed IS NULL";
                let position = state.position();
                let named = named_params! { ":position": position.0, ":backend": backend };
                connection.execute(UPDATE, named).map_err(sqlite_error)?;
                Ok(position)
            })
            .await
    }

    /// The records of a channel, tombstones too, that stand behind one position and not behind another, in their order.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn changed_between(
        &self,
        channel: ChannelNo,
        (after, until): (Position, Position),
        limit: usize,
    ) -> Result<Vec<(Position, RecordId)>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT position, id FROM log
                WHERE position > :after AND position <= :until AND channel = :channel ORDER BY position LIMIT :limit";
            let named = named_params! {
                ":after": after.0, ":until": until.0, ":channel": channel, ":limit": limit as i64,
            };
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let rows = statement
                .query_map(named, |row| Ok((Position(row.get(0)?), row.get::<_, String>(1)?.into())))
                .map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }

    /// The pairs of a channel's id map that were learnt behind a position.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn mapped_after(&self, channel: ChannelNo, after: Position) -> Result<Vec<IdMapping>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT id, key FROM id_map WHERE channel = :channel AND position > :after";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let named = named_params! { ":channel": channel, ":after": after.0 };
            let rows = statement
                .query_map(named, |row| {
                    Ok(IdMapping { channel, id: row.get::<_, String>(0)?.into(), key: row.get(1)? })
                })
                .map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }
}

/// Notes what a commit wrote into a backend.
pub(super) fn note(state: &WriterState, connection: &Connection, witness: &Witness) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO witness (backend, ledger, mutation, position, batch, at_ms)
        VALUES (:backend, :ledger, :mutation, :position, :batch, :at)";
    connection
        .prepare_cached(INSERT)
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":backend": witness.backend, ":ledger": witness.ledger,
                ":mutation": witness.mutation.0.as_bytes().as_slice(), ":position": witness.horizon.map(|(position, _)| position.0),
                ":batch": witness.horizon.map(|(_, batch)| batch), ":at": state.clock.now_ms(),
            })
        })
        .map(drop)
        .map_err(sqlite_error)
}

fn begin(
    state: &mut WriterState,
    connection: &Connection,
    (backend, missing, last): (&str, u64, Option<Horizon>),
    boot: BootId,
) -> Result<SetBack, StoreError> {
    const FORGET: &str = "DELETE FROM witness WHERE backend = :backend AND number >= :missing";
    const UNDONE: &str =
        "DELETE FROM set_back WHERE backend = :backend AND resumed IS NULL RETURNING kept, first_batch";
    const INSERT: &str = "INSERT INTO set_back (backend, kept, first_batch, last_batch)
        VALUES (:backend, :kept, :first, :last)";
    let (mut kept, mut first) = last.unwrap_or_default();
    // Set back once more, before the first time was done with.
    let undone: Option<(u64, u64)> = connection
        .query_row(UNDONE, named_params! { ":backend": backend }, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(sqlite_error)?;
    if let Some((earlier_kept, earlier_first)) = undone {
        (kept, first) = (kept.min(Position(earlier_kept)), first.min(earlier_first));
    }
    let newest: u64 = connection.query_row(NEWEST_BATCH, [], |row| row.get(0)).map_err(sqlite_error)?;
    let named = named_params! { ":backend": backend, ":missing": missing };
    connection.execute(FORGET, named).map_err(sqlite_error)?;
    let named = named_params! { ":backend": backend, ":kept": kept.0, ":first": first, ":last": newest };
    connection.execute(INSERT, named).map_err(sqlite_error)?;
    // What waits here was written by devices that knew nothing of the loss, and may build on what others have yet to offer.
    const WAITING: &str = "UPDATE incarnation SET kept = min(coalesce(kept, :kept), :kept)";
    connection.execute(WAITING, named_params! { ":kept": kept.0 }).map_err(sqlite_error)?;
    boots::part_from_all(connection, kept)?;
    boots::note(connection, boot, state.position().next(), state.clock.now_ms())?;
    state.publish_notice(Notice::Everyone);
    Ok(SetBack { backend: backend.to_owned(), kept, batches: (first, newest), resumed: None })
}

/// Thins out what is old, and lets go what a backend need not remember any more.
pub(super) fn prune(connection: &Connection, now_ms: i64, before_ms: i64) -> Result<u64, StoreError> {
    const OLD: &str = "DELETE FROM witness WHERE at_ms < :before";
    // Of what is older than an hour, one of ten minutes.
    const MANY: &str = "DELETE FROM witness WHERE at_ms < :hour
        AND number NOT IN (SELECT max(number) FROM witness GROUP BY backend, at_ms / 600000)";
    let old = connection.execute(OLD, named_params! { ":before": before_ms }).map_err(sqlite_error)?;
    let many = connection.execute(MANY, named_params! { ":hour": now_ms - 3_600_000 }).map_err(sqlite_error)?;
    Ok((old + many) as u64)
}
