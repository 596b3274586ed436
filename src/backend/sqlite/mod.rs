//! Records in a SQLite file that nobody here made.
//!
//! All work is done by plain functions over a connection (`read`, `write`, `install`). They run on two threads of
//! their own, one that writes and one that only reads ([`SqliteBackend::open`]), or at once on the calling thread
//! ([`SqliteBackend::inline`]), which is how the simulator drives everything in one thread.
//!
//! *Invariant:* the file keeps its journal mode and every other setting that is stored in it. Our tables come into it by
//! [`Backend::install`] only; without them everything works, with delivery `best_effort`.

mod copy;
mod fault;
mod install;
pub(super) mod plan;
#[cfg(feature = "planted")]
mod planted;
pub(super) mod read;
mod session;
#[cfg(test)]
mod tests;
mod whole;
mod worker;
mod write;

pub use self::copy::copy;

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use omctl_protocol::{ChannelName, MutationId, RecordId};
use rusqlite::Connection;

use self::fault::Fault;
use self::session::State;
use self::worker::Worker;
use super::{
    Applied, Backend, BackendError, Change, Collection, Effect, Key, Page, Probe, ReadRow, Whole, Write, Written,
};
use crate::clock::Clock;

const UNPOISONED: &str = "nothing panics while it holds this lock";

/// A SQLite file as a backend.
pub struct SqliteBackend {
    name: Arc<str>,
    clock: Clock,
    lane: Lanes,
    /// Collections that were asked about, shared with the threads instead of being copied for each call.
    collections: Mutex<HashMap<ChannelName, Arc<Collection>>>,
    /// Tells the quiet marks of this object from those of an earlier one over the same file.
    opened: u64,
}

enum Lanes {
    Threads { writer: Worker, reader: Worker },
    Inline { connection: Arc<Mutex<Connection>>, state: Mutex<State> },
}

/// Which connection some work needs.
#[derive(Clone, Copy)]
enum Lane {
    Write,
    Read,
}

/// Work over a connection.
type Done<'a, T> = BoxFuture<'a, Result<T, BackendError>>;

impl SqliteBackend {
    /// A backend over a file, with its own threads. The file is opened when it is first needed and again after it
    /// failed: while it is not there, every answer is [`BackendError::Unavailable`].
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] if this SQLite is too old to be trusted or no thread can be started.
    pub fn open(name: impl Into<Arc<str>>, path: impl Into<PathBuf>) -> Result<Self, BackendError> {
        let (name, path) = (name.into(), path.into());
        check_version(&name)?;
        let start = |writes: bool| {
            Worker::start(Arc::clone(&name), path.clone(), writes)
                .map_err(|error| BackendError::Unavailable { backend: name.to_string(), message: error.to_string() })
        };
        Ok(Self::new(Arc::clone(&name), Lanes::Threads { writer: start(true)?, reader: start(false)? }))
    }

    /// A backend that does its work on the calling thread, over a connection that outlives it.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] if this SQLite is too old to be trusted or the connection cannot be prepared.
    pub fn inline(name: impl Into<Arc<str>>, connection: Arc<Mutex<Connection>>) -> Result<Self, BackendError> {
        let name = name.into();
        check_version(&name)?;
        session::configure(&connection.lock().expect(UNPOISONED))
            .map_err(|error| Fault::Sql(error).into_error(&name))?;
        Ok(Self::new(name, Lanes::Inline { connection, state: Mutex::default() }))
    }

    fn new(name: Arc<str>, lane: Lanes) -> Self {
        static OPENED: AtomicU64 = AtomicU64::new(1);
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        Self { name, clock: Clock::default(), lane, collections: Mutex::default(), opened }
    }

    /// Takes the time of dedupe rows from this clock instead of the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut Connection, &mut State) -> Result<T, Fault> + Send + 'static,
    ) -> Done<'_, T> {
        let work = move |connection: &mut Connection, state: &mut State| {
            state.refresh(connection)?;
            work(connection, state)
        };
        match (&self.lane, lane) {
            (Lanes::Threads { writer, .. }, Lane::Write) => writer.run(work),
            (Lanes::Threads { reader, .. }, Lane::Read) => reader.run(work),
            (Lanes::Inline { connection, state }, _) => Box::pin(async move {
                let mut connection = connection.lock().expect(UNPOISONED);
                let mut state = state.lock().expect(UNPOISONED);
                work(&mut connection, &mut state).map_err(|fault| fault.into_error(&self.name))
            }),
        }
    }

    fn shared(&self, collection: &Collection) -> Arc<Collection> {
        let mut collections = self.collections.lock().expect(UNPOISONED);
        match collections.get(&collection.channel) {
            Some(known) if **known == *collection => Arc::clone(known),
            _ => {
                let shared = Arc::new(collection.clone());
                collections.insert(collection.channel.clone(), Arc::clone(&shared));
                shared
            }
        }
    }
}

fn check_version(name: &str) -> Result<(), BackendError> {
    if rusqlite::version_number() >= session::SQLITE_MIN {
        return Ok(());
    }
    Err(BackendError::Unavailable {
        backend: name.to_owned(),
        message: format!("SQLite {} can lose committed writes; 3.51.3 or newer is needed", rusqlite::version()),
    })
}

impl fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBackend").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Backend for SqliteBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn probe<'a>(&'a self, collection: &'a Collection) -> Done<'a, Probe> {
        let collection = self.shared(collection);
        self.run(Lane::Read, move |connection, state| read::probe(connection, state, &collection))
    }

    fn applied<'a>(&'a self, mutations: &'a [MutationId]) -> Done<'a, HashMap<MutationId, Applied>> {
        let mutations = mutations.to_vec();
        self.run(Lane::Read, move |connection, state| read::applied(connection, state, &mutations))
    }

    fn read<'a>(&'a self, collection: &'a Collection, keys: &'a [Key]) -> Done<'a, Vec<ReadRow>> {
        let (collection, keys) = (self.shared(collection), keys.to_vec());
        self.run(Lane::Read, move |connection, state| read::read(connection, state, &collection, &keys))
    }

    fn scan<'a>(&'a self, collection: &'a Collection, after: Option<&'a Key>, limit: usize) -> Done<'a, Page> {
        let (collection, after) = (self.shared(collection), after.cloned());
        self.run(Lane::Read, move |connection, state| read::scan(connection, state, &collection, after.as_ref(), limit))
    }

    fn write<'a>(&'a self, writes: &'a [(Arc<Collection>, Write)]) -> Done<'a, Vec<Written>> {
        let (writes, now_ms) = (writes.to_vec(), self.clock.now_ms());
        self.run(Lane::Write, move |connection, state| write::write(connection, state, &writes, now_ms))
    }

    fn write_whole<'a>(&'a self, writes: &'a [(Arc<Collection>, Write)]) -> Done<'a, Whole> {
        let (writes, now_ms) = (writes.to_vec(), self.clock.now_ms());
        self.run(Lane::Write, move |connection, state| whole::write_whole(connection, state, &writes, now_ms))
    }

    fn write_foreign<'a>(&'a self, collection: &'a Collection, effect: &'a Effect) -> Done<'a, Written> {
        let (collection, effect) = (self.shared(collection), effect.clone());
        self.run(Lane::Write, move |connection, state| write::write_foreign(connection, state, &collection, &effect))
    }

    fn born<'a>(&'a self, collection: &'a Collection, keys: &'a [Key]) -> Done<'a, HashMap<String, RecordId>> {
        let (collection, keys) = (self.shared(collection), keys.to_vec());
        self.run(Lane::Read, move |connection, state| read::born(connection, state, &collection, &keys))
    }

    fn changes<'a>(&'a self, collections: &'a [Arc<Collection>], limit: usize) -> Done<'a, Vec<Change>> {
        let collections = collections.to_vec();
        self.run(Lane::Read, move |connection, state| read::changes(connection, state, &collections, limit))
    }

    fn forget_changes<'a>(&'a self, numbers: &'a [i64]) -> Done<'a, ()> {
        let numbers = numbers.to_vec();
        self.run(Lane::Write, move |connection, state| install::forget(connection, state, &numbers))
    }

    /// Own writes count as somebody else's: the mark is taken on the connection that never writes. It means nothing to
    /// another object over the same file.
    fn quiet_mark(&self) -> Done<'_, Option<u64>> {
        let opened = self.opened;
        self.run(Lane::Read, move |connection, state| {
            let version: i64 =
                connection.prepare_cached("PRAGMA main.data_version")?.query_row([], |row| row.get(0))?;
            // Inline there is one connection for everybody, whose own changes `data_version` does not count.
            let own: i64 = connection.prepare_cached("SELECT total_changes()")?.query_row([], |row| row.get(0))?;
            let mut mark = DefaultHasher::new();
            (opened, state.opening, version, own).hash(&mut mark);
            Ok(Some(mark.finish()))
        })
    }

    fn prune_applied(&self, before_ms: i64) -> Done<'_, u64> {
        self.run(Lane::Write, move |connection, state| install::prune(connection, state, before_ms))
    }

    fn install_sql(&self, collections: &[Arc<Collection>]) -> String {
        install::install_sql(collections)
    }

    fn install<'a>(&'a self, collections: &'a [Arc<Collection>]) -> Done<'a, ()> {
        let collections = collections.to_vec();
        self.run(Lane::Write, move |connection, state| install::install(connection, state, &collections))
    }

    fn remove<'a>(&'a self, collections: &'a [Arc<Collection>]) -> Done<'a, ()> {
        let collections = collections.to_vec();
        self.run(Lane::Write, move |connection, state| install::remove(connection, state, &collections))
    }
}
