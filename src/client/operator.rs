//! What operators ask a server beside the everyday: imports, removal, seeds, how sync stands, the log as it comes.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use omctl_protocol::admin::{
    AccountImport, AccountRemoved, DeviceList, DeviceQuery, ForeignWrite, ForeignWritten, ImportReply, SeedReply,
    SeedRequest,
};
use omctl_protocol::inspect::{DeviceDetail, LogLine, LogQuery, SyncView, Trace, TraceQuery};
use omctl_protocol::{ChannelName, DeviceId};

use super::{Client, ClientError, query_of, segment};
use crate::limits;

impl Client {
    /// Adds and changes many accounts.
    ///
    /// # Errors
    /// [`ClientError`], as for all of these.
    pub async fn import_accounts(&self, import: &AccountImport) -> Result<ImportReply, ClientError> {
        self.send(Method::POST, "/v1/admin/accounts/import", import).await
    }

    /// Writes into a channel's backend behind sync's back; only a developer's server does that.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn write_foreign(
        &self,
        channel: &ChannelName,
        write: &ForeignWrite,
    ) -> Result<ForeignWritten, ClientError> {
        let path = format!("/v1/admin/channels/{}/foreign", segment(channel.as_str()));
        self.send(Method::POST, &path, write).await
    }

    /// Removes an account for good.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_account(&self, email: &str) -> Result<AccountRemoved, ClientError> {
        let path = format!("/v1/admin/accounts/{}", segment(email));
        self.read(&self.ask(Method::DELETE, &path, None).await?)
    }

    /// The devices of an account, or all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn devices_of(&self, query: &DeviceQuery) -> Result<DeviceList, ClientError> {
        self.get(&format!("/v1/admin/devices{}", query_of([("account", query.account.clone())]))).await
    }

    /// One device.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn device(&self, device: DeviceId) -> Result<DeviceDetail, ClientError> {
        self.get(&format!("/v1/admin/devices/{device}")).await
    }

    /// Puts seeds into managed channels.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn seed(&self, request: &SeedRequest) -> Result<SeedReply, ClientError> {
        self.send(Method::POST, "/v1/admin/seed", request).await
    }

    /// How every channel and every device stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync_view(&self) -> Result<SyncView, ClientError> {
        self.get("/v1/admin/sync").await
    }

    /// Everything that is known of the mutations and records with one id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn trace(&self, query: &TraceQuery) -> Result<Trace, ClientError> {
        let TraceQuery { id, channel } = query;
        let question = query_of([("id", Some(id.clone())), ("channel", channel.clone())]);
        self.get(&format!("/v1/admin/trace{question}")).await
    }

    /// The newest events of the log, and those that come where that is asked for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logs(&self, query: &LogQuery) -> Result<LogLines, ClientError> {
        let question = query_of([
            ("follow", Some(query.follow.to_string())),
            ("last", query.last.map(|last| last.to_string())),
            ("level", query.level.clone()),
        ]);
        let path = format!("/v1/admin/logs{question}");
        let opened = tokio::time::timeout(limits::ANSWER_WITHIN, self.open(Method::GET, &path, None)).await;
        let body = opened.map_err(|_| ClientError::TimedOut { url: self.url.clone() })??;
        Ok(LogLines { client: self.clone(), body, read: Vec::new() })
    }
}

/// The lines of a log, as they come.
#[derive(Debug)]
pub struct LogLines {
    client: Client,
    body: Incoming,
    /// What came and is not a whole line yet.
    read: Vec<u8>,
}

impl LogLines {
    /// The next line; `None` at the end. Waits as long as it takes.
    ///
    /// # Errors
    /// [`ClientError::BadAnswer`], [`ClientError::Unreachable`] where the connection breaks.
    pub async fn next(&mut self) -> Result<Option<LogLine>, ClientError> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return self.client.read(&line).map(Some);
            }
            match self.body.frame().await {
                None if self.read.is_empty() => return Ok(None),
                None => return Err(self.client.bad("it ends in the middle of a line")),
                Some(Err(error)) => {
                    let (url, message) = (self.client.url.clone(), error.to_string());
                    return Err(ClientError::Unreachable { url, message });
                }
                Some(Ok(frame)) => self.take(frame.into_data().unwrap_or_default())?,
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<(), ClientError> {
        if self.read.len() + bytes.len() > limits::ANSWER_BYTES_MAX {
            return Err(self.client.bad("a line of it is too long"));
        }
        self.read.extend_from_slice(&bytes);
        Ok(())
    }
}
