//! Mutations of a history that was lost, offered again, over a real store in memory.

use std::collections::BTreeMap;

use omctl_protocol::frame::Hello;
use omctl_protocol::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::tests::{Bench, create, receipts, send};
use super::tests_scopes::{REPS, channels, copy, id, update, welcome};

/// Every note's title and hours.
async fn notes(bench: &Bench) -> Vec<(Json, Json)> {
    let view = bench.sync.backend_view(&"notes".into(), None).await.unwrap();
    let mut all: Vec<_> = view.rows.iter().map(|row| (row.values[0].to_json(), row.values[1].to_json())).collect();
    all.sort_by_key(|row| format!("{row:?}"));
    all
}

/// Settles what waits.
pub(super) async fn drain(bench: &Bench) {
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        if bench.store.inbox_backlog().await.unwrap().is_empty() {
            return;
        }
    }
    panic!("mutations wait for ever");
}

#[tokio::test(start_paused = true)]
async fn offered_mutations_end_as_they_stood_whoever_comes_first() {
    for order in [[1u8, 2, 3], [3, 2, 1], [2, 3, 1], [2, 1, 3]] {
        let bench = Bench::new().await;
        let (mut one, _) = bench.connect(1, |_| {}).await;
        send(&mut one, vec![create(1, "notes", 1, json!({ "title": "begun", "hours": "1" }))]).await;
        let snapshot = copy(&bench.database);
        let boot = bench.store.boot();
        // Behind the snapshot: each builds on what another did.
        let renewed = |n: u8, mutations: Vec<Mutation>| (n, mutations);
        let history = [
            renewed(1, vec![update(2, "notes", 1, json!({ "title": "begun" }), json!({ "title": "by one" }))]),
            renewed(
                2,
                vec![
                    update(
                        1,
                        "notes",
                        1,
                        json!({ "title": "by one", "hours": "1" }),
                        json!({ "title": "by two", "hours": "3" }),
                    ),
                    create(2, "notes", 2, json!({ "title": "new", "hours": "1" })),
                ],
            ),
            renewed(
                3,
                vec![
                    update(
                        1,
                        "notes",
                        2,
                        json!({ "title": "new", "hours": "1" }),
                        json!({ "title": "newer", "hours": "2" }),
                    ),
                    update(2, "notes", 1, json!({ "hours": "3" }), json!({ "hours": "7" })),
                ],
            ),
        ];
        let mut receipts_of: BTreeMap<u8, Vec<(Mutation, Receipt)>> = BTreeMap::new();
        for (n, mutations) in &history {
            let before = u64::from(*n == 1);
            let (mut session, _) = bench.connect(*n, |hello| hello.last_seq = Seq(before)).await;
            send(&mut session, mutations.clone()).await;
            let (_, frames) = bench.connect(*n, |hello| hello.last_seq = Seq(9)).await;
            let told = receipts(&frames);
            let found = |m: &Mutation| told.iter().find(|receipt| receipt.id == m.id).cloned().unwrap();
            receipts_of.insert(*n, mutations.iter().map(|m| (m.clone(), found(m))).collect());
        }
        let expected = notes(&bench).await;
        let ahead = bench.store.newest_position().await.unwrap();

        let bench = Bench::open(snapshot, Bench::channels(), &BTreeMap::new(), 2).await;
        for n in order {
            let cursor = |hello: &mut Hello| {
                (hello.epoch, hello.boot, hello.position) = (Some(boot.epoch), Some(boot.id), ahead);
                hello.last_seq = Seq(9);
            };
            let (_, frames) = bench.connect(n, cursor).await;
            let kept = welcome(&frames).kept;
            assert_eq!((welcome(&frames).reset, kept, frames.len()), (true, Some(Position(1)), 1));
            let again = receipts_of[&n].iter().enumerate().map(|(place, (mutation, receipt))| Mutation {
                seq: Seq(place as u64 + 1),
                again: receipt.position,
                ..mutation.clone()
            });
            let hello = |hello: &mut Hello| {
                hello.incarnation = Incarnation(Uuid::from_bytes([n + 100; 16]));
                (hello.last_seq, hello.kept) = (Seq(2), kept);
            };
            let (mut session, _) = bench.connect(n, hello).await;
            send(&mut session, again.collect()).await;
            // Others come a moment later, and the server's clock is set right meanwhile.
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            bench.store.clock().set(bench.store.clock().now_ms() + 3_600_000);
        }
        drain(&bench).await;
        assert_eq!(notes(&bench).await, expected, "in the order {order:?}");
        for (n, settled) in &receipts_of {
            let hello = |hello: &mut Hello| {
                hello.incarnation = Incarnation(Uuid::from_bytes([n + 100; 16]));
                hello.last_seq = Seq(2);
            };
            let (_, frames) = bench.connect(*n, hello).await;
            let told = receipts(&frames);
            assert_eq!(told.len(), settled.len());
            assert!(
                told.iter().all(|receipt| matches!(receipt.outcome, Outcome::Applied | Outcome::Merged)),
                "{told:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_since_is_not_overwritten_by_an_offer() {
    let bench = Bench::new().await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    send(&mut one, vec![create(1, "notes", 1, json!({ "title": "begun" }))]).await;
    // Another device works here since the histories parted.
    let (mut two, _) = bench.connect(2, |_| {}).await;
    send(&mut two, vec![update(1, "notes", 1, json!({ "title": "begun" }), json!({ "title": "here" }))]).await;
    let hello = |hello: &mut Hello| {
        hello.incarnation = Incarnation(Uuid::from_bytes([100; 16]));
        (hello.last_seq, hello.kept) = (Seq(1), Some(Position(1)));
    };
    let (mut one, _) = bench.connect(1, hello).await;
    let offered = update(1, "notes", 1, json!({ "title": "begun" }), json!({ "title": "there" }));
    send(&mut one, vec![Mutation { again: Some(Position(9)), ..offered }]).await;
    drain(&bench).await;
    assert_eq!(notes(&bench).await, [(json!("here"), Json::Null)]);
    let (_, frames) = bench.connect(1, hello).await;
    assert_eq!(receipts(&frames)[0].outcome, Outcome::Conflict);
}

#[tokio::test(start_paused = true)]
async fn positions_of_two_lost_histories_are_not_compared() {
    let bench = Bench::new().await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    send(&mut one, vec![create(1, "notes", 1, json!({ "title": "begun" }))]).await;
    let offers = |n: u8, kept: Position| {
        move |hello: &mut Hello| {
            hello.incarnation = Incarnation(Uuid::from_bytes([n; 16]));
            (hello.last_seq, hello.kept) = (Seq(9), Some(kept));
        }
    };
    let titled = |at, old: &str, new: &str| Mutation {
        again: Some(Position(at)),
        id: MutationId(Uuid::from_u128(u128::from(at))),
        ..update(1, "notes", 1, json!({ "title": old }), json!({ "title": new }))
    };
    let first = bench.store.newest_position().await.unwrap();
    // After one restore, what stood at 61 is offered. Another restore loses a later write at 31, which is offered then.
    let (mut two, _) = bench.connect(2, offers(102, first)).await;
    send(&mut two, vec![titled(61, "begun", "of the first")]).await;
    drain(&bench).await;
    let second = bench.store.newest_position().await.unwrap();
    let (mut three, _) = bench.connect(3, offers(103, second)).await;
    send(&mut three, vec![titled(31, "of the first", "of the second")]).await;
    drain(&bench).await;
    assert_eq!(notes(&bench).await, [(json!("of the second"), json!(null))]);
    // One more of the first history comes late: it is older than what stands there, whatever its number.
    let (mut one, _) = bench.connect(1, offers(104, first)).await;
    send(&mut one, vec![titled(72, "begun", "late")]).await;
    drain(&bench).await;
    assert_eq!(notes(&bench).await, [(json!("of the second"), json!(null))]);
    let (_, frames) = bench.connect(1, offers(104, first)).await;
    assert_eq!(receipts(&frames)[0].outcome, Outcome::Conflict);
}

#[tokio::test(start_paused = true)]
async fn what_builds_on_a_lost_create_waits_for_it_also_where_it_was_never_settled() {
    let bench = Bench::new().await;
    let begun_after_a_reset = |n: u8| {
        move |hello: &mut Hello| {
            hello.incarnation = Incarnation(Uuid::from_bytes([n + 100; 16]));
            (hello.last_seq, hello.kept) = (Seq(9), Some(Position(0)));
        }
    };
    // Both saw the record in the history that is lost, and wrote before they heard of the loss.
    let (mut one, _) = bench.connect(1, begun_after_a_reset(1)).await;
    send(&mut one, vec![update(1, "notes", 1, json!({ "title": "begun" }), json!({ "title": "later" }))]).await;
    let refused = vec![
        create(2, "own", 5, json!({ "title": "not mine", "owner": "u2" })),
        update(3, "own", 5, json!({ "title": "not mine" }), json!({ "title": "still not" })),
    ];
    send(&mut one, refused).await;
    let (mut two, _) = bench.connect(2, begun_after_a_reset(2)).await;
    // A device that offers a create and what it wrote to the record since does not wait for itself.
    let again = |position, mutation| Mutation { again: Some(Position(position)), ..mutation };
    let made = again(4, create(1, "notes", 1, json!({ "title": "begun" })));
    let changed = again(5, update(2, "notes", 1, json!({ "hours": null }), json!({ "hours": "3" })));
    send(&mut two, vec![made, changed]).await;
    drain(&bench).await;
    assert_eq!(notes(&bench).await, [(json!("later"), json!("3"))]);
    let (_, frames) = bench.connect(1, begun_after_a_reset(1)).await;
    let told: Vec<_> = receipts(&frames).into_iter().map(|receipt| (receipt.seq.0, receipt.outcome)).collect();
    assert_eq!(told.len(), 3);
    assert!(told.contains(&(1, Outcome::Applied)) && told.contains(&(3, Outcome::Rejected)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn how_long_an_offer_waits_does_not_tell_what_is_hidden() {
    let bench = Bench::with(channels(&REPS), &BTreeMap::new()).await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let customer = |seq, record, rep: &str| create(seq, "customers", record, json!({ "name": "c", "rep": rep }));
    send(&mut one, vec![customer(1, 1, "u1"), customer(2, 4, "u1")]).await;
    let gone = Mutation { op: Operation::Delete, new: Fields::new(), ..customer(3, 4, "u1") };
    send(&mut one, vec![gone]).await;
    let (mut two, _) = bench.connect(2, |hello| hello.kept = Some(Position(0))).await;
    send(&mut two, vec![customer(1, 2, "u2")]).await;
    // One that is another's, one that was, one that nobody ever heard of, and an own one.
    let again = |seq, record| Mutation {
        again: Some(Position(5)),
        ..update(seq, "customers", record, json!({ "name": "c" }), json!({ "name": "d" }))
    };
    send(&mut two, vec![again(2, 1), again(3, 4), again(4, 3), again(5, 2)]).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let waiting = bench.store.inbox(Bench::who(2).device, "managed".into(), 9).await.unwrap();
    let waiting: Vec<_> = waiting.into_iter().map(|entry| entry.seq.0).collect();
    assert_eq!(waiting, [2, 3, 4]);
    let (_, frames) = bench.connect(2, |hello| hello.last_seq = Seq(5)).await;
    assert_eq!(receipts(&frames).last().unwrap().seq, Seq(5), "{}", id(2));
}
