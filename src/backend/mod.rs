//! Where the records of channels really live.
//!
//! One [`Backend`] is one system: a database file, a server. It is spoken to in its own terms: rows carry the backend's
//! keys and references, never record ids; translating them is `sync`'s work. `managed` channels have no [`Backend`]:
//! their records are the state log itself (`sync/managed.rs`).
//!
//! The order of one exactly-once write is: [`Backend::applied`] (was this mutation already done?) → [`Backend::read`] →
//! plan (elsewhere) → [`Backend::write`], which does the effect and its dedupe row in one transaction, and only if the
//! row still is as it was read. Every kind passes the one suite in `contract.rs`.
//!
//! *Invariant:* nothing here knows scopes of accounts, positions or devices.

#[doc(hidden)]
pub mod contract;
pub mod introspect;
pub mod sqlite;

pub use sqlite::SqliteBackend;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, ChannelName, ChannelSchema, FieldType, MutationId, RecordId};

/// One channel's rows in one backend: everything a backend must know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// The channel.
    pub channel: ChannelName,
    /// The table, as declared (`main.Track`, `support.tickets`, …).
    pub table: String,
    /// The key's columns in their order, with their types in the backend.
    pub key: Vec<Column>,
    /// Who makes a new row's key.
    pub assigned_by: AssignedBy,
    /// The columns, in the order of the channel's fields. A `ref` has the type of the key it points to in [`Column::kind`].
    pub columns: Vec<Column>,
    /// What every synced row has; set on insert.
    pub filter: Vec<(String, Value)>,
}

/// One column of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the backend.
    pub name: String,
    /// The type its values are canonical in.
    pub kind: FieldType,
    /// Whether it is never written (generated, for example).
    pub read_only: bool,
}

/// A row's identity in its backend: one canonical value a key column.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(pub Vec<Value>);

impl Key {
    /// The text that names this key in id maps, dedupe rows and change queues: the value's own text for one column, a
    /// canonical JSON array of the texts for several.
    pub fn to_text(&self) -> String {
        match self.0.as_slice() {
            [only] => only.to_key_text(),
            several => serde_json::Value::from(several.iter().map(Value::to_key_text).collect::<Vec<_>>()).to_string(),
        }
    }

    /// Reads [`Key::to_text`] back for a collection; `None` if the text is no key of it.
    pub fn parse(text: &str, columns: &[Column]) -> Option<Self> {
        let texts = match columns {
            [_] => vec![text.to_owned()],
            _ => serde_json::from_str::<Vec<String>>(text).ok()?,
        };
        if texts.len() != columns.len() {
            return None;
        }
        let values = texts.into_iter().zip(columns).map(|(text, column)| match column.kind {
            // The text of these two is their JSON.
            kind @ (FieldType::Bool | FieldType::Bytes) => kind.from_json(&serde_json::from_str(&text).ok()?).ok(),
            kind => kind.canonical(Value::Text(text)).ok(),
        });
        values.collect::<Option<Vec<_>>>().map(Self)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// One row as the backend holds it now.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendRow {
    /// Its key.
    pub key: Key,
    /// Canonical values in the order of [`Collection::columns`].
    pub values: Vec<Value>,
}

/// A row that cannot be represented: some value is not of its column's declared type.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRow {
    /// Its key, where that can be read.
    pub key: Option<Key>,
    /// The column.
    pub column: String,
    /// What is wrong; never the value.
    pub message: String,
}

/// A piece of a key-ordered scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Rows in key order.
    pub rows: Vec<BackendRow>,
    /// Rows that cannot be represented. They count as present.
    pub bad: Vec<BadRow>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Key>,
}

/// A planned write, to be done only if the row still is as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The mutation, for the dedupe row.
    pub mutation: MutationId,
    /// Of its payload and its account.
    pub digest: [u8; 16],
    /// The record, for the dedupe row: ingest joins it before it names an unknown key.
    pub record: RecordId,
    /// The outcome word for the dedupe row, with what lost, as JSON: what the receipt is rebuilt from after a crash.
    pub outcome: String,
    /// The effect.
    pub effect: Effect,
    /// Values of it that an earlier write of the same [`Backend::write_whole`] tells; NULL stands in their places.
    pub borrows: Vec<Borrow>,
}

/// The key of the row that an earlier write makes, for those that name this row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borrow {
    /// The earlier write, by its place in the call.
    pub from: usize,
    /// Where its row's key goes.
    pub into: Slot,
}

/// Where a borrowed key goes in a [`Write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The write is of that very row.
    Row,
    /// A column of the own row's key, by its place in [`Collection::key`].
    KeyColumn(usize),
    /// A column that is set, by its place in [`Collection::columns`].
    Column(usize),
}

/// What a [`Write`] does. Column numbers are places in [`Collection::columns`].
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Makes a row.
    Insert {
        /// The key, unless the backend assigns it.
        key: Option<Key>,
        /// Values of the columns that are not left to the backend's defaults.
        set: Vec<(usize, Value)>,
    },
    /// Changes columns of a row.
    Update {
        /// The row.
        key: Key,
        /// What must still be so (NULL-safe): what the plan was made from.
        expect: Vec<(usize, Value)>,
        /// New values.
        set: Vec<(usize, Value)>,
    },
    /// Removes a row.
    Delete {
        /// The row.
        key: Key,
        /// What must still be so (NULL-safe).
        expect: Vec<(usize, Value)>,
    },
    /// Changes nothing; only the dedupe row is written, so that the answer survives.
    Nothing {
        /// The row it was judged against, where there is one.
        key: Option<Key>,
    },
}

impl Effect {
    /// The columns that it sets, by their places in [`Collection::columns`].
    pub fn places(&self) -> Vec<usize> {
        match self {
            Self::Insert { set, .. } | Self::Update { set, .. } => set.iter().map(|(place, _)| *place).collect(),
            Self::Delete { .. } | Self::Nothing { .. } => Vec::new(),
        }
    }
}

/// How one [`Write`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// Done and durable, or (for [`Effect::Nothing`]) noted.
    Done {
        /// The row's key: the assigned one after an insert.
        key: Option<Key>,
        /// The row read back in the same transaction; `None` after a delete, or where the filter no longer matches.
        row: Option<BackendRow>,
    },
    /// The row is no longer as it was read (or gone): plan again.
    Lost,
    /// A row with this key is already there.
    Exists,
    /// The backend refuses it for good: a constraint, a trigger, a value out of range.
    Refused {
        /// Stable code: `constraint`, `reference`, `bad_value`, `not_allowed`.
        code: &'static str,
        /// The column, where the backend names it.
        column: Option<String>,
        /// The backend's reason, without values of other rows.
        message: String,
    },
    /// This mutation was already done; nothing was changed now.
    Already(Applied),
}

/// How a [`Backend::write_whole`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Whole {
    /// All of it is done and durable; each is [`Written::Done`], with its row as it was at the end.
    Done(Vec<Written>),
    /// Nothing of it is.
    Undone {
        /// The write that could not be done; `None` where the backend refused all of them together.
        at: Option<usize>,
        /// How it ended; never [`Written::Done`].
        why: Written,
    },
}

/// The dedupe row that [`Backend::install`] makes with the table: its digest is chosen by chance, so that a table which
/// was made anew is told from one that lost its rows. It is never pruned.
pub const LEDGER: MutationId = MutationId(uuid::Uuid::nil());

/// A dedupe row.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Digest of the payload that was applied under this id.
    pub digest: [u8; 16],
    /// [`Write::outcome`].
    pub outcome: String,
    /// The record.
    pub record: RecordId,
    /// The row's key, where there is one.
    pub key: Option<Key>,
}

/// An entry of the change queue: some row with this key may have changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Identifies the entry; handed back to [`Backend::forget_changes`].
    pub number: i64,
    /// The table, as in [`Collection::table`].
    pub table: String,
    /// The key, as [`Key::to_text`] (key values that cannot be parsed make it `None`: the channel is swept).
    pub key: Option<Key>,
}

/// What can be promised for one channel of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Every mutation has its effect exactly once.
    ExactlyOnce,
    /// An ambiguous write is compared, never repeated blindly.
    BestEffort,
}

impl Delivery {
    /// The word in JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly_once",
            Self::BestEffort => "best_effort",
        }
    }
}

/// How foreign edits are noticed, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Triggers fill `om_changes`.
    Queue,
    /// The whole table is read and compared.
    HashDiff,
}

impl Detection {
    /// The word in JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::HashDiff => "hash_diff",
        }
    }
}

/// What one collection looks like in the live backend, and what it can do there. Made by reading only.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Delivery of this collection as it is installed now.
    pub delivery: Delivery,
    /// Detection of this collection as it is installed now.
    pub detection: Detection,
    /// Rows that match the filter.
    pub rows: u64,
    /// What is declared and not there: the channel is paused while this is not empty.
    pub missing: Vec<String>,
    /// What to know, in sentences: a required column that is not a field, a key without an index, …
    pub notes: Vec<String>,
}

/// What goes wrong in a backend. What concerns one write is [`Written`], never this.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It cannot be reached or is busy for too long: try again later.
    #[error("backend `{backend}` is unavailable: {message}")]
    Unavailable {
        /// The backend's name in the project.
        backend: String,
        /// Its words.
        message: String,
    },
    /// Another one stands in its place: what was read of it before says nothing of this one. The next call meets it.
    #[error("backend `{backend}` was replaced by another one")]
    Replaced {
        /// The backend's name in the project.
        backend: String,
    },
    /// The table or a column is not there (any more): the channel is paused.
    #[error("backend `{backend}` has no {what}")]
    Missing {
        /// The backend's name in the project.
        backend: String,
        /// `table "x"`, `column "y" of table "x"`.
        what: String,
    },
    /// It answers what it may not.
    #[error("backend `{backend}` gave a bad answer: {message}")]
    BadResponse {
        /// The backend's name in the project.
        backend: String,
        /// What is wrong with it.
        message: String,
    },
    /// The write was sent and nobody can tell whether it was done. Only where delivery is `best_effort`.
    #[error("backend `{backend}` did not say whether the write was done: {message}")]
    Ambiguous {
        /// The backend's name in the project.
        backend: String,
        /// Its last words.
        message: String,
    },
}

impl BackendError {
    /// Whether the system as a whole is the trouble, so that the same may be asked again later.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Replaced { .. })
    }
}

/// A row of a key that was asked for: none that matches the filter, one, or one that cannot be represented.
pub type ReadRow = Option<Result<BackendRow, BadRow>>;

/// One system that records live in.
///
/// All methods are cancel-safe in this sense: a dropped future may leave its effect done, and the dedupe row then says
/// so.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Its name in the project.
    fn name(&self) -> &str;

    /// Looks at the live system, by reading only.
    fn probe<'a>(&'a self, collection: &'a Collection) -> BoxFuture<'a, Result<Probe, BackendError>>;

    /// The dedupe rows of those of these mutations that were already done. Empty where nothing is installed.
    fn applied<'a>(
        &'a self,
        mutations: &'a [MutationId],
    ) -> BoxFuture<'a, Result<HashMap<MutationId, Applied>, BackendError>>;

    /// The rows of these keys, in their order; `None` where there is none that matches the filter.
    fn read<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<ReadRow>, BackendError>>;

    /// Rows in key order, beginning behind `after`.
    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, BackendError>>;

    /// Does these writes in their order, in one transaction with a savepoint each: one that fails takes no other with
    /// it. Answers in the same order. No two writes of one call concern the same row.
    fn write<'a>(&'a self, writes: &'a [(Arc<Collection>, Write)])
    -> BoxFuture<'a, Result<Vec<Written>, BackendError>>;

    /// Does these writes in their order in one transaction, or none of them. Several may concern one row.
    fn write_whole<'a>(&'a self, writes: &'a [(Arc<Collection>, Write)]) -> BoxFuture<'a, Result<Whole, BackendError>>;

    /// Does one effect as somebody would who knows nothing of us: without a dedupe row, and told to the change queue like
    /// any foreign edit.
    fn write_foreign<'a>(
        &'a self,
        collection: &'a Collection,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Written, BackendError>>;

    /// The records that devices created under these keys, from the dedupe rows: asked before an unknown key is named.
    fn born<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<HashMap<String, RecordId>, BackendError>>;

    /// The oldest entries of the change queue of these collections. Empty where nothing is installed.
    fn changes<'a>(
        &'a self,
        collections: &'a [Arc<Collection>],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Change>, BackendError>>;

    /// Deletes journaled entries of the change queue.
    fn forget_changes<'a>(&'a self, numbers: &'a [i64]) -> BoxFuture<'a, Result<(), BackendError>>;

    /// A number that is the same as before only if nothing was committed by anybody else since; `None` where the
    /// backend cannot tell.
    fn quiet_mark(&self) -> BoxFuture<'_, Result<Option<u64>, BackendError>>;

    /// Deletes dedupe rows older than this (milliseconds since 1970).
    fn prune_applied(&self, before_ms: i64) -> BoxFuture<'_, Result<u64, BackendError>>;

    /// The statements that [`Backend::install`] runs, for people who run them themselves.
    fn install_sql(&self, collections: &[Arc<Collection>]) -> String;

    /// Creates `om_applied`, `om_changes` and the triggers of these collections. Idempotent.
    fn install<'a>(&'a self, collections: &'a [Arc<Collection>]) -> BoxFuture<'a, Result<(), BackendError>>;

    /// Removes what [`Backend::install`] made for these collections, and the shared tables with the last of them.
    fn remove<'a>(&'a self, collections: &'a [Arc<Collection>]) -> BoxFuture<'a, Result<(), BackendError>>;
}

impl Collection {
    /// The collection of a channel. `key_kind` tells the type of the (single) key column of another channel, which a
    /// `ref` to it has in the backend; `None` for composite keys, to which no `ref` can point.
    pub fn new(
        schema: &ChannelSchema,
        table: &str,
        filter: Vec<(String, Value)>,
        key_kind: impl Fn(&ChannelName) -> Option<FieldType>,
    ) -> Self {
        let kind_of = |field: &omctl_protocol::Field| match &field.to {
            Some(to) if field.kind == FieldType::Ref => key_kind(to).unwrap_or(FieldType::Text),
            _ => field.kind,
        };
        let columns: Vec<Column> = schema
            .fields
            .iter()
            .map(|field| Column { name: field.column().to_owned(), kind: kind_of(field), read_only: field.read_only })
            .collect();
        let key = schema
            .key
            .columns
            .iter()
            .map(|column| Column {
                name: column.column.clone(),
                kind: match column.field.as_deref().and_then(|name| schema.field(name)) {
                    Some((_, field)) => kind_of(field),
                    None => FieldType::Text,
                },
                read_only: false,
            })
            .collect();
        Self {
            channel: schema.channel.clone(),
            table: table.to_owned(),
            key,
            assigned_by: schema.key.assigned_by,
            columns,
            filter,
        }
    }
}
