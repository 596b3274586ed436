//! The newest events of the log, kept in memory for whoever asks a running server for them.
//!
//! A ring of bounded events: writing never waits for a reader. A reader has a number of its own and is told how many
//! events it has missed.
//!
//! *Invariant:* what the log does not say is not kept here either: the same filter stands before both.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use omctl_protocol::inspect::LogEvent;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// What is kept of the log.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How many events.
    pub events: usize,
    /// How many bytes of each of its texts; the rest is cut off.
    pub text_bytes: usize,
    /// The clock, in milliseconds since 1970.
    pub now_ms: fn() -> i64,
}

/// The newest events. One for the process, as the log itself is.
#[derive(Debug)]
pub struct Recent {
    ring: Mutex<Ring>,
    arrived: Notify,
    readers: AtomicUsize,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<LogEvent>>,
    /// The number of the newest event; they begin at 1.
    newest: u64,
}

/// What a reader gets at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// How many events before the first one are gone.
    pub lost: u64,
    /// The events behind the reader's number.
    pub events: Vec<Arc<LogEvent>>,
}

impl Recent {
    /// Nothing is kept yet.
    pub const fn new() -> Self {
        let ring = Ring { events: VecDeque::new(), newest: 0 };
        Self { ring: Mutex::new(ring), arrived: Notify::const_new(), readers: AtomicUsize::new(0) }
    }

    /// At most so many events behind this number.
    pub fn after(&self, number: u64, events_max: usize) -> Piece {
        let ring = self.ring.lock().expect("nobody panics while keeping the log");
        let gone = ring.newest - ring.events.len() as u64;
        let from = number.max(gone);
        let skip = usize::try_from(from - gone).unwrap_or(usize::MAX);
        let events = ring.events.iter().skip(skip).take(events_max).cloned().collect();
        Piece { lost: gone.saturating_sub(number), events }
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        self.ring.lock().expect("nobody panics while keeping the log").newest
    }

    /// The number before the oldest event that is kept: to begin with all of them.
    pub fn oldest(&self) -> u64 {
        let ring = self.ring.lock().expect("nobody panics while keeping the log");
        ring.newest - ring.events.len() as u64
    }

    /// Returns once there is an event behind this number. Cancel-safe.
    pub async fn more_than(&self, number: u64) {
        loop {
            let arrived = self.arrived.notified();
            if self.ring.lock().expect("nobody panics while keeping the log").newest > number {
                return;
            }
            arrived.await;
        }
    }

    /// A place among at most so many readers who follow; `None` where all are taken.
    pub fn follow(&'static self, readers_max: usize) -> Option<Following> {
        let free = |readers: usize| (readers < readers_max).then_some(readers + 1);
        self.readers.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok().map(|_| Following(self))
    }

    fn put(&self, keep: &Keep, mut event: LogEvent) {
        {
            let mut ring = self.ring.lock().expect("nobody panics while keeping the log");
            ring.newest += 1;
            event.number = ring.newest;
            while ring.events.len() >= keep.events.max(1) {
                ring.events.pop_front();
            }
            ring.events.push_back(Arc::new(event));
        }
        self.arrived.notify_waiters();
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

/// A reader's place; dropping it gives it back.
#[derive(Debug)]
pub struct Following(&'static Recent);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Writes every event into a [`Recent`].
pub(super) struct RecentLayer {
    pub(super) recent: &'static Recent,
    pub(super) keep: Keep,
}

impl<S: Subscriber> Layer<S> for RecentLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut texts = Texts { bytes_max: self.keep.text_bytes, message: String::new(), fields: Map::new() };
        event.record(&mut texts);
        let about = event.metadata();
        let event = LogEvent {
            number: 0,
            at_ms: (self.keep.now_ms)(),
            level: about.level().as_str().to_lowercase(),
            target: about.target().to_owned(),
            message: texts.message,
            fields: texts.fields,
        };
        self.recent.put(&self.keep, event);
    }
}

/// The sentence and the fields of one event.
struct Texts {
    bytes_max: usize,
    message: String,
    fields: Map<String, Value>,
}

impl Texts {
    fn note(&mut self, field: &Field, mut text: String) {
        if text.len() > self.bytes_max {
            text.truncate(text.floor_char_boundary(self.bytes_max));
            text.push('…');
        }
        match field.name() {
            "message" => self.message = text,
            name => drop(self.fields.insert(name.to_owned(), text.into())),
        }
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn recent(events: usize, say: impl FnOnce()) -> &'static Recent {
        let recent: &'static Recent = Box::leak(Box::new(Recent::new()));
        let keep = Keep { events, text_bytes: 10, now_ms: || 7 };
        let subscriber = tracing_subscriber::registry().with(RecentLayer { recent, keep });
        tracing::subscriber::with_default(subscriber, say);
        recent
    }

    #[test]
    fn a_slow_reader_is_told_how_many_events_it_has_missed() {
        let recent = recent(3, || (0..5).for_each(|n| tracing::info!(n, "said")));
        let numbers = |piece: &Piece| piece.events.iter().map(|event| event.number).collect::<Vec<_>>();
        let piece = recent.after(1, 10);
        assert_eq!((piece.lost, numbers(&piece)), (1, vec![3, 4, 5]));
        let piece = recent.after(recent.oldest(), 2);
        assert_eq!((piece.lost, numbers(&piece)), (0, vec![3, 4]));
        assert_eq!(recent.after(5, 10), Piece::default());
    }

    #[test]
    fn an_event_is_its_sentence_and_its_fields_and_not_longer_than_allowed() {
        let recent = recent(3, || tracing::warn!(channel = %"tickets", "0123456789€"));
        let event = &recent.after(0, 1).events[0];
        assert_eq!((event.level.as_str(), event.at_ms, event.message.as_str()), ("warn", 7, "0123456789…"));
        assert_eq!(event.fields["channel"], "tickets");
    }

    #[tokio::test]
    async fn who_waits_is_woken_and_only_so_many_may_follow() {
        let recent = recent(3, || tracing::info!("said"));
        recent.more_than(0).await;
        let waits = recent.more_than(1);
        tokio::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        let first = recent.follow(1);
        assert!(first.is_some() && recent.follow(1).is_none());
        drop(first);
        assert!(recent.follow(1).is_some());
    }
}
