//! Since when an account may see a scope, and which records are in scopes that it sees.

use std::collections::{HashMap, HashSet};

use omctl_protocol::{Position, RecordId, ScopeKey};
use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::journal::unpack_scopes;
use super::{AccountNo, ChannelNo, ScopeNo, Store, StoreError, sqlite_error};

impl Store {
    /// Notes what an account may see now, and tells since which position, in the same order: the newest one, where it
    /// could not before. What it may not see any more is forgotten, if these are `all` that it may see.
    ///
    /// # Errors
    /// Those of reading and writing.
    pub async fn note_granted(
        &self,
        account: AccountNo,
        scopes: Vec<ScopeNo>,
        all: bool,
    ) -> Result<Vec<Position>, StoreError> {
        // Nearly always nothing changed, and a read does not wait for the disk.
        let noted = self.read(move |connection| granted_to(connection, account)).await?;
        let known: Vec<Position> = scopes.iter().filter_map(|scope| noted.get(scope).copied()).collect();
        if known.len() == scopes.len() && (noted.len() == scopes.len() || !all) {
            return Ok(known);
        }
        self.writer
            .run(move |_, connection| {
                const FORGET: &str = "DELETE FROM granted WHERE account = :account AND scope = :scope";
                const NOTE: &str = "INSERT INTO granted (account, scope, since) VALUES (:account, :scope, :since)";
                let noted = granted_to(connection, account)?;
                let wanted: HashSet<ScopeNo> = scopes.iter().copied().collect();
                for gone in noted.keys().filter(|scope| all && !wanted.contains(scope)) {
                    connection
                        .prepare_cached(FORGET)
                        .and_then(|mut forget| forget.execute(named_params! { ":account": account, ":scope": gone }))
                        .map_err(sqlite_error)?;
                }
                let now = super::catch_up::newest(connection)?;
                let mut since = Vec::with_capacity(scopes.len());
                for scope in scopes {
                    if let Some(known) = noted.get(&scope) {
                        since.push(*known);
                        continue;
                    }
                    let row = named_params! { ":account": account, ":scope": scope, ":since": now.0 };
                    connection.prepare_cached(NOTE).and_then(|mut note| note.execute(row)).map_err(sqlite_error)?;
                    since.push(now);
                }
                Ok(since)
            })
            .await
    }

    /// Whether these records are in one of these scopes: tombstones in those that the record was in.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn are_in(
        &self,
        records: Vec<(ChannelNo, RecordId)>,
        scopes: Vec<ScopeKey>,
    ) -> Result<Vec<bool>, StoreError> {
        self.read(move |connection| {
            const NUMBER: &str = "SELECT number FROM scope WHERE key = ?1";
            const SCOPES: &str = "SELECT scopes FROM log WHERE channel = :channel AND id = :id AND lost = 0";
            let mut numbers: HashSet<ScopeNo> = HashSet::with_capacity(scopes.len());
            let mut number = connection.prepare_cached(NUMBER).map_err(sqlite_error)?;
            for key in &scopes {
                let found: Option<ScopeNo> =
                    number.query_row([key.as_str()], |row| row.get(0)).optional().map_err(sqlite_error)?;
                numbers.extend(found);
            }
            let mut scopes_of = connection.prepare_cached(SCOPES).map_err(sqlite_error)?;
            let is_in = |(channel, id): (ChannelNo, RecordId)| {
                let record = named_params! { ":channel": channel, ":id": id.as_str() };
                let scopes: Option<Vec<u8>> =
                    scopes_of.query_row(record, |row| row.get(0)).optional().map_err(sqlite_error)?;
                Ok(scopes.is_some_and(|scopes| unpack_scopes(&scopes).iter().any(|scope| numbers.contains(scope))))
            };
            records.into_iter().map(is_in).collect()
        })
        .await
    }
}

fn granted_to(connection: &Connection, account: AccountNo) -> Result<HashMap<ScopeNo, Position>, StoreError> {
    const SELECT: &str = "SELECT scope, since FROM granted WHERE account = ?1";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let rows = statement.query_map([account], |row| Ok((row.get(0)?, Position(row.get(1)?))));
    rows.and_then(Iterator::collect).map_err(sqlite_error)
}
