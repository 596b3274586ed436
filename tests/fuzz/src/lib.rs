//! One function a fuzz target: it feeds bytes of anybody to a part of the product and panics where a promise is broken.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz NAME` runs one; `tests/replay.rs` plays every input that is kept in
//! `corpus/` and `regressions/` on every build. A crash is mended in the product, never here.
//!
//! *Invariant:* knows nothing of libFuzzer, so that it builds with a stable compiler.

mod batches;
mod canonical;
#[cfg(feature = "server")]
mod channel_yaml;
mod engine;
mod frames;
mod hello;
#[cfg(feature = "server")]
mod rules;
#[cfg(feature = "server")]
mod session;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

pub use batches::batches;
pub use canonical::canonical;
#[cfg(feature = "server")]
pub use channel_yaml::channel_yaml;
pub use engine::engine;
pub use frames::frames;
pub use hello::hello;
#[cfg(feature = "server")]
pub use rules::rules;
#[cfg(feature = "server")]
pub use session::session;

/// Takes an input of anybody.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("batches", batches),
    ("canonical", canonical),
    #[cfg(feature = "server")]
    ("channel_yaml", channel_yaml),
    ("engine", engine),
    ("frames", frames),
    ("hello", hello),
    #[cfg(feature = "server")]
    ("rules", rules),
    #[cfg(feature = "server")]
    ("session", session),
];

/// Longest input in bytes, as the runs have it (`-max_len`): longer ones are slower, not deeper.
pub const INPUT_BYTES_MAX: usize = 4096;

/// How often an input that took too long is tried again: a slow one is slow each time.
const RETRIES: usize = 3;

/// Runs a target on an input, and aborts where it takes more than `FUZZ_LIMIT_MS` milliseconds of processor time, if that
/// is set. The longest time so far, in microseconds, is kept in the file that `FUZZ_SLOWEST` names.
///
/// Not the time of the clock on the wall: on a machine with other work that says nothing of the input.
pub fn within_the_limit(target: Target, data: &[u8]) {
    static SLOWEST_US: AtomicU64 = AtomicU64::new(0);
    let measure = || {
        let before = processor_us();
        target(data);
        processor_us().saturating_sub(before)
    };
    let mut took_us = measure();
    if took_us <= SLOWEST_US.load(Ordering::Relaxed) {
        return;
    }
    // The first input pays for what is made once.
    for _ in 0..RETRIES {
        took_us = took_us.min(measure());
    }
    if took_us > SLOWEST_US.fetch_max(took_us, Ordering::Relaxed)
        && let Some(path) = std::env::var_os("FUZZ_SLOWEST")
    {
        std::fs::write(Path::new(&path), took_us.to_string()).expect("the file of FUZZ_SLOWEST can be written");
    }
    let limit = std::env::var_os("FUZZ_LIMIT_MS").and_then(|text| text.to_str()?.parse::<u64>().ok());
    assert!(limit.is_none_or(|limit_ms| took_us <= limit_ms * 1_000), "an input took {took_us} µs");
}

fn processor_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec.unsigned_abs() * 1_000_000) + time.tv_nsec.unsigned_abs() / 1_000
}
