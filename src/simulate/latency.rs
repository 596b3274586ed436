//! How long a write on one device takes to be visible in another's file, measured again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omctl_protocol::ChannelName;
use omctl_protocol::admin::ChannelView;

use super::fleet::{Device, has_table, open_reader};
use super::{Deed, SimulateError, life, workload};
use crate::clock::Entropy;
use crate::tasks::Tasks;

/// How often a latency is measured.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How long one is waited for.
const PROBE_WITHIN: Duration = Duration::from_secs(5);

/// Measures, again and again, how long a write on one device takes to be visible in another's file.
pub(super) async fn probe(
    devices: &[Arc<Device>],
    deeds: &[(String, Deed)],
    channels: &[ChannelView],
    entropy: &Entropy,
    (run, phase): (&str, usize),
    ends: Instant,
) -> Result<Vec<f64>, SimulateError> {
    let mut latencies = Vec::new();
    let schemas = life::schemas(channels);
    // Only crews that update a channel in this phase do so here, too.
    let mut marked: Vec<(&str, ChannelName, String, u32)> = Vec::new();
    for (crew, deed) in deeds.iter().filter(|(_, deed)| life::writes(deed)) {
        for schema in life::updated(deed).filter_map(|name| schemas.iter().find(|one| one.channel == *name)) {
            let Some(field) = workload::mark_field(schema) else { continue };
            marked.push((crew, schema.channel.clone(), field.name.clone(), field.max_length.unwrap_or(40)));
        }
    }
    if devices.len() < 2 || marked.is_empty() {
        return Ok(latencies);
    }
    let entropy = Entropy::seeded(entropy.u64());
    let mut probed = 0u64;
    while Instant::now() + PROBE_EVERY < ends {
        tokio::time::sleep(PROBE_EVERY).await;
        let (crew, channel, field, most) = &marked[entropy.u64() as usize % marked.len()];
        let members: Vec<_> = devices.iter().filter(|device| device.crew == *crew).collect();
        let Some(from) = members.get(entropy.u64() as usize % members.len().max(1)).copied() else { continue };
        let to = &devices[entropy.u64() as usize % devices.len()];
        if !has_table(from, channel)? || !has_table(to, channel)? {
            continue;
        }
        // One that is on its way back waits for its next try to connect: how long says nothing of a change's way.
        if from.number == to.number || !from.is_live() || !to.is_live() {
            continue;
        }
        probed += 1;
        let mark: String = format!("op{run}{}x{phase}x{probed}", from.number).chars().take(*most as usize).collect();
        let pick = entropy.u64();
        if let Some(latency) = probe_once(from, to, channel, field, mark, pick).await? {
            latencies.push(latency);
        }
    }
    Ok(latencies)
}

async fn probe_once(
    from: &Arc<Device>,
    to: &Arc<Device>,
    channel: &ChannelName,
    field: &str,
    mark: String,
    pick: u64,
) -> Result<Option<f64>, SimulateError> {
    let table = workload::quote(channel.as_str());
    let column = workload::quote(field);
    let (sql_table, sql_column, text) = (table.clone(), column.clone(), mark.clone());
    let written = from
        .app
        .transaction(move |tx| {
            use rusqlite::OptionalExtension as _;
            let top: Option<i64> =
                tx.query_row(&format!("SELECT max(rowid) FROM {sql_table}"), [], |row| row.get(0))?;
            let Some(top) = top.filter(|top| *top > 0) else { return Ok(None) };
            let place = (pick % top as u64) as i64 + 1;
            let id: Option<String> = tx
                .query_row(
                    &format!("SELECT id FROM {sql_table} WHERE rowid >= ?1 ORDER BY rowid LIMIT 1"),
                    [place],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(id) = id else { return Ok(None) };
            tx.execute(&format!("UPDATE {sql_table} SET {sql_column} = ?1 WHERE id = ?2"), (&text, &id))?;
            Ok(Some(id))
        })
        .await;
    let began = Instant::now();
    let Ok((Some(id), _)) = written else { return Ok(None) };
    let reader = open_reader(to)?;
    let seen = Tasks::blocking(move || {
        let sql = format!("SELECT 1 FROM {table} WHERE id = ?1 AND {column} = ?2");
        while began.elapsed() < PROBE_WITHIN {
            if reader.prepare_cached(&sql).and_then(|mut statement| statement.exists((&id, &mark))).unwrap_or(false) {
                return Some(began.elapsed().as_secs_f64() * 1000.0);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    let seen = seen.await;
    // Who was offline in between says nothing about how fast a change travels.
    let was_dark = from.is_dark() || to.is_dark();
    let went_dark = [from, to].iter().any(|device| device.dark_since(began));
    Ok(seen.filter(|_| !was_dark && !went_dark))
}
