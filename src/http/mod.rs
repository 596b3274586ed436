//! The edge: parses a request, calls a room, renders the answer.
//!
//! Every route is one entry of [`routes`], with the action that it is; the layer around it asks
//! [`crate::identity::authorize`] before the handler runs, so that a route without a decision cannot be written. Around
//! all of them: the request's id, the check of `Host` and `Origin`, problem documents.
//!
//! *Invariant:* no SQL, no rule, no decision about records. Bodies, tokens and query strings are never logged.

mod admin;
mod device;
pub mod drive;
mod error;
mod guard;
mod health;
mod json;
mod live;
mod logs;
mod proxies;
mod serve;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;

pub use self::error::ApiError;
pub use self::guard::Hosts;
pub use self::json::Json;
pub use self::proxies::Proxies;
pub use self::serve::serve;
use crate::admin::Admin;
use crate::clock::{Clock, Entropy};
use crate::identity::{Action, Actor, Identity, authorize};
use crate::live::LiveHandle;
use crate::push::Push;
use crate::sync::Sync;
use crate::tasks::Tasks;
use crate::telemetry;

/// What handlers reach. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Who is calling.
    pub identity: Identity,
    /// What operators do.
    pub admin: Admin,
    /// What is live.
    pub live: LiveHandle,
    /// Sessions and schemas.
    pub sync: Sync,
    /// Where live sessions register.
    pub push: Push,
    /// Which names this server answers to.
    pub hosts: Arc<Hosts>,
    /// Whose word about callers it takes.
    pub proxies: Arc<Proxies>,
    /// The tasks of this server; its token tells that it is stopping.
    pub tasks: Tasks,
    /// For request ids.
    pub clock: Clock,
    /// For request ids.
    pub entropy: Entropy,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// One route: what it is called, what it does, who answers.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// What [`authorize`] is asked about.
    pub action: Action,
    answer: MethodRouter<AppState>,
}

impl Route {
    fn get<H: axum::handler::Handler<T, AppState>, T: 'static>(path: &'static str, action: Action, handler: H) -> Self {
        Self { method: Method::GET, path, action, answer: axum::routing::get(handler) }
    }

    fn post<H: axum::handler::Handler<T, AppState>, T: 'static>(
        path: &'static str,
        action: Action,
        handler: H,
    ) -> Self {
        Self { method: Method::POST, path, action, answer: axum::routing::post(handler) }
    }

    fn delete<H: axum::handler::Handler<T, AppState>, T: 'static>(
        path: &'static str,
        action: Action,
        handler: H,
    ) -> Self {
        Self { method: Method::DELETE, path, action, answer: axum::routing::delete(handler) }
    }

    fn patch<H: axum::handler::Handler<T, AppState>, T: 'static>(
        path: &'static str,
        action: Action,
        handler: H,
    ) -> Self {
        Self { method: Method::PATCH, path, action, answer: axum::routing::patch(handler) }
    }
}

/// Every route of the server.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/healthz", Action::ReadHealth, health::healthz),
        Route::get("/readyz", Action::ReadHealth, health::readyz),
        Route::post("/v1/activate", Action::Activate, device::activate),
        Route::post("/v1/token", Action::RefreshTokens, device::token),
        Route::get("/v1/schema", Action::ReadSchema, device::schema),
        Route::get("/v1/live", Action::Sync, live::live),
        Route::post("/v1/sync", Action::Sync, live::sync),
        Route::get("/v1/admin/accounts", Action::Administrate, admin::list_accounts),
        Route::post("/v1/admin/accounts", Action::ChangeAccounts, admin::create_account),
        Route::post("/v1/admin/accounts/import", Action::ChangeAccounts, admin::import_accounts),
        Route::get("/v1/admin/accounts/{email}", Action::Administrate, admin::show_account),
        Route::patch("/v1/admin/accounts/{email}", Action::ChangeAccounts, admin::change_account),
        Route::delete("/v1/admin/accounts/{email}", Action::ChangeAccounts, admin::remove_account),
        Route::post("/v1/admin/accounts/{email}/codes", Action::ChangeAccounts, admin::create_code),
        Route::get("/v1/admin/devices", Action::Administrate, admin::list_devices),
        Route::get("/v1/admin/devices/{id}", Action::Administrate, admin::show_device),
        Route::post("/v1/admin/devices/{id}/revoke", Action::ChangeAccounts, admin::revoke_device),
        Route::get("/v1/admin/channels", Action::Administrate, admin::list_channels),
        Route::get("/v1/admin/channels/{channel}", Action::Administrate, admin::show_channel),
        Route::get("/v1/admin/channels/{channel}/backend", Action::ReadAnyRecord, admin::backend_view),
        Route::post("/v1/admin/channels/{channel}/resume", Action::ResumeChannels, admin::resume_channel),
        Route::post("/v1/admin/seed", Action::WriteAnyRecord, admin::seed),
        Route::get("/v1/admin/sync", Action::Administrate, admin::sync_view),
        Route::get("/v1/admin/trace", Action::ReadVerdicts, admin::trace),
        Route::get("/v1/admin/logs", Action::ReadLog, logs::logs),
        Route::post("/v1/admin/channels/{channel}/records", Action::WriteRecords, admin::write_record),
        Route::post("/v1/admin/channels/{channel}/foreign", Action::WriteForeign, admin::write_foreign),
        Route::get("/v1/admin/rejected", Action::ReadVerdicts, admin::rejected),
        Route::get("/v1/admin/conflicts", Action::ReadVerdicts, admin::conflicts),
    ]
}

/// The whole edge.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for Route { path, action, answer, .. } in routes() {
        let decide = middleware::from_fn_with_state((state.clone(), action), decide);
        router = router.route(path, answer.route_layer(decide));
    }
    router
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has another method")
        })
        .layer(middleware::from_fn_with_state(state.clone(), guard::check))
        .layer(middleware::from_fn_with_state(state.clone(), finish))
        .with_state(state)
}

/// Finds out who is calling and asks whether they may.
async fn decide(
    State((state, action)): State<(AppState, Action)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let mut actor = Actor::Nobody;
    if authorize(&actor, action).is_err() {
        if let Some(token) = bearer(request.headers()) {
            actor = state.identity.actor(token).await?;
        }
        authorize(&actor, action)?;
    }
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

/// The token of `Authorization: Bearer TOKEN`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The outermost layer: request id, problem documents, one line a request, headers that every answer has.
async fn finish(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = state.entropy.uuid_v7(&state.clock).simple().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.render(&id);
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED && !response.headers().contains_key("content-type") {
        let error = ApiError::new(response.status(), "method_not_allowed", "this path has another method");
        response = error.render(&id);
    }
    let status = response.status();
    telemetry::COUNTERS.request(status.as_u16());
    tracing::debug!(request_id = id, %method, path, status = status.as_u16(), took = ?began.elapsed(), "answered");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let id = HeaderValue::from_str(&id).expect("hexadecimal digits are a header's value");
    headers.insert(HeaderName::from_static("x-request-id"), id);
    response
}

/// The address that misses are counted by.
fn caller(state: &AppState, peer: Option<Extension<Peer>>, headers: &HeaderMap) -> IpAddr {
    let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |Extension(Peer(address))| address.ip());
    state.proxies.caller(peer, headers)
}

/// A document that is not an error.
fn created<T: serde::Serialize>(body: T) -> Response {
    (StatusCode::CREATED, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests;
