//! The composition root: builds the rooms, owns their tasks, shuts them down.
//!
//! One server has one data directory: the lock in it, the store, `server.json`. The order of a start is: lock → store →
//! identity → backends → first generation → sync and push → listen → tell where. Whatever fails before the end leaves
//! nothing behind but the store.
//!
//! *Invariant:* no decision about requests or records is taken here.

mod data_dir;
pub mod health;
mod reload;
pub mod snapshots;
pub mod tls;
mod watch;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use omctl_protocol::admin::ServerFile;
use omctl_protocol::pin::Pin;
use tokio::net::TcpListener;

pub use self::data_dir::{DataDir, DataDirError};
pub use self::reload::{Environment, ProjectFiles, Reload, Reloader};
use self::tls::{TlsError, certify};
pub use self::watch::watch;
use crate::admin::Admin;
use crate::backend::sqlite::SqliteBackend;
use crate::backend::{Backend, BackendError};
use crate::catalog::{BackendDecl, Catalog, Diagnostic};
use crate::clock::{Clock, Entropy};
use crate::http::{self, AppState, Hosts, Proxies};
use crate::identity::{Identity, IdentityError};
use crate::limits;
use crate::live::{self, Live, LiveHandle, Numbered};
use crate::push::Push;
use crate::store::{RegisteredChannel, Store, StoreError};
use crate::sync::{Sync, SyncError};
use crate::tasks::Tasks;

/// The store's file in the data directory.
pub const STORE_FILE: &str = "store.db";

/// What a server is told.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Names beside the loopback ones that it answers to.
    pub hosts: Vec<String>,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Speak TLS with a certificate of its own, for these addresses beside the loopback ones. `None`: plain.
    pub tls: Option<Vec<IpAddr>>,
    /// Whether somebody develops here: then operators may write behind sync's back, as tests do.
    pub in_development: bool,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory is in use, or cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The address is taken or not ours.
    #[error("cannot listen on {addr}: {message}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Whether somebody else listens there.
        taken: bool,
        /// What the system says.
        message: String,
    },
    /// What is said about trusted proxies is no network.
    #[error("`{0}` is not a network of trusted proxies")]
    BadProxy(String),
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A newer binary wrote the store.
    #[error(transparent)]
    Newer(StoreError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// Identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A backend cannot be opened.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The room of records.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The definitions have no meaning.
    #[error("the project has {} errors", .0.len())]
    Project(Vec<Diagnostic>),
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Newer { .. } => Self::Newer(error),
            other => Self::Store(other),
        }
    }
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The pin of its key, where it speaks TLS.
    pub pin: Option<Pin>,
    /// The token of this start's administrator.
    pub admin_token: String,
    /// What is live.
    pub live: LiveHandle,
    /// Records and sessions.
    pub sync: Sync,
    /// Who is calling.
    pub identity: Identity,
    /// Makes other definitions live.
    pub reloader: Reloader,
    tasks: Tasks,
    data_dir: DataDir,
}

impl Running {
    /// How many devices are connected.
    pub fn sessions(&self) -> usize {
        self.reloader.sessions()
    }

    /// The tasks of this server; their token tells that it is stopping.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Ends it: open requests may finish for a moment, `server.json` goes, the lock is freed. Returns whether everything
    /// ended in time.
    pub async fn stop(self) -> bool {
        self.data_dir.forget_server();
        let ended = self.tasks.stop(limits::DRAIN).await;
        drop(self.data_dir);
        ended
    }
}

/// Starts a server. It is ready when this returns.
///
/// # Errors
/// [`ServerError`]; nothing runs then.
pub async fn start(
    settings: ServerSettings,
    catalog: &Catalog,
    clock: Clock,
    entropy: Entropy,
) -> Result<Running, ServerError> {
    let data_dir = DataDir::lock(&settings.data_dir)?;
    let tasks = Tasks::new();
    match compose(&settings, catalog, clock, entropy, &tasks, &data_dir).await {
        Ok(Composed { addr, pin, live, sync, identity, reloader }) => {
            let admin_token = identity.admin_token().to_owned();
            Ok(Running { addr, pin, admin_token, live, sync, identity, reloader, tasks, data_dir })
        }
        Err(error) => {
            tasks.stop(limits::DRAIN).await;
            Err(error)
        }
    }
}

/// What [`compose`] has built.
struct Composed {
    addr: SocketAddr,
    pin: Option<Pin>,
    live: LiveHandle,
    sync: Sync,
    identity: Identity,
    reloader: Reloader,
}

async fn compose(
    settings: &ServerSettings,
    catalog: &Catalog,
    clock: Clock,
    entropy: Entropy,
    tasks: &Tasks,
    data_dir: &DataDir,
) -> Result<Composed, ServerError> {
    let proxies = settings.trusted_proxies.iter().map(String::as_str);
    let proxies = Proxies::new(proxies).map_err(ServerError::BadProxy)?;
    let certified = match &settings.tls {
        Some(addresses) => Some(certify(data_dir.path(), addresses)?),
        None => None,
    };
    let (pin, config) = certified.map(|one| (one.pin, one.config)).unzip();
    // Before anything else is written: whoever has the port wins, and no half-started server waits behind it.
    let listener = listen(settings.addr).await?;
    let addr = listener.local_addr().map_err(|error| not_listening(settings.addr, &error))?;
    let (store, feed) = Store::open(&data_dir.path().join(STORE_FILE), clock.clone(), entropy.clone())?;
    let identity = Identity::new(store.clone(), clock.clone(), entropy.clone()).await?;
    let backends = open_backends(catalog).await?;
    let live = LiveHandle::new(first_generation(catalog, &store, &backends).await?);
    let push = Push::new();
    push.start(feed, tasks);
    let sync = Sync::open(store.clone(), live.clone(), identity.clone(), tasks.clone()).await?;
    let seeded = sync.seed(&catalog.seed).await?;
    if seeded > 0 {
        tracing::info!(records = seeded, "filled the fresh store with the project's seed");
    }
    sync.start().await?;
    let reloader = Reloader::new(reload::Inner {
        store: store.clone(),
        live: live.clone(),
        sync: sync.clone(),
        push: push.clone(),
        tasks: tasks.clone(),
        now: tokio::sync::Mutex::new(reload::Now { catalog: catalog.clone(), backends }),
    });
    let mut hosts = Hosts::new(settings.hosts.iter().map(String::as_str));
    hosts.allow_ip(addr.ip());
    let state = AppState {
        admin: Admin::new(store, identity.clone(), live.clone(), sync.clone(), push.clone())
            .in_development(settings.in_development),
        identity: identity.clone(),
        live: live.clone(),
        sync: sync.clone(),
        push,
        hosts: Arc::new(hosts),
        proxies: Arc::new(proxies),
        tasks: tasks.clone(),
        clock,
        entropy,
    };
    http::serve(listener, config, http::router(state), tasks);
    data_dir.tell_server(&ServerFile {
        addr: reachable(addr).to_string(),
        scheme: if pin.is_some() { "https" } else { "http" }.to_owned(),
        pin,
        pid: std::process::id(),
        token: identity.admin_token().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    tracing::debug!(%addr, channels = catalog.channels.len(), "the server is ready");
    Ok(Composed { addr, pin, live, sync, identity, reloader })
}

async fn listen(addr: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(addr).await.map_err(|error| not_listening(addr, &error))
}

fn not_listening(addr: SocketAddr, error: &std::io::Error) -> ServerError {
    let taken = error.kind() == std::io::ErrorKind::AddrInUse;
    ServerError::Listen { addr, taken, message: error.to_string() }
}

/// An address that a client on this machine can connect to.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        other => other,
    }
}

/// Opens every backend that the project declares.
///
/// # Errors
/// The first that cannot be opened.
pub async fn open_backends(catalog: &Catalog) -> Result<BTreeMap<String, Arc<dyn Backend>>, ServerError> {
    let mut open = BTreeMap::new();
    for (name, decl) in &catalog.backends {
        open.insert(name.clone(), open_backend(name, decl)?);
    }
    Ok(open)
}

fn open_backend(name: &str, decl: &BackendDecl) -> Result<Arc<dyn Backend>, BackendError> {
    match decl {
        BackendDecl::Sqlite { path } => Ok(Arc::new(SqliteBackend::open(name, path)?)),
    }
}

/// Registers the channels of a catalog and builds what is live from the start.
///
/// # Errors
/// [`ServerError::Project`]; those of the store.
pub async fn first_generation(
    catalog: &Catalog,
    store: &Store,
    backends: &BTreeMap<String, Arc<dyn Backend>>,
) -> Result<Live, ServerError> {
    let meaningless = live::diagnose(catalog);
    if !meaningless.is_empty() {
        return Err(ServerError::Project(meaningless));
    }
    let numbered = numbered(catalog, store).await?;
    Live::build(1, catalog, numbered, backends).map_err(ServerError::Project)
}

/// Registers the channels of a catalog: their numbers, epochs and schema versions.
async fn numbered(catalog: &Catalog, store: &Store) -> Result<Vec<Numbered>, StoreError> {
    let channels = catalog.channels.values().map(|channel| (live::home_text(catalog, channel), channel.schema.clone()));
    let registered = store.register_channels(channels.collect()).await?;
    let numbered = |one: RegisteredChannel| Numbered {
        number: one.number.0,
        epoch: one.epoch,
        schema: one.schema,
        older: one.older,
        placed: one.placing,
    };
    Ok(registered.into_iter().map(numbered).collect())
}

#[cfg(test)]
mod tests;
