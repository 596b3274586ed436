//! `GET /v1/admin/logs`: the newest events of the log, and those that come, as lines of JSON.
//!
//! *Invariant:* the reader sets the pace. What it does not read in time is overwritten in the ring, and it is told how
//! much that was; the log never waits.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use omctl_protocol::inspect::{LogEvent, LogLine, LogQuery};
use tokio_util::sync::CancellationToken;

use super::admin::asked;
use super::{ApiError, AppState};
use crate::limits;
use crate::telemetry::{Following, RECENT};

/// The levels, the most serious first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Who reads.
struct Reader {
    /// Everything up to this event was looked at.
    number: u64,
    /// Lines that were read and not sent.
    ready: Vec<LogLine>,
    /// The least serious level that is wanted, by its place in [`LEVELS`].
    level: usize,
    /// `None`: only what is there.
    following: Option<Following>,
    /// The server's: it is stopping.
    stopping: CancellationToken,
}

pub(super) async fn logs(
    State(state): State<AppState>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let LogQuery { follow, last, level } = asked(query, "`follow`, `last` and `level`")?;
    let level = match level.as_deref().map(str::to_lowercase) {
        None => LEVELS.len() - 1,
        Some(word) => LEVELS.iter().position(|level| *level == word).ok_or_else(|| {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", "the level is none")
                .field("level")
                .hint(format!("one of {}", LEVELS.join(", ")))
        })?,
    };
    let following = match follow {
        false => None,
        true => Some(RECENT.follow(limits::LOG_READERS_MAX).ok_or_else(|| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many readers follow the log")
                .hint("end one of them, or ask without `follow`")
        })?),
    };
    let stopping = state.tasks.token().clone();
    let mut reader = Reader { number: RECENT.oldest(), ready: Vec::new(), level, following, stopping };
    reader.look(limits::LOG_EVENTS_KEPT);
    if let Some(last) = last {
        let wanted = usize::try_from(last).unwrap_or(usize::MAX);
        reader.ready.drain(..reader.ready.len().saturating_sub(wanted));
    }
    let lines = futures_util::stream::unfold(reader, Reader::next);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

impl Reader {
    /// Takes what is behind its number.
    fn look(&mut self, events_max: usize) {
        let piece = RECENT.after(self.number, events_max);
        if piece.lost > 0 {
            self.ready.push(LogLine::Lost { events: piece.lost });
            self.number += piece.lost;
        }
        for event in piece.events {
            self.number = event.number;
            if self.wants(&event) {
                self.ready.push(LogLine::Event((*event).clone()));
            }
        }
    }

    fn wants(&self, event: &Arc<LogEvent>) -> bool {
        LEVELS.iter().position(|level| *level == event.level).is_some_and(|level| level <= self.level)
    }

    /// The next lines, once there are some; the end where nobody follows or the server stops.
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        while self.ready.is_empty() {
            self.following.as_ref()?;
            let stopping = self.stopping.clone();
            // Both arms are cancel-safe: nothing is taken while waiting.
            tokio::select! {
                () = stopping.cancelled() => return None,
                () = RECENT.more_than(self.number) => {}
            }
            self.look(limits::LOG_EVENTS_AT_ONCE);
        }
        let mut bytes = Vec::new();
        for line in self.ready.drain(..) {
            serde_json::to_writer(&mut bytes, &line).expect("writing to a Vec never fails");
            bytes.push(b'\n');
        }
        Some((Ok(Bytes::from(bytes)), self))
    }
}
