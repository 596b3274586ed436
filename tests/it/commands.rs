//! Orders to devices over a real socket: the server signs, the device checks the signature against the key that it pinned,
//! obeys, and goes on or is gone.
//!
//! There is no way yet to order something from outside; the test writes it into the store of a server that is stopped.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::Duration;

use omctl::server::Running;
use omctl_device::{ConnectionState, Lock, Mobster, MobsterError, StoreError};
use rusqlite::Connection;

use crate::fleet::{activate, serve};

const WITHIN: Duration = Duration::from_secs(20);

/// A project of one channel that everybody sees.
fn project(root: &Path) {
    let write = |path: &str, text: &str| std::fs::write(root.join(path), text).unwrap();
    std::fs::create_dir(root.join("channels")).unwrap();
    write("openmobster.yaml", "version: 1\nname: t\ndevices: { lease: 30d }\n");
    write(
        "channels/notes.yaml",
        "scope: public\nwrite: { create: any, update: any }\nfields: { title: { type: text } }\n",
    );
}

/// Stops the server, orders something of all its devices, and starts it again.
async fn order(server: Running, root: &Path, kind: &str, state: &str) -> Running {
    server.stop().await;
    let store = Connection::open(root.join("data/store.db")).unwrap();
    store
        .execute(
            "INSERT INTO command (device, n, kind, ordered_ms) SELECT number,
                (SELECT coalesce(max(n), 0) + 1 FROM command WHERE device = number), ?1, 0 FROM device",
            [kind],
        )
        .unwrap();
    store.execute("UPDATE device SET state = ?1", [state]).unwrap();
    drop(store);
    serve(root, "data").await
}

/// Orders that no device has said to have carried out.
fn open_orders(root: &Path) -> u64 {
    let store = Connection::open(root.join("data/store.db")).unwrap();
    store.query_row("SELECT count(*) FROM command WHERE confirmed_ms IS NULL", [], |row| row.get(0)).unwrap()
}

async fn reaches(app: &Mobster, wanted: ConnectionState) {
    let mut state = app.state();
    let reached = state.wait_for(|state| *state == wanted);
    let reached = tokio::time::timeout(WITHIN, reached).await;
    reached.unwrap_or_else(|_| panic!("{wanted:?} is not reached")).unwrap();
}

async fn is_locked(app: &Mobster, why: Lock) {
    let refused = |error: MobsterError| matches!(error, MobsterError::Store(StoreError::Locked(lock)) if lock == why);
    assert!(refused(app.query("SELECT * FROM notes", vec![]).await.unwrap_err()), "reading");
    assert!(refused(app.execute("INSERT INTO notes (title) VALUES ('x')", vec![]).await.unwrap_err()), "writing");
}

fn url(server: &Running) -> String {
    format!("http://{}", server.addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_locked_unlocked_and_wiped_over_its_socket() {
    let root = tempfile::tempdir().unwrap();
    project(root.path());
    let server = serve(root.path(), "data").await;
    let app = Mobster::open(&root.path().join("app.db")).unwrap();
    activate(&app, &server, "ana@example.com").await;
    app.sync_now().await.unwrap();
    app.execute("INSERT INTO notes (title) VALUES ('before')", vec![]).await.unwrap();
    app.sync_now().await.unwrap();

    app.set_online(false);
    app.execute("INSERT INTO notes (title) VALUES ('never sent yet')", vec![]).await.unwrap();
    let server = order(server, root.path(), "lock", "locked").await;
    app.use_server(&url(&server)).await.unwrap();
    app.set_online(true);
    reaches(&app, ConnectionState::Held).await;
    is_locked(&app, Lock::Ordered).await;
    assert_eq!(app.stats().await.unwrap().pending, 1, "what waits stays");

    let server = order(server, root.path(), "unlock", "active").await;
    app.use_server(&url(&server)).await.unwrap();
    reaches(&app, ConnectionState::Live).await;
    app.sync_now().await.unwrap();
    assert_eq!(app.query("SELECT * FROM notes", vec![]).await.unwrap().rows.len(), 2);

    let server = order(server, root.path(), "wipe", "wiped").await;
    app.use_server(&url(&server)).await.unwrap();
    reaches(&app, ConnectionState::NeedsActivation).await;
    assert_eq!(app.device().await.unwrap(), None, "it was heard, and forgets who it was");
    assert!(app.query("SELECT * FROM notes", vec![]).await.is_err(), "the table is gone");
    server.stop().await;
    assert_eq!(open_orders(root.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_syncs_by_requests_hears_of_it_too() {
    let root = tempfile::tempdir().unwrap();
    project(root.path());
    let server = serve(root.path(), "data").await;
    let app = Mobster::builder(&root.path().join("app.db")).background(false).open().unwrap();
    activate(&app, &server, "ana@example.com").await;
    app.sync_now().await.unwrap();
    let server = order(server, root.path(), "lock", "locked").await;
    app.use_server(&url(&server)).await.unwrap();
    app.sync_now().await.unwrap();
    is_locked(&app, Lock::Ordered).await;
    let server = order(server, root.path(), "unlock", "active").await;
    app.use_server(&url(&server)).await.unwrap();
    app.sync_now().await.unwrap();
    app.execute("INSERT INTO notes (title) VALUES ('after')", vec![]).await.unwrap();
    app.sync_now().await.unwrap();
    assert_eq!(app.stats().await.unwrap().pending, 0);
    server.stop().await;
    assert_eq!(open_orders(root.path()), 0, "each was confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_cannot_order_anything() {
    let root = tempfile::tempdir().unwrap();
    project(root.path());
    let server = serve(root.path(), "data").await;
    let app = Mobster::open(&root.path().join("app.db")).unwrap();
    activate(&app, &server, "ana@example.com").await;
    app.execute("INSERT INTO notes (title) VALUES ('mine')", vec![]).await.unwrap();
    app.sync_now().await.unwrap();
    // The same store under another key: who has a copy of the data and not of the secret.
    server.stop().await;
    let store = Connection::open(root.path().join("data/store.db")).unwrap();
    store.execute("UPDATE meta SET value = randomblob(32) WHERE name = 'server_key'", []).unwrap();
    drop(store);
    let server = serve(root.path(), "data").await;
    let server = order(server, root.path(), "wipe", "wiped").await;
    app.use_server(&url(&server)).await.unwrap();
    let mut problem = app.state();
    // It connects, hears an order that is not its server's, and goes away, again and again.
    for wanted in [ConnectionState::Connecting, ConnectionState::Offline] {
        tokio::time::timeout(WITHIN, problem.wait_for(|state| *state == wanted)).await.unwrap().unwrap();
    }
    assert_eq!(app.query("SELECT title FROM notes", vec![]).await.unwrap().rows.len(), 1, "nothing is destroyed");
    server.stop().await;
    assert_eq!(open_orders(root.path()), 1);
}
