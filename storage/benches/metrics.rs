//! The hot path of a metrics write, without the wire, and reading back what it wrote.

mod fleet;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::bench::BareMetricsHead;
use storage::model::{Matcher, MsRange, SampleBuf};
use storage::read::SeriesSelect;

use fleet::{REQUEST, SERIES, key, scrape};

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
