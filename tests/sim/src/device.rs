//! A device: the real engine over a database in memory that outlives the app's process, and what a user does with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use omctl::store::DeviceNo;
use omctl_device::{Action, Engine, Event, Store, StoreError, StoreOptions};
use omctl_protocol::{AccountId, DeviceId};
use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::oracle::LocalWrite;
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

/// What a user may change on the screens of the app.
const SCREENS: [(&str, u64); 7] =
    [("notes", 30), ("own", 10), ("area", 10), ("artist", 15), ("album", 15), ("tag", 12), ("memo", 8)];

/// Where each channel's marks are: fields in which every value is written once only.
pub(crate) const MARKED: [(&str, &str); 9] = [
    ("notes", "title"),
    ("notes", "body"),
    ("notes", "strict"),
    ("own", "title"),
    ("area", "title"),
    ("artist", "Name"),
    ("album", "Title"),
    ("tag", "note"),
    ("memo", "line"),
];

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

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("m{}.{}", self.index + 1, self.marks)
    }

    /// The user does something: one local transaction. `None`: there was nothing to be done. `Some(None)`: the app died
    /// in it.
    pub(crate) fn use_app(&mut self, emails: &[String]) -> Option<Option<Vec<LocalWrite>>> {
        let mut statements: Vec<(String, Vec<LocalWrite>)> = Vec::new();
        for _ in 0..if self.rng.percent(15) { self.rng.between(2, 4) } else { 1 } {
            let mut dice = self.rng.below(100);
            let mut screens = SCREENS.iter();
            let channel = loop {
                let (channel, weight) = screens.next().expect("weights add up to a hundred");
                if dice < *weight {
                    break *channel;
                }
                dice -= weight;
            };
            if self.store().schemas().any(|schema| schema.channel.as_str() == channel) {
                statements.extend(self.statement(channel, emails));
            }
        }
        if statements.is_empty() {
            return None;
        }
        let written = self
            .engine()
            .store_mut()
            .write(|tx| statements.iter().map(|(sql, _)| tx.execute(sql, [])).collect::<Result<Vec<_>, _>>());
        // One that met no row (an earlier one of the same transaction deleted it) wrote nothing.
        Some(written.ok().map(|(rows, _)| {
            let hit = statements.into_iter().zip(rows).filter(|(_, rows)| *rows > 0);
            hit.flat_map(|((_, writes), _)| writes).collect()
        }))
    }

    fn one(&self, sql: &str) -> Option<String> {
        self.store().connection().query_row(sql, [], |row| row.get(0)).ok()
    }

    /// Some record of a table.
    fn any(&self, table: &str) -> Option<String> {
        let count: u64 = self.one(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}"))?.parse().ok()?;
        // A few records are everybody's favourites: that is where conflicts come from.
        let place = if self.rng.percent(60) { self.rng.below(count.min(3)) } else { self.rng.below(count) };
        self.one(&format!("SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET {place}"))
    }

    fn statement(&mut self, channel: &str, emails: &[String]) -> Option<(String, Vec<LocalWrite>)> {
        let dice = self.rng.below(100);
        let existing = self.any(channel);
        let mut writes = Vec::new();
        let mut say = |device: &mut Self, record: &str, field: &str| {
            let mark = device.mark();
            writes.push(LocalWrite {
                device: device.index,
                channel: channel.to_owned(),
                record: record.to_owned(),
                field: field.to_owned(),
                mark: mark.clone(),
            });
            mark
        };
        let sql = match existing {
            Some(id) if dice >= 35 => {
                let quoted = id.replace('\'', "''");
                if dice >= 90 {
                    writes.push(LocalWrite {
                        device: self.index,
                        channel: channel.to_owned(),
                        record: id,
                        field: String::new(),
                        mark: String::new(),
                    });
                    format!("DELETE FROM {channel} WHERE id = '{quoted}'")
                } else {
                    let set = match (channel, self.rng.below(8)) {
                        ("notes", 0) => format!("hours = coalesce(hours, 0) + {}", self.rng.between(1, 9)),
                        ("notes", 1) => format!("best = coalesce(best, 0) + {}", self.rng.between(1, 50)),
                        ("notes", 2) => {
                            format!("tags = json_insert(coalesce(tags, '[]'), '$[#]', 't{}')", say(self, &id, "tags"))
                        }
                        ("notes", 3) => {
                            format!("body = '{}', hours = coalesce(hours, 0) + 1", say(self, &id, "body"))
                        }
                        ("notes", 4) => format!("strict = '{}'", say(self, &id, "strict")),
                        ("notes", 5) => {
                            format!("title = '{}', body = '{}'", say(self, &id, "title"), say(self, &id, "body"))
                        }
                        ("own", 0) => format!("owner = '{}'", self.rng.pick(emails)),
                        ("area", 0 | 1) => format!("region = '{}'", self.rng.pick(&["north", "south"])),
                        ("artist", 0 | 1) => format!("fans = coalesce(fans, 0) + {}", self.rng.between(1, 9)),
                        ("album", 0 | 1) => format!("stock = coalesce(stock, 0) - {}", self.rng.between(1, 9)),
                        ("album", 2) => format!("price = '{}.{}5'", self.rng.below(90), self.rng.below(9)),
                        ("tag", 0 | 1) => format!("weight = coalesce(weight, 0) + {}", self.rng.between(1, 50)),
                        _ => {
                            let field = main_field(channel);
                            format!("{field} = '{}'", say(self, &id, field))
                        }
                    };
                    format!("UPDATE {channel} SET {set} WHERE id = '{quoted}'")
                }
            }
            _ => {
                let id = uuid_v7(&self.rng);
                let field = main_field(channel);
                let mark = say(self, &id, field);
                let reference = |device: &Self, table: &str| {
                    device.any(table).map_or("NULL".into(), |id| format!("'{}'", id.replace('\'', "''")))
                };
                let (more, values) = match channel {
                    "notes" => {
                        let parent = if self.rng.percent(40) { reference(self, "notes") } else { "NULL".into() };
                        ("hours, parent", format!("{}, {parent}", self.rng.below(9)))
                    }
                    "own" => {
                        let owner = if self.rng.percent(90) { &emails[self.account] } else { self.rng.pick(emails) };
                        ("owner", format!("'{owner}'"))
                    }
                    "area" => ("region", format!("'{}'", self.rng.pick(&["north", "north", "south"]))),
                    "artist" => ("fans", self.rng.below(9).to_string()),
                    "album" => {
                        // Sometimes of an artist who is created in the same breath.
                        let artist = reference(self, "artist");
                        ("stock, artist", format!("{}, {artist}", self.rng.below(9)))
                    }
                    "tag" => {
                        let words = ["loud", "quiet", "red", "blue", "old"];
                        let album = reference(self, "album");
                        ("AlbumId, Word", format!("{album}, '{}'", self.rng.pick(&words)))
                    }
                    _ => ("", String::new()),
                };
                let comma = if more.is_empty() { "" } else { ", " };
                format!("INSERT INTO {channel} (id, {field}{comma}{more}) VALUES ('{id}', '{mark}'{comma}{values})")
            }
        };
        Some((sql, writes))
    }
}

fn main_field(channel: &str) -> &'static str {
    MARKED.iter().find(|(name, _)| *name == channel).expect("every channel has marks").1
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
