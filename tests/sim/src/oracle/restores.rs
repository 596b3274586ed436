//! What a server forgets that is set back to an old copy of its data, and what must come of it: devices offer again what
//! they had answers for, and get new answers.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::{Mutation, MutationId, Operation, Outcome, Receipt};
use rusqlite::Connection;

use super::sights::State;
use super::{Checked, Oracle, Sent, one, wrong};
use crate::device::{Device, Standing};

/// Where the oracle stood when a snapshot was taken.
pub(crate) struct Mark {
    /// The last row of the history.
    history: i64,
    state: State,
    foreign: BTreeMap<i64, i64>,
}

/// What restores have done so far.
#[derive(Debug, Default)]
pub(super) struct Restores {
    /// How often the server was set back.
    count: u64,
    /// Answers that the server has forgotten, the latest last.
    lost: BTreeMap<MutationId, Vec<Receipt>>,
    /// Of the last one, whether it had changed something behind what both histories share.
    had_effect: BTreeMap<MutationId, bool>,
    /// The last position that the lost history and the one after it share.
    shared: u64,
    /// Whose answers the server still had after it was set back last.
    kept: BTreeSet<MutationId>,
    /// Devices that must have left the incarnation which their backup had.
    renewed: BTreeMap<usize, String>,
}

impl Restores {
    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    pub(super) fn has_kept(&self, id: MutationId) -> bool {
        self.kept.contains(&id)
    }

    pub(super) fn has_lost(&self, id: MutationId) -> bool {
        self.lost.contains_key(&id)
    }

    pub(super) fn lost(&self, id: MutationId) -> impl Iterator<Item = &Receipt> {
        self.lost.get(&id).into_iter().flatten()
    }

    pub(super) fn lose(&mut self, receipt: Receipt) {
        let is_behind = receipt.position.is_some_and(|position| position.0 > self.shared);
        self.had_effect.insert(receipt.id, is_behind && receipt.outcome != Outcome::Rejected);
        self.lost.entry(receipt.id).or_default().push(receipt);
    }

    /// Whether the last answer that was lost needs no other one: a refusal, or one that changed nothing.
    pub(super) fn was_without_effect(&self, id: MutationId) -> bool {
        self.had_effect.get(&id) == Some(&false)
    }

    /// An answer that is lost, and whose effect is not: the server had it from its backend before it gave the answer, at a
    /// position that both histories share. Nobody offers it again.
    pub(super) fn stands(&self, id: MutationId) -> Option<&Receipt> {
        let last = self.lost.get(&id)?.last()?;
        (self.was_without_effect(id) && last.position.is_some()).then_some(last)
    }

    /// A phone whose outbox was older than what the server had is in a new incarnation.
    pub(super) fn outbox_is_new(&self, device: &Device) -> Checked {
        let Some(before) = self.renewed.get(&device.index) else { return Ok(()) };
        let sql = "SELECT CAST(value AS TEXT) FROM om_state WHERE key = 'incarnation'";
        let now: String = one(device.store().reader(), sql);
        if now == *before {
            return wrong(format!("device {} goes on with the outbox of its backup: {before}", device.index));
        }
        Ok(())
    }
}

impl Oracle {
    /// Reads what happened so far, as long as it is there.
    pub(crate) fn read(&mut self, store: &Connection) {
        self.sights.read(store);
    }

    /// Where everything stands, for a snapshot.
    pub(crate) fn mark(&mut self, store: &Connection) -> Mark {
        self.sights.read(store);
        Mark { history: self.sights.read_up_to(), state: self.sights.state.clone(), foreign: self.foreign.clone() }
    }

    /// The server has the data of a snapshot again, the shop too or not. What was told since is told anew.
    pub(crate) fn server_is_set_back(&mut self, store: &Connection, mark: &Mark, with_shop: bool) -> Checked {
        store.execute("DELETE FROM temp.history WHERE n > ?1", [mark.history]).expect("the oracle's own table");
        self.sights.go_back(mark.history, mark.state.clone());
        let kept = self.stored_receipts(store)?;
        let newest = "SELECT max(coalesce((SELECT max(position) FROM main.log), 0),
            coalesce((SELECT max(position) FROM main.departed), 0))";
        self.restores.shared = one::<i64>(store, newest).unsigned_abs();
        self.keep_told(kept);
        self.restores.count += 1;
        // Whatever its watermark was, it may be below what the backup had.
        self.restores.renewed.clear();
        if with_shop {
            self.foreign = mark.foreign.clone();
        }
        self.positions.clear();
        self.feeds.clear();
        self.watermarks.forget();
        Ok(())
    }

    /// The shop is as it was when a snapshot was taken; the server has yet to find out.
    pub(crate) fn shop_is_set_back(&mut self, mark: &Mark) {
        self.foreign = mark.foreign.clone();
    }

    /// The server has found out that the shop was set back: what it says of the batches of answers that may tell of what
    /// is lost is taken at its word here, and what comes of it is judged at the end.
    pub(crate) fn shop_was_found_set_back(&mut self, store: &Connection) -> Checked {
        let kept = "SELECT coalesce((SELECT kept FROM main.set_back ORDER BY number DESC LIMIT 1), 0)";
        self.restores.shared = one::<i64>(store, kept).unsigned_abs();
        let kept = self.stored_receipts(store)?;
        self.keep_told(kept);
        self.restores.count += 1;
        self.positions.clear();
        Ok(())
    }

    /// These answers stand; whatever else was told is lost.
    fn keep_told(&mut self, kept: BTreeMap<MutationId, Receipt>) {
        for (id, told) in std::mem::take(&mut self.told) {
            match kept.get(&id) {
                // An answer in place of one that was lost, which is lost in turn: the first one stands again.
                Some(first) if first.position != told.position => {
                    self.told.insert(id, first.clone());
                    self.restores.lose(told);
                }
                Some(_) => drop(self.told.insert(id, told)),
                None => self.restores.lose(told),
            }
        }
        // And what a later history had taken back stands again where that one is lost.
        for (id, first) in &kept {
            let had_it = self.restores.lost(*id).any(|lost| lost.position == first.position);
            if had_it && !self.told.contains_key(id) {
                self.told.insert(*id, first.clone());
            }
        }
        self.restores.kept = kept.into_keys().collect();
    }

    /// A device has the file of an earlier time. Where the server had accepted more of that outbox, it may not go on.
    pub(crate) fn device_is_restored(&mut self, device: usize, backup: &Standing, store: &Connection) {
        let id: uuid::Uuid = backup.incarnation.parse().expect("an id");
        let sql = "SELECT accepted FROM main.incarnation WHERE id = ?1";
        let accepted: i64 = store.query_row(sql, [id.as_bytes().as_slice()], |row| row.get(0)).unwrap_or(0);
        self.restores.renewed.remove(&device);
        if accepted > backup.last_seq {
            self.restores.renewed.insert(device, backup.incarnation.clone());
        }
    }

    /// Only what was answered is offered again, and with the position of its answer.
    pub(super) fn offered_rightly(&self, mutation: &Mutation) -> Checked {
        let Some(again) = mutation.again else { return Ok(()) };
        let mut said = self.told.get(&mutation.id).into_iter().chain(self.restores.lost(mutation.id));
        if said.any(|receipt| receipt.position == Some(again)) {
            return Ok(());
        }
        wrong(format!("offered again with a position that no answer had: {mutation:?}"))
    }

    /// What was taken in the history that is lost, and is not any more, lost against another write of the same record; in
    /// a channel that everybody sees and whose fields do not change, there is no other reason.
    pub(super) fn offers_lose_to_somebody(&self, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        for (id, Sent { mutation, .. }) in &self.sent {
            let was_taken = |receipt: &Receipt| matches!(receipt.outcome, Outcome::Applied | Outcome::Merged);
            let is_taken = receipts.get(id).is_none_or(was_taken);
            if is_taken
                || mutation.channel.as_str() != "notes"
                || !self.restores.lost(*id).last().is_some_and(was_taken)
            {
                continue;
            }
            // Refused with another one of its transaction, which is judged itself.
            let code = |id: &MutationId| receipts.get(id).and_then(|receipt| receipt.code.as_deref());
            let is_whole_refused = |members: &Vec<MutationId>| {
                members.contains(id) && members.iter().any(|other| code(other).is_some_and(|code| code != "atomic"))
            };
            if code(id) == Some("atomic") && self.wholes.values().any(is_whole_refused) {
                continue;
            }
            // Refused with the create of what it names, which is judged itself.
            let parent = mutation.new.get("parent").and_then(serde_json::Value::as_str);
            let is_refused_parent = |(other, theirs): (&MutationId, &Sent)| {
                theirs.mutation.op == Operation::Create
                    && Some(theirs.mutation.record.as_str()) == parent
                    && receipts.get(other).is_some_and(Receipt::is_rejected)
            };
            if code(id) == Some("depends_on") && self.sent.iter().any(is_refused_parent) {
                continue;
            }
            let names = |theirs: &Mutation| {
                theirs.record == mutation.record || parent.is_some_and(|parent| parent == theirs.record.as_str())
            };
            let others = self.sent.iter().filter(|(other, _)| *other != id);
            let mut rivals = others.filter(|(_, theirs)| theirs.mutation.channel == mutation.channel);
            let is_known = |theirs: &Mutation| theirs.op != Operation::Create || mutation.op != Operation::Create;
            if !rivals.any(|(_, theirs)| names(&theirs.mutation) && is_known(&theirs.mutation)) {
                return wrong(format!(
                    "{mutation:?} was taken once, and nobody stands against it: {:?}",
                    receipts.get(id)
                ));
            }
        }
        Ok(())
    }
}
