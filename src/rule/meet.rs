//! Both sides of a rule: the keys that a record carries, the keys that an account may hold; and the interpreter, which
//! answers the same question without any key.

use omctl_protocol::{ChannelName, ScopeKey, Value};

use super::{AllOf, Attribute, Members, Membership, Owned, Path, Rule, Subject, Wanted};

/// Most ways that are taken from lists; more scopes are allowed neither to a record nor to an account.
const PRODUCTS_MAX: usize = 2_048;

impl Rule {
    /// The keys that a record carries. `values` are those of [`Rule::paths`].
    pub fn keys_of(&self, channel: &ChannelName, epoch: u32, values: &[Value]) -> Vec<ScopeKey> {
        let mut keys = Vec::new();
        for (n, all_of) in self.any_of.iter().enumerate() {
            if !all_of.suits(&self.paths, values) {
                continue;
            }
            let columns: Vec<Vec<String>> =
                all_of.joins.iter().map(|(path, _)| self.paths[*path].elements(&values[*path])).collect();
            keys.extend(products(&columns).iter().map(|values| self.key(channel, epoch, n, values)));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// The keys that an account may hold.
    pub fn keys_for(&self, channel: &ChannelName, epoch: u32, subject: &Subject, members: &Members) -> Vec<ScopeKey> {
        let mut keys = Vec::new();
        for (n, all_of) in self.any_of.iter().enumerate() {
            if !admits(&all_of.guards, subject) {
                continue;
            }
            let columns: Vec<Vec<String>> =
                all_of.joins.iter().map(|(_, wanted)| self.owned(wanted).values(subject, members)).collect();
            keys.extend(products(&columns).iter().map(|values| self.key(channel, epoch, n, values)));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// Whether an account may ever hold a key, whatever its membership rows say.
    pub fn may_admit(&self, subject: &Subject) -> bool {
        self.any_of.iter().any(|all_of| {
            admits(&all_of.guards, subject)
                && all_of.joins.iter().all(|(_, wanted)| match wanted {
                    Wanted::Attribute(attribute) => !attribute.values(subject).is_empty(),
                    Wanted::Members(_) => true,
                })
        })
    }

    /// Whether the account sees the record: the expression itself, interpreted. `values` are those of [`Rule::paths`].
    pub fn sees(&self, subject: &Subject, members: &Members, values: &[Value]) -> bool {
        self.any_of.iter().any(|all_of| {
            admits(&all_of.guards, subject)
                && all_of.suits(&self.paths, values)
                && all_of.joins.iter().all(|(path, wanted)| {
                    let owned = self.owned(wanted).values(subject, members);
                    self.paths[*path].elements(&values[*path]).iter().any(|element| owned.contains(element))
                })
        })
    }

    fn owned<'r>(&'r self, wanted: &'r Wanted) -> Owned<'r> {
        match wanted {
            Wanted::Attribute(attribute) => Owned::Attribute(attribute),
            Wanted::Members(place) => Owned::Members(&self.memberships[*place]),
        }
    }

    fn key(&self, channel: &ChannelName, epoch: u32, alternative: usize, values: &[&str]) -> ScopeKey {
        let values = serde_json::to_string(values).expect("strings always have a JSON form");
        ScopeKey::from(format!("{channel}:{epoch}:{}:{alternative}:{values}", self.fingerprint))
    }
}

impl AllOf {
    /// Whether the record by itself is one of this alternative.
    fn suits(&self, paths: &[Path], values: &[Value]) -> bool {
        self.present.iter().all(|path| !values[*path].is_null()) && have(&self.constants, paths, values)
    }
}

fn have(constants: &[(usize, String)], paths: &[Path], values: &[Value]) -> bool {
    constants.iter().all(|(path, constant)| paths[*path].elements(&values[*path]).contains(constant))
}

fn admits(guards: &[(Attribute, String)], subject: &Subject) -> bool {
    guards.iter().all(|(attribute, constant)| attribute.values(subject).contains(constant))
}

impl Membership {
    /// Texts under which a row can be found by the accounts it names. `values` are those of [`Membership::paths`].
    pub fn links_of(&self, values: &[Value]) -> Vec<String> {
        if !have(&self.constants, &self.paths, values) {
            return Vec::new();
        }
        let columns: Vec<Vec<String>> =
            self.joins.iter().map(|(path, _)| self.paths[*path].elements(&values[*path])).collect();
        self.links(&columns)
    }

    /// Texts under which an account finds its rows.
    pub fn links_for(&self, subject: &Subject) -> Vec<String> {
        if !admits(&self.guards, subject) {
            return Vec::new();
        }
        let columns: Vec<Vec<String>> = self.joins.iter().map(|(_, attribute)| attribute.values(subject)).collect();
        self.links(&columns)
    }

    fn links(&self, columns: &[Vec<String>]) -> Vec<String> {
        let link = |values: &Vec<&str>| {
            let values = serde_json::to_string(values).expect("strings always have a JSON form");
            format!("@{}:{}:{values}", self.channel, self.fingerprint)
        };
        let mut links: Vec<String> = products(columns).iter().map(link).collect();
        links.sort();
        links.dedup();
        links
    }

    /// Whether a row is one of the account's: interpreted, without any link. `values` are those of
    /// [`Membership::paths`].
    pub fn holds(&self, subject: &Subject, values: &[Value]) -> bool {
        admits(&self.guards, subject)
            && have(&self.constants, &self.paths, values)
            && self.joins.iter().all(|(path, attribute)| {
                let owned = attribute.values(subject);
                self.paths[*path].elements(&values[*path]).iter().any(|element| owned.contains(element))
            })
    }
}

impl Members {
    /// Notes what rows of a membership say. `values` are those of [`Membership::value`], one a row.
    pub fn add<'v>(&mut self, membership: &Membership, values: impl Iterator<Item = &'v Value>) {
        let texts = self.0.entry(membership.fingerprint.clone()).or_default();
        texts.extend(values.flat_map(|value| membership.value.elements(value)));
        texts.sort();
        texts.dedup();
    }
}

impl Owned<'_> {
    fn values(self, subject: &Subject, members: &Members) -> Vec<String> {
        match self {
            Self::Attribute(attribute) => attribute.values(subject),
            Self::Members(membership) => members.0.get(&membership.fingerprint).cloned().unwrap_or_default(),
        }
    }
}

impl Path {
    /// The texts that a value stands for: none for NULL, each element of an array, else its one value.
    fn elements(&self, value: &Value) -> Vec<String> {
        match value {
            Value::Null => Vec::new(),
            Value::Text(text) if self.list => {
                let items: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
                items.iter().filter_map(json_text).collect()
            }
            other => vec![other.to_key_text()],
        }
    }
}

impl Attribute {
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

fn json_text(json: &serde_json::Value) -> Option<String> {
    match json {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Every way to take one element of each list. No lists: one way, to take nothing. Of lists whose product is larger than
/// anything that is allowed only so many ways are taken that everybody sees that they are too many.
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
            .take(PRODUCTS_MAX)
            .collect()
    })
}
