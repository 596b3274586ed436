//! The state log: the one transaction that moves records, memberships, receipts and id maps together.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use omctl_protocol::{
    ChannelName, Fields, Life, MutationId, Position, Receipt, RecordId, RowHash, SchemaVersion, ScopeKey, Seq,
};
use rusqlite::{Connection, OptionalExtension as _, named_params};
use sha2::{Digest as _, Sha256};

use super::feed::{LogRow, Notice};
use super::journal::Journaling;
use super::names::IdMapping;
use super::state::WriterState;
use super::{ChannelNo, DeviceNo, IncarnationNo, Store, StoreError, sqlite_error};

/// Everything that one settled run (or one piece of ingest) changes, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The session under which it is done; `None` for what the server does by itself.
    pub fence: Option<(DeviceNo, u64)>,
    /// Changes of records, in their order; one record at most once.
    pub journal: Vec<Journal>,
    /// Knows the places of records whose rules look further than the record.
    pub placer: Option<Arc<dyn Placer>>,
    /// Mutations that are accepted in the same commit and wait.
    pub accept: Option<super::Accept>,
    /// Receipts.
    pub settled: Vec<Settled>,
    /// New entries of id maps.
    pub mappings: Vec<IdMapping>,
    /// What lost or was rejected.
    pub verdicts: Vec<Verdict>,
    /// What was written into a backend for it.
    pub witness: Option<super::Witness>,
    /// Why the deletes of the journal are done, where the brake on mass deletes counts them.
    pub counted: Option<super::DeleteKind>,
    /// Of the planted bug `position_before_commit`: the position behind which this batch's begin.
    #[cfg(feature = "planted")]
    pub early: Option<u64>,
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
        /// Where it belongs; `None`: the batch's placer says so, in the transaction.
        place: Option<Place>,
        /// What is noted of it beside its body.
        aside: Aside,
    },
    /// It does not exist.
    Gone,
    /// Its backend has lost it, with everything that came at its time: whoever made it may offer it again.
    Lost,
    /// It is as it was, and the batch's placer says where it belongs now.
    Moved,
}

/// Where a record belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The scopes it is in.
    pub scopes: Vec<ScopeKey>,
    /// What it is found by.
    pub links: Vec<LinkKey>,
}

/// Something that records are found by: the first half of the SHA-256 of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey(pub [u8; 16]);

impl LinkKey {
    /// The key of a text.
    pub fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

/// A record's schema version and canonical body.
pub type Body = (SchemaVersion, String);

/// Places records whose rules look further than the record: at those that its references lead to. It is asked in the
/// transaction that writes, so that the log's places are right at every position.
pub trait Placer: Send + Sync + std::fmt::Debug {
    /// The generation of definitions that it places by.
    fn generation(&self) -> u64;

    /// Where a record belongs. `read` gives other living records as the log has them at this moment.
    fn place(
        &self,
        channel: ChannelNo,
        id: &RecordId,
        body: &Body,
        read: &mut dyn FnMut(ChannelNo, &RecordId) -> Option<Body>,
    ) -> Place;

    /// What the records are found by that inherit their place from this one; `None` where none may.
    fn children(&self, channel: ChannelNo, id: &RecordId) -> Option<LinkKey>;
}

/// What the log notes of a record beside its body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aside {
    /// The devices that wrote its fields last.
    pub writers: Writers,
    /// Fields that offered mutations left as they are.
    pub offered: Offered,
    /// Values that the current schema has no place for, by the names of the fields that they were written in: a field that
    /// was taken out by mistake comes back with what it held.
    pub kept: Fields,
}

/// An [`Aside`] as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AsideText {
    pub(super) writers: Option<String>,
    pub(super) offered: Option<String>,
    pub(super) kept: Option<String>,
}

impl Aside {
    pub(super) fn to_text(&self) -> AsideText {
        const HAS_JSON: &str = "names and numbers have a JSON form";
        AsideText {
            writers: self.writers.to_text(),
            offered: (!self.offered.is_empty()).then(|| serde_json::to_string(&self.offered).expect(HAS_JSON)),
            kept: (!self.kept.is_empty()).then(|| serde_json::to_string(&self.kept).expect(HAS_JSON)),
        }
    }
}

impl AsideText {
    fn read(&self) -> Result<Aside, StoreError> {
        fn parse<T: Default + serde::de::DeserializeOwned>(text: Option<&str>) -> Result<T, StoreError> {
            let Some(text) = text else { return Ok(T::default()) };
            serde_json::from_str(text).map_err(|error| StoreError::Damaged(format!("notes of a record: {error}")))
        }
        Ok(Aside {
            writers: Writers::from_text(self.writers.as_deref())?,
            offered: parse(self.offered.as_deref())?,
            kept: parse(self.kept.as_deref())?,
        })
    }
}

/// Fields that mutations offered again left as they are, each with the position at which that mutation stood in the
/// history that was lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Offered {
    /// Where that history parted from this one: the positions of two that were lost do not compare.
    parted: Position,
    at: BTreeMap<String, Position>,
}

impl Offered {
    /// The mutation of the history that parted there which a field holds; 0 for none of it.
    pub fn get(&self, parted: Position, field: &str) -> Option<Position> {
        self.at.get(field).copied().filter(|_| self.parted == parted)
    }

    /// Notes that a field holds a mutation of that history. What is known of another one is only a write now.
    pub fn hold(&mut self, parted: Position, field: &str, at: Position) {
        if self.parted != parted {
            self.at.clear();
            self.parted = parted;
        }
        let held = self.at.entry(field.to_owned()).or_default();
        *held = at.max(*held);
    }

    /// Notes that a field was written otherwise.
    pub fn remove(&mut self, field: &str) {
        self.at.remove(field);
    }

    fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
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

    pub(super) fn from_text(text: Option<&str>) -> Result<Self, StoreError> {
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
    /// The receipts; they are kept in the order of their seq.
    pub receipts: Vec<PendingReceipt>,
}

/// A receipt whose position is given at commit.
#[derive(Clone, Debug)]
pub struct PendingReceipt {
    /// All of it but the position.
    pub receipt: Receipt,
    /// The id that it was settled under: the mutation's own, unless another payload has that.
    pub settled_as: MutationId,
    /// Of its payload and its account.
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
#[derive(Clone, Debug)]
pub enum Committing {
    /// Durable. The position of each journal entry, in their order.
    Done(Vec<Position>),
    /// Nothing was done: these entries (by their place) stand on a read that is too old. Read again.
    Stale(Vec<usize>),
    /// Nothing was done: the batch's placer is of an earlier generation than [`Store::begin_generation`] asks for.
    Outdated(Box<Batch>),
}

/// A record as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The row.
    pub row: LogRow,
    /// What is noted of it beside its body.
    pub aside: Aside,
}

impl Store {
    /// Commits a batch whole or not at all, and publishes it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where a newer session of the device has begun; those of writing.
    pub async fn commit_batch(&self, batch: Batch) -> Result<Committing, StoreError> {
        #[cfg(feature = "planted")]
        let batch = self.spoil(batch).await?;
        self.writer
            .run(move |state, connection| {
                let is_outdated = |placer: &Arc<dyn Placer>| placer.generation() < state.generation;
                if !batch.journal.is_empty() && batch.placer.as_ref().is_some_and(is_outdated) {
                    return Ok(Committing::Outdated(Box::new(batch)));
                }
                if let Some((device, fence)) = batch.fence {
                    check_fence(connection, device, fence)?;
                }
                let mut losers = Vec::new();
                for mapping in &batch.mappings {
                    let of = |id| (mapping.channel, id);
                    losers.extend(
                        super::names::insert(connection, mapping, state.position().next())?.into_iter().map(of),
                    );
                }
                if let Some(accept) = &batch.accept {
                    super::inbox::accept(state, connection, accept)?;
                }
                #[cfg(feature = "planted")]
                let latest = batch.early.map(|early| state.go_to(early));
                let mut positions = Vec::with_capacity(batch.journal.len());
                let mut stale = Vec::new();
                let placer = batch.placer.as_deref();
                let mut journaling = Journaling { state, connection, placer, moved: Default::default() };
                for (place, entry) in batch.journal.iter().enumerate() {
                    match journaling.write(entry)? {
                        Some(position) => positions.push(position),
                        None => stale.push(place),
                    }
                }
                if !stale.is_empty() {
                    return Err(StoreError::Stale(stale));
                }
                if let Some(kind) = batch.counted {
                    super::brake::count(connection, journaling.state.clock.now_ms(), kind, &batch.journal)?;
                }
                for (channel, id) in losers {
                    journaling.bury_keyless(channel, &id)?;
                }
                #[cfg(feature = "planted")]
                if let Some(latest) = latest {
                    state.go_to(latest);
                }
                for settled in batch.settled {
                    settle(state, connection, settled, &positions)?;
                }
                for verdict in &batch.verdicts {
                    write_verdict(state, connection, verdict)?;
                }
                if let Some(witness) = &batch.witness {
                    super::set_backs::note(state, connection, witness)?;
                }
                Ok(Committing::Done(positions))
            })
            .await
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

    /// The living records that are found by these keys, with their channels.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn linked(&self, keys: Vec<LinkKey>) -> Result<Vec<(ChannelNo, Head)>, StoreError> {
        self.read(move |connection| {
            let mut found = Vec::new();
            for key in keys {
                for (channel, id) in super::journal::linked(connection, key)? {
                    let head = head_of(connection, channel, &id)?.filter(|head| head.row.body.is_some());
                    found.extend(head.map(|head| (channel, head)));
                }
            }
            Ok(found)
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
            const SELECT: &str = "SELECT position, id, life, version, body, hash, writers, offered, kept FROM log
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
                    WHERE channel.name = :channel AND log.id = :id AND log.lost = 0)";
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

fn settle(
    state: &mut WriterState,
    connection: &Connection,
    mut settled: Settled,
    positions: &[Position],
) -> Result<(), StoreError> {
    // What is refused is answered before what has to be written.
    settled.receipts.sort_by_key(|pending| pending.receipt.seq);
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
        #[cfg(feature = "planted")]
        let given = position_of_nothing(state, connection, pending)?.or(given);
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

/// The planted bug `unapplied`: the position at which a mutation without effect claims to have one. Noted, because no row
/// stands there: a device that has seen it is not ahead of us.
#[cfg(feature = "planted")]
fn position_of_nothing(
    state: &mut WriterState,
    connection: &Connection,
    pending: &PendingReceipt,
) -> Result<Option<Position>, StoreError> {
    if !crate::planted::is_chosen(crate::planted::Plant::Unapplied, pending.settled_as) {
        return Ok(None);
    }
    let position = state.next_position();
    super::prune::note(connection, "position", position.0)?;
    Ok(Some(position))
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
    const SELECT: &str = "SELECT position, id, life, version, body, hash, writers, offered, kept FROM log
        WHERE channel = :channel AND id = :id";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let mut rows = statement.query(named_params! { ":channel": channel, ":id": id.as_str() }).map_err(sqlite_error)?;
    rows.next().map_err(sqlite_error)?.map(read_head).transpose()
}

/// Reads `position, id, life, version, body, hash, writers, offered, kept`.
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
        Ok((row_read, AsideText { writers: row.get(6)?, offered: row.get(7)?, kept: row.get(8)? }))
    };
    let (row, aside) = read().map_err(sqlite_error)?;
    Ok(Head { row, aside: aside.read()? })
}
