//! What identity refuses, each with a stable code.

use crate::store::StoreError;

/// Why a caller is refused.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No credentials where some are needed.
    #[error("credentials are needed")]
    Unauthenticated,
    /// Credentials that are good for something else.
    #[error("this is not allowed")]
    Forbidden,
    /// No such activation code.
    #[error("the activation code is not valid")]
    InvalidCode,
    /// The code was used before.
    #[error("the activation code was already used")]
    CodeUsed,
    /// The code is too old.
    #[error("the activation code has expired")]
    CodeExpired,
    /// Address and password do not belong together (or there is no such account: nobody can tell).
    #[error("address or password is wrong")]
    InvalidCredentials,
    /// Too many misses from one address.
    #[error("too many tries")]
    RateLimited {
        /// When to try again.
        retry_after_s: u64,
    },
    /// The request must come again with a proof over this nonce.
    #[error("a proof over the nonce is needed")]
    NonceRequired {
        /// What to sign.
        nonce: String,
    },
    /// The signature is not of the device's key, or its nonce is not ours, too old or already used.
    #[error("the proof is not valid")]
    InvalidProof,
    /// No token of ours.
    #[error("the token is not valid")]
    InvalidToken,
    /// An access token past its end.
    #[error("the token has expired")]
    TokenExpired,
    /// A refresh token that was rotated before: all tokens of the device are void.
    #[error("the refresh token was already used")]
    TokenReused,
    /// The device was taken out of service.
    #[error("the device was revoked")]
    DeviceRevoked,
    /// The device is to forget its data.
    #[error("the device is locked or wiped: it may hear its command and nothing else")]
    DeviceHeld,
    /// The account may do nothing.
    #[error("the account is disabled")]
    AccountDisabled,
    /// A value that cannot be.
    #[error("{message}")]
    BadValue {
        /// The field it is about.
        field: &'static str,
        /// What is wrong; never the value.
        message: String,
    },
    /// The address is taken.
    #[error("account `{0}` exists")]
    AccountExists(String),
    /// There is no such account.
    #[error("no account `{0}`")]
    NoAccount(String),
    /// Too much of this at a time.
    #[error("the server is busy")]
    Busy,
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl IdentityError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::InvalidCode => "invalid_code",
            Self::CodeUsed => "code_used",
            Self::CodeExpired => "code_expired",
            Self::InvalidCredentials => "invalid_credentials",
            Self::RateLimited { .. } => "too_many_tries",
            Self::NonceRequired { .. } => "nonce_required",
            Self::InvalidProof => "invalid_proof",
            Self::InvalidToken => "invalid_token",
            Self::TokenExpired => "token_expired",
            Self::TokenReused => "token_reused",
            Self::DeviceRevoked => "device_revoked",
            Self::DeviceHeld => "device_held",
            Self::AccountDisabled => "account_disabled",
            Self::BadValue { .. } => "bad_value",
            Self::AccountExists(_) => "exists",
            Self::NoAccount(_) => "not_found",
            Self::Busy => "busy",
            Self::Store(StoreError::Full) => "storage_full",
            Self::Store(StoreError::Closed) => "shutting_down",
            Self::Store(_) => "internal",
        }
    }
}
