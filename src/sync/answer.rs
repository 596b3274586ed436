//! From a judgement to what is told and kept of it: receipt, dedupe row, audit.

use std::collections::BTreeMap;

use omctl_protocol::{Fields, Mutation, MutationId, Outcome, Receipt, Value};
use serde::{Deserialize, Serialize};

use super::plan::{Judged, Rejection, Wish};
use super::verdicts::Losing;
use crate::store::{DeviceNo, PendingReceipt, Verdict};

/// A judgement in the form that is kept in a backend's dedupe row: a receipt can be made from it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    /// Values that lost, by field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) losing: Fields,
}

impl Answer {
    pub(super) fn applied() -> Self {
        Self { outcome: Outcome::Applied, code: None, message: None, field: None, losing: Fields::new() }
    }

    /// Nobody can tell whether it was applied, and it was not tried again.
    pub(super) fn unknown() -> Self {
        Self {
            outcome: Outcome::Conflict,
            code: Some("unknown".into()),
            message: Some("the backend did not say whether this was done; look before you repeat it".into()),
            ..Self::applied()
        }
    }

    pub(super) fn judged(judged: &Judged) -> Self {
        Self {
            outcome: judged.outcome,
            code: judged.code.map(Into::into),
            losing: judged.losing.iter().map(|(name, value)| (name.clone(), Value::to_json(value))).collect(),
            ..Self::applied()
        }
    }

    pub(super) fn rejected(rejection: &Rejection) -> Self {
        Self {
            outcome: Outcome::Rejected,
            code: Some(rejection.code.into()),
            message: Some(rejection.message.clone()),
            field: rejection.field.clone(),
            losing: Fields::new(),
        }
    }

    /// What of the mutation is not done although it is not refused: where it is to be done whole, it is refused by this.
    pub(super) fn loss(&self, wish: &Wish) -> Option<Rejection> {
        if self.outcome != Outcome::Conflict {
            return None;
        }
        match self.code.as_deref() {
            Some("gone") => Some(Rejection::new("gone", "the record is not there any more")),
            Some(_) => Some(Rejection::new("updated", "the record was changed by somebody else")),
            None => {
                let is_own = |(name, value): &(&String, &serde_json::Value)| {
                    wish.new.get(*name).is_some_and(|new| new.to_json() == **value)
                };
                let (name, _) = self.losing.iter().find(is_own)?;
                Some(Rejection::of("conflict", name, format!("`{name}` was changed by somebody else")))
            }
        }
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("an answer always has a JSON form")
    }

    /// Reads [`Answer::to_text`] back; somebody else's text in a dedupe row means that it was applied.
    pub(super) fn from_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self::applied())
    }

    /// The receipt of a mutation that was settled so.
    pub(super) fn receipt(
        &self,
        mutation: &Mutation,
        settled_as: MutationId,
        digest: [u8; 16],
        journal: Option<usize>,
    ) -> PendingReceipt {
        let receipt = Receipt {
            seq: mutation.seq,
            id: mutation.id,
            outcome: self.outcome,
            code: self.code.clone(),
            message: self.message.clone(),
            field: self.field.clone(),
            position: None,
        };
        PendingReceipt { receipt, settled_as, digest, journal }
    }

    /// What is kept for audit, where something lost or was rejected.
    pub(super) fn verdict(&self, mutation: &Mutation, device: DeviceNo) -> Option<Verdict> {
        if matches!(self.outcome, Outcome::Applied | Outcome::Merged) {
            return None;
        }
        let what = if self.outcome == Outcome::Rejected { Losing::Rejected } else { Losing::Conflict };
        let detail = serde_json::json!({ "answer": self, "mutation": mutation });
        Some(Verdict {
            mutation: mutation.id,
            device,
            channel: mutation.channel.clone(),
            id: mutation.record.clone(),
            outcome: word(what).into(),
            code: self.code.clone(),
            detail: detail.to_string(),
        })
    }
}

/// The word under which a verdict is kept.
pub(super) fn word(what: Losing) -> &'static str {
    match what {
        Losing::Rejected => "rejected",
        Losing::Conflict => "conflict",
    }
}
