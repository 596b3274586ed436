//! Which names this server answers to: against DNS rebinding and cross-site requests (attacks C18 to C20).

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::{ApiError, AppState};

/// The names in `Host` and `Origin` that are ours. Ports do not matter: a rebound name brings its own.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    names: BTreeSet<String>,
}

impl Hosts {
    /// The loopback names, the Android emulator's name for them, and these.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a str>) -> Self {
        let always = ["localhost", "127.0.0.1", "[::1]", "10.0.2.2"];
        let names = always.into_iter().chain(configured).map(str::to_ascii_lowercase).collect();
        Self { names }
    }

    /// Also answers to the address that it listens on.
    pub fn allow_ip(&mut self, ip: IpAddr) {
        if !ip.is_unspecified() {
            self.names.insert(match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        }
    }

    fn allow(&self, host: &str) -> bool {
        self.names.contains(&host.to_ascii_lowercase())
    }
}

/// Refuses what is meant for somebody else.
pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    let headers = request.headers();
    let malformed = |what: &str| {
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_header", format!("the {what} header is malformed"))
    };
    let misdirected = || {
        ApiError::new(StatusCode::MISDIRECTED_REQUEST, "bad_host", "this server does not answer to that name")
            .hint("use the address that `omctl serve` printed")
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host_of(host).ok_or_else(|| malformed("Host"))?,
        _ => return Err(malformed("Host")),
    };
    if !state.hosts.allow(&host) || request.uri().host().is_some_and(|host| !state.hosts.allow(host)) {
        return Err(misdirected());
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        match origin_of(origin) {
            None => return Err(malformed("Origin")),
            Some(host) if host.as_deref().is_some_and(|host| state.hosts.allow(host)) => {}
            Some(_) => {
                return Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", "requests of other sites are refused"));
            }
        }
    }
    Ok(next.run(request).await)
}

fn host_of(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let authority: Authority = text.parse().ok()?;
    // User information in `Host` is never meant well.
    (!text.contains('@') && !authority.host().is_empty()).then(|| authority.host().to_owned())
}

/// `None`: malformed; `Some(None)`: the opaque origin `null`.
fn origin_of(value: &HeaderValue) -> Option<Option<String>> {
    let text = value.to_str().ok()?;
    if text == "null" {
        return Some(None);
    }
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str()?;
    ["http", "https"].contains(&scheme).then(|| uri.host().map(str::to_owned)).filter(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_ports_and_case() {
        let mut hosts = Hosts::new(["Sync.Example.com"]);
        hosts.allow_ip(IpAddr::from([192, 168, 1, 7]));
        let allowed = |text: &'static str| host_of(&HeaderValue::from_static(text)).map(|host| hosts.allow(&host));
        for ours in ["localhost", "LOCALHOST:7400", "[::1]:7400", "sync.example.com", "192.168.1.7:1", "10.0.2.2"] {
            assert_eq!(allowed(ours), Some(true), "{ours}");
        }
        for other in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "[::2]"] {
            assert_eq!(allowed(other), Some(false), "{other}");
        }
        for malformed in ["[::", "", "a b", "localhost@evil", "a/b"] {
            assert_eq!(allowed(malformed), None, "{malformed}");
        }
    }
}
