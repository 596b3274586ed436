//! The engine: one device's side of a session as a state machine. Events go in, actions come out.
//!
//! *Invariant:* no socket, no thread, no clock and no chance of its own; the same code runs on a phone, over a socket in
//! a test, and in a seeded simulation. All state that must survive is in the [`Store`]: dropping an engine is a crash,
//! and a new one over the same file goes on.
//!
//! ```
//! use omctl_device::{Action, Engine, Event, Greeting, Store, StoreOptions};
//!
//! let conn = rusqlite::Connection::open_in_memory().unwrap();
//! let mut store = Store::from_connection(conn, StoreOptions::default()).unwrap();
//! let id = "018f6b1e-0000-7000-8000-000000000001";
//! store.activate(id.parse().unwrap(), id.parse().unwrap()).unwrap();
//! let mut engine = Engine::new(store);
//! let actions = engine.handle(0, Event::Connected(Greeting::Plain)).unwrap();
//! assert!(matches!(&actions[0], Action::Send(line) if line.starts_with(r#"{"hello":"#)));
//! ```

mod device;
#[cfg(test)]
mod model;
mod request;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use request::Heard;

use omctl_protocol::frame::{Ack, Command, ErrorFrame, MUTATIONS_MAX, Proof, Welcome};
use omctl_protocol::{ChannelName, ChannelSchema, Down, Receipt, Seq, Up};

use crate::store::{Lock, Store, StoreError, Welcomed, is_rows, parse_down};

/// Most mutations that are sent and not yet accepted.
const WINDOW: u64 = 1000;

/// Most bytes of payloads in one `mutate` frame, beyond its first mutation.
const MUTATE_BYTES_MAX: usize = 512 * 1024;

/// The longest first wait before a new connection; it doubles with each failure.
const BACKOFF_MS: u64 = 500;

/// The longest wait before a new connection: short enough that a device is up to date within 30 s of a healed network.
const BACKOFF_MS_MAX: u64 = 20_000;

/// How long a device waits whose session was ended by a newer one of the same device, before it looks whether that still
/// lives, at least; two copies of one file must not take the session from each other without end.
const FENCED_MS: i64 = 30_000;

/// What is added to [`FENCED_MS`] at most, by chance.
const FENCED_JITTER_MS: u64 = 15_000;

/// No wait for the next connection is longer.
pub(crate) const LONGEST_WAIT_MS: i64 = if BACKOFF_MS_MAX as i64 > FENCED_MS + FENCED_JITTER_MS as i64 {
    BACKOFF_MS_MAX as i64
} else {
    FENCED_MS + FENCED_JITTER_MS as i64
};

/// Most times in a row that a wrong sum is answered at once; a server that cannot add must not be asked without end.
const TROUBLES_MAX: u32 = 3;

/// Most `hello`s of one connection that are answered by a wish for another one: the list, a renewal and a reset are three.
const HELLOS_MAX: u32 = 8;

/// Signs a server's nonce.
pub type Prover = Box<dyn Fn(&str) -> Proof + Send>;

/// Tells whether a command is signed by the server that this device knows.
pub type Trust = Box<dyn Fn(&Command) -> bool + Send>;

/// How a connection begins.
pub enum Greeting {
    /// The device speaks first: no proof is asked for here.
    Plain,
    /// The server speaks first: its `challenge` is to be signed.
    Challenge(Prover),
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Challenge(_) => "Challenge(…)",
        })
    }
}

/// What happens to an engine.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection stands.
    Connected(Greeting),
    /// One frame, as the line of JSON that came.
    Frame(&'a str),
    /// A sign of life of the server that is no frame: a ping.
    Alive,
    /// The connection is gone, or could not be made.
    Disconnected,
    /// The server closed the connection for a newer session of this device. `Disconnected` follows.
    Fenced,
    /// The server takes this device's tokens no longer; there is no connection. Only an activation helps.
    Refused,
    /// The app wrote something.
    LocalWrite,
    /// Time has passed.
    Tick,
}

/// What an engine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send one frame, a line of JSON without the line feed.
    Send(String),
    /// Make a connection.
    Connect,
    /// Close the connection; `Disconnected` is expected to follow.
    Close,
    /// Send a `Tick` at this time (milliseconds since 1970), at the latest.
    WakeAt(i64),
    /// The tables of these channels changed.
    Changed(BTreeSet<ChannelName>),
    /// The app may not touch its data from now on, for this reason; or may again.
    Locked(Option<Lock>),
    /// These receipts are durable here. None, where a mutation was refused by this device itself.
    Settled(Vec<Receipt>),
    /// The connection's state changed.
    State(ConnectionState),
}

/// What an app may show about its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionState {
    /// No connection.
    #[default]
    Offline,
    /// A connection stands, and the server has not welcomed the device yet.
    Connecting,
    /// Changes are coming in; the tables are as of some commit before this session, or of none.
    CatchingUp,
    /// A commit of this session was applied.
    Live,
    /// A connection stands, and the server says only that this device is locked or wiped.
    Held,
    /// No connection, and none will be made by itself: the server takes this device no longer (it was revoked, its
    /// account disabled, its tokens are too old). Activating again goes on with the same rows and unsent writes.
    NeedsActivation,
}

/// One device's engine.
pub struct Engine {
    store: Store,
    phase: Phase,
    /// Whether the connection is one request and its answer, and not a socket.
    one_shot: bool,
    /// Whether compressed messages are asked for: whoever carries the frames must unpack them.
    zstd: bool,
    /// Connections that failed since the last one that was welcomed.
    failures: u32,
    /// Commits with a wrong sum and frames without sense, since the last commit that was as it should be.
    troubles: u32,
    /// `hello`s of this connection that led to no session.
    hellos: u32,
    /// The captures that were made when a newer session of this device ended ours: only a later one of the app is a
    /// reason to come back at once.
    fenced: Option<i64>,
    /// Whether the server takes this device's tokens no longer.
    refused: bool,
    reconnect_at: Option<i64>,
    shown: ConnectionState,
    shown_lock: Option<Lock>,
    /// Milliseconds since the machine was booted, where the caller knows.
    up_ms: Option<i64>,
    trusts: Option<Trust>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("store", &self.store).field("phase", &self.phase).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Offline,
    AwaitChallenge(Greeting),
    AwaitWelcome {
        proof: Option<Proof>,
    },
    Live(Live),
    /// The server says nothing but a command. Whether it was news, and is to be confirmed by another request.
    Held {
        proof: Option<Proof>,
        is_news: bool,
    },
    /// The server's words could not be taken in, or it said good-bye.
    Closing,
}

/// A welcomed session.
#[derive(Clone, Debug)]
struct Live {
    proof: Option<Proof>,
    /// Highest seq sent in this session, or held by the server before it.
    sent: Seq,
    accepted: Seq,
    acked: Seq,
    committed: bool,
    /// Say `hello` again once this answer is through; only of use in one-shot mode.
    again: bool,
}

impl Engine {
    /// An engine over a store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            phase: Phase::Offline,
            one_shot: false,
            zstd: false,
            failures: 0,
            troubles: 0,
            hellos: 0,
            fenced: None,
            refused: false,
            reconnect_at: None,
            shown: ConnectionState::Offline,
            shown_lock: None,
            up_ms: None,
            trusts: None,
        }
    }

    /// Asks the server for compressed messages, which the caller unpacks before it feeds their lines.
    #[must_use]
    pub fn with_zstd(mut self) -> Self {
        self.zstd = true;
        self
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The store, for the app's own intents. Tell the engine of writes by [`Event::LocalWrite`].
    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Ends the engine as a crash would: nothing more is written.
    pub fn into_store(self) -> Store {
        self.store
    }

    /// What an app may show about the connection.
    pub fn state(&self) -> ConnectionState {
        self.shown
    }

    /// Takes in what happened and says what is to be done, in this order.
    ///
    /// # Errors
    /// [`StoreError`] where this device's disk is to blame. The session is over then, for what it had said or heard may be
    /// lost: nothing more is taken in, and the connection is to be closed. What the server is to blame for closes it, too.
    pub fn handle(&mut self, now_ms: i64, event: Event<'_>) -> Result<Vec<Action>, StoreError> {
        self.store.tell_time(now_ms);
        self.look_at_lease(now_ms, matches!(event, Event::Frame(_) | Event::Alive));
        let done = self.take_in(now_ms, event);
        if done.is_err() && !matches!(self.phase, Phase::Offline) {
            self.phase = Phase::Closing;
        }
        done
    }

    fn take_in(&mut self, now_ms: i64, event: Event<'_>) -> Result<Vec<Action>, StoreError> {
        let mut actions = Vec::new();
        match event {
            Event::Connected(greeting) => {
                self.reconnect_at = None;
                self.one_shot = false;
                (self.hellos, self.fenced, self.refused) = (0, None, false);
                match greeting {
                    Greeting::Plain => self.say_hello(None, false, &mut actions)?,
                    challenge @ Greeting::Challenge(_) => self.phase = Phase::AwaitChallenge(challenge),
                }
            }
            Event::Frame(line) => {
                if let Err(error) = self.frame(line, &mut actions) {
                    if !error.is_protocol() && !matches!(error, StoreError::UnknownChannel(_)) {
                        return Err(error);
                    }
                    tracing::warn!(%error, "closing a connection whose frames make no sense");
                    self.troubles = self.troubles.saturating_add(1);
                    self.phase = Phase::Closing;
                    actions.push(Action::Close);
                }
            }
            Event::Alive => {}
            Event::Disconnected => self.disconnected(now_ms, &mut actions)?,
            Event::Fenced => self.fenced = Some(self.store.captures_made()?),
            Event::Refused => {
                self.store.end_session()?;
                (self.phase, self.reconnect_at, self.refused) = (Phase::Offline, None, true);
            }
            Event::LocalWrite => {
                self.pump(&mut actions)?;
                if self.fenced.is_some_and(|_| matches!(self.phase, Phase::Offline))
                    && self.fenced < Some(self.store.captures_made()?)
                {
                    (self.fenced, self.reconnect_at) = (None, None);
                    actions.push(Action::Connect);
                }
            }
            Event::Tick => {
                match self.reconnect_at {
                    // One that is further away than any wait was said by a clock that has been set back since.
                    Some(at) if at <= now_ms || at.saturating_sub(now_ms) > LONGEST_WAIT_MS => {
                        self.reconnect_at = None;
                        actions.push(Action::Connect);
                    }
                    Some(at) => actions.push(Action::WakeAt(at)),
                    None => {}
                }
                self.pump(&mut actions)?;
            }
        }
        self.show(&mut actions);
        Ok(actions)
    }

    fn frame(&mut self, line: &str, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        if is_rows(line) {
            // What still comes for an earlier `hello` is not for the session to be.
            return if matches!(self.phase, Phase::Live(_)) { self.store.rows(line) } else { Ok(()) };
        }
        let frame = parse_down(line)?;
        match (&mut self.phase, frame) {
            (Phase::AwaitChallenge(Greeting::Challenge(prove)), Down::Challenge(challenge)) => {
                let proof = prove(&challenge.nonce);
                self.say_hello(Some(proof), false, actions)
            }
            (Phase::AwaitWelcome { .. }, Down::Welcome(welcome)) => self.welcomed(&welcome, actions),
            (_, Down::Error(error)) => self.error(&error, actions),
            (Phase::Offline | Phase::Closing, _) => Ok(()),
            (_, Down::Command(command)) => self.commanded(&command, actions),
            (Phase::Live(_), Down::Schema(schema)) => self.reshaped(&schema, actions),
            (Phase::Live(_), Down::Scopes(scopes)) => self.store.scopes(&scopes),
            (Phase::Live(_), Down::Slices(slices)) => self.store.slices(&slices),
            (Phase::Live(_), Down::Leave(leave)) => self.store.leave(&leave, line),
            (Phase::Live(_), Down::Commit(commit)) => self.committed(&commit, actions),
            (Phase::Live(live), Down::Accepted(accepted)) => {
                // What was not sent cannot have arrived, whatever a server says.
                live.accepted = live.accepted.max(accepted.seq.min(live.sent));
                let seq = live.accepted;
                self.store.note_accepted(seq)?;
                #[cfg(feature = "planted")]
                if crate::planted::has("overlay_reverted") {
                    self.store.revert(seq)?;
                }
                self.pump(actions)
            }
            // A frame of an earlier `hello`, or out of its place: the next welcome begins anew.
            _ => Ok(()),
        }
    }

    fn say_hello(
        &mut self,
        proof: Option<Proof>,
        list_scopes: bool,
        actions: &mut Vec<Action>,
    ) -> Result<(), StoreError> {
        let hello = self.store.hello(proof.clone(), list_scopes, self.zstd && !self.one_shot)?;
        self.phase = Phase::AwaitWelcome { proof };
        actions.push(Action::Send(Up::Hello(Box::new(hello)).to_line()));
        Ok(())
    }

    fn welcomed(&mut self, welcome: &Welcome, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        let Phase::AwaitWelcome { proof } = std::mem::take(&mut self.phase) else { return Ok(()) };
        if self.store.lock()? == Some(Lock::Wiped) {
            // A server that was set back has forgotten its order. What is destroyed stays so.
            return self.forget(actions);
        }
        let welcomed = self.store.welcome(welcome)?;
        if welcomed != Welcomed::Live {
            if self.one_shot {
                self.phase = Phase::Live(Live { again: true, ..Live::new(proof, Seq(0)) });
                return self.store.set_list_scopes(welcomed == Welcomed::ListScopes);
            }
            self.hellos += 1;
            if self.hellos > HELLOS_MAX {
                tracing::warn!("closing a connection whose server never has enough of `hello`");
                self.troubles = self.troubles.saturating_add(1);
                self.phase = Phase::Closing;
                actions.push(Action::Close);
                return Ok(());
            }
            return self.say_hello(proof, welcomed == Welcomed::ListScopes, actions);
        }
        self.failures = 0;
        self.hellos = 0;
        let mut live = Live::new(proof, welcome.accepted);
        if self.one_shot {
            // What the request carried is on its way already.
            live.sent = self.store.stats()?.last_seq.max(welcome.accepted);
        }
        self.phase = Phase::Live(live);
        if !self.one_shot
            && let Some(newest) = self.store.newest_unsettled(welcome.accepted)?
        {
            // Another file with this identity may have given these numbers to other writes. The server compares what it
            // is sent again; the newest that waits is enough, for two histories that parted never meet again.
            actions.push(Action::Send(mutate_line(&[newest])));
        }
        self.ack(actions)?;
        self.pump(actions)
    }

    fn reshaped(&mut self, schema: &ChannelSchema, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        let is_in_doubt = self.store.install_schema(schema)?;
        actions.push(Action::Changed(BTreeSet::from([schema.channel.clone()])));
        let Phase::Live(live) = &self.phase else { return Ok(()) };
        // The first commit of a session tells by its sums that something is missing; after it, nobody would.
        if is_in_doubt && live.committed && !self.one_shot {
            let proof = live.proof.clone();
            return self.say_hello(proof, true, actions);
        }
        Ok(())
    }

    fn committed(
        &mut self,
        commit: &omctl_protocol::frame::Commit,
        actions: &mut Vec<Action>,
    ) -> Result<(), StoreError> {
        let outcome = self.store.commit(commit)?;
        if let (Phase::Live(live), Some(last)) = (&mut self.phase, outcome.receipts.iter().map(|r| r.seq).max()) {
            // A receipt says "accepted" too.
            live.accepted = live.accepted.max(last.min(live.sent));
        }
        if !outcome.changed.is_empty() {
            actions.push(Action::Changed(outcome.changed));
        }
        if !outcome.receipts.is_empty() {
            actions.push(Action::Settled(outcome.receipts));
        }
        let Phase::Live(live) = &mut self.phase else { return Ok(()) };
        live.committed = true;
        self.troubles = if outcome.in_doubt.is_empty() { 0 } else { self.troubles.saturating_add(1) };
        if !outcome.in_doubt.is_empty() {
            let too_often = self.troubles > TROUBLES_MAX;
            if self.one_shot {
                // That these scopes are in doubt is in the file: the next request says so.
                live.again = !too_often;
            } else if too_often {
                self.phase = Phase::Closing;
                actions.push(Action::Close);
                return Ok(());
            } else {
                let proof = live.proof.clone();
                return self.say_hello(proof, true, actions);
            }
        }
        self.ack(actions)?;
        self.pump(actions)
    }

    /// Tells the server which receipts are durable here, where that moved.
    fn ack(&mut self, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        let Phase::Live(live) = &mut self.phase else { return Ok(()) };
        if self.one_shot {
            return Ok(());
        }
        let settled = self.store.settled_up_to()?.min(live.accepted);
        if settled > live.acked {
            live.acked = settled;
            actions.push(Action::Send(Up::Ack(Ack { seq: settled }).to_line()));
        }
        Ok(())
    }

    fn error(&mut self, error: &ErrorFrame, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        tracing::warn!(code = %error.code, message = %error.message, "the server reports an error of the session");
        if error.fatal {
            if &*error.code == "seq_payload_mismatch" {
                // This file's history is not the one that the server knows: a restored backup, for example.
                self.store.renew_incarnation()?;
            }
            if &*error.code == "device_wiped" && self.store.lock()? == Some(Lock::Wiped) {
                // The server knows: nothing is left to be told.
                return self.forget(actions);
            }
            if &*error.code == "fenced" {
                self.fenced = Some(self.store.captures_made()?);
            }
            self.phase = Phase::Closing;
            actions.push(Action::Close);
            return Ok(());
        }
        let (Phase::Live(live), "seq_gap", Some(expected)) = (&mut self.phase, &*error.code, error.expected) else {
            return Ok(());
        };
        live.accepted = Seq(expected.0.saturating_sub(1)).min(live.sent);
        live.sent = live.accepted;
        live.again = self.one_shot;
        let seq = live.accepted;
        self.store.note_accepted(seq)?;
        self.pump(actions)
    }

    fn disconnected(&mut self, now_ms: i64, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        self.store.end_session()?;
        self.phase = Phase::Offline;
        if self.refused {
            self.reconnect_at = None;
            return Ok(());
        }
        if self.fenced.is_some() {
            let jitter = self.store.entropy().below(FENCED_JITTER_MS);
            let wait = FENCED_MS.saturating_add(i64::try_from(jitter).unwrap_or(0));
            self.reconnect_at = Some(now_ms.saturating_add(wait));
            actions.push(Action::WakeAt(now_ms.saturating_add(wait)));
            return Ok(());
        }
        // Full jitter: many devices that lost one server do not come back in step
        // (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
        let exponent = self.failures.max(self.troubles).min(16);
        let limit = BACKOFF_MS.saturating_mul(1 << exponent).min(BACKOFF_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        let wait = self.store.entropy().below(limit + 1);
        let at = now_ms.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX));
        self.reconnect_at = Some(at);
        actions.push(Action::WakeAt(at));
        Ok(())
    }

    /// Sends what is sealed, as far as the window goes; seals more where it goes on.
    fn pump(&mut self, actions: &mut Vec<Action>) -> Result<(), StoreError> {
        let one_shot = self.one_shot;
        let Phase::Live(live) = &mut self.phase else { return Ok(()) };
        if one_shot {
            return Ok(());
        }
        let mut sealed = false;
        loop {
            let room = WINDOW.saturating_sub(live.sent.0.saturating_sub(live.accepted.0));
            if room == 0 {
                return Ok(());
            }
            let most = usize::try_from(room).unwrap_or(MUTATIONS_MAX).min(MUTATIONS_MAX);
            let batch = self.store.payloads_after(live.sent, most, MUTATE_BYTES_MAX)?;
            let Some((last, _)) = batch.last() else {
                // Everything sealed is sent; what is not sealed could still be joined, but now it can travel.
                if std::mem::replace(&mut sealed, true) {
                    return Ok(());
                }
                let (count, reverted) = self.store.seal()?;
                if !reverted.is_empty() {
                    actions.push(Action::Changed(reverted));
                    actions.push(Action::Settled(Vec::new()));
                }
                if count == 0 {
                    return Ok(());
                }
                continue;
            };
            live.sent = *last;
            actions.push(Action::Send(mutate_line(&batch)));
        }
    }

    fn show(&mut self, actions: &mut Vec<Action>) {
        let state = match &self.phase {
            Phase::Offline if self.refused => ConnectionState::NeedsActivation,
            Phase::Offline | Phase::Closing => ConnectionState::Offline,
            Phase::AwaitChallenge(_) | Phase::AwaitWelcome { .. } => ConnectionState::Connecting,
            Phase::Held { .. } => ConnectionState::Held,
            Phase::Live(live) if live.committed => ConnectionState::Live,
            Phase::Live(_) => ConnectionState::CatchingUp,
        };
        if state != self.shown {
            self.shown = state;
            actions.push(Action::State(state));
        }
        // A file that cannot be read says it at the next statement.
        let lock = self.store.lock().unwrap_or(self.shown_lock);
        if lock != self.shown_lock {
            self.shown_lock = lock;
            actions.push(Action::Locked(lock));
        }
    }
}

impl Live {
    fn new(proof: Option<Proof>, accepted: Seq) -> Self {
        Self { proof, sent: accepted, accepted, acked: Seq(0), committed: false, again: false }
    }
}

/// A `mutate` frame around payloads that are sent byte for byte as they were sealed.
fn mutate_line(batch: &[(Seq, String)]) -> String {
    let payloads: Vec<&str> = batch.iter().map(|(_, payload)| payload.as_str()).collect();
    format!("{{\"mutate\":{{\"mutations\":[{}]}}}}", payloads.join(","))
}
