//! The hot path of a metrics write, without the wire, and reading back what it wrote.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::bench::BareMetricsHead;
use storage::model::{
    BatchSeries, LabelError, LabelPairs, Matcher, MetricBatch, MsRange, SampleBuf,
};
use storage::read::SeriesSelect;

const SERIES: usize = 20_000;
/// Series of one request, as a Prometheus server's remote write sends them.
const REQUEST: usize = 2_000;

/// `name\0value\0…`, some 200 bytes, as long as the labels of a container metric.
fn key(i: usize) -> Vec<u8> {
    let (pod, metric) = (i / 40, i % 40);
    format!(
        "__name__\0container_metric_number_{metric}_total\0cluster\0production-eu-west-1\0container\0server\0\
         instance\010.0.{}.{}:8080\0job\0kubernetes-pods\0namespace\0team-{}\0node\0node-{}\0\
         pod\0checkout-7f9c6d5b4-{pod:05x}\0",
        pod / 250,
        pod % 250,
        pod % 20,
        pod % 100,
    )
    .into_bytes()
}

fn decode_labels<'k>(key: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    let text = std::str::from_utf8(key).map_err(|e| LabelError(e.to_string()))?;
    let mut parts = text.split_terminator('\0');
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        out.push((name, value));
    }
    Ok(())
}

/// One scrape of some series: counters that grow unevenly, some constants.
fn scrape(keys: &[Vec<u8>], first: usize, n: i64) -> MetricBatch<'_> {
    let value = |i: usize| match i % 4 {
        0 => 1.0,
        _ => (n as f64 * (1 + i % 97) as f64) + ((n as usize * 7919 + i) % 13) as f64,
    };
    MetricBatch {
        series: (0..keys.len())
            .map(|i| BatchSeries {
                key: &keys[i],
                floats: i..i + 1,
                histograms: 0..0,
                exemplars: 0..0,
            })
            .collect(),
        decode_labels,
        t_ms: vec![1_793_491_200_000 + 15_000 * n + (first % 7) as i64; keys.len()],
        values: (0..keys.len()).map(|i| value(first + i)).collect(),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}

/// CPU time of this thread, where the system tells it: a shared machine cannot distort it.
fn cpu_time() -> Duration {
    thread_local! {
        static START: Instant = Instant::now();
    }
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|s| s.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.with(Instant::elapsed), Duration::from_nanos)
}

fn write_scrape(head: &BareMetricsHead, keys: &[Vec<u8>], n: i64) -> Duration {
    let mut spent = Duration::ZERO;
    for (i, keys) in keys.chunks(REQUEST).enumerate() {
        let batch = scrape(keys, i * REQUEST, n);
        let start = cpu_time();
        black_box(head.append(&batch));
        spent += cpu_time() - start;
    }
    spent
}

fn append(c: &mut Criterion) {
    let keys: Vec<Vec<u8>> = (0..SERIES).map(key).collect();
    let mut group = c.benchmark_group("metrics_head");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SERIES as u64));
    group.bench_function("append_known_series", |b| {
        b.iter_custom(|times| {
            let head = BareMetricsHead::default();
            write_scrape(&head, &keys, 0);
            (1..=times as i64)
                .map(|n| write_scrape(&head, &keys, n))
                .sum()
        });
    });
    group.bench_function("append_new_series", |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| write_scrape(&BareMetricsHead::default(), &keys, 0))
                .sum()
        });
    });
    group.finish();
}

fn select(c: &mut Criterion) {
    let keys: Vec<Vec<u8>> = (0..SERIES).map(key).collect();
    let head = BareMetricsHead::default();
    for n in 0..240 {
        write_scrape(&head, &keys, n);
    }
    println!(
        "{} series of 240 samples hold {} bytes",
        SERIES,
        head.held_bytes()
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers");
    let read = |matchers: Vec<Matcher>| {
        let range = MsRange::ALL;
        let select = SeriesSelect { matchers, range };
        runtime.block_on(async {
            let mut set = head.select(&select).await.expect("within the budget");
            let (mut buf, mut samples) = (SampleBuf::default(), 0);
            while let Some(batch) = set.next_batch().await.expect("within the budget") {
                for series in batch {
                    series.samples(&mut buf).expect("our own chunks");
                    samples += buf.len();
                }
            }
            samples
        })
    };
    let mut group = c.benchmark_group("metrics_select");
    group.sample_size(10);
    group.bench_function("one_series", |b| {
        b.iter(|| {
            read(vec![
                Matcher::equal("__name__", "container_metric_number_7_total"),
                Matcher::equal("pod", "checkout-7f9c6d5b4-00042"),
            ])
        });
    });
    group.bench_function("500_series_of_one_metric", |b| {
        b.iter(|| {
            read(vec![Matcher::equal(
                "__name__",
                "container_metric_number_7_total",
            )])
        });
    });
    group.finish();
}

criterion_group!(benches, append, select);
criterion_main!(benches);
