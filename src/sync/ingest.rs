//! Ingest: what others changed in a backend, found and journaled.
//!
//! One watcher a backend. Where triggers fill a change queue, it is consumed as a queue; else the table is read whole
//! and compared, at the channel's poll interval. A slow sweep is the backstop of both. What is missing is judged in
//! `brake.rs`.
//!
//! *Invariant:* nothing is journaled from a read that began before the record's last journaled one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::value::encode_body;
use omctl_protocol::{ChannelName, RecordId, SchemaVersion, Value};
use tokio::time::Instant;

use super::brake::{Absent, Missing, fingerprint};
use super::codec::{Births, Record};
use super::judge::change_of;
use super::{Sync, SyncError};
use crate::backend::{Backend, BackendError, Collection, Delivery, Detection, Key, Page, Probe};
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{Batch, ChannelNo, DeleteKind, Head, IdMapping, Journal, JournalChange, StoreError};

/// What ingest knows of one channel.
#[derive(Clone, Debug, Default)]
pub struct ChannelHealth {
    /// What the backend said of it last.
    pub probe: Option<Probe>,
    /// The channel's epoch of which every record was read at least once: before that, devices hold only a part. A sweep of
    /// the home that it has just left may end later.
    pub synced_epoch: Option<u32>,
    /// Why it is paused.
    pub paused: Option<String>,
    /// What its backend said when it was last asked in vain; `None` while it answers.
    pub unreachable: Option<String>,
    /// Rows that cannot be represented, as of the last sweep: column and reason.
    pub bad_rows: Vec<String>,
    /// Deletes that wait for an operator.
    pub held_deletes: u64,
    /// When a sweep ended last, in milliseconds since 1970.
    pub swept_ms: Option<i64>,
    /// From noticing a change to its being journaled, the last time, in milliseconds.
    pub lag_ms: Option<u64>,
    pub(super) missing: Missing,
}

impl ChannelHealth {
    /// Whether every record of this epoch was read.
    pub fn is_synced(&self, epoch: u32) -> bool {
        self.synced_epoch == Some(epoch)
    }

    /// What is promised for writes, as far as is known.
    pub fn delivery(&self) -> Delivery {
        self.probe.as_ref().map_or(Delivery::BestEffort, |probe| probe.delivery)
    }

    /// How foreign edits are noticed, as far as is known.
    pub fn detection(&self) -> Detection {
        self.probe.as_ref().map_or(Detection::HashDiff, |probe| probe.detection)
    }
}

/// The backstop behind a change queue.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How often the live system is probed again: its tables may change under us.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// How often it is probed whether a paused channel can go on, or a channel that promises less can promise more.
const PROBE_RESTLESS_EVERY: Duration = Duration::from_secs(2);

/// What a watcher remembers between its rounds.
#[derive(Default)]
struct Watch {
    quiet_mark: Option<u64>,
    /// When the backend was last looked at for what it should have.
    asked: Option<Instant>,
    probed: BTreeMap<ChannelName, Instant>,
    swept: BTreeMap<ChannelName, (Instant, Option<u64>)>,
    defined: BTreeMap<ChannelName, Defined>,
}

/// What of a channel's definition decides which rows it has and what is read of them.
#[derive(Clone, Debug, PartialEq)]
struct Defined {
    schema: SchemaVersion,
    epoch: u32,
    filter: Vec<(String, Value)>,
}

impl Watch {
    /// Forgets the channels that are not declared any more: one that comes back is met for the first time.
    fn leave(&mut self, live: &Live) {
        let is_there = |name: &ChannelName| live.channels.contains_key(name);
        self.defined.retain(|name, _| is_there(name));
        self.probed.retain(|name, _| is_there(name));
        self.swept.retain(|name, _| is_there(name));
    }

    /// Looks whether a channel is defined as it was: else it is probed and read whole again.
    fn meet(&mut self, channel: &LiveChannel) {
        let defined =
            Defined { schema: channel.schema.version, epoch: channel.epoch, filter: channel.decl.filter.clone() };
        if self.defined.get(channel.name()) != Some(&defined) {
            self.probed.remove(channel.name());
            self.swept.remove(channel.name());
            self.defined.insert(channel.name().clone(), defined);
        }
    }
}

impl Sync {
    /// Starts a watcher for every backend that has none.
    pub(super) fn watch_backends(&self) {
        for name in self.inner.live.current().backends.keys() {
            let mut ingesting = self.inner.ingesting.lock().expect("nobody panics while starting ingest");
            if ingesting.insert(name.clone()) {
                let (sync, name) = (self.clone(), name.clone());
                self.inner.tasks.start("ingest", async move { sync.watch_backend(name).await });
            }
        }
    }

    async fn watch_backend(&self, name: String) {
        let (mut watch, mut told) = (Watch::default(), None);
        loop {
            let live = self.inner.live.current();
            let Some(backend) = live.backends.get(&name).cloned() else {
                self.inner.ingesting.lock().expect("nobody panics while starting ingest").remove(&name);
                // It may have come back in this very moment, when it still had a watcher.
                self.watch_backends();
                return;
            };
            match self.watch_once(&live, &backend, &mut watch).await {
                Ok(()) => {
                    if told.take().is_some() {
                        tracing::info!(backend = %name, "`{name}` is watched again");
                    }
                    self.note_reach(&live, &name, None);
                    tokio::time::sleep(limits::QUEUE_POLL_EVERY).await;
                }
                Err(SyncError::Store(StoreError::Closed)) => return,
                Err(error) => {
                    let message = error.to_string();
                    if let SyncError::Backend(BackendError::Unavailable { .. }) = &error {
                        self.note_reach(&live, &name, Some(message.clone()));
                    }
                    // Once for each reason: a system may be away for a weekend.
                    if told.as_ref() != Some(&message) {
                        tracing::warn!(%error, backend = %name, "watching `{name}` is tried again");
                        told = Some(message);
                    }
                    match error {
                        // The probe tells which channel it is, and the others go on.
                        SyncError::Backend(BackendError::Missing { .. }) => watch.probed.clear(),
                        // What was known of it was known of another one.
                        SyncError::Backend(BackendError::Replaced { .. }) => watch = Watch::default(),
                        _ => {}
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Notes of all channels of a backend whether it answers.
    fn note_reach(&self, live: &Live, backend: &str, trouble: Option<String>) {
        let mut health = self.inner.health.lock().expect("nobody panics while noting health");
        for channel in channels_of(live, backend) {
            let known = health.entry(channel.name().clone()).or_default();
            known.unreachable.clone_from(&trouble);
        }
    }

    async fn watch_once(
        &self,
        live: &Arc<Live>,
        backend: &Arc<dyn Backend>,
        watch: &mut Watch,
    ) -> Result<(), SyncError> {
        let mut queued = Vec::new();
        let mark = backend.quiet_mark().await?;
        let quiet = mark.is_some() && mark == watch.quiet_mark;
        // Whoever puts a copy back changes something. What no mark tells is seen a little later.
        let was_asked = watch.asked.is_some_and(|at| at.elapsed() < PROBE_EVERY);
        if !quiet || !was_asked || self.inner.set_backs.is_stopped(backend.name()) {
            match self.check_history(backend).await {
                Err(SyncError::SetBack { .. }) => {
                    self.come_back(live, backend).await?;
                    *watch = Watch::default();
                }
                known => known?,
            }
            watch.asked = Some(Instant::now());
        }
        watch.leave(live);
        for channel in channels_of(live, backend.name()) {
            watch.meet(channel);
            // Something was committed there: perhaps what a better promise needs (`omctl channel install`).
            let may_improve = !quiet && self.health_of(channel.name()).delivery() == Delivery::BestEffort;
            let is_restless = may_improve || self.is_paused(channel.name());
            let every = if is_restless { PROBE_RESTLESS_EVERY } else { PROBE_EVERY };
            let due = watch.probed.get(channel.name()).is_none_or(|at| at.elapsed() >= every);
            if due {
                self.probe(channel, backend).await?;
                watch.probed.insert(channel.name().clone(), Instant::now());
            }
            let health = self.health_of(channel.name());
            if health.paused.is_some() {
                continue;
            }
            let every = match health.detection() {
                Detection::Queue => {
                    queued.push(channel.clone());
                    SWEEP_EVERY
                }
                Detection::HashDiff => channel.decl.poll_every.unwrap_or(limits::POLL_EVERY),
            };
            let unsure = health.missing.is_unsure();
            let every = if unsure { every.min(limits::MISSING_AGAIN_AFTER) } else { every };
            let due = match watch.swept.get(channel.name()) {
                None => true,
                // Nothing was committed since the last sweep began: it would find the same, and is only done to agree.
                Some((at, seen)) => at.elapsed() >= every && (unsure || !(seen.is_some() && *seen == mark)),
            };
            if due {
                self.sweep(live, channel).await?;
                watch.swept.insert(channel.name().clone(), (Instant::now(), mark));
            }
        }
        if !quiet && !queued.is_empty() {
            self.drain_queue(live, backend, &queued, watch).await?;
        }
        watch.quiet_mark = mark;
        Ok(())
    }

    async fn probe(&self, channel: &LiveChannel, backend: &Arc<dyn Backend>) -> Result<(), SyncError> {
        let Home::Backend(_, collection) = &channel.home else { return Ok(()) };
        match backend.probe(collection).await {
            Ok(probe) => {
                if probe.missing.is_empty() {
                    self.with_health(channel.name(), |health| health.paused = None);
                } else {
                    self.pause(channel.name(), format!("there is no {}", probe.missing.join(", no ")));
                }
                self.with_health(channel.name(), |health| health.probe = Some(probe));
                Ok(())
            }
            Err(BackendError::Missing { what, .. }) => {
                self.pause(channel.name(), format!("there is no {what}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Consumes the change queue: reads what it names, journals it, and only then forgets it.
    async fn drain_queue(
        &self,
        live: &Arc<Live>,
        backend: &Arc<dyn Backend>,
        channels: &[Arc<LiveChannel>],
        watch: &mut Watch,
    ) -> Result<(), SyncError> {
        let collections: Vec<Arc<Collection>> = channels.iter().filter_map(|channel| collection_of(channel)).collect();
        loop {
            let began = Instant::now();
            let changes = backend.changes(&collections, limits::INGEST_CHUNK_ROWS).await?;
            if changes.is_empty() {
                return Ok(());
            }
            // Among these are our own writes: what becomes of their rows is judged when the log knows them.
            self.inner.flights.land(backend.name()).await;
            let numbers: Vec<i64> = changes.iter().map(|change| change.number).collect();
            for (channel, collection) in channels.iter().zip(&collections) {
                let mut keys: Vec<Key> = Vec::new();
                let mut seen: HashSet<String> = HashSet::new();
                for change in changes.iter().filter(|change| change.table == collection.table) {
                    match &change.key {
                        Some(key) if seen.insert(key.to_text()) => keys.push(key.clone()),
                        Some(_) => {}
                        // A key that cannot be read: only a sweep tells what became of it.
                        None => drop(watch.swept.remove(channel.name())),
                    }
                }
                if !keys.is_empty() {
                    self.ingest_keys(live, channel, keys, Absent::Told).await?;
                    let lag = began.elapsed().as_millis() as u64;
                    self.with_health(channel.name(), |health| health.lag_ms = Some(lag));
                }
            }
            backend.forget_changes(&numbers).await?;
        }
    }

    /// Reads these keys and journals what is there now, and what is not there as `absent` says. Returns how many records
    /// were buried.
    pub(super) async fn ingest_keys(
        &self,
        live: &Arc<Live>,
        channel: &LiveChannel,
        keys: Vec<Key>,
        absent: Absent,
    ) -> Result<u64, SyncError> {
        let Home::Backend(backend, collection) = &channel.home else { return Ok(0) };
        let (mut wanted, mut buried) = (keys, 0);
        while !wanted.is_empty() {
            let as_of = self.inner.store.newest_position().await?;
            let rows = backend.read(collection, &wanted).await?;
            let mut mappings = Vec::new();
            let (mut present, mut gone) = (Vec::new(), Vec::new());
            for (key, row) in wanted.iter().zip(rows) {
                match row {
                    Some(Ok(row)) => present.push(row),
                    Some(Err(bad)) => {
                        tracing::warn!(channel = %channel.name(), column = %bad.column, "a row cannot be represented");
                    }
                    None => gone.push(self.record_of(channel, key)),
                }
            }
            let records = self.name_rows(live, channel, present, Births::Every, &mut mappings).await?;
            self.note_met(channel.name(), &records.iter().map(|record| record.id.clone()).collect::<Vec<_>>());
            let mut batch = Batch { mappings, counted: absent.counted(), ..Batch::default() };
            self.journal_records(live, channel, records, as_of, &mut batch).await?;
            let gone = self.to_bury(channel, gone, absent).await?;
            buried += gone.len() as u64;
            let number = ChannelNo(channel.number);
            let entry = |id| Journal { channel: number, id, as_of, change: JournalChange::Gone };
            batch.journal.extend(gone.into_iter().map(entry));
            // What is stale is read again, and then counted again where it is gone.
            wanted = self.commit_ingest(live, channel, collection, batch, &mut buried).await?;
        }
        Ok(buried)
    }

    /// Those of these records that are live and to be buried now.
    async fn to_bury(
        &self,
        channel: &LiveChannel,
        gone: Vec<RecordId>,
        absent: Absent,
    ) -> Result<Vec<RecordId>, SyncError> {
        if gone.is_empty() || absent == Absent::Unsure {
            return Ok(Vec::new());
        }
        let number = ChannelNo(channel.number);
        let (_, heads) = self.inner.store.heads(gone.iter().map(|id| (number, id.clone())).collect()).await?;
        let is_live = |head: &Option<Head>| head.as_ref().is_some_and(|head| head.row.hash.is_some());
        let gone: Vec<RecordId> =
            gone.into_iter().zip(&heads).filter(|(_, head)| is_live(head)).map(|(id, _)| id).collect();
        if absent == Absent::Told && self.brakes(channel, DeleteKind::Told, gone.len() as u64).await? {
            self.hold_told(channel, &gone);
            return Ok(Vec::new());
        }
        Ok(gone)
    }

    /// Adds those of these records to a batch whose log row is not what they are now.
    pub(super) async fn journal_records(
        &self,
        live: &Arc<Live>,
        channel: &LiveChannel,
        records: Vec<Record>,
        as_of: omctl_protocol::Position,
        batch: &mut Batch,
    ) -> Result<(), SyncError> {
        let number = ChannelNo(channel.number);
        let ids = records.iter().map(|record| (number, record.id.clone())).collect();
        let (_, heads) = self.inner.store.heads(ids).await?;
        for (record, head) in records.into_iter().zip(heads) {
            let same = head.as_ref().is_some_and(|head| {
                head.row.version == channel.schema.version
                    && head.row.body.as_deref().map(str::as_bytes) == Some(&encode_body(&record.values)[..])
            });
            if same {
                continue;
            }
            let id = record.id.clone();
            let change = change_of(live, channel, head.as_ref(), Some(record), None);
            batch.journal.push(Journal { channel: number, id, as_of, change });
        }
        Ok(())
    }

    /// Commits what is not stale; the keys of what is are returned, to be read again, and `buried` is told of it.
    async fn commit_ingest(
        &self,
        live: &Arc<Live>,
        channel: &LiveChannel,
        collection: &Collection,
        mut batch: Batch,
        buried: &mut u64,
    ) -> Result<Vec<Key>, SyncError> {
        if batch.journal.is_empty() && batch.mappings.is_empty() {
            return Ok(Vec::new());
        }
        let mut again = Vec::new();
        loop {
            let stale = self.commit(live, batch.clone()).await?;
            if stale.is_empty() {
                return Ok(again);
            }
            for place in stale.into_iter().rev() {
                let entry = batch.journal.remove(place);
                *buried -= u64::from(matches!(entry.change, JournalChange::Gone));
                again.extend(self.key_of(channel, collection, &entry.id));
            }
        }
    }

    pub(super) fn record_of(&self, channel: &LiveChannel, key: &Key) -> RecordId {
        let text = key.to_text();
        self.inner.names.record(channel.number, &text).unwrap_or_else(|| RecordId::from(text))
    }

    /// Reads a channel whole and journals every difference.
    async fn sweep(&self, live: &Arc<Live>, channel: &LiveChannel) -> Result<(), SyncError> {
        let Home::Backend(backend, collection) = &channel.home else { return Ok(()) };
        let mut seen: HashSet<u128> = HashSet::new();
        let mut bad_rows = Vec::new();
        let mut unnamed_bad = false;
        let mut after: Option<Key> = None;
        loop {
            let as_of = self.inner.store.newest_position().await?;
            let Page { rows, bad, next } = backend.scan(collection, after.as_ref(), limits::INGEST_CHUNK_ROWS).await?;
            for bad in bad {
                match &bad.key {
                    Some(key) => drop(seen.insert(fingerprint(channel.name(), &self.record_of(channel, key)))),
                    None => unnamed_bad = true,
                }
                bad_rows.push(format!("{}: {}", bad.column, bad.message));
            }
            let mut mappings: Vec<IdMapping> = Vec::new();
            let records = self.name_rows(live, channel, rows, Births::Every, &mut mappings).await?;
            seen.extend(records.iter().map(|record| fingerprint(channel.name(), &record.id)));
            let mut batch = Batch { mappings, ..Batch::default() };
            self.journal_records(live, channel, records, as_of, &mut batch).await?;
            let again = self.commit_ingest(live, channel, collection, batch, &mut 0).await?;
            self.ingest_keys(live, channel, again, Absent::Unsure).await?;
            match next {
                Some(key) => after = Some(key),
                None => break,
            }
        }
        // A row without a readable key counts as any record: nothing is inferred from absence then.
        if unnamed_bad {
            self.forget_unsure(channel.name());
        } else {
            let absent = self.absent(channel, collection, &seen).await?;
            self.judge_missing(live, channel, absent).await?;
        }
        let now = self.inner.store.clock().now_ms();
        self.with_health(channel.name(), |health| {
            if !health.is_synced(channel.epoch) {
                tracing::info!(channel = %channel.name(), records = seen.len(), "`{}` is synced", channel.name());
            }
            health.synced_epoch = Some(channel.epoch);
            health.swept_ms = Some(now);
            health.bad_rows = bad_rows;
        });
        self.was_read(channel.name());
        Ok(())
    }

    /// The live records that a complete scan did not meet, with their keys.
    async fn absent(
        &self,
        channel: &LiveChannel,
        collection: &Collection,
        seen: &HashSet<u128>,
    ) -> Result<Vec<(RecordId, Key)>, SyncError> {
        let mut absent = Vec::new();
        let mut after = None;
        loop {
            let number = ChannelNo(channel.number);
            let ids = self.inner.store.live_ids(number, after, limits::INGEST_CHUNK_ROWS).await?;
            let Some(last) = ids.last() else { return Ok(absent) };
            after = Some(last.clone());
            for id in ids.into_iter().filter(|id| !seen.contains(&fingerprint(channel.name(), id))) {
                absent.extend(self.key_of(channel, collection, &id).map(|key| (id, key)));
            }
        }
    }

    /// Pauses a channel until a probe finds everything there.
    pub(super) fn pause(&self, channel: &ChannelName, reason: String) {
        self.with_health(channel, |health| {
            if health.paused.as_ref() != Some(&reason) {
                tracing::warn!(channel = %channel, "`{channel}` is paused: {reason}");
                health.paused = Some(reason);
            }
        });
    }

    /// Whether every record of a channel was read from where it lives, so that what is not in the log is not there.
    pub(super) fn is_read(&self, channel: &LiveChannel) -> bool {
        matches!(channel.home, Home::Managed) || self.health_of(channel.name()).is_synced(channel.epoch)
    }

    /// Whether a channel is paused.
    pub(super) fn is_paused(&self, channel: &ChannelName) -> bool {
        let health = self.inner.health.lock().expect("nobody panics while noting health");
        health.get(channel).is_some_and(|health| health.paused.is_some())
    }

    pub(super) fn health_of(&self, channel: &ChannelName) -> ChannelHealth {
        let health = self.inner.health.lock().expect("nobody panics while noting health");
        health.get(channel).cloned().unwrap_or_default()
    }

    pub(super) fn with_health(&self, channel: &ChannelName, change: impl FnOnce(&mut ChannelHealth)) {
        let mut health = self.inner.health.lock().expect("nobody panics while noting health");
        change(health.entry(channel.clone()).or_default());
    }
}

pub(super) fn channels_of<'l>(live: &'l Live, backend: &'l str) -> impl Iterator<Item = &'l Arc<LiveChannel>> {
    live.channels.values().filter(move |channel| channel.backend_name() == backend)
}

pub(super) fn collection_of(channel: &LiveChannel) -> Option<Arc<Collection>> {
    match &channel.home {
        Home::Backend(_, collection) => Some(collection.clone()),
        Home::Managed => None,
    }
}
