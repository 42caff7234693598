//! Zipkin v1 spans. Source: `zipkincore.thrift` of jaeger-idl.

use bytes::Bytes;

use super::reader::{Kind, Protocol, Reader, Result, structured};

/// Types of a binary annotation's value.
pub(crate) const BOOL: i32 = 0;
pub(crate) const BYTES: i32 = 1;
pub(crate) const I16: i32 = 2;
pub(crate) const I32: i32 = 3;
pub(crate) const I64: i32 = 4;
pub(crate) const DOUBLE: i32 = 5;
pub(crate) const STRING: i32 = 6;

/// A span as it comes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace_id: i64,
    pub(crate) trace_id_high: i64,
    pub(crate) id: i64,
    pub(crate) parent_id: Option<i64>,
    pub(crate) name: String,
    pub(crate) timestamp_us: Option<i64>,
    pub(crate) duration_us: Option<i64>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) binary_annotations: Vec<BinaryAnnotation>,
}

/// Something that happened, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Annotation {
    pub(crate) timestamp_us: i64,
    pub(crate) value: String,
    pub(crate) host: Option<Endpoint>,
}

/// A tag, and whose.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BinaryAnnotation {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) kind: i32,
    pub(crate) host: Option<Endpoint>,
}

/// A service on a host. The unsigned numbers of an address come as signed ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) ipv4: i32,
    pub(crate) port: i16,
    pub(crate) service_name: String,
    pub(crate) ipv6: Bytes,
}

/// Reads a list of spans in the binary protocol, as it comes over HTTP.
pub(crate) fn decode_spans(body: Bytes) -> Result<Vec<Span>> {
    let mut out = Vec::new();
    Reader::new(Protocol::Binary, body).list(|r, kind| {
        out.push(structured(r, kind, span)?);
        Ok(())
    })?;
    Ok(out)
}

fn span(r: &mut Reader) -> Result<Span> {
    let mut out = Span::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I64) => out.trace_id = r.i64()?,
            (3, Kind::Binary) => out.name = r.text()?,
            (4, Kind::I64) => out.id = r.i64()?,
            (5, Kind::I64) => out.parent_id = Some(r.i64()?),
            (6, Kind::List) => r.list(|r, kind| {
                out.annotations.push(structured(r, kind, annotation)?);
                Ok(())
            })?,
            (8, Kind::List) => r.list(|r, kind| {
                let tag = structured(r, kind, binary_annotation)?;
                out.binary_annotations.push(tag);
                Ok(())
            })?,
            (10, Kind::I64) => out.timestamp_us = Some(r.i64()?),
            (11, Kind::I64) => out.duration_us = Some(r.i64()?),
            (12, Kind::I64) => out.trace_id_high = r.i64()?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn annotation(r: &mut Reader) -> Result<Annotation> {
    let mut out = Annotation::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I64) => out.timestamp_us = r.i64()?,
            (2, Kind::Binary) => out.value = r.text()?,
            (3, Kind::Struct) => out.host = Some(endpoint(r)?),
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn binary_annotation(r: &mut Reader) -> Result<BinaryAnnotation> {
    let mut out = BinaryAnnotation::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::Binary) => out.key = r.text()?,
            (2, Kind::Binary) => out.value = r.bytes()?,
            (3, Kind::I32) => out.kind = r.i32()?,
            (4, Kind::Struct) => out.host = Some(endpoint(r)?),
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn endpoint(r: &mut Reader) -> Result<Endpoint> {
    let mut out = Endpoint::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I32) => out.ipv4 = r.i32()?,
            (2, Kind::I16) => out.port = r.i16()?,
            (3, Kind::Binary) => out.service_name = r.text()?,
            (4, Kind::Binary) => out.ipv6 = r.bytes()?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}
