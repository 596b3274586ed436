//! Each check is shown to fail on a history that breaks its promise.

use serde_json::json;

use super::*;

fn oracle() -> Oracle {
    let claims = [json!({ "regions": ["north"], "staff": "s1" }), json!({ "regions": [], "staff": "s2" })];
    Oracle::new(crate::catalogs(), vec!["ana@example.com".into(), "ben@example.com".into()], &claims)
}

fn mutate(seq: u64, id: u128, channel: &str, op: &str, new: Json) -> String {
    let id = uuid::Uuid::from_u128(id).to_string();
    json!({ "mutate": { "mutations": [{
        "seq": seq, "id": id, "channel": channel, "v": 1, "op": op, "record": "r", "new": new,
    }] } })
    .to_string()
}

fn receipt(id: u128, outcome: &str) -> Json {
    json!({ "seq": 1, "id": uuid::Uuid::from_u128(id).to_string(), "outcome": outcome })
}

fn commit(receipts: &[Json]) -> String {
    json!({ "commit": { "position": 1, "receipts": receipts } }).to_string()
}

fn stored(receipts: &[Json]) -> BTreeMap<MutationId, Receipt> {
    let read = |receipt: &Json| serde_json::from_value::<Receipt>(receipt.clone()).unwrap();
    receipts.iter().map(read).map(|receipt| (receipt.id, receipt)).collect()
}

fn came(marks: &[(&str, u32)]) -> BTreeMap<(String, String, String), u32> {
    marks.iter().map(|(mark, times)| (("artist".into(), "Name".into(), (*mark).to_owned()), *times)).collect()
}

#[test]
fn a_payload_that_changes_is_seen() {
    let mut oracle = oracle();
    oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.1" }))).unwrap();
    oracle.device_says(0, &mutate(9, 7, "notes", "create", json!({ "title": "m1.1" }))).unwrap();
    assert!(oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.2" }))).is_err());
}

#[test]
fn what_is_somebody_elses_is_seen() {
    let mut oracle = oracle();
    oracle.server_says(0, 0, r#"{"rows":{"rows":[["r",1,"h",["m1.1","ana@example.com"]]]}}"#, true).unwrap();
    assert!(oracle.server_says(0, 0, r#"{"rows":{"rows":[["r",1,"h",["m1.1","ben@example.com"]]]}}"#, true).is_err());
    assert!(oracle.server_says(0, 0, r#"{"rows":{"rows":[["r",1,"h",["m1.1","south"]]]}}"#, true).is_err());
}

#[test]
fn answers_that_change_or_go_astray_are_seen() {
    let mut oracle = oracle();
    oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.1" }))).unwrap();
    assert!(oracle.server_says(1, 1, &commit(&[receipt(7, "applied")]), true).is_err(), "of another device");
    assert!(oracle.server_says(0, 0, &commit(&[receipt(8, "applied")]), true).is_err(), "of nobody");
    oracle.server_says(0, 0, &commit(&[receipt(7, "applied")]), true).unwrap();
    oracle.server_says(0, 0, &commit(&[receipt(7, "applied")]), true).unwrap();
    assert!(oracle.server_says(0, 0, &commit(&[receipt(7, "rejected")]), true).is_err(), "another answer");
}

#[test]
fn writes_that_get_lost_are_seen() {
    let mut oracle = oracle();
    let write = |mark: &str| LocalWrite {
        device: 0,
        channel: "notes".into(),
        record: "r".into(),
        field: "title".into(),
        mark: mark.into(),
    };
    oracle.written(vec![write("m1.1"), write("m1.2")]);
    assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "it never left");
    oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.2" }))).unwrap();
    assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "it has no answer");
    oracle.server_says(0, 0, &commit(&[receipt(7, "applied")]), true).unwrap();
    assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "the server forgot");
    oracle.nothing_is_forgotten(&stored(&[receipt(7, "applied")])).unwrap();
    assert!(oracle.nothing_is_forgotten(&stored(&[receipt(7, "rejected")])).is_err(), "two stories");
}

#[test]
fn effects_that_are_missing_doubled_or_invented_are_seen() {
    let mut oracle = oracle();
    oracle.device_says(0, &mutate(1, 7, "artist", "create", json!({ "Name": "m1.1" }))).unwrap();
    let applied = stored(&[receipt(7, "applied")]);
    oracle.marks_came_once(&applied, &came(&[("m1.1", 1), ("m0.e1", 1)])).unwrap();
    assert!(oracle.marks_came_once(&applied, &came(&[])).is_err(), "missing");
    assert!(oracle.marks_came_once(&applied, &came(&[("m1.1", 2)])).is_err(), "doubled");
    assert!(oracle.marks_came_once(&applied, &came(&[("m1.1", 1), ("m1.9", 1)])).is_err(), "invented");
    assert!(oracle.marks_came_once(&stored(&[receipt(7, "rejected")]), &came(&[("m1.1", 1)])).is_err(), "refused");
}

#[test]
fn a_difference_is_seen() {
    let row = |name: &str| BTreeSet::from([BTreeMap::from([("id".to_owned(), name.to_owned())])]);
    assert_eq!(differ(&row("a"), &row("a")), None);
    assert!(differ(&row("a"), &row("b")).is_some());
    assert!(differ(&BTreeSet::new(), &row("b")).is_some());
}

/// A store's tables, as far as the sights need them, with these changes of the log in their order.
fn log_of(changes: &[(&str, &str, Json)]) -> Connection {
    let store = Connection::open_in_memory().unwrap();
    store
        .execute_batch(
            "CREATE TABLE channel (number INTEGER PRIMARY KEY, name TEXT UNIQUE);
             CREATE TABLE schema_version (channel INTEGER, version INTEGER, fields TEXT);
             CREATE TABLE log (position INTEGER PRIMARY KEY, channel INTEGER, id TEXT, version INTEGER, body TEXT);
             CREATE TABLE departed (position INTEGER);
             CREATE TABLE receipt_batch (number INTEGER PRIMARY KEY, body TEXT);
             CREATE TABLE set_back (number INTEGER PRIMARY KEY, kept INTEGER, first_batch INTEGER, last_batch INTEGER);
             CREATE TABLE account (number INTEGER, claims TEXT);",
        )
        .unwrap();
    store.execute_batch(concat!(include_str!("../history.sql"), include_str!("../history_triggers.sql"))).unwrap();
    let fields = [
        ("members", vec!["who", "project"]),
        ("job", vec!["title", "project"]),
        ("own", vec!["title", "owner"]),
        ("piece", vec!["title", "of", "next"]),
        ("area", vec!["title", "region"]),
    ];
    for (number, (channel, fields)) in fields.iter().enumerate() {
        let fields: Vec<Json> = fields.iter().map(|name| json!({ "name": name })).collect();
        store.execute("INSERT INTO channel VALUES (?1, ?2)", rusqlite::params![number + 1, channel]).unwrap();
        let schema = json!({ "fields": fields }).to_string();
        store.execute("INSERT INTO schema_version VALUES (?1, 1, ?2)", rusqlite::params![number + 1, schema]).unwrap();
    }
    for (channel, id, body) in changes {
        let sql = "INSERT INTO log (channel, id, version, body)
            VALUES ((SELECT number FROM channel WHERE name = ?1), ?2, 1, ?3)";
        let body = (!body.is_null()).then(|| body.to_string());
        store.execute(sql, rusqlite::params![channel, id, body]).unwrap();
    }
    store
}

#[test]
fn what_was_never_visible_is_seen() {
    let shown = |channel: &str, mark: &str, changes: &[(&str, &str, Json)]| {
        let mut sights = oracle().sights;
        let row = json!(["r", 1, "h", [mark, "x"]]);
        sights.show(1, &json!({ "rows": { "scope": "s", "channel": channel, "rows": [row] } }).to_string());
        sights.read(&log_of(changes));
        sights.check()
    };
    let job = ("job", "j", json!(["m1.1", "p1"]));
    let member = |who: &str, project: &str| ("members", "m", json!([who, project]));
    assert!(shown("job", "m1.1", std::slice::from_ref(&job)).is_err(), "nobody is in the project");
    assert!(shown("job", "m1.1", &[member("s1", "p1"), job.clone()]).is_err(), "somebody else is");
    assert!(shown("job", "m1.1", &[member("s2", "p2"), job.clone()]).is_err(), "in another project");
    shown("job", "m1.1", &[job.clone(), member("s2", "p1")]).unwrap();
    let renamed = ("job", "j", json!(["m1.2", "p1"]));
    let gone = ("members", "m", Json::Null);
    let changes = [member("s2", "p1"), job, gone, renamed];
    shown("job", "m1.1", &changes).unwrap();
    assert!(shown("job", "m1.2", &changes).is_err(), "the membership had ended");

    let own = |owner: &str| ("own", "o", json!(["m1.3", owner]));
    let piece = |mark: &str| ("piece", "p", json!([mark, "o", null]));
    let given = [own("ana@example.com"), piece("m1.4"), own("ben@example.com"), own("ana@example.com"), piece("m1.5")];
    shown("piece", "m1.4", &given).unwrap();
    assert!(shown("piece", "m1.5", &given).is_err(), "its record was another's by then");
    assert!(shown("piece", "m1.4", &given[..2]).is_err());
    assert!(shown("area", "m1.6", &[("area", "a", json!(["m1.6", "north"]))]).is_err());
}

#[test]
fn a_rule_that_closes_is_seen() {
    let mut sights = oracle().sights;
    let names = [("title", "m1.1"), ("owner", "s1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    sights.state.records.entry("rule".into()).or_default().insert("r".into(), names.into());
    sights.open_rule(false);
    sights.show(1, r#"{"rows":{"scope":"s","channel":"rule","rows":[["r",1,"h",["m1.1","s1"]]]}}"#);
    assert!(sights.check().is_err());
    sights.open_rule(true);
    sights.check().unwrap();
}

#[test]
fn a_body_is_read_in_the_fields_of_another_version() {
    let fields = |fields: Json| Fields::of(&json!({ "fields": fields }));
    let first = fields(json!([
        { "name": "hours", "type": "int" }, { "name": "code", "type": "text" }, { "name": "note", "type": "text" },
        { "name": "old", "type": "text" },
    ]));
    let second = fields(json!([
        { "name": "grade", "type": "int", "default": "5" }, { "name": "hours", "type": "decimal" },
        { "name": "code", "type": "int" }, { "name": "remark", "type": "text", "column": "note" },
    ]));
    let read = |to: &Fields, from: &Fields, body: Json, kept: Json| -> Vec<(String, String)> {
        to.read(from, &body, &kept).into_iter().collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let there = read(&second, &first, json!(["7", "A1", "n", "o"]), Json::Null);
    assert_eq!(there, pairs(&[("code", "NULL"), ("grade", "5"), ("hours", "7"), ("remark", "n")]));
    let kept = json!({ "old": "o", "code": "A1" });
    let back = read(&first, &second, json!(["9", "1.5", null, "n"]), kept);
    assert_eq!(back, pairs(&[("code", "A1"), ("hours", "NULL"), ("note", "n"), ("old", "o")]));
    let graded = read(&second, &first, json!(["7", "8", null, null]), json!({ "grade": "9" }));
    assert_eq!(graded[..2], pairs(&[("code", "8"), ("grade", "9")]), "what was put aside is more than a default");
}

fn at(receipt: Json, position: u64) -> Json {
    let mut receipt = receipt;
    receipt["position"] = position.into();
    receipt
}

/// An oracle whose server took a write of notes with this answer, and was set back to before.
fn set_back(answer: Json) -> Oracle {
    let mut oracle = oracle();
    let store = log_of(&[]);
    let mark = oracle.mark(&store);
    oracle.device_says(0, &mutate(1, 7, "notes", "update", json!({ "title": "m1.1" }))).unwrap();
    oracle.server_says(0, 0, &commit(&[answer]), true).unwrap();
    assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "it was told");
    oracle.server_is_set_back(&store, &mark, false).unwrap();
    oracle
}

fn again(position: u64) -> String {
    let line: String = mutate(3, 7, "notes", "update", json!({ "title": "m1.1" }));
    line.replace("\"seq\":3", &format!("\"seq\":3,\"again\":{position}"))
}

#[test]
fn what_a_server_forgot_must_be_answered_anew() {
    let mut oracle = set_back(at(receipt(7, "applied"), 9));
    assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "it had an effect");
    assert!(oracle.device_says(0, &again(8)).is_err(), "no answer had that position");
    let never_sent = again(9).replace("00000007", "00000008");
    assert!(oracle.device_says(0, &never_sent).is_err());
    oracle.device_says(0, &again(9)).unwrap();
    // An answer of the history that is lost may still arrive, and says nothing of the one that counts.
    oracle.server_says(0, 0, &commit(&[at(receipt(7, "applied"), 9)]), false).unwrap();
    let new = at(receipt(7, "merged"), 3);
    oracle.server_says(0, 0, &commit(std::slice::from_ref(&new)), true).unwrap();
    oracle.nothing_is_forgotten(&stored(&[new])).unwrap();
    assert!(oracle.server_says(0, 0, &commit(&[receipt(7, "rejected")]), true).is_err(), "and it stays");
    for without_effect in [receipt(7, "conflict"), receipt(7, "rejected")] {
        set_back(without_effect).nothing_is_forgotten(&BTreeMap::new()).unwrap();
    }
}

#[test]
fn what_a_shop_lost_must_be_answered_anew_and_nothing_else() {
    let mut oracle = oracle();
    let store = log_of(&[]);
    let mark = oracle.mark(&store);
    oracle.device_says(0, &mutate(1, 7, "artist", "update", json!({ "Name": "m1.1" }))).unwrap();
    oracle.device_says(0, &mutate(2, 8, "notes", "update", json!({ "title": "m1.2" }))).unwrap();
    let answers = [at(receipt(7, "applied"), 9), at(receipt(8, "applied"), 10)];
    oracle.server_says(0, 0, &commit(&answers), true).unwrap();
    let body = serde_json::to_string(&answers).unwrap();
    store.execute("INSERT INTO receipt_batch VALUES (5, ?1)", [&body]).unwrap();
    oracle.shop_is_set_back(&mark);
    store.execute_batch("INSERT INTO set_back VALUES (1, 8, 4, 5)").unwrap();
    oracle.shop_was_found_set_back(&store).unwrap();
    let stored = oracle.stored_receipts(&store).unwrap();
    assert_eq!(stored.len(), 1, "the one of notes stands");
    assert!(oracle.nothing_is_forgotten(&stored).is_err(), "the other one had an effect");
    let new = at(receipt(7, "applied"), 12);
    store.execute("INSERT INTO receipt_batch VALUES (6, ?1)", [serde_json::to_string(&[&new]).unwrap()]).unwrap();
    oracle.server_says(0, 0, &commit(std::slice::from_ref(&new)), true).unwrap();
    oracle.nothing_is_forgotten(&oracle.stored_receipts(&store).unwrap()).unwrap();
    let changed = at(receipt(8, "applied"), 13);
    assert!(oracle.server_says(0, 0, &commit(&[changed]), true).is_err(), "what stands stays");
}

#[test]
fn an_answer_that_says_nothing_is_seen_unless_something_was_lost() {
    let mut unknown = receipt(7, "conflict");
    unknown["code"] = "unknown".into();
    let unknown = stored(&[unknown]);
    assert!(oracle().nothing_is_unknown(&unknown).is_err());
    oracle().nothing_is_unknown(&stored(&[receipt(7, "conflict")])).unwrap();
    set_back(at(receipt(7, "applied"), 9)).nothing_is_unknown(&unknown).unwrap();
}

#[test]
fn an_offer_that_is_refused_for_no_reason_is_seen() {
    let mut oracle = set_back(at(receipt(7, "applied"), 9));
    let refused = stored(&[receipt(7, "conflict")]);
    assert!(oracle.offers_lose_to_somebody(&refused).is_err());
    oracle.offers_lose_to_somebody(&stored(&[receipt(7, "applied")])).unwrap();
    oracle.device_says(1, &mutate(1, 8, "notes", "update", json!({ "title": "m2.1" }))).unwrap();
    oracle.offers_lose_to_somebody(&refused).unwrap();
}

#[test]
fn what_a_restored_phone_loses_beyond_its_backup_is_seen() {
    let mut oracle = oracle();
    let write = |mark: &str| LocalWrite {
        device: 0,
        channel: "own".into(),
        record: mark.into(),
        field: "title".into(),
        mark: mark.into(),
    };
    oracle.written(vec![write("m1.1"), write("m1.2")]);
    oracle.set_back(0, 1);
    assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "the first is in the backup");
    oracle.device_says(0, &mutate(1, 7, "own", "create", json!({ "title": "m1.1" }))).unwrap();
    oracle.server_says(0, 0, &commit(&[receipt(7, "applied")]), true).unwrap();
    oracle.nothing_is_forgotten(&stored(&[receipt(7, "applied")])).unwrap();
}

#[test]
fn a_restored_phone_that_goes_on_with_its_old_outbox_is_seen() {
    let mut device = Device::new(0, 0, crate::rng::Rng::new(1), false);
    assert!(device.back_up());
    device.kill();
    let backup = device.restore();
    assert!(device.start().unwrap());
    let store = log_of(&[]);
    store.execute_batch("CREATE TABLE incarnation (id BLOB, accepted INTEGER)").unwrap();
    let id: uuid::Uuid = backup.incarnation.parse().unwrap();
    store.execute("INSERT INTO incarnation VALUES (?1, 0)", [id.as_bytes().as_slice()]).unwrap();
    let mut oracle = oracle();
    oracle.device_is_restored(0, &backup, &store);
    oracle.restores.outbox_is_new(&device).unwrap();
    store.execute_batch("UPDATE incarnation SET accepted = 3").unwrap();
    oracle.device_is_restored(0, &backup, &store);
    assert!(oracle.restores.outbox_is_new(&device).is_err());
    device.engine().store_mut().renew_incarnation().unwrap();
    oracle.restores.outbox_is_new(&device).unwrap();
}

#[test]
fn mutations_that_overtake_each_other_are_seen() {
    let mut oracle = oracle();
    for (seq, record) in [(1, "a"), (2, "b"), (3, "c")] {
        let line = mutate(seq, u128::from(seq), "area", "create", json!({ "title": format!("m1.{seq}") }));
        oracle.device_says(0, &line.replace("\"r\"", &format!("\"{record}\""))).unwrap();
    }
    let at = |id: u128, position: u64| {
        let mut receipt = receipt(id, "applied");
        receipt["position"] = json!(position);
        receipt
    };
    oracle.one_by_one(&stored(&[at(1, 5), at(2, 6), at(3, 9)])).unwrap();
    assert!(oracle.one_by_one(&stored(&[at(1, 5), at(2, 9), at(3, 6)])).is_err(), "the third before the second");
}

#[test]
fn what_a_revoked_device_still_does_is_seen() {
    let store = Connection::open_in_memory().unwrap();
    store
        .execute_batch(
            "CREATE TABLE receipt_batch (number INTEGER PRIMARY KEY, incarnation INTEGER);
             CREATE TABLE incarnation (number INTEGER, device INTEGER);
             INSERT INTO incarnation VALUES (1, 1), (2, 2);
             INSERT INTO receipt_batch VALUES (4, 1), (5, 2);",
        )
        .unwrap();
    let mut device = Device::new(0, 0, crate::rng::Rng::new(1), false);
    device.last_batch = Some(last_batch(&store, device.number));
    assert_eq!(device.last_batch, Some(4));
    let oracle = oracle();
    oracle.revoked_do_nothing(std::slice::from_ref(&device), &store).unwrap();
    store.execute_batch("INSERT INTO receipt_batch VALUES (6, 1)").unwrap();
    assert!(oracle.revoked_do_nothing(std::slice::from_ref(&device), &store).is_err());
}

#[test]
fn a_part_of_an_atomic_transaction_is_seen() {
    let told = || {
        let mut oracle = oracle();
        let part = |at: u32| {
            json!({
                "seq": at + 1, "id": uuid::Uuid::from_u128(7 + u128::from(at)).to_string(), "channel": "notes", "v": 1,
                "op": "create", "record": format!("r{at}"), "new": { "title": format!("m1.{}", at + 1) }, "group": 4, "atomic": [at, 2],
            })
        };
        let line = json!({ "mutate": { "mutations": [part(0), part(1)] } }).to_string();
        oracle.device_says(0, &line).unwrap();
        oracle
    };
    let store = Connection::open_in_memory().unwrap();
    store.execute_batch(include_str!("../history.sql")).unwrap();
    for (n, mark) in [(11, "m1.1"), (12, "m1.2")] {
        let body = json!([mark, null]).to_string();
        store
            .execute(
                "INSERT INTO temp.history (channel, id, version, body, position) VALUES (1, 'r', 1, ?1, ?2)",
                (body, n),
            )
            .unwrap();
    }
    let both = stored(&[receipt(7, "applied"), receipt(8, "applied")]);
    let mut oracle = told();
    oracle.committed.extend([10, 12]);
    oracle.wholes_are_whole(&both, &store).unwrap();
    oracle.committed.insert(11);
    assert!(oracle.wholes_are_whole(&both, &store).is_err(), "a device stood between them");
    let half = stored(&[receipt(7, "applied"), receipt(8, "rejected")]);
    assert!(told().wholes_are_whole(&half, &store).is_err(), "one of them is refused");
    assert!(told().wholes_are_whole(&stored(&[receipt(7, "applied")]), &store).is_err(), "one of them has no answer");
}
