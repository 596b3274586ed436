//! The devices of a fleet: made, activated, brought to their first commit, emptied at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use omctl_device::{ConnectionState, Credentials, Mobster, MobsterError};
use omctl_protocol::ChannelName;
use omctl_protocol::admin::ChannelView;
use rusqlite::{Connection, OpenFlags};

use super::network::{self, Gate, Network};
use super::{Crew, Plan, Progress, SETTLE_WITHIN, SimulateError, device_error, io};
use crate::client::{Client, ClientError};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// One simulated device.
pub(super) struct Device {
    pub(super) number: usize,
    pub(super) crew: String,
    pub(super) account: String,
    path: PathBuf,
    pub(super) app: Mobster,
    pub(super) network: Network,
    dark: AtomicBool,
    /// When it was offline last.
    last_dark: std::sync::Mutex<Option<Instant>>,
    /// Writes that its own triggers refused.
    pub(super) refused_here: AtomicU64,
}

impl Device {
    pub(super) fn set_dark(&self, dark: bool) {
        if dark || self.dark.load(Ordering::Relaxed) {
            *self.last_dark.lock().expect("nobody panics while noting a time") = Some(Instant::now());
        }
        self.dark.store(dark, Ordering::Relaxed);
        self.network.set_dark(dark);
    }

    /// Whether it is online, and the server knows it.
    pub(super) fn is_live(&self) -> bool {
        !self.is_dark() && *self.app.state().borrow() == ConnectionState::Live
    }

    pub(super) fn is_dark(&self) -> bool {
        self.dark.load(Ordering::Relaxed) || !self.network.is_open()
    }

    /// Whether it was offline at some time since then.
    pub(super) fn dark_since(&self, then: Instant) -> bool {
        self.last_dark.lock().expect("nobody panics while noting a time").is_some_and(|last| last >= then)
    }
}

pub(super) async fn activate(
    folder: &Path,
    client: &Client,
    plan: &Plan,
    entropy: &Entropy,
    tasks: &Tasks,
    progress: &dyn Progress,
) -> Result<Vec<Arc<Device>>, SimulateError> {
    let members: Vec<(&Crew, &String)> = (plan.crews.iter())
        .flat_map(|crew| (0..crew.devices).map(move |n| (crew, &crew.accounts[n % crew.accounts.len()])))
        .collect();
    progress.phase("activating", members.len() as u64);
    let target = address_of(client)?;
    let mut devices = Vec::with_capacity(members.len());
    for (n, (crew, account)) in members.into_iter().enumerate() {
        let number = n + 1;
        let failed = |what| move |error: MobsterError| device_error(number, what, &error);
        let capture = plan.capture.as_ref().map(|folder| folder.join(device_name(number)));
        // Who begins on a plane was activated before.
        let begins = Some(network::profile(crew.link)).filter(|profile| profile.gate == Gate::Open);
        let begins = begins.unwrap_or(network::WIFI);
        let network = Network::start(target, begins, Entropy::seeded(entropy.u64()), capture, tasks)
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
            activate_one(client, account, &app, &network).await.map_err(|error| match error {
                Activating::Client(error) => error.into(),
                Activating::Device(error) => device_error(number, "activate", &error),
            })?;
        }
        devices.push(Arc::new(Device {
            number,
            crew: crew.name.clone(),
            account: account.clone(),
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

/// Where a server listens.
pub(super) fn address_of(client: &Client) -> Result<SocketAddr, SimulateError> {
    let url = client.url().trim_start_matches("https://").trim_start_matches("http://");
    url.parse().map_err(|error: std::net::AddrParseError| io("find the server's address", &error))
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

/// Whether a device has a channel's table: not where its account may see nothing of it.
pub(super) fn has_table(device: &Device, channel: &ChannelName) -> Result<bool, SimulateError> {
    let found = open_reader(device)?.table_exists(None, channel.as_str());
    found.map_err(|error| SimulateError::Device {
        device: device.number,
        what: "read its file",
        message: error.to_string(),
    })
}

/// Waits until no device has anything left to send. Whether that came about.
pub(super) async fn drain(
    client: &Client,
    devices: &[Arc<Device>],
    outcasts: &mut Outcasts,
) -> Result<bool, SimulateError> {
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
pub(super) struct Outcasts {
    /// Each with what came of activating it again.
    tried: std::collections::BTreeMap<usize, Option<String>>,
}

impl Outcasts {
    /// Activates them again, once each, as their users would.
    pub(super) async fn bring_back(&mut self, client: &Client, devices: &[Arc<Device>]) {
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
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        self.tried.iter().filter_map(|(number, came)| {
            Some(format!(
                "device {number} is unknown to the server and could not be activated again: {}",
                came.as_ref()?
            ))
        })
    }
}

/// A second connection to a device's file, that only reads.
pub(super) fn open_reader(device: &Device) -> Result<Connection, SimulateError> {
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
