//! Prometheus remote write, 1.0 and 2.0: `POST /api/v1/write` (and `/api/v1/push`).
//!
//! A 1.0 body goes into the log as it came. Whatever has to be changed first (2.0, scattered
//! labels, samples from the future) is written anew in the form of 1.0, so that the log holds
//! one form and a replay decides nothing.

use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use storage::RecordSink;
use storage::model::{MetricBatch, MetricReport, Record, RefuseReason, Tenant};

use super::record;
use crate::app::AppState;
use crate::body::{self, BodyError};
use crate::tenant;
use crate::wire::remote_write::{self, DecodeError, Form, Writer};
use crate::wire::remote_write2;

/// Samples further ahead of the clock are refused, as Prometheus does.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/write", post(write))
        .route("/api/v1/push", post(write))
}

/// Which version a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A write that failed, whole or in part.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// 415.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 400: the request, or some of it, is bad; the good part is stored.
    #[error("{0}")]
    Bad(String),
    /// The body's fault.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The tenant's fault.
    #[error(transparent)]
    Tenant(#[from] tenant::TenantError),
    /// Storage cannot take it now.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl IntoResponse for WriteError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Bad(_) | Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Tenant(tenant::TenantError::Missing) => StatusCode::UNAUTHORIZED,
            Self::Tenant(_) => StatusCode::BAD_REQUEST,
            Self::Storage(storage::Error::MemoryLimit { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Storage(storage::Error::BadInput(_)) => StatusCode::BAD_REQUEST,
            Self::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = (status, format!("{self}\n")).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(RETRY_AFTER, http::HeaderValue::from_static("5"));
        }
        response
    }
}

async fn write(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    let version = match version(&headers) {
        Ok(version) => version,
        Err(e) => return e.into_response(),
    };
    match write_body(&app, &headers, body, version).await {
        Err(e) => e.into_response(),
        Ok(outcome) => outcome.into_response(version),
    }
}

/// What was written, and the first thing that was not.
#[derive(Debug)]
struct Outcome {
    report: MetricReport,
    fault: Option<String>,
}

impl Outcome {
    fn into_response(self, version: Version) -> Response {
        let mut response = match self.fault {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(fault) => WriteError::Bad(fault).into_response(),
        };
        if version == Version::Two {
            for (name, n) in [
                (
                    "x-prometheus-remote-write-samples-written",
                    self.report.floats,
                ),
                (
                    "x-prometheus-remote-write-histograms-written",
                    self.report.histograms,
                ),
                (
                    "x-prometheus-remote-write-exemplars-written",
                    self.report.exemplars,
                ),
            ] {
                response.headers_mut().insert(name, n.into());
            }
        }
        response
    }
}

async fn write_body(
    app: &AppState,
    headers: &HeaderMap,
    body: Body,
    version: Version,
) -> Result<Outcome, WriteError> {
    let tenant = tenant::of(headers, &app.config)?;
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    let compressed = body::read(body, limit).await?;
    let inflated = body::snappy(&compressed, limit)?;
    match version {
        Version::One => {
            let report =
                append(app, &tenant, &inflated, Some(&compressed), Form::default()).await?;
            // Series with bad labels are left out in silence, as Prometheus does for 1.0.
            Ok(Outcome {
                fault: report.fault,
                report: report.report,
            })
        }
        Version::Two => {
            let rewritten =
                remote_write2::rewrite(&inflated).map_err(|e| WriteError::Bad(e.to_string()))?;
            let written = append_written(app, &tenant, &rewritten.body).await?;
            let bad = written.report.bad_series.first().map(|(_, e)| e.0.clone());
            let empty = rewritten.empty_series.first().map(|labels| {
                format!(
                    "TimeSeries must contain at least one sample or histogram for series {labels}"
                )
            });
            Ok(Outcome {
                fault: written.fault.or(bad).or(empty),
                report: written.report,
            })
        }
    }
}

/// What became of a request, and a text for the first refused sample.
#[derive(Debug)]
pub struct Written {
    /// The report of storage.
    pub report: MetricReport,
    /// The first refused sample in Prometheus's words.
    pub fault: Option<String>,
}

/// Appends a request that [`Writer`] made.
///
/// # Errors
/// `Bad` and `Storage`.
pub async fn append_written(
    app: &AppState,
    tenant: &Tenant,
    body: &[u8],
) -> Result<Written, WriteError> {
    append(app, tenant, body, None, Form { with_start: true }).await
}

async fn append(
    app: &AppState,
    tenant: &Tenant,
    inflated: &[u8],
    compressed: Option<&Bytes>,
    form: Form,
) -> Result<Written, WriteError> {
    let bad = |e: DecodeError| WriteError::Bad(e.to_string());
    let rewritten;
    let (batch, body, compressed) = match remote_write::decode(inflated, form) {
        Ok(batch) => (batch, inflated, compressed),
        Err(DecodeError::ScatteredLabels) => {
            rewritten =
                remote_write::rewrite(inflated).map_err(|e| WriteError::Bad(e.to_string()))?;
            (
                remote_write::decode(&rewritten, form).map_err(bad)?,
                &rewritten[..],
                None,
            )
        }
        Err(e) => return Err(bad(e)),
    };
    let received_ms = now_ms();
    let latest_ms = received_ms + MAX_AHEAD_MS;
    if has_later(&batch, latest_ms) {
        let (body, later) = without_later(&batch, latest_ms);
        let form = Form { with_start: true };
        let batch = remote_write::decode(&body, form).map_err(bad)?;
        let report = store(app, tenant, &batch, &compress(&body)?, form, received_ms).await?;
        let fault = Some(format!(
            "out of bounds: {later} samples lie more than 10 minutes ahead"
        ));
        return Ok(Written { report, fault });
    }
    let report = match compressed {
        Some(payload) => store(app, tenant, &batch, payload, form, received_ms).await?,
        None => store(app, tenant, &batch, &compress(body)?, form, received_ms).await?,
    };
    let fault = report.refused.first().map(|refused| {
        let labels = batch.series.get(refused.series).map(|s| s.key);
        fault_text(refused.reason, refused.t_ms, report.refused_count, labels)
    });
    Ok(Written { report, fault })
}

async fn store(
    app: &AppState,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    payload: &[u8],
    form: Form,
    received_ms: i64,
) -> Result<MetricReport, WriteError> {
    let flags = u32::from(form.with_start);
    let record = Record {
        kind: record::REMOTE_WRITE_1,
        flags,
        received_ms,
        payload,
    };
    let report = app.storage.append_metrics(tenant, batch, record).await?;
    app.telemetry
        .samples_taken(report.floats + report.histograms);
    Ok(report)
}

/// Turns a record of the log back into its batch.
///
/// # Errors
/// A text, where the bytes are not what was written.
pub fn replay(record: Record<'_>, sink: &mut dyn RecordSink) -> Result<(), String> {
    let form = Form {
        with_start: record.flags & 1 == 1,
    };
    let body = snap::raw::Decoder::new()
        .decompress_vec(record.payload)
        .map_err(|e| e.to_string())?;
    sink.metrics(&remote_write::decode(&body, form).map_err(|e| e.to_string())?);
    Ok(())
}

fn compress(body: &[u8]) -> Result<Vec<u8>, WriteError> {
    snap::raw::Encoder::new()
        .compress_vec(body)
        .map_err(|e| WriteError::Bad(e.to_string()))
}

fn has_later(batch: &MetricBatch<'_>, latest_ms: i64) -> bool {
    batch.t_ms.iter().any(|t| *t > latest_ms)
        || batch.histograms.iter().any(|(t, ..)| *t > latest_ms)
}

/// The request without the samples after `latest_ms`, and how many those are.
fn without_later(batch: &MetricBatch<'_>, latest_ms: i64) -> (Vec<u8>, usize) {
    let mut writer = Writer::default();
    let mut pairs = Vec::new();
    let mut later = 0;
    for metadata in &batch.metadata {
        writer.metadata(metadata);
    }
    for series in &batch.series {
        if (batch.decode_labels)(series.key, &mut pairs).is_err() {
            continue;
        }
        writer.series(pairs.iter().copied());
        for i in series.floats.clone() {
            let start_ms = batch
                .start_ms
                .get(i)
                .copied()
                .unwrap_or(storage::model::NO_START_MS);
            if batch.t_ms[i] <= latest_ms {
                writer.float(batch.t_ms[i], batch.values[i], start_ms);
            } else {
                later += 1;
            }
        }
        for (t_ms, start_ms, histogram) in &batch.histograms[series.histograms.clone()] {
            if *t_ms <= latest_ms {
                writer.histogram(*t_ms, histogram, *start_ms);
            } else {
                later += 1;
            }
        }
        for e in &batch.exemplars[series.exemplars.clone()] {
            writer.exemplar(e.labels.iter(), e.value, e.t_ms);
        }
    }
    (writer.finish(), later)
}

fn fault_text(reason: RefuseReason, t_ms: i64, count: usize, key: Option<&[u8]>) -> String {
    let mut pairs = Vec::new();
    let labels = match key.map(|k| remote_write::decode_labels(k, &mut pairs)) {
        Some(Ok(())) => storage::model::Labels::from_sorted(pairs).to_string(),
        _ => String::new(),
    };
    let what = match reason {
        RefuseReason::OutOfOrder => "out of order sample",
        RefuseReason::TooOld => "too old sample",
        RefuseReason::DuplicateTimestamp => "duplicate sample for timestamp",
        RefuseReason::OutOfBounds => "out of bounds",
        RefuseReason::BadHistogram => "invalid native histogram",
    };
    format!(
        "{what}: series {labels}, timestamp {t_ms}; {count} samples of the request were refused"
    )
}

fn version(headers: &HeaderMap) -> Result<Version, WriteError> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    };
    let refuse = |text: String| Err(WriteError::UnsupportedMediaType(text));
    let content_type = text(CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return refuse(format!(
            "expected application/x-protobuf as the first (media) part, got {content_type} content-type"
        ));
    }
    let mut version = Version::One;
    for part in parts {
        if let Some(proto) = part.strip_prefix("proto=") {
            version = match proto {
                "prometheus.WriteRequest" => Version::One,
                "io.prometheus.write.v2.Request" => Version::Two,
                _ => {
                    return refuse(format!(
                        "got {content_type} content type; unknown type for remote write protobuf message {proto}"
                    ));
                }
            };
        }
    }
    match text(CONTENT_ENCODING) {
        "" | "snappy" => Ok(version),
        other => refuse(format!(
            "{other} encoding (compression) is not accepted by this server; only snappy is acceptable"
        )),
    }
}

/// The wall clock, milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &str, encoding: &str) -> Result<Version, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        version(&headers).map_err(|e| e.into_response().status().as_u16())
    }

    #[test]
    fn the_content_type_decides_the_version() {
        assert_eq!(check("application/x-protobuf", "snappy"), Ok(Version::One));
        assert_eq!(check("", ""), Ok(Version::One));
        assert_eq!(
            check("application/x-protobuf; charset=utf-8", "snappy"),
            Ok(Version::One)
        );
        let two = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        assert_eq!(check(two, "snappy"), Ok(Version::Two));
        assert_eq!(
            check("application/x-protobuf;proto=nope", "snappy"),
            Err(415)
        );
        assert_eq!(check("application/json", "snappy"), Err(415));
        assert_eq!(check("application/x-protobuf", "gzip"), Err(415));
    }

    #[test]
    fn samples_from_the_future_are_left_out_and_counted() {
        let mut writer = Writer::default();
        writer.series([("__name__", "x")]);
        writer.float(1, 1.0, storage::model::NO_START_MS);
        writer.float(1_000_000, 2.0, storage::model::NO_START_MS);
        let body = writer.finish();
        let batch = remote_write::decode(&body, Form::default()).unwrap();
        let (body, later) = without_later(&batch, 1000);
        assert_eq!(later, 1);
        assert_eq!(
            remote_write::decode(&body, Form::default()).unwrap().t_ms,
            [1]
        );
    }
}
