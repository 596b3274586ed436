//! One file of `channels/`.

use std::time::Duration;

use omctl_protocol::{
    AssignedBy, ChannelName, ChannelSchema, Field, FieldType, KeyColumn, KeyRule, Policy, SchemaVersion, Value,
};

use super::field::{self, Declared, field};
use super::keys;
use super::model::{Channel, DeleteVsUpdate, MANAGED, Roles, WriteDecl};
use super::near;
use super::read::Entries;
use super::scope::scope;
use super::secret;
use super::yaml::{At, Kind, Node, Report};

/// Shortest `detect: { every: … }`: below it a poll would never rest.
const POLL_EVERY_MIN: Duration = Duration::from_millis(100);

/// Who makes a new record's key.
pub(super) const ASSIGNED_BY: [(&str, AssignedBy); 3] =
    [("backend", AssignedBy::Backend), ("device", AssignedBy::Device), ("app", AssignedBy::App)];

/// Who wins where one side deleted what the other changed.
pub(super) const DELETE_WORDS: [(&str, DeleteVsUpdate); 2] =
    [("update_wins", DeleteVsUpdate::UpdateWins), ("delete_wins", DeleteVsUpdate::DeleteWins)];

/// A channel, and the places of its references for the check against the other channels.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) channel: Channel,
    /// Place of `to:` and name of the field.
    pub(super) references: Vec<(At, String)>,
}

/// Reads a channel. `backends` are the declared ones, `None` where that is unknown. `None` where key or fields cannot be
/// told; the report has the reasons.
pub(super) fn channel(
    name: &ChannelName,
    node: &Node,
    backends: Option<&Vec<String>>,
    report: &mut Report,
) -> Option<Loaded> {
    secret::refuse_literals(node, report);
    let entries = report.map(node, "a channel", keys::CHANNEL)?;
    let backend = backend(&entries, backends, report);
    let managed = backend == MANAGED;
    if managed {
        for key in ["table", "where", "detect"] {
            if let Some((at, _)) = entries.entry(key) {
                report
                    .error(at, "bad_option", format!("`{key}` is for channels with a backend of their own"))
                    .with_hint(format!("remove `{key}`, or name a backend: `backend: NAME`"));
            }
        }
    }
    let table = match entries.get("table") {
        Some(node) if !managed => report.text(node, "`table`").unwrap_or_default().to_owned(),
        Some(_) => String::new(),
        None if managed => name.to_string(),
        None => {
            report.missing(entries.at, "the channel", "table", "name the backend's table: `table: NAME`");
            String::new()
        }
    };
    let declared = fields(&entries, report);
    let (key, fields) = key(&entries, managed, declared.as_deref(), report).unzip();
    let scope = scope(&entries, fields.as_deref(), report);
    let write = write(&entries, report);
    let delete_vs_update = match entries.get("delete_vs_update") {
        Some(node) => {
            report.word(node, "word for `delete_vs_update`", "unknown_policy", &DELETE_WORDS).unwrap_or_default()
        }
        None => DeleteVsUpdate::default(),
    };
    let poll_every = entries.get("detect").and_then(|node| detect(node, report));
    let filter = entries.get("where").map(|node| filter(node, fields.as_deref(), report)).unwrap_or_default();
    let writable = ![&write.create, &write.update, &write.delete].iter().all(|roles| roles.is_nobody());
    let atomic = atomic(&entries, writable, report).then(|| backend.clone());
    let references = (declared?.iter()).filter_map(|one| Some((one.to_at?, one.field.name.clone()))).collect();
    let schema = ChannelSchema {
        channel: name.clone(),
        version: SchemaVersion(0),
        key: key?,
        fields: fields?,
        writable,
        atomic,
    };
    let file = report.file.clone();
    let name = name.clone();
    let channel = Channel { name, backend, table, filter, schema, scope, write, delete_vs_update, poll_every, file };
    Some(Loaded { channel, references })
}

/// Whether apps may write it in atomic transactions. Every kind of backend that there is has transactions; a kind without
/// them is to be refused here.
fn atomic(entries: &Entries<'_>, writable: bool, report: &mut Report) -> bool {
    let Some(node) = entries.get("atomic") else { return false };
    let is_atomic = report.truth(node, "`atomic`").unwrap_or_default();
    if is_atomic && !writable {
        report
            .error(node.at, "bad_option", "`atomic` is about writes, and nobody may write this channel")
            .with_hint("say who may with `write:`, or remove `atomic`");
    }
    is_atomic
}

fn backend(entries: &Entries<'_>, backends: Option<&Vec<String>>, report: &mut Report) -> String {
    let Some(node) = entries.get("backend") else { return MANAGED.to_owned() };
    let Some(text) = report.text(node, "`backend`") else { return String::new() };
    if let Some(backends) = backends
        && text != MANAGED
        && !backends.iter().any(|one| one == text)
    {
        let known = std::iter::once(MANAGED).chain(backends.iter().map(String::as_str));
        report
            .error(node.at, "unknown_backend", format!("no backend `{text}` is declared in openmobster.yaml"))
            .maybe_hint(near::hint(text, known));
    }
    text.to_owned()
}

fn fields(entries: &Entries<'_>, report: &mut Report) -> Option<Vec<Declared>> {
    let Some(node) = entries.get("fields") else {
        report.missing(entries.at, "the channel", "fields", "for example `fields: { title: { type: text } }`");
        return None;
    };
    let map = report.open_map(node, "`fields`")?;
    let mut all: Vec<Declared> = Vec::new();
    let mut complete = true;
    for (key, node) in map {
        let Some(one) = field(key, node, report) else {
            complete = false;
            continue;
        };
        let clash = |known: &&Declared| known.field.name.eq_ignore_ascii_case(&one.field.name);
        // Two keys that are equal letter by letter are a `duplicate_key` already.
        if let Some(known) = all.iter().find(clash).filter(|known| known.field.name != one.field.name) {
            let message = format!("`{}` and `{}` are one name to SQLite", known.field.name, one.field.name);
            report.error(key.at, "duplicate_field", message).with_hint("rename one with `column:`");
        }
        if let Some(known) = all.iter().find(|known| known.field.column() == one.field.column())
            && known.field.name != one.field.name
        {
            let message = format!("`{}` shows column `{}` already", known.field.name, one.field.column());
            report.error(key.at, "duplicate_field", message).with_hint("one field a column");
        }
        all.push(one);
    }
    complete.then_some(all)
}

/// The key rule, and the fields with the implicit ones of the key in front.
fn key(
    entries: &Entries<'_>,
    managed: bool,
    declared: Option<&[Declared]>,
    report: &mut Report,
) -> Option<(KeyRule, Vec<Field>)> {
    let fields = declared.map(|all| all.iter().map(|one| one.field.clone()).collect::<Vec<Field>>());
    let device_id = || KeyRule {
        assigned_by: AssignedBy::Device,
        columns: vec![KeyColumn { column: "id".to_owned(), field: None }],
    };
    let Some((key_at, node)) = entries.entry("key") else {
        if managed {
            return Some((device_id(), fields?));
        }
        let hint = "for example `key: { columns: [id], assigned_by: backend }`";
        report.missing(entries.at, "the channel", "key", hint);
        return None;
    };
    let key = report.map(node, "`key`", keys::KEY)?;
    let assigned_by = match key.get("assigned_by") {
        Some(node) => report.word(node, "word for `assigned_by`", "bad_key", &ASSIGNED_BY),
        None => {
            report.missing(key_at, "the key", "assigned_by", "backend, device or app: who makes a new record's key");
            None
        }
    };
    let columns = match key.get("columns") {
        Some(node) => report.texts(node, "`columns`"),
        None => {
            report.missing(key_at, "the key", "columns", "for example `columns: [id]`");
            None
        }
    };
    let (assigned_by, columns) = (assigned_by?, columns?);
    for (n, (at, column)) in columns.iter().enumerate() {
        if columns[..n].iter().any(|(_, known)| known == column) {
            report.error(*at, "bad_key", format!("`{column}` is already a key column"));
        }
    }
    if managed && (assigned_by != AssignedBy::Device || !matches!(&*columns, [(_, only)] if only == "id")) {
        report
            .error(key_at, "bad_key", "the key of a managed channel is the record's id")
            .with_hint("remove `key`, or write `key: { columns: [id], assigned_by: device }`");
        return None;
    }
    // A field with a mistake of its own may be the one that shows the key.
    let fields = fields?;
    match (columns.len(), assigned_by) {
        (0, _) => {
            report.error(key_at, "bad_key", "`columns` is empty").with_hint("a channel needs a key");
            None
        }
        (1, AssignedBy::Device) => {
            let (at, column) = &columns[0];
            if let Some(shown) = fields.iter().find(|field| field.column() == column) {
                report
                    .error(
                        *at,
                        "bad_key",
                        format!("`{column}` is the record's id and cannot be field `{}` too", shown.name),
                    )
                    .with_hint(format!("remove `{}` from `fields`: devices see it as `id`", shown.name));
            }
            Some((KeyRule { assigned_by, columns: vec![KeyColumn { column: column.clone(), field: None }] }, fields))
        }
        (1, _) | (_, AssignedBy::App) => Some(key_fields(assigned_by, &columns, fields, report)),
        (_, AssignedBy::Backend | AssignedBy::Device) => {
            report
                .error(key_at, "bad_key", "only a key of one column can be assigned by the backend or the device")
                .with_hint("write `assigned_by: app`: the app fills the key columns");
            None
        }
    }
}

/// Finds or makes the field that shows each key column.
fn key_fields(
    assigned_by: AssignedBy,
    columns: &[(At, String)],
    mut fields: Vec<Field>,
    report: &mut Report,
) -> (KeyRule, Vec<Field>) {
    let mut implicit = Vec::new();
    let mut rule = KeyRule { assigned_by, columns: Vec::new() };
    for (at, column) in columns {
        let shown = fields.iter().find(|field| field.column() == column);
        if let Some(bad) = shown.filter(|field| !can_be_key(field.kind)) {
            let message = format!("`{}` is {}, which cannot be a key", bad.name, bad.kind.word());
            report
                .error(*at, "bad_key", message)
                .with_hint("use a column of text, whole numbers, decimals, dates or uuid");
        }
        let name = match shown {
            Some(field) => field.name.clone(),
            None if assigned_by == AssignedBy::App => {
                report
                    .error(*at, "bad_key", format!("key column `{column}` is not under `fields`, so it has no type"))
                    .with_hint(format!("add it: `{}: {{ type: … }}`", rename(column)));
                continue;
            }
            None => {
                let field = implicit_field(column);
                field::check_name(&field.name, *at, report);
                if fields.iter().any(|other| other.name.eq_ignore_ascii_case(&field.name)) {
                    report
                        .error(*at, "bad_key", format!("another field has the name `{}`", field.name))
                        .with_hint(format!("declare the key: `my_key: {{ column: {column}, type: int }}`"));
                }
                let name = field.name.clone();
                implicit.push(field);
                name
            }
        };
        rule.columns.push(KeyColumn { column: column.clone(), field: Some(name) });
    }
    implicit.append(&mut fields);
    (rule, implicit)
}

/// The field of a key column that nobody declared. A backend counts its own keys, so it is an `int`.
fn implicit_field(column: &str) -> Field {
    let name = if column.eq_ignore_ascii_case("id") { "key" } else { column };
    Field {
        name: name.to_owned(),
        kind: FieldType::Int,
        column: (name != column).then(|| column.to_owned()),
        values: Vec::new(),
        to: None,
        required: false,
        max_length: None,
        default: None,
        conflict: Policy::default(),
        read_only: false,
    }
}

fn rename(column: &str) -> &str {
    if column.eq_ignore_ascii_case("id") { "key: { column: id, type: … }, not id" } else { column }
}

/// Whether values of this type may identify a record: they have one spelling each.
pub fn can_be_key(kind: FieldType) -> bool {
    !matches!(kind, FieldType::Float | FieldType::Json | FieldType::Array | FieldType::Bytes)
}

fn write(entries: &Entries<'_>, report: &mut Report) -> WriteDecl {
    let mut write = WriteDecl::default();
    let Some(node) = entries.get("write") else { return write };
    let Some(entries) = report.map(node, "`write`", keys::WRITE) else { return write };
    let WriteDecl { create, update, delete } = &mut write;
    for (operation, roles) in [("create", create), ("update", update), ("delete", delete)] {
        let Some(node) = entries.get(operation) else { continue };
        let names = match &node.kind {
            Kind::Text(text) => vec![text.clone()],
            _ => report.texts(node, "the roles").unwrap_or_default().into_iter().map(|(_, role)| role).collect(),
        };
        *roles = match names {
            names if names.iter().any(|role| role == "any") => Roles::Any,
            names if names.is_empty() => Roles::Nobody,
            names => Roles::Only(names),
        };
    }
    write
}

fn detect(node: &Node, report: &mut Report) -> Option<Duration> {
    let entries = report.map(node, "`detect`", keys::DETECT)?;
    if let Some(by) = entries.get("by") {
        report.word(by, "word for `by`", "bad_value", &[("auto", ())]);
    }
    let every = entries.get("every")?;
    let text = report.text(every, "`every`")?;
    match duration(text) {
        Some(duration) if duration >= POLL_EVERY_MIN => Some(duration),
        Some(_) => {
            report.error(every.at, "bad_value", "`every` is shorter than 100ms");
            None
        }
        None => {
            report
                .error(every.at, "bad_value", format!("`{text}` is not a duration"))
                .with_hint("a number with ms, s, m, h or d: 20s");
            None
        }
    }
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

fn filter(node: &Node, fields: Option<&[Field]>, report: &mut Report) -> Vec<(String, Value)> {
    let Some(entries) = report.open_map(node, "`where`") else { return Vec::new() };
    let mut filter = Vec::new();
    for (key, node) in entries {
        let field = fields.and_then(|fields| fields.iter().find(|field| field.column() == key.text));
        // A reference holds the other backend key, whose type is not known here: as written, like a column that is none.
        let kind = field.map(|field| field.kind).filter(|kind| *kind != FieldType::Ref);
        let value = match kind {
            Some(kind) => {
                field::value(kind, node).and_then(|value| kind.canonical(value).map_err(|error| error.to_string()))
            }
            None => field::value(FieldType::Text, node),
        };
        match value {
            Ok(value) => filter.push((key.text.clone(), value)),
            Err(reason) => {
                let message = format!("the value of `{}` does not fit: {reason}", key.text);
                report.error(node.at, "bad_value", message);
            }
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("20s"), Some(Duration::from_secs(20)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!((duration("20"), duration("s"), duration("1.5s"), duration("-1s")), (None, None, None, None));
    }
}
