//! A trace as the user interface knows it: tags, references, logs, processes.
//!
//! One reading of a span serves JSON and `jaeger.api_v2`: [`SpanView`].

use std::collections::HashMap;

use storage::model::{AnyValue, Attribute, Resource, Span, SpanId, StatusCode, Trace, TraceId};

use crate::ingest::spans::WARNINGS;

/// A tag: its key and value; lists and maps are shown as text.
pub(super) struct Tag<'a> {
    pub(super) key: &'a str,
    pub(super) value: TagValue<'a>,
}

/// What a tag can hold.
pub(super) enum TagValue<'a> {
    Text(std::borrow::Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Float(f64),
    Binary(&'a [u8]),
}

/// How a span points to another.
pub(super) struct Reference {
    pub(super) follows_from: bool,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
}

/// A span in Jaeger's terms.
pub(super) struct SpanView<'a> {
    pub(super) span: &'a Span,
    pub(super) tags: Vec<Tag<'a>>,
    pub(super) references: Vec<Reference>,
    pub(super) warnings: Vec<String>,
}

/// The spans of a trace in Jaeger's terms. Of spans that share an id, the last carries all warnings.
pub(super) fn spans(trace: &Trace) -> Vec<SpanView<'_>> {
    let mut out: Vec<SpanView<'_>> = trace.spans.iter().map(view).collect();
    let mut last: HashMap<SpanId, usize> = HashMap::new();
    for at in 0..out.len() {
        if let Some(before) = last.insert(out[at].span.span_id, at) {
            let mut warnings = std::mem::take(&mut out[before].warnings);
            warnings.append(&mut out[at].warnings);
            out[at].warnings = warnings;
        }
    }
    out
}

fn view(span: &Span) -> SpanView<'_> {
    let mut tags = Vec::with_capacity(span.attributes.len() + 4);
    let text = |key, value: &'static str| Tag {
        key,
        value: TagValue::Text(value.into()),
    };
    let own = |key, value| Tag {
        key,
        value: TagValue::Text(std::borrow::Cow::Borrowed(value)),
    };
    if !span.scope.name.is_empty() {
        tags.push(own("otel.scope.name", span.scope.name.as_str()));
    }
    if !span.scope.version.is_empty() {
        tags.push(own("otel.scope.version", span.scope.version.as_str()));
    }
    tags.extend(
        span.attributes
            .iter()
            .filter(|a| a.key != WARNINGS)
            .map(tag),
    );
    if !span.kind.as_str().is_empty() {
        tags.push(text("span.kind", span.kind.as_str()));
    }
    match span.status_code {
        StatusCode::OK => tags.push(text("otel.status_code", "OK")),
        StatusCode::ERROR => {
            tags.push(text("otel.status_code", "ERROR"));
            tags.push(Tag {
                key: "error",
                value: TagValue::Bool(true),
            });
        }
        _ => {}
    }
    if !span.status_message.is_empty() {
        tags.push(own("otel.status_description", span.status_message.as_str()));
    }
    if !span.trace_state.is_empty() {
        tags.push(own("w3c.tracestate", span.trace_state.as_str()));
    }
    SpanView {
        span,
        tags,
        references: references(span),
        warnings: warnings(span),
    }
}

fn references(span: &Span) -> Vec<Reference> {
    let mut out = Vec::new();
    if !span.parent_span_id.is_zero() {
        out.push(Reference {
            follows_from: false,
            trace_id: span.trace_id,
            span_id: span.parent_span_id,
        });
    }
    for link in &span.links {
        let kind = link
            .attributes
            .iter()
            .find(|a| a.key == "opentracing.ref_type");
        let follows_from = kind.and_then(|a| a.value.as_str()) != Some("child_of");
        let is_parent = !span.parent_span_id.is_zero()
            && link.trace_id == span.trace_id
            && link.span_id == span.parent_span_id;
        if is_parent {
            out[0].follows_from = follows_from;
        } else {
            out.push(Reference {
                follows_from,
                trace_id: link.trace_id,
                span_id: link.span_id,
            });
        }
    }
    out
}

fn warnings(span: &Span) -> Vec<String> {
    let found = span.attributes.iter().find(|a| a.key == WARNINGS);
    match found.map(|a| &a.value) {
        Some(AnyValue::Array(list)) => list.iter().map(AnyValue::to_text).collect(),
        Some(value) => vec![value.to_text()],
        None => Vec::new(),
    }
}

/// An attribute as a tag.
pub(super) fn tag(a: &Attribute) -> Tag<'_> {
    let value = match &a.value {
        AnyValue::String(s) => TagValue::Text(std::borrow::Cow::Borrowed(s)),
        AnyValue::Bool(b) => TagValue::Bool(*b),
        AnyValue::Int(i) => TagValue::Int(*i),
        AnyValue::Double(d) => TagValue::Float(*d),
        AnyValue::Bytes(b) => TagValue::Binary(b),
        other => TagValue::Text(other.to_text().into()),
    };
    Tag { key: &a.key, value }
}

/// The service of a resource, and its other attributes as tags.
pub(super) fn process(resource: &Resource) -> (&str, Vec<Tag<'_>>) {
    let tags = resource
        .attributes
        .iter()
        .filter(|a| a.key != "service.name");
    let service = match resource.service_name() {
        Some(name) => name,
        // Jaeger's word for a resource that says nothing at all.
        None if resource.attributes.is_empty() => "OTLPResourceNoServiceName",
        None => "",
    };
    (service, tags.map(tag).collect())
}

/// The fields of an event's log.
pub(super) fn fields(event: &storage::model::SpanEvent) -> Vec<Tag<'_>> {
    let mut out = Vec::with_capacity(event.attributes.len() + 1);
    if !event.name.is_empty() && !event.attributes.iter().any(|a| a.key == "event") {
        out.push(Tag {
            key: "event",
            value: TagValue::Text(std::borrow::Cow::Borrowed(&event.name)),
        });
    }
    out.extend(event.attributes.iter().map(tag));
    out
}
