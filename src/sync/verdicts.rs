//! What was kept of mutations that lost or were rejected, read back.

use omctl_protocol::Mutation;
use omctl_protocol::admin::VerdictView;
use serde::Deserialize;

use super::answer::Answer;
use super::{Sync, SyncError};
use crate::store::{KeptVerdict, VerdictFilter};

/// In which way a mutation did not get what it wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losing {
    /// Nothing of it was applied.
    Rejected,
    /// A value of it lost.
    Conflict,
}

/// [`crate::store::Verdict::detail`], as [`Answer::verdict`] writes it.
#[derive(Deserialize)]
struct Detail {
    answer: Answer,
    mutation: Mutation,
}

impl Sync {
    /// The newest mutations that lost in this way; the filter's outcome is set here.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn verdicts(&self, what: Losing, filter: VerdictFilter) -> Result<Vec<VerdictView>, SyncError> {
        let outcome = super::answer::word(what).to_owned();
        let kept = self.inner.store.verdicts(VerdictFilter { outcome, ..filter }).await?;
        kept.into_iter().map(view).collect()
    }
}

pub(super) fn view(kept: KeptVerdict) -> Result<VerdictView, SyncError> {
    let KeptVerdict { verdict, at_ms, device, device_name, email } = kept;
    // Never the text itself: it holds values of records.
    let Detail { answer, mutation } = serde_json::from_str(&verdict.detail)
        .map_err(|error| SyncError::Bug(format!("a verdict does not read back at column {}", error.column())))?;
    Ok(VerdictView {
        at_ms,
        device,
        device_name,
        email,
        channel: verdict.channel,
        record: verdict.id,
        code: verdict.code,
        message: answer.message,
        field: answer.field,
        mutation,
        losing: answer.losing,
    })
}
