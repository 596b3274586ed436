//! One session's downloads: what was received since the last commit, in memory or staged on disk, and the commit that
//! makes all of it visible at once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use omctl_protocol::frame::{Commit, Held, Hello, Leave, Proof, Scopes as ScopesFrame, Welcome};
use omctl_protocol::{BootId, ChannelName, Down, Epoch, PROTOCOL, Position, Receipt, ScopeKey, Seq};
use rusqlite::{Connection, params};

use super::apply::{self, RowsHead, Target};
use super::channels::{self, Channel, Channels};
use super::scopes::{self, Scopes};
use super::state::{self, signed};
use super::{Durability, Result, Store, StoreError, outbox, overlay, seal};

/// What is known only while a session lasts.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The caller's clock at the last event.
    pub(crate) now_ms: i64,
    /// Of the welcome.
    history: Option<(Epoch, BootId)>,
    /// Scopes that `hello` named, or that the server said were gained since: the rest is not ours any more.
    ours: HashSet<i64>,
    /// Scopes that go with the next commit.
    lost: BTreeSet<ScopeKey>,
    /// Of the last `scopes` frame.
    digest: Option<String>,
    /// Frames that nothing on disk knows of yet.
    batch: Vec<Received>,
    batch_bytes: usize,
}

/// One frame of rows or of leaves, as the line that came.
#[derive(Debug)]
struct Received {
    scope: ScopeKey,
    line: String,
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

/// What a commit changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitOutcome {
    /// Channels whose tables changed.
    pub changed: BTreeSet<ChannelName>,
    /// Receipts that were new.
    pub receipts: Vec<Receipt>,
    /// Scopes whose sum was not the server's: they must be fetched anew, by a `hello` that does not name them.
    pub refetch: Vec<ScopeKey>,
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
        let conn = &self.conn;
        let scopes = scopes::load(conn)?;
        let digest: Option<String> = state::get(conn, "digest")?;
        let plain = scopes.values().all(|scope| !scope.gaining && scope.progress.is_none());
        let mut session = Session { now_ms: self.session.now_ms, ..Session::default() };
        let named = scopes.iter().filter(|(_, scope)| !scope.gaining || scope.progress.is_some());
        session.ours.extend(named.clone().map(|(_, scope)| scope.number));
        let held = match digest {
            Some(digest) if plain && !list_scopes => Held { digest: Some(digest), ..Held::default() },
            _ => {
                let list = named.map(|(key, scope)| (key.clone(), scope.progress)).collect();
                Held { list: Some(list), ..Held::default() }
            }
        };
        let hello = Hello {
            protocol: PROTOCOL,
            device: state::device(conn)?.ok_or(StoreError::NotActivated)?,
            incarnation: state::incarnation(conn)?.ok_or(StoreError::NotActivated)?,
            last_seq: state::last_seq(conn)?,
            epoch: state::epoch(conn)?,
            boot: state::boot(conn)?,
            position: state::position(conn)?,
            scopes: held,
            schemas: self.channels.values().map(|c| (c.schema.channel.clone(), c.schema.version)).collect(),
            proof,
            kept: None,
            zstd,
        };
        self.session = session;
        Ok(hello)
    }

    /// Takes in the answer to `hello`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn welcome(&mut self, welcome: &Welcome) -> Result<Welcomed> {
        if welcome.renew {
            self.renew_incarnation()?;
            return Ok(Welcomed::HelloAgain);
        }
        if welcome.list_scopes {
            return Ok(Welcomed::ListScopes);
        }
        if welcome.reset {
            self.reset()?;
        }
        self.session.history = Some((welcome.epoch, welcome.boot));
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

    /// Whether the next `hello` must list the scopes; asked once.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn take_list_scopes(&mut self) -> Result<bool> {
        let list = state::get::<bool>(&self.conn, "list_scopes")?.unwrap_or(false);
        if list {
            self.intent(Durability::Normal, |conn, _| state::clear(conn, "list_scopes"))?;
        }
        Ok(list)
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

    /// Forgets every cursor. What is held stays visible until the next commit replaces it; the outbox stays.
    fn reset(&mut self) -> Result<()> {
        self.intent(Durability::Normal, |conn, channels| {
            conn.execute_batch("DELETE FROM om_scopes; DELETE FROM om_stage; UPDATE om_channels SET filled = 0;")?;
            for channel in channels.values() {
                let names = &channel.names;
                conn.execute_batch(&format!(
                    "DROP TABLE IF EXISTS {}; DROP TABLE IF EXISTS {};",
                    names.fill, names.fill_row
                ))?;
            }
            for key in ["position", "digest", "epoch", "boot"] {
                state::clear(conn, key)?;
            }
            Ok(())
        })?;
        self.channels = channels::load(&self.conn)?;
        self.session = Session { now_ms: self.session.now_ms, ..Session::default() };
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
                    *scope = scopes::Scope { gaining: true, progress: None, expected: None, ..scope.clone() };
                    scopes::save(conn, scope)?;
                }
            }
            Ok(numbers)
        })?;
        for gained in &frame.gained {
            self.session.batch.retain(|received| received.scope != gained.scope);
            self.session.lost.remove(&gained.scope);
        }
        self.session.ours.extend(numbers);
        self.session.lost.extend(frame.lost.iter().cloned());
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
        self.session = Session { now_ms: self.session.now_ms, ..Session::default() };
        result
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
        let outcome = self.intent(durability, |conn, channels| commit(conn, channels, &session, frame));
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
        for scope in &outcome.refetch {
            tracing::warn!(scope = %scope, "what this device holds of scope `{scope}` has another sum than the server's; it is fetched anew");
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

fn commit(conn: &Connection, channels: &Channels, session: &Session, frame: &Commit) -> Result<CommitOutcome> {
    let mut outcome = CommitOutcome::default();
    // From here on "pending" means "in the outbox".
    outcome.changed.extend(seal::seal_all(conn, channels, session.now_ms)?.reverted);
    let mut scopes = scopes::load(conn)?;
    let mut targets: BTreeMap<ChannelName, Target<'_>> = BTreeMap::new();
    for channel in channels.values().filter(|channel| !channel.filled) {
        target(conn, &mut targets, channel)?;
    }
    drop_scopes(conn, channels, session, &mut scopes, &mut targets)?;

    let mut staged = conn
        .prepare_cached("SELECT s.key, t.line FROM om_stage t JOIN om_scopes s ON s.number = t.scope ORDER BY t.n")?;
    let mut lines = staged.query([])?;
    while let Some(row) = lines.next()? {
        let key = ScopeKey::from(row.get::<_, String>(0)?);
        if let Some(scope) = scopes.get_mut(&key) {
            let channel = &channels[&scope.channel];
            let line = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            apply_one(target(conn, &mut targets, channel)?, scope, line)?;
        }
    }
    drop(lines);
    conn.execute("DELETE FROM om_stage", [])?;
    for received in &session.batch {
        let Some(scope) = scopes.get_mut(&received.scope) else {
            tracing::warn!(scope = %received.scope, "rows of a scope that is not held");
            continue;
        };
        let channel = &channels[&scope.channel];
        apply_one(target(conn, &mut targets, channel)?, scope, &received.line)?;
    }

    let mut refresh: BTreeSet<(ChannelName, String)> = BTreeSet::new();
    for receipt in &frame.receipts {
        if let Some(settled) = outbox::settle(conn, receipt, session.now_ms)? {
            refresh.insert((settled.channel, settled.record.as_str().to_owned()));
            outcome.receipts.push(receipt.clone());
        }
    }
    for (name, target) in &mut targets {
        target.drop_orphans()?;
        refresh.extend(std::mem::take(&mut target.touched).into_iter().map(|id| (name.clone(), id)));
        if target.changed {
            outcome.changed.insert(name.clone());
        }
    }
    drop(targets);
    for channel in channels.values().filter(|channel| !channel.filled) {
        apply::swap(conn, channel)?;
        outcome.changed.insert(channel.schema.channel.clone());
    }
    for (name, record) in refresh {
        if let Some(channel) = channels.get(&name) {
            overlay::refresh(conn, channel, &record)?;
            outcome.changed.insert(name);
        }
    }
    settle_scopes(conn, &mut scopes, &mut outcome)?;
    save_cursors(conn, session, frame, &outcome)?;
    mark_dirty(conn, &outcome.changed)?;
    Ok(outcome)
}

/// Takes out what was lost, and empties what is about to be replaced.
fn drop_scopes<'a>(
    conn: &'a Connection,
    channels: &'a Channels,
    session: &Session,
    scopes: &mut Scopes,
    targets: &mut BTreeMap<ChannelName, Target<'a>>,
) -> Result<()> {
    let keys: Vec<ScopeKey> = scopes.keys().cloned().collect();
    for key in keys {
        let scope = scopes.get_mut(&key).expect("the key was just taken from it");
        let channel = &channels[&scope.channel];
        // A scope that was to be fetched anew and that the server did not name again is not ours any more.
        let lost = session.lost.contains(&key) || !session.ours.contains(&scope.number);
        // In a hidden table, what is there is what was gained.
        let replaced = scope.gaining && channel.filled;
        if lost || replaced {
            target(conn, targets, channel)?.empty_scope(scope)?;
        }
        if lost {
            scopes::forget(conn, scope.number)?;
            scopes.remove(&key);
        }
    }
    Ok(())
}

fn target<'a, 'b>(
    conn: &'a Connection,
    targets: &'b mut BTreeMap<ChannelName, Target<'a>>,
    channel: &'a Channel,
) -> Result<&'b mut Target<'a>> {
    let name = &channel.schema.channel;
    if !targets.contains_key(name) {
        if !channel.filled {
            apply::ensure_fill(conn, channel)?;
        }
        targets.insert(name.clone(), Target::new(conn, channel)?);
    }
    Ok(targets.get_mut(name).expect("it was just put there"))
}

fn apply_one(target: &mut Target<'_>, scope: &mut scopes::Scope, line: &str) -> Result<()> {
    if line.trim_start().starts_with("{\"leave\"") { target.leave(scope, line) } else { target.rows(scope, line) }
}

fn position_of(line: &str) -> Result<Position> {
    #[derive(serde::Deserialize)]
    struct Head {
        position: Position,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Line {
        Rows(Head),
        Leave(Head),
    }
    let (Line::Rows(head) | Line::Leave(head)) = serde_json::from_str(line).map_err(StoreError::Frame)?;
    Ok(head.position)
}

/// Compares sums, and makes every scope held at the commit's position.
fn settle_scopes(conn: &Connection, scopes: &mut Scopes, outcome: &mut CommitOutcome) -> Result<()> {
    for (key, scope) in scopes.iter_mut() {
        let differs = scope.expected.is_some_and(|expected| expected != scope.sum);
        if !(differs || scope.gaining || scope.progress.is_some() || scope.expected.is_some()) {
            continue;
        }
        scope.gaining = differs;
        scope.progress = None;
        scope.expected = None;
        scopes::save(conn, scope)?;
        if differs {
            outcome.refetch.push(key.clone());
        }
    }
    Ok(())
}

fn save_cursors(conn: &Connection, session: &Session, frame: &Commit, outcome: &CommitOutcome) -> Result<()> {
    state::set(conn, "position", signed(frame.position.0))?;
    if let Some((epoch, boot)) = session.history {
        state::set(conn, "epoch", epoch.to_string())?;
        state::set(conn, "boot", boot.to_string())?;
    }
    if let Some(digest) = &session.digest {
        state::set(conn, "digest", digest)?;
    }
    if !outcome.refetch.is_empty() {
        let before = state::get::<i64>(conn, "sum_mismatches")?.unwrap_or(0);
        state::set(conn, "sum_mismatches", before + i64::try_from(outcome.refetch.len()).unwrap_or(i64::MAX))?;
    }
    Ok(())
}

fn mark_dirty(conn: &Connection, channels: &BTreeSet<ChannelName>) -> Result<()> {
    for channel in channels {
        conn.prepare_cached("UPDATE om_dirty SET n = n + 1 WHERE channel = ?1")?.execute([channel.as_str()])?;
    }
    Ok(())
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
