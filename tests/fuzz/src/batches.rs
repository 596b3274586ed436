//! Bodies of `POST /v1/sync`, and what is in them read against a channel's schema.

use std::sync::LazyLock;

use omctl_protocol::frame::{parse_frame, parse_frames};
use omctl_protocol::value::{decode_body, encode_body};
use omctl_protocol::{ChannelSchema, Down, FieldType, Fields, RowHash, Up, Value};

use crate::frames::told;

/// A field of every type, named after it.
static SCHEMA: LazyLock<ChannelSchema> = LazyLock::new(|| {
    let field = |kind: &FieldType| serde_json::json!({ "name": kind.word(), "type": kind.word() });
    let fields: Vec<_> = FieldType::ALL.iter().map(field).collect();
    let key = serde_json::json!({ "assigned_by": "device", "columns": [{ "column": "id" }] });
    let schema = serde_json::json!({ "channel": "all", "version": 1, "key": key, "fields": fields });
    serde_json::from_value(schema).expect("it is written as schemas are")
});

/// A body from a device, or from a server.
pub fn batches(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    match parse_frames::<Up>(body) {
        Ok(frames) => {
            assert!(frames.len() <= body.split('\n').count());
            frames.iter().for_each(from_a_device);
        }
        Err(error) => {
            told(&error);
            let lines = body.split('\n').count();
            let line = error.to_string().split(' ').nth(1).and_then(|word| word.parse::<usize>().ok());
            assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{error} of {lines}");
        }
    }
    if let Ok(frames) = parse_frames::<Down>(body) {
        frames.iter().for_each(from_a_server);
    }
}

fn from_a_device(frame: &Up) {
    let Up::Mutate(mutate) = frame else { return };
    for mutation in &mutate.mutations {
        let mut again = mutation.clone();
        (again.seq, again.at, again.group) = (again.seq.next(), None, None);
        assert_eq!(mutation.payload_digest(), again.payload_digest(), "the payload has no number");
        if let Some(part) = mutation.atomic
            && let Some((first, last)) = part.span(mutation.seq)
        {
            assert!(first <= mutation.seq && mutation.seq <= last && last.0 - first.0 + 1 == u64::from(part.of));
        }
        read(&mutation.old);
        read(&mutation.new);
    }
}

fn read(fields: &Fields) {
    for (name, json) in fields {
        let Some((_, field)) = SCHEMA.field(name) else { continue };
        if let Ok(value) = field.kind.from_json(json) {
            assert_eq!(field.kind.canonical(value.clone()).as_ref(), Ok(&value), "what was read is canonical");
            assert_eq!(field.kind.from_json(&value.to_json()), Ok(value), "what is told again is the same");
        }
    }
}

fn from_a_server(frame: &Down) {
    let Down::Rows(rows) = frame else { return };
    for row in &rows.rows {
        let Ok((id, life, _, Some(body))) = serde_json::from_str::<(
            String,
            omctl_protocol::Life,
            Option<RowHash>,
            Option<Box<serde_json::value::RawValue>>,
        )>(row.get()) else {
            continue;
        };
        let Ok(values) = decode_body(body.get(), SCHEMA.types()) else { continue };
        let written = encode_body(&values);
        let text = std::str::from_utf8(&written).expect("a body is JSON");
        let again: Vec<Value> = decode_body(text, SCHEMA.types()).expect("a body that was written is one");
        assert_eq!(again, values);
        let hash = |body: &[u8]| RowHash::of(&rows.channel, &id.as_str().into(), life, body);
        assert_eq!(hash(&encode_body(&again)), hash(&written));
        drop(parse_frame::<Up>(text));
    }
}
