//! Every type, to its limits, from one device's table over the wire, the log and the backend to another device's table:
//! nothing is rounded, trimmed or reordered.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use omctl::server::Running;
use omctl_device::Mobster;
use omctl_protocol::{FieldType, Value};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rusqlite::Connection;
use rusqlite::types::Value as Stored;

use crate::fleet::{device, is_taken, serve};

/// Field, type, and the column's type in somebody's database.
const FIELDS: [(&str, FieldType, &str); 14] = [
    ("t", FieldType::Text, "TEXT"),
    ("i", FieldType::Int, "INTEGER"),
    ("f", FieldType::Float, "REAL"),
    ("d", FieldType::Decimal, "TEXT"),
    ("b", FieldType::Bool, "BOOLEAN"),
    ("da", FieldType::Date, "DATE"),
    ("ti", FieldType::Time, "TIME"),
    ("dt", FieldType::DateTime, "DATETIME"),
    ("ts", FieldType::Timestamp, "TEXT"),
    ("u", FieldType::Uuid, "TEXT"),
    ("e", FieldType::Enum, "TEXT"),
    ("j", FieldType::Json, "TEXT"),
    ("a", FieldType::Array, "TEXT"),
    ("by", FieldType::Bytes, "BLOB"),
];

/// The managed channel, and the one in a table of a SQLite file.
const CHANNELS: [&str; 2] = ["ours", "theirs"];

const ROWS: usize = 150;

fn project(root: &Path) {
    std::fs::create_dir(root.join("channels")).unwrap();
    let columns: String = FIELDS.iter().map(|(name, _, column)| format!(", \"{name}\" {column}")).collect();
    let shop = Connection::open(root.join("shop.db")).unwrap();
    shop.execute_batch(&format!("CREATE TABLE Theirs (id TEXT PRIMARY KEY{columns})")).unwrap();
    std::fs::write(
        root.join("openmobster.yaml"),
        "version: 1\nname: types\nbackends: { shop: { kind: sqlite, path: shop.db } }\n",
    )
    .unwrap();
    let fields: String = FIELDS
        .iter()
        .map(|(name, kind, _)| match kind {
            FieldType::Enum => format!("  {name}: {{ type: enum, values: [open, \"in Arbeit\"] }}\n"),
            kind => format!("  {name}: {{ type: {} }}\n", kind.word()),
        })
        .collect();
    let common = format!("scope: public\nwrite: {{ create: any, update: any, delete: any }}\nfields:\n{fields}");
    std::fs::write(root.join("channels/ours.yaml"), &common).unwrap();
    let home = "backend: shop\ntable: Theirs\nkey: { columns: [id], assigned_by: device }\n";
    std::fs::write(root.join("channels/theirs.yaml"), format!("{home}{common}")).unwrap();
}

async fn named(server: &Running, root: &Path, name: &str) -> Mobster {
    device(server, &root.join(format!("{name}.db")), &format!("{name}@example.com")).await
}

/// What an app may write into a field: any spelling that has one meaning.
fn spelling(kind: FieldType) -> BoxedStrategy<Value> {
    let text = |strategy: BoxedStrategy<String>| strategy.prop_map(Value::Text).boxed();
    let fraction =
        prop::option::of("[0-9]{0,8}[1-9]").prop_map(|digits| digits.map_or(String::new(), |d| format!(".{d}")));
    let date = (1i32..=9999, 1u32..=12, 1u32..=28).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}"));
    let time = (0u32..24, 0u32..60, 0u32..60, fraction).prop_map(|(h, m, s, f)| format!("{h:02}:{m:02}:{s:02}{f}"));
    let json = prop::sample::select(vec![
        r#"{"b":1.50,"a":[null,true,"\u00fc \ud83e\udd8a"]}"#,
        "12345678901234567890123.000",
        r#""text""#,
        "[]",
        "{}",
        "null",
    ]);
    match kind {
        FieldType::Text => text(
            prop_oneof![
                "\\PC{0,40}",
                Just(String::new()),
                Just("  spaces at both ends  ".to_owned()),
                Just("007".to_owned()),
                Just("1e5".to_owned()),
                Just("e\u{301} and \u{e9}, 🦊\u{200d}🦊, \u{202e}".to_owned()),
                Just("line\nfeed\ttab \"quoted\" 'single' \\".to_owned()),
                Just("NULL".to_owned()),
                "[a-z]{2000}",
            ]
            .boxed(),
        ),
        FieldType::Int => prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just((1 << 53) + 1), Just(0)]
            .prop_map(Value::Int)
            .boxed(),
        FieldType::Float => prop_oneof![
            prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
            Just(f64::MAX),
            Just(f64::MIN_POSITIVE),
            Just(-0.0),
            Just(0.1 + 0.2),
        ]
        .prop_map(Value::Float)
        .boxed(),
        FieldType::Decimal => text(
            prop_oneof!["-?[1-9][0-9]{0,37}", "-?[0-9]{1,19}\\.[0-9]{1,19}", "0", "-0", "[1-9]e-?[1-9]", "\\+?\\.5"]
                .boxed(),
        ),
        FieldType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        FieldType::Date => text(date.boxed()),
        FieldType::Time => text(time.boxed()),
        FieldType::DateTime => {
            text((date, "[ T]", time).prop_map(|(d, between, t)| format!("{d}{between}{t}")).boxed())
        }
        FieldType::Timestamp => {
            let zone = prop::sample::select(vec!["Z", "+02:00", "-11:30"]);
            let inner = (1970i32..=9000, 1u32..=12, 2u32..=27).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}"));
            text((inner, time, zone).prop_map(|(d, t, zone)| format!("{d}T{t}{zone}")).boxed())
        }
        FieldType::Uuid => {
            text(any::<u128>().prop_map(|n| uuid::Uuid::from_u128(n).to_string().to_uppercase()).boxed())
        }
        FieldType::Enum => text(prop::sample::select(vec!["open", "in Arbeit"]).prop_map(str::to_owned).boxed()),
        FieldType::Json => text(json.prop_map(str::to_owned).boxed()),
        FieldType::Array => text(
            prop::sample::select(vec!["[]", r#"[1,"two",{"b":2,"a":1},[null]]"#, "[ 1.0 , 1.00 ]"])
                .prop_map(str::to_owned)
                .boxed(),
        ),
        FieldType::Bytes => prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes).boxed(),
        FieldType::Ref => unreachable!("references are tested with keys"),
    }
}

/// One row: now and then a field is NULL, which is not the same as empty.
fn row(runner: &mut TestRunner) -> Vec<Value> {
    let field = |(_, kind, _): &(&str, FieldType, &str)| prop::option::weighted(0.9, spelling(*kind));
    let fields: Vec<_> = FIELDS.iter().map(field).collect();
    let tree = fields.new_tree(runner).unwrap();
    tree.current().into_iter().map(|value| value.unwrap_or(Value::Null)).collect()
}

fn canonical(row: &[Value]) -> Vec<Value> {
    row.iter().zip(FIELDS).map(|(value, (_, kind, _))| kind.canonical(value.clone()).unwrap()).collect()
}

/// What SQLite holds: a type that only looks right would show.
fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Bool(truth) => Stored::Integer(i64::from(*truth)),
        Value::Int(number) => Stored::Integer(*number),
        Value::Float(number) => Stored::Real(*number),
        Value::Text(text) => Stored::Text(text.clone()),
        Value::Bytes(bytes) => Stored::Blob(bytes.clone()),
    }
}

fn table(file: &Path, table: &str) -> Vec<(String, Vec<Stored>)> {
    let columns: Vec<String> = FIELDS.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let connection = Connection::open(file).unwrap();
    let mut statement =
        connection.prepare(&format!("SELECT id, {} FROM {table} ORDER BY id", columns.join(", "))).unwrap();
    let rows = statement.query_map([], |row| {
        let values = (0..FIELDS.len()).map(|n| row.get(n + 1)).collect::<Result<_, _>>()?;
        Ok((row.get(0)?, values))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

async fn write(app: &Mobster, channel: &'static str, rows: &[(String, Vec<Value>)]) {
    let names: Vec<String> = FIELDS.iter().map(|(name, ..)| format!("\"{name}\"")).collect();
    let sets: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let sql = format!(
        "INSERT INTO {channel} (id, {}) VALUES (?{}) ON CONFLICT (id) DO UPDATE SET {}",
        names.join(", "),
        ", ?".repeat(FIELDS.len()),
        sets.join(", ")
    );
    let rows = rows.to_vec();
    let ((), saved) = app
        .transaction(move |tx| {
            for (id, values) in &rows {
                let parameters = [Stored::Text(id.clone())].into_iter().chain(values.iter().map(stored));
                tx.execute(&sql, rusqlite::params_from_iter(parameters))?;
            }
            Ok(())
        })
        .await
        .unwrap();
    is_taken(app, saved).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_goes_to_its_limits_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    project(root);
    let server = serve(root, "data").await;
    let (one, other) = (named(&server, root, "one").await, named(&server, root, "other").await);
    let mut runner = TestRunner::deterministic();
    // Made, then every one changed to other values: NULL to something and back, short to long and back.
    for _ in 0..2 {
        let rows: Vec<(String, Vec<Value>)> =
            (0..ROWS).map(|n| (uuid::Uuid::from_u128(n as u128 + 1).to_string(), row(&mut runner))).collect();
        let expected: Vec<(String, Vec<Stored>)> =
            rows.iter().map(|(id, values)| (id.clone(), canonical(values).iter().map(stored).collect())).collect();
        for channel in CHANNELS {
            write(&one, channel, &rows).await;
        }
        one.sync_now().await.unwrap();
        for channel in CHANNELS {
            for (app, name) in [(&one, "one"), (&other, "other")] {
                // The other one hears of it by itself, a moment later.
                for _ in 0..500 {
                    if table(&root.join(format!("{name}.db")), channel) == expected {
                        break;
                    }
                    app.sync_now().await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                assert_same(
                    &table(&root.join(format!("{name}.db")), channel),
                    &expected,
                    &format!("{channel} on {name}"),
                );
            }
        }
        assert_same(&table(&root.join("shop.db"), "Theirs"), &expected, "the backend");
    }
    server.stop().await;
}

fn assert_same(found: &[(String, Vec<Stored>)], expected: &[(String, Vec<Stored>)], place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}");
    for ((id, found), (_, expected)) in found.iter().zip(expected) {
        for ((found, expected), (name, ..)) in found.iter().zip(expected).zip(FIELDS) {
            assert_eq!(found, expected, "`{name}` of {id}, {place}");
        }
    }
}

#[tokio::test]
async fn what_no_type_can_hold_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let server = serve(folder.path(), "data").await;
    let app = named(&server, folder.path(), "one").await;
    for (field, value) in [
        ("f", Value::Text("not a number".into())),
        ("d", Value::Text("1".repeat(66))),
        ("da", Value::Text("2026-02-30".into())),
        ("j", Value::Text("{".into())),
    ] {
        let sql = format!("INSERT INTO ours (\"{field}\", t) VALUES (?1, 'x')");
        let saved = app.execute(&sql, vec![value]).await.unwrap();
        let answers = app.settled(saved.write).await.unwrap();
        assert!(
            matches!(&answers[..], [omctl_device::Answer::RefusedHere(refused)] if refused.field.as_deref() == Some(field)),
            "{answers:?}"
        );
    }
    assert_eq!(app.rejected().await.unwrap().len(), 4);
    assert_eq!(table(&folder.path().join("one.db"), "ours"), []);
    server.stop().await;
}
