//! Activation: a device becomes an account's, once, by a code or by e-mail and password.

use std::net::IpAddr;

use omctl_protocol::DeviceId;
use omctl_protocol::api::{ActivateReply, ActivateRequest, DeviceInfo};
use secrecy::SecretString;

use super::proof::public_key;
use super::{Identity, IdentityError, hash_of};
use crate::clock::Entropy;
use crate::limits;
use crate::store::{AccountNo, AccountRow, CodeUse, NewDevice, SecretHash, TokenHashes};

/// Letters and digits that nobody mistakes for each other: no 0 O, 1 I L, U V.
const ALPHABET: &[u8; 29] = b"23456789ABCDEFGHJKMNPQRSTWXYZ";

/// Characters of a code: 29 possible ones each, so 48 bits.
const CODE_CHARS: usize = 10;

/// Longest name of a device in bytes.
const NAME_BYTES_MAX: usize = 200;

impl Identity {
    /// Binds a device to an account. `caller` is the address that misses are counted by.
    ///
    /// # Errors
    /// What is wrong with the credentials; [`IdentityError::RateLimited`] after too many misses;
    /// [`IdentityError::BadValue`]; those of the store.
    pub async fn activate(&self, request: ActivateRequest, caller: IpAddr) -> Result<ActivateReply, IdentityError> {
        let device = self.new_device(&request.device)?;
        let now_ms = self.inner.clock.now_ms();
        if let Some(retry_after_s) = self.inner.callers.blocked_s(&caller, now_ms) {
            return Err(IdentityError::RateLimited { retry_after_s });
        }
        let result = match (request.code, request.email, request.password) {
            (Some(code), email, None) => self.by_code(&code, email, device).await,
            (None, Some(email), Some(password)) => self.by_password(&email, password.into(), device).await,
            _ => Err(IdentityError::BadValue {
                field: "code",
                message: "either a code, or an e-mail address and a password".to_owned(),
            }),
        };
        // Counted once the answer is known: tries that run at the same moment may exceed the limit by their number, which
        // 48 bits of a code and two passwords at a time forgive.
        // A used or expired code was once known to the caller: that is no guess, and a fleet that shares an address may
        // race for one.
        if matches!(result, Err(IdentityError::InvalidCode | IdentityError::InvalidCredentials)) {
            self.inner.callers.miss(&caller, now_ms);
        }
        result
    }

    async fn by_code(
        &self,
        code: &str,
        email: Option<String>,
        device: NewDevice,
    ) -> Result<ActivateReply, IdentityError> {
        let target = match email {
            None => None,
            Some(email) => {
                // An unknown address goes the same way as a known one, to an account that never is.
                let account = self.inner.store.account(&email.trim().to_lowercase()).await?;
                Some(account.map_or(AccountNo(0), |account| account.number))
            }
        };
        let (id, (access, refresh, tokens)) = (device.id, self.new_tokens(device.id));
        match self.inner.store.activate_by_code(code_hash(code), target, device, tokens).await? {
            CodeUse::Activated(_, account) => Ok(self.reply(id, account, access, refresh)),
            CodeUse::Used => Err(IdentityError::CodeUsed),
            CodeUse::Expired => Err(IdentityError::CodeExpired),
            CodeUse::Unknown => {
                if let Some(target) = target {
                    let misses = self.inner.targets.miss(&target, self.inner.clock.now_ms());
                    if misses >= limits::ACTIVATION_MISSES_MAX {
                        let burnt = self.inner.store.burn_activation_codes(target).await?;
                        self.inner.targets.forget(&target);
                        tracing::warn!(burnt, "burnt an account's activation codes after {misses} misses");
                    }
                }
                Err(IdentityError::InvalidCode)
            }
        }
    }

    async fn by_password(
        &self,
        email: &str,
        password: SecretString,
        device: NewDevice,
    ) -> Result<ActivateReply, IdentityError> {
        let account = self.inner.store.account(&email.trim().to_lowercase()).await?;
        let stored = account.as_ref().and_then(|account| account.password.clone());
        let right = self.inner.passwords.verify(stored, password).await;
        let account = account.filter(|account| right && !account.disabled).ok_or(IdentityError::InvalidCredentials)?;
        let (id, (access, refresh, tokens)) = (device.id, self.new_tokens(device.id));
        self.inner.store.activate_device(account.number, device, tokens).await?;
        Ok(self.reply(id, account, access, refresh))
    }

    fn new_device(&self, info: &DeviceInfo) -> Result<NewDevice, IdentityError> {
        let public_key = public_key(&info.public_key)?;
        let sound =
            |text: &str| !text.trim().is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
        for (field, text) in [("device.name", &info.name), ("device.platform", &info.platform)] {
            if !sound(text) {
                let message = format!("between 1 and {NAME_BYTES_MAX} bytes, without control characters");
                return Err(IdentityError::BadValue { field, message });
            }
        }
        let id = DeviceId(self.inner.entropy.uuid_v7(&self.inner.clock));
        Ok(NewDevice { id, name: info.name.clone(), platform: info.platform.clone(), public_key })
    }

    fn new_tokens(&self, device: DeviceId) -> (String, String, TokenHashes) {
        let (access, refresh) = (self.new_access_token(), self.new_refresh_token(device));
        let hashes = TokenHashes { access: hash_of(&access), refresh: hash_of(&refresh), generation: 0 };
        (access, refresh, hashes)
    }

    fn reply(&self, device: DeviceId, account: AccountRow, access: String, refresh: String) -> ActivateReply {
        ActivateReply {
            device,
            account: account.id,
            email: account.email,
            server_key: self.server_key(),
            tokens: Self::tokens_of(access, refresh),
        }
    }
}

/// A new code. Bytes beyond a multiple of the alphabet are drawn again, so that every character is as likely.
pub(super) fn make_code(entropy: &Entropy) -> String {
    let letters = ALPHABET;
    let mut code = String::with_capacity(CODE_CHARS);
    while code.len() < CODE_CHARS {
        let mut byte = [0];
        entropy.fill(&mut byte);
        if usize::from(byte[0]) < 256 / letters.len() * letters.len() {
            code.push(char::from(letters[usize::from(byte[0]) % letters.len()]));
        }
    }
    code
}

/// The code as people read it: in two groups.
pub fn format_code(code: &str) -> String {
    let (first, second) = code.split_at(code.len() / 2);
    format!("{first}-{second}")
}

/// Case, spaces and dashes do not matter.
pub(super) fn code_hash(code: &str) -> SecretHash {
    let plain: String = code.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    hash_of(&plain.to_uppercase())
}
