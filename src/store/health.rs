//! Looks at a store's file without being its server: for `omctl doctor`, while one runs or not.
//!
//! *Invariant:* nothing in the store is changed, and nothing is migrated.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{SCHEMA, StoreError, sqlite_error};

/// What a store's file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The shape of its tables.
    pub schema: i64,
    /// What SQLite found wrong; `None` for a sound one.
    pub damage: Option<String>,
}

/// The SQLite in this binary.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Opens the file for reading and checks its pages and rows, without comparing indexes with their tables.
///
/// # Errors
/// [`StoreError::Open`], [`StoreError::Newer`], [`StoreError::Damaged`].
pub fn examine(path: &Path) -> Result<Examined, StoreError> {
    let open = |error: rusqlite::Error| StoreError::Open { path: path.to_owned(), message: error.to_string() };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(open)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000;").map_err(open)?;
    let schema: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite_error)?;
    if schema > SCHEMA {
        return Err(StoreError::Newer { path: path.to_owned(), found: schema, known: SCHEMA });
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite_error)?;
    Ok(Examined { schema, damage: Some(found).filter(|found| found != "ok") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_store_a_newer_one_and_a_damaged_one_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let connection = Connection::open(&path).unwrap();
        super::super::migrate(&connection, &path).unwrap();
        assert_eq!(examine(&path).unwrap(), Examined { schema: SCHEMA, damage: None });
        connection.execute_batch(&format!("PRAGMA user_version = {}", SCHEMA + 1)).unwrap();
        assert!(matches!(examine(&path), Err(StoreError::Newer { .. })));
        connection.execute_batch("PRAGMA user_version = 1").unwrap();
        drop(connection);
        let mut bytes = std::fs::read(&path).unwrap();
        // The second page is the root of a table; what it counts is on it no more.
        bytes[4096..4200].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let examined = examine(&path);
        assert!(examined.as_ref().map_or(true, |one| one.damage.is_some()), "{examined:?}");
        assert!(matches!(examine(&folder.path().join("none.db")), Err(StoreError::Open { .. })));
    }
}
