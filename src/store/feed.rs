//! What the store tells about each commit: once, to one listener, in commit order.
//!
//! `push` holds the only receiver and hands out what concerns each live session. The bodies are those of the log, so
//! nothing is encoded again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omctl_protocol::{ChannelName, Life, Position, Receipt, RecordId, RowHash, SchemaVersion, ScopeKey, ScopeSum};

use super::log::LinkKey;
use super::{AccountNo, DeviceNo, IncarnationNo, ScopeNo};

/// One durable commit of the store (of all intents that were grouped into it).
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The state log's newest position now.
    pub last: Position,
    /// The scopes that it touched.
    pub touched: BTreeMap<ScopeNo, Touched>,
    /// The receipts that it made durable.
    pub receipts: Vec<(DeviceNo, IncarnationNo, Vec<Receipt>)>,
    /// What changed records are, or were, found by.
    pub links: BTreeSet<LinkKey>,
    /// What else live sessions must hear of.
    pub notices: Vec<Notice>,
}

/// The changes of one scope, in the order of their positions.
#[derive(Clone, Debug)]
pub struct Touched {
    /// The scope.
    pub key: ScopeKey,
    /// Its channel.
    pub channel: ChannelName,
    /// Its sum after this commit.
    pub sum: ScopeSum,
    /// What happened in it.
    pub changes: Vec<Change>,
}

/// One change of one scope.
#[derive(Clone, Debug)]
pub enum Change {
    /// A record is new, changed or deleted.
    Row(Arc<LogRow>),
    /// A record left this scope and still exists.
    Left(RecordId, Position),
}

/// One row of the state log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow {
    /// Of its latest change.
    pub position: Position,
    /// The record.
    pub id: RecordId,
    /// Which existence of it.
    pub life: Life,
    /// The schema version of the body.
    pub version: SchemaVersion,
    /// The canonical body; `None` for a tombstone.
    pub body: Option<String>,
    /// The hash; `None` for a tombstone.
    pub hash: Option<RowHash>,
}

/// Something that a live session must hear of at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Role, claims or state of an account changed: what its devices may see may have changed.
    Account(AccountNo),
    /// Cursors of the sessions that there are mean nothing any more: a backend was set back.
    Everyone,
    /// A device was revoked, or a newer session of it began: sessions with a lower fence end.
    Device(DeviceNo),
}

impl LogRow {
    /// Appends the row's wire form: `[id,life,hash,[…]]`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        serde_json::to_writer(&mut *out, &self.id).expect("writing to a Vec never fails");
        out.push(b',');
        out.extend_from_slice(self.life.0.to_string().as_bytes());
        match (&self.hash, &self.body) {
            (Some(hash), Some(body)) => {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(hash.to_string().as_bytes());
                out.extend_from_slice(b"\",");
                out.extend_from_slice(body.as_bytes());
                out.push(b']');
            }
            _ => out.extend_from_slice(b",null,null]"),
        }
    }
}

/// Encodes changes of one scope as `rows` and `leave` frames, in their order. The last frame carries `position` and
/// `sum`; the earlier ones carry the position they reach.
pub fn encode_frames(
    scope: &ScopeKey,
    channel: &ChannelName,
    changes: &[Change],
    position: Position,
    sum: Option<ScopeSum>,
) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = changes;
    loop {
        let taken = take_alike(rest);
        let (piece, left) = rest.split_at(taken);
        let last = left.is_empty();
        let reached = if last { position } else { piece.last().map_or(position, Change::position) };
        frames.push(encode_piece(scope, channel, piece, reached, sum.filter(|_| last)));
        if last {
            return frames;
        }
        rest = left;
    }
}

/// How many of the first changes fit in one frame: of one kind, one schema version, and not too large.
fn take_alike(changes: &[Change]) -> usize {
    let mut bytes = 0;
    let Some(first) = changes.first() else { return 0 };
    let mut taken = 0;
    for change in changes {
        let alike = match (first, change) {
            (Change::Row(first), Change::Row(row)) => first.version == row.version,
            (Change::Left(..), Change::Left(..)) => true,
            _ => false,
        };
        if !alike || bytes > crate::limits::ROWS_FRAME_BYTES {
            break;
        }
        bytes += match change {
            Change::Row(row) => 64 + row.id.as_str().len() + row.body.as_ref().map_or(0, String::len),
            Change::Left(id, _) => 4 + id.as_str().len(),
        };
        taken += 1;
    }
    taken
}

fn encode_piece(
    scope: &ScopeKey,
    channel: &ChannelName,
    piece: &[Change],
    position: Position,
    sum: Option<ScopeSum>,
) -> Vec<u8> {
    const WRITES: &str = "writing to a Vec never fails";
    let mut out = Vec::with_capacity(256 + piece.len() * 200);
    let leaves = matches!(piece.first(), Some(Change::Left(..)));
    out.extend_from_slice(if leaves { b"{\"leave\":{\"scope\":" } else { b"{\"rows\":{\"scope\":" });
    serde_json::to_writer(&mut out, scope).expect(WRITES);
    out.extend_from_slice(b",\"channel\":");
    serde_json::to_writer(&mut out, channel).expect(WRITES);
    if !leaves {
        let version = piece.iter().find_map(|change| match change {
            Change::Row(row) => Some(row.version),
            Change::Left(..) => None,
        });
        out.extend_from_slice(format!(",\"v\":{}", version.unwrap_or_default()).as_bytes());
    }
    out.extend_from_slice(format!(",\"position\":{position}").as_bytes());
    if let Some(sum) = sum {
        out.extend_from_slice(format!(",\"sum\":\"{sum}\"").as_bytes());
    }
    out.extend_from_slice(if leaves { b",\"ids\":[" } else { b",\"rows\":[" });
    for (n, change) in piece.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        match change {
            Change::Row(row) => row.write_json(&mut out),
            Change::Left(id, _) => serde_json::to_writer(&mut out, id).expect(WRITES),
        }
    }
    out.extend_from_slice(b"]}}");
    out
}

impl Change {
    /// The position it happened at.
    pub fn position(&self) -> Position {
        match self {
            Self::Row(row) => row.position,
            Self::Left(_, position) => *position,
        }
    }
}

#[cfg(test)]
mod tests {
    use omctl_protocol::{Down, frame};

    use super::*;

    fn row(position: u64, version: u32, body: Option<&str>) -> Change {
        Change::Row(Arc::new(LogRow {
            position: Position(position),
            id: format!("r{position}").into(),
            life: Life(1),
            version: SchemaVersion(version),
            body: body.map(Into::into),
            hash: body.map(|_| RowHash(7)),
        }))
    }

    #[test]
    fn frames_keep_the_order_and_split_by_kind_and_version() {
        let changes = [
            row(1, 1, Some(r#"["a"]"#)),
            row(2, 1, None),
            Change::Left("r0".into(), Position(3)),
            row(4, 2, Some(r#"["b",null]"#)),
        ];
        let sum = Some(ScopeSum(9));
        let frames = encode_frames(&"s".into(), &"c".into(), &changes, Position(5), sum);
        let read: Vec<Down> =
            frames.iter().map(|line| frame::parse_frame(std::str::from_utf8(line).unwrap()).unwrap()).collect();
        match &read[..] {
            [Down::Rows(first), Down::Leave(left), Down::Rows(last)] => {
                assert_eq!((first.rows.len(), first.position, first.sum), (2, Position(2), None));
                assert_eq!((left.ids.len(), left.position), (1, Position(3)));
                assert_eq!((last.v, last.position, last.sum), (SchemaVersion(2), Position(5), sum));
            }
            other => panic!("{other:?}"),
        }
    }
}
