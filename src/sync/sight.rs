//! What an account may see, judged by interpreting the rules: with the membership rows that name the account, and the
//! records that references lead to, as the log has them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl_protocol::{ChannelName, FieldType, Position, RecordId, ScopeKey, Value};
use sha2::{Digest as _, Sha256};

use super::codec;
use super::place::{self, read_paths};
use super::{Sync, SyncError};
use crate::limits;
use crate::live::{Live, LiveChannel};
use crate::rule::{Members, Subject};
use crate::store::{ChannelNo, LinkKey};

/// What an account may hold, and what opens it.
pub(super) struct Granted {
    /// In the order of their keys.
    pub(super) scopes: Vec<(ScopeKey, (u64, ChannelName))>,
    /// Where any record found by these changes, the scopes may be others.
    pub(super) links: Vec<LinkKey>,
    /// Channels of which nobody may be told anything at the moment; their scopes are not among these.
    pub(super) closed: BTreeSet<ChannelName>,
}

impl Granted {
    /// Whether a scope is of a channel that is closed.
    pub(super) fn is_closed(&self, key: &ScopeKey) -> bool {
        key.as_str().split_once(':').is_some_and(|(channel, _)| self.closed.contains(&ChannelName::from(channel)))
    }

    /// Whether these are the scopes that are granted, beside those of closed channels.
    pub(super) fn holds_only(&self, held: &BTreeMap<ScopeKey, Position>) -> bool {
        let open = held.keys().filter(|key| !self.is_closed(key));
        open.eq(self.scopes.iter().map(|(key, _)| key))
    }

    /// Identifies the set of scopes that a device holds: these, and what it has of closed channels.
    pub(super) fn digest<'k>(&'k self, closed: impl Iterator<Item = &'k ScopeKey>) -> String {
        let mut hasher = Sha256::new();
        let keys: BTreeSet<&ScopeKey> = self.scopes.iter().map(|(key, _)| key).chain(closed).collect();
        for key in keys {
            hasher.update((key.as_str().len() as u64).to_be_bytes());
            hasher.update(key.as_str());
        }
        BASE64.encode(&hasher.finalize()[..16])
    }
}

/// An account's eyes, for one run. Records that they have not looked at ([`Sync::look`]) are not there for them.
pub(super) struct Sight {
    live: Arc<Live>,
    pub(super) subject: Subject,
    members: Members,
    records: HashMap<(ChannelName, String), Option<Vec<Value>>>,
}

impl Sight {
    pub(super) fn new(live: Arc<Live>, subject: Subject, members: Members) -> Self {
        Self { live, subject, members, records: HashMap::new() }
    }

    /// Notes a record as it is now, whatever the log says.
    pub(super) fn note(&mut self, channel: &ChannelName, id: &str, values: Option<Vec<Value>>) {
        self.records.insert((channel.clone(), id.to_owned()), values);
    }

    /// Whether the account sees the record so.
    pub(super) fn sees(&self, channel: &LiveChannel, record: (&str, &[Value])) -> bool {
        let read =
            read_paths(&self.live, channel, channel.rule.paths(), record, &mut |channel, id| self.get(channel, id));
        channel.rule.sees(&self.subject, &self.members, &read)
    }

    /// Whether the account sees the record that a reference names.
    pub(super) fn sees_named(&self, channel: &ChannelName, id: &str) -> bool {
        let Some(to) = self.live.channels.get(channel) else { return false };
        self.get(channel, id).is_some_and(|values| self.sees(to, (id, &values)))
    }

    /// Whether there is such a record, seen or not.
    pub(super) fn is_there(&self, channel: &ChannelName, id: &str) -> bool {
        self.get(channel, id).is_some()
    }

    /// How many scopes the record would be in.
    pub(super) fn scopes(&self, channel: &LiveChannel, record: (&str, &[Value])) -> usize {
        place::scopes_of(&self.live, channel, record, &mut |channel, id| self.get(channel, id)).len()
    }

    fn get(&self, channel: &ChannelName, id: &str) -> Option<Vec<Value>> {
        self.records.get(&(channel.clone(), id.to_owned())).cloned().flatten()
    }

    /// The records that these values lead to by the references through which their channel inherits, and that were not
    /// looked at.
    fn unknown_parents(&self, channel: &LiveChannel, values: &[Value]) -> Vec<(ChannelName, String)> {
        let parents = channel.parents.iter().filter_map(|(name, to)| match place::field(channel, values, name) {
            Some(Value::Text(id)) => Some((to.clone(), id)),
            _ => None,
        });
        parents.filter(|key| !self.records.contains_key(key)).collect()
    }
}

impl Sync {
    /// What membership rows say of an account, for the rules of these channels.
    pub(super) async fn members<'c>(
        &self,
        live: &Live,
        channels: impl Iterator<Item = &'c Arc<LiveChannel>>,
        subject: &Subject,
    ) -> Result<Members, SyncError> {
        let mut members = Members::default();
        for membership in channels.flat_map(|channel| channel.rule.memberships()) {
            let Some(of) = live.channels.get(&membership.channel) else { continue };
            let keys = membership.links_for(subject).iter().map(|link| LinkKey::of(link)).collect();
            let mut said = Vec::new();
            for (channel, head) in self.inner.store.linked(keys).await? {
                let Some(values) = codec::values_of(of, &head)?.filter(|_| channel.0 == of.number) else { continue };
                let record = (head.row.id.as_str(), &values[..]);
                let read = |paths| read_paths(live, of, paths, record, &mut |_, _| None);
                // The key is a hash, and rows of an earlier rule may be found by the same.
                if membership.holds(subject, &read(membership.paths())) {
                    said.extend(read(std::slice::from_ref(&membership.value)));
                }
            }
            members.add(membership, said.iter());
        }
        Ok(members)
    }

    /// The scope keys of an account, with their channels, and what opens them.
    pub(super) async fn granted(&self, live: &Live, subject: &Subject) -> Result<Granted, SyncError> {
        let members = self.members(live, live.channels.values(), subject).await?;
        let mut granted = Granted { scopes: Vec::new(), links: Vec::new(), closed: self.closed() };
        for channel in
            live.channels.values().filter(|channel| !granted.closed.contains(channel.name())).collect::<Vec<_>>()
        {
            let keys = channel.rule.keys_for(channel.name(), channel.epoch, subject, &members);
            granted.scopes.extend(keys.into_iter().map(|key| (key, (channel.number, channel.name().clone()))));
            let links = channel.rule.memberships().iter().flat_map(|membership| membership.links_for(subject));
            granted.links.extend(links.map(|link| LinkKey::of(&link)));
        }
        if granted.scopes.len() > limits::SCOPES_PER_ACCOUNT_MAX {
            tracing::warn!(
                account = %subject.email, scopes = granted.scopes.len(),
                "an account may see more scopes than a session carries; the last ones are left out"
            );
            granted.scopes.truncate(limits::SCOPES_PER_ACCOUNT_MAX);
        }
        granted.scopes.sort();
        granted.links.sort_unstable();
        granted.links.dedup();
        Ok(granted)
    }

    /// An account's eyes for records of these channels.
    pub(super) async fn sight<'c>(
        &self,
        live: &Arc<Live>,
        channels: impl Iterator<Item = &'c Arc<LiveChannel>>,
        subject: Subject,
    ) -> Result<Sight, SyncError> {
        // Whether a record may be named depends on the rules of the channels that references lead to.
        let mut all: BTreeMap<&ChannelName, &Arc<LiveChannel>> = BTreeMap::new();
        for channel in channels {
            let named = channel.schema.fields.iter().filter_map(|field| live.channels.get(field.to.as_ref()?));
            all.extend(named.chain([channel]).map(|channel| (channel.name(), channel)));
        }
        let members = self.members(live, all.into_values(), &subject).await?;
        Ok(Sight::new(live.clone(), subject, members))
    }

    /// Looks at the records that decide whether these are seen, as the log has them.
    pub(super) async fn look(
        &self,
        sight: &mut Sight,
        records: impl Iterator<Item = (Arc<LiveChannel>, Vec<Value>)>,
    ) -> Result<(), SyncError> {
        let live = sight.live.clone();
        let mut wanted: Vec<(ChannelName, String)> =
            records.flat_map(|(channel, values)| sight.unknown_parents(&channel, &values)).collect();
        while !wanted.is_empty() {
            wanted.sort();
            wanted.dedup();
            let named = |(channel, id): &(ChannelName, String)| {
                let to = live.channels.get(channel)?;
                Some((ChannelNo(to.number), RecordId::from(id.as_str())))
            };
            wanted.retain(|key| named(key).is_some());
            let (_, heads) = self.inner.store.heads(wanted.iter().filter_map(named).collect()).await?;
            let mut further = Vec::new();
            for ((channel, id), head) in wanted.into_iter().zip(heads) {
                let to = &live.channels[&channel];
                let values = head.map(|head| codec::values_of(to, &head)).transpose()?.flatten();
                sight.note(&channel, &id, values.clone());
                further.extend(values.map(|values| sight.unknown_parents(to, &values)).unwrap_or_default());
            }
            wanted = further;
        }
        Ok(())
    }

    /// Looks at the records that these fields name, and at those that decide whether they are seen.
    pub(super) async fn look_at_named(
        &self,
        sight: &mut Sight,
        channel: &LiveChannel,
        fields: impl Iterator<Item = (&String, &Value)>,
    ) -> Result<(), SyncError> {
        let live = sight.live.clone();
        let named = |(name, value): (&String, &Value)| {
            let (_, field) = channel.schema.field(name)?;
            let to = live.channels.get(field.to.as_ref().filter(|_| field.kind == FieldType::Ref)?)?;
            Some((to.clone(), value.as_text()?.to_owned()))
        };
        let mut found = Vec::new();
        let wanted: Vec<(Arc<LiveChannel>, String)> = fields
            .filter_map(named)
            .filter(|(to, id)| !sight.records.contains_key(&(to.name().clone(), id.clone())))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let keys = wanted.iter().map(|(to, id)| (ChannelNo(to.number), RecordId::from(id.as_str()))).collect();
        let (_, heads) = self.inner.store.heads(keys).await?;
        for ((to, id), head) in wanted.into_iter().zip(heads) {
            let values = head.map(|head| codec::values_of(&to, &head)).transpose()?.flatten();
            sight.note(to.name(), &id, values.clone());
            found.extend(values.map(|values| (to, values)));
        }
        self.look(sight, found.into_iter()).await
    }
}
