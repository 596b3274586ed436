//! Every interleaving of up to five operations on one record: two devices that create, change, delete and sync it, whose
//! replies get lost, and somebody who edits it behind our back. Afterwards both sync, and everything must be as a small
//! model says, to the last receipt.
//!
//! Sequences that sync at the same places run together, each on a record of its own: the [`stage`] makes an exchange for
//! all of them at once. A shorter sequence is one of the full length that ends with exchanges of the first device, as every
//! one does.
//!
//! The test tries those of up to three operations; `OMCTL_INTERLEAVINGS=5` makes them longer, and with
//! `OMCTL_INTERLEAVINGS_REPORT=FILE` that file says what was tried.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod model;
mod stage;

use serde_json::json;

use self::model::{Channel, Record};
use self::stage::Stage;

/// What is done to a record; by which device, where it is one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Create(usize),
    /// A field of which the backend's value wins.
    ChangeA(usize),
    /// A field of which the device's value wins, or one to which it adds.
    ChangeB(usize),
    Delete(usize),
    Sync(usize),
    /// The server hears and does everything, and the device hears nothing of it.
    ReplyLost(usize),
    EditedBehind,
    DeletedBehind,
}

/// What happens at one place of a sequence to all records at once; `None`: to each something of its own.
type Place = Option<Op>;

/// A stage with more records is slow to look at.
const RECORDS_MAX: usize = 1_500;

/// Records that are tried together.
const TOGETHER: usize = 1_000;

/// All ways to place exchanges in a sequence of this length. Where nothing was before, the devices are alike: it is the
/// first one that does something first.
fn patterns(length: u32, losing: bool, is_shared: bool) -> Vec<Vec<Place>> {
    let mut places = vec![None, Some(Op::Sync(0)), Some(Op::Sync(1))];
    if losing {
        places.extend([Some(Op::ReplyLost(0)), Some(Op::ReplyLost(1))]);
    }
    let count = places.len();
    let all = (0..count.pow(length))
        .map(|number| (0..length).map(|place| places[number / count.pow(place) % count]).collect::<Vec<_>>());
    // An exchange before anything was done does nothing.
    all.filter(|pattern| is_shared || pattern.first().is_none_or(Option::is_none)).collect()
}

/// Every sequence of a pattern: at each free place everything that can be done then.
fn sequences(pattern: &[Place], so_far: &Record, done: &mut Vec<Op>, all: &mut Vec<Vec<Op>>) {
    let Some((place, rest)) = pattern.split_first() else { return all.push(done.clone()) };
    let choices = place.map_or_else(|| so_far.choices(), |op| vec![op]);
    for op in choices {
        if done.is_empty() && so_far.is_untouched() && op == Op::Create(1) {
            continue;
        }
        let mut next = so_far.clone();
        next.perform(op, done.len());
        done.push(op);
        sequences(rest, &next, done, all);
        done.pop();
    }
}

#[expect(clippy::disallowed_methods, reason = "how long the sequences are to be, and where to tell of them")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(start_paused = true)]
async fn every_interleaving_of_a_few_operations_ends_as_the_policies_say() {
    let most = setting("OMCTL_INTERLEAVINGS").map_or(3, |text| text.parse::<u32>().unwrap());
    // With lost replies there are several times as many.
    let losing_most = most.min(4);
    let mut sums = stage::Sums::default();
    let mut stage = Stage::new().await;
    let runs = [(most, false), (losing_most, true)];
    for (length, losing) in runs {
        for is_shared in [false, true] {
            for pattern in patterns(length, losing, is_shared) {
                let loses = pattern.iter().any(|place| matches!(place, Some(Op::ReplyLost(_))));
                // Those without a loss are in the other run.
                if losing && !loses {
                    continue;
                }
                let mut records = Vec::new();
                for channel in Channel::ALL {
                    let begin = if is_shared { Record::shared(channel) } else { Record::new(channel) };
                    let mut all = Vec::new();
                    sequences(&pattern, &begin, &mut Vec::new(), &mut all);
                    records.extend(all.into_iter().map(|ops| (begin.clone(), ops)));
                }
                for records in records.chunks(TOGETHER) {
                    if stage.records() + records.len() > RECORDS_MAX {
                        stage = Stage::new().await;
                    }
                    stage.play(&pattern, records, &mut sums).await;
                }
            }
        }
    }
    let report = json!({
        "operations": most, "operations_with_lost_replies": losing_most, "sequences": sums.sequences,
        "of_them_with_lost_replies": sums.with_lost_replies, "mutations": sums.mutations, "applied": sums.applied,
        "merged": sums.merged, "conflicts": sums.conflicts, "rejected": sums.rejected, "exchanges": sums.exchanges,
    });
    if let Some(file) = setting("OMCTL_INTERLEAVINGS_REPORT") {
        std::fs::write(file, format!("{report}\n")).unwrap();
    }
    // Of everything that can become of a mutation there was something.
    assert!(sums.merged > 0 && sums.conflicts > 0 && sums.rejected > 0 && sums.applied > sums.conflicts, "{report}");
}

/// Longer than what is tried in each run, and it failed once.
#[tokio::test(start_paused = true)]
async fn a_delete_loses_against_what_others_added_before_its_device_heard_of_it() {
    let ops = [Op::ChangeB(1), Op::Sync(1), Op::ChangeB(0), Op::ReplyLost(0), Op::Delete(0)];
    let pattern = ops.map(|op| matches!(op, Op::Sync(_) | Op::ReplyLost(_)).then_some(op));
    let adding = Channel::ALL.into_iter().filter(|channel| channel.adds && channel.update_wins);
    let sequences: Vec<_> = adding.map(|channel| (Record::shared(channel), ops.to_vec())).collect();
    let mut sums = stage::Sums::default();
    Stage::new().await.play(&pattern, &sequences, &mut sums).await;
    assert_eq!((sums.merged, sums.conflicts), (2, 2));
}
