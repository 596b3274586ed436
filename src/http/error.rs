//! Errors as problem documents (RFC 9457): stable code, safe sentence, hint, request id.
//!
//! A handler returns an [`ApiError`]; the outermost layer gives it the request's id, writes the document and logs the
//! chain of causes once. What is below `http` never meets a status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use omctl_protocol::api::Problem;

use crate::admin::AdminError;
use crate::identity::IdentityError;

/// What a request is answered with when it fails.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    /// Boxed, because every handler's result has room for an error.
    more: Box<More>,
}

#[derive(Clone, Debug, Default)]
struct More {
    title: String,
    hint: Option<String>,
    nonce: Option<String>,
    field: Option<String>,
    retry_after_s: Option<u64>,
    /// For the log alone.
    cause: Option<String>,
}

impl ApiError {
    /// An error with a code and a sentence that outsiders may read.
    pub fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        Self { status, code, more: Box::new(More { title: title.into(), ..More::default() }) }
    }

    /// Something of ours failed: outsiders learn nothing of it, the log has the cause.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed");
        error.hint("find the request id in the server's log").because(cause)
    }

    /// There is nothing here.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.more.hint = Some(hint.into());
        self
    }

    /// Names the field it is about.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.more.field = Some(field.into());
        self
    }

    /// Adds the chain of causes, for the log.
    #[must_use]
    pub fn because(mut self, cause: &dyn std::error::Error) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            source = error.source();
        }
        self.more.cause = Some(chain);
        self
    }

    /// The code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The field it is about.
    #[cfg(test)]
    pub(super) fn into_field(self) -> Option<String> {
        self.more.field
    }

    /// The finished answer.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let more = &self.more;
        if self.status.is_server_error() {
            let cause = more.cause.as_deref().unwrap_or("-");
            tracing::error!(request_id, code = self.code, cause, "a request failed: {}", more.title);
        }
        let problem = Problem {
            kind: format!("urn:omctl:problem:{}", self.code),
            status: self.status.as_u16(),
            code: self.code.to_owned(),
            title: more.title.clone(),
            hint: more.hint.clone(),
            request_id: Some(request_id.to_owned()),
            nonce: more.nonce.clone(),
            field: more.field.clone(),
        };
        let body = serde_json::to_vec(&problem).expect("a problem always has a JSON form");
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(seconds) = more.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // Written by the outermost layer, which knows the request's id.
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        use IdentityError as E;
        let code = error.code();
        let status = match &error {
            E::Unauthenticated
            | E::InvalidCode
            | E::InvalidCredentials
            | E::NonceRequired { .. }
            | E::InvalidProof
            | E::InvalidToken
            | E::TokenExpired
            | E::TokenReused
            | E::DeviceRevoked => StatusCode::UNAUTHORIZED,
            E::Forbidden | E::AccountDisabled | E::DeviceHeld => StatusCode::FORBIDDEN,
            E::CodeUsed | E::CodeExpired => StatusCode::GONE,
            E::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            E::BadValue { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            E::AccountExists(_) => StatusCode::CONFLICT,
            E::NoAccount(_) => StatusCode::NOT_FOUND,
            E::Busy => StatusCode::SERVICE_UNAVAILABLE,
            E::Store(_) if code == "storage_full" => StatusCode::INSUFFICIENT_STORAGE,
            E::Store(_) if code == "shutting_down" => StatusCode::SERVICE_UNAVAILABLE,
            E::Store(_) => return Self::internal(&error),
        };
        let hint = match &error {
            E::Unauthenticated => Some("send `Authorization: Bearer TOKEN`"),
            E::InvalidCode | E::CodeUsed | E::CodeExpired => Some("make a new code: `omctl account code EMAIL`"),
            E::NonceRequired { .. } => Some("send the same request with a proof over this nonce"),
            E::TokenExpired => Some("bring new tokens by `POST /v1/token`"),
            E::DeviceHeld => Some("open a session (`GET /v1/live` or `POST /v1/sync`): it tells what was ordered"),
            E::TokenReused => Some("activate the device again"),
            E::AccountExists(_) => Some("change it: `omctl account set EMAIL`"),
            E::NoAccount(_) => Some("`omctl account list` shows them; make one: `omctl account add EMAIL`"),
            E::BadValue { field: "email", .. } => Some("for example ana@example.com"),
            E::Store(_) => Some("free space on the server's disk; nothing was written"),
            _ => None,
        };
        let mut known = Self::new(status, code, error.to_string()).because(&error);
        known.more.hint = hint.map(str::to_owned);
        match error {
            E::NonceRequired { nonce } => known.more.nonce = Some(nonce),
            E::BadValue { field, .. } => known.more.field = Some(field.to_owned()),
            E::RateLimited { retry_after_s } => known.more.retry_after_s = Some(retry_after_s),
            _ => {}
        }
        known
    }
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotFound { ref hint, .. } => {
                let mut known = Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string());
                known.more.hint.clone_from(hint);
                known
            }
            AdminError::MoreHeld { .. } => {
                Self::new(StatusCode::CONFLICT, "changed", error.to_string()).hint("look again: `omctl channel show`")
            }
            AdminError::NotSettled => Self::new(StatusCode::GATEWAY_TIMEOUT, "not_settled", error.to_string())
                .hint("it is done once the backend answers; the same request with the same key asks for its receipt"),
            AdminError::NotInDevelopment => Self::new(StatusCode::FORBIDDEN, "not_allowed", error.to_string())
                .hint("serve a copy of the project with `--env dev`"),
            AdminError::NoBackend { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_backend", error.to_string())
                    .hint("write as an account: POST /v1/admin/channels/{channel}/records")
            }
            AdminError::BadValue { field, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_value", error.to_string()).field(field)
            }
            AdminError::Identity(inner) => inner.into(),
            AdminError::Sync(inner) => inner.into(),
        }
    }
}
