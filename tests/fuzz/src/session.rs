//! What a device that is let in may send to the server: a greeting and what follows it, through the rooms of a real server
//! over databases in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use omctl::backend::Backend;
use omctl::backend::sqlite::SqliteBackend;
use omctl::catalog::{BackendDecl, Catalog, read_channel};
use omctl::clock::{Clock, Entropy};
use omctl::http::drive;
use omctl::identity::Identity;
use omctl::live::{LiveHandle, collection};
use omctl::push::Push;
use omctl::server::first_generation;
use omctl::store::{DeviceNo, Store};
use omctl::sync::Sync;
use omctl::tasks::Tasks;
use omctl_protocol::frame::{Hello, parse_frame, parse_frames};
use omctl_protocol::{DeviceId, Down, MutationId, Receipt, Seq, Up};
use rusqlite::{Connection, backup};

/// Channels of both homes, with every kind of rule that looks at a mutation.
static PROJECT: LazyLock<Catalog> = LazyLock::new(|| {
    let mut catalog = Catalog { name: "fuzz".into(), ..Catalog::default() };
    catalog.backends.insert("shop".into(), BackendDecl::Sqlite { path: "shop.db".into() });
    for (name, text) in [
        (
            "notes",
            "scope: public\nwrite: { create: any, update: any, delete: any }\natomic: true\nfields:\n  \
             title: { type: text, required: true, max_length: 20 }\n  hours: { type: decimal, conflict: sum }\n  \
             state: { type: enum, values: [open, done], default: open }\n  parent: { type: ref, to: notes }\n  \
             data: { type: bytes }\n  more: { type: json }\n",
        ),
        (
            "own",
            "scope: { owner: account.email }\nwrite: { create: any, update: any }\nfields:\n  owner: { type: text }\n  \
             at: { type: datetime }\n",
        ),
        (
            "things",
            "backend: shop\ntable: Thing\nkey: { columns: [Id], assigned_by: backend }\nscope: public\n\
             write: { create: any, update: any, delete: any }\nfields:\n  number: { type: int, column: Id, read_only: true }\n  \
             name: { type: text, column: Name }\n  size: { type: float, column: Size }\n  on: { type: bool, column: IsOn }\n",
        ),
        (
            "parts",
            "backend: shop\ntable: Part\nkey: { columns: [Code, Place], assigned_by: app }\nscope: public\n\
             write: { create: any, update: any, delete: any }\nfields:\n  code: { type: text, column: Code }\n  \
             place: { type: int, column: Place }\n  of: { type: ref, column: ThingId, to: things }\n",
        ),
    ] {
        let (channel, found) = read_channel(&catalog, &name.into(), text);
        assert!(found.is_empty(), "{name} is a channel: {found:?}");
        catalog.channels.insert(name.into(), channel.expect("it is one").into());
    }
    catalog
});

const SHOP: &str = "CREATE TABLE Thing (Id INTEGER PRIMARY KEY, Name TEXT, Size REAL, IsOn INTEGER);
CREATE TABLE Part (Code TEXT NOT NULL, Place INTEGER NOT NULL, ThingId INTEGER REFERENCES Thing, PRIMARY KEY (Code, Place));
INSERT INTO Thing VALUES (1, 'one', 1.5, 1), (2, NULL, NULL, 0);
INSERT INTO Part VALUES ('a', 1, 1);";

const NOW_MS: i64 = 1_700_000_000_000;

/// The device's id, as its frames may name it.
const DEVICE: DeviceId = DeviceId(uuid::Uuid::from_bytes([1; 16]));

/// A store with an account and a device, and a shop that the server has seen.
static FRESH: LazyLock<Mutex<[Connection; 2]>> = LazyLock::new(|| {
    let [store, shop] = [(); 2].map(|()| Connection::open_in_memory().expect("memory is there"));
    shop.execute_batch(SHOP).expect("a shop");
    let databases = [store, shop].map(|one| Arc::new(Mutex::new(one)));
    drop(Store::inline(databases[0].clone(), Clock::manual(NOW_MS), Entropy::seeded(0), None).expect("a store"));
    databases[0]
        .lock()
        .expect("nobody panics here")
        .execute_batch(
            "INSERT INTO account (number, id, email, claims, created_ms) VALUES (1, zeroblob(16), 'a', '{}', 0);
             INSERT INTO device (number, id, account, name, platform, public_key, created_ms, seen_ms)
                 VALUES (1, x'01010101010101010101010101010101', 1, 'd', 'x', zeroblob(65), 0, 0);",
        )
        .expect("an account and its device");
    let backend = SqliteBackend::inline("shop", databases[1].clone()).expect("SQLite is new enough");
    // Of parts it is not known what was done: they are written to as well as can be.
    let things = collection(&PROJECT, &PROJECT.channels["things"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(backend.install(&[Arc::new(things)])).expect("our tables can be made");
    drop(backend);
    run(&databases, 0, greeting(), Vec::new());
    Mutex::new(databases.map(|one| Arc::into_inner(one).expect("the server has ended").into_inner().expect("no panic")))
});

/// A greeting of a device that has nothing.
fn greeting() -> Hello {
    let line = format!(
        r#"{{"hello":{{"protocol":{},"device":"{DEVICE}","incarnation":"00000000-0000-4000-8000-000000000001","last_seq":0,
        "position":0,"scopes":{{"list":[]}},"schemas":{{}}}}}}"#,
        omctl_protocol::PROTOCOL
    );
    match parse_frame::<Up>(&line.replace('\n', "")) {
        Ok(Up::Hello(hello)) => *hello,
        other => unreachable!("it is a greeting: {other:?}"),
    }
}

/// How often a request is sent: some of what it asks for is done only after its reply.
const STARTS: u64 = 3;

/// The body of a request: sent, and sent again to the next start of the server, because its reply was lost.
pub fn session(data: &[u8]) {
    let Ok(Ok(mut frames)) = std::str::from_utf8(data).map(parse_frames::<Up>) else { return };
    let hello = match frames.first() {
        Some(Up::Hello(hello)) => {
            let hello = Hello { device: DEVICE, ..Hello::clone(hello) };
            frames.remove(0);
            hello
        }
        _ => greeting(),
    };
    let databases = {
        let fresh = FRESH.lock().expect("nobody panics while copying");
        [0, 1].map(|n| Arc::new(Mutex::new(copy(&fresh[n]))))
    };
    let mut told = BTreeMap::new();
    for start in 1..=STARTS {
        for (mutation, receipt) in run(&databases, start, hello.clone(), frames.clone()) {
            let before = told.entry(mutation).or_insert_with(|| receipt.clone());
            assert_eq!(receipt, *before, "what was answered stays so");
        }
    }
}

fn copy(from: &Connection) -> Connection {
    let mut to = Connection::open_in_memory().expect("memory is there");
    let copying = backup::Backup::new(from, &mut to).expect("it can be copied");
    copying.step(-1).expect("it can be copied");
    drop(copying);
    to
}

/// One start of the server, and one request to it. Returns the receipts of its reply.
fn run(
    [store, shop]: &[Arc<Mutex<Connection>>; 2],
    start: u64,
    hello: Hello,
    frames: Vec<Up>,
) -> BTreeMap<(MutationId, Seq), Receipt> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (clock, entropy) = (Clock::manual(NOW_MS + start as i64 * 1_000), Entropy::seeded(start));
        let (store, feed) =
            Store::inline(store.clone(), clock.clone(), entropy.clone(), None).expect("the store is whole");
        let identity = Identity::new(store.clone(), clock.clone(), entropy).await.expect("the store is whole");
        let backend = SqliteBackend::inline("shop", shop.clone()).expect("SQLite is new enough").with_clock(clock);
        let backends: BTreeMap<String, Arc<dyn Backend>> = [("shop".to_owned(), Arc::new(backend) as _)].into();
        let live = first_generation(&PROJECT, &store, &backends).await.expect("the project is whole");
        let (push, tasks) = (Push::new(), Tasks::new());
        push.start(feed, &tasks);
        let sync = Sync::open(store, LiveHandle::new(live), identity.clone(), tasks.clone()).await.expect("it opens");
        sync.start().await.expect("it starts");
        let who = identity.caller(DeviceNo(1)).await.expect("the device is there");
        let lines = drive::exchange(&sync, &push, &who, hello, frames).await.expect("no request breaks the server");
        // Nobody else knows of this time: it passes at once.
        tokio::time::sleep(Duration::from_secs(5)).await;
        tasks.stop(Duration::from_secs(60)).await;
        let mut receipts = BTreeMap::new();
        for line in lines {
            let line = std::str::from_utf8(&line).expect("a line is text");
            if let Down::Commit(commit) = parse_frame::<Down>(line).expect("what we send is a frame") {
                for receipt in commit.receipts {
                    let again = receipts.insert((receipt.id, receipt.seq), receipt.clone());
                    assert!(again.is_none_or(|before| before == receipt), "two answers to one mutation");
                }
            }
        }
        receipts
    })
}
