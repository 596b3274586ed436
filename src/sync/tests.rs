//! The room over a real store in memory: sessions, managed channels, replays, scopes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use omctl_protocol::frame::{Held, Hello, Mutate};
use omctl_protocol::*;
use rusqlite::Connection;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::catalog::{Catalog, Channel, DeleteVsUpdate, Place, Roles, ScopeDecl, ScopeEntry, ScopeRight, WriteDecl};
use crate::clock::{Clock, Entropy};
use crate::identity::{Identity, Principal};
use crate::live::{Live, Numbered};
use crate::store::{AccountNo, CommitFeed};

pub(super) struct Bench {
    pub(super) sync: Sync,
    pub(super) store: Store,
    pub(super) database: Arc<Mutex<Connection>>,
    _feed: CommitFeed,
}

fn channel(name: &str, scope: ScopeDecl) -> Channel {
    let fields = [("title", "text"), ("hours", "int"), ("owner", "text")];
    let fields = fields.map(|(name, kind)| {
        let conflict = if name == "hours" { "sum" } else { "server_wins" };
        serde_json::from_value(json!({ "name": name, "type": kind, "conflict": conflict })).unwrap()
    });
    Channel {
        name: name.into(),
        backend: "managed".into(),
        table: name.into(),
        filter: Vec::new(),
        schema: ChannelSchema {
            channel: name.into(),
            version: SchemaVersion(0),
            key: KeyRule {
                assigned_by: AssignedBy::Device,
                columns: vec![KeyColumn { column: "id".into(), field: None }],
            },
            fields: fields.into(),
            writable: true,
            atomic: None,
        },
        scope,
        write: WriteDecl { create: Roles::Any, update: Roles::Any, delete: Roles::Any },
        delete_vs_update: DeleteVsUpdate::UpdateWins,
        poll_every: None,
        file: "channels/x.yaml".into(),
    }
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with(Self::channels(), &BTreeMap::new()).await
    }

    /// Notes that everybody sees, and those of one's own.
    pub(super) fn channels() -> Vec<Channel> {
        let own =
            ScopeEntry { left: "owner".into(), right: ScopeRight::Text("account.email".into()), at: Place::default() };
        vec![channel("notes", ScopeDecl::Public), channel("own", ScopeDecl::AnyOf(vec![vec![own]]))]
    }

    pub(super) async fn with(
        channels: Vec<Channel>,
        backends: &BTreeMap<String, Arc<dyn crate::backend::Backend>>,
    ) -> Self {
        let database = Arc::new(Mutex::new(Connection::open_in_memory().unwrap()));
        drop(Store::inline(database.clone(), Clock::manual(0), Entropy::seeded(0), None).unwrap());
        {
            let connection = database.lock().unwrap();
            for n in 1..=3u8 {
                connection
                    .execute(
                        "INSERT INTO account (number, id, email, claims, created_ms) VALUES (?1, ?2, ?3, '{}', 0)",
                        rusqlite::params![n, [n; 16], format!("u{n}")],
                    )
                    .unwrap();
                connection
                    .execute(
                        "INSERT INTO device (number, id, account, name, platform, public_key, created_ms, seen_ms)
                            VALUES (?1, ?2, ?1, 'd', 'x', zeroblob(65), 0, 0)",
                        rusqlite::params![n, [n; 16]],
                    )
                    .unwrap();
            }
        }
        Self::open(database, channels, backends, 1).await
    }

    /// The next start of a server over a database.
    pub(super) async fn open(
        database: Arc<Mutex<Connection>>,
        channels: Vec<Channel>,
        backends: &BTreeMap<String, Arc<dyn crate::backend::Backend>>,
        start: u64,
    ) -> Self {
        let clock = Clock::manual(1_700_000_000_000 + start as i64 * 1000);
        let entropy = Entropy::seeded(start);
        let (store, feed) = Store::inline(database.clone(), clock.clone(), entropy.clone(), None).unwrap();
        let catalog = Catalog {
            channels: channels.into_iter().map(|channel| (channel.name.clone(), Arc::new(channel))).collect(),
            ..Catalog::default()
        };
        let registered = store
            .register_channels(catalog.channels.values().map(|c| ("managed".into(), c.schema.clone())).collect())
            .await
            .unwrap();
        let numbered = registered
            .into_iter()
            .map(|r| Numbered {
                number: r.number.0,
                epoch: r.epoch,
                schema: r.schema,
                older: r.older,
                placed: r.placing,
            })
            .collect();
        let live = LiveHandle::new(Live::build(1, &catalog, numbered, backends).unwrap());
        let identity = Identity::new(store.clone(), clock, entropy).await.unwrap();
        let sync = Sync::open(store.clone(), live, identity, Tasks::new()).await.unwrap();
        Self { sync, store, database, _feed: feed }
    }

    /// The key of the only scope whose key begins so.
    pub(super) fn scope(&self, prefix: &str) -> ScopeKey {
        let database = self.database.lock().unwrap();
        let mut statement = database.prepare("SELECT key FROM scope WHERE key LIKE ?1 || '%'").unwrap();
        let keys: Vec<String> =
            statement.query_map([prefix], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].as_str().into()
    }

    pub(super) fn who(n: u8) -> Principal {
        Principal {
            device: DeviceNo(u64::from(n)),
            device_id: DeviceId(Uuid::from_bytes([n; 16])),
            account: AccountNo(u64::from(n)),
            account_id: AccountId(Uuid::from_bytes([n; 16])),
            email: format!("u{n}"),
            role: None,
            claims: Default::default(),
            public_key: [0; 65],
            is_held: false,
        }
    }

    pub(super) async fn connect(&self, n: u8, hello: impl FnOnce(&mut Hello)) -> (Session, Vec<Down>) {
        let mut greeting = Hello {
            protocol: PROTOCOL,
            device: Self::who(n).device_id,
            incarnation: Incarnation(Uuid::from_bytes([n; 16])),
            last_seq: Seq(0),
            settled: None,
            epoch: None,
            boot: None,
            position: Position(0),
            scopes: Held { list: Some(Vec::new()), ..Held::default() },
            schemas: BTreeMap::new(),
            shapes: BTreeMap::new(),
            proof: None,
            kept: None,
            zstd: false,
            command: 0,
        };
        hello(&mut greeting);
        let (mut session, step) = Session::begin(&self.sync, &Self::who(n), greeting).await.unwrap();
        let mut frames = parse(step);
        while session.is_catching_up() {
            frames.extend(parse(session.catch_up().await.unwrap()));
        }
        (session, frames)
    }
}

pub(super) fn parse(step: Step) -> Vec<Down> {
    let read = |line: &bytes::Bytes| frame::parse_frame(std::str::from_utf8(line).unwrap()).unwrap();
    step.lines.iter().map(read).collect()
}

pub(super) fn create(seq: u64, channel: &str, record: u128, new: serde_json::Value) -> Mutation {
    Mutation {
        seq: Seq(seq),
        id: MutationId(Uuid::from_u128(record << 64 | u128::from(seq))),
        channel: channel.into(),
        v: SchemaVersion(1),
        op: Operation::Create,
        record: Uuid::from_u128(record).to_string().into(),
        old: Fields::new(),
        new: serde_json::from_value(new).unwrap(),
        at: None,
        group: None,
        atomic: None,
        again: None,
    }
}

pub(super) async fn send(session: &mut Session, mutations: Vec<Mutation>) -> Vec<Down> {
    parse(session.on_frame(Up::Mutate(Mutate { mutations })).await.unwrap())
}

pub(super) fn rows(frames: &[Down]) -> usize {
    frames.iter().map(|frame| if let Down::Rows(rows) = frame { rows.rows.len() } else { 0 }).sum()
}

pub(super) fn receipts(frames: &[Down]) -> Vec<Receipt> {
    frames
        .iter()
        .flat_map(|frame| if let Down::Commit(commit) = frame { commit.receipts.clone() } else { vec![] })
        .collect()
}

#[tokio::test]
async fn a_managed_write_is_settled_at_once_and_reaches_another_device() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    let answer = send(&mut a, vec![create(1, "notes", 7, json!({ "title": "x", "hours": "2" }))]).await;
    assert!(matches!(&answer[..], [Down::Accepted(accepted)] if accepted.seq == Seq(1)));
    let (_, frames) = bench.connect(2, |_| {}).await;
    assert_eq!(rows(&frames), 1);
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(1)).await;
    assert_eq!(
        receipts(&frames).iter().map(|r| (r.outcome, r.position)).collect::<Vec<_>>(),
        [(Outcome::Applied, Some(Position(1)))]
    );
}

#[tokio::test]
async fn upload_twice_is_applied_once() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    let mutation = create(1, "notes", 7, json!({ "hours": "2" }));
    send(&mut a, vec![mutation.clone()]).await;
    let again = send(&mut a, vec![mutation.clone()]).await;
    assert_eq!(receipts(&again).len(), 1, "the stored receipt is sent again: {again:?}");
    // And in another incarnation of the same outbox, under another number.
    let (mut a, _) = bench.connect(1, |hello| hello.incarnation = Incarnation(Uuid::from_u128(99))).await;
    let other = create(2, "notes", 8, json!({}));
    send(&mut a, vec![Mutation { seq: Seq(1), ..other }, Mutation { seq: Seq(2), ..mutation }]).await;
    let (_, frames) = bench.connect(3, |_| {}).await;
    assert_eq!(rows(&frames), 2);
}

#[tokio::test]
async fn a_gap_is_answered_with_what_is_expected_and_a_reused_seq_with_a_refusal() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    send(&mut a, vec![create(1, "notes", 7, json!({}))]).await;
    let gap = send(&mut a, vec![create(3, "notes", 8, json!({}))]).await;
    assert!(matches!(&gap[..], [Down::Error(error)] if error.expected == Some(Seq(2))));
    let reused = send(&mut a, vec![create(1, "notes", 9, json!({}))]).await;
    assert!(matches!(&reused[..], [Down::Error(error)] if error.code == "seq_payload_mismatch" && error.fatal));
}

#[tokio::test]
async fn nobody_else_sees_a_scoped_record_and_moving_it_out_is_refused() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    send(
        &mut a,
        vec![
            create(1, "own", 7, json!({ "owner": "u1" })),
            create(2, "own", 8, json!({ "owner": "u2" })),
            create(3, "own", 9, json!({ "owner": "u1" })),
        ],
    )
    .await;
    let (_, frames) = bench.connect(2, |_| {}).await;
    assert_eq!(rows(&frames), 0);
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(3)).await;
    let codes: Vec<_> = receipts(&frames).into_iter().map(|r| r.code).collect();
    assert_eq!(codes, [None, Some("scope_write".into()), None], "the later one is applied all the same");
    assert_eq!(rows(&frames), 2);
}

#[tokio::test]
async fn a_device_that_is_ahead_of_the_history_is_told_to_begin_anew() {
    let bench = Bench::new().await;
    let boot = bench.store.boot();
    let cursor = |position| {
        move |hello: &mut Hello| {
            (hello.epoch, hello.boot, hello.position) = (Some(boot.epoch), Some(boot.id), Position(position));
        }
    };
    let reset = |frames: &[Down]| matches!(&frames[0], Down::Welcome(welcome) if welcome.reset);
    assert!(!reset(&bench.connect(1, cursor(0)).await.1));
    // A machine that was put back with its memory goes on in the same boot: nobody knows since when.
    let ahead = bench.connect(1, cursor(5)).await.1;
    assert!(matches!(&ahead[0], Down::Welcome(welcome) if welcome.reset && welcome.kept == Some(Position(0))));
    let unknown = |hello: &mut Hello| {
        (hello.epoch, hello.boot) = (Some(boot.epoch), Some(BootId(Uuid::from_u128(5))));
    };
    assert!(reset(&bench.connect(1, unknown).await.1));
}

#[tokio::test]
async fn a_newer_session_fences_the_older_one() {
    let bench = Bench::new().await;
    let (mut old, _) = bench.connect(1, |_| {}).await;
    let (mut new, _) = bench.connect(1, |_| {}).await;
    let refused = send(&mut old, vec![create(1, "notes", 7, json!({}))]).await;
    assert!(matches!(&refused[..], [Down::Error(error)] if error.code == "fenced"));
    assert!(matches!(&send(&mut new, vec![create(1, "notes", 7, json!({}))]).await[..], [Down::Accepted(_)]));
}

#[tokio::test]
async fn the_sum_of_a_scope_is_that_of_the_rows_sent() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    let mutations = (1..=50u64).map(|n| create(n, "notes", u128::from(n), json!({ "hours": n.to_string() })));
    send(&mut a, mutations.collect()).await;
    let record: RecordId = Uuid::from_u128(3).to_string().into();
    let gone = Mutation {
        op: Operation::Delete,
        record,
        seq: Seq(51),
        new: Fields::new(),
        ..create(51, "notes", 3, json!({}))
    };
    send(&mut a, vec![gone]).await;
    let (_, frames) = bench.connect(2, |_| {}).await;
    let mut sum = ScopeSum::default();
    for frame in &frames {
        let Down::Rows(rows) = frame else { continue };
        for row in &rows.rows {
            let row: frame::ScalarRow<'_> = serde_json::from_str(row.get()).unwrap();
            sum = sum.plus(row.2.unwrap());
        }
        assert_eq!(rows.sum, Some(sum));
    }
    assert_eq!(rows(&frames), 49);
    let integrity: String =
        bench.database.lock().unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[tokio::test]
async fn a_cursor_behind_an_expired_tombstone_begins_anew_and_positions_are_not_given_twice() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    let made = create(1, "notes", 7, json!({ "hours": "1" }));
    let gone = Mutation { seq: Seq(2), op: Operation::Delete, new: Fields::new(), ..create(2, "notes", 7, json!({})) };
    send(&mut a, vec![made]).await;
    send(&mut a, vec![gone]).await;
    let boot = bench.store.boot();
    let scope = bench.scope("notes:");
    let cursor = |position| {
        let scope = scope.clone();
        move |hello: &mut Hello| {
            (hello.epoch, hello.boot, hello.position) = (Some(boot.epoch), Some(boot.id), Position(position));
            hello.last_seq = Seq(2);
            hello.scopes.list = Some(vec![(scope.clone(), None)]);
        }
    };
    let reset = |frames: &[Down]| match &frames[0] {
        Down::Welcome(welcome) => {
            assert_eq!(welcome.kept, None, "the history is the same");
            assert_eq!(welcome.reset, frames.len() == 1, "nothing follows before the next hello");
            welcome.reset
        }
        other => panic!("{other:?}"),
    };
    assert!(!reset(&bench.connect(1, cursor(1)).await.1));
    bench.store.clock().advance(crate::limits::TOMBSTONES_KEPT + std::time::Duration::from_secs(1));
    assert!(bench.store.prune().await.unwrap() > 0);
    assert!(reset(&bench.connect(1, cursor(1)).await.1), "the delete at 2 can no longer be told");
    assert!(!reset(&bench.connect(1, cursor(2)).await.1));
    assert_eq!(bench.store.newest_position().await.unwrap(), Position(2));
}

#[tokio::test(start_paused = true)]
async fn verdicts_are_kept_for_operators_and_not_for_ever() {
    let bench = Bench::new().await;
    let (mut a, _) = bench.connect(1, |_| {}).await;
    send(&mut a, vec![create(1, "nothing", 7, json!({}))]).await;
    let kept = async || {
        let filter = crate::store::VerdictFilter { outcome: "rejected".into(), channel: None, email: None, limit: 10 };
        bench.store.verdicts(filter).await.unwrap().len()
    };
    assert_eq!(kept().await, 1);
    bench.store.clock().advance(crate::limits::TOMBSTONES_KEPT - std::time::Duration::from_secs(1));
    bench.store.prune().await.unwrap();
    assert_eq!(kept().await, 1);
    bench.store.clock().advance(std::time::Duration::from_secs(2));
    bench.store.prune().await.unwrap();
    assert_eq!(kept().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_device_forgot_waits_for_the_create_that_it_sends_again() {
    let bench = Bench::new().await;
    let made = create(1, "notes", 1, json!({ "title": "made" }));
    let changed = Mutation {
        id: MutationId(Uuid::from_u128(77)),
        op: Operation::Update,
        old: Fields::from_iter([("title".into(), json!("made"))]),
        ..create(2, "notes", 1, json!({ "title": "changed" }))
    };
    // A device that was set back has the create still, in a newer incarnation, and knows nothing of the change.
    for (n, seq, mutation) in [(1u8, 1, &changed), (2, 1, &made)] {
        let begun = bench.store.begin_session(DeviceNo(1), Incarnation(Uuid::from_bytes([n; 16])), None).await.unwrap();
        let waits = crate::store::NewMutation {
            seq: Seq(seq),
            settled_as: mutation.id,
            digest: mutation.payload_digest(),
            backend: "managed".into(),
            payload: serde_json::to_string(mutation).unwrap(),
            moved_from: None,
        };
        let accept = crate::store::Accept {
            device: DeviceNo(1),
            fence: begun.fence,
            incarnation: begun.number,
            mutations: vec![waits],
            accepted: Seq(seq),
        };
        bench.store.accept(accept).await.unwrap();
    }
    bench.sync.start().await.unwrap();
    while !bench.store.inbox_backlog().await.unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let view = bench.sync.backend_view(&"notes".into(), None).await.unwrap();
    assert_eq!(view.rows[0].values[0], Value::Text("changed".into()));
}

#[tokio::test]
async fn who_knows_anothers_mutation_gets_none_of_its_answers() {
    let bench = Bench::new().await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let (mut two, _) = bench.connect(2, |_| {}).await;
    let mutation = create(1, "own", 1, json!({ "title": "t", "owner": "u1" }));
    send(&mut one, vec![mutation.clone()]).await;
    send(&mut two, vec![mutation.clone()]).await;
    let outcomes = |frames: &[Down]| receipts(frames).into_iter().map(|receipt| receipt.outcome).collect::<Vec<_>>();
    let (_, frames) = bench.connect(2, |hello| hello.last_seq = Seq(1)).await;
    assert_eq!(outcomes(&frames), [Outcome::Rejected]);
    // Whoever comes first, each is judged by what its account may do.
    let mutation = create(2, "own", 2, json!({ "title": "t", "owner": "u1" }));
    let (mut two, _) = bench.connect(2, |hello| hello.last_seq = Seq(1)).await;
    send(&mut two, vec![mutation.clone()]).await;
    send(&mut one, vec![mutation]).await;
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(2)).await;
    assert_eq!(outcomes(&frames), [Outcome::Applied, Outcome::Applied]);
}

#[tokio::test]
async fn histories_that_no_device_is_in_are_forgotten_when_their_answers_are() {
    let bench = Bench::new().await;
    let incarnation = |n: u8| move |hello: &mut Hello| hello.incarnation = Incarnation(Uuid::from_bytes([n; 16]));
    let (mut a, _) = bench.connect(1, incarnation(1)).await;
    send(&mut a, vec![create(1, "notes", 1, json!({}))]).await;
    for n in 2..=20 {
        bench.connect(1, incarnation(n)).await;
    }
    let histories = || -> i64 {
        let database = bench.database.lock().unwrap();
        database.query_row("SELECT count(*) FROM incarnation WHERE device = 1", [], |row| row.get(0)).unwrap()
    };
    bench.store.prune().await.unwrap();
    assert_eq!(histories(), 20);
    bench.store.clock().advance(crate::limits::RESTORE_WINDOW + std::time::Duration::from_secs(1));
    bench.store.prune().await.unwrap();
    assert_eq!(histories(), 2, "the one it is in, and the one whose answer it does not hold yet");
    let (mut a, _) = bench
        .connect(1, |hello| {
            incarnation(1)(hello);
            hello.last_seq = Seq(1);
        })
        .await;
    a.on_frame(Up::Ack(frame::Ack { seq: Seq(1) })).await.unwrap();
    bench.store.prune().await.unwrap();
    assert_eq!(histories(), 2, "the newest, and the one that a device came back to");
    bench.store.clock().advance(crate::limits::RESTORE_WINDOW + std::time::Duration::from_secs(1));
    bench.store.prune().await.unwrap();
    assert_eq!(histories(), 1);
}
