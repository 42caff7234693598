//! `GET|POST /api/v1/query`: an expression at one moment.

use axum::extract::State;
use axum::response::Response;
use promql::{EvalOptions, Value};

use super::error::ApiError;
use super::evaluate;
use super::format::{Extras, query_result};
use super::params::{Ask, now_ms};
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = ask.params.limit()?;
    let time_ms = ask.params.time_or("time", now_ms())?;
    let limits = evaluate::limits(&ask, &app)?;
    let expr = evaluate::parse(&ask, &app)?;
    let options = EvalOptions::instant(time_ms);
    let (mut answer, timings) = evaluate::evaluate(&app, &ask, expr, options, &limits).await?;
    let mut extras = evaluate::extras(&ask, &answer, timings);
    truncate(&mut answer.value, limit, &mut extras);
    Ok(query_result(answer.value, &extras))
}

/// Cuts a result to so many series (0: all) and says so.
pub(super) fn truncate(value: &mut Value, limit: usize, extras: &mut Extras) {
    let cut = match value {
        Value::Vector(series) if limit > 0 && series.len() > limit => {
            series.truncate(limit);
            true
        }
        Value::Matrix(series) if limit > 0 && series.len() > limit => {
            series.truncate(limit);
            true
        }
        _ => false,
    };
    if cut {
        extras
            .warnings
            .push("results truncated due to limit".to_owned());
    }
}
