//! Bodies of `/v1/admin`: what the command line, the console and the API say about accounts, devices and channels.
//!
//! Times are milliseconds since 1970-01-01 UTC. Requests refuse what they do not know; answers may gain members.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::ids::{AccountId, ChannelName, DeviceId, RecordId};
use crate::mutation::{Fields, Mutation, Operation, Receipt};
use crate::pin::Pin;
use crate::schema::ChannelSchema;

/// One account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountView {
    /// Its id.
    pub id: AccountId,
    /// Its e-mail address.
    pub email: String,
    /// Its role.
    pub role: Option<String>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// Whether it can activate by password.
    pub has_password: bool,
    /// Whether it may do nothing.
    pub disabled: bool,
    /// How many of its devices are active.
    pub devices: u64,
    /// When it was made.
    pub created_ms: i64,
}

/// `GET /v1/admin/accounts`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountList {
    /// In the order of their addresses.
    pub accounts: Vec<AccountView>,
}

/// `POST /v1/admin/accounts`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountNew {
    /// Its e-mail address.
    pub email: String,
    /// Its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its claims.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// Without one it activates by codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// `PATCH /v1/admin/accounts/{email}`: what is absent stays; `null` takes away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountPatch {
    /// The role.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub role: Option<Option<String>>,
    /// All claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Map<String, Value>>,
    /// The password.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub password: Option<Option<String>>,
    /// Whether it may do nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// `POST /v1/admin/accounts/{email}/codes`: the only time that the code is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeView {
    /// Whom it activates a device for.
    pub email: String,
    /// The code; dashes, spaces and case do not matter.
    pub code: String,
    /// When it ends.
    pub expires_ms: i64,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its id.
    pub id: DeviceId,
    /// The address of the account it acts for.
    pub email: String,
    /// What its user calls it.
    pub name: String,
    /// `android`, `ios`, `web`, `simulated`, …
    pub platform: String,
    /// `active`, `revoked` or `wiped`.
    pub state: String,
    /// When it was activated.
    pub created_ms: i64,
    /// When its last session began.
    pub seen_ms: i64,
}

/// `GET /v1/admin/devices`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceList {
    /// The latest seen first.
    pub devices: Vec<DeviceView>,
}

/// One channel as it is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Its name.
    pub name: ChannelName,
    /// `managed`, or a backend of the project.
    pub backend: String,
    /// The backend's table.
    pub table: String,
    /// `exactly_once` or `best_effort`; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// How foreign edits are noticed; absent for `managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<String>,
    /// How many rows the backend had when it was last looked at; absent for `managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Why it is paused; absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Whether every record was read from the backend at least once; before that devices hold only a part.
    #[serde(default)]
    pub synced: bool,
    /// Rows of the backend that cannot be represented: column and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_rows: Vec<String>,
    /// Deletes that are suspiciously many and wait for an operator.
    #[serde(default)]
    pub held_deletes: u64,
    /// Who may see its records, as a rule.
    pub scope: String,
    /// Key and fields.
    pub schema: ChannelSchema,
}

/// `GET /v1/admin/channels`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelList {
    /// The definitions now live.
    pub generation: u64,
    /// In the order of their names.
    pub channels: Vec<ChannelView>,
}

/// `POST /v1/admin/channels/{channel}/resume`: lets held deletes through, at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelResume {
    /// How many deletes the operator was shown. If more are held by now, nothing is done: 409 `changed`.
    pub held_deletes: u64,
}

/// What [`ChannelResume`] came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelResumed {
    /// The channel.
    pub channel: ChannelName,
    /// How many records were deleted on devices. Those that the backend has again are not among them.
    pub deleted: u64,
}

/// One mutation that lost or was rejected, as the server keeps it: `GET /v1/admin/rejected`, `GET /v1/admin/conflicts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictView {
    /// When it was settled.
    pub at_ms: i64,
    /// The device that made it.
    pub device: DeviceId,
    /// What its user calls it.
    pub device_name: String,
    /// The address of its account.
    pub email: String,
    /// The channel.
    pub channel: ChannelName,
    /// The record.
    pub record: RecordId,
    /// The receipt's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The receipt's sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The field it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The mutation as it was sent.
    pub mutation: Mutation,
    /// The values that lost, by field.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub losing: Fields,
}

/// `GET /v1/admin/rejected?channel=NAME&account=EMAIL&limit=N`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedList {
    /// Mutations that were not applied.
    pub rejected: Vec<VerdictView>,
}

/// `GET /v1/admin/conflicts?channel=NAME&account=EMAIL&limit=N`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConflictList {
    /// Mutations of which a value lost.
    pub conflicts: Vec<VerdictView>,
}

/// Which verdicts are wanted: the query of both lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictQuery {
    /// Of this channel only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Of this account's devices only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// At most so many: 1 to 1,000; 50 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Which records of a channel are wanted: the query of `GET /v1/admin/channels/{channel}/backend`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordQuery {
    /// What this account should see; all of it, if absent.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// This record only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only records whose fields hold these texts, as a JSON object; an empty one means NULL too.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// `GET /v1/admin/channels/{channel}/backend?as=EMAIL`: what the account should see, by the backend's own scan and the
/// scope rule interpreted row by row; all of it, without `as`. [`RecordQuery`] narrows it down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendReply {
    /// The names of the values, in their order.
    pub fields: Vec<String>,
    /// Each record's id and values, in their JSON forms.
    pub rows: Vec<(RecordId, Vec<Value>)>,
    /// Whether the answer stands: nothing of the channel is paused, held or not yet read.
    pub settled: bool,
    /// How many there are, those beyond the limit too.
    #[serde(default)]
    pub total: u64,
}

/// `POST /v1/admin/channels/{channel}/records`: a write as a device of the account would make it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordWrite {
    /// The account's address: its role, claims and scopes decide.
    #[serde(rename = "as")]
    pub email: String,
    /// What is done.
    pub op: Operation,
    /// The record; a create without one gets a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// The new values by field.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub set: Fields,
    /// Names this write: the same one again has the same receipt, and is done once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What [`RecordWrite`] came to; a rejection is a receipt too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordWritten {
    /// The record.
    pub record: RecordId,
    /// The durable answer.
    pub receipt: Receipt,
}

/// `GET /readyz` and `GET /healthz`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `stopping`.
    pub status: String,
    /// The server's version.
    pub version: String,
}

/// `<data_dir>/server.json`, mode 0600: how the command line finds a running server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFile {
    /// Where it listens: `127.0.0.1:7400`.
    pub addr: String,
    /// `http` or `https`.
    #[serde(default = "plain")]
    pub scheme: String,
    /// The pin of its key, where it speaks TLS with a certificate of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// Its process.
    pub pid: u32,
    /// The admin token of this start.
    pub token: String,
    /// Its version.
    pub version: String,
}

/// The name of [`ServerFile`] in the data directory.
pub const SERVER_FILE: &str = "server.json";

fn plain() -> String {
    "http".to_owned()
}

/// Tells `null` apart from an absent member.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_takes_away_and_absence_leaves() {
        let patch: AccountPatch = serde_json::from_str(r#"{"role":null}"#).unwrap();
        assert_eq!((patch.role, patch.password), (Some(None), None));
        assert_eq!(serde_json::to_string(&AccountPatch::default()).unwrap(), "{}");
    }
}
