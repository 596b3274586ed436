//! Tokens: opaque, rotated, and void for the whole device once a rotated one comes back.
//!
//! The successor of a refresh token is derived from it by the server's secret, so that a device that lost the answer and
//! asks again gets the same successor without the server keeping it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl_protocol::api::{Purpose, TokenRequest, Tokens};

use super::proof::Fault;
use super::{Identity, IdentityError, hash_of, keyed, principal_of};
use crate::limits;
use crate::store::{Rotation, TokenHashes};

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
        let refresh = self.successor(&request.refresh_token);
        let hashes = TokenHashes { access: hash_of(&access), refresh: hash_of(&refresh) };
        match self.inner.store.rotate_refresh(number, old, hashes).await? {
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

    pub(super) fn new_refresh_token(&self) -> String {
        format!("omrt_{}", BASE64.encode(self.inner.entropy.secret()))
    }

    pub(super) fn tokens_of(access_token: String, refresh_token: String) -> Tokens {
        Tokens { access_token, expires_in_s: limits::ACCESS_TOKEN_LIFE.as_secs(), refresh_token }
    }

    fn successor(&self, refresh_token: &str) -> String {
        format!("omrt_{}", BASE64.encode(keyed(&self.inner.secret, "refresh successor", refresh_token.as_bytes())))
    }
}
