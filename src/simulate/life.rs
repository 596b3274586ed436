//! What devices do and what befalls them in a phase: they write at their rate or watch, on the network that the phase gives
//! them, are offline for a while, killed, updated, set back.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, try_join_all};
use omctl_protocol::ChannelName;
use omctl_protocol::admin::ChannelView;

use super::app::{Answer, Ask};
use super::fleet::Device;
use super::latency::Latencies;
use super::stage::{Happening, Stage};
use super::workload::{Kind, Writer};
use super::{Deed, Plan, SimulateError};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// Writes per second and device, where nothing is said.
const RATE: f64 = 2.0;

/// How long an app stays away between its death and its next start, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..1_500;

const UNPOISONED: &str = "nobody panics while planning a write";

/// Whoever writes on a device, from the first phase to the last.
pub(super) struct Author {
    pub(super) device: Arc<Device>,
    writer: Mutex<Writer>,
}

impl Author {
    pub(super) fn new(device: Arc<Device>, writer: Writer) -> Self {
        Self { device, writer: Mutex::new(writer) }
    }

    fn below(&self, limit: u64) -> u64 {
        self.writer.lock().expect(UNPOISONED).below(limit)
    }

    /// Plans a write by what the device's file holds now.
    pub(super) async fn plan<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Writer, &rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SimulateError> {
        let author = self.clone();
        Tasks::blocking(move || {
            let mut writer = author.writer.lock().expect(UNPOISONED);
            writer.set_ahead(author.device.ahead_ms.load(Ordering::Relaxed));
            author.device.read(|connection| work(&mut writer, connection))
        })
        .await
    }
}

/// Whether it writes anything.
pub(super) fn writes(deed: &Deed) -> bool {
    kinds(deed).next().is_some() && deed.act.rate.is_none_or(|rate| rate > 0.0)
}

/// The kinds of writes, each with a channel.
fn kinds(deed: &Deed) -> impl Iterator<Item = (Kind, &ChannelName)> {
    let act = &deed.act;
    let lists = [
        (Kind::Any, &act.write),
        (Kind::Create, &act.create),
        (Kind::Update, &act.update),
        (Kind::Delete, &act.delete),
    ];
    lists.into_iter().flat_map(|(kind, channels)| channels.iter().map(move |channel| (kind, channel)))
}

/// The channels that it updates.
pub(super) fn updated(deed: &Deed) -> impl Iterator<Item = &ChannelName> {
    kinds(deed).filter(|(kind, _)| matches!(kind, Kind::Any | Kind::Update)).map(|(_, channel)| channel)
}

/// Gives every device the network and the clock of a phase, and takes the network from those that are offline in it.
pub(super) async fn set_the_stage(
    stage: &Arc<Stage>,
    plan: &Plan,
    deeds: &[(String, Deed)],
    entropy: &Entropy,
) -> Result<(), SimulateError> {
    for crew in &plan.crews {
        let act = deeds.iter().find(|(name, _)| *name == crew.name).map(|(_, deed)| &deed.act);
        let link = act.and_then(|act| act.link).unwrap_or(crew.link);
        let skew_ms = act.and_then(|act| act.clock_skew).unwrap_or_default().as_millis() as i64;
        let mut members: Vec<&Arc<Device>> = stage.devices.iter().filter(|device| device.crew == crew.name).collect();
        let percent = usize::from(act.and_then(|act| act.offline).unwrap_or(0));
        let dark = (members.len() * percent).div_ceil(100);
        for n in 0..dark {
            let pick = n + (entropy.u64() % (members.len() - n) as u64) as usize;
            members.swap(n, pick);
        }
        for (n, device) in members.into_iter().enumerate() {
            let number = device.number;
            stage.perform(Happening::Network { device: number, link }).await?;
            let ahead_ms = match skew_ms {
                0 => 0,
                most => (entropy.u64() % (2 * most as u64 + 1)) as i64 - most,
            };
            if ahead_ms != device.ahead_ms.load(Ordering::Relaxed) {
                stage.perform(Happening::Clock { device: number, ahead_ms }).await?;
            }
            if device.is_dark() || n < dark {
                stage.perform(Happening::Offline { device: number, dark: n < dark }).await?;
            }
        }
    }
    Ok(())
}

/// Every device does what its crew does in this phase, and what befalls the crew befalls some of its devices.
pub(super) async fn act(
    stage: &Arc<Stage>,
    authors: &[Arc<Author>],
    deeds: &[(String, Deed)],
    entropy: &Entropy,
    (lasts, ends): (Duration, Instant),
    latencies: &Latencies,
) -> Result<(), SimulateError> {
    let started = ends - lasts;
    let mut lives: Vec<BoxFuture<'_, Result<(), SimulateError>>> = Vec::new();
    for author in authors {
        let deed = deeds.iter().find(|(name, _)| *name == author.device.crew).map(|(_, deed)| deed);
        let Some(deed) = deed.filter(|deed| writes(deed) || !deed.offline_once.is_zero()) else { continue };
        // A channel of which its account may see nothing has no table there.
        let mut channels = channels(stage);
        let asked = match author.device.app() {
            Ok(app) => app.ask(Ask::Channels).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(Answer::Channels(held)) => channels.retain(|view| held.contains(&view.name)),
            Ok(_) => {}
            Err(error) if error.gone => {}
            Err(error) => return Err(author.device.failed("read its file")(error)),
        }
        let transactions = deed.act.transactions.unwrap_or(0);
        author.writer.lock().expect(UNPOISONED).know(channels, deed.act.hot_keys, transactions);
        lives.push(Box::pin(live(stage, author, deed, (started, ends), latencies)));
    }
    for (crew, deed) in deeds {
        let members: Vec<usize> =
            stage.devices.iter().filter(|device| device.crew == *crew).map(|device| device.number).collect();
        for fault in faults(&members, stage, deed, entropy) {
            lives.push(Box::pin(befall(stage, fault, lasts, started)));
        }
    }
    try_join_all(lives).await.map(drop)
}

/// What happens at which parts of a phase.
type Fault = Vec<(f64, Happening)>;

/// The faults of a crew in a phase.
fn faults(members: &[usize], stage: &Stage, deed: &Deed, entropy: &Entropy) -> Vec<Fault> {
    let part = |from: f64, to: f64| from + (to - from) * (entropy.u64() % 1_000) as f64 / 1_000.0;
    let pause = || PAUSE_MS.start + entropy.u64() % (PAUSE_MS.end - PAUSE_MS.start);
    // In turn, from a random one on: so many different ones as there are.
    let turn = |among: &[usize], n: u64, from: u64| among[((from + n) % among.len() as u64) as usize];
    let from = entropy.u64() % members.len().max(1) as u64;
    let is_process = |number: &&usize| stage.devices[**number - 1].app().is_ok_and(|app| app.is_process());
    let processes: Vec<usize> = members.iter().filter(is_process).copied().collect();
    let mortal = if processes.is_empty() { members } else { &processes };
    let act = &deed.act;
    let mut all = Vec::new();
    for n in 0..act.kills {
        let device = turn(mortal, n, from);
        all.push(vec![(part(0.02, 0.92), Happening::Kill { device, pause_ms: pause() })]);
    }
    for n in 0..act.upgrades {
        let device = turn(members, n, from + 1);
        all.push(vec![(part(0.05, 0.9), Happening::Upgrade { device, pause_ms: pause() })]);
    }
    for n in 0..act.restores {
        let device = turn(members, n, from + 2);
        let (made, brought) = (part(0.1, 0.4), part(0.5, 0.85));
        all.push(vec![(made, Happening::BackUp { device }), (brought, Happening::SetBack { device })]);
    }
    all
}

async fn befall(stage: &Arc<Stage>, fault: Fault, lasts: Duration, started: Instant) -> Result<(), SimulateError> {
    for (part, happening) in fault {
        let at = started + lasts.mul_f64(part);
        tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
        stage.perform(happening).await?;
    }
    Ok(())
}

/// The channels that go on.
pub(super) fn channels(stage: &Stage) -> Vec<Arc<ChannelView>> {
    stage.channels.iter().filter(|channel| channel.paused.is_none()).cloned().collect()
}

/// Writes at its rate, and goes offline once, at a moment of its own.
async fn live(
    stage: &Arc<Stage>,
    author: &Arc<Author>,
    deed: &Deed,
    (started, ends): (Instant, Instant),
    latencies: &Latencies,
) -> Result<(), SimulateError> {
    let (device, lasts) = (&author.device, ends - started);
    let offline = deed.offline_once.min(lasts.mul_f64(0.9));
    let slack = (lasts - offline).as_millis() as u64;
    let dark_from = started + Duration::from_millis(slack / 10 + author.below(slack * 8 / 10 + 1));
    let is_dark = |now: Instant| !offline.is_zero() && now >= dark_from && now < dark_from + offline;
    let kinds: Vec<(Kind, ChannelName)> = kinds(deed).map(|(kind, channel)| (kind, channel.clone())).collect();
    let rate = deed.act.rate.unwrap_or(RATE);
    let most_ms = if rate > 0.0 { (2_000.0 / rate).max(1.0) as u64 } else { u64::from(u32::MAX) };
    // Planned ahead of time: a device that is slow writes late, and not less; and it is late from when it was due.
    let mut due = started + Duration::from_millis(author.below(most_ms + 1));
    let mut dark = false;
    while Instant::now() < ends {
        let now = Instant::now();
        if is_dark(now) != dark {
            dark = !dark;
            stage.perform(Happening::Offline { device: device.number, dark }).await?;
        }
        if now >= due && !kinds.is_empty() {
            let (kind, channel) = kinds[author.below(kinds.len() as u64) as usize].clone();
            if device.is_up() {
                let lines = author.plan(move |writer, reader| writer.next(reader, kind, &channel)).await?;
                if !lines.is_empty() {
                    stage.perform(Happening::Write { device: device.number, lines }).await?;
                    latencies.saved(due.elapsed());
                }
            }
            due += Duration::from_millis(author.below(most_ms + 1));
        }
        let next = if kinds.is_empty() { ends } else { due.min(ends) };
        let turns = [dark_from, dark_from + offline].into_iter().filter(|turn| !offline.is_zero() && *turn > now);
        let until = turns.chain([next]).min().unwrap_or(next);
        tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    }
    if dark {
        stage.perform(Happening::Offline { device: device.number, dark: false }).await?;
    }
    Ok(())
}
