//! `GET|POST /api/v1/format_query`: an expression, laid out for people.

use axum::extract::State;
use axum::response::Response;

use super::error::ApiError;
use super::evaluate;
use super::format::success;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let expr = evaluate::parse(&ask, &app)?;
    Ok(success(&promql::printer::pretty(&expr)))
}
