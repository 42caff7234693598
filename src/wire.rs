//! Wire formats: protobuf messages, borrowing decoders, Thrift. They know bytes and nothing else.

pub mod otlp;
