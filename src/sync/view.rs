//! What an account should see, by the backend's own scan and the rule interpreted row by row: past the log, membership
//! and compiled keys. The convergence checker asks this, so that a mistake of theirs shows.

use omctl_protocol::{ChannelName, RecordId, Value};

use super::codec::{self, Births, Record};
use super::ingest::ChannelHealth;
use super::place::read_paths;
use super::sight::Sight;
use super::{Sync, SyncError};
use crate::backend::Key;
use crate::limits;
use crate::live::{Home, Live, LiveChannel};
use crate::rule::{Members, Subject};
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
    /// Reads what this account should see of a channel; all of it, where none is named.
    ///
    /// # Errors
    /// Those of the backend; [`crate::store::StoreError::NotFound`] where there is no such channel.
    pub async fn backend_view(&self, name: &ChannelName, subject: Option<&Subject>) -> Result<BackendView, SyncError> {
        let live = self.inner.live.current();
        let channel = live.channels.get(name).ok_or(crate::store::StoreError::NotFound("channel"))?;
        let mut view = BackendView {
            fields: channel.schema.fields.iter().map(|field| field.name.clone()).collect(),
            rows: Vec::new(),
            settled: self.is_settled(channel),
        };
        let Some(subject) = subject else {
            let rows = self.scan_whole(&live, channel).await?.into_iter();
            view.rows.extend(rows.map(|Record { id, values }| ViewRow { id, values }));
            return Ok(view);
        };
        // What the rule leads to is read from the backends too: a mistake in the log must not hide itself.
        let mut members = Members::default();
        for membership in channel.rule.memberships() {
            let Some(of) = live.channels.get(&membership.channel) else { continue };
            view.settled &= self.is_settled(of);
            let mut said = Vec::new();
            for record in self.scan_whole(&live, of).await? {
                let read = |paths| read_paths(&live, of, paths, (record.id.as_str(), &record.values), &mut |_, _| None);
                if membership.holds(subject, &read(membership.paths())) {
                    said.extend(read(std::slice::from_ref(&membership.value)));
                }
            }
            members.add(membership, said.iter());
        }
        let mut sight = Sight::new(live.clone(), subject.clone(), members);
        let mut leading: Vec<&ChannelName> =
            channel.rule.paths().iter().flat_map(|path| &path.via).map(|step| &step.to).collect();
        leading.sort();
        leading.dedup();
        for name in leading {
            let Some(of) = live.channels.get(name) else { continue };
            view.settled &= self.is_settled(of);
            for record in self.scan_whole(&live, of).await? {
                sight.note(name, record.id.as_str(), Some(record.values));
            }
        }
        let rows = self.scan_whole(&live, channel).await?.into_iter();
        let seen = rows.filter(|record| sight.sees(channel, (record.id.as_str(), &record.values)));
        view.rows.extend(seen.map(|Record { id, values }| ViewRow { id, values }));
        Ok(view)
    }

    /// Whether what the log says of a channel stands: it was read whole, and nothing is paused or held.
    fn is_settled(&self, channel: &LiveChannel) -> bool {
        let health = self.health();
        let is_read = |health: &ChannelHealth| {
            health.is_synced(channel.epoch) && health.paused.is_none() && health.held_deletes == 0
        };
        matches!(channel.home, Home::Managed) || health.get(channel.name()).is_some_and(is_read)
    }

    /// Every record of a channel, from where it lives.
    async fn scan_whole(&self, live: &Live, channel: &LiveChannel) -> Result<Vec<Record>, SyncError> {
        let mut all = Vec::new();
        match &channel.home {
            Home::Managed => {
                let mut after = None;
                loop {
                    let number = ChannelNo(channel.number);
                    let (_, heads) = self.inner.store.live_records(number, after, limits::INGEST_CHUNK_ROWS).await?;
                    let Some(last) = heads.last() else { return Ok(all) };
                    after = Some(last.row.id.clone());
                    for head in heads {
                        let values = codec::values_of(channel, &head)?;
                        all.extend(values.map(|values| Record { id: head.row.id, values }));
                    }
                }
            }
            Home::Backend(backend, collection) => {
                let mut after: Option<Key> = None;
                loop {
                    let page = backend.scan(collection, after.as_ref(), limits::INGEST_CHUNK_ROWS).await?;
                    all.extend(self.name_rows(live, channel, page.rows, Births::Every, &mut Vec::new()).await?);
                    after = page.next;
                    if after.is_none() {
                        return Ok(all);
                    }
                }
            }
        }
    }
}
