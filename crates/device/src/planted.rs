//! A bug that is planted on purpose: the checker of a simulated fleet must find it from outside.
//!
//! Only a build with the feature `planted` has this module, and none that ships has it. With `OMCTL_PLANT=reverted`, an
//! app sees the old values of one record again while its update still waits for the receipt, which then mends it.
//!
//! The simulation of `tests/sim` plants other bugs ([`has`]): an engine that has one of them has it everywhere.
//!
//! *Invariant:* one process makes one mistake, however many devices it has.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use omctl_protocol::{ChannelName, MutationId};

/// The mistake comes at this update: by then a fleet is in the midst of its work.
const OPPORTUNITY: u32 = 10;

/// For how long the update is kept from the server: its receipt would come too soon for anybody to see the mistake.
const SEEN_FOR: Duration = Duration::from_millis(500);

/// Whether this process has this bug of the simulation's.
pub(crate) fn has(bug: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "nothing is handed down through rooms that must not know of it")]
    let planted = PLANTED.get_or_init(|| std::env::var("OMCTL_PLANT").ok());
    planted.as_deref() == Some(bug)
}

struct Chosen {
    /// Of the device: each has a thread for its file.
    thread: ThreadId,
    mutation: MutationId,
    channel: ChannelName,
    record: String,
}

static CHOSEN: OnceLock<Chosen> = OnceLock::new();

fn is_planted() -> bool {
    static PLANTED: OnceLock<bool> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "an app hands nothing down for this")]
    *PLANTED.get_or_init(|| std::env::var("OMCTL_PLANT").is_ok_and(|word| word == "reverted"))
}

/// Whether an update that was just sealed is the one that is not shown: the tenth.
pub(crate) fn is_due(mutation: MutationId, channel: &ChannelName, record: &str) -> bool {
    static MET: AtomicU32 = AtomicU32::new(0);
    let is_due = is_planted() && MET.fetch_add(1, Ordering::Relaxed) + 1 == OPPORTUNITY;
    if is_due {
        let thread = std::thread::current().id();
        CHOSEN.get_or_init(|| Chosen { thread, mutation, channel: channel.clone(), record: record.to_owned() });
    }
    is_due
}

/// Whether this mutation is left out of what the app sees.
pub(crate) fn is_hidden(mutation: MutationId) -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen.mutation == mutation)
}

/// After a transaction: says once that the app's row went back in it.
pub(crate) fn tell() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let Some(Chosen { thread, mutation, channel, record }) = CHOSEN.get() else { return };
    if *thread == std::thread::current().id() && !DONE.swap(true, Ordering::Relaxed) {
        tracing::warn!(plant = "reverted", %channel, id = %record, %mutation, "a planted bug happened");
    }
}

/// Before a frame leaves: how long it is kept back, where it brings the mutation to the server. The app has its answer then.
pub(crate) fn holds_back(frame: &str) -> Duration {
    match CHOSEN.get() {
        Some(chosen) if frame.contains(&chosen.mutation.to_string()) => SEEN_FOR,
        _ => Duration::ZERO,
    }
}
