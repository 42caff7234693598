//! `GET|POST /api/v1/labels`: names of labels, sorted.

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::format::success_with;
use super::params::Ask;
use super::series::TRUNCATED;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = ask.params.limit()?;
    let range = ask.params.range()?;
    let selectors = ask.params.selectors().map_err(ApiError::BadData)?;
    let names = app
        .storage
        .label_names(&ask.tenant, &selectors, range)
        .await?;
    Ok(truncated(names, limit))
}

/// A list of texts, cut to a limit (0: all).
pub(super) fn truncated(mut texts: Vec<String>, limit: usize) -> Response {
    if limit > 0 && texts.len() > limit {
        texts.truncate(limit);
        return success_with(&texts, &[TRUNCATED.to_owned()]);
    }
    success_with(&texts, &[])
}
