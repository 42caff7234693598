//! The doors for data: each file decodes one protocol into a batch and appends it. The network and
//! the replay of the write-ahead log use the same functions.

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

mod export;
pub mod jaeger_grpc;
pub(crate) mod jaeger_spans;
pub mod jaeger_thrift;
pub mod jaeger_udp;
pub mod loki_push;
pub(crate) mod native_histogram;
pub mod otlp_grpc;
pub mod otlp_http;
pub(crate) mod otlp_logs;
pub mod otlp_metrics;
pub mod record;
pub mod remote_write;
pub(crate) mod spans;
pub mod zipkin;

/// What a sender is told whose write finds no memory, as `Retry-After`: a cut takes some seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Adds to a refusal when to try again, where that is of use.
fn with_retry_after(mut response: Response) -> Response {
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    }
    response
}
