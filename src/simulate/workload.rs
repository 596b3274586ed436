//! What a simulated app writes: plausible records, made from the schema and from what is there already, so that the
//! backend's constraints hold.
//!
//! Every write to a record carries a mark in a free text field where the channel has one: the checker looks for it in
//! the backend.

use omctl_protocol::{AssignedBy, ChannelName, ChannelSchema, Field, FieldType, Value};
use rusqlite::{Connection, OptionalExtension as _, types::Value as SqlValue};

use crate::clock::Entropy;

/// A write that an app makes: one statement with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) sql: String,
    pub(super) parameters: Vec<SqlValue>,
}

/// What kind of write is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mostly updates, some creates, a few deletes.
    Any,
    Create,
    Update,
    Delete,
}

/// Makes writes for one device.
#[derive(Debug)]
pub(super) struct Writer {
    /// The channels of which it has tables.
    schemas: Vec<ChannelSchema>,
    /// Records are picked from so many, the same ones on every device.
    hot_keys: Option<u64>,
    entropy: Entropy,
    device: usize,
    /// Of this run: marks of an earlier fleet may still be in the backend.
    run: String,
    written: u64,
}

impl Writer {
    pub(super) fn new(entropy: Entropy, device: usize, run: &str) -> Self {
        Self { schemas: Vec::new(), hot_keys: None, entropy, device, run: run.to_owned(), written: 0 }
    }

    /// What there is to write to from now on.
    pub(super) fn know(&mut self, schemas: Vec<ChannelSchema>, hot_keys: Option<u64>) {
        (self.schemas, self.hot_keys) = (schemas, hot_keys);
    }

    /// Chance, the same for the same seed.
    pub(super) fn below(&self, limit: u64) -> u64 {
        self.entropy.u64() % limit.max(1)
    }

    /// The next write, judged by what this device's file holds; `None` where nothing can be written now.
    pub(super) fn next(
        &mut self,
        reader: &Connection,
        kind: Kind,
        channel: &ChannelName,
    ) -> rusqlite::Result<Option<Planned>> {
        let Some(schema) = self.schemas.iter().find(|schema| schema.channel == *channel).cloned() else {
            return Ok(None);
        };
        self.written += 1;
        let kind = match (kind, self.below(100)) {
            (Kind::Any, 0..25) => Kind::Create,
            (Kind::Any, 25..88) => Kind::Update,
            (Kind::Any, _) => Kind::Delete,
            (kind, _) => kind,
        };
        match kind {
            Kind::Create => self.create(reader, &schema),
            Kind::Update | Kind::Any => self.update(reader, &schema),
            Kind::Delete => self.delete(reader, &schema),
        }
    }

    fn mark(&self, limit: Option<u32>) -> String {
        let mark = format!("om{}{}x{}", self.run, self.device, self.written);
        limit.map_or(mark.clone(), |limit| mark.chars().take(limit as usize).collect())
    }

    fn create(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<Planned>> {
        let Some(sample) = self.some_record(reader, schema)? else { return self.first(schema, reader) };
        let id = self.entropy.uuid_v7(&crate::clock::Clock::System).to_string();
        let (mut columns, mut parameters) = (vec!["id".to_owned()], vec![SqlValue::Text(id)]);
        let marked = mark_field(schema);
        for field in &schema.fields {
            let is_key = schema.is_key_field(&field.name);
            if field.read_only || (is_key && schema.key.assigned_by == AssignedBy::Backend) {
                continue;
            }
            let value = if marked.is_some_and(|marked| marked.name == field.name) {
                SqlValue::Text(self.mark(field.max_length))
            } else if field.kind == FieldType::Ref {
                self.some_target(reader, field)?
            } else if is_key {
                self.fresh_key(field)
            } else {
                self.read_field(reader, schema, &sample, field)?
            };
            columns.push(quote(&field.name));
            parameters.push(value);
        }
        if schema.key.assigned_by == AssignedBy::App && self.key_is_taken(reader, schema, &columns, &parameters)? {
            return Ok(None);
        }
        Ok(Some(insert(schema, &columns, parameters)))
    }

    /// A record for a channel that has none yet.
    fn first(&self, schema: &ChannelSchema, reader: &Connection) -> rusqlite::Result<Option<Planned>> {
        let id = self.entropy.uuid_v7(&crate::clock::Clock::System).to_string();
        let (mut columns, mut parameters) = (vec!["id".to_owned()], vec![SqlValue::Text(id)]);
        let marked = mark_field(schema);
        for field in &schema.fields {
            let assigned = schema.is_key_field(&field.name) && schema.key.assigned_by == AssignedBy::Backend;
            if field.read_only || assigned {
                continue;
            }
            let value = if marked.is_some_and(|marked| marked.name == field.name) {
                SqlValue::Text(self.mark(field.max_length))
            } else if field.kind == FieldType::Ref {
                self.some_target(reader, field)?
            } else {
                plain_value(field, self.below(1000))
            };
            if value == SqlValue::Null && field.required {
                return Ok(None);
            }
            columns.push(quote(&field.name));
            parameters.push(value);
        }
        Ok(Some(insert(schema, &columns, parameters)))
    }

    fn update(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<Planned>> {
        let Some(id) = self.hot_record(reader, schema)? else { return Ok(None) };
        let (mut sets, mut parameters) = (Vec::new(), Vec::new());
        let marked = mark_field(schema);
        if let Some(field) = marked {
            sets.push(format!("{} = ?", quote(&field.name)));
            parameters.push(SqlValue::Text(self.mark(field.max_length)));
        }
        // Beside the mark one other field, with a value that some record has: CHECKs hold for it.
        let others: Vec<&Field> = schema
            .fields
            .iter()
            .filter(|field| !field.read_only && !schema.is_key_field(&field.name))
            .filter(|field| marked.is_none_or(|marked| marked.name != field.name))
            .collect();
        if !others.is_empty() && (sets.is_empty() || self.below(2) == 0) {
            let field = others[self.below(others.len() as u64) as usize];
            let value = if field.kind == FieldType::Ref {
                self.some_target(reader, field)?
            } else {
                match self.some_record(reader, schema)? {
                    Some(other) => self.read_field(reader, schema, &other, field)?,
                    None => SqlValue::Null,
                }
            };
            if value != SqlValue::Null || !field.required {
                sets.push(format!("{} = ?", quote(&field.name)));
                parameters.push(value);
            }
        }
        if sets.is_empty() {
            return Ok(None);
        }
        parameters.push(SqlValue::Text(id));
        let sql = format!("UPDATE {} SET {} WHERE id = ?", quote(schema.channel.as_str()), sets.join(", "));
        Ok(Some(Planned { sql, parameters }))
    }

    /// Deletes a record that nothing points to, as far as this device can tell.
    fn delete(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<Planned>> {
        let Some(id) = self.hot_record(reader, schema)? else { return Ok(None) };
        for other in &self.schemas {
            for field in other.fields.iter().filter(|field| field.to.as_ref() == Some(&schema.channel)) {
                let sql = format!(
                    "SELECT 1 FROM {} WHERE {} = ?1 LIMIT 1",
                    quote(other.channel.as_str()),
                    quote(&field.name)
                );
                if reader.prepare_cached(&sql)?.exists([&id])? {
                    return Ok(None);
                }
            }
        }
        let sql = format!("DELETE FROM {} WHERE id = ?", quote(schema.channel.as_str()));
        let parameters = vec![SqlValue::Text(id.clone())];
        Ok(Some(Planned { sql, parameters }))
    }

    /// A record to change: one of the hot ones, where there are such.
    fn hot_record(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<String>> {
        let Some(hot) = self.hot_keys else { return self.some_record(reader, schema) };
        let sql = format!("SELECT id FROM {} ORDER BY id LIMIT ?1", quote(schema.channel.as_str()));
        let mut statement = reader.prepare_cached(&sql)?;
        let ids: Vec<String> = statement.query_map([hot as i64], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(ids.get(self.below(ids.len() as u64) as usize).cloned())
    }

    fn some_record(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<String>> {
        self.some_id(reader, &schema.channel)
    }

    fn some_id(&self, reader: &Connection, channel: &ChannelName) -> rusqlite::Result<Option<String>> {
        // Rowids have few holes, so this is a fair pick without reading the table.
        let table = quote(channel.as_str());
        let top: Option<i64> =
            reader.prepare_cached(&format!("SELECT max(rowid) FROM {table}"))?.query_row([], |row| row.get(0))?;
        let Some(top) = top.filter(|top| *top > 0) else { return Ok(None) };
        let pick = self.below(top as u64) as i64 + 1;
        reader
            .prepare_cached(&format!("SELECT id FROM {table} WHERE rowid >= ?1 ORDER BY rowid LIMIT 1"))?
            .query_row([pick], |row| row.get(0))
            .optional()
    }

    fn some_target(&self, reader: &Connection, field: &Field) -> rusqlite::Result<SqlValue> {
        let Some(to) = &field.to else { return Ok(SqlValue::Null) };
        if !self.schemas.iter().any(|schema| schema.channel == *to) {
            return Ok(SqlValue::Null);
        }
        Ok(self.some_id(reader, to)?.map_or(SqlValue::Null, SqlValue::Text))
    }

    fn read_field(
        &self,
        reader: &Connection,
        schema: &ChannelSchema,
        id: &str,
        field: &Field,
    ) -> rusqlite::Result<SqlValue> {
        let sql = format!("SELECT {} FROM {} WHERE id = ?1", quote(&field.name), quote(schema.channel.as_str()));
        Ok(reader.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()?.unwrap_or(SqlValue::Null))
    }

    fn fresh_key(&self, field: &Field) -> SqlValue {
        match field.kind {
            FieldType::Int => SqlValue::Integer((self.entropy.u64() >> 16) as i64),
            _ => SqlValue::Text(self.mark(field.max_length)),
        }
    }

    fn key_is_taken(
        &self,
        reader: &Connection,
        schema: &ChannelSchema,
        columns: &[String],
        parameters: &[SqlValue],
    ) -> rusqlite::Result<bool> {
        let keys = schema.key.columns.iter().filter_map(|column| column.field.as_deref());
        let (mut wheres, mut values) = (Vec::new(), Vec::new());
        for name in keys {
            let column = quote(name);
            let Some(place) = columns.iter().position(|one| *one == column) else { return Ok(true) };
            if parameters[place] == SqlValue::Null {
                return Ok(true);
            }
            wheres.push(format!("{column} = ?"));
            values.push(parameters[place].clone());
        }
        let sql = format!("SELECT 1 FROM {} WHERE {}", quote(schema.channel.as_str()), wheres.join(" AND "));
        reader.prepare_cached(&sql)?.exists(rusqlite::params_from_iter(values))
    }
}

fn insert(schema: &ChannelSchema, columns: &[String], parameters: Vec<SqlValue>) -> Planned {
    let marks = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", quote(schema.channel.as_str()), columns.join(", "));
    Planned { sql, parameters }
}

/// The field that carries marks: free text, long enough, no key.
pub(super) fn mark_field(schema: &ChannelSchema) -> Option<&Field> {
    schema.fields.iter().find(|field| {
        field.kind == FieldType::Text
            && !field.read_only
            && field.max_length.is_none_or(|most| most >= 20)
            && !schema.is_key_field(&field.name)
    })
}

/// A value of a type, for a channel that shows no example.
fn plain_value(field: &Field, chance: u64) -> SqlValue {
    let value = match field.kind {
        FieldType::Text => Value::Text(format!("{} {chance}", field.name)),
        FieldType::Int => Value::Int(chance as i64),
        FieldType::Float => Value::Float(chance as f64 / 8.0),
        FieldType::Decimal => Value::Text(format!("{}.{:02}", chance / 10, chance % 100)),
        FieldType::Bool => Value::Bool(chance.is_multiple_of(2)),
        FieldType::Date => Value::Text("2026-01-15".into()),
        FieldType::Time => Value::Text("08:30:00".into()),
        FieldType::DateTime => Value::Text("2026-01-15 08:30:00".into()),
        FieldType::Timestamp => Value::Text("2026-01-15T08:30:00Z".into()),
        FieldType::Uuid => Value::Text(uuid::Uuid::from_u128(u128::from(chance)).to_string()),
        FieldType::Enum => {
            field.values.get(chance as usize % field.values.len().max(1)).cloned().map_or(Value::Null, Value::Text)
        }
        FieldType::Json => Value::Text(format!("{{\"n\":{chance}}}")),
        FieldType::Array => Value::Text(format!("[\"{chance}\"]")),
        FieldType::Bytes => Value::Bytes(chance.to_be_bytes().to_vec()),
        FieldType::Ref => Value::Null,
    };
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(truth) => SqlValue::Integer(i64::from(truth)),
        Value::Int(number) => SqlValue::Integer(number),
        Value::Float(number) => SqlValue::Real(number),
        Value::Text(text) => SqlValue::Text(text),
        Value::Bytes(bytes) => SqlValue::Blob(bytes),
    }
}

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
