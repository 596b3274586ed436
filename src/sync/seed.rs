//! Seeds: records that the project declares for its managed channels, into a fresh store or once more.

use std::collections::BTreeMap;
use std::sync::Arc;

use omctl_protocol::admin::{SeedChannel, SeedRequest, SeededChannel};
use omctl_protocol::{ChannelName, Fields, Position, RecordId, Value};

use super::codec;
use super::managed::put;
use super::{Sync, SyncError};
use crate::catalog::SeedFile;
use crate::live::{Home, Live, LiveChannel};
use crate::store::{Aside, Batch, ChannelNo, Journal};

/// Why records are not taken as seeds. Nothing is written then.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is no such channel.
    #[error("no channel `{0}`")]
    NoChannel(ChannelName),
    /// Its records live in a backend.
    #[error("channel `{0}` is not managed")]
    NotManaged(ChannelName),
    /// A field that is not there, or a value that is none of its field.
    #[error("record `{record}` of `{channel}`: `{field}` {message}")]
    BadField {
        /// The channel.
        channel: ChannelName,
        /// The record.
        record: RecordId,
        /// The field.
        field: String,
        /// What is wrong; never the value.
        message: String,
    },
    /// The store, or what is in it.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Records to put, by channel.
type Wanted = BTreeMap<ChannelName, (Arc<LiveChannel>, BTreeMap<RecordId, Vec<Value>>)>;

impl Sync {
    /// Fills managed channels with the project's seed, if the log has never had a record.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn seed(&self, seed: &[SeedFile]) -> Result<u64, SyncError> {
        let mut written = 0;
        if self.inner.store.newest_position().await? > Position(0) {
            return Ok(written);
        }
        let live = self.inner.live.current();
        let mut batch = Batch::default();
        for file in seed {
            let Some(channel) = live.channels.get(&file.channel) else { continue };
            for record in &file.records {
                let change = put(&live, channel, &record.id, &record.values, Aside::default());
                let (channel, id) = (ChannelNo(channel.number), record.id.clone());
                batch.journal.push(Journal { channel, id, as_of: Position(0), change });
                written += 1;
            }
        }
        // One commit: a start that is cut off leaves a fresh store, and the next one fills it.
        self.commit(&live, batch).await?;
        Ok(written)
    }

    /// Puts seeds into a store that is in use: where a record is missing or deleted, and with `force` also where it looks
    /// otherwise. All in one commit, and like any other change for the devices that see it.
    ///
    /// # Errors
    /// [`SeedError`].
    pub async fn seed_again(&self, request: SeedRequest) -> Result<Vec<SeededChannel>, SeedError> {
        let live = self.inner.live.current();
        let wanted = read(&live, request.channels)?;
        loop {
            let (batch, seeded) = self.plan_seed(&live, &wanted, request.force).await?;
            if request.dry_run || batch.journal.is_empty() {
                return Ok(seeded);
            }
            // Where somebody wrote one of them meanwhile: look again.
            if self.commit(&live, batch).await?.is_empty() {
                return Ok(seeded);
            }
        }
    }

    async fn plan_seed(
        &self,
        live: &Live,
        wanted: &Wanted,
        force: bool,
    ) -> Result<(Batch, Vec<SeededChannel>), SyncError> {
        let (mut batch, mut seeded) = (Batch::default(), Vec::new());
        for (name, (channel, records)) in wanted {
            let number = ChannelNo(channel.number);
            let keys = records.keys().map(|id| (number, id.clone())).collect();
            let (as_of, heads) = self.inner.store.heads(keys).await?;
            let mut count = SeededChannel { channel: name.clone(), added: 0, changed: 0, kept: 0, unchanged: 0 };
            for ((id, values), head) in records.iter().zip(heads) {
                let current = match &head {
                    Some(head) => codec::values_of(channel, head)?,
                    None => None,
                };
                let of = match &current {
                    None => &mut count.added,
                    Some(current) if current == values => &mut count.unchanged,
                    Some(_) if force => &mut count.changed,
                    Some(_) => &mut count.kept,
                };
                *of += 1;
                if current.is_none() || (force && current.as_ref() != Some(values)) {
                    let change = put(live, channel, id, values, Aside::default());
                    batch.journal.push(Journal { channel: number, id: id.clone(), as_of, change });
                }
            }
            seeded.push(count);
        }
        Ok((batch, seeded))
    }
}

fn read(live: &Live, given: Vec<SeedChannel>) -> Result<Wanted, SeedError> {
    let mut wanted = Wanted::new();
    for SeedChannel { channel: name, records } in given {
        let channel = live.channels.get(&name).ok_or_else(|| SeedError::NoChannel(name.clone()))?;
        if !matches!(channel.home, Home::Managed) {
            return Err(SeedError::NotManaged(name));
        }
        let (_, into) = wanted.entry(name.clone()).or_insert_with(|| (channel.clone(), BTreeMap::new()));
        for (id, fields) in records {
            let values = values(channel, &fields).map_err(|(field, message)| SeedError::BadField {
                channel: name.clone(),
                record: id.clone(),
                field,
                message,
            })?;
            into.insert(id, values);
        }
    }
    Ok(wanted)
}

/// The values of a record in the order of the live schema, or the field that is wrong and why.
fn values(channel: &LiveChannel, fields: &Fields) -> Result<Vec<Value>, (String, String)> {
    if let Some(name) = fields.keys().find(|name| channel.schema.field(name).is_none()) {
        return Err((name.clone(), "is no field of the channel as it is live".to_owned()));
    }
    let mut values = Vec::with_capacity(channel.schema.fields.len());
    for field in &channel.schema.fields {
        let wrong = |message: String| (field.name.clone(), message);
        let value = match fields.get(&field.name).or(field.default.as_ref()) {
            Some(json) => field.kind.from_json(json).map_err(|error| wrong(format!("is wrong: {error}")))?,
            None => Value::Null,
        };
        if field.required && value.is_null() {
            return Err(wrong("must have a value".to_owned()));
        }
        values.push(value);
    }
    Ok(values)
}
