//! The Jaeger collector's gRPC door, `jaeger.api_v2.CollectorService`.

use axum::Router;

use crate::app::AppState;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
}
