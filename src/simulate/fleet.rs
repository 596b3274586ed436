//! The devices of a fleet: made, activated, brought to their first commit, killed and started again, emptied at the end.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use omctl_device::ConnectionState;
use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelName, Position};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::app::{Answer, App, AppError, Ask};
use super::log::{Entry, Fate, What};
use super::network::{self, Gate, Network};
use super::watch::{self, Eye};
use super::{Crew, Plan, Progress, SETTLE_WITHIN, SimulateError, io};
use crate::client::{Client, ClientError};
use crate::clock::Entropy;
use crate::limits;
use crate::tasks::Tasks;

const UNPOISONED: &str = "nobody panics while holding this lock";

/// How many records a device watches, the latest written ones.
const WATCHED_MAX: usize = 24;

/// How long a dropped app's threads may take to end.
const DROPPED_WITHIN: Duration = Duration::from_secs(5);

/// After it is dropped, for what its threads still have in hand.
const DROPPED_REST: Duration = Duration::from_millis(200);

/// One simulated device.
pub(super) struct Device {
    pub(super) number: usize,
    pub(super) crew: String,
    pub(super) account: String,
    pub(super) path: PathBuf,
    pub(super) network: Network,
    /// How its app is started, where that is a process of its own.
    command: Option<Vec<OsString>>,
    tasks: Tasks,
    /// `None` while it is killed.
    app: Mutex<Option<Arc<App>>>,
    /// A second connection to its file, that only reads.
    reader: Mutex<Option<Connection>>,
    dark: AtomicBool,
    /// When it was offline last.
    last_dark: Mutex<Option<Instant>>,
    started: Instant,
    log: Mutex<Vec<Entry>>,
    watched: Mutex<VecDeque<(ChannelName, String)>>,
    /// By how much its clock is ahead.
    pub(super) ahead_ms: AtomicI64,
    /// Writes that its own triggers refused.
    pub(super) refused_here: AtomicU64,
    /// One fault at a time.
    pub(super) fault: tokio::sync::Mutex<()>,
    /// One write at a time, with its note: the log has the order of the transactions.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Receipts that its file held before this run.
    pub(super) known_before: std::sync::OnceLock<HashSet<String>>,
    /// What it showed when it was looked at last.
    pub(super) eye: Mutex<Eye>,
    /// What it shows at a glance.
    pub(super) gauges: Gauges,
}

/// Numbers of a device that change all the time.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Writes without a receipt.
    pub(super) queued: AtomicU64,
    pub(super) settled: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) rejected: AtomicU64,
}

impl Device {
    pub(super) fn name(&self) -> String {
        device_name(self.number)
    }

    /// Its app; [`AppError`] while it is killed.
    pub(super) fn app(&self) -> Result<Arc<App>, AppError> {
        let app = self.app.lock().expect(UNPOISONED).clone();
        app.ok_or_else(|| AppError { message: "its app does not run".to_owned(), unreachable: false, gone: true })
    }

    pub(super) fn failed(&self, what: &'static str) -> impl Fn(AppError) -> SimulateError + Copy + use<> {
        let device = self.number;
        move |error| SimulateError::Device { device, what, message: error.message }
    }

    /// Opens its file, where its app does not run.
    async fn open(&self) -> Result<Arc<App>, AppError> {
        let opened = match &self.command {
            Some(command) => App::open_there(command, &self.path, &self.name(), &self.tasks),
            None => {
                let (path, name) = (self.path.clone(), self.name());
                Tasks::blocking(move || App::open_here(&path, &name)).await
            }
        };
        let app = Arc::new(opened?);
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        if ahead_ms != 0 {
            app.ask(Ask::Ahead(ahead_ms)).await?;
        }
        *self.app.lock().expect(UNPOISONED) = Some(app.clone());
        Ok(app)
    }

    /// Starts its app again.
    pub(super) async fn start_again(&self) -> Result<(), SimulateError> {
        self.open().await.map(drop).map_err(self.failed("start again"))
    }

    /// Ends its app without a word; whether that was a process.
    pub(super) async fn kill(&self) -> bool {
        let Some(app) = self.app.lock().expect(UNPOISONED).take() else { return false };
        let is_process = app.is_process();
        self.note(What::Went(if is_process { Fate::Killed } else { Fate::Dropped }));
        app.kill().await;
        self.let_go(app).await;
        is_process
    }

    /// Ends its app as its user would.
    pub(super) async fn close(&self) {
        let Some(app) = self.app.lock().expect(UNPOISONED).take() else { return };
        app.close().await;
        self.let_go(app).await;
    }

    /// Waits until nobody has a hand on an app of this process any more.
    async fn let_go(&self, app: Arc<App>) {
        if app.is_process() {
            return;
        }
        let until = Instant::now() + DROPPED_WITHIN;
        while Arc::strong_count(&app) > 1 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(app);
        tokio::time::sleep(DROPPED_REST).await;
    }

    /// Copies its file as it is now; the copy is what [`Device::set_back`] brings back.
    pub(super) async fn back_up(self: &Arc<Self>) -> Result<(), SimulateError> {
        let device = self.clone();
        let copied = Tasks::blocking(move || {
            device.read(|connection| {
                let mut copy = Connection::open(device.backup_path())?;
                rusqlite::backup::Backup::new(connection, &mut copy)?.run_to_completion(1_000, Duration::ZERO, None)
            })
        });
        copied.await
    }

    /// Ends the app, brings the copy back and starts it again: a phone that is restored from its own backup.
    pub(super) async fn set_back(self: &Arc<Self>) -> Result<(), SimulateError> {
        if !self.backup_path().exists() {
            let message = "it made none".to_owned();
            return Err(SimulateError::Device { device: self.number, what: "go back to its backup", message });
        }
        self.close().await;
        // What was under way is noted before what it goes back to.
        let _alone = self.writing.lock().await;
        let device = self.clone();
        let brought = Tasks::blocking(move || {
            // Nobody looks meanwhile; and what it shows from then on was not seen before.
            let mut eye = device.eye.lock().expect(UNPOISONED);
            let mut reader = device.reader.lock().expect(UNPOISONED);
            reader.take();
            let bring = || -> rusqlite::Result<()> {
                let copy = Connection::open(device.backup_path())?;
                let mut file = Connection::open(&device.path)?;
                file.busy_timeout(Duration::from_secs(5))?;
                rusqlite::backup::Backup::new(&copy, &mut file)?.run_to_completion(1_000, Duration::ZERO, None)
            };
            let brought = bring();
            *eye = Eye::default();
            device.note(What::Went(Fate::SetBack));
            brought
        });
        brought.await.map_err(|error| SimulateError::Device {
            device: self.number,
            what: "bring its backup back",
            message: error.to_string(),
        })?;
        self.start_again().await
    }

    fn backup_path(&self) -> PathBuf {
        self.path.with_extension("backup.db")
    }

    pub(super) fn set_dark(&self, dark: bool) {
        let was = self.dark.swap(dark, Ordering::Relaxed);
        if dark || was {
            *self.last_dark.lock().expect(UNPOISONED) = Some(Instant::now());
        }
        self.network.set_dark(dark);
    }

    pub(super) fn state(&self) -> ConnectionState {
        self.app().map_or(ConnectionState::Offline, |app| *app.state().borrow())
    }

    /// Whether its app runs.
    pub(super) fn is_up(&self) -> bool {
        self.app.lock().expect(UNPOISONED).is_some()
    }

    /// Whether it is online, and the server knows it.
    pub(super) fn is_live(&self) -> bool {
        !self.is_dark() && self.state() == ConnectionState::Live
    }

    pub(super) fn is_dark(&self) -> bool {
        self.dark.load(Ordering::Relaxed) || !self.network.is_open()
    }

    /// Whether it was offline at some time since then.
    pub(super) fn dark_since(&self, then: Instant) -> bool {
        self.last_dark.lock().expect(UNPOISONED).is_some_and(|last| last >= then)
    }

    /// Adds to its log.
    pub(super) fn note(&self, what: What) {
        let mut log = self.log.lock().expect(UNPOISONED);
        log.push(Entry { at: self.started.elapsed(), what });
    }

    pub(super) fn log(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.log.lock().expect(UNPOISONED)
    }

    /// Since the fleet's start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Watches a record from now on.
    pub(super) fn watch(&self, channel: &ChannelName, record: &str) {
        let mut watched = self.watched.lock().expect(UNPOISONED);
        watched.retain(|(one, id)| !(one == channel && id == record));
        watched.push_back((channel.clone(), record.to_owned()));
        if watched.len() > WATCHED_MAX {
            watched.pop_front();
        }
    }

    pub(super) fn watched(&self) -> Vec<(ChannelName, String)> {
        self.watched.lock().expect(UNPOISONED).iter().cloned().collect()
    }

    /// Reads in its file, on a connection of the fleet's own.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SimulateError> {
        let mut reader = self.reader.lock().expect(UNPOISONED);
        let run = |reader: &mut Option<Connection>| {
            let connection = match reader {
                Some(connection) => connection,
                none => none.insert(open_reader(&self.path)?),
            };
            work(connection)
        };
        run(&mut reader).map_err(|error| SimulateError::Device {
            device: self.number,
            what: "read its file",
            message: error.to_string(),
        })
    }

    /// Up to where the server's history was kept when it was set back, as far as the device knows.
    pub(super) fn parted(&self) -> Result<Option<Position>, SimulateError> {
        let kept: Option<i64> = self.read(|connection| {
            let sql = "SELECT value FROM om_state WHERE key = 'kept'";
            connection.query_row(sql, [], |row| row.get(0)).optional()
        })?;
        Ok(kept.map(|position| Position(position.unsigned_abs())))
    }

    /// Whether it has a channel's table: not where its account may see nothing of it.
    pub(super) fn has_table(&self, channel: &ChannelName) -> Result<bool, SimulateError> {
        self.read(|connection| connection.table_exists(None, channel.as_str()))
    }
}

/// A connection that only reads.
fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // There may be a thousand of them.
    connection.pragma_update(None, "cache_size", -64)?;
    Ok(connection)
}

/// Makes the devices, each with its file and its network. The first `plan.processes` of them, taken in turn from the crews,
/// are processes of their own.
pub(super) async fn activate(
    folder: &Path,
    client: &Client,
    plan: &Plan,
    (entropy, started): (&Entropy, Instant),
    tasks: &Tasks,
    progress: &dyn Progress,
) -> Result<Vec<Arc<Device>>, SimulateError> {
    let members: Vec<(&Crew, usize)> =
        plan.crews.iter().flat_map(|crew| (0..crew.devices).map(move |n| (crew, n))).collect();
    // Who comes first in each crew comes first of all: so the processes are spread over the crews.
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|place| members[*place].1);
    let processes: Vec<usize> = order.into_iter().take(plan.processes).collect();
    progress.phase("activating", members.len() as u64);
    let target = address_of(client)?;
    let mut devices = Vec::with_capacity(members.len());
    for (place, (crew, n)) in members.into_iter().enumerate() {
        let number = place + 1;
        let capture = plan.capture.as_ref().map(|folder| folder.join(device_name(number)));
        // Who begins on a plane was activated before.
        let begins = Some(network::profile(crew.link)).filter(|profile| profile.gate == Gate::Open);
        let begins = begins.unwrap_or(network::WIFI);
        let network = Network::start(target, begins, Entropy::seeded(entropy.u64()), capture, tasks)
            .await
            .map_err(|error| io("listen", &error))?;
        let device = Arc::new(Device {
            number,
            crew: crew.name.clone(),
            account: crew.accounts[n % crew.accounts.len()].clone(),
            path: folder.join(format!("{}.db", device_name(number))),
            network,
            command: processes.contains(&place).then(|| plan.command.clone()),
            tasks: tasks.clone(),
            app: Mutex::default(),
            reader: Mutex::default(),
            dark: AtomicBool::new(false),
            last_dark: Mutex::default(),
            started,
            log: Mutex::default(),
            watched: Mutex::default(),
            ahead_ms: AtomicI64::new(0),
            refused_here: AtomicU64::new(0),
            fault: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            known_before: std::sync::OnceLock::new(),
            eye: Mutex::default(),
            gauges: Gauges::default(),
        });
        let app = device.open().await.map_err(device.failed("open its file"))?;
        let known = app.ask(Ask::IsActivated).await.map_err(device.failed("read its file"))?;
        if matches!(known, Answer::Truth(true)) {
            // A file that an earlier fleet kept goes on, through the network of this one.
            let url = device.network.url(client.pin());
            app.ask(Ask::UseServer { url }).await.map_err(device.failed("use its network"))?;
        } else {
            activate_one(client, &device).await.map_err(|error| match error {
                Activating::Client(error) => error.into(),
                Activating::App(error) => device.failed("activate")(error),
            })?;
        }
        devices.push(device);
        progress.step(number as u64);
    }
    Ok(devices)
}

/// Where a server listens.
pub(super) fn address_of(client: &Client) -> Result<SocketAddr, SimulateError> {
    let url = client.url().trim_start_matches("https://").trim_start_matches("http://");
    url.parse().map_err(|error: std::net::AddrParseError| io("find the server's address", &error))
}

enum Activating {
    Client(ClientError),
    App(AppError),
}

/// Activates over the device's own network. A code whose answer was lost is used up: the next try has a new one.
async fn activate_one(client: &Client, device: &Device) -> Result<(), Activating> {
    const TRIES: u32 = 5;
    let app = device.app().map_err(Activating::App)?;
    let url = device.network.url(client.pin());
    let mut tried = 0;
    loop {
        tried += 1;
        let code = client.create_code(&device.account).await.map_err(Activating::Client)?.code;
        match app.ask(Ask::Activate { url: url.clone(), code }).await {
            Err(error) if error.unreachable && tried < TRIES => {}
            result => return result.map(drop).map_err(Activating::App),
        }
    }
}

pub(super) fn device_name(number: usize) -> String {
    format!("device-{number:02}")
}

pub(super) async fn first_commit(
    devices: &[Arc<Device>],
    channels: &[ChannelView],
    progress: &dyn Progress,
) -> Result<(), SimulateError> {
    progress.phase("first sync", devices.len() as u64);
    for (n, device) in devices.iter().enumerate() {
        let app = device.app().map_err(device.failed("connect"))?;
        let mut state = app.state();
        let live = state.wait_for(|state| *state == ConnectionState::Live);
        let came = tokio::time::timeout(SETTLE_WITHIN, live).await;
        if !matches!(came, Ok(Ok(_))) {
            let message = format!("it was not live within {} s", SETTLE_WITHIN.as_secs());
            return Err(SimulateError::Device { device: device.number, what: "connect", message });
        }
        app.ask(Ask::Views).await.map_err(device.failed("make its views"))?;
        // A file that an earlier fleet kept has receipts of that one.
        let held = device.clone();
        let held = Tasks::blocking(move || held.read(|connection| watch::read_settled(connection, |_| true))).await?;
        // It is noted once for each device.
        drop(device.known_before.set(held.into_iter().map(|(id, ..)| id).collect()));
        progress.step(n as u64 + 1);
    }
    tracing::debug!(channels = channels.len(), "every device is live");
    Ok(())
}

/// Waits until no device has anything left to send. Whether that came about.
pub(super) async fn drain(
    client: &Client,
    devices: &[Arc<Device>],
    outcasts: &mut Outcasts,
) -> Result<bool, SimulateError> {
    // After a server was set back, what stands on a create that is nowhere waits for whoever may offer it again.
    let parted = devices.iter().map(|device| device.parted()).collect::<Result<Vec<_>, _>>()?;
    let patience = if parted.iter().any(Option::is_some) { limits::OFFERED_WAIT } else { Duration::ZERO };
    let until = Instant::now() + SETTLE_WITHIN + patience;
    for device in devices {
        loop {
            outcasts.bring_back(client, devices).await;
            let count = async { device.app()?.pending().await };
            // A process that hangs never answers; one that died is started again by whoever killed it.
            match tokio::time::timeout(until.saturating_duration_since(Instant::now()), count).await {
                Ok(Ok(0)) => break,
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.gone => {}
                Ok(Err(error)) => return Err(device.failed("count")(error)),
                Err(_) => return Ok(false),
            }
            if Instant::now() > until {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(true)
}

/// Devices that the server does not take any more, because it or they were set back to before they knew each other.
#[derive(Default)]
pub(super) struct Outcasts {
    /// Each with what came of activating it again.
    tried: BTreeMap<usize, Option<String>>,
}

impl Outcasts {
    /// Activates them again, once each, as their users would.
    pub(super) async fn bring_back(&mut self, client: &Client, devices: &[Arc<Device>]) {
        for device in devices {
            if device.state() != ConnectionState::NeedsActivation || self.tried.contains_key(&device.number) {
                continue;
            }
            tracing::warn!(
                device = device.number,
                "the server does not know the device any more; it is activated again"
            );
            let came = match activate_one(client, device).await {
                Ok(()) => None,
                Err(Activating::Client(error)) => Some(error.to_string()),
                Err(Activating::App(error)) => Some(error.to_string()),
            };
            self.tried.insert(device.number, came);
        }
    }

    /// What is to be said of those that stayed outside.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        self.tried.iter().filter_map(|(number, came)| {
            Some(format!(
                "device {number} is unknown to the server and could not be activated again: {}",
                came.as_ref()?
            ))
        })
    }
}
