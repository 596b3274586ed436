//! What operators do, the same for the console, the command line and the API.
//!
//! Each method is one action on accounts, devices or channels, and answers with a view of `omctl_protocol::admin`.
//!
//! *Invariant:* callers were authorized before; this room knows nothing of HTTP and prints nothing. Secrets that it
//! makes (codes) are returned once and never logged.

mod orders;
mod records;
mod verdicts;

use omctl_protocol::admin::{
    AccountNew, AccountPatch, AccountView, BackendReply, ChannelList, ChannelResume, ChannelResumed, ChannelView,
    CodeView, DeviceView, RecordQuery,
};
use omctl_protocol::{ChannelName, DeviceId, Value};

use crate::backend::Delivery;
use crate::catalog::near_hint;
use crate::identity::{Identity, IdentityError, NewAccount, PasswordChange};
use crate::live::{Home, LiveChannel, LiveHandle};
use crate::rule::Subject;
use crate::store::{AccountRow, Store, StoreError};
use crate::sync::{ChannelHealth, Release, Sync, SyncError, ViewRow};

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The thing is not there.
    #[error("no {what} `{name}`")]
    NotFound {
        /// `device`, `channel`
        what: &'static str,
        /// What it was called.
        name: String,
        /// What may have been meant, or where to look.
        hint: String,
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
}

impl Admin {
    /// Over these rooms.
    pub fn new(store: Store, identity: Identity, live: LiveHandle, sync: Sync) -> Self {
        Self { store, identity, live, sync }
    }

    /// All accounts in the order of their addresses.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn accounts(&self) -> Result<Vec<AccountView>, AdminError> {
        Ok(self.identity.accounts().await?.into_iter().map(account_view).collect())
    }

    /// One account.
    ///
    /// # Errors
    /// [`IdentityError::NoAccount`], those of the store.
    pub async fn account(&self, email: &str) -> Result<AccountView, AdminError> {
        Ok(account_view(self.identity.account(email).await?))
    }

    /// Makes an account.
    ///
    /// # Errors
    /// As [`Identity::create_account`].
    pub async fn create_account(&self, new: AccountNew) -> Result<AccountView, AdminError> {
        let AccountNew { email, role, claims, password } = new;
        let row = self
            .identity
            .create_account(NewAccount { email, role, claims, password: password.map(Into::into) })
            .await?;
        tracing::info!(account = %row.email, "created account `{}`", row.email);
        Ok(account_view(row))
    }

    /// Changes an account; its live sessions hear of it.
    ///
    /// # Errors
    /// As [`Identity::change_account`].
    pub async fn change_account(&self, email: &str, patch: AccountPatch) -> Result<AccountView, AdminError> {
        let password = match patch.password {
            None => PasswordChange::Keep,
            Some(None) => PasswordChange::Remove,
            Some(Some(new)) => PasswordChange::Set(new.into()),
        };
        let row = self.identity.change_account(email, patch.role, patch.claims, patch.disabled, password).await?;
        tracing::info!(account = %row.email, "changed account `{}`", row.email);
        Ok(account_view(row))
    }

    /// Makes an activation code.
    ///
    /// # Errors
    /// As [`Identity::create_code`].
    pub async fn create_code(&self, email: &str) -> Result<CodeView, AdminError> {
        let (code, expires_ms) = self.identity.create_code(email).await?;
        Ok(CodeView { email: email.to_lowercase(), code, expires_ms })
    }

    /// All devices, the latest seen first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn devices(&self) -> Result<Vec<DeviceView>, AdminError> {
        let devices = self.store.devices().await?;
        let view = |(device, account): (crate::store::DeviceRow, AccountRow)| DeviceView {
            id: device.id,
            email: account.email,
            name: device.name,
            platform: device.platform,
            state: device.state.word().to_owned(),
            created_ms: device.created_ms,
            seen_ms: device.seen_ms,
        };
        Ok(devices.into_iter().map(view).collect())
    }

    /// Every channel as it is live.
    pub fn channels(&self) -> ChannelList {
        let (live, health) = (self.live.current(), self.sync.health());
        let channels = live.channels.values().map(|channel| channel_view(channel, health.get(channel.name())));
        ChannelList { generation: live.generation, channels: channels.collect() }
    }

    /// One channel as it is live.
    ///
    /// # Errors
    /// [`AdminError::NotFound`].
    pub fn channel(&self, name: &str) -> Result<ChannelView, AdminError> {
        let live = self.live.current();
        let channel = live.channels.get(&ChannelName::from(name));
        let channel = channel.ok_or_else(|| {
            let hint = near_hint(name, live.channels.keys().map(ChannelName::as_str));
            let hint = hint.unwrap_or_else(|| "`omctl channel list` shows them".to_owned());
            AdminError::NotFound { what: "channel", name: name.to_owned(), hint }
        })?;
        Ok(channel_view(channel, self.sync.health().get(channel.name())))
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
            StoreError::NotFound(_) => AdminError::NotFound {
                what: "device",
                name: device.to_string(),
                hint: "`omctl device list` shows them".to_owned(),
            },
            other => other.into(),
        })?;
        tracing::info!(%device, "revoked device {device}");
        Ok(())
    }
}

fn channel_view(channel: &LiveChannel, health: Option<&ChannelHealth>) -> ChannelView {
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
        synced: matches!(channel.home, Home::Managed) || health.is_some_and(|health| health.synced),
        bad_rows: health.map_or_else(Vec::new, |health| health.bad_rows.clone()),
        held_deletes: health.map_or(0, |health| health.held_deletes),
        scope: channel.rule.to_string(),
        schema: (*channel.schema).clone(),
    }
}

fn account_view(row: AccountRow) -> AccountView {
    AccountView {
        id: row.id,
        email: row.email,
        role: row.role,
        claims: row.claims,
        has_password: row.password.is_some(),
        disabled: row.disabled,
        devices: row.devices,
        created_ms: row.created_ms,
    }
}
