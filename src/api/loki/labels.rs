//! `labels` and `label/{name}/values`: from the index, structured metadata is not among them.

use std::collections::BTreeSet;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use storage::model::Labels;

use super::error::ApiError;
use super::format;
use super::params::{Params, matchers};
use crate::app::AppState;

pub(super) async fn names(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let streams = streams(&app, &asked).await?;
    let names: BTreeSet<&str> = streams
        .iter()
        .flat_map(Labels::iter)
        .map(|(n, _)| n)
        .collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    Ok(format::list(&names))
}

pub(super) async fn values(
    State(app): State<AppState>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let streams = streams(&app, &asked).await?;
    let values: BTreeSet<&str> = streams.iter().filter_map(|l| l.get(&name)).collect();
    let values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    Ok(format::list(&values))
}

async fn streams(app: &AppState, asked: &Params) -> Result<Vec<Labels>, ApiError> {
    let range = asked.label_range()?;
    if range.end_ns <= range.start_ns {
        return Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "merging responses requires at least one response",
        ));
    }
    let any_of = match asked.given("query") {
        Some(query) => vec![matchers(query, false)?],
        None => Vec::new(),
    };
    let storage = &app.storage;
    Ok(storage.log_streams(&asked.tenant, &any_of, range).await?)
}
