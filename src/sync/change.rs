//! From one generation of definitions to the next, while devices are connected and write.
//!
//! Records carry the scopes that the rules of their time gave them. Where a rule says something else now, its channel is
//! closed: devices keep what they hold, nothing more is sent, and what they write waits. Its records are placed anew, and
//! then it is open, with other scopes. The store refuses what was made by earlier definitions
//! ([`crate::store::Store::begin_generation`]), so no record is placed by them behind our back.

use std::collections::BTreeSet;
use std::sync::Arc;

use omctl_protocol::ChannelName;

use super::{Sync, SyncError};
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{Batch, ChannelNo};

impl Sync {
    /// Makes a generation live. The channels whose records it places otherwise are closed before anybody meets it, until
    /// [`Sync::place_closed`]; whoever waits for [`Sync::placeable`] is told.
    ///
    /// # Errors
    /// Those of the store; the earlier generation is live then.
    pub async fn change_to(&self, live: Arc<Live>) -> Result<(), SyncError> {
        let before = self.inner.live.current();
        let closing: Vec<&Arc<LiveChannel>> = live.channels.values().filter(|channel| is_misplaced(channel)).collect();
        for channel in &closing {
            self.inner.store.begin_placing(ChannelNo(channel.number)).await?;
        }
        let names: Vec<ChannelName> = closing.into_iter().map(|channel| channel.name().clone()).collect();
        let closes = !names.is_empty();
        self.know_again(&before, &live).await?;
        {
            // In one step: whoever opens a channel looks at what is live under the same lock.
            let mut closed = self.inner.closed.lock().expect("nobody panics while closing");
            closed.extend(names);
            self.inner.live.swap(live);
        }
        if closes {
            self.inner.placeable.notify_one();
        }
        self.watch_backends();
        Ok(())
    }

    /// Waits until a closed channel may be ready for [`Sync::place_closed`].
    pub async fn placeable(&self) {
        self.inner.placeable.notified().await;
    }

    /// Tells that a channel was read whole, in case it is closed until then.
    pub(super) fn was_read(&self, channel: &ChannelName) {
        if self.is_closed(channel) {
            self.inner.placeable.notify_one();
        }
    }

    /// Takes over what the store knows of the channels that were not there before, or not in this home, and forgets how it
    /// stood with those that are gone.
    async fn know_again(&self, before: &Live, now: &Live) -> Result<(), SyncError> {
        let is_same = |one: &LiveChannel, other: &Live| {
            other.channels.get(one.name()).is_some_and(|known| known.epoch == one.epoch)
        };
        for channel in before.channels.values().filter(|channel| !is_same(channel, now)) {
            self.inner.health.lock().expect("nobody panics while noting health").remove(channel.name());
        }
        let fresh: BTreeSet<u64> =
            now.channels.values().filter(|channel| !is_same(channel, before)).map(|channel| channel.number).collect();
        if !fresh.is_empty() {
            let known = self.inner.store.id_map().await?;
            fresh.iter().for_each(|number| self.inner.names.forget(*number));
            self.inner.names.add(known.into_iter().filter(|mapping| fresh.contains(&mapping.channel.0)).collect());
        }
        Ok(())
    }

    /// Places the records of closed channels by the rules that are live, and opens each channel when it is done. Returns
    /// how many records were looked at. A channel that has moved stays closed until its new home was read whole once: a
    /// path that was mistyped takes nothing from anybody.
    ///
    /// # Errors
    /// Those of the store; what is not done is still closed.
    pub async fn place_closed(&self) -> Result<u64, SyncError> {
        let _only = self.inner.placing.lock().await;
        let mut records = 0;
        loop {
            let live = self.inner.live.current();
            // One that is not declared any more has nothing to be opened for.
            self.reopen(|name, live| !live.channels.contains_key(name));
            let ready = |name| live.channels.get(name).filter(|channel| !self.is_unread(channel)).cloned();
            let Some(channel) = self.closed().iter().find_map(ready) else {
                return Ok(records);
            };
            records += self.place_records(&live, &channel).await?;
            // While it was done, another generation may have come, which places them otherwise.
            let number = ChannelNo(channel.number);
            if self.inner.store.finish_placing(number, channel.placing.clone(), live.generation).await? {
                self.reopen(|name, live| {
                    let is_so = |now: &Arc<LiveChannel>| now.placing == channel.placing;
                    name == channel.name() && live.channels.get(name).is_some_and(is_so)
                });
            }
        }
    }

    /// Places the records of every channel whose rule or fields are not those that they were placed by. Until this is done,
    /// nothing may be served: a device would see what its account may not, or miss what it may.
    pub(super) async fn place_all(&self, live: &Arc<Live>) -> Result<(), SyncError> {
        self.inner.store.begin_generation(live.generation).await?;
        // Parents before children is not needed: a child reads its parents' values, not their places.
        for channel in live.channels.values().filter(|channel| is_misplaced(channel)) {
            let number = ChannelNo(channel.number);
            self.inner.store.begin_placing(number).await?;
            if self.is_unread(channel) {
                self.inner.closed.lock().expect("nobody panics while closing").insert(channel.name().clone());
                continue;
            }
            self.place_records(live, channel).await?;
            self.inner.store.finish_placing(number, channel.placing.clone(), live.generation).await?;
        }
        Ok(())
    }

    async fn place_records(&self, live: &Arc<Live>, channel: &LiveChannel) -> Result<u64, SyncError> {
        let number = ChannelNo(channel.number);
        let (mut after, mut records) = (None, 0);
        loop {
            let ids = self.inner.store.live_ids(number, after, limits::INGEST_CHUNK_ROWS).await?;
            let Some(last) = ids.last() else { break };
            after = Some(last.clone());
            records += ids.len() as u64;
            let mut open = ids;
            while !open.is_empty() {
                let journal = self.moved(live, channel, open).await?;
                let ids: Vec<_> = journal.iter().map(|entry| entry.id.clone()).collect();
                let stale = self.commit_unasked(live, Batch { journal, ..Batch::default() }).await?;
                // Written meanwhile, and so placed by the new rule already; nothing of the others was done.
                let stale: BTreeSet<usize> = stale.into_iter().collect();
                let is_again = !stale.is_empty();
                open = ids
                    .into_iter()
                    .enumerate()
                    .filter(|(place, _)| is_again && !stale.contains(place))
                    .map(|(_, id)| id)
                    .collect();
            }
        }
        // At a first start everything is placed for the first time, which is no news.
        if records > 0 && channel.placed.is_some() {
            tracing::info!(channel = %channel.name(), records, "placed the records of `{}` by its new scope", channel.name());
        }
        Ok(records)
    }

    /// The channels whose records are being placed anew.
    pub fn closed(&self) -> BTreeSet<ChannelName> {
        self.inner.closed.lock().expect("nobody panics while closing").clone()
    }

    /// Whether a channel has moved to a home of which not every record was read yet.
    fn is_unread(&self, channel: &LiveChannel) -> bool {
        let has_moved = channel.epoch > 1 && is_misplaced(channel);
        has_moved
            && matches!(channel.home, Home::Backend(..))
            && !self.health_of(channel.name()).is_synced(channel.epoch)
    }

    /// Whether nothing of a channel may be sent or settled at the moment.
    pub(super) fn is_closed(&self, channel: &ChannelName) -> bool {
        self.inner.closed.lock().expect("nobody panics while closing").contains(channel)
    }

    /// Opens the channels of which this is true, beside what is live at that moment.
    fn reopen(&self, is_ready: impl Fn(&ChannelName, &Live) -> bool) {
        let mut closed = self.inner.closed.lock().expect("nobody panics while closing");
        let live = self.inner.live.current();
        closed.retain(|channel| !is_ready(channel, &live));
    }
}

fn is_misplaced(channel: &LiveChannel) -> bool {
    channel.placed.as_deref() != Some(&channel.placing)
}
