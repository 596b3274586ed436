//! The fleet's atomic transactions, and how much of each a device shows at one moment.
//!
//! Each record of one carries the mark of its own write. A device that shows some of the marks, and of another record
//! what stood there before, shows a part: [`super::check`] judges what was seen.

use std::sync::{Arc, Mutex};

use omctl_protocol::ChannelName;
use serde_json::Value;

const UNPOISONED: &str = "nobody panics while holding this lock";

/// One atomic transaction of an app.
#[derive(Debug)]
pub(super) struct Whole {
    /// Among those of the fleet, from 0.
    pub(super) number: usize,
    /// Its records that carry a mark.
    pub(super) parts: Vec<Part>,
}

/// One record of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) channel: ChannelName,
    pub(super) record: String,
    /// The field that carries the mark, by its place in the schema.
    pub(super) field: usize,
    pub(super) mark: Value,
}

/// What a device shows of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The mark.
    Mark,
    /// What this device's own app wrote, and perhaps nobody else knows yet.
    Own,
    /// Something else, or no such record.
    Other,
}

/// All of them, in the order in which they were begun.
#[derive(Debug, Default)]
pub(super) struct Wholes(Mutex<Vec<Arc<Whole>>>);

impl Wholes {
    /// Notes one before it is written. Of a single mark nobody can tell whether others are missing.
    pub(super) fn note(&self, parts: Vec<Part>) {
        if parts.len() > 1 {
            let mut all = self.0.lock().expect(UNPOISONED);
            let number = all.len();
            all.push(Arc::new(Whole { number, parts }));
        }
    }

    /// Those that were begun since so many were known.
    pub(super) fn since(&self, known: usize) -> Vec<Arc<Whole>> {
        self.0.lock().expect(UNPOISONED).get(known..).unwrap_or_default().to_vec()
    }
}

/// Transactions that a device is looked at for, at most; the oldest are given up.
const OPEN_MAX: usize = 64;

/// What one device has shown of the transactions so far.
#[derive(Debug, Default)]
pub(super) struct Watched {
    known: usize,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    whole: Arc<Whole>,
    last: Vec<Shown>,
    /// Whose marks were shown at some time.
    ever: Vec<bool>,
}

impl Watched {
    /// The transactions to be looked for now.
    pub(super) fn open(&mut self, all: &Wholes) -> Vec<Arc<Whole>> {
        let news = all.since(self.known);
        self.known += news.len();
        let none = |whole: &Whole| (vec![Shown::Other; whole.parts.len()], vec![false; whole.parts.len()]);
        self.open.extend(news.into_iter().map(|whole| {
            let (last, ever) = none(&whole);
            Open { whole, last, ever }
        }));
        let excess = self.open.len().saturating_sub(OPEN_MAX);
        self.open.drain(..excess);
        self.open.iter().map(|open| open.whole.clone()).collect()
    }

    /// Takes what one look showed of each of them; answers with what is new.
    pub(super) fn take(&mut self, shown: Vec<Vec<Shown>>) -> Vec<(Arc<Whole>, Vec<Shown>)> {
        let mut news = Vec::new();
        for (open, shown) in self.open.iter_mut().zip(shown) {
            for (ever, one) in open.ever.iter_mut().zip(&shown) {
                *ever |= *one == Shown::Mark;
            }
            if open.last != shown {
                open.last.clone_from(&shown);
                news.push((open.whole.clone(), shown));
            }
        }
        self.open.retain(|open| open.ever.contains(&false));
        news
    }
}
