//! What a fleet did and what was found of it, and whether that is what was expected.

use std::collections::BTreeSet;

use omctl_protocol::ChannelName;

use super::{Spread, Verdict};
use crate::catalog::{Bound, Expectation};

/// What a fleet did and what was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// How many devices took part.
    pub devices: usize,
    /// How many of them were processes of their own.
    pub processes: usize,
    /// The channels' delivery: `exactly_once`, or `best_effort` where one of them has that.
    pub delivery: String,
    /// From when a write was due until the app's database had it.
    pub saved: Spread,
    /// From when a write on one device was due until it was visible in another's file.
    pub visible: Spread,
    /// Connections that ended without a word.
    pub cuts: u64,
    /// Requests that never reached the server.
    pub lost_requests: u64,
    /// Replies that never reached the device.
    pub lost_replies: u64,
    /// Devices' processes that were killed.
    pub kills: u64,
    /// Devices of this process that were dropped in a kill's place.
    pub drops: u64,
    /// How often the server was killed.
    pub restarts: u64,
    /// How often a device was set back to its backup.
    pub set_back: u64,
    /// How often an app was closed and opened again.
    pub upgrades: u64,
    /// Writes past the server.
    pub foreign: u64,
    /// Of them refused by the backend.
    pub foreign_refused: u64,
    /// Writes that met no record: it had gone, or on a tape it was never there.
    pub unmet: u64,
    /// Writes that devices' own triggers refused.
    pub refused_on_devices: u64,
    /// What was expected and does not hold, one sentence each.
    pub breached: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// What the marks of this run begin with.
    pub mark: String,
    /// Channels whose records are the server's own.
    pub managed: BTreeSet<ChannelName>,
    /// The fleet at a glance, twice a second.
    pub samples: Vec<Sample>,
    /// When phases began, with their names.
    pub phases: Vec<(f64, String)>,
}

/// A fleet at a glance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the start.
    pub at_s: f64,
    /// Devices that are connected and up to date.
    pub live: usize,
    /// Devices that are connecting or catching up.
    pub catching_up: usize,
    /// Devices without a network.
    pub offline: usize,
    /// Devices whose app does not run.
    pub down: usize,
    /// Writes without a receipt, of all devices.
    pub queued: u64,
    /// Of the device with the most.
    pub deepest: u64,
    /// Receipts.
    pub settled: u64,
    /// Conflicts among them.
    pub conflicts: u64,
    /// Rejections among them.
    pub rejected: u64,
    /// Milliseconds in which half of the writes were visible elsewhere, since the start.
    pub visible_p50: Option<f64>,
    /// 99 of 100.
    pub visible_p99: Option<f64>,
}

impl Report {
    /// What of these does not hold.
    pub(super) fn breaches(&self, expect: &[Expectation]) -> Vec<String> {
        let verdict = &self.verdict;
        let breach = |one: &Expectation| {
            let found = match one.of {
                "converged" => Some(f64::from(u8::from(verdict.converged))),
                "lost" => Some(verdict.lost as f64),
                "duplicated" => Some(verdict.duplicated as f64),
                "stale" => Some(verdict.stale as f64),
                "torn" => Some(verdict.torn as f64),
                "unknown" => Some(verdict.unknown as f64),
                "conflicts" => Some(verdict.conflicts as f64),
                "rejected" => Some(verdict.rejected as f64),
                "latency_ms.p50" => self.visible.percentile(50.0),
                "latency_ms.p95" => self.visible.percentile(95.0),
                "latency_ms.p99" => self.visible.percentile(99.0),
                other => return Some(format!("`{other}` is not measured")),
            };
            // What was not measured was not shown to hold.
            let Some(found) = found else { return Some(format!("{} was not measured", one.of)) };
            let (holds, wanted) = match one.bound {
                Bound::Is(truth) => ((found > 0.0) == truth, truth.to_string()),
                Bound::Exactly(number) => (found == number as f64, number.to_string()),
                Bound::Below(number) => (found < number as f64, format!("below {number}")),
                Bound::AtMost(number) => (found <= number as f64, format!("at most {number}")),
                Bound::Above(number) => (found > number as f64, format!("above {number}")),
                Bound::AtLeast(number) => (found >= number as f64, format!("at least {number}")),
            };
            let shown = if one.of == "converged" { (found > 0.0).to_string() } else { found.to_string() };
            (!holds).then(|| format!("{} is {shown}, expected {wanted}", one.of))
        };
        expect.iter().filter_map(breach).collect()
    }
}
