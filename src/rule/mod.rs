//! Scope expressions: parsed, interpreted and compiled to scope keys in one place.
//!
//! A rule is seen from two sides. From a record: which scope keys does it carry ([`Rule::keys_of`], when it is journaled)?
//! From an account: which scope keys may it hold ([`Rule::keys_for`], in a session)? A record is visible where both meet.
//! The third function, [`Rule::sees`], answers the same question by interpreting the expression row by row, without any
//! key: it is what the convergence checker asks, so that a mistake in the compilation shows.
//!
//! A rule may look further than its record. `via` reads fields of the records that a reference leads to: they are
//! [`Path`]s, whose values the caller brings. `in` compares with rows of another channel that name the account: they are
//! [`Membership`]s, and the caller brings the values that such rows have for the account ([`Members`]).
//!
//! - `compile.rs`: from an expression to a rule, and why one has no meaning
//! - `meet.rs`: both sides of a rule, and the interpreter
//! - `explain.rs`: a rule as a sentence
//!
//! *Invariant:* pure. No I/O, no clock, no other room.

mod compile;
mod explain;
mod meet;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use omctl_protocol::{ChannelName, FieldType};

pub use self::compile::{Channels, FieldKind, RuleError};

/// An expression as it was written, before it has a meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody sees anything.
    #[default]
    Nobody,
    /// Everybody sees everything.
    Public,
    /// Any of these, each all of its entries.
    AnyOf(Vec<Vec<Entry>>),
}

/// One `left: right` of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A field, `id`, an attribute of the account, or `via`.
    pub left: String,
    /// What it must equal; for `via`, the reference.
    pub right: Right,
}

/// The right side of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// An attribute of the account, a constant, or the reference of `via`.
    Text(String),
    /// `{ in: CHANNEL.FIELD, where: { … } }`
    In {
        /// The channel whose rows are memberships.
        channel: ChannelName,
        /// The field that is compared; `id` is the row's own id.
        field: String,
        /// What a row must have to be one of the account's.
        filter: Vec<(String, String)>,
    },
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
    paths: Vec<Path>,
    memberships: Vec<Arc<Membership>>,
    /// Of the expression; part of every key, so that a changed rule shares none with the old one.
    fingerprint: String,
}

/// One alternative: every part must hold. Numbers are places in [`Rule::paths`] and [`Rule::memberships`].
#[derive(Clone, Debug, Default, PartialEq)]
struct AllOf {
    /// Conditions on the account alone.
    guards: Vec<(Attribute, String)>,
    /// What must not be NULL: the records that references lead to.
    present: Vec<usize>,
    /// Conditions on the record alone.
    constants: Vec<(usize, String)>,
    /// What must equal something that the account has, in the order of the paths' texts.
    joins: Vec<(usize, Wanted)>,
}

/// What an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owned<'r> {
    Attribute(&'r Attribute),
    Members(&'r Membership),
}

/// What a join wants of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Attribute(Attribute),
    Members(usize),
}

/// An attribute of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attribute {
    Email,
    Role,
    Claim(String),
}

/// Where a value of a rule is read: in the record itself, or in one that its references lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The references to follow, in their order.
    pub via: Vec<Step>,
    /// What is read there. A record that is not there has NULL.
    pub leaf: Leaf,
    /// Whether it is an array, each of whose elements counts. Text that looks like an array does not.
    list: bool,
}

/// One reference to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The field of the record reached so far.
    pub field: String,
    /// The channel it leads to.
    pub to: ChannelName,
}

/// What is read of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Its id.
    Id,
    /// A field.
    Field(String),
}

/// Rows of a channel that say what an account belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The channel.
    pub channel: ChannelName,
    /// What the rows have to say.
    pub value: Path,
    paths: Vec<Path>,
    guards: Vec<(Attribute, String)>,
    constants: Vec<(usize, String)>,
    joins: Vec<(usize, Attribute)>,
    /// Of its text.
    fingerprint: String,
}

/// What the membership rows of one account say, by membership.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(HashMap<String, Vec<String>>);

impl Rule {
    /// Identifies the expression; equal for equal meanings.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether no account ever sees a record.
    pub fn is_nobody(&self) -> bool {
        self.any_of.is_empty()
    }

    /// What the rule reads of a record, each once: the functions that take `values` want them in this order.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The memberships that it compares with.
    pub fn memberships(&self) -> &[Arc<Membership>] {
        &self.memberships
    }
}

impl Membership {
    /// Identifies the membership; equal for equal meanings.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What decides whose row it is: the functions that take `values` want them in this order.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }
}

impl Path {
    fn own(leaf: Leaf, kind: Option<FieldType>) -> Self {
        Self { via: Vec::new(), leaf, list: kind == Some(FieldType::Array) }
    }
}

impl Leaf {
    fn parse(name: &str) -> Self {
        if name == "id" { Self::Id } else { Self::Field(name.to_owned()) }
    }
}
