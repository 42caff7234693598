//! The Prometheus HTTP API.

use axum::Router;

use crate::app::AppState;

/// Routes of the Prometheus API, health and `/metrics` included.
pub fn router() -> Router<AppState> {
    Router::new()
}
