//! Services, operations, dependencies; and the metrics that need a backend there is none of.

use std::collections::BTreeSet;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use storage::model::push_json_string;

use super::error::ApiError;
use super::params::{Params, now_ns};
use super::{format, go, search};
use crate::app::AppState;
use crate::tenant;

const DAY_MS: i64 = 24 * 3600 * 1000;

pub(super) async fn services(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let tenant = tenant::of(&headers, &app.config)?;
    let services = app.storage.services(&tenant).await?;
    let data = format::strings(services.iter().map(String::as_str));
    Ok(format::envelope(
        &data,
        services.len(),
        "null",
        params.pretty(),
    ))
}

pub(super) async fn operation_names(
    State(app): State<AppState>,
    headers: HeaderMap,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let tenant = tenant::of(&headers, &app.config)?;
    let operations = app.storage.operations(&tenant, &service).await?;
    let names: BTreeSet<&str> = operations.iter().map(|o| o.name.as_str()).collect();
    let data = if names.is_empty() {
        "null".to_owned()
    } else {
        format::strings(names.iter().copied())
    };
    Ok(format::envelope(
        &data,
        names.len(),
        "null",
        params.pretty(),
    ))
}

pub(super) async fn operations(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let service = params.get("service");
    if service.is_empty() {
        return Err(ApiError::bad_request("parameter 'service' is required"));
    }
    let tenant = tenant::of(&headers, &app.config)?;
    let mut operations = app.storage.operations(&tenant, service).await?;
    let kind = params.get("spanKind");
    operations.retain(|o| kind.is_empty() || o.span_kind == kind);
    let mut data = "[".to_owned();
    for (i, operation) in operations.iter().enumerate() {
        if i > 0 {
            data.push(',');
        }
        push_operation(&mut data, &operation.name, &operation.span_kind);
    }
    data.push(']');
    Ok(format::envelope(
        &data,
        operations.len(),
        "null",
        params.pretty(),
    ))
}

pub(super) fn push_operation(out: &mut String, name: &str, kind: &str) {
    out.push_str("{\"name\":");
    push_json_string(out, name);
    out.push_str(",\"spanKind\":");
    push_json_string(out, kind);
    out.push('}');
}

pub(super) async fn dependencies(
    State(app): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let params = Params::new(query.as_deref());
    let end_ms = params.integer("endTs")?.unwrap_or(now_ns() / 1_000_000);
    let lookback_ms = params.integer("lookback")?.unwrap_or(DAY_MS);
    let tenant = tenant::of(&headers, &app.config)?;
    let end_ns = end_ms.saturating_mul(1_000_000);
    let start_ns = end_ns.saturating_sub(lookback_ms.saturating_mul(1_000_000));
    let mut links = search::dependencies(&app, &tenant, start_ns, end_ns).await?;
    let service = params.get("service");
    links.retain(|l| service.is_empty() || l.parent == service || l.child == service);
    let mut data = "[".to_owned();
    for (i, link) in links.iter().enumerate() {
        if i > 0 {
            data.push(',');
        }
        data.push_str("{\"parent\":");
        push_json_string(&mut data, &link.parent);
        data.push_str(",\"child\":");
        push_json_string(&mut data, &link.child);
        data.push_str(&format!(",\"callCount\":{}}}", link.call_count));
    }
    data.push(']');
    Ok(format::envelope(&data, 0, "null", params.pretty()))
}

/// `/api/metrics/latencies`.
pub(super) async fn latencies(RawQuery(query): RawQuery) -> ApiError {
    metrics(&Params::new(query.as_deref()), true)
}

/// `/api/metrics/calls` and `errors`.
pub(super) async fn calls(RawQuery(query): RawQuery) -> ApiError {
    metrics(&Params::new(query.as_deref()), false)
}

/// The parameters are checked, and then there is nothing to ask.
fn metrics(params: &Params, with_quantile: bool) -> ApiError {
    let wrong =
        |key: &str, e: String| ApiError::bad_request(format!("unable to parse param '{key}': {e}"));
    if params.get("service").is_empty() {
        return wrong(
            "service",
            "please provide at least one service name".to_owned(),
        );
    }
    if let Err(e) = params.bool("groupByOperation") {
        return e;
    }
    for kind in params.all("spanKind") {
        let known = [
            "unspecified",
            "internal",
            "server",
            "client",
            "producer",
            "consumer",
        ];
        if !known.contains(&kind) {
            return wrong("spanKind", format!("unsupported span kind: '{kind}'"));
        }
    }
    for key in ["endTs", "lookback", "step", "ratePer"] {
        if let Err(e) = params.integer(key) {
            return e;
        }
    }
    if with_quantile && let Err(e) = go::parse_float(params.get("quantile")) {
        return wrong("quantile", e);
    }
    ApiError {
        status: StatusCode::NOT_IMPLEMENTED,
        message: "trace metrics are currently disabled - no metrics backend configured".to_owned(),
    }
}
