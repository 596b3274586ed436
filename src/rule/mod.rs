//! Scope expressions: parsed, interpreted and compiled to scope keys in one place.
//!
//! A rule is seen from two sides. From a record: which scope keys does it carry ([`Rule::keys_of`], at ingest)? From an
//! account: which scope keys may it hold ([`Rule::keys_for`], at `hello`)? A record is visible where both meet. The third
//! function, [`Rule::sees`], answers the same question by interpreting the expression row by row, without any key: it is
//! what the convergence checker asks, so that a mistake in the compilation shows.
//!
//! *Invariant:* pure. No I/O, no clock, no other room.

use std::fmt;

use omctl_protocol::{ChannelName, FieldType, ScopeKey, Value};
use sha2::{Digest as _, Sha256};

/// An expression as it was written, before it has a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody sees anything.
    #[default]
    Nobody,
    /// Everybody sees everything.
    Public,
    /// Any of these, each all of its `left: right` entries.
    AnyOf(Vec<Vec<(String, String)>>),
}

/// The account that a rule is judged for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// Its e-mail address.
    pub email: String,
    /// Its role.
    pub role: Option<String>,
    /// Its claims: a JSON object of strings, numbers, truth values and lists of these.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// A meaningful expression.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    any_of: Vec<AllOf>,
    /// Fields of type `array`: each of their elements counts. Text that looks like an array does not.
    lists: Vec<String>,
    /// Fingerprint of the expression; part of every key, so that a changed rule shares none with the old one.
    fingerprint: String,
}

/// One alternative: every part must hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct AllOf {
    /// Conditions on the account alone.
    guards: Vec<(Attribute, String)>,
    /// Conditions on the record alone.
    constants: Vec<(String, String)>,
    /// Fields that must equal an attribute of the account, in the order of their names.
    joins: Vec<(String, Attribute)>,
}

/// Something an account has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attribute {
    Email,
    Role,
    Claim(String),
}

/// Why an expression has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// Which alternative, from 0.
    pub alternative: usize,
    /// Which of its entries, from 0.
    pub entry: usize,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Rule {
    /// Gives an expression its meaning. `field` tells the type of a field of the channel.
    ///
    /// # Errors
    /// Every entry that names no field and no attribute, or compares what cannot be equal.
    pub fn new(source: &Source, field: impl Fn(&str) -> Option<FieldType>) -> Result<Self, Vec<RuleError>> {
        let alternatives = match source {
            Source::Nobody => Vec::new(),
            Source::Public => vec![Vec::new()],
            Source::AnyOf(alternatives) => alternatives.clone(),
        };
        let mut errors = Vec::new();
        let mut any_of = Vec::new();
        for (alternative, entries) in alternatives.iter().enumerate() {
            let mut all_of = AllOf::default();
            for (entry, (left, right)) in entries.iter().enumerate() {
                if let Err((message, hint)) = all_of.add(left, right, &field) {
                    errors.push(RuleError { alternative, entry, message, hint });
                }
            }
            all_of.joins.sort_by(|a, b| a.0.cmp(&b.0));
            any_of.push(all_of);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut rule = Self { any_of, lists: Vec::new(), fingerprint: String::new() };
        rule.lists = rule.fields().filter(|name| field(name) == Some(FieldType::Array)).map(Into::into).collect();
        rule.fingerprint = Sha256::digest(rule.to_string()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(rule)
    }

    /// Identifies the expression; equal for equal meanings.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether no account ever sees a record.
    pub fn is_nobody(&self) -> bool {
        self.any_of.is_empty()
    }

    /// The keys that a record carries. `value` gives the record's field by name (NULL where it has none).
    pub fn keys_of<'v>(&self, channel: &ChannelName, epoch: u32, value: impl Fn(&str) -> &'v Value) -> Vec<ScopeKey> {
        let mut keys = Vec::new();
        for (n, all_of) in self.any_of.iter().enumerate() {
            if !all_of.constants.iter().all(|(field, constant)| self.elements(field, value(field)).contains(constant)) {
                continue;
            }
            let columns: Vec<Vec<String>> =
                all_of.joins.iter().map(|(field, _)| self.elements(field, value(field))).collect();
            keys.extend(products(&columns).iter().map(|values| self.key(channel, epoch, n, values)));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// The keys that an account may hold.
    pub fn keys_for(&self, channel: &ChannelName, epoch: u32, subject: &Subject) -> Vec<ScopeKey> {
        let mut keys = Vec::new();
        for (n, all_of) in self.any_of.iter().enumerate() {
            if !all_of.admits(subject) {
                continue;
            }
            let columns: Vec<Vec<String>> = all_of.joins.iter().map(|(_, what)| what.values(subject)).collect();
            keys.extend(products(&columns).iter().map(|values| self.key(channel, epoch, n, values)));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// Whether the account sees the record: the expression itself, interpreted.
    pub fn sees<'v>(&self, subject: &Subject, value: impl Fn(&str) -> &'v Value) -> bool {
        self.any_of.iter().any(|all_of| {
            all_of.admits(subject)
                && all_of
                    .constants
                    .iter()
                    .all(|(field, constant)| self.elements(field, value(field)).contains(constant))
                && all_of.joins.iter().all(|(field, what)| {
                    let wanted = what.values(subject);
                    self.elements(field, value(field)).iter().any(|element| wanted.contains(element))
                })
        })
    }

    /// The fields whose values decide who sees a record.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.any_of
            .iter()
            .flat_map(|all_of| all_of.joins.iter().map(|join| &*join.0).chain(all_of.constants.iter().map(|c| &*c.0)))
    }

    /// The texts that a field stands for: none for NULL, each element of an array, else its one value.
    fn elements(&self, field: &str, value: &Value) -> Vec<String> {
        match value {
            Value::Null => Vec::new(),
            Value::Text(text) if self.lists.iter().any(|list| list == field) => {
                let items: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
                items.iter().filter_map(json_text).collect()
            }
            other => vec![other.to_key_text()],
        }
    }

    fn key(&self, channel: &ChannelName, epoch: u32, alternative: usize, values: &[&str]) -> ScopeKey {
        let values = serde_json::to_string(values).expect("strings always have a JSON form");
        ScopeKey::from(format!("{channel}:{epoch}:{}:{alternative}:{values}", self.fingerprint))
    }
}

impl AllOf {
    fn add(
        &mut self,
        left: &str,
        right: &str,
        field: impl Fn(&str) -> Option<FieldType>,
    ) -> Result<(), (String, String)> {
        match (Attribute::parse(left)?, Attribute::parse(right)?) {
            (Some(_), Some(_)) => {
                Err((format!("`{left}: {right}` compares the account with itself"), "name a field on the left".into()))
            }
            (Some(attribute), None) => {
                self.guards.push((attribute, right.to_owned()));
                Ok(())
            }
            (None, attribute) => {
                match field(left) {
                    None => {
                        return Err((
                            format!("`{left}` is neither a field of this channel nor an attribute of the account"),
                            "write a field, account.email, account.role or account.claims.NAME".into(),
                        ));
                    }
                    Some(kind @ (FieldType::Bytes | FieldType::Float | FieldType::Json)) => {
                        return Err((
                            format!("`{left}` is {}, which cannot decide a scope", kind.word()),
                            "use a field of text, numbers, enum, ref or array".into(),
                        ));
                    }
                    Some(_) => {}
                }
                match attribute {
                    Some(attribute) => self.joins.push((left.to_owned(), attribute)),
                    None => self.constants.push((left.to_owned(), right.to_owned())),
                }
                Ok(())
            }
        }
    }

    fn admits(&self, subject: &Subject) -> bool {
        self.guards.iter().all(|(attribute, constant)| attribute.values(subject).contains(constant))
    }
}

impl Attribute {
    fn parse(text: &str) -> Result<Option<Self>, (String, String)> {
        let Some(rest) = text.strip_prefix("account.") else { return Ok(None) };
        match rest {
            "email" => Ok(Some(Self::Email)),
            "role" => Ok(Some(Self::Role)),
            _ => match rest.strip_prefix("claims.") {
                Some(name) if !name.is_empty() && !name.contains('.') => Ok(Some(Self::Claim(name.to_owned()))),
                _ => Err((
                    format!("`{text}` is not an attribute of the account"),
                    "write account.email, account.role or account.claims.NAME".into(),
                )),
            },
        }
    }

    fn values(&self, subject: &Subject) -> Vec<String> {
        match self {
            Self::Email => vec![subject.email.clone()],
            Self::Role => subject.role.iter().cloned().collect(),
            Self::Claim(name) => match subject.claims.get(name) {
                Some(serde_json::Value::Array(items)) => items.iter().filter_map(json_text).collect(),
                Some(single) => json_text(single).into_iter().collect(),
                None => Vec::new(),
            },
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email => f.write_str("account.email"),
            Self::Role => f.write_str("account.role"),
            Self::Claim(name) => write!(f, "account.claims.{name}"),
        }
    }
}

/// A sentence: what `omctl check` explains.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.any_of.is_empty() {
            return f.write_str("nobody sees a record");
        }
        f.write_str("an account sees ")?;
        for (n, all_of) in self.any_of.iter().enumerate() {
            if n > 0 {
                f.write_str("; or ")?;
            }
            let record: Vec<String> = (all_of.joins.iter().map(|(field, what)| format!("{field} is its {what}")))
                .chain(all_of.constants.iter().map(|(field, constant)| format!("{field} is \"{constant}\"")))
                .collect();
            let guards: Vec<String> = all_of
                .guards
                .iter()
                .map(|(attribute, constant)| format!("its {attribute} is \"{constant}\""))
                .collect();
            match (record.is_empty(), guards.is_empty()) {
                (true, true) => f.write_str("every record")?,
                (false, true) => write!(f, "records whose {}", record.join(" and "))?,
                (true, false) => write!(f, "every record if {}", guards.join(" and "))?,
                (false, false) => write!(f, "records whose {} if {}", record.join(" and "), guards.join(" and "))?,
            }
        }
        Ok(())
    }
}

fn json_text(json: &serde_json::Value) -> Option<String> {
    match json {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Every way to take one element of each list. No lists: one way, to take nothing.
fn products(lists: &[Vec<String>]) -> Vec<Vec<&str>> {
    lists.iter().fold(vec![Vec::new()], |taken, list| {
        taken
            .iter()
            .flat_map(|head| {
                list.iter().map(move |element| {
                    let mut longer = head.clone();
                    longer.push(element.as_str());
                    longer
                })
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NULL: Value = Value::Null;

    fn rule(alternatives: &[&[(&str, &str)]]) -> Rule {
        let source = Source::AnyOf(
            alternatives.iter().map(|all| all.iter().map(|(l, r)| ((*l).into(), (*r).into())).collect()).collect(),
        );
        let kind = |field: &str| match field {
            "owner" | "kind" => Some(FieldType::Text),
            "region" => Some(FieldType::Array),
            _ => None,
        };
        Rule::new(&source, kind).unwrap()
    }

    fn subject(email: &str, role: &str, regions: &[&str]) -> Subject {
        let claims = serde_json::json!({ "regions": regions });
        Subject { email: email.into(), role: Some(role.into()), claims: claims.as_object().unwrap().clone() }
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let source = Source::AnyOf(vec![
            vec![("owner".into(), "account.email".into())],
            vec![("x".into(), "account.mail".into())],
        ]);
        let errors = Rule::new(&source, |field| (field == "owner").then_some(FieldType::Text)).unwrap_err();
        assert_eq!((errors[0].alternative, errors[0].entry), (1, 0));
    }

    #[test]
    fn nobody_and_public_mean_what_they_say() {
        let none = Rule::new(&Source::Nobody, |_| None).unwrap();
        let all = Rule::new(&Source::Public, |_| None).unwrap();
        let ana = subject("ana", "tech", &[]);
        assert!(!none.sees(&ana, |_| &NULL) && none.keys_for(&"c".into(), 1, &ana).is_empty());
        assert!(all.sees(&ana, |_| &NULL));
        assert_eq!(all.keys_for(&"c".into(), 1, &ana), all.keys_of(&"c".into(), 1, |_| &NULL));
    }

    #[test]
    fn text_that_looks_like_a_list_is_one_text() {
        let rule = rule(&[&[("owner", "account.email")]]);
        let value = Value::Text("[\"bob\"]".into());
        assert!(!rule.sees(&subject("bob", "tech", &[]), |_| &value));
        assert!(
            rule.keys_of(&"c".into(), 1, |_| &value) != rule.keys_for(&"c".into(), 1, &subject("bob", "tech", &[]))
        );
    }

    #[test]
    fn a_changed_rule_shares_no_key() {
        let (a, b) = (rule(&[&[("owner", "account.email")]]), rule(&[&[("region", "account.email")]]));
        let value = Value::Text("ana".into());
        assert_ne!(a.keys_of(&"c".into(), 1, |_| &value), b.keys_of(&"c".into(), 1, |_| &value));
        assert_ne!(a.keys_of(&"c".into(), 1, |_| &value), a.keys_of(&"c".into(), 2, |_| &value));
    }

    proptest! {
        #[test]
        fn keys_meet_exactly_where_the_interpreter_says_so(
            owner in prop::option::of("[ab]"), region in prop::sample::select(vec!["[\"n\"]", "[\"s\"]", "[\"n\",\"s\"]", "[]"]),
            email in "[ab]", role in prop::sample::select(vec!["tech", "office"]),
            regions in prop::collection::vec(prop::sample::select(vec!["n", "s", "e"]), 0..3), which in 0usize..5,
        ) {
            let rules = [
                rule(&[&[("owner", "account.email")]]),
                rule(&[&[("owner", "account.email"), ("region", "account.claims.regions")]]),
                rule(&[&[("owner", "account.email")], &[("region", "account.claims.regions")]]),
                rule(&[&[("account.role", "office")], &[("owner", "account.email"), ("kind", "open")]]),
                rule(&[&[("region", "account.claims.regions"), ("account.role", "tech")]]),
            ];
            let owner = owner.map_or(Value::Null, Value::Text);
            let (region, kind) = (Value::Text(region.into()), Value::Text("open".into()));
            let value = |field: &str| match field { "owner" => &owner, "region" => &region, "kind" => &kind, _ => &NULL };
            let subject = subject(&email, role, &regions);
            let rule = &rules[which];
            let (of, held) = (rule.keys_of(&"c".into(), 1, value), rule.keys_for(&"c".into(), 1, &subject));
            prop_assert_eq!(of.iter().any(|key| held.contains(key)), rule.sees(&subject, value));
        }
    }
}
