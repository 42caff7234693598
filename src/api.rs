//! The upstreams' read APIs. Each folder knows one API; none knows another.

pub mod jaeger;
pub mod loki;
pub mod prometheus;

use axum::response::IntoResponse;
use http::{StatusCode, header};

/// What all three upstreams answer for a path they do not know.
pub async fn not_found() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n")
}
