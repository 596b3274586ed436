//! The contract suite over both modes, and what only SQLite can do.

use std::path::PathBuf;

use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, FieldType};
use tempfile::TempDir;

use super::*;
use crate::backend::contract::{self, Harness, System, TABLES};
use crate::backend::{Column, Delivery, Detection, Effect, introspect};

fn dump(connection: &Connection) -> String {
    let mut statement =
        connection.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid").unwrap();
    let rows = statement
        .query_map([], |row| {
            Ok([row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?].join("|"))
        })
        .unwrap();
    rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

/// A file, its own threads, and foreign statements through a connection of their own.
struct Threaded;

struct ThreadedSystem {
    dir: TempDir,
    backend: Option<SqliteBackend>,
}

impl ThreadedSystem {
    fn new(schema: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut system = Self { dir, backend: None };
        Connection::open(system.path()).unwrap().execute_batch(schema).unwrap();
        system.crash();
        system
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("foreign.db")
    }
}

impl Harness for Threaded {
    fn system(&self) -> Box<dyn System> {
        Box::new(ThreadedSystem::new(TABLES))
    }
}

impl System for ThreadedSystem {
    fn backend(&self) -> &dyn Backend {
        self.backend.as_ref().unwrap()
    }

    fn foreign(&self, statements: &str) {
        let connection = Connection::open(self.path()).unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection.execute_batch(statements).unwrap();
    }

    fn crash(&mut self) {
        self.backend = None;
        self.backend = Some(SqliteBackend::open("foreign", self.path()).unwrap());
    }

    fn schema_dump(&self) -> String {
        dump(&Connection::open(self.path()).unwrap())
    }
}

/// One connection for everybody, on the calling thread.
struct Inline;

struct InlineSystem {
    connection: Arc<Mutex<Connection>>,
    backend: SqliteBackend,
}

impl Harness for Inline {
    fn system(&self) -> Box<dyn System> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let connection = Arc::new(Mutex::new(connection));
        let backend = SqliteBackend::inline("inline", Arc::clone(&connection)).unwrap();
        Box::new(InlineSystem { connection, backend })
    }
}

impl System for InlineSystem {
    fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    fn foreign(&self, statements: &str) {
        self.connection.lock().unwrap().execute_batch(statements).unwrap();
    }

    fn crash(&mut self) {
        self.backend = SqliteBackend::inline("inline", Arc::clone(&self.connection)).unwrap();
    }

    fn schema_dump(&self) -> String {
        dump(&self.connection.lock().unwrap())
    }
}

#[tokio::test]
async fn threads_keep_the_contract() {
    contract::run(&Threaded).await;
}

#[test]
fn inline_keeps_the_contract_without_a_runtime() {
    futures_util::future::FutureExt::now_or_never(contract::run(&Inline)).expect("nothing is ever pending inline");
}

/// Eleven tables like those of a music shop that many tutorials use.
const SHOP: &str = "
CREATE TABLE [Artist] ([ArtistId] INTEGER NOT NULL, [Name] NVARCHAR(120), CONSTRAINT [PK_Artist] PRIMARY KEY ([ArtistId]));
CREATE TABLE [Genre] ([GenreId] INTEGER NOT NULL, [Name] NVARCHAR(120), PRIMARY KEY ([GenreId]));
CREATE TABLE [MediaType] ([MediaTypeId] INTEGER NOT NULL, [Name] NVARCHAR(120), PRIMARY KEY ([MediaTypeId]));
CREATE TABLE [Playlist] ([PlaylistId] INTEGER NOT NULL, [Name] NVARCHAR(120), PRIMARY KEY ([PlaylistId]));
CREATE TABLE [Album] ([AlbumId] INTEGER NOT NULL PRIMARY KEY, [Title] NVARCHAR(160) NOT NULL,
  [ArtistId] INTEGER NOT NULL REFERENCES [Artist] ([ArtistId]) ON DELETE NO ACTION);
CREATE TABLE [Track] ([TrackId] INTEGER NOT NULL PRIMARY KEY, [Name] NVARCHAR(200) NOT NULL,
  [AlbumId] INTEGER REFERENCES [Album] ([AlbumId]), [MediaTypeId] INTEGER NOT NULL REFERENCES [MediaType] ([MediaTypeId]),
  [GenreId] INTEGER REFERENCES [Genre] ([GenreId]), [Composer] NVARCHAR(220), [Milliseconds] INTEGER NOT NULL,
  [UnitPrice] NUMERIC(10,2) NOT NULL);
CREATE TABLE [Employee] ([EmployeeId] INTEGER NOT NULL PRIMARY KEY, [LastName] NVARCHAR(20) NOT NULL,
  [ReportsTo] INTEGER REFERENCES [Employee] ([EmployeeId]), [BirthDate] DATETIME);
CREATE TABLE [Customer] ([CustomerId] INTEGER NOT NULL PRIMARY KEY, [Email] NVARCHAR(60) NOT NULL, [Company] NVARCHAR(80),
  [SupportRepId] INTEGER REFERENCES [Employee] ([EmployeeId]));
CREATE TABLE [Invoice] ([InvoiceId] INTEGER NOT NULL PRIMARY KEY,
  [CustomerId] INTEGER NOT NULL REFERENCES [Customer] ([CustomerId]), [InvoiceDate] DATETIME NOT NULL,
  [Total] NUMERIC(10,2) NOT NULL);
CREATE TABLE [InvoiceLine] ([InvoiceLineId] INTEGER NOT NULL PRIMARY KEY,
  [InvoiceId] INTEGER NOT NULL REFERENCES [Invoice] ([InvoiceId]),
  [TrackId] INTEGER NOT NULL REFERENCES [Track] ([TrackId]), [UnitPrice] NUMERIC(10,2) NOT NULL, [Quantity] INTEGER NOT NULL);
CREATE TABLE [PlaylistTrack] ([PlaylistId] INTEGER NOT NULL REFERENCES [Playlist] ([PlaylistId]),
  [TrackId] INTEGER NOT NULL REFERENCES [Track] ([TrackId]), PRIMARY KEY ([PlaylistId], [TrackId]));
CREATE INDEX [IFK_AlbumArtistId] ON [Album] ([ArtistId]);
INSERT INTO Artist VALUES (1, 'AC/DC'), (2, NULL);
INSERT INTO Genre VALUES (1, 'Rock'); INSERT INTO MediaType VALUES (1, 'MPEG'); INSERT INTO Playlist VALUES (1, 'Music');
INSERT INTO Album VALUES (1, 'For Those About To Rock', 1);
INSERT INTO Track VALUES (1, 'Snowballed', 1, 1, 1, NULL, 203102, 0.99), (2, 'Übermut', NULL, 1, NULL, 'Müller', 1, 1);
INSERT INTO Employee VALUES (1, 'Adams', NULL, '1962-02-18 00:00:00'), (2, 'Edwards', 1, '1958-12-08 00:00:00');
INSERT INTO Customer VALUES (1, 'luis@example.com', NULL, 2);
INSERT INTO Invoice VALUES (1, 1, '2009-01-01 00:00:00', 1.98); INSERT INTO InvoiceLine VALUES (1, 1, 1, 0.99, 2);
INSERT INTO PlaylistTrack VALUES (1, 1), (1, 2);
";

/// The collection of a table as introspection sees it.
fn collection_of(shape: &introspect::TableShape) -> Arc<Collection> {
    let column =
        |one: &introspect::ColumnShape| Column { name: one.name.clone(), kind: one.base, read_only: one.read_only };
    Arc::new(Collection {
        channel: ChannelName::from(shape.name.to_lowercase()),
        table: shape.name.clone(),
        key: shape.key.iter().map(|name| column(shape.column(name).unwrap())).collect(),
        assigned_by: shape.assigned_by.unwrap(),
        columns: shape.columns.iter().map(column).collect(),
        filter: Vec::new(),
    })
}

fn collections_of(path: &std::path::Path) -> Vec<Arc<Collection>> {
    introspect::sqlite(path).unwrap().iter().map(collection_of).collect()
}

fn write_of(number: u128, effect: Effect) -> Write {
    Write {
        mutation: MutationId(uuid::Uuid::from_u128(number)),
        digest: [0; 16],
        record: RecordId::from("record"),
        outcome: "{}".to_owned(),
        effect,
        borrows: Vec::new(),
    }
}

/// Writes one by one in one call; the answers in short.
async fn answers(backend: &dyn Backend, collection: &Arc<Collection>, effects: Vec<Effect>) -> Vec<String> {
    let numbered = effects.into_iter().enumerate();
    let writes: Vec<_> =
        numbered.map(|(n, effect)| (Arc::clone(collection), write_of(n as u128 + 1, effect))).collect();
    let answers = backend.write(&writes).await.unwrap();
    answers
        .iter()
        .map(|answer| match answer {
            Written::Done { .. } => "done".to_owned(),
            Written::Refused { code, column, .. } => format!("{code} {}", column.as_deref().unwrap_or("-")),
            other => format!("{other:?}").to_lowercase(),
        })
        .collect()
}

fn insert(key: Value, set: Vec<(usize, Value)>) -> Effect {
    Effect::Insert { key: Some(Key(vec![key])), set }
}

fn text(words: &str) -> Value {
    Value::Text(words.to_owned())
}

#[tokio::test]
async fn a_shop_of_eleven_tables_is_read_whole_and_left_as_it_was() {
    let system = ThreadedSystem::new(SHOP);
    let before = system.schema_dump();
    let collections = collections_of(&system.path());
    assert_eq!(collections.len(), 11);
    system.backend().install(&collections).await.unwrap();
    for collection in &collections {
        let probe = system.backend().probe(collection).await.unwrap();
        assert_eq!((&probe.missing, &probe.notes), (&vec![], &vec![]), "{}", collection.table);
        assert_eq!((probe.delivery, probe.detection), (Delivery::ExactlyOnce, Detection::Queue));
        let page = system.backend().scan(collection, None, 100).await.unwrap();
        assert_eq!((page.rows.len() as u64, page.bad.len()), (probe.rows, 0), "{}", collection.table);
    }
    let tracks = collections.iter().find(|one| one.table == "Track").unwrap();
    let price = tracks.columns.iter().position(|column| column.name == "UnitPrice").unwrap();
    let change = |seen: &str, next: &str| Effect::Update {
        key: Key(vec![Value::Int(1)]),
        expect: vec![(price, text(seen))],
        set: vec![(price, text(next))],
    };
    assert_eq!(answers(system.backend(), tracks, vec![change("0.99", "1.29")]).await, ["done"]);
    let connection = Connection::open(system.path()).unwrap();
    let stored: (f64, String) = connection
        .query_row("SELECT UnitPrice, typeof(UnitPrice) FROM Track WHERE TrackId = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(stored, (1.29, "real".to_owned()), "as every other program would have stored it");
    system.backend().remove(&collections).await.unwrap();
    assert_eq!(system.schema_dump(), before);
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete", "the file keeps its journal mode");
}

#[tokio::test]
async fn one_that_rolls_everything_back_takes_no_other_with_it() {
    let system = ThreadedSystem::new(
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE t (id INTEGER PRIMARY KEY, w TEXT, p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.w = 'no' BEGIN SELECT RAISE(ROLLBACK, 'not this word'); END;
         CREATE TRIGGER skip BEFORE INSERT ON t WHEN NEW.w = 'skip' BEGIN SELECT RAISE(IGNORE); END;
         CREATE TABLE trail (id INTEGER PRIMARY KEY, w TEXT);
         CREATE TRIGGER fail AFTER INSERT ON t WHEN NEW.w = 'fail' BEGIN
             INSERT INTO trail (w) VALUES (NEW.w); SELECT RAISE(FAIL, 'too late'); END;
         CREATE TRIGGER upper AFTER INSERT ON t WHEN NEW.w = 'up' BEGIN UPDATE t SET w = 'UP' WHERE id = NEW.id; END;",
    );
    let collections = collections_of(&system.path());
    system.backend().install(&collections).await.unwrap();
    let t = collections.iter().find(|one| one.table == "t").unwrap();
    let word = |n: i64, word: &str| insert(Value::Int(n), vec![(1, text(word))]);
    let orphan = insert(Value::Int(9), vec![(2, Value::Int(404))]);
    // First what undoes itself and what leaves half of its work, then also what takes the whole transaction with it.
    let effects = vec![word(10, "fail"), word(11, "b"), word(12, "fail")];
    assert_eq!(answers(system.backend(), t, effects).await, ["constraint -", "done", "constraint -"]);
    system.foreign("DELETE FROM t; DELETE FROM om_applied");
    let effects = vec![word(1, "a"), word(2, "no"), orphan, word(3, "skip"), word(4, "up"), word(5, "fail")];
    let expected = ["done", "constraint -", "reference -", "constraint -", "done", "constraint -"];
    assert_eq!(answers(system.backend(), t, effects).await, expected);
    let connection = Connection::open(system.path()).unwrap();
    let trail: i64 = connection.query_row("SELECT count(*) FROM trail", [], |row| row.get(0)).unwrap();
    assert_eq!(trail, 0, "a refused write leaves nothing behind");
    let rows = system.backend().scan(t, None, 10).await.unwrap().rows;
    let words: Vec<_> = rows.iter().map(|row| row.values[1].clone()).collect();
    assert_eq!(words, [text("a"), text("UP")], "what a trigger makes of a value is the backend's right");
}

#[tokio::test]
async fn conflict_clauses_of_the_table_replace_nothing_silently() {
    let system = ThreadedSystem::new(
        "CREATE TABLE r (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, w TEXT);
         CREATE TABLE s (id TEXT PRIMARY KEY ON CONFLICT ROLLBACK, w TEXT);
         INSERT INTO r VALUES (1, 'first'); INSERT INTO s VALUES ('1', 'first');",
    );
    let collections = collections_of(&system.path());
    for (collection, key) in [(&collections[0], Value::Int(1)), (&collections[1], text("1"))] {
        let effects = vec![insert(key, vec![(1, text("second"))])];
        assert_eq!(answers(system.backend(), collection, effects).await, ["exists"]);
        assert_eq!(system.backend().scan(collection, None, 9).await.unwrap().rows[0].values[1], text("first"));
    }
}

#[tokio::test]
async fn keys_that_could_not_be_found_again_are_bad_rows() {
    let system = ThreadedSystem::new(
        "CREATE TABLE t (id TEXT PRIMARY KEY, w TEXT); CREATE TABLE c (code TEXT PRIMARY KEY COLLATE NOCASE, w TEXT);
         INSERT INTO t VALUES (NULL, 'null'), ('0190163D-8694-739B-AEA5-966C26F8AD91', 'upper'), (x'00', 'blob'),
             ('0190163d-8694-739b-aea5-966c26f8ad92', 'good'), ('zzz', 'no uuid');
         INSERT INTO c VALUES ('Abc', 'x');",
    );
    let mut t = (*collections_of(&system.path())[1]).clone();
    t.key[0].kind = FieldType::Uuid;
    t.columns.remove(0);
    for limit in [1, 2, 10] {
        let (mut good, mut bad, mut after) = (0, 0, None);
        loop {
            let page = system.backend().scan(&t, after.as_ref(), limit).await.unwrap();
            (good, bad) = (good + page.rows.len(), bad + page.bad.len());
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!((good, bad), (1, 4));
    }
    let c = &collections_of(&system.path())[0];
    let read = system.backend().read(c, &[Key(vec![text("abc")]), Key(vec![text("Abc")])]).await.unwrap();
    assert!(read[0].is_none() && read[1].is_some());
    let effects = vec![insert(text("ABC"), vec![])];
    assert_eq!(answers(system.backend(), c, effects).await, ["exists"]);
}

#[tokio::test]
async fn queue_keys_are_exactly_the_keys_text() {
    let system = ThreadedSystem::new(
        "CREATE TABLE t (a TEXT, n INTEGER, d NUMERIC, f REAL, b BOOLEAN, w TEXT, PRIMARY KEY (a, n, d, f, b));
         CREATE TABLE l (b BLOB PRIMARY KEY NOT NULL);",
    );
    let mut t = (*collections_of(&system.path())[1]).clone();
    for (column, kind) in t.key.iter_mut().zip(["text", "int", "decimal", "float", "bool"]) {
        column.kind = FieldType::ALL.into_iter().find(|one| one.word() == kind).unwrap();
    }
    t.columns.drain(..5);
    let t = Arc::new(t);
    let l = Arc::clone(&collections_of(&system.path())[0]);
    system.backend().install(&[t.clone(), l.clone()]).await.unwrap();
    system.foreign(
        "INSERT INTO t (a, n, d, f, b) SELECT char(value) || 'é', -1, 0.10, 0.1 + 0.2, 1 FROM
             (WITH RECURSIVE c (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 130) SELECT value FROM c);
         INSERT INTO l VALUES (x'00ff');",
    );
    let texts: Vec<String> = {
        let connection = Connection::open(system.path()).unwrap();
        let mut statement = connection.prepare("SELECT key FROM om_changes WHERE tbl = 't' ORDER BY n").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let changes = system.backend().changes(std::slice::from_ref(&t), 1_000).await.unwrap();
    assert_eq!(changes.len(), 130);
    for (text, change) in texts.iter().zip(changes) {
        let key = change.key.unwrap();
        // A decimal is written as SQLite stores it; all else letter by letter.
        assert_eq!(&key.to_text(), text);
        assert!(system.backend().read(&t, &[key]).await.unwrap()[0].is_some(), "{text}");
    }
    let changes = system.backend().changes(&[l], 10).await.unwrap();
    assert_eq!((changes.len(), changes[0].key.clone()), (1, None), "a table of blob keys is swept");
}

#[tokio::test]
async fn views_generated_columns_and_odd_names_work() {
    let system = ThreadedSystem::new(
        "CREATE TABLE \"a \"\"b\"\" ü\" (\"das Maß\" TEXT PRIMARY KEY, n INTEGER, twice INTEGER AS (n * 2)) WITHOUT ROWID;
         CREATE VIEW v AS SELECT \"das Maß\" AS code, n FROM \"a \"\"b\"\" ü\";",
    );
    let mut shapes = introspect::sqlite(&system.path()).unwrap();
    (shapes[1].key, shapes[1].assigned_by) = (vec!["code".to_owned()], Some(AssignedBy::App));
    let (odd, view) = (collection_of(&shapes[0]), collection_of(&shapes[1]));
    system.backend().install(&[odd.clone(), view.clone()]).await.unwrap();
    let effects = vec![
        insert(text("x"), vec![(1, Value::Int(4)), (2, Value::Null)]),
        insert(text("y"), vec![(2, Value::Int(8))]),
    ];
    assert_eq!(answers(system.backend(), &odd, effects).await, ["done", "not_allowed twice"]);
    let row = system.backend().read(&odd, &[Key(vec![text("x")])]).await.unwrap().remove(0).unwrap().unwrap();
    assert_eq!(row.values, [text("x"), Value::Int(4), Value::Int(8)]);
    assert_eq!(system.backend().changes(&[odd], 10).await.unwrap()[0].key, Some(Key(vec![text("x")])));
    assert_eq!(system.backend().scan(&view, None, 10).await.unwrap().rows.len(), 1);
    assert_eq!(system.backend().probe(&view).await.unwrap().detection, Detection::HashDiff);
    let mut refused = write_of(77, insert(text("z"), vec![]));
    refused.mutation = MutationId(uuid::Uuid::from_u128(77));
    let answer = system.backend().write(&[(view, refused)]).await.unwrap().remove(0);
    assert!(matches!(answer, Written::Refused { code: "not_allowed", .. }), "{answer:?}");
}

#[tokio::test]
async fn a_file_that_comes_later_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later.db");
    let backend = SqliteBackend::open("later", &path).unwrap();
    let error = backend.quiet_mark().await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error}");
    assert!(!path.exists(), "a backend never makes its file");
    Connection::open(&path).unwrap().execute_batch(SHOP).unwrap();
    let artists = collections_of(&path).into_iter().find(|one| one.table == "Artist").unwrap();
    assert_eq!(backend.scan(&artists, None, 10).await.unwrap().rows.len(), 2);
    let effects = vec![insert(Value::Int(3), vec![(1, text("new"))])];
    assert_eq!(answers(&backend, &artists, effects).await, ["done"]);
}
