//! Prometheus remote write, 1.0 and 2.0: `POST /api/v1/write` (and `/api/v1/push`).
//!
//! ```text
//!  headers ─▶ negotiate ─▶ inflate ─▶ 1.0: decode            ─▶ check ─▶ storage.append_metrics (as received)
//!                                     2.0: v2, series by series ─▶ check ─▶ storage.append_metrics (in the form of 1.0)
//! ```
//! A 1.0 body goes into the log as it came. Whatever has to be changed first (2.0, scattered labels, samples that are left out) is
//! written anew in the form of 1.0, so that the log holds one form and a replay decides nothing.
//!
//! A 1.0 request with a bad sample is refused whole, as Prometheus does; of a 2.0 request the good part is kept.

mod check;
mod negotiate;
pub(crate) mod v2;

use std::borrow::Cow;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderMap, StatusCode};
use storage::model::{MetricBatch, MetricReport, Record, RefuseReason, Tenant};
use storage::{RecordSink, RequestMemory};

pub(crate) use self::check::ItemFault;
use self::check::MAX_AHEAD_MS;
use self::negotiate::Version;
use super::{record, with_retry_after};
use crate::app::{App, AppState};
use crate::body::{self, BodyError};
use crate::tenant;
use crate::wire::remote_write::{self, DecodeError, Form};

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/write", post(write))
        .route("/api/v1/push", post(write))
}

/// A write that failed, whole or in part.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// 415.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// 400: the request, or some of it, is bad.
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
        let nosniff = [(X_CONTENT_TYPE_OPTIONS, "nosniff")];
        with_retry_after((status, nosniff, format!("{self}\n")).into_response())
    }
}

impl From<DecodeError> for WriteError {
    fn from(e: DecodeError) -> Self {
        Self::Bad(e.to_string())
    }
}

async fn write(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    let accepted = match accept(&app, &headers, body).await {
        Ok(accepted) => accepted,
        Err(e) => return e.into_response(),
    };
    match accepted.version {
        Version::One => match write_one(&app, &accepted).await {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(e) => e.into_response(),
        },
        Version::Two => {
            let (report, fault) = match write_two(&app, &accepted).await {
                Ok((report, fault)) => (report, fault.map(WriteError::Bad)),
                Err(e) => (MetricReport::default(), Some(e)),
            };
            let mut response = match fault {
                None => StatusCode::NO_CONTENT.into_response(),
                Some(e) => e.into_response(),
            };
            for (name, n) in [
                ("x-prometheus-remote-write-samples-written", report.floats),
                (
                    "x-prometheus-remote-write-histograms-written",
                    report.histograms,
                ),
                (
                    "x-prometheus-remote-write-exemplars-written",
                    report.exemplars,
                ),
            ] {
                response.headers_mut().insert(name, n.into());
            }
            response
        }
    }
}

/// A request that passed the checks of the transport.
struct Accepted {
    version: Version,
    tenant: Tenant,
    compressed: Bytes,
    inflated: Bytes,
    _memory: RequestMemory,
}

/// The order of the checks is Prometheus's: coding, body, content type.
async fn accept(app: &App, headers: &HeaderMap, body: Body) -> Result<Accepted, WriteError> {
    let tenant = tenant::of(headers, &app.config)?;
    negotiate::check_encoding(headers).map_err(WriteError::UnsupportedMediaType)?;
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    // What cannot be held is not even read.
    drop(app.storage.hold_request(body::announced(headers))?);
    let compressed = body::read(body, limit).await?;
    if compressed.is_empty() {
        return Err(WriteError::Bad("snappy: corrupt input".to_owned()));
    }
    let memory = app.storage.hold_request(body::needed(&compressed, limit))?;
    let inflated = match body::snappy(&compressed, limit) {
        // As sent it was small enough, so Prometheus calls it a bad request.
        Err(BodyError::TooLarge { limit_bytes }) => {
            let text = format!("decoded size exceeds the {limit_bytes} bytes limit");
            return Err(WriteError::Bad(text));
        }
        inflated => inflated?,
    };
    let version = negotiate::version(headers).map_err(WriteError::UnsupportedMediaType)?;
    Ok(Accepted {
        version,
        tenant,
        compressed,
        inflated,
        _memory: memory,
    })
}

/// Writes a 1.0 request, or nothing of it. Series with bad labels are left out in silence.
async fn write_one(app: &App, accepted: &Accepted) -> Result<(), WriteError> {
    let (body, form) = (&accepted.inflated[..], Form::default());
    let gathered;
    let (batch, payload) = match remote_write::decode(body, form) {
        Ok(batch) => (batch, Cow::Borrowed(&accepted.compressed[..])),
        Err(DecodeError::ScatteredLabels) => {
            gathered = remote_write::rewrite(body).map_err(DecodeError::from)?;
            let payload = compress(&gathered)?;
            (remote_write::decode(&gathered, form)?, Cow::Owned(payload))
        }
        Err(e) => return Err(e.into()),
    };
    match store_whole(app, &accepted.tenant, &batch, &payload, form, true).await? {
        Whole::Stored => Ok(()),
        Whole::Refused(faults) => {
            let first = faults.into_iter().next();
            Err(WriteError::Bad(first.map_or_else(String::new, |f| f.text)))
        }
    }
}

/// Writes the good part of a 2.0 request; what is not good is named, one line each.
async fn write_two(
    app: &App,
    accepted: &Accepted,
) -> Result<(MetricReport, Option<String>), WriteError> {
    let features = v2::Features {
        type_and_unit_labels: app.config.feature("type-and-unit-labels"),
        zero_samples: app.config.feature("created-timestamp-zero-ingestion"),
    };
    let translated = v2::translate(&accepted.inflated, features).map_err(DecodeError::from)?;
    append_zeros(app, &accepted.tenant, &translated.zeros).await?;
    let written = append_written(app, &accepted.tenant, &translated.body).await?;
    let mut faults = translated.faults;
    let refused: Vec<(usize, String)> = written
        .faults
        .into_iter()
        .filter_map(|f| Some((*translated.origin.get(f.series)?, f.text)))
        .collect();
    if !refused.is_empty() {
        let places: Vec<usize> = refused.iter().map(|(n, _)| *n).collect();
        let labels = v2::labels_of(&accepted.inflated, &places, features);
        for (n, text) in refused {
            let found = labels.iter().find(|(at, _)| *at == n);
            let labels = found.map_or("{}", |(_, labels)| labels);
            faults.push((n, format!("{text} for series {labels}")));
        }
    }
    faults.sort_by_key(|(n, _)| *n);
    let lines: Vec<String> = faults.into_iter().map(|(_, text)| text).collect();
    Ok((
        written.report,
        (!lines.is_empty()).then(|| lines.join("\n")),
    ))
}

/// Writes zeros at start timestamps. One that is there already, or comes late, is nobody's fault.
///
/// # Errors
/// As [`append_written`].
pub(crate) async fn append_zeros(
    app: &App,
    tenant: &Tenant,
    body: &[u8],
) -> Result<(), WriteError> {
    if !body.is_empty() {
        append_written(app, tenant, body).await?;
    }
    Ok(())
}

/// What became of a request that is stored whole or not at all.
#[derive(Debug)]
pub(crate) enum Whole {
    /// It is stored.
    Stored,
    /// It is not; at least one reason, in the order of the series.
    Refused(Vec<ItemFault>),
}

/// Appends a request that [`remote_write::Writer`] made, whole or not at all. Where `is_good` is false it is looked at only.
///
/// # Errors
/// `Bad` and `Storage`.
pub(crate) async fn append_whole(
    app: &App,
    tenant: &Tenant,
    body: &[u8],
    is_good: bool,
) -> Result<Whole, WriteError> {
    let form = Form { with_start: true };
    let batch = remote_write::decode(body, form)?;
    store_whole(app, tenant, &batch, &compress(body)?, form, is_good).await
}

async fn store_whole(
    app: &App,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    payload: &[u8],
    form: Form,
    is_good: bool,
) -> Result<Whole, WriteError> {
    let latest_ms = now_ms().saturating_add(MAX_AHEAD_MS);
    let mut found = check::inspect(batch, latest_ms);
    // Series with bad labels are left out in silence, whatever they hold.
    found.faults.retain(|f| has_labels(batch, f.series));
    if !found.faults.is_empty() || !is_good {
        return Ok(Whole::Refused(found.faults));
    }
    let report = if found.rewrite {
        store_anew(app, tenant, batch, latest_ms, Taking::Whole).await?
    } else {
        store(app, tenant, batch, payload, form, Taking::Whole).await?
    };
    // A request that contradicts itself is taken without what came second, and without a word, as Prometheus does.
    if report.refused_whole {
        return Ok(Whole::Refused(faults_of(&report).collect()));
    }
    Ok(Whole::Stored)
}

/// What became of a request that [`remote_write::Writer`] made.
#[derive(Debug)]
pub struct Written {
    /// The report of storage.
    pub report: MetricReport,
    /// The first refused sample in Prometheus's words.
    pub fault: Option<String>,
    /// Refused samples, those of the door first; storage names the first hundred.
    pub(crate) faults: Vec<ItemFault>,
    /// Number of refused samples.
    pub(crate) refused: usize,
}

/// Appends a request that [`remote_write::Writer`] made. What is refused leaves the rest alone.
///
/// # Errors
/// `Bad` and `Storage`.
pub async fn append_written(
    app: &App,
    tenant: &Tenant,
    body: &[u8],
) -> Result<Written, WriteError> {
    let form = Form { with_start: true };
    let batch = remote_write::decode(body, form)?;
    let latest_ms = now_ms().saturating_add(MAX_AHEAD_MS);
    let found = check::inspect(&batch, latest_ms);
    let report = if found.rewrite {
        store_anew(app, tenant, &batch, latest_ms, Taking::TheGood).await?
    } else {
        store(app, tenant, &batch, &compress(body)?, form, Taking::TheGood).await?
    };
    let mut faults = found.faults;
    let refused = faults.len() + report.refused_count;
    faults.extend(faults_of(&report));
    Ok(Written {
        fault: faults.first().map(|f| f.text.clone()),
        report,
        faults,
        refused,
    })
}

/// Appends what may only be newer than all that its series have: the markers that end the series of a target or rule which
/// went away. Where somebody wrote on meanwhile, they are refused.
///
/// # Errors
/// As [`append_written`].
pub async fn append_in_order(
    app: &AppState,
    tenant: &Tenant,
    body: &[u8],
) -> Result<MetricReport, WriteError> {
    let form = Form { with_start: true };
    let batch = remote_write::decode(body, form)?;
    let payload = compress(body)?;
    let record = record(&payload, form, now_ms());
    let storage = &app.storage;
    Ok(storage
        .append_metrics_in_order(tenant, &batch, record)
        .await?)
}

/// What is taken of a batch of which storage refuses a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    /// All but that sample.
    TheGood,
    /// Nothing.
    Whole,
}

/// Stores what of a batch passes the door.
async fn store_anew(
    app: &App,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    latest_ms: i64,
    taking: Taking,
) -> Result<MetricReport, WriteError> {
    let body = check::rewrite(batch, latest_ms);
    let form = Form { with_start: true };
    let batch = remote_write::decode(&body, form)?;
    store(app, tenant, &batch, &compress(&body)?, form, taking).await
}

async fn store(
    app: &App,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    payload: &[u8],
    form: Form,
    taking: Taking,
) -> Result<MetricReport, WriteError> {
    let (storage, record) = (&app.storage, record(payload, form, now_ms()));
    let report = match taking {
        Taking::TheGood => storage.append_metrics(tenant, batch, record).await?,
        Taking::Whole => storage.append_metrics_whole(tenant, batch, record).await?,
    };
    app.telemetry
        .samples_taken(report.floats + report.histograms);
    Ok(report)
}

fn record(payload: &[u8], form: Form, received_ms: i64) -> Record<'_> {
    Record {
        kind: record::REMOTE_WRITE_1,
        flags: u32::from(form.with_start),
        received_ms,
        payload,
    }
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

/// What storage refused, at most the first hundred.
fn faults_of(report: &MetricReport) -> impl Iterator<Item = ItemFault> {
    report.refused.iter().map(|refused| ItemFault {
        series: refused.series,
        text: reason_text(refused.reason).to_owned(),
        is_untimely: refused.reason != RefuseReason::BadHistogram,
    })
}

/// Whether the labels of a series can be stored.
fn has_labels(batch: &MetricBatch<'_>, series: usize) -> bool {
    let key = batch.series.get(series).map(|s| s.key);
    key.is_some_and(|key| (batch.decode_labels)(key, &mut Vec::new()).is_ok())
}

/// Prometheus's words for what storage refuses.
const fn reason_text(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::OutOfOrder => "out of order sample",
        RefuseReason::TooOld => "too old sample",
        RefuseReason::DuplicateTimestamp => "duplicate sample for timestamp",
        RefuseReason::OutOfBounds => "out of bounds",
        RefuseReason::BadHistogram => "invalid native histogram",
    }
}

/// The wall clock, milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use storage::model::{MsRange, NO_START_MS, SampleBuf};
    use storage::read::SeriesSelect;

    use super::*;
    use crate::app::testing;
    use crate::wire::remote_write::Writer;

    const T_MS: i64 = 1_700_000_000_000;

    /// Sends samples of series named so, as 1.0.
    async fn send(app: &AppState, samples: &[(&str, i64, f64)]) -> (u16, String) {
        let mut writer = Writer::default();
        for (name, t_ms, value) in samples {
            writer.series([("__name__", *name)]);
            writer.float(*t_ms, *value, NO_START_MS);
        }
        let body = compress(&writer.finish()).unwrap();
        let request = Request::post("/api/v1/write")
            .header("content-encoding", "snappy")
            .header("content-type", "application/x-protobuf")
            .body(Body::from(body))
            .unwrap();
        let (status, text) = testing::read(testing::call(app, router(), request).await).await;
        (status.as_u16(), String::from_utf8(text.to_vec()).unwrap())
    }

    /// What is stored, as text.
    async fn stored(app: &AppState) -> Vec<String> {
        let all = SeriesSelect {
            matchers: Vec::new(),
            range: MsRange::ALL,
        };
        let tenant = Tenant::anonymous();
        let mut set = app.storage.select_series(&tenant, &all).await.unwrap();
        let (mut out, mut samples) = (Vec::new(), SampleBuf::default());
        while let Some(batch) = set.next_batch().await.unwrap() {
            for series in batch {
                series.samples(&mut samples).unwrap();
                let name = series.labels().metric_name().unwrap_or("");
                out.push(format!("{name}={:?}", samples.values));
            }
        }
        out.sort();
        out
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_that_contradicts_what_is_stored_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::open(
            folder.path(),
            &["--storage.min-free=0", "--storage.out-of-order-window=0"],
        )
        .await;
        assert_eq!(send(&app, &[("a", T_MS, 1.0)]).await.0, 204);
        let late = [("b", T_MS, 1.0), ("a", T_MS - 1, 2.0)];
        let refused = send(&app, &late).await;
        assert_eq!(refused, (400, "out of order sample\n".to_owned()));
        let twice = [("b", T_MS, 1.0), ("a", T_MS, 2.0)];
        let refused = send(&app, &twice).await;
        assert_eq!(
            refused,
            (400, "duplicate sample for timestamp\n".to_owned())
        );
        assert_eq!(stored(&app).await, ["a=[1.0]"]);
        app.storage.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_that_contradicts_itself_is_taken_without_what_came_second() {
        let folder = tempfile::tempdir().unwrap();
        let app = testing::open(folder.path(), &["--storage.min-free=0"]).await;
        let samples = [("a", T_MS, 1.0), ("a", T_MS, 2.0), ("b", T_MS, 3.0)];
        assert_eq!(send(&app, &samples).await.0, 204);
        assert_eq!(stored(&app).await, ["a=[1.0]", "b=[3.0]"]);
        app.storage.close().await.unwrap();
    }
}
