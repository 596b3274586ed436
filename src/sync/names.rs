//! Records' names: which record a backend's key is, and which key a record has.
//!
//! Records born in a backend are named by their key's own text. Those that devices created keep the id the device gave
//! them; the pair is in the id map, all of which is kept in memory here and written with the commit that makes it.

use std::collections::HashMap;
use std::sync::RwLock;

use omctl_protocol::RecordId;

use crate::store::IdMapping;

/// The id map in memory.
#[derive(Debug, Default)]
pub(super) struct Names(RwLock<HashMap<u64, Channel>>);

#[derive(Debug, Default)]
struct Channel {
    by_key: HashMap<String, RecordId>,
    by_id: HashMap<RecordId, String>,
}

impl Names {
    pub(super) fn new(mappings: Vec<IdMapping>) -> Self {
        let names = Self::default();
        names.add(mappings);
        names
    }

    pub(super) fn add(&self, mappings: Vec<IdMapping>) {
        let mut channels = self.0.write().expect("nobody panics while naming");
        for mapping in mappings {
            let channel = channels.entry(mapping.channel.0).or_default();
            if let Some(earlier) = channel.by_key.insert(mapping.key.clone(), mapping.id.clone())
                && earlier != mapping.id
            {
                channel.by_id.remove(&earlier);
            }
            channel.by_id.insert(mapping.id, mapping.key);
        }
    }

    /// Forgets a channel whose records are others now.
    pub(super) fn forget(&self, channel: u64) {
        self.0.write().expect("nobody panics while naming").remove(&channel);
    }

    /// The record that a device created under this key.
    pub(super) fn record(&self, channel: u64, key: &str) -> Option<RecordId> {
        let channels = self.0.read().expect("nobody panics while naming");
        channels.get(&channel)?.by_key.get(key).cloned()
    }

    /// The text of a record's key: the mapped one, else the id itself, unless that is another record's key by now.
    pub(super) fn key(&self, channel: u64, id: &RecordId) -> Option<String> {
        let channels = self.0.read().expect("nobody panics while naming");
        let Some(channel) = channels.get(&channel) else { return Some(id.as_str().to_owned()) };
        match channel.by_id.get(id) {
            Some(key) => Some(key.clone()),
            None => (!channel.by_key.contains_key(id.as_str())).then(|| id.as_str().to_owned()),
        }
    }
}
