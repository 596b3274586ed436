//! Values between SQLite and the protocol, in both directions, without a copy where rows are many.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl_protocol::value::Scalar;
use omctl_protocol::{FieldType, Value, ValueError};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement, ToSql};

/// What SQLite holds, as it is. Text that is not UTF-8 comes as bytes, which no text field takes.
pub(crate) fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(bytes.to_owned()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_owned()),
    }
}

/// What SQLite holds, if it has exactly the form in which a value of this type is stored.
pub(crate) fn exactly(kind: FieldType, value: ValueRef<'_>) -> Option<Value> {
    match (kind, value) {
        (_, ValueRef::Null) => Some(Value::Null),
        (FieldType::Bool, ValueRef::Integer(number @ (0 | 1))) => Some(Value::Bool(number == 1)),
        (FieldType::Int, ValueRef::Integer(number)) => Some(Value::Int(number)),
        (FieldType::Float, ValueRef::Real(number)) => Some(Value::Float(number)),
        (FieldType::Bytes, ValueRef::Blob(bytes)) => Some(Value::Bytes(bytes.to_owned())),
        (FieldType::Bool | FieldType::Int | FieldType::Float | FieldType::Bytes, _) => None,
        (_, ValueRef::Text(bytes)) => std::str::from_utf8(bytes).ok().map(|text| Value::Text(text.to_owned())),
        _ => None,
    }
}

/// `count` columns of a row, from `first` on.
pub(crate) fn columns(row: &Row<'_>, first: usize, count: usize) -> rusqlite::Result<Vec<Value>> {
    (first..first + count).map(|n| row.get_ref(n).map(from_sql)).collect()
}

/// A value to bind.
pub(crate) struct Bind<'a>(pub(crate) &'a Value);

impl ToSql for Bind<'_> {
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

/// Binds one scalar of a row as a value of the field's type.
pub(crate) fn bind_scalar(
    statement: &mut Statement<'_>,
    index: usize,
    kind: FieldType,
    scalar: &Scalar<'_>,
) -> Result<(), BindError> {
    let wrong = || BindError::Value(ValueError::Malformed(kind));
    match (kind, scalar) {
        (_, Scalar::Null) => statement.raw_bind_parameter(index, rusqlite::types::Null)?,
        (FieldType::Bool, Scalar::Bool(truth)) => statement.raw_bind_parameter(index, truth)?,
        (FieldType::Float, Scalar::Number(number)) => statement.raw_bind_parameter(index, number)?,
        (FieldType::Int, Scalar::Text(text)) => {
            statement.raw_bind_parameter(index, text.parse::<i64>().map_err(|_| wrong())?)?;
        }
        (FieldType::Bytes, Scalar::Text(text)) => {
            statement.raw_bind_parameter(index, BASE64.decode(&**text).map_err(|_| wrong())?)?;
        }
        (FieldType::Float | FieldType::Bool, _) | (_, Scalar::Bool(_) | Scalar::Number(_)) => return Err(wrong()),
        (_, Scalar::Text(Cow::Borrowed(text))) => statement.raw_bind_parameter(index, text)?,
        (_, Scalar::Text(Cow::Owned(text))) => statement.raw_bind_parameter(index, text.as_str())?,
    }
    Ok(())
}

/// Why a scalar could not be bound.
#[derive(Debug)]
pub(crate) enum BindError {
    Value(ValueError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for BindError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite(source)
    }
}
