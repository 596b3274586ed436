//! Catching up: what changed in some scopes behind some cursors, in one snapshot.

use std::sync::Arc;

use omctl_protocol::hash::slice_of;
use omctl_protocol::{Life, Position, RowHash, SchemaVersion, ScopeSum, SliceSums};
use rusqlite::{Connection, named_params};

use super::feed::{Change, LogRow};
use super::{ScopeNo, Store, StoreError, sqlite_error};

/// From where one scope is read.
#[derive(Clone, Debug)]
pub struct ScopeCursor {
    /// The scope.
    pub scope: ScopeNo,
    /// Everything up to here was sent.
    pub after: Position,
    /// The account may see the scope since here ([`Store::note_granted`]): what was deleted or left before is none of its.
    pub since: Position,
    /// The device compared slices: of what is older than that, only these are wanted.
    pub reconcile: Option<Reconcile>,
}

/// What a comparison of slices came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// The slices that differ, rising.
    pub slices: Vec<u8>,
    /// The log's newest position at the comparison.
    pub until: Position,
}

/// A piece of what some scopes have behind their cursors.
#[derive(Clone, Debug, Default)]
pub struct CatchUp {
    /// The log's newest position in the snapshot that this was read from.
    pub head: Position,
    /// For each scope with changes, in the order asked for.
    pub scopes: Vec<ScopeRows>,
    /// Whether every scope was read up to `head`. Otherwise ask again from the positions reached.
    pub complete: bool,
    /// The sums of all scopes at `head`, in the order asked for, once they were read to their end.
    pub sums: Vec<ScopeSum>,
}

/// The changes of one scope behind its cursor.
#[derive(Clone, Debug)]
pub struct ScopeRows {
    /// The scope.
    pub scope: ScopeNo,
    /// In the order of their positions.
    pub changes: Vec<Change>,
    /// Everything of the scope up to here is in `changes`.
    pub position: Position,
    /// The scope's sum at `position`; absent where the scope was not read to its end.
    pub sum: Option<ScopeSum>,
}

impl Store {
    /// Reads what these scopes have behind their cursors, at most about this many bytes of bodies. A cursor of 0 is a
    /// device that has nothing of the scope: it gets no tombstones and nothing that left.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn catch_up(&self, scopes: Vec<ScopeCursor>, bytes_max: usize) -> Result<CatchUp, StoreError> {
        self.read(move |connection| {
            let head = newest(connection)?;
            let mut found = CatchUp { head, complete: true, ..CatchUp::default() };
            let mut bytes_left = bytes_max;
            for cursor in &scopes {
                if bytes_left == 0 {
                    found.complete = false;
                    break;
                }
                let mut rows = ScopeRows { scope: cursor.scope, changes: Vec::new(), position: head, sum: None };
                let ended = read_scope(connection, cursor, &mut rows, &mut bytes_left)?;
                if ended {
                    rows.position = head;
                    rows.sum = Some(sum_of(connection, cursor.scope)?);
                } else {
                    found.complete = false;
                }
                if !rows.changes.is_empty() || !ended {
                    found.scopes.push(rows);
                }
            }
            if found.complete {
                for cursor in &scopes {
                    found.sums.push(sum_of(connection, cursor.scope)?);
                }
            }
            Ok(found)
        })
        .await
    }

    /// The slice sums of these scopes, with the log's newest position at that moment. A hash does not cover the version of
    /// its body: rows of a later version than the one given with a scope make sums that no device has.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn slice_sums(
        &self,
        scopes: Vec<(ScopeNo, SchemaVersion)>,
    ) -> Result<(Position, Vec<SliceSums>), StoreError> {
        self.read(move |connection| {
            const SELECT: &str =
                "SELECT log.id, log.hash, log.version FROM member JOIN log ON log.position = member.position
                WHERE member.scope = ?1 AND log.hash IS NOT NULL";
            let head = newest(connection)?;
            let mut all = Vec::with_capacity(scopes.len());
            for (scope, known) in scopes {
                let mut sums = SliceSums::default();
                let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
                let mut rows = statement.query([scope]).map_err(sqlite_error)?;
                while let Some(row) = rows.next().map_err(sqlite_error)? {
                    let mut hash = row.get(1).map(RowHash::from_bytes).map_err(sqlite_error)?;
                    if row.get::<_, u32>(2).map_err(sqlite_error)? > known.0 {
                        hash = RowHash(hash.0.wrapping_add(2));
                    }
                    let id = row.get_ref(0).and_then(|id| Ok(id.as_str()?)).map_err(sqlite_error)?;
                    sums.add(id, hash);
                }
                all.push(sums);
            }
            Ok((head, all))
        })
        .await
    }
}

/// The newest position that was ever given. Whatever left a scope did so at a position that some log row had, and rows
/// only move up; compaction notes what it takes away at the top.
pub(super) fn newest(connection: &Connection) -> Result<Position, StoreError> {
    const SELECT: &str = "SELECT max(
        coalesce((SELECT max(position) FROM log), 0),
        coalesce((SELECT first_position - 1 FROM boot ORDER BY number DESC LIMIT 1), 0),
        coalesce((SELECT value FROM meta WHERE name = 'position'), 0))";
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map(Position)
        .map_err(sqlite_error)
}

/// Reads one scope in the order of positions until it ends or the bytes are used up. Returns whether it ended.
fn read_scope(
    connection: &Connection,
    cursor: &ScopeCursor,
    rows: &mut ScopeRows,
    bytes_left: &mut usize,
) -> Result<bool, StoreError> {
    // Two ordered streams, merged: what is in the scope, and what left it. Up to `until` the device has nothing that
    // could have been deleted or have left: it begins anew, or in whole slices.
    const IN: &str = "SELECT log.position, log.id, log.life, log.version, log.body, log.hash
        FROM member JOIN log ON log.position = member.position
        WHERE member.scope = :scope AND member.position > :after
            AND (member.position > :until OR log.body IS NOT NULL)
        ORDER BY member.position";
    const LEFT: &str = "SELECT position, id FROM departed
        WHERE scope = :scope AND position > max(:after, :until) ORDER BY position";
    let until = match &cursor.reconcile {
        Some(reconcile) => reconcile.until,
        None if cursor.after == Position(0) => Position(i64::MAX as u64),
        None => cursor.after,
    }
    .max(cursor.since);
    let wanted = |row: &LogRow| match &cursor.reconcile {
        Some(Reconcile { slices, until }) if row.position <= *until => {
            slices.binary_search(&slice_of(row.id.as_str())).is_ok()
        }
        _ => true,
    };
    let mut left = connection.prepare_cached(LEFT).map_err(sqlite_error)?;
    let parameters = named_params! { ":scope": rows.scope, ":after": cursor.after.0, ":until": until.0 };
    let left: Vec<(u64, String)> = left
        .query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(sqlite_error)?;
    let mut left = left.into_iter().peekable();
    let mut statement = connection.prepare_cached(IN).map_err(sqlite_error)?;
    let mut inside = statement.query(parameters).map_err(sqlite_error)?;
    while let Some(row) = inside.next().map_err(sqlite_error)? {
        let row = read_row(row).map_err(sqlite_error)?;
        while let Some((position, id)) = left.next_if(|(position, _)| *position < row.position.0) {
            rows.changes.push(Change::Left(id.into(), Position(position)));
        }
        if !wanted(&row) {
            continue;
        }
        let bytes = 64 + row.body.as_ref().map_or(0, String::len);
        rows.position = row.position;
        rows.changes.push(Change::Row(Arc::new(row)));
        *bytes_left = bytes_left.saturating_sub(bytes);
        if *bytes_left == 0 {
            return Ok(false);
        }
    }
    rows.changes.extend(left.map(|(position, id)| Change::Left(id.into(), Position(position))));
    Ok(true)
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<LogRow> {
    Ok(LogRow {
        position: Position(row.get(0)?),
        id: row.get::<_, String>(1)?.into(),
        life: Life(row.get(2)?),
        version: SchemaVersion(row.get(3)?),
        body: row.get(4)?,
        hash: row.get::<_, Option<[u8; 16]>>(5)?.map(RowHash::from_bytes),
    })
}

fn sum_of(connection: &Connection, scope: ScopeNo) -> Result<ScopeSum, StoreError> {
    const SELECT: &str = "SELECT sum FROM scope WHERE number = ?1";
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| statement.query_row([scope], |row| row.get(0)))
        .map(ScopeSum::from_bytes)
        .map_err(sqlite_error)
}
