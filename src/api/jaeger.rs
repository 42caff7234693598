//! The Jaeger query API, over HTTP and gRPC, and remote sampling.

use axum::Router;

use crate::app::AppState;

/// Routes of the Jaeger API that live on the web port too.
pub fn router() -> Router<AppState> {
    Router::new()
}

/// What only Jaeger's own port has: its fallback to the page of the user interface.
pub fn own_port_router() -> Router<AppState> {
    Router::new()
}

/// `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService`.
pub fn grpc_router() -> Router<AppState> {
    Router::new()
}

/// Remote sampling, on a port of its own.
pub fn sampling_router() -> Router<AppState> {
    Router::new()
}
