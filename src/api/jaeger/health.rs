//! `GET /status`: what Jaeger's health extension tells, on the web port.
//!
//! `verbose` adds the pipelines, one a signal; `pipeline` asks for one alone. What is not well is answered with 503.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use storage::SignalKind;

use super::params::Params;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, RawQuery(query): RawQuery) -> Response {
    let params = Params::new(query.as_deref());
    let healthy = app.storage.is_ready();
    let (status, code) = if healthy {
        ("StatusOK", StatusCode::OK)
    } else {
        ("StatusStopping", StatusCode::SERVICE_UNAVAILABLE)
    };
    let started = time(app.started_at.into());
    let since = if healthy {
        started.clone()
    } else {
        time(Utc::now())
    };
    let state =
        || json!({"healthy": healthy, "status": status, "status_time": since, "attributes": {}});
    let pipeline = params.get("pipeline");
    let signals = [SignalKind::Metrics, SignalKind::Logs, SignalKind::Traces];
    if !pipeline.is_empty() {
        return match signals.iter().any(|s| s.as_str() == pipeline) {
            true => answer(code, &state()),
            false => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let mut all = json!({ "start_time": started });
    if let (Value::Object(all), Value::Object(state)) = (&mut all, state()) {
        all.extend(state);
    }
    if params.all("verbose").any(|v| v != "false") {
        let pipelines = signals.map(|s| (format!("pipeline:{}", s.as_str()), state()));
        all["components"] = pipelines.into_iter().collect();
    }
    answer(code, &all)
}

fn answer(code: StatusCode, body: &Value) -> Response {
    (code, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn time(t: DateTime<Utc>) -> String {
    t.to_rfc3339_opts(SecondsFormat::Nanos, true)
}
