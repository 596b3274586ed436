//! The background link: a WebSocket that is made again whenever it breaks, and single requests on demand.
//!
//! Everything runs on one thread of its own; frames go to the engine's thread and are waited for, so that a fast server
//! cannot fill this device's memory.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use omctl_protocol::api::Purpose;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::access::{self, Access};
use super::{Ask, CONNECT_TIMEOUT, Stream};
use crate::engine::LONGEST_WAIT_MS;
use crate::mobster::keys::KeyStore;
use crate::mobster::owner::Desk;
use crate::mobster::{MobsterError, Result, SYNC_TIMEOUT};
use crate::{Action, Event, Greeting, Heard};

/// How often a quiet connection is asked whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(25);

/// A connection that was silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(70);

/// How a server closes a connection for a newer session of the same device (`docs/protocol.md`, section 4).
const CLOSE_FENCED: u16 = 4409;

/// How often other processes' writes are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often, once nobody wrote for so many looks: a device that lies about unused wakes up less.
const LOOK_RARELY: Duration = Duration::from_secs(2);
const QUIET_LOOKS: u32 = 40;

/// While the log file looks untouched, only one look of so many asks the store's own thread: a file system's clock may be
/// too coarse to tell two writes apart.
const LOOKS_SPARED: u32 = 9;

/// The largest message that is taken, compressed or not.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Requests of one `sync_now` before it gives up on a server that never has enough.
const REQUESTS_MAX: u32 = 10_000;

type Socket = WebSocketStream<Stream>;

/// What the link's thread has.
pub(crate) struct Link {
    pub(crate) desk: Desk,
    /// The store's log file: whoever writes to the store writes to it.
    pub(crate) log_file: PathBuf,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) actions: mpsc::UnboundedReceiver<Action>,
    /// Changes when somebody wants a connection now.
    pub(crate) wake: watch::Receiver<u64>,
    /// Its other end is gone, or it is true, when the app closed.
    pub(crate) stop: watch::Receiver<bool>,
    /// Whether the app allows a connection at the moment.
    pub(crate) allowed: watch::Receiver<bool>,
    /// Why there is no connection.
    pub(crate) problem: watch::Sender<Option<String>>,
    /// Whether to keep a connection at all.
    pub(crate) online: bool,
}

/// What changes when a file is written to; `None`: it cannot be told.
fn stamp(file: &Path) -> Option<(u64, SystemTime)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.len(), about.modified().ok()?))
}

impl Link {
    /// Runs until the app closes.
    pub(crate) async fn run(mut self) {
        let mut stop = self.stop.clone();
        let (desk, log_file) = (self.desk.clone(), self.log_file.clone());
        let look = async move {
            let (mut before, mut quiet) = (None, 0_u32);
            loop {
                tokio::time::sleep(if quiet < QUIET_LOOKS { LOOK_EVERY } else { LOOK_RARELY }).await;
                // Before the store is asked: what is written meanwhile is seen the next time.
                let now = stamp(&log_file);
                quiet = if now.is_some() && now == before { quiet.saturating_add(1) } else { 0 };
                before = now;
                if !quiet.is_multiple_of(LOOKS_SPARED + 1) {
                    continue;
                }
                if let Err(error) = desk.ask(|owner| owner.look_around()).await {
                    tracing::warn!(%error, "looking for other processes' writes failed");
                }
            }
        };
        let online = async {
            if self.online {
                self.stay_connected().await;
            } else {
                // Nobody sends; the queue must not grow.
                while self.actions.recv().await.is_some() {}
            }
        };
        // Each arm may be dropped anywhere: what matters is in the file.
        tokio::select! {
            () = look => {}
            () = online => {}
            _ = stop.wait_for(|stopped| *stopped) => {}
        }
    }

    async fn stay_connected(&mut self) {
        let mut allowed = self.allowed.clone();
        loop {
            if allowed.wait_for(|allowed| *allowed).await.is_err() {
                return;
            }
            let mut forbidden = allowed.clone();
            // A connection that is dropped in the middle is what the engine is made for.
            let ended = tokio::select! {
                ended = self.one_connection() => ended,
                _ = forbidden.wait_for(|allowed| !*allowed) => Ok(()),
            };
            match ended {
                Ok(()) => tracing::debug!("the connection ended"),
                Err(MobsterError::Closed) => return,
                Err(MobsterError::NotActivated) => {
                    // There is nothing to connect to until `activate` wakes us.
                    if self.wake.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(error) if error.is_dead_end() => {
                    tracing::warn!(%error, "the server takes this device no longer");
                    if let Err(error) = self.desk.ask(|owner| owner.handle(Event::Refused)).await {
                        tracing::warn!(%error, "keeping what was received failed");
                    }
                    self.problem.send_replace(Some(error.to_string()));
                    // Trying again is of no use until the app activates again, or asks for a try itself.
                    if self.wake.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    tracing::info!(%error, "no connection");
                    self.problem.send_replace(Some(error.to_string()));
                }
            }
            let fenced = self.desk.ask(|owner| {
                owner.handle(Event::Disconnected)?;
                Ok(owner.engine_mut()?.is_fenced())
            });
            match fenced.await {
                Ok(true) => {
                    self.problem.send_replace(Some(MobsterError::Fenced.to_string()));
                    // Who asked for a connection while there was one got it.
                    self.wake.borrow_and_update();
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "keeping what was received failed"),
            }
            if !self.wait().await {
                return;
            }
        }
    }

    /// Waits until a connection shall be made: for as long as the engine says, or until somebody wants one now. `false`:
    /// the app closed.
    async fn wait(&mut self) -> bool {
        let mut wait_ms = 1_000;
        while let Ok(action) = self.actions.try_recv() {
            match action {
                // The clock may have been set back by hours since the engine looked at it.
                Action::WakeAt(at) => wait_ms = at.saturating_sub(self.desk.now_ms()).min(LONGEST_WAIT_MS),
                Action::Connect => return true,
                _ => {}
            }
        }
        let wait = tokio::time::sleep(Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)));
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return true,
                changed = self.wake.changed() => return changed.is_ok(),
                action = self.actions.recv() => match action {
                    Some(Action::Connect) => return true,
                    Some(_) => {}
                    None => return false,
                },
            }
        }
    }

    async fn one_connection(&mut self) -> Result<()> {
        self.wake.borrow_and_update();
        let mut access = access::access(&self.desk, &self.keys, false).await?;
        let socket = match open(&access).await {
            Err(MobsterError::Refused { status: 401, .. }) => {
                access = access::access(&self.desk, &self.keys, true).await?;
                open(&access).await?
            }
            other => other?,
        };
        self.problem.send_replace(None);
        while self.actions.try_recv().is_ok() {}
        let prover = access.clone();
        self.desk
            .ask(move |owner| {
                let prove = Box::new(move |nonce: &str| prover.prove(Purpose::Live, nonce));
                owner.handle(Event::Connected(Greeting::Challenge(prove)))
            })
            .await?;
        let (mut sink, mut stream) = socket.split();
        self.talk(&mut sink, &mut stream).await
    }

    async fn talk(&mut self, sink: &mut SplitSink<Socket, Message>, stream: &mut SplitStream<Socket>) -> Result<()> {
        let lost = |error: WsError| MobsterError::Unreachable { server: "server".into(), why: error.to_string() };
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut heard = Instant::now();
        loop {
            // Cancel-safe, all of them: next, recv and tick keep their state outside.
            tokio::select! {
                message = stream.next() => {
                    heard = Instant::now();
                    let text = match message.transpose().map_err(lost)? {
                        Some(Message::Close(Some(frame))) if u16::from(frame.code) == CLOSE_FENCED => {
                            return self.desk.ask(|owner| owner.handle(Event::Fenced)).await;
                        }
                        None | Some(Message::Close(_)) => return Ok(()),
                        Some(Message::Text(text)) => text.as_str().to_owned(),
                        Some(Message::Binary(bytes)) => decompress(&bytes)?,
                        Some(_) => {
                            self.desk.ask(|owner| owner.handle(Event::Alive)).await?;
                            continue;
                        }
                    };
                    self.desk.ask(move |owner| {
                        for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
                            owner.handle(Event::Frame(line))?;
                        }
                        Ok(())
                    }).await?;
                }
                action = self.actions.recv() => {
                    let mut next = action;
                    while let Some(action) = next {
                        match action {
                            Action::Send(line) => {
                                #[cfg(feature = "planted")]
                                tokio::time::sleep(crate::planted::holds_back(&line)).await;
                                sink.feed(Message::text(line)).await.map_err(lost)?;
                            }
                            Action::Close => {
                                sink.send(Message::Close(None)).await.map_err(lost)?;
                                return Ok(());
                            }
                            _ => {}
                        }
                        next = self.actions.try_recv().ok();
                    }
                    sink.flush().await.map_err(lost)?;
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Ok(());
                    }
                    sink.send(Message::Ping(bytes::Bytes::new())).await.map_err(lost)?;
                }
            }
        }
    }
}

async fn open(access: &Access) -> Result<Socket> {
    let server = &access.server;
    let mut request = format!("ws://{}/v1/live", server.authority)
        .into_client_request()
        .map_err(|error| server.unreachable(error))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", access.token)).map_err(|e| server.unreachable(e))?;
    request.headers_mut().insert("authorization", bearer);
    let stream = server.connect().await?;
    // The default read buffer of 128 KiB is for servers with few sockets; a phone has little to spare too.
    let config = WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let handshake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await;
    match opened.map_err(|_| server.unreachable("it did not answer in time"))? {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => {
            Err(super::refusal(response.status(), response.body().as_deref().unwrap_or_default()))
        }
        Err(error) => Err(server.unreachable(error)),
    }
}

fn decompress(bytes: &[u8]) -> Result<String> {
    let bad = |why: std::io::Error| MobsterError::Unreachable { server: "server".into(), why: why.to_string() };
    let mut text = String::new();
    let limit = MESSAGE_BYTES_MAX as u64;
    let decoder = zstd::stream::read::Decoder::new(bytes).map_err(bad)?;
    decoder.take(limit + 1).read_to_string(&mut text).map_err(bad)?;
    if text.len() as u64 > limit {
        return Err(bad(std::io::Error::other("a message is larger than 64 MiB")));
    }
    Ok(text)
}

/// Syncs by requests until there is nothing left to say or to hear.
pub(crate) async fn sync_by_requests(desk: &Desk, keys: &Arc<dyn KeyStore>) -> Result<()> {
    let done = exchange(desk, keys).await;
    if done.as_ref().is_err_and(MobsterError::is_dead_end) {
        desk.ask(|owner| owner.handle(Event::Refused)).await?;
    }
    done
}

async fn exchange(desk: &Desk, keys: &Arc<dyn KeyStore>) -> Result<()> {
    let mut access = access::access(desk, keys, false).await?;
    let (mut nonce, mut refused) = (None::<String>, 0);
    let mut patience = Patience::default();
    for _ in 0..REQUESTS_MAX {
        let body = desk
            .ask(|owner| {
                let now_ms = owner.now_ms();
                Ok(owner.engine_mut()?.begin_request(now_ms)?)
            })
            .await?;
        let proof = nonce.take().map(|nonce| {
            let proof = access.prove(Purpose::Sync, &nonce);
            format!("{}.{}", proof.nonce, proof.signature)
        });
        let ask = Ask {
            path: "/v1/sync",
            body: Some(body.into_bytes()),
            content_type: "application/x-ndjson",
            bearer: Some(&access.token),
            proof,
        };
        let heard = access
            .server
            .lines(ask, async |text| {
                desk.ask(move |owner| {
                    for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
                        owner.handle(Event::Frame(line))?;
                    }
                    Ok(())
                })
                .await
            })
            .await;
        let ended = desk.ask(|owner| Ok(owner.engine_mut()?.end_request()?)).await?;
        match (heard, ended) {
            (Ok(()), Heard::All) => return Ok(()),
            (Ok(()), Heard::AllBut { pending }) => {
                refused = 0;
                patience.wait(pending).await?;
            }
            (Ok(()), Heard::Part) => refused = 0,
            (Err(MobsterError::Refused { nonce: Some(given), .. }), _) if refused < 3 => {
                nonce = Some(given);
                refused += 1;
            }
            (Err(MobsterError::Refused { status: 401, .. }), _) if refused < 3 => {
                access = access::access(desk, keys, true).await?;
                refused += 1;
            }
            (Err(error), _) => return Err(error),
        }
    }
    Err(access.server.unreachable("it never has enough"))
}

/// How long receipts are waited for of which none comes.
#[derive(Default)]
struct Patience {
    /// Writes without a receipt, and since when there were as many.
    pending: Option<(u64, tokio::time::Instant)>,
    pause: Duration,
}

impl Patience {
    const FIRST_PAUSE: Duration = Duration::from_millis(50);
    const LONGEST_PAUSE: Duration = Duration::from_secs(2);

    /// Waits a moment before it is asked again, longer each time; not at all after one of them was settled.
    async fn wait(&mut self, pending: u64) -> Result<()> {
        match self.pending {
            Some((before, since)) if before == pending => {
                if since.elapsed() >= SYNC_TIMEOUT {
                    return Err(MobsterError::Unsettled { writes: pending });
                }
                tokio::time::sleep(self.pause).await;
                self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
            }
            _ => (self.pending, self.pause) = (Some((pending, tokio::time::Instant::now())), Self::FIRST_PAUSE),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn receipts_that_do_not_come_are_asked_for_less_and_less_and_not_for_ever() {
        let (mut patience, began) = (Patience::default(), tokio::time::Instant::now());
        let mut asked = 0;
        let ended = loop {
            match patience.wait(3).await {
                Ok(()) => asked += 1,
                Err(error) => break error,
            }
            assert!(asked < 100);
        };
        assert!(matches!(ended, MobsterError::Unsettled { writes: 3 }));
        assert!(began.elapsed() >= SYNC_TIMEOUT && began.elapsed() < SYNC_TIMEOUT + Patience::LONGEST_PAUSE);
        // One receipt, and it is waited for as long again.
        patience.wait(2).await.unwrap();
        let again = tokio::time::Instant::now();
        patience.wait(2).await.unwrap();
        assert_eq!(again.elapsed(), Patience::FIRST_PAUSE);
    }
}
