//! The few values that exist once: who this file belongs to, and how far it has come.

use omctl_protocol::{AccountId, BootId, DeviceId, Epoch, Incarnation, Position, Seq};
use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::Result;

pub(crate) fn get<T: FromSql>(conn: &Connection, key: &str) -> Result<Option<T>> {
    Ok(conn
        .prepare_cached("SELECT value FROM om_state WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?)
}

pub(crate) fn set(conn: &Connection, key: &str, value: impl ToSql) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO om_state (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute(params![key, value])?;
    Ok(())
}

pub(crate) fn clear(conn: &Connection, key: &str) -> Result<()> {
    conn.prepare_cached("DELETE FROM om_state WHERE key = ?1")?.execute([key])?;
    Ok(())
}

fn id<T: std::str::FromStr>(conn: &Connection, key: &str) -> Result<Option<T>> {
    Ok(get::<String>(conn, key)?.and_then(|text| text.parse().ok()))
}

fn number(conn: &Connection, key: &str) -> Result<u64> {
    Ok(get::<i64>(conn, key)?.and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
}

/// SQLite's integers are signed; positions and seqs of 2^63 are far away.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn device(conn: &Connection) -> Result<Option<DeviceId>> {
    id(conn, "device")
}

pub(crate) fn account(conn: &Connection) -> Result<Option<AccountId>> {
    id(conn, "account")
}

pub(crate) fn incarnation(conn: &Connection) -> Result<Option<Incarnation>> {
    id(conn, "incarnation")
}

pub(crate) fn epoch(conn: &Connection) -> Result<Option<Epoch>> {
    id(conn, "epoch")
}

pub(crate) fn boot(conn: &Connection) -> Result<Option<BootId>> {
    id(conn, "boot")
}

pub(crate) fn position(conn: &Connection) -> Result<Position> {
    number(conn, "position").map(Position)
}

/// Where the current incarnation's history parted from a lost one.
pub(crate) fn kept(conn: &Connection) -> Result<Option<Position>> {
    Ok(get::<i64>(conn, "kept")?.map(|position| Position(position.unsigned_abs())))
}

pub(crate) fn last_seq(conn: &Connection) -> Result<Seq> {
    number(conn, "last_seq").map(Seq)
}

pub(crate) fn set_last_seq(conn: &Connection, seq: Seq) -> Result<()> {
    set(conn, "last_seq", signed(seq.0))
}

pub(crate) fn accepted(conn: &Connection) -> Result<Seq> {
    number(conn, "accepted").map(Seq)
}
