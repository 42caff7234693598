//! The doors for data: each file decodes one protocol into a batch and appends it. The network and
//! the replay of the write-ahead log use the same functions.

use http::HeaderValue;

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
