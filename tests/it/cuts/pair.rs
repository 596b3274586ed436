//! Two devices of an account that take turns, and what must be true after each turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use omctl::clock::Entropy;
use omctl::server::Running;
use omctl_device::{ConnectionState, Mobster};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use uuid::Uuid;

use super::Faults;
use super::wire::{Cut, Wire};
use crate::fleet::activate;

/// A managed channel and one over an external database.
const CHANNELS: [&str; 2] = ["ours", "theirs"];

/// Records of each channel that every turn adds one to: what is done twice, or not at all, is in their sum.
const COUNTERS: u64 = 3;

/// Records of each channel that a turn makes, and that the device's next one deletes: it knows no newer ones of the other.
const MADE: u64 = 2;

/// Words of 16 letters in a record that is made.
const NOTE_WORDS: u64 = 65;

/// Mutations of one turn.
pub(super) const MUTATIONS: u64 = (COUNTERS + 2 * MADE) * CHANNELS.len() as u64;

/// How a device speaks to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// A WebSocket that the link makes again by itself.
    Socket,
    /// `POST /v1/sync`, when the app asks for it.
    Requests,
}

/// What goes wrong after a cut, so that the looks at the files can be seen to find it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sabotage {
    /// The device takes what it has sent for done.
    OutboxDropped,
    /// The server has forgotten which mutations it knows.
    MutationsForgotten,
}

/// How a turn went.
pub(super) struct Turn {
    pub(super) is_cut: bool,
    /// Bytes of the direction at hand.
    pub(super) passed: u64,
}

struct Side {
    app: Mobster,
    wire: Wire,
    file: Connection,
    /// Mutations of it that have been looked at.
    looked_at: i64,
}

pub(super) struct Pair {
    form: Form,
    name: String,
    sides: [Side; 2],
    turns: u64,
    entropy: Entropy,
    shop: Connection,
    store: Connection,
}

impl Pair {
    pub(super) async fn new(server: &Running, root: &Path, number: u64, form: Form, entropy: &Entropy) -> Self {
        // The scope's key must name it, and no other one.
        let name = format!("pair{number}x");
        let mut sides = Vec::new();
        for n in 0..2 {
            let path = root.join(format!("{name}{n}.db"));
            let app = Mobster::builder(&path).background(form == Form::Socket).open().unwrap();
            activate(&app, server, &email(&name)).await;
            app.sync_now().await.unwrap();
            let wire = Wire::to(server.addr).await;
            rest(&app, form).await;
            app.use_server(&format!("http://{}", wire.addr)).await.unwrap();
            sides.push(Side { app, wire, file: open(path), looked_at: 0 });
        }
        let sides = <[Side; 2]>::try_from(sides).ok().unwrap();
        let (shop, store) = (open(root.join("shop.db")), open(root.join("data/store.db")));
        let entropy = Entropy::seeded(entropy.u64());
        let mut pair = Self { form, name, sides, turns: 1, entropy, shop, store };
        pair.write_first().await;
        pair
    }

    /// The counters, and what the first turns delete.
    async fn write_first(&mut self) {
        let owner = email(&self.name);
        let mut sql = String::new();
        for channel in CHANNELS {
            let counters = (0..COUNTERS).map(|n| (format!("counter {n}"), "counts"));
            let made = (0..2 * MADE).map(|n| (self.made(n / MADE, n % MADE), "made"));
            for (title, note) in counters.chain(made) {
                sql += &format!(
                    "INSERT INTO {channel} (owner, title, n, note) VALUES ('{owner}', '{title}', 0, '{note}');"
                );
            }
        }
        self.sides[1].app.transaction(move |tx| tx.execute_batch(&sql)).await.unwrap();
        self.sides[1].looked_at = (CHANNELS.len() as u64 * (COUNTERS + 2 * MADE)) as i64;
        for side in self.sides.iter().rev() {
            side.app.set_online(true);
            side.app.sync_now().await.unwrap();
            rest(&side.app, self.form).await;
        }
    }

    /// The title of a record that this turn makes.
    fn made(&self, turn: u64, n: u64) -> String {
        format!("{} {turn} {n}", self.name)
    }

    /// One device writes, speaks until it is cut, and then once more.
    pub(super) async fn turn(&mut self, cut: Cut, sabotage: Option<Sabotage>) -> Turn {
        let (sql, form) = (self.writes(), self.form);
        self.turns += 1;
        let side = &mut self.sides[(self.turns % 2) as usize];
        side.app.transaction(move |tx| tx.execute_batch(&sql)).await.unwrap();
        let (mut cuts, mut connections) = side.wire.begin(cut);
        let before = *connections.borrow_and_update();
        side.app.set_online(true);
        let mut is_cut = match form {
            Form::Socket => tokio::select! {
                biased;
                _ = cuts.changed() => true,
                done = side.app.sync_now() => done.map(|()| false).unwrap(),
            },
            Form::Requests => side.app.sync_now().await.is_err(),
        };
        if !is_cut {
            // The device has what it wanted; what it still says may be cut, too.
            is_cut = tokio::time::timeout(Duration::from_millis(3), cuts.changed()).await.is_ok();
        }
        let passed = side.wire.end(cut.way);
        if let (true, Some(sabotage)) = (is_cut, sabotage) {
            rest(&side.app, form).await;
            match sabotage {
                Sabotage::OutboxDropped => side.file.execute_batch("DELETE FROM om_outbox").unwrap(),
                Sabotage::MutationsForgotten => {
                    // Dedupe rows that are missing would be taken for a database that was set back; in a table of them that
                    // was made anew nobody looks for any.
                    let anew = "BEGIN IMMEDIATE;
                        UPDATE om_applied SET digest = randomblob(16) WHERE mutation = zeroblob(16)";
                    self.shop.execute_batch(anew).unwrap();
                    for id in texts(&side.file, "SELECT mutation FROM om_outbox WHERE ?1 <> ''", &self.name) {
                        let id = id.parse::<Uuid>().unwrap();
                        self.store.execute("DELETE FROM mutation WHERE id = ?1", [id.as_bytes()]).unwrap();
                        self.shop.execute("DELETE FROM om_applied WHERE mutation = ?1", [id.as_bytes()]).unwrap();
                    }
                    self.shop.execute_batch("COMMIT").unwrap();
                    // And of this outbox alone the answers that it does not have: what it has stays true.
                    let incarnation: String = side
                        .file
                        .query_row("SELECT value FROM om_state WHERE key = 'incarnation'", [], |row| row.get(0))
                        .unwrap();
                    let incarnation = incarnation.parse::<Uuid>().unwrap();
                    let first: Option<i64> =
                        side.file.query_row("SELECT min(seq) FROM om_outbox", [], |row| row.get(0)).unwrap();
                    if let Some(first) = first {
                        let forget = "DELETE FROM receipt_batch WHERE last_seq >= ?2
                            AND incarnation = (SELECT number FROM incarnation WHERE id = ?1)";
                        self.store.execute(forget, rusqlite::params![incarnation.as_bytes(), first]).unwrap();
                        let forget = "UPDATE incarnation SET accepted = 0 WHERE id = ?1";
                        self.store.execute(forget, [incarnation.as_bytes()]).unwrap();
                    }
                }
            }
        }
        if is_cut && form == Form::Socket {
            // A state from before the cut would do for the next call, too.
            side.app.set_online(true);
            connections.wait_for(|count| *count >= before + 2).await.unwrap();
        }
        side.app.sync_now().await.unwrap();
        rest(&side.app, form).await;
        Turn { is_cut, passed }
    }

    fn writes(&self) -> String {
        let mut sql = String::new();
        let (owner, turn) = (email(&self.name), self.turns + 1);
        for channel in CHANNELS {
            for n in 0..MADE {
                // What cannot be compressed to nothing: a session shall be long without many writes.
                let note: String = (0..NOTE_WORDS).map(|_| format!("{:016x}", self.entropy.u64())).collect();
                let (title, gone) = (self.made(turn, n), self.made(turn - 2, n));
                sql += &format!(
                    "INSERT INTO {channel} (owner, title, n, note) VALUES ('{owner}', '{title}', 0, '{note}');"
                );
                sql += &format!("DELETE FROM {channel} WHERE title = '{gone}';");
            }
            // The newest one is sent once more to a server that knows it: done twice, it would show.
            sql += &format!("UPDATE {channel} SET n = n + 1 WHERE title LIKE 'counter %';");
        }
        sql
    }

    /// What is wrong after the last turn.
    pub(super) fn look(&mut self) -> Faults {
        let mut faults = Faults::default();
        let mut expected = BTreeMap::new();
        for n in 0..COUNTERS {
            expected.insert(format!("counter {n}"), self.turns - 1);
        }
        for turn in [self.turns - 1, self.turns] {
            expected.extend((0..MADE).map(|n| (self.made(turn, n), 0)));
        }
        let in_store = "SELECT (log.body ->> '$[1]') || '|' || (log.body ->> '$[2]') FROM scope
            JOIN member ON member.scope = scope.number JOIN log ON log.position = member.position
            WHERE instr(scope.key, ?1) > 0 AND scope.key LIKE 'ours%' AND log.body IS NOT NULL ORDER BY 1";
        let in_shop = "SELECT Title || '|' || N FROM Theirs WHERE Owner LIKE ?1 || '@%' ORDER BY 1";
        let backends = [texts(&self.store, in_store, &self.name), texts(&self.shop, in_shop, &self.name)];
        let file = &self.sides[(self.turns % 2) as usize].file;
        for (channel, rows) in CHANNELS.into_iter().zip(backends) {
            faults.compare(channel, &expected, &rows);
            let on_device = format!("SELECT title || '|' || n FROM {channel} WHERE owner LIKE ?1 || '@%' ORDER BY 1");
            let held = texts(file, &on_device, &self.name);
            if held != rows {
                faults.untrue += 1;
                faults.why.push(format!("the device holds of {channel} {held:?}, and there is {rows:?}"));
            }
        }
        self.look_at_receipts(&mut faults);
        faults
    }

    /// Each mutation of the turn has one receipt, which is the server's.
    fn look_at_receipts(&mut self, faults: &mut Faults) {
        let side = &mut self.sides[(self.turns % 2) as usize];
        let mut statement =
            side.file.prepare_cached("SELECT mutation, receipt FROM om_settled ORDER BY n DESC LIMIT ?1").unwrap();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let told = statement.query_map([MUTATIONS as i64], read).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let one = |sql| side.file.prepare_cached(sql).unwrap().query_row([], |row| row.get::<_, i64>(0)).unwrap();
        let settled = one("SELECT count(*) FROM om_settled");
        let left = one("SELECT count(*) FROM om_outbox") + one("SELECT count(*) FROM om_rejected");
        side.looked_at += MUTATIONS as i64;
        if settled != side.looked_at || left != 0 {
            faults.untrue += 1;
            faults.why.push(format!("{settled} receipts of {} mutations, {left} left", side.looked_at));
        }
        for (mutation, receipt) in told {
            let id: Uuid = mutation.parse().unwrap();
            let sql = "SELECT body FROM mutation JOIN receipt_batch ON number = batch WHERE id = ?1";
            let mut statement = self.store.prepare_cached(sql).unwrap();
            let batch = statement.query_row([id.as_bytes()], |row| row.get::<_, String>(0)).optional().unwrap();
            let batch = batch.map_or(Vec::new(), |body| serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap());
            let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
            if batch.iter().filter(|one| one["id"] == receipt["id"]).collect::<Vec<_>>() != [&receipt] {
                faults.untrue += 1;
                faults.why.push(format!("the device was told {receipt}, and the server has {batch:?}"));
            }
        }
    }
}

impl Faults {
    /// What a backend has against what it must have.
    fn compare(&mut self, channel: &str, expected: &BTreeMap<String, u64>, rows: &[String]) {
        let mut found: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for row in rows {
            let (title, n) = row.split_once('|').unwrap();
            found.entry(title).or_default().push(n.parse().unwrap());
        }
        let before = (self.lost, self.doubled);
        for (title, n) in expected {
            let there = found.remove(title.as_str()).unwrap_or_default();
            let sum: u64 = there.iter().sum();
            self.lost += n.saturating_sub(sum) + u64::from(there.is_empty());
            self.doubled += sum.saturating_sub(*n) + (there.len() as u64).saturating_sub(1);
        }
        // What was to be deleted.
        self.lost += found.len() as u64;
        if before != (self.lost, self.doubled) {
            self.why.push(format!("{channel} has {rows:?}, and not {expected:?}"));
        }
    }
}

/// Ends the device's connection.
async fn rest(app: &Mobster, form: Form) {
    app.set_online(false);
    if form == Form::Socket {
        app.state().wait_for(|state| *state == ConnectionState::Offline).await.unwrap();
    }
}

fn email(name: &str) -> String {
    format!("{name}@example.com")
}

fn open(path: PathBuf) -> Connection {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

fn texts(connection: &Connection, sql: &str, name: &str) -> Vec<String> {
    let mut statement = connection.prepare_cached(sql).unwrap();
    statement.query_map([name], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}
