//! `index/stats`: what a selection would touch.

use axum::extract::{Request, State};
use axum::response::Response;

use super::error::ApiError;
use super::format;
use super::params::{Params, matchers};
use crate::app::AppState;

pub(super) async fn handle(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let matchers = matchers(asked.query(), false)?;
    let range = asked.range()?;
    let stats = app
        .storage
        .log_stats(&asked.tenant, &matchers, range)
        .await?;
    let body = serde_json::json!({
        "streams": stats.streams,
        "chunks": stats.chunks,
        "bytes": stats.bytes,
        "entries": stats.entries,
    });
    Ok(format::json(body.to_string()))
}
