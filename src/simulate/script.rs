//! What happens to a fleet from its first commit to its healing: the steps of a scenario, or the tape of another run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use omctl_protocol::ChannelName;
use omctl_protocol::admin::AccountNew;

use super::fleet::{Device, Outcasts, drain};
use super::latency::Latencies;
use super::life::Author;
use super::stage::{Happening, Stage};
use super::tape::{Record, Recording};
use super::workload::Writer;
use super::{Plan, Progress, SimulateError, Step, foreign, latency, life};
use crate::clock::Entropy;

/// What there was before the first step.
pub(super) struct Before<'a> {
    pub(super) records: &'a [(ChannelName, Vec<Record>)],
    /// Whose devices they are.
    pub(super) accounts: &'a [AccountNew],
}

/// Plays the steps. Whether anybody wrote.
pub(super) async fn steps(
    stage: &Arc<Stage>,
    plan: &Plan,
    (steps, before): (&[Step], &Before<'_>),
    entropy: &Entropy,
    latencies: &Latencies,
    (outcasts, progress): (&mut Outcasts, &dyn Progress),
) -> Result<bool, SimulateError> {
    let author = |device: &Arc<Device>| {
        let mut writer = Writer::new(Entropy::seeded(entropy.u64()), device.number, stage.run, stage.unfit.clone());
        if let Some(account) = before.accounts.iter().find(|account| account.email == device.account) {
            writer.write_for(account.clone());
        }
        Arc::new(Author::new(device.clone(), writer))
    };
    let authors: Vec<Arc<Author>> = stage.devices.iter().map(author).collect();
    let mut wrote = false;
    for (n, step) in steps.iter().enumerate() {
        let (lasts, deeds, restarts, foreign) = match step {
            Step::Heal => {
                progress.phase("healing: every device online, everything sent", 0);
                stage.perform(Happening::Heal).await?;
                drain(&stage.server.connect()?, &stage.devices, outcasts).await?;
                continue;
            }
            Step::Act { lasts, deeds, restarts, foreign } => (*lasts, deeds, *restarts, foreign),
        };
        life::set_the_stage(stage, plan, deeds, entropy).await?;
        let ends = Instant::now() + lasts;
        let writes = deeds.iter().any(|(_, deed)| life::writes(deed));
        wrote |= writes;
        let what = match steps.len() {
            1 if writes => "writing".to_owned(),
            1 => "watching".to_owned(),
            several => format!("phase {} of {several}", n + 1),
        };
        progress.phase(&what, lasts.as_secs());
        let others = foreign.iter().map(|act| {
            let records =
                before.records.iter().find(|(name, _)| *name == act.channel).map_or(&[][..], |(_, records)| records);
            foreign::write(stage, act, records, Entropy::seeded(entropy.u64()), ends)
        });
        let mut times: Vec<f64> =
            (0..restarts).map(|_| 0.05 + 0.8 * (entropy.u64() % 1_000) as f64 / 1_000.0).collect();
        times.sort_by(f64::total_cmp);
        let restarting = async {
            for part in times {
                let at = ends - lasts.mul_f64(1.0 - part);
                tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
                stage.perform(Happening::Restart).await?;
            }
            Ok::<_, SimulateError>(())
        };
        let clock = async {
            let began = ends - lasts;
            while Instant::now() < ends {
                progress.step(began.elapsed().as_secs());
                let left = ends.saturating_duration_since(Instant::now());
                tokio::time::sleep(Duration::from_millis(500).min(left)).await;
            }
            Ok::<_, SimulateError>(())
        };
        stage.is_acting.store(true, Ordering::Relaxed);
        tokio::try_join!(
            life::act(stage, &authors, deeds, entropy, (lasts, ends), latencies),
            latency::probe(stage, &authors, deeds, entropy, latencies, ends),
            async { try_join_all(others).await.map(drop) },
            restarting,
            clock,
        )?;
        stage.is_acting.store(false, Ordering::Relaxed);
    }
    Ok(wrote)
}

/// Plays a tape: everything at its time, for each device one after the other. Whether anybody wrote.
pub(super) async fn play(
    stage: &Arc<Stage>,
    recording: &Recording,
    start: &[(ChannelName, Vec<Record>)],
    progress: &dyn Progress,
) -> Result<bool, SimulateError> {
    let mut recording = recording.clone();
    recording.meet(start, stage.run);
    let Some((first, _)) = recording.happenings.first() else { return Ok(false) };
    let (first, last) = (*first, recording.happenings.last().map_or(*first, |(at, _)| *at));
    progress.phase("playing the tape", (last - first).as_secs());
    let wrote = recording.happenings.iter().any(|(_, what)| matches!(what, Happening::Write { .. }));
    let began = Instant::now();
    let mut lanes: BTreeMap<(usize, bool), Vec<(Duration, Happening)>> = Default::default();
    for (at, happening) in recording.happenings {
        lanes.entry(happening.lane()).or_default().push((at - first, happening));
    }
    let lanes = lanes.into_values().map(async |lane| {
        for (at, happening) in lane {
            tokio::time::sleep((began + at).saturating_duration_since(Instant::now())).await;
            progress.step(began.elapsed().as_secs());
            stage.perform(happening).await?;
        }
        Ok::<_, SimulateError>(())
    });
    try_join_all(lanes).await?;
    Ok(wrote)
}
