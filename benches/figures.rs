//! The figures of the design, measured: each beside what it is compared with, as a ratio in one run.
//!
//! `cargo bench --bench figures [-- NAME]`. Prints one JSON line a figure. Nothing here asserts a time.

#![allow(clippy::print_stdout, clippy::unwrap_used, unreachable_pub, reason = "a program of our own that may stop")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use omctl::clock::{Clock, Entropy};
use omctl::push::Mail;
use omctl::server::{self, ServerSettings};
use omctl::sync::Session;
use omctl_device::{Credentials, Engine, Event, Greeting, Mobster, Store, StoreOptions};
use omctl_protocol::frame::{Held, Hello, Mutate, parse_frame};
use omctl_protocol::{PROTOCOL, Position, Seq, Up, Value};
use rusqlite::Connection;
use support::{Rooms, create, incarnation, shop};

const RECORDS: u64 = 100_000;
const BATCH: u64 = 1_000;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| name.contains(one.as_str()));
    if is_wanted("upload") {
        runtime.block_on(upload());
    }
    if is_wanted("first_sync") {
        runtime.block_on(first_sync());
    }
    if is_wanted("external") {
        runtime.block_on(external());
    }
    if is_wanted("visible") {
        runtime.block_on(visible());
    }
    if is_wanted("scopes") {
        runtime.block_on(scopes());
    }
    if is_wanted("cold_start") {
        report("cold_start", runtime.block_on(support::toolkit::cold_start()));
    }
    if is_wanted("reload") {
        report("reload", runtime.block_on(support::toolkit::reload()));
    }
}

fn report(figure: &str, values: serde_json::Value) {
    println!("{}", serde_json::json!({ "figure": figure, "values": values }));
}

fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (number * scale).round() / scale
}

fn hello(who: &omctl::identity::Principal) -> Hello {
    Hello {
        protocol: PROTOCOL,
        device: who.device_id,
        incarnation: incarnation(),
        last_seq: Seq(0),
        settled: None,
        epoch: None,
        boot: None,
        position: Position(0),
        scopes: Held { list: Some(Vec::new()), ..Held::default() },
        schemas: Default::default(),
        shapes: Default::default(),
        proof: None,
        kept: None,
        zstd: false,
        command: 0,
    }
}

async fn session(rooms: &Rooms) -> Session {
    let who = rooms.device("bench@example.com").await;
    let (mut session, _) = Session::begin(&rooms.sync, &who, hello(&who)).await.unwrap();
    while session.is_catching_up() {
        session.catch_up().await.unwrap();
    }
    session
}

fn batches(channel: &str, count: u64) -> Vec<String> {
    let batch = |n: u64| (1..=BATCH).map(|m| create(channel, n * BATCH + m)).collect();
    (0..count / BATCH).map(|n| Up::Mutate(Mutate { mutations: batch(n) }).to_line()).collect()
}

/// Durable upload of one device, in batches, into `managed`; beside a bare insert of the same rows in transactions of
/// the same size, also at `synchronous=FULL`.
async fn upload() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = Rooms::open(folder.path()).await;
    let mut session = session(&rooms).await;
    let lines = batches("records", RECORDS);
    let began = Instant::now();
    for line in &lines {
        session.on_frame(parse_frame(line).unwrap()).await.unwrap();
    }
    let ours = RECORDS as f64 / began.elapsed().as_secs_f64();
    let bare = bare_insert(&folder.path().join("bare.db"), RECORDS, BATCH, "FULL");
    report(
        "upload",
        serde_json::json!({
            "mutations": RECORDS, "batch": BATCH, "mutations_per_s": ours.round(), "bare_inserts_per_s": bare.round(),
            "ratio": rounded(ours / bare, 3),
        }),
    );
}

/// First sync of one device, persisted in its typed table; beside a bare prepared insert of the same rows into the same
/// table. The server's session and the device's engine run on two threads, as over a socket.
async fn first_sync() {
    let folder = tempfile::tempdir().unwrap();
    let rooms = Rooms::open(folder.path()).await;
    let mut uploading = session(&rooms).await;
    for line in &batches("records", RECORDS) {
        uploading.on_frame(parse_frame(line).unwrap()).await.unwrap();
    }
    let who = rooms.device("new@example.com").await;
    let path = folder.path().join("device.db");
    let mut store = Store::open(&path, StoreOptions::default()).unwrap();
    store.activate(who.device_id, who.account_id).unwrap();
    let mut engine = Engine::new(store);
    let began = Instant::now();
    let greeting = engine.handle(0, Event::Connected(Greeting::Plain)).unwrap();
    let hello = match &greeting[0] {
        omctl_device::Action::Send(line) => match parse_frame::<Up>(line).unwrap() {
            Up::Hello(hello) => *hello,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let (sender, receiver) = std::sync::mpsc::sync_channel::<bytes::Bytes>(64);
    let device = std::thread::spawn(move || {
        for line in receiver {
            engine.handle(0, Event::Frame(std::str::from_utf8(&line).unwrap())).unwrap();
        }
        engine
    });
    let (mut session, step) = Session::begin(&rooms.sync, &who, hello).await.unwrap();
    let mut lines = step.lines;
    loop {
        for line in lines.drain(..) {
            sender.send(line).unwrap();
        }
        if !session.is_catching_up() {
            break;
        }
        lines = session.catch_up().await.unwrap().lines;
    }
    drop(sender);
    let engine = device.join().unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let ours = RECORDS as f64 / seconds;
    let held: u64 =
        engine.store().connection().query_row("SELECT count(*) FROM records", [], |row| row.get(0)).unwrap();
    assert_eq!(held, RECORDS);
    let bare = bare_insert(&folder.path().join("bare.db"), RECORDS, BATCH, "NORMAL");
    report(
        "first_sync",
        serde_json::json!({
            "records": RECORDS, "rows_per_s": ours.round(), "bare_inserts_per_s": bare.round(),
            "ratio": rounded(ours / bare, 3),
        }),
    );
}

/// Upload into a SQLite table that somebody else owns, installed: exactly once; beside the bare transactions into it.
async fn external() {
    const COUNT: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let (rooms, database) = shop(folder.path()).await;
    let mut session = session(&rooms).await;
    let lines = batches("parts", COUNT);
    let began = Instant::now();
    for line in &lines {
        session.on_frame(parse_frame(line).unwrap()).await.unwrap();
    }
    let watch = Connection::open(&database).unwrap();
    let mut count = watch.prepare("SELECT count(*) FROM parts").unwrap();
    while count.query_row([], |row| row.get::<_, u64>(0)).unwrap() < COUNT || rooms.waiting().await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ours = COUNT as f64 / began.elapsed().as_secs_f64();
    let bare = bare_insert(&folder.path().join("bare.db"), COUNT, 500, "FULL");
    report(
        "external",
        serde_json::json!({
            "mutations": COUNT, "mutations_per_s": ours.round(), "bare_inserts_per_s": bare.round(),
            "ratio": rounded(ours / bare, 3),
        }),
    );
}

/// A write on one device until it is visible to a query on another, both live over sockets; beside one bare commit at
/// `synchronous=FULL` on this disk.
async fn visible() {
    const TIMES: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let catalog = support::catalog();
    let settings = ServerSettings {
        addr: ([127, 0, 0, 1], 0).into(),
        data_dir: folder.path().join("data"),
        hosts: Vec::new(),
        trusted_proxies: Vec::new(),
        tls: None,
        in_development: true,
    };
    let running = server::start(settings, &catalog, Clock::System, Entropy::System).await.unwrap();
    let url = format!("http://{}", running.addr);
    let mut apps = Vec::new();
    for name in ["a", "b"] {
        let email = format!("{name}@example.com");
        support::account(&running.identity, &email).await;
        let (code, _) = running.identity.create_code(&email).await.unwrap();
        let app = Mobster::open(&folder.path().join(format!("{name}.db"))).unwrap();
        app.activate(&url, Credentials::Code(code)).await.unwrap();
        app.sync_now().await.unwrap();
        apps.push(app);
    }
    let sql = "INSERT INTO records (id, title) VALUES (?1, 'seen')";
    let mut times = Vec::with_capacity(TIMES);
    let reader = Connection::open(folder.path().join("b.db")).unwrap();
    let mut seen = reader.prepare("SELECT 1 FROM records WHERE id = ?1").unwrap();
    for n in 0..TIMES {
        let id = uuid::Uuid::from_u128(n as u128 + 1).to_string();
        let began = Instant::now();
        apps[0].execute(sql, vec![Value::Text(id.clone())]).await.unwrap();
        // The runtime's timer counts in milliseconds: too coarse for what is measured here.
        tokio::task::block_in_place(|| {
            while !seen.exists([&id]).unwrap() {
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let commit = bare_commit_ms(&folder.path().join("commit.db"));
    report(
        "visible",
        serde_json::json!({
            "times": TIMES, "p50_ms": rounded(times[TIMES / 2], 2), "p99_ms": rounded(times[TIMES * 99 / 100], 2),
            "bare_full_commit_ms": rounded(commit, 2), "p50_minus_commit_ms": rounded(times[TIMES / 2] - commit, 2),
        }),
    );
    running.stop().await;
}

/// What a change costs a device that sees it, beside more and more that it does not see: 20,000 records in 1, 100 and
/// 10,000 scopes, a device with one of them and one with 32 (where there are so many).
async fn scopes() {
    let mut first = None;
    for (in_log, held) in [(1, 1), (100, 1), (10_000, 1), (100, 32), (10_000, 32)] {
        let (catch_up_us, live_us) = scopes_of(in_log, held).await;
        let (catch_up_first, live_first) = *first.get_or_insert((catch_up_us, live_us));
        report(
            "scopes",
            serde_json::json!({
                "scopes_in_log": in_log, "scopes_on_device": held,
                "catch_up_us_per_change": rounded(catch_up_us, 1), "live_us_per_change": rounded(live_us, 1),
                "catch_up_ratio": rounded(catch_up_us / catch_up_first, 2), "live_ratio": rounded(live_us / live_first, 2),
            }),
        );
    }
}

/// Microseconds a change, caught up with and live. The device's own scopes have the same records, however many others
/// there are beside them.
async fn scopes_of(in_log: usize, held: usize) -> (f64, f64) {
    const TIMES: usize = 400;
    const RECORDS: usize = 20_000;
    const OWN: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let rooms = Rooms::regions(folder.path(), (RECORDS, in_log), (OWN, held)).await;
    let regions: Vec<String> = (0..held).map(|n| format!("own{n}")).collect();
    let (writer, reader) =
        (rooms.device_of("writer@example.com", &regions).await, rooms.device_of("reader@example.com", &regions).await);
    let (mut writing, _) = rooms.session(&writer, hello(&writer)).await;
    let (mut reading, digest) = rooms.session(&reader, hello(&reader)).await;
    let mailbox = rooms.push.register(reader.device, reader.account, reading.incarnation());
    mailbox.watch(reading.scopes(), reading.links());
    let position = rooms.store.newest_position().await.unwrap();
    let mut live = Duration::ZERO;
    for n in 0..TIMES as u64 {
        let change = support::in_region(n + 1, &regions[n as usize % held]);
        let line = Up::Mutate(Mutate { mutations: vec![change] }).to_line();
        let began = Instant::now();
        writing.on_frame(parse_frame(&line).unwrap()).await.unwrap();
        let (last, frames) = loop {
            if let Mail::Commit { last, frames, .. } = mailbox.next().await {
                break (last, frames);
            }
        };
        assert!(reading.live(last, Vec::new(), !frames.is_empty()).send_frames);
        live += began.elapsed();
    }
    // The same changes for a device that was away.
    let boot = rooms.store.boot();
    let mut greeting = hello(&reader);
    (greeting.epoch, greeting.boot, greeting.position) = (Some(boot.epoch), Some(boot.id), position);
    greeting.scopes = Held { digest: Some(digest), ..Held::default() };
    let began = Instant::now();
    let rounds = 20;
    for _ in 0..rounds {
        let (mut session, _) = Session::begin(&rooms.sync, &reader, greeting.clone()).await.unwrap();
        let mut bytes = 0;
        while session.is_catching_up() {
            bytes += session.catch_up().await.unwrap().lines.iter().map(bytes::Bytes::len).sum::<usize>();
        }
        assert!(bytes > TIMES * 50, "the changes were sent");
    }
    let per_change = |time: Duration, changes: usize| time.as_secs_f64() * 1e6 / changes as f64;
    (per_change(began.elapsed(), rounds * TIMES), per_change(live, TIMES))
}

fn bare_commit_ms(path: &Path) -> f64 {
    let connection = Connection::open(path).unwrap();
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)";
    connection.execute_batch(setup).unwrap();
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let began = Instant::now();
            connection.execute("INSERT INTO t (x) VALUES ('some text of a usual length')", []).unwrap();
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn bare_insert(path: &Path, count: u64, batch: u64, synchronous: &str) -> f64 {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
             CREATE TABLE records (id TEXT PRIMARY KEY, title TEXT, body TEXT, status TEXT, hours TEXT, count INTEGER)"
        ))
        .unwrap();
    let rows: Vec<_> = (1..=count).map(|n| create("records", n)).collect();
    let began = Instant::now();
    for rows in rows.chunks(batch as usize) {
        let transaction = connection.unchecked_transaction().unwrap();
        {
            let sql = "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let mut insert = transaction.prepare_cached(sql).unwrap();
            for row in rows {
                let text = |name: &str| row.new[name].as_str().unwrap();
                let number: i64 = text("count").parse().unwrap();
                insert
                    .execute((row.record.as_str(), text("title"), text("body"), text("status"), text("hours"), number))
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    count as f64 / began.elapsed().as_secs_f64()
}
