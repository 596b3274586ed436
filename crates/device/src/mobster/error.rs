//! Why something could not be done, as an app sees it.
//!
//! *Invariant:* no record's value, token or password is in any of them.

use crate::store::StoreError;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum MobsterError {
    /// The local file.
    #[error("local storage failed")]
    Store(#[from] StoreError),
    /// A file beside it.
    #[error("local file failed")]
    Io(#[source] std::io::Error),
    /// Activate first.
    #[error("device is not activated")]
    NotActivated,
    /// This file holds what belongs to another account: sign out first.
    #[error("file belongs to {email}; sign out first")]
    OtherAccount {
        /// Whose it is.
        email: String,
    },
    /// Signing out now would lose writes.
    #[error("{pending} writes are not settled and {rejected} are rejected; they would be lost")]
    Unsent {
        /// Writes of the app that have no receipt yet.
        pending: u64,
        /// Mutations on the rejected list.
        rejected: u64,
    },
    /// The server takes this device no longer: activate again.
    #[error("device must be activated again: {why}")]
    NeedsActivation {
        /// What the server says.
        why: String,
    },
    /// Another copy of this device's file is connected.
    #[error("a newer session of this device is connected elsewhere")]
    Fenced,
    /// Another handle of this file has the engine; this one reads and writes.
    #[error("engine of this file runs elsewhere")]
    EngineElsewhere,
    /// Not an address of a server.
    #[error("`{0}` is not an address of the form http://HOST:PORT or https://HOST:PORT#pin=…")]
    BadUrl(String),
    /// No answer from the server.
    #[error("server {server} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        server: String,
        /// What was seen.
        why: String,
    },
    /// The server says no.
    #[error("server refused: {title}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stable code.
        code: String,
        /// One sentence.
        title: String,
        /// What to do next.
        hint: Option<String>,
        /// What to sign, where a proof was missing.
        nonce: Option<String>,
    },
    /// `sync_now` found no connection in time.
    #[error("device is offline")]
    Offline,
    /// The server keeps these writes safe and has not settled them in time: their channel may be paused, or its system out
    /// of reach. Their receipts come later, by themselves.
    #[error("server has not settled {writes} writes yet; they are kept")]
    Unsettled {
        /// Writes of the app that have no receipt yet.
        writes: u64,
    },
    /// The app closed this handle.
    #[error("storage is closed")]
    Closed,
}

impl MobsterError {
    /// Whether the server takes this device's tokens no longer, so that trying again is of no use.
    pub(crate) fn is_dead_end(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        let codes = [
            "account_disabled",
            "device_revoked",
            "device_wiped",
            "invalid_token",
            "token_expired",
            "token_reused",
            "unauthenticated",
        ];
        codes.contains(&code.as_str())
    }
}
