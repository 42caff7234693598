//! Zipkin v1 spans as an OTLP request: two ways in, JSON and Thrift, and one way on.
//!
//! What v1 says by annotations (kind, start, end, who) is found as the OpenTelemetry Collector's translator finds it.

mod json;
mod thrift;

use std::time::SystemTime;

use bytes::Bytes;

use super::v2::pair;
use crate::ingest::jaeger_spans::text_pair;
use crate::wire::otlp::{
    ExportTraceServiceRequest, Resource, ResourceSpans, ScopeSpans, Span, Status, any_value::Value,
    span,
};

pub(crate) use json::from_json;
pub(super) use thrift::from_thrift;

/// The service of a span whose annotations name none.
const UNKNOWN_SERVICE: &str = "unknown-service";
/// The tag under which a span without peers names its component.
const LOCAL_COMPONENT: &str = "lc";

/// A span, with ids decoded and times in microseconds.
#[derive(Debug, Default)]
struct V1Span {
    trace_id: Bytes,
    id: Bytes,
    parent_id: Bytes,
    name: String,
    timestamp_us: Option<i64>,
    duration_us: Option<i64>,
    annotations: Vec<Annotation>,
    tags: Vec<Tag>,
}

#[derive(Debug)]
struct Annotation {
    timestamp_us: i64,
    value: String,
    endpoint: Option<Endpoint>,
}

#[derive(Debug)]
struct Tag {
    key: String,
    value: Value,
    endpoint: Option<Endpoint>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Endpoint {
    service: String,
    ipv4: String,
    ipv6: String,
    port: i32,
}

/// What a span without any time gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timeless {
    /// The time of reception, and an attribute that says so.
    IsNow,
    Stays,
}

fn to_otlp(spans: Vec<V1Span>, timeless: Timeless) -> ExportTraceServiceRequest {
    let mut groups: Vec<(Endpoint, ResourceSpans)> = Vec::new();
    for s in spans {
        let (endpoint, span) = convert(s, timeless);
        let at = match groups.iter().position(|(e, _)| *e == endpoint) {
            Some(at) => at,
            None => {
                let group = ResourceSpans {
                    resource: Some(resource(&endpoint)),
                    scope_spans: vec![ScopeSpans::default()],
                    ..ResourceSpans::default()
                };
                groups.push((endpoint, group));
                groups.len() - 1
            }
        };
        if let Some(scope) = groups[at].1.scope_spans.first_mut() {
            scope.spans.push(span);
        }
    }
    ExportTraceServiceRequest {
        resource_spans: groups.into_iter().map(|(_, group)| group).collect(),
    }
}

fn resource(endpoint: &Endpoint) -> Resource {
    let mut attributes = vec![text_pair("service.name", endpoint.service.clone())];
    for (key, value) in [("ipv4", &endpoint.ipv4), ("ipv6", &endpoint.ipv6)] {
        if !value.is_empty() {
            attributes.push(text_pair(key, value.clone()));
        }
    }
    if endpoint.port != 0 {
        attributes.push(text_pair("port", endpoint.port.to_string()));
    }
    Resource {
        attributes,
        ..Resource::default()
    }
}

fn convert(s: V1Span, timeless: Timeless) -> (Endpoint, Span) {
    let mut told = Told::of(s.annotations);
    let mut attributes = Vec::new();
    let (mut status, mut fallback, mut component) = (StatusTags::default(), None, None);
    for tag in s.tags {
        fallback = tag
            .endpoint
            .map(|e| e.service)
            .filter(|s| !s.is_empty())
            .or(fallback);
        let mut key = tag.key;
        if key == LOCAL_COMPONENT {
            "component".clone_into(&mut key);
            if let Value::String(name) = &tag.value {
                component = Some(name.clone());
            }
        }
        if !status.takes(&key, &tag.value) {
            attributes.push(pair(&key, tag.value));
        }
    }
    let mut endpoint = told.endpoint.take().unwrap_or_else(|| Endpoint {
        service: UNKNOWN_SERVICE.to_owned(),
        ..Endpoint::default()
    });
    if endpoint.service == UNKNOWN_SERVICE
        && let Some(name) = fallback.or(component).filter(|n| !n.is_empty())
    {
        endpoint.service = name;
    }
    let (mut start_ns, mut end_ns) = (told.first_ns, told.last_ns);
    if let Some(start_us) = s.timestamp_us {
        start_ns = ns(start_us);
        end_ns = ns(start_us.saturating_add(s.duration_us.unwrap_or(0)));
    }
    if start_ns == 0 && timeless == Timeless::IsNow {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        start_ns = now.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        end_ns = start_ns;
        attributes.push(pair("otel.zipkin.absentField.startTime", Value::Bool(true)));
    }
    let span = Span {
        trace_id: s.trace_id,
        span_id: s.id,
        parent_span_id: s.parent_id,
        name: s.name,
        kind: told.kind,
        start_time_unix_nano: start_ns,
        end_time_unix_nano: end_ns,
        attributes,
        events: told.events,
        status: status.finish(),
        ..Span::default()
    };
    (endpoint, span)
}

/// Nanoseconds; before the epoch there is no time.
fn ns(us: i64) -> u64 {
    u64::try_from(us).unwrap_or(0).saturating_mul(1000)
}

/// What annotations tell.
#[derive(Default)]
struct Told {
    kind: i32,
    endpoint: Option<Endpoint>,
    first_ns: u64,
    last_ns: u64,
    events: Vec<span::Event>,
}

impl Told {
    fn of(annotations: Vec<Annotation>) -> Self {
        let mut out = Self::default();
        let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
        for a in annotations.into_iter().filter(|a| !a.value.is_empty()) {
            if a.timestamp_us < first_us {
                first_us = a.timestamp_us;
                out.first_ns = ns(first_us);
            }
            if a.timestamp_us > last_us {
                last_us = a.timestamp_us;
                out.last_ns = ns(last_us);
            }
            let kind = match a.value.as_str() {
                "sr" | "ss" => 2,
                "cs" | "cr" => 3,
                "ms" => 4,
                "mr" => 5,
                _ => {
                    out.events.push(span::Event {
                        time_unix_nano: ns(a.timestamp_us),
                        name: a.value,
                        ..span::Event::default()
                    });
                    continue;
                }
            };
            // The first that says it counts.
            if out.kind == 0 {
                out.kind = kind;
            }
            let named = a.endpoint.filter(|e| !e.service.is_empty());
            out.endpoint = out.endpoint.take().or(named);
        }
        out
    }
}

/// Tags that tell the status; the surest source wins.
#[derive(Default)]
struct StatusTags {
    census: Option<i32>,
    census_message: String,
    otel: Option<i32>,
    otel_message: String,
    error: bool,
    http: Option<i32>,
    http_message: String,
}

impl StatusTags {
    /// Notes what a tag tells of the status; whether the tag says nothing else.
    fn takes(&mut self, key: &str, value: &Value) -> bool {
        let text = || match value {
            Value::String(text) => text.clone(),
            _ => String::new(),
        };
        match key {
            "census.status_code" => {
                // 0 is success there, anything else is a failure of some kind.
                let code = whole(value).map(|code| if code == 0 { 1 } else { 2 });
                self.census = code.or(self.census);
            }
            "census.status_description" | "opencensus.status_description" => {
                self.census_message = text();
            }
            "otel.status_code" => self.otel = whole(value).or(self.otel),
            "otel.status_description" => self.otel_message = text(),
            "error" => self.error = true,
            "http.status_code" => {
                let code = whole(value).map(|c| if (100..400).contains(&c) { 0 } else { 2 });
                self.http = code.or(self.http);
                return false;
            }
            "http.status_message" => {
                self.http_message = text();
                return false;
            }
            _ => return false,
        }
        true
    }

    fn finish(self) -> Option<Status> {
        let (code, message) = if let Some(code) = self.census {
            (code, self.census_message)
        } else if let Some(code) = self.otel {
            (code, self.otel_message)
        } else if self.error {
            let told = [self.census_message, self.otel_message];
            (
                2,
                told.into_iter().find(|m| !m.is_empty()).unwrap_or_default(),
            )
        } else {
            (self.http?, self.http_message)
        };
        Some(Status { code, message })
    }
}

fn whole(value: &Value) -> Option<i32> {
    match value {
        Value::Int(n) => i32::try_from(*n).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
