//! The verdict: does every device hold what its account should see, and is every settled write in the backend once?
//!
//! What should be seen is the backend's own scan with the scope rule interpreted row by row
//! (`GET /v1/admin/channels/{c}/backend`). What was settled is what the devices hold receipts for. Effects are judged in
//! the backend's rows: a created record is there or was deleted later; its mark is in one row; the last value that was
//! applied to a marked field still stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl_protocol::admin::BackendReply;
use omctl_protocol::value::Value;
use omctl_protocol::{ChannelName, ChannelSchema, FieldType, Mutation, Operation, Outcome, Position, Receipt, Seq};
use rusqlite::OptionalExtension as _;
use rusqlite::types::ValueRef;

use super::{Device, Outcasts, SimulateError, has_table, open_reader, workload};
use crate::client::Client;
use crate::tasks::Tasks;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Every device equals its account's view of the backend.
    pub converged: bool,
    /// Nothing can be said: no record was visible, no mutation was applied, or a channel is paused, held or not read.
    pub inconclusive: Option<String>,
    /// Records that the accounts see, summed over channels (of the first account).
    pub records: u64,
    /// Rows that were compared, summed over devices.
    pub rows_compared: u64,
    /// Mutations that were settled.
    pub mutations: u64,
    /// Of them applied (or merged), by operation.
    pub applied: BTreeMap<&'static str, u64>,
    /// Of them ended as conflicts whose fate is known.
    pub conflicts: u64,
    /// Of them rejected.
    pub rejected: u64,
    /// Of them nobody can tell.
    pub unknown: u64,
    /// Settled effects that are not in the backend.
    pub lost: u64,
    /// Settled effects that are in the backend more than once.
    pub duplicated: u64,
    /// What differs, in at most ten lines.
    pub story: Vec<String>,
}

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lines of the story.
const STORY_LINES_MAX: usize = 10;

/// Compares until everything is equal or the time is over, then judges effects.
pub(super) async fn until_converged(
    client: &Client,
    devices: &[Arc<Device>],
    (wrote, sent): (bool, bool),
    outcasts: &mut Outcasts,
    within: Duration,
) -> Result<Verdict, SimulateError> {
    let until = Instant::now() + within;
    let mut verdict = loop {
        outcasts.bring_back(client, devices).await;
        let verdict = compare(client, devices).await?;
        if verdict.converged || Instant::now() > until {
            break verdict;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    judge(client, devices, &mut verdict).await?;
    for told in outcasts.told() {
        verdict.converged = false;
        tell(&mut verdict, told);
    }
    if !sent {
        verdict.converged = false;
        tell(&mut verdict, "some device still has mutations without a receipt".into());
    }
    if verdict.inconclusive.is_none() && verdict.converged {
        if verdict.records == 0 {
            verdict.inconclusive = Some("no record was visible".into());
        } else if wrote && verdict.applied.values().sum::<u64>() == 0 {
            verdict.inconclusive = Some("no mutation was applied".into());
        }
    }
    Ok(verdict)
}

fn tell(verdict: &mut Verdict, line: String) {
    if verdict.story.len() < STORY_LINES_MAX {
        verdict.story.push(line);
    }
}

async fn compare(client: &Client, devices: &[Arc<Device>]) -> Result<Verdict, SimulateError> {
    let mut verdict = Verdict { converged: true, ..Verdict::default() };
    let channels = client.channels().await?.channels;
    let accounts: BTreeSet<&str> = devices.iter().map(|device| device.account.as_str()).collect();
    for (n, account) in accounts.iter().enumerate() {
        for channel in &channels {
            if let Some(reason) = &channel.paused {
                verdict.inconclusive = Some(format!("channel `{}` is paused: {reason}", channel.name));
                continue;
            }
            let view = client.backend_view(&channel.name, Some(account)).await?;
            if !view.settled {
                verdict.inconclusive = Some(format!("channel `{}` holds deletes or was not read yet", channel.name));
            }
            if n == 0 {
                verdict.records += view.rows.len() as u64;
            }
            let expected = Arc::new(by_id(&view));
            for device in devices.iter().filter(|device| device.account == *account) {
                let (held, schema) = (device.clone(), channel.schema.clone());
                let rows = Tasks::blocking(move || read_table(&held, &schema)).await?;
                verdict.rows_compared += expected.len() as u64;
                differ(&mut verdict, device.number, &channel.name, &expected, &rows);
            }
        }
    }
    Ok(verdict)
}

type Table = BTreeMap<String, Vec<serde_json::Value>>;

fn by_id(view: &BackendReply) -> Table {
    view.rows.iter().map(|(id, values)| (id.as_str().to_owned(), values.clone())).collect()
}

fn differ(verdict: &mut Verdict, device: usize, channel: &ChannelName, expected: &Table, found: &Table) {
    if expected == found {
        return;
    }
    verdict.converged = false;
    for (id, values) in expected {
        match found.get(id) {
            None => tell(verdict, format!("device {device}: {channel}/{id} is missing")),
            Some(other) if other != values => {
                tell(verdict, format!("device {device}: {channel}/{id} is {} there", serde_json::json!(other)));
                tell(verdict, format!("  and {} in the backend", serde_json::json!(values)));
            }
            Some(_) => {}
        }
    }
    for id in found.keys().filter(|id| !expected.contains_key(*id)) {
        tell(verdict, format!("device {device}: {channel}/{id} is there and not in the account's view"));
    }
}

/// A channel's table as the app sees it, in JSON forms.
fn read_table(device: &Device, schema: &ChannelSchema) -> Result<Table, SimulateError> {
    if !has_table(device, &schema.channel)? {
        return Ok(Table::new());
    }
    let connection = open_reader(device)?;
    let columns: Vec<String> = schema.fields.iter().map(|field| workload::quote(&field.name)).collect();
    let sql = format!(
        "SELECT id{}{} FROM {}",
        if columns.is_empty() { "" } else { ", " },
        columns.join(", "),
        workload::quote(schema.channel.as_str())
    );
    let read = || -> rusqlite::Result<Table> {
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut table = Table::new();
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(schema.fields.len());
            for (n, field) in schema.fields.iter().enumerate() {
                values.push(json_of(row.get_ref(n + 1)?, field.kind));
            }
            table.insert(row.get(0)?, values);
        }
        Ok(table)
    };
    read().map_err(|error| SimulateError::Device {
        device: device.number,
        what: "read its tables",
        message: error.to_string(),
    })
}

fn json_of(value: ValueRef<'_>, kind: FieldType) -> serde_json::Value {
    let value = match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) if kind == FieldType::Bool => Value::Bool(number != 0),
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    };
    value.to_json()
}

/// One settled mutation, as its device remembers it.
struct Settled {
    device: usize,
    mutation: Mutation,
    receipt: Receipt,
    /// Where the server's history was set back, as far as the device knows.
    kept: Option<Position>,
}

/// Where a mutation stands among the others of its record. After a server was set back, what was offered again stands
/// where it stood in the lost history: behind what both histories share, before what came since.
fn standing(one: &Settled, kept: Option<Position>) -> (u8, Option<Position>, Seq) {
    let (era, position) = match (one.mutation.again, kept) {
        (Some(again), _) => (1, Some(again)),
        (None, Some(kept)) if one.receipt.position > Some(kept) => (2, one.receipt.position),
        (None, _) => (0, one.receipt.position),
    };
    (era, position, one.receipt.seq)
}

async fn judge(client: &Client, devices: &[Arc<Device>], verdict: &mut Verdict) -> Result<(), SimulateError> {
    let mut settled = Vec::new();
    for device in devices {
        let device = device.clone();
        settled.extend(Tasks::blocking(move || read_settled(&device)).await?);
    }
    verdict.mutations = settled.len() as u64;
    for one in &settled {
        match one.receipt.outcome {
            Outcome::Applied | Outcome::Merged => {
                *verdict.applied.entry(super::word(one.mutation.op)).or_default() += 1;
            }
            Outcome::Rejected => verdict.rejected += 1,
            Outcome::Conflict if one.receipt.code.as_deref() == Some("unknown") => verdict.unknown += 1,
            Outcome::Conflict => verdict.conflicts += 1,
        }
    }
    for channel in client.channels().await?.channels {
        let mine: Vec<&Settled> = settled.iter().filter(|one| one.mutation.channel == channel.name).collect();
        if mine.is_empty() || channel.paused.is_some() {
            continue;
        }
        // All of it: what a device wrote may have gone where none of the fleet's accounts sees it any more.
        let rows = by_id(&client.backend_view(&channel.name, None).await?);
        effects(&channel.schema, &mine, &rows, verdict);
    }
    Ok(())
}

/// Where the histories parted; `Err` where they did so several times, and the order of writes cannot be told.
fn parted(settled: &[&Settled]) -> Result<Option<Position>, ()> {
    let mut kept: Vec<Position> = settled.iter().filter_map(|one| one.kept).collect();
    kept.sort_unstable();
    kept.dedup();
    match kept.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        _ => Err(()),
    }
}

/// Judges the effects of settled mutations in the backend's rows.
fn effects(schema: &ChannelSchema, settled: &[&Settled], rows: &Table, verdict: &mut Verdict) {
    let marked = workload::mark_field(schema).and_then(|field| schema.field(&field.name)).map(|(place, _)| place);
    let mut holders: HashMap<&str, u64> = HashMap::new();
    if let Some(place) = marked {
        for values in rows.values() {
            if let Some(text) = values[place].as_str() {
                *holders.entry(text).or_default() += 1;
            }
        }
    }
    let mut by_record: BTreeMap<&str, Vec<&Settled>> = BTreeMap::new();
    for one in settled {
        by_record.entry(one.mutation.record.as_str()).or_default().push(one);
    }
    let kept = parted(settled);
    for (record, mut history) in by_record {
        history.sort_by_key(|one| standing(one, kept.unwrap_or_default()));
        let created = history.iter().find(|one| one.mutation.op == Operation::Create && took_effect(one));
        let deleted = history.iter().any(|one| one.mutation.op == Operation::Delete && took_effect(one));
        let unsure = history.iter().any(|one| one.receipt.code.as_deref() == Some("unknown"));
        if let Some(create) = created
            && !deleted
            && !unsure
            && !rows.contains_key(record)
        {
            verdict.lost += 1;
            tell(
                verdict,
                format!("{}/{record}: created on device {}, not in the backend", schema.channel, create.device),
            );
        }
        if deleted && !unsure && rows.contains_key(record) {
            verdict.lost += 1;
            tell(verdict, format!("{}/{record}: a settled delete is undone", schema.channel));
        }
        let Some(place) = marked else { continue };
        let name = &schema.fields[place].name;
        for one in &history {
            let Some(mark) = one.mutation.new.get(name).and_then(|value| value.as_str()) else { continue };
            if holders.get(mark).copied().unwrap_or(0) > 1 && mark.starts_with("om") {
                verdict.duplicated += 1;
                tell(verdict, format!("{}/{record}: the mark `{mark}` is in several rows", schema.channel));
            }
        }
        if kept.is_ok() {
            last_value_stands(schema, record, name, place, &history, rows, verdict);
        }
    }
}

fn took_effect(one: &Settled) -> bool {
    matches!(one.receipt.outcome, Outcome::Applied | Outcome::Merged)
}

/// The last write of a marked field is what the row has, unless something later is in doubt.
fn last_value_stands(
    schema: &ChannelSchema,
    record: &str,
    name: &str,
    place: usize,
    history: &[&Settled],
    rows: &Table,
    verdict: &mut Verdict,
) {
    let Some(values) = rows.get(record) else { return };
    let writes: Vec<&&Settled> = history.iter().filter(|one| one.mutation.new.contains_key(name)).collect();
    let Some(last) = writes.iter().rposition(|one| took_effect(one)) else { return };
    if writes[last + 1..].iter().any(|one| one.receipt.outcome == Outcome::Conflict) {
        return;
    }
    let expected = &writes[last].mutation.new[name];
    let is_ours = expected.as_str().is_some_and(|text| text.starts_with("om") || text.starts_with("op"));
    let found_ours = values[place].as_str().is_some_and(|text| text.starts_with("om") || text.starts_with("op"));
    // A value that is no mark of this fleet was written by somebody else, later.
    if is_ours && found_ours && values[place] != *expected {
        let known = writes.iter().any(|one| one.mutation.new[name] == values[place]);
        if known {
            verdict.lost += 1;
            tell(
                verdict,
                format!(
                    "{}/{record}: `{name}` is {}, the last settled write was {expected}",
                    schema.channel, values[place]
                ),
            );
        }
    }
}

/// Everything that this device holds a receipt for.
fn read_settled(device: &Device) -> Result<Vec<Settled>, SimulateError> {
    let failed = |message: String| SimulateError::Device { device: device.number, what: "read its receipts", message };
    let connection = open_reader(device)?;
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = connection.prepare("SELECT payload, receipt FROM om_settled")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let texts = read().map_err(|error| failed(error.to_string()))?;
    let kept: Option<i64> = connection
        .query_row("SELECT value FROM om_state WHERE key = 'kept'", [], |row| row.get(0))
        .optional()
        .map_err(|error| failed(error.to_string()))?;
    let kept = kept.map(|position| Position(position.unsigned_abs()));
    let parse = |(payload, receipt): (String, String)| {
        Ok(Settled {
            device: device.number,
            mutation: serde_json::from_str(&payload).map_err(|error| failed(error.to_string()))?,
            receipt: serde_json::from_str(&receipt).map_err(|error| failed(error.to_string()))?,
            kept,
        })
    };
    texts.into_iter().map(parse).collect()
}
