//! The Loki HTTP API.

use axum::Router;

use crate::app::AppState;

/// Routes of the Loki API that live on the web port too.
pub fn router() -> Router<AppState> {
    Router::new()
}

/// Routes that only Loki's own port has, because other APIs use the same paths (`/ready`, `/config`).
pub fn own_port_router() -> Router<AppState> {
    Router::new()
}
