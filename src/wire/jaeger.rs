//! Jaeger's own messages: `jaeger.api_v2` (model, collector, query) and the requests of
//! `jaeger.api_v3`. Thrift spans are read into the same model.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl Timestamp {
    pub(crate) fn from_ns(ns: u64) -> Self {
        Self {
            seconds: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: i32::try_from(ns % 1_000_000_000).unwrap_or(0),
        }
    }

    pub(crate) fn ns(self) -> i64 {
        self.seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(self.nanos))
    }
}

impl Duration {
    pub(crate) fn from_ns(ns: u64) -> Self {
        let t = Timestamp::from_ns(ns);
        Self {
            seconds: t.seconds,
            nanos: t.nanos,
        }
    }

    pub(crate) fn ns(self) -> i64 {
        self.seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(self.nanos))
    }
}

/// Types of a [`KeyValue`].
pub(crate) mod value_type {
    pub(crate) const STRING: i32 = 0;
    pub(crate) const BOOL: i32 = 1;
    pub(crate) const INT64: i32 = 2;
    pub(crate) const FLOAT64: i32 = 3;
    pub(crate) const BINARY: i32 = 4;
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(int32, tag = "2")]
    pub(crate) v_type: i32,
    #[prost(string, tag = "3")]
    pub(crate) v_str: String,
    #[prost(bool, tag = "4")]
    pub(crate) v_bool: bool,
    #[prost(int64, tag = "5")]
    pub(crate) v_int64: i64,
    #[prost(double, tag = "6")]
    pub(crate) v_float64: f64,
    #[prost(bytes = "bytes", tag = "7")]
    pub(crate) v_binary: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Log {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) fields: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SpanRef {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) trace_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) span_id: Bytes,
    /// 0 child of, 1 follows from.
    #[prost(int32, tag = "3")]
    pub(crate) ref_type: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Process {
    #[prost(string, tag = "1")]
    pub(crate) service_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) tags: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) trace_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) span_id: Bytes,
    #[prost(string, tag = "3")]
    pub(crate) operation_name: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) references: Vec<SpanRef>,
    #[prost(uint32, tag = "5")]
    pub(crate) flags: u32,
    #[prost(message, optional, tag = "6")]
    pub(crate) start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "7")]
    pub(crate) duration: Option<Duration>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) tags: Vec<KeyValue>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) logs: Vec<Log>,
    #[prost(message, optional, tag = "10")]
    pub(crate) process: Option<Process>,
    #[prost(string, tag = "11")]
    pub(crate) process_id: String,
    #[prost(string, repeated, tag = "12")]
    pub(crate) warnings: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) spans: Vec<Span>,
    #[prost(message, optional, tag = "2")]
    pub(crate) process: Option<Process>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PostSpansRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) batch: Option<Batch>,
}

/// `GetTraceRequest` and `ArchiveTraceRequest` of v2.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetTraceRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) trace_id: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub(crate) end_time: Option<Timestamp>,
    #[prost(bool, tag = "4")]
    pub(crate) raw_traces: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SpansResponseChunk {
    #[prost(message, repeated, tag = "1")]
    pub(crate) spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FindTracesRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) query: Option<TraceQueryParameters>,
}

/// Of v2 and v3: both number the fields alike.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TraceQueryParameters {
    #[prost(string, tag = "1")]
    pub(crate) service_name: String,
    #[prost(string, tag = "2")]
    pub(crate) operation_name: String,
    /// `tags` in v2, `attributes` in v3.
    #[prost(map = "string, string", tag = "3")]
    pub(crate) tags: HashMap<String, String>,
    #[prost(message, optional, tag = "4")]
    pub(crate) start_time_min: Option<Timestamp>,
    #[prost(message, optional, tag = "5")]
    pub(crate) start_time_max: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(crate) duration_min: Option<Duration>,
    #[prost(message, optional, tag = "7")]
    pub(crate) duration_max: Option<Duration>,
    #[prost(int32, tag = "8")]
    pub(crate) search_depth: i32,
    #[prost(bool, tag = "9")]
    pub(crate) raw_traces: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetServicesResponse {
    #[prost(string, repeated, tag = "1")]
    pub(crate) services: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetOperationsRequest {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
    #[prost(string, tag = "2")]
    pub(crate) span_kind: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Operation {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) span_kind: String,
}

/// Of v2.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetOperationsResponse {
    #[prost(string, repeated, tag = "1")]
    pub(crate) operation_names: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) operations: Vec<Operation>,
}

/// Of v3.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperationsV3 {
    #[prost(message, repeated, tag = "1")]
    pub(crate) operations: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetDependenciesRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "2")]
    pub(crate) end_time: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DependencyLink {
    #[prost(string, tag = "1")]
    pub(crate) parent: String,
    #[prost(string, tag = "2")]
    pub(crate) child: String,
    #[prost(uint64, tag = "3")]
    pub(crate) call_count: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetDependenciesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) dependencies: Vec<DependencyLink>,
}

/// Of v3.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetTraceRequestV3 {
    #[prost(string, tag = "1")]
    pub(crate) trace_id: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub(crate) end_time: Option<Timestamp>,
    #[prost(bool, tag = "4")]
    pub(crate) raw_traces: bool,
}

/// Of v3.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Summaries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) summaries: Vec<TraceSummary>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TraceSummary {
    #[prost(string, tag = "1")]
    pub(crate) trace_id: String,
    #[prost(string, tag = "2")]
    pub(crate) root_service_name: String,
    #[prost(string, tag = "3")]
    pub(crate) root_operation_name: String,
    #[prost(fixed64, tag = "4")]
    pub(crate) min_start_time_unix_nano: u64,
    #[prost(fixed64, tag = "5")]
    pub(crate) max_end_time_unix_nano: u64,
    #[prost(int32, tag = "6")]
    pub(crate) span_count: i32,
    #[prost(int32, tag = "7")]
    pub(crate) error_span_count: i32,
    #[prost(int32, tag = "8")]
    pub(crate) orphan_span_count: i32,
    #[prost(message, repeated, tag = "9")]
    pub(crate) services: Vec<ServiceSummary>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServiceSummary {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) span_count: i32,
    #[prost(int32, tag = "3")]
    pub(crate) error_span_count: i32,
}
