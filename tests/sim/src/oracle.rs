//! What must be true, worked out from the history alone: what users wrote, what went over the wire, what the databases
//! hold. It uses nothing of the engine's or the server's own logic, and reads their tables with its own SQL.

mod fields;
mod judge;
mod restores;
mod sights;
mod watermarks;
mod wholes;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use omctl::catalog::Catalog;
use omctl::store::DeviceNo;
use omctl_protocol::frame::parse_frame;
use omctl_protocol::{Mutation, MutationId, Outcome, Receipt, Up};
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::Value as Json;

use self::fields::Fields;
pub(crate) use self::restores::Mark;
use self::restores::Restores;
use self::sights::{Record, Sights, VERSIONED};
use self::watermarks::Watermarks;
use crate::device::Device;
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
    /// How many were sent before, by anybody.
    order: usize,
}

/// A table of the shop.
struct Table {
    channel: &'static str,
    name: &'static str,
    key: &'static str,
    /// Which of its rows an account sees that has the address `?1`.
    visible: &'static str,
}

const TABLES: [Table; 7] = [
    Table { channel: "artist", name: "Artist", key: "ArtistId", visible: "?1 <> ''" },
    Table { channel: "album", name: "Album", key: "AlbumId", visible: "?1 <> ''" },
    Table { channel: "tag", name: "Tag", key: "AlbumId", visible: "?1 <> ''" },
    Table { channel: "memo", name: "Memo", key: "MemoId", visible: "?1 <> ''" },
    Table { channel: "ware", name: "Ware", key: "WareId", visible: "?1 <> ''" },
    Table { channel: "client", name: "Client", key: "ClientId", visible: "Rep = ?1" },
    Table {
        channel: "bill",
        name: "Bill",
        key: "BillId",
        visible: "ClientId IN (SELECT ClientId FROM Client WHERE Rep = ?1)",
    },
];

/// The managed channels.
const MANAGED: [&str; 8] = ["notes", "own", "area", "members", "job", "piece", "form", "rule"];

fn is_managed(channel: &str) -> bool {
    MANAGED.contains(&channel)
}

/// Fields whose differences add up, in channels whose keys are given once only.
const SUMS: [(&str, &str); 2] = [("notes", "hours"), ("artist", "fans")];

/// Fields in which the largest value stays.
const LARGEST: [(&str, &str); 2] = [("notes", "best"), ("tag", "weight")];

/// What happened so far.
pub(crate) struct Oracle {
    catalogs: [Arc<Catalog>; 2],
    /// Which of them the server has now.
    catalog: usize,
    emails: Vec<String>,
    sent: BTreeMap<MutationId, Sent>,
    /// Which mutation carries a mark.
    carriers: BTreeMap<String, MutationId>,
    told: BTreeMap<MutationId, Receipt>,
    writes: Vec<LocalWrite>,
    /// Places in `writes` of those that their device lost in a power cut, or by being set back to a backup.
    gone: BTreeSet<usize>,
    /// Devices that the server refuses.
    out: BTreeSet<usize>,
    /// Devices that were set back, with how many mutations had been sent by then.
    set_back: BTreeMap<usize, usize>,
    restores: Restores,
    /// What others added to the fans of an artist, by key.
    foreign: BTreeMap<i64, i64>,
    positions: BTreeMap<usize, u64>,
    /// Positions at which some device had its tables consistent.
    committed: BTreeSet<u64>,
    /// The mutations of each atomic transaction, by device and group.
    wholes: BTreeMap<(usize, Option<u64>), Vec<MutationId>>,
    sights: Sights,
    /// What each device must hold of the channel whose versions are kept, and how many of them that is made of.
    feeds: BTreeMap<usize, (usize, BTreeMap<String, Record>)>,
    watermarks: Watermarks,
    /// How often other definitions came while the server ran.
    reloads: u64,
    /// How often each promise was looked at, by its number.
    checks: RefCell<BTreeMap<u32, u64>>,
}

fn wrong<T>(why: impl Into<String>) -> Checked<T> {
    Err(Failure(why.into()))
}

impl Oracle {
    pub(crate) fn new(catalogs: [Arc<Catalog>; 2], emails: Vec<String>, claims: &[Json]) -> Self {
        // What shop.sql begins with.
        let foreign = [(1, 10), (2, 20)].into();
        let mut sights = Sights::new(emails.clone());
        for (account, claims) in claims.iter().enumerate() {
            sights.claims_change(account, claims);
        }
        Self {
            catalogs,
            catalog: 0,
            emails,
            sent: BTreeMap::new(),
            carriers: BTreeMap::new(),
            told: BTreeMap::new(),
            writes: Vec::new(),
            gone: BTreeSet::new(),
            out: BTreeSet::new(),
            set_back: BTreeMap::new(),
            restores: Restores::default(),
            foreign,
            positions: BTreeMap::new(),
            committed: BTreeSet::new(),
            wholes: BTreeMap::new(),
            sights,
            feeds: BTreeMap::new(),
            watermarks: Watermarks::default(),
            reloads: 0,
            checks: RefCell::default(),
        }
    }

    /// A promise was looked at, and held.
    pub(crate) fn kept(&self, promise: u32, times: usize) {
        *self.checks.borrow_mut().entry(promise).or_default() += times as u64;
    }

    /// How often each promise was looked at, by its number.
    pub(crate) fn promises(&self) -> BTreeMap<u32, u64> {
        self.checks.borrow().clone()
    }

    pub(crate) fn mutations(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.told.values().filter(|receipt| receipt.outcome == outcome).count()
    }

    // ---- while it runs

    /// The server starts with these definitions: who sees what may be another matter from now on.
    pub(crate) fn server_starts(&mut self, catalog: usize, store: &Connection) -> Checked {
        self.definitions_are(catalog, store);
        self.accepted_is_durable(store)
    }

    /// These definitions are about to be live: from now on somebody may see by them, and still by those before.
    pub(crate) fn definitions_come(&mut self, catalog: usize, store: &Connection) {
        self.reloads += 1;
        self.sights.read(store);
        if catalog == 1 {
            self.sights.open_rule(true);
        }
    }

    /// The server has these definitions and no others.
    pub(crate) fn definitions_are(&mut self, catalog: usize, store: &Connection) {
        self.catalog = catalog;
        self.sights.read(store);
        self.sights.open_rule(catalog == 1);
    }

    fn has(&self, channel: &str) -> bool {
        self.catalogs[0].channels.contains_key(channel)
    }

    /// The fields that a channel has now.
    fn fields(&self, channel: &str) -> Fields {
        Fields::of(&serde_json::to_value(&self.catalogs[self.catalog].channels[channel].schema).expect("JSON"))
    }

    /// The column of a field by the name that some version gives it.
    fn column(&self, channel: &str, field: &str) -> String {
        let named = |catalog: &Arc<Catalog>| {
            let schema = &catalog.channels.get(channel)?.schema;
            let (_, field) = schema.field(field)?;
            Some(field.column.clone().unwrap_or_else(|| field.name.clone()))
        };
        self.catalogs.iter().find_map(named).unwrap_or_else(|| field.to_owned())
    }

    pub(crate) fn written(&mut self, writes: Vec<LocalWrite>) {
        self.writes.extend(writes);
    }

    /// A device lost what its user wrote after so many writes.
    pub(crate) fn set_back(&mut self, device: usize, kept: usize) {
        // Those that it had lost before do not count.
        let there = |place: &usize| self.writes[*place].device == device && !self.gone.contains(place);
        let lost: Vec<usize> = (0..self.writes.len()).filter(there).skip(kept).collect();
        self.gone.extend(lost);
        self.set_back.insert(device, self.sent.len());
        self.positions.remove(&device);
        self.feeds.remove(&device);
    }

    /// The server refuses a device: what it has not sent stays where it is.
    pub(crate) fn leaves(&mut self, device: usize) {
        self.out.insert(device);
    }

    pub(crate) fn others_added(&mut self, artist: i64, delta: i64) {
        *self.foreign.entry(artist).or_default() += delta;
    }

    /// A mutation keeps its id, and its id keeps its payload, whatever happens.
    pub(crate) fn device_says(&mut self, device: usize, line: &str) -> Checked {
        let up = parse_frame::<Up>(line);
        if let Ok(Up::Hello(hello)) = &up {
            self.watermarks.hello(device, hello.incarnation);
        }
        let Ok(Up::Mutate(mutate)) = up else { return Ok(()) };
        for mutation in mutate.mutations {
            for mark in mutation.new.values().filter_map(Json::as_str).filter(|text| is_mark(text)) {
                self.carriers.insert(mark.to_owned(), mutation.id);
            }
            if let Some(before) = self.sent.get(&mutation.id) {
                let mut same = before.mutation.clone();
                (same.seq, same.again, same.atomic) = (mutation.seq, mutation.again, mutation.atomic);
                if same != mutation || before.device != device {
                    return wrong(format!(
                        "mutation {} changed: {:?} became {mutation:?}",
                        mutation.id, before.mutation
                    ));
                }
                self.offered_rightly(&mutation)?;
                // A mutation keeps its id and its payload however often it is sent, and in whatever incarnation.
                self.kept(4, 1);
                self.kept(15, usize::from(mutation.again.is_some()));
                continue;
            }
            if mutation.again.is_some() {
                return wrong(format!("offered again, and never sent before: {mutation:?}"));
            }
            if let Some(part) = mutation.atomic {
                let members = self.wholes.entry((device, mutation.group)).or_default();
                // A device that was set back gives its numbers again.
                if part.at == 0 {
                    members.clear();
                }
                members.push(mutation.id);
            }
            let order = self.sent.len();
            self.sent.insert(mutation.id, Sent { device, mutation, order });
        }
        Ok(())
    }

    /// Nothing of others is shown, and an answer stays the answer. `is_now`: the server was not set back since it said
    /// this.
    pub(crate) fn server_says(&mut self, device: usize, account: usize, line: &str, is_now: bool) -> Checked {
        for (other, email) in self.emails.iter().enumerate() {
            if other != account && line.contains(email.as_str()) {
                return wrong(format!("device {device} was shown a record of {email}: {line}"));
            }
        }
        if account == 0 && line.contains(r#""south""#) {
            return wrong(format!("device {device} was shown a record of the south: {line}"));
        }
        self.sights.show(account, line);
        self.kept(10, 1);
        if is_now {
            self.watermarks.hear(device, line);
        }
        if !line.starts_with(r#"{"commit""#) {
            return Ok(());
        }
        let frame: Json = serde_json::from_str(line).map_err(|error| Failure(format!("{error}: {line}")))?;
        for receipt in frame["commit"]["receipts"].as_array().into_iter().flatten() {
            let receipt: Receipt =
                serde_json::from_value(receipt.clone()).map_err(|error| Failure(format!("{error}: {receipt}")))?;
            if is_now || self.restores.has_kept(receipt.id) {
                self.told(device, receipt)?;
            } else {
                self.restores.lose(receipt);
            }
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
            let mut said = self.told.get(&receipt.id).into_iter().chain(self.restores.lost(receipt.id));
            if !said.any(|told| told.outcome == receipt.outcome) {
                return wrong(format!("device {device} invents a receipt: {receipt:?}"));
            }
        }
        Ok(())
    }

    /// What a user wrote stays on the screen until its receipt; and a device never goes back.
    pub(crate) fn look_at_screen(&mut self, device: &Device, is_now: bool) -> Checked {
        let position = device.store().stats().map_or(0, |stats| stats.position.0);
        // A position of a history that is lost is not one to go on from.
        if is_now {
            self.committed.insert(position);
            let before = self.positions.insert(device.index, position).unwrap_or(0);
            if position < before {
                return wrong(format!("device {} went back from {before} to {position}", device.index));
            }
        }
        self.kept(7, 1);
        let mut newest: BTreeMap<(&str, &str, String), &LocalWrite> = BTreeMap::new();
        let there = self.writes.iter().enumerate().filter(|(place, _)| !self.gone.contains(place));
        let own = there.map(|(_, write)| write).filter(|write| write.device == device.index && write.field != "tags");
        for write in own {
            if write.field.is_empty() {
                newest.retain(|(channel, record, _), _| (*channel, *record) != (&*write.channel, &*write.record));
            } else {
                newest.insert((&write.channel, &write.record, self.column(&write.channel, &write.field)), write);
            }
        }
        for ((channel, record, column), write) in newest {
            // Whose first answer is lost may be shown either way until the next one.
            let answered = |id: &MutationId| self.told.contains_key(id) || self.restores.has_lost(*id);
            let settled = self.carriers.get(&write.mark).is_some_and(answered);
            if settled {
                continue;
            }
            let Some(field) = device.field(channel, &column) else { continue };
            let sql = format!("SELECT {field} FROM {channel} WHERE id = ?1");
            self.kept(8, 1);
            let mut statement = device.store().reader().prepare_cached(&sql).expect("a table");
            let shown: Option<Option<String>> = statement.query_row([record], |row| row.get(0)).ok();
            if let Some(shown) = shown.filter(|shown| shown.as_deref() != Some(&write.mark)) {
                return wrong(format!(
                    "device {} shows {shown:?} in {channel}.{field} of {record} before {} has its receipt",
                    device.index, write.mark
                ));
            }
        }
        Ok(())
    }

    /// A device at a position holds what the log said at that position: nothing is missing, and nothing is ahead. Its own
    /// writes that are not settled stand above that; it is looked at while there are none.
    pub(crate) fn feed_is_whole(&mut self, device: &Device, store: &Connection) -> Checked {
        if !self.has(VERSIONED) || device.store().stats().is_ok_and(|stats| stats.pending > 0) {
            return Ok(());
        }
        self.sights.read(store);
        let position = device.store().stats().map_or(0, |stats| stats.position.0);
        if position == 0 {
            // It has not heard of this history of the server yet: what it holds is of another one.
            return Ok(());
        }
        let (read, records) = self.feeds.entry(device.index).or_default();
        for version in self.sights.versions().iter().skip(*read).take_while(|version| version.position <= position) {
            *read += 1;
            match &version.record {
                Some(record) => drop(records.insert(version.id.clone(), record.clone())),
                None => drop(records.remove(&version.id)),
            }
        }
        let with_id = |(id, record): (&String, &Record)| {
            let mut record = record.clone();
            record.insert("id".into(), id.clone());
            record
        };
        let expected: BTreeSet<Record> = records.iter().map(with_id).collect();
        let names: Vec<String> = self.fields(VERSIONED).names().chain(["id".to_owned()]).collect();
        let email = &self.emails[device.account];
        let held = rows_of(device.store().reader(), VERSIONED, "?1 <> ''", email, &names);
        if let Some(difference) = differ(&expected, &held) {
            return wrong(format!("device {} at {position}, `{VERSIONED}`: {difference}", device.index));
        }
        self.kept(6, 1);
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
    let mut statement = connection.prepare_cached(sql).expect("a query of one value");
    statement.query_row([], |row| row.get(0)).expect("a query of one value")
}

/// The number of the last answers that a device has.
pub(crate) fn last_batch(store: &Connection, device: DeviceNo) -> i64 {
    let sql = "SELECT coalesce(max(receipt_batch.number), 0) FROM main.receipt_batch
        JOIN main.incarnation ON incarnation.number = receipt_batch.incarnation WHERE incarnation.device = ?1";
    store.prepare_cached(sql).expect("a query").query_row([device], |row| row.get(0)).expect("a number")
}

impl Oracle {
    /// Every receipt that the server stored, with the id of its mutation. Those that tell of the shop as it was before it
    /// was set back are none any more.
    fn stored_receipts(&self, store: &Connection) -> Checked<BTreeMap<MutationId, Receipt>> {
        let is_of_shop =
            |id: &MutationId| self.sent.get(id).is_some_and(|sent| !is_managed(sent.mutation.channel.as_str()));
        stored_receipts(store, is_of_shop)
    }
}

fn stored_receipts(
    store: &Connection,
    is_of_shop: impl Fn(&MutationId) -> bool,
) -> Checked<BTreeMap<MutationId, Receipt>> {
    const ALL: &str = "SELECT body, EXISTS (SELECT 1 FROM main.set_back
            WHERE receipt_batch.number > first_batch AND receipt_batch.number <= last_batch)
        FROM main.receipt_batch ORDER BY number";
    let mut found: BTreeMap<MutationId, Receipt> = BTreeMap::new();
    let mut statement = store.prepare(ALL).expect("a query");
    let mut rows = statement.query([]).expect("a query");
    while let Some(row) = rows.next().expect("a row") {
        let (body, is_doubtful): (String, bool) = (row.get(0).expect("text"), row.get(1).expect("a number"));
        let receipts: Vec<Receipt> = serde_json::from_str(&body).expect("receipts");
        for receipt in receipts {
            if is_doubtful && is_of_shop(&receipt.id) {
                continue;
            }
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

/// Rows of a table, of those that an account sees which has this address.
fn rows_of(
    connection: &Connection,
    table: &str,
    visible: &str,
    email: &str,
    names: &[String],
) -> BTreeSet<BTreeMap<String, String>> {
    let columns: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let sql = format!("SELECT {} FROM {table} WHERE {visible}", columns.join(", "));
    let Ok(mut statement) = connection.prepare_cached(&sql) else { return BTreeSet::new() };
    let rows = statement.query_map([email], |row| {
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
mod tests;
