//! Accepting: a batch of mutations becomes durable, in one commit with everything that can be settled at once.

use std::collections::{HashMap, HashSet};

use omctl_protocol::{ATOMIC_MUTATIONS_MAX, ChannelName, Mutation, MutationId, Part, Position, RecordId, Seq};
use uuid::Uuid;

use super::answer::Answer;
use super::run::is_same_whole;
use super::settle::{Item, digest_of, references};
use super::{Sync, SyncError};
use crate::catalog::MANAGED;
use crate::identity::Principal;
use crate::live::Live;
use crate::store::{Accept, Accepted, Batch, IncarnationNo, NewMutation, PendingReceipt, Settled};

/// The session in whose name mutations are accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Under {
    pub(super) incarnation: IncarnationNo,
    pub(super) fence: u64,
    /// The watermark before this batch.
    pub(super) accepted: Seq,
    /// The incarnation began after a reset: the last position that both histories share.
    pub(super) kept: Option<Position>,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Taken {
    /// Durable up to here. Some were replays: their receipts are to be sent again.
    Accepted { up_to: Seq, again: Vec<omctl_protocol::Receipt> },
    /// There is a hole: nothing was taken.
    Gap { expected: Seq },
    /// A number came again with another payload: the device must begin a new incarnation.
    Mismatch { seq: Seq },
}

impl Sync {
    /// Takes a batch: all of it is durable when this returns, in the order of its seq, or nothing is.
    pub(super) async fn accept(
        &self,
        who: &Principal,
        under: Under,
        mutations: Vec<Mutation>,
    ) -> Result<Taken, SyncError> {
        let mut expected = mutations.first().map_or(under.accepted.next(), |first| first.seq);
        if expected > under.accepted.next() {
            return Ok(Taken::Gap { expected: under.accepted.next() });
        }
        for mutation in &mutations {
            if mutation.seq != expected {
                return Ok(Taken::Gap { expected: under.accepted.next() });
            }
            expected = expected.next();
        }
        let digested: Vec<(Mutation, [u8; 16])> =
            mutations.into_iter().map(|mutation| (digest_of(who, &mutation), mutation)).map(|(d, m)| (m, d)).collect();
        let ids = digested.iter().map(|(mutation, _)| mutation.id).collect();
        let mut known = self.inner.store.known_mutations(ids).await?;
        // An id that came before with another payload may also have come before with this one, under its other id.
        let others: Vec<MutationId> = digested
            .iter()
            .filter(|(mutation, digest)| known.get(&mutation.id).is_some_and(|accepted| accepted.digest != *digest))
            .map(|(mutation, digest)| other_id(mutation.id, *digest))
            .collect();
        if !others.is_empty() {
            known.extend(self.inner.store.known_mutations(others).await?);
        }
        let mut again = Vec::new();
        let mut fresh = Vec::new();
        for (mutation, digest) in digested {
            if mutation.seq > under.accepted {
                fresh.push((mutation, digest));
                continue;
            }
            match same_payload(&known, &mutation, digest) {
                Some((_, accepted)) if accepted.receipt.is_some() => {
                    let (seq, id) = (mutation.seq, mutation.id);
                    again.extend(accepted.receipt.clone().map(|receipt| omctl_protocol::Receipt {
                        seq,
                        id,
                        ..receipt
                    }));
                }
                // What waits in another history is answered there.
                Some((_, accepted)) if accepted.incarnation == under.incarnation && accepted.seq == mutation.seq => {}
                _ => return Ok(Taken::Mismatch { seq: mutation.seq }),
            }
        }
        let Some((last, _)) = fresh.last() else {
            return Ok(Taken::Accepted { up_to: under.accepted, again });
        };
        let up_to = last.seq;
        self.take_fresh(who, under, fresh, &known, up_to).await?;
        Ok(Taken::Accepted { up_to, again })
    }

    async fn take_fresh(
        &self,
        who: &Principal,
        under: Under,
        fresh: Vec<(Mutation, [u8; 16])>,
        known: &HashMap<MutationId, Accepted>,
        up_to: Seq,
    ) -> Result<(), SyncError> {
        let live = self.inner.live.current();
        // Earlier ones of the same home that still wait must be settled first: then these wait behind them.
        let waiting = self.inner.store.inbox(who.device, MANAGED.to_owned(), 1).await?;
        let mut managed_waits = !waiting.is_empty();
        let awaited = self.awaited_by(&live, who, under, &fresh).await?;
        let mut settled_before = Vec::new();
        let mut open: Vec<Fresh<'_>> = Vec::with_capacity(fresh.len());
        for (mutation, digest) in fresh {
            let mut moved_from = None;
            let mut settled_as = mutation.id;
            if let Some((id, accepted)) = same_payload(known, &mutation, digest) {
                settled_as = id;
                #[cfg(feature = "planted")]
                let is_open = crate::planted::has("receipt_twice");
                #[cfg(not(feature = "planted"))]
                let is_open = false;
                // What a backend was set back to may lack what its receipt tells of; its dedupe rows know.
                let is_doubtful = |receipt: &omctl_protocol::Receipt| {
                    let home = live.channels.get(&mutation.channel).map_or(MANAGED, |channel| channel.backend_name());
                    !receipt.is_rejected() && self.inner.set_backs.doubts(home, accepted.batch)
                };
                if let Some(receipt) = accepted.receipt.as_ref().filter(|receipt| !is_open && !is_doubtful(receipt)) {
                    // Offered again in a new incarnation: its answer stands.
                    let receipt = omctl_protocol::Receipt { seq: mutation.seq, id: mutation.id, ..receipt.clone() };
                    settled_before.push(PendingReceipt { receipt, settled_as, digest, journal: None });
                    continue;
                }
                moved_from = Some((accepted.incarnation, accepted.seq));
            } else if known.contains_key(&mutation.id) {
                settled_as = other_id(mutation.id, digest);
            }
            let backend = live.channels.get(&mutation.channel).map_or(MANAGED, |channel| channel.backend_name());
            let key = (mutation.channel.clone(), mutation.record.clone());
            let must_wait = backend != MANAGED
                || moved_from.is_some()
                || mutation.again.is_some()
                || awaited.contains(&key)
                || self.is_closed(&mutation.channel)
                || references(&live, &mutation).iter().any(|(to, _)| self.is_closed(to))
                || self.ref_may_wait(&live, &mutation);
            let moves_rights = live.channels.get(&mutation.channel).is_some_and(|channel| !channel.listed.is_empty());
            let (incarnation, kept, tries) = (under.incarnation, None, 0);
            let item = Item { incarnation, settled_as, digest, mutation, tries, kept, accepted: up_to };
            open.push(Fresh { item, backend, moved_from, must_wait, moves_rights });
        }
        // An atomic transaction is settled now whole, or not now.
        let mut at_once = Vec::with_capacity(open.len());
        for piece in open.chunk_by(|one, other| is_same_whole(&one.item, &other.item)) {
            let is_whole = is_whole(piece[0].item.mutation.atomic, piece[0].item.mutation.seq, piece.len());
            let settles_now = is_whole && !managed_waits && piece.iter().all(|one| !one.must_wait);
            // What comes after a membership row is judged by what that says.
            managed_waits |= match settles_now {
                true => piece.iter().any(|one| one.moves_rights),
                false => piece.iter().any(|one| one.backend == MANAGED),
            };
            at_once.extend(std::iter::repeat_n(settles_now, piece.len()));
        }
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for (Fresh { item, backend, moved_from, .. }, settles_now) in open.into_iter().zip(at_once) {
            if settles_now {
                now.push(item);
                continue;
            }
            let payload = serde_json::to_string(&item.mutation).expect("a mutation always has a JSON form");
            let Item { settled_as, digest, mutation: Mutation { seq, .. }, .. } = item;
            let backend = backend.to_owned();
            later.push(NewMutation { seq, settled_as, digest, backend, payload, moved_from });
        }
        let homes: std::collections::BTreeSet<String> = later.iter().map(|new| new.backend.clone()).collect();
        let accept = Accept {
            device: who.device,
            fence: under.fence,
            incarnation: under.incarnation,
            mutations: later,
            accepted: up_to,
        };
        if now.is_empty() && settled_before.is_empty() {
            self.inner.store.accept(accept).await?;
        } else {
            let settled_before = Settled {
                device: who.device,
                incarnation: under.incarnation,
                accepted: Some(up_to),
                receipts: settled_before,
            };
            let base = Batch {
                fence: Some((who.device, under.fence)),
                accept: Some(accept),
                settled: vec![settled_before],
                ..Batch::default()
            };
            self.settle_managed(&live, who, &now, base).await?;
        }
        for backend in homes {
            self.kick(who.device, &backend);
        }
        Ok(())
    }

    /// The records of fresh mutations that must wait for what another device may offer again.
    async fn awaited_by(
        &self,
        live: &Live,
        who: &Principal,
        under: Under,
        fresh: &[(Mutation, [u8; 16])],
    ) -> Result<HashSet<(ChannelName, RecordId)>, SyncError> {
        if under.kept.is_none() {
            return Ok(HashSet::new());
        }
        let item = |(mutation, digest): &(Mutation, [u8; 16])| Item {
            incarnation: under.incarnation,
            settled_as: mutation.id,
            digest: *digest,
            mutation: mutation.clone(),
            tries: 0,
            kept: under.kept,
            accepted: under.accepted,
        };
        self.awaited(live, who, &fresh.iter().map(item).collect::<Vec<_>>()).await
    }

    /// Whether a managed mutation names a record of another home that may not be created yet.
    fn ref_may_wait(&self, live: &Live, mutation: &Mutation) -> bool {
        let Some(channel) = live.channels.get(&mutation.channel) else { return false };
        channel.schema.fields.iter().any(|field| {
            let target = field.to.as_ref().and_then(|to| live.channels.get(to));
            target.is_some_and(|target| target.backend_name() != channel.backend_name())
                && mutation.new.get(&field.name).is_some_and(|value| !value.is_null())
        })
    }
}

/// Whether so many mutations, from this one on, are all that there are of its atomic transaction, if it is of one.
fn is_whole(part: Option<Part>, seq: Seq, count: usize) -> bool {
    part.is_none_or(|part| part.span(seq).is_some() && count == part.of as usize && count <= ATOMIC_MUTATIONS_MAX)
}

/// A mutation of a batch that has no answer yet.
struct Fresh<'l> {
    item: Item,
    backend: &'l str,
    moved_from: Option<(IncarnationNo, Seq)>,
    /// It cannot be settled at once.
    must_wait: bool,
    moves_rights: bool,
}

/// What is known of this very write: its id with this payload, or the id that another payload under its id was given.
fn same_payload<'k>(
    known: &'k HashMap<MutationId, Accepted>,
    mutation: &Mutation,
    digest: [u8; 16],
) -> Option<(MutationId, &'k Accepted)> {
    [mutation.id, other_id(mutation.id, digest)]
        .into_iter()
        .find_map(|id| known.get(&id).filter(|accepted| accepted.digest == digest).map(|accepted| (id, accepted)))
}

/// The id under which a mutation is settled whose own id is taken by another payload.
fn other_id(id: MutationId, digest: [u8; 16]) -> MutationId {
    let mixed = u128::from_be_bytes(*id.0.as_bytes()) ^ u128::from_be_bytes(digest);
    MutationId(Uuid::from_u128(mixed))
}

impl Answer {
    /// Whether the record that a create was to make does not exist because of it.
    pub(super) fn is_rejected(&self) -> bool {
        self.outcome == omctl_protocol::Outcome::Rejected
    }
}
