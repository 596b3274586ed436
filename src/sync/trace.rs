//! What became of one mutation or one record, told in the order of time.

use omctl_protocol::inspect::{Trace, TraceDevice, TraceEvent, TraceStep};
use omctl_protocol::{ChannelName, Mutation, MutationId};

use super::verdicts::view;
use super::{Sync, SyncError};
use crate::store::{Traced, TracedWaiting};

impl Sync {
    /// Everything that is known of the mutations and records with this id, in one channel or in all. `None`: nothing is.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn trace(&self, id: &str, channel: Option<ChannelName>) -> Result<Option<Trace>, SyncError> {
        let Traced { waiting, settled, verdicts, records } = self.inner.store.trace(id, channel).await?;
        let mut events: Vec<TraceEvent> = Vec::new();
        for one in waiting {
            let by = one.by.clone();
            let at_ms = one.at_ms;
            let what = accepted(one)?;
            if let TraceStep::Accepted { mutation, .. } = &what {
                events.extend(captured(*mutation, by.clone()));
            }
            events.push(TraceEvent { at_ms, by, what });
        }
        for one in settled {
            events.extend(captured(one.receipt.id, one.by.clone()));
            let what = TraceStep::Settled { mutation: one.receipt.id, receipt: one.receipt };
            events.push(TraceEvent { at_ms: one.at_ms, by: one.by, what });
        }
        for kept in verdicts {
            let mutation = kept.verdict.mutation;
            let verdict = view(kept)?;
            let by = Some(TraceDevice {
                device: verdict.device,
                name: verdict.device_name.clone(),
                email: verdict.email.clone(),
            });
            if !events.iter().any(|event| matches!(event.what, TraceStep::Captured { mutation: m } if m == mutation)) {
                events.extend(captured(mutation, by.clone()));
            }
            events.push(TraceEvent {
                at_ms: verdict.at_ms,
                by,
                what: TraceStep::Judged { verdict: Box::new(verdict) },
            });
        }
        for record in &records {
            let (channel, position, deleted) = (record.channel.clone(), record.position, record.deleted);
            let what = TraceStep::Journaled { channel, position, deleted };
            events.push(TraceEvent { at_ms: record.at_ms, by: None, what });
        }
        // What happened at one moment stays in this order.
        events.sort_by_key(|event| event.at_ms);
        Ok((!events.is_empty()).then(|| Trace { id: id.to_owned(), events, records }))
    }
}

fn accepted(one: TracedWaiting) -> Result<TraceStep, SyncError> {
    // Never the text itself: it holds values of records.
    let mutation: Mutation = serde_json::from_str(&one.payload)
        .map_err(|error| SyncError::Bug(format!("a mutation does not read back at column {}", error.column())))?;
    Ok(TraceStep::Accepted {
        mutation: mutation.id,
        seq: one.seq,
        op: mutation.op,
        channel: mutation.channel,
        record: mutation.record,
        backend: one.backend,
        tries: one.tries,
    })
}

/// A UUIDv7 has the moment of its making in it, by the clock of whoever made it.
fn captured(mutation: MutationId, by: Option<TraceDevice>) -> Option<TraceEvent> {
    let (seconds, nanoseconds) = mutation.0.get_timestamp()?.to_unix();
    let at_ms = i64::try_from(seconds).ok()?.checked_mul(1000)? + i64::from(nanoseconds / 1_000_000);
    Some(TraceEvent { at_ms, by, what: TraceStep::Captured { mutation } })
}
