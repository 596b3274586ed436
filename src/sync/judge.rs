//! Judging one mutation against its record as the backend has it now: what is to be written, or what is to be answered;
//! and what the log is to say of the record afterwards.

use std::collections::HashMap;
use std::sync::Arc;

use omctl_protocol::{AssignedBy, ChannelName, Operation, Position, RecordId, Value};

use super::Sync;
use super::answer::Answer;
use super::codec::{self, Record};
use super::managed::{check_after, put};
use super::offer;
use super::plan::{Current, Plan, Rejection, Wish, plan};
use super::round::Untraced;
use super::settle::Item;
use super::sight::Sight;
use crate::backend::{Borrow, Collection, Effect, Key, Slot, Write};
use crate::live::{Home, Live, LiveChannel};
#[cfg(feature = "planted")]
use crate::planted::{self, Plant};
use crate::store::{Aside, ChannelNo, Head, IncarnationNo, Journal, JournalChange};

/// A mutation that may be written.
pub(super) struct Wanted<'i> {
    pub(super) item: &'i Item,
    pub(super) channel: Arc<LiveChannel>,
    pub(super) wish: Wish,
}

/// The key of a new row, unless the backend assigns it, and its columns by their places.
type NewRow = (Option<Key>, Vec<(usize, Value)>);

pub(super) enum Judgement {
    /// `after`: the record as it is to be then.
    Write {
        write: (Arc<Collection>, Write),
        answer: Answer,
        after: Option<Vec<Value>>,
    },
    Answer(Answer),
}

/// The records that earlier writes of the same atomic transaction make, with the places of these writes: nobody knows
/// their keys yet.
pub(super) type Made = HashMap<(ChannelName, RecordId), usize>;

impl Sync {
    /// What becomes of a mutation, given its record as it is now.
    pub(super) fn judge(
        &self,
        live: &Live,
        sight: &Sight,
        wanted: &Wanted<'_>,
        head: Option<&Head>,
        current: Option<&Record>,
        (untraced, made): (&Untraced, &Made),
    ) -> Result<Judgement, Rejection> {
        let channel = &wanted.channel;
        let Home::Backend(_, collection) = &channel.home else {
            return Err(Rejection::new("unknown_channel", "the channel has moved to another backend"));
        };
        let id = wanted.item.mutation.record.as_str();
        let visible =
            current.filter(|record| wanted.wish.op == Operation::Create || sight.sees(channel, (id, &record.values)));
        self.check_named(live, sight, &wanted.channel, id, &wanted.wish)?;
        if wanted.item.mutation.again.is_some()
            && wanted.wish.op == Operation::Create
            && current.is_some_and(|record| !sight.sees(channel, (id, &record.values)))
        {
            return Err(Rejection::new("exists", "a record with this id exists"));
        }
        if untraced.maybe_done.contains(&wanted.item.settled_as) && may_have_been_done(wanted, visible) {
            return Ok(Judgement::Answer(Answer::unknown()));
        }
        let own = own_fields(wanted, head, visible);
        let (position, offered) = (head.map(|head| head.row.position), head.map(|head| &head.aside.offered));
        let is_untraced = untraced.all.contains(&wanted.item.settled_as);
        let resumed = self.inner.set_backs.resumed(channel.backend_name());
        let standing = offer::standings(channel, wanted.item, position, offered, (is_untraced, resumed));
        let currently = visible.map(|record| Current { values: &record.values, own: &own, standing: &standing });
        let mut borrows = Vec::new();
        let mut spelled = |place: usize, value: &Value| match made_by(made, channel, place, value) {
            Some(from) => {
                borrows.push(Borrow { from, into: Slot::Column(place) });
                Ok(Value::Null)
            }
            None => self.to_backend(live, channel, collection, place, value),
        };
        let own_maker = maker_of(made, channel.name(), &wanted.item.mutation.record);
        let key = || {
            if own_maker.is_some() {
                return Ok(Key(vec![Value::Null; collection.key.len()]));
            }
            self.key_of(channel, collection, &wanted.item.mutation.record)
                .ok_or_else(|| Rejection::new("bad_id", "this id is no key of the channel"))
        };
        // What this very transaction has made, nobody else can have changed.
        let expected = |places: Vec<usize>, before: &[Value]| -> Result<Vec<(usize, Value)>, Rejection> {
            let places = places.into_iter().filter(|_| own_maker.is_none());
            let spelled = |place| Ok((place, self.to_backend(live, channel, collection, place, &before[place])?));
            places.map(spelled).collect()
        };
        let (effect, answer, after) =
            match plan(&channel.schema, channel.decl.delete_vs_update, &wanted.wish, currently) {
                Plan::Reject(rejection) => return Err(rejection),
                Plan::Nothing(judged) => return Ok(Judgement::Answer(Answer::judged(&judged))),
                Plan::Insert(values) => {
                    let (key, set) = self.insert_of(live, wanted, collection, &values, (made, &mut borrows))?;
                    (Effect::Insert { key, set }, Answer::applied(), Some(values))
                }
                Plan::Update { set, expect, verdict } => {
                    let before = &visible.map(|record| record.values.clone()).unwrap_or_default();
                    #[cfg(feature = "planted")]
                    let set = gain_twice(channel, wanted.item, before, set);
                    let mut after = before.clone();
                    let mut spelled_set = Vec::with_capacity(set.len());
                    for (place, value) in set {
                        spelled_set.push((place, spelled(place, &value)?));
                        after[place] = value;
                    }
                    let expect = expected(expect, before)?;
                    (Effect::Update { key: key()?, expect, set: spelled_set }, Answer::judged(&verdict), Some(after))
                }
                Plan::Delete { expect } => {
                    let before = &visible.map(|record| record.values.clone()).unwrap_or_default();
                    let expect = expected(expect, before)?;
                    (Effect::Delete { key: key()?, expect }, Answer::applied(), None)
                }
            };
        if let Some(after) = &after {
            check_after(channel, sight, (id, after))?;
        }
        if let (Some(from), Effect::Update { .. } | Effect::Delete { .. }) = (own_maker, &effect) {
            borrows.push(Borrow { from, into: Slot::Row });
        }
        let write = Write {
            mutation: wanted.item.settled_as,
            digest: wanted.item.digest,
            record: wanted.item.mutation.record.clone(),
            outcome: answer.to_text(),
            effect,
            borrows,
        };
        Ok(Judgement::Write { write: (collection.clone(), write), answer, after })
    }

    /// Refuses references to records that are not there for the account: one that it may not see is as good as none.
    pub(super) fn check_named(
        &self,
        live: &Live,
        sight: &Sight,
        channel: &LiveChannel,
        record: &str,
        wish: &Wish,
    ) -> Result<(), Rejection> {
        for field in &channel.schema.fields {
            let (Some(to), Some(Value::Text(id))) = (&field.to, wish.new.get(&field.name)) else { continue };
            if to == channel.name() && id == record {
                continue;
            }
            // What was not read from its backend yet is not in the log, and the backend itself must judge.
            let unread = || !sight.is_there(to, id) && live.channels.get(to).is_some_and(|to| !self.is_read(to));
            if !sight.sees_named(to, id) && !unread() {
                let message = format!("`{}` names a record that does not exist", field.name);
                return Err(Rejection::of("reference", &field.name, message));
            }
        }
        Ok(())
    }

    /// The key and the columns of a new row.
    fn insert_of(
        &self,
        live: &Live,
        wanted: &Wanted<'_>,
        collection: &Collection,
        values: &[Value],
        (made, borrows): (&Made, &mut Vec<Borrow>),
    ) -> Result<NewRow, Rejection> {
        let channel = &wanted.channel;
        let mut spelled = |place: usize, value: &Value, into: Slot| match made_by(made, channel, place, value) {
            Some(from) => {
                borrows.push(Borrow { from, into });
                Ok(Value::Null)
            }
            None => self.to_backend(live, channel, collection, place, value),
        };
        let mut set = Vec::with_capacity(values.len());
        let mut key = Vec::new();
        for (place, value) in values.iter().enumerate() {
            let field = &channel.schema.fields[place];
            // What the app left out is left to the backend's own default.
            let left_out = value.is_null() && !wanted.wish.new.contains_key(&field.name);
            if field.read_only || left_out {
                continue;
            }
            if !channel.schema.is_key_field(&field.name) {
                set.push((place, spelled(place, value, Slot::Column(place))?));
            }
        }
        if channel.schema.key.assigned_by == AssignedBy::Backend {
            return Ok((None, set));
        }
        for (nth, column) in channel.schema.key.columns.iter().enumerate() {
            let value = match column.field.as_deref().and_then(|name| channel.schema.field(name)) {
                Some((place, _)) => spelled(place, &values[place], Slot::KeyColumn(nth))?,
                None => Value::Text(wanted.item.mutation.record.as_str().to_owned()),
            };
            key.push(value);
        }
        Ok((Some(Key(key)), set))
    }
}

/// The write that makes the record which a reference names.
fn made_by(made: &Made, channel: &LiveChannel, place: usize, value: &Value) -> Option<usize> {
    let (Some(to), Value::Text(id)) = (&channel.schema.fields[place].to, value) else { return None };
    if made.is_empty() { None } else { maker_of(made, to, &RecordId::from(id.as_str())) }
}

/// The write that makes a record. Outside of atomic transactions nothing is made, and nothing is looked for.
fn maker_of(made: &Made, channel: &ChannelName, record: &RecordId) -> Option<usize> {
    if made.is_empty() { None } else { made.get(&(channel.clone(), record.clone())).copied() }
}

/// For each field, whether this incarnation wrote it last and the journaled value still stands.
fn own_fields(wanted: &Wanted<'_>, head: Option<&Head>, current: Option<&Record>) -> Vec<bool> {
    let none = vec![false; wanted.channel.schema.fields.len()];
    let (Some(head), Some(current)) = (head, current) else { return none };
    let Ok(Some(journaled)) = codec::values_of(&wanted.channel, head) else { return none };
    let fields = wanted.channel.schema.fields.iter().enumerate();
    fields
        .map(|(place, field)| {
            head.aside.writers.wrote(wanted.item.incarnation, &field.name) && journaled[place] == current.values[place]
        })
        .collect()
}

/// The planted bug `twice`, where a field has the policy `sum`.
#[cfg(feature = "planted")]
pub(super) fn gain_twice(
    channel: &LiveChannel,
    item: &Item,
    before: &[Value],
    set: Vec<(usize, Value)>,
) -> Vec<(usize, Value)> {
    match super::plan::gained_twice(&channel.schema, before, &set) {
        Some(twice) if planted::is_due(Plant::Twice, item.settled_as) => {
            planted::tell(Plant::Twice, channel.name(), &item.mutation.record, Some(item.settled_as));
            twice
        }
        _ => set,
    }
}

/// Whether a write that was tried before, and cannot be deduplicated, may have been done then: where the record is not
/// as the device saw it. Only then it is not repeated.
fn may_have_been_done(wanted: &Wanted<'_>, current: Option<&Record>) -> bool {
    let schema = &wanted.channel.schema;
    match (wanted.wish.op, current) {
        (Operation::Create, None) => schema.key.assigned_by == AssignedBy::Backend,
        (Operation::Create, Some(_)) => true,
        (Operation::Update, Some(record)) => wanted
            .wish
            .old
            .iter()
            .any(|(name, old)| schema.field(name).is_some_and(|(place, _)| record.values[place] != *old)),
        // Deleting what is gone, or changing what is gone, has one answer whoever did it.
        (Operation::Update | Operation::Delete, _) => false,
    }
}

impl Sync {
    pub(super) fn journal_of(
        &self,
        live: &Live,
        wanted: &Wanted<'_>,
        head: Option<&Head>,
        record: Option<Record>,
        as_of: Position,
        wrote: &[usize],
    ) -> Journal {
        let Wanted { item, channel, wish } = wanted;
        let values = record.as_ref().map(|record| record.values.clone());
        let mut change = change_of(live, channel, head, record, Some((item.incarnation, wrote)));
        if let (JournalChange::Put { aside: Aside { offered, .. }, .. }, Some(values)) = (&mut change, values) {
            let position = head.map(|head| head.row.position);
            let traced = (false, self.inner.set_backs.resumed(channel.backend_name()));
            let standing = offer::standings(channel, item, position, Some(offered), traced);
            let holds = |place: usize| {
                wish.new.get(&channel.schema.fields[place].name).is_some_and(|new| *new == values[place])
            };
            let is_made = head.is_none_or(|head| head.row.body.is_none());
            offer::note(channel, item, wish, &standing, (is_made, holds), offered);
        }
        Journal { channel: ChannelNo(channel.number), id: item.mutation.record.clone(), as_of, change }
    }
}

/// What the log is to say of a record, with its writers: those who left what still stands, and the one who just wrote
/// these fields (by their places).
pub(super) fn change_of(
    live: &Live,
    channel: &LiveChannel,
    head: Option<&Head>,
    record: Option<Record>,
    wrote: Option<(IncarnationNo, &[usize])>,
) -> JournalChange {
    let Some(record) = record else { return JournalChange::Gone };
    let journaled = head.and_then(|head| codec::values_of(channel, head).ok().flatten());
    #[cfg(feature = "planted")]
    if journaled.as_ref().is_some_and(|journaled| *journaled != record.values) {
        // From now on nothing of it is journaled: `Sync::commit` leaves it out.
        let _due = planted::is_due(Plant::Unlogged, planted::name_of(channel.name(), &record.id));
    }
    let mut aside = match (&journaled, head) {
        (Some(_), Some(head)) => head.aside.clone(),
        _ => Aside::default(),
    };
    for (place, field) in channel.schema.fields.iter().enumerate() {
        let changed = journaled.as_ref().is_none_or(|journaled| journaled[place] != record.values[place]);
        let writer = wrote.filter(|(_, places)| places.contains(&place)).map(|(incarnation, _)| incarnation);
        if changed {
            aside.offered.remove(&field.name);
        }
        match (changed, writer) {
            (true, Some(incarnation)) => aside.writers.note(incarnation, &field.name),
            (true, None) => aside.writers.forget(&field.name),
            (false, _) => {}
        }
    }
    put(live, channel, &record.id, &record.values, aside)
}
