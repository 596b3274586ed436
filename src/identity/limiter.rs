//! Counts misses in a window, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

/// Callers that are remembered at a time. When there are more, the ones with the oldest windows are forgotten.
const REMEMBERED_MAX: usize = 10_000;

pub(super) struct Limiter<K> {
    allowed: u32,
    window_ms: i64,
    seen: Mutex<HashMap<K, Window>>,
}

struct Window {
    began_ms: i64,
    misses: u32,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    pub(super) fn new(allowed: u32, window: Duration) -> Self {
        Self { allowed, window_ms: window.as_millis() as i64, seen: Mutex::new(HashMap::new()) }
    }

    /// The seconds to wait, if this caller has missed too often.
    pub(super) fn blocked_s(&self, key: &K, now_ms: i64) -> Option<u64> {
        let seen = self.seen.lock().expect("nobody panics while counting");
        let window = seen.get(key)?;
        let left_ms = window.began_ms + self.window_ms - now_ms;
        (window.misses >= self.allowed && left_ms > 0).then(|| (left_ms as u64).div_ceil(1_000).max(1))
    }

    /// Counts a miss and returns how many there were in this window.
    pub(super) fn miss(&self, key: &K, now_ms: i64) -> u32 {
        let mut seen = self.seen.lock().expect("nobody panics while counting");
        if seen.len() >= REMEMBERED_MAX && !seen.contains_key(key) {
            seen.retain(|_, window| window.began_ms + self.window_ms > now_ms);
            if seen.len() >= REMEMBERED_MAX {
                let oldest = seen.iter().min_by_key(|(_, window)| window.began_ms).map(|(key, _)| key.clone());
                oldest.and_then(|key| seen.remove(&key));
            }
        }
        let window = seen.entry(key.clone()).or_insert(Window { began_ms: now_ms, misses: 0 });
        if window.began_ms + self.window_ms <= now_ms {
            *window = Window { began_ms: now_ms, misses: 0 };
        }
        window.misses += 1;
        window.misses
    }

    /// Begins anew for this caller.
    pub(super) fn forget(&self, key: &K) {
        self.seen.lock().expect("nobody panics while counting").remove(key);
    }
}
