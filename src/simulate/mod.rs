//! Fleets of real device clients over bad networks, and the proof that they converge.
//!
//! Each simulated device is the client library an app uses ([`omctl_device::Mobster`]) with a SQLite file of its own,
//! behind a network of its own ([`network`]). The fleet writes as an app does: plain SQL on its tables. The verdict
//! ([`check`]) is taken from the backend's own scan, not from anything that sync or the devices remember.
//!
//! *Invariant:* nothing here reaches into the server; it is asked over HTTP like by anybody else.

mod check;
pub mod network;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use omctl_device::{ConnectionState, Credentials, Mobster, MobsterError};
use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelName, ChannelSchema, Operation};
use rusqlite::{Connection, OpenFlags};

pub use self::check::Verdict;
use self::network::{Network, Profile};
use self::workload::Writer;
use crate::client::{Client, ClientError};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// What a fleet does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many devices.
    pub devices: usize,
    /// Whose they are, in turn.
    pub accounts: Vec<String>,
    /// For how long they write.
    pub duration: Duration,
    /// For how long each of them is offline in that time.
    pub offline: Duration,
    /// Their network.
    pub profile: Profile,
    /// Writes per second and device; 0: they only watch.
    pub rate: f64,
    /// Everything that is left to chance comes from here.
    pub seed: u64,
    /// Where the devices' files stay; without it they are removed.
    pub keep: Option<PathBuf>,
    /// Where everything that the server sent to each device is kept, byte for byte.
    pub capture: Option<PathBuf>,
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
    /// The seed.
    pub seed: u64,
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

/// How often a latency is measured.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How long one is waited for.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Device {
    number: usize,
    account: String,
    path: PathBuf,
    app: Mobster,
    network: Network,
    dark: AtomicBool,
    /// When it was offline last.
    last_dark: std::sync::Mutex<Option<Instant>>,
    refused_here: AtomicU64,
}

impl Device {
    fn set_dark(&self, dark: bool) {
        if dark || self.dark.load(Ordering::Relaxed) {
            *self.last_dark.lock().expect("nobody panics while noting a time") = Some(Instant::now());
        }
        self.dark.store(dark, Ordering::Relaxed);
        self.network.set_dark(dark);
    }

    /// Whether it was offline at some time since then.
    fn dark_since(&self, then: Instant) -> bool {
        self.last_dark.lock().expect("nobody panics while noting a time").is_some_and(|last| last >= then)
    }
}

/// Runs a fleet. `connect` finds the server, at the beginning and once more at the end: it may have been restarted.
///
/// # Errors
/// [`SimulateError`].
pub async fn run(
    connect: impl Fn() -> Result<Client, ClientError>,
    plan: &Plan,
    progress: &dyn Progress,
) -> Result<Report, SimulateError> {
    let tasks = Tasks::new();
    let client = connect()?;
    let channels = wait_until_synced(&client, progress).await?;
    let scratch = match &plan.keep {
        Some(_) => None,
        None => Some(scratch_folder()?),
    };
    let folder = plan.keep.clone().or_else(|| scratch.clone()).unwrap_or_default();
    for folder in [Some(&folder), plan.capture.as_ref()].into_iter().flatten() {
        std::fs::create_dir_all(folder).map_err(|error| io("make a folder for its devices", &error))?;
    }
    let result = run_in(&folder, &connect, &client, plan, &channels, &tasks, progress).await;
    tasks.stop(Duration::from_secs(2)).await;
    if let Some(scratch) = scratch
        && let Err(error) = std::fs::remove_dir_all(&scratch)
    {
        tracing::debug!(%error, "a scratch folder stays");
    }
    result
}

async fn run_in(
    folder: &Path,
    connect: &impl Fn() -> Result<Client, ClientError>,
    client: &Client,
    plan: &Plan,
    channels: &[ChannelView],
    tasks: &Tasks,
    progress: &dyn Progress,
) -> Result<Report, SimulateError> {
    let entropy = Entropy::seeded(plan.seed);
    let run = format!("{:04x}", Entropy::System.u64() & 0xffff);
    let devices = activate(folder, client, plan, &entropy, tasks, progress).await?;
    first_commit(&devices, channels, progress).await?;
    let started = Instant::now();
    let latencies = if plan.rate > 0.0 {
        let writing = write(&devices, plan, channels, &entropy, (started, &run), progress);
        let probing = probe(&devices, channels, &entropy, &run, started + plan.duration);
        let (written, latencies) = tokio::join!(writing, probing);
        written?;
        latencies?
    } else {
        progress.phase("watching", 0);
        tokio::time::sleep(plan.duration).await;
        Vec::new()
    };
    progress.phase("healing: every device online, everything sent", 0);
    for device in &devices {
        device.network.set_dark(false);
    }
    let client = connect()?;
    let mut outcasts = Outcasts::default();
    let sent = drain(&client, &devices, &mut outcasts).await?;
    progress.phase("comparing with the backend", 0);
    let judged = (plan.rate > 0.0, sent);
    let verdict = check::until_converged(&client, &devices, judged, &mut outcasts, SETTLE_WITHIN).await?;
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
    Ok(Report {
        verdict,
        devices: devices.len(),
        delivery: if best_effort { "best_effort" } else { "exactly_once" }.to_owned(),
        latencies_ms: latencies,
        cuts: devices.iter().map(|device| device.network.cuts()).sum(),
        seed: plan.seed,
    })
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

async fn activate(
    folder: &Path,
    client: &Client,
    plan: &Plan,
    entropy: &Entropy,
    tasks: &Tasks,
    progress: &dyn Progress,
) -> Result<Vec<Arc<Device>>, SimulateError> {
    progress.phase("activating", plan.devices as u64);
    let target = client
        .url()
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .parse()
        .map_err(|error: std::net::AddrParseError| io("find the server's address", &error))?;
    let mut devices = Vec::with_capacity(plan.devices);
    for number in 1..=plan.devices {
        let account = plan.accounts[(number - 1) % plan.accounts.len()].clone();
        let failed = |what| move |error: MobsterError| device_error(number, what, &error);
        let capture = plan.capture.as_ref().map(|folder| folder.join(device_name(number)));
        let network = Network::start(target, plan.profile, Entropy::seeded(entropy.u64()), capture, tasks)
            .await
            .map_err(|error| io("listen", &error))?;
        let path = folder.join(format!("{}.db", device_name(number)));
        let app = Mobster::builder(&path)
            .device(&device_name(number), "simulated")
            .open()
            .map_err(failed("open its file"))?;
        if app.device().await.map_err(failed("read its file"))?.is_some() {
            // A file that an earlier fleet kept goes on, through the network of this one.
            app.use_server(&network.url(client.pin())).await.map_err(failed("use its network"))?;
        } else {
            activate_one(client, &account, &app, &network).await.map_err(|error| match error {
                Activating::Client(error) => error.into(),
                Activating::Device(error) => device_error(number, "activate", &error),
            })?;
        }
        devices.push(Arc::new(Device {
            number,
            account,
            path,
            app,
            network,
            dark: AtomicBool::new(false),
            last_dark: std::sync::Mutex::new(None),
            refused_here: AtomicU64::new(0),
        }));
        progress.step(number as u64);
    }
    Ok(devices)
}

enum Activating {
    Client(ClientError),
    Device(MobsterError),
}

/// Activates over the device's own network. A code whose answer was lost is used up: the next try has a new one.
async fn activate_one(client: &Client, account: &str, app: &Mobster, network: &Network) -> Result<(), Activating> {
    const TRIES: u32 = 5;
    let mut tried = 0;
    loop {
        tried += 1;
        let code = client.create_code(account).await.map_err(Activating::Client)?.code;
        match app.activate(&network.url(client.pin()), Credentials::Code(code)).await {
            Err(MobsterError::Unreachable { .. }) if tried < TRIES => {}
            result => return result.map_err(Activating::Device),
        }
    }
}

fn device_name(number: usize) -> String {
    format!("device-{number:02}")
}

async fn first_commit(
    devices: &[Arc<Device>],
    channels: &[ChannelView],
    progress: &dyn Progress,
) -> Result<(), SimulateError> {
    progress.phase("first sync", devices.len() as u64);
    for (n, device) in devices.iter().enumerate() {
        let mut state = device.app.state();
        let live = state.wait_for(|state| *state == ConnectionState::Live);
        let came = tokio::time::timeout(SETTLE_WITHIN, live).await;
        if !matches!(came, Ok(Ok(_))) {
            let message = format!("it was not live within {} s", SETTLE_WITHIN.as_secs());
            return Err(SimulateError::Device { device: device.number, what: "connect", message });
        }
        device
            .app
            .create_backend_views()
            .await
            .map_err(|error| device_error(device.number, "make its views", &error))?;
        progress.step(n as u64 + 1);
    }
    tracing::debug!(channels = channels.len(), "every device is live");
    Ok(())
}

async fn write(
    devices: &[Arc<Device>],
    plan: &Plan,
    channels: &[ChannelView],
    entropy: &Entropy,
    (started, run): (Instant, &str),
    progress: &dyn Progress,
) -> Result<(), SimulateError> {
    progress.phase("writing", plan.duration.as_secs());
    let ends = started + plan.duration;
    let mut lives = Vec::with_capacity(devices.len());
    for device in devices {
        // A channel of which its account may see nothing has no table there.
        let held = device.app.schemas().await.map_err(|error| device_error(device.number, "read its file", &error))?;
        let mut schemas = schemas(channels);
        schemas.retain(|schema| held.iter().any(|held| held.channel == schema.channel));
        let writer = Writer::new(schemas, Entropy::seeded(entropy.u64()), device.number, run);
        lives.push(live_its_life(device.clone(), writer, plan.clone(), started, ends));
    }
    let clock = async {
        while Instant::now() < ends {
            progress.step(started.elapsed().as_secs());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    };
    let lives = futures_util::future::try_join_all(lives);
    let (lived, ticked) = tokio::join!(lives, clock);
    lived?;
    ticked
}

fn schemas(channels: &[ChannelView]) -> Vec<ChannelSchema> {
    channels.iter().filter(|channel| channel.paused.is_none()).map(|channel| channel.schema.clone()).collect()
}

/// Writes at its rate, and goes offline once, at a moment of its own.
async fn live_its_life(
    device: Arc<Device>,
    writer: Writer,
    plan: Plan,
    started: Instant,
    ends: Instant,
) -> Result<(), SimulateError> {
    let offline = plan.offline.min(plan.duration.mul_f64(0.9));
    let slack = (plan.duration - offline).as_millis() as u64;
    let dark_from = started + Duration::from_millis(slack / 10 + writer.below(slack * 8 / 10 + 1));
    let dark_until = dark_from + offline;
    let mean_ms = (1000.0 / plan.rate).max(1.0);
    let writer = Arc::new(std::sync::Mutex::new(writer));
    let reader = Arc::new(std::sync::Mutex::new(open_reader(&device)?));
    while Instant::now() < ends {
        let now = Instant::now();
        let dark = !offline.is_zero() && now >= dark_from && now < dark_until;
        if dark != device.dark.load(Ordering::Relaxed) {
            device.set_dark(dark);
        }
        write_once(&device, &writer, &reader).await?;
        let pause = {
            let writer = writer.lock().expect("nobody panics while planning a write");
            writer.below((2.0 * mean_ms) as u64 + 1)
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    device.set_dark(false);
    Ok(())
}

async fn write_once(
    device: &Arc<Device>,
    writer: &Arc<std::sync::Mutex<Writer>>,
    reader: &Arc<std::sync::Mutex<Connection>>,
) -> Result<(), SimulateError> {
    let failed = |message: String| SimulateError::Device { device: device.number, what: "write", message };
    let (planning, reading) = (writer.clone(), reader.clone());
    let planned = Tasks::blocking(move || {
        let mut writer = planning.lock().expect("nobody panics while planning a write");
        writer.next(&reading.lock().expect("nobody panics while reading"))
    })
    .await
    .map_err(|error| failed(error.to_string()))?;
    let Some(planned) = planned else { return Ok(()) };
    let (sql, parameters) = (planned.sql, planned.parameters);
    let saved = device.app.transaction(move |tx| tx.execute(&sql, rusqlite::params_from_iter(parameters))).await;
    match saved {
        Ok(_) => Ok(()),
        Err(error) => {
            // A trigger of the channel says no: that is an answer, too.
            tracing::debug!(%error, device = device.number, "a write was refused on the device");
            device.refused_here.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
}

/// Measures, again and again, how long a write on one device takes to be visible in another's file.
async fn probe(
    devices: &[Arc<Device>],
    channels: &[ChannelView],
    entropy: &Entropy,
    run: &str,
    ends: Instant,
) -> Result<Vec<f64>, SimulateError> {
    let mut latencies = Vec::new();
    let schemas = schemas(channels);
    let marked: Vec<(ChannelName, String, u32)> = schemas
        .iter()
        .filter_map(|schema| {
            let field = workload::mark_field(schema)?;
            Some((schema.channel.clone(), field.name.clone(), field.max_length.unwrap_or(40)))
        })
        .collect();
    if devices.len() < 2 || marked.is_empty() {
        return Ok(latencies);
    }
    let entropy = Entropy::seeded(entropy.u64());
    let mut probed = 0u64;
    while Instant::now() + PROBE_EVERY < ends {
        tokio::time::sleep(PROBE_EVERY).await;
        let from = &devices[entropy.u64() as usize % devices.len()];
        let to = &devices[entropy.u64() as usize % devices.len()];
        let (channel, field, most) = &marked[entropy.u64() as usize % marked.len()];
        if !has_table(from, channel)? || !has_table(to, channel)? {
            continue;
        }
        // One that is on its way back waits for its next try to connect: how long says nothing of a change's way.
        let is_live = |device: &Device| {
            !device.dark.load(Ordering::Relaxed) && *device.app.state().borrow() == ConnectionState::Live
        };
        if from.number == to.number || !is_live(from) || !is_live(to) {
            continue;
        }
        probed += 1;
        let mark: String = format!("op{run}{}x{probed}", from.number).chars().take(*most as usize).collect();
        let pick = entropy.u64();
        if let Some(latency) = probe_once(from, to, channel, field, mark, pick).await? {
            latencies.push(latency);
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// Whether a device has a channel's table: not where its account may see nothing of it.
fn has_table(device: &Device, channel: &ChannelName) -> Result<bool, SimulateError> {
    let found = open_reader(device)?.table_exists(None, channel.as_str());
    found.map_err(|error| SimulateError::Device {
        device: device.number,
        what: "read its file",
        message: error.to_string(),
    })
}

async fn probe_once(
    from: &Arc<Device>,
    to: &Arc<Device>,
    channel: &ChannelName,
    field: &str,
    mark: String,
    pick: u64,
) -> Result<Option<f64>, SimulateError> {
    let table = workload::quote(channel.as_str());
    let column = workload::quote(field);
    let (sql_table, sql_column, text) = (table.clone(), column.clone(), mark.clone());
    let written = from
        .app
        .transaction(move |tx| {
            use rusqlite::OptionalExtension as _;
            let top: Option<i64> =
                tx.query_row(&format!("SELECT max(rowid) FROM {sql_table}"), [], |row| row.get(0))?;
            let Some(top) = top.filter(|top| *top > 0) else { return Ok(None) };
            let place = (pick % top as u64) as i64 + 1;
            let id: Option<String> = tx
                .query_row(
                    &format!("SELECT id FROM {sql_table} WHERE rowid >= ?1 ORDER BY rowid LIMIT 1"),
                    [place],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            tx.execute(&format!("UPDATE {sql_table} SET {sql_column} = ?1 WHERE id = ?2"), (&text, &id))?;
            Ok(Some(id))
        })
        .await;
    let began = Instant::now();
    let Ok((Some(id), _)) = written else { return Ok(None) };
    let reader = open_reader(to)?;
    let seen = Tasks::blocking(move || {
        let sql = format!("SELECT 1 FROM {table} WHERE id = ?1 AND {column} = ?2");
        while began.elapsed() < PROBE_WITHIN {
            if reader.prepare_cached(&sql).and_then(|mut statement| statement.exists((&id, &mark))).unwrap_or(false) {
                return Some(began.elapsed().as_secs_f64() * 1000.0);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    let seen = seen.await;
    // Who was offline in between says nothing about how fast a change travels.
    let was_dark = from.dark.load(Ordering::Relaxed) || to.dark.load(Ordering::Relaxed);
    let went_dark = [from, to].iter().any(|device| device.dark_since(began));
    Ok(seen.filter(|_| !was_dark && !went_dark))
}

/// Waits until no device has anything left to send. Whether that came about.
async fn drain(client: &Client, devices: &[Arc<Device>], outcasts: &mut Outcasts) -> Result<bool, SimulateError> {
    let until = Instant::now() + SETTLE_WITHIN;
    for device in devices {
        loop {
            outcasts.bring_back(client, devices).await;
            let stats = device.app.stats().await.map_err(|error| device_error(device.number, "count", &error))?;
            if stats.pending == 0 {
                break;
            }
            if Instant::now() > until {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(true)
}

/// Devices that the server does not take any more, because it was set back to before it knew them.
#[derive(Default)]
struct Outcasts {
    /// Each with what came of activating it again.
    tried: std::collections::BTreeMap<usize, Option<String>>,
}

impl Outcasts {
    /// Activates them again, once each, as their users would.
    async fn bring_back(&mut self, client: &Client, devices: &[Arc<Device>]) {
        for device in devices {
            let is_out = *device.app.state().borrow() == ConnectionState::NeedsActivation;
            if !is_out || self.tried.contains_key(&device.number) {
                continue;
            }
            tracing::warn!(
                device = device.number,
                "the server does not know the device any more; it is activated again"
            );
            let came = match activate_one(client, &device.account, &device.app, &device.network).await {
                Ok(()) => None,
                Err(Activating::Client(error)) => Some(error.to_string()),
                Err(Activating::Device(error)) => Some(error.to_string()),
            };
            self.tried.insert(device.number, came);
        }
    }

    /// What is to be said of those that stayed outside.
    fn told(&self) -> impl Iterator<Item = String> {
        self.tried.iter().filter_map(|(number, came)| {
            Some(format!(
                "device {number} is unknown to the server and could not be activated again: {}",
                came.as_ref()?
            ))
        })
    }
}

/// A second connection to a device's file, that only reads.
fn open_reader(device: &Device) -> Result<Connection, SimulateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&device.path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    };
    open().map_err(|error| SimulateError::Device {
        device: device.number,
        what: "open its file",
        message: error.to_string(),
    })
}

fn scratch_folder() -> Result<PathBuf, SimulateError> {
    let mut path = std::env::temp_dir();
    path.push(format!("omctl-fleet-{}", uuid::Uuid::from_u128(u128::from(Entropy::System.u64()))));
    std::fs::create_dir_all(&path).map_err(|error| io("make a scratch folder", &error))?;
    Ok(path)
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
