//! What devices ask outside of a session: activation and tokens.

use axum::extract::{Extension, State};
use axum::response::Response;
use omctl_protocol::api::{ActivateRequest, TokenRequest, Tokens};

use super::{ApiError, AppState, Json, Peer, caller, created};

pub(super) async fn activate(
    State(state): State<AppState>,
    peer: Option<Extension<Peer>>,
    Json(request): Json<ActivateRequest>,
) -> Result<Response, ApiError> {
    Ok(created(state.identity.activate(request, caller(peer)).await?))
}

pub(super) async fn token(
    State(state): State<AppState>,
    Json(request): Json<TokenRequest>,
) -> Result<axum::Json<Tokens>, ApiError> {
    Ok(axum::Json(state.identity.token(request).await?))
}
