//! `query` and `query_range`.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use logql::params::{
    InstantParams, MAX_ENTRIES, MAX_QUERY_LENGTH_NS, RangeParams, check_entries_limit,
    check_query_length,
};

use super::error::ApiError;
use super::params::Params;
use super::run::run;
use super::{error, format};
use crate::app::AppState;

pub(super) async fn instant(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, error::ApiError> {
    let started = Instant::now();
    let asked = Params::read(&app, request).await?;
    let given = InstantParams::parse(|name| asked.get(name), asked.now_ns)?;
    let expr = logql::parse(asked.query())?;
    check_query_length(&expr, given.time_ns, given.time_ns, MAX_QUERY_LENGTH_NS)?;
    let params = logql::Params {
        start_ns: given.time_ns,
        end_ns: given.time_ns,
        limit: given.limit,
        direction: given.direction,
        ..base(&asked)
    };
    let answer = run(&app, &asked.tenant, expr, params).await?;
    Ok(format::answer(&answer, asked.categorize, started.elapsed()))
}

pub(super) async fn range(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let asked = Params::read(&app, request).await?;
    let answer = range_answer(&app, &asked, asked.query()).await?;
    Ok(format::answer(&answer, asked.categorize, started.elapsed()))
}

/// The answer of a range query with the request's parameters.
pub(super) async fn range_answer(
    app: &AppState,
    asked: &Params,
    query: &str,
) -> Result<logql::Answer, ApiError> {
    let given = RangeParams::parse(|name| asked.get(name), asked.now_ns)?;
    let expr = logql::parse(query)?;
    if expr.is_log() {
        check_entries_limit(given.limit, MAX_ENTRIES)?;
    }
    check_query_length(&expr, given.start_ns, given.end_ns, MAX_QUERY_LENGTH_NS)?;
    let params = logql::Params {
        start_ns: given.start_ns,
        end_ns: given.end_ns,
        step_ns: given.step_ns,
        interval_ns: given.interval_ns,
        limit: given.limit,
        direction: given.direction,
        instant: false,
        ..base(asked)
    };
    run(app, &asked.tenant, expr, params).await
}

fn base(asked: &Params) -> logql::Params {
    logql::Params {
        categorize_labels: asked.categorize,
        now_ns: asked.now_ns,
        ..logql::Params::default()
    }
}
