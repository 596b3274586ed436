//! What must be true of a server's disk after a power cut: whatever it had told devices, with the real rooms and with plain
//! SQL.
//!
//! First the store is opened as the server opens it, and everything told must be in it. Then the server's rooms go on from
//! there: what waits is settled, each device sends again what was not accepted, and at the end every mutation has one
//! receipt and its effect once. The two databases stand as they were at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omctl::backend::Backend;
use omctl::backend::sqlite::SqliteBackend;
use omctl::catalog::Catalog;
use omctl::clock::{Clock, Entropy};
use omctl::http::drive;
use omctl::identity::Identity;
use omctl::live::LiveHandle;
use omctl::push::Push;
use omctl::server::first_generation;
use omctl::store::Store;
use omctl::sync::Sync;
use omctl::tasks::Tasks;
use omctl_protocol::frame::{Down, Hello, Mutate, Up, parse_frame};
use omctl_protocol::{DeviceId, Incarnation, Mutation, MutationId, Operation, Outcome, Receipt, Seq};
use rusqlite::Connection;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::record::Recording;
use super::wire::{From, Line};
use super::{Party, number, whole};

/// Where the store is in the project.
const STORE: &str = ".openmobster/dev/store.db";
const SHOP: &str = "shop.db";

/// What devices had been told, and what they had sent.
#[derive(Default)]
pub(super) struct Server {
    lines: Vec<Line>,
    next: usize,
    /// Who speaks on a connection.
    speakers: HashMap<String, (DeviceId, Incarnation)>,
    accepted: BTreeMap<Incarnation, Seq>,
    /// Receipts by mutation, byte for byte.
    receipts: BTreeMap<MutationId, String>,
    sent: BTreeMap<(Incarnation, Seq), Mutation>,
    /// The last hello of each incarnation.
    hellos: BTreeMap<Incarnation, Hello>,
    catalog: Option<Arc<Catalog>>,
    /// What the shop's rows were worth before.
    stock: BTreeMap<i64, i64>,
    clock_ms: i64,
}

impl Server {
    pub(super) fn new(recording: &Recording, lines: Vec<Line>) -> Result<Self, String> {
        let (catalog, _) = omctl::catalog::load(&recording.start, &|_| None, None).map_err(|e| format!("{e:?}"))?;
        let shop = Connection::open(recording.start.join(SHOP)).map_err(whole)?;
        let mut statement = shop.prepare("SELECT WareId, stock FROM Ware").map_err(whole)?;
        let stock = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(whole)?;
        let stock = stock.collect::<Result<_, _>>().map_err(whole)?;
        Ok(Self { lines, catalog: Some(Arc::new(catalog)), stock, clock_ms: recording.ended_ms, ..Self::default() })
    }

    fn hear(&mut self, line: &Line) -> Result<(), String> {
        match line.from {
            From::Device => match parse_frame::<Up>(&line.text).map_err(whole)? {
                Up::Hello(hello) => {
                    self.speakers.insert(line.socket.clone(), (hello.device, hello.incarnation));
                    self.hellos.insert(hello.incarnation, *hello);
                }
                Up::Mutate(mutate) => {
                    let (_, incarnation) = self.speakers.get(&line.socket).ok_or("a mutation before its hello")?;
                    for mutation in mutate.mutations {
                        self.sent.insert((*incarnation, mutation.seq), mutation);
                    }
                }
                _ => {}
            },
            From::Server => {
                let Some((_, incarnation)) = self.speakers.get(&line.socket).copied() else { return Ok(()) };
                match parse_frame::<Down>(&line.text).map_err(whole)? {
                    Down::Welcome(welcome) => self.told_accepted(incarnation, welcome.accepted),
                    Down::Accepted(accepted) => self.told_accepted(incarnation, accepted.seq),
                    Down::Commit(commit) if !commit.receipts.is_empty() => {
                        for (receipt, text) in commit.receipts.iter().zip(raw_receipts(&line.text)?) {
                            let before = self.receipts.entry(receipt.id).or_insert_with(|| text.clone());
                            if *before != text {
                                return Err(format!(
                                    "{} was told twice, and not the same: {before} and {text}",
                                    receipt.id
                                ));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn told_accepted(&mut self, incarnation: Incarnation, seq: Seq) {
        let known = self.accepted.entry(incarnation).or_default();
        *known = (*known).max(seq);
    }
}

fn raw_receipts(line: &str) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        commit: Inner<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        receipts: Vec<&'a RawValue>,
    }
    let outer: Outer<'_> = serde_json::from_str(line).map_err(whole)?;
    Ok(outer.commit.receipts.iter().map(|receipt| receipt.get().to_owned()).collect())
}

impl Party for Server {
    fn advance(&mut self, to: usize) -> Result<usize, String> {
        while let Some(line) = self.lines.get(self.next).filter(|line| line.at <= to).cloned() {
            self.hear(&line)?;
            self.next += 1;
        }
        Ok(self.next)
    }

    fn told(&self) -> usize {
        self.receipts.len()
    }

    fn judge(&self, image: &Path) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.map_err(whole)?.block_on(self.judge_inside(image))
    }
}

impl Server {
    async fn judge_inside(&self, image: &Path) -> Result<(), String> {
        let store_file = image.join(STORE);
        // What the server does where its folder is not there.
        std::fs::create_dir_all(store_file.parent().expect("it is in a folder")).map_err(whole)?;
        let database = Arc::new(Mutex::new(open(&store_file)?));
        let shop = Arc::new(Mutex::new(open(&image.join(SHOP))?));
        let (clock, entropy) = (Clock::manual(self.clock_ms), Entropy::seeded(1));
        let (store, feed) = Store::inline(database.clone(), clock.clone(), entropy.clone(), None)
            .map_err(|e| format!("the store: {}", whole(e)))?;
        self.judge_promises(&Facts::load(&database, &shop)?)?;
        if self.hellos.is_empty() {
            return Ok(());
        }
        // The server goes on.
        let tasks = Tasks::new();
        let identity = Identity::new(store.clone(), clock.clone(), entropy).await.map_err(whole)?;
        let backend = SqliteBackend::inline("shop", shop.clone()).map_err(whole)?.with_clock(clock);
        let backends: BTreeMap<String, Arc<dyn Backend>> = [("shop".to_owned(), Arc::new(backend) as _)].into();
        let catalog = self.catalog.as_ref().expect("it was loaded");
        let live = LiveHandle::new(first_generation(catalog, &store, &backends).await.map_err(whole)?);
        let push = Push::new();
        push.start(feed, &tasks);
        let sync = Sync::open(store.clone(), live, identity.clone(), tasks.clone()).await.map_err(whole)?;
        sync.start().await.map_err(whole)?;
        let ended = self.go_on(&sync, &push, &identity, &store, (&database, &shop)).await;
        tasks.token().cancel();
        ended
    }

    /// What was told is there.
    fn judge_promises(&self, facts: &Facts) -> Result<(), String> {
        for (incarnation, told) in &self.accepted {
            let there = facts.accepted.get(&incarnation.0).copied().unwrap_or_default();
            if there < told.0 {
                return Err(format!("incarnation {incarnation}: {told} was told as accepted, and it is {there}"));
            }
        }
        for ((incarnation, seq), mutation) in &self.sent {
            let accepted = facts.accepted.get(&incarnation.0).copied().unwrap_or_default();
            if seq.0 <= accepted && !facts.mutations.contains(&mutation.id) {
                return Err(format!("{} has seq {seq}, {accepted} are accepted, and it is not there", mutation.id));
            }
        }
        self.judge_receipts(facts)
    }

    fn judge_receipts(&self, facts: &Facts) -> Result<(), String> {
        for (id, told) in &self.receipts {
            match facts.receipts.get(id).map(Vec::as_slice) {
                Some([there]) if there == told => {}
                Some([there]) => return Err(format!("{id} was told {told} and is {there}")),
                Some(several) => return Err(format!("{id} has {} receipts", several.len())),
                None => return Err(format!("the receipt of {id} was told and is not there: {told}")),
            }
        }
        Ok(())
    }

    async fn go_on(
        &self,
        sync: &Sync,
        push: &Push,
        identity: &Identity,
        store: &Store,
        databases: (&Arc<Mutex<Connection>>, &Arc<Mutex<Connection>>),
    ) -> Result<(), String> {
        let facts = Facts::load(databases.0, databases.1)?;
        for (incarnation, hello) in &self.hellos {
            let accepted = facts.accepted.get(&incarnation.0).copied().unwrap_or_default();
            let range = (*incarnation, Seq(0))..=(*incarnation, Seq(u64::MAX));
            let all: Vec<&Mutation> = self.sent.range(range).map(|(_, mutation)| mutation).collect();
            let Some(last) = all.last() else { continue };
            let again: Vec<Mutation> =
                all.iter().filter(|one| one.seq.0 > accepted).map(|one| (*one).clone()).collect();
            if again.is_empty() {
                continue;
            }
            let Some(device) = facts.devices.get(&hello.device.0) else {
                return Err(format!("device {} said hello and is not known", hello.device));
            };
            let who = identity.principal_of(*device).await.map_err(whole)?.ok_or("the device may do nothing")?;
            let hello = Hello { last_seq: last.seq, epoch: None, boot: None, ..hello.clone() };
            let hello = Hello { position: omctl_protocol::Position(0), scopes: Default::default(), ..hello };
            let frames = vec![Up::Mutate(Mutate { mutations: again })];
            drive::exchange(sync, push, &who, hello, frames).await.map_err(whole)?;
        }
        let mut why = String::new();
        // Its clock is not ours: this takes as long as the work takes.
        for _ in 0..200 {
            let waits = store.inbox_backlog().await.map_err(whole)?;
            if waits.is_empty() {
                match self.judge_end(&Facts::load(databases.0, databases.1)?) {
                    Ok(()) => return Ok(()),
                    Err(error) => why = error,
                }
            } else {
                why = format!("{waits:?} wait and are not settled");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("going on: {why}"))
    }

    /// Every mutation has one receipt and its effect once.
    fn judge_end(&self, facts: &Facts) -> Result<(), String> {
        self.judge_receipts(facts)?;
        let mut outcomes = BTreeMap::new();
        for mutation in self.sent.values() {
            match facts.receipts.get(&mutation.id).map(Vec::as_slice) {
                Some([one]) => {
                    let receipt: Receipt = serde_json::from_str(one).map_err(whole)?;
                    // Both homes remember what they have done.
                    if receipt.code.as_deref() == Some("unknown") {
                        return Err(format!("nobody can tell what became of {}", mutation.id));
                    }
                    outcomes.insert(mutation.id, receipt.outcome);
                }
                Some(several) => return Err(format!("{} has {} receipts", mutation.id, several.len())),
                None => return Err(format!("{} has no receipt", mutation.id)),
            }
        }
        let had_effect = |mutation: &&Mutation| !matches!(outcomes.get(&mutation.id), None | Some(Outcome::Rejected));
        let mut records: BTreeMap<(&str, &str), Vec<&Mutation>> = BTreeMap::new();
        for mutation in self.sent.values().filter(had_effect) {
            records.entry((mutation.channel.as_str(), mutation.record.as_str())).or_default().push(mutation);
        }
        let mut keys: BTreeSet<i64> = self.stock.keys().copied().collect();
        for ((channel, record), mutations) in &records {
            let has = |op| mutations.iter().any(|mutation| mutation.op == op);
            let field = if *channel == "notes" { "count" } else { "stock" };
            let key = match *channel {
                "notes" => None,
                _ => Some(facts.keys.get(*record).copied().or(record.parse().ok()).ok_or_else(|| {
                    let done = mutations.iter().map(|mutation| (mutation.id, mutation.op, outcomes.get(&mutation.id)));
                    format!("{record} has no key after {:?}", done.collect::<Vec<_>>())
                })?),
            };
            if has(Operation::Delete) {
                // Whether an update after it brought it back is the policy's: sums say nothing here.
                if let Some(key) = key.filter(|key| !facts.wares.contains_key(key)) {
                    keys.remove(&key);
                } else {
                    keys.extend(key);
                }
                continue;
            }
            keys.extend(key);
            let gains = mutations.iter().filter_map(|mutation| {
                Some(number(mutation.new.get(field)?) - mutation.old.get(field).map_or(0, number))
            });
            let began = key.and_then(|key| self.stock.get(&key)).copied().unwrap_or_default();
            let wanted = began + gains.sum::<i64>();
            let there = match key {
                Some(key) => facts.wares.get(&key).copied(),
                None => facts.notes.get(*record).copied(),
            };
            if there != Some(wanted) {
                return Err(format!("{channel} {record}: its mutations make {field} {wanted}, and it is {there:?}"));
            }
        }
        let there: BTreeSet<i64> = facts.wares.keys().copied().collect();
        if there != keys {
            let odd: Vec<_> = there.symmetric_difference(&keys).collect();
            return Err(format!("rows {odd:?} of the shop are there and nobody made them, or the other way round"));
        }
        if facts.wares != facts.wares_in_log {
            return Err("the log says something else of the shop's rows than the shop".into());
        }
        Ok(())
    }
}

fn open(path: &PathBuf) -> Result<Connection, String> {
    let connection = Connection::open(path).map_err(whole)?;
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(|error| format!("{}: {}", path.display(), whole(error)))?;
    if verdict == "ok" { Ok(connection) } else { Err(format!("{}: {verdict}", path.display())) }
}

/// What an image says, by plain SQL.
#[derive(Debug, Default)]
struct Facts {
    accepted: BTreeMap<Uuid, u64>,
    devices: BTreeMap<Uuid, omctl::store::DeviceNo>,
    mutations: BTreeSet<MutationId>,
    receipts: BTreeMap<MutationId, Vec<String>>,
    /// The shop's rows and what they are worth.
    wares: BTreeMap<i64, i64>,
    wares_in_log: BTreeMap<i64, i64>,
    /// The keys of records that devices made.
    keys: BTreeMap<String, i64>,
    notes: BTreeMap<String, i64>,
}

impl Facts {
    fn load(store: &Mutex<Connection>, shop: &Mutex<Connection>) -> Result<Self, String> {
        Self::read(&store.lock().expect("nobody panics here"), &shop.lock().expect("nobody panics here"))
            .map_err(|error| format!("its databases cannot be read: {error}"))
    }

    fn read(store: &Connection, shop: &Connection) -> rusqlite::Result<Self> {
        let mut facts = Self::default();
        each(store, "SELECT id, accepted FROM incarnation", |row| {
            facts.accepted.insert(Uuid::from_bytes(row.get(0)?), row.get(1)?);
            Ok(())
        })?;
        each(store, "SELECT id, number FROM device", |row| {
            facts.devices.insert(Uuid::from_bytes(row.get(0)?), row.get(1)?);
            Ok(())
        })?;
        each(store, "SELECT id FROM mutation", |row| {
            facts.mutations.insert(MutationId(Uuid::from_bytes(row.get(0)?)));
            Ok(())
        })?;
        each(store, "SELECT body FROM receipt_batch", |row| {
            let body: String = row.get(0)?;
            let all: Vec<&RawValue> = serde_json::from_str(&body).unwrap_or_default();
            for raw in all {
                if let Ok(receipt) = serde_json::from_str::<Receipt>(raw.get()) {
                    facts.receipts.entry(receipt.id).or_default().push(raw.get().to_owned());
                }
            }
            Ok(())
        })?;
        let log = "SELECT channel.name, log.id, body FROM log JOIN channel ON channel.number = log.channel WHERE body IS NOT NULL";
        each(store, log, |row| {
            let (channel, id, body): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let values: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap_or_default();
            match (channel.as_str(), values.as_slice()) {
                ("notes", [_, count]) => drop(facts.notes.insert(id, number(count))),
                (_, [key, _, stock]) => drop(facts.wares_in_log.insert(number(key), number(stock))),
                _ => {}
            }
            Ok(())
        })?;
        each(store, "SELECT id, key FROM id_map", |row| {
            let key: String = row.get(1)?;
            facts.keys.insert(row.get(0)?, key.parse().unwrap_or(-1));
            Ok(())
        })?;
        each(shop, "SELECT WareId, coalesce(stock, 0) FROM Ware", |row| {
            facts.wares.insert(row.get(0)?, row.get(1)?);
            Ok(())
        })?;
        Ok(facts)
    }
}

fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}
