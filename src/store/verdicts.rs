//! What lost in conflicts and what was rejected, as it was kept for operators.

use omctl_protocol::{ChannelName, DeviceId, MutationId};
use rusqlite::{Row, named_params};
use uuid::Uuid;

use super::{Store, StoreError, Verdict, sqlite_error};

/// Which verdicts are asked for.
#[derive(Clone, Debug, Default)]
pub struct VerdictFilter {
    /// `rejected` or `conflict`.
    pub outcome: String,
    /// Of this channel only.
    pub channel: Option<ChannelName>,
    /// Of this account's devices only: its address, lower-cased.
    pub email: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A verdict, with whose mutation it was and when it was settled.
#[derive(Clone, Debug)]
pub struct KeptVerdict {
    /// What was judged.
    pub verdict: Verdict,
    /// When (milliseconds since 1970, by the server's clock).
    pub at_ms: i64,
    /// The device.
    pub device: DeviceId,
    /// What its user calls it.
    pub device_name: String,
    /// The address of its account.
    pub email: String,
}

/// What [`read_kept`] reads.
pub(super) const KEPT: &str = "SELECT verdict.mutation, verdict.device, verdict.channel, verdict.id,
        verdict.outcome, verdict.code, verdict.detail, verdict.at_ms, device.id, device.name, account.email
    FROM verdict
    JOIN device ON device.number = verdict.device
    JOIN account ON account.number = device.account";

impl Store {
    /// Whether anything was ever kept of this channel.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn has_verdicts_of(&self, channel: ChannelName) -> Result<bool, StoreError> {
        self.read(move |connection| {
            const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM verdict WHERE channel = ?1)";
            connection.query_row(SELECT, [channel.as_str()], |row| row.get(0)).map_err(sqlite_error)
        })
        .await
    }

    /// What lost in conflicts or what was rejected, newest first.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn verdicts(&self, filter: VerdictFilter) -> Result<Vec<KeptVerdict>, StoreError> {
        self.read(move |connection| {
            let sql = format!(
                "{KEPT} WHERE verdict.outcome = :outcome
                    AND (:channel IS NULL OR verdict.channel = :channel)
                    AND (:email IS NULL OR account.email = :email)
                ORDER BY verdict.number DESC LIMIT :limit"
            );
            let mut statement = connection.prepare_cached(&sql).map_err(sqlite_error)?;
            let named = named_params! {
                ":outcome": filter.outcome, ":channel": filter.channel.as_ref().map(ChannelName::as_str),
                ":email": filter.email, ":limit": filter.limit as i64,
            };
            let rows = statement.query_map(named, read_kept).map_err(sqlite_error)?;
            rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
        })
        .await
    }
}

pub(super) fn read_kept(row: &Row<'_>) -> rusqlite::Result<KeptVerdict> {
    Ok(KeptVerdict {
        verdict: Verdict {
            mutation: MutationId(Uuid::from_bytes(row.get(0)?)),
            device: row.get(1)?,
            channel: row.get::<_, String>(2)?.into(),
            id: row.get::<_, String>(3)?.into(),
            outcome: row.get(4)?,
            code: row.get(5)?,
            detail: row.get(6)?,
        },
        at_ms: row.get(7)?,
        device: DeviceId(Uuid::from_bytes(row.get(8)?)),
        device_name: row.get(9)?,
        email: row.get(10)?,
    })
}
