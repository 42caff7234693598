//! The Loki HTTP API.
//!
//! ```text
//!  params ─▶ logql::parse ─▶ run (selects, pushes, finishes) ─▶ format ─▶ JSON
//!        └▶ storage: streams and their figures                └▶ error: status and bare text
//! ```

mod detected;
mod error;
mod format;
mod format_query;
mod labels;
mod legacy;
mod params;
mod query;
mod ring;
mod rules;
mod run;
mod series;
mod stats;
mod status;
mod tail;
mod volume;

use axum::Router;
use axum::routing::{get, post};

use crate::app::AppState;

/// Routes of the Loki API that live on the web port too.
pub fn router() -> Router<AppState> {
    let api = Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label", get(labels::names).post(labels::names))
        .route(
            "/label/{name}/values",
            get(labels::values).post(labels::values),
        )
        .route("/series", get(series::handle).post(series::handle))
        .route("/index/stats", get(stats::handle).post(stats::handle))
        .route("/index/volume", get(volume::instant).post(volume::instant))
        .route(
            "/index/volume_range",
            get(volume::range).post(volume::range),
        )
        .route(
            "/detected_labels",
            get(detected::labels).post(detected::labels),
        )
        .route(
            "/detected_fields",
            get(detected::fields).post(detected::fields),
        )
        .route(
            "/detected_field/{name}/values",
            get(detected::values).post(detected::values),
        )
        .route(
            "/patterns",
            get(detected::patterns).post(detected::patterns),
        )
        .route("/tail", get(tail::handle))
        .route(
            "/format_query",
            get(format_query::handle).post(format_query::handle),
        )
        .route("/status/buildinfo", get(status::buildinfo))
        .route("/drilldown-limits", get(status::drilldown_limits))
        .route("/rules", get(rules::list))
        .route("/rules/{namespace}", get(rules::namespace))
        .route("/rules/{namespace}/{group}", get(rules::group));
    Router::new()
        .nest("/loki/api/v1", api)
        .route("/api/prom/query", get(legacy::query).post(legacy::query))
        .route("/api/prom/label", get(labels::names))
        .route("/api/prom/label/{name}/values", get(labels::values))
        .route("/api/prom/series", get(series::handle).post(series::handle))
        .route("/api/prom/tail", get(tail::handle))
        .route("/api/prom/rules", get(rules::list))
        .route("/api/prom/rules/{namespace}", get(rules::namespace))
        .route("/api/prom/rules/{namespace}/{group}", get(rules::group))
        .route("/prometheus/api/v1/rules", get(rules::prometheus_rules))
        .route("/prometheus/api/v1/alerts", get(rules::prometheus_alerts))
}

/// Routes that only Loki's own port has, because other APIs use the same paths (`/ready`, `/config`).
pub fn own_port_router() -> Router<AppState> {
    Router::new()
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/config", get(status::config))
        .route("/services", get(status::services))
        .route("/log_level", get(status::log_level))
        .route("/flush", post(status::flush))
        .route("/ingester/flush", post(status::flush))
        .merge(ring::router())
}
