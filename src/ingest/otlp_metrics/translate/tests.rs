//! Requests as OTLP/JSON, and what becomes of them as text: a line for each sample.

use super::*;
use crate::config::{Promotion, TranslationStrategy};
use crate::wire::otlp::json;
use crate::wire::remote_write::{Form, decode, decode_labels};

fn settings(config: &OtlpConfig) -> Settings<'_> {
    Settings {
        config,
        takes_deltas: false,
        type_and_unit_labels: false,
        zero_samples: false,
        start_timestamps: false,
        lookback_ms: 300_000,
    }
}

/// Samples of a request in the form of remote write: `{labels} value@time`.
fn lines(body: &[u8]) -> Vec<String> {
    let batch = decode(body, Form { with_start: true }).unwrap();
    let mut out = Vec::new();
    for series in &batch.series {
        let mut pairs = Vec::new();
        decode_labels(series.key, &mut pairs).unwrap();
        let labels = Labels::from_sorted(pairs);
        for i in series.floats.clone() {
            let start = batch.start_ms.get(i).filter(|s| **s != NO_START_MS);
            let start = start.map_or_else(String::new, |s| format!(" since {s}"));
            out.push(format!(
                "{labels} {}@{}{start}",
                batch.values[i], batch.t_ms[i]
            ));
        }
        for (t_ms, _, h) in &batch.histograms[series.histograms.clone()] {
            out.push(format!("{labels} schema {}@{t_ms}", h.schema));
        }
        for e in &batch.exemplars[series.exemplars.clone()] {
            out.push(format!("  {} {}@{}", e.labels, e.value, e.t_ms));
        }
    }
    out
}

fn resource(attributes: &str, metrics: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{attributes}]}},
        "scopeMetrics":[{{"scope":{{"name":"sc","version":"1.2","attributes":[{}]}},"schemaUrl":"u","metrics":[{metrics}]}}]}}]}}"#,
        text("lib.kind", "x")
    )
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

const SERVICE: &str = r#"{"key":"service.name","value":{"stringValue":"shop"}},
    {"key":"service.namespace","value":{"stringValue":"ns"}},
    {"key":"service.instance.id","value":{"stringValue":"i-1"}}"#;

const GAUGE: &str = r#"{"name":"a.b","unit":"s","gauge":{"dataPoints":[{"timeUnixNano":"5000000000","asDouble":1.5}]}}"#;

fn run(request: &str, settings: Settings<'_>) -> Translated {
    translate(&json::decode_metrics(request.as_bytes()).unwrap(), settings)
}

fn check(request: &str, settings: Settings<'_>, expected: &[&str]) {
    let out = run(request, settings);
    assert!(out.faults.is_empty(), "{:?}", out.faults);
    assert_eq!(lines(&out.body), expected);
}

fn faults(request: &str) -> Vec<(String, i64)> {
    let config = OtlpConfig::default();
    run(request, settings(&config)).faults.into_iter().collect()
}

#[test]
fn a_resource_identifies_its_series_and_describes_itself() {
    let config = OtlpConfig::default();
    let attributes = format!("{SERVICE},{}", text("host.name", "h1"));
    check(
        &resource(&attributes, GAUGE),
        settings(&config),
        &[
            r#"{__name__="a_b_seconds", instance="i-1", job="ns/shop"} 1.5@5000"#,
            r#"{__name__="target_info", host_name="h1", instance="i-1", job="ns/shop"} 1@5000"#,
        ],
    );
    // Without further attributes, or without a name for the resource, there is nothing to say about it.
    check(
        &resource(SERVICE, GAUGE),
        settings(&config),
        &[r#"{__name__="a_b_seconds", instance="i-1", job="ns/shop"} 1.5@5000"#],
    );
    check(
        &resource(&text("host.name", "h1"), GAUGE),
        settings(&config),
        &[r#"{__name__="a_b_seconds"} 1.5@5000"#],
    );
}

#[test]
fn attributes_are_promoted_as_the_configuration_says() {
    let attributes = format!(
        "{SERVICE},{},{}",
        text("host.name", "h1"),
        text("zone", "z")
    );
    let promoted = |promote: Promotion, expected: &str| {
        let config = OtlpConfig {
            promote,
            keep_identifying: true,
            ..OtlpConfig::default()
        };
        let out = run(&resource(&attributes, GAUGE), settings(&config));
        let lines = lines(&out.body);
        assert_eq!(lines[0], expected);
        assert_eq!(
            lines[1],
            r#"{__name__="target_info", host_name="h1", instance="i-1", job="ns/shop", service_instance_id="i-1", service_name="shop", service_namespace="ns", zone="z"} 1@5000"#
        );
    };
    promoted(
        Promotion::Only(vec!["host.name".to_owned(), "none".to_owned()]),
        r#"{__name__="a_b_seconds", host_name="h1", instance="i-1", job="ns/shop"} 1.5@5000"#,
    );
    let service = ["service.name", "service.namespace", "service.instance.id"];
    promoted(
        Promotion::AllBut(service.map(str::to_owned).to_vec()),
        r#"{__name__="a_b_seconds", host_name="h1", instance="i-1", job="ns/shop", zone="z"} 1.5@5000"#,
    );
}

#[test]
fn scope_type_and_unit_become_labels_where_that_is_asked_for() {
    let config = OtlpConfig {
        promote_scope: true,
        strategy: TranslationStrategy::NoTranslation,
        ..OtlpConfig::default()
    };
    let wanted = Settings {
        type_and_unit_labels: true,
        ..settings(&config)
    };
    check(
        &resource(SERVICE, GAUGE),
        wanted,
        &[
            r#"{__name__="a.b", __type__="gauge", __unit__="seconds", instance="i-1", job="ns/shop", otel_scope_lib.kind="x", otel_scope_name="sc", otel_scope_schema_url="u", otel_scope_version="1.2"} 1.5@5000"#,
        ],
    );
}

#[test]
fn colliding_attributes_are_joined_in_order_and_reserved_ones_overwritten() {
    let config = OtlpConfig::default();
    let point = format!(
        r#"{{"timeUnixNano":"5000000000","asInt":"7","attributes":[{},{},{},{},{}]}}"#,
        text("a_b", "2"),
        text("a.b", "1"),
        text("__name__", "x"),
        text("job", "mine"),
        text("e", "")
    );
    let metric = format!(r#"{{"name":"m","gauge":{{"dataPoints":[{point}]}}}}"#);
    check(
        &resource(SERVICE, &metric),
        settings(&config),
        &[r#"{__name__="m", a_b="1;2", instance="i-1", job="ns/shop"} 7@5000"#],
    );
}

#[test]
fn explicit_buckets_are_classic_ones_with_their_exemplars() {
    let config = OtlpConfig::default();
    let exemplar = |value: f64| {
        format!(
            r#"{{"timeUnixNano":"4000000000","asDouble":{value},"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"0000000000000000","filteredAttributes":[{}]}}"#,
            text("k", "v")
        )
    };
    let metric = format!(
        r#"{{"name":"lat","unit":"ms","histogram":{{"aggregationTemporality":2,"dataPoints":[
        {{"timeUnixNano":"5000000000","startTimeUnixNano":"1000000000","count":"6","sum":12.5,"bucketCounts":["1","2","3"],"explicitBounds":[1,5],"exemplars":[{},{}]}}]}}}}"#,
        exemplar(0.5),
        exemplar(7.0)
    );
    let labels = r#"{k="v", trace_id="0af7651916cd43dd8448eb211c80319c"}"#;
    let since = Settings {
        start_timestamps: true,
        ..settings(&config)
    };
    check(
        &resource("", &metric),
        since,
        &[
            r#"{__name__="lat_milliseconds_sum"} 12.5@5000 since 1000"#,
            r#"{__name__="lat_milliseconds_count"} 6@5000 since 1000"#,
            r#"{__name__="lat_milliseconds_bucket", le="1"} 1@5000 since 1000"#,
            &format!("  {labels} 0.5@4000"),
            r#"{__name__="lat_milliseconds_bucket", le="5"} 3@5000 since 1000"#,
            r#"{__name__="lat_milliseconds_bucket", le="+Inf"} 6@5000 since 1000"#,
            &format!("  {labels} 7@4000"),
        ],
    );
    let config = OtlpConfig {
        histograms_to_nhcb: true,
        ..OtlpConfig::default()
    };
    check(
        &resource("", &metric),
        settings(&config),
        &[
            r#"{__name__="lat_milliseconds"} schema -53@5000"#,
            &format!("  {labels} 0.5@4000"),
            &format!("  {labels} 7@4000"),
        ],
    );
}

#[test]
fn a_point_without_a_value_ends_its_series() {
    let config = OtlpConfig::default();
    let metric = r#"{"name":"s","summary":{"dataPoints":[{"timeUnixNano":"5000000000","flags":1,"count":"1","quantileValues":[{"quantile":0.5,"value":1}]}]}}"#;
    let out = run(&resource("", metric), settings(&config));
    let batch = decode(&out.body, Form { with_start: true }).unwrap();
    assert_eq!(batch.values.len(), 3);
    assert!(batch.values.iter().all(|v| storage::model::is_stale(*v)));
}

#[test]
fn deltas_are_refused_or_stored_as_they_are() {
    let config = OtlpConfig::default();
    let metric = r#"{"name":"d","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"5000000000","asInt":"7"}]}}"#;
    let request = resource("", metric);
    let text = "invalid temporality and type combination for metric \"d\"";
    assert_eq!(faults(&request), [(text.to_owned(), 1)]);
    let native = Settings {
        takes_deltas: true,
        ..settings(&config)
    };
    check(&request, native, &[r#"{__name__="d_total"} 7@5000"#]);
}

#[test]
fn what_cannot_be_told_is_counted_and_costs_the_others_nothing() {
    let empty = r#"{"name":"e","gauge":{"dataPoints":[]}},{"name":"n"}"#;
    let found = faults(&resource("", &format!("{empty},{GAUGE}")));
    assert_eq!(found[0], ("empty data points. e is dropped".to_owned(), 0));
    assert!(
        found[1]
            .0
            .contains("for n as it has unsupported metric type Empty")
    );
    let nameless = format!(
        r#"{{"name":"g","gauge":{{"dataPoints":[{{"asInt":1,"attributes":[{}]}},{{"asInt":2}}]}}}}"#,
        text("", "x")
    );
    let config = OtlpConfig::default();
    let out = run(&resource("", &nameless), settings(&config));
    assert_eq!(out.faults["label name is empty"], 1);
    assert_eq!(lines(&out.body), [r#"{__name__="g"} 2@0"#]);
    let scale = r#"{"name":"x","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"scale":-9},{"scale":-9}]}}"#;
    assert_eq!(faults(&resource("", scale))[0].1, 2);
}

#[test]
fn target_info_reaches_from_the_first_point_to_the_last() {
    let config = OtlpConfig::default();
    let attributes = format!("{SERVICE},{}", text("host.name", "h1"));
    let point = |seconds: u64| format!(r#"{{"timeUnixNano":"{seconds}000000000","asInt":1}}"#);
    let metric = |times: &[u64]| {
        let points: Vec<String> = times.iter().map(|t| point(*t)).collect();
        format!(
            r#"{{"name":"m","gauge":{{"dataPoints":[{}]}}}}"#,
            points.join(",")
        )
    };
    let times = |request: &str| -> Vec<String> {
        let out = run(request, settings(&config));
        let all = lines(&out.body);
        let info = all.iter().filter(|l| l.contains("target_info"));
        info.map(|l| l.rsplit('@').next().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(
        times(&resource(&attributes, &metric(&[1000, 700]))),
        ["700000", "850000", "1000000"]
    );
    let forgotten = times(&resource(&attributes, &metric(&[0, 1_793_491_200])));
    assert_eq!(forgotten.len() as i64, MAX_TARGET_SAMPLES + 1);
    // Two resources that look alike have one sample for a time.
    let one = format!(
        r#"{{"resource":{{"attributes":[{attributes}]}},"scopeMetrics":[{{"metrics":[{}]}}]}}"#,
        metric(&[5])
    );
    assert_eq!(
        times(&format!(r#"{{"resourceMetrics":[{one},{one}]}}"#)),
        ["5000"]
    );
}

#[test]
fn zeros_lie_at_the_start_where_they_are_wanted() {
    let config = OtlpConfig::default();
    let metric = r#"{"name":"d","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"5000000000","startTimeUnixNano":"2000000000","asInt":"7"}]}}"#;
    let zeros = Settings {
        zero_samples: true,
        ..settings(&config)
    };
    let out = run(&resource("", metric), zeros);
    assert_eq!(lines(&out.zeros), [r#"{__name__="d_total"} 0@2000"#]);
    assert!(
        run(&resource("", metric), settings(&config))
            .zeros
            .is_empty()
    );
}

#[test]
fn attribute_values_read_as_go_writes_them() {
    use crate::wire::otlp::{AnyValue, ArrayValue, any_value::Value};
    let double = |v: f64| AnyValue {
        value: Some(Value::Double(v)),
    };
    let list = |v: f64| AnyValue {
        value: Some(Value::Array(ArrayValue {
            values: vec![double(v)],
        })),
    };
    for (value, text) in [
        (double(1e21), "1e+21"),
        (double(f64::NAN), "json: unsupported value: NaN"),
        (list(0.5), "[0.5]"),
        (list(f64::INFINITY), ""),
    ] {
        assert_eq!(labels::value_text(Some(&value)), text);
    }
}
