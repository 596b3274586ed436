//! A device's write and its durable answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{ChannelName, MutationId, Position, RecordId, SchemaVersion, Seq};

/// Field values by name, in JSON form.
pub type Fields = BTreeMap<String, serde_json::Value>;

/// One device write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mutation {
    /// Its number in the device's current incarnation.
    pub seq: Seq,
    /// Its own id, made at capture, kept through coalescing, sealing, re-sending and new incarnations.
    pub id: MutationId,
    /// The channel.
    pub channel: ChannelName,
    /// The schema version that `old` and `new` are written in.
    pub v: SchemaVersion,
    /// What it does.
    pub op: Operation,
    /// The record.
    pub record: RecordId,
    /// For each changed field of an update, and for each field of a delete, the value the device saw before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub old: Fields,
    /// For each changed field of an update, and for each field of a create, the new value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub new: Fields,
    /// The device's clock in milliseconds since 1970. Information: it decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// Mutations of one local transaction share this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u64>,
    /// Of a transaction that is applied whole or not at all: where in it this mutation stands. Not part of the payload:
    /// what is offered again stands otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atomic: Option<Part>,
    /// It was settled before, in a history that the server has lost: the position of its receipt there. Not part of the
    /// payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Position>,
}

/// Most mutations of an atomic transaction: it is settled in one piece.
pub const ATOMIC_MUTATIONS_MAX: usize = 500;

/// A mutation's place in an atomic transaction. The mutations of one have consecutive seqs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct Part {
    /// How many of the transaction stand before it.
    pub at: u32,
    /// How many the transaction has.
    pub of: u32,
}

/// What a mutation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Makes a record.
    Create,
    /// Changes fields of a record.
    Update,
    /// Removes a record.
    Delete,
}

/// How a mutation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every field was taken as sent.
    Applied,
    /// A policy combined some field with what had moved, and no value was lost.
    Merged,
    /// Some value lost against another one; both are kept for audit. Code `unknown`: nobody can tell whether it was
    /// applied, and it was not tried again.
    Conflict,
    /// Nothing was applied; `code` says why.
    Rejected,
}

/// The durable answer to one mutation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The mutation's number in the incarnation it was settled in.
    pub seq: Seq,
    /// The mutation.
    pub id: MutationId,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable code, where there is more to say (`scope_write`, `exists`, `depends_on`, `unknown`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// One sentence for the app's user or its developer; names no value of anybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The field it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The position at which its effect is in the log: rows up to here show it. Absent where nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

impl Part {
    /// The seqs of the transaction's first and last mutation, given the one of this; `None` where there can be no such
    /// transaction.
    pub fn span(self, seq: Seq) -> Option<(Seq, Seq)> {
        let first = seq.0.checked_sub(u64::from(self.at)).filter(|first| *first > 0)?;
        let last = first.checked_add(u64::from(self.of).checked_sub(1)?)?;
        (self.at < self.of).then_some((Seq(first), Seq(last)))
    }
}

impl From<(u32, u32)> for Part {
    fn from((at, of): (u32, u32)) -> Self {
        Self { at, of }
    }
}

impl From<Part> for (u32, u32) {
    fn from(part: Part) -> Self {
        (part.at, part.of)
    }
}

impl Mutation {
    /// Identifies what the mutation asks for, regardless of its number: the same id with another digest is another write.
    pub fn payload_digest(&self) -> [u8; 16] {
        #[derive(Serialize)]
        struct Payload<'a>(&'a ChannelName, SchemaVersion, Operation, &'a RecordId, &'a Fields, &'a Fields);
        let payload = Payload(&self.channel, self.v, self.op, &self.record, &self.old, &self.new);
        let bytes = serde_json::to_vec(&payload).expect("a mutation always has a JSON form");
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(&bytes)[..16]);
        half
    }
}

impl Receipt {
    /// Whether nothing of the mutation was applied.
    pub fn is_rejected(&self) -> bool {
        self.outcome == Outcome::Rejected
    }
}
