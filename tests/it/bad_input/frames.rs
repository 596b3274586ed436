//! Attacks in frames, over `POST /v1/sync`: order, payloads, cursors, clocks, rights; and a table that is suddenly empty.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::wire::{catalog, create, mutation, of, receipts};

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(&catalog(folder.path())).await;
    let made = world.admin("POST", "/v1/admin/accounts", json!({ "email": "bo@example.com" })).await;
    assert_eq!(made.status, 201);
    world
}

fn id(record: u128) -> String {
    Uuid::from_u128(record).to_string()
}

#[tokio::test]
async fn c03_a_record_cannot_be_moved_out_of_scope() {
    let world = world().await;
    let (ana, bo) = (world.phone().await, world.phone_of("bo@example.com").await);
    let own = json!({ "title": "mine", "owner": "ana@example.com" });
    let mutations = vec![
        create(1, "own", 1, own),
        create(2, "own", 2, json!({ "title": "theirs", "owner": "bo@example.com" })),
        mutation(3, "own", "update", 1, json!({ "owner": "ana@example.com" }), json!({ "owner": "bo@example.com" })),
        mutation(4, "own", "update", 1, json!({ "title": "mine" }), json!({ "title": "still mine" })),
    ];
    let frames = world.exchange(&ana, ana.hello(1, 4), mutations).await;
    let pair = |outcome: &str, code: &str| (outcome.to_owned(), code.to_owned());
    let (applied, refused) = (pair("applied", ""), pair("rejected", "scope_write"));
    assert_eq!(receipts(&frames), [applied.clone(), refused.clone(), refused, applied]);
    assert_eq!(world.rows(&bo, "own").await.len(), 0);
    assert_eq!(world.rows(&ana, "own").await[&id(1)], json!(["still mine", "ana@example.com"]));
    // Nor can another account's record be written, or seen to exist.
    let theirs = mutation(1, "own", "update", 1, json!({ "title": "still mine" }), json!({ "title": "stolen" }));
    let none = mutation(2, "own", "update", 9, json!({ "title": "x" }), json!({ "title": "stolen" }));
    let frames = world.exchange(&bo, bo.hello(1, 2), vec![theirs, none]).await;
    let mut told = of(&frames, "commit")[0]["receipts"].as_array().unwrap().clone();
    assert_ne!(told[0]["outcome"], "applied");
    for receipt in &mut told {
        (receipt["seq"], receipt["id"]) = (Value::Null, Value::Null);
    }
    assert_eq!(told[0], told[1], "a record of somebody else is answered as one that does not exist");
    assert_eq!(world.rows(&ana, "own").await[&id(1)][0], "still mine");
}

#[tokio::test]
async fn c30_a_seq_has_one_payload() {
    let world = world().await;
    let phone = world.phone().await;
    world.exchange(&phone, phone.hello(1, 1), vec![create(1, "notes", 1, json!({ "title": "first" }))]).await;
    let other = create(1, "notes", 2, json!({ "title": "other" }));
    let frames = world.exchange(&phone, phone.hello(1, 1), vec![other.clone()]).await;
    let error = &of(&frames, "error")[0];
    assert_eq!((&error["code"], &error["fatal"]), (&"seq_payload_mismatch".into(), &true.into()));
    assert_eq!(world.rows(&phone, "notes").await.len(), 1, "nothing was applied");
    // Its id too is kept where only the payload was changed.
    let mut changed = create(1, "notes", 1, json!({ "title": "changed" }));
    let frames = world.exchange(&phone, phone.hello(1, 1), vec![changed.clone()]).await;
    assert_eq!(of(&frames, "error")[0]["code"], "seq_payload_mismatch");
    assert_eq!(world.rows(&phone, "notes").await[&id(1)][0], "first");
    // The device goes on in a new incarnation.
    changed["seq"] = 2.into();
    let frames = world.exchange(&phone, phone.hello(2, 1), vec![other]).await;
    assert_eq!(receipts(&frames), [("applied".to_owned(), String::new())]);
    assert_eq!(world.rows(&phone, "notes").await.len(), 2);
}

#[tokio::test]
async fn c31_a_gap_is_answered_with_what_is_expected() {
    let world = world().await;
    let phone = world.phone().await;
    let note = |seq: u64| create(seq, "notes", u128::from(seq), json!({ "title": "x" }));
    world.exchange(&phone, phone.hello(1, 5), (1..=5).map(note).collect()).await;
    for batch in [vec![note(7)], vec![note(7), note(8)], vec![note(6), note(8)]] {
        let frames = world.exchange(&phone, phone.hello(1, 8), batch).await;
        let error = &of(&frames, "error")[0];
        assert_eq!((&error["code"], &error["expected"]), (&"seq_gap".into(), &6.into()));
        assert_ne!(error["fatal"], true);
        assert_eq!(of(&frames, "accepted"), [] as [Value; 0], "nothing of it is stored");
    }
    assert_eq!(world.rows(&phone, "notes").await.len(), 5);
    let frames = world.exchange(&phone, phone.hello(1, 8), (6..=8).map(note).collect()).await;
    assert_eq!(of(&frames, "accepted")[0]["seq"], 8);
    assert_eq!(world.rows(&phone, "notes").await.len(), 8);
}

#[tokio::test]
async fn c32_cursors_of_others_open_nothing() {
    let world = world().await;
    let (ana, bo) = (world.phone().await, world.phone_of("bo@example.com").await);
    let own = create(1, "own", 1, json!({ "title": "canary", "owner": "bo@example.com" }));
    let frames = world.exchange(&bo, bo.hello(1, 1), vec![own]).await;
    let gained = of(&frames, "scopes")[0]["gained"].as_array().unwrap().clone();
    let theirs = gained.iter().find(|scope| scope["channel"] == "own").unwrap()["scope"].as_str().unwrap().to_owned();
    let frames = world.exchange(&ana, ana.hello(1, 0), Vec::new()).await;
    let (welcome, commit) = (of(&frames, "welcome")[0].clone(), of(&frames, "commit")[0].clone());
    let hello = |change: &dyn Fn(&mut Value)| {
        let mut hello = ana.hello(1, 0);
        for name in ["epoch", "boot"] {
            hello[name] = welcome[name].clone();
        }
        hello["position"] = commit["position"].clone();
        change(&mut hello);
        hello
    };

    // A scope that is not granted and one that does not exist: the same bytes, and no row.
    let mut answers = Vec::new();
    for scope in [theirs.as_str(), "own:1:0000:nobody"] {
        let asking = hello(&|hello| hello["scopes"] = json!({ "list": [[scope, 0]] }));
        let frames = world.exchange(&ana, asking, Vec::new()).await;
        let (text, scope) = (Value::from(frames).to_string(), Value::from(scope).to_string());
        assert!(text.contains(&scope) && !text.contains("canary"), "it is lost, and nothing of it is told: {text}");
        answers.push(text.replace(&scope, "SCOPE"));
    }
    assert_eq!(answers[0], answers[1]);

    let is_reset = async |change: &dyn Fn(&mut Value)| {
        let frames = world.exchange(&ana, hello(change), Vec::new()).await;
        of(&frames, "welcome")[0]["reset"] == true
    };
    assert!(!is_reset(&|_| {}).await, "an honest cursor is none of these");
    assert!(is_reset(&|hello| hello["epoch"] = Uuid::from_u128(7).to_string().into()).await, "an old epoch");
    assert!(is_reset(&|hello| hello["boot"] = Uuid::from_u128(7).to_string().into()).await, "an unknown start");
    assert!(is_reset(&|hello| hello["position"] = 1_000_000.into()).await, "past the end of its start");
    assert!(is_reset(&|hello| hello["scopes"] = json!({ "list": [[theirs, 1_000_000]] })).await, "of one scope");
    // What pruning leaves behind when it has taken a tombstone away.
    let store = rusqlite::Connection::open(world.folder.path().join("store.db")).unwrap();
    let expire = "INSERT INTO meta (name, value) VALUES ('expired', ?1)";
    store.execute(expire, [commit["position"].as_i64().unwrap() + 1]).unwrap();
    let held = ana.hello(1, 0)["scopes"].clone();
    assert!(!is_reset(&|hello| hello["scopes"] = held.clone()).await, "nothing is held that could lack a delete");
    assert!(is_reset(&|hello| hello["scopes"] = json!({ "list": [[theirs, null]] })).await, "an expired tombstone");

    // The page says `bad_cursor`; on this wire a cursor is a part of a frame, and a malformed frame is a `bad_frame`.
    let malformed: [(&str, Value); 6] = [
        ("epoch", "yesterday".into()),
        ("boot", 5.into()),
        ("position", (-1).into()),
        ("position", "1".into()),
        ("position", 1.5.into()),
        ("scopes", json!({ "list": [["own"]] })),
    ];
    for (name, value) in malformed {
        let hello = hello(&|hello| hello[name] = value.clone());
        let answer = world.post_lines(&ana, &[json!({ "hello": hello }).to_string()]).await;
        assert_eq!(answer.code(), (400, "bad_frame"), "{name}: {value}");
    }
}

#[tokio::test]
async fn c33_a_devices_clock_decides_nothing() {
    let world = world().await;
    let (a, b) = (world.phone().await, world.phone().await);
    let at = |mut mutation: Value, ms: i64| {
        mutation["at"] = ms.into();
        mutation
    };
    let times = [0, -1, 4_102_444_800_000, i64::MAX];
    let creates =
        times.iter().zip(1..).map(|(ms, n)| at(create(n, "notes", u128::from(n), json!({ "title": "start" })), *ms));
    let frames = world.exchange(&a, a.hello(1, 4), creates.collect()).await;
    assert!(receipts(&frames).iter().all(|(outcome, _)| outcome == "applied"), "{frames:?}");
    // Whoever comes first wins, whichever year their clocks show.
    for (record, first, second) in [(1, 0, 4_102_444_800_000), (2, 4_102_444_800_000, 0)] {
        let write = |seq: u64, ms: i64, title: &str| {
            at(mutation(seq, "notes", "update", record, json!({ "title": "start" }), json!({ "title": title })), ms)
        };
        let seq = 4 + record as u64;
        world.exchange(&a, a.hello(1, seq), vec![write(seq, first, "came first")]).await;
        let seq = record as u64;
        let frames = world.exchange(&b, b.hello(1, seq), vec![write(seq, second, "came second")]).await;
        assert_eq!(receipts(&frames).last().unwrap().0, "conflict");
        assert_eq!(world.rows(&a, "notes").await[&id(record)][0], "came first");
    }
}

#[tokio::test]
async fn c37_a_table_that_is_suddenly_empty_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(folder.path().join("crm.db")).unwrap();
    let fill = "CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12)
        INSERT INTO Item SELECT i, 'item' FROM n;";
    database.execute_batch(fill).unwrap();
    let world = World::with(&catalog(folder.path())).await;
    let phone = world.phone().await;
    let shown = async || world.admin("GET", "/v1/admin/channels/item", Value::Null).await.body;
    let reaches = async |name: &str, wanted: Value| {
        for _ in 0..600 {
            if shown().await[name] == wanted {
                return;
            }
            // A running server reads at its own pace.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("`{name}` never was {wanted}: {}", shown().await);
    };
    reaches("synced", true.into()).await;
    assert_eq!(world.rows(&phone, "item").await.len(), 12);

    database.execute_batch("DELETE FROM Item").unwrap();
    reaches("held_deletes", 12.into()).await;
    assert_eq!(world.rows(&phone, "item").await.len(), 12, "no device loses anything");
    // Everything else goes on: what is new arrives, what devices write is settled, other channels too.
    database.execute_batch("INSERT INTO Item VALUES (50, 'new')").unwrap();
    let note = create(1, "notes", 1, json!({ "title": "x" }));
    let item = create(2, "item", 2, json!({ "Name": "from a device" }));
    world.exchange(&phone, phone.hello(1, 2), vec![note, item]).await;
    let mut rows = world.rows(&phone, "item").await;
    for _ in 0..600 {
        if rows.len() == 14 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        rows = world.rows(&phone, "item").await;
    }
    assert_eq!(rows.len(), 14, "{rows:?}");
    assert_eq!(world.rows(&phone, "notes").await.len(), 1);
    reaches("held_deletes", 12.into()).await;

    let resume =
        async |held: u64| world.admin("POST", "/v1/admin/channels/item/resume", json!({ "held_deletes": held })).await;
    assert_eq!(resume(11).await.code(), (409, "changed"), "more than the operator was shown");
    let resumed = resume(12).await;
    assert_eq!((resumed.status, &resumed.body["deleted"]), (200, &12.into()));
    assert_eq!(world.rows(&phone, "item").await.len(), 2, "at once");
}
