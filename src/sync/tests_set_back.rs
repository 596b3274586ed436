//! A backend that goes back to an old copy of itself while the server runs, and between two of its starts.

use std::time::Duration;

use omctl_protocol::*;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

use super::Session;
use super::tests::{create, parse, receipts, send};
use super::tests_backend::{Shop, answers, update};
use crate::store::SetBack;

impl Shop {
    /// A copy of the database, as somebody makes it who knows nothing of us.
    fn copy(&self) -> Connection {
        let mut copy = Connection::open_in_memory().unwrap();
        rusqlite::backup::Backup::new(&self.database.lock().unwrap(), &mut copy)
            .unwrap()
            .run_to_completion(1000, Duration::ZERO, None)
            .unwrap();
        copy
    }

    /// The database is as it was when this was copied.
    fn go_back(&self, copy: &Connection) {
        rusqlite::backup::Backup::new(copy, &mut self.database.lock().unwrap())
            .unwrap()
            .run_to_completion(1000, Duration::ZERO, None)
            .unwrap();
        // Another program would have done this, whose changes are seen as such.
        self.sql("UPDATE Tag SET Word = Word");
    }

    /// What is known of the database's being set back, once the log agrees with it again.
    async fn compared(&self) -> Vec<SetBack> {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let known = self.bench.store.set_backs().await.unwrap();
            if !known.is_empty() && known.iter().all(|one| one.resumed.is_some()) {
                return known;
            }
        }
        panic!("nobody noticed");
    }

    /// The device says hello with what it was told before.
    async fn greet(&self, n: u8, boot: crate::store::Boot, position: Position) -> frame::Welcome {
        let (_, frames) = self
            .bench
            .connect(n, |hello| {
                (hello.epoch, hello.boot, hello.position) = (Some(boot.epoch), Some(boot.id), position);
                hello.last_seq = Seq(9);
            })
            .await;
        frames
            .into_iter()
            .find_map(|frame| if let Down::Welcome(welcome) = frame { Some(*welcome) } else { None })
            .unwrap()
    }

    /// The device's next incarnation, which offers again what these answers were given for.
    async fn offer(&self, n: u8, kept: Position, told: &[(Mutation, Receipt)]) -> Session {
        let offered = told.iter().enumerate().map(|(place, (mutation, receipt))| Mutation {
            seq: Seq(place as u64 + 1),
            again: receipt.position,
            ..mutation.clone()
        });
        let (mut session, _) = self.next(n, kept).await;
        send(&mut session, offered.collect()).await;
        session
    }

    async fn next(&self, n: u8, kept: Position) -> (Session, Vec<Down>) {
        self.bench
            .connect(n, |hello| {
                hello.incarnation = Incarnation(uuid::Uuid::from_bytes([100 + n; 16]));
                (hello.kept, hello.last_seq) = (Some(kept), Seq(9));
            })
            .await
    }

    async fn next_answers(&self, n: u8, kept: Position, count: usize) -> Vec<(Outcome, Option<String>)> {
        for _ in 0..200 {
            let found = receipts(&self.next(n, kept).await.1);
            if found.len() == count {
                return found.into_iter().map(|receipt| (receipt.outcome, receipt.code)).collect();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not every mutation was settled");
    }

    /// Settles these for device 1, and tells what it was told of them.
    async fn settle(&self, mutations: Vec<Mutation>) -> Vec<(Mutation, Receipt)> {
        let last = mutations.last().unwrap().seq;
        let (mut session, _) = self.bench.connect(1, |hello| hello.last_seq = last).await;
        send(&mut session, mutations.clone()).await;
        answers(self, last.0).await;
        let (_, frames) = self.bench.connect(1, |hello| hello.last_seq = last).await;
        let told = receipts(&frames);
        let of = |mutation: Mutation| {
            let receipt = told.iter().find(|receipt| receipt.id == mutation.id).unwrap().clone();
            (mutation, receipt)
        };
        mutations.into_iter().map(of).collect()
    }
}

fn name(text: &str) -> Json {
    json!({ "Name": text })
}

#[tokio::test(start_paused = true)]
async fn what_a_database_lost_is_offered_again_and_keeps_its_id() {
    let shop = Shop::new().await;
    let kept_create = create(1, "artist", 7, name("stays"));
    let before = shop.settle(vec![kept_create.clone()]).await;
    let copy = shop.copy();
    let boot = shop.bench.store.boot();
    let made = create(2, "artist", 8, name("new"));
    let lost = vec![
        made.clone(),
        update(3, "album", "10", json!({ "Title": "first" }), json!({ "Title": "second" })),
        update(4, "artist", kept_create.record.as_str(), name("stays"), name("changed")),
    ];
    let told = shop.settle(lost).await;
    let (mut idle, _) = shop.bench.connect(2, |_| {}).await;
    assert_eq!(shop.ask("SELECT Name FROM Artist WHERE ArtistId = 4"), "new");
    shop.go_back(&copy);
    // Somebody else is given the key meanwhile.
    shop.sql("INSERT INTO Artist (Name) VALUES ('stranger')");
    let known = shop.compared().await;
    assert_eq!(known.len(), 1, "{known:?}");
    assert!(known[0].kept < told[0].1.position.unwrap(), "{known:?}");
    assert!(idle.is_parted());
    assert_eq!(idle.refresh().await.unwrap().unwrap().end, Some(super::SessionEnd::Parted));
    let rows = shop.rows().await;
    assert_eq!(rows["album/10"][1], json!("first"));
    assert_eq!(rows["artist/4"][1], json!("stranger"), "{rows:?}");
    assert!(!rows.contains_key(&format!("artist/{}", made.record)), "{rows:?}");
    assert_eq!(rows[&format!("artist/{}", kept_create.record)], [json!("3"), json!("stays")]);
    // Whoever comes with what it was told then hears where the histories parted.
    let welcome = shop.greet(1, boot, told[2].1.position.unwrap()).await;
    assert_eq!((welcome.reset, welcome.kept), (true, Some(known[0].kept)));
    assert_ne!(welcome.boot, boot.id);
    shop.offer(1, known[0].kept, &[before, told].concat()).await;
    let answers = shop.next_answers(1, known[0].kept, 4).await;
    assert!(answers.iter().all(|(outcome, _)| *outcome == Outcome::Applied), "{answers:?}");
    let rows = shop.rows().await;
    assert_eq!(rows["album/10"][1], json!("second"));
    assert_eq!(rows[&format!("artist/{}", kept_create.record)], [json!("3"), json!("changed")]);
    assert_eq!(rows[&format!("artist/{}", made.record)], [json!("5"), json!("new")]);
    assert_eq!(shop.ask("SELECT count(*) FROM Artist"), "5", "nothing was made twice");
    // Nobody is told twice.
    let (_, frames) = shop.bench.connect(3, |_| {}).await;
    let welcome = frames.iter().find_map(|frame| if let Down::Welcome(welcome) = frame { Some(welcome) } else { None });
    assert!(!welcome.unwrap().reset);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_arrived_does_not_stand_for_what_is_lost() {
    let shop = Shop::new().await;
    shop.settle(vec![create(1, "artist", 7, name("stays"))]).await;
    let copy = shop.copy();
    let made = create(2, "artist", 8, name("new"));
    let refused = create(3, "album", 9, json!({ "Title": "x", "ArtistId": "99" }));
    shop.settle(vec![made.clone(), refused.clone()]).await;
    shop.go_back(&copy);
    let kept = shop.compared().await[0].kept;
    // Their device has no receipts: to it they are new, under other numbers.
    let (mut session, _) = shop.next(1, kept).await;
    let again = [Mutation { seq: Seq(1), ..made.clone() }, Mutation { seq: Seq(2), ..refused }];
    send(&mut session, again.to_vec()).await;
    let answers = shop.next_answers(1, kept, 2).await;
    assert_eq!(answers, [(Outcome::Applied, None), (Outcome::Rejected, Some("reference".into()))]);
    assert_eq!(shop.ask("SELECT count(*) FROM Artist WHERE Name = 'new'"), "1");
    // And once they have been answered since, that stands.
    let (mut session, _) = shop
        .bench
        .connect(1, |hello| {
            hello.incarnation = Incarnation(uuid::Uuid::from_bytes([77; 16]));
            (hello.kept, hello.last_seq) = (Some(kept), Seq(1));
        })
        .await;
    shop.sql("DELETE FROM om_applied WHERE op <> 'nothing'");
    let frames =
        parse(session.on_frame(Up::Mutate(frame::Mutate { mutations: vec![again[0].clone()] })).await.unwrap());
    assert!(
        frames.iter().any(|frame| matches!(frame, Down::Accepted(accepted) if accepted.seq == Seq(1))),
        "{frames:?}"
    );
    assert!(shop.bench.store.inbox_backlog().await.unwrap().is_empty(), "its answer stands");
}

#[tokio::test(start_paused = true)]
async fn a_table_of_dedupe_rows_that_was_made_anew_is_no_old_copy() {
    let shop = Shop::new().await;
    shop.settle(vec![create(1, "artist", 7, name("stays"))]).await;
    let boot = shop.bench.store.boot();
    shop.backend.remove(&shop.collections()).await.unwrap();
    shop.backend.install(&shop.collections()).await.unwrap();
    shop.settle(vec![create(2, "artist", 8, name("goes on"))]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(shop.bench.store.set_backs().await.unwrap(), []);
    assert_eq!(shop.bench.store.boot(), boot);
}

#[tokio::test(start_paused = true)]
async fn many_records_that_are_lost_with_their_database_are_not_held_as_deletes() {
    let shop = Shop::new().await;
    shop.settle(vec![create(1, "artist", 7, name("stays"))]).await;
    let copy = shop.copy();
    let many: Vec<Mutation> = (2..=200).map(|n| create(n, "artist", 100 + u128::from(n), name("new"))).collect();
    shop.settle(many).await;
    shop.go_back(&copy);
    shop.compared().await;
    let rows = shop.rows().await;
    assert_eq!(rows.keys().filter(|key| key.starts_with("artist/")).count(), 3, "{rows:?}");
    assert_eq!(shop.bench.sync.health()[&ChannelName::from("artist")].held_deletes, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_waits_for_the_create_that_is_lost() {
    let shop = Shop::new().await;
    shop.settle(vec![create(1, "artist", 7, name("stays"))]).await;
    let copy = shop.copy();
    let made = create(2, "artist", 8, name("new"));
    let told = shop.settle(vec![made.clone()]).await;
    shop.go_back(&copy);
    // Another device knows of no loss yet, and neither does the server.
    let (mut other, _) = shop.bench.connect(3, |_| {}).await;
    send(&mut other, vec![update(1, "artist", made.record.as_str(), name("new"), name("newer"))]).await;
    let kept = shop.compared().await[0].kept;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(shop.bench.store.inbox_backlog().await.unwrap().len(), 1, "it waits");
    shop.offer(1, kept, &told).await;
    shop.wait(|rows| rows.get(&format!("artist/{}", made.record)).is_some_and(|row| row[1] == json!("newer"))).await;
}

#[tokio::test(start_paused = true)]
async fn dedupe_rows_that_went_with_time_are_not_missing() {
    let shop = Shop::new().await;
    shop.settle(vec![create(1, "artist", 7, name("stays"))]).await;
    let boot = shop.bench.store.boot();
    // The year 2100: the database's rows are stamped by the machine's own clock.
    shop.bench.store.clock().clone().set(4_102_444_800_000);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(shop.ask("SELECT count(*) FROM om_applied WHERE op <> 'nothing'"), "0");
    shop.settle(vec![create(2, "artist", 8, name("goes on"))]).await;
    assert_eq!((shop.bench.store.set_backs().await.unwrap(), shop.bench.store.boot()), (vec![], boot));
}

#[tokio::test(start_paused = true)]
async fn an_atomic_transaction_that_is_all_there_ever_was_is_missed() {
    let shop = Shop::with(4, |channel| channel.schema.atomic = Some("shop".into())).await;
    let copy = shop.copy();
    let (mut device, _) = shop.bench.connect(1, |_| {}).await;
    let part = |at| Some(Part { at, of: 2 });
    let pair = vec![
        Mutation { atomic: part(0), ..create(1, "artist", 7, name("one of two")) },
        Mutation { atomic: part(1), ..create(2, "artist", 8, name("two of two")) },
    ];
    send(&mut device, pair).await;
    assert_eq!(answers(&shop, 2).await.iter().filter(|(_, outcome, _)| *outcome == Outcome::Applied).count(), 2);
    shop.go_back(&copy);
    assert_eq!(shop.compared().await[0].kept, Position(0), "nothing says what was there before");
    assert_eq!(shop.rows().await.keys().filter(|key| key.starts_with("artist/")).count(), 2);
}
