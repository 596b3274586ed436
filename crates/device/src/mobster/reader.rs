//! Reading: a connection and a thread of their own, so that a query waits neither for writes nor for downloads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use omctl_protocol::Value;
use rusqlite::hooks::{AuthAction, Authorization};
use rusqlite::{Connection, params_from_iter};
use tokio::sync::{oneshot, watch};

use super::{MobsterError, Result};
use crate::Entropy;
use crate::store::lock::check as check_lock;
use crate::store::values::{Bind, columns};
use crate::store::{StoreError, app_connection};

fn open(path: &Path) -> Result<Connection> {
    let connection = app_connection(path, &Entropy::System)?;
    connection.pragma_update(None, "query_only", true).map_err(StoreError::Sqlite)?;
    Ok(connection)
}

/// The answer to a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The rows, each in the order of the columns.
    pub rows: Vec<Vec<Value>>,
}

type Job = Box<dyn FnOnce(Result<&mut Connection>) + Send>;

/// Sends queries to the reading thread. There is none, and no connection, before the first query: an app that only
/// syncs in the background never has them.
#[derive(Clone)]
pub(crate) struct Reader {
    path: Arc<PathBuf>,
    jobs: Arc<Mutex<Option<mpsc::Sender<Job>>>>,
}

impl Reader {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: Arc::new(path.to_owned()), jobs: Arc::default() }
    }

    /// Starts the thread, where it does not run yet.
    fn jobs(&self) -> Result<mpsc::Sender<Job>> {
        let mut jobs = self.jobs.lock().expect("nothing panics while it holds this lock");
        if let Some(jobs) = &*jobs {
            return Ok(jobs.clone());
        }
        let (sender, waiting) = mpsc::channel::<Job>();
        let path = self.path.clone();
        let thread = std::thread::Builder::new().name("omctl-read".into());
        let spawned = thread.spawn(move || {
            let mut connection = None;
            while let Ok(job) = waiting.recv() {
                let opened = match &mut connection {
                    Some(connection) => Ok(connection),
                    none => open(&path).map(|opened| none.insert(opened)),
                };
                job(opened);
            }
        });
        spawned.map_err(MobsterError::Io)?;
        Ok(jobs.insert(sender).clone())
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let done = connection.and_then(|connection| {
                // A file that is just being made has no lock; what else is wrong, the statement says.
                if let Err(error @ StoreError::Locked(_)) = check_lock(connection) {
                    return Err(error.into());
                }
                Ok(work(connection).map_err(StoreError::Sqlite)?)
            });
            // Whoever asked may have gone away.
            drop(answer.send(done));
        });
        self.jobs()?.send(job).map_err(|_| MobsterError::Closed)?;
        answered.await.map_err(|_| MobsterError::Closed)?
    }

    pub(crate) async fn query(&self, sql: String, params: Vec<Value>) -> Result<Rows> {
        self.ask(move |conn| query(conn, &sql, &params)).await
    }

    /// The tables that a statement reads.
    async fn tables(&self, sql: String) -> Result<BTreeSet<String>> {
        self.ask(move |conn| {
            let seen = Arc::new(Mutex::new(BTreeSet::new()));
            let noted = seen.clone();
            conn.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
                if let AuthAction::Read { table_name, .. } = context.action {
                    noted.lock().expect("nothing panics while it holds this lock").insert(table_name.to_owned());
                }
                Authorization::Allow
            }))?;
            let prepared = conn.prepare(&sql).map(drop);
            conn.authorizer(None::<fn(rusqlite::hooks::AuthContext<'_>) -> Authorization>)?;
            prepared?;
            let tables = std::mem::take(&mut *seen.lock().expect("nothing panics while it holds this lock"));
            Ok(tables)
        })
        .await
    }

    /// What must have moved for a live query of these tables to be run again.
    async fn stamp(&self, tables: Arc<BTreeSet<String>>) -> Result<Vec<i64>> {
        self.ask(move |conn| {
            let mut stamp = Vec::with_capacity(tables.len() + 1);
            let mut foreign = false;
            for table in &*tables {
                let found = conn
                    .prepare_cached("SELECT n FROM om_dirty WHERE channel = ?1")?
                    .query_row([table], |row| row.get(0));
                match found {
                    Ok(n) => stamp.push(n),
                    // A table of the app itself: nobody counts its changes.
                    Err(rusqlite::Error::QueryReturnedNoRows) => foreign = true,
                    Err(error) => return Err(error),
                }
            }
            if foreign {
                stamp.push(conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?);
            }
            Ok(stamp)
        })
        .await
    }
}

fn query(conn: &Connection, sql: &str, params: &[Value]) -> rusqlite::Result<Rows> {
    let mut statement = conn.prepare_cached(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let count = names.len();
    let mut found = statement.query(params_from_iter(params.iter().map(Bind)))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push(columns(row, 0, count)?);
    }
    Ok(Rows { columns: names, rows })
}

/// A query that is answered again whenever its tables change, by whomever.
pub struct LiveQuery {
    reader: Reader,
    sql: String,
    params: Vec<Value>,
    tables: Arc<BTreeSet<String>>,
    changed: watch::Receiver<u64>,
    stamp: Option<Vec<i64>>,
}

impl LiveQuery {
    pub(crate) async fn open(
        reader: Reader,
        sql: String,
        params: Vec<Value>,
        changed: watch::Receiver<u64>,
    ) -> Result<Self> {
        let tables = Arc::new(reader.tables(sql.clone()).await?);
        Ok(Self { reader, sql, params, tables, changed, stamp: None })
    }

    /// The answer: at once the first time, then after each change of a table it reads. Two answers may be equal.
    ///
    /// Cancel-safe: a change that was not told yet is told by the next call.
    ///
    /// # Errors
    /// [`MobsterError::Closed`] after `close`, or SQLite's.
    pub async fn next(&mut self) -> Result<Rows> {
        loop {
            self.changed.borrow_and_update();
            let stamp = self.reader.stamp(self.tables.clone()).await?;
            if self.stamp.as_ref() != Some(&stamp) {
                // The stamp is older than the answer, never newer: at worst a query runs once more.
                let rows = self.reader.query(self.sql.clone(), self.params.clone()).await?;
                self.stamp = Some(stamp);
                return Ok(rows);
            }
            self.changed.changed().await.map_err(|_| MobsterError::Closed)?;
        }
    }
}
