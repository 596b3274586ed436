//! Chance and time as the device library takes them in: the system's on a phone, seeded ones in a simulation.
//!
//! *Invariant:* the engine and the store ask nobody else for random bytes. Where they are seeded, SQLite's own
//! `randomblob` and `unixepoch` are replaced too, so that a capture made by a trigger is the same in every run; where only the clock goes wrong, `unixepoch` alone.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use uuid::Uuid;

/// Where random bytes come from. Clones share one stream.
#[derive(Clone, Debug, Default)]
pub enum Entropy {
    /// The operating system's.
    #[default]
    System,
    /// The operating system's, and a clock that goes wrong: for simulations of devices whose users set it.
    Shifted {
        /// By how many milliseconds it is ahead of the system's; may change at any time.
        ahead_ms: Arc<AtomicI64>,
    },
    /// A seeded stream (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>) and the time SQLite is told: for
    /// simulations, never for secrets.
    Seeded {
        /// The stream's state.
        state: Arc<Mutex<u64>>,
        /// Milliseconds since 1970; moved by whoever runs the simulation, and by the events of the engine.
        now_ms: Arc<AtomicI64>,
    },
}

impl Entropy {
    /// A stream that is the same for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded { state: Arc::new(Mutex::new(seed)), now_ms: Arc::default() }
    }

    /// Fills the buffer.
    pub fn fill(&self, buffer: &mut [u8]) {
        match self {
            Self::System | Self::Shifted { .. } => {
                getrandom::fill(buffer).expect("the operating system has random bytes")
            }
            Self::Seeded { state, .. } => {
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

    /// Milliseconds since 1970, as this device's clock has it.
    pub(crate) fn now_ms(&self) -> i64 {
        match self {
            Self::System => system_now_ms(),
            Self::Shifted { ahead_ms } => system_now_ms().saturating_add(ahead_ms.load(Ordering::Relaxed)),
            Self::Seeded { now_ms, .. } => now_ms.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds since the machine was booted, sleep included; `None` where nothing tells.
    pub(crate) fn uptime_ms(&self) -> Option<i64> {
        match self {
            Self::System | Self::Shifted { .. } => system_uptime_ms(),
            Self::Seeded { .. } => None,
        }
    }

    /// A random number below `limit`; 0 where `limit` is 0.
    pub fn below(&self, limit: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        // The bias of a remainder of 64 bits does not matter for waiting times.
        u64::from_le_bytes(bytes) % limit.max(1)
    }

    /// A random UUID (version 4).
    pub fn uuid_v4(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Tells a seeded SQLite the time; the system's clock needs no telling.
    pub(crate) fn tell_time(&self, now_ms: i64) {
        if let Self::Seeded { now_ms: told, .. } = self {
            told.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Replaces the functions by which a trigger would reach the system's clock and chance.
    pub(crate) fn install(&self, conn: &Connection) -> rusqlite::Result<()> {
        if matches!(self, Self::System) {
            return Ok(());
        }
        // Innocuous: else a connection without trusted schemas could not run the triggers that call them.
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_INNOCUOUS;
        if matches!(self, Self::Seeded { .. }) {
            let entropy = self.clone();
            conn.create_scalar_function("randomblob", 1, flags, move |context| {
                let mut bytes = vec![0; usize::try_from(context.get::<i64>(0)?.clamp(1, 1024)).unwrap_or(1)];
                entropy.fill(&mut bytes);
                Ok(bytes)
            })?;
        }
        let clock = self.clone();
        conn.create_scalar_function("unixepoch", 1, flags, move |_| Ok(clock.now_ms() as f64 / 1000.0))
    }
}

#[cfg(unix)]
fn system_uptime_ms() -> Option<i64> {
    use rustix::time::{ClockId, clock_gettime};
    // Apple's monotonic clock goes on in sleep (its clock_gettime(3)); Linux has another one for that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const SINCE_BOOT: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const SINCE_BOOT: ClockId = ClockId::Monotonic;
    let now = clock_gettime(SINCE_BOOT);
    now.tv_sec.checked_mul(1000)?.checked_add(now.tv_nsec / 1_000_000)
}

#[cfg(not(unix))]
fn system_uptime_ms() -> Option<i64> {
    None
}

fn system_now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place of the library that asks the system")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
