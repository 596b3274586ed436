//! What the store tells about each commit: once, to one listener, in commit order.
//!
//! `push` holds the only receiver and hands out what concerns each live session. The bodies are those of the log, so
//! nothing is encoded again.

use std::collections::BTreeMap;
use std::sync::Arc;

use omctl_protocol::{ChannelName, Life, Position, Receipt, RecordId, RowHash, SchemaVersion, ScopeKey, ScopeSum};

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
