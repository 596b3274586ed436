//! Where records belong: in which scopes, and by what they are found.
//!
//! A rule that looks at the record alone places it before it is journaled. One that looks further, at the records that
//! references lead to, is asked by the store in the transaction that writes ([`Placing`]).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

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
    #[cfg(feature = "planted")]
    scopes.extend(crate::planted::leak(channel.name(), id, &scopes));
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
    fn generation(&self) -> u64 {
        self.0.generation
    }

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

/// How soon it is looked again whether the next generation is live.
const SWAPPED_WITHIN: Duration = Duration::from_millis(2);

/// A batch that was made under earlier definitions, for later ones. Bodies name their schema version; only places are
/// given anew. What was read in a home that the channel has left says nothing any more.
fn rebase(batch: Batch, before: &Live, now: &Live) -> Batch {
    let epoch = |live: &Live, number: u64| live.channel_numbered(number).map(|channel| channel.epoch);
    let has_left = |number: ChannelNo| {
        let now = epoch(now, number.0);
        now.is_some() && now != epoch(before, number.0)
    };
    let mut batch = batch;
    for entry in &mut batch.journal {
        if has_left(entry.channel) {
            entry.change = JournalChange::Moved;
        } else if let JournalChange::Put { place, .. } = &mut entry.change {
            *place = None;
        }
    }
    batch.mappings.retain(|mapping| !has_left(mapping.channel));
    batch
}

/// The planted bug `unlogged`: the log keeps what it has of one record.
#[cfg(feature = "planted")]
fn leave_out(live: &Live, batch: &mut Batch) {
    use crate::planted::{self, Plant};
    for entry in &mut batch.journal {
        let Some(channel) = live.channel_numbered(entry.channel.0) else { continue };
        if planted::is_chosen(Plant::Unlogged, planted::name_of(channel.name(), &entry.id)) {
            planted::tell(Plant::Unlogged, channel.name(), &entry.id, None);
            entry.change = JournalChange::Moved;
        }
    }
}

impl Sync {
    /// Commits a batch with what places its records. Where definitions changed since it was made, its records are placed
    /// by the new ones. Returns the entries (by their place) that stand on a read which is too old: nothing was done then.
    pub(super) async fn commit(&self, live: &Arc<Live>, batch: Batch) -> Result<Vec<usize>, SyncError> {
        self.wait_for_wholes(live, &batch).await;
        self.commit_now(live, batch).await
    }

    /// The same of what was read in a backend that is being compared with the log: it is known what became of it.
    pub(super) async fn commit_unasked(&self, live: &Arc<Live>, batch: Batch) -> Result<Vec<usize>, SyncError> {
        self.wait_for_wholes(live, &batch).await;
        self.commit_as(live, batch).await
    }

    /// The same, in the midst of an atomic transaction.
    pub(super) async fn commit_now(&self, live: &Arc<Live>, batch: Batch) -> Result<Vec<usize>, SyncError> {
        self.check_histories(live, &batch).await?;
        self.commit_as(live, batch).await
    }

    async fn commit_as(&self, live: &Arc<Live>, batch: Batch) -> Result<Vec<usize>, SyncError> {
        let (mut live, mut batch) = (live.clone(), batch);
        #[cfg(feature = "planted")]
        leave_out(&live, &mut batch);
        // Those of a commit that failed go with this one.
        let known: HashSet<(ChannelNo, String)> =
            batch.mappings.iter().map(|mapping| (mapping.channel, mapping.key.clone())).collect();
        let left_over = self.inner.names.unsaved().into_iter();
        batch.mappings.extend(left_over.filter(|mapping| !known.contains(&(mapping.channel, mapping.key.clone()))));
        loop {
            let (mappings, witness) = (batch.mappings.clone(), batch.witness.clone());
            let placer: Arc<dyn Placer> = Arc::new(Placing(live.clone()));
            match self.inner.store.commit_batch(Batch { placer: Some(placer), ..batch }).await? {
                Committing::Outdated(back) => {
                    let next = self.generation_after(live.generation).await;
                    batch = rebase(*back, &live, &next);
                    live = next;
                }
                Committing::Stale(places) => return Ok(places),
                Committing::Done(_) => {
                    self.inner.names.saved(&mappings);
                    witness.into_iter().for_each(|witness| self.inner.set_backs.noted(witness));
                    return Ok(Vec::new());
                }
            }
        }
    }

    /// The generation that follows this one, once it is live: the store asks for it a moment before.
    async fn generation_after(&self, generation: u64) -> Arc<Live> {
        loop {
            let live = self.inner.live.current();
            if live.generation > generation {
                return live;
            }
            tokio::time::sleep(SWAPPED_WITHIN).await;
        }
    }

    /// Journal entries that place these records anew. A record that holds something aside for a field which is there
    /// again gets it back by the way: devices see what stands in bodies, and nothing else.
    pub(super) async fn moved(
        &self,
        live: &Live,
        channel: &LiveChannel,
        ids: Vec<RecordId>,
    ) -> Result<Vec<Journal>, SyncError> {
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
}
