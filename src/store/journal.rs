//! One record's row in the state log: written, moved to a new position, placed in scopes, buried.
//!
//! *Invariant:* whatever is committed, every living record stands in exactly the scopes that its rule gives it by what
//! the log says of it and of the records that it inherits from. Where a record moves, those that inherit from it move in
//! the same transaction.

use std::collections::HashMap;

use omctl_protocol::{Life, Position, RecordId, RowHash, SchemaVersion, ScopeKey};
use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::feed::LogRow;
use super::log::{AsideText, Body, Journal, JournalChange, LinkKey, Place, Placer};
use super::state::WriterState;
use super::{ChannelNo, ScopeNo, StoreError, sqlite_error};

/// The writer's hands, for one intent.
pub(super) struct Journaling<'w> {
    pub(super) state: &'w mut WriterState,
    pub(super) connection: &'w Connection,
    pub(super) placer: Option<&'w dyn Placer>,
    /// Records that were moved along with what they inherit from, with the position that they had before.
    pub(super) moved: HashMap<(ChannelNo, RecordId), Position>,
}

/// What the log has of a record before it is journaled.
struct Before {
    position: Position,
    life: Life,
    version: SchemaVersion,
    body: Option<String>,
    hash: Option<RowHash>,
    aside: AsideText,
    scopes: Vec<ScopeNo>,
    links: Vec<LinkKey>,
}

/// The columns of a row beside [`LogRow`].
struct Beside {
    aside: AsideText,
    scopes: Vec<ScopeNo>,
    links: Vec<LinkKey>,
}

impl Journaling<'_> {
    /// Journals one record; `None` where the read that it stands on is older than what the log has.
    pub(super) fn write(&mut self, entry: &Journal) -> Result<Option<Position>, StoreError> {
        let before = self.before(entry.channel, &entry.id)?;
        // That this very batch moved the record does not make the read too old: only its place changed.
        let moved_from = self.moved.get(&(entry.channel, entry.id.clone())).copied();
        let is_stale = before.as_ref().is_some_and(|before| moved_from.unwrap_or(before.position) > entry.as_of);
        #[cfg(feature = "planted")]
        let is_stale = is_stale && !crate::planted::has("stale_read");
        if is_stale {
            return Ok(None);
        }
        match &entry.change {
            JournalChange::Gone => self.bury(entry.channel, &entry.id, before),
            JournalChange::Lost => self.lose(entry.channel, &entry.id, before),
            JournalChange::Moved => match before {
                Some(before) if before.body.is_some() => self.move_place(entry.channel, &entry.id, before),
                before => Ok(before.map_or(Position(0), |before| before.position)),
            },
            JournalChange::Put { version, body, place, aside } => {
                let body = std::str::from_utf8(body).map_err(|_| StoreError::Damaged("a body is not UTF-8".into()))?;
                let body = (*version, body.to_owned());
                let place = match place {
                    Some(place) => place.clone(),
                    None => self.placed(entry.channel, &entry.id, &body)?,
                };
                self.put(entry.channel, &entry.id, before, body, &place, aside.to_text())
            }
        }
        .map(Some)
    }

    fn put(
        &mut self,
        channel: ChannelNo,
        id: &RecordId,
        before: Option<Before>,
        (version, body): Body,
        place: &Place,
        aside: AsideText,
    ) -> Result<Position, StoreError> {
        let name = self.state.channel_name(channel).cloned().ok_or(StoreError::NotFound("channel"))?;
        let life = match &before {
            None => Life(1),
            Some(Before { life, body: None, .. }) => Life(life.0 + 1),
            Some(Before { life, .. }) => *life,
        };
        let scopes = self.scope_numbers(channel, &place.scopes)?;
        if let Some(before) = &before {
            let same = before.body.as_deref() == Some(&body) && before.version == version;
            if same && before.scopes == scopes && before.links == place.links {
                if before.aside != aside {
                    self.update_aside(before.position, &aside)?;
                }
                return Ok(before.position);
            }
        }
        let row = LogRow {
            position: self.state.next_position(),
            id: id.clone(),
            life,
            version,
            hash: Some(RowHash::of(&name, id, life, body.as_bytes())),
            body: Some(body),
        };
        let beside = Beside { aside, scopes, links: place.links.clone() };
        let position = self.move_row(channel, before, row, beside)?;
        self.move_children(channel, id)?;
        Ok(position)
    }

    fn bury(&mut self, channel: ChannelNo, id: &RecordId, before: Option<Before>) -> Result<Position, StoreError> {
        let Some(before) = before else { return Ok(Position(0)) };
        if before.body.is_none() {
            return Ok(before.position);
        }
        let row = LogRow {
            position: self.state.next_position(),
            id: id.clone(),
            life: before.life,
            version: before.version,
            body: None,
            hash: None,
        };
        let beside = Beside { aside: AsideText::default(), scopes: before.scopes.clone(), links: Vec::new() };
        let position = self.move_row(channel, Some(before), row, beside)?;
        self.move_children(channel, id)?;
        Ok(position)
    }

    /// Buries a record that its backend has lost, and not deleted: it may be offered again.
    fn lose(&mut self, channel: ChannelNo, id: &RecordId, before: Option<Before>) -> Result<Position, StoreError> {
        let position = self.bury(channel, id, before)?;
        super::names::remove(self.connection, channel, id)?;
        self.connection
            .prepare_cached("UPDATE log SET lost = 1 WHERE position = :position AND channel = :channel AND id = :id")
            .and_then(|mut statement| {
                statement.execute(named_params! { ":position": position.0, ":channel": channel, ":id": id.as_str() })
            })
            .map_err(sqlite_error)?;
        Ok(position)
    }

    /// Buries a record whose key is another record's now: one row is one record.
    pub(super) fn bury_keyless(&mut self, channel: ChannelNo, id: &RecordId) -> Result<(), StoreError> {
        if super::names::is_mapped(self.connection, channel, id)? {
            return Ok(());
        }
        let before = self.before(channel, id)?;
        self.bury(channel, id, before).map(drop)
    }

    /// Places a record anew that is otherwise as it was.
    fn move_place(&mut self, channel: ChannelNo, id: &RecordId, before: Before) -> Result<Position, StoreError> {
        let Some(body) = before.body.clone() else { return Ok(before.position) };
        let body = (before.version, body);
        let place = self.placed(channel, id, &body)?;
        let aside = before.aside.clone();
        self.put(channel, id, Some(before), body, &place, aside)
    }

    /// Moves the records that inherit their place from this one. Inheriting never goes in a circle, so this ends.
    fn move_children(&mut self, channel: ChannelNo, id: &RecordId) -> Result<(), StoreError> {
        let Some(key) = self.placer.and_then(|placer| placer.children(channel, id)) else { return Ok(()) };
        for (channel, id) in linked(self.connection, key)? {
            if let Some(before) = self.before(channel, &id)? {
                self.moved.entry((channel, id.clone())).or_insert(before.position);
                self.move_place(channel, &id, before)?;
            }
        }
        Ok(())
    }

    fn placed(&self, channel: ChannelNo, id: &RecordId, body: &Body) -> Result<Place, StoreError> {
        let placer = self.placer.ok_or_else(|| StoreError::Sqlite("a batch to be placed has no placer".into()))?;
        let mut failed = None;
        let mut place = placer.place(channel, id, body, &mut |channel, id| {
            body_of(self.connection, channel, id).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        place.links.sort_unstable();
        place.links.dedup();
        failed.map_or(Ok(place), Err)
    }

    fn scope_numbers(&mut self, channel: ChannelNo, scopes: &[ScopeKey]) -> Result<Vec<ScopeNo>, StoreError> {
        let mut numbers = Vec::with_capacity(scopes.len());
        for key in scopes {
            numbers.push(self.state.scope_number(self.connection, channel, key)?);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn before(&self, channel: ChannelNo, id: &RecordId) -> Result<Option<Before>, StoreError> {
        const SELECT: &str =
            "SELECT position, life, version, body, hash, writers, offered, kept, scopes, links FROM log
            WHERE channel = :channel AND id = :id";
        self.connection
            .prepare_cached(SELECT)
            .and_then(|mut statement| {
                statement
                    .query_row(named_params! { ":channel": channel, ":id": id.as_str() }, |row| {
                        Ok(Before {
                            position: Position(row.get(0)?),
                            life: Life(row.get(1)?),
                            version: SchemaVersion(row.get(2)?),
                            body: row.get(3)?,
                            hash: row.get::<_, Option<[u8; 16]>>(4)?.map(RowHash::from_bytes),
                            aside: AsideText { writers: row.get(5)?, offered: row.get(6)?, kept: row.get(7)? },
                            scopes: unpack_scopes(&row.get::<_, Vec<u8>>(8)?),
                            links: unpack_links(row.get::<_, Option<Vec<u8>>>(9)?.as_deref()),
                        })
                    })
                    .optional()
            })
            .map_err(sqlite_error)
    }

    /// Takes a record's row from its old position to its new one, and its memberships and links with it.
    fn move_row(
        &mut self,
        channel: ChannelNo,
        before: Option<Before>,
        row: LogRow,
        beside: Beside,
    ) -> Result<Position, StoreError> {
        const DELETE: &str = "DELETE FROM log WHERE position = :position";
        const INSERT: &str = "INSERT INTO log
            (position, channel, id, life, version, body, hash, writers, offered, kept, scopes, links, at_ms)
            VALUES (:position, :channel, :id, :life, :version, :body, :hash, :writers, :offered, :kept, :scopes, :links,
                :at)";
        const LEAVE: &str = "DELETE FROM member WHERE scope = :scope AND position = :position";
        const JOIN: &str = "INSERT INTO member (scope, position) VALUES (:scope, :position)";
        const DEPART: &str = "INSERT INTO departed (scope, position, channel, id, at_ms)
            VALUES (:scope, :position, :channel, :id, :at)";
        let (position, at) = (row.position, self.state.clock.now_ms());
        let connection = self.connection;
        let cached = |sql| connection.prepare_cached(sql).map_err(sqlite_error);
        let (old_scopes, old_hash) =
            before.as_ref().map_or((&[][..], None), |before| (&before.scopes[..], before.hash));
        if let Some(before) = &before {
            cached(DELETE)?.execute(named_params! { ":position": before.position.0 }).map_err(sqlite_error)?;
            for scope in &before.scopes {
                cached(LEAVE)?
                    .execute(named_params! { ":scope": scope, ":position": before.position.0 })
                    .map_err(sqlite_error)?;
            }
        }
        cached(INSERT)?
            .execute(named_params! {
                ":position": position.0, ":channel": channel, ":id": row.id.as_str(), ":life": row.life.0,
                ":version": row.version.0, ":body": row.body, ":hash": row.hash.map(RowHash::to_bytes),
                ":writers": beside.aside.writers, ":offered": beside.aside.offered, ":kept": beside.aside.kept,
                ":scopes": pack_scopes(&beside.scopes), ":links": pack_links(&beside.links), ":at": at,
            })
            .map_err(sqlite_error)?;
        for scope in &beside.scopes {
            cached(JOIN)?.execute(named_params! { ":scope": scope, ":position": position.0 }).map_err(sqlite_error)?;
            let was_in = old_scopes.contains(scope);
            #[cfg(feature = "planted")]
            if crate::planted::has("sum_blind") && before.as_ref().is_some_and(|before| before.body.is_none()) {
                continue;
            }
            self.state.change_sum(*scope, old_hash.filter(|_| was_in), row.hash);
        }
        for scope in old_scopes.iter().filter(|scope| !beside.scopes.contains(scope)) {
            #[cfg(feature = "planted")]
            if crate::planted::has("leave_not_sent") {
                self.state.change_sum(*scope, old_hash, None);
                continue;
            }
            cached(DEPART)?
                .execute(named_params! {
                    ":scope": scope, ":position": position.0, ":channel": channel, ":id": row.id.as_str(), ":at": at,
                })
                .map_err(sqlite_error)?;
            self.state.change_sum(*scope, old_hash, None);
            self.state.publish_left(*scope, row.id.clone(), position);
        }
        let old_links = before.as_ref().map_or(&[][..], |before| &before.links);
        self.relink(channel, &row.id, old_links, &beside.links)?;
        self.state.publish_row(&beside.scopes, row);
        Ok(position)
    }

    fn relink(
        &mut self,
        channel: ChannelNo,
        id: &RecordId,
        old: &[LinkKey],
        new: &[LinkKey],
    ) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT OR IGNORE INTO link (key, channel, id) VALUES (:key, :channel, :id)";
        const DELETE: &str = "DELETE FROM link WHERE key = :key AND channel = :channel AND id = :id";
        let run = |sql: &str, key: &LinkKey| {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    statement.execute(named_params! {
                        ":key": key.0.as_slice(), ":channel": channel, ":id": id.as_str(),
                    })
                })
                .map(drop)
                .map_err(sqlite_error)
        };
        for key in old.iter().filter(|key| !new.contains(key)) {
            run(DELETE, key)?;
        }
        for key in new.iter().filter(|key| !old.contains(key)) {
            run(INSERT, key)?;
        }
        // Also where the links are the same: what the record says of whoever it names may have changed.
        self.state.publish_links(old.iter().chain(new).copied());
        Ok(())
    }

    fn update_aside(&self, position: Position, aside: &AsideText) -> Result<(), StoreError> {
        const UPDATE: &str =
            "UPDATE log SET writers = :writers, offered = :offered, kept = :kept WHERE position = :position";
        self.connection
            .prepare_cached(UPDATE)
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":writers": aside.writers, ":offered": aside.offered, ":kept": aside.kept, ":position": position.0,
                })
            })
            .map(drop)
            .map_err(sqlite_error)
    }
}

/// The records that are found by a key.
pub(super) fn linked(connection: &Connection, key: LinkKey) -> Result<Vec<(ChannelNo, RecordId)>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT channel, id FROM link WHERE key = ?1").map_err(sqlite_error)?;
    let rows = statement
        .query_map([key.0.as_slice()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?.into())))
        .map_err(sqlite_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
}

fn body_of(connection: &Connection, channel: ChannelNo, id: &RecordId) -> Result<Option<Body>, StoreError> {
    const SELECT: &str = "SELECT version, body FROM log WHERE channel = :channel AND id = :id AND body IS NOT NULL";
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| {
            statement
                .query_row(named_params! { ":channel": channel, ":id": id.as_str() }, |row| {
                    Ok((SchemaVersion(row.get(0)?), row.get(1)?))
                })
                .optional()
        })
        .map_err(sqlite_error)
}

fn pack_scopes(scopes: &[ScopeNo]) -> Vec<u8> {
    scopes.iter().flat_map(|scope| scope.0.to_le_bytes()).collect()
}

pub(super) fn unpack_scopes(blob: &[u8]) -> Vec<ScopeNo> {
    blob.as_chunks::<8>().0.iter().map(|chunk| ScopeNo(u64::from_le_bytes(*chunk))).collect()
}

fn pack_links(links: &[LinkKey]) -> Option<Vec<u8>> {
    (!links.is_empty()).then(|| links.iter().flat_map(|link| link.0).collect())
}

fn unpack_links(blob: Option<&[u8]>) -> Vec<LinkKey> {
    blob.map_or_else(Vec::new, |blob| blob.as_chunks::<16>().0.iter().map(|chunk| LinkKey(*chunk)).collect())
}
