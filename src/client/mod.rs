//! The command line's client of a running server: finds it, speaks `/v1/admin`.
//!
//! A server on this machine is found by the `server.json` that it wrote into its data directory; any other by its URL
//! and a token. Answers are the types of `omctl_protocol::admin`; problem documents become [`ClientError::Refused`].
//!
//! *Invariant:* prints nothing and reads no environment. The token is never in an error.

mod operator;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use omctl_device::tls;
use omctl_protocol::admin::{
    AccountList, AccountNew, AccountPatch, AccountView, BackendReply, ChannelList, ChannelResume, ChannelResumed,
    ChannelView, CodeView, ConflictList, DeviceList, Health, RecordQuery, RecordWrite, RecordWritten, RejectedList,
    SERVER_FILE, ServerFile, VerdictQuery,
};
use omctl_protocol::api::Problem;
use omctl_protocol::pin::{Pin, server_url, split_pin};
use omctl_protocol::{ChannelName, DeviceId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::operator::LogLines;
use crate::limits;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server ever wrote its file here, or it ended cleanly.
    #[error("no server runs on `{data_dir}`")]
    NoServer {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The file is not what a server writes.
    #[error("`{path}` is not a server's file: {message}")]
    ServerFile {
        /// The file.
        path: PathBuf,
        /// What is wrong; never its content.
        message: String,
    },
    /// The URL cannot be spoken to.
    #[error("`{url}` is not the URL of a server: {message}")]
    BadUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// Nobody answers.
    #[error("no server answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network says.
        message: String,
    },
    /// It takes too long.
    #[error("the server at {url} did not answer in time")]
    TimedOut {
        /// Where.
        url: String,
    },
    /// The server answered with a problem.
    #[error("{}", .0.title)]
    Refused(Box<Problem>),
    /// The answer is none of ours.
    #[error("the server at {url} gave an answer that is none: {message}")]
    BadAnswer {
        /// Where.
        url: String,
        /// What is wrong with it.
        message: String,
    },
}

/// A server that is spoken to as its administrator. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    url: String,
    token: SecretString,
    pin: Option<Pin>,
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    /// The server that runs on this data directory.
    ///
    /// # Errors
    /// [`ClientError::NoServer`], [`ClientError::ServerFile`].
    pub fn of_data_dir(data_dir: &Path) -> Result<Self, ClientError> {
        let file = server_file(data_dir)?;
        Self::of_url(&server_url(&file.addr, file.pin.as_ref()), file.token.into())
    }

    /// The server at this URL; one with https needs its pin, as `omctl serve --lan` prints it.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`].
    pub fn of_url(url: &str, token: SecretString) -> Result<Self, ClientError> {
        let wrong = |message: &str| ClientError::BadUrl { url: url.to_owned(), message: message.to_owned() };
        let (address, pin) = split_pin(url).map_err(|_| wrong("its fragment is not pin=sha256/…"))?;
        let uri: hyper::Uri = address.parse().map_err(|_| wrong("it cannot be read"))?;
        match (uri.scheme_str(), pin) {
            (Some("http"), None) | (Some("https"), Some(_)) => {}
            (Some("http"), Some(_)) => return Err(wrong("only https has a pin")),
            (Some("https"), None) => return Err(wrong("it needs its pin behind it: #pin=sha256/…")),
            _ => return Err(wrong("it does not begin with http:// or https://")),
        }
        if uri.host().is_none_or(str::is_empty) || uri.path() != "/" || uri.query().is_some() {
            return Err(wrong("it must name a host and no path"));
        }
        let http = Http::builder(TokioExecutor::new()).build(connector(pin));
        Ok(Self { url: address.trim_end_matches('/').to_owned(), token, pin, http })
    }

    /// Where the server is, without its pin.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pin of the server's key, where it speaks TLS.
    pub fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// Whether it takes work.
    ///
    /// # Errors
    /// [`ClientError`], as for all of these.
    pub async fn ready(&self) -> Result<Health, ClientError> {
        self.get("/readyz").await
    }

    /// All accounts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn accounts(&self) -> Result<AccountList, ClientError> {
        self.get("/v1/admin/accounts").await
    }

    /// One account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn account(&self, email: &str) -> Result<AccountView, ClientError> {
        self.get(&format!("/v1/admin/accounts/{}", segment(email))).await
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_account(&self, new: &AccountNew) -> Result<AccountView, ClientError> {
        self.send(Method::POST, "/v1/admin/accounts", new).await
    }

    /// Changes an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change_account(&self, email: &str, patch: &AccountPatch) -> Result<AccountView, ClientError> {
        self.send(Method::PATCH, &format!("/v1/admin/accounts/{}", segment(email)), patch).await
    }

    /// Makes an activation code.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_code(&self, email: &str) -> Result<CodeView, ClientError> {
        self.post(&format!("/v1/admin/accounts/{}/codes", segment(email))).await
    }

    /// All devices.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn devices(&self) -> Result<DeviceList, ClientError> {
        self.get("/v1/admin/devices").await
    }

    /// Takes a device out of service.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), ClientError> {
        self.ask(Method::POST, &format!("/v1/admin/devices/{device}/revoke"), None).await.map(drop)
    }

    /// All channels as they are live.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn channels(&self) -> Result<ChannelList, ClientError> {
        self.get("/v1/admin/channels").await
    }

    /// One channel as it is live.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn channel(&self, name: &str) -> Result<ChannelView, ClientError> {
        self.get(&format!("/v1/admin/channels/{}", segment(name))).await
    }

    /// Lets the held deletes of a channel through, if they are no more than these.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_channel(&self, name: &str, held_deletes: u64) -> Result<ChannelResumed, ClientError> {
        let path = format!("/v1/admin/channels/{}/resume", segment(name));
        self.send(Method::POST, &path, &ChannelResume { held_deletes }).await
    }

    /// Mutations that were not applied, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rejected(&self, query: &VerdictQuery) -> Result<RejectedList, ClientError> {
        self.get(&format!("/v1/admin/rejected{}", question(query))).await
    }

    /// Mutations of which a value lost, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn conflicts(&self, query: &VerdictQuery) -> Result<ConflictList, ClientError> {
        self.get(&format!("/v1/admin/conflicts{}", question(query))).await
    }

    /// What an account should see of a channel, by the backend's own scan; all of it, where none is named.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backend_view(&self, channel: &ChannelName, email: Option<&str>) -> Result<BackendReply, ClientError> {
        let query = RecordQuery { email: email.map(str::to_owned), ..RecordQuery::default() };
        self.records(channel.as_str(), &query).await
    }

    /// Some records of a channel, as the backend has them now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn records(&self, channel: &str, query: &RecordQuery) -> Result<BackendReply, ClientError> {
        let RecordQuery { email, id, filter, limit } = query.clone();
        let given = [("as", email), ("id", id), ("where", filter), ("limit", limit.map(|n| n.to_string()))];
        self.get(&format!("/v1/admin/channels/{}/backend{}", segment(channel), query_of(given))).await
    }

    /// Writes a record in the name of an account.
    ///
    /// # Errors
    /// [`ClientError`]; a rejection is none.
    pub async fn write_record(&self, channel: &str, write: &RecordWrite) -> Result<RecordWritten, ClientError> {
        self.send(Method::POST, &format!("/v1/admin/channels/{}/records", segment(channel)), write).await
    }

    /// Any path of the server that answers with JSON: for commands whose answer only they know.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.ask(Method::GET, path, None).await?)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(&self.ask(Method::POST, path, None).await?)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("our own types always have a JSON form");
        self.read(&self.ask(method, path, Some(body)).await?)
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.bad(&format!("line {}", error.line())))
    }

    fn bad(&self, message: &str) -> ClientError {
        ClientError::BadAnswer { url: self.url.clone(), message: message.to_owned() }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        let asked = async {
            let body = self.open(method, path, body).await?;
            self.whole(body).await
        };
        let timed_out = |_| ClientError::TimedOut { url: self.url.clone() };
        tokio::time::timeout(limits::ANSWER_WITHIN, asked).await.map_err(timed_out)?
    }

    /// Asks, and hands back the body of a good answer as it comes.
    async fn open(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Incoming, ClientError> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| ClientError::Unreachable {
            url: self.url.clone(),
            message: reason(error),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose_secret()));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| ClientError::BadUrl { url: self.url.clone(), message: error.to_string() })?;
        let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = self.whole(response.into_body()).await?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => self.bad(&format!("status {}", StatusCode::as_u16(&status))),
        })
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let body = Limited::new(body, limits::ANSWER_BYTES_MAX).collect().await;
        Ok(body.map_err(|_| self.bad("it is cut off, or too large"))?.to_bytes())
    }
}

/// Connects plainly, or by TLS to whoever has the pinned key. Without a pin, no certificate is good enough.
fn connector(pin: Option<Pin>) -> HttpsConnector<HttpConnector> {
    let tls = match pin {
        Some(pin) => tls::client_config(pin),
        None => rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("this provider has the suites of TLS 1.3")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
    };
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build()
}

/// What the server that runs on this data directory says of itself.
///
/// # Errors
/// [`ClientError::NoServer`], [`ClientError::ServerFile`].
pub fn server_file(data_dir: &Path) -> Result<ServerFile, ClientError> {
    let path = data_dir.join(SERVER_FILE);
    let wrong = |message: String| ClientError::ServerFile { path: path.clone(), message };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ClientError::NoServer { data_dir: data_dir.to_owned() });
        }
        Err(error) => return Err(wrong(error.to_string())),
    };
    serde_json::from_slice(&text).map_err(|error| wrong(format!("line {}", error.line())))
}

/// The query of a list of verdicts, with its `?`.
fn question(query: &VerdictQuery) -> String {
    let VerdictQuery { channel, account, limit } = query;
    query_of([("channel", channel.clone()), ("account", account.clone()), ("limit", limit.map(|n| n.to_string()))])
}

/// Why there is no connection: what is at the bottom of the chain says most.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let io = chain.clone().filter_map(|error| error.downcast_ref::<std::io::Error>()).last();
    match io {
        Some(io) if tls::is_other_key(io) => "it has another key than the pinned one".to_owned(),
        Some(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => chain.last().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A query of what is given, with its `?`.
fn query_of<const N: usize>(given: [(&str, Option<String>); N]) -> String {
    let parts = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(&value?))));
    let text = parts.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

/// One segment of a path: everything but unreserved characters is escaped (RFC 3986, section 2.3).
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_are_taken_for_servers() {
        let wrong = |url: &str| Client::of_url(url, "t".into()).is_err();
        assert!(wrong("localhost:7400") && wrong("https://x") && wrong("http://x/path") && wrong("ftp://x"));
        assert_eq!(Client::of_url("http://localhost:7400/", "t".into()).unwrap().url(), "http://localhost:7400");
        assert_eq!(segment("a b/../ö@x"), "a%20b%2F..%2F%C3%B6@x");
    }

    #[test]
    fn no_file_is_no_server() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Client::of_data_dir(folder.path()), Err(ClientError::NoServer { .. })));
        std::fs::write(folder.path().join(SERVER_FILE), "{").unwrap();
        assert!(matches!(Client::of_data_dir(folder.path()), Err(ClientError::ServerFile { .. })));
    }
}
