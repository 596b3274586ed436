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

use crate::clock::Entropy;
use crate::tasks::Tasks;

/// What a connection is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// One-way delay.
    pub delay_ms: u64,
    /// Added to it at random.
    pub jitter_ms: u64,
    /// Mean bytes (both ways) until a connection is cut; 0: never.
    pub cut_after_bytes: u64,
}

/// A quiet office.
pub const WIFI: Profile = Profile { delay_ms: 2, jitter_ms: 2, cut_after_bytes: 0 };

/// A train: slow, uneven, and connections that end without a word.
pub const LOSSY: Profile = Profile { delay_ms: 40, jitter_ms: 80, cut_after_bytes: 200_000 };

/// One device's network.
#[derive(Debug)]
pub struct Network {
    addr: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    target: std::sync::Mutex<SocketAddr>,
    profile: Profile,
    dark: AtomicBool,
    /// Told when it goes dark: open connections end then.
    goes_dark: Notify,
    cuts: AtomicU64,
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
            profile,
            dark: AtomicBool::new(false),
            goes_dark: Notify::new(),
            cuts: AtomicU64::new(0),
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

    /// How many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.line.cuts.load(Ordering::Relaxed)
    }
}

impl Line {
    async fn carry(self: Arc<Self>, near: TcpStream) {
        let goes_dark = self.goes_dark.notified();
        if self.dark.load(Ordering::SeqCst) {
            return;
        }
        let target = *self.target.lock().expect("nobody panics while naming the server");
        let Ok(far) = TcpStream::connect(target).await else { return };
        // The proxy's own waiting for more bytes would be a delay that nobody asked for.
        if near.set_nodelay(true).is_err() || far.set_nodelay(true).is_err() {
            return;
        }
        let budget = match self.profile.cut_after_bytes {
            0 => None,
            mean => Some(self.entropy.u64() % (2 * mean) + 1),
        };
        let budget = Arc::new(AtomicU64::new(budget.unwrap_or(u64::MAX)));
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        // Dropping the halves ends both sides, wherever they are.
        let cut = tokio::select! {
            cut = self.pump(near_in, far_out, budget.clone(), None) => cut,
            cut = self.pump(far_in, near_out, budget, self.tee()) => cut,
            () = goes_dark => true,
        };
        if cut {
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

    /// Carries bytes one way until an end is reached (`false`) or the budget is used up (`true`).
    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        budget: Arc<AtomicU64>,
        mut tee: Option<File>,
    ) -> bool {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(count) => count,
            };
            let jitter = self.entropy.u64().checked_rem(self.profile.jitter_ms).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(self.profile.delay_ms + jitter)).await;
            let left = budget.load(Ordering::Relaxed);
            let passed = (count as u64).min(left) as usize;
            // Before it is passed on: what a device may have seen is in the file. A write to a file's cache is short.
            if let Some(file) = &mut tee
                && let Err(error) = file.write_all(&buffer[..passed])
            {
                tracing::error!(%error, "the capture is incomplete");
            }
            if to.write_all(&buffer[..passed]).await.is_err() {
                return false;
            }
            budget.store(left - passed as u64, Ordering::Relaxed);
            if passed < count {
                return true;
            }
        }
    }
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
        let profile = Profile { delay_ms: 0, jitter_ms: 0, cut_after_bytes: 1000 };
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
}
