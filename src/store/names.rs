//! The id map: which record a backend's key is, where the id is not the key's own text.

use omctl_protocol::RecordId;
use rusqlite::{Connection, named_params};

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

/// Adds an entry. A key that was another record's before is this one's now (deleted and created again by a device).
pub(super) fn insert(connection: &Connection, mapping: &IdMapping) -> Result<(), StoreError> {
    const INSERT: &str = "INSERT OR REPLACE INTO id_map (channel, id, key) VALUES (:channel, :id, :key)";
    connection
        .prepare_cached(INSERT)
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":channel": mapping.channel, ":id": mapping.id.as_str(), ":key": mapping.key,
            })
        })
        .map(drop)
        .map_err(sqlite_error)
}
