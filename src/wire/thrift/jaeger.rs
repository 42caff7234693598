//! Batches of Jaeger spans, read into the messages of `api_v2`.

use bytes::Bytes;

use super::reader::{Kind, Protocol, Reader, Result, ThriftError, structured};
use crate::wire::jaeger::{
    Batch, Duration, KeyValue, Log, Process, Span, SpanRef, Timestamp, value_type,
};

/// Reads a batch, as it comes over HTTP.
pub(crate) fn decode_batch(protocol: Protocol, body: Bytes) -> Result<Batch> {
    batch(&mut Reader::new(protocol, body))
}

/// Reads the agent's message `emitBatch`, as it comes in a datagram.
pub(crate) fn decode_emit_batch(protocol: Protocol, datagram: Bytes) -> Result<Batch> {
    let mut r = Reader::new(protocol, datagram);
    let name = r.message()?;
    if name != "emitBatch" {
        return Err(ThriftError(format!("unknown method {name}")));
    }
    let mut out = Batch::default();
    r.structure(|r, id, kind| match (id, kind) {
        (1, Kind::Struct) => {
            out = batch(r)?;
            Ok(())
        }
        _ => r.skip(kind),
    })?;
    Ok(out)
}

fn batch(r: &mut Reader) -> Result<Batch> {
    let mut out = Batch::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::Struct) => out.process = Some(process(r)?),
            (2, Kind::List) => r.list(|r, kind| {
                out.spans.push(structured(r, kind, span)?);
                Ok(())
            })?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn process(r: &mut Reader) -> Result<Process> {
    let mut out = Process::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::Binary) => out.service_name = r.text()?,
            (2, Kind::List) => tags(r, &mut out.tags)?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn tags(r: &mut Reader, out: &mut Vec<KeyValue>) -> Result<()> {
    r.list(|r, kind| {
        out.push(structured(r, kind, tag)?);
        Ok(())
    })
}

fn tag(r: &mut Reader) -> Result<KeyValue> {
    let mut out = KeyValue::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::Binary) => out.key = r.text()?,
            (2, Kind::I32) => {
                // Thrift orders the types otherwise than protobuf.
                out.v_type = match r.i32()? {
                    1 => value_type::FLOAT64,
                    2 => value_type::BOOL,
                    3 => value_type::INT64,
                    4 => value_type::BINARY,
                    _ => value_type::STRING,
                };
            }
            (3, Kind::Binary) => out.v_str = r.text()?,
            (4, Kind::Double) => out.v_float64 = r.double()?,
            (5, Kind::Bool(_)) => out.v_bool = r.bool(kind)?,
            (6, Kind::I64) => out.v_int64 = r.i64()?,
            (7, Kind::Binary) => out.v_binary = r.bytes()?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn span(r: &mut Reader) -> Result<Span> {
    let mut out = Span::default();
    let (mut low, mut high, mut parent) = (0, 0, 0);
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I64) => low = r.i64()?,
            (2, Kind::I64) => high = r.i64()?,
            (3, Kind::I64) => out.span_id = id_bytes(r.i64()?),
            (4, Kind::I64) => parent = r.i64()?,
            (5, Kind::Binary) => out.operation_name = r.text()?,
            (6, Kind::List) => r.list(|r, kind| {
                out.references.push(structured(r, kind, reference)?);
                Ok(())
            })?,
            (8, Kind::I64) => out.start_time = Some(timestamp(r.i64()?)),
            (9, Kind::I64) => {
                let us = u64::try_from(r.i64()?).unwrap_or(0);
                out.duration = Some(Duration::from_ns(us.saturating_mul(1000)));
            }
            (10, Kind::List) => tags(r, &mut out.tags)?,
            (11, Kind::List) => r.list(|r, kind| {
                out.logs.push(structured(r, kind, log)?);
                Ok(())
            })?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    out.trace_id = trace_id_bytes(high, low);
    // The parent's own field came before references did; it says the same.
    if parent != 0 {
        let reference = SpanRef {
            trace_id: Bytes::clone(&out.trace_id),
            span_id: id_bytes(parent),
            ref_type: 0,
        };
        if !out.references.contains(&reference) {
            out.references.insert(0, reference);
        }
    }
    Ok(out)
}

fn reference(r: &mut Reader) -> Result<SpanRef> {
    let mut out = SpanRef::default();
    let (mut low, mut high) = (0, 0);
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I32) => out.ref_type = r.i32()?,
            (2, Kind::I64) => low = r.i64()?,
            (3, Kind::I64) => high = r.i64()?,
            (4, Kind::I64) => out.span_id = id_bytes(r.i64()?),
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    out.trace_id = trace_id_bytes(high, low);
    Ok(out)
}

fn log(r: &mut Reader) -> Result<Log> {
    let mut out = Log::default();
    r.structure(|r, id, kind| {
        match (id, kind) {
            (1, Kind::I64) => out.timestamp = Some(timestamp(r.i64()?)),
            (2, Kind::List) => tags(r, &mut out.fields)?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn timestamp(us: i64) -> Timestamp {
    Timestamp::from_ns(u64::try_from(us).unwrap_or(0).saturating_mul(1000))
}

fn id_bytes(id: i64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

fn trace_id_bytes(high: i64, low: i64) -> Bytes {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&high.to_be_bytes());
    id[8..].copy_from_slice(&low.to_be_bytes());
    Bytes::copy_from_slice(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_that_is_no_thrift_is_an_error() {
        for text in ["", "not thrift", "\u{0}", "\u{f}\u{0}\u{2}\u{c}"] {
            for protocol in [Protocol::Binary, Protocol::Compact] {
                let body = Bytes::copy_from_slice(text.as_bytes());
                let _ = decode_emit_batch(protocol, Bytes::clone(&body));
                if text.len() != 1 {
                    assert!(decode_batch(protocol, body).is_err(), "{text:?}");
                }
            }
        }
        assert_eq!(
            decode_batch(Protocol::Binary, Bytes::from_static(b"not thrift")),
            Err(ThriftError("Unknown data type 110".to_owned()))
        );
    }

    #[test]
    fn a_list_that_claims_more_than_there_is_allocates_nothing() {
        let body = [15, 0, 2, 12, 0x7f, 0xff, 0xff, 0xff];
        let read = decode_batch(Protocol::Binary, Bytes::copy_from_slice(&body));
        assert_eq!(read, Err(ThriftError("EOF".to_owned())));
    }
}
