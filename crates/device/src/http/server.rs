//! A server's address, and connections to it: plain, or TLS where the address has a pin.

use std::sync::Arc;

use hyper::Uri;
use omctl_protocol::pin::split_pin;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::CONNECT_TIMEOUT;
use crate::mobster::{MobsterError, Result};
use crate::tls;

/// A connection of either kind.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a server.
pub(crate) type Stream = Box<dyn Duplex>;

/// A server's address.
#[derive(Clone)]
pub(crate) struct Server {
    /// `host:port`
    pub(crate) authority: String,
    port: u16,
    host: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Server {
    /// Reads `http://HOST:PORT`, or `https://HOST:PORT#pin=…`. An address that asks for TLS without a pin is refused,
    /// never downgraded: certificates of public authorities are not looked at.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let bad = || MobsterError::BadUrl(url.to_owned());
        let (address, pin) = split_pin(url).map_err(|_| bad())?;
        let uri: Uri = address.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let authority = uri.authority().ok_or_else(bad)?.as_str().to_owned();
        let (tls, usual_port) = match (uri.scheme_str(), pin) {
            (Some("http"), None) => (None, 80),
            (Some("https"), Some(pin)) => {
                let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
                (Some((TlsConnector::from(Arc::new(tls::client_config(pin))), name)), 443)
            }
            _ => return Err(bad()),
        };
        Ok(Self { authority, port: uri.port_u16().unwrap_or(usual_port), host, tls })
    }

    pub(crate) async fn connect(&self) -> Result<Stream> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| self.unreachable(e))?;
            // Frames are small and somebody waits for each.
            stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
            let Some((connector, name)) = &self.tls else { return Ok(Box::new(stream) as Stream) };
            match connector.connect(name.clone(), stream).await {
                Ok(stream) => Ok(Box::new(stream) as Stream),
                Err(error) if tls::is_other_key(&error) => {
                    Err(self.unreachable("it has another key than the pinned one"))
                }
                Err(error) => Err(self.unreachable(error)),
            }
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        connected.map_err(|_| self.unreachable("it did not answer in time"))?
    }

    pub(crate) fn unreachable(&self, why: impl std::fmt::Display) -> MobsterError {
        MobsterError::Unreachable { server: self.authority.clone(), why: why.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use omctl_protocol::pin::{Pin, server_url};

    use super::*;

    #[test]
    fn plain_addresses_and_pinned_ones_are_taken() {
        assert_eq!(Server::parse("http://127.0.0.1:7400").unwrap().port, 7400);
        assert_eq!(Server::parse("http://[::1]:7400/").unwrap().host, "::1");
        let pinned = server_url("[::1]:7400", Some(&Pin::of_key(b"key")));
        let server = Server::parse(&pinned).unwrap();
        assert_eq!((server.authority.as_str(), server.tls.is_some()), ("[::1]:7400", true));
        let of_plain = pinned.replace("https", "http");
        for bad in ["https://example.com", "https://h#pin=x", &of_plain, "127.0.0.1:7400", "ftp://x", ""] {
            assert!(matches!(Server::parse(bad), Err(MobsterError::BadUrl(_))), "{bad}");
        }
    }
}
