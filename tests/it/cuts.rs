//! The connection is cut after every single byte of a session, in each direction: nothing is lost, nothing is done twice.
//!
//! Two devices of one account take turns. Each turn one of them has written offline, and the other one, too, while it was
//! away: so its session has mutations, rows and receipts. The wire ([`wire`]) lets so many bytes of one direction through,
//! and no more. Then the device connects again, freely, and everything is looked at in the files themselves ([`pair`]).
//!
//! The test tries every 397th byte of a WebSocket, and fewer where one direction alone is cut and of single requests.
//! `OMCTL_CUTS=1` makes it every single one; with `OMCTL_CUTS_REPORT=FILE` the last line of
//! that file says what was found.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod pair;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use omctl::clock::Entropy;
use omctl::server::Running;
use rusqlite::Connection;
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use self::pair::{Form, Pair, Sabotage};
use self::wire::{Cut, Way};
use crate::fleet::serve;

/// Turns of one pair: old ones have much that each look at the files would read.
const TURNS: u64 = 300;

/// Pairs at work at one time, of each form.
const PAIRS: [(Form, usize); 2] = [(Form::Socket, 4), (Form::Requests, 2)];

/// A direction is done after so many sessions in a row that ended before the cut: they are not all of one length.
const UNCUT_MAX: u64 = 6;

/// More than this is wrong at the first look.
const FAULTS_MAX: usize = 5;

/// The cuts of one form, direction and way to break.
#[derive(Debug)]
struct Job {
    form: Form,
    way: Way,
    is_half: bool,
    /// Not as many places as where both directions of a WebSocket are cut, by this factor.
    sparse: u64,
    next: AtomicU64,
    uncut: AtomicU64,
    /// The longest session, in bytes of this direction.
    longest: AtomicU64,
    cuts: AtomicU64,
}

impl Job {
    fn is_done(&self) -> bool {
        self.uncut.load(Ordering::Relaxed) >= UNCUT_MAX
    }

    fn note(&self, is_cut: bool, passed: u64) {
        if is_cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
            self.uncut.store(0, Ordering::Relaxed);
        } else {
            self.longest.fetch_max(passed, Ordering::Relaxed);
            self.uncut.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn jobs() -> Vec<Job> {
    let job = |form, way, is_half, sparse| Job {
        form,
        way,
        is_half,
        sparse,
        next: AtomicU64::new(0),
        uncut: AtomicU64::new(0),
        longest: AtomicU64::new(0),
        cuts: AtomicU64::new(0),
    };
    let mut jobs = Vec::new();
    for way in [Way::Up, Way::Down] {
        jobs.push(job(Form::Socket, way, false, 1));
        jobs.push(job(Form::Socket, way, true, 3));
        jobs.push(job(Form::Requests, way, false, 7));
    }
    jobs
}

/// What was wrong.
#[derive(Debug, Default)]
struct Faults {
    lost: u64,
    doubled: u64,
    /// Receipts that the server does not have, and devices that are not as the backend.
    untrue: u64,
    why: Vec<String>,
}

fn project(root: &std::path::Path) {
    std::fs::create_dir(root.join("channels")).unwrap();
    let shop = Connection::open(root.join("shop.db")).unwrap();
    shop.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE Theirs (Id INTEGER PRIMARY KEY, Owner TEXT, Title TEXT, N INTEGER, Note TEXT);
         CREATE INDEX TheirOwner ON Theirs (Owner)",
    )
    .unwrap();
    let settings = "version: 1\nname: cuts\nbackends: { shop: { kind: sqlite, path: shop.db } }\n";
    std::fs::write(root.join("openmobster.yaml"), settings).unwrap();
    let write = "scope: { owner: account.email }\nwrite: { create: any, update: any, delete: any }\n";
    let ours = "fields:\n  owner: { type: text }\n  title: { type: text }\n  n: { type: int, conflict: sum }\n  \
                note: { type: text }\n";
    std::fs::write(root.join("channels/ours.yaml"), format!("{write}{ours}")).unwrap();
    let theirs = "backend: shop\ntable: Theirs\nkey: { columns: [Id], assigned_by: backend }\nfields:\n  \
                  owner: { type: text, column: Owner }\n  title: { type: text, column: Title }\n  \
                  n: { type: int, column: N, conflict: sum }\n  note: { type: text, column: Note }\n";
    std::fs::write(root.join("channels/theirs.yaml"), format!("{write}{theirs}")).unwrap();
}

/// One pair after the other, until every job of this form is done.
async fn work(server: Arc<Running>, root: Arc<tempfile::TempDir>, jobs: Arc<Vec<Job>>, plan: Plan, form: Form) {
    let mut turns = TURNS;
    let mut pair: Option<Pair> = None;
    loop {
        let next = jobs
            .iter()
            .filter(|job| job.form == form && !job.is_done())
            .min_by_key(|job| job.next.load(Ordering::Relaxed));
        let (Some(job), false) = (next, plan.has_failed()) else { return };
        let after = job.next.fetch_add(plan.step * job.sparse, Ordering::Relaxed);
        if turns >= TURNS {
            let number = plan.pairs.fetch_add(1, Ordering::Relaxed);
            pair = Some(Pair::new(&server, root.path(), number, form, &plan.entropy).await);
            turns = 0;
        }
        turns += 1;
        let pair = pair.as_mut().unwrap();
        let turn = pair.turn(Cut { way: job.way, after, is_half: job.is_half }, plan.sabotage).await;
        job.note(turn.is_cut, turn.passed);
        let found = pair.look();
        if !found.why.is_empty() {
            let mut faults = plan.faults.lock().unwrap();
            faults.lost += found.lost;
            faults.doubled += found.doubled;
            faults.untrue += found.untrue;
            let cut = format!("{form:?}, cut after byte {after} of {:?}, half: {}", job.way, job.is_half);
            faults.why.extend(found.why.into_iter().map(|why| format!("{cut}: {why}")));
            // What is wrong once stays wrong.
            turns = TURNS;
        }
    }
}

/// What all workers share.
#[derive(Clone)]
struct Plan {
    step: u64,
    sabotage: Option<Sabotage>,
    pairs: Arc<AtomicU64>,
    faults: Arc<Mutex<Faults>>,
    entropy: Entropy,
}

impl Plan {
    fn has_failed(&self) -> bool {
        self.faults.lock().unwrap().why.len() >= FAULTS_MAX
    }
}

#[expect(clippy::disallowed_methods, reason = "how many cuts there shall be, and where that is told")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Cuts after every so many bytes, until every job is done, or too much is wrong.
async fn cut(step: u64, sabotage: Option<Sabotage>) -> (Arc<Vec<Job>>, Faults) {
    let root = Arc::new(tempfile::tempdir().unwrap());
    project(root.path());
    let server = Arc::new(serve(root.path(), "data").await);
    let jobs = Arc::new(jobs());
    let plan = Plan { step, sabotage, pairs: Arc::default(), faults: Arc::default(), entropy: Entropy::seeded(5) };
    let work_all = async {
        let mut workers = JoinSet::new();
        for (form, count) in PAIRS {
            for _ in 0..count {
                workers.spawn_local(work(server.clone(), root.clone(), jobs.clone(), plan.clone(), form));
            }
        }
        while let Some(done) = workers.join_next().await {
            done.unwrap();
        }
    };
    // A connection to SQLite is for one thread.
    LocalSet::new().run_until(work_all).await;
    let faults = std::mem::take(&mut *plan.faults.lock().unwrap());
    (jobs, faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_any_byte_loses_nothing_and_doubles_nothing() {
    let step = setting("OMCTL_CUTS").map_or(397, |text| text.parse().unwrap());
    let (jobs, faults) = cut(step, None).await;
    let sum = |form, half| -> u64 {
        let of = jobs.iter().filter(|job| job.form == form && job.is_half == half);
        of.map(|job| job.cuts.load(Ordering::Relaxed)).sum()
    };
    let longest = |form, way| {
        let of = jobs.iter().filter(|job| job.form == form && job.way == way);
        of.map(|job| job.longest.load(Ordering::Relaxed)).max()
    };
    let [sockets, halves, requests] = [sum(Form::Socket, false), sum(Form::Socket, true), sum(Form::Requests, false)];
    let report = json!({
        "cuts": sockets + halves + requests, "cuts_socket": sockets, "cuts_socket_half_open": halves,
        "cuts_requests": requests, "every_bytes": step, "every_bytes_half_open": step * 3, "every_bytes_requests": step * 7,
        "session_bytes_up": longest(Form::Socket, Way::Up), "session_bytes_down": longest(Form::Socket, Way::Down),
        "requests_bytes_up": longest(Form::Requests, Way::Up), "requests_bytes_down": longest(Form::Requests, Way::Down),
        "mutations": (sockets + halves + requests) * pair::MUTATIONS, "lost": faults.lost, "doubled": faults.doubled,
        "untrue": faults.untrue,
    });
    if let Some(file) = setting("OMCTL_CUTS_REPORT") {
        std::fs::write(file, format!("{report}\n")).unwrap();
    }
    assert!(faults.why.is_empty(), "{report}\n{}", faults.why.join("\n"));
    // A wire that cuts nothing would lose nothing.
    for job in &*jobs {
        let wanted = job.longest.load(Ordering::Relaxed) / (step * job.sparse) / 2;
        assert!(wanted > 0 && job.cuts.load(Ordering::Relaxed) >= wanted, "{job:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_drops_what_it_has_sent_is_found() {
    let (_, faults) = cut(397, Some(Sabotage::OutboxDropped)).await;
    assert!(faults.lost > 0 && faults.doubled == 0, "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_no_mutation_again_is_found() {
    let (_, faults) = cut(397, Some(Sabotage::MutationsForgotten)).await;
    assert!(faults.doubled > 0, "{faults:?}");
}
