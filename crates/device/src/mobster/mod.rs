//! What an app opens: its file, the engine behind it, and the link to a server.
//!
//! Two answers to a write: *saved*, when [`Mobster::execute`] returns, and *settled*, when the server's receipt is here.
//! All SQLite work runs on two threads (writing and the engine; reading), all network work on a third.

mod error;
pub(crate) mod keys;
pub(crate) mod owner;
mod reader;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omctl_protocol::{ChannelName, ChannelSchema, DeviceId, Fields, MutationId, RowHash, Value};
use rusqlite::{Transaction, params_from_iter};
use tokio::sync::{mpsc, watch};

pub use self::error::MobsterError;
pub use self::keys::{KeyFile, KeyStore};
pub use self::reader::{LiveQuery, Rows};

use self::owner::{Desk, Owner, Signals};
use self::reader::Reader;
use crate::http::{access, link};
use crate::store::values::Bind;
use crate::store::{self, Answer, Audit, Rejected, Stats, Write};
use crate::{ConnectionState, Engine, Entropy, Store, StoreOptions};

/// How long `sync_now` waits for a connection, or for receipts of which none comes.
pub(crate) const SYNC_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) type Result<T, E = MobsterError> = std::result::Result<T, E>;

/// By what a device is activated.
#[derive(Clone)]
pub enum Credentials {
    /// A single-use activation code.
    Code(String),
    /// The account's e-mail address and password.
    Password {
        /// The address.
        email: String,
        /// The password.
        password: String,
    },
}

/// Opens a [`Mobster`] otherwise than by default.
pub struct Builder {
    path: PathBuf,
    keys: Option<Arc<dyn KeyStore>>,
    background: bool,
    name: String,
    platform: String,
    entropy: Entropy,
}

impl Builder {
    /// Takes chance and time from elsewhere than the system: for simulations.
    #[must_use]
    pub fn entropy(mut self, entropy: Entropy) -> Self {
        self.entropy = entropy;
        self
    }

    /// Keeps the device's key elsewhere than in a file beside the database.
    #[must_use]
    pub fn key_store(mut self, keys: Arc<dyn KeyStore>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Whether to keep a connection by itself. Without it, only [`Mobster::sync_now`] talks to the server.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// What activation tells the server: the device's name and its platform (`android`, `ios`, …).
    #[must_use]
    pub fn device(mut self, name: &str, platform: &str) -> Self {
        self.name = name.to_owned();
        self.platform = platform.to_owned();
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    /// [`MobsterError::Store`] or [`MobsterError::Io`].
    pub fn open(self) -> Result<Mobster> {
        let beside = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let lock = std::fs::File::create(beside(".lock")).map_err(MobsterError::Io)?;
        let has_engine = match lock.try_lock() {
            Ok(()) => true,
            Err(std::fs::TryLockError::WouldBlock) => false,
            Err(std::fs::TryLockError::Error(error)) => return Err(MobsterError::Io(error)),
        };
        let (actions, to_link) = mpsc::unbounded_channel();
        let (changed, settled) = (watch::Sender::new(0), watch::Sender::new(0));
        let state = watch::Sender::new(ConnectionState::Offline);
        let signals = Signals { actions, changed: changed.clone(), settled: settled.clone(), state: state.clone() };
        let path = self.path.clone();
        let entropy = self.entropy;
        let desk = Desk::open(entropy.clone(), move |entropy| {
            if has_engine {
                let mut store =
                    Store::open(&path, StoreOptions { entropy: entropy.clone(), ..StoreOptions::default() })?;
                store.prune(entropy.now_ms())?;
                let mut owner = Owner::engine(Engine::new(store).with_zstd(), signals, entropy);
                owner.trust_server()?;
                Ok(owner)
            } else {
                Ok(Owner::guest(store::app_connection(&path, &entropy)?, signals, entropy))
            }
        })?;
        let reader = Reader::new(&self.path);
        let keys = self.keys.unwrap_or_else(|| Arc::new(KeyFile(beside(".key"))));
        let (wake, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let (problem, online) = (watch::Sender::new(None), watch::Sender::new(true));
        let link = link::Link {
            desk: desk.clone(),
            log_file: beside("-wal"),
            keys: keys.clone(),
            actions: to_link,
            wake: wake.subscribe(),
            stop: stop.subscribe(),
            allowed: online.subscribe(),
            problem: problem.clone(),
            online: self.background && has_engine,
        };
        start_link(link)?;
        let about = (self.name, self.platform);
        let background = self.background;
        Ok(Mobster(Arc::new(Inner {
            desk,
            reader,
            keys,
            changed,
            settled,
            state,
            wake,
            stop,
            problem,
            online,
            has_engine,
            background,
            about,
            _lock: lock,
        })))
    }
}

fn start_link(link: link::Link) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MobsterError::Io)?;
    let thread = std::thread::Builder::new().name("omctl-link".into());
    thread.spawn(move || runtime.block_on(link.run())).map(drop).map_err(MobsterError::Io)
}

/// An app's local storage, kept in step with a server. Cheap to clone; the last clone closes it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use omctl_device::Mobster;
/// use omctl_protocol::Value;
///
/// # let folder = tempfile::tempdir()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let app = Mobster::open(&folder.path().join("app.db"))?;
/// // app.activate("http://127.0.0.1:7400", Credentials::Code("…".into())).await?;
/// app.execute("CREATE TABLE drafts (body TEXT)", vec![]).await?;
/// app.execute("INSERT INTO drafts (body) VALUES (?1)", vec![Value::Text("hello".into())]).await?;
/// let rows = app.query("SELECT body FROM drafts", vec![]).await?;
/// assert_eq!(rows.rows, [[Value::Text("hello".into())]]);
/// app.close();
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct Mobster(Arc<Inner>);

struct Inner {
    desk: Desk,
    reader: Reader,
    keys: Arc<dyn KeyStore>,
    changed: watch::Sender<u64>,
    settled: watch::Sender<u64>,
    state: watch::Sender<ConnectionState>,
    wake: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    problem: watch::Sender<Option<String>>,
    online: watch::Sender<bool>,
    has_engine: bool,
    background: bool,
    about: (String, String),
    /// One engine a file: locked for as long as this handle lives.
    _lock: std::fs::File,
}

/// A write that is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Ask by it what became of the write.
    pub write: Write,
    /// Rows that the statement changed.
    pub rows: usize,
}

impl Mobster {
    /// Opens or makes a file, with everything by default.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::builder(path).open()
    }

    /// Prepares to open a file.
    pub fn builder(path: &Path) -> Builder {
        Builder {
            path: path.to_owned(),
            keys: None,
            background: true,
            name: "device".into(),
            platform: std::env::consts::OS.into(),
            entropy: Entropy::System,
        }
    }

    /// Activates this file for a device and an account, by the server at `http://HOST:PORT`, or at
    /// `https://HOST:PORT#pin=…` as `omctl serve --lan` prints it. A file that was activated for
    /// the account before becomes a new device of it, with the same rows and unsent writes.
    ///
    /// # Errors
    /// [`MobsterError::Refused`], [`MobsterError::Unreachable`], [`MobsterError::OtherAccount`], …
    pub async fn activate(&self, server_url: &str, credentials: Credentials) -> Result<()> {
        let inner = &self.0;
        access::activate(&inner.desk, &inner.keys, server_url, credentials, inner.about.clone()).await?;
        inner.wake.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Removes everything of the account and its device from this file: channels with their rows, unsent writes, tokens,
    /// the key. The app's own tables stay. The server is told nothing. Afterwards any account can be activated.
    ///
    /// # Errors
    /// [`MobsterError::Unsent`] where writes would be lost, unless it is forced; [`MobsterError::Store`],
    /// [`MobsterError::EngineElsewhere`], and [`MobsterError::Io`] where the key could not be removed.
    pub async fn sign_out(&self, force: bool) -> Result<()> {
        self.0.desk.ask(move |owner| owner.sign_out(force)).await?;
        self.0.problem.send_replace(None);
        self.0.keys.remove().map_err(MobsterError::Io)
    }

    /// Speaks to the same server at another address from now on: after it moved, or through a proxy.
    ///
    /// # Errors
    /// [`MobsterError::Store`], [`MobsterError::EngineElsewhere`].
    pub async fn use_server(&self, server_url: &str) -> Result<()> {
        let url = server_url.to_owned();
        self.0.desk.ask(move |owner| Ok(owner.engine_mut()?.store_mut().set_note("server_url", &url)?)).await?;
        self.0.wake.send_modify(|count| *count += 1);
        Ok(())
    }

    /// The device, once it is activated.
    ///
    /// # Errors
    /// [`MobsterError::Store`], [`MobsterError::EngineElsewhere`].
    pub async fn device(&self) -> Result<Option<DeviceId>> {
        self.0.desk.ask(|owner| Ok(owner.engine_mut()?.store().device()?)).await
    }

    /// Runs one statement that writes. When it returns, the write is saved.
    ///
    /// # Errors
    /// [`MobsterError::Store`] with what SQLite, or a trigger of a channel, says.
    pub async fn execute(&self, sql: &str, params: Vec<Value>) -> Result<Saved> {
        let sql = sql.to_owned();
        let done = self.transaction(move |tx| tx.execute(&sql, params_from_iter(params.iter().map(Bind)))).await?;
        Ok(Saved { write: done.1, rows: done.0 })
    }

    /// Runs statements in one transaction. When it returns, all of them are saved, or none.
    ///
    /// # Errors
    /// [`MobsterError::Store`] with what the closure or SQLite says.
    pub async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<(T, Write)> {
        self.0.desk.ask(move |owner| owner.write(work)).await
    }

    /// Runs statements in one transaction that the server, too, applies whole or not at all: where one of its writes is
    /// refused, or loses a value against somebody else's, all of them are rejected. For channels that say `atomic: true`,
    /// all in one backend.
    ///
    /// # Errors
    /// [`MobsterError::Store`] with what the closure or SQLite says, or with why it cannot be atomic; nothing is saved
    /// then.
    pub async fn atomic<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<(T, Write)> {
        self.0.desk.ask(move |owner| owner.write_atomic(work)).await
    }

    /// Runs one statement that reads.
    ///
    /// # Errors
    /// [`MobsterError::Store`].
    pub async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Rows> {
        self.0.reader.query(sql.to_owned(), params).await
    }

    /// A query that is answered again whenever its tables change.
    ///
    /// # Errors
    /// [`MobsterError::Store`] where the statement cannot be compiled.
    pub async fn live(&self, sql: &str, params: Vec<Value>) -> Result<LiveQuery> {
        LiveQuery::open(self.0.reader.clone(), sql.to_owned(), params, self.0.changed.subscribe()).await
    }

    /// Waits until every mutation of a write has its answer. A write that changed nothing has none.
    ///
    /// # Errors
    /// [`MobsterError::Closed`], [`MobsterError::EngineElsewhere`], or the file's.
    pub async fn settled(&self, write: Write) -> Result<Vec<Answer>> {
        let mut settled = self.0.settled.subscribe();
        loop {
            settled.borrow_and_update();
            let answers = self.0.desk.ask(move |owner| Ok(owner.engine_mut()?.store().answers(write)?)).await?;
            if let Some(answers) = answers {
                return Ok(answers);
            }
            settled.changed().await.map_err(|_| MobsterError::Closed)?;
        }
    }

    /// Mutations that were rejected, oldest first.
    ///
    /// # Errors
    /// As [`Mobster::settled`].
    pub async fn rejected(&self) -> Result<Vec<Rejected>> {
        self.0.desk.ask(|owner| Ok(owner.engine_mut()?.store().rejected()?)).await
    }

    /// Writes a rejected mutation again, with some fields edited (JSON forms by field name).
    ///
    /// # Errors
    /// As [`Store::retry`].
    pub async fn retry(&self, id: MutationId, edits: Fields) -> Result<Write> {
        let ask = self.0.desk.ask(move |owner| {
            let write = owner.engine_mut()?.store_mut().retry(id, &edits)?;
            owner.look_around()?;
            Ok(write)
        });
        ask.await
    }

    /// Forgets a rejected mutation.
    ///
    /// # Errors
    /// As [`Store::discard`].
    pub async fn discard(&self, id: MutationId) -> Result<Rejected> {
        self.0.desk.ask(move |owner| Ok(owner.engine_mut()?.store_mut().discard(id)?)).await
    }

    /// How things stand.
    ///
    /// # Errors
    /// As [`Mobster::settled`].
    pub async fn stats(&self) -> Result<Stats> {
        self.0.desk.ask(|owner| Ok(owner.engine_mut()?.store().stats()?)).await
    }

    /// The connection's state, to look at or to wait for.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.0.state.subscribe()
    }

    /// Cuts the connection and makes none, or allows one again: for an app's own "work offline".
    pub fn set_online(&self, online: bool) {
        self.0.online.send_replace(online);
        self.0.wake.send_modify(|count| *count += 1);
    }

    /// Why there is no connection, as one sentence; `None` while one stands.
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.0.problem.subscribe()
    }

    /// Whether the engine of this file runs in this handle; else another one sends what is written here.
    pub fn has_engine(&self) -> bool {
        self.0.has_engine
    }

    /// The channels of this device, in the order of their names.
    ///
    /// # Errors
    /// As [`Mobster::settled`].
    pub async fn schemas(&self) -> Result<Vec<ChannelSchema>> {
        self.0.desk.ask(|owner| Ok(owner.engine_mut()?.store().schemas().cloned().collect())).await
    }

    /// Every record held of a channel with its hash, in the order of ids: for whoever checks convergence.
    ///
    /// # Errors
    /// As [`Store::held`].
    pub async fn held(&self, channel: &ChannelName) -> Result<Vec<(String, RowHash)>> {
        let channel = channel.clone();
        self.0.desk.ask(move |owner| Ok(owner.engine_mut()?.store().held(&channel)?)).await
    }

    /// Checks that the tables still hold what the server sent. What is wrong is fetched again, now or with the next
    /// connection; what the app wrote and what waits to be sent is left alone. Reads every row: not for every start.
    ///
    /// # Errors
    /// As [`Mobster::settled`].
    pub async fn verify(&self) -> Result<Audit> {
        let audit = self.0.desk.ask(|owner| owner.verify()).await?;
        self.0.wake.send_modify(|count| *count += 1);
        Ok(audit)
    }

    /// Makes a view `backend_CHANNEL` of each channel: rows with keys, references and columns as the backend spells them.
    ///
    /// # Errors
    /// As [`Mobster::settled`].
    pub async fn create_backend_views(&self) -> Result<()> {
        self.0.desk.ask(|owner| Ok(owner.engine_mut()?.store_mut().create_backend_views()?)).await
    }

    /// Syncs now: returns when everything written before is settled and a commit was received.
    ///
    /// # Errors
    /// [`MobsterError::Offline`], [`MobsterError::Unreachable`], [`MobsterError::Refused`],
    /// [`MobsterError::NeedsActivation`], [`MobsterError::Unsettled`], …
    pub async fn sync_now(&self) -> Result<()> {
        let inner = &self.0;
        if !inner.has_engine {
            return Err(MobsterError::EngineElsewhere);
        }
        if !inner.background {
            return link::sync_by_requests(&inner.desk, &inner.keys).await;
        }
        if self.device().await?.is_none() {
            return Err(MobsterError::NotActivated);
        }
        if !*inner.online.borrow() {
            return Err(MobsterError::Offline);
        }
        let (mut settled, mut state) = (inner.settled.subscribe(), inner.state.subscribe());
        let (refused, mut problem) = (inner.state.subscribe(), inner.problem.subscribe());
        problem.borrow_and_update();
        inner.wake.send_modify(|count| *count += 1);
        let done = async {
            loop {
                state.wait_for(|state| *state == ConnectionState::Live).await.map_err(|_| MobsterError::Closed)?;
                settled.borrow_and_update();
                if self.stats().await?.pending == 0 {
                    return Ok(());
                }
                // A lost connection wakes nobody here; the next live one, or the deadline, does.
                tokio::select! {
                    changed = settled.changed() => changed.map_err(|_| MobsterError::Closed)?,
                    changed = state.changed() => changed.map_err(|_| MobsterError::Closed)?,
                }
            }
        };
        // Told anew with each try: what an earlier one found does not count.
        let refusal = async {
            while problem.changed().await.is_ok() {
                if let (ConnectionState::NeedsActivation, Some(why)) =
                    (*refused.borrow(), &*problem.borrow_and_update())
                {
                    return MobsterError::NeedsActivation { why: why.clone() };
                }
            }
            MobsterError::Closed
        };
        let either = async {
            tokio::select! {
                done = done => done,
                refusal = refusal => Err(refusal),
            }
        };
        match tokio::time::timeout(SYNC_TIMEOUT, either).await {
            Ok(done) => done,
            Err(_) if *inner.state.borrow() == ConnectionState::Live => {
                Err(MobsterError::Unsettled { writes: self.stats().await?.pending })
            }
            Err(_) => Err(MobsterError::Offline),
        }
    }

    /// Ends the link. The file stays readable and writable until the last clone of this handle is gone.
    pub fn close(&self) {
        self.0.stop.send_replace(true);
    }
}
