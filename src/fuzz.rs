//! Doors for fuzzing: every decoder of this program as a function of bytes. Not for use by anything else.
//!
//! A target may not panic, whatever the bytes. Some hold laws too: what was decoded and written anew decodes to the same, what was
//! printed parses to the same. `fuzz/` wraps them for cargo-fuzz; `tests/fuzz.rs` drives them with mutations of `fuzz/corpus`.

mod folder;

use bytes::Bytes;
use prost::Message;
use storage::codec::gorilla::{FloatDecoder, FloatEncoder};
use storage::codec::histogram::{HistogramDecoder, HistogramEncoder};
pub use storage::fuzz::{block_index, samples_page};
use storage::model::{SampleBuf, Tenant};

pub use self::folder::{remembered, wal_segment};
use crate::config::OtlpConfig;
use crate::ingest::loki_push;
use crate::ingest::native_histogram::{reduce, validate};
use crate::ingest::otlp_metrics::{Totals, translate};
use crate::ingest::remote_write::v2;
use crate::ingest::{otlp_logs, spans, zipkin};
use crate::wire::otlp::{
    ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, json,
};
use crate::wire::remote_read::ReadRequest;
use crate::wire::remote_write::{self, Form};
use crate::wire::thrift::{self, Protocol};
use crate::wire::{jaeger, tsdb_chunk};

/// A decoder under its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; the names are those of `fuzz/fuzz_targets` and `fuzz/corpus`.
pub const TARGETS: [Target; 26] = [
    ("remote_write_1", remote_write_1),
    ("remote_write_2", remote_write_2),
    ("remote_read", remote_read),
    ("loki_push_protobuf", loki_push_protobuf),
    ("loki_push_json", loki_push_json),
    ("otlp_metrics_protobuf", otlp_metrics_protobuf),
    ("otlp_metrics_json", otlp_metrics_json),
    ("otlp_logs_protobuf", otlp_logs_protobuf),
    ("otlp_logs_json", otlp_logs_json),
    ("otlp_traces_protobuf", otlp_traces_protobuf),
    ("otlp_traces_json", otlp_traces_json),
    ("jaeger_thrift_compact", jaeger_thrift_compact),
    ("jaeger_thrift_binary", jaeger_thrift_binary),
    ("jaeger_grpc", jaeger_grpc),
    ("zipkin_v1", zipkin_v1),
    ("zipkin_v2_json", zipkin_v2_json),
    ("zipkin_v2_protobuf", zipkin_v2_protobuf),
    ("promql", promql),
    ("logql", logql),
    ("float_chunk", float_chunk),
    ("histogram_chunk", histogram_chunk),
    ("prometheus_yml", prometheus_yml),
    ("wal_segment", wal_segment),
    ("remembered", remembered),
    ("block_index", block_index),
    ("samples_page", samples_page),
];

const WRITTEN: Form = Form { with_start: true };

/// `prometheus.WriteRequest`: labels, histograms, and the same once more after it was gathered.
pub fn remote_write_1(data: &[u8]) {
    let batch = match remote_write::decode(data, Form::default()) {
        Ok(batch) => batch,
        Err(remote_write::DecodeError::ScatteredLabels) => {
            if let Ok(gathered) = remote_write::rewrite(data) {
                samples_of(&gathered, Form::default());
            }
            return;
        }
        Err(_) => return,
    };
    drop(batch);
    samples_of(data, Form::default());
    samples_of(data, WRITTEN);
}

/// Decodes a request, and what the encoder of streamed answers makes of its samples.
fn samples_of(body: &[u8], form: Form) {
    let Ok(batch) = remote_write::decode(body, form) else {
        return;
    };
    let mut pairs = Vec::new();
    for series in &batch.series {
        let _ = (batch.decode_labels)(series.key, &mut pairs);
        let mut samples = SampleBuf::default();
        for i in series.floats.clone() {
            let start_ms = batch.start_ms.get(i).copied();
            let start_ms = start_ms.unwrap_or(storage::model::NO_START_MS);
            samples.push_float(batch.t_ms[i], batch.values[i], start_ms);
        }
        for (t_ms, start_ms, histogram) in &batch.histograms[series.histograms.clone()] {
            let mut own = histogram.as_ref().clone();
            if reduce(&mut own).is_ok() && validate(&own).is_ok() {
                samples.push_histogram(*t_ms, own.into(), *start_ms);
            }
        }
        let mut count = 0;
        tsdb_chunk::encode(&samples, |chunk| {
            count += usize::from(u16::from_be_bytes([chunk.data[0], chunk.data[1]]));
        });
        assert_eq!(count, samples.len());
    }
}

/// `io.prometheus.write.v2.Request`: what comes out of the translation can be decoded.
pub fn remote_write_2(data: &[u8]) {
    let features = v2::Features {
        type_and_unit_labels: true,
        zero_samples: true,
    };
    for features in [v2::Features::default(), features] {
        if let Ok(translated) = v2::translate(data, features) {
            for body in [&translated.body, &translated.zeros] {
                assert!(remote_write::decode(body, WRITTEN).is_ok());
                samples_of(body, WRITTEN);
            }
        }
    }
}

/// `prometheus.ReadRequest`.
pub fn remote_read(data: &[u8]) {
    let _ = ReadRequest::decode(data);
}

/// `logproto.PushRequest`.
pub fn loki_push_protobuf(data: &[u8]) {
    let _ = loki_push::decode(data);
}

/// Loki's push in JSON, in both shapes.
pub fn loki_push_json(data: &[u8]) {
    for old_shape in [false, true] {
        if let Ok(push) = loki_push::json::to_protobuf(data, old_shape) {
            loki_push_protobuf(&push);
        }
    }
}

/// OTLP metrics.
pub fn otlp_metrics_protobuf(data: &[u8]) {
    if let Ok(request) = ExportMetricsServiceRequest::decode(data) {
        metrics(request);
    }
}

/// OTLP metrics in JSON.
pub fn otlp_metrics_json(data: &[u8]) {
    if let Ok(request) = json::decode_metrics(data) {
        metrics(request);
    }
}

fn metrics(mut request: ExportMetricsServiceRequest) {
    let plain = OtlpConfig::default();
    let other = OtlpConfig {
        strategy: crate::config::TranslationStrategy::NoUtf8EscapingWithSuffixes,
        promote: crate::config::Promotion::AllBut(Vec::new()),
        keep_identifying: true,
        histograms_to_nhcb: true,
        promote_scope: true,
        prefix_underscore: false,
        keep_underscores: false,
    };
    for config in [&plain, &other] {
        let settings = translate::Settings {
            config,
            takes_deltas: true,
            type_and_unit_labels: true,
            zero_samples: true,
            start_timestamps: true,
            lookback_ms: 300_000,
        };
        let translated = translate::translate(&request, settings);
        assert!(remote_write::decode(&translated.body, WRITTEN).is_ok());
        samples_of(&translated.body, WRITTEN);
        samples_of(&translated.zeros, WRITTEN);
    }
    let totals = Totals::default();
    let tenant = Tenant::anonymous();
    let mut again = request.clone();
    totals.apply(&tenant, &mut request, 0);
    totals.apply(&tenant, &mut again, 1);
}

/// OTLP log records.
pub fn otlp_logs_protobuf(data: &[u8]) {
    if let Ok(request) = ExportLogsServiceRequest::decode(data) {
        loki_push_protobuf(&otlp_logs::to_push(&request));
    }
}

/// OTLP log records in JSON.
pub fn otlp_logs_json(data: &[u8]) {
    if let Ok(request) = json::decode_logs(data) {
        loki_push_protobuf(&otlp_logs::to_push(&request));
    }
}

/// OTLP spans.
pub fn otlp_traces_protobuf(data: &[u8]) {
    if let Ok(request) = spans::decode(Bytes::copy_from_slice(data)) {
        traces(request);
    }
}

/// OTLP spans in JSON.
pub fn otlp_traces_json(data: &[u8]) {
    if let Ok(request) = json::decode_traces(data) {
        traces(request);
    }
}

fn traces(request: ExportTraceServiceRequest) {
    let encoded = request.encode_to_vec();
    let again = ExportTraceServiceRequest::decode(&encoded[..]).expect("what was encoded decodes");
    // A NaN differs from itself. Where there is one, the text tells that nothing is lost, and the bytes that no bit is.
    if again != request {
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
        assert!(again.encode_to_vec() == encoded, "{request:?}");
    }
    let _ = spans::batch(request, 0);
}

/// A datagram of the Jaeger agent, compact Thrift.
pub fn jaeger_thrift_compact(data: &[u8]) {
    jaeger_thrift(Protocol::Compact, data);
}

/// A datagram of the Jaeger agent and a batch for the collector, binary Thrift.
pub fn jaeger_thrift_binary(data: &[u8]) {
    jaeger_thrift(Protocol::Binary, data);
}

fn jaeger_thrift(protocol: Protocol, data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    for batch in [
        thrift::decode_batch(protocol, data.clone()),
        thrift::decode_emit_batch(protocol, data),
    ]
    .into_iter()
    .flatten()
    {
        jaeger_batch(batch);
    }
}

/// `jaeger.api_v2.PostSpansRequest`.
pub fn jaeger_grpc(data: &[u8]) {
    if let Ok(request) = jaeger::PostSpansRequest::decode(data)
        && let Some(batch) = request.batch
    {
        jaeger_batch(batch);
    }
}

fn jaeger_batch(batch: jaeger::Batch) {
    use crate::ingest::jaeger_spans::{Scopes, to_otlp};
    for scopes in [Scopes::FromTags, Scopes::None] {
        traces(to_otlp(batch.clone(), scopes));
    }
}

/// Zipkin v1, JSON.
pub fn zipkin_v1(data: &[u8]) {
    if let Ok(request) = zipkin::v1::from_json(data) {
        traces(request);
    }
}

/// Zipkin v2, JSON.
pub fn zipkin_v2_json(data: &[u8]) {
    if let Ok(request) = zipkin::v2::from_json(data) {
        traces(request);
    }
}

/// Zipkin v2, protobuf.
pub fn zipkin_v2_protobuf(data: &[u8]) {
    if let Ok(request) = zipkin::v2::from_protobuf(Bytes::copy_from_slice(data)) {
        traces(request);
    }
}

/// A PromQL expression: printed, it parses to what prints the same.
pub fn promql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let options = promql::ParseOptions {
        experimental_functions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
    };
    let _ = promql::parse_selector(text);
    if let Ok(expr) = promql::parse(text, &options) {
        let printed = promql::printer::print(&expr);
        let again = promql::parse(&printed, &options);
        let again = again.map(|expr| promql::printer::print(&expr));
        assert_eq!(again.as_ref(), Ok(&printed), "{text}");
        let _ = promql::printer::pretty(&expr);
    }
}

/// A LogQL expression: printed, it parses to what prints the same.
pub fn logql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = logql::parse_matchers(text);
    if let Ok(expr) = logql::parse(text) {
        let printed = expr.to_string();
        let again = logql::parse(&printed).map(|expr| expr.to_string());
        // A chain of operators is printed with brackets around each, and so many may be too many.
        let is_too_deep = matches!(&again, Err(e) if e.to_string().contains("nests too deeply"));
        assert!(
            is_too_deep || again.as_ref() == Ok(&printed),
            "{text}: {again:?}"
        );
        let _ = logql::pretty(&expr);
    }
}

/// A chunk of floats: what it holds, encoded anew, is the same as long as times ascend.
pub fn float_chunk(data: &[u8]) {
    let Ok(mut decoder) = FloatDecoder::new(data) else {
        return;
    };
    let mut samples = Vec::new();
    while let Ok(Some(sample)) = decoder.next_sample() {
        samples.push(sample);
    }
    let ascending = samples.windows(2).take_while(|w| w[0].t_ms < w[1].t_ms);
    samples.truncate(ascending.count() + 1);
    let mut encoder = FloatEncoder::new(true);
    samples.iter().for_each(|sample| encoder.push(*sample));
    if samples.is_empty() {
        return;
    }
    let chunk = encoder.to_bytes();
    let again = FloatDecoder::new(&chunk).map(|mut decoder| {
        std::iter::from_fn(|| decoder.next_sample().ok().flatten()).collect::<Vec<_>>()
    });
    assert_eq!(again.ok(), Some(samples));
}

/// A chunk of histograms: what it holds, encoded anew, is as much as long as times ascend.
pub fn histogram_chunk(data: &[u8]) {
    let Ok(mut decoder) = HistogramDecoder::new(data) else {
        return;
    };
    let mut encoder = HistogramEncoder::default();
    let mut count = 0;
    while let Ok(Some(sample)) = decoder.next_sample() {
        let follows = encoder.last().is_none_or(|last| last.t_ms < sample.t_ms);
        if count < 100 && follows && validate(&sample.histogram).is_ok() {
            encoder.push(sample);
            count += 1;
        }
    }
    if count == 0 {
        return;
    }
    let chunk = encoder.to_bytes();
    let again = HistogramDecoder::new(&chunk)
        .map(|mut decoder| std::iter::from_fn(|| decoder.next_sample().ok().flatten()).count());
    assert_eq!(again.ok(), Some(count));
}

/// A configuration file.
pub fn prometheus_yml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = crate::config::PrometheusConfig::parse(text);
    }
}
