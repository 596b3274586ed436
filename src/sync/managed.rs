//! Records whose home is the state log itself: their write is the same commit as their receipt.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use omctl_protocol::value::encode_body;
use omctl_protocol::{ChannelName, Mutation, Operation, Position, RecordId, Value};

use super::answer::Answer;
use super::codec::{self, Side};
use super::offer;
use super::place::place_alone;
use super::plan::{Current, Plan, Rejection, Wish, plan};
use super::run::is_same_whole;
use super::settle::{Item, subject};
use super::sight::Sight;
use super::{Sync, SyncError, atomic};
use crate::catalog::Roles;
use crate::identity::Principal;
use crate::limits;
use crate::live::{Live, LiveChannel};
use crate::rule::Subject;
use crate::store::{Aside, Batch, ChannelNo, Journal, JournalChange, Settled, Writers};

/// What a run has made of one record so far.
#[derive(Clone, Default)]
struct Working {
    /// `None`: it does not exist.
    values: Option<Vec<Value>>,
    aside: Aside,
    /// Of its row in the log.
    position: Option<Position>,
    /// Its place in the batch's journal, once something changed it.
    journal: Option<usize>,
}

/// A batch that is being planned.
struct Planning {
    sight: Sight,
    /// What the log has is as of here.
    as_of: Position,
    working: HashMap<(ChannelNo, RecordId), Working>,
    /// Records whose create was rejected.
    orphans: HashSet<(ChannelName, RecordId)>,
    batch: Batch,
}

/// How things stood before an atomic transaction.
struct Undo {
    records: Vec<((ChannelNo, RecordId), Working)>,
    /// Journal entries of earlier mutations that it may have changed.
    changes: Vec<(usize, JournalChange)>,
    journaled: usize,
}

impl Planning {
    fn remember(&self, live: &Live, piece: &[Item]) -> Undo {
        let mut records = Vec::with_capacity(piece.len());
        let mut changes = Vec::new();
        for item in piece {
            let Some(channel) = live.channels.get(&item.mutation.channel) else { continue };
            let key = (ChannelNo(channel.number), item.mutation.record.clone());
            let Some(record) = self.working.get(&key) else { continue };
            changes.extend(record.journal.map(|place| (place, self.batch.journal[place].change.clone())));
            records.push((key, record.clone()));
        }
        Undo { records, changes, journaled: self.batch.journal.len() }
    }

    fn undo(&mut self, live: &Live, undo: Undo) {
        self.batch.journal.truncate(undo.journaled);
        for (place, change) in undo.changes {
            self.batch.journal[place].change = change;
        }
        for (key, record) in undo.records {
            if let Some(channel) = live.channel_numbered(key.0.0).filter(|channel| channel.leads || channel.is_named) {
                self.sight.note(channel.name(), key.1.as_str(), record.values.clone());
            }
            self.working.insert(key, record);
        }
    }

    fn answer(&mut self, who: &Principal, item: &Item, (answer, journal): (Answer, Option<usize>)) {
        if answer.is_rejected() && item.mutation.op == Operation::Create {
            self.orphans.insert(item.key());
        }
        self.batch.verdicts.extend(answer.verdict(&item.mutation, who.device));
        add_receipt(&mut self.batch, who, item, &answer, journal);
    }
}

impl Sync {
    /// Settles managed mutations in one commit. `base` carries what else is to be in it; where its first `settled`
    /// moves the watermark, the receipts join it, else they take their mutations out of the inbox.
    pub(super) async fn settle_managed(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        items: &[Item],
        base: Batch,
    ) -> Result<(), SyncError> {
        loop {
            let batch = self.plan_managed(live, who, items, base.clone()).await?;
            // Where another device was faster with some record: read and plan again.
            if self.commit(live, batch).await?.is_empty() {
                return Ok(());
            }
        }
    }

    async fn plan_managed(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        items: &[Item],
        batch: Batch,
    ) -> Result<Batch, SyncError> {
        let channels = items.iter().filter_map(|item| live.channels.get(&item.mutation.channel));
        let sight = self.sight(live, channels, subject(who)).await?;
        let orphans = self.rejected_creates(live, items.iter().map(|item| &item.mutation)).await?;
        let keys: Vec<(ChannelNo, RecordId)> = items
            .iter()
            .filter_map(|item| {
                let channel = live.channels.get(&item.mutation.channel)?;
                Some((ChannelNo(channel.number), item.mutation.record.clone()))
            })
            .collect();
        let (as_of, heads) = self.inner.store.heads(keys.clone()).await?;
        let mut working: HashMap<(ChannelNo, RecordId), Working> = HashMap::with_capacity(keys.len());
        for (key, head) in keys.into_iter().zip(heads) {
            let channel =
                live.channel_numbered(key.0.0).ok_or_else(|| SyncError::Bug("a channel has no name".into()))?;
            let record = match head {
                None => Working::default(),
                Some(head) => Working {
                    values: codec::values_of(channel, &head)?,
                    position: Some(head.row.position),
                    aside: codec::aside_of(channel, head)?,
                    journal: None,
                },
            };
            working.entry(key).or_insert(record);
        }
        let mut planning = Planning { sight, as_of, working, orphans, batch };
        for piece in items.chunk_by(is_same_whole) {
            if let [item] = piece
                && item.mutation.atomic.is_none()
            {
                let (answer, journal, _) = self.plan_one(live, item, &mut planning).await?;
                planning.answer(who, item, (answer, journal));
            } else {
                self.plan_whole(live, who, piece, &mut planning).await?;
            }
        }
        Ok(planning.batch)
    }

    /// Plans all of an atomic transaction, or refuses it.
    async fn plan_whole(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        piece: &[Item],
        planning: &mut Planning,
    ) -> Result<(), SyncError> {
        let undo = planning.remember(live, piece);
        let mut answers = Vec::with_capacity(piece.len());
        for (place, item) in piece.iter().enumerate() {
            let (answer, journal, loss) = self.plan_one(live, item, planning).await?;
            let answer = loss.map_or(answer, |loss| Answer::rejected(&loss));
            if answer.is_rejected() {
                planning.undo(live, undo);
                answers = atomic::refusals(piece.len(), Some(place), &answer).map(|answer| (answer, None)).collect();
                break;
            }
            answers.push((answer, journal));
        }
        for (item, answer) in piece.iter().zip(answers) {
            planning.answer(who, item, answer);
        }
        Ok(())
    }

    /// Plans one mutation on what those before it have left. With the answer: its place in the journal, and what of the
    /// mutation is not done although it is not refused.
    async fn plan_one(
        &self,
        live: &Arc<Live>,
        item: &Item,
        planning: &mut Planning,
    ) -> Result<(Answer, Option<usize>, Option<Rejection>), SyncError> {
        let Planning { sight, as_of, working, orphans, batch } = planning;
        let (channel, wish) = match prepare(live, &sight.subject, &item.mutation, orphans) {
            Ok(prepared) => prepared,
            Err(rejection) => return Ok((Answer::rejected(&rejection), None, None)),
        };
        let key = (ChannelNo(channel.number), item.mutation.record.clone());
        let record = working.get_mut(&key).ok_or_else(|| SyncError::Bug("an unread record".into()))?;
        self.look_at_named(sight, &channel, wish.new.iter()).await?;
        let images = images(&channel, &wish, record.values.as_deref());
        self.look(sight, images.into_iter().map(|image| (channel.clone(), image))).await?;
        let named = self.check_named(live, sight, &channel, item.mutation.record.as_str(), &wish);
        let (answer, journal) = match named.and_then(|()| atomic::check_declared(&channel, item)) {
            Ok(()) => apply(live, &channel, sight, item, &wish, record, *as_of, batch),
            Err(rejection) => (Answer::rejected(&rejection), None),
        };
        if channel.leads || channel.is_named {
            // What inherits from it or names it in this very batch is judged by what it is now.
            sight.note(channel.name(), item.mutation.record.as_str(), record.values.clone());
        }
        let loss = answer.loss(&wish);
        Ok((answer, journal, loss))
    }

    /// Which records that these mutations name were to be made by a create that was rejected.
    pub(super) async fn rejected_creates(
        &self,
        live: &Live,
        mutations: impl Iterator<Item = &Mutation>,
    ) -> Result<HashSet<(ChannelName, RecordId)>, SyncError> {
        let mut named: HashSet<(ChannelName, RecordId)> = HashSet::new();
        for mutation in mutations {
            if mutation.op != Operation::Create {
                named.insert((mutation.channel.clone(), mutation.record.clone()));
            }
            let Some(channel) = live.channels.get(&mutation.channel) else { continue };
            for field in &channel.schema.fields {
                let (Some(to), Some(value)) = (&field.to, mutation.new.get(&field.name)) else { continue };
                if let Some(id) = value.as_str() {
                    named.insert((to.clone(), RecordId::from(id)));
                }
            }
        }
        Ok(self.inner.store.rejected_creates(named.into_iter().collect()).await?)
    }
}

/// What does not depend on the record: the channel, the role, the values.
pub(super) fn prepare(
    live: &Live,
    subject: &Subject,
    mutation: &Mutation,
    orphans: &HashSet<(ChannelName, RecordId)>,
) -> Result<(Arc<LiveChannel>, Wish), Rejection> {
    let no_channel = || Rejection::new("unknown_channel", format!("there is no channel `{}`", mutation.channel));
    let channel = live.channels.get(&mutation.channel).ok_or_else(no_channel)?.clone();
    if !channel.rule.may_admit(subject) {
        // A channel of which the account may see nothing is not told apart from one that is not there.
        return Err(no_channel());
    }
    let write = &channel.decl.write;
    let (roles, word): (&Roles, _) = match mutation.op {
        Operation::Create => (&write.create, "create"),
        Operation::Update => (&write.update, "update"),
        Operation::Delete => (&write.delete, "delete"),
    };
    if !roles.contain(subject.role.as_deref()) {
        return Err(Rejection::new(
            "not_allowed",
            format!("this account may not {word} records of `{}`", channel.name()),
        ));
    }
    let depends = |channel: &ChannelName, id: &str| orphans.contains(&(channel.clone(), RecordId::from(id)));
    if mutation.op == Operation::Create {
        let id = mutation.record.as_str();
        if uuid::Uuid::parse_str(id).is_err() {
            return Err(Rejection::new("bad_id", "a record that a device creates has a UUID for its id"));
        }
    } else if depends(&mutation.channel, mutation.record.as_str()) {
        return Err(Rejection::new("depends_on", "the record was not created: its create was rejected"));
    }
    let new_side = if mutation.op == Operation::Create { Side::Created } else { Side::New };
    let wish = Wish {
        op: mutation.op,
        old: codec::read_fields(&channel, mutation.v, &mutation.old, Side::Old)?,
        new: codec::read_fields(&channel, mutation.v, &mutation.new, new_side)?,
        again: mutation.again.is_some(),
    };
    for field in &channel.schema.fields {
        if let (Some(to), Some(Value::Text(id))) = (&field.to, wish.new.get(&field.name))
            && depends(to, id)
        {
            let message = format!("`{}` names a record whose create was rejected", field.name);
            return Err(Rejection::of("depends_on", &field.name, message));
        }
    }
    Ok((channel, wish))
}

/// What a record may look like before and after a mutation, as far as its references are concerned.
pub(super) fn images(channel: &LiveChannel, wish: &Wish, current: Option<&[Value]>) -> Vec<Vec<Value>> {
    let mut images: Vec<Vec<Value>> = current.map(<[Value]>::to_vec).into_iter().collect();
    if channel.parents.iter().any(|(name, _)| wish.new.contains_key(name)) {
        let mut after = images.first().cloned().unwrap_or_else(|| vec![Value::Null; channel.schema.fields.len()]);
        for (name, value) in &wish.new {
            if let Some((place, _)) = channel.schema.field(name) {
                after[place] = value.clone();
            }
        }
        images.push(after);
    }
    images
}

/// Refuses an image that the account would not see (or that is in more scopes than a record may be).
pub(super) fn check_after(channel: &LiveChannel, sight: &Sight, record: (&str, &[Value])) -> Result<(), Rejection> {
    if !sight.sees(channel, record) {
        return Err(Rejection::new("scope_write", "this would put the record outside of what the account may see"));
    }
    if sight.scopes(channel, record) > limits::SCOPES_PER_RECORD_MAX {
        let most = limits::SCOPES_PER_RECORD_MAX;
        return Err(Rejection::new("too_many_scopes", format!("a record may be in at most {most} scopes")));
    }
    Ok(())
}

/// A record's journal entry for what it looks like now.
pub(super) fn put(live: &Live, channel: &LiveChannel, id: &RecordId, values: &[Value], aside: Aside) -> JournalChange {
    JournalChange::Put {
        version: channel.schema.version,
        body: encode_body(values),
        place: place_alone(live, channel, id, values),
        aside,
    }
}

#[expect(clippy::too_many_arguments, reason = "one step of one loop, split off for its length")]
fn apply(
    live: &Live,
    channel: &LiveChannel,
    sight: &Sight,
    item: &Item,
    wish: &Wish,
    record: &mut Working,
    as_of: Position,
    batch: &mut Batch,
) -> (Answer, Option<usize>) {
    let id = &item.mutation.record;
    let visible = record
        .values
        .as_ref()
        .filter(|values| wish.op == Operation::Create || sight.sees(channel, (id.as_str(), values)));
    let own: Vec<bool> =
        channel.schema.fields.iter().map(|field| record.aside.writers.wrote(item.incarnation, &field.name)).collect();
    let standing = offer::standings(channel, item, record.position, Some(&record.aside.offered), (false, Position(0)));
    let current = visible.map(|values| Current { values, own: &own, standing: &standing });
    let planned = plan(&channel.schema, channel.decl.delete_vs_update, wish, current);
    let (answer, after) = match planned {
        Plan::Reject(rejection) => return (Answer::rejected(&rejection), None),
        // An offer that changes nothing may still be what a field holds.
        Plan::Nothing(judged) if item.mutation.again.is_none() || record.values.is_none() => {
            return (Answer::judged(&judged), record.journal);
        }
        Plan::Nothing(judged) => (Answer::judged(&judged), record.values.clone()),
        Plan::Insert(values) => (Answer::applied(), Some(values)),
        Plan::Update { set, verdict, .. } => {
            let mut values = record.values.clone().unwrap_or_default();
            #[cfg(feature = "planted")]
            let set = super::judge::gain_twice(channel, item, &values, set);
            for (place, value) in set {
                values[place] = value;
            }
            (Answer::judged(&verdict), Some(values))
        }
        Plan::Delete { .. } => (Answer::applied(), None),
    };
    #[cfg(feature = "planted")]
    let after = withhold(channel, item, &answer, &record.values, after);
    if let Some(values) = &after {
        if let Err(rejection) = check_after(channel, sight, (id.as_str(), values)) {
            return (Answer::rejected(&rejection), None);
        }
        if record.values.is_none() {
            record.aside = Aside { writers: Writers::all(item.incarnation), ..Aside::default() };
        }
        let before = record.values.as_deref().unwrap_or_default();
        for (place, field) in channel.schema.fields.iter().enumerate() {
            if before.get(place).is_some_and(|before| *before != values[place]) {
                if wish.got(&field.name, &values[place]) {
                    record.aside.writers.note(item.incarnation, &field.name);
                } else {
                    record.aside.writers.forget(&field.name);
                }
                record.aside.offered.remove(&field.name);
                record.aside.kept.remove(&field.name);
            }
        }
        let holds = |place: usize| wish.new.get(&channel.schema.fields[place].name) == Some(&values[place]);
        let is_made = record.values.is_none();
        offer::note(channel, item, wish, &standing, (is_made, holds), &mut record.aside.offered);
    }
    let change = match &after {
        Some(values) => put(live, channel, id, values, record.aside.clone()),
        None => JournalChange::Gone,
    };
    record.values = after;
    let place = match record.journal {
        Some(place) => {
            batch.journal[place].change = change;
            place
        }
        None => {
            batch.journal.push(Journal { channel: ChannelNo(channel.number), id: id.clone(), as_of, change });
            batch.journal.len() - 1
        }
    };
    record.journal = Some(place);
    (answer, Some(place))
}

/// The planted bug `unapplied`: the record stays what it was.
#[cfg(feature = "planted")]
fn withhold(
    channel: &LiveChannel,
    item: &Item,
    answer: &Answer,
    before: &Option<Vec<Value>>,
    after: Option<Vec<Value>>,
) -> Option<Vec<Value>> {
    use crate::planted::{self, Plant};
    let would_be = answer.outcome == omctl_protocol::Outcome::Applied && after.is_some() && after != *before;
    if !(would_be && planted::is_due(Plant::Unapplied, item.settled_as)) {
        return after;
    }
    planted::tell(Plant::Unapplied, channel.name(), &item.mutation.record, Some(item.settled_as));
    before.clone()
}

/// Adds a receipt to the batch, among those of its incarnation.
pub(super) fn add_receipt(batch: &mut Batch, who: &Principal, item: &Item, answer: &Answer, journal: Option<usize>) {
    let receipt = answer.receipt(&item.mutation, item.settled_as, item.digest, journal);
    match batch.settled.iter_mut().find(|settled| settled.incarnation == item.incarnation) {
        Some(settled) => settled.receipts.push(receipt),
        None => batch.settled.push(Settled {
            device: who.device,
            incarnation: item.incarnation,
            accepted: None,
            receipts: vec![receipt],
        }),
    }
}
