//! `/v1/admin`: accounts, devices and channels. What each does is in `admin`; here is only how it is asked.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use omctl_protocol::DeviceId;
use omctl_protocol::admin::{
    AccountImport, AccountList, AccountNew, AccountPatch, AccountRemoved, AccountView, BackendReply, ChannelList,
    ChannelResume, ChannelResumed, ChannelView, ConflictList, DeviceList, DeviceQuery, ForeignWrite, ForeignWritten,
    ImportReply, RecordQuery, RecordWrite, RecordWritten, RejectedList, SeedReply, SeedRequest, VerdictQuery,
};
use omctl_protocol::inspect::{DeviceDetail, SyncView, Trace, TraceQuery};

use super::json::LargeJson;
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

pub(super) async fn remove_account(
    State(state): State<AppState>,
    Path(email): Path<String>,
) -> Result<axum::Json<AccountRemoved>, ApiError> {
    Ok(axum::Json(state.admin.remove_account(&email).await?))
}

pub(super) async fn import_accounts(
    State(state): State<AppState>,
    LargeJson(import): LargeJson<AccountImport>,
) -> Result<axum::Json<ImportReply>, ApiError> {
    Ok(axum::Json(state.admin.import_accounts(import).await?))
}

pub(super) async fn create_code(
    State(state): State<AppState>,
    Path(email): Path<String>,
) -> Result<Response, ApiError> {
    Ok(created(state.admin.create_code(&email).await?))
}

pub(super) async fn list_devices(
    State(state): State<AppState>,
    query: Result<Query<DeviceQuery>, QueryRejection>,
) -> Result<axum::Json<DeviceList>, ApiError> {
    Ok(axum::Json(DeviceList { devices: state.admin.devices(asked(query, "`account`")?).await? }))
}

pub(super) async fn show_device(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<axum::Json<DeviceDetail>, ApiError> {
    let id: DeviceId = id.parse().map_err(|_| ApiError::not_found())?;
    Ok(axum::Json(state.admin.device(id).await?))
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

pub(super) async fn seed(
    State(state): State<AppState>,
    LargeJson(request): LargeJson<SeedRequest>,
) -> Result<axum::Json<SeedReply>, ApiError> {
    Ok(axum::Json(state.admin.seed(request).await?))
}

pub(super) async fn sync_view(State(state): State<AppState>) -> Result<axum::Json<SyncView>, ApiError> {
    Ok(axum::Json(state.admin.sync_view().await?))
}

pub(super) async fn trace(
    State(state): State<AppState>,
    query: Result<Query<TraceQuery>, QueryRejection>,
) -> Result<axum::Json<Trace>, ApiError> {
    Ok(axum::Json(state.admin.trace(asked(query, "`id` and `channel`")?).await?))
}

pub(super) async fn write_record(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(write): Json<RecordWrite>,
) -> Result<axum::Json<RecordWritten>, ApiError> {
    Ok(axum::Json(state.admin.write_record(&name, write).await?))
}

pub(super) async fn write_foreign(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(write): Json<ForeignWrite>,
) -> Result<axum::Json<ForeignWritten>, ApiError> {
    Ok(axum::Json(state.admin.write_foreign(&name, write).await?))
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
pub(super) fn asked<T>(query: Result<Query<T>, QueryRejection>, may_have: &str) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|_| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", "the query cannot be read")
            .hint(format!("it may have {may_have}"))
    })
}
