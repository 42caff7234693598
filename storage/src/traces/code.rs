//! Spans as bytes: attribute values, resources, scopes and what a span holds besides its columns.
//!
//! ```text
//!  uvarint   7 bits a byte, low first        text, bytes   uvarint length, then the bytes
//!  value     tag byte, then: 0 nothing | 1 text | 2 true | 3 false | 4 zigzag uvarint | 5 eight bytes
//!            | 6 bytes | 7 count, values | 8 count, (key, value) pairs
//! ```
//!
//! Invariant: what is decoded equals what was encoded, floats bit for bit. Decoders meet only our
//! own bytes, yet never panic: a damaged block is an error.

use crate::model::{
    AnyValue, Attribute, Link, Resource, Scope, Span, SpanEvent, SpanId, StatusCode, TraceId,
};
use crate::read::ReadError;

type Result<T> = std::result::Result<T, ReadError>;

/// Deepest nesting of values that is decoded.
const MAX_DEPTH: usize = 200;

pub(super) fn put_uvarint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

const fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

pub(super) fn put_value(out: &mut Vec<u8>, value: &AnyValue) {
    match value {
        AnyValue::Empty => out.push(0),
        AnyValue::String(s) => {
            out.push(1);
            put_text(out, s);
        }
        AnyValue::Bool(b) => out.push(if *b { 2 } else { 3 }),
        AnyValue::Int(i) => {
            out.push(4);
            put_uvarint(out, zigzag(*i));
        }
        AnyValue::Double(d) => {
            out.push(5);
            out.extend_from_slice(&d.to_bits().to_le_bytes());
        }
        AnyValue::Bytes(b) => {
            out.push(6);
            put_bytes(out, b);
        }
        AnyValue::Array(items) => {
            out.push(7);
            put_uvarint(out, items.len() as u64);
            for item in items {
                put_value(out, item);
            }
        }
        AnyValue::Map(pairs) => {
            out.push(8);
            put_attributes(out, pairs);
        }
    }
}

pub(super) fn put_attributes(out: &mut Vec<u8>, attributes: &[Attribute]) {
    put_uvarint(out, attributes.len() as u64);
    for a in attributes {
        put_text(out, &a.key);
        put_value(out, &a.value);
    }
}

pub(super) fn put_resource(out: &mut Vec<u8>, resource: &Resource) {
    put_attributes(out, &resource.attributes);
    put_uvarint(out, u64::from(resource.dropped_attributes_count));
    put_text(out, &resource.schema_url);
}

pub(super) fn put_scope(out: &mut Vec<u8>, scope: &Scope) {
    put_text(out, &scope.name);
    put_text(out, &scope.version);
    put_attributes(out, &scope.attributes);
    put_uvarint(out, u64::from(scope.dropped_attributes_count));
    put_text(out, &scope.schema_url);
}

/// All of a span but resource, scope, trace id, name, kind, status code and times.
pub(super) fn put_span_body(out: &mut Vec<u8>, span: &Span) {
    out.extend_from_slice(&span.span_id.0);
    out.extend_from_slice(&span.parent_span_id.0);
    put_attributes(out, &span.attributes);
    put_text(out, &span.status_message);
    put_span_rest(out, span);
}

/// What no plain column of a block holds. Empty for a span that has none of it, which most are.
pub(super) fn put_span_rest(out: &mut Vec<u8>, span: &Span) {
    let plain = span.trace_state.is_empty()
        && span.flags == 0
        && span.dropped_attributes_count == 0
        && span.dropped_events_count == 0
        && span.dropped_links_count == 0
        && span.events.is_empty()
        && span.links.is_empty();
    if plain {
        out.push(0);
        return;
    }
    out.push(1);
    put_text(out, &span.trace_state);
    for n in [
        span.flags,
        span.dropped_attributes_count,
        span.dropped_events_count,
        span.dropped_links_count,
    ] {
        put_uvarint(out, u64::from(n));
    }
    put_uvarint(out, span.events.len() as u64);
    for event in &span.events {
        // Events lie near the span's start; the difference is short.
        put_uvarint(
            out,
            zigzag(event.time_ns.wrapping_sub(span.start_ns) as i64),
        );
        put_text(out, &event.name);
        put_attributes(out, &event.attributes);
        put_uvarint(out, u64::from(event.dropped_attributes_count));
    }
    put_uvarint(out, span.links.len() as u64);
    for link in &span.links {
        out.extend_from_slice(&link.trace_id.0);
        out.extend_from_slice(&link.span_id.0);
        put_text(out, &link.trace_state);
        put_attributes(out, &link.attributes);
        put_uvarint(out, u64::from(link.dropped_attributes_count));
        put_uvarint(out, u64::from(link.flags));
    }
}

/// Reads what the functions above wrote.
pub(super) struct Input<'a> {
    buf: &'a [u8],
    depth: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(buf: &'a [u8]) -> Self {
        Self { buf, depth: 0 }
    }

    /// The bytes not read yet.
    pub(super) const fn left(&self) -> &'a [u8] {
        self.buf
    }

    pub(super) fn uvarint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(bad())
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        u32::try_from(self.uvarint()?).map_err(|_| bad())
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.buf.split_first().ok_or_else(bad)?;
        self.buf = rest;
        Ok(*first)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.buf.split_first_chunk::<N>().ok_or_else(bad)?;
        self.buf = rest;
        Ok(*head)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = usize::try_from(self.uvarint()?).map_err(|_| bad())?;
        if n > self.buf.len() {
            return Err(bad());
        }
        let (head, rest) = self.buf.split_at(n);
        self.buf = rest;
        Ok(head)
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| bad())
    }

    /// A count of things of at least one byte each: never more than bytes are left.
    pub(super) fn count(&mut self) -> Result<usize> {
        let n = usize::try_from(self.uvarint()?).map_err(|_| bad())?;
        if n > self.buf.len() {
            return Err(bad());
        }
        Ok(n)
    }

    pub(super) fn value(&mut self) -> Result<AnyValue> {
        Ok(match self.byte()? {
            0 => AnyValue::Empty,
            1 => AnyValue::String(self.text()?.to_owned()),
            2 => AnyValue::Bool(true),
            3 => AnyValue::Bool(false),
            4 => AnyValue::Int(unzigzag(self.uvarint()?)),
            5 => AnyValue::Double(f64::from_bits(u64::from_le_bytes(self.fixed()?))),
            6 => AnyValue::Bytes(self.bytes()?.to_vec()),
            7 => {
                self.deeper()?;
                let n = self.count()?;
                let items = (0..n).map(|_| self.value()).collect::<Result<_>>()?;
                self.depth -= 1;
                AnyValue::Array(items)
            }
            8 => {
                self.deeper()?;
                let pairs = self.attributes()?;
                self.depth -= 1;
                AnyValue::Map(pairs)
            }
            _ => return Err(bad()),
        })
    }

    pub(super) fn attributes(&mut self) -> Result<Vec<Attribute>> {
        let n = self.count()?;
        (0..n)
            .map(|_| {
                Ok(Attribute {
                    key: self.text()?.to_owned(),
                    value: self.value()?,
                })
            })
            .collect()
    }

    pub(super) fn resource(&mut self) -> Result<Resource> {
        Ok(Resource {
            attributes: self.attributes()?,
            dropped_attributes_count: self.u32()?,
            schema_url: self.text()?.to_owned(),
        })
    }

    pub(super) fn scope(&mut self) -> Result<Scope> {
        Ok(Scope {
            name: self.text()?.to_owned(),
            version: self.text()?.to_owned(),
            attributes: self.attributes()?,
            dropped_attributes_count: self.u32()?,
            schema_url: self.text()?.to_owned(),
        })
    }

    /// Fills a span whose start is set already; see [`put_span_body`].
    pub(super) fn span_body(&mut self, span: &mut Span) -> Result<()> {
        span.span_id = SpanId(self.fixed()?);
        span.parent_span_id = SpanId(self.fixed()?);
        span.attributes = self.attributes()?;
        self.text()?.clone_into(&mut span.status_message);
        self.span_rest(span)
    }

    /// Fills a span whose start is set already; see [`put_span_rest`].
    pub(super) fn span_rest(&mut self, span: &mut Span) -> Result<()> {
        if self.byte()? == 0 {
            return Ok(());
        }
        self.text()?.clone_into(&mut span.trace_state);
        span.flags = self.u32()?;
        span.dropped_attributes_count = self.u32()?;
        span.dropped_events_count = self.u32()?;
        span.dropped_links_count = self.u32()?;
        let n = self.count()?;
        let start_ns = span.start_ns;
        span.events = (0..n)
            .map(|_| {
                Ok(SpanEvent {
                    time_ns: start_ns.wrapping_add(unzigzag(self.uvarint()?) as u64),
                    name: self.text()?.to_owned(),
                    attributes: self.attributes()?,
                    dropped_attributes_count: self.u32()?,
                })
            })
            .collect::<Result<_>>()?;
        let n = self.count()?;
        span.links = (0..n)
            .map(|_| {
                Ok(Link {
                    trace_id: TraceId(self.fixed()?),
                    span_id: SpanId(self.fixed()?),
                    trace_state: self.text()?.to_owned(),
                    attributes: self.attributes()?,
                    dropped_attributes_count: self.u32()?,
                    flags: self.u32()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(())
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad());
        }
        Ok(())
    }
}

fn bad() -> ReadError {
    ReadError("a stored span".to_owned())
}

/// The word of a status in a block's column; numbers without one are written as such.
pub(super) fn status_text(status: StatusCode) -> String {
    match status.0 {
        0 => "unset".to_owned(),
        1 => "ok".to_owned(),
        2 => "error".to_owned(),
        n => n.to_string(),
    }
}

/// The other way.
pub(super) fn status_from_text(text: &str) -> Result<StatusCode> {
    Ok(StatusCode(match text {
        "unset" => 0,
        "ok" => 1,
        "error" => 2,
        n => n.parse().map_err(|_| bad())?,
    }))
}

/// The word of a kind in a block's column; numbers without one are written as such.
pub(super) fn kind_text(kind: crate::model::SpanKind) -> String {
    match (kind.as_str(), kind.0) {
        ("", 0) => "unspecified".to_owned(),
        ("", n) => n.to_string(),
        (word, _) => word.to_owned(),
    }
}

/// The other way.
pub(super) fn kind_from_text(text: &str) -> Result<crate::model::SpanKind> {
    use crate::model::SpanKind;
    Ok(match text {
        "unspecified" => SpanKind::UNSPECIFIED,
        "internal" => SpanKind::INTERNAL,
        "server" => SpanKind::SERVER,
        "client" => SpanKind::CLIENT,
        "producer" => SpanKind::PRODUCER,
        "consumer" => SpanKind::CONSUMER,
        n => SpanKind(n.parse().map_err(|_| bad())?),
    })
}
