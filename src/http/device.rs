//! What devices ask outside of a session: activation, tokens and schemas.

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use omctl_protocol::api::{ActivateRequest, SchemaReply, TokenRequest, Tokens};

use super::{ApiError, AppState, Json, Peer, caller, created};
use crate::identity::Actor;

pub(super) async fn activate(
    State(state): State<AppState>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Json(request): Json<ActivateRequest>,
) -> Result<Response, ApiError> {
    let caller = caller(&state, peer, &headers);
    Ok(created(state.identity.activate(request, caller).await?))
}

pub(super) async fn token(
    State(state): State<AppState>,
    Json(request): Json<TokenRequest>,
) -> Result<axum::Json<Tokens>, ApiError> {
    Ok(axum::Json(state.identity.token(request).await?))
}

pub(super) async fn schema(
    State(state): State<AppState>,
    Extension(actor): Extension<Actor>,
) -> axum::Json<SchemaReply> {
    axum::Json(match actor {
        Actor::Device(who) => state.sync.schemas(Some(&who)),
        Actor::Admin => state.sync.schemas(None),
        // Never let in by `authorize`; and if it were, it would see nothing.
        Actor::Nobody => SchemaReply { generation: 0, channels: Vec::new(), earlier: Vec::new() },
    })
}
