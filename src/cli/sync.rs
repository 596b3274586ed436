//! `omctl sync`: how everything stands, and what became of devices' writes, as the server keeps it.

use omctl_protocol::admin::{VerdictQuery, VerdictView};
use serde_json::{Value, json};

use super::remote::{Remote, block_on};
use super::sync_inspect::{self, InspectArgs, TraceArgs};
use super::{Cli, CliError, Exit, columns, one_line, utc};

/// Look at how sync stands, and at what became of devices' writes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Inspect(InspectArgs),
    Trace(TraceArgs),
    Rejected(RejectedArgs),
    Conflicts(ConflictsArgs),
}

/// List mutations that were not applied, the newest first; --json shows their values
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl sync rejected --channel tickets --account ana@example.com")]
struct RejectedArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    remote: Remote,
}

/// List mutations of which a value lost, the newest first; --json shows their values
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl sync conflicts --json | jq '.conflicts[].losing'")]
struct ConflictsArgs {
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    remote: Remote,
}

/// Which of them.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Of this channel only
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Of this account's devices only
    #[arg(long, value_name = "EMAIL")]
    account: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
}

impl Wanted {
    fn query(self) -> VerdictQuery {
        VerdictQuery { channel: self.channel, account: self.account, limit: Some(self.limit) }
    }
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Inspect(args) => sync_inspect::inspect(cli, &args),
        What::Trace(args) => sync_inspect::trace(cli, &args),
        What::Rejected(args) => rejected(cli, args),
        What::Conflicts(args) => conflicts(cli, args),
    }
}

fn rejected(cli: &Cli, args: RejectedArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let query = args.wanted.query();
    let found = block_on(async { Ok(client.rejected(&query).await?) })?.rejected;
    cli.ui.result(table(&found), || json!({ "type": "result", "schema": "omctl.sync.rejected/1", "rejected": found }));
    Ok(Exit::Ok)
}

fn conflicts(cli: &Cli, args: ConflictsArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let query = args.wanted.query();
    let found = block_on(async { Ok(client.conflicts(&query).await?) })?.conflicts;
    cli.ui
        .result(table(&found), || json!({ "type": "result", "schema": "omctl.sync.conflicts/1", "conflicts": found }));
    Ok(Exit::Ok)
}

/// Names and reasons; the values are for those who ask for `--json`.
fn table(found: &[VerdictView]) -> String {
    let head = ["TIME", "DEVICE", "ACCOUNT", "CHANNEL", "RECORD", "OP", "CODE", "MESSAGE"].map(str::to_owned);
    let rows = found.iter().map(|one| {
        let op = serde_json::to_value(one.mutation.op).ok();
        let op = op.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = one.code.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [
            utc(one.at_ms),
            one.device_name.clone(),
            one.email.clone(),
            one.channel.to_string(),
            one.record.to_string(),
            op,
            code,
            one.message.clone().unwrap_or_else(|| lost(one)),
        ];
        cells.map(|cell| one_line(&cell))
    });
    columns(head, rows)
}

/// The fields of which the value lost.
fn lost(one: &VerdictView) -> String {
    let fields: Vec<&str> = one.losing.keys().map(String::as_str).collect();
    if fields.is_empty() { "-".to_owned() } else { format!("lost: {}", fields.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_without_values() {
        let found: VerdictView = serde_json::from_value(json!({
            "at_ms": 1_783_080_005_000_i64, "device": "0197a1b2-0000-7000-8000-000000000001",
            "device_name": "Ana's\n\u{1b}[31mphone", "email": "ana@example.com", "channel": "tickets", "record": "42",
            "mutation": {
                "seq": 1, "id": "0197a1b2-0000-7000-8000-000000000002", "channel": "tickets", "v": 1, "op": "update",
                "record": "42", "old": { "title": "canary" }, "new": { "title": "canary" },
            },
            "losing": { "title": "canary", "hours": "canary" },
        }))
        .unwrap();
        let text = table(&[found]);
        let row = text.lines().nth(1).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(row.starts_with("2026-07-03 12:00:05Z  Ana's\u{fffd}\u{fffd}[31mphone  ana@example.com"), "{row}");
        assert!(row.ends_with("tickets  42      update  -     lost: hours, title"), "{row}");
        assert!(!text.contains("canary"));
    }
}
