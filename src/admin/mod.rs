//! What operators do, the same for the console, the command line and the API.
//!
//! Each method is one action on accounts, devices or channels, and answers with a view of `omctl_protocol::admin`.
//!
//! *Invariant:* callers were authorized before; this room knows nothing of HTTP and prints nothing. Secrets that it
//! makes (codes) are returned once and never logged.

mod accounts;
mod inspect;
mod orders;
mod records;
mod seed;
mod verdicts;

use omctl_protocol::admin::{
    AccountView, BackendReply, ChannelList, ChannelResume, ChannelResumed, ChannelView, DeviceView, RecordQuery,
};
use omctl_protocol::{ChannelName, DeviceId, Value};

use crate::backend::Delivery;
use crate::catalog::near;
use crate::identity::{Identity, IdentityError};
use crate::live::{Home, LiveChannel, LiveHandle};
use crate::push::Push;
use crate::rule::Subject;
use crate::store::{AccountRow, DeviceRow, Store, StoreError};
use crate::sync::{ChannelHealth, Release, Sync, SyncError, ViewRow};

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The thing is not there.
    #[error("no {what} `{name}`")]
    NotFound {
        /// `account`, `device`, `channel`, …
        what: &'static str,
        /// What it was called.
        name: String,
        /// What may have been meant, or how to see what there is.
        hint: Option<String>,
    },
    /// More deletes are held by now than the operator was shown.
    #[error("{held} deletes of `{channel}` are held by now")]
    MoreHeld {
        /// The channel.
        channel: ChannelName,
        /// How many.
        held: u64,
    },
    /// It is accepted, and its backend has not answered yet.
    #[error("the write is accepted and waits for its backend")]
    NotSettled,
    /// It is for tests, and this server is no test.
    #[error("writing behind sync's back is for development only")]
    NotInDevelopment,
    /// The channel's records are the server's own: there is no behind.
    #[error("channel `{channel}` has no backend of its own")]
    NoBackend {
        /// The channel.
        channel: ChannelName,
    },
    /// A part of the question is not as it should be.
    #[error("`{field}` {message}")]
    BadValue {
        /// Which.
        field: &'static str,
        /// What it should be.
        message: String,
    },
    /// Identity refuses it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The records cannot be read.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        Self::Identity(IdentityError::Store(error))
    }
}

/// The room: a handle that is cheap to clone.
#[derive(Clone)]
pub struct Admin {
    store: Store,
    identity: Identity,
    live: LiveHandle,
    sync: Sync,
    push: Push,
    /// Whether this is a developer's server: then [`Admin::write_foreign`] does something.
    in_development: bool,
}

impl Admin {
    /// Over these rooms.
    pub fn new(store: Store, identity: Identity, live: LiveHandle, sync: Sync, push: Push) -> Self {
        Self { store, identity, live, sync, push, in_development: false }
    }

    /// The same for a server of somebody who develops.
    #[must_use]
    pub fn in_development(mut self, truth: bool) -> Self {
        self.in_development = truth;
        self
    }

    /// Every channel as it is live.
    pub fn channels(&self) -> ChannelList {
        let (live, health) = (self.live.current(), self.sync.health());
        let closed = self.sync.closed();
        let view =
            |channel: &LiveChannel| channel_view(channel, health.get(channel.name()), closed.contains(channel.name()));
        let channels = live.channels.values().map(|channel| view(channel));
        let errors = self.live.trouble().iter().map(|one| one.place.to_string()).collect();
        ChannelList { generation: live.generation, channels: channels.collect(), errors }
    }

    /// One channel as it is live.
    ///
    /// # Errors
    /// [`AdminError::NotFound`].
    pub fn channel(&self, name: &str) -> Result<ChannelView, AdminError> {
        let live = self.live.current();
        let channel = live.channels.get(&ChannelName::from(name));
        let channel = channel.ok_or_else(|| {
            let hint = near::hint(name, live.channels.keys().map(ChannelName::as_str));
            let hint = Some(hint.unwrap_or_else(|| "`omctl channel list` shows them".to_owned()));
            AdminError::NotFound { what: "channel", name: name.to_owned(), hint }
        })?;
        let is_closed = self.sync.closed().contains(channel.name());
        Ok(channel_view(channel, self.sync.health().get(channel.name()), is_closed))
    }

    /// What an account should see of a channel (all of it, where none is named), past log, membership and compiled keys: for
    /// the convergence checker, and for people who look at records.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], [`AdminError::BadValue`]; those of the backend.
    pub async fn backend_view(&self, name: &str, query: RecordQuery) -> Result<BackendReply, AdminError> {
        let fields = self.channel(name)?.schema.fields;
        let wanted = records::Wanted::read(&fields, &query)?;
        let subject = match &query.email {
            Some(email) => {
                let AccountView { email, role, claims, .. } = self.account(email).await?;
                Some(Subject { email, role, claims })
            }
            None => None,
        };
        let view = self.sync.backend_view(&ChannelName::from(name), subject.as_ref()).await?;
        let mut rows = view.rows;
        rows.retain(|row| wanted.takes(row));
        let total = rows.len() as u64;
        rows.truncate(wanted.limit);
        let json = |row: ViewRow| (row.id, row.values.iter().map(Value::to_json).collect());
        let rows = rows.into_iter().map(json).collect();
        Ok(BackendReply { fields: view.fields, rows, settled: view.settled, total })
    }

    /// Lets the held deletes of a channel through.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], [`AdminError::MoreHeld`]; those of the backend and the store.
    pub async fn resume_channel(&self, name: &str, resume: ChannelResume) -> Result<ChannelResumed, AdminError> {
        self.channel(name)?;
        let channel = ChannelName::from(name);
        match self.sync.release_held(&channel, resume.held_deletes).await? {
            Release::Done(deleted) => Ok(ChannelResumed { channel, deleted }),
            Release::More(held) => Err(AdminError::MoreHeld { channel, held }),
        }
    }

    /// Takes a device out of service: its sessions end, its tokens open nothing.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], those of the store.
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), AdminError> {
        self.store.revoke_device(device).await.map_err(|error| match error {
            StoreError::NotFound(_) => no_device(device),
            other => other.into(),
        })?;
        tracing::info!(%device, "revoked device {device}");
        Ok(())
    }
}

fn no_device(device: DeviceId) -> AdminError {
    let hint = Some("see them: omctl device list".to_owned());
    AdminError::NotFound { what: "device", name: device.to_string(), hint }
}

fn channel_view(channel: &LiveChannel, health: Option<&ChannelHealth>, is_closed: bool) -> ChannelView {
    let probe = health.and_then(|health| health.probe.as_ref());
    let (delivery, detection) = match channel.home {
        Home::Managed => (Some(Delivery::ExactlyOnce), None),
        Home::Backend(..) => (probe.map(|probe| probe.delivery), probe.map(|probe| probe.detection)),
    };
    ChannelView {
        name: channel.name().clone(),
        backend: channel.backend_name().to_owned(),
        table: channel.decl.table.clone(),
        delivery: delivery.map(|delivery| delivery.word().to_owned()),
        detection: detection.map(|detection| detection.word().to_owned()),
        rows: probe.map(|probe| probe.rows),
        paused: health.and_then(|health| health.paused.clone()),
        unreachable: health.and_then(|health| health.unreachable.clone()),
        closed: is_closed,
        synced: matches!(channel.home, Home::Managed) || health.is_some_and(|health| health.is_synced(channel.epoch)),
        bad_rows: health.map_or_else(Vec::new, |health| health.bad_rows.clone()),
        held_deletes: health.map_or(0, |health| health.held_deletes),
        scope: channel.rule.to_string(),
        placed_by: channel.rule.terms(),
        schema: (*channel.schema).clone(),
    }
}

fn device_view(device: DeviceRow, account: AccountRow) -> DeviceView {
    DeviceView {
        id: device.id,
        email: account.email,
        name: device.name,
        platform: device.platform,
        state: device.state.word().to_owned(),
        created_ms: device.created_ms,
        seen_ms: device.seen_ms,
    }
}
