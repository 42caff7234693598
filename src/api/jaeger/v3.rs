//! `/api/v3`: services, operations, traces, summaries.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use storage::model::push_json_string;

use super::error::ApiError;
use super::params::Params;
use super::search::{self, DEFAULT_LIMIT, Query};
use super::summary::Summary;
use super::{format, go, ids, lists, otlp};
use crate::app::AppState;
use crate::tenant;

/// An error in v3's shape.
pub(super) struct V3Error(ApiError);

impl<E: Into<ApiError>> From<E> for V3Error {
    fn from(e: E) -> Self {
        Self(e.into())
    }
}

impl IntoResponse for V3Error {
    fn into_response(self) -> Response {
        self.0.into_v3()
    }
}

pub(super) async fn services(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<Response, V3Error> {
    let tenant = tenant::of(&headers, &app.config)?;
    let services = app.storage.services(&tenant).await?;
    let list = format::strings(services.iter().map(String::as_str));
    Ok(format::json(format!("{{\"services\":{list}}}"), false))
}

pub(super) async fn operations(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, V3Error> {
    let params = Params::new(query.as_deref());
    let tenant = tenant::of(&headers, &app.config)?;
    let service = params.get("service");
    let kind = params
        .either(["span_kind", "spanKind"])
        .map_or("", |(_, v)| v);
    let mut operations = if service.is_empty() {
        Vec::new()
    } else {
        app.storage.operations(&tenant, service).await?
    };
    operations.retain(|o| kind.is_empty() || o.span_kind == kind);
    let mut out = "{\"operations\":[".to_owned();
    for (i, operation) in operations.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        lists::push_operation(&mut out, &operation.name, kind_word(&operation.span_kind));
    }
    out.push_str("]}");
    Ok(format::json(out, false))
}

/// v3 knows no operation without a kind.
pub(super) fn kind_word(kind: &str) -> &str {
    if kind.is_empty() { "internal" } else { kind }
}

pub(super) async fn by_id(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, V3Error> {
    let params = Params::new(query.as_deref());
    let id = ids::from_path(&id).map_err(|e| malformed("trace_id", &e))?;
    for keys in [["start_time", "startTime"], ["end_time", "endTime"]] {
        if let Some((key, text)) = params.either(keys) {
            go::parse_time(text).map_err(|e| malformed(key, &e))?;
        }
    }
    let raw = flag(&params, ["raw_traces", "rawTraces"])?;
    let tenant = tenant::of(&headers, &app.config)?;
    let found = search::trace(&app, &tenant, id, raw).await;
    match found {
        Ok(trace) => Ok(result(&[trace])),
        Err(e) if e == ApiError::trace_not_found() => Err(no_traces().into()),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn find(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, V3Error> {
    let query = parse(&Params::new(query.as_deref()))?;
    let tenant = tenant::of(&headers, &app.config)?;
    let found = search::search(&app, &tenant, &query).await?;
    if found.is_empty() {
        return Err(no_traces().into());
    }
    Ok(result(&found))
}

pub(super) async fn summaries(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, V3Error> {
    let query = parse(&Params::new(query.as_deref()))?;
    let tenant = tenant::of(&headers, &app.config)?;
    let found = search::search(&app, &tenant, &query).await?;
    let mut out = "{\"summaries\":[".to_owned();
    for (i, trace) in found.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_summary(&mut out, &Summary::of(trace));
    }
    out.push_str("]}");
    Ok(format::json(out, false))
}

fn push_summary(out: &mut String, summary: &Summary<'_>) {
    out.push_str(&format!("{{\"traceId\":\"{}\"", summary.trace_id));
    if let Some(root) = summary.root {
        let service = root.resource.service_name().unwrap_or_default();
        for (key, value) in [
            ("rootServiceName", service),
            ("rootOperationName", root.name.as_str()),
        ] {
            out.push_str(&format!(",\"{key}\":"));
            push_json_string(out, value);
        }
    }
    out.push_str(&format!(
        ",\"minStartTimeUnixNano\":\"{}\",\"maxEndTimeUnixNano\":\"{}\",\"spanCount\":{}",
        summary.min_start_ns, summary.max_end_ns, summary.spans
    ));
    for (key, count) in [
        ("errorSpanCount", summary.errors),
        ("orphanSpanCount", summary.orphans),
    ] {
        if count > 0 {
            out.push_str(&format!(",\"{key}\":{count}"));
        }
    }
    out.push_str(",\"services\":[");
    for (i, (name, (spans, errors))) in summary.services.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str("{\"name\":");
        push_json_string(out, name);
        out.push_str(&format!(",\"spanCount\":{spans}"));
        if *errors > 0 {
            out.push_str(&format!(",\"errorSpanCount\":{errors}"));
        }
        out.push('}');
    }
    out.push_str("]}");
}

fn result(traces: &[storage::model::Trace]) -> Response {
    format::json(format!("{{\"result\":{}}}", otlp::json(traces)), false)
}

fn no_traces() -> ApiError {
    ApiError {
        status: StatusCode::NOT_FOUND,
        message: "No traces found".to_owned(),
    }
}

fn malformed(key: &str, e: &str) -> ApiError {
    ApiError::bad_request(format!("malformed parameter {key}: {e}"))
}

fn flag(params: &Params, keys: [&str; 2]) -> Result<bool, ApiError> {
    match params.either(keys) {
        Some((key, text)) => go::parse_bool(text).map_err(|e| malformed(key, &e)),
        None => Ok(false),
    }
}

fn parse(params: &Params) -> Result<Query, ApiError> {
    let text = |keys| params.either(keys).map_or("", |(_, v)| v).to_owned();
    let time = |keys| -> Result<Option<i64>, ApiError> {
        let found = params.either(keys);
        found
            .map(|(key, text)| go::parse_time(text).map_err(|e| malformed(key, &e)))
            .transpose()
    };
    let duration = |keys| -> Result<i64, ApiError> {
        let found = params.either(keys);
        found.map_or(Ok(0), |(key, text)| {
            go::parse_duration(text).map_err(|e| malformed(key, &e))
        })
    };
    let start_min_ns = time(["query.start_time_min", "query.startTimeMin"])?;
    let start_max_ns = time(["query.start_time_max", "query.startTimeMax"])?;
    let (Some(min), Some(max)) = (start_min_ns, start_max_ns) else {
        return Err(ApiError::bad_request(
            "query.startTimeMin and query.startTimeMax are required",
        ));
    };
    if min >= max {
        return Err(ApiError::bad_request(
            "query.startTimeMin must be before query.startTimeMax",
        ));
    }
    let depth = params
        .either(["query.search_depth", "query.searchDepth"])
        .or_else(|| params.either(["query.num_traces", "query.numTraces"]));
    let limit = match depth {
        Some((key, text)) => go::atoi(text).map_err(|e| malformed(key, &e))?,
        None => DEFAULT_LIMIT,
    };
    let attributes = match params.either(["query.attributes", "query.attributes"]) {
        Some((key, text)) => go::json_map(text).map_err(|e| malformed(key, &e))?,
        None => Default::default(),
    };
    Ok(Query {
        service: text(["query.service_name", "query.serviceName"]),
        operation: text(["query.operation_name", "query.operationName"]),
        tags: attributes,
        start_min_ns,
        start_max_ns,
        duration_min_ns: duration(["query.duration_min", "query.durationMin"])?,
        duration_max_ns: duration(["query.duration_max", "query.durationMax"])?,
        limit,
        raw: flag(params, ["query.raw_traces", "query.rawTraces"])?,
    })
}
