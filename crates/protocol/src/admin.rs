//! Bodies of `/v1/admin`: what the command line, the console and the API say about accounts, devices and channels.
//!
//! Times are milliseconds since 1970-01-01 UTC. Requests refuse what they do not know; answers may gain members.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::ids::{AccountId, ChannelName, DeviceId, RecordId};
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
    /// Deletes that were inferred from absence and are held for an operator.
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

/// `GET /v1/admin/channels/{channel}/backend?as=EMAIL`: what the account should see, by the backend's own scan and the
/// scope rule interpreted row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendReply {
    /// The names of the values, in their order.
    pub fields: Vec<String>,
    /// Each record's id and values, in their JSON forms.
    pub rows: Vec<(RecordId, Vec<Value>)>,
    /// Whether the answer stands: nothing of the channel is paused, held or not yet read.
    pub settled: bool,
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
    /// Its process.
    pub pid: u32,
    /// The admin token of this start.
    pub token: String,
    /// Its version.
    pub version: String,
}

/// The name of [`ServerFile`] in the data directory.
pub const SERVER_FILE: &str = "server.json";

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
