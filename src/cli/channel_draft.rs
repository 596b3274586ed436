//! A live table's shape as the content of a channel's file. Pure: what it needs to know is handed in.

use std::collections::BTreeSet;

use omctl_protocol::{AssignedBy, ChannelName, FieldType, Value};
use serde::Serialize;

use crate::backend::introspect::{ColumnShape, TableShape};
use crate::catalog::{has_literal_password, is_field_name, scalar};

/// Words that SQLite does not take as a bare column name (<https://www.sqlite.org/lang_keywords.html>, those without a
/// fallback to an identifier): an app that queries its table should not have to quote.
const SQL_WORDS: [&str; 46] = [
    "add",
    "all",
    "alter",
    "and",
    "as",
    "autoincrement",
    "between",
    "case",
    "check",
    "collate",
    "commit",
    "constraint",
    "create",
    "default",
    "delete",
    "distinct",
    "drop",
    "else",
    "exists",
    "foreign",
    "from",
    "group",
    "having",
    "in",
    "index",
    "insert",
    "into",
    "is",
    "join",
    "limit",
    "not",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "select",
    "set",
    "table",
    "then",
    "to",
    "unique",
    "update",
    "values",
    "where",
];

/// Who shall see the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScopeWish {
    Public,
    /// A field or column, and what it must equal.
    Field(String, String),
    /// A reference whose record's scopes are inherited.
    Via(String),
}

impl std::str::FromStr for ScopeWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "public" => Ok(Self::Public),
            None if text.len() > 4 && text.starts_with("via:") => Ok(Self::Via(text[4..].to_owned())),
            Some((field, right)) if !field.is_empty() && right.starts_with("account.") => {
                Ok(Self::Field(field.to_owned(), right.to_owned()))
            }
            _ => Err("write `public`, or for example owner=account.email or via:customer".to_owned()),
        }
    }
}

/// What the template is filled with.
#[derive(Debug, Serialize)]
pub(super) struct Draft {
    channel: String,
    /// The live table; `None` where there was none.
    origin: Option<String>,
    backend: String,
    /// `None` for a managed channel.
    table: Option<String>,
    key_columns: String,
    assigned_by: &'static str,
    scope: Option<String>,
    write: Option<String>,
    fields: Vec<DraftField>,
}

#[derive(Debug, Serialize)]
pub(super) struct DraftField {
    pub(super) name: String,
    #[serde(skip)]
    pub(super) column: String,
    /// What stands within the braces.
    pub(super) options: String,
    pub(super) comment: Option<String>,
    /// It stands in the file as a comment only.
    pub(super) left_out: bool,
}

impl Draft {
    /// A channel that no table stands behind yet: in a backend its key is guessed.
    pub(super) fn fresh(
        name: &ChannelName,
        backend: &str,
        in_backend: bool,
        (scope, write): (Option<String>, Option<String>),
        fields: Vec<DraftField>,
    ) -> Self {
        Self {
            channel: name.to_string(),
            origin: None,
            backend: scalar(backend),
            table: in_backend.then(|| name.to_string()),
            key_columns: "id".to_owned(),
            assigned_by: "backend",
            scope,
            write,
            fields,
        }
    }

    /// A channel over a live table. `channel_of` names the channel that a `ref` to a table can point to.
    pub(super) fn new(
        name: &ChannelName,
        shape: &TableShape,
        backend: &str,
        scope: Option<&ScopeWish>,
        write: Option<String>,
        channel_of: impl Fn(&str) -> Option<ChannelName>,
    ) -> Self {
        let names = field_names(shape);
        let mut fields = Vec::new();
        for (column, name) in shape.columns.iter().zip(&names) {
            let is_key = shape.key.contains(&column.name);
            // A device sees its key as `id`. And SQLite allows a column without a name, which nobody could write down.
            if (is_key && shape.assigned_by == Some(AssignedBy::Device)) || column.name.is_empty() {
                continue;
            }
            let mut field = draft_field(shape, column, name, is_key, &channel_of);
            let in_scope = |wanted: &String| wanted == name || column.name.eq_ignore_ascii_case(wanted);
            let is_needed =
                matches!(scope, Some(ScopeWish::Field(wanted, _) | ScopeWish::Via(wanted)) if in_scope(wanted));
            // The key, references, and what the scope names cannot be left out.
            if !is_key && column.references.is_none() && !is_needed && looks_secret(&column.name) {
                let why = "left out: its name is a secret's, and devices would hold it";
                field.comment = Some(field.comment.map_or(why.to_owned(), |more| format!("{why}; {more}")));
                field.left_out = true;
            }
            fields.push(field);
        }
        let named = |wanted: &String| {
            let is_it =
                |(name, column): &(&String, &ColumnShape)| *name == wanted || column.name.eq_ignore_ascii_case(wanted);
            names.iter().zip(&shape.columns).find(is_it)
        };
        let scope = match scope {
            Some(ScopeWish::Public) => Some("public".to_owned()),
            Some(ScopeWish::Field(wanted, right)) => named(wanted).map(|(name, _)| format!("{{ {name}: {right} }}")),
            Some(ScopeWish::Via(wanted)) => named(wanted)
                .filter(|(_, column)| column.references.as_ref().is_some_and(|to| channel_of(&to.table).is_some()))
                .map(|(name, _)| format!("{{ via: {name} }}")),
            None => None,
        };
        Self {
            channel: name.to_string(),
            origin: Some(comment(&shape.name)),
            backend: scalar(backend),
            table: Some(scalar(&shape.name)),
            key_columns: shape.key.iter().map(|column| scalar(column)).collect::<Vec<_>>().join(", "),
            assigned_by: match shape.assigned_by {
                Some(AssignedBy::Backend) => "backend",
                Some(AssignedBy::Device) => "device",
                Some(AssignedBy::App) | None => "app",
            },
            scope,
            write,
            fields,
        }
    }

    /// The line of the file for a column, if it has one.
    pub(super) fn line(&self, column: &str) -> Option<String> {
        let field = self.fields.iter().find(|field| field.column == column)?;
        let comment = field.comment.as_ref().map(|comment| format!("   # {comment}")).unwrap_or_default();
        Some(format!("{}: {{ {} }}{comment}", field.name, field.options))
    }

    /// The columns that the file only mentions.
    pub(super) fn left_out(&self) -> Vec<&str> {
        self.fields.iter().filter(|field| field.left_out).map(|field| field.column.as_str()).collect()
    }

    /// Whether somebody will see a record.
    pub(super) fn is_visible(&self) -> bool {
        self.scope.is_some()
    }
}

fn draft_field(
    shape: &TableShape,
    column: &ColumnShape,
    name: &str,
    is_key: bool,
    channel_of: impl Fn(&str) -> Option<ChannelName>,
) -> DraftField {
    let mut options = Vec::new();
    if name != column.name {
        options.push(format!("column: {}", scalar(&column.name)));
    }
    let to = column.references.as_ref().map(|to| (to.table.as_str(), channel_of(&to.table)));
    let mut comments = Vec::new();
    match &to {
        Some((_, Some(channel))) => options.push(format!("type: ref, to: {}", scalar(channel.as_str()))),
        Some((table, None)) => {
            options.push(format!("type: {}", column.base.word()));
            comments.push(format!("references {}, which is no channel", comment(table)));
        }
        None => options.push(format!("type: {}", column.kind.word())),
    }
    let is_ref = matches!(to, Some((_, Some(_))));
    // A backend counts its own keys: the field is NULL until the receipt.
    if column.required && !(is_key && shape.assigned_by == Some(AssignedBy::Backend)) {
        options.push("required: true".to_owned());
    }
    if column.kind == FieldType::Enum && !is_ref {
        let words: Vec<String> = column.values.iter().map(|word| scalar(word)).collect();
        options.push(format!("values: [{}]", words.join(", ")));
    }
    if let Some(length) = column.max_length.filter(|length| column.kind == FieldType::Text && !is_ref && *length > 0) {
        options.push(format!("max_length: {length}"));
    }
    match column.default.as_ref().filter(|_| !is_key && !is_ref).and_then(literal) {
        Some(default) if has_literal_password(&default) => {
            comments.push("its default holds a password and stays in the database".to_owned());
        }
        Some(default) => options.push(format!("default: {default}")),
        None => {}
    }
    if column.read_only {
        options.push("read_only: true".to_owned());
    }
    let checks = column.checks.iter().filter(|check| !has_literal_password(check));
    comments.extend(checks.map(|check| format!("the database checks: {}", comment(check))));
    if is_key {
        comments.insert(0, "the key".to_owned());
    }
    let comment = (!comments.is_empty()).then(|| comments.join("; "));
    DraftField {
        name: name.to_owned(),
        column: column.name.clone(),
        options: options.join(", "),
        comment,
        left_out: false,
    }
}

/// Whether a column's name says that its values are for nobody's eyes.
fn looks_secret(column: &str) -> bool {
    const WORDS: [&str; 10] = [
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "secrets",
        "token",
        "apikey",
        "privatekey",
        "credentials",
    ];
    // Whole words, or two that belong together: a secretary is none.
    let name = channel_name(column);
    let words: Vec<&str> = name.as_str().split('_').collect();
    let pairs = words.windows(2).map(|pair| pair.concat());
    words.iter().any(|word| WORDS.contains(word)) || pairs.into_iter().any(|pair| WORDS.contains(&pair.as_str()))
}

fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bytes(_) => None,
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Text(text) => Some(scalar(text)),
    }
}

/// One line of text that cannot end a comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A name for each column: its own wherever a field may have it.
fn field_names(shape: &TableShape) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut names = Vec::new();
    for column in &shape.columns {
        let wanted = field_name(&column.name, shape.key.contains(&column.name));
        let free = std::iter::once(wanted.clone())
            .chain((2..).map(|n| {
                let numbered = format!("{wanted}_{n}");
                // `om` may name a field, and `om_2` may not.
                if is_field_name(&numbered) { numbered } else { format!("row_{numbered}") }
            }))
            .find(|name| !taken.contains(&name.to_ascii_lowercase()))
            .expect("the numbers do not end");
        taken.insert(free.to_ascii_lowercase());
        names.push(free);
    }
    names
}

fn field_name(column: &str, is_key: bool) -> String {
    let folded = column.to_ascii_lowercase();
    if folded == "id" {
        return if is_key { "key".to_owned() } else { "row_id".to_owned() };
    }
    if SQL_WORDS.contains(&folded.as_str()) {
        return format!("{column}_");
    }
    if is_field_name(column) {
        return column.to_owned();
    }
    let words = column.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let plain: String = words.collect::<Vec<_>>().join("_").chars().take(50).collect();
    if is_field_name(&plain) { plain } else { format!("row_{}", plain.trim_start_matches('_')) }
}

/// A channel's name for a table: `PlaylistTrack` becomes `playlist_track`.
pub(super) fn channel_name(table: &str) -> ChannelName {
    let table = table.strip_prefix("main.").unwrap_or(table);
    let letters: Vec<char> = table.chars().collect();
    let mut name = String::new();
    for (n, c) in letters.iter().enumerate() {
        let before = n.checked_sub(1).map(|n| letters[n]);
        let after = letters.get(n + 1);
        let begins_word = c.is_uppercase()
            && before.is_some_and(|b| {
                b.is_lowercase() || b.is_ascii_digit() || (b.is_uppercase() && after.is_some_and(|a| a.is_lowercase()))
            });
        if begins_word {
            name.push('_');
        }
        if c.is_ascii_alphanumeric() { name.push(c.to_ascii_lowercase()) } else { name.push('_') }
    }
    while name.contains("__") {
        name = name.replace("__", "_");
    }
    let name: String = name.trim_matches('_').chars().take(50).collect();
    if ChannelName::is_valid(&name) { name.into() } else { format!("t_{name}").trim_end_matches('_').into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_in_snake_case() {
        for (table, channel) in [
            ("PlaylistTrack", "playlist_track"),
            ("HTTPLog2Entry", "http_log2_entry"),
            ("Order Details", "order_details"),
            ("main.tickets", "tickets"),
            ("SQLITE_x", "t_sqlite_x"),
            ("2024_sales", "t_2024_sales"),
            ("___", "t"),
            ("Straße", "stra_e"),
        ] {
            assert_eq!(channel_name(table).as_str(), channel);
            assert!(ChannelName::is_valid(channel), "{channel}");
        }
    }

    #[test]
    fn a_secret_is_known_by_its_words() {
        for secret in
            ["Password", "password_hash", "PasswordHash", "api_key", "apiKey", "ACCESS_TOKEN", "pwd", "client secret"]
        {
            assert!(looks_secret(secret), "{secret}");
        }
        for plain in ["secretary", "TokenizedText", "passed", "key", "api", "compass_word", "Tokens_used"] {
            assert!(!looks_secret(plain), "{plain}");
        }
    }

    #[test]
    fn columns_keep_their_names_unless_taken() {
        let column = |name: &str| ColumnShape {
            name: name.into(),
            kind: FieldType::Text,
            max_length: None,
            required: false,
            default: None,
            read_only: false,
            declared: String::new(),
            base: FieldType::Text,
            references: None,
            values: Vec::new(),
            checks: Vec::new(),
        };
        let twice = |names: [&str; 2]| TableShape {
            name: "t".into(),
            is_view: false,
            is_virtual: false,
            key: Vec::new(),
            assigned_by: None,
            notes: Vec::new(),
            columns: names.map(column).into(),
        };
        assert_eq!(field_names(&twice(["om", "om-"])), ["om", "row_om_2"]);
        assert_eq!(field_names(&twice(["a b", "a-b"])), ["a_b", "a_b_2"]);
        let shape = TableShape {
            name: "t".into(),
            is_view: false,
            is_virtual: false,
            key: vec!["no".into()],
            assigned_by: Some(AssignedBy::App),
            notes: Vec::new(),
            columns: ["no", "ID", "Order", "om_x", "rowid", "First Name", "row_id", "Name"].map(column).into(),
        };
        assert_eq!(
            field_names(&shape),
            ["no", "row_id", "Order_", "row_om_x", "row_rowid", "First_Name", "row_id_2", "Name"]
        );
    }
}
