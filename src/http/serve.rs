//! Connections: accepted, plain or TLS, served by hyper, ended gracefully.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::Peer;
use crate::limits;
use crate::tasks::Tasks;

/// Pause after a failed accept: no file descriptors left, most likely, and asking again at once does not free one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the tasks are stopped; then open requests may end. With a configuration for TLS, nothing plain is taken.
pub fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, router: Router, tasks: &Tasks) {
    let inner = tasks.clone();
    let tls = tls.map(TlsAcceptor::from);
    tasks.start("accept", async move {
        let room = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::HEAD_WITHIN)
            .max_buf_size(limits::HEAD_BYTES_MAX);
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                tracing::warn!(most = limits::CONNECTIONS_MAX, "too many connections; closed a new one");
                continue;
            };
            // Frames are small and wait for nothing: Nagle's algorithm would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            let (peer, builder, router, tasks) = (Peer(address), builder.clone(), router.clone(), inner.clone());
            // Boxed, so that a plain connection has no room for the state of TLS.
            let serving: BoxFuture<'static, ()> = match tls.clone() {
                None => Box::pin(connection(stream, peer, builder, router, tasks)),
                Some(tls) => Box::pin(async move {
                    match tokio::time::timeout(limits::HEAD_WITHIN, tls.accept(stream)).await {
                        Ok(Ok(stream)) => connection(stream, peer, builder, router, tasks).await,
                        // Somebody speaks plain HTTP, or knows another server by this address.
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS came about"),
                        Err(_) => tracing::debug!("no TLS came about in time"),
                    }
                }),
            };
            inner.start_draining("connection", async move {
                serving.await;
                drop(permit);
            });
        }
    });
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    tasks: Tasks,
) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    // Both arms are cancel-safe: the connection is pinned outside and polled on.
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = tasks.token().cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
