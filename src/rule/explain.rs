//! A rule as a sentence: what `omctl check` explains, and what its fingerprint is made of.

use std::collections::BTreeMap;
use std::fmt;

use super::{AllOf, Attribute, Leaf, Membership, Path, Rule, Wanted};

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
            self.explain(all_of, f)?;
        }
        Ok(())
    }
}

impl Rule {
    /// The alternatives, each with everything that must hold: a field of the record or an attribute of the account, and what
    /// it must be. `None`: records of other channels decide.
    pub fn terms(&self) -> Vec<BTreeMap<String, Option<String>>> {
        let own = |place: &usize| {
            let path = &self.paths[*place];
            let field = path.via.first().map(|step| &step.field);
            (field.map_or_else(|| path.to_string(), String::clone), field.is_none())
        };
        let of = |all_of: &AllOf| {
            let mut terms: BTreeMap<String, Option<String>> = BTreeMap::new();
            for (attribute, constant) in &all_of.guards {
                terms.insert(attribute.to_string(), Some(constant.clone()));
            }
            for (place, constant) in &all_of.constants {
                let (field, is_own) = own(place);
                terms.insert(field, is_own.then(|| constant.clone()));
            }
            for (place, wanted) in &all_of.joins {
                let (field, is_own) = own(place);
                terms.insert(
                    field,
                    match wanted {
                        Wanted::Attribute(attribute) if is_own => Some(attribute.to_string()),
                        _ => None,
                    },
                );
            }
            for place in &all_of.present {
                terms.entry(own(place).0).or_default();
            }
            terms
        };
        self.any_of.iter().map(of).collect()
    }

    fn explain(&self, all_of: &AllOf, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |place: &usize| &self.paths[*place];
        let exists = all_of.present.iter().map(path).filter(|present| {
            // That a record exists goes without saying where something of it is compared.
            let begins = |other: &usize| self.paths[*other].via.starts_with(&present.via);
            !all_of.joins.iter().map(|(path, _)| path).chain(all_of.constants.iter().map(|(path, _)| path)).any(begins)
        });
        let record: Vec<String> = (all_of.joins.iter().map(|(place, wanted)| match wanted {
            Wanted::Attribute(attribute) => format!("{} is its {attribute}", path(place)),
            Wanted::Members(members) => format!("{} is {}", path(place), self.memberships[*members]),
        }))
        .chain(all_of.constants.iter().map(|(place, constant)| format!("{} is {constant:?}", path(place))))
        .chain(exists.map(|present| format!("{} exists", Way(present))))
        .collect();
        let guards = guards(&all_of.guards);
        match (record.is_empty(), guards.is_empty()) {
            (true, true) => f.write_str("every record"),
            (false, true) => write!(f, "records whose {}", record.join(" and ")),
            (true, false) => write!(f, "every record if {}", guards.join(" and ")),
            (false, false) => write!(f, "records whose {} if {}", record.join(" and "), guards.join(" and ")),
        }
    }
}

fn guards(guards: &[(Attribute, String)]) -> Vec<String> {
    guards.iter().map(|(attribute, constant)| format!("its {attribute} is {constant:?}")).collect()
}

/// The references of a path alone.
struct Way<'p>(&'p Path);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&str> = self.0.via.iter().map(|step| step.field.as_str()).collect();
        f.write_str(&fields.join("."))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.via {
            write!(f, "{}.", step.field)?;
        }
        match &self.leaf {
            Leaf::Id => f.write_str("id"),
            Leaf::Field(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<String> = (self.joins.iter())
            .map(|(path, attribute)| format!("{} is its {attribute}", self.paths[*path]))
            .chain(self.constants.iter().map(|(path, constant)| format!("{} is {constant:?}", self.paths[*path])))
            .chain(guards(&self.guards))
            .collect();
        write!(f, "the {} of a row of {} whose {}", self.value, self.channel, rows.join(" and "))
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
