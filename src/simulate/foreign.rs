//! Somebody who writes to a channel's backend past the server, as the company's other applications do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use omctl_protocol::admin::ForeignWrite;
use omctl_protocol::{Operation, RecordId};

use super::stage::{Happening, Stage};
use super::tape::Record;
use super::{SimulateError, workload};
use crate::catalog::ForeignAct;
use crate::clock::Entropy;

/// Writes at its rate until the phase ends. `records` are those that were there when the fleet began.
pub(super) async fn write(
    stage: &Arc<Stage>,
    act: &ForeignAct,
    records: &[Record],
    entropy: Entropy,
    ends: Instant,
) -> Result<(), SimulateError> {
    let Some(channel) = stage.channel(&act.channel).filter(|channel| channel.paused.is_none()) else { return Ok(()) };
    let schema = &channel.schema;
    let most_ms = (2_000.0 / act.rate).max(1.0) as u64;
    let below = |limit: u64| entropy.u64() % limit.max(1);
    let mut due = Instant::now() + Duration::from_millis(below(most_ms + 1));
    while due < ends {
        tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        due += Duration::from_millis(below(most_ms + 1));
        let n = stage.foreign_writes.fetch_add(1, Ordering::Relaxed) + 1;
        let sample = records.get(below(records.len() as u64) as usize);
        let op = match below(100) {
            0..20 => Operation::Create,
            20..90 => Operation::Update,
            _ => Operation::Delete,
        };
        let write = match (op, sample) {
            (Operation::Create, Some((_, values))) => {
                let of_sample = |field: &omctl_protocol::Field| {
                    schema.field(&field.name).map(|(place, _)| values[place].clone()).unwrap_or_default()
                };
                let set = workload::foreign_create(channel, stage.run, n, &entropy, of_sample);
                ForeignWrite { op, record: None, set, add: Default::default() }
            }
            (Operation::Update, _) => {
                let Some(record) = some_record(stage, &entropy, &act.channel, sample) else { continue };
                let (set, add) = workload::foreign_update(channel, stage.run, n, &entropy);
                if set.is_empty() && add.is_empty() {
                    continue;
                }
                ForeignWrite { op, record: Some(record), set, add }
            }
            (Operation::Delete, _) => {
                let Some(record) = some_record(stage, &entropy, &act.channel, sample) else { continue };
                ForeignWrite { op, record: Some(record), set: Default::default(), add: Default::default() }
            }
            (Operation::Create, None) => continue,
        };
        stage.perform(Happening::Foreign { channel: act.channel.clone(), write }).await?;
    }
    Ok(())
}

/// Half of the time one that the devices just wrote, so that both meet; else one that was there from the start.
fn some_record(
    stage: &Arc<Stage>,
    entropy: &Entropy,
    channel: &omctl_protocol::ChannelName,
    sample: Option<&Record>,
) -> Option<RecordId> {
    let device = &stage.devices[(entropy.u64() % stage.devices.len() as u64) as usize];
    let watched = device.watched();
    let mine: Vec<&String> = watched.iter().filter(|(one, _)| one == channel).map(|(_, id)| id).collect();
    let of_device = match mine.is_empty() || entropy.u64().is_multiple_of(2) {
        true => None,
        false => Some(mine[(entropy.u64() % mine.len() as u64) as usize].as_str()),
    };
    of_device.or(sample.map(|(id, _)| id.as_str())).map(RecordId::from)
}
