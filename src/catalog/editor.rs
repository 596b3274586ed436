//! JSON Schemas of the project's files, for editors: completion, help and red lines while typing.
//!
//! Draft 7, which is what the YAML language server of VS Code and Neovim reads in full
//! (<https://github.com/redhat-developer/yaml-language-server>). They say less than the loader: what depends on another
//! file is left to `omctl check`. *Invariant:* they accept every file that the loader accepts; a test holds both to it.

use omctl_protocol::{FieldType, Policy};
use serde_json::{Map, Value, json};

use super::channel::{ASSIGNED_BY, DELETE_WORDS};
use super::field::policy_misfit;
use super::keys::{self, Keys};
use super::model::{Catalog, Channel, Link, MANAGED};
use super::project::BACKEND_KINDS;
use super::scenario::{DEVICES_MAX, RESERVED, RESTARTS_MAX, WRITES};

/// The folder of the schemas, below the project's root. Derived: never edited, never committed.
pub const SCHEMA_DIR: &str = ".openmobster/schema";

/// Whether a project file asks for the schemas: by the line that points an editor to them.
pub fn wants_schemas(project_file: &str) -> bool {
    project_file.lines().any(|line| line.starts_with('#') && line.contains(&format!("$schema={SCHEMA_DIR}/")))
}

/// Every schema of a project, as a file name below [`SCHEMA_DIR`] and a JSON text.
pub fn schemas(catalog: &Catalog) -> Vec<(String, String)> {
    let channels: Vec<&str> = catalog.channels.keys().map(|name| name.as_str()).collect();
    let backends: Vec<&str> = std::iter::once(MANAGED).chain(catalog.backends.keys().map(String::as_str)).collect();
    let (mut channel, mut scenario) = (channel(), scenario());
    suggest(&mut channel, "/properties/backend", &backends);
    suggest(&mut channel, "/properties/fields/additionalProperties/properties/to", &channels);
    for key in WRITES {
        let place = format!("/properties/phases/items/else/additionalProperties/properties/{key}");
        suggest(&mut scenario, &place, &channels);
    }
    let mut all = vec![
        ("project.json".to_owned(), project()),
        ("channel.json".to_owned(), channel),
        ("scenario.json".to_owned(), scenario),
    ];
    for channel in catalog.channels.values().filter(|channel| channel.backend == MANAGED) {
        all.push((format!("seed/{}.json", channel.name), seed(channel)));
    }
    all.into_iter().map(|(name, schema)| (name, format!("{schema:#}\n"))).collect()
}

/// Lets an editor offer these words. Others stay right: a file that was added since would be marked wrong.
fn suggest(schema: &mut Value, place: &str, words: &[&str]) {
    let Some(form) = schema.pointer_mut(place) else { return };
    let help = form["description"].clone();
    *form = json!({ "anyOf": [{ "enum": words }, form.take()], "description": help });
}

/// The schema of `openmobster.yaml`.
pub(super) fn project() -> Value {
    file("An OpenMobster project", map_of(keys::PROJECT, &["version"]))
}

/// The schema of `channels/*.yaml`.
pub(super) fn channel() -> Value {
    let mut schema = map_of(keys::CHANNEL, &["fields"]);
    let own = json!({ "required": ["backend"], "properties": { "backend": { "not": { "const": MANAGED } } } });
    let never = json!({ "table": false, "where": false, "detect": false });
    schema["if"] = own;
    schema["then"] = json!({ "required": ["table", "key"] });
    schema["else"] = json!({ "properties": never });
    file("A channel", schema)
}

/// The schema of `scenarios/*.yaml`.
pub(super) fn scenario() -> Value {
    file("A scenario", map_of(keys::SCENARIO, &["accounts", "phases"]))
}

/// The schema of `seed/NN-CHANNEL.yaml`: the records of this channel.
pub(super) fn seed(channel: &Channel) -> Value {
    let fields = &channel.schema.fields;
    let properties: Map<String, Value> = (fields.iter())
        .map(|field| {
            let mut form = value_of(field.kind);
            if field.kind == FieldType::Enum {
                form = json!({ "enum": field.values.iter().map(Some).chain([None]).collect::<Vec<_>>() });
            }
            if field.required {
                form = json!({ "allOf": [form, { "not": { "type": "null" } }] });
            }
            form["description"] = field.kind.word().into();
            (field.name.clone(), form)
        })
        .collect();
    let required: Vec<&str> =
        fields.iter().filter(|one| one.required && one.default.is_none()).map(|one| one.name.as_str()).collect();
    let mut record = map_of(keys::SEED, &["id", "fields"]);
    record["properties"]["fields"] = json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": required,
        "description": "Its values",
    });
    file(&format!("Seed records of {}", channel.name), json!({ "type": "array", "items": record }))
}

fn file(title: &str, mut schema: Value) -> Value {
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = title.into();
    schema
}

/// A map of which only these keys are known.
fn map_of(keys: &Keys, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut form = (key.form)();
        form["description"] = key.help.into();
        properties.insert(key.name.to_owned(), form);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

pub(super) fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

pub(super) fn texts() -> Value {
    json!({ "type": "array", "items": text() })
}

pub(super) fn truth() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn anything() -> Value {
    json!({})
}

pub(super) fn map() -> Value {
    json!({ "type": "object" })
}

pub(super) fn whole_from_0() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub(super) fn whole_from_1() -> Value {
    json!({ "type": "integer", "minimum": 1 })
}

pub(super) fn version() -> Value {
    json!({ "const": 1 })
}

pub(super) fn server() -> Value {
    map_of(keys::SERVER, &[])
}

pub(super) fn all_devices() -> Value {
    map_of(keys::DEVICES, &[])
}

pub(super) fn address() -> Value {
    json!({ "type": "string", "pattern": ":[0-9]+$" })
}

pub(super) fn overlays() -> Value {
    json!({ "type": "object", "additionalProperties": map_of(keys::OVERLAY, &[]) })
}

pub(super) fn backends() -> Value {
    json!({
        "type": "object", "additionalProperties": map_of(keys::SQLITE, &["kind", "path"]),
        "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,62}$", "not": { "const": MANAGED } },
    })
}

pub(super) fn backend_kind() -> Value {
    one_of(BACKEND_KINDS)
}

pub(super) fn constants() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } })
}

pub(super) fn channel_key() -> Value {
    map_of(keys::KEY, &["columns", "assigned_by"])
}

pub(super) fn columns() -> Value {
    json!({ "type": "array", "items": text(), "minItems": 1, "uniqueItems": true })
}

pub(super) fn assigned_by() -> Value {
    one_of(ASSIGNED_BY.map(|(word, _)| word))
}

pub(super) fn scope() -> Value {
    let side =
        json!({ "anyOf": [{ "type": ["string", "number", "boolean"] }, map_of(keys::MEMBERSHIP, &["in", "where"])] });
    let all_of = json!({ "type": "object", "minProperties": 1, "additionalProperties": side });
    json!({ "anyOf": [{ "const": "public" }, all_of, { "type": "array", "minItems": 1, "items": all_of }] })
}

pub(super) fn scope_constants() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
}

pub(super) fn channel_field() -> Value {
    json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]*\\.[^.]+$" })
}

pub(super) fn write() -> Value {
    map_of(keys::WRITE, &[])
}

pub(super) fn roles() -> Value {
    json!({ "anyOf": [{ "const": "any" }, { "type": "string" }, texts()] })
}

pub(super) fn detect() -> Value {
    map_of(keys::DETECT, &[])
}

pub(super) fn detect_by() -> Value {
    one_of(["auto"])
}

pub(super) fn duration() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
}

pub(super) fn delete_vs_update() -> Value {
    one_of(DELETE_WORDS.map(|(word, _)| word))
}

pub(super) fn fields() -> Value {
    let mut field = map_of(keys::FIELD, &["type"]);
    field["allOf"] = FieldType::ALL.map(only_for).into_iter().collect();
    json!({
        "type": "object", "additionalProperties": field,
        "propertyNames": { "pattern": "^[\\p{L}\\p{Nl}_][\\p{L}\\p{N}\\p{M}_]*$", "not": { "pattern": "^([iI][dD]$|[oO][mM]_)" } },
    })
}

/// What a field of this type must have, and what it cannot have.
fn only_for(kind: FieldType) -> Value {
    let mut properties = Map::new();
    for (key, of) in [("max_length", FieldType::Text), ("values", FieldType::Enum), ("to", FieldType::Ref)] {
        if kind != of {
            properties.insert(key.to_owned(), false.into());
        }
    }
    let fits = Policy::ALL.iter().filter(|policy| policy_misfit(**policy, kind).is_none());
    properties.insert("conflict".to_owned(), one_of(fits.map(|policy| policy.word())));
    properties.insert("default".to_owned(), value_of(kind));
    let required: &[&str] = match kind {
        FieldType::Enum => &["values"],
        FieldType::Ref => &["to"],
        _ => &[],
    };
    json!({
        "if": { "required": ["type"], "properties": { "type": { "const": kind.word() } } },
        "then": { "properties": properties, "required": required },
    })
}

/// A value of this type, as YAML reads it.
fn value_of(kind: FieldType) -> Value {
    use FieldType::{
        Array, Bool, Bytes, Date, DateTime, Decimal, Enum, Float, Int, Json, Ref, Text, Time, Timestamp, Uuid,
    };
    match kind {
        Text | Enum => json!({ "type": ["string", "null"] }),
        Ref => json!({ "type": ["string", "integer", "null"] }),
        Int => json!({ "type": ["integer", "string", "null"], "pattern": "^[+-]?[0-9]+$" }),
        Float => json!({ "type": ["number", "string", "null"] }),
        Decimal => json!({ "type": ["number", "string", "null"], "pattern": "^[+-]?[0-9.]+([eE][+-]?[0-9]+)?$" }),
        Bool => json!({ "enum": [true, false, 0, 1, null] }),
        Date => json!({ "type": ["string", "null"], "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}" }),
        Time | DateTime | Timestamp | Uuid => json!({ "type": ["string", "null"], "minLength": 5 }),
        Json => json!({}),
        Array => json!({ "type": ["array", "null", "string"] }),
        Bytes => json!({ "type": "null" }),
    }
}

pub(super) fn field_type() -> Value {
    one_of(FieldType::ALL.map(FieldType::word))
}

pub(super) fn words() -> Value {
    json!({ "type": "array", "items": text(), "minItems": 1, "uniqueItems": true })
}

pub(super) fn channel_name() -> Value {
    json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$" })
}

pub(super) fn policy() -> Value {
    one_of(Policy::ALL.map(Policy::word))
}

pub(super) fn record_id() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": omctl_protocol::RECORD_ID_BYTES_MAX })
}

pub(super) fn groups() -> Value {
    json!({
        "type": "object", "minProperties": 1, "additionalProperties": map_of(keys::GROUP, &["devices"]),
        "propertyNames": { "pattern": "^[a-z][a-z0-9_]*$", "not": { "enum": RESERVED } },
    })
}

pub(super) fn claims() -> Value {
    json!({ "type": "object", "additionalProperties": { "anyOf": [text(), texts()] } })
}

pub(super) fn devices() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": DEVICES_MAX })
}

pub(super) fn network() -> Value {
    one_of(Link::ALL.map(|(word, _)| word))
}

/// A phase that heals stands alone; in every other one the keys that are not its own are names of groups.
pub(super) fn phases() -> Value {
    let healing = map_of(&[keys::PHASE[1]], &["heal"]);
    let mut acting = map_of(&[keys::PHASE[0], keys::PHASE[2], keys::PHASE[3]], &["for"]);
    let mut act = map_of(keys::ACT, &[]);
    act["minProperties"] = 1.into();
    let writes: Vec<Value> = WRITES.iter().map(|key| json!({ "required": [key] })).collect();
    act["dependencies"] = json!({
        "rate": { "anyOf": writes }, "hot_keys": { "anyOf": writes }, "transactions": { "anyOf": writes },
    });
    acting["additionalProperties"] = act;
    let phase = json!({ "type": "object", "if": { "required": ["heal"] }, "then": healing, "else": acting });
    json!({ "type": "array", "minItems": 1, "items": phase })
}

pub(super) fn heal() -> Value {
    one_of(["all"])
}

pub(super) fn server_fault() -> Value {
    map_of(keys::FAULT, &["restart"])
}

pub(super) fn times() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": RESTARTS_MAX })
}

pub(super) fn restart() -> Value {
    json!({ "anyOf": [one_of(["once"]), times()] })
}

pub(super) fn foreign() -> Value {
    let one = map_of(keys::FOREIGN, &["table", "rate"]);
    json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
}

pub(super) fn channels() -> Value {
    json!({ "anyOf": [channel_name(), { "type": "array", "minItems": 1, "items": channel_name() }] })
}

pub(super) fn rate() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?/[smh]$" })
}

pub(super) fn percent() -> Value {
    json!({ "type": "string", "pattern": "^(100|[1-9][0-9]?)%$" })
}

pub(super) fn offline() -> Value {
    json!({ "anyOf": [percent(), duration()] })
}

pub(super) fn expectations() -> Value {
    map_of(keys::EXPECT, &[])
}

pub(super) fn bound() -> Value {
    json!({ "anyOf": [whole_from_0(), { "type": "string", "pattern": "^(<|<=|>|>=|=) *[0-9]+$" }] })
}

fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> Value {
    json!({ "enum": words.into_iter().collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests;
