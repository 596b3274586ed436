//! The store against scripted server frames: every statement form, every kind of batch, crashes in between.

use omctl_protocol::frame::{Commit, GainedScope, Scopes, Slices, Welcome};
use omctl_protocol::hash::slice_of;
use omctl_protocol::{
    AccountId, AssignedBy, BootId, ChannelSchema, DeviceId, Epoch, Field, FieldType, KeyColumn, KeyRule, Life,
    Mutation, Outcome, Receipt, Value, value::encode_body,
};
use uuid::Uuid;

use super::*;

pub(crate) fn field(name: &str, kind: FieldType) -> Field {
    Field {
        name: name.into(),
        kind,
        column: None,
        values: vec![],
        to: None,
        required: false,
        max_length: None,
        default: None,
        conflict: Default::default(),
        read_only: false,
    }
}

/// `notes(title, hours, parent → notes)`, the id is the key.
pub(crate) fn notes() -> ChannelSchema {
    let parent =
        Field { to: Some("notes".into()), column: Some("parent_id".into()), ..field("parent", FieldType::Ref) };
    let hours = Field { default: Some(serde_json::json!("1.5")), ..field("hours", FieldType::Decimal) };
    ChannelSchema {
        channel: "notes".into(),
        version: omctl_protocol::SchemaVersion(1),
        key: KeyRule { assigned_by: AssignedBy::Device, columns: vec![KeyColumn { column: "id".into(), field: None }] },
        fields: vec![field("title", FieldType::Text), hours, parent],
        writable: true,
        atomic: Some("shop".into()),
    }
}

/// `tickets(number, n, stamp)`: the backend assigns the key, `stamp` is read-only.
fn tickets() -> ChannelSchema {
    let stamp = Field { read_only: true, ..field("stamp", FieldType::Text) };
    ChannelSchema {
        channel: "tickets".into(),
        version: omctl_protocol::SchemaVersion(1),
        key: KeyRule {
            assigned_by: AssignedBy::Backend,
            columns: vec![KeyColumn { column: "number".into(), field: Some("number".into()) }],
        },
        fields: vec![field("number", FieldType::Int), field("n", FieldType::Int), stamp],
        writable: true,
        atomic: None,
    }
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.into())
}

pub(crate) fn note(title: &str) -> Vec<Value> {
    vec![text(title), text("1.5"), Value::Null]
}

pub(crate) fn hash(channel: &str, id: &str, values: &[Value]) -> RowHash {
    RowHash::of(&channel.into(), &id.into(), Life(1), &encode_body(values))
}

/// A `rows` frame; a record without values is a tombstone.
pub(crate) fn rows_line(
    scope: &str,
    channel: &str,
    position: u64,
    sum: Option<RowHash>,
    rows: &[(&str, Option<Vec<Value>>)],
) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(id, values)| match values {
            Some(values) => {
                let body = String::from_utf8(encode_body(values)).unwrap();
                format!("[\"{id}\",1,\"{}\",{body}]", hash(channel, id, values))
            }
            None => format!("[\"{id}\",1,null,null]"),
        })
        .collect();
    let sum = sum.map(|sum| format!(",\"sum\":\"{sum}\"")).unwrap_or_default();
    format!(
        "{{\"rows\":{{\"scope\":\"{scope}\",\"channel\":\"{channel}\",\"v\":1,\"position\":{position}{sum},\"rows\":[{}]}}}}",
        rows.join(",")
    )
}

pub(super) fn leave_line(scope: &str, channel: &str, position: u64, ids: &[&str]) -> String {
    format!(
        "{{\"leave\":{{\"scope\":\"{scope}\",\"channel\":\"{channel}\",\"position\":{position},\"ids\":{}}}}}",
        serde_json::to_string(ids).unwrap()
    )
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        protocol: 1,
        epoch: Epoch(Uuid::from_u128(1)),
        boot: BootId(Uuid::from_u128(2)),
        position: Position(0),
        accepted: Seq(0),
        renew: false,
        reset: false,
        kept: None,
        list_scopes: false,
        lease_s: None,
    }
}

pub(super) fn gained(scope: &str, channel: &str) -> Scopes {
    Scopes {
        gained: vec![GainedScope { scope: scope.into(), channel: channel.into() }],
        lost: vec![],
        digest: format!("with {scope}"),
    }
}

/// A `slices` frame for the slices of these records.
pub(super) fn slices(scope: &str, position: u64, ids: &[&str]) -> Slices {
    let numbers: std::collections::BTreeSet<u8> = ids.iter().map(|id| slice_of(id)).collect();
    Slices {
        scope: scope.into(),
        channel: "notes".into(),
        position: Position(position),
        slices: numbers.into_iter().collect(),
    }
}

pub(super) fn open() -> Store {
    let options = StoreOptions { entropy: Entropy::seeded(1), ..StoreOptions::default() };
    let mut store = Store::from_connection(Connection::open_in_memory().unwrap(), options).unwrap();
    store.activate(DeviceId(Uuid::from_u128(3)), AccountId(Uuid::from_u128(4))).unwrap();
    store.tell_time(1_700_000_000_000);
    store.install_schema(&notes()).unwrap();
    store.install_schema(&tickets()).unwrap();
    store
}

pub(super) fn begin(store: &mut Store) {
    store.hello(None, false, false).unwrap();
    let accepted = store.settled_up_to().unwrap();
    assert_eq!(store.welcome(&Welcome { accepted, ..welcome() }).unwrap(), Welcomed::Live);
}

pub(super) fn commit(store: &mut Store, position: u64, receipts: Vec<Receipt>) -> CommitOutcome {
    store.commit(&Commit { position: Position(position), receipts, sums: None }).unwrap()
}

/// A store with records `a` and `b` of scope `s`.
pub(super) fn synced() -> Store {
    let mut store = open();
    begin(&mut store);
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 5, None, &[("a", Some(note("A"))), ("b", Some(note("B")))])).unwrap();
    commit(&mut store, 5, vec![]);
    store
}

pub(super) fn receipt(mutation: &Mutation, outcome: Outcome) -> Receipt {
    Receipt {
        seq: mutation.seq,
        id: mutation.id,
        outcome,
        code: (outcome == Outcome::Rejected).then(|| "exists".into()),
        message: None,
        field: None,
        position: None,
    }
}

pub(super) fn run(store: &mut Store, sql: &str) -> Write {
    store.write(|tx| tx.execute_batch(sql)).unwrap().1
}

pub(super) fn titles(store: &Store) -> Vec<(String, Option<String>)> {
    let mut statement = store.connection().prepare("SELECT id, title FROM notes ORDER BY id").unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

pub(super) fn outbox(store: &Store) -> Vec<Mutation> {
    let payloads = store.payloads_after(Seq(0), 10_000, usize::MAX).unwrap();
    payloads.iter().map(|(_, payload)| serde_json::from_str(payload).unwrap()).collect()
}

pub(super) fn count(store: &Store, table: &str) -> i64 {
    store.connection().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

pub(super) fn pairs(list: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
    list.iter().map(|(id, title)| ((*id).into(), Some((*title).into()))).collect()
}

#[test]
fn a_row_without_an_id_gets_a_uuid_v7_and_its_defaults() {
    let mut store = open();
    run(&mut store, "INSERT INTO notes (title) VALUES ('x')");
    let (id, hours): (String, String) =
        store.connection().query_row("SELECT id, hours FROM notes", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);
    assert_eq!(Uuid::parse_str(&id).unwrap().get_variant(), uuid::Variant::RFC4122);
    assert_eq!((id.to_lowercase(), hours.as_str()), (id.clone(), "1.5"));
    store.seal().unwrap();
    let sealed = outbox(&store);
    assert_eq!((sealed[0].record.as_str(), sealed[0].op), (id.as_str(), Operation::Create));
    assert_eq!(sealed[0].new["hours"], "1.5");
    assert_eq!(sealed[0].id.0.get_version_num(), 7);
    assert_eq!(sealed[0].at, Some(1_700_000_000_000));
    // A NULL that the app writes itself is no default.
    run(&mut store, "INSERT INTO notes (id, hours) VALUES ('n', NULL)");
    store.seal().unwrap();
    let new = &outbox(&store)[1].new;
    assert!(new["hours"].is_null() && !new.contains_key("title"), "{new:?}");
}

#[test]
fn every_statement_form_is_captured_as_what_it_did() {
    let forms: [(&str, &[(&str, Operation)]); 12] = [
        ("INSERT OR REPLACE INTO notes (id, title) VALUES ('a', 'A2')", &[("a", Operation::Update)]),
        ("REPLACE INTO notes (id, title) VALUES ('n', 'N')", &[("n", Operation::Create)]),
        ("INSERT OR IGNORE INTO notes (id, title) VALUES ('a', 'no'), ('n', 'N')", &[("n", Operation::Create)]),
        (
            "INSERT INTO notes (id, title) VALUES ('a', 'up'), ('n', 'N') ON CONFLICT (id) DO UPDATE SET title = excluded.title",
            &[("a", Operation::Update), ("n", Operation::Create)],
        ),
        ("INSERT INTO notes (id, title) VALUES ('a', 'x') ON CONFLICT DO NOTHING", &[]),
        ("UPDATE notes SET title = title", &[]),
        ("UPDATE notes SET title = title || '!'", &[("a", Operation::Update), ("b", Operation::Update)]),
        ("UPDATE OR IGNORE notes SET title = 'z' WHERE id = 'b'", &[("b", Operation::Update)]),
        ("DELETE FROM notes", &[("a", Operation::Delete), ("b", Operation::Delete)]),
        ("INSERT INTO notes (id) SELECT id || '2' FROM notes", &[("a2", Operation::Create), ("b2", Operation::Create)]),
        ("UPDATE notes SET title = 'q' WHERE id = 'a'; UPDATE notes SET title = 'A' WHERE id = 'a'", &[]),
        (
            "DELETE FROM notes WHERE id = 'a'; INSERT INTO notes (id, title) VALUES ('a', 'again')",
            &[("a", Operation::Delete), ("a", Operation::Create)],
        ),
    ];
    for (sql, expected) in forms {
        let mut store = synced();
        run(&mut store, sql);
        let seen = titles(&store);
        store.seal().unwrap();
        let found: Vec<_> = outbox(&store).into_iter().map(|m| (m.record.as_str().to_owned(), m.op)).collect();
        let expected: Vec<_> = expected.iter().map(|(id, op)| ((*id).to_owned(), *op)).collect();
        assert_eq!(found, expected, "{sql}");
        assert_eq!(titles(&store), seen, "{sql}");
        // A statement that was ignored leaves a base behind until the next session begins.
        begin(&mut store);
        let bases: std::collections::BTreeSet<_> = found.iter().map(|(id, _)| id).collect();
        assert_eq!(count(&store, "om_base_notes"), bases.len() as i64, "{sql}");
        assert_eq!(count(&store, "om_cap_notes"), 0);
    }
}

#[test]
fn an_update_sends_old_and_new_of_the_changed_fields_only() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET hours = '2.50' WHERE id = 'a'");
    store.seal().unwrap();
    let sealed = outbox(&store);
    assert_eq!(serde_json::to_value(&sealed[0].old).unwrap(), serde_json::json!({"hours": "1.5"}));
    assert_eq!(serde_json::to_value(&sealed[0].new).unwrap(), serde_json::json!({"hours": "2.5"}));
    run(&mut store, "DELETE FROM notes WHERE id = 'b'");
    store.seal().unwrap();
    let expected = serde_json::json!({"title": "B", "hours": "1.5", "parent": null});
    assert_eq!(serde_json::to_value(&outbox(&store)[1].old).unwrap(), expected);
}

#[test]
fn identity_and_fixed_fields_cannot_be_changed() {
    let mut store = open();
    begin(&mut store);
    store.scopes(&gained("t", "tickets")).unwrap();
    let row = vec![Value::Int(7), Value::Int(1), text("s")];
    store.rows(&rows_line("t", "tickets", 1, None, &[("x", Some(row))])).unwrap();
    commit(&mut store, 1, vec![]);
    for sql in [
        "UPDATE tickets SET id = 'y'",
        "UPDATE OR REPLACE tickets SET id = 'y'",
        "UPDATE tickets SET number = 8",
        "UPDATE tickets SET stamp = 'mine'",
        "INSERT OR REPLACE INTO tickets (id, number) VALUES ('x', 8)",
        "INSERT INTO tickets (id) VALUES (NULL)",
        "INSERT OR IGNORE INTO tickets (id) VALUES (x'00')",
        "INSERT INTO tickets (id) VALUES ('')",
    ] {
        assert!(store.write(|tx| tx.execute_batch(sql)).is_err(), "{sql}");
    }
    assert_eq!(store.stats().unwrap().pending, 0);
    run(&mut store, "REPLACE INTO tickets (id, n) VALUES ('x', 2)");
    store.seal().unwrap();
    let sealed = outbox(&store);
    assert_eq!(serde_json::to_value(&sealed[0].new).unwrap(), serde_json::json!({"n": "2"}));
    let kept: (i64, i64, String) = store
        .connection()
        .query_row("SELECT number, n, stamp FROM tickets", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap();
    assert_eq!(kept, (7, 2, "s".into()));
}

#[test]
fn a_value_of_the_wrong_type_is_refused_here_and_blocks_nothing() {
    let mut store = synced();
    let bad = run(&mut store, "UPDATE notes SET hours = 'many' WHERE id = 'a'");
    run(&mut store, "UPDATE notes SET title = 'fine' WHERE id = 'b'");
    store.seal().unwrap();
    assert_eq!(outbox(&store).len(), 1);
    let rejected = store.rejected().unwrap();
    assert_eq!((rejected[0].code.as_str(), rejected[0].field.as_deref()), ("bad_value", Some("hours")));
    assert!(matches!(store.answers(bad).unwrap().unwrap().as_slice(), [Answer::RefusedHere(_)]));
    let hours: String = store.connection().query_row("SELECT hours FROM notes WHERE id='a'", [], |r| r.get(0)).unwrap();
    assert_eq!(hours, "1.5");
    let edits = [("hours".to_owned(), serde_json::json!("3"))].into();
    store.retry(rejected[0].mutation.id, &edits).unwrap();
    store.seal().unwrap();
    assert_eq!(outbox(&store)[1].new["hours"], "3");
    assert!(store.rejected().unwrap().is_empty());
}

#[test]
fn server_rows_go_under_pending_changes_and_the_receipt_decides() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'a'");
    run(&mut store, "INSERT INTO notes (id, title) VALUES ('c', 'C')");
    store.rows(&rows_line("s", "notes", 6, None, &[("a", Some(note("theirs")))])).unwrap();
    commit(&mut store, 6, vec![]);
    assert_eq!(titles(&store), pairs(&[("a", "mine"), ("b", "B"), ("c", "C")]));
    let sealed = outbox(&store);
    commit(&mut store, 7, vec![receipt(&sealed[0], Outcome::Rejected)]);
    assert_eq!(titles(&store), pairs(&[("a", "theirs"), ("b", "B"), ("c", "C")]));
    assert_eq!(store.rejected().unwrap()[0].code, "exists");
    store.rows(&rows_line("s", "notes", 8, None, &[("c", Some(note("C merged")))])).unwrap();
    commit(&mut store, 8, vec![receipt(&sealed[1], Outcome::Merged)]);
    assert_eq!(titles(&store), pairs(&[("a", "theirs"), ("b", "B"), ("c", "C merged")]));
    assert_eq!((count(&store, "om_base_notes"), count(&store, "om_outbox")), (0, 0));
    assert_eq!(store.settled_up_to().unwrap(), Seq(2));
}

#[test]
fn nothing_is_visible_before_the_commit_and_a_record_goes_with_its_last_scope() {
    let mut store = synced();
    store.scopes(&gained("s2", "notes")).unwrap();
    store.rows(&rows_line("s2", "notes", 9, None, &[("b", Some(note("B"))), ("d", Some(note("D")))])).unwrap();
    assert_eq!(titles(&store).len(), 2);
    commit(&mut store, 9, vec![]);
    assert_eq!(titles(&store).len(), 3);
    let leave: omctl_protocol::frame::Leave = serde_json::from_value(
        serde_json::json!({"scope": "s", "channel": "notes", "position": 10, "ids": ["a", "b"]}),
    )
    .unwrap();
    store.leave(&leave, &leave_line("s", "notes", 10, &["a", "b"])).unwrap();
    commit(&mut store, 10, vec![]);
    assert_eq!(titles(&store), pairs(&[("b", "B"), ("d", "D")]));
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'd'");
    store.scopes(&Scopes { gained: vec![], lost: vec!["s2".into()], digest: "one".into() }).unwrap();
    commit(&mut store, 11, vec![]);
    assert_eq!(titles(&store), []);
    let sealed = outbox(&store);
    assert_eq!(sealed.len(), 1);
    commit(&mut store, 12, vec![receipt(&sealed[0], Outcome::Rejected)]);
    assert_eq!((titles(&store), count(&store, "om_base_notes")), (vec![], 0));
}

#[test]
fn a_first_sync_fills_a_hidden_table_and_keeps_local_writes() {
    let mut store = open();
    store.options.batch_bytes_max = 0;
    begin(&mut store);
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 1, None, &[("a", Some(note("A")))])).unwrap();
    run(&mut store, "INSERT INTO notes (id, title) VALUES ('mine', 'M')");
    run(&mut store, "CREATE INDEX by_title ON notes (title)");
    assert_eq!((count(&store, "om_fill_notes"), count(&store, "notes")), (1, 1));

    // The process dies; the next one goes on from what is durable.
    let conn = store.into_connection();
    let mut store = Store::from_connection(conn, StoreOptions::default()).unwrap();
    let hello = store.hello(None, false, false).unwrap();
    assert_eq!(hello.scopes.list, Some(vec![("s".into(), Some(Position(1)))]));
    assert_eq!(hello.epoch, Some(welcome().epoch));
    store.welcome(&welcome()).unwrap();
    store.rows(&rows_line("s", "notes", 2, None, &[("b", Some(note("B"))), ("mine", Some(note("M there")))])).unwrap();
    commit(&mut store, 2, vec![]);
    assert_eq!(titles(&store), pairs(&[("a", "A"), ("b", "B"), ("mine", "M")]));
    let indexes = "(SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name IN ('by_title', 'om_ix_notes_parent'))";
    assert_eq!(count(&store, indexes), 2);
    run(&mut store, "UPDATE notes SET title = 'A2' WHERE id = 'a'");
    store.seal().unwrap();
    assert_eq!(outbox(&store).len(), 2);
    let hello = store.hello(None, false, false).unwrap();
    assert_eq!((hello.position, hello.scopes.list), (Position(2), Some(vec![("s".into(), None)])));
}

#[test]
fn a_later_batch_is_staged_and_survives_a_crash() {
    let mut store = synced();
    store.options.batch_bytes_max = 0;
    store.rows(&rows_line("s", "notes", 6, None, &[("a", Some(note("A6")))])).unwrap();
    store.rows(&rows_line("s", "notes", 7, None, &[("b", None)])).unwrap();
    assert_eq!((count(&store, "om_stage"), titles(&store)), (2, pairs(&[("a", "A"), ("b", "B")])));
    let mut store = Store::from_connection(store.into_connection(), StoreOptions::default()).unwrap();
    let hello = store.hello(None, false, false).unwrap();
    assert_eq!((hello.position, &hello.scopes.digest), (Position(5), &None));
    assert_eq!(hello.scopes.list, Some(vec![("s".into(), Some(Position(7)))]));
    store.welcome(&welcome()).unwrap();
    let sum = hash("notes", "a", &note("A6"));
    store.rows(&rows_line("s", "notes", 8, Some(sum), &[])).unwrap();
    let outcome = commit(&mut store, 8, vec![]);
    assert_eq!((outcome.in_doubt, titles(&store)), (vec![], pairs(&[("a", "A6")])));
    assert_eq!(store.hello(None, false, false).unwrap().scopes.digest.as_deref(), Some("with s"));
}

#[test]
fn a_scope_that_is_not_named_again_is_dropped() {
    let mut store = synced();
    store.scopes(&gained("s", "notes")).unwrap();
    begin(&mut store);
    commit(&mut store, 7, vec![]);
    assert_eq!(titles(&store), []);
}

#[test]
fn a_new_incarnation_renumbers_and_keeps_ids() {
    let mut store = synced();
    for n in 0..3 {
        run(&mut store, &format!("UPDATE notes SET title = '{n}' WHERE id = 'a'"));
        store.seal().unwrap();
    }
    let before = outbox(&store);
    let first = store.hello(None, false, false).unwrap().incarnation;
    commit(&mut store, 6, vec![receipt(&before[0], Outcome::Applied)]);
    assert_eq!(store.welcome(&Welcome { renew: true, ..welcome() }).unwrap(), Welcomed::HelloAgain);
    let after = outbox(&store);
    assert_eq!(
        after.iter().map(|m| (m.seq, m.id)).collect::<Vec<_>>(),
        [(Seq(1), before[1].id), (Seq(2), before[2].id)]
    );
    let hello = store.hello(None, false, false).unwrap();
    assert_ne!(hello.incarnation, first);
    assert_eq!(hello.last_seq, Seq(2));
}

#[test]
fn the_backend_view_shows_keys_references_and_columns_of_the_backend() {
    let mut store = open();
    let mut child = notes();
    child.channel = "lines".into();
    child.fields[2].to = Some("tickets".into());
    store.install_schema(&child).unwrap();
    begin(&mut store);
    store.scopes(&gained("t", "tickets")).unwrap();
    store.scopes(&gained("l", "lines")).unwrap();
    store
        .rows(&rows_line("t", "tickets", 1, None, &[("x", Some(vec![Value::Int(7), Value::Null, Value::Null]))]))
        .unwrap();
    let line = vec![text("T"), Value::Null, text("x")];
    store.rows(&rows_line("l", "lines", 1, None, &[("1", Some(line))])).unwrap();
    commit(&mut store, 1, vec![]);
    store.create_backend_views().unwrap();
    let mut statement = store.connection().prepare("SELECT * FROM backend_lines").unwrap();
    assert_eq!(statement.column_names().collect::<Vec<_>>(), ["id", "title", "hours", "parent_id"]);
    let row: (String, i64) = statement.query_row([], |row| Ok((row.get(0)?, row.get(3)?))).unwrap();
    assert_eq!(row, ("1".into(), 7));
}

#[test]
fn groups_tell_what_became_of_a_write_even_when_it_was_joined() {
    let mut store = synced();
    let first = run(&mut store, "UPDATE notes SET title = '1' WHERE id = 'a'");
    let second = run(&mut store, "UPDATE notes SET title = '2' WHERE id = 'a'");
    assert_eq!(store.answers(second).unwrap(), None);
    store.seal().unwrap();
    assert_eq!(store.answers(second).unwrap(), None);
    let sealed = outbox(&store);
    assert_eq!(sealed.len(), 1);
    commit(&mut store, 6, vec![receipt(&sealed[0], Outcome::Applied)]);
    for write in [first, second] {
        assert!(matches!(store.answers(write).unwrap().unwrap().as_slice(), [Answer::Receipt(_)]));
    }
}

#[test]
fn a_staged_frame_without_sense_is_asked_for_again() {
    let mut store = synced();
    store.options.batch_bytes_max = 0;
    store.rows(&rows_line("s", "notes", 6, None, &[("a", Some(vec![text("too short")]))])).unwrap();
    let bad = store.commit(&Commit { position: Position(6), receipts: vec![], sums: None });
    assert!(matches!(bad, Err(StoreError::BadRow { .. })));
    begin(&mut store);
    assert_eq!(store.hello(None, true, false).unwrap().scopes.list, Some(vec![("s".into(), None)]));
    store.welcome(&welcome()).unwrap();
    store.rows(&rows_line("s", "notes", 6, None, &[("a", Some(note("A6")))])).unwrap();
    commit(&mut store, 6, vec![]);
    assert_eq!(titles(&store), pairs(&[("a", "A6"), ("b", "B")]));
}

#[test]
fn one_seed_makes_the_same_ids_everywhere() {
    let sealed = || {
        let mut store = open();
        run(&mut store, "INSERT INTO notes (title) VALUES ('x'), ('y')");
        store.seal().unwrap();
        (outbox(&store), store.hello(None, false, false).unwrap().incarnation)
    };
    assert_eq!(sealed(), sealed());
}

#[test]
fn views_survive_a_reset_and_new_fields() {
    let mut store = synced();
    store.create_backend_views().unwrap();
    store.hello(None, false, false).unwrap();
    store.welcome(&Welcome { reset: true, ..welcome() }).unwrap();
    begin(&mut store);
    store.slices(&slices("s", 1, &["a", "b"])).unwrap();
    store.rows(&rows_line("s", "notes", 1, None, &[("z", Some(note("Z")))])).unwrap();
    commit(&mut store, 1, vec![]);
    assert_eq!(count(&store, "backend_notes"), 1);
    let mut schema = notes();
    schema.version = omctl_protocol::SchemaVersion(2);
    schema.fields.push(field("pinned", FieldType::Bool));
    store.install_schema(&schema).unwrap();
    let columns = "(SELECT 1 FROM pragma_table_info('backend_notes'))";
    assert_eq!((count(&store, "backend_notes"), count(&store, columns)), (1, 5));
}

#[test]
fn gained_and_lost_scopes_take_effect_together() {
    let mut store = synced();
    let both = Scopes { lost: vec!["s".into()], ..gained("t", "notes") };
    store.scopes(&both).unwrap();
    store.rows(&rows_line("t", "notes", 6, None, &[("b", Some(note("B"))), ("c", Some(note("C")))])).unwrap();
    assert_eq!(titles(&store), pairs(&[("a", "A"), ("b", "B")]));
    commit(&mut store, 6, vec![]);
    assert_eq!(titles(&store), pairs(&[("b", "B"), ("c", "C")]));
    assert_eq!(store.held(&"notes".into()).unwrap().len(), 2);
}

/// Without a setting of its own, SQLite compiles a statement anew whenever its LIMIT is bound.
#[test]
fn a_kept_statement_with_a_limit_is_compiled_once() {
    let store = synced();
    let mut statement = store.connection().prepare("SELECT id FROM notes ORDER BY id LIMIT ?1").unwrap();
    for limit in 1..5 {
        assert!(statement.query([limit]).unwrap().next().unwrap().is_some());
    }
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}
