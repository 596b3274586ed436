//! The heart: devices' mutations into backends, and everybody's changes out to devices.
//!
//! - [`Session`] (`session.rs`): one device's conversation: hello, catching up, live changes, receipts. Transport-free.
//! - `accept.rs`: mutations become durable; what can be settled at once is.
//! - `run.rs`: which of what a device has waiting is settled next.
//! - `settle.rs`: accepted mutations meet their backend, in device order: one settler a device and backend.
//! - `round.rs`: one run against its backend; `atomic.rs`: one transaction that is applied whole or not at all.
//! - `judge.rs`: one mutation against its record: what to write, what to answer, what to journal.
//! - `plan.rs`: what a mutation means for a record as it is now. Pure.
//! - `order.rs`: what an operator writes in the name of an account.
//! - `managed.rs`: records whose home is the state log itself.
//! - `offer.rs`: mutations of a history that was lost, offered again.
//! - `set_back.rs`: a backend that was set back to an old copy of itself.
//! - `flights.rs`: writes that their backend has and the log has not yet.
//! - `ingest.rs`: what others changed in a backend, found and journaled.
//! - `brake.rs`: what a backend seems not to have any more, and how much of it is too much.
//! - `codec.rs`, `names.rs`: between backends' keys and record ids.
//! - `change.rs`: from one generation of definitions to the next.
//! - `place.rs`: in which scopes records belong; `sight.rs`: what an account sees.
//!
//! *Invariant:* no transport and no SQL. A record is journaled only from a read that began after its last journaled one
//! ended (`docs/adr/0003`).

mod accept;
mod answer;
mod atomic;
mod brake;
mod change;
mod codec;
mod flights;
mod foreign;
mod ingest;
mod judge;
mod managed;
mod names;
mod offer;
mod order;
mod place;
mod plan;
mod round;
mod run;
mod schema;
mod seed;
mod session;
mod set_back;
mod settle;
mod sight;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_atomic;
#[cfg(test)]
mod tests_backend;
#[cfg(test)]
mod tests_brake;
#[cfg(test)]
mod tests_commands;
#[cfg(test)]
mod tests_offers;
#[cfg(test)]
mod tests_schema;
#[cfg(test)]
mod tests_scopes;
#[cfg(test)]
mod tests_set_back;
mod trace;
mod verdicts;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use omctl_protocol::ChannelName;
use tokio::sync::Notify;

pub use self::brake::Release;
use self::flights::Flights;
pub use self::foreign::{Foreign, ForeignEnd};
pub use self::ingest::ChannelHealth;
use self::names::Names;
use self::offer::Patience;
pub use self::order::{Order, Ordered};
pub use self::seed::SeedError;
pub use self::session::{Passed, Session, SessionEnd, Step};
use self::set_back::SetBacks;
pub use self::verdicts::Losing;
pub use self::view::{BackendView, ViewRow};
use crate::backend::BackendError;
use crate::identity::{Identity, IdentityError};
use crate::live::LiveHandle;
use crate::store::{DeviceNo, Store, StoreError};
use crate::tasks::Tasks;

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Sync {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    live: LiveHandle,
    identity: Identity,
    tasks: Tasks,
    names: Names,
    /// Which (device, backend) pairs are being settled now; `true`: somebody asked again meanwhile.
    settling: Mutex<HashMap<(DeviceNo, String), bool>>,
    /// Held while an operator's order is accepted.
    ordering: tokio::sync::Mutex<()>,
    /// What ingest knows of each channel.
    health: Mutex<BTreeMap<ChannelName, ChannelHealth>>,
    /// Backends whose ingest runs.
    ingesting: Mutex<HashSet<String>>,
    /// By backend: held while an atomic transaction is written there and not journaled yet.
    wholes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    patience: Patience,
    flights: Flights,
    set_backs: SetBacks,
    /// Held by who places records anew.
    placing: tokio::sync::Mutex<()>,
    /// Channels whose records are being placed anew: nothing of them is sent or settled until that is done.
    closed: Mutex<BTreeSet<ChannelName>>,
    /// Told when a closed channel may be ready to be placed.
    placeable: Notify,
}

/// What goes wrong in the room as a whole. What concerns one mutation is a receipt.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Who is calling cannot be told.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A backend has gone back to an old copy of itself, and the log does not agree with it yet: try again later.
    #[error("backend `{backend}` was set back to an old copy of itself and is being compared")]
    SetBack {
        /// The backend's name in the project.
        backend: String,
    },
    /// Something that cannot be.
    #[error("internal error: {0}")]
    Bug(String),
}

impl Sync {
    /// Opens the room over a store. [`Sync::start`] sets it to work.
    ///
    /// # Errors
    /// Those of reading the id map.
    pub async fn open(store: Store, live: LiveHandle, identity: Identity, tasks: Tasks) -> Result<Self, SyncError> {
        let names = Names::new(store.id_map().await?);
        let past = store.set_backs().await?;
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                live,
                identity,
                tasks,
                names,
                settling: Mutex::default(),
                ordering: tokio::sync::Mutex::default(),
                health: Mutex::default(),
                ingesting: Mutex::default(),
                wholes: Mutex::default(),
                patience: Patience::default(),
                flights: Flights::default(),
                set_backs: SetBacks::new(past),
                placing: tokio::sync::Mutex::default(),
                closed: Mutex::default(),
                placeable: Notify::new(),
            }),
        })
    }

    /// Places records by rules that have changed, recovers what was accepted and not settled, and starts watching the
    /// backends.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn start(&self) -> Result<(), SyncError> {
        self.place_all(&self.inner.live.current()).await?;
        self.recover_wholes().await?;
        self.settle_waiting().await?;
        self.watch_backends();
        let sync = self.clone();
        self.inner.tasks.start("prune", async move { sync.prune_now_and_then().await });
        Ok(())
    }

    /// Takes up what was accepted and is not settled: after a start, and once an account may act again.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn settle_waiting(&self) -> Result<(), SyncError> {
        for (device, backend, waiting) in self.inner.store.inbox_backlog().await? {
            tracing::info!(waiting, backend = %backend, "settling what was accepted before");
            self.kick(device, &backend);
        }
        Ok(())
    }

    /// The same of one device, which may act again.
    async fn settle_waiting_of(&self, device: DeviceNo) -> Result<(), SyncError> {
        let backlog = self.inner.store.inbox_backlog().await?;
        backlog.iter().filter(|(of, ..)| *of == device).for_each(|(_, backend, _)| self.kick(device, backend));
        Ok(())
    }

    /// Takes away what is older than its time: soon after the start, for a server may be started anew more often than that,
    /// and then once an hour.
    async fn prune_now_and_then(&self) {
        const SOON: std::time::Duration = std::time::Duration::from_secs(60);
        const EVERY: std::time::Duration = std::time::Duration::from_secs(3600);
        let mut wait = SOON;
        loop {
            tokio::time::sleep(std::mem::replace(&mut wait, EVERY)).await;
            match self.inner.store.prune().await {
                Ok(rows) if rows > 0 => tracing::info!(rows, "removed what is older than its time"),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "pruning is tried again in an hour");
                    continue;
                }
            }
            // No dedupe row goes that is still looked for.
            self.inner.set_backs.forget_witnesses();
            // A dedupe row stays as long as a receipt may be asked for again, and a day longer: clocks differ.
            let window = crate::limits::RESTORE_WINDOW.as_millis() as i64 + 24 * 3600 * 1000;
            let before = self.inner.store.clock().now_ms() - window;
            for backend in self.inner.live.current().backends.values() {
                if let Err(error) = backend.prune_applied(before).await {
                    tracing::warn!(%error, backend = %backend.name(), "dedupe rows are pruned again in an hour");
                }
            }
        }
    }

    /// What ingest knows of each channel of a backend.
    pub fn health(&self) -> BTreeMap<ChannelName, ChannelHealth> {
        self.inner.health.lock().expect("nobody panics while noting health").clone()
    }
}
