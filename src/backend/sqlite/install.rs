//! Our tables in somebody's database: the dedupe rows `om_applied`, the change queue `om_changes` and its triggers.
//!
//! *Invariant:* install and then remove leaves the schema byte for byte as it was. So nothing here uses AUTOINCREMENT,
//! which would leave `sqlite_sequence` behind.

use std::sync::Arc;

use omctl_protocol::FieldType;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::fault::Fault;
use super::plan::{Plan, bare, literal, quote};
use super::session::State;
use crate::backend::{Collection, Column};

/// The dedupe rows. The key's text is what ingest joins; the kinds of its columns make it readable without its channel.
const APPLIED: &str = "CREATE TABLE om_applied (
  mutation BLOB PRIMARY KEY NOT NULL, -- the mutation's id, 16 bytes
  digest BLOB NOT NULL,               -- of the payload that was applied under it, 16 bytes
  channel TEXT NOT NULL,
  record TEXT NOT NULL,               -- the record's id on devices
  key TEXT,                           -- the row's key
  key_kinds TEXT NOT NULL,            -- the types of the key's columns
  op TEXT NOT NULL,                   -- insert, update, delete or nothing
  outcome TEXT NOT NULL,              -- what the receipt is made from
  at INTEGER NOT NULL                 -- milliseconds since 1970
) WITHOUT ROWID";

const APPLIED_BORN: &str = "CREATE INDEX om_applied_born ON om_applied (channel, key) WHERE op = 'insert'";

/// By what the table is told from one that is made anew ([`crate::backend::LEDGER`]).
const LEDGER: &str = "INSERT INTO om_applied (mutation, digest, channel, record, key_kinds, op, outcome, at)
  SELECT zeroblob(16), randomblob(16), '', '', '', 'nothing', '', 0
  WHERE NOT EXISTS (SELECT 1 FROM om_applied WHERE mutation = zeroblob(16))";

/// The change queue. A key that is NULL asks for a look at the whole table.
const CHANGES: &str = "CREATE TABLE om_changes (
  n INTEGER PRIMARY KEY,
  tbl TEXT NOT NULL, -- the table; empty in the entry that only keeps its number from being given again
  key TEXT,          -- the key of a row that was inserted, changed or deleted
  at INTEGER NOT NULL -- milliseconds since 1970
)";

/// The time in a trigger, in a form that old SQLites of other programs understand as well.
const NOW_MS: &str = "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)";

/// Names and statements of a collection's triggers.
fn triggers(collection: &Collection) -> [(String, String); 3] {
    let table = bare(&collection.table);
    let entry = |row: &str, condition: &str| {
        let (table, key) = (literal(table), key_text(&collection.key, row));
        format!("INSERT INTO om_changes (tbl, key, at) SELECT {table}, {key}, {NOW_MS}{condition};")
    };
    let moved = collection.key.iter().map(|column| {
        let column = quote(&column.name);
        format!("OLD.{column} IS NOT NEW.{column}")
    });
    let moved = format!(" WHERE {}", moved.collect::<Vec<_>>().join(" OR "));
    [
        ("insert", entry("NEW", "")),
        ("update", format!("{} {}", entry("NEW", ""), entry("OLD", &moved))),
        ("delete", entry("OLD", "")),
    ]
    .map(|(event, body)| {
        let name = format!("om_changes_{table}_{event}");
        let upper = event.to_ascii_uppercase();
        let sql = format!("CREATE TRIGGER {} AFTER {upper} ON {} BEGIN {body} END", quote(&name), quote(table));
        (name, sql)
    })
}

/// The SQL of `Key::to_text` over a row of a trigger.
fn key_text(columns: &[Column], row: &str) -> String {
    let text = |column: &Column| {
        let value = format!("{row}.{}", quote(&column.name));
        match column.kind {
            // 17 digits bring back the same double; CAST gives 15.
            FieldType::Float => format!("printf('%!.17g', {value})"),
            FieldType::Bool => format!("CASE {value} WHEN 0 THEN 'false' WHEN 1 THEN 'true' END"),
            // No SQL makes base64: such a table is swept.
            FieldType::Bytes => "NULL".to_owned(),
            _ => format!("CAST({value} AS TEXT)"),
        }
    };
    match columns {
        [only] => text(only),
        several => format!("json_array({})", several.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

/// `table`, `view`, `virtual` or `shadow`; `None` where nothing has this name.
pub(super) fn object_kind(connection: &Connection, table: &str) -> Result<Option<String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE")?
        .query_row([table], |row| row.get(0))
        .optional()
}

fn sql_of(connection: &Connection, name: &str) -> Result<Option<String>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT sql FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// How many of a collection's three triggers are there exactly as they are made.
pub(super) fn triggers_there(connection: &Connection, collection: &Collection) -> Result<usize, rusqlite::Error> {
    let mut there = 0;
    for (name, sql) in triggers(collection) {
        there += usize::from(sql_of(connection, &name)?.as_deref() == Some(sql.as_str()));
    }
    Ok(there)
}

pub(super) fn install_sql(collections: &[Arc<Collection>]) -> String {
    let once = |sql: &str| {
        let sql = sql.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1);
        sql.replacen("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS ", 1)
    };
    let tables = [APPLIED, APPLIED_BORN, CHANGES].map(once);
    let mut out = format!("BEGIN IMMEDIATE;\n{};\n{LEDGER};\n", tables.join(";\n"));
    for collection in collections {
        for (name, sql) in triggers(collection) {
            out.push_str(&format!("DROP TRIGGER IF EXISTS {};\n{sql};\n", quote(&name)));
        }
    }
    out.push_str("COMMIT;\n");
    out
}

pub(super) fn install(
    connection: &mut Connection,
    state: &mut State,
    collections: &[Arc<Collection>],
) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (name, sql) in [("om_applied", APPLIED), ("om_applied_born", APPLIED_BORN), ("om_changes", CHANGES)] {
        if sql_of(&transaction, name)?.is_none() {
            transaction.execute_batch(sql)?;
        }
    }
    transaction.execute_batch(LEDGER)?;
    for collection in collections {
        // Names what is missing before a trigger fails at somebody else's next write.
        Plan::new(&transaction, collection)?;
        if object_kind(&transaction, bare(&collection.table))?.as_deref() != Some("table") {
            continue;
        }
        for (name, sql) in triggers(collection) {
            match sql_of(&transaction, &name)? {
                Some(there) if there == sql => {}
                Some(_) => transaction.execute_batch(&format!("DROP TRIGGER main.{}; {sql}", quote(&name)))?,
                None => transaction.execute_batch(&sql)?,
            }
        }
    }
    transaction.commit()?;
    state.refresh(connection)
}

pub(super) fn remove(
    connection: &mut Connection,
    state: &mut State,
    collections: &[Arc<Collection>],
) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for collection in collections {
        for (name, _) in triggers(collection) {
            transaction.execute_batch(&format!("DROP TRIGGER IF EXISTS main.{}", quote(&name)))?;
        }
    }
    let left: i64 = transaction.query_row(
        "SELECT count(*) FROM main.sqlite_schema \
         WHERE type = 'trigger' AND name LIKE 'om\\_changes\\_%' ESCAPE '\\' AND sql LIKE '%INTO om\\_changes%' ESCAPE '\\'",
        [],
        |row| row.get(0),
    )?;
    if left == 0 {
        transaction.execute_batch("DROP TABLE IF EXISTS main.om_applied; DROP TABLE IF EXISTS main.om_changes")?;
    }
    transaction.commit()?;
    state.refresh(connection)
}

/// Deletes entries of the queue. The newest number stays as a blank entry: SQLite would give it again, and an answer
/// that was lost and asked for again would then delete a change that nobody has seen.
pub(super) fn forget(connection: &mut Connection, state: &mut State, numbers: &[i64]) -> Result<(), Fault> {
    if !state.queue || numbers.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest: Option<i64> =
        transaction.prepare_cached("SELECT max(n) FROM main.om_changes")?.query_row([], |row| row.get(0))?;
    let old_blank = match state.blank {
        Some(known) => known,
        None => transaction.query_row("SELECT max(n) FROM main.om_changes WHERE tbl = ''", [], |row| row.get(0))?,
    };
    let mut blank = old_blank;
    {
        let mut delete = transaction.prepare_cached("DELETE FROM main.om_changes WHERE n = ?1")?;
        for number in numbers.iter().filter(|number| Some(**number) != newest) {
            delete.execute([number])?;
        }
        if let Some(newest) = newest.filter(|newest| numbers.contains(newest)) {
            transaction
                .prepare_cached("UPDATE main.om_changes SET tbl = '', key = NULL WHERE n = ?1")?
                .execute([newest])?;
            blank = Some(newest);
        }
        if let Some(old) = old_blank.filter(|old| Some(*old) != newest) {
            delete.execute([old])?;
            blank = blank.filter(|blank| *blank != old);
        }
    }
    transaction.commit()?;
    state.blank = Some(blank);
    Ok(())
}

/// Deletes old dedupe rows, some at a time, so that nobody waits long for the write lock.
pub(super) fn prune(connection: &Connection, state: &State, before_ms: i64) -> Result<u64, Fault> {
    const AT_ONCE: usize = 5_000;
    let mut pruned = 0;
    if !state.ledger {
        return Ok(0);
    }
    loop {
        let deleted = connection
            .prepare_cached(
                "DELETE FROM main.om_applied WHERE mutation IN \
                 (SELECT mutation FROM main.om_applied WHERE at < ?1 AND mutation <> zeroblob(16) LIMIT ?2)",
            )?
            .execute((before_ms, AT_ONCE as i64))?;
        pruned += deleted as u64;
        if deleted < AT_ONCE {
            return Ok(pruned);
        }
    }
}
