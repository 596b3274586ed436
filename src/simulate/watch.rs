//! Looks at what the apps see, all the time: new receipts and the records that a device wrote last, both in one read
//! transaction, so that what was seen can be judged by what was settled then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelName, ChannelSchema, Mutation, Outcome, Receipt};
use rusqlite::{Connection, OptionalExtension as _};

use super::SimulateError;
use super::fleet::Device;
use super::log::{Settled, What};
use super::stage::Stage;
use super::wholes::{Part, Shown, Watched};
use super::workload::{self, quote};
use crate::tasks::Tasks;

/// Least time between two looks at one device.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks a second at the whole fleet, at most: a thousand devices are looked at less often.
const LOOKS_PER_SECOND: u32 = 250;

/// How many of the newest records of each channel are looked at.
const NEWEST: u32 = 6;

/// Watches a device until the fleet ends.
pub(super) async fn watch(stage: Arc<Stage>, device: Arc<Device>) {
    let pause = LOOK_EVERY.max(Duration::from_secs(stage.devices.len() as u64) / LOOKS_PER_SECOND);
    loop {
        look(&stage, &device).await;
        tokio::time::sleep(pause).await;
    }
}

/// Looks once: also at the very moment when an app has its answer, which it must see in what it reads next.
pub(super) async fn look(stage: &Arc<Stage>, device: &Arc<Device>) {
    let (looking, stage) = (device.clone(), stage.clone());
    let looked = Tasks::blocking(move || {
        let mut eye = looking.eye.lock().expect("nobody panics while looking");
        eye.look(&stage, &looking)
    });
    if let Err(error) = looked.await {
        // Its file is being brought back, or the disk is full: the end of the run will tell.
        tracing::debug!(%error, device = device.number, "not looked at");
    }
}

/// What one device showed so far.
#[derive(Default)]
pub(super) struct Eye {
    settled: HashSet<String>,
    settled_count: u64,
    seen: HashMap<(ChannelName, String), Option<Vec<serde_json::Value>>>,
    wholes: Watched,
}

impl Eye {
    fn look(&mut self, stage: &Stage, device: &Device) -> Result<(), SimulateError> {
        let watched = device.watched();
        let wholes = self.wholes.open(&stage.wholes);
        let began = device.elapsed();
        let news = device.read(|connection| {
            let transaction = connection.transaction()?;
            device.gauges.queued.store(queued(&transaction, stage)?, Ordering::Relaxed);
            let count: u64 = transaction
                .prepare_cached(
                    "SELECT (SELECT count(*) FROM om_settled) + (SELECT count(*) FROM om_rejected WHERE seq IS NULL)",
                )?
                .query_row([], |row| row.get(0))?;
            let mut settled = Vec::new();
            if count != self.settled_count {
                let before = device.known_before.get();
                let is_news =
                    |id: &str| !self.settled.contains(id) && !before.is_some_and(|before| before.contains(id));
                settled = read_settled(&transaction, is_news)?;
                self.settled_count = count;
            }
            let mut rows = Vec::new();
            for (channel, record) in watched {
                let Some(view) = stage.channel(&channel) else { continue };
                let row = read_record(&transaction, &view.schema, &record)?;
                rows.push((channel, record, row));
            }
            for view in stage.channels.iter().filter(|view| stage.is_written(&view.name)) {
                for record in newest(&transaction, &view.name)? {
                    if !rows.iter().any(|(channel, id, _)| *channel == view.name && *id == record) {
                        let row = read_record(&transaction, &view.schema, &record)?;
                        rows.push((view.name.clone(), record, row));
                    }
                }
            }
            let mut shown = Vec::with_capacity(wholes.len());
            for whole in &wholes {
                let parts = whole.parts.iter();
                shown.push(parts.map(|part| show(&transaction, stage, device, part)).collect::<Result<_, _>>()?);
            }
            Ok((settled, rows, shown))
        })?;
        let (settled, rows, shown) = news;
        for (whole, shown) in self.wholes.take(shown) {
            device.note(What::SawWhole { whole, shown });
        }
        for (id, mutation, receipt) in settled {
            let Some(one) = parse_settled(device.number, &mutation, &receipt) else { continue };
            count(stage, device, &one);
            self.settled.insert(id);
            device.note(What::Settled(Box::new(one)));
        }
        for (channel, record, row) in rows {
            let known = self.seen.get(&(channel.clone(), record.clone()));
            // Of a record that was never there is nothing to tell.
            if known.is_none() && row.is_none() || known == Some(&row) {
                continue;
            }
            self.seen.insert((channel.clone(), record.clone()), row.clone());
            device.note(What::Saw { channel, record, began, row });
        }
        Ok(())
    }
}

/// What a device shows of one record of an atomic transaction.
fn show(connection: &Connection, stage: &Stage, device: &Device, part: &Part) -> rusqlite::Result<Shown> {
    let Some(view) = stage.channel(&part.channel) else { return Ok(Shown::Other) };
    let row = read_record(connection, &view.schema, &part.record)?;
    Ok(match row.as_ref().and_then(|values| values.get(part.field)) {
        Some(value) if *value == part.mark => Shown::Mark,
        Some(value) if stage.run.wrote(device.number, value) => Shown::Own,
        _ => Shown::Other,
    })
}

/// Writes without a receipt: those that are ready to be sent, and those that the triggers noted since.
fn queued(connection: &Connection, stage: &Stage) -> rusqlite::Result<u64> {
    let mut queued: u64 =
        connection.prepare_cached("SELECT count(*) FROM om_outbox")?.query_row([], |row| row.get(0))?;
    for view in stage.channels.iter().filter(|view| stage.is_written(&view.name)) {
        let sql = format!("SELECT count(*) FROM {}", quote(&format!("om_cap_{}", view.name)));
        // There is no such table where the account may see nothing of the channel.
        if let Ok(mut statement) = connection.prepare_cached(&sql) {
            queued += statement.query_row([], |row| row.get::<_, u64>(0))?;
        }
    }
    Ok(queued)
}

fn count(stage: &Stage, device: &Device, one: &Settled) {
    let gauges = &device.gauges;
    if one.is_refused_here() {
        device.refused_here.fetch_add(1, Ordering::Relaxed);
        return;
    }
    gauges.settled.fetch_add(1, Ordering::Relaxed);
    match one.receipt.outcome {
        Outcome::Applied | Outcome::Merged => {}
        Outcome::Conflict => drop(gauges.conflicts.fetch_add(1, Ordering::Relaxed)),
        Outcome::Rejected => {
            gauges.rejected.fetch_add(1, Ordering::Relaxed);
            // A number field that takes no mark: its backend knows which numbers are sensible.
            let of_the_value = ["constraint", "bad_value"];
            let is_such = one.receipt.code.as_deref().is_some_and(|code| of_the_value.contains(&code));
            let marked = stage.channel(&one.mutation.channel).and_then(workload::mark_field);
            let names_another =
                one.receipt.field.is_some() && one.receipt.field.as_deref() != marked.map(|f| f.name.as_str());
            if is_such
                && !names_another
                && stage.channel(&one.mutation.channel).is_some_and(|view| has_number_mark(view, one))
            {
                stage.unfit.note(&one.mutation.channel);
            }
        }
    }
}

fn has_number_mark(view: &ChannelView, one: &Settled) -> bool {
    workload::mark_field(view).is_some_and(|field| {
        field.kind != omctl_protocol::FieldType::Text && one.mutation.new.contains_key(&field.name)
    })
}

/// The id, payload and receipt of each settled mutation that is wanted.
pub(super) fn read_settled(
    connection: &Connection,
    wanted: impl Fn(&str) -> bool,
) -> rusqlite::Result<Vec<(String, String, String)>> {
    // What a device refused itself has no number and no receipt: one is written for it here.
    let mut statement = connection.prepare_cached(
        "SELECT mutation, payload, receipt FROM om_settled UNION ALL
         SELECT mutation, payload, json_object('seq', 0, 'id', mutation, 'outcome', 'rejected', 'code', code)
         FROM om_rejected WHERE seq IS NULL",
    )?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        if wanted(&id) {
            all.push((id, row.get(1)?, row.get(2)?));
        }
    }
    Ok(all)
}

/// `None` where the texts are none of ours: the file is damaged, which the end of the run tells.
pub(super) fn parse_settled(device: usize, mutation: &str, receipt: &str) -> Option<Settled> {
    let mutation: Mutation = serde_json::from_str(mutation).ok()?;
    let receipt: Receipt = serde_json::from_str(receipt).ok()?;
    Some(Settled { device, mutation, receipt })
}

/// The records that came last, whoever made them: a twin of one is seen here before somebody changes it.
fn newest(connection: &Connection, channel: &ChannelName) -> rusqlite::Result<Vec<String>> {
    let sql = format!("SELECT id FROM {} ORDER BY rowid DESC LIMIT {NEWEST}", quote(channel.as_str()));
    match connection.prepare_cached(&sql) {
        Ok(mut statement) => statement.query_map([], |row| row.get(0))?.collect(),
        Err(_) => Ok(Vec::new()),
    }
}

/// A record as the app sees it, in JSON forms and in the order of the channel's fields.
fn read_record(
    connection: &Connection,
    schema: &ChannelSchema,
    record: &str,
) -> rusqlite::Result<Option<Vec<serde_json::Value>>> {
    let columns: Vec<String> = schema.fields.iter().map(|field| format!(", {}", quote(&field.name))).collect();
    let sql = format!("SELECT id{} FROM {} WHERE id = ?1", columns.concat(), quote(schema.channel.as_str()));
    let read = |row: &rusqlite::Row<'_>| {
        let fields = schema.fields.iter().enumerate();
        fields.map(|(n, field)| Ok(workload::value_of(row.get_ref(n + 1)?, field.kind).to_json())).collect()
    };
    match connection.prepare_cached(&sql) {
        Ok(mut statement) => statement.query_row([record], read).optional(),
        // There is no table (any more): the account may see nothing of the channel.
        Err(_) => Ok(None),
    }
}
