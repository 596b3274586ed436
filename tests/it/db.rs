//! Snapshots by the real binary: made under a running server, put back under none, undone, and refused where they are not
//! what they should be.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use omctl_protocol::{Life, RowHash};
use serde_json::Value;

use crate::serve::{Project, omctl};

impl Project {
    fn data_dir(&self) -> PathBuf {
        self.root.join(".openmobster/dev")
    }

    fn emails(&self) -> Vec<String> {
        let (code, list) = self.json(&["account", "list"]);
        assert_eq!(code, 0, "{list}");
        list["accounts"].as_array().unwrap().iter().map(|one| one["email"].as_str().unwrap().to_owned()).collect()
    }

    /// Every file of the data directory with a digest of its bytes; not what tells of the last server.
    fn files(&self) -> Vec<(PathBuf, RowHash)> {
        let digest = |path: &Path| RowHash::of(&"file".into(), &"".into(), Life(0), &std::fs::read(path).unwrap());
        let mut found = Vec::new();
        let mut folders = vec![self.data_dir()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("lock") || path.ends_with("server.json") => {}
                    false => found.push((path.clone(), digest(&path))),
                }
            }
        }
        found.sort();
        found
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_store_is_saved_restored_and_the_restore_undone() {
    let project = Project::new();
    assert_eq!(project.json(&["db", "snapshot"]).0, 6, "there is nothing to save yet");
    let mut serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let (code, saved) = project.json(&["db", "snapshot", "one"]);
    assert_eq!((code, &saved["schema"]), (0, &"omctl.db.snapshot/1".into()));
    assert_eq!(project.json(&["db", "snapshot", "one"]).0, 7, "a snapshot is never overwritten");
    assert_eq!(project.json(&["db", "snapshot", "../one"]).0, 2);
    assert_eq!(project.json(&["account", "add", "bo@example.com"]).0, 0);

    let (code, refused) = project.json(&["db", "restore", "one", "--yes"]);
    assert_eq!((code, text(&refused["code"])), (7, "locked"));
    assert_eq!(refused["pid"].as_u64(), Some(u64::from(serving.child.id())));
    assert!(text(&refused["hint"]).contains(&format!("kill {}", serving.child.id())), "{refused}");
    assert_eq!(project.emails().len(), 2, "the server goes on");

    // What the killed server has committed is in its log alone, and must be in what is saved before the restore.
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    let before = project.files();
    assert_eq!(project.json(&["db", "restore", "one"]).1["code"], "needs_yes");
    assert_eq!(project.json(&["db", "restore", "two", "--yes"]).0, 6);
    assert_eq!(project.files(), before, "without a yes nothing is changed");
    let (code, restored) = project.json(&["db", "restore", "one", "--yes"]);
    assert_eq!((code, &restored["accounts"]), (0, &1.into()), "{restored}");
    let serving = project.serve();
    assert_eq!(project.emails(), ["ana@example.com"]);
    drop(serving);

    let undo: Vec<&str> = text(&restored["undo"]).split(' ').skip(1).collect();
    assert_eq!(project.json(&[&undo[..], &["--yes"]].concat()).0, 0);
    let _serving = project.serve();
    assert_eq!(project.emails(), ["ana@example.com", "bo@example.com"]);
    let (_, list) = project.json(&["db", "list"]);
    let snapshots = list["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 3, "one by name, one before each restore: {list}");
    assert!(snapshots.iter().all(|one| one["good"] == true), "{list}");
    let automatic = snapshots.iter().filter(|one| text(&one["name"]).starts_with("fieldwork-20")).count();
    assert_eq!(automatic, 2, "{list}");
}

#[test]
fn what_is_no_snapshot_is_refused_and_nothing_is_changed() {
    let project = Project::new();
    let serving = project.serve();
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let (_, saved) = project.json(&["db", "snapshot", "good"]);
    drop(serving);
    let good = std::fs::read(text(&saved["path"])).unwrap();
    let newer = project.root.join("newer.omsnap");
    std::fs::write(&newer, &good).unwrap();
    let database = rusqlite::Connection::open(&newer).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    database.close().unwrap();
    let before = project.files();
    for (name, content) in [("garbage", b"garbage".repeat(1000)), ("truncated", good[..good.len() / 2].to_vec())] {
        let file = project.root.join(name);
        std::fs::write(&file, content).unwrap();
        let (code, error) = project.json(&["db", "restore", file.to_str().unwrap(), "--yes"]);
        assert_eq!((code, text(&error["code"])), (3, "bad_snapshot"), "{name}: {error}");
    }
    let (code, error) = project.json(&["db", "restore", newer.to_str().unwrap(), "--yes"]);
    assert_eq!((code, text(&error["code"])), (7, "newer_store"));
    let message = text(&error["message"]);
    assert!(message.contains("schema 999") && message.contains("knows "), "both versions are named: {message}");
    assert_eq!(project.files(), before);
}

#[test]
fn a_snapshot_is_made_while_the_server_writes_and_shows_no_secret() {
    let project = Project::new();
    let _serving = project.serve();
    let mut command = omctl(&project.root);
    command.args(["account", "add", "canary@example.com", "--password-stdin", "--quiet"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"canary horse\n").unwrap();
    assert!(child.wait().unwrap().success());
    let hash = {
        let store = rusqlite::Connection::open(project.data_dir().join("store.db")).unwrap();
        let select = "SELECT password FROM account";
        store.query_row(select, [], |row| row.get::<_, String>(0)).unwrap()
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..12 {
                assert_eq!(project.json(&["account", "add", &format!("u{n:02}@example.com")]).0, 0);
            }
        });
        let mut taken = 0;
        while !writer.is_finished() || taken < 3 {
            let output = project.run(&["db", "snapshot"]);
            assert!(output.status.success(), "{output:?}");
            let shown = format!("{output:?}");
            assert!(!shown.contains("canary") && !shown.contains(&hash), "{shown}");
            taken += 1;
        }
        writer.join().unwrap();
    });
    let (_, list) = project.json(&["db", "list"]);
    for one in list["snapshots"].as_array().unwrap() {
        let found = emails_in(Path::new(text(&one["path"])));
        let expected: Vec<String> = std::iter::once("canary@example.com".to_owned())
            .chain((0..12).map(|n| format!("u{n:02}@example.com")))
            .take(found.len())
            .collect();
        assert_eq!(found, expected, "a snapshot has what was there at its moment, and nothing later");
        assert_eq!(one["accounts"].as_u64(), Some(found.len() as u64));
    }
}

fn emails_in(snapshot: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(snapshot).unwrap();
    let mut statement = database.prepare("SELECT email FROM account ORDER BY number").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}
