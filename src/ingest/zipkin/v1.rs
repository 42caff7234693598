//! Zipkin v1 spans in JSON as an OTLP request.

use bytes::Bytes;
use serde::Deserialize;

use crate::ingest::jaeger_spans::text_pair;
use crate::wire::otlp::{
    ExportTraceServiceRequest, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status, span,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSpan {
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    timestamp: Option<u64>,
    #[serde(default)]
    duration: Option<u64>,
    #[serde(default)]
    annotations: Option<Vec<Annotation>>,
    #[serde(default)]
    binary_annotations: Option<Vec<BinaryAnnotation>>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    timestamp: u64,
    #[serde(default)]
    value: String,
    #[serde(default)]
    endpoint: Option<Endpoint>,
}

#[derive(Deserialize)]
struct BinaryAnnotation {
    #[serde(default)]
    key: String,
    /// Text only: an address annotation, whose value is a boolean, is refused as the upstream refuses it.
    #[serde(default)]
    value: String,
    #[serde(default)]
    endpoint: Option<Endpoint>,
}

#[derive(Clone, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    service_name: String,
    #[serde(default)]
    ipv4: String,
    #[serde(default)]
    ipv6: String,
    #[serde(default)]
    port: i32,
}

pub(super) fn from_json(body: &[u8]) -> Result<ExportTraceServiceRequest, String> {
    let spans: Vec<JsonSpan> =
        serde_json::from_slice(body).map_err(|e| format!("zipkinv1: {e}"))?;
    let mut groups: Vec<ResourceSpans> = Vec::new();
    for s in spans {
        let (resource, span) = convert(s)?;
        let group = groups
            .iter_mut()
            .find(|g| g.resource.as_ref() == Some(&resource));
        match group.and_then(|g| g.scope_spans.first_mut()) {
            Some(scope_spans) => scope_spans.spans.push(span),
            None => groups.push(ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }),
        }
    }
    Ok(ExportTraceServiceRequest {
        resource_spans: groups,
    })
}

fn convert(s: JsonSpan) -> Result<(Resource, Span), String> {
    let trace_id = trace_id(s.trace_id.as_deref().unwrap_or_default())
        .map_err(|e| format!("zipkinV1 span traceId: {e}"))?;
    let span_id = id_bytes(s.id.as_deref().unwrap_or_default())
        .map_err(|e| format!("zipkinV1 span id: {e}"))?;
    let parent_span_id = match s.parent_id.as_deref().filter(|p| !p.is_empty()) {
        Some(text) => id_bytes(text).map_err(|e| format!("zipkinV1 span parentId: {e}"))?,
        None => Bytes::new(),
    };
    let (mut kind, mut first, mut last) = (0, 0, 0);
    let mut endpoint = None;
    let mut events = Vec::new();
    for a in s.annotations.unwrap_or_default() {
        match a.value.as_str() {
            "cs" | "cr" => kind = 3,
            "ss" | "sr" => kind = 2,
            _ => {
                events.push(span::Event {
                    time_unix_nano: a.timestamp.saturating_mul(1000),
                    name: a.value,
                    ..span::Event::default()
                });
                endpoint = endpoint.or(a.endpoint);
                continue;
            }
        }
        match a.value.as_str() {
            "cs" | "sr" => first = a.timestamp,
            _ => last = a.timestamp,
        }
        endpoint = a.endpoint.or(endpoint);
    }
    let mut attributes: Vec<KeyValue> = Vec::new();
    let mut failed = false;
    let mut local_service = None;
    for b in s.binary_annotations.unwrap_or_default() {
        match (b.key.as_str(), b.value.as_str()) {
            ("error", "true") => failed = true,
            ("error", "false") => {}
            ("error", _) => {
                failed = true;
                attributes.push(text_pair("error", b.value));
            }
            ("lc", _) => {
                local_service = b.endpoint.map(|e| e.service_name);
                attributes.push(text_pair("component", b.value));
            }
            _ => {
                attributes.push(text_pair(&b.key, b.value));
                endpoint = endpoint.or(b.endpoint);
            }
        }
    }
    let start_us = s.timestamp.unwrap_or(first);
    let end_us = match s.duration {
        Some(duration) => start_us.saturating_add(duration),
        None => last.max(start_us),
    };
    let span = Span {
        trace_id,
        span_id,
        parent_span_id,
        name: s.name.unwrap_or_default(),
        kind,
        start_time_unix_nano: start_us.saturating_mul(1000),
        end_time_unix_nano: end_us.saturating_mul(1000),
        attributes,
        events,
        status: failed.then_some(Status {
            code: 2,
            message: String::new(),
        }),
        ..Span::default()
    };
    Ok((resource(endpoint, local_service), span))
}

/// The process: the endpoint of the core annotations, else the name alone that a local component tells.
fn resource(endpoint: Option<Endpoint>, local_service: Option<String>) -> Resource {
    let mut attributes = Vec::new();
    match endpoint {
        Some(e) => {
            if !e.service_name.is_empty() {
                attributes.push(text_pair("service.name", e.service_name));
            }
            for (key, value) in [("ipv4", e.ipv4), ("ipv6", e.ipv6)] {
                if !value.is_empty() {
                    attributes.push(text_pair(key, value));
                }
            }
            if e.port != 0 {
                attributes.push(text_pair("port", e.port.to_string()));
            }
        }
        None => {
            if let Some(name) = local_service.filter(|n| !n.is_empty()) {
                attributes.push(text_pair("service.name", name));
            }
        }
    }
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn trace_id(text: &str) -> Result<Bytes, String> {
    let padded = match text.len() {
        16 => format!("{:0>32}", text),
        32 => text.to_owned(),
        _ => return Err("hex traceId span has wrong length (expected 16 or 32)".to_owned()),
    };
    hex_bytes(&padded)
}

fn id_bytes(text: &str) -> Result<Bytes, String> {
    if text.len() != 16 {
        return Err("hex Id has wrong length (expected 16)".to_owned());
    }
    hex_bytes(text)
}

fn hex_bytes(text: &str) -> Result<Bytes, String> {
    hex::decode(text).map(Bytes::from).map_err(|_| {
        let bad = text.chars().find(|c| !c.is_ascii_hexdigit()).unwrap_or(' ');
        format!(
            "encoding/hex: invalid byte: U+{:04X} '{bad}'",
            u32::from(bad)
        )
    })
}
