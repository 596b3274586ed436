//! Random rules of every form over random records, against an interpreter that shares nothing with the compiler: it reads
//! the expression as it was written, and follows references by itself.

use std::collections::BTreeMap;

use omctl_protocol::{ChannelName, Value};
use proptest::prelude::*;

use super::tests::{World, any_of};
use super::*;

/// A record: its id and the texts that its fields stand for; NULL is none.
#[derive(Clone, Debug, Default)]
struct Record {
    id: String,
    fields: BTreeMap<&'static str, Vec<String>>,
}

/// Every record there is, by its channel.
type Records = BTreeMap<&'static str, Vec<Record>>;

type Said = (&'static str, &'static str);

const TICKETS: &[Said] = &[
    ("owner", "account.email"),
    ("owner", "account.claims.names"),
    ("owner", "a"),
    ("kind", "account.role"),
    ("kind", "tech"),
    ("region", "account.claims.names"),
    ("region", "account.email"),
    ("region", "b"),
    ("id", "account.claims.names"),
    ("id", "a"),
    ("customer", "account.claims.names"),
    ("customer", "7"),
    ("customer", "in staff.customer where who=account.email"),
    ("customer", "in staff.customer where who=account.claims.names"),
    ("customer", "in staff.customer where who=account.email,account.role=tech"),
    ("customer", "in staff.customer where who=account.email,customer=7"),
    ("customer", "in customers.id where rep=account.email"),
    ("customer", "in tickets.customer where region=account.email"),
    ("owner", "in tickets.region where owner=account.role"),
    ("via", "customer"),
    ("account.role", "tech"),
    ("account.claims.names", "a"),
    ("account.email", "a"),
];

const CUSTOMERS: &[Said] = &[
    ("rep", "account.email"),
    ("rep", "a"),
    ("id", "account.claims.names"),
    ("area", "account.claims.names"),
    ("via", "area"),
    ("account.role", "tech"),
];

const AREAS: &[Said] = &[("boss", "account.email"), ("id", "1"), ("account.role", "tech"), ("boss", "account.role")];

fn expression(said: &'static [Said], alternatives_max: usize) -> impl Strategy<Value = Source> {
    let all = prop::collection::vec(prop::sample::select(said), 1..4);
    prop::collection::vec(all, 1..=alternatives_max).prop_map(|alternatives| {
        let alternatives: Vec<&[Said]> = alternatives.iter().map(Vec::as_slice).collect();
        any_of(&alternatives)
    })
}

fn texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "7", "tech", "1"]).prop_map(str::to_owned), 0..=most)
}

fn records(
    ids: &'static [&'static str],
    fields: &'static [(&'static str, usize)],
) -> impl Strategy<Value = Vec<Record>> {
    let one = move |id: &'static str| {
        let values: Vec<_> = fields.iter().map(|(_, most)| texts(*most)).collect();
        (any::<bool>(), values).prop_map(move |(exists, values)| {
            let fields = fields.iter().map(|(name, _)| *name).zip(values).collect();
            exists.then(|| Record { id: id.to_owned(), fields })
        })
    };
    ids.iter().map(|id| one(id)).collect::<Vec<_>>().prop_map(|found| found.into_iter().flatten().collect())
}

fn world() -> impl Strategy<Value = Records> {
    const TICKET: &[(&str, usize)] = &[("owner", 1), ("kind", 1), ("region", 3), ("customer", 1)];
    (
        records(&["a", "b", "t"], TICKET),
        records(&["7", "a", "b"], &[("rep", 1), ("area", 1)]),
        records(&["1", "a"], &[("boss", 1)]),
        records(&["x", "y", "z"], &[("who", 1), ("customer", 1)]),
    )
        .prop_map(|(tickets, customers, areas, staff)| {
            BTreeMap::from([("tickets", tickets), ("customers", customers), ("areas", areas), ("staff", staff)])
        })
}

fn account() -> impl Strategy<Value = Subject> {
    (prop::sample::select(vec!["a", "b"]), prop::option::of(prop::sample::select(vec!["tech", "a"])), texts(3))
        .prop_map(|(email, role, names)| {
            // One value alone may stand without its list.
            let names = if let [only] = names.as_slice() { serde_json::json!(only) } else { serde_json::json!(names) };
            let claims = serde_json::json!({ "names": names });
            let claims = claims.as_object().cloned().unwrap_or_default();
            Subject { email: email.to_owned(), role: role.map(str::to_owned), claims }
        })
}

/// The interpreter.
struct Reading<'a> {
    sources: &'a World,
    records: &'a Records,
    subject: &'a Subject,
}

impl Reading<'_> {
    fn sees(&self, channel: &str, record: &Record) -> bool {
        match self.sources.source(&channel.into()) {
            Some(Source::Public) => true,
            Some(Source::AnyOf(any)) => {
                any.iter().any(|all| all.iter().all(|entry| self.holds(channel, record, entry)))
            }
            _ => false,
        }
    }

    fn holds(&self, channel: &str, record: &Record, entry: &Entry) -> bool {
        let left = entry.left.as_str();
        match &entry.right {
            Right::Text(field) if left == "via" => {
                let to = self.sources.field(&channel.into(), field).and_then(|kind| kind.to).unwrap();
                let named = read(record, field);
                let found = self.records[to.as_str()].iter().find(|other| named.contains(&other.id));
                found.is_some_and(|other| self.sees(to.as_str(), other))
            }
            Right::Text(text) => self.compares(record, left, text),
            Right::In { channel, field, filter } => {
                let own = read(record, left);
                let rows = self.records[channel.as_str()].iter();
                let mut rows = rows.filter(|row| filter.iter().all(|(left, right)| self.compares(row, left, right)));
                rows.any(|row| read(row, field).iter().any(|text| own.contains(text)))
            }
        }
    }

    fn compares(&self, record: &Record, left: &str, right: &str) -> bool {
        let left = self.account(left).unwrap_or_else(|| read(record, left));
        let right = self.account(right).unwrap_or_else(|| vec![right.to_owned()]);
        left.iter().any(|text| right.contains(text))
    }

    fn account(&self, text: &str) -> Option<Vec<String>> {
        let own = |json: &serde_json::Value| json.as_str().map(str::to_owned);
        match text.strip_prefix("account.")? {
            "email" => Some(vec![self.subject.email.clone()]),
            "role" => Some(self.subject.role.iter().cloned().collect()),
            _ => Some(match &self.subject.claims["names"] {
                serde_json::Value::Array(items) => items.iter().filter_map(own).collect(),
                one => own(one).into_iter().collect(),
            }),
        }
    }
}

fn read(record: &Record, name: &str) -> Vec<String> {
    if name == "id" { vec![record.id.clone()] } else { record.fields.get(name).cloned().unwrap_or_default() }
}

/// What stands at the end of a path, as the callers of a rule bring it.
fn value(records: &Records, record: &Record, path: &Path) -> Value {
    let mut at = Some(record);
    for step in &path.via {
        let named = at.map(|record| read(record, &step.field)).unwrap_or_default();
        at = records[step.to.as_str()].iter().find(|other| named.contains(&other.id));
    }
    let Some(record) = at else { return Value::Null };
    match &path.leaf {
        Leaf::Id => Value::Text(record.id.clone()),
        Leaf::Field(name) if name == "region" => Value::Text(serde_json::to_string(&read(record, name)).unwrap()),
        Leaf::Field(name) => read(record, name).into_iter().next().map_or(Value::Null, Value::Text),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn keys_meet_exactly_where_the_written_expression_admits(
        tickets in expression(TICKETS, 3), customers in expression(CUSTOMERS, 2), areas in expression(AREAS, 2),
        records in world(), subject in account(),
    ) {
        let sources = World(BTreeMap::from([("tickets", tickets), ("customers", customers), ("areas", areas)]));
        let name = ChannelName::from("tickets");
        let rule = match Rule::new(&name, &sources) {
            Ok(rule) => rule,
            Err(errors) => {
                prop_assert!(errors.iter().all(|error| error.message.contains("alternatives")), "{errors:?}");
                return Ok(());
            }
        };
        let reading = Reading { sources: &sources, records: &records, subject: &subject };
        let mut members = Members::default();
        for membership in rule.memberships() {
            let links = membership.links_for(&subject);
            let mut found = Vec::new();
            for row in &records[membership.channel.as_str()] {
                let values: Vec<Value> = membership.paths().iter().map(|path| value(&records, row, path)).collect();
                let holds = membership.holds(&subject, &values);
                prop_assert_eq!(membership.links_of(&values).iter().any(|link| links.contains(link)), holds);
                if holds {
                    found.push(value(&records, row, &membership.value));
                }
            }
            members.add(membership, found.iter());
        }
        let held = rule.keys_for(&name, 1, &subject, &members);
        for record in &records["tickets"] {
            let values: Vec<Value> = rule.paths().iter().map(|path| value(&records, record, path)).collect();
            let met = rule.keys_of(&name, 1, &values).iter().any(|key| held.contains(key));
            prop_assert_eq!(met, reading.sees("tickets", record), "{}: {:?}", rule, record);
            prop_assert_eq!(met, rule.sees(&subject, &members, &values));
        }
    }

    #[test]
    fn mistakes_name_an_entry_that_is_there(
        said in prop::collection::vec(prop::collection::vec((
            prop::sample::select(vec!["owner", "blob", "x", "via", "account.email", "account.x", "customer", "id", ""]),
            prop::sample::select(vec![
                "account.email", "account.", "a", "customer", "parent", "owner", "in staff.who where who=account.email",
                "in x.y where a=b", "in staff.customer where account.role=account.email",
            ]),
        ), 1..4), 1..4),
    ) {
        let alternatives: Vec<&[Said]> = said.iter().map(Vec::as_slice).collect();
        let sources = World(BTreeMap::from([("tickets", any_of(&alternatives))]));
        for error in Rule::new(&"tickets".into(), &sources).err().unwrap_or_default() {
            prop_assert!(said.get(error.alternative).is_some_and(|all| error.entry < all.len()), "{error:?}");
            prop_assert!(!error.message.is_empty() && !error.hint.is_empty());
        }
    }
}
