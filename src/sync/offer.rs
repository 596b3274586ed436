//! Mutations that are offered again: settled before, in a history that this server has lost.
//!
//! Devices come back in any order, and what they offer builds on each other. Each offer says where it stood in the lost
//! history; the log notes of a field which offer it holds. So the field ends with what stood last, whoever comes first,
//! and what was written here since the histories parted is never overwritten by it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use omctl_protocol::{ChannelName, MutationId, Operation, Position, RecordId};
use tokio::time::Instant;

use super::plan::{Standing, Wish};
use super::settle::{Item, references, subject};
use super::{Sync, SyncError};
use crate::identity::Principal;
use crate::limits;
use crate::live::{Live, LiveChannel};
use crate::store::{ChannelNo, IncarnationNo, Offered};

/// Where an offered mutation stands to each field of its record; empty for any other. `position` is that of the record's
/// row in the log; up to `resumed` rows went back with their backend, and nobody has written them since.
pub(super) fn standings(
    channel: &LiveChannel,
    item: &Item,
    position: Option<Position>,
    offered: Option<&Offered>,
    (is_untraced, resumed): (bool, Position),
) -> Vec<Standing> {
    let Some(again) = item.mutation.again else { return Vec::new() };
    let stood = |name: &str| {
        // Of a history that nobody told the device is lost, nothing is offered.
        let Some(kept) = item.kept else { return Standing::Contested };
        if is_untraced {
            return Standing::Untraced;
        }
        match offered.and_then(|offered| offered.get(kept, name)) {
            // Several of one device may have been settled by one commit; they come in its order.
            Some(held) if again >= held => Standing::Free,
            Some(_) => Standing::Followed,
            None if position.is_some_and(|position| position <= kept.max(resumed)) => Standing::Free,
            None => Standing::Contested,
        }
    };
    channel.schema.fields.iter().map(|field| stood(&field.name)).collect()
}

/// Notes in which fields an offered mutation stands now. `is_made`: the record was not there before; `is_held` tells
/// whether a field holds its value.
pub(super) fn note(
    channel: &LiveChannel,
    item: &Item,
    wish: &Wish,
    standing: &[Standing],
    (is_made, is_held): (bool, impl Fn(usize) -> bool),
    offered: &mut Offered,
) {
    let (Some(again), Some(kept)) = (item.mutation.again, item.kept) else { return };
    for (place, field) in channel.schema.fields.iter().enumerate() {
        // That nobody wrote a field since the histories parted is known now, and not once the row has moved. What a create
        // says nothing of, any other may say.
        if standing.get(place) == Some(&Standing::Free) || is_made && !wish.new.contains_key(&field.name) {
            offered.hold(kept, &field.name, Position(0));
        }
        let is_its = wish.op != Operation::Delete && wish.new.contains_key(&field.name) && is_held(place);
        if is_its && standing.get(place) != Some(&Standing::Followed) {
            offered.hold(kept, &field.name, again);
        }
    }
}

/// Since when something of each incarnation waits for what may still be offered. Time that has passed, and no clock: one
/// that is set right would end every wait. A server that starts anew waits anew: its devices were away, too.
#[derive(Debug, Default)]
pub(super) struct Patience(Mutex<HashMap<IncarnationNo, Instant>>);

impl Patience {
    /// Whether it goes on waiting, which it begins with the first question.
    fn waits(&self, incarnation: IncarnationNo) -> bool {
        let mut since = self.0.lock().expect("nobody panics while waiting");
        since.entry(incarnation).or_insert_with(Instant::now).elapsed() < limits::OFFERED_WAIT
    }
}

impl Sync {
    /// The records of those of these mutations that build on a create which another device may still offer: they wait for
    /// it, but not for ever. These are what is offered again, and what its device wrote before it heard of the loss.
    pub(super) async fn awaited(
        &self,
        live: &Live,
        who: &Principal,
        items: &[Item],
    ) -> Result<HashSet<(ChannelName, RecordId)>, SyncError> {
        type Record = (ChannelName, RecordId);
        let mut wanted: Vec<((IncarnationNo, Record), Record)> = Vec::new();
        let may_build = |item: &&Item| item.mutation.again.is_some() || item.kept.is_some();
        // What these create themselves comes in its turn: the create must not wait for those that wait for it.
        let mut made: HashSet<(ChannelName, RecordId)> = HashSet::new();
        for item in items {
            let own = item.key();
            let is_create = item.mutation.op == Operation::Create;
            if may_build(&item) {
                let named = references(live, &item.mutation).into_iter().chain((!is_create).then(|| own.clone()));
                wanted.extend(named.filter(|on| !made.contains(on)).map(|on| ((item.incarnation, own.clone()), on)));
            }
            if is_create {
                made.insert(own);
            }
        }
        wanted.retain(|(_, (channel, _))| live.channels.contains_key(channel));
        if wanted.is_empty() {
            return Ok(HashSet::new());
        }
        let keys =
            wanted.iter().map(|(_, (channel, id))| (ChannelNo(live.channels[channel].number), id.clone())).collect();
        // A tombstone is an answer; only what never was may still come. What the account does not see is for it as if it
        // never was: how long an answer takes must not tell either.
        let granted = self.granted(live, &subject(who)).await?;
        let shown = self.inner.store.are_in(keys, granted.scopes.into_iter().map(|(key, _)| key).collect()).await?;
        let missing = wanted.into_iter().zip(shown).filter(|(_, shown)| !shown);
        let mut missing: Vec<_> = missing.map(|(wanted, _)| wanted).collect();
        // A backend that was not set back may have done it all, and deleted the record since: it waits for nothing.
        let done = if missing.is_empty() { HashSet::new() } else { self.done_before(live, items).await? };
        missing.retain(|((_, own), _)| !done.contains(own));
        // Nobody offers a create that was refused.
        let refused = self.inner.store.rejected_creates(missing.iter().map(|(_, on)| on.clone()).collect()).await?;
        missing.retain(|((incarnation, _), on)| !refused.contains(on) && self.inner.patience.waits(*incarnation));
        Ok(missing.into_iter().map(|((_, own), _)| own).collect())
    }

    /// The records of those of these mutations that their backend remembers to have done, where it is so of all that
    /// are for the record.
    async fn done_before(&self, live: &Live, items: &[Item]) -> Result<HashSet<(ChannelName, RecordId)>, SyncError> {
        let mut by_home: BTreeMap<&str, Vec<MutationId>> = BTreeMap::new();
        for item in items {
            if let Some(channel) = live.channels.get(&item.mutation.channel) {
                by_home.entry(channel.backend_name()).or_default().push(item.settled_as);
            }
        }
        let mut known = HashSet::new();
        for (name, ids) in by_home {
            if let Some(backend) = live.backends.get(name) {
                known.extend(backend.applied(&ids).await?.into_keys());
            }
        }
        let (done, open): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| known.contains(&item.settled_as));
        let open: HashSet<_> = open.into_iter().map(Item::key).collect();
        Ok(done.into_iter().map(Item::key).filter(|key| !open.contains(key)).collect())
    }
}
