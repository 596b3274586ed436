//! The commit: everything received since the last one becomes visible at once, with receipts and cursors.
//!
//! *Invariant:* everything here happens in the caller's one transaction, triggers off.

use std::collections::{BTreeMap, BTreeSet};

use omctl_protocol::frame::Commit;
use omctl_protocol::{ChannelName, Position, Receipt, ScopeKey, SumsDigest};
use rusqlite::Connection;

use super::apply::{self, Target};
use super::channels::{Channel, Channels};
use super::scopes::{self, Scopes};
use super::session::Session;
use super::state::{self, signed};
use super::{Result, StoreError, audit, outbox, overlay, seal};

/// What a commit changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitOutcome {
    /// Channels whose tables changed.
    pub changed: BTreeSet<ChannelName>,
    /// Receipts that were new.
    pub receipts: Vec<Receipt>,
    /// Scopes in which something was lost, as their sums tell: the next `hello` gives their slice sums.
    pub in_doubt: Vec<ScopeKey>,
}

pub(crate) fn commit(
    conn: &Connection,
    channels: &Channels,
    session: &Session,
    frame: &Commit,
    copy_rows_max: usize,
) -> Result<CommitOutcome> {
    let mut outcome = CommitOutcome::default();
    // From here on "pending" means "in the outbox".
    outcome.changed.extend(seal::seal_all(conn, channels, session.now_ms)?.reverted);
    let mut scopes = scopes::load(conn)?;
    let mut targets: BTreeMap<ChannelName, Target<'_>> = BTreeMap::new();
    for channel in channels.values().filter(|channel| !channel.filled) {
        target(conn, &mut targets, channel)?;
    }
    drop_scopes(conn, channels, session, &mut scopes, &mut targets)?;

    let mut staged = conn
        .prepare_cached("SELECT s.key, t.line FROM om_stage t JOIN om_scopes s ON s.number = t.scope ORDER BY t.n")?;
    let mut lines = staged.query([])?;
    while let Some(row) = lines.next()? {
        let key = ScopeKey::from(row.get::<_, String>(0)?);
        if let Some(scope) = scopes.get_mut(&key) {
            let channel = &channels[&scope.channel];
            let line = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            apply_one(target(conn, &mut targets, channel)?, scope, line)?;
        }
    }
    drop(lines);
    conn.execute("DELETE FROM om_stage", [])?;
    for received in &session.batch {
        let Some(scope) = scopes.get_mut(&received.scope) else {
            tracing::warn!(scope = %received.scope, "rows of a scope that is not held");
            continue;
        };
        let channel = &channels[&scope.channel];
        apply_one(target(conn, &mut targets, channel)?, scope, &received.line)?;
    }

    let mut refresh: BTreeSet<(ChannelName, String)> = BTreeSet::new();
    let mut count: i64 = if frame.receipts.is_empty() { 0 } else { state::get(conn, "settled")?.unwrap_or(0) };
    for receipt in &frame.receipts {
        if let Some(settled) = outbox::settle(conn, receipt, count + 1, session.now_ms)? {
            count += 1;
            refresh.insert((settled.channel, settled.record.as_str().to_owned()));
            outcome.receipts.push(receipt.clone());
        }
    }
    if !outcome.receipts.is_empty() {
        state::set(conn, "settled", count)?;
    }
    for (name, target) in &mut targets {
        target.drop_orphans()?;
        refresh.extend(std::mem::take(&mut target.touched).into_iter().map(|id| (name.clone(), id)));
        if target.changed {
            outcome.changed.insert(name.clone());
        }
    }
    drop(targets);
    let filled_now: Vec<&Channel> = channels.values().filter(|channel| !channel.filled).collect();
    for channel in &filled_now {
        apply::swap(conn, channel, copy_rows_max)?;
        outcome.changed.insert(channel.schema.channel.clone());
    }
    for (name, record) in refresh {
        if let Some(channel) = channels.get(&name) {
            overlay::refresh(conn, channel, &record)?;
            outcome.changed.insert(name);
        }
    }
    settle_scopes(conn, &mut scopes, &mut outcome)?;
    save_cursors(conn, session, frame)?;
    compare_sums(conn, &mut scopes, frame, &mut outcome)?;
    count_mismatches(conn, &outcome)?;
    for channel in filled_now {
        for key in audit::doubt_what_was_between(conn, channel)? {
            if !outcome.in_doubt.contains(&key) {
                outcome.in_doubt.push(key);
            }
        }
    }
    mark_dirty(conn, &outcome.changed)?;
    Ok(outcome)
}

/// Takes out what was lost, and empties what is about to be replaced.
fn drop_scopes<'a>(
    conn: &'a Connection,
    channels: &'a Channels,
    session: &Session,
    scopes: &mut Scopes,
    targets: &mut BTreeMap<ChannelName, Target<'a>>,
) -> Result<()> {
    let keys: Vec<ScopeKey> = scopes.keys().cloned().collect();
    for key in keys {
        let scope = scopes.get_mut(&key).expect("the key was just taken from it");
        let channel = &channels[&scope.channel];
        // A scope that was to be fetched anew and that the server did not name again is not ours any more.
        let lost = session.lost.contains(&key) || !session.ours.contains(&scope.number);
        // In a hidden table, what is there is what was gained.
        let replaced = scope.gaining && channel.filled;
        if lost || replaced {
            target(conn, targets, channel)?.empty_scope(scope)?;
        }
        if lost {
            scopes::forget(conn, scope.number)?;
            scopes.remove(&key);
        }
    }
    Ok(())
}

/// The tables that a channel's frames go to at the moment.
pub(crate) fn target<'a, 'b>(
    conn: &'a Connection,
    targets: &'b mut BTreeMap<ChannelName, Target<'a>>,
    channel: &'a Channel,
) -> Result<&'b mut Target<'a>> {
    let name = &channel.schema.channel;
    if !targets.contains_key(name) {
        if !channel.filled {
            apply::ensure_fill(conn, channel)?;
        }
        targets.insert(name.clone(), Target::new(conn, channel)?);
    }
    Ok(targets.get_mut(name).expect("it was just put there"))
}

/// Applies one frame, given as the line that came.
pub(crate) fn apply_one(target: &mut Target<'_>, scope: &mut scopes::Scope, line: &str) -> Result<()> {
    let line_start = line.trim_start();
    if line_start.starts_with("{\"leave\"") {
        target.leave(scope, line)
    } else if line_start.starts_with("{\"slices\"") {
        target.slices(scope, line)
    } else {
        target.rows(scope, line)
    }
}

/// How far a scope is complete with a frame.
pub(crate) fn position_of(line: &str) -> Result<Position> {
    #[derive(serde::Deserialize)]
    struct Head {
        position: Position,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Line {
        Rows(Head),
        Leave(Head),
        Slices(Head),
    }
    let (Line::Rows(head) | Line::Leave(head) | Line::Slices(head)) =
        serde_json::from_str(line).map_err(StoreError::Frame)?;
    Ok(head.position)
}

/// Compares the sums of the scopes that came, and makes every scope held at the commit's position.
fn settle_scopes(conn: &Connection, scopes: &mut Scopes, outcome: &mut CommitOutcome) -> Result<()> {
    for (key, scope) in scopes.iter_mut() {
        let differs = scope.expected.is_some_and(|expected| expected != scope.sum);
        if !(differs || scope.gaining || scope.progress.is_some() || scope.expected.is_some()) {
            continue;
        }
        scope.gaining = false;
        scope.progress = None;
        scope.expected = None;
        scope.reconcile |= differs;
        scopes::save(conn, scope)?;
        if differs {
            outcome.in_doubt.push(key.clone());
        }
    }
    Ok(())
}

/// Compares the digest over the sums of all scopes. Nobody can tell which of them differs, so all are in doubt, unless
/// one is already: its repair may be all that is missing.
fn compare_sums(conn: &Connection, scopes: &mut Scopes, frame: &Commit, outcome: &mut CommitOutcome) -> Result<()> {
    let Some(theirs) = frame.sums else { return Ok(()) };
    let ours = SumsDigest::of(scopes.iter().map(|(key, scope)| (key, scope.sum)));
    if ours == theirs || !outcome.in_doubt.is_empty() {
        return Ok(());
    }
    for scope in scopes.values_mut() {
        scope.reconcile = true;
        scopes::save(conn, scope)?;
    }
    outcome.in_doubt = scopes.keys().cloned().collect();
    // The set itself may be the mistake.
    state::clear(conn, "digest")
}

pub(super) fn save_cursors(conn: &Connection, session: &Session, frame: &Commit) -> Result<()> {
    state::set(conn, "position", signed(frame.position.0))?;
    if let Some((epoch, boot)) = session.history {
        state::set(conn, "epoch", epoch.to_string())?;
        state::set(conn, "boot", boot.to_string())?;
    }
    if let Some(digest) = &session.digest {
        state::set(conn, "digest", digest)?;
    }
    Ok(())
}

fn count_mismatches(conn: &Connection, outcome: &CommitOutcome) -> Result<()> {
    if outcome.in_doubt.is_empty() {
        return Ok(());
    }
    let before = state::get::<i64>(conn, "sum_mismatches")?.unwrap_or(0);
    state::set(conn, "sum_mismatches", before + i64::try_from(outcome.in_doubt.len()).unwrap_or(i64::MAX))
}

/// Counts a change of these channels' tables, for live queries.
pub(crate) fn mark_dirty(conn: &Connection, channels: &BTreeSet<ChannelName>) -> Result<()> {
    for channel in channels {
        conn.prepare_cached("UPDATE om_dirty SET n = n + 1 WHERE channel = ?1")?.execute([channel.as_str()])?;
    }
    Ok(())
}
