//! Who is calling, and what they may do: accounts, activation, tokens, device keys, [`authorize()`].
//!
//! A device is bound to an account once, by a code or a password, and registers its own P-256 key then. From there on it
//! has opaque tokens (the store holds their hashes) and proves with each new session that it holds the key: a stolen
//! token alone opens nothing. Refresh tokens are rotated; reuse of a rotated one voids them all.
//!
//! *Invariant:* no secret is logged, stored or compared in clear; every decision about a principal goes through
//! [`authorize()`]. This room knows nothing of HTTP: statuses are the edge's.

mod accounts;
mod activation;
mod authorize;
mod error;
mod import;
mod limiter;
mod nonce;
mod password;
mod proof;
mod tokens;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use omctl_protocol::api::command_text;
use omctl_protocol::frame::Command;
use omctl_protocol::{AccountId, DeviceId};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use self::accounts::{NewAccount, PasswordChange, normal_email};
pub use self::activation::format_code;
pub use self::authorize::{Action, Actor, authorize};
pub use self::error::IdentityError;
pub use self::import::ImportedAccount;
use self::limiter::Limiter;
use self::nonce::Nonces;
use self::password::Passwords;
use crate::clock::{Clock, Entropy};
use crate::limits;
use crate::store::{AccountNo, AccountRow, DeviceNo, DeviceRow, DeviceState, Order, SecretHash, Store};

/// A device that has proved who it is, with its account as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// The device's number in the store.
    pub device: DeviceNo,
    /// The device.
    pub device_id: DeviceId,
    /// The account's number in the store.
    pub account: AccountNo,
    /// The account.
    pub account_id: AccountId,
    /// Its e-mail address.
    pub email: String,
    /// Its role.
    pub role: Option<String>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// The device's P-256 key, SEC 1 uncompressed.
    pub public_key: [u8; 65],
    /// It is locked or wiped: a session tells it so, and does nothing else.
    pub is_held: bool,
}

/// The room: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Clock,
    entropy: Entropy,
    secret: [u8; 32],
    server_key: SigningKey,
    admin_token: SecretString,
    admin_hash: SecretHash,
    passwords: Passwords,
    nonces: Nonces,
    /// Misses by address of the caller.
    callers: Limiter<std::net::IpAddr>,
    /// Misses by account whose codes were tried.
    targets: Limiter<AccountNo>,
}

impl Identity {
    /// Reads the server's secrets. The admin token is of this start alone.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn new(store: Store, clock: Clock, entropy: Entropy) -> Result<Self, IdentityError> {
        let secret = store.secret("server_secret").await?;
        let server_key = signing_key(store.secret("server_key").await?);
        let admin_token = format!("omadm_{}", BASE64.encode(entropy.secret()));
        // A nonce of an earlier start is void: what was used then is no longer known.
        let nonce_key = keyed(&secret, "nonce", store.boot().id.0.as_bytes());
        let inner = Inner {
            secret,
            server_key,
            admin_hash: hash_of(&admin_token),
            admin_token: admin_token.into(),
            passwords: Passwords::new(),
            nonces: Nonces::new(nonce_key, limits::NONCE_LIFE),
            callers: Limiter::new(limits::ACTIVATIONS_PER_MINUTE, std::time::Duration::from_secs(60)),
            targets: Limiter::new(limits::ACTIVATION_MISSES_MAX, limits::ACTIVATION_CODE_LIFE),
            store,
            clock,
            entropy,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The token with which this start's administrator calls: for `server.json`, never for a log.
    pub fn admin_token(&self) -> &str {
        self.inner.admin_token.expose_secret()
    }

    /// The server's P-256 public key (65 bytes, base64url): devices pin it.
    pub fn server_key(&self) -> String {
        BASE64.encode(self.inner.server_key.verifying_key().to_sec1_bytes())
    }

    /// An order as its device is to hear it, signed by the key that the device pinned at its activation.
    pub fn sign(&self, device: DeviceId, order: Order) -> Command {
        let Order { n, kind } = order;
        let signature: Signature = self.inner.server_key.sign(command_text(device, n, kind).as_bytes());
        Command { n, kind, signature: BASE64.encode(signature.to_bytes()) }
    }

    /// How many password hashes were computed: the same for known and unknown accounts.
    pub fn password_hashes(&self) -> u64 {
        self.inner.passwords.computed()
    }

    /// Who sends this bearer token.
    ///
    /// # Errors
    /// [`IdentityError::InvalidToken`], [`IdentityError::TokenExpired`], and what is wrong with the device or account.
    pub async fn actor(&self, bearer: &str) -> Result<Actor, IdentityError> {
        if same(&hash_of(bearer), &self.inner.admin_hash) {
            return Ok(Actor::Admin);
        }
        Ok(Actor::Device(Arc::new(self.authenticate(bearer).await?)))
    }

    /// The device that sends this access token.
    ///
    /// # Errors
    /// [`IdentityError::InvalidToken`], [`IdentityError::TokenExpired`], and what is wrong with the device or account.
    pub async fn authenticate(&self, bearer: &str) -> Result<Principal, IdentityError> {
        let found = self.inner.store.access_token(hash_of(bearer)).await?;
        let (device, account, expires_ms) = found.ok_or(IdentityError::InvalidToken)?;
        let principal = principal_of(device, account)?;
        if expires_ms <= self.inner.clock.now_ms() {
            return Err(IdentityError::TokenExpired);
        }
        Ok(principal)
    }

    /// The device of this number as a caller that has proved who it is; also one that is to hear its command and nothing else.
    ///
    /// # Errors
    /// What is wrong with the device or account.
    pub async fn caller(&self, device: DeviceNo) -> Result<Principal, IdentityError> {
        let found = self.inner.store.device_by_number(device).await?;
        let (device, account) = found.ok_or(IdentityError::InvalidToken)?;
        principal_of(device, account)
    }

    /// The principal of a device with its role and claims as they are now; `None` if it may not act any more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn principal_of(&self, device: DeviceNo) -> Result<Option<Principal>, IdentityError> {
        let found = self.inner.store.device_by_number(device).await?;
        let found = found.and_then(|(device, account)| principal_of(device, account).ok());
        Ok(found.filter(|who| !who.is_held))
    }
}

fn principal_of(device: DeviceRow, account: AccountRow) -> Result<Principal, IdentityError> {
    let is_held = match device.state {
        DeviceState::Active => false,
        DeviceState::Locked | DeviceState::Wiped => true,
        DeviceState::Revoked => return Err(IdentityError::DeviceRevoked),
    };
    // Also of a disabled account: a wiped device is to hear of it.
    if account.disabled && !is_held {
        return Err(IdentityError::AccountDisabled);
    }
    Ok(Principal {
        device: device.number,
        device_id: device.id,
        account: account.number,
        account_id: account.id,
        email: account.email,
        role: account.role,
        claims: account.claims,
        public_key: device.public_key,
        is_held,
    })
}

/// Nearly every 32 bytes are a P-256 scalar; of the others (1 in 2^32) the next derived ones are taken.
fn signing_key(secret: [u8; 32]) -> SigningKey {
    (0u32..)
        .map(|n| if n == 0 { secret } else { keyed(&secret, "server key", &n.to_be_bytes()) })
        .find_map(|bytes| SigningKey::from_slice(&bytes).ok())
        .expect("a scalar is found long before the numbers end")
}

fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// HMAC-SHA-256 with a label, so that no two uses of one secret share an output.
fn keyed(secret: &[u8], label: &str, message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(&(label.len() as u32).to_be_bytes());
    mac.update(label.as_bytes());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Compares without telling by its time where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

#[cfg(test)]
mod tests;
