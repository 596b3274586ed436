//! Removes what a fleet made and puts back what it changed.
//!
//! In backends that is done past the server, as the fleet's foreign writer works; in managed channels by the rights of the
//! fleet's own accounts, and by seeding. What cannot be removed is left in the list.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::admin::{ChannelView, ForeignWrite, RecordWrite, SeedChannel, SeedRequest};
use omctl_protocol::{ChannelName, Fields, Operation, RecordId};

use super::SimulateError;
use super::stage::Stage;
use super::tape::Record;
use crate::catalog::MANAGED;
use crate::client::{Client, ClientError};

/// Records that refer to others go before these: so many times the channels are gone through.
const ROUNDS: usize = 4;

/// A seed holds so many records, at most.
const SEED_RECORDS: usize = 500;

/// Cleans up; `left` keeps what could not be removed.
pub(super) async fn clean(
    client: &Client,
    stage: &Stage,
    start: &[(ChannelName, Vec<Record>)],
    left: &mut BTreeMap<ChannelName, BTreeSet<String>>,
) -> Result<(), SimulateError> {
    let accounts: BTreeSet<&str> = stage.devices.iter().map(|device| device.account.as_str()).collect();
    for _ in 0..ROUNDS {
        for channel in &stage.channels {
            let Some(records) = left.get_mut(&channel.name) else { continue };
            let mut stay = BTreeSet::new();
            for record in std::mem::take(records) {
                if !remove(client, channel, &record, &accounts).await? {
                    stay.insert(record);
                }
            }
            *records = stay;
        }
        left.retain(|_, records| !records.is_empty());
        // Those that others refer to come first here: a reference may only be put back once its record is there.
        put_back(client, stage, start).await?;
    }
    Ok(())
}

/// Removes one record. Whether it is gone.
async fn remove(
    client: &Client,
    channel: &ChannelView,
    record: &str,
    accounts: &BTreeSet<&str>,
) -> Result<bool, ClientError> {
    let record = RecordId::from(record);
    if channel.backend != MANAGED {
        let write =
            ForeignWrite { op: Operation::Delete, record: Some(record), set: Fields::new(), add: Fields::new() };
        let done = client.write_foreign(&channel.name, &write).await?;
        return Ok(done.refused.is_none_or(|why| why == "gone"));
    }
    for email in accounts {
        let write = RecordWrite {
            email: (*email).to_owned(),
            op: Operation::Delete,
            record: Some(record.clone()),
            set: Fields::new(),
            key: None,
        };
        let written = client.write_record(channel.name.as_str(), &write).await?;
        if !written.receipt.is_rejected() && is_gone(client, channel, &record).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_gone(client: &Client, channel: &ChannelView, record: &RecordId) -> Result<bool, ClientError> {
    let query = omctl_protocol::admin::RecordQuery { id: Some(record.as_str().to_owned()), ..Default::default() };
    Ok(client.records(channel.name.as_str(), &query).await?.rows.is_empty())
}

/// Puts records that were there before as they were.
async fn put_back(client: &Client, stage: &Stage, start: &[(ChannelName, Vec<Record>)]) -> Result<(), SimulateError> {
    for (name, before) in start {
        let Some(channel) = stage.channel(name) else { continue };
        let now = client.backend_view(name, None).await?;
        let now: BTreeMap<&str, &Vec<serde_json::Value>> =
            now.rows.iter().map(|(id, values)| (id.as_str(), values)).collect();
        let changed: Vec<&Record> =
            before.iter().filter(|(id, values)| now.get(id.as_str()).is_none_or(|now| *now != values)).collect();
        if channel.backend == MANAGED {
            for chunk in changed.chunks(SEED_RECORDS) {
                let records =
                    chunk.iter().map(|(id, values)| (RecordId::from(id.as_str()), fields(channel, values, |_| true)));
                let seed = SeedChannel { channel: name.clone(), records: records.collect() };
                client.seed(&SeedRequest { channels: vec![seed], force: true, dry_run: false }).await?;
            }
            continue;
        }
        for (id, values) in changed {
            let write = match now.get(id.as_str()) {
                Some(now) => {
                    let differs = |place: usize| now[place] != values[place];
                    ForeignWrite {
                        op: Operation::Update,
                        record: Some(RecordId::from(id.as_str())),
                        set: fields(channel, values, differs),
                        add: Fields::new(),
                    }
                }
                None => ForeignWrite {
                    op: Operation::Create,
                    record: None,
                    set: fields(channel, values, |_| true),
                    add: Fields::new(),
                },
            };
            let done = client.write_foreign(name, &write).await?;
            if let Some(why) = done.refused {
                tracing::warn!(channel = %name, record = %id, why, "a record is not put back");
            }
        }
    }
    Ok(())
}

fn fields(channel: &ChannelView, values: &[serde_json::Value], wanted: impl Fn(usize) -> bool) -> Fields {
    let fields = channel.schema.fields.iter().zip(values).enumerate();
    fields
        .filter(|(place, (field, _))| wanted(*place) && !field.read_only)
        .map(|(_, (field, value))| (field.name.clone(), value.clone()))
        .collect()
}
