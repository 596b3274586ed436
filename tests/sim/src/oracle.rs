//! What must be true, worked out from the history alone: what users wrote, what went over the wire, what the databases
//! hold. It uses nothing of the engine's or the server's own logic, and reads their tables with its own SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omctl::catalog::Catalog;
use omctl_protocol::frame::parse_frame;
use omctl_protocol::{Mutation, MutationId, Operation, Outcome, Receipt, Up};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::Value as Json;

use crate::device::{Device, MARKED};
use crate::world::{Checked, Failure};

/// One thing that a user wrote. No field: the record was deleted.
#[derive(Clone, Debug)]
pub(crate) struct LocalWrite {
    pub(crate) device: usize,
    pub(crate) channel: String,
    pub(crate) record: String,
    pub(crate) field: String,
    pub(crate) mark: String,
}

/// A mutation that left a device.
#[derive(Debug)]
struct Sent {
    device: usize,
    mutation: Mutation,
}

/// The shop's tables with their channels, their keys, and the column that is a sum.
const TABLES: [(&str, &str, &[&str]); 4] = [
    ("artist", "Artist", &["ArtistId"]),
    ("album", "Album", &["AlbumId"]),
    ("tag", "Tag", &["AlbumId", "Word"]),
    ("memo", "Memo", &["MemoId"]),
];

/// Fields whose differences add up, in channels whose keys are given once only.
const SUMS: [(&str, &str); 2] = [("notes", "hours"), ("artist", "fans")];

/// Fields in which the largest value stays.
const LARGEST: [(&str, &str); 2] = [("notes", "best"), ("tag", "weight")];

/// What happened so far.
pub(crate) struct Oracle {
    catalog: Arc<Catalog>,
    emails: Vec<String>,
    sent: BTreeMap<MutationId, Sent>,
    /// Which mutation carries a mark.
    carriers: BTreeMap<String, MutationId>,
    told: BTreeMap<MutationId, Receipt>,
    writes: Vec<LocalWrite>,
    /// Devices that lost writes in a power cut, with how many writes there were by then.
    set_back: BTreeMap<usize, usize>,
    /// What others added to the fans of an artist, by key.
    foreign: BTreeMap<i64, i64>,
    positions: BTreeMap<usize, u64>,
}

fn wrong<T>(why: impl Into<String>) -> Checked<T> {
    Err(Failure(why.into()))
}

impl Oracle {
    pub(crate) fn new(catalog: Arc<Catalog>, emails: Vec<String>) -> Self {
        // What shop.sql begins with.
        let foreign = [(1, 10), (2, 20)].into();
        Self {
            catalog,
            emails,
            sent: BTreeMap::new(),
            carriers: BTreeMap::new(),
            told: BTreeMap::new(),
            writes: Vec::new(),
            set_back: BTreeMap::new(),
            foreign,
            positions: BTreeMap::new(),
        }
    }

    pub(crate) fn mutations(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.told.values().filter(|receipt| receipt.outcome == outcome).count()
    }

    // ---- while it runs

    pub(crate) fn written(&mut self, writes: Vec<LocalWrite>) {
        self.writes.extend(writes);
    }

    pub(crate) fn set_back(&mut self, device: usize) {
        self.set_back.insert(device, self.writes.len());
        self.positions.remove(&device);
    }

    pub(crate) fn others_added(&mut self, artist: i64, delta: i64) {
        *self.foreign.entry(artist).or_default() += delta;
    }

    /// A mutation keeps its id, and its id keeps its payload, whatever happens.
    pub(crate) fn device_says(&mut self, device: usize, line: &str) -> Checked {
        let Ok(Up::Mutate(mutate)) = parse_frame::<Up>(line) else { return Ok(()) };
        for mutation in mutate.mutations {
            for mark in mutation.new.values().filter_map(Json::as_str).filter(|text| is_mark(text)) {
                self.carriers.insert(mark.to_owned(), mutation.id);
            }
            if let Some(before) = self.sent.get(&mutation.id) {
                let mut same = before.mutation.clone();
                same.seq = mutation.seq;
                if same != mutation || before.device != device {
                    return wrong(format!(
                        "mutation {} changed: {:?} became {mutation:?}",
                        mutation.id, before.mutation
                    ));
                }
                continue;
            }
            self.sent.insert(mutation.id, Sent { device, mutation });
        }
        Ok(())
    }

    /// Nothing of others is shown, and an answer stays the answer.
    pub(crate) fn server_says(&mut self, device: usize, account: usize, line: &str) -> Checked {
        for (other, email) in self.emails.iter().enumerate() {
            if other != account && line.contains(email.as_str()) {
                return wrong(format!("device {device} was shown a record of {email}: {line}"));
            }
        }
        if account == 0 && line.contains(r#""south""#) {
            return wrong(format!("device {device} was shown a record of the south: {line}"));
        }
        if !line.starts_with(r#"{"commit""#) {
            return Ok(());
        }
        let frame: Json = serde_json::from_str(line).map_err(|error| Failure(format!("{error}: {line}")))?;
        for receipt in frame["commit"]["receipts"].as_array().into_iter().flatten() {
            let receipt: Receipt =
                serde_json::from_value(receipt.clone()).map_err(|error| Failure(format!("{error}: {receipt}")))?;
            self.told(device, receipt)?;
        }
        Ok(())
    }

    fn told(&mut self, device: usize, receipt: Receipt) -> Checked {
        let Some(sent) = self.sent.get(&receipt.id) else {
            return wrong(format!("a receipt for a mutation that nobody sent: {receipt:?}"));
        };
        if sent.device != device {
            return wrong(format!("device {device} has a receipt of device {}: {receipt:?}", sent.device));
        }
        if let Some(before) = self.told.get(&receipt.id) {
            let mut same = before.clone();
            same.seq = receipt.seq;
            if same != receipt {
                return wrong(format!("an answer changed: {before:?} became {receipt:?}"));
            }
        }
        self.told.insert(receipt.id, receipt);
        Ok(())
    }

    /// What the app is told is what the server said.
    pub(crate) fn settled(&self, device: usize, receipts: &[Receipt]) -> Checked {
        for receipt in receipts {
            if self.told.get(&receipt.id).is_none_or(|told| told.outcome != receipt.outcome) {
                return wrong(format!("device {device} invents a receipt: {receipt:?}"));
            }
        }
        Ok(())
    }

    /// What a user wrote stays on the screen until its receipt; and a device never goes back.
    pub(crate) fn look_at_screen(&mut self, device: &Device) -> Checked {
        let position = device.store().stats().map_or(0, |stats| stats.position.0);
        let before = self.positions.insert(device.index, position).unwrap_or(0);
        if position < before {
            return wrong(format!("device {} went back from {before} to {position}", device.index));
        }
        let from = self.set_back.get(&device.index).copied().unwrap_or(0);
        let mut newest: BTreeMap<(&str, &str, &str), &LocalWrite> = BTreeMap::new();
        for write in self.writes[from..].iter().filter(|write| write.device == device.index && write.field != "tags") {
            if write.field.is_empty() {
                newest.retain(|(channel, record, _), _| (*channel, *record) != (&*write.channel, &*write.record));
            } else {
                newest.insert((&write.channel, &write.record, &write.field), write);
            }
        }
        for ((channel, record, field), write) in newest {
            let settled = self.carriers.get(&write.mark).is_some_and(|id| self.told.contains_key(id));
            if settled {
                continue;
            }
            let sql = format!("SELECT {field} FROM {channel} WHERE id = ?1");
            let shown: Option<Option<String>> =
                device.store().connection().query_row(&sql, [record], |row| row.get(0)).ok();
            if let Some(shown) = shown.filter(|shown| shown.as_deref() != Some(&write.mark)) {
                return wrong(format!(
                    "device {} shows {shown:?} in {channel}.{field} of {record} before {} has its receipt",
                    device.index, write.mark
                ));
            }
        }
        Ok(())
    }

    // ---- at the end

    /// The first difference between what a device holds and what its account may see.
    pub(crate) fn difference(
        &self,
        devices: &[Device],
        claims: &[Vec<String>],
        store: &Connection,
        shop: &Connection,
    ) -> Option<String> {
        let waiting: i64 = one(store, "SELECT count(*) FROM main.inbox");
        if waiting != 0 {
            return Some(format!("{waiting} mutations wait in the inbox"));
        }
        for channel in ["notes", "own", "area"] {
            let rows = self.managed_rows(store, channel);
            for device in devices {
                let visible = |row: &&BTreeMap<String, String>| match channel {
                    "own" => row["owner"] == self.emails[device.account],
                    "area" => claims[device.account].contains(&row["region"]),
                    _ => true,
                };
                let expected: BTreeSet<_> = rows.iter().filter(visible).cloned().collect();
                let names: Vec<String> = self.fields(channel);
                let held = rows_of(device.store().connection(), channel, &names);
                if let Some(difference) = differ(&expected, &held) {
                    return Some(format!("device {}, `{channel}`: {difference}", device.index));
                }
            }
        }
        for (channel, table, _) in TABLES {
            let mut statement = shop.prepare(&format!("SELECT * FROM {table}")).expect("a table of the shop");
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            drop(statement.query([]));
            let expected = rows_of(shop, table, &names);
            for device in devices {
                let held = rows_of(device.store().connection(), &format!("backend_{channel}"), &names);
                if let Some(difference) = differ(&expected, &held) {
                    return Some(format!("device {}, `{channel}`: {difference}", device.index));
                }
            }
        }
        None
    }

    fn fields(&self, channel: &str) -> Vec<String> {
        let schema = &self.catalog.channels[channel].schema;
        ["id".to_owned()].into_iter().chain(schema.fields.iter().map(|field| field.name.clone())).collect()
    }

    /// The living records of a managed channel, read from the log's table.
    fn managed_rows(&self, store: &Connection, channel: &str) -> Vec<BTreeMap<String, String>> {
        let mut statement = store
            .prepare(
                "SELECT id, body FROM main.log WHERE body IS NOT NULL
                    AND channel = (SELECT number FROM main.channel WHERE name = ?1)",
            )
            .expect("a query");
        let rows = statement.query_map([channel], |row| Ok((row.get(0)?, row.get(1)?))).expect("a query");
        rows.map(|row| {
            let (id, body): (String, String) = row.expect("a row");
            let values: Vec<Json> = serde_json::from_str(&body).expect("a body is an array");
            let texts = std::iter::once(id).chain(values.iter().map(json_text));
            self.fields(channel).into_iter().zip(texts).collect()
        })
        .collect()
    }

    /// Every promise about effects.
    pub(crate) fn judge(&self, devices: &[Device], store: &Connection, shop: &Connection) -> Checked {
        let receipts = stored_receipts(store)?;
        self.nothing_is_forgotten(&receipts)?;
        let history = self.history(store, shop);
        self.marks_came_once(&receipts, &history)?;
        for device in devices {
            self.sums_add_up(device, &receipts)?;
            self.deletes_stay(device, &receipts)?;
        }
        Ok(())
    }

    /// Every write left its device, and everything that left has one answer, the same everywhere.
    fn nothing_is_forgotten(&self, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        for (place, write) in self.writes.iter().enumerate() {
            if self.carriers.contains_key(&write.mark) || write.field.is_empty() || write.field == "tags" {
                continue;
            }
            let was_lost = self.set_back.get(&write.device).is_some_and(|then| place < *then);
            let replaced = self.writes[place + 1..].iter().any(|later| {
                (later.device, &later.channel, &later.record) == (write.device, &write.channel, &write.record)
                    && (later.field.is_empty() || later.field == write.field)
            });
            if !was_lost && !replaced {
                return wrong(format!("a write never left its device: {write:?}"));
            }
        }
        for (id, sent) in &self.sent {
            match (receipts.get(id), self.told.get(id)) {
                (Some(stored), Some(told)) if stored.outcome != told.outcome || stored.code != told.code => {
                    return wrong(format!("the device was told {told:?}, the server remembers {stored:?}"));
                }
                (Some(_), Some(_)) => {}
                (None, Some(told)) => return wrong(format!("the server forgot {told:?}")),
                _ if self.set_back.contains_key(&sent.device) => {}
                _ => return wrong(format!("device {} never had an answer to {:?}", sent.device, sent.mutation)),
            }
        }
        Ok(())
    }

    /// How often each mark came to stand in its field, by channel and field.
    fn history(&self, store: &Connection, shop: &Connection) -> BTreeMap<(String, String, String), u32> {
        let mut came = BTreeMap::new();
        let mut before: BTreeMap<(String, String, String), Json> = BTreeMap::new();
        let mut statement = store
            .prepare(
                "SELECT channel.name, history.id, history.body FROM temp.history JOIN main.channel
                    ON channel.number = history.channel ORDER BY n",
            )
            .expect("a query");
        let mut rows = statement.query([]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            let (channel, id, body): (String, String, Option<String>) =
                (row.get(0).expect("text"), row.get(1).expect("text"), row.get(2).expect("text"));
            if TABLES.iter().any(|(name, ..)| *name == channel) {
                continue;
            }
            let values: Vec<Json> = body.map_or_else(Vec::new, |body| serde_json::from_str(&body).expect("an array"));
            for (place, field) in self.catalog.channels[&*channel].schema.fields.iter().enumerate() {
                let now = values.get(place).cloned().unwrap_or_default();
                let old = before.insert((channel.clone(), id.clone(), field.name.clone()), now.clone());
                if let Some(mark) = now.as_str().filter(|_| old.as_ref() != Some(&now)).filter(|text| is_mark(text)) {
                    *came.entry((channel.clone(), field.name.clone(), mark.to_owned())).or_default() += 1;
                }
            }
        }
        let mut statement = shop.prepare("SELECT place, mark FROM history ORDER BY n").expect("a query");
        let mut rows = statement.query([]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            let (place, mark): (String, String) = (row.get(0).expect("text"), row.get(1).expect("text"));
            let field = MARKED.iter().find(|(channel, _)| *channel == place).expect("marked").1;
            *came.entry((place, field.to_owned(), mark)).or_default() += 1;
        }
        came
    }

    /// An applied value came once; a refused one never; and nothing came that nobody wrote.
    fn marks_came_once(
        &self,
        receipts: &BTreeMap<MutationId, Receipt>,
        history: &BTreeMap<(String, String, String), u32>,
    ) -> Checked {
        for ((channel, field, mark), times) in history {
            let ours = !mark.starts_with("m0.");
            if ours && !self.carriers.contains_key(mark) {
                return wrong(format!("{mark} stands in {channel}.{field}, and nobody sent it"));
            }
            if *times > 1 {
                return wrong(format!("{mark} came {times} times to {channel}.{field}"));
            }
        }
        for (id, Sent { mutation, .. }) in &self.sent {
            for (field, value) in &mutation.new {
                let Some(mark) = value.as_str().filter(|text| is_mark(text)) else { continue };
                let channel = mutation.channel.as_str();
                let came = history.get(&(channel.to_owned(), field.clone(), mark.to_owned())).copied().unwrap_or(0);
                let client_wins =
                    matches!((channel, &**field), ("notes", "body") | ("area" | "album", "title" | "Title"));
                let (least, most) = match receipts.get(id) {
                    None => (0, 0),
                    Some(receipt) => match (receipt.outcome, receipt.code.as_deref()) {
                        (Outcome::Applied | Outcome::Merged, _) => (1, 1),
                        (Outcome::Rejected, _) | (Outcome::Conflict, Some("gone")) => (0, 0),
                        (Outcome::Conflict, None) if client_wins => (1, 1),
                        (Outcome::Conflict, _) => (0, 1),
                    },
                };
                // Mutations of one device that are settled together reach the log as one change.
                let skipped = !TABLES.iter().any(|(name, ..)| *name == channel) && self.is_followed(id, field);
                if came < least && !skipped || came > most {
                    let receipt = receipts.get(id);
                    return wrong(format!(
                        "{mark} came {came} times to {channel}.{field}, with {receipt:?} for {mutation:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the same device changed the same field again, or deleted the record, after this mutation.
    fn is_followed(&self, id: &MutationId, field: &str) -> bool {
        let Sent { device, mutation } = &self.sent[id];
        self.sent.values().any(|later| {
            later.device == *device
                && later.mutation.seq > mutation.seq
                && (&later.mutation.channel, &later.mutation.record) == (&mutation.channel, &mutation.record)
                && (later.mutation.op == Operation::Delete || later.mutation.new.contains_key(field))
        })
    }

    /// Whether a mutation's differences are in the record.
    fn had_effect(receipt: Option<&Receipt>) -> bool {
        receipt.is_some_and(|receipt| {
            receipt.outcome != Outcome::Rejected
                && !matches!(receipt.code.as_deref(), Some("gone" | "unknown" | "updated"))
        })
    }

    /// Differences add up exactly, the largest value stays, and every added item is there once.
    fn sums_add_up(&self, device: &Device, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        let connection = device.store().connection();
        let effective: Vec<&Mutation> = self
            .sent
            .iter()
            .filter(|(id, _)| Self::had_effect(receipts.get(id)))
            .map(|(_, sent)| &sent.mutation)
            .collect();
        let int = |value: Option<&Json>| -> i64 {
            value.and_then(|value| value.as_str()?.parse().ok().or_else(|| value.as_i64())).unwrap_or(0)
        };
        let of = |channel: &str, record: &str, field: &str| -> Vec<&Mutation> {
            let touches = |mutation: &&&Mutation| {
                mutation.channel.as_str() == channel
                    && mutation.record.as_str() == record
                    && mutation.new.contains_key(field)
            };
            effective.iter().filter(touches).copied().collect()
        };
        for (channel, field) in SUMS {
            let key = TABLES.iter().find(|(name, ..)| *name == channel).map_or("NULL", |(_, _, key)| key[0]);
            let mut statement =
                connection.prepare(&format!("SELECT id, {field}, {key} FROM {channel}")).expect("a table");
            let mut rows = statement.query([]).expect("a table");
            while let Some(row) = rows.next().expect("a row") {
                let (id, value): (String, Option<i64>) = (row.get(0).expect("id"), row.get(1).expect("a number"));
                let key: Option<i64> = row.get(2).expect("a number");
                let foreign = key.and_then(|key| self.foreign.get(&key).copied()).unwrap_or(0);
                // What somebody else began an artist with while we ran is not written down.
                if channel == "artist" && id.parse::<i64>().is_ok_and(|key| key > 3) {
                    continue;
                }
                let sum: i64 =
                    of(channel, &id, field).iter().map(|m| int(m.new.get(field)) - int(m.old.get(field))).sum();
                if value.unwrap_or(0) != foreign + sum {
                    return wrong(format!(
                        "{channel}.{field} of {id} is {value:?}, the differences make {} of devices and {foreign} of others",
                        sum
                    ));
                }
            }
        }
        for (channel, field) in LARGEST {
            let mut statement = connection.prepare(&format!("SELECT id, {field} FROM {channel}")).expect("a table");
            let mut rows = statement.query([]).expect("a table");
            while let Some(row) = rows.next().expect("a row") {
                let (id, value): (String, Option<i64>) = (row.get(0).expect("id"), row.get(1).expect("a number"));
                let largest = of(channel, &id, field).iter().map(|m| int(m.new.get(field))).max();
                if largest.is_some_and(|largest| value.is_none_or(|value| value < largest)) {
                    return wrong(format!("{channel}.{field} of {id} is {value:?}, {largest:?} was applied"));
                }
            }
        }
        let mut statement = connection.prepare("SELECT id, tags FROM notes").expect("a table");
        let mut rows = statement.query([]).expect("a table");
        while let Some(row) = rows.next().expect("a row") {
            let (id, tags): (String, Option<String>) = (row.get(0).expect("id"), row.get(1).expect("text"));
            let held: Vec<Json> = tags.map_or_else(Vec::new, |tags| serde_json::from_str(&tags).unwrap_or_default());
            for mutation in of("notes", &id, "tags") {
                let items = |value: Option<&Json>| value.and_then(Json::as_array).cloned().unwrap_or_default();
                let old = items(mutation.old.get("tags"));
                for item in items(mutation.new.get("tags")).iter().filter(|item| !old.contains(item)) {
                    let times = held.iter().filter(|held| *held == item).count();
                    if times != 1 {
                        return wrong(format!("{item} is {times} times in notes.tags of {id}: {held:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// What a device deleted, or was told to be gone, does not come back.
    fn deletes_stay(&self, device: &Device, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        for (id, Sent { mutation, .. }) in &self.sent {
            let channel = mutation.channel.as_str();
            // Elsewhere a record may be out of sight, which is answered like a deleted one, or its key is given again.
            if !matches!(channel, "notes" | "artist") {
                continue;
            }
            let gone = receipts.get(id).is_some_and(|receipt| {
                (mutation.op == Operation::Delete && receipt.outcome == Outcome::Applied)
                    || (mutation.op == Operation::Update && receipt.code.as_deref() == Some("gone"))
            });
            let there = format!(
                "SELECT EXISTS (SELECT 1 FROM {channel} WHERE id = '{}')",
                mutation.record.as_str().replace('\'', "''")
            );
            if gone && one::<bool>(device.store().connection(), &there) {
                return wrong(format!("a deleted record is back: {mutation:?} with {:?}", receipts.get(id)));
            }
        }
        Ok(())
    }
}

fn is_mark(text: &str) -> bool {
    text.strip_prefix('m').is_some_and(|rest| {
        rest.split_once('.').is_some_and(|(device, number)| {
            device.bytes().all(|byte| byte.is_ascii_digit()) && number.bytes().any(|byte| byte.is_ascii_digit())
        })
    })
}

fn one<T: rusqlite::types::FromSql>(connection: &Connection, sql: &str) -> T {
    connection.query_row(sql, [], |row| row.get(0)).expect("a query of one value")
}

/// Every receipt that the server stored, with the id of its mutation.
fn stored_receipts(store: &Connection) -> Checked<BTreeMap<MutationId, Receipt>> {
    let mut found: BTreeMap<MutationId, Receipt> = BTreeMap::new();
    let mut statement = store.prepare("SELECT body FROM main.receipt_batch ORDER BY number").expect("a query");
    let mut rows = statement.query([]).expect("a query");
    while let Some(row) = rows.next().expect("a row") {
        let body: String = row.get(0).expect("text");
        let receipts: Vec<Receipt> = serde_json::from_str(&body).expect("receipts");
        for receipt in receipts {
            if let Some(before) =
                found.get(&receipt.id).filter(|b| (b.outcome, &b.code) != (receipt.outcome, &receipt.code))
            {
                return wrong(format!("two answers to one mutation: {before:?} and {receipt:?}"));
            }
            found.insert(receipt.id, receipt);
        }
    }
    Ok(found)
}

/// A canonical value as the text that a device's SQLite shows.
fn json_text(value: &Json) -> String {
    match value {
        Json::Null => "NULL".into(),
        Json::String(text) => text.clone(),
        Json::Bool(truth) => u8::from(*truth).to_string(),
        other => other.to_string(),
    }
}

fn rows_of(connection: &Connection, table: &str, names: &[String]) -> BTreeSet<BTreeMap<String, String>> {
    let columns: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let Ok(mut statement) = connection.prepare(&format!("SELECT {} FROM {table}", columns.join(", "))) else {
        return BTreeSet::new();
    };
    let rows = statement.query_map([], |row| {
        let mut found = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            let text = match row.get::<_, Value>(place)? {
                Value::Null => "NULL".into(),
                Value::Integer(number) => number.to_string(),
                Value::Real(number) => number.to_string(),
                Value::Text(text) => text,
                Value::Blob(bytes) => format!("{bytes:?}"),
            };
            found.insert(name.clone(), text);
        }
        Ok(found)
    });
    rows.expect("a query").collect::<Result<_, _>>().expect("rows")
}

fn differ(expected: &BTreeSet<BTreeMap<String, String>>, held: &BTreeSet<BTreeMap<String, String>>) -> Option<String> {
    if expected == held {
        return None;
    }
    let missing: Vec<_> = expected.difference(held).take(2).collect();
    let extra: Vec<_> = held.difference(expected).take(2).collect();
    Some(format!("lacks {missing:?}, has {extra:?} ({} expected, {} held)", expected.len(), held.len()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn oracle() -> Oracle {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("project");
        let (catalog, _) = omctl::catalog::load(&root, &|_| None, None).unwrap();
        Oracle::new(Arc::new(catalog), vec!["ana@example.com".into(), "ben@example.com".into()])
    }

    fn mutate(seq: u64, id: u128, channel: &str, op: &str, new: Json) -> String {
        let id = uuid::Uuid::from_u128(id).to_string();
        json!({ "mutate": { "mutations": [{
            "seq": seq, "id": id, "channel": channel, "v": 1, "op": op, "record": "r", "new": new,
        }] } })
        .to_string()
    }

    fn receipt(id: u128, outcome: &str) -> Json {
        json!({ "seq": 1, "id": uuid::Uuid::from_u128(id).to_string(), "outcome": outcome })
    }

    fn commit(receipts: &[Json]) -> String {
        json!({ "commit": { "position": 1, "receipts": receipts } }).to_string()
    }

    fn stored(receipts: &[Json]) -> BTreeMap<MutationId, Receipt> {
        let read = |receipt: &Json| serde_json::from_value::<Receipt>(receipt.clone()).unwrap();
        receipts.iter().map(read).map(|receipt| (receipt.id, receipt)).collect()
    }

    fn came(marks: &[(&str, u32)]) -> BTreeMap<(String, String, String), u32> {
        marks.iter().map(|(mark, times)| (("artist".into(), "Name".into(), (*mark).to_owned()), *times)).collect()
    }

    #[test]
    fn a_payload_that_changes_is_seen() {
        let mut oracle = oracle();
        oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.1" }))).unwrap();
        oracle.device_says(0, &mutate(9, 7, "notes", "create", json!({ "title": "m1.1" }))).unwrap();
        assert!(oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.2" }))).is_err());
    }

    #[test]
    fn what_is_somebody_elses_is_seen() {
        let mut oracle = oracle();
        oracle.server_says(0, 0, r#"{"rows":{"rows":[["r",1,"h",["m1.1","ana@example.com"]]]}}"#).unwrap();
        assert!(oracle.server_says(0, 0, r#"{"rows":{"rows":[["r",1,"h",["m1.1","ben@example.com"]]]}}"#).is_err());
        assert!(oracle.server_says(0, 0, r#"{"rows":{"rows":[["r",1,"h",["m1.1","south"]]]}}"#).is_err());
    }

    #[test]
    fn answers_that_change_or_go_astray_are_seen() {
        let mut oracle = oracle();
        oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.1" }))).unwrap();
        assert!(oracle.server_says(1, 1, &commit(&[receipt(7, "applied")])).is_err(), "of another device");
        assert!(oracle.server_says(0, 0, &commit(&[receipt(8, "applied")])).is_err(), "of nobody");
        oracle.server_says(0, 0, &commit(&[receipt(7, "applied")])).unwrap();
        oracle.server_says(0, 0, &commit(&[receipt(7, "applied")])).unwrap();
        assert!(oracle.server_says(0, 0, &commit(&[receipt(7, "rejected")])).is_err(), "another answer");
    }

    #[test]
    fn writes_that_get_lost_are_seen() {
        let mut oracle = oracle();
        let write = |mark: &str| LocalWrite {
            device: 0,
            channel: "notes".into(),
            record: "r".into(),
            field: "title".into(),
            mark: mark.into(),
        };
        oracle.written(vec![write("m1.1"), write("m1.2")]);
        assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "it never left");
        oracle.device_says(0, &mutate(1, 7, "notes", "create", json!({ "title": "m1.2" }))).unwrap();
        assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "it has no answer");
        oracle.server_says(0, 0, &commit(&[receipt(7, "applied")])).unwrap();
        assert!(oracle.nothing_is_forgotten(&BTreeMap::new()).is_err(), "the server forgot");
        oracle.nothing_is_forgotten(&stored(&[receipt(7, "applied")])).unwrap();
        assert!(oracle.nothing_is_forgotten(&stored(&[receipt(7, "rejected")])).is_err(), "two stories");
    }

    #[test]
    fn effects_that_are_missing_doubled_or_invented_are_seen() {
        let mut oracle = oracle();
        oracle.device_says(0, &mutate(1, 7, "artist", "create", json!({ "Name": "m1.1" }))).unwrap();
        let applied = stored(&[receipt(7, "applied")]);
        oracle.marks_came_once(&applied, &came(&[("m1.1", 1), ("m0.e1", 1)])).unwrap();
        assert!(oracle.marks_came_once(&applied, &came(&[])).is_err(), "missing");
        assert!(oracle.marks_came_once(&applied, &came(&[("m1.1", 2)])).is_err(), "doubled");
        assert!(oracle.marks_came_once(&applied, &came(&[("m1.1", 1), ("m1.9", 1)])).is_err(), "invented");
        assert!(oracle.marks_came_once(&stored(&[receipt(7, "rejected")]), &came(&[("m1.1", 1)])).is_err(), "refused");
    }

    #[test]
    fn a_difference_is_seen() {
        let row = |name: &str| BTreeSet::from([BTreeMap::from([("id".to_owned(), name.to_owned())])]);
        assert_eq!(differ(&row("a"), &row("a")), None);
        assert!(differ(&row("a"), &row("b")).is_some());
        assert!(differ(&BTreeSet::new(), &row("b")).is_some());
    }
}
