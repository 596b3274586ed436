//! Tests of what mends a device that is not in step: resets, slices, and settled mutations that are offered again.

use omctl_protocol::frame::{Hello, Scopes, Welcome};
use omctl_protocol::hash::slice_of;
use omctl_protocol::{Mutation, Outcome, Receipt, SliceSums, SumsDigest, Value};

use super::tests::*;
use super::*;

fn again(store: &mut Store, welcome: &Welcome) -> Hello {
    store.hello(None, false, false).unwrap();
    assert_eq!(store.welcome(welcome).unwrap(), Welcomed::HelloAgain);
    store.hello(None, false, false).unwrap()
}

fn reset() -> Welcome {
    Welcome { reset: true, epoch: omctl_protocol::Epoch(uuid::Uuid::from_u128(77)), ..welcome() }
}

fn slice_sums(rows: &[(&str, Vec<Value>)]) -> SliceSums {
    let mut sums = SliceSums::default();
    for (id, values) in rows {
        sums.add(id, hash("notes", id, values));
    }
    sums
}

fn sum_of(rows: &[(&str, Vec<Value>)]) -> RowHash {
    let sums = rows.iter().map(|(id, values)| hash("notes", id, values));
    RowHash(sums.fold(omctl_protocol::ScopeSum::default(), omctl_protocol::ScopeSum::plus).0)
}

fn at(receipt: Receipt, position: u64) -> Receipt {
    Receipt { position: Some(Position(position)), ..receipt }
}

fn reopen(store: Store) -> Store {
    Store::from_connection(store.into_connection(), StoreOptions::default()).unwrap()
}

#[test]
fn a_reset_keeps_what_is_held_and_reconciles_it_by_slices() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'a'");
    store.hello(None, false, false).unwrap();
    assert_eq!(store.welcome(&reset()).unwrap(), Welcomed::HelloAgain);
    assert_eq!(titles(&store), pairs(&[("a", "mine"), ("b", "B")]));
    // The process dies between the two `hello`s.
    let mut store = reopen(store);
    let hello = store.hello(None, false, false).unwrap();
    assert_eq!((hello.position, hello.epoch, hello.kept), (Position(0), Some(reset().epoch), None));
    assert_eq!(hello.scopes.list, Some(vec![("s".into(), None)]));
    assert_eq!(hello.scopes.slices["s"], slice_sums(&[("a", note("A")), ("b", note("B"))]));

    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    store.slices(&slices("s", 3, &["a", "b"])).unwrap();
    let rows = [("a", note("restored")), ("z", note("Z"))];
    let sum = sum_of(&rows);
    let sent: Vec<_> = rows.iter().map(|(id, values)| (*id, Some(values.clone()))).collect();
    store.rows(&rows_line("s", "notes", 3, Some(sum), &sent)).unwrap();
    assert_eq!(titles(&store), pairs(&[("a", "mine"), ("b", "B")]), "nothing is visible before the commit");
    assert_eq!(commit(&mut store, 3, vec![]).in_doubt, []);
    assert_eq!(titles(&store), pairs(&[("a", "mine"), ("z", "Z")]));
    let sealed = outbox(&store);
    commit(&mut store, 4, vec![receipt(&sealed[0], Outcome::Rejected)]);
    assert_eq!(titles(&store), pairs(&[("a", "restored"), ("z", "Z")]));
    assert!(store.hello(None, true, false).unwrap().scopes.slices.is_empty(), "the scope is in doubt no longer");
}

#[test]
fn slices_replace_one_scope_in_these_slices_only() {
    let mut store = synced();
    store.scopes(&gained("t", "notes")).unwrap();
    store.rows(&rows_line("t", "notes", 6, None, &[("a", Some(note("A"))), ("c", Some(note("C")))])).unwrap();
    commit(&mut store, 6, vec![]);
    assert_ne!(slice_of("a"), slice_of("b"));
    again(&mut store, &reset());
    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    store.slices(&slices("s", 7, &["a"])).unwrap();
    store.slices(&slices("t", 7, &[])).unwrap();
    let theirs =
        [("s".into(), sum_of(&[("b", note("B"))])), ("t".into(), sum_of(&[("a", note("A")), ("c", note("C"))]))];
    let theirs = theirs.map(|(key, sum)| (key, omctl_protocol::ScopeSum(sum.0)));
    let sums = Some(SumsDigest::of(theirs.iter().map(|(key, sum)| (key, *sum))));
    let frame = omctl_protocol::frame::Commit { position: Position(7), receipts: vec![], sums };
    assert_eq!(store.commit(&frame).unwrap().in_doubt, []);
    assert_eq!(titles(&store), pairs(&[("a", "A"), ("b", "B"), ("c", "C")]), "another scope holds `a` still");
    let held: Vec<(String, i64)> = {
        let mut statement = store.connection().prepare("SELECT id, scope FROM om_row_notes ORDER BY id").unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(held.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn staged_slices_count_in_the_next_hello_and_take_effect_with_it() {
    let mut store = synced();
    store.options.batch_bytes_max = 0;
    again(&mut store, &reset());
    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    store.slices(&slices("s", 7, &["a", "b"])).unwrap();
    store.rows(&rows_line("s", "notes", 7, None, &[("a", Some(note("A7")))])).unwrap();
    assert_eq!((count(&store, "om_stage"), titles(&store)), (2, pairs(&[("a", "A"), ("b", "B")])));
    let mut store = reopen(store);
    let hello = store.hello(None, false, false).unwrap();
    assert_eq!(hello.scopes.list, Some(vec![("s".into(), None)]));
    assert_eq!(hello.scopes.slices["s"], slice_sums(&[("a", note("A7"))]));
    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    store.slices(&slices("s", 8, &["b"])).unwrap();
    let sum = sum_of(&[("a", note("A7")), ("b", note("B8"))]);
    store.rows(&rows_line("s", "notes", 8, Some(sum), &[("b", Some(note("B8")))])).unwrap();
    assert_eq!(commit(&mut store, 8, vec![]).in_doubt, []);
    assert_eq!(titles(&store), pairs(&[("a", "A7"), ("b", "B8")]));
}

#[test]
fn a_reset_drops_scopes_that_only_fill_hidden_tables() {
    let mut store = open();
    store.options.batch_bytes_max = 0;
    begin(&mut store);
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 1, None, &[("a", Some(note("A")))])).unwrap();
    assert_eq!(count(&store, "om_fill_notes"), 1);
    let hello = again(&mut store, &reset());
    assert_eq!((hello.scopes.list, hello.scopes.slices.len()), (Some(vec![]), 0));
    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 2, None, &[("z", Some(note("Z")))])).unwrap();
    commit(&mut store, 2, vec![]);
    assert_eq!(titles(&store), pairs(&[("z", "Z")]));
}

#[test]
fn a_wrong_sum_makes_the_next_hello_give_slice_sums() {
    let mut store = synced();
    store.rows(&rows_line("s", "notes", 6, Some(RowHash(1)), &[("a", Some(note("A6")))])).unwrap();
    assert_eq!(commit(&mut store, 6, vec![]).in_doubt, ["s".into()]);
    assert_eq!(store.stats().unwrap().sum_mismatches, 1);
    assert_eq!(titles(&store), pairs(&[("a", "A6"), ("b", "B")]), "what is held stays visible");
    let hello = store.hello(None, false, false).unwrap();
    assert_eq!((hello.position, hello.scopes.list), (Position(6), Some(vec![("s".into(), None)])));
    assert_eq!(hello.scopes.slices["s"], slice_sums(&[("a", note("A6")), ("b", note("B"))]));
    store.welcome(&welcome()).unwrap();
    store.slices(&slices("s", 7, &["b"])).unwrap();
    store.rows(&rows_line("s", "notes", 7, Some(hash("notes", "a", &note("A6"))), &[])).unwrap();
    assert_eq!(commit(&mut store, 7, vec![]).in_doubt, []);
    assert_eq!(titles(&store), pairs(&[("a", "A6")]));
}

#[test]
fn a_wrong_digest_over_all_sums_puts_every_scope_in_doubt() {
    let mut store = synced();
    store.scopes(&gained("t", "notes")).unwrap();
    let frame = omctl_protocol::frame::Commit {
        position: Position(6),
        receipts: vec![],
        sums: Some(SumsDigest::of(std::iter::empty())),
    };
    assert_eq!(store.commit(&frame).unwrap().in_doubt, ["s".into(), "t".into()]);
    let hello = reopen(store).hello(None, false, false).unwrap();
    assert_eq!(hello.scopes.slices.len(), 2);
    assert_eq!(hello.scopes.slices["t"], SliceSums::default());
}

#[test]
fn a_record_that_moves_between_scopes_in_one_commit_is_never_gone() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'b'");
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = gone.clone();
    let count_deletes = move |action, _: &str, table: &str, _| {
        let deleted = action == rusqlite::hooks::Action::SQLITE_DELETE && table == "notes";
        counted.fetch_add(u32::from(deleted), std::sync::atomic::Ordering::Relaxed);
    };
    store.conn.update_hook(Some(count_deletes)).unwrap();
    let both = Scopes { lost: vec!["s".into()], ..gained("t", "notes") };
    store.scopes(&both).unwrap();
    store.rows(&rows_line("t", "notes", 6, None, &[("a", Some(note("A"))), ("b", Some(note("B")))])).unwrap();
    commit(&mut store, 6, vec![]);
    assert_eq!(titles(&store), pairs(&[("a", "A"), ("b", "mine")]));
    assert_eq!(gone.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(store.hello(None, true, false).unwrap().scopes.list, Some(vec![("t".into(), None)]));
}

#[test]
fn a_scope_that_is_lost_and_gained_again_in_one_commit_is_replaced() {
    let mut store = synced();
    store.scopes(&Scopes { lost: vec!["s".into()], ..gained("s", "notes") }).unwrap();
    store.rows(&rows_line("s", "notes", 6, None, &[("b", Some(note("B6")))])).unwrap();
    commit(&mut store, 6, vec![]);
    assert_eq!(titles(&store), pairs(&[("b", "B6")]));
    store.scopes(&Scopes { lost: vec!["s".into()], ..Scopes::default() }).unwrap();
    store.scopes(&gained("s", "notes")).unwrap();
    store.rows(&rows_line("s", "notes", 7, None, &[("c", Some(note("C")))])).unwrap();
    commit(&mut store, 7, vec![]);
    assert_eq!(titles(&store), pairs(&[("c", "C")]));
}

#[test]
fn rights_that_change_while_a_channel_is_first_filled_take_effect_with_its_first_commit() {
    let mut store = synced();
    store.options.batch_bytes_max = 0;
    let mut schema = notes();
    schema.channel = "memos".into();
    store.install_schema(&schema).unwrap();
    store.scopes(&gained("m", "memos")).unwrap();
    store.rows(&rows_line("m", "memos", 6, None, &[("x", Some(note("X"))), ("y", Some(note("Y")))])).unwrap();
    assert_eq!(count(&store, "om_fill_memos"), 2);
    store.scopes(&Scopes { lost: vec!["m".into(), "s".into()], ..gained("n", "memos") }).unwrap();
    store.rows(&rows_line("n", "memos", 7, None, &[("y", Some(note("Y")))])).unwrap();
    assert_eq!((count(&store, "memos"), titles(&store).len()), (0, 2));
    commit(&mut store, 7, vec![]);
    assert_eq!((count(&store, "memos"), titles(&store).len()), (1, 0));
}

/// A device whose mutations `a` (update), `n` (create) and `b` (delete) are settled at 6, 8 and 7, and one of `a` waits.
fn settled_and_waiting() -> (Store, Vec<Mutation>, Write) {
    let mut store = synced();
    let write = run(&mut store, "UPDATE notes SET title = 'A mine' WHERE id = 'a'");
    run(&mut store, "INSERT INTO notes (id, title) VALUES ('n', 'N'); DELETE FROM notes WHERE id = 'b'");
    store.seal().unwrap();
    let sealed = outbox(&store);
    store
        .rows(&rows_line("s", "notes", 8, None, &[("a", Some(note("A mine"))), ("b", None), ("n", Some(note("N")))]))
        .unwrap();
    let receipts = sealed.iter().zip([6, 8, 7]).map(|(m, position)| at(receipt(m, Outcome::Applied), position));
    commit(&mut store, 8, receipts.collect());
    run(&mut store, "UPDATE notes SET title = 'A waits' WHERE id = 'a'");
    store.seal().unwrap();
    (store, sealed, write)
}

#[test]
fn what_was_settled_behind_the_parting_is_offered_again_in_its_order() {
    let (mut store, sealed, write) = settled_and_waiting();
    let waiting = outbox(&store)[0].id;
    let before = store.hello(None, false, false).unwrap().incarnation;
    assert_eq!(store.answers(write).unwrap().unwrap().len(), 1);
    let hello = again(&mut store, &Welcome { kept: Some(Position(6)), ..reset() });
    assert_ne!(hello.incarnation, before);
    assert_eq!((hello.kept, hello.last_seq), (Some(Position(6)), Seq(3)));
    assert_eq!(store.answers(write).unwrap().unwrap().len(), 1, "that receipt still holds");
    let offered: Vec<_> = outbox(&store).into_iter().map(|m| (m.seq.0, m.id, m.again.map(|p| p.0))).collect();
    // As they were written, wherever their effects stand: what one builds on comes before it.
    assert_eq!(offered, [(1, sealed[1].id, Some(8)), (2, sealed[2].id, Some(7)), (3, waiting, None)]);
    assert_eq!(titles(&store), pairs(&[("a", "A waits"), ("n", "N")]));
    assert_eq!(reopen(store).hello(None, false, false).unwrap().kept, Some(Position(6)));
}

#[test]
fn an_offered_mutation_stays_over_the_older_row_until_its_receipt() {
    let (mut store, sealed, write) = settled_and_waiting();
    again(&mut store, &Welcome { kept: Some(Position(5)), ..reset() });
    assert_eq!(store.answers(write).unwrap(), None, "it waits again");
    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    store.slices(&slices("s", 5, &["a", "b", "n"])).unwrap();
    store.rows(&rows_line("s", "notes", 5, None, &[("a", Some(note("A"))), ("b", Some(note("B")))])).unwrap();
    commit(&mut store, 5, vec![]);
    assert_eq!(titles(&store), pairs(&[("a", "A waits"), ("n", "N")]), "nothing that was written is taken back");
    let offered = outbox(&store);
    assert_eq!(offered[0].id, sealed[0].id);
    // The update and the delete are done again; the create is not.
    let rows = [("a", Some(note("A mine"))), ("b", None)];
    store.rows(&rows_line("s", "notes", 9, None, &rows)).unwrap();
    let outcomes = [Outcome::Applied, Outcome::Applied, Outcome::Rejected];
    commit(&mut store, 9, offered.iter().zip(outcomes).map(|(m, outcome)| at(receipt(m, outcome), 9)).collect());
    assert_eq!(titles(&store), pairs(&[("a", "A waits")]));
    assert_eq!((store.answers(write).unwrap().unwrap().len(), store.rejected().unwrap().len()), (1, 1));
    let last = outbox(&store);
    commit(&mut store, 10, vec![receipt(&last[0], Outcome::Rejected)]);
    assert_eq!((titles(&store), count(&store, "om_base_notes")), (pairs(&[("a", "A mine")]), 0));
}

#[test]
fn without_a_parting_nothing_is_offered_and_rejected_writes_never_are() {
    let (mut store, ..) = settled_and_waiting();
    let before = store.hello(None, false, false).unwrap().incarnation;
    let hello = again(&mut store, &reset());
    assert_eq!((hello.incarnation, hello.kept, outbox(&store).len()), (before, None, 1));
    let waiting = outbox(&store);
    store.welcome(&Welcome { reset: false, ..reset() }).unwrap();
    commit(&mut store, 9, vec![at(receipt(&waiting[0], Outcome::Rejected), 9)]);
    let hello = again(&mut store, &Welcome { kept: Some(Position(8)), ..reset() });
    assert_eq!((hello.last_seq, hello.kept), (Seq(0), Some(Position(8))));
}

#[test]
fn an_outbox_with_a_hole_behind_the_watermark_becomes_a_new_incarnation() {
    let (mut store, ..) = settled_and_waiting();
    let before = store.hello(None, false, false).unwrap();
    assert_eq!(store.welcome(&Welcome { accepted: Seq(3), ..welcome() }).unwrap(), Welcomed::Live);
    // The server was set back to before it settled the third, and nothing that it changed since is held here.
    let forgetful = Welcome { accepted: Seq(2), ..welcome() };
    assert_eq!(store.welcome(&forgetful).unwrap(), Welcomed::HelloAgain);
    let hello = store.hello(None, false, false).unwrap();
    assert_ne!(hello.incarnation, before.incarnation);
    assert_eq!((hello.last_seq, outbox(&store)[0].seq), (Seq(1), Seq(1)));
    assert_eq!(store.welcome(&welcome()).unwrap(), Welcomed::Live);
}

#[test]
fn the_parting_is_told_for_as_long_as_something_is_offered() {
    let (mut store, ..) = settled_and_waiting();
    again(&mut store, &Welcome { kept: Some(Position(7)), ..reset() });
    again(&mut store, &Welcome { renew: true, ..welcome() });
    assert_eq!(store.hello(None, false, false).unwrap().kept, Some(Position(7)));
    again(&mut store, &Welcome { kept: Some(Position(9)), ..reset() });
    assert_eq!(store.hello(None, false, false).unwrap().kept, Some(Position(7)));
    store.welcome(&welcome()).unwrap();
    let receipts = outbox(&store).iter().map(|m| receipt(m, Outcome::Applied)).collect();
    commit(&mut store, 10, receipts);
    again(&mut store, &Welcome { renew: true, ..welcome() });
    assert_eq!(store.hello(None, false, false).unwrap().kept, None);
}

#[test]
fn the_parting_is_told_for_as_long_as_something_waits_that_was_written_before_it() {
    let mut store = synced();
    run(&mut store, "UPDATE notes SET title = 'A mine' WHERE id = 'a'");
    again(&mut store, &Welcome { kept: Some(Position(3)), ..reset() });
    again(&mut store, &Welcome { renew: true, ..welcome() });
    assert_eq!(store.hello(None, false, false).unwrap().kept, Some(Position(3)));
    store.seal().unwrap();
    store.welcome(&welcome()).unwrap();
    let receipts = outbox(&store).iter().map(|m| receipt(m, Outcome::Applied)).collect();
    commit(&mut store, 10, receipts);
    again(&mut store, &Welcome { renew: true, ..welcome() });
    assert_eq!(store.hello(None, false, false).unwrap().kept, None);
}

#[test]
fn a_file_of_an_earlier_version_gets_the_columns_it_lacks() {
    let store = synced();
    let conn = store.into_connection();
    conn.execute_batch(
        "ALTER TABLE om_scopes DROP COLUMN reconcile; ALTER TABLE om_row_notes DROP COLUMN v;
         ALTER TABLE om_settled DROP COLUMN n;",
    )
    .unwrap();
    let mut store = Store::from_connection(conn, StoreOptions::default()).unwrap();
    begin(&mut store);
    store.rows(&rows_line("s", "notes", 6, None, &[("b", Some(note("B6")))])).unwrap();
    commit(&mut store, 6, vec![]);
    let versions = "SELECT (SELECT v FROM om_row_notes WHERE id = 'a'), (SELECT v FROM om_row_notes WHERE id = 'b')";
    let found: (i64, i64) = store.connection().query_row(versions, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(found, (0, 1));
}

/// Runs statements behind the triggers' back.
fn damage(store: &Store, sql: &str) {
    let triggers = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
    store.connection().set_db_config(triggers, false).unwrap();
    store.connection().execute_batch(sql).unwrap();
    store.connection().set_db_config(triggers, true).unwrap();
}

#[test]
fn an_audit_finds_what_is_not_as_it_came_and_leaves_the_apps_own_writes_alone() {
    let mut store = synced();
    store.rows(&rows_line("s", "notes", 6, None, &[("c", Some(note("C"))), ("d", Some(note("D")))])).unwrap();
    commit(&mut store, 6, vec![]);
    run(&mut store, "UPDATE notes SET title = 'mine' WHERE id = 'a'; INSERT INTO notes (id) VALUES ('new')");
    assert_eq!(store.audit().unwrap(), Audit { checked: 3, skipped: 1, ..Audit::default() });
    assert_eq!(store.hello(None, false, false).unwrap().scopes.slices.len(), 0);

    damage(
        &store,
        "DELETE FROM notes WHERE id = 'b'; UPDATE notes SET hours = '1.50' WHERE id = 'c';
         INSERT INTO notes (id) VALUES ('foreign');",
    );
    let audit = store.audit().unwrap();
    assert_eq!((audit.checked, audit.damaged, audit.missing, audit.foreign), (2, 1, 1, 1));
    assert_eq!(audit.changed, std::collections::BTreeSet::from(["notes".into()]));
    assert_eq!(titles(&store).iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "c", "d", "new"]);
    assert_eq!(store.stats().unwrap().pending, 2);
    let hello = store.hello(None, false, false).unwrap();
    let right = slice_sums(&[("a", note("A")), ("b", note("B")), ("c", note("C")), ("d", note("D"))]);
    let mut differing = hello.scopes.slices["s"].differing(&right);
    differing.sort_unstable();
    assert_eq!(differing, slices("s", 0, &["b", "c"]).slices);
}

#[test]
fn an_audit_finds_lost_memberships_and_skips_rows_of_older_versions() {
    let mut store = synced();
    damage(&store, "DELETE FROM om_row_notes WHERE id = 'a'");
    let audit = store.audit().unwrap();
    assert_eq!((audit.checked, audit.miscounted, audit.foreign), (1, 1, 1));
    assert!(audit.needs_repair());
    assert_eq!(store.hello(None, false, false).unwrap().scopes.slices["s"], slice_sums(&[("b", note("B"))]));

    let mut schema = notes();
    schema.version = omctl_protocol::SchemaVersion(2);
    schema.fields.push(field("pinned", omctl_protocol::FieldType::Bool));
    store.install_schema(&schema).unwrap();
    assert_eq!(store.audit().unwrap(), Audit { skipped: 1, ..Audit::default() });
}
