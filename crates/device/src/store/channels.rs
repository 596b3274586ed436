//! The channels a file has: their schemas, every version that was ever named, and the tables of the current one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use omctl_protocol::{ChannelName, ChannelSchema, Field, SchemaVersion};
use rusqlite::{Connection, params};

use super::ddl::{self, Names};
use super::{Result, StoreError, fields, values};

/// One channel, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) schema: Arc<ChannelSchema>,
    /// Every version known, the current one too.
    pub(crate) versions: HashMap<SchemaVersion, Arc<ChannelSchema>>,
    pub(crate) names: Arc<Names>,
    /// Whether the app's table holds what the server sent; before the first commit a hidden one does.
    pub(crate) filled: bool,
}

/// All of them, in the order of their names.
pub(crate) type Channels = BTreeMap<ChannelName, Channel>;

pub(crate) fn load(conn: &Connection) -> Result<Channels> {
    let mut channels = Channels::new();
    let mut statement =
        conn.prepare("SELECT channel, schema, current, filled FROM om_channels ORDER BY channel, current DESC")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        let schema: ChannelSchema = serde_json::from_str(&text)
            .map_err(|source| StoreError::Corrupt { what: "om_channels", source: Some(source) })?;
        let schema = Arc::new(schema);
        if row.get::<_, bool>(2)? {
            let names = Arc::new(Names::of(&schema.channel));
            let channel = Channel { schema: schema.clone(), versions: HashMap::new(), names, filled: row.get(3)? };
            channels.insert(schema.channel.clone(), channel);
        }
        if let Some(channel) = channels.get_mut(&schema.channel) {
            channel.versions.insert(schema.version, schema);
        }
    }
    Ok(channels)
}

/// Makes or changes a channel's tables. The caller has sealed every capture of it.
pub(crate) fn install(
    conn: &Connection,
    known: Option<&Channel>,
    schema: &ChannelSchema,
    copy_rows_max: usize,
) -> Result<()> {
    let names = Names::of(&schema.channel);
    let mut sql = String::new();
    match known {
        None => {
            sql += &ddl::create_table(schema, &names.table);
            sql += &ddl::create_base(schema, &names.base);
            sql += &ddl::create_row(&names.row);
        }
        Some(known) => {
            let kept = keep_own_objects(conn, &known.schema)?;
            let rebuild = Rebuild { conn, old: &known.schema, new: schema, copy_rows_max };
            rebuild.table(&names.table, &ddl::create_table, "id")?;
            rebuild.table(&names.base, &ddl::create_base, "id, om_present")?;
            if exists(conn, &format!("om_fill_{}", schema.channel))? {
                rebuild.table(&names.fill, &ddl::create_table, "id")?;
            }
            conn.execute_batch(&format!("DROP TABLE {};", names.cap))?;
            // An index of the app on a field that is gone cannot come back; it is not worth a dead end.
            for object in kept {
                if let Err(error) = conn.execute_batch(&object) {
                    tracing::warn!(channel = %schema.channel, %error, "an index or trigger of the app does not fit the new fields");
                }
            }
        }
    }
    sql += &ddl::create_cap(schema, &names.cap);
    sql += &ddl::create_indexes(schema);
    sql += &ddl::create_triggers(schema);
    conn.execute_batch(&sql)?;
    conn.execute(
        "INSERT INTO om_dirty (channel, n) VALUES (?1, 1) ON CONFLICT (channel) DO UPDATE SET n = n + 1",
        [schema.channel.as_str()],
    )?;
    let text = serde_json::to_string(schema).expect("a schema always has a JSON form");
    let filled = known.is_some_and(|known| known.filled);
    conn.execute("UPDATE om_channels SET current = 0 WHERE channel = ?1", [schema.channel.as_str()])?;
    conn.execute(
        "INSERT OR REPLACE INTO om_channels (channel, version, schema, current, filled) VALUES (?1, ?2, ?3, 1, ?4)",
        params![schema.channel.as_str(), schema.version.0, text, filled],
    )?;
    Ok(())
}

/// From a channel's old fields to new ones.
struct Rebuild<'a> {
    conn: &'a Connection,
    old: &'a ChannelSchema,
    new: &'a ChannelSchema,
    copy_rows_max: usize,
}

impl Rebuild<'_> {
    /// Copies a table into one with other columns. A renamed field keeps its values, a retyped one those that convert.
    ///
    /// Up to `copy_rows_max` rows are copied twice, as in [`super::apply::swap`]: a rename would take longer.
    fn table(&self, table: &str, create: &dyn Fn(&ChannelSchema, &str) -> String, fixed: &str) -> Result<()> {
        const OTHER: &str = "om_rebuilt";
        let Self { conn, old, new, .. } = self;
        let counted = format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT ?1)");
        let rows: usize = conn.query_row(&counted, [self.copy_rows_max.saturating_add(1)], |row| row.get(0))?;
        let is_small = rows <= self.copy_rows_max;
        let (source, target, done) = if is_small {
            let kept = format!("CREATE TABLE {OTHER} AS SELECT * FROM {table}; DROP TABLE {table};");
            conn.execute_batch(&(kept + &create(new, table)))?;
            (OTHER, table, format!("DROP TABLE {OTHER};"))
        } else {
            conn.execute_batch(&create(new, OTHER))?;
            (table, OTHER, format!("DROP TABLE {table}; ALTER TABLE {OTHER} RENAME TO {table};"))
        };
        let (mut to, mut from, mut retyped) = (fixed.to_owned(), fixed.to_owned(), Vec::new());
        for field in &new.fields {
            let Some((_, before)) = fields::counterpart(old, new, field) else { continue };
            to += &format!(", {}", ddl::quote(&field.name));
            if before.kind == field.kind {
                from += &format!(", {}", ddl::quote(&before.name));
            } else {
                // Not the default: that would be a value which nobody wrote.
                from += ", NULL";
                retyped.push((before, field));
            }
        }
        conn.execute_batch(&format!("INSERT INTO {target} ({to}) SELECT {from} FROM {source};"))?;
        for (before, field) in retyped {
            convert_column(conn, (source, before), (target, field))?;
        }
        Ok(conn.execute_batch(&done)?)
    }
}

/// Fills a column of one table from a column of another type in another table.
fn convert_column(conn: &Connection, (source, before): (&str, &Field), (target, field): (&str, &Field)) -> Result<()> {
    let mut select =
        conn.prepare(&format!("SELECT id, {0} FROM {source} WHERE {0} IS NOT NULL", ddl::quote(&before.name)))?;
    let mut update = conn.prepare(&format!("UPDATE {target} SET {} = ?2 WHERE id = ?1", ddl::quote(&field.name)))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let value = fields::convert(before.kind, field.kind, values::from_sql(row.get_ref(1)?));
        update.execute(params![row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?, values::Bind(&value)])?;
    }
    Ok(())
}

/// The statements that make the indexes and triggers which the app itself put on a channel's table.
pub(crate) fn keep_own_objects(conn: &Connection, schema: &ChannelSchema) -> Result<Vec<String>> {
    let mut statement = conn.prepare(
        "SELECT sql || ';' FROM sqlite_schema WHERE tbl_name = ?1 AND type IN ('index', 'trigger') AND sql IS NOT NULL
         AND name NOT LIKE 'om\\_%' ESCAPE '\\'",
    )?;
    let rows = statement.query_map([schema.channel.as_str()], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn exists(conn: &Connection, table: &str) -> Result<bool> {
    Ok(conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)")?
        .query_row([table], |row| row.get(0))?)
}
