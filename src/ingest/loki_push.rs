//! Loki's push API.

use axum::Router;

use crate::app::AppState;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
}
