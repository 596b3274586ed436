//! What can go wrong. A seed has some of it: where everything goes wrong at once, rare things never get their chance
//! (Groce and others, "Swarm testing", 2012).

use std::collections::{BTreeMap, BTreeSet};

use crate::rng::Rng;

macro_rules! faults {
    ($($(#[$about:meta])* $fault:ident = $name:literal),+ $(,)?) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$about])* $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault),+];

            /// Its name in reports and on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fault => $name,)+
                }
            }
        }
    };
}

faults! {
    /// Frames are on their way for seconds.
    Delay = "delay",
    /// Requests and connections stand still for minutes.
    LongDelay = "long_delay",
    /// A connection breaks; each side notices in its own time.
    Cut = "cut",
    /// Only one direction of a connection still works.
    OneWay = "one_way",
    /// A message breaks off in its middle.
    CutInMessage = "cut_in_message",
    /// A request never arrives.
    LostRequest = "lost_request",
    /// A request is done and its reply never arrives.
    LostReply = "lost_reply",
    /// A box on the way sends a request again.
    DoubledRequest = "doubled_request",
    /// Such a copy arrives after later requests.
    LateRequest = "late_request",
    /// A device does not read what the server sends, for a while.
    SlowConsumer = "slow_consumer",
    /// Every connection breaks at once, and every device comes back at once.
    Stampede = "stampede",
    /// The server dies between two steps.
    ServerCrash = "server_crash",
    /// The server comes back with an old copy of its store.
    ServerSetBack = "server_set_back",
    /// And the backend with a copy of the same moment.
    BothSetBack = "both_set_back",
    /// The backend comes back with an old copy of itself while the server runs.
    BackendSetBack = "backend_set_back",
    /// The server's disk is full.
    ServerDiskFull = "server_disk_full",
    /// A statement or a commit of the server's store fails in its middle.
    ServerIo = "server_io_error",
    /// The server's clock jumps by up to an hour.
    ServerClock = "server_clock",
    /// Nobody answers for the backend.
    BackendDown = "backend_down",
    /// The backend takes its time.
    BackendSlow = "backend_slow",
    /// The backend did the work and the answer is lost.
    LostAnswer = "lost_answer",
    /// The backend answers with an error of its own making.
    Garbage = "backend_garbage",
    /// The backend's disk is full.
    BackendDiskFull = "backend_disk_full",
    /// The backend's database is locked by somebody else.
    BackendBusy = "backend_busy",
    /// A list ends early and says that it is whole.
    PartialList = "partial_list",
    /// A list has rows twice.
    DoubledRows = "doubled_rows",
    /// Somebody edits the backend behind the server's back.
    Edit = "edit_behind_our_back",
    /// An app is ended by the system.
    AppDies = "app_dies",
    /// An app dies in the middle of a commit.
    AppDiesInCommit = "app_dies_in_commit",
    /// A phone loses what was not yet on its disk.
    PowerCut = "power_cut",
    /// A phone is set back to its own backup.
    DeviceSetBack = "device_set_back",
    /// A phone's disk is full.
    DeviceDiskFull = "device_disk_full",
    /// A statement or a commit of a phone's store fails in its middle.
    DeviceIo = "device_io_error",
    /// A phone's clock jumps by up to ten years.
    DeviceClock = "device_clock",
    /// An old session of a device is still there when the next one begins.
    TwoSessions = "two_sessions",
    /// Another process of an app writes, and the engine finds it later.
    OtherProcess = "other_process",
    /// The fields of channels change.
    Schema = "schema_changed",
    /// That happens while the server runs.
    HotReload = "hot_reload",
    /// Who may see a channel changes.
    ScopeRule = "scope_rule_changed",
    /// What an account may see changes.
    Claims = "claims_changed",
    /// A device is revoked.
    Revoked = "revoked",
    /// A device is locked, and later unlocked.
    Locked = "locked",
    /// A device is wiped.
    Wiped = "wiped",
    /// A device locks itself: it has not heard from the server for too long, by its clock.
    LeaseExpired = "lease_expired",
}

/// The faults of one run, and how often each happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    on: BTreeSet<Fault>,
    counts: BTreeMap<Fault, u64>,
}

impl Faults {
    /// Some of them, by chance; without those that are left out on purpose.
    pub(crate) fn some(rng: &Rng, without: &[Fault]) -> Self {
        // A seed in which nothing goes wrong, one in which everything does, and mostly half of it.
        let percent = *rng.pick(&[0, 20, 50, 50, 50, 80, 100]);
        // Every fault has its throw of the dice, left out or not: what is left out changes nothing else.
        let dice: Vec<&Fault> = Fault::ALL.iter().filter(|_| rng.percent(percent)).collect();
        Self {
            on: dice.into_iter().copied().filter(|fault| !without.contains(fault)).collect(),
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn may(&self, fault: Fault) -> bool {
        self.on.contains(&fault)
    }

    /// It happened, and could make a difference.
    pub(crate) fn count(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> &BTreeMap<Fault, u64> {
        &self.counts
    }
}
