//! Our own database: the state log, the inbox, accounts, devices, tokens, leases.
//!
//! Its face is whole intents, each one transaction, all `async`: [`Store::accept`], [`Store::commit_batch`],
//! [`Store::catch_up`], [`Store::lease`], … No transaction and no driver type leaves the room. Positions are given at
//! commit, so no cursor can skip a late one; they rise and may have holes.
//!
//! Embedded SQLite: one writer (a thread with group commit at `synchronous=FULL`), several readers. The same code runs
//! *inline*, on the caller's thread over a connection that outlives it, for the deterministic simulator.
//!
//! *Invariant:* the only room with our SQL. It knows nothing of HTTP, backends, rules or plans.

pub mod feed;

mod accounts;
mod boots;
mod brake;
mod catch_up;
mod channels;
mod commands;
mod grants;
pub mod health;
mod import;
mod inbox;
mod inspect;
mod journal;
mod leases;
mod log;
mod names;
#[cfg(feature = "planted")]
mod planted;
mod prune;
mod read;
mod removal;
mod set_backs;
pub mod snapshot;
mod state;
mod tokens;
mod trace;
mod verdicts;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use tokio::sync::mpsc;

pub use self::accounts::{AccountChange, AccountRow, DeviceRow, DeviceState, NewAccount, NewDevice};
pub use self::boots::{Boot, Cursor};
pub use self::brake::DeleteKind;
pub use self::catch_up::{CatchUp, Reconcile, ScopeCursor, ScopeRows};
pub use self::channels::RegisteredChannel;
pub use self::commands::{CommandRow, Order, Orders};
use self::feed::Committed;
pub use self::feed::Notice;
pub use self::import::{ImportAccount, Imported};
pub use self::inbox::{Accept, Accepted, InboxEntry, IncarnationState, NewMutation};
pub use self::inspect::{ChannelCount, Standing};
pub use self::log::{
    Aside, Batch, Body, Committing, Head, Journal, JournalChange, LinkKey, Offered, PendingReceipt, Place, Placer,
    Settled, Verdict, Writers,
};
pub use self::names::IdMapping;
use self::read::Readers;
pub use self::set_backs::{Horizon, SetBack, Testimony, Witness};
use self::state::WriterState;
pub use self::tokens::{CodeUse, Rotation, SecretHash, TokenHashes};
pub use self::trace::{Traced, TracedSettled, TracedWaiting};
pub use self::verdicts::{KeptVerdict, VerdictFilter};
pub use self::writer::Step;
use self::writer::{Inline, Writer};
use crate::clock::{Clock, Entropy};

/// The shape of the database that this binary reads and writes.
pub const SCHEMA: i64 = 9;

const MIGRATIONS: [&str; SCHEMA as usize] = [
    include_str!("0001_init.sql"),
    include_str!("0002_scopes.sql"),
    include_str!("0003_operator.sql"),
    include_str!("0004_token_generations.sql"),
    include_str!("0005_outbox_histories.sql"),
    include_str!("0006_partings.sql"),
    include_str!("0007_grants.sql"),
    include_str!("0008_commands.sql"),
    include_str!("0009_set_backs.sql"),
];

/// SQLite versions below this one can lose committed writes of the WAL (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_MIN: i32 = 3_051_003;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.0 as i64))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                u64::column_result(value).map(Self)
            }
        }
    };
}

number!(
    /// An account's number in this store.
    AccountNo
);
number!(
    /// A device's number in this store.
    DeviceNo
);
number!(
    /// A channel's number in this store.
    ChannelNo
);
number!(
    /// A scope's number in this store.
    ScopeNo
);
number!(
    /// An incarnation's number in this store.
    IncarnationNo
);

/// What goes wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the store at {path}: {message}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite or the file system says.
        message: String,
    },
    /// The database was written by a newer binary.
    #[error("the store at {path} has schema {found}, this binary knows {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file is no snapshot of a store, or a damaged one.
    #[error("`{path}` is no snapshot of a store: {reason}")]
    NotASnapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk is full: nothing was written.
    #[error("no space left for the store")]
    Full,
    /// Anything else that SQLite says.
    #[error("the store failed: {0}")]
    Sqlite(String),
    /// What the database holds is not what this code wrote.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The thing is not there.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The thing is already there.
    #[error("{0} exists")]
    Exists(&'static str),
    /// These entries of a batch stand on reads that are too old. Stays inside the room.
    #[error("a read was too old")]
    Stale(Vec<usize>),
    /// A newer session of this device has begun: this one may not write any more.
    #[error("a newer session of this device has begun")]
    Fenced,
}

impl StoreError {
    /// The same error for another caller of the same failed commit.
    fn again(&self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Closed => Self::Closed,
            Self::Damaged(message) => Self::Damaged(message.clone()),
            other => Self::Sqlite(other.to_string()),
        }
    }
}

fn sqlite_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Sqlite(error.to_string()),
    }
}

/// A handle to the store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    readers: Readers,
    clock: Clock,
    entropy: Entropy,
    boot: Arc<Mutex<Boot>>,
}

/// The receiver of every commit. There is one; `push` holds it.
pub type CommitFeed = mpsc::UnboundedReceiver<Arc<Committed>>;

impl Store {
    /// Opens (and creates or migrates) the store's file and begins a new boot.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Newer`], [`StoreError::Full`], [`StoreError::Damaged`].
    pub fn open(path: &Path, clock: Clock, entropy: Entropy) -> Result<(Self, CommitFeed), StoreError> {
        let open = || -> Result<Connection, StoreError> {
            let connection = Connection::open(path)
                .map_err(|error| StoreError::Open { path: path.to_owned(), message: error.to_string() })?;
            prepare(&connection)?;
            Ok(connection)
        };
        let connection = open()?;
        migrate(&connection, path)?;
        let boot = boots::begin(&connection, &clock, &entropy)?;
        let state = WriterState::load(&connection, clock.clone())?;
        let (publish, feed) = mpsc::unbounded_channel();
        let (queue, jobs) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer::run_thread(connection, state, jobs, publish))
            .map_err(|error| StoreError::Open { path: path.to_owned(), message: error.to_string() })?;
        let readers = Readers::pool(path.to_owned());
        let boot = Arc::new(Mutex::new(boot));
        Ok((Self { writer: Writer::Thread(queue), readers, clock, entropy, boot }, feed))
    }

    /// Opens the store over a connection that somebody else keeps: all work is done on the calling thread. `step` is
    /// awaited before every read, and before and behind every write.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn inline(
        connection: Arc<Mutex<Connection>>,
        clock: Clock,
        entropy: Entropy,
        step: Option<Step>,
    ) -> Result<(Self, CommitFeed), StoreError> {
        let (boot, state) = {
            let connection = connection.lock().expect("nobody panics while holding the simulator's database");
            prepare(&connection)?;
            migrate(&connection, Path::new(":memory:"))?;
            (boots::begin(&connection, &clock, &entropy)?, WriterState::load(&connection, clock.clone())?)
        };
        let (publish, feed) = mpsc::unbounded_channel();
        let shared = Arc::new(Mutex::new(Inline { connection: connection.clone(), state, publish }));
        let readers = Readers::Inline { connection, step: step.clone() };
        let boot = Arc::new(Mutex::new(boot));
        Ok((Self { writer: Writer::Inline { shared, step }, readers, clock, entropy, boot }, feed))
    }

    /// This start of the store. Another one begins while it runs where a backend was set back.
    pub fn boot(&self) -> Boot {
        *self.boot.lock().expect("nobody panics while naming a boot")
    }

    /// The clock that the store stamps with.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The entropy that the store names with.
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }
}

fn prepare(connection: &Connection) -> Result<(), StoreError> {
    let version = rusqlite::version_number();
    if version < SQLITE_MIN {
        return Err(StoreError::Sqlite(format!("SQLite {} is too old", rusqlite::version())));
    }
    connection.set_prepared_statement_cache_capacity(128);
    // SQLite plans by the value of a bound LIMIT, and compiles the statement anew each time that one is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(sqlite_error)?;
    // FULL: a receipt that was sent must survive a power cut. WAL: readers never wait for the writer.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -16384;
             PRAGMA mmap_size = 268435456;",
        )
        .map_err(sqlite_error)
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite_error)?;
    if found > SCHEMA {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: SCHEMA });
    }
    for (number, sql) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = format!("BEGIN IMMEDIATE; {sql} PRAGMA user_version = {}; COMMIT;", number + 1);
        if let Err(error) = connection.execute_batch(&transaction) {
            drop(connection.execute_batch("ROLLBACK"));
            return Err(sqlite_error(error));
        }
    }
    Ok(())
}
