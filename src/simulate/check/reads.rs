//! What the apps saw: each its own writes until their receipts, and nothing that goes back.

use std::collections::BTreeMap;

use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelSchema, Operation, Outcome};
use serde_json::Value;

use super::effects::same;
use super::{Finding, Kind, Known, story};
use crate::simulate::log::{Fate, Line, Saved, Settled, What};
use crate::simulate::workload;

/// Judges a channel's part of every device's log.
pub(super) fn judge(known: &Known<'_>, view: &ChannelView) -> Vec<Finding> {
    let schema = &view.schema;
    let marked = workload::mark_field(view).and_then(|field| schema.field(&field.name));
    let mut findings = Vec::new();
    for place in 0..known.logs.len() {
        let mut one = Reader {
            known,
            schema,
            marked,
            device: place + 1,
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            seen: BTreeMap::new(),
        };
        one.all(&mut findings);
    }
    findings
}

/// One device's view of one channel.
struct Reader<'a> {
    known: &'a Known<'a>,
    schema: &'a ChannelSchema,
    /// The field that carries marks, with its place.
    marked: Option<(usize, &'a omctl_protocol::Field)>,
    device: usize,
    /// The last write of each record that has no receipt yet.
    open: BTreeMap<&'a str, (std::time::Duration, &'a Line)>,
    /// The receipts until now, by record.
    settled: BTreeMap<&'a str, Vec<&'a Settled>>,
    /// The marks that were seen of each record, in their order.
    seen: BTreeMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Reader<'a> {
    fn all(&mut self, findings: &mut Vec<Finding>) {
        let log: &'a Vec<super::Entry> = &self.known.logs[self.device - 1];
        for (n, entry) in log.iter().enumerate() {
            match &entry.what {
                What::Wrote { line, saved } if line.channel == self.schema.channel => match saved {
                    Saved::Yes => self.write(line, entry.at),
                    // Nobody can tell what it should see now.
                    Saved::Unknown => drop(self.open.remove(line.record.as_str())),
                    Saved::No => {}
                },
                What::Settled(one) if one.mutation.channel == self.schema.channel => self.settle(one),
                What::Saw { channel, record, began, row } if *channel == self.schema.channel => {
                    if let Some(text) = self.look((n, record), *began, row.as_deref()) {
                        let (channel, record) = (channel.clone(), record.clone());
                        findings.push(Finding { kind: Kind::Stale, channel, record, text });
                    }
                }
                // What it wrote and saw since its backup is forgotten with it.
                What::Went(Fate::SetBack) => {
                    self.open.clear();
                    self.seen.clear();
                }
                _ => {}
            }
        }
    }

    /// A write: the device shows it from now on, unless its receipt was faster than the app's answer.
    fn write(&mut self, line: &'a Line, at: std::time::Duration) {
        let known = self.settled.get(line.record.as_str());
        match known.is_some_and(|known| known.iter().any(|one| self.answers(one, line))) {
            true => drop(self.open.remove(line.record.as_str())),
            false => drop(self.open.insert(&line.record, (at, line))),
        }
    }

    /// A receipt: from here on the server's word stands, if it is about the last write.
    fn settle(&mut self, one: &'a Settled) {
        let record = one.mutation.record.as_str();
        if self.open.get(record).is_some_and(|(_, line)| self.answers(one, line)) {
            self.open.remove(record);
        }
        self.settled.entry(record).or_default().push(one);
        // What it replaced was there before, whether somebody looked or not: it must not come back.
        if let Some((_, field)) = self.marked
            && one.took_effect()
            && let (Some(old), Some(new)) = (one.mutation.old.get(&field.name), one.mutation.new.get(&field.name))
        {
            let seen = self.seen.entry(record).or_default();
            if !seen.iter().any(|value| same(value, old)) {
                let place = seen.iter().position(|value| same(value, new)).unwrap_or(seen.len());
                seen.insert(place, old);
            }
        }
    }

    /// Whether a receipt is about this write. Of one without a mark nobody can tell, and any will do.
    fn answers(&self, one: &Settled, line: &Line) -> bool {
        match (line.op, self.mark_of(line), self.marked) {
            (Operation::Delete, ..) => one.mutation.op == Operation::Delete,
            (_, Some(mark), Some((_, field))) => one.mutation.new.get(&field.name).is_some_and(|new| same(new, mark)),
            _ => true,
        }
    }

    fn mark_of<'l>(&self, line: &'l Line) -> Option<&'l Value> {
        let (_, field) = self.marked?;
        line.new.get(&field.name).filter(|value| self.known.stage.run.owns(value))
    }

    /// What is wrong with what it sees of a record in a look that began at this time.
    fn look(
        &mut self,
        (n, record): (usize, &'a str),
        began: std::time::Duration,
        row: Option<&'a [Value]>,
    ) -> Option<String> {
        let (values, (place, field)) = (row?, self.marked?);
        let now = &values[place];
        if let Some((saved, line)) = self.open.get(record)
            && *saved < began
        {
            if line.op == Operation::Delete {
                return Some(format!("is shown on device {}, which deleted it and has no receipt yet", self.device));
            }
            if let Some(mark) = self.mark_of(line)
                && !same(mark, now)
                && !self.is_written_later(n, record, now)
            {
                return Some(format!(
                    "has `{}` {} on device {}, which wrote {} and has no receipt yet",
                    field.name,
                    story::short(now),
                    self.device,
                    story::short(mark)
                ));
            }
        }
        let seen = self.seen.entry(record).or_default();
        if seen.last().is_some_and(|last| same(last, now)) {
            return None;
        }
        let earlier = seen.iter().rposition(|one| same(one, now));
        let between: Vec<&Value> = earlier.map(|earlier| seen[earlier + 1..].to_vec()).unwrap_or_default();
        seen.push(now);
        // A server that was set back shows what was, until everybody has offered again what came since.
        if !self.known.kept.is_empty() {
            return None;
        }
        // What the device wrote itself and what did not stay goes back to what was before.
        let stayed = between.into_iter().find(|value| !self.was_taken_back(record, value))?;
        Some(format!(
            "had `{}` {} on device {}, and then {} again",
            field.name,
            story::short(stayed),
            self.device,
            story::short(now)
        ))
    }

    /// Whether a value is a write of this device that its app had not yet answered.
    fn is_written_later(&self, n: usize, record: &str, value: &Value) -> bool {
        let Some((_, field)) = self.marked else { return true };
        self.known.logs[self.device - 1][n..].iter().any(|entry| match &entry.what {
            What::Wrote { line, .. } => {
                line.channel == self.schema.channel
                    && line.record == record
                    && line.new.get(&field.name).is_some_and(|new| same(new, value))
            }
            _ => false,
        })
    }

    /// Whether a value was this device's own write, and did not take effect, or nobody knows.
    fn was_taken_back(&self, record: &str, value: &Value) -> bool {
        let Some((_, field)) = self.marked else { return true };
        let is_it =
            |line: &Line| line.record == record && line.new.get(&field.name).is_some_and(|new| same(new, value));
        let own = self.known.logs[self.device - 1].iter().any(|entry| match &entry.what {
            What::Wrote { line, .. } => line.channel == self.schema.channel && is_it(line),
            _ => false,
        });
        own && !self.known.of(&self.schema.channel, record).iter().any(|one| {
            one.device == self.device
                && one.mutation.new.get(&field.name).is_some_and(|new| same(new, value))
                && matches!(one.receipt.outcome, Outcome::Applied | Outcome::Merged)
        })
    }
}
