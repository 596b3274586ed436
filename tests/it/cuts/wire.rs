//! The wire between a device and the server: bytes go through and are counted, until one direction has had its last.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// For how long the other direction goes on where one alone is cut.
const A_MOMENT: Duration = Duration::from_millis(4);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Up,
    Down,
}

/// Where a session ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) way: Way,
    /// So many bytes of this direction arrive.
    pub(super) after: u64,
    /// The other direction goes on for a moment.
    pub(super) is_half: bool,
}

/// A wire of one device.
pub(super) struct Wire {
    pub(super) addr: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    session: Mutex<Session>,
    /// Sessions that were cut.
    cuts: watch::Sender<u64>,
    /// Connections that were made.
    connections: watch::Sender<u64>,
}

/// What has passed of the session at hand, and where it shall end.
#[derive(Default)]
struct Session {
    cut: Option<Cut>,
    passed: [u64; 2],
}

impl Wire {
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            session: Mutex::default(),
            cuts: watch::Sender::new(0),
            connections: watch::Sender::new(0),
        });
        let mut tasks = JoinSet::new();
        let shared = state.clone();
        tasks.spawn(async move {
            let mut running = JoinSet::new();
            loop {
                let (device, _) = listener.accept().await.unwrap();
                shared.connections.send_modify(|count| *count += 1);
                while running.try_join_next().is_some() {}
                running.spawn(connection(shared.clone(), device, server));
            }
        });
        Self { addr, state, _tasks: tasks }
    }

    /// A new session begins, to be cut. Returns what tells that it was, and what counts connections.
    pub(super) fn begin(&self, cut: Cut) -> (watch::Receiver<u64>, watch::Receiver<u64>) {
        *self.state.session.lock().unwrap() = Session { cut: Some(cut), passed: [0, 0] };
        (self.state.cuts.subscribe(), self.state.connections.subscribe())
    }

    /// The bytes of a direction that have passed in this session. It is not cut any more.
    pub(super) fn end(&self, way: Way) -> u64 {
        let mut session = self.state.session.lock().unwrap();
        session.cut = None;
        session.passed[way as usize]
    }
}

async fn connection(state: Arc<State>, mut device: TcpStream, server: SocketAddr) {
    let mut server = TcpStream::connect(server).await.unwrap();
    device.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_device, to_device) = device.split();
    let (from_server, to_server) = server.split();
    // Where one ends, both do: dropping them closes the connections.
    tokio::select! {
        () = state.pump(Way::Up, from_device, to_server) => {}
        () = state.pump(Way::Down, from_server, to_device) => {}
    }
}

impl State {
    async fn pump(&self, way: Way, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(bytes @ 1..) = from.read(&mut buffer).await else { return };
            let (passing, cut) = self.passes(way, bytes);
            // Whoever is gone does not read; the other one is told by the end of this connection.
            if to.write_all(&buffer[..passing]).await.is_err() && cut.is_none() {
                return;
            }
            if let Some(cut) = cut {
                if cut.is_half {
                    tokio::time::sleep(A_MOMENT).await;
                }
                self.cuts.send_modify(|count| *count += 1);
                return;
            }
        }
    }

    /// How many of these bytes pass, and whether they are the last.
    fn passes(&self, way: Way, bytes: usize) -> (usize, Option<Cut>) {
        let mut session = self.session.lock().unwrap();
        let before = session.passed[way as usize];
        session.passed[way as usize] += bytes as u64;
        match session.cut {
            Some(cut) if cut.way == way && before + bytes as u64 >= cut.after => {
                session.cut = None;
                ((cut.after - before) as usize, Some(cut))
            }
            _ => (bytes, None),
        }
    }
}
