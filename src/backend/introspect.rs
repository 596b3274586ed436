//! What tables a live database has: the shapes that `omctl new channel --from` writes channels from. Only reads.

use std::path::Path;

use omctl_protocol::value::Value;
use omctl_protocol::{AssignedBy, FieldType};
use rusqlite::{Connection, OpenFlags};

use super::BackendError;

/// One table or view.
#[derive(Clone, Debug, PartialEq)]
pub struct TableShape {
    /// Its name.
    pub name: String,
    /// Whether it is a view.
    pub is_view: bool,
    /// The key's columns in their order; empty where there is none.
    pub key: Vec<String>,
    /// Who makes a new row's key.
    pub assigned_by: AssignedBy,
    /// The columns in their order.
    pub columns: Vec<ColumnShape>,
}

/// One column of a [`TableShape`].
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// The type that holds all its values.
    pub kind: FieldType,
    /// Longest text in characters.
    pub max_length: Option<u32>,
    /// Whether it refuses NULL.
    pub required: bool,
    /// Its constant default.
    pub default: Option<Value>,
    /// Whether it is never written.
    pub read_only: bool,
    /// The table whose key it names.
    pub references: Option<String>,
}

/// The tables and views of a SQLite file.
///
/// # Errors
/// [`BackendError::Unavailable`] where the file cannot be opened or read.
pub fn sqlite(path: &Path) -> Result<Vec<TableShape>, BackendError> {
    let unavailable = |error: rusqlite::Error| BackendError::Unavailable {
        backend: path.display().to_string(),
        message: error.to_string(),
    };
    let read = || -> rusqlite::Result<Vec<TableShape>> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut tables = connection.prepare(
            "SELECT name, type = 'view' FROM pragma_table_list
             WHERE schema = 'main' AND type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
               AND name NOT LIKE 'om\\_%' ESCAPE '\\'
             ORDER BY name",
        )?;
        let names: Vec<(String, bool)> =
            tables.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        names.into_iter().map(|(name, is_view)| shape(&connection, name, is_view)).collect()
    };
    read().map_err(unavailable)
}

fn shape(connection: &Connection, name: String, is_view: bool) -> rusqlite::Result<TableShape> {
    let mut references = connection
        .prepare("SELECT \"from\", \"table\", count(*) OVER (PARTITION BY id) FROM pragma_foreign_key_list(?1)")?;
    let references: Vec<(String, String, i64)> =
        references.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    let mut columns = connection
        .prepare("SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1")?;
    let mut key: Vec<(i64, String, FieldType)> = Vec::new();
    let mut shapes = Vec::new();
    let mut rows = columns.query([&name])?;
    while let Some(row) = rows.next()? {
        let (column, declared): (String, String) = (row.get(0)?, row.get(1)?);
        let (kind, max_length) = kind(&declared);
        let pk: i64 = row.get(3)?;
        if pk > 0 {
            key.push((pk, column.clone(), kind));
        }
        let to = references.iter().find(|(from, _, columns)| *from == column && *columns == 1);
        shapes.push(ColumnShape {
            kind,
            max_length,
            required: row.get(2)?,
            default: None,
            read_only: row.get::<_, i64>(4)? >= 2,
            references: to.map(|(_, table, _)| table.clone()),
            name: column,
        });
    }
    key.sort_by_key(|(place, ..)| *place);
    let assigned_by = match key.as_slice() {
        [(_, _, FieldType::Int)] => AssignedBy::Backend,
        _ => AssignedBy::App,
    };
    Ok(TableShape {
        name,
        is_view,
        key: key.into_iter().map(|(_, name, _)| name).collect(),
        assigned_by,
        columns: shapes,
    })
}

fn kind(declared: &str) -> (FieldType, Option<u32>) {
    let folded = declared.to_lowercase();
    let has = |word: &str| folded.contains(word);
    let length = folded.split(['(', ')', ',']).nth(1).and_then(|digits| digits.trim().parse().ok());
    match () {
        () if has("int") => (FieldType::Int, None),
        () if has("char") || has("text") || has("clob") => (FieldType::Text, length),
        () if has("blob") || folded.is_empty() => (FieldType::Bytes, None),
        () if has("real") || has("floa") || has("doub") => (FieldType::Float, None),
        () if has("bool") => (FieldType::Bool, None),
        () if has("datetime") || has("timestamp") => (FieldType::DateTime, None),
        () if has("date") => (FieldType::Date, None),
        () if has("time") => (FieldType::Time, None),
        () => (FieldType::Decimal, None),
    }
}
