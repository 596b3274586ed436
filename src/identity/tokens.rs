//! Tokens: opaque, rotated, and void for the whole device once a rotated one comes back.
//!
//! The successor of a refresh token is derived from it by the server's secret, so that a device that lost the answer and
//! asks again gets the same successor without the server keeping it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl_protocol::DeviceId;
use omctl_protocol::api::{Purpose, TokenRequest, Tokens};

use super::proof::Fault;
use super::{Identity, IdentityError, hash_of, keyed, principal_of, same};
use crate::limits;
use crate::store::{Rotation, TokenHashes};

/// Bytes of a refresh token that nobody can guess.
const CHANCE: usize = 24;

/// Bytes of the server's mark on it.
const MARK: usize = 16;

impl Identity {
    /// Brings the next tokens. Without a proof the answer is a nonce to sign.
    ///
    /// # Errors
    /// [`IdentityError::NonceRequired`], [`IdentityError::InvalidToken`], [`IdentityError::InvalidProof`],
    /// [`IdentityError::TokenReused`], [`IdentityError::TokenExpired`], what is wrong with device or account, those of
    /// the store.
    pub async fn token(&self, request: TokenRequest) -> Result<Tokens, IdentityError> {
        let Some(proof) = &request.proof else {
            return Err(IdentityError::NonceRequired { nonce: self.nonce() });
        };
        let found = self.inner.store.device(request.device).await?;
        let (device, account) = found.ok_or(IdentityError::InvalidToken)?;
        let old = hash_of(&request.refresh_token);
        let number = device.number;
        let proved = self.check_proof(Purpose::Token, device.id, &device.public_key, &request.refresh_token, proof);
        match proved {
            Ok(()) => {}
            Err(Fault::Busy) => return Err(IdentityError::Busy),
            Err(Fault::Stale) => return Err(IdentityError::NonceRequired { nonce: self.nonce() }),
            Err(Fault::Replayed) => return Err(IdentityError::InvalidProof),
            Err(Fault::Signature) if self.inner.store.refresh_misused(number, old).await? => {
                tracing::warn!(device = %request.device, "a rotated refresh token came by another key; all are void");
                return Err(IdentityError::TokenReused);
            }
            Err(Fault::Signature) => return Err(IdentityError::InvalidProof),
        }
        principal_of(device, account)?;
        let access = self.new_access_token();
        let generation = self.generation_of(request.device, &request.refresh_token);
        let next = generation.map_or(0, |generation| generation + 1);
        let refresh = self.successor(request.device, &request.refresh_token, next);
        let hashes = TokenHashes { access: hash_of(&access), refresh: hash_of(&refresh), generation: next };
        match self.inner.store.rotate_refresh(number, old, generation.is_some(), hashes).await? {
            Rotation::Rotated | Rotation::Again => Ok(Self::tokens_of(access, refresh)),
            Rotation::Unknown => Err(IdentityError::InvalidToken),
            Rotation::Expired => Err(IdentityError::TokenExpired),
            Rotation::Reused => {
                tracing::warn!(device = %request.device, "a rotated refresh token came back; all are void");
                Err(IdentityError::TokenReused)
            }
        }
    }

    pub(super) fn new_access_token(&self) -> String {
        format!("omat_{}", BASE64.encode(self.inner.entropy.secret()))
    }

    pub(super) fn new_refresh_token(&self, device: DeviceId) -> String {
        let mut chance = [0; CHANCE];
        chance.copy_from_slice(&self.inner.entropy.secret()[..CHANCE]);
        self.refresh_token(device, chance, 0)
    }

    /// A refresh token: something that nobody can guess, the number of rotations before it, and the server's mark on both,
    /// by which a server that was set back knows what it gave in the history that it lost.
    fn refresh_token(&self, device: DeviceId, chance: [u8; CHANCE], generation: u64) -> String {
        let mut bytes = chance.to_vec();
        bytes.extend(generation.to_be_bytes());
        let mark = self.mark(device, &bytes);
        bytes.extend(mark);
        format!("omrt_{}", BASE64.encode(bytes))
    }

    fn mark(&self, device: DeviceId, bytes: &[u8]) -> [u8; MARK] {
        let mut message = device.0.as_bytes().to_vec();
        message.extend(bytes);
        let mut mark = [0; MARK];
        mark.copy_from_slice(&keyed(&self.inner.secret, "refresh token", &message)[..MARK]);
        mark
    }

    /// How many rotations a refresh token has behind it; `None` where this server did not make it for the device.
    fn generation_of(&self, device: DeviceId, token: &str) -> Option<u64> {
        let bytes = BASE64.decode(token.strip_prefix("omrt_")?).ok()?;
        let (body, mark) = bytes.split_at_checked(CHANCE + 8)?;
        let generation = u64::from_be_bytes(body[CHANCE..].try_into().ok()?);
        // The last one has no successor; no device rotates that often.
        (same(mark, &self.mark(device, body)) && generation < u64::MAX / 2).then_some(generation)
    }

    pub(super) fn tokens_of(access_token: String, refresh_token: String) -> Tokens {
        Tokens { access_token, expires_in_s: limits::ACCESS_TOKEN_LIFE.as_secs(), refresh_token }
    }

    fn successor(&self, device: DeviceId, refresh_token: &str, generation: u64) -> String {
        let mut chance = [0; CHANCE];
        chance.copy_from_slice(&keyed(&self.inner.secret, "refresh successor", refresh_token.as_bytes())[..CHANCE]);
        self.refresh_token(device, chance, generation)
    }
}
