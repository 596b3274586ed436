//! The audit: whether the app's tables still hold what the server sent, by rendering each row again and comparing its
//! hash with the one that came with it.
//!
//! *Invariant:* records with pending changes, the outbox and the captures are left alone. What is wrong is mended by the
//! server's rows, never from anything on this device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omctl_protocol::{ChannelName, ChannelSchema, Life, RecordId, RowHash, ScopeKey, ScopeSum, value::encode_body};
use rusqlite::{Connection, Row, params};

use super::channels::Channel;
use super::scopes::{self, Scopes};
use super::{Durability, Result, Store, commit, fields, values};

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Records that were rendered again and compared.
    pub checked: u64,
    /// Records that could not be compared: the app's own changes lie over them, or they came in an older version of their
    /// channel's fields.
    pub skipped: u64,
    /// Records with other values than the server sent.
    pub damaged: u64,
    /// Records that a scope holds and the app's table does not.
    pub missing: u64,
    /// Rows that no scope holds and that the app did not write: they are deleted.
    pub foreign: u64,
    /// Scopes whose sum was not that of the records they hold.
    pub miscounted: u64,
    /// Channels whose tables changed.
    pub changed: BTreeSet<ChannelName>,
}

impl Audit {
    /// Whether something must come from the server.
    pub fn needs_repair(&self) -> bool {
        self.damaged + self.missing + self.miscounted > 0
    }
}

impl Store {
    /// Compares the app's tables with the hashes of what was received. What is wrong is in doubt from then on, so that the
    /// next `hello` gives its slice sums and the server's rows replace it; what nobody holds is deleted at once.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError) where the file cannot be read or written.
    pub fn audit(&mut self) -> Result<Audit> {
        self.intent(Durability::Normal, |conn, channels| {
            let mut audit = Audit::default();
            let mut scopes = scopes::load(conn)?;
            for channel in channels.values().filter(|channel| channel.filled) {
                let wrong = compare(conn, channel, &mut audit)?;
                put_in_doubt(conn, channel, &mut scopes, &wrong, &mut audit)?;
                delete_foreign(conn, channel, &mut audit)?;
            }
            commit::mark_dirty(conn, &audit.changed)?;
            Ok(audit)
        })
    }
}

/// Puts those rows in doubt that came in a version of which the new fields want more than the app's table has of it: the
/// server's row has it still. Returns whether there are any.
pub(super) fn doubt_what_is_lost(conn: &Connection, channel: &Channel, next: &ChannelSchema) -> Result<bool> {
    let between = &*channel.schema;
    let may_lose = |written: &ChannelSchema| fields::may_lose(written, between, next);
    doubt_versions(conn, channel, may_lose).map(|scopes| !scopes.is_empty())
}

/// The same for a hidden table that has just become the app's: its rows went through every version since theirs. Returns
/// the scopes that are in doubt.
pub(super) fn doubt_what_was_between(conn: &Connection, channel: &Channel) -> Result<Vec<ScopeKey>> {
    let now = &*channel.schema;
    doubt_versions(conn, channel, |written| {
        let between = |one: &&Arc<ChannelSchema>| written.version < one.version && one.version < now.version;
        channel.versions.values().filter(between).any(|one| fields::may_lose(written, one, now))
    })
}

/// Puts the rows of those earlier versions in doubt.
fn doubt_versions(
    conn: &Connection,
    channel: &Channel,
    may_lose: impl Fn(&ChannelSchema) -> bool,
) -> Result<Vec<ScopeKey>> {
    let mut wrong = Vec::new();
    for (version, written) in channel.versions.iter().filter(|(version, _)| **version != channel.schema.version) {
        if may_lose(written) {
            let sql = format!("SELECT id, scope FROM {} WHERE v = ?1", channel.names.row);
            let mut statement = conn.prepare_cached(&sql)?;
            let rows = statement.query_map([version.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            wrong.extend(rows.collect::<rusqlite::Result<Vec<(String, i64)>>>()?);
        }
    }
    if wrong.is_empty() {
        return Ok(Vec::new());
    }
    let mut scopes = scopes::load(conn)?;
    put_in_doubt(conn, channel, &mut scopes, &wrong, &mut Audit::default())?;
    let numbers: BTreeSet<i64> = wrong.iter().map(|(_, scope)| *scope).collect();
    Ok(scopes.into_iter().filter(|(_, scope)| numbers.contains(&scope.number)).map(|(key, _)| key).collect())
}

/// The memberships of a channel whose row is not what was hashed.
fn compare(conn: &Connection, channel: &Channel, audit: &mut Audit) -> Result<Vec<(String, i64)>> {
    let names = &channel.names;
    let fields: String = channel.schema.fields.iter().map(|f| format!(", t.{}", super::ddl::quote(&f.name))).collect();
    let sql = format!(
        "SELECT r.id, r.scope, r.life, r.hash, r.v, t.id IS NOT NULL, \
         EXISTS (SELECT 1 FROM {} AS b WHERE b.id = r.id){fields} \
         FROM {} AS r LEFT JOIN {} AS t ON t.id = r.id ORDER BY r.id",
        names.base, names.row, names.table
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut wrong = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        // A record of several scopes counts once.
        let count = u64::from(last.as_deref() != Some(&*id));
        match judge(channel, &id, row)? {
            Verdict::Right => audit.checked += count,
            Verdict::Skipped => audit.skipped += count,
            Verdict::Damaged => {
                audit.checked += count;
                audit.damaged += count;
                wrong.push((id.clone(), row.get(1)?));
            }
            Verdict::Missing => {
                audit.missing += count;
                wrong.push((id.clone(), row.get(1)?));
            }
        }
        last = Some(id);
    }
    Ok(wrong)
}

enum Verdict {
    Right,
    Skipped,
    Damaged,
    Missing,
}

fn judge(channel: &Channel, id: &str, row: &Row<'_>) -> rusqlite::Result<Verdict> {
    let (has_row, has_base): (bool, bool) = (row.get(5)?, row.get(6)?);
    if has_base {
        return Ok(Verdict::Skipped);
    }
    if !has_row {
        return Ok(Verdict::Missing);
    }
    // A body is hashed in the version it came in; another version's cannot be made from the columns of today.
    if row.get::<_, u32>(4)? != channel.schema.version.0 {
        return Ok(Verdict::Skipped);
    }
    let mut body = Vec::with_capacity(channel.schema.fields.len());
    for (n, kind) in channel.schema.types().enumerate() {
        let Some(value) = values::exactly(kind, row.get_ref(7 + n)?) else { return Ok(Verdict::Damaged) };
        body.push(value);
    }
    let life = Life(row.get::<_, i64>(2)?.unsigned_abs());
    let hash = RowHash::of(&channel.schema.channel, &RecordId::new(id), life, &encode_body(&body));
    Ok(if hash.to_bytes() == row.get::<_, [u8; 16]>(3)? { Verdict::Right } else { Verdict::Damaged })
}

/// Takes the hashes of wrong rows out of the sums, and puts every scope in doubt whose sum moved by it. The membership
/// itself stays until the server's rows replace it, so that a record is not taken from the app before.
fn put_in_doubt(
    conn: &Connection,
    channel: &Channel,
    scopes: &mut Scopes,
    wrong: &[(String, i64)],
    audit: &mut Audit,
) -> Result<()> {
    let rows = &channel.names.row;
    for (id, scope) in wrong {
        conn.prepare_cached(&format!("UPDATE {rows} SET hash = zeroblob(16) WHERE id = ?1 AND scope = ?2"))?
            .execute(params![id, scope])?;
    }
    conn.execute(&format!("DELETE FROM {rows} WHERE scope NOT IN (SELECT number FROM om_scopes)"), [])?;
    let sums = sums_of(conn, rows)?;
    let damaged: BTreeSet<i64> = wrong.iter().map(|(_, scope)| *scope).collect();
    for scope in scopes.values_mut().filter(|scope| scope.channel == channel.schema.channel) {
        let sum = sums.get(&scope.number).copied().unwrap_or_default();
        let is_damaged = damaged.contains(&scope.number);
        if sum == scope.sum && !is_damaged {
            continue;
        }
        audit.miscounted += u64::from(!is_damaged);
        scope.sum = sum;
        scope.reconcile = true;
        scopes::save(conn, scope)?;
    }
    Ok(())
}

fn sums_of(conn: &Connection, rows: &str) -> Result<BTreeMap<i64, ScopeSum>> {
    let mut statement = conn.prepare(&format!("SELECT scope, hash FROM {rows}"))?;
    let mut held = statement.query([])?;
    let mut sums = BTreeMap::<i64, ScopeSum>::new();
    while let Some(row) = held.next()? {
        let sum = sums.entry(row.get(0)?).or_default();
        *sum = sum.plus(RowHash::from_bytes(row.get(1)?));
    }
    Ok(sums)
}

/// Deletes rows that came neither from the server nor from the app's own statements.
fn delete_foreign(conn: &Connection, channel: &Channel, audit: &mut Audit) -> Result<()> {
    let names = &channel.names;
    let deleted = conn.execute(
        &format!(
            "DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {row} AS r WHERE r.id = {table}.id) \
             AND NOT EXISTS (SELECT 1 FROM {base} AS b WHERE b.id = {table}.id) \
             AND NOT EXISTS (SELECT 1 FROM {cap} AS c WHERE c.id = {table}.id)",
            table = names.table,
            row = names.row,
            base = names.base,
            cap = names.cap,
        ),
        [],
    )?;
    if deleted > 0 {
        audit.foreign += deleted as u64;
        audit.changed.insert(channel.schema.channel.clone());
    }
    Ok(())
}
