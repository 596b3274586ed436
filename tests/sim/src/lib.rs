//! Seeded simulation: several real devices and the real server in one thread, with a network, crashes, restores of old
//! data, changing definitions and edits that all come from one number. A run of a seed is the same every time, so a failure is found once and kept for ever.
//!
//! - `world`: the line of time, the network, what goes wrong
//! - `node`, `shaky`: the server and its backend; `device`: the apps and their users
//! - `oracle`: what must be true, worked out from the history alone
//!
//! *Invariant:* nothing here asks the system for time or chance, and the oracle uses no logic of what it judges.

mod device;
mod node;
mod oracle;
mod rng;
mod shaky;
mod trace;
mod world;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use omctl::catalog::Catalog;
use omctl_protocol::Outcome;

use crate::trace::Trace;
pub use crate::world::Failure;
use crate::world::World;

/// What became of one seed.
#[derive(Clone, Debug)]
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
    /// Faults of the network, the server, the backend and the devices.
    pub faults: u64,
    /// Mutations that left a device.
    pub mutations: usize,
    /// Of them: some value lost.
    pub conflicts: usize,
    /// Of them: refused.
    pub rejected: usize,
}

/// Runs one seed to its end.
///
/// # Panics
/// If the project beside this package cannot be loaded, or the operating system gives no runtime.
pub fn run(seed: u64, keep_trace: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be built");
    runtime.block_on(async {
        let mut world = World::new(seed, catalogs(), Trace::new(keep_trace)).await;
        let failure = world.run().await.err().map(|Failure(why)| why);
        Report {
            seed,
            failure,
            digest: world.trace.digest(),
            devices: world.devices.len(),
            events: world.events(),
            faults: world.faults(),
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
