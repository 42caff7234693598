//! Thrift, binary and compact: a bounded reader of structs, and the structs of Jaeger and Zipkin read with it.
//! Source: the Thrift specification, `jaeger.thrift`, `agent.thrift` and `zipkincore.thrift` of jaeger-idl.
//!
//! Invariant: a list is never larger than the bytes that are left, and nesting is bounded, so that
//! memory stays in proportion to what was received.

mod jaeger;
mod reader;
pub(crate) mod zipkin;

pub(crate) use jaeger::{decode_batch, decode_emit_batch};
pub(crate) use reader::Protocol;
