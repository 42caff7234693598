//! `detected_labels`, `detected_fields` and their values, and `patterns`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, Request, State};
use axum::response::Response;
use logql::params::{parse_limit, parse_step};
use logql::{Data, StreamResult, detected_field_values, detected_fields};
use serde_json::{Value, json};
use storage::read::Direction;

use super::error::ApiError;
use super::format;
use super::params::{Params, matchers};
use super::run::run;
use crate::app::AppState;

/// Labels that are told whatever their values look like.
const STATIC_LABELS: [&str; 4] = ["cluster", "namespace", "instance", "pod"];
/// A label with more values than this is none to pick from.
const MAX_CARDINALITY: usize = 50;
const DEFAULT_LINES: usize = 100;
const DEFAULT_FIELDS: usize = 1000;

pub(super) async fn labels(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let any_of = match asked.given("query") {
        Some(query) => vec![matchers(query, true)?],
        None => Vec::new(),
    };
    let range = asked.range()?;
    let streams = app
        .storage
        .log_streams(&asked.tenant, &any_of, range)
        .await?;
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in streams.iter().flatten() {
        values.entry(name).or_default().insert(value);
    }
    let wanted = |name: &str, values: &BTreeSet<&str>| {
        STATIC_LABELS.contains(&name)
            || values.len() <= MAX_CARDINALITY && !values.iter().all(|v| is_id(v))
    };
    let found: Vec<Value> = values
        .iter()
        .filter(|(name, values)| wanted(name, values))
        .map(|(name, values)| json!({"label": name, "cardinality": values.len()}))
        .collect();
    if found.is_empty() {
        return Ok(format::json("{}"));
    }
    Ok(format::json(json!({"detectedLabels": found}).to_string()))
}

/// Numbers and UUIDs; but 0 and 1 say no and yes.
fn is_id(value: &str) -> bool {
    let is_uuid = value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    let is_number = value.parse::<f64>().is_ok() && !matches!(value, "0" | "1");
    is_uuid || is_number
}

pub(super) async fn fields(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let (streams, limit) = lines(&app, &asked).await?;
    let fields: Vec<Value> = detected_fields(&streams, limit)
        .into_iter()
        .map(|field| {
            let parsers = match field.parsers.is_empty() {
                true => Value::Null,
                false => json!(field.parsers),
            };
            let mut out = json!({
                "label": field.label,
                "type": field.field_type.as_str(),
                "cardinality": field.cardinality,
                "parsers": parsers,
            });
            if !field.json_path.is_empty() {
                out["jsonPath"] = json!(field.json_path);
            }
            out
        })
        .collect();
    if fields.is_empty() {
        return Ok(format::json("{}"));
    }
    Ok(format::json(
        json!({"fields": fields, "limit": limit}).to_string(),
    ))
}

pub(super) async fn values(
    State(app): State<AppState>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    let (streams, limit) = lines(&app, &asked).await?;
    let values = detected_field_values(&streams, &name, limit);
    if values.is_empty() {
        return Ok(format::json("{}"));
    }
    Ok(format::json(
        json!({"values": values, "limit": limit}).to_string(),
    ))
}

/// The newest lines of the query, and how many fields or values are wanted.
async fn lines(app: &AppState, asked: &Params) -> Result<(Vec<StreamResult>, usize), ApiError> {
    let expr = logql::parse(asked.query())?;
    let line_limit = parse_limit(asked.given("line_limit"), DEFAULT_LINES)?;
    let limit = parse_limit(asked.given("limit"), DEFAULT_FIELDS)?;
    if !expr.is_log() {
        return Err(ApiError::bad("only log selector is supported"));
    }
    let (start_ns, end_ns) = asked.bounds()?;
    let params = logql::Params {
        start_ns,
        end_ns,
        limit: line_limit.min(logql::params::MAX_ENTRIES),
        direction: Direction::Backward,
        instant: false,
        categorize_labels: true,
        now_ns: asked.now_ns,
        ..logql::Params::default()
    };
    let answer = run(app, &asked.tenant, expr, params).await?;
    match answer.data {
        Data::Streams(streams) => Ok((streams, limit)),
        _ => Ok((Vec::new(), limit)),
    }
}

/// Patterns are learned by Loki's pattern ingester from what it sees live. There is none here, so that the answer is
/// that of a Loki that has seen nothing.
pub(super) async fn patterns(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Params::read(&app, request).await?;
    logql::parse(asked.query())?;
    asked.bounds()?;
    if let Some(step) = asked.given("step") {
        parse_step(step)?;
    }
    Ok(format::success(json!([])))
}
