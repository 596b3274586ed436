//! The store under random statements, server rows and receipts.

use omctl_protocol::Outcome;
use proptest::prelude::*;

use super::tests::*;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u8),
    Replace(u8, u8),
    Upsert(u8, u8),
    Update(u8, u8),
    Delete(u8),
    Seal,
    Server(u8, Option<u8>),
    Settle(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0u8..4;
    prop_oneof![
        (id.clone(), any::<u8>()).prop_map(|(a, b)| Step::Insert(a, b)),
        (id.clone(), any::<u8>()).prop_map(|(a, b)| Step::Replace(a, b)),
        (id.clone(), any::<u8>()).prop_map(|(a, b)| Step::Upsert(a, b)),
        (id.clone(), any::<u8>()).prop_map(|(a, b)| Step::Update(a, b)),
        id.clone().prop_map(Step::Delete),
        Just(Step::Seal),
        (id, prop::option::of(any::<u8>())).prop_map(|(a, b)| Step::Server(a, b)),
        (1u8..4).prop_map(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever happens in whatever order, when everything is settled the app sees what the server has, and no base,
    /// capture or outbox entry is left.
    #[test]
    fn all_settled_is_what_the_server_has(steps in prop::collection::vec(step(), 1..30)) {
        let mut store = synced();
        let mut server: std::collections::BTreeMap<String, String> = [("a".into(), "A".into()), ("b".into(), "B".into())].into();
        let names = ["a", "b", "c", "d"];
        let mut position = 10;
        let mut settle = |store: &mut Store, server: &mut std::collections::BTreeMap<String, String>, most: usize| {
            position += 1;
            let mut receipts = Vec::new();
            for mutation in outbox(store).iter().take(most) {
                let id = mutation.record.as_str().to_owned();
                match mutation.op {
                    Operation::Delete => { server.remove(&id); }
                    _ => { server.insert(id.clone(), mutation.new.get("title").and_then(|t| t.as_str()).unwrap_or("").to_owned()); }
                }
                let row = server.get(&id).map(|title| note(title));
                store.rows(&rows_line("s", "notes", position, None, &[(&id, row)])).unwrap();
                receipts.push(receipt(mutation, Outcome::Applied));
            }
            commit(store, position, receipts);
        };
        for step in steps {
            let sql = match step {
                Step::Insert(id, v) => format!("INSERT OR IGNORE INTO notes (id, title) VALUES ('{}', '{v}')", names[id as usize]),
                Step::Replace(id, v) => format!("REPLACE INTO notes (id, title) VALUES ('{}', '{v}')", names[id as usize]),
                Step::Upsert(id, v) => format!("INSERT INTO notes (id, title) VALUES ('{}', '{v}') ON CONFLICT DO UPDATE SET title = '{v}'", names[id as usize]),
                Step::Update(id, v) => format!("UPDATE notes SET title = '{v}' WHERE id = '{}'", names[id as usize]),
                Step::Delete(id) => format!("DELETE FROM notes WHERE id = '{}'", names[id as usize]),
                Step::Seal => { store.seal().unwrap(); continue }
                Step::Server(id, value) => {
                    let id = names[id as usize];
                    match value { Some(v) => server.insert(id.into(), v.to_string()), None => server.remove(id) };
                    let row = server.get(id).map(|title| note(title));
                    store.rows(&rows_line("s", "notes", 10, None, &[(id, row)])).unwrap();
                    commit(&mut store, 10, vec![]);
                    continue;
                }
                Step::Settle(most) => { settle(&mut store, &mut server, most as usize); continue }
            };
            let before = { run(&mut store, &sql); titles(&store) };
            store.seal().unwrap();
            prop_assert_eq!(titles(&store), before, "sealing changes nothing that is seen");
        }
        while store.stats().unwrap().pending > 0 {
            settle(&mut store, &mut server, 3);
        }
        begin(&mut store);
        let expected: Vec<_> = server.into_iter().map(|(id, title)| (id, Some(title))).collect();
        prop_assert_eq!(titles(&store), expected);
        prop_assert_eq!((count(&store, "om_base_notes"), count(&store, "om_cap_notes"), count(&store, "om_outbox")), (0, 0, 0));
    }
}
