//! `/v1/admin`: accounts, devices and channels. What each does is in `admin`; here is only how it is asked.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use omctl_protocol::DeviceId;
use omctl_protocol::admin::{
    AccountList, AccountNew, AccountPatch, AccountView, BackendReply, ChannelList, ChannelView, DeviceList,
};

use super::{ApiError, AppState, Json, created};

pub(super) async fn list_accounts(State(state): State<AppState>) -> Result<axum::Json<AccountList>, ApiError> {
    Ok(axum::Json(AccountList { accounts: state.admin.accounts().await? }))
}

pub(super) async fn create_account(
    State(state): State<AppState>,
    Json(new): Json<AccountNew>,
) -> Result<Response, ApiError> {
    Ok(created(state.admin.create_account(new).await?))
}

pub(super) async fn show_account(
    State(state): State<AppState>,
    Path(email): Path<String>,
) -> Result<axum::Json<AccountView>, ApiError> {
    Ok(axum::Json(state.admin.account(&email).await?))
}

pub(super) async fn change_account(
    State(state): State<AppState>,
    Path(email): Path<String>,
    Json(patch): Json<AccountPatch>,
) -> Result<axum::Json<AccountView>, ApiError> {
    Ok(axum::Json(state.admin.change_account(&email, patch).await?))
}

pub(super) async fn create_code(
    State(state): State<AppState>,
    Path(email): Path<String>,
) -> Result<Response, ApiError> {
    Ok(created(state.admin.create_code(&email).await?))
}

pub(super) async fn list_devices(State(state): State<AppState>) -> Result<axum::Json<DeviceList>, ApiError> {
    Ok(axum::Json(DeviceList { devices: state.admin.devices().await? }))
}

pub(super) async fn revoke_device(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    // What is no id is no device.
    let id: DeviceId = id.parse().map_err(|_| ApiError::not_found())?;
    state.admin.revoke_device(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose eyes to look through.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct As {
    r#as: String,
}

pub(super) async fn backend_view(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(As { r#as: email }): Query<As>,
) -> Result<axum::Json<BackendReply>, ApiError> {
    Ok(axum::Json(state.admin.backend_view(&name, &email).await?))
}

pub(super) async fn list_channels(State(state): State<AppState>) -> axum::Json<ChannelList> {
    axum::Json(state.admin.channels())
}

pub(super) async fn show_channel(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<axum::Json<ChannelView>, ApiError> {
    Ok(axum::Json(state.admin.channel(&name)?))
}
