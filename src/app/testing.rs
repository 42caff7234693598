//! A program for tests of handlers: storage in a folder of the test's, no port, no task.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use storage::Storage;
use tower::ServiceExt;

use super::{App, AppState};
use crate::config::{Config, PrometheusConfig};
use crate::ingest::record::Decoder;

/// Opens storage in a folder, with further flags.
pub(crate) async fn open(folder: &Path, args: &[&str]) -> AppState {
    let path = format!("--storage.path={}", folder.display());
    let args = ["trilobite", &path].into_iter().chain(args.iter().copied());
    let config = Config::from_args(args).unwrap();
    let file = PrometheusConfig::default();
    let storage = Storage::open(config.storage_options(&file), Arc::new(Decoder))
        .await
        .unwrap();
    Arc::new(App {
        web_address: "localhost:9090".to_owned(),
        file: tokio::sync::watch::Sender::new(Arc::new(file)),
        storage,
        queries: tokio::sync::Semaphore::new(4),
        query_log: crate::query_log::QueryLog::default(),
        otlp_totals: crate::ingest::otlp_metrics::Totals::default(),
        telemetry: crate::telemetry::Telemetry::default(),
        scrapes: crate::scrape::Pools::default(),
        rules: crate::rules::Rules::default(),
        notifier: crate::notify::Notifier::default(),
        started_at: SystemTime::now(),
        started: Instant::now(),
        config,
    })
}

/// Sends one request to routes.
pub(crate) async fn call(
    app: &AppState,
    routes: Router<AppState>,
    request: Request<Body>,
) -> Response {
    let routes = routes.with_state(Arc::clone(app));
    routes.oneshot(request).await.unwrap()
}

/// Status and body of an answer.
pub(crate) async fn read(response: Response) -> (StatusCode, Bytes) {
    let (parts, body) = response.into_parts();
    (parts.status, body.collect().await.unwrap().to_bytes())
}
