//! Scope and write expressions: read, given a meaning, and judged from both sides for accounts and records that are made
//! of the expression's own words.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use omctl::catalog::{Channel, Roles, ScopeDecl, ScopeRight, read_channel};
use omctl::limits;
use omctl::rule::{Channels, Entry, FieldKind, Members, Right, Rule, Source, Subject};
use omctl_protocol::{ChannelName, FieldType, Value};

use crate::channel_yaml::{PROJECT, has_a_place};

/// The channel whose rules are fuzzed, without them.
const HEAD: &str = "fields:\n  owner: { type: text }\n  kind: { type: enum, values: [open, done] }\n  n: { type: int }\n  \
                    region: { type: array }\n  blob: { type: bytes }\n  customer: { type: ref, to: customers }\n  \
                    parent: { type: ref, to: tickets }\n";

/// Values that any rule may meet, beside its own words.
const WORDS: [&str; 4] = ["ana", "7", "tech", "[\"ana\",\"7\",7,true]"];

/// Most words of an expression that records are made of.
const WORDS_MAX: usize = 6;

/// What a generated expression may say on either side.
const SIDES: [&str; 22] = [
    "owner",
    "kind",
    "n",
    "region",
    "blob",
    "customer",
    "parent",
    "id",
    "via",
    "account.email",
    "account.role",
    "account.claims.regions",
    "account.claims.a.b",
    "account.",
    "rep",
    "who",
    "nothing",
    "ana",
    "7",
    "tech",
    "open",
    "",
];

/// One entry of a generated expression, by places in [`SIDES`].
#[derive(Debug, Arbitrary)]
enum Said {
    Text(u8, u8),
    In { left: u8, channel: u8, field: u8, filter: Vec<(u8, u8)> },
}

/// An expression as a file says it, or (behind a NUL) as a structure.
pub fn rules(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => {
            let mut rest = Unstructured::new(rest);
            if let Ok(all) = <Vec<Vec<Said>>>::arbitrary(&mut rest) {
                let source = Source::AnyOf(all.iter().map(|all| all.iter().map(Said::entry).collect()).collect());
                judge(&source, rest.int_in_range(0..=u8::MAX).unwrap_or_default());
            }
        }
        _ => {
            if let Ok(text) = std::str::from_utf8(data) {
                written(text);
            }
        }
    }
}

impl Said {
    fn entry(&self) -> Entry {
        let side = |place: u8| SIDES[usize::from(place) % SIDES.len()].to_owned();
        match self {
            Self::Text(left, right) => Entry { left: side(*left), right: Right::Text(side(*right)) },
            Self::In { left, channel, field, filter } => {
                let channel = ["staff", "customers", "areas", "tickets", "nothing"][usize::from(*channel) % 5].into();
                let filter = filter.iter().map(|(left, right)| (side(*left), side(*right))).collect();
                Entry { left: side(*left), right: Right::In { channel, field: side(*field), filter } }
            }
        }
    }
}

fn written(text: &str) {
    let name = ChannelName::from("tickets");
    let text = format!("{HEAD}scope: {text}");
    let (channel, found) = read_channel(&PROJECT, &name, &text);
    found.iter().for_each(|one| has_a_place(one, &text));
    let Some(channel) = channel else { return };
    for roles in [&channel.write.create, &channel.write.update, &channel.write.delete] {
        let admitted = ["tech", "office", ""].iter().filter(|role| roles.contain(Some(role))).count();
        match roles {
            Roles::Nobody => assert!(admitted == 0 && roles.is_nobody() && !roles.contain(None)),
            Roles::Any => assert!(admitted == 3 && roles.contain(None)),
            Roles::Only(_) => assert!(!roles.contain(None), "who has no role has none of these"),
        }
    }
    judge(&source(&channel), text.len().to_le_bytes()[0]);
}

/// The expression without its places.
fn source(channel: &Channel) -> Source {
    let right = |right: &ScopeRight| match right {
        ScopeRight::Text(text) => Right::Text(text.clone()),
        ScopeRight::In { channel, field, filter } => {
            Right::In { channel: channel.clone(), field: field.clone(), filter: filter.clone() }
        }
    };
    match &channel.scope {
        ScopeDecl::Nobody => Source::Nobody,
        ScopeDecl::Public => Source::Public,
        ScopeDecl::AnyOf(all) => {
            let entry =
                |entry: &omctl::catalog::ScopeEntry| Entry { left: entry.left.clone(), right: right(&entry.right) };
            Source::AnyOf(all.iter().map(|all| all.iter().map(entry).collect()).collect())
        }
    }
}

/// The project with one more channel.
struct World<'s>(&'s Source);

impl Channels for World<'_> {
    fn source(&self, channel: &ChannelName) -> Option<Source> {
        match channel.as_str() {
            "tickets" => Some(self.0.clone()),
            _ => PROJECT.channels.get(channel).map(|channel| source(channel)),
        }
    }

    fn field(&self, channel: &ChannelName, field: &str) -> Option<FieldKind> {
        let (kind, to) = match (channel.as_str(), field) {
            ("tickets", "owner") => (FieldType::Text, None),
            ("tickets", "kind") => (FieldType::Enum, None),
            ("tickets", "n") => (FieldType::Int, None),
            ("tickets", "region") => (FieldType::Array, None),
            ("tickets", "blob") => (FieldType::Bytes, None),
            ("tickets", "customer") => (FieldType::Ref, Some("customers".into())),
            ("tickets", "parent") => (FieldType::Ref, Some("tickets".into())),
            _ => {
                let (_, field) = PROJECT.channels.get(channel)?.schema.field(field)?;
                (field.kind, field.to.clone())
            }
        };
        Some(FieldKind { kind, to })
    }
}

fn judge(source: &Source, turn: u8) {
    let name = ChannelName::from("tickets");
    let rule = match Rule::new(&name, &World(source)) {
        Ok(rule) => rule,
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let Source::AnyOf(all) = source else { panic!("{error:?} of no expression") };
                assert!(all.get(error.alternative).is_some_and(|all| error.entry < all.len().max(1)), "{error:?}");
                assert!(!error.message.is_empty() && !error.hint.is_empty());
            }
            return;
        }
    };
    let again = Rule::new(&name, &World(source)).expect("what has a meaning has it twice");
    assert_eq!((again.fingerprint(), again.to_string()), (rule.fingerprint(), rule.to_string()));
    assert!(!rule.is_nobody() || rule.terms().is_empty());

    let mut words: Vec<String> = WORDS.iter().map(ToString::to_string).collect();
    if let Source::AnyOf(all) = source {
        let texts = all.iter().flatten().filter_map(|entry| match &entry.right {
            Right::Text(text) => Some(text.clone()),
            Right::In { .. } => None,
        });
        words.extend(texts.take(WORDS_MAX));
    }
    let value = |n: usize| match n % (words.len() + 4) {
        0 => Value::Null,
        1 => Value::Int(7),
        2 => Value::Bool(true),
        3 => Value::Bytes(vec![7]),
        n => Value::Text(words[n - 4].clone()),
    };
    for account in 0..3_usize {
        let word = |n: usize| words[(account + n) % words.len()].clone();
        let claims = serde_json::json!({ "regions": [word(1), 7, true, null], "a": word(2), "n": 7 });
        let subject = Subject {
            email: word(0),
            role: (account > 0).then(|| word(2)),
            claims: claims.as_object().cloned().unwrap_or_default(),
        };
        let mut members = Members::default();
        for membership in rule.memberships() {
            let links: BTreeSet<String> = membership.links_for(&subject).into_iter().collect();
            let mut found = Vec::new();
            for row in 0..4_usize {
                let values: Vec<Value> =
                    (0..membership.paths().len()).map(|n| value(row * 3 + n + usize::from(turn))).collect();
                let holds = membership.holds(&subject, &values);
                assert_eq!(membership.links_of(&values).iter().any(|link| links.contains(link)), holds);
                found.extend(holds.then(|| value(row + 4)));
            }
            members.add(membership, found.iter());
        }
        let held: BTreeSet<_> = rule.keys_for(&name, 1, &subject, &members).into_iter().collect();
        assert!(held.is_empty() || rule.may_admit(&subject));
        for record in 0..8_usize {
            let values: Vec<Value> =
                (0..rule.paths().len()).map(|n| value(record * 5 + n * 7 + usize::from(turn))).collect();
            let carried = rule.keys_of(&name, 1, &values);
            // Who has more is refused where the record is journaled.
            if carried.len() > limits::SCOPES_PER_RECORD_MAX || held.len() > limits::SCOPES_PER_ACCOUNT_MAX {
                continue;
            }
            let met = carried.iter().any(|key| held.contains(key));
            assert_eq!(met, rule.sees(&subject, &members, &values), "{rule}: {subject:?} {values:?}");
            assert!(!carried.iter().any(|key| rule.keys_of(&name, 2, &values).contains(key)), "another epoch");
        }
    }
}
