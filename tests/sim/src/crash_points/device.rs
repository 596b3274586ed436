//! What must be true of a phone's file after a power cut.
//!
//! What the app was told as settled, and what was acknowledged to the server, is there: the server may forget it. All else
//! may be lost, but only as a whole: the file is as it was at an earlier moment. Its cursor, its receipts and its rows are
//! those of one commit that the server sent; what is sealed is what was sent under the same number; and the tables hold
//! what the server's hashes say. The secret key is there from the first proof on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use omctl_device::{KeyFile, KeyStore as _, Store, StoreOptions};
use omctl_protocol::frame::{Down, Up, parse_frame};
use omctl_protocol::{DeviceId, Incarnation, Mutation, MutationId, Position, Receipt, ScopeKey, ScopeSum, Seq};
use rusqlite::{Connection, OptionalExtension as _};

use super::record::Recording;
use super::strace::{Call, Event};
use super::wire::{From, Line};
use super::{Party, whole};

type Sums = BTreeMap<ScopeKey, Option<ScopeSum>>;

/// A commit that came, and with it everything before it.
struct Came {
    position: Position,
    /// How many receipts had come by then.
    receipts: usize,
    sums: Sums,
}

/// One device: what it was told, and what it told.
pub(super) struct Device {
    /// The name of its file without the end.
    name: String,
    id: Option<DeviceId>,
    lines: Vec<Line>,
    next: usize,
    /// Receipts that its process had written down for good, and when.
    logs: Vec<(usize, Vec<Receipt>)>,
    next_log: usize,
    key: Vec<u8>,
    speakers: HashMap<String, Incarnation>,
    has_proved: bool,
    logged: BTreeMap<MutationId, Receipt>,
    sent: BTreeMap<(Incarnation, Seq), Mutation>,
    acked: BTreeMap<Incarnation, Seq>,
    /// At which of the commits each receipt came first.
    came_with: HashMap<MutationId, usize>,
    came: Vec<Came>,
    sums: HashMap<String, Sums>,
}

impl Device {
    pub(super) fn new(recording: &Recording, name: &str, lines: &[Line], events: &[Event]) -> Result<Self, String> {
        let file = |end: &str| recording.root.join(format!("{name}{end}"));
        let held = Connection::open(file(".db")).map_err(whole)?;
        let id = held.query_row("SELECT value FROM om_state WHERE key = 'device'", [], |row| row.get::<_, String>(0));
        let id: Option<DeviceId> = id.optional().map_err(whole)?.and_then(|text| text.parse().ok());
        // Who speaks on a connection is in its first line.
        let mut speakers: HashMap<&str, DeviceId> = HashMap::new();
        let mut mine = Vec::new();
        for line in lines {
            if line.from == From::Device
                && let Ok(Up::Hello(hello)) = parse_frame::<Up>(&line.text)
            {
                speakers.insert(&line.socket, hello.device);
            }
            if id.is_some() && speakers.get(line.socket.as_str()) == id.as_ref() {
                mine.push(line.clone());
            }
        }
        let mut device = Self {
            name: name.to_owned(),
            id,
            lines: mine,
            next: 0,
            logs: Vec::new(),
            next_log: 0,
            key: Vec::new(),
            speakers: HashMap::new(),
            has_proved: false,
            logged: BTreeMap::new(),
            sent: BTreeMap::new(),
            acked: BTreeMap::new(),
            came_with: HashMap::new(),
            came: Vec::new(),
            sums: HashMap::new(),
        };
        device.read_logs(events, &file(".receipts"), &[file(".db.key"), file(".db.key.new")]);
        Ok(device)
    }

    fn read_logs(&mut self, events: &[Event], log: &Path, keys: &[PathBuf]) {
        #[derive(serde::Deserialize)]
        struct Heard {
            receipt: Receipt,
        }
        let mut text = Vec::new();
        for event in events {
            match &event.call {
                Call::Write { path, data, .. } if path == log => text.extend_from_slice(data),
                Call::Write { path, data, .. } if keys.contains(path) => self.key.extend_from_slice(data),
                Call::Sync { path } if path == log => {
                    let lines = String::from_utf8_lossy(&std::mem::take(&mut text)).into_owned();
                    let heard = lines.lines().filter_map(|line| serde_json::from_str::<Heard>(line).ok());
                    let at = event.end.unwrap_or(usize::MAX);
                    self.logs.push((at, heard.map(|heard| heard.receipt).collect()));
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, line: &Line) -> Result<(), String> {
        if line.from == From::Device {
            match parse_frame::<Up>(&line.text).map_err(whole)? {
                Up::Hello(hello) => {
                    self.has_proved |= hello.proof.is_some();
                    self.speakers.insert(line.socket.clone(), hello.incarnation);
                }
                Up::Mutate(mutate) => {
                    let incarnation = self.speakers[&line.socket];
                    for mutation in mutate.mutations {
                        self.sent.insert((incarnation, mutation.seq), mutation);
                    }
                }
                Up::Ack(ack) => {
                    let acked = self.acked.entry(self.speakers[&line.socket]).or_default();
                    *acked = (*acked).max(ack.seq);
                }
                Up::Report(_) | Up::Bye(_) => {}
            }
            return Ok(());
        }
        let held = || self.came.last().map(|came| came.sums.clone()).unwrap_or_default();
        match parse_frame::<Down>(&line.text).map_err(whole)? {
            Down::Rows(rows) => {
                self.sums.entry(line.socket.clone()).or_insert_with(held).insert(rows.scope, rows.sum);
            }
            Down::Leave(leave) => {
                self.sums.entry(line.socket.clone()).or_insert_with(held).insert(leave.scope, leave.sum);
            }
            Down::Commit(commit) => {
                let sums = self.sums.entry(line.socket.clone()).or_insert_with(held).clone();
                for receipt in commit.receipts {
                    self.came_with.entry(receipt.id).or_insert(self.came.len());
                }
                self.came.push(Came { position: commit.position, receipts: self.came_with.len(), sums });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Party for Device {
    fn advance(&mut self, to: usize) -> Result<usize, String> {
        while let Some(line) = self.lines.get(self.next).filter(|line| line.at <= to).cloned() {
            self.hear(&line)?;
            self.next += 1;
        }
        while let Some((_, receipts)) = self.logs.get(self.next_log).filter(|(at, _)| *at <= to) {
            self.logged.extend(receipts.iter().map(|receipt| (receipt.id, receipt.clone())));
            self.next_log += 1;
        }
        Ok(self.next + self.next_log)
    }

    fn told(&self) -> usize {
        self.logged.len()
    }

    fn judge(&self, image: &Path) -> Result<(), String> {
        let file = image.join(format!("{}.db", self.name));
        let options = StoreOptions::default();
        let mut store = Store::open(&file, options).map_err(|error| format!("it does not open: {}", whole(error)))?;
        let verdict: String = store
            .connection()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .map_err(|error| format!("its integrity: {}", whole(error)))?;
        if verdict != "ok" {
            return Err(verdict);
        }
        // One that cannot be read would keep the device from ever being activated.
        let key = KeyFile(image.join(format!("{}.db.key", self.name))).load();
        let key = key.map_err(|error| format!("its key cannot be read: {error}"))?;
        if self.has_proved && key.as_ref().map(|key| key.as_slice()) != Some(self.key.as_slice()) {
            return Err("its key has proved something and is not there".into());
        }
        let held = Held::read(store.connection()).map_err(|error| format!("it cannot be read: {}", whole(error)))?;
        self.judge_receipts(&held)?;
        self.judge_outbox(&held)?;
        self.judge_checkpoint(&held)?;
        let audit = store.audit().map_err(|error| format!("the audit: {}", whole(error)))?;
        if audit.needs_repair() || audit.foreign > 0 {
            return Err(format!("its tables do not hold what came: {audit:?}"));
        }
        Ok(())
    }
}

impl Device {
    fn judge_receipts(&self, held: &Held) -> Result<(), String> {
        for (id, told) in &self.logged {
            if held.settled.get(id) != Some(told) {
                return Err(format!("the app was told {told:?}, and there is {:?}", held.settled.get(id)));
            }
        }
        for ((incarnation, seq), mutation) in &self.sent {
            let acked = self.acked.get(incarnation).is_some_and(|acked| seq <= acked);
            if acked && !held.settled.contains_key(&mutation.id) {
                return Err(format!("the receipt of {} was acknowledged and is not there", mutation.id));
            }
        }
        Ok(())
    }

    fn judge_outbox(&self, held: &Held) -> Result<(), String> {
        for (seq, mutation) in &held.outbox {
            if held.settled.contains_key(&mutation.id) {
                return Err(format!("{} is settled and waits", mutation.id));
            }
            if seq.0 > held.last_seq {
                return Err(format!("{seq} is in the outbox and the last seq is {}", held.last_seq));
            }
        }
        for ((incarnation, seq), sent) in &self.sent {
            // What is not sealed here was lost with the end of the file: the server begins a new incarnation.
            if Some(incarnation.to_string()) != held.incarnation || seq.0 > held.last_seq {
                continue;
            }
            let is_there = held.settled.contains_key(&sent.id) || held.outbox.get(seq) == Some(sent);
            if !is_there {
                return Err(format!("{seq} was sent as {}, and there is {:?}", sent.id, held.outbox.get(seq)));
            }
        }
        Ok(())
    }

    fn judge_checkpoint(&self, held: &Held) -> Result<(), String> {
        if held.position.0 == 0 {
            let nothing = held.settled.is_empty() && held.rows == 0;
            return if nothing { Ok(()) } else { Err("it has no cursor, and receipts or rows".into()) };
        }
        let newest = held.settled.keys().map(|id| self.came_with.get(id).copied()).max().flatten();
        if let Some(stranger) = held.settled.keys().find(|id| !self.came_with.contains_key(id)) {
            return Err(format!("{stranger} is settled, and no receipt came"));
        }
        let fits = |came: &Came| {
            let sums = came.sums.iter().filter_map(|(scope, sum)| Some((scope, (*sum)?)));
            sums.into_iter().all(|(scope, sum)| held.sums.get(scope) == Some(&sum))
        };
        let at: Vec<(usize, &Came)> =
            self.came.iter().enumerate().filter(|(_, came)| came.position == held.position).collect();
        let with = |(n, came): &&(usize, &Came)| {
            came.receipts == held.settled.len() && newest.is_none_or(|newest| newest <= *n)
        };
        if at.is_empty() {
            return Err(format!("its cursor is at {}, and no commit was", held.position));
        }
        if !at.iter().any(|one| with(&one)) {
            let there = held.settled.len();
            let wanted: BTreeSet<usize> = at.iter().map(|(_, came)| came.receipts).collect();
            return Err(format!("at {} {wanted:?} receipts had come, and it has {there}", held.position));
        }
        if !at.iter().filter(with).any(|(_, came)| fits(came)) {
            return Err(format!("at {} the server's sums are others than the file's", held.position));
        }
        Ok(())
    }

    /// Whether it ever came to speak.
    pub(super) fn has_spoken(&self) -> bool {
        self.id.is_some()
    }
}

/// What a file says, by plain SQL.
struct Held {
    incarnation: Option<String>,
    position: Position,
    last_seq: u64,
    settled: BTreeMap<MutationId, Receipt>,
    outbox: BTreeMap<Seq, Mutation>,
    sums: BTreeMap<ScopeKey, ScopeSum>,
    rows: i64,
}

impl Held {
    fn read(conn: &Connection) -> Result<Self, Box<dyn std::error::Error>> {
        let state =
            |key: &str| conn.query_row("SELECT value FROM om_state WHERE key = ?1", [key], |row| row.get(0)).optional();
        let number = |key: &str| -> rusqlite::Result<u64> {
            let text = conn.query_row("SELECT value FROM om_state WHERE key = ?1", [key], |row| row.get::<_, i64>(0));
            Ok(text.optional()?.unwrap_or_default().unsigned_abs())
        };
        let mut settled = BTreeMap::new();
        let mut statement = conn.prepare("SELECT receipt FROM om_settled")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let receipt: Receipt = serde_json::from_str(&row.get::<_, String>(0)?)?;
            settled.insert(receipt.id, receipt);
        }
        let mut outbox = BTreeMap::new();
        let mut statement = conn.prepare("SELECT payload FROM om_outbox")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mutation: Mutation = serde_json::from_str(&row.get::<_, String>(0)?)?;
            outbox.insert(mutation.seq, mutation);
        }
        let mut sums = BTreeMap::new();
        let mut statement = conn.prepare("SELECT key, sum FROM om_scopes WHERE gaining = 0")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sums.insert(ScopeKey::from(row.get::<_, String>(0)?), ScopeSum::from_bytes(row.get(1)?));
        }
        let mut count = 0;
        // Before its first commit a channel's table is there and empty, but for what the app wrote.
        for channel in ["notes", "wares"] {
            let table = format!("om_row_{channel}");
            if conn.table_exists(Some("main"), &table)? {
                count += conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))?;
            }
        }
        Ok(Self {
            incarnation: state("incarnation")?,
            position: Position(number("position")?),
            last_seq: number("last_seq")?,
            settled,
            outbox,
            sums,
            rows: count,
        })
    }
}
