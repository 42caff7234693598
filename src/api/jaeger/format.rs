//! Answers of `/api`: the envelope, and traces as the user interface's JSON.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::header::CONTENT_TYPE;
use storage::model::{Resource, Trace, push_json_float, push_json_string};

use super::error::ApiError;
use super::ids;
use super::view::{self, SpanView, Tag, TagValue};

/// Largest integer that JSON readers keep exact.
const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A successful answer: `data` and `errors` are JSON already.
pub(super) fn envelope(data: &str, total: usize, errors: &str, pretty: bool) -> Response {
    let body = format!(
        "{{\"data\":{data},\"total\":{total},\"limit\":0,\"offset\":0,\"errors\":{errors}}}"
    );
    json(body, pretty)
}

/// JSON with its content type, indented when asked.
pub(super) fn json(mut body: String, pretty: bool) -> Response {
    if pretty {
        body = indent(&body);
    }
    body.push('\n');
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// JSON indented by four blanks.
fn indent(body: &str) -> String {
    use serde::Serialize;
    let Ok(value) = serde_json::from_str::<serde_json::Value>(body) else {
        return body.to_owned();
    };
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(out).unwrap_or_else(|_| body.to_owned()),
        Err(_) => body.to_owned(),
    }
}

/// A list of texts.
pub(super) fn strings<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let mut out = "[".to_owned();
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_json_string(&mut out, item);
    }
    out.push(']');
    out
}

/// Traces as a list.
///
/// # Errors
/// 500 where a float has no form in JSON.
pub(super) fn traces(traces: &[Trace]) -> Result<String, ApiError> {
    let mut out = "[".to_owned();
    for (i, trace) in traces.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_trace(&mut out, trace)?;
    }
    out.push(']');
    Ok(out)
}

fn push_trace(out: &mut String, trace: &Trace) -> Result<(), ApiError> {
    let trace_id = ids::short(trace.trace_id);
    let mut processes: Vec<&Resource> = Vec::new();
    out.push_str("{\"traceID\":\"");
    out.push_str(&trace_id);
    out.push_str("\",\"spans\":[");
    for (i, span) in view::spans(trace).iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let resource: &Resource = &span.span.resource;
        let known = processes
            .iter()
            .position(|p| std::ptr::eq(*p, resource) || *p == resource);
        let process = known.unwrap_or_else(|| {
            processes.push(resource);
            processes.len() - 1
        });
        push_span(out, &trace_id, span, process + 1)?;
    }
    out.push_str("],\"processes\":{");
    for (i, resource) in processes.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let (service, tags) = view::process(resource);
        out.push_str(&format!("\"p{}\":{{\"serviceName\":", i + 1));
        push_json_string(out, service);
        out.push_str(",\"tags\":");
        push_tags(out, &tags)?;
        out.push('}');
    }
    out.push_str("},\"warnings\":null}");
    Ok(())
}

fn push_span(
    out: &mut String,
    trace_id: &str,
    view: &SpanView<'_>,
    process: usize,
) -> Result<(), ApiError> {
    let span = view.span;
    // An end before the start, which only a transformation shows, wraps around as it does upstream.
    let duration_ns = span.end_ns.wrapping_sub(span.start_ns).cast_signed();
    let duration_us = (duration_ns / 1000).cast_unsigned();
    out.push_str(&format!(
        "{{\"traceID\":\"{trace_id}\",\"spanID\":\"{}\",\"operationName\":",
        span.span_id
    ));
    push_json_string(out, &span.name);
    out.push_str(",\"references\":[");
    for (i, reference) in view.references.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let kind = if reference.follows_from {
            "FOLLOWS_FROM"
        } else {
            "CHILD_OF"
        };
        out.push_str(&format!(
            "{{\"refType\":\"{kind}\",\"traceID\":\"{}\",\"spanID\":\"{}\"}}",
            ids::short(reference.trace_id),
            reference.span_id
        ));
    }
    out.push_str(&format!(
        "],\"startTime\":{},\"duration\":{},\"tags\":",
        span.start_ns / 1000,
        duration_us
    ));
    push_tags(out, &view.tags)?;
    out.push_str(",\"logs\":[");
    for (i, event) in span.events.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&format!(
            "{{\"timestamp\":{},\"fields\":",
            event.time_ns / 1000
        ));
        push_tags(out, &view::fields(event))?;
        out.push('}');
    }
    out.push_str(&format!("],\"processID\":\"p{process}\",\"warnings\":"));
    if view.warnings.is_empty() {
        out.push_str("null");
    } else {
        out.push_str(&strings(view.warnings.iter().map(String::as_str)));
    }
    out.push('}');
    Ok(())
}

fn push_tags(out: &mut String, tags: &[Tag<'_>]) -> Result<(), ApiError> {
    out.push('[');
    for (i, tag) in tags.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str("{\"key\":");
        push_json_string(out, tag.key);
        let kind = match tag.value {
            TagValue::Text(_) => "string",
            TagValue::Bool(_) => "bool",
            TagValue::Int(_) => "int64",
            TagValue::Float(_) => "float64",
            TagValue::Binary(_) => "binary",
        };
        out.push_str(&format!(",\"type\":\"{kind}\",\"value\":"));
        match &tag.value {
            TagValue::Text(text) => push_json_string(out, text),
            TagValue::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            TagValue::Int(i) if i.unsigned_abs() > SAFE_INTEGER => {
                out.push_str(&format!("\"{i}\""));
            }
            TagValue::Int(i) => out.push_str(&i.to_string()),
            TagValue::Float(f) if f.is_finite() => push_json_float(out, *f),
            TagValue::Float(f) => {
                let mut name = String::new();
                push_json_float(&mut name, *f);
                return Err(ApiError::internal(format!(
                    "failed writing HTTP response: json: unsupported value: {name}"
                )));
            }
            TagValue::Binary([]) => out.push_str("null"),
            TagValue::Binary(bytes) => {
                out.push('"');
                base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
                out.push('"');
            }
        }
        out.push('}');
    }
    out.push(']');
    Ok(())
}
