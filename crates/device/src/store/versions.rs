//! Tests of fields that come, go and come back while rows and mutations of other versions are held.

use omctl_protocol::{ChannelSchema, Outcome, SchemaVersion};

use super::tests::*;
use super::*;

/// `notes` of another version, with these fields of it and `grade`, whose default is 5, if asked for.
fn version(version: u32, fields: &[&str], grade: bool) -> ChannelSchema {
    let mut schema = notes();
    schema.version = SchemaVersion(version);
    schema.fields.retain(|field| fields.contains(&field.name.as_str()));
    if grade {
        let default = Some(serde_json::json!("5"));
        schema.fields.insert(0, Field { default, ..field("grade", omctl_protocol::FieldType::Int) });
    }
    schema
}

fn grades(store: &Store) -> Vec<(String, Option<i64>)> {
    let mut statement = store.connection().prepare("SELECT id, grade FROM notes ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_new_field_has_its_default_also_under_pending_changes_of_an_older_version() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'a'; INSERT INTO notes (id) VALUES ('n')");
    store.seal().unwrap();
    let sealed = outbox(&store);
    store.install_schema(&version(2, &["title", "hours", "parent"], true)).unwrap();
    let shown = [("a".to_owned(), Some(5)), ("b".to_owned(), Some(5)), ("n".to_owned(), Some(5))];
    assert_eq!(grades(&store), shown);
    // The server's row is still of the version that knows no grade.
    let rows = [("a", Some(note("mine"))), ("n", Some(note("N")))];
    store.rows(&rows_line("s", "notes", 6, None, &rows)).unwrap();
    commit(&mut store, 6, vec![]);
    assert_eq!(grades(&store), shown);
    commit(&mut store, 6, sealed.iter().map(|m| receipt(m, Outcome::Applied)).collect());
    assert_eq!(grades(&store), shown);
}

#[test]
fn a_field_that_was_away_is_asked_for_again() {
    let mut store = synced();
    let away = version(2, &["title"], false);
    store.install_schema(&away).unwrap();
    assert!(store.hello(None, false, false).unwrap().scopes.slices.is_empty());
    // One row comes in the version between: nothing of it is missing.
    let line = rows_line("s", "notes", 6, None, &[("b", Some(vec![text("B2")]))]).replace("\"v\":1", "\"v\":2");
    store.rows(&line).unwrap();
    commit(&mut store, 6, vec![]);
    store.install_schema(&version(3, &["title", "hours", "parent"], false)).unwrap();
    let hours = "SELECT group_concat(coalesce(hours, '-'), ' ') FROM notes";
    let shown = |store: &Store| store.connection().query_row(hours, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(shown(&store), "- -");
    let right = [("a", hash("notes", "a", &note("A"))), ("b", hash("notes", "b", &[text("B2")]))];
    let mut sums = omctl_protocol::SliceSums::default();
    right.iter().for_each(|(id, hash)| sums.add(id, *hash));
    // So is every row of another version: the same body may mean something else by now, and has the same hash.
    let hello = store.hello(None, false, false).unwrap();
    let mut differing = hello.scopes.slices["s"].differing(&sums);
    differing.sort_unstable();
    assert_eq!(differing, slices("s", 0, &["a", "b"]).slices);
    store.welcome(&welcome()).unwrap();
    store.slices(&slices("s", 7, &["a"])).unwrap();
    let sum = RowHash(right.iter().fold(0u128, |sum, (_, hash)| sum.wrapping_add(hash.0)));
    store.rows(&rows_line("s", "notes", 7, Some(sum), &[("a", Some(note("A")))])).unwrap();
    assert_eq!(commit(&mut store, 7, vec![]).in_doubt, []);
    assert_eq!(shown(&store), "1.5 -");
    assert_eq!(count(&store, "notes"), 2);
}
