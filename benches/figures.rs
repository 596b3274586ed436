//! The figures of the design, measured: each beside what it is compared with, as a ratio in one run.
//!
//! `cargo bench --bench figures [NAME]`. Prints one JSON line a figure. Nothing here asserts a time.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program of our own that prints, and may stop"
)]

mod support;

use std::time::Instant;

use omctl::sync::Session;
use omctl_protocol::frame::{Held, Hello, Mutate};
use omctl_protocol::{PROTOCOL, Position, Seq, Up};
use support::{Rooms, create, incarnation};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| name.contains(one.as_str()));
    if is_wanted("upload") {
        runtime.block_on(upload());
    }
}

fn report(figure: &str, values: serde_json::Value) {
    println!("{}", serde_json::json!({ "figure": figure, "values": values }));
}

/// Durable upload of one device, in batches, into `managed`; beside a bare insert of the same bodies in transactions of
/// the same size, also at `synchronous=FULL`.
async fn upload() {
    const COUNT: u64 = 100_000;
    const BATCH: u64 = 1_000;
    let folder = tempfile::tempdir().unwrap();
    let rooms = Rooms::open(folder.path()).await;
    let who = rooms.device("bench@example.com").await;
    let hello = Hello {
        protocol: PROTOCOL,
        device: who.device_id,
        incarnation: incarnation(),
        last_seq: Seq(0),
        epoch: None,
        boot: None,
        position: Position(0),
        scopes: Held { digest: None, list: Some(Vec::new()) },
        schemas: Default::default(),
        proof: None,
        zstd: false,
    };
    let (mut session, _) = Session::begin(&rooms.sync, &who, hello).await.unwrap();
    while session.is_catching_up() {
        session.catch_up().await.unwrap();
    }
    let batches: Vec<String> = (0..COUNT / BATCH)
        .map(|n| Up::Mutate(Mutate { mutations: (1..=BATCH).map(|m| create(n * BATCH + m)).collect() }).to_line())
        .collect();
    let began = Instant::now();
    for line in &batches {
        let frame = omctl_protocol::frame::parse_frame(line).unwrap();
        session.on_frame(frame).await.unwrap();
    }
    let ours = COUNT as f64 / began.elapsed().as_secs_f64();
    let bare = bare_insert(COUNT, BATCH);
    report(
        "upload",
        serde_json::json!({
            "mutations": COUNT, "batch": BATCH, "mutations_per_s": ours.round(), "bare_inserts_per_s": bare.round(),
            "ratio": (ours / bare * 1000.0).round() / 1000.0,
        }),
    );
}

fn bare_insert(count: u64, batch: u64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("bare.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE records (id TEXT PRIMARY KEY, title TEXT, body TEXT, status TEXT, hours TEXT, count INTEGER)",
        )
        .unwrap();
    let rows: Vec<_> = (1..=count).map(create).collect();
    let began = Instant::now();
    for rows in rows.chunks(batch as usize) {
        let transaction = connection.unchecked_transaction().unwrap();
        {
            let sql = "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let mut insert = transaction.prepare_cached(sql).unwrap();
            for row in rows {
                let text = |name: &str| row.new[name].as_str().unwrap();
                insert
                    .execute((
                        row.record.as_str(),
                        text("title"),
                        text("body"),
                        text("status"),
                        text("hours"),
                        text("count"),
                    ))
                    .unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    count as f64 / began.elapsed().as_secs_f64()
}
