//! The scopes a device holds or is gaining, each with its sum and its own progress.

use std::collections::BTreeMap;

use omctl_protocol::{ChannelName, Position, ScopeKey, ScopeSum};
use rusqlite::{Connection, params};

use super::Result;
use super::state::signed;

/// One scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    /// Its short name in this file.
    pub(crate) number: i64,
    pub(crate) channel: ChannelName,
    /// Its content replaces what is held at the next commit.
    pub(crate) gaining: bool,
    /// Everything up to here is durable, but not committed.
    pub(crate) progress: Option<Position>,
    /// Of what is held, or of what fills the hidden table.
    pub(crate) sum: ScopeSum,
    /// What the server says the sum should be, where it said so last.
    pub(crate) expected: Option<ScopeSum>,
    /// What is held is in doubt: the next `hello` gives its slice sums. Ends with a `slices` frame that is applied.
    pub(crate) reconcile: bool,
}

pub(crate) type Scopes = BTreeMap<ScopeKey, Scope>;

pub(crate) fn load(conn: &Connection) -> Result<Scopes> {
    let mut statement =
        conn.prepare_cached("SELECT key, number, channel, gaining, progress, sum, expected, reconcile FROM om_scopes")?;
    let mut rows = statement.query([])?;
    let mut scopes = Scopes::new();
    while let Some(row) = rows.next()? {
        let scope = Scope {
            number: row.get(1)?,
            channel: row.get::<_, String>(2)?.into(),
            gaining: row.get(3)?,
            progress: row.get::<_, Option<i64>>(4)?.map(|position| Position(position.unsigned_abs())),
            sum: ScopeSum::from_bytes(row.get(5)?),
            expected: row.get::<_, Option<[u8; 16]>>(6)?.map(ScopeSum::from_bytes),
            reconcile: row.get(7)?,
        };
        scopes.insert(row.get::<_, String>(0)?.into(), scope);
    }
    Ok(scopes)
}

pub(crate) fn save(conn: &Connection, scope: &Scope) -> Result<()> {
    conn.prepare_cached(
        "UPDATE om_scopes SET gaining = ?2, progress = ?3, sum = ?4, expected = ?5, reconcile = ?6 WHERE number = ?1",
    )?
    .execute(params![
        scope.number,
        scope.gaining,
        scope.progress.map(|position| signed(position.0)),
        scope.sum.to_bytes(),
        scope.expected.map(ScopeSum::to_bytes),
        scope.reconcile,
    ])?;
    Ok(())
}

/// Begins to gain a scope, new or held already: what comes from now on replaces it.
pub(crate) fn begin_gain(conn: &Connection, key: &ScopeKey, channel: &ChannelName) -> Result<i64> {
    let number = conn
        .prepare_cached(
            "INSERT INTO om_scopes (key, channel, gaining, progress, sum) VALUES (?1, ?2, 1, NULL, zeroblob(16))
             ON CONFLICT (key) DO UPDATE SET gaining = 1, progress = NULL, expected = NULL, reconcile = 0
             RETURNING number",
        )?
        .query_row(params![key.as_str(), channel.as_str()], |row| row.get(0))?;
    conn.prepare_cached("DELETE FROM om_stage WHERE scope = ?1")?.execute([number])?;
    Ok(number)
}

pub(crate) fn forget(conn: &Connection, number: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM om_stage WHERE scope = ?1")?.execute([number])?;
    conn.prepare_cached("DELETE FROM om_scopes WHERE number = ?1")?.execute([number])?;
    Ok(())
}
