//! Greetings: of bytes, and of structure that is valid as far as types go.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use omctl_protocol::frame::{Held, Hello, Proof, parse_frame};
use omctl_protocol::{
    BootId, ChannelName, DeviceId, Epoch, Incarnation, Position, RowHash, SchemaVersion, ScopeKey, ScopeSum, Seq,
    SliceSums, SumsDigest, Up,
};
use uuid::Uuid;

/// A scope's key, its own position, and records with their hashes.
type SaidScope<'a> = (&'a str, Option<u64>, Vec<(&'a str, u128)>);

/// What a device may say of itself.
#[derive(Debug, Arbitrary)]
struct Said<'a> {
    protocol: u32,
    ids: [u64; 4],
    numbers: [u64; 4],
    has: [bool; 6],
    scopes: Vec<SaidScope<'a>>,
    schemas: Vec<(&'a str, u32)>,
    words: [&'a str; 3],
}

/// A greeting, as a line or in parts.
pub fn hello(data: &[u8]) {
    if let Ok(line) = std::str::from_utf8(data)
        && let Ok(Up::Hello(hello)) = parse_frame::<Up>(line)
    {
        there_and_back(*hello);
    }
    let line = format!("{{\"hello\":{}}}", String::from_utf8_lossy(data));
    if let Ok(Up::Hello(hello)) = parse_frame::<Up>(&line) {
        there_and_back(*hello);
    }
    let mut rest = Unstructured::new(data);
    if let Ok(said) = Said::arbitrary(&mut rest) {
        there_and_back(said.hello());
    }
}

impl Said<'_> {
    fn hello(&self) -> Hello {
        // Larger ones are refused where they are read.
        let number = |n: usize| self.numbers[n] & i64::MAX.unsigned_abs();
        let id = |n: usize| Uuid::from_u64_pair(self.ids[n], self.ids[(n + 1) % 4]);
        let list = |(key, own, _): &(&str, Option<u64>, _)| {
            (ScopeKey::from(*key), own.map(|own| Position(own & i64::MAX.unsigned_abs())))
        };
        let slices = |(key, _, records): &(&str, _, Vec<(&str, u128)>)| {
            let mut sums = SliceSums::default();
            records.iter().for_each(|(id, hash)| sums.add(id, RowHash(*hash)));
            (ScopeKey::from(*key), sums)
        };
        let schemas = self.schemas.iter().map(|(name, v)| (ChannelName::from(*name), SchemaVersion(*v)));
        let shapes = self.schemas.iter().map(|(name, v)| (ChannelName::from(*name), v.to_string()));
        Hello {
            protocol: self.protocol,
            device: DeviceId(id(0)),
            incarnation: Incarnation(id(1)),
            last_seq: Seq(number(0)),
            settled: self.has[0].then(|| Seq(number(1))),
            epoch: self.has[1].then(|| Epoch(id(2))),
            boot: self.has[2].then(|| BootId(id(3))),
            position: Position(number(2)),
            scopes: Held {
                digest: self.has[3].then(|| self.words[0].to_owned()),
                list: self.has[4].then(|| self.scopes.iter().map(list).collect()),
                slices: self.scopes.iter().map(slices).collect(),
            },
            schemas: schemas.collect(),
            shapes: shapes.collect(),
            proof: self.has[5].then(|| Proof { nonce: self.words[1].to_owned(), signature: self.words[2].to_owned() }),
            kept: self.has[0].then(|| Position(number(3))),
            zstd: self.has[1],
            command: number(0),
        }
    }
}

fn there_and_back(hello: Hello) {
    for sums in hello.scopes.slices.values() {
        assert!(sums.differing(sums).is_empty());
        let nothing = SliceSums::default();
        assert_eq!(sums.differing(&nothing), nothing.differing(sums));
    }
    let held: BTreeMap<&ScopeKey, ScopeSum> =
        hello.scopes.list.iter().flatten().map(|(key, _)| (key, ScopeSum::default())).collect();
    let digest = SumsDigest::of(held.iter().map(|(key, sum)| (*key, *sum)));
    assert_eq!(serde_json::to_string(&digest).map(|text| text.len()).ok(), Some(24));
    let frame = Up::Hello(Box::new(hello));
    let line = frame.to_line();
    let again: Up = parse_frame(&line).expect("a greeting that was written is one");
    assert_eq!(again.to_line(), line);
    assert_eq!(again, frame);
}
