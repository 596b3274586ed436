//! References across batches: what a batch of captures cannot name yet, the next one says.
//!
//! *Invariant:* pure. A record keeps its history: what is held back is its last change, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::Value;

use super::coalesce::{Capture, CaptureKind, Item, Surroundings};
use super::order::{Key, sent};

/// What an item could not say yet, as a capture that the next batch begins with.
#[derive(Debug)]
pub(crate) struct HeldBack {
    pub(crate) capture: Capture,
    /// Other groups that wait for it.
    pub(crate) joined: BTreeSet<i64>,
}

/// Takes references out of items to what only a later batch of captures creates.
pub(crate) fn hold_back<S: Surroundings>(items: &mut [Item], around: &S) -> Result<Vec<HeldBack>, S::Error> {
    let created: BTreeSet<Key> = items
        .iter()
        .filter(|item| item.before.is_none())
        .map(|item| (item.channel.clone(), item.record.clone()))
        .collect();
    // By record, the last item and the values held back.
    let mut held: BTreeMap<Key, (usize, BTreeMap<usize, Value>)> = BTreeMap::new();
    for (index, item) in items.iter_mut().enumerate() {
        let Some(schema) = around.schema(&item.channel) else { continue };
        let key = (item.channel.clone(), item.record.clone());
        let mut values = held.remove(&key).map(|(_, values)| values).unwrap_or_default();
        for (n, named) in sent(schema, item) {
            let field = &schema.fields[n];
            let may_wait = !field.required && !schema.is_key_field(&field.name);
            if may_wait && !created.contains(&named) && around.is_created_later(&named.0, &named.1)? {
                values.insert(n, Value::Text(named.1));
            }
        }
        let Some(after) = &mut item.after else { continue };
        values.retain(|n, value| after[*n] == *value);
        for (n, value) in &values {
            after[*n] = Value::Null;
            // An earlier item of the record has held it back already.
            if let Some(before) = item.before.as_mut().filter(|before| before[*n] == *value) {
                before[*n] = Value::Null;
            }
        }
        if !values.is_empty() {
            held.insert(key, (index, values));
        }
    }
    let mut rest: Vec<HeldBack> = Vec::with_capacity(held.len());
    for (index, values) in held.into_values() {
        rest.push(as_capture(&items[index], values, around)?);
    }
    rest.sort_by_key(|held| held.capture.n);
    Ok(rest)
}

fn as_capture<S: Surroundings>(item: &Item, values: BTreeMap<usize, Value>, around: &S) -> Result<HeldBack, S::Error> {
    let old = item.after.clone().unwrap_or_default();
    let mut new = old.clone();
    for (n, value) in values {
        new[n] = value;
    }
    let capture = Capture {
        n: item.place,
        channel: item.channel.clone(),
        record: item.record.clone(),
        kind: CaptureKind::Update,
        group: item.group,
        at_ms: item.at_ms,
        random: around.random()?,
        old,
        new,
    };
    Ok(HeldBack { capture, joined: item.joined.clone() })
}
