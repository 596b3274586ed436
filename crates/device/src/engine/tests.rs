//! The engine against a scripted server, frame by frame.

use omctl_protocol::frame::{
    Accepted, Challenge, Command, CommandKind, Commit, GainedScope, Hello, Scopes, parse_frame,
};
use omctl_protocol::{Mutation, Outcome, Position};
use rusqlite::Connection;

use super::*;
use crate::store::tests::{field, note, notes, rows_line, text, welcome};
use crate::{Entropy, StoreOptions};

fn engine() -> Engine {
    let options = StoreOptions { entropy: Entropy::seeded(9), ..StoreOptions::default() };
    let mut store = Store::from_connection(Connection::open_in_memory().unwrap(), options).unwrap();
    let id = "018f6b1e-0000-7000-8000-000000000001";
    store.activate(id.parse().unwrap(), id.parse().unwrap()).unwrap();
    Engine::new(store)
}

fn feed(engine: &mut Engine, frame: Down) -> Vec<Action> {
    engine.handle(1_000, Event::Frame(&frame.to_line())).unwrap()
}

fn command(n: u64, kind: CommandKind) -> Down {
    Down::Command(Command { n, kind, signature: String::new() })
}

fn wiped_error() -> Down {
    let code = "device_wiped".into();
    Down::Error(ErrorFrame { code, message: String::new(), hint: None, expected: None, fatal: true })
}

fn sent(actions: &[Action]) -> Vec<Up> {
    let lines = actions.iter().filter_map(|action| match action {
        Action::Send(line) => Some(line),
        _ => None,
    });
    lines.map(|line| parse_frame(line).unwrap()).collect()
}

fn hello_of(actions: &[Action]) -> Hello {
    match sent(actions).as_slice() {
        [Up::Hello(hello)] => (**hello).clone(),
        other => panic!("expected a hello, found {other:?}"),
    }
}

fn mutations_of(actions: &[Action]) -> Vec<Mutation> {
    sent(actions)
        .into_iter()
        .flat_map(|up| if let Up::Mutate(mutate) = up { mutate.mutations } else { vec![] })
        .collect()
}

fn live(engine: &mut Engine) {
    let actions = engine.handle(1_000, Event::Connected(Greeting::Plain)).unwrap();
    assert_eq!(hello_of(&actions).device.to_string(), "018f6b1e-0000-7000-8000-000000000001");
    feed(engine, Down::Welcome(Box::new(welcome())));
    feed(engine, Down::Schema(Box::new(notes())));
    feed(
        engine,
        Down::Scopes(Scopes {
            gained: vec![GainedScope { scope: "s".into(), channel: "notes".into() }],
            lost: vec![],
            digest: "d".into(),
        }),
    );
    engine.handle(1_000, Event::Frame(&rows_line("s", "notes", 1, None, &[("a", Some(note("A")))]))).unwrap();
    let actions = feed(engine, Down::Commit(Commit { position: Position(1), receipts: vec![], sums: None }));
    assert!(actions.contains(&Action::Changed(BTreeSet::from(["notes".into()]))));
    assert!(actions.contains(&Action::State(ConnectionState::Live)));
}

fn write(engine: &mut Engine, sql: &str) -> Vec<Action> {
    engine.store_mut().write(|tx| tx.execute_batch(sql)).unwrap();
    engine.handle(1_000, Event::LocalWrite).unwrap()
}

fn receipt(mutation: &Mutation) -> Receipt {
    Receipt {
        seq: mutation.seq,
        id: mutation.id,
        outcome: Outcome::Applied,
        code: None,
        message: None,
        field: None,
        position: None,
    }
}

#[test]
fn a_write_travels_settles_and_is_acknowledged() {
    let mut engine = engine();
    live(&mut engine);
    let mutations = mutations_of(&write(&mut engine, "UPDATE notes SET title = 'mine' WHERE id = 'a'"));
    assert_eq!(mutations.len(), 1);
    feed(&mut engine, Down::Accepted(omctl_protocol::frame::Accepted { seq: Seq(1) }));
    engine.handle(1_000, Event::Frame(&rows_line("s", "notes", 2, None, &[("a", Some(note("mine")))]))).unwrap();
    let receipts = vec![receipt(&mutations[0])];
    let actions =
        feed(&mut engine, Down::Commit(Commit { position: Position(2), receipts: receipts.clone(), sums: None }));
    assert!(actions.contains(&Action::Settled(receipts)));
    assert_eq!(sent(&actions), [Up::Ack(Ack { seq: Seq(1) })]);
    assert_eq!(engine.store().stats().unwrap().pending, 0);
}

#[test]
fn what_was_sealed_is_sent_again_byte_for_byte_after_a_crash() {
    let mut engine = engine();
    live(&mut engine);
    let first = write(&mut engine, "INSERT INTO notes (id, title) VALUES ('n', 'N')");
    let conn = engine.into_store().into_connection();
    let mut engine = Engine::new(Store::from_connection(conn, StoreOptions::default()).unwrap());
    let hello = hello_of(&engine.handle(2_000, Event::Connected(Greeting::Plain)).unwrap());
    assert_eq!((hello.last_seq, hello.scopes.digest.as_deref()), (Seq(1), Some("d")));
    let again = feed(&mut engine, Down::Welcome(Box::new(welcome())));
    let line =
        |actions: &[Action]| actions.iter().find(|a| matches!(a, Action::Send(l) if l.contains("mutate"))).cloned();
    assert!(line(&first).is_some());
    assert_eq!(line(&again), line(&first));
}

#[test]
fn of_what_the_server_has_only_the_newest_without_a_receipt_is_sent_again() {
    let mut engine = engine();
    live(&mut engine);
    for id in ["n", "o", "p"] {
        write(&mut engine, &format!("INSERT INTO notes (id) VALUES ('{id}')"));
    }
    let seqs = |actions: &[Action]| mutations_of(actions).iter().map(|m| m.seq.0).collect::<Vec<_>>();
    let held = feed_welcome_with(&mut engine, Seq(2));
    // Were this file set back, the server would have another mutation under that number.
    assert_eq!(seqs(&held), [2, 3]);
    let receipts = mutations_of(&held)[..1].iter().map(receipt).collect();
    feed(&mut engine, Down::Commit(Commit { position: Position(3), receipts, sums: None }));
    assert_eq!(seqs(&feed_welcome_with(&mut engine, Seq(2))), [1, 3]);
    let mismatch = ErrorFrame {
        code: "seq_payload_mismatch".into(),
        message: String::new(),
        hint: None,
        expected: None,
        fatal: true,
    };
    assert!(feed(&mut engine, Down::Error(mismatch)).contains(&Action::Close));
    assert_eq!(seqs(&feed_welcome_with(&mut engine, Seq(0))), [1, 2], "in a new incarnation");
}

fn feed_welcome_with(engine: &mut Engine, accepted: Seq) -> Vec<Action> {
    engine.handle(3_000, Event::Disconnected).unwrap();
    engine.handle(3_000, Event::Connected(Greeting::Plain)).unwrap();
    feed(engine, Down::Welcome(Box::new(Welcome { accepted, ..welcome() })))
}

#[test]
fn a_gap_is_resent_from_where_the_server_says() {
    let mut engine = engine();
    live(&mut engine);
    for n in 0..3 {
        write(&mut engine, &format!("INSERT INTO notes (id) VALUES ('n{n}')"));
    }
    let error =
        ErrorFrame { code: "seq_gap".into(), message: "gap".into(), hint: None, expected: Some(Seq(2)), fatal: false };
    let again = mutations_of(&feed(&mut engine, Down::Error(error)));
    assert_eq!(again.iter().map(|m| m.seq.0).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn no_more_than_the_window_is_in_flight_and_the_rest_waits_unsealed() {
    let mut engine = engine();
    live(&mut engine);
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
                INSERT INTO notes (id) SELECT 'n' || i FROM n";
    assert_eq!(mutations_of(&write(&mut engine, many)).len(), 1000);
    assert!(write(&mut engine, "INSERT INTO notes (id) VALUES ('later')").is_empty());
    let rest = feed(&mut engine, Down::Accepted(omctl_protocol::frame::Accepted { seq: Seq(1000) }));
    assert_eq!(mutations_of(&rest).len(), 501);
}

#[test]
fn renewal_and_missing_digests_lead_to_another_hello() {
    let mut engine = engine();
    live(&mut engine);
    engine.handle(1_000, Event::Disconnected).unwrap();
    let prove: Prover = Box::new(|nonce| Proof { nonce: nonce.into(), signature: "s".into() });
    assert!(sent(&engine.handle(1_000, Event::Connected(Greeting::Challenge(prove))).unwrap()).is_empty());
    let first = hello_of(&feed(&mut engine, Down::Challenge(Challenge { nonce: "n".into() })));
    assert_eq!(first.proof.as_ref().unwrap().nonce, "n");
    assert_eq!(first.scopes.digest.as_deref(), Some("d"));
    let listed = hello_of(&feed(&mut engine, Down::Welcome(Box::new(Welcome { list_scopes: true, ..welcome() }))));
    assert_eq!(listed.scopes.list, Some(vec![("s".into(), None)]));
    let renewed = hello_of(&feed(&mut engine, Down::Welcome(Box::new(Welcome { renew: true, ..welcome() }))));
    assert_ne!(renewed.incarnation, first.incarnation);
}

#[test]
fn nonsense_closes_the_connection_and_waiting_grows_with_jitter() {
    let mut engine = engine();
    live(&mut engine);
    assert!(engine.handle(1_000, Event::Frame("{\"surprise\":1}")).unwrap().contains(&Action::Close));
    let mut longest = 0;
    for _ in 0..12 {
        let actions = engine.handle(1_000, Event::Disconnected).unwrap();
        let Some(Action::WakeAt(at)) = actions.iter().find(|a| matches!(a, Action::WakeAt(_))) else { panic!() };
        assert!((1_000..=61_000).contains(at));
        longest = longest.max(*at);
        assert!(engine.handle(*at, Event::Tick).unwrap().contains(&Action::Connect));
    }
    assert!(longest > 10_000);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_a_device_waiting() {
    let mut engine = engine();
    live(&mut engine);
    let (hours_ahead, set_right) = (33_120_000, 5_000);
    engine.handle(hours_ahead, Event::Disconnected).unwrap();
    assert!(engine.handle(set_right, Event::Tick).unwrap().contains(&Action::Connect));
}

#[test]
fn one_request_carries_everything_and_is_repeated_until_it_is_settled() {
    let mut engine = engine();
    live(&mut engine);
    engine.handle(1_000, Event::Disconnected).unwrap();
    write(&mut engine, "INSERT INTO notes (id, title) VALUES ('n', 'N')");
    let body = engine.begin_request(5_000).unwrap();
    let ups: Vec<Up> = omctl_protocol::frame::parse_frames(&body).unwrap();
    assert!(matches!(ups.as_slice(), [Up::Hello(_), Up::Mutate(_), Up::Bye(_)]), "{ups:?}");
    let Up::Mutate(mutate) = &ups[1] else { unreachable!() };
    feed(&mut engine, Down::Welcome(Box::new(welcome())));
    feed(&mut engine, Down::Commit(Commit { position: Position(2), receipts: vec![], sums: None }));
    assert_eq!(engine.end_request().unwrap(), Heard::AllBut { pending: 1 }, "the receipt is missing");
    engine.begin_request(5_000).unwrap();
    feed(&mut engine, Down::Welcome(Box::new(Welcome { accepted: Seq(1), ..welcome() })));
    let row = vec![text("N"), text("1.5"), omctl_protocol::Value::Null];
    engine.handle(5_000, Event::Frame(&rows_line("s", "notes", 3, None, &[("n", Some(row))]))).unwrap();
    let receipts = vec![receipt(&mutate.mutations[0])];
    feed(&mut engine, Down::Commit(Commit { position: Position(3), receipts, sums: None }));
    assert_eq!(engine.end_request().unwrap(), Heard::All);
}

#[test]
fn a_server_that_accepts_what_was_never_sent_stops_no_later_write() {
    let mut engine = engine();
    live(&mut engine);
    let first = mutations_of(&write(&mut engine, "UPDATE notes SET title = 'B' WHERE id = 'a'"));
    let sent = first.last().unwrap().seq;
    feed(&mut engine, Down::Accepted(Accepted { seq: Seq(sent.0 + 5) }));
    let second = mutations_of(&write(&mut engine, "UPDATE notes SET title = 'C' WHERE id = 'a'"));
    assert_eq!(second.iter().map(|mutation| mutation.seq).collect::<Vec<_>>(), [sent.next()]);
    // And where it begins so, the two are not of one history.
    let old = engine.store_mut().hello(None, false, false).unwrap().incarnation;
    engine.handle(1_000, Event::Disconnected).unwrap();
    engine.handle(2_000, Event::Connected(Greeting::Plain)).unwrap();
    let again = feed_welcome_with(&mut engine, Seq(99));
    assert_ne!(hello_of(&again).incarnation, old);
}

#[test]
fn a_history_that_the_server_does_not_know_begins_anew() {
    let mut engine = engine();
    live(&mut engine);
    let before = mutations_of(&write(&mut engine, "UPDATE notes SET title = 'B' WHERE id = 'a'"));
    let mismatch = Down::Error(ErrorFrame {
        code: "seq_payload_mismatch".into(),
        message: String::new(),
        hint: None,
        expected: None,
        fatal: true,
    });
    let old = engine.store_mut().hello(None, false, false).unwrap().incarnation;
    assert!(feed(&mut engine, mismatch).contains(&Action::Close));
    engine.handle(1_000, Event::Disconnected).unwrap();
    let hello = hello_of(&engine.handle(2_000, Event::Connected(Greeting::Plain)).unwrap());
    assert_ne!(hello.incarnation, old);
    let again = mutations_of(&feed(&mut engine, Down::Welcome(Box::new(welcome()))));
    assert_eq!((again[0].id, again[0].seq), (before[0].id, Seq(1)), "the write keeps its id");
}

#[test]
fn a_fenced_device_waits_and_comes_back_for_a_new_write_only() {
    let mut engine = engine();
    live(&mut engine);
    write(&mut engine, "UPDATE notes SET title = 'before' WHERE id = 'a'");
    let fenced = ErrorFrame { code: "fenced".into(), message: "newer".into(), hint: None, expected: None, fatal: true };
    assert!(feed(&mut engine, Down::Error(fenced)).contains(&Action::Close));
    let actions = engine.handle(1_000, Event::Disconnected).unwrap();
    let Some(Action::WakeAt(at)) = actions.first() else { panic!("{actions:?}") };
    assert!((31_000..=46_000).contains(at), "{at}");
    assert_eq!(engine.handle(1_500, Event::LocalWrite).unwrap(), [], "nothing was written since");
    assert_eq!(write(&mut engine, "UPDATE notes SET title = 'after' WHERE id = 'a'"), [Action::Connect]);
    assert!(!engine.is_fenced());
    // Where the app writes nothing, time brings it back.
    engine.handle(2_000, Event::Connected(Greeting::Plain)).unwrap();
    engine.handle(2_000, Event::Fenced).unwrap();
    engine.handle(2_000, Event::Disconnected).unwrap();
    assert!(!engine.handle(30_000, Event::Tick).unwrap().contains(&Action::Connect));
    assert!(engine.handle(50_000, Event::Tick).unwrap().contains(&Action::Connect));
}

#[test]
fn a_refused_device_makes_no_connection_and_says_so() {
    let mut engine = engine();
    live(&mut engine);
    let shown = [Action::State(ConnectionState::NeedsActivation)];
    assert_eq!(engine.handle(1_000, Event::Refused).unwrap(), shown);
    assert_eq!(engine.handle(900_000, Event::Tick).unwrap(), []);
    let actions = engine.handle(900_000, Event::Connected(Greeting::Plain)).unwrap();
    assert!(actions.contains(&Action::State(ConnectionState::Connecting)));
}

#[test]
fn a_reset_is_followed_by_hello_with_slices_on_the_same_connection_or_in_the_next_request() {
    let reset = || Down::Welcome(Box::new(Welcome { reset: true, kept: Some(Position(0)), ..welcome() }));
    let mut engine = engine();
    live(&mut engine);
    engine.handle(1_000, Event::Disconnected).unwrap();
    engine.handle(1_000, Event::Connected(Greeting::Plain)).unwrap();
    let hello = hello_of(&feed(&mut engine, reset()));
    assert_eq!((hello.position, hello.scopes.slices.len(), hello.kept), (Position(0), 1, Some(Position(0))));
    engine.handle(1_000, Event::Disconnected).unwrap();

    engine.begin_request(5_000).unwrap();
    feed(&mut engine, reset());
    assert_eq!(engine.end_request().unwrap(), Heard::Part);
    let conn = engine.into_store().into_connection();
    let mut engine = Engine::new(Store::from_connection(conn, StoreOptions::default()).unwrap());
    let body = engine.begin_request(6_000).unwrap();
    let ups: Vec<Up> = omctl_protocol::frame::parse_frames(&body).unwrap();
    let Up::Hello(hello) = &ups[0] else { panic!("{body}") };
    assert_eq!((hello.scopes.slices.len(), hello.kept), (1, Some(Position(0))));
}

#[test]
fn a_server_that_cannot_add_or_never_has_enough_is_not_asked_without_end() {
    let wrong = || {
        let sums = Some(omctl_protocol::SumsDigest(1));
        Down::Commit(Commit { position: Position(2), receipts: vec![], sums })
    };
    let mut engine = engine();
    live(&mut engine);
    for _ in 0..3 {
        assert_eq!(hello_of(&feed(&mut engine, wrong())).scopes.slices.len(), 1);
        feed(&mut engine, Down::Welcome(Box::new(welcome())));
    }
    assert!(feed(&mut engine, wrong()).contains(&Action::Close));
    engine.handle(1_000, Event::Disconnected).unwrap();
    // Over requests the same: what is wrong is said again with the next sync, not at once.
    engine.begin_request(5_000).unwrap();
    feed(&mut engine, Down::Welcome(Box::new(welcome())));
    feed(&mut engine, wrong());
    assert_eq!(engine.end_request().unwrap(), Heard::All);

    engine.handle(1_000, Event::Connected(Greeting::Plain)).unwrap();
    let mut answers = 0;
    while !feed(&mut engine, Down::Welcome(Box::new(Welcome { reset: true, ..welcome() }))).contains(&Action::Close) {
        answers += 1;
        assert!(answers < 20);
    }
    assert!(answers >= 4);
}

/// A disk that fails in the middle of a session: what came in vain is not skipped by what comes after it, and what could not
/// be sent is sent by the next session.
#[test]
fn a_disk_that_fails_ends_the_session_and_nothing_is_skipped() {
    let mut engine = engine();
    live(&mut engine);
    let fails = |engine: &mut Engine, fails: bool| {
        let pages = "SELECT page_count FROM pragma_page_count";
        let connection = engine.store().connection();
        let now: u32 = connection.query_row(pages, [], |row| row.get(0)).unwrap();
        let most = if fails { now } else { u32::MAX - 1 };
        connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(())).unwrap();
    };
    let long = |n: u32| vec![text(&format!("{n}").repeat(20_000)), text("1"), omctl_protocol::Value::Null];
    fails(&mut engine, true);
    let rows = rows_line("s", "notes", 2, None, &[("b", Some(long(1)))]);
    engine.handle(1_000, Event::Frame(&rows)).unwrap();
    let commit = Down::Commit(Commit { position: Position(2), receipts: vec![], sums: None }).to_line();
    engine.handle(1_000, Event::Frame(&commit)).unwrap_err();
    fails(&mut engine, false);
    let rows = rows_line("s", "notes", 3, None, &[("c", Some(long(2)))]);
    engine.handle(1_000, Event::Frame(&rows)).unwrap();
    feed(&mut engine, Down::Commit(Commit { position: Position(3), receipts: vec![], sums: None }));
    assert_eq!(engine.store().stats().unwrap().position, Position(1), "what lies between was never received");
    write(&mut engine, "INSERT INTO notes (id, title) VALUES ('n', 'N')");
    assert_eq!(sent(&engine.handle(1_000, Event::LocalWrite).unwrap()), [], "there is no session to send it in");
    assert_eq!(engine.state(), ConnectionState::Offline);
    engine.handle(1_000, Event::Disconnected).unwrap();
    live_again(&mut engine);
}

fn live_again(engine: &mut Engine) {
    let mut actions = engine.handle(2_000, Event::Connected(Greeting::Plain)).unwrap();
    assert_eq!(hello_of(&actions).position, Position(1));
    actions.extend(feed(engine, Down::Welcome(Box::new(welcome()))));
    assert_eq!(mutations_of(&actions).len(), 1, "what was written meanwhile is sent");
}

#[test]
fn a_locked_device_sends_nothing_and_goes_on_once_it_is_unlocked() {
    let mut engine = engine();
    live(&mut engine);
    let locked = feed(&mut engine, command(1, CommandKind::Lock));
    assert!(matches!(&sent(&locked)[..], [Up::Report(report)] if report.command == 1));
    assert!(locked.contains(&Action::Locked(Some(Lock::Ordered))));
    assert_eq!(engine.state(), ConnectionState::Held);
    assert_eq!(sent(&engine.handle(1_000, Event::LocalWrite).unwrap()), []);
    // The same again is no news.
    assert_eq!(feed(&mut engine, command(1, CommandKind::Lock)), []);
    let unlocked = feed(&mut engine, command(2, CommandKind::Unlock));
    assert!(unlocked.contains(&Action::Locked(None)));
    assert!(matches!(&sent(&unlocked)[..], [Up::Report(report), Up::Hello(hello)]
        if report.command == 2 && hello.command == 2));
}

#[test]
fn an_unlock_that_comes_with_the_welcome_needs_no_other_hello() {
    let mut engine = engine();
    engine.handle(1_000, Event::Connected(Greeting::Plain)).unwrap();
    feed(&mut engine, command(1, CommandKind::Lock));
    engine.handle(1_000, Event::Disconnected).unwrap();
    let hello = hello_of(&engine.handle(1_000, Event::Connected(Greeting::Plain)).unwrap());
    assert_eq!(hello.command, 1);
    let unlocked = feed(&mut engine, command(2, CommandKind::Unlock));
    assert!(matches!(&sent(&unlocked)[..], [Up::Report(_)]));
    feed(&mut engine, Down::Welcome(Box::new(welcome())));
    assert_eq!(engine.state(), ConnectionState::CatchingUp);
}

#[test]
fn a_session_that_stands_goes_on_after_an_unlock_that_it_did_not_need() {
    let mut engine = engine();
    live(&mut engine);
    // It was locked and unlocked between two words of the server.
    let told = feed(&mut engine, command(2, CommandKind::Unlock));
    assert!(matches!(&sent(&told)[..], [Up::Report(report)] if report.command == 2));
    assert_eq!(engine.state(), ConnectionState::Live);
}

#[test]
fn a_wiped_device_tells_until_it_is_heard_and_then_asks_for_nothing() {
    let mut engine = engine();
    live(&mut engine);
    let wiped = feed(&mut engine, command(1, CommandKind::Wipe));
    assert!(matches!(&sent(&wiped)[..], [Up::Report(_)]));
    assert!(wiped.contains(&Action::Locked(Some(Lock::Wiped))));
    // The report was lost with the connection: the next hello says it.
    let lost = engine.handle(1_000, Event::Disconnected).unwrap();
    assert!(lost.iter().any(|action| matches!(action, Action::WakeAt(_))), "it comes back: {lost:?}");
    let hello = hello_of(&engine.handle(2_000, Event::Connected(Greeting::Plain)).unwrap());
    assert_eq!((hello.command, hello.schemas.len()), (1, 0));
    assert!(feed(&mut engine, wiped_error()).contains(&Action::Close));
    let gone = engine.handle(3_000, Event::Disconnected).unwrap();
    assert!(!gone.iter().any(|action| matches!(action, Action::WakeAt(_) | Action::Connect)), "{gone:?}");
    assert_eq!(engine.state(), ConnectionState::NeedsActivation);
    assert_eq!(engine.store().device().unwrap(), None);
}

#[test]
fn an_order_that_is_not_the_servers_ends_the_connection_and_changes_nothing() {
    let mut engine = engine();
    engine.trust(Box::new(|command| command.signature == "ours"));
    live(&mut engine);
    let refused = feed(&mut engine, command(1, CommandKind::Wipe));
    assert!(refused.contains(&Action::Close) && sent(&refused).is_empty(), "{refused:?}");
    assert_eq!((engine.store().lock().unwrap(), engine.store().schemas().count()), (None, 1));
    engine.handle(1_000, Event::Disconnected).unwrap();
    live(&mut engine);
    let ours = Command { n: 1, kind: CommandKind::Lock, signature: "ours".into() };
    assert!(feed(&mut engine, Down::Command(ours)).contains(&Action::Locked(Some(Lock::Ordered))));
}

#[test]
fn a_stranger_cannot_end_a_device_by_saying_that_it_was_wiped() {
    let mut engine = engine();
    live(&mut engine);
    feed(&mut engine, wiped_error());
    assert!(engine.store().device().unwrap().is_some(), "only an order destroys");
}

#[test]
fn fields_that_no_table_can_have_end_the_connection_and_blame_no_disk() {
    for names in [&["title", "TITLE"][..], &["id"], &["nul\0"]] {
        let mut engine = engine();
        live(&mut engine);
        let mut schema = notes();
        schema.version = omctl_protocol::SchemaVersion(2);
        schema.fields = names.iter().map(|name| field(name, omctl_protocol::FieldType::Text)).collect();
        let actions = feed(&mut engine, Down::Schema(Box::new(schema)));
        assert!(actions.contains(&Action::Close), "{names:?}");
        engine.handle(1_000, Event::Disconnected).unwrap();
        write(&mut engine, "INSERT INTO notes (id, title) VALUES ('n', 'N')");
        live_again(&mut engine);
    }
}

#[test]
fn rows_without_sense_do_not_keep_a_device_from_coming_back() {
    let mut engine = engine();
    live(&mut engine);
    engine.handle(1_000, Event::Frame(r#"{"rows":{"scope":"s","channel":"notes","v":1}}"#)).unwrap();
    let actions = engine.handle(1_000, Event::Disconnected).unwrap();
    assert!(actions.iter().any(|action| matches!(action, Action::WakeAt(_))), "{actions:?}");
    write(&mut engine, "INSERT INTO notes (id, title) VALUES ('n', 'N')");
    live_again(&mut engine);
}
