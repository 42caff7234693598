//! OTLP over HTTP for the three signals: `POST /v1/{traces,logs,metrics}`.
//!
//! The order of the checks is the Collector's: method, content type, coding, body.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use prost::Message;

use super::export::{ExportError, RpcStatus};
use super::{otlp_logs, otlp_metrics, spans, with_retry_after};
use crate::app::AppState;
use crate::wire::otlp::{
    ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTracePartialSuccess,
    ExportTraceServiceResponse, json,
};
use crate::{body, tenant};

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/v1/traces", any(traces))
        .route("/v1/logs", any(logs))
        .route("/v1/metrics", any(metrics))
}

/// How a request is written, and its answer with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Protobuf,
}

/// A request that passed the checks of the transport.
struct Incoming {
    format: Format,
    headers: HeaderMap,
    body: Bytes,
}

/// What the three messages with a partial success have in common.
struct Outcome {
    protobuf: Vec<u8>,
    /// Name of the count, count, message.
    partial: (&'static str, i64, String),
}

async fn traces(State(app): State<AppState>, request: Request<Body>) -> Response {
    answer(&app, request, async |incoming: Incoming| {
        let tenant = tenant::of(&incoming.headers, &app.config)?;
        match incoming.format {
            Format::Protobuf => spans::append_encoded(&app, &tenant, incoming.body).await?,
            Format::Json => {
                let request = json::decode_traces(&incoming.body)
                    .map_err(|e| ExportError::Invalid(e.to_string()))?;
                spans::append(&app, &tenant, request).await?;
            }
        }
        Ok(Outcome {
            protobuf: ExportTraceServiceResponse {
                partial_success: Some(ExportTracePartialSuccess::default()),
            }
            .encode_to_vec(),
            partial: ("rejectedSpans", 0, String::new()),
        })
    })
    .await
}

async fn logs(State(app): State<AppState>, request: Request<Body>) -> Response {
    answer(&app, request, async |incoming: Incoming| {
        let request = match incoming.format {
            Format::Protobuf => ExportLogsServiceRequest::decode(incoming.body)
                .map_err(|e| ExportError::Invalid(e.to_string()))?,
            Format::Json => json::decode_logs(&incoming.body)
                .map_err(|e| ExportError::Invalid(e.to_string()))?,
        };
        let response = otlp_logs::export(&app, &incoming.headers, request).await?;
        let protobuf = response.encode_to_vec();
        let partial = response.partial_success.unwrap_or_default();
        Ok(Outcome {
            protobuf,
            partial: (
                "rejectedLogRecords",
                partial.rejected_log_records,
                partial.error_message,
            ),
        })
    })
    .await
}

async fn metrics(State(app): State<AppState>, request: Request<Body>) -> Response {
    answer(&app, request, async |incoming: Incoming| {
        let request = match incoming.format {
            Format::Protobuf => ExportMetricsServiceRequest::decode(incoming.body)
                .map_err(|e| ExportError::Invalid(e.to_string()))?,
            Format::Json => json::decode_metrics(&incoming.body)
                .map_err(|e| ExportError::Invalid(e.to_string()))?,
        };
        let response = otlp_metrics::export(&app, &incoming.headers, request).await?;
        let protobuf = response.encode_to_vec();
        let partial = response.partial_success.unwrap_or_default();
        Ok(Outcome {
            protobuf,
            partial: (
                "rejectedDataPoints",
                partial.rejected_data_points,
                partial.error_message,
            ),
        })
    })
    .await
}

async fn answer(
    app: &AppState,
    request: Request<Body>,
    take: impl AsyncFnOnce(Incoming) -> Result<Outcome, ExportError>,
) -> Response {
    if request.method() != Method::POST {
        return in_words(
            StatusCode::METHOD_NOT_ALLOWED,
            "405 method not allowed, supported: [POST]",
        );
    }
    let Some(format) = format_of(request.headers()) else {
        return in_words(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "415 unsupported media type, supported: [application/json, application/x-protobuf]",
        );
    };
    let outcome = async {
        let (parts, sent) = request.into_parts();
        let body = read(app, &parts.headers, sent).await?;
        let incoming = Incoming {
            format,
            headers: parts.headers,
            body,
        };
        take(incoming).await
    };
    match outcome.await {
        Ok(outcome) => success(format, &outcome),
        Err(e) => refusal(format, &e),
    }
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media = value.split(';').next().unwrap_or_default().trim();
    match media.to_ascii_lowercase().as_str() {
        "application/json" => Some(Format::Json),
        "application/x-protobuf" => Some(Format::Protobuf),
        _ => None,
    }
}

async fn read(app: &AppState, headers: &HeaderMap, sent: Body) -> Result<Bytes, ExportError> {
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    if let Some(encoding) = headers.get(CONTENT_ENCODING) {
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        let known = ["", "gzip", "zstd", "zlib", "snappy", "deflate", "lz4"];
        if !known.contains(&encoding.as_str()) || encoding == "lz4" {
            return Err(ExportError::Invalid(format!(
                "unsupported Content-Encoding: {encoding}"
            )));
        }
    }
    let sent = body::read(sent, limit).await?;
    Ok(body::inflate(headers, sent, limit)?)
}

fn in_words(status: StatusCode, words: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain")], words).into_response()
}

fn success(format: Format, outcome: &Outcome) -> Response {
    match format {
        Format::Protobuf => (
            [(CONTENT_TYPE, "application/x-protobuf")],
            outcome.protobuf.clone(),
        )
            .into_response(),
        Format::Json => {
            let (name, count, message) = &outcome.partial;
            let mut partial = serde_json::Map::new();
            if *count != 0 {
                partial.insert((*name).to_owned(), count.to_string().into());
            }
            if !message.is_empty() {
                partial.insert("errorMessage".to_owned(), message.as_str().into());
            }
            let body = serde_json::json!({ "partialSuccess": partial }).to_string();
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
    }
}

fn refusal(format: Format, e: &ExportError) -> Response {
    let status = e.http_status();
    let response = match format {
        Format::Json => {
            let body = serde_json::json!({ "code": e.code(), "message": e.to_string() });
            let headers = [(CONTENT_TYPE, "application/json")];
            (status, headers, body.to_string()).into_response()
        }
        Format::Protobuf => {
            let body = RpcStatus {
                code: e.code(),
                message: e.to_string(),
            };
            let headers = [(CONTENT_TYPE, "application/x-protobuf")];
            (status, headers, body.encode_to_vec()).into_response()
        }
    };
    with_retry_after(response)
}
