//! The frames of a session: `GET /v1/live` carries them as WebSocket messages, `POST /v1/sync` as lines.
//!
//! A frame is a JSON object with one member, whose name is the frame's kind: `{"hello":{…}}`. A WebSocket message holds
//! one frame, or (from a server) several separated by a line feed; a binary message is the same, compressed by zstd (from
//! a server only where `hello` asked for it). Rows are kept as raw JSON on the way through, so that a server encodes each
//! change once for everybody.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::hash::{RowHash, ScopeSum, SliceSums, SumsDigest};
use crate::ids::{
    BootId, ChannelName, DeviceId, Epoch, Incarnation, Life, Position, RecordId, SchemaVersion, ScopeKey, Seq,
};
use crate::mutation::{Mutation, Receipt};
use crate::schema::ChannelSchema;
use crate::value::Scalar;

/// A frame that a device sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Up {
    /// Begins a session.
    Hello(Box<Hello>),
    /// Sends sealed mutations.
    Mutate(Mutate),
    /// Tells which receipts are durable on the device.
    Ack(Ack),
    /// Tells which commands the device has carried out.
    Report(Report),
    /// Ends a session. Over `POST /v1/sync` it is the last line.
    Bye(Bye),
}

/// A frame that a server sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// The first frame on a socket: what `hello` must prove.
    Challenge(Challenge),
    /// Answers `hello`.
    Welcome(Box<Welcome>),
    /// An order to the device. A device that is locked or wiped gets it in the place of `welcome`.
    Command(Command),
    /// A channel's fields, where the device has another version.
    Schema(Box<ChannelSchema>),
    /// Which scopes the device may see from now on.
    Scopes(Scopes),
    /// Which slices of a scope are sent whole.
    Slices(Slices),
    /// Changed records of one scope and channel.
    Rows(Rows),
    /// Records that left one scope.
    Leave(Leave),
    /// A moment at which the device's tables are consistent.
    Commit(Commit),
    /// The mutations up to here are durable on the server.
    Accepted(Accepted),
    /// Something is wrong with the session as a whole.
    Error(ErrorFrame),
}

/// Begins a session: who the device is and what it already has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The device.
    pub device: DeviceId,
    /// Its outbox's current history.
    pub incarnation: Incarnation,
    /// The highest seq that was ever sealed in this incarnation.
    pub last_seq: Seq,
    /// Every mutation up to here has its receipt on the device; absent: the server goes by what was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Seq>,
    /// The history that `position` belongs to; absent before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The server start in which `position` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootId>,
    /// Of the last commit.
    #[serde(default)]
    pub position: Position,
    /// The scopes held.
    #[serde(default)]
    pub scopes: Held,
    /// The schema version of each channel held.
    #[serde(default)]
    pub schemas: std::collections::BTreeMap<ChannelName, SchemaVersion>,
    /// While something held is in doubt: what these versions are ([`ChannelSchema::shape`]). A server that was set back
    /// may have given a number to other fields.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub shapes: std::collections::BTreeMap<ChannelName, String>,
    /// Signature over the server's nonce; see `docs/protocol.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// After a `reset`: [`Welcome::kept`], for as long as the incarnation lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Position>,
    /// Whether the device reads binary messages compressed by zstd.
    #[serde(default)]
    pub zstd: bool,
    /// Number of the newest command that the device has carried out; 0 before the first one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub command: u64,
}

/// The scopes a device holds: a digest where they are the set that the server last named, all at `position`; else a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The digest of the last `scopes` or `welcome` frame that was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Each scope, with its own position where that differs from `hello.position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<(ScopeKey, Option<Position>)>>,
    /// The slice sums of those listed scopes that are to be reconciled: their position does not count.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub slices: std::collections::BTreeMap<ScopeKey, SliceSums>,
}

/// Proves that the sender holds the device's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The nonce that the server gave.
    pub nonce: String,
    /// ECDSA P-256 over [`crate::api::proof_text`], 64 bytes, base64url without padding.
    pub signature: String,
}

/// What a socket's first `hello` must sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// Fresh, for this socket only.
    pub nonce: String,
}

/// Sealed mutations, in the order of their seq, without a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mutate {
    /// At most [`MUTATIONS_MAX`].
    pub mutations: Vec<Mutation>,
}

/// Most mutations in one `mutate` frame.
pub const MUTATIONS_MAX: usize = 1000;

/// The receipts up to this seq are durable on the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Of the current incarnation.
    pub seq: Seq,
}

/// Ends a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bye {}

/// Answers `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The history of the state log.
    pub epoch: Epoch,
    /// This start of the server; positions of this session name it.
    pub boot: BootId,
    /// The state log's newest position when the session began.
    pub position: Position,
    /// The device's mutations up to here are durable on the server.
    pub accepted: Seq,
    /// The device must begin a new incarnation: renumber what has no receipt from 1, keep the ids, say `hello` again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renew: bool,
    /// The history is not the one the device knows: its cursors mean nothing here. Say `hello` again, with the slice sums
    /// of what is held. The outbox stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// With `reset`, where the server's history was set back: the last position that both histories share (0: none is
    /// known). Begin a new incarnation and offer again what was settled behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Position>,
    /// The digest did not match: say `hello` again with the list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list_scopes: bool,
    /// After so many seconds without a `welcome` the device locks itself, until the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An order to the device. Each says what the device is to be from then on, so only the newest one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Rises with each command to the device; at most [`COMMAND_MAX`].
    pub n: u64,
    /// What is to be done.
    pub kind: CommandKind,
    /// By the server's key over [`crate::api::command_text`]: ECDSA P-256, 64 bytes, base64url without padding.
    #[serde(default)]
    pub signature: String,
}

/// No command has a higher number: every language counts so far without rounding.
pub const COMMAND_MAX: u64 = 1 << 53;

/// What a command orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Show the app nothing and let it write nothing; what waits to be sent stays.
    Lock,
    /// The end of a lock.
    Unlock,
    /// Destroy the data of the account, what was never sent too. There is no way back.
    Wipe,
}

impl CommandKind {
    /// Its name on the wire, in the database and in JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Wipe => "wipe",
        }
    }

    /// The kind of this name.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Lock, Self::Unlock, Self::Wipe].into_iter().find(|kind| kind.word() == word)
    }
}

/// The command of this number is carried out, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`Command::n`].
    pub command: u64,
}

/// Which scopes the device may see from now on. Takes effect at the next `commit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scopes {
    /// Each is sent from the beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gained: Vec<GainedScope>,
    /// Each is dropped whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<ScopeKey>,
    /// Identifies the whole set after this change.
    pub digest: String,
}

/// A scope that a device may see from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GainedScope {
    /// The scope.
    pub scope: ScopeKey,
    /// Its channel.
    pub channel: ChannelName,
}

/// Slices of a scope that are sent whole: what the device holds of the scope in them is replaced by the rows that follow,
/// up to the next `commit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slices {
    /// The scope.
    pub scope: ScopeKey,
    /// Its channel.
    pub channel: ChannelName,
    /// The position at which the sums were compared.
    pub position: Position,
    /// Their numbers, rising ([`crate::hash::slice_of`]); empty where nothing differs.
    pub slices: Vec<u8>,
}

/// Changed records of one scope and channel, in the order of their positions. The same bytes go to every device that may
/// see the scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rows {
    /// The scope.
    pub scope: ScopeKey,
    /// Its channel.
    pub channel: ChannelName,
    /// The schema version of the bodies.
    pub v: SchemaVersion,
    /// With these rows, everything of the scope up to here was sent.
    pub position: Position,
    /// The scope's sum at `position`, where the sender knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<ScopeSum>,
    /// [`Row`]s, unparsed.
    pub rows: Vec<Box<RawValue>>,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        (&self.scope, &self.channel, self.v, self.position, self.sum)
            == (&other.scope, &other.channel, other.v, other.position, other.sum)
            && self.rows.iter().map(|row| row.get()).eq(other.rows.iter().map(|row| row.get()))
    }
}

/// One changed record: `[id, life, hash, [values…]]`, or `[id, life, null, null]` for a deleted one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row<'a, B>(
    /// The record.
    #[serde(borrow)]
    pub std::borrow::Cow<'a, str>,
    /// Which existence of it.
    pub Life,
    /// The server's hash of it; absent for a deleted one.
    pub Option<RowHash>,
    /// The body; absent for a deleted one.
    pub Option<B>,
);

/// A row whose values are read.
pub type ScalarRow<'a> = Row<'a, Vec<Scalar<'a>>>;

/// Records that left one scope without being deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leave {
    /// The scope.
    pub scope: ScopeKey,
    /// Its channel.
    pub channel: ChannelName,
    /// With these, everything of the scope up to here was sent.
    pub position: Position,
    /// The scope's sum at `position`, where the sender knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<ScopeSum>,
    /// The records.
    pub ids: Vec<RecordId>,
}

/// A moment at which the device's tables are consistent: everything up to `position` was sent, in every scope held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The cursor of every scope held.
    pub position: Position,
    /// This device's receipts whose effects are in what was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<Receipt>,
    /// Over the sums of every scope held, in the first commit of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<SumsDigest>,
}

/// The mutations up to here are durable on the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// Of the current incarnation.
    pub seq: Seq,
}

/// Something is wrong with the session as a whole. What concerns one mutation is a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For `seq_gap`: resend from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Seq>,
    /// Whether the session ends with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fatal: bool,
}

/// Reads the frames of one message or body: one JSON object a line, empty lines ignored.
///
/// # Errors
/// The first line that is not a frame, or that is nested deeper than 64.
pub fn parse_frames<'a, F: Deserialize<'a>>(text: &'a str) -> Result<Vec<F>, FrameError> {
    let mut frames = Vec::new();
    for (number, line) in text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        frames.push(parse_frame(line).map_err(|source| source.at(number + 1))?);
    }
    Ok(frames)
}

/// Reads one frame.
///
/// # Errors
/// What is not a frame, or is nested deeper than 64.
pub fn parse_frame<'a, F: Deserialize<'a>>(line: &'a str) -> Result<F, FrameError> {
    if !crate::json_text::depth_is_allowed(line) {
        return Err(FrameError::TooDeep { line: 1 });
    }
    serde_json::from_str(line).map_err(|source| FrameError::Malformed { line: 1, source })
}

/// Why a text is not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, not a known kind of frame, or with a member missing, doubled or of the wrong type.
    #[error("line {line} is not a frame")]
    Malformed {
        /// Line of the message, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Nested deeper than 64.
    #[error("line {line} is nested deeper than 64")]
    TooDeep {
        /// Line of the message, from 1.
        line: usize,
    },
}

impl FrameError {
    /// Stable code for problem documents and `error` frames.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooDeep { .. } => "too_deep",
            Self::Malformed { source, .. } if source.to_string().starts_with("duplicate field") => "duplicate_key",
            Self::Malformed { .. } => "bad_frame",
        }
    }

    fn at(self, line: usize) -> Self {
        match self {
            Self::Malformed { source, .. } => Self::Malformed { line, source },
            Self::TooDeep { .. } => Self::TooDeep { line },
        }
    }
}

impl Up {
    /// The frame as one line of JSON, without the line feed.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a frame always has a JSON form")
    }
}

impl Down {
    /// The frame as one line of JSON, without the line feed.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("a frame always has a JSON form")
    }
}
