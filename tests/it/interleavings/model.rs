//! What must become of one record: the rules of `docs/channels.md` and `docs/protocol.md` once more, in their smallest form.

use super::Op;

/// A channel of the project: where its records live, and who wins where one side deleted what the other changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Channel {
    pub(super) name: &'static str,
    pub(super) is_managed: bool,
    pub(super) update_wins: bool,
    /// Whether the second field is a number to which devices add; else the device's value wins there.
    pub(super) adds: bool,
}

impl Channel {
    pub(super) const ALL: [Self; 5] = [
        Self { name: "ours_kept", is_managed: true, update_wins: true, adds: false },
        Self { name: "ours_gone", is_managed: true, update_wins: false, adds: true },
        Self { name: "ours_added", is_managed: true, update_wins: true, adds: true },
        Self { name: "theirs_kept", is_managed: false, update_wins: true, adds: true },
        Self { name: "theirs_gone", is_managed: false, update_wins: false, adds: false },
    ];
}

/// A record's values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// `server_wins`
    pub(super) a: String,
    /// `client_wins`
    pub(super) b: String,
    /// `sum`
    pub(super) n: i64,
}

/// What a device will send: the record before and after.
#[derive(Clone, Debug)]
struct Change {
    before: Option<Row>,
    after: Option<Row>,
}

#[derive(Clone, Debug, Default)]
struct Phone {
    /// What the app shows.
    view: Option<Row>,
    unsent: Vec<Change>,
    /// Outcome and code of each receipt that it must have in the end.
    receipts: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) channel: Channel,
    pub(super) backend: Option<Row>,
    /// Which device left the value of `a`, `b` and `n` there.
    writers: [Option<usize>; 3],
    phones: [Phone; 2],
}

impl Record {
    /// Nobody has made it yet.
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, backend: None, writers: [None; 3], phones: Default::default() }
    }

    /// The first device made it, and both hold it.
    pub(super) fn shared(channel: Channel) -> Self {
        let mut record = Self::new(channel);
        for op in [Op::Create(0), Op::Sync(0), Op::Sync(1)] {
            record.perform(op, FIRST);
        }
        record
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.backend.is_none() && self.phones.iter().all(|phone| phone.view.is_none() && phone.receipts.is_empty())
    }

    pub(super) fn receipts(&self, device: usize) -> &[(&'static str, &'static str)] {
        &self.phones[device].receipts
    }

    /// What can be done now that changes something.
    pub(super) fn choices(&self) -> Vec<Op> {
        let mut choices = Vec::new();
        for (device, phone) in self.phones.iter().enumerate() {
            match phone.view {
                None => choices.push(Op::Create(device)),
                Some(_) => choices.extend([Op::ChangeA(device), Op::ChangeB(device), Op::Delete(device)]),
            }
        }
        if !self.channel.is_managed && self.backend.is_some() {
            choices.extend([Op::EditedBehind, Op::DeletedBehind]);
        }
        choices
    }

    pub(super) fn perform(&mut self, op: Op, place: usize) {
        match op {
            Op::Create(device) => self.write(device, |_| Some(made(place, device))),
            Op::ChangeA(device) => self.write(device, |row| row.map(|row| Row { a: word(place, device), ..row })),
            Op::ChangeB(device) if self.channel.adds => {
                self.write(device, |row| row.map(|row| Row { n: row.n + 1, ..row }));
            }
            Op::ChangeB(device) => self.write(device, |row| row.map(|row| Row { b: word(place, device), ..row })),
            Op::Delete(device) => self.write(device, |_| None),
            Op::ReplyLost(device) => self.is_heard(device),
            Op::Sync(device) => {
                self.is_heard(device);
                self.phones[device].view = self.backend.clone();
            }
            Op::EditedBehind => {
                self.backend.as_mut().expect("an edit has a row").a = word(place, BEHIND);
                self.writers[0] = None;
            }
            Op::DeletedBehind => self.backend = None,
        }
    }

    /// The app writes; what was not sent yet becomes one change, as far as it can.
    fn write(&mut self, device: usize, change: impl FnOnce(Option<Row>) -> Option<Row>) {
        let phone = &mut self.phones[device];
        let before = phone.view.clone();
        phone.view = change(before.clone());
        let after = phone.view.clone();
        match phone.unsent.last_mut().filter(|last| last.after.is_some()) {
            Some(last) if last.before.is_none() && after.is_none() => drop(phone.unsent.pop()),
            Some(last) => last.after = after,
            None => phone.unsent.push(Change { before, after }),
        }
    }

    /// The server does what a device has to say.
    fn is_heard(&mut self, device: usize) {
        for change in std::mem::take(&mut self.phones[device].unsent) {
            let receipt = match (change.before, change.after) {
                (None, Some(new)) => self.create(device, new),
                (Some(old), Some(new)) => self.update(device, &old, new),
                (Some(old), None) => self.delete(device, &old),
                (None, None) => unreachable!("nothing was written"),
            };
            self.phones[device].receipts.push(receipt);
        }
    }

    fn create(&mut self, device: usize, new: Row) -> (&'static str, &'static str) {
        if self.backend.is_some() {
            return ("rejected", "exists");
        }
        self.backend = Some(new);
        self.writers = [Some(device); 3];
        ("applied", "")
    }

    fn update(&mut self, device: usize, old: &Row, new: Row) -> (&'static str, &'static str) {
        let Some(now) = &mut self.backend else { return ("conflict", "gone") };
        let (mut conflict, mut merged) = (false, false);
        let has_moved = |is_other: bool, writer: Option<usize>| is_other && writer != Some(device);
        if new.a != old.a {
            if has_moved(now.a != old.a, self.writers[0]) {
                conflict = true;
            } else {
                (now.a, self.writers[0]) = (new.a, Some(device));
            }
        }
        if new.b != old.b {
            conflict |= has_moved(now.b != old.b, self.writers[1]);
            (now.b, self.writers[1]) = (new.b, Some(device));
        }
        if new.n != old.n {
            let sum = now.n + new.n - old.n;
            merged = sum != new.n;
            // What others' differences went into, the device has not seen.
            (now.n, self.writers[2]) = (sum, (!merged).then_some(device));
        }
        (
            if conflict {
                "conflict"
            } else if merged {
                "merged"
            } else {
                "applied"
            },
            "",
        )
    }

    fn delete(&mut self, device: usize, old: &Row) -> (&'static str, &'static str) {
        let Some(now) = &self.backend else { return ("applied", "") };
        let others = [now.a != old.a, now.b != old.b, now.n != old.n];
        let has_moved = others.into_iter().zip(self.writers).any(|(other, writer)| other && writer != Some(device));
        if has_moved && self.channel.update_wins {
            return ("conflict", "updated");
        }
        self.backend = None;
        ("applied", "")
    }
}

/// The place of what happens before a sequence begins.
pub(super) const FIRST: usize = 99;

/// Who edits behind our back.
pub(super) const BEHIND: usize = 2;

/// A new value: of this place of the sequence, by this device.
pub(super) fn word(place: usize, who: usize) -> String {
    format!("{place} by {who}")
}

/// A new record's values.
pub(super) fn made(place: usize, device: usize) -> Row {
    Row { a: word(place, device), b: word(place, device), n: 10 * (device as i64 + 1) }
}
