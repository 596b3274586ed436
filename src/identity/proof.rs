//! Proofs of possession: a device signs what it asks for, over a nonce of ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl_protocol::DeviceId;
use omctl_protocol::api::{Purpose, proof_text};
use omctl_protocol::frame::Proof;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};

use super::{Identity, IdentityError, Principal};

/// Why a proof is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The nonce is too old, or of another start of the server: a new one helps.
    Stale,
    /// The signature is not of this device's key over this text.
    Signature,
    /// The nonce was used before.
    Replayed,
    /// Too many nonces are in use.
    Busy,
}

impl Identity {
    /// A fresh nonce, good for one proof within two minutes. The server keeps nothing of it.
    pub fn nonce(&self) -> String {
        self.inner.nonces.make(&self.inner.entropy, self.inner.clock.now_ms())
    }

    /// Checks that the sender holds the device's key, and uses the nonce up. `token` is what the request came with: the
    /// access token for a session.
    ///
    /// # Errors
    /// [`IdentityError::InvalidProof`], also for a nonce that was used before; [`IdentityError::Busy`].
    pub fn verify_proof(
        &self,
        purpose: Purpose,
        principal: &Principal,
        token: &str,
        proof: &Proof,
    ) -> Result<(), IdentityError> {
        let checked = self.check_proof(purpose, principal.device_id, &principal.public_key, token, proof);
        checked.map_err(|fault| match fault {
            Fault::Busy => IdentityError::Busy,
            Fault::Stale | Fault::Signature | Fault::Replayed => IdentityError::InvalidProof,
        })
    }

    pub(super) fn check_proof(
        &self,
        purpose: Purpose,
        device: DeviceId,
        public_key: &[u8; 65],
        token: &str,
        proof: &Proof,
    ) -> Result<(), Fault> {
        let now_ms = self.inner.clock.now_ms();
        let fresh = self.inner.nonces.check(&proof.nonce, now_ms).ok_or(Fault::Stale)?;
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| Fault::Signature)?;
        let mut bytes = [0; 64];
        let length = BASE64.decode_slice_unchecked(&proof.signature, &mut bytes);
        let signature = match length {
            Ok(64) => Signature::from_slice(&bytes).map_err(|_| Fault::Signature)?,
            _ => return Err(Fault::Signature),
        };
        let text = proof_text(purpose, &proof.nonce, device, token);
        key.verify(text.as_bytes(), &signature).map_err(|_| Fault::Signature)?;
        // Last, so that only holders of keys can fill the memory of used nonces.
        self.inner.nonces.spend(fresh, now_ms)
    }
}

/// Reads a device's public key: 65 bytes, uncompressed, on the curve.
pub(super) fn public_key(text: &str) -> Result<[u8; 65], IdentityError> {
    let bad = || IdentityError::BadValue {
        field: "device.public_key",
        message: "not a P-256 public key (65 bytes, SEC 1 uncompressed, base64url)".to_owned(),
    };
    let bytes: [u8; 65] = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(bad)?;
    VerifyingKey::from_sec1_bytes(&bytes).map_err(|_| bad())?;
    Ok(bytes)
}
