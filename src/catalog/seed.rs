//! `seed/NN-CHANNEL.yaml`: records that fill a fresh `managed` store. A list of `{ id, fields }`, one channel a file.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omctl_protocol::{ChannelName, Field, FieldType, RecordId, Value};

use super::field::value;
use super::keys;
use super::load::CHANNELS_DIR;
use super::model::{Channel, MANAGED, SeedFile, SeedRecord};
use super::near;
use super::yaml::{self, At, Kind, Node, Report};

/// The folder of the seeds' files.
pub const SEED_DIR: &str = "seed";

/// Reads every seed file in the order of the numbers.
pub(super) fn load(
    root: &Path,
    channels: &BTreeMap<ChannelName, Arc<Channel>>,
    found: &mut Vec<super::model::Diagnostic>,
) -> Vec<SeedFile> {
    let mut names: Vec<String> = match std::fs::read_dir(root.join(SEED_DIR)) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
        // Nobody needs seeds.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let mut report = Report::new(SEED_DIR);
            report.error(At::FILE, "unreadable", format!("the folder cannot be read: {}", error.kind()));
            found.append(&mut report.found);
            return Vec::new();
        }
    };
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let mut files = Vec::new();
    for name in names {
        let mut report = Report::new(PathBuf::from(SEED_DIR).join(&name));
        if !name.ends_with(".yaml") {
            if let Some((stem, extension)) = name.rsplit_once('.')
                && ["yaml", "yml"].contains(&extension.to_lowercase().as_str())
            {
                report
                    .error(At::FILE, "bad_seed_name", "a seed file ends in `.yaml`")
                    .with_hint(format!("rename it to {stem}.yaml"));
                found.append(&mut report.found);
            }
            continue;
        }
        if let Some(file) = read(root, &name, channels, &mut report) {
            files.push(file);
        }
        found.append(&mut report.found);
    }
    files
}

fn read(
    root: &Path,
    name: &str,
    channels: &BTreeMap<ChannelName, Arc<Channel>>,
    report: &mut Report,
) -> Option<SeedFile> {
    let stem = name.trim_end_matches(".yaml");
    let Some((number, channel)) = stem.split_once('-').filter(|(number, _)| number.parse::<u32>().is_ok()) else {
        report
            .error(At::FILE, "bad_seed_name", "a seed file is called NUMBER-CHANNEL.yaml")
            .with_hint(format!("rename it, for example to 01-{stem}.yaml: the numbers are the order of filling"));
        return None;
    };
    let Some(channel) = channels.get(channel) else {
        let hint = near::hint(channel, channels.keys().map(ChannelName::as_str));
        report
            .error(At::FILE, "unknown_channel", format!("there is no {CHANNELS_DIR}/{channel}.yaml"))
            .maybe_hint(hint.or_else(|| Some(format!("seed/{number}-… names a channel"))));
        return None;
    };
    if channel.backend != MANAGED {
        let message = format!(
            "channel `{}` lives in backend `{}`: only managed channels are seeded",
            channel.name, channel.backend
        );
        report.error(At::FILE, "seed_of_backend", message);
        return None;
    }
    let node = yaml::read(root, report)?;
    let mut ids = HashSet::new();
    let items = report.list(&node, "a seed file")?;
    let records: Vec<SeedRecord> = items.iter().filter_map(|item| record(item, channel, &mut ids, report)).collect();
    Some(SeedFile { channel: channel.name.clone(), records })
}

fn record(item: &Node, channel: &Channel, ids: &mut HashSet<String>, report: &mut Report) -> Option<SeedRecord> {
    let entries = report.map(item, "a seed record", keys::SEED)?;
    let Some(id) = entries.get("id") else {
        report.missing(item.at, "a seed record", "id", "id: any text that no other record of the channel has");
        return None;
    };
    let text = report.text(id, "`id`")?.to_owned();
    if text.is_empty() || text.len() > omctl_protocol::RECORD_ID_BYTES_MAX || !ids.insert(text.clone()) {
        report.error(id.at, "bad_id", "an id is not empty, not too long, and stands once in its file");
        return None;
    }
    let mut values = vec![Value::Null; channel.schema.fields.len()];
    for (place, field) in channel.schema.fields.iter().enumerate() {
        if let Some(default) = &field.default {
            values[place] = field.kind.from_json(default).unwrap_or_default();
        }
    }
    let Some(fields) = entries.get("fields") else {
        report.missing(item.at, "a seed record", "fields", "fields: { NAME: value }");
        return None;
    };
    for (key, node) in report.open_map(fields, "`fields`")? {
        let Some((place, field)) = channel.schema.field(&key.text) else {
            let names = channel.schema.fields.iter().map(|field| field.name.as_str());
            let hint = near::hint(&key.text, names);
            report
                .error(key.at, "unknown_field", format!("`{}` has no field `{}`", channel.name, key.text))
                .maybe_hint(hint);
            continue;
        };
        let read =
            value(field.kind, node).and_then(|value| field.kind.canonical(value).map_err(|error| error.to_string()));
        match read {
            Ok(value) => {
                check_constraints(field, &value, node.at, report);
                values[place] = value;
            }
            Err(reason) => {
                let message = format!("`{}` is no {}: {reason}", field.name, field.kind.word());
                let hint =
                    matches!(node.kind, Kind::Number(_) | Kind::Bool(_)).then(|| "quote it to make it text".to_owned());
                report.error(node.at, "bad_value", message).maybe_hint(hint);
            }
        }
    }
    for (field, value) in channel.schema.fields.iter().zip(&values) {
        if field.required && value.is_null() {
            report.error(item.at, "missing_field", format!("`{}` must have a value", field.name));
        }
    }
    Some(SeedRecord { id: RecordId::from(text), values })
}

/// What the server would refuse of a device it refuses of a seed.
fn check_constraints(field: &Field, value: &Value, at: At, report: &mut Report) {
    let Value::Text(text) = value else { return };
    if field.kind == FieldType::Enum && !field.values.contains(text) {
        report
            .error(at, "bad_value", format!("`{text}` is not one of the values of `{}`", field.name))
            .maybe_hint(near::hint(text, field.values.iter().map(String::as_str)));
    }
    if let Some(most) = field.max_length.filter(|most| text.chars().count() > *most as usize) {
        report.error(at, "bad_value", format!("`{}` is longer than {most} characters", field.name));
    }
}
