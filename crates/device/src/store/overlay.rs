//! What the app sees of a record with pending changes: the server's row, and the sealed mutations on top of it.
//!
//! *Invariant:* a base row exists exactly for the records with pending changes (a statement that changed nothing may
//! leave one behind; the next sealing removes it). Callers have sealed all captures and switched triggers off.

use omctl_protocol::{ChannelSchema, Field, Fields, Mutation, Operation, Value};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::channels::Channel;
use super::ddl::quote;
use super::values::{Bind, columns};
use super::{Result, StoreError, fields};

/// The server's row of a record, where it was kept: `Some(None)` is a record the server does not have.
pub(crate) fn base(conn: &Connection, channel: &Channel, record: &str) -> Result<Option<Option<Vec<Value>>>> {
    let count = channel.schema.fields.len();
    let sql = format!("SELECT om_present{} FROM {} WHERE id = ?1", field_list(&channel.schema), channel.names.base);
    let row = conn
        .prepare_cached(&sql)?
        .query_row([record], |row| Ok(if row.get(0)? { Some(columns(row, 1, count)?) } else { None }))
        .optional()?;
    Ok(row)
}

/// The record's sealed mutations without a receipt, oldest first.
fn pending(conn: &Connection, channel: &Channel, record: &str) -> Result<Vec<Mutation>> {
    let mut statement =
        conn.prepare_cached("SELECT payload FROM om_outbox WHERE channel = ?1 AND record = ?2 ORDER BY seq")?;
    let mut rows = statement.query([channel.schema.channel.as_str(), record])?;
    let mut mutations = Vec::new();
    while let Some(row) = rows.next()? {
        mutations.push(parse_mutation(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(mutations)
}

pub(crate) fn parse_mutation(payload: &str) -> Result<Mutation> {
    serde_json::from_str(payload).map_err(|source| StoreError::Corrupt { what: "om_outbox", source: Some(source) })
}

/// What a mutation writes, in today's fields: it may be older than they are. A value that does not convert stays as it
/// was written; one whose field is no more is left out.
pub(crate) fn todays_fields(channel: &Channel, mutation: &Mutation) -> Fields {
    let mut found = Fields::new();
    for ((_, field), old, json) in written(channel, mutation) {
        let value = old.kind.from_json(json).map(|value| fields::convert(old.kind, field.kind, value));
        let json = value.ok().filter(|value| !value.is_null()).map_or_else(|| json.clone(), |value| value.to_json());
        found.insert(field.name.clone(), json);
    }
    found
}

/// The fields that a mutation writes: today's, with its place; that of the mutation's version; the value.
fn written<'a>(
    channel: &'a Channel,
    mutation: &'a Mutation,
) -> impl Iterator<Item = ((usize, &'a Field), &'a Field, &'a serde_json::Value)> {
    let today = &*channel.schema;
    let then = channel.versions.get(&mutation.v).map_or(today, |schema| &**schema);
    today.fields.iter().enumerate().filter_map(move |(n, field)| {
        let (_, old) = fields::counterpart(then, today, field)?;
        Some(((n, field), old, mutation.new.get(&old.name)?))
    })
}

/// A record that a create makes, before its values: in a field that its version does not have, the server puts the
/// default.
fn unwritten(channel: &Channel, create: &Mutation) -> Vec<Value> {
    let today = &*channel.schema;
    let then = channel.versions.get(&create.v).map_or(today, |schema| &**schema);
    let value = |field: &Field| match (fields::counterpart(then, today, field), &field.default) {
        (None, Some(default)) => field.kind.from_json(default).unwrap_or_default(),
        _ => Value::Null,
    };
    today.fields.iter().map(value).collect()
}

/// Lays one mutation over a row.
fn overlay(channel: &Channel, state: Option<Vec<Value>>, mutation: &Mutation) -> Option<Vec<Value>> {
    #[cfg(feature = "planted")]
    if crate::planted::is_hidden(mutation.id) {
        return state;
    }
    let mut values = match (mutation.op, state) {
        (Operation::Delete, _) => return None,
        // The server's side of the record is gone: the receipt decides, not we.
        (Operation::Update, None) => return None,
        (Operation::Create, None) => unwritten(channel, mutation),
        (_, Some(values)) => values,
    };
    for ((n, field), old, json) in written(channel, mutation) {
        // A value that no longer fits is not shown; the payload keeps it.
        if let Ok(value) = old.kind.from_json(json) {
            values[n] = fields::convert(old.kind, field.kind, value);
        }
    }
    Some(values)
}

/// The record as the sealed mutations leave it. `None`: it has no base, so nothing is pending.
pub(crate) fn sealed_state(conn: &Connection, channel: &Channel, record: &str) -> Result<Option<Option<Vec<Value>>>> {
    let Some(mut state) = base(conn, channel, record)? else { return Ok(None) };
    for mutation in pending(conn, channel, record)? {
        state = overlay(channel, state, &mutation);
    }
    Ok(Some(state))
}

/// Writes what the app shall see of a record that has a base, and drops the base when nothing is pending any more.
pub(crate) fn refresh(conn: &Connection, channel: &Channel, record: &str) -> Result<()> {
    let Some(mut state) = base(conn, channel, record)? else { return Ok(()) };
    let pending = pending(conn, channel, record)?;
    for mutation in &pending {
        state = overlay(channel, state, mutation);
    }
    write(conn, channel, record, state.as_deref())?;
    if pending.is_empty() {
        conn.prepare_cached(&format!("DELETE FROM {} WHERE id = ?1", channel.names.base))?.execute([record])?;
    }
    Ok(())
}

/// Shows the server's row of a record.
#[cfg(feature = "planted")]
pub(crate) fn revert(conn: &Connection, channel: &Channel, record: &str) -> Result<()> {
    let Some(state) = base(conn, channel, record)? else { return Ok(()) };
    write(conn, channel, record, state.as_deref())
}

fn write(conn: &Connection, channel: &Channel, record: &str, values: Option<&[Value]>) -> Result<()> {
    let Some(values) = values else {
        conn.prepare_cached(&format!("DELETE FROM {} WHERE id = ?1", channel.names.table))?.execute([record])?;
        return Ok(());
    };
    let mut statement = conn.prepare_cached(&upsert(&channel.schema, &channel.names.table))?;
    statement.raw_bind_parameter(1, record)?;
    for (n, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(n + 2, Bind(value))?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// Sets the server's row of a record that has one to "the server does not have it".
pub(crate) fn set_base_absent(conn: &Connection, channel: &Channel, record: &str) -> Result<()> {
    let nulls: String = channel.schema.fields.iter().map(|field| format!(", {} = NULL", quote(&field.name))).collect();
    conn.prepare_cached(&format!("UPDATE {} SET om_present = 0{nulls} WHERE id = ?1", channel.names.base))?
        .execute(params![record])?;
    Ok(())
}

/// Makes a record pending as it is held: its row, or that there is none, becomes its base, unless it has one.
pub(crate) fn keep_base(conn: &Connection, channel: &Channel, record: &str) -> Result<()> {
    let (base, table, fields) = (&channel.names.base, &channel.names.table, field_list(&channel.schema));
    conn.prepare_cached(&format!(
        "INSERT INTO {base} (id, om_present{fields}) SELECT id, 1{fields} FROM {table} WHERE id = ?1
         AND NOT EXISTS (SELECT 1 FROM {base} WHERE id = ?1)"
    ))?
    .execute([record])?;
    conn.prepare_cached(&format!(
        "INSERT INTO {base} (id, om_present) SELECT ?1, 0 WHERE NOT EXISTS (SELECT 1 FROM {base} WHERE id = ?1)"
    ))?
    .execute([record])?;
    Ok(())
}

/// Field names, each after a comma.
pub(crate) fn field_list(schema: &ChannelSchema) -> String {
    schema.fields.iter().map(|field| format!(", {}", quote(&field.name))).collect()
}

/// The statement that writes a whole row: parameter 1 is the id, the fields follow.
pub(crate) fn upsert(schema: &ChannelSchema, table: &str) -> String {
    let marks: String = (2..schema.fields.len() + 2).map(|n| format!(", ?{n}")).collect();
    let sets: Vec<String> = schema.fields.iter().map(|f| format!("{0} = excluded.{0}", quote(&f.name))).collect();
    let fields = field_list(schema);
    let conflict = if sets.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", sets.join(", ")) };
    format!("INSERT INTO {table} (id{fields}) VALUES (?1{marks}) ON CONFLICT (id) DO {conflict}")
}

/// The same for a base row.
pub(crate) fn upsert_base(schema: &ChannelSchema, table: &str) -> String {
    let marks: String = (2..schema.fields.len() + 2).map(|n| format!(", ?{n}")).collect();
    let sets: String = schema.fields.iter().map(|f| format!(", {0} = excluded.{0}", quote(&f.name))).collect();
    let fields = field_list(schema);
    format!(
        "INSERT INTO {table} (id, om_present{fields}) VALUES (?1, 1{marks}) \
         ON CONFLICT (id) DO UPDATE SET om_present = 1{sets}"
    )
}
