//! Databases in memory that several connections share, and copies of them.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

/// A database in memory that outlives the connections to it. They lock each other out, as those to a file do.
pub(crate) struct Memory {
    uri: String,
    keeper: Connection,
}

impl Memory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let uri = format!("file:/memory-{}?vfs=memdb", NUMBER.fetch_add(1, Ordering::Relaxed));
        let keeper = open(&uri);
        small_pages(&keeper);
        Self { uri, keeper }
    }

    /// One more connection to it.
    pub(crate) fn open(&self) -> Connection {
        open(&self.uri)
    }

    /// Makes it what a copy of it is.
    pub(crate) fn set_back(&mut self, copy: &Connection) {
        copy_into(copy, &mut self.keeper);
    }
}

fn open(uri: &str) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags).expect("memory is there")
}

/// Most trees of a simulated database hold a few rows, and all of them are copied often: a small page is enough for each.
pub(crate) fn small_pages(empty: &Connection) {
    // Whoever writes first decides for all.
    empty.execute_batch("PRAGMA page_size = 1024; PRAGMA user_version = 0").expect("settings");
}

pub(crate) fn copy(from: &Connection) -> Connection {
    let mut to = Connection::open_in_memory().expect("memory is there");
    copy_into(from, &mut to);
    to
}

/// Makes one database what another is.
pub(crate) fn copy_into(from: &Connection, to: &mut Connection) {
    let backup = Backup::new(from, to).expect("a database in memory can be copied");
    backup.step(-1).expect("a database in memory can be copied");
}

/// Whether a database has any room left. Its disk must be spared: this is no statement of the server or the app.
pub(crate) fn set_full(connection: &Connection, is_full: bool) {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
    let most = if is_full { pages } else { i64::from(u32::MAX) - 1 };
    connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(())).expect("a setting");
}

#[test]
fn every_connection_has_the_small_pages() {
    let memory = Memory::new();
    let (one, other) = (memory.open(), memory.open());
    one.execute_batch("CREATE TABLE t (x)").unwrap();
    let size = |connection: &Connection| connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0));
    assert_eq!((size(&one), size(&other), size(&copy(&other))), (Ok(1024), Ok(1024), Ok(1024)));
}
