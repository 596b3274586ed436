//! From an expression to a rule: every name gets its meaning, and inherited scopes are written out.

use std::sync::Arc;

use omctl_protocol::{ChannelName, FieldType};
use sha2::{Digest as _, Sha256};

use super::{AllOf, Attribute, Entry, Leaf, Membership, Path, Right, Rule, Source, Step, Wanted};

/// Most alternatives of a rule, once inherited ones are written out: each costs a look at every change of a record.
const ALTERNATIVES_MAX: usize = 64;

/// What a rule may ask of the channels.
pub trait Channels {
    /// The scope expression of a channel; `None` where there is no such channel.
    fn source(&self, channel: &ChannelName) -> Option<Source>;

    /// A field's type; `None` where there is no such field.
    fn field(&self, channel: &ChannelName, field: &str) -> Option<FieldKind>;
}

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldKind {
    /// Its type.
    pub kind: FieldType,
    /// The channel that a reference leads to.
    pub to: Option<ChannelName>,
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

/// Message and hint of an entry that means nothing.
type Fault = (String, String);

/// An alternative whose parts still have their own texts.
#[derive(Clone, Debug, Default)]
struct Draft {
    guards: Vec<(Attribute, String)>,
    present: Vec<Path>,
    constants: Vec<(Path, String)>,
    joins: Vec<(Path, Owner)>,
}

#[derive(Clone, Debug)]
enum Owner {
    Attribute(Attribute),
    Members(Arc<Membership>),
}

/// What an entry compares, by its type; two of them can be equal if their values are spelled alike.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spelling {
    /// The id of a record of this channel.
    RecordOf(ChannelName),
    Of(FieldType),
}

struct Compiler<'c> {
    channels: &'c dyn Channels,
    errors: Vec<RuleError>,
}

impl Rule {
    /// Gives the scope expression of a channel its meaning.
    ///
    /// # Errors
    /// Every entry that names nothing, compares what cannot be equal, or cannot be compiled to scope keys.
    pub fn new(channel: &ChannelName, channels: &dyn Channels) -> Result<Self, Vec<RuleError>> {
        let mut compiler = Compiler { channels, errors: Vec::new() };
        let drafts = compiler.expand(channel, &[], &mut vec![channel.clone()]);
        if compiler.errors.is_empty() { Ok(Self::of(drafts)) } else { Err(compiler.errors) }
    }

    fn of(drafts: Vec<Draft>) -> Self {
        let mut rule = Self::default();
        for draft in drafts {
            let mut all_of = AllOf { guards: draft.guards, ..AllOf::default() };
            all_of.present = draft.present.iter().map(|path| place(&mut rule.paths, path)).collect();
            all_of.constants =
                draft.constants.into_iter().map(|(path, text)| (place(&mut rule.paths, &path), text)).collect();
            let mut joins = draft.joins;
            joins.sort_by_key(|(path, owner)| (path.to_string(), owner.to_string()));
            for (path, owner) in joins {
                let wanted = match owner {
                    Owner::Attribute(attribute) => Wanted::Attribute(attribute),
                    Owner::Members(membership) => Wanted::Members(place(&mut rule.memberships, &membership)),
                };
                all_of.joins.push((place(&mut rule.paths, &path), wanted));
            }
            rule.any_of.push(all_of);
        }
        rule.fingerprint = fingerprint(&rule, &rule.paths);
        rule
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Attribute(attribute) => attribute.fmt(f),
            Self::Members(membership) => membership.fmt(f),
        }
    }
}

/// The place of something in a list that has each once.
fn place<T: PartialEq + Clone>(list: &mut Vec<T>, one: &T) -> usize {
    list.iter().position(|known| known == one).unwrap_or_else(|| {
        list.push(one.clone());
        list.len() - 1
    })
}

/// Of the sentence, and of what it leaves out: where references lead, and what is a list.
fn fingerprint(sentence: &impl std::fmt::Display, paths: &[Path]) -> String {
    let mut hasher = Sha256::new_with_prefix(sentence.to_string());
    for path in paths {
        hasher.update(format!("\n{path} {}", path.list));
        path.via.iter().for_each(|step| hasher.update(format!(" {}", step.to)));
    }
    hasher.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Compiler<'_> {
    /// The alternatives of a channel's rule, read at the end of `prefix`. `stack` has the channels on the way.
    fn expand(&mut self, channel: &ChannelName, prefix: &[Step], stack: &mut Vec<ChannelName>) -> Vec<Draft> {
        let alternatives = match self.channels.source(channel) {
            None | Some(Source::Nobody) => Vec::new(),
            Some(Source::Public) => vec![Vec::new()],
            Some(Source::AnyOf(alternatives)) => alternatives,
        };
        let mut all = Vec::new();
        for (number, entries) in alternatives.iter().enumerate() {
            let mut drafts = vec![Draft::default()];
            for (entry, Entry { left, right }) in entries.iter().enumerate() {
                let added = match (left.as_str(), right) {
                    ("via", Right::Text(field)) => self.inherit(channel, prefix, field, stack, &drafts),
                    _ => self.compare(channel, prefix, left, right).map(|part| {
                        drafts.iter_mut().for_each(|draft| draft.add(part.clone()));
                        drafts.clone()
                    }),
                };
                match added {
                    Ok(longer) => drafts = longer,
                    Err((message, hint)) => {
                        self.errors.push(RuleError { alternative: number, entry, message, hint });
                    }
                }
            }
            all.extend(drafts);
            if all.len() > ALTERNATIVES_MAX {
                self.errors.push(RuleError {
                    alternative: number,
                    entry: 0,
                    message: format!("this cannot be compiled: it has more than {ALTERNATIVES_MAX} alternatives"),
                    hint: "inherit from fewer channels, or from ones with simpler scopes".into(),
                });
                return Vec::new();
            }
        }
        all
    }

    /// Each of the drafts with each of the alternatives of the channel that a reference leads to.
    fn inherit(
        &mut self,
        channel: &ChannelName,
        prefix: &[Step],
        field: &str,
        stack: &mut Vec<ChannelName>,
        drafts: &[Draft],
    ) -> Result<Vec<Draft>, Fault> {
        let kind = self.channels.field(channel, field).ok_or_else(|| {
            (format!("`via: {field}` names no field of this channel"), "name a field of type ref".to_owned())
        })?;
        let Some(to) = kind.to else {
            let message = format!("`via: {field}` is {}, not a reference", kind.kind.word());
            return Err((message, format!("give `{field}` the type ref: {{ type: ref, to: CHANNEL }}")));
        };
        if stack.contains(&to) {
            let way: Vec<&str> = stack.iter().map(ChannelName::as_str).chain([to.as_str()]).collect();
            let message = format!("this cannot be compiled: it inherits from itself ({})", way.join(" → "));
            return Err((
                message,
                "scope keys are of a fixed depth: name the field that decides in this channel".into(),
            ));
        }
        let mut longer = prefix.to_vec();
        longer.push(Step { field: field.to_owned(), to: to.clone() });
        let before = self.errors.len();
        stack.push(to.clone());
        let inherited = self.expand(&to, &longer, stack);
        stack.pop();
        if self.errors.len() > before {
            // They are told at the channel they are in.
            self.errors.truncate(before);
            return Err((
                format!("the scope of `{to}` has mistakes of its own"),
                format!("mend channels/{to}.yaml first"),
            ));
        }
        if inherited.is_empty() {
            let message = format!("nobody sees a record of `{to}`, so nothing is inherited through `{field}`");
            return Err((message, format!("give channels/{to}.yaml a `scope`")));
        }
        let exists = Path { via: longer, leaf: Leaf::Id, list: false };
        let mut all = Vec::with_capacity(drafts.len() * inherited.len());
        for draft in drafts {
            for part in &inherited {
                let mut draft = draft.clone();
                draft.present.push(exists.clone());
                draft.extend(part);
                all.push(draft);
            }
        }
        Ok(all)
    }

    /// One comparison.
    fn compare(&self, channel: &ChannelName, prefix: &[Step], left: &str, right: &Right) -> Result<Part, Fault> {
        match (Attribute::parse(left)?, right) {
            (Some(_), Right::In { .. }) => Err((
                format!("`{left}` is an attribute of the account, and `in` compares a field"),
                "name a field of this channel on the left".into(),
            )),
            (Some(attribute), Right::Text(text)) => match Attribute::parse(text)? {
                Some(_) => Err((
                    format!("`{left}: {text}` compares the account with itself"),
                    "name a field on the left".into(),
                )),
                None => Ok(Part::Guard(attribute, text.clone())),
            },
            (None, right) => {
                let (leaf, spelling, kind) = self.leaf(channel, left)?;
                let path = Path { via: prefix.to_vec(), ..Path::own(leaf, kind) };
                match right {
                    Right::Text(text) => match Attribute::parse(text)? {
                        Some(attribute) => Ok(Part::Join(path, Owner::Attribute(attribute))),
                        None => Ok(Part::Constant(path, text.clone())),
                    },
                    Right::In { channel: members, field, filter } => {
                        let membership = self.membership(members, field, filter, left, &spelling)?;
                        Ok(Part::Join(path, Owner::Members(Arc::new(membership))))
                    }
                }
            }
        }
    }

    fn membership(
        &self,
        channel: &ChannelName,
        field: &str,
        filter: &[(String, String)],
        left: &str,
        spelling: &Spelling,
    ) -> Result<Membership, Fault> {
        if self.channels.source(channel).is_none() {
            return Err((format!("`in: {channel}.{field}` names no channel"), "write in: CHANNEL.FIELD".into()));
        }
        let (leaf, theirs, kind) = self.leaf(channel, field)?;
        if theirs != *spelling {
            return Err((
                format!("`{left}` and `{channel}.{field}` cannot be equal: one is {spelling}, the other {theirs}"),
                "compare two references to one channel, or two fields of one type".into(),
            ));
        }
        let mut membership = Membership {
            channel: channel.clone(),
            value: Path::own(leaf, kind),
            paths: Vec::new(),
            guards: Vec::new(),
            constants: Vec::new(),
            joins: Vec::new(),
            fingerprint: String::new(),
        };
        for (left, right) in filter {
            match (Attribute::parse(left)?, Attribute::parse(right)?) {
                (Some(_), Some(_)) => {
                    let message = format!("`{left}: {right}` compares the account with itself");
                    return Err((message, format!("name a field of `{channel}` on the left")));
                }
                (Some(attribute), None) => membership.guards.push((attribute, right.clone())),
                (None, attribute) => {
                    let (leaf, _, kind) = self.leaf(channel, left)?;
                    let path = place(&mut membership.paths, &Path::own(leaf, kind));
                    match attribute {
                        Some(attribute) => membership.joins.push((path, attribute)),
                        None => membership.constants.push((path, right.clone())),
                    }
                }
            }
        }
        if membership.joins.is_empty() {
            return Err((
                format!("`where` of `in: {channel}.{field}` names no account, so every row would be everybody's"),
                "compare a field with account.email, account.role or account.claims.NAME".into(),
            ));
        }
        let paths = membership.paths.clone();
        membership.joins.sort_by_key(|(path, attribute)| (paths[*path].to_string(), attribute.to_string()));
        membership.fingerprint = fingerprint(&membership, &paths);
        Ok(membership)
    }

    /// What a name on the left side reads, and how its values are spelled.
    fn leaf(&self, channel: &ChannelName, name: &str) -> Result<(Leaf, Spelling, Option<FieldType>), Fault> {
        let leaf = Leaf::parse(name);
        if leaf == Leaf::Id {
            return Ok((leaf, Spelling::RecordOf(channel.clone()), None));
        }
        let Some(field) = self.channels.field(channel, name) else {
            return Err((
                format!("`{name}` is neither a field of `{channel}` nor an attribute of the account"),
                "write a field, account.email, account.role or account.claims.NAME".into(),
            ));
        };
        if matches!(field.kind, FieldType::Bytes | FieldType::Float | FieldType::Json) {
            return Err((
                format!("`{name}` is {}, which cannot decide a scope", field.kind.word()),
                "use a field of text, numbers, enum, ref or array".into(),
            ));
        }
        let spelling = match field.to {
            Some(to) => Spelling::RecordOf(to),
            // Words of an enum and elements of an array are texts like any other.
            None if matches!(field.kind, FieldType::Enum | FieldType::Array) => Spelling::Of(FieldType::Text),
            None => Spelling::Of(field.kind),
        };
        Ok((leaf, spelling, Some(field.kind)))
    }
}

/// What one comparison adds to an alternative.
#[derive(Clone, Debug)]
enum Part {
    Guard(Attribute, String),
    Constant(Path, String),
    Join(Path, Owner),
}

impl Draft {
    fn add(&mut self, part: Part) {
        match part {
            Part::Guard(attribute, text) => self.guards.push((attribute, text)),
            Part::Constant(path, text) => self.constants.push((path, text)),
            Part::Join(path, owner) => self.joins.push((path, owner)),
        }
    }

    fn extend(&mut self, other: &Self) {
        self.guards.extend(other.guards.iter().cloned());
        self.present.extend(other.present.iter().cloned());
        self.constants.extend(other.constants.iter().cloned());
        self.joins.extend(other.joins.iter().cloned());
    }
}

impl std::fmt::Display for Spelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RecordOf(channel) => write!(f, "a record of `{channel}`"),
            Self::Of(kind) => f.write_str(kind.word()),
        }
    }
}

impl Attribute {
    /// `None`: the text is no attribute.
    fn parse(text: &str) -> Result<Option<Self>, Fault> {
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
}
