//! Jaeger Thrift over HTTP, `POST /api/traces`.

use axum::Router;

use crate::app::AppState;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
}
