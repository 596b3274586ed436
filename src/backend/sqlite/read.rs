//! Reading: rows by key, rows in key order, dedupe rows, the change queue, and what the live table looks like.

use std::collections::HashMap;
use std::sync::Arc;

use omctl_protocol::{AssignedBy, FieldType, MutationId, RecordId};
use rusqlite::{Connection, OptionalExtension as _, Statement, params_from_iter};

use super::fault::Fault;
use super::install;
use super::plan::{Bound, LiveColumn, Plan, bare, live_columns, quote};
use super::session::State;
use crate::backend::{
    Applied, BackendRow, BadRow, Change, Collection, Column, Delivery, Detection, Key, Page, Probe, ReadRow,
};
use omctl_protocol::value::Value;

/// A row of one key, or why it cannot be represented, and whether it matches the filter.
pub(super) type Found = Option<(Result<BackendRow, BadRow>, bool)>;

/// Looks a key up, whether or not its row matches the filter, by a statement of [`Plan::by_key`].
pub(super) fn find(
    statement: &mut Statement<'_>,
    plan: &Plan,
    collection: &Collection,
    key: &Key,
) -> Result<Found, Fault> {
    let filter = collection.filter.iter().map(|(_, value)| Bound(value));
    let mut rows = statement.query(params_from_iter(filter.chain(key.0.iter().map(Bound))))?;
    while let Some(row) = rows.next()? {
        let found = plan.row(collection, row)?;
        // A column without regard to case also finds keys that are others to everybody else.
        if !matches!(&found, Ok(found) if found.key != *key) {
            let matches: bool = row.get(collection.key.len() + collection.columns.len())?;
            return Ok(Some((found, matches)));
        }
    }
    Ok(None)
}

pub(super) fn read(
    connection: &Connection,
    state: &mut State,
    collection: &Arc<Collection>,
    keys: &[Key],
) -> Result<Vec<ReadRow>, Fault> {
    let plan = state.plan(connection, collection)?;
    let mut statement = connection.prepare_cached(&plan.by_key)?;
    keys.iter()
        .map(|key| Ok(find(&mut statement, &plan, collection, key)?.and_then(|(row, matches)| matches.then_some(row))))
        .collect()
}

pub(super) fn scan(
    connection: &Connection,
    state: &mut State,
    collection: &Arc<Collection>,
    after: Option<&Key>,
    limit: usize,
) -> Result<Page, Fault> {
    let plan = state.plan(connection, collection)?;
    let sql = plan.scan(collection.key.len(), after.is_some());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut limit = limit.max(1);
    loop {
        // One more than asked for tells whether there is a next page.
        let last = Value::Int(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let filter = collection.filter.iter().map(|(_, value)| Bound(value));
        let behind = after.into_iter().flat_map(|key| key.0.iter().map(Bound));
        let mut rows = statement.query(params_from_iter(filter.chain(behind).chain([Bound(&last)])))?;
        let mut page = Page::default();
        let (mut seen, mut cursor, mut more) = (0, None, false);
        while let Some(row) = rows.next()? {
            if seen == limit {
                more = true;
                break;
            }
            seen += 1;
            match plan.row(collection, row)? {
                Ok(row) => {
                    cursor = Some(row.key.clone());
                    page.rows.push(row);
                }
                Err(bad) => {
                    cursor = bad.key.clone();
                    page.bad.push(bad);
                }
            }
        }
        if !more || cursor.is_some() {
            page.next = cursor.filter(|_| more);
            return Ok(page);
        }
        // The last row has no key that a next page could begin behind: this one takes in more, until one has.
        limit = limit.saturating_mul(2);
    }
}

/// The words for the kinds of a key's columns, kept beside its text so that it can be read without its channel.
pub(super) fn kinds(columns: &[Column]) -> String {
    columns.iter().map(|column| column.kind.word()).collect::<Vec<_>>().join(",")
}

fn key_of(text: &str, kinds: &str) -> Option<Key> {
    let columns: Option<Vec<Column>> = kinds
        .split(',')
        .map(|word| {
            let kind = FieldType::ALL.into_iter().find(|kind| kind.word() == word)?;
            Some(Column { name: String::new(), kind, read_only: false })
        })
        .collect();
    Key::parse(text, &columns?)
}

/// Looks a mutation up; read by [`applied_row`].
pub(super) const APPLIED_ONE: &str =
    "SELECT digest, outcome, record, key, key_kinds FROM main.om_applied WHERE mutation = ?1";

/// The dedupe row of one mutation, by a statement of [`APPLIED_ONE`].
pub(super) fn applied_row(statement: &mut Statement<'_>, mutation: MutationId) -> Result<Option<Applied>, Fault> {
    let row = statement
        .query_row([mutation.0.as_bytes().as_slice()], |row| {
            let digest: Vec<u8> = row.get(0)?;
            let (outcome, record): (String, String) = (row.get(1)?, row.get(2)?);
            let (key, kinds): (Option<String>, String) = (row.get(3)?, row.get(4)?);
            Ok((digest, outcome, record, key, kinds))
        })
        .optional()?;
    let Some((digest, outcome, record, key, kinds)) = row else { return Ok(None) };
    let spoiled = || Fault::Bad(format!("the dedupe row of mutation {mutation} was changed by somebody"));
    let key = match key {
        Some(text) => Some(key_of(&text, &kinds).ok_or_else(spoiled)?),
        None => None,
    };
    let digest = digest.try_into().map_err(|_| spoiled())?;
    Ok(Some(Applied { digest, outcome, record: RecordId::from(record), key }))
}

pub(super) fn applied(
    connection: &Connection,
    state: &State,
    mutations: &[MutationId],
) -> Result<HashMap<MutationId, Applied>, Fault> {
    let mut found = HashMap::new();
    if state.ledger {
        let mut statement = connection.prepare_cached(APPLIED_ONE)?;
        for mutation in mutations {
            if let Some(applied) = applied_row(&mut statement, *mutation)? {
                found.insert(*mutation, applied);
            }
        }
    }
    Ok(found)
}

pub(super) fn born(
    connection: &Connection,
    state: &State,
    collection: &Collection,
    keys: &[Key],
) -> Result<HashMap<String, RecordId>, Fault> {
    let mut records = HashMap::new();
    if !state.ledger {
        return Ok(records);
    }
    // A natural key may have been created, deleted and created again: the latest birth counts.
    let mut statement = connection.prepare_cached(
        "SELECT record FROM main.om_applied WHERE op = 'insert' AND channel = ?1 AND key = ?2 \
         ORDER BY at DESC, mutation DESC LIMIT 1",
    )?;
    for key in keys {
        let text = key.to_text();
        let record: Option<String> =
            statement.query_row((collection.channel.as_str(), &text), |row| row.get(0)).optional()?;
        if let Some(record) = record {
            records.insert(text, RecordId::from(record));
        }
    }
    Ok(records)
}

pub(super) fn changes(
    connection: &Connection,
    state: &State,
    collections: &[Arc<Collection>],
    limit: usize,
) -> Result<Vec<Change>, Fault> {
    if !state.queue || collections.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT n, tbl, key FROM main.om_changes WHERE tbl COLLATE NOCASE IN ({}) ORDER BY n LIMIT {limit}",
        vec!["?"; collections.len()].join(", ")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(collections.iter().map(|one| bare(&one.table))))?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, table): (i64, String) = (row.get(0)?, row.get(1)?);
        let key: Option<String> = row.get(2)?;
        if let Some(collection) = collections.iter().find(|one| bare(&one.table).eq_ignore_ascii_case(&table)) {
            let key = key.and_then(|text| Key::parse(&text, &collection.key));
            changes.push(Change { number, table: collection.table.clone(), key });
        }
    }
    Ok(changes)
}

pub(super) fn probe(connection: &Connection, state: &mut State, collection: &Arc<Collection>) -> Result<Probe, Fault> {
    let table = bare(&collection.table);
    let live = live_columns(connection, table)?;
    let mut missing = Vec::new();
    if live.is_empty() {
        missing.push(format!("table \"{table}\""));
    } else {
        let names = collection.key.iter().chain(&collection.columns).map(|column| &column.name);
        for name in names.chain(collection.filter.iter().map(|(name, _)| name)) {
            let what = format!("column \"{name}\" of table \"{table}\"");
            if !live.iter().any(|column| column.name.eq_ignore_ascii_case(name)) && !missing.contains(&what) {
                missing.push(what);
            }
        }
    }
    let triggers = install::triggers_there(connection, collection)?;
    let detection = if state.queue && triggers == 3 { Detection::Queue } else { Detection::HashDiff };
    let delivery = if state.ledger { Delivery::ExactlyOnce } else { Delivery::BestEffort };
    let (mut rows, mut notes) = (0, Vec::new());
    if missing.is_empty() {
        let plan = state.plan(connection, collection)?;
        let filter = collection.filter.iter().map(|(_, value)| Bound(value));
        let count: i64 =
            connection.prepare_cached(&plan.count())?.query_row(params_from_iter(filter), |row| row.get(0))?;
        rows = count.unsigned_abs();
        notes = self::notes(connection, collection, table, &live)?;
        if (1..3).contains(&triggers) {
            notes.push(format!("some triggers of table \"{table}\" are not as they were installed: install it again"));
        }
    }
    Ok(Probe { delivery, detection, rows, missing, notes })
}

fn notes(
    connection: &Connection,
    collection: &Collection,
    table: &str,
    live: &[LiveColumn],
) -> Result<Vec<String>, Fault> {
    let mut notes = Vec::new();
    let unkeyed = rows_without_key(connection, collection, table, live)?;
    if unkeyed > 0 {
        let rows = if unkeyed == 1 { "row has" } else { "rows have" };
        notes.push(format!("{unkeyed} {rows} no key (NULL): nobody sees what cannot be told apart"));
    }
    let kind = install::object_kind(connection, table)?;
    if kind.as_deref() == Some("view") {
        notes.push(format!("\"{table}\" is a view: it can be read, not written, and gets no triggers"));
        return Ok(notes);
    }
    let in_key = |name: &str| collection.key.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    for column in live {
        let known = in_key(&column.name)
            || collection.columns.iter().any(|one| one.name.eq_ignore_ascii_case(&column.name))
            || collection.filter.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name));
        if column.not_null && column.default.is_none() && !column.generated && !known {
            notes.push(format!(
                "column \"{}\" is required, has no default and is no field: devices cannot create records here",
                column.name
            ));
        }
    }
    let unique = unique_keys(connection, table, live)?;
    let same = |columns: &Vec<String>| columns.len() == collection.key.len() && columns.iter().all(|name| in_key(name));
    if !unique.iter().any(same) {
        notes.push("the key has no unique index: two rows may share it, and reading one is slow".to_owned());
    }
    if collection.assigned_by == AssignedBy::Backend {
        let alias = rowid_alias(connection, table, live)?;
        let assigns = |column: &LiveColumn| column.default.is_some() || alias.as_deref() == Some(&column.name);
        if !live.iter().filter(|column| in_key(&column.name)).all(assigns) {
            notes.push("the key is declared as assigned by the backend, but nothing there assigns it".to_owned());
        }
    }
    Ok(notes)
}

/// Rows of which the key is NULL: SQLite takes them, by an old bug that is kept, even into a primary key.
fn rows_without_key(
    connection: &Connection,
    collection: &Collection,
    table: &str,
    live: &[LiveColumn],
) -> Result<u64, rusqlite::Error> {
    let may_be_null = |name: &str| {
        let is_it = |column: &&LiveColumn| column.name.eq_ignore_ascii_case(name);
        live.iter().find(is_it).is_some_and(|column| !column.not_null && !is_rowid_alias(live, column))
    };
    let nullable: Vec<String> = (collection.key.iter())
        .filter(|column| may_be_null(&column.name))
        .map(|column| format!("{} IS NULL", quote(&column.name)))
        .collect();
    if nullable.is_empty() {
        return Ok(0);
    }
    // Only of what is synced at all.
    let mut wheres: Vec<String> = collection.filter.iter().map(|(name, _)| format!("{} IS ?", quote(name))).collect();
    wheres.push(format!("({})", nullable.join(" OR ")));
    let sql = format!("SELECT count(*) FROM main.{} WHERE {}", quote(table), wheres.join(" AND "));
    let filter = collection.filter.iter().map(|(_, value)| Bound(value));
    connection.prepare_cached(&sql)?.query_row(params_from_iter(filter), |row| row.get(0))
}

/// Whether the column is `INTEGER PRIMARY KEY`, as far as the columns alone tell.
fn is_rowid_alias(live: &[LiveColumn], column: &LiveColumn) -> bool {
    column.key_place == 1
        && column.declared.eq_ignore_ascii_case("INTEGER")
        && live.iter().filter(|other| other.key_place > 0).count() == 1
}

/// The column that is the rowid: SQLite fills it in by itself.
pub(crate) fn rowid_alias(
    connection: &Connection,
    table: &str,
    live: &[LiveColumn],
) -> Result<Option<String>, rusqlite::Error> {
    let Some(column) = live.iter().find(|column| is_rowid_alias(live, column)) else { return Ok(None) };
    // `INTEGER PRIMARY KEY DESC` is no alias, by an old bug that is kept, nor is the key of a table without rowid: both
    // have an index of their own.
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM pragma_index_list(?1, 'main') WHERE origin = 'pk'")?;
    let indexes: i64 = statement.query_row([table], |row| row.get(0))?;
    Ok((indexes == 0).then(|| column.name.clone()))
}

/// Column lists that are unique in the table: its primary key first, then its unique indexes.
pub(crate) fn unique_keys(
    connection: &Connection,
    table: &str,
    live: &[LiveColumn],
) -> Result<Vec<Vec<String>>, rusqlite::Error> {
    let mut keys = Vec::new();
    let mut primary: Vec<&LiveColumn> = live.iter().filter(|column| column.key_place > 0).collect();
    primary.sort_by_key(|column| column.key_place);
    if !primary.is_empty() {
        keys.push(primary.into_iter().map(|column| column.name.clone()).collect());
    }
    let mut statement = connection.prepare_cached(
        "SELECT name FROM pragma_index_list(?1, 'main') WHERE \"unique\" = 1 AND partial = 0 AND origin <> 'pk' \
         ORDER BY seq DESC",
    )?;
    let indexes: Vec<String> = statement.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for index in indexes {
        let columns: Vec<Option<String>> = connection
            .prepare_cached("SELECT name FROM pragma_index_info(?1, 'main') ORDER BY seqno")?
            .query_map([&index], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        // An index over an expression has no column name there.
        if let Some(columns) = columns.into_iter().collect::<Option<Vec<String>>>() {
            keys.push(columns);
        }
    }
    Ok(keys)
}
