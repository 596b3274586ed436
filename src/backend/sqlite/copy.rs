//! A copy of a whole database file, as of one moment, while others write to it.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::BackendError;

/// Pages that are copied under one lock.
const PAGES: i32 = 4_096;

/// Pause after that, for those who write.
const PAUSE: Duration = Duration::from_millis(1);

/// Copies a database to a file that is not there yet.
///
/// # Errors
/// [`BackendError::Unavailable`] where one of them cannot be opened, read or written.
pub fn copy(name: &str, from: &Path, to: &Path) -> Result<(), BackendError> {
    let copy = || -> rusqlite::Result<()> {
        // Not read-only: whoever opens a database in WAL mode may have to recover its log.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let source = Connection::open_with_flags(from, flags)?;
        source.busy_timeout(Duration::from_secs(10))?;
        let mut target = Connection::open(to)?;
        Backup::new(&source, &mut target)?.run_to_completion(PAGES, PAUSE, None)
    };
    copy().map_err(|error| BackendError::Unavailable { backend: name.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_is_only_in_the_log_yet_and_a_missing_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let open = Connection::open(&from).unwrap();
        open.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (7);").unwrap();
        copy("a", &from, &to).unwrap();
        let x: i64 = Connection::open(&to).unwrap().query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(x, 7);
        let missing = copy("a", &folder.path().join("c.db"), &folder.path().join("d.db")).unwrap_err();
        assert!(missing.to_string().contains("`a`"), "{missing}");
    }
}
