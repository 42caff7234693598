//! `index/volume` and `index/volume_range`: bytes of line text by labels.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use logql::params::{MAX_POINTS, default_step_ns, parse_step};
use logql::quote;
use serde_json::{Value, json};
use storage::model::{Labels, MatchOp, Matcher, NsRange};

use super::error::ApiError;
use super::format;
use super::params::{Params, matchers};
use super::series::object;
use crate::app::AppState;

const DEFAULT_LIMIT: usize = 100;

/// What bytes are counted by.
enum By {
    /// The values of these labels; all labels of a stream where there are none.
    Series(Vec<String>),
    /// The names of labels, of these or all.
    Names(Vec<String>),
}

struct Asked {
    params: Params,
    matchers: Vec<Matcher>,
    by: By,
    limit: usize,
}

pub(super) async fn instant(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = read(&app, request).await?;
    let range = asked.params.range()?;
    let found = volumes(&app, &asked, range).await?;
    let t = range.end_ns.saturating_sub(1) as f64 / 1e9;
    let result: Vec<Value> = largest(found, asked.limit)
        .into_iter()
        .map(|(metric, bytes)| json!({"metric": metric_of(&metric), "value": [t, bytes.to_string()]}))
        .collect();
    Ok(answer("vector", result))
}

pub(super) async fn range(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = read(&app, request).await?;
    let (start, end) = asked.params.bounds()?;
    let step = match asked.params.given("step") {
        Some(text) => parse_step(text)?,
        None => default_step_ns(start, end),
    };
    if step <= 0 {
        return Err(ApiError::bad(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end.saturating_sub(start) / step > MAX_POINTS {
        return Err(ApiError::bad(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    let mut series: BTreeMap<Labels, (u64, Vec<Value>)> = BTreeMap::new();
    let mut from = start;
    while from < end {
        let to = from.saturating_add(step).min(end);
        let t = to as f64 / 1e9;
        for (metric, bytes) in volumes(&app, &asked, NsRange::new(from, to)).await? {
            let entry = series.entry(metric).or_default();
            entry.0 += bytes;
            entry.1.push(json!([t, bytes.to_string()]));
        }
        from = to;
    }
    let sums = series
        .iter()
        .map(|(m, (sum, _))| (m.clone(), *sum))
        .collect();
    let result: Vec<Value> = largest(sums, asked.limit)
        .into_iter()
        .map(|(metric, _)| {
            let values = series.remove(&metric).map_or_else(Vec::new, |(_, v)| v);
            json!({"metric": metric_of(&metric), "values": values})
        })
        .collect();
    let kind = if result.is_empty() {
        "vector"
    } else {
        "matrix"
    };
    Ok(answer(kind, result))
}

fn answer(kind: &str, result: Vec<Value>) -> Response {
    format::success(json!({"resultType": kind, "result": result, "stats": {}}))
}

/// The mark of a name without a value; no label holds it.
const NO_VALUE: &str = "\u{0}";

fn metric_of(labels: &Labels) -> Value {
    let mut metric = object(labels);
    if let Some(pairs) = metric.as_object_mut() {
        for (_, value) in pairs.iter_mut() {
            if value == NO_VALUE {
                *value = "".into();
            }
        }
    }
    metric
}

async fn read(app: &AppState, request: Request) -> Result<Asked, ApiError> {
    let params = Params::read(app, request).await?;
    let mut matchers = matchers(params.query(), true)?;
    let limit = match params.given("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => {
            let invalid = |_| {
                ApiError::bad(format!(
                    "strconv.Atoi: parsing {}: invalid syntax",
                    quote(text)
                ))
            };
            let limit: i64 = text.parse().map_err(invalid)?;
            if limit < 0 {
                return Err(ApiError::bad("limit must be a positive value"));
            }
            usize::try_from(limit)
                .ok()
                .filter(|l| *l > 0)
                .unwrap_or(DEFAULT_LIMIT)
        }
    };
    let targets: Vec<String> = params
        .given("targetLabels")
        .map(|t| t.split(',').map(str::to_owned).collect())
        .unwrap_or_default();
    for target in &targets {
        if !matchers.iter().any(|m| m.name() == target) {
            let some = Matcher::new(MatchOp::Regex, target.clone(), ".+")
                .map_err(|e| ApiError::bad(e.to_string()))?;
            matchers.push(some);
        }
    }
    let by = match params.given("aggregateBy") {
        None | Some("series") if targets.is_empty() => {
            By::Series(matchers.iter().map(|m| m.name().to_owned()).collect())
        }
        None | Some("series") => By::Series(targets),
        Some("labels") => By::Names(targets),
        Some(_) => return Err(ApiError::bad("invalid aggregation option")),
    };
    Ok(Asked {
        params,
        matchers,
        by,
        limit,
    })
}

async fn volumes(
    app: &AppState,
    asked: &Asked,
    range: NsRange,
) -> Result<BTreeMap<Labels, u64>, ApiError> {
    let any_of = std::slice::from_ref(&asked.matchers);
    let storage = &app.storage;
    let streams = storage
        .log_stream_stats(&asked.params.tenant, any_of, range)
        .await?;
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    for (labels, stats) in streams {
        match &asked.by {
            By::Series(names) if names.is_empty() => {
                *sums.entry(labels).or_default() += stats.bytes
            }
            By::Series(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let metric = labels.keep(&names);
                if !metric.is_empty() {
                    *sums.entry(metric).or_default() += stats.bytes;
                }
            }
            By::Names(names) => {
                for (name, _) in &labels {
                    if names.is_empty() || names.iter().any(|n| n == name) {
                        let metric = Labels::from_pairs([(name, NO_VALUE)]);
                        *sums.entry(metric).or_default() += stats.bytes;
                    }
                }
            }
        }
    }
    Ok(sums)
}

/// The first of the list ordered by bytes, then labels.
fn largest(sums: BTreeMap<Labels, u64>, limit: usize) -> Vec<(Labels, u64)> {
    let mut all: Vec<(Labels, u64)> = sums.into_iter().collect();
    all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    all.truncate(limit);
    all
}
