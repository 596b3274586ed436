//! Fleets of real device clients over bad networks, and the proof that they converge.
//!
//! Each simulated device is the client library an app uses ([`omctl_device::Mobster`]) with a SQLite file of its own,
//! behind a network of its own ([`network`]). The fleet writes as an app does: plain SQL on its tables. The verdict
//! ([`check`]) is taken from the backend's own scan, not from anything that sync or the devices remember.
//!
//! *Invariant:* nothing here reaches into the server; it is asked over HTTP like by anybody else.

mod check;
mod fleet;
mod latency;
mod life;
pub mod network;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl_protocol::Operation;
use omctl_protocol::admin::ChannelView;

pub use self::check::Verdict;
use self::fleet::{Device, Outcasts, device_name, drain, has_table, open_reader};
use self::life::Author;
use crate::catalog::{Act, Bound, Expectation, Link};
use crate::client::{Client, ClientError};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// What a fleet does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who takes part.
    pub crews: Vec<Crew>,
    /// What happens, one after the other. At the end everything is healed, whatever the last one is.
    pub steps: Vec<Step>,
    /// What must hold at the end.
    pub expect: Vec<Expectation>,
    /// Everything that is left to chance comes from here.
    pub seed: u64,
    /// Where the devices' files stay; without it they are removed.
    pub keep: Option<PathBuf>,
    /// Where everything that the server sent to each device is kept, byte for byte.
    pub capture: Option<PathBuf>,
}

/// Devices that do the same.
#[derive(Clone, Debug)]
pub struct Crew {
    /// What steps call it.
    pub name: String,
    /// How many.
    pub devices: usize,
    /// Whose they are, in turn.
    pub accounts: Vec<String>,
    /// Their network, where a step does not say otherwise.
    pub link: Link,
}

/// One thing after the other.
#[derive(Clone, Debug)]
pub enum Step {
    /// Every device is online again; it is waited until everything is sent.
    Heal,
    /// Crews act for a time; those that are not named watch.
    Act {
        /// For how long.
        lasts: Duration,
        /// What each crew does.
        deeds: Vec<(String, Deed)>,
        /// Whether the server is killed in this time, and started again.
        restart: bool,
    },
}

/// The server of a fleet.
pub trait Server: Send + std::marker::Sync {
    /// Finds it: at the beginning, and again whenever it may have been restarted.
    ///
    /// # Errors
    /// [`ClientError`].
    fn connect(&self) -> Result<Client, ClientError>;

    /// Kills it without a warning and starts it again; comes back when it is ready.
    ///
    /// # Errors
    /// Why that cannot be.
    fn restart(&self) -> Result<(), String>;
}

/// What a crew does in a step.
#[derive(Clone, Debug, Default)]
pub struct Deed {
    /// What it writes, how fast, how many of it are offline, on which network.
    pub act: Act,
    /// How long each device is offline in this step, at a moment of its own; beside the part of them that is always.
    pub offline_once: Duration,
}

/// What a fleet did and what was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// How many devices took part.
    pub devices: usize,
    /// The channels' delivery: `exactly_once`, or `best_effort` where one of them has that.
    pub delivery: String,
    /// Milliseconds from a write on one device to its being visible in another's file, sorted.
    pub latencies_ms: Vec<f64>,
    /// Connections that ended without a word.
    pub cuts: u64,
    /// Requests that never reached the server.
    pub lost_requests: u64,
    /// Replies that never reached the device.
    pub lost_replies: u64,
    /// What was expected and does not hold, one sentence each.
    pub breached: Vec<String>,
    /// The seed.
    pub seed: u64,
}

impl Report {
    /// The percentile of the latencies, by nearest rank, to a tenth of a millisecond; `None` where none was measured.
    pub fn latency(&self, percent: usize) -> Option<f64> {
        let rank = (self.latencies_ms.len() * percent).div_ceil(100).max(1);
        self.latencies_ms.get(rank - 1).map(|value| (value * 10.0).round() / 10.0)
    }

    /// What of these does not hold.
    fn breaches(&self, expect: &[Expectation]) -> Vec<String> {
        let verdict = &self.verdict;
        let breach = |one: &Expectation| {
            let found = match one.of {
                "converged" => Some(f64::from(u8::from(verdict.converged))),
                "lost" => Some(verdict.lost as f64),
                "duplicated" => Some(verdict.duplicated as f64),
                "unknown" => Some(verdict.unknown as f64),
                "conflicts" => Some(verdict.conflicts as f64),
                "rejected" => Some(verdict.rejected as f64),
                "latency_ms.p50" => self.latency(50),
                "latency_ms.p95" => self.latency(95),
                "latency_ms.p99" => self.latency(99),
                other => return Some(format!("`{other}` is not measured")),
            };
            // What was not measured was not shown to hold.
            let Some(found) = found else { return Some(format!("{} was not measured", one.of)) };
            let (holds, wanted) = match one.bound {
                Bound::Is(truth) => ((found > 0.0) == truth, truth.to_string()),
                Bound::Exactly(number) => (found == number as f64, number.to_string()),
                Bound::Below(number) => (found < number as f64, format!("below {number}")),
                Bound::AtMost(number) => (found <= number as f64, format!("at most {number}")),
                Bound::Above(number) => (found > number as f64, format!("above {number}")),
                Bound::AtLeast(number) => (found >= number as f64, format!("at least {number}")),
            };
            let shown = if one.of == "converged" { (found > 0.0).to_string() } else { found.to_string() };
            (!holds).then(|| format!("{} is {shown}, expected {wanted}", one.of))
        };
        expect.iter().filter_map(breach).collect()
    }
}

/// What a fleet tells while it runs.
pub trait Progress: Send + Sync {
    /// What it does now, and how many steps that has (0: nobody knows).
    fn phase(&self, what: &str, steps: u64);
    /// How far it is.
    fn step(&self, done: u64);
}

/// Why a fleet could not do its work. A bad verdict is no error.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A device.
    #[error("device {device} failed to {what}: {message}")]
    Device {
        /// Its number, from 1.
        device: usize,
        /// What it was to do.
        what: &'static str,
        /// Why.
        message: String,
    },
    /// A folder, a file or a socket of the fleet.
    #[error("the fleet failed to {what}: {message}")]
    Io {
        /// What it was to do.
        what: &'static str,
        /// Why.
        message: String,
    },
}

/// How long devices may take for their first commit, for sending what is left, and for converging.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// Runs a fleet.
///
/// # Errors
/// [`SimulateError`].
pub async fn run(server: Arc<dyn Server>, plan: &Plan, progress: &dyn Progress) -> Result<Report, SimulateError> {
    let tasks = Tasks::new();
    let client = server.connect()?;
    let channels = wait_until_synced(&client, progress).await?;
    // Removed when it is dropped.
    let scratch =
        tempfile::Builder::new().prefix("omctl-fleet-").tempdir().map_err(|error| io("make a folder", &error))?;
    let folder = plan.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    for folder in [Some(&folder), plan.capture.as_ref()].into_iter().flatten() {
        std::fs::create_dir_all(folder).map_err(|error| io("make a folder for its devices", &error))?;
    }
    let result = run_in(&folder, &server, &client, plan, &channels, &tasks, progress).await;
    tasks.stop(Duration::from_secs(2)).await;
    result
}

async fn run_in(
    folder: &Path,
    server: &Arc<dyn Server>,
    client: &Client,
    plan: &Plan,
    channels: &[ChannelView],
    tasks: &Tasks,
    progress: &dyn Progress,
) -> Result<Report, SimulateError> {
    let entropy = Entropy::seeded(plan.seed);
    let run = format!("{:04x}", Entropy::System.u64() & 0xffff);
    let devices = fleet::activate(folder, client, plan, &entropy, tasks, progress).await?;
    fleet::first_commit(&devices, channels, progress).await?;
    let authors: Vec<Author> =
        devices.iter().map(|device| Author::new(device.clone(), Entropy::seeded(entropy.u64()), &run)).collect();
    let (mut latencies, mut wrote, mut outcasts) = (Vec::new(), false, Outcasts::default());
    for (n, step) in plan.steps.iter().enumerate() {
        match step {
            Step::Heal => {
                heal(&devices, progress);
                drain(&server.connect()?, &devices, &mut outcasts).await?;
            }
            Step::Act { lasts, deeds, restart } => {
                let ends = Instant::now() + *lasts;
                life::set_the_stage(&devices, plan, deeds, &entropy);
                let writes = deeds.iter().any(|(_, deed)| life::writes(deed));
                wrote |= writes;
                let what = match plan.steps.len() {
                    1 if writes => "writing".to_owned(),
                    1 => "watching".to_owned(),
                    several => format!("phase {} of {several}", n + 1),
                };
                let acting = life::act(&authors, deeds, channels, (*lasts, ends), (&what, progress));
                let probing = latency::probe(&devices, deeds, channels, &entropy, (&run, n), ends);
                let restarting = async {
                    if *restart {
                        // In the midst of it: somewhere between the tenth and the half.
                        tokio::time::sleep(lasts.mul_f64(0.1 + 0.4 * (entropy.u64() % 1_000) as f64 / 1_000.0)).await;
                        restart_server(server, &devices).await?;
                    }
                    Ok::<_, SimulateError>(())
                };
                let (acted, measured, restarted) = tokio::join!(acting, probing, restarting);
                acted?;
                restarted?;
                latencies.extend(measured?);
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    if !matches!(plan.steps.last(), Some(Step::Heal)) {
        heal(&devices, progress);
    }
    let client = server.connect()?;
    let sent = drain(&client, &devices, &mut outcasts).await?;
    progress.phase("comparing with the backend", 0);
    let verdict = check::until_converged(&client, &devices, (wrote, sent), &mut outcasts, SETTLE_WITHIN).await?;
    let listed = client.devices().await?.devices;
    for device in &devices {
        device.app.close();
        // A fleet leaves no devices behind that could still connect.
        let name = device_name(device.number);
        if plan.keep.is_none()
            && let Some(view) =
                listed.iter().find(|view| view.name == name && view.state == "active" && view.email == device.account)
        {
            client.revoke_device(view.id).await?;
        }
    }
    let best_effort = channels.iter().any(|channel| channel.delivery.as_deref() != Some("exactly_once"));
    let (lost_requests, lost_replies) = devices
        .iter()
        .map(|device| device.network.losses())
        .fold((0, 0), |sum, losses| (sum.0 + losses.0, sum.1 + losses.1));
    let mut report = Report {
        verdict,
        devices: devices.len(),
        delivery: if best_effort { "best_effort" } else { "exactly_once" }.to_owned(),
        latencies_ms: latencies,
        cuts: devices.iter().map(|device| device.network.cuts()).sum(),
        lost_requests,
        lost_replies,
        breached: Vec::new(),
        seed: plan.seed,
    };
    report.breached = report.breaches(&plan.expect);
    Ok(report)
}

/// Kills the server, starts it again, and leads every device's network to where it is now.
async fn restart_server(server: &Arc<dyn Server>, devices: &[Arc<Device>]) -> Result<(), SimulateError> {
    let killed = server.clone();
    let failed = |message: String| SimulateError::Io { what: "restart the server", message };
    Tasks::blocking(move || killed.restart()).await.map_err(failed)?;
    let addr = fleet::address_of(&server.connect()?)?;
    devices.iter().for_each(|device| device.network.aim(addr));
    Ok(())
}

/// Every device online again.
fn heal(devices: &[Arc<Device>], progress: &dyn Progress) {
    progress.phase("healing: every device online, everything sent", 0);
    for device in devices {
        device.set_dark(false);
        if !device.network.is_open() {
            device.network.become_like(network::WIFI);
        }
    }
}

/// Before every record was read from its backend once, there is nothing to compare with.
async fn wait_until_synced(client: &Client, progress: &dyn Progress) -> Result<Vec<ChannelView>, SimulateError> {
    progress.phase("waiting for the channels", 0);
    let until = Instant::now() + SETTLE_WITHIN;
    loop {
        let channels = client.channels().await?.channels;
        let waits = channels.iter().any(|channel| !channel.synced && channel.paused.is_none());
        if !waits || Instant::now() > until {
            return Ok(channels);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn io(what: &'static str, error: &dyn std::fmt::Display) -> SimulateError {
    SimulateError::Io { what, message: error.to_string() }
}

fn device_error(device: usize, what: &'static str, error: &dyn std::error::Error) -> SimulateError {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    SimulateError::Device { device, what, message }
}

/// The operation's word in reports.
pub(crate) fn word(op: Operation) -> &'static str {
    match op {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
    }
}
