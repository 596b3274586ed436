//! A backend as it is in life: now and then it is away, slow, or does the work and the answer gets lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use omctl::backend::sqlite::SqliteBackend;
use omctl::backend::{
    Applied, Backend, BackendError, Change, Collection, Effect, Key, Page, Probe, ReadRow, Whole, Write, Written,
};
use omctl::clock::Clock;
use omctl_protocol::{MutationId, RecordId};
use rusqlite::Connection;

use crate::node::Life;

/// What is wrong with the backend now.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Nobody answers.
    pub(crate) down: AtomicBool,
    /// So many of the next answers to writes are lost.
    pub(crate) lost_answers: AtomicU64,
    /// So many of the next answers are nonsense.
    pub(crate) garbage: AtomicU64,
    /// So many of the next lists end early, and say that they are whole.
    pub(crate) partial_lists: AtomicU64,
    /// So many of the next lists have rows twice.
    pub(crate) doubled_rows: AtomicU64,
    /// How long an answer takes at most, in milliseconds.
    pub(crate) slow_ms: AtomicU64,
}

impl Weather {
    /// The sun shines.
    pub(crate) fn clear(&self) {
        self.down.store(false, Ordering::Relaxed);
        for trouble in [&self.lost_answers, &self.garbage, &self.partial_lists, &self.doubled_rows, &self.slow_ms] {
            trouble.store(0, Ordering::Relaxed);
        }
    }
}

/// Whether one of so many is left; takes it.
fn take(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[derive(Debug)]
pub(crate) struct Shaky {
    inner: SqliteBackend,
    life: Arc<Life>,
    weather: Arc<Weather>,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Life")
    }
}

type Done<'a, T> = BoxFuture<'a, Result<T, BackendError>>;

impl Shaky {
    pub(crate) fn new(
        connection: Arc<Mutex<Connection>>,
        life: Arc<Life>,
        weather: Arc<Weather>,
        clock: Clock,
    ) -> Self {
        let inner = SqliteBackend::inline("shop", connection).expect("SQLite is new enough").with_clock(clock);
        Self { inner, life, weather }
    }

    fn call<'a, T: Send + 'a>(&'a self, call: Done<'a, T>) -> Done<'a, T> {
        Box::pin(async move {
            self.life.step().await;
            let slow_ms = self.weather.slow_ms.load(Ordering::Relaxed);
            if slow_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.life.below(slow_ms))).await;
                self.life.step().await;
            }
            if self.weather.down.load(Ordering::Relaxed) {
                return Err(away("it is away"));
            }
            if take(&self.weather.garbage) {
                let message = "it says <html>".to_owned();
                return Err(BackendError::BadResponse { backend: "shop".into(), message });
            }
            let answer = call.await;
            self.life.step().await;
            answer
        })
    }
}

fn away(message: &str) -> BackendError {
    BackendError::Unavailable { backend: "shop".into(), message: message.into() }
}

impl Backend for Shaky {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn probe<'a>(&'a self, collection: &'a Collection) -> Done<'a, Probe> {
        self.call(self.inner.probe(collection))
    }

    fn applied<'a>(&'a self, mutations: &'a [MutationId]) -> Done<'a, HashMap<MutationId, Applied>> {
        self.call(self.inner.applied(mutations))
    }

    fn read<'a>(&'a self, collection: &'a Collection, keys: &'a [Key]) -> Done<'a, Vec<ReadRow>> {
        self.call(self.inner.read(collection, keys))
    }

    fn scan<'a>(&'a self, collection: &'a Collection, after: Option<&'a Key>, limit: usize) -> Done<'a, Page> {
        Box::pin(async move {
            // Small pages: a table of a few rows is read in several pieces, with others' edits in between.
            let mut page = self.call(self.inner.scan(collection, after, limit.min(3))).await?;
            if page.next.is_some() && take(&self.weather.partial_lists) {
                page.next = None;
            }
            if !page.rows.is_empty() && take(&self.weather.doubled_rows) {
                page.rows.extend(page.rows.clone());
            }
            Ok(page)
        })
    }

    fn write<'a>(&'a self, writes: &'a [(Arc<Collection>, Write)]) -> Done<'a, Vec<Written>> {
        Box::pin(async move {
            let written = self.call(self.inner.write(writes)).await?;
            if take(&self.weather.lost_answers) {
                return Err(away("the connection broke before the answer"));
            }
            Ok(written)
        })
    }

    fn write_whole<'a>(&'a self, writes: &'a [(Arc<Collection>, Write)]) -> Done<'a, Whole> {
        Box::pin(async move {
            let whole = self.call(self.inner.write_whole(writes)).await?;
            if take(&self.weather.lost_answers) {
                return Err(away("the connection broke before the answer"));
            }
            Ok(whole)
        })
    }

    fn write_foreign<'a>(&'a self, collection: &'a Collection, effect: &'a Effect) -> Done<'a, Written> {
        self.call(self.inner.write_foreign(collection, effect))
    }

    fn born<'a>(&'a self, collection: &'a Collection, keys: &'a [Key]) -> Done<'a, HashMap<String, RecordId>> {
        self.call(self.inner.born(collection, keys))
    }

    fn changes<'a>(&'a self, collections: &'a [Arc<Collection>], limit: usize) -> Done<'a, Vec<Change>> {
        self.call(self.inner.changes(collections, limit.min(4)))
    }

    fn forget_changes<'a>(&'a self, numbers: &'a [i64]) -> Done<'a, ()> {
        self.call(self.inner.forget_changes(numbers))
    }

    fn quiet_mark(&self) -> Done<'_, Option<u64>> {
        self.call(self.inner.quiet_mark())
    }

    fn prune_applied(&self, before_ms: i64) -> Done<'_, u64> {
        self.call(self.inner.prune_applied(before_ms))
    }

    fn install_sql(&self, collections: &[Arc<Collection>]) -> String {
        self.inner.install_sql(collections)
    }

    fn install<'a>(&'a self, collections: &'a [Arc<Collection>]) -> Done<'a, ()> {
        self.inner.install(collections)
    }

    fn remove<'a>(&'a self, collections: &'a [Arc<Collection>]) -> Done<'a, ()> {
        self.inner.remove(collections)
    }
}
