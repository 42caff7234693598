//! `POST|PUT /api/v1/admin/tsdb/clean_tombstones`: removes deleted samples from the files.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::admin::tsdb_enabled;
use super::error::ApiError;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>) -> Result<Response, ApiError> {
    tsdb_enabled(&app)?;
    app.storage
        .clean_tombstones()
        .await
        .map_err(ApiError::changing)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
