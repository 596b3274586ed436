//! Sealing: captures become numbered mutations, whose payload is from then on fixed byte for byte.
//!
//! *Invariant:* one sealing is one transaction: captures leave, mutations enter, `last_seq` moves. A value that is not
//! of its field's type never enters the outbox; it goes to the rejected list, and what the app sees goes back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use omctl_protocol::{
    ChannelName, ChannelSchema, Fields, Mutation, MutationId, Operation, RecordId, Seq, Value, ValueError,
};
use rusqlite::{Connection, params};

use super::channels::{Channel, Channels};
use super::coalesce::{Capture, CaptureKind, Item, Surroundings, coalesce};
use super::hold_back::{HeldBack, hold_back};
use super::order::order;
use super::values::{Bind, columns};
use super::{Result, StoreError, atomic, outbox, overlay, state};

/// Most captures that are read at once: coalescing holds them in memory.
const CAPTURES_MAX: usize = 10_000;

/// What one sealing did.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    /// Mutations that entered the outbox.
    pub(crate) count: usize,
    /// Channels in which the app sees something else than it wrote.
    pub(crate) reverted: BTreeSet<ChannelName>,
}

struct Around<'a> {
    conn: &'a Connection,
    channels: &'a Channels,
    /// The last capture of the batch.
    last_n: i64,
    /// What later captures create, by channel, once somebody asked.
    later: RefCell<HashMap<ChannelName, HashSet<String>>>,
}

impl Surroundings for Around<'_> {
    type Error = StoreError;

    fn schema(&self, channel: &ChannelName) -> Option<&ChannelSchema> {
        self.channels.get(channel).map(|channel| &*channel.schema)
    }

    fn sealed_state(&self, channel: &ChannelName, record: &str) -> Result<Option<Vec<Value>>> {
        let Some(channel) = self.channels.get(channel) else { return Ok(None) };
        Ok(overlay::sealed_state(self.conn, channel, record)?.flatten())
    }

    fn is_created_later(&self, name: &ChannelName, record: &str) -> Result<bool> {
        let Some(channel) = self.channels.get(name) else { return Ok(false) };
        // Every record with a capture has a base. Most references are to others, and cost this one look.
        if overlay::sealed_state(self.conn, channel, record)? != Some(None) {
            return Ok(false);
        }
        let mut later = self.later.borrow_mut();
        if !later.contains_key(name) {
            let sql = format!("SELECT id FROM {} WHERE op = 1 AND n > ?1", channel.names.cap);
            let mut statement = self.conn.prepare_cached(&sql)?;
            let ids = statement.query_map([self.last_n], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            later.insert(name.clone(), ids);
        }
        Ok(later[name].contains(record))
    }

    fn random(&self) -> Result<[u8; 10]> {
        Ok(self.conn.prepare_cached("SELECT randomblob(10)")?.query_row([], |row| row.get(0))?)
    }
}

/// Whether something waits to be sealed.
pub(crate) fn has_captures(conn: &Connection, channels: &Channels) -> Result<bool> {
    for channel in channels.values() {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", channel.names.cap);
        if conn.prepare_cached(&sql)?.query_row([], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One sealing, batch by batch, and in these piece by piece.
struct Sealing<'a> {
    conn: &'a Connection,
    channels: &'a Channels,
    now_ms: i64,
    /// Groups that are sealed as one piece.
    atomic: BTreeSet<i64>,
    sealed: Sealed,
    /// Records whose create was refused.
    refused: BTreeSet<(ChannelName, String)>,
    /// Records to be shown as the server has them, or canonically.
    untidy: BTreeSet<(ChannelName, String)>,
    /// Records whose id is no UTF-8, by the name they have here: their bytes.
    unreadable: BTreeMap<(ChannelName, String), Vec<u8>>,
}

/// Seals everything that is captured, inside the caller's transaction, triggers off.
pub(crate) fn seal_all(conn: &Connection, channels: &Channels, now_ms: i64) -> Result<Sealed> {
    let atomic = atomic::groups(conn)?;
    let (sealed, refused, untidy, unreadable) = Default::default();
    let mut sealing = Sealing { conn, channels, now_ms, atomic, sealed, refused, untidy, unreadable };
    while sealing.batch()? {}
    if !sealing.atomic.is_empty() {
        atomic::forget(conn)?;
    }
    Ok(sealing.sealed)
}

impl Sealing<'_> {
    /// Seals what is read at once; whether there may be more.
    fn batch(&mut self) -> Result<bool> {
        let (conn, channels) = (self.conn, self.channels);
        let mut captures = Vec::new();
        for channel in channels.values() {
            read_captures(conn, channel, &mut captures, &mut self.unreadable)?;
        }
        captures.sort_by_key(|capture| capture.n);
        let more = captures.len() > CAPTURES_MAX;
        captures.truncate(CAPTURES_MAX);
        let mut captures = VecDeque::from(captures);
        let Some(mut sealed_to) = captures.front().map(|first| first.n - 1) else { return Ok(false) };
        let mut held_back = Vec::new();
        while !captures.is_empty() {
            let (count, is_atomic) = atomic::first_piece(&captures, &self.atomic);
            let is_unfinished = more && count == captures.len();
            if is_unfinished && is_atomic {
                // Its rest is read with the next batch, which begins with it.
                break;
            }
            let piece: Vec<Capture> = captures.drain(..count).collect();
            sealed_to = piece.last().expect("a piece is not empty").n;
            // What an atomic transaction cuts off keeps the app's order: nothing is held back behind it.
            held_back = self.piece(piece, is_atomic, is_unfinished)?;
        }
        for channel in channels.values() {
            conn.prepare_cached(&format!("DELETE FROM {} WHERE n <= ?1", channel.names.cap))?.execute([sealed_to])?;
        }
        for held in held_back {
            let key = (held.capture.channel.clone(), held.capture.record.clone());
            if !self.refused.contains(&key) {
                capture_again(conn, &channels[&key.0], &held)?;
            }
        }
        for ((name, _), id) in &self.unreadable {
            forget_unreadable(conn, &channels[name], id)?;
        }
        if !more {
            for (name, record) in std::mem::take(&mut self.untidy) {
                tidy(conn, &channels[&name], &record)?;
            }
            drop_idle_bases(conn, channels)?;
        }
        Ok(more)
    }

    /// Seals captures that belong together, and answers with what is to be captured again. `is_unfinished`: captures of
    /// the same kind stand behind them that are not read yet.
    fn piece(&mut self, mut captures: Vec<Capture>, is_atomic: bool, is_unfinished: bool) -> Result<Vec<HeldBack>> {
        let (conn, channels) = (self.conn, self.channels);
        let last_n = captures.last().expect("a piece is not empty").n;
        name_group(conn, &mut captures)?;
        // A later batch may hold captures of the same records, which then stand on what is visible now.
        if !is_unfinished {
            self.untidy.extend(captures.iter().map(|capture| (capture.channel.clone(), capture.record.clone())));
        }
        let around = Around { conn, channels, last_n, later: RefCell::default() };
        let mut items = coalesce(captures, &around)?;
        let held_back = if is_unfinished { hold_back(&mut items, &around)? } else { Vec::new() };
        let items = order(items, &around)?;
        if is_atomic {
            self.write_whole(items)?;
        } else {
            items.into_iter().try_for_each(|item| self.write_one(item))?;
        }
        Ok(held_back)
    }

    fn write_one(&mut self, item: Item) -> Result<()> {
        let Some(ready) = self.ready(item)? else { return Ok(()) };
        match ready.refusal {
            None => self.insert(ready.mutation, &ready.item)?,
            Some(refusal) => self.refuse(&ready.mutation, &ready.item, refusal)?,
        }
        Ok(())
    }

    /// Seals the items of an atomic transaction, or refuses all of them.
    fn write_whole(&mut self, items: Vec<Item>) -> Result<()> {
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            all.extend(self.ready(item)?);
        }
        if all.iter().any(|ready| ready.refusal.is_some()) {
            for ready in all {
                let depends = || Refusal::of(ATOMIC, "another write of its transaction was refused");
                self.refuse(&ready.mutation, &ready.item, ready.refusal.unwrap_or_else(depends))?;
            }
            return Ok(());
        }
        atomic::place(all.iter_mut().map(|ready| &mut ready.mutation));
        all.into_iter().try_for_each(|ready| self.insert(ready.mutation, &ready.item))
    }

    /// The mutation that an item is to be; nothing where no field changed.
    fn ready(&self, item: Item) -> Result<Option<Ready>> {
        let (mutation, error) = to_mutation(&self.channels[&item.channel].schema, &item);
        let Some(mutation) = mutation else { return Ok(None) };
        join(self.conn, &item.joined, item.id)?;
        let record = (item.channel.clone(), item.record.clone());
        let refusal = match error {
            _ if self.unreadable.contains_key(&record) => {
                Some(Refusal::of("bad_value", "the id of a record is UTF-8 text"))
            }
            Some((field, error)) => {
                Some(Refusal { code: error.code(), message: error.to_string(), field: Some(field) })
            }
            None if self.refused.contains(&record) => {
                Some(Refusal::of("depends_on", "the record's create was rejected"))
            }
            None => None,
        };
        Ok(Some(Ready { mutation, item, refusal }))
    }

    fn insert(&mut self, mut mutation: Mutation, item: &Item) -> Result<()> {
        let seq = state::last_seq(self.conn)?.next();
        mutation.seq = seq;
        outbox::insert(self.conn, &mutation, item.group)?;
        state::set_last_seq(self.conn, seq)?;
        self.sealed.count += 1;
        #[cfg(feature = "planted")]
        if item.before.is_some() && item.after.is_some() && crate::planted::is_due(item.id, &item.channel, &item.record)
        {
            self.sealed.reverted.insert(item.channel.clone());
        }
        Ok(())
    }

    fn refuse(&mut self, mutation: &Mutation, item: &Item, refusal: Refusal) -> Result<()> {
        let Refusal { code, message, field } = refusal;
        outbox::reject_here(self.conn, mutation, item.group, self.now_ms, code, Some(message), field)?;
        if item.before.is_none() {
            self.refused.insert((item.channel.clone(), item.record.clone()));
        }
        self.sealed.reverted.insert(item.channel.clone());
        Ok(())
    }
}

/// The code of a write that is refused because of another one of its atomic transaction.
const ATOMIC: &str = "atomic";

/// A mutation that may be sealed.
struct Ready {
    mutation: Mutation,
    item: Item,
    refusal: Option<Refusal>,
}

/// Why a write never leaves this device.
struct Refusal {
    code: &'static str,
    message: String,
    field: Option<String>,
}

impl Refusal {
    fn of(code: &'static str, message: &str) -> Self {
        Self { code, message: message.to_owned(), field: None }
    }
}

/// A record whose every change came to nothing is shown as the server has it; one with pending changes canonically.
fn tidy(conn: &Connection, channel: &Channel, record: &str) -> Result<()> {
    overlay::refresh(conn, channel, record)
}

/// `INSERT OR IGNORE` of an existing record keeps a base and changes nothing.
pub(crate) fn drop_idle_bases(conn: &Connection, channels: &Channels) -> Result<()> {
    for channel in channels.values() {
        let base = &channel.names.base;
        let sql = format!(
            "DELETE FROM {base} WHERE NOT EXISTS \
             (SELECT 1 FROM om_outbox WHERE channel = ?1 AND record = {base}.id)"
        );
        conn.prepare_cached(&sql)?.execute([channel.schema.channel.as_str()])?;
    }
    Ok(())
}

/// A record whose id is no UTF-8 is none of the server's: only the app's table and its base have it.
fn forget_unreadable(conn: &Connection, channel: &Channel, id: &[u8]) -> Result<()> {
    for table in [&channel.names.table, &channel.names.base] {
        let mut statement = conn.prepare_cached(&format!("DELETE FROM {table} WHERE id = CAST(?1 AS TEXT)"))?;
        statement.execute([id])?;
    }
    Ok(())
}

/// The id of a capture's record. SQLite takes any bytes for text, and no trigger can tell: what is no UTF-8 has a name
/// of its own until it is refused.
fn record_of(id: &[u8], channel: &ChannelName, unreadable: &mut BTreeMap<(ChannelName, String), Vec<u8>>) -> String {
    if let Ok(text) = std::str::from_utf8(id) {
        return text.to_owned();
    }
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{} (x'{hex}')", String::from_utf8_lossy(id));
    unreadable.insert((channel.clone(), name.clone()), id.to_owned());
    name
}

fn read_captures(
    conn: &Connection,
    channel: &Channel,
    out: &mut Vec<Capture>,
    unreadable: &mut BTreeMap<(ChannelName, String), Vec<u8>>,
) -> Result<()> {
    let count = channel.schema.fields.len();
    let sql = format!("SELECT * FROM {} ORDER BY n LIMIT {}", channel.names.cap, CAPTURES_MAX + 1);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kind = match row.get::<_, i64>(1)? {
            1 => CaptureKind::Insert,
            2 => CaptureKind::Update,
            _ => CaptureKind::Delete,
        };
        let random: Vec<u8> = row.get(5)?;
        out.push(Capture {
            n: row.get(0)?,
            channel: channel.schema.channel.clone(),
            record: record_of(
                row.get_ref(2)?.as_bytes().map_err(rusqlite::Error::from)?,
                &channel.schema.channel,
                unreadable,
            ),
            kind,
            group: row.get(3)?,
            at_ms: row.get::<_, Option<i64>>(4)?.unwrap_or_default(),
            random: random.try_into().map_err(|_| StoreError::Corrupt { what: "om_cap", source: None })?,
            old: if kind == CaptureKind::Insert { Vec::new() } else { columns(row, 6, count)? },
            new: if kind == CaptureKind::Delete { Vec::new() } else { columns(row, 6 + count, count)? },
        });
    }
    Ok(())
}

/// Puts what was held back before the captures that are left.
fn capture_again(conn: &Connection, channel: &Channel, held: &HeldBack) -> Result<()> {
    let capture = &held.capture;
    let count = channel.schema.fields.len();
    let marks: String = (0..2 * count).map(|n| format!(", ?{}", n + 7)).collect();
    let mut statement =
        conn.prepare_cached(&format!("INSERT INTO {} VALUES (?1, ?2, ?3, ?4, ?5, ?6{marks})", channel.names.cap))?;
    statement.raw_bind_parameter(1, capture.n)?;
    statement.raw_bind_parameter(2, outbox::op_number(Operation::Update))?;
    statement.raw_bind_parameter(3, &capture.record)?;
    statement.raw_bind_parameter(4, capture.group)?;
    statement.raw_bind_parameter(5, capture.at_ms)?;
    statement.raw_bind_parameter(6, &capture.random[..])?;
    for (n, value) in capture.old.iter().chain(&capture.new).enumerate() {
        statement.raw_bind_parameter(n + 7, Bind(value))?;
    }
    statement.raw_execute()?;
    join(conn, &held.joined, capture.mutation_id())
}

/// Lets other groups wait for a mutation.
fn join(conn: &Connection, groups: &BTreeSet<i64>, mutation: MutationId) -> Result<()> {
    for group in groups {
        conn.prepare_cached("INSERT OR IGNORE INTO om_joined (grp, mutation) VALUES (?1, ?2)")?
            .execute(params![group, mutation.to_string()])?;
    }
    Ok(())
}

/// Writes that came without the library, found at one read, form one group.
fn name_group(conn: &Connection, captures: &mut [Capture]) -> Result<()> {
    if captures.iter().all(|capture| capture.group.is_some()) {
        return Ok(());
    }
    let group = new_group(conn)?;
    for capture in captures.iter_mut().filter(|capture| capture.group.is_none()) {
        capture.group = Some(group);
    }
    Ok(())
}

/// The next group number of this file.
pub(crate) fn new_group(conn: &Connection) -> Result<i64> {
    Ok(conn
        .prepare_cached("UPDATE om_sequence SET groups = groups + 1 RETURNING groups")?
        .query_row([], |row| row.get(0))?)
}

/// The mutation, without a seq; nothing where no field changed; beside it the first value that is not of its type.
fn to_mutation(schema: &ChannelSchema, item: &Item) -> (Option<Mutation>, Option<(String, ValueError)>) {
    let (mut old, mut new) = (Fields::new(), Fields::new());
    let mut error = None;
    let op = match (&item.before, &item.after) {
        (None, Some(_)) => Operation::Create,
        (Some(_), Some(_)) => Operation::Update,
        (Some(_), None) => Operation::Delete,
        (None, None) => return (None, None),
    };
    for (n, field) in schema.fields.iter().enumerate() {
        // What was there before may itself be a value that was refused: it is then left out, not sent.
        let before = item.before.as_ref().map(|values| field.kind.canonical(values[n].clone()).unwrap_or_default());
        let after = match item.after.as_ref().map(|values| field.kind.canonical(values[n].clone())) {
            Some(Err(cause)) if !field.read_only => {
                let raw = item.after.as_ref().map(|values| values[n].clone()).unwrap_or_default();
                new.insert(field.name.clone(), raw.to_json());
                error.get_or_insert((field.name.clone(), cause));
                continue;
            }
            Some(Err(_)) => continue,
            Some(Ok(value)) => Some(value),
            None => None,
        };
        match (op, before, after) {
            (Operation::Delete, Some(before), _) => {
                old.insert(field.name.clone(), before.to_json());
            }
            // What the app leaves out has the default already: a NULL there is meant.
            (Operation::Create, _, Some(after))
                if (!after.is_null() || field.default.is_some()) && !field.read_only =>
            {
                new.insert(field.name.clone(), after.to_json());
            }
            (Operation::Update, Some(before), Some(after)) if before != after && !field.read_only => {
                old.insert(field.name.clone(), before.to_json());
                new.insert(field.name.clone(), after.to_json());
            }
            _ => {}
        }
    }
    if op == Operation::Update && new.is_empty() {
        return (None, None);
    }
    let mutation = Mutation {
        seq: Seq(0),
        id: item.id,
        channel: item.channel.clone(),
        v: schema.version,
        op,
        record: RecordId::new(item.record.as_str()),
        old,
        new,
        at: Some(item.at_ms),
        group: item.group.and_then(|group| u64::try_from(group).ok()),
        atomic: None,
        again: None,
    };
    (Some(mutation), error)
}
