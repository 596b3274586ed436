//! Canonical values: one form each, which survives every way there and back.

use arbitrary::{Arbitrary, Unstructured};
use omctl_protocol::value::{decode_body, encode_body};
use omctl_protocol::{FieldType, Life, RowHash, Value};

#[derive(Debug, Arbitrary)]
enum Raw<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(&'a [u8]),
    Text(&'a str),
}

impl Raw<'_> {
    fn value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Self::Text(text) => Value::Text((*text).to_owned()),
        }
    }
}

/// A value of any storage class as a value of every type; and a body of anybody.
pub fn canonical(data: &[u8]) {
    let Some((&which, rest)) = data.split_first() else { return };
    if which & 1 == 0 {
        if let Ok(text) = std::str::from_utf8(rest) {
            let value = Value::Text(text.to_owned());
            FieldType::ALL.into_iter().for_each(|kind| in_every_form(kind, value.clone()));
            body(text, which);
        }
        return;
    }
    let mut rest = Unstructured::new(rest);
    while let (false, Ok(raw)) = (rest.is_empty(), Raw::arbitrary(&mut rest)) {
        FieldType::ALL.into_iter().for_each(|kind| in_every_form(kind, raw.value()));
    }
}

fn in_every_form(kind: FieldType, value: Value) {
    let Ok(value) = kind.canonical(value) else { return };
    assert_eq!(kind.canonical(value.clone()).as_ref(), Ok(&value), "the canonical form is its own");
    let json = value.to_json();
    assert_eq!(kind.from_json(&json).as_ref(), Ok(&value), "{kind:?} through JSON");
    let mut written = Vec::new();
    value.write_json(&mut written);
    assert_eq!(written, json.to_string().into_bytes(), "both ways to write are one");
    let row = encode_body([&value]);
    let text = std::str::from_utf8(&row).expect("a body is JSON");
    let back = decode_body(text, [kind]).expect("a body reads back");
    assert_eq!(back, std::slice::from_ref(&value), "{kind:?} through a body");
    assert_eq!(encode_body(&back), row, "equal values have equal bytes");
    // In another storage class the same value is the same bytes.
    if let Ok(other) = kind.canonical(Value::Text(value.to_key_text()))
        && !value.is_null()
        && other == value
    {
        assert_eq!(encode_body([&other]), row);
        assert_eq!(other.to_key_text(), value.to_key_text());
    }
}

fn body(text: &str, which: u8) {
    let first = usize::from(which >> 1);
    let types: Vec<FieldType> =
        (0..text.matches(',').count() + 1).map(|n| FieldType::ALL[(first + n) % FieldType::ALL.len()]).collect();
    let Ok(values) = decode_body(text, types.iter().copied()) else { return };
    let written = encode_body(&values);
    let again = std::str::from_utf8(&written).expect("a body is JSON");
    let again = decode_body(again, types.iter().copied()).expect("a body that was written reads back");
    assert_eq!(again, values);
    assert_eq!(encode_body(&again), written);
    let hash = |body: &[u8]| RowHash::of(&"c".into(), &"id".into(), Life(1), body);
    assert_eq!(hash(&encode_body(&again)), hash(&written));
}
