//! `series`: label sets of streams.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Map, Value};
use storage::model::Labels;

use super::error::ApiError;
use super::format;
use super::params::{Params, matchers};
use crate::app::AppState;

pub(super) async fn handle(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let mut any_of = Vec::new();
    for text in asked.all("match[]").chain(asked.all("match")) {
        any_of.push(matchers(text, true)?);
    }
    let range = asked.label_range()?;
    let streams = app
        .storage
        .log_streams(&asked.tenant, &any_of, range)
        .await?;
    Ok(format::success(streams.iter().map(object).collect()))
}

/// Labels as a JSON object.
pub(super) fn object(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(n, v)| (n.to_owned(), Value::from(v)));
    Value::Object(pairs.collect::<Map<_, _>>())
}
