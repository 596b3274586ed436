//! What a simulated app writes: plausible records, made from the schema and from what is there already, so that the
//! backend's constraints hold.
//!
//! Every write to a record carries a mark in a free text or number field where the channel has one: the checker looks for
//! it in the backend.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use omctl_protocol::admin::{AccountNew, ChannelView};
use omctl_protocol::{AssignedBy, ChannelName, ChannelSchema, Field, FieldType, Fields, Operation, Policy, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};

use super::app::{Parameter, Statement};
use super::log::Line;
use super::{placing, plausible};
use crate::clock::{Clock, Entropy};

/// What kind of write is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mostly updates, some creates, a few deletes.
    Any,
    Create,
    Update,
    Delete,
}

/// Channels whose number fields take no marks, as their backends said.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfit(Arc<Mutex<BTreeSet<ChannelName>>>);

impl Unfit {
    pub(super) fn note(&self, channel: &ChannelName) {
        self.0.lock().expect("nobody panics while noting").insert(channel.clone());
    }

    fn contains(&self, channel: &ChannelName) -> bool {
        self.0.lock().expect("nobody panics while noting").contains(channel)
    }
}

/// Makes writes for one device.
#[derive(Debug)]
pub(super) struct Writer {
    /// The channels of which it has tables.
    channels: Vec<Arc<ChannelView>>,
    /// Whose device it is.
    account: AccountNew,
    /// Records are picked from so many, the same ones on every device.
    hot_keys: Option<u64>,
    /// Percent of the writes that are of several records.
    transactions: u8,
    entropy: Entropy,
    device: usize,
    /// Of this run: marks of an earlier fleet may still be in the backend.
    run: Run,
    unfit: Unfit,
    /// The device's own clock: ids are made by it.
    ahead_ms: i64,
    written: u64,
}

/// What tells the marks of one run from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(pub(super) u16);

impl Run {
    /// The mark of a device's write, as a text of at most 20 characters.
    pub(super) fn text(self, device: usize, n: u64) -> String {
        format!("om{:04x}{device}x{n}", self.0)
    }

    /// Whether a value carries a mark of this run.
    pub(super) fn owns(self, value: &serde_json::Value) -> bool {
        let least = (i64::from(self.0 % 10_000) + 10_000) * 10_000_000_000;
        let is_number = |number: f64| number >= least as f64 && number < (least + 10_000_000_000) as f64;
        match value {
            serde_json::Value::String(text) => {
                text.contains(&self.prefix()) || text.parse::<f64>().is_ok_and(is_number)
            }
            serde_json::Value::Number(number) => number.as_f64().is_some_and(is_number),
            _ => false,
        }
    }

    /// Whether a value carries a mark of this device in this run.
    pub(super) fn wrote(self, device: usize, value: &serde_json::Value) -> bool {
        let least = self.number(device, 0);
        let is_number = |number: f64| number >= least as f64 && number < (least + 1_000_000) as f64;
        match value {
            serde_json::Value::String(text) => {
                text.contains(&format!("{}{device}x", self.prefix())) || text.parse::<f64>().is_ok_and(is_number)
            }
            serde_json::Value::Number(number) => number.as_f64().is_some_and(is_number),
            _ => false,
        }
    }

    /// The same value with the mark of another run in place of this one's.
    pub(super) fn renew(self, value: &mut serde_json::Value, to: Self) {
        if !self.owns(value) {
            return;
        }
        let shift = (i64::from(to.0 % 10_000) - i64::from(self.0 % 10_000)) * 10_000_000_000;
        match value {
            serde_json::Value::String(text) => match text.parse::<i64>() {
                Ok(number) => *text = (number + shift).to_string(),
                Err(_) => *text = text.replace(&self.prefix(), &to.prefix()),
            },
            // A double holds it exactly.
            serde_json::Value::Number(number) => {
                *number = number
                    .as_f64()
                    .and_then(|number| serde_json::Number::from_f64(number + shift as f64))
                    .unwrap_or(number.clone());
            }
            _ => {}
        }
    }

    /// How texts with a mark of this run can be found.
    pub(super) fn prefix(self) -> String {
        format!("om{:04x}", self.0)
    }

    /// The same as a number with at most 15 digits: a double holds it exactly.
    fn number(self, device: usize, n: u64) -> i64 {
        let (run, device) = (i64::from(self.0 % 10_000), (device % 10_000) as i64);
        (run + 10_000) * 10_000_000_000 + device * 1_000_000 + (n % 1_000_000) as i64
    }
}

/// Transactions change so many records, at most.
const TRANSACTION_RECORDS: u64 = 3;

/// So many records are looked at for one that nothing points to.
const DELETE_TRIES: u32 = 12;

impl Writer {
    pub(super) fn new(entropy: Entropy, device: usize, run: Run, unfit: Unfit) -> Self {
        Self {
            channels: Vec::new(),
            account: AccountNew::default(),
            hot_keys: None,
            transactions: 0,
            entropy,
            device,
            run,
            unfit,
            ahead_ms: 0,
            written: 0,
        }
    }

    /// What there is to write to from now on.
    pub(super) fn know(&mut self, channels: Vec<Arc<ChannelView>>, hot_keys: Option<u64>, transactions: u8) {
        (self.channels, self.hot_keys, self.transactions) = (channels, hot_keys, transactions);
    }

    /// For whom it writes: new records come into the scope of this account.
    pub(super) fn write_for(&mut self, account: AccountNew) {
        self.account = account;
    }

    /// By how much the device's clock is ahead.
    pub(super) fn set_ahead(&mut self, ahead_ms: i64) {
        self.ahead_ms = ahead_ms;
    }

    /// Chance, the same for the same seed.
    pub(super) fn below(&self, limit: u64) -> u64 {
        self.entropy.u64() % limit.max(1)
    }

    /// The next write, one local transaction, judged by what this device's file holds; empty where nothing can be written
    /// now.
    pub(super) fn next(
        &mut self,
        reader: &Connection,
        kind: Kind,
        channel: &ChannelName,
    ) -> rusqlite::Result<Vec<Line>> {
        let several = self.transactions > 0 && self.below(100) < u64::from(self.transactions);
        let records = if several { 2 + self.below(TRANSACTION_RECORDS - 1) } else { 1 };
        let mut lines: Vec<Line> = Vec::new();
        for _ in 0..records {
            if let Some(line) = self.one(reader, kind, channel)? {
                // One record is written once in a transaction: else what the app meant last would decide.
                if lines.iter().all(|other| other.record != line.record) {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }

    fn one(&mut self, reader: &Connection, kind: Kind, channel: &ChannelName) -> rusqlite::Result<Option<Line>> {
        let Some(view) = self.channels.iter().find(|view| view.name == *channel).cloned() else { return Ok(None) };
        self.written += 1;
        let kind = match (kind, self.below(100)) {
            (Kind::Any, 0..25) => Kind::Create,
            (Kind::Any, 25..88) => Kind::Update,
            (Kind::Any, _) => Kind::Delete,
            (kind, _) => kind,
        };
        match kind {
            Kind::Create => self.create(reader, &view),
            Kind::Update | Kind::Any => self.update(reader, &view),
            Kind::Delete => self.delete(reader, &view.schema),
        }
    }

    /// An update that only marks some record: what a latency is measured with.
    pub(super) fn probe(&mut self, reader: &Connection, view: &ChannelView) -> rusqlite::Result<Option<Line>> {
        self.written += 1;
        let schema = &view.schema;
        let Some(field) = self.mark_field(view) else { return Ok(None) };
        let Some(id) = self.some_id(reader, &schema.channel)? else { return Ok(None) };
        let value = self.mark(field);
        Ok(Some(line(schema, id, Operation::Update, vec![(field, value)])))
    }

    /// The field that carries this device's marks now.
    fn mark_field<'v>(&self, view: &'v ChannelView) -> Option<&'v Field> {
        text_mark_field(view).or_else(|| number_mark_field(view).filter(|_| !self.unfit.contains(&view.name)))
    }

    fn mark(&self, field: &Field) -> Value {
        let number = self.run.number(self.device, self.written);
        match field.kind {
            FieldType::Int => Value::Int(number),
            FieldType::Float => Value::Float(number as f64),
            FieldType::Decimal => Value::Text(number.to_string()),
            _ => {
                let mark = self.run.text(self.device, self.written);
                Value::Text(plausible::text(&field.name, self.entropy.u64(), &mark, field.max_length))
            }
        }
    }

    fn create(&self, reader: &Connection, view: &ChannelView) -> rusqlite::Result<Option<Line>> {
        let schema = &view.schema;
        let sample = self.some_id(reader, &schema.channel)?;
        let marked = self.mark_field(view);
        // A record that is seen says best what may be seen; the first one of all needs what the rule asks for.
        let placed = match sample {
            Some(_) => Default::default(),
            None => placing::values(view, &self.account, self.below(1000)),
        };
        let mut values: Vec<(&Field, Value)> = Vec::new();
        for field in &schema.fields {
            let is_key = schema.is_key_field(&field.name);
            if field.read_only || (is_key && schema.key.assigned_by == AssignedBy::Backend) {
                continue;
            }
            let value = if marked.is_some_and(|marked| marked.name == field.name) {
                self.mark(field)
            } else if let Some(value) = placed.get(&field.name) {
                value.clone()
            } else if field.kind == FieldType::Ref {
                self.some_target(reader, field)?
            } else if is_key {
                self.fresh_key(field)
            } else {
                let seen = match &sample {
                    Some(sample) => self.read_field(reader, schema, sample, field)?,
                    None => plain_value(field, self.below(1000)),
                };
                // A mark is carried by one write alone.
                if self.run.owns(&seen.to_json()) { plain_value(field, self.below(1000)) } else { seen }
            };
            if value == Value::Null && field.required {
                return Ok(None);
            }
            values.push((field, value));
        }
        if schema.key.assigned_by == AssignedBy::App && self.key_is_taken(reader, schema, &values)? {
            return Ok(None);
        }
        Ok(Some(line(schema, self.fresh_id(), Operation::Create, values)))
    }

    fn update(&self, reader: &Connection, view: &ChannelView) -> rusqlite::Result<Option<Line>> {
        let schema = &view.schema;
        let Some(id) = self.hot_record(reader, schema)? else { return Ok(None) };
        let marked = self.mark_field(view);
        let mut values: Vec<(&Field, Value)> = marked.into_iter().map(|field| (field, self.mark(field))).collect();
        // Beside the mark one other field. Sums are what nobody notices when they are wrong: they are tried often.
        let is_other = |field: &&Field| {
            !field.read_only
                && !schema.is_key_field(&field.name)
                && marked.is_none_or(|marked| marked.name != field.name)
        };
        let others: Vec<&Field> = schema.fields.iter().filter(is_other).collect();
        let sums: Vec<&Field> = others.iter().copied().filter(|field| field.conflict == Policy::Sum).collect();
        let field = if !sums.is_empty() && self.below(2) == 0 {
            Some(sums[self.below(sums.len() as u64) as usize])
        } else if !others.is_empty() && (values.is_empty() || self.below(2) == 0) {
            Some(others[self.below(others.len() as u64) as usize])
        } else {
            None
        };
        if let Some(field) = field {
            let value = match field {
                field if field.conflict == Policy::Sum => {
                    let now = self.read_field(reader, schema, &id, field)?;
                    add(field.kind, &now, 1 + self.below(9) as i64)
                }
                field if field.kind == FieldType::Ref => self.some_target(reader, field)?,
                // A value that some record has: CHECKs hold for it.
                field => match self.some_id(reader, &schema.channel)? {
                    Some(other) => self.read_field(reader, schema, &other, field)?,
                    None => Value::Null,
                },
            };
            if (value != Value::Null || !field.required) && !self.run.owns(&value.to_json()) {
                values.push((field, value));
            }
        }
        if values.is_empty() {
            return Ok(None);
        }
        Ok(Some(line(schema, id, Operation::Update, values)))
    }

    /// Deletes a record that nothing points to, as far as this device can tell.
    fn delete(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<Line>> {
        for _ in 0..DELETE_TRIES {
            let Some(id) = self.hot_record(reader, schema)? else { return Ok(None) };
            if !self.is_referred_to(reader, schema, &id)? {
                return Ok(Some(line(schema, id, Operation::Delete, Vec::new())));
            }
        }
        Ok(None)
    }

    fn is_referred_to(&self, reader: &Connection, schema: &ChannelSchema, id: &str) -> rusqlite::Result<bool> {
        for other in self.channels.iter().map(|view| &view.schema) {
            for field in other.fields.iter().filter(|field| field.to.as_ref() == Some(&schema.channel)) {
                let sql = format!(
                    "SELECT 1 FROM {} WHERE {} = ?1 LIMIT 1",
                    quote(other.channel.as_str()),
                    quote(&field.name)
                );
                if reader.prepare_cached(&sql)?.exists([id])? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn fresh_id(&self) -> String {
        let now = Clock::System.now_ms().saturating_add(self.ahead_ms);
        self.entropy.uuid_v7(&Clock::manual(now)).to_string()
    }

    /// A record to change: one of the hot ones, where there are such.
    fn hot_record(&self, reader: &Connection, schema: &ChannelSchema) -> rusqlite::Result<Option<String>> {
        let Some(hot) = self.hot_keys else { return self.some_id(reader, &schema.channel) };
        let sql = format!("SELECT id FROM {} ORDER BY id LIMIT ?1", quote(schema.channel.as_str()));
        let mut statement = reader.prepare_cached(&sql)?;
        let ids: Vec<String> = statement.query_map([hot as i64], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(ids.get(self.below(ids.len() as u64) as usize).cloned())
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

    fn some_target(&self, reader: &Connection, field: &Field) -> rusqlite::Result<Value> {
        let Some(to) = &field.to else { return Ok(Value::Null) };
        if !self.channels.iter().any(|view| view.name == *to) {
            return Ok(Value::Null);
        }
        Ok(self.some_id(reader, to)?.map_or(Value::Null, Value::Text))
    }

    fn read_field(
        &self,
        reader: &Connection,
        schema: &ChannelSchema,
        id: &str,
        field: &Field,
    ) -> rusqlite::Result<Value> {
        let sql = format!("SELECT {} FROM {} WHERE id = ?1", quote(&field.name), quote(schema.channel.as_str()));
        let read = |row: &rusqlite::Row<'_>| Ok(value_of(row.get_ref(0)?, field.kind));
        Ok(reader.prepare_cached(&sql)?.query_row([id], read).optional()?.unwrap_or(Value::Null))
    }

    /// A key of the app's own. Where all write to few records, several devices make the same ones.
    fn fresh_key(&self, field: &Field) -> Value {
        let (device, n) = match self.hot_keys {
            Some(hot) => (0, self.below(10 * hot)),
            None => (self.device, self.written),
        };
        let number = self.run.number(device, n);
        let small = number.unsigned_abs() % 2_000_000;
        match field.kind {
            FieldType::Int => Value::Int(number),
            FieldType::Float => Value::Float(number as f64),
            FieldType::Decimal => Value::Text(number.to_string()),
            FieldType::Date => Value::Text(day(small)),
            FieldType::DateTime => Value::Text(format!("{} 08:30:00", day(small))),
            FieldType::Timestamp => Value::Text(format!("{}T08:30:00Z", day(small))),
            FieldType::Time => {
                Value::Text(format!("{:02}:{:02}:{:02}", small / 3_600 % 24, small / 60 % 60, small % 60))
            }
            FieldType::Uuid => Value::Text(uuid::Uuid::from_u128(number.unsigned_abs().into()).to_string()),
            FieldType::Bool | FieldType::Enum => plain_value(field, small),
            FieldType::Bytes => Value::Bytes(number.to_be_bytes().to_vec()),
            FieldType::Json | FieldType::Array => Value::Text(format!("[{number}]")),
            FieldType::Text | FieldType::Ref => {
                let most = field.max_length.unwrap_or(40) as usize;
                Value::Text(self.run.text(device, n).chars().take(most).collect())
            }
        }
    }

    fn key_is_taken(
        &self,
        reader: &Connection,
        schema: &ChannelSchema,
        values: &[(&Field, Value)],
    ) -> rusqlite::Result<bool> {
        let keys = schema.key.columns.iter().filter_map(|column| column.field.as_deref());
        let (mut wheres, mut parameters) = (Vec::new(), Vec::new());
        for name in keys {
            let given = values.iter().find(|(field, _)| field.name == name).map(|(_, value)| value);
            let Some(value) = given.filter(|value| **value != Value::Null) else { return Ok(true) };
            wheres.push(format!("{} = ?", quote(name)));
            parameters.push(parameter(value.clone()));
        }
        let sql = format!("SELECT 1 FROM {} WHERE {}", quote(schema.channel.as_str()), wheres.join(" AND "));
        reader.prepare_cached(&sql)?.exists(rusqlite::params_from_iter(parameters))
    }
}

fn is_free(view: &ChannelView, field: &Field) -> bool {
    !field.read_only
        && !view.schema.is_key_field(&field.name)
        && !placing::looks_at(view, &field.name)
        && matches!(field.conflict, Policy::ServerWins | Policy::ClientWins | Policy::Reject)
}

/// The field that carries marks: free text that is long enough, else a number whose values are its own.
pub(super) fn mark_field(view: &ChannelView) -> Option<&Field> {
    text_mark_field(view).or_else(|| number_mark_field(view))
}

fn text_mark_field(view: &ChannelView) -> Option<&Field> {
    view.schema.fields.iter().find(|field| {
        field.kind == FieldType::Text && is_free(view, field) && field.max_length.is_none_or(|most| most >= 20)
    })
}

fn number_mark_field(view: &ChannelView) -> Option<&Field> {
    let is_number = |kind| matches!(kind, FieldType::Int | FieldType::Float | FieldType::Decimal);
    view.schema.fields.iter().find(|field| is_number(field.kind) && is_free(view, field))
}

/// What is written to a record, in the words of the log.
fn line(schema: &ChannelSchema, record: String, op: Operation, values: Vec<(&Field, Value)>) -> Line {
    let new = values.into_iter().map(|(field, value)| (field.name.clone(), value.to_json())).collect();
    Line { channel: schema.channel.clone(), record, op, new }
}

/// A day of its own for each number below two million.
fn day(n: u64) -> String {
    format!("{:04}-{:02}-{:02}", 1_900 + n / 336 % 7_000, 1 + n / 28 % 12, 1 + n % 28)
}

/// A number of this type and a whole one.
fn add(kind: FieldType, now: &Value, more: i64) -> Value {
    match (kind, now) {
        (FieldType::Float, Value::Float(number)) => Value::Float(number + more as f64),
        (_, Value::Int(number)) => Value::Int(number.saturating_add(more)),
        (_, Value::Text(text)) => match text.parse::<bigdecimal::BigDecimal>() {
            Ok(number) => Value::Text((number + more).normalized().to_plain_string()),
            Err(_) => Value::Text(more.to_string()),
        },
        (FieldType::Float, _) => Value::Float(more as f64),
        (FieldType::Decimal, _) => Value::Text(more.to_string()),
        _ => Value::Int(more),
    }
}

/// A value of a type, for a channel that shows no example.
pub(super) fn plain_value(field: &Field, chance: u64) -> Value {
    match field.kind {
        FieldType::Text => Value::Text(format!("{} {chance}", field.name)),
        FieldType::Int => Value::Int(chance as i64),
        FieldType::Float => Value::Float(chance as f64 / 8.0),
        FieldType::Decimal => Value::Text(format!("{}.{}", chance / 10, chance % 9 + 1)),
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
    }
}

/// The statement that writes what a line says; `None` where a value is not of its field's type.
pub(super) fn statement_of(schema: &ChannelSchema, line: &Line) -> Option<Statement> {
    let table = quote(schema.channel.as_str());
    let mut values = Vec::new();
    for (name, json) in &line.new {
        let (_, field) = schema.field(name)?;
        values.push((quote(name), parameter(field.kind.from_json(json).ok()?)));
    }
    let id = Parameter::Text(line.record.clone());
    let (names, mut parameters): (Vec<String>, Vec<Parameter>) = values.into_iter().unzip();
    let sql = match line.op {
        Operation::Create => {
            parameters.insert(0, id);
            let columns: String = names.iter().map(|name| format!(", {name}")).collect();
            format!("INSERT INTO {table} (id{columns}) VALUES (?{})", ", ?".repeat(names.len()))
        }
        Operation::Update if names.is_empty() => return None,
        Operation::Update => {
            parameters.push(id);
            format!("UPDATE {table} SET {} = ? WHERE id = ?", names.join(" = ?, "))
        }
        Operation::Delete => {
            parameters = vec![id];
            format!("DELETE FROM {table} WHERE id = ?")
        }
    };
    Some(Statement { sql, parameters })
}

/// How an app binds a value.
fn parameter(value: Value) -> Parameter {
    match value {
        Value::Null => Parameter::Null,
        Value::Bool(truth) => Parameter::Integer(i64::from(truth)),
        Value::Int(number) => Parameter::Integer(number),
        Value::Float(number) => Parameter::Real(number),
        Value::Text(text) => Parameter::Text(text),
        Value::Bytes(bytes) => Parameter::Blob(bytes),
    }
}

/// What an app reads, as a value of the field's type.
pub(super) fn value_of(value: ValueRef<'_>, kind: FieldType) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) if kind == FieldType::Bool => Value::Bool(number != 0),
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

/// What a foreign application would write: a value for every field that it may, with a mark.
pub(super) fn foreign_create(
    view: &ChannelView,
    run: Run,
    n: u64,
    chance: &Entropy,
    some: impl Fn(&Field) -> serde_json::Value,
) -> Fields {
    let mut writer = Writer::new(chance.clone(), FOREIGN, run, Unfit::default());
    writer.written = n;
    let (schema, marked) = (&view.schema, mark_field(view));
    let mut values = Fields::new();
    for field in &schema.fields {
        let is_key = schema.is_key_field(&field.name);
        if field.read_only || (is_key && schema.key.assigned_by == AssignedBy::Backend) {
            continue;
        }
        let value = match marked {
            Some(marked) if marked.name == field.name => writer.mark(field).to_json(),
            _ if is_key && field.kind != FieldType::Ref => writer.fresh_key(field).to_json(),
            _ => some(field),
        };
        values.insert(field.name.clone(), value);
    }
    values
}

/// What a foreign application sets in a row: the mark, and what it adds to a sum.
pub(super) fn foreign_update(view: &ChannelView, run: Run, n: u64, chance: &Entropy) -> (Fields, Fields) {
    let mut writer = Writer::new(chance.clone(), FOREIGN, run, Unfit::default());
    writer.written = n;
    let set = mark_field(view).map(|field| (field.name.clone(), writer.mark(field).to_json()));
    let sum = view.schema.fields.iter().find(|field| field.conflict == Policy::Sum && !field.read_only);
    let add = sum.filter(|_| writer.below(2) == 0).map(|field| {
        let more = writer.below(9) + 1;
        let more = if field.kind == FieldType::Float { more.into() } else { more.to_string().into() };
        (field.name.clone(), more)
    });
    (set.into_iter().collect(), add.into_iter().collect())
}

/// The number under which foreign writes make their marks: no device has it.
const FOREIGN: usize = 0;

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
