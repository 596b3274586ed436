//! The id map: which record a backend's key is, where the id is not the key's own text.

use omctl_protocol::{Position, RecordId};
use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::{ChannelNo, Store, StoreError, sqlite_error};

/// One entry: this record is the row of this key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// The channel.
    pub channel: ChannelNo,
    /// The record.
    pub id: RecordId,
    /// The key, as text.
    pub key: String,
}

impl Store {
    /// The whole id map: only records that devices created have an entry.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn id_map(&self) -> Result<Vec<IdMapping>, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT channel, id, key FROM id_map").map_err(sqlite_error)?;
            let rows = statement
                .query_map([], |row| {
                    Ok(IdMapping { channel: row.get(0)?, id: row.get::<_, String>(1)?.into(), key: row.get(2)? })
                })
                .map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }
}

/// Adds an entry. A key that was another record's before is this one's now: a backend may give the key of a deleted row
/// to a new one. Returns the records that have lost it: the one of an earlier entry, and the one that the key itself
/// names.
pub(super) fn insert(
    connection: &Connection,
    mapping: &IdMapping,
    position: Position,
) -> Result<Vec<RecordId>, StoreError> {
    const LOSER: &str = "DELETE FROM id_map WHERE channel = :channel AND key = :key AND id <> :id RETURNING id";
    const INSERT: &str = "INSERT INTO id_map (channel, id, key, position) VALUES (:channel, :id, :key, :position)
        ON CONFLICT (channel, id) DO UPDATE SET key = :key, position = :position WHERE key <> :key";
    let named = named_params! { ":channel": mapping.channel, ":id": mapping.id.as_str(), ":key": mapping.key };
    let mut losers = vec![RecordId::from(mapping.key.as_str())];
    let loser: Option<String> = connection
        .prepare_cached(LOSER)
        .and_then(|mut statement| statement.query_row(named, |row| row.get(0)).optional())
        .map_err(sqlite_error)?;
    losers.extend(loser.map(RecordId::from));
    let named = named_params! {
        ":channel": mapping.channel, ":id": mapping.id.as_str(), ":key": mapping.key, ":position": position.0,
    };
    connection.prepare_cached(INSERT).and_then(|mut statement| statement.execute(named)).map_err(sqlite_error)?;
    losers.retain(|loser| *loser != mapping.id);
    Ok(losers)
}

/// Takes a record's key away.
pub(super) fn remove(connection: &Connection, channel: ChannelNo, id: &RecordId) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM id_map WHERE channel = :channel AND id = :id")
        .and_then(|mut statement| statement.execute(named_params! { ":channel": channel, ":id": id.as_str() }))
        .map(drop)
        .map_err(sqlite_error)
}

/// Whether a record has a key of its own in the map.
pub(super) fn is_mapped(connection: &Connection, channel: ChannelNo, id: &RecordId) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM id_map WHERE channel = :channel AND id = :id)")
        .and_then(|mut statement| {
            statement.query_row(named_params! { ":channel": channel, ":id": id.as_str() }, |row| row.get(0))
        })
        .map_err(sqlite_error)
}
