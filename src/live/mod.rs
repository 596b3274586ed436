//! What is loaded now: an immutable [`Live`], built whole and swapped, or not at all.
//!
//! A reader takes one `Arc<Live>` per request from the [`LiveHandle`], so a reload calls nobody back. Here meet what the
//! developer declared (`catalog`), what it means (`rule`) and where it lives (`backend`).
//!
//! *Invariant:* a `Live` never changes, and one that has errors is never built.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use omctl_protocol::{ChannelName, ChannelSchema, FieldType, SchemaVersion};

use crate::backend::{Backend, Collection};
use crate::catalog::{Catalog, Channel, Diagnostic, MANAGED, Place, ScopeDecl, ScopeRight, Severity};
use crate::rule::{Channels, Entry, FieldKind, Membership, Right, Rule, Source};

/// One generation of definitions.
#[derive(Debug, Default)]
pub struct Live {
    /// Its number in this process; the first is 1.
    pub generation: u64,
    /// The project's name.
    pub name: String,
    /// Every channel.
    pub channels: BTreeMap<ChannelName, Arc<LiveChannel>>,
    /// Every backend that a channel uses; `managed` is not among them.
    pub backends: BTreeMap<String, Arc<dyn Backend>>,
    by_number: HashMap<u64, ChannelName>,
}

/// A channel, ready for use.
#[derive(Debug)]
pub struct LiveChannel {
    /// Its durable number in the store.
    pub number: u64,
    /// Rises when its backend or table changes; part of every scope key.
    pub epoch: u32,
    /// As declared.
    pub decl: Arc<Channel>,
    /// Its fields, with their durable version.
    pub schema: Arc<ChannelSchema>,
    /// Every version that a device or a mutation may still name, the current one included.
    pub versions: BTreeMap<SchemaVersion, Arc<ChannelSchema>>,
    /// Who sees what.
    pub rule: Rule,
    /// What rules of channels, this one included, ask of its rows as memberships.
    pub listed: Vec<Arc<Membership>>,
    /// References through which its records inherit scopes: field and channel.
    pub parents: Vec<(String, ChannelName)>,
    /// Whether records of some channel inherit from its records.
    pub leads: bool,
    /// Whether some field refers to its records.
    pub is_named: bool,
    /// Identifies how its records are placed in scopes: while it is the same, so are the places.
    pub placing: String,
    /// How they are placed in the store, when this generation was built.
    pub placed: Option<String>,
    /// Where its records live.
    pub home: Home,
}

/// Where a channel's records live.
#[derive(Clone, Debug)]
pub enum Home {
    /// In the state log itself.
    Managed,
    /// In a backend.
    Backend(Arc<dyn Backend>, Arc<Collection>),
}

/// A channel's durable numbers, as the store gave them.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// The channel's number.
    pub number: u64,
    /// Its epoch.
    pub epoch: u32,
    /// The fields with their version.
    pub schema: ChannelSchema,
    /// Earlier versions.
    pub older: Vec<ChannelSchema>,
    /// How its records are placed in scopes in the store.
    pub placed: Option<String>,
}

/// The generation that is live now. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct LiveHandle(Arc<ArcSwap<Live>>);

impl LiveHandle {
    /// Holds this generation.
    pub fn new(live: Live) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(live)))
    }

    /// The generation that is live now.
    pub fn current(&self) -> Arc<Live> {
        self.0.load_full()
    }

    /// Makes another generation live.
    pub fn swap(&self, live: Live) {
        self.0.store(Arc::new(live));
    }
}

impl Live {
    /// Builds a generation whole.
    ///
    /// # Errors
    /// Every rule that has no meaning, with its place; a backend that is declared and was not opened.
    pub fn build(
        generation: u64,
        catalog: &Catalog,
        numbered: Vec<Numbered>,
        backends: &BTreeMap<String, Arc<dyn Backend>>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let mut live = Self { generation, name: catalog.name.clone(), ..Self::default() };
        let mut channels: BTreeMap<ChannelName, LiveChannel> = BTreeMap::new();
        for numbers in numbered {
            let Some(decl) = catalog.channels.get(&numbers.schema.channel) else { continue };
            let rule = match compile(catalog, decl) {
                Ok(rule) => rule,
                Err(errors) => {
                    diagnostics.extend(errors);
                    continue;
                }
            };
            let home = match backends.get(&decl.backend) {
                _ if decl.backend == MANAGED => Home::Managed,
                Some(backend) => {
                    live.backends.insert(decl.backend.clone(), backend.clone());
                    Home::Backend(backend.clone(), Arc::new(collection(catalog, decl)))
                }
                None => {
                    diagnostics.push(not_open(decl));
                    continue;
                }
            };
            let schema = Arc::new(numbers.schema);
            let versions = numbers
                .older
                .into_iter()
                .map(|older| (older.version, Arc::new(older)))
                .chain([(schema.version, schema.clone())])
                .collect();
            live.by_number.insert(numbers.number, decl.name.clone());
            let channel = LiveChannel {
                number: numbers.number,
                epoch: numbers.epoch,
                decl: decl.clone(),
                schema,
                versions,
                parents: parents_of(&rule),
                rule,
                listed: Vec::new(),
                leads: false,
                is_named: false,
                placing: String::new(),
                placed: numbers.placed,
                home,
            };
            channels.insert(decl.name.clone(), channel);
        }
        if !diagnostics.is_empty() {
            return Err(diagnostics);
        }
        tie(&mut channels);
        live.channels = channels.into_iter().map(|(name, channel)| (name, Arc::new(channel))).collect();
        Ok(live)
    }

    /// The channel of this durable number.
    pub fn channel_numbered(&self, number: u64) -> Option<&Arc<LiveChannel>> {
        self.by_number.get(&number).and_then(|name| self.channels.get(name))
    }
}

impl LiveChannel {
    /// The name.
    pub fn name(&self) -> &ChannelName {
        &self.decl.name
    }

    /// The backend's name, or `managed`.
    pub fn backend_name(&self) -> &str {
        &self.decl.backend
    }
}

/// What is wrong with a catalog beyond its shape: rules without a meaning.
pub fn diagnose(catalog: &Catalog) -> Vec<Diagnostic> {
    catalog.channels.values().filter_map(|channel| compile(catalog, channel).err()).flatten().collect()
}

/// Who sees a channel's records, in a sentence; `None` where its rule has no meaning.
pub fn explain_scope(catalog: &Catalog, channel: &Channel) -> Option<String> {
    compile(catalog, channel).ok().map(|rule| rule.to_string())
}

/// Names where a channel's records live: a change of it is a new epoch of the channel.
pub fn home_text(channel: &Channel) -> String {
    format!("{}/{}", channel.backend, channel.table)
}

/// What a backend must know of a channel.
pub fn collection(catalog: &Catalog, channel: &Channel) -> Collection {
    Collection::new(&channel.schema, &channel.table, channel.filter.clone(), |to| key_kind(catalog, to))
}

/// The type that references to a channel have in its backend: that of its key's only column.
fn key_kind(catalog: &Catalog, name: &ChannelName) -> Option<FieldType> {
    let schema = &catalog.channels.get(name)?.schema;
    let [column] = schema.key.columns.as_slice() else { return None };
    match column.field.as_deref() {
        None => Some(FieldType::Text),
        Some(field) => schema.field(field).map(|(_, field)| match (&field.to, field.kind) {
            // A key that is itself a reference (a one-to-one table) has the type of what it points to.
            (Some(to), FieldType::Ref) if to != name => key_kind(catalog, to).unwrap_or(FieldType::Text),
            (_, kind) => kind,
        }),
    }
}

/// The references by which records of a channel inherit, each once.
fn parents_of(rule: &Rule) -> Vec<(String, ChannelName)> {
    let mut parents: Vec<(String, ChannelName)> = rule
        .paths()
        .iter()
        .filter_map(|path| path.via.first())
        .map(|step| (step.field.clone(), step.to.clone()))
        .collect();
    parents.sort();
    parents.dedup();
    parents
}

/// Tells each channel what the rules of the others want of it.
fn tie(channels: &mut BTreeMap<ChannelName, LiveChannel>) {
    let memberships: Vec<Arc<Membership>> =
        channels.values().flat_map(|channel| channel.rule.memberships()).cloned().collect();
    for membership in memberships {
        if let Some(of) = channels.get_mut(&membership.channel)
            && !of.listed.contains(&membership)
        {
            of.listed.push(membership);
        }
    }
    let leading: Vec<ChannelName> =
        channels.values().flat_map(|channel| channel.parents.iter().map(|(_, to)| to.clone())).collect();
    for name in leading {
        if let Some(channel) = channels.get_mut(&name) {
            channel.leads = true;
        }
    }
    let fields = channels.values().flat_map(|channel| &channel.schema.fields);
    let named: BTreeSet<ChannelName> = fields.filter_map(|field| field.to.clone()).collect();
    for (name, channel) in channels.iter_mut() {
        channel.is_named = named.contains(name);
    }
    // A rule reads values in today's fields: with other fields the same record may belong elsewhere.
    let versions: BTreeMap<ChannelName, String> = channels
        .iter()
        .map(|(name, channel)| (name.clone(), format!("{}.{}", channel.epoch, channel.schema.version)))
        .collect();
    for (name, channel) in channels.iter_mut() {
        let mut parts: Vec<String> =
            channel.listed.iter().map(|membership| format!("@{}", membership.fingerprint())).collect();
        let steps = channel.rule.paths().iter().flat_map(|path| &path.via);
        parts.extend(steps.map(|step| format!("^{}:{}", step.to, versions.get(&step.to).map_or("", String::as_str))));
        parts.sort();
        parts.dedup();
        channel.placing = format!("{}:{}:{}", versions[name], channel.rule.fingerprint(), parts.join(","));
    }
}

/// What rules may know of a catalog.
struct Declared<'c>(&'c Catalog);

impl Channels for Declared<'_> {
    fn source(&self, channel: &ChannelName) -> Option<Source> {
        Some(match &self.0.channels.get(channel)?.scope {
            ScopeDecl::Nobody => Source::Nobody,
            ScopeDecl::Public => Source::Public,
            ScopeDecl::AnyOf(alternatives) => {
                let entry = |entry: &crate::catalog::ScopeEntry| Entry {
                    left: entry.left.clone(),
                    right: match &entry.right {
                        ScopeRight::Text(text) => Right::Text(text.clone()),
                        ScopeRight::In { channel, field, filter } => {
                            Right::In { channel: channel.clone(), field: field.clone(), filter: filter.clone() }
                        }
                    },
                };
                Source::AnyOf(alternatives.iter().map(|all| all.iter().map(entry).collect()).collect())
            }
        })
    }

    fn field(&self, channel: &ChannelName, field: &str) -> Option<FieldKind> {
        let (_, field) = self.0.channels.get(channel)?.schema.field(field)?;
        Some(FieldKind { kind: field.kind, to: field.to.clone() })
    }
}

fn compile(catalog: &Catalog, channel: &Channel) -> Result<Rule, Vec<Diagnostic>> {
    let place = |alternative: usize, entry: usize| match &channel.scope {
        ScopeDecl::AnyOf(alternatives) => Some(alternatives.get(alternative)?.get(entry)?.at.clone()),
        ScopeDecl::Nobody | ScopeDecl::Public => None,
    };
    Rule::new(&channel.name, &Declared(catalog)).map_err(|errors| {
        errors
            .into_iter()
            .map(|error| Diagnostic {
                severity: Severity::Error,
                code: "bad_scope",
                place: place(error.alternative, error.entry).unwrap_or_default(),
                message: error.message,
                hint: Some(error.hint),
            })
            .collect()
    })
}

fn not_open(channel: &Channel) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: "unknown_backend",
        place: Place { file: channel.file.clone(), line: 0, column: 0 },
        message: format!("backend `{}` is not open", channel.backend),
        hint: Some("declare it under `backends:` in openmobster.yaml".into()),
    }
}
