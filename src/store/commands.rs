//! Orders to devices: `lock`, `unlock`, `wipe`.
//!
//! Each says what a device is to be from then on. The state of the device changes with the order and not with its
//! delivery: from that commit on nothing of the device is applied and no row is sent to it.

use omctl_protocol::DeviceId;
use omctl_protocol::frame::{COMMAND_MAX, CommandKind};
use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::accounts::DeviceState;
use super::feed::Notice;
use super::{DeviceNo, Store, StoreError, sqlite_error};
use crate::limits;

/// An order: the number that it has among those to its device, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Rises with each order to the device.
    pub n: u64,
    /// What the device is to be from then on.
    pub kind: CommandKind,
}

/// An order and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// What was ordered.
    pub command: Order,
    /// When.
    pub ordered_ms: i64,
    /// When it was sent to the device, the last time.
    pub delivered_ms: Option<i64>,
    /// When the device said that it is done.
    pub confirmed_ms: Option<i64>,
}

/// What a device may do, and what it has to hear first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// What it may do.
    pub state: DeviceState,
    /// The newest command, where there is any.
    pub command: Option<Order>,
}

impl Store {
    /// Orders something of a device. The same order twice is one; what a device is told is told in the order of these.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where no device has this id, or none that an order could reach: one that was revoked; and a
    /// wiped one for everything else. Those of writing.
    pub async fn order(&self, id: DeviceId, kind: CommandKind) -> Result<Order, StoreError> {
        self.writer
            .run(move |state, connection| {
                const FIND: &str = "SELECT number, state FROM device WHERE id = ?1";
                let found: Option<(DeviceNo, String)> = connection
                    .query_row(FIND, [id.0.as_bytes().as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
                    .map_err(sqlite_error)?;
                let (device, word) = found.ok_or(StoreError::NotFound("device"))?;
                match DeviceState::parse(&word) {
                    Some(DeviceState::Active | DeviceState::Locked) => {}
                    Some(DeviceState::Wiped) if kind == CommandKind::Wipe => {}
                    _ => return Err(StoreError::NotFound("device that can be ordered something")),
                }
                if let Some(newest) = newest(connection, device)?
                    && newest.command.kind == kind
                {
                    return Ok(newest.command);
                }
                let command = add(connection, device, kind, 0, state.clock.now_ms())?;
                let next = match kind {
                    CommandKind::Lock => DeviceState::Locked,
                    CommandKind::Unlock => DeviceState::Active,
                    CommandKind::Wipe => DeviceState::Wiped,
                };
                #[cfg(feature = "planted")]
                let next = match crate::planted::has("wiped_served") && kind == CommandKind::Wipe {
                    true => DeviceState::Active,
                    false => next,
                };
                connection
                    .execute(
                        "UPDATE device SET state = :state WHERE number = :device",
                        named_params! { ":state": next.word(), ":device": device },
                    )
                    .map_err(sqlite_error)?;
                state.publish_notice(Notice::Device(device));
                Ok(command)
            })
            .await
    }

    /// What a device may do, and its newest command.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; those of reading.
    pub async fn orders(&self, device: DeviceNo) -> Result<Orders, StoreError> {
        self.read(move |connection| {
            let word: Option<String> = connection
                .prepare_cached("SELECT state FROM device WHERE number = ?1")
                .and_then(|mut statement| statement.query_row([device], |row| row.get(0)).optional())
                .map_err(sqlite_error)?;
            let word = word.ok_or(StoreError::NotFound("device"))?;
            let state =
                DeviceState::parse(&word).ok_or_else(|| StoreError::Damaged(format!("a device in state `{word}`")))?;
            Ok(Orders { state, command: newest(connection, device)?.map(|newest| newest.command) })
        })
        .await
    }

    /// The newest command to a device and how far it has come.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn newest_command(&self, device: DeviceNo) -> Result<Option<CommandRow>, StoreError> {
        self.read(move |connection| newest(connection, device)).await
    }

    /// The commands to a device that are kept, the newest first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn commands_of(&self, device: DeviceNo) -> Result<Vec<CommandRow>, StoreError> {
        self.read(move |connection| newest_ones(connection, device, limits::COMMANDS_KEPT)).await
    }

    /// Notes what a device says of itself: commands up to `done` are carried out. Returns the one that it still has to
    /// hear, which counts as delivered from now on.
    ///
    /// A device may have carried out what this server has forgotten, because it was set back: then the device is told anew
    /// what it is to be here.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn note_commands(&self, device: DeviceNo, done: u64) -> Result<Option<Order>, StoreError> {
        // Whoever says more counts as one who has done all but the last that there can be.
        let done = done.min(COMMAND_MAX - 1);
        let newest_row = self.newest_command(device).await?;
        let n = newest_row.map_or(0, |newest| newest.command.n);
        if done == n && newest_row.is_none_or(|newest| newest.confirmed_ms.is_some()) {
            return Ok(None);
        }
        self.writer
            .run(move |state, connection| {
                let now = state.clock.now_ms();
                let n = newest(connection, device)?.map_or(0, |newest| newest.command.n);
                if done > n {
                    let word: String = connection
                        .query_row("SELECT state FROM device WHERE number = ?1", [device], |row| row.get(0))
                        .map_err(sqlite_error)?;
                    let kind = match DeviceState::parse(&word) {
                        Some(DeviceState::Locked) => CommandKind::Lock,
                        Some(DeviceState::Wiped) => CommandKind::Wipe,
                        _ => CommandKind::Unlock,
                    };
                    add(connection, device, kind, done, now)?;
                }
                const CONFIRM: &str = "UPDATE command SET confirmed_ms = coalesce(confirmed_ms, :now)
                    WHERE device = :device AND n = :done";
                const DELIVER: &str = "UPDATE command SET delivered_ms = :now
                    WHERE device = :device AND n = (SELECT max(n) FROM command WHERE device = :device) AND n > :done";
                for sql in [CONFIRM, DELIVER] {
                    connection
                        .prepare_cached(sql)
                        .and_then(|mut statement| {
                            statement.execute(named_params! { ":now": now, ":device": device, ":done": done })
                        })
                        .map_err(sqlite_error)?;
                }
                const SEEN: &str = "UPDATE device SET seen_ms = :now WHERE number = :device";
                connection.execute(SEEN, named_params! { ":now": now, ":device": device }).map_err(sqlite_error)?;
                Ok(newest(connection, device)?.map(|newest| newest.command).filter(|command| command.n > done))
            })
            .await
    }
}

/// Adds a command behind the newest one and behind `after`.
fn add(
    connection: &Connection,
    device: DeviceNo,
    kind: CommandKind,
    after: u64,
    now_ms: i64,
) -> Result<Order, StoreError> {
    const INSERT: &str = "INSERT INTO command (device, n, kind, ordered_ms) VALUES (:device, :n, :kind, :now)";
    // What a device says of itself must not let its history grow without end.
    const FORGET: &str = "DELETE FROM command WHERE device = :device AND n <= (SELECT n FROM command
        WHERE device = :device ORDER BY n DESC LIMIT 1 OFFSET :kept)";
    let n = newest(connection, device)?.map_or(0, |newest| newest.command.n).max(after) + 1;
    let new = named_params! { ":device": device, ":n": n, ":kind": kind.word(), ":now": now_ms };
    connection.execute(INSERT, new).map_err(sqlite_error)?;
    connection
        .execute(FORGET, named_params! { ":device": device, ":kept": limits::COMMANDS_KEPT })
        .map_err(sqlite_error)?;
    Ok(Order { n, kind })
}

fn newest(connection: &Connection, device: DeviceNo) -> Result<Option<CommandRow>, StoreError> {
    Ok(newest_ones(connection, device, 1)?.pop())
}

fn newest_ones(connection: &Connection, device: DeviceNo, most: u32) -> Result<Vec<CommandRow>, StoreError> {
    const SELECT: &str = "SELECT n, kind, ordered_ms, delivered_ms, confirmed_ms FROM command WHERE device = :device
        ORDER BY n DESC LIMIT :most";
    type Found = (u64, String, i64, Option<i64>, Option<i64>);
    let found = || -> rusqlite::Result<Vec<Found>> {
        let mut statement = connection.prepare_cached(SELECT)?;
        let rows = statement.query_map(named_params! { ":device": device, ":most": most }, |row| row.try_into())?;
        rows.collect()
    };
    let read = |(n, word, ordered_ms, delivered_ms, confirmed_ms): Found| {
        let kind =
            CommandKind::parse(&word).ok_or_else(|| StoreError::Damaged(format!("a command of the kind `{word}`")))?;
        Ok(CommandRow { command: Order { n, kind }, ordered_ms, delivered_ms, confirmed_ms })
    };
    found().map_err(sqlite_error)?.into_iter().map(read).collect()
}
