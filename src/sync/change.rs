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
use crate::live::{Live, LiveChannel};
use crate::store::{Batch, ChannelNo};

impl Sync {
    /// Makes a generation live. The channels whose records it places otherwise are closed before anybody meets it; they
    /// are returned, for [`Sync::place_closed`].
    ///
    /// # Errors
    /// Those of the store; the earlier generation is live then.
    pub async fn change_to(&self, live: Arc<Live>) -> Result<Vec<ChannelName>, SyncError> {
        let before = self.inner.live.current();
        let closing: Vec<&Arc<LiveChannel>> = live.channels.values().filter(|channel| is_misplaced(channel)).collect();
        for channel in &closing {
            self.inner.store.set_placing(ChannelNo(channel.number), None).await?;
        }
        let names: Vec<ChannelName> = closing.into_iter().map(|channel| channel.name().clone()).collect();
        self.close(names.iter().cloned());
        for channel in before.channels.values() {
            let has_moved = live.channels.get(channel.name()).is_none_or(|now| now.epoch != channel.epoch);
            if has_moved {
                // What is known of it is of a place that it has left.
                self.inner.names.forget(channel.number);
                self.inner.health.lock().expect("nobody panics while noting health").remove(channel.name());
            }
        }
        self.inner.live.swap(live);
        self.watch_backends();
        Ok(names)
    }

    /// Places the records of closed channels by the rules that are live, and opens each channel when it is done. Returns
    /// how many records were looked at.
    ///
    /// # Errors
    /// Those of the store; what is not done is still closed.
    pub async fn place_closed(&self) -> Result<u64, SyncError> {
        let _only = self.inner.placing.lock().await;
        let mut records = 0;
        loop {
            let live = self.inner.live.current();
            // One that is not declared any more has nothing to be opened for.
            let gone = |name: &&ChannelName| !live.channels.contains_key(*name);
            self.reopen(&self.closed().iter().filter(gone).cloned().collect::<Vec<_>>());
            let Some(channel) = self.closed().iter().find_map(|name| live.channels.get(name).cloned()) else {
                return Ok(records);
            };
            records += self.place_records(&live, &channel).await?;
            // While it was done, another generation may have come, which places them otherwise.
            let now = self.inner.live.current();
            if now.channels.get(channel.name()).is_some_and(|now| now.placing == channel.placing) {
                let number = ChannelNo(channel.number);
                self.inner.store.set_placing(number, Some(channel.placing.clone())).await?;
                self.reopen(&[channel.name().clone()]);
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
            self.inner.store.set_placing(number, None).await?;
            self.place_records(live, channel).await?;
            self.inner.store.set_placing(number, Some(channel.placing.clone())).await?;
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
                let stale = self.commit(live, Batch { journal, ..Batch::default() }).await?;
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

    /// Whether nothing of a channel may be sent or settled at the moment.
    pub(super) fn is_closed(&self, channel: &ChannelName) -> bool {
        self.inner.closed.lock().expect("nobody panics while closing").contains(channel)
    }

    fn close(&self, channels: impl Iterator<Item = ChannelName>) {
        self.inner.closed.lock().expect("nobody panics while closing").extend(channels);
    }

    fn reopen(&self, channels: &[ChannelName]) {
        let mut closed = self.inner.closed.lock().expect("nobody panics while closing");
        closed.retain(|channel| !channels.contains(channel));
    }
}

fn is_misplaced(channel: &LiveChannel) -> bool {
    channel.placed.as_deref() != Some(&channel.placing)
}
