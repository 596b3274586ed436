//! The tables of a SQLite file.
//!
//! SQLite keeps what it is given: a DATETIME column may hold texts, numbers or both. A type is believed only if every
//! sampled value is one, and for dates and uuids only if it is spelled canonically, so that a device's write never
//! changes a spelling that other programs compare.

mod checks;

use std::path::Path;
use std::time::Duration;

use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, FieldType};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use self::checks::{Check, checks, ignores_case};
use super::{ColumnShape, KeyFit, Reference, SAMPLE_ROWS, TableShape};
use crate::backend::BackendError;
use crate::backend::sqlite::plan::{LiveColumn, live_columns, quote, stored};
use crate::backend::sqlite::read::{rowid_alias, unique_keys};

/// Reads the tables and views of a file, in the order of their names.
///
/// # Errors
/// [`BackendError::Unavailable`] if the file cannot be opened or is no SQLite database, [`BackendError::BadResponse`] if
/// its schema cannot be read (a view over a table that is gone, for example).
pub fn tables(path: &Path) -> Result<Vec<TableShape>, BackendError> {
    let backend = || path.display().to_string();
    let read = || -> Result<Vec<TableShape>, (Option<String>, rusqlite::Error)> {
        let connection = open(path).map_err(|error| (None, error))?;
        let objects = objects(&connection).map_err(|error| (None, error))?;
        objects.iter().map(|one| shape(&connection, one).map_err(|error| (Some(one.name.clone()), error))).collect()
    };
    read().map_err(|(table, error)| match (table, error.sqlite_error_code()) {
        (Some(table), Some(rusqlite::ErrorCode::Unknown)) => {
            BackendError::BadResponse { backend: backend(), message: format!("`{table}` cannot be read: {error}") }
        }
        (_, _) => BackendError::Unavailable { backend: backend(), message: error.to_string() },
    })
}

/// Whether these columns of a table or view tell its rows apart, by the rows that are there now.
///
/// # Errors
/// [`BackendError::BadResponse`] if they cannot be read.
pub fn key_fits(path: &Path, table: &str, columns: &[String]) -> Result<KeyFit, BackendError> {
    let names: Vec<String> = columns.iter().map(|column| quote(column)).collect();
    let (table, is_null) = (quote(table), names.join(" IS NULL OR "));
    let nulls = format!("SELECT count(*) FROM main.{table} WHERE {is_null} IS NULL");
    let names = names.join(", ");
    let shared = format!("SELECT count(*) FROM (SELECT 1 FROM main.{table} GROUP BY {names} HAVING count(*) > 1)");
    let count = |connection: &Connection, sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
    let read = || -> rusqlite::Result<KeyFit> {
        let connection = open(path)?;
        Ok(match (count(&connection, &nulls)?, count(&connection, &shared)?) {
            (0, 0) => KeyFit::Unique,
            (0, shared) => KeyFit::Shared(shared),
            (nulls, _) => KeyFit::Null(nulls),
        })
    };
    read()
        .map_err(|error| BackendError::BadResponse { backend: path.display().to_string(), message: error.to_string() })
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// A table or view of the file.
struct Object {
    name: String,
    is_view: bool,
    is_virtual: bool,
    without_rowid: bool,
    /// The text that made it.
    sql: String,
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    connection
        .prepare(
            "SELECT name, type = 'view', wr, ifnull((SELECT sql FROM main.sqlite_schema AS made \
                WHERE made.name = listed.name AND made.type = listed.type), ''), type = 'virtual' \
             FROM pragma_table_list AS listed \
             WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND name NOT IN ('om_applied', 'om_changes') ORDER BY name",
        )?
        .query_map([], |row| {
            Ok(Object {
                name: row.get(0)?,
                is_view: row.get(1)?,
                is_virtual: row.get(4)?,
                without_rowid: row.get(2)?,
                sql: row.get(3)?,
            })
        })?
        .collect()
}

fn shape(connection: &Connection, object: &Object) -> rusqlite::Result<TableShape> {
    // Its module may not be known to us: then nothing of it can be read.
    let live = if object.is_virtual { Vec::new() } else { live_columns(connection, &object.name)? };
    let mut notes = Vec::new();
    let key = if object.is_view || object.is_virtual { Vec::new() } else { key(connection, object, &live)? };
    let alias = rowid_alias(connection, &object.name, &live)?;
    let mut samples = sample(connection, &object.name, &live)?;
    let mut columns = Vec::with_capacity(live.len());
    for (column, samples) in live.iter().zip(&mut samples) {
        columns.push(column_shape(connection, object, column, samples, alias.as_deref(), &mut notes)?);
    }
    judge_checks(object, &samples, &mut columns);
    let assigned_by = assigned_by(&key, &live, &columns, &samples, alias.as_deref());
    let (is_view, is_virtual) = (object.is_view, object.is_virtual);
    Ok(TableShape { name: object.name.clone(), is_view, is_virtual, key, assigned_by, columns, notes })
}

/// The primary key, or else the first unique index over columns that cannot be NULL.
fn key(connection: &Connection, object: &Object, live: &[LiveColumn]) -> rusqlite::Result<Vec<String>> {
    let always_there =
        |name: &String| live.iter().any(|column| column.name == *name && (column.not_null || column.key_place > 0));
    let unique = unique_keys(connection, &object.name, live)?;
    Ok(unique.into_iter().find(|columns| columns.iter().all(always_there)).unwrap_or_default())
}

/// What was seen of one column.
#[derive(Default)]
struct Samples {
    /// Values that are not NULL; `None` for text that is not UTF-8.
    values: Vec<Option<Value>>,
}

fn sample(connection: &Connection, table: &str, live: &[LiveColumn]) -> rusqlite::Result<Vec<Samples>> {
    let mut samples: Vec<Samples> = live.iter().map(|_| Samples::default()).collect();
    if live.is_empty() {
        return Ok(samples);
    }
    let names = live.iter().map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ");
    let mut statement =
        connection.prepare(&format!("SELECT {names} FROM main.{} LIMIT {SAMPLE_ROWS}", quote(table)))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        for (n, samples) in samples.iter_mut().enumerate() {
            match row.get_ref(n)? {
                rusqlite::types::ValueRef::Null => {}
                // The bytes of a blob decide nothing: it need not be kept.
                rusqlite::types::ValueRef::Blob(_) => samples.values.push(Some(Value::Bytes(Vec::new()))),
                value => samples.values.push(stored(value)),
            }
        }
    }
    Ok(samples)
}

fn column_shape(
    connection: &Connection,
    object: &Object,
    column: &LiveColumn,
    samples: &Samples,
    alias: Option<&str>,
    notes: &mut Vec<String>,
) -> rusqlite::Result<ColumnShape> {
    let candidates = candidates(&column.declared);
    let declared = candidates[0];
    let fits = |kind: &FieldType| samples.values.iter().all(|value| value.as_ref().is_some_and(|v| is_one(*kind, v)));
    let base = candidates.iter().copied().find(fits).unwrap_or_else(|| {
        notes.push(format!("column \"{}\" holds values that are no {}", column.name, declared.word()));
        declared
    });
    if base != declared && !column.declared.is_empty() && !candidates_agree(declared, base) {
        notes.push(format!(
            "column \"{}\" is declared {} and holds {} values: it becomes {}",
            column.name,
            column.declared,
            base.word(),
            base.word()
        ));
    }
    let references =
        if object.is_view || column.generated { None } else { reference(connection, &object.name, &column.name)? };
    let default = match &references {
        None if !column.generated => column.default.as_deref().and_then(|sql| constant(sql, base)),
        _ => None,
    };
    // SQLite does not hold a default to the declared length either.
    let fits_default = |most: &u32| {
        default.as_ref().and_then(Value::as_text).is_none_or(|text| text.chars().count() <= *most as usize)
    };
    let max_length = (base == FieldType::Text).then(|| max_length(&column.declared, samples)).flatten();
    let is_alias = alias.is_some_and(|alias| alias == column.name);
    let in_strict_key = object.without_rowid && column.key_place > 0;
    Ok(ColumnShape {
        name: column.name.clone(),
        declared: column.declared.clone(),
        kind: if references.is_some() { FieldType::Ref } else { base },
        base,
        max_length: max_length.filter(fits_default),
        required: (column.not_null || in_strict_key) && !is_alias && !column.generated,
        default,
        read_only: column.generated,
        references,
        values: Vec::new(),
        checks: Vec::new(),
    })
}

/// What the table's CHECK constraints say of single columns: a closed list of words makes an enum, the rest is told.
fn judge_checks(object: &Object, samples: &[Samples], columns: &mut [ColumnShape]) {
    let all: Vec<Check> = if object.is_view { Vec::new() } else { checks(&object.sql) };
    for check in &all {
        let mut named = (0..columns.len()).filter(|n| check.names(&columns[*n].name));
        let (Some(only), None) = (named.next(), named.next()) else { continue };
        let (column, samples) = (&mut columns[only], &samples[only]);
        let words = check.words_of(&column.name).filter(|words| {
            let listed = |value: &Option<Value>| {
                value.as_ref().and_then(Value::as_text).is_some_and(|text| words.iter().any(|word| word == text))
            };
            column.kind == FieldType::Text && !ignores_case(&object.sql) && samples.values.iter().all(listed)
        });
        match words {
            Some(words) => {
                (column.kind, column.base, column.max_length) = (FieldType::Enum, FieldType::Enum, None);
                let default = column.default.take();
                column.default =
                    default.filter(|value| value.as_text().is_some_and(|text| words.iter().any(|word| word == text)));
                column.values = words;
            }
            None => column.checks.push(check.text.clone()),
        }
    }
}

/// Whether the data only chose among the spellings of the declared family of types.
fn candidates_agree(declared: FieldType, base: FieldType) -> bool {
    use FieldType::{Date, DateTime, Timestamp};
    matches!((declared, base), (DateTime | Date | Timestamp, DateTime | Date | Timestamp))
}

/// The types that a declaration may mean, the likeliest first. The rest of the list is what else the data may turn out
/// to be.
fn candidates(declared: &str) -> Vec<FieldType> {
    use FieldType::{Bool, Bytes, Date, DateTime, Decimal, Float, Int, Json, Text, Time, Timestamp, Uuid};
    let upper = declared.to_ascii_uppercase();
    let word = upper.split('(').next().unwrap_or_default().trim();
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    let mut kinds = match word {
        "" => vec![Int, Float, Text],
        "DATE" => vec![Date, DateTime],
        "TIME" => vec![Time],
        "UUID" | "GUID" | "UNIQUEIDENTIFIER" => vec![Uuid],
        "JSON" | "JSONB" => vec![Json],
        "BOOL" | "BOOLEAN" | "BIT" => vec![Bool],
        _ if has(&["TIMESTAMP", "DATETIME"]) => vec![DateTime, Timestamp, Date],
        _ if has(&["INT"]) => vec![Int],
        _ if has(&["CHAR", "CLOB", "TEXT"]) => vec![Text],
        _ if has(&["BLOB", "BINARY"]) => vec![Bytes],
        _ if has(&["REAL", "FLOA", "DOUB"]) => vec![Float],
        _ if has(&["DEC", "NUM", "MONEY"]) => vec![Decimal],
        _ => vec![Text],
    };
    for other in [Text, Int, Float, Bytes] {
        if !kinds.contains(&other) {
            kinds.push(other);
        }
    }
    // No data at all says nothing about a column that says nothing.
    if word.is_empty() {
        kinds.rotate_left(2);
    }
    kinds
}

/// Whether a stored value is one of this type and would be written back as it is.
fn is_one(kind: FieldType, value: &Value) -> bool {
    match kind.canonical(value.clone()) {
        Ok(canonical) => match kind {
            FieldType::Date | FieldType::Time | FieldType::DateTime | FieldType::Timestamp | FieldType::Uuid => {
                canonical == *value
            }
            // Texts of digits are a text's business.
            FieldType::Int | FieldType::Float => !matches!(value, Value::Text(_)),
            _ => true,
        },
        Err(_) => false,
    }
}

/// The length of `NVARCHAR(160)`. SQLite does not enforce it, so the data has to keep to it as well.
fn max_length(declared: &str, samples: &Samples) -> Option<u32> {
    let (_, rest) = declared.split_once('(')?;
    let length: u32 = rest.split_once(')')?.0.trim().parse().ok()?;
    let longest = samples.values.iter().flatten().filter_map(Value::as_text).map(|text| text.chars().count()).max();
    (length > 0 && longest.unwrap_or(0) <= length as usize).then_some(length)
}

/// The target of a foreign key over this column alone, where the target's key is one column.
fn reference(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<Option<Reference>> {
    let found: Option<(String, Option<String>)> = connection
        .prepare_cached(
            "SELECT \"table\", \"to\" FROM pragma_foreign_key_list(?1, 'main') AS one WHERE \"from\" = ?2 COLLATE NOCASE \
             AND (SELECT count(*) FROM pragma_foreign_key_list(?1, 'main') AS all_of WHERE all_of.id = one.id) = 1 \
             ORDER BY id LIMIT 1",
        )?
        .query_row((table, column), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((target, to)) = found else { return Ok(None) };
    let live = live_columns(connection, &target)?;
    let mut key = live.iter().filter(|column| column.key_place > 0);
    let (Some(only), None) = (key.next(), key.next()) else { return Ok(None) };
    if to.is_some_and(|to| !to.eq_ignore_ascii_case(&only.name)) {
        return Ok(None);
    }
    // The declaration may spell the table otherwise than the table itself.
    let table: String = connection.query_row(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
        [&target],
        |row| row.get(0),
    )?;
    Ok(Some(Reference { table, column: only.name.clone() }))
}

/// A default that is a constant: a quoted text, a number, a truth value. An expression is left to the database.
fn constant(sql: &str, kind: FieldType) -> Option<Value> {
    let sql = sql.trim();
    let value = match sql.to_ascii_uppercase().as_str() {
        "NULL" => return None,
        "TRUE" => Value::Int(1),
        "FALSE" => Value::Int(0),
        _ => match sql.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
            Some(text) => Value::Text(text.replace("''", "'")),
            None if sql.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => {
                let number = sql.strip_prefix('+').unwrap_or(sql);
                match (number.parse(), number.parse()) {
                    (Ok(number), _) => Value::Int(number),
                    (_, Ok(number)) => Value::Float(number),
                    _ => return None,
                }
            }
            None => return None,
        },
    };
    match (kind, value) {
        // A text column keeps a number as its digits.
        (FieldType::Text, Value::Int(number)) => Some(Value::Text(number.to_string())),
        (kind, value) => kind.canonical(value).ok(),
    }
}

fn assigned_by(
    key: &[String],
    live: &[LiveColumn],
    columns: &[ColumnShape],
    samples: &[Samples],
    alias: Option<&str>,
) -> Option<AssignedBy> {
    let [only] = key else { return (!key.is_empty()).then_some(AssignedBy::App) };
    let place = columns.iter().position(|column| column.name == *only)?;
    // A row that is identified by another row's key gets it from there.
    if columns[place].references.is_some() {
        return Some(AssignedBy::App);
    }
    if alias == Some(only) || (live[place].default.is_some() && columns[place].default.is_none()) {
        return Some(AssignedBy::Backend);
    }
    let values = &samples[place].values;
    let may_be_uuid = matches!(columns[place].base, FieldType::Text | FieldType::Uuid)
        && columns[place].max_length.is_none_or(|length| length >= 36)
        && values.iter().all(|value| value.as_ref().is_some_and(|value| is_one(FieldType::Uuid, value)));
    if only.eq_ignore_ascii_case("id") && may_be_uuid {
        return Some(AssignedBy::Device);
    }
    Some(AssignedBy::App)
}

#[cfg(test)]
mod tests;
