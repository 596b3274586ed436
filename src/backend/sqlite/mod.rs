//! Any SQLite database file: one that somebody else made and goes on using.
//!
//! Two connections do all the work, each on a thread of its own: one writes, one reads (and counts commits of others by
//! `PRAGMA data_version`). Inline, the simulator's one connection does both on the calling thread and outlives a crash.
//!
//! The file keeps its journal mode and its persistent pragmas. Our own tables are `om_applied` and `om_changes`, made by
//! `omctl channel install` only; without them delivery is `best_effort` and detection by comparison.
//!
//! *Invariant:* a write and its dedupe row are one transaction; what was read is compared in canonical form, so that a
//! value in another spelling is not a change.

mod install;
mod table;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use omctl_protocol::{MutationId, RecordId};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, named_params};
use tokio::sync::{mpsc, oneshot};

use self::table::Table;
use super::{Applied, Backend, BackendError, Change, Collection, Found, Key, Page, Probe, Write, Written};

/// SQLite versions below this one can lose committed writes of the WAL (<https://sqlite.org/wal.html#walresetbug>).
const SQLITE_MIN: i32 = 3_051_003;

/// One SQLite database.
pub struct SqliteBackend {
    name: String,
    work: Work,
}

enum Work {
    Threads { writer: mpsc::UnboundedSender<Job>, reader: mpsc::UnboundedSender<Job> },
    Inline(Arc<Mutex<Connection>>),
}

type Job = Box<dyn FnOnce(&Connection) + Send>;

impl std::fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteBackend").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SqliteBackend {
    /// Opens a database file that exists.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] where it cannot be opened, or is no database.
    pub fn open(name: &str, path: &Path) -> Result<Self, BackendError> {
        let start = |role: &str| -> Result<mpsc::UnboundedSender<Job>, BackendError> {
            let connection = open_file(name, path)?;
            let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
            std::thread::Builder::new()
                .name(format!("{name}-{role}"))
                .spawn(move || {
                    while let Some(job) = jobs.blocking_recv() {
                        job(&connection);
                    }
                })
                .map_err(|error| unavailable(name, error.to_string()))?;
            Ok(sender)
        };
        Ok(Self { name: name.to_owned(), work: Work::Threads { writer: start("writer")?, reader: start("reader")? } })
    }

    /// Uses a connection that somebody else keeps; all work is done on the calling thread.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] where it cannot be prepared.
    pub fn inline(name: &str, connection: Arc<Mutex<Connection>>) -> Result<Self, BackendError> {
        prepare(&connection.lock().expect("nobody panics while holding the simulator's database"), name)?;
        Ok(Self { name: name.to_owned(), work: Work::Inline(connection) })
    }

    fn run<'a, T: Send + 'static>(
        &'a self,
        writes: bool,
        job: impl FnOnce(&Connection, &str) -> Result<T, BackendError> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, BackendError>> {
        Box::pin(async move {
            let name = self.name.clone();
            match &self.work {
                Work::Inline(connection) => {
                    let connection = connection.lock().expect("nobody panics while holding the simulator's database");
                    job(&connection, &name)
                }
                Work::Threads { writer, reader } => {
                    let (sender, receiver) = oneshot::channel();
                    let queue = if writes { writer } else { reader };
                    // A caller that went away does not hear of it; its work is done all the same.
                    let job: Job = Box::new(move |connection| drop(sender.send(job(connection, &name))));
                    let closed = || unavailable(&self.name, "it is closed".into());
                    queue.send(job).map_err(|_| closed())?;
                    receiver.await.map_err(|_| closed())?
                }
            }
        })
    }
}

impl Backend for SqliteBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn probe<'a>(&'a self, collection: &'a Collection) -> BoxFuture<'a, Result<Probe, BackendError>> {
        let collection = collection.clone();
        self.run(false, move |connection, name| install::probe(connection, name, &collection))
    }

    fn applied<'a>(
        &'a self,
        mutations: &'a [MutationId],
    ) -> BoxFuture<'a, Result<HashMap<MutationId, Applied>, BackendError>> {
        let mutations = mutations.to_vec();
        self.run(false, move |connection, name| {
            let mut applied = HashMap::new();
            if !install::has_applied(connection, name)? {
                return Ok(applied);
            }
            for mutation in mutations {
                if let Some(done) = write::applied(connection, name, mutation)? {
                    applied.insert(mutation, done);
                }
            }
            Ok(applied)
        })
    }

    fn read<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<Vec<Found>, BackendError>> {
        let (collection, keys) = (collection.clone(), keys.to_vec());
        self.run(false, move |connection, name| {
            let table = Table::new(&collection);
            keys.iter().map(|key| table.read(connection, name, key)).collect()
        })
    }

    fn scan<'a>(
        &'a self,
        collection: &'a Collection,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, BackendError>> {
        let (collection, after) = (collection.clone(), after.cloned());
        self.run(false, move |connection, name| Table::new(&collection).scan(connection, name, after.as_ref(), limit))
    }

    fn write<'a>(
        &'a self,
        writes: &'a [(Arc<Collection>, Write)],
    ) -> BoxFuture<'a, Result<Vec<Written>, BackendError>> {
        let writes = writes.to_vec();
        self.run(true, move |connection, name| write::write_all(connection, name, &writes))
    }

    fn born<'a>(
        &'a self,
        collection: &'a Collection,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<HashMap<String, RecordId>, BackendError>> {
        let (channel, keys) = (collection.channel.clone(), keys.to_vec());
        self.run(false, move |connection, name| {
            let mut born = HashMap::new();
            if !install::has_applied(connection, name)? {
                return Ok(born);
            }
            const SELECT: &str = "SELECT record FROM om_applied
                WHERE channel = :channel AND key = :key AND op = 'insert' ORDER BY at_ms DESC, rowid DESC LIMIT 1";
            let mut statement = connection.prepare_cached(SELECT).map_err(|error| failed(name, &error))?;
            for key in keys {
                let text = key.to_text();
                let record: Option<String> = statement
                    .query_row(named_params! { ":channel": channel.as_str(), ":key": text }, |row| row.get(0))
                    .optional()
                    .map_err(|error| failed(name, &error))?;
                if let Some(record) = record {
                    born.insert(text, record.into());
                }
            }
            Ok(born)
        })
    }

    fn changes<'a>(
        &'a self,
        collections: &'a [Arc<Collection>],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Change>, BackendError>> {
        let collections = collections.to_vec();
        self.run(false, move |connection, name| install::changes(connection, name, &collections, limit))
    }

    fn forget_changes<'a>(&'a self, numbers: &'a [i64]) -> BoxFuture<'a, Result<(), BackendError>> {
        let numbers = numbers.to_vec();
        self.run(true, move |connection, name| {
            let forget = || -> rusqlite::Result<()> {
                let transaction = connection.unchecked_transaction()?;
                {
                    let mut statement = transaction.prepare_cached("DELETE FROM om_changes WHERE n = ?1")?;
                    for number in &numbers {
                        statement.execute([number])?;
                    }
                }
                transaction.commit()
            };
            forget().map_err(|error| failed(name, &error))
        })
    }

    fn quiet_mark(&self) -> BoxFuture<'_, Result<Option<u64>, BackendError>> {
        let inline = matches!(self.work, Work::Inline(_));
        self.run(false, move |connection, name| {
            if inline {
                // The number counts commits of other connections, and inline there is only the one.
                return Ok(None);
            }
            connection
                .query_row("PRAGMA data_version", [], |row| row.get(0))
                .map(Some)
                .map_err(|error| failed(name, &error))
        })
    }

    fn prune_applied(&self, before_ms: i64) -> BoxFuture<'_, Result<u64, BackendError>> {
        self.run(true, move |connection, name| {
            if !install::has_applied(connection, name)? {
                return Ok(0);
            }
            connection
                .execute("DELETE FROM om_applied WHERE at_ms < ?1", [before_ms])
                .map(|rows| rows as u64)
                .map_err(|error| failed(name, &error))
        })
    }

    fn install_sql(&self, collections: &[Arc<Collection>]) -> String {
        install::sql(collections)
    }

    fn install<'a>(&'a self, collections: &'a [Arc<Collection>]) -> BoxFuture<'a, Result<(), BackendError>> {
        let sql = install::sql(collections);
        self.run(true, move |connection, name| install::in_transaction(connection, name, &sql))
    }

    fn remove<'a>(&'a self, collections: &'a [Arc<Collection>]) -> BoxFuture<'a, Result<(), BackendError>> {
        let collections = collections.to_vec();
        self.run(true, move |connection, name| install::remove(connection, name, &collections))
    }
}

fn open_file(name: &str, path: &Path) -> Result<Connection, BackendError> {
    // No CREATE: a mistyped path is an error, not an empty database.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| unavailable(name, format!("{}: {error}", PathBuf::from(path).display())))?;
    prepare(&connection, name)?;
    Ok(connection)
}

fn prepare(connection: &Connection, name: &str) -> Result<(), BackendError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(unavailable(name, format!("SQLite {} is too old", rusqlite::version())));
    }
    connection.set_prepared_statement_cache_capacity(256);
    // Of this connection alone; nothing of it stays in the file. FULL: the dedupe row must survive with its effect.
    connection
        .execute_batch("PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL;")
        .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))
        .map_err(|error| failed(name, &error))
}

fn unavailable(name: &str, message: String) -> BackendError {
    BackendError::Unavailable { backend: name.to_owned(), message }
}

/// What an error of SQLite means for a backend.
fn failed(name: &str, error: &rusqlite::Error) -> BackendError {
    let message = error.to_string();
    for (words, what) in [("no such table: ", "table"), ("no such column: ", "column")] {
        if let Some((_, rest)) = message.split_once(words) {
            let thing = rest.split(" in ").next().unwrap_or(rest);
            return BackendError::Missing { backend: name.to_owned(), what: format!("{what} `{thing}`") };
        }
    }
    unavailable(name, message)
}
