//! Locks, wipes and leases on one file.

use omctl_protocol::frame::{Command, CommandKind, Welcome};
use rusqlite::Connection;

use super::lock::Lock;
use super::tests::{begin, count, open, welcome};
use super::*;

const DAY_MS: i64 = 86_400_000;

fn order(n: u64, kind: CommandKind) -> Command {
    Command { n, kind, signature: String::new() }
}

fn add(store: &mut Store) -> Result<()> {
    store.write(|tx| tx.execute("INSERT INTO notes (title) VALUES ('milk')", [])).map(drop)
}

fn is_refused(store: &mut Store, why: Lock) -> bool {
    matches!(add(store), Err(StoreError::Locked(lock)) if lock == why)
}

/// A store whose server gives a lease of this length, heard at time 0.
fn leased(length_ms: i64) -> Store {
    let mut store = open();
    store.look_at_lease(0, Some(0), false).unwrap();
    store.welcome(&Welcome { lease_s: Some((length_ms / 1000).unsigned_abs()), ..welcome() }).unwrap();
    store
}

#[test]
fn a_lock_keeps_what_waits_and_an_unlock_lets_it_go_on() {
    let mut store = open();
    add(&mut store).unwrap();
    assert!(store.obey(&order(1, CommandKind::Lock)).unwrap());
    assert!(is_refused(&mut store, Lock::Ordered));
    assert_eq!(store.stats().unwrap().pending, 1);
    // An older word, and the same again, change nothing.
    assert!(!store.obey(&order(1, CommandKind::Unlock)).unwrap());
    assert_eq!(store.lock().unwrap(), Some(Lock::Ordered));
    assert_eq!(store.hello(None, false, false).unwrap().command, 1);
    assert!(store.obey(&order(2, CommandKind::Unlock)).unwrap());
    add(&mut store).unwrap();
    assert_eq!(store.stats().unwrap().pending, 2);
}

#[test]
fn a_number_that_no_command_has_is_the_servers_mistake() {
    let mut store = open();
    let refused = store.obey(&order(u64::MAX, CommandKind::Lock)).unwrap_err();
    assert!(refused.is_protocol());
    assert_eq!((store.lock().unwrap(), store.commanded().unwrap()), (None, 0));
}

#[test]
fn a_locked_file_is_not_opened_by_another_activation() {
    let mut store = open();
    add(&mut store).unwrap();
    store.obey(&order(1, CommandKind::Lock)).unwrap();
    let next = omctl_protocol::DeviceId(uuid::Uuid::from_u128(8));
    let account = store.account().unwrap().unwrap();
    assert!(matches!(store.activate(next, account), Err(StoreError::Locked(Lock::Ordered))));
    store.sign_out().unwrap();
    store.activate(next, account).unwrap();
    assert_eq!((store.lock().unwrap(), store.schemas().count()), (None, 0));
}

#[test]
fn a_lock_is_in_the_file() {
    let mut store = open();
    store.obey(&order(1, CommandKind::Lock)).unwrap();
    let mut again = Store::from_connection(store.into_connection(), StoreOptions::default()).unwrap();
    assert!(is_refused(&mut again, Lock::Ordered));
    assert_eq!(again.commanded().unwrap(), 1);
}

#[test]
fn a_wipe_leaves_who_the_device_is_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let mut store = Store::open(&path, StoreOptions::default()).unwrap();
    let id = uuid::Uuid::from_u128(3);
    store.bind(omctl_protocol::DeviceId(id), omctl_protocol::AccountId(id), &[("token", "t1")]).unwrap();
    store.install_schema(&super::tests::notes()).unwrap();
    store.write(|tx| tx.execute("INSERT INTO notes (title) VALUES ('a word that must go')", [])).unwrap();
    store.seal().unwrap();
    assert!(store.obey(&order(4, CommandKind::Wipe)).unwrap());
    assert!(store.schemas().next().is_none());
    assert_eq!((count(&store, "om_outbox"), count(&store, "om_channels")), (0, 0));
    assert_eq!(store.note("token").unwrap().as_deref(), Some("t1"), "else nobody could be told");
    assert!(is_refused(&mut store, Lock::Wiped));
    // What is destroyed does not come back.
    assert!(store.obey(&order(5, CommandKind::Unlock)).unwrap());
    assert_eq!(store.lock().unwrap(), Some(Lock::Wiped));
    drop(store);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"a word that"), "it is still in the file");
    }
    // Only another activation makes it a device again.
    let mut store = Store::open(&path, StoreOptions::default()).unwrap();
    let next = uuid::Uuid::from_u128(8);
    store.activate(omctl_protocol::DeviceId(next), omctl_protocol::AccountId(id)).unwrap();
    assert_eq!((store.lock().unwrap(), store.commanded().unwrap()), (None, 0));
}

#[test]
fn a_lease_locks_when_it_has_run_out_and_the_next_word_opens() {
    let mut store = leased(DAY_MS);
    store.look_at_lease(DAY_MS - 1, None, false).unwrap();
    add(&mut store).unwrap();
    store.look_at_lease(DAY_MS, None, false).unwrap();
    assert!(is_refused(&mut store, Lock::LeaseExpired));
    assert_eq!(store.stats().unwrap().pending, 1, "what waits stays");
    begin(&mut store);
    assert_eq!(store.lock().unwrap(), None);
    add(&mut store).unwrap();
}

#[test]
fn a_clock_that_is_set_back_gives_no_time_back() {
    let mut store = leased(DAY_MS);
    store.look_at_lease(DAY_MS / 2, Some(DAY_MS / 2), false).unwrap();
    // The wall clock goes back by a year; the machine has run for another half day.
    store.look_at_lease(-365 * DAY_MS, Some(DAY_MS), false).unwrap();
    assert_eq!(store.lock().unwrap(), Some(Lock::LeaseExpired));
}

#[test]
fn a_machine_that_was_booted_again_goes_by_the_clock_and_by_what_it_ran() {
    let mut store = leased(DAY_MS);
    store.look_at_lease(1_000, Some(DAY_MS * 7), false).unwrap();
    assert_eq!(store.lock().unwrap(), Some(Lock::LeaseExpired));
    let mut store = leased(DAY_MS);
    store.look_at_lease(0, Some(DAY_MS / 2), false).unwrap();
    // Booted since, and the clock was set back before: only what it ran is known.
    store.look_at_lease(-DAY_MS, Some(DAY_MS / 4), false).unwrap();
    assert_eq!(store.lock().unwrap(), None);
    store.look_at_lease(-DAY_MS, Some(DAY_MS / 2), false).unwrap();
    assert_eq!(store.lock().unwrap(), Some(Lock::LeaseExpired));
}

#[test]
fn how_much_of_a_lease_has_passed_is_in_the_file() {
    let mut store = leased(DAY_MS);
    store.look_at_lease(DAY_MS / 2, None, false).unwrap();
    let mut again = Store::from_connection(store.into_connection(), StoreOptions::default()).unwrap();
    // The clock stands where it stood when the lease began.
    again.look_at_lease(0, None, false).unwrap();
    assert_eq!(again.lock().unwrap(), None);
    again.look_at_lease(DAY_MS / 2 + DAY_MS / 50, None, false).unwrap();
    assert_eq!(again.lock().unwrap(), Some(Lock::LeaseExpired));
}

#[test]
fn a_session_that_stands_renews_the_lease_and_an_order_outlasts_it() {
    let mut store = leased(DAY_MS);
    for day in 1..10 {
        store.look_at_lease(day * (DAY_MS - 1), None, true).unwrap();
    }
    assert_eq!(store.lock().unwrap(), None);
    store.obey(&order(1, CommandKind::Lock)).unwrap();
    store.look_at_lease(100 * DAY_MS, None, true).unwrap();
    assert_eq!(store.lock().unwrap(), Some(Lock::Ordered), "only an unlock ends it");
}

#[test]
fn a_server_that_gives_no_lease_locks_nobody() {
    let mut store = Store::from_connection(Connection::open_in_memory().unwrap(), StoreOptions::default()).unwrap();
    store.look_at_lease(0, Some(0), false).unwrap();
    store.look_at_lease(1_000 * DAY_MS, Some(1_000 * DAY_MS), false).unwrap();
    assert_eq!(store.lock().unwrap(), None);
}
