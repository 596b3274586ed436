//! Tests of what becomes of rows and writes when a channel's fields change.

use omctl_protocol::{ChannelSchema, Field, FieldType, Outcome, Value};

use super::tests::*;
use super::*;

#[test]
fn a_new_field_keeps_rows_and_pending_changes() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'a'");
    let mut schema = notes();
    schema.version = omctl_protocol::SchemaVersion(2);
    schema.fields.insert(0, field("pinned", FieldType::Bool));
    store.install_schema(&schema).unwrap();
    assert_eq!(titles(&store), pairs(&[("a", "mine"), ("b", "B")]));
    // A frame of the version before says nothing about the new field.
    store.rows(&rows_line("s", "notes", 6, None, &[("b", Some(note("B6")))])).unwrap();
    commit(&mut store, 6, vec![]);
    run(&mut store, "UPDATE notes SET pinned = 1");
    store.seal().unwrap();
    let sealed = outbox(&store);
    assert_eq!(sealed.iter().map(|m| m.v.0).collect::<Vec<_>>(), [1, 2, 2]);
    assert_eq!(sealed[1].new["pinned"], true);
    assert_eq!(titles(&store), pairs(&[("a", "mine"), ("b", "B6")]));
}

/// `notes` of version 2: `title` is `headline` now, `hours` a float, `parent` is gone.
fn changed_notes() -> ChannelSchema {
    let mut schema = notes();
    schema.version = omctl_protocol::SchemaVersion(2);
    schema.fields[0] = Field { column: Some("title".into()), ..field("headline", FieldType::Text) };
    schema.fields[1] = field("hours", FieldType::Float);
    schema.fields.truncate(2);
    schema
}

fn headlines(store: &Store) -> Vec<(String, Option<String>, Option<f64>)> {
    let mut statement = store.connection().prepare("SELECT id, headline, hours FROM notes ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_renamed_field_keeps_its_values_and_a_retyped_one_those_that_convert() {
    let mut store = synced();
    store.rows(&rows_line("s", "notes", 6, None, &[("b", Some(vec![text("B"), Value::Null, Value::Null]))])).unwrap();
    commit(&mut store, 6, vec![]);
    run(&mut store, "CREATE INDEX by_parent ON notes (parent); CREATE INDEX by_hours ON notes (hours)");
    run(
        &mut store,
        "UPDATE notes SET title = 'mine', hours = '2.5' WHERE id = 'a'; INSERT INTO notes (id) VALUES ('n')",
    );
    store.install_schema(&changed_notes()).unwrap();
    let shown = |a: &str| {
        [("a".into(), Some(a.into()), Some(2.5)), ("b".into(), Some("B".into()), None), ("n".into(), None, Some(1.5))]
    };
    assert_eq!(headlines(&store), shown("mine"));
    let index = "(SELECT 1 FROM sqlite_schema WHERE name IN ('by_parent', 'by_hours'))";
    assert_eq!(count(&store, index), 1, "an index on a field that is gone does not stop the change");

    // A row in the older version goes under the pending changes, which are older too, and whose payload is as it was.
    let sealed = outbox(&store);
    assert_eq!((sealed[0].v.0, &sealed[0].new["title"]), (1, &"mine".into()));
    let late = [("a", Some(vec![text("late"), text("7"), Value::Null])), ("c", Some(note("C")))];
    store.rows(&rows_line("s", "notes", 7, None, &late)).unwrap();
    commit(&mut store, 7, vec![]);
    assert_eq!(headlines(&store)[..2], shown("mine")[..2]);
    assert_eq!(headlines(&store)[2], ("c".into(), Some("C".into()), Some(1.5)));
    commit(&mut store, 8, vec![receipt(&sealed[0], Outcome::Rejected)]);
    assert_eq!(headlines(&store)[0], ("a".into(), Some("late".into()), Some(7.0)));
    // The app tries again, in today's fields.
    store.retry(sealed[0].id, &Default::default()).unwrap();
    store.seal().unwrap();
    let again = outbox(&store);
    assert_eq!((again[1].v.0, &again[1].new["headline"], &again[1].new["hours"]), (2, &"mine".into(), &2.5.into()));
}

#[test]
fn fields_change_while_a_hidden_table_fills() {
    let mut store = open();
    store.options.batch_bytes_max = 0;
    begin(&mut store);
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 1, None, &[("a", Some(note("A")))])).unwrap();
    store.install_schema(&changed_notes()).unwrap();
    store.rows(&rows_line("s", "notes", 2, None, &[("b", Some(note("B")))])).unwrap();
    commit(&mut store, 2, vec![]);
    let hours = Some(1.5);
    assert_eq!(headlines(&store), [("a".into(), Some("A".into()), hours), ("b".into(), Some("B".into()), hours)]);
}

#[test]
fn a_field_that_was_of_another_type_while_a_hidden_table_filled_is_asked_for_again() {
    let retyped = |version: u32, kind: FieldType| {
        let mut schema = notes();
        schema.version = omctl_protocol::SchemaVersion(version);
        schema.fields[0] = field("title", kind);
        schema
    };
    let mut store = open();
    store.options.batch_bytes_max = 0;
    begin(&mut store);
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 1, None, &[("a", Some(note("A")))])).unwrap();
    store.install_schema(&retyped(2, FieldType::Int)).unwrap();
    let late = rows_line("s", "notes", 2, None, &[("b", Some(vec![Value::Int(7), Value::Null, Value::Null]))]);
    store.rows(&late.replace("\"v\":1", "\"v\":2")).unwrap();
    store.install_schema(&retyped(3, FieldType::Text)).unwrap();
    let outcome = commit(&mut store, 2, vec![]);
    assert_eq!(titles(&store), [("a".into(), None), ("b".into(), Some("7".into()))]);
    assert_eq!(outcome.in_doubt, ["s".into()]);
    let asked = &store.hello(None, false, false).unwrap().scopes.slices["s"];
    let mut right = omctl_protocol::SliceSums::default();
    right.add("a", hash("notes", "a", &note("A")));
    assert!(!asked.differing(&right).is_empty());
}
