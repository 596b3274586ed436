//! Durable numbers of channels, of their fields' versions and of scopes.

use omctl_protocol::{ChannelName, ChannelSchema, SchemaVersion, ScopeKey};
use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::{ChannelNo, ScopeNo, Store, StoreError, sqlite_error};

/// A channel with its durable numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredChannel {
    /// The channel's number.
    pub number: ChannelNo,
    /// Rises when its backend or table changes; part of every scope key.
    pub epoch: u32,
    /// The fields, with their version.
    pub schema: ChannelSchema,
    /// Every earlier version, oldest first.
    pub older: Vec<ChannelSchema>,
}

impl Store {
    /// Gives channels their numbers, epochs and schema versions. `home` names backend and table; the schemas come with
    /// version 0.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn register_channels(
        &self,
        channels: Vec<(String, ChannelSchema)>,
    ) -> Result<Vec<RegisteredChannel>, StoreError> {
        self.writer
            .run(move |state, connection| {
                let mut registered = Vec::with_capacity(channels.len());
                for (home, schema) in channels {
                    let (number, epoch) = number_of(connection, &schema.channel, &home)?;
                    state.remember_channel(number, schema.channel.clone());
                    registered.push(version_of(connection, number, epoch, schema)?);
                }
                Ok(registered)
            })
            .await
    }

    /// The numbers of these scopes; made where a key is new.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn scope_numbers(&self, scopes: Vec<(ChannelNo, ScopeKey)>) -> Result<Vec<ScopeNo>, StoreError> {
        // Nearly always every key is known, and a read does not wait for the disk.
        let asked = scopes.clone();
        let found: Vec<Option<ScopeNo>> = self
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached("SELECT number FROM scope WHERE key = ?1").map_err(sqlite_error)?;
                asked
                    .iter()
                    .map(|(_, key)| {
                        statement.query_row([key.as_str()], |row| row.get(0)).optional().map_err(sqlite_error)
                    })
                    .collect()
            })
            .await?;
        if let Some(all) = found.into_iter().collect::<Option<Vec<_>>>() {
            return Ok(all);
        }
        self.writer
            .run(move |state, connection| {
                scopes.iter().map(|(channel, key)| state.scope_number(connection, *channel, key)).collect()
            })
            .await
    }
}

fn number_of(connection: &Connection, name: &ChannelName, home: &str) -> Result<(ChannelNo, u32), StoreError> {
    const SELECT: &str = "SELECT number, home, epoch FROM channel WHERE name = ?1";
    const INSERT: &str = "INSERT INTO channel (name, home, epoch) VALUES (:name, :home, 1)";
    const MOVE: &str = "UPDATE channel SET home = :home, epoch = :epoch WHERE number = :number";
    let known: Option<(ChannelNo, String, u32)> = connection
        .query_row(SELECT, [name.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .map_err(sqlite_error)?;
    match known {
        Some((number, known_home, epoch)) if known_home == home => Ok((number, epoch)),
        Some((number, _, epoch)) => {
            connection
                .execute(MOVE, named_params! { ":home": home, ":epoch": epoch + 1, ":number": number })
                .map_err(sqlite_error)?;
            Ok((number, epoch + 1))
        }
        None => {
            connection
                .execute(INSERT, named_params! { ":name": name.as_str(), ":home": home })
                .map_err(sqlite_error)?;
            Ok((ChannelNo(connection.last_insert_rowid() as u64), 1))
        }
    }
}

fn version_of(
    connection: &Connection,
    number: ChannelNo,
    epoch: u32,
    schema: ChannelSchema,
) -> Result<RegisteredChannel, StoreError> {
    const SELECT: &str = "SELECT version, fields FROM schema_version WHERE channel = ?1 ORDER BY version";
    const INSERT: &str = "INSERT INTO schema_version (channel, version, fields) VALUES (:channel, :version, :fields)";
    let unnumbered = ChannelSchema { version: SchemaVersion(0), ..schema };
    let fields = serde_json::to_string(&unnumbered).expect("a schema always has a JSON form");
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let known: Vec<(u32, String)> = statement
        .query_map([number], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(sqlite_error)?;
    // Only the newest version may be current: going back to earlier fields is a change like any other.
    let current = match known.last() {
        Some((version, text)) if *text == fields => SchemaVersion(*version),
        last => {
            let version = last.map_or(1, |(version, _)| version + 1);
            connection
                .execute(INSERT, named_params! { ":channel": number, ":version": version, ":fields": fields })
                .map_err(sqlite_error)?;
            SchemaVersion(version)
        }
    };
    let mut older = Vec::new();
    for (version, text) in known.iter().filter(|(version, _)| *version != current.0) {
        let schema: ChannelSchema =
            serde_json::from_str(text).map_err(|error| StoreError::Damaged(format!("schema version: {error}")))?;
        older.push(ChannelSchema { version: SchemaVersion(*version), ..schema });
    }
    Ok(RegisteredChannel { number, epoch, schema: ChannelSchema { version: current, ..unnumbered }, older })
}
