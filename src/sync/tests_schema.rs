//! Fields that come, go and change while devices are away with writes of an older version.

use std::collections::BTreeMap;

use omctl_protocol::*;
use serde_json::{Value as Json, json};

use super::tests::{Bench, create, receipts, send};
use super::tests_scopes::{channels, update};

const FIRST: &str = "scope: public\nfields:\n  title: { type: text }\n  hours: { type: int }\n  \
    status: { type: enum, values: [open, done, odd] }\n  note: { type: text }\n  code: { type: text }\n";

/// `title` is renamed, `hours` and `code` have other types, a word is gone, `note` is gone, `owner` is new and required.
const SECOND: &str = "scope: public\nfields:\n  headline: { type: text, column: title }\n  hours: { type: decimal }\n  \
    status: { type: enum, values: [open, done] }\n  code: { type: int }\n  owner: { type: text, required: true }\n";

async fn next(bench: Bench, text: &str, start: u64) -> Bench {
    Bench::open(bench.database.clone(), channels(&[("notes", text)]), &BTreeMap::new(), start).await
}

/// The only record, by field.
async fn record(bench: &Bench) -> BTreeMap<String, Json> {
    let view = bench.sync.backend_view(&"notes".into(), None).await.unwrap();
    assert_eq!(view.rows.len(), 1);
    view.fields.into_iter().zip(view.rows[0].values.iter().map(Value::to_json)).collect()
}

#[tokio::test]
async fn writes_of_an_older_version_are_converted_or_refused_and_nothing_is_nulled() {
    let bench = Bench::with(channels(&[("notes", FIRST)]), &BTreeMap::new()).await;
    let (mut one, _) = bench.connect(1, |_| {}).await;
    let values = json!({ "title": "t", "hours": "3", "status": "odd", "note": "kept", "code": "A1" });
    send(&mut one, vec![create(1, "notes", 1, values)]).await;

    let bench = next(bench, SECOND, 2).await;
    let after = record(&bench).await;
    assert_eq!((&after["headline"], &after["hours"], &after["status"]), (&json!("t"), &json!("3"), &json!("odd")));
    assert_eq!(after["code"], Json::Null, "A1 is no number");
    let old_version = |seq: u64, old: Json, new: Json| update(seq, "notes", 1, old, new);
    let (mut one, frames) = bench.connect(1, |hello| hello.last_seq = Seq(1)).await;
    let versions: Vec<u32> =
        frames.iter().filter_map(|f| if let Down::Schema(s) = f { Some(s.version.0) } else { None }).collect();
    assert_eq!(versions, [1, 2], "rows and mutations of both versions may come");
    let mut waiting = vec![
        old_version(2, json!({ "title": "t" }), json!({ "title": "renamed" })),
        old_version(3, json!({ "hours": "3" }), json!({ "hours": "4" })),
        old_version(4, json!({ "note": "kept" }), json!({ "note": "lost?" })),
        old_version(5, json!({ "code": "A1" }), json!({ "code": "77" })),
        old_version(6, json!({ "code": "77" }), json!({ "code": "B2" })),
        old_version(7, json!({ "status": "open" }), json!({ "status": "odd" })),
        create(8, "notes", 8, json!({ "title": "no owner" })),
    ];
    // An app of the new version, on the same device.
    waiting.push(Mutation {
        v: SchemaVersion(2),
        ..old_version(9, json!({ "headline": "renamed" }), json!({ "headline": "new app" }))
    });
    waiting
        .push(Mutation { v: SchemaVersion(9), ..old_version(10, json!({}), json!({ "headline": "from the future" })) });
    send(&mut one, waiting).await;
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(10)).await;
    let told = receipts(&frames);
    let code = |seq: u64| {
        let receipt = told.iter().find(|receipt| receipt.seq == Seq(seq)).unwrap();
        (receipt.outcome, receipt.code.clone().unwrap_or_default())
    };
    for (seq, outcome, expected) in [
        (2, Outcome::Applied, ""),
        (3, Outcome::Applied, ""),
        (4, Outcome::Rejected, "schema_mismatch"),
        (5, Outcome::Applied, ""),
        (6, Outcome::Rejected, "schema_mismatch"),
        (7, Outcome::Rejected, "bad_value"),
        (8, Outcome::Rejected, "required"),
        (9, Outcome::Applied, ""),
        (10, Outcome::Rejected, "schema_mismatch"),
    ] {
        assert_eq!(code(seq), (outcome, expected.to_owned()), "{seq}");
    }
    let after = record(&bench).await;
    assert_eq!((&after["headline"], &after["hours"]), (&json!("new app"), &json!("4")));

    // What was taken out by mistake comes back with what it held.
    let bench = next(bench, FIRST, 3).await;
    let after = record(&bench).await;
    assert_eq!((&after["title"], &after["note"], &after["hours"]), (&json!("new app"), &json!("kept"), &json!("4")));
    // A delete names every field that its device saw.
    let (mut one, _) = bench.connect(1, |hello| hello.last_seq = Seq(10)).await;
    let seen = json!({ "headline": "new app", "hours": "4", "status": "odd", "code": null, "owner": null });
    let delete = Mutation { v: SchemaVersion(2), op: Operation::Delete, ..update(11, "notes", 1, seen, json!({})) };
    send(&mut one, vec![delete]).await;
    let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(11)).await;
    let told = receipts(&frames);
    assert_eq!(
        told.last().map(|r| (r.outcome, r.code.as_deref())),
        Some((Outcome::Applied, None)),
        "it is all its own"
    );
}

#[tokio::test]
async fn what_was_put_aside_goes_to_devices_when_its_field_is_back() {
    let with = "scope: public\nfields:\n  title: { type: text }\n  grade: { type: int, default: 5 }\n  \
        note: { type: text }\n";
    let without = "scope: public\nfields:\n  title: { type: text }\n";
    let bench = Bench::with(channels(&[("notes", with)]), &BTreeMap::new()).await;
    bench.sync.place_all(&bench.sync.inner.live.current()).await.unwrap();
    let (mut one, _) = bench.connect(1, |_| {}).await;
    send(&mut one, vec![create(1, "notes", 1, json!({ "title": "t", "grade": "7", "note": "n" }))]).await;
    let bench = next(bench, without, 2).await;
    bench.sync.place_all(&bench.sync.inner.live.current()).await.unwrap();
    let (mut one, _) = bench.connect(1, |hello| hello.last_seq = Seq(1)).await;
    let written = update(2, "notes", 1, json!({ "title": "t" }), json!({ "title": "u" }));
    send(&mut one, vec![Mutation { v: SchemaVersion(2), ..written }]).await;
    let bench = next(bench, with, 3).await;
    let after = record(&bench).await;
    assert_eq!((&after["grade"], &after["note"]), (&json!("7"), &json!("n")), "and not the default");
    bench.sync.place_all(&bench.sync.inner.live.current()).await.unwrap();
    let (_, frames) = bench.connect(2, |_| {}).await;
    let rows: Vec<String> = frames
        .iter()
        .filter_map(|frame| if let Down::Rows(rows) = frame { Some(rows) } else { None })
        .flat_map(|rows| rows.rows.iter().map(|row| format!("{} {}", rows.v, row.get())))
        .collect();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].starts_with("3 ") && rows[0].ends_with(r#"["u","7","n"]]"#), "{rows:?}");
}

#[tokio::test]
async fn a_device_that_knows_a_later_version_than_the_server_is_told_what_there_is() {
    let bench = Bench::with(channels(&[("notes", FIRST)]), &BTreeMap::new()).await;
    let bench = next(bench, SECOND, 2).await;
    for (known, expected) in [(1, vec![2]), (2, vec![]), (3, vec![1, 2])] {
        let knows = |hello: &mut frame::Hello| hello.schemas = [("notes".into(), SchemaVersion(known))].into();
        let (_, frames) = bench.connect(1, knows).await;
        let schema = |frame: &Down| if let Down::Schema(schema) = frame { Some(schema.version.0) } else { None };
        assert_eq!(frames.iter().filter_map(schema).collect::<Vec<_>>(), expected, "{known}");
    }
}

#[tokio::test]
async fn a_default_that_no_longer_fits_is_no_reason_to_refuse_a_new_record() {
    let fields = |grade: &str| format!("scope: public\nfields:\n  title: {{ type: text }}\n{grade}");
    let graded = fields("  grade: { type: text, default: good }\n");
    for grade in ["  grade: { type: int, default: 7 }\n", ""] {
        let bench = Bench::with(channels(&[("notes", &graded)]), &BTreeMap::new()).await;
        let bench = next(bench, &fields(grade), 2).await;
        let (mut one, _) = bench.connect(1, |_| {}).await;
        // The device's tables filled in `good`; `bad` is a word that somebody chose.
        let made = |seq: u64, grade: &str| create(seq, "notes", u128::from(seq), json!({ "grade": grade }));
        send(&mut one, vec![made(1, "good"), made(2, "bad")]).await;
        let (_, frames) = bench.connect(1, |hello| hello.last_seq = Seq(2)).await;
        let codes: Vec<_> = receipts(&frames).into_iter().map(|one| one.code).collect();
        assert_eq!(codes, [None, Some("schema_mismatch".to_owned())], "{grade}");
        assert_eq!(record(&bench).await.get("grade"), (!grade.is_empty()).then_some(&json!("7")));
    }
}
