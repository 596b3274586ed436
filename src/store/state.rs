//! What the writer keeps in memory between commits: the last position, the scopes and their sums.
//!
//! *Invariant:* after a commit this equals what is in the database; an intent that is dropped leaves no trace here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use omctl_protocol::{ChannelName, Position, RecordId, RowHash, ScopeKey, ScopeSum};
use rusqlite::{Connection, named_params};

use super::feed::{Change, Committed, LogRow, Notice, Touched};
use super::log::LinkKey;
use super::{ChannelNo, DeviceNo, IncarnationNo, ScopeNo, StoreError, sqlite_error};
use crate::clock::Clock;

/// The writer's memory.
pub(super) struct WriterState {
    pub(super) clock: Clock,
    /// The generation of definitions that commits must know.
    pub(super) generation: u64,
    position: u64,
    #[cfg(feature = "planted")]
    put_off: Vec<super::IdMapping>,
    scopes: HashMap<ScopeNo, ScopeState>,
    numbers: HashMap<ScopeKey, ScopeNo>,
    channels: HashMap<ChannelNo, ChannelName>,
    dirty: BTreeSet<ScopeNo>,
    published: Committed,
    intent: Intent,
    /// What is above is not what the database holds: it could not be read back.
    is_stale: bool,
}

#[derive(Clone)]
struct ScopeState {
    key: ScopeKey,
    channel: ChannelNo,
    sum: ScopeSum,
    live: u64,
}

/// What the running intent did, so that it can be taken back.
#[derive(Default)]
struct Intent {
    position_before: u64,
    scopes_before: Vec<(ScopeNo, Option<ScopeState>)>,
    changes: Vec<(ScopeNo, Change)>,
    receipts: Vec<(DeviceNo, IncarnationNo, Vec<omctl_protocol::Receipt>)>,
    links: Vec<LinkKey>,
    notices: Vec<Notice>,
}

impl WriterState {
    pub(super) fn load(connection: &Connection, clock: Clock) -> Result<Self, StoreError> {
        let mut state = Self {
            clock,
            generation: 0,
            position: 0,
            scopes: HashMap::new(),
            numbers: HashMap::new(),
            channels: HashMap::new(),
            dirty: BTreeSet::new(),
            published: Committed::default(),
            intent: Intent::default(),
            is_stale: true,
            #[cfg(feature = "planted")]
            put_off: Vec::new(),
        };
        state.reload(connection)?;
        Ok(state)
    }

    /// Before anything is done: what could not be read back after a failed commit is read now.
    pub(super) fn be_fresh(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.is_stale { self.reload(connection) } else { Ok(()) }
    }

    fn reload(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.is_stale = true;
        self.position = super::catch_up::newest(connection)?.0;
        self.scopes.clear();
        self.numbers.clear();
        self.channels.clear();
        self.dirty.clear();
        self.published = Committed::default();
        self.intent = Intent::default();
        let mut statement =
            connection.prepare_cached("SELECT number, key, channel, sum, live FROM scope").map_err(sqlite_error)?;
        let mut rows = statement.query([]).map_err(sqlite_error)?;
        while let Some(row) = rows.next().map_err(sqlite_error)? {
            let read = || -> rusqlite::Result<_> {
                let key: ScopeKey = row.get::<_, String>(1)?.into();
                Ok((row.get(0)?, key, row.get(2)?, ScopeSum::from_bytes(row.get(3)?), row.get(4)?))
            };
            let (number, key, channel, sum, live) = read().map_err(sqlite_error)?;
            self.numbers.insert(key.clone(), number);
            self.scopes.insert(number, ScopeState { key, channel, sum, live });
        }
        let mut statement = connection.prepare_cached("SELECT number, name FROM channel").map_err(sqlite_error)?;
        let mut rows = statement.query([]).map_err(sqlite_error)?;
        while let Some(row) = rows.next().map_err(sqlite_error)? {
            let read = || -> rusqlite::Result<_> { Ok((row.get(0)?, row.get::<_, String>(1)?)) };
            let (number, name) = read().map_err(sqlite_error)?;
            self.channels.insert(number, name.into());
        }
        self.is_stale = false;
        Ok(())
    }

    /// The newest position that was given.
    pub(super) fn position(&self) -> Position {
        Position(self.position)
    }

    /// Gives the next position. It becomes visible with the commit.
    pub(super) fn next_position(&mut self) -> Position {
        self.position += 1;
        Position(self.position)
    }

    /// Goes to a position; returns where it was.
    #[cfg(feature = "planted")]
    pub(super) fn go_to(&mut self, position: u64) -> u64 {
        std::mem::replace(&mut self.position, position)
    }

    /// Takes positions that are nobody else's.
    #[cfg(feature = "planted")]
    pub(super) fn take_positions(&mut self, count: u64) -> u64 {
        self.position += count;
        self.position - count
    }

    /// Keeps entries of id maps for the next batch; returns those of the one before.
    #[cfg(feature = "planted")]
    pub(super) fn put_off(&mut self, mappings: Vec<super::IdMapping>) -> Vec<super::IdMapping> {
        std::mem::replace(&mut self.put_off, mappings)
    }

    pub(super) fn channel_name(&self, channel: ChannelNo) -> Option<&ChannelName> {
        self.channels.get(&channel)
    }

    pub(super) fn remember_channel(&mut self, channel: ChannelNo, name: ChannelName) {
        self.channels.insert(channel, name);
    }

    /// The number of a scope; made where the key is new.
    pub(super) fn scope_number(
        &mut self,
        connection: &Connection,
        channel: ChannelNo,
        key: &ScopeKey,
    ) -> Result<ScopeNo, StoreError> {
        if let Some(number) = self.numbers.get(key) {
            return Ok(*number);
        }
        const INSERT: &str = "INSERT INTO scope (key, channel, sum, live) VALUES (:key, :channel, :sum, 0)";
        connection
            .prepare_cached(INSERT)
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":key": key.as_str(), ":channel": channel, ":sum": ScopeSum::default().to_bytes(),
                })
            })
            .map_err(sqlite_error)?;
        let number = ScopeNo(connection.last_insert_rowid() as u64);
        self.intent.scopes_before.push((number, None));
        self.numbers.insert(key.clone(), number);
        self.scopes.insert(number, ScopeState { key: key.clone(), channel, sum: ScopeSum::default(), live: 0 });
        Ok(number)
    }

    /// Takes a row's old hash out of a scope's sum and puts its new one in.
    pub(super) fn change_sum(&mut self, scope: ScopeNo, old: Option<RowHash>, new: Option<RowHash>) {
        let Some(state) = self.scopes.get_mut(&scope) else { return };
        self.intent.scopes_before.push((scope, Some(state.clone())));
        if let Some(old) = old {
            state.sum = state.sum.minus(old);
            state.live = state.live.saturating_sub(1);
        }
        if let Some(new) = new {
            state.sum = state.sum.plus(new);
            state.live += 1;
        }
        self.dirty.insert(scope);
    }

    pub(super) fn publish_row(&mut self, scopes: &[ScopeNo], row: LogRow) {
        let row = Arc::new(row);
        self.intent.changes.extend(scopes.iter().map(|scope| (*scope, Change::Row(row.clone()))));
    }

    pub(super) fn publish_left(&mut self, scope: ScopeNo, id: RecordId, position: Position) {
        self.intent.changes.push((scope, Change::Left(id, position)));
    }

    /// Tells of whatever is found by these keys that it may have changed.
    pub(super) fn publish_links(&mut self, links: impl Iterator<Item = LinkKey>) {
        self.intent.links.extend(links);
    }

    /// Empties the scopes of a channel whose records are forgotten.
    pub(super) fn empty_scopes(&mut self, channel: ChannelNo) {
        for (number, scope) in self.scopes.iter_mut().filter(|(_, scope)| scope.channel == channel) {
            self.intent.scopes_before.push((*number, Some(scope.clone())));
            (scope.sum, scope.live) = (ScopeSum::default(), 0);
            self.dirty.insert(*number);
        }
    }

    pub(super) fn publish_receipts(
        &mut self,
        device: DeviceNo,
        incarnation: IncarnationNo,
        receipts: Vec<omctl_protocol::Receipt>,
    ) {
        self.intent.receipts.push((device, incarnation, receipts));
    }

    pub(super) fn publish_notice(&mut self, notice: Notice) {
        self.intent.notices.push(notice);
    }

    pub(super) fn begin_intent(&mut self) {
        self.intent = Intent { position_before: self.position, ..Intent::default() };
    }

    pub(super) fn drop_intent(&mut self) {
        let intent = std::mem::take(&mut self.intent);
        self.position = intent.position_before;
        for (number, before) in intent.scopes_before.into_iter().rev() {
            match before {
                Some(before) => drop(self.scopes.insert(number, before)),
                None => {
                    if let Some(gone) = self.scopes.remove(&number) {
                        self.numbers.remove(&gone.key);
                    }
                    self.dirty.remove(&number);
                }
            }
        }
    }

    pub(super) fn keep_intent(&mut self) {
        let intent = std::mem::take(&mut self.intent);
        for (number, change) in intent.changes {
            let Some(scope) = self.scopes.get(&number) else { continue };
            let Some(channel) = self.channels.get(&scope.channel) else { continue };
            self.published
                .touched
                .entry(number)
                .or_insert_with(|| Touched {
                    key: scope.key.clone(),
                    channel: channel.clone(),
                    sum: scope.sum,
                    changes: Vec::new(),
                })
                .changes
                .push(change);
        }
        self.published.receipts.extend(intent.receipts);
        self.published.links.extend(intent.links);
        self.published.notices.extend(intent.notices);
    }

    /// Writes the sums that changed; the last statements before a commit.
    pub(super) fn flush(&mut self, connection: &Connection) -> Result<(), StoreError> {
        const UPDATE: &str = "UPDATE scope SET sum = :sum, live = :live WHERE number = :number";
        for number in std::mem::take(&mut self.dirty) {
            let Some(scope) = self.scopes.get(&number) else { continue };
            connection
                .prepare_cached(UPDATE)
                .and_then(|mut statement| {
                    statement.execute(named_params! {
                        ":number": number, ":sum": scope.sum.to_bytes(), ":live": scope.live,
                    })
                })
                .map_err(sqlite_error)?;
            if let Some(touched) = self.published.touched.get_mut(&number) {
                touched.sum = scope.sum;
            }
        }
        Ok(())
    }

    /// What the commit that just became durable is to tell; `None` where it concerns nobody.
    pub(super) fn take_published(&mut self) -> Option<Committed> {
        let mut committed = std::mem::take(&mut self.published);
        committed.last = self.position();
        let silent = committed.touched.is_empty()
            && committed.receipts.is_empty()
            && committed.links.is_empty()
            && committed.notices.is_empty();
        (!silent).then_some(committed)
    }

    /// Forgets everything and reads it anew, after a commit that failed.
    pub(super) fn forget(&mut self, connection: &Connection) {
        if let Err(error) = self.reload(connection) {
            tracing::error!(%error, "the writer could not read its state back; the next commit tries again");
        }
    }
}
