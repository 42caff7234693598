//! `POST|PUT /api/v1/admin/tsdb/delete_series`: deletes samples of the series that selectors match.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::admin::tsdb_enabled;
use super::error::ApiError;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    tsdb_enabled(&app)?;
    ask.params.are_whole()?;
    if ask.params.all("match[]").next().is_none() {
        return Err(ApiError::BadData(
            "no match[] parameter provided".to_owned(),
        ));
    }
    let range = ask.params.range()?;
    // Unlike where series are read, a selector that excludes nothing is taken, as upstream takes it.
    let selectors = ask
        .params
        .all("match[]")
        .map(|text| promql::parse_selector(text).map_err(|e| ApiError::parameter("match[]", e)))
        .collect::<Result<Vec<_>, _>>()?;
    app.storage
        .delete_series(&ask.tenant, selectors, range)
        .await
        .map_err(ApiError::changing)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
