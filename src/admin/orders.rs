//! Records that an operator writes, in the name of an account.

use omctl_protocol::ChannelName;
use omctl_protocol::admin::{RecordWrite, RecordWritten};

use super::{Admin, AdminError};
use crate::sync::{Order, Ordered};

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
}
