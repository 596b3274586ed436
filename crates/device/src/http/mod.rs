//! Requests to a server: one connection each, HTTP/1.1.
//!
//! *Invariant:* nothing here touches SQLite, and no token or body is ever logged.

pub(crate) mod access;
pub(crate) mod link;
mod server;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use omctl_protocol::api::Problem;

pub(crate) use self::server::{Server, Stream};
use crate::mobster::{MobsterError, Result};

/// How long a connection may take to stand.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one request may take, without the body of a sync.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a sync's body may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The largest answer that is read whole.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One request.
#[derive(Default)]
pub(crate) struct Ask<'a> {
    pub(crate) path: &'a str,
    /// `None` is a GET.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) content_type: &'a str,
    pub(crate) bearer: Option<&'a str>,
    pub(crate) proof: Option<String>,
}

impl Server {
    /// Sends a request and reads a JSON answer.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T> {
        let work = self.exchange(ask, async |response| {
            let status = response.status();
            let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.unreachable(error))?.to_bytes();
            if !status.is_success() {
                return Err(refusal(status, &body));
            }
            serde_json::from_slice(&body).map_err(|_| self.unreachable("it answered something else than expected"))
        });
        tokio::time::timeout(REQUEST_TIMEOUT, work).await.map_err(|_| self.unreachable("it did not answer in time"))?
    }

    /// Sends a request and hands on the lines of the answer as they come, some at a time.
    pub(crate) async fn lines(&self, ask: Ask<'_>, mut hear: impl AsyncFnMut(String) -> Result<()>) -> Result<()> {
        self.exchange(ask, async move |response| {
            let status = response.status();
            let mut body = response.into_body();
            if !status.is_success() {
                let body = Limited::new(body, REPLY_BYTES_MAX).collect().await;
                return Err(refusal(status, &body.map_err(|error| self.unreachable(error))?.to_bytes()));
            }
            let mut rest: Vec<u8> = Vec::new();
            loop {
                let silence = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
                let Some(frame) = silence.map_err(|_| self.unreachable("it went silent"))? else { break };
                let frame = frame.map_err(|error| self.unreachable(error))?;
                let Ok(data) = frame.into_data() else { continue };
                rest.extend_from_slice(&data);
                if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') {
                    let later = rest.split_off(end + 1);
                    hear(self.text(std::mem::replace(&mut rest, later))?).await?;
                }
            }
            if rest.is_empty() { Ok(()) } else { hear(self.text(rest)?).await }
        })
        .await
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String> {
        String::from_utf8(bytes).map_err(|_| self.unreachable("it sent what is not text"))
    }

    async fn exchange<T>(
        &self,
        ask: Ask<'_>,
        read: impl AsyncFnOnce(Response<hyper::body::Incoming>) -> Result<T>,
    ) -> Result<T> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.unreachable(e))?;
        let mut request = Request::builder().uri(ask.path).header(HOST, &self.authority);
        request = request.method(if ask.body.is_some() { Method::POST } else { Method::GET });
        if let Some(bearer) = ask.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        if let Some(proof) = &ask.proof {
            request = request.header(omctl_protocol::api::PROOF_HEADER, proof);
        }
        if ask.body.is_some() {
            request = request.header(CONTENT_TYPE, ask.content_type);
        }
        let body = Full::new(Bytes::from(ask.body.unwrap_or_default()));
        let request = request.body(body).map_err(|error| self.unreachable(error))?;
        let work = async {
            let response = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
            read(response).await
        };
        // The connection is driven for as long as the answer is read; how it ends, the reading sees.
        let drive = async {
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = work => result,
            () = drive => unreachable!("it never ends"),
        }
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> MobsterError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => MobsterError::Refused {
            status: status.as_u16(),
            code: problem.code,
            title: problem.title,
            hint: problem.hint,
            nonce: problem.nonce,
        },
        Err(_) => MobsterError::Refused {
            status: status.as_u16(),
            code: "unknown".into(),
            title: format!("the server answered {status}"),
            hint: None,
            nonce: None,
        },
    }
}
