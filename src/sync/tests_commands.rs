//! Orders to devices, as a session hears of them.

use omctl_protocol::frame::{COMMAND_MAX, Command, CommandKind, Report};
use omctl_protocol::{DeviceId, Down, Seq, Up};
use serde_json::json;
use uuid::Uuid;

use super::tests::{Bench, create, parse, receipts, rows, send};
use crate::limits;
use crate::store::Order;
use crate::sync::SessionEnd;

const DEVICE: DeviceId = DeviceId(Uuid::from_bytes([1; 16]));

fn commands(frames: &[Down]) -> Vec<Order> {
    let of = |frame: &Down| match frame {
        Down::Command(Command { n, kind, signature }) => {
            assert_eq!(signature.len(), 86, "64 bytes");
            Some(Order { n: *n, kind: *kind })
        }
        _ => None,
    };
    frames.iter().filter_map(of).collect()
}

fn is_welcomed(frames: &[Down]) -> bool {
    frames.iter().any(|frame| matches!(frame, Down::Welcome(_)))
}

#[tokio::test]
async fn a_locked_device_hears_its_command_and_nothing_else() {
    let bench = Bench::new().await;
    let (mut session, _) = bench.connect(1, |_| {}).await;
    let lock = bench.store.order(DEVICE, CommandKind::Lock).await.unwrap();
    assert_eq!(bench.store.order(DEVICE, CommandKind::Lock).await.unwrap(), lock, "the same order is one");
    let told = parse(session.summoned().await.unwrap());
    assert_eq!(commands(&told), [lock]);
    // What was on its way is not taken.
    assert!(send(&mut session, vec![create(1, "notes", 7, json!({}))]).await.is_empty());
    assert!(session.is_waiting() && !session.is_catching_up());
    let (_, frames) = bench.connect(1, |_| {}).await;
    assert_eq!((commands(&frames), is_welcomed(&frames)), (vec![lock], false));
    let state = bench.store.newest_command(Bench::who(1).device).await.unwrap().unwrap();
    assert!(state.delivered_ms.is_some() && state.confirmed_ms.is_none(), "{state:?}");
    // The next hello says that it is done.
    let (_, frames) = bench.connect(1, |hello| hello.command = lock.n).await;
    assert_eq!((commands(&frames), is_welcomed(&frames)), (vec![lock], false), "it is told each time that it asks");
    assert!(bench.store.newest_command(Bench::who(1).device).await.unwrap().unwrap().confirmed_ms.is_some());
}

#[tokio::test]
async fn an_unlocked_device_goes_on_where_it_stood() {
    let bench = Bench::new().await;
    let (mut session, _) = bench.connect(1, |_| {}).await;
    let lock = bench.store.order(DEVICE, CommandKind::Lock).await.unwrap();
    session.summoned().await.unwrap();
    let report = Up::Report(Report { command: lock.n });
    assert!(parse(session.on_frame(report).await.unwrap()).is_empty());
    let unlock = bench.store.order(DEVICE, CommandKind::Unlock).await.unwrap();
    assert_eq!(unlock.n, lock.n + 1);
    assert_eq!(commands(&parse(session.summoned().await.unwrap())), [unlock]);
    // One that was away meanwhile hears of both by the last word.
    let (mut session, frames) = bench.connect(1, |_| {}).await;
    assert_eq!((commands(&frames), is_welcomed(&frames)), (vec![unlock], true));
    let sent = send(&mut session, vec![create(1, "notes", 7, json!({}))]).await;
    assert!(matches!(&sent[0], Down::Accepted(accepted) if accepted.seq == Seq(1)));
}

#[tokio::test]
async fn what_was_accepted_before_a_lock_is_settled_after_it() {
    let bench = Bench::new().await;
    let (mut session, _) = bench.connect(1, |_| {}).await;
    send(&mut session, vec![create(1, "notes", 7, json!({ "hours": "1" }))]).await;
    bench.store.order(DEVICE, CommandKind::Lock).await.unwrap();
    let (_, frames) = bench.connect(1, |_| {}).await;
    assert_eq!((receipts(&frames).len(), rows(&frames)), (0, 0));
    bench.store.order(DEVICE, CommandKind::Unlock).await.unwrap();
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(1)).await;
    assert_eq!((receipts(&frames).len(), rows(&frames)), (1, 1));
}

#[tokio::test]
async fn a_wiped_device_is_told_once_more_that_it_was_heard() {
    let bench = Bench::new().await;
    bench.connect(1, |_| {}).await;
    let wipe = bench.store.order(DEVICE, CommandKind::Wipe).await.unwrap();
    assert!(bench.store.order(DEVICE, CommandKind::Unlock).await.is_err(), "there is no way back");
    let (mut session, frames) = bench.connect(1, |_| {}).await;
    assert_eq!((commands(&frames), is_welcomed(&frames)), (vec![wipe], false));
    let step = session.on_frame(Up::Report(Report { command: wipe.n })).await.unwrap();
    assert_eq!(step.end, Some(SessionEnd::Out));
    assert!(matches!(&parse(step)[..], [Down::Error(error)] if error.code == "device_wiped"));
    // A backup of the phone comes back with the data: the same again.
    let (_, frames) = bench.connect(1, |_| {}).await;
    assert_eq!(commands(&frames), [wipe]);
}

#[tokio::test]
async fn a_server_that_forgot_its_orders_says_what_the_device_is_here() {
    let bench = Bench::new().await;
    let (_, frames) = bench.connect(1, |hello| hello.command = 7).await;
    assert_eq!(commands(&frames), [Order { n: 8, kind: CommandKind::Unlock }]);
    assert!(is_welcomed(&frames));
    let lock = bench.store.order(DEVICE, CommandKind::Lock).await.unwrap();
    assert_eq!(lock.n, 9, "behind what the device has carried out");
    let (_, frames) = bench.connect(1, |hello| hello.command = 12).await;
    assert_eq!(commands(&frames), [Order { n: 13, kind: CommandKind::Lock }]);
}

#[tokio::test]
async fn a_revoked_device_gets_no_orders() {
    let bench = Bench::new().await;
    bench.store.revoke_device(DEVICE).await.unwrap();
    assert!(bench.store.order(DEVICE, CommandKind::Wipe).await.is_err());
    let (_, frames) = bench.connect(1, |_| {}).await;
    assert!(matches!(&frames[..], [Down::Error(error)] if error.code == "no_access"), "{frames:?}");
}

#[tokio::test]
async fn a_device_that_counts_without_end_breaks_nothing() {
    let bench = Bench::new().await;
    let (_, frames) = bench.connect(1, |hello| hello.command = u64::MAX).await;
    assert_eq!(commands(&frames), [Order { n: COMMAND_MAX, kind: CommandKind::Unlock }]);
    // What it was never told it has not done.
    let (mut session, _) = bench.connect(2, |_| {}).await;
    session.on_frame(Up::Report(Report { command: 50 })).await.unwrap();
    assert_eq!(bench.store.newest_command(Bench::who(2).device).await.unwrap(), None);
    for n in 0..u64::from(limits::COMMANDS_KEPT) + 20 {
        bench.connect(3, |hello| hello.command = 2 * n + 1).await;
    }
    let kept = bench.store.commands_of(Bench::who(3).device).await.unwrap();
    assert_eq!(kept.len(), limits::COMMANDS_KEPT as usize);
}
