//! Which of a device's waiting mutations are settled next, together.

use std::collections::{HashMap, HashSet};

use omctl_protocol::{ATOMIC_MUTATIONS_MAX, ChannelName, Mutation, Operation, RecordId, Seq};

use super::plan::Rejection;
use super::settle::{Item, read_entry, references};
use super::{Sync, SyncError};
use crate::identity::Principal;
use crate::limits;
use crate::live::Live;
use crate::store::IncarnationNo;

/// What is settled next.
pub(super) enum Next {
    /// These, each for itself.
    Run(Vec<Item>),
    /// This atomic transaction.
    Whole(Vec<Item>),
    /// This is no atomic transaction that could be applied: all of it is refused.
    Broken(Vec<Item>, Rejection),
    /// What is next waits for something else.
    Waits,
    /// There is nothing but beginnings of atomic transactions whose rest was not sent yet.
    Comes,
}

/// A mutation, or those of one atomic transaction.
enum Piece {
    One(Item),
    Whole(Vec<Item>),
    Broken(Vec<Item>, Rejection),
    /// Its rest was not accepted yet.
    Begun,
}

/// The first and the last seq of an item's atomic transaction.
fn span(item: &Item) -> Option<(IncarnationNo, Option<(Seq, Seq)>)> {
    Some((item.incarnation, item.mutation.atomic?.span(item.mutation.seq)))
}

/// Whether these are of one atomic transaction.
pub(super) fn is_same_whole(one: &Item, other: &Item) -> bool {
    span(one).is_some_and(|span| span.1.is_some()) && span(one) == span(other)
}

/// Items that were accepted, in their order. `is_cut`: there may be more behind the last one.
fn pieces(items: Vec<Item>, is_cut: bool) -> Vec<Piece> {
    let mut pieces: Vec<Vec<Item>> = Vec::new();
    for item in items {
        match pieces.last_mut() {
            Some(piece) if is_same_whole(&piece[0], &item) => piece.push(item),
            _ => pieces.push(vec![item]),
        }
    }
    let last = pieces.len().saturating_sub(1);
    let pieces = pieces.into_iter().enumerate();
    pieces.map(|(place, items)| piece(items, is_cut && place == last)).collect()
}

fn piece(mut items: Vec<Item>, is_cut: bool) -> Piece {
    let Some(part) = items[0].mutation.atomic else { return Piece::One(items.swap_remove(0)) };
    let broken = |items, message: &str| Piece::Broken(items, Rejection::new("atomic_broken", message));
    let Some((_, last)) = part.span(items[0].mutation.seq) else {
        return broken(items, "its place in its transaction makes no sense");
    };
    let of = part.of as usize;
    if of > ATOMIC_MUTATIONS_MAX {
        return broken(items, "its transaction is too large to be applied in one piece");
    }
    // Nothing is settled of it before all is here, so what is here is the beginning of what there is.
    match items.len() == of {
        true => Piece::Whole(items),
        false if is_cut || items[0].accepted < last => Piece::Begun,
        false => broken(items, "its transaction is not for one backend alone"),
    }
}

impl Sync {
    /// What can be settled next of these, in their order: the longest beginning that can be planned from one read (no
    /// record twice, no reference to a record that is created in it, nothing that waits for another backend or for a
    /// paused channel), or one atomic transaction. `is_cut`: there may be more behind the last one.
    pub(super) async fn next_of(
        &self,
        live: &Live,
        who: &Principal,
        items: Vec<Item>,
        is_cut: bool,
    ) -> Result<Next, SyncError> {
        let mut taken: HashSet<(ChannelName, RecordId)> = HashSet::new();
        let mut waiting: HashSet<(ChannelName, RecordId)> = self.awaited(live, who, &items).await?;
        // A create that was sent again in a newer incarnation stands behind what its device sent of the record before,
        // and has forgotten since.
        let creates = items.iter().filter(|item| item.mutation.op == Operation::Create);
        let moved: HashMap<(ChannelName, RecordId), IncarnationNo> =
            creates.map(|create| (create.key(), create.incarnation)).collect();
        let (mut run, mut waits) = (Vec::new(), false);
        for piece in pieces(items, is_cut) {
            let members = match &piece {
                Piece::One(item) => std::slice::from_ref(item),
                Piece::Whole(items) | Piece::Broken(items, _) => items,
                Piece::Begun => continue,
            };
            let refs: Vec<_> = members.iter().map(|item| references(live, &item.mutation)).collect();
            let keys: Vec<_> = members.iter().map(Item::key).collect();
            let is_behind = |(item, on): (&Item, &(ChannelName, RecordId))| {
                moved.get(on).is_some_and(|create| *create > item.incarnation)
            };
            let named = || members.iter().zip(&refs).zip(&keys);
            if named().any(|((item, refs), key)| refs.iter().chain([key]).any(|on| is_behind((item, on)))) {
                waits = true;
                continue;
            }
            // What is for a paused or closed channel waits there, and so does what stands on it; the rest goes on.
            let must_wait = |on: &(ChannelName, RecordId)| self.is_closed(&on.0) || waiting.contains(on);
            if keys.iter().any(|key| self.is_paused(&key.0) || must_wait(key)) || refs.iter().flatten().any(must_wait) {
                waiting.extend(keys);
                waits = true;
                continue;
            }
            let item = match piece {
                Piece::One(item) => item,
                _ if !run.is_empty() => break,
                Piece::Broken(items, rejection) => return Ok(Next::Broken(items, rejection)),
                Piece::Whole(items) => {
                    for (item, refs) in items.iter().zip(&refs) {
                        if self.waits_elsewhere(live, who, &item.mutation, refs).await? {
                            return Ok(Next::Waits);
                        }
                    }
                    return Ok(Next::Whole(items));
                }
                Piece::Begun => continue,
            };
            let (key, refs) = (item.key(), &refs[0]);
            if taken.contains(&key) || refs.iter().any(|named| taken.contains(named)) {
                break;
            }
            if self.waits_elsewhere(live, who, &item.mutation, refs).await? {
                waits = true;
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
        Ok(match (run.is_empty(), waits) {
            (false, _) => Next::Run(run),
            (true, true) => Next::Waits,
            (true, false) => Next::Comes,
        })
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
