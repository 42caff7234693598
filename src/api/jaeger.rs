//! The Jaeger query API, over HTTP and gRPC, and remote sampling.
//!
//! ```text
//!  parameters ─▶ search::Query ─▶ storage ─▶ adjust ─▶ format (/api) | otlp (/api/v3) | grpc
//! ```

mod adjust;
mod archive;
mod error;
mod format;
mod go;
mod grpc;
mod health;
mod ids;
mod lists;
mod otlp;
mod params;
mod sampling;
mod search;
mod summary;
mod trace_response;
mod traces;
mod v3;
mod view;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::header::CONTENT_TYPE;

use crate::app::AppState;

/// The page of Jaeger's own port.
const PAGE: &str = include_str!("jaeger/index.html");

/// Routes of the Jaeger API that live on the web port too.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/services", only(get(lists::services)))
        .route(
            "/api/services/{service}/operations",
            only(get(lists::operation_names)),
        )
        .route("/api/operations", only(get(lists::operations)))
        .route("/api/dependencies", only(get(lists::dependencies)))
        .route("/api/traces", get(traces::find))
        .route("/api/traces/{id}", only(get(traces::by_id)))
        .route("/api/archive/{id}", only(post(archive::handle)))
        .route("/api/transform", only(post(traces::transform)))
        .route("/api/metrics/latencies", only(get(lists::latencies)))
        .route("/api/metrics/calls", only(get(lists::calls)))
        .route("/api/metrics/errors", only(get(lists::calls)))
        .route("/api/v3/services", only(get(v3::services)))
        .route("/api/v3/operations", only(get(v3::operations)))
        .route("/api/v3/traces", only(get(v3::find)))
        .route("/api/v3/traces/{id}", only(get(v3::by_id)))
        .route("/api/v3/trace-summaries", only(get(v3::summaries)))
        .route_layer(from_fn(trace_response::add))
}

/// What Jaeger has on a port apart, and the web port serves too.
pub fn health_router() -> Router<AppState> {
    Router::new().route("/status", get(health::handle))
}

/// A wrong method is answered as an unknown path.
fn only(methods: MethodRouter<AppState>) -> MethodRouter<AppState> {
    methods.fallback(super::not_found)
}

/// What only Jaeger's own port has: its fallback to the page of the user interface.
pub fn own_port_router() -> Router<AppState> {
    Router::new()
        .fallback(page)
        .layer(from_fn(trace_response::add))
}

async fn page(request: Request) -> Response {
    let path = request.uri().path();
    if path == "/api" || path.starts_with("/api/") {
        return super::not_found().await.into_response();
    }
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

/// `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService`.
pub fn grpc_router() -> Router<AppState> {
    grpc::router()
}

/// Remote sampling, on a port of its own: any path is the one.
pub fn sampling_router() -> Router<AppState> {
    Router::new().fallback(sampling::answer)
}
