//! New incarnations of the outbox: what has no receipt is numbered anew, and after a server lost a part of its history,
//! what was settled in that part is offered again.

use omctl_protocol::{Incarnation, Mutation, Position, Receipt, Seq};
use rusqlite::Connection;

use super::channels::Channels;
use super::overlay::{self, parse_mutation};
use super::{Result, StoreError, atomic, outbox, seal, state};

/// A mutation of the outbox, and the group of the app's write.
type Waiting = (Mutation, Option<i64>);

/// Begins a new incarnation: what has no receipt is numbered from 1 again and keeps its id.
pub(crate) fn renew(conn: &Connection, channels: &Channels, incarnation: Incarnation) -> Result<()> {
    let waiting = take_waiting(conn)?;
    // What is offered again is judged by where the histories parted, in whatever incarnation it travels; and what was
    // written before anybody heard of that may build on what others have yet to offer.
    if waiting.is_empty() && !seal::has_captures(conn, channels)? {
        state::clear(conn, "kept")?;
    }
    begin(conn, incarnation, waiting)
}

/// Begins an incarnation in which everything that was settled behind `kept` is pending once more, before what has no
/// receipt and in the order in which it was settled.
pub(crate) fn offer_again(
    conn: &Connection,
    channels: &Channels,
    kept: Position,
    incarnation: Incarnation,
) -> Result<()> {
    let offered = take_settled(conn, kept)?;
    for (mutation, _) in &offered {
        if let Some(channel) = channels.get(&mutation.channel) {
            // The row as it is held: the server's older one goes under it, and nothing is seen of that.
            overlay::keep_base(conn, channel, mutation.record.as_str())?;
        }
    }
    let waiting = take_waiting(conn)?;
    // Histories that parted twice have in common what they had before the earlier parting.
    let before = state::kept(conn)?.filter(|_| waiting.iter().any(was_offered));
    state::set(conn, "kept", state::signed(before.map_or(kept, |before| before.min(kept)).0))?;
    begin(conn, incarnation, offered.into_iter().chain(waiting).collect())
}

fn was_offered((mutation, _): &Waiting) -> bool {
    mutation.again.is_some()
}

/// Takes what the server may have forgotten out of the settled mutations, each with `again`, in the order of their
/// receipts.
fn take_settled(conn: &Connection, kept: Position) -> Result<Vec<Waiting>> {
    let mut statement = conn.prepare(
        "DELETE FROM om_settled WHERE json_extract(receipt, '$.position') > ?1
         AND json_extract(receipt, '$.outcome') <> 'rejected' RETURNING payload, receipt, grp, n",
    )?;
    let mut rows = statement.query([state::signed(kept.0)])?;
    let mut settled: Vec<(i64, (Option<Position>, Seq), Waiting)> = Vec::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let receipt: Receipt = serde_json::from_str(text)
            .map_err(|source| StoreError::Corrupt { what: "om_settled", source: Some(source) })?;
        let mut mutation = parse_mutation(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        mutation.again = receipt.position;
        settled.push((row.get(3)?, (receipt.position, receipt.seq), (mutation, row.get(2)?)));
    }
    // Positions alone would not do: what changed nothing has an older one than what it was written behind. They order
    // what was settled before the order of receipts was noted.
    settled.sort_by_key(|(n, place, _)| (*n, *place));
    Ok(settled.into_iter().map(|(_, _, waiting)| waiting).collect())
}

fn take_waiting(conn: &Connection) -> Result<Vec<Waiting>> {
    let mut statement = conn.prepare("SELECT payload, grp FROM om_outbox ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        waiting.push((parse_mutation(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?, row.get(1)?));
    }
    conn.execute("DELETE FROM om_outbox", [])?;
    Ok(waiting)
}

fn begin(conn: &Connection, incarnation: Incarnation, waiting: Vec<Waiting>) -> Result<()> {
    let mut seq = Seq(0);
    let (mut mutations, groups): (Vec<Mutation>, Vec<Option<i64>>) = waiting.into_iter().unzip();
    atomic::place_again(&mut mutations);
    for (mut mutation, group) in mutations.into_iter().zip(groups) {
        seq = seq.next();
        mutation.seq = seq;
        #[cfg(feature = "planted")]
        if crate::planted::has("restored_reapplies") {
            let bytes: Vec<u8> = mutation.id.0.as_bytes().iter().map(|byte| byte ^ 1).collect();
            mutation.id.0 = uuid::Uuid::from_slice(&bytes).unwrap_or_default();
        }
        outbox::insert(conn, &mutation, group)?;
    }
    state::set_last_seq(conn, seq)?;
    state::set(conn, "accepted", 0)?;
    state::set(conn, "incarnation", incarnation.to_string())
}
