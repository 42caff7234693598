//! Traces as OTLP again: JSON for `/api/v3`, messages for gRPC.

use base64::Engine as _;
use bytes::Bytes;
use storage::model::{
    AnyValue, Attribute, Resource, Scope, Span, SpanId, Trace, push_json_float, push_json_string,
};

use crate::wire::otlp::{
    self, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, ResourceSpans, ScopeSpans,
    Status, TracesData, any_value::Value, span,
};

/// Spans of one resource, by scope.
type OfResource<'a> = (&'a Resource, Vec<(&'a Scope, Vec<&'a Span>)>);

/// The spans of traces, those of one resource and scope together as they come.
fn groups(traces: &[Trace]) -> Vec<OfResource<'_>> {
    let mut out: Vec<OfResource<'_>> = Vec::new();
    for span in traces.iter().flat_map(|t| &t.spans) {
        let (resource, scope): (&Resource, &Scope) = (&span.resource, &span.scope);
        if out.last().is_none_or(|(last, _)| *last != resource) {
            out.push((resource, Vec::new()));
        }
        let Some((_, scopes)) = out.last_mut() else {
            continue;
        };
        match scopes.last_mut() {
            Some((last, spans)) if *last == scope => spans.push(span),
            _ => scopes.push((scope, vec![span])),
        }
    }
    out
}

/// `{"resourceSpans":[...]}`.
pub(super) fn json(traces: &[Trace]) -> String {
    let mut out = "{\"resourceSpans\":[".to_owned();
    for (i, (resource, scopes)) in groups(traces).into_iter().enumerate() {
        comma(&mut out, i);
        out.push_str("{\"resource\":");
        let mut object = Object::new(&mut out);
        object.attributes(&resource.attributes);
        object.number("droppedAttributesCount", resource.dropped_attributes_count);
        object.end();
        out.push_str(",\"scopeSpans\":[");
        for (i, (scope, spans)) in scopes.into_iter().enumerate() {
            comma(&mut out, i);
            out.push_str("{\"scope\":");
            let mut object = Object::new(&mut out);
            object.text("name", &scope.name);
            object.text("version", &scope.version);
            object.attributes(&scope.attributes);
            object.number("droppedAttributesCount", scope.dropped_attributes_count);
            object.end();
            out.push_str(",\"spans\":[");
            for (i, span) in spans.into_iter().enumerate() {
                comma(&mut out, i);
                push_span(&mut out, span);
            }
            out.push(']');
            if !scope.schema_url.is_empty() {
                out.push_str(",\"schemaUrl\":");
                push_json_string(&mut out, &scope.schema_url);
            }
            out.push('}');
        }
        out.push(']');
        if !resource.schema_url.is_empty() {
            out.push_str(",\"schemaUrl\":");
            push_json_string(&mut out, &resource.schema_url);
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}

fn comma(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

/// An object whose empty members are left out.
struct Object<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    fn key(&mut self, key: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
        self.out
    }

    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            push_json_string(self.key(key), value);
        }
    }

    fn number(&mut self, key: &str, value: impl Into<i64>) {
        let value = value.into();
        if value != 0 {
            self.key(key).push_str(&value.to_string());
        }
    }

    fn id(&mut self, key: &str, id: SpanId) {
        if !id.is_zero() {
            self.text(key, &id.to_string());
        }
    }

    fn time(&mut self, key: &str, ns: u64) {
        if ns != 0 {
            self.text(key, &ns.to_string());
        }
    }

    fn attributes(&mut self, attributes: &[Attribute]) {
        if !attributes.is_empty() {
            push_attributes(self.key("attributes"), attributes);
        }
    }

    fn end(self) {
        self.out.push('}');
    }
}

fn push_span(out: &mut String, span: &Span) {
    let mut object = Object::new(out);
    object.text("traceId", &span.trace_id.to_string());
    object.id("spanId", span.span_id);
    object.text("traceState", &span.trace_state);
    object.id("parentSpanId", span.parent_span_id);
    object.number("flags", span.flags);
    object.text("name", &span.name);
    object.number("kind", span.kind.0);
    object.time("startTimeUnixNano", span.start_ns);
    object.time("endTimeUnixNano", span.end_ns);
    object.attributes(&span.attributes);
    object.number("droppedAttributesCount", span.dropped_attributes_count);
    if !span.events.is_empty() {
        let out = object.key("events");
        out.push('[');
        for (i, event) in span.events.iter().enumerate() {
            comma(out, i);
            let mut object = Object::new(out);
            object.time("timeUnixNano", event.time_ns);
            object.text("name", &event.name);
            object.attributes(&event.attributes);
            object.number("droppedAttributesCount", event.dropped_attributes_count);
            object.end();
        }
        out.push(']');
    }
    object.number("droppedEventsCount", span.dropped_events_count);
    if !span.links.is_empty() {
        let out = object.key("links");
        out.push('[');
        for (i, link) in span.links.iter().enumerate() {
            comma(out, i);
            let mut object = Object::new(out);
            if link.trace_id.0 != [0; 16] {
                object.text("traceId", &link.trace_id.to_string());
            }
            object.id("spanId", link.span_id);
            object.text("traceState", &link.trace_state);
            object.attributes(&link.attributes);
            object.number("droppedAttributesCount", link.dropped_attributes_count);
            object.number("flags", link.flags);
            object.end();
        }
        out.push(']');
    }
    object.number("droppedLinksCount", span.dropped_links_count);
    let out = object.key("status");
    let mut status = Object::new(out);
    status.text("message", &span.status_message);
    status.number("code", span.status_code.0);
    status.end();
    object.end();
}

fn push_attributes(out: &mut String, attributes: &[Attribute]) {
    out.push('[');
    for (i, a) in attributes.iter().enumerate() {
        comma(out, i);
        out.push('{');
        if !a.key.is_empty() {
            out.push_str("\"key\":");
            push_json_string(out, &a.key);
            out.push(',');
        }
        out.push_str("\"value\":");
        push_value(out, &a.value);
        out.push('}');
    }
    out.push(']');
}

fn push_value(out: &mut String, value: &AnyValue) {
    match value {
        AnyValue::Empty => out.push_str("{}"),
        AnyValue::String(s) => {
            out.push_str("{\"stringValue\":");
            push_json_string(out, s);
            out.push('}');
        }
        AnyValue::Bool(b) => out.push_str(&format!("{{\"boolValue\":{b}}}")),
        AnyValue::Int(i) => out.push_str(&format!("{{\"intValue\":\"{i}\"}}")),
        AnyValue::Double(d) if d.is_finite() => {
            out.push_str("{\"doubleValue\":");
            push_json_float(out, *d);
            out.push('}');
        }
        AnyValue::Double(d) => {
            let name = match (d.is_nan(), *d > 0.0) {
                (true, _) => "NaN",
                (_, true) => "Infinity",
                _ => "-Infinity",
            };
            out.push_str(&format!("{{\"doubleValue\":\"{name}\"}}"));
        }
        AnyValue::Bytes(b) => {
            out.push_str("{\"bytesValue\":\"");
            base64::engine::general_purpose::STANDARD.encode_string(b, out);
            out.push_str("\"}");
        }
        AnyValue::Array(items) if items.is_empty() => out.push_str("{\"arrayValue\":{}}"),
        AnyValue::Array(items) => {
            out.push_str("{\"arrayValue\":{\"values\":[");
            for (i, item) in items.iter().enumerate() {
                comma(out, i);
                push_value(out, item);
            }
            out.push_str("]}}");
        }
        AnyValue::Map(pairs) if pairs.is_empty() => out.push_str("{\"kvlistValue\":{}}"),
        AnyValue::Map(pairs) => {
            out.push_str("{\"kvlistValue\":{\"values\":");
            push_attributes(out, pairs);
            out.push_str("}}");
        }
    }
}

/// A trace as a message.
pub(super) fn message(trace: &Trace) -> TracesData {
    let resource_spans =
        groups(std::slice::from_ref(trace))
            .into_iter()
            .map(|(resource, scopes)| ResourceSpans {
                resource: Some(otlp::Resource {
                    attributes: key_values(&resource.attributes),
                    dropped_attributes_count: resource.dropped_attributes_count,
                }),
                scope_spans: scopes
                    .into_iter()
                    .map(|(scope, spans)| ScopeSpans {
                        scope: Some(InstrumentationScope {
                            name: scope.name.clone(),
                            version: scope.version.clone(),
                            attributes: key_values(&scope.attributes),
                            dropped_attributes_count: scope.dropped_attributes_count,
                        }),
                        spans: spans.into_iter().map(span_message).collect(),
                        schema_url: scope.schema_url.clone(),
                    })
                    .collect(),
                schema_url: resource.schema_url.clone(),
            });
    TracesData {
        resource_spans: resource_spans.collect(),
    }
}

fn span_message(s: &Span) -> otlp::Span {
    let id = |id: SpanId| {
        if id.is_zero() {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(&id.0)
        }
    };
    otlp::Span {
        trace_id: Bytes::copy_from_slice(&s.trace_id.0),
        span_id: id(s.span_id),
        trace_state: s.trace_state.clone(),
        parent_span_id: id(s.parent_span_id),
        name: s.name.clone(),
        kind: s.kind.0,
        start_time_unix_nano: s.start_ns,
        end_time_unix_nano: s.end_ns,
        attributes: key_values(&s.attributes),
        dropped_attributes_count: s.dropped_attributes_count,
        events: s
            .events
            .iter()
            .map(|e| span::Event {
                time_unix_nano: e.time_ns,
                name: e.name.clone(),
                attributes: key_values(&e.attributes),
                dropped_attributes_count: e.dropped_attributes_count,
            })
            .collect(),
        dropped_events_count: s.dropped_events_count,
        links: s
            .links
            .iter()
            .map(|l| span::Link {
                trace_id: Bytes::copy_from_slice(&l.trace_id.0),
                span_id: id(l.span_id),
                trace_state: l.trace_state.clone(),
                attributes: key_values(&l.attributes),
                dropped_attributes_count: l.dropped_attributes_count,
                flags: l.flags,
            })
            .collect(),
        dropped_links_count: s.dropped_links_count,
        status: Some(Status {
            message: s.status_message.clone(),
            code: s.status_code.0,
        }),
        flags: s.flags,
    }
}

fn key_values(attributes: &[Attribute]) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|a| KeyValue {
            key: a.key.clone(),
            value: Some(any_value(&a.value)),
        })
        .collect()
}

fn any_value(value: &AnyValue) -> otlp::AnyValue {
    let value = match value {
        AnyValue::Empty => None,
        AnyValue::String(s) => Some(Value::String(s.clone())),
        AnyValue::Bool(b) => Some(Value::Bool(*b)),
        AnyValue::Int(i) => Some(Value::Int(*i)),
        AnyValue::Double(d) => Some(Value::Double(*d)),
        AnyValue::Bytes(b) => Some(Value::Bytes(Bytes::copy_from_slice(b))),
        AnyValue::Array(items) => Some(Value::Array(ArrayValue {
            values: items.iter().map(any_value).collect(),
        })),
        AnyValue::Map(pairs) => Some(Value::Kvlist(KeyValueList {
            values: key_values(pairs),
        })),
    };
    otlp::AnyValue { value }
}
