//! The device's engine on a store in memory: whatever comes, it does not panic, blames no disk, loses no sealed mutation
//! without a receipt, and comes to rest with a server that keeps to the protocol.

mod script;
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{LazyLock, Mutex};

use arbitrary::{Arbitrary, Unstructured};
use omctl_device::{Action, ConnectionState, Engine, Entropy, Event, Greeting, Store, StoreError, StoreOptions};
use omctl_protocol::frame::{MUTATIONS_MAX, Proof, parse_frame};
use omctl_protocol::{Down, Mutation, MutationId, Seq, Up};
use rusqlite::Connection;
use rusqlite::backup::Backup;

use self::script::{Facing, Step, schema};
use self::server::{RECORDS, Server};

/// Most steps of one input.
const STEPS_MAX: usize = 64;

/// Most frames that pass before a device must have come to rest.
const FRAMES_MAX: usize = 200;

/// The file of a device that was just activated: made once, for it takes longer than most inputs.
static FRESH: LazyLock<Mutex<Connection>> = LazyLock::new(|| {
    let conn = Connection::open_in_memory().expect("memory can be opened");
    let options = StoreOptions { entropy: Entropy::seeded(1), ..StoreOptions::default() };
    let mut store = Store::from_connection(conn, options).expect("an empty file can be one");
    let id = "018f6b1e-0000-7000-8000-000000000001";
    store.activate(id.parse().expect("a uuid"), id.parse().expect("a uuid")).expect("it belongs to nobody");
    store.install_schema(&schema(&"notes".into(), 1)).expect("it can be a table");
    Mutex::new(store.into_connection())
});

struct World {
    engine: Option<Engine>,
    options: StoreOptions,
    now_ms: i64,
    line: Line,
    said: VecDeque<String>,
    /// What was in the outbox, by the digest of its payload.
    sealed: BTreeMap<MutationId, [u8; 16]>,
    /// Whose receipts came.
    answered: BTreeSet<MutationId>,
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Down,
    Up,
    /// One request and its answer.
    Request,
}

/// A story of one device.
pub fn engine(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let mut rest = Unstructured::new(rest);
    let mut world = World::new(how & 1 == 0, how & 2 == 0);
    for _ in 0..STEPS_MAX {
        if rest.is_empty() {
            break;
        }
        let Ok(step) = Step::arbitrary(&mut rest) else { break };
        world.step(&step);
        world.nothing_is_lost();
    }
    world.come_to_rest();
}

/// In memory no disk is to blame.
fn done<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

impl World {
    fn new(spills: bool, copies: bool) -> Self {
        let mut conn = Connection::open_in_memory().expect("memory can be opened");
        let fresh = FRESH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let copied = Backup::new(&fresh, &mut conn).and_then(|backup| backup.step(-1));
        copied.expect("a database in memory can be copied");
        drop(fresh);
        let options = StoreOptions {
            entropy: Entropy::seeded(2),
            batch_bytes_max: if spills { 0 } else { 1 << 20 },
            copy_rows_max: if copies { 1_000 } else { 0 },
        };
        let engine = Engine::new(done(Store::from_connection(conn, options.clone())));
        Self {
            engine: Some(engine),
            options,
            now_ms: 1_000,
            line: Line::Down,
            said: VecDeque::new(),
            sealed: BTreeMap::new(),
            answered: BTreeSet::new(),
            server: Server::default(),
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("it is only away while it crashes")
    }

    fn event(&mut self, event: Event<'_>) {
        let now_ms = self.now_ms;
        let actions = done(self.engine().handle(now_ms, event));
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(line) => self.say(line),
                // Whoever carries the frames does so, and tells.
                Action::Close => {
                    self.hang_up();
                    break;
                }
                _ => {}
            }
        }
    }

    fn say(&mut self, line: String) {
        assert!(!line.contains('\n'));
        let frame: Up = parse_frame(&line).expect("a device says frames");
        if let Up::Mutate(mutate) = &frame {
            let seqs: Vec<u64> = mutate.mutations.iter().map(|mutation| mutation.seq.0).collect();
            assert!(!seqs.is_empty() && seqs.len() <= MUTATIONS_MAX && seqs.is_sorted(), "{seqs:?}");
        }
        self.said.push_back(line);
    }

    fn hang_up(&mut self) {
        self.said.clear();
        match std::mem::replace(&mut self.line, Line::Down) {
            Line::Request => drop(done(self.engine().end_request())),
            _ => self.event(Event::Disconnected),
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Connect { challenge } if self.line == Line::Down => {
                self.line = Line::Up;
                let prove = |nonce: &str| Proof { nonce: nonce.to_owned(), signature: "s".into() };
                let greeting = if *challenge { Greeting::Challenge(Box::new(prove)) } else { Greeting::Plain };
                self.event(Event::Connected(greeting));
            }
            Step::Lost => self.hang_up(),
            Step::Fenced if self.line == Line::Up => {
                self.event(Event::Fenced);
                self.hang_up();
            }
            Step::Refused if self.line == Line::Down => self.event(Event::Refused),
            Step::Tick { seconds } => {
                self.now_ms += i64::from(*seconds) * 1_000;
                self.event(Event::Tick);
            }
            Step::Sql(sql) => self.write(&[sql.text()], false),
            Step::Transaction { all, atomic } => {
                let all: Vec<String> = all.iter().take(8).map(script::Sql::text).collect();
                self.write(&all, *atomic);
            }
            Step::Retry(n) => {
                if let Some(id) = self.rejected(*n) {
                    // What was wrong is wrong again.
                    drop(self.engine().store_mut().retry(id, &BTreeMap::new()));
                    self.event(Event::LocalWrite);
                }
            }
            Step::Discard(n) => {
                if let Some(id) = self.rejected(*n) {
                    drop(done(self.engine().store_mut().discard(id)));
                }
            }
            Step::Crash => self.crash(),
            Step::Audit => {
                let now_ms = self.now_ms;
                let (_, actions) = done(self.engine().audit(now_ms));
                self.act(actions);
            }
            Step::Prune => {
                let now_ms = self.now_ms;
                done(self.engine().store_mut().prune(now_ms));
            }
            Step::Request if self.line == Line::Down => {
                self.line = Line::Request;
                let now_ms = self.now_ms;
                let body = done(self.engine().begin_request(now_ms));
                body.lines().for_each(|line| self.say(line.to_owned()));
            }
            Step::EndRequest if self.line == Line::Request => self.hang_up(),
            Step::Line(line) => self.hear(line),
            Step::Garbled { frame, at, with } => {
                let mut line = frame.line(&self.facing()).into_bytes();
                let at = usize::from(*at) % line.len();
                match with {
                    Some(byte) => line[at] = *byte,
                    None => line.truncate(at),
                }
                self.hear(&String::from_utf8_lossy(&line));
            }
            Step::Frame(frame) => {
                let line = frame.line(&self.facing());
                self.hear(&line);
            }
            Step::Frames(frames) => {
                for frame in frames.iter().take(16) {
                    let line = frame.line(&self.facing());
                    self.hear(&line);
                }
            }
            Step::Honest => self.listen_to_the_server(),
            _ => {}
        }
    }

    fn facing(&mut self) -> Facing {
        let store = self.engine().store();
        let waiting = done(store.payloads_after(Seq(0), 64, usize::MAX));
        let id = |payload: &str| serde_json::from_str::<Mutation>(payload).map(|mutation| mutation.id);
        Facing {
            last_seq: done(store.stats()).last_seq,
            waiting: waiting.iter().filter_map(|(seq, payload)| Some((*seq, id(payload).ok()?))).collect(),
            schemas: store.schemas().cloned().collect(),
        }
    }

    fn rejected(&mut self, n: u8) -> Option<MutationId> {
        let rejected = done(self.engine().store().rejected());
        rejected.get(usize::from(n) % rejected.len().max(1)).map(|rejected| rejected.mutation.id)
    }

    fn write(&mut self, all: &[String], atomic: bool) {
        let store = self.engine().store_mut();
        let run = |tx: &rusqlite::Transaction<'_>| all.iter().try_for_each(|sql| tx.execute_batch(sql));
        // A statement that the table does not take is the app's mistake.
        drop(if atomic { store.write_atomic(run) } else { store.write(run) });
        self.event(Event::LocalWrite);
    }

    fn crash(&mut self) {
        self.said.clear();
        self.line = Line::Down;
        let conn = self.engine.take().expect("it is only away while it crashes").into_store().into_connection();
        self.engine = Some(Engine::new(done(Store::from_connection(conn, self.options.clone()))));
    }

    fn hear(&mut self, line: &str) {
        if self.line == Line::Down {
            return;
        }
        if let Ok(Down::Commit(commit)) = parse_frame::<Down>(line) {
            self.answered.extend(commit.receipts.iter().map(|receipt| receipt.id));
        }
        self.event(Event::Frame(line));
    }

    fn listen_to_the_server(&mut self) {
        for _ in 0..FRAMES_MAX {
            let Some(line) = self.said.pop_front() else { return };
            for line in self.server.hear(&line) {
                self.hear(&line);
            }
        }
        panic!("they talk without end");
    }

    /// A sealed mutation stays in the outbox until its receipt comes, and asks for the same all the time.
    fn nothing_is_lost(&mut self) {
        let waiting = done(self.engine().store().payloads_after(Seq(0), 100_000, usize::MAX));
        let mut now = BTreeMap::new();
        for (seq, payload) in waiting {
            let mutation: Mutation = serde_json::from_str(&payload).expect("a mutation that was sealed");
            assert_eq!(mutation.seq, seq);
            now.insert(mutation.id, mutation.payload_digest());
        }
        for (id, digest) in &self.sealed {
            match now.get(id) {
                Some(other) => assert_eq!(other, digest, "{id} asks for something else"),
                None => assert!(self.answered.contains(id), "{id} is gone without a receipt"),
            }
        }
        self.sealed = now;
    }

    /// The faults are over.
    fn come_to_rest(&mut self) {
        if self.line != Line::Down {
            self.hang_up();
        }
        self.is_sound();
        self.step(&Step::Connect { challenge: false });
        assert!(!self.said.is_empty(), "no fault leaves a device that does not greet");
        self.listen_to_the_server();
        assert_eq!(self.engine().state(), ConnectionState::Live);
        self.nothing_is_lost();
        let stats = done(self.engine().store().stats());
        assert_eq!(stats.pending, 0, "everything has its receipt");
        let now_ms = self.now_ms;
        let (audit, _) = done(self.engine().audit(now_ms));
        assert!(!audit.needs_repair() && audit.foreign == 0, "{audit:?}");
        self.is_sound();
        let conn = self.engine().store().reader();
        let mut statement = conn.prepare("SELECT id, title FROM notes ORDER BY id").expect("the table is there");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read");
        let rows: Vec<(String, String)> = rows.map(|row| row.expect("it holds what the server sent")).collect();
        assert_eq!(rows, RECORDS.map(|(id, title)| (id.to_owned(), title.to_owned())));
    }

    fn is_sound(&mut self) {
        let conn = self.engine().store().reader();
        let verdict: String =
            conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a database can be checked");
        assert_eq!(verdict, "ok");
    }
}
