//! The shortest history of one record that shows what is wrong, in the words of people.

use std::time::Duration;

use omctl_protocol::{ChannelName, Fields, Operation, Outcome};
use serde_json::Value;

use super::{Finding, Known, STORY_LINES_MAX};
use crate::simulate::log::{ForeignNote, Saved, What};
use crate::simulate::wholes::Shown;

/// Lines at the beginning of a long history that are kept.
const FIRST: usize = 2;

/// Findings whose histories are compared for the shortest one.
const TOLD_MAX: usize = 100;

/// How much of a value is shown.
const VALUE_CHARS: usize = 48;

/// A value as it is shown.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.chars().count() > VALUE_CHARS {
        true => format!("{}…", text.chars().take(VALUE_CHARS).collect::<String>()),
        false => text,
    }
}

/// The worst finding with the shortest history, told.
pub(super) fn tell(known: &Known<'_>, mut findings: Vec<Finding>) -> Vec<String> {
    findings.dedup();
    let total = findings.len();
    // They come worst first.
    let told = findings.into_iter().take(TOLD_MAX).map(|finding| {
        let history = history(known, &finding.channel, &finding.record);
        (finding.kind, history.len(), finding, history)
    });
    let Some((_, _, finding, mut lines)) = told.min_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1))) else {
        return Vec::new();
    };
    let mut headline = format!("{}/{} {}", finding.channel, finding.record, finding.text);
    if total > 1 {
        headline.push_str(&format!(" ({} more like this)", total - 1));
    }
    let room = STORY_LINES_MAX - 1;
    if lines.len() > room {
        let left_out = lines.len() - room + 1;
        lines.splice(FIRST..FIRST + left_out, [format!("         … {left_out} more")]);
    }
    lines.insert(0, headline);
    lines
}

/// Everything that is known of a record, in the order of time.
fn history(known: &Known<'_>, channel: &ChannelName, record: &str) -> Vec<String> {
    let mut lines: Vec<(Duration, String)> = Vec::new();
    for (place, log) in known.logs.iter().enumerate() {
        let device = place + 1;
        let is_about = |what: &What| match what {
            What::Wrote { line, .. } => line.channel == *channel && line.record == record,
            What::Settled(one) => one.mutation.channel == *channel && one.mutation.record.as_str() == record,
            What::Saw { channel: of, record: id, .. } => of == channel && id == record,
            // That it showed all of a transaction, or nothing yet, says nothing of the record.
            What::SawWhole { whole, shown } => {
                let marks = shown.iter().filter(|one| **one == Shown::Mark).count();
                (1..shown.len()).contains(&marks)
                    && whole.parts.iter().any(|part| part.channel == *channel && part.record == record)
            }
            What::Went(_) => false,
        };
        let (first, last) =
            (log.iter().position(|one| is_about(&one.what)), log.iter().rposition(|one| is_about(&one.what)));
        let (Some(first), Some(last)) = (first, last) else { continue };
        for entry in &log[first..=last] {
            let text = match &entry.what {
                What::Went(fate) => Some(format!("device {device} {}", fate.word())),
                what if is_about(what) => said(device, what, known.schema(channel)),
                _ => None,
            };
            lines.extend(text.map(|text| (entry.at, text)));
        }
    }
    let of_record = |note: &&ForeignNote| note.channel == *channel && note.record.as_deref() == Some(record);
    for note in known.foreign.iter().filter(of_record) {
        let sure = if note.sure { "" } else { " (no answer came)" };
        lines.push((note.at, format!("somebody else {}{sure}", did(note.op, &note.wrote))));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(at, text)| format!("{:>7.2} s  {text}", at.as_secs_f64())).collect()
}

fn said(device: usize, what: &What, fields: Option<&[omctl_protocol::Field]>) -> Option<String> {
    match what {
        What::Wrote { line, saved } => {
            let refused = match saved {
                Saved::Yes => "",
                Saved::No => ", refused on the device",
                Saved::Unknown => ", and was killed meanwhile",
            };
            Some(format!("device {device} {}{refused}", did(line.op, &line.new)))
        }
        What::Settled(one) => {
            let outcome = match one.receipt.outcome {
                Outcome::Applied => "applied",
                Outcome::Merged => "merged",
                Outcome::Conflict => "conflict",
                Outcome::Rejected => "rejected",
            };
            let code = one.receipt.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            let at = one.receipt.position.map(|position| format!(" at {}", position.0)).unwrap_or_default();
            let what = crate::simulate::word(one.mutation.op);
            if one.is_refused_here() {
                return Some(format!("device {device} refuses its {what} itself{code}"));
            }
            Some(format!("device {device} hears of its {what}: {outcome}{code}{at}"))
        }
        What::Saw { row: None, .. } => Some(format!("device {device} sees it no more")),
        What::Saw { row: Some(values), .. } => {
            // The fields that carry something of this run tell enough.
            let fields = fields?.iter().zip(values);
            let shown: Vec<String> = fields
                .filter(|(field, value)| field.kind != omctl_protocol::FieldType::Ref && !value.is_null())
                .take(2)
                .map(|(field, value)| format!("{} {}", field.name, short(value)))
                .collect();
            Some(format!("device {device} sees {}", shown.join(", ")))
        }
        What::SawWhole { shown, .. } => {
            let marks = shown.iter().filter(|one| **one == Shown::Mark).count();
            Some(format!("device {device} sees {marks} of {} records of its atomic transaction", shown.len()))
        }
        What::Went(_) => None,
    }
}

fn did(op: Operation, new: &Fields) -> String {
    let values: Vec<String> = new.iter().take(3).map(|(name, value)| format!("{name} {}", short(value))).collect();
    match op {
        Operation::Create => format!("creates it: {}", values.join(", ")),
        Operation::Update => format!("writes {}", values.join(", ")),
        Operation::Delete => "deletes it".to_owned(),
    }
}

impl Known<'_> {
    fn schema(&self, channel: &ChannelName) -> Option<&[omctl_protocol::Field]> {
        self.stage.channel(channel).map(|view| view.schema.fields.as_slice())
    }
}
