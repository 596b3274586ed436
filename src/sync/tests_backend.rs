//! The room over a real SQLite database that somebody else owns: assigned and composite keys, references, foreign edits,
//! conflicts, a crash between the backend's commit and ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use omctl_protocol::*;
use rusqlite::Connection;
use serde_json::json;

use super::settle::Item;
use super::tests::{Bench, create, receipts, send};
use crate::backend::sqlite::SqliteBackend;
use crate::backend::{Backend, Effect, Write};
use crate::catalog::{Channel, DeleteVsUpdate, Place, Roles, ScopeDecl, ScopeEntry, ScopeRight, WriteDecl};
use crate::live::Home;

fn channel(name: &str, table: &str, assigned_by: &str, key: &[&str], fields: serde_json::Value) -> Channel {
    let columns: Vec<_> = key.iter().map(|column| json!({ "column": column, "field": column })).collect();
    let schema = json!({
        "channel": name, "version": 0, "writable": true, "fields": fields,
        "key": { "assigned_by": assigned_by, "columns": columns },
    });
    Channel {
        name: name.into(),
        backend: "shop".into(),
        table: table.into(),
        filter: Vec::new(),
        schema: serde_json::from_value(schema).unwrap(),
        scope: ScopeDecl::Public,
        write: WriteDecl { create: Roles::Any, update: Roles::Any, delete: Roles::Any },
        delete_vs_update: DeleteVsUpdate::UpdateWins,
        poll_every: None,
        file: "channels/x.yaml".into(),
    }
}

pub(super) struct Shop {
    pub(super) bench: Bench,
    pub(super) database: Arc<Mutex<Connection>>,
    pub(super) backend: Arc<dyn Backend>,
}

impl Shop {
    pub(super) async fn new() -> Self {
        Self::with(4, |_| {}).await
    }

    /// With other definitions, under which the device `1` sees so many rows.
    pub(super) async fn with(seen: usize, define: impl Fn(&mut Channel)) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE Artist (ArtistId INTEGER PRIMARY KEY, Name TEXT);
                 CREATE TABLE Album (AlbumId INTEGER PRIMARY KEY, Title TEXT NOT NULL, Price NUMERIC(10,2),
                    ArtistId INTEGER NOT NULL REFERENCES Artist);
                 CREATE TABLE Tag (AlbumId INTEGER REFERENCES Album, Word TEXT, PRIMARY KEY (AlbumId, Word));
                 INSERT INTO Artist VALUES (1, 'one'), (2, 'two');
                 INSERT INTO Album VALUES (10, 'first', 0.99, 1);
                 INSERT INTO Tag VALUES (10, 'loud');",
            )
            .unwrap();
        let database = Arc::new(Mutex::new(connection));
        let backend: Arc<dyn Backend> = Arc::new(SqliteBackend::inline("shop", database.clone()).unwrap());
        let mut channels = vec![
            channel(
                "album",
                "Album",
                "backend",
                &["AlbumId"],
                json!([
                    { "name": "AlbumId", "type": "int" },
                    { "name": "Title", "type": "text", "required": true },
                    { "name": "Price", "type": "decimal" },
                    { "name": "ArtistId", "type": "ref", "to": "artist", "required": true },
                ]),
            ),
            channel(
                "artist",
                "Artist",
                "backend",
                &["ArtistId"],
                json!([
                    { "name": "ArtistId", "type": "int" }, { "name": "Name", "type": "text" },
                ]),
            ),
            channel(
                "tag",
                "Tag",
                "app",
                &["AlbumId", "Word"],
                json!([
                    { "name": "AlbumId", "type": "ref", "to": "album" }, { "name": "Word", "type": "text" },
                ]),
            ),
        ];
        channels.iter_mut().for_each(define);
        let backends = BTreeMap::from([("shop".to_owned(), backend.clone())]);
        let bench = Bench::with(channels, &backends).await;
        let shop = Self { bench, database, backend };
        shop.backend.install(&shop.collections()).await.unwrap();
        shop.bench.sync.start().await.unwrap();
        shop.wait(|rows| rows.len() == seen).await;
        shop
    }

    pub(super) fn collections(&self) -> Vec<Arc<crate::backend::Collection>> {
        let live = self.bench.sync.inner.live.current();
        live.channels
            .values()
            .filter_map(|channel| match &channel.home {
                Home::Backend(_, collection) => Some(collection.clone()),
                Home::Managed => None,
            })
            .collect()
    }

    pub(super) fn sql(&self, sql: &str) {
        self.database.lock().unwrap().execute_batch(sql).unwrap();
    }

    pub(super) fn ask(&self, sql: &str) -> String {
        self.database.lock().unwrap().query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0)).map_or_else(
            |error| error.to_string(),
            |value| match value {
                rusqlite::types::Value::Text(text) => text,
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Real(number) => number.to_string(),
                other => format!("{other:?}"),
            },
        )
    }

    /// What a new device of account 2 is sent: id and values of each record.
    pub(super) async fn rows(&self) -> BTreeMap<String, Vec<serde_json::Value>> {
        let (_, frames) = self.bench.connect(2, |_| {}).await;
        let mut rows = BTreeMap::new();
        for frame in frames {
            let Down::Rows(frame) = frame else { continue };
            for row in frame.rows {
                let row: (String, u64, Option<String>, Option<Vec<serde_json::Value>>) =
                    serde_json::from_str(row.get()).unwrap();
                rows.insert(format!("{}/{}", frame.channel, row.0), row.3.unwrap());
            }
        }
        rows
    }

    /// Lets the tasks run (on paused time) until the rows are as wanted.
    pub(super) async fn wait(
        &self,
        wanted: impl Fn(&BTreeMap<String, Vec<serde_json::Value>>) -> bool,
    ) -> BTreeMap<String, Vec<serde_json::Value>> {
        for _ in 0..200 {
            let rows = self.rows().await;
            if wanted(&rows) {
                return rows;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("never came: {:#?}", self.rows().await);
    }
}

pub(super) fn update(
    seq: u64,
    channel: &str,
    record: &str,
    old: serde_json::Value,
    new: serde_json::Value,
) -> Mutation {
    Mutation {
        op: Operation::Update,
        record: record.into(),
        old: serde_json::from_value(old).unwrap(),
        ..create(seq, channel, 1000 + u128::from(seq), new)
    }
}

pub(super) async fn answers(shop: &Shop, last_seq: u64) -> Vec<(u64, Outcome, Option<String>)> {
    for _ in 0..200 {
        let (_, frames) = shop.bench.connect(1, |hello| hello.last_seq = Seq(last_seq)).await;
        let found = receipts(&frames);
        if found.len() as u64 == last_seq {
            return found.into_iter().map(|r| (r.seq.0, r.outcome, r.code)).collect();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not every mutation was settled");
}

#[tokio::test(start_paused = true)]
async fn rows_of_the_database_reach_a_device_in_its_words() {
    let shop = Shop::new().await;
    let rows = shop.rows().await;
    assert_eq!(rows["album/10"], [json!("10"), json!("first"), json!("0.99"), json!("1")]);
    assert!(rows.contains_key(r#"tag/["10","loud"]"#), "{rows:?}");
}

#[tokio::test(start_paused = true)]
async fn creates_with_references_to_each_other_get_keys_and_keep_their_ids() {
    let shop = Shop::new().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let artist = create(1, "artist", 1, json!({ "Name": "three" }));
    let album = create(2, "album", 2, json!({ "Title": "new", "ArtistId": artist.record }));
    let tag = create(3, "tag", 3, json!({ "AlbumId": album.record, "Word": "soft" }));
    let (artist_id, album_id, tag_id) = (artist.record.clone(), album.record.clone(), tag.record.clone());
    send(&mut device, vec![artist, album, tag]).await;
    let all = answers(&shop, 3).await;
    assert!(all.iter().all(|(_, outcome, _)| *outcome == Outcome::Applied), "{all:?}");
    assert_eq!(
        shop.ask("SELECT Name || Title || Word FROM Tag NATURAL JOIN Album NATURAL JOIN Artist WHERE Word = 'soft'"),
        "threenewsoft"
    );
    let rows = shop.wait(|rows| rows.len() == 7).await;
    assert_eq!(rows[&format!("album/{album_id}")], [json!("11"), json!("new"), json!(null), json!(artist_id.as_str())]);
    assert_eq!(rows[&format!("tag/{tag_id}")][0], json!(album_id.as_str()));
    // A foreign row that points to a record which a device created points to that record on devices.
    shop.sql("INSERT INTO Tag VALUES (11, 'foreign')");
    let rows = shop.wait(|rows| rows.len() == 8).await;
    assert_eq!(rows[r#"tag/["11","foreign"]"#][0], json!(album_id.as_str()));
}

#[tokio::test(start_paused = true)]
async fn foreign_edits_and_deletes_arrive_through_the_queue() {
    let shop = Shop::new().await;
    shop.sql("UPDATE Album SET Title = 'edited' WHERE AlbumId = 10; INSERT INTO Artist VALUES (7, 'seven'); DELETE FROM Artist WHERE ArtistId = 2");
    let rows = shop.wait(|rows| rows.get("album/10").is_some_and(|row| row[1] == "edited")).await;
    let rows =
        if rows.contains_key("artist/2") { shop.wait(|rows| !rows.contains_key("artist/2")).await } else { rows };
    assert!(rows.contains_key("artist/7"));
    let left = shop.backend.changes(&shop.collections(), 10).await.unwrap();
    assert_eq!(left, [], "the queue was consumed");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_edit_makes_a_conflict_and_nothing_is_overwritten() {
    let shop = Shop::new().await;
    shop.sql("UPDATE Album SET Title = 'theirs' WHERE AlbumId = 10");
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let mutation = update(
        1,
        "album",
        "10",
        json!({ "Title": "first", "Price": "0.99" }),
        json!({ "Title": "mine", "Price": "2" }),
    );
    send(&mut device, vec![mutation]).await;
    assert_eq!(answers(&shop, 1).await, [(1, Outcome::Conflict, None)]);
    assert_eq!(shop.ask("SELECT Title || Price FROM Album WHERE AlbumId = 10"), "theirs2");
}

#[tokio::test(start_paused = true)]
async fn of_a_record_out_of_sight_not_even_its_position_shows() {
    let at = Place { file: "channels/x.yaml".into(), line: 1, column: 1 };
    let own = ScopeEntry { left: "Name".into(), right: ScopeRight::Text("account.email".into()), at };
    let shop = Shop::with(2, |channel| {
        if channel.name.as_str() == "artist" {
            channel.scope = ScopeDecl::AnyOf(vec![vec![own.clone()]]);
        }
    })
    .await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let delete = |seq, record: &str| Mutation {
        op: Operation::Delete,
        record: record.into(),
        ..create(seq, "artist", u128::from(seq), json!({}))
    };
    // The first of each is there, for others; the second never was.
    let renamed = (json!({ "Name": "one" }), json!({ "Name": "mine" }));
    let mutations = vec![
        update(1, "artist", "1", renamed.0.clone(), renamed.1.clone()),
        update(2, "artist", "99", renamed.0, renamed.1),
        delete(3, "1"),
        delete(4, "99"),
    ];
    send(&mut device, mutations).await;
    answers(&shop, 4).await;
    let (_, frames) = shop.bench.connect(1, |hello| hello.last_seq = Seq(4)).await;
    let told: Vec<_> = receipts(&frames).into_iter().map(|r| (r.outcome, r.code, r.message, r.position)).collect();
    assert_eq!((&told[0], &told[2]), (&told[1], &told[3]));
    assert!(told.iter().all(|(.., position)| position.is_none()), "{told:?}");
    assert_eq!(shop.ask("SELECT Name FROM Artist WHERE ArtistId = 1"), "one");
    // Done before a crash, and out of sight since.
    let made = create(5, "artist", 7, json!({ "Name": "u1" }));
    let collection = shop.collections().into_iter().find(|c| c.table == "Artist").unwrap();
    let write = Write {
        mutation: made.id,
        digest: super::settle::digest_of(&Bench::who(1), &made),
        record: made.record.clone(),
        outcome: r#"{"outcome":"applied"}"#.into(),
        effect: Effect::Insert { key: None, set: vec![(1, Value::Text("u1".into()))] },
        borrows: Vec::new(),
    };
    shop.backend.write(&[(collection, write)]).await.unwrap();
    shop.sql("UPDATE Artist SET Name = 'another' WHERE Name = 'u1'");
    let (mut device, _) = shop.bench.connect(1, |hello| hello.last_seq = Seq(4)).await;
    send(&mut device, vec![made]).await;
    assert_eq!(answers(&shop, 5).await.pop(), Some((5, Outcome::Applied, None)));
    let (_, frames) = shop.bench.connect(1, |hello| hello.last_seq = Seq(5)).await;
    assert_eq!(receipts(&frames).pop().unwrap().position, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_database_has_done_and_deleted_since_is_not_waited_for() {
    let shop = Shop::new().await;
    // The store was set back, the database was not: somebody else's create is in neither, this delete is remembered.
    let record = create(1, "artist", 9, json!({})).record;
    let gone = Mutation {
        op: Operation::Delete,
        again: Some(Position(50)),
        old: serde_json::from_value(json!({ "Name": "gone" })).unwrap(),
        new: Fields::new(),
        ..create(1, "artist", 9, json!({}))
    };
    shop.database
        .lock()
        .unwrap()
        .execute(
            "INSERT INTO om_applied VALUES (?1, ?2, 'artist', ?3, '9', 'int', 'delete', '{\"outcome\":\"applied\"}', 0)",
            rusqlite::params![gone.id.0.as_bytes().as_slice(), super::settle::digest_of(&Bench::who(1), &gone), record.as_str()],
        )
        .unwrap();
    let (mut device, _) = shop.bench.connect(1, |hello| hello.kept = Some(Position(0))).await;
    send(&mut device, vec![gone]).await;
    assert_eq!(answers(&shop, 1).await, [(1, Outcome::Applied, None)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_before_a_crash_is_known_to_be_undone_also_before_the_first_probe() {
    let shop = Shop::new().await;
    let (device, _) = shop.bench.connect(1, |_| {}).await;
    let sync = &shop.bench.sync;
    sync.inner.health.lock().unwrap().clear();
    let made = create(1, "artist", 7, json!({ "Name": "new" }));
    let item = Item {
        incarnation: device.incarnation(),
        settled_as: made.id,
        digest: super::settle::digest_of(&Bench::who(1), &made),
        mutation: made,
        tries: 1,
        kept: None,
        accepted: Seq(1),
    };
    sync.try_run(&sync.inner.live.current(), &Bench::who(1), &shop.backend, &[item]).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM Artist WHERE Name = 'new'"), "1");
}

#[tokio::test(start_paused = true)]
async fn what_the_database_refuses_is_rejected_and_the_rest_goes_on() {
    let shop = Shop::new().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let mutations = vec![
        create(1, "tag", 1, json!({ "AlbumId": "10", "Word": "loud" })),
        create(2, "album", 2, json!({ "Title": "x", "ArtistId": "99" })),
        Mutation { op: Operation::Delete, record: "1".into(), ..create(3, "artist", 3, json!({})) },
        update(4, "album", "10", json!({ "Title": "first" }), json!({ "Title": "fine" })),
        create(5, "tag", 5, json!({ "AlbumId": create(2, "album", 2, json!({})).record, "Word": "x" })),
    ];
    send(&mut device, mutations).await;
    let codes: Vec<_> = answers(&shop, 5).await.into_iter().map(|(_, _, code)| code.unwrap_or_default()).collect();
    assert_eq!(codes, ["exists", "reference", "reference", "", "depends_on"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_backends_commit_and_ours_applies_nothing_twice() {
    let shop = Shop::new().await;
    let mutation = create(1, "artist", 1, json!({ "Name": "once" }));
    // The backend has it, with its dedupe row; our side forgot before it could journal anything.
    let collection = shop.collections().into_iter().find(|c| c.table == "Artist").unwrap();
    let write = Write {
        mutation: mutation.id,
        digest: super::settle::digest_of(&Bench::who(1), &mutation),
        record: mutation.record.clone(),
        outcome: r#"{"outcome":"applied"}"#.into(),
        effect: Effect::Insert { key: None, set: vec![(1, Value::Text("once".into()))] },
        borrows: Vec::new(),
    };
    shop.backend.write(&[(collection, write)]).await.unwrap();
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    send(&mut device, vec![mutation.clone()]).await;
    assert_eq!(answers(&shop, 1).await, [(1, Outcome::Applied, None)]);
    assert_eq!(shop.ask("SELECT count(*) FROM Artist WHERE Name = 'once'"), "1");
    let rows = shop.wait(|rows| rows.len() == 5).await;
    assert!(rows.contains_key(&format!("artist/{}", mutation.record)), "{rows:?}");
    // Without a position its device would take it for one that changed nothing.
    let (_, frames) = shop.bench.connect(1, |hello| hello.last_seq = Seq(1)).await;
    assert!(receipts(&frames)[0].position.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_column_that_is_away_pauses_its_channel_and_refuses_nothing() {
    let shop = Shop::new().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    shop.sql("ALTER TABLE Album RENAME COLUMN Title TO Name");
    let mutations = vec![
        update(1, "album", "10", json!({ "Title": "first" }), json!({ "Title": "second" })),
        update(2, "artist", "1", json!({ "Name": "one" }), json!({ "Name": "uno" })),
        update(3, "album", "10", json!({ "Title": "second" }), json!({ "Title": "third" })),
    ];
    send(&mut device, mutations).await;
    shop.wait(|rows| rows["artist/1"][1] == "uno").await;
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    let health = shop.bench.sync.health();
    assert!(health[&ChannelName::from("album")].paused.is_some(), "{health:?}");
    assert!(health[&ChannelName::from("artist")].paused.is_none(), "{health:?}");
    shop.sql("ALTER TABLE Album RENAME COLUMN Name TO Title");
    let all = answers(&shop, 3).await;
    assert!(all.iter().all(|(_, outcome, _)| *outcome == Outcome::Applied), "{all:?}");
    assert_eq!(shop.ask("SELECT Title FROM Album WHERE AlbumId = 10"), "third");
    assert!(shop.bench.sync.health()[&ChannelName::from("album")].paused.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_given_again_is_another_record() {
    let shop = Shop::new().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    shop.sql("DELETE FROM Tag; DELETE FROM Album");
    let first = create(1, "album", 1, json!({ "Title": "first of its key", "ArtistId": "1" }));
    let second = create(2, "album", 2, json!({ "Title": "second of its key", "ArtistId": "1" }));
    let (first_id, second_id) = (first.record.clone(), second.record.clone());
    send(&mut device, vec![first]).await;
    shop.wait(|rows| rows.contains_key(&format!("album/{first_id}"))).await;
    // Deleted behind our back and given to the next one before anybody looked.
    shop.sql("DELETE FROM Album");
    send(&mut device, vec![second]).await;
    let rows = shop.wait(|rows| rows.contains_key(&format!("album/{second_id}"))).await;
    assert_eq!(rows.keys().filter(|key| key.starts_with("album/")).count(), 1, "{rows:?}");
    let late = Mutation {
        record: first_id,
        ..update(3, "album", "x", json!({ "Title": "first of its key" }), json!({ "Title": "no" }))
    };
    send(&mut device, vec![late]).await;
    assert_eq!(answers(&shop, 3).await[2], (3, Outcome::Conflict, Some("gone".into())));
    assert_eq!(shop.ask("SELECT Title FROM Album"), "second of its key");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_given_again_is_not_named_after_its_first_record_for_a_moment() {
    let shop = Shop::new().await;
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    shop.sql("DELETE FROM Tag; DELETE FROM Album");
    let first = create(1, "album", 1, json!({ "Title": "first of its key", "ArtistId": "1" }));
    let first_id = first.record.clone();
    send(&mut device, vec![first]).await;
    shop.wait(|rows| rows.contains_key(&format!("album/{first_id}"))).await;
    let key = shop.ask("SELECT AlbumId FROM Album");
    shop.sql("DELETE FROM Album");
    // Another device's create is done, and its answer on the way: what refers to it is read before that is known.
    let second = create(2, "album", 2, json!({ "Title": "second of its key", "ArtistId": "1" }));
    let collection = shop.collections().into_iter().find(|c| c.table == "Album").unwrap();
    let set = [
        ("AlbumId", Value::Int(key.parse().unwrap())),
        ("Title", Value::Text("x".into())),
        ("ArtistId", Value::Int(1)),
    ];
    let place = |name: &str| collection.columns.iter().position(|column| column.name == name);
    let set = set.into_iter().filter_map(|(name, value)| Some((place(name)?, value))).collect();
    let write = Write {
        mutation: second.id,
        digest: super::settle::digest_of(&Bench::who(1), &second),
        record: second.record.clone(),
        outcome: r#"{"outcome":"applied"}"#.into(),
        effect: Effect::Insert { key: None, set },
        borrows: Vec::new(),
    };
    shop.backend.write(&[(collection.clone(), write)]).await.unwrap();
    assert_eq!(shop.ask("SELECT AlbumId FROM Album"), key);
    shop.sql(&format!("INSERT INTO Tag VALUES ({key}, 'loud')"));
    let rows = shop.wait(|rows| rows.keys().any(|key| key.starts_with("tag/"))).await;
    let tag = rows.iter().find(|(key, _)| key.starts_with("tag/")).unwrap();
    assert_eq!(tag.1[0], json!(second.record), "{rows:?}");
    assert!(!rows.contains_key(&format!("album/{first_id}")), "{rows:?}");
}
