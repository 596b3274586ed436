//! Nonces: made without keeping anything, used at most once.
//!
//! A nonce is time, random bytes and a MAC over both, so that asking for nonces costs the server no memory. Only those
//! that were used, with a valid signature, are remembered until they expire.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::proof::Fault;
use super::{keyed, same};
use crate::clock::Entropy;

/// Used nonces that are remembered. A caller with valid keys who needs more within two minutes is refused for a while.
const USED_MAX: usize = 200_000;

const RANDOM: usize = 16;
const MAC: usize = 16;
const NONCE: usize = 8 + RANDOM + MAC;

pub(super) struct Nonces {
    key: [u8; 32],
    life_ms: i64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    known: HashSet<[u8; RANDOM]>,
    /// In the order of their use, with the time from which they may be forgotten.
    order: VecDeque<(i64, [u8; RANDOM])>,
}

/// A nonce that is ours and fresh, and not yet used up.
pub(super) struct Fresh {
    random: [u8; RANDOM],
}

impl Nonces {
    pub(super) fn new(key: [u8; 32], life: Duration) -> Self {
        Self { key, life_ms: life.as_millis() as i64, used: Mutex::default() }
    }

    pub(super) fn make(&self, entropy: &Entropy, now_ms: i64) -> String {
        let mut bytes = [0; NONCE];
        bytes[..8].copy_from_slice(&now_ms.to_be_bytes());
        entropy.fill(&mut bytes[8..8 + RANDOM]);
        let mac = keyed(&self.key, "nonce", &bytes[..8 + RANDOM]);
        bytes[8 + RANDOM..].copy_from_slice(&mac[..MAC]);
        BASE64.encode(bytes)
    }

    /// Reads a nonce; `None` if it is not ours or too old.
    pub(super) fn check(&self, nonce: &str, now_ms: i64) -> Option<Fresh> {
        let mut bytes = [0; NONCE];
        let fits = BASE64.decode_slice_unchecked(nonce, &mut bytes).is_ok_and(|length| length == NONCE);
        let (stamp, rest) = bytes.split_first_chunk::<8>()?;
        let (random, mac) = rest.split_first_chunk::<RANDOM>()?;
        let ours = same(mac, &keyed(&self.key, "nonce", &bytes[..8 + RANDOM])[..MAC]);
        let age_ms = now_ms - i64::from_be_bytes(*stamp);
        (fits && ours && (0..=self.life_ms).contains(&age_ms)).then_some(Fresh { random: *random })
    }

    /// Uses a nonce up.
    pub(super) fn spend(&self, fresh: Fresh, now_ms: i64) -> Result<(), Fault> {
        let mut used = self.used.lock().expect("nobody panics while holding the nonces");
        while used.order.front().is_some_and(|(forget_ms, _)| *forget_ms < now_ms) {
            let gone = used.order.pop_front().expect("there is a front").1;
            used.known.remove(&gone);
        }
        if used.known.len() >= USED_MAX {
            return Err(Fault::Busy);
        }
        if !used.known.insert(fresh.random) {
            return Err(Fault::Replayed);
        }
        used.order.push_back((now_ms + self.life_ms, fresh.random));
        Ok(())
    }
}
