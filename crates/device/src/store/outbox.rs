//! The outbox: sealed mutations until their receipt, then what became of them.

use omctl_protocol::{ChannelName, Mutation, MutationId, Operation, Receipt, RecordId, Seq};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::overlay::parse_mutation;
use super::{Result, StoreError, state};

/// A mutation that was rejected and waits for the app: edit and retry it, or discard it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// What the app wanted. Its seq is 0 where the device itself refused it.
    pub mutation: Mutation,
    /// Stable code: `bad_value`, `scope_write`, `exists`, `depends_on`, …
    pub code: String,
    /// One sentence.
    pub message: Option<String>,
    /// The field it is about.
    pub field: Option<String>,
    /// This device's clock when it was rejected, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a receipt settled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settlement {
    pub(crate) channel: ChannelName,
    pub(crate) record: RecordId,
}

pub(crate) fn op_number(op: Operation) -> i64 {
    match op {
        Operation::Create => 1,
        Operation::Update => 2,
        Operation::Delete => 3,
    }
}

pub(crate) fn insert(conn: &Connection, mutation: &Mutation, group: Option<i64>) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO om_outbox (seq, mutation, channel, record, op, grp, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        state::signed(mutation.seq.0),
        mutation.id.to_string(),
        mutation.channel.as_str(),
        mutation.record.as_str(),
        op_number(mutation.op),
        group,
        payload(mutation),
    ])?;
    Ok(())
}

fn payload(mutation: &Mutation) -> String {
    serde_json::to_string(mutation).expect("a mutation always has a JSON form")
}

/// Keeps a mutation that the device refused itself.
pub(crate) fn reject_here(
    conn: &Connection,
    mutation: &Mutation,
    group: Option<i64>,
    now_ms: i64,
    code: &str,
    message: Option<String>,
    field: Option<String>,
) -> Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO om_rejected (mutation, seq, grp, at_ms, payload, code, message, field)
         VALUES (?1, NULL, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![mutation.id.to_string(), group, now_ms, payload(mutation), code, message, field])?;
    Ok(())
}

/// Payloads after `from`, at most so many and (beyond the first) so many bytes.
pub(crate) fn payloads_after(
    conn: &Connection,
    from: Seq,
    count_max: usize,
    bytes_max: usize,
) -> Result<Vec<(Seq, String)>> {
    let mut statement =
        conn.prepare_cached("SELECT seq, payload FROM om_outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query(params![state::signed(from.0), count_max as i64])?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (seq, payload) = (Seq(row.get::<_, i64>(0)?.unsigned_abs()), row.get::<_, String>(1)?);
        bytes += payload.len();
        if !batch.is_empty() && bytes > bytes_max {
            break;
        }
        batch.push((seq, payload));
    }
    Ok(batch)
}

/// The newest mutation of the outbox up to `seq`.
pub(crate) fn newest_unsettled(conn: &Connection, seq: Seq) -> Result<Option<(Seq, String)>> {
    conn.prepare_cached("SELECT seq, payload FROM om_outbox WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([state::signed(seq.0)], |row| Ok((Seq(row.get::<_, i64>(0)?.unsigned_abs()), row.get(1)?)))
        .optional()
        .map_err(Into::into)
}

/// Moves a mutation out of the outbox. `n`: how many were settled so far, with this one. `None`: the receipt was known already, or is of somebody else.
pub(crate) fn settle(conn: &Connection, receipt: &Receipt, n: i64, now_ms: i64) -> Result<Option<Settlement>> {
    let id = receipt.id.to_string();
    let found = conn
        .prepare_cached("DELETE FROM om_outbox WHERE mutation = ?1 RETURNING channel, record, grp, payload, seq")?
        .query_row([&id], |row| {
            let settlement =
                Settlement { channel: row.get::<_, String>(0)?.into(), record: row.get::<_, String>(1)?.into() };
            Ok((settlement, row.get::<_, Option<i64>>(2)?, row.get::<_, String>(3)?, row.get::<_, i64>(4)?))
        })
        .optional()?;
    let Some((settlement, group, payload, seq)) = found else { return Ok(None) };
    let text = serde_json::to_string(receipt).expect("a receipt always has a JSON form");
    conn.prepare_cached(
        "INSERT OR REPLACE INTO om_settled (mutation, grp, at_ms, payload, receipt, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![id, group, now_ms, payload, text, n])?;
    if receipt.is_rejected() {
        let code = receipt.code.as_deref().unwrap_or("rejected");
        conn.prepare_cached(
            "INSERT OR REPLACE INTO om_rejected (mutation, seq, grp, at_ms, payload, code, message, field)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![id, seq, group, now_ms, payload, code, receipt.message, receipt.field])?;
    }
    Ok(Some(settlement))
}

/// The receipts up to here are durable: everything before the first mutation that still waits for one.
pub(crate) fn settled_up_to(conn: &Connection) -> Result<Seq> {
    let first: Option<i64> = conn.prepare_cached("SELECT min(seq) FROM om_outbox")?.query_row([], |row| row.get(0))?;
    match first {
        Some(first) => Ok(Seq(first.unsigned_abs().saturating_sub(1))),
        None => state::last_seq(conn),
    }
}

/// Whether everything behind this seq is still here to be sent. It is not where a server has forgotten what it had
/// settled: nothing can be sent behind such a hole.
pub(crate) fn is_whole_behind(conn: &Connection, seq: Seq) -> Result<bool> {
    let waiting: i64 = conn
        .prepare_cached("SELECT count(*) FROM om_outbox WHERE seq > ?1")?
        .query_row([state::signed(seq.0)], |row| row.get(0))?;
    Ok(waiting.unsigned_abs() == state::last_seq(conn)?.0.saturating_sub(seq.0))
}

pub(crate) fn rejected(conn: &Connection) -> Result<Vec<Rejected>> {
    let mut statement =
        conn.prepare_cached("SELECT payload, code, message, field, at_ms FROM om_rejected ORDER BY at_ms, mutation")?;
    let mut rows = statement.query([])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(read_rejected(row)?);
    }
    Ok(list)
}

pub(crate) fn take_rejected(conn: &Connection, id: MutationId) -> Result<Rejected> {
    let mut statement = conn
        .prepare_cached("DELETE FROM om_rejected WHERE mutation = ?1 RETURNING payload, code, message, field, at_ms")?;
    let mut rows = statement.query([id.to_string()])?;
    let row = rows.next()?.ok_or(StoreError::NotRejected { id })?;
    let taken = read_rejected(row)?;
    // A RETURNING statement has done its work only when it was read to its end.
    while rows.next()?.is_some() {}
    Ok(taken)
}

fn read_rejected(row: &Row<'_>) -> Result<Rejected> {
    Ok(Rejected {
        mutation: parse_mutation(&row.get::<_, String>(0)?)?,
        code: row.get(1)?,
        message: row.get(2)?,
        field: row.get(3)?,
        at_ms: row.get(4)?,
    })
}

/// What became of the writes of one group. `None`: some wait.
pub(crate) fn receipts_of_group(conn: &Connection, group: i64) -> Result<Option<Vec<Answer>>> {
    let waits: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM om_outbox WHERE grp = ?1)
             OR EXISTS (SELECT 1 FROM om_outbox WHERE mutation IN (SELECT mutation FROM om_joined WHERE grp = ?1))",
        )?
        .query_row([group], |row| row.get(0))?;
    if waits {
        return Ok(None);
    }
    let mut answers = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT receipt FROM om_settled WHERE grp = ?1
         UNION SELECT receipt FROM om_settled WHERE mutation IN (SELECT mutation FROM om_joined WHERE grp = ?1)",
    )?;
    let mut rows = statement.query([group])?;
    while let Some(row) = rows.next()? {
        let receipt = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|source| StoreError::Corrupt { what: "om_settled", source: Some(source) })?;
        answers.push(Answer::Receipt(receipt));
    }
    let mut statement = conn.prepare_cached(
        "SELECT payload, code, message, field, at_ms FROM om_rejected WHERE seq IS NULL
         AND (grp = ?1 OR mutation IN (SELECT mutation FROM om_joined WHERE grp = ?1))",
    )?;
    let mut rows = statement.query([group])?;
    while let Some(row) = rows.next()? {
        answers.push(Answer::RefusedHere(read_rejected(row)?));
    }
    Ok(Some(answers))
}

/// What became of one mutation.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The server's durable answer.
    Receipt(Receipt),
    /// It never left this device: a value was not of its field's type.
    RefusedHere(Rejected),
}
