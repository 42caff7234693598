//! Data points of an OTLP export: where every transport hands them over, and Prometheus's own path
//! for them, `POST /api/v1/otlp/v1/metrics`.
//!
//! The log holds what came out of the translation, so that a replay decides nothing anew.

mod names;
mod translate;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use prost::Message;

use self::translate::{Translated, translate};
use super::export::ExportError;
use super::remote_write::{WriteError, append_written};
use crate::app::AppState;
use crate::wire::otlp::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse, json,
};
use crate::{body, tenant};

/// Prometheus's own path.
pub fn router() -> Router<AppState> {
    Router::new().route("/api/v1/otlp/v1/metrics", post(prometheus_path))
}

/// Takes data points. What cannot be told in Prometheus's terms is rejected and counted; the rest
/// is stored.
///
/// # Errors
/// See [`ExportError`].
pub(crate) async fn export(
    app: &AppState,
    headers: &HeaderMap,
    request: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, ExportError> {
    let Translated { body, rejected } = translate(&request);
    let tenant = tenant::of(headers, &app.config)?;
    let written = append_written(app, &tenant, &body)
        .await
        .map_err(|e| match e {
            WriteError::Storage(e) => ExportError::from(e),
            e => ExportError::Invalid(e.to_string()),
        })?;
    let refused = i64::try_from(written.report.refused_count).unwrap_or(i64::MAX);
    let points = rejected
        .values()
        .fold(refused, |sum, n| sum.saturating_add(*n));
    let mut reasons: Vec<String> = rejected.into_keys().collect();
    reasons.extend(written.fault);
    Ok(ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: points,
            error_message: reasons.join("; "),
        }),
    })
}

async fn prometheus_path(State(app): State<AppState>, headers: HeaderMap, sent: Body) -> Response {
    let outcome = async {
        let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
        let sent = body::read(sent, limit).await?;
        let sent = body::inflate(&headers, sent, limit)?;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        let invalid = |e: String| ExportError::Invalid(e);
        let request = match content_type.split(';').next().unwrap_or("").trim() {
            "application/json" => {
                json::decode_metrics(&sent).map_err(|e| invalid(e.to_string()))?
            }
            "application/x-protobuf" => {
                ExportMetricsServiceRequest::decode(sent).map_err(|e| invalid(e.to_string()))?
            }
            other => {
                return Err(invalid(format!(
                    "unsupported content type: {other}, supported: [application/json, application/x-protobuf]"
                )));
            }
        };
        export(&app, &headers, request).await
    };
    match outcome.await {
        Err(e) => (e.http_status(), format!("{e}\n")).into_response(),
        Ok(response) => match response.partial_success {
            Some(p) if p.rejected_data_points > 0 => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{}\n", p.error_message),
            )
                .into_response(),
            _ => StatusCode::OK.into_response(),
        },
    }
}
