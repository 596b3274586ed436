//! The local store: one SQLite file that is the app's own, and the tables beside the app's that keep it in step.
//!
//! *Invariant:* every public method is one intent and one transaction; no transaction leaves this module, and nothing
//! here knows of sockets. Server rows are written with triggers off, the app's writes with triggers on.
//!
//! Durability: the file is in WAL mode with `synchronous=NORMAL`, which a killed app cannot hurt and a power cut can
//! only set back. Set back consistently: a lost sealing makes the server begin a new incarnation, a lost download is
//! downloaded again. Only a commit with receipts is made with `FULL`, because the `ack` after it lets the server forget.
//!
//! Read next: `ddl` (tables and triggers), `seal` (up), `session` and `apply` (down), `overlay` (both together).

mod account;
mod apply;
mod atomic;
mod audit;
mod channels;
mod coalesce;
mod commit;
mod ddl;
mod fields;
mod hold_back;
mod incarnation;
pub(crate) mod lock;
mod order;
mod outbox;
mod overlay;
mod reconcile;
mod scopes;
mod seal;
mod session;
mod state;
pub(crate) mod values;

#[cfg(test)]
mod healing;
#[cfg(test)]
mod locking;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reshaping;
#[cfg(test)]
mod sealing;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omctl_protocol::{ChannelName, ChannelSchema, Incarnation, MutationId, Operation, Position, RowHash, Seq};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

#[cfg(feature = "http")]
pub(crate) use self::atomic::write_as_guest as write_atomic_as_guest;
pub use self::audit::Audit;
pub use self::commit::CommitOutcome;
pub use self::lock::Lock;
pub use self::outbox::{Answer, Rejected};
pub use self::session::Welcomed;

use self::channels::Channels;
use self::ddl::quote;
use self::session::Session;
pub(crate) use self::session::{is_rows, parse_down};
use crate::Entropy;

/// The oldest SQLite whose WAL cannot lose a committed write (<https://sqlite.org/wal.html#walresetbug>), as
/// `sqlite3_libversion_number` counts.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long settled mutations are kept: as long as a restored server may ask for them again.
const RESTORE_WINDOW_MS: i64 = 30 * 24 * 60 * 60 * 1000;

pub(crate) type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the local store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no.
    #[error("local database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The SQLite of this build may lose committed writes.
    #[error("SQLite {found} is older than 3.51.3")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// A table of ours holds what we never wrote.
    #[error("`{what}` is damaged")]
    Corrupt {
        /// The table.
        what: &'static str,
        /// What the parser says.
        source: Option<serde_json::Error>,
    },
    /// The server sent what is not a frame.
    #[error("server sent a malformed frame")]
    Frame(#[source] serde_json::Error),
    /// The server sent rows in a schema version it never named.
    #[error("server sent rows of `{channel}` in unknown version {version}")]
    UnknownVersion {
        /// The channel.
        channel: ChannelName,
        /// The version.
        version: omctl_protocol::SchemaVersion,
    },
    /// The server sent a row with another number of values than its schema has fields.
    #[error("server sent a row of `{channel}` with the wrong number of values")]
    BadRow {
        /// The channel.
        channel: ChannelName,
    },
    /// The server sent a value that is not of its field's type.
    #[error("server sent a malformed value")]
    BadValue(#[source] omctl_protocol::ValueError),
    /// The channel is not one of this device's.
    #[error("no channel `{0}` on this device")]
    UnknownChannel(ChannelName),
    /// The mutation is not on the rejected list.
    #[error("mutation {id} is not on the rejected list")]
    NotRejected {
        /// The mutation.
        id: MutationId,
    },
    /// The transaction cannot be applied whole or not at all; nothing of it is written.
    #[error("the transaction cannot be atomic: {0}")]
    NotAtomic(String),
    /// The device is not activated.
    #[error("device is not activated")]
    NotActivated,
    /// The server ordered something with a number that no command has, or without the signature of the server that this
    /// device pinned at its activation.
    #[error("an order is not signed by this device's server")]
    BadCommand,
    /// The app may not touch its data.
    #[error("the data of this device is locked: {}", .0.reason())]
    Locked(Lock),
    /// A schema that cannot become a table.
    #[error("channel `{0}` cannot be a table on this device")]
    BadSchema(ChannelName),
}

impl StoreError {
    /// Whether the server's words are to blame, not this device's disk.
    pub fn is_protocol(&self) -> bool {
        matches!(
            self,
            Self::BadCommand
                | Self::Frame(_)
                | Self::UnknownVersion { .. }
                | Self::BadRow { .. }
                | Self::BadValue(_)
                | Self::BadSchema(_)
        )
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Random bytes for incarnations; seeded ones replace SQLite's own too.
    pub entropy: Entropy,
    /// Received bytes that are kept in memory before they go to the disk, uncommitted.
    pub batch_bytes_max: usize,
    /// Most rows that are copied once more where a table takes the place of another, after a channel's first sync or a
    /// change of its fields. More than that take it by a rename, for which SQLite reads every table and trigger of the file
    /// anew.
    pub copy_rows_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { entropy: Entropy::System, batch_bytes_max: 4 * 1024 * 1024, copy_rows_max: 1_000 }
    }
}

/// The local store of one device.
///
/// ```
/// use omctl_device::{Store, StoreOptions};
/// use omctl_protocol::ChannelSchema;
///
/// let schema: ChannelSchema = serde_json::from_str(r#"{
///     "channel": "notes", "version": 1, "writable": true,
///     "key": {"assigned_by": "device", "columns": [{"column": "id"}]},
///     "fields": [{"name": "title", "type": "text"}]
/// }"#).unwrap();
/// let conn = rusqlite::Connection::open_in_memory().unwrap();
/// let mut store = Store::from_connection(conn, StoreOptions::default()).unwrap();
/// store.install_schema(&schema).unwrap();
/// let (_, write) = store.write(|tx| tx.execute("INSERT INTO notes (title) VALUES ('milk')", [])).unwrap();
/// assert_eq!(store.stats().unwrap().pending, 1);
/// assert!(store.answers(write).unwrap().is_none(), "saved, not settled");
/// ```
#[derive(Debug)]
pub struct Store {
    /// The engine's connection.
    conn: Connection,
    /// The app's, where the file has one: on the engine's own, triggers stay off for good, because switching them makes
    /// SQLite compile every statement anew.
    app: Option<Connection>,
    /// Whether triggers are on, where app and engine share a connection.
    triggers: AtomicBool,
    options: StoreOptions,
    channels: Channels,
    session: Session,
    lease: lock::Lease,
}

/// One write of the app: its group number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write(pub(crate) i64);

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Writes of the app that have no receipt yet, sealed or not.
    pub pending: u64,
    /// Mutations on the rejected list.
    pub rejected: u64,
    /// Of the last commit.
    pub position: Position,
    /// The highest seq of this incarnation.
    pub last_seq: Seq,
    /// Scopes reconciled because a sum was not the server's.
    pub sum_mismatches: u64,
}

impl Store {
    /// Opens or makes a file.
    ///
    /// # Errors
    /// [`StoreError`] where SQLite cannot open it, or is too old.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self> {
        let engine = Connection::open(path)?;
        Self::from_connections(engine, Connection::open(path)?, options)
    }

    /// Takes over two connections to one database, the engine's and the app's, as [`Store::open`] makes them.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn from_connections(engine: Connection, app: Connection, options: StoreOptions) -> Result<Self> {
        let mut store = Self::new(engine, options)?;
        store.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        configure(&app, &store.options.entropy)?;
        store.app = Some(app);
        Ok(store)
    }

    /// Takes over a connection, in memory or not, for the app and the engine together.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn from_connection(conn: Connection, options: StoreOptions) -> Result<Self> {
        Self::new(conn, options)
    }

    /// Gives the engine's connection back, as a crash leaves it: nothing is written.
    pub fn into_connection(self) -> Connection {
        self.switch_triggers(true).expect("triggers of an open connection can be switched");
        self.conn
    }

    fn new(conn: Connection, options: StoreOptions) -> Result<Self> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            return Err(StoreError::OldSqlite { found: rusqlite::version() });
        }
        configure(&conn, &options.entropy)?;
        // Without it a rename would look into views that name a table which is just being replaced.
        conn.pragma_update(None, "legacy_alter_table", true)?;
        conn.set_prepared_statement_cache_capacity(512);
        // SQLite plans by the value of a bound LIMIT, and compiles the statement anew each time that one is bound.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // 16 MiB, taken only when needed: a batch touches several trees, and SQLite's own 2 MiB would read them again.
        conn.pragma_update(None, "cache_size", -16_384)?;
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {} COMMIT;", ddl::INTERNAL))?;
        bring_up_to_date(&conn)?;
        let channels = channels::load(&conn)?;
        let (triggers, session, lease) = (AtomicBool::new(true), Session::default(), lock::Lease::load(&conn)?);
        let mut store = Self { conn, app: None, triggers, options, channels, session, lease };
        if state::incarnation(&store.conn)?.is_none() {
            let incarnation = store.options.entropy.uuid_v4();
            store.intent(Durability::Normal, |conn, _| state::set(conn, "incarnation", incarnation.to_string()))?;
        }
        Ok(store)
    }

    /// Runs one intent of the engine: a transaction with triggers off.
    fn intent<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Connection, &Channels) -> Result<T>,
    ) -> Result<T> {
        self.switch_triggers(false)?;
        self.intent_inner(durability, work)
    }

    /// Switches the triggers of a connection that app and engine share; only where they are not so already, because SQLite
    /// compiles every statement anew after it.
    fn switch_triggers(&self, on: bool) -> Result<()> {
        if self.app.is_none() && self.triggers.swap(on, Ordering::Relaxed) != on {
            self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on)?;
        }
        Ok(())
    }

    fn intent_inner<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Connection, &Channels) -> Result<T>,
    ) -> Result<T> {
        if durability == Durability::Full {
            self.conn.pragma_update(None, "synchronous", "FULL")?;
        }
        let result = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx, &self.channels)?;
            tx.commit()?;
            Ok(value)
        })();
        if durability == Durability::Full {
            self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        }
        #[cfg(feature = "planted")]
        if result.is_ok() {
            crate::planted::tell();
        }
        result
    }

    /// Makes a channel's table, or changes it to other fields. What is captured before is sealed in the old ones.
    /// Returns whether some rows are in doubt by it: they have to be asked for again, by a `hello` that lists the scopes.
    ///
    /// # Errors
    /// [`StoreError::BadSchema`] where the name could not be a table's; else SQLite's.
    pub fn install_schema(&mut self, schema: &ChannelSchema) -> Result<bool> {
        if !ChannelName::is_valid(schema.channel.as_str()) {
            return Err(StoreError::BadSchema(schema.channel.clone()));
        }
        if self.channels.get(&schema.channel).is_some_and(|known| *known.schema == *schema) {
            return Ok(false);
        }
        let (now_ms, copy_rows_max) = (self.session.now_ms, self.options.copy_rows_max);
        let mut is_in_doubt = false;
        self.intent(Durability::Normal, |conn, channels| {
            seal::seal_all(conn, channels, now_ms)?;
            let known = channels.get(&schema.channel);
            if let Some(known) = known.filter(|known| known.filled) {
                is_in_doubt = audit::doubt_what_is_lost(conn, known, schema)?;
            }
            channels::install(conn, known, schema, copy_rows_max).map_err(|error| match error {
                // Of two fields with one name, or of a thousand: the disk is not to blame.
                StoreError::Sqlite(error) if is_bad_sql(&error) => StoreError::BadSchema(schema.channel.clone()),
                error => error,
            })
        })?;
        self.channels = channels::load(&self.conn)?;
        let view = format!("backend_{}", schema.channel);
        let shown = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ?1)";
        if self.conn.query_row(shown, [view], |row| row.get(0))? {
            self.create_backend_views()?;
        }
        Ok(is_in_doubt)
    }

    /// The channels of this device, in the order of their names.
    pub fn schemas(&self) -> impl Iterator<Item = &ChannelSchema> {
        self.channels.values().map(|channel| &*channel.schema)
    }

    /// Makes a view `backend_CHANNEL` of each channel: rows as the backend spells them.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn create_backend_views(&mut self) -> Result<()> {
        self.intent(Durability::Normal, |conn, channels| {
            let target = |name: &ChannelName| channels.get(name).map(|channel| &*channel.schema);
            for channel in channels.values() {
                conn.execute_batch(&ddl::create_backend_view(&channel.schema, target))?;
            }
            Ok(())
        })
    }

    /// Runs statements of the app in one transaction; their captures share one group.
    ///
    /// # Errors
    /// What the closure answers, or SQLite's; the transaction is then rolled back.
    pub fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<(T, Write)> {
        self.switch_triggers(true)?;
        write(self.app.as_mut().unwrap_or(&mut self.conn), work)
    }

    /// Runs statements of the app in one transaction that the server applies whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::NotAtomic`] where the channels that it writes do not allow it, else as [`Store::write`]; the
    /// transaction is then rolled back.
    pub fn write_atomic<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Write)> {
        self.switch_triggers(true)?;
        atomic::write(self.app.as_mut().unwrap_or(&mut self.conn), &self.channels, work)
    }

    /// The engine's connection. Where the app shares it, what is written through it is captured, too.
    pub fn connection(&self) -> &Connection {
        self.switch_triggers(true).expect("triggers of an open connection can be switched");
        &self.conn
    }

    /// The connection that the app writes by: what is written through it is captured.
    pub fn app_connection(&self) -> &Connection {
        self.app.as_ref().unwrap_or_else(|| self.connection())
    }

    /// The engine's connection, for reading only: triggers are as the engine left them.
    pub fn reader(&self) -> &Connection {
        &self.conn
    }

    /// What became of a write; `None` while something of it waits for its receipt.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be read.
    pub fn answers(&self, write: Write) -> Result<Option<Vec<Answer>>> {
        for channel in self.channels.values() {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE grp = ?1)", channel.names.cap);
            if self.conn.prepare_cached(&sql)?.query_row([write.0], |row| row.get(0))? {
                return Ok(None);
            }
        }
        outbox::receipts_of_group(&self.conn, write.0)
    }

    /// Mutations that were rejected, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be read.
    pub fn rejected(&self) -> Result<Vec<Rejected>> {
        outbox::rejected(&self.conn)
    }

    /// Forgets a rejected mutation.
    ///
    /// # Errors
    /// [`StoreError::NotRejected`], or SQLite's.
    pub fn discard(&mut self, id: MutationId) -> Result<Rejected> {
        self.intent(Durability::Normal, |conn, _| outbox::take_rejected(conn, id))
    }

    /// Writes a rejected mutation's values again, some of them edited, as a new write of the app.
    ///
    /// # Errors
    /// [`StoreError::NotRejected`], [`StoreError::UnknownChannel`], or SQLite's; the list is then as before.
    pub fn retry(&mut self, id: MutationId, edits: &omctl_protocol::Fields) -> Result<Write> {
        let found = self.rejected()?.into_iter().find(|rejected| rejected.mutation.id == id);
        let mutation = found.ok_or(StoreError::NotRejected { id })?.mutation;
        let channel =
            self.channels.get(&mutation.channel).ok_or_else(|| StoreError::UnknownChannel(mutation.channel.clone()))?;
        let mut fields = overlay::todays_fields(channel, &mutation);
        fields.extend(edits.clone());
        let mut columns = Vec::new();
        let mut values = Vec::new();
        for (name, json) in &fields {
            let Some((_, field)) = channel.schema.field(name) else { continue };
            columns.push(quote(name));
            // What is not of the field's type is written as it stands, and refused again: nothing is lost silently.
            values.push(field.kind.from_json(json).unwrap_or_else(|_| match json {
                serde_json::Value::String(text) => omctl_protocol::Value::Text(text.clone()),
                other => omctl_protocol::Value::Text(other.to_string()),
            }));
        }
        let table = channel.names.table.clone();
        let sql = retry_statement(&table, mutation.op, &columns);
        let ((), write) = self.write(|tx| {
            let mut statement = tx.prepare(&sql)?;
            statement.raw_bind_parameter(1, mutation.record.as_str())?;
            if mutation.op != Operation::Delete {
                for (n, value) in values.iter().enumerate() {
                    statement.raw_bind_parameter(n + 2, values::Bind(value))?;
                }
            }
            statement.raw_execute()?;
            tx.execute("DELETE FROM om_rejected WHERE mutation = ?1", [id.to_string()])?;
            Ok(())
        })?;
        Ok(write)
    }

    /// How things stand.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn stats(&self) -> Result<Stats> {
        let count = |sql: &str| -> Result<u64> {
            Ok(self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
        };
        let mut pending = count("SELECT count(*) FROM om_outbox")?;
        for channel in self.channels.values() {
            pending += count(&format!("SELECT count(*) FROM {}", channel.names.cap))?;
        }
        Ok(Stats {
            pending,
            rejected: count("SELECT count(*) FROM om_rejected")?,
            position: state::position(&self.conn)?,
            last_seq: state::last_seq(&self.conn)?,
            sum_mismatches: state::get::<i64>(&self.conn, "sum_mismatches")?.unwrap_or(0).unsigned_abs(),
        })
    }

    /// Every record held of a channel with its hash, in the order of ids: for whoever checks convergence.
    ///
    /// # Errors
    /// [`StoreError::UnknownChannel`], or SQLite's.
    pub fn held(&self, channel: &ChannelName) -> Result<Vec<(String, RowHash)>> {
        let found = self.channels.get(channel).ok_or_else(|| StoreError::UnknownChannel(channel.clone()))?;
        let mut statement = self
            .conn
            .prepare_cached(&format!("SELECT DISTINCT id, hash FROM {} ORDER BY id, hash", found.names.row))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, RowHash::from_bytes(row.get(1)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets settled mutations beyond the restore window.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn prune(&mut self, now_ms: i64) -> Result<()> {
        self.intent(Durability::Normal, |conn, _| {
            let before = now_ms - RESTORE_WINDOW_MS;
            conn.execute("DELETE FROM om_settled WHERE at_ms < ?1", [before])?;
            conn.execute(
                "DELETE FROM om_joined WHERE mutation NOT IN (SELECT mutation FROM om_settled)
                 AND mutation NOT IN (SELECT mutation FROM om_outbox)
                 AND mutation NOT IN (SELECT mutation FROM om_rejected)",
                params![],
            )?;
            Ok(())
        })
    }

    /// Begins a new incarnation: what has no receipt is numbered from 1 again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn renew_incarnation(&mut self) -> Result<Incarnation> {
        let next = Incarnation(self.options.entropy.uuid_v4());
        self.intent(Durability::Normal, |conn, channels| incarnation::renew(conn, channels, next))?;
        Ok(next)
    }

    /// Counts the captures that were ever made in this file.
    pub(crate) fn captures_made(&self) -> Result<i64> {
        Ok(self.conn.prepare_cached("SELECT n FROM om_sequence")?.query_row([], |row| row.get(0))?)
    }

    /// Random bytes as this store takes them.
    pub(crate) fn entropy(&self) -> &Entropy {
        &self.options.entropy
    }
}

/// Whether SQLite could not make sense of a statement.
fn is_bad_sql(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::NulError(_) | rusqlite::Error::SqlInputError { .. } => true,
        error => error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_ERROR),
    }
}

/// Adds the columns that a file of an earlier version of this library lacks.
fn bring_up_to_date(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare(ddl::OLDER_TABLES)?;
    let missing = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    if !missing.is_empty() {
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {} COMMIT;", missing.join(" ")))?;
    }
    Ok(())
}

fn retry_statement(table: &str, op: Operation, columns: &[String]) -> String {
    let marks: String = (2..columns.len() + 2).map(|n| format!(", ?{n}")).collect();
    let sets: Vec<String> = columns.iter().enumerate().map(|(n, column)| format!("{column} = ?{}", n + 2)).collect();
    match op {
        Operation::Delete => format!("DELETE FROM {table} WHERE id = ?1"),
        Operation::Update if !sets.is_empty() => format!("UPDATE {table} SET {} WHERE id = ?1", sets.join(", ")),
        _ => {
            let list: String = columns.iter().map(|column| format!(", {column}")).collect();
            format!("INSERT INTO {table} (id{list}) VALUES (?1{marks})")
        }
    }
}

/// How much of a transaction must survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Consistent afterwards, perhaps of a moment earlier.
    Normal,
    /// All of it.
    Full,
}

/// A connection for the app's own statements: triggers on.
pub(crate) fn app_connection(path: &Path, entropy: &Entropy) -> Result<Connection> {
    let conn = Connection::open(path)?;
    configure(&conn, entropy)?;
    Ok(conn)
}

fn configure(conn: &Connection, entropy: &Entropy) -> Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    // 16 MiB: a checkpoint costs two syncs, and at SQLite's own 4 MiB a download would pay them with every batch.
    conn.pragma_update(None, "wal_autocheckpoint", 4096)?;
    entropy.install(conn)?;
    Ok(())
}

/// Runs statements of the app on a connection with triggers on; their captures share one group.
pub(crate) fn write<T>(
    conn: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<(T, Write)> {
    write_checked(conn, work, |_, _| Ok(()))
}

/// The same, with a last look at the group before it is saved.
fn write_checked<T>(
    conn: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    check: impl FnOnce(&Transaction<'_>, i64) -> Result<()>,
) -> Result<(T, Write)> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    lock::check(&tx)?;
    let group = tx
        .prepare_cached("UPDATE om_sequence SET groups = groups + 1, grp = groups + 1 RETURNING grp")?
        .query_row([], |row| row.get(0))?;
    let value = work(&tx)?;
    check(&tx, group)?;
    tx.prepare_cached("UPDATE om_sequence SET grp = NULL")?.execute([])?;
    tx.commit()?;
    Ok((value, Write(group)))
}
