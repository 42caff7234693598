//! `/api/traces`, `/api/traces/{id}` and `/api/transform`.

use std::collections::{BTreeMap, HashSet};

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, Request};
use indexmap::IndexMap;
use storage::model::{Trace, TraceId, push_json_string};

use super::error::ApiError;
use super::params::{Params, now_ns};
use super::search::{self, DEFAULT_LIMIT, Query};
use super::{format, go, ids};
use crate::app::AppState;
use crate::ingest::spans;
use crate::wire::otlp::json;
use crate::{body, tenant};

/// A search starts so long ago when nothing else is said.
const DEFAULT_LOOKBACK_NS: i64 = 2 * 24 * 3600 * 1_000_000_000;

pub(super) async fn find(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let (query, ids) = parse(&params)?;
    let tenant = tenant::of(&headers, &app.config)?;
    if ids.is_empty() {
        let found = search::search(&app, &tenant, &query).await?;
        let data = format::traces(&found)?;
        return Ok(format::envelope(&data, 0, "null", params.pretty()));
    }
    let mut found: Vec<Trace> = Vec::new();
    let mut errors: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for id in ids.into_iter().filter(|id| seen.insert(*id)) {
        match search::trace(&app, &tenant, id, query.raw).await {
            Ok(trace) => found.push(trace),
            Err(e) if e == ApiError::trace_not_found() => {
                let mut error = "{\"msg\":".to_owned();
                push_json_string(&mut error, &e.message);
                error.push_str(&format!(",\"traceID\":\"{}\"}}", ids::short(id)));
                errors.push(error);
            }
            Err(e) => return Err(e),
        }
    }
    let errors = if errors.is_empty() {
        "null".to_owned()
    } else {
        format!("[{}]", errors.join(","))
    };
    let data = format::traces(&found)?;
    Ok(format::envelope(&data, 0, &errors, params.pretty()))
}

/// Reads the parameters in the order in which their errors come.
fn parse(params: &Params) -> Result<(Query, Vec<TraceId>), ApiError> {
    // Microseconds wrap around, as they do upstream: a time in nanoseconds finds nothing rather than failing.
    let ns = |us: i64| us.wrapping_mul(1000);
    let start = params.integer("start")?.map(ns);
    let end = params.integer("end")?.map(ns);
    let now = now_ns();
    let mut tags = BTreeMap::new();
    for tag in params.all("tag") {
        let (key, value) = tag.split_once(':').ok_or_else(|| {
            ApiError::bad_request(format!(
                "malformed 'tag' parameter, expecting key:value, received: {tag}"
            ))
        })?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for text in params.all("tags") {
        tags.extend(go::json_map(text).map_err(|e| {
            ApiError::bad_request(format!(
                "malformed 'tags' parameter, cannot unmarshal JSON: {e}"
            ))
        })?);
    }
    let limit = match params.get("limit") {
        "" => DEFAULT_LIMIT,
        text => go::parse_int(text, 32).map_err(ApiError::bad_request)?,
    };
    let duration_min_ns = params.duration("minDuration")?.unwrap_or(0);
    let duration_max_ns = params.duration("maxDuration")?.unwrap_or(0);
    let ids = params
        .all("traceID")
        .map(ids::from_hex)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| ApiError::bad_request(format!("cannot parse traceID param: {e}")))?;
    let raw = params.bool("raw")?;
    let service = params.get("service");
    if service.is_empty() && ids.is_empty() {
        return Err(ApiError::bad_request("parameter 'service' is required"));
    }
    if duration_max_ns != 0 && duration_min_ns > duration_max_ns {
        return Err(ApiError::bad_request(
            "'maxDuration' should be greater than 'minDuration'",
        ));
    }
    let query = Query {
        service: service.to_owned(),
        operation: params.get("operation").to_owned(),
        tags,
        start_min_ns: Some(start.unwrap_or(now - DEFAULT_LOOKBACK_NS)),
        start_max_ns: Some(end.unwrap_or(now)),
        duration_min_ns,
        duration_max_ns,
        limit,
        raw,
    };
    Ok((query, ids))
}

pub(super) async fn by_id(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let id = ids::from_path(&id).map_err(ApiError::bad_request)?;
    // The bounds are hints, checked and otherwise ignored: Grafana sends them in either unit.
    params.integer("start")?;
    params.integer("end")?;
    let raw = params.bool("raw")?;
    let tenant = tenant::of(&headers, &app.config)?;
    let trace = search::trace(&app, &tenant, id, raw).await?;
    let data = format::traces(&[trace])?;
    Ok(format::envelope(&data, 0, "null", params.pretty()))
}

/// Shows spans that were not stored: an OTLP request in, the user interface's JSON out.
pub(super) async fn transform(
    State(app): State<AppState>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::new(request.uri().query());
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    let sent = body::read(request.into_body(), limit).await;
    let sent = sent.map_err(|e| ApiError::bad_request(e.to_string()))?;
    let request = json::decode_traces(&sent)
        .map_err(|e| ApiError::bad_request(format!("cannot unmarshal OTLP : {e}")))?;
    let spans = spans::unmended(request).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut traces: IndexMap<TraceId, Trace> = IndexMap::new();
    for span in spans {
        let trace = traces.entry(span.trace_id).or_default();
        trace.trace_id = span.trace_id;
        trace.spans.push(span);
    }
    let traces: Vec<Trace> = traces.into_values().collect();
    let data = format::traces(&traces)?;
    Ok(format::envelope(&data, 0, "null", params.pretty()))
}
