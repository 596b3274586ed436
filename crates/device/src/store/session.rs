//! One session: `hello` and its answer, and what was received since the last commit, in memory or staged on disk.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use omctl_protocol::frame::{Commit, Held, Hello, Leave, Proof, Scopes as ScopesFrame, Slices, Welcome};
use omctl_protocol::{BootId, ChannelName, Down, Epoch, Incarnation, PROTOCOL, Position, ScopeKey, Seq};
use rusqlite::params;

use super::apply::{RowsHead, Target};
use super::commit::{CommitOutcome, apply_one, commit, mark_dirty, position_of, target};
use super::scopes::{self, Scopes};
use super::state::{self, signed};
use super::{Durability, Result, Store, StoreError, channels, incarnation, outbox, reconcile, seal};

/// What is known only while a session lasts.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The caller's clock at the last event.
    pub(crate) now_ms: i64,
    /// Of the welcome.
    pub(super) history: Option<(Epoch, BootId)>,
    /// Scopes that `hello` named, or that the server said were gained since: the rest is not ours any more.
    pub(super) ours: HashSet<i64>,
    /// Scopes that go with the next commit.
    pub(super) lost: BTreeSet<ScopeKey>,
    /// Of the last `scopes` frame.
    pub(super) digest: Option<String>,
    /// Frames that nothing on disk knows of yet.
    pub(super) batch: Vec<Received>,
    batch_bytes: usize,
}

impl Session {
    /// One that has received nothing yet.
    pub(crate) fn fresh(&self) -> Self {
        Self { now_ms: self.now_ms, ..Self::default() }
    }
}

/// One frame of rows, leaves or slices, as the line that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) scope: ScopeKey,
    pub(super) line: String,
}

/// What a `welcome` asks of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcomed {
    /// Go on.
    Live,
    /// Say `hello` again.
    HelloAgain,
    /// Say `hello` again, with the list of scopes.
    ListScopes,
}

impl Store {
    /// Begins a session: forgets what an earlier one left in memory, and says who and where we are.
    ///
    /// # Errors
    /// [`StoreError::NotActivated`], or SQLite's.
    pub fn hello(&mut self, proof: Option<Proof>, list_scopes: bool, zstd: bool) -> Result<Hello> {
        let has_captures = seal::has_captures(&self.conn, &self.channels)?;
        if !has_captures {
            self.intent(Durability::Normal, seal::drop_idle_bases)?;
        }
        let scopes = scopes::load(&self.conn)?;
        let mut session = self.session.fresh();
        let named = scopes.values().filter(|scope| is_named(scope));
        session.ours.extend(named.map(|scope| scope.number));
        let held = self.say_held(&scopes, list_scopes)?;
        let conn = &self.conn;
        let is_in_doubt = state::position(conn)? == Position(0) || scopes.values().any(|scope| scope.reconcile);
        let shapes =
            self.channels.values().filter(|_| is_in_doubt).map(|c| (c.schema.channel.clone(), c.schema.shape()));
        let hello = Hello {
            protocol: PROTOCOL,
            device: state::device(conn)?.ok_or(StoreError::NotActivated)?,
            incarnation: state::incarnation(conn)?.ok_or(StoreError::NotActivated)?,
            last_seq: state::last_seq(conn)?,
            settled: Some(outbox::settled_up_to(conn)?),
            epoch: state::epoch(conn)?,
            boot: state::boot(conn)?,
            position: state::position(conn)?,
            scopes: held,
            schemas: self.channels.values().map(|c| (c.schema.channel.clone(), c.schema.version)).collect(),
            shapes: shapes.collect(),
            proof,
            kept: state::kept(conn)?,
            zstd,
            command: self.commanded()?,
        };
        self.session = session;
        Ok(hello)
    }

    /// What is held, as shortly as it can be said.
    fn say_held(&mut self, scopes: &Scopes, list_scopes: bool) -> Result<Held> {
        let digest: Option<String> = state::get(&self.conn, "digest")?;
        let plain = scopes.values().all(|scope| !scope.gaining && !scope.reconcile && scope.progress.is_none());
        if digest.is_some() && plain && !list_scopes {
            return Ok(Held { digest, ..Held::default() });
        }
        let slices = match reconcile::sums_in_doubt(&self.conn, &self.channels, scopes) {
            Err(error) if error.is_protocol() => {
                self.drop_stage()?;
                reconcile::sums_in_doubt(&self.conn, &self.channels, scopes)?
            }
            sums => sums?,
        };
        // Of a scope in doubt, what was staged is in its slice sums already.
        let own = |scope: &scopes::Scope| if scope.reconcile { None } else { scope.progress };
        let named = scopes.iter().filter(|(_, scope)| is_named(scope));
        let list = named.map(|(key, scope)| (key.clone(), own(scope))).collect();
        Ok(Held { digest: None, list: Some(list), slices })
    }

    /// Takes in the answer to `hello`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn welcome(&mut self, welcome: &Welcome) -> Result<Welcomed> {
        self.renew_lease(welcome.lease_s.map(|seconds| state::signed(seconds.saturating_mul(1000))))?;
        if welcome.reset {
            self.reset(welcome)?;
            return Ok(Welcomed::HelloAgain);
        }
        let is_ahead = welcome.accepted > state::last_seq(&self.conn)?;
        if welcome.renew || is_ahead || !outbox::is_whole_behind(&self.conn, welcome.accepted)? {
            self.renew_incarnation()?;
            return Ok(Welcomed::HelloAgain);
        }
        if welcome.list_scopes {
            return Ok(Welcomed::ListScopes);
        }
        self.session.history = Some((welcome.epoch, welcome.boot));
        if self.lists_scopes()? {
            self.intent(Durability::Normal, |conn, _| state::clear(conn, "list_scopes"))?;
        }
        self.note_accepted(welcome.accepted)?;
        Ok(Welcomed::Live)
    }

    /// Remembers that the next `hello` must list the scopes: the one after a request that was answered so.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn set_list_scopes(&mut self, list: bool) -> Result<()> {
        if list {
            self.intent(Durability::Normal, |conn, _| state::set(conn, "list_scopes", true))?;
        }
        Ok(())
    }

    /// Whether the next `hello` must list the scopes: until one is welcomed. A request may be refused before anybody looks
    /// at what it says.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn lists_scopes(&self) -> Result<bool> {
        Ok(state::get::<bool>(&self.conn, "list_scopes")?.unwrap_or(false))
    }

    /// The planted bug `overlay_reverted`: what is accepted shows what the server had before.
    #[cfg(feature = "planted")]
    pub(crate) fn revert(&mut self, seq: Seq) -> Result<()> {
        self.intent(Durability::Normal, |conn, channels| {
            let mut statement = conn.prepare("SELECT DISTINCT channel, record FROM om_outbox WHERE seq <= ?1")?;
            let rows = statement.query_map([state::signed(seq.0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            for (channel, record) in rows.collect::<rusqlite::Result<Vec<(String, String)>>>()? {
                if let Some(channel) = channels.get(channel.as_str()) {
                    super::overlay::revert(conn, channel, &record)?;
                }
            }
            Ok(())
        })
    }

    /// Remembers how far the server has the outbox durably.
    ///
    /// # Errors
    /// SQLite's.
    pub fn note_accepted(&mut self, seq: Seq) -> Result<()> {
        if state::accepted(&self.conn)? == seq {
            return Ok(());
        }
        self.intent(Durability::Normal, |conn, _| state::set(conn, "accepted", signed(seq.0)))
    }

    /// What the server is known to have accepted.
    ///
    /// # Errors
    /// SQLite's.
    pub fn accepted(&self) -> Result<Seq> {
        state::accepted(&self.conn)
    }

    /// Begins the history that a server says is now in force: every cursor is forgotten, everything held is in doubt.
    /// Where the server lost a part of the old one, what was settled in it is offered again, in a new incarnation.
    fn reset(&mut self, welcome: &Welcome) -> Result<()> {
        let next = Incarnation(self.options.entropy.uuid_v4());
        self.intent(Durability::Normal, |conn, channels| {
            reconcile::begin_history(conn, channels, welcome)?;
            #[cfg(feature = "planted")]
            if crate::planted::has("outbox_dropped") {
                conn.execute("DELETE FROM om_outbox", [])?;
            }
            match welcome.kept {
                Some(kept) => incarnation::offer_again(conn, channels, kept, next),
                None if welcome.renew => incarnation::renew(conn, channels, next),
                None => Ok(()),
            }
        })?;
        self.session = self.session.fresh();
        Ok(())
    }

    /// Takes in gained and lost scopes; they take effect at the next commit.
    ///
    /// # Errors
    /// [`StoreError::UnknownChannel`] where the server never sent the schema of a gained scope's channel; SQLite's.
    pub fn scopes(&mut self, frame: &ScopesFrame) -> Result<()> {
        for gained in &frame.gained {
            if !self.channels.contains_key(&gained.channel) {
                return Err(StoreError::UnknownChannel(gained.channel.clone()));
            }
        }
        let numbers = self.intent(Durability::Normal, |conn, channels| {
            let mut known = scopes::load(conn)?;
            let mut numbers = Vec::new();
            for gained in &frame.gained {
                numbers.push(scopes::begin_gain(conn, &gained.scope, &gained.channel)?);
                // What an earlier session had begun to fill is sent again.
                let channel = &channels[&gained.channel];
                if let Some(scope) = known.get_mut(&gained.scope)
                    && !channel.filled
                    && channels::exists(conn, &format!("om_fill_{}", gained.channel))?
                {
                    let mut target = Target::new(conn, channel)?;
                    target.empty_scope(scope)?;
                    target.drop_orphans()?;
                    *scope = scopes::Scope {
                        gaining: true,
                        progress: None,
                        expected: None,
                        reconcile: false,
                        ..scope.clone()
                    };
                    scopes::save(conn, scope)?;
                }
            }
            Ok(numbers)
        })?;
        self.session.lost.extend(frame.lost.iter().cloned());
        // A scope that is in both was dropped and is sent anew: what comes replaces what is held.
        for gained in &frame.gained {
            self.session.batch.retain(|received| received.scope != gained.scope);
            self.session.lost.remove(&gained.scope);
        }
        self.session.ours.extend(numbers);
        self.session.digest = Some(frame.digest.clone());
        Ok(())
    }

    /// Keeps a `rows` frame, given as the line that came, until the next commit.
    ///
    /// # Errors
    /// [`StoreError::Frame`], [`StoreError::UnknownVersion`], or SQLite's where the batch goes to disk.
    pub fn rows(&mut self, line: &str) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Line {
            rows: RowsHead,
        }
        let head = serde_json::from_str::<Line>(line).map_err(StoreError::Frame)?.rows;
        let known = self.channels.get(&head.channel).is_some_and(|channel| channel.versions.contains_key(&head.v));
        if !known {
            return Err(StoreError::UnknownVersion { channel: head.channel, version: head.v });
        }
        self.receive(head.scope, line)
    }

    /// Keeps a `leave` frame, given as the line that came, until the next commit.
    ///
    /// # Errors
    /// As [`Store::rows`].
    pub fn leave(&mut self, frame: &Leave, line: &str) -> Result<()> {
        self.receive(frame.scope.clone(), line)
    }

    /// Keeps a `slices` frame until the next commit.
    ///
    /// # Errors
    /// [`StoreError::UnknownChannel`], or SQLite's where the batch goes to disk.
    pub fn slices(&mut self, frame: &Slices) -> Result<()> {
        if !self.channels.contains_key(&frame.channel) {
            return Err(StoreError::UnknownChannel(frame.channel.clone()));
        }
        self.receive(frame.scope.clone(), &Down::Slices(frame.clone()).to_line())
    }

    fn receive(&mut self, scope: ScopeKey, line: &str) -> Result<()> {
        self.session.batch_bytes += line.len();
        self.session.batch.push(Received { scope, line: line.to_owned() });
        if self.session.batch_bytes > self.options.batch_bytes_max { self.spill() } else { Ok(()) }
    }

    /// Ends a session: what was received is kept on disk, so that the next one goes on from there.
    ///
    /// # Errors
    /// SQLite's.
    pub fn end_session(&mut self) -> Result<()> {
        let result = self.spill();
        self.session = self.session.fresh();
        match result {
            // Nothing of it was kept. The disk is sound, so the session ends like any other and what came is sent again.
            Err(error) if error.is_protocol() => {
                tracing::warn!(%error, "dropping received frames that make no sense");
                Ok(())
            }
            result => result,
        }
    }

    /// Makes the frames in memory durable, invisible still: in the hidden table of a channel that was never committed,
    /// else in `om_stage`.
    fn spill(&mut self) -> Result<()> {
        if self.session.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.session.batch);
        self.session.batch_bytes = 0;
        let history = self.session.history;
        self.intent(Durability::Normal, |conn, channels| {
            let mut scopes = scopes::load(conn)?;
            let mut targets = BTreeMap::new();
            for received in &batch {
                let Some(scope) = scopes.get_mut(&received.scope) else {
                    tracing::warn!(scope = %received.scope, "rows of a scope that was never gained");
                    continue;
                };
                let channel = &channels[&scope.channel];
                if channel.filled {
                    conn.prepare_cached("INSERT INTO om_stage (scope, line) VALUES (?1, ?2)")?
                        .execute(params![scope.number, received.line])?;
                    scope.progress = Some(position_of(&received.line)?);
                } else {
                    apply_one(target(conn, &mut targets, channel)?, scope, &received.line)?;
                }
            }
            for target in targets.values_mut() {
                target.drop_orphans()?;
            }
            for scope in scopes.values() {
                scopes::save(conn, scope)?;
            }
            // The progress belongs to this history, also where nothing was committed in it yet.
            if let Some((epoch, boot)) = history {
                state::set(conn, "epoch", epoch.to_string())?;
                state::set(conn, "boot", boot.to_string())?;
            }
            Ok(())
        })
    }

    /// Makes everything received visible at once, with its receipts and cursors.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is then changed.
    pub fn commit(&mut self, frame: &Commit) -> Result<CommitOutcome> {
        let session = std::mem::take(&mut self.session);
        let now_ms = session.now_ms;
        let durability = if frame.receipts.is_empty() { Durability::Normal } else { Durability::Full };
        let unfilled = self.channels.values().any(|channel| !channel.filled);
        let most = self.options.copy_rows_max;
        #[cfg(feature = "planted")]
        if crate::planted::has("cursor_before_rows") {
            self.intent(Durability::Normal, |conn, _| super::commit::save_cursors(conn, &session, frame))?;
        }
        let outcome = self.intent(durability, |conn, channels| commit(conn, channels, &session, frame, most));
        // The session goes on; its batch is in the tables, or the engine closes it on an error.
        self.session = Session { now_ms, history: session.history, ours: session.ours, ..Session::default() };
        if let Err(error) = &outcome
            && error.is_protocol()
        {
            self.drop_stage()?;
        }
        let outcome = outcome?;
        if unfilled {
            self.channels = channels::load(&self.conn)?;
        }
        for scope in &outcome.in_doubt {
            tracing::warn!(scope = %scope, "what this device holds of scope `{scope}` may have another sum than the server's; it is reconciled");
        }
        Ok(outcome)
    }

    /// Forgets staged frames, one of which makes no sense: kept, it would fail every commit to come. They are asked for
    /// again.
    fn drop_stage(&mut self) -> Result<()> {
        self.intent(Durability::Normal, |conn, _| {
            conn.execute_batch(
                "UPDATE om_scopes SET progress = NULL WHERE number IN (SELECT scope FROM om_stage); DELETE FROM om_stage;",
            )?;
            Ok(())
        })
    }

    /// Seals what is captured.
    ///
    /// # Errors
    /// SQLite's.
    pub fn seal(&mut self) -> Result<(usize, BTreeSet<ChannelName>)> {
        if !seal::has_captures(&self.conn, &self.channels)? {
            return Ok((0, BTreeSet::new()));
        }
        let now_ms = self.session.now_ms;
        let sealed = self.intent(Durability::Normal, |conn, channels| {
            let sealed = seal::seal_all(conn, channels, now_ms)?;
            mark_dirty(conn, &sealed.reverted)?;
            Ok(sealed)
        })?;
        Ok((sealed.count, sealed.reverted))
    }

    /// Sealed mutations after `from`, as they are sent.
    ///
    /// # Errors
    /// SQLite's.
    pub fn payloads_after(&self, from: Seq, count_max: usize, bytes_max: usize) -> Result<Vec<(Seq, String)>> {
        outbox::payloads_after(&self.conn, from, count_max, bytes_max)
    }

    /// The newest sealed mutation up to `seq` that has no receipt.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn newest_unsettled(&self, seq: Seq) -> Result<Option<(Seq, String)>> {
        outbox::newest_unsettled(&self.conn, seq)
    }

    /// The receipts up to here are durable.
    ///
    /// # Errors
    /// SQLite's.
    pub fn settled_up_to(&self) -> Result<Seq> {
        outbox::settled_up_to(&self.conn)
    }

    /// Tells the store the caller's clock.
    pub(crate) fn tell_time(&mut self, now_ms: i64) {
        self.session.now_ms = now_ms;
        self.options.entropy.tell_time(now_ms);
    }
}

/// Whether `hello` names the scope: the content of one that is only being gained is sent from the beginning.
fn is_named(scope: &scopes::Scope) -> bool {
    !scope.gaining || scope.progress.is_some()
}

/// The kind of a frame that must be kept as the line that came.
pub(crate) fn is_rows(line: &str) -> bool {
    line.trim_start().starts_with("{\"rows\"")
}

/// Reads every other frame.
pub(crate) fn parse_down(line: &str) -> Result<Down> {
    omctl_protocol::frame::parse_frame(line).map_err(|error| match error {
        omctl_protocol::frame::FrameError::Malformed { source, .. } => StoreError::Frame(source),
        omctl_protocol::frame::FrameError::TooDeep { .. } => {
            StoreError::Frame(serde::de::Error::custom("nested deeper than 64"))
        }
    })
}
