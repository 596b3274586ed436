//! Bodies of `/v1/admin`: what the command line, the console and the API say about accounts, devices and channels.
//!
//! Times are milliseconds since 1970-01-01 UTC. Requests refuse what they do not know; answers may gain members.

use std::collections::BTreeMap;

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

/// `DELETE /v1/admin/accounts/{email}`: what went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountRemoved {
    /// The account as it was.
    pub account: AccountView,
    /// How many devices were taken out of service with it.
    pub revoked: u64,
}

/// `POST /v1/admin/accounts/import`: many accounts, all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountImport {
    /// The accounts.
    pub rows: Vec<ImportRow>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Make an activation code for each account that is added.
    #[serde(default)]
    pub codes: bool,
}

/// One account to import: it is added, or changed in what is named here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRow {
    /// Where it stands in the file that it comes from.
    pub line: u64,
    /// Its e-mail address.
    pub email: String,
    /// The role; `null` takes it away.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub role: Option<Option<String>>,
    /// Claims by name; `null` takes one away.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// Whether claims that are not named are taken away too.
    #[serde(default)]
    pub all_claims: bool,
}

/// Answers [`AccountImport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportReply {
    /// Whether it was done. It is not where a row is refused, or was to be tried only.
    pub done: bool,
    /// One for each row, in their order.
    pub rows: Vec<ImportedRow>,
}

/// What becomes of one row of an import.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedRow {
    /// Where it stands in its file.
    pub line: u64,
    /// Its e-mail address, as it is kept.
    pub email: String,
    /// What becomes of the account.
    pub outcome: ImportOutcome,
    /// Why it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its activation code: the only time that it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// What becomes of an account that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// It is new.
    Added,
    /// Its role or its claims change.
    Changed,
    /// It is so already.
    Unchanged,
    /// It cannot be.
    Refused,
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

/// `GET /v1/admin/devices?account=EMAIL`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceList {
    /// The latest seen first.
    pub devices: Vec<DeviceView>,
}

/// Which devices are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceQuery {
    /// Of this account only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
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
    /// What its backend said when it was last asked in vain; absent while it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
    /// Whether it is closed: its records are being placed by another rule, or read from another home. Devices keep what they
    /// hold, and what they write waits.
    #[serde(default)]
    pub closed: bool,
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
    /// The alternatives of that rule, each with everything that must hold: a field of the record or an attribute of the
    /// account (`account.role`), and what it must be: an attribute (`account.email`, `account.claims.NAME`) or a constant.
    /// `null`: records of other channels decide, which a reference or membership leads to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placed_by: Vec<BTreeMap<String, Option<String>>>,
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
    /// Where the project's files have mistakes, `file:line:col` each: what is listed is not what they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
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

/// `POST /v1/admin/channels/{channel}/foreign`, in development only: a write straight into the backend, as an application
/// would make it that knows nothing of us. No rule, scope or policy is asked, and no device hears of it but by detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignWrite {
    /// What is done.
    pub op: Operation,
    /// The record; none for a create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordId>,
    /// The new values by field.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub set: Fields,
    /// Differences of an update that are added to number fields.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub add: Fields,
}

/// What [`ForeignWrite`] came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeignWritten {
    /// The backend's key of the row, as a text; absent where nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why nothing was done: `gone`, or the backend's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The values that were written, by field: what `set` said, and what became of `add`.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub wrote: Fields,
}

/// `POST /v1/admin/seed`: puts records into managed channels again, all in one commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRequest {
    /// What to put where.
    pub channels: Vec<SeedChannel>,
    /// Also over records that are there and look otherwise; without it they are kept.
    #[serde(default)]
    pub force: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Records for one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedChannel {
    /// The channel.
    pub channel: ChannelName,
    /// Each record's id and fields, in their JSON forms. A field that is not named has its default.
    pub records: Vec<(RecordId, Fields)>,
}

/// Answers [`SeedRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedReply {
    /// In the order of their names.
    pub channels: Vec<SeededChannel>,
}

/// What became of the records for one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeededChannel {
    /// The channel.
    pub channel: ChannelName,
    /// Records that were missing, or deleted.
    pub added: u64,
    /// Records that were overwritten.
    pub changed: u64,
    /// Records that look otherwise and were kept.
    pub kept: u64,
    /// Records that look so already.
    pub unchanged: u64,
}

/// `GET /readyz` and `GET /healthz`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `stopping`.
    pub status: String,
    /// The server's version.
    pub version: String,
    /// The number of the definitions that are live.
    #[serde(default)]
    pub generation: u64,
    /// Where the project's files have mistakes, so that a newer generation is not live: `FILE:LINE:COLUMN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
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
