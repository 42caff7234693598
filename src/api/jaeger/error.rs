//! How the Jaeger API refuses: its envelope of errors, as plain text.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use storage::model::push_json_string;

/// A refusal: a status and the message that users see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
        }
    }

    pub(super) fn trace_not_found() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: "trace not found".to_owned(),
        }
    }

    /// The answer under `/api/v3`.
    pub(super) fn into_v3(self) -> Response {
        let mut body = format!(
            "{{\"error\":{{\"httpCode\":{},\"message\":",
            self.status.as_u16()
        );
        push_json_string(&mut body, &self.message);
        body.push_str("}}\n");
        in_plain_text(self.status, body)
    }

    /// The status of a gRPC answer.
    pub(super) fn into_grpc(self, context: &str) -> tonic::Status {
        let message = format!("{context}{}", self.message);
        match self.status {
            StatusCode::NOT_FOUND => tonic::Status::not_found(message),
            StatusCode::BAD_REQUEST => tonic::Status::invalid_argument(message),
            StatusCode::UNAUTHORIZED => tonic::Status::unauthenticated(message),
            StatusCode::SERVICE_UNAVAILABLE => tonic::Status::unavailable(message),
            _ => tonic::Status::internal(message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.status.as_u16();
        let mut body = format!(
            "{{\"data\":null,\"total\":0,\"limit\":0,\"offset\":0,\"errors\":[{{\"code\":{code},\"msg\":"
        );
        push_json_string(&mut body, &self.message);
        body.push_str("}]}\n");
        in_plain_text(self.status, body)
    }
}

pub(super) fn in_plain_text(status: StatusCode, body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

impl From<storage::Error> for ApiError {
    fn from(e: storage::Error) -> Self {
        let status = match &e {
            storage::Error::MemoryLimit { .. } | storage::Error::Closed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            message: e.to_string(),
        }
    }
}

impl From<crate::tenant::TenantError> for ApiError {
    fn from(e: crate::tenant::TenantError) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            message: e.to_string(),
        }
    }
}
