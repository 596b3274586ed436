//! A backend that was set back to an old copy of itself, while the store went on: what devices were told is done is not
//! there any more.
//!
//! It is recognised by what is missing: of each commit into a backend one mutation is remembered, the witness, whose dedupe
//! row was part of it. Before anything that was read there is journaled, the newest witnesses are asked for. Once one is
//! missing, nothing of that backend is settled or journaled until the log agrees with it again:
//!
//! 1. The store notes where the histories parted, and begins a new start of the server: every device is told so before it
//!    is sent anything that went back, and offers again what was settled behind that.
//! 2. What changed behind it is read anew. What is not there is lost, and not deleted: no brake holds it, and what is
//!    offered of it is a create like any other. A key that was given since to a row which is gone is forgotten.
//! 3. Only then offers are settled. Their dedupe rows tell which of them are there all the same.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use omctl_protocol::{ChannelName, MutationId, Position, RecordId};

use super::codec::Births;
use super::ingest::{channels_of, collection_of};
use super::{Sync, SyncError};
use crate::backend::{Applied, Backend, Collection, Key, LEDGER};
use crate::limits;
use crate::live::{Live, LiveChannel};
use crate::store::{Batch, ChannelNo, Horizon, IdMapping, Journal, JournalChange, SetBack, Testimony, Witness};

/// So many witnesses are asked for each time: commits of several devices may be noted in another order than they were
/// done in.
const ASKED: usize = 8;

const UNPOISONED: &str = "nobody panics while remembering backends";

/// What is known of each backend.
#[derive(Debug, Default)]
pub(super) struct SetBacks(Mutex<HashMap<String, Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The newest witnesses; `None`: not read yet.
    witnesses: Option<VecDeque<Witness>>,
    /// How many came since the start.
    noted: u64,
    /// The table of dedupe rows that is there now.
    ledger: Option<[u8; 16]>,
    /// A witness is missing, and nobody has looked into it yet.
    is_suspect: bool,
    past: Vec<SetBack>,
}

impl Known {
    fn is_being_compared(&self) -> bool {
        self.past.last().is_some_and(|last| last.resumed.is_none())
    }
}

impl SetBacks {
    pub(super) fn new(past: Vec<SetBack>) -> Self {
        let mut known: HashMap<String, Known> = HashMap::new();
        for one in past {
            known.entry(one.backend.clone()).or_default().past.push(one);
        }
        Self(Mutex::new(known))
    }

    fn with<T>(&self, backend: &str, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.0.lock().expect(UNPOISONED);
        match known.get_mut(backend) {
            Some(known) => look(known),
            None => look(known.entry(backend.to_owned()).or_default()),
        }
    }

    /// Whether nothing of a backend may be settled or journaled now.
    pub(super) fn is_stopped(&self, backend: &str) -> bool {
        self.with(backend, |known| known.is_suspect || known.is_being_compared())
    }

    /// Whether a backend had dedupe rows when it was asked last.
    pub(super) fn has_ledger(&self, backend: &str) -> bool {
        self.with(backend, |known| known.ledger.is_some())
    }

    /// Up to which position the log was made to agree with a backend that was set back last.
    pub(super) fn resumed(&self, backend: &str) -> Position {
        self.with(backend, |known| known.past.iter().filter_map(|one| one.resumed).max().unwrap_or_default())
    }

    /// Whether a receipt in this batch may tell of what the backend does not have any more.
    pub(super) fn doubts(&self, backend: &str, batch: Option<u64>) -> bool {
        let Some(batch) = batch else { return false };
        self.with(backend, |known| known.past.iter().any(|one| batch > one.batches.0 && batch <= one.batches.1))
    }

    /// What a commit into a backend is remembered by: what was written behind this horizon, or found to be done.
    pub(super) fn witness(&self, backend: &str, mutation: MutationId, horizon: Option<Horizon>) -> Option<Witness> {
        let ledger = self.with(backend, |known| known.ledger)?;
        Some(Witness { backend: backend.to_owned(), ledger, mutation, horizon })
    }

    /// Some are not in the store any more: they are read anew.
    pub(super) fn forget_witnesses(&self) {
        self.0.lock().expect(UNPOISONED).values_mut().for_each(|known| known.witnesses = None);
    }

    /// The store has this one now.
    pub(super) fn noted(&self, witness: Witness) {
        let backend = witness.backend.clone();
        self.with(&backend, |known| {
            known.noted += 1;
            // Where none were read yet, this one is among those that will be.
            if let Some(witnesses) = &mut known.witnesses {
                witnesses.push_front(witness);
                witnesses.truncate(ASKED);
            }
        });
    }
}

impl Sync {
    /// What a backend is to be asked for, to see whether it was set back.
    ///
    /// # Errors
    /// [`SyncError::SetBack`] where that is known already; those of reading.
    pub(super) async fn witnesses_of(&self, backend: &str) -> Result<Vec<MutationId>, SyncError> {
        let set_backs = &self.inner.set_backs;
        if set_backs.is_stopped(backend) {
            return Err(SyncError::SetBack { backend: backend.to_owned() });
        }
        while set_backs.with(backend, |known| known.witnesses.is_none()) {
            let noted = set_backs.with(backend, |known| known.noted);
            let newest = self.inner.store.witnesses(backend.to_owned(), None, ASKED).await?;
            let witness = |one: Testimony| Witness {
                backend: backend.to_owned(),
                ledger: one.ledger,
                mutation: one.mutation,
                horizon: one.horizon,
            };
            let newest: VecDeque<Witness> = newest.into_iter().map(witness).collect();
            // One that came meanwhile may be missing among those that were read.
            set_backs.with(backend, |known| {
                known.witnesses = known.witnesses.take().or_else(|| (known.noted == noted).then_some(newest));
            });
        }
        let asked = set_backs.with(backend, |known| {
            known.witnesses.iter().flatten().map(|witness| witness.mutation).collect::<Vec<_>>()
        });
        Ok(asked.into_iter().chain([LEDGER]).collect())
    }

    /// Looks whether what a backend answered tells that it was set back.
    ///
    /// # Errors
    /// [`SyncError::SetBack`].
    pub(super) fn look_for_witnesses(
        &self,
        backend: &str,
        asked: &[MutationId],
        applied: &HashMap<MutationId, Applied>,
    ) -> Result<(), SyncError> {
        let ledger = applied.get(&LEDGER).map(|row| row.digest);
        let is_missing = self.inner.set_backs.with(backend, |known| {
            known.ledger = ledger;
            let mut here = known.witnesses.iter().flatten().filter(|witness| Some(witness.ledger) == ledger);
            let is_missing =
                here.any(|witness| asked.contains(&witness.mutation) && !applied.contains_key(&witness.mutation));
            known.is_suspect |= is_missing;
            is_missing
        });
        if is_missing { Err(SyncError::SetBack { backend: backend.to_owned() }) } else { Ok(()) }
    }

    /// Makes sure that what was read in a backend so far is of the history that the log is of.
    ///
    /// # Errors
    /// [`SyncError::SetBack`] where it is not; those of asking.
    pub(super) async fn check_history(&self, backend: &Arc<dyn Backend>) -> Result<(), SyncError> {
        let asked = self.witnesses_of(backend.name()).await?;
        // With nothing to look for, nothing can be missing.
        if asked.len() > 1 { self.ask_for(backend, &asked).await } else { Ok(()) }
    }

    /// The same before something is written, which will be remembered: also by the table that there is.
    ///
    /// # Errors
    /// As [`Sync::check_history`].
    pub(super) async fn begin_history(&self, backend: &Arc<dyn Backend>) -> Result<(), SyncError> {
        let asked = self.witnesses_of(backend.name()).await?;
        self.ask_for(backend, &asked).await
    }

    async fn ask_for(&self, backend: &Arc<dyn Backend>, asked: &[MutationId]) -> Result<(), SyncError> {
        let applied = backend.applied(asked).await?;
        self.look_for_witnesses(backend.name(), asked, &applied)
    }

    /// The same for all backends whose records a batch journals.
    pub(super) async fn check_histories(&self, live: &Live, batch: &Batch) -> Result<(), SyncError> {
        let numbers: HashSet<u64> = batch.journal.iter().map(|entry| entry.channel.0).collect();
        let channels = numbers.into_iter().filter_map(|number| live.channel_numbered(number));
        let names = channels.map(|channel| channel.backend_name()).collect::<std::collections::BTreeSet<_>>();
        for backend in names.into_iter().filter_map(|name| live.backends.get(name)) {
            self.check_history(backend).await?;
        }
        Ok(())
    }

    /// Brings the log in step with a backend that was set back, if it was. Called by its watcher alone.
    ///
    /// # Errors
    /// Those of the backend and the store: it is to be called again.
    pub(super) async fn come_back(&self, live: &Arc<Live>, backend: &Arc<dyn Backend>) -> Result<(), SyncError> {
        let (name, set_backs) = (backend.name(), &self.inner.set_backs);
        set_backs.with(name, |known| known.is_suspect = true);
        // From here on nothing is begun. What was on its way has its place in the log, or has given up.
        self.inner.flights.land(name).await;
        let undone = set_backs.with(name, |known| known.past.last().filter(|last| last.resumed.is_none()).cloned());
        let found = self.first_missing(backend).await?;
        let Some(begun) = (match (found, undone) {
            (Some((missing, last)), _) => {
                let begun = self.inner.store.begin_set_back(name.to_owned(), missing, last).await?;
                tracing::warn!(
                    backend = %name, kept = %begun.kept,
                    "`{name}` was set back to an old copy of itself: devices offer again what is lost"
                );
                set_backs.with(name, |known| {
                    known.past.retain(|one| one.resumed.is_some());
                    known.past.push(begun.clone());
                });
                Some(begun)
            }
            (None, undone) => undone,
        }) else {
            // It is there again: somebody has exchanged the copy.
            set_backs.with(name, |known| (known.is_suspect, known.witnesses) = (false, None));
            return Ok(());
        };
        self.go_back(live, backend, begun.kept).await?;
        let resumed = self.inner.store.finish_set_back(name.to_owned()).await?;
        set_backs.with(name, |known| {
            known.past.iter_mut().for_each(|one| one.resumed = one.resumed.or(Some(resumed)));
            (known.is_suspect, known.witnesses) = (false, None);
        });
        tracing::info!(backend = %name, position = %resumed, "the log agrees with `{name}` again");
        channels_of(live, name).for_each(|channel| self.forget_unsure(channel.name()));
        self.settle_waiting().await
    }

    /// The oldest witness that a backend lacks, by its number, and the horizon of the newest one before it that has one.
    async fn first_missing(&self, backend: &Arc<dyn Backend>) -> Result<Option<(u64, Option<Horizon>)>, SyncError> {
        const PAGE: usize = 500;
        let ledger = backend.applied(&[LEDGER]).await?.get(&LEDGER).map(|row| row.digest);
        let (mut missing, mut last, mut before) = (None, None, None);
        loop {
            let page = self.inner.store.witnesses(backend.name().to_owned(), before, PAGE).await?;
            let Some(oldest) = page.last() else { return Ok(missing.map(|missing| (missing, last))) };
            before = Some(oldest.number);
            let here: Vec<Testimony> = page.into_iter().filter(|one| Some(one.ledger) == ledger).collect();
            let ids: Vec<MutationId> = here.iter().map(|one| one.mutation).collect();
            let applied = backend.applied(&ids).await?;
            for one in here {
                if !applied.contains_key(&one.mutation) {
                    (missing, last) = (Some(one.number), None);
                } else if missing.is_some() && last.is_none() {
                    last = one.horizon;
                }
            }
        }
    }

    /// Journals what a backend has of everything that changed behind a position.
    async fn go_back(&self, live: &Arc<Live>, backend: &Arc<dyn Backend>, kept: Position) -> Result<(), SyncError> {
        let mut lost: HashMap<ChannelName, Vec<RecordId>> = HashMap::new();
        for channel in channels_of(live, backend.name()) {
            let Some(collection) = collection_of(channel) else { continue };
            let pairs = self.pairs_without_birth(channel, backend, &collection, kept).await?;
            self.inner.names.forget_records(channel.number, &pairs);
            lost.insert(channel.name().clone(), pairs);
        }
        let until = self.inner.store.newest_position().await?;
        for channel in channels_of(live, backend.name()) {
            let Some(collection) = collection_of(channel) else { continue };
            let number = ChannelNo(channel.number);
            let mut after = kept;
            loop {
                let page = self.inner.store.changed_between(number, (after, until), limits::INGEST_CHUNK_ROWS).await?;
                let Some((last, _)) = page.last() else { break };
                after = *last;
                self.read_back(live, channel, (backend, &collection), page.into_iter().map(|(_, id)| id)).await?;
            }
            // Of some nothing is in the log yet.
            let lost = lost.remove(channel.name()).unwrap_or_default();
            let as_of = self.inner.store.newest_position().await?;
            let (_, heads) = self.inner.store.heads(lost.iter().map(|id| (number, id.clone())).collect()).await?;
            let unknown = lost.into_iter().zip(heads).filter(|(_, head)| head.is_none());
            let journal = unknown.map(|(id, _)| Journal { channel: number, id, as_of, change: JournalChange::Lost });
            self.commit_unasked(live, Batch { journal: journal.collect(), ..Batch::default() }).await?;
        }
        Ok(())
    }

    /// The records of pairs of the id map that were learnt behind a position, and whose row the backend does not know to
    /// have been made for them.
    async fn pairs_without_birth(
        &self,
        channel: &LiveChannel,
        backend: &Arc<dyn Backend>,
        collection: &Collection,
        kept: Position,
    ) -> Result<Vec<RecordId>, SyncError> {
        let number = ChannelNo(channel.number);
        let mut pairs = self.inner.store.mapped_after(number, kept).await?;
        pairs.extend(self.inner.names.unsaved().into_iter().filter(|pair| pair.channel == number));
        let mut lost = Vec::new();
        for chunk in pairs.chunks(limits::INGEST_CHUNK_ROWS) {
            let keys: Vec<Key> = chunk.iter().filter_map(|pair| Key::parse(&pair.key, &collection.key)).collect();
            let born = backend.born(collection, &keys).await?;
            let is_lost = |pair: &&IdMapping| born.get(&pair.key) != Some(&pair.id);
            lost.extend(chunk.iter().filter(is_lost).map(|pair| pair.id.clone()));
        }
        Ok(lost)
    }

    /// Journals what is there of these records. What is not is lost.
    async fn read_back(
        &self,
        live: &Arc<Live>,
        channel: &LiveChannel,
        (backend, collection): (&Arc<dyn Backend>, &Collection),
        ids: impl Iterator<Item = RecordId>,
    ) -> Result<(), SyncError> {
        let number = ChannelNo(channel.number);
        let ids: Vec<RecordId> = ids.collect();
        loop {
            let as_of = self.inner.store.newest_position().await?;
            let keys: Vec<Key> = ids.iter().filter_map(|id| self.key_of(channel, collection, id)).collect();
            let rows = backend.read(collection, &keys).await?;
            // What cannot be represented is there all the same.
            let bad = rows.iter().flatten().filter_map(|row| row.as_ref().err()).filter_map(|bad| bad.key.as_ref());
            let mut there: HashSet<RecordId> = bad.map(|key| self.record_of(channel, key)).collect();
            let present = rows.into_iter().flatten().filter_map(Result::ok).collect();
            let mut batch = Batch::default();
            let records = self.name_rows(live, channel, present, Births::Every, &mut batch.mappings).await?;
            there.extend(records.iter().map(|record| record.id.clone()));
            self.journal_records(live, channel, records, as_of, &mut batch).await?;
            let lost = ids.iter().filter(|id| !there.contains(*id)).cloned();
            let change = JournalChange::Lost;
            batch.journal.extend(lost.map(|id| Journal { channel: number, id, as_of, change: change.clone() }));
            if self.commit_unasked(live, batch).await?.is_empty() {
                return Ok(());
            }
        }
    }
}
