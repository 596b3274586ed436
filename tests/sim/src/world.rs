//! The world: devices, network and server on one line of time, and what goes wrong in it.

mod edits;
mod end;
mod faults;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use omctl::catalog::Catalog;
use omctl::clock::Clock;
use omctl_device::{Action, Event as Tell, Greeting};
use omctl_protocol::Up;
use omctl_protocol::frame::parse_frame;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use crate::device::{Device, account_id, device_id};
use crate::node::{Node, Said, found_shop};
use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::trace::Trace;

/// When it all begins, in milliseconds since 1970.
const START_MS: i64 = 1_750_000_000_000;

/// Why a run failed.
#[derive(Clone, Debug)]
pub struct Failure(pub String);

pub(crate) type Checked<T = ()> = Result<T, Failure>;

/// Something that will happen.
#[derive(Debug)]
enum Event {
    /// The user of a device does something.
    Use(usize),
    /// An app that was opened wants a connection.
    Opens(usize),
    /// A device's timer.
    Wake(usize),
    /// A device's connection stands, or cannot be made.
    Connected(usize, u64),
    /// A frame reaches the server.
    Up(u64, String),
    /// A frame reaches the device; how often the server had been set back when it said it.
    Down(u64, String, u64),
    /// A device notices that its connection is gone.
    Lost(u64),
    /// The server notices that a connection is gone.
    HungUp(u64),
    /// A request reaches the server.
    Request(u64, String),
    /// The reply reaches the device.
    Reply(u64, Vec<String>, u64),
    /// The device has waited long enough for a reply.
    TimedOut(u64),
    /// Something goes wrong.
    Trouble,
    /// Somebody makes a copy of the server's data.
    Snapshot,
    ServerStarts,
    AppStarts(usize),
    BackendReturns,
    /// Somebody edits the shop without us.
    Edit,
    /// An operator changes an account's claims.
    Claims,
    /// From here on nothing goes wrong any more, and nobody writes.
    Heal,
    /// Are we there yet?
    Look,
}

struct Due {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A connection: two ordered streams.
struct Conn {
    device: usize,
    /// What was sent last arrives then: nothing overtakes it.
    up_at: u64,
    down_at: u64,
    /// Cut: nothing that is sent from now on arrives.
    up_cut: bool,
    down_cut: bool,
}

pub(crate) struct World {
    rng: Rng,
    clock: Clock,
    began: Instant,
    now: u64,
    queue: BinaryHeap<Reverse<Due>>,
    events: u64,
    node: Node,
    pub(crate) devices: Vec<Device>,
    emails: Vec<String>,
    /// What the server starts with, and which of them it has now.
    catalogs: [Arc<Catalog>; 2],
    catalog: usize,
    conns: BTreeMap<u64, Conn>,
    /// Which device waits for which request.
    requests: BTreeMap<u64, usize>,
    links: u64,
    marks: u64,
    healed_at: Option<u64>,
    done: bool,
    faults: u64,
    /// Of a hundred faults beside the usual ones, so many are the server's death.
    restless: u64,
    /// Whether the server is ever set back to a copy of its data.
    is_restored: bool,
    snapshot: Option<faults::Snapshot>,
    /// How often it was set back.
    era: u64,
    changing_claims: bool,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
}

impl World {
    pub(crate) async fn new(seed: u64, catalogs: [Arc<Catalog>; 2], trace: Trace) -> Self {
        let rng = Rng::new(seed ^ 0x6f70_656e_6d6f_6273);
        let catalogs = some_channels(&rng, catalogs);
        let clock = Clock::manual(START_MS);
        let node = Node::new(rng.split(), clock.clone());
        found_shop(&node.shop, &catalogs[0]).await;
        let emails: Vec<String> = ["ana", "ben", "cleo"].iter().map(|name| format!("{name}@example.com")).collect();
        let count = rng.between(2, 5) as usize;
        let devices: Vec<Device> = (0..count).map(|index| Device::new(index, index % 3, rng.split())).collect();
        let regions = [&["north"][..], &["north", "south"], &[]];
        let claims: Vec<Json> = regions.iter().enumerate().map(|(n, regions)| claims_of(n, regions)).collect();
        let oracle = Oracle::new(catalogs.clone(), emails.clone(), &claims);
        let restless = *rng.pick(&[0, 0, 40]);
        let is_restored = rng.percent(40);
        let mut world = Self {
            rng,
            clock,
            began: Instant::now(),
            now: 0,
            queue: BinaryHeap::new(),
            events: 0,
            node,
            devices,
            emails,
            catalogs,
            catalog: 0,
            conns: BTreeMap::new(),
            requests: BTreeMap::new(),
            links: 0,
            marks: 0,
            healed_at: None,
            done: false,
            faults: 0,
            restless,
            is_restored,
            snapshot: None,
            era: 0,
            changing_claims: false,
            oracle,
            trace,
        };
        world.provision(&claims);
        world
    }

    /// Accounts and devices, as if they had been activated before.
    fn provision(&mut self, claims: &[Json]) {
        let store = self.node.store.lock().expect("nobody panics here");
        // The first start makes the tables; they are there when nothing else is.
        store.execute_batch("PRAGMA temp_store = MEMORY").expect("a setting");
        drop(store);
        let (clock, entropy) = (self.clock.clone(), omctl::clock::Entropy::seeded(self.rng.u64()));
        drop(omctl::store::Store::inline(self.node.store.clone(), clock, entropy, None).expect("an empty store"));
        let store = self.node.store.lock().expect("nobody panics here");
        for (index, (email, claims)) in self.emails.iter().zip(claims).enumerate() {
            store
                .execute(
                    "INSERT INTO account (number, id, email, claims, created_ms) VALUES (?1, ?2, ?3, ?4, 0)",
                    rusqlite::params![index + 1, account_id(index).0.as_bytes(), email, claims.to_string()],
                )
                .expect("an account");
        }
        for device in &self.devices {
            store
                .execute(
                    "INSERT INTO device (number, id, account, name, platform, public_key, created_ms, seen_ms)
                        VALUES (?1, ?2, ?3, 'd', 'simulated', zeroblob(65), 0, 0)",
                    rusqlite::params![device.number, device_id(device.index).0.as_bytes(), device.account + 1],
                )
                .expect("a device");
        }
        store.execute_batch(include_str!("history.sql")).expect("the oracle's own tables");
    }

    /// Lets time run until everybody agrees, or somebody is wrong.
    pub(crate) async fn run(&mut self) -> Checked {
        self.server_starts();
        let writing_ms = self.rng.between(15_000, 40_000);
        self.plan(writing_ms, Event::Heal);
        for device in 0..self.devices.len() {
            let first = self.rng.below(2_000);
            self.plan(first, Event::Opens(device));
            self.plan(self.rng.between(500, 5_000), Event::Use(device));
        }
        self.plan(self.rng.between(1_000, 4_000), Event::Edit);
        self.plan(self.rng.between(2_000, 6_000), Event::Trouble);
        self.plan(self.rng.between(5_000, 20_000), Event::Claims);
        if self.is_restored {
            self.plan(self.rng.between(1_000, 8_000), Event::Snapshot);
        }
        while !self.done {
            let Some(Reverse(next)) = self.queue.peek() else {
                return Err(Failure("nothing happens any more".into()));
            };
            let at = self.began + Duration::from_millis(next.at);
            // What the server says comes first: it says it now, and the next event is later.
            let said = tokio::select! {
                biased;
                said = self.node.hear() => Some(said),
                () = tokio::time::sleep_until(at) => None,
            };
            self.pass_time();
            match said {
                Some(said) => self.server_says(said)?,
                None => {
                    let Reverse(due) = self.queue.pop().expect("it was there");
                    self.happen(due.event)?;
                }
            }
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        self.now = self.began.elapsed().as_millis() as u64;
        let behind = START_MS + self.now as i64 - self.clock.now_ms();
        self.clock.advance(Duration::from_millis(behind.max(0) as u64));
    }

    fn now_ms(&self) -> i64 {
        START_MS + self.now as i64
    }

    fn plan(&mut self, after_ms: u64, event: Event) {
        self.events += 1;
        self.queue.push(Reverse(Due { at: self.now + after_ms, number: self.events, event }));
    }

    fn is_healed(&self) -> bool {
        self.healed_at.is_some()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.note(self.now, what);
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Use(device) => self.someone_writes(device),
            Event::Opens(device) if self.devices[device].is_running() => self.connect(device),
            Event::Opens(_) => Ok(()),
            Event::Wake(device) => self.tell(device, Tell::Tick),
            Event::Connected(device, conn) => self.connected(device, conn),
            Event::Up(conn, line) => self.reaches_server(conn, &line),
            Event::Down(conn, line, era) => self.reaches_device(conn, &line, era),
            Event::Lost(conn) => self.lost(conn),
            Event::HungUp(conn) => {
                self.node.hang_up(conn);
                Ok(())
            }
            Event::Request(request, body) => {
                if let Some(device) = self.requests.get(&request) {
                    let number = self.devices[*device].number;
                    self.node.request(request, number, &body);
                }
                Ok(())
            }
            Event::Reply(request, lines, era) => self.replied(request, &lines, era),
            Event::TimedOut(request) => self.timed_out(request),
            Event::Trouble => self.trouble(),
            Event::Snapshot => self.take_snapshot(),
            Event::ServerStarts => {
                if !self.node.is_up() {
                    self.server_starts();
                }
                Ok(())
            }
            Event::AppStarts(device) => self.app_starts(device),
            Event::BackendReturns => {
                self.node.weather.down.store(false, Ordering::Relaxed);
                Ok(())
            }
            Event::Edit => self.edit(),
            Event::Claims => self.change_claims(),
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    // ---- the server's side

    fn server_says(&mut self, said: Said) -> Checked {
        match said {
            Said::Ready(life) => {
                self.note(|| format!("server ready, life {life}"));
                Ok(())
            }
            Said::Failed(why) => Err(Failure(why)),
            Said::Died(life) => {
                if self.node.is_life(life) {
                    self.server_dies()
                } else {
                    Ok(())
                }
            }
            Said::Line(conn, line) => {
                let delay = self.delay();
                let Some(link) = self.conns.get_mut(&conn) else { return Ok(()) };
                if link.down_cut {
                    return Ok(());
                }
                link.down_at = link.down_at.max(self.now + delay);
                let after = link.down_at - self.now;
                self.plan(after, Event::Down(conn, line, self.era));
                Ok(())
            }
            Said::Closed(conn, how) => {
                self.note(|| format!("server closes {conn}: {how}"));
                self.node.hang_up(conn);
                self.hang_up_on_device(conn);
                Ok(())
            }
            Said::Reply(request, lines) => {
                if !self.is_healed() && self.rng.percent(20) {
                    self.note(|| format!("reply to request {request} is lost"));
                    return Ok(());
                }
                let delay = self.delay();
                self.plan(delay, Event::Reply(request, lines, self.era));
                Ok(())
            }
            Said::Changed => {
                self.changing_claims = false;
                Ok(())
            }
        }
    }

    /// The end of a connection travels behind what was sent before it.
    fn hang_up_on_device(&mut self, conn: u64) {
        let delay = self.delay();
        let Some(link) = self.conns.get_mut(&conn) else { return };
        link.down_at = link.down_at.max(self.now + delay);
        link.down_cut = true;
        let after = link.down_at - self.now;
        self.plan(after, Event::Lost(conn));
    }

    /// The server starts, sometimes with other definitions than before.
    fn server_starts(&mut self) {
        if self.rng.percent(60) {
            self.catalog = 1 - self.catalog;
        }
        let catalog = self.catalog;
        self.note(|| format!("server starts with definitions {catalog}"));
        self.oracle.server_starts(catalog, &self.node.store.lock().expect("nobody panics here"));
        self.node.start(self.catalogs[catalog].clone());
    }

    fn server_dies(&mut self) -> Checked {
        self.note(|| "server dies".into());
        self.node.crash(0);
        self.changing_claims = false;
        self.may_set_back()?;
        let conns: Vec<u64> = self.conns.keys().copied().collect();
        for conn in conns {
            self.hang_up_on_device(conn);
        }
        let away = if self.is_healed() { 10 } else { self.rng.between(10, 6_000) };
        self.plan(away, Event::ServerStarts);
        Ok(())
    }

    // ---- a device's side

    fn tell(&mut self, device: usize, event: Tell<'_>) -> Checked {
        if !self.devices[device].is_running() {
            return Ok(());
        }
        let now = self.now_ms();
        match self.devices[device].handle(now, event) {
            Some(actions) => self.act(device, actions),
            None => {
                self.app_dies(device, false);
                Ok(())
            }
        }
    }

    fn act(&mut self, device: usize, actions: Vec<Action>) -> Checked {
        for action in actions {
            match action {
                Action::Send(line) => {
                    self.oracle.device_says(device, &line)?;
                    self.trace.line(self.now, "up", device, &line);
                    let Some(conn) = self.devices[device].conn else { continue };
                    let delay = self.delay();
                    let Some(link) = self.conns.get_mut(&conn) else { continue };
                    if link.up_cut {
                        continue;
                    }
                    link.up_at = link.up_at.max(self.now + delay);
                    let after = link.up_at - self.now;
                    self.plan(after, Event::Up(conn, line));
                }
                Action::Connect => self.connect(device)?,
                Action::Close => {
                    if let Some(conn) = self.devices[device].conn {
                        self.plan(self.rng.below(500), Event::HungUp(conn));
                        self.plan(0, Event::Lost(conn));
                    }
                }
                Action::WakeAt(at) => {
                    let at = at - self.devices[device].skew_ms - START_MS;
                    let after = (at - self.now as i64).max(0) as u64;
                    self.plan(after, Event::Wake(device));
                }
                Action::Settled(receipts) => self.oracle.settled(device, &receipts)?,
                Action::Changed(_) => {}
                Action::State(state) => self.note(|| format!("device {device} is {state:?}")),
            }
        }
        Ok(())
    }

    fn connect(&mut self, device: usize) -> Checked {
        if self.devices[device].conn.is_some() || self.devices[device].request.is_some() {
            return Ok(());
        }
        self.links += 1;
        let link = self.links;
        let delay = self.delay();
        if !self.is_healed() && self.rng.percent(self.devices[device].one_shot) {
            return self.send_request(device, link);
        }
        self.devices[device].conn = Some(link);
        let conn = Conn { device, up_at: self.now, down_at: self.now, up_cut: false, down_cut: false };
        self.conns.insert(link, conn);
        self.plan(delay, Event::Connected(device, link));
        Ok(())
    }

    fn connected(&mut self, device: usize, conn: u64) -> Checked {
        if self.devices[device].conn != Some(conn) {
            return Ok(());
        }
        if !self.node.is_up() {
            return self.lost(conn);
        }
        self.tell(device, Tell::Connected(Greeting::Plain))
    }

    fn reaches_server(&mut self, conn: u64, line: &str) -> Checked {
        let Some(link) = self.conns.get(&conn) else { return Ok(()) };
        let number = self.devices[link.device].number;
        let up: Up = parse_frame(line).map_err(|error| Failure(format!("a device sends nonsense: {error}: {line}")))?;
        if !self.node.arrive(conn, number, up) {
            self.hang_up_on_device(conn);
        }
        Ok(())
    }

    fn reaches_device(&mut self, conn: u64, line: &str, era: u64) -> Checked {
        let Some(link) = self.conns.get(&conn) else { return Ok(()) };
        let device = link.device;
        if self.devices[device].conn != Some(conn) || !self.devices[device].is_running() {
            return Ok(());
        }
        self.trace.line(self.now, "down", device, line);
        self.oracle.server_says(device, self.devices[device].account, line, era == self.era)?;
        self.tell(device, Tell::Frame(line))?;
        if line.starts_with(r#"{"commit""#) && self.devices[device].is_running() {
            self.oracle.look_at_screen(&self.devices[device], era == self.era)?;
        }
        Ok(())
    }

    fn lost(&mut self, conn: u64) -> Checked {
        let Some(link) = self.conns.get(&conn) else { return Ok(()) };
        let device = link.device;
        if self.devices[device].conn != Some(conn) {
            return Ok(());
        }
        self.devices[device].conn = None;
        self.note(|| format!("device {device} loses {conn}"));
        self.tell(device, Tell::Disconnected)
    }

    fn send_request(&mut self, device: usize, request: u64) -> Checked {
        let now = self.now_ms() + self.devices[device].skew_ms;
        let Ok(body) = self.devices[device].engine().begin_request(now) else {
            self.app_dies(device, false);
            return Ok(());
        };
        for line in body.lines() {
            self.oracle.device_says(device, line)?;
        }
        self.trace.line(self.now, "request", device, &body);
        self.devices[device].request = Some(request);
        self.requests.insert(request, device);
        self.plan(8_000, Event::TimedOut(request));
        if self.rng.percent(10) {
            self.note(|| format!("request {request} is lost"));
            return Ok(());
        }
        let delay = self.delay();
        // Some box on the way may repeat it, long after.
        if self.rng.percent(25) {
            let late = delay + self.rng.below(20_000);
            self.plan(late, Event::Request(request, body.clone()));
        }
        self.plan(delay, Event::Request(request, body));
        Ok(())
    }

    fn replied(&mut self, request: u64, lines: &[String], era: u64) -> Checked {
        let device = self.requests[&request];
        if self.devices[device].request != Some(request) || !self.devices[device].is_running() {
            return Ok(());
        }
        for line in lines {
            self.trace.line(self.now, "reply", device, line);
            self.oracle.server_says(device, self.devices[device].account, line, era == self.era)?;
            self.tell(device, Tell::Frame(line))?;
            if !self.devices[device].is_running() {
                return Ok(());
            }
        }
        self.oracle.look_at_screen(&self.devices[device], era == self.era)?;
        self.devices[device].request = None;
        if self.devices[device].engine().end_request().is_err() {
            self.app_dies(device, false);
            return Ok(());
        }
        self.tell(device, Tell::Disconnected)
    }

    fn timed_out(&mut self, request: u64) -> Checked {
        let device = self.requests[&request];
        if self.devices[device].request != Some(request) {
            return Ok(());
        }
        self.devices[device].request = None;
        self.tell(device, Tell::Disconnected)
    }

    fn someone_writes(&mut self, device: usize) -> Checked {
        if self.is_healed() {
            return Ok(());
        }
        let busy = if self.rng.percent(30) { 60 } else { 2_500 };
        self.plan(self.rng.between(20, busy), Event::Use(device));
        if !self.devices[device].is_running() {
            return Ok(());
        }
        match self.devices[device].use_app(&self.emails) {
            None => Ok(()),
            Some(None) => {
                self.app_dies(device, false);
                Ok(())
            }
            Some(Some(writes)) => {
                for write in &writes {
                    self.note(|| format!("device {device} writes {write:?}"));
                }
                self.devices[device].written += writes.len();
                self.oracle.written(writes);
                // Another process of the same app may be the writer: then the engine finds it later.
                if self.rng.percent(80) { self.tell(device, Tell::LocalWrite) } else { Ok(()) }
            }
        }
    }

    fn app_dies(&mut self, device: usize, power: bool) {
        self.note(|| format!("app {device} dies{}", if power { ", power cut" } else { "" }));
        let conn = self.devices[device].conn;
        if power {
            let kept = self.devices[device].cut_power();
            self.oracle.set_back(device, kept);
        } else {
            self.devices[device].kill();
        }
        if let Some(conn) = conn {
            let notices = self.rng.below(if self.is_healed() { 100 } else { 10_000 });
            self.plan(notices, Event::HungUp(conn));
        }
        let away = if self.is_healed() { 10 } else { self.rng.between(10, 5_000) };
        self.plan(away, Event::AppStarts(device));
    }

    fn app_starts(&mut self, device: usize) -> Checked {
        if self.devices[device].is_running() {
            return Ok(());
        }
        if !self.devices[device].start().map_err(|error| Failure(format!("app {device} does not start: {error:?}")))? {
            self.app_dies(device, false);
            return Ok(());
        }
        self.note(|| format!("app {device} starts"));
        self.connect(device)
    }

    /// How long something is on its way.
    fn delay(&mut self) -> u64 {
        match self.rng.below(100) {
            _ if self.is_healed() => self.rng.between(1, 20),
            0..=1 => self.rng.between(1_000, 12_000),
            2..=20 => self.rng.between(50, 800),
            _ => self.rng.between(1, 40),
        }
    }

    /// How much happened.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults
    }
}

/// What an account says of itself: its regions change, its word in membership rows does not.
fn claims_of(account: usize, regions: &[&str]) -> Json {
    json!({ "regions": regions, "staff": format!("s{}", account + 1) })
}

/// Channels that need each other.
const GROUPS: [&[&str]; 10] = [
    &["notes"],
    &["own", "piece"],
    &["area"],
    &["artist", "album", "tag"],
    &["memo"],
    &["members", "job"],
    &["client", "bill"],
    &["form"],
    &["ware"],
    &["rule"],
];

/// A project of some of the channels: the fewer there are, the more happens in each.
fn some_channels(rng: &Rng, catalogs: [Arc<Catalog>; 2]) -> [Arc<Catalog>; 2] {
    let mut left_out: Vec<&str> = Vec::new();
    for group in GROUPS.iter().filter(|_| rng.percent(50)) {
        left_out.extend(*group);
    }
    // Something is always there.
    let there = *rng.pick(&GROUPS);
    left_out.retain(|channel| !there.contains(channel));
    catalogs.map(|catalog| {
        let mut catalog = (*catalog).clone();
        catalog.channels.retain(|name, _| !left_out.contains(&name.as_str()));
        Arc::new(catalog)
    })
}
