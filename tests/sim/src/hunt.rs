//! Many seeds, in several threads, and their sums; and the smallest form of a seed that fails.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::{Fault, Plan, Report, run};

/// One seed of so many is run twice, and both runs must be the same.
const TWICE_EVERY: u64 = 100;

/// What became of many seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// How many.
    pub seeds: u64,
    /// How many failed.
    pub failed: u64,
    /// Those, up to a hundred.
    pub failed_seeds: Vec<u64>,
    /// Seeds whose second run was another one.
    pub trace_mismatches: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<String, u64>,
    /// How often each promise was checked.
    pub promises: BTreeMap<u32, u64>,
    /// Events on the lines of time.
    pub events: u64,
    /// Mutations that left a device.
    pub mutations: u64,
    /// Of them: some value lost.
    pub conflicts: u64,
    /// Of them: refused.
    pub rejected: u64,
}

impl From<&Report> for Sums {
    fn from(report: &Report) -> Self {
        let failed = report.failure.is_some();
        Self {
            seeds: 1,
            failed: u64::from(failed),
            failed_seeds: failed.then_some(report.seed).into_iter().collect(),
            trace_mismatches: 0,
            faults: report.faults.iter().map(|(fault, count)| (fault.name().to_owned(), *count)).collect(),
            promises: report.promises.clone(),
            events: report.events,
            mutations: report.mutations as u64,
            conflicts: report.conflicts as u64,
            rejected: report.rejected as u64,
        }
    }
}

impl Sums {
    /// Those of two runs together.
    pub fn join(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.failed_seeds.extend(other.failed_seeds);
        self.failed_seeds.truncate(100);
        self.trace_mismatches += other.trace_mismatches;
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        for (promise, count) in other.promises {
            *self.promises.entry(promise).or_default() += count;
        }
        self.events += other.events;
        self.mutations += other.mutations;
        self.conflicts += other.conflicts;
        self.rejected += other.rejected;
    }
}

/// Runs seeds from `from` on; `told` hears of each that fails, and may stop it all by answering `false`.
pub fn seeds(from: u64, count: u64, threads: u64, told: impl Fn(&Report) -> bool + Sync) -> Sums {
    let (next, goes_on) = (AtomicU64::new(from), AtomicBool::new(true));
    let sums = Mutex::new(Sums::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while goes_on.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let report = run(&Plan::of(seed), false);
                    let is_other =
                        seed.is_multiple_of(TWICE_EVERY) && run(&Plan::of(seed), false).digest != report.digest;
                    if report.failure.is_some() && !told(&report) {
                        goes_on.store(false, Ordering::Relaxed);
                    }
                    let mut sums = sums.lock().expect("no thread panics here");
                    sums.join(Sums::from(&report));
                    sums.trace_mismatches += u64::from(is_other);
                }
            });
        }
    });
    sums.into_inner().expect("no thread panics here")
}

/// Makes a plan that fails smaller, as long as it still fails: fewer kinds of faults, fewer devices, a shorter time. What
/// it fails with may change on the way; that it fails is what counts.
pub fn shrink(plan: &Plan, mut told: impl FnMut(&Plan, &Report)) -> Plan {
    let mut best = plan.clone();
    let mut try_one = |candidate: Plan, best: &mut Plan| {
        let report = run(&candidate, false);
        let fails = report.failure.is_some();
        if fails {
            told(&candidate, &report);
            *best = candidate;
        }
        fails
    };
    for writing_ms in [3_000, 6_000, 10_000, 15_000, 20_000, 30_000] {
        if best.writing_ms.is_none_or(|now| writing_ms < now)
            && try_one(Plan { writing_ms: Some(writing_ms), ..best.clone() }, &mut best)
        {
            break;
        }
    }
    let happened = run(&best, false).faults;
    for fault in Fault::ALL.iter().filter(|fault| happened.contains_key(fault)) {
        if !best.without.contains(fault) {
            let mut without = best.without.clone();
            without.push(*fault);
            try_one(Plan { without, ..best.clone() }, &mut best);
        }
    }
    for devices in 1..5 {
        if best.devices.is_none_or(|now| devices < now)
            && try_one(Plan { devices: Some(devices), ..best.clone() }, &mut best)
        {
            break;
        }
    }
    best
}
