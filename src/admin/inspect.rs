//! Looking into the running server: devices, how sync stands, what became of one write.

use std::collections::BTreeMap;

use omctl_protocol::ChannelName;
use omctl_protocol::DeviceId;
use omctl_protocol::admin::{DeviceQuery, DeviceView};
use omctl_protocol::inspect::{ChannelSync, DeviceDetail, DeviceSync, SyncView, Trace, TraceQuery};

use super::{Admin, AdminError, device_view, no_device};

impl Admin {
    /// Devices, the latest seen first: all of them, or those of an account.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] for the account; those of the store.
    pub async fn devices(&self, query: DeviceQuery) -> Result<Vec<DeviceView>, AdminError> {
        let only = match query.account {
            Some(email) => Some(self.account(&email).await?.id),
            None => None,
        };
        let devices = self.store.devices().await?.into_iter();
        let wanted = devices.filter(|(_, account)| only.is_none_or(|only| account.id == only));
        Ok(wanted.map(|(device, account)| device_view(device, account)).collect())
    }

    /// One device, with its outbox as the server knows it and what waits of it.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], those of the store.
    pub async fn device(&self, id: DeviceId) -> Result<DeviceDetail, AdminError> {
        let (device, account) = self.store.device(id).await?.ok_or_else(|| no_device(id))?;
        let connected = self.push.is_connected(device.number);
        let (outbox, waiting) = self.store.device_standing(device.number).await?;
        Ok(DeviceDetail { device: device_view(device, account), connected, outbox, waiting })
    }

    /// How every channel and every device stands.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sync_view(&self) -> Result<SyncView, AdminError> {
        let mut standing = self.store.standing().await?;
        let (live, health) = (self.live.current(), self.sync.health());
        let mut channels: BTreeMap<ChannelName, ChannelSync> = BTreeMap::new();
        let names = live.channels.keys().chain(standing.channels.iter().map(|count| &count.name));
        for name in names.chain(standing.waiting.iter().map(|waiting| &waiting.channel)) {
            let health = health.get(name);
            channels.entry(name.clone()).or_insert_with(|| ChannelSync {
                name: name.clone(),
                backend: live.channels.get(name).map(|channel| channel.backend_name().to_owned()),
                records: 0,
                tombstones: 0,
                position: None,
                changed_ms: None,
                waiting: 0,
                held_deletes: health.map_or(0, |health| health.held_deletes),
                lag_ms: health.and_then(|health| health.lag_ms),
                paused: health.and_then(|health| health.paused.clone()),
            });
        }
        for count in standing.channels {
            if let Some(channel) = channels.get_mut(&count.name) {
                (channel.records, channel.tombstones) = (count.records, count.tombstones);
                (channel.position, channel.changed_ms) = (Some(count.position), Some(count.changed_ms));
            }
        }
        for waiting in &standing.waiting {
            if let Some(channel) = channels.get_mut(&waiting.channel) {
                channel.waiting += waiting.mutations;
            }
        }
        let mut devices = Vec::new();
        for (device, account) in self.store.devices().await? {
            let (connected, outbox) = (self.push.is_connected(device.number), standing.outboxes.remove(&device.number));
            let device = device_view(device, account);
            let waits = standing.waiting.iter().any(|waiting| waiting.device == device.id);
            if device.state == "active" || waits {
                devices.push(DeviceSync { device, connected, outbox });
            }
        }
        Ok(SyncView {
            position: standing.position,
            now_ms: self.store.clock().now_ms(),
            channels: channels.into_values().collect(),
            devices,
            waiting: standing.waiting,
        })
    }

    /// Everything that is known of the mutations and records with this id, in the order of time.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] for the channel, or where nothing has the id; those of the store.
    pub async fn trace(&self, query: TraceQuery) -> Result<Trace, AdminError> {
        let TraceQuery { id, channel } = query;
        let channel = match channel {
            Some(name) => Some(self.channel(&name)?.name),
            None => None,
        };
        let found = self.sync.trace(&id, channel).await?;
        found.ok_or_else(|| AdminError::NotFound {
            what: "mutation or record",
            name: id,
            hint: Some("ids are in `omctl sync rejected --json`, and in the `id` column of a device's tables".into()),
        })
    }
}
