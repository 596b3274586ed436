//! A device: the real engine over a database in memory that outlives the app's process, with one connection for the app
//! and one for the engine, as over a file. What its user does is in `user`.

mod user;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use omctl::store::DeviceNo;
use omctl_device::{Action, Engine, Event, Lock, Store, StoreError, StoreOptions};
use omctl_protocol::{AccountId, DeviceId};
use rusqlite::Connection;

pub(crate) use self::user::MARKED;
use crate::memory::{Memory, copy, copy_into, set_full};
use crate::node::{Disk, Spared};
use crate::rng::Rng;

/// The app does not die in a commit.
const ALIVE: i64 = -1;
/// It has died in one: nothing is committed any more.
const DEAD: i64 = -2;

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
    /// When an operator revoked, locked or wiped it.
    pub(crate) barred_at: Option<u64>,
    /// There is no way back from that.
    pub(crate) is_barred_for_good: bool,
    /// The server's last answers to it, a moment after that.
    pub(crate) last_batch: Option<i64>,
    /// It has destroyed its data by order, and may still have to tell the server so.
    pub(crate) is_wiped: bool,
    /// The server refused it: it is not asked for anything any more.
    pub(crate) is_out: bool,
    options: StoreOptions,
    rng: Rng,
    engine: Option<Engine>,
    file: Memory,
    /// Whether power may be cut at all.
    may_lose_power: bool,
    /// What a power cut leaves for sure.
    durable: Option<(Connection, usize)>,
    /// Commits until the app dies in the middle of one; or [`ALIVE`], or [`DEAD`].
    dies_in: Arc<AtomicI64>,
    disk: Arc<Disk>,
    is_full: bool,
    marks: u64,
    /// Writes that it refused, because the app may not touch its data.
    pub(crate) refusals: usize,
    /// How many writes its user has made that are in the file.
    pub(crate) written: usize,
    backup: Option<Backup>,
}

/// A copy of a device's file, and where its outbox stood.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) written: usize,
    pub(crate) incarnation: String,
    pub(crate) last_seq: i64,
}

struct Backup {
    file: Connection,
    standing: Standing,
}

impl Device {
    pub(crate) fn new(index: usize, account: usize, rng: Rng, may_lose_power: bool) -> Self {
        let mut options = StoreOptions { entropy: omctl_device::Entropy::seeded(rng.u64()), ..StoreOptions::default() };
        // A rename costs as much as all the rest of a seed: some devices pay for it.
        if rng.percent(4) {
            options.copy_rows_max = 0;
        }
        let skews = [0, 0, 3_600_000, -86_400_000, 315_360_000_000];
        let mut device = Self {
            index,
            account,
            number: DeviceNo(index as u64 + 1),
            skew_ms: *rng.pick(&skews),
            one_shot: *rng.pick(&[0, 10, 60]),
            conn: None,
            request: None,
            barred_at: None,
            is_barred_for_good: false,
            is_wiped: false,
            last_batch: None,
            is_out: false,
            options,
            rng,
            engine: None,
            file: Memory::new(),
            may_lose_power,
            durable: None,
            dies_in: Arc::new(AtomicI64::new(ALIVE)),
            disk: Arc::default(),
            is_full: false,
            marks: 0,
            refusals: 0,
            written: 0,
            backup: None,
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

    /// Whether it was wiped and has nothing more to say to anybody.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.store().device().is_ok_and(|device| device.is_none()))
    }

    /// Why its app may not touch its data.
    pub(crate) fn engine_lock(&self) -> Result<Option<Lock>, StoreError> {
        self.engine.as_ref().map_or(Ok(None), |engine| engine.store().lock())
    }

    pub(crate) fn state(&self) -> omctl_device::ConnectionState {
        self.engine.as_ref().map(Engine::state).unwrap_or_default()
    }

    /// Starts the app over what is in the file. `false`: it died in a commit of its start.
    pub(crate) fn start(&mut self) -> Result<bool, StoreError> {
        match Store::from_connections(self.connect()?, self.connect()?, self.options.clone()) {
            Ok(store) => self.engine = Some(Engine::new(store)),
            Err(_) if self.is_dying() || self.disk.has_failed() => {}
            Err(error) => return Err(error),
        }
        Ok(self.engine.is_some())
    }

    /// A connection of the app's process to its file.
    fn connect(&self) -> Result<Connection, StoreError> {
        let mut connection = self.file.open();
        let (dies_in, disk) = (self.dies_in.clone(), self.disk.clone());
        connection.commit_hook(Some(move || match dies_in.load(Ordering::Relaxed) {
            DEAD => true,
            0 => {
                dies_in.store(DEAD, Ordering::Relaxed);
                true
            }
            left => {
                dies_in.store((left - 1).max(ALIVE), Ordering::Relaxed);
                disk.commit_fails()
            }
        }))?;
        self.disk.attach_statements(&mut connection);
        let _spared = self.disk.spare();
        set_full(&connection, self.is_full);
        Ok(connection)
    }

    /// Whether what failed last was the app's death.
    pub(crate) fn is_dying(&self) -> bool {
        self.dies_in.load(Ordering::Relaxed) == DEAD
    }

    /// Its disk fails at one of the next statements, or commits.
    pub(crate) fn disk_fails(&self, ticks: i64, commits: i64) {
        self.disk.fail(ticks, commits);
    }

    /// Its disk is full, or not any more. Where it is so from now on, nothing more fits than there is.
    pub(crate) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
        if let Some(engine) = &self.engine {
            let _spared = self.disk.spare();
            set_full(engine.store().reader(), is_full);
            set_full(engine.store().app_connection(), is_full);
        }
        self.disk.note_full(is_full);
    }

    /// While what is returned lives, its disk does not fail.
    pub(crate) fn spare(&self) -> Spared {
        self.disk.spare()
    }

    /// Nothing goes wrong with it any more.
    pub(crate) fn recover(&mut self) {
        if !self.is_dying() {
            self.dies_in.store(ALIVE, Ordering::Relaxed);
        }
        self.disk.fail(-1, -1);
        self.set_full(false);
    }

    /// Lets the app die in the middle of one of its next commits.
    pub(crate) fn die_in(&self, commits: i64) {
        self.dies_in.store(commits, Ordering::Relaxed);
    }

    /// Ends the app as a crash does: what was committed stays, and nothing else.
    pub(crate) fn kill(&mut self) {
        self.dies_in.store(ALIVE, Ordering::Relaxed);
        self.disk.fail(-1, -1);
        self.conn = None;
        self.request = None;
        self.engine = None;
    }

    /// Ends the app and sets its file back to what was surely on the disk. Returns how many writes are left.
    pub(crate) fn cut_power(&mut self) -> usize {
        self.kill();
        let (durable, written) = self.durable.as_ref().expect("its power may be cut, and activation is durable");
        self.file.set_back(durable);
        self.written = *written;
        // A backup has what the user wrote first. One of a time that the phone itself has lost is not one of those.
        self.backup = self.backup.take().filter(|backup| backup.standing.written <= *written);
        *written
    }

    /// Copies the file, unless something of it is not sealed: sealed again after a restore, together with other writes,
    /// it would be another mutation of the same id. Whether there was a copy made.
    pub(crate) fn back_up(&mut self) -> bool {
        let captures = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'om\\_cap\\_%' ESCAPE '\\'";
        let connection = self.store().reader();
        let mut statement = connection.prepare(captures).expect("a query");
        let tables = statement.query_map([], |row| row.get::<_, String>(0)).expect("a query");
        let tables: Vec<String> = tables.collect::<Result<_, _>>().expect("names");
        let is_empty = |table: &String| {
            self.one(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}")).is_some_and(|count| count == "0")
        };
        if !tables.iter().all(is_empty) {
            return false;
        }
        let state = |key: &str| self.one(&format!("SELECT CAST(value AS TEXT) FROM om_state WHERE key = '{key}'"));
        let standing = Standing {
            written: self.written,
            incarnation: state("incarnation").expect("a store has one"),
            last_seq: state("last_seq").map_or(0, |seq| seq.parse().expect("a number")),
        };
        let file = copy(connection);
        drop(statement);
        self.backup = Some(Backup { file, standing });
        true
    }

    pub(crate) fn has_backup(&self) -> bool {
        self.backup.is_some()
    }

    /// Puts the backup in the place of the file; the app is not running.
    pub(crate) fn restore(&mut self) -> Standing {
        let Backup { file, standing } = self.backup.as_ref().expect("there is one");
        self.file.set_back(file);
        self.durable = Some((copy(file), standing.written));
        self.written = standing.written;
        standing.clone()
    }

    /// From here on a power cut does not take away what is in the file now.
    fn keep_durable(&mut self) {
        if !self.may_lose_power {
            return;
        }
        let mut durable = self
            .durable
            .take()
            .map_or_else(|| Connection::open_in_memory().expect("memory is there"), |(durable, _)| durable);
        copy_into(self.store().reader(), &mut durable);
        self.durable = Some((durable, self.written));
    }

    /// Tells the engine. An error is a crash in the middle of a commit.
    pub(crate) fn handle(&mut self, now_ms: i64, event: Event<'_>) -> Option<Vec<Action>> {
        let now_ms = now_ms + self.skew_ms;
        match self.engine().handle(now_ms, event) {
            Ok(actions) => {
                // Receipts are committed with FULL, and so is everything before them.
                // So is what a command orders.
                let is_durable = |action: &Action| {
                    matches!(action, Action::Settled(_) | Action::Locked(Some(Lock::Ordered | Lock::Wiped)))
                };
                if actions.iter().any(is_durable) {
                    self.keep_durable();
                }
                Some(actions)
            }
            Err(_) => None,
        }
    }
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
