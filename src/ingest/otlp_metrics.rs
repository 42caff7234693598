//! Data points of an OTLP export: where every transport hands them over, and Prometheus's own path
//! for them, `POST /api/v1/otlp/v1/metrics`.
//!
//! ```text
//!  request ─▶ cumulative (deltas, where asked for) ─▶ translate (names, labels, native) ─▶ remote_write::append_*
//! ```
//! The log holds what came out of the translation, so that a replay decides nothing anew.
//!
//! On the OTLP ports the good part of a request is kept and the rest is counted, as a Collector answers; on Prometheus's own path a
//! request with a fault is refused whole, as there.

pub(crate) mod cumulative;
mod labels;
mod names;
mod native;
pub(crate) mod translate;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, StatusCode};
use prost::Message;
use storage::model::Tenant;

pub use self::cumulative::Totals;
use self::translate::{Settings, Translated, translate};
use super::export::ExportError;
use super::remote_write::{self, Whole, WriteError, append_whole, append_written, append_zeros};
use crate::app::{App, AppState};
use crate::wire::otlp::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse, json,
};
use crate::{body, tenant};

/// Refused samples that an answer names.
const MAX_REASONS: usize = 100;

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
    app: &App,
    headers: &HeaderMap,
    request: ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, ExportError> {
    let tenant = tenant::of(headers, &app.config)?;
    let Translated {
        body,
        zeros,
        faults,
    } = prepare(app, &tenant, request);
    append_zeros(app, &tenant, &zeros).await.map_err(refused)?;
    let written = append_written(app, &tenant, &body).await.map_err(refused)?;
    let stored = i64::try_from(written.refused).unwrap_or(i64::MAX);
    let points = faults
        .values()
        .fold(stored, |sum, n| sum.saturating_add(*n));
    let mut reasons: Vec<String> = faults.into_keys().collect();
    reasons.extend(written.fault);
    Ok(ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: points,
            error_message: reasons.join("; "),
        }),
    })
}

fn refused(e: WriteError) -> ExportError {
    match e {
        WriteError::Storage(e) => ExportError::from(e),
        e => ExportError::Invalid(e.to_string()),
    }
}

/// Translates a request by the configuration in force.
fn prepare(app: &App, tenant: &Tenant, mut request: ExportMetricsServiceRequest) -> Translated {
    let feature = |name| app.config.feature(name);
    let mut full = 0;
    if feature("otlp-deltatocumulative") {
        let now_ms = remote_write::now_ms();
        full = app.otlp_totals.apply(tenant, &mut request, now_ms);
    }
    let file = app.file();
    let lookback = app.config.query_lookback_delta.0.as_millis();
    let settings = Settings {
        config: &file.otlp,
        takes_deltas: feature("otlp-native-delta-ingestion"),
        type_and_unit_labels: feature("type-and-unit-labels"),
        zero_samples: feature("created-timestamp-zero-ingestion"),
        start_timestamps: feature("st-storage"),
        lookback_ms: i64::try_from(lookback).unwrap_or(i64::MAX),
    };
    let mut translated = translate(&request, settings);
    if full > 0 {
        let text = "no room for the totals of further delta streams".to_owned();
        let points = i64::try_from(full).unwrap_or(i64::MAX);
        translated.faults.insert(text, points);
    }
    translated
}

async fn prometheus_path(State(app): State<AppState>, headers: HeaderMap, sent: Body) -> Response {
    let outcome = async {
        let tenant = tenant::of(&headers, &app.config).map_err(ExportError::from)?;
        let request = read(&app, &headers, sent).await?;
        whole(&app, &tenant, prepare(&app, &tenant, request)).await
    };
    let (status, text) = match outcome.await {
        Ok(None) => return StatusCode::OK.into_response(),
        Ok(Some((status, text))) => (status, text),
        Err(e) => (e.http_status(), e.to_string()),
    };
    let nosniff = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, nosniff, format!("{text}\n")).into_response()
}

/// Reads a request as Prometheus does: two content types, exactly so, and gzip.
async fn read(
    app: &App,
    headers: &HeaderMap,
    sent: Body,
) -> Result<ExportMetricsServiceRequest, ExportError> {
    let text = |name: HeaderName| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or("")
    };
    let is_json = match text(CONTENT_TYPE) {
        "application/json" => true,
        "application/x-protobuf" => false,
        other => {
            return Err(ExportError::Invalid(format!(
                "unsupported content type: {other}, supported: [application/json, application/x-protobuf]"
            )));
        }
    };
    let encoding = text(CONTENT_ENCODING);
    if !matches!(encoding, "" | "gzip") {
        return Err(ExportError::Invalid(format!(
            "unsupported compression: {encoding}. Only \"gzip\" or no compression supported"
        )));
    }
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    let sent = body::read(sent, limit).await?;
    let sent = body::inflate(headers, sent, limit)?;
    if is_json {
        json::decode_metrics(&sent).map_err(|e| ExportError::Invalid(e.to_string()))
    } else {
        ExportMetricsServiceRequest::decode(sent).map_err(|e| ExportError::Invalid(e.to_string()))
    }
}

/// Stores a request whole or not at all; the status and text where it is not. A sample that comes at the wrong time is the sender's
/// fault; for anything else Prometheus answers 500.
async fn whole(
    app: &App,
    tenant: &Tenant,
    translated: Translated,
) -> Result<Option<(StatusCode, String)>, ExportError> {
    let Translated {
        body,
        zeros,
        faults,
    } = translated;
    let is_good = faults.is_empty();
    if is_good {
        append_zeros(app, tenant, &zeros).await.map_err(refused)?;
    }
    let items = match append_whole(app, tenant, &body, is_good)
        .await
        .map_err(refused)?
    {
        Whole::Stored => return Ok(None),
        Whole::Refused(items) => items,
    };
    let status = if items.iter().any(|item| item.is_untimely) {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let mut reasons: Vec<String> = faults.into_keys().collect();
    for item in items.into_iter().take(MAX_REASONS) {
        // One line for each sample of a series would say nothing more.
        if !reasons.contains(&item.text) {
            reasons.push(item.text);
        }
    }
    Ok(Some((status, reasons.join("\n"))))
}
