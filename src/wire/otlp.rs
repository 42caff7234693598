//! OTLP messages for the three signals: protobuf by `prost` derives written by hand from
//! opentelemetry-proto 1.x, and the lenient JSON form in [`json`].
//!
//! Invariant: field numbers and types are those of the published `.proto` files; what a sender
//! knows beyond them is skipped, never an error.

mod common;
pub(crate) mod json;
mod logs;
mod metrics;
mod reader;
mod trace;

pub(crate) use common::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, any_value,
};
pub(crate) use logs::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse, LogRecord,
};
#[cfg(test)]
pub(crate) use metrics::Sum;
pub(crate) use metrics::{
    Exemplar, ExponentialHistogramDataPoint, ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest, ExportMetricsServiceResponse, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, SummaryDataPoint, exemplar,
    exponential_histogram_data_point, metric, number_data_point,
};
pub(crate) use trace::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    ResourceSpans, ScopeSpans, Span, Status, TracesData, span,
};
