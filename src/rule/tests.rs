//! Rules over a small world of channels: what they read, whom they admit, and what cannot be compiled.

use std::collections::BTreeMap;

use omctl_protocol::{ChannelName, FieldType, Value};
use proptest::prelude::*;

use super::*;

/// A few channels: tickets of customers of areas, and who works on what.
#[derive(Default)]
pub(super) struct World(pub(super) BTreeMap<&'static str, Source>);

const FIELDS: [(&str, &str, FieldType, Option<&str>); 12] = [
    ("tickets", "owner", FieldType::Text, None),
    ("tickets", "kind", FieldType::Enum, None),
    ("tickets", "region", FieldType::Array, None),
    ("tickets", "blob", FieldType::Bytes, None),
    ("tickets", "customer", FieldType::Ref, Some("customers")),
    ("tickets", "parent", FieldType::Ref, Some("tickets")),
    ("customers", "rep", FieldType::Text, None),
    ("customers", "area", FieldType::Ref, Some("areas")),
    ("areas", "boss", FieldType::Text, None),
    ("areas", "main", FieldType::Ref, Some("customers")),
    ("staff", "who", FieldType::Text, None),
    ("staff", "customer", FieldType::Ref, Some("customers")),
];

impl Channels for World {
    fn source(&self, channel: &ChannelName) -> Option<Source> {
        if let Some(source) = self.0.get(channel.as_str()) {
            return Some(source.clone());
        }
        FIELDS.iter().any(|(of, ..)| *of == channel.as_str()).then_some(Source::Nobody)
    }

    fn field(&self, channel: &ChannelName, field: &str) -> Option<FieldKind> {
        let (.., kind, to) = FIELDS.iter().find(|(of, name, ..)| *of == channel.as_str() && *name == field)?;
        Some(FieldKind { kind: *kind, to: to.map(ChannelName::from) })
    }
}

pub(super) fn any_of(alternatives: &[&[(&str, &str)]]) -> Source {
    let right = |text: &str| match text.strip_prefix("in ") {
        None => Right::Text(text.into()),
        Some(text) => {
            let (channel, rest) = text.split_once('.').unwrap();
            let (field, filter) = rest.split_once(" where ").unwrap();
            let pair = |pair: &str| pair.split_once('=').map(|(l, r)| (l.to_owned(), r.to_owned())).unwrap();
            Right::In { channel: channel.into(), field: field.into(), filter: filter.split(',').map(pair).collect() }
        }
    };
    let entry = |(left, text): &(&str, &str)| Entry { left: (*left).into(), right: right(text) };
    Source::AnyOf(alternatives.iter().map(|all| all.iter().map(entry).collect()).collect())
}

fn compile(tickets: Source, others: &[(&'static str, Source)]) -> Result<Rule, Vec<RuleError>> {
    let mut world = World(others.iter().cloned().collect());
    world.0.insert("tickets", tickets);
    Rule::new(&"tickets".into(), &world)
}

fn rule(alternatives: &[&[(&str, &str)]]) -> Rule {
    compile(any_of(alternatives), &[]).unwrap()
}

fn subject(email: &str, role: &str, regions: &[&str]) -> Subject {
    let claims = serde_json::json!({ "regions": regions });
    Subject { email: email.into(), role: Some(role.into()), claims: claims.as_object().unwrap().clone() }
}

fn why(result: Result<Rule, Vec<RuleError>>) -> String {
    result.unwrap_err().iter().map(|error| error.message.clone()).collect::<Vec<_>>().join("; ")
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn an_unknown_field_is_refused_with_its_place() {
    let errors = compile(any_of(&[&[("owner", "account.email")], &[("x", "account.email")]]), &[]).unwrap_err();
    assert_eq!((errors[0].alternative, errors[0].entry), (1, 0));
}

#[test]
fn nobody_and_public_mean_what_they_say() {
    let none = compile(Source::Nobody, &[]).unwrap();
    let all = compile(Source::Public, &[]).unwrap();
    let (ana, members) = (subject("ana", "tech", &[]), Members::default());
    assert!(!none.sees(&ana, &members, &[]) && none.keys_for(&"c".into(), 1, &ana, &members).is_empty());
    assert!(all.sees(&ana, &members, &[]));
    assert_eq!(all.keys_for(&"c".into(), 1, &ana, &members), all.keys_of(&"c".into(), 1, &[]));
}

#[test]
fn text_that_looks_like_a_list_is_one_text() {
    let rule = rule(&[&[("owner", "account.email")]]);
    let (value, bob) = ([text("[\"bob\"]")], subject("bob", "tech", &[]));
    assert!(!rule.sees(&bob, &Members::default(), &value));
    assert_ne!(rule.keys_of(&"c".into(), 1, &value), rule.keys_for(&"c".into(), 1, &bob, &Members::default()));
}

#[test]
fn of_long_lists_only_so_many_keys_are_made_that_they_are_seen_to_be_too_many() {
    let both = rule(&[&[("region", "account.claims.regions"), ("region", "account.email")]]);
    let list: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    let values = vec![text(&serde_json::to_string(&list).unwrap()); both.paths().len()];
    let made = both.keys_of(&"tickets".into(), 0, &values).len();
    assert!((crate::limits::SCOPES_PER_RECORD_MAX + 1..10_000).contains(&made), "{made}");
}

#[test]
fn a_changed_rule_shares_no_key() {
    let (a, b) = (rule(&[&[("owner", "account.email")]]), rule(&[&[("kind", "account.email")]]));
    let value = [text("ana")];
    assert_ne!(a.keys_of(&"c".into(), 1, &value), b.keys_of(&"c".into(), 1, &value));
    assert_ne!(a.keys_of(&"c".into(), 1, &value), a.keys_of(&"c".into(), 2, &value));
    let nested = |area| compile(any_of(&[&[("via", "customer")]]), &[("customers", area)]).unwrap();
    let one = nested(any_of(&[&[("rep", "account.email")]]));
    let other = nested(any_of(&[&[("rep", "account.role")]]));
    assert_ne!(one.fingerprint(), other.fingerprint(), "an inherited rule is a part of the rule");
}

#[test]
fn the_terms_say_what_a_record_needs_of_its_own() {
    let others = [("customers", any_of(&[&[("rep", "account.email")]]))];
    let own: &[(&str, &str)] = &[("owner", "account.email"), ("kind", "open"), ("account.role", "tech")];
    let rule = compile(any_of(&[own, &[("via", "customer")]]), &others).unwrap();
    let terms: Vec<String> = rule.terms().iter().map(|terms| serde_json::to_string(terms).unwrap()).collect();
    assert_eq!(terms, [r#"{"account.role":"tech","kind":"open","owner":"account.email"}"#, r#"{"customer":null}"#]);
}

#[test]
fn what_is_inherited_is_read_where_the_references_lead() {
    let others = [
        ("customers", any_of(&[&[("rep", "account.email")], &[("via", "area"), ("account.role", "tech")]])),
        ("areas", any_of(&[&[("boss", "account.email")], &[("account.role", "office")]])),
    ];
    let rule = compile(any_of(&[&[("via", "customer"), ("kind", "open")]]), &others).unwrap();
    let paths: Vec<String> = rule.paths().iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["customer.id", "kind", "customer.rep", "customer.area.id", "customer.area.boss"]);
    assert_eq!(
        rule.to_string(),
        "an account sees records whose customer.rep is its account.email and kind is \"open\"; or records whose \
         customer.area.boss is its account.email and kind is \"open\" if its account.role is \"tech\"; or records whose \
         kind is \"open\" and customer exists and customer.area exists if its account.role is \"office\" and its \
         account.role is \"tech\""
    );
    let members = Members::default();
    let sees = |who: &Subject, values: &[Value]| {
        let met = rule
            .keys_of(&"c".into(), 1, values)
            .iter()
            .any(|key| rule.keys_for(&"c".into(), 1, who, &members).contains(key));
        assert_eq!(met, rule.sees(who, &members, values));
        met
    };
    let (ana, bob) = (subject("ana", "tech", &[]), subject("bob", "sales", &[]));
    let there = [text("7"), text("open"), text("ana"), text("1"), text("bob")];
    assert!(sees(&ana, &there) && !sees(&bob, &there), "bob is the boss, but no tech");
    let gone = [Value::Null, text("open"), Value::Null, Value::Null, Value::Null];
    assert!(!sees(&ana, &gone));
}

#[test]
fn memberships_open_what_their_rows_name() {
    let rule = rule(&[&[("customer", "in staff.customer where who=account.email")]]);
    let membership = &rule.memberships()[0];
    assert_eq!(membership.links_of(&[text("ana")]), membership.links_for(&subject("ana", "", &[])));
    assert_ne!(membership.links_of(&[text("bob")]), membership.links_for(&subject("ana", "", &[])));
    assert!(membership.holds(&subject("ana", "", &[]), &[text("ana")]));
    let mut members = Members::default();
    members.add(membership, [text("7"), Value::Null, text("7")].iter());
    let ana = subject("ana", "", &[]);
    assert!(rule.sees(&ana, &members, &[text("7")]) && !rule.sees(&ana, &members, &[text("8")]));
    assert!(!rule.sees(&ana, &Members::default(), &[text("7")]));
    assert_eq!(rule.keys_of(&"c".into(), 1, &[text("7")]), rule.keys_for(&"c".into(), 1, &ana, &members));
    assert_eq!(
        rule.to_string(),
        "an account sees records whose customer is the customer of a row of staff whose who is its account.email"
    );
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let cases = [
        (any_of(&[&[("via", "parent")]]), "inherits from itself (tickets → tickets)"),
        (any_of(&[&[("via", "owner")]]), "`via: owner` is text, not a reference"),
        (any_of(&[&[("via", "nothing")]]), "names no field"),
        (any_of(&[&[("via", "customer")]]), "nobody sees a record of `customers`"),
        (any_of(&[&[("blob", "account.email")]]), "cannot decide a scope"),
        (any_of(&[&[("owner", "in staff.customer where who=account.email")]]), "cannot be equal"),
        (any_of(&[&[("customer", "in staff.customer where who=ana")]]), "names no account"),
        (any_of(&[&[("customer", "in nobody.customer where who=account.email")]]), "names no channel"),
        (any_of(&[&[("account.email", "account.role")]]), "compares the account with itself"),
        (any_of(&[&[("owner", "account.claims.a.b")]]), "is not an attribute"),
    ];
    for (source, expected) in cases {
        let message = why(compile(source, &[]));
        assert!(message.contains(expected), "{message}");
    }
    let around = [("customers", any_of(&[&[("via", "area")]])), ("areas", any_of(&[&[("via", "main")]]))];
    let message = why(compile(any_of(&[&[("via", "customer")]]), &around));
    assert!(message.contains("the scope of `customers` has mistakes of its own"), "{message}");
    let many: Vec<&[(&str, &str)]> = vec![&[("rep", "account.email")]; 65];
    let message = why(compile(any_of(&[&[("via", "customer")]]), &[("customers", any_of(&many))]));
    assert!(message.contains("mistakes of its own"), "{message}");
}

proptest! {
    #[test]
    fn keys_meet_exactly_where_the_interpreter_says_so(
        owner in prop::option::of("[ab]"), rep in prop::option::of("[ab]"), customer in prop::option::of("[78]"),
        region in prop::sample::select(vec!["[\"n\"]", "[\"s\"]", "[\"n\",\"s\"]", "[]"]),
        email in "[ab]", role in prop::sample::select(vec!["tech", "office"]),
        regions in prop::collection::vec(prop::sample::select(vec!["n", "s", "e"]), 0..3),
        rows in prop::collection::vec(("[ab]", "[78]"), 0..4), which in 0usize..7,
    ) {
        let staff = "in staff.customer where who=account.email";
        let customers = any_of(&[&[("rep", "account.email")], &[("account.role", "office")]]);
        let sources = [
            any_of(&[&[("owner", "account.email")]]),
            any_of(&[&[("owner", "account.email"), ("region", "account.claims.regions")]]),
            any_of(&[&[("owner", "account.email")], &[("region", "account.claims.regions")]]),
            any_of(&[&[("account.role", "office")], &[("owner", "account.email"), ("kind", "open")]]),
            any_of(&[&[("via", "customer"), ("region", "account.claims.regions")]]),
            any_of(&[&[("customer", staff)], &[("via", "customer")]]),
            any_of(&[&[("customer", staff), ("via", "customer"), ("account.role", "tech")]]),
        ];
        let rule = compile(sources[which].clone(), &[("customers", customers)]).unwrap();
        let values: Vec<Value> = rule.paths().iter().map(|path| match path.to_string().as_str() {
            "owner" => owner.clone().map_or(Value::Null, Value::Text),
            "customer" | "customer.id" => customer.clone().map_or(Value::Null, Value::Text),
            "customer.rep" => customer.as_ref().and(rep.clone()).map_or(Value::Null, Value::Text),
            "region" => text(region),
            "kind" => text("open"),
            other => panic!("{other}"),
        }).collect();
        let subject = subject(&email, role, &regions);
        let mut members = Members::default();
        for membership in rule.memberships() {
            // By links, as sessions find them; and interpreted, as the checker does.
            let found: Vec<Value> = rows.iter()
                .filter(|(who, _)| membership.links_of(&[text(who)]).iter().any(|l| membership.links_for(&subject).contains(l)))
                .map(|(_, customer)| text(customer)).collect();
            let held: Vec<Value> = rows.iter().filter(|(who, _)| membership.holds(&subject, &[text(who)]))
                .map(|(_, customer)| text(customer)).collect();
            prop_assert_eq!(&found, &held);
            members.add(membership, found.iter());
        }
        let (of, held) = (rule.keys_of(&"c".into(), 1, &values), rule.keys_for(&"c".into(), 1, &subject, &members));
        prop_assert_eq!(of.iter().any(|key| held.contains(key)), rule.sees(&subject, &members, &values));
        prop_assert!(held.is_empty() || rule.may_admit(&subject));
    }
}
