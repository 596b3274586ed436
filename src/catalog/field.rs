//! One entry of a channel's `fields:`.

use omctl_protocol::{ChannelName, Field, FieldType, Policy, Value};

use super::keys;
use super::near;
use super::read::Entries;
use super::yaml::{At, Key, Kind, Node, Report};

/// Names that SQLite gives a meaning to in every table.
const ROW_NAMES: [&str; 3] = ["rowid", "oid", "_rowid_"];

/// Longest name of a field, in characters.
const NAME_CHARS_MAX: usize = 63;

/// A field, and where its reference stands.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) field: Field,
    /// Place of `to:`.
    pub(super) to_at: Option<At>,
}

/// Whether the text may name a field: it becomes a column beside `id` in the device's table.
pub fn is_field_name(text: &str) -> bool {
    is_identifier(text) && reserved(text).is_none()
}

fn is_identifier(text: &str) -> bool {
    text.chars().count() <= NAME_CHARS_MAX
        && text.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
        && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Why a name is taken. SQLite compares column names without regard to case.
fn reserved(text: &str) -> Option<&'static str> {
    let folded = text.to_ascii_lowercase();
    match folded.as_str() {
        "id" => Some("is the record's own id on devices"),
        _ if folded.starts_with("om_") => Some("begins with om_, which belongs to OpenMobster"),
        _ if ROW_NAMES.contains(&folded.as_str()) => Some("means the row itself in SQLite"),
        _ => None,
    }
}

/// Reports a name that no field may have.
pub(super) fn check_name(name: &str, at: At, report: &mut Report) {
    if let Some(reason) = reserved(name) {
        report
            .error(at, "reserved_name", format!("a field cannot be named `{name}`: it {reason}"))
            .with_hint(format!("rename it: `row_{}: {{ column: {name}, … }}`", name.trim_matches('_')));
    } else if !is_identifier(name) {
        report
            .error(at, "bad_name", format!("`{name}` cannot name a field"))
            .with_hint(format!("letters, digits and `_`; the backend's name goes to `column: \"{name}\"`"));
    }
}

pub(super) fn field(key: &Key, node: &Node, report: &mut Report) -> Option<Declared> {
    let name = &key.text;
    check_name(name, key.at, report);
    if let Kind::Text(text) = &node.kind {
        report
            .error(node.at, "wrong_kind", format!("field `{name}` must be a map, not text"))
            .with_hint(format!("{name}: {{ type: {text} }}"));
        return None;
    }
    let entries = report.map(node, "a field", keys::FIELD)?;
    let kind = kind(name, key.at, &entries, report)?;
    let mut field = Field {
        name: name.clone(),
        kind,
        column: None,
        values: Vec::new(),
        to: None,
        required: false,
        max_length: None,
        default: None,
        conflict: Policy::default(),
        read_only: false,
    };
    if let Some(node) = entries.get("column") {
        field.column = report.text(node, "`column`").filter(|column| column != name).map(str::to_owned);
    }
    if let Some(node) = entries.get("required") {
        field.required = report.truth(node, "`required`").unwrap_or_default();
    }
    if let Some(node) = entries.get("read_only") {
        field.read_only = report.truth(node, "`read_only`").unwrap_or_default();
    }
    field.max_length = max_length(kind, &entries, report);
    field.values = values(name, key.at, kind, &entries, report);
    let to_at = reference(&mut field, key.at, &entries, report);
    conflict(&mut field, &entries, report);
    if let Some(node) = entries.get("default") {
        field.default = default(&field, node, report);
    }
    Some(Declared { field, to_at })
}

fn kind(name: &str, at: At, entries: &Entries<'_>, report: &mut Report) -> Option<FieldType> {
    let Some(node) = entries.get("type") else {
        report.missing(at, &format!("field `{name}`"), "type", "for example `type: text`");
        return None;
    };
    report.word(node, "type", "unknown_type", &FieldType::ALL.map(|kind| (kind.word(), kind)))
}

fn max_length(kind: FieldType, entries: &Entries<'_>, report: &mut Report) -> Option<u32> {
    let (at, node) = entries.entry("max_length")?;
    if kind != FieldType::Text {
        report.error(at, "bad_option", format!("`max_length` is for text, not for {}", kind.word()));
        return None;
    }
    match &node.kind {
        Kind::Number(digits) => match digits.parse::<u32>() {
            Ok(length @ 1..) => Some(length),
            _ => {
                report.error(node.at, "bad_value", "`max_length` must be a whole number from 1");
                None
            }
        },
        _ => report.wrong_kind(node, "`max_length`", "a number"),
    }
}

fn values(name: &str, at: At, kind: FieldType, entries: &Entries<'_>, report: &mut Report) -> Vec<String> {
    let Some((key_at, node)) = entries.entry("values") else {
        if kind == FieldType::Enum {
            report.missing(at, &format!("enum `{name}`"), "values", "for example `values: [open, done]`");
        }
        return Vec::new();
    };
    if kind != FieldType::Enum {
        report
            .error(key_at, "bad_option", format!("`values` is for enum, not for {}", kind.word()))
            .with_hint("write `type: enum`");
        return Vec::new();
    }
    let items = report.texts(node, "`values`").unwrap_or_default();
    if matches!(&node.kind, Kind::List(none) if none.is_empty()) {
        report.error(node.at, "bad_value", "`values` is empty");
    }
    let mut words: Vec<String> = Vec::new();
    for (at, word) in items {
        if words.contains(&word) {
            report.error(at, "bad_value", format!("`{word}` is already in `values`"));
        }
        words.push(word);
    }
    words
}

fn reference(field: &mut Field, at: At, entries: &Entries<'_>, report: &mut Report) -> Option<At> {
    let Some((key_at, node)) = entries.entry("to") else {
        if field.kind == FieldType::Ref {
            report.missing(at, &format!("ref `{}`", field.name), "to", "name the channel: `to: customers`");
        }
        return None;
    };
    if field.kind != FieldType::Ref {
        report
            .error(key_at, "bad_option", format!("`to` is for ref, not for {}", field.kind.word()))
            .with_hint("write `type: ref`");
        return None;
    }
    field.to = Some(ChannelName::from(report.text(node, "`to`")?));
    Some(node.at)
}

fn conflict(field: &mut Field, entries: &Entries<'_>, report: &mut Report) {
    let Some(node) = entries.get("conflict") else { return };
    let words = Policy::ALL.map(|policy| (policy.word(), policy));
    let Some(policy) = report.word(node, "conflict policy", "unknown_policy", &words) else { return };
    let kind = field.kind;
    if let Some(needs) = policy_misfit(policy, kind) {
        let message = format!("`{}` is for {needs}, not for {}", policy.word(), kind.word());
        report.error(node.at, "bad_policy", message).with_hint("server_wins, client_wins and reject fit every type");
    }
    field.conflict = policy;
}

/// `None` where the policy fits the type, else what it is for.
pub(super) fn policy_misfit(policy: Policy, kind: FieldType) -> Option<&'static str> {
    let (fits, needs) = match policy {
        Policy::Sum => (kind.is_number(), "numbers"),
        Policy::SetUnion => (kind == FieldType::Array, "arrays"),
        Policy::Max | Policy::Min => (is_ordered(kind), "numbers, dates, times and text"),
        Policy::ServerWins | Policy::ClientWins | Policy::Reject => (true, ""),
    };
    (!fits).then_some(needs)
}

fn is_ordered(kind: FieldType) -> bool {
    use FieldType::{Date, DateTime, Text, Time, Timestamp};
    kind.is_number() || matches!(kind, Date | Time | DateTime | Timestamp | Text)
}

fn default(field: &Field, node: &Node, report: &mut Report) -> Option<serde_json::Value> {
    let value =
        value(field.kind, node).and_then(|value| field.kind.canonical(value).map_err(|error| error.to_string()));
    let value = match value {
        Ok(value) => value,
        Err(reason) => {
            let message = format!("the default of `{}` is no {}: {reason}", field.name, field.kind.word());
            let hint =
                matches!(node.kind, Kind::Number(_) | Kind::Bool(_)).then(|| "quote it to make it text".to_owned());
            report.error(node.at, "bad_default", message).maybe_hint(hint);
            return None;
        }
    };
    if let Value::Text(word) = &value
        && field.kind == FieldType::Enum
        && !field.values.contains(word)
    {
        report
            .error(node.at, "bad_default", format!("`{word}` is not one of the values of `{}`", field.name))
            .maybe_hint(near::hint(word, field.values.iter().map(String::as_str)));
    }
    if let (Value::Text(text), Some(most)) = (&value, field.max_length)
        && text.chars().count() > most as usize
    {
        report.error(node.at, "bad_default", format!("the default of `{}` is longer than {most}", field.name));
    }
    Some(value.to_json()).filter(|json| !json.is_null())
}

/// A YAML value as one of a field's type, not yet canonical.
pub(super) fn value(kind: FieldType, node: &Node) -> Result<Value, String> {
    let is_json = matches!(kind, FieldType::Json | FieldType::Array);
    Ok(match &node.kind {
        Kind::Null => Value::Null,
        Kind::List(_) | Kind::Map(_) if is_json => Value::Text(json(node)?),
        Kind::List(_) | Kind::Map(_) => return Err(format!("found {}", node.word())),
        Kind::Bool(truth) if kind == FieldType::Json => Value::Text(truth.to_string()),
        Kind::Bool(truth) => Value::Bool(*truth),
        // The digits as written: a decimal would be rounded by way of a double.
        Kind::Number(digits) if kind.is_number() || kind == FieldType::Json => Value::Text(digits.clone()),
        Kind::Number(digits) => digits
            .parse()
            .map(Value::Int)
            .or_else(|_| digits.parse().map(Value::Float))
            .map_err(|_: std::num::ParseFloatError| "found a number out of range".to_owned())?,
        Kind::Text(text) if kind == FieldType::Json => Value::Text(quoted(text)),
        Kind::Text(text) => Value::Text(text.clone()),
    })
}

fn json(node: &Node) -> Result<String, String> {
    Ok(match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(truth) => truth.to_string(),
        Kind::Number(digits) => digits.clone(),
        Kind::Text(text) => quoted(text),
        Kind::List(items) => format!("[{}]", items.iter().map(json).collect::<Result<Vec<_>, _>>()?.join(",")),
        Kind::Map(entries) => {
            let members = entries.iter().map(|(key, value)| Ok(format!("{}:{}", quoted(&key.text), json(value)?)));
            format!("{{{}}}", members.collect::<Result<Vec<_>, String>>()?.join(","))
        }
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
