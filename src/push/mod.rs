//! The one dispatcher of commits to live sessions.
//!
//! The store publishes each commit once. [`Push`] encodes what it changed once per scope and hands the same bytes to the
//! mailboxes of the sessions that are registered under that scope, and of no others: the cost of a change does not
//! depend on devices that do not see it.
//!
//! *Invariant:* a mailbox is bounded. A session that does not keep up loses its queue, not its place: it reads the log
//! again from its cursor ([`Mail::Lagged`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;
use omctl_protocol::{Position, Receipt};
use tokio::sync::Notify;

use crate::limits;
pub use crate::store::feed::Notice;
use crate::store::feed::{Committed, encode_frames};
use crate::store::{AccountNo, CommitFeed, DeviceNo, IncarnationNo, LinkKey, ScopeNo};
use crate::tasks::Tasks;

/// The room. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Push {
    index: Arc<Mutex<Index>>,
}

/// Who is to be told of what.
#[derive(Debug, Default)]
struct Index {
    next: u64,
    /// In the order of their beginning, in which all of them are told something.
    sessions: BTreeMap<u64, Session>,
    by_scope: HashMap<ScopeNo, Vec<u64>>,
    by_device: HashMap<DeviceNo, Vec<u64>>,
    by_account: HashMap<AccountNo, Vec<u64>>,
    by_link: HashMap<LinkKey, Vec<u64>>,
}

#[derive(Debug)]
struct Session {
    device: DeviceNo,
    incarnation: IncarnationNo,
    account: AccountNo,
    scopes: Vec<ScopeNo>,
    links: Vec<LinkKey>,
    queue: Arc<Queue>,
}

/// One encoded frame, shared by every session that may see it.
#[derive(Debug)]
pub struct Frame {
    /// The line, without a line feed.
    pub plain: Bytes,
    zstd: OnceLock<Option<Bytes>>,
}

/// Something for one session.
#[derive(Debug)]
pub enum Mail {
    /// A commit of the store that concerns it.
    Commit {
        /// The log's newest position after it.
        last: Position,
        /// The changes of its scopes.
        frames: Vec<Arc<Frame>>,
        /// Its own receipts.
        receipts: Vec<Receipt>,
    },
    /// It did not keep up: these receipts are its own, and the changes must be read from the log.
    Lagged {
        /// Its own receipts.
        receipts: Vec<Receipt>,
    },
    /// What its account may see may have changed.
    Rights,
    /// Its device may be out of service, or has a newer session.
    Fence,
}

/// Where one session's mail arrives. Dropping it ends the registration.
#[derive(Debug)]
pub struct Mailbox {
    number: u64,
    index: Weak<Mutex<Index>>,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    inside: Mutex<Inside>,
    arrived: Notify,
    /// Wakes whoever waits for the end alone.
    fenced: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    mail: VecDeque<Mail>,
    bytes: usize,
    lagged: Option<Vec<Receipt>>,
    rights: bool,
    fence: bool,
}

impl Push {
    /// Nobody is registered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands out every commit from now on.
    pub fn start(&self, mut feed: CommitFeed, tasks: &Tasks) {
        let push = self.clone();
        tasks.start("dispatch", async move {
            while let Some(committed) = feed.recv().await {
                push.dispatch(&committed);
            }
        });
    }

    /// Registers a session for its receipts and for what concerns its device and account. [`Mailbox::watch`] says what
    /// else it wants to hear of.
    pub fn register(&self, device: DeviceNo, account: AccountNo, incarnation: IncarnationNo) -> Mailbox {
        let queue = Arc::new(Queue::default());
        let mut index = self.index.lock().expect("nobody panics while dispatching");
        index.next += 1;
        let number = index.next;
        index.by_device.entry(device).or_default().push(number);
        index.by_account.entry(account).or_default().push(number);
        let (scopes, links) = (Vec::new(), Vec::new());
        let session = Session { device, incarnation, account, scopes, links, queue: queue.clone() };
        index.sessions.insert(number, session);
        Mailbox { number, index: Arc::downgrade(&self.index), queue }
    }

    /// Lets every session look again at what its account may see, and at the fields of its channels: definitions changed.
    pub fn definitions_changed(&self) {
        let index = self.index.lock().expect("nobody panics while dispatching");
        index.sessions.values().for_each(|session| session.queue.put_rights());
    }

    /// How many sessions are live.
    pub fn sessions(&self) -> usize {
        self.index.lock().expect("nobody panics while dispatching").sessions.len()
    }

    /// Whether a session of this device is live.
    pub fn is_connected(&self, device: DeviceNo) -> bool {
        self.index.lock().expect("nobody panics while dispatching").by_device.contains_key(&device)
    }

    fn dispatch(&self, committed: &Committed) {
        let index = self.index.lock().expect("nobody panics while dispatching");
        // Rights before rows: whoever lost something by this very commit is shown nothing of it.
        let queues = |numbers: Option<&Vec<u64>>| -> Vec<Arc<Queue>> {
            let sessions = numbers.into_iter().flatten().filter_map(|number| index.sessions.get(number));
            sessions.map(|session| session.queue.clone()).collect()
        };
        for notice in &committed.notices {
            match notice {
                Notice::Account(account) => queues(index.by_account.get(account)).iter().for_each(|q| q.put_rights()),
                Notice::Everyone => index.sessions.values().for_each(|session| session.queue.put_rights()),
                Notice::Device(device) => queues(index.by_device.get(device)).iter().for_each(|q| q.put_fence()),
            }
        }
        for link in &committed.links {
            queues(index.by_link.get(link)).iter().for_each(|queue| queue.put_rights());
        }
        let mut mail: BTreeMap<u64, (Vec<Arc<Frame>>, Vec<Receipt>)> = BTreeMap::new();
        for (number, touched) in &committed.touched {
            let Some(sessions) = index.by_scope.get(number).filter(|sessions| !sessions.is_empty()) else { continue };
            let frames: Vec<Arc<Frame>> =
                encode_frames(&touched.key, &touched.channel, &touched.changes, committed.last, Some(touched.sum))
                    .into_iter()
                    .map(|line| Arc::new(Frame::new(line)))
                    .collect();
            for session in sessions {
                mail.entry(*session).or_default().0.extend(frames.iter().cloned());
            }
        }
        for (device, incarnation, receipts) in &committed.receipts {
            for session in index.by_device.get(device).into_iter().flatten() {
                if index.sessions.get(session).is_some_and(|session| session.incarnation == *incarnation) {
                    mail.entry(*session).or_default().1.extend(receipts.iter().cloned());
                }
            }
        }
        for (session, (frames, receipts)) in mail {
            if let Some(session) = index.sessions.get(&session) {
                session.queue.put(committed.last, frames, receipts);
            }
        }
    }
}

impl Index {
    /// Takes a session out of the lists of its scopes and links.
    fn unwatch(&mut self, number: u64, scopes: &[ScopeNo], links: &[LinkKey]) {
        scopes.iter().for_each(|scope| take_out(&mut self.by_scope, scope, number));
        links.iter().for_each(|link| take_out(&mut self.by_link, link, number));
    }
}

fn take_out<K: std::hash::Hash + Eq>(lists: &mut HashMap<K, Vec<u64>>, key: &K, number: u64) {
    if let Some(sessions) = lists.get_mut(key) {
        sessions.retain(|other| *other != number);
        if sessions.is_empty() {
            lists.remove(key);
        }
    }
}

impl Frame {
    fn new(line: Vec<u8>) -> Self {
        Self { plain: Bytes::from(line), zstd: OnceLock::new() }
    }

    /// The line compressed, where that is worth it; done once for everybody.
    pub fn compressed(&self) -> Option<Bytes> {
        self.zstd.get_or_init(|| compress(&self.plain)).clone()
    }
}

/// Compresses one frame by zstd, where that is worth it.
pub fn compress(line: &Bytes) -> Option<Bytes> {
    if line.len() < limits::COMPRESS_FROM_BYTES {
        return None;
    }
    // Level 1: on the path of every change, and rows of one channel resemble each other enough.
    zstd::bulk::compress(line, 1).ok().filter(|packed| packed.len() < line.len()).map(Bytes::from)
}

impl Queue {
    fn put(&self, last: Position, frames: Vec<Arc<Frame>>, receipts: Vec<Receipt>) {
        let mut inside = self.inside.lock().expect("nobody panics while queueing");
        if let Some(waiting) = &mut inside.lagged {
            waiting.extend(receipts);
        } else {
            inside.bytes += frames.iter().map(|frame| frame.plain.len()).sum::<usize>();
            inside.mail.push_back(Mail::Commit { last, frames, receipts });
            if inside.bytes > limits::SESSION_QUEUE_BYTES_MAX {
                let mut kept = Vec::new();
                for mail in inside.mail.drain(..) {
                    if let Mail::Commit { receipts, .. } = mail {
                        kept.extend(receipts);
                    }
                }
                inside.bytes = 0;
                inside.lagged = Some(kept);
            }
        }
        drop(inside);
        self.arrived.notify_one();
    }

    fn put_rights(&self) {
        self.inside.lock().expect("nobody panics while queueing").rights = true;
        self.arrived.notify_one();
    }

    fn put_fence(&self) {
        self.inside.lock().expect("nobody panics while queueing").fence = true;
        self.arrived.notify_one();
        self.fenced.notify_one();
    }

    fn take(&self) -> Option<Mail> {
        let mut inside = self.inside.lock().expect("nobody panics while queueing");
        // Before what waits: nothing may be passed on by rights that are no more.
        if std::mem::take(&mut inside.fence) {
            return Some(Mail::Fence);
        }
        if std::mem::take(&mut inside.rights) {
            return Some(Mail::Rights);
        }
        if let Some(receipts) = inside.lagged.take() {
            return Some(Mail::Lagged { receipts });
        }
        let mail = inside.mail.pop_front()?;
        if let Mail::Commit { frames, .. } = &mail {
            let bytes = frames.iter().map(|frame| frame.plain.len()).sum::<usize>();
            inside.bytes = inside.bytes.saturating_sub(bytes);
        }
        Some(mail)
    }
}

impl Mailbox {
    /// From now on, and instead of what was named before: changes of these scopes, and of what is found by these keys.
    pub fn watch(&self, scopes: Vec<ScopeNo>, links: Vec<LinkKey>) {
        let Some(index) = self.index.upgrade() else { return };
        let mut index = index.lock().expect("nobody panics while dispatching");
        let index = &mut *index;
        let Some(session) = index.sessions.get_mut(&self.number) else { return };
        let old = (
            std::mem::replace(&mut session.scopes, scopes.clone()),
            std::mem::replace(&mut session.links, links.clone()),
        );
        index.unwatch(self.number, &old.0, &old.1);
        for scope in scopes {
            index.by_scope.entry(scope).or_default().push(self.number);
        }
        for link in links {
            index.by_link.entry(link).or_default().push(self.number);
        }
    }

    /// The next mail. Cancel-safe: nothing is taken before it is returned.
    pub async fn next(&self) -> Mail {
        loop {
            let arrived = self.queue.arrived.notified();
            if let Some(mail) = self.queue.take() {
                return mail;
            }
            arrived.await;
        }
    }

    /// Returns once the queue is full: what is in it is given up and must be read from the log. Cancel-safe.
    pub async fn full(&self) {
        loop {
            let arrived = self.queue.arrived.notified();
            if self.queue.inside.lock().expect("nobody panics while queueing").lagged.is_some() {
                return;
            }
            arrived.await;
        }
    }

    /// Returns once [`Mail::Fence`] waits. Cancel-safe, and takes nothing.
    pub async fn fenced(&self) {
        loop {
            let fenced = self.queue.fenced.notified();
            if self.queue.inside.lock().expect("nobody panics while queueing").fence {
                return;
            }
            fenced.await;
        }
    }

    /// The next mail, if there is one now.
    pub fn try_next(&self) -> Option<Mail> {
        self.queue.take()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let Some(index) = self.index.upgrade() else { return };
        let Ok(mut index) = index.lock() else { return };
        let Some(session) = index.sessions.remove(&self.number) else { return };
        index.unwatch(self.number, &session.scopes, &session.links);
        take_out(&mut index.by_device, &session.device, self.number);
        take_out(&mut index.by_account, &session.account, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::feed::{Change, LogRow, Touched};
    use omctl_protocol::{Life, SchemaVersion};

    fn committed(position: u64, scope: u64, body: &str) -> Committed {
        let row = LogRow {
            position: Position(position),
            id: "r".into(),
            life: Life(1),
            version: SchemaVersion(1),
            body: Some(body.into()),
            hash: Some(omctl_protocol::RowHash(1)),
        };
        let touched = Touched {
            key: "s".into(),
            channel: "c".into(),
            sum: Default::default(),
            changes: vec![Change::Row(Arc::new(row))],
        };
        Committed { last: Position(position), touched: [(ScopeNo(scope), touched)].into(), ..Committed::default() }
    }

    #[test]
    fn only_sessions_of_a_scope_hear_of_it_and_share_the_bytes() {
        let push = Push::new();
        let session = |device, scope| {
            let mailbox = push.register(DeviceNo(device), AccountNo(1), IncarnationNo(1));
            mailbox.watch(vec![ScopeNo(scope)], Vec::new());
            mailbox
        };
        let (a, b, other) = (session(1, 7), session(2, 7), session(3, 8));
        push.dispatch(&committed(1, 7, "[]"));
        let frame = |mailbox: &Mailbox| match mailbox.try_next() {
            Some(Mail::Commit { frames, .. }) => frames[0].plain.as_ptr(),
            mail => panic!("{mail:?}"),
        };
        assert_eq!(frame(&a), frame(&b));
        assert!(other.try_next().is_none());
        drop(a);
        assert_eq!(push.sessions(), 2);
    }

    #[test]
    fn a_session_that_does_not_keep_up_is_told_to_read_the_log() {
        let push = Push::new();
        let slow = push.register(DeviceNo(1), AccountNo(1), IncarnationNo(1));
        slow.watch(vec![ScopeNo(7)], Vec::new());
        let body = format!("[\"{}\"]", "x".repeat(limits::SESSION_QUEUE_BYTES_MAX / 2));
        for position in 1..5 {
            push.dispatch(&committed(position, 7, &body));
        }
        assert!(matches!(slow.try_next(), Some(Mail::Lagged { .. })));
        push.dispatch(&committed(9, 7, "[]"));
        assert!(matches!(slow.try_next(), Some(Mail::Commit { last: Position(9), .. })));
    }
    #[test]
    fn changed_rights_come_before_what_waits() {
        let push = Push::new();
        let mailbox = push.register(DeviceNo(1), AccountNo(1), IncarnationNo(1));
        let link = LinkKey::of("ana");
        mailbox.watch(vec![ScopeNo(7)], vec![link]);
        push.dispatch(&committed(1, 7, "[]"));
        push.dispatch(&Committed { links: [link].into(), ..Committed::default() });
        assert!(matches!(mailbox.try_next(), Some(Mail::Rights)));
        assert!(matches!(mailbox.try_next(), Some(Mail::Commit { .. })));
        mailbox.watch(Vec::new(), Vec::new());
        push.dispatch(&Committed { links: [link].into(), ..Committed::default() });
        push.dispatch(&committed(2, 7, "[]"));
        assert!(mailbox.try_next().is_none());
        push.dispatch(&Committed { notices: vec![Notice::Account(AccountNo(1))], ..Committed::default() });
        assert!(matches!(mailbox.try_next(), Some(Mail::Rights)));
    }
}
