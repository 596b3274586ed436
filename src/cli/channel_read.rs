//! `omctl channel read`: records as their backend has them now, all of them or those that an account sees.

use std::collections::BTreeMap;

use omctl_protocol::admin::{BackendReply, RecordQuery};
use serde_json::{Map, Value, json};

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit};

/// A longer value is cut off in a table, in characters.
const CELL_MAX: usize = 40;

/// Show records of a channel, as the backend has them now
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  omctl channel read tickets --as ana@example.com --where status=open\n  \
                        omctl channel read tickets 42")]
pub(super) struct Args {
    /// The channel
    channel: String,
    /// One record, by its id; all its fields are shown
    id: Option<String>,
    /// Only what this account may see
    #[arg(long = "as", value_name = "EMAIL")]
    email: Option<String>,
    /// Only records whose field holds exactly this text; `FIELD=` finds those without a value; repeatable
    #[arg(long = "where", value_name = "FIELD=TEXT", conflicts_with = "id")]
    filter: Vec<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with_all = ["id", "all"])]
    limit: u64,
    /// All of them
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let filter = filter(&args.filter)?;
    let client = args.remote.connect(cli)?;
    let query = RecordQuery {
        email: args.email.clone(),
        id: args.id.clone(),
        filter,
        limit: if args.all { None } else { Some(args.limit) },
    };
    let found = block_on(async { Ok(client.records(&args.channel, &query).await?) })?;
    if let Some(id) = args.id.as_ref().filter(|_| found.rows.is_empty()) {
        let whose = args.email.as_ref().map(|email| format!(" that {email} may see")).unwrap_or_default();
        return Err(CliError::new(
            Exit::NotFound,
            "not_found",
            format!("no record `{id}` in `{}`{whose}", args.channel),
        )
        .hint(format!("look for it: omctl channel read {} --where FIELD=TEXT", args.channel)));
    }
    let text = if args.id.is_some() { page(&found) } else { table(&found) };
    cli.ui.result(text, || {
        let records: Vec<Value> = found.rows.iter().map(|row| record(&found.fields, row)).collect();
        json!({
            "type": "result", "schema": "omctl.channel.read/1", "channel": args.channel, "as": args.email,
            "records": records, "total": found.total, "settled": found.settled,
        })
    });
    let shown = found.rows.len() as u64;
    if !cli.ui.is_json() && shown < found.total {
        cli.ui.note(format!("{shown} of {} records; --all shows them all, --where fewer", found.total));
    }
    if let Some(email) = &args.email
        && block_on(async { Ok(client.account(email).await?.disabled) })?
    {
        cli.ui.warn(format!("{email} is disabled: its devices see nothing of this until it is enabled"));
    }
    if !found.settled {
        cli.ui.warn(format!("`{0}` is paused, held or not yet read whole: omctl channel show {0}", args.channel));
    }
    Ok(Exit::Ok)
}

/// The filter as the server reads it.
fn filter(given: &[String]) -> Result<Option<String>, CliError> {
    let mut fields = BTreeMap::new();
    for text in given {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let wrong = CliError::new(Exit::Usage, "usage", format!("--where `{text}` is not FIELD=TEXT"));
            return Err(wrong.hint("for example --where status=open"));
        };
        if fields.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(CliError::new(Exit::Usage, "usage", format!("--where names `{name}` twice"))
                .hint("one text a field: no record can hold two"));
        }
    }
    Ok((!fields.is_empty()).then(|| json!(fields).to_string()))
}

fn record<Id: serde::Serialize>(fields: &[String], row: &(Id, Vec<Value>)) -> Value {
    let values: Map<String, Value> = fields.iter().cloned().zip(row.1.iter().cloned()).collect();
    json!({ "id": row.0, "values": values })
}

fn page(found: &BackendReply) -> String {
    let width = found.fields.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(2);
    let mut lines = Vec::new();
    for (id, values) in &found.rows {
        lines.push(format!("{:<width$}  {}", "id", super::one_line(id.as_str())));
        let fields = found.fields.iter().zip(values).filter(|(name, _)| *name != "id");
        lines.extend(fields.map(|(name, value)| format!("{name:<width$}  {}", super::one_line(&cell(value)))));
    }
    lines.join("\n")
}

fn table(found: &BackendReply) -> String {
    let shown: Vec<usize> = (0..found.fields.len()).filter(|place| found.fields[*place] != "id").collect();
    let head = std::iter::once("ID".to_owned()).chain(shown.iter().map(|place| found.fields[*place].to_uppercase()));
    let row = |(id, values): &(omctl_protocol::RecordId, Vec<Value>)| {
        let cells = shown.iter().map(|place| values.get(*place).map(cell).unwrap_or_default());
        std::iter::once(super::one_line(id.as_str())).chain(cells.map(|cell| super::one_line(&cut(cell)))).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head.collect()).chain(found.rows.iter().map(row)).collect();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=shown.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cut(text: String) -> String {
    if text.chars().count() <= CELL_MAX {
        return text;
    }
    text.chars().take(CELL_MAX - 1).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_lines_whatever_the_values_hold() {
        let long = "x".repeat(50);
        let found = BackendReply {
            fields: vec!["title".into(), "hours".into()],
            rows: vec![
                ("42".into(), vec!["two\nlines\u{1b}[31m".into(), Value::Null]),
                ("43".into(), vec![long.into(), "1.5".into()]),
            ],
            settled: true,
            total: 2,
        };
        let text = table(&found);
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains('\u{1b}') && text.contains('…') && text.starts_with("ID  TITLE"), "{text}");
        assert!(page(&found).contains(&"x".repeat(50)), "one record is shown whole");
        assert_eq!(filter(&["a=b=c".into()]).unwrap().unwrap(), r#"{"a":"b=c"}"#);
        assert!(filter(&["a".into()]).is_err() && filter(&["a=1".into(), "a=2".into()]).is_err());
    }
}
