//! What an account should see, by the backend's own scan and the rule interpreted row by row: past the log, membership
//! and compiled keys. The convergence checker asks this, so that a mistake of theirs shows.

use omctl_protocol::{ChannelName, RecordId, Value};

use super::codec::{self, Record};
use super::managed::sees;
use super::{Sync, SyncError};
use crate::backend::Key;
use crate::limits;
use crate::live::Home;
use crate::rule::Subject;
use crate::store::ChannelNo;

/// The records of a channel that an account should see.
#[derive(Clone, Debug, Default)]
pub struct BackendView {
    /// The names of the values, in their order.
    pub fields: Vec<String>,
    /// The records.
    pub rows: Vec<ViewRow>,
    /// Whether the answer stands: nothing of the channel is paused, held or not yet read.
    pub settled: bool,
}

/// One record.
#[derive(Clone, Debug)]
pub struct ViewRow {
    /// Its id on devices.
    pub id: RecordId,
    /// Its values.
    pub values: Vec<Value>,
}

impl Sync {
    /// Reads what this account should see of a channel.
    ///
    /// # Errors
    /// Those of the backend; [`crate::store::StoreError::NotFound`] where there is no such channel.
    pub async fn backend_view(&self, name: &ChannelName, subject: &Subject) -> Result<BackendView, SyncError> {
        let live = self.inner.live.current();
        let channel = live.channels.get(name).ok_or(crate::store::StoreError::NotFound("channel"))?;
        let mut view = BackendView {
            fields: channel.schema.fields.iter().map(|field| field.name.clone()).collect(),
            rows: Vec::new(),
            settled: true,
        };
        match &channel.home {
            Home::Managed => {
                let mut after = None;
                loop {
                    let number = ChannelNo(channel.number);
                    let (_, heads) = self.inner.store.live_records(number, after, limits::INGEST_CHUNK_ROWS).await?;
                    let Some(last) = heads.last() else { break };
                    after = Some(last.row.id.clone());
                    for head in heads {
                        let Some(values) = codec::values_of(channel, &head)? else { continue };
                        if sees(channel, subject, &values) {
                            view.rows.push(ViewRow { id: head.row.id, values });
                        }
                    }
                }
            }
            Home::Backend(backend, collection) => {
                let health = self.health();
                let health = health.get(name);
                view.settled =
                    health.is_some_and(|health| health.synced && health.paused.is_none() && health.held_deletes == 0);
                let mut after: Option<Key> = None;
                loop {
                    let page = backend.scan(collection, after.as_ref(), limits::INGEST_CHUNK_ROWS).await?;
                    let records = self.name_rows(&live, channel, page.rows, &mut Vec::new()).await?;
                    let seen = records.into_iter().filter(|record| sees(channel, subject, &record.values));
                    view.rows.extend(seen.map(|Record { id, values }| ViewRow { id, values }));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(view)
    }
}
