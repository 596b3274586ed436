//! `omctl logs`: what the running server said of itself, and what it says.

use omctl_protocol::inspect::{LogEvent, LogLine, LogQuery};
use serde_json::{Value, json};

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, one_line, utc};

/// The name of a line's form.
const SCHEMA: &str = "omctl.log/1";

/// Show the running server's newest log events; -f goes on with what comes
///
/// The server keeps what it also logs on its own output: start it with `--log` to see more. --json prints one object a
/// line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl logs -f --level warn")]
pub(super) struct Args {
    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only this level and what is more serious
    #[arg(long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    level: Option<String>,
    /// Begin with at most so many recent ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    last: u64,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(cli: &Cli, args: &Args) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    block_on(async {
        let query = LogQuery { follow: args.follow, last: Some(args.last), level: args.level.clone() };
        let mut lines = client.logs(&query).await?;
        while let Some(line) = lines.next().await? {
            if !print(cli, &line) {
                return Ok(Exit::Ok);
            }
        }
        match args.follow {
            false => Ok(Exit::Ok),
            true => {
                Err(CliError::new(Exit::Unreachable, "ended", "the server has ended").hint("start it: omctl serve"))
            }
        }
    })
}

/// Returns whether anybody still reads.
fn print(cli: &Cli, line: &LogLine) -> bool {
    if cli.ui.is_json() {
        let mut json = json!(line);
        json["schema"] = SCHEMA.into();
        return cli.ui.out_while_read(&json.to_string());
    }
    match line {
        LogLine::Event(event) => cli.ui.out_while_read(&text(event)),
        LogLine::Lost { events } => {
            cli.ui.warn(format!("{events} events are gone: they came faster than they were read"));
            true
        }
    }
}

fn text(event: &LogEvent) -> String {
    let fields: String = event
        .fields
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("  {name}={text}"),
            other => format!("  {name}={other}"),
        })
        .collect();
    let level = event.level.to_uppercase();
    one_line(&format!("{}  {level:<5}  {}{fields}", utc(event.at_ms), event.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let event = LogEvent {
            number: 1,
            at_ms: 1_783_080_005_000,
            level: "warn".into(),
            target: "omctl::sync".into(),
            message: "said\n\u{1b}[31mred".into(),
            fields: json!({ "channel": "tickets", "rows": 3 }).as_object().unwrap().clone(),
        };
        let line = text(&event);
        assert_eq!(line, "2026-07-03 12:00:05Z  WARN   said\u{fffd}\u{fffd}[31mred  channel=tickets  rows=3");
    }
}
