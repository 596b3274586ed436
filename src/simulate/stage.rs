//! What can happen to a fleet, one thing at a time: every write, every fault, every foreign edit goes through
//! [`Stage::perform`], which puts it on the tape first. So a run can be played again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use omctl_protocol::ChannelName;
use omctl_protocol::admin::{ChannelView, ForeignWrite};
use serde::{Deserialize, Serialize};

use super::app::{AppError, Ask};
use super::fleet::{self, Device};
use super::log::{ForeignNote, Line, Saved, What};
use super::network;
use super::tape::Tape;
use super::wholes::{Part, Wholes};
use super::workload::{self, Run, Unfit};
use super::{Server, SimulateError, watch};
use crate::catalog::Link;
use crate::client::ClientError;
use crate::tasks::Tasks;

const UNPOISONED: &str = "nobody panics while holding this lock";

/// How long a foreign write may take: a server that is killed meanwhile never answers.
const FOREIGN_WITHIN: Duration = Duration::from_secs(5);

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub(super) enum Happening {
    /// An app writes: one local transaction.
    Write { device: usize, lines: Vec<Line> },
    /// A device goes offline, or is online again.
    Offline { device: usize, dark: bool },
    /// A device is in another network.
    Network {
        device: usize,
        #[serde(with = "word")]
        link: Link,
    },
    /// A device's clock is set.
    Clock { device: usize, ahead_ms: i64 },
    /// A device is killed, and started again after a pause.
    Kill { device: usize, pause_ms: u64 },
    /// A device's app is closed, and started again after a pause.
    Upgrade { device: usize, pause_ms: u64 },
    /// A device makes a backup.
    BackUp { device: usize },
    /// A device is set back to its backup.
    SetBack { device: usize },
    /// Somebody writes past the server.
    Foreign { channel: ChannelName, write: ForeignWrite },
    /// The server is killed and started again.
    Restart,
    /// Every device is online; it is waited until everything is sent.
    Heal,
}

impl Happening {
    /// The device that it befalls.
    pub(super) fn device(&self) -> Option<usize> {
        match self {
            Self::Write { device, .. }
            | Self::Offline { device, .. }
            | Self::Network { device, .. }
            | Self::Clock { device, .. }
            | Self::Kill { device, .. }
            | Self::Upgrade { device, .. }
            | Self::BackUp { device }
            | Self::SetBack { device } => Some(*device),
            Self::Foreign { .. } | Self::Restart | Self::Heal => None,
        }
    }

    /// What happens in one lane happens one after the other: a device's writes, its faults, the foreign writes, the rest.
    pub(super) fn lane(&self) -> (usize, bool) {
        let is_fault = !matches!(self, Self::Write { .. } | Self::Foreign { .. });
        (self.device().unwrap_or(0), is_fault)
    }
}

/// How often things happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) kills: AtomicU64,
    pub(super) drops: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) set_back: AtomicU64,
    pub(super) upgrades: AtomicU64,
    pub(super) foreign: AtomicU64,
    pub(super) foreign_refused: AtomicU64,
    /// Writes that met no record.
    pub(super) unmet: AtomicU64,
}

/// Where a fleet acts.
pub(super) struct Stage {
    pub(super) server: Arc<dyn Server>,
    pub(super) devices: Vec<Arc<Device>>,
    /// As they were at the start.
    pub(super) channels: Vec<Arc<ChannelView>>,
    pub(super) run: Run,
    pub(super) started: Instant,
    pub(super) unfit: Unfit,
    pub(super) foreign: Mutex<Vec<ForeignNote>>,
    pub(super) counts: Counts,
    pub(super) tape: Option<Tape>,
    /// Channels that devices wrote to.
    written: Mutex<BTreeSet<ChannelName>>,
    pub(super) wholes: Wholes,
    /// Whether a phase is on in which things may happen: nobody cuts what is being healed.
    pub(super) is_acting: AtomicBool,
    /// Foreign writes are told apart by their order.
    pub(super) foreign_writes: AtomicU64,
}

impl Stage {
    pub(super) fn new(
        server: Arc<dyn Server>,
        devices: Vec<Arc<Device>>,
        channels: Vec<ChannelView>,
        (run, started): (Run, Instant),
        tape: Option<Tape>,
    ) -> Self {
        Self {
            server,
            devices,
            channels: channels.into_iter().map(Arc::new).collect(),
            run,
            started,
            unfit: Unfit::default(),
            foreign: Mutex::default(),
            counts: Counts::default(),
            tape,
            written: Mutex::default(),
            wholes: Wholes::default(),
            is_acting: AtomicBool::new(false),
            foreign_writes: AtomicU64::new(0),
        }
    }

    fn device(&self, number: usize) -> Result<&Arc<Device>, SimulateError> {
        self.devices.get(number.wrapping_sub(1)).ok_or_else(|| SimulateError::Device {
            device: number,
            what: "take part",
            message: "the fleet has no such device".to_owned(),
        })
    }

    /// Lets it happen.
    pub(super) async fn perform(self: &Arc<Self>, happening: Happening) -> Result<(), SimulateError> {
        if let Some(tape) = &self.tape {
            tape.note(self.started.elapsed(), &happening);
        }
        match happening {
            Happening::Write { device, lines } => self.write(self.device(device)?, lines).await,
            Happening::Offline { device, dark } => {
                self.device(device)?.set_dark(dark);
                Ok(())
            }
            Happening::Network { device, link } => {
                self.device(device)?.network.become_like(network::profile(link));
                Ok(())
            }
            Happening::Clock { device, ahead_ms } => {
                let device = self.device(device)?;
                device.ahead_ms.store(ahead_ms, Ordering::Relaxed);
                match device.app() {
                    Ok(app) => self.unless_gone(device, app.ask(Ask::Ahead(ahead_ms)).await.map(drop)),
                    Err(_) => Ok(()),
                }
            }
            Happening::Kill { device, pause_ms } => {
                let device = self.device(device)?;
                let _alone = device.fault.lock().await;
                let count = if device.kill().await { &self.counts.kills } else { &self.counts.drops };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                device.start_again().await
            }
            Happening::Upgrade { device, pause_ms } => {
                let device = self.device(device)?;
                let _alone = device.fault.lock().await;
                device.close().await;
                self.counts.upgrades.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                device.start_again().await
            }
            Happening::BackUp { device } => {
                let device = self.device(device)?;
                let _alone = device.fault.lock().await;
                device.back_up().await
            }
            Happening::SetBack { device } => {
                let device = self.device(device)?;
                let _alone = device.fault.lock().await;
                self.counts.set_back.fetch_add(1, Ordering::Relaxed);
                device.set_back().await
            }
            Happening::Foreign { channel, write } => self.write_foreign(channel, write).await,
            Happening::Restart => self.restart().await,
            Happening::Heal => self.heal().await,
        }
    }

    /// What an app that was killed meanwhile did not do is no failure of the fleet.
    fn unless_gone(&self, device: &Device, result: Result<(), AppError>) -> Result<(), SimulateError> {
        match result {
            Err(error) if !error.gone => Err(device.failed("obey")(error)),
            _ => Ok(()),
        }
    }

    async fn write(self: &Arc<Self>, device: &Arc<Device>, mut lines: Vec<Line>) -> Result<(), SimulateError> {
        // What is no value of its field any more is not written: a tape may be of other fields.
        let mut statements = Vec::with_capacity(lines.len());
        let of_line = |line: &Line| workload::statement_of(&self.channel(&line.channel)?.schema, line);
        lines.retain(|line| of_line(line).map(|statement| statements.push(statement)).is_some());
        let _alone = device.writing.lock().await;
        // Nobody writes in an app that does not run.
        let Ok(app) = device.app() else { return Ok(()) };
        for line in &lines {
            device.watch(&line.channel, &line.record);
            if !self.is_written(&line.channel) {
                self.written.lock().expect(UNPOISONED).insert(line.channel.clone());
            }
        }
        let is_atomic = self.is_atomic(&lines);
        if is_atomic {
            self.wholes.note(lines.iter().filter_map(|line| self.part_of(line)).collect());
        }
        let (saved, met) = match app.write(statements, is_atomic).await {
            Ok(met) => (Saved::Yes, met),
            Err(error) if error.gone => (Saved::Unknown, Vec::new()),
            Err(error) => {
                // A trigger of the channel says no: that is an answer, too.
                tracing::debug!(%error, device = device.number, "a write was refused on the device");
                device.refused_here.fetch_add(1, Ordering::Relaxed);
                (Saved::No, Vec::new())
            }
        };
        for (n, line) in lines.into_iter().enumerate() {
            // A record that went away between plan and write was not written.
            if met.get(n).copied().unwrap_or(true) {
                device.note(What::Wrote { line, saved });
            } else {
                self.counts.unmet.fetch_add(1, Ordering::Relaxed);
            }
        }
        watch::look(self, device).await;
        Ok(())
    }

    /// Whether these are written in an atomic transaction: wherever there are several, and their channels allow it.
    fn is_atomic(&self, lines: &[Line]) -> bool {
        let home = |line: &Line| self.channel(&line.channel).and_then(|view| view.schema.atomic.clone());
        match lines {
            [first, rest @ ..] if !rest.is_empty() => {
                home(first).is_some_and(|first| rest.iter().all(|line| home(line).as_ref() == Some(&first)))
            }
            _ => false,
        }
    }

    /// A record of an atomic transaction, where its write carries a mark.
    fn part_of(&self, line: &Line) -> Option<Part> {
        let schema = &self.channel(&line.channel)?.schema;
        let mark = line.new.iter().find(|(_, value)| self.run.owns(value));
        let (name, mark) = mark?;
        let (field, _) = schema.field(name)?;
        Some(Part { channel: line.channel.clone(), record: line.record.clone(), field, mark: mark.clone() })
    }

    async fn write_foreign(&self, channel: ChannelName, write: ForeignWrite) -> Result<(), SimulateError> {
        let at = self.started.elapsed();
        let asked = async { self.server.connect()?.write_foreign(&channel, &write).await };
        let answer = tokio::time::timeout(FOREIGN_WITHIN, asked).await;
        let ForeignWrite { op, record, set, add } = write;
        let record = record.map(|record| record.as_str().to_owned());
        let (sure, wrote) = match answer {
            Ok(Ok(done)) if done.refused.is_some() => {
                self.counts.foreign_refused.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Ok(Ok(done)) => (true, done.wrote),
            // A server that refuses it for good will refuse the next one too.
            Ok(Err(error @ ClientError::Refused(_))) if is_final(&error) => return Err(error.into()),
            Ok(Err(_)) | Err(_) => (false, set),
        };
        self.counts.foreign.fetch_add(1, Ordering::Relaxed);
        let note = ForeignNote { at, channel, op, record, wrote, add, sure };
        self.foreign.lock().expect(UNPOISONED).push(note);
        Ok(())
    }

    /// Kills the server, starts it again, and leads every device's network to where it is now.
    async fn restart(&self) -> Result<(), SimulateError> {
        let killed = self.server.clone();
        let failed = |message: String| SimulateError::Io { what: "restart the server", message };
        Tasks::blocking(move || killed.restart()).await.map_err(failed)?;
        self.counts.restarts.fetch_add(1, Ordering::Relaxed);
        let addr = fleet::address_of(&self.server.connect()?)?;
        self.devices.iter().for_each(|device| device.network.aim(addr));
        Ok(())
    }

    /// Every device online again; whoever is in the middle of a fault comes out of it.
    async fn heal(&self) -> Result<(), SimulateError> {
        for device in &self.devices {
            device.set_dark(false);
            if !device.network.is_open() {
                device.network.become_like(network::WIFI);
            }
        }
        for device in &self.devices {
            let _alone = device.fault.lock().await;
            if !device.is_up() {
                device.start_again().await?;
            }
        }
        Ok(())
    }

    /// Whether a device wrote to a channel until now.
    pub(super) fn is_written(&self, channel: &ChannelName) -> bool {
        self.written.lock().expect(UNPOISONED).contains(channel)
    }

    pub(super) fn channel(&self, name: &ChannelName) -> Option<&ChannelView> {
        self.channels.iter().find(|channel| channel.name == *name).map(Arc::as_ref)
    }
}

fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(problem) if ["not_allowed", "no_backend"].contains(&problem.code.as_str()))
}

/// A network by its word.
mod word {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::catalog::Link;

    pub(super) fn serialize<S: Serializer>(link: &Link, serializer: S) -> Result<S::Ok, S::Error> {
        let word = Link::ALL.iter().find(|(_, one)| one == link).map_or("wifi", |(word, _)| *word);
        serializer.serialize_str(word)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Link, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Link::ALL.iter().find(|(word, _)| *word == text);
        known.map(|(_, link)| *link).ok_or_else(|| D::Error::custom(format!("there is no network `{text}`")))
    }
}
