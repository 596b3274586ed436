//! The SQL of one collection, made once and kept until the database's schema changes; and rows from statements.
//!
//! *Invariant:* names are quoted, values are bound. `format!` never meets a value.

use omctl_protocol::FieldType;
use omctl_protocol::value::Value;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql};

use super::fault::Fault;
use super::read::{kinds, rowid_alias};
use crate::backend::{BackendRow, BadRow, Collection, Column, Key};

/// Column affinity (<https://www.sqlite.org/datatype3.html#determination_of_column_affinity>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    /// The affinity of a declared type.
    pub(crate) fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Self::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text
        } else if declared.is_empty() || has(&["BLOB"]) {
            Self::Blob
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Self::Real
        } else {
            Self::Numeric
        }
    }

    /// A declared type that has this affinity.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Integer => "INTEGER",
            Self::Text => "TEXT",
            Self::Blob => "BLOB",
            Self::Real => "REAL",
            Self::Numeric => "NUMERIC",
        }
    }
}

/// One column of the live table.
#[derive(Clone, Debug)]
pub(crate) struct LiveColumn {
    pub(crate) name: String,
    pub(crate) declared: String,
    pub(crate) not_null: bool,
    pub(crate) default: Option<String>,
    /// Its place in the primary key, from 1; 0 if it is not in it.
    pub(crate) key_place: i64,
    pub(crate) generated: bool,
}

/// The columns of the live table or view; empty if there is none.
pub(crate) fn live_columns(connection: &Connection, table: &str) -> Result<Vec<LiveColumn>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main') ORDER BY cid",
        )?
        .query_map([table], |row| {
            Ok(LiveColumn {
                name: row.get(0)?,
                declared: row.get(1)?,
                not_null: row.get(2)?,
                default: row.get(3)?,
                key_place: row.get(4)?,
                generated: row.get::<_, i64>(5)? != 0,
            })
        })?
        .collect()
}

/// A name as SQL.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A constant text as SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The table's own name: `main.` is the only schema of a backend file.
pub(crate) fn bare(table: &str) -> &str {
    table.strip_prefix("main.").unwrap_or(table)
}

/// A [`Value`] as a bound parameter: what is text canonically is bound as text and left to the column's affinity.
pub(super) struct Bound<'a>(pub(super) &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Bool(truth) => ValueRef::Integer(i64::from(*truth)),
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Float(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A stored value as it is; `None` for text that is not UTF-8.
pub(crate) fn stored(value: ValueRef<'_>) -> Option<Value> {
    Some(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(bytes) => Value::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}

/// The canonical value of a stored one, or what is wrong with it.
pub(super) fn canonical(kind: FieldType, value: ValueRef<'_>) -> Result<Value, String> {
    let value = stored(value).ok_or_else(|| "text that is not UTF-8".to_owned())?;
    kind.canonical(value).map_err(|error| error.to_string())
}

/// The SQL of one collection over the live table.
#[derive(Debug)]
pub(super) struct Plan {
    /// The table as SQL.
    pub(super) quoted: String,
    /// Key columns as SQL, separated by commas.
    pub(super) key_list: String,
    /// Row of a key whether or not it matches the filter; its last column tells. Parameters: filter, key.
    pub(super) by_key: String,
    /// Any row of a key. Parameters: key.
    pub(super) exists: String,
    /// `WHERE` condition of a key with plain parameters.
    pub(super) key_condition: String,
    /// Pieces of the scan, see [`Plan::scan`].
    select: String,
    filter_condition: String,
    /// Affinities of [`Collection::key`] and [`Collection::columns`].
    pub(super) key_affinity: Vec<Affinity>,
    pub(super) affinity: Vec<Affinity>,
    /// The types of the key's columns, for dedupe rows.
    pub(super) kinds: String,
    /// Whether the key is the rowid, so that the new key of an insert is known without asking for it.
    pub(super) key_is_rowid: bool,
    /// Whether the table's own conflict clauses could replace or skip a row silently.
    pub(super) has_conflict_clause: bool,
}

impl Plan {
    /// Looks at the live table.
    pub(super) fn new(connection: &Connection, collection: &Collection) -> Result<Self, Fault> {
        let table = bare(&collection.table).to_owned();
        let live = live_columns(connection, &table)?;
        if live.is_empty() {
            return Err(Fault::Missing(format!("table \"{table}\"")));
        }
        let affinity_of = |name: &str| match live.iter().find(|column| column.name.eq_ignore_ascii_case(name)) {
            Some(column) => Ok(Affinity::of(&column.declared)),
            None => Err(Fault::Missing(format!("column \"{name}\" of table \"{table}\""))),
        };
        let affinities = |columns: &[Column]| -> Result<Vec<_>, Fault> {
            columns.iter().map(|column| affinity_of(&column.name)).collect()
        };
        let (key_affinity, affinity) = (affinities(&collection.key)?, affinities(&collection.columns)?);
        for (name, _) in &collection.filter {
            affinity_of(name)?;
        }
        let sql: Option<String> = connection.query_row(
            "SELECT max(sql) FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE",
            [&table],
            |row| row.get(0),
        )?;
        let alias = rowid_alias(connection, &table, &live)?;
        let key_is_rowid = match collection.key.as_slice() {
            [only] => only.kind == FieldType::Int && alias.is_some_and(|alias| alias.eq_ignore_ascii_case(&only.name)),
            _ => false,
        };
        let quoted = format!("main.{}", quote(&table));
        let list = |columns: &[Column]| columns.iter().map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ");
        let key_list = list(&collection.key);
        let select = format!(
            "SELECT {key_list}{}{}",
            if collection.columns.is_empty() { "" } else { ", " },
            list(&collection.columns)
        );
        let conditions = |names: &mut dyn Iterator<Item = &String>, operator: &str| {
            names.map(|name| format!("{} {operator} ?", quote(name))).collect::<Vec<_>>().join(" AND ")
        };
        let key_condition = conditions(&mut collection.key.iter().map(|column| &column.name), "=");
        // IS, because a filter may ask for NULL; SQLite uses an index for it as for `=`.
        let filter_condition = match collection.filter.as_slice() {
            [] => "1".to_owned(),
            filter => conditions(&mut filter.iter().map(|(name, _)| name), "IS"),
        };
        Ok(Self {
            by_key: format!("{select}, ({filter_condition}) FROM {quoted} WHERE {key_condition}"),
            exists: format!("SELECT 1 FROM {quoted} WHERE {key_condition}"),
            has_conflict_clause: sql.is_some_and(|sql| sql.to_ascii_uppercase().contains("ON CONFLICT")),
            kinds: kinds(&collection.key),
            key_is_rowid,
            quoted,
            key_list,
            key_condition,
            select,
            filter_condition,
            key_affinity,
            affinity,
        })
    }

    /// Rows in key order. Parameters: filter, key (where it begins behind one), limit.
    pub(super) fn scan(&self, keys: usize, behind: bool) -> String {
        let Self { select, quoted, filter_condition, key_list, .. } = self;
        let behind = match (behind, keys) {
            (false, _) => String::new(),
            (true, 1) => format!(" AND {key_list} > ?"),
            (true, keys) => format!(" AND ({key_list}) > ({})", vec!["?"; keys].join(", ")),
        };
        format!("{select} FROM {quoted} WHERE {filter_condition}{behind} ORDER BY {key_list} LIMIT ?")
    }

    /// The number of rows that match the filter. Parameters: filter.
    pub(super) fn count(&self) -> String {
        format!("SELECT count(*) FROM {} WHERE {}", self.quoted, self.filter_condition)
    }

    /// Reads a row of [`Plan::by_key`] or [`Plan::scan`].
    pub(super) fn row(&self, collection: &Collection, row: &Row<'_>) -> Result<Result<BackendRow, BadRow>, Fault> {
        let key = match self.key(collection, row)? {
            Ok(key) => key,
            Err(bad) => return Ok(Err(bad)),
        };
        let mut values = Vec::with_capacity(collection.columns.len());
        for (n, column) in collection.columns.iter().enumerate() {
            match canonical(column.kind, row.get_ref(collection.key.len() + n)?) {
                Ok(value) => values.push(value),
                Err(message) => return Ok(Err(BadRow { key: Some(key), column: column.name.clone(), message })),
            }
        }
        Ok(Ok(BackendRow { key, values }))
    }

    /// Reads the key columns at the beginning of a row.
    pub(super) fn key(&self, collection: &Collection, row: &Row<'_>) -> Result<Result<Key, BadRow>, Fault> {
        let mut key = Vec::with_capacity(collection.key.len());
        for (n, column) in collection.key.iter().enumerate() {
            let raw = row.get_ref(n)?;
            let value = match canonical(column.kind, raw) {
                Ok(value) if value.is_null() => Err("a key that is NULL".to_owned()),
                Ok(value) if !is_found_by(raw, &value, self.key_affinity[n]) => {
                    Err("a key that is not in its canonical spelling".to_owned())
                }
                other => other,
            };
            match value {
                Ok(value) => key.push(value),
                Err(message) => return Ok(Err(BadRow { key: None, column: column.name.clone(), message })),
            }
        }
        Ok(Ok(Key(key)))
    }
}

/// Whether `column = ?` with the canonical value finds the stored one. A key in another spelling (an upper-case uuid)
/// would be a row that can be listed and never be read again.
fn is_found_by(raw: ValueRef<'_>, canonical: &Value, affinity: Affinity) -> bool {
    match (raw, canonical) {
        (ValueRef::Text(raw), Value::Text(text)) => raw == text.as_bytes(),
        (ValueRef::Text(raw), Value::Int(number)) => affinity == Affinity::Text && raw == number.to_string().as_bytes(),
        (ValueRef::Text(_), _) => false,
        // A number in a column that would not turn the bound text into one.
        (ValueRef::Integer(_) | ValueRef::Real(_), Value::Text(_)) => {
            matches!(affinity, Affinity::Integer | Affinity::Real | Affinity::Numeric)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinities_follow_the_documented_examples() {
        for (declared, affinity) in [
            ("INT", Affinity::Integer),
            ("UNSIGNED BIG INT", Affinity::Integer),
            ("NVARCHAR(160)", Affinity::Text),
            ("", Affinity::Blob),
            ("DOUBLE PRECISION", Affinity::Real),
            ("DECIMAL(10,5)", Affinity::Numeric),
            ("DATETIME", Affinity::Numeric),
            ("FLOATING POINT", Affinity::Integer),
            ("STRING", Affinity::Numeric),
        ] {
            assert_eq!(Affinity::of(declared), affinity, "{declared}");
        }
    }
}
