//! What is kept beside a connection: plans, what is installed, and a scratch table that knows SQLite's conversions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::ChannelName;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::fault::Fault;
use super::plan::{Affinity, Bound, Plan, canonical};
use crate::backend::{Collection, Column};
use omctl_protocol::value::Value;

/// How long a statement waits for somebody else's lock before the backend counts as unavailable.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Statements that stay prepared on one connection: a dozen tables with a few shapes of writes each.
const STATEMENTS_KEPT: usize = 256;

/// The first SQLite without the bug that can lose committed WAL writes (<https://www.sqlite.org/wal.html#walresetbug>).
pub(super) const SQLITE_MIN: i32 = 3_051_003;

/// Knowledge about the database behind one connection; forgotten when its schema changes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// How often the connection was opened: its `data_version` begins anew.
    pub(super) opening: u64,
    schema: Option<i64>,
    plans: HashMap<ChannelName, (Arc<Collection>, Arc<Plan>)>,
    /// Whether `om_applied` is there.
    pub(super) ledger: bool,
    /// Whether `om_changes` is there.
    pub(super) queue: bool,
    /// The blank entry that keeps numbers of the change queue from being given twice; outer `None` is not known yet.
    pub(super) blank: Option<Option<i64>>,
    scratch: Option<Connection>,
    /// Dedupe rows that the planted bug `dedupe_row_apart` writes later.
    #[cfg(feature = "planted")]
    pub(super) late: Vec<(Arc<Collection>, crate::backend::Write, Option<crate::backend::Key>)>,
}

/// Prepares a connection to somebody's database: nothing that is kept in the file is touched.
pub(super) fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What a device was told must survive a power cut. FULL is a property of the connection, not of the file.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Else whatever has a bound LIMIT is compiled anew each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

impl State {
    /// What is known about a connection that was opened anew: nothing.
    pub(super) fn reopened(&self) -> Self {
        Self { opening: self.opening + 1, ..Self::default() }
    }

    /// Notices a changed schema. Called at the beginning of each piece of work.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<(), Fault> {
        let schema: i64 = connection.prepare_cached("PRAGMA main.schema_version")?.query_row([], |row| row.get(0))?;
        if self.schema == Some(schema) {
            return Ok(());
        }
        self.plans.clear();
        self.blank = None;
        let there = |table: &str| -> Result<bool, rusqlite::Error> {
            connection.query_row(
                "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?1",
                [table],
                |row| row.get::<_, i64>(0).map(|count| count > 0),
            )
        };
        (self.ledger, self.queue) = (there("om_applied")?, there("om_changes")?);
        self.schema = Some(schema);
        Ok(())
    }

    /// The plan of a collection.
    pub(super) fn plan(&mut self, connection: &Connection, collection: &Arc<Collection>) -> Result<Arc<Plan>, Fault> {
        if let Some((known, plan)) = self.plans.get(&collection.channel)
            && (Arc::ptr_eq(known, collection) || known == collection)
        {
            return Ok(Arc::clone(plan));
        }
        let plan = Arc::new(Plan::new(connection, collection)?);
        self.plans.insert(collection.channel.clone(), (Arc::clone(collection), Arc::clone(&plan)));
        Ok(plan)
    }

    /// Whether a column of this affinity gives the value back as it was bound. SQLite itself is asked, in a database of
    /// its own: its conversions have more corners than a description of them.
    pub(super) fn survives(&mut self, affinity: Affinity, column: &Column, value: &Value) -> Result<bool, Fault> {
        let scratch = match &self.scratch {
            Some(scratch) => scratch,
            None => {
                let scratch = Connection::open_in_memory()?;
                let all =
                    [Affinity::Integer, Affinity::Text, Affinity::Blob, Affinity::Real, Affinity::Numeric].map(|one| {
                        let word = one.word();
                        format!("CREATE TABLE {word}_column (v {word});")
                    });
                scratch.execute_batch(&all.concat())?;
                self.scratch.insert(scratch)
            }
        };
        let table = format!("{}_column", affinity.word());
        scratch.prepare_cached(&format!("DELETE FROM {table}"))?.execute([])?;
        scratch.prepare_cached(&format!("INSERT INTO {table} (v) VALUES (?1)"))?.execute([Bound(value)])?;
        let mut statement = scratch.prepare_cached(&format!("SELECT v FROM {table}"))?;
        let back = statement.query_row([], |row| Ok(canonical(column.kind, row.get_ref(0)?)))?;
        Ok(back.as_ref() == Ok(value))
    }
}
