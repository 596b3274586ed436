//! Settling: mutations that wait meet their backend, in device order.
//!
//! One settler a device and backend: devices and backends never wait for each other. A run is authorized, planned from
//! one read, written in one backend transaction with a savepoint each, and journaled with its receipts in one store
//! commit. What lost a race is read and planned again; a backend that is down is tried again later; what keeps failing
//! alone is set aside.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::{ChannelName, Mutation, MutationId, Operation, RecordId, Value};
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::codec::{self, Births, Record};
use super::judge::{Judgement, Wanted, change_of, journal_of};
use super::managed::{add_receipt, images, prepare};
use super::plan::Rejection;
use super::sight::Sight;
use super::{Sync, SyncError};
use crate::backend::{Backend, BackendError, Collection, Delivery, Key, Write, Written};
use crate::catalog::MANAGED;
use crate::identity::Principal;
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::rule::Subject;
use crate::store::{Batch, ChannelNo, DeviceNo, Head, IdMapping, InboxEntry, IncarnationNo, Journal};

/// A mutation to settle.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) incarnation: IncarnationNo,
    pub(super) settled_as: MutationId,
    pub(super) digest: [u8; 16],
    pub(super) mutation: Mutation,
    /// How often it was tried before.
    pub(super) tries: u32,
    /// When it was accepted, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// Its device's history began after a reset: the last position that both histories share.
    pub(super) kept: Option<omctl_protocol::Position>,
}

impl Item {
    pub(super) fn key(&self) -> (ChannelName, RecordId) {
        (self.mutation.channel.clone(), self.mutation.record.clone())
    }
}

/// The account as rules see it.
pub(super) fn subject(who: &Principal) -> Subject {
    Subject { email: who.email.clone(), role: who.role.clone(), claims: who.claims.clone() }
}

/// Pauses between tries of a backend that is down.
const RETRY_FROM: Duration = Duration::from_millis(250);
const RETRY_TO: Duration = Duration::from_secs(10);

/// How a run of one device ended.
enum Ran {
    /// Nothing waits any more.
    Done,
    /// There is more, or something must be read again.
    More,
    /// What is next waits for a mutation in another backend.
    Blocked,
}

impl Sync {
    /// Wakes the settler of a device and backend, or starts it.
    pub(super) fn kick(&self, device: DeviceNo, backend: &str) {
        let key = (device, backend.to_owned());
        let mut settling = self.inner.settling.lock().expect("nobody panics while kicking");
        if let Some(again) = settling.get_mut(&key) {
            *again = true;
            return;
        }
        settling.insert(key, false);
        drop(settling);
        let (sync, backend) = (self.clone(), backend.to_owned());
        self.inner.tasks.start("settle", async move { sync.settle_until_done(device, backend).await });
    }

    async fn settle_until_done(&self, device: DeviceNo, backend: String) {
        let mut pause = RETRY_FROM;
        loop {
            match self.settle_next(device, &backend).await {
                Ok(Ran::More) => pause = RETRY_FROM,
                Ok(Ran::Done) => {
                    if self.may_rest(device, &backend) {
                        return;
                    }
                }
                Ok(Ran::Blocked) => tokio::time::sleep(RETRY_FROM).await,
                Err(SyncError::Store(crate::store::StoreError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, backend = %backend, "settling is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_TO);
                }
            }
        }
    }

    /// Ends the settler, unless somebody asked again meanwhile.
    fn may_rest(&self, device: DeviceNo, backend: &str) -> bool {
        let key = (device, backend.to_owned());
        let mut settling = self.inner.settling.lock().expect("nobody panics while kicking");
        match settling.get_mut(&key) {
            Some(again) if *again => {
                *again = false;
                false
            }
            _ => {
                settling.remove(&key);
                true
            }
        }
    }

    async fn settle_next(&self, device: DeviceNo, backend: &str) -> Result<Ran, SyncError> {
        let entries = self.inner.store.inbox(device, backend.to_owned(), limits::RUN_MUTATIONS_MAX).await?;
        if entries.is_empty() {
            return Ok(Ran::Done);
        }
        // Rights are judged by the claims at apply time.
        let Some(who) = self.inner.identity.principal_of(device).await? else { return Ok(Ran::Done) };
        let may_be_more = entries.len() == limits::RUN_MUTATIONS_MAX;
        let items = entries.into_iter().map(|entry| read_entry(&who, entry)).collect::<Result<Vec<_>, _>>()?;
        let live = self.inner.live.current();
        let mut run = self.run_of(&live, &who, items).await?;
        if run.is_empty() && may_be_more {
            // All of these wait for something; what stands behind them does not have to.
            let all = self.inner.store.inbox(device, backend.to_owned(), limits::INBOX_PER_DEVICE_MAX).await?;
            let items = all.into_iter().map(|entry| read_entry(&who, entry)).collect::<Result<Vec<_>, _>>()?;
            run = self.run_of(&live, &who, items).await?;
            run.truncate(limits::RUN_MUTATIONS_MAX);
        }
        if run.is_empty() {
            return Ok(Ran::Blocked);
        }
        match live.backends.get(backend) {
            Some(home) if backend != MANAGED => self.settle_run(&live, &who, home, run).await?,
            // A backend that is not declared any more: its channels are unknown, which is what the plan says.
            _ => self.settle_managed(&live, &who, &run, Batch::default()).await?,
        }
        Ok(Ran::More)
    }

    async fn settle_run(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        run: Vec<Item>,
    ) -> Result<(), SyncError> {
        let several = run.len() > 1;
        match self.try_run(live, who, backend, &run).await {
            Err(SyncError::Backend(error)) if several && !error.is_outage() => {
                // One of them poisons the run: each alone.
                for item in run {
                    self.settle_alone(live, who, backend, item).await?;
                }
                Ok(())
            }
            Err(SyncError::Backend(error)) if !error.is_outage() => match run.into_iter().next() {
                Some(item) => self.set_aside_or_fail(who, item, error).await,
                None => Ok(()),
            },
            other => other,
        }
    }

    async fn settle_alone(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        item: Item,
    ) -> Result<(), SyncError> {
        match self.try_run(live, who, backend, std::slice::from_ref(&item)).await {
            Err(SyncError::Backend(error)) if !error.is_outage() => self.set_aside_or_fail(who, item, error).await,
            other => other,
        }
    }

    /// Counts a failure; with the last try the mutation becomes a dead letter and the rest goes on. A table or a column
    /// that is not there is no fault of the mutation: its channel is paused, and it waits.
    async fn set_aside_or_fail(&self, who: &Principal, item: Item, error: BackendError) -> Result<(), SyncError> {
        if let BackendError::Missing { what, .. } = &error {
            self.pause(&item.mutation.channel, format!("there is no {what}"));
            return Err(error.into());
        }
        if item.tries + 1 < limits::TRIES_MAX {
            self.inner.store.note_tries(vec![(item.incarnation, item.mutation.seq)]).await?;
            return Err(error.into());
        }
        tracing::warn!(%error, mutation = %item.mutation.id, "a mutation is set aside");
        let answer = match error {
            BackendError::Ambiguous { .. } => Answer::unknown(),
            _ => Answer::rejected(&Rejection::new("backend_failed", "the backend keeps failing on this write")),
        };
        let mut batch = Batch::default();
        batch.verdicts.extend(answer.verdict(&item.mutation, who.device));
        add_receipt(&mut batch, who, &item, &answer, None);
        self.inner.store.commit_batch(batch).await?;
        Ok(())
    }

    /// Settles a run: everything in it has its receipt when this returns well.
    async fn try_run(
        &self,
        live: &Arc<Live>,
        who: &Principal,
        backend: &Arc<dyn Backend>,
        run: &[Item],
    ) -> Result<(), SyncError> {
        let channels = run.iter().filter_map(|item| live.channels.get(&item.mutation.channel));
        let mut sight = self.sight(live, channels, subject(who)).await?;
        let mut settling = Settling { batch: Batch::default(), rereads: Vec::new() };
        let mut orphans = self.rejected_creates(live, run.iter().map(|item| &item.mutation)).await?;
        let ids: Vec<MutationId> = run.iter().map(|item| item.settled_as).collect();
        let applied = backend.applied(&ids).await?;
        let mut open: Vec<Wanted> = Vec::new();
        for item in run {
            if let Some(done) = applied.get(&item.settled_as).filter(|done| done.digest == item.digest) {
                // Done before a crash: the answer stands, the record is read as it is now.
                let answer = Answer::from_text(&done.outcome);
                settling.read_again(item, done.key.clone());
                settling.answer(who, item, &answer, None);
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
            open = self.round(live, &mut sight, who, backend, open, &untraced, &mut settling).await?;
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
    async fn note_untraced_tries(&self, open: &[Wanted<'_>]) -> Result<Untraced, SyncError> {
        let unsure: Vec<&Item> = {
            let health = self.inner.health.lock().expect("nobody panics while noting health");
            let best_effort = |channel: &ChannelName| {
                health.get(channel).is_none_or(|health| health.delivery() == Delivery::BestEffort)
            };
            open.iter().filter(|wanted| best_effort(wanted.channel.name())).map(|wanted| wanted.item).collect()
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

    /// Reads, plans and writes once; returns what lost a race.
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
    ) -> Result<Vec<Wanted<'i>>, SyncError> {
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
            let judged = self.judge(live, sight, &wanted, head.as_ref(), current.as_ref(), untraced);
            match judged {
                Ok(Judgement::Write { write, answer }) => {
                    #[cfg(feature = "planted")]
                    let write = withhold(&wanted, &answer, write);
                    let places = write.1.effect.places();
                    writes.push(write);
                    written.push((wanted, head, answer, places));
                }
                Ok(Judgement::Answer(answer)) => {
                    // The log may not show yet what this was judged by. Of a record out of sight not even its position is.
                    let id = wanted.item.mutation.record.as_str();
                    let is_seen =
                        current.as_ref().is_some_and(|record| sight.sees(&wanted.channel, (id, &record.values)));
                    let change = journal_of(live, &wanted, head.as_ref(), current, as_of, &[]);
                    let place = settling.journal(change).filter(|_| is_seen);
                    settling.answer(who, wanted.item, &answer, place);
                }
                Err(rejection) => settling.answer(who, wanted.item, &Answer::rejected(&rejection), None),
            }
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
                }
                Written::Done { key, row } => {
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
                    let change = journal_of(live, &wanted, head.as_ref(), record, as_of, &places);
                    let place = settling.journal(change);
                    settling.answer(who, wanted.item, &answer, place);
                }
            }
        }
        Ok(lost)
    }

    /// The records as their backend has them now, one read a channel.
    async fn read_currents(
        &self,
        live: &Live,
        open: &[Wanted<'_>],
        mappings: &mut Vec<IdMapping>,
    ) -> Result<Vec<Option<Record>>, SyncError> {
        let mut by_channel: HashMap<u64, Vec<(usize, Key)>> = HashMap::new();
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
    fn map_created(&self, wanted: &Wanted<'_>, key: Option<&Key>, settling: &mut Settling) {
        let record = &wanted.item.mutation.record;
        let (Operation::Create, Some(key)) = (wanted.wish.op, key) else { return };
        let text = key.to_text();
        if wanted.channel.schema.key_is_id() || text == record.as_str() {
            return;
        }
        let mapping = IdMapping { channel: ChannelNo(wanted.channel.number), id: record.clone(), key: text };
        self.inner.names.add(vec![mapping.clone()]);
        settling.batch.mappings.push(mapping);
    }

    /// Commits receipts with the rows that show their effects; rows that went stale meanwhile are read again.
    async fn commit_settled(
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
                        self.inner.names.add(vec![mapping.clone()]);
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
            let stale = self.commit(live, settling.batch.clone()).await?;
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

/// Mutations of channels in which nobody can tell what was done.
#[derive(Default)]
pub(super) struct Untraced {
    pub(super) all: HashSet<MutationId>,
    /// Those that may have been done before.
    pub(super) maybe_done: HashSet<MutationId>,
}

/// What a run has come to so far.
struct Settling {
    batch: Batch,
    /// Records whose state must be read before the commit.
    rereads: Vec<Reread>,
}

/// A record that is read again for the answer to a mutation.
struct Reread {
    mutation: MutationId,
    channel: ChannelName,
    id: RecordId,
    /// Where the record was made by it, the key that it was given.
    key: Option<Key>,
}

impl Settling {
    fn read_again(&mut self, item: &Item, key: Option<Key>) {
        let Mutation { id: mutation, channel, record, .. } = &item.mutation;
        self.rereads.push(Reread { mutation: *mutation, channel: channel.clone(), id: record.clone(), key });
    }

    fn journal(&mut self, entry: Journal) -> Option<usize> {
        self.batch.journal.push(entry);
        Some(self.batch.journal.len() - 1)
    }

    fn answer(&mut self, who: &Principal, item: &Item, answer: &Answer, journal: Option<usize>) {
        self.batch.verdicts.extend(answer.verdict(&item.mutation, who.device));
        add_receipt(&mut self.batch, who, item, answer, journal);
    }
}

pub(super) fn read_entry(who: &Principal, entry: InboxEntry) -> Result<Item, SyncError> {
    let mutation: Mutation = serde_json::from_str(&entry.payload)
        .map_err(|error| SyncError::Bug(format!("a stored mutation does not read back: {error}")))?;
    Ok(Item {
        incarnation: entry.incarnation,
        settled_as: entry.settled_as,
        digest: digest_of(who, &mutation),
        mutation: Mutation { seq: entry.seq, ..mutation },
        tries: entry.tries,
        at_ms: entry.at_ms,
        kept: entry.kept,
    })
}

/// Identifies a mutation's payload together with whose it is: an answer that one account got is none of another's, whoever
/// comes to know the id and the payload of a mutation.
pub(super) fn digest_of(who: &Principal, mutation: &Mutation) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(mutation.payload_digest());
    hasher.update(&who.email);
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
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

/// The records that a mutation's new values name.
pub(super) fn references(live: &Live, mutation: &Mutation) -> Vec<(ChannelName, RecordId)> {
    let Some(channel) = live.channels.get(&mutation.channel) else { return Vec::new() };
    let named = |field: &omctl_protocol::Field| {
        let id = mutation.new.get(&field.name)?.as_str()?;
        Some((field.to.clone()?, RecordId::from(id)))
    };
    channel.schema.fields.iter().filter_map(named).collect()
}

fn field_of(channel: &LiveChannel, column: &str) -> Option<String> {
    channel.schema.fields.iter().find(|field| field.column() == column).map(|field| field.name.clone())
}
