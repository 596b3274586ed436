//! One collection's table: its SQL, and its rows in canonical form.

use omctl_protocol::{FieldType, Value};
use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params_from_iter};

use super::super::{BackendError, BackendRow, BadRow, Collection, Column, Found, Key, Page};
use super::failed;

/// A collection with the names quoted.
pub(super) struct Table<'c> {
    pub(super) collection: &'c Collection,
    pub(super) name: String,
}

impl<'c> Table<'c> {
    pub(super) fn new(collection: &'c Collection) -> Self {
        Self { collection, name: quote_path(&collection.table) }
    }

    fn columns(&self) -> String {
        let all = self.collection.key.iter().chain(&self.collection.columns);
        all.map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// `a IS ? AND b IS ?` over the key, behind the parameters that come before.
    pub(super) fn key_is(&self) -> String {
        let parts: Vec<String> =
            self.collection.key.iter().map(|column| format!("{} = ?", quote(&column.name))).collect();
        parts.join(" AND ")
    }

    fn filter_is(&self) -> String {
        self.collection.filter.iter().map(|(column, _)| format!(" AND {} IS ?", quote(column))).collect()
    }

    fn filter_values(&self) -> impl Iterator<Item = SqlValue> + '_ {
        self.collection.filter.iter().map(|(_, value)| bind(value))
    }

    /// The row of a key, if it matches the filter.
    pub(super) fn read(&self, connection: &Connection, backend: &str, key: &Key) -> Result<Found, BackendError> {
        let sql = format!("SELECT {} FROM {} WHERE {}{}", self.columns(), self.name, self.key_is(), self.filter_is());
        let parameters = key.0.iter().map(bind).chain(self.filter_values());
        connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(parameters), |row| Ok(self.row(row))).optional()
            })
            .map_err(|error| failed(backend, &error))
    }

    /// Rows behind `after`, in the order of the key.
    pub(super) fn scan(
        &self,
        connection: &Connection,
        backend: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, BackendError> {
        let names: Vec<String> = self.collection.key.iter().map(|column| quote(&column.name)).collect();
        let (names, marks) = (names.join(", "), vec!["?"; names.len()].join(", "));
        let behind = if after.is_some() { format!("({names}) > ({marks})") } else { "1".to_owned() };
        let sql = format!(
            "SELECT {} FROM {} WHERE {behind}{} ORDER BY {names} LIMIT {limit}",
            self.columns(),
            self.name,
            self.filter_is(),
        );
        let parameters: Vec<SqlValue> =
            after.iter().flat_map(|key| key.0.iter().map(bind)).chain(self.filter_values()).collect();
        let mut page = Page::default();
        let read = || -> rusqlite::Result<usize> {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(parameters))?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                count += 1;
                match self.row(row) {
                    Ok(row) => {
                        page.next = Some(row.key.clone());
                        page.rows.push(row);
                    }
                    Err(bad) => {
                        // The scan goes on behind it: by its key as SQLite compares it.
                        page.next = bad.key.clone().or(page.next.take());
                        page.bad.push(bad);
                    }
                }
            }
            Ok(count)
        };
        let count = read().map_err(|error| failed(backend, &error))?;
        // Keys that cannot be read do not move the scan: it ends rather than stand still.
        if count < limit || page.next.as_ref() == after {
            page.next = None;
        }
        Ok(page)
    }

    /// A row that was selected by [`Table::columns`].
    fn row(&self, row: &Row<'_>) -> Result<BackendRow, BadRow> {
        let keys = self.collection.key.len();
        let key: Result<Vec<Value>, BadRow> =
            self.collection.key.iter().enumerate().map(|(n, column)| value(row, n, column, None)).collect();
        let key = Key(key?);
        let values = self
            .collection
            .columns
            .iter()
            .enumerate()
            .map(|(n, column)| value(row, keys + n, column, Some(&key)))
            .collect::<Result<_, _>>()?;
        Ok(BackendRow { key, values })
    }
}

fn value(row: &Row<'_>, place: usize, column: &Column, key: Option<&Key>) -> Result<Value, BadRow> {
    let bad = |message: String| BadRow { key: key.cloned(), column: column.name.clone(), message };
    let stored = row.get_ref(place).map_err(|error| bad(error.to_string()))?;
    let value = match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => return Err(bad("the text is not UTF-8".into())),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    };
    // A column of text may hold numbers (SQLite lets it): their text is their value.
    let value = match (column.kind, value) {
        (FieldType::Text | FieldType::Enum | FieldType::Ref, Value::Int(number)) => Value::Text(number.to_string()),
        (_, value) => value,
    };
    column.kind.canonical(value).map_err(|error| bad(error.to_string()))
}

/// The storage class that a canonical value is bound in. A decimal goes as text: a column with numeric affinity makes a
/// number of it where that is exact.
pub(super) fn bind(value: &Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Bool(truth) => SqlValue::Integer(i64::from(*truth)),
        Value::Int(number) => SqlValue::Integer(*number),
        Value::Float(number) => SqlValue::Real(*number),
        Value::Text(text) => SqlValue::Text(text.clone()),
        Value::Bytes(bytes) => SqlValue::Blob(bytes.clone()),
    }
}

/// A value on its way into a statement.
pub(super) struct Bound<'v>(pub(super) &'v Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            other => ToSqlOutput::Owned(bind(other)),
        })
    }
}

/// An identifier, quoted as SQL has it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table as declared: `schema.table` where that schema is one of SQLite's own, else the whole text is the name.
pub(super) fn quote_path(table: &str) -> String {
    match table.split_once('.') {
        Some((schema @ ("main" | "temp"), name)) => format!("{}.{}", quote(schema), quote(name)),
        _ => quote(table),
    }
}

/// The table's own name, without a schema.
pub(super) fn bare_name(table: &str) -> &str {
    match table.split_once('.') {
        Some(("main" | "temp", name)) => name,
        _ => table,
    }
}
