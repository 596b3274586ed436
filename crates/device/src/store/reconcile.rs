//! Bringing scopes in step with the server by slices: what is moved is in proportion to what differs.
//!
//! *Invariant:* what is held stays in its tables, visible, until a commit replaces it; the outbox and the captures are
//! never touched. That a scope is in doubt is in the file, so a crash between two `hello`s forgets nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use omctl_protocol::frame::{Leave, Row, Slices, Welcome};
use omctl_protocol::hash::slice_of;
use omctl_protocol::{RowHash, ScopeKey, SliceSums};
use rusqlite::Connection;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::channels::{Channel, Channels};
use super::scopes::{Scope, Scopes};
use super::{Result, StoreError, state};

/// The slice sums of every scope in doubt.
pub(crate) fn sums_in_doubt(
    conn: &Connection,
    channels: &Channels,
    scopes: &Scopes,
) -> Result<BTreeMap<ScopeKey, SliceSums>> {
    let mut sums = BTreeMap::new();
    for (key, scope) in scopes.iter().filter(|(_, scope)| scope.reconcile) {
        if let Some(channel) = channels.get(&scope.channel) {
            sums.insert(key.clone(), slice_sums(conn, channel, scope)?);
        }
    }
    Ok(sums)
}

/// The slice sums of one scope as they will be when what is staged is applied: a device that loses its connection again
/// and again gets on slice by slice.
fn slice_sums(conn: &Connection, channel: &Channel, scope: &Scope) -> Result<SliceSums> {
    let staged = Staged::read(conn, scope)?;
    let mut sums = SliceSums::default();
    let sql = format!("SELECT id, hash, v FROM {} WHERE scope = ?1", channel.names.row);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([scope.number])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if !staged.hides(id) {
            let hash = RowHash::from_bytes(row.get(1)?);
            // A hash does not cover the version: the same body in another one means something else. A sum that nobody
            // else has makes the server send the row, or tell that it is gone.
            let is_todays = [0, channel.schema.version.0].contains(&row.get(2)?);
            sums.add(id, if is_todays { hash } else { RowHash(hash.0.wrapping_add(1)) });
        }
    }
    for (id, hash) in &staged.records {
        if let Some(hash) = hash {
            sums.add(id, *hash);
        }
    }
    Ok(sums)
}

/// What staged frames do to a scope.
#[derive(Default)]
struct Staged {
    /// Slices whose committed content is taken out.
    taken: HashSet<u8>,
    /// Records that came or went.
    records: BTreeMap<String, Option<RowHash>>,
}

#[derive(Deserialize)]
struct StagedRows<'a> {
    #[serde(borrow)]
    rows: Vec<Row<'a, IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum StagedLine<'a> {
    #[serde(borrow)]
    Rows(StagedRows<'a>),
    Leave(Leave),
    Slices(Slices),
}

impl Staged {
    fn read(conn: &Connection, scope: &Scope) -> Result<Self> {
        let mut staged = Self::default();
        let mut statement = conn.prepare_cached("SELECT line FROM om_stage WHERE scope = ?1 ORDER BY n")?;
        let mut lines = statement.query([scope.number])?;
        while let Some(row) = lines.next()? {
            let line = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            staged.take_in(serde_json::from_str(line).map_err(StoreError::Frame)?);
        }
        Ok(staged)
    }

    fn take_in(&mut self, line: StagedLine<'_>) {
        match line {
            StagedLine::Rows(frame) => {
                let rows = frame.rows.into_iter();
                self.records.extend(rows.map(|Row(id, _, hash, _)| (Cow::into_owned(id), hash)));
            }
            StagedLine::Leave(leave) => {
                self.records.extend(leave.ids.into_iter().map(|id| (id.as_str().to_owned(), None)));
            }
            StagedLine::Slices(frame) => {
                self.records.retain(|id, _| !frame.slices.contains(&slice_of(id)));
                self.taken.extend(frame.slices);
            }
        }
    }

    /// Whether what is committed of the record counts no longer.
    fn hides(&self, id: &str) -> bool {
        self.records.contains_key(id) || (!self.taken.is_empty() && self.taken.contains(&slice_of(id)))
    }
}

/// Begins another history: no cursor means anything in it. What is held is in doubt and stays visible; what only fills
/// hidden tables is dropped, so that it comes whole.
pub(crate) fn begin_history(conn: &Connection, channels: &Channels, welcome: &Welcome) -> Result<()> {
    conn.execute("DELETE FROM om_stage", [])?;
    for channel in channels.values().filter(|channel| !channel.filled) {
        let names = &channel.names;
        conn.execute("DELETE FROM om_scopes WHERE channel = ?1", [channel.schema.channel.as_str()])?;
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {}; DROP TABLE IF EXISTS {};", names.fill, names.fill_row))?;
    }
    conn.execute("UPDATE om_scopes SET gaining = 0, progress = NULL, expected = NULL, reconcile = 1", [])?;
    state::set(conn, "epoch", welcome.epoch.to_string())?;
    state::set(conn, "boot", welcome.boot.to_string())?;
    state::set(conn, "position", 0)?;
    state::clear(conn, "digest")
}
