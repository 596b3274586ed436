//! Bodies of the HTTP routes around a session, and what a device signs.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::frame::CommandKind;
use crate::frame::Proof;
use crate::ids::{AccountId, DeviceId};
use crate::schema::ChannelSchema;

/// `POST /v1/activate`: binds a device to an account, by a code or by e-mail and password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivateRequest {
    /// A single-use activation code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The account's e-mail address, with `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The account's password, with `email`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What is activated.
    pub device: DeviceInfo,
}

/// What a device tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceInfo {
    /// What its user calls it.
    pub name: String,
    /// `android`, `ios`, `web`, `simulated`, …
    pub platform: String,
    /// Its P-256 public key: 65 bytes (SEC 1, uncompressed), base64url without padding.
    pub public_key: String,
}

/// Answers `POST /v1/activate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActivateReply {
    /// The new device.
    pub device: DeviceId,
    /// The account it acts for.
    pub account: AccountId,
    /// The account's e-mail address.
    pub email: String,
    /// The server's P-256 public key, which the device pins: orders are signed by it.
    pub server_key: String,
    /// The first tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// An access token and the refresh token that brings the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Sent as `Authorization: Bearer`.
    pub access_token: String,
    /// Seconds for which it is good.
    pub expires_in_s: u64,
    /// Good for one `POST /v1/token`.
    pub refresh_token: String,
}

/// `POST /v1/token`: brings the next tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The device.
    pub device: DeviceId,
    /// The last refresh token.
    pub refresh_token: String,
    /// Purpose [`Purpose::Token`], over the refresh token. Absent: the answer is 401 with a nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Answers `GET /v1/schema`: the channels that the account may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaReply {
    /// The definitions now live in the server.
    pub generation: u64,
    /// In the order of their names.
    pub channels: Vec<ChannelSchema>,
    /// The versions of these channels that came before, the oldest of each first: rows that were not written since are still
    /// sent in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<ChannelSchema>,
}

/// A problem document (RFC 9457) with our extensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:omctl:problem:CODE`
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub title: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Find it in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// With `nonce_required`: what to sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The field it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// What a proof is made for; a proof for one purpose is refused for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `POST /v1/token`
    Token,
    /// `hello` on `GET /v1/live`
    Live,
    /// `POST /v1/sync`
    Sync,
}

impl Purpose {
    /// The word in the signed text.
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Live => "live",
            Self::Sync => "sync",
        }
    }
}

/// The text that a device signs to prove that it holds its key: purpose, nonce, device and the token it comes with.
pub fn proof_text(purpose: Purpose, nonce: &str, device: DeviceId, token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("omctl-proof/1\n{}\n{nonce}\n{device}\n{hex}", purpose.word())
}

/// The text that a server signs to prove that a command is its own.
pub fn command_text(device: DeviceId, n: u64, kind: CommandKind) -> String {
    format!("omctl-command/1\n{device}\n{n}\n{}", kind.word())
}

/// The header of `POST /v1/sync` that carries a proof: `NONCE.SIGNATURE`.
pub const PROOF_HEADER: &str = "om-proof";
