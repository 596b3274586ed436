//! From captures to what will be sealed: several unsealed changes of one record become one.
//!
//! *Invariant:* pure. It never looks at what is already sealed; only unsealed captures are joined or dropped.

use std::collections::{BTreeSet, HashMap};

use omctl_protocol::{ChannelName, ChannelSchema, MutationId, Value};

/// What a trigger wrote for one changed row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Capture {
    /// Its place among all captures of the file.
    pub(crate) n: i64,
    pub(crate) channel: ChannelName,
    pub(crate) record: String,
    pub(crate) kind: CaptureKind,
    pub(crate) group: Option<i64>,
    pub(crate) at_ms: i64,
    /// With `at_ms`, the mutation's id.
    pub(crate) random: [u8; 10],
    /// Values before, in the order of the schema; empty for an insert.
    pub(crate) old: Vec<Value>,
    /// Values after; empty for a delete.
    pub(crate) new: Vec<Value>,
}

/// Which trigger wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureKind {
    Insert,
    Update,
    Delete,
}

/// One mutation to be: the record before and after. Neither is a create and delete that never happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    /// Of the first capture, for ever.
    pub(crate) id: MutationId,
    /// Where it stands in the order.
    pub(crate) place: i64,
    pub(crate) channel: ChannelName,
    pub(crate) record: String,
    pub(crate) at_ms: i64,
    pub(crate) group: Option<i64>,
    /// Other groups whose captures went into it.
    pub(crate) joined: BTreeSet<i64>,
    pub(crate) before: Option<Vec<Value>>,
    pub(crate) after: Option<Vec<Value>>,
}

impl Capture {
    /// The mutation's id: a UUIDv7 of the time and the random bytes that the capture was written with.
    pub(crate) fn mutation_id(&self) -> MutationId {
        mutation_id(self.at_ms, &self.random)
    }
}

/// A mutation's id: a UUIDv7.
pub(crate) fn mutation_id(at_ms: i64, random: &[u8; 10]) -> MutationId {
    let at_ms = u64::try_from(at_ms).unwrap_or(0);
    MutationId(uuid::Builder::from_unix_timestamp_millis(at_ms, random).into_uuid())
}

/// What coalescing and ordering need to know beside the captures.
pub(crate) trait Surroundings {
    /// Why it could not be found out.
    type Error;
    /// The fields of the channel.
    fn schema(&self, channel: &ChannelName) -> Option<&ChannelSchema>;
    /// The record as the app saw it before the first unsealed capture.
    fn sealed_state(&self, channel: &ChannelName, record: &str) -> Result<Option<Vec<Value>>, Self::Error>;
    /// Whether the record is not there yet, and a capture beyond this batch creates it.
    fn is_created_later(&self, channel: &ChannelName, record: &str) -> Result<bool, Self::Error>;
    /// The random part of a new mutation's id.
    fn random(&self) -> Result<[u8; 10], Self::Error>;
}

/// Joins captures, given in their order.
pub(crate) fn coalesce<S: Surroundings>(captures: Vec<Capture>, around: &S) -> Result<Vec<Item>, S::Error> {
    let mut items: Vec<Option<Item>> = Vec::new();
    // The items of each record, newest last: a delete shows again when the create after it is taken away.
    let mut of_record: HashMap<(ChannelName, String), Vec<usize>> = HashMap::new();
    let mut created: HashMap<(ChannelName, String), i64> = HashMap::new();
    for capture in captures {
        let Some(schema) = around.schema(&capture.channel) else { continue };
        let key = (capture.channel.clone(), capture.record.clone());
        let last = of_record.get(&key).and_then(|indexes| indexes.last()).copied();
        let open = last.filter(|index| items[*index].as_ref().is_some_and(|item| item.after.is_some()));
        let Some(index) = open else {
            let item = begin(capture, schema, around, last.is_some())?;
            if item.before.is_none() {
                created.insert(key.clone(), item.place);
            }
            of_record.entry(key).or_default().push(items.len());
            items.push(Some(item));
            continue;
        };
        let item = items[index].as_mut().expect("an open item was not taken away");
        let after = after_of(&capture, schema, item.after.as_deref());
        if let Some(after) = &after
            && refers_to_later_create(schema, item, after, &created)
        {
            let later = Item { before: item.after.clone(), after: Some(after.clone()), ..Item::of(&capture) };
            of_record.entry(key).or_default().push(items.len());
            items.push(Some(later));
            continue;
        }
        if let Some(group) = capture.group
            && item.group != Some(group)
        {
            item.joined.insert(group);
        }
        item.after = after;
        match (&item.before, &item.after) {
            // Made and removed before anybody heard of it.
            (None, None) => {
                items[index] = None;
                of_record.entry(key.clone()).or_default().pop();
                created.remove(&key);
            }
            // What was done to other records meanwhile may be what makes the delete possible: it stays where it was.
            (Some(_), None) => item.place = capture.n,
            _ => {}
        }
    }
    let mut items: Vec<Item> = items.into_iter().flatten().collect();
    items.sort_by_key(|item| item.place);
    Ok(items)
}

impl Item {
    fn of(capture: &Capture) -> Self {
        Self {
            id: capture.mutation_id(),
            place: capture.n,
            channel: capture.channel.clone(),
            record: capture.record.clone(),
            at_ms: capture.at_ms,
            group: capture.group,
            joined: BTreeSet::new(),
            before: None,
            after: None,
        }
    }
}

fn begin<S: Surroundings>(
    capture: Capture,
    schema: &ChannelSchema,
    around: &S,
    deleted_here: bool,
) -> Result<Item, S::Error> {
    let before = match capture.kind {
        CaptureKind::Insert if deleted_here => None,
        // INSERT OR REPLACE of a record that exists fires only the insert trigger: it is an update.
        CaptureKind::Insert => around.sealed_state(&capture.channel, &capture.record)?,
        CaptureKind::Update | CaptureKind::Delete => Some(capture.old.clone()),
    };
    let after = after_of(&capture, schema, before.as_deref());
    Ok(Item { before, after, ..Item::of(&capture) })
}

fn after_of(capture: &Capture, schema: &ChannelSchema, before: Option<&[Value]>) -> Option<Vec<Value>> {
    match (capture.kind, before) {
        (CaptureKind::Delete, _) => None,
        (CaptureKind::Insert, Some(before)) => {
            // The app that replaces a whole row leaves out what it may not write.
            let keep = |(n, value): (usize, &Value)| {
                let field = &schema.fields[n];
                let fixed = field.read_only || schema.is_key_field(&field.name);
                if fixed && value.is_null() { before[n].clone() } else { value.clone() }
            };
            Some(capture.new.iter().enumerate().map(keep).collect())
        }
        _ => Some(capture.new.clone()),
    }
}

/// Whether a reference now names a record that is created after the place where the item stands.
fn refers_to_later_create(
    schema: &ChannelSchema,
    item: &Item,
    after: &[Value],
    created: &HashMap<(ChannelName, String), i64>,
) -> bool {
    let known = item.after.as_deref().unwrap_or_default();
    schema.fields.iter().enumerate().any(|(n, field)| {
        let (Some(to), Some(record)) = (&field.to, after[n].as_text()) else { return false };
        known.get(n) != Some(&after[n])
            && created.get(&(to.clone(), record.to_owned())).is_some_and(|place| *place > item.place)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use omctl_protocol::{AssignedBy, Field, FieldType, KeyColumn, KeyRule, SchemaVersion};
    use proptest::prelude::*;

    use super::*;

    /// A schema, the rows as sealed, and the records that a later batch creates.
    pub(crate) struct Fixed(
        pub(crate) ChannelSchema,
        pub(crate) HashMap<String, Vec<Value>>,
        pub(crate) BTreeSet<&'static str>,
    );

    impl Surroundings for Fixed {
        type Error = std::convert::Infallible;
        fn schema(&self, _: &ChannelName) -> Option<&ChannelSchema> {
            Some(&self.0)
        }
        fn sealed_state(&self, _: &ChannelName, record: &str) -> Result<Option<Vec<Value>>, Self::Error> {
            Ok(self.1.get(record).cloned())
        }
        fn is_created_later(&self, _: &ChannelName, record: &str) -> Result<bool, Self::Error> {
            Ok(self.2.contains(record))
        }
        fn random(&self) -> Result<[u8; 10], Self::Error> {
            Ok([255; 10])
        }
    }

    pub(crate) fn fixed(rows: &[(&str, i64)]) -> Fixed {
        let field = |name: &str, kind, to: Option<&str>| Field {
            name: name.into(),
            kind,
            column: None,
            values: vec![],
            to: to.map(Into::into),
            required: false,
            max_length: None,
            default: None,
            conflict: Default::default(),
            read_only: false,
        };
        let schema = ChannelSchema {
            channel: "c".into(),
            version: SchemaVersion(1),
            key: KeyRule {
                assigned_by: AssignedBy::Device,
                columns: vec![KeyColumn { column: "id".into(), field: None }],
            },
            fields: vec![field("a", FieldType::Int, None), field("r", FieldType::Ref, Some("c"))],
            writable: true,
            atomic: None,
        };
        Fixed(schema, rows.iter().map(|(id, a)| ((*id).to_owned(), row(*a, None))).collect(), BTreeSet::new())
    }

    pub(crate) fn row(a: i64, r: Option<&str>) -> Vec<Value> {
        vec![Value::Int(a), r.map_or(Value::Null, |r| Value::Text(r.into()))]
    }

    pub(crate) fn capture(n: i64, record: &str, old: Option<Vec<Value>>, new: Option<Vec<Value>>) -> Capture {
        let kind = match (&old, &new) {
            (None, _) => CaptureKind::Insert,
            (_, None) => CaptureKind::Delete,
            _ => CaptureKind::Update,
        };
        Capture {
            n,
            channel: "c".into(),
            record: record.into(),
            kind,
            group: Some(n),
            at_ms: n,
            random: [n as u8; 10],
            old: old.unwrap_or_default(),
            new: new.unwrap_or_default(),
        }
    }

    #[test]
    fn changes_of_one_record_become_one_with_the_first_id() {
        let captures = vec![
            capture(1, "x", None, Some(row(1, None))),
            capture(2, "x", Some(row(1, None)), Some(row(2, None))),
            capture(3, "y", Some(row(7, None)), Some(row(8, None))),
            capture(4, "y", Some(row(8, None)), None),
        ];
        let first = captures[0].mutation_id();
        let items = coalesce(captures, &fixed(&[("y", 7)])).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!((items[0].id, &items[0].before, &items[0].after), (first, &None, &Some(row(2, None))));
        assert_eq!((&items[1].before, &items[1].after), (&Some(row(7, None)), &None));
        assert_eq!(items[1].place, 4);
        assert_eq!(items[1].joined, BTreeSet::from([4]));
    }

    #[test]
    fn created_and_deleted_is_nothing_and_deleted_and_created_is_two() {
        let captures = vec![
            capture(1, "x", None, Some(row(1, None))),
            capture(2, "x", Some(row(1, None)), None),
            capture(3, "y", Some(row(1, None)), None),
            capture(4, "y", None, Some(row(2, None))),
        ];
        let items = coalesce(captures, &fixed(&[("y", 1)])).unwrap();
        let shape: Vec<_> = items.iter().map(|i| (i.record.as_str(), i.before.is_some(), i.after.is_some())).collect();
        assert_eq!(shape, [("y", true, false), ("y", false, true)]);
    }

    #[test]
    fn replacing_an_existing_record_is_an_update() {
        let items = coalesce(vec![capture(1, "y", None, Some(row(5, None)))], &fixed(&[("y", 1)])).unwrap();
        assert_eq!(items[0].before, Some(row(1, None)));
    }

    #[test]
    fn an_update_is_not_moved_before_the_create_it_refers_to() {
        let captures = vec![
            capture(1, "y", Some(row(1, None)), Some(row(2, None))),
            capture(2, "new", None, Some(row(0, None))),
            capture(3, "y", Some(row(2, None)), Some(row(2, Some("new")))),
            capture(4, "y", Some(row(2, Some("new"))), Some(row(3, Some("new")))),
        ];
        let items = coalesce(captures, &fixed(&[("y", 1)])).unwrap();
        let order: Vec<_> = items.iter().map(|item| (item.record.as_str(), item.place)).collect();
        assert_eq!(order, [("y", 1), ("new", 2), ("y", 3)]);
        assert_eq!(items[2].after, Some(row(3, Some("new"))));
    }

    proptest! {
        /// Whatever the app did: applying the items in order leaves what applying the captures left.
        #[test]
        fn items_lead_where_the_captures_led(steps in prop::collection::vec((0usize..4, 0u8..3, 0i64..5, prop::option::of(0usize..4)), 0..40)) {
            let names = ["a", "b", "c", "d"];
            let start: HashMap<String, Vec<Value>> = [("a".to_owned(), row(100, None)), ("b".to_owned(), row(200, None))].into();
            let mut now = start.clone();
            let mut captures = Vec::new();
            for (n, (who, what, value, to)) in steps.into_iter().enumerate() {
                let record = names[who];
                let old = now.get(record).cloned();
                let new = row(value, to.map(|to| names[to]));
                match (what, old) {
                    (0, _) => { captures.push(capture(n as i64, record, None, Some(new.clone()))); now.insert(record.into(), new); }
                    (1, Some(old)) => { captures.push(capture(n as i64, record, Some(old), Some(new.clone()))); now.insert(record.into(), new); }
                    (2, Some(old)) => { captures.push(capture(n as i64, record, Some(old), None)); now.remove(record); }
                    _ => {}
                }
            }
            let mut around = fixed(&[]);
            around.1 = start.clone();
            let items = coalesce(captures, &around).unwrap();
            let mut end = start;
            for item in &items {
                prop_assert_eq!(end.get(&item.record), item.before.as_ref());
                match &item.after {
                    Some(after) => end.insert(item.record.clone(), after.clone()),
                    None => end.remove(&item.record),
                };
            }
            prop_assert_eq!(end, now);
        }
    }
}
