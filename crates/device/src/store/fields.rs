//! One field in two versions of a channel: which is which, and what becomes of its value.
//!
//! *Invariant:* pure. A value is kept where it converts exactly, else it is NULL until the server sends the row again.

use omctl_protocol::{ChannelSchema, Field, FieldType, Value, ValueError};

/// The field of `from` that is the same as one of `to`, and its place: the one of its name, or else the one of its
/// backend column that no field of `to` has the name of.
pub(crate) fn counterpart<'a>(
    from: &'a ChannelSchema,
    to: &ChannelSchema,
    field: &Field,
) -> Option<(usize, &'a Field)> {
    from.field(&field.name).or_else(|| {
        let renamed = |old: &Field| old.column() == field.column() && to.field(&old.name).is_none();
        from.fields.iter().enumerate().find(|(_, old)| renamed(old))
    })
}

/// Whether a body of version `written`, read as `next`, may say more than it does after it was read as `between`: a field
/// that was away comes back, or one that had another type for a while.
pub(crate) fn may_lose(written: &ChannelSchema, between: &ChannelSchema, next: &ChannelSchema) -> bool {
    next.fields.iter().any(|field| {
        let Some((_, first)) = counterpart(written, next, field) else { return false };
        counterpart(between, next, field).is_none_or(|(_, way)| way.kind != first.kind && way.kind != field.kind)
    })
}

/// A value of a field that had another type. The value is as SQLite holds it, or as the protocol writes it.
pub(crate) fn convert(from: FieldType, to: FieldType, value: Value) -> Value {
    if from == to {
        return value;
    }
    let stored = match value {
        Value::Bool(truth) => Value::Int(i64::from(truth)),
        ref other => other.clone(),
    };
    match to.canonical(stored) {
        Ok(value) => return value,
        Err(ValueError::WrongKind { .. }) => {}
        Err(ValueError::Malformed(_) | ValueError::OutOfRange(_)) => return Value::Null,
    }
    let text = match from.canonical(value) {
        Ok(Value::Text(text)) => text,
        // Bytes have no text form that anybody would write.
        Ok(Value::Null | Value::Bytes(_)) | Err(_) => return Value::Null,
        Ok(value) => value.to_key_text(),
    };
    to.canonical(Value::Text(text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn what_converts_exactly_is_kept() {
        use FieldType::{Bool, Bytes, Date, DateTime, Decimal, Float, Int, Text};
        for (from, to, value, expected) in [
            (Text, Int, text("7"), Value::Int(7)),
            (Text, Int, text("7.5"), Value::Null),
            (Int, Text, Value::Int(7), text("7")),
            (Int, Float, Value::Int(7), Value::Float(7.0)),
            (Int, Float, Value::Int((1 << 53) + 1), Value::Null),
            (Float, Text, Value::Float(1.5), text("1.5")),
            (Float, Int, Value::Float(1.5), Value::Null),
            (Decimal, Float, text("1.5"), Value::Float(1.5)),
            (Text, Decimal, text("many"), Value::Null),
            (Text, Decimal, text("1.50"), text("1.5")),
            (Bool, Int, Value::Int(1), Value::Int(1)),
            (Bool, Int, Value::Bool(true), Value::Int(1)),
            (Bool, Text, Value::Int(1), text("true")),
            (Int, Bool, Value::Int(2), Value::Null),
            (Date, DateTime, text("2026-01-02"), text("2026-01-02 00:00:00")),
            (Bytes, Text, Value::Bytes(vec![1]), Value::Null),
            (Text, Bytes, text("x"), Value::Null),
            (Text, Int, Value::Null, Value::Null),
        ] {
            assert_eq!(convert(from, to, value.clone()), expected, "{from:?} to {to:?}: {value:?}");
        }
    }
}
