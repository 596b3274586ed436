//! The thread that owns the engine and its connections: SQLite never runs on the app's or the network's threads.

use std::collections::BTreeSet;
use std::sync::mpsc;

use omctl_protocol::{AccountId, ChannelName, DeviceId};
use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};

use super::keys::trust;
use super::{MobsterError, Result};
use crate::store::{self, Audit, StoreError, Write};
use crate::{Action, ConnectionState, Engine, Entropy, Event};

/// What lives on the thread.
pub(crate) struct Owner {
    kind: Kind,
    signals: Signals,
    data_version: i64,
    entropy: Entropy,
}

/// Whether the engine of this file runs here.
enum Kind {
    /// It does.
    Engine(Box<Engine>),
    /// Another process (or another handle) has it; this one reads and writes.
    Guest(Connection),
}

/// Where the thread reports to.
#[derive(Clone)]
pub(crate) struct Signals {
    /// Actions for the network.
    pub(crate) actions: async_mpsc::UnboundedSender<Action>,
    /// Counts changes of any table.
    pub(crate) changed: watch::Sender<u64>,
    /// Counts receipts.
    pub(crate) settled: watch::Sender<u64>,
    /// The connection's state.
    pub(crate) state: watch::Sender<ConnectionState>,
}

type Job = Box<dyn FnOnce(&mut Owner) + Send>;

/// Sends work to the thread. The thread ends when the last of these is gone.
#[derive(Clone)]
pub(crate) struct Desk {
    jobs: mpsc::Sender<Job>,
    entropy: Entropy,
}

impl Desk {
    pub(crate) fn open(entropy: Entropy, make: impl FnOnce(Entropy) -> Result<Owner> + Send + 'static) -> Result<Self> {
        let told = entropy.clone();
        let (sender, jobs) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::Builder::new().name("omctl-store".into());
        let spawned = thread.spawn(move || match make(told) {
            Ok(mut owner) => {
                if ready.send(Ok(())).is_ok() {
                    while let Ok(job) = jobs.recv() {
                        job(&mut owner);
                    }
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        });
        spawned.map_err(MobsterError::Io)?;
        is_ready.recv().map_err(|_| MobsterError::Closed)??;
        Ok(Self { jobs: sender, entropy })
    }

    /// Milliseconds since 1970, by the device's clock.
    pub(crate) fn now_ms(&self) -> i64 {
        self.entropy.now_ms()
    }

    /// Runs something on the thread and waits for its answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Owner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |owner| {
            // Whoever asked may have gone away; the work is done all the same.
            drop(answer.send(work(owner)));
        });
        self.jobs.send(job).map_err(|_| MobsterError::Closed)?;
        answered.await.map_err(|_| MobsterError::Closed)?
    }
}

impl Owner {
    pub(crate) fn engine(engine: Engine, signals: Signals, entropy: Entropy) -> Self {
        Self { kind: Kind::Engine(Box::new(engine)), signals, data_version: 0, entropy }
    }

    pub(crate) fn guest(conn: Connection, signals: Signals, entropy: Entropy) -> Self {
        Self { kind: Kind::Guest(conn), signals, data_version: 0, entropy }
    }

    /// The engine, where it runs here.
    pub(crate) fn engine_mut(&mut self) -> Result<&mut Engine> {
        match &mut self.kind {
            Kind::Engine(engine) => Ok(engine),
            Kind::Guest(_) => Err(MobsterError::EngineElsewhere),
        }
    }

    /// Milliseconds since 1970, by the device's clock.
    pub(crate) fn now_ms(&self) -> i64 {
        self.entropy.now_ms()
    }

    /// Tells the engine what happened, and everybody what it wants.
    pub(crate) fn handle(&mut self, event: Event<'_>) -> Result<()> {
        let now_ms = self.now_ms();
        self.tell_uptime();
        match self.engine_mut()?.handle(now_ms, event) {
            Ok(actions) => {
                self.report(actions);
                Ok(())
            }
            Err(error) => {
                // The session is over with it.
                self.report(vec![Action::Close]);
                Err(error.into())
            }
        }
    }

    /// Pins the server whose orders are obeyed: the one of the activation.
    pub(crate) fn trust_server(&mut self) -> Result<()> {
        let engine = self.engine_mut()?;
        if let Some(device) = engine.store().device()? {
            let key = engine.store().note("server_key")?.unwrap_or_default();
            engine.trust(trust(&key, device));
        }
        Ok(())
    }

    fn tell_uptime(&mut self) {
        if let (Kind::Engine(engine), Some(up_ms)) = (&mut self.kind, self.entropy.uptime_ms()) {
            engine.tell_uptime(up_ms);
        }
    }

    /// Binds the file to a device, with what belongs to it.
    pub(crate) fn activate(&mut self, device: DeviceId, account: AccountId, notes: &[(&str, &str)]) -> Result<()> {
        let actions = self.engine_mut()?.activate(device, account, notes)?;
        self.trust_server()?;
        self.report(actions);
        Ok(())
    }

    /// Removes everything of the account, unless something unsent would be lost.
    pub(crate) fn sign_out(&mut self, force: bool) -> Result<()> {
        let stats = self.engine_mut()?.store().stats()?;
        if !force && stats.pending + stats.rejected > 0 {
            return Err(MobsterError::Unsent { pending: stats.pending, rejected: stats.rejected });
        }
        let actions = self.engine_mut()?.sign_out()?;
        self.report(actions);
        Ok(())
    }

    /// Audits what is held.
    pub(crate) fn verify(&mut self) -> Result<Audit> {
        let now_ms = self.now_ms();
        let (audit, actions) = self.engine_mut()?.audit(now_ms)?;
        self.report(actions);
        Ok(audit)
    }

    fn report(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Changed(channels) => self.changed(&channels),
                Action::Settled(_) => self.signals.settled.send_modify(|count| *count += 1),
                Action::State(state) => drop(self.signals.state.send_replace(state)),
                // The network's thread may have ended already.
                action => drop(self.signals.actions.send(action)),
            }
        }
    }

    fn changed(&self, _channels: &BTreeSet<ChannelName>) {
        // Which tables changed is in `om_dirty`, where a live query of any process finds it.
        self.signals.changed.send_modify(|count| *count += 1);
    }

    /// Runs statements of the app in one transaction.
    pub(crate) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Write)> {
        let done = match &mut self.kind {
            Kind::Engine(engine) => engine.store_mut().write(work)?,
            Kind::Guest(conn) => store::write(conn, work)?,
        };
        self.saved();
        Ok(done)
    }

    /// Runs statements of the app in one atomic transaction.
    pub(crate) fn write_atomic<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<(T, Write)> {
        let done = match &mut self.kind {
            Kind::Engine(engine) => engine.store_mut().write_atomic(work)?,
            Kind::Guest(conn) => store::write_atomic_as_guest(conn, work)?,
        };
        self.saved();
        Ok(done)
    }

    fn saved(&mut self) {
        self.changed(&BTreeSet::new());
        // It is saved, and the app hears so: whether it could be sent at once is another matter.
        if let Kind::Engine(_) = self.kind
            && let Err(error) = self.handle(Event::LocalWrite)
        {
            tracing::warn!(%error, "a write is saved and could not be sent; it is tried again with the next connection");
        }
    }

    /// Looks whether another connection wrote, and lets the engine send it.
    pub(crate) fn look_around(&mut self) -> Result<()> {
        self.tell_uptime();
        let now_ms = self.now_ms();
        if let Kind::Engine(engine) = &mut self.kind {
            let actions = engine.look_at_lock(now_ms);
            self.report(actions);
        }
        let conn = match &self.kind {
            Kind::Engine(engine) => engine.store().connection(),
            Kind::Guest(conn) => conn,
        };
        let version = conn
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(StoreError::Sqlite)?;
        if std::mem::replace(&mut self.data_version, version) == version {
            return Ok(());
        }
        self.signals.settled.send_modify(|count| *count += 1);
        self.changed(&BTreeSet::new());
        if let Kind::Engine(_) = self.kind { self.handle(Event::LocalWrite) } else { Ok(()) }
    }
}
