//! `omctl sync inspect|trace`: how everything stands, and what became of one write.

use omctl_protocol::Outcome;
use omctl_protocol::inspect::{
    ChannelSync, DeviceSync, RecordTrace, SyncView, Trace, TraceEvent, TraceQuery, TraceStep,
};
use serde_json::json;

use super::devices::waiting_table;
use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, columns, one_line, utc};

/// Show how channels and devices stand: records, what waits, what is held or paused
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl sync inspect")]
pub(super) struct InspectArgs {
    #[command(flatten)]
    remote: Remote,
}

/// Tell what became of one mutation or record, in the order of time; --json shows values
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl sync trace 0197a1b2-0000-7000-8000-000000000001")]
pub(super) struct TraceArgs {
    /// The id of a mutation or of a record
    id: String,
    /// Records of this channel only
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn inspect(cli: &Cli, args: &InspectArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let view = block_on(async { Ok(client.sync_view().await?) })?;
    cli.ui.result(page(&view), || {
        let mut json = json!(view);
        json["type"] = "result".into();
        json["schema"] = "omctl.sync.inspect/1".into();
        json
    });
    Ok(Exit::Ok)
}

fn page(view: &SyncView) -> String {
    let mut text = format!("position {}\n\n{}", view.position, channels(&view.channels));
    text.push_str(&format!("\n\n{}", devices(&view.devices)));
    if !view.waiting.is_empty() {
        text.push_str(&format!("\n\n{}", waiting_table(&view.waiting)));
    }
    text
}

fn channels(found: &[ChannelSync]) -> String {
    let head =
        ["CHANNEL", "BACKEND", "RECORDS", "TOMBSTONES", "POSITION", "CHANGED", "WAITING", "HELD", "LAG", "STATE"]
            .map(str::to_owned);
    let none = || "-".to_owned();
    let rows = found.iter().map(|one| {
        let state = match (&one.backend, &one.paused) {
            (None, _) => "not declared".to_owned(),
            (Some(_), Some(reason)) => format!("paused: {}", one_line(reason)),
            (Some(_), None) => "live".to_owned(),
        };
        [
            one_line(one.name.as_str()),
            one.backend.clone().unwrap_or_else(none),
            one.records.to_string(),
            one.tombstones.to_string(),
            one.position.map_or_else(none, |position| position.to_string()),
            one.changed_ms.map_or_else(none, utc),
            one.waiting.to_string(),
            one.held_deletes.to_string(),
            one.lag_ms.map_or_else(none, |lag| format!("{lag} ms")),
            state,
        ]
    });
    columns(head, rows)
}

fn devices(found: &[DeviceSync]) -> String {
    let head = ["DEVICE", "NAME", "ACCOUNT", "STATE", "ACCEPTED", "SETTLED", "ACKED", "LAST SEEN"].map(str::to_owned);
    let rows = found.iter().map(|one| {
        let number = |of: fn(&omctl_protocol::inspect::OutboxView) -> omctl_protocol::Seq| {
            one.outbox.as_ref().map_or_else(|| "-".to_owned(), |outbox| of(outbox).to_string())
        };
        let seen = if one.connected { "connected".to_owned() } else { utc(one.device.seen_ms) };
        let (id, name) = (one.device.id.to_string(), one_line(&one.device.name));
        let (email, state) = (one.device.email.clone(), one.device.state.clone());
        [id, name, email, state, number(|of| of.accepted), number(|of| of.settled), number(|of| of.acked), seen]
    });
    columns(head, rows)
}

pub(super) fn trace(cli: &Cli, args: &TraceArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let query = TraceQuery { id: args.id.trim().to_owned(), channel: args.channel.clone() };
    let trace = block_on(async { Ok(client.trace(&query).await?) })?;
    cli.ui.result(story(&trace), || {
        let mut json = json!(trace);
        json["type"] = "result".into();
        json["schema"] = "omctl.sync.trace/1".into();
        json
    });
    Ok(Exit::Ok)
}

fn story(trace: &Trace) -> String {
    let head = ["TIME", "BY", "WHAT"].map(str::to_owned);
    let mut text = columns(
        head,
        trace.events.iter().map(|event| {
            let by = event
                .by
                .as_ref()
                .map_or_else(|| "-".to_owned(), |by| format!("{} of {}", one_line(&by.name), by.email));
            [utc(event.at_ms), by, one_line(&sentence(event))]
        }),
    );
    for record in &trace.records {
        text.push_str(&format!("\n\n{}", about(record)));
    }
    text
}

/// What happened, without any value.
fn sentence(event: &TraceEvent) -> String {
    match &event.what {
        TraceStep::Captured { mutation } => format!("captured mutation {mutation} (by the device's clock)"),
        TraceStep::Accepted { seq, op, channel, record, backend, tries, .. } => {
            let op = format!("{op:?}").to_lowercase();
            format!("accepted as number {seq}: {op} {channel}/{record}; waits for {backend}, tried {tries} times")
        }
        TraceStep::Settled { receipt, .. } => {
            let outcome = match receipt.outcome {
                Outcome::Applied => "applied",
                Outcome::Merged => "merged",
                Outcome::Conflict => "conflict",
                Outcome::Rejected => "rejected",
            };
            let more = [receipt.code.as_ref(), receipt.message.as_ref()].into_iter().flatten();
            let more: String = more.map(|text| format!(", {text}")).collect();
            let at = receipt.position.map(|position| format!(" at position {position}")).unwrap_or_default();
            format!("settled as number {}: {outcome}{at}{more}", receipt.seq)
        }
        TraceStep::Judged { verdict } => {
            let fields: Vec<&str> = verdict.losing.keys().map(String::as_str).collect();
            let lost = if fields.is_empty() { String::new() } else { format!("; lost: {}", fields.join(", ")) };
            let code = verdict.code.as_deref().unwrap_or("conflict");
            let message = verdict.message.as_deref().map(|text| format!(", {text}")).unwrap_or_default();
            format!("kept as {code} of {}/{}{message}{lost}", verdict.channel, verdict.record)
        }
        TraceStep::Journaled { channel, position, deleted } => {
            let what = if *deleted { "deleted" } else { "came to be as it is now" };
            format!("record of {channel} {what}, at position {position}")
        }
    }
}

fn about(record: &RecordTrace) -> String {
    let state = if record.deleted { "deleted" } else { "exists" };
    let mut text = format!(
        "record     {}/{}\nstate      {state}, life {}, in {} scopes\nposition   {}",
        one_line(record.channel.as_str()),
        one_line(record.record.as_str()),
        record.life,
        record.scopes,
        record.position,
    );
    if let Some(key) = &record.key {
        text.push_str(&format!("\nkey        {}", one_line(key)));
    }
    for writer in &record.writers {
        let by = match &writer.by {
            Some(by) => format!("{} of {}", one_line(&by.name), by.email),
            None => "a device whose history is no longer kept".to_owned(),
        };
        let field = if writer.field == "*" { "every other field" } else { &writer.field };
        text.push_str(&format!("\nwritten    {}: last by {by}", one_line(field)));
    }
    text
}
