//! The Prometheus HTTP API: routes, and what all of them share.
//!
//! ```text
//! params ─► promql::parse ─► evaluate (selects, pushes, finishes) ─► format ─► JSON, streamed
//!        └► storage: series, labels, metadata, exemplars          └► error: status and body
//! ```

mod admin;
mod clean_tombstones;
mod delete_series;
mod error;
mod evaluate;
mod federate;
mod format;
mod format_query;
mod health;
mod label_values;
mod labels;
mod metadata;
mod middleware;
mod openapi;
mod params;
mod parse_query;
mod query;
mod query_exemplars;
mod query_range;
mod read;
mod rules;
mod self_metrics;
mod series;
mod snapshot;
mod status;
mod targets;
mod tsdb_blocks;

use axum::Router;
use axum::routing::{get, post, put};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::app::AppState;
use crate::config::Config;

/// Routes of the Prometheus API, health and `/metrics` included.
pub fn router(config: &Config) -> Router<AppState> {
    let api = Router::new()
        .route("/query", get(query::handle).post(query::handle))
        .route(
            "/query_range",
            get(query_range::handle).post(query_range::handle),
        )
        .route(
            "/query_exemplars",
            get(query_exemplars::handle).post(query_exemplars::handle),
        )
        .route(
            "/format_query",
            get(format_query::handle).post(format_query::handle),
        )
        .route(
            "/parse_query",
            get(parse_query::handle).post(parse_query::handle),
        )
        .route("/series", get(series::handle).post(series::handle))
        .route("/labels", get(labels::handle).post(labels::handle))
        .route("/label/{name}/values", get(label_values::handle))
        .route("/metadata", get(metadata::handle))
        .route("/targets", get(targets::handle))
        .route("/targets/metadata", get(targets::metadata))
        .route("/targets/relabel_steps", get(targets::relabel_steps))
        .route("/scrape_pools", get(targets::scrape_pools))
        .route("/scrape_pools/config", get(targets::scrape_pool_config))
        .route("/rules", get(rules::handle))
        .route("/alerts", get(rules::alerts))
        .route("/alertmanagers", get(rules::alertmanagers))
        .route("/notifications", get(status::notifications))
        .route("/features", get(status::features))
        .route("/openapi.yaml", get(openapi::handle))
        .route(
            "/search/metric_names",
            get(admin::search_disabled).post(admin::search_disabled),
        )
        .route(
            "/search/label_names",
            get(admin::search_disabled).post(admin::search_disabled),
        )
        .route(
            "/search/label_values",
            get(admin::search_disabled).post(admin::search_disabled),
        )
        .route("/status/buildinfo", get(status::build_info))
        .route("/status/runtimeinfo", get(status::runtime_info))
        .route("/status/config", get(status::config))
        .route("/status/self_metrics", get(self_metrics::handle))
        .route("/status/flags", get(status::flags))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/tsdb/blocks", get(tsdb_blocks::handle))
        .route("/status/walreplay", get(status::wal_replay))
        .route(
            "/admin/tsdb/delete_series",
            post(delete_series::handle).put(delete_series::handle),
        )
        .route(
            "/admin/tsdb/clean_tombstones",
            post(clean_tombstones::handle).put(clean_tombstones::handle),
        )
        .route(
            "/admin/tsdb/snapshot",
            post(snapshot::handle).put(snapshot::handle),
        )
        .route_layer(axum::middleware::from_fn_with_state(
            config.web_cors_origin.clone(),
            middleware::cors,
        ));
    Router::new()
        .nest("/api/v1", api)
        .route("/federate", get(federate::handle))
        .route("/metrics", get(health::metrics))
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/-/reload", post(admin::reload).merge(put(admin::reload)))
        .route("/-/quit", post(admin::quit).merge(put(admin::quit)))
        .route("/-/flush", post(admin::flush))
        .route("/-/compact", post(admin::compact))
        .route_layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        // Its answers are compressed already.
        .route("/api/v1/read", post(read::handle))
}

#[cfg(test)]
mod tests;
