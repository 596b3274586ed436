//! One run against its backend: read, plan, write in one backend transaction, journal with the receipts.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use omctl_protocol::{ChannelName, Mutation, MutationId, Operation, RecordId, Value};

use super::answer::Answer;
use super::codec::{self, Births, Record};
use super::judge::{Judgement, Made, Wanted, change_of};
use super::managed::{add_receipt, images, prepare};
use super::plan::Rejection;
use super::settle::{Item, subject};
use super::sight::Sight;
use super::{Sync, SyncError};
use crate::backend::{Backend, BackendError, Collection, Delivery, Key, Write, Written};
use crate::identity::Principal;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{Batch, ChannelNo, Head, Horizon, IdMapping, Journal};

impl Sync {
    /// Settles a run: everything in it has its receipt when this returns well.
    pub(super) async fn try_run(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        run: &[Item],
    ) -> Result<(), SyncError> {
        let _flight = self.inner.flights.take_off(backend.name());
        let channels = run.iter().filter_map(|item| live.channels.get(&item.mutation.channel));
        let mut sight = self.sight(live, channels, subject(who)).await?;
        let mut settling = Settling::default();
        let mut orphans = self.rejected_creates(live, run.iter().map(|item| &item.mutation)).await?;
        let witnesses = self.witnesses_of(backend.name()).await?;
        settling.horizon = self.inner.store.horizon().await?;
        let ids: Vec<MutationId> = run.iter().map(|item| item.settled_as).chain(witnesses.iter().copied()).collect();
        let applied = backend.applied(&ids).await?;
        self.look_for_witnesses(backend.name(), &witnesses, &applied)?;
        let mut open: Vec<Wanted> = Vec::new();
        for item in run {
            if let Some(done) = applied.get(&item.settled_as).filter(|done| done.digest == item.digest) {
                // Done before a crash: the answer stands, the record is read as it is now.
                let answer = Answer::from_text(&done.outcome);
                settling.read_again(item, done.key.clone());
                settling.answer(who, item, &answer, None);
                settling.batch.witness = self.inner.set_backs.witness(backend.name(), item.settled_as, None);
                continue;
            }
            match prepare(live, &sight.subject, &item.mutation, &orphans) {
                Ok((channel, wish)) => open.push(Wanted { item, channel, wish }),
                Err(rejection) => {
                    if item.mutation.op == Operation::Create {
                        orphans.insert((item.mutation.channel.clone(), item.mutation.record.clone()));
                    }
                    settling.answer(who, item, &Answer::rejected(&rejection), None);
                }
            }
        }
        let untraced = self.note_untraced_tries(&open).await?;
        let mut rounds = 0;
        while !open.is_empty() {
            open = match self.round(live, &mut sight, who, backend, open, &untraced, &mut settling).await? {
                Round::Lost(lost) => lost,
                // What is not answered is taken up again, by whatever its account may do now.
                Round::Outdated if rounds == 0 => return Ok(()),
                Round::Outdated => break,
            };
            rounds += 1;
            if rounds > 50 && !open.is_empty() {
                // Somebody rewrites these rows faster than we plan: let others go first and come back.
                let backend = backend.name().to_owned();
                return Err(BackendError::Unavailable { backend, message: "the rows keep changing".into() }.into());
            }
        }
        self.commit_settled(live, &mut sight, settling).await
    }

    /// Where writes cannot be deduplicated: notes that these are about to be tried, and tells which may have been done
    /// before.
    pub(super) async fn note_untraced_tries(&self, open: &[Wanted<'_>]) -> Result<Untraced, SyncError> {
        let unsure: Vec<&Item> = {
            let health = self.inner.health.lock().expect("nobody panics while noting health");
            // What this very run has seen counts more than the last probe: after a start there was none yet.
            let best_effort = |channel: &LiveChannel| {
                let is_probed_so =
                    || health.get(channel.name()).is_none_or(|health| health.delivery() == Delivery::BestEffort);
                !self.inner.set_backs.has_ledger(channel.backend_name()) && is_probed_so()
            };
            open.iter().filter(|wanted| best_effort(&wanted.channel)).map(|wanted| wanted.item).collect()
        };
        if unsure.is_empty() {
            return Ok(Untraced::default());
        }
        self.inner.store.note_tries(unsure.iter().map(|item| (item.incarnation, item.mutation.seq)).collect()).await?;
        let may_be_done = |item: &&&Item| {
            let is_offered_create = item.mutation.again.is_some() && item.mutation.op == Operation::Create;
            item.tries > 0 || is_offered_create
        };
        Ok(Untraced {
            maybe_done: unsure.iter().filter(may_be_done).map(|item| item.settled_as).collect(),
            all: unsure.iter().map(|item| item.settled_as).collect(),
        })
    }

    /// Whether a device's rights are still those by which it was judged: a slow backend takes its time to answer.
    pub(super) async fn is_still(&self, who: &Principal) -> Result<bool, SyncError> {
        Ok(self.inner.identity.principal_of(who.device).await?.as_ref() == Some(who))
    }

    /// Reads, plans and writes once.
    #[expect(clippy::too_many_arguments, reason = "one step of one loop, split off for its length")]
    async fn round<'i>(
        &self,
        live: &Live,
        sight: &mut Sight,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        open: Vec<Wanted<'i>>,
        untraced: &Untraced,
        settling: &mut Settling,
    ) -> Result<Round<'i>, SyncError> {
        let records =
            open.iter().map(|wanted| (ChannelNo(wanted.channel.number), wanted.item.mutation.record.clone())).collect();
        // The log is read first: what is read from the backend after it is newer than anything journaled until then.
        let (as_of, heads) = self.inner.store.heads(records).await?;
        let currents = self.read_currents(live, &open, &mut settling.batch.mappings).await?;
        for (wanted, current) in open.iter().zip(&currents) {
            self.look_at_named(sight, &wanted.channel, wanted.wish.new.iter()).await?;
            let images = images(&wanted.channel, &wanted.wish, current.as_ref().map(|record| &record.values[..]));
            self.look(sight, images.into_iter().map(|image| (wanted.channel.clone(), image))).await?;
        }
        let mut writes: Vec<(Arc<Collection>, Write)> = Vec::new();
        let mut written: Vec<(Wanted<'i>, Option<Head>, Answer, Vec<usize>)> = Vec::new();
        for ((wanted, head), current) in open.into_iter().zip(heads).zip(currents) {
            let judged =
                self.judge(live, sight, &wanted, head.as_ref(), current.as_ref(), (untraced, &Made::default()));
            match judged {
                Ok(Judgement::Write { write, answer, after }) => {
                    #[cfg(feature = "planted")]
                    let write = withhold(&wanted, &answer, write);
                    let places = write.1.effect.places();
                    let places = wanted.wish.got_of(&wanted.channel.schema, after.as_deref(), places);
                    writes.push(write);
                    written.push((wanted, head, answer, places));
                }
                Ok(Judgement::Answer(answer)) => {
                    // The log may not show yet what this was judged by. Of a record out of sight not even its position is.
                    let id = wanted.item.mutation.record.as_str();
                    let is_seen =
                        current.as_ref().is_some_and(|record| sight.sees(&wanted.channel, (id, &record.values)));
                    let change = self.journal_of(live, &wanted, head.as_ref(), current, as_of, &[]);
                    let place = settling.journal(change).filter(|_| is_seen);
                    settling.answer(who, wanted.item, &answer, place);
                }
                Err(rejection) => settling.answer(who, wanted.item, &Answer::rejected(&rejection), None),
            }
        }
        if !writes.is_empty() && !self.is_still(who).await? {
            return Ok(Round::Outdated);
        }
        let results = if writes.is_empty() { Vec::new() } else { backend.write(&writes).await? };
        let mut lost = Vec::new();
        for ((wanted, head, answer, places), result) in written.into_iter().zip(results) {
            match result {
                Written::Lost => lost.push(wanted),
                // It may be this very row: nobody can tell.
                Written::Exists if wanted.item.mutation.again.is_some() => {
                    settling.answer(who, wanted.item, &Answer::unknown(), None);
                }
                Written::Exists => {
                    let rejection = Rejection::new("exists", "a record with this key exists");
                    settling.answer(who, wanted.item, &Answer::rejected(&rejection), None);
                }
                Written::Refused { code, column, message } => {
                    let field = column.and_then(|column| field_of(&wanted.channel, &column));
                    settling.answer(who, wanted.item, &Answer::rejected(&Rejection { code, message, field }), None);
                }
                Written::Already(done) => {
                    let answer = Answer::from_text(&done.outcome);
                    settling.read_again(wanted.item, done.key);
                    settling.answer(who, wanted.item, &answer, None);
                    let found = self.inner.set_backs.witness(backend.name(), wanted.item.settled_as, None);
                    settling.batch.witness = settling.batch.witness.take().or(found);
                }
                Written::Done { key, row } => {
                    settling.batch.witness =
                        self.inner.set_backs.witness(backend.name(), wanted.item.settled_as, Some(settling.horizon));
                    self.map_created(&wanted, key.as_ref(), settling);
                    let record = match row {
                        Some(row) => self
                            .name_rows(live, &wanted.channel, vec![row], Births::Unknown, &mut settling.batch.mappings)
                            .await?
                            .into_iter()
                            .next(),
                        None => None,
                    };
                    if record.as_ref().is_some_and(|record| record.id != wanted.item.mutation.record) {
                        // The row has become another record's meanwhile.
                        settling.read_again(wanted.item, None);
                        settling.answer(who, wanted.item, &answer, None);
                        continue;
                    }
                    let change = self.journal_of(live, &wanted, head.as_ref(), record, as_of, &places);
                    let place = settling.journal(change);
                    settling.answer(who, wanted.item, &answer, place);
                }
            }
        }
        Ok(Round::Lost(lost))
    }

    /// The records as their backend has them now, one read a channel.
    pub(super) async fn read_currents(
        &self,
        live: &Live,
        open: &[Wanted<'_>],
        mappings: &mut Vec<IdMapping>,
    ) -> Result<Vec<Option<Record>>, SyncError> {
        let mut by_channel: BTreeMap<u64, Vec<(usize, Key)>> = BTreeMap::new();
        for (place, wanted) in open.iter().enumerate() {
            let Home::Backend(_, collection) = &wanted.channel.home else { continue };
            if let Some(key) = self.key_of(&wanted.channel, collection, &wanted.item.mutation.record) {
                by_channel.entry(wanted.channel.number).or_default().push((place, key));
            }
        }
        let mut currents: Vec<Option<Record>> = vec![None; open.len()];
        for (number, asked) in by_channel {
            let Some(channel) = live.channel_numbered(number) else { continue };
            let Home::Backend(backend, collection) = &channel.home else { continue };
            let keys: Vec<Key> = asked.iter().map(|(_, key)| key.clone()).collect();
            let rows = backend.read(collection, &keys).await?;
            let (mut places, mut found) = (Vec::new(), Vec::new());
            for ((place, _), row) in asked.into_iter().zip(rows) {
                match row {
                    Some(Ok(row)) => {
                        places.push(place);
                        found.push(row);
                    }
                    Some(Err(bad)) => {
                        let backend = backend.name().to_owned();
                        let message = format!("column `{}`: {}", bad.column, bad.message);
                        return Err(BackendError::BadResponse { backend, message }.into());
                    }
                    None => {}
                }
            }
            for (place, record) in
                places.into_iter().zip(self.name_rows(live, channel, found, Births::Every, mappings).await?)
            {
                // The row may have become another record's while it was read.
                currents[place] = (record.id == open[place].item.mutation.record).then_some(record);
            }
        }
        Ok(currents)
    }

    /// Notes the key of a record that a device created, where its id is not the key's own text.
    pub(super) fn map_created(&self, wanted: &Wanted<'_>, key: Option<&Key>, settling: &mut Settling) {
        let record = &wanted.item.mutation.record;
        let (Operation::Create, Some(key)) = (wanted.wish.op, key) else { return };
        let text = key.to_text();
        if wanted.channel.schema.key_is_id() || text == record.as_str() {
            return;
        }
        let mapping = IdMapping { channel: ChannelNo(wanted.channel.number), id: record.clone(), key: text };
        self.inner.names.learn(std::slice::from_ref(&mapping));
        settling.batch.mappings.push(mapping);
    }

    /// Commits receipts with the rows that show their effects; rows that went stale meanwhile are read again.
    pub(super) async fn commit_settled(
        &self,
        live: &Arc<Live>,
        sight: &mut Sight,
        mut settling: Settling,
    ) -> Result<(), SyncError> {
        loop {
            let rereads = std::mem::take(&mut settling.rereads);
            for Reread { mutation, channel, id, key } in rereads {
                let Some(channel) = live.channels.get(&channel) else { continue };
                if let Some(key) = key {
                    let text = key.to_text();
                    if !channel.schema.key_is_id()
                        && text != id.as_str()
                        && self.is_latest_birth(channel, &key, &id).await?
                    {
                        let mapping = IdMapping { channel: ChannelNo(channel.number), id: id.clone(), key: text };
                        self.inner.names.learn(std::slice::from_ref(&mapping));
                        settling.batch.mappings.push(mapping);
                    }
                }
                if let Some((entry, values)) = self.read_again(live, channel, &id, &mut settling.batch.mappings).await?
                {
                    // The answer's effect is in this row, if only by now. Of one that went out of sight meanwhile, not even
                    // the position is told.
                    let is_seen = match values {
                        Some(values) => {
                            self.look(sight, [(channel.clone(), values.clone())].into_iter()).await?;
                            sight.sees(channel, (id.as_str(), &values))
                        }
                        None => false,
                    };
                    let place = settling.journal(entry).filter(|_| is_seen);
                    let receipts = settling.batch.settled.iter_mut().flat_map(|settled| &mut settled.receipts);
                    receipts.filter(|one| one.receipt.id == mutation).for_each(|one| one.journal = place);
                }
            }
            let stale = match settling.is_whole {
                true => self.commit_now(live, settling.batch.clone()).await?,
                false => self.commit(live, settling.batch.clone()).await?,
            };
            if stale.is_empty() {
                return Ok(());
            }
            for place in stale {
                let (channel, id) = {
                    let entry = &settling.batch.journal[place];
                    (entry.channel, entry.id.clone())
                };
                let Some(channel) = live.channel_numbered(channel.0) else { continue };
                let mut mappings = Vec::new();
                if let Some((entry, _)) = self.read_again(live, channel, &id, &mut mappings).await? {
                    settling.batch.journal[place] = entry;
                }
                settling.batch.mappings.extend(mappings);
            }
        }
    }

    /// Whether no other record was created under this key after this one: its row may be long gone, and the key given to
    /// another.
    async fn is_latest_birth(&self, channel: &LiveChannel, key: &Key, id: &RecordId) -> Result<bool, SyncError> {
        let Home::Backend(backend, collection) = &channel.home else { return Ok(true) };
        let born = backend.born(collection, std::slice::from_ref(key)).await?;
        Ok(born.get(&key.to_text()).is_none_or(|latest| latest == id))
    }

    /// A journal entry for a record as its backend has it now, and its values: where it is gone, the last that the log has.
    pub(super) async fn read_again(
        &self,
        live: &Live,
        channel: &LiveChannel,
        id: &RecordId,
        mappings: &mut Vec<IdMapping>,
    ) -> Result<Option<(Journal, Option<Vec<Value>>)>, SyncError> {
        let Home::Backend(backend, collection) = &channel.home else { return Ok(None) };
        let number = ChannelNo(channel.number);
        let (as_of, heads) = self.inner.store.heads(vec![(number, id.clone())]).await?;
        let row = match self.key_of(channel, collection, id) {
            Some(key) => backend.read(collection, &[key]).await?.into_iter().next().flatten(),
            None => None,
        };
        let record = match row {
            Some(Ok(row)) => {
                let mut named = self.name_rows(live, channel, vec![row], Births::Every, mappings).await?.into_iter();
                named.next().filter(|record| record.id == *id)
            }
            Some(Err(_)) => return Ok(None),
            None => None,
        };
        let head = heads.into_iter().next().flatten();
        let values = match (&record, &head) {
            (Some(record), _) => Some(record.values.clone()),
            (None, Some(head)) => codec::values_of(channel, head)?,
            (None, None) => None,
        };
        let change = change_of(live, channel, head.as_ref(), record, None);
        Ok(Some((Journal { channel: number, id: id.clone(), as_of, change }, values)))
    }
}

/// What is left of a run after one round.
enum Round<'i> {
    /// These lost a race.
    Lost(Vec<Wanted<'i>>),
    /// The account's rights are others by now, and nothing was written.
    Outdated,
}

/// Mutations of channels in which nobody can tell what was done.
#[derive(Default)]
pub(super) struct Untraced {
    pub(super) all: HashSet<MutationId>,
    /// Those that may have been done before.
    pub(super) maybe_done: HashSet<MutationId>,
}

/// What a run has come to so far.
#[derive(Clone, Default)]
pub(super) struct Settling {
    pub(super) batch: Batch,
    /// Records whose state must be read before the commit.
    pub(super) rereads: Vec<Reread>,
    /// It is of an atomic transaction, for whose end nobody else waits.
    pub(super) is_whole: bool,
    /// Where the store stood before anything of it was written.
    pub(super) horizon: Horizon,
}

/// A record that is read again for the answer to a mutation.
#[derive(Clone)]
pub(super) struct Reread {
    mutation: MutationId,
    channel: ChannelName,
    id: RecordId,
    /// Where the record was made by it, the key that it was given.
    key: Option<Key>,
}

impl Settling {
    pub(super) fn read_again(&mut self, item: &Item, key: Option<Key>) {
        let Mutation { id: mutation, channel, record, .. } = &item.mutation;
        self.rereads.push(Reread { mutation: *mutation, channel: channel.clone(), id: record.clone(), key });
    }

    pub(super) fn journal(&mut self, entry: Journal) -> Option<usize> {
        self.batch.journal.push(entry);
        Some(self.batch.journal.len() - 1)
    }

    pub(super) fn answer(&mut self, who: &Principal, item: &Item, answer: &Answer, journal: Option<usize>) {
        self.batch.verdicts.extend(answer.verdict(&item.mutation, who.device));
        add_receipt(&mut self.batch, who, item, answer, journal);
    }
}
/// The planted bug `unapplied`: everything is done as if the write had its effect.
#[cfg(feature = "planted")]
fn withhold(wanted: &Wanted<'_>, answer: &Answer, mut write: (Arc<Collection>, Write)) -> (Arc<Collection>, Write) {
    use crate::backend::Effect;
    use crate::planted::{self, Plant};
    let key = match &write.1.effect {
        Effect::Update { key, .. } => Some(key.clone()),
        Effect::Insert { .. } => None,
        Effect::Delete { .. } | Effect::Nothing { .. } => return write,
    };
    let is_applied = answer.outcome == omctl_protocol::Outcome::Applied;
    let (record, mutation) = (&wanted.item.mutation.record, wanted.item.settled_as);
    if is_applied && planted::is_due(Plant::Unapplied, mutation) {
        planted::tell(Plant::Unapplied, wanted.channel.name(), record, Some(mutation));
        write.1.effect = Effect::Nothing { key };
    }
    write
}
pub(super) fn field_of(channel: &LiveChannel, column: &str) -> Option<String> {
    channel.schema.fields.iter().find(|field| field.column() == column).map(|field| field.name.clone())
}
