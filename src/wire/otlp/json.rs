//! OTLP/JSON requests for the three signals, read into the same messages as protobuf.
//!
//! Taken as the OpenTelemetry Collector takes it: lower camel case or snake case, ids in
//! hexadecimal, integers as numbers or text, enums by number or name, unknown fields skipped,
//! `null` for anything.

use super::common::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, Resource, any_value::Value,
};
use super::logs::{ExportLogsServiceRequest, LogRecord, ResourceLogs, ScopeLogs};
use super::metrics::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, ExportMetricsServiceRequest,
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
    Sum, Summary, SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets,
    metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use super::reader::{JsonError, JsonReader};
use super::trace::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, Status, span};

type Result<T> = std::result::Result<T, JsonError>;
type Reader<'a> = JsonReader<'a>;

const KINDS: [(&str, i32); 6] = [
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];

const STATUS_CODES: [(&str, i32); 3] = [
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];

const TEMPORALITIES: [(&str, i32); 3] = [
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];

const SEVERITIES: [(&str, i32); 25] = [
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];

/// Reads a request for spans.
pub(crate) fn decode_traces(body: &[u8]) -> Result<ExportTraceServiceRequest> {
    let mut out = ExportTraceServiceRequest::default();
    Reader::new(body).object(|r, key| match key {
        "resourceSpans" | "resource_spans" => r.list(&mut out.resource_spans, resource_spans),
        _ => r.skip(),
    })?;
    Ok(out)
}

/// Reads a request for log records.
pub(crate) fn decode_logs(body: &[u8]) -> Result<ExportLogsServiceRequest> {
    let mut out = ExportLogsServiceRequest::default();
    Reader::new(body).object(|r, key| match key {
        "resourceLogs" | "resource_logs" => r.list(&mut out.resource_logs, resource_logs),
        _ => r.skip(),
    })?;
    Ok(out)
}

/// Reads a request for metrics.
pub(crate) fn decode_metrics(body: &[u8]) -> Result<ExportMetricsServiceRequest> {
    let mut out = ExportMetricsServiceRequest::default();
    Reader::new(body).object(|r, key| match key {
        "resourceMetrics" | "resource_metrics" => {
            r.list(&mut out.resource_metrics, resource_metrics)
        }
        _ => r.skip(),
    })?;
    Ok(out)
}

fn any_value(r: &mut Reader<'_>) -> Result<AnyValue> {
    let mut value = None;
    r.object(|r, key| {
        value = Some(match key {
            "stringValue" | "string_value" => Value::String(r.string()?),
            "boolValue" | "bool_value" => Value::Bool(r.bool()?),
            "intValue" | "int_value" => Value::Int(r.i64()?),
            "doubleValue" | "double_value" => Value::Double(r.f64()?),
            "bytesValue" | "bytes_value" => Value::Bytes(r.bytes()?),
            "arrayValue" | "array_value" => {
                let mut list = ArrayValue::default();
                r.object(|r, key| match key {
                    "values" => r.list(&mut list.values, any_value),
                    _ => r.skip(),
                })?;
                Value::Array(list)
            }
            "kvlistValue" | "kvlist_value" => {
                let mut list = KeyValueList::default();
                r.object(|r, key| match key {
                    "values" => r.list(&mut list.values, key_value),
                    _ => r.skip(),
                })?;
                Value::Kvlist(list)
            }
            _ => return r.skip(),
        });
        Ok(())
    })?;
    Ok(AnyValue { value })
}

fn key_value(r: &mut Reader<'_>) -> Result<KeyValue> {
    let mut out = KeyValue::default();
    r.object(|r, key| {
        match key {
            "key" => out.key = r.string()?,
            "value" => out.value = Some(any_value(r)?),
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn resource(r: &mut Reader<'_>) -> Result<Resource> {
    let mut out = Resource::default();
    r.object(|r, key| {
        match key {
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                out.dropped_attributes_count = r.u32()?;
            }
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn scope(r: &mut Reader<'_>) -> Result<InstrumentationScope> {
    let mut out = InstrumentationScope::default();
    r.object(|r, key| {
        match key {
            "name" => out.name = r.string()?,
            "version" => out.version = r.string()?,
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                out.dropped_attributes_count = r.u32()?;
            }
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn resource_spans(r: &mut Reader<'_>) -> Result<ResourceSpans> {
    let mut out = ResourceSpans::default();
    r.object(|r, key| {
        match key {
            "resource" => out.resource = Some(resource(r)?),
            "scopeSpans" | "scope_spans" => r.list(&mut out.scope_spans, scope_spans)?,
            "schemaUrl" | "schema_url" => out.schema_url = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn scope_spans(r: &mut Reader<'_>) -> Result<ScopeSpans> {
    let mut out = ScopeSpans::default();
    r.object(|r, key| {
        match key {
            "scope" => out.scope = Some(scope(r)?),
            "spans" => r.list(&mut out.spans, one_span)?,
            "schemaUrl" | "schema_url" => out.schema_url = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn one_span(r: &mut Reader<'_>) -> Result<Span> {
    let mut out = Span::default();
    r.object(|r, key| {
        match key {
            "traceId" | "trace_id" => out.trace_id = r.id(16)?,
            "spanId" | "span_id" => out.span_id = r.id(8)?,
            "traceState" | "trace_state" => out.trace_state = r.string()?,
            "parentSpanId" | "parent_span_id" => out.parent_span_id = r.id(8)?,
            "flags" => out.flags = r.u32()?,
            "name" => out.name = r.string()?,
            "kind" => out.kind = r.enumeration(&KINDS)?,
            "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = r.u64()?,
            "endTimeUnixNano" | "end_time_unix_nano" => out.end_time_unix_nano = r.u64()?,
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                out.dropped_attributes_count = r.u32()?;
            }
            "events" => r.list(&mut out.events, event)?,
            "droppedEventsCount" | "dropped_events_count" => out.dropped_events_count = r.u32()?,
            "links" => r.list(&mut out.links, link)?,
            "droppedLinksCount" | "dropped_links_count" => out.dropped_links_count = r.u32()?,
            "status" => {
                let mut status = Status::default();
                r.object(|r, key| {
                    match key {
                        "message" => status.message = r.string()?,
                        "code" => status.code = r.enumeration(&STATUS_CODES)?,
                        _ => r.skip()?,
                    }
                    Ok(())
                })?;
                out.status = Some(status);
            }
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn event(r: &mut Reader<'_>) -> Result<span::Event> {
    let mut out = span::Event::default();
    r.object(|r, key| {
        match key {
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "name" => out.name = r.string()?,
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                out.dropped_attributes_count = r.u32()?;
            }
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn link(r: &mut Reader<'_>) -> Result<span::Link> {
    let mut out = span::Link::default();
    r.object(|r, key| {
        match key {
            "traceId" | "trace_id" => out.trace_id = r.id(16)?,
            "spanId" | "span_id" => out.span_id = r.id(8)?,
            "traceState" | "trace_state" => out.trace_state = r.string()?,
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                out.dropped_attributes_count = r.u32()?;
            }
            "flags" => out.flags = r.u32()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn resource_logs(r: &mut Reader<'_>) -> Result<ResourceLogs> {
    let mut out = ResourceLogs::default();
    r.object(|r, key| {
        match key {
            "resource" => out.resource = Some(resource(r)?),
            "scopeLogs" | "scope_logs" => r.list(&mut out.scope_logs, scope_logs)?,
            "schemaUrl" | "schema_url" => out.schema_url = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn scope_logs(r: &mut Reader<'_>) -> Result<ScopeLogs> {
    let mut out = ScopeLogs::default();
    r.object(|r, key| {
        match key {
            "scope" => out.scope = Some(scope(r)?),
            "logRecords" | "log_records" => r.list(&mut out.log_records, log_record)?,
            "schemaUrl" | "schema_url" => out.schema_url = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn log_record(r: &mut Reader<'_>) -> Result<LogRecord> {
    let mut out = LogRecord::default();
    r.object(|r, key| {
        match key {
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "observedTimeUnixNano" | "observed_time_unix_nano" => {
                out.observed_time_unix_nano = r.u64()?;
            }
            "severityNumber" | "severity_number" => {
                out.severity_number = r.enumeration(&SEVERITIES)?;
            }
            "severityText" | "severity_text" => out.severity_text = r.string()?,
            "body" => out.body = Some(any_value(r)?),
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                out.dropped_attributes_count = r.u32()?;
            }
            "flags" => out.flags = r.u32()?,
            "traceId" | "trace_id" => out.trace_id = r.id(16)?,
            "spanId" | "span_id" => out.span_id = r.id(8)?,
            "eventName" | "event_name" => out.event_name = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn resource_metrics(r: &mut Reader<'_>) -> Result<ResourceMetrics> {
    let mut out = ResourceMetrics::default();
    r.object(|r, key| {
        match key {
            "resource" => out.resource = Some(resource(r)?),
            "scopeMetrics" | "scope_metrics" => r.list(&mut out.scope_metrics, scope_metrics)?,
            "schemaUrl" | "schema_url" => out.schema_url = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn scope_metrics(r: &mut Reader<'_>) -> Result<ScopeMetrics> {
    let mut out = ScopeMetrics::default();
    r.object(|r, key| {
        match key {
            "scope" => out.scope = Some(scope(r)?),
            "metrics" => r.list(&mut out.metrics, metric)?,
            "schemaUrl" | "schema_url" => out.schema_url = r.string()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn metric(r: &mut Reader<'_>) -> Result<Metric> {
    let mut out = Metric::default();
    r.object(|r, key| {
        match key {
            "name" => out.name = r.string()?,
            "description" => out.description = r.string()?,
            "unit" => out.unit = r.string()?,
            "metadata" => r.list(&mut out.metadata, key_value)?,
            "gauge" => {
                let mut gauge = Gauge::default();
                points(r, |r, key| match key {
                    "dataPoints" | "data_points" => r.list(&mut gauge.data_points, number_point),
                    _ => r.skip(),
                })?;
                out.data = Some(Data::Gauge(gauge));
            }
            "sum" => {
                let mut sum = Sum::default();
                points(r, |r, key| {
                    match key {
                        "dataPoints" | "data_points" => {
                            r.list(&mut sum.data_points, number_point)?;
                        }
                        "aggregationTemporality" | "aggregation_temporality" => {
                            sum.aggregation_temporality = r.enumeration(&TEMPORALITIES)?;
                        }
                        "isMonotonic" | "is_monotonic" => sum.is_monotonic = r.bool()?,
                        _ => r.skip()?,
                    }
                    Ok(())
                })?;
                out.data = Some(Data::Sum(sum));
            }
            "histogram" => {
                let mut histogram = Histogram::default();
                points(r, |r, key| {
                    match key {
                        "dataPoints" | "data_points" => {
                            r.list(&mut histogram.data_points, histogram_point)?;
                        }
                        "aggregationTemporality" | "aggregation_temporality" => {
                            histogram.aggregation_temporality = r.enumeration(&TEMPORALITIES)?;
                        }
                        _ => r.skip()?,
                    }
                    Ok(())
                })?;
                out.data = Some(Data::Histogram(histogram));
            }
            "exponentialHistogram" | "exponential_histogram" => {
                let mut histogram = ExponentialHistogram::default();
                points(r, |r, key| {
                    match key {
                        "dataPoints" | "data_points" => {
                            r.list(&mut histogram.data_points, exponential_point)?;
                        }
                        "aggregationTemporality" | "aggregation_temporality" => {
                            histogram.aggregation_temporality = r.enumeration(&TEMPORALITIES)?;
                        }
                        _ => r.skip()?,
                    }
                    Ok(())
                })?;
                out.data = Some(Data::ExponentialHistogram(histogram));
            }
            "summary" => {
                let mut summary = Summary::default();
                points(r, |r, key| match key {
                    "dataPoints" | "data_points" => r.list(&mut summary.data_points, summary_point),
                    _ => r.skip(),
                })?;
                out.data = Some(Data::Summary(summary));
            }
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

/// An object of data points; the name tells it from the metric around it.
fn points(
    r: &mut Reader<'_>,
    field: impl FnMut(&mut Reader<'_>, &str) -> Result<()>,
) -> Result<()> {
    r.object(field)
}

fn number_point(r: &mut Reader<'_>) -> Result<NumberDataPoint> {
    let mut out = NumberDataPoint::default();
    r.object(|r, key| {
        match key {
            "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = r.u64()?,
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "asInt" | "as_int" => out.value = Some(number_data_point::Value::AsInt(r.i64()?)),
            "asDouble" | "as_double" => {
                out.value = Some(number_data_point::Value::AsDouble(r.f64()?));
            }
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "exemplars" => r.list(&mut out.exemplars, one_exemplar)?,
            "flags" => out.flags = r.u32()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn histogram_point(r: &mut Reader<'_>) -> Result<HistogramDataPoint> {
    let mut out = HistogramDataPoint::default();
    r.object(|r, key| {
        match key {
            "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = r.u64()?,
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "count" => out.count = r.u64()?,
            "sum" => out.sum = Some(r.f64()?),
            "min" => out.min = Some(r.f64()?),
            "max" => out.max = Some(r.f64()?),
            "bucketCounts" | "bucket_counts" => r.list(&mut out.bucket_counts, Reader::u64)?,
            "explicitBounds" | "explicit_bounds" => {
                r.list(&mut out.explicit_bounds, Reader::f64)?;
            }
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "exemplars" => r.list(&mut out.exemplars, one_exemplar)?,
            "flags" => out.flags = r.u32()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn exponential_point(r: &mut Reader<'_>) -> Result<ExponentialHistogramDataPoint> {
    let mut out = ExponentialHistogramDataPoint::default();
    r.object(|r, key| {
        match key {
            "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = r.u64()?,
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "count" => out.count = r.u64()?,
            "sum" => out.sum = Some(r.f64()?),
            "min" => out.min = Some(r.f64()?),
            "max" => out.max = Some(r.f64()?),
            "scale" => out.scale = r.i32()?,
            "zeroCount" | "zero_count" => out.zero_count = r.u64()?,
            "zeroThreshold" | "zero_threshold" => out.zero_threshold = r.f64()?,
            "positive" => out.positive = Some(buckets(r)?),
            "negative" => out.negative = Some(buckets(r)?),
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "exemplars" => r.list(&mut out.exemplars, one_exemplar)?,
            "flags" => out.flags = r.u32()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn buckets(r: &mut Reader<'_>) -> Result<Buckets> {
    let mut out = Buckets::default();
    r.object(|r, key| {
        match key {
            "offset" => out.offset = r.i32()?,
            "bucketCounts" | "bucket_counts" => r.list(&mut out.bucket_counts, Reader::u64)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn summary_point(r: &mut Reader<'_>) -> Result<SummaryDataPoint> {
    let mut out = SummaryDataPoint::default();
    r.object(|r, key| {
        match key {
            "startTimeUnixNano" | "start_time_unix_nano" => out.start_time_unix_nano = r.u64()?,
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "count" => out.count = r.u64()?,
            "sum" => out.sum = r.f64()?,
            "quantileValues" | "quantile_values" => {
                r.list(&mut out.quantile_values, |r| {
                    let mut at = ValueAtQuantile::default();
                    r.object(|r, key| {
                        match key {
                            "quantile" => at.quantile = r.f64()?,
                            "value" => at.value = r.f64()?,
                            _ => r.skip()?,
                        }
                        Ok(())
                    })?;
                    Ok(at)
                })?;
            }
            "attributes" => r.list(&mut out.attributes, key_value)?,
            "flags" => out.flags = r.u32()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

fn one_exemplar(r: &mut Reader<'_>) -> Result<Exemplar> {
    let mut out = Exemplar::default();
    r.object(|r, key| {
        match key {
            "filteredAttributes" | "filtered_attributes" => {
                r.list(&mut out.filtered_attributes, key_value)?;
            }
            "timeUnixNano" | "time_unix_nano" => out.time_unix_nano = r.u64()?,
            "asInt" | "as_int" => out.value = Some(exemplar::Value::AsInt(r.i64()?)),
            "asDouble" | "as_double" => out.value = Some(exemplar::Value::AsDouble(r.f64()?)),
            "spanId" | "span_id" => out.span_id = r.id(8)?,
            "traceId" | "trace_id" => out.trace_id = r.id(16)?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_both_forms_of_numbers_are_read() {
        let camel = decode_traces(
            br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5B8EFFF798038103d269b633813fc60c",
            "spanId":"eee19b7ec3c1b174","startTimeUnixNano":"1","endTimeUnixNano":2,"kind":"SPAN_KIND_SERVER",
            "attributes":[{"key":"a","value":{"intValue":"7"}}],"status":{"code":2},"more":{"x":[1,"y",null]}}]}]}]}"#,
        );
        let snake = decode_traces(
            br#"{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"5b8efff798038103d269b633813fc60c",
            "span_id":"eee19b7ec3c1b174","start_time_unix_nano":1,"end_time_unix_nano":"2","kind":2,
            "attributes":[{"key":"a","value":{"int_value":7}}],"status":{"code":"STATUS_CODE_ERROR"}}]}]}]}"#,
        );
        assert_eq!(camel.unwrap(), snake.unwrap());
    }

    #[test]
    fn fractions_and_short_ids_are_refused() {
        let span = |inner: &str| {
            let body =
                format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{{inner}}}]}}]}}]}}");
            decode_traces(body.as_bytes()).map(|_| ())
        };
        assert!(span("\"startTimeUnixNano\":1.5").is_err());
        assert!(span("\"traceId\":\"5b8e\"").is_err());
        assert!(span("\"kind\":\"2\"").is_err());
        assert_eq!(span("\"traceId\":\"\",\"parentSpanId\":null"), Ok(()));
    }
}
