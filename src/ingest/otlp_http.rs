//! OTLP over HTTP for the three signals: `POST /v1/{traces,logs,metrics}`.

use axum::Router;

use crate::app::AppState;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
}
