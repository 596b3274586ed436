//! Atomic transactions: mutations of one device that are applied whole or not at all, and seen so.
//!
//! Planned one on what the other leaves, written in one backend transaction, journaled in one store commit with all of
//! their receipts. Where one of them is refused, or would lose a value against somebody else's, all are rejected.
//!
//! *Invariant:* between the backend's commit and the store's, nobody else journals what was read from that backend:
//! else a device would see a part of it. Whoever commits waits for who holds the backend ([`Sync::wait_for_wholes`]); what
//! was read before the transaction shows nothing of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::{ChannelName, MutationId, RecordId};
use tokio::sync::OwnedMutexGuard;

use super::answer::Answer;
use super::codec::{Births, Record};
use super::judge::{Judgement, Made, Wanted};
use super::managed::{add_receipt, images, prepare};
use super::plan::Rejection;
use super::round::{Settling, field_of};
use super::settle::{Item, read_entry, subject};
use super::{Sync, SyncError};
use crate::backend::{Applied, Backend, BackendError, Borrow, Collection, Effect, Slot, Whole, Write, Written};
use crate::catalog::MANAGED;
use crate::identity::Principal;
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{Batch, ChannelNo, Head, StoreError};

/// Plans of one transaction that lose a race, until it counts as failing.
const ROUNDS_MAX: usize = 50;
/// Answers without sense that a backend may give while it is asked what it has done.
const NONSENSE_MAX: u32 = 20;
/// Pause before what is done in a backend is journaled again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Refuses a mutation of an atomic transaction in a channel that does not allow any.
pub(super) fn check_declared(channel: &LiveChannel, item: &Item) -> Result<(), Rejection> {
    if item.mutation.atomic.is_none() || channel.schema.atomic.is_some() {
        return Ok(());
    }
    let message = format!("`{}` takes no atomic transactions", channel.name());
    Err(Rejection::new("not_atomic", message))
}

/// The answers of a transaction of which one mutation (or all of them together) was answered so.
pub(super) fn refusals(count: usize, at: Option<usize>, answer: &Answer) -> impl Iterator<Item = Answer> {
    let others = Rejection::new("atomic", "another write of its transaction was refused");
    (0..count).map(move |place| match at {
        Some(at) if at != place => Answer::rejected(&others),
        _ => answer.clone(),
    })
}

/// How one try of a transaction ended.
enum Tried {
    Settled,
    /// Somebody was faster, or it was done before: look again.
    Again,
    /// The account's rights are others by now, and nothing was written.
    Outdated,
    /// The backend did not say whether it was done.
    Unsure(BackendError),
    Refused {
        at: Option<usize>,
        answer: Answer,
    },
}

/// One mutation as it was planned.
struct Planned<'i> {
    wanted: Wanted<'i>,
    head: Option<Head>,
    answer: Answer,
    places: Vec<usize>,
    /// Whether its account may know where the record stands.
    is_seen: bool,
}

impl Sync {
    /// Settles an atomic transaction: all of it has its receipts when this returns well.
    pub(super) async fn settle_whole(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        items: Vec<Item>,
    ) -> Result<(), SyncError> {
        let held = self.hold(backend.name()).await;
        if self.was_taken_up(who, backend.name(), &items).await? {
            return Ok(());
        }
        let _flight = self.inner.flights.take_off(backend.name());
        let tried = self.try_whole(live, who, backend, &items).await;
        drop(held);
        match tried {
            Err(SyncError::Backend(error)) if !error.is_outage() => self.set_aside_or_fail(who, &items, error).await,
            other => other,
        }
    }

    /// Whether whoever held the backend before has settled this very transaction, after a start. One that was answered in
    /// an earlier incarnation of its device still waits for its answer in this one.
    async fn was_taken_up(&self, who: &Principal, backend: &str, items: &[Item]) -> Result<bool, SyncError> {
        let store = &self.inner.store;
        let known = store.known_mutations(items.iter().map(|item| item.settled_as).collect()).await?;
        if known.values().all(|accepted| accepted.receipt.is_none()) {
            return Ok(false);
        }
        let waiting = store.inbox(who.device, backend.to_owned(), limits::INBOX_PER_DEVICE_MAX).await?;
        let is_first = |entry: &crate::store::InboxEntry| {
            (entry.incarnation, entry.seq) == (items[0].incarnation, items[0].mutation.seq)
        };
        Ok(!waiting.iter().any(is_first))
    }

    /// Gives every mutation of a transaction of which nothing was done its answer. `at`: the one that the answer is about;
    /// `None`: all.
    pub(super) async fn answer_whole(
        &self,
        who: &Principal,
        items: &[Item],
        at: Option<usize>,
        answer: &Answer,
    ) -> Result<(), SyncError> {
        let mut batch = Batch::default();
        for (item, answer) in items.iter().zip(refusals(items.len(), at, answer)) {
            batch.verdicts.extend(answer.verdict(&item.mutation, who.device));
            add_receipt(&mut batch, who, item, &answer, None);
        }
        self.inner.store.commit_batch(batch).await?;
        Ok(())
    }

    /// With the backend held.
    async fn try_whole(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        items: &[Item],
    ) -> Result<(), SyncError> {
        for _ in 0..ROUNDS_MAX {
            let done = self.done_whole(backend, items).await?;
            if !done.is_empty() {
                return self.journal_done(live, who, (backend, items), &done).await;
            }
            match self.whole_round(live, who, backend, items).await? {
                Tried::Settled | Tried::Outdated => return Ok(()),
                Tried::Refused { at, answer } => return self.answer_whole(who, items, at, &answer).await,
                Tried::Again => {}
                Tried::Unsure(error) => {
                    let done = self.ask_until_known(backend, items).await?;
                    if done.is_empty() {
                        return Err(error.into());
                    }
                    return self.journal_done(live, who, (backend, items), &done).await;
                }
            }
        }
        let backend = backend.name().to_owned();
        Err(BackendError::BadResponse { backend, message: "the rows of a transaction keep changing".into() }.into())
    }

    /// What the backend remembers to have done of a transaction: all of it, or nothing.
    async fn done_whole(
        &self,
        backend: &Arc<dyn Backend>,
        items: &[Item],
    ) -> Result<HashMap<MutationId, Applied>, SyncError> {
        let ids: Vec<MutationId> = items.iter().map(|item| item.settled_as).collect();
        let mut applied = backend.applied(&ids).await?;
        applied.retain(|id, done| items.iter().any(|item| item.settled_as == *id && item.digest == done.digest));
        Ok(applied)
    }

    /// The same, however long the backend is away: what it did nobody may see in part, and so it stays held until then.
    /// One that answers nonsense is given up after a while.
    async fn ask_until_known(
        &self,
        backend: &Arc<dyn Backend>,
        items: &[Item],
    ) -> Result<HashMap<MutationId, Applied>, SyncError> {
        let mut nonsense = 0;
        loop {
            match self.done_whole(backend, items).await {
                Err(SyncError::Backend(error)) if !self.is_current(backend) => return Err(error.into()),
                Err(SyncError::Backend(error)) if error.is_outage() || nonsense < NONSENSE_MAX => {
                    nonsense += u32::from(!error.is_outage());
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                known => return known,
            }
        }
    }

    /// Whether this is still what the definitions mean by its name: nobody waits for one that was replaced.
    fn is_current(&self, backend: &Arc<dyn Backend>) -> bool {
        let live = self.inner.live.current();
        live.backends.get(backend.name()).is_some_and(|now| Arc::ptr_eq(now, backend))
    }

    /// Journals a transaction that was done before a crash: the answers stand, the records are read as they are now.
    async fn journal_done(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        (backend, items): (&Arc<dyn Backend>, &[Item]),
        done: &HashMap<MutationId, Applied>,
    ) -> Result<(), SyncError> {
        let mut settling = Settling { is_whole: true, ..Settling::default() };
        for item in items {
            let done = done.get(&item.settled_as);
            settling.read_again(item, done.and_then(|done| done.key.clone()));
            let answer = done.map_or_else(Answer::unknown, |done| Answer::from_text(&done.outcome));
            settling.answer(who, item, &answer, None);
            if done.is_some() {
                settling.batch.witness = self.inner.set_backs.witness(backend.name(), item.settled_as, None);
            }
        }
        self.journal_whole(live, who, (backend, items), settling).await
    }

    /// What is done in the backend is journaled, however long that takes: until then nobody may see it.
    async fn journal_whole(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        (backend, items): (&Arc<dyn Backend>, &[Item]),
        settling: Settling,
    ) -> Result<(), SyncError> {
        #[cfg(feature = "planted")]
        self.tear(live, items, &settling).await?;
        loop {
            let channels = items.iter().filter_map(|item| live.channels.get(&item.mutation.channel));
            let tried = match self.sight(live, channels, subject(who)).await {
                Ok(mut sight) => self.commit_settled(live, &mut sight, settling.clone()).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(()) => return Ok(()),
                // Perhaps it is not done any more.
                Err(error @ (SyncError::Store(StoreError::Closed) | SyncError::SetBack { .. })) => return Err(error),
                // What does not get better by waiting must not hold up everybody else.
                Err(SyncError::Backend(error)) if !error.is_outage() || !self.is_current(backend) => {
                    let backend = backend.name().to_owned();
                    return Err(BackendError::Unavailable { backend, message: error.to_string() }.into());
                }
                Err(error) => {
                    tracing::warn!(%error, "journaling an atomic transaction is tried again");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// The planted bug `torn`: the first record is journaled, and the others after a while.
    #[cfg(feature = "planted")]
    async fn tear(&self, live: &Arc<Live>, items: &[Item], settling: &Settling) -> Result<(), SyncError> {
        use crate::planted::{self, Plant};
        // Of a record that is deleted nobody can tell: one that stays, without the others that stay.
        let stays = |entry: &&crate::store::Journal| matches!(entry.change, crate::store::JournalChange::Put { .. });
        let mut staying = settling.batch.journal.iter().filter(stays);
        if let (Some(first), Some(_)) = (staying.next(), staying.next())
            && planted::is_due(Plant::Torn, items[0].settled_as)
        {
            planted::tell(
                Plant::Torn,
                &items[0].mutation.channel,
                &items[0].mutation.record,
                Some(items[0].settled_as),
            );
            let mappings = settling.batch.mappings.clone();
            let alone = Batch { journal: vec![first.clone()], mappings, ..Batch::default() };
            self.commit_now(live, alone).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Ok(())
    }

    /// Reads, plans and writes once.
    async fn whole_round(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        items: &[Item],
    ) -> Result<Tried, SyncError> {
        let refused = |at, rejection: &Rejection| Ok(Tried::Refused { at, answer: Answer::rejected(rejection) });
        let channels = items.iter().filter_map(|item| live.channels.get(&item.mutation.channel));
        let mut sight = self.sight(live, channels, subject(who)).await?;
        let orphans = self.rejected_creates(live, items.iter().map(|item| &item.mutation)).await?;
        let mut open: Vec<Wanted<'_>> = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let prepared = prepare(live, &sight.subject, &item.mutation, &orphans);
            match prepared.and_then(|(channel, wish)| check_declared(&channel, item).map(|()| (channel, wish))) {
                Ok((channel, wish)) => open.push(Wanted { item, channel, wish }),
                Err(rejection) => return refused(Some(place), &rejection),
            }
        }
        self.begin_history(backend).await?;
        let untraced = self.note_untraced_tries(&open).await?;
        let records =
            open.iter().map(|wanted| (ChannelNo(wanted.channel.number), wanted.item.mutation.record.clone())).collect();
        let horizon = self.inner.store.horizon().await?;
        let (as_of, heads) = self.inner.store.heads(records).await?;
        let mut settling = Settling { is_whole: true, horizon, ..Settling::default() };
        let currents = self.read_currents(live, &open, &mut settling.batch.mappings).await?;
        let mut working: HashMap<(ChannelName, RecordId), Option<Record>> = HashMap::new();
        for (wanted, current) in open.iter().zip(currents) {
            working.entry(wanted.item.key()).or_insert(current);
        }
        let mut made = Made::new();
        let mut writes: Vec<(Arc<Collection>, Write)> = Vec::with_capacity(items.len());
        let mut planned: Vec<Planned<'_>> = Vec::with_capacity(items.len());
        for (place, (wanted, head)) in open.into_iter().zip(heads).enumerate() {
            let key = wanted.item.key();
            let current = working.get(&key).cloned().flatten();
            self.look_at_named(&mut sight, &wanted.channel, wanted.wish.new.iter()).await?;
            let images = images(&wanted.channel, &wanted.wish, current.as_ref().map(|record| &record.values[..]));
            self.look(&mut sight, images.into_iter().map(|image| (wanted.channel.clone(), image))).await?;
            let id = wanted.item.mutation.record.as_str();
            let is_seen = current.as_ref().is_some_and(|record| sight.sees(&wanted.channel, (id, &record.values)));
            let (write, answer, after) =
                match self.judge(live, &sight, &wanted, head.as_ref(), current.as_ref(), (&untraced, &made)) {
                    Err(rejection) => return refused(Some(place), &rejection),
                    Ok(Judgement::Answer(answer)) if answer == Answer::unknown() => {
                        return Ok(Tried::Refused { at: None, answer });
                    }
                    // What changes nothing is noted all the same: after a crash all of it has its answer.
                    Ok(Judgement::Answer(answer)) => {
                        let after = current.as_ref().map(|record| record.values.clone());
                        (self.nothing_of(&wanted, &answer, &made)?, answer, after)
                    }
                    Ok(Judgement::Write { write, answer, after }) => (write, answer, after),
                };
            if let Some(loss) = answer.loss(&wanted.wish) {
                return refused(Some(place), &loss);
            }
            if wanted.channel.leads || wanted.channel.is_named {
                sight.note(wanted.channel.name(), wanted.item.mutation.record.as_str(), after.clone());
            }
            if matches!(write.1.effect, Effect::Insert { .. }) {
                made.insert(key.clone(), place);
            }
            let places = write.1.effect.places();
            let places = wanted.wish.got_of(&wanted.channel.schema, after.as_deref(), places);
            working.insert(key, after.map(|values| Record { id: wanted.item.mutation.record.clone(), values }));
            // What is written was judged by what the account sees.
            let is_seen = is_seen || !matches!(write.1.effect, Effect::Nothing { .. });
            planned.push(Planned { wanted, head, answer, places, is_seen });
            writes.push(write);
        }
        if !self.is_still(who).await? {
            return Ok(Tried::Outdated);
        }
        let whole = match backend.write_whole(&writes).await {
            Err(error) => return Ok(Tried::Unsure(error)),
            Ok(whole) => whole,
        };
        match whole {
            Whole::Undone { why: Written::Lost | Written::Already(_) | Written::Done { .. }, .. } => Ok(Tried::Again),
            // It may be this very row: nobody can tell.
            Whole::Undone { at: Some(at), why: Written::Exists }
                if planned[at].wanted.item.mutation.again.is_some() =>
            {
                Ok(Tried::Refused { at: None, answer: Answer::unknown() })
            }
            Whole::Undone { at, why: Written::Exists } => {
                refused(at, &Rejection::new("exists", "a record with this key exists"))
            }
            Whole::Undone { at, why: Written::Refused { code, column, message } } => {
                let channel = at.map(|at| &planned[at].wanted.channel);
                let field = column.zip(channel).and_then(|(column, channel)| field_of(channel, &column));
                refused(at, &Rejection { code, message, field })
            }
            Whole::Done(written) => {
                let last = planned.last().map(|planned| planned.wanted.item.settled_as);
                settling.batch.witness =
                    last.and_then(|last| self.inner.set_backs.witness(backend.name(), last, Some(settling.horizon)));
                let planned = planned.into_iter().zip(written).collect();
                match self.settle_done(live, planned, as_of, &mut settling, who).await {
                    // It has to be asked for names, and may have gone away since.
                    Err(SyncError::Backend(error)) => return Ok(Tried::Unsure(error)),
                    other => other?,
                }
                self.journal_whole(live, who, (backend, items), settling).await?;
                Ok(Tried::Settled)
            }
        }
    }

    /// A write that only notes the answer.
    fn nothing_of(
        &self,
        wanted: &Wanted<'_>,
        answer: &Answer,
        made: &Made,
    ) -> Result<(Arc<Collection>, Write), SyncError> {
        let Home::Backend(_, collection) = &wanted.channel.home else {
            return Err(SyncError::Bug("a channel without a backend was judged by one".into()));
        };
        let maker = made.get(&wanted.item.key()).map(|from| Borrow { from: *from, into: Slot::Row });
        let key = match maker {
            Some(_) => None,
            None => self.key_of(&wanted.channel, collection, &wanted.item.mutation.record),
        };
        let write = Write {
            mutation: wanted.item.settled_as,
            digest: wanted.item.digest,
            record: wanted.item.mutation.record.clone(),
            outcome: answer.to_text(),
            effect: Effect::Nothing { key },
            borrows: maker.into_iter().collect(),
        };
        Ok((collection.clone(), write))
    }

    /// Turns what was done into journal entries, one a record, and receipts.
    async fn settle_done(
        &self,
        live: &Arc<Live>,
        done: Vec<(Planned<'_>, Written)>,
        as_of: omctl_protocol::Position,
        settling: &mut Settling,
        who: &Principal,
    ) -> Result<(), SyncError> {
        // First all names: rows of one name those of another.
        for (planned, written) in &done {
            if let Written::Done { key, .. } = written {
                self.map_created(&planned.wanted, key.as_ref(), settling);
            }
        }
        let mut journaled: BTreeMap<(ChannelName, RecordId), (usize, Vec<usize>)> = BTreeMap::new();
        for (Planned { wanted, head, answer, places, is_seen }, written) in done {
            let row = if let Written::Done { row, .. } = written { row } else { None };
            let mut record = None;
            if let Some(row) = row {
                let rows = vec![row];
                let mappings = &mut settling.batch.mappings;
                record =
                    self.name_rows(live, &wanted.channel, rows, Births::Unknown, mappings).await?.into_iter().next();
            }
            let key = wanted.item.key();
            if record.as_ref().is_some_and(|record| record.id != key.1) {
                // The row has become another record's meanwhile.
                settling.read_again(wanted.item, None);
                settling.answer(who, wanted.item, &answer, None);
                continue;
            }
            let mut wrote = journaled.get(&key).map(|(_, places)| places.clone()).unwrap_or_default();
            wrote.extend(places);
            let entry = self.journal_of(live, &wanted, head.as_ref(), record, as_of, &wrote);
            let place = match journaled.get(&key) {
                Some((place, _)) => {
                    settling.batch.journal[*place] = entry;
                    Some(*place)
                }
                None => settling.journal(entry),
            };
            if let Some(place) = place {
                journaled.insert(key, (place, wrote));
            }
            // Of a record out of sight not even its position is told.
            settling.answer(who, wanted.item, &answer, place.filter(|_| is_seen));
        }
        Ok(())
    }

    /// Holds a backend: from here on nobody else journals what was read from it.
    pub(super) async fn hold(&self, backend: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut wholes = self.inner.wholes.lock().expect("nobody panics while holding");
            wholes.entry(backend.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Waits until what was read for this batch shows no part of a transaction that is not journaled yet.
    pub(super) async fn wait_for_wholes(&self, live: &Live, batch: &Batch) {
        let locks: Vec<_> = {
            let wholes = self.inner.wholes.lock().expect("nobody panics while holding");
            if wholes.is_empty() {
                return;
            }
            let mut names: Vec<&str> = batch
                .journal
                .iter()
                .filter_map(|entry| live.channel_numbered(entry.channel.0))
                .map(|channel| channel.backend_name())
                .collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().filter_map(|name| wholes.get(name).cloned()).collect()
        };
        for lock in locks {
            drop(lock.lock().await);
        }
    }

    /// Journals what was done of atomic transactions before a crash. Until then, nothing of their backends is.
    pub(super) async fn recover_wholes(&self) -> Result<(), SyncError> {
        let mut by_backend: BTreeMap<String, Vec<(Principal, Vec<Item>)>> = BTreeMap::new();
        for (device, backend, _) in self.inner.store.inbox_backlog().await? {
            if backend == MANAGED {
                continue;
            }
            let Some(who) = self.inner.identity.principal_of(device).await? else { continue };
            let waiting = self.inner.store.inbox(device, backend.clone(), limits::INBOX_PER_DEVICE_MAX).await?;
            let mut items = Vec::new();
            for entry in waiting {
                let item = read_entry(&who, entry)?;
                if item.mutation.atomic.is_some() {
                    items.push(item);
                }
            }
            if !items.is_empty() {
                by_backend.entry(backend).or_default().push((who, items));
            }
        }
        for (name, waiting) in by_backend {
            let held = self.hold(&name).await;
            let sync = self.clone();
            self.inner.tasks.start("recover", async move {
                sync.recover_from(&name, waiting).await;
                drop(held);
            });
        }
        Ok(())
    }

    async fn recover_from(&self, name: &str, waiting: Vec<(Principal, Vec<Item>)>) {
        for (who, items) in waiting {
            for piece in items.chunk_by(super::run::is_same_whole) {
                let live = self.inner.live.current();
                let Some(backend) = live.backends.get(name) else { return };
                let tried = match self.ask_until_known(backend, piece).await {
                    Ok(done) if done.is_empty() => Ok(()),
                    Ok(done) => self.journal_done(&live, &who, (backend, piece), &done).await,
                    Err(error) => Err(error),
                };
                match tried {
                    Ok(()) => {}
                    Err(SyncError::Store(StoreError::Closed)) => return,
                    Err(error) => {
                        tracing::warn!(%error, backend = %name, "an atomic transaction is settled in its turn");
                    }
                }
            }
        }
    }
}
