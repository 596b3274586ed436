//! `/healthz` and `/readyz`: whether the process lives, and whether it takes work.

use axum::extract::State;
use axum::http::StatusCode;
use omctl_protocol::admin::Health;

use super::AppState;

fn health(status: &str) -> axum::Json<Health> {
    axum::Json(Health { status: status.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

pub(super) async fn healthz() -> axum::Json<Health> {
    health("ok")
}

pub(super) async fn readyz(State(state): State<AppState>) -> (StatusCode, axum::Json<Health>) {
    match state.tasks.token().is_cancelled() {
        false => (StatusCode::OK, health("ok")),
        true => (StatusCode::SERVICE_UNAVAILABLE, health("stopping")),
    }
}
