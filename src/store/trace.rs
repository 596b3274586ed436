//! Everything that is kept of the mutations and records with one id.

use std::collections::BTreeSet;

use omctl_protocol::inspect::{FieldWriter, RecordTrace, TraceDevice};
use omctl_protocol::{ChannelName, DeviceId, Life, MutationId, Position, Receipt, Seq};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, named_params};
use uuid::Uuid;

use super::inbox::parse_receipts;
use super::log::Writers;
use super::verdicts::{KEPT, read_kept};
use super::{ChannelNo, IncarnationNo, KeptVerdict, Store, StoreError, sqlite_error};

/// What is known of an id.
#[derive(Clone, Debug, Default)]
pub struct Traced {
    /// Mutations that wait.
    pub waiting: Vec<TracedWaiting>,
    /// Mutations that have their receipt.
    pub settled: Vec<TracedSettled>,
    /// What was rejected or lost.
    pub verdicts: Vec<KeptVerdict>,
    /// Records.
    pub records: Vec<RecordTrace>,
}

/// A mutation that waits.
#[derive(Clone, Debug)]
pub struct TracedWaiting {
    /// The device that made it.
    pub by: Option<TraceDevice>,
    /// Its number.
    pub seq: Seq,
    /// The backend that it waits for.
    pub backend: String,
    /// As it was sent.
    pub payload: String,
    /// How often it failed alone.
    pub tries: u64,
    /// When it was accepted (milliseconds since 1970).
    pub at_ms: i64,
}

/// A mutation that has its receipt.
#[derive(Clone, Debug)]
pub struct TracedSettled {
    /// The device that made it.
    pub by: Option<TraceDevice>,
    /// The receipt.
    pub receipt: Receipt,
    /// When it was settled (milliseconds since 1970).
    pub at_ms: i64,
}

impl Store {
    /// Looks for mutations and records of this id, in one channel or in all.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn trace(&self, id: &str, channel: Option<ChannelName>) -> Result<Traced, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| {
            let channel = channel.as_ref().map(ChannelName::as_str);
            let mutation = Uuid::parse_str(&id).ok().map(MutationId);
            let mut traced = Traced {
                waiting: waiting(connection, channel, &id)?,
                settled: Vec::new(),
                verdicts: verdicts(connection, channel, &id, mutation)?,
                records: Vec::new(),
            };
            for (record, writers) in records(connection, channel, RecordBy::Id(&id))? {
                let text = format!("\"position\":{}", record.position);
                let here = |receipt: &Receipt, _| receipt.position == Some(record.position);
                for writer in writers {
                    traced.settled.extend(receipts(connection, BY_POSITION, &[&text, &writer], here)?);
                }
                traced.records.push(record);
            }
            if let Some(mutation) = mutation {
                let bytes = mutation.0.as_bytes().as_slice();
                let mut found = receipts(connection, BY_ID, &[&bytes], |one, seq| seq == Some(one.seq.0))?;
                // Receipts are many, and have no index by what they say.
                if found.is_empty() && traced.is_empty() {
                    let text = mutation.to_string();
                    found = receipts(connection, BY_RECEIPT, &[&text], |one, _| one.id == mutation)?;
                }
                for position in found.iter().filter_map(|one| one.receipt.position) {
                    let here = records(connection, channel, RecordBy::Position(position))?;
                    traced.records.extend(here.into_iter().map(|(record, _)| record));
                }
                traced.settled.extend(found);
            }
            Ok(traced)
        })
        .await
    }
}

impl Traced {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.settled.is_empty() && self.verdicts.is_empty() && self.records.is_empty()
    }
}

/// What [`receipts`] reads: `incarnation, body, at_ms, seq`; no seq where the receipt itself must tell.
const BY_ID: &str = "SELECT receipt_batch.incarnation, receipt_batch.body, receipt_batch.at_ms, mutation.seq
    FROM mutation JOIN receipt_batch ON receipt_batch.number = mutation.batch WHERE mutation.id = ?1";

/// An id that came with two payloads is settled under another one; only the receipt says so.
const BY_RECEIPT: &str = "SELECT incarnation, body, at_ms, NULL FROM receipt_batch WHERE instr(body, ?1) > 0";

const BY_POSITION: &str = "SELECT incarnation, body, at_ms, NULL FROM receipt_batch
    WHERE incarnation = ?2 AND instr(body, ?1) > 0";

/// The receipts that these batches have and that are meant.
fn receipts(
    connection: &Connection,
    sql: &'static str,
    parameters: &[&dyn ToSql],
    is_meant: impl Fn(&Receipt, Option<u64>) -> bool,
) -> Result<Vec<TracedSettled>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(sqlite_error)?;
    let mut rows = statement.query(parameters).map_err(sqlite_error)?;
    let mut settled = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite_error)? {
        let read = || -> rusqlite::Result<(IncarnationNo, String, i64, Option<u64>)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        };
        let (incarnation, body, at_ms, seq) = read().map_err(sqlite_error)?;
        let by = device_of(connection, incarnation)?;
        let meant = parse_receipts(&body)?.into_iter().filter(|receipt| is_meant(receipt, seq));
        settled.extend(meant.map(|receipt| TracedSettled { by: by.clone(), receipt, at_ms }));
    }
    Ok(settled)
}

fn waiting(connection: &Connection, channel: Option<&str>, id: &str) -> Result<Vec<TracedWaiting>, StoreError> {
    const SELECT: &str = "SELECT incarnation, seq, backend, payload, tries, at_ms FROM inbox
        WHERE (json_extract(payload, '$.id') = :id OR json_extract(payload, '$.record') = :id)
            AND (:channel IS NULL OR json_extract(payload, '$.channel') = :channel)
        ORDER BY at_ms, seq";
    let mut statement = connection.prepare_cached(SELECT).map_err(sqlite_error)?;
    let mut rows = statement.query(named_params! { ":id": id, ":channel": channel }).map_err(sqlite_error)?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite_error)? {
        let read = || -> rusqlite::Result<(IncarnationNo, TracedWaiting)> {
            let one = TracedWaiting {
                by: None,
                seq: Seq(row.get(1)?),
                backend: row.get(2)?,
                payload: row.get(3)?,
                tries: row.get(4)?,
                at_ms: row.get(5)?,
            };
            Ok((row.get(0)?, one))
        };
        let (incarnation, mut one) = read().map_err(sqlite_error)?;
        one.by = device_of(connection, incarnation)?;
        waiting.push(one);
    }
    Ok(waiting)
}

fn verdicts(
    connection: &Connection,
    channel: Option<&str>,
    id: &str,
    mutation: Option<MutationId>,
) -> Result<Vec<KeptVerdict>, StoreError> {
    let sql = format!(
        "{KEPT} WHERE (verdict.mutation = :mutation OR verdict.id = :id)
            AND (:channel IS NULL OR verdict.channel = :channel) ORDER BY verdict.number"
    );
    let mutation = mutation.map(|mutation| mutation.0.as_bytes().to_vec());
    let mut statement = connection.prepare_cached(&sql).map_err(sqlite_error)?;
    let rows = statement
        .query_map(named_params! { ":mutation": mutation, ":id": id, ":channel": channel }, read_kept)
        .map_err(sqlite_error)?;
    rows.collect::<rusqlite::Result<_>>().map_err(sqlite_error)
}

/// By what a record is found.
#[derive(Clone, Copy)]
enum RecordBy<'a> {
    Id(&'a str),
    Position(Position),
}

/// Records, each with the histories that wrote it last.
fn records(
    connection: &Connection,
    channel: Option<&str>,
    by: RecordBy<'_>,
) -> Result<Vec<(RecordTrace, BTreeSet<IncarnationNo>)>, StoreError> {
    const BY_ID: &str = "SELECT channel.name, log.id, position, log.at_ms, life, hash IS NULL, length(scopes) / 8,
            writers, channel.number
        FROM channel JOIN log ON log.channel = channel.number AND log.id = :id
        WHERE :channel IS NULL OR channel.name = :channel ORDER BY channel.name";
    const BY_POSITION: &str =
        "SELECT channel.name, log.id, position, log.at_ms, life, hash IS NULL, length(scopes) / 8,
            writers, channel.number
        FROM log JOIN channel ON channel.number = log.channel
        WHERE position = :id AND (:channel IS NULL OR channel.name = :channel)";
    let (sql, parameter): (&str, &dyn ToSql) = match &by {
        RecordBy::Id(id) => (BY_ID, id),
        RecordBy::Position(position) => (BY_POSITION, &position.0.cast_signed()),
    };
    let mut statement = connection.prepare_cached(sql).map_err(sqlite_error)?;
    let mut rows = statement.query(named_params! { ":id": parameter, ":channel": channel }).map_err(sqlite_error)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite_error)? {
        let read = || -> rusqlite::Result<(RecordTrace, Option<String>, ChannelNo)> {
            let record = RecordTrace {
                channel: row.get::<_, String>(0)?.into(),
                record: row.get::<_, String>(1)?.into(),
                position: Position(row.get(2)?),
                at_ms: row.get(3)?,
                life: Life(row.get(4)?),
                deleted: row.get(5)?,
                scopes: row.get(6)?,
                key: None,
                writers: Vec::new(),
            };
            Ok((record, row.get(7)?, row.get(8)?))
        };
        let (mut record, writers, number) = read().map_err(sqlite_error)?;
        record.key = key_of(connection, number, record.record.as_str())?;
        let mut histories = BTreeSet::new();
        for (field, incarnation) in Writers::from_text(writers.as_deref())?.0 {
            histories.insert(IncarnationNo(incarnation));
            let by = device_of(connection, IncarnationNo(incarnation))?;
            record.writers.push(FieldWriter { field, by });
        }
        records.push((record, histories));
    }
    Ok(records)
}

fn key_of(connection: &Connection, channel: ChannelNo, id: &str) -> Result<Option<String>, StoreError> {
    connection
        .prepare_cached("SELECT key FROM id_map WHERE channel = :channel AND id = :id")
        .and_then(|mut statement| {
            statement.query_row(named_params! { ":channel": channel, ":id": id }, |row| row.get(0)).optional()
        })
        .map_err(sqlite_error)
}

fn device_of(connection: &Connection, incarnation: IncarnationNo) -> Result<Option<TraceDevice>, StoreError> {
    const SELECT: &str = "SELECT device.id, device.name, account.email FROM incarnation
        JOIN device ON device.number = incarnation.device JOIN account ON account.number = device.account
        WHERE incarnation.number = ?1";
    let read = |row: &Row<'_>| {
        Ok(TraceDevice { device: DeviceId(Uuid::from_bytes(row.get(0)?)), name: row.get(1)?, email: row.get(2)? })
    };
    connection
        .prepare_cached(SELECT)
        .and_then(|mut statement| statement.query_row([incarnation], read).optional())
        .map_err(sqlite_error)
}
