//! Loki's push API: `POST /loki/api/v1/push` and `/api/prom/push`, protobuf and JSON, and `/otlp/v1/logs`.
//!
//! Every form becomes the protobuf one, which is what the log keeps; network and replay decode it with [`decode`].
//! Lines that a limit refuses are taken out before the record is written, so that a replay decides nothing.

pub(crate) mod json;
mod labels;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use logql::{detect_level, discover_service_name, quote};
use storage::RecordSink;
use storage::model::{BatchEntry, BatchStream, Labels, LogBatch, LogReport, Record, Tenant};

use super::remote_write::now_ms;
use super::{record, with_retry_after};
use crate::app::AppState;
use crate::body::{self, BodyError};
use crate::tenant::{self, TenantError};
use crate::wire::loki_push::{self as wire, Writer};
use crate::wire::protobuf::WireError;

/// Loki's default limits.
const MAX_LABEL_NAMES: usize = 15;
const MAX_NAME_BYTES: usize = 1024;
const MAX_VALUE_BYTES: usize = 2048;
const MAX_LINE_BYTES: usize = 256 * 1024;
const MAX_METADATA: usize = 128;
const MAX_METADATA_BYTES: usize = 64 * 1024;
const MAX_AHEAD_NS: i64 = 10 * 60 * 1_000_000_000;
/// Lines that the answer to a late push names.
const MAX_NAMED: usize = 10;
/// Label texts that a thread remembers.
const MAX_KNOWN: usize = 8192;

/// Routes of this door.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/api/prom/push", post(push_old))
        .route("/otlp/v1/logs", post(super::otlp_logs::push))
}

/// A push that is answered with an error: status and Loki's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PushError {
    /// Status of the answer.
    pub status: StatusCode,
    /// What is wrong.
    pub text: String,
}

impl PushError {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

impl From<WireError> for PushError {
    fn from(e: WireError) -> Self {
        match e {
            WireError::IllegalTag(tag) if !matches!(tag & 7, 0 | 1 | 2 | 5) => {
                Self::bad(format!("proto: illegal wireType {}", tag & 7))
            }
            WireError::Truncated => Self::bad("unexpected EOF"),
            e => Self::bad(format!("proto: {e}")),
        }
    }
}

impl From<BodyError> for PushError {
    fn from(e: BodyError) -> Self {
        match e {
            BodyError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, e.to_string()),
            BodyError::Corrupt {
                encoding: "snappy", ..
            } => Self::bad("snappy: corrupt input"),
            BodyError::UnsupportedEncoding(name) => {
                Self::bad(format!("Content-Encoding {} not supported", quote(&name)))
            }
            e => Self::bad(e.to_string()),
        }
    }
}

impl From<TenantError> for PushError {
    fn from(e: TenantError) -> Self {
        match e {
            TenantError::Missing => Self::new(StatusCode::UNAUTHORIZED, e.to_string()),
            TenantError::Bad(text) => Self::bad(text),
        }
    }
}

impl From<storage::Error> for PushError {
    fn from(e: storage::Error) -> Self {
        let status = match &e {
            storage::Error::BadInput(_) => StatusCode::BAD_REQUEST,
            storage::Error::MemoryLimit { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, e.to_string())
    }
}

impl IntoResponse for PushError {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        with_retry_after((self.status, headers, format!("{}\n", self.text)).into_response())
    }
}

async fn push(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    answer(take(&app, &headers, body, false).await)
}

async fn push_old(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    answer(take(&app, &headers, body, true).await)
}

fn answer(result: Result<(), PushError>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(e) => e.into_response(),
    }
}

async fn take(
    app: &AppState,
    headers: &HeaderMap,
    body: Body,
    old_shape: bool,
) -> Result<(), PushError> {
    let tenant = tenant::of(headers, &app.config)?;
    let is_json = is_json(headers)?;
    let limit = usize::try_from(app.config.max_body_bytes).unwrap_or(usize::MAX);
    drop(app.storage.hold_request(body::announced(headers))?);
    let sent = body::read(body, limit).await?;
    if !is_json {
        let _memory = app.storage.hold_request(body::needed(&sent, limit))?;
        let inflated = body::snappy(&sent, limit)?;
        return store(app, &tenant, &inflated, Some(&sent)).await?.answer();
    }
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map_or(&b""[..], |v| v.as_bytes());
    let text = if encoding == b"snappy" {
        sent
    } else {
        inflate(headers, sent, limit)?
    };
    let request = json::to_protobuf(&text, old_shape)?;
    store(app, &tenant, &request, None).await?.answer()
}

fn inflate(headers: &HeaderMap, sent: Bytes, limit: usize) -> Result<Bytes, PushError> {
    let is_short = sent.len() < 10;
    body::inflate(headers, sent, limit).map_err(|e| match e {
        BodyError::Corrupt {
            encoding: "gzip", ..
        } if is_short => PushError::bad("unexpected EOF"),
        BodyError::Corrupt {
            encoding: "gzip", ..
        } => PushError::bad("gzip: invalid header"),
        e => e.into(),
    })
}

/// Whether the body is JSON; everything else is protobuf.
fn is_json(headers: &HeaderMap) -> Result<bool, PushError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(false);
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let media = value.split(';').next().unwrap_or_default().trim();
    let token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
    let rest = media.trim_start_matches(token);
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(PushError::bad("mime: expected slash after first token"));
    }
    Ok(media.eq_ignore_ascii_case("application/json"))
}

/// What became of the entries of a push.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// How many there were.
    pub(super) entries: usize,
    /// How many were refused; the others are stored.
    pub(super) refused: usize,
    /// What is wrong with the refused ones.
    pub(super) text: String,
    /// Whether Loki's answer tells it: of late entries only those of the last stream show there.
    is_told: bool,
}

impl Outcome {
    /// What Loki's doors answer.
    pub(super) fn answer(self) -> Result<(), PushError> {
        if self.is_told {
            return Err(PushError::bad(self.text));
        }
        Ok(())
    }
}

/// Takes a push request: checks limits, writes, and words what was refused. `sent` is the snappy block it came in.
///
/// # Errors
/// Nothing was taken.
pub(super) async fn store(
    app: &AppState,
    tenant: &Tenant,
    request: &[u8],
    sent: Option<&[u8]>,
) -> Result<Outcome, PushError> {
    let batch = decode(request)?;
    if batch.streams.is_empty() {
        return Err(PushError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "error at least one valid stream is required for ingestion",
        ));
    }
    let received_ms = now_ms();
    let mut faults = faults(&batch, received_ms.saturating_mul(1_000_000));
    let entries = batch.entries.len();
    if faults.refused.is_empty() {
        let report = append(app, tenant, &batch, request, sent, received_ms).await?;
        return Ok(outcome(entries, faults, &late(&batch, &report, tenant)));
    }
    let request = without(&batch, &faults.refused);
    let kept = decode(&request)?;
    let report = append(app, tenant, &kept, &request, None, received_ms).await?;
    let late = late(&kept, &report, tenant);
    // Beside other faults, late entries of any stream but the last are not worth a word either.
    faults
        .texts
        .extend(late.text.clone().filter(|_| late.is_last));
    Ok(outcome(entries, faults, &late))
}

fn outcome(entries: usize, faults: Faults, late: &Late) -> Outcome {
    let text = match &faults.texts[..] {
        [] => late.text.clone().unwrap_or_default(),
        [one] => one.clone(),
        many => format!("{} errors: {}", many.len(), many.join("; ")),
    };
    Outcome {
        entries,
        refused: faults.refused.len() + late.count,
        is_told: !faults.refused.is_empty() || late.is_last,
        text,
    }
}

async fn append(
    app: &AppState,
    tenant: &Tenant,
    batch: &LogBatch<'_>,
    request: &[u8],
    sent: Option<&[u8]>,
    received_ms: i64,
) -> Result<LogReport, PushError> {
    if batch.entries.is_empty() {
        return Ok(LogReport::default());
    }
    let compressed;
    let payload = match sent {
        Some(sent) => sent,
        None => {
            compressed = snap::raw::Encoder::new()
                .compress_vec(request)
                .map_err(|e| PushError::bad(e.to_string()))?;
            &compressed[..]
        }
    };
    let record = Record {
        kind: record::LOKI_PUSH,
        flags: 0,
        received_ms,
        payload,
    };
    let report = app.storage.append_logs(tenant, batch, record).await?;
    let lines = &app.telemetry.lines_in;
    lines.fetch_add(report.entries as u64, std::sync::atomic::Ordering::Relaxed);
    let bytes: usize = batch.entries.iter().map(|e| e.line.len()).sum();
    let counted = &app.telemetry.line_bytes_in;
    counted.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
    Ok(report)
}

/// Turns a record of the log back into its batch.
///
/// # Errors
/// A text, where the bytes are not what was written.
pub fn replay(record: Record<'_>, sink: &mut dyn RecordSink) -> Result<(), String> {
    let request = snap::raw::Decoder::new()
        .decompress_vec(record.payload)
        .map_err(|e| e.to_string())?;
    sink.logs(&decode(&request).map_err(|e| e.to_string())?);
    Ok(())
}

thread_local! {
    /// Label texts met before. Senders repeat a few of them for ever.
    static KNOWN: RefCell<HashMap<Box<[u8]>, Arc<Labels>>> = RefCell::new(HashMap::new());
}

/// The stored labels of a label text, `service_name` included.
fn stored_labels(text: &[u8]) -> Result<Arc<Labels>, PushError> {
    KNOWN.with_borrow_mut(|known| {
        if let Some(labels) = known.get(text) {
            return Ok(Arc::clone(labels));
        }
        let mut labels = labels::parse(&String::from_utf8_lossy(text))?;
        if let Some(service) = discover_service_name(&labels) {
            let mut builder = labels.to_builder();
            builder.set("service_name", service);
            labels = builder.finish();
        }
        let labels = Arc::new(labels);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(text.into(), Arc::clone(&labels));
        Ok(labels)
    })
}

/// Decodes a push request as it is stored: with `service_name`, `detected_level` and clean metadata names.
///
/// # Errors
/// What makes the whole push fail: bytes that are no message, labels that are none.
pub fn decode(request: &[u8]) -> Result<LogBatch<'_>, PushError> {
    let mut batch = LogBatch::default();
    let mut pairs = Vec::new();
    wire::for_each_stream(request, |stream| {
        let labels = stored_labels(wire::labels(stream)?)?;
        let start = batch.entries.len();
        wire::for_each_entry(stream, &mut pairs, |entry, pairs| {
            let line = String::from_utf8_lossy(entry.line);
            let first = batch.metadata.len();
            for &(name, value) in pairs {
                let value = String::from_utf8_lossy(value);
                if !value.is_empty() {
                    let name = metadata_name(String::from_utf8_lossy(name))?;
                    batch.metadata.push((name, value));
                }
            }
            let own = &batch.metadata[first..];
            if !own.iter().any(|(name, _)| name == "detected_level") {
                let level = level_of(&labels, own, &line);
                batch
                    .metadata
                    .push((Cow::Borrowed("detected_level"), level));
            }
            batch.entries.push(BatchEntry {
                t_ns: entry.t_ns,
                line,
                metadata: first..batch.metadata.len(),
            });
            Ok::<(), PushError>(())
        })?;
        batch.streams.push(BatchStream {
            labels: labels.as_ref().clone(),
            entries: start..batch.entries.len(),
        });
        Ok::<(), PushError>(())
    })?;
    Ok(batch)
}

fn level_of(
    labels: &Labels,
    metadata: &[(Cow<'_, str>, Cow<'_, str>)],
    line: &str,
) -> Cow<'static, str> {
    let pairs = metadata.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
    let level = detect_level(labels, pairs, line);
    for known in [
        "unknown", "info", "error", "warn", "debug", "trace", "critical", "fatal",
    ] {
        if level == known {
            return Cow::Borrowed(known);
        }
    }
    Cow::Owned(level)
}

/// A name of structured metadata as it is stored.
fn metadata_name(name: Cow<'_, str>) -> Result<Cow<'_, str>, PushError> {
    let bytes = name.as_bytes();
    let is_clean = bytes
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.first().is_some_and(|b| !b.is_ascii_digit())
        && bytes.iter().any(|b| *b != b'_');
    if is_clean {
        return Ok(name);
    }
    let mut clean = String::with_capacity(name.len() + 4);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        clean.push_str("key_");
    }
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            clean.push(c);
        } else if !clean.ends_with('_') {
            clean.push('_');
        }
    }
    if clean.bytes().all(|b| b == b'_') {
        return Err(PushError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "normalization for label name {} resulted in invalid name {}",
                quote(&name),
                quote(&clean)
            ),
        ));
    }
    Ok(Cow::Owned(clean))
}

/// Labels as text, for a request that is written here.
pub(super) fn print_labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    labels::print_pairs(pairs)
}

/// What the limits refuse.
#[derive(Debug, Default)]
struct Faults {
    /// Positions of refused entries, ascending.
    refused: Vec<usize>,
    /// A text for each kind of fault in each stream.
    texts: Vec<String>,
}

fn faults(batch: &LogBatch<'_>, now_ns: i64) -> Faults {
    let mut faults = Faults::default();
    for stream in &batch.streams {
        if stream.entries.is_empty() {
            continue;
        }
        if let Some(text) = label_fault(&stream.labels) {
            faults.texts.push(text);
            faults.refused.extend(stream.entries.clone());
            continue;
        }
        for i in stream.entries.clone() {
            let Some(entry) = batch.entries.get(i) else {
                continue;
            };
            if let Some(text) = entry_fault(&stream.labels, batch, entry, now_ns) {
                if faults.texts.last() != Some(&text) && faults.texts.len() < 100 {
                    faults.texts.push(text);
                }
                faults.refused.push(i);
            }
        }
    }
    faults
}

fn label_fault(labels: &Labels) -> Option<String> {
    let names = labels.iter().filter(|(n, _)| *n != "service_name").count();
    if names > MAX_LABEL_NAMES {
        return Some(format!(
            "entry for stream '{}' has {names} label names; limit {MAX_LABEL_NAMES}",
            labels::print(labels)
        ));
    }
    for (name, value) in labels {
        if name.len() > MAX_NAME_BYTES {
            let stream = labels::print(labels);
            return Some(format!(
                "stream '{stream}' has label name too long: '{name}'"
            ));
        }
        if value.len() > MAX_VALUE_BYTES {
            let stream = labels::print(labels);
            return Some(format!(
                "stream '{stream}' has label value too long: '{value}'"
            ));
        }
    }
    None
}

fn entry_fault(
    labels: &Labels,
    batch: &LogBatch<'_>,
    entry: &BatchEntry<'_>,
    now_ns: i64,
) -> Option<String> {
    if entry.t_ns > now_ns.saturating_add(MAX_AHEAD_NS) {
        return Some(format!(
            "entry for stream '{}' has timestamp too new: {}",
            labels::print(labels),
            DateTime::<Utc>::from_timestamp_nanos(entry.t_ns)
                .to_rfc3339_opts(SecondsFormat::Secs, true)
        ));
    }
    if entry.line.len() > MAX_LINE_BYTES {
        return Some(format!(
            "max entry size '{MAX_LINE_BYTES}' bytes exceeded for stream '{}' while adding an entry with length '{}' bytes",
            labels::print(labels),
            entry.line.len()
        ));
    }
    let metadata = batch.metadata.get(entry.metadata.clone())?;
    // What the door itself has added does not count.
    let own = metadata.iter().filter(|(n, _)| n != "detected_level");
    let (count, bytes) = own.fold((0, 0), |(count, bytes), (n, v)| {
        (count + 1, bytes + n.len() + v.len())
    });
    if bytes > MAX_METADATA_BYTES {
        return Some(format!(
            "stream '{}' has structured metadata too large: '{bytes}' bytes, limit: '{MAX_METADATA_BYTES}' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it",
            labels::print(labels)
        ));
    }
    if count > MAX_METADATA {
        return Some(format!(
            "stream '{}' has too many structured metadata labels: '{count}', limit: '{MAX_METADATA}'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it",
            labels::print(labels)
        ));
    }
    None
}

/// The request anew, without the refused entries.
fn without(batch: &LogBatch<'_>, refused: &[usize]) -> Vec<u8> {
    let mut writer = Writer::default();
    for stream in &batch.streams {
        writer.stream(&labels::print(&stream.labels));
        for i in stream.entries.clone() {
            let Some(entry) = batch.entries.get(i) else {
                continue;
            };
            if refused.binary_search(&i).is_err() {
                let pairs = batch.metadata.get(entry.metadata.clone());
                let pairs = pairs.unwrap_or_default().iter();
                writer.entry(
                    entry.t_ns,
                    &entry.line,
                    pairs.map(|(n, v)| (n.as_ref(), v.as_ref())),
                );
            }
        }
    }
    writer.finish()
}

/// Entries that came too late.
#[derive(Debug, Default)]
struct Late {
    count: usize,
    /// Loki's words for those of one stream: the last of the push, or else the first that has any.
    text: Option<String>,
    /// Whether the last stream has any.
    is_last: bool,
}

fn late(batch: &LogBatch<'_>, report: &LogReport, tenant: &Tenant) -> Late {
    let Some(&(first, ..)) = report.too_far_behind.first() else {
        return Late::default();
    };
    let last = batch.streams.iter().rposition(|s| !s.entries.is_empty());
    let is_last = report
        .too_far_behind
        .iter()
        .any(|(at, ..)| Some(*at) == last);
    let stream = last.filter(|_| is_last).unwrap_or(first);
    Late {
        count: report.too_far_behind.len(),
        text: late_text(batch, report, tenant, stream),
        is_last,
    }
}

/// Loki's words for the late entries of a stream.
fn late_text(
    batch: &LogBatch<'_>,
    report: &LogReport,
    tenant: &Tenant,
    stream: usize,
) -> Option<String> {
    let late = report.too_far_behind.iter();
    let time = |ns: i64| DateTime::<Utc>::from_timestamp_nanos(ns);
    let mut text = String::new();
    let mut count = 0;
    for &(_, i, oldest_ns) in late.filter(|(at, ..)| *at == stream) {
        count += 1;
        let t = time(batch.entries.get(i)?.t_ns);
        if count <= MAX_NAMED {
            let _ = writeln!(
                text,
                "entry with timestamp {} +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {}',",
                t.format("%Y-%m-%d %H:%M:%S%.f"),
                t.to_rfc3339_opts(SecondsFormat::Secs, true),
                time(oldest_ns).to_rfc3339_opts(SecondsFormat::Secs, true)
            );
        }
    }
    let stream = batch.streams.get(stream)?;
    let user = match tenant.as_str() {
        "anonymous" => "fake",
        name => name,
    };
    let _ = write!(
        text,
        "user '{user}', total ignored: {count} out of {} for stream: {}",
        stream.entries.len(),
        labels::print(&stream.labels)
    );
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metadata_are_cleaned() {
        for (name, clean) in [
            ("trace.id", "trace_id"),
            ("a b", "a_b"),
            ("9lead", "key_9lead"),
            ("_under", "_under"),
            ("plain", "plain"),
        ] {
            assert_eq!(metadata_name(Cow::Borrowed(name)).unwrap(), clean);
        }
        let error = metadata_name(Cow::Borrowed("ключ")).unwrap_err();
        assert_eq!(
            error.text,
            "normalization for label name \"ключ\" resulted in invalid name \"_\""
        );
    }

    #[test]
    fn a_push_is_decoded_with_what_loki_finds_out() {
        let mut writer = Writer::default();
        writer.stream("{job=\"j\"}");
        writer.entry(1, "level=warn x", [("a.b", "c"), ("none", "")]);
        let request = writer.finish();
        let batch = decode(&request).unwrap();
        assert_eq!(
            labels::print(&batch.streams[0].labels),
            "{job=\"j\", service_name=\"j\"}"
        );
        let metadata: Vec<_> = batch.metadata.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(metadata, [("a_b", "c"), ("detected_level", "warn")]);
    }

    #[test]
    fn what_a_limit_refuses_leaves_the_rest() {
        let mut writer = Writer::default();
        writer.stream("{job=\"j\"}");
        writer.entry(1, "good", []);
        writer.entry(i64::MAX, "from the future", []);
        let request = writer.finish();
        let batch = decode(&request).unwrap();
        let faults = faults(&batch, 0);
        assert_eq!((&faults.refused[..], faults.texts.len()), (&[1][..], 1));
        let kept = without(&batch, &faults.refused);
        assert_eq!(decode(&kept).unwrap().entries.len(), 1);
    }
    #[test]
    fn late_entries_are_counted_in_all_streams_and_told_of_the_last() {
        let mut writer = Writer::default();
        for job in ["a", "b"] {
            writer.stream(&format!("{{job=\"{job}\"}}"));
            writer.entry(1, "late", []);
            writer.entry(9, "in time", []);
        }
        let request = writer.finish();
        let batch = decode(&request).unwrap();
        let check = |late_entries: &[(usize, usize)], refused, is_told, told_of: &str| {
            let report = LogReport {
                too_far_behind: late_entries.iter().map(|&(s, e)| (s, e, 5)).collect(),
                ..LogReport::default()
            };
            let late = late(&batch, &report, &Tenant::anonymous());
            let outcome = outcome(batch.entries.len(), Faults::default(), &late);
            assert_eq!((outcome.refused, outcome.is_told), (refused, is_told));
            assert!(outcome.text.contains(told_of), "{}", outcome.text);
        };
        check(&[], 0, false, "");
        check(&[(0, 0)], 1, false, "{job=\"a\", service_name=\"a\"}");
        check(
            &[(0, 0), (1, 2)],
            2,
            true,
            "total ignored: 1 out of 2 for stream: {job=\"b\"",
        );
    }
}
