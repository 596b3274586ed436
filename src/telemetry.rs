//! What the process says about itself: the log on stderr, its newest events in memory, and counters.
//!
//! *Invariant:* bodies, tokens, passwords and record values are never logged or counted.

mod lines;
mod recent;

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::lines::Lines;
use self::recent::RecentLayer;
pub use self::recent::{Following, Keep, Piece, Recent};

/// The filter where none is given: our lifecycle, and what others warn of.
pub const DEFAULT_FILTER: &str = "warn,omctl=info";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter has no meaning.
    #[error("`{filter}` is not a log filter: {message}")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Begins the log on stderr and in [`RECENT`]. Where one was begun before (in tests), that one stays.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn start(filter: Option<&str>, format: LogFormat, colour: bool, keep: Keep) -> Result<(), TelemetryError> {
    let text = filter.unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(text)
        .map_err(|error| TelemetryError::Filter { filter: text.to_owned(), message: error.to_string() })?;
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        // A line that cannot be written is dropped: told about on the same closed stream, it would panic and end a task.
        .log_internal_errors(false)
        .with_ansi(colour && std::io::stderr().is_terminal());
    let now_ms = keep.now_ms;
    let log = tracing_subscriber::registry().with(filter).with(RecentLayer { recent: &RECENT, keep });
    // A second start finds the first one in place, which is what its caller wants too.
    let _already = match format {
        LogFormat::Text => log.with(stderr.event_format(Lines { now_ms })).try_init(),
        LogFormat::Json => log.with(stderr.json()).try_init(),
    };
    Ok(())
}

/// The newest events of this process's log.
pub static RECENT: Recent = Recent::new();

/// The counters of this process.
pub static COUNTERS: Counters = Counters::new();

/// What is counted, from the start of the process on.
#[derive(Debug)]
pub struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Self { requests: AtomicU64::new(0), refused: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// Counts an answered request by its status.
    pub fn request(&self, status: u16) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match status {
            400..=499 => self.refused.fetch_add(1, Ordering::Relaxed),
            500.. => self.failed.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// Every counter with its name, as `/metrics` will call it.
    pub fn read(&self) -> [(&'static str, u64); 3] {
        [
            ("omctl_http_requests_total", self.requests.load(Ordering::Relaxed)),
            ("omctl_http_refused_total", self.refused.load(Ordering::Relaxed)),
            ("omctl_http_failed_total", self.failed.load(Ordering::Relaxed)),
        ]
    }
}
