//! Passwords: Argon2id, off the async threads, few at a time, as many for an unknown account as for a known one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::Argon2;
use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use super::IdentityError;
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// Shortest password in characters (NIST SP 800-63B, section 3.1.1.2, asks for 8 at least).
pub(super) const PASSWORD_CHARS_MIN: usize = 8;

/// Longest password in bytes: Argon2 hashes any length, and nobody types more.
pub(super) const PASSWORD_BYTES_MAX: usize = 1_024;

/// Hashes computed at a time: each takes 19 MiB and a core for some 20 ms.
const AT_A_TIME: usize = 2;

pub(super) struct Passwords {
    room: Arc<Semaphore>,
    computed: AtomicU64,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_A_TIME)), computed: AtomicU64::new(0) }
    }

    pub(super) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// The PHC form of a password's hash.
    pub(super) async fn hash(&self, entropy: &Entropy, password: SecretString) -> Result<String, IdentityError> {
        let too_short = password.expose_secret().chars().count() < PASSWORD_CHARS_MIN;
        if too_short || password.expose_secret().len() > PASSWORD_BYTES_MAX {
            return Err(IdentityError::BadValue {
                field: "password",
                message: format!(
                    "a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
                ),
            });
        }
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        entropy.fill(&mut salt);
        let hashed = self.compute(move || {
            let hash = Argon2::default().hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
            hash.expect("the default parameters and a salt of this length are valid").to_string()
        });
        Ok(hashed.await)
    }

    /// Whether the password is the account's. Without an account (or one without a password) the same work is done for
    /// nothing.
    pub(super) async fn verify(&self, stored: Option<String>, password: SecretString) -> bool {
        if password.expose_secret().len() > PASSWORD_BYTES_MAX {
            // Decided by the input alone, so it tells nothing about accounts.
            return false;
        }
        self.compute(move || {
            let password = password.expose_secret().as_bytes();
            match stored.as_deref().map(PasswordHash::new) {
                Some(Ok(stored)) => Argon2::default().verify_password(password, &stored).is_ok(),
                Some(Err(_)) | None => {
                    let mut nowhere = [0; 32];
                    let done = Argon2::default().hash_password_into(password, &[0; 16], &mut nowhere);
                    // The compiler must not see that nobody looks at the result.
                    let looked_at = std::hint::black_box(done.is_ok() && nowhere != [0; 32]);
                    debug_assert!(looked_at, "the same work is done");
                    false
                }
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = self.room.clone().acquire_owned().await.expect("nobody closes this semaphore");
        self.computed.fetch_add(1, Ordering::Relaxed);
        Tasks::blocking(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
    }
}
