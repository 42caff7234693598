//! `/-/healthy`, `/-/ready` and `/metrics`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::app::AppState;

pub(super) async fn healthy() -> &'static str {
    "Prometheus Server is Healthy.\n"
}

pub(super) async fn ready(State(app): State<AppState>) -> Response {
    if app.storage.is_ready() {
        return "Prometheus Server is Ready.\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable").into_response()
}

pub(super) async fn metrics(State(app): State<AppState>) -> Response {
    let headers = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
    )];
    let families = app.telemetry.families(&app.storage, app.started_at);
    (headers, crate::telemetry::exposition(&families)).into_response()
}
