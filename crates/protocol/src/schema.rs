//! A channel's fields as a device sees them: what its table looks like, and nothing about where the records live.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{ChannelName, SchemaVersion};
use crate::value::FieldType;

/// One version of a channel's fields. Rows and mutations name the version whose order and types they use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelSchema {
    /// The channel.
    pub channel: ChannelName,
    /// The durable number of these fields.
    pub version: SchemaVersion,
    /// How records are identified in the backend.
    pub key: KeyRule,
    /// The fields in the order of the rows' arrays; `id` is not among them.
    pub fields: Vec<Field>,
    /// What this channel does with writes, so that an app can tell its user beforehand. The server judges.
    #[serde(default)]
    pub writable: bool,
    /// Where an app may write it in an atomic transaction: the word that all channels of one transaction must share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atomic: Option<String>,
}

/// One field: a column of the device's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The name in the device's table and in mutations.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// The backend's column, where it is named otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The words of an `enum`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// The channel that a `ref` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ChannelName>,
    /// Whether the server refuses NULL.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// Longest text in characters; the server refuses more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// The column's constant default on the device, in JSON form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// What happens when the field moved meanwhile.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub conflict: Policy,
    /// Whether only the server writes it (a generated column, for example).
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// How a record's identity in the backend relates to its id on devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRule {
    /// Who makes the key.
    pub assigned_by: AssignedBy,
    /// The key's columns in their order.
    pub columns: Vec<KeyColumn>,
}

/// One column of a backend's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyColumn {
    /// The backend's column.
    pub column: String,
    /// The field that shows it on devices; absent where the record's id itself is the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Who makes a new record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssignedBy {
    /// The device: the key is the record's id, a UUIDv7.
    Device,
    /// The backend: the key fields are NULL until the receipt.
    Backend,
    /// The app: it fills the key fields at create.
    App,
}

/// What decides when a field that a mutation changes has moved meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The current value stays; the device's value is kept for audit.
    #[default]
    ServerWins,
    /// The device's value is taken; the current value is kept for audit.
    ClientWins,
    /// The larger of both.
    Max,
    /// The smaller of both.
    Min,
    /// The device's difference (new − old) is added to the current value.
    Sum,
    /// The device's added and removed elements are applied to the current array.
    SetUnion,
    /// The whole mutation is rejected.
    Reject,
}

impl Policy {
    /// Every policy, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::ServerWins, Self::ClientWins, Self::Max, Self::Min, Self::Sum, Self::SetUnion, Self::Reject];

    /// The word used in YAML and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::ServerWins => "server_wins",
            Self::ClientWins => "client_wins",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
            Self::SetUnion => "set_union",
            Self::Reject => "reject",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl ChannelSchema {
    /// Identifies this version's fields: the first 8 bytes of the SHA-256 of its JSON text, in base64url.
    pub fn shape(&self) -> String {
        let text = serde_json::to_string(self).expect("a schema always has a JSON form");
        BASE64.encode(&Sha256::digest(text)[..8])
    }

    /// The field of this name and its place in the rows' arrays.
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name == name)
    }

    /// The types in the order of the rows' arrays.
    pub fn types(&self) -> impl Iterator<Item = FieldType> + '_ {
        self.fields.iter().map(|field| field.kind)
    }

    /// Whether the field shows a column of the key: set at create at the latest, read-only afterwards.
    pub fn is_key_field(&self, name: &str) -> bool {
        self.key.columns.iter().any(|column| column.field.as_deref() == Some(name))
    }

    /// Whether the record's id itself is the backend's key, so that no id map is needed.
    pub fn key_is_id(&self) -> bool {
        matches!(self.key.columns.as_slice(), [only] if only.field.is_none())
    }
}

impl Field {
    /// The backend's column.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }
}

fn is_false(truth: &bool) -> bool {
    !truth
}
