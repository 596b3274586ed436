//! What SQLite's errors mean: for the whole backend ([`Fault`]) or for one write ([`refusal`]).
//!
//! *Invariant:* no message carries a value of a row; SQLite's own texts name columns and constraints only.

use rusqlite::ffi;

use crate::backend::{BackendError, Written};

/// What stops a whole call. Becomes a [`BackendError`] once the backend's name is known.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's own error.
    Sql(rusqlite::Error),
    /// A table or column that is not there.
    Missing(String),
    /// Somebody changed what we installed into something we cannot read.
    Bad(String),
    /// The commit failed in a way that leaves its effect open, and there is no dedupe row to ask.
    Ambiguous(String),
    /// Another file stands in the place of the one that is open.
    Replaced,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    /// The error that the room's callers see.
    pub(super) fn into_error(self, backend: &str) -> BackendError {
        let backend = backend.to_owned();
        match self {
            Self::Missing(what) => BackendError::Missing { backend, what },
            Self::Bad(message) => BackendError::BadResponse { backend, message },
            Self::Ambiguous(message) => BackendError::Ambiguous { backend, message },
            Self::Replaced => BackendError::Replaced { backend },
            Self::Sql(error) => match missing(&error) {
                Some(what) => BackendError::Missing { backend, what },
                None => match primary_code(&error) {
                    // Not SQLite's own errors are those of reading an answer: our tables, changed by somebody.
                    None | Some(ffi::SQLITE_ERROR | ffi::SQLITE_MISUSE | ffi::SQLITE_RANGE) => {
                        BackendError::BadResponse { backend, message: message(&error) }
                    }
                    _ => BackendError::Unavailable { backend, message: message(&error) },
                },
            },
        }
    }

    /// Whether the connection may be what is wrong, so that the next call should open a new one.
    pub(super) fn spoils_connection(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(
            primary_code(error),
            Some(
                ffi::SQLITE_IOERR
                    | ffi::SQLITE_CORRUPT
                    | ffi::SQLITE_NOTADB
                    | ffi::SQLITE_CANTOPEN
                    | ffi::SQLITE_READONLY
                    | ffi::SQLITE_PROTOCOL
                    | ffi::SQLITE_MISUSE
            )
        )
    }
}

/// The primary result code (<https://www.sqlite.org/rescode.html>), where the error came from SQLite.
pub(super) fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.extended_code),
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => None,
    }
}

/// SQLite's words.
pub(super) fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(words)) => words.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// What a schema error misses: `table "x"`, `column "y"`.
fn missing(error: &rusqlite::Error) -> Option<String> {
    if primary_code(error) != Some(ffi::SQLITE_ERROR) {
        return None;
    }
    let words = message(error);
    if let Some((_, table)) = words.split_once("no such table: ") {
        return Some(format!("table \"{}\"", table.strip_prefix("main.").unwrap_or(table)));
    }
    if let Some((_, column)) = words.split_once("no such column: ") {
        return Some(format!("column \"{column}\""));
    }
    let (table, column) = words.split_once(" has no column named ")?;
    let table = table.strip_prefix("table ").unwrap_or(table);
    Some(format!("column \"{column}\" of table \"{table}\""))
}

/// The answer to one write that this error refuses for good; `None` where it concerns more than this write.
pub(super) fn refusal(error: &rusqlite::Error) -> Option<Written> {
    let extended = extended_code(error)?;
    let words = message(error);
    let refused = |code, column| Some(Written::Refused { code, column, message: words.clone() });
    match (extended & 0xff, extended) {
        (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => refused("reference", None),
        (_, ffi::SQLITE_CONSTRAINT_DATATYPE) => refused("bad_value", None),
        (_, ffi::SQLITE_CONSTRAINT_NOTNULL | ffi::SQLITE_CONSTRAINT_UNIQUE) => {
            refused("constraint", constraint_column(&words))
        }
        (ffi::SQLITE_CONSTRAINT, _) => refused("constraint", None),
        (ffi::SQLITE_MISMATCH | ffi::SQLITE_TOOBIG, _) => refused("bad_value", None),
        // A view, a function that only the owner's program defines, arithmetic in a trigger: it will not get better.
        (ffi::SQLITE_ERROR, _) if missing(error).is_none() => refused("not_allowed", None),
        _ => None,
    }
}

/// Whether the error is a conflict of keys.
pub(super) fn is_key_conflict(error: &rusqlite::Error) -> bool {
    matches!(
        extended_code(error),
        Some(ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID | ffi::SQLITE_CONSTRAINT_UNIQUE)
    )
}

/// The only column that `NOT NULL constraint failed: Track.Name` names; `None` where it names several or an index.
fn constraint_column(words: &str) -> Option<String> {
    let (_, columns) = words.split_once("constraint failed: ")?;
    if columns.contains(", ") {
        return None;
    }
    columns.rsplit_once('.').map(|(_, column)| column.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(setup: &str, statement: &str) -> rusqlite::Error {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(setup).unwrap();
        connection.execute_batch(statement).unwrap_err()
    }

    #[test]
    fn schema_errors_name_what_is_missing() {
        for (statement, what) in [
            ("SELECT 1 FROM gone", "backend `x` has no table \"gone\""),
            ("SELECT gone FROM t", "backend `x` has no column \"gone\""),
            ("INSERT INTO t (gone) VALUES (1)", "backend `x` has no column \"gone\" of table \"t\""),
        ] {
            let error = failing("CREATE TABLE t (a)", statement);
            assert_eq!(refusal(&error), None);
            assert_eq!(Fault::Sql(error).into_error("x").to_string(), what);
        }
    }

    #[test]
    fn refusals_name_code_and_column() {
        let error = failing("CREATE TABLE t (a NOT NULL)", "INSERT INTO t VALUES (NULL)");
        let Some(Written::Refused { code, column, .. }) = refusal(&error) else { panic!("{error}") };
        assert_eq!((code, column.as_deref()), ("constraint", Some("a")));
        let error = failing("CREATE VIEW v AS SELECT 1 AS a", "INSERT INTO v VALUES (2)");
        assert!(matches!(refusal(&error), Some(Written::Refused { code: "not_allowed", .. })), "{error}");
    }
}
