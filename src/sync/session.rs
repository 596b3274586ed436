//! One device's conversation, without its transport: hello, catching up, live changes, receipts.
//!
//! The driver (in `http`, or the simulator) feeds frames and deliveries in and sends the lines that come out. The order
//! that keeps promises 6 to 8: the session is registered for live changes first, then reads what it missed up to a
//! snapshot, then passes on only what is newer; receipts travel in a commit that shows their effects.

mod commands;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use omctl_protocol::frame::{Accepted, Commit, ErrorFrame, GainedScope, Hello, MUTATIONS_MAX, Scopes, Slices, Welcome};
use omctl_protocol::{
    BootId, ChannelName, Down, PROTOCOL, Position, Receipt, SchemaVersion, ScopeKey, ScopeSum, Seq, SumsDigest, Up,
};

use super::accept::{Taken, Under};
use super::settle::subject;
use super::sight::Granted;
use super::{Sync, SyncError};
use crate::identity::Principal;
use crate::limits;
use crate::live::Live;
use crate::store::feed::encode_frames;
use crate::store::{
    ChannelNo, Cursor, DeviceState, IncarnationNo, LinkKey, Reconcile, ScopeCursor, ScopeNo, StoreError,
};

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
    /// A newer session of the device began.
    Fenced,
    /// The device or its account may not act any more.
    Out,
    /// The device broke the protocol.
    Refused,
    /// A backend was set back: where its history parted from the one that the device is in, it hears in its next session.
    Parted,
}

/// A session after its `hello`.
#[derive(Debug)]
pub struct Session {
    sync: Sync,
    who: Principal,
    incarnation: IncarnationNo,
    fence: u64,
    /// The start of the server that its cursors are of.
    boot: BootId,
    accepted: Seq,
    /// What the incarnation shares with the history that its device was in before.
    kept: Option<Position>,
    /// The scopes held, with the cursor of each; all at `position` once caught up.
    scopes: BTreeMap<ScopeNo, Held>,
    /// What the device holds of closed channels, and up to where: neither taken away nor gone on with.
    closed: BTreeMap<ScopeKey, Position>,
    /// What opens scopes to this account: a change of what is found by these changes what it may see.
    links: Vec<LinkKey>,
    /// The schema versions that the device knows.
    told: BTreeMap<ChannelName, SchemaVersion>,
    position: Position,
    /// Receipts that wait for the next commit.
    receipts: Vec<Receipt>,
    /// From where on the stored receipts are still to be read: after the session is registered for new ones.
    unacked: Option<Seq>,
    /// Whether the next commit is the first after a `hello`.
    is_first: bool,
    /// How often the device said hello.
    hellos: u32,
    /// The newest command that the device has carried out.
    done: u64,
    /// The one that it was sent in answer to its last `hello`, or since.
    ordered: u64,
    state: State,
}

#[derive(Clone, Debug)]
struct Held {
    key: ScopeKey,
    channel: ChannelName,
    cursor: Position,
    /// The account may see it since here.
    since: Position,
    reconcile: Option<Reconcile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The device must say hello again.
    Waiting,
    /// The device is locked or wiped: it hears of it, and nothing else.
    Held,
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
            boot: sync.inner.store.boot().id,
            accepted: Seq(0),
            kept: None,
            scopes: BTreeMap::new(),
            closed: BTreeMap::new(),
            links: Vec::new(),
            told: BTreeMap::new(),
            position: Position(0),
            receipts: Vec::new(),
            unacked: None,
            is_first: true,
            hellos: 0,
            done: 0,
            ordered: 0,
            state: State::Waiting,
        };
        let step = session.hello(hello).await?;
        Ok((session, step))
    }

    /// Whose session this is, as of the last look at the account.
    pub fn who(&self) -> &Principal {
        &self.who
    }

    /// The history that the device is in: where its receipts are addressed to.
    pub fn incarnation(&self) -> IncarnationNo {
        self.incarnation
    }

    /// The scopes to be told about.
    pub fn scopes(&self) -> Vec<ScopeNo> {
        self.scopes.keys().copied().collect()
    }

    /// What opens scopes to this account: to be told of whatever is found by these ([`Session::refresh`]).
    pub fn links(&self) -> Vec<LinkKey> {
        self.links.clone()
    }

    /// Whether [`Session::catch_up`] has something to do.
    pub fn is_catching_up(&self) -> bool {
        self.state == State::CatchingUp
    }

    /// Whether the device must say hello again before anything else.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting | State::Held)
    }

    /// Keeps receipts for the next commit.
    pub fn keep_receipts(&mut self, receipts: Vec<Receipt>) {
        self.receipts.extend(receipts);
    }

    /// Whether another start of the server has begun since the device's `hello`: its cursors mean nothing any more, and
    /// nothing that was read since may be sent.
    pub fn is_parted(&self) -> bool {
        self.boot != self.sync.inner.store.boot().id
    }

    /// Goes back to reading the log, because live changes were missed.
    pub fn fall_behind(&mut self) {
        if self.state == State::Live {
            self.state = State::CatchingUp;
        }
    }

    async fn hello(&mut self, hello: Hello) -> Result<Step, SyncError> {
        self.hellos += 1;
        if self.hellos > limits::HELLOS_PER_SESSION_MAX {
            let message = format!("a session has at most {} of `hello`", limits::HELLOS_PER_SESSION_MAX);
            return Ok(refuse("too_many_hellos", message));
        }
        if hello.protocol != PROTOCOL {
            return Ok(refuse("protocol_version", format!("this server speaks protocol {PROTOCOL}")));
        }
        if hello.device != self.who.device_id {
            return Ok(refuse("wrong_device", "the token belongs to another device"));
        }
        let store = self.sync.inner.store.clone();
        (self.done, self.ordered) = (hello.command, 0);
        if !self.look_at_account().await? {
            // One that carried out what this server has forgotten is told so first.
            store.note_commands(self.who.device, hello.command).await?;
            return self.stand_still().await;
        }
        let begun = match store.begin_session(self.who.device, hello.incarnation, hello.kept).await {
            Ok(begun) => begun,
            Err(StoreError::Fenced) => return self.stand_still().await,
            Err(error) => return Err(error.into()),
        };
        self.incarnation = begun.number;
        self.fence = begun.fence;
        self.kept = begun.kept;
        self.accepted = begun.accepted;
        let cursor = self.cursor_of(&hello).await?;
        let live = self.sync.inner.live.current();
        let granted = self.sync.granted(&live, &subject(&self.who)).await?;
        let digest = granted.digest(std::iter::empty());
        let renew = hello.last_seq < begun.accepted || begun.left_behind;
        let held: Option<BTreeMap<ScopeKey, Position>> = match (&hello.scopes.list, &hello.scopes.digest) {
            (Some(list), _) => {
                Some(list.iter().map(|(key, own)| (key.clone(), own.unwrap_or(hello.position))).collect())
            }
            (None, Some(theirs)) if *theirs == digest => {
                Some(granted.scopes.iter().map(|(key, _)| (key.clone(), hello.position)).collect())
            }
            (None, Some(_)) => None,
            (None, None) => Some(BTreeMap::new()),
        };
        let boot = store.boot();
        self.boot = boot.id;
        let reset = cursor != Cursor::Known;
        let welcome = Welcome {
            protocol: PROTOCOL,
            epoch: boot.epoch,
            boot: boot.id,
            position: store.newest_position().await?,
            accepted: begun.accepted,
            renew: renew && !reset,
            reset,
            kept: match cursor {
                Cursor::Lost { kept } => Some(kept),
                Cursor::Known | Cursor::Expired => None,
            },
            list_scopes: held.is_none() && !reset,
            lease_s: live.devices.lease.map(|lease| lease.as_secs()),
        };
        // An unlock: the device is to know before it takes anything in.
        let mut step = self.hear_command().await?;
        step.say(&Down::Welcome(Box::new(welcome)));
        // With each of the three the device says hello again.
        let Some(held) = held.filter(|_| !renew && !reset) else { return Ok(step) };
        let foreign = foreign_schemas(&live, &hello);
        self.told = hello.schemas.clone();
        self.told.retain(|channel, _| !foreign.contains(channel));
        self.name_schemas(&live, &mut step);
        let named = hello.scopes.digest.as_ref() == Some(&digest);
        self.hold(granted, &held, named, &mut step).await?;
        self.compare_slices(&hello, &foreign, &mut step).await?;
        self.unacked = Some(hello.settled.unwrap_or(begun.acked));
        self.is_first = true;
        self.state = State::CatchingUp;
        Ok(step)
    }

    /// What the cursors of a `hello` are worth.
    async fn cursor_of(&self, hello: &Hello) -> Result<Cursor, SyncError> {
        #[cfg(feature = "planted")]
        if crate::planted::has("epoch_ignored") {
            return Ok(Cursor::Known);
        }
        let store = &self.sync.inner.store;
        let listed = hello.scopes.list.iter().flatten();
        let mut positions: Vec<Position> = listed
            .filter(|(key, _)| !hello.scopes.slices.contains_key(key))
            .map(|(_, own)| own.unwrap_or(hello.position))
            .collect();
        if hello.scopes.digest.is_some() {
            positions.push(hello.position);
        }
        let (Some(epoch), Some(boot)) = (hello.epoch, hello.boot) else {
            // A device that never committed anything has no cursor to doubt.
            let fresh = hello.position == Position(0) && positions.is_empty();
            return Ok(if fresh { Cursor::Known } else { Cursor::Lost { kept: Position(0) } });
        };
        let newest = positions.iter().copied().fold(hello.position, Position::max);
        let newest = store.cursor(epoch, boot, newest).await?;
        match (newest, positions.into_iter().min()) {
            (Cursor::Known, Some(oldest)) => Ok(store.cursor(epoch, boot, oldest).await?),
            // Whatever the last commit was: nothing is asked for by it.
            (Cursor::Expired, None) => Ok(Cursor::Known),
            _ => Ok(newest),
        }
    }

    /// Takes over what is granted and says what is gained and lost of what the device holds. A scope that is held and not
    /// granted is lost, whether it ever existed or not, unless its channel is closed.
    async fn hold(
        &mut self,
        granted: Granted,
        held: &BTreeMap<ScopeKey, Position>,
        is_named: bool,
        step: &mut Step,
    ) -> Result<(), SyncError> {
        #[cfg(feature = "planted")]
        crate::planted::note_granted(&self.who.email, granted.scopes.iter().map(|(key, _)| key.clone()));
        let is_granted = |key: &ScopeKey| granted.scopes.iter().any(|(granted, _)| granted == key);
        let (closed, lost): (Vec<_>, Vec<_>) =
            held.iter().filter(|(key, _)| !is_granted(key)).partition(|(key, _)| granted.is_closed(key));
        let lost = lost.into_iter().map(|(key, _)| key.clone()).collect();
        self.closed = closed.into_iter().map(|(key, position)| (key.clone(), *position)).collect();
        let mut scopes = Scopes { digest: granted.digest(self.closed.keys()), lost, ..Scopes::default() };
        let keys = granted.scopes.iter().map(|(key, (channel, _))| (ChannelNo(*channel), key.clone())).collect();
        let numbers = self.sync.inner.store.scope_numbers(keys).await?;
        let since =
            self.sync.inner.store.note_granted(self.who.account, numbers.clone(), granted.closed.is_empty()).await?;
        let before = std::mem::take(&mut self.scopes);
        for ((key, (_, channel)), (number, since)) in granted.scopes.into_iter().zip(numbers.into_iter().zip(since)) {
            let cursor = held.get(&key).copied();
            if cursor.is_none() {
                scopes.gained.push(GainedScope { scope: key.clone(), channel: channel.clone() });
            }
            let reconcile = before.get(&number).and_then(|held| held.reconcile.clone()).filter(|_| cursor.is_some());
            #[cfg(feature = "planted")]
            let cursor = match cursor {
                None if crate::planted::has("gained_not_backfilled") && !held.is_empty() => {
                    Some(self.sync.inner.store.newest_position().await?)
                }
                cursor => cursor,
            };
            let cursor = cursor.unwrap_or_default();
            self.scopes.insert(number, Held { key, channel, cursor, since, reconcile });
        }
        self.links = granted.links;
        if !scopes.gained.is_empty() || !scopes.lost.is_empty() || !is_named {
            step.say(&Down::Scopes(scopes));
        }
        Ok(())
    }

    /// Compares slices where the device asks for it: what differs is sent whole.
    async fn compare_slices(
        &mut self,
        hello: &Hello,
        foreign: &BTreeSet<ChannelName>,
        step: &mut Step,
    ) -> Result<(), SyncError> {
        // Of fields that nobody here gave, equal bodies mean something else: no row is as the device has it.
        let known = |held: &Held| match foreign.contains(&held.channel) {
            true => SchemaVersion(0),
            false => hello.schemas.get(&held.channel).copied().unwrap_or(SchemaVersion(u32::MAX)),
        };
        let asked: Vec<(ScopeNo, SchemaVersion)> = (self.scopes.iter())
            .filter(|(_, held)| hello.scopes.slices.contains_key(&held.key))
            .map(|(number, held)| (*number, known(held)))
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let (until, sums) = self.sync.inner.store.slice_sums(asked.clone()).await?;
        for ((number, _), ours) in asked.into_iter().zip(sums) {
            let Some(held) = self.scopes.get_mut(&number) else { continue };
            let slices = hello.scopes.slices[&held.key].differing(&ours);
            step.say(&Down::Slices(Slices {
                scope: held.key.clone(),
                channel: held.channel.clone(),
                position: until,
                slices: slices.clone(),
            }));
            // Slices that are equal need nothing that is older than the comparison.
            held.cursor = if slices.is_empty() { until } else { Position(0) };
            held.reconcile = (!slices.is_empty()).then_some(Reconcile { slices, until });
        }
        Ok(())
    }

    /// The account as it is now; `false` if the device may not act any more.
    async fn look_at_account(&mut self) -> Result<bool, SyncError> {
        match self.sync.inner.identity.principal_of(self.who.device).await? {
            Some(who) => {
                self.who = who;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Looks again at what the account may see. `None`: it is what it was. What was gained or lost takes effect in the
    /// commit that ends the catching up.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn refresh(&mut self) -> Result<Option<Step>, SyncError> {
        if self.is_parted() {
            return Ok(Some(parted()));
        }
        if !self.look_at_account().await? {
            let step = self.stand_still().await?;
            return Ok(Some(step).filter(|step| step.end.is_some() || !step.lines.is_empty()));
        }
        if self.is_waiting() {
            return Ok(None);
        }
        let live = self.sync.inner.live.current();
        let granted = self.sync.granted(&live, &subject(&self.who)).await?;
        let mut step = Step::default();
        self.name_schemas(&live, &mut step);
        let is_same = self.holds_these(&granted);
        if is_same && granted.links == self.links {
            return Ok((!step.lines.is_empty()).then_some(step));
        }
        let open = self.scopes.values().map(|held| (held.key.clone(), held.cursor));
        let held: BTreeMap<ScopeKey, Position> = open.chain(std::mem::take(&mut self.closed)).collect();
        // What is only closed is said to nobody.
        let is_named = granted.holds_only(&held);
        self.hold(granted, &held, is_named, &mut step).await?;
        if !is_same {
            self.state = State::CatchingUp;
        }
        Ok(Some(step))
    }

    /// Whether these are the scopes that the session has.
    fn holds_these(&self, granted: &Granted) -> bool {
        let open: BTreeSet<&ScopeKey> = self.scopes.values().map(|held| &held.key).collect();
        self.closed.keys().all(|key| granted.is_closed(key)) && granted.scopes.iter().map(|(key, _)| key).eq(open)
    }

    /// Whether what was just read may be shown: rights that went away before the read are not known of here yet.
    async fn may_show(&self) -> Result<bool, SyncError> {
        let Some(who) = self.sync.inner.identity.principal_of(self.who.device).await? else { return Ok(false) };
        let live = self.sync.inner.live.current();
        Ok(self.holds_these(&self.sync.granted(&live, &subject(&who)).await?))
    }

    /// Names the schemas that the device lacks, of channels that its account may see something of.
    fn name_schemas(&mut self, live: &Live, step: &mut Step) {
        let subject = subject(&self.who);
        for channel in live.channels.values().filter(|channel| channel.rule.may_admit(&subject)) {
            let known = self.told.insert(channel.name().clone(), channel.schema.version);
            if known == Some(channel.schema.version) {
                continue;
            }
            // Rows of earlier versions are still in the log: a device that never saw them must be able to read them.
            // A number that was not given yet is of a history that this server has lost: all its versions are in doubt.
            let known = known.filter(|known| *known < channel.schema.version);
            for (version, schema) in &channel.versions {
                if known.is_none_or(|known| *version > known) {
                    step.say(&Down::Schema(Box::new((**schema).clone())));
                }
            }
        }
    }

    /// Reads the next piece of what the device missed; the last piece ends with a commit. Nothing, where the account's
    /// rights changed meanwhile: they are to be looked at again first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn catch_up(&mut self) -> Result<Step, SyncError> {
        const PIECE_BYTES: usize = 4 << 20;
        if let Some(acked) = self.unacked.take() {
            let stored = self.sync.inner.store.receipts_after(self.incarnation, acked).await?;
            self.receipts.extend(stored);
        }
        let cursor = |(number, held): (&ScopeNo, &Held)| ScopeCursor {
            scope: *number,
            after: held.cursor,
            since: held.since,
            reconcile: held.reconcile.clone(),
        };
        let cursors = self.scopes.iter().map(cursor).collect();
        let found = self.sync.inner.store.catch_up(cursors, PIECE_BYTES).await?;
        let mut step = Step::default();
        if !self.may_show().await? {
            return Ok(step);
        }
        if self.is_parted() {
            return Ok(parted());
        }
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
                held.reconcile = None;
            }
            self.state = State::Live;
            // Over what a closed channel's scopes should hold, nothing can be said.
            let is_first = self.closed.is_empty() && std::mem::take(&mut self.is_first);
            let sums = is_first.then(|| self.digest_sums(&found.sums));
            self.commit(sums, &mut step);
        }
        Ok(step)
    }

    /// Digests the sums of the scopes held, given in the order of their numbers.
    fn digest_sums(&self, sums: &[ScopeSum]) -> SumsDigest {
        let by_key: BTreeMap<&ScopeKey, ScopeSum> =
            self.scopes.values().map(|held| &held.key).zip(sums.iter().copied()).collect();
        SumsDigest::of(by_key.into_iter())
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
            self.commit(None, &mut step);
            return Passed { send_frames: newer && frames, commit: step.lines.pop() };
        }
        Passed { send_frames: false, commit: None }
    }

    fn commit(&mut self, sums: Option<SumsDigest>, step: &mut Step) {
        let mut receipts = std::mem::take(&mut self.receipts);
        // One that was settled while the session caught up was both delivered and read from the store.
        receipts.sort_by_key(|receipt| receipt.seq);
        receipts.dedup_by_key(|receipt| receipt.seq);
        step.say(&Down::Commit(Commit { position: self.position, receipts, sums }));
    }

    /// Answers a frame after `hello`.
    ///
    /// # Errors
    /// Those of the store and of settling at once.
    pub async fn on_frame(&mut self, frame: Up) -> Result<Step, SyncError> {
        if self.is_parted() {
            return Ok(parted());
        }
        match frame {
            // Also in mid-session: a device whose sum of a scope does not match says hello without that scope.
            Up::Hello(hello) => {
                self.state = State::Waiting;
                self.scopes.clear();
                self.closed.clear();
                self.receipts.clear();
                self.hello(*hello).await
            }
            Up::Report(report) => {
                // What it was not told here, it says in its next `hello`.
                self.done = self.done.max(report.command.min(self.ordered));
                self.sync.inner.store.note_commands(self.who.device, self.done).await?;
                let orders = self.sync.inner.store.orders(self.who.device).await?;
                // A device that was wiped is told that it was heard.
                if orders.state == DeviceState::Wiped { self.stand_still().await } else { Ok(Step::default()) }
            }
            // What was on its way when the command came.
            Up::Mutate(_) | Up::Ack(_) if self.state == State::Held => Ok(Step::default()),
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
        // Rights are judged by the claims at apply time.
        if !self.look_at_account().await? {
            return self.stand_still().await;
        }
        let under =
            Under { incarnation: self.incarnation, fence: self.fence, accepted: self.accepted, kept: self.kept };
        #[cfg(feature = "planted")]
        if crate::planted::has("accepted_before_commit")
            && mutations.last().is_some_and(|last| last.seq > self.accepted)
        {
            let up_to = mutations.last().map_or(self.accepted, |last| last.seq);
            let (sync, who) = (self.sync.clone(), self.who.clone());
            self.sync.inner.tasks.start("planted", async move {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                drop(sync.accept(&who, under, mutations).await);
            });
            self.accepted = up_to;
            let mut step = Step::default();
            step.say(&Down::Accepted(Accepted { seq: up_to }));
            return Ok(step);
        }
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
                    self.commit(None, &mut step);
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

/// The channels whose fields the device knows by a number that is not of this history: none was given, or to others.
fn foreign_schemas(live: &Live, hello: &Hello) -> BTreeSet<ChannelName> {
    let is_foreign = |(name, version): (&ChannelName, &SchemaVersion)| {
        let ours = live.channels.get(name)?.versions.get(version);
        let is_ours = |shape: &String| ours.is_some_and(|schema| schema.shape() == *shape);
        let is_same = hello.shapes.get(name).map_or(ours.is_some(), is_ours);
        (!is_same).then(|| name.clone())
    };
    hello.schemas.iter().filter_map(is_foreign).collect()
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

fn out() -> Step {
    let mut step = refuse("no_access", "this device or its account may not act any more");
    step.end = Some(SessionEnd::Out);
    step
}

fn parted() -> Step {
    Step { lines: Vec::new(), end: Some(SessionEnd::Parted) }
}

fn fenced() -> Step {
    let mut step = refuse("fenced", "a newer session of this device has begun");
    step.end = Some(SessionEnd::Fenced);
    step
}
