//! `GET /v1/live` and `POST /v1/sync`: a device's session over a socket, and the same frames in one exchange.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use omctl_protocol::api::{PROOF_HEADER, Purpose};
use omctl_protocol::frame::{Challenge, ErrorFrame, Hello, Proof, parse_frame, parse_frames};
use omctl_protocol::{Down, Up};

use super::drive::{self, Ended, Outgoing, Transport};
use super::{ApiError, AppState, bearer};
use crate::identity::{Actor, Principal};
use crate::limits;
use crate::push;
use crate::sync::SessionEnd;

/// Close codes of our own (RFC 6455 leaves 4000 to 4999 to applications).
const CLOSE_FENCED: u16 = 4409;
const CLOSE_REFUSED: u16 = 4400;
const CLOSE_OUT: u16 = 4403;

/// As [`limits::CLOSE_WITHIN`], while everybody waits for the server to end.
const CLOSE_WITHIN_AT_STOP: Duration = Duration::from_secs(1);

/// A silent socket is asked for a sign of life this often, and given up after the second time without one.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Upgrades to a session.
pub(super) async fn live(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let who = device(actor)?;
    let token = bearer(&headers).unwrap_or_default().to_owned();
    // Buffers are small, because there may be ten thousand idle sockets; a frame is at most a body.
    let upgrade = upgrade
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_message_size(limits::BODY_BYTES_MAX)
        .max_frame_size(limits::BODY_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let stopping = state.tasks.token().clone();
        let mut transport = Socket { socket, zstd: false, ping: ping(), silent: 0, close: None };
        let ended = stopping.run_until_cancelled(session(&state, &who, &token, &mut transport)).await;
        let (code, reason) = match ended {
            None => (close_code::AWAY, "the server is stopping"),
            Some(Ended::Gone) => match transport.close {
                Some((code, reason)) => (code, reason),
                None => return,
            },
            Some(Ended::Stalled) => (close_code::AGAIN, "the device does not read"),
            Some(Ended::Session(SessionEnd::Fenced)) => (CLOSE_FENCED, "fenced"),
            Some(Ended::Session(SessionEnd::Out)) => (CLOSE_OUT, "no access"),
            Some(Ended::Session(SessionEnd::Parted)) => (close_code::AGAIN, "say hello again"),
            Some(Ended::Session(_)) => (CLOSE_REFUSED, "refused"),
        };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // A device that is gone already does not hear it.
        let within = if stopping.is_cancelled() { CLOSE_WITHIN_AT_STOP } else { limits::CLOSE_WITHIN };
        drop(tokio::time::timeout(within, transport.socket.send(close)).await);
    }))
}

async fn session(state: &AppState, who: &Principal, token: &str, transport: &mut Socket) -> Ended {
    let nonce = state.identity.nonce();
    let challenge = Down::Challenge(Challenge { nonce: nonce.clone() });
    if !transport.send(vec![line(&challenge)]).await {
        return Ended::Gone;
    }
    let hello = match tokio::time::timeout(limits::HELLO_WITHIN, transport.receive()).await {
        Ok(Some(Up::Hello(hello))) => *hello,
        Ok(Some(_)) => return refuse(transport, "hello_expected", "the first frame is hello").await,
        Ok(None) => return Ended::Gone,
        Err(_) => return refuse(transport, "hello_timeout", "no hello came within 10 s").await,
    };
    if !proves(state, who, token, Purpose::Live, &hello, Some(&nonce)) {
        return refuse(transport, "invalid_proof", "the proof in hello is missing or not valid").await;
    }
    transport.zstd = hello.zstd;
    match drive::drive(&state.sync, &state.push, who, hello, transport).await {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, device = %who.device_id, "a session failed");
            refuse(transport, "unavailable", "the server cannot go on with this session; try again later").await
        }
    }
}

fn proves(
    state: &AppState,
    who: &Principal,
    token: &str,
    purpose: Purpose,
    hello: &Hello,
    nonce: Option<&str>,
) -> bool {
    let Some(proof) = &hello.proof else { return false };
    nonce.is_none_or(|nonce| nonce == proof.nonce) && state.identity.verify_proof(purpose, who, token, proof).is_ok()
}

async fn refuse(transport: &mut Socket, code: &str, message: &str) -> Ended {
    let frame = ErrorFrame { code: code.into(), message: message.into(), hint: None, expected: None, fatal: true };
    transport.send(vec![line(&Down::Error(frame))]).await;
    Ended::Session(SessionEnd::Refused)
}

fn line(frame: &Down) -> Outgoing {
    Outgoing::Line(Bytes::from(frame.to_line()))
}

fn device(actor: Actor) -> Result<Principal, ApiError> {
    match actor {
        Actor::Device(principal) => Ok((*principal).clone()),
        _ => Err(crate::identity::IdentityError::Forbidden.into()),
    }
}

fn ping() -> tokio::time::Interval {
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping
}

/// A device's socket.
struct Socket {
    socket: WebSocket,
    zstd: bool,
    ping: tokio::time::Interval,
    /// Pings since the last sign of life.
    silent: u32,
    /// How to close, where the transport itself found a reason.
    close: Option<(u16, &'static str)>,
}

impl Transport for Socket {
    fn receive(&mut self) -> BoxFuture<'_, Option<Up>> {
        Box::pin(async move {
            loop {
                // Both arms are cancel-safe: reading takes a whole message or nothing, a tick is not lost.
                let message = tokio::select! {
                    message = self.socket.recv() => message,
                    _ = self.ping.tick() => {
                        self.silent += 1;
                        if self.silent > 2 {
                            return None;
                        }
                        self.socket.send(Message::Ping(Bytes::new())).await.ok()?;
                        continue;
                    }
                };
                self.silent = 0;
                let text = match message?.ok()? {
                    Message::Text(text) => text.as_str().to_owned(),
                    Message::Binary(packed) => match unpack(&packed) {
                        Some(text) => text,
                        None => {
                            self.close = Some((close_code::INVALID, "a binary message is one line, packed by zstd"));
                            return None;
                        }
                    },
                    Message::Close(_) => return None,
                    Message::Ping(_) | Message::Pong(_) => continue,
                };
                match parse_frame::<Up>(text.trim_end()) {
                    Ok(frame) => return Some(frame),
                    Err(error) => {
                        let frame = ErrorFrame {
                            code: error.code().into(),
                            message: error.to_string(),
                            hint: None,
                            expected: None,
                            fatal: true,
                        };
                        self.close = Some((CLOSE_REFUSED, "not a frame"));
                        self.send(vec![line(&Down::Error(frame))]).await;
                        return None;
                    }
                }
            }
        })
    }

    fn send(&mut self, messages: Vec<Outgoing>) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            for message in messages {
                let packed = match &message {
                    Outgoing::Shared(frame) if self.zstd => frame.compressed(),
                    Outgoing::Line(line) if self.zstd => push::compress(line),
                    _ => None,
                };
                let message = match (packed, message) {
                    (Some(packed), _) => Message::Binary(packed),
                    (None, Outgoing::Line(line)) => text(line),
                    (None, Outgoing::Shared(frame)) => text(frame.plain.clone()),
                };
                // Each message has its own time: a slow device that reads is not one that does not.
                match tokio::time::timeout(limits::SESSION_STALL, self.socket.send(message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return false,
                    Err(_) => {
                        self.close = Some((close_code::AGAIN, "the device does not read"));
                        return false;
                    }
                }
            }
            true
        })
    }
}

fn text(line: Bytes) -> Message {
    match axum::extract::ws::Utf8Bytes::try_from(line) {
        Ok(text) => Message::Text(text),
        // What we encode is JSON, hence UTF-8.
        Err(_) => Message::Close(None),
    }
}

/// One compressed line, at most as long as a body after unpacking.
fn unpack(packed: &[u8]) -> Option<String> {
    String::from_utf8(zstd::bulk::decompress(packed, limits::BODY_BYTES_MAX).ok()?).ok()
}

/// Answers a whole session's frames at once.
pub(super) async fn sync(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let who = device(actor)?;
    let headers = request.headers().clone();
    let body = super::json::read_body(request, limits::BODY_BYTES_MAX).await?;
    let token = bearer(&headers).unwrap_or_default();
    let header = headers.get(PROOF_HEADER).and_then(|value| value.to_str().ok());
    let Some((nonce, signature)) = header.and_then(|value| value.rsplit_once('.')) else {
        return Err(crate::identity::IdentityError::NonceRequired { nonce: state.identity.nonce() }.into());
    };
    let proof = Proof { nonce: nonce.to_owned(), signature: signature.to_owned() };
    if state.identity.verify_proof(Purpose::Sync, &who, token, &proof).is_err() {
        return Err(crate::identity::IdentityError::NonceRequired { nonce: state.identity.nonce() }.into());
    }
    let text = std::str::from_utf8(&body)
        .map_err(|_| ApiError::new(axum::http::StatusCode::BAD_REQUEST, "invalid_utf8", "the body is not UTF-8"))?;
    let frames: Vec<Up> = parse_frames(text)
        .map_err(|error| ApiError::new(axum::http::StatusCode::BAD_REQUEST, error.code(), error.to_string()))?;
    let mut frames = frames.into_iter();
    let Some(Up::Hello(hello)) = frames.next() else {
        let status = axum::http::StatusCode::BAD_REQUEST;
        return Err(ApiError::new(status, "hello_expected", "the first line is hello"));
    };
    let lines = drive::exchange(&state.sync, &state.push, &who, *hello, frames.collect()).await?;
    let mut answer = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        answer.extend_from_slice(&line);
        answer.push(b'\n');
    }
    Ok(encoded(&headers, answer))
}

/// The answer, compressed where the device reads zstd.
fn encoded(headers: &HeaderMap, answer: Vec<u8>) -> Response {
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let ndjson = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let zstd = accepts.split(',').any(|word| word.split(';').next().is_some_and(|word| word.trim() == "zstd"));
    if zstd
        && answer.len() >= limits::COMPRESS_FROM_BYTES
        && let Ok(packed) = zstd::bulk::compress(&answer, 1)
    {
        let encoding = (header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
        return ([ndjson, encoding], packed).into_response();
    }
    ([ndjson], answer).into_response()
}

impl From<crate::sync::SyncError> for ApiError {
    fn from(error: crate::sync::SyncError) -> Self {
        use crate::sync::SyncError;
        match error {
            SyncError::Store(error) => crate::identity::IdentityError::Store(error).into(),
            SyncError::Identity(error) => error.into(),
            error => {
                tracing::error!(%error, "sync failed");
                let status = axum::http::StatusCode::SERVICE_UNAVAILABLE;
                ApiError::new(status, "unavailable", "the server cannot do this now; try again later")
            }
        }
    }
}
