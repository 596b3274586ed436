//! What may happen to a device, made of a fuzzer's bytes: most of it is half valid, so that it is taken in.

use arbitrary::Arbitrary;
use omctl_protocol::frame::{
    Accepted, Challenge, Command, CommandKind, Commit, ErrorFrame, GainedScope, Leave, Scopes, Slices, Welcome,
};
use omctl_protocol::{
    AssignedBy, BootId, ChannelName, ChannelSchema, Down, Epoch, Field, FieldType, KeyColumn, KeyRule, Life,
    MutationId, Outcome, PROTOCOL, Position, Receipt, RecordId, RowHash, SchemaVersion, ScopeKey, ScopeSum, Seq,
    SumsDigest,
};
use uuid::Uuid;

/// One thing that happens.
#[derive(Debug, Arbitrary)]
pub(super) enum Step<'a> {
    /// A connection stands, or one is made with a challenge.
    Connect { challenge: bool },
    /// It is gone, or could not be made.
    Lost,
    /// A newer session took its place.
    Fenced,
    /// Its tokens are no good.
    Refused,
    /// Time passes.
    Tick { seconds: u16 },
    /// The app writes.
    Sql(Sql),
    /// The app writes several things at once.
    Transaction { all: Vec<Sql>, atomic: bool },
    /// The app takes a rejected mutation up again.
    Retry(u8),
    /// The app gives a rejected mutation up.
    Discard(u8),
    /// The process dies, and another opens the file.
    Crash,
    /// The app lets the store look at itself.
    Audit,
    /// Old receipts are forgotten.
    Prune,
    /// A request instead of a connection.
    Request,
    /// The end of its answer.
    EndRequest,
    /// A line of anybody.
    Line(&'a str),
    /// A frame with one byte of it changed, or cut off there.
    Garbled { frame: Frame, at: u16, with: Option<u8> },
    /// A frame of a server that may know what it does.
    Frame(Frame),
    /// Several of these in a row.
    Frames(Vec<Frame>),
    /// A server that knows what it does answers everything that was said.
    Honest,
}

/// A statement of the app.
#[derive(Debug, Arbitrary)]
pub(super) struct Sql {
    verb: u8,
    channel: u8,
    id: u8,
    field: u8,
    value: u8,
}

/// A frame, its parts as places in short lists.
#[derive(Debug, Arbitrary)]
pub(super) enum Frame {
    Challenge,
    Welcome {
        epoch: u8,
        accepted: Pick,
        flags: u8,
        kept: Option<u8>,
    },
    Schema {
        channel: u8,
        version: u8,
        fields: Option<Vec<(u8, u8, u8)>>,
    },
    Scopes {
        gained: Vec<(u8, u8)>,
        lost: Vec<u8>,
        digest: u8,
    },
    Slices {
        scope: u8,
        channel: u8,
        position: u8,
        slices: Vec<u8>,
    },
    Rows {
        scope: u8,
        channel: u8,
        v: u8,
        position: u8,
        sum: Option<u8>,
        rows: Vec<(u8, u8, u8)>,
    },
    Leave {
        scope: u8,
        channel: u8,
        position: u8,
        ids: Vec<u8>,
    },
    Commit {
        position: u8,
        receipts: Vec<(u8, u8)>,
        sums: Option<u8>,
    },
    Accepted(Pick),
    Error {
        code: u8,
        expected: Option<Pick>,
        fatal: bool,
    },
    /// Never a wipe: after one there is nothing to demand.
    Command {
        n: u8,
        unlock: bool,
    },
}

/// A seq, by where it stands to what the device has sealed.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Pick {
    Zero,
    Last,
    Behind(u8),
    Ahead(u8),
    Farthest,
}

/// What a frame is made for.
pub(super) struct Facing {
    pub(super) last_seq: Seq,
    /// What is in the outbox.
    pub(super) waiting: Vec<(Seq, MutationId)>,
    pub(super) schemas: Vec<ChannelSchema>,
}

const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "", "0190a4d2-0000-7000-8000-000000000001", "ä\u{0}'\""];

/// Names of fields, some of which no table could have.
const FIELDS: [&str; 12] =
    ["title", "hours", "parent", "number", "n", "stamp", "TITLE", "id", "om_present", "rowid", "a\"b'c", "nul\u{0}"];

/// JSON of values and of defaults.
const VALUES: [&str; 14] = [
    "null",
    "\"x\"",
    "\"1.5\"",
    "\"7\"",
    "true",
    "1.25",
    "\"a\"",
    "\"2020-01-02\"",
    "\"AQID\"",
    "\"[1]\"",
    "-0.0",
    "\"\\u0000\"",
    "{}",
    "9e300",
];

/// SQL of values that an app may write.
const LITERALS: [&str; 12] = [
    "NULL",
    "'x'",
    "'1.5'",
    "'7'",
    "1",
    "1.25",
    "'a'",
    "x'00ff'",
    "CAST(x'ff41' AS TEXT)",
    "'1.50'",
    "9e999",
    "'nul' || char(0) || 'x'",
];

pub(super) fn channel(n: u8) -> ChannelName {
    ["notes", "tickets", "notes", "tickets", "others", "om_state", "Notes"][usize::from(n) % 7].into()
}

fn scope(n: u8) -> ScopeKey {
    ["s", "t", "u", ""][usize::from(n) % 4].into()
}

fn position(n: u8) -> Position {
    Position(if n == u8::MAX { i64::MAX.unsigned_abs() } else { u64::from(n) })
}

pub(super) fn field(name: &str, kind: FieldType) -> Field {
    let json = serde_json::json!({ "name": name, "type": kind.word() });
    serde_json::from_value(json).expect("it is written as fields are")
}

/// The fields of a channel as no mistaken server has them.
pub(super) fn schema(name: &ChannelName, version: u32) -> ChannelSchema {
    let tickets = name.as_str() == "tickets";
    let fields = if tickets {
        let stamp = Field { read_only: true, ..field("stamp", FieldType::Text) };
        vec![field("number", FieldType::Int), field("n", FieldType::Int), stamp]
    } else {
        let parent = Field { to: Some("notes".into()), ..field("parent", FieldType::Ref) };
        let hours = if version.is_multiple_of(2) { FieldType::Int } else { FieldType::Decimal };
        let hours = Field { default: Some(serde_json::json!("1")), ..field("hours", hours) };
        vec![field("title", FieldType::Text), hours, parent]
    };
    let (assigned_by, key) = if tickets {
        (AssignedBy::Backend, KeyColumn { column: "number".into(), field: Some("number".into()) })
    } else {
        (AssignedBy::Device, KeyColumn { column: "id".into(), field: None })
    };
    ChannelSchema {
        channel: name.clone(),
        version: SchemaVersion(version),
        key: KeyRule { assigned_by, columns: vec![key] },
        fields,
        writable: true,
        atomic: (!tickets).then(|| "shop".into()),
    }
}

impl Sql {
    pub(super) fn text(&self) -> String {
        let table = ["notes", "tickets", "others"][usize::from(self.channel) % 3];
        let id = ["'a'", "'b'", "'c'", "'d'", "'e'", "''", "7", "CAST(x'ff' AS TEXT)"][usize::from(self.id) % 8];
        let fields: &[&str] = match table {
            "notes" => &["title", "hours", "parent"],
            _ => &["n", "number", "stamp", "title"],
        };
        let field = fields[usize::from(self.field) % fields.len()];
        let value = LITERALS[usize::from(self.value) % LITERALS.len()];
        match self.verb % 8 {
            0 => format!("INSERT INTO {table} (id, {field}) VALUES ({id}, {value})"),
            1 => format!("INSERT INTO {table} ({field}) VALUES ({value})"),
            2 => format!("REPLACE INTO {table} (id, {field}) VALUES ({id}, {value})"),
            3 => format!("UPDATE {table} SET {field} = {value} WHERE id = {id}"),
            4 => format!("UPDATE {table} SET {field} = {value}"),
            5 => format!("DELETE FROM {table} WHERE id = {id}"),
            6 => format!("DELETE FROM {table}"),
            _ => format!(
                "INSERT INTO {table} (id, {field}) VALUES ({id}, {value}) \
                 ON CONFLICT (id) DO UPDATE SET {field} = excluded.{field}"
            ),
        }
    }
}

impl Pick {
    fn seq(self, last: Seq) -> Seq {
        Seq(match self {
            Self::Zero => 0,
            Self::Last => last.0,
            Self::Behind(n) => last.0.saturating_sub(u64::from(n)),
            Self::Ahead(n) => last.0.saturating_add(u64::from(n)),
            Self::Farthest => i64::MAX.unsigned_abs(),
        })
    }
}

impl Frame {
    /// The line that a server sends.
    pub(super) fn line(&self, facing: &Facing) -> String {
        let frame = match self {
            Self::Challenge => Down::Challenge(Challenge { nonce: "n".into() }),
            Self::Command { n, unlock } => Down::Command(Command {
                n: u64::from(*n),
                kind: if *unlock { CommandKind::Unlock } else { CommandKind::Lock },
                signature: String::new(),
            }),
            Self::Welcome { epoch, accepted, flags, kept } => Down::Welcome(Box::new(Welcome {
                protocol: PROTOCOL,
                epoch: Epoch(Uuid::from_u128(u128::from(epoch % 3))),
                boot: BootId(Uuid::from_u128(1)),
                position: Position(100),
                accepted: accepted.seq(facing.last_seq),
                renew: flags & 7 == 1,
                reset: flags & 7 == 2 || kept.is_some(),
                kept: kept.map(position),
                list_scopes: flags & 7 == 3,
                lease_s: (flags & 8 != 0).then_some(60),
            })),
            Self::Schema { channel: name, version, fields } => {
                Down::Schema(Box::new(any_schema(&channel(*name), *version, fields.as_deref())))
            }
            Self::Scopes { gained, lost, digest } => Down::Scopes(Scopes {
                gained: gained
                    .iter()
                    .map(|(key, name)| GainedScope { scope: scope(*key), channel: channel(*name) })
                    .collect(),
                lost: lost.iter().map(|key| scope(*key)).collect(),
                digest: digest.to_string(),
            }),
            Self::Slices { scope: key, channel: name, position: at, slices } => Down::Slices(Slices {
                scope: scope(*key),
                channel: channel(*name),
                position: position(*at),
                slices: slices.clone(),
            }),
            Self::Rows { scope: key, channel: name, v, position: at, sum, rows } => {
                return rows_line(facing, &scope(*key), &channel(*name), *v, position(*at), *sum, rows);
            }
            Self::Leave { scope: key, channel: name, position: at, ids } => Down::Leave(Leave {
                scope: scope(*key),
                channel: channel(*name),
                position: position(*at),
                sum: None,
                ids: ids.iter().map(|id| record(*id)).collect(),
            }),
            Self::Commit { position: at, receipts, sums } => Down::Commit(Commit {
                position: position(*at),
                receipts: receipts.iter().map(|(which, how)| receipt(facing, *which, *how)).collect(),
                sums: sums.map(|n| SumsDigest(u128::from(n))),
            }),
            Self::Accepted(pick) => Down::Accepted(Accepted { seq: pick.seq(facing.last_seq) }),
            Self::Error { code, expected, fatal } => Down::Error(ErrorFrame {
                code: ["seq_gap", "fenced", "seq_payload_mismatch", "too_deep"][usize::from(code % 4)].into(),
                message: "no".into(),
                hint: None,
                expected: expected.map(|pick| pick.seq(facing.last_seq)),
                fatal: *fatal,
            }),
        };
        frame.to_line()
    }
}

fn any_schema(name: &ChannelName, version: u8, fields: Option<&[(u8, u8, u8)]>) -> ChannelSchema {
    let mut made = schema(name, u32::from(version % 5));
    if let Some(fields) = fields {
        made.fields = fields.iter().map(|(name, kind, default)| any_field(*name, *kind, *default)).collect();
    }
    made
}

fn any_field(name: u8, kind: u8, default: u8) -> Field {
    let kind = FieldType::ALL[usize::from(kind) % FieldType::ALL.len()];
    let json = VALUES.get(usize::from(default)).map(|text| serde_json::from_str(text).expect("it is JSON"));
    Field {
        default: json,
        read_only: name & 64 != 0,
        to: (kind == FieldType::Ref).then(|| "notes".into()),
        ..field(FIELDS[usize::from(name & 63) % FIELDS.len()], kind)
    }
}

fn record(n: u8) -> RecordId {
    IDS[usize::from(n) % IDS.len()].into()
}

fn receipt(facing: &Facing, which: u8, how: u8) -> Receipt {
    let known = facing.waiting.get(usize::from(which % 16));
    let (seq, id) = known.copied().unwrap_or((Seq(u64::from(which)), MutationId(Uuid::from_u128(u128::from(which)))));
    let outcome = [Outcome::Applied, Outcome::Merged, Outcome::Conflict, Outcome::Rejected][usize::from(how % 4)];
    let position = (how & 16 == 0).then(|| position(how));
    Receipt { seq, id, outcome, code: None, message: None, field: None, position }
}

/// A row is an id, what stands for its values, and what stands for its hash and life.
fn rows_line(
    facing: &Facing,
    scope: &ScopeKey,
    channel: &ChannelName,
    v: u8,
    position: Position,
    sum: Option<u8>,
    rows: &[(u8, u8, u8)],
) -> String {
    let known = facing.schemas.iter().find(|schema| schema.channel == *channel);
    // Nearly always the one that the device has.
    let version = match known {
        Some(schema) if v < 250 => schema.version,
        _ => SchemaVersion(u32::from(v)),
    };
    let mut right = ScopeSum::default();
    let rows: Vec<String> = rows
        .iter()
        .map(|(id, values, how)| {
            let (id, life) = (record(*id), Life(u64::from(how & 3)));
            let text = serde_json::to_string(id.as_str()).expect("text has a JSON form");
            if *values == 0 {
                return format!("[{text},{},null,null]", life.0);
            }
            let kinds: Vec<FieldType> = known.iter().flat_map(|schema| schema.types()).collect();
            let body: Vec<&str> =
                kinds.iter().enumerate().map(|(n, kind)| json_of(*kind, usize::from(*values) + n)).collect();
            let body = format!("[{}]", body.join(","));
            let hash = RowHash::of(channel, &id, life, body.as_bytes());
            right = right.plus(hash);
            let hash = if how & 128 == 0 { hash } else { RowHash(u128::from(*how)) };
            format!("[{text},{},\"{hash}\",{body}]", life.0)
        })
        .collect();
    let sum = match sum {
        None => String::new(),
        Some(0) => format!(",\"sum\":\"{right}\""),
        Some(n) => format!(",\"sum\":\"{}\"", ScopeSum(u128::from(n))),
    };
    let scope = serde_json::to_string(scope).expect("text has a JSON form");
    format!(
        "{{\"rows\":{{\"scope\":{scope},\"channel\":\"{channel}\",\"v\":{},\"position\":{}{sum},\"rows\":[{}]}}}}",
        version.0,
        position.0,
        rows.join(",")
    )
}

/// The JSON of a value of this type, or (rarely) of any.
fn json_of(kind: FieldType, n: usize) -> &'static str {
    if n > 240 {
        return VALUES[n % VALUES.len()];
    }
    match kind {
        _ if n.is_multiple_of(5) => "null",
        FieldType::Int => ["\"7\"", "\"-1\"", "\"9223372036854775807\""][n % 3],
        FieldType::Float => ["1.25", "-0.0", "7"][n % 3],
        FieldType::Decimal => "\"1.5\"",
        FieldType::Bool => ["true", "false"][n % 2],
        FieldType::Bytes => "\"AQID\"",
        FieldType::Json | FieldType::Array => "\"[1]\"",
        _ => ["\"x\"", "\"a\"", "\"b\""][n % 3],
    }
}
