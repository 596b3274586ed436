//! Field types and canonical values.
//!
//! A value has one canonical form on the wire, in the state log, in a device's SQLite file and in comparisons.
//! [`FieldType::canonical`] makes it from whatever storage class a database answered with; it refuses what it could
//! only round or trim.
//!
//! | type | canonical value | JSON | SQLite on a device |
//! |---|---|---|---|
//! | `text`, `enum`, `ref` | text | string | TEXT |
//! | `int` | 64-bit signed | string of digits | INTEGER |
//! | `float` | finite IEEE double | number | REAL |
//! | `decimal` | digits without superfluous zeros, at most 65 | string | TEXT |
//! | `bool` | truth value | `true`, `false` | INTEGER 0 or 1 |
//! | `date` | `YYYY-MM-DD` | string | TEXT |
//! | `time` | `HH:MM:SS[.f…]` | string | TEXT |
//! | `datetime` | `YYYY-MM-DD HH:MM:SS[.f…]`, no zone | string | TEXT |
//! | `timestamp` | `YYYY-MM-DDTHH:MM:SS[.f…]Z` | string | TEXT |
//! | `uuid` | lower-case, hyphenated | string | TEXT |
//! | `json`, `array` | JSON text: no white space, sorted members, numbers as written | string | TEXT |
//! | `bytes` | bytes | base64url without padding | BLOB |

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};

use crate::json_text;

/// Most digits of a decimal: MySQL's DECIMAL has up to 65
/// (<https://dev.mysql.com/doc/refman/8.4/en/fixed-point-types.html>), the widest fixed-point type of the backends.
pub const DECIMAL_DIGITS_MAX: usize = 65;

/// The closed list of field types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, DeserializeDerive)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Unicode text.
    Text,
    /// 64-bit signed integer.
    Int,
    /// IEEE 754 double, finite.
    Float,
    /// Exact decimal number.
    Decimal,
    /// Truth value.
    Bool,
    /// Calendar date.
    Date,
    /// Time of day.
    Time,
    /// Date and time without a zone.
    DateTime,
    /// Instant in UTC.
    Timestamp,
    /// UUID.
    Uuid,
    /// One of the channel's listed words.
    Enum,
    /// Any JSON value.
    Json,
    /// JSON array.
    Array,
    /// Bytes.
    Bytes,
    /// The id of a record of another channel.
    Ref,
}

/// One value of a field, in memory.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// SQL NULL.
    #[default]
    Null,
    /// Truth value.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Double.
    Float(f64),
    /// Text, and every type whose canonical form is text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Why a value is not one of its field's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The value is of another kind than the type.
    #[error("expected {}, found {found}", expected.word())]
    WrongKind {
        /// The field's type.
        expected: FieldType,
        /// The kind that was found; never the value itself.
        found: &'static str,
    },
    /// The text is not a value of this type.
    #[error("not a valid {}", .0.word())]
    Malformed(FieldType),
    /// The value cannot be held without rounding.
    #[error("out of the range of {}", .0.word())]
    OutOfRange(FieldType),
}

impl ValueError {
    /// Stable code for receipts and problem documents: `bad_value` or `out_of_range`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongKind { .. } | Self::Malformed(_) => "bad_value",
            Self::OutOfRange(_) => "out_of_range",
        }
    }
}

impl FieldType {
    /// Every type, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Text,
        Self::Int,
        Self::Float,
        Self::Decimal,
        Self::Bool,
        Self::Date,
        Self::Time,
        Self::DateTime,
        Self::Timestamp,
        Self::Uuid,
        Self::Enum,
        Self::Json,
        Self::Array,
        Self::Bytes,
        Self::Ref,
    ];

    /// The word used in YAML and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Float => "float",
            Self::Decimal => "decimal",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Time => "time",
            Self::DateTime => "datetime",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::Enum => "enum",
            Self::Json => "json",
            Self::Array => "array",
            Self::Bytes => "bytes",
            Self::Ref => "ref",
        }
    }

    /// The column type of a device's table. None is NUMERIC, so SQLite never converts what was stored.
    pub fn sqlite_type(self) -> &'static str {
        match self {
            Self::Int | Self::Bool => "INTEGER",
            Self::Float => "REAL",
            Self::Bytes => "BLOB",
            _ => "TEXT",
        }
    }

    /// Whether numbers of this type can be added (policy `sum`) and ordered as numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Decimal)
    }

    /// Makes the canonical value of this type from any storage class that can hold it exactly.
    ///
    /// # Errors
    /// [`ValueError`] where the value is of another kind, malformed, or could only be held rounded. NULL is accepted:
    /// whether a field may be empty is the channel's rule, not the type's.
    pub fn canonical(self, value: Value) -> Result<Value, ValueError> {
        let wrong = |found| Err(ValueError::WrongKind { expected: self, found });
        Ok(match (self, value) {
            (_, Value::Null) => Value::Null,
            (Self::Text | Self::Enum | Self::Ref, Value::Text(text)) => Value::Text(text),
            // A backend's key may be a number where the reference to it is text on devices.
            (Self::Ref, Value::Int(number)) => Value::Text(number.to_string()),
            (Self::Int, Value::Int(number)) => Value::Int(number),
            (Self::Int, Value::Text(text)) => Value::Int(parse_int(&text)?),
            (Self::Float, Value::Float(number)) => finite(number)?,
            (Self::Float, Value::Int(number)) => exact_float(number)?,
            (Self::Float, Value::Text(text)) => finite(text.parse().map_err(|_| ValueError::Malformed(Self::Float))?)?,
            (Self::Decimal, Value::Text(text)) => Value::Text(decimal(&text)?),
            (Self::Decimal, Value::Int(number)) => Value::Text(number.to_string()),
            (Self::Decimal, Value::Float(number)) => Value::Text(decimal_of_float(number)?),
            (Self::Bool, Value::Bool(truth)) => Value::Bool(truth),
            (Self::Bool, Value::Int(number @ (0 | 1))) => Value::Bool(number == 1),
            (Self::Bool, Value::Int(_)) => return Err(ValueError::OutOfRange(self)),
            (Self::Date, Value::Text(text)) => Value::Text(date(&text)?),
            (Self::Time, Value::Text(text)) => Value::Text(time(&text)?),
            (Self::DateTime, Value::Text(text)) => Value::Text(datetime(&text)?),
            (Self::Timestamp, Value::Text(text)) => Value::Text(timestamp(&text)?),
            (Self::Uuid, Value::Text(text)) => Value::Text(
                uuid::Uuid::parse_str(&text).map_err(|_| ValueError::Malformed(self))?.hyphenated().to_string(),
            ),
            (Self::Json, Value::Text(text)) => {
                Value::Text(json_text::canonical(&text).ok_or(ValueError::Malformed(self))?)
            }
            (Self::Array, Value::Text(text)) => match json_text::canonical(&text) {
                Some(text) if text.starts_with('[') => Value::Text(text),
                _ => return Err(ValueError::Malformed(self)),
            },
            (Self::Bytes, Value::Bytes(bytes)) => Value::Bytes(bytes),
            (_, Value::Bool(_)) => return wrong("a truth value"),
            (_, Value::Int(_)) => return wrong("an integer"),
            (_, Value::Float(_)) => return wrong("a number"),
            (_, Value::Text(_)) => return wrong("text"),
            (_, Value::Bytes(_)) => return wrong("bytes"),
        })
    }

    /// Reads a value from its JSON form and makes it canonical.
    ///
    /// # Errors
    /// As [`FieldType::canonical`]; also where the JSON is an object, an array, or a number for a type whose JSON form
    /// is a string (a number might already have been rounded by whoever parsed it).
    pub fn from_json(self, json: &serde_json::Value) -> Result<Value, ValueError> {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(truth) => Value::Bool(*truth),
            serde_json::Value::Number(number) if self == Self::Float => {
                Value::Float(number.as_f64().ok_or(ValueError::OutOfRange(self))?)
            }
            serde_json::Value::Number(number) if self == Self::Int => {
                Value::Int(number.as_i64().ok_or(ValueError::OutOfRange(self))?)
            }
            serde_json::Value::Number(_) => {
                return Err(ValueError::WrongKind { expected: self, found: "a JSON number" });
            }
            serde_json::Value::String(text) if self == Self::Bytes => {
                Value::Bytes(BASE64.decode(text).map_err(|_| ValueError::Malformed(self))?)
            }
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(_) => {
                return Err(ValueError::WrongKind { expected: self, found: "a JSON array" });
            }
            serde_json::Value::Object(_) => {
                return Err(ValueError::WrongKind { expected: self, found: "a JSON object" });
            }
        };
        self.canonical(value)
    }
}

impl Value {
    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The JSON form. Shapes are those of the table at the top of this module.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(truth) => serde_json::Value::Bool(*truth),
            Self::Int(number) => serde_json::Value::String(number.to_string()),
            Self::Float(number) => serde_json::Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into),
            Self::Text(text) => serde_json::Value::String(text.clone()),
            Self::Bytes(bytes) => serde_json::Value::String(BASE64.encode(bytes)),
        }
    }

    /// Appends the JSON form to a buffer without making a tree first; the path of every row.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        const WRITES: &str = "writing to a Vec never fails";
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(number) => out.extend_from_slice(format!("\"{number}\"").as_bytes()),
            Self::Float(number) => serde_json::to_writer(out, number).expect(WRITES),
            Self::Text(text) => serde_json::to_writer(out, text).expect(WRITES),
            Self::Bytes(bytes) => {
                out.push(b'"');
                out.extend_from_slice(BASE64.encode(bytes).as_bytes());
                out.push(b'"');
            }
        }
    }

    /// A text that is equal for equal values and different for different ones; used in scope keys and id maps.
    pub fn to_key_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(number) => number.to_string(),
            other => other.to_json().to_string(),
        }
    }
}

/// Encodes a row's values as the canonical body: a JSON array in the order of a named schema version.
pub fn encode_body<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(b'[');
    for (n, value) in values.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        value.write_json(&mut out);
    }
    out.push(b']');
    out
}

/// Reads a canonical body back, given the types in the order of its schema version.
///
/// # Errors
/// [`ValueError`] of the first value that does not fit, or [`ValueError::Malformed`] if the array has another length.
pub fn decode_body(body: &str, types: impl IntoIterator<Item = FieldType>) -> Result<Vec<Value>, ValueError> {
    let scalars: Vec<Scalar<'_>> = serde_json::from_str(body).map_err(|_| ValueError::Malformed(FieldType::Array))?;
    let mut scalars = scalars.into_iter();
    let mut values = Vec::with_capacity(scalars.len());
    for kind in types {
        let scalar = scalars.next().ok_or(ValueError::Malformed(FieldType::Array))?;
        values.push(scalar.into_value(kind)?);
    }
    if scalars.next().is_some() {
        return Err(ValueError::Malformed(FieldType::Array));
    }
    Ok(values)
}

/// One JSON scalar of a body, borrowed from the frame where it has no escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; only floats travel so.
    Number(f64),
    /// A string.
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// The value of a field of this type. A body comes from a server's own encoder, so text is taken as canonical.
    ///
    /// # Errors
    /// [`ValueError`] where the scalar cannot be of this type.
    pub fn into_value(self, kind: FieldType) -> Result<Value, ValueError> {
        Ok(match (kind, self) {
            (_, Self::Null) => Value::Null,
            (FieldType::Bool, Self::Bool(truth)) => Value::Bool(truth),
            (FieldType::Float, Self::Number(number)) => Value::Float(number),
            (FieldType::Int, Self::Text(text)) => Value::Int(parse_int(&text)?),
            (FieldType::Bytes, Self::Text(text)) => {
                Value::Bytes(BASE64.decode(&*text).map_err(|_| ValueError::Malformed(kind))?)
            }
            (FieldType::Float | FieldType::Bool, _) | (_, Self::Bool(_) | Self::Number(_)) => {
                return Err(ValueError::WrongKind { expected: kind, found: "another JSON scalar" });
            }
            (_, Self::Text(text)) => Value::Text(text.into_owned()),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null, a truth value, a number or a string")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Null)
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Bool(truth))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number as f64))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number as f64))
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

fn finite(number: f64) -> Result<Value, ValueError> {
    // SQLite keeps no negative zero in a REAL column; adding 0.0 makes it the positive one before anybody hashes it.
    if number.is_finite() { Ok(Value::Float(number + 0.0)) } else { Err(ValueError::OutOfRange(FieldType::Float)) }
}

fn exact_float(number: i64) -> Result<Value, ValueError> {
    let float = number as f64;
    // The comparison is done in i128, because `as i64` saturates at the edge and would hide the rounding.
    if float as i128 == i128::from(number) {
        Ok(Value::Float(float))
    } else {
        Err(ValueError::OutOfRange(FieldType::Float))
    }
}

fn parse_int(text: &str) -> Result<i64, ValueError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::Malformed(FieldType::Int));
    }
    text.parse().map_err(|_| ValueError::OutOfRange(FieldType::Int))
}

fn decimal_of_float(number: f64) -> Result<String, ValueError> {
    if !number.is_finite() {
        return Err(ValueError::OutOfRange(FieldType::Decimal));
    }
    // Rust prints the shortest digits that read back as the same double, which is what the column was written as.
    decimal(&format!("{number}"))
}

/// Canonical decimal: optional `-`, no leading zeros but one before the point, no trailing zeros behind it, no `-0`.
/// Exponents are accepted as input (`1e3`) and written out.
fn decimal(text: &str) -> Result<String, ValueError> {
    let malformed = ValueError::Malformed(FieldType::Decimal);
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| malformed.clone())?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed);
    }
    let limit = DECIMAL_DIGITS_MAX as i64;
    let point = whole.len() as i64 + i64::from(exponent);
    if point.abs() > 2 * limit {
        return if digits.bytes().all(|b| b == b'0') {
            Ok("0".into())
        } else {
            Err(ValueError::OutOfRange(FieldType::Decimal))
        };
    }
    let (whole, fraction) = if point <= 0 {
        (String::new(), format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)))
    } else if point as usize >= digits.len() {
        (format!("{digits}{}", "0".repeat(point as usize - digits.len())), String::new())
    } else {
        (digits[..point as usize].to_owned(), digits[point as usize..].to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.len() + fraction.len() > DECIMAL_DIGITS_MAX {
        return Err(ValueError::OutOfRange(FieldType::Decimal));
    }
    let mut out = String::with_capacity(whole.len() + fraction.len() + 3);
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    Ok(out)
}

fn date(text: &str) -> Result<String, ValueError> {
    // The shape is checked first: the calendar crate also reads forms (week dates, signs) that are not ours.
    let shape = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    let digits = text.bytes().filter(u8::is_ascii_digit).count() == 8;
    match text.parse::<jiff::civil::Date>() {
        Ok(_) if shape && digits => Ok(text.to_owned()),
        _ => Err(ValueError::Malformed(FieldType::Date)),
    }
}

fn time(text: &str) -> Result<String, ValueError> {
    let malformed = || ValueError::Malformed(FieldType::Time);
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let two_digits = |part: &&str, max: u8| {
        part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u8>().is_ok_and(|n| n <= max)
    };
    let valid = match parts.as_slice() {
        [h, m] => fraction.is_empty() && two_digits(h, 23) && two_digits(m, 59),
        [h, m, s] => two_digits(h, 23) && two_digits(m, 59) && two_digits(s, 59),
        _ => false,
    };
    if !valid || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) || text.ends_with('.') {
        return Err(malformed());
    }
    let seconds = if parts.len() == 2 { ":00" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{clock}{seconds}{dot}{fraction}"))
}

fn datetime(text: &str) -> Result<String, ValueError> {
    let malformed = ValueError::Malformed(FieldType::DateTime);
    if !text.is_ascii() || text.len() < 10 {
        return Err(malformed);
    }
    let (day, rest) = text.split_at(10);
    let day = date(day).map_err(|_| malformed.clone())?;
    if rest.is_empty() {
        return Ok(format!("{day} 00:00:00"));
    }
    let clock = rest.strip_prefix([' ', 'T']).ok_or(malformed.clone())?;
    Ok(format!("{day} {}", time(clock).map_err(|_| malformed)?))
}

fn timestamp(text: &str) -> Result<String, ValueError> {
    let malformed = ValueError::Malformed(FieldType::Timestamp);
    if !text.is_ascii() || text.len() < 10 {
        return Err(malformed);
    }
    if let Some(local) = text.strip_suffix('Z') {
        // The common case keeps every digit without a detour through a binary instant.
        return Ok(format!("{}Z", datetime(local).map_err(|_| malformed)?.replacen(' ', "T", 1)));
    }
    let instant: jiff::Timestamp = text.replacen(' ', "T", 1).parse().map_err(|_| malformed.clone())?;
    Ok(format!(
        "{}Z",
        datetime(instant.to_string().trim_end_matches('Z')).map_err(|_| malformed)?.replacen(' ', "T", 1)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(kind: FieldType, input: &str) -> Result<String, ValueError> {
        kind.canonical(Value::Text(input.into())).map(|value| value.to_key_text())
    }

    #[test]
    fn decimals_have_one_form() {
        for (input, canonical) in [
            ("1.50", "1.5"),
            ("-0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("12.5e-3", "0.0125"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
            ("0e99999", "0"),
        ] {
            assert_eq!(text(FieldType::Decimal, input).as_deref(), Ok(canonical), "{input}");
        }
        for bad in ["", "-", "1.2.3", "NaN", "1e", "0x1"] {
            assert_eq!(text(FieldType::Decimal, bad), Err(ValueError::Malformed(FieldType::Decimal)), "{bad}");
        }
        assert_eq!(text(FieldType::Decimal, "1e400"), Err(ValueError::OutOfRange(FieldType::Decimal)));
        assert_eq!(FieldType::Decimal.canonical(Value::Float(0.99)), Ok(Value::Text("0.99".into())));
    }

    #[test]
    fn integers_are_never_rounded() {
        assert_eq!(text(FieldType::Int, "9223372036854775807").as_deref(), Ok("9223372036854775807"));
        assert_eq!(text(FieldType::Int, "9223372036854775808"), Err(ValueError::OutOfRange(FieldType::Int)));
        assert_eq!(
            FieldType::Float.canonical(Value::Int((1 << 53) + 1)),
            Err(ValueError::OutOfRange(FieldType::Float))
        );
        assert_eq!(FieldType::Int.from_json(&serde_json::json!(1.5)), Err(ValueError::OutOfRange(FieldType::Int)));
    }

    #[test]
    fn times_have_one_form() {
        assert_eq!(text(FieldType::DateTime, "2009-01-01T00:00:00.500").as_deref(), Ok("2009-01-01 00:00:00.5"));
        assert_eq!(text(FieldType::DateTime, "2009-01-01").as_deref(), Ok("2009-01-01 00:00:00"));
        assert_eq!(text(FieldType::Timestamp, "2009-01-01 02:00:00+02:00").as_deref(), Ok("2009-01-01T00:00:00Z"));
        assert_eq!(text(FieldType::Time, "07:05").as_deref(), Ok("07:05:00"));
        for (kind, bad) in [
            (FieldType::Date, "2009-02-30"),
            (FieldType::Date, "2009-2-3"),
            (FieldType::Time, "24:00:00"),
            (FieldType::Time, "10:00:00."),
            (FieldType::DateTime, "yesterday, I think"),
            (FieldType::Timestamp, "2009-01-01T00:00:00"),
        ] {
            assert_eq!(text(kind, bad), Err(ValueError::Malformed(kind)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(kind in prop::sample::select(&FieldType::ALL[..]), input in ".{0,24}") {
            if let Ok(once) = kind.canonical(Value::Text(input)) {
                prop_assert_eq!(kind.canonical(once.clone()), Ok(once));
            }
        }

        #[test]
        fn bodies_read_back_exactly(number in any::<i64>(), float in any::<f64>().prop_filter("finite", |f| f.is_finite()),
                                    words in ".*", bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let row = vec![Value::Int(number), Value::Float(float), Value::Text(words), Value::Bytes(bytes), Value::Null];
            let kinds = [FieldType::Int, FieldType::Float, FieldType::Text, FieldType::Bytes, FieldType::Ref];
            let body = String::from_utf8(encode_body(&row)).unwrap();
            let back = decode_body(&body, kinds).unwrap();
            prop_assert_eq!(encode_body(&back), body.into_bytes());
            prop_assert_eq!(back, row);
        }

        #[test]
        fn no_text_makes_a_type_panic(kind in prop::sample::select(&FieldType::ALL[..]), input in "\\PC{0,40}") {
            drop(kind.canonical(Value::Text(input)));
        }
    }
}
