//! `omctl channel diff`: what a channel's file says, beside what its live table has.

use std::path::Path;

use omctl_protocol::{AssignedBy, ChannelName, Field, FieldType};
use serde_json::{Value, json};

use super::channel_draft::Draft;
use super::{Cli, CliError, Exit};
use crate::backend::introspect::{self, ColumnShape, TableShape};
use crate::catalog::{BackendDecl, Catalog, Channel, MANAGED};

/// One thing that file and table say differently.
#[derive(Clone, Debug, PartialEq)]
struct Difference {
    /// `missing_table`, `missing_column`, `new_column`, `type`, `required`, `key`
    kind: &'static str,
    column: Option<String>,
    /// For people, and what to do.
    text: String,
    /// The line that the file would have for it.
    line: Option<String>,
}

/// Compares each channel with its table and prints what differs. Nothing is written anywhere.
pub(super) fn report(cli: &Cli, catalog: &Catalog, channels: &[&Channel]) -> Result<Exit, CliError> {
    let (mut lines, mut results, mut differing) = (Vec::new(), Vec::new(), 0);
    for channel in channels {
        let found = match catalog.backends.get(&channel.backend) {
            Some(BackendDecl::Sqlite { path }) => compare(catalog, channel, path)?,
            None => Vec::new(),
        };
        differing += usize::from(!found.is_empty());
        let state = match found.len() {
            0 if channel.backend == MANAGED => "managed: there is no table to differ from".to_owned(),
            0 => format!("as its table {}", channel.table),
            1 => format!("1 difference from its table {}", channel.table),
            many => format!("{many} differences from its table {}", channel.table),
        };
        lines.push(format!("{:<24} {state}", channel.name.as_str()));
        for one in &found {
            lines.push(format!("  {}", one.text));
            lines.extend(one.line.iter().map(|line| format!("    {line}")));
        }
        results.push(json!({
            "name": channel.name, "backend": channel.backend, "table": channel.table,
            "differences": found.iter().map(json_of).collect::<Vec<_>>(),
        }));
    }
    let members = json!({ "type": "result", "schema": "omctl.channel.diff/1", "channels": results });
    cli.ui.result(lines.join("\n"), || members);
    if differing > 0 {
        cli.ui.next("edit the channels' files; a running server makes them live");
    }
    Ok(Exit::Ok)
}

fn json_of(one: &Difference) -> Value {
    json!({ "kind": one.kind, "column": one.column, "text": one.text, "line": one.line })
}

fn compare(catalog: &Catalog, channel: &Channel, path: &Path) -> Result<Vec<Difference>, CliError> {
    let tables = introspect::sqlite(path)?;
    let name = channel.table.strip_prefix("main.").unwrap_or(&channel.table);
    let Some(shape) = tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)) else {
        let text = format!("the table {name} is not there");
        return Ok(vec![Difference { kind: "missing_table", column: None, text, line: None }]);
    };
    let channel_of = |table: &str| -> Option<ChannelName> {
        let of = |other: &&std::sync::Arc<Channel>| {
            other.backend == channel.backend && other.table.eq_ignore_ascii_case(table)
        };
        catalog.channels.values().find(of).map(|other| other.name.clone())
    };
    let draft = Draft::new(&channel.name, shape, &channel.backend, None, None, channel_of);
    Ok(differences(channel, shape, &draft))
}

fn differences(channel: &Channel, shape: &TableShape, draft: &Draft) -> Vec<Difference> {
    let mut found = Vec::new();
    let fields = &channel.schema.fields;
    let is_used = |column: &ColumnShape| {
        let is_it = |name: &str| name.eq_ignore_ascii_case(&column.name);
        fields.iter().any(|field| is_it(field.column()))
            || channel.schema.key.columns.iter().any(|key| is_it(&key.column))
    };
    let new: Vec<&ColumnShape> = shape.columns.iter().filter(|column| !is_used(column)).collect();
    for field in fields {
        match shape.column(field.column()) {
            Some(column) => found.extend(differing(channel, field, column)),
            None => {
                let renamed = new.iter().find(|column| fits(field.kind, column));
                let hint = renamed.map(|column| {
                    format!("; is it {} now? then: {}: {{ column: {}, … }}", column.name, field.name, column.name)
                });
                let text = format!(
                    "column {} is not there: the channel is paused{}",
                    field.column(),
                    hint.unwrap_or_default()
                );
                found.push(Difference {
                    kind: "missing_column",
                    column: Some(field.column().to_owned()),
                    text,
                    line: None,
                });
            }
        }
    }
    for column in new {
        let text = format!("column {} ({}) is in no field", column.name, column.declared);
        found.push(Difference {
            kind: "new_column",
            column: Some(column.name.clone()),
            text,
            line: draft.line(&column.name),
        });
    }
    let key: Vec<&str> = channel.schema.key.columns.iter().map(|key| key.column.as_str()).collect();
    let is_same = key.len() == shape.key.len() && key.iter().zip(&shape.key).all(|(a, b)| a.eq_ignore_ascii_case(b));
    if shape.has_key() && !is_same {
        let text = format!("the table's key is {}, the channel's {}", shape.key.join(", "), key.join(", "));
        found.push(Difference { kind: "key", column: None, text, line: None });
    }
    found
}

/// What a field says otherwise than its column.
fn differing(channel: &Channel, field: &Field, column: &ColumnShape) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |kind, text| {
        found.push(Difference { kind, column: Some(column.name.clone()), text, line: None });
    };
    if !fits(field.kind, column) {
        let (declared, kind) = (&column.declared, field.kind.word());
        note(
            "type",
            format!("field {} is {kind}, column {} is {declared} ({})", field.name, column.name, column.kind.word()),
        );
    }
    let is_assigned = channel.schema.key.assigned_by == AssignedBy::Backend && channel.schema.is_key_field(&field.name);
    if column.required && !field.required && !field.read_only && !is_assigned && field.default.is_none() {
        note(
            "required",
            format!("column {} refuses NULL, field {} does not say `required: true`", column.name, field.name),
        );
    }
    found
}

/// Whether a field of this type may stand for a column: narrower types than the column's own are a choice.
fn fits(kind: FieldType, column: &ColumnShape) -> bool {
    use FieldType::{Bool, Bytes, Date, DateTime, Decimal, Enum, Float, Int, Json, Ref, Text, Time, Timestamp, Uuid};
    let narrower: &[FieldType] = match column.base {
        Text => &[Text, Enum, Json, Uuid, Date, Time, DateTime, Timestamp, Decimal, FieldType::Array],
        Int => &[Int, Bool, Timestamp, Decimal],
        Decimal => &[Decimal, Float, Int],
        Float => &[Float, Decimal],
        Bytes => &[Bytes, Uuid],
        Date => &[Date, Text],
        DateTime | Timestamp => &[DateTime, Timestamp, Date, Text],
        Json => &[Json, Text, FieldType::Array],
        ref other => std::slice::from_ref(other),
    };
    kind == column.kind || kind == Ref || kind == column.base || narrower.contains(&kind)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_table_that_went_on_is_told_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("channels")).unwrap();
        write("openmobster.yaml", "version: 1\nname: t\nbackends: { shop: { kind: sqlite, path: shop.db } }\n");
        let head = "backend: shop\ntable: Item\nkey: { columns: [Id], assigned_by: backend }\nscope: public\nfields:\n";
        write(
            "channels/item.yaml",
            &format!("{head}  Name: {{ type: text }}\n  Price: {{ type: int }}\n  Gone: {{ type: date }}\n"),
        );
        write("channels/other.yaml", &format!("{}  Name: {{ type: text }}\n", head.replace("Item", "Nothing")));
        let database = Connection::open(folder.path().join("shop.db")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT NOT NULL, Price TEXT, Due DATE, Note TEXT)",
            )
            .unwrap();
        let (catalog, _) = crate::catalog::load(folder.path(), &|_| None, None).unwrap();
        let path = folder.path().join("shop.db");
        let kinds = |name: &str| -> Vec<(&str, Option<String>)> {
            let found = compare(&catalog, &catalog.channels[name], &path).unwrap();
            found.into_iter().map(|one| (one.kind, one.column)).collect()
        };
        let of = |kind, column: &str| (kind, Some(column.to_owned()));
        let expected = [
            of("required", "Name"),
            of("type", "Price"),
            of("missing_column", "Gone"),
            of("new_column", "Due"),
            of("new_column", "Note"),
        ];
        assert_eq!(kinds("item"), expected);
        assert_eq!(kinds("other"), [("missing_table", None)]);
        let found = compare(&catalog, &catalog.channels["item"], &path).unwrap();
        assert!(found[2].text.contains("is it Due now?"), "{}", found[2].text);
        assert_eq!(found[4].line.as_deref(), Some("Note: { type: text }"));
    }
}
