//! Planned writes and their dedupe rows, in one transaction with a savepoint each.

use std::sync::Arc;

use omctl_protocol::{MutationId, Value};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, ffi, named_params, params_from_iter};

use super::super::{Applied, BackendError, BackendRow, Collection, Effect, Key, Write, Written};
use super::failed;
use super::install;
use super::table::{Bound, Table, bind, quote};

/// Does these writes in their order.
pub(super) fn write_all(
    connection: &Connection,
    backend: &str,
    writes: &[(Arc<Collection>, Write)],
) -> Result<Vec<Written>, BackendError> {
    let deduped = install::has_applied(connection, backend)?;
    match in_one_transaction(connection, backend, writes, deduped) {
        // A constraint that is checked at commit failed and took all with it: each alone shows which it was.
        Err(Ended::AtCommit(_)) if writes.len() > 1 => writes
            .iter()
            .map(|write| match in_one_transaction(connection, backend, std::slice::from_ref(write), deduped) {
                Ok(mut written) => Ok(written.remove(0)),
                Err(Ended::AtCommit(refused)) => Ok(refused),
                Err(Ended::Backend(error)) => Err(error),
            })
            .collect(),
        Err(Ended::AtCommit(refused)) => Ok(vec![refused]),
        Err(Ended::Backend(error)) => Err(error),
        Ok(written) => Ok(written),
    }
}

enum Ended {
    AtCommit(Written),
    Backend(BackendError),
}

fn in_one_transaction(
    connection: &Connection,
    backend: &str,
    writes: &[(Arc<Collection>, Write)],
    deduped: bool,
) -> Result<Vec<Written>, Ended> {
    let failed = |error: rusqlite::Error| Ended::Backend(failed(backend, &error));
    let execute = |sql: &str| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    execute("BEGIN IMMEDIATE").map_err(failed)?;
    let result = writes
        .iter()
        .map(|(collection, write)| {
            execute("SAVEPOINT om_write").map_err(failed)?;
            let written = one(connection, backend, collection, write, deduped).map_err(Ended::Backend)?;
            if !matches!(written, Written::Done { .. }) {
                execute("ROLLBACK TO om_write").map_err(failed)?;
            }
            execute("RELEASE om_write").map_err(failed)?;
            Ok(written)
        })
        .collect::<Result<Vec<_>, _>>()
        .and_then(|written| match execute("COMMIT") {
            Ok(_) => Ok(written),
            Err(error) => Err(match refusal(&error) {
                Some(refused) => Ended::AtCommit(refused),
                None => failed(error),
            }),
        });
    if result.is_err() && !connection.is_autocommit() {
        // The first error is the one that is told.
        drop(execute("ROLLBACK"));
    }
    result
}

fn one(
    connection: &Connection,
    backend: &str,
    collection: &Collection,
    write: &Write,
    deduped: bool,
) -> Result<Written, BackendError> {
    if deduped && let Some(done) = applied(connection, backend, write.mutation)? {
        return Ok(Written::Already(done));
    }
    let table = Table::new(collection);
    let effect = match &write.effect {
        Effect::Insert { key, set } => insert(connection, backend, &table, key.as_ref(), set)?,
        Effect::Update { key, expect, set } => match expected(connection, backend, &table, key, expect)? {
            Some(lost) => Err(lost),
            None => update(connection, backend, &table, key, set)?,
        },
        Effect::Delete { key, expect } => match expected(connection, backend, &table, key, expect)? {
            Some(lost) => Err(lost),
            None => delete(connection, backend, &table, key)?,
        },
        Effect::Nothing { key } => Ok(key.clone()),
    };
    let key = match effect {
        Ok(key) => key,
        Err(written) => return Ok(written),
    };
    let row = match (&write.effect, &key) {
        (Effect::Delete { .. }, _) | (_, None) => None,
        (_, Some(key)) => match table.read(connection, backend, key)? {
            Some(Ok(row)) => match unfaithful(&write.effect, &row) {
                // What the column made of a value is not the value: nothing is ever rounded silently.
                Some(place) => {
                    return Ok(Written::Refused {
                        code: "out_of_range",
                        column: Some(collection.columns[place].name.clone()),
                        message: "the column cannot hold this value exactly".into(),
                    });
                }
                None => Some(row),
            },
            Some(Err(bad)) => {
                return Ok(Written::Refused { code: "bad_value", column: Some(bad.column), message: bad.message });
            }
            None => None,
        },
    };
    if deduped {
        note(connection, backend, collection, write, key.as_ref())?;
    }
    Ok(Written::Done { key, row })
}

/// A number whose stored form reads back as another number. Text may be changed by a trigger, and that is its right.
fn unfaithful(effect: &Effect, row: &BackendRow) -> Option<usize> {
    let (Effect::Insert { set, .. } | Effect::Update { set, .. }) = effect else { return None };
    let numeric = |value: &Value| match value {
        Value::Text(text) => text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') && text.len() > 15,
        Value::Int(_) | Value::Float(_) => true,
        _ => false,
    };
    set.iter().find(|(place, value)| numeric(value) && row.values[*place] != *value).map(|(place, _)| *place)
}

type Effected = Result<Option<Key>, Written>;

fn insert(
    connection: &Connection,
    backend: &str,
    table: &Table<'_>,
    key: Option<&Key>,
    set: &[(usize, Value)],
) -> Result<Effected, BackendError> {
    let collection = table.collection;
    let mut columns: Vec<(String, SqlValue)> = Vec::new();
    for (place, value) in set {
        columns.push((collection.columns[*place].name.clone(), bind(value)));
    }
    for (column, value) in collection.key.iter().zip(key.iter().flat_map(|key| &key.0)) {
        columns.push((column.name.clone(), bind(value)));
    }
    for (column, value) in &collection.filter {
        if !columns.iter().any(|(name, _)| name == column) {
            columns.push((column.clone(), bind(value)));
        }
    }
    let names: Vec<String> = columns.iter().map(|(name, _)| quote(name)).collect();
    let keys: Vec<String> = collection.key.iter().map(|column| quote(&column.name)).collect();
    let sql = if columns.is_empty() {
        format!("INSERT INTO {} DEFAULT VALUES RETURNING {}", table.name, keys.join(", "))
    } else {
        let marks = vec!["?"; names.len()].join(", ");
        format!("INSERT INTO {} ({}) VALUES ({marks}) RETURNING {}", table.name, names.join(", "), keys.join(", "))
    };
    let inserted = connection.prepare_cached(&sql).and_then(|mut statement| {
        statement.query_row(params_from_iter(columns.into_iter().map(|(_, value)| value)), |row| {
            (0..keys.len()).map(|n| row.get::<_, SqlValue>(n)).collect::<rusqlite::Result<Vec<_>>>()
        })
    });
    let stored = match inserted {
        Ok(stored) => stored,
        Err(error) => return refused_or_failed(backend, collection, error).map(Err),
    };
    let canonical = stored.into_iter().zip(&collection.key).map(|(value, column)| {
        let value = match value {
            SqlValue::Null => Value::Null,
            SqlValue::Integer(number) => Value::Int(number),
            SqlValue::Real(number) => Value::Float(number),
            SqlValue::Text(text) => Value::Text(text),
            SqlValue::Blob(bytes) => Value::Bytes(bytes),
        };
        column.kind.canonical(value)
    });
    match canonical.collect::<Result<Vec<_>, _>>() {
        Ok(values) => Ok(Ok(Some(Key(values)))),
        Err(error) => {
            let message = format!("the assigned key is not of its declared type: {error}");
            Err(BackendError::BadResponse { backend: backend.to_owned(), message })
        }
    }
}

fn update(
    connection: &Connection,
    backend: &str,
    table: &Table<'_>,
    key: &Key,
    set: &[(usize, Value)],
) -> Result<Effected, BackendError> {
    let collection = table.collection;
    let assigned: Vec<String> =
        set.iter().map(|(place, _)| format!("{} = ?", quote(&collection.columns[*place].name))).collect();
    let sql = format!("UPDATE {} SET {} WHERE {}", table.name, assigned.join(", "), table.key_is());
    let parameters = set.iter().map(|(_, value)| Bound(value)).chain(key.0.iter().map(Bound));
    let changed =
        connection.prepare_cached(&sql).and_then(|mut statement| statement.execute(params_from_iter(parameters)));
    match changed {
        Ok(_) => Ok(Ok(Some(key.clone()))),
        Err(error) => refused_or_failed(backend, collection, error).map(Err),
    }
}

fn delete(connection: &Connection, backend: &str, table: &Table<'_>, key: &Key) -> Result<Effected, BackendError> {
    let sql = format!("DELETE FROM {} WHERE {}", table.name, table.key_is());
    let deleted = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.execute(params_from_iter(key.0.iter().map(Bound))));
    match deleted {
        Ok(_) => Ok(Ok(Some(key.clone()))),
        Err(error) => refused_or_failed(backend, table.collection, error).map(Err),
    }
}

/// `Some(Lost)` where the row is gone or not as it was read.
fn expected(
    connection: &Connection,
    backend: &str,
    table: &Table<'_>,
    key: &Key,
    expect: &[(usize, Value)],
) -> Result<Option<Written>, BackendError> {
    let stands = match table.read(connection, backend, key)? {
        Some(Ok(row)) => expect.iter().all(|(place, value)| row.values[*place] == *value),
        _ => false,
    };
    Ok((!stands).then_some(Written::Lost))
}

/// The dedupe row of a mutation.
pub(super) fn applied(
    connection: &Connection,
    backend: &str,
    mutation: MutationId,
) -> Result<Option<Applied>, BackendError> {
    const SELECT: &str = "SELECT digest, outcome, record, key, composite FROM om_applied WHERE mutation = :mutation";
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| {
            statement
                .query_row(named_params! { ":mutation": mutation.0.as_bytes().as_slice() }, |row| {
                    let key: Option<String> = row.get(3)?;
                    let composite: bool = row.get(4)?;
                    // Values of a key are kept as texts here; whoever uses them knows their types.
                    let key = key.map(|text| match composite {
                        false => Key(vec![Value::Text(text)]),
                        true => {
                            let texts: Vec<String> = serde_json::from_str(&text).unwrap_or_default();
                            Key(texts.into_iter().map(Value::Text).collect())
                        }
                    });
                    Ok(Applied {
                        digest: row.get(0)?,
                        outcome: row.get(1)?,
                        record: row.get::<_, String>(2)?.into(),
                        key,
                    })
                })
                .optional()
        })
        .map_err(|error| failed(backend, &error))
}

fn note(
    connection: &Connection,
    backend: &str,
    collection: &Collection,
    write: &Write,
    key: Option<&Key>,
) -> Result<(), BackendError> {
    // The time is the database's own: pruning goes by it.
    const INSERT: &str =
        "INSERT INTO om_applied (mutation, digest, channel, record, key, composite, op, outcome, at_ms)
        VALUES (:mutation, :digest, :channel, :record, :key, :composite, :op, :outcome,
            CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))";
    let op = match &write.effect {
        Effect::Insert { .. } => "insert",
        Effect::Update { .. } => "update",
        Effect::Delete { .. } => "delete",
        Effect::Nothing { .. } => "nothing",
    };
    connection
        .prepare_cached(INSERT)
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":mutation": write.mutation.0.as_bytes().as_slice(), ":digest": write.digest.as_slice(),
                ":channel": collection.channel.as_str(), ":record": write.record.as_str(),
                ":key": key.map(Key::to_text), ":composite": collection.key.len() > 1, ":op": op,
                ":outcome": write.outcome,
            })
        })
        .map(drop)
        .map_err(|error| failed(backend, &error))
}

fn refused_or_failed(backend: &str, collection: &Collection, error: rusqlite::Error) -> Result<Written, BackendError> {
    match refusal(&error) {
        Some(Written::Refused { code: "unique", column: Some(columns), message }) => {
            // `UNIQUE constraint failed: Table.A, Table.B`
            let of_key = |column: &str| {
                let bare = column.rsplit('.').next().unwrap_or(column);
                collection.key.iter().any(|key| key.name == bare)
            };
            if columns.split(", ").all(of_key) {
                return Ok(Written::Exists);
            }
            let column = columns.split(", ").next().and_then(|column| column.rsplit('.').next()).map(Into::into);
            Ok(Written::Refused { code: "constraint", column, message })
        }
        Some(refused) => Ok(refused),
        None => Err(failed(backend, &error)),
    }
}

/// What the database says no to for good.
fn refusal(error: &rusqlite::Error) -> Option<Written> {
    let rusqlite::Error::SqliteFailure(code, message) = error else { return None };
    let message = message.clone().unwrap_or_else(|| code.to_string());
    let after = |words: &str| message.split_once(words).map(|(_, rest)| rest.trim().to_owned());
    let bare = |column: String| column.rsplit('.').next().unwrap_or(&column).to_owned();
    let refused = |code, column, message: String| Some(Written::Refused { code, column, message });
    match (code.code, code.extended_code) {
        (ErrorCode::ConstraintViolation, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => {
            refused("reference", None, "a reference would point to nothing".into())
        }
        (
            ErrorCode::ConstraintViolation,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID,
        ) => refused("unique", after("constraint failed:"), "another row has this value already".into()),
        (ErrorCode::ConstraintViolation, ffi::SQLITE_CONSTRAINT_NOTNULL) => {
            refused("constraint", after("constraint failed:").map(bare), "the column must have a value".into())
        }
        (ErrorCode::ConstraintViolation, _) => refused("constraint", None, message),
        (ErrorCode::TypeMismatch, _) => refused("bad_value", None, message),
        (ErrorCode::ReadOnly | ErrorCode::AuthorizationForStatementDenied, _) => refused("not_allowed", None, message),
        _ => None,
    }
}
