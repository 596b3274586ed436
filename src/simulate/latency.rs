//! How long things take, from when they were due: a fleet that falls behind its plan shows as late, and not as quick at
//! fewer writes (no coordinated omission).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use omctl_protocol::admin::ChannelView;

use super::life::{self, Author};
use super::stage::{Happening, Stage};
use super::workload::{self, quote};
use super::{Deed, SimulateError};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// How often a latency is measured.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How long one is waited for. Whatever takes longer counts as this.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// How many are waited for at once.
const PROBES_MAX: usize = 64;

/// Of so many devices one that sees the record is looked for.
const CANDIDATES: usize = 8;

/// Pause between two looks for a write.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Whatever takes longer counts as this.
const LONGEST: Duration = Duration::from_secs(600);

/// Durations in microseconds, to three digits.
#[derive(Clone, Debug)]
pub struct Spread(Histogram<u64>);

impl Default for Spread {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST.as_micros() as u64, 3).expect("three digits are allowed"))
    }
}

impl Spread {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.0.saturating_record(duration.as_micros() as u64);
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds to a tenth, of which so many percent took no more; `None` where nothing was measured.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| (self.0.value_at_percentile(percent) as f64 / 100.0).round() / 10.0)
    }

    /// Milliseconds of the longest one.
    pub fn max(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| (self.0.max() as f64 / 100.0).round() / 10.0)
    }

    /// Points of the curve: the part (0 to 1) that took no more than so many milliseconds, for a plot.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        const HALVES_EACH: u32 = 4;
        self.0
            .iter_quantiles(HALVES_EACH)
            .map(|point| (point.quantile_iterated_to(), point.value_iterated_to() as f64 / 1_000.0))
            .collect()
    }
}

/// What is measured of a fleet.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    saved: Mutex<Spread>,
    visible: Mutex<Spread>,
}

impl Latencies {
    /// From when a write was due until the app's database had it.
    pub(super) fn saved(&self, took: Duration) {
        self.saved.lock().expect("nobody panics while counting").add(took);
    }

    fn visible(&self, took: Duration) {
        self.visible.lock().expect("nobody panics while counting").add(took);
    }

    /// What was measured until now: saved, and visible.
    pub(super) fn taken(&self) -> (Spread, Spread) {
        let taken = |spread: &Mutex<Spread>| spread.lock().expect("nobody panics while counting").clone();
        (taken(&self.saved), taken(&self.visible))
    }
}

/// Measures, at fixed times, how long a write on one device takes to be visible in another's file.
pub(super) async fn probe(
    stage: &Arc<Stage>,
    authors: &[Arc<Author>],
    deeds: &[(String, Deed)],
    entropy: &Entropy,
    latencies: &Latencies,
    ends: Instant,
) -> Result<(), SimulateError> {
    let channels = life::channels(stage);
    // Only crews that update a channel in this phase do so here, too.
    let mut marked: Vec<(&str, Arc<ChannelView>)> = Vec::new();
    for (crew, deed) in deeds.iter().filter(|(_, deed)| life::writes(deed)) {
        for view in life::updated(deed).filter_map(|name| channels.iter().find(|one| one.name == *name)) {
            if workload::mark_field(view).is_some() {
                marked.push((crew, view.clone()));
            }
        }
    }
    if stage.devices.len() < 2 || marked.is_empty() {
        return Ok(());
    }
    let entropy = Entropy::seeded(entropy.u64());
    let mut waiting = FuturesUnordered::new();
    let mut due = Instant::now() + PROBE_EVERY;
    while due + PROBE_EVERY < ends {
        // Whoever is measured is waited for meanwhile; when the next one begins does not depend on it.
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            Some(done) = waiting.next() => {
                let done: Result<(), SimulateError> = done;
                done?;
                continue;
            }
        }
        let now = due;
        due += PROBE_EVERY;
        let (crew, schema) = &marked[entropy.u64() as usize % marked.len()];
        let members: Vec<_> = authors.iter().filter(|author| author.device.crew == *crew).collect();
        let Some(from) = members.get(entropy.u64() as usize % members.len().max(1)).copied() else { continue };
        // One that is on its way back waits for its next try to connect: how long says nothing of a change's way.
        if from.device.is_live() && waiting.len() < PROBES_MAX {
            // Somebody of the same account sees the same; others may.
            let same: Vec<&Arc<Author>> =
                authors.iter().filter(|to| to.device.account == from.device.account).collect();
            let some = |among: usize| entropy.u64() as usize % among;
            let others: Vec<Arc<Author>> = (0..CANDIDATES)
                .map(|n| if n % 2 == 0 { same[some(same.len())] } else { &authors[some(authors.len())] })
                .filter(|to| to.device.number != from.device.number && to.device.is_live())
                .cloned()
                .collect();
            waiting.push(probe_once(stage.clone(), (from.clone(), others), schema.clone(), latencies, now));
        }
    }
    while let Some(done) = waiting.next().await {
        done?;
    }
    Ok(())
}

async fn probe_once(
    stage: Arc<Stage>,
    (from, others): (Arc<Author>, Vec<Arc<Author>>),
    view: Arc<ChannelView>,
    latencies: &Latencies,
    due: Instant,
) -> Result<(), SimulateError> {
    if !from.device.has_table(&view.name)? {
        return Ok(());
    }
    let planning = view.clone();
    let Some(line) = from.plan(move |writer, reader| writer.probe(reader, &planning)).await? else { return Ok(()) };
    // Somebody else who sees the record.
    let holds = |to: &Arc<Author>| {
        let channel = view.name.as_str();
        to.device.read(|connection| {
            let sql = format!("SELECT 1 FROM {} WHERE id = ?1", quote(channel));
            Ok(connection.table_exists(None, channel)? && connection.prepare_cached(&sql)?.exists([&line.record])?)
        })
    };
    let Some(to) = others.into_iter().find(|to| holds(to).unwrap_or(false)) else { return Ok(()) };
    stage.perform(Happening::Write { device: from.device.number, lines: vec![line.clone()] }).await?;
    let Some((name, mark)) = line.new.into_iter().next() else { return Ok(()) };
    let Some((_, field)) = view.schema.field(&name) else { return Ok(()) };
    let (kind, record) = (field.kind, line.record);
    let sql = format!("SELECT {} FROM {} WHERE id = ?1", quote(&name), quote(view.name.as_str()));
    let reading = to.device.clone();
    let seen = loop {
        let (device, sql, record) = (reading.clone(), sql.clone(), record.clone());
        let found = Tasks::blocking(move || {
            device.read(|connection| {
                use rusqlite::OptionalExtension as _;
                let value = |row: &rusqlite::Row<'_>| Ok(workload::value_of(row.get_ref(0)?, kind).to_json());
                connection.prepare_cached(&sql)?.query_row([&record], value).optional()
            })
        })
        .await?;
        if found.as_ref() == Some(&mark) || due.elapsed() > PROBE_WITHIN {
            break due.elapsed().min(PROBE_WITHIN);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    // Who was offline in between says nothing about how fast a change travels; and what the account of the other device
    // may not see, or what was overwritten at once, never comes.
    let disturbed = [&from.device, &to.device].iter().any(|device| device.is_dark() || device.dark_since(due));
    if !disturbed && seen < PROBE_WITHIN {
        latencies.visible(seen);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut spread = Spread::default();
        assert_eq!((spread.percentile(50.0), spread.max()), (None, None));
        for ms in 1..=1_000 {
            spread.add(Duration::from_millis(ms));
        }
        let p50 = spread.percentile(50.0).unwrap();
        assert!((499.0..=501.0).contains(&p50), "{p50}");
        assert!(spread.max().unwrap() >= 1_000.0 && spread.count() == 1_000);
        let curve = spread.curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
    }
}
