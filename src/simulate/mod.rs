//! Fleets of real device clients over bad networks, and the proof that they converge.
//!
//! Each simulated device is the client library an app uses ([`omctl_device::Mobster`]) with a SQLite file of its own,
//! behind a network of its own ([`network`]), in this process or in one of its own that can be killed. The fleet writes as
//! an app does: plain SQL on its tables. The verdict ([`check`]) is taken from the backend's own scan and from what the
//! fleet itself noted ([`log`]), not from anything that sync remembers.
//!
//! *Invariant:* nothing here reaches into the server; it is asked over HTTP like by anybody else.

mod app;
mod check;
mod cleanup;
mod fleet;
mod foreign;
mod latency;
mod life;
mod log;
pub mod network;
mod placing;
mod plausible;
mod receipts;
mod report;
mod script;
mod stage;
mod tape;
mod watch;
mod wholes;
mod workload;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use omctl_device::ConnectionState;
use omctl_protocol::admin::{AccountNew, ChannelView};
use omctl_protocol::{ChannelName, Operation};

pub use self::app::obey;
pub use self::check::Verdict;
use self::fleet::{Outcasts, drain};
use self::latency::Latencies;
pub use self::latency::Spread;
pub use self::report::{Report, Sample};
use self::stage::{Happening, Stage};
pub use self::tape::{Head, Recording};
use self::tape::{Record, Tape};
use self::workload::Run;
use crate::catalog::{Act, Expectation, ForeignAct, Link};
use crate::client::{Client, ClientError};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// What a fleet does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name, where there is one.
    pub scenario: Option<String>,
    /// Who takes part.
    pub crews: Vec<Crew>,
    /// What happens.
    pub script: Script,
    /// What must hold at the end.
    pub expect: Vec<Expectation>,
    /// Everything that is left to chance comes from here.
    pub seed: u64,
    /// So many devices are processes of their own, which can be killed.
    pub processes: usize,
    /// How such a process is started: a program with its first arguments; the file and the name follow. See [`obey`].
    pub command: Vec<OsString>,
    /// Whether the server is the fleet's own: what is managed goes with it.
    pub spawned: bool,
    /// Where the devices' files stay; without it they are removed.
    pub keep: Option<PathBuf>,
    /// Where everything that the server sent to each device is kept, byte for byte.
    pub capture: Option<PathBuf>,
    /// Where everything that happens is written, so that it can be played again.
    pub record: Option<PathBuf>,
    /// Whether what the fleet made is removed at the end, and what it changed put back.
    pub cleanup: bool,
}

/// What happens to a fleet.
#[derive(Clone, Debug)]
pub enum Script {
    /// Steps, one after the other. At the end everything is healed, whatever the last one is.
    Steps(Vec<Step>),
    /// What happened in another run.
    Tape(Box<Recording>),
}

/// Devices that do the same.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Crew {
    /// What steps call it.
    pub name: String,
    /// How many.
    pub devices: usize,
    /// Whose they are, in turn.
    pub accounts: Vec<String>,
    /// Their network, where a step does not say otherwise.
    #[serde(skip)]
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
        /// How often the server is killed in this time, and started again.
        restarts: u32,
        /// Who else writes to backends.
        foreign: Vec<ForeignAct>,
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

/// What a fleet tells while it runs, and what it is told.
pub trait Progress: Send + std::marker::Sync {
    /// What it does now, and how many steps that has (0: nobody knows).
    fn phase(&self, what: &str, steps: u64);
    /// How far it is.
    fn step(&self, done: u64);
    /// The fleet at a glance.
    fn glance(&self, sample: &Sample);
    /// What somebody who watches wants to happen now.
    fn wish(&self) -> Option<Wish>;
}

/// What somebody who watches a fleet may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Every device offline.
    Cut,
    /// Every device online.
    Heal,
    /// One of the devices killed, and started again.
    Kill,
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
    /// A tape that cannot be played.
    #[error("{}:{line}: {message}", path.display())]
    Tape {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// How long devices may take for their first commit, for sending what is left, and for converging.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How often the fleet is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// How often it is asked for wishes.
const WISH_EVERY: Duration = Duration::from_millis(50);

/// Most samples that a report keeps: of a longer run every other one is dropped, again and again.
const SAMPLES_MAX: usize = 2_400;

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
    let result = run_in(&folder, &server, &client, plan, channels, &tasks, progress).await;
    tasks.stop(Duration::from_secs(2)).await;
    result
}

async fn run_in(
    folder: &Path,
    server: &Arc<dyn Server>,
    client: &Client,
    plan: &Plan,
    channels: Vec<ChannelView>,
    tasks: &Tasks,
    progress: &dyn Progress,
) -> Result<Report, SimulateError> {
    let entropy = Entropy::seeded(plan.seed);
    let run = Run((Entropy::System.u64() & 0xffff) as u16);
    let start = records_of(client, &channels).await?;
    let accounts = accounts_of(client, plan).await?;
    let tape = match &plan.record {
        Some(path) => {
            let head = Head::new(
                plan.scenario.clone(),
                (plan.seed, run.0),
                plan.processes,
                plan.crews.clone(),
                accounts.clone(),
                start.clone(),
            );
            Some(Tape::begin(path, &head)?)
        }
        None => None,
    };
    let started = Instant::now();
    let noting = Noting { progress, started, phases: Mutex::default() };
    let progress: &dyn Progress = &noting;
    let devices = fleet::activate(folder, client, plan, (&entropy, started), tasks, progress).await?;
    fleet::first_commit(&devices, &channels, progress).await?;
    let stage = Arc::new(Stage::new(server.clone(), devices, channels, (run, started), tape));
    for device in &stage.devices {
        tasks.start("watch", watch::watch(stage.clone(), device.clone()));
    }
    let latencies = Latencies::default();
    let mut outcasts = Outcasts::default();
    let mut report = Report::default();
    let mut samples = Vec::new();
    let wrote = {
        let before = script::Before { records: &start, accounts: &accounts };
        let playing: BoxFuture<'_, Result<bool, SimulateError>> = match &plan.script {
            Script::Steps(steps) => {
                Box::pin(script::steps(&stage, plan, (steps, &before), &entropy, &latencies, (&mut outcasts, progress)))
            }
            Script::Tape(recording) => Box::pin(script::play(&stage, recording, &start, progress)),
        };
        tokio::select! {
            played = playing => played?,
            failed = look_on(&stage, &latencies, (progress, true), &mut samples) => return Err(failed),
        }
    };
    let judging = async {
        if !matches!(&plan.script, Script::Steps(steps) if matches!(steps.last(), Some(Step::Heal))) {
            progress.phase("healing: every device online, everything sent", 0);
            stage.perform(Happening::Heal).await?;
        }
        let client = server.connect()?;
        let sent = drain(&client, &stage.devices, &mut outcasts).await?;
        progress.phase("comparing with the backend", 0);
        let verdict =
            check::until_converged(&client, &stage, &start, (wrote, sent), &mut outcasts, SETTLE_WITHIN).await?;
        Ok::<_, SimulateError>((client, verdict, sent))
    };
    let (client, verdict, sent) = tokio::select! {
        judged = judging => judged?,
        // Whoever cuts a device now would be told that the fleet does not converge.
        failed = look_on(&stage, &latencies, (progress, false), &mut samples) => return Err(failed),
    };
    samples.push(last_sample(sample(&stage, &latencies), &verdict, sent));
    report.verdict = verdict;
    if let Some(tape) = &stage.tape {
        tape.end();
    }
    if plan.cleanup {
        progress.phase("removing what the fleet made", 0);
        cleanup::clean(&client, &stage, &start, &mut report.verdict.left).await?;
    }
    leave(&client, &stage, plan).await?;
    (report.samples, report.phases) = (samples, noting.phases());
    fill(&mut report, &stage, plan, &latencies);
    report.breached = report.breaches(&plan.expect);
    Ok(report)
}

/// Closes the apps. A fleet leaves no devices behind that could still connect, unless their files are kept.
async fn leave(client: &Client, stage: &Stage, plan: &Plan) -> Result<(), SimulateError> {
    let listed = client.devices().await?.devices;
    for device in &stage.devices {
        if let Ok(app) = device.app() {
            app.close().await;
        }
        let is_it = |view: &&omctl_protocol::admin::DeviceView| {
            view.name == device.name() && view.state == "active" && view.email == device.account
        };
        if plan.keep.is_none()
            && let Some(view) = listed.iter().find(is_it)
        {
            client.revoke_device(view.id).await?;
        }
    }
    Ok(())
}

/// What the fleet itself counted.
fn fill(report: &mut Report, stage: &Stage, plan: &Plan, latencies: &Latencies) {
    let best_effort = stage.channels.iter().any(|channel| channel.delivery.as_deref() != Some("exactly_once"));
    report.delivery = if best_effort { "best_effort" } else { "exactly_once" }.to_owned();
    (report.devices, report.processes) = (stage.devices.len(), plan.processes.min(stage.devices.len()));
    (report.saved, report.visible) = latencies.taken();
    for device in &stage.devices {
        let (requests, replies) = device.network.losses();
        report.cuts += device.network.cuts();
        report.lost_requests += requests;
        report.lost_replies += replies;
        report.refused_on_devices += device.refused_here.load(Ordering::Relaxed);
    }
    let counts = &stage.counts;
    for (count, counted) in [
        (&mut report.kills, &counts.kills),
        (&mut report.drops, &counts.drops),
        (&mut report.restarts, &counts.restarts),
        (&mut report.set_back, &counts.set_back),
        (&mut report.upgrades, &counts.upgrades),
        (&mut report.foreign, &counts.foreign),
        (&mut report.foreign_refused, &counts.foreign_refused),
        (&mut report.unmet, &counts.unmet),
    ] {
        *count = counted.load(Ordering::Relaxed);
    }
    let managed = stage.channels.iter().filter(|channel| channel.backend == crate::catalog::MANAGED);
    report.managed = managed.map(|channel| channel.name.clone()).collect();
    report.seed = plan.seed;
    report.mark = stage.run.prefix();
}

/// Whose devices the fleet is made of.
async fn accounts_of(client: &Client, plan: &Plan) -> Result<Vec<AccountNew>, SimulateError> {
    let mut accounts = Vec::new();
    for email in plan.crews.iter().flat_map(|crew| &crew.accounts) {
        let view = client.account(email).await?;
        accounts.push(AccountNew { email: view.email, role: view.role, claims: view.claims, password: None });
    }
    Ok(accounts)
}

/// Every record of every channel that goes on, as it is now.
async fn records_of(
    client: &Client,
    channels: &[ChannelView],
) -> Result<Vec<(ChannelName, Vec<Record>)>, SimulateError> {
    let mut all = Vec::new();
    for channel in channels.iter().filter(|channel| channel.paused.is_none()) {
        let view = client.backend_view(&channel.name, None).await?;
        let records = view.rows.into_iter().map(|(id, values)| (id.as_str().to_owned(), values)).collect();
        all.push((channel.name.clone(), records));
    }
    Ok(all)
}

/// Notes when phases begin, beside telling it.
struct Noting<'p> {
    progress: &'p dyn Progress,
    started: Instant,
    phases: Mutex<Vec<(f64, String)>>,
}

impl Noting<'_> {
    fn phases(&self) -> Vec<(f64, String)> {
        self.phases.lock().expect("nobody panics while noting").clone()
    }
}

impl Progress for Noting<'_> {
    fn phase(&self, what: &str, steps: u64) {
        let began = self.started.elapsed().as_secs_f64();
        self.phases.lock().expect("nobody panics while noting").push((began, what.to_owned()));
        self.progress.phase(what, steps);
    }

    fn step(&self, done: u64) {
        self.progress.step(done);
    }

    fn glance(&self, sample: &Sample) {
        self.progress.glance(sample);
    }

    fn wish(&self) -> Option<Wish> {
        self.progress.wish()
    }
}

/// Looks at the fleet and does what is wished, unless wishes are not heard now, for ever. Comes back only with what goes
/// wrong.
async fn look_on(
    stage: &Arc<Stage>,
    latencies: &Latencies,
    (progress, hears): (&dyn Progress, bool),
    samples: &mut Vec<Sample>,
) -> SimulateError {
    let (mut next, mut kept) = (Instant::now(), SAMPLE_EVERY);
    let mut last_kept = None::<Instant>;
    loop {
        while let Some(wish) = progress.wish().filter(|_| stage.is_acting.load(Ordering::Relaxed)) {
            if hears && let Err(error) = grant(stage, wish).await {
                return error;
            }
        }
        if Instant::now() >= next {
            next += SAMPLE_EVERY;
            let sample = sample(stage, latencies);
            progress.glance(&sample);
            if last_kept.is_none_or(|last| last.elapsed() >= kept) {
                last_kept = Some(Instant::now());
                samples.push(sample);
            }
            if samples.len() > SAMPLES_MAX {
                let mut keep = false;
                samples.retain(|_| {
                    keep = !keep;
                    keep
                });
                kept *= 2;
            }
        }
        tokio::time::sleep(WISH_EVERY).await;
    }
}

async fn grant(stage: &Arc<Stage>, wish: Wish) -> Result<(), SimulateError> {
    match wish {
        Wish::Cut => {
            for device in &stage.devices {
                stage.perform(Happening::Offline { device: device.number, dark: true }).await?;
            }
            Ok(())
        }
        Wish::Heal => stage.perform(Happening::Heal).await,
        Wish::Kill => {
            let up: Vec<_> = stage.devices.iter().filter(|device| device.is_up()).collect();
            let Some(device) = up.get((Entropy::System.u64() % up.len().max(1) as u64) as usize) else { return Ok(()) };
            stage.perform(Happening::Kill { device: device.number, pause_ms: 500 }).await
        }
    }
}

fn sample(stage: &Stage, latencies: &Latencies) -> Sample {
    let mut sample = Sample { at_s: stage.started.elapsed().as_secs_f64(), ..Sample::default() };
    for device in &stage.devices {
        match device.state() {
            _ if !device.is_up() => sample.down += 1,
            _ if device.is_dark() => sample.offline += 1,
            ConnectionState::Live => sample.live += 1,
            ConnectionState::Connecting | ConnectionState::CatchingUp => sample.catching_up += 1,
            ConnectionState::Offline | ConnectionState::NeedsActivation | ConnectionState::Held => sample.offline += 1,
        }
        let queued = device.gauges.queued.load(Ordering::Relaxed);
        sample.queued += queued;
        sample.deepest = sample.deepest.max(queued);
        sample.settled += device.gauges.settled.load(Ordering::Relaxed);
        sample.conflicts += device.gauges.conflicts.load(Ordering::Relaxed);
        sample.rejected += device.gauges.rejected.load(Ordering::Relaxed);
    }
    let (_, visible) = latencies.taken();
    (sample.visible_p50, sample.visible_p99) = (visible.percentile(50.0), visible.percentile(99.0));
    sample
}

/// The fleet as it was judged: who looks at the devices all the time is a moment behind that.
fn last_sample(sample: Sample, verdict: &Verdict, sent: bool) -> Sample {
    let (queued, deepest) = if sent { (0, 0) } else { (sample.queued, sample.deepest) };
    Sample {
        queued,
        deepest,
        settled: verdict.mutations,
        conflicts: verdict.conflicts + verdict.unknown,
        rejected: verdict.rejected,
        ..sample
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

/// The operation's word in reports.
pub(crate) fn word(op: Operation) -> &'static str {
    match op {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
    }
}
