//! One suite that every kind of backend passes.
//!
//! A kind gives a [`Harness`]; [`run`] takes a new [`System`] from it for each case and panics with the case's name at
//! the first promise that is broken. The tables are those of [`TABLES`], in each kind's own dialect. Foreign statements
//! are plain SQL that every dialect here understands.
//!
//! *Invariant:* nothing here knows a kind.

mod cases;

use std::cell::Cell;
use std::sync::Arc;

use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, ChannelName, FieldType, MutationId, RecordId};

use super::{
    Backend, BackendRow, Borrow, Collection, Column, Delivery, Detection, Effect, Key, Slot, Whole, Write, Written,
};

/// The tables of the suite as SQLite spells them; other kinds translate this text.
pub const TABLES: &str = "
CREATE TABLE Artist (ArtistId INTEGER NOT NULL PRIMARY KEY, Name VARCHAR(120));
CREATE TABLE Genre (Code VARCHAR(20) NOT NULL PRIMARY KEY, Name VARCHAR(120) NOT NULL UNIQUE, Archived INTEGER NOT NULL DEFAULT 0);
CREATE TABLE Album (AlbumId INTEGER NOT NULL PRIMARY KEY, Title VARCHAR(160) NOT NULL,
  ArtistId INTEGER NOT NULL REFERENCES Artist (ArtistId), Price NUMERIC(10,2), Released DATETIME,
  CHECK (Price IS NULL OR Price >= 0));
CREATE TABLE AlbumGenre (AlbumId INTEGER NOT NULL REFERENCES Album (AlbumId), Code VARCHAR(20) NOT NULL REFERENCES Genre (Code),
  Note VARCHAR(40), PRIMARY KEY (AlbumId, Code));
CREATE TABLE Thing (id VARCHAR(36) NOT NULL PRIMARY KEY, t TEXT, i BIGINT, f DOUBLE, d TEXT, n NUMERIC(10,2), b BOOLEAN,
  da TEXT, ti TEXT, dt DATETIME, ts TEXT, u TEXT, j TEXT, a TEXT, by BLOB);
";

/// Makes systems to test.
pub trait Harness {
    /// A new system with the empty [`TABLES`], nothing installed.
    fn system(&self) -> Box<dyn System>;
}

/// One backend with a database of its own.
pub trait System {
    /// The backend.
    fn backend(&self) -> &dyn Backend;

    /// Runs statements as another program would, over a connection of its own where the kind has several.
    fn foreign(&self, statements: &str);

    /// Loses the backend and everything it only remembered, and opens it again over what is durable.
    fn crash(&mut self);

    /// The whole schema as text, byte for byte.
    fn schema_dump(&self) -> String;
}

/// Runs every case.
///
/// # Panics
/// At the first promise that is broken.
pub async fn run(harness: &impl Harness) {
    cases::all(harness).await;
}

const ANSWERS: &str = "the backend answers";

/// One system and what a case needs to speak to it.
struct Case {
    system: Box<dyn System>,
    mutations: Cell<u128>,
}

impl Case {
    fn new(harness: &impl Harness) -> Self {
        Self { system: harness.system(), mutations: Cell::new(1) }
    }

    async fn installed(harness: &impl Harness) -> Self {
        let case = Self::new(harness);
        case.backend().install(&all()).await.expect(ANSWERS);
        case
    }

    fn backend(&self) -> &dyn Backend {
        self.system.backend()
    }

    /// A write with a mutation id of its own.
    fn plan(&self, collection: &Arc<Collection>, effect: Effect) -> (Arc<Collection>, Write) {
        let number = self.mutations.replace(self.mutations.get() + 1);
        let write = Write {
            mutation: MutationId(uuid(number)),
            digest: [number as u8; 16],
            record: RecordId::from(format!("record-{number}")),
            outcome: "{\"outcome\":\"applied\"}".to_owned(),
            effect,
            borrows: Vec::new(),
        };
        (Arc::clone(collection), write)
    }

    async fn write(&self, writes: &[(Arc<Collection>, Write)]) -> Vec<Written> {
        self.backend().write(writes).await.expect(ANSWERS)
    }

    async fn one(&self, collection: &Arc<Collection>, effect: Effect) -> Written {
        self.write(&[self.plan(collection, effect)]).await.pop().expect("one write has one answer")
    }

    /// Does a write that must succeed; answers key and row.
    async fn done(&self, collection: &Arc<Collection>, effect: Effect) -> (Key, Option<BackendRow>) {
        match self.one(collection, effect).await {
            Written::Done { key: Some(key), row } => (key, row),
            other => panic!("{other:?}"),
        }
    }

    async fn read(&self, collection: &Collection, key: &Key) -> Option<Vec<Value>> {
        let found = self.backend().read(collection, std::slice::from_ref(key)).await.expect(ANSWERS).pop();
        found.flatten().map(|row| row.expect("the row can be represented").values)
    }

    /// All rows, page by page.
    async fn scan(&self, collection: &Collection, limit: usize) -> Vec<BackendRow> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = self.backend().scan(collection, after.as_ref(), limit).await.expect(ANSWERS);
            rows.extend(page.rows);
            match page.next {
                Some(next) => after = Some(next),
                None => return rows,
            }
        }
    }

    /// The keys in the queue of these collections, sorted, and the entries' numbers.
    async fn queue(&self) -> (Vec<String>, Vec<i64>) {
        let changes = self.backend().changes(&all(), 1_000).await.expect(ANSWERS);
        let mut keys: Vec<String> = changes
            .iter()
            .map(|change| format!("{} {}", change.table, change.key.as_ref().map_or("?".into(), Key::to_text)))
            .collect();
        keys.sort();
        keys.dedup();
        (keys, changes.iter().map(|change| change.number).collect())
    }
}

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn key(value: impl Into<KeyPart>) -> Key {
    Key(vec![value.into().0])
}

/// One value of a key in a test.
struct KeyPart(Value);

impl From<i64> for KeyPart {
    fn from(number: i64) -> Self {
        Self(Value::Int(number))
    }
}

impl From<&str> for KeyPart {
    fn from(words: &str) -> Self {
        Self(text(words))
    }
}

fn column(name: &str, kind: FieldType) -> Column {
    Column { name: name.to_owned(), kind, read_only: false }
}

fn collection(
    table: &str,
    key: &[(&str, FieldType)],
    assigned_by: AssignedBy,
    rest: &[(&str, FieldType)],
) -> Collection {
    let columns = |list: &[(&str, FieldType)]| list.iter().map(|(name, kind)| column(name, *kind)).collect::<Vec<_>>();
    Collection {
        channel: ChannelName::from(table.to_lowercase()),
        table: table.to_owned(),
        key: columns(key),
        assigned_by,
        // The key's columns are fields too, except where the record's id itself is the key.
        columns: match assigned_by {
            AssignedBy::Device => columns(rest),
            _ => [columns(key), columns(rest)].concat(),
        },
        filter: Vec::new(),
    }
}

/// Columns: key 0, name 1.
fn artists() -> Arc<Collection> {
    let rest = [("Name", FieldType::Text)];
    Arc::new(collection("Artist", &[("ArtistId", FieldType::Int)], AssignedBy::Backend, &rest))
}

/// Columns: key 0, name 1. Only what is not archived.
fn genres() -> Arc<Collection> {
    let rest = [("Name", FieldType::Text)];
    let mut genres = collection("Genre", &[("Code", FieldType::Text)], AssignedBy::App, &rest);
    genres.filter = vec![("Archived".to_owned(), Value::Int(0))];
    Arc::new(genres)
}

/// Columns: key 0, title 1, artist 2, price 3, released 4.
fn albums() -> Arc<Collection> {
    use FieldType::{DateTime, Decimal, Int, Text};
    let rest = [("Title", Text), ("ArtistId", Int), ("Price", Decimal), ("Released", DateTime)];
    Arc::new(collection("Album", &[("AlbumId", Int)], AssignedBy::Backend, &rest))
}

/// Columns: key 0 and 1, note 2.
fn album_genres() -> Arc<Collection> {
    let key = [("AlbumId", FieldType::Int), ("Code", FieldType::Text)];
    Arc::new(collection("AlbumGenre", &key, AssignedBy::App, &[("Note", FieldType::Text)]))
}

/// Every type once, in the order of [`cases::EVERY_TYPE`]; the id is the key.
fn things() -> Arc<Collection> {
    let rest = cases::EVERY_TYPE;
    Arc::new(collection("Thing", &[("id", FieldType::Text)], AssignedBy::Device, &rest))
}

fn all() -> Vec<Arc<Collection>> {
    vec![artists(), genres(), albums(), album_genres(), things()]
}
