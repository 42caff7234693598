//! What changes the server: reload, flush, compact; and what is switched off or missing, in upstream's words.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::error::ApiError;
use crate::app::{App, AppState};

/// `POST /-/reload`: reads the configuration file again; a bad one is refused and the old one stays.
pub(super) async fn reload(State(app): State<AppState>) -> Response {
    if !app.config.enable_lifecycle {
        return lifecycle_disabled();
    }
    match tokio::task::block_in_place(|| app.reload()) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => {
            tracing::error!("configuration not reloaded, the old one stays: {error}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("failed to reload config: {error}\n"),
            )
                .into_response()
        }
    }
}

/// `POST /-/quit`. Stopping is left to signals, which also tell the supervisor.
pub(super) async fn quit(State(app): State<AppState>) -> Response {
    if !app.config.enable_lifecycle {
        return lifecycle_disabled();
    }
    (
        StatusCode::NOT_IMPLEMENTED,
        "Stop the process with SIGTERM.\n",
    )
        .into_response()
}

fn lifecycle_disabled() -> Response {
    (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response()
}

/// `POST /-/flush`: cuts the heads into blocks; answers when they are visible, and in the bucket where there is one.
pub(super) async fn flush(State(app): State<AppState>) -> Result<Response, ApiError> {
    if !app.config.enable_admin_api {
        return Ok(admin_disabled());
    }
    app.storage.flush().await.map_err(ApiError::changing)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /-/compact`: drops what is past retention and merges all that can be merged; answers when done.
pub(super) async fn compact(State(app): State<AppState>) -> Result<Response, ApiError> {
    if !app.config.enable_admin_api {
        return Ok(admin_disabled());
    }
    app.storage.compact().await.map_err(ApiError::changing)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn admin_disabled() -> Response {
    (
        StatusCode::FORBIDDEN,
        "Admin API is not enabled (--web.enable-admin-api).\n",
    )
        .into_response()
}

/// Whether `/api/v1/admin/tsdb/*` may be used; as upstream, it is an error of the server where not.
///
/// # Errors
/// `Unavailable` where it is switched off.
pub(super) fn tsdb_enabled(app: &App) -> Result<(), ApiError> {
    if app.config.enable_admin_api {
        return Ok(());
    }
    Err(ApiError::Unavailable("admin APIs disabled".to_owned()))
}

/// `/api/v1/search/*`, which upstream has behind a feature.
pub(super) async fn search_disabled() -> ApiError {
    ApiError::Unavailable("search API is disabled".to_owned())
}
