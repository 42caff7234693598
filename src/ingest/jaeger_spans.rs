//! Jaeger's spans, from Thrift or protobuf, as an OTLP request.
//!
//! Tags that OTLP has fields for become those fields; all else stays an attribute.

use bytes::Bytes;

use crate::wire::jaeger::{Batch, KeyValue, Log, Process, Span, SpanRef, value_type};
use crate::wire::otlp::{
    self, AnyValue, ExportTraceServiceRequest, InstrumentationScope, Resource, ResourceSpans,
    ScopeSpans, Status, any_value::Value, span,
};

/// The key of a link's attribute that tells which kind of reference it was.
const REF_TYPE: &str = "opentracing.ref_type";

/// Whether the scope's name is looked for among a span's tags: protobuf senders put it there, and
/// Thrift has always left it an ordinary tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scopes {
    FromTags,
    None,
}

/// The request of a batch. Spans with a process of their own get a resource of their own.
pub(crate) fn to_otlp(batch: Batch, scopes: Scopes) -> ExportTraceServiceRequest {
    let mut resource_spans: Vec<(Option<Process>, ResourceSpans)> = Vec::new();
    for mut span in batch.spans {
        let process = span.process.take().or_else(|| batch.process.clone());
        let at = match resource_spans.iter().position(|(p, _)| *p == process) {
            Some(at) => at,
            None => {
                let resource = ResourceSpans {
                    resource: Some(resource(process.clone())),
                    ..ResourceSpans::default()
                };
                resource_spans.push((process, resource));
                resource_spans.len() - 1
            }
        };
        let scope = match scopes {
            Scopes::FromTags => scope(&mut span.tags),
            Scopes::None => None,
        };
        let groups = &mut resource_spans[at].1.scope_spans;
        let span = convert(span);
        match groups.iter_mut().find(|g| g.scope == scope) {
            Some(group) => group.spans.push(span),
            None => groups.push(ScopeSpans {
                scope,
                spans: vec![span],
                ..ScopeSpans::default()
            }),
        }
    }
    ExportTraceServiceRequest {
        resource_spans: resource_spans.into_iter().map(|(_, r)| r).collect(),
    }
}

fn resource(process: Option<Process>) -> Resource {
    let mut out = Resource::default();
    let Some(process) = process else {
        return out;
    };
    if !process.service_name.is_empty() {
        out.attributes
            .push(text_pair("service.name", process.service_name));
    }
    for tag in process.tags {
        let mut pair = attribute(tag);
        match pair.key.as_str() {
            "hostname" => "host.name".clone_into(&mut pair.key),
            "jaeger.version" => {
                "opencensus.exporterversion".clone_into(&mut pair.key);
                if let Some(Value::String(version)) =
                    pair.value.as_mut().and_then(|v| v.value.as_mut())
                {
                    version.insert_str(0, "Jaeger-");
                }
            }
            _ => {}
        }
        out.attributes.push(pair);
    }
    out
}

fn scope(tags: &mut Vec<KeyValue>) -> Option<InstrumentationScope> {
    let mut take = |keys: [&str; 2]| {
        keys.iter().find_map(|key| {
            let at = tags.iter().position(|t| t.key == *key)?;
            Some(tags.remove(at).v_str)
        })
    };
    let name = take(["otel.scope.name", "otel.library.name"]);
    let version = take(["otel.scope.version", "otel.library.version"]);
    if name.is_none() && version.is_none() {
        return None;
    }
    Some(InstrumentationScope {
        name: name.unwrap_or_default(),
        version: version.unwrap_or_default(),
        ..InstrumentationScope::default()
    })
}

fn convert(s: Span) -> otlp::Span {
    let start = s
        .start_time
        .map_or(0, |t| u64::try_from(t.ns()).unwrap_or(0));
    let duration = s.duration.map_or(0, |d| u64::try_from(d.ns()).unwrap_or(0));
    let mut tags = s.tags;
    let kind = take_text(&mut tags, "span.kind").map_or(0, |kind| kind_number(&kind));
    let trace_state = take_text(&mut tags, "w3c.tracestate").unwrap_or_default();
    let status = status(&mut tags, kind);
    let parent = s
        .references
        .iter()
        .find(|r| r.ref_type == 0 && r.trace_id == s.trace_id)
        .map(|r| Bytes::clone(&r.span_id));
    let is_parent = |r: &SpanRef| {
        r.ref_type == 0 && r.trace_id == s.trace_id && Some(&r.span_id) == parent.as_ref()
    };
    let links = s
        .references
        .iter()
        .filter(|r| !is_parent(r))
        .map(link)
        .collect();
    let mut attributes: Vec<otlp::KeyValue> = tags.into_iter().map(attribute).collect();
    if !s.warnings.is_empty() {
        let values = s.warnings.into_iter().map(|w| AnyValue {
            value: Some(Value::String(w)),
        });
        attributes.push(otlp::KeyValue {
            key: super::spans::WARNINGS.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::Array(otlp::ArrayValue {
                    values: values.collect(),
                })),
            }),
        });
    }
    otlp::Span {
        parent_span_id: parent.unwrap_or_default(),
        trace_id: s.trace_id,
        span_id: s.span_id,
        trace_state,
        name: s.operation_name,
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(duration),
        attributes,
        events: s.logs.into_iter().map(event).collect(),
        links,
        status,
        ..otlp::Span::default()
    }
}

fn kind_number(kind: &str) -> i32 {
    match kind {
        "internal" => 1,
        "server" => 2,
        "client" => 3,
        "producer" => 4,
        "consumer" => 5,
        _ => 0,
    }
}

/// The status that tags tell. `error=true` is the last word; without it the status tag, and without
/// that the HTTP status.
fn status(tags: &mut Vec<KeyValue>, kind: i32) -> Option<Status> {
    let failed = tags
        .iter()
        .position(|t| t.key == "error" && t.v_type == value_type::BOOL && t.v_bool);
    if let Some(at) = failed {
        tags.remove(at);
    }
    let named = take_text(tags, "otel.status_code");
    let http = tags.iter().find(|t| t.key == "http.status_code");
    let code = match (&named, http) {
        _ if failed.is_some() => 2,
        (Some(name), _) if name.eq_ignore_ascii_case("ok") => 1,
        (Some(name), _) if name.eq_ignore_ascii_case("error") => 2,
        (Some(_), _) => 0,
        (None, Some(http)) => match http_code(http) {
            Some(400..=499) if kind == 2 => 0,
            Some(code) if !(100..400).contains(&code) => 2,
            _ => 0,
        },
        (None, None) => 0,
    };
    if failed.is_none() && named.is_none() && code == 0 {
        return None;
    }
    let message = if failed.is_some() || named.is_some() {
        take_text(tags, "otel.status_description")
    } else {
        None
    };
    Some(Status {
        message: message.unwrap_or_default(),
        code,
    })
}

fn http_code(tag: &KeyValue) -> Option<i64> {
    match tag.v_type {
        value_type::INT64 => Some(tag.v_int64),
        value_type::STRING => tag.v_str.parse().ok(),
        _ => None,
    }
}

fn take_text(tags: &mut Vec<KeyValue>, key: &str) -> Option<String> {
    let at = tags
        .iter()
        .position(|t| t.key == key && t.v_type == value_type::STRING)?;
    Some(tags.remove(at).v_str)
}

fn link(r: &SpanRef) -> span::Link {
    let kind = if r.ref_type == 0 {
        "child_of"
    } else {
        "follows_from"
    };
    span::Link {
        trace_id: Bytes::clone(&r.trace_id),
        span_id: Bytes::clone(&r.span_id),
        attributes: vec![text_pair(REF_TYPE, kind.to_owned())],
        ..span::Link::default()
    }
}

fn event(log: Log) -> span::Event {
    let mut fields = log.fields;
    span::Event {
        time_unix_nano: log
            .timestamp
            .map_or(0, |t| u64::try_from(t.ns()).unwrap_or(0)),
        name: take_text(&mut fields, "event").unwrap_or_default(),
        attributes: fields.into_iter().map(attribute).collect(),
        ..span::Event::default()
    }
}

fn attribute(tag: KeyValue) -> otlp::KeyValue {
    let value = match tag.v_type {
        value_type::BOOL => Value::Bool(tag.v_bool),
        value_type::INT64 => Value::Int(tag.v_int64),
        value_type::FLOAT64 => Value::Double(tag.v_float64),
        value_type::BINARY => Value::Bytes(tag.v_binary),
        _ => Value::String(tag.v_str),
    };
    otlp::KeyValue {
        key: tag.key,
        value: Some(AnyValue { value: Some(value) }),
    }
}

pub(super) fn text_pair(key: &str, value: String) -> otlp::KeyValue {
    otlp::KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::String(value)),
        }),
    }
}
