//! Zipkin v2 spans as an OTLP request.
//!
//! Spans of one service share a resource: what their tags say of the process is gathered there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message;
use serde::Deserialize;

use crate::ingest::jaeger_spans::text_pair;
use crate::wire::otlp::{
    AnyValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans,
    ScopeSpans, Span, Status, any_value::Value, span,
};
use crate::wire::zipkin as proto;

/// Tags that describe the process and not the span, by the OpenTelemetry conventions of the time
/// when the mapping was fixed (1.6).
const RESOURCE_PREFIXES: [&str; 14] = [
    "cloud.",
    "aws.ecs.",
    "aws.eks.",
    "aws.log.",
    "container.",
    "device.",
    "faas.",
    "host.",
    "k8s.",
    "os.",
    "process.",
    "telemetry.sdk.",
    "telemetry.auto.",
    "webengine.",
];
const RESOURCE_KEYS: [&str; 5] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "service.version",
    "deployment.environment",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSpan {
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    timestamp: Option<f64>,
    #[serde(default)]
    duration: Option<f64>,
    #[serde(default)]
    local_endpoint: Option<JsonEndpoint>,
    #[serde(default)]
    remote_endpoint: Option<JsonEndpoint>,
    #[serde(default)]
    annotations: Option<Vec<JsonAnnotation>>,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
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
    port: Option<i64>,
}

#[derive(Deserialize)]
struct JsonAnnotation {
    #[serde(default)]
    timestamp: f64,
    #[serde(default)]
    value: String,
}

/// A span of either form, with ids decoded.
struct ZipkinSpan {
    trace_id: Bytes,
    parent_id: Bytes,
    id: Bytes,
    kind: i32,
    name: String,
    timestamp_us: u64,
    duration_us: u64,
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
    annotations: Vec<(u64, String)>,
    tags: IndexMap<String, String>,
}

struct Endpoint {
    service: String,
    address: Option<String>,
    port: i64,
}

pub(crate) fn from_json(body: &[u8]) -> Result<ExportTraceServiceRequest, String> {
    let spans: Vec<JsonSpan> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let spans: Vec<ZipkinSpan> = spans.into_iter().map(json_span).collect::<Result<_, _>>()?;
    Ok(to_otlp(spans))
}

pub(crate) fn from_protobuf(body: Bytes) -> Result<ExportTraceServiceRequest, String> {
    let list = proto::ListOfSpans::decode(body).map_err(|e| e.to_string())?;
    let spans: Vec<ZipkinSpan> = list
        .spans
        .into_iter()
        .map(proto_span)
        .collect::<Result<_, _>>()?;
    Ok(to_otlp(spans))
}

fn json_span(s: JsonSpan) -> Result<ZipkinSpan, String> {
    let id = s.id.ok_or("valid span id required")?;
    let kind = s.kind.unwrap_or_default();
    let endpoint = |e: JsonEndpoint| Endpoint {
        service: e.service_name.unwrap_or_default(),
        address: e.ipv4.or(e.ipv6).filter(|a| !a.is_empty()),
        port: e.port.unwrap_or(0),
    };
    Ok(ZipkinSpan {
        trace_id: match s.trace_id {
            Some(text) => trace_id(&text)?,
            None => Bytes::new(),
        },
        parent_id: match s.parent_id.filter(|p| !p.is_empty()) {
            Some(text) => span_id(&text)?,
            None => Bytes::new(),
        },
        id: span_id(&id)?,
        kind: match kind.to_ascii_uppercase().as_str() {
            "CLIENT" => 3,
            "SERVER" => 2,
            "PRODUCER" => 4,
            "CONSUMER" => 5,
            _ => 0,
        },
        name: s.name.unwrap_or_default(),
        timestamp_us: whole(s.timestamp.unwrap_or(0.0)),
        duration_us: whole(s.duration.unwrap_or(0.0)),
        local: s.local_endpoint.map(endpoint),
        remote: s.remote_endpoint.map(endpoint),
        annotations: s
            .annotations
            .unwrap_or_default()
            .into_iter()
            .map(|a| (whole(a.timestamp), a.value))
            .collect(),
        tags: s.tags.unwrap_or_default().into_iter().collect(),
    })
}

fn proto_span(s: proto::Span) -> Result<ZipkinSpan, String> {
    if s.id.len() != 8 {
        return Err("valid span id required".to_owned());
    }
    let trace_id = match s.trace_id.len() {
        16 => s.trace_id,
        8 => Bytes::from([&[0; 8][..], &s.trace_id[..]].concat()),
        n => return Err(format!("invalid length of a trace id: {n}")),
    };
    let endpoint = |e: proto::Endpoint| {
        let v4 = <[u8; 4]>::try_from(&e.ipv4[..]).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
        let v6 = <[u8; 16]>::try_from(&e.ipv6[..]).map(|b| IpAddr::V6(Ipv6Addr::from(b)));
        Endpoint {
            service: e.service_name,
            address: v4.or(v6).ok().map(|a| a.to_string()),
            port: i64::from(e.port),
        }
    };
    Ok(ZipkinSpan {
        trace_id,
        parent_id: s.parent_id,
        id: s.id,
        kind: match s.kind {
            1 => 3,
            2 => 2,
            3 => 4,
            4 => 5,
            _ => 0,
        },
        name: s.name,
        timestamp_us: s.timestamp_us,
        duration_us: s.duration_us,
        local: s.local_endpoint.map(endpoint),
        remote: s.remote_endpoint.map(endpoint),
        annotations: s
            .annotations
            .into_iter()
            .map(|a| (a.timestamp_us, a.value))
            .collect(),
        tags: s.tags.into_iter().collect(),
    })
}

/// JSON's numbers as whole microseconds; what lies outside is cut.
fn whole(n: f64) -> u64 {
    n.round() as u64
}

fn trace_id(text: &str) -> Result<Bytes, String> {
    if text.len() > 32 {
        return Err(format!(
            "TraceID cannot be longer than 32 hex characters: {text}"
        ));
    }
    let id = hex_number(text)?;
    Ok(Bytes::copy_from_slice(&id.to_be_bytes()))
}

fn span_id(text: &str) -> Result<Bytes, String> {
    let id = u64::try_from(hex_number(text)?)
        .map_err(|_| format!("strconv.ParseUint: parsing \"{text}\": value out of range"))?;
    Ok(Bytes::copy_from_slice(&id.to_be_bytes()))
}

fn hex_number(text: &str) -> Result<u128, String> {
    let wrong = || format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    u128::from_str_radix(text, 16).map_err(|_| wrong())
}

fn to_otlp(spans: Vec<ZipkinSpan>) -> ExportTraceServiceRequest {
    let mut services: IndexMap<String, ResourceSpans> = IndexMap::new();
    for mut s in spans {
        let service = s.local.as_ref().map_or("", |e| e.service.as_str());
        let group = services
            .entry(service.to_owned())
            .or_insert_with(|| ResourceSpans {
                resource: Some(Resource {
                    attributes: if service.is_empty() {
                        Vec::new()
                    } else {
                        vec![text_pair("service.name", service.to_owned())]
                    },
                    ..Resource::default()
                }),
                ..ResourceSpans::default()
            });
        if let Some(resource) = &mut group.resource {
            gather(&mut resource.attributes, &mut s.tags);
        }
        let scope = scope(&mut s.tags);
        let span = convert(s);
        match group.scope_spans.iter_mut().find(|g| g.scope == scope) {
            Some(scope_spans) => scope_spans.spans.push(span),
            None => group.scope_spans.push(ScopeSpans {
                scope,
                spans: vec![span],
                ..ScopeSpans::default()
            }),
        }
    }
    ExportTraceServiceRequest {
        resource_spans: services.into_values().collect(),
    }
}

/// Moves tags about the process to the resource; the first that names a key is kept.
fn gather(resource: &mut Vec<KeyValue>, tags: &mut IndexMap<String, String>) {
    tags.retain(|key, value| {
        let about_process = RESOURCE_KEYS.contains(&key.as_str())
            || RESOURCE_PREFIXES.iter().any(|p| key.starts_with(p));
        if about_process && !resource.iter().any(|a| a.key == *key) {
            resource.push(text_pair(key, std::mem::take(value)));
        }
        !about_process
    });
}

fn scope(tags: &mut IndexMap<String, String>) -> Option<InstrumentationScope> {
    let mut take = |new: &str, old: &str| {
        let (old, new) = (tags.shift_remove(old), tags.shift_remove(new));
        new.or(old)
    };
    let name = take("otel.scope.name", "otel.library.name");
    let version = take("otel.scope.version", "otel.library.version");
    if name.is_none() && version.is_none() {
        return None;
    }
    Some(InstrumentationScope {
        name: name.unwrap_or_default(),
        version: version.unwrap_or_default(),
        ..InstrumentationScope::default()
    })
}

fn convert(s: ZipkinSpan) -> Span {
    let mut tags = s.tags;
    let mut kind = s.kind;
    if kind == 0 && tags.get("span.kind").is_some_and(|k| k == "internal") {
        tags.shift_remove("span.kind");
        kind = 1;
    }
    let status = status(&mut tags);
    let trace_state = tags.shift_remove("w3c.tracestate").unwrap_or_default();
    let start = s.timestamp_us.saturating_mul(1000);
    let mut attributes: Vec<KeyValue> = tags.into_iter().map(|(k, v)| text_pair(&k, v)).collect();
    if s.timestamp_us == 0 {
        attributes.push(pair("otel.zipkin.absentField.startTime", Value::Bool(true)));
    }
    if let Some(local) = s.local {
        if let Some(address) = local.address {
            attributes.push(text_pair("network.local.address", address));
        }
        if local.port != 0 {
            attributes.push(pair("net.host.port", Value::Int(local.port)));
        }
    }
    if let Some(remote) = s.remote {
        if !remote.service.is_empty() {
            attributes.push(text_pair("service.peer.name", remote.service));
        }
        if let Some(address) = remote.address {
            attributes.push(text_pair("network.peer.address", address));
        }
        if remote.port != 0 {
            attributes.push(pair("net.peer.port", Value::Int(remote.port)));
        }
    }
    let event = |(time_us, value): (u64, String)| span::Event {
        time_unix_nano: time_us.saturating_mul(1000),
        name: value,
        ..span::Event::default()
    };
    Span {
        trace_id: s.trace_id,
        span_id: s.id,
        parent_span_id: s.parent_id,
        trace_state,
        name: s.name,
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(s.duration_us.saturating_mul(1000)),
        attributes,
        events: s.annotations.into_iter().map(event).collect(),
        status,
        ..Span::default()
    }
}

/// Any tag `error` means failure, whatever it says; `true` alone says nothing more and goes.
/// `otel.status_code` counts by the names of the protobuf enum only.
fn status(tags: &mut IndexMap<String, String>) -> Option<Status> {
    let mut out = None;
    if let Some(name) = tags.shift_remove("otel.status_code") {
        out = Some(Status {
            code: match name.as_str() {
                "STATUS_CODE_OK" => 1,
                "STATUS_CODE_ERROR" => 2,
                _ => 0,
            },
            message: tags
                .shift_remove("otel.status_description")
                .unwrap_or_default(),
        });
    }
    if let Some(error) = tags.get("error") {
        if error == "true" {
            tags.shift_remove("error");
        }
        out.get_or_insert_default().code = 2;
    }
    out
}

pub(super) fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}
