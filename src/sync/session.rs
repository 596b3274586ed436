//! One device's conversation, without its transport: hello, catching up, live changes, receipts.
//!
//! The driver (in `http`, or the simulator) feeds frames and deliveries in and sends the lines that come out. The order
//! that keeps promises 6 to 8: the session is registered for live changes first, then reads what it missed up to a
//! snapshot, then passes on only what is newer; receipts travel in a commit that shows their effects.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use omctl_protocol::frame::{Accepted, Commit, ErrorFrame, GainedScope, Hello, MUTATIONS_MAX, Scopes, Welcome};
use omctl_protocol::{ChannelName, Down, PROTOCOL, Position, Receipt, ScopeKey, Seq, Up};
use sha2::{Digest as _, Sha256};

use super::accept::{Taken, Under};
use super::settle::subject;
use super::{Sync, SyncError};
use crate::identity::Principal;
use crate::limits;
use crate::live::Live;
use crate::store::feed::encode_frames;
use crate::store::{ChannelNo, IncarnationNo, ScopeNo, StoreError};

/// What a session has to say, and whether it is over.
#[derive(Debug, Default)]
pub struct Step {
    /// Frames, one a line, without line feeds.
    pub lines: Vec<Bytes>,
    /// Whether the session ends after them.
    pub end: Option<SessionEnd>,
}

/// Why a session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The device said goodbye.
    Bye,
    /// A newer session of the device began, or the device may not act any more.
    Fenced,
    /// The device broke the protocol.
    Refused,
}

/// A session after its `hello`.
#[derive(Debug)]
pub struct Session {
    sync: Sync,
    who: Principal,
    incarnation: IncarnationNo,
    fence: u64,
    accepted: Seq,
    /// The scopes held, with the cursor of each; all at `position` once caught up.
    scopes: BTreeMap<ScopeNo, Held>,
    position: Position,
    /// Receipts that wait for the next commit.
    receipts: Vec<Receipt>,
    /// From where on the stored receipts are still to be read: after the session is registered for new ones.
    unacked: Option<Seq>,
    state: State,
}

#[derive(Clone, Debug)]
struct Held {
    key: ScopeKey,
    channel: ChannelName,
    cursor: Position,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The device must say hello again.
    Waiting,
    CatchingUp,
    Live,
}

impl std::fmt::Debug for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sync")
    }
}

impl Session {
    /// Answers a device's `hello`.
    ///
    /// # Errors
    /// Those of the store. A device that may not act gets a [`Step`] that ends the session.
    pub async fn begin(sync: &Sync, who: &Principal, hello: Hello) -> Result<(Self, Step), SyncError> {
        let mut session = Self {
            sync: sync.clone(),
            who: who.clone(),
            incarnation: IncarnationNo(0),
            fence: 0,
            accepted: Seq(0),
            scopes: BTreeMap::new(),
            position: Position(0),
            receipts: Vec::new(),
            unacked: None,
            state: State::Waiting,
        };
        let step = session.hello(hello).await?;
        Ok((session, step))
    }

    /// The device whose session this is, and the history it is in: where its receipts are addressed to.
    pub fn incarnation(&self) -> IncarnationNo {
        self.incarnation
    }

    /// The scopes to be told about.
    pub fn scopes(&self) -> Vec<ScopeNo> {
        self.scopes.keys().copied().collect()
    }

    /// Whether [`Session::catch_up`] has something to do.
    pub fn is_catching_up(&self) -> bool {
        self.state == State::CatchingUp
    }

    /// Whether the device must say hello again before anything else.
    pub fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// Keeps receipts for the next commit.
    pub fn keep_receipts(&mut self, receipts: Vec<Receipt>) {
        self.receipts.extend(receipts);
    }

    /// Whether this is still its device's newest session, and the device may act.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn holds_fence(&self) -> Result<bool, SyncError> {
        Ok(self.sync.inner.store.session_fence(self.who.device).await? == Some(self.fence))
    }

    /// Goes back to reading the log, because live changes were missed.
    pub fn fall_behind(&mut self) {
        if self.state == State::Live {
            self.state = State::CatchingUp;
        }
    }

    async fn hello(&mut self, hello: Hello) -> Result<Step, SyncError> {
        if hello.protocol != PROTOCOL {
            return Ok(refuse("protocol_version", format!("this server speaks protocol {PROTOCOL}")));
        }
        if hello.device != self.who.device_id {
            return Ok(refuse("wrong_device", "the token belongs to another device"));
        }
        let store = &self.sync.inner.store;
        let begun = match store.begin_session(self.who.device, hello.incarnation).await {
            Ok(begun) => begun,
            Err(StoreError::Fenced) => return Ok(fenced()),
            Err(error) => return Err(error.into()),
        };
        self.incarnation = begun.number;
        self.fence = begun.fence;
        self.accepted = begun.accepted;
        let own = hello.scopes.list.iter().flatten().filter_map(|(_, position)| *position);
        let newest = own.fold(hello.position, Position::max);
        let known = match (hello.epoch, hello.boot) {
            (Some(epoch), Some(boot)) => store.knows_cursor(epoch, boot, newest).await?,
            // A device that never committed anything has no cursor to doubt.
            _ => hello.position == Position(0) && hello.scopes.list.as_ref().is_none_or(Vec::is_empty),
        };
        let reset = !known;
        let live = self.sync.inner.live.current();
        let granted = self.granted(&live);
        let digest = digest_of(granted.iter().map(|(key, _)| key));
        let renew = hello.last_seq < begun.accepted;
        let held: Option<BTreeMap<ScopeKey, Position>> = match (&hello.scopes.list, &hello.scopes.digest) {
            _ if reset => Some(BTreeMap::new()),
            (Some(list), _) => {
                Some(list.iter().map(|(key, own)| (key.clone(), own.unwrap_or(hello.position))).collect())
            }
            (None, Some(theirs)) if *theirs == digest => {
                Some(granted.iter().map(|(key, _)| (key.clone(), hello.position)).collect())
            }
            (None, Some(_)) => None,
            (None, None) => Some(BTreeMap::new()),
        };
        let boot = store.boot();
        let welcome = Welcome {
            protocol: PROTOCOL,
            epoch: boot.epoch,
            boot: boot.id,
            position: store.newest_position().await?,
            accepted: begun.accepted,
            renew,
            reset,
            kept: None,
            list_scopes: held.is_none(),
        };
        let mut step = Step::default();
        step.say(&Down::Welcome(Box::new(welcome)));
        let Some(held) = held.filter(|_| !renew) else { return Ok(step) };
        self.name_schemas(&live, &hello, &mut step);
        let numbers = store
            .scope_numbers(granted.iter().map(|(key, channel)| (ChannelNo(channel.0), key.clone())).collect())
            .await?;
        let mut scopes = Scopes { digest: digest.clone(), ..Scopes::default() };
        for ((key, (_, channel)), number) in granted.iter().zip(numbers) {
            let cursor = held.get(key).copied();
            if cursor.is_none() {
                scopes.gained.push(GainedScope { scope: key.clone(), channel: channel.clone() });
            }
            let cursor = cursor.unwrap_or_default();
            self.scopes.insert(number, Held { key: key.clone(), channel: channel.clone(), cursor });
        }
        // A scope that the device names and that is not granted is lost, whether it ever existed or not.
        let is_granted = |key: &ScopeKey| granted.iter().any(|(granted, _)| granted == key);
        scopes.lost = held.keys().filter(|key| !is_granted(key)).cloned().collect();
        if !scopes.gained.is_empty() || !scopes.lost.is_empty() || hello.scopes.digest.as_ref() != Some(&digest) {
            step.say(&Down::Scopes(scopes));
        }
        self.unacked = Some(begun.acked);
        self.state = State::CatchingUp;
        Ok(step)
    }

    /// The scope keys of the account, with their channels.
    fn granted(&self, live: &Live) -> Vec<(ScopeKey, (u64, ChannelName))> {
        let subject = subject(&self.who);
        let mut granted = Vec::new();
        for channel in live.channels.values() {
            let keys = channel.rule.keys_for(channel.name(), channel.epoch, &subject);
            granted.extend(keys.into_iter().map(|key| (key, (channel.number, channel.name().clone()))));
        }
        if granted.len() > limits::SCOPES_PER_ACCOUNT_MAX {
            tracing::warn!(
                account = %self.who.account_id, scopes = granted.len(),
                "an account may see more scopes than a session carries; the last ones are left out"
            );
            granted.truncate(limits::SCOPES_PER_ACCOUNT_MAX);
        }
        granted.sort();
        granted
    }

    fn name_schemas(&self, live: &Live, hello: &Hello, step: &mut Step) {
        for channel in live.channels.values().filter(|channel| !channel.rule.is_nobody()) {
            if hello.schemas.get(channel.name()) == Some(&channel.schema.version) {
                continue;
            }
            // Rows of earlier versions are still in the log: a device that never saw them must be able to read them.
            for (version, schema) in &channel.versions {
                if hello.schemas.get(channel.name()).is_none_or(|known| version > known) {
                    step.say(&Down::Schema(Box::new((**schema).clone())));
                }
            }
        }
    }

    /// Reads the next piece of what the device missed; the last piece ends with a commit.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn catch_up(&mut self) -> Result<Step, SyncError> {
        const PIECE_BYTES: usize = 4 << 20;
        if let Some(acked) = self.unacked.take() {
            let stored = self.sync.inner.store.receipts_after(self.incarnation, acked).await?;
            self.receipts.extend(stored);
        }
        let cursors = self.scopes.iter().map(|(number, held)| (*number, held.cursor)).collect();
        let found = self.sync.inner.store.catch_up(cursors, PIECE_BYTES).await?;
        let mut step = Step::default();
        for rows in found.scopes {
            let Some(held) = self.scopes.get_mut(&rows.scope) else { continue };
            held.cursor = rows.position;
            if rows.changes.is_empty() {
                continue;
            }
            let frames = encode_frames(&held.key, &held.channel, &rows.changes, rows.position, rows.sum);
            step.lines.extend(frames.into_iter().map(Bytes::from));
        }
        if found.complete {
            self.position = found.head;
            for held in self.scopes.values_mut() {
                held.cursor = found.head;
            }
            self.state = State::Live;
            self.commit(&mut step);
        }
        Ok(step)
    }

    /// Passes on one commit of the store: `frames` tells whether it touched any scope of this session. Returns the line
    /// that makes the frames before it visible, or `None` where they are older than what was caught up with and must
    /// not be sent.
    pub fn live(&mut self, last: Position, receipts: Vec<Receipt>, frames: bool) -> Passed {
        self.receipts.extend(receipts);
        if self.state != State::Live {
            return Passed { send_frames: false, commit: None };
        }
        let newer = last > self.position;
        if newer {
            self.position = last;
            for held in self.scopes.values_mut() {
                held.cursor = last;
            }
        }
        if (newer && frames) || !self.receipts.is_empty() {
            let mut step = Step::default();
            self.commit(&mut step);
            return Passed { send_frames: newer && frames, commit: step.lines.pop() };
        }
        Passed { send_frames: false, commit: None }
    }

    fn commit(&mut self, step: &mut Step) {
        let mut receipts = std::mem::take(&mut self.receipts);
        // One that was settled while the session caught up was both delivered and read from the store.
        receipts.sort_by_key(|receipt| receipt.seq);
        receipts.dedup_by_key(|receipt| receipt.seq);
        step.say(&Down::Commit(Commit { position: self.position, receipts, sums: None }));
    }

    /// Answers a frame after `hello`.
    ///
    /// # Errors
    /// Those of the store and of settling at once.
    pub async fn on_frame(&mut self, frame: Up) -> Result<Step, SyncError> {
        match frame {
            // Also in mid-session: a device whose sum of a scope does not match says hello without that scope.
            Up::Hello(hello) => {
                self.state = State::Waiting;
                self.scopes.clear();
                self.receipts.clear();
                self.hello(*hello).await
            }
            _ if self.state == State::Waiting => Ok(refuse("hello_expected", "say hello again first")),
            Up::Mutate(mutate) => self.mutate(mutate.mutations).await,
            Up::Ack(ack) => {
                self.sync.inner.store.ack(self.incarnation, ack.seq).await?;
                Ok(Step::default())
            }
            Up::Bye(_) => Ok(Step { lines: Vec::new(), end: Some(SessionEnd::Bye) }),
        }
    }

    async fn mutate(&mut self, mutations: Vec<omctl_protocol::Mutation>) -> Result<Step, SyncError> {
        if mutations.len() > MUTATIONS_MAX {
            return Ok(refuse("batch_too_large", format!("a batch has at most {MUTATIONS_MAX} mutations")));
        }
        let under = Under { incarnation: self.incarnation, fence: self.fence, accepted: self.accepted };
        let taken = match self.sync.accept(&self.who, under, mutations).await {
            Ok(taken) => taken,
            Err(SyncError::Store(StoreError::Fenced)) => return Ok(fenced()),
            Err(error) => return Err(error),
        };
        let mut step = Step::default();
        match taken {
            Taken::Accepted { up_to, again } => {
                self.accepted = up_to;
                self.receipts.extend(again);
                step.say(&Down::Accepted(Accepted { seq: up_to }));
                if self.state == State::Live && !self.receipts.is_empty() {
                    self.commit(&mut step);
                }
            }
            Taken::Gap { expected } => step.say(&Down::Error(ErrorFrame {
                code: "seq_gap".into(),
                message: format!("expected {expected}"),
                hint: Some("send again from there".into()),
                expected: Some(expected),
                fatal: false,
            })),
            Taken::Mismatch { seq } => {
                tracing::warn!(device = %self.who.device_id, %seq, "a device reused a seq for another payload");
                step = refuse("seq_payload_mismatch", format!("{seq} was sent before with another payload"));
            }
        }
        Ok(step)
    }
}

/// What becomes of one commit of the store for one session.
#[derive(Debug)]
pub struct Passed {
    /// Whether the commit's frames are to be sent.
    pub send_frames: bool,
    /// The session's own line after them.
    pub commit: Option<Bytes>,
}

impl Step {
    fn say(&mut self, frame: &Down) {
        self.lines.push(Bytes::from(frame.to_line()));
    }
}

fn refuse(code: &str, message: impl Into<String>) -> Step {
    let mut step = Step { lines: Vec::new(), end: Some(SessionEnd::Refused) };
    step.say(&Down::Error(ErrorFrame {
        code: code.into(),
        message: message.into(),
        hint: None,
        expected: None,
        fatal: true,
    }));
    step
}

fn fenced() -> Step {
    let mut step = refuse("fenced", "a newer session of this device has begun, or the device may not act any more");
    step.end = Some(SessionEnd::Fenced);
    step
}

/// Identifies a set of scopes, in the order of their keys.
fn digest_of<'k>(keys: impl Iterator<Item = &'k ScopeKey>) -> String {
    let mut hasher = Sha256::new();
    for key in keys {
        hasher.update((key.as_str().len() as u64).to_be_bytes());
        hasher.update(key.as_str());
    }
    BASE64.encode(&hasher.finalize()[..16])
}
