//! Keeps `vectors/` true: everything in it is read, made and written again by this crate, bit by bit.
//!
//! Clients in other languages are tested against the same files, so a case is never changed once it was released. If a
//! test here fails, the crate is wrong, not the file.

use std::collections::BTreeSet;

use omctl_protocol::api::{
    ActivateReply, ActivateRequest, Problem, Purpose, SchemaReply, TokenRequest, Tokens, proof_text,
};
use omctl_protocol::frame::{ScalarRow, parse_frame};
use omctl_protocol::hash::{RowHash, ScopeSum, SliceSums, SumsDigest, slice_of};
use omctl_protocol::value::{decode_body, encode_body};
use omctl_protocol::{DeviceId, Down, FieldType, Life, Mutation, Outcome, Policy, ScopeKey, Up, Value};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// The cases of a file.
macro_rules! cases {
    ($file:literal) => {
        read_cases(include_str!(concat!("../vectors/", $file)))
    };
}

fn read_cases(text: &str) -> Vec<Json> {
    let file: Json = serde_json::from_str(text).expect("a file of vectors is JSON");
    let cases = file["cases"].as_array().expect("it has cases").clone();
    assert!(!cases.is_empty());
    cases
}

fn text<'a>(case: &'a Json, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("`{member}` of {case} is text"))
}

fn kind(case: &Json) -> FieldType {
    word(text(case, "type"))
}

fn word(word: &str) -> FieldType {
    FieldType::ALL.into_iter().find(|kind| kind.word() == word).expect("a field type")
}

fn value(storage: &Json) -> Value {
    let Some((class, inner)) = storage.as_object().and_then(|object| object.iter().next()) else { return Value::Null };
    match class.as_str() {
        "text" => Value::Text(inner.as_str().expect("text").to_owned()),
        "int" => Value::Int(inner.as_str().expect("digits").parse().expect("64 bits")),
        "float" => Value::Float(inner.as_f64().expect("a number")),
        "bool" => Value::Bool(inner.as_bool().expect("a truth value")),
        "bytes" => Value::Bytes(from_hex(inner.as_str().expect("digits"))),
        other => panic!("unknown storage class {other}"),
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits")).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn values_have_one_canonical_form() {
    let mut seen = BTreeSet::new();
    for case in cases!("values.json") {
        let (kind, canonical) = (kind(&case), value(&case["canonical"]));
        assert_eq!(kind.canonical(value(&case["input"])), Ok(canonical.clone()), "{case}");
        assert_eq!(kind.canonical(canonical.clone()), Ok(canonical.clone()), "a fixed point: {case}");

        let json = text(&case, "json");
        let mut written = Vec::new();
        canonical.write_json(&mut written);
        assert_eq!(String::from_utf8(written).as_deref(), Ok(json), "{case}");
        assert_eq!(canonical.to_json().to_string(), json, "{case}");
        let parsed: Json = serde_json::from_str(json).expect("JSON");
        assert_eq!(kind.from_json(&parsed), Ok(canonical), "{case}");
        if !case["canonical"].is_null() {
            seen.insert(kind.word());
        }
    }
    assert_eq!(seen, FieldType::ALL.iter().map(|kind| kind.word()).collect(), "every type has a value");
}

#[test]
fn bad_values_have_their_codes() {
    let mut seen = BTreeSet::new();
    for case in cases!("invalid_values.json") {
        let refused = match case.get("json") {
            Some(json) => kind(&case).from_json(&serde_json::from_str(json.as_str().expect("text")).expect("JSON")),
            None => kind(&case).canonical(value(&case["input"])),
        };
        assert_eq!(refused.map_err(|error| error.code()), Err(text(&case, "code")), "{case}");
        seen.insert(kind(&case).word());
    }
    assert_eq!(seen, FieldType::ALL.iter().map(|kind| kind.word()).collect(), "every type refuses something");
}

#[test]
fn decimals_have_one_form() {
    for case in cases!("decimals.json") {
        let made = FieldType::Decimal.canonical(Value::Text(text(&case, "input").to_owned()));
        match case.get("code") {
            Some(code) => assert_eq!(made.map_err(|error| error.code()), Err(code.as_str().expect("text")), "{case}"),
            None => assert_eq!(made, Ok(Value::Text(text(&case, "canonical").to_owned())), "{case}"),
        }
    }
}

#[test]
fn bodies_are_written_and_read_exactly() {
    for case in cases!("bodies.json") {
        let types: Vec<FieldType> =
            case["types"].as_array().expect("a list").iter().map(|kind| word(kind.as_str().expect("text"))).collect();
        let values: Vec<Value> = case["values"].as_array().expect("a list").iter().map(value).collect();
        let body = text(&case, "body");
        assert_eq!(String::from_utf8(encode_body(&values)).as_deref(), Ok(body));
        assert_eq!(decode_body(body, types), Ok(values));
    }
}

#[test]
fn row_hashes_are_the_specified_ones() {
    for case in cases!("row_hashes.json") {
        let life = Life(case["life"].as_u64().expect("a number"));
        let made = RowHash::of(
            &text(&case, "channel").into(),
            &text(&case, "id").into(),
            life,
            text(&case, "body").as_bytes(),
        );
        assert_eq!(made.to_string(), text(&case, "hash"), "{case}");
        assert_eq!(to_hex(&made.to_bytes()), text(&case, "hex"), "{case}");
        assert_eq!(serde_json::from_value::<RowHash>(case["hash"].clone()).unwrap(), made);
    }
}

#[test]
fn sums_are_the_specified_ones() {
    for case in cases!("sums.json") {
        let hashes: Vec<RowHash> = serde_json::from_value(case["hashes"].clone()).unwrap();
        let sum = hashes.iter().fold(ScopeSum::default(), |sum, hash| sum.plus(*hash));
        assert_eq!(sum.to_string(), text(&case, "sum"), "{case}");
        assert_eq!(hashes.iter().fold(sum, |sum, hash| sum.minus(*hash)), ScopeSum::default());
    }
}

#[test]
fn slices_are_told_by_the_id() {
    for case in cases!("slices.json") {
        let rows: Vec<(String, RowHash)> = serde_json::from_value(case["rows"].clone()).unwrap();
        let mut sums = SliceSums::default();
        rows.iter().for_each(|(id, hash)| sums.add(id, *hash));
        assert_eq!(serde_json::to_value(&sums).unwrap(), case["slices"], "{case}");
        let read: SliceSums = serde_json::from_value(case["slices"].clone()).unwrap();
        assert_eq!(read.differing(&sums), Vec::<u8>::new());
        let mut others: Vec<u8> = rows.iter().map(|(id, _)| slice_of(id)).collect();
        others.sort_unstable();
        others.dedup();
        assert_eq!(read.differing(&SliceSums::default()), others);
    }
    for bad in [r#"[[7,"AAAAAAAAAAAAAAAAAAAAAA"],[7,"AAAAAAAAAAAAAAAAAAAAAA"]]"#, r#"[[256,"AAAAAAAAAAAAAAAAAAAAAA"]]"#]
    {
        assert!(serde_json::from_str::<SliceSums>(bad).is_err(), "{bad}");
    }
}

#[test]
fn all_sums_have_one_digest() {
    for case in cases!("sums_digests.json") {
        let scopes: Vec<(ScopeKey, ScopeSum)> = serde_json::from_value(case["scopes"].clone()).unwrap();
        let digest = SumsDigest::of(scopes.iter().map(|(key, sum)| (key, *sum)));
        assert_eq!(digest.to_string(), text(&case, "sums"), "{case}");
    }
}

#[test]
fn frames_of_devices_keep_their_bytes() {
    let mut seen = BTreeSet::new();
    for case in cases!("frames_up.json") {
        let frame: Up = parse_frame(text(&case, "text")).unwrap();
        assert_eq!(frame.to_line(), text(&case, "text"));
        // Exhaustive on purpose: a new kind of frame does not compile here until it has a word, and then needs a case.
        let kind = match &frame {
            Up::Hello(_) => "hello",
            Up::Mutate(_) => "mutate",
            Up::Ack(_) => "ack",
            Up::Report(_) => "report",
            Up::Bye(_) => "bye",
        };
        assert_eq!(kind, text(&case, "kind"));
        seen.insert(kind);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["ack", "bye", "hello", "mutate", "report"]);
}

#[test]
fn frames_of_servers_keep_their_bytes() {
    let (mut seen, mut types, mut policies, mut outcomes) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for case in cases!("frames_down.json") {
        let frame: Down = parse_frame(text(&case, "text")).unwrap();
        assert_eq!(frame.to_line(), text(&case, "text"));
        let kind = match &frame {
            Down::Challenge(_) => "challenge",
            Down::Welcome(_) => "welcome",
            Down::Command(_) => "command",
            Down::Schema(schema) => {
                types.extend(schema.types().map(FieldType::word));
                policies.extend(schema.fields.iter().map(|field| field.conflict.word()));
                "schema"
            }
            Down::Scopes(_) => "scopes",
            Down::Slices(_) => "slices",
            Down::Rows(rows) => {
                for row in &rows.rows {
                    let read: ScalarRow<'_> = serde_json::from_str(row.get()).unwrap();
                    assert_eq!(read.2.is_some(), read.3.is_some(), "a deleted row has neither hash nor body");
                }
                "rows"
            }
            Down::Leave(_) => "leave",
            Down::Commit(commit) => {
                outcomes.extend(commit.receipts.iter().map(|receipt| format!("{:?}", receipt.outcome)));
                "commit"
            }
            Down::Accepted(_) => "accepted",
            Down::Error(_) => "error",
        };
        assert_eq!(kind, text(&case, "kind"));
        seen.insert(kind);
    }
    let kinds = [
        "accepted",
        "challenge",
        "command",
        "commit",
        "error",
        "leave",
        "rows",
        "schema",
        "scopes",
        "slices",
        "welcome",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), kinds);
    assert_eq!(types, FieldType::ALL.iter().map(|kind| kind.word()).collect(), "every type is in a schema");
    assert_eq!(policies, Policy::ALL.iter().map(|policy| policy.word()).collect(), "every policy is in a schema");
    let every = [Outcome::Applied, Outcome::Merged, Outcome::Conflict, Outcome::Rejected];
    assert_eq!(outcomes, every.iter().map(|outcome| format!("{outcome:?}")).collect(), "every outcome has a receipt");
}

#[test]
fn rows_carry_the_hash_of_their_body() {
    for case in cases!("frames_down.json").iter().filter(|case| text(case, "kind") == "rows") {
        let Down::Rows(rows) = parse_frame(text(case, "text")).unwrap() else { panic!("kind is rows") };
        let mut sum = ScopeSum::default();
        for row in &rows.rows {
            let (id, life, hash, body): (String, Life, Option<RowHash>, Box<serde_json::value::RawValue>) =
                serde_json::from_str(row.get()).unwrap();
            if let Some(hash) = hash {
                assert_eq!(RowHash::of(&rows.channel, &id.as_str().into(), life, body.get().as_bytes()), hash);
                sum = sum.plus(hash);
            }
        }
        assert_eq!(rows.sum.unwrap_or(sum), sum);
    }
}

#[test]
fn texts_that_are_no_frame_have_their_codes() {
    for case in cases!("bad_frames.json") {
        let refused = match text(&case, "side") {
            "up" => parse_frame::<Up>(text(&case, "text")).map(drop),
            _ => parse_frame::<Down>(text(&case, "text")).map(drop),
        };
        assert_eq!(refused.map_err(|error| error.code()), Err(text(&case, "code")), "{case}");
    }
}

#[test]
fn readers_are_lenient_where_the_specification_says_so() {
    for case in cases!("lenient_frames.json") {
        let written = match text(&case, "side") {
            "up" => parse_frame::<Up>(text(&case, "text")).unwrap().to_line(),
            _ => parse_frame::<Down>(text(&case, "text")).unwrap().to_line(),
        };
        assert_eq!(written, text(&case, "canonical"));
    }
}

#[test]
fn payload_digests_are_the_specified_ones() {
    for case in cases!("payload_digests.json") {
        let mutation: Mutation = serde_json::from_str(text(&case, "mutation")).unwrap();
        assert_eq!(to_hex(&mutation.payload_digest()), text(&case, "digest"), "{case}");
    }
}

#[test]
fn proofs_sign_the_specified_text() {
    use base64::Engine as _;
    use p256::ecdsa::signature::Verifier as _;
    let bytes = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();

    let mut seen = BTreeSet::new();
    for case in cases!("proofs.json") {
        let purposes = [Purpose::Token, Purpose::Live, Purpose::Sync];
        let purpose = purposes.into_iter().find(|purpose| purpose.word() == text(&case, "purpose")).unwrap();
        let device: DeviceId = text(&case, "device").parse().unwrap();
        let made = proof_text(purpose, text(&case, "nonce"), device, text(&case, "token"));
        assert_eq!(made, text(&case, "text"));
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&bytes(text(&case, "public_key"))).unwrap();
        let signature = p256::ecdsa::Signature::from_slice(&bytes(text(&case, "signature"))).unwrap();
        key.verify(made.as_bytes(), &signature).unwrap();
        seen.insert(purpose.word());
    }
    assert_eq!(seen.len(), 3, "every purpose has a case");
}

#[test]
fn http_bodies_keep_their_bytes() {
    fn same<T: DeserializeOwned + serde::Serialize>(text: &str) {
        assert_eq!(serde_json::to_string(&serde_json::from_str::<T>(text).unwrap()).unwrap(), text);
    }
    for case in cases!("bodies_http.json") {
        let body = text(&case, "text");
        match text(&case, "kind") {
            "activate_request" => same::<ActivateRequest>(body),
            "activate_reply" => same::<ActivateReply>(body),
            "token_request" => same::<TokenRequest>(body),
            "tokens" => same::<Tokens>(body),
            "schema_reply" => same::<SchemaReply>(body),
            "problem" => same::<Problem>(body),
            other => panic!("unknown kind {other}"),
        }
    }
}
