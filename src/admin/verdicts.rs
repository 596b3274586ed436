//! What was rejected and what lost, for operators: the only way by which values of mutations reach people.

use omctl_protocol::admin::{VerdictQuery, VerdictView};

use super::{Admin, AdminError};
use crate::limits;
use crate::store::VerdictFilter;
use crate::sync::Losing;

/// How many are listed unless the question says otherwise.
const LISTED: u64 = 50;

impl Admin {
    /// Mutations that were not applied, newest first.
    ///
    /// # Errors
    /// [`AdminError::BadValue`], [`AdminError::NotFound`]; those of the store.
    pub async fn rejected(&self, query: VerdictQuery) -> Result<Vec<VerdictView>, AdminError> {
        self.verdicts(Losing::Rejected, query).await
    }

    /// Mutations of which a value lost against another one, newest first.
    ///
    /// # Errors
    /// As [`Admin::rejected`].
    pub async fn conflicts(&self, query: VerdictQuery) -> Result<Vec<VerdictView>, AdminError> {
        self.verdicts(Losing::Conflict, query).await
    }

    async fn verdicts(&self, what: Losing, query: VerdictQuery) -> Result<Vec<VerdictView>, AdminError> {
        let most = limits::VERDICTS_MAX as u64;
        let limit = query.limit.unwrap_or(LISTED);
        if !(1..=most).contains(&limit) {
            return Err(AdminError::BadValue { field: "limit", message: format!("is a number from 1 to {most}") });
        }
        // A misspelt name must not look like "nothing was rejected". A channel that is no longer declared may have some.
        let email = match query.account {
            Some(email) => Some(self.account(&email).await?.email),
            None => None,
        };
        let channel = query.channel.map(omctl_protocol::ChannelName::from);
        if let Some(channel) = &channel
            && !self.store.has_verdicts_of(channel.clone()).await?
        {
            self.channel(channel.as_str())?;
        }
        let filter = VerdictFilter { channel, email, limit: limit as usize, ..VerdictFilter::default() };
        Ok(self.sync.verdicts(what, filter).await?)
    }
}
