//! Introspection of a schema that has everything awkward in it.

use super::*;

fn shapes(schema: &str) -> Vec<TableShape> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("foreign.db");
    Connection::open(&path).unwrap().execute_batch(schema).unwrap();
    tables(&path).unwrap()
}

fn table<'a>(shapes: &'a [TableShape], name: &str) -> &'a TableShape {
    shapes.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn declared_types_become_field_types() {
    let shapes = shapes(
        "CREATE TABLE t (n INTEGER PRIMARY KEY, title NVARCHAR(160) NOT NULL, price NUMERIC(10,2) NOT NULL DEFAULT 0.50,
             made DATETIME, day DATE, clock TIME, truth BOOLEAN DEFAULT TRUE, ratio DOUBLE, data BLOB, doc JSON,
             guid UUID, untyped, odd STRING, size BIGINT DEFAULT -7, stamp TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
             word VARCHAR(3) DEFAULT 'it''s');
         INSERT INTO t (n, title, price, made, truth, ratio, odd, word)
             VALUES (1, 'a', 0.99, '2009-01-01 00:00:00', 0, 1, 'x', 'longer');",
    );
    let t = table(&shapes, "t");
    let kinds: Vec<_> = t.columns.iter().map(|column| (column.name.as_str(), column.kind.word())).collect();
    assert_eq!(
        kinds,
        [
            ("n", "int"),
            ("title", "text"),
            ("price", "decimal"),
            ("made", "datetime"),
            ("day", "date"),
            ("clock", "time"),
            ("truth", "bool"),
            ("ratio", "float"),
            ("data", "bytes"),
            ("doc", "json"),
            ("guid", "uuid"),
            ("untyped", "text"),
            ("odd", "text"),
            ("size", "int"),
            ("stamp", "datetime"),
            ("word", "text"),
        ]
    );
    assert_eq!((t.key.as_slice(), t.assigned_by), (&["n".to_owned()][..], Some(AssignedBy::Backend)));
    let column = |name: &str| t.column(name).unwrap();
    assert_eq!((column("title").max_length, column("title").required), (Some(160), true));
    assert_eq!(column("price").default, Some(Value::Text("0.5".into())));
    assert_eq!(column("truth").default, Some(Value::Bool(true)));
    assert_eq!(column("size").default, Some(Value::Int(-7)));
    assert_eq!(column("stamp").default, None);
    assert_eq!(column("word").default, Some(Value::Text("it's".into())));
    assert_eq!(column("word").max_length, None, "the data is longer than declared");
    assert!(!column("n").required);
}

#[test]
fn data_decides_where_it_contradicts_the_declaration() {
    let shapes = shapes(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, made DATETIME, day DATETIME, unix DATETIME, flag BOOLEAN, n INTEGER);
         INSERT INTO t VALUES (1, '2009-01-01T00:00:00', '2009-01-01', 1230768000, 2, 'many');
         INSERT INTO t VALUES (2, '2009-01-01 00:00:00', '2009-01-02', 1230768001, 1, 3);",
    );
    let t = table(&shapes, "t");
    let kinds: Vec<_> = t.columns.iter().map(|column| column.kind.word()).collect();
    assert_eq!(kinds, ["int", "text", "date", "int", "int", "int"]);
    assert!(t.notes.iter().any(|note| note.contains("\"n\" holds values that are no int")), "{:?}", t.notes);
}

#[test]
fn references_are_found_and_keys_that_are_references_stay_so() {
    let shapes = shapes(
        "CREATE TABLE Employee (EmployeeId INTEGER NOT NULL PRIMARY KEY, ReportsTo INTEGER REFERENCES employee (EmployeeId));
         CREATE TABLE Playlist (PlaylistId INTEGER PRIMARY KEY); CREATE TABLE Track (TrackId INTEGER PRIMARY KEY);
         CREATE TABLE PlaylistTrack (PlaylistId INTEGER NOT NULL REFERENCES Playlist, TrackId INTEGER NOT NULL
             REFERENCES Track (TrackId), PRIMARY KEY (PlaylistId, TrackId));
         CREATE TABLE Mark (n INTEGER PRIMARY KEY, p INTEGER, t INTEGER,
             FOREIGN KEY (p, t) REFERENCES PlaylistTrack (PlaylistId, TrackId), FOREIGN KEY (p) REFERENCES gone (x));
         CREATE TABLE Profile (EmployeeId INTEGER PRIMARY KEY REFERENCES Employee, note TEXT);",
    );
    let employee = table(&shapes, "Employee");
    let boss = employee.column("ReportsTo").unwrap();
    assert_eq!((boss.kind, boss.base), (FieldType::Ref, FieldType::Int));
    assert_eq!(boss.references, Some(Reference { table: "Employee".into(), column: "EmployeeId".into() }));
    let both = table(&shapes, "PlaylistTrack");
    assert_eq!((both.key.len(), both.assigned_by), (2, Some(AssignedBy::App)));
    assert!(both.columns.iter().all(|column| column.kind == FieldType::Ref && column.required));
    assert!(table(&shapes, "Mark").columns.iter().all(|column| column.references.is_none()));
    assert_eq!(table(&shapes, "Profile").assigned_by, Some(AssignedBy::App));
}

#[test]
fn awkward_tables_are_read_as_they_are() {
    let shapes = shapes(
        "CREATE TABLE \"Größe und \"\"Form\"\"\" (\"das Maß\" TEXT NOT NULL CHECK (\"das Maß\" <> ''), wert REAL,
             doppelt REAL GENERATED ALWAYS AS (wert * 2) STORED, PRIMARY KEY (\"das Maß\")) WITHOUT ROWID;
         CREATE TABLE keyless (a, b); CREATE TABLE unique_key (code TEXT NOT NULL UNIQUE, maybe TEXT UNIQUE);
         CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); CREATE TABLE tags (id TEXT PRIMARY KEY);
         CREATE TABLE tokens (id TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(16)))));
         CREATE TABLE descending (n INTEGER PRIMARY KEY DESC);
         INSERT INTO notes VALUES ('0190163d-8694-739b-aea5-966c26f8ad91', 'x'); INSERT INTO tags VALUES ('pop');
         CREATE VIEW seen AS SELECT code, 1.5 AS factor FROM unique_key;
         CREATE TABLE om_applied (mutation BLOB PRIMARY KEY);",
    );
    let names: Vec<_> = shapes.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["Größe und \"Form\"", "descending", "keyless", "notes", "seen", "tags", "tokens", "unique_key"]);
    let odd = &shapes[0];
    assert_eq!(odd.key, ["das Maß"]);
    assert!(odd.column("das Maß").unwrap().required);
    let generated = odd.column("doppelt").unwrap();
    assert_eq!((generated.read_only, generated.required, generated.kind), (true, false, FieldType::Float));
    assert!(!table(&shapes, "keyless").has_key());
    assert_eq!(table(&shapes, "unique_key").key, ["code"]);
    assert_eq!(table(&shapes, "notes").assigned_by, Some(AssignedBy::Device));
    assert_eq!(table(&shapes, "tags").assigned_by, Some(AssignedBy::App));
    assert_eq!(table(&shapes, "tokens").assigned_by, Some(AssignedBy::Backend));
    assert_eq!(table(&shapes, "descending").assigned_by, Some(AssignedBy::App));
    let view = table(&shapes, "seen");
    assert!(view.is_view && !view.has_key() && view.assigned_by.is_none());
}

#[test]
fn what_is_no_database_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.db");
    std::fs::write(&path, "these are just some words, and enough of them to be longer than one header".repeat(20))
        .unwrap();
    assert!(matches!(tables(&path), Err(BackendError::Unavailable { .. })));
    assert!(matches!(tables(&dir.path().join("gone.db")), Err(BackendError::Unavailable { .. })));
}
