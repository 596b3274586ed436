//! The world: devices, network and server on one line of time, and what goes wrong in it.

mod edits;
mod end;
mod faults;
mod network;
mod orders;
mod reload;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use omctl::catalog::Catalog;
use omctl::clock::Clock;
use omctl_device::{Action, Event as Tell};
use omctl_protocol::BootId;
use omctl_protocol::frame::CommandKind;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use self::faults::Passing;
use crate::Plan;
use crate::device::{Device, account_id, device_id};
use crate::fault::{Fault, Faults};
use crate::node::{Node, Said, Time, found_shop};
use crate::oracle::{Oracle, last_batch};
use crate::rng::Rng;
use crate::trace::Trace;

/// A device that is revoked is served no longer than this.
const REVOKED_WITHIN_MS: u64 = 5_000;

/// A write into a slow backend, and the reads that its journaling may take, take no longer than this.
const SLOW_WRITE_MS: u64 = 60_000;

/// A message that stands still somewhere does so for at most ten minutes.
const LONG_DELAY_MS: u64 = 600_000;

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
    /// The reply reaches the device, whole or only its beginning.
    Reply(u64, Vec<String>, u64, bool),
    /// The device has waited long enough for a reply.
    TimedOut(u64),
    /// Something goes wrong.
    Trouble,
    /// Somebody makes a copy of the server's data.
    Snapshot,
    ServerStarts,
    AppStarts(usize),
    /// What was wrong is right again.
    Passes(Passing),
    /// Somebody edits the shop without us.
    Edit,
    /// An operator changes an account's claims.
    Claims,
    /// A developer saves other definitions.
    Reload,
    /// An operator revokes a device.
    Revoke(usize),
    /// An operator orders something of a device.
    Order(usize, CommandKind),
    /// That was some time ago.
    IsOut(usize, u64),
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
    /// Of which time the server is that speaks on it; `None`: it has not greeted.
    era: Option<u64>,
    /// What was on its way is lost, too.
    is_void: bool,
}

pub(crate) struct World {
    rng: Rng,
    time: Time,
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
    pub(crate) faults: Faults,
    /// Of a hundred faults beside the usual ones, so many are the server's death.
    restless: u64,
    /// For how long users write.
    writing_ms: u64,
    snapshot: Option<faults::Snapshot>,
    /// How often it was set back, or found that its backend was.
    era: u64,
    /// To which of these times each start of the store belongs.
    eras: BTreeMap<BootId, u64>,
    /// The one that was seen last.
    boot: Option<BootId>,
    changing_claims: bool,
    /// Other definitions are being made live.
    reloading: bool,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
}

impl World {
    pub(crate) async fn new(plan: &Plan, catalogs: [Arc<Catalog>; 2], trace: Trace) -> Self {
        let rng = Rng::new(plan.seed ^ 0x6f70_656e_6d6f_6273);
        let faults = Faults::some(&rng.split(), &plan.without);
        let catalogs = some_channels(&rng, &faults, catalogs);
        let time = Time::new(Clock::manual(START_MS));
        let node = Node::new(rng.split(), time.clone());
        found_shop(&node.shop, &catalogs[0]).await;
        let emails: Vec<String> = ["ana", "ben", "cleo"].iter().map(|name| format!("{name}@example.com")).collect();
        let count = rng.between(2, 5) as usize;
        let count = plan.devices.map_or(count, |most| count.min(most).max(1));
        let may_lose_power = faults.may(Fault::PowerCut);
        let devices: Vec<Device> =
            (0..count).map(|index| Device::new(index, index % 3, rng.split(), may_lose_power)).collect();
        let regions = [&["north"][..], &["north", "south"], &[]];
        let claims: Vec<Json> = regions.iter().enumerate().map(|(n, regions)| claims_of(n, regions)).collect();
        let oracle = Oracle::new(catalogs.clone(), emails.clone(), &claims);
        let restless = *rng.pick(&[0, 0, 40]);
        let writing_ms = rng.between(15_000, 40_000);
        let writing_ms = plan.writing_ms.map_or(writing_ms, |most| writing_ms.min(most));
        let mut world = Self {
            rng,
            time,
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
            faults,
            restless,
            writing_ms,
            snapshot: None,
            era: 0,
            eras: BTreeMap::new(),
            boot: None,
            changing_claims: false,
            reloading: false,
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
        let (clock, entropy) = (self.time.clock.clone(), omctl::clock::Entropy::seeded(self.rng.u64()));
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
        store.execute_batch(include_str!("history_triggers.sql")).expect("the oracle's own triggers");
    }

    /// Lets time run until everybody agrees, or somebody is wrong.
    pub(crate) async fn run(&mut self) -> Checked {
        self.server_starts()?;
        self.plan(self.writing_ms, Event::Heal);
        for device in 0..self.devices.len() {
            let first = self.rng.below(2_000);
            self.plan(first, Event::Opens(device));
            self.plan(self.rng.between(500, 5_000), Event::Use(device));
        }
        self.plan(self.rng.between(1_000, 4_000), Event::Edit);
        self.plan(self.rng.between(2_000, 6_000), Event::Trouble);
        self.plan(self.rng.between(5_000, 20_000), Event::Claims);
        if self.faults.may(Fault::Revoked) && self.rng.percent(30) && self.devices.len() > 1 {
            let device = self.rng.below(self.devices.len() as u64) as usize;
            self.plan(self.rng.between(3_000, self.writing_ms.max(3_001)), Event::Revoke(device));
        }
        self.plan_orders();
        self.plan_reload();
        if [Fault::ServerSetBack, Fault::BothSetBack, Fault::BackendSetBack]
            .into_iter()
            .any(|fault| self.faults.may(fault))
        {
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
        self.time.follow();
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
            Event::Wake(device) => {
                self.ping(device)?;
                self.tell(device, Tell::Tick)
            }
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
            Event::Reply(request, lines, era, is_whole) => self.replied(request, &lines, era, is_whole),
            Event::TimedOut(request) => self.timed_out(request),
            Event::Trouble => self.trouble(),
            Event::Passes(fault) => {
                self.passes(fault);
                Ok(())
            }
            Event::Snapshot => self.take_snapshot(),
            Event::ServerStarts => {
                if self.node.is_up() {
                    Ok(())
                } else {
                    self.server_starts()
                }
            }
            Event::AppStarts(device) => self.app_starts(device),
            Event::Edit => self.edit(),
            Event::Claims => self.change_claims(),
            Event::Reload => self.reload(),
            Event::Revoke(device) => {
                let (number, id) = (self.devices[device].number, device_id(device));
                if !self.is_healed() && !self.node.revoke(number, id) {
                    // Nobody is there to do it: later.
                    self.plan(1_000, Event::Revoke(device));
                }
                Ok(())
            }
            Event::Order(device, kind) => self.order(device, kind),
            Event::IsOut(device, then) => {
                if self.devices[device].barred_at == Some(then) {
                    let _spared = self.node.disk.spare();
                    let store = self.node.store.lock().expect("nobody panics here");
                    self.devices[device].last_batch = Some(last_batch(&store, self.devices[device].number));
                }
                Ok(())
            }
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    // ---- the server's side

    fn server_says(&mut self, said: Said) -> Checked {
        self.look_at_boot()?;
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
                self.is_still_served(conn, &line)?;
                let delay = self.delay();
                let told = self.era_of([line.as_str()].into_iter());
                let Some(link) = self.conns.get_mut(&conn) else { return Ok(()) };
                link.era = told.or(link.era);
                let era = link.era.unwrap_or(self.era);
                if link.down_cut {
                    return Ok(());
                }
                link.down_at = link.down_at.max(self.now + delay);
                let after = link.down_at - self.now;
                self.plan(after, Event::Down(conn, line, era));
                Ok(())
            }
            Said::Closed(conn, how) => {
                self.note(|| format!("server closes {conn}: {how}"));
                self.node.hang_up(conn);
                self.hang_up_on_device(conn);
                Ok(())
            }
            Said::Reply(request, mut lines) => {
                if self.strikes(Fault::LostReply, 20) {
                    self.note(|| format!("reply to request {request} is lost"));
                    return Ok(());
                }
                let breaks = !lines.is_empty() && self.strikes(Fault::CutInMessage, 15);
                if breaks {
                    lines.truncate(self.rng.below(lines.len() as u64) as usize);
                    self.note(|| format!("reply to request {request} breaks off after {} lines", lines.len()));
                }
                let delay = self.delay();
                let era = self.era_of(lines.iter().map(String::as_str)).unwrap_or(self.era);
                self.plan(delay, Event::Reply(request, lines, era, !breaks));
                Ok(())
            }
            Said::Changed => {
                self.changing_claims = false;
                Ok(())
            }
            Said::Reloaded(is_live) => {
                self.reloaded(is_live);
                Ok(())
            }
            Said::Revoked(number) => {
                let index = self.bar(number, true);
                self.faults.count(Fault::Revoked);
                self.note(|| format!("device {index} is revoked"));
                Ok(())
            }
            Said::Ordered(number, kind) => self.ordered(number, kind),
        }
    }

    /// The server starts, sometimes with other definitions than before.
    fn server_starts(&mut self) -> Checked {
        if self.rng.percent(60) && self.faults.may(Fault::Schema) {
            self.catalog = 1 - self.catalog;
            self.count_new_definitions();
        }
        let catalog = self.catalog;
        self.note(|| format!("server starts with definitions {catalog}"));
        let _spared = self.node.disk.spare();
        self.oracle.server_starts(catalog, &self.node.store.lock().expect("nobody panics here"))?;
        self.node.start(self.catalogs[catalog].clone());
        Ok(())
    }

    fn server_dies(&mut self) -> Checked {
        self.note(|| "server dies".into());
        self.node.crash(0);
        self.changing_claims = false;
        self.reloading = false;
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
                self.stumbles(device);
                Ok(())
            }
        }
    }

    /// The engine could not keep something: the app died in it, or the disk failed, and then it begins a connection anew.
    fn stumbles(&mut self, device: usize) {
        if self.devices[device].is_dying() {
            return self.app_dies(device, false);
        }
        self.note(|| format!("device {device} cannot write"));
        self.devices[device].request = None;
        if let Some(conn) = self.devices[device].conn {
            self.plan(0, Event::Lost(conn));
            self.plan(self.rng.below(100), Event::HungUp(conn));
        } else {
            self.plan(200, Event::Opens(device));
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
                Action::Locked(lock) => self.is_locked(device, lock)?,
                Action::State(state) => self.note(|| format!("device {device} is {state:?}")),
            }
        }
        Ok(())
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
            None => {
                let refusals = std::mem::take(&mut self.devices[device].refusals);
                self.oracle.kept(17, refusals);
                Ok(())
            }
            Some(None) => {
                if self.devices[device].is_dying() {
                    self.app_dies(device, false);
                } else {
                    self.note(|| format!("device {device} cannot save"));
                }
                Ok(())
            }
            Some(Some(writes)) => {
                for write in &writes {
                    self.note(|| format!("device {device} writes {write:?}"));
                }
                self.devices[device].written += writes.len();
                self.oracle.written(writes);
                // Another process of the same app may be the writer: then the engine finds it later.
                if self.strikes(Fault::OtherProcess, 20) { Ok(()) } else { self.tell(device, Tell::LocalWrite) }
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

    /// How much happened.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Whether a fault happens now that has this chance; counts it.
    fn strikes(&mut self, fault: Fault, percent: u64) -> bool {
        let strikes = self.rng.percent(percent) && !self.is_healed() && self.faults.may(fault);
        if strikes {
            self.faults.count(fault);
        }
        strikes
    }

    /// Other definitions are live: what of them is other.
    fn count_new_definitions(&mut self) {
        let has = |channel: &str| self.catalogs[0].channels.contains_key(channel);
        if has("form") || has("ware") {
            self.faults.count(Fault::Schema);
        }
        if has("rule") {
            self.faults.count(Fault::ScopeRule);
        }
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
fn some_channels(rng: &Rng, faults: &Faults, catalogs: [Arc<Catalog>; 2]) -> [Arc<Catalog>; 2] {
    let mut left_out: Vec<&str> = Vec::new();
    for group in GROUPS.iter().filter(|_| rng.percent(50)) {
        left_out.extend(*group);
    }
    // Something is always there.
    let there = *rng.pick(&GROUPS);
    left_out.retain(|channel| !there.contains(channel));
    let lease = rng.pick(&[None, Some(120), Some(30 * 86_400)]).filter(|_| faults.may(Fault::LeaseExpired));
    catalogs.map(|catalog| {
        let mut catalog = (*catalog).clone();
        catalog.devices.lease = lease.map(Duration::from_secs);
        catalog.channels.retain(|name, _| !left_out.contains(&name.as_str()));
        Arc::new(catalog)
    })
}
