//! The server: its real rooms, in one thread, over databases in memory that outlive a crash.
//!
//! A crash is exact: from the step at which it happens nothing of that life does anything any more. What was committed
//! until then is there for the next life.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use omctl::backend::Backend;
use omctl::backend::sqlite::SqliteBackend;
use omctl::catalog::Catalog;
use omctl::clock::{Clock, Entropy};
use omctl::http::drive::{self, Outgoing, Transport};
use omctl::identity::{Identity, PasswordChange};
use omctl::live::LiveHandle;
use omctl::push::Push;
use omctl::server::{Reload, Reloader, first_generation};
use omctl::store::{DeviceNo, Step, Store};
use omctl::sync::Sync;
use omctl::tasks::Tasks;
use omctl_protocol::frame::{CommandKind, Hello, parse_frames};
use omctl_protocol::{BootId, Up};
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::memory::{Memory, small_pages};
use crate::rng::Rng;
use crate::shaky::{Shaky, Weather};

/// What the server tells the world.
#[derive(Debug)]
pub(crate) enum Said {
    /// It is ready to serve.
    Ready(u64),
    /// It cannot start, or something in it failed that must not.
    Failed(String),
    /// It died at a step.
    Died(u64),
    /// A line for a connection.
    Line(u64, String),
    /// It ended a connection.
    Closed(u64, String),
    /// The reply to a request.
    Reply(u64, Vec<String>),
    /// An operator's change is done.
    Changed,
    /// Other definitions are live, or could not be made so.
    Reloaded(bool),
    /// A device may do nothing any more.
    Revoked(DeviceNo),
    /// A device is ordered something.
    Ordered(DeviceNo, CommandKind),
}

/// The parts of a running server that requests need.
#[derive(Clone)]
struct Rooms {
    sync: Sync,
    push: Push,
    identity: Identity,
    store: Store,
    reloader: Reloader,
}

/// One life of the server process.
pub(crate) struct Life {
    number: u64,
    dead: AtomicBool,
    /// Steps until it dies; negative: it does not.
    crash_in: AtomicI64,
    rng: Rng,
    time: Time,
    said: mpsc::UnboundedSender<Said>,
}

/// The server's clock: it follows the line of time, from where it was last set.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    pub(crate) clock: Clock,
    began: Instant,
    /// What it showed when everything began, and by how much it is wrong since.
    start_ms: Arc<AtomicI64>,
    /// Whoever ran last on a step of its own may be ahead of others: the clock goes on from there.
    latest: Arc<AtomicI64>,
}

impl Time {
    pub(crate) fn new(clock: Clock) -> Self {
        let start_ms = Arc::new(AtomicI64::new(clock.now_ms()));
        Self { clock, began: Instant::now(), start_ms, latest: Arc::default() }
    }

    /// Lets the clock follow.
    pub(crate) fn follow(&self) {
        let passed = self.began.elapsed().as_millis() as i64;
        let passed = self.latest.fetch_max(passed, Ordering::Relaxed).max(passed);
        self.clock.set(self.start_ms.load(Ordering::Relaxed) + passed);
    }

    /// The clock jumps.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.start_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.follow();
    }
}

impl Life {
    /// What happens between two steps: mostly nothing; sometimes others go first, or time passes; once, the end.
    pub(crate) async fn step(&self) {
        self.live_on().await;
        match self.rng.below(12) {
            0 => tokio::time::sleep(Duration::from_millis(self.rng.between(1, 15))).await,
            1..=3 => tokio::task::yield_now().await,
            _ => {}
        }
        self.time.follow();
        if self.crash_in.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.dead.store(true, Ordering::Relaxed);
            drop(self.said.send(Said::Died(self.number)));
        }
        self.live_on().await;
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.rng.below(limit)
    }

    async fn live_on(&self) {
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

pub(crate) struct Node {
    pub(crate) store: Arc<Mutex<Connection>>,
    pub(crate) shop: Arc<Mutex<Connection>>,
    /// Another connection to the shop.
    other_application: Connection,
    pub(crate) weather: Arc<Weather>,
    pub(crate) time: Time,
    pub(crate) disk: Arc<Disk>,
    entropy: Entropy,
    rng: Rng,
    said: mpsc::UnboundedSender<Said>,
    heard: mpsc::UnboundedReceiver<Said>,
    lives: u64,
    now: Option<(Arc<Life>, Tasks)>,
    rooms: Arc<Mutex<Option<(u64, Rooms)>>>,
    /// The ends of connections into the server.
    ears: BTreeMap<u64, mpsc::UnboundedSender<Up>>,
    windows: BTreeMap<u64, Arc<Window>>,
}

impl Node {
    /// Somebody else locks the shop for writing, or lets it go. Whether the lock could be had.
    pub(crate) fn lock_shop(&self, is_locked: bool) -> bool {
        let has_it = !self.other_application.is_autocommit();
        match (has_it, is_locked) {
            (false, true) => self.other_application.execute_batch("BEGIN IMMEDIATE").is_ok(),
            (true, false) => self.other_application.execute_batch("ROLLBACK").is_ok(),
            _ => false,
        }
    }

    /// Somebody else commits something that changes no row.
    pub(crate) fn touch_shop(&self) {
        let version: i64 =
            self.other_application.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("a pragma");
        self.other_application.pragma_update(None, "user_version", version + 1).expect("a pragma");
    }

    pub(crate) fn new(rng: Rng, time: Time) -> Self {
        let memory = Connection::open_in_memory().expect("memory is there");
        small_pages(&memory);
        let shop = Memory::new();
        let (shop, other_application) = (shop.open(), shop.open());
        let (said, heard) = mpsc::unbounded_channel();
        Self {
            store: Arc::new(Mutex::new(memory)),
            shop: Arc::new(Mutex::new(shop)),
            other_application,
            weather: Arc::default(),
            entropy: Entropy::seeded(rng.u64()),
            time,
            disk: Arc::default(),
            rng,
            said,
            heard,
            lives: 0,
            now: None,
            rooms: Arc::default(),
            ears: BTreeMap::new(),
            windows: BTreeMap::new(),
        }
    }

    /// Starts the server with these definitions: [`Said::Ready`] follows, unless it dies before.
    pub(crate) fn start(&mut self, catalog: Arc<Catalog>) {
        self.lives += 1;
        let life = Arc::new(Life {
            number: self.lives,
            dead: AtomicBool::new(false),
            crash_in: AtomicI64::new(-1),
            rng: self.rng.split(),
            time: self.time.clone(),
            said: self.said.clone(),
        });
        let tasks = Tasks::new();
        self.now = Some((life.clone(), tasks.clone()));
        let (store, shop) = (self.store.clone(), self.shop.clone());
        let (clock, entropy) = (self.time.clock.clone(), self.entropy.clone());
        // Opening it is one more thing that a lock forbids; the real server tries again, and here it is let go.
        self.lock_shop(false);
        self.disk.attach(&mut store.lock().expect("nobody panics here"));
        let (weather, said, slot) = (self.weather.clone(), self.said.clone(), self.rooms.clone());
        let disk = self.disk.clone();
        let running = tasks.clone();
        tasks.start("start", async move {
            let number = life.number;
            let shaky = Shaky::new(shop.clone(), life.clone(), weather, clock.clone());
            // Nobody waits for a lock in real time.
            shop.lock().expect("nobody panics here").busy_timeout(Duration::ZERO).expect("a setting");
            match compose(&catalog, store, shaky, life, clock, entropy, &running).await {
                Ok(rooms) => {
                    *slot.lock().expect("nobody panics here") = Some((number, rooms));
                    drop(said.send(Said::Ready(number)));
                }
                // A process that cannot start ends, and is started again.
                Err(_) if disk.has_failed() => drop(said.send(Said::Died(number))),
                Err(error) => drop(said.send(Said::Failed(format!("the server does not start: {error}")))),
            }
        });
    }

    /// Lets it die after so many steps; at once, where that is 0.
    pub(crate) fn crash(&mut self, steps: u64) {
        let Some((life, tasks)) = &self.now else { return };
        if steps > 0 {
            life.crash_in.store(steps as i64, Ordering::Relaxed);
            return;
        }
        life.dead.store(true, Ordering::Relaxed);
        tasks.token().cancel();
        self.now = None;
        self.ears.clear();
        self.windows.clear();
        *self.rooms.lock().expect("nobody panics here") = None;
    }

    /// Whether this is the life that runs now.
    pub(crate) fn is_life(&self, number: u64) -> bool {
        self.now.as_ref().is_some_and(|(life, _)| life.number == number)
    }

    /// Whether a process is there, ready or not.
    pub(crate) fn is_up(&self) -> bool {
        self.now.is_some()
    }

    pub(crate) async fn hear(&mut self) -> Said {
        self.heard.recv().await.expect("this object has a sender of its own")
    }

    /// The start of the store that runs now.
    pub(crate) fn boot(&self) -> Option<BootId> {
        Some(self.rooms()?.0.store.boot().id)
    }

    fn rooms(&self) -> Option<(Rooms, &Arc<Life>, &Tasks)> {
        let (life, tasks) = self.now.as_ref()?;
        let rooms = self.rooms.lock().expect("nobody panics here").clone()?;
        (rooms.0 == life.number).then_some((rooms.1, life, tasks))
    }

    /// A frame arrives. `false`: nobody listens there.
    pub(crate) fn arrive(&mut self, conn: u64, device: DeviceNo, up: Up) -> bool {
        if let Some(ear) = self.ears.get(&conn) {
            return ear.send(up).is_ok();
        }
        let Up::Hello(hello) = up else { return false };
        let Some((rooms, life, tasks)) = self.rooms() else { return false };
        let (ear, from) = mpsc::unbounded_channel();
        let (said, life) = (self.said.clone(), life.clone());
        let window: Arc<Window> = Arc::default();
        let mine = window.clone();
        tasks.start("session", async move {
            let mut wire = Wire { conn, life, from, said: said.clone(), window: mine };
            let ended = session(&rooms, device, *hello, &mut wire).await;
            drop(said.send(Said::Closed(conn, ended)));
        });
        self.ears.insert(conn, ear);
        self.windows.insert(conn, window);
        true
    }

    /// The server notices that a connection is gone.
    pub(crate) fn hang_up(&mut self, conn: u64) {
        self.ears.remove(&conn);
        if let Some(window) = self.windows.remove(&conn) {
            window.is_closed.store(true, Ordering::Relaxed);
            window.room.notify_waiters();
        }
    }

    /// Whether the server still believes in a connection.
    pub(crate) fn listens(&self, conn: u64) -> bool {
        self.ears.contains_key(&conn)
    }

    /// A device took a line: there is room for another one.
    pub(crate) fn taken(&self, conn: u64) {
        if let Some(window) = self.windows.get(&conn) {
            window.on_the_way.fetch_sub(1, Ordering::Relaxed);
            window.room.notify_waiters();
        }
    }

    /// A request arrives. `false`: nobody listens.
    pub(crate) fn request(&mut self, request: u64, device: DeviceNo, body: &str) -> bool {
        let Some((rooms, _, tasks)) = self.rooms() else { return false };
        let frames = match parse_frames::<Up>(body) {
            Ok(frames) => frames,
            Err(error) => {
                drop(self.said.send(Said::Failed(format!("a device sends nonsense: {error}"))));
                return false;
            }
        };
        let said = self.said.clone();
        tasks.start("request", async move {
            let lines = exchange(&rooms, device, frames).await.unwrap_or_default();
            drop(said.send(Said::Reply(request, lines)));
        });
        true
    }

    /// An operator changes an account's claims. `false`: nobody listens.
    pub(crate) fn change_claims(&mut self, email: &str, claims: serde_json::Map<String, serde_json::Value>) -> bool {
        let Some((rooms, _, tasks)) = self.rooms() else { return false };
        let (said, email, disk) = (self.said.clone(), email.to_owned(), self.disk.clone());
        tasks.start("operator", async move {
            let keep = PasswordChange::Keep;
            let said_so = match rooms.identity.change_account(&email, None, Some(claims), None, keep).await {
                Ok(_) => Said::Changed,
                // The operator is told so, and may try again.
                Err(_) if disk.has_failed() => Said::Changed,
                Err(error) => Said::Failed(format!("claims do not change: {error}")),
            };
            drop(said.send(said_so));
        });
        true
    }
}

impl Node {
    /// An operator revokes a device. `false`: nobody listens.
    pub(crate) fn revoke(&mut self, number: DeviceNo, id: omctl_protocol::DeviceId) -> bool {
        let Some((rooms, _, tasks)) = self.rooms() else { return false };
        let (said, disk) = (self.said.clone(), self.disk.clone());
        tasks.start("operator", async move {
            let said_so = match rooms.store.revoke_device(id).await {
                Ok(()) => Said::Revoked(number),
                Err(_) if disk.has_failed() => Said::Changed,
                Err(error) => Said::Failed(format!("a device is not revoked: {}", whole(&error))),
            };
            drop(said.send(said_so));
        });
        true
    }

    /// A developer saves other definitions. `false`: nobody watches.
    pub(crate) fn reload(&mut self, catalog: &Catalog) -> bool {
        let Some((rooms, _, tasks)) = self.rooms() else { return false };
        let (said, catalog) = (self.said.clone(), catalog.clone());
        tasks.start("reload", async move {
            let reloaded = rooms.reloader.change(catalog).await;
            drop(said.send(Said::Reloaded(!matches!(reloaded, Reload::Refused { .. }))));
        });
        true
    }

    /// An operator orders something of a device. `false`: nobody listens.
    pub(crate) fn order(&mut self, number: DeviceNo, id: omctl_protocol::DeviceId, kind: CommandKind) -> bool {
        let Some((rooms, _, tasks)) = self.rooms() else { return false };
        let (said, disk) = (self.said.clone(), self.disk.clone());
        tasks.start("operator", async move {
            let said_so = match rooms.store.order(id, kind).await {
                Ok(_) => Said::Ordered(number, kind),
                Err(_) if disk.has_failed() => Said::Changed,
                Err(error) => Said::Failed(format!("a device is not ordered anything: {}", whole(&error))),
            };
            drop(said.send(said_so));
        });
        true
    }

    /// What the server's data say that a device is: `active`, `locked`, `revoked` or `wiped`.
    pub(crate) fn state_of(&self, number: DeviceNo) -> String {
        let _spared = self.disk.spare();
        let store = self.store.lock().expect("nobody panics here");
        let sql = "SELECT state FROM main.device WHERE number = ?1";
        store.query_row(sql, [number], |row| row.get(0)).expect("the device is there")
    }

    /// Whether the server's data say that a device may do nothing any more.
    pub(crate) fn is_revoked(&self, number: DeviceNo) -> bool {
        self.state_of(number) == "revoked"
    }

    /// Whether the server knows that a device has carried out its newest command.
    pub(crate) fn is_confirmed(&self, number: DeviceNo) -> bool {
        let _spared = self.disk.spare();
        let store = self.store.lock().expect("nobody panics here");
        let sql = "SELECT confirmed_ms IS NOT NULL FROM main.command WHERE device = ?1 ORDER BY n DESC LIMIT 1";
        store.query_row(sql, [number], |row| row.get(0)).unwrap_or(true)
    }
}

async fn compose(
    catalog: &Catalog,
    database: Arc<Mutex<Connection>>,
    shaky: Shaky,
    life: Arc<Life>,
    clock: Clock,
    entropy: Entropy,
    tasks: &Tasks,
) -> Result<Rooms, String> {
    let text = |error: &dyn std::error::Error| whole(error);
    let step: Step = Arc::new(move || {
        let life = life.clone();
        Box::pin(async move { life.step().await }) as BoxFuture<'static, ()>
    });
    let (store, feed) = Store::inline(database, clock.clone(), entropy.clone(), Some(step)).map_err(|e| text(&e))?;
    let identity = Identity::new(store.clone(), clock, entropy).await.map_err(|e| text(&e))?;
    let backends: BTreeMap<String, Arc<dyn Backend>> = [("shop".to_owned(), Arc::new(shaky) as _)].into();
    let live = LiveHandle::new(first_generation(catalog, &store, &backends).await.map_err(|e| text(&e))?);
    let push = Push::new();
    push.start(feed, tasks);
    let sync = Sync::open(store.clone(), live.clone(), identity.clone(), tasks.clone()).await.map_err(|e| text(&e))?;
    sync.start().await.map_err(|e| text(&e))?;
    let rooms = (store.clone(), live, sync.clone(), push.clone());
    let reloader = Reloader::over(rooms, tasks.clone(), catalog.clone(), backends);
    Ok(Rooms { sync, push, identity, store, reloader })
}

async fn session(rooms: &Rooms, device: DeviceNo, hello: Hello, wire: &mut Wire) -> String {
    let who = match rooms.identity.caller(device).await {
        Ok(who) => who,
        Err(error) => return whole(&error),
    };
    match drive::drive(&rooms.sync, &rooms.push, &who, hello, wire).await {
        Ok(ended) => format!("{ended:?}"),
        Err(error) => format!("failed: {}", whole(&error)),
    }
}

/// An error with what is behind it.
fn whole(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

async fn exchange(rooms: &Rooms, device: DeviceNo, frames: Vec<Up>) -> Option<Vec<String>> {
    let who = rooms.identity.caller(device).await.ok()?;
    let mut frames = frames.into_iter();
    let Some(Up::Hello(hello)) = frames.next() else { return None };
    let lines = drive::exchange(&rooms.sync, &rooms.push, &who, *hello, frames.collect()).await.ok()?;
    Some(lines.iter().map(|line| text(line)).collect())
}

fn text(line: &[u8]) -> String {
    String::from_utf8(line.to_vec()).expect("what we encode is JSON")
}

/// The server's end of a connection.
struct Wire {
    conn: u64,
    life: Arc<Life>,
    from: mpsc::UnboundedReceiver<Up>,
    said: mpsc::UnboundedSender<Said>,
    window: Arc<Window>,
}

/// What a connection can hold on its way to a device: a sender whose reader stands still has to wait.
#[derive(Debug, Default)]
struct Window {
    on_the_way: AtomicI64,
    is_closed: AtomicBool,
    room: tokio::sync::Notify,
}

/// Lines that a connection holds.
const WINDOW: i64 = 24;

impl Window {
    async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.on_the_way.load(Ordering::Relaxed) < WINDOW || self.is_closed.load(Ordering::Relaxed) {
                return;
            }
            room.await;
        }
    }
}

/// The disk under a store: after so many instructions of the database a statement fails in its middle, after so many
/// commits one does. What the rooms see is what they see of a broken disk: an error, and the transaction is rolled back.
#[derive(Debug)]
pub(crate) struct Disk {
    fails_in: AtomicI64,
    commit_fails_in: AtomicI64,
    /// It failed since it was last in order.
    has_failed: AtomicBool,
    is_full: AtomicBool,
    /// How many look at it that are no part of the server or the app.
    spared: AtomicI64,
}

/// While it lives, nothing fails: it is not the server or the app that reads.
pub(crate) struct Spared(Arc<Disk>);

impl Drop for Spared {
    fn drop(&mut self) {
        self.0.spared.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            fails_in: AtomicI64::new(-1),
            commit_fails_in: AtomicI64::new(-1),
            has_failed: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            spared: AtomicI64::new(0),
        }
    }
}

/// So many instructions of the database are one tick of its disk.
const TICK: i32 = 40;

impl Disk {
    /// Becomes the disk of this database.
    pub(crate) fn attach(self: &Arc<Self>, connection: &mut Connection) {
        self.attach_statements(connection);
        let mine = self.clone();
        connection.commit_hook(Some(move || mine.commit_fails())).expect("a hook can be set");
    }

    /// The same, where commits have another hook.
    pub(crate) fn attach_statements(self: &Arc<Self>, connection: &mut Connection) {
        let mine = self.clone();
        let fails = move || mine.fails(&mine.fails_in);
        connection.progress_handler(TICK, Some(fails)).expect("a handler can be set");
    }

    pub(crate) fn commit_fails(&self) -> bool {
        self.fails(&self.commit_fails_in)
    }

    /// Whether a failure that was ordered has come, or it is full.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || self.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn note_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    pub(crate) fn spare(self: &Arc<Self>) -> Spared {
        self.spared.fetch_add(1, Ordering::Relaxed);
        Spared(self.clone())
    }

    fn fails(&self, countdown: &AtomicI64) -> bool {
        if self.spared.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let fails = countdown.load(Ordering::Relaxed) >= 0 && countdown.fetch_sub(1, Ordering::Relaxed) == 0;
        self.has_failed.fetch_or(fails, Ordering::Relaxed);
        fails
    }

    /// One of the next statements, or commits, fails; negative: none does.
    pub(crate) fn fail(&self, ticks: i64, commits: i64) {
        self.has_failed.store(false, Ordering::Relaxed);
        self.fails_in.store(ticks, Ordering::Relaxed);
        self.commit_fails_in.store(commits, Ordering::Relaxed);
    }
}

impl Transport for Wire {
    fn receive(&mut self) -> BoxFuture<'_, Option<Up>> {
        Box::pin(self.from.recv())
    }

    fn send(&mut self, messages: Vec<Outgoing>) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            self.life.live_on().await;
            for message in messages {
                self.window.room().await;
                self.window.on_the_way.fetch_add(1, Ordering::Relaxed);
                let line = match message {
                    Outgoing::Line(line) => text(&line),
                    Outgoing::Shared(frame) => text(&frame.plain),
                };
                drop(self.said.send(Said::Line(self.conn, line)));
            }
            true
        })
    }
}

/// The shop as its owner's database: nobody here made it, and everything that happens in it is written down by triggers
/// of its own, for the oracle.
pub(crate) async fn found_shop(connection: &Arc<Mutex<Connection>>, catalog: &Catalog) {
    connection
        .lock()
        .expect("nobody panics here")
        .execute_batch(include_str!("shop.sql"))
        .expect("the shop's schema is valid");
    let backend = SqliteBackend::inline("shop", connection.clone()).expect("SQLite is new enough");
    let installed: Vec<_> = catalog
        .channels
        .values()
        .filter(|channel| channel.backend == "shop" && channel.table != "Memo")
        .map(|channel| Arc::new(omctl::live::collection(catalog, channel)))
        .collect();
    backend.install(&installed).await.expect("our tables can be made");
}
