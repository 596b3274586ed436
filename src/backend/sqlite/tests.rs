//! The contract suite over both modes, and what only SQLite can do.

use std::path::PathBuf;

use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, FieldType};
use tempfile::TempDir;

use super::*;
use crate::backend::contract::{self, Harness, System, TABLES};
use crate::backend::{Column, Delivery, Detection, Effect, introspect};

fn dump(connection: &Connection) -> String {
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid")
        .unwrap();
    let rows = statement
        .query_map([], |row| {
            Ok([row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?].join("|"))
        })
        .unwrap();
    rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

/// A file, its own threads, and foreign statements through a connection of their own.
struct Threaded;

struct ThreadedSystem {
    dir: TempDir,
    backend: Option<SqliteBackend>,
}

impl ThreadedSystem {
    fn new(schema: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut system = Self { dir, backend: None };
        Connection::open(system.path()).unwrap().execute_batch(schema).unwrap();
        system.crash();
        system
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("foreign.db")
    }
}

impl Harness for Threaded {
    fn system(&self) -> Box<dyn System> {
        Box::new(ThreadedSystem::new(TABLES))
    }
}

impl System for ThreadedSystem {
    fn backend(&self) -> &dyn Backend {
        self.backend.as_ref().unwrap()
    }

    fn foreign(&self, statements: &str) {
        let connection = Connection::open(self.path()).unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection.execute_batch(statements).unwrap();
    }

    fn crash(&mut self) {
        self.backend = None;
        self.backend = Some(SqliteBackend::open("foreign", self.path()).unwrap());
    }

    fn schema_dump(&self) -> String {
        dump(&Connection::open(self.path()).unwrap())
    }
}

/// One connection for everybody, on the calling thread.
struct Inline;

struct InlineSystem {
    connection: Arc<Mutex<Connection>>,
    backend: SqliteBackend,
}

impl Harness for Inline {
    fn system(&self) -> Box<dyn System> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let connection = Arc::new(Mutex::new(connection));
        let backend = SqliteBackend::inline("inline", Arc::clone(&connection)).unwrap();
        Box::new(InlineSystem { connection, backend })
    }
}

impl System for InlineSystem {
    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn foreign(&self, statements: &str) {
        self.connection.lock().unwrap().execute_batch(statements).unwrap();
    }

    fn crash(&mut self) {
        self.backend = SqliteBackend::inline("inline", Arc::clone(&self.connection)).unwrap();
    }

    fn schema_dump(&self) -> String {
        dump(&self.connection.lock().unwrap())
    }
}

#[tokio::test]
async fn threads_keep_the_contract() {
    contract::run(&Threaded).await;
}

#[test]
fn inline_keeps_the_contract_without_a_runtime() {
    futures_util::future::FutureExt::now_or_never(contract::run(&Inline)).expect("nothing is ever pending inline");
}
