//! What can happen to a fleet, one thing at a time: every write, every fault, every foreign edit goes through
//! [`Stage::perform`], which puts it on the tape first. So a run can be played again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use omctl_protocol::ChannelName;
use omctl_protocol::admin::{ChannelView, ForeignWrite};
use serde::{Deserialize, Serialize};

use super::app::{AppError, Ask, Statement};
use super::fleet::{self, Device};
use super::log::{ForeignNote, Line, Saved, What};
use super::network;
use super::tape::Tape;
use super::workload::{self, Planned, Run, Unfit};
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
    /// An app writes.
    Write { device: usize, planned: Planned },
    /// A device goes offline, or is online again.
    Offline { device: usize, dark: bool },
    /// A device is in another network.
    Network { device: usize, link: String },
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
    pub(super) channels: Vec<ChannelView>,
    pub(super) run: Run,
    pub(super) started: Instant,
    pub(super) unfit: Unfit,
    pub(super) foreign: Mutex<Vec<ForeignNote>>,
    pub(super) counts: Counts,
    pub(super) tape: Option<Tape>,
    /// One fault at a time for each device, by its number from 1.
    faults: Vec<tokio::sync::Mutex<()>>,
    /// Channels that devices wrote to.
    written: Mutex<BTreeSet<ChannelName>>,
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
        let faults = devices.iter().map(|_| tokio::sync::Mutex::default()).collect();
        Self {
            server,
            devices,
            channels,
            run,
            started,
            unfit: Unfit::default(),
            foreign: Mutex::default(),
            counts: Counts::default(),
            tape,
            faults,
            written: Mutex::default(),
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
            Happening::Write { device, planned } => self.write(self.device(device)?, planned).await,
            Happening::Offline { device, dark } => {
                self.device(device)?.set_dark(dark);
                Ok(())
            }
            Happening::Network { device, link } => {
                let known = Link::ALL.into_iter().find(|(word, _)| *word == link);
                let link = known.map(|(_, link)| link).unwrap_or_default();
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
                let _alone = self.faults[self.device(device)?.number - 1].lock().await;
                let device = self.device(device)?;
                let count = if device.kill().await { &self.counts.kills } else { &self.counts.drops };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                device.start_again().await
            }
            Happening::Upgrade { device, pause_ms } => {
                let _alone = self.faults[self.device(device)?.number - 1].lock().await;
                let device = self.device(device)?;
                device.close().await;
                self.counts.upgrades.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                device.start_again().await
            }
            Happening::BackUp { device } => {
                let _alone = self.faults[self.device(device)?.number - 1].lock().await;
                self.device(device)?.back_up().await
            }
            Happening::SetBack { device } => {
                let _alone = self.faults[self.device(device)?.number - 1].lock().await;
                self.counts.set_back.fetch_add(1, Ordering::Relaxed);
                self.device(device)?.set_back().await
            }
            Happening::Foreign { channel, write } => self.write_foreign(channel, write).await,
            Happening::Restart => self.restart().await,
            Happening::Heal => {
                self.heal();
                Ok(())
            }
        }
    }

    /// What an app that was killed meanwhile did not do is no failure of the fleet.
    fn unless_gone(&self, device: &Device, result: Result<(), AppError>) -> Result<(), SimulateError> {
        match result {
            Err(error) if !error.gone => Err(device.failed("obey")(error)),
            _ => Ok(()),
        }
    }

    async fn write(self: &Arc<Self>, device: &Arc<Device>, mut planned: Planned) -> Result<(), SimulateError> {
        if planned.statements.is_empty() {
            planned.statements = self.statements_of(&planned);
        }
        let _alone = device.writing.lock().await;
        // Nobody writes in an app that does not run.
        let Ok(app) = device.app() else { return Ok(()) };
        for line in &planned.lines {
            device.watch(&line.channel, &line.record);
            if !self.is_written(&line.channel) {
                self.written.lock().expect(UNPOISONED).insert(line.channel.clone());
            }
        }
        let (saved, met) = match app.write(planned.statements).await {
            Ok(met) => (Saved::Yes, met),
            Err(error) if error.gone => (Saved::Unknown, Vec::new()),
            Err(error) => {
                // A trigger of the channel says no: that is an answer, too.
                tracing::debug!(%error, device = device.number, "a write was refused on the device");
                device.refused_here.fetch_add(1, Ordering::Relaxed);
                (Saved::No, Vec::new())
            }
        };
        for (n, line) in planned.lines.into_iter().enumerate() {
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

    /// The statements of a write that comes from a tape, which says what was written and brings no SQL of its own.
    fn statements_of(&self, planned: &Planned) -> Vec<Statement> {
        let of_line = |line: &Line| workload::statement_of(&self.channel(&line.channel)?.schema, line);
        planned.lines.iter().filter_map(of_line).collect()
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

    /// Every device online again.
    fn heal(&self) {
        for device in &self.devices {
            device.set_dark(false);
            if !device.network.is_open() {
                device.network.become_like(network::WIFI);
            }
        }
    }

    /// Starts what is killed; whoever broke off in the middle of a fault is not left behind.
    pub(super) async fn raise(&self) -> Result<(), SimulateError> {
        for device in &self.devices {
            let _alone = self.faults[device.number - 1].lock().await;
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
        self.channels.iter().find(|channel| channel.name == *name)
    }
}

fn is_final(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(problem) if ["not_allowed", "no_backend"].contains(&problem.code.as_str()))
}
