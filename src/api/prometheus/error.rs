//! Errors of the Prometheus API: which status, which `errorType`, which words.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use promql::EvalError;

use crate::body::BodyError;
use crate::query::QueryError;
use crate::tenant::TenantError;

/// What went wrong, by the `errorType` that clients see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    /// A parameter or the query is at fault.
    BadData(String),
    /// The query cannot be carried out on this data.
    Execution(String),
    /// Nobody waits for the answer.
    Canceled(String),
    /// It took too long.
    Timeout(String),
    /// Storage failed.
    Internal(String),
    /// What was asked is switched off, as upstream answers it: with 500.
    Unavailable(String),
    /// No room for the answer now; asking again later may help.
    Overloaded(String),
    /// A body larger than the limit.
    TooLarge(String),
}

impl ApiError {
    /// A parameter that cannot be taken, in upstream's words.
    pub(super) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter \"{name}\": {reason}"))
    }

    /// A failure to read what a query selects, in upstream's words.
    pub(super) fn expanding_series(error: storage::Error) -> Self {
        match Self::from(error) {
            Self::Execution(text) => Self::Execution(format!("expanding series: {text}")),
            other => other,
        }
    }

    /// A failure to change what is stored.
    pub(super) fn changing(error: storage::Error) -> Self {
        match &error {
            storage::Error::Unavailable { .. } => Self::Overloaded(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::BadData(text) => (StatusCode::BAD_REQUEST, "bad_data", text),
            Self::Execution(text) => (StatusCode::UNPROCESSABLE_ENTITY, "execution", text),
            // 499 is what proxies log for a client that went away.
            Self::Canceled(text) => (
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
                "canceled",
                text,
            ),
            Self::Timeout(text) => (StatusCode::SERVICE_UNAVAILABLE, "timeout", text),
            Self::Internal(text) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", text),
            Self::Unavailable(text) => (StatusCode::INTERNAL_SERVER_ERROR, "unavailable", text),
            Self::Overloaded(text) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", text),
            Self::TooLarge(text) => (StatusCode::PAYLOAD_TOO_LARGE, "bad_data", text),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, text) = self.parts();
        let body = format!(
            "{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":{}}}",
            serde_json::Value::from(text)
        );
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}

impl From<storage::Error> for ApiError {
    fn from(error: storage::Error) -> Self {
        let text = error.to_string();
        match error {
            storage::Error::BadInput(_) => Self::BadData(text),
            storage::Error::MemoryLimit { .. } | storage::Error::Closed => Self::Overloaded(text),
            // What lies there cannot be read: upstream fails the query, and says so as of any other failure of one.
            storage::Error::Corrupt { .. }
            | storage::Error::Parquet(_)
            | storage::Error::ObjectStore(_)
            | storage::Error::Unavailable { .. }
            | storage::Error::Io { .. } => Self::Execution(text),
            _ => Self::Internal(text),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Queue => Self::Timeout(error.to_string()),
            QueryError::Eval(error) => error.into(),
            QueryError::Storage(error) => Self::expanding_series(error),
        }
    }
}

impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let text = error.to_string();
        match error {
            EvalError::BadQuery(_) => Self::parameter("query", text),
            EvalError::Execution(_) | EvalError::TooManySamples => Self::Execution(text),
            EvalError::Canceled => Self::Canceled(text),
            EvalError::TimedOut => Self::Timeout(text),
            EvalError::OutOfMemory => Self::Overloaded(text),
            EvalError::Read(_) => Self::Internal(text),
        }
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        Self::BadData(error.to_string())
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let text = error.to_string();
        match error {
            BodyError::TooLarge { .. } => Self::TooLarge(text),
            _ => Self::BadData(text),
        }
    }
}

/// An answer in bare text, as `/api/v1/read` gives its errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct TextError {
    status: StatusCode,
    text: String,
}

impl TextError {
    pub(super) fn bad(text: impl ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            text: text.to_string(),
        }
    }

    /// What Prometheus did not foresee is the server's fault, whoever caused it.
    pub(super) fn internal(text: impl ToString) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            text: text.to_string(),
        }
    }
}

impl From<storage::Error> for TextError {
    fn from(e: storage::Error) -> Self {
        match e {
            storage::Error::MemoryLimit { .. } | storage::Error::Closed => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                text: e.to_string(),
            },
            e => Self::internal(e),
        }
    }
}

impl From<storage::read::ReadError> for TextError {
    fn from(e: storage::read::ReadError) -> Self {
        Self::internal(e)
    }
}

impl IntoResponse for TextError {
    fn into_response(self) -> Response {
        let nosniff = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
        (self.status, nosniff, format!("{}\n", self.text)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_fails_the_query_as_upstream_does() {
        let error = || storage::Error::Corrupt {
            file: "blocks/metrics/anonymous/X/samples.parquet".to_owned(),
            offset: 131_072,
            reason: "its checksum does not match".to_owned(),
        };
        let text = "blocks/metrics/anonymous/X/samples.parquet is corrupt at byte 131072: its checksum does not match";
        assert_eq!(
            ApiError::from(error()),
            ApiError::Execution(text.to_owned())
        );
        let query = ApiError::expanding_series(error());
        assert_eq!(query.parts().0, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            query,
            ApiError::Execution(format!("expanding series: {text}"))
        );
        let closed = ApiError::expanding_series(storage::Error::Closed);
        assert_eq!(closed.parts().0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
