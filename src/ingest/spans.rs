//! Spans of every protocol on their way in: an OTLP request becomes a batch, mended where it breaks
//! Jaeger's rules, and a log record that holds the request.
//!
//! Invariant: mending depends on the request alone, so that a replay of the record gives the same
//! batch.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, Timelike};
use prost::Message;
use storage::RecordSink;
use storage::model::{
    AnyValue, Attribute, Link, Record, Resource, Scope, Span, SpanBatch, SpanEvent, SpanId,
    SpanKind, StatusCode, Tenant, TraceId,
};

use super::export::ExportError;
use super::record::{OTLP_TRACES, OTLP_TRACES_ZSTD};
use crate::app::AppState;
use crate::wire::otlp::{self, ExportTraceServiceRequest, any_value::Value};

/// The attribute in which warnings about a span travel.
pub(crate) const WARNINGS: &str = "@jaeger@warnings";
/// Requests below this size are not worth compressing.
const COMPRESS_FROM_BYTES: usize = 1024;

/// Decodes a protobuf request.
///
/// # Errors
/// `Invalid`, in words.
pub(crate) fn decode(body: Bytes) -> Result<ExportTraceServiceRequest, ExportError> {
    ExportTraceServiceRequest::decode(body).map_err(|e| ExportError::Invalid(e.to_string()))
}

/// Takes a request that came as protobuf.
///
/// # Errors
/// See [`ExportError`]; nothing is kept then.
pub(crate) async fn append_encoded(
    app: &AppState,
    tenant: &Tenant,
    body: Bytes,
) -> Result<(), ExportError> {
    let request = decode(Bytes::clone(&body))?;
    append_both(app, tenant, request, &body).await
}

/// Takes a request that was made from another format.
///
/// # Errors
/// See [`ExportError`]; nothing is kept then.
pub(crate) async fn append(
    app: &AppState,
    tenant: &Tenant,
    request: ExportTraceServiceRequest,
) -> Result<(), ExportError> {
    let body = request.encode_to_vec();
    append_both(app, tenant, request, &body).await
}

async fn append_both(
    app: &AppState,
    tenant: &Tenant,
    request: ExportTraceServiceRequest,
    body: &[u8],
) -> Result<(), ExportError> {
    let received_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    let batch = batch(request, received_ms)?;
    if batch.spans.is_empty() {
        return Ok(());
    }
    let packed = (body.len() >= COMPRESS_FROM_BYTES)
        .then(|| zstd::bulk::compress(body, 1).ok())
        .flatten()
        .filter(|packed| packed.len() < body.len());
    let record = Record {
        kind: if packed.is_some() {
            OTLP_TRACES_ZSTD
        } else {
            OTLP_TRACES
        },
        flags: 0,
        received_ms,
        payload: packed.as_deref().unwrap_or(body),
    };
    let count = batch.spans.len() as u64;
    app.storage.append_spans(tenant, batch, record).await?;
    app.telemetry
        .spans_in
        .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

/// Turns a log record of spans back into its batch.
///
/// # Errors
/// A text, when the record is not one.
pub(crate) fn replay(record: Record<'_>, sink: &mut dyn RecordSink) -> Result<(), String> {
    let body = if record.kind == OTLP_TRACES_ZSTD {
        let inflated = zstd::stream::decode_all(record.payload).map_err(|e| e.to_string())?;
        Bytes::from(inflated)
    } else {
        Bytes::copy_from_slice(record.payload)
    };
    let request = decode(body).map_err(|e| e.to_string())?;
    sink.spans(batch(request, record.received_ms).map_err(|e| e.to_string())?);
    Ok(())
}

/// The batch of a request, mended.
///
/// # Errors
/// `Invalid` where an id has a length that no id has.
pub(crate) fn batch(
    request: ExportTraceServiceRequest,
    received_ms: i64,
) -> Result<SpanBatch, ExportError> {
    let mut spans = spans(request, mend_resource)?;
    spans.iter_mut().for_each(mend);
    Ok(SpanBatch { spans, received_ms })
}

/// The spans of a request as they are, for showing them only.
///
/// # Errors
/// As [`batch`].
pub(crate) fn unmended(request: ExportTraceServiceRequest) -> Result<Vec<Span>, ExportError> {
    spans(request, |_| {})
}

fn spans(
    request: ExportTraceServiceRequest,
    change: impl Fn(&mut Resource),
) -> Result<Vec<Span>, ExportError> {
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let mut resource = resource(group.resource.unwrap_or_default(), group.schema_url);
        change(&mut resource);
        let resource = Arc::new(resource);
        for group in group.scope_spans {
            let scope = Arc::new(scope(group.scope.unwrap_or_default(), group.schema_url));
            spans.reserve(group.spans.len());
            for s in group.spans {
                let mut span = span(s)?;
                span.resource = Arc::clone(&resource);
                span.scope = Arc::clone(&scope);
                spans.push(span);
            }
        }
    }
    Ok(spans)
}

fn resource(r: otlp::Resource, schema_url: String) -> Resource {
    Resource {
        attributes: attributes(r.attributes),
        dropped_attributes_count: r.dropped_attributes_count,
        schema_url,
    }
}

/// Gives a resource the name that Jaeger wants of each.
fn mend_resource(resource: &mut Resource) {
    let attributes = &mut resource.attributes;
    let named = |name: &str| AnyValue::String(name.to_owned());
    match attributes.iter_mut().find(|a| a.key == "service.name") {
        None => attributes.push(Attribute {
            key: "service.name".to_owned(),
            value: named("missing-service-name"),
        }),
        Some(name) => match &name.value {
            AnyValue::String(s) if s.is_empty() => name.value = named("empty-service-name"),
            AnyValue::String(_) => {}
            _ => name.value = named("service-name-wrong-type"),
        },
    }
}

fn scope(s: otlp::InstrumentationScope, schema_url: String) -> Scope {
    Scope {
        name: s.name,
        version: s.version,
        attributes: attributes(s.attributes),
        dropped_attributes_count: s.dropped_attributes_count,
        schema_url,
    }
}

fn span(s: otlp::Span) -> Result<Span, ExportError> {
    let status = s.status.unwrap_or_default();
    Ok(Span {
        trace_id: trace_id(&s.trace_id)?,
        span_id: span_id(&s.span_id)?,
        parent_span_id: span_id(&s.parent_span_id)?,
        trace_state: s.trace_state,
        flags: s.flags,
        name: s.name,
        kind: SpanKind(s.kind),
        start_ns: s.start_time_unix_nano,
        end_ns: s.end_time_unix_nano,
        attributes: attributes(s.attributes),
        dropped_attributes_count: s.dropped_attributes_count,
        events: s.events.into_iter().map(event).collect(),
        dropped_events_count: s.dropped_events_count,
        links: s.links.into_iter().map(link).collect::<Result<_, _>>()?,
        dropped_links_count: s.dropped_links_count,
        status_code: StatusCode(status.code),
        status_message: status.message,
        ..Span::default()
    })
}

fn event(e: otlp::span::Event) -> SpanEvent {
    SpanEvent {
        time_ns: e.time_unix_nano,
        name: e.name,
        attributes: attributes(e.attributes),
        dropped_attributes_count: e.dropped_attributes_count,
    }
}

fn link(l: otlp::span::Link) -> Result<Link, ExportError> {
    Ok(Link {
        trace_id: trace_id(&l.trace_id)?,
        span_id: span_id(&l.span_id)?,
        trace_state: l.trace_state,
        attributes: attributes(l.attributes),
        dropped_attributes_count: l.dropped_attributes_count,
        flags: l.flags,
    })
}

pub(crate) fn attributes(list: Vec<otlp::KeyValue>) -> Vec<Attribute> {
    let pair = |kv: otlp::KeyValue| Attribute {
        key: kv.key,
        value: value(kv.value.and_then(|v| v.value)),
    };
    list.into_iter().map(pair).collect()
}

pub(crate) fn value(v: Option<Value>) -> AnyValue {
    match v {
        None => AnyValue::Empty,
        Some(Value::String(s)) => AnyValue::String(s),
        Some(Value::Bool(b)) => AnyValue::Bool(b),
        Some(Value::Int(i)) => AnyValue::Int(i),
        Some(Value::Double(d)) => AnyValue::Double(d),
        Some(Value::Bytes(b)) => AnyValue::Bytes(b.to_vec()),
        Some(Value::Array(a)) => {
            AnyValue::Array(a.values.into_iter().map(|v| value(v.value)).collect())
        }
        Some(Value::Kvlist(m)) => AnyValue::Map(attributes(m.values)),
    }
}

fn trace_id(bytes: &[u8]) -> Result<TraceId, ExportError> {
    match bytes.try_into() {
        Ok(id) => Ok(TraceId(id)),
        Err(_) if bytes.is_empty() => Ok(TraceId::default()),
        Err(_) => Err(ExportError::Invalid(
            "invalid length for TraceID".to_owned(),
        )),
    }
}

fn span_id(bytes: &[u8]) -> Result<SpanId, ExportError> {
    match bytes.try_into() {
        Ok(id) => Ok(SpanId(id)),
        Err(_) if bytes.is_empty() => Ok(SpanId::default()),
        Err(_) => Err(ExportError::Invalid("invalid length for SpanID".to_owned())),
    }
}

/// Gives a span what Jaeger wants of each: a name, and an end after its start.
fn mend(span: &mut Span) {
    if span.name.is_empty() {
        "empty-span-name".clone_into(&mut span.name);
    }
    if span.end_ns <= span.start_ns {
        let end = span.start_ns.saturating_add(1);
        let warning = format!(
            "Negative duration detected, sanitizing end timestamp. Original end timestamp: {}, adjusted to: {}",
            go_time(span.end_ns),
            go_time(end)
        );
        span.end_ns = end;
        warn(span, warning);
    }
}

/// Adds a warning to a span.
pub(crate) fn warn(span: &mut Span, warning: String) {
    let warning = AnyValue::String(warning);
    match span.attributes.iter_mut().find(|a| a.key == WARNINGS) {
        Some(Attribute {
            value: AnyValue::Array(list),
            ..
        }) => list.push(warning),
        _ => span.attributes.push(Attribute {
            key: WARNINGS.to_owned(),
            value: AnyValue::Array(vec![warning]),
        }),
    }
}

/// A time as Go prints it, in UTC.
pub(crate) fn go_time(ns: u64) -> String {
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
    let nanos = u32::try_from(ns % 1_000_000_000).unwrap_or(0);
    let Some(time) = DateTime::from_timestamp(seconds, nanos) else {
        return ns.to_string();
    };
    let whole = time.format("%Y-%m-%d %H:%M:%S");
    if time.nanosecond() == 0 {
        return format!("{whole} +0000 UTC");
    }
    let fraction = format!("{:09}", time.nanosecond());
    format!("{whole}.{} +0000 UTC", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_in_go() {
        for (ns, text) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (1, "1970-01-01 00:00:00.000000001 +0000 UTC"),
            (
                1_793_491_200_003_000_000,
                "2026-11-01 00:00:00.003 +0000 UTC",
            ),
        ] {
            assert_eq!(go_time(ns), text);
        }
    }

    #[test]
    fn nameless_services_and_spans_get_a_name() {
        let request = crate::wire::otlp::json::decode_traces(
            br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"5"}]}]}]}"#,
        )
        .unwrap();
        let batch = batch(request, 0).unwrap();
        let span = &batch.spans[0];
        assert_eq!(span.resource.service_name(), Some("missing-service-name"));
        assert_eq!((span.name.as_str(), span.end_ns), ("empty-span-name", 6));
        assert_eq!(span.attributes[0].key, WARNINGS);
    }

    #[test]
    fn ids_of_a_wrong_length_are_refused() {
        assert!(trace_id(&[1, 2]).is_err());
        assert_eq!(trace_id(&[]), Ok(TraceId::default()));
    }
}
