//! Snapshots of real files: made while somebody writes, refused where they are none, put back whole.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::clock::{Clock, Entropy};
use crate::store::{NewAccount, Store};

fn account(email: &str) -> NewAccount {
    NewAccount { email: email.into(), ..NewAccount::default() }
}

async fn store_with(path: &Path, emails: &[&str]) -> Store {
    let (store, feed) = Store::open(path, Clock::System, Entropy::System).unwrap();
    drop(feed);
    for email in emails {
        store.create_account(account(email)).await.unwrap();
    }
    store
}

fn emails(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT email FROM account ORDER BY email").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_of_one_moment_however_busy_the_store_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join("store.db"), folder.path().join("a.omsnap"));
    let store = store_with(&path, &[]).await;
    // Each intent makes a pair, so that a snapshot of two moments would hold half of one.
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (store.clone(), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "a test needs no name for its task")]
        tokio::spawn(async move {
            let mut pairs = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let write = store.writer.run(move |_, connection| {
                    for half in ["a", "b"] {
                        let name = format!("pair-{pairs}-{half}");
                        connection
                            .execute("INSERT INTO meta (name, value) VALUES (?1, randomblob(4000))", [name])
                            .map_err(sqlite_error)?;
                    }
                    Ok(())
                });
                write.await.unwrap();
                pairs += 1;
            }
            pairs
        })
    };
    let pairs_of = |file: &Path| -> u64 {
        let connection = Connection::open(file).unwrap();
        connection.query_row("SELECT count(*) FROM meta WHERE name LIKE 'pair-%'", [], |row| row.get(0)).unwrap()
    };
    while pairs_of(&path) < 20 {
        tokio::task::yield_now().await;
    }
    let (from, target) = (path.clone(), to.clone());
    tokio::task::spawn_blocking(move || snapshot(&from, &target)).await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    let halves = pairs_of(&to);
    assert!(halves >= 20 && halves.is_multiple_of(2) && halves <= 2 * written, "{halves} of {written} pairs");
    assert_eq!(contents(&to).unwrap().schema, SCHEMA);
    assert!(matches!(snapshot(&path, &to), Err(StoreError::Exists(_))), "a snapshot is never overwritten");
    assert_eq!(pairs_of(&to), halves);
}

#[cfg(unix)]
#[tokio::test]
async fn a_snapshot_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join("store.db"), folder.path().join("a.omsnap"));
    let _store = store_with(&path, &["ana"]).await;
    snapshot(&path, &to).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!with_suffix(&to, ".partial").exists());
}

#[tokio::test]
async fn what_was_restored_is_what_was_saved_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let [first, second] = ["1.omsnap", "2.omsnap"].map(|name| folder.path().join(name));
    let store = store_with(&path, &["ana"]).await;
    snapshot(&path, &first).unwrap();
    store.create_account(account("bo")).await.unwrap();
    // As a killed server leaves it: a log that nobody merged.
    let killed = folder.path().join("killed");
    fs::create_dir(&killed).unwrap();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.path().join(name), killed.join(name)).unwrap();
    }
    let path = killed.join("store.db");
    let staged = stage(&first, &path).unwrap();
    assert_eq!(staged.contents().accounts, 1);
    snapshot(&path, &second).unwrap();
    staged.put_in_place().unwrap();
    assert_eq!(emails(&path), ["ana"]);
    stage(&second, &path).unwrap().put_in_place().unwrap();
    assert_eq!(emails(&path), ["ana", "bo"]);
    let left: Vec<_> = fs::read_dir(&killed).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["store.db"], "neither a copy nor an old log stays");
    drop(store_with(&path, &["cy"]).await);
}

#[tokio::test]
async fn what_is_no_snapshot_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, good) = (folder.path().join("store.db"), folder.path().join("good.omsnap"));
    drop(store_with(&path, &["ana"]).await);
    snapshot(&path, &good).unwrap();
    let before = emails(&path);
    let bytes = fs::read(&good).unwrap();
    let mut torn = bytes.clone();
    torn[3 * 4096..4 * 4096].fill(0x5a);
    let mut tar = vec![0u8; 1536];
    tar[..10].copy_from_slice(b"../x\0\0\0\0\0\0");
    tar[257..263].copy_from_slice(b"ustar\0");
    let files: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("garbage", b"not a database at all, but longer than its head would be".repeat(100)),
        ("truncated", bytes[..bytes.len() / 2].to_vec()),
        ("head", bytes[..100].to_vec()),
        ("torn", torn),
        ("archive", tar),
    ];
    for (name, content) in files {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let refused = stage(&file, &path).unwrap_err();
        assert!(matches!(refused, StoreError::NotASnapshot { .. }), "{name}: {refused:?}");
    }
    assert!(matches!(stage(folder.path(), &path), Err(StoreError::NotASnapshot { .. })));
    assert!(matches!(stage(&folder.path().join("none"), &path), Err(StoreError::NotFound(_))));
    assert_eq!(emails(&path), before);
    assert!(!with_suffix(&path, ".restoring").exists());
}

#[tokio::test]
async fn databases_of_others_and_of_newer_binaries_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (path, good) = (folder.path().join("store.db"), folder.path().join("good.omsnap"));
    drop(store_with(&path, &["ana"]).await);
    snapshot(&path, &good).unwrap();
    let changed = |name: &str, sql: &str| {
        let file = folder.path().join(name);
        fs::copy(&good, &file).unwrap();
        Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        stage(&file, &path).unwrap_err()
    };
    let newer = changed("newer", "PRAGMA user_version = 999");
    assert!(matches!(newer, StoreError::Newer { found: 999, known: SCHEMA, .. }), "{newer:?}");
    let trigger = "CREATE TRIGGER x AFTER INSERT ON account BEGIN UPDATE account SET role = 'admin'; END";
    for (name, sql) in [
        ("foreign", "DELETE FROM meta"),
        ("trigger", trigger),
        ("column", "ALTER TABLE account ADD COLUMN more TEXT"),
        ("unversioned", "PRAGMA user_version = 0"),
    ] {
        let refused = changed(name, sql);
        assert!(matches!(refused, StoreError::NotASnapshot { .. }), "{name}: {refused:?}");
    }
    Connection::open(folder.path().join("plain")).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(stage(&folder.path().join("plain"), &path), Err(StoreError::NotASnapshot { .. })));
}

#[tokio::test]
async fn an_older_snapshot_is_taken_and_migrated_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("store.db"), folder.path().join("old.omsnap"));
    let connection = Connection::open(&old).unwrap();
    connection.execute_batch(MIGRATIONS[0]).unwrap();
    let epoch = "INSERT INTO meta VALUES ('epoch', zeroblob(16)), ('server_secret', zeroblob(32)),
        ('server_key', zeroblob(32)); PRAGMA user_version = 1";
    connection.execute_batch(epoch).unwrap();
    connection.close().unwrap();
    let staged = stage(&old, &path).unwrap();
    assert_eq!(staged.contents().schema, 1);
    staged.put_in_place().unwrap();
    drop(store_with(&path, &["ana"]).await);
    let connection = Connection::open(&path).unwrap();
    assert_eq!(connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), SCHEMA);
}

#[test]
fn a_damaged_store_is_kept_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, kept) = (folder.path().join("store.db"), folder.path().join("kept"));
    fs::write(&path, b"what is left of a store, which is not a database any more").unwrap();
    fs::write(with_suffix(&path, "-wal"), b"its log").unwrap();
    assert!(matches!(snapshot(&path, &folder.path().join("s")), Err(StoreError::Damaged(_))));
    assert!(!folder.path().join("s").exists() && !folder.path().join("s.partial").exists());
    keep_damaged(&path, &kept).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), fs::read(&path).unwrap());
    assert_eq!(fs::read(with_suffix(&kept, "-wal")).unwrap(), b"its log");
}
