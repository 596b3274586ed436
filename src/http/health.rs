//! `/healthz` and `/readyz`: whether the process lives, and whether it takes work.

use axum::extract::State;
use axum::http::StatusCode;
use omctl_protocol::admin::Health;

use super::AppState;
use crate::catalog::Severity;

fn health(state: &AppState, status: &str) -> axum::Json<Health> {
    let trouble = state.live.trouble();
    let errors = trouble.iter().filter(|one| one.severity == Severity::Error);
    axum::Json(Health {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: state.live.current().generation,
        // Where, and not what: anybody may ask.
        errors: errors.map(|one| one.place.to_string()).collect(),
    })
}

pub(super) async fn healthz(State(state): State<AppState>) -> axum::Json<Health> {
    health(&state, "ok")
}

pub(super) async fn readyz(State(state): State<AppState>) -> (StatusCode, axum::Json<Health>) {
    match state.tasks.token().is_cancelled() {
        false => (StatusCode::OK, health(&state, "ok")),
        true => (StatusCode::SERVICE_UNAVAILABLE, health(&state, "stopping")),
    }
}
