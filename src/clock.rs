//! Time and chance, injected: the system's in a server, seeded ones in the simulator.
//!
//! *Invariant:* nothing else in the house asks the operating system for the time or for random bytes.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Where the time comes from. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The operating system's clock.
    #[default]
    System,
    /// A clock that a test moves.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands still until it is moved.
    pub fn manual(start_ms: i64) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start_ms)))
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self) -> i64 {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
            Self::Manual(ms) => ms.load(Ordering::Relaxed),
        }
    }

    /// Moves a manual clock; the system's clock cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(ms) = self {
            ms.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
        }
    }

    /// Sets a manual clock, also back; the system's clock cannot be set.
    pub fn set(&self, now_ms: i64) {
        if let Self::Manual(ms) = self {
            ms.store(now_ms, Ordering::Relaxed);
        }
    }
}

/// Where random bytes come from. Clones share one stream.
#[derive(Clone, Debug, Default)]
pub enum Entropy {
    /// The operating system's.
    #[default]
    System,
    /// A seeded stream (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>): for simulations, never for secrets.
    Seeded(Arc<Mutex<u64>>),
}

impl Entropy {
    /// A stream that is the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(seed)))
    }

    /// Fills the buffer.
    pub fn fill(&self, buffer: &mut [u8]) {
        match self {
            Self::System => getrandom::fill(buffer).expect("the operating system has random bytes"),
            Self::Seeded(state) => {
                let mut state = state.lock().expect("nothing panics while it holds this lock");
                for chunk in buffer.chunks_mut(8) {
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = *state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }

    /// A random number.
    pub fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random 256-bit secret.
    pub fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    /// A UUIDv7 at this clock's time.
    pub fn uuid_v7(&self, clock: &Clock) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(clock.now_ms().max(0) as u64, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_stream() {
        let (a, b) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!((a.u64(), a.u64()), (b.u64(), b.u64()));
        let clock = Clock::manual(5_000);
        let earlier = a.uuid_v7(&clock);
        clock.advance(Duration::from_secs(1));
        assert!(earlier < a.uuid_v7(&clock));
    }
}
