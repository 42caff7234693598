//! What becomes of an export request, over HTTP and gRPC alike.

use prost::Message;

/// Why a request was not taken. Each transport has its own words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The request is malformed or names no usable tenant; sending it again does not help.
    #[error("{0}")]
    Invalid(String),
    /// Larger than a limit.
    #[error("{0}")]
    TooLarge(String),
    /// Too much at once; try again later.
    #[error("{0}")]
    Exhausted(String),
    /// There is no memory for it now; try again later.
    #[error("{0}")]
    Overloaded(String),
    /// Storage cannot take it now; try again later.
    #[error("{0}")]
    Unavailable(String),
    /// This signal is not taken here.
    #[error("unknown service")]
    Unimplemented,
}

impl ExportError {
    /// The number of the gRPC status.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::Invalid(_) => 3,
            Self::TooLarge(_) | Self::Exhausted(_) => 8,
            // A client over gRPC repeats this, and what is exhausted only where it is told when.
            Self::Overloaded(_) | Self::Unavailable(_) => 14,
            Self::Unimplemented => 12,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn http_status(&self) -> http::StatusCode {
        match self {
            Self::Invalid(_) => http::StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::Exhausted(_) | Self::Overloaded(_) => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Unimplemented => http::StatusCode::NOT_FOUND,
        }
    }
}

impl From<storage::Error> for ExportError {
    fn from(e: storage::Error) -> Self {
        match e {
            storage::Error::BadInput(text) => Self::Invalid(text),
            storage::Error::MemoryLimit { .. } => Self::Overloaded(e.to_string()),
            // Senders repeat what is answered with 503, and drop what is answered with 500.
            e => Self::Unavailable(e.to_string()),
        }
    }
}

impl From<crate::body::BodyError> for ExportError {
    fn from(e: crate::body::BodyError) -> Self {
        match e {
            crate::body::BodyError::TooLarge { .. } => Self::TooLarge(e.to_string()),
            e => Self::Invalid(e.to_string()),
        }
    }
}

impl From<crate::tenant::TenantError> for ExportError {
    fn from(e: crate::tenant::TenantError) -> Self {
        Self::Invalid(e.to_string())
    }
}

impl From<ExportError> for tonic::Status {
    fn from(e: ExportError) -> Self {
        Self::new(tonic::Code::from_i32(e.code()), e.to_string())
    }
}

/// `google.rpc.Status`, the body of a refused protobuf request.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}
