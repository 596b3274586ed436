//! Tests of the order in which captures are sealed.

use omctl_protocol::{Mutation, Outcome};

use super::tests::*;
use super::*;

#[test]
fn a_child_written_before_its_parent_and_a_record_that_names_itself_travel_in_an_order_that_works() {
    let mut store = synced();
    let write = run(
        &mut store,
        "INSERT INTO notes (id, parent) VALUES ('child', 'mother'), ('self', 'self'), ('mother', 'a');",
    );
    store.seal().unwrap();
    let sealed = outbox(&store);
    let shown: Vec<_> = sealed.iter().map(|m| (m.record.as_str(), m.op, m.new.get("parent"))).collect();
    let to = |id: &str| Some(serde_json::Value::from(id));
    assert_eq!(
        shown,
        [
            ("self", Operation::Create, None),
            ("self", Operation::Update, to("self").as_ref()),
            ("mother", Operation::Create, to("a").as_ref()),
            ("child", Operation::Create, to("mother").as_ref()),
        ]
    );
    assert_eq!(sealed[1].old["parent"], serde_json::Value::Null);
    commit(&mut store, 6, vec![receipt(&sealed[0], Outcome::Applied)]);
    assert_eq!(store.answers(write).unwrap(), None, "the second half belongs to the write too");
    let rest = sealed[1..].iter().map(|m| receipt(m, Outcome::Applied)).collect();
    commit(&mut store, 7, rest);
    assert_eq!(store.answers(write).unwrap().unwrap().len(), 4);
}

#[test]
fn a_parent_in_a_later_batch_of_one_sealing_is_named_behind_it() {
    let mut store = synced();
    let write = run(
        &mut store,
        "INSERT INTO notes (id, title, parent) VALUES ('child', 'C', 'mother');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20500)
         INSERT INTO notes (id) SELECT 'n' || i FROM n;
         INSERT INTO notes (id) VALUES ('mother'); UPDATE notes SET title = 'C2' WHERE id = 'child';",
    );
    let before = titles(&store);
    store.seal().unwrap();
    assert_eq!(titles(&store), before);
    let sealed: Vec<Mutation> = store
        .payloads_after(Seq(0), 30_000, usize::MAX)
        .unwrap()
        .iter()
        .map(|(_, payload)| serde_json::from_str(payload).unwrap())
        .filter(|mutation: &Mutation| !mutation.record.as_str().starts_with('n'))
        .collect();
    let shown: Vec<_> = sealed.iter().map(|m| (m.record.as_str(), m.op, m.new.get("parent"), m.group)).collect();
    let (mother, group) = (serde_json::Value::from("mother"), u64::try_from(write.0).ok());
    assert_eq!(
        shown,
        [
            ("child", Operation::Create, None, group),
            ("mother", Operation::Create, None, group),
            ("child", Operation::Update, Some(&mother), group),
        ]
    );
    assert_eq!((&sealed[2].old["title"], &sealed[2].new["title"]), (&"C".into(), &"C2".into()));
    assert_eq!((count(&store, "om_cap_notes"), store.stats().unwrap().pending), (0, 20_503));
}

#[test]
fn an_id_that_is_no_text_of_ours_is_refused_here_and_blocks_nothing() {
    let mut store = synced();
    let before = titles(&store);
    run(&mut store, "INSERT INTO notes (id, title) VALUES (CAST(x'ff41' AS TEXT), 'odd'), ('fine', 'good');");
    run(&mut store, "UPDATE notes SET title = 'odder' WHERE id = CAST(x'ff41' AS TEXT);");
    store.seal().unwrap();
    let sealed: Vec<String> = outbox(&store).iter().map(|m| m.record.as_str().to_owned()).collect();
    assert_eq!(sealed, ["fine"]);
    assert_eq!(titles(&store).len(), before.len() + 1);
    let rejected = store.rejected().unwrap();
    assert_eq!((rejected.len(), rejected[0].code.as_str()), (1, "bad_value"));
    assert_eq!(rejected[0].mutation.new["title"], "odder");
    assert_eq!((count(&store, "om_cap_notes"), store.stats().unwrap().pending), (0, 1));
}
