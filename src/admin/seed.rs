//! Seeds, put into a running server again.

use omctl_protocol::admin::{SeedReply, SeedRequest};

use super::{Admin, AdminError};
use crate::sync::SeedError;

impl Admin {
    /// Puts records into managed channels, in one commit.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] for a channel, [`AdminError::BadValue`]; those of the store.
    pub async fn seed(&self, request: SeedRequest) -> Result<SeedReply, AdminError> {
        let is_tried = request.dry_run;
        let channels = match self.sync.seed_again(request).await {
            Ok(channels) => channels,
            Err(SeedError::Sync(error)) => return Err(error.into()),
            Err(SeedError::NoChannel(name)) => {
                self.channel(name.as_str())?;
                return Err(AdminError::BadValue { field: "channels", message: format!("names `{name}`") });
            }
            Err(error) => {
                return Err(AdminError::BadValue { field: "channels", message: format!("cannot be put: {error}") });
            }
        };
        if !is_tried {
            let (added, changed) = channels.iter().fold((0, 0), |(a, c), one| (a + one.added, c + one.changed));
            tracing::info!(added, changed, "put seeds: {added} records added, {changed} changed");
        }
        Ok(SeedReply { channels })
    }
}
