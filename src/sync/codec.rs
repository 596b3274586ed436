//! Between what a backend spells and what devices hold: keys and references on one side, record ids on the other; and
//! between the schema versions of both.

use std::collections::BTreeMap;

use omctl_protocol::value::decode_body;
use omctl_protocol::{ChannelSchema, Field, FieldType, Fields, RecordId, SchemaVersion, Value, ValueError};

use super::plan::Rejection;
use super::{Sync, SyncError};
use crate::backend::{BackendRow, Collection, Key};
use crate::live::{Home, Live, LiveChannel};
use crate::store::{Aside, ChannelNo, Head, IdMapping};

/// A record in the words of devices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) id: RecordId,
    /// In the order of the current schema's fields.
    pub(super) values: Vec<Value>,
}

/// Which values of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What the device saw.
    Old,
    /// What it wants.
    New,
    /// What it wants in a new record: there its tables fill in what the app does not say.
    Created,
}

/// Which keys of rows are looked up among what devices created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Births {
    /// Those that no map knows: of a row that was written here and now, by the maps.
    Unknown,
    /// All: a key may be another record's since the map was made.
    Every,
}

/// Reads the fields of a mutation that names schema version `v`, as values of the current version.
pub(super) fn read_fields(
    channel: &LiveChannel,
    v: SchemaVersion,
    fields: &Fields,
    side: Side,
) -> Result<BTreeMap<String, Value>, Rejection> {
    let Some(written) = channel.versions.get(&v) else {
        return Err(Rejection::new("schema_mismatch", format!("schema version {v} of this channel is not known")));
    };
    let mut values = BTreeMap::new();
    for (name, json) in fields {
        let Some((_, field)) = written.field(name) else {
            return Err(Rejection::of("unknown_field", name, format!("there is no field `{name}`")));
        };
        let value = field.kind.from_json(json).map_err(|error| bad_value(name, &error))?;
        let says_nothing = side == Side::Old || side == Side::Created && is_default(field, &value);
        let Some((_, current)) = same_field(field, written, &channel.schema) else {
            if says_nothing {
                continue;
            }
            return Err(Rejection::of("schema_mismatch", name, format!("there is no field `{name}` any more")));
        };
        let name = &current.name;
        let value = if current.kind == field.kind {
            value
        } else {
            match (convert(value, current.kind), side) {
                (Some(value), _) => value,
                // It is shown as NULL now.
                (None, Side::Old) => Value::Null,
                (None, Side::Created) if says_nothing => continue,
                (None, Side::New | Side::Created) => {
                    let message = format!("`{name}` is {} now", current.kind.word());
                    return Err(Rejection::of("schema_mismatch", name, message));
                }
            }
        };
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Whether a new record's value is what the device fills in by itself, or nothing.
fn is_default(field: &Field, value: &Value) -> bool {
    let default = field.default.as_ref().and_then(|json| field.kind.from_json(json).ok());
    value.is_null() || default.as_ref() == Some(value)
}

/// A field in another version of its schema: the one of its name, or else, where it was renamed, the one of its column.
fn same_field<'s>(field: &Field, written: &ChannelSchema, schema: &'s ChannelSchema) -> Option<(usize, &'s Field)> {
    let is_new = |other: &Field| written.field(&other.name).is_none();
    let by_column =
        || schema.fields.iter().enumerate().find(|(_, other)| other.column() == field.column() && is_new(other));
    schema.field(&field.name).or_else(by_column)
}

fn bad_value(name: &str, error: &ValueError) -> Rejection {
    let code = match error {
        ValueError::OutOfRange(_) => "out_of_range",
        _ => "bad_value",
    };
    Rejection::of(code, name, format!("`{name}`: {error}"))
}

/// A value of another type, where that is exact.
fn convert(value: Value, kind: FieldType) -> Option<Value> {
    let text = match value {
        Value::Null => return Some(Value::Null),
        other => other,
    };
    kind.canonical(text.clone()).or_else(|_| kind.canonical(Value::Text(text.to_key_text()))).ok()
}

/// The values of a live row of the log in the order of the current schema; `None` for a tombstone.
pub(super) fn values_of(channel: &LiveChannel, head: &Head) -> Result<Option<Vec<Value>>, SyncError> {
    let Some(body) = &head.row.body else { return Ok(None) };
    let mut values = values_in(channel, head.row.version, body)?;
    if head.aside.kept.is_empty() {
        return Ok(Some(values));
    }
    let written = written(channel, head.row.version)?;
    let has = |place: usize| {
        let same = |field: &Field| same_field(field, written, &channel.schema).is_some_and(|(now, _)| now == place);
        written.fields.iter().any(same)
    };
    for (name, json) in &head.aside.kept {
        let Some((place, field)) = channel.schema.field(name) else { continue };
        // What was put aside comes back with its field, unless somebody wrote the field since. Where the body has no such
        // field, what stands there is only the default.
        if (values[place].is_null() || !has(place))
            && let Ok(value) = field.kind.from_json(json)
        {
            values[place] = value;
        }
    }
    Ok(Some(values))
}

/// Whether a live row of the log holds something aside that the current schema has a place for again.
pub(super) fn brings_back(channel: &LiveChannel, head: &Head) -> bool {
    head.row.body.is_some()
        && head.row.version != channel.schema.version
        && head.aside.kept.keys().any(|name| channel.schema.field(name).is_some())
}

/// What the log notes of a record, for its next body: with the values that the current schema has no place for.
pub(super) fn aside_of(channel: &LiveChannel, head: Head) -> Result<Aside, SyncError> {
    let mut aside = head.aside;
    let Some(body) = head.row.body.filter(|_| head.row.version != channel.schema.version) else { return Ok(aside) };
    let written = written(channel, head.row.version)?;
    for (field, value) in written.fields.iter().zip(decode(written, &body)?) {
        let has_place = same_field(field, written, &channel.schema)
            .is_some_and(|(_, now)| convert(value.clone(), now.kind).is_some());
        if !has_place && !value.is_null() {
            aside.kept.insert(field.name.clone(), value.to_json());
        }
    }
    Ok(aside)
}

fn written(channel: &LiveChannel, version: SchemaVersion) -> Result<&ChannelSchema, SyncError> {
    let unknown = || SyncError::Bug(format!("a row of `{}` names an unknown schema version", channel.name()));
    channel.versions.get(&version).map(|schema| &**schema).ok_or_else(unknown)
}

fn decode(written: &ChannelSchema, body: &str) -> Result<Vec<Value>, SyncError> {
    decode_body(body, written.types()).map_err(|error| SyncError::Bug(format!("a body does not read back: {error}")))
}

/// The values of a body in the order of the current schema.
pub(super) fn values_in(channel: &LiveChannel, version: SchemaVersion, body: &str) -> Result<Vec<Value>, SyncError> {
    let written = written(channel, version)?;
    let values = decode(written, body)?;
    Ok(if version == channel.schema.version { values } else { reorder(written, values, &channel.schema) })
}

/// Values of one version in the order of another: of the same field, converted where that is exact and else NULL; a field
/// that is new has its default. A device does the same with the rows that it holds.
fn reorder(written: &ChannelSchema, values: Vec<Value>, current: &ChannelSchema) -> Vec<Value> {
    let mut ordered: Vec<Option<Value>> = vec![None; current.fields.len()];
    for (field, value) in written.fields.iter().zip(values) {
        if let Some((place, now)) = same_field(field, written, current) {
            ordered[place] = Some(convert(value, now.kind).unwrap_or_default());
        }
    }
    let default = |field: &Field| field.default.as_ref().and_then(|json| field.kind.from_json(json).ok());
    let pick = |(value, field): (Option<Value>, &Field)| value.or_else(|| default(field)).unwrap_or_default();
    ordered.into_iter().zip(&current.fields).map(pick).collect()
}

impl Sync {
    /// The key of a record in its backend; `None` where the id is neither mapped nor a key's own text, or where its key
    /// is another record's by now.
    pub(super) fn key_of(&self, channel: &LiveChannel, collection: &Collection, id: &RecordId) -> Option<Key> {
        Key::parse(&self.inner.names.key(channel.number, id)?, &collection.key)
    }

    /// A field's value as the backend spells it. Only references differ.
    pub(super) fn to_backend(
        &self,
        live: &Live,
        channel: &LiveChannel,
        collection: &Collection,
        place: usize,
        value: &Value,
    ) -> Result<Value, Rejection> {
        let field = &channel.schema.fields[place];
        let (FieldType::Ref, Some(to), Value::Text(id)) = (field.kind, &field.to, value) else {
            return Ok(value.clone());
        };
        let dangling =
            || Rejection::of("depends_on", &field.name, format!("`{}` names a record that does not exist", field.name));
        let target = live.channels.get(to).ok_or_else(dangling)?;
        let key = self.inner.names.key(target.number, &RecordId::from(id.as_str())).ok_or_else(dangling)?;
        collection.columns[place].kind.canonical(Value::Text(key)).map_err(|_| dangling())
    }

    /// Rows of a backend in the words of devices. Keys are looked up among what devices created, so that a record never
    /// gets a second name, nor that of one that had the key before it; what is found is added to `mappings` for the next
    /// commit.
    pub(super) async fn name_rows(
        &self,
        live: &Live,
        channel: &LiveChannel,
        rows: Vec<BackendRow>,
        births: Births,
        mappings: &mut Vec<IdMapping>,
    ) -> Result<Vec<Record>, SyncError> {
        self.look_up_born(live, channel, &rows, births, mappings).await?;
        let names = &self.inner.names;
        let id_of = |channel: u64, key: String| names.record(channel, &key).unwrap_or_else(|| RecordId::from(key));
        let targets: Vec<Option<u64>> = channel
            .schema
            .fields
            .iter()
            .map(|field| field.to.as_ref().and_then(|to| live.channels.get(to)).map(|target| target.number))
            .collect();
        Ok(rows
            .into_iter()
            .map(|row| {
                let id = id_of(channel.number, row.key.to_text());
                let values = row.values.into_iter().zip(&targets).map(|(value, target)| match (target, value) {
                    (_, Value::Null) => Value::Null,
                    (Some(target), value) => Value::Text(id_of(*target, value.to_key_text()).as_str().to_owned()),
                    (None, value) => value,
                });
                Record { id, values: values.collect() }
            })
            .collect())
    }

    async fn look_up_born(
        &self,
        live: &Live,
        channel: &LiveChannel,
        rows: &[BackendRow],
        births: Births,
        mappings: &mut Vec<IdMapping>,
    ) -> Result<(), SyncError> {
        // A create of some device may be in the backend and not yet in our log: its key is unknown then, or known as that
        // of a record that had it before. The dedupe rows say so, unless there never was a create.
        let mut asked: BTreeMap<u64, BTreeMap<String, Key>> = BTreeMap::new();
        let mut ask = |target: &LiveChannel, key: Key| {
            let text = key.to_text();
            if births == Births::Every || self.inner.names.record(target.number, &text).is_none() {
                asked.entry(target.number).or_default().insert(text, key);
            }
        };
        for row in rows {
            if !channel.schema.key_is_id() {
                ask(channel, row.key.clone());
            }
            for (field, value) in channel.schema.fields.iter().zip(&row.values) {
                let target = field.to.as_ref().and_then(|to| live.channels.get(to));
                if let (Some(target), false) = (target, value.is_null())
                    && !target.schema.key_is_id()
                {
                    ask(target, Key(vec![value.clone()]));
                }
            }
        }
        for (number, keys) in asked {
            let Some(target) = live.channel_numbered(number) else { continue };
            let Home::Backend(backend, collection) = &target.home else { continue };
            let keys: Vec<Key> = keys.into_values().collect();
            let born = backend.born(collection, &keys).await?;
            let is_news = |(key, id): &(String, RecordId)| self.inner.names.record(number, key).as_ref() != Some(id);
            let found: Vec<IdMapping> = born
                .into_iter()
                .filter(is_news)
                .map(|(key, id)| IdMapping { channel: ChannelNo(number), id, key })
                .collect();
            self.inner.names.learn(&found);
            mappings.extend(found);
        }
        Ok(())
    }
}
