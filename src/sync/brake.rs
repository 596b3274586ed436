//! The brake on mass deletes: what a backend seems not to have any more is not taken for deleted at once, and not when it
//! is suspiciously much.
//!
//! A record that a complete read did not meet is remembered. Only when the next one does not meet it either, and its key
//! is asked for and answered with nothing, is it buried. Deletes beyond a limit are held until an operator lets them
//! through; only these wait. What a change queue tells of is believed at once, up to limits of its own.
//!
//! *Invariant:* what is remembered and held is memory and may be lost: then it takes two reads again. What was buried is
//! counted in the store, by the commit that buries it.

use std::collections::HashSet;
use std::sync::Arc;

use omctl_protocol::{ChannelName, Life, RecordId, RowHash};

use super::{Sync, SyncError};
use crate::backend::Key;
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{ChannelNo, DeleteKind, StoreError};

/// Records that a channel's backend seems not to have any more, by their fingerprints. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Missing {
    /// The last complete read did not meet them, or the change queue told of them.
    once: Arc<HashSet<u128>>,
    /// Those of them whose deletes wait for an operator.
    held: Arc<HashSet<u128>>,
    /// How often an operator let the held ones through: a read that began before must not hold them again.
    releases: u64,
}

impl Missing {
    /// How many deletes wait for an operator.
    pub(super) fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Whether another complete read is to tell about some of them.
    pub(super) fn is_unsure(&self) -> bool {
        self.once.len() > self.held.len()
    }

    fn is_known(&self, print: u128) -> bool {
        self.once.contains(&print) || self.held.contains(&print)
    }
}

/// What a key means that was asked for and has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Nothing yet: a complete read will tell.
    Unsure,
    /// A delete that two complete reads agree on and that is not too much.
    Inferred,
    /// A delete that the change queue tells of, if it is not too much.
    Told,
    /// A delete that an operator let through.
    Released,
}

impl Absent {
    /// As what its deletes are counted.
    pub(super) fn counted(self) -> Option<DeleteKind> {
        match self {
            Self::Inferred => Some(DeleteKind::Inferred),
            Self::Told => Some(DeleteKind::Told),
            Self::Unsure | Self::Released => None,
        }
    }
}

/// What became of an operator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// So many records are buried now; those that have come back are not.
    Done(u64),
    /// Nothing was done: by now more are held than the operator spoke of.
    More(u64),
}

/// Whether so many deletes of a channel within the window are too many; `size` is what it had without them.
fn is_too_much(kind: DeleteKind, deletes: u64, size: u64) -> bool {
    let share = |percent: u64| deletes.saturating_mul(100) > size.saturating_mul(percent);
    match kind {
        DeleteKind::Inferred => {
            deletes > limits::MASS_DELETE_RECORDS
                || (deletes >= limits::MASS_DELETE_PERCENT_FLOOR && share(limits::MASS_DELETE_PERCENT))
                || (size > limits::MASS_DELETE_EMPTY_ABOVE && deletes >= size)
        }
        DeleteKind::Told => {
            deletes > limits::TOLD_DELETE_RECORDS
                || (size > limits::TOLD_DELETE_PERCENT_ABOVE && share(limits::TOLD_DELETE_PERCENT))
        }
    }
}

/// Below so many deletes no size makes them too many: then nobody counts a channel's records.
fn always_fine(kind: DeleteKind) -> u64 {
    match kind {
        DeleteKind::Inferred => limits::MASS_DELETE_PERCENT_FLOOR.min(limits::MASS_DELETE_EMPTY_ABOVE),
        DeleteKind::Told => limits::TOLD_DELETE_PERCENT_ABOVE * limits::TOLD_DELETE_PERCENT / 100,
    }
}

impl Sync {
    /// Whether these many more deletes of a channel are to wait for an operator.
    pub(super) async fn brakes(&self, channel: &LiveChannel, kind: DeleteKind, more: u64) -> Result<bool, SyncError> {
        let number = ChannelNo(channel.number);
        let lately = self.inner.store.deletes_lately(number, kind).await?;
        if lately + more < always_fine(kind) {
            return Ok(false);
        }
        let size = self.inner.store.live_count(number).await? + lately;
        Ok(is_too_much(kind, lately + more, size))
    }

    /// Judges the records that a complete read did not meet.
    pub(super) async fn judge_missing(
        &self,
        live: &Arc<Live>,
        channel: &LiveChannel,
        absent: Vec<(RecordId, Key)>,
    ) -> Result<(), SyncError> {
        #[cfg(feature = "planted")]
        if crate::planted::has("mass_delete") {
            use crate::store::{Batch, Journal, JournalChange};
            let gone = |(id, _)| Journal {
                channel: ChannelNo(channel.number),
                id,
                as_of: omctl_protocol::Position(u64::MAX),
                change: JournalChange::Gone,
            };
            let batch = Batch { journal: absent.into_iter().map(gone).collect(), ..Batch::default() };
            return self.commit_now(live, batch).await.map(drop);
        }
        let known = self.health_of(channel.name()).missing;
        let mut once: HashSet<u128> = HashSet::with_capacity(absent.len());
        let (mut agreed, mut keys) = (HashSet::new(), Vec::new());
        for (id, key) in absent {
            let print = fingerprint(channel.name(), &id);
            once.insert(print);
            if known.is_known(print) {
                agreed.insert(print);
                keys.push(key);
            }
        }
        // What this read missed for the first time counts too: a table that is emptied while it is read is missed in two
        // parts, and the first may be small.
        let held = !keys.is_empty()
            && (self.brakes(channel, DeleteKind::Inferred, once.len() as u64).await?
                || self.brakes(channel, DeleteKind::Told, keys.len() as u64).await?);
        if !held {
            self.ingest_keys(live, channel, keys, Absent::Inferred).await?;
            once.retain(|print| !agreed.contains(print));
            agreed.clear();
        }
        self.note_missing(channel.name(), known.releases, once, agreed);
        Ok(())
    }

    /// Holds deletes that the change queue told of.
    pub(super) fn hold_told(&self, channel: &LiveChannel, ids: &[RecordId]) {
        let Missing { once, held, releases } = self.health_of(channel.name()).missing;
        let prints = || ids.iter().map(|id| fingerprint(channel.name(), id));
        let once = once.iter().copied().chain(prints()).collect();
        let held = held.iter().copied().chain(prints()).collect();
        self.note_missing(channel.name(), releases, once, held);
    }

    /// A read that could not tell what is missing: what was held stays so, and the rest is looked for anew.
    pub(super) fn forget_unsure(&self, channel: &ChannelName) {
        self.with_health(channel, |health| health.missing.once = health.missing.held.clone());
    }

    /// Records that are there are not missing.
    pub(super) fn note_met(&self, channel: &ChannelName, ids: &[RecordId]) {
        let Missing { once, held, releases } = self.health_of(channel).missing;
        if once.is_empty() && held.is_empty() {
            return;
        }
        let met: HashSet<u128> = ids.iter().map(|id| fingerprint(channel, id)).collect();
        let without = |known: &HashSet<u128>| known.difference(&met).copied().collect();
        self.note_missing(channel, releases, without(&once), without(&held));
    }

    fn note_missing(&self, channel: &ChannelName, releases: u64, once: HashSet<u128>, held: HashSet<u128>) {
        self.with_health(channel, |health| {
            if health.missing.releases != releases {
                return;
            }
            let (count, before) = (held.len() as u64, health.held_deletes);
            health.held_deletes = count;
            health.missing = Missing { once: Arc::new(once), held: Arc::new(held), releases };
            if count > before {
                tracing::warn!(
                    channel = %channel, count,
                    "{count} records of `{channel}` are not in the backend any more: their deletes are held; \
                     to let them through: omctl channel resume {channel}"
                );
            } else if count == 0 && before > 0 {
                tracing::info!(channel = %channel, "no deletes of `{channel}` are held any more");
            }
        });
    }

    /// Lets the held deletes of a channel through, if they are no more than `at_most`. Each is looked for once more: what
    /// has come back stays. The count of deletes begins anew, because somebody has looked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown channel; those of the backend and of writing.
    pub async fn release_held(&self, name: &ChannelName, at_most: u64) -> Result<Release, SyncError> {
        let live = self.inner.live.current();
        let channel = live.channels.get(name).ok_or(StoreError::NotFound("channel"))?;
        let Home::Backend(_, collection) = &channel.home else { return Ok(Release::Done(0)) };
        let held = self.health_of(name).missing.held;
        if held.len() as u64 > at_most {
            return Ok(Release::More(held.len() as u64));
        }
        if held.is_empty() {
            return Ok(Release::Done(0));
        }
        let number = ChannelNo(channel.number);
        let (mut after, mut buried) = (None, 0);
        loop {
            let ids = self.inner.store.live_ids(number, after, limits::INGEST_CHUNK_ROWS).await?;
            let Some(last) = ids.last() else { break };
            after = Some(last.clone());
            let keys = ids.iter().filter(|id| held.contains(&fingerprint(name, id)));
            let keys: Vec<Key> = keys.filter_map(|id| self.key_of(channel, collection, id)).collect();
            buried += self.ingest_keys(&live, channel, keys, Absent::Released).await?;
        }
        self.inner.store.forget_deletes(number).await?;
        self.with_health(name, |health| {
            let rest = |known: &HashSet<u128>| Arc::new(known.difference(&held).copied().collect::<HashSet<u128>>());
            let missing = &health.missing;
            health.missing =
                Missing { once: rest(&missing.once), held: rest(&missing.held), releases: missing.releases + 1 };
            health.held_deletes = health.missing.held();
        });
        tracing::info!(channel = %name, buried, "an operator let {buried} held deletes of `{name}` through");
        Ok(Release::Done(buried))
    }
}

/// 16 bytes stand for an id, so that a sweep of a million records remembers 16 MB of them.
pub(super) fn fingerprint(channel: &ChannelName, id: &RecordId) -> u128 {
    RowHash::of(channel, id, Life(0), &[]).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inferred_deletes_are_too_much_by_number_by_share_and_when_nothing_would_be_left() {
        let too_much = |deletes, size| is_too_much(DeleteKind::Inferred, deletes, size);
        assert!(!too_much(50, 1_000_000) && too_much(51, 1_000_000));
        assert!(!too_much(20, 100) && too_much(21, 100));
        assert!(!too_much(9, 12), "fewer than ten are never a share");
        assert!(too_much(10, 12) && too_much(11, 11));
        assert!(!too_much(9, 9), "small channels may become empty");
    }

    #[test]
    fn told_deletes_are_trusted_much_further() {
        let too_much = |deletes, size| is_too_much(DeleteKind::Told, deletes, size);
        assert!(!too_much(10_000, 1_000_000) && too_much(10_001, 1_000_000));
        assert!(!too_much(1_000, 1_000) && !too_much(1_800, 2_000) && too_much(1_801, 2_000));
    }

    #[test]
    fn what_is_always_fine_is_never_too_much() {
        for kind in [DeleteKind::Inferred, DeleteKind::Told] {
            for size in (0..4_000).chain([1_000_000]) {
                // A channel cannot lose more than it has.
                assert!(!is_too_much(kind, (always_fine(kind) - 1).min(size), size), "{kind:?} of {size}");
            }
        }
    }
}
