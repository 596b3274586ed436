//! Seeded simulation: several real devices and the real server in one thread, with a network, crashes, restores of old
//! data, changing definitions and edits that all come from one number. A run of a seed is the same every time, so a failure
//! is found once and kept for ever.
//!
//! - `world`: the line of time, the network, what happens; `fault`: what can go wrong
//! - `node`, `shaky`: the server and its backend; `device`: the apps and their users; `memory`: the databases of all
//! - `oracle`: what must be true, worked out from the history alone
//! - `crash_points`: another matter, with real processes: what a power cut leaves of their files
//!
//! *Invariant:* nothing here asks the system for time or chance, and the oracle uses no logic of what it judges.

pub mod crash_points;

mod device;
mod fault;
pub mod hunt;
mod memory;
mod node;
mod oracle;
pub mod plant;
mod rng;
mod shaky;
mod trace;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use omctl::catalog::Catalog;
use omctl_protocol::Outcome;

pub use crate::fault::Fault;
pub use crate::hunt::Sums;
use crate::trace::Trace;
pub use crate::world::Failure;
use crate::world::World;

/// What to run: a seed, and what of it to leave out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Faults that do not happen.
    pub without: Vec<Fault>,
    /// So many devices at most.
    pub devices: Option<usize>,
    /// Users write for so long at most, in milliseconds.
    pub writing_ms: Option<u64>,
}

impl Plan {
    /// All of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// What became of one seed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Identifies everything that happened: the same for every run of the seed.
    pub digest: String,
    /// What happened, line by line, where that was asked for.
    pub trace: Vec<String>,
    /// Devices.
    pub devices: usize,
    /// Events on the line of time.
    pub events: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<Fault, u64>,
    /// How often each promise was checked, by its number.
    pub promises: BTreeMap<u32, u64>,
    /// Mutations that left a device.
    pub mutations: usize,
    /// Of them: some value lost.
    pub conflicts: usize,
    /// Of them: refused.
    pub rejected: usize,
}

/// Runs one seed to its end. A panic in it is a failure as any other.
///
/// # Panics
/// If the project beside this package cannot be loaded.
pub fn run(plan: &Plan, keep_trace: bool) -> Report {
    let catalogs = catalogs();
    let run = AssertUnwindSafe(|| run_to_its_end(plan, catalogs, keep_trace));
    catch_unwind(run).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Report {
            seed: plan.seed,
            failure: Some(format!("a panic: {}", words.unwrap_or("without words"))),
            ..Report::default()
        }
    })
}

fn run_to_its_end(plan: &Plan, catalogs: [Arc<Catalog>; 2], keep_trace: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be built");
    runtime.block_on(async {
        let mut world = World::new(plan, catalogs, Trace::new(keep_trace)).await;
        let failure = world.run().await.err().map(|Failure(why)| why);
        Report {
            seed: plan.seed,
            failure,
            digest: world.trace.digest(),
            devices: world.devices.len(),
            events: world.events(),
            faults: world.faults.counts().clone(),
            promises: world.oracle.promises(),
            mutations: world.oracle.mutations(),
            conflicts: world.oracle.count(Outcome::Conflict),
            rejected: world.oracle.count(Outcome::Rejected),
            trace: world.trace.into_lines(),
        }
    })
}

/// The definitions between which the server alternates.
fn catalogs() -> [Arc<Catalog>; 2] {
    static CATALOGS: OnceLock<[Arc<Catalog>; 2]> = OnceLock::new();
    CATALOGS
        .get_or_init(|| {
            let load = |folder: &str| {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
                let (catalog, _) = omctl::catalog::load(&root, &|_| None, None).expect("the project is valid");
                catalog
            };
            let first = load("project");
            let mut second = first.clone();
            second.channels.extend(load("project-next").channels);
            [Arc::new(first), Arc::new(second)]
        })
        .clone()
}
