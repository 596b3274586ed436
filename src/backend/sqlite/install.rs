//! Our tables in somebody's database: created, looked at, removed without a trace.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};

use super::super::{BackendError, Change, Collection, Delivery, Detection, Key, Probe};
use super::failed;
use super::table::{bare_name, quote, quote_path};

/// The shared tables. No AUTOINCREMENT: it would leave `sqlite_sequence` behind; the queue does not mind reused numbers.
const TABLES: &str = "CREATE TABLE IF NOT EXISTS om_applied (
    mutation  BLOB    NOT NULL UNIQUE,
    digest    BLOB    NOT NULL,
    channel   TEXT    NOT NULL,
    record    TEXT    NOT NULL,
    key       TEXT,
    composite INTEGER NOT NULL,
    op        TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    at_ms     INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS om_applied_key ON om_applied (channel, key);
CREATE TABLE IF NOT EXISTS om_changes (
    n   INTEGER PRIMARY KEY,
    tbl TEXT NOT NULL,
    key TEXT
);
";

const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];

fn trigger_name(table: &str, operation: &str) -> String {
    quote(&format!("om_changes_{}_{operation}", bare_name(table)))
}

/// The statements of an installation.
pub(super) fn sql(collections: &[Arc<Collection>]) -> String {
    let mut out = String::from(TABLES);
    for collection in by_table(collections) {
        let table = quote_path(&collection.table);
        for operation in OPERATIONS {
            let images: &[&str] = match operation {
                "insert" => &["NEW"],
                "delete" => &["OLD"],
                _ => &["OLD", "NEW"],
            };
            // A change that moves a key is a delete and a create: both keys are queued, once where they are the same.
            let selects: Vec<String> = images
                .iter()
                .map(|image| format!("SELECT {}, {}", text(bare_name(&collection.table)), key_of(collection, image)))
                .collect();
            let trigger = trigger_name(&collection.table, operation);
            // Writing to a String never fails.
            let _ok = writeln!(
                out,
                "CREATE TRIGGER IF NOT EXISTS {trigger} AFTER {} ON {table} BEGIN\n    \
                 INSERT INTO om_changes (tbl, key) {};\nEND;",
                operation.to_uppercase(),
                selects.join(" UNION "),
            );
        }
    }
    out
}

/// The key of a row as text, exactly as [`Key::to_text`] has it.
fn key_of(collection: &Collection, image: &str) -> String {
    let columns: Vec<String> =
        collection.key.iter().map(|column| format!("CAST({image}.{} AS TEXT)", quote(&column.name))).collect();
    match columns.as_slice() {
        [only] => only.clone(),
        several => format!("json_array({})", several.join(", ")),
    }
}

fn text(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

/// One collection a table: several channels of one table share its triggers.
fn by_table(collections: &[Arc<Collection>]) -> Vec<&Arc<Collection>> {
    let mut seen = HashSet::new();
    collections.iter().filter(|collection| seen.insert(bare_name(&collection.table))).collect()
}

pub(super) fn in_transaction(connection: &Connection, backend: &str, sql: &str) -> Result<(), BackendError> {
    let run = || -> rusqlite::Result<()> {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(sql)?;
        transaction.commit()
    };
    run().map_err(|error| failed(backend, &error))
}

/// Removes the triggers, and the shared tables when nobody else's triggers fill them.
pub(super) fn remove(
    connection: &Connection,
    backend: &str,
    collections: &[Arc<Collection>],
) -> Result<(), BackendError> {
    let mut sql = String::new();
    for collection in by_table(collections) {
        for operation in OPERATIONS {
            let _ok = writeln!(sql, "DROP TRIGGER IF EXISTS {};", trigger_name(&collection.table, operation));
        }
    }
    in_transaction(connection, backend, &sql)?;
    const LEFT: &str =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'om\\_changes\\_%' ESCAPE '\\'";
    let left: u64 = connection.query_row(LEFT, [], |row| row.get(0)).map_err(|error| failed(backend, &error))?;
    if left > 0 {
        return Ok(());
    }
    in_transaction(connection, backend, "DROP TABLE IF EXISTS om_applied; DROP TABLE IF EXISTS om_changes;")
}

/// Whether writes can be deduplicated.
pub(super) fn has_applied(connection: &Connection, backend: &str) -> Result<bool, BackendError> {
    exists(connection, backend, "table", "om_applied")
}

fn exists(connection: &Connection, backend: &str, kind: &str, name: &str) -> Result<bool, BackendError> {
    connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = ?1 AND name = ?2")
        .and_then(|mut statement| statement.query_row([kind, name], |_| Ok(())).optional())
        .map(|found| found.is_some())
        .map_err(|error| failed(backend, &error))
}

/// The oldest entries of the queue that concern these collections.
pub(super) fn changes(
    connection: &Connection,
    backend: &str,
    collections: &[Arc<Collection>],
    limit: usize,
) -> Result<Vec<Change>, BackendError> {
    if !exists(connection, backend, "table", "om_changes")? {
        return Ok(Vec::new());
    }
    let read = || -> rusqlite::Result<Vec<(i64, String, Option<String>)>> {
        let mut statement = connection.prepare_cached("SELECT n, tbl, key FROM om_changes ORDER BY n LIMIT ?1")?;
        let rows = statement.query_map([limit as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    let entries = read().map_err(|error| failed(backend, &error))?;
    Ok(entries
        .into_iter()
        .map(|(number, table, key)| {
            let collection = collections.iter().find(|collection| bare_name(&collection.table) == table);
            Change {
                number,
                table: collection.map_or(table, |collection| collection.table.clone()),
                key: collection.zip(key).and_then(|(collection, key)| Key::parse(&key, &collection.key)),
            }
        })
        .collect())
}

/// Looks at a collection's table, by reading only.
pub(super) fn probe(connection: &Connection, backend: &str, collection: &Collection) -> Result<Probe, BackendError> {
    let table = bare_name(&collection.table);
    let columns: Vec<(String, bool, bool, i64)> = {
        // hidden: 2 and 3 are generated columns.
        const SELECT: &str =
            "SELECT name, \"notnull\", dflt_value IS NOT NULL OR hidden > 1, pk FROM pragma_table_xinfo(?1)";
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement = connection.prepare_cached(SELECT)?;
            let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect()
        };
        read().map_err(|error| failed(backend, &error))?
    };
    if columns.is_empty() {
        return Err(BackendError::Missing { backend: backend.to_owned(), what: format!("table `{table}`") });
    }
    let has = |name: &str| columns.iter().any(|(column, ..)| column == name);
    let named = collection.key.iter().chain(&collection.columns).map(|column| column.name.as_str());
    let mut missing: Vec<String> = named
        .chain(collection.filter.iter().map(|(column, _)| column.as_str()))
        .filter(|name| !has(name))
        .map(|name| format!("column `{name}` of table `{table}`"))
        .collect();
    missing.dedup();
    let is_field = |name: &str| {
        collection.columns.iter().chain(&collection.key).any(|column| column.name == name)
            || collection.filter.iter().any(|(column, _)| column == name)
    };
    let mut notes = Vec::new();
    for (name, not_null, filled, pk) in &columns {
        if *not_null && !*filled && *pk == 0 && !is_field(name) {
            notes.push(format!("column `{name}` must have a value and is no field: creates will be refused"));
        }
    }
    let triggers = {
        let mut all = true;
        for operation in OPERATIONS {
            let name = format!("om_changes_{table}_{operation}");
            all &= exists(connection, backend, "trigger", &name)?;
        }
        all && exists(connection, backend, "table", "om_changes")?
    };
    let applied = has_applied(connection, backend)?;
    let rows = if missing.is_empty() { count(connection, backend, collection)? } else { 0 };
    Ok(Probe {
        delivery: if applied { Delivery::ExactlyOnce } else { Delivery::BestEffort },
        detection: if triggers { Detection::Queue } else { Detection::HashDiff },
        rows,
        missing,
        notes,
    })
}

fn count(connection: &Connection, backend: &str, collection: &Collection) -> Result<u64, BackendError> {
    let filter: String = collection.filter.iter().map(|(column, _)| format!(" AND {} IS ?", quote(column))).collect();
    let sql = format!("SELECT count(*) FROM {} WHERE 1{filter}", quote_path(&collection.table));
    let values = collection.filter.iter().map(|(_, value)| super::table::bind(value));
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row(rusqlite::params_from_iter(values), |row| row.get(0)))
        .map_err(|error| failed(backend, &error))
}
