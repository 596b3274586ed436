//! `/v1/admin`: accounts, devices and channels. What each does is in `admin`; here is only how it is asked.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use omctl_protocol::DeviceId;
use omctl_protocol::admin::{
    AccountList, AccountNew, AccountPatch, AccountView, BackendReply, ChannelList, ChannelResume, ChannelResumed,
    ChannelView, ConflictList, DeviceList, RecordQuery, RecordWrite, RecordWritten, RejectedList, VerdictQuery,
};

use super::{ApiError, AppState, Json, created};

/// What the query of a list of verdicts may have.
const VERDICTS: &str = "`channel`, `account` and `limit`";

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

pub(super) async fn backend_view(
    State(state): State<AppState>,
    Path(name): Path<String>,
    query: Result<Query<RecordQuery>, QueryRejection>,
) -> Result<axum::Json<BackendReply>, ApiError> {
    let query = asked(query, "`as`, `id`, `where` and `limit`")?;
    Ok(axum::Json(state.admin.backend_view(&name, query).await?))
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

pub(super) async fn resume_channel(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(resume): Json<ChannelResume>,
) -> Result<axum::Json<ChannelResumed>, ApiError> {
    Ok(axum::Json(state.admin.resume_channel(&name, resume).await?))
}

pub(super) async fn write_record(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(write): Json<RecordWrite>,
) -> Result<axum::Json<RecordWritten>, ApiError> {
    Ok(axum::Json(state.admin.write_record(&name, write).await?))
}

pub(super) async fn rejected(
    State(state): State<AppState>,
    query: Result<Query<VerdictQuery>, QueryRejection>,
) -> Result<axum::Json<RejectedList>, ApiError> {
    Ok(axum::Json(RejectedList { rejected: state.admin.rejected(asked(query, VERDICTS)?).await? }))
}

pub(super) async fn conflicts(
    State(state): State<AppState>,
    query: Result<Query<VerdictQuery>, QueryRejection>,
) -> Result<axum::Json<ConflictList>, ApiError> {
    Ok(axum::Json(ConflictList { conflicts: state.admin.conflicts(asked(query, VERDICTS)?).await? }))
}

/// A query that cannot be read is a problem document like any other.
fn asked<T>(query: Result<Query<T>, QueryRejection>, members: &str) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|_| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", "the query cannot be read")
            .hint(format!("it may have {members}"))
    })
}
