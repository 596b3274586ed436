//! Effects in the backend's rows: every settled write is there once, and what came last stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bigdecimal::BigDecimal;
use omctl_protocol::admin::ChannelView;
use omctl_protocol::{ChannelName, ChannelSchema, Field, Operation, Outcome, Policy, Position, Seq};
use serde_json::Value;

use super::{Finding, Kind, Known, Table, story};
use crate::catalog::MANAGED;
use crate::simulate::log::{Fate, ForeignNote, Line, Saved, Settled, What};
use crate::simulate::workload;

/// Judges a channel: `before` are its rows when the fleet began, `all` those of every channel now.
pub(super) fn judge(
    known: &Known<'_>,
    view: &ChannelView,
    before: &Table,
    all: &BTreeMap<ChannelName, Table>,
) -> Vec<Finding> {
    let Some(rows) = all.get(&view.name) else { return Vec::new() };
    let mut judge = Judge { known, view, schema: &view.schema, before, rows, all, findings: Vec::new() };
    judge.all();
    judge.findings
}

struct Judge<'a> {
    known: &'a Known<'a>,
    view: &'a ChannelView,
    schema: &'a ChannelSchema,
    before: &'a Table,
    rows: &'a Table,
    /// The rows of every channel.
    all: &'a BTreeMap<ChannelName, Table>,
    findings: Vec<Finding>,
}

/// Everything that was written to one record.
struct Of<'x> {
    record: &'x str,
    /// What is settled, in its order.
    history: &'x [&'x Settled],
    foreign: Vec<&'x ForeignNote>,
    /// What may have gone out or not.
    loose: Vec<&'x Line>,
}

impl Of<'_> {
    /// Whether somebody deleted it: whatever is there now is another life of it.
    fn had_an_end(&self) -> bool {
        let by_device = |one: &&Settled| one.mutation.op == Operation::Delete && one.took_effect();
        self.history.iter().any(by_device) || self.foreign.iter().any(|note| note.op == Operation::Delete)
    }
}

/// What a settled mutation did to one field.
enum Did<'v> {
    /// It put this value there.
    Set(&'v Value),
    /// It may have.
    Maybe(&'v Value),
}

/// To which history of the server a mutation belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Era {
    /// What both histories share, or all of it where the server was never set back.
    Shared,
    /// The lost history: it was offered again.
    Lost,
    /// What came since.
    Since,
}

/// Where a mutation stands among the others of its record. After a server was set back, what was offered again stands
/// where it stood in the lost history: behind what both histories share, before what came since.
fn standing(one: &Settled, kept: Option<Position>) -> (Era, Option<Position>, Seq) {
    let (era, position) = match (one.mutation.again, kept) {
        (Some(again), _) => (Era::Lost, Some(again)),
        (None, Some(kept)) if one.receipt.position > Some(kept) => (Era::Since, one.receipt.position),
        (None, _) => (Era::Shared, one.receipt.position),
    };
    (era, position, one.receipt.seq)
}

impl<'a> Judge<'a> {
    fn all(&mut self) {
        let of_channel = self.known.settled.iter().filter(|((channel, _), _)| *channel == self.schema.channel);
        let mut by_record: BTreeMap<&str, Vec<&Settled>> =
            of_channel.map(|((_, record), history)| (record.as_str(), history.iter().collect())).collect();
        let foreign: Vec<&ForeignNote> =
            self.known.foreign.iter().filter(|note| note.channel == self.schema.channel).collect();
        // Where histories parted several times, the order of writes cannot be told.
        let ordered = self.known.kept.len() <= 1;
        let kept = self.known.kept.first().copied();
        let loose = self.loose();
        for (record, history) in &mut by_record {
            history.sort_by_key(|one| standing(one, kept));
            let of = Of {
                record,
                history,
                foreign: foreign.iter().copied().filter(|note| note.record.as_deref() == Some(*record)).collect(),
                loose: loose.iter().copied().filter(|line| line.record == *record).collect(),
            };
            // A backend may give a key again: then the row is another one, which somebody else made.
            if self.is_born_there(&foreign, record) {
                continue;
            }
            self.existence(&of);
            if let Some(values) = self.rows.get(*record) {
                if ordered {
                    self.values(&of, values);
                }
                self.unseen(&of);
                if !of.had_an_end() {
                    self.sums(&of, values);
                }
            }
        }
        self.marks(&by_record);
        self.strangers(&by_record, &foreign);
        self.unsent();
    }

    fn find(&mut self, kind: Kind, record: &str, text: String) {
        let (channel, record) = (self.schema.channel.clone(), record.to_owned());
        self.findings.push(Finding { kind, channel, record, text });
    }

    /// A record that was created and not deleted is there; one that was deleted is not.
    fn existence(&mut self, of: &Of<'_>) {
        let &Of { record, history, ref foreign, ref loose } = of;
        let created = history.iter().find(|one| one.mutation.op == Operation::Create && one.took_effect());
        let deleted = history.iter().any(|one| one.mutation.op == Operation::Delete && one.took_effect());
        let unsure = history.iter().any(|one| one.is_unknown());
        let is_there = self.rows.contains_key(record);
        let foreign_delete = foreign.iter().any(|note| note.op == Operation::Delete);
        let loose_delete = loose.iter().any(|line| line.op == Operation::Delete);
        if unsure || !is_there && (loose_delete || self.went_with_another(record, history)) {
            return;
        }
        if let Some(create) = created
            && !deleted
            && !foreign_delete
            && !is_there
        {
            self.find(
                Kind::Lost,
                record,
                format!("was created on device {}, and is not in the backend", create.device),
            );
        }
        if deleted && is_there {
            self.find(Kind::Lost, record, "was deleted, that was settled, and it is in the backend again".to_owned());
        }
        // A record that was there from the start is there still, unless somebody deleted it: or a change of it went where
        // none of us looked.
        let touched = history.iter().any(|one| one.mutation.op == Operation::Update && one.took_effect());
        if touched && !deleted && !foreign_delete && !is_there && self.before.contains_key(record) {
            self.find(Kind::Lost, record, "was there, nobody deleted it, and it is not in the backend".to_owned());
        }
    }

    /// Whether it may have been removed with a record that it referred to, by the backend's own `ON DELETE CASCADE`.
    fn went_with_another(&self, record: &str, history: &[&Settled]) -> bool {
        let refs =
            self.schema.fields.iter().enumerate().filter_map(|(place, field)| Some((place, field, field.to.as_ref()?)));
        refs.into_iter().any(|(place, field, to)| {
            let before = self.before.get(record).map(|values| &values[place]);
            let named = history.iter().filter_map(|one| one.mutation.new.get(&field.name)).chain(before);
            let targets: BTreeSet<&str> = named.filter_map(Value::as_str).collect();
            // Whatever became of it: with it went what referred to it.
            if self.all.get(to).is_some_and(|rows| targets.iter().any(|target| !rows.contains_key(*target))) {
                return true;
            }
            let is_delete = |one: &Settled| one.mutation.op == Operation::Delete;
            let by_device = targets.iter().any(|target| self.known.of(to, target).iter().any(is_delete));
            by_device
                || self.known.foreign.iter().any(|note| {
                    note.op == Operation::Delete
                        && note.channel == *to
                        && note.record.as_deref().is_some_and(|record| targets.contains(record))
                })
        })
    }

    /// What a mutation did to a field that it names; `None` for nothing.
    fn did<'s>(&self, one: &'s Settled, field: &Field) -> Option<Did<'s>> {
        let value = one.mutation.new.get(&field.name)?;
        let plain = matches!(field.conflict, Policy::ServerWins | Policy::ClientWins | Policy::Reject);
        // A backend that was not set back with the server may have it from before, and only its answer is new: then nobody
        // can tell where it stands among the others.
        let is_external = self.view.backend != MANAGED;
        let misplaced = is_external && standing(one, self.known.kept.first().copied()).0 == Era::Since;
        match (one.receipt.outcome, one.receipt.code.as_deref()) {
            (Outcome::Rejected, _) | (Outcome::Conflict, Some("gone" | "updated")) => None,
            _ if misplaced => Some(Did::Maybe(value)),
            (Outcome::Applied, _) => Some(Did::Set(value)),
            (Outcome::Merged, _) if plain => Some(Did::Set(value)),
            (Outcome::Conflict, None) if field.conflict == Policy::ClientWins => Some(Did::Set(value)),
            (Outcome::Merged, _) | (Outcome::Conflict, None | Some("unknown")) => Some(Did::Maybe(value)),
            (Outcome::Conflict, Some(_)) => None,
        }
    }

    /// In every field that carries marks, what came last stands.
    fn values(&mut self, of: &Of<'_>, values: &[Value]) {
        let &Of { record, history, ref foreign, ref loose } = of;
        let run = self.known.stage.run;
        for (place, field) in self.schema.fields.iter().enumerate() {
            let carries = |value: &Value| run.owns(value);
            let writes: Vec<&&Settled> =
                history.iter().filter(|one| one.mutation.new.get(&field.name).is_some_and(carries)).collect();
            let dids: Vec<Did<'_>> = writes.iter().filter_map(|one| self.did(one, field)).collect();
            let Some(last) = dids.iter().rposition(|did| matches!(did, Did::Set(_))) else { continue };
            let Did::Set(expected) = dids[last] else { continue };
            let found = &values[place];
            let may_be = |did: &Did<'_>| matches!(did, Did::Maybe(value) if same(value, found));
            let by_others = foreign.iter().filter_map(|note| note.wrote.get(&field.name));
            let of_loose = loose.iter().filter_map(|line| line.new.get(&field.name));
            let mut acceptable = std::iter::once(expected).chain(by_others).chain(of_loose);
            if acceptable.any(|value| same(value, found)) || dids.iter().any(may_be) {
                continue;
            }
            // A value that is no mark of this fleet, and not what was there before it, was written by somebody else.
            let was = self.before.get(record).map(|before| &before[place]);
            // The backend may make something else of a value: what nobody wrote so was not written so earlier either.
            let earlier = writes.iter().filter_map(|one| one.mutation.new.get(&field.name)).any(|new| same(new, found));
            if earlier || was.is_some_and(|was| same(was, found)) {
                let text = format!(
                    "has `{}` {}, and the last settled write was {}",
                    field.name,
                    story::short(found),
                    story::short(expected)
                );
                self.find(Kind::Lost, record, text);
            }
        }
    }

    /// A write that was applied as it was sent had seen what stood there: else it is a conflict by the field's policy, and
    /// somebody's write was overwritten without a word.
    fn unseen(&mut self, of: &Of<'_>) {
        let &Of { record, history, ref foreign, ref loose } = of;
        let run = self.known.stage.run;
        let parted = !self.known.kept.is_empty();
        if parted || !foreign.is_empty() || !loose.is_empty() {
            return;
        }
        for field in self.schema.fields.iter().filter(|field| field.conflict == Policy::ServerWins) {
            let mut stands: Option<(&Settled, &Value)> = None;
            let mut earlier: Vec<&Value> = Vec::new();
            for one in history {
                let Some(new) = one.mutation.new.get(&field.name) else { continue };
                if let Some((last, value)) = stands
                    && one.mutation.op == Operation::Update
                    && one.receipt.outcome == Outcome::Applied
                    && last.device != one.device
                    && run.owns(value)
                    && !same(value, new)
                    && let Some(old) = one.mutation.old.get(&field.name)
                    && !same(old, value)
                    // What the backend made of a value is nobody's: only what somebody wrote, or what was there, is older.
                    && (earlier.iter().any(|earlier| same(earlier, old)) || self.was(record, field).is_some_and(|was| same(was, old)))
                {
                    let text = format!(
                        "has `{}` {} of device {} written over by device {}, which had not seen it, and that was no conflict",
                        field.name,
                        story::short(value),
                        last.device,
                        one.device
                    );
                    self.find(Kind::Lost, record, text);
                }
                earlier.push(new);
                stands = match self.did(one, field) {
                    Some(Did::Set(value)) => Some((one, value)),
                    Some(Did::Maybe(_)) => None,
                    None => stands,
                };
            }
        }
    }

    /// What a field held when the fleet began.
    fn was(&self, record: &str, field: &Field) -> Option<&'a Value> {
        let (place, _) = self.schema.field(&field.name)?;
        self.before.get(record).map(|values| &values[place])
    }

    /// Whether a row has, or had on some device, the mark of one that somebody else made.
    fn is_born_there(&self, foreign: &[&ForeignNote], record: &str) -> bool {
        let made = foreign.iter().filter(|note| note.op == Operation::Create).flat_map(|note| note.wrote.values());
        let marks: Vec<&Value> = made.filter(|value| self.known.stage.run.owns(value)).collect();
        let has_one = |values: &Vec<Value>| marks.iter().any(|mark| values.contains(mark));
        self.rows.get(record).is_some_and(has_one)
            || self.known.logs.iter().flatten().any(|entry| match &entry.what {
                What::Saw { channel, record: seen, row: Some(values), .. } => {
                    *channel == self.schema.channel && seen == record && has_one(values)
                }
                _ => false,
            })
    }

    /// A field with the policy `sum` is its start plus all that was settled and added.
    fn sums(&mut self, of: &Of<'_>, values: &[Value]) {
        let &Of { record, history, ref foreign, ref loose } = of;
        for (place, field) in self.schema.fields.iter().enumerate().filter(|(_, field)| field.conflict == Policy::Sum) {
            let unsure = history.iter().any(|one| one.is_unknown())
                || loose.iter().any(|line| line.new.contains_key(&field.name))
                || foreign.iter().any(|note| {
                    !note.sure || note.wrote.contains_key(&field.name) && !note.add.contains_key(&field.name)
                });
            let created = history.iter().find(|one| one.mutation.op == Operation::Create && one.took_effect());
            let begins = match (self.before.get(record), created) {
                (Some(before), _) => before[place].clone(),
                (None, Some(create)) => match create.mutation.new.get(&field.name) {
                    Some(value) => value.clone(),
                    None => field.default.clone().unwrap_or(Value::Null),
                },
                // Somebody else made it: what it began with is not known.
                (None, None) => continue,
            };
            let Some(begins) = number(&begins).filter(|_| !unsure) else { continue };
            let mut deltas: Vec<BigDecimal> = Vec::new();
            for one in history.iter().filter(|one| one.mutation.op == Operation::Update && counts(one)) {
                let of = |fields: &omctl_protocol::Fields| fields.get(&field.name).map(number);
                if let Some(new) = of(&one.mutation.new) {
                    let old = of(&one.mutation.old).flatten().unwrap_or_default();
                    deltas.push(new.unwrap_or_default() - old);
                }
            }
            deltas.extend(foreign.iter().filter_map(|note| note.add.get(&field.name)).filter_map(number));
            let expected = deltas.iter().fold(begins.clone(), |sum, delta| sum + delta);
            let Some(found) = number(&values[place]) else { continue };
            if close(&found, &expected, field) {
                continue;
            }
            let over = &found - &expected;
            let kind =
                if deltas.iter().any(|delta| close(delta, &over, field)) { Kind::Duplicated } else { Kind::Lost };
            let text = format!(
                "has `{}` {}; it began with {}, and {} settled or foreign differences make it {}",
                field.name,
                found.normalized().to_plain_string(),
                begins.normalized().to_plain_string(),
                deltas.len(),
                expected.normalized().to_plain_string()
            );
            self.find(kind, record, text);
        }
    }

    /// A mark is in one row.
    fn marks(&mut self, by_record: &BTreeMap<&str, Vec<&Settled>>) {
        let run = self.known.stage.run;
        // A trigger may carry what was written elsewhere into this table: such a mark is in as many rows as it likes.
        let here = |channel: &ChannelName| *channel == self.schema.channel;
        let lines = self.known.logs.iter().flatten().filter_map(|entry| match &entry.what {
            What::Wrote { line, .. } if here(&line.channel) => Some(&line.new),
            _ => None,
        });
        let notes = self.known.foreign.iter().filter(|note| here(&note.channel)).map(|note| &note.wrote);
        let written: BTreeSet<String> =
            lines.chain(notes).flat_map(|new| new.values()).filter(|value| run.owns(value)).map(plain).collect();
        let mut holders: HashMap<(usize, String), Vec<&str>> = HashMap::new();
        for (id, values) in self.rows {
            for (place, value) in values.iter().enumerate().filter(|(_, value)| run.owns(value)) {
                holders.entry((place, plain(value))).or_default().push(id);
            }
        }
        let Some((place, _)) = workload::mark_field(self.view).and_then(|field| self.schema.field(&field.name)) else {
            return;
        };
        // What was seen on devices counts, too: a twin may have been changed since.
        let saws = self.known.logs.iter().flatten().filter_map(|entry| match &entry.what {
            What::Saw { channel, record, row: Some(values), .. } if *channel == self.schema.channel => {
                Some((record, &values[place]))
            }
            _ => None,
        });
        for (record, value) in saws.filter(|(_, value)| run.owns(value)) {
            let ids = holders.entry((place, plain(value))).or_default();
            if !ids.contains(&record.as_str()) {
                ids.push(record);
            }
        }
        let mut several: Vec<_> = holders
            .into_iter()
            .filter(|((at, mark), ids)| *at == place && ids.len() > 1 && written.contains(mark))
            .collect();
        several.sort();
        for ((_, mark), ids) in several {
            // The record that the fleet knows, if there is one.
            let record = ids.iter().find(|id| by_record.contains_key(**id)).unwrap_or(&ids[0]);
            self.find(Kind::Duplicated, record, format!("has the mark {mark}, and so have {} others", ids.len() - 1));
        }
    }

    /// Where no field can carry a mark: no record is there that nobody made.
    fn strangers(&mut self, by_record: &BTreeMap<&str, Vec<&Settled>>, foreign: &[&ForeignNote]) {
        if workload::mark_field(self.view).is_some() || by_record.is_empty() {
            return;
        }
        let made_by_others = foreign.iter().filter(|note| note.op == Operation::Create).count();
        let written: BTreeSet<&str> = self
            .known
            .logs
            .iter()
            .flatten()
            .filter_map(|entry| match &entry.what {
                What::Wrote { line, .. } if line.channel == self.schema.channel => Some(line.record.as_str()),
                _ => None,
            })
            .collect();
        // A twin has the values of a record that the fleet made; any other may be of somebody else.
        let made: Vec<&Vec<Value>> = by_record
            .iter()
            .filter(|(_, history)| history.iter().any(|one| one.mutation.op == Operation::Create && one.took_effect()))
            .filter_map(|(record, _)| self.rows.get(*record))
            .collect();
        let is_key = |place: usize| self.schema.is_key_field(&self.schema.fields[place].name);
        let is_twin = |values: &Vec<Value>| {
            made.iter().any(|other| (0..values.len()).all(|place| is_key(place) || values[place] == other[place]))
        };
        let strange: Vec<&String> = self
            .rows
            .iter()
            .filter(|(id, values)| {
                !self.before.contains_key(*id)
                    && !by_record.contains_key(id.as_str())
                    && !written.contains(id.as_str())
                    && is_twin(values)
            })
            .map(|(id, _)| id)
            .collect();
        for id in strange.into_iter().skip(made_by_others) {
            self.find(Kind::Duplicated, id, "is in the backend as another one is, and nobody made it".to_owned());
        }
    }

    /// Writes whose device was set back, or whose app died before it answered: they may have gone out or not.
    fn loose(&self) -> Vec<&'a Line> {
        let mut loose = Vec::new();
        for (place, log) in self.known.logs.iter().enumerate() {
            let set_back = log.iter().rposition(|entry| matches!(entry.what, What::Went(Fate::SetBack)));
            for (n, entry) in log.iter().enumerate() {
                let What::Wrote { line, saved } = &entry.what else { continue };
                let is_loose = *saved == Saved::Unknown || set_back.is_some_and(|set_back| n < set_back);
                if line.channel == self.schema.channel && is_loose && !self.is_settled(place + 1, line) {
                    loose.push(line);
                }
            }
        }
        loose
    }

    /// Whether a write of this device came to a receipt, as itself or as a part of a mutation.
    fn is_settled(&self, device: usize, line: &Line) -> bool {
        self.known.of(&line.channel, &line.record).iter().any(|one| {
            let mutation = &one.mutation;
            one.device == device
                && match line.op {
                    Operation::Delete => mutation.op == Operation::Delete,
                    // It may have nothing but a key that the backend makes.
                    Operation::Create if line.new.is_empty() => mutation.op == Operation::Create,
                    _ => {
                        line.new.iter().any(|(name, value)| mutation.new.get(name).is_some_and(|new| same(new, value)))
                    }
                }
        })
    }

    /// What an app's database took comes to a receipt, unless a later write of the same app took its place.
    fn unsent(&mut self) {
        let mut found = Vec::new();
        for (place, log) in self.known.logs.iter().enumerate() {
            let set_back = log.iter().rposition(|entry| matches!(entry.what, What::Went(Fate::SetBack)));
            let begin = set_back.map_or(0, |set_back| set_back + 1);
            let mut last: BTreeMap<&str, &Line> = BTreeMap::new();
            let mut made: BTreeSet<&str> = BTreeSet::new();
            for (n, entry) in log.iter().enumerate() {
                let What::Wrote { line, saved } = &entry.what else { continue };
                if line.channel != self.schema.channel {
                    continue;
                }
                // It may be in the backup with which the device went on.
                if n < begin {
                    if line.op == Operation::Create {
                        made.insert(&line.record);
                    }
                    continue;
                }
                match saved {
                    Saved::Yes => drop(last.insert(&line.record, line)),
                    Saved::Unknown => drop(last.remove(line.record.as_str())),
                    Saved::No => {}
                }
                if line.op == Operation::Create {
                    made.insert(&line.record);
                }
            }
            for (record, line) in last {
                // A record that was made and removed before it was sent never was. And an update to the values that are
                // there is none, which only a mark excludes.
                let never_was = line.op == Operation::Delete && made.contains(record);
                let is_marked = line.new.values().any(|value| self.known.stage.run.owns(value));
                let counts = line.op != Operation::Update || is_marked;
                if counts && !never_was && !self.is_settled(place + 1, line) {
                    let what = crate::simulate::word(line.op);
                    found.push((
                        record.to_owned(),
                        format!(
                            "was saved on device {} by {} {what}, and that never came to a receipt",
                            place + 1,
                            if what == "update" { "an" } else { "a" }
                        ),
                    ));
                }
            }
        }
        for (record, text) in found {
            self.find(Kind::Lost, &record, text);
        }
    }
}

/// Whether its differences were taken: all but what was refused, or met no record.
fn counts(one: &Settled) -> bool {
    match one.receipt.outcome {
        Outcome::Applied | Outcome::Merged => true,
        Outcome::Conflict => one.receipt.code.is_none(),
        Outcome::Rejected => false,
    }
}

/// Whether two JSON forms are one value: numbers may be spelled differently.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    one == other || matches!((number(one), number(other)), (Some(one), Some(other)) if one == other)
}

/// The number that a JSON form is; NULL counts as none.
fn number(value: &Value) -> Option<BigDecimal> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) if !text.is_empty() && text.len() <= 80 => text.parse().ok(),
        Value::Null => Some(BigDecimal::default()),
        _ => None,
    }
}

/// Exactly, but for doubles, which are added in another order.
fn close(one: &BigDecimal, other: &BigDecimal, field: &Field) -> bool {
    match field.kind {
        omctl_protocol::FieldType::Float => (one - other).abs() < BigDecimal::new(1.into(), 6),
        _ => one == other,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
