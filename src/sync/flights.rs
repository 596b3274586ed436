//! Writes on their way: done in a backend, perhaps, and not journaled yet.
//!
//! A write's own change stands in the backend's queue as soon as it is done there. Whoever consumes that entry before the
//! write is journaled, and finds the row gone again (by a cascade, a trigger, somebody else), has nothing to bury: the log
//! does not know the record. And then the write is journaled, with a row that is no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use tokio::sync::Notify;

const UNPOISONED: &str = "nobody panics while writes are counted";

/// Runs that write into backends now.
#[derive(Debug, Default)]
pub(super) struct Flights {
    state: Mutex<State>,
    landed: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    by_backend: BTreeMap<String, BTreeSet<u64>>,
}

/// A run on its way; it has landed when this is dropped.
pub(super) struct Flight<'f> {
    flights: &'f Flights,
    backend: String,
    number: u64,
}

impl Flights {
    /// Begins a run, before anything of it is written.
    pub(super) fn take_off(&self, backend: &str) -> Flight<'_> {
        let mut state = self.state.lock().expect(UNPOISONED);
        state.last += 1;
        let number = state.last;
        state.by_backend.entry(backend.to_owned()).or_default().insert(number);
        Flight { flights: self, backend: backend.to_owned(), number }
    }

    /// Waits until those have landed that are on their way into a backend now; others may begin meanwhile.
    pub(super) async fn land(&self, backend: &str) {
        let now = self.state.lock().expect(UNPOISONED).last;
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            // From here on nothing that lands is missed.
            landed.as_mut().enable();
            let first = {
                let state = self.state.lock().expect(UNPOISONED);
                state.by_backend.get(backend).and_then(|running| running.first().copied())
            };
            if first.is_none_or(|first| first > now) {
                return;
            }
            landed.await;
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.flights.state.lock().expect(UNPOISONED);
        if let Some(running) = state.by_backend.get_mut(&self.backend) {
            running.remove(&self.number);
        }
        drop(state);
        self.flights.landed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn whoever_looks_waits_for_those_before_it_and_no_others() {
        let flights = Flights::default();
        let first = flights.take_off("crm");
        let elsewhere = flights.take_off("hr");
        let mut looking = Box::pin(flights.land("crm"));
        assert_eq!(looking.as_mut().now_or_never(), None);
        let later = flights.take_off("crm");
        drop(elsewhere);
        assert_eq!(looking.as_mut().now_or_never(), None);
        drop(first);
        assert_eq!(looking.as_mut().now_or_never(), Some(()));
        drop(later);
        assert_eq!(flights.land("crm").now_or_never(), Some(()));
    }
}
