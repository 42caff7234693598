//! Wire formats: protobuf messages, borrowing decoders, Thrift. They know bytes and nothing else.

pub(crate) mod grpc;
pub(crate) mod jaeger;
pub mod loki_push;
pub(crate) mod otlp;
pub mod protobuf;
pub(crate) mod remote_read;
pub mod remote_write;
pub(crate) mod remote_write2;
pub(crate) mod thrift;
pub(crate) mod tsdb_chunk;
pub(crate) mod zipkin;
