//! Readers: a small pool of read-only connections, each used off the async threads; or the simulator's one connection.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};

use super::{Step, Store, StoreError, prepare, sqlite_error};
use crate::tasks::Tasks;

#[derive(Clone)]
pub(super) enum Readers {
    Pool(Arc<Pool>),
    Inline { connection: Arc<Mutex<Connection>>, step: Option<Step> },
}

pub(super) struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// Idle connections that are kept. More are opened under load and closed afterwards.
const IDLE_MAX: usize = 4;

impl Readers {
    pub(super) fn pool(path: PathBuf) -> Self {
        Self::Pool(Arc::new(Pool { path, idle: Mutex::new(Vec::new()) }))
    }
}

impl Store {
    /// Runs a read in one transaction: everything it sees is of one moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.readers {
            Readers::Inline { connection, step } => {
                if let Some(step) = step {
                    step().await;
                }
                let connection = connection.lock().expect("nobody panics while holding the simulator's database");
                in_transaction(&connection, read)
            }
            Readers::Pool(pool) => {
                let pool = pool.clone();
                Tasks::blocking(move || pool.with(|connection| in_transaction(connection, read))).await
            }
        }
    }
}

impl Pool {
    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().expect("nobody panics while holding the pool").pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags).map_err(sqlite_error)?;
                prepare(&connection)?;
                connection.pragma_update(None, "query_only", true).map_err(sqlite_error)?;
                connection
            }
        };
        let result = work(&connection);
        let mut idle = self.idle.lock().expect("nobody panics while holding the pool");
        if idle.len() < IDLE_MAX && connection.is_autocommit() {
            idle.push(connection);
        }
        result
    }
}

fn in_transaction<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let end = || {
        // One that does not end takes the connection with it: whoever came next would see the past.
        if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK").map_err(sqlite_error) }
    };
    if let Err(error) = connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([])) {
        end()?;
        return Err(sqlite_error(error));
    }
    let result = read(connection);
    // A read has nothing to roll back; the transaction only held the snapshot.
    if connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).is_err() {
        end()?;
    }
    result
}
