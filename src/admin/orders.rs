//! Records that an operator writes, in the name of an account.

use omctl_protocol::admin::{ForeignWrite, ForeignWritten, RecordWrite, RecordWritten};
use omctl_protocol::{ChannelName, Fields};

use super::{Admin, AdminError};
use crate::sync::{Foreign, ForeignEnd, Order, Ordered};

impl Admin {
    /// Writes a record as a device of the account would: by the channel's rules, once, with a receipt.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], [`crate::identity::IdentityError::NoAccount`], [`AdminError::NotSettled`]; those of the
    /// backend and the store.
    pub async fn write_record(&self, channel: &str, write: RecordWrite) -> Result<RecordWritten, AdminError> {
        self.channel(channel)?;
        let account = self.identity.account(&write.email).await?;
        let RecordWrite { op, record, set, key, .. } = write;
        let order = Order { channel: ChannelName::from(channel), op, record, set, key };
        let Ordered { record, receipt } = self.sync.order((account.number, account.id), order).await?;
        let receipt = receipt.ok_or(AdminError::NotSettled)?;
        match receipt.is_rejected() {
            true => {
                tracing::info!(account = %account.email, channel, "a record of `{channel}` that an operator wrote was rejected")
            }
            false => tracing::info!(account = %account.email, channel, "an operator wrote a record of `{channel}`"),
        }
        Ok(RecordWritten { record, receipt })
    }

    /// Writes into a channel's backend as an application would that knows nothing of us. Only in development.
    ///
    /// # Errors
    /// [`AdminError::NotInDevelopment`], [`AdminError::NotFound`], [`AdminError::NoBackend`]; those of the backend.
    pub async fn write_foreign(&self, channel: &str, write: ForeignWrite) -> Result<ForeignWritten, AdminError> {
        if !self.in_development {
            return Err(AdminError::NotInDevelopment);
        }
        let name = self.channel(channel)?.name;
        let ForeignWrite { op, record, set, add } = write;
        match self.sync.write_foreign(&name, Foreign { op, record, set, add }).await? {
            Some(ForeignEnd::Done { key, wrote }) => Ok(ForeignWritten { key: Some(key), refused: None, wrote }),
            Some(ForeignEnd::Refused(why)) => {
                Ok(ForeignWritten { key: None, refused: Some(why), wrote: Fields::new() })
            }
            None => Err(AdminError::NoBackend { channel: name }),
        }
    }
}
