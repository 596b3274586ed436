//! `omctl channel create|update|delete`: one record, in the name of an account, by the same rules as its devices.

use std::io::Read as _;

use omctl_protocol::admin::{RecordQuery, RecordWrite, RecordWritten};
use omctl_protocol::{Field, FieldType, Fields, Operation, Outcome, RecordId};
use serde_json::{Value, json};

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, agree};
use crate::catalog::near_hint;
use crate::client::Client;

/// Largest `--data`, in bytes: one record.
const DATA_BYTES_MAX: u64 = 1 << 20;

/// Whose write it is, and how to tell it from another.
#[derive(Debug, clap::Args)]
struct Order {
    /// In whose name: this account's role and scopes decide
    #[arg(long = "as", value_name = "EMAIL")]
    email: String,
    /// Names this write: the same command with the same key is done once and has the same receipt
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// The values.
#[derive(Debug, clap::Args)]
struct Values {
    /// A field's new value; `FIELD=` empties it; repeatable
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// A JSON object of values: `-` reads stdin, `@FILE` a file
    #[arg(long, value_name = "JSON|-|@FILE")]
    data: Option<String>,
}

/// Make a record in the name of an account
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  omctl channel create customers --as ana@example.com --set name='Old Mill' --set city=Graz"
)]
pub(super) struct CreateArgs {
    /// The channel
    channel: String,
    /// Its id, a UUID; without one it gets a new one
    id: Option<String>,
    #[command(flatten)]
    values: Values,
    #[command(flatten)]
    order: Order,
}

/// Change fields of a record in the name of an account
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel update tickets 42 --as ana@example.com --set status=done")]
pub(super) struct UpdateArgs {
    /// The channel
    channel: String,
    /// The record's id
    id: String,
    #[command(flatten)]
    values: Values,
    #[command(flatten)]
    order: Order,
}

/// Delete a record in the name of an account, on every device
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl channel delete tickets 42 --as ana@example.com")]
pub(super) struct DeleteArgs {
    /// The channel
    channel: String,
    /// The record's id
    id: String,
    #[command(flatten)]
    order: Order,
}

pub(super) fn create(cli: &Cli, args: CreateArgs) -> Result<Exit, CliError> {
    let CreateArgs { channel, id, values, order } = args;
    write(cli, &channel, (Operation::Create, id), Some(&values), order)
}

pub(super) fn update(cli: &Cli, args: UpdateArgs) -> Result<Exit, CliError> {
    let UpdateArgs { channel, id, values, order } = args;
    if values.set.is_empty() && values.data.is_none() {
        return Err(CliError::new(Exit::Usage, "usage", "no value was said").hint("--set FIELD=VALUE, or --data JSON"));
    }
    write(cli, &channel, (Operation::Update, Some(id)), Some(&values), order)
}

pub(super) fn delete(cli: &Cli, args: DeleteArgs) -> Result<Exit, CliError> {
    let DeleteArgs { channel, id, order } = args;
    write(cli, &channel, (Operation::Delete, Some(id)), None, order)
}

fn write(
    cli: &Cli,
    channel: &str,
    (op, id): (Operation, Option<String>),
    values: Option<&Values>,
    order: Order,
) -> Result<Exit, CliError> {
    let client = order.remote.connect(cli)?;
    block_on(async {
        let fields = client.channel(channel).await?.schema.fields;
        let set = match values {
            Some(values) => read(values, &fields)?,
            None => Fields::new(),
        };
        // A repeated write finds the record changed by itself, or gone.
        if let (Some(id), None, Operation::Update | Operation::Delete) = (&id, &order.key, op) {
            must_be_there(&client, channel, id, &order.email).await?;
        }
        if op == Operation::Delete {
            let id = id.as_deref().unwrap_or_default();
            agree(cli, &format!("delete record `{id}` of `{channel}` on every device"), "look at it, then say --yes")?;
        }
        let record = id.map(|id| RecordId::from(id.as_str()));
        let write = RecordWrite { email: order.email, op, record, set, key: order.key };
        report(cli, channel, op, &client.write_record(channel, &write).await?)
    })
}

async fn must_be_there(client: &Client, channel: &str, id: &str, email: &str) -> Result<(), CliError> {
    let query = RecordQuery { email: Some(email.to_owned()), id: Some(id.to_owned()), ..RecordQuery::default() };
    if client.records(channel, &query).await?.rows.is_empty() {
        return Err(CliError::new(
            Exit::NotFound,
            "not_found",
            format!("no record `{id}` in `{channel}` that {email} may see"),
        )
        .hint(format!("see all: omctl channel read {channel}")));
    }
    Ok(())
}

fn report(cli: &Cli, channel: &str, op: Operation, written: &RecordWritten) -> Result<Exit, CliError> {
    let RecordWritten { record, receipt } = written;
    let (done, word) = match op {
        Operation::Create => ("created", "create"),
        Operation::Update => ("updated", "update"),
        Operation::Delete => ("deleted", "delete"),
    };
    let lost = receipt.code.is_some() && receipt.outcome == Outcome::Conflict;
    if receipt.is_rejected() || lost {
        let code = receipt.code.clone().unwrap_or_default();
        let message = receipt.message.clone().unwrap_or_else(|| "somebody was faster".to_owned());
        let mut error = CliError::new(Exit::Failed, "rejected", format!("{code}: {message}"))
            .hint(format!("what it means: omctl explain {code}"))
            .detail("receipt", json!(receipt));
        if let Some(field) = &receipt.field {
            error = error.detail("field", field.as_str());
        }
        return Err(error);
    }
    let how = match receipt.outcome {
        Outcome::Conflict => "; a value lost against another one: omctl sync conflicts",
        Outcome::Merged => "; merged with what somebody else wrote",
        _ => "",
    };
    cli.ui.result(format!("{done} {record} in `{channel}`{how}"), || {
        json!({
            "type": "result", "schema": format!("omctl.channel.{word}/1"), "channel": channel, "record": record,
            "receipt": receipt,
        })
    });
    Ok(Exit::Ok)
}

/// The values as the wire has them; `--set` is stronger than `--data`.
fn read(values: &Values, fields: &[Field]) -> Result<Fields, CliError> {
    let usage = |message: String| CliError::new(Exit::Usage, "usage", message);
    let mut set = match &values.data {
        Some(source) => serde_json::from_str(&data(source)?)
            .map_err(|error| usage(format!("--data is not a JSON object: line {}", error.line())))?,
        None => Fields::new(),
    };
    for text in &values.set {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(usage(format!("--set `{text}` is not FIELD=VALUE")).hint("for example --set status=done"));
        };
        let kind = fields.iter().find(|field| field.name == name).map(|field| field.kind);
        set.insert(name.to_owned(), typed(kind.unwrap_or(FieldType::Text), value));
    }
    let unknown = set.keys().find(|name| !fields.iter().any(|field| field.name == **name));
    match unknown {
        None => Ok(set),
        Some(name) => {
            let hint = near_hint(name, fields.iter().map(|field| field.name.as_str()));
            Err(usage(format!("the channel has no field `{name}`")).hint(hint.unwrap_or_default()))
        }
    }
}

fn data(source: &str) -> Result<String, CliError> {
    let io = |error: std::io::Error| CliError::new(Exit::Failed, "io", format!("--data cannot be read: {error}"));
    let mut text = String::new();
    if source == "-" {
        std::io::stdin().take(DATA_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
    } else if let Some(path) = source.strip_prefix('@') {
        std::fs::File::open(path).and_then(|file| file.take(DATA_BYTES_MAX).read_to_string(&mut text)).map_err(io)?;
    } else {
        source.clone_into(&mut text);
    }
    Ok(text)
}

/// A text of the command line as a value of the type; what it cannot be, the server says.
fn typed(kind: FieldType, text: &str) -> Value {
    match (kind, text) {
        (FieldType::Text, _) => text.into(),
        (_, "") => Value::Null,
        (FieldType::Bool, "true" | "1") => true.into(),
        (FieldType::Bool, "false" | "0") => false.into(),
        (FieldType::Float, _) => text.parse::<f64>().map_or_else(|_| text.into(), Into::into),
        _ => text.into(),
    }
}
