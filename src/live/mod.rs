//! What is loaded now: an immutable [`Live`], built whole and swapped, or not at all.
//!
//! A reader takes one `Arc<Live>` per request from the [`LiveHandle`], so a reload calls nobody back. Here meet what the
//! developer declared (`catalog`), what it means (`rule`) and where it lives (`backend`).
//!
//! *Invariant:* a `Live` never changes, and one that has errors is never built.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use omctl_protocol::{ChannelName, ChannelSchema, FieldType, SchemaVersion};

use crate::backend::{Backend, Collection};
use crate::catalog::{
    BackendDecl, Catalog, Channel, DevicesDecl, Diagnostic, MANAGED, Place, ScopeDecl, ScopeRight, Severity,
};
use crate::rule::{Channels, Entry, FieldKind, Leaf, Membership, Right, Rule, Source};

/// One generation of definitions.
#[derive(Debug, Default)]
pub struct Live {
    /// Its number in this process; the first is 1.
    pub generation: u64,
    /// The project's name.
    pub name: String,
    /// What holds for every device.
    pub devices: DevicesDecl,
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

/// The generation that is live now, and why the project's files are not, if they are not. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct LiveHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    live: ArcSwap<Live>,
    trouble: ArcSwap<Vec<Diagnostic>>,
}

impl LiveHandle {
    /// Holds this generation.
    pub fn new(live: Live) -> Self {
        Self(Arc::new(Shared { live: ArcSwap::from_pointee(live), trouble: ArcSwap::default() }))
    }

    /// The generation that is live now.
    pub fn current(&self) -> Arc<Live> {
        self.0.live.load_full()
    }

    /// Makes another generation live. The project's files are in order then.
    pub fn swap(&self, live: Arc<Live>) {
        self.0.live.store(live);
        self.0.trouble.store(Arc::default());
    }

    /// What is wrong with the project's files, so that an earlier generation is live; empty where nothing is.
    pub fn trouble(&self) -> Arc<Vec<Diagnostic>> {
        self.0.trouble.load_full()
    }

    /// Notes why the project's files cannot be live, or that they are in order again.
    pub fn note_trouble(&self, found: Vec<Diagnostic>) {
        self.0.trouble.store(Arc::new(found));
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
        let mut live = Self { generation, name: catalog.name.clone(), devices: catalog.devices, ..Self::default() };
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

    /// The same definitions under a later number.
    pub fn again(&self, generation: u64) -> Self {
        Self {
            generation,
            name: self.name.clone(),
            devices: self.devices,
            channels: self.channels.clone(),
            backends: self.backends.clone(),
            by_number: self.by_number.clone(),
        }
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
pub fn home_text(catalog: &Catalog, channel: &Channel) -> String {
    match catalog.backends.get(&channel.backend) {
        // Relative where it can be: a project that is moved as a whole keeps its homes.
        Some(BackendDecl::Sqlite { path }) => {
            let path = path.strip_prefix(&catalog.root).unwrap_or(path);
            format!("sqlite:{}#{}", path.display(), channel.table)
        }
        None => format!("{}/{}", channel.backend, channel.table),
    }
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
    let placings: Vec<String> = channels.values().map(|channel| placing(channels, channel)).collect();
    for (channel, placing) in channels.values_mut().zip(placings) {
        channel.placing = placing;
    }
}

/// Identifies how a channel's records are placed: by its rule, and by the fields that this reads. Others may come and go.
fn placing(channels: &BTreeMap<ChannelName, LiveChannel>, channel: &LiveChannel) -> String {
    let mut parts: BTreeSet<String> = BTreeSet::new();
    let mut note = |of: &ChannelName, field: &str| {
        if let Some(of) = channels.get(of)
            && let Some((_, field)) = of.schema.field(field)
        {
            // A body of a version without the field reads as its default.
            let default = field.default.as_ref().map(ToString::to_string).unwrap_or_default();
            let kind = field.kind.word();
            parts.insert(format!("{}.{}/{}={}:{kind}:{default}", of.name(), of.epoch, field.name, field.column()));
        }
    };
    let memberships = channel.listed.iter().flat_map(|membership| membership.paths());
    for path in channel.rule.paths().iter().chain(memberships) {
        let mut at = channel.name();
        for step in &path.via {
            note(at, &step.field);
            at = &step.to;
        }
        if let Leaf::Field(name) = &path.leaf {
            note(at, name);
        }
    }
    for (field, _) in &channel.parents {
        note(channel.name(), field);
    }
    parts.extend(channel.listed.iter().map(|membership| format!("@{}", membership.fingerprint())));
    let parts: Vec<String> = parts.into_iter().collect();
    // Where a field came back, records that hold something aside for it get it back on the way.
    let back = came_back(&channel.versions).map(|version| format!("+{version}")).unwrap_or_default();
    format!("{}:{}{back}:{}", channel.epoch, channel.rule.fingerprint(), parts.join(","))
}

/// The latest version in which a field was there again, with its type, that the version before had not.
fn came_back(versions: &BTreeMap<SchemaVersion, Arc<ChannelSchema>>) -> Option<SchemaVersion> {
    let mut gone: HashSet<(&str, FieldType)> = HashSet::new();
    let mut before: HashSet<(&str, FieldType)> = HashSet::new();
    let mut latest = None;
    for (version, schema) in versions {
        let fields: HashSet<_> = schema.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
        if fields.iter().any(|field| gone.contains(field) && !before.contains(field)) {
            latest = Some(*version);
        }
        gone.extend(before.difference(&fields).copied());
        before = fields;
    }
    latest
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
