//! Who sees what, over a real store in memory: inherited scopes, memberships, changed rules; slices, and histories that
//! were set back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use omctl_protocol::frame::{Hello, Welcome};
use omctl_protocol::*;
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::tests::{Bench, create, parse, receipts, send};
use super::tests_offers::drain;
use super::*;
use crate::catalog::{Channel, PROJECT_FILE};
use crate::rule::Subject;

/// Channels from their YAML, as a developer writes them.
pub(super) fn channels(files: &[(&str, &str)]) -> Vec<Channel> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("channels")).unwrap();
    std::fs::write(folder.path().join(PROJECT_FILE), "version: 1\nname: t\n").unwrap();
    for (name, text) in files {
        let text = format!("write: {{ create: any, update: any, delete: any }}\n{text}");
        std::fs::write(folder.path().join(format!("channels/{name}.yaml")), text).unwrap();
    }
    let (catalog, _) = crate::catalog::load(folder.path(), &|_| None, None).unwrap();
    catalog.channels.values().map(|channel| (**channel).clone()).collect()
}

pub(super) const REPS: [(&str, &str); 3] = [
    ("customers", "scope: { rep: account.email }\nfields: { name: { type: text }, rep: { type: text } }\n"),
    (
        "invoices",
        "scope: { via: customer }\nfields: { total: { type: int }, customer: { type: ref, to: customers } }\n",
    ),
    ("lines", "scope: { via: invoice }\nfields: { what: { type: text }, invoice: { type: ref, to: invoices } }\n"),
];

const TEAMS: [(&str, &str); 2] = [
    (
        "tasks",
        "scope: [{ project: { in: members.project, where: { who: account.email, active: true } } }, { owner: account.email }]\n\
         fields: { title: { type: text }, project: { type: text }, owner: { type: text } }\n",
    ),
    ("members", "scope: public\nfields: { who: { type: text }, project: { type: text }, active: { type: bool } }\n"),
];

pub(super) fn id(record: u128) -> String {
    Uuid::from_u128(record).to_string()
}

pub(super) fn update(seq: u64, channel: &str, record: u128, old: Json, new: Json) -> Mutation {
    Mutation {
        id: MutationId(Uuid::from_u128(record << 64 | 0xffff << 16 | u128::from(seq))),
        op: Operation::Update,
        old: serde_json::from_value(old).unwrap(),
        ..create(seq, channel, record, new)
    }
}

/// What a device holds after these frames: by scope, so that leaving one scope of two takes nothing away.
#[derive(Default)]
struct Device(BTreeMap<String, BTreeMap<String, Json>>);

impl Device {
    fn apply(&mut self, frames: &[Down]) -> &mut Self {
        for frame in frames {
            match frame {
                Down::Scopes(scopes) => {
                    for gained in &scopes.gained {
                        self.0.insert(gained.scope.as_str().into(), BTreeMap::new());
                    }
                    scopes.lost.iter().for_each(|lost| drop(self.0.remove(lost.as_str())));
                }
                Down::Rows(rows) => {
                    let scope = self.0.entry(rows.scope.as_str().into()).or_default();
                    for row in &rows.rows {
                        let row: (String, u64, Option<String>, Json) = serde_json::from_str(row.get()).unwrap();
                        match row.2 {
                            Some(_) => scope.insert(format!("{}/{}", rows.channel, row.0), row.3),
                            None => scope.remove(&format!("{}/{}", rows.channel, row.0)),
                        };
                    }
                }
                Down::Leave(leave) => {
                    let scope = self.0.entry(leave.scope.as_str().into()).or_default();
                    leave.ids.iter().for_each(|id| drop(scope.remove(&format!("{}/{id}", leave.channel))));
                }
                _ => {}
            }
        }
        self
    }

    fn holds(&self) -> BTreeSet<String> {
        self.0.values().flat_map(|rows| rows.keys().cloned()).collect()
    }
}

/// Goes on with a live session until it has said everything.
async fn go_on(session: &mut Session) -> Vec<Down> {
    let mut frames = Vec::new();
    while let Some(step) = session.refresh().await.unwrap() {
        assert_eq!(step.end, None);
        frames.extend(parse(step));
    }
    session.fall_behind();
    while session.is_catching_up() {
        frames.extend(parse(session.catch_up().await.unwrap()));
    }
    frames
}

/// The code of the newest receipt, which is of this seq.
fn last_code(bench: &Bench, seq: u64) -> Option<String> {
    let database = bench.database.lock().unwrap();
    let sql = "SELECT body FROM receipt_batch ORDER BY number DESC LIMIT 1";
    let body: String = database.query_row(sql, [], |row| row.get(0)).unwrap();
    let receipts: Vec<Receipt> = serde_json::from_str(&body).unwrap();
    let last = receipts.last().unwrap();
    assert_eq!(last.seq, Seq(seq));
    last.code.clone()
}

fn names(of: &[(&str, u128)]) -> BTreeSet<String> {
    of.iter().map(|(channel, record)| format!("{channel}/{}", id(*record))).collect()
}

/// What the checker says that an account sees of all channels.
async fn interpreted(bench: &Bench, email: &str) -> BTreeSet<String> {
    let subject = Subject { email: email.into(), ..Subject::default() };
    let mut seen = BTreeSet::new();
    let live = bench.sync.inner.live.current();
    for channel in live.channels.keys() {
        let view = bench.sync.backend_view(channel, Some(&subject)).await.unwrap();
        seen.extend(view.rows.iter().map(|row| format!("{channel}/{}", row.id)));
    }
    seen
}

#[tokio::test]
async fn a_parent_that_moves_takes_everything_below_it_along() {
    let bench = Bench::with(channels(&REPS), &BTreeMap::new()).await;
    let (mut one, frames) = bench.connect(1, |_| {}).await;
    let (mut a, mut b) = (Device::default(), Device::default());
    a.apply(&frames);
    let (mut other, frames) = bench.connect(2, |_| {}).await;
    b.apply(&frames);
    let made = vec![
        create(1, "customers", 1, json!({ "name": "c", "rep": "u1" })),
        create(2, "invoices", 2, json!({ "total": "5", "customer": id(1) })),
        create(3, "lines", 3, json!({ "what": "x", "invoice": id(2) })),
        create(4, "lines", 4, json!({ "what": "y", "invoice": id(2) })),
    ];
    send(&mut one, made).await;
    let all = names(&[("customers", 1), ("invoices", 2), ("lines", 3), ("lines", 4)]);
    assert_eq!(a.apply(&go_on(&mut one).await).holds(), all);
    assert_eq!(b.apply(&go_on(&mut other).await).holds(), BTreeSet::new());
    assert_eq!(interpreted(&bench, "u1").await, all);

    // The customer is given away by somebody who may see both; here by the account itself, which is refused.
    let refused = update(5, "customers", 1, json!({ "rep": "u1" }), json!({ "rep": "u2" }));
    send(&mut one, vec![refused]).await;
    assert_eq!(last_code(&bench, 5).as_deref(), Some("scope_write"));
    give_away(&bench, 1, "u2").await;
    let frames = go_on(&mut one).await;
    let commits = frames.iter().filter(|frame| matches!(frame, Down::Commit(_))).count();
    assert_eq!((a.apply(&frames).holds(), commits), (BTreeSet::new(), 1), "everything goes in one commit");
    assert_eq!(b.apply(&go_on(&mut other).await).holds(), all);
    assert_eq!(interpreted(&bench, "u2").await, all);

    // What is now under it goes to the new one at once, and the old one may write nothing there.
    send(&mut other, vec![create(1, "lines", 7, json!({ "what": "z", "invoice": id(2) }))]).await;
    // What it names is as good as not there.
    send(&mut one, vec![create(6, "lines", 6, json!({ "what": "z", "invoice": id(2) }))]).await;
    assert_eq!(last_code(&bench, 6).as_deref(), Some("reference"));
    assert_eq!(a.apply(&go_on(&mut one).await).holds(), BTreeSet::new());
    assert!(b.apply(&go_on(&mut other).await).holds().contains(&format!("lines/{}", id(7))));
    // A child that changes its parent moves, and one whose parent is deleted is nobody's.
    give_away(&bench, 1, "u1").await;
    assert_eq!(a.apply(&go_on(&mut one).await).holds().len(), 5);
    let gone = Mutation { op: Operation::Delete, new: Fields::new(), ..create(7, "invoices", 2, json!({})) };
    send(&mut one, vec![gone]).await;
    assert_eq!(a.apply(&go_on(&mut one).await).holds(), names(&[("customers", 1)]));
    assert_eq!(interpreted(&bench, "u1").await, names(&[("customers", 1)]));
}

/// An edit that no device made: as a change of the backend would be journaled.
async fn give_away(bench: &Bench, customer: u128, rep: &str) {
    let live = bench.sync.inner.live.current();
    let channel = &live.channels["customers"];
    let record: RecordId = id(customer).into();
    let as_of = bench.store.newest_position().await.unwrap();
    let values = [Value::Text("c".into()), Value::Text(rep.into())];
    let change = super::managed::put(&live, channel, &record, &values, Default::default());
    let entry = crate::store::Journal { channel: crate::store::ChannelNo(channel.number), id: record, as_of, change };
    let batch = crate::store::Batch { journal: vec![entry], ..Default::default() };
    bench.sync.commit(&live, batch).await.unwrap();
}

#[tokio::test]
async fn a_membership_row_opens_and_closes_what_a_connected_device_sees() {
    let bench = Bench::with(channels(&TEAMS), &BTreeMap::new()).await;
    let (mut one, frames) = bench.connect(1, |_| {}).await;
    let (mut two, theirs) = bench.connect(2, |_| {}).await;
    let (mut a, mut b) = (Device::default(), Device::default());
    a.apply(&frames);
    b.apply(&theirs);
    let made = vec![
        create(1, "tasks", 1, json!({ "title": "t", "project": "apollo", "owner": "u1" })),
        create(2, "tasks", 2, json!({ "title": "t", "project": "gemini", "owner": "u1" })),
    ];
    send(&mut one, made).await;
    go_on(&mut one).await;
    assert_eq!(b.apply(&go_on(&mut two).await).holds(), BTreeSet::new());
    let row = json!({ "who": "u2", "project": "apollo", "active": true });
    send(&mut one, vec![create(3, "members", 9, row)]).await;
    let frames = go_on(&mut two).await;
    assert_eq!(b.apply(&frames).holds(), names(&[("members", 9), ("tasks", 1)]));
    assert_eq!(interpreted(&bench, "u2").await, names(&[("members", 9), ("tasks", 1)]));
    // The same row names another project: one scope is gained and one lost, in one commit.
    let moved = update(4, "members", 9, json!({ "project": "apollo" }), json!({ "project": "gemini" }));
    send(&mut one, vec![moved]).await;
    let frames = go_on(&mut two).await;
    assert_eq!(frames.iter().filter(|frame| matches!(frame, Down::Commit(_))).count(), 1);
    assert_eq!(b.apply(&frames).holds(), names(&[("members", 9), ("tasks", 2)]));
    // A member may write what the project has, and nothing once the row says so no more.
    let written = update(1, "tasks", 2, json!({ "title": "t" }), json!({ "title": "mine" }));
    send(&mut two, vec![written]).await;
    assert_eq!(last_code(&bench, 1), None);
    send(&mut one, vec![update(5, "members", 9, json!({ "active": true }), json!({ "active": false }))]).await;
    let late = update(2, "tasks", 2, json!({ "title": "mine" }), json!({ "title": "still mine" }));
    send(&mut two, vec![late]).await;
    assert_eq!(last_code(&bench, 2).as_deref(), Some("gone"), "what it may not see is not there");
    assert_eq!(interpreted(&bench, "u2").await, names(&[("members", 9)]));
}

/// Membership rows that their own subject may write, naming projects by reference.
const OPEN: [(&str, &str); 2] = [
    (
        "projects",
        "scope: [{ owner: account.email }, { id: { in: members.project, where: { who: account.email } } }]\n\
         fields: { title: { type: text }, owner: { type: text } }\n",
    ),
    (
        "members",
        "scope: { who: account.email }\n\
         fields: { who: { type: text }, project: { type: ref, to: projects } }\n",
    ),
];

#[tokio::test]
async fn nobody_lets_himself_in_by_naming_what_he_does_not_see() {
    let bench = Bench::with(channels(&OPEN), &BTreeMap::new()).await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let (mut two, _) = bench.connect(2, |_| {}).await;
    let own = vec![
        create(1, "projects", 1, json!({ "title": "t", "owner": "u1" })),
        create(2, "members", 3, json!({ "who": "u1", "project": id(1) })),
    ];
    send(&mut one, own).await;
    assert_eq!(last_code(&bench, 2), None);
    // The id of a record out of sight, and one that never was: the same answer.
    for (seq, project) in [(1, 1), (2, 77)] {
        send(&mut two, vec![create(seq, "members", 4, json!({ "who": "u2", "project": id(project) }))]).await;
        assert_eq!(last_code(&bench, seq).as_deref(), Some("reference"), "{project}");
    }
    assert_eq!(interpreted(&bench, "u2").await, BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_membership_row_is_judged_by_it() {
    let bench = Bench::with(channels(&TEAMS), &BTreeMap::new()).await;
    bench.sync.start().await.unwrap();
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let row = json!({ "who": "u1", "project": "apollo", "active": true });
    let task = |seq, record| create(seq, "tasks", record, json!({ "title": "t", "project": "apollo" }));
    let left = Mutation { op: Operation::Delete, new: Fields::new(), ..create(3, "members", 9, json!({})) };
    send(&mut one, vec![create(1, "members", 9, row), task(2, 1), left, task(4, 2)]).await;
    drain(&bench).await;
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(4)).await;
    let told: Vec<_> = receipts(&frames).into_iter().map(|r| (r.seq.0, r.code)).collect();
    assert_eq!(told, [(1, None), (2, None), (3, None), (4, Some("scope_write".into()))]);
}

#[tokio::test]
async fn records_are_placed_anew_by_a_rule_that_changed() {
    let bench = Bench::with(channels(&REPS), &BTreeMap::new()).await;
    bench.sync.place_all(&bench.sync.inner.live.current()).await.unwrap();
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let made = vec![
        create(1, "customers", 1, json!({ "name": "u2", "rep": "u1" })),
        create(2, "invoices", 2, json!({ "total": "5", "customer": id(1) })),
    ];
    send(&mut one, made).await;
    let mut files = REPS;
    files[0].1 = "scope: { name: account.email }\nfields: { name: { type: text }, rep: { type: text } }\n";
    let bench = Bench::open(bench.database.clone(), channels(&files), &BTreeMap::new(), 2).await;
    bench.sync.place_all(&bench.sync.inner.live.current()).await.unwrap();
    let all = names(&[("customers", 1), ("invoices", 2)]);
    for (n, expected) in [(1, BTreeSet::new()), (2, all)] {
        let (_, frames) = bench.connect(n, |hello| hello.last_seq = Seq(2)).await;
        assert_eq!(Device::default().apply(&frames).holds(), expected);
        assert_eq!(interpreted(&bench, &format!("u{n}")).await, expected);
    }
}

pub(super) fn copy(from: &Arc<Mutex<Connection>>) -> Arc<Mutex<Connection>> {
    let from = from.lock().unwrap();
    let mut to = Connection::open_in_memory().unwrap();
    let backup = rusqlite::backup::Backup::new(&from, &mut to).unwrap();
    backup.step(-1).unwrap();
    drop(backup);
    Arc::new(Mutex::new(to))
}

pub(super) fn welcome(frames: &[Down]) -> &Welcome {
    match &frames[0] {
        Down::Welcome(welcome) => welcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_differs_is_sent_in_slices_and_nothing_else() {
    let bench = Bench::new().await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let made = (1..=900).map(|n| create(n, "notes", u128::from(n), json!({ "title": format!("note {n}") }))).collect();
    send(&mut one, made).await;
    let (_, frames) = bench.connect(2, |_| {}).await;
    let scope = bench.scope("notes:");
    let mut held = BTreeMap::new();
    let mut sum = None;
    for frame in &frames {
        let Down::Rows(rows) = frame else { continue };
        sum = rows.sum.or(sum);
        for row in &rows.rows {
            let row: (String, u64, RowHash, Json) = serde_json::from_str(row.get()).unwrap();
            held.insert(row.0, row.2);
        }
    }
    let Some(Down::Commit(commit)) = frames.last() else { panic!("it ends with a commit") };
    let boot = bench.store.boot();
    let greet = |held: &BTreeMap<String, RowHash>| {
        let mut sums = SliceSums::default();
        held.iter().for_each(|(id, hash)| sums.add(id, *hash));
        let (scope, position) = (scope.clone(), commit.position);
        move |hello: &mut Hello| {
            (hello.epoch, hello.boot, hello.position) = (Some(boot.epoch), Some(boot.id), position);
            hello.scopes.slices = [(scope.clone(), sums)].into();
            hello.scopes.list = Some(vec![(scope, None)]);
        }
    };
    let sent = |frames: &[Down]| -> Vec<String> {
        let rows = frames.iter().filter_map(|frame| if let Down::Rows(rows) = frame { Some(&rows.rows) } else { None });
        let ids = rows.flatten().map(|row| serde_json::from_str::<(String, Json, Json, Json)>(row.get()).unwrap().0);
        ids.collect()
    };
    let slices = |frames: &[Down]| {
        frames.iter().find_map(|f| if let Down::Slices(s) = f { Some(s.slices.clone()) } else { None }).unwrap()
    };
    let (_, same) = bench.connect(2, greet(&held)).await;
    assert_eq!((slices(&same), sent(&same)), (vec![], vec![]));
    // One record is missing, and one is there that should not be.
    let lost = id(450);
    let mut damaged = held.clone();
    damaged.remove(&lost);
    damaged.insert("ghost".into(), RowHash(5));
    let (_, frames) = bench.connect(2, greet(&damaged)).await;
    let (found, wanted) = (slices(&frames), [hash::slice_of(&lost), hash::slice_of("ghost")]);
    assert_eq!(found.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(wanted));
    let some = sent(&frames);
    assert!(some.contains(&lost) && some.len() < 30, "{} of 900 rows were sent", some.len());
    assert!(some.iter().all(|id| found.contains(&hash::slice_of(id))));
    // Of fields that this history never gave the number to, equal bodies say something else.
    let shape = |shape: &str| {
        let shape = shape.to_owned();
        let greet = greet(&held);
        move |hello: &mut Hello| {
            greet(hello);
            hello.schemas = [("notes".into(), SchemaVersion(1))].into();
            hello.shapes = [("notes".into(), shape)].into();
        }
    };
    let ours = bench.sync.inner.live.current().channels["notes"].schema.shape();
    let (_, same) = bench.connect(2, shape(&ours)).await;
    assert_eq!((slices(&same), sent(&same)), (vec![], vec![]));
    let (_, frames) = bench.connect(2, shape("AAAAAAAAAAA")).await;
    assert_eq!(sent(&frames).len(), 900);
    assert!(frames.iter().any(|frame| matches!(frame, Down::Schema(schema) if schema.channel.as_str() == "notes")));
    let unknown = |hello: &mut Hello| {
        greet(&held)(hello);
        hello.schemas = [("notes".into(), SchemaVersion(7))].into();
    };
    assert_eq!(sent(&bench.connect(2, unknown).await.1).len(), 900);
    // The sums that the first commit of a session is checked by.
    let (_, frames) = bench.connect(2, |_| {}).await;
    let Some(Down::Commit(commit)) = frames.last() else { panic!("it ends with a commit") };
    let own = bench.scope("own:%u2");
    let expected = SumsDigest::of([(&scope, sum.unwrap()), (&own, ScopeSum::default())].into_iter());
    assert_eq!(commit.sums, Some(expected));
}

#[tokio::test]
async fn a_batch_may_write_what_it_moves() {
    let bench = Bench::with(channels(&REPS), &BTreeMap::new()).await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let made = vec![
        create(1, "customers", 1, json!({ "name": "c", "rep": "u1" })),
        create(2, "customers", 2, json!({ "name": "d", "rep": "u1" })),
        create(3, "invoices", 3, json!({ "total": "5", "customer": id(1) })),
    ];
    send(&mut one, made).await;
    // The customer's row stands before the invoice's in the journal, and takes the invoice along when it goes.
    let gone = Mutation { op: Operation::Delete, new: Fields::new(), ..create(6, "customers", 1, json!({})) };
    let written = vec![
        update(4, "customers", 1, json!({ "name": "c" }), json!({ "name": "e" })),
        update(5, "invoices", 3, json!({ "customer": id(1) }), json!({ "customer": id(2) })),
        gone,
    ];
    // Taken for a read that is too old, it was planned again for ever.
    send(&mut one, written).await;
    assert_eq!(interpreted(&bench, "u1").await, names(&[("customers", 2), ("invoices", 3)]));
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(6)).await;
    assert_eq!(Device::default().apply(&frames).holds(), names(&[("customers", 2), ("invoices", 3)]));
}

#[tokio::test]
async fn who_may_see_a_scope_from_now_on_hears_nothing_of_what_it_was_before() {
    let bench = Bench::with(channels(&TEAMS), &BTreeMap::new()).await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let task = |seq, record| create(seq, "tasks", record, json!({ "title": "t", "project": "apollo" }));
    let member = |seq, record, who: &str| {
        create(seq, "members", record, json!({ "who": who, "project": "apollo", "active": true }))
    };
    send(&mut one, vec![member(1, 9, "u1")]).await;
    send(&mut one, vec![task(2, 1), task(3, 2), task(4, 3)]).await;
    go_on(&mut one).await;
    let begun = bench.store.newest_position().await.unwrap();
    let deleted = Mutation { op: Operation::Delete, new: Fields::new(), ..task(5, 1) };
    let away = update(6, "tasks", 2, json!({ "project": "apollo" }), json!({ "project": "gemini", "owner": "u1" }));
    send(&mut one, vec![deleted, away]).await;
    go_on(&mut one).await;
    send(&mut one, vec![member(7, 10, "u2")]).await;

    // Both claim to have been there all the time; only one of them was.
    let key = bench.database.lock().unwrap().query_row(
        "SELECT scope.key FROM scope JOIN member ON member.scope = scope.number JOIN log USING (position) WHERE id = ?1",
        [id(3)],
        |row| row.get::<_, String>(0),
    );
    let key = ScopeKey::from(key.unwrap());
    let boot = bench.store.boot();
    let claim = |hello: &mut Hello| {
        (hello.epoch, hello.boot, hello.position) = (Some(boot.epoch), Some(boot.id), begun);
        hello.scopes.list = Some([(key.clone(), Some(begun))].into());
    };
    let told = |frames: &[Down]| {
        let text = frames.iter().map(Down::to_line).collect::<String>();
        [1, 2].map(|record| text.contains(&id(record)))
    };
    let (mut one, frames) = bench
        .connect(1, |hello| {
            claim(hello);
            hello.last_seq = Seq(7);
        })
        .await;
    assert_eq!(told(&frames), [true, true]);
    let (mut two, frames) = bench.connect(2, claim).await;
    assert_eq!(told(&frames), [false, false]);
    // What goes from now on is told.
    let deleted = Mutation { op: Operation::Delete, new: Fields::new(), ..create(8, "tasks", 3, json!({})) };
    send(&mut one, vec![deleted]).await;
    let frames = go_on(&mut two).await;
    assert!(frames.iter().any(|frame| frame.to_line().contains(&id(3))), "{frames:?}");
}
