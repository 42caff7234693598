//! Carries out the query of a request: its limits, and what goes along with the answer.

use std::time::Duration;

use promql::{Answer, EvalOptions, Expr};

use super::error::ApiError;
use super::format::Extras;
use super::params::{Ask, parse_duration, parse_options};
use crate::app::App;
use crate::query::{self, Limits, Timings};

/// What `timeout`, `lookback_delta` and the settings say about an evaluation.
pub(super) fn limits(ask: &Ask, app: &App) -> Result<Limits, ApiError> {
    let mut limits = Limits::of(&app.config);
    let text = ask.params.get("timeout");
    if !text.is_empty() {
        let wanted = parse_duration(text).map_err(|e| ApiError::parameter("timeout", e))?;
        let wanted = Duration::from_nanos(u64::try_from(wanted).unwrap_or(0));
        limits.timeout = limits.timeout.min(wanted);
    }
    let text = ask.params.get("lookback_delta");
    if !text.is_empty() {
        let wanted = parse_duration(text).map_err(|e| {
            ApiError::BadData(format!("error parsing lookback delta duration: {e}"))
        })?;
        if wanted > 0 {
            limits.lookback_ms = wanted / 1_000_000;
        }
    }
    Ok(limits)
}

/// The query of a request, parsed.
pub(super) fn parse(ask: &Ask, app: &App) -> Result<Expr, ApiError> {
    promql::parse(ask.params.get("query"), &parse_options(&app.config))
        .map_err(|e| ApiError::parameter("query", e))
}

/// Answers a query; the times of `options` are set, the rest is filled in here.
pub(super) async fn evaluate(
    app: &App,
    ask: &Ask,
    expr: Expr,
    options: EvalOptions,
    limits: &Limits,
) -> Result<(Answer, Timings), ApiError> {
    let options = EvalOptions {
        closed_ranges: ask.version_2,
        ..options
    };
    let mut limits = limits.clone();
    limits.logged = ask.origin.clone().map(|origin| {
        let query = ask.params.get("query").to_owned();
        (query, origin)
    });
    Ok(query::run(app, &ask.tenant, expr, options, &limits).await?)
}

/// The parts of an answer beside the result. `stats` of the request decides whether figures are among them.
pub(super) fn extras(ask: &Ask, answer: &Answer, timings: Timings) -> Extras {
    let query = ask.params.get("query");
    let wanted = ask.params.get("stats");
    let stats = (!wanted.is_empty()).then(|| timings.with(&answer.stats));
    let mut warnings = answer.annotations.warnings(query);
    if !["", "true", "all"].contains(&wanted) {
        let wanted = promql::lexer::quote(wanted);
        warnings.push(format!(
            "value {wanted} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
        ));
    }
    Extras {
        stats,
        warnings,
        infos: answer.annotations.infos(query),
    }
}
