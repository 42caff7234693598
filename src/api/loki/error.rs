//! Errors of the Loki API: a status and bare text.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use logql::params::ParamError;

use crate::tenant::TenantError;

/// A request that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) text: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (self.status, headers, self.text + "\n").into_response()
    }
}

impl From<ParamError> for ApiError {
    fn from(e: ParamError) -> Self {
        Self::bad(e.0)
    }
}

impl From<logql::ParseError> for ApiError {
    fn from(e: logql::ParseError) -> Self {
        Self::bad(e.to_string())
    }
}

impl From<logql::Error> for ApiError {
    fn from(e: logql::Error) -> Self {
        let status = StatusCode::from_u16(e.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, e.to_string())
    }
}

impl From<TenantError> for ApiError {
    fn from(e: TenantError) -> Self {
        match e {
            TenantError::Missing => Self::new(StatusCode::UNAUTHORIZED, e.to_string()),
            TenantError::Bad(text) => Self::bad(text),
        }
    }
}

impl From<storage::Error> for ApiError {
    fn from(e: storage::Error) -> Self {
        let status = match &e {
            storage::Error::BadInput(_) => StatusCode::BAD_REQUEST,
            storage::Error::MemoryLimit { .. } => StatusCode::TOO_MANY_REQUESTS,
            storage::Error::Closed => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, e.to_string())
    }
}
