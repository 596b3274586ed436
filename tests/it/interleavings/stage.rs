//! Two real device engines and the real rooms of a server in one thread, and many records at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omctl::backend::Backend;
use omctl::backend::sqlite::SqliteBackend;
use omctl::catalog;
use omctl::clock::{Clock, Entropy};
use omctl::http::drive;
use omctl::identity::Identity;
use omctl::live::LiveHandle;
use omctl::push::Push;
use omctl::server::first_generation;
use omctl::store::{DeviceNo, Store};
use omctl::sync::Sync;
use omctl::tasks::Tasks;
use omctl_device::{Engine, Event, Heard, StoreOptions};
use omctl_protocol::frame::parse_frames;
use omctl_protocol::{AccountId, DeviceId, Up};
use rusqlite::{Connection, OpenFlags, params};
use uuid::Uuid;

use super::model::{BEHIND, Channel, FIRST, Record, Row, made, word};
use super::{Op, Place};

/// An exchange that has not brought everything is made again so many times.
const EXCHANGES_MAX: u32 = 50;

/// When it all begins, in milliseconds since 1970, and how far the clock moves at once.
const START_MS: i64 = 1_750_000_000_000;
const STEP_MS: u64 = 100;

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) sequences: u64,
    pub(super) with_lost_replies: u64,
    pub(super) exchanges: u64,
    pub(super) mutations: u64,
    pub(super) applied: u64,
    pub(super) merged: u64,
    pub(super) conflicts: u64,
    pub(super) rejected: u64,
}

type Rows = BTreeMap<String, Row>;

pub(super) struct Stage {
    sync: Sync,
    push: Push,
    identity: Identity,
    store: Arc<Mutex<Connection>>,
    /// Somebody else's connection to the external database.
    shop: Connection,
    engines: [Engine; 2],
    tasks: Tasks,
    clock: Clock,
    records: usize,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

fn project(root: &Path) {
    std::fs::create_dir(root.join("channels")).unwrap();
    let settings = "version: 1\nname: interleavings\nbackends: { shop: { kind: sqlite, path: shop.db } }\n";
    std::fs::write(root.join("openmobster.yaml"), settings).unwrap();
    for channel in Channel::ALL {
        let home = match channel.is_managed {
            true => String::new(),
            false => {
                format!("backend: shop\ntable: {}\nkey: {{ columns: [Id], assigned_by: device }}\n", channel.name)
            }
        };
        let winner = if channel.update_wins { "update_wins" } else { "delete_wins" };
        let text = format!(
            "{home}scope: public\nwrite: {{ create: any, update: any, delete: any }}\ndelete_vs_update: {winner}\n\
             fields:\n  a: {{ type: text }}\n  b: {{ type: text, conflict: client_wins }}\n  \
             n: {{ type: int, conflict: sum }}\n"
        );
        std::fs::write(root.join(format!("channels/{}.yaml", channel.name)), text).unwrap();
    }
}

impl Stage {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        project(folder.path());
        let (catalog, _) = catalog::load(folder.path(), &|_| None, None).unwrap();
        let clock = Clock::manual(START_MS);
        let database = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        let (ours, shop) = shared();
        for channel in Channel::ALL.iter().filter(|channel| !channel.is_managed) {
            let sql = format!("CREATE TABLE {} (Id TEXT PRIMARY KEY, a TEXT, b TEXT, n INTEGER)", channel.name);
            shop.execute_batch(&sql).unwrap();
        }
        let backend = SqliteBackend::inline("shop", Arc::new(Mutex::new(ours))).unwrap().with_clock(clock.clone());
        let outside = catalog.channels.values().filter(|channel| channel.backend == "shop");
        let outside: Vec<_> = outside.map(|channel| Arc::new(omctl::live::collection(&catalog, channel))).collect();
        backend.install(&outside).await.unwrap();
        let (store, feed) = Store::inline(database.clone(), clock.clone(), Entropy::seeded(1), None).unwrap();
        let engines = [0, 1].map(|device| phone(&database, device));
        let identity = Identity::new(store.clone(), clock.clone(), Entropy::seeded(2)).await.unwrap();
        let backends: BTreeMap<String, Arc<dyn Backend>> = [("shop".to_owned(), Arc::new(backend) as _)].into();
        let live = LiveHandle::new(first_generation(&catalog, &store, &backends).await.unwrap());
        let (push, tasks) = (Push::new(), Tasks::new());
        push.start(feed, &tasks);
        let sync = Sync::open(store, live, identity.clone(), tasks.clone()).await.unwrap();
        sync.start().await.unwrap();
        let mut stage = Self { sync, push, identity, store: database, shop, engines, tasks, clock, records: 0 };
        for device in [0, 1] {
            stage.sync(device, &mut Sums::default()).await;
        }
        stage
    }

    /// How many records were tried here.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Plays sequences of one pattern, each on a record of its own, and looks at what became of them.
    pub(super) async fn play(&mut self, pattern: &[Place], sequences: &[(Record, Vec<Op>)], sums: &mut Sums) {
        let first = self.records as u128;
        self.records += sequences.len();
        let mut records: Vec<(String, Record)> = sequences
            .iter()
            .enumerate()
            .map(|(n, (record, _))| (Uuid::from_u128(first + n as u128 + 1).to_string(), record.clone()))
            .collect();
        self.make_shared(&records, sums).await;
        for (place, step) in pattern.iter().enumerate() {
            for ((id, record), (_, ops)) in records.iter_mut().zip(sequences) {
                record.perform(ops[place], place);
                if step.is_none() {
                    self.write(record.channel, id, ops[place], place);
                }
            }
            match *step {
                Some(Op::Sync(device)) => self.sync(device, sums).await,
                Some(Op::ReplyLost(device)) => self.lose_reply(device, sums).await,
                _ => self.let_edits_be_found().await,
            }
        }
        for op in [0, 1, 0, 1].map(Op::Sync) {
            for (_, record) in &mut records {
                record.perform(op, FIRST);
            }
            if let Op::Sync(device) = op {
                self.sync(device, sums).await;
            }
        }
        sums.sequences += sequences.len() as u64;
        if pattern.iter().any(|step| matches!(step, Some(Op::ReplyLost(_)))) {
            sums.with_lost_replies += sequences.len() as u64;
        }
        self.look(sequences, &records, sums);
    }

    /// Both devices hold the records that a sequence begins with.
    async fn make_shared(&mut self, records: &[(String, Record)], sums: &mut Sums) {
        let mut any = false;
        for (id, record) in records.iter().filter(|(_, record)| record.backend.is_some()) {
            self.write(record.channel, id, Op::Create(0), FIRST);
            any = true;
        }
        if any {
            self.sync(0, sums).await;
            self.sync(1, sums).await;
        }
    }

    fn write(&mut self, channel: Channel, id: &str, op: Op, place: usize) {
        let name = channel.name;
        let (device, sql, values) = match op {
            Op::Create(device) => {
                let row = made(place, device);
                let sql = format!("INSERT INTO {name} (id, a, b, n) VALUES (?1, ?2, ?3, {})", row.n);
                (device, sql, vec![row.a, row.b])
            }
            Op::ChangeA(device) => {
                (device, format!("UPDATE {name} SET a = ?2 WHERE id = ?1"), vec![word(place, device)])
            }
            Op::ChangeB(device) if channel.adds => {
                (device, format!("UPDATE {name} SET n = n + 1 WHERE id = ?1"), Vec::new())
            }
            Op::ChangeB(device) => {
                (device, format!("UPDATE {name} SET b = ?2 WHERE id = ?1"), vec![word(place, device)])
            }
            Op::Delete(device) => (device, format!("DELETE FROM {name} WHERE id = ?1"), Vec::new()),
            Op::EditedBehind => (BEHIND, format!("UPDATE {name} SET a = ?2 WHERE Id = ?1"), vec![word(place, BEHIND)]),
            Op::DeletedBehind => (BEHIND, format!("DELETE FROM {name} WHERE Id = ?1"), Vec::new()),
            Op::Sync(_) | Op::ReplyLost(_) => unreachable!("these are for all records at once"),
        };
        let values: Vec<&str> = std::iter::once(id).chain(values.iter().map(String::as_str)).collect();
        let rows = if device == BEHIND {
            self.shop.execute(&sql, rusqlite::params_from_iter(values)).unwrap()
        } else {
            let store = self.engines[device].store_mut();
            store.write(|tx| tx.execute(&sql, rusqlite::params_from_iter(values))).unwrap().0
        };
        assert_eq!(rows, 1, "{op:?} of {name} {id} meets a record");
    }

    async fn exchange(&mut self, device: usize, is_heard: bool) -> Heard {
        let now_ms = self.clock.now_ms();
        let body = self.engines[device].begin_request(now_ms).unwrap();
        let who = self.identity.principal_of(DeviceNo(device as u64 + 1)).await.unwrap().unwrap();
        let mut frames = parse_frames::<Up>(&body).unwrap().into_iter();
        let Some(Up::Hello(hello)) = frames.next() else { panic!("a request begins with hello: {body}") };
        let lines = drive::exchange(&self.sync, &self.push, &who, *hello, frames.collect()).await.unwrap();
        for line in lines.iter().filter(|_| is_heard) {
            let line = std::str::from_utf8(line).unwrap();
            self.engines[device].handle(now_ms, Event::Frame(line)).unwrap();
        }
        self.engines[device].end_request().unwrap()
    }

    /// Exchanges until nothing is left to say or to hear.
    async fn sync(&mut self, device: usize, sums: &mut Sums) {
        for _ in 0..EXCHANGES_MAX {
            sums.exchanges += 1;
            match self.exchange(device, true).await {
                Heard::All => return,
                Heard::Part => {}
                // Whoever settles them needs a moment.
                Heard::AllBut { .. } => self.pass(100).await,
            }
        }
        panic!("device {device} never has everything: {:?}", self.engines[device].store().stats());
    }

    /// One exchange that the server alone hears, with what it still does then.
    async fn lose_reply(&mut self, device: usize, sums: &mut Sums) {
        sums.exchanges += 1;
        self.exchange(device, false).await;
        self.pass(300).await;
    }

    /// Time passes, for the rooms and for their clock.
    async fn pass(&self, ms: u64) {
        for _ in 0..ms / STEP_MS {
            self.clock.set(self.clock.now_ms() + STEP_MS as i64);
            tokio::time::sleep(Duration::from_millis(STEP_MS)).await;
        }
    }

    async fn let_edits_be_found(&self) {
        let waits = || self.shop.query_row("SELECT count(*) FROM om_changes WHERE tbl <> ''", [], |row| row.get(0));
        for _ in 0..EXCHANGES_MAX {
            let count: i64 = waits().unwrap();
            if count == 0 {
                return;
            }
            self.pass(200).await;
        }
        panic!("edits are not found: {:?}", self.sync.health());
    }

    fn look(&self, sequences: &[(Record, Vec<Op>)], records: &[(String, Record)], sums: &mut Sums) {
        let mut there: BTreeMap<&str, Rows> = BTreeMap::new();
        for channel in Channel::ALL {
            let backend = self.backend(channel);
            for (device, engine) in self.engines.iter().enumerate() {
                let sql = format!("SELECT id, a, b, n FROM {}", channel.name);
                let held = rows(engine.store().reader(), &sql, params![]);
                assert_eq!(held, backend, "device {device} is not as the backend of {}", channel.name);
            }
            there.insert(channel.name, backend);
        }
        let told = [0, 1].map(|device| self.told(device));
        for ((id, record), (_, ops)) in records.iter().zip(sequences) {
            let name = record.channel.name;
            assert_eq!(there[name].get(id), record.backend.as_ref(), "{name} after {ops:?}");
            for (device, told) in told.iter().enumerate() {
                let told = told.get(&(name.to_owned(), id.clone())).map_or(&[][..], Vec::as_slice);
                let told: Vec<_> = told.iter().map(|(outcome, code)| (outcome.as_str(), code.as_str())).collect();
                assert_eq!(told, record.receipts(device), "receipts of device {device} in {name} after {ops:?}");
                sums.mutations += told.len() as u64;
                let count = |word: &str| told.iter().filter(|(outcome, _)| *outcome == word).count() as u64;
                sums.applied += count("applied");
                sums.merged += count("merged");
                sums.conflicts += count("conflict");
                sums.rejected += count("rejected");
            }
        }
    }

    /// What a backend holds, read from its own file.
    fn backend(&self, channel: Channel) -> Rows {
        if !channel.is_managed {
            let sql = format!("SELECT Id, a, b, n FROM {}", channel.name);
            return rows(&self.shop, &sql, params![]);
        }
        let sql = "SELECT id, body ->> '$[0]', body ->> '$[1]', CAST(body ->> '$[2]' AS INTEGER) FROM log
            JOIN channel ON channel.number = log.channel WHERE channel.name = ?1 AND body IS NOT NULL";
        rows(&self.store.lock().unwrap(), sql, params![channel.name])
    }

    /// Outcome and code of each receipt that a device holds, by channel and record, in their order.
    fn told(&self, device: usize) -> BTreeMap<(String, String), Vec<(String, String)>> {
        let sql = "SELECT payload ->> 'channel', payload ->> 'record', receipt ->> 'outcome',
            coalesce(receipt ->> 'code', '') FROM om_settled ORDER BY n";
        let mut statement = self.engines[device].store().reader().prepare(sql).unwrap();
        let read = |row: &rusqlite::Row<'_>| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)));
        let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in statement.query_map([], read).unwrap() {
            let (record, receipt) = row.unwrap();
            told.entry(record).or_default().push(receipt);
        }
        told
    }
}

/// A device of the one account, as if it had been activated before.
fn phone(store: &Mutex<Connection>, device: usize) -> Engine {
    let (account, id) = (AccountId(Uuid::from_u128(0xa0)), DeviceId(Uuid::from_u128(0xd0 + device as u128)));
    let server = store.lock().unwrap();
    let sql = "INSERT OR IGNORE INTO account (number, id, email, claims, created_ms) VALUES (1, ?1, 'ana@example.com', '{}', 0)";
    server.execute(sql, [account.0.as_bytes()]).unwrap();
    let sql = "INSERT INTO device (number, id, account, name, platform, public_key, created_ms, seen_ms)
        VALUES (?1, ?2, 1, 'd', 'test', zeroblob(65), 0, 0)";
    server.execute(sql, params![device + 1, id.0.as_bytes()]).unwrap();
    let entropy = omctl_device::Entropy::seeded(device as u64 + 7);
    let options = StoreOptions { entropy, ..StoreOptions::default() };
    let mut store = omctl_device::Store::from_connection(Connection::open_in_memory().unwrap(), options).unwrap();
    store.activate(id, account).unwrap();
    Engine::new(store)
}

/// Two connections to one database in memory: who writes through the one is somebody else to the other.
fn shared() -> (Connection, Connection) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let uri = format!("file:/interleavings-{}?vfs=memdb", NUMBER.fetch_add(1, Ordering::Relaxed));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
    let open = || Connection::open_with_flags(&uri, flags).unwrap();
    (open(), open())
}

fn rows(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Rows {
    let mut statement = connection.prepare(sql).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Row { a: row.get(1)?, b: row.get(2)?, n: row.get(3)? }));
    statement.query_map(params, read).unwrap().collect::<Result<_, _>>().unwrap()
}
