//! The count of deletes that backends brought about, by channel: what the brake on mass deletes goes by.
//!
//! It is written in the commit that buries the records, so that neither a crash nor a restart makes room for more.

use rusqlite::{Connection, named_params};

use super::log::{Journal, JournalChange};
use super::{ChannelNo, Store, StoreError, sqlite_error};
use crate::limits;

/// How it is known that a record is gone from its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteKind {
    /// Complete reads did not meet it.
    Inferred,
    /// The change queue named it, and it is not there.
    Told,
}

impl DeleteKind {
    fn word(self) -> &'static str {
        match self {
            Self::Inferred => "inferred",
            Self::Told => "told",
        }
    }
}

impl Store {
    /// How many records of a channel were buried for this reason within [`limits::MASS_DELETE_WITHIN`].
    ///
    /// # Errors
    /// Those of reading.
    pub async fn deletes_lately(&self, channel: ChannelNo, kind: DeleteKind) -> Result<u64, StoreError> {
        let after = self.clock.now_ms() - limits::MASS_DELETE_WITHIN.as_millis() as i64;
        self.read(move |connection| {
            const SELECT: &str = "SELECT coalesce(sum(records), 0) FROM braked_delete
                WHERE channel = :channel AND kind = :kind AND at_ms > :after";
            let named = named_params! { ":channel": channel, ":kind": kind.word(), ":after": after };
            connection
                .prepare_cached(SELECT)
                .and_then(|mut statement| statement.query_row(named, |row| row.get(0)))
                .map_err(sqlite_error)
        })
        .await
    }

    /// Begins a channel's counts anew: an operator has looked at it.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn forget_deletes(&self, channel: ChannelNo) -> Result<(), StoreError> {
        self.writer
            .run(move |_, connection| {
                const DELETE: &str = "DELETE FROM braked_delete WHERE channel = ?1";
                connection
                    .prepare_cached(DELETE)
                    .and_then(|mut statement| statement.execute([channel]))
                    .map(drop)
                    .map_err(sqlite_error)
            })
            .await
    }
}

/// Counts the deletes of a batch. Rows of a channel that are too old to count are taken away.
pub(super) fn count(
    connection: &Connection,
    now_ms: i64,
    kind: DeleteKind,
    journal: &[Journal],
) -> Result<(), StoreError> {
    const EXPIRE: &str = "DELETE FROM braked_delete WHERE channel = :channel AND at_ms <= :before";
    const INSERT: &str = "INSERT INTO braked_delete (channel, kind, records, at_ms)
        VALUES (:channel, :kind, :records, :at)";
    let mut by_channel = std::collections::BTreeMap::<ChannelNo, u64>::new();
    for entry in journal.iter().filter(|entry| matches!(entry.change, JournalChange::Gone)) {
        *by_channel.entry(entry.channel).or_default() += 1;
    }
    let before = now_ms - limits::MASS_DELETE_WITHIN.as_millis() as i64;
    for (channel, records) in by_channel {
        connection
            .prepare_cached(EXPIRE)
            .and_then(|mut statement| statement.execute(named_params! { ":channel": channel, ":before": before }))
            .map_err(sqlite_error)?;
        let named = named_params! {
            ":channel": channel, ":kind": kind.word(), ":records": records, ":at": now_ms,
        };
        connection.prepare_cached(INSERT).and_then(|mut statement| statement.execute(named)).map_err(sqlite_error)?;
    }
    Ok(())
}
