//! Zipkin spans: v2 as JSON and protobuf, v1 as JSON and Thrift.
//!
//! On Zipkin's own port every path but v1's is v2, with any method, as the upstream's receiver has it.

pub(crate) mod v1;
pub(crate) mod v2;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};

use super::jaeger_thrift::refusal;
use super::spans;
use crate::app::AppState;
use crate::wire::otlp::ExportTraceServiceRequest;
use crate::{body, tenant};

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v2/spans", post(second))
        .route("/api/v1/spans", post(first))
}

/// Routes of Zipkin's own port.
pub fn own_port_router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/spans", any(first))
        .fallback(second)
}

async fn second(State(app): State<AppState>, request: Request<Body>) -> Response {
    take(&app, request, |headers, body| {
        if media_type(headers) == "application/x-protobuf" {
            v2::from_protobuf(body)
        } else {
            v2::from_json(&body)
        }
    })
    .await
}

async fn first(State(app): State<AppState>, request: Request<Body>) -> Response {
    take(&app, request, |headers, body| {
        if media_type(headers) == "application/x-thrift" {
            v1::from_thrift(body)
        } else {
            v1::from_json(&body)
        }
    })
    .await
}

async fn take(
    app: &AppState,
    request: Request<Body>,
    decode: impl FnOnce(&HeaderMap, Bytes) -> Result<ExportTraceServiceRequest, String>,
) -> Response {
    let (parts, sent) = request.into_parts();
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
        Err(e) => return refusal(StatusCode::BAD_REQUEST, &e.to_string()),
    };
    let request = match decode(&parts.headers, body) {
        Ok(request) => request,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, &words),
    };
    let tenant = match tenant::of(&parts.headers, &app.config) {
        Ok(tenant) => tenant,
        Err(e) => return refusal(StatusCode::UNAUTHORIZED, &e.to_string()),
    };
    match spans::append(app, &tenant, request).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(e) => refusal(e.http_status(), &e.to_string()),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media = value.unwrap_or_default().split(';').next();
    media.unwrap_or_default().trim().to_ascii_lowercase()
}
