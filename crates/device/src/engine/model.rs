//! The engine against a model of a server, over a line that is cut and with a device that crashes at any step: when the
//! faults end, the device holds exactly what the server shows it, and no write was lost or done twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use omctl_protocol::frame::{Accepted, Commit, GainedScope, Hello, Scopes, Slices, parse_frame};
use omctl_protocol::hash::slice_of;
use omctl_protocol::{
    Epoch, Incarnation, Mutation, MutationId, Operation, Outcome, Position, RowHash, ScopeKey, ScopeSum, SliceSums,
    SumsDigest,
};
use proptest::prelude::*;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::*;
use crate::store::tests::{hash, note, notes, rows_line, welcome};
use crate::{Entropy, StoreOptions};

const SCOPES: [&str; 2] = ["s", "t"];

#[derive(Clone, Default)]
struct Record {
    title: Option<String>,
    scopes: BTreeSet<&'static str>,
    /// When it left a scope, or was deleted in it.
    left: BTreeMap<&'static str, u64>,
    position: u64,
}

/// What a server keeps, without any of its ways of keeping it.
#[derive(Clone)]
struct Server {
    epoch: u128,
    /// Where each earlier epoch parted from what is now true, if it did.
    partings: BTreeMap<u128, u64>,
    /// A copy of everything, to be set back to.
    backup: Option<Box<Server>>,
    /// Cursors before this position are behind tombstones that are gone.
    expired: u64,
    /// Whether the next commit is the first one of a session.
    first_commit: bool,
    /// Rows that were sent.
    rows_sent: usize,
    position: u64,
    records: BTreeMap<String, Record>,
    visible: BTreeSet<&'static str>,
    /// What the connected device was told, per scope.
    cursors: BTreeMap<&'static str, u64>,
    /// Whether the device was welcomed on this connection.
    live: bool,
    incarnation: Option<Incarnation>,
    accepted: Seq,
    /// With the incarnation in which it was last asked for.
    receipts: BTreeMap<MutationId, (Incarnation, Receipt)>,
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
                mutate.mutations.iter().for_each(|mutation| self.settle(mutation));
                self.down.push_back(Down::Accepted(Accepted { seq: self.accepted }).to_line());
            }
            Up::Ack(ack) => self.acked = ack.seq,
            Up::Bye(_) => {}
        }
    }

    fn settle(&mut self, mutation: &Mutation) {
        assert!(mutation.seq <= self.accepted.next(), "the device left a gap");
        if mutation.seq <= self.accepted {
            return;
        }
        self.accepted = mutation.seq;
        let incarnation = self.incarnation.unwrap();
        if let Some((of, receipt)) = self.receipts.get_mut(&mutation.id) {
            *of = incarnation;
            receipt.seq = mutation.seq;
            return;
        }
        let id = mutation.record.as_str();
        let exists = self.records.get(id).is_some_and(|record| record.title.is_some());
        let outcome = match (mutation.op, exists) {
            (Operation::Create, true) | (Operation::Update | Operation::Delete, false) => Outcome::Rejected,
            _ => Outcome::Applied,
        };
        let applied = outcome == Outcome::Applied;
        if applied {
            self.applied += 1;
            let title = mutation.new.get("title").and_then(|title| title.as_str());
            self.change(id, title.map(str::to_owned).filter(|_| mutation.op != Operation::Delete));
        }
        let receipt = Receipt {
            seq: mutation.seq,
            id: mutation.id,
            outcome,
            code: None,
            message: None,
            field: None,
            position: applied.then_some(Position(self.position)),
        };
        self.receipts.insert(mutation.id, (incarnation, receipt));
    }

    /// Sets everything back to the copy. What devices know of the time since is of another history.
    fn restore(&mut self) {
        let Some(backup) = self.backup.clone() else { return };
        let mut partings = std::mem::take(&mut self.partings);
        for epoch in 1..=self.epoch {
            let parting = partings.entry(epoch).or_insert(backup.position);
            *parting = backup.position.min(*parting);
        }
        let (epoch, visible) = (self.epoch + 1, std::mem::take(&mut self.visible));
        let backup_again = Some(backup.clone());
        *self = Self { epoch, visible, partings, backup: backup_again, down: VecDeque::new(), ..*backup };
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
        let held = hello.scopes.list.iter().flatten();
        let oldest = held.filter(|(key, _)| !hello.scopes.slices.contains_key(key)).map(|(_, own)| own);
        let oldest = oldest.map(|own| own.unwrap_or(hello.position).0).min();
        let oldest = oldest.or(hello.scopes.digest.as_ref().map(|_| hello.position.0));
        let parted = hello.epoch.is_some_and(|epoch| epoch != answer.epoch);
        if parted || oldest.is_some_and(|oldest| oldest < self.expired) {
            answer.reset = true;
            let epoch = hello.epoch.unwrap().0.as_u128();
            answer.kept = self.partings.get(&epoch).copied().map(Position);
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        if hello.last_seq < self.accepted {
            answer.renew = true;
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        if hello.scopes.digest.as_ref().is_some_and(|digest| *digest != self.digest()) {
            answer.list_scopes = true;
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        (self.live, self.first_commit) = (true, true);
        self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        if !hello.schemas.contains_key("notes") {
            self.down.push_back(Down::Schema(Box::new(notes())).to_line());
        }
        self.cursors.clear();
        let (mut lost, mut doubtful) = (Vec::new(), Vec::new());
        for (key, own) in hello.scopes.list.iter().flatten() {
            let Some(scope) = self.visible.iter().copied().find(|scope| *scope == key.as_str()) else {
                lost.push(key.clone());
                continue;
            };
            self.cursors.insert(scope, own.unwrap_or(hello.position).0);
            if let Some(theirs) = hello.scopes.slices.get(key) {
                doubtful.push((scope, theirs));
            }
        }
        if hello.scopes.digest.is_some() {
            self.cursors = self.visible.iter().map(|scope| (*scope, hello.position.0)).collect();
        }
        self.tell_scopes(lost);
        for (scope, theirs) in doubtful {
            self.reconcile(scope, theirs);
        }
        self.flush();
    }

    /// Sends the slices of a scope that differ.
    fn reconcile(&mut self, scope: &'static str, theirs: &SliceSums) {
        let mut ours = SliceSums::default();
        for (id, record) in self.records.iter().filter(|(_, record)| record.scopes.contains(scope)) {
            ours.add(id, hash("notes", id, &note(record.title.as_ref().unwrap())));
        }
        let frame = Slices {
            scope: scope.into(),
            channel: "notes".into(),
            position: Position(self.position),
            slices: ours.differing(theirs),
        };
        for (id, record) in self.records.iter().filter(|(id, _)| frame.slices.contains(&slice_of(id))) {
            // What is in them comes whole, in frames of one row, so that a cut may fall between any two.
            if record.scopes.contains(scope) {
                let row = (id.as_str(), Some(note(record.title.as_ref().unwrap())));
                self.down.push_back(rows_line(scope, "notes", record.position, None, &[row]));
                self.rows_sent += 1;
            }
        }
        let at = self.down.len() - self.down.iter().rev().take_while(|line| is_rows(line)).count();
        self.down.insert(at, Down::Slices(frame).to_line());
        self.cursors.insert(scope, self.position);
    }

    fn sum(&self, scope: &str) -> ScopeSum {
        let held = self.records.iter().filter(|(_, record)| record.scopes.contains(scope));
        held.fold(ScopeSum::default(), |sum, (id, record)| {
            sum.plus(hash("notes", id, &note(record.title.as_ref().unwrap())))
        })
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
            let sum = self.sum(scope);
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
            self.rows_sent += changes.len();
            self.down.extend(changes.into_iter().map(|(_, line)| line));
            self.down.push_back(rows_line(scope, "notes", now, Some(RowHash(sum.0)), &[]));
            self.cursors.insert(scope, now);
        }
        let (acked, incarnation) = (self.acked, self.incarnation.unwrap());
        let known = self.receipts.values().filter(|(of, receipt)| *of == incarnation && receipt.seq > acked);
        let mut receipts: Vec<_> = known.map(|(_, receipt)| receipt.clone()).collect();
        receipts.sort_by_key(|receipt| receipt.seq);
        let held: Vec<_> = self.cursors.keys().map(|scope| (ScopeKey::from(*scope), self.sum(scope))).collect();
        let sums = SumsDigest::of(held.iter().map(|(key, sum)| (key, *sum)));
        let sums = std::mem::take(&mut self.first_commit).then_some(sums);
        self.down.push_back(Down::Commit(Commit { position: Position(now), receipts, sums }).to_line());
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
    /// What the device was told to be done: it must be done in every history to come.
    told: BTreeSet<MutationId>,
    /// One stream over all crashes: a device that began its stream anew would make the same ids again.
    entropy: Entropy,
}

impl World {
    fn new(spill: bool) -> Self {
        let server = Server {
            epoch: 1,
            partings: BTreeMap::new(),
            backup: None,
            expired: 0,
            first_commit: false,
            rows_sent: 0,
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
        let mut world = Self {
            engine: None,
            server,
            up: VecDeque::new(),
            connected: false,
            spill,
            told: BTreeSet::new(),
            entropy: Entropy::seeded(3),
        };
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
        let actions = self.engine.as_mut().unwrap().handle(1_000, event).unwrap();
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(line) => self.up.push_back(line),
                Action::Close => panic!("the device does not understand the server"),
                Action::Settled(receipts) => {
                    let done = receipts.iter().filter(|receipt| receipt.outcome == Outcome::Applied);
                    self.told.extend(done.map(|receipt| receipt.id));
                }
                _ => {}
            }
        }
        self.nothing_pending_is_taken_back();
    }

    /// The app sees its own last write of each record, for as long as that has no receipt.
    fn nothing_pending_is_taken_back(&self) {
        let store = self.engine.as_ref().unwrap().store();
        let conn = store.connection();
        let mut last: BTreeMap<String, Mutation> = BTreeMap::new();
        for (_, payload) in store.payloads_after(Seq(0), 10_000, usize::MAX).unwrap() {
            let mutation: Mutation = serde_json::from_str(&payload).unwrap();
            last.insert(mutation.record.as_str().to_owned(), mutation);
        }
        for (id, mutation) in last {
            let one = |sql: &str| conn.query_row(sql, [&id], |row| row.get::<_, Option<String>>(0)).optional().unwrap();
            // What is offered again shows what is held, until the server says where it stands now.
            if mutation.again.is_some() || one("SELECT id FROM om_cap_notes WHERE id = ?1").is_some() {
                continue;
            }
            let seen = one("SELECT title FROM notes WHERE id = ?1").flatten();
            let wanted = mutation.new.get("title").and_then(|title| title.as_str()).map(str::to_owned);
            match mutation.op {
                Operation::Create => assert_eq!(seen, wanted, "{mutation:?}"),
                Operation::Update => assert!(seen.is_none() || seen == wanted, "{mutation:?}: {seen:?}"),
                Operation::Delete => assert_eq!(seen, None, "{mutation:?}"),
            }
        }
    }

    /// Changes a table behind the triggers' back, and lets the audit find it.
    fn damage(&mut self, id: &str, how: u8) {
        let sql = match how {
            0 => format!("DELETE FROM notes WHERE id = '{id}' AND id NOT IN (SELECT id FROM om_base_notes)"),
            1 => {
                format!("UPDATE notes SET title = 'odd' WHERE id = '{id}' AND id NOT IN (SELECT id FROM om_base_notes)")
            }
            _ => "INSERT OR IGNORE INTO notes (id, title) VALUES ('foreign', 'odd')".to_owned(),
        };
        let engine = self.engine.as_mut().unwrap();
        let conn = engine.store().connection();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
        conn.execute_batch(&sql).unwrap();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
        let (_, actions) = engine.audit(1_000).unwrap();
        self.act(actions);
    }

    fn cut(&mut self) {
        self.up.clear();
        self.server.down.clear();
        self.server.live = false;
        self.connected = false;
    }

    fn heal_and_drain(&mut self) {
        self.step(&Step::Cut);
        self.step(&Step::Connect);
        for _ in 0..8 {
            self.step(&Step::Up(1000));
            self.step(&Step::Down(10_000));
            self.step(&Step::Flush);
            self.step(&Step::Down(10_000));
        }
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
            Step::Swap => {
                let before = std::mem::take(&mut self.server.visible);
                self.server.visible = SCOPES.into_iter().filter(|scope| !before.contains(scope)).collect();
                if self.connected && self.server.live {
                    self.server.cursors.clear();
                    self.server.tell_scopes(before.into_iter().map(Into::into).collect());
                    self.server.flush();
                }
            }
            Step::Damage(id, how) => self.damage(id, *how),
            Step::NewEpoch => {
                self.step(&Step::Cut);
                self.server.epoch += 1;
            }
            Step::Backup => {
                self.server.backup = None;
                self.server.backup = Some(Box::new(self.server.clone()));
            }
            Step::Restore => {
                self.step(&Step::Cut);
                self.server.restore();
            }
            Step::Expire => {
                self.step(&Step::Cut);
                self.server.expired = self.server.position;
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
    Swap,
    Damage(&'static str, u8),
    NewEpoch,
    Backup,
    Restore,
    Expire,
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
        1 => Just(Step::Swap),
        1 => (id(), 0u8..3).prop_map(|(id, how)| Step::Damage(id, how)),
        1 => Just(Step::NewEpoch),
        2 => Just(Step::Backup),
        2 => Just(Step::Restore),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    #[test]
    fn whatever_breaks_the_device_converges(spill: bool, steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(spill);
        for step in &steps {
            world.step(step);
        }
        world.heal_and_drain();
        let engine = world.engine.as_ref().unwrap();
        let stats = engine.store().stats().unwrap();
        prop_assert_eq!(stats.pending, 0);
        // What the audit found is told, not noticed by a sum.
        prop_assert_eq!(stats.sum_mismatches, 0);
        let mut statement = engine.store().connection().prepare("SELECT id, title FROM notes ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        prop_assert_eq!(rows.map(Result::unwrap).collect::<Vec<(String, String)>>(), world.server.shown());
        let left: i64 = engine.store().connection()
            .query_row("SELECT (SELECT count(*) FROM om_cap_notes) + (SELECT count(*) FROM om_outbox) + (SELECT count(*) FROM om_stage)", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(left, 0);
        let done = world.server.receipts.values().filter(|(_, receipt)| receipt.outcome == Outcome::Applied).count();
        prop_assert_eq!(world.server.applied as usize, done, "nothing is done twice");
        let lost: Vec<_> = world.told.iter().filter(|id| !world.server.receipts.contains_key(*id)).collect();
        prop_assert!(lost.is_empty(), "what the device was told to be done is not known any more: {:?}", lost);
    }
}

#[test]
fn one_damaged_record_among_thousands_moves_one_slice() {
    let mut world = World::new(false);
    for n in 0..4_000 {
        world.server.change(&format!("r{n}"), Some(format!("server {n}")));
    }
    world.heal_and_drain();
    world.step(&Step::Sql("UPDATE notes SET title = 'mine' WHERE id = 'r7'".into()));
    assert_eq!(world.server.rows_sent, 4_000);
    let conn = world.engine.as_ref().unwrap().store().connection();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    conn.execute("UPDATE notes SET title = 'odd' WHERE id = 'r5'", []).unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).unwrap();
    let (audit, actions) = world.engine.as_mut().unwrap().audit(1_000).unwrap();
    assert_eq!((audit.damaged, audit.checked, audit.skipped), (1, 3_999, 1));
    // The session stands: it is mended in it.
    assert!(matches!(actions.as_slice(), [Action::Send(line), Action::State(_)] if line.contains(r#""slices":{"s":"#)));
    world.act(actions);
    world.step(&Step::Up(10));
    world.step(&Step::Down(10_000));
    let moved = world.server.rows_sent - 4_000;
    assert!((1..=60).contains(&moved), "{moved} rows for one of 256 slices");
    let title: String = world
        .engine
        .as_ref()
        .unwrap()
        .store()
        .connection()
        .query_row("SELECT title FROM notes WHERE id = 'r5'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(title, "server 5");
    world.heal_and_drain();
    assert_eq!(world.engine.as_mut().unwrap().audit(1_000).unwrap().0, Audit { checked: 4_000, ..Audit::default() });
}
