//! Settling: mutations that wait meet their backend, in device order.
//!
//! One settler a device and backend: devices and backends never wait for each other. A run is authorized, planned from
//! one read, written in one backend transaction with a savepoint each, and journaled with its receipts in one store
//! commit. What lost a race is read and planned again; a backend that is down is tried again later; what keeps failing
//! alone is set aside.

use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::{ChannelName, Mutation, MutationId, RecordId, Seq};
use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::managed::add_receipt;
use super::plan::Rejection;
use super::run::Next;
use super::{Sync, SyncError};
use crate::backend::{Backend, BackendError};
use crate::catalog::MANAGED;
use crate::identity::Principal;
use crate::limits;
use crate::live::Live;
use crate::rule::Subject;
use crate::store::{Batch, DeviceNo, InboxEntry, IncarnationNo};

/// A mutation to settle.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) incarnation: IncarnationNo,
    pub(super) settled_as: MutationId,
    pub(super) digest: [u8; 16],
    pub(super) mutation: Mutation,
    /// How often it was tried before.
    pub(super) tries: u32,
    /// Its device's history began after a reset: the last position that both histories share.
    pub(super) kept: Option<omctl_protocol::Position>,
    /// Everything of its history up to here was accepted.
    pub(super) accepted: Seq,
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

/// The longest pause of one that waits for another mutation: nobody tells it when that is there.
const BLOCKED_TO: Duration = Duration::from_secs(2);

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
                Ok(Ran::Blocked) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BLOCKED_TO);
                }
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
        #[cfg(feature = "planted")]
        if crate::planted::has("rejected_blocks") && self.inner.store.was_refused(device).await? {
            return Ok(Ran::Done);
        }
        // Rights are judged by the claims at apply time.
        let Some(who) = self.inner.identity.principal_of(device).await? else { return Ok(Ran::Done) };
        let may_be_more = entries.len() == limits::RUN_MUTATIONS_MAX;
        let items = entries.into_iter().map(|entry| read_entry(&who, entry)).collect::<Result<Vec<_>, _>>()?;
        let live = self.inner.live.current();
        let mut next = self.next_of(&live, &who, items, may_be_more).await?;
        if matches!(next, Next::Waits | Next::Comes) && may_be_more {
            // All of these wait for something; what stands behind them does not have to.
            let all = self.inner.store.inbox(device, backend.to_owned(), limits::INBOX_PER_DEVICE_MAX).await?;
            let items = all.into_iter().map(|entry| read_entry(&who, entry)).collect::<Result<Vec<_>, _>>()?;
            next = self.next_of(&live, &who, items, false).await?;
        }
        // A backend that is not declared any more: its channels are unknown, which is what the plan of managed ones says.
        let home = live.backends.get(backend).filter(|_| backend != MANAGED);
        match (next, home) {
            (Next::Run(mut run), home) => {
                run.truncate(limits::RUN_MUTATIONS_MAX);
                match home {
                    Some(home) => self.settle_run(&live, &who, home, run).await?,
                    None => self.settle_managed(&live, &who, &run, Batch::default()).await?,
                }
            }
            (Next::Whole(items), Some(home)) => self.settle_whole(&live, &who, home, items).await?,
            (Next::Whole(items), None) => self.settle_managed(&live, &who, &items, Batch::default()).await?,
            (Next::Broken(items, rejection), _) => {
                self.answer_whole(&who, &items, None, &Answer::rejected(&rejection)).await?;
            }
            (Next::Waits, _) => return Ok(Ran::Blocked),
            (Next::Comes, _) => return Ok(Ran::Done),
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
            Err(SyncError::Backend(error)) if !error.is_outage() => self.set_aside_or_fail(who, &run, error).await,
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
            Err(SyncError::Backend(error)) if !error.is_outage() => self.set_aside_or_fail(who, &[item], error).await,
            other => other,
        }
    }

    /// Counts a failure; with the last try what failed becomes dead letters and the rest goes on. A table or a column
    /// that is not there is no fault of the mutation: its channel is paused, and it waits.
    pub(super) async fn set_aside_or_fail(
        &self,
        who: &Principal,
        items: &[Item],
        error: BackendError,
    ) -> Result<(), SyncError> {
        if let BackendError::Missing { what, .. } = &error {
            // Of several nobody says whose it is; the next look at their channels does.
            if let [item] = items {
                self.pause(&item.mutation.channel, format!("there is no {what}"));
            }
            return Err(error.into());
        }
        if items.iter().any(|item| item.tries + 1 < limits::TRIES_MAX) {
            self.inner
                .store
                .note_tries(items.iter().map(|item| (item.incarnation, item.mutation.seq)).collect())
                .await?;
            return Err(error.into());
        }
        let answer = match error {
            BackendError::Ambiguous { .. } => Answer::unknown(),
            _ => Answer::rejected(&Rejection::new("backend_failed", "the backend keeps failing on this write")),
        };
        let mut batch = Batch::default();
        for item in items {
            tracing::warn!(%error, mutation = %item.mutation.id, "a mutation is set aside");
            batch.verdicts.extend(answer.verdict(&item.mutation, who.device));
            add_receipt(&mut batch, who, item, &answer, None);
        }
        self.inner.store.commit_batch(batch).await?;
        Ok(())
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
        kept: entry.kept,
        accepted: entry.accepted,
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

/// The records that a mutation's new values name.
pub(super) fn references(live: &Live, mutation: &Mutation) -> Vec<(ChannelName, RecordId)> {
    let Some(channel) = live.channels.get(&mutation.channel) else { return Vec::new() };
    let named = |field: &omctl_protocol::Field| {
        let id = mutation.new.get(&field.name)?.as_str()?;
        Some((field.to.clone()?, RecordId::from(id)))
    };
    channel.schema.fields.iter().filter_map(named).collect()
}
