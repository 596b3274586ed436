//! Durable numbers of channels, of their fields' versions and of scopes.

use omctl_protocol::{ChannelName, ChannelSchema, SchemaVersion, ScopeKey};
use rusqlite::{Connection, OptionalExtension as _, named_params};

#[cfg(doc)]
use super::Committing;
use super::state::WriterState;
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
    /// How its records were placed in scopes last; `None`: not all of them in one way.
    pub placing: Option<String>,
}

impl Store {
    /// From now on records are placed by this generation of definitions or a later one: what stands on an earlier one is
    /// handed back ([`Committing::Outdated`]).
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn begin_generation(&self, generation: u64) -> Result<(), StoreError> {
        self.writer
            .run(move |state, _| {
                state.generation = generation;
                Ok(())
            })
            .await
    }

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
                    let numbered = number_of(state, connection, &schema.channel, &home)?;
                    state.remember_channel(numbered.number, schema.channel.clone());
                    registered.push(version_of(connection, numbered, schema)?);
                }
                Ok(registered)
            })
            .await
    }

    /// Notes that not all records of a channel are placed in one way any more, until [`Store::finish_placing`].
    ///
    /// # Errors
    /// Those of writing.
    pub async fn begin_placing(&self, channel: ChannelNo) -> Result<(), StoreError> {
        self.writer.run(move |_, connection| note_placing(connection, channel, None)).await
    }

    /// Notes that all records of a channel were placed by this generation, and how. `false`: a later one has begun since, which
    /// may place them otherwise; nothing is noted then.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn finish_placing(
        &self,
        channel: ChannelNo,
        placing: String,
        generation: u64,
    ) -> Result<bool, StoreError> {
        self.writer
            .run(move |state, connection| {
                if state.generation != generation {
                    return Ok(false);
                }
                note_placing(connection, channel, Some(&placing)).map(|()| true)
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

fn note_placing(connection: &Connection, channel: ChannelNo, placing: Option<&str>) -> Result<(), StoreError> {
    const UPDATE: &str = "UPDATE channel SET placing = :placing WHERE number = :channel";
    connection
        .execute(UPDATE, named_params! { ":placing": placing, ":channel": channel })
        .map(drop)
        .map_err(sqlite_error)
}

/// A channel's durable numbers.
struct Numbered {
    number: ChannelNo,
    epoch: u32,
    placing: Option<String>,
}

fn number_of(
    state: &mut WriterState,
    connection: &Connection,
    name: &ChannelName,
    home: &str,
) -> Result<Numbered, StoreError> {
    const SELECT: &str = "SELECT number, home, epoch, placing FROM channel WHERE name = ?1";
    const INSERT: &str = "INSERT INTO channel (name, home, epoch) VALUES (:name, :home, 1)";
    const MOVE: &str = "UPDATE channel SET home = :home, epoch = :epoch, placing = NULL WHERE number = :number";
    let known: Option<(ChannelNo, String, u32, Option<String>)> = connection
        .query_row(SELECT, [name.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()
        .map_err(sqlite_error)?;
    match known {
        Some((number, known_home, epoch, placing)) if known_home == home => Ok(Numbered { number, epoch, placing }),
        Some((number, _, epoch, _)) => {
            tracing::warn!(channel = %name, home, "`{name}` has another home now: its records are read anew");
            let epoch = epoch + 1;
            connection
                .execute(MOVE, named_params! { ":home": home, ":epoch": epoch, ":number": number })
                .map_err(sqlite_error)?;
            forget_records(state, connection, number)?;
            Ok(Numbered { number, epoch, placing: None })
        }
        None => {
            connection
                .execute(INSERT, named_params! { ":name": name.as_str(), ":home": home })
                .map_err(sqlite_error)?;
            Ok(Numbered { number: ChannelNo(connection.last_insert_rowid() as u64), epoch: 1, placing: None })
        }
    }
}

/// Forgets what was known of a channel in its earlier home. No device sees it: the scope keys of the new epoch are
/// others, and the old ones are dropped whole.
fn forget_records(state: &mut WriterState, connection: &Connection, channel: ChannelNo) -> Result<(), StoreError> {
    super::prune::note_position(connection)?;
    for statement in [
        "DELETE FROM member WHERE scope IN (SELECT number FROM scope WHERE channel = ?1)",
        "DELETE FROM departed WHERE channel = ?1",
        "DELETE FROM link WHERE channel = ?1",
        "DELETE FROM id_map WHERE channel = ?1",
        "DELETE FROM log WHERE channel = ?1",
    ] {
        connection.execute(statement, [channel]).map_err(sqlite_error)?;
    }
    state.empty_scopes(channel);
    Ok(())
}

fn version_of(
    connection: &Connection,
    Numbered { number, epoch, placing }: Numbered,
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
    let schema = ChannelSchema { version: current, ..unnumbered };
    Ok(RegisteredChannel { number, epoch, schema, older, placing })
}
