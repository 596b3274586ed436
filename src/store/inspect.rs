//! How things stand, for operators: what each channel has, what each device was told, what waits.

use std::collections::BTreeMap;

use omctl_protocol::inspect::{OutboxView, WaitingView};
use omctl_protocol::{ChannelName, DeviceId, Incarnation, Position, Seq};
use rusqlite::{Connection, named_params};
use uuid::Uuid;

use super::{DeviceNo, Store, StoreError, sqlite_error};

/// What the log has of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelCount {
    /// The channel.
    pub name: ChannelName,
    /// Records that exist.
    pub records: u64,
    /// Records whose deletion is remembered.
    pub tombstones: u64,
    /// The position of its newest change.
    pub position: Position,
    /// When that was (milliseconds since 1970).
    pub changed_ms: i64,
}

/// How everything stands at one moment.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The log's newest position.
    pub position: Position,
    /// Channels that ever had a record.
    pub channels: Vec<ChannelCount>,
    /// The current outbox of each device that ever had a session.
    pub outboxes: BTreeMap<DeviceNo, OutboxView>,
    /// What waits, the oldest first.
    pub waiting: Vec<WaitingView>,
}

impl Store {
    /// How everything stands. Reads the whole log once.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        self.read(|connection| {
            Ok(Standing {
                position: super::catch_up::newest(connection)?,
                channels: channel_counts(connection)?,
                outboxes: outboxes(connection, None)?,
                waiting: waiting(connection, None)?,
            })
        })
        .await
    }

    /// A device's current outbox, and what waits of it.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn device_standing(
        &self,
        device: DeviceNo,
    ) -> Result<(Option<OutboxView>, Vec<WaitingView>), StoreError> {
        self.read(move |connection| {
            let outbox = outboxes(connection, Some(device))?.remove(&device);
            Ok((outbox, waiting(connection, Some(device))?))
        })
        .await
    }
}

fn channel_counts(connection: &Connection) -> Result<Vec<ChannelCount>, StoreError> {
    // `at_ms` is that of the row with the highest position (<https://sqlite.org/lang_select.html#bareagg>).
    const SELECT: &str =
        "SELECT channel.name, count(log.hash), count(*) - count(log.hash), max(log.position), log.at_ms
        FROM log JOIN channel ON channel.number = log.channel GROUP BY log.channel ORDER BY channel.name";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok(ChannelCount {
                name: row.get::<_, String>(0)?.into(),
                records: row.get(1)?,
                tombstones: row.get(2)?,
                position: Position(row.get(3)?),
                changed_ms: row.get(4)?,
            })
        })
        .map_err(sqlite_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
}

/// The history that a device was in last, of each device or of one.
fn outboxes(connection: &Connection, only: Option<DeviceNo>) -> Result<BTreeMap<DeviceNo, OutboxView>, StoreError> {
    const SELECT: &str = "SELECT device, id, count(*), accepted, acked, max(seen_ms),
            (SELECT min(seq) FROM inbox WHERE inbox.incarnation = incarnation.number)
        FROM incarnation WHERE :only IS NULL OR device = :only GROUP BY device";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let rows = statement
        .query_map(named_params! { ":only": only }, |row| {
            let (accepted, waits): (u64, Option<u64>) = (row.get(3)?, row.get(6)?);
            let outbox = OutboxView {
                incarnation: Incarnation(Uuid::from_bytes(row.get(1)?)),
                incarnations: row.get(2)?,
                accepted: Seq(accepted),
                settled: Seq(waits.map_or(accepted, |first| first.saturating_sub(1))),
                acked: Seq(row.get(4)?),
            };
            Ok((row.get(0)?, outbox))
        })
        .map_err(sqlite_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
}

fn waiting(connection: &Connection, only: Option<DeviceNo>) -> Result<Vec<WaitingView>, StoreError> {
    const SELECT: &str = "SELECT device.id, device.name, json_extract(inbox.payload, '$.channel'), inbox.backend,
            count(*), min(inbox.at_ms), max(inbox.tries)
        FROM inbox JOIN incarnation ON incarnation.number = inbox.incarnation
        JOIN device ON device.number = incarnation.device
        WHERE :only IS NULL OR device.number = :only
        GROUP BY device.number, 3, inbox.backend ORDER BY 6";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let rows = statement
        .query_map(named_params! { ":only": only }, |row| {
            Ok(WaitingView {
                device: DeviceId(Uuid::from_bytes(row.get(0)?)),
                device_name: row.get(1)?,
                channel: row.get::<_, String>(2)?.into(),
                backend: row.get(3)?,
                mutations: row.get(4)?,
                oldest_ms: row.get(5)?,
                tries: row.get(6)?,
            })
        })
        .map_err(sqlite_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
}
