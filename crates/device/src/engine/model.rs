//! The engine against a model of a server, over a line that is cut and with a device that crashes at any step: when the
//! faults end, the device holds exactly what the server shows it, and no write was lost or done twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use omctl_protocol::frame::{Accepted, Commit, GainedScope, Hello, Scopes, parse_frame};
use omctl_protocol::{Epoch, Incarnation, MutationId, Operation, Outcome, Position, RowHash, ScopeKey, ScopeSum};
use proptest::prelude::*;
use rusqlite::Connection;
use uuid::Uuid;

use super::*;
use crate::store::tests::{hash, note, notes, rows_line, welcome};
use crate::{Entropy, StoreOptions};

const SCOPES: [&str; 2] = ["s", "t"];

#[derive(Default)]
struct Record {
    title: Option<String>,
    scopes: BTreeSet<&'static str>,
    /// When it left a scope, or was deleted in it.
    left: BTreeMap<&'static str, u64>,
    position: u64,
}

/// What a server keeps, without any of its ways of keeping it.
struct Server {
    epoch: u128,
    position: u64,
    records: BTreeMap<String, Record>,
    visible: BTreeSet<&'static str>,
    /// What the connected device was told, per scope.
    cursors: BTreeMap<&'static str, u64>,
    /// Whether the device was welcomed on this connection.
    live: bool,
    incarnation: Option<Incarnation>,
    accepted: Seq,
    receipts: BTreeMap<MutationId, Receipt>,
    acked: Seq,
    applied: u32,
    down: VecDeque<String>,
}

impl Server {
    fn change(&mut self, id: &str, title: Option<String>) {
        self.position += 1;
        let record = self.records.entry(id.to_owned()).or_default();
        if title.is_none() {
            for scope in std::mem::take(&mut record.scopes) {
                record.left.insert(scope, self.position);
            }
        } else if record.title.is_none() {
            record.scopes.insert("s");
        }
        record.title = title;
        record.position = self.position;
    }

    fn move_to(&mut self, id: &str, scope: &'static str) {
        let Some(record) = self.records.get_mut(id).filter(|record| record.title.is_some()) else { return };
        self.position += 1;
        for old in std::mem::replace(&mut record.scopes, BTreeSet::from([scope])) {
            if old != scope {
                record.left.insert(old, self.position);
            }
        }
        record.position = self.position;
    }

    fn hear(&mut self, up: Up) {
        match up {
            Up::Hello(hello) => self.hello(&hello),
            Up::Mutate(mutate) => {
                for mutation in mutate.mutations {
                    assert!(mutation.seq <= self.accepted.next(), "the device left a gap");
                    if mutation.seq <= self.accepted {
                        continue;
                    }
                    self.accepted = mutation.seq;
                    let done = self.receipts.contains_key(&mutation.id);
                    let id = mutation.record.as_str();
                    let exists = self.records.get(id).is_some_and(|record| record.title.is_some());
                    let outcome = match (mutation.op, exists) {
                        (Operation::Create, true) | (Operation::Update | Operation::Delete, false) => Outcome::Rejected,
                        _ => Outcome::Applied,
                    };
                    if !done && outcome == Outcome::Applied {
                        self.applied += 1;
                        let title = mutation.new.get("title").and_then(|title| title.as_str());
                        self.change(id, title.map(str::to_owned).filter(|_| mutation.op != Operation::Delete));
                    }
                    let receipt = Receipt {
                        seq: mutation.seq,
                        id: mutation.id,
                        outcome: self.receipts.get(&mutation.id).map_or(outcome, |receipt| receipt.outcome),
                        code: None,
                        message: None,
                        field: None,
                        position: None,
                    };
                    self.receipts.insert(mutation.id, receipt);
                }
                self.down.push_back(Down::Accepted(Accepted { seq: self.accepted }).to_line());
            }
            Up::Ack(ack) => self.acked = ack.seq,
            Up::Bye(_) => {}
        }
    }

    fn digest(&self) -> String {
        format!("{:?}", self.visible)
    }

    fn hello(&mut self, hello: &Hello) {
        self.live = false;
        let mut answer = welcome();
        answer.epoch = Epoch(Uuid::from_u128(self.epoch));
        if self.incarnation != Some(hello.incarnation) {
            self.incarnation = Some(hello.incarnation);
            (self.accepted, self.acked) = (Seq(0), Seq(0));
        }
        answer.accepted = self.accepted;
        answer.reset = hello.epoch.is_some_and(|epoch| epoch != answer.epoch);
        if hello.last_seq < self.accepted {
            answer.renew = true;
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        if hello.scopes.digest.as_ref().is_some_and(|digest| *digest != self.digest()) {
            answer.list_scopes = true;
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        self.live = true;
        let reset = answer.reset;
        self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        if !hello.schemas.contains_key("notes") {
            self.down.push_back(Down::Schema(Box::new(notes())).to_line());
        }
        self.cursors.clear();
        let mut lost = Vec::new();
        for (key, own) in hello.scopes.list.iter().flatten().filter(|_| !reset) {
            match self.visible.iter().find(|scope| **scope == key.as_str()) {
                Some(scope) => drop(self.cursors.insert(scope, own.unwrap_or(hello.position).0)),
                None => lost.push(key.clone()),
            }
        }
        if hello.scopes.digest.is_some() && !reset {
            self.cursors = self.visible.iter().map(|scope| (*scope, hello.position.0)).collect();
        }
        self.tell_scopes(lost);
        self.flush();
    }

    fn tell_scopes(&mut self, lost: Vec<ScopeKey>) {
        let new: Vec<_> = self.visible.iter().filter(|scope| !self.cursors.contains_key(*scope)).copied().collect();
        let gained = new.iter().map(|scope| GainedScope { scope: (*scope).into(), channel: "notes".into() }).collect();
        self.cursors.extend(new.iter().map(|scope| (*scope, 0)));
        self.down.push_back(Down::Scopes(Scopes { gained, lost, digest: self.digest() }).to_line());
    }

    /// Sends what changed since the cursors, one frame a record, and a commit.
    fn flush(&mut self) {
        let now = self.position;
        for (scope, cursor) in self.cursors.clone() {
            let sum = self
                .records
                .iter()
                .filter(|(_, record)| record.scopes.contains(scope))
                .fold(ScopeSum::default(), |sum, (id, record)| {
                    sum.plus(hash("notes", id, &note(record.title.as_ref().unwrap())))
                });
            let mut changes: Vec<(u64, String)> = Vec::new();
            for (id, record) in &self.records {
                let at = if record.scopes.contains(scope) {
                    record.position
                } else {
                    record.left.get(scope).copied().unwrap_or(0)
                };
                if at <= cursor {
                    continue;
                }
                changes.push((
                    at,
                    match &record.title {
                        Some(title) if record.scopes.contains(scope) => {
                            rows_line(scope, "notes", at, None, &[(id, Some(note(title)))])
                        }
                        Some(_) => format!(
                            r#"{{"leave":{{"scope":"{scope}","channel":"notes","position":{at},"ids":["{id}"]}}}}"#
                        ),
                        None => rows_line(scope, "notes", at, None, &[(id, None)]),
                    },
                ));
            }
            changes.sort();
            self.down.extend(changes.into_iter().map(|(_, line)| line));
            self.down.push_back(rows_line(scope, "notes", now, Some(RowHash(sum.0)), &[]));
            self.cursors.insert(scope, now);
        }
        let acked = self.acked;
        let mut receipts: Vec<_> = self.receipts.values().filter(|r| r.seq > acked).cloned().collect();
        receipts.sort_by_key(|receipt| receipt.seq);
        self.down.push_back(Down::Commit(Commit { position: Position(now), receipts, sums: None }).to_line());
    }

    fn shown(&self) -> Vec<(String, String)> {
        let seen = self.records.iter().filter(|(_, record)| !record.scopes.is_disjoint(&self.visible));
        seen.map(|(id, record)| (id.clone(), record.title.clone().unwrap())).collect()
    }
}

struct World {
    engine: Option<Engine>,
    server: Server,
    up: VecDeque<String>,
    connected: bool,
    spill: bool,
    /// One stream over all crashes: a device that began its stream anew would make the same ids again.
    entropy: Entropy,
}

impl World {
    fn new(spill: bool) -> Self {
        let server = Server {
            epoch: 1,
            position: 0,
            records: BTreeMap::new(),
            visible: BTreeSet::from(["s"]),
            cursors: BTreeMap::new(),
            live: false,
            incarnation: None,
            accepted: Seq(0),
            receipts: BTreeMap::new(),
            acked: Seq(0),
            applied: 0,
            down: VecDeque::new(),
        };
        let mut world =
            Self { engine: None, server, up: VecDeque::new(), connected: false, spill, entropy: Entropy::seeded(3) };
        let mut engine = world.open(Connection::open_in_memory().unwrap());
        let id = "018f6b1e-0000-7000-8000-000000000001";
        engine.store_mut().activate(id.parse().unwrap(), id.parse().unwrap()).unwrap();
        engine.store_mut().install_schema(&notes()).unwrap();
        world.engine = Some(engine);
        world
    }

    fn open(&self, conn: Connection) -> Engine {
        let batch_bytes_max = if self.spill { 0 } else { 1 << 20 };
        let options = StoreOptions { entropy: self.entropy.clone(), batch_bytes_max };
        Engine::new(Store::from_connection(conn, options).unwrap())
    }

    fn event(&mut self, event: Event<'_>) {
        for action in self.engine.as_mut().unwrap().handle(1_000, event).unwrap() {
            match action {
                Action::Send(line) => self.up.push_back(line),
                Action::Close => panic!("the device does not understand the server"),
                _ => {}
            }
        }
    }

    fn cut(&mut self) {
        self.up.clear();
        self.server.down.clear();
        self.server.live = false;
        self.connected = false;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Sql(sql) => {
                self.engine.as_mut().unwrap().store_mut().write(|tx| tx.execute_batch(sql)).unwrap();
                self.event(Event::LocalWrite);
            }
            Step::Server(id, title) => self.server.change(id, title.map(|n| format!("server {n}"))),
            Step::Move(id, scope) => self.server.move_to(id, scope),
            Step::Rights(scope) => {
                let lost = self.server.visible.remove(scope);
                if !lost {
                    self.server.visible.insert(scope);
                }
                // The news travels in the session where the server is past the welcome, else with the next one.
                if self.connected && self.server.live {
                    self.server.cursors.remove(scope);
                    self.server.tell_scopes(if lost { vec![(*scope).into()] } else { vec![] });
                    self.server.flush();
                }
            }
            Step::Connect => {
                if !self.connected {
                    self.connected = true;
                    self.event(Event::Connected(Greeting::Plain));
                }
            }
            Step::Up(most) => {
                for _ in 0..*most {
                    let Some(line) = self.up.pop_front() else { break };
                    self.server.hear(parse_frame(&line).unwrap());
                }
            }
            Step::Down(most) => {
                for _ in 0..*most {
                    let Some(line) = self.server.down.pop_front() else { break };
                    self.event(Event::Frame(&line));
                }
            }
            Step::Flush => {
                if self.connected && self.server.live {
                    self.server.flush();
                }
            }
            Step::Cut => {
                self.cut();
                self.event(Event::Disconnected);
            }
            Step::Crash => {
                self.cut();
                let conn = self.engine.take().unwrap().into_store().into_connection();
                self.engine = Some(self.open(conn));
            }
            Step::NewEpoch => {
                self.step(&Step::Cut);
                self.server.epoch += 1;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Sql(String),
    Server(&'static str, Option<u8>),
    Move(&'static str, &'static str),
    Rights(&'static str),
    Connect,
    Up(usize),
    Down(usize),
    Flush,
    Cut,
    Crash,
    NewEpoch,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || prop::sample::select(&["a", "b", "c", "d", "e"][..]);
    let scope = || prop::sample::select(&SCOPES[..]);
    prop_oneof![
        3 => (id(), any::<u8>()).prop_map(|(id, v)| Step::Sql(format!("REPLACE INTO notes (id, title) VALUES ('{id}', 'mine {v}')"))),
        3 => (id(), any::<u8>()).prop_map(|(id, v)| Step::Sql(format!("UPDATE notes SET title = 'mine {v}' WHERE id = '{id}'"))),
        2 => id().prop_map(|id| Step::Sql(format!("DELETE FROM notes WHERE id = '{id}'"))),
        4 => (id(), prop::option::weighted(0.8, any::<u8>())).prop_map(|(id, v)| Step::Server(id, v)),
        2 => (id(), scope()).prop_map(|(id, scope)| Step::Move(id, scope)),
        1 => scope().prop_map(Step::Rights),
        4 => Just(Step::Connect),
        5 => (1usize..4).prop_map(Step::Up),
        6 => (1usize..8).prop_map(Step::Down),
        3 => Just(Step::Flush),
        2 => Just(Step::Cut),
        2 => Just(Step::Crash),
        1 => Just(Step::NewEpoch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn whatever_breaks_the_device_converges(spill: bool, steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(spill);
        for step in &steps {
            world.step(step);
        }
        // Heal and drain.
        world.step(&Step::Cut);
        world.step(&Step::Connect);
        for _ in 0..8 {
            world.step(&Step::Up(1000));
            world.step(&Step::Down(1000));
            world.step(&Step::Flush);
            world.step(&Step::Down(1000));
        }
        let engine = world.engine.as_ref().unwrap();
        let stats = engine.store().stats().unwrap();
        prop_assert_eq!((stats.pending, stats.sum_mismatches), (0, 0));
        let mut statement = engine.store().connection().prepare("SELECT id, title FROM notes ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        prop_assert_eq!(rows.map(Result::unwrap).collect::<Vec<(String, String)>>(), world.server.shown());
        let left: i64 = engine.store().connection()
            .query_row("SELECT (SELECT count(*) FROM om_cap_notes) + (SELECT count(*) FROM om_outbox) + (SELECT count(*) FROM om_stage)", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(left, 0);
        prop_assert_eq!(world.server.applied as usize, world.server.receipts.values().filter(|r| r.outcome == Outcome::Applied).count());
    }
}
