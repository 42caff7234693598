//! `GET|POST /api/v1/query_range`: an expression at steps from start to end, both in.

use axum::extract::State;
use axum::response::Response;
use promql::EvalOptions;

use super::error::ApiError;
use super::evaluate;
use super::format::query_result;
use super::params::{Ask, parse_duration};
use super::query::truncate;
use crate::app::AppState;

/// Steps that a range may have, as upstream bounds it.
const MAX_STEPS: i64 = 11_000;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let limit = ask.params.limit()?;
    let start_ms = ask.params.time("start")?;
    let end_ms = ask.params.time("end")?;
    if end_ms < start_ms {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step_ns = parse_duration(ask.params.get("step"))
        .map_err(|reason| ApiError::parameter("step", reason))?;
    if step_ns <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if (end_ms - start_ms).saturating_mul(1_000_000) / step_ns > MAX_STEPS {
        return Err(ApiError::BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
                .to_owned(),
        ));
    }
    let limits = evaluate::limits(&ask, &app)?;
    let expr = evaluate::parse(&ask, &app)?;
    // Steps are counted in milliseconds; a finer one is possible only where there is just one step.
    let options = EvalOptions::range(start_ms, end_ms, (step_ns / 1_000_000).max(1));
    let (mut answer, timings) = evaluate::evaluate(&app, &ask, expr, options, &limits).await?;
    let mut extras = evaluate::extras(&ask, &answer, timings);
    truncate(&mut answer.value, limit, &mut extras);
    Ok(query_result(answer.value, &extras))
}
