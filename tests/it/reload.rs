//! Changes of the project's files under connected devices that write: what goes live, what does not, and that nothing
//! is lost by either.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use omctl::server::{self, ProjectFiles, Reload, Running};
use omctl_device::{ConnectionState, Mobster};
use omctl_protocol::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::fleet::{activate, device, is_taken, receipts, serve};

/// A served project whose files are watched.
struct Served {
    folder: tempfile::TempDir,
    running: Running,
    reloads: UnboundedReceiver<Reload>,
}

const TICKETS: &str = "scope: public\nwrite: { create: any, update: any, delete: any }\nfields:\n  \
    title: { type: text }\n  hours: { type: decimal }\n  owner: { type: text }\n";

impl Served {
    async fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A watcher tells of real paths; some systems have their temporary files behind a link.
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("channels")).unwrap();
        for (name, text) in files {
            std::fs::write(root.join(name), text).unwrap();
        }
        let running = serve(&root, "data").await;
        let (tell, reloads) = mpsc::unbounded_channel();
        let files = ProjectFiles { root, env_name: "dev".into(), environment: Arc::new(|_| None) };
        server::watch(files, running.reloader.clone(), running.tasks(), tell).unwrap();
        Self { folder, running, reloads }
    }

    /// Writes a file and returns what becomes of it.
    async fn save(&mut self, name: &str, text: &str) -> Reload {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self.next().await
    }

    async fn next(&mut self) -> Reload {
        tokio::time::timeout(Duration::from_secs(10), self.reloads.recv()).await.expect("a change is noticed").unwrap()
    }

    async fn device(&self, name: &str) -> Mobster {
        let app = device(&self.running, &self.folder.path().join(format!("{name}.db")), &address(name)).await;
        app.set_online(true);
        app
    }
}

fn address(name: &str) -> String {
    format!("{name}@example.com")
}

const PROJECT: (&str, &str) = ("openmobster.yaml", "version: 1\nname: reload\n");

fn changes(reload: Reload) -> Vec<String> {
    match reload {
        Reload::Live { changes, .. } => changes,
        other => panic!("{other:?}"),
    }
}

async fn add(app: &Mobster, title: &str, owner: &str) {
    let values = vec![Value::Text(title.into()), Value::Text(address(owner))];
    let saved = app.execute("INSERT INTO tickets (title, hours, owner) VALUES (?1, '1.5', ?2)", values).await.unwrap();
    is_taken(app, saved.write).await;
}

/// Waits until a query on a device answers so, one text a row.
async fn shows(app: &Mobster, sql: &str, expected: &[&str]) {
    let mut found = Vec::new();
    for _ in 0..400 {
        found = match app.query(sql, vec![]).await {
            Ok(answer) => answer.rows.iter().map(|row| row[0].to_key_text()).collect(),
            Err(error) => vec![error.to_string()],
        };
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{found:?} is not {expected:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_come_and_go_under_connected_devices() {
    let mut served = Served::new(&[PROJECT, ("channels/tickets.yaml", TICKETS)]).await;
    let (live, away) = (served.device("ana").await, served.device("ben").await);
    add(&live, "first", "ana").await;
    shows(&away, "SELECT title FROM tickets", &["first"]).await;
    away.set_online(false);
    let unsent = away.execute("UPDATE tickets SET title = 'by ben', hours = '2'", vec![]).await.unwrap();

    let more = format!("{TICKETS}  urgent: {{ type: bool, default: true }}\n");
    assert_eq!(changes(served.save("channels/tickets.yaml", &more).await), ["tickets: field urgent is new"]);
    shows(&live, "SELECT urgent FROM tickets", &["1"]).await;
    let saved = live.execute("UPDATE tickets SET urgent = 0", vec![]).await.unwrap();
    is_taken(&live, saved.write).await;

    // Renamed, retyped, and one that is gone: what waits is understood by its version.
    let other = more
        .replace("title: {", "headline: { column: title,")
        .replace("hours: { type: decimal }", "hours: { type: float }");
    let mut said = changes(served.save("channels/tickets.yaml", &other).await);
    said.sort();
    assert_eq!(said, ["tickets: field hours is float now", "tickets: field title is called headline now"]);
    shows(&live, "SELECT headline || ' ' || hours FROM tickets", &["first 1.5"]).await;
    away.set_online(true);
    for receipt in receipts(&away, unsent.write).await {
        assert!(!receipt.is_rejected(), "{receipt:?}");
    }
    for app in [&live, &away] {
        shows(app, "SELECT headline || ' ' || hours || ' ' || urgent FROM tickets", &["by ben 2.0 0"]).await;
    }
    let without = other.replace("  urgent: { type: bool, default: true }\n", "");
    assert_eq!(changes(served.save("channels/tickets.yaml", &without).await), ["tickets: field urgent is gone"]);
    shows(&live, "SELECT count(*) FROM pragma_table_info('tickets') WHERE name = 'urgent'", &["0"]).await;
    // What is back has what it had.
    served.save("channels/tickets.yaml", &other).await;
    for app in [&live, &away] {
        shows(app, "SELECT headline || ' ' || urgent FROM tickets", &["by ben 0"]).await;
        assert_eq!(*app.state().borrow(), ConnectionState::Live, "no socket was dropped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_that_changes_takes_and_gives_at_once() {
    let mut served = Served::new(&[PROJECT, ("channels/tickets.yaml", TICKETS)]).await;
    let (ana, ben) = (served.device("ana").await, served.device("ben").await);
    add(&ana, "of ana", "ana").await;
    add(&ben, "of ben", "ben").await;
    let titles = "SELECT title FROM tickets ORDER BY title";
    for app in [&ana, &ben] {
        shows(app, titles, &["of ana", "of ben"]).await;
    }
    let own = TICKETS.replace("scope: public", "scope: { owner: account.email }");
    assert_eq!(changes(served.save("channels/tickets.yaml", &own).await), ["tickets: `scope` is other"]);
    shows(&ana, titles, &["of ana"]).await;
    shows(&ben, titles, &["of ben"]).await;
    // Nobody writes by the old rule either.
    let stolen =
        ben.execute("INSERT INTO tickets (title, owner) VALUES ('x', 'ana@example.com')", vec![]).await.unwrap();
    let codes: Vec<_> = receipts(&ben, stolen.write).await.into_iter().map(|receipt| receipt.code).collect();
    assert_eq!(codes, [Some("scope_write".to_owned())]);
    served.save("channels/tickets.yaml", TICKETS).await;
    for app in [&ana, &ben] {
        shows(app, titles, &["of ana", "of ben"]).await;
        assert_eq!(*app.state().borrow(), ConnectionState::Live, "no socket was dropped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_without_a_socket_hears_of_a_changed_scope_by_its_next_request() {
    let mut served = Served::new(&[PROJECT, ("channels/tickets.yaml", TICKETS)]).await;
    let ana = served.device("ana").await;
    add(&ana, "of ana", "ana").await;
    // It has never had a socket: each exchange is a request of its own, which is proved anew.
    let ben = Mobster::builder(&served.folder.path().join("ben.db")).background(false).open().unwrap();
    activate(&ben, &served.running, &address("ben")).await;
    ben.sync_now().await.unwrap();
    let titles = "SELECT title FROM tickets ORDER BY title";
    shows(&ben, titles, &["of ana"]).await;
    let own = TICKETS.replace("scope: public", "scope: { owner: account.email }");
    for (text, expected) in [(own.as_str(), &[][..]), (TICKETS, &["of ana"]), (own.as_str(), &[])] {
        served.save("channels/tickets.yaml", text).await;
        while !served.running.sync.closed().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let synced = tokio::time::timeout(Duration::from_secs(10), ben.sync_now()).await;
        synced.expect("a few exchanges are enough").unwrap();
        shows(&ben, titles, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_leaves_everything_as_it_was() {
    let mut served = Served::new(&[PROJECT, ("channels/tickets.yaml", TICKETS)]).await;
    let ana = served.device("ana").await;
    assert_eq!(server_health(&served.running).await["generation"], 1);
    std::fs::write(served.folder.path().join("channels/tickets.yaml"), TICKETS.replace("decimal", "decimall")).unwrap();
    match served.next().await {
        Reload::Refused { generation: 1, found } => {
            let places: Vec<_> = found.iter().map(|one| (one.place.to_string(), one.code)).collect();
            assert_eq!(places, [("channels/tickets.yaml:5:18".to_owned(), "unknown_type")]);
        }
        other => panic!("{other:?}"),
    }
    let told = server_health(&served.running).await;
    assert_eq!((&told["generation"], &told["errors"]), (&1.into(), &serde_json::json!(["channels/tickets.yaml:5:18"])));
    add(&ana, "all the same", "ana").await;
    // Two files at once: the whole is broken as long as one is.
    let refers = format!("{TICKETS}  part: {{ type: ref, to: parts }}\n");
    assert!(matches!(served.save("channels/tickets.yaml", &refers).await, Reload::Refused { .. }));
    let parts = "scope: public\nwrite: { create: any }\nfields: { name: { type: text } }\n";
    let mut said = changes(served.save("channels/parts.yaml", parts).await);
    said.sort();
    assert_eq!(said, ["parts is new", "tickets: field part is new"]);
    shows(&ana, "SELECT count(*) FROM parts", &["0"]).await;
    shows(&ana, "SELECT count(*) FROM pragma_table_info('tickets') WHERE name = 'part'", &["1"]).await;
    let saved = ana.execute("INSERT INTO tickets (title, part) VALUES ('y', NULL)", vec![]).await.unwrap();
    is_taken(&ana, saved.write).await;
    // A channel that is gone takes its rows along, and what is sent to it is refused and kept.
    std::fs::write(served.folder.path().join("channels/tickets.yaml"), TICKETS).unwrap();
    served.next().await;
    std::fs::remove_file(served.folder.path().join("channels/parts.yaml")).unwrap();
    assert_eq!(changes(served.next().await), ["parts is gone"]);
    let late = ana.execute("INSERT INTO parts (name) VALUES ('z')", vec![]).await.unwrap();
    let codes: Vec<_> = receipts(&ana, late.write).await.into_iter().map(|receipt| receipt.code).collect();
    assert_eq!(codes, [Some("unknown_channel".to_owned())]);
    assert_eq!(*ana.state().borrow(), ConnectionState::Live, "no socket was dropped");
}

async fn server_health(running: &Running) -> serde_json::Value {
    let mut stream = tokio::net::TcpStream::connect(running.addr).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", running.addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_of_a_live_table_comes_into_its_channel() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop.db");
    let database = rusqlite::Connection::open(&shop).unwrap();
    database
        .execute_batch("CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT, Price INTEGER); INSERT INTO Item VALUES (1, 'a', 5), (2, 'b', 7)")
        .unwrap();
    let project =
        format!("version: 1\nname: reload\nbackends: {{ shop: {{ kind: sqlite, path: {} }} }}\n", shop.display());
    let items = "backend: shop\ntable: Item\nkey: { columns: [Id], assigned_by: backend }\nscope: public\nwrite: { update: any }\nfields: { Name: { type: text } }\n";
    let mut served = Served::new(&[("openmobster.yaml", &project), ("channels/items.yaml", items)]).await;
    let ana = served.device("ana").await;
    shows(&ana, "SELECT Name FROM items ORDER BY id", &["a", "b"]).await;
    let more = items.replace("{ Name: { type: text } }", "{ Name: { type: text }, Price: { type: int } }");
    assert_eq!(changes(served.save("channels/items.yaml", &more).await), ["items: field Price is new"]);
    shows(&ana, "SELECT Name || Price FROM items ORDER BY id", &["a5", "b7"]).await;
    let fewer = more.replace("scope: public", "where: { Name: a }\nscope: public");
    assert_eq!(changes(served.save("channels/items.yaml", &fewer).await), ["items: `where` is other"]);
    shows(&ana, "SELECT Name || Price FROM items ORDER BY id", &["a5"]).await;
    // Another database: the records are others.
    let other = folder.path().join("other.db");
    let second = rusqlite::Connection::open(&other).unwrap();
    second
        .execute_batch(
            "CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT, Price INTEGER); INSERT INTO Item VALUES (1, 'a', 9)",
        )
        .unwrap();
    let moved = project.replace("shop.db", "other.db");
    let said = changes(served.save("openmobster.yaml", &moved).await);
    assert!(said[0].starts_with("backend shop is "), "{said:?}");
    shows(&ana, "SELECT Name || Price FROM items ORDER BY id", &["a9"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_names_a_renamed_field_holds_nothing_up_and_is_told_until_it_is_mended() {
    let seed = "- { id: first, fields: { title: first } }\n";
    let files = [PROJECT, ("channels/tickets.yaml", TICKETS)];
    let mut served = Served::new(&files).await;
    std::fs::create_dir(served.folder.path().join("seed")).unwrap();
    std::fs::write(served.folder.path().join("seed/01-tickets.yaml"), seed).unwrap();
    let renamed = TICKETS.replace("title: {", "headline: { column: title,");
    let found = match served.save("channels/tickets.yaml", &renamed).await {
        Reload::Live { generation: 2, changes, found, .. } => {
            assert_eq!(changes, ["tickets: field title is called headline now"]);
            found
        }
        other => panic!("{other:?}"),
    };
    let places: Vec<_> = found.iter().map(|one| (one.place.to_string(), one.code)).collect();
    assert_eq!(places, [("seed/01-tickets.yaml:1:26".to_owned(), "unknown_field")]);
    let told = server_health(&served.running).await;
    assert_eq!((&told["generation"], &told["errors"]), (&2.into(), &serde_json::json!(["seed/01-tickets.yaml:1:26"])));
    assert!(changes(served.save("seed/01-tickets.yaml", &seed.replace("title", "headline")).await).is_empty());
    assert_eq!(server_health(&served.running).await.get("errors"), None);
}

/// A channel over the table that [`database_at`] makes.
const ITEMS: &str = "backend: shop\ntable: Item\nkey: { columns: [Id], assigned_by: backend }\nscope: public\n\
    write: { update: any }\nfields: { Name: { type: text } }\n";

/// Somebody's database with a few rows.
fn database_at(folder: &std::path::Path, file: &str, rows: &str) -> (std::path::PathBuf, rusqlite::Connection) {
    let path = folder.join(file);
    let database = rusqlite::Connection::open(&path).unwrap();
    let sql = format!("CREATE TABLE Item (Id INTEGER PRIMARY KEY, Name TEXT); INSERT INTO Item VALUES {rows}");
    database.execute_batch(&sql).unwrap();
    (path, database)
}

/// A project over a database.
fn over(database: &std::path::Path) -> String {
    format!("version: 1\nname: reload\nbackends: {{ shop: {{ kind: sqlite, path: {} }} }}\n", database.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_comes_back_knows_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, database) = database_at(folder.path(), "shop.db", "(1, 'a'), (2, 'b')");
    let project = over(&shop);
    let mut served = Served::new(&[("openmobster.yaml", &project), ("channels/items.yaml", ITEMS)]).await;
    let ana = served.device("ana").await;
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "b"]).await;
    let known = ana.query("SELECT id FROM items ORDER BY Name", vec![]).await.unwrap();

    std::fs::remove_file(served.folder.path().join("channels/items.yaml")).unwrap();
    assert_eq!(changes(served.next().await), ["items is gone"]);
    shows(&ana, "SELECT count(*) FROM items", &["0"]).await;
    assert_eq!(changes(served.save("channels/items.yaml", ITEMS).await), ["items is new"]);
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "b"]).await;
    let again = ana.query("SELECT id FROM items ORDER BY Name", vec![]).await.unwrap();
    assert_eq!(again.rows, known.rows, "the same row of the system is the same record");
    // A device that never saw it gone, and one that did, mean the same row.
    let saved = ana.execute("UPDATE items SET Name = 'by ana' WHERE Name = 'b'", vec![]).await.unwrap();
    is_taken(&ana, saved.write).await;
    let name: String = database.query_row("SELECT Name FROM Item WHERE Id = 2", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "by ana");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_file_that_is_swapped_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, _) = database_at(folder.path(), "shop.db", "(1, 'a'), (2, 'b')");
    let (next, _) = database_at(folder.path(), "next.db", "(1, 'a'), (2, 'other'), (3, 'c')");
    let project = over(&shop);
    let served = Served::new(&[("openmobster.yaml", &project), ("channels/items.yaml", ITEMS)]).await;
    let ana = served.device("ana").await;
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "b"]).await;
    std::fs::rename(&next, &shop).unwrap();
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "c", "other"]).await;
    let saved = ana.execute("UPDATE items SET Name = 'by ana' WHERE Name = 'c'", vec![]).await.unwrap();
    is_taken(&ana, saved.write).await;
    let database = rusqlite::Connection::open(&shop).unwrap();
    let name: String = database.query_row("SELECT Name FROM Item WHERE Id = 3", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "by ana", "what is read and what is written are the same file");
}

/// A pipe in the folder would hold up whoever reads it, and what is huge is nobody's channel.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_of_the_project_holds_nothing_up() {
    let mut served = Served::new(&[PROJECT, ("channels/tickets.yaml", TICKETS)]).await;
    let pipe = served.folder.path().join("channels/pipe.txt");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let more = format!("{TICKETS}  urgent: {{ type: bool, default: true }}\n");
    assert_eq!(changes(served.save("channels/tickets.yaml", &more).await), ["tickets: field urgent is new"]);
}

/// Rows that nobody wrote since are still in the fields of their day, and a device that comes only now reads them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_comes_after_a_change_of_fields_reads_what_is_older() {
    let mut served = Served::new(&[PROJECT, ("channels/tickets.yaml", TICKETS)]).await;
    let ana = served.device("ana").await;
    add(&ana, "first", "ana").await;
    let more = format!("{TICKETS}  urgent: {{ type: bool, default: true }}\n");
    assert_eq!(changes(served.save("channels/tickets.yaml", &more).await), ["tickets: field urgent is new"]);
    let longer = more.replace("title: { type: text }", "title: { type: text, max_length: 40 }");
    assert_eq!(changes(served.save("channels/tickets.yaml", &longer).await), ["tickets: field title is other"]);
    let ben = served.device("ben").await;
    shows(&ben, "SELECT title || urgent FROM tickets", &["first1"]).await;
    // By single requests too.
    let cy = device(&served.running, &served.folder.path().join("cy.db"), &address("cy")).await;
    cy.sync_now().await.unwrap();
    shows(&cy, "SELECT title || urgent FROM tickets", &["first1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistyped_path_takes_nothing_from_devices() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, database) = database_at(folder.path(), "shop.db", "(1, 'a'), (2, 'b')");
    let project = over(&shop);
    let mut served = Served::new(&[("openmobster.yaml", &project), ("channels/items.yaml", ITEMS)]).await;
    let ana = served.device("ana").await;
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "b"]).await;
    let mistyped = project.replace("shop.db", "shopp.db");
    let said = changes(served.save("openmobster.yaml", &mistyped).await);
    assert!(said[0].starts_with("backend shop is "), "{said:?}");
    let saved = ana.execute("UPDATE items SET Name = 'by ana' WHERE Name = 'b'", vec![]).await.unwrap();
    let is_missed = || served.running.sync.health().values().any(|health| health.unreachable.is_some());
    for _ in 0..400 {
        if is_missed() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_missed() && served.running.sync.closed().iter().any(|name| name.as_str() == "items"));
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "by ana"]).await;
    served.save("openmobster.yaml", &project).await;
    is_taken(&ana, saved.write).await;
    shows(&ana, "SELECT Name FROM items ORDER BY Name", &["a", "by ana"]).await;
    let name: String = database.query_row("SELECT Name FROM Item WHERE Id = 2", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "by ana");
    assert!(served.running.sync.closed().is_empty());
}

/// The system tells nothing of what happens behind a link; it is noticed all the same.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_behind_a_link_is_noticed() {
    let mut served = Served::new(&[PROJECT]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("tickets.yaml");
    std::fs::write(&target, TICKETS).unwrap();
    std::os::unix::fs::symlink(&target, served.folder.path().join("channels/tickets.yaml")).unwrap();
    assert_eq!(changes(served.next().await), ["tickets is new"]);
    std::fs::write(&target, format!("{TICKETS}  urgent: {{ type: bool }}\n")).unwrap();
    assert_eq!(changes(served.next().await), ["tickets: field urgent is new"]);
}

/// What is closed is closed after a start, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_moved_before_a_start_stays_closed_until_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let project = |file: &str| std::fs::write(root.join("openmobster.yaml"), over(&root.join(file))).unwrap();
    std::fs::create_dir(root.join("channels")).unwrap();
    std::fs::write(root.join("channels/items.yaml"), ITEMS).unwrap();
    database_at(&root, "shop.db", "(1, 'a')");
    project("shop.db");
    let first = serve(&root, "data").await;
    let ana = device(&first, &root.join("ana.db"), &address("ana")).await;
    ana.set_online(true);
    shows(&ana, "SELECT Name FROM items", &["a"]).await;
    first.stop().await;

    project("moved.db");
    for _ in 0..2 {
        let running = serve(&root, "data").await;
        ana.use_server(&format!("http://{}", running.addr)).await.unwrap();
        ana.sync_now().await.unwrap();
        assert!(!running.sync.closed().is_empty());
        shows(&ana, "SELECT Name FROM items", &["a"]).await;
        running.stop().await;
    }
    database_at(&root, "moved.db", "(1, 'a')");
    let running = serve(&root, "data").await;
    ana.use_server(&format!("http://{}", running.addr)).await.unwrap();
    for _ in 0..200 {
        if running.sync.closed().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(running.sync.closed().is_empty());
    ana.sync_now().await.unwrap();
    shows(&ana, "SELECT Name FROM items", &["a"]).await;
}
