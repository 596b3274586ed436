//! The network between a simulated device and the server: a proxy on loopback that delays, cuts and goes dark.
//!
//! It works on bytes, not on frames, so that a connection ends wherever real ones end: in the middle of a frame, after
//! the server did its work and before the device heard of it.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use omctl_protocol::pin::{Pin, server_url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::catalog::Link;
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// What a connection is like. The figures are what such networks are said to have on an ordinary day; none is measured here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// One-way delay.
    pub delay_ms: u64,
    /// Most that is added to it at random.
    pub jitter_ms: u64,
    /// Bytes per second, each way; 0: as fast as it goes.
    pub bytes_per_second: u64,
    /// Of 1,000 requests, how many end their connection before the server has them.
    pub lost_requests: u64,
    /// Of 1,000 replies, how many end their connection after the server did its work and before the device hears of it.
    pub lost_replies: u64,
    /// Mean bytes (both ways) until a connection is cut; 0: never.
    pub cut_after_bytes: u64,
    /// What answers in the server's place.
    pub gate: Gate,
}

/// Who is behind a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The server.
    Open,
    /// A page that wants a name and a password, whatever was asked.
    Portal,
    /// Nobody.
    Closed,
}

/// A quiet office.
pub const WIFI: Profile = Profile {
    delay_ms: 2,
    jitter_ms: 2,
    bytes_per_second: 0,
    lost_requests: 0,
    lost_replies: 0,
    cut_after_bytes: 0,
    gate: Gate::Open,
};

/// The network of this name.
pub fn profile(link: Link) -> Profile {
    match link {
        Link::Wifi => WIFI,
        Link::FourG => Profile { delay_ms: 25, jitter_ms: 15, bytes_per_second: 1_500_000, ..WIFI },
        Link::ThreeG => Profile { delay_ms: 75, jitter_ms: 50, bytes_per_second: 200_000, ..WIFI },
        Link::Edge => Profile { delay_ms: 200, jitter_ms: 150, bytes_per_second: 25_000, ..WIFI },
        // Up to a geostationary orbit and down again.
        Link::Satellite => Profile { delay_ms: 290, jitter_ms: 30, bytes_per_second: 500_000, ..WIFI },
        Link::Lossy => Profile {
            delay_ms: 40,
            jitter_ms: 80,
            lost_requests: 10,
            lost_replies: 10,
            cut_after_bytes: 200_000,
            ..WIFI
        },
        Link::CaptivePortal => Profile { gate: Gate::Portal, ..WIFI },
        Link::Airplane => Profile { gate: Gate::Closed, ..WIFI },
    }
}

/// Fewer bytes are an acknowledgement or a sign of life, and no request.
const REQUEST_BYTES_MIN: usize = 120;

/// What a captive portal says to everything.
const PORTAL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 51\r\nConnection: close\r\n\r\n\
    <html><body>Welcome! Please sign in.</body></html>\n";

/// Chunks that are under way: more wait at the sender.
const UNDER_WAY: usize = 256;

/// One device's network.
#[derive(Debug)]
pub struct Network {
    addr: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    target: std::sync::Mutex<SocketAddr>,
    profile: std::sync::Mutex<Profile>,
    dark: AtomicBool,
    /// Told when it goes dark, or behind another gate: open connections end then.
    goes_dark: Notify,
    cuts: AtomicU64,
    lost_requests: AtomicU64,
    lost_replies: AtomicU64,
    entropy: Entropy,
    /// Where each connection's bytes to the device are kept: a file for each, beginning with this name.
    capture: Option<PathBuf>,
    carried: AtomicU64,
}

impl Network {
    /// Listens on a free port of loopback and passes connections on to `target`. What comes to the device is also kept, in
    /// files `CAPTURE.1`, `CAPTURE.2`, … of each connection, byte for byte.
    ///
    /// # Errors
    /// Those of listening.
    pub async fn start(
        target: SocketAddr,
        profile: Profile,
        entropy: Entropy,
        capture: Option<PathBuf>,
        tasks: &Tasks,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let line = Arc::new(Line {
            target: std::sync::Mutex::new(target),
            profile: std::sync::Mutex::new(profile),
            dark: AtomicBool::new(false),
            goes_dark: Notify::new(),
            cuts: AtomicU64::new(0),
            lost_requests: AtomicU64::new(0),
            lost_replies: AtomicU64::new(0),
            entropy,
            capture,
            carried: AtomicU64::new(0),
        });
        let (accepting, inner) = (line.clone(), tasks.clone());
        tasks.start("network", async move {
            while let Ok((near, _)) = listener.accept().await {
                let line = accepting.clone();
                inner.start("connection", async move { line.carry(near).await });
            }
        });
        Ok(Self { addr, line })
    }

    /// What the device connects to, for a server with this pin: bytes pass as they are, so TLS ends at the server.
    pub fn url(&self, pin: Option<&Pin>) -> String {
        server_url(self.addr, pin)
    }

    /// Switches the network off or on. What is open ends without a goodbye.
    pub fn set_dark(&self, dark: bool) {
        self.line.dark.store(dark, Ordering::SeqCst);
        if dark {
            self.line.goes_dark.notify_waiters();
        }
    }

    /// Leads new connections to a server elsewhere.
    pub fn aim(&self, target: SocketAddr) {
        *self.line.target.lock().expect("nobody panics while naming the server") = target;
    }

    /// Makes it another kind of network. Open connections live on, unless another gate stands there now.
    pub fn become_like(&self, profile: Profile) {
        let before = std::mem::replace(&mut *self.line.profile.lock().expect("nobody panics while choosing"), profile);
        if before.gate != profile.gate {
            self.line.goes_dark.notify_waiters();
        }
    }

    /// Whether bytes reach the server.
    pub fn is_open(&self) -> bool {
        !self.line.dark.load(Ordering::SeqCst) && self.line.profile().gate == Gate::Open
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.line.cuts.load(Ordering::Relaxed)
    }

    /// Requests that never reached the server, and replies that never reached the device.
    pub fn losses(&self) -> (u64, u64) {
        (self.line.lost_requests.load(Ordering::Relaxed), self.line.lost_replies.load(Ordering::Relaxed))
    }
}

/// What the two directions of one connection know of each other.
struct Shared {
    /// Bytes that may still pass.
    budget: AtomicU64,
    /// The server has a request that nothing came back for.
    asked: AtomicBool,
}

/// How a direction of a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender has said everything.
    Closed,
    /// One of both is gone.
    Broken,
    /// The network ended it.
    Cut,
}

impl Line {
    fn profile(&self) -> Profile {
        *self.profile.lock().expect("nobody panics while choosing")
    }

    async fn carry(self: Arc<Self>, mut near: TcpStream) {
        let goes_dark = self.goes_dark.notified();
        let profile = self.profile();
        if self.dark.load(Ordering::SeqCst) || profile.gate == Gate::Closed {
            return;
        }
        if profile.gate == Gate::Portal {
            let mut asked = [0; 1024];
            // It answers as soon as something was asked; whoever speaks TLS cannot even read it.
            let answered = async {
                if near.read(&mut asked).await? == 0 {
                    return Ok(());
                }
                near.write_all(PORTAL).await?;
                near.shutdown().await
            };
            if let Err(error) = answered.await {
                tracing::debug!(%error, "nobody waited for the portal's page");
            }
            return;
        }
        let target = *self.target.lock().expect("nobody panics while naming the server");
        let Ok(far) = TcpStream::connect(target).await else { return };
        // The proxy's own waiting for more bytes would be a delay that nobody asked for.
        if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
            return;
        }
        let budget = match profile.cut_after_bytes {
            0 => u64::MAX,
            mean => self.entropy.u64() % (2 * mean) + 1,
        };
        let shared = Shared { budget: AtomicU64::new(budget), asked: AtomicBool::new(false) };
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        let both = async {
            let (up, down) = (
                self.pump(near_in, far_out, &shared, Way::Up),
                self.pump(far_in, near_out, &shared, Way::Down(self.tee())),
            );
            tokio::pin!(down);
            tokio::select! {
                // Who has said everything may still listen.
                ended = up => if ended == End::Closed { down.await } else { ended },
                ended = &mut down => ended,
            }
        };
        // Dropping the halves ends both sides, wherever they are.
        let ended = tokio::select! {
            ended = both => ended,
            () = goes_dark => End::Cut,
        };
        if ended == End::Cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The file for the next connection.
    fn tee(&self) -> Option<File> {
        let number = self.carried.fetch_add(1, Ordering::Relaxed) + 1;
        let mut path = self.capture.clone()?.into_os_string();
        path.push(format!(".{number}"));
        File::create(path).inspect_err(|error| tracing::error!(%error, "nothing is captured")).ok()
    }

    /// Carries bytes one way. What was sent earlier arrives earlier; how much is under way at once does not slow it down.
    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, mut way: Way) -> End {
        let (send, mut under_way) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
        let is_up = matches!(way, Way::Up);
        let leave = async {
            let mut buffer = vec![0; 16 << 10];
            let (mut line_free, mut last_arrival) = (Instant::now(), Instant::now());
            loop {
                let count = match from.read(&mut buffer).await {
                    Ok(0) => return End::Closed,
                    Err(_) => return End::Broken,
                    Ok(count) => count,
                };
                let profile = self.profile();
                if is_up && count >= REQUEST_BYTES_MIN && self.happens(profile.lost_requests) {
                    self.lost_requests.fetch_add(1, Ordering::Relaxed);
                    return End::Cut;
                }
                let on_the_line = match profile.bytes_per_second {
                    0 => Duration::ZERO,
                    speed => Duration::from_secs_f64(count as f64 / speed as f64),
                };
                line_free = line_free.max(Instant::now()) + on_the_line;
                let jitter = self.entropy.u64().checked_rem(profile.jitter_ms).unwrap_or(0);
                last_arrival = last_arrival.max(line_free + Duration::from_millis(profile.delay_ms + jitter));
                if send.send((last_arrival, buffer[..count].to_vec())).await.is_err() {
                    return End::Broken;
                }
            }
        };
        let arrive = async {
            while let Some((at, bytes)) = under_way.recv().await {
                tokio::time::sleep_until(at).await;
                if is_up {
                    if bytes.len() >= REQUEST_BYTES_MIN {
                        shared.asked.store(true, Ordering::Relaxed);
                    }
                } else if shared.asked.swap(false, Ordering::Relaxed) && self.happens(self.profile().lost_replies) {
                    self.lost_replies.fetch_add(1, Ordering::Relaxed);
                    return End::Cut;
                }
                let left = shared.budget.load(Ordering::Relaxed);
                let passed = (bytes.len() as u64).min(left) as usize;
                // Before it is passed on: what a device may have seen is in the file. A write to a file's cache is short.
                if let Way::Down(Some(file)) = &mut way
                    && let Err(error) = file.write_all(&bytes[..passed])
                {
                    tracing::error!(%error, "the capture is incomplete");
                }
                if to.write_all(&bytes[..passed]).await.is_err() {
                    return End::Broken;
                }
                shared.budget.store(left - passed as u64, Ordering::Relaxed);
                if passed < bytes.len() {
                    return End::Cut;
                }
            }
            End::Closed
        };
        tokio::pin!(arrive);
        tokio::select! {
            ended = leave => if ended != End::Closed { return ended },
            ended = &mut arrive => return ended,
        }
        // What was sent before the end still arrives.
        drop(send);
        arrive.await
    }

    /// Whether what happens to so many of 1,000 happens now.
    fn happens(&self, of_1000: u64) -> bool {
        of_1000 > 0 && self.entropy.u64() % 1_000 < of_1000
    }
}

/// A direction.
enum Way {
    /// To the server.
    Up,
    /// To the device; what comes is kept in this file.
    Down(Option<File>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dark_network_ends_what_is_open_and_a_budget_cuts() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let tasks = Tasks::new();
        let folder = tempfile::tempdir().unwrap();
        let capture = folder.path().join("device");
        let profile = Profile { delay_ms: 0, jitter_ms: 0, cut_after_bytes: 1000, ..WIFI };
        let network = Network::start(target, profile, Entropy::seeded(1), Some(capture.clone()), &tasks).await.unwrap();
        let mut near = TcpStream::connect(network.url(None).trim_start_matches("http://")).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        near.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        far.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"ping");
        far.write_all(b"pong").await.unwrap();
        near.read_exact(&mut buffer).await.unwrap();
        assert_eq!(std::fs::read(folder.path().join("device.1")).unwrap(), b"pong");
        network.set_dark(true);
        assert_eq!(near.read(&mut buffer).await.unwrap_or(0), 0);
        network.set_dark(false);
        let mut near = TcpStream::connect(network.url(None).trim_start_matches("http://")).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        let mut received = Vec::new();
        // The cut may surface as a refused write: what matters is what came through.
        drop(near.write_all(&[7; 4000]).await);
        drop(far.read_to_end(&mut received).await);
        assert!(received.len() <= 2000);
        assert_eq!(network.cuts(), 2);
        tasks.stop(Duration::from_secs(1)).await;
    }

    /// A network over a server that answers each request with as many bytes.
    async fn over_an_echo(profile: Profile, tasks: &Tasks) -> (Network, Arc<AtomicU64>) {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = server.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let (counted, inner) = (served.clone(), tasks.clone());
        tasks.start("echo", async move {
            while let Ok((mut one, _)) = server.accept().await {
                let counted = counted.clone();
                inner.start("echo", async move {
                    let mut buffer = [0; 1024];
                    while let Ok(count @ 1..) = one.read(&mut buffer).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        if one.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let network = Network::start(target, profile, Entropy::seeded(1), None, tasks).await.unwrap();
        (network, served)
    }

    async fn ask(network: &Network) -> Vec<u8> {
        let mut near = TcpStream::connect(network.url(None).trim_start_matches("http://")).await.unwrap();
        near.write_all(&[7; 500]).await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = Vec::new();
        drop(near.read_to_end(&mut answer).await);
        answer
    }

    #[tokio::test]
    async fn a_lost_reply_was_served_and_a_lost_request_was_not() {
        let tasks = Tasks::new();
        let (network, served) = over_an_echo(Profile { lost_replies: 1_000, ..WIFI }, &tasks).await;
        assert_eq!((ask(&network).await.len(), served.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(network.losses(), (0, 1));
        network.become_like(Profile { lost_requests: 1_000, ..WIFI });
        assert_eq!((ask(&network).await.len(), served.load(Ordering::SeqCst)), (0, 1));
        assert_eq!(network.losses(), (1, 1));
        network.become_like(WIFI);
        assert_eq!((ask(&network).await, served.load(Ordering::SeqCst)), (vec![7; 500], 2));
        tasks.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn a_portal_answers_in_the_servers_place_and_an_airplane_not_at_all() {
        let tasks = Tasks::new();
        let (network, served) = over_an_echo(profile(Link::CaptivePortal), &tasks).await;
        let page = String::from_utf8(ask(&network).await).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{page}");
        network.become_like(profile(Link::Airplane));
        assert!(!network.is_open() && ask(&network).await.is_empty());
        assert_eq!(served.load(Ordering::SeqCst), 0);
        tasks.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn a_slow_line_takes_its_time_and_a_far_one_carries_much_at_once() {
        let tasks = Tasks::new();
        // 500 bytes at 2,000 a second: a quarter of a second, there and back again.
        let (network, _) =
            over_an_echo(Profile { bytes_per_second: 2_000, delay_ms: 0, jitter_ms: 0, ..WIFI }, &tasks).await;
        let began = Instant::now();
        assert_eq!(ask(&network).await.len(), 500);
        assert!(began.elapsed() >= Duration::from_millis(480));
        tasks.stop(Duration::from_secs(1)).await;
    }
}
