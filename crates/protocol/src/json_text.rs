//! Canonical JSON text: no white space, members sorted by name, numbers exactly as they were written.
//!
//! `serde_json::Value` is not used for it, because it would round a number of 20 digits.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Deepest nesting that is accepted (attack C24 of the bad-input suite).
pub const DEPTH_MAX: usize = 64;

/// Rewrites a JSON text canonically; `None` if it is not one JSON value or is nested deeper than [`DEPTH_MAX`].
pub(crate) fn canonical(text: &str) -> Option<String> {
    if !depth_is_allowed(text) {
        return None;
    }
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len());
    write(raw.get(), &mut out)?;
    Some(out)
}

/// Counts brackets outside of strings before anything recursive reads the text.
pub fn depth_is_allowed(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return false;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

fn write(raw: &str, out: &mut String) -> Option<()> {
    match raw.trim_start().as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
            out.push('{');
            for (n, (name, value)) in members.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write(value.get(), out)?;
            }
            out.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item.get(), out)?;
            }
            out.push(']');
        }
        b'"' => write_string(&String::deserialize(&mut serde_json::Deserializer::from_str(raw)).ok()?, out),
        _ => out.push_str(raw.trim()),
    }
    Some(())
}

fn write_string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string always has a JSON form"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_and_numbers_keep_their_digits() {
        assert_eq!(
            canonical(" { \"b\" : [1, 2.50, 12345678901234567890123 ] , \"a\":\"\\u0041\" } ").as_deref(),
            Some(r#"{"a":"A","b":[1,2.50,12345678901234567890123]}"#)
        );
    }

    #[test]
    fn what_is_not_json_or_too_deep_is_refused() {
        assert_eq!(canonical("{"), None);
        assert_eq!(canonical("1 2"), None);
        assert!(canonical(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_some());
        assert_eq!(canonical(&format!("{}{}", "[".repeat(65), "]".repeat(65))), None);
    }
}
