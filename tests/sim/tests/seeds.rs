//! Two hundred seeds in every test run. What a seed finds is mended where it breaks; the seed stays in the range.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 200;

#[test]
fn two_hundred_seeds_keep_every_promise() {
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let (mutations, conflicts, rejected) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |threads| threads.get().min(8)) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        return;
                    }
                    let report = sim::run(seed, false);
                    mutations.fetch_add(report.mutations as u64, Ordering::Relaxed);
                    conflicts.fetch_add(report.conflicts as u64, Ordering::Relaxed);
                    rejected.fetch_add(report.rejected as u64, Ordering::Relaxed);
                    if let Some(why) = report.failure {
                        let line = format!("seed {seed}: {why}\n  replay: cargo run -p sim -- one {seed}");
                        failures.lock().unwrap().push(line);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A world in which nothing happens would keep every promise, too.
    assert!(mutations.into_inner() > 50 * SEEDS, "too few mutations");
    assert!(conflicts.into_inner() > 2 * SEEDS, "too few conflicts");
    assert!(rejected.into_inner() > 2 * SEEDS, "too few refusals");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [7, 42] {
        let (first, second) = (sim::run(seed, true), sim::run(seed, true));
        let differs = first.trace.iter().zip(&second.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed} went another way");
        assert_eq!((first.digest, first.trace.len()), (second.digest, second.trace.len()));
    }
}
