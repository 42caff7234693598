//! Text to syntax tree and back.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use promql::{ParseOptions, parse};

const QUERIES: [(&str, &str); 5] = [
    ("selector", r#"up{job="node",instance=~"host-.*"}"#),
    ("rate", "sum by (job) (rate(http_requests_total[5m]))"),
    (
        "quantile",
        "histogram_quantile(0.99, sum by (le, job) (rate(http_request_duration_seconds_bucket{code!~\"5..\"}[5m])))",
    ),
    (
        "join",
        "sum by (version) (rate(http_requests_total[5m]) * on (instance) group_left (version) max by (instance, version) (build_info))",
    ),
    (
        "alert",
        "(1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))) * 100 > 80 and on (instance) \
         max_over_time(node_load1[1h:5m] offset 1d) > 4 or absent(up{job=\"node\"} == 1) unless on () vector(0) > 1",
    ),
];

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (name, text) in QUERIES {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| parse(black_box(text), &ParseOptions::ALL).unwrap());
        });
    }
    group.finish();
    let mut group = c.benchmark_group("print");
    for (name, text) in QUERIES {
        let expr = parse(text, &ParseOptions::ALL).unwrap();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| black_box(&expr).to_string()));
    }
    group.finish();
}

criterion_group!(benches, texts);
criterion_main!(benches);
