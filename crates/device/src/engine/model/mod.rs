//! The engine against a model of a server, over a line that is cut and with a device that crashes at any step: when the
//! faults end, the device holds exactly what the server shows it, and no write was lost or done twice.

mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use omctl_protocol::frame::parse_frame;
use omctl_protocol::{Mutation, MutationId, Operation, Outcome};
use proptest::prelude::*;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};

use self::server::Server;
use super::*;
use crate::store::tests::notes;
use crate::{Audit, Entropy, StoreOptions};

const SCOPES: [&str; 2] = ["s", "t"];

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
        let server = Server::new();
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
        // Both ways in which a first sync takes the place of the app's table.
        let copy_rows_max = if self.spill { 0 } else { 1_000 };
        let options = StoreOptions { entropy: self.entropy.clone(), batch_bytes_max, copy_rows_max };
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
