//! Loki's pages about its rings. Every component lives in this one process, so each ring has one member; a page for
//! people, and JSON for whoever asks for it.

use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::json;

use super::format;
use crate::app::AppState;

/// Loki's rings, and which component's each is.
const RINGS: [(&str, &str); 6] = [
    ("/ring", "Ingester"),
    ("/distributor/ring", "Distributor"),
    ("/indexgateway/ring", "Index gateway"),
    ("/scheduler/ring", "Query scheduler"),
    ("/compactor/ring", "Compactor"),
    ("/ruler/ring", "Ruler"),
];

/// The pages.
pub(super) fn router() -> Router<AppState> {
    let rings = RINGS
        .into_iter()
        .fold(Router::new(), |router, (path, name)| {
            let page = move |State(app), headers| async move { ring(&app, &headers, name) };
            router.route(path, get(page))
        });
    rings.route("/memberlist", get(memberlist))
}

fn ring(app: &AppState, headers: &HeaderMap, name: &str) -> Response {
    let state = if app.storage.is_ready() {
        "ACTIVE"
    } else {
        "LEAVING"
    };
    let id = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let id = match id.trim() {
        "" => "trilobite",
        name => name,
    };
    let address = &app.web_address;
    let time = |t: DateTime<Utc>| t.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let (now, started) = (time(Utc::now()), time(app.started_at.into()));
    let accepts = headers.get(ACCEPT).and_then(|v| v.to_str().ok());
    if accepts.is_some_and(|a| a.contains("application/json")) {
        let member = json!({
            "id": id, "state": state, "address": address, "timestamp": now,
            "registered_timestamp": started, "read_only": false, "zone": "", "tokens": [0],
        });
        return format::json(json!({"shards": [member], "now": now}).to_string());
    }
    let cell = |text: &str| format!("<td>{}</td>", escape(text));
    let cells: String = [id, state, address, &started, &now].map(cell).concat();
    Html(format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"UTF-8\"><title>{name} ring status</title></head><body>\n\
         <h1>{name} ring status</h1>\n<p>One process holds every component: the ring has one member, which owns all of it.</p>\n\
         <table border=\"1\"><thead><tr><th>Instance</th><th>State</th><th>Address</th><th>Registered</th>\
         <th>Last heartbeat</th></tr></thead>\n<tbody><tr>{cells}</tr></tbody></table>\n</body></html>\n"
    ))
    .into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

async fn memberlist() -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (
        headers,
        "This process has no peers and uses no memberlist.\n",
    )
        .into_response()
}
