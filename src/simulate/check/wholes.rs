//! Atomic transactions are seen whole: no device shows a part of one while another part is yet to come.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::{ChannelName, Operation};

use super::{Finding, Kind, Known, story};
use crate::simulate::log::{Fate, What};
use crate::simulate::wholes::Shown;

/// What one device has shown of one transaction.
struct Story {
    /// For each part: the part that was shown without it.
    without: Vec<Option<usize>>,
    ever: Vec<bool>,
}

/// Judges every device's log. A part counts as missing where the device showed its mark later: before, it was to come.
pub(super) fn judge(known: &Known<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A server that was set back shows what was, until everybody has offered again what came since.
    if !known.kept.is_empty() {
        return findings;
    }
    for (place, log) in known.logs.iter().enumerate() {
        let mut stories: BTreeMap<usize, Story> = BTreeMap::new();
        let mut over: BTreeSet<usize> = BTreeSet::new();
        let mut deleted: BTreeSet<(&ChannelName, &str)> = BTreeSet::new();
        for entry in log {
            match &entry.what {
                What::Wrote { line, .. } if line.op == Operation::Delete => {
                    deleted.insert((&line.channel, &line.record));
                }
                // What it showed before it was set back says nothing of what it shows next.
                What::Went(Fate::SetBack) => over.extend(stories.keys()),
                What::SawWhole { whole, shown } if !over.contains(&whole.number) => {
                    let count = whole.parts.len();
                    let story = stories
                        .entry(whole.number)
                        .or_insert_with(|| Story { without: vec![None; count], ever: vec![false; count] });
                    let marked = shown.iter().position(|one| *one == Shown::Mark);
                    for (n, part) in whole.parts.iter().enumerate() {
                        if shown[n] == Shown::Mark {
                            if let (false, Some(other)) = (story.ever[n], story.without[n]) {
                                let first = &whole.parts[other];
                                findings.push(Finding {
                                    kind: Kind::Torn,
                                    channel: part.channel.clone(),
                                    record: part.record.clone(),
                                    text: format!(
                                        "was not yet {} on device {}, which showed `{}/{}` of the same atomic transaction",
                                        story::short(&part.mark),
                                        place + 1,
                                        first.channel,
                                        first.record
                                    ),
                                });
                            }
                            story.ever[n] = true;
                        } else if shown[n] == Shown::Other && !deleted.contains(&(&part.channel, part.record.as_str()))
                        {
                            story.without[n] = story.without[n].or(marked);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    findings
}
