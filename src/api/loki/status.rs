//! Readiness, build, limits, and what else Loki's port tells of the server.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::error::ApiError;
use super::format;
use crate::app::AppState;

/// The version of Loki whose answers these are.
const LOKI_VERSION: &str = "3.7.6";
const TEXT: [(http::HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];

pub(super) async fn ready(State(app): State<AppState>) -> Response {
    if app.storage.is_ready() {
        return (TEXT, "ready\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n").into_response()
}

pub(super) async fn metrics(State(app): State<AppState>) -> Response {
    let families = app.families();
    let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (headers, crate::telemetry::exposition(&families)).into_response()
}

pub(super) async fn config(State(app): State<AppState>) -> Response {
    let config = &app.config;
    let text = format!(
        "target: all\nauth_enabled: {}\nserver:\n  log_level: {}\nlimits_config:\n  query_timeout: {}s\n  max_entries_limit_per_query: {}\n",
        config.multitenancy,
        config.log_level,
        config.query_timeout.0.as_secs(),
        logql::params::MAX_ENTRIES,
    );
    (TEXT, text).into_response()
}

pub(super) async fn services(State(app): State<AppState>) -> Response {
    let state = if app.storage.is_ready() {
        "Running"
    } else {
        "Stopping"
    };
    (TEXT, format!("server => {state}\nstore => {state}\n")).into_response()
}

pub(super) async fn log_level(State(app): State<AppState>) -> Response {
    let level = &app.config.log_level;
    format::json(json!({"message": format!("Current log level is {level}")}).to_string())
}

/// Cuts the heads into blocks and answers when they are visible.
pub(super) async fn flush(State(app): State<AppState>) -> Result<StatusCode, ApiError> {
    app.storage.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn buildinfo() -> Response {
    let body = json!({
        "version": LOKI_VERSION,
        "revision": concat!("trilobite-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    format::json(body.to_string())
}

pub(super) async fn drilldown_limits(State(app): State<AppState>) -> Response {
    let timeout = app.config.query_timeout.0.as_secs();
    let body = json!({
        "limits": {
            "discover_log_levels": true,
            "discover_service_name": [
                "service", "app", "application", "app_name", "name", "app_kubernetes_io_name",
                "container", "container_name", "k8s_container_name", "component", "workload",
                "job", "k8s_job_name",
            ],
            "max_entries_limit_per_query": logql::params::MAX_ENTRIES,
            "max_query_length": "30d1h",
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": 500,
            "metric_aggregation_enabled": false,
            "pattern_persistence_enabled": false,
            "query_timeout": format!("{timeout}s"),
            "volume_enabled": true,
            "volume_max_series": 1000,
        },
        "pattern_ingester_enabled": false,
        "version": LOKI_VERSION,
    });
    format::json(body.to_string())
}
