//! Bad days, with the real device library against the real server: a data folder swapped for another, a phone put back
//! to its backup, one identity in two processes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::Duration;

use omctl::server::Running;
use omctl_device::{ConnectionState, Mobster, MobsterError, Write};
use omctl_protocol::Value;
use rusqlite::Connection;

use crate::fleet::{activate, device, is_taken, serve, texts};

const EMAIL: &str = "ana@example.com";

/// A managed channel, and one whose records live in a SQLite file that gives them their keys.
const CHANNELS: [&str; 2] = ["ours", "theirs"];

fn project(root: &Path) {
    std::fs::create_dir(root.join("channels")).unwrap();
    let shop = Connection::open(root.join("shop.db")).unwrap();
    shop.execute_batch(
        "CREATE TABLE Theirs (Id INTEGER PRIMARY KEY, Title TEXT, Hours NUMERIC);
         INSERT INTO Theirs (Title, Hours) VALUES ('from the shop', 1)",
    )
    .unwrap();
    let settings = "version: 1\nname: survive\nbackends: { shop: { kind: sqlite, path: shop.db } }\n";
    std::fs::write(root.join("openmobster.yaml"), settings).unwrap();
    let write = "scope: public\nwrite: { create: any, update: any, delete: any }\n";
    let ours = format!("{write}fields: {{ title: {{ type: text }}, hours: {{ type: decimal, conflict: sum }} }}\n");
    std::fs::write(root.join("channels/ours.yaml"), ours).unwrap();
    let theirs = format!(
        "backend: shop\ntable: Theirs\nkey: {{ columns: [Id], assigned_by: backend }}\n{write}fields:\n  \
         title: {{ type: text, column: Title }}\n  hours: {{ type: decimal, column: Hours, conflict: sum }}\n"
    );
    std::fs::write(root.join("channels/theirs.yaml"), theirs).unwrap();
}

async fn add(app: &Mobster, channel: &str, title: &str) -> Write {
    let sql = format!("INSERT INTO {channel} (title, hours) VALUES (?1, '1.5')");
    app.execute(&sql, vec![Value::Text(title.into())]).await.unwrap().write
}

async fn rows(app: &Mobster, channel: &str) -> Vec<String> {
    let sql = format!("SELECT title || ' ' || hours FROM {channel} ORDER BY 1");
    let rows = app.query(&sql, vec![]).await.unwrap().rows;
    rows.iter().map(|row| row[0].as_text().unwrap().to_owned()).collect()
}

async fn holds<T: AsRef<str>>(app: &Mobster, expected: [&[T]; 2]) {
    let expected = expected.map(|rows| rows.iter().map(|row| row.as_ref().to_owned()).collect::<Vec<_>>());
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..300 {
        app.sync_now().await.unwrap();
        found = [rows(app, CHANNELS[0]).await, rows(app, CHANNELS[1]).await];
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{found:?} is not {expected:?}");
}

fn shop(root: &Path) -> Vec<String> {
    texts(&root.join("shop.db"), "SELECT Title || ' ' || Hours FROM Theirs ORDER BY 1")
}

/// The file of a device with all that belongs to it, as a phone's backup has it.
fn copy(from: &Path, to: &Path) {
    let name = from.file_name().unwrap().to_str().unwrap();
    for entry in std::fs::read_dir(from.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if let Some(rest) = entry.file_name().to_str().unwrap().strip_prefix(name) {
            std::fs::copy(
                entry.path(),
                to.with_file_name(format!("{}{rest}", to.file_name().unwrap().to_str().unwrap())),
            )
            .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_data_folder_gets_back_what_devices_hold() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root);
    let first = serve(root, "first").await;
    let app = device(&first, &root.join("app.db"), EMAIL).await;
    for channel in CHANNELS {
        let write = add(&app, channel, "settled").await;
        is_taken(&app, write).await;
        let sql = format!("UPDATE {channel} SET hours = '2.75' WHERE title = 'settled'");
        let saved = app.execute(&sql, vec![]).await.unwrap();
        is_taken(&app, saved.write).await;
    }
    app.set_online(false);
    let mut unsent = Vec::new();
    for channel in CHANNELS {
        unsent.push(add(&app, channel, "unsent").await);
    }
    first.stop().await;

    // Nothing of the first folder is known here, neither the account nor the device.
    let second = serve(root, "second").await;
    app.use_server(&format!("http://{}", second.addr)).await.unwrap();
    app.set_online(true);
    app.state().wait_for(|state| *state == ConnectionState::NeedsActivation).await.unwrap();
    assert!(matches!(app.sync_now().await, Err(MobsterError::NeedsActivation { .. })));
    assert_eq!(rows(&app, "ours").await, ["settled 2.75", "unsent 1.5"]);
    activate(&app, &second, EMAIL).await;
    for write in unsent {
        is_taken(&app, write).await;
    }
    let expected: [&[&str]; 2] = [&["settled 2.75", "unsent 1.5"], &["from the shop 1", "settled 2.75", "unsent 1.5"]];
    holds(&app, expected).await;
    holds(&device(&second, &root.join("other.db"), EMAIL).await, expected).await;
    assert_eq!(shop(root), expected[1]);
    assert_eq!(app.rejected().await.unwrap().len(), 0);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_put_back_to_its_backup_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root);
    let server = serve(root, "data").await;
    let path = root.join("app.db");
    let app = device(&server, &path, EMAIL).await;
    app.set_online(false);
    // The backup has writes that are sent after it was made; sent once more, they are the same writes.
    let mut writes = Vec::new();
    for channel in CHANNELS {
        writes.push(add(&app, channel, "in the backup").await);
    }
    app.close();
    drop(app);
    let backup = root.join("backup.db");
    copy(&path, &backup);
    let app = Mobster::open(&path).unwrap();
    for write in writes {
        is_taken(&app, write).await;
    }
    for channel in CHANNELS {
        let write = add(&app, channel, "after the backup").await;
        is_taken(&app, write).await;
    }
    app.close();
    drop(app);

    let app = Mobster::open(&backup).unwrap();
    let mut writes = Vec::new();
    for channel in CHANNELS {
        writes.push(add(&app, channel, "on the new phone").await);
    }
    for write in writes {
        is_taken(&app, write).await;
    }
    let mine: &[&str] = &["after the backup 1.5", "in the backup 1.5", "on the new phone 1.5"];
    let theirs: &[&str] = &["after the backup 1.5", "from the shop 1", "in the backup 1.5", "on the new phone 1.5"];
    holds(&app, [mine, theirs]).await;
    holds(&device(&server, &root.join("other.db"), EMAIL).await, [mine, theirs]).await;
    assert_eq!(shop(root), theirs);
    server.stop().await;
}

/// Runs `omctl` in the project; returns what it says as JSON.
fn omctl(root: &Path, words: &[&str]) -> serde_json::Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_omctl"));
    let output = command.current_dir(root).args(words).args(["--json", "--yes"]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_undone_loses_nothing_of_either_history() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root);
    let data = ".openmobster/dev";
    let server = serve(root, data).await;
    let app = device(&server, &root.join("app.db"), EMAIL).await;
    let write = async |title: &str| {
        for channel in CHANNELS {
            let write = add(&app, channel, title).await;
            is_taken(&app, write).await;
        }
    };
    let restart = async |server: Running, restored: &str| {
        server.stop().await;
        let undo = omctl(root, &["db", "restore", restored])["before"].as_str().unwrap().to_owned();
        let server = serve(root, data).await;
        app.use_server(&format!("http://{}", server.addr)).await.unwrap();
        app.sync_now().await.unwrap();
        (server, undo)
    };
    write("a").await;
    omctl(root, &["db", "snapshot", "early"]);
    for title in ["b", "c", "d"] {
        write(title).await;
    }
    let (server, undo) = restart(server, "early").await;
    write("e").await;
    let (server, _) = restart(server, &undo).await;
    let mine = ["a 1.5", "b 1.5", "c 1.5", "d 1.5", "e 1.5"];
    let theirs = [&mine[..], &["from the shop 1"]].concat();
    holds(&app, [&mine, &theirs]).await;
    holds(&device(&server, &root.join("other.db"), EMAIL).await, [&mine, &theirs]).await;
    assert_eq!(shop(root), theirs);
    server.stop().await;
}

/// Writes to both channels, and tries to send it to nobody: the writes have their numbers now.
async fn write_unheard(path: &Path, server: &Running, title: &str) -> Vec<Write> {
    let app = Mobster::builder(path).background(false).open().unwrap();
    let mut writes = Vec::new();
    for channel in CHANNELS {
        writes.push(add(&app, channel, title).await);
    }
    app.use_server("http://127.0.0.1:1").await.unwrap();
    assert!(matches!(app.sync_now().await, Err(MobsterError::Unreachable { .. })));
    app.use_server(&format!("http://{}", server.addr)).await.unwrap();
    app.close();
    writes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_files_with_one_identity_lose_no_write_of_either() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root);
    let server = serve(root, "data").await;
    let (path, copied) = (root.join("app.db"), root.join("copied.db"));
    device(&server, &path, EMAIL).await.close();
    // What waited when the copy was made is in both, under the same ids.
    let both = write_unheard(&path, &server, "of both").await;
    copy(&path, &copied);
    let mut ours: Vec<String> = vec!["of both 1.5".into()];
    for (round, background) in [true, false, true].into_iter().enumerate() {
        // Each gives the same numbers to writes of its own.
        let mut writes = Vec::new();
        for (n, path) in [&path, &copied].into_iter().enumerate() {
            let title = format!("{round} of {n}");
            ours.push(format!("{title} 1.5"));
            writes.push((path, write_unheard(path, &server, &title).await));
        }
        for (path, writes) in writes {
            let app = Mobster::builder(path).background(background).open().unwrap();
            app.sync_now().await.unwrap();
            for write in writes.into_iter().chain(both.iter().copied()) {
                is_taken(&app, write).await;
            }
            app.close();
        }
    }
    ours.sort();
    let mut theirs = ours.clone();
    theirs.push("from the shop 1".into());
    theirs.sort();
    holds(&device(&server, &root.join("other.db"), EMAIL).await, [&ours, &theirs]).await;
    assert_eq!(shop(root), theirs);
    server.stop().await;
}
