//! Zipkin v1 spans in Thrift, as Scribe and the older Zipkin libraries send them.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use bytes::Bytes;

use super::{Annotation, Endpoint, Tag, Timeless, V1Span, to_otlp};
use crate::wire::otlp::{ExportTraceServiceRequest, any_value::Value};
use crate::wire::thrift::zipkin;

pub(in crate::ingest::zipkin) fn from_thrift(
    body: Bytes,
) -> Result<ExportTraceServiceRequest, String> {
    let spans = zipkin::decode_spans(body).map_err(|e| e.to_string())?;
    let spans = spans.into_iter().map(span).collect();
    Ok(to_otlp(spans, Timeless::Stays))
}

fn span(s: zipkin::Span) -> V1Span {
    let id = |id: i64| Bytes::copy_from_slice(&id.to_be_bytes());
    let trace_id = [s.trace_id_high.to_be_bytes(), s.trace_id.to_be_bytes()].concat();
    let annotation = |a: zipkin::Annotation| Annotation {
        timestamp_us: a.timestamp_us,
        value: a.value,
        endpoint: a.host.map(Endpoint::from),
    };
    let tag = |t: zipkin::BinaryAnnotation| Tag {
        value: value(t.kind, &t.value),
        key: t.key,
        endpoint: t.host.map(Endpoint::from),
    };
    V1Span {
        trace_id: trace_id.into(),
        id: id(s.id),
        parent_id: s.parent_id.map_or_else(Bytes::new, id),
        name: s.name,
        timestamp_us: s.timestamp_us,
        duration_us: s.duration_us,
        annotations: s.annotations.into_iter().map(annotation).collect(),
        tags: s.binary_annotations.into_iter().map(tag).collect(),
    }
}

impl From<zipkin::Endpoint> for Endpoint {
    fn from(e: zipkin::Endpoint) -> Self {
        let ipv4 = e.ipv4.cast_unsigned();
        let ipv6 = <[u8; 16]>::try_from(&e.ipv6[..]);
        Self {
            service: e.service_name,
            ipv4: match ipv4 {
                0 => String::new(),
                bits => Ipv4Addr::from_bits(bits).to_string(),
            },
            ipv6: ipv6.map_or_else(|_| String::new(), |b| Ipv6Addr::from(b).to_string()),
            // Thrift has no unsigned integers: ports from 32768 up come as negative ones.
            port: i32::from(e.port.cast_unsigned()),
        }
    }
}

/// The value of a tag by its type; integers are big-endian. What is no value of its type is said in its place.
fn value(kind: i32, bytes: &[u8]) -> Value {
    let short = || Value::String("<not enough bytes representing the number>".to_owned());
    match kind {
        zipkin::BOOL => Value::Bool(bytes == [1]),
        zipkin::BYTES => Value::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
        zipkin::I16 => match bytes.first_chunk() {
            Some(b) => Value::Int(i64::from(i16::from_be_bytes(*b))),
            None => short(),
        },
        zipkin::I32 => match bytes.first_chunk() {
            Some(b) => Value::Int(i64::from(i32::from_be_bytes(*b))),
            None => short(),
        },
        zipkin::I64 => match bytes.first_chunk() {
            Some(b) => Value::Int(i64::from_be_bytes(*b)),
            None => short(),
        },
        zipkin::DOUBLE => match bytes.first_chunk() {
            Some(b) => Value::Double(f64::from_be_bytes(*b)),
            None => short(),
        },
        zipkin::STRING => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        kind => Value::String(format!(
            "<unknown zipkin v1 binary annotation type ({kind})>"
        )),
    }
}
