//! Atomic transactions: applied whole or not at all, in managed channels and in somebody's database.

use std::time::Duration;

use omctl_protocol::*;
use serde_json::json;

use super::tests::{Bench, create, receipts, send};
use super::tests_backend::{Shop, answers, update};
use crate::backend::{Borrow, Effect, Slot, Whole, Write};
use crate::catalog::{Place, ScopeDecl, ScopeEntry, ScopeRight};

/// The same mutations as one atomic transaction.
fn whole(mutations: Vec<Mutation>) -> Vec<Mutation> {
    let of = mutations.len() as u32;
    (0..).zip(mutations).map(|(at, mutation)| Mutation { atomic: Some(Part { at, of }), ..mutation }).collect()
}

async fn shop() -> Shop {
    Shop::with(4, |channel| channel.schema.atomic = Some("shop".into())).await
}

async fn notes() -> Bench {
    let mut channels = Bench::channels();
    channels.iter_mut().for_each(|channel| channel.schema.atomic = Some("managed".into()));
    Bench::with(channels, &Default::default()).await
}

fn artist_and_more(first: u64) -> Vec<Mutation> {
    let artist = create(first, "artist", 1, json!({ "Name": "three" }));
    let album = create(first + 1, "album", 2, json!({ "Title": "new", "ArtistId": artist.record }));
    let tag = create(first + 2, "tag", 3, json!({ "AlbumId": album.record, "Word": "soft" }));
    vec![artist, album, tag]
}

async fn codes(shop: &Shop, last_seq: u64) -> Vec<String> {
    answers(shop, last_seq).await.into_iter().map(|(_, _, code)| code.unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn records_that_name_each_other_are_made_in_one_transaction_of_their_database() {
    let shop = shop().await;
    shop.sql(
        "CREATE TRIGGER loud AFTER INSERT ON Tag BEGIN UPDATE Artist SET Name = Name || '!' WHERE ArtistId > 2; END;",
    );
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let mut mutations = artist_and_more(1);
    mutations.push(update(4, "album", mutations[1].record.as_str(), json!({}), json!({ "Price": "3" })));
    let [artist, album, tag] = [0, 1, 2].map(|n: usize| mutations[n].record.clone());
    send(&mut device, whole(mutations)).await;
    assert_eq!(codes(&shop, 4).await, ["", "", "", ""]);
    let made =
        "SELECT Name || Title || Price || Word FROM Tag NATURAL JOIN Album NATURAL JOIN Artist WHERE Word = 'soft'";
    assert_eq!(shop.ask(made), "three!new3soft");
    // What the trigger of a later write did belongs to it: nothing has to be found afterwards.
    let rows = shop.rows().await;
    assert_eq!(rows[&format!("artist/{artist}")][1], json!("three!"));
    assert_eq!(rows[&format!("album/{album}")][1..], [json!("new"), json!("3"), json!(artist.as_str())]);
    assert_eq!(rows[&format!("tag/{tag}")][0], json!(album.as_str()));
    let positions: Vec<u64> = {
        let (_, frames) = shop.bench.connect(1, |hello| hello.last_seq = Seq(4)).await;
        receipts(&frames).into_iter().map(|receipt| receipt.position.unwrap().0).collect()
    };
    assert_eq!(positions, [positions[0], positions[0] + 1, positions[0] + 2, positions[0] + 1], "one store commit");
}

#[tokio::test(start_paused = true)]
async fn what_the_database_refuses_takes_the_whole_transaction_with_it() {
    let shop = shop().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let mut mutations = artist_and_more(1);
    mutations.push(create(4, "tag", 4, json!({ "AlbumId": "10", "Word": "loud" })));
    let named = create(5, "tag", 5, json!({ "AlbumId": mutations[1].record, "Word": "late" }));
    send(&mut device, whole(mutations)).await;
    send(&mut device, vec![named, update(6, "artist", "1", json!({ "Name": "one" }), json!({ "Name": "eins" }))]).await;
    assert_eq!(codes(&shop, 6).await, ["atomic", "atomic", "atomic", "exists", "depends_on", ""]);
    assert_eq!(shop.ask("SELECT group_concat(Name) FROM Artist"), "eins,two");
    assert_eq!(shop.ask("SELECT count(*) FROM om_applied WHERE op <> 'nothing'"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_would_lose_takes_the_whole_transaction_with_it() {
    let shop = shop().await;
    shop.sql("UPDATE Album SET Title = 'theirs' WHERE AlbumId = 10; DELETE FROM Artist WHERE ArtistId = 2");
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let eins = |seq| update(seq, "artist", "1", json!({ "Name": "one" }), json!({ "Name": "eins" }));
    let mine = update(2, "album", "10", json!({ "Title": "first" }), json!({ "Title": "mine" }));
    send(&mut device, whole(vec![eins(1), mine])).await;
    let zwei = update(4, "artist", "2", json!({ "Name": "two" }), json!({ "Name": "zwei" }));
    send(&mut device, whole(vec![eins(3), zwei])).await;
    assert_eq!(codes(&shop, 4).await, ["atomic", "conflict", "atomic", "gone"]);
    assert_eq!(shop.ask("SELECT group_concat(Name) || (SELECT Title FROM Album) FROM Artist"), "onetheirs");
}

#[tokio::test(start_paused = true)]
async fn a_constraint_that_is_checked_at_the_end_refuses_all_of_it() {
    let shop = shop().await;
    shop.sql(
        "PRAGMA foreign_keys = OFF; DROP TABLE Tag; CREATE TABLE Tag (AlbumId INTEGER REFERENCES Album DEFERRABLE INITIALLY DEFERRED,
            Word TEXT, PRIMARY KEY (AlbumId, Word)); PRAGMA foreign_keys = ON; INSERT INTO Tag VALUES (10, 'loud')",
    );
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let eins = update(1, "artist", "1", json!({ "Name": "one" }), json!({ "Name": "eins" }));
    let old = json!({ "AlbumId": 10, "Title": "first", "Price": "0.99", "ArtistId": "1" });
    let gone = Mutation { op: Operation::Delete, new: Fields::new(), ..update(2, "album", "10", old, json!({})) };
    send(&mut device, whole(vec![eins, gone])).await;
    assert_eq!(codes(&shop, 2).await, ["reference", "reference"]);
    assert_eq!(shop.ask("SELECT Name || count(Title) FROM Artist JOIN Album USING (ArtistId)"), "one1");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_was_done_before_a_crash_is_answered_and_seen_whole() {
    let shop = shop().await;
    let mutations = artist_and_more(1);
    let collection = |table: &str| shop.collections().into_iter().find(|one| one.table == table).unwrap();
    let write = |n: usize, key: Option<crate::backend::Key>, set, borrows| Write {
        mutation: mutations[n].id,
        digest: super::settle::digest_of(&Bench::who(1), &mutations[n]),
        record: mutations[n].record.clone(),
        outcome: r#"{"outcome":"applied"}"#.into(),
        effect: Effect::Insert { key, set },
        borrows,
    };
    let text = |text: &str| Value::Text(text.into());
    let writes = [
        (collection("Artist"), write(0, None, vec![(1, text("three"))], vec![])),
        (
            collection("Album"),
            write(1, None, vec![(1, text("new")), (3, Value::Null)], vec![Borrow { from: 0, into: Slot::Column(3) }]),
        ),
        (
            collection("Tag"),
            write(
                2,
                Some(crate::backend::Key(vec![Value::Null, text("soft")])),
                vec![],
                vec![Borrow { from: 1, into: Slot::KeyColumn(0) }],
            ),
        ),
    ];
    assert!(matches!(shop.backend.write_whole(&writes).await.unwrap(), Whole::Done(all) if all.len() == 3));
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    send(&mut device, whole(mutations)).await;
    assert_eq!(codes(&shop, 3).await, ["", "", ""]);
    assert_eq!(shop.ask("SELECT count(*) FROM Artist"), "3");
    assert_eq!(shop.rows().await.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn while_a_transaction_is_not_journaled_nothing_of_its_backend_is() {
    let shop = shop().await;
    let held = shop.bench.sync.hold("shop").await;
    shop.sql("UPDATE Artist SET Name = 'seen' WHERE ArtistId = 1");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(shop.rows().await["artist/1"][1], json!("one"));
    drop(held);
    shop.wait(|rows| rows["artist/1"][1] == "seen").await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_waits_for_its_rest_and_one_that_cannot_be_is_refused() {
    let shop = shop().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let mut mutations = whole(artist_and_more(1));
    let last = mutations.split_off(2);
    send(&mut device, mutations).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(shop.ask("SELECT count(*) FROM Artist"), "2");
    send(&mut device, last).await;
    assert_eq!(codes(&shop, 3).await, ["", "", ""]);
    // Parts that make no sense, and a part of a channel that is nowhere.
    let (mut device, _) = shop.bench.connect(1, |hello| hello.last_seq = Seq(3)).await;
    let part = |seq, at, of| Mutation {
        atomic: Some(Part { at, of }),
        ..create(seq, "artist", u128::from(seq) + 100, json!({ "Name": "x" }))
    };
    let elsewhere = create(8, "nowhere", 9, json!({}));
    send(&mut device, vec![part(4, 7, 3), part(5, 0, 100_000)]).await;
    send(&mut device, [vec![part(6, 0, 1)], whole(vec![part(7, 0, 2), elsewhere])].concat()).await;
    assert_eq!(
        codes(&shop, 8).await[3..],
        ["atomic_broken", "atomic_broken", "", "atomic_broken", "atomic_broken"].map(String::from)
    );
    assert_eq!(shop.ask("SELECT count(*) FROM Artist"), "4");
}

#[tokio::test(start_paused = true)]
async fn managed_records_are_left_as_they_were_where_one_is_refused() {
    let bench = notes().await;
    let (mut device, _) = bench.connect(1, |_| {}).await;
    let (a, b) = (create(1, "notes", 1, json!({ "title": "a" })), create(2, "notes", 2, json!({ "title": "b" })));
    let own = |seq, owner: &str| create(seq, "own", u128::from(seq), json!({ "owner": owner }));
    let change = |seq, note: &Mutation, old: &str, new: &str| {
        update(seq, "notes", note.record.as_str(), json!({ "title": old }), json!({ "title": new }))
    };
    let mut sent = vec![a.clone(), b.clone(), change(3, &a, "a", "a1")];
    sent.extend(whole(vec![change(4, &a, "a1", "a2"), own(5, "u1"), own(6, "u2")]));
    sent.extend(whole(vec![change(7, &b, "b", "b1"), own(8, "u1")]));
    sent.extend(whole(vec![change(9, &a, "a1", "a3"), change(10, &b, "elsewhere", "b2")]));
    sent.push(change(11, &a, "a1", "a4"));
    send(&mut device, sent).await;
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(11)).await;
    let told: Vec<_> = receipts(&frames).into_iter().map(|receipt| receipt.code.unwrap_or_default()).collect();
    // The ninth and tenth: what this incarnation wrote itself has not moved.
    assert_eq!(told, ["", "", "", "atomic", "atomic", "scope_write", "", "", "", "", ""]);
    let titles = |frames: &[Down]| -> Vec<String> {
        let rows = frames.iter().filter_map(|frame| if let Down::Rows(rows) = frame { Some(&rows.rows) } else { None });
        let mut titles: Vec<String> = rows
            .flatten()
            .map(|row| serde_json::from_str::<(String, u64, String, Vec<serde_json::Value>)>(row.get()).unwrap().3)
            .map(|values| format!("{}/{}", values[0].as_str().unwrap_or("-"), values[2].as_str().unwrap_or("-")))
            .collect();
        titles.sort();
        titles
    };
    let (mut other, frames) = bench.connect(2, |_| {}).await;
    assert_eq!(titles(&frames), ["a4/-", "b2/-"]);
    // Another device's value would lose: nothing of its transaction is applied.
    let c = create(2, "notes", 30, json!({ "title": "c" }));
    let stale = Mutation { seq: Seq(1), id: MutationId(uuid::Uuid::from_u128(77)), ..change(1, &a, "a", "mine") };
    send(&mut other, whole(vec![stale, c])).await;
    let (_, frames) = bench.connect(2, |hello| hello.last_seq = Seq(2)).await;
    let told: Vec<_> = receipts(&frames).into_iter().map(|receipt| receipt.code.unwrap_or_default()).collect();
    assert_eq!(told, ["conflict", "atomic"]);
    assert_eq!(titles(&frames), ["a4/-", "b2/-"]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_does_not_say_so_takes_none() {
    let shop = Shop::with(4, |channel| {
        channel.schema.atomic = (channel.name.as_str() == "artist").then(|| "shop".into());
    })
    .await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    send(&mut device, whole(artist_and_more(1))).await;
    assert_eq!(codes(&shop, 3).await, ["atomic", "not_atomic", "atomic"]);
    assert_eq!(shop.ask("SELECT count(*) FROM Artist"), "2");
    let bench = Bench::new().await;
    let (mut device, _) = bench.connect(1, |_| {}).await;
    send(&mut device, whole(vec![create(1, "notes", 1, json!({}))])).await;
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(1)).await;
    assert_eq!(receipts(&frames)[0].code.as_deref(), Some("not_atomic"));
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_tells_nothing_of_a_record_out_of_sight() {
    let at = Place { file: "channels/x.yaml".into(), line: 1, column: 1 };
    let own = ScopeEntry { left: "Name".into(), right: ScopeRight::Text("account.email".into()), at };
    let shop = Shop::with(2, |channel| {
        channel.schema.atomic = Some("shop".into());
        if channel.name.as_str() == "artist" {
            channel.scope = ScopeDecl::AnyOf(vec![vec![own.clone()]]);
        }
    })
    .await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let gone = |seq, record: &str| Mutation {
        op: Operation::Delete,
        record: record.into(),
        new: Fields::new(),
        ..create(seq, "artist", u128::from(seq), json!({}))
    };
    // The first of each is there, for others; the second never was.
    let renamed = |seq, record| update(seq, "artist", record, json!({ "Name": "one" }), json!({ "Name": "mine" }));
    for pair in [[gone(1, "1"), gone(2, "2")], [gone(3, "98"), gone(4, "99")]] {
        send(&mut device, whole(pair.into())).await;
    }
    for pair in [[gone(5, "98"), renamed(6, "1")], [gone(7, "1"), renamed(8, "99")]] {
        send(&mut device, whole(pair.into())).await;
    }
    answers(&shop, 8).await;
    let (_, frames) = shop.bench.connect(1, |hello| hello.last_seq = Seq(8)).await;
    let told: Vec<_> = receipts(&frames).into_iter().map(|r| (r.outcome, r.code, r.message, r.position)).collect();
    assert_eq!((&told[..2], &told[4..6]), (&told[2..4], &told[6..]));
    assert!(told.iter().all(|(.., position)| position.is_none()), "{told:?}");
    assert_eq!(shop.ask("SELECT group_concat(Name) FROM Artist"), "one,two");
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_of_a_record_that_was_just_made_leaves_it_there() {
    let shop = shop().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let artist = create(1, "artist", 1, json!({ "Name": "three" }));
    let same = update(2, "artist", artist.record.as_str(), json!({ "Name": "three" }), json!({ "Name": "three" }));
    let id = artist.record.clone();
    send(&mut device, whole(vec![artist, same])).await;
    assert_eq!(codes(&shop, 2).await, ["", ""]);
    assert_eq!(shop.rows().await[&format!("artist/{id}")][1], json!("three"));
}
