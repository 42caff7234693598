//! Jaeger Thrift over HTTP, `POST /api/traces`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Request, StatusCode};

use super::jaeger_spans::{Scopes, to_otlp};
use super::{spans, with_retry_after};
use crate::app::AppState;
use crate::wire::thrift::{Protocol, decode_batch};
use crate::{body, tenant};

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/traces", post(traces))
}

async fn traces(State(app): State<AppState>, request: Request<Body>) -> Response {
    let (parts, sent) = request.into_parts();
    if let Err(words) = check_type(&parts.headers) {
        return refusal(StatusCode::BAD_REQUEST, &words);
    }
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    let body = async {
        let sent = body::read(sent, limit).await?;
        body::inflate(&parts.headers, sent, limit)
    };
    let body = match body.await {
        Ok(body) => body,
        Err(e @ body::BodyError::TooLarge { .. }) => {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, &e.to_string());
        }
        Err(e) => {
            let words = format!("Unable to process request body: {e}");
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, &words);
        }
    };
    let empty = body.is_empty();
    let batch = match decode_batch(Protocol::Binary, body) {
        Ok(batch) => batch,
        Err(e) => {
            let at = if empty {
                "*jaeger.Batch field 0 read error: "
            } else {
                ""
            };
            let words = format!("Unable to process request body: {at}{e}");
            return refusal(StatusCode::BAD_REQUEST, &words);
        }
    };
    let tenant = match tenant::of(&parts.headers, &app.config) {
        Ok(tenant) => tenant,
        Err(e) => return refusal(StatusCode::UNAUTHORIZED, &e.to_string()),
    };
    match spans::append(&app, &tenant, to_otlp(batch, Scopes::None)).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(e) => refusal(e.http_status(), &format!("Cannot submit Jaeger batch: {e}")),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), String> {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let value = String::from_utf8_lossy(value);
    let media = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match media.as_str() {
        "" => Err("Cannot parse content type: mime: no media type".to_owned()),
        "application/x-thrift" | "application/vnd.apache.thrift.binary" => Ok(()),
        _ => Err(format!("Unsupported content type: {media}")),
    }
}

pub(super) fn refusal(status: StatusCode, words: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    with_retry_after((status, headers, format!("{words}\n")).into_response())
}
