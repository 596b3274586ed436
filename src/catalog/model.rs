//! The declared project as types. Built by the loader, and by tests and the simulator without any file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::{ChannelName, ChannelSchema, RecordId, Value};

use super::scenario::SCENARIOS_DIR;
use super::seed::SEED_DIR;

/// The name of a backend that `openmobster.yaml` declares; `managed` is always there.
pub const MANAGED: &str = "managed";

/// Everything that a project declares.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The project root.
    pub root: PathBuf,
    /// `name:` of `openmobster.yaml`.
    pub name: String,
    /// `backends:`; `managed` is not among them.
    pub backends: BTreeMap<String, BackendDecl>,
    /// `channels/*.yaml`.
    pub channels: BTreeMap<ChannelName, Arc<Channel>>,
    /// `seed/*.yaml`, in the order of the numbers.
    pub seed: Vec<SeedFile>,
    /// `scenarios/*.yaml`
    pub scenarios: BTreeMap<String, Arc<Scenario>>,
    /// `server:` with the chosen `env:` on top; what the flags do not override.
    pub server: ServerDecl,
    /// `devices:`
    pub devices: DevicesDecl,
}

/// One file of `seed/`.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedFile {
    /// The channel; a managed one.
    pub channel: ChannelName,
    /// Its records.
    pub records: Vec<SeedRecord>,
}

/// One record of a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedRecord {
    /// Its id.
    pub id: RecordId,
    /// Canonical values in the order of the channel's fields.
    pub values: Vec<Value>,
}

/// One file of `scenarios/`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's name.
    pub name: String,
    /// `seed:`; without it every run chooses anew.
    pub seed: Option<u64>,
    /// `accounts:`
    pub groups: Vec<Group>,
    /// `phases:`, one after the other.
    pub phases: Vec<Phase>,
    /// `expect:`
    pub expect: Vec<Expectation>,
    /// The file, relative to the project root.
    pub file: PathBuf,
}

/// An account of a fleet, and its devices, which are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, which phases use.
    pub name: String,
    /// The accounts' role.
    pub role: Option<String>,
    /// The accounts' claims.
    pub claims: BTreeMap<String, Vec<String>>,
    /// How many, from 1.
    pub devices: u32,
    /// Their connections, where a phase does not say otherwise.
    pub link: Link,
}

/// What a simulated device's connection is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// `wifi`: a quiet office.
    #[default]
    Wifi,
    /// `4g`: a good phone network.
    FourG,
    /// `3g`: slow and steady.
    ThreeG,
    /// `edge`: very slow and uneven.
    Edge,
    /// `satellite`: fast enough, and far away.
    Satellite,
    /// `lossy`: slow, uneven, with lost requests, lost replies, and connections that end without a word.
    Lossy,
    /// `captive-portal`: something answers, and it is not the server.
    CaptivePortal,
    /// `airplane`: nothing answers.
    Airplane,
}

impl Link {
    /// Every kind with the word that names it.
    pub const ALL: [(&str, Self); 8] = [
        ("wifi", Self::Wifi),
        ("4g", Self::FourG),
        ("3g", Self::ThreeG),
        ("edge", Self::Edge),
        ("satellite", Self::Satellite),
        ("lossy", Self::Lossy),
        ("captive-portal", Self::CaptivePortal),
        ("airplane", Self::Airplane),
    ];
}

/// One entry of `phases:`.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// `heal: all`: everything is put right, and the fleet waits until nothing is left to do.
    Heal,
    /// Something happens for a time.
    Act {
        /// `for:`
        lasts: Duration,
        /// `server: { restart: … }`: how often the server is killed and started again.
        restarts: u32,
        /// `foreign:`: who else writes to backends.
        foreign: Vec<ForeignAct>,
        /// What each of these groups does; the others only watch.
        acts: Vec<(String, Act)>,
    },
}

/// Somebody who writes to a channel's backend and knows nothing of us.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignAct {
    /// The channel whose table is written.
    pub channel: ChannelName,
    /// Writes per second.
    pub rate: f64,
}

/// What a group does in a phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Act {
    /// Channels in which it creates, updates and deletes.
    pub write: Vec<ChannelName>,
    /// Channels in which it creates.
    pub create: Vec<ChannelName>,
    /// Channels in which it updates.
    pub update: Vec<ChannelName>,
    /// Channels in which it deletes.
    pub delete: Vec<ChannelName>,
    /// Writes per second and device.
    pub rate: Option<f64>,
    /// All write to this many records.
    pub hot_keys: Option<u64>,
    /// Percent of the devices that are offline for the whole phase.
    pub offline: Option<u8>,
    /// For how long each device is offline once, at a moment of its own.
    pub away: Option<Duration>,
    /// Percent of the writes that are transactions of several records.
    pub transactions: Option<u8>,
    /// How many times one of the devices is killed and started again.
    pub kills: u64,
    /// How many times one of the devices is set back to a backup that it made in this phase.
    pub restores: u64,
    /// How many times one of the devices has its app closed and opened again, as for an update.
    pub upgrades: u64,
    /// By how much the devices' clocks are wrong, at most, either way.
    pub clock_skew: Option<Duration>,
    /// Their connections in this phase.
    pub link: Option<Link>,
}

/// One entry of `expect:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What is measured: a member of the simulation's report.
    pub of: &'static str,
    /// What it must be.
    pub bound: Bound,
}

/// What a measured value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// True or false.
    Is(bool),
    /// This number.
    Exactly(u64),
    /// `<`
    Below(u64),
    /// `<=`
    AtMost(u64),
    /// `>`
    Above(u64),
    /// `>=`
    AtLeast(u64),
}

/// `server:` of `openmobster.yaml`, unresolved: `config` puts defaults below and flags above it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerDecl {
    /// `addr:`
    pub addr: Option<String>,
    /// `data_dir:`, relative to the project root.
    pub data_dir: Option<PathBuf>,
    /// `hosts:`
    pub hosts: Vec<String>,
    /// `trusted_proxies:`
    pub trusted_proxies: Vec<String>,
}

/// `devices:` of `openmobster.yaml`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevicesDecl {
    /// `lease:`: after so long without a word from the server a device locks itself until the next one.
    pub lease: Option<Duration>,
}

/// One entry of `backends:`.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendDecl {
    /// `kind: sqlite`
    Sqlite {
        /// `path:`, made absolute against the project root.
        path: PathBuf,
    },
}

/// One channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// The file's name.
    pub name: ChannelName,
    /// `backend:`, [`MANAGED`] or one of [`Catalog::backends`].
    pub backend: String,
    /// `table:`; for `managed` the channel's name.
    pub table: String,
    /// `where:`: column and value that every synced row has.
    pub filter: Vec<(String, Value)>,
    /// Key and fields. The version is 0 here: the store numbers it.
    pub schema: ChannelSchema,
    /// `scope:`
    pub scope: ScopeDecl,
    /// `write:`
    pub write: WriteDecl,
    /// `delete_vs_update:`
    pub delete_vs_update: DeleteVsUpdate,
    /// `detect: { every: … }`
    pub poll_every: Option<Duration>,
    /// The file, relative to the project root.
    pub file: PathBuf,
}

/// `scope:` as written. `rule` gives it meaning.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ScopeDecl {
    /// No scope: nobody sees anything.
    #[default]
    Nobody,
    /// `scope: public`
    Public,
    /// Any of these, each all of its entries.
    AnyOf(Vec<Vec<ScopeEntry>>),
}

impl ScopeDecl {
    /// The expression without where it stands.
    pub fn placeless(&self) -> Self {
        let Self::AnyOf(alternatives) = self else { return self.clone() };
        let placeless = |entry: &ScopeEntry| ScopeEntry { at: Place::default(), ..entry.clone() };
        Self::AnyOf(alternatives.iter().map(|all| all.iter().map(placeless).collect()).collect())
    }
}

/// One `left: right` of a scope expression.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeEntry {
    /// A field, `id`, `via`, or `account.role`, `account.email`, `account.claims.NAME`.
    pub left: String,
    /// What it must equal.
    pub right: ScopeRight,
    /// Where it stands.
    pub at: Place,
}

/// The right side of a scope expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ScopeRight {
    /// `account.…`, a constant, or the reference of `via`.
    Text(String),
    /// `{ in: CHANNEL.FIELD, where: { … } }`: what membership rows say.
    In {
        /// The channel of the rows.
        channel: ChannelName,
        /// Their field.
        field: String,
        /// Which rows are the account's.
        filter: Vec<(String, String)>,
    },
}

/// `write:`: who may do what. What is not named is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteDecl {
    /// `create:`
    pub create: Roles,
    /// `update:`
    pub update: Roles,
    /// `delete:`
    pub delete: Roles,
}

/// A set of roles.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Roles {
    /// Nobody.
    #[default]
    Nobody,
    /// Every account.
    Any,
    /// Accounts of these roles.
    Only(Vec<String>),
}

impl Roles {
    /// Whether an account of this role (or of none) is among them.
    pub fn contain(&self, role: Option<&str>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Any => true,
            Self::Only(roles) => role.is_some_and(|role| roles.iter().any(|one| one == role)),
        }
    }

    /// Whether no account is among them.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }
}

/// What happens where one side deleted a record that the other changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeleteVsUpdate {
    /// The changed record stays (or, where it is already gone, the update ends as a conflict).
    #[default]
    UpdateWins,
    /// The record is deleted.
    DeleteWins,
}

/// A place in a file of the project. Lines and columns count from 1; a column counts characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the project root.
    pub file: PathBuf,
    /// The line; 0 where the whole file is meant.
    pub line: usize,
    /// The column; 0 where the whole line is meant.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        match (self.line, self.column) {
            (0, _) => Ok(()),
            (line, 0) => write!(f, ":{line}"),
            (line, column) => write!(f, ":{line}:{column}"),
        }
    }
}

/// One thing that is wrong, or worth a warning, in the project's files.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Whether the project can be served all the same.
    pub severity: Severity,
    /// Stable code, for `--json`.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// What: a lower-case fragment without a full stop. Never a secret's value.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Whether nothing of the project can be served before it is mended. A mistake in what only fills a fresh store, or only
    /// describes a fleet, is one for whoever uses that.
    pub fn holds_up(&self) -> bool {
        let is_in = |folder: &str| self.place.file.starts_with(folder);
        self.severity == Severity::Error && !is_in(SEED_DIR) && !is_in(SCENARIOS_DIR)
    }
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Cannot be served.
    Error,
    /// Can be served; probably not what was meant.
    Warning,
}
