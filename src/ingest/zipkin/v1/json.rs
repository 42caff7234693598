//! Zipkin v1 spans in JSON. Source: `zipkin-api.yaml` of the v1 API.

use bytes::Bytes;
use serde::Deserialize;

use super::{Annotation, Endpoint, Tag, Timeless, V1Span, to_otlp};
use crate::wire::otlp::{ExportTraceServiceRequest, any_value::Value};

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
    timestamp: Option<i64>,
    #[serde(default)]
    duration: Option<i64>,
    #[serde(default)]
    annotations: Option<Vec<Option<JsonAnnotation>>>,
    #[serde(default)]
    binary_annotations: Option<Vec<JsonTag>>,
}

#[derive(Deserialize)]
struct JsonAnnotation {
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    endpoint: Option<JsonEndpoint>,
}

#[derive(Deserialize)]
struct JsonTag {
    #[serde(default)]
    key: Option<String>,
    /// Text only: an address annotation, whose value is a boolean, is refused as the upstream refuses it.
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    endpoint: Option<JsonEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEndpoint {
    #[serde(default)]
    service_name: Option<String>,
    #[serde(default)]
    ipv4: Option<String>,
    #[serde(default)]
    ipv6: Option<String>,
    #[serde(default)]
    port: Option<i32>,
}

impl From<JsonEndpoint> for Endpoint {
    fn from(e: JsonEndpoint) -> Self {
        Self {
            service: e.service_name.unwrap_or_default(),
            ipv4: e.ipv4.unwrap_or_default(),
            ipv6: e.ipv6.unwrap_or_default(),
            port: e.port.unwrap_or(0),
        }
    }
}

pub(crate) fn from_json(body: &[u8]) -> Result<ExportTraceServiceRequest, String> {
    let spans: Option<Vec<JsonSpan>> =
        serde_json::from_slice(body).map_err(|e| format!("zipkinv1: {e}"))?;
    let spans = spans.unwrap_or_default().into_iter().map(span);
    Ok(to_otlp(spans.collect::<Result<_, _>>()?, Timeless::IsNow))
}

fn span(s: JsonSpan) -> Result<V1Span, String> {
    let annotation = |a: JsonAnnotation| Annotation {
        timestamp_us: a.timestamp.unwrap_or(0),
        value: a.value.unwrap_or_default(),
        endpoint: a.endpoint.map(Endpoint::from),
    };
    let tag = |t: JsonTag| Tag {
        key: t.key.unwrap_or_default(),
        value: Value::String(t.value.unwrap_or_default()),
        endpoint: t.endpoint.map(Endpoint::from),
    };
    let annotations = s.annotations.unwrap_or_default().into_iter().flatten();
    let tags = s.binary_annotations.unwrap_or_default().into_iter();
    Ok(V1Span {
        trace_id: trace_id(s.trace_id.as_deref().unwrap_or_default())
            .map_err(|e| format!("zipkinV1 span traceId: {e}"))?,
        id: span_id(s.id.as_deref().unwrap_or_default())
            .map_err(|e| format!("zipkinV1 span id: {e}"))?,
        parent_id: match s.parent_id.as_deref().filter(|p| !p.is_empty()) {
            Some(text) => span_id(text).map_err(|e| format!("zipkinV1 span parentId: {e}"))?,
            None => Bytes::new(),
        },
        name: s.name.unwrap_or_default(),
        timestamp_us: s.timestamp.filter(|t| *t != 0),
        duration_us: s.duration,
        annotations: annotations.map(annotation).collect(),
        tags: tags.map(tag).collect(),
    })
}

fn trace_id(text: &str) -> Result<Bytes, String> {
    let padded = match text.len() {
        16 => format!("{text:0>32}"),
        32 => text.to_owned(),
        _ => return Err("hex traceId span has wrong length (expected 16 or 32)".to_owned()),
    };
    not_zero(hex_bytes(&padded)?, "traceId is zero")
}

fn span_id(text: &str) -> Result<Bytes, String> {
    if text.len() != 16 {
        return Err("hex Id has wrong length (expected 16)".to_owned());
    }
    not_zero(hex_bytes(text)?, "ID is zero")
}

fn not_zero(id: Bytes, words: &str) -> Result<Bytes, String> {
    if id.iter().all(|b| *b == 0) {
        return Err(words.to_owned());
    }
    Ok(id)
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
