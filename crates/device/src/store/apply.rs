//! Server rows into tables: the hot path of a first sync, and the same code for every later batch.
//!
//! A *target* is the pair of tables that rows go to: the app's own with their membership, or the hidden ones before a
//! channel's first commit. *Invariant:* triggers are off; everything happens in the caller's transaction.

use std::collections::BTreeSet;

use omctl_protocol::frame::{Leave, ScalarRow, Slices};
use omctl_protocol::hash::slice_of;
use omctl_protocol::{ChannelName, ChannelSchema, FieldType, Position, RowHash, SchemaVersion, ScopeKey, ScopeSum};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use serde::Deserialize;

use super::channels::Channel;
use super::ddl::Names;
use super::overlay::{self, field_list};
use super::scopes::Scope;
use super::values::{Bind, BindError, bind_scalar};
use super::{Result, StoreError, fields, state};

/// The head of a `rows` frame: what must be known before its rows are read.
#[derive(Debug, Deserialize)]
pub(crate) struct RowsHead {
    pub(crate) scope: ScopeKey,
    pub(crate) channel: ChannelName,
    pub(crate) v: SchemaVersion,
}

#[derive(Deserialize)]
struct RowsBody<'a> {
    v: SchemaVersion,
    position: Position,
    #[serde(default)]
    sum: Option<ScopeSum>,
    #[serde(borrow)]
    rows: Vec<ScalarRow<'a>>,
}

#[derive(Deserialize)]
struct RowsLine<'a> {
    #[serde(borrow)]
    rows: RowsBody<'a>,
}

#[derive(Deserialize)]
struct LeaveLine {
    leave: Leave,
}

#[derive(Deserialize)]
struct SlicesLine {
    slices: Slices,
}

/// Where rows go, and what was noticed on the way.
pub(crate) struct Target<'a> {
    conn: &'a Connection,
    channel: &'a Channel,
    table: &'a str,
    rows: &'a str,
    /// Whether any record's server row is kept beside the app's; none is in a hidden table.
    has_bases: bool,
    /// Records with a base whose server row changed.
    pub(crate) touched: BTreeSet<String>,
    /// Records that left a scope.
    pub(crate) left: BTreeSet<String>,
    /// Whether any row was written.
    pub(crate) changed: bool,
}

impl<'a> Target<'a> {
    pub(crate) fn new(conn: &'a Connection, channel: &'a Channel) -> Result<Self> {
        let names = &channel.names;
        let (table, rows) = if channel.filled { (&names.table, &names.row) } else { (&names.fill, &names.fill_row) };
        let has_bases = channel.filled
            && conn
                .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM {})", names.base))?
                .query_row([], |row| row.get(0))?;
        Ok(Self {
            conn,
            channel,
            table,
            rows,
            has_bases,
            touched: BTreeSet::new(),
            left: BTreeSet::new(),
            changed: false,
        })
    }

    /// Applies one `rows` frame, given as the line that came.
    pub(crate) fn rows(&mut self, scope: &mut Scope, line: &str) -> Result<()> {
        let frame: RowsLine<'_> = serde_json::from_str(line).map_err(StoreError::Frame)?;
        let frame = frame.rows;
        let schema = self
            .channel
            .versions
            .get(&frame.v)
            .cloned()
            .ok_or_else(|| StoreError::UnknownVersion { channel: scope.channel.clone(), version: frame.v })?;
        let mut writer = Writer::new(self.conn, self.channel, &schema, self.table, self.rows)?;
        for row in &frame.rows {
            let (Some(hash), Some(values)) = (row.2, &row.3) else {
                self.leave_one(scope, &row.0)?;
                continue;
            };
            if values.len() != schema.fields.len() {
                return Err(StoreError::BadRow { channel: scope.channel.clone() });
            }
            // A record of several scopes comes once for each and is written each time: an equal hash in another scope
            // does not prove that the table holds it, because that scope's own change may still be on its way.
            writer.hold(scope, &row.0, row.1.0, hash)?;
            self.changed = true;
            let base = self.has_base(&row.0)?;
            if base {
                self.touched.insert(row.0.clone().into_owned());
            }
            writer.write(base, &row.0, values)?;
        }
        scope.progress = Some(frame.position);
        scope.expected = frame.sum;
        Ok(())
    }

    /// Applies one `leave` frame.
    pub(crate) fn leave(&mut self, scope: &mut Scope, line: &str) -> Result<()> {
        let frame: LeaveLine = serde_json::from_str(line).map_err(StoreError::Frame)?;
        for id in &frame.leave.ids {
            self.leave_one(scope, id.as_str())?;
        }
        scope.progress = Some(frame.leave.position);
        scope.expected = frame.leave.sum;
        Ok(())
    }

    /// Applies one `slices` frame: what the scope holds in them is taken out, and the rows that follow fill it again.
    /// Whether a record is gone for good is known only when all frames are through, in [`Target::drop_orphans`].
    pub(crate) fn slices(&mut self, scope: &mut Scope, line: &str) -> Result<()> {
        let frame = serde_json::from_str::<SlicesLine>(line).map_err(StoreError::Frame)?.slices;
        if !frame.slices.is_empty() {
            let sql = format!("SELECT id FROM {} WHERE scope = ?1", self.rows);
            let mut held = self.conn.prepare_cached(&sql)?;
            let ids = held.query_map([scope.number], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            for id in ids.iter().filter(|id| frame.slices.contains(&slice_of(id))) {
                self.leave_one(scope, id)?;
            }
        }
        scope.progress = Some(frame.position);
        scope.expected = None;
        scope.reconcile = false;
        Ok(())
    }

    fn leave_one(&mut self, scope: &mut Scope, id: &str) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE id = ?1 AND scope = ?2 RETURNING hash", self.rows);
        let held: Option<[u8; 16]> = self
            .conn
            .prepare_cached(&sql)?
            .query_row(rusqlite::params![id, scope.number], |row| row.get(0))
            .optional()?;
        if let Some(hash) = held {
            scope.sum = scope.sum.minus(RowHash::from_bytes(hash));
            self.left.insert(id.to_owned());
        }
        Ok(())
    }

    /// Takes everything of a scope out of the membership; what nobody else holds goes with [`Target::drop_orphans`].
    pub(crate) fn empty_scope(&mut self, scope: &mut Scope) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE scope = ?1 RETURNING id", self.rows);
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([scope.number])?;
        while let Some(row) = rows.next()? {
            self.left.insert(row.get(0)?);
        }
        scope.sum = ScopeSum::default();
        Ok(())
    }

    fn has_base(&self, id: &str) -> Result<bool> {
        if !self.has_bases {
            return Ok(false);
        }
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE id = ?1)", self.channel.names.base);
        Ok(self.conn.prepare_cached(&sql)?.query_row([id], |row| row.get(0))?)
    }

    /// Deletes the records that were in some scope and are in none now.
    pub(crate) fn drop_orphans(&mut self) -> Result<()> {
        let held = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE id = ?1)", self.rows);
        let delete = format!("DELETE FROM {} WHERE id = ?1", self.table);
        for id in std::mem::take(&mut self.left) {
            if self.conn.prepare_cached(&held)?.query_row([&id], |row| row.get(0))? {
                continue;
            }
            self.changed = true;
            if self.has_base(&id)? {
                overlay::set_base_absent(self.conn, self.channel, &id)?;
                self.touched.insert(id);
            } else {
                self.conn.prepare_cached(&delete)?.execute([&id])?;
            }
        }
        Ok(())
    }
}

/// The statements of one frame, prepared once.
struct Writer<'a> {
    /// `None` where nothing of the record was held by the scope: the usual case of a first sync.
    insert_row: CachedStatement<'a>,
    held: String,
    update_row: String,
    row_write: CachedStatement<'a>,
    base_write: Option<CachedStatement<'a>>,
    conn: &'a Connection,
    binds: Vec<Bound>,
}

/// Which of the frame's values goes to which parameter, and its types in the frame and in the table.
struct Bound {
    source: usize,
    parameter: usize,
    from: FieldType,
    to: FieldType,
}

impl<'a> Writer<'a> {
    fn new(
        conn: &'a Connection,
        channel: &'a Channel,
        schema: &ChannelSchema,
        table: &str,
        rows: &str,
    ) -> Result<Self> {
        let current = &channel.schema;
        let mut binds = Vec::with_capacity(schema.fields.len());
        for (n, field) in current.fields.iter().enumerate() {
            if let Some((source, from)) = fields::counterpart(schema, current, field) {
                binds.push(Bound { source, parameter: n + 2, from: from.kind, to: field.kind });
            }
        }
        // A frame of another version leaves alone what it does not know.
        let same = binds.len() == current.fields.len();
        let narrowed;
        let written = if same {
            &**current
        } else {
            let known = |field: &&omctl_protocol::Field| {
                binds.iter().any(|bind| current.fields[bind.parameter - 2].name == field.name)
            };
            let fields = current.fields.iter().filter(known).cloned().collect();
            narrowed = ChannelSchema { fields, ..(**current).clone() };
            for (place, bind) in binds.iter_mut().enumerate() {
                bind.parameter = place + 2;
            }
            &narrowed
        };
        let base_write = if channel.filled {
            Some(conn.prepare_cached(&overlay::upsert_base(written, &channel.names.base))?)
        } else {
            None
        };
        // The version is part of the statement's text: one value less to bind for each row.
        let v = schema.version.0;
        Ok(Self {
            insert_row: conn.prepare_cached(&format!(
                "INSERT INTO {rows} (id, scope, life, hash, v) VALUES (?1, ?2, ?3, ?4, {v}) \
                 ON CONFLICT (id, scope) DO NOTHING"
            ))?,
            held: format!("SELECT hash FROM {rows} WHERE id = ?1 AND scope = ?2"),
            update_row: format!("UPDATE {rows} SET life = ?3, hash = ?4, v = {v} WHERE id = ?1 AND scope = ?2"),
            row_write: conn.prepare_cached(&overlay::upsert(written, table))?,
            base_write,
            conn,
            binds,
        })
    }

    /// Notes that the scope holds the record.
    fn hold(&mut self, scope: &mut Scope, id: &str, life: u64, hash: RowHash) -> Result<()> {
        let (life, bytes) = (state::signed(life), hash.to_bytes());
        scope.sum = scope.sum.plus(hash);
        let values = rusqlite::params![id, scope.number, life, &bytes[..]];
        if self.insert_row.execute(values)? == 1 {
            return Ok(());
        }
        let before: [u8; 16] =
            self.conn.prepare_cached(&self.held)?.query_row(rusqlite::params![id, scope.number], |row| row.get(0))?;
        scope.sum = scope.sum.minus(RowHash::from_bytes(before));
        self.conn.prepare_cached(&self.update_row)?.execute(rusqlite::params![id, scope.number, life, &bytes[..]])?;
        Ok(())
    }

    fn write(&mut self, base: bool, id: &str, values: &[omctl_protocol::value::Scalar<'_>]) -> Result<()> {
        let statement = match &mut self.base_write {
            Some(statement) if base => statement,
            _ => &mut self.row_write,
        };
        statement.raw_bind_parameter(1, id)?;
        for bind in &self.binds {
            let scalar = &values[bind.source];
            if bind.from == bind.to {
                bind_scalar(statement, bind.parameter, bind.from, scalar).map_err(|error| match error {
                    BindError::Value(source) => StoreError::BadValue(source),
                    BindError::Sqlite(source) => StoreError::Sqlite(source),
                })?;
            } else {
                let value = scalar.clone().into_value(bind.from).map_err(StoreError::BadValue)?;
                statement.raw_bind_parameter(bind.parameter, Bind(&fields::convert(bind.from, bind.to, value)))?;
            }
        }
        statement.raw_execute()?;
        Ok(())
    }
}

/// Puts the hidden tables in the place of the app's: the end of a channel's first sync, or of a sync after a reset.
/// Pending changes are laid over what came.
///
/// Up to `copy_rows_max` rows are copied: for a rename SQLite reads every table and trigger of the file anew, which takes
/// longer than few rows do.
pub(crate) fn swap(conn: &Connection, channel: &Channel, copy_rows_max: usize) -> Result<()> {
    let (schema, names) = (&channel.schema, &channel.names);
    let counted = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT ?1)", names.fill_row);
    let rows: usize = conn.query_row(&counted, [copy_rows_max.saturating_add(1)], |row| row.get(0))?;
    if rows <= copy_rows_max { move_rows(conn, schema, names) } else { rename(conn, schema, names) }?;
    let mut statement = conn.prepare(&format!("SELECT id FROM {}", names.base))?;
    let ids = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let fields = field_list(schema);
    let copy = format!(
        "INSERT INTO {} (id, om_present{fields}) SELECT id, 1{fields} FROM {} WHERE id = ?1",
        names.base, names.table
    );
    for id in &ids {
        conn.prepare_cached(&format!("DELETE FROM {} WHERE id = ?1", names.base))?.execute([id])?;
        if conn.prepare_cached(&copy)?.execute([id])? == 0 {
            conn.prepare_cached(&format!("INSERT INTO {} (id, om_present) VALUES (?1, 0)", names.base))?
                .execute([id])?;
        }
        overlay::refresh(conn, channel, id)?;
    }
    conn.execute("UPDATE om_channels SET filled = 1 WHERE channel = ?1", [schema.channel.as_str()])?;
    Ok(())
}

fn move_rows(conn: &Connection, schema: &ChannelSchema, names: &Names) -> Result<()> {
    let fields = field_list(schema);
    Ok(conn.execute_batch(&format!(
        "DELETE FROM {table}; INSERT INTO {table} (id{fields}) SELECT id{fields} FROM {fill}; DROP TABLE {fill};
         DELETE FROM {row}; INSERT INTO {row} (id, scope, life, hash, v) SELECT id, scope, life, hash, v FROM {fill_row};
         DROP TABLE {fill_row};",
        table = names.table,
        fill = names.fill,
        row = names.row,
        fill_row = names.fill_row,
    ))?)
}

fn rename(conn: &Connection, schema: &ChannelSchema, names: &Names) -> Result<()> {
    let own = super::channels::keep_own_objects(conn, schema)?;
    conn.execute_batch(&format!(
        "DROP TABLE {table}; ALTER TABLE {fill} RENAME TO {table}; \
         DROP TABLE {row}; ALTER TABLE {fill_row} RENAME TO {row}; {indexes}{triggers}",
        table = names.table,
        fill = names.fill,
        row = names.row,
        fill_row = names.fill_row,
        indexes = super::ddl::create_indexes(schema),
        triggers = super::ddl::create_triggers(schema),
    ))?;
    for object in own {
        conn.execute_batch(&object)?;
    }
    Ok(())
}

/// Makes the hidden tables where they are not there yet.
pub(crate) fn ensure_fill(conn: &Connection, channel: &Channel) -> Result<()> {
    if !super::channels::exists(conn, &format!("om_fill_{}", channel.schema.channel))? {
        conn.execute_batch(&super::ddl::create_table(&channel.schema, &channel.names.fill))?;
        conn.execute_batch(&super::ddl::create_row(&channel.names.fill_row))?;
    }
    Ok(())
}
