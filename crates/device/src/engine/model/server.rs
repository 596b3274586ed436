//! The model of a server: what it keeps and answers, without any of a server's ways of keeping it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use omctl_protocol::frame::{Accepted, Commit, GainedScope, Hello, Scopes, Slices};
use omctl_protocol::hash::slice_of;
use omctl_protocol::{
    Down, Epoch, Incarnation, Mutation, MutationId, Operation, Outcome, Position, Receipt, RowHash, ScopeKey, ScopeSum,
    Seq, SliceSums, SumsDigest, Up,
};
use uuid::Uuid;

use crate::store::is_rows;
use crate::store::tests::{hash, note, notes, rows_line, welcome};

#[derive(Clone, Default)]
pub(super) struct Record {
    title: Option<String>,
    scopes: BTreeSet<&'static str>,
    /// When it left a scope, or was deleted in it.
    left: BTreeMap<&'static str, u64>,
    position: u64,
}

/// What a server keeps.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) epoch: u128,
    /// Where each earlier epoch parted from what is now true, if it did.
    pub(super) partings: BTreeMap<u128, u64>,
    /// A copy of everything, to be set back to.
    pub(super) backup: Option<Box<Server>>,
    /// Cursors before this position are behind tombstones that are gone.
    pub(super) expired: u64,
    /// Whether the next commit is the first one of a session.
    pub(super) first_commit: bool,
    /// Rows that were sent.
    pub(super) rows_sent: usize,
    pub(super) position: u64,
    pub(super) records: BTreeMap<String, Record>,
    pub(super) visible: BTreeSet<&'static str>,
    /// What the connected device was told, per scope.
    pub(super) cursors: BTreeMap<&'static str, u64>,
    /// Whether the device was welcomed on this connection.
    pub(super) live: bool,
    pub(super) incarnation: Option<Incarnation>,
    pub(super) accepted: Seq,
    /// With the incarnation in which it was last asked for.
    pub(super) receipts: BTreeMap<MutationId, (Incarnation, Receipt)>,
    pub(super) acked: Seq,
    pub(super) applied: u32,
    pub(super) down: VecDeque<String>,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            epoch: 1,
            partings: BTreeMap::new(),
            backup: None,
            expired: 0,
            first_commit: false,
            rows_sent: 0,
            position: 0,
            records: BTreeMap::new(),
            visible: BTreeSet::from(["s"]),
            cursors: BTreeMap::new(),
            live: false,
            incarnation: None,
            accepted: Seq(0),
            receipts: BTreeMap::new(),
            acked: Seq(0),
            applied: 0,
            down: VecDeque::new(),
        }
    }

    pub(super) fn change(&mut self, id: &str, title: Option<String>) {
        self.position += 1;
        let record = self.records.entry(id.to_owned()).or_default();
        if title.is_none() {
            for scope in std::mem::take(&mut record.scopes) {
                record.left.insert(scope, self.position);
            }
        } else if record.title.is_none() {
            record.scopes.insert("s");
        }
        record.title = title;
        record.position = self.position;
    }

    pub(super) fn move_to(&mut self, id: &str, scope: &'static str) {
        let Some(record) = self.records.get_mut(id).filter(|record| record.title.is_some()) else { return };
        self.position += 1;
        for old in std::mem::replace(&mut record.scopes, BTreeSet::from([scope])) {
            if old != scope {
                record.left.insert(old, self.position);
            }
        }
        record.position = self.position;
    }

    pub(super) fn hear(&mut self, up: Up) {
        match up {
            Up::Hello(hello) => self.hello(&hello),
            Up::Mutate(mutate) => {
                mutate.mutations.iter().for_each(|mutation| self.settle(mutation));
                self.down.push_back(Down::Accepted(Accepted { seq: self.accepted }).to_line());
            }
            Up::Ack(ack) => self.acked = ack.seq,
            Up::Report(_) | Up::Bye(_) => {}
        }
    }

    fn settle(&mut self, mutation: &Mutation) {
        assert!(mutation.seq <= self.accepted.next(), "the device left a gap");
        if mutation.seq <= self.accepted {
            return;
        }
        self.accepted = mutation.seq;
        let incarnation = self.incarnation.unwrap();
        if let Some((of, receipt)) = self.receipts.get_mut(&mutation.id) {
            *of = incarnation;
            receipt.seq = mutation.seq;
            return;
        }
        let id = mutation.record.as_str();
        let exists = self.records.get(id).is_some_and(|record| record.title.is_some());
        let outcome = match (mutation.op, exists) {
            (Operation::Create, true) | (Operation::Update | Operation::Delete, false) => Outcome::Rejected,
            _ => Outcome::Applied,
        };
        let applied = outcome == Outcome::Applied;
        if applied {
            self.applied += 1;
            let title = mutation.new.get("title").and_then(|title| title.as_str());
            self.change(id, title.map(str::to_owned).filter(|_| mutation.op != Operation::Delete));
        }
        let receipt = Receipt {
            seq: mutation.seq,
            id: mutation.id,
            outcome,
            code: None,
            message: None,
            field: None,
            position: applied.then_some(Position(self.position)),
        };
        self.receipts.insert(mutation.id, (incarnation, receipt));
    }

    /// Sets everything back to the copy. What devices know of the time since is of another history.
    pub(super) fn restore(&mut self) {
        let Some(backup) = self.backup.clone() else { return };
        let mut partings = std::mem::take(&mut self.partings);
        for epoch in 1..=self.epoch {
            let parting = partings.entry(epoch).or_insert(backup.position);
            *parting = backup.position.min(*parting);
        }
        let (epoch, visible) = (self.epoch + 1, std::mem::take(&mut self.visible));
        let backup_again = Some(backup.clone());
        *self = Self { epoch, visible, partings, backup: backup_again, down: VecDeque::new(), ..*backup };
    }

    fn digest(&self) -> String {
        format!("{:?}", self.visible)
    }

    fn hello(&mut self, hello: &Hello) {
        self.live = false;
        let mut answer = welcome();
        answer.epoch = Epoch(Uuid::from_u128(self.epoch));
        if self.incarnation != Some(hello.incarnation) {
            self.incarnation = Some(hello.incarnation);
            (self.accepted, self.acked) = (Seq(0), Seq(0));
        }
        answer.accepted = self.accepted;
        let held = hello.scopes.list.iter().flatten();
        let oldest = held.filter(|(key, _)| !hello.scopes.slices.contains_key(key)).map(|(_, own)| own);
        let oldest = oldest.map(|own| own.unwrap_or(hello.position).0).min();
        let oldest = oldest.or(hello.scopes.digest.as_ref().map(|_| hello.position.0));
        let parted = hello.epoch.is_some_and(|epoch| epoch != answer.epoch);
        if parted || oldest.is_some_and(|oldest| oldest < self.expired) {
            answer.reset = true;
            let epoch = hello.epoch.unwrap().0.as_u128();
            answer.kept = self.partings.get(&epoch).copied().map(Position);
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        if hello.last_seq < self.accepted {
            answer.renew = true;
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        if hello.scopes.digest.as_ref().is_some_and(|digest| *digest != self.digest()) {
            answer.list_scopes = true;
            return self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        }
        (self.live, self.first_commit) = (true, true);
        self.down.push_back(Down::Welcome(Box::new(answer)).to_line());
        if !hello.schemas.contains_key("notes") {
            self.down.push_back(Down::Schema(Box::new(notes())).to_line());
        }
        self.cursors.clear();
        let (mut lost, mut doubtful) = (Vec::new(), Vec::new());
        for (key, own) in hello.scopes.list.iter().flatten() {
            let Some(scope) = self.visible.iter().copied().find(|scope| *scope == key.as_str()) else {
                lost.push(key.clone());
                continue;
            };
            self.cursors.insert(scope, own.unwrap_or(hello.position).0);
            if let Some(theirs) = hello.scopes.slices.get(key) {
                doubtful.push((scope, theirs));
            }
        }
        if hello.scopes.digest.is_some() {
            self.cursors = self.visible.iter().map(|scope| (*scope, hello.position.0)).collect();
        }
        self.tell_scopes(lost);
        for (scope, theirs) in doubtful {
            self.reconcile(scope, theirs);
        }
        self.flush();
    }

    /// Sends the slices of a scope that differ.
    fn reconcile(&mut self, scope: &'static str, theirs: &SliceSums) {
        let mut ours = SliceSums::default();
        for (id, record) in self.records.iter().filter(|(_, record)| record.scopes.contains(scope)) {
            ours.add(id, hash("notes", id, &note(record.title.as_ref().unwrap())));
        }
        let frame = Slices {
            scope: scope.into(),
            channel: "notes".into(),
            position: Position(self.position),
            slices: ours.differing(theirs),
        };
        for (id, record) in self.records.iter().filter(|(id, _)| frame.slices.contains(&slice_of(id))) {
            // What is in them comes whole, in frames of one row, so that a cut may fall between any two.
            if record.scopes.contains(scope) {
                let row = (id.as_str(), Some(note(record.title.as_ref().unwrap())));
                self.down.push_back(rows_line(scope, "notes", record.position, None, &[row]));
                self.rows_sent += 1;
            }
        }
        let at = self.down.len() - self.down.iter().rev().take_while(|line| is_rows(line)).count();
        self.down.insert(at, Down::Slices(frame).to_line());
        self.cursors.insert(scope, self.position);
    }

    fn sum(&self, scope: &str) -> ScopeSum {
        let held = self.records.iter().filter(|(_, record)| record.scopes.contains(scope));
        held.fold(ScopeSum::default(), |sum, (id, record)| {
            sum.plus(hash("notes", id, &note(record.title.as_ref().unwrap())))
        })
    }

    pub(super) fn tell_scopes(&mut self, lost: Vec<ScopeKey>) {
        let new: Vec<_> = self.visible.iter().filter(|scope| !self.cursors.contains_key(*scope)).copied().collect();
        let gained = new.iter().map(|scope| GainedScope { scope: (*scope).into(), channel: "notes".into() }).collect();
        self.cursors.extend(new.iter().map(|scope| (*scope, 0)));
        self.down.push_back(Down::Scopes(Scopes { gained, lost, digest: self.digest() }).to_line());
    }

    /// Sends what changed since the cursors, one frame a record, and a commit.
    pub(super) fn flush(&mut self) {
        let now = self.position;
        for (scope, cursor) in self.cursors.clone() {
            let sum = self.sum(scope);
            let mut changes: Vec<(u64, String)> = Vec::new();
            for (id, record) in &self.records {
                let at = if record.scopes.contains(scope) {
                    record.position
                } else {
                    record.left.get(scope).copied().unwrap_or(0)
                };
                if at <= cursor {
                    continue;
                }
                changes.push((
                    at,
                    match &record.title {
                        Some(title) if record.scopes.contains(scope) => {
                            rows_line(scope, "notes", at, None, &[(id, Some(note(title)))])
                        }
                        Some(_) => format!(
                            r#"{{"leave":{{"scope":"{scope}","channel":"notes","position":{at},"ids":["{id}"]}}}}"#
                        ),
                        None => rows_line(scope, "notes", at, None, &[(id, None)]),
                    },
                ));
            }
            changes.sort();
            self.rows_sent += changes.len();
            self.down.extend(changes.into_iter().map(|(_, line)| line));
            self.down.push_back(rows_line(scope, "notes", now, Some(RowHash(sum.0)), &[]));
            self.cursors.insert(scope, now);
        }
        let (acked, incarnation) = (self.acked, self.incarnation.unwrap());
        let known = self.receipts.values().filter(|(of, receipt)| *of == incarnation && receipt.seq > acked);
        let mut receipts: Vec<_> = known.map(|(_, receipt)| receipt.clone()).collect();
        receipts.sort_by_key(|receipt| receipt.seq);
        let held: Vec<_> = self.cursors.keys().map(|scope| (ScopeKey::from(*scope), self.sum(scope))).collect();
        let sums = SumsDigest::of(held.iter().map(|(key, sum)| (key, *sum)));
        let sums = std::mem::take(&mut self.first_commit).then_some(sums);
        self.down.push_back(Down::Commit(Commit { position: Position(now), receipts, sums }).to_line());
    }

    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let seen = self.records.iter().filter(|(_, record)| !record.scopes.is_disjoint(&self.visible));
        seen.map(|(id, record)| (id.clone(), record.title.clone().unwrap())).collect()
    }
}
