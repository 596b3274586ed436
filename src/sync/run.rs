//! Which of a device's waiting mutations are settled next, together.

use std::collections::{HashMap, HashSet};

use omctl_protocol::{ChannelName, Mutation, Operation, RecordId};

use super::settle::{Item, read_entry, references};
use super::{Sync, SyncError};
use crate::identity::Principal;
use crate::limits;
use crate::live::Live;
use crate::store::IncarnationNo;

impl Sync {
    /// The longest beginning of these that can be planned from one read: no record twice, no reference to a record that
    /// is created in it, nothing that waits for another backend or for a paused channel.
    pub(super) async fn run_of(&self, live: &Live, who: &Principal, items: Vec<Item>) -> Result<Vec<Item>, SyncError> {
        let mut taken: HashSet<(ChannelName, RecordId)> = HashSet::new();
        let mut waiting: HashSet<(ChannelName, RecordId)> = self.awaited(live, who, &items).await?;
        // A create that was sent again in a newer incarnation stands behind what its device sent of the record before,
        // and has forgotten since.
        let creates = items.iter().filter(|item| item.mutation.op == Operation::Create);
        let moved: HashMap<(ChannelName, RecordId), IncarnationNo> =
            creates.map(|create| (create.key(), create.incarnation)).collect();
        let mut run = Vec::new();
        for item in items {
            let key = item.key();
            let refs = references(live, &item.mutation);
            if refs.iter().chain([&key]).any(|on| moved.get(on).is_some_and(|create| *create > item.incarnation)) {
                continue;
            }
            // What is for a paused or closed channel waits there, and so does what stands on it; the rest goes on.
            let waits = |on: &(ChannelName, RecordId)| self.is_closed(&on.0) || waiting.contains(on);
            if self.is_paused(&key.0) || waits(&key) || refs.iter().any(waits) {
                waiting.insert(key);
                continue;
            }
            if taken.contains(&key) || refs.iter().any(|named| taken.contains(named)) {
                break;
            }
            if self.waits_elsewhere(live, who, &item.mutation, &refs).await? {
                break;
            }
            let moves_rights = live.channels.get(&key.0).is_some_and(|channel| !channel.listed.is_empty());
            taken.insert(key);
            run.push(item);
            if moves_rights {
                // What comes after a membership row is judged by what that says.
                break;
            }
        }
        Ok(run)
    }

    /// Whether a reference names a record whose create by this device waits for another backend.
    async fn waits_elsewhere(
        &self,
        live: &Live,
        who: &Principal,
        mutation: &Mutation,
        refs: &[(ChannelName, RecordId)],
    ) -> Result<bool, SyncError> {
        let Some(channel) = live.channels.get(&mutation.channel) else { return Ok(false) };
        for (to, id) in refs {
            let Some(target) = live.channels.get(to) else { continue };
            if target.backend_name() == channel.backend_name() {
                continue;
            }
            let waiting = self
                .inner
                .store
                .inbox(who.device, target.backend_name().to_owned(), limits::INBOX_PER_DEVICE_MAX)
                .await?;
            for entry in waiting {
                let earlier = read_entry(who, entry)?.mutation;
                if earlier.op == Operation::Create && earlier.channel == *to && earlier.record == *id {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
