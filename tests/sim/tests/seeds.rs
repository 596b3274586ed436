//! Two hundred seeds in every test run, or as many as `OMCTL_SIM_SEEDS` says. What a seed finds is mended where it breaks; the
//! seed stays in the range.

use std::sync::Mutex;

use sim::{Plan, hunt};

const SEEDS: u64 = 200;

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has nobody above it that reads the environment")]
fn some_hundred_seeds_keep_every_promise() {
    let seeds =
        std::env::var("OMCTL_SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("OMCTL_SIM_SEEDS is a number"));
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get().min(8)) as u64;
    let sums = hunt::seeds(0, seeds, threads, |report| {
        let why = report.failure.as_deref().unwrap_or_default();
        let line = format!("seed {}: {why}\n  replay: cargo run -p sim -- one {}", report.seed, report.seed);
        failures.lock().unwrap().push(line);
        true
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(sums.trace_mismatches, 0, "a seed was another run the second time");
    // A world in which nothing happens would keep every promise, too.
    assert!(sums.mutations > 50 * seeds, "too few mutations: {}", sums.mutations);
    assert!(sums.conflicts > 2 * seeds, "too few conflicts: {}", sums.conflicts);
    assert!(sums.rejected > 2 * seeds, "too few refusals: {}", sums.rejected);
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    // The last one reads two channels of a backend in one round.
    for seed in [7, 42, 800] {
        let (first, second) = (sim::run(&Plan::of(seed), true), sim::run(&Plan::of(seed), true));
        let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed} went another way");
        assert_eq!((first.digest, first.trace.len()), (second.digest, second.trace.len()));
    }
}
