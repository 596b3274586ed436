//! A device: the real engine over a database in memory that outlives the app's process. What its user does is in `user`.

mod user;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use omctl::store::DeviceNo;
use omctl_device::{Action, Engine, Event, Store, StoreError, StoreOptions};
use omctl_protocol::{AccountId, DeviceId};
use rusqlite::Connection;
use rusqlite::backup::Backup;

pub(crate) use self::user::MARKED;
use crate::rng::Rng;

pub(crate) struct Device {
    pub(crate) index: usize,
    pub(crate) account: usize,
    pub(crate) number: DeviceNo,
    /// What its clock is ahead of the server's, in milliseconds.
    pub(crate) skew_ms: i64,
    /// How many of a hundred connections are single requests.
    pub(crate) one_shot: u64,
    pub(crate) conn: Option<u64>,
    pub(crate) request: Option<u64>,
    options: StoreOptions,
    rng: Rng,
    engine: Option<Engine>,
    /// The file, while no app is running.
    file: Option<Connection>,
    /// What a power cut leaves for sure.
    durable: Option<Connection>,
    /// Commits until the app dies in the middle of one; negative: it does not.
    dies_in: Arc<AtomicI64>,
    marks: u64,
}

impl Device {
    pub(crate) fn new(index: usize, account: usize, rng: Rng) -> Self {
        let options = StoreOptions { entropy: omctl_device::Entropy::seeded(rng.u64()), ..StoreOptions::default() };
        let skews = [0, 0, 3_600_000, -86_400_000, 315_360_000_000];
        let mut device = Self {
            index,
            account,
            number: DeviceNo(index as u64 + 1),
            skew_ms: *rng.pick(&skews),
            one_shot: *rng.pick(&[0, 10, 60]),
            conn: None,
            request: None,
            options,
            rng,
            engine: None,
            file: Some(Connection::open_in_memory().expect("memory is there")),
            durable: None,
            dies_in: Arc::new(AtomicI64::new(-1)),
            marks: 0,
        };
        device.start().expect("an empty file becomes a store");
        let (id, account) = (device_id(index), account_id(account));
        device.engine().store_mut().activate(id, account).expect("a store can be activated");
        device.keep_durable();
        device
    }

    pub(crate) fn is_running(&self) -> bool {
        self.engine.is_some()
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the app is running")
    }

    pub(crate) fn store(&self) -> &Store {
        self.engine.as_ref().expect("the app is running").store()
    }

    pub(crate) fn state(&self) -> omctl_device::ConnectionState {
        self.engine.as_ref().map(Engine::state).unwrap_or_default()
    }

    /// Starts the app over what is in the file. `false`: it died in a commit of its start.
    pub(crate) fn start(&mut self) -> Result<bool, StoreError> {
        let mut file = self.file.take().expect("the app is not running");
        let dies_in = self.dies_in.clone();
        file.commit_hook(Some(move || {
            dies_in.load(Ordering::Relaxed) >= 0 && dies_in.fetch_sub(1, Ordering::Relaxed) == 0
        }))?;
        let before = copy(&file);
        match Store::from_connection(file, self.options.clone()) {
            Ok(store) => self.engine = Some(Engine::new(store)),
            // The connection is gone with the error; its commits so far are those of a file just opened.
            Err(_) if self.dies_in.load(Ordering::Relaxed) < 0 => self.file = Some(before),
            Err(error) => return Err(error),
        }
        Ok(self.engine.is_some())
    }

    /// Lets the app die in the middle of one of its next commits.
    pub(crate) fn die_in(&self, commits: i64) {
        self.dies_in.store(commits, Ordering::Relaxed);
    }

    /// Ends the app as a crash does: what was committed stays, and nothing else.
    pub(crate) fn kill(&mut self) {
        self.dies_in.store(-1, Ordering::Relaxed);
        self.conn = None;
        self.request = None;
        if let Some(engine) = self.engine.take() {
            self.file = Some(engine.into_store().into_connection());
        }
    }

    /// Ends the app and sets its file back to what was surely on the disk.
    pub(crate) fn cut_power(&mut self) {
        self.kill();
        let durable = self.durable.as_ref().expect("activation is durable");
        self.file = Some(copy(durable));
    }

    /// From here on a power cut does not take away what is in the file now.
    fn keep_durable(&mut self) {
        let now = copy(self.store().connection());
        self.durable = Some(now);
    }

    /// Tells the engine. An error is a crash in the middle of a commit.
    pub(crate) fn handle(&mut self, now_ms: i64, event: Event<'_>) -> Option<Vec<Action>> {
        let now_ms = now_ms + self.skew_ms;
        match self.engine().handle(now_ms, event) {
            Ok(actions) => {
                // Receipts are committed with FULL, and so is everything before them.
                if actions.iter().any(|action| matches!(action, Action::Settled(_))) {
                    self.keep_durable();
                }
                Some(actions)
            }
            Err(_) => None,
        }
    }
}

fn copy(from: &Connection) -> Connection {
    let mut to = Connection::open_in_memory().expect("memory is there");
    {
        let backup = Backup::new(from, &mut to).expect("a database in memory can be copied");
        backup.step(-1).expect("a database in memory can be copied");
    }
    to
}

fn uuid_v7(rng: &Rng) -> String {
    let bytes = rng.uuid().into_bytes();
    uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000, bytes[..10].try_into().expect("ten bytes"))
        .into_uuid()
        .to_string()
}

pub(crate) fn device_id(index: usize) -> DeviceId {
    DeviceId(uuid::Uuid::from_u128(0xd0_0000 + index as u128))
}

pub(crate) fn account_id(index: usize) -> AccountId {
    AccountId(uuid::Uuid::from_u128(0xa0_0000 + index as u128))
}
