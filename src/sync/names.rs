//! Records' names: which record a backend's key is, and which key a record has.
//!
//! Records born in a backend are named by their key's own text. Those that devices created keep the id the device gave
//! them; the pair is in the id map, all of which is kept in memory here and written with the commit that makes it. Where
//! that commit fails, the pair goes with the next one: the log must not know a record whose key nobody knows after a start.

use std::collections::HashMap;
use std::sync::RwLock;

use omctl_protocol::RecordId;

use crate::store::{ChannelNo, IdMapping};

/// The id map in memory.
#[derive(Debug, Default)]
pub(super) struct Names(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    channels: HashMap<u64, Channel>,
    /// Pairs that are not in the store yet, by channel and key.
    unsaved: HashMap<(u64, String), RecordId>,
}

#[derive(Debug, Default)]
struct Channel {
    by_key: HashMap<String, RecordId>,
    by_id: HashMap<RecordId, String>,
}

const UNPOISONED: &str = "nobody panics while naming";

impl Names {
    pub(super) fn new(mappings: Vec<IdMapping>) -> Self {
        let names = Self::default();
        names.add(mappings);
        names
    }

    /// Takes over pairs that the store has.
    pub(super) fn add(&self, mappings: Vec<IdMapping>) {
        let mut state = self.0.write().expect(UNPOISONED);
        mappings.into_iter().for_each(|mapping| state.channels.entry(mapping.channel.0).or_default().add(mapping));
    }

    /// Takes in pairs that the store has yet to get.
    pub(super) fn learn(&self, mappings: &[IdMapping]) {
        let mut state = self.0.write().expect(UNPOISONED);
        for mapping in mappings {
            state.unsaved.insert((mapping.channel.0, mapping.key.clone()), mapping.id.clone());
            state.channels.entry(mapping.channel.0).or_default().add(mapping.clone());
        }
    }

    /// Pairs that the store has yet to get.
    pub(super) fn unsaved(&self) -> Vec<IdMapping> {
        let state = self.0.read().expect(UNPOISONED);
        let pair = |((channel, key), id): (&(u64, String), &RecordId)| IdMapping {
            channel: ChannelNo(*channel),
            id: id.clone(),
            key: key.clone(),
        };
        state.unsaved.iter().map(pair).collect()
    }

    /// The store has these now.
    pub(super) fn saved(&self, mappings: &[IdMapping]) {
        if mappings.is_empty() {
            return;
        }
        let mut state = self.0.write().expect(UNPOISONED);
        for mapping in mappings {
            let at = (mapping.channel.0, mapping.key.clone());
            // Its key may have become another record's meanwhile, which is yet to be saved.
            if state.unsaved.get(&at) == Some(&mapping.id) {
                state.unsaved.remove(&at);
            }
        }
    }

    /// Forgets a channel whose records are others now.
    pub(super) fn forget(&self, channel: u64) {
        let mut state = self.0.write().expect(UNPOISONED);
        state.channels.remove(&channel);
        state.unsaved.retain(|(of, _), _| *of != channel);
    }

    /// Forgets which keys these records of a channel had.
    pub(super) fn forget_records(&self, channel: u64, records: &[RecordId]) {
        let mut state = self.0.write().expect(UNPOISONED);
        state.unsaved.retain(|(of, _), id| *of != channel || !records.contains(id));
        let Some(channel) = state.channels.get_mut(&channel) else { return };
        for id in records {
            if let Some(key) = channel.by_id.remove(id) {
                channel.by_key.remove(&key);
            }
        }
    }

    /// The record that a device created under this key.
    pub(super) fn record(&self, channel: u64, key: &str) -> Option<RecordId> {
        let state = self.0.read().expect(UNPOISONED);
        state.channels.get(&channel)?.by_key.get(key).cloned()
    }

    /// The text of a record's key: the mapped one, else the id itself, unless that is another record's key by now.
    pub(super) fn key(&self, channel: u64, id: &RecordId) -> Option<String> {
        let state = self.0.read().expect(UNPOISONED);
        let Some(channel) = state.channels.get(&channel) else { return Some(id.as_str().to_owned()) };
        match channel.by_id.get(id) {
            Some(key) => Some(key.clone()),
            None => (!channel.by_key.contains_key(id.as_str())).then(|| id.as_str().to_owned()),
        }
    }
}

impl Channel {
    fn add(&mut self, mapping: IdMapping) {
        if let Some(earlier) = self.by_key.insert(mapping.key.clone(), mapping.id.clone())
            && earlier != mapping.id
        {
            self.by_id.remove(&earlier);
        }
        self.by_id.insert(mapping.id, mapping.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_unsaved_until_the_store_has_it_and_not_longer() {
        let pair = |id: &str| IdMapping { channel: ChannelNo(1), id: id.into(), key: "7".into() };
        let names = Names::new(vec![]);
        names.learn(&[pair("a")]);
        assert_eq!(names.unsaved(), [pair("a")]);
        names.learn(&[pair("b")]);
        names.saved(&[pair("a")]);
        assert_eq!((names.unsaved(), names.record(1, "7")), (vec![pair("b")], Some("b".into())));
        names.saved(&[pair("b")]);
        assert_eq!(names.unsaved(), []);
        names.learn(&[pair("c")]);
        names.forget(1);
        assert_eq!((names.unsaved(), names.record(1, "7")), (vec![], None));
    }
}
