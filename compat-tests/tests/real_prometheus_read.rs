//! A genuine Prometheus reads from Trilobite over remote read and answers queries as Trilobite does itself.
//!
//! The one on `PATH` is taken. Up to 2.x it asks for one message, from 3.0 on for streamed chunks; before 2.44 it leaves native
//! histograms out of what it reads.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::case::Case;
use compat_tests::compare::{Answer, Body, difference};
use compat_tests::feed;
use compat_tests::http::Client;
use compat_tests::process::{Process, on_path};
use compat_tests::server::{Options, Server, free_address};
use serde_json::{Value, json};

/// Between two samples of the dataset, which come every 30 s: releases differ about samples on a window's edge.
const T: i64 = 1_704_070_207;

const INSTANT: [&str; 13] = [
    "requests_total",
    "{__name__=~\"temp.*|noise\", room!=\"attic\"}",
    "sum by (job, code) (rate(requests_total[5m]))",
    "requests_total{code!~\"2..\"} offset 10m",
    "increase(restarts_total[20m])",
    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "special",
    "count_over_time(special{kind=\"nan\"}[10m])",
    "max_over_time(sum(temperature)[10m:1m])",
    "sparse or on () absent(nothing)",
    "temperature{room=\"kitchen\"} @ 1704067507",
    "topk(2, noise + on () group_right () temperature)",
    "alive{instance=~\"a|b\"} == 1",
];

const RANGE: [&str; 3] = [
    "sum(rate(requests_total[5m]))",
    "temperature",
    "deriv(noise[10m])",
];

/// Native histograms: those of the dataset, and `shape`, see [`shapes`].
const HISTOGRAMS: [&str; 7] = [
    "size_bytes",
    "histogram_quantile(0.5, rate(size_bytes[5m]))",
    "shape",
    "count_over_time(shape[1h])",
    "resets(shape[1h])",
    "histogram_quantile(0.3, increase(shape[1h]))",
    "shape @ 1704069307",
];

const HISTOGRAM_RANGES: [&str; 3] = [
    "histogram_sum(rate(size_bytes[5m]))",
    "shape",
    "rate(shape[5m])",
];

/// A dataset of all that a chunk of histograms can be made of: integer and float counts, custom bounds, gauges, resets, a layout that
/// changes, and a marker.
fn shapes() -> String {
    let series = |kind: &str, at: &dyn Fn(u64) -> Value| {
        let histograms: Vec<Value> = (0..=100)
            .map(|i| json!([1_704_067_200_000_u64 + 30_000 * i, at(i)]))
            .collect();
        json!({"labels": {"__name__": "shape", "kind": kind}, "histograms": histograms}).to_string()
    };
    let integer = series("integer", &|i| {
        // It starts anew at 70.
        let k = i % 70;
        let spans = if i < 40 {
            [[-3, 2], [1, 1]]
        } else {
            [[-3, 1], [4, 2]]
        };
        json!({"schema": 1, "count": 8 * k, "sum": if i == 55 { json!("stale") } else { json!(2.5 * k as f64) },
            "zero_threshold": 0.001, "zero_count": k, "positive_spans": spans, "positive_deltas": [k, k, k],
            "negative_spans": [[-1, 1]], "negative_deltas": [k]})
    });
    let float = series("float", &|i| {
        let k = 0.25 * (i % 70) as f64;
        json!({"float": true, "schema": -1, "count": 4.0 * k, "sum": 1.0 / (1.0 + k), "zero_threshold": 0.5, "zero_count": k,
            "positive_spans": [[2, 2]], "positive_counts": [k, k], "negative_spans": [[0, 1]], "negative_counts": [k]})
    });
    let custom = series("custom", &|i| {
        json!({"schema": -53, "count": 4 * i, "sum": 0.1 * i as f64, "custom_values": [0.1, 0.333_333_333_333_333_3, 2.5],
            "positive_spans": [[0, 4]], "positive_deltas": [i, 0, 0, 0]})
    });
    let gauge = series("gauge", &|i| {
        let k = 20 * (i % 7) + i;
        json!({"reset_hint": "gauge", "schema": 8, "count": k, "sum": -(k as f64), "negative_spans": [[5, 1]], "negative_deltas": [k]})
    });
    [integer, float, custom, gauge].join("\n")
}

async fn ready(client: &Client, base: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !matches!(client.get(&format!("{base}/-/ready")).await, Ok(a) if a.status == 200) {
        assert!(Instant::now() < deadline, "prometheus did not start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn case(path: &str, params: Value) -> Case {
    serde_json::from_value(json!({
        "id": path, "compare": "promql", "expect": {}, "ignore": ["data.stats"],
        "request": {"method": "FORM", "path": path, "params": params},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_alike_from_what_it_reads() {
    if !on_path("prometheus") {
        println!("skipped: no prometheus on PATH");
        return;
    }
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    // The store adds its external labels, and the reader asks for them.
    let own = folder.path().join("trilobite.yml");
    std::fs::write(&own, "global: {external_labels: {store: left}}").unwrap();
    let mut options = Options::common();
    options
        .args
        .push(format!("--config.file={}", own.display()));
    let server = Server::start(&options).await.unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/metrics/dataset.jsonl");
    feed::dataset(&client, &server.urls, &data).await.unwrap();
    let data = folder.path().join("metrics.jsonl");
    std::fs::write(&data, shapes()).unwrap();
    feed::dataset(&client, &server.urls, &data).await.unwrap();

    let address = free_address().unwrap();
    let read = format!("{}/api/v1/read", server.urls.web);
    let config = format!("remote_read: [{{url: '{read}', read_recent: true}}]");
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let _prometheus = Process::start(
        Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--enable-feature=native-histograms",
                &format!("--web.listen-address={address}"),
            ])
            .current_dir(folder.path()),
    )
    .unwrap();
    let theirs = format!("http://{address}");
    ready(&client, &theirs).await;

    let knows_histograms = knows_histograms(&client, &theirs).await;
    let mut different = Vec::new();
    for (case, of_histograms) in cases() {
        let query = serde_json::to_string(&case.request.params).unwrap();
        let a = client.call(&theirs, &case.request).await.unwrap();
        let b = client.call(&server.urls.web, &case.request).await.unwrap();
        assert_eq!((a.status, b.status), (200, 200), "{query}");
        let (a, b) = (with_store(&a.body), with_store(&b.body));
        if of_histograms && !knows_histograms {
            assert_eq!(a["data"]["result"], json!([]), "{query} finds something");
            continue;
        }
        assert_ne!(a["data"]["result"], json!([]), "{query} finds nothing");
        let answer = |body: Value| Answer {
            status: 200,
            body: Body::Json(body),
            headers: std::collections::BTreeMap::new(),
        };
        if let Some(d) = difference(&case, &answer(a), &answer(b)) {
            different.push(format!("{query}: {d}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Every query, and whether it is about native histograms.
fn cases() -> Vec<(Case, bool)> {
    let instant = |q: &str| {
        let params = json!([["query", q], ["time", T.to_string()]]);
        case("/api/v1/query", params)
    };
    let range = |q: &str| {
        let (start, end) = ((T - 2400).to_string(), T.to_string());
        let params = json!([["query", q], ["start", start], ["end", end], ["step", "60"]]);
        case("/api/v1/query_range", params)
    };
    let mut out = Vec::new();
    out.extend(INSTANT.map(|q| (instant(q), false)));
    out.extend(RANGE.map(|q| (range(q), false)));
    out.extend(HISTOGRAMS.map(|q| (instant(q), true)));
    out.extend(HISTOGRAM_RANGES.map(|q| (range(q), true)));
    out
}

/// Whether a Prometheus reads native histograms over remote read, as all do since 2.44. One built from a checkout tells no version.
async fn knows_histograms(client: &Client, base: &str) -> bool {
    let url = format!("{base}/api/v1/status/buildinfo");
    let answer: Value = serde_json::from_slice(&client.get(&url).await.unwrap().body).unwrap();
    let version = answer["data"]["version"].as_str().unwrap();
    let mut numbers = version.split('.').map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= (2, 44),
        _ => true,
    }
}

/// The answer without the label that the store added.
fn with_store(body: &[u8]) -> Value {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    for series in answer["data"]["result"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if let Some(metric) = series.get_mut("metric").and_then(Value::as_object_mut) {
            metric.remove("store");
        }
    }
    answer
}
