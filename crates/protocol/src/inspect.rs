//! Bodies of `/v1/admin` by which operators look into a running server: devices, how sync stands, what became of one
//! write, the log.
//!
//! Times are milliseconds since 1970-01-01 UTC, by the server's clock where nothing else is said. Answers may gain
//! members.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::{DeviceView, VerdictView};
use crate::ids::{ChannelName, DeviceId, Incarnation, Life, MutationId, Position, RecordId, Seq};
use crate::mutation::{Operation, Receipt};

/// `GET /v1/admin/devices/{id}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceDetail {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceView,
    /// Whether a session of it is open now.
    pub connected: bool,
    /// The history of its outbox; absent before its first session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<OutboxView>,
    /// What was accepted from it and is not settled.
    pub waiting: Vec<WaitingView>,
}

/// The current history of a device's outbox, as the server knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxView {
    /// Which history.
    pub incarnation: Incarnation,
    /// How many the device has had, as far as they are kept.
    pub incarnations: u64,
    /// Everything up to this number is held durably.
    pub accepted: Seq,
    /// Everything up to this number has its receipt.
    pub settled: Seq,
    /// The device holds the receipts up to this number.
    pub acked: Seq,
}

/// Mutations of one device that wait for one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingView {
    /// The device.
    pub device: DeviceId,
    /// What its user calls it.
    pub device_name: String,
    /// The channel.
    pub channel: ChannelName,
    /// The backend that they wait for.
    pub backend: String,
    /// How many.
    pub mutations: u64,
    /// When the oldest was accepted.
    pub oldest_ms: i64,
    /// How often the most tried one failed alone.
    pub tries: u64,
}

/// `GET /v1/admin/sync`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncView {
    /// The log's newest position.
    pub position: Position,
    /// The server's clock, which ages are counted from.
    pub now_ms: i64,
    /// Every channel that is live or has records, in the order of their names.
    pub channels: Vec<ChannelSync>,
    /// Every device that is active or has something waiting, the latest seen first.
    pub devices: Vec<DeviceSync>,
    /// What was accepted and is not settled, the oldest first.
    pub waiting: Vec<WaitingView>,
}

/// How one channel stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelSync {
    /// The channel.
    pub name: ChannelName,
    /// `managed` or a backend; absent where the channel is no longer declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Records that exist.
    pub records: u64,
    /// Records whose deletion is remembered.
    pub tombstones: u64,
    /// The position of its newest change; absent where it never had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ms: Option<i64>,
    /// Mutations that wait.
    pub waiting: u64,
    /// Deletes that wait for an operator.
    pub held_deletes: u64,
    /// From noticing the last foreign change to its being journaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
}

/// How one device stands. The cursor by which it reads the log is the device's own; the server keeps none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceSync {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceView,
    /// Whether a session of it is open now.
    pub connected: bool,
    /// The history of its outbox; absent before its first session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<OutboxView>,
}

/// `GET /v1/admin/trace?id=ID&channel=NAME`: which mutation or record is meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceQuery {
    /// The id of a mutation or of a record.
    pub id: String,
    /// Records of this channel only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

/// Everything that the store knows of the mutations and records with one id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The id.
    pub id: String,
    /// What happened, in the order of time.
    pub events: Vec<TraceEvent>,
    /// The records of this id as they are now: one for each channel that has one.
    pub records: Vec<RecordTrace>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// When.
    pub at_ms: i64,
    /// Whose doing, where it is a device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<TraceDevice>,
    /// What.
    #[serde(flatten)]
    pub what: TraceStep,
}

/// A device in a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceDevice {
    /// The device.
    pub device: DeviceId,
    /// What its user calls it.
    pub name: String,
    /// The address of its account.
    pub email: String,
}

/// What can happen to a write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub enum TraceStep {
    /// The device captured it: the time is in its id, by the device's own clock.
    Captured {
        /// The mutation.
        mutation: MutationId,
    },
    /// The server holds it durably and it waits.
    Accepted {
        /// The mutation.
        mutation: MutationId,
        /// Its number.
        seq: Seq,
        /// What it does.
        op: Operation,
        /// The channel.
        channel: ChannelName,
        /// The record.
        record: RecordId,
        /// The backend that it waits for.
        backend: String,
        /// How often it failed alone.
        tries: u64,
    },
    /// It has its receipt.
    Settled {
        /// The mutation.
        mutation: MutationId,
        /// The receipt.
        receipt: Receipt,
    },
    /// It was rejected, or a value of it lost.
    Judged {
        /// What was kept of it, with its values.
        verdict: Box<VerdictView>,
    },
    /// The record came to be as it is now.
    Journaled {
        /// The channel.
        channel: ChannelName,
        /// The position.
        position: Position,
        /// Whether it was deleted.
        deleted: bool,
    },
}

/// A record as the log has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordTrace {
    /// Its channel.
    pub channel: ChannelName,
    /// The record.
    pub record: RecordId,
    /// The position of its latest change.
    pub position: Position,
    /// When that was.
    pub at_ms: i64,
    /// Which existence of it.
    pub life: Life,
    /// Whether it is deleted.
    pub deleted: bool,
    /// In how many scopes it is.
    pub scopes: u64,
    /// Its key in the backend, where that is not its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who wrote fields last, where that was a device; `*` stands for every field that is not named.
    pub writers: Vec<FieldWriter>,
}

/// Who wrote a field last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldWriter {
    /// The field.
    pub field: String,
    /// The device; absent where its history is no longer kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<TraceDevice>,
}

/// `GET /v1/admin/logs?follow=true&last=N&level=LEVEL`: one [`LogLine`] a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Go on with what comes.
    #[serde(default)]
    pub follow: bool,
    /// Begin with at most so many recent ones; all that are kept, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Only this level and what is more serious: `error`, `warn`, `info`, `debug`, `trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// One line of the log's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LogLine {
    /// Something that the server said.
    Event(LogEvent),
    /// The reader was too slow, or came too late: so many events before the next one are gone.
    Lost {
        /// How many.
        events: u64,
    },
}

/// Something that the server said of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEvent {
    /// Its number since the server's start.
    pub number: u64,
    /// When.
    pub at_ms: i64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The part of the program.
    pub target: String,
    /// The sentence.
    pub message: String,
    /// Its fields, as texts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}
