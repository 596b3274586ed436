//! What devices do in a phase: they write at their rate, or watch, on the network that the phase gives them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelName, ChannelSchema};
use rusqlite::Connection;

use super::fleet::{Device, open_reader};
use super::workload::{Kind, Writer};
use super::{Deed, Plan, Progress, SimulateError, device_error, network};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// Writes per second and device, where nothing is said.
const RATE: f64 = 2.0;

/// Whoever writes on a device, from the first phase to the last.
pub(super) struct Author {
    device: Arc<Device>,
    writer: Arc<Mutex<Writer>>,
}

impl Author {
    pub(super) fn new(device: Arc<Device>, entropy: Entropy, run: &str) -> Self {
        let writer = Arc::new(Mutex::new(Writer::new(entropy, device.number, run)));
        Self { device, writer }
    }

    fn below(&self, limit: u64) -> u64 {
        self.writer.lock().expect("nobody panics while planning a write").below(limit)
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

/// Gives every device the network of a phase, and takes it from those that are offline in it.
pub(super) fn set_the_stage(devices: &[Arc<Device>], plan: &Plan, deeds: &[(String, Deed)], entropy: &Entropy) {
    for crew in &plan.crews {
        let act = deeds.iter().find(|(name, _)| *name == crew.name).map(|(_, deed)| &deed.act);
        let link = act.and_then(|act| act.link).unwrap_or(crew.link);
        let mut members: Vec<&Arc<Device>> = devices.iter().filter(|device| device.crew == crew.name).collect();
        let percent = usize::from(act.and_then(|act| act.offline).unwrap_or(0));
        let dark = (members.len() * percent).div_ceil(100);
        for n in 0..dark {
            let pick = n + (entropy.u64() % (members.len() - n) as u64) as usize;
            members.swap(n, pick);
        }
        for (n, device) in members.into_iter().enumerate() {
            device.network.become_like(network::profile(link));
            device.set_dark(n < dark);
        }
    }
}

/// Every device does what its crew does in this phase.
pub(super) async fn act(
    authors: &[Author],
    deeds: &[(String, Deed)],
    channels: &[ChannelView],
    (lasts, ends): (Duration, Instant),
    (what, progress): (&str, &dyn Progress),
) -> Result<(), SimulateError> {
    progress.phase(what, lasts.as_secs());
    let started = ends - lasts;
    let mut lives = Vec::new();
    for author in authors {
        let deed = deeds.iter().find(|(name, _)| *name == author.device.crew).map(|(_, deed)| deed);
        let Some(deed) = deed.filter(|deed| writes(deed) || !deed.offline_once.is_zero()) else { continue };
        let device = &author.device;
        // A channel of which its account may see nothing has no table there.
        let held = device.app.schemas().await.map_err(|error| device_error(device.number, "read its file", &error))?;
        let mut schemas = schemas(channels);
        schemas.retain(|schema| held.iter().any(|held| held.channel == schema.channel));
        author.writer.lock().expect("nobody panics while planning a write").know(schemas, deed.act.hot_keys);
        lives.push(live(author, deed, (started, ends)));
    }
    let clock = async {
        while Instant::now() < ends {
            progress.step(started.elapsed().as_secs());
            tokio::time::sleep(Duration::from_millis(500).min(ends.saturating_duration_since(Instant::now()))).await;
        }
    };
    let (lived, ()) = tokio::join!(futures_util::future::try_join_all(lives), clock);
    lived.map(drop)
}

/// The schemas of the channels that go on.
pub(super) fn schemas(channels: &[ChannelView]) -> Vec<ChannelSchema> {
    channels.iter().filter(|channel| channel.paused.is_none()).map(|channel| channel.schema.clone()).collect()
}

/// Writes at its rate, and goes offline once, at a moment of its own.
async fn live(author: &Author, deed: &Deed, (started, ends): (Instant, Instant)) -> Result<(), SimulateError> {
    let (device, lasts) = (&author.device, ends - started);
    let offline = deed.offline_once.min(lasts.mul_f64(0.9));
    let slack = (lasts - offline).as_millis() as u64;
    let dark_from = started + Duration::from_millis(slack / 10 + author.below(slack * 8 / 10 + 1));
    let is_dark = |now: Instant| !offline.is_zero() && now >= dark_from && now < dark_from + offline;
    let kinds: Vec<(Kind, ChannelName)> = kinds(deed).map(|(kind, channel)| (kind, channel.clone())).collect();
    let rate = deed.act.rate.unwrap_or(RATE);
    let most_ms = if rate > 0.0 { (2_000.0 / rate).max(1.0) as u64 } else { u64::from(u32::MAX) };
    let reader = Arc::new(Mutex::new(open_reader(device)?));
    // Planned ahead of time: a device that is slow writes late, and not less.
    let mut due = started + Duration::from_millis(author.below(most_ms + 1));
    while Instant::now() < ends {
        let now = Instant::now();
        if !offline.is_zero() {
            device.set_dark(is_dark(now));
        }
        if now >= due && !kinds.is_empty() {
            let (kind, channel) = &kinds[author.below(kinds.len() as u64) as usize];
            write_once(author, &reader, *kind, channel.clone()).await?;
            due += Duration::from_millis(author.below(most_ms + 1));
        }
        let next = if kinds.is_empty() { ends } else { due.min(ends) };
        let turns = [dark_from, dark_from + offline].into_iter().filter(|turn| !offline.is_zero() && *turn > now);
        let until = turns.chain([next]).min().unwrap_or(next);
        tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    }
    if !offline.is_zero() {
        device.set_dark(false);
    }
    Ok(())
}

async fn write_once(
    author: &Author,
    reader: &Arc<Mutex<Connection>>,
    kind: Kind,
    channel: ChannelName,
) -> Result<(), SimulateError> {
    let device = &author.device;
    let failed = |message: String| SimulateError::Device { device: device.number, what: "write", message };
    let (planning, reading) = (author.writer.clone(), reader.clone());
    let planned = Tasks::blocking(move || {
        let mut writer = planning.lock().expect("nobody panics while planning a write");
        writer.next(&reading.lock().expect("nobody panics while reading"), kind, &channel)
    })
    .await
    .map_err(|error| failed(error.to_string()))?;
    let Some(planned) = planned else { return Ok(()) };
    let (sql, parameters) = (planned.sql, planned.parameters);
    let saved = device.app.transaction(move |tx| tx.execute(&sql, rusqlite::params_from_iter(parameters))).await;
    if let Err(error) = saved {
        // A trigger of the channel says no: that is an answer, too.
        tracing::debug!(%error, device = device.number, "a write was refused on the device");
        device.refused_here.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
