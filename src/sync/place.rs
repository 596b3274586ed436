//! Where records belong: in which scopes, and by what they are found.
//!
//! A rule that looks at the record alone places it before it is journaled. One that looks further, at the records that
//! references lead to, is asked by the store in the transaction that writes ([`Placing`]).

use std::collections::HashMap;
use std::sync::Arc;

use omctl_protocol::{ChannelName, RecordId, ScopeKey, Value};

use super::codec::{aside_of, brings_back, values_in, values_of};
use super::managed::put;
use super::{Sync, SyncError};
use crate::limits;
use crate::live::{Live, LiveChannel};
use crate::rule::{Leaf, Path};
use crate::store::{Batch, Body, ChannelNo, Committing, Journal, JournalChange, LinkKey, Place, Placer};

/// Gives the values of a living record, in the order of its channel's fields.
pub(super) type Follow<'f> = &'f mut dyn FnMut(&ChannelName, &str) -> Option<Vec<Value>>;

/// What a rule reads of a record, in the order of the paths.
pub(super) fn read_paths(
    live: &Live,
    channel: &LiveChannel,
    paths: &[Path],
    (id, values): (&str, &[Value]),
    follow: Follow<'_>,
) -> Vec<Value> {
    paths.iter().map(|path| read_path(live, channel, path, (id, values), follow).unwrap_or_default()).collect()
}

/// `None`: some record on the way is not there.
fn read_path(
    live: &Live,
    channel: &LiveChannel,
    path: &Path,
    (id, values): (&str, &[Value]),
    follow: Follow<'_>,
) -> Option<Value> {
    let Some((first, rest)) = path.via.split_first() else { return read_leaf(channel, &path.leaf, (id, values)) };
    let mut at = field(channel, values, &first.field)?;
    let mut here = follow(&first.to, at.as_text()?)?;
    let mut to = live.channels.get(&first.to)?;
    for step in rest {
        at = field(to, &here, &step.field)?;
        here = follow(&step.to, at.as_text()?)?;
        to = live.channels.get(&step.to)?;
    }
    read_leaf(to, &path.leaf, (at.as_text()?, &here))
}

fn read_leaf(channel: &LiveChannel, leaf: &Leaf, (id, values): (&str, &[Value])) -> Option<Value> {
    match leaf {
        Leaf::Id => Some(Value::Text(id.to_owned())),
        Leaf::Field(name) => field(channel, values, name),
    }
}

pub(super) fn field(channel: &LiveChannel, values: &[Value], name: &str) -> Option<Value> {
    let (place, _) = channel.schema.field(name)?;
    values.get(place).cloned()
}

/// Where a record belongs, if its rule looks at nothing but the record.
pub(super) fn place_alone(live: &Live, channel: &LiveChannel, id: &RecordId, values: &[Value]) -> Option<Place> {
    channel.parents.is_empty().then(|| place(live, channel, id, values, &mut |_, _| None))
}

fn place(live: &Live, channel: &LiveChannel, id: &RecordId, values: &[Value], follow: Follow<'_>) -> Place {
    let read = read_paths(live, channel, channel.rule.paths(), (id.as_str(), values), follow);
    let mut scopes = channel.rule.keys_of(channel.name(), channel.epoch, &read);
    if scopes.len() > limits::SCOPES_PER_RECORD_MAX {
        tracing::warn!(channel = %channel.name(), "a record of `{}` is in too many scopes; some are left out", channel.name());
        scopes.truncate(limits::SCOPES_PER_RECORD_MAX);
    }
    let mut links = Vec::new();
    for (name, to) in &channel.parents {
        if let Some(Value::Text(parent)) = field(channel, values, name) {
            links.push(children_of(to, &parent));
        }
    }
    for membership in &channel.listed {
        let read = read_paths(live, channel, membership.paths(), (id.as_str(), values), &mut |_, _| None);
        links.extend(membership.links_of(&read).iter().map(|link| LinkKey::of(link)));
    }
    links.sort_unstable();
    links.dedup();
    Place { scopes, links }
}

/// How many scopes a record would be in.
pub(super) fn scopes_of(
    live: &Live,
    channel: &LiveChannel,
    record: (&str, &[Value]),
    follow: Follow<'_>,
) -> Vec<ScopeKey> {
    let read = read_paths(live, channel, channel.rule.paths(), record, follow);
    channel.rule.keys_of(channel.name(), channel.epoch, &read)
}

fn children_of(channel: &ChannelName, id: &str) -> LinkKey {
    LinkKey::of(&format!("^{channel}:{id}"))
}

/// Places records by the rules of one generation.
#[derive(Debug)]
pub(super) struct Placing(pub(super) Arc<Live>);

impl Placer for Placing {
    fn place(
        &self,
        channel: ChannelNo,
        id: &RecordId,
        (version, body): &Body,
        read: &mut dyn FnMut(ChannelNo, &RecordId) -> Option<Body>,
    ) -> Place {
        let live = &*self.0;
        // A channel that is not declared any more has no rule: nobody sees its records.
        let Some(channel) = live.channel_numbered(channel.0) else { return Place::default() };
        let mut known: HashMap<(ChannelName, String), Option<Vec<Value>>> = HashMap::new();
        let mut follow = |name: &ChannelName, id: &str| {
            known
                .entry((name.clone(), id.to_owned()))
                .or_insert_with(|| {
                    let to = live.channels.get(name)?;
                    let (version, body) = read(ChannelNo(to.number), &RecordId::from(id))?;
                    readable(to, values_in(to, version, &body))
                })
                .clone()
        };
        match readable(channel, values_in(channel, *version, body)) {
            Some(values) => place(live, channel, id, &values, &mut follow),
            None => Place::default(),
        }
    }

    fn children(&self, channel: ChannelNo, id: &RecordId) -> Option<LinkKey> {
        let channel = self.0.channel_numbered(channel.0).filter(|channel| channel.leads)?;
        Some(children_of(channel.name(), id.as_str()))
    }
}

/// What cannot be read is nobody's: better missing than shown to the wrong ones.
fn readable(channel: &LiveChannel, values: Result<Vec<Value>, SyncError>) -> Option<Vec<Value>> {
    values.inspect_err(|error| tracing::error!(channel = %channel.name(), %error, "a record cannot be placed")).ok()
}

impl Sync {
    /// Commits a batch with what places its records.
    pub(super) async fn commit(&self, live: &Arc<Live>, batch: Batch) -> Result<Committing, SyncError> {
        let placer: Arc<dyn Placer> = Arc::new(Placing(live.clone()));
        Ok(self.inner.store.commit_batch(Batch { placer: Some(placer), ..batch }).await?)
    }

    /// Journal entries that place these records anew. A record that holds something aside for a field which is there
    /// again gets it back by the way: devices see what stands in bodies, and nothing else.
    async fn moved(&self, live: &Live, channel: &LiveChannel, ids: Vec<RecordId>) -> Result<Vec<Journal>, SyncError> {
        let number = ChannelNo(channel.number);
        let (as_of, heads) = self.inner.store.heads(ids.iter().map(|id| (number, id.clone())).collect()).await?;
        let mut journal = Vec::with_capacity(ids.len());
        for (id, head) in ids.into_iter().zip(heads) {
            let back = match head.filter(|head| brings_back(channel, head)) {
                Some(head) => values_of(channel, &head)?.zip(Some(aside_of(channel, head)?)),
                None => None,
            };
            let change = match back {
                Some((values, aside)) => put(live, channel, &id, &values, aside),
                None => JournalChange::Moved,
            };
            journal.push(Journal { channel: number, id, as_of, change });
        }
        Ok(journal)
    }

    /// Places the records of every channel whose rule or fields are not those that they were placed by. Until this is done,
    /// nothing may be served: a device would see what its account may not, or miss what it may.
    pub(super) async fn place_all(&self, live: &Arc<Live>) -> Result<(), SyncError> {
        // Parents before children is not needed: a child reads its parents' values, not their places.
        for channel in live.channels.values() {
            if channel.placed.as_deref() == Some(&channel.placing) {
                continue;
            }
            let number = ChannelNo(channel.number);
            self.inner.store.set_placing(number, None).await?;
            let mut after = None;
            let mut records = 0;
            loop {
                let ids = self.inner.store.live_ids(number, after, limits::INGEST_CHUNK_ROWS).await?;
                let Some(last) = ids.last() else { break };
                after = Some(last.clone());
                records += ids.len();
                let batch = Batch { journal: self.moved(live, channel, ids).await?, ..Batch::default() };
                // Nobody else writes before the start: nothing can be stale.
                self.commit(live, batch).await?;
            }
            if records > 0 {
                tracing::info!(channel = %channel.name(), records, "placed the records of `{}` by its new scope", channel.name());
            }
            self.inner.store.set_placing(number, Some(channel.placing.clone())).await?;
        }
        Ok(())
    }
}
