//! What the fleet itself knows: every write of an app, every receipt as it came, what the apps saw of the records they
//! watch. It is the checker's own memory, beside what devices and server keep.

use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::{ChannelName, Fields, Mutation, MutationId, Operation, Outcome, Receipt, Seq};

use super::wholes::{Shown, Whole};

/// Something that happened on one device.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Since the fleet's start.
    pub(super) at: Duration,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// Its app wrote a record.
    Wrote { line: Line, saved: Saved },
    /// A receipt came.
    Settled(Box<Settled>),
    /// A watched record looks otherwise than before, in a look that began at this time.
    Saw { channel: ChannelName, record: String, began: Duration, row: Option<Vec<serde_json::Value>> },
    /// It shows something else of an atomic transaction than before, in one look.
    SawWhole { whole: Arc<Whole>, shown: Vec<Shown> },
    /// Something befell the device.
    Went(Fate),
}

/// What befalls a device, as far as it says something of what its app wrote and saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Killed,
    Dropped,
    SetBack,
}

impl Fate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Killed => "is killed",
            Self::Dropped => "is dropped",
            Self::SetBack => "is set back to its backup",
        }
    }
}

/// One record of a write.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Line {
    pub(super) channel: ChannelName,
    pub(super) record: String,
    pub(super) op: Operation,
    /// The new values, by field, in their JSON forms.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub(super) new: Fields,
}

/// Whether the app's database took a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    Yes,
    /// A trigger refused it.
    No,
    /// The app ended before it answered.
    Unknown,
}

/// A mutation's id, and the digest of what it asks for.
pub(super) type Identity = (MutationId, [u8; 16]);

/// A mutation with its receipt.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) device: usize,
    pub(super) mutation: Mutation,
    pub(super) receipt: Receipt,
}

impl Settled {
    /// What it is known by. A device that was set back may use an id again for something else.
    pub(super) fn identity(&self) -> Identity {
        (self.mutation.id, self.mutation.payload_digest())
    }

    /// Whether its own device refused it: it was never sent.
    pub(super) fn is_refused_here(&self) -> bool {
        self.receipt.seq == Seq(0)
    }

    /// Whether it took effect, in whole or in part: what its receipt says by itself.
    pub(super) fn took_effect(&self) -> bool {
        matches!(self.receipt.outcome, Outcome::Applied | Outcome::Merged)
    }

    /// Whether nobody can tell.
    pub(super) fn is_unknown(&self) -> bool {
        self.receipt.outcome == Outcome::Conflict && self.receipt.code.as_deref() == Some("unknown")
    }
}

/// A write past the server.
#[derive(Clone, Debug)]
pub(super) struct ForeignNote {
    pub(super) at: Duration,
    pub(super) channel: ChannelName,
    pub(super) op: Operation,
    /// The record; not known of a new row until it is found by its mark.
    pub(super) record: Option<String>,
    /// What was written, by field.
    pub(super) wrote: Fields,
    /// What was added to number fields.
    pub(super) add: Fields,
    /// Whether it is known to have been done: else its answer was lost.
    pub(super) sure: bool,
}
