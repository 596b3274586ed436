//! The verdict: does every device hold what its account should see, and is every settled write in the backend once?
//!
//! What should be seen is the backend's own scan with the scope rule interpreted row by row
//! (`GET /v1/admin/channels/{c}/backend`). What was written, settled and seen is what the fleet itself noted while it ran
//! ([`super::log`]). Effects are judged in the backend's rows ([`effects`]); what apps saw in their logs ([`reads`]). A
//! failure is told as the shortest history of one record ([`story`]).

mod effects;
mod reads;
mod story;
#[cfg(test)]
mod tests;
mod wholes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl_protocol::admin::BackendReply;
use omctl_protocol::{ChannelName, ChannelSchema, Outcome, Position};

use super::fleet::{Device, Outcasts};
use super::log::{Entry, ForeignNote, Identity, Settled, What};
use super::stage::Stage;
use super::tape::Record;
use super::workload::{self, quote};
use super::{SimulateError, watch};
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
    /// Rejections by their codes.
    pub rejected_by: BTreeMap<String, u64>,
    /// Atomic transactions among them that were applied.
    pub atomic_applied: u64,
    /// Atomic transactions among them that were rejected.
    pub atomic_rejected: u64,
    /// Of them nobody can tell.
    pub unknown: u64,
    /// Settled effects that are not in the backend, and saved writes that never came to a receipt.
    pub lost: u64,
    /// Settled effects that are in the backend more than once.
    pub duplicated: u64,
    /// Reads that went back, or did not show what their own device had written.
    pub stale: u64,
    /// Reads that showed a part of an atomic transaction.
    pub torn: u64,
    /// What is wrong, and the shortest history of a record that shows it, in at most ten lines.
    pub story: Vec<String>,
    /// The records that the fleet made and that are still there, by channel.
    pub left: BTreeMap<ChannelName, BTreeSet<String>>,
}

/// Something that is wrong with one record.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    kind: Kind,
    channel: ChannelName,
    record: String,
    /// One sentence.
    text: String,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Lost,
    Duplicated,
    Stale,
    Torn,
    Differs,
}

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Lines of the story.
const STORY_LINES_MAX: usize = 10;

/// Findings that are looked into: of a thousand like ones the first tell as much.
const FINDINGS_MAX: usize = 200;

/// A channel's records, by their ids.
type Table = BTreeMap<String, Vec<serde_json::Value>>;

/// Everything that is known of a run when it is judged.
struct Known<'a> {
    stage: &'a Stage,
    /// The devices' logs, in the order of their numbers.
    logs: Vec<Vec<Entry>>,
    /// Every mutation with a receipt, by channel and record.
    settled: BTreeMap<(ChannelName, String), Vec<Settled>>,
    /// Where the server's history was set back, as far as the devices know.
    kept: Vec<Position>,
    foreign: Vec<ForeignNote>,
}

/// Compares until everything is equal or the time is over, then judges effects and reads.
pub(super) async fn until_converged(
    client: &Client,
    stage: &Stage,
    start: &[(ChannelName, Vec<Record>)],
    (wrote, sent): (bool, bool),
    outcasts: &mut Outcasts,
    within: Duration,
) -> Result<Verdict, SimulateError> {
    let until = Instant::now() + within;
    let (mut verdict, mut findings) = loop {
        outcasts.bring_back(client, &stage.devices).await;
        let (verdict, findings) = compare(client, &stage.devices).await?;
        if verdict.converged || Instant::now() > until {
            break (verdict, findings);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let known = gather(stage).await?;
    count(&known, &mut verdict);
    let start: BTreeMap<&ChannelName, Table> =
        start.iter().map(|(name, records)| (name, records.iter().cloned().collect())).collect();
    let mut channels = client.channels().await?.channels;
    channels.retain(|channel| channel.paused.is_none());
    // All of it: what a device wrote may have gone where none of the fleet's accounts sees it any more.
    let mut all: BTreeMap<ChannelName, Table> = BTreeMap::new();
    for channel in &channels {
        all.insert(channel.name.clone(), by_id(&client.backend_view(&channel.name, None).await?));
    }
    for channel in channels {
        let Some(rows) = all.get(&channel.name) else { continue };
        let empty = Table::new();
        let before = start.get(&channel.name).unwrap_or(&empty);
        let left: BTreeSet<String> = rows
            .keys()
            .filter(|id| !before.contains_key(*id) && known.is_ours(&channel.name, id, rows))
            .cloned()
            .collect();
        if !left.is_empty() {
            verdict.left.insert(channel.name.clone(), left);
        }
        findings.extend(effects::judge(&known, &channel, before, &all));
        findings.extend(reads::judge(&known, &channel));
    }
    findings.extend(wholes::judge(&known));
    // The worst ones first: of many devices that differ no lost write is to be forgotten.
    findings.sort_by_key(|finding| finding.kind);
    for finding in &findings {
        match finding.kind {
            Kind::Lost => verdict.lost += 1,
            Kind::Duplicated => verdict.duplicated += 1,
            Kind::Stale => verdict.stale += 1,
            Kind::Torn => verdict.torn += 1,
            Kind::Differs => {}
        }
    }
    verdict.story = story::tell(&known, findings);
    for told in outcasts.told() {
        verdict.converged = false;
        verdict.story.push(told);
    }
    if !sent {
        verdict.converged = false;
        verdict.story.insert(0, waiting(&stage.devices));
    }
    verdict.story.truncate(STORY_LINES_MAX);
    if verdict.inconclusive.is_none() && verdict.converged {
        if verdict.records == 0 {
            let mut accounts: Vec<&str> = stage.devices.iter().map(|device| device.account.as_str()).collect();
            accounts.sort_unstable();
            accounts.dedup();
            let shown = accounts.iter().take(3).copied().collect::<Vec<_>>().join(", ");
            let more = if accounts.len() > 3 { ", …" } else { "" };
            verdict.inconclusive = Some(format!(
                "no record was visible to {shown}{more}; what they may see is in `scope:` of the channels"
            ));
        } else if wrote && verdict.applied.values().sum::<u64>() == 0 {
            verdict.inconclusive = Some(match verdict.rejected_by.iter().max_by_key(|(_, times)| **times) {
                Some((code, _)) => format!("no mutation was applied; most were rejected: {code}"),
                None => "no mutation was applied".into(),
            });
        }
    }
    Ok(verdict)
}

/// Who still has something to send, in one sentence.
fn waiting(devices: &[Arc<Device>]) -> String {
    let queued = |device: &Device| device.gauges.queued.load(std::sync::atomic::Ordering::Relaxed);
    let told: Vec<String> = devices
        .iter()
        .filter(|device| queued(device) > 0)
        .map(|device| {
            format!(
                "device {} is {:?} and has {} writes without a receipt",
                device.number,
                device.state(),
                queued(device)
            )
        })
        .collect();
    match told.is_empty() {
        true => "some device still has writes without a receipt".to_owned(),
        false => told.join("; "),
    }
}

/// Every device's tables beside its account's view of the backend.
async fn compare(client: &Client, devices: &[Arc<Device>]) -> Result<(Verdict, Vec<Finding>), SimulateError> {
    let mut verdict = Verdict { converged: true, ..Verdict::default() };
    let mut findings = Vec::new();
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
                differ(&mut findings, device.number, &channel.schema, &expected, &rows);
            }
        }
    }
    verdict.converged = findings.is_empty();
    Ok((verdict, findings))
}

fn by_id(view: &BackendReply) -> Table {
    view.rows.iter().map(|(id, values)| (id.as_str().to_owned(), values.clone())).collect()
}

fn differ(findings: &mut Vec<Finding>, device: usize, schema: &ChannelSchema, expected: &Table, found: &Table) {
    if expected == found {
        return;
    }
    let mut tell = |record: &str, text: String| {
        if findings.len() < FINDINGS_MAX {
            let (channel, record) = (schema.channel.clone(), record.to_owned());
            findings.push(Finding { kind: Kind::Differs, channel, record, text });
        }
    };
    for (id, values) in expected {
        match found.get(id) {
            None => tell(id, format!("is missing on device {device}")),
            Some(other) if other != values => {
                let fields = schema.fields.iter().zip(values.iter().zip(other));
                let differing: Vec<String> = fields
                    .filter(|(_, (theirs, held))| theirs != held)
                    .map(|(field, (theirs, held))| {
                        format!(
                            "`{}` is {} there and {} in the backend",
                            field.name,
                            story::short(held),
                            story::short(theirs)
                        )
                    })
                    .collect();
                tell(id, format!("differs on device {device}: {}", differing.join(", ")));
            }
            Some(_) => {}
        }
    }
    for id in found.keys().filter(|id| !expected.contains_key(*id)) {
        tell(id, format!("is on device {device}, and its account may not see it or it is not in the backend"));
    }
}

/// A channel's table as the app sees it, in JSON forms.
fn read_table(device: &Device, schema: &ChannelSchema) -> Result<Table, SimulateError> {
    let columns: Vec<String> = schema.fields.iter().map(|field| format!(", {}", quote(&field.name))).collect();
    let sql = format!("SELECT id{} FROM {}", columns.concat(), quote(schema.channel.as_str()));
    device.read(|connection| {
        let mut table = Table::new();
        if !connection.table_exists(None, schema.channel.as_str())? {
            return Ok(table);
        }
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(schema.fields.len());
            for (n, field) in schema.fields.iter().enumerate() {
                values.push(workload::value_of(row.get_ref(n + 1)?, field.kind).to_json());
            }
            table.insert(row.get(0)?, values);
        }
        Ok(table)
    })
}

/// Brings together what the fleet noted and what the devices hold.
async fn gather(stage: &Stage) -> Result<Known<'_>, SimulateError> {
    let mut settled: HashMap<Identity, Settled> = HashMap::new();
    let (mut logs, mut kept) = (Vec::new(), Vec::new());
    for device in &stage.devices {
        let log = device.log().clone();
        for entry in &log {
            if let What::Settled(one) = &entry.what {
                settled.insert(one.identity(), (**one).clone());
            }
        }
        logs.push(log);
        let device = device.clone();
        kept.extend(device.parted()?);
        let held = Tasks::blocking(move || {
            let before = device.known_before.get();
            let is_of_this = |id: &str| !before.is_some_and(|before| before.contains(id));
            let held = device.read(|connection| watch::read_settled(connection, is_of_this))?;
            let parse = |(_, payload, receipt): (String, String, String)| {
                watch::parse_settled(device.number, &payload, &receipt)
            };
            Ok::<_, SimulateError>(held.into_iter().map(parse).collect::<Vec<_>>())
        })
        .await?;
        for one in held.into_iter().flatten() {
            settled.insert(one.identity(), one);
        }
    }
    kept.sort_unstable();
    kept.dedup();
    let foreign = stage.foreign.lock().expect("nobody panics while holding this lock").clone();
    Ok(Known { stage, logs, settled: by_record(settled.into_values()), kept, foreign })
}

/// Mutations by the records that they are about.
fn by_record(settled: impl Iterator<Item = Settled>) -> BTreeMap<(ChannelName, String), Vec<Settled>> {
    let mut by_record: BTreeMap<_, Vec<Settled>> = BTreeMap::new();
    for one in settled {
        let record = (one.mutation.channel.clone(), one.mutation.record.as_str().to_owned());
        by_record.entry(record).or_default().push(one);
    }
    by_record
}

fn count(known: &Known<'_>, verdict: &mut Verdict) {
    for one in known.settled.values().flatten().filter(|one| !one.is_refused_here()) {
        verdict.mutations += 1;
        if one.mutation.atomic.is_some_and(|part| part.at == 0) {
            match one.receipt.outcome {
                Outcome::Rejected => verdict.atomic_rejected += 1,
                _ => verdict.atomic_applied += 1,
            }
        }
        match one.receipt.outcome {
            Outcome::Applied | Outcome::Merged => {
                *verdict.applied.entry(super::word(one.mutation.op)).or_default() += 1;
            }
            Outcome::Rejected => {
                verdict.rejected += 1;
                let code = one.receipt.code.clone().unwrap_or_default();
                *verdict.rejected_by.entry(code).or_default() += 1;
            }
            Outcome::Conflict if one.is_unknown() => verdict.unknown += 1,
            Outcome::Conflict => verdict.conflicts += 1,
        }
    }
}

impl Known<'_> {
    /// What is settled of a record.
    fn of(&self, channel: &ChannelName, record: &str) -> &[Settled] {
        self.settled.get(&(channel.clone(), record.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Whether the fleet made a record that was not there when it began.
    fn is_ours(&self, channel: &ChannelName, id: &str, rows: &Table) -> bool {
        let created = |one: &Settled| one.mutation.op == omctl_protocol::Operation::Create;
        self.of(channel, id).iter().any(created)
            || rows.get(id).is_some_and(|values| values.iter().any(|value| self.stage.run.owns(value)))
    }
}
