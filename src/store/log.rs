//! The state log: the one transaction that moves records, memberships, receipts and id maps together.

use std::collections::{BTreeMap, HashSet};

use omctl_protocol::{
    ChannelName, Life, MutationId, Position, Receipt, RecordId, RowHash, SchemaVersion, ScopeKey, Seq,
};
use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::feed::{LogRow, Notice};
use super::names::IdMapping;
use super::state::WriterState;
use super::{ChannelNo, DeviceNo, IncarnationNo, ScopeNo, Store, StoreError, sqlite_error};

/// Everything that one settled run (or one piece of ingest) changes, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The session under which it is done; `None` for what the server does by itself.
    pub fence: Option<(DeviceNo, u64)>,
    /// Changes of records, in their order; one record at most once.
    pub journal: Vec<Journal>,
    /// Mutations that are accepted in the same commit and wait.
    pub accept: Option<super::Accept>,
    /// Receipts.
    pub settled: Vec<Settled>,
    /// New entries of id maps.
    pub mappings: Vec<IdMapping>,
    /// What lost or was rejected.
    pub verdicts: Vec<Verdict>,
    /// Why the deletes of the journal are done, where the brake on mass deletes counts them.
    pub counted: Option<super::DeleteKind>,
}

/// One changed record.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The channel.
    pub channel: ChannelNo,
    /// The record.
    pub id: RecordId,
    /// The log's newest position when the read that this stands on began. If the record was journaled after it, this
    /// is stale: [`Committing::Stale`].
    pub as_of: Position,
    /// What became of it.
    pub change: JournalChange,
}

/// What became of a record.
#[derive(Clone, Debug)]
pub enum JournalChange {
    /// It exists and looks so. Where nothing of it changed, its position stays.
    Put {
        /// The schema version of the body.
        version: SchemaVersion,
        /// The canonical body.
        body: Vec<u8>,
        /// The scopes it is in.
        scopes: Vec<ScopeKey>,
        /// The devices that wrote its fields last.
        writers: Writers,
    },
    /// It does not exist.
    Gone,
}

/// The last writer per field, where that was a device; `*` stands for every field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers(pub BTreeMap<String, u64>);

impl Writers {
    /// Whether this incarnation wrote the field last.
    pub fn wrote(&self, incarnation: IncarnationNo, field: &str) -> bool {
        self.0.get(field).or_else(|| self.0.get("*")) == Some(&incarnation.0)
    }

    /// Notes a write of one field.
    pub fn note(&mut self, incarnation: IncarnationNo, field: &str) {
        self.0.insert(field.to_owned(), incarnation.0);
    }

    /// Notes that somebody who is no device wrote the field.
    pub fn forget(&mut self, field: &str) {
        if self.0.contains_key("*") {
            self.0.insert(field.to_owned(), 0);
        } else {
            self.0.remove(field);
        }
    }

    /// Every field was written by this incarnation.
    pub fn all(incarnation: IncarnationNo) -> Self {
        Self(BTreeMap::from([("*".to_owned(), incarnation.0)]))
    }

    fn to_text(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| serde_json::to_string(&self.0).expect("numbers by name have a JSON form"))
    }

    fn from_text(text: Option<&str>) -> Result<Self, StoreError> {
        let Some(text) = text else { return Ok(Self::default()) };
        serde_json::from_str(text).map(Self).map_err(|error| StoreError::Damaged(format!("writers: {error}")))
    }
}

/// Receipts of one incarnation.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Whose they are.
    pub device: DeviceNo,
    /// In which history.
    pub incarnation: IncarnationNo,
    /// The new watermark, where these mutations were not in the inbox before.
    pub accepted: Option<Seq>,
    /// The receipts, in the order of their seq.
    pub receipts: Vec<PendingReceipt>,
}

/// A receipt whose position is given at commit.
#[derive(Clone, Debug)]
pub struct PendingReceipt {
    /// All of it but the position.
    pub receipt: Receipt,
    /// The id that it was settled under: the mutation's own, unless another payload has that.
    pub settled_as: MutationId,
    /// [`omctl_protocol::Mutation::payload_digest`]
    pub digest: [u8; 16],
    /// The place in [`Batch::journal`] where its effect is.
    pub journal: Option<usize>,
}

/// What lost in a conflict, or why something was rejected.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The mutation.
    pub mutation: MutationId,
    /// Its device.
    pub device: DeviceNo,
    /// The channel.
    pub channel: ChannelName,
    /// The record.
    pub id: RecordId,
    /// The receipt's outcome word.
    pub outcome: String,
    /// The receipt's code.
    pub code: Option<String>,
    /// Losing values, message and the mutation itself, as JSON.
    pub detail: String,
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Committing {
    /// Durable. The position of each journal entry, in their order.
    Done(Vec<Position>),
    /// Nothing was done: these entries (by their place) stand on a read that is too old. Read again.
    Stale(Vec<usize>),
}

/// A record as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The row.
    pub row: LogRow,
    /// The devices that wrote its fields last.
    pub writers: Writers,
}

impl Store {
    /// Commits a batch whole or not at all, and publishes it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where a newer session of the device has begun; those of writing.
    pub async fn commit_batch(&self, batch: Batch) -> Result<Committing, StoreError> {
        self.writer
            .run(move |state, connection| {
                if let Some((device, fence)) = batch.fence {
                    check_fence(connection, device, fence)?;
                }
                let mut losers = Vec::new();
                for mapping in &batch.mappings {
                    let of = |id| (mapping.channel, id);
                    losers.extend(super::names::insert(connection, mapping)?.into_iter().map(of));
                }
                if let Some(accept) = &batch.accept {
                    super::inbox::accept(state, connection, accept)?;
                }
                let mut positions = Vec::with_capacity(batch.journal.len());
                let mut stale = Vec::new();
                for (place, entry) in batch.journal.iter().enumerate() {
                    match journal(state, connection, entry)? {
                        Some(position) => positions.push(position),
                        None => stale.push(place),
                    }
                }
                if !stale.is_empty() {
                    return Err(StoreError::Stale(stale));
                }
                if let Some(kind) = batch.counted {
                    super::brake::count(connection, state.clock.now_ms(), kind, &batch.journal)?;
                }
                for (channel, id) in losers {
                    bury_keyless(state, connection, channel, &id)?;
                }
                for settled in batch.settled {
                    settle(state, connection, settled, &positions)?;
                }
                for verdict in &batch.verdicts {
                    write_verdict(state, connection, verdict)?;
                }
                Ok(positions)
            })
            .await
            .map(Committing::Done)
            .or_else(|error| match error {
                StoreError::Stale(places) => Ok(Committing::Stale(places)),
                other => Err(other),
            })
    }

    /// The records of these ids as the log has them (tombstones too), with the log's newest position at that moment.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn heads(
        &self,
        records: Vec<(ChannelNo, RecordId)>,
    ) -> Result<(Position, Vec<Option<Head>>), StoreError> {
        self.read(move |connection| {
            let head = super::catch_up::newest(connection)?;
            let heads = records.iter().map(|(channel, id)| head_of(connection, *channel, id));
            Ok((head, heads.collect::<Result<_, _>>()?))
        })
        .await
    }

    /// The live records of a channel in the order of their ids, beginning behind `after`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn live_records(
        &self,
        channel: ChannelNo,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<(Position, Vec<Head>), StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT position, id, life, version, body, hash, writers FROM log
                WHERE channel = :channel AND id > :after AND body IS NOT NULL ORDER BY id LIMIT :limit";
            let position = super::catch_up::newest(connection)?;
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let mut rows = statement
                .query(named_params! {
                    ":channel": channel, ":after": after.as_ref().map_or("", RecordId::as_str), ":limit": limit as i64,
                })
                .map_err(sqlite_error)?;
            let mut heads = Vec::new();
            while let Some(row) = rows.next().map_err(sqlite_error)? {
                heads.push(read_head(row)?);
            }
            Ok((position, heads))
        })
        .await
    }

    /// The ids of a channel's live records in their order, beginning behind `after`.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn live_ids(
        &self,
        channel: ChannelNo,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<RecordId>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT id FROM log
                WHERE channel = :channel AND id > :after AND hash IS NOT NULL ORDER BY id LIMIT :limit";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let rows = statement
                .query_map(
                    named_params! {
                        ":channel": channel, ":after": after.as_ref().map_or("", RecordId::as_str),
                        ":limit": limit as i64,
                    },
                    |row| row.get::<_, String>(0),
                )
                .map_err(sqlite_error)?;
            rows.map(|id| id.map(RecordId::from)).collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }

    /// How many live records a channel has.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn live_count(&self, channel: ChannelNo) -> Result<u64, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT count(*) FROM log WHERE channel = ?1 AND body IS NOT NULL";
            connection
                .prepare_cached(SELECT)
                .and_then(|mut s| s.query_row([channel], |row| row.get(0)))
                .map_err(sqlite_error)
        })
        .await
    }

    /// The newest position of the log.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn newest_position(&self) -> Result<Position, StoreError> {
        self.read(super::catch_up::newest).await
    }

    /// Those of these records that were to be made by a create which was rejected.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn rejected_creates(
        &self,
        records: Vec<(ChannelName, RecordId)>,
    ) -> Result<HashSet<(ChannelName, RecordId)>, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM verdict
                WHERE channel = :channel AND id = :id AND outcome = 'rejected'
                AND json_extract(detail, '$.mutation.op') = 'create')
                AND NOT EXISTS (SELECT 1 FROM log JOIN channel ON channel.number = log.channel
                    WHERE channel.name = :channel AND log.id = :id)";
            let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
            let mut rejected = HashSet::new();
            for (channel, id) in records {
                let parameters = named_params! { ":channel": channel.as_str(), ":id": id.as_str() };
                if statement.query_row(parameters, |row| row.get(0)).map_err(sqlite_error)? {
                    rejected.insert((channel, id));
                }
            }
            Ok(rejected)
        })
        .await
    }

    /// Tells live sessions that what an account or a device may do has changed.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn publish(&self, notice: Notice) -> Result<(), StoreError> {
        self.writer
            .run(move |state, _| {
                state.publish_notice(notice);
                Ok(())
            })
            .await
    }
}

/// Refuses a session that is not its device's newest, or whose device may not act any more.
pub(super) fn check_fence(connection: &Connection, device: DeviceNo, fence: u64) -> Result<(), StoreError> {
    const SELECT: &str = "SELECT fence = :fence AND state = 'active' FROM device WHERE number = :device";
    let holds: Option<bool> = connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| {
            statement.query_row(named_params! { ":device": device, ":fence": fence }, |row| row.get(0)).optional()
        })
        .map_err(sqlite_error)?;
    if holds == Some(true) { Ok(()) } else { Err(StoreError::Fenced) }
}

/// What the log has of a record before it is journaled.
struct Before {
    position: Position,
    life: Life,
    version: SchemaVersion,
    body: Option<String>,
    hash: Option<RowHash>,
    writers: Option<String>,
    scopes: Vec<ScopeNo>,
}

fn before(connection: &Connection, channel: ChannelNo, id: &RecordId) -> Result<Option<Before>, StoreError> {
    const SELECT: &str = "SELECT position, life, version, body, hash, writers, scopes FROM log
        WHERE channel = :channel AND id = :id";
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| {
            statement
                .query_row(named_params! { ":channel": channel, ":id": id.as_str() }, |row| {
                    Ok(Before {
                        position: Position(row.get(0)?),
                        life: Life(row.get(1)?),
                        version: SchemaVersion(row.get(2)?),
                        body: row.get(3)?,
                        hash: row.get::<_, Option<[u8; 16]>>(4)?.map(RowHash::from_bytes),
                        writers: row.get(5)?,
                        scopes: unpack_scopes(&row.get::<_, Vec<u8>>(6)?),
                    })
                })
                .optional()
        })
        .map_err(sqlite_error)
}

/// Journals one record; `None` where the read that it stands on is older than what the log has.
fn journal(state: &mut WriterState, connection: &Connection, entry: &Journal) -> Result<Option<Position>, StoreError> {
    let before = before(connection, entry.channel, &entry.id)?;
    if before.as_ref().is_some_and(|before| before.position > entry.as_of) {
        return Ok(None);
    }
    let position = match &entry.change {
        JournalChange::Gone => bury(state, connection, entry, before),
        JournalChange::Put { version, body, scopes, writers } => {
            let channel = state.channel_name(entry.channel).cloned().ok_or(StoreError::NotFound("channel"))?;
            let body = std::str::from_utf8(body).map_err(|_| StoreError::Damaged("a body is not UTF-8".into()))?;
            let life = match &before {
                None => Life(1),
                Some(Before { life, body: None, .. }) => Life(life.0 + 1),
                Some(Before { life, .. }) => *life,
            };
            let mut numbers = Vec::with_capacity(scopes.len());
            for key in scopes {
                numbers.push(state.scope_number(connection, entry.channel, key)?);
            }
            numbers.sort_unstable();
            let writers = writers.to_text();
            if let Some(before) = &before {
                let same = before.body.as_deref() == Some(body) && before.version == *version;
                if same && before.scopes == numbers {
                    if before.writers != writers {
                        update_writers(connection, before.position, writers.as_deref())?;
                    }
                    return Ok(Some(before.position));
                }
            }
            let row = LogRow {
                position: state.next_position(),
                id: entry.id.clone(),
                life,
                version: *version,
                body: Some(body.to_owned()),
                hash: Some(RowHash::of(&channel, &entry.id, life, body.as_bytes())),
            };
            move_row(state, connection, entry.channel, before, row, numbers, writers)
        }
    };
    position.map(Some)
}

fn bury(
    state: &mut WriterState,
    connection: &Connection,
    entry: &Journal,
    before: Option<Before>,
) -> Result<Position, StoreError> {
    let Some(before) = before else { return Ok(Position(0)) };
    if before.body.is_none() {
        return Ok(before.position);
    }
    let row = LogRow {
        position: state.next_position(),
        id: entry.id.clone(),
        life: before.life,
        version: before.version,
        body: None,
        hash: None,
    };
    let scopes = before.scopes.clone();
    move_row(state, connection, entry.channel, Some(before), row, scopes, None)
}

/// Buries a record whose key is another record's now: one row is one record.
fn bury_keyless(
    state: &mut WriterState,
    connection: &Connection,
    channel: ChannelNo,
    id: &RecordId,
) -> Result<(), StoreError> {
    if super::names::is_mapped(connection, channel, id)? {
        return Ok(());
    }
    let entry = Journal { channel, id: id.clone(), as_of: state.position(), change: JournalChange::Gone };
    bury(state, connection, &entry, before(connection, channel, id)?).map(drop)
}

/// Takes a record's row from its old position to its new one, and its memberships with it.
fn move_row(
    state: &mut WriterState,
    connection: &Connection,
    channel: ChannelNo,
    before: Option<Before>,
    row: LogRow,
    scopes: Vec<ScopeNo>,
    writers: Option<String>,
) -> Result<Position, StoreError> {
    const DELETE: &str = "DELETE FROM log WHERE position = :position";
    const INSERT: &str = "INSERT INTO log (position, channel, id, life, version, body, hash, writers, scopes, at_ms)
        VALUES (:position, :channel, :id, :life, :version, :body, :hash, :writers, :scopes, :at)";
    const LEAVE: &str = "DELETE FROM member WHERE scope = :scope AND position = :position";
    const JOIN: &str = "INSERT INTO member (scope, position) VALUES (:scope, :position)";
    const DEPART: &str = "INSERT INTO departed (scope, position, channel, id, at_ms)
        VALUES (:scope, :position, :channel, :id, :at)";
    let (position, at) = (row.position, state.clock.now_ms());
    let (old_scopes, old_hash) = before.as_ref().map_or((&[][..], None), |before| (&before.scopes[..], before.hash));
    let cached = |sql| connection.prepare_cached(sql).map_err(sqlite_error);
    if let Some(before) = &before {
        cached(DELETE)?.execute(named_params! { ":position": before.position.0 }).map_err(sqlite_error)?;
        for scope in &before.scopes {
            cached(LEAVE)?
                .execute(named_params! { ":scope": scope, ":position": before.position.0 })
                .map_err(sqlite_error)?;
        }
    }
    cached(INSERT)?
        .execute(named_params! {
            ":position": position.0, ":channel": channel, ":id": row.id.as_str(), ":life": row.life.0,
            ":version": row.version.0, ":body": row.body, ":hash": row.hash.map(RowHash::to_bytes),
            ":writers": writers, ":scopes": pack_scopes(&scopes), ":at": at,
        })
        .map_err(sqlite_error)?;
    for scope in &scopes {
        cached(JOIN)?.execute(named_params! { ":scope": scope, ":position": position.0 }).map_err(sqlite_error)?;
        let was_in = old_scopes.contains(scope);
        state.change_sum(*scope, old_hash.filter(|_| was_in), row.hash);
    }
    for scope in old_scopes.iter().filter(|scope| !scopes.contains(scope)) {
        cached(DEPART)?
            .execute(named_params! {
                ":scope": scope, ":position": position.0, ":channel": channel, ":id": row.id.as_str(), ":at": at,
            })
            .map_err(sqlite_error)?;
        state.change_sum(*scope, old_hash, None);
        state.publish_left(*scope, row.id.clone(), position);
    }
    state.publish_row(&scopes, row);
    Ok(position)
}

fn update_writers(connection: &Connection, position: Position, writers: Option<&str>) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE log SET writers = :writers WHERE position = :position";
    connection
        .prepare_cached(UPDATE)
        .and_then(|mut statement| statement.execute(named_params! { ":writers": writers, ":position": position.0 }))
        .map(drop)
        .map_err(sqlite_error)
}

fn settle(
    state: &mut WriterState,
    connection: &Connection,
    settled: Settled,
    positions: &[Position],
) -> Result<(), StoreError> {
    const BATCH: &str = "INSERT INTO receipt_batch (incarnation, last_seq, body, at_ms)
        VALUES (:incarnation, :last, :body, :at)";
    const NOTE: &str = "INSERT INTO mutation (id, digest, incarnation, seq, batch)
        VALUES (:id, :digest, :incarnation, :seq, :batch)
        ON CONFLICT (id) DO UPDATE SET batch = :batch";
    const TAKE: &str = "DELETE FROM inbox WHERE incarnation = :incarnation AND seq = :seq";
    const ACCEPT: &str = "UPDATE incarnation SET accepted = max(accepted, :seq) WHERE number = :incarnation";
    let now = state.clock.now_ms();
    let mut receipts = Vec::with_capacity(settled.receipts.len());
    for pending in &settled.receipts {
        let given = pending.journal.and_then(|place| positions.get(place)).copied().filter(|p| p.0 > 0);
        receipts.push(Receipt { position: given.or(pending.receipt.position), ..pending.receipt.clone() });
    }
    if !receipts.is_empty() {
        let body = serde_json::to_string(&receipts).expect("receipts always have a JSON form");
        let last = receipts.iter().map(|receipt| receipt.seq.0).max().unwrap_or(0);
        connection
            .prepare_cached(BATCH)
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":incarnation": settled.incarnation, ":last": last, ":body": body, ":at": now,
                })
            })
            .map_err(sqlite_error)?;
        let batch = connection.last_insert_rowid();
        let mut note = connection.prepare_cached(NOTE).map_err(sqlite_error)?;
        for pending in &settled.receipts {
            note.execute(named_params! {
                ":id": pending.settled_as.0.as_bytes().as_slice(), ":digest": pending.digest,
                ":incarnation": settled.incarnation, ":seq": pending.receipt.seq.0, ":batch": batch,
            })
            .map_err(sqlite_error)?;
        }
        if settled.accepted.is_none() {
            let mut take = connection.prepare_cached(TAKE).map_err(sqlite_error)?;
            for pending in &settled.receipts {
                take.execute(named_params! {
                    ":incarnation": settled.incarnation, ":seq": pending.receipt.seq.0,
                })
                .map_err(sqlite_error)?;
            }
        }
    }
    if let Some(accepted) = settled.accepted {
        connection
            .prepare_cached(ACCEPT)
            .and_then(|mut statement| {
                statement.execute(named_params! { ":incarnation": settled.incarnation, ":seq": accepted.0 })
            })
            .map_err(sqlite_error)?;
    }
    state.publish_receipts(settled.device, settled.incarnation, receipts);
    Ok(())
}

fn write_verdict(state: &WriterState, connection: &Connection, verdict: &Verdict) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT INTO verdict (mutation, device, channel, id, outcome, code, detail, at_ms)
        VALUES (:mutation, :device, :channel, :id, :outcome, :code, :detail, :at)";
    connection
        .prepare_cached(INSERT)
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":mutation": verdict.mutation.0.as_bytes().as_slice(), ":device": verdict.device,
                ":channel": verdict.channel.as_str(), ":id": verdict.id.as_str(), ":outcome": verdict.outcome,
                ":code": verdict.code, ":detail": verdict.detail, ":at": state.clock.now_ms(),
            })
        })
        .map(drop)
        .map_err(sqlite_error)
}

pub(super) fn head_of(connection: &Connection, channel: ChannelNo, id: &RecordId) -> Result<Option<Head>, StoreError> {
    const SELECT: &str = "SELECT position, id, life, version, body, hash, writers FROM log
        WHERE channel = :channel AND id = :id";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let mut rows = statement.query(named_params! { ":channel": channel, ":id": id.as_str() }).map_err(sqlite_error)?;
    rows.next().map_err(sqlite_error)?.map(read_head).transpose()
}

/// Reads `position, id, life, version, body, hash, writers`.
fn read_head(row: &rusqlite::Row<'_>) -> Result<Head, StoreError> {
    let read = || -> rusqlite::Result<_> {
        let row_read = LogRow {
            position: Position(row.get(0)?),
            id: row.get::<_, String>(1)?.into(),
            life: Life(row.get(2)?),
            version: SchemaVersion(row.get(3)?),
            body: row.get(4)?,
            hash: row.get::<_, Option<[u8; 16]>>(5)?.map(RowHash::from_bytes),
        };
        Ok((row_read, row.get::<_, Option<String>>(6)?))
    };
    let (row, writers) = read().map_err(sqlite_error)?;
    Ok(Head { row, writers: Writers::from_text(writers.as_deref())? })
}

fn pack_scopes(scopes: &[ScopeNo]) -> Vec<u8> {
    scopes.iter().flat_map(|scope| scope.0.to_le_bytes()).collect()
}

fn unpack_scopes(blob: &[u8]) -> Vec<ScopeNo> {
    blob.as_chunks::<8>().0.iter().map(|chunk| ScopeNo(u64::from_le_bytes(*chunk))).collect()
}
