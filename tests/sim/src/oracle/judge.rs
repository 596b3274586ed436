//! What must be true at the end: everybody agrees, and every effect is there once.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::{Mutation, MutationId, Operation, Outcome, Receipt};
use rusqlite::Connection;
use serde_json::Value as Json;

use super::fields::Fields;
use super::sights::{Sights, State};
use super::{
    Checked, LARGEST, MANAGED, Oracle, SUMS, Sent, TABLES, Table, differ, is_managed, is_mark, last_batch, one,
    rows_of, wrong,
};
use crate::device::{Device, MARKED};

/// What ever stood in the log: channel, id, body, and the fields of its schema version, in the order of its coming.
const LOG_HISTORY: &str = "SELECT channel.name, history.id, body, schema_version.fields FROM temp.history
    JOIN main.channel ON channel.number = history.channel
    JOIN main.schema_version ON schema_version.channel = history.channel AND schema_version.version = history.version
    ORDER BY n";

impl Oracle {
    /// The first difference between what a device holds and what its account may see.
    pub(crate) fn difference(
        &self,
        devices: &[Device],
        claims: &[Json],
        store: &Connection,
        shop: &Connection,
    ) -> Option<String> {
        // What a revoked device had sent stays, and nothing comes of it.
        let waiting: i64 = one(
            store,
            "SELECT count(*) FROM main.inbox JOIN main.incarnation ON incarnation.number = inbox.incarnation
                JOIN main.device ON device.number = incarnation.device WHERE device.state = 'active'",
        );
        let devices = || devices.iter().filter(|device| !device.is_out);
        if waiting != 0 {
            return Some(format!("{waiting} mutations wait in the inbox"));
        }
        let state = self.state_of(store, claims);
        for channel in MANAGED.into_iter().filter(|channel| self.has(channel)) {
            let rows = &state.records[channel];
            let names: Vec<String> = self.fields(channel).names().chain(["id".to_owned()]).collect();
            for device in devices() {
                let visible = rows.values().filter(|row| state.sees(device.account, channel, row));
                let expected: BTreeSet<_> = visible.cloned().collect();
                let held = rows_of(device.store().reader(), channel, "?1 <> ''", &self.emails[device.account], &names);
                if let Some(difference) = differ(&expected, &held) {
                    return Some(format!("device {}, `{channel}`: {difference}", device.index));
                }
            }
        }
        self.kept(9, devices().count());
        for Table { channel, name, visible, .. } in TABLES.into_iter().filter(|table| self.has(table.channel)) {
            let names: Vec<String> = self.fields(channel).columns().collect();
            for device in devices() {
                let email = &self.emails[device.account];
                let expected = rows_of(shop, name, visible, email, &names);
                let view = format!("backend_{channel}");
                let held = rows_of(device.store().reader(), &view, "?1 <> ''", email, &names);
                if let Some(difference) = differ(&expected, &held) {
                    return Some(format!("device {}, `{channel}`: {difference}", device.index));
                }
            }
        }
        None
    }

    /// What the log says now, of the managed channels, and who the accounts are.
    pub(super) fn state_of(&self, store: &Connection, claims: &[Json]) -> State {
        let mut state = Sights::new(self.emails.clone()).state;
        for (account, claims) in claims.iter().enumerate() {
            state.set_claims(account, claims);
        }
        state.is_rule_open = self.catalog == 1;
        for channel in MANAGED.into_iter().filter(|channel| self.has(channel)) {
            let rows = self.managed_rows(store, channel);
            state.records.insert(channel.into(), rows.into_iter().map(|row| (row["id"].clone(), row)).collect());
        }
        state
    }

    /// The living records of a managed channel, read from the log's table, in the fields that the channel has now.
    pub(super) fn managed_rows(&self, store: &Connection, channel: &str) -> Vec<BTreeMap<String, String>> {
        let mut statement = store
            .prepare(
                "SELECT log.id, body, kept, schema_version.fields FROM main.log
                    JOIN main.channel ON channel.number = log.channel
                    JOIN main.schema_version ON schema_version.channel = log.channel
                        AND schema_version.version = log.version
                    WHERE body IS NOT NULL AND channel.name = ?1",
            )
            .expect("a query");
        let now = self.fields(channel);
        let mut rows = statement.query([channel]).expect("a query");
        let mut found = Vec::new();
        while let Some(row) = rows.next().expect("a row") {
            let json = |place: usize| {
                let text: Option<String> = row.get(place).expect("text");
                text.map_or(Json::Null, |text| serde_json::from_str(&text).expect("JSON"))
            };
            let id: String = row.get(0).expect("text");
            let mut record = now.read(&Fields::of(&json(3)), &json(1), &json(2));
            record.insert("id".into(), id);
            found.push(record);
        }
        found
    }

    /// Every promise about effects.
    pub(crate) fn judge(&mut self, devices: &[Device], store: &Connection, shop: &Connection) -> Checked {
        self.sights.read(store);
        self.sights.check()?;
        let receipts = self.stored_receipts(store)?;
        self.accepted_is_durable(store)?;
        self.nothing_is_forgotten(&receipts)?;
        self.nothing_is_unknown(&receipts)?;
        self.offers_lose_to_somebody(&receipts)?;
        self.nothing_older_comes_back(store)?;
        let history = self.history(store, shop);
        self.marks_came_once(&receipts, &history)?;
        self.one_by_one(&receipts)?;
        self.wholes_are_whole(&receipts, store)?;
        self.nobody_waits_for_the_refused(&receipts);
        self.revoked_do_nothing(devices, store)?;
        for device in devices.iter().filter(|device| !device.is_out) {
            self.ids_stay(device)?;
            self.sums_add_up(device, &receipts)?;
            self.deletes_stay(device, &receipts)?;
            self.restores.outbox_is_new(device)?;
        }
        Ok(())
    }

    /// Every write left its device, and everything that left has one answer, the same everywhere.
    pub(super) fn nothing_is_forgotten(&self, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        for (place, write) in self.writes.iter().enumerate() {
            if self.carriers.contains_key(&write.mark) || write.field.is_empty() || write.field == "tags" {
                continue;
            }
            let was_lost = self.gone.contains(&place) || self.out.contains(&write.device);
            let replaced = self.writes[place + 1..].iter().any(|later| {
                (later.device, &later.channel, &later.record) == (write.device, &write.channel, &write.record)
                    && (later.field.is_empty() || later.field == write.field)
            });
            if !was_lost && !replaced {
                return wrong(format!("a write never left its device: {write:?}"));
            }
        }
        self.kept(3, self.writes.len());
        for (id, sent) in &self.sent {
            match (receipts.get(id), self.told.get(id)) {
                (Some(stored), Some(told)) if stored.outcome != told.outcome || stored.code != told.code => {
                    return wrong(format!("the device was told {told:?}, the server remembers {stored:?}"));
                }
                (Some(_), Some(_)) => self.kept(1, 1),
                (None, Some(told)) => return wrong(format!("the server forgot {told:?}")),
                // It was not to be offered again, for it had no effect; a server that had only accepted it by the snapshot
                // settles it once more, and its device does not ask.
                (_, None) if self.restores.was_without_effect(*id) => {}
                _ if self.set_back.get(&sent.device).is_some_and(|then| sent.order < *then) => {}
                _ if self.out.contains(&sent.device) => {}
                _ => return wrong(format!("device {} never had an answer to {:?}", sent.device, sent.mutation)),
            }
        }
        Ok(())
    }

    /// The shop remembers what it has done: of what was not offered again after a loss, nobody says that he cannot tell.
    pub(super) fn nothing_is_unknown(&self, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        if self.restores.any() {
            return Ok(());
        }
        match receipts.values().find(|receipt| receipt.code.as_deref() == Some("unknown")) {
            Some(receipt) => wrong(format!("nobody can tell what became of a mutation: {receipt:?}")),
            None => Ok(()),
        }
    }

    /// How often each mark came to stand in its field, by channel and column.
    pub(super) fn history(&self, store: &Connection, shop: &Connection) -> BTreeMap<(String, String, String), u32> {
        let mut came = BTreeMap::new();
        let mut before: BTreeMap<(String, String, String), Json> = BTreeMap::new();
        let mut statement = store.prepare(LOG_HISTORY).expect("a query");
        let mut rows = statement.query([]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            let (channel, id, body): (String, String, Option<String>) =
                (row.get(0).expect("text"), row.get(1).expect("text"), row.get(2).expect("text"));
            if !is_managed(&channel) {
                continue;
            }
            let values: Vec<Json> = body.map_or_else(Vec::new, |body| serde_json::from_str(&body).expect("an array"));
            let fields: Json = serde_json::from_str(&row.get::<_, String>(3).expect("text")).expect("JSON");
            for (place, column) in Fields::of(&fields).columns().enumerate() {
                let now = values.get(place).cloned().unwrap_or_default();
                let old = before.insert((channel.clone(), id.clone(), column.clone()), now.clone());
                if let Some(mark) = now.as_str().filter(|_| old.as_ref() != Some(&now)).filter(|text| is_mark(text)) {
                    *came.entry((channel.clone(), column, mark.to_owned())).or_default() += 1;
                }
            }
        }
        let mut statement = shop.prepare("SELECT place, mark FROM history ORDER BY n").expect("a query");
        let mut rows = statement.query([]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            let (place, mark): (String, String) = (row.get(0).expect("text"), row.get(1).expect("text"));
            let column = MARKED.iter().find(|(channel, _)| *channel == place).expect("marked").1;
            let column = self.column(&place, column);
            *came.entry((place, column, mark)).or_default() += 1;
        }
        came
    }

    /// Of a row in the shop every value is written once only: one that the log has again, after another, was read before that
    /// one and journaled after it.
    fn nothing_older_comes_back(&self, store: &Connection) -> Checked {
        // A store that was set back reads anew what it had forgotten.
        if self.restores.any() {
            return Ok(());
        }
        let mut seen: BTreeMap<(String, String), BTreeMap<String, Vec<String>>> = BTreeMap::new();
        let mut statement = store.prepare(LOG_HISTORY).expect("a query");
        let mut rows = statement.query([]).expect("a query");
        while let Some(row) = rows.next().expect("a row") {
            let (channel, id): (String, String) = (row.get(0).expect("text"), row.get(1).expect("text"));
            if is_managed(&channel) {
                continue;
            }
            let Some(body) = row.get::<_, Option<String>>(2).expect("text") else {
                // Two lists that end early take a row away, and the next one brings it back as it was.
                seen.remove(&(channel, id));
                continue;
            };
            let values: Vec<Json> = serde_json::from_str(&body).expect("an array");
            let fields: Json = serde_json::from_str(&row.get::<_, String>(3).expect("text")).expect("JSON");
            let columns = seen.entry((channel.clone(), id.clone())).or_default();
            for (column, value) in Fields::of(&fields).columns().zip(&values) {
                let Some(mark) = value.as_str().filter(|text| is_mark(text)) else { continue };
                let before = columns.entry(column.clone()).or_default();
                if before.last().is_some_and(|last| last == mark) {
                    continue;
                }
                if before.iter().any(|old| old == mark) {
                    return wrong(format!("{mark} is back in {channel}.{column} of {id}, after {before:?}"));
                }
                before.push(mark.to_owned());
                self.kept(16, 1);
            }
        }
        Ok(())
    }

    /// An applied value came once; a refused one never; and nothing came that nobody wrote.
    pub(super) fn marks_came_once(
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
                let column = self.column(channel, field);
                let came = history.get(&(channel.to_owned(), column, mark.to_owned())).copied().unwrap_or(0);
                let client_wins =
                    matches!((channel, &**field), ("notes", "body") | ("area" | "album", "title" | "Title"));
                let (least, most) = match receipts.get(id) {
                    // What a store forgot that was set back may still be in the shop; and what the shop had been given when
                    // its device was revoked.
                    None => {
                        let may_be = self.restores.any() || self.out.contains(&self.sent[id].device);
                        (0, u32::from(may_be && !is_managed(channel)))
                    }
                    Some(receipt) => match (receipt.outcome, receipt.code.as_deref()) {
                        (Outcome::Applied | Outcome::Merged, _) => (1, 1),
                        (Outcome::Rejected, _) | (Outcome::Conflict, Some("gone")) => (0, 0),
                        (Outcome::Conflict, None) if client_wins => (1, 1),
                        (Outcome::Conflict, _) => (0, 1),
                    },
                };
                // Mutations of one device that are settled together reach the log as one change.
                let skipped = is_managed(channel) && self.is_followed(id, field)
                    || self.restores.has_lost(*id) && (!is_managed(channel) || self.is_touched_by_others(id, field));
                // Nothing tells what was done there before the server was set back.
                let most = if channel == "memo" && self.restores.has_lost(*id) { 1 } else { most };
                if came < least && !skipped || came > most {
                    let receipt = receipts.get(id);
                    return wrong(format!(
                        "{mark} came {came} times to {channel}.{field}, with {receipt:?} for {mutation:?}"
                    ));
                }
                self.kept(2, 1);
                // Their fields come, go and change their types under the mutation.
                self.kept(14, usize::from(matches!(channel, "form" | "ware")));
            }
        }
        self.kept(16, history.keys().filter(|(_, _, mark)| mark.starts_with("m0.e")).count());
        Ok(())
    }

    /// The mutations of one device come into the log in the order in which it sent them, where nothing stands between: one
    /// that refers to another record may wait for it.
    pub(super) fn one_by_one(&self, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        if self.restores.any() {
            return Ok(());
        }
        let mut sent: Vec<(&MutationId, &Sent)> = self.sent.iter().collect();
        sent.sort_by_key(|(_, sent)| sent.order);
        let mut last: BTreeMap<usize, (u64, MutationId)> = BTreeMap::new();
        // Whose change a position of a record is. Where several devices were told of it, nobody knows.
        const SEVERAL: usize = usize::MAX;
        let mut changes: BTreeMap<(&str, &str, u64), usize> = BTreeMap::new();
        let mut told: BTreeSet<(usize, (&str, &str, u64))> = BTreeSet::new();
        for (id, one) in &sent {
            let Some(position) = receipts.get(*id).and_then(|receipt| receipt.position) else { continue };
            let change = (one.mutation.channel.as_str(), one.mutation.record.as_str(), position.0);
            match changes.get(&change) {
                Some(before) if *before != one.device => changes.insert(change, SEVERAL),
                _ => changes.insert(change, one.device),
            };
        }
        for (id, Sent { device, mutation, .. }) in sent {
            // While a channel's records are placed anew, what is for it waits and others go on.
            let is_plain = match mutation.channel.as_str() {
                "form" => self.reloads == 0,
                other => matches!(other, "area" | "own" | "members" | "job"),
            };
            // Its numbers begin anew with each backup that comes back.
            if !is_plain || self.set_back.contains_key(device) {
                continue;
            }
            let Some(receipt) = receipts.get(id) else { continue };
            let Some(position) = receipt.position else { continue };
            let Mutation { channel, record, .. } = mutation;
            // Settled together with an earlier one of the same record, they are one change of it; and one that changes nothing
            // stands where another device's change does.
            let change = (channel.as_str(), record.as_str(), position.0);
            let is_own = changes.get(&change) == Some(device);
            let is_new = told.insert((*device, change));
            if !is_own || !is_new || receipt.outcome != Outcome::Applied {
                continue;
            }
            if let Some((before, earlier)) = last.insert(*device, (position.0, *id))
                && position.0 < before
            {
                return wrong(format!("device {device}: {id} stands at {position:?}, before {earlier} at {before}"));
            }
            self.kept(4, 1);
        }
        Ok(())
    }

    /// Nothing of a device is settled once it has been revoked for a moment.
    pub(super) fn revoked_do_nothing(&self, devices: &[Device], store: &Connection) -> Checked {
        devices.iter().try_for_each(|device| self.does_nothing(device, store))
    }

    /// Nothing of a device is settled once it has been revoked, locked or wiped for a moment.
    pub(crate) fn does_nothing(&self, device: &Device, store: &Connection) -> Checked {
        let Some(then) = device.last_batch else { return Ok(()) };
        let last = last_batch(store, device.number);
        if last > then {
            let index = device.index;
            return wrong(format!("device {index} had an answer after it could do nothing, in batch {last}"));
        }
        self.kept(17, 1);
        Ok(())
    }

    /// Of a wiped device nothing is left: no table of a channel, no row of ours that has to do with one.
    pub(crate) fn holds_nothing(&self, device: &Device) -> Checked {
        let ours = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT IN (
            'om_state', 'om_sequence', 'om_channels', 'om_scopes', 'om_stage', 'om_outbox', 'om_settled', 'om_rejected',
            'om_atomic', 'om_joined', 'om_dirty') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        let rows = "SELECT (SELECT count(*) FROM om_channels) + (SELECT count(*) FROM om_scopes)
            + (SELECT count(*) FROM om_stage) + (SELECT count(*) FROM om_outbox) + (SELECT count(*) FROM om_settled)
            + (SELECT count(*) FROM om_rejected)";
        let (tables, rows): (i64, i64) = (one(device.store().reader(), ours), one(device.store().reader(), rows));
        if (tables, rows) != (0, 0) {
            return wrong(format!("device {} was wiped and has {tables} tables and {rows} rows", device.index));
        }
        self.kept(17, 1);
        Ok(())
    }

    /// Behind a mutation that was refused others of its device went on.
    pub(super) fn nobody_waits_for_the_refused(&self, receipts: &BTreeMap<MutationId, Receipt>) {
        for (id, Sent { device, order, .. }) in &self.sent {
            if receipts.get(id).is_some_and(|receipt| receipt.outcome == Outcome::Rejected) {
                let later = |(other, sent): (&MutationId, &Sent)| {
                    sent.device == *device && sent.order > *order && receipts.contains_key(other)
                };
                self.kept(5, usize::from(self.sent.iter().any(later)));
            }
        }
    }

    /// Whoever shows a mark shows it in the record that its writer wrote it to, whatever key that has in its backend.
    pub(super) fn ids_stay(&self, device: &Device) -> Checked {
        for (channel, column) in MARKED.into_iter().filter(|(channel, _)| self.has(channel)) {
            let Some(field) = device.field(channel, column) else { continue };
            let mut statement = device
                .store()
                .reader()
                .prepare(&format!("SELECT id, {field} FROM {channel} WHERE {field} IS NOT NULL"))
                .expect("a table");
            let mut rows = statement.query([]).expect("a table");
            while let Some(row) = rows.next().expect("a row") {
                let (id, mark): (String, String) = (row.get(0).expect("id"), row.get(1).expect("text"));
                let Some(carrier) = self.carriers.get(&mark).and_then(|id| self.sent.get(id)) else { continue };
                if carrier.mutation.record.as_str() != id {
                    return wrong(format!(
                        "device {} has {mark} in {channel}/{id}, and it was written to {}",
                        device.index,
                        carrier.mutation.record.as_str()
                    ));
                }
                self.kept(12, 1);
                self.kept(13, usize::from(device.skew_ms != 0));
            }
        }
        Ok(())
    }

    /// Whether the same device changed the same field again, or deleted the record, after this mutation.
    pub(super) fn is_followed(&self, id: &MutationId, field: &str) -> bool {
        let Sent { device, mutation, order } = &self.sent[id];
        let channel = mutation.channel.as_str();
        let column = self.column(channel, field);
        self.sent.values().any(|later| {
            later.device == *device
                && later.order > *order
                && (&later.mutation.channel, &later.mutation.record) == (&mutation.channel, &mutation.record)
                && (later.mutation.op == Operation::Delete
                    || later.mutation.new.keys().any(|field| self.column(channel, field) == column))
        })
    }

    /// Whether another mutation changed the same field, or deleted the record.
    pub(super) fn is_touched_by_others(&self, id: &MutationId, field: &str) -> bool {
        let mutation = &self.sent[id].mutation;
        let column = self.column(mutation.channel.as_str(), field);
        self.sent.iter().any(|(other, Sent { mutation: theirs, .. })| {
            other != id
                && (&theirs.channel, &theirs.record) == (&mutation.channel, &mutation.record)
                && (theirs.op == Operation::Delete
                    || theirs.new.keys().any(|field| self.column(theirs.channel.as_str(), field) == column))
        })
    }

    /// Whether a mutation's differences are in the record.
    pub(super) fn had_effect(receipt: Option<&Receipt>) -> bool {
        receipt.is_some_and(|receipt| {
            receipt.outcome != Outcome::Rejected
                && !matches!(receipt.code.as_deref(), Some("gone" | "unknown" | "updated"))
        })
    }

    /// Differences add up exactly, the largest value stays, and every added item is there once.
    pub(super) fn sums_add_up(&self, device: &Device, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
        let connection = device.store().reader();
        let effective: Vec<&Mutation> = self
            .sent
            .iter()
            .filter(|(id, _)| Self::had_effect(receipts.get(id).or_else(|| self.restores.stands(**id))))
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
        // A write that its device and the server forgot both may still be in the shop; so may one whose device is refused
        // now, and cannot offer it again.
        let is_forgotten = !self.set_back.is_empty() || !self.out.is_empty();
        // And what the shop had been given when its device was revoked or wiped has no answer, done or not.
        let is_open = |channel: &str| {
            let mut sent = self.sent.iter().filter(|(id, _)| !receipts.contains_key(id));
            sent.any(|(_, sent)| self.out.contains(&sent.device) && sent.mutation.channel.as_str() == channel)
        };
        let is_blurred =
            |channel: &str| !is_managed(channel) && (self.restores.any() && is_forgotten || is_open(channel));
        for (channel, field) in SUMS.into_iter().filter(|(channel, _)| self.has(channel) && !is_blurred(channel)) {
            let key = TABLES.iter().find(|table| table.channel == channel).map_or("NULL", |table| table.key);
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
        for (channel, field) in LARGEST.into_iter().filter(|(channel, _)| self.has(channel)) {
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
        if !self.has("notes") {
            return Ok(());
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
    pub(super) fn deletes_stay(&self, device: &Device, receipts: &BTreeMap<MutationId, Receipt>) -> Checked {
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
            if gone && one::<bool>(device.store().reader(), &there) {
                return wrong(format!("a deleted record is back: {mutation:?} with {:?}", receipts.get(id)));
            }
            self.kept(11, usize::from(gone));
        }
        Ok(())
    }
}
