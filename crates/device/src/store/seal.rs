//! Sealing: captures become numbered mutations, whose payload is from then on fixed byte for byte.
//!
//! *Invariant:* one sealing is one transaction: captures leave, mutations enter, `last_seq` moves. A value that is not
//! of its field's type never enters the outbox; it goes to the rejected list, and what the app sees goes back.

use std::collections::BTreeSet;

use omctl_protocol::{ChannelName, ChannelSchema, Fields, Mutation, Operation, RecordId, Seq, Value, ValueError};
use rusqlite::{Connection, params};

use super::channels::{Channel, Channels};
use super::coalesce::{Capture, CaptureKind, Item, Surroundings, coalesce};
use super::values::columns;
use super::{Result, StoreError, outbox, overlay, state};

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

/// Seals everything that is captured, inside the caller's transaction, triggers off.
pub(crate) fn seal_all(conn: &Connection, channels: &Channels, now_ms: i64) -> Result<Sealed> {
    let mut sealed = Sealed::default();
    while seal_some(conn, channels, now_ms, &mut sealed)? {}
    Ok(sealed)
}

/// Seals one batch; whether there may be more.
fn seal_some(conn: &Connection, channels: &Channels, now_ms: i64, sealed: &mut Sealed) -> Result<bool> {
    let mut captures = Vec::new();
    for channel in channels.values() {
        read_captures(conn, channel, &mut captures)?;
    }
    if captures.is_empty() {
        return Ok(false);
    }
    captures.sort_by_key(|capture| capture.n);
    let more = captures.len() > CAPTURES_MAX;
    captures.truncate(CAPTURES_MAX);
    let last_n = captures.last().expect("it is not empty").n;
    name_group(conn, &mut captures)?;
    let mut records: BTreeSet<(ChannelName, String)> = BTreeSet::new();
    for capture in &captures {
        records.insert((capture.channel.clone(), capture.record.clone()));
    }

    let items = coalesce(captures, &Around { conn, channels })?;
    let mut refused: BTreeSet<(ChannelName, String)> = BTreeSet::new();
    for item in items {
        let key = (item.channel.clone(), item.record.clone());
        let channel = &channels[&item.channel];
        match write_item(conn, channel, &item, refused.contains(&key), now_ms)? {
            Written::Sealed => sealed.count += 1,
            Written::Nothing => {}
            Written::Refused => {
                if item.before.is_none() {
                    refused.insert(key);
                }
                sealed.reverted.insert(item.channel);
            }
        }
    }
    for channel in channels.values() {
        conn.prepare_cached(&format!("DELETE FROM {} WHERE n <= ?1", channel.names.cap))?.execute([last_n])?;
    }
    // A later batch may hold captures of the same records, which then stand on what is visible now.
    if !more {
        for (name, record) in &records {
            tidy(conn, &channels[name], record)?;
        }
        drop_idle_bases(conn, channels)?;
    }
    Ok(more)
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

fn read_captures(conn: &Connection, channel: &Channel, out: &mut Vec<Capture>) -> Result<()> {
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
            record: row.get(2)?,
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

enum Written {
    Sealed,
    Nothing,
    Refused,
}

fn write_item(
    conn: &Connection,
    channel: &Channel,
    item: &Item,
    create_was_refused: bool,
    now_ms: i64,
) -> Result<Written> {
    let (mutation, error) = to_mutation(&channel.schema, item);
    let Some(mut mutation) = mutation else { return Ok(Written::Nothing) };
    for group in &item.joined {
        conn.prepare_cached("INSERT OR IGNORE INTO om_joined (grp, mutation) VALUES (?1, ?2)")?
            .execute(params![group, item.id.to_string()])?;
    }
    let refusal = match (error, create_was_refused) {
        (Some((field, error)), _) => Some((error.code(), Some(error.to_string()), Some(field))),
        (None, true) => Some(("depends_on", Some("the record's create was rejected".to_owned()), None)),
        (None, false) => None,
    };
    if let Some((code, message, field)) = refusal {
        outbox::reject_here(conn, &mutation, item.group, now_ms, code, message, field)?;
        return Ok(Written::Refused);
    }
    let seq = state::last_seq(conn)?.next();
    mutation.seq = seq;
    outbox::insert(conn, &mutation, item.group)?;
    state::set_last_seq(conn, seq)?;
    Ok(Written::Sealed)
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
            (Operation::Create, _, Some(after)) if !after.is_null() && !field.read_only => {
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
        again: None,
    };
    (Some(mutation), error)
}
