//! Prometheus remote write.

use axum::Router;

use crate::app::AppState;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
}
