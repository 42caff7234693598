//! Range queries over series in memory: what the evaluator itself costs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use promql::{EvalOptions, ParseOptions, Source, evaluate, parse};
use storage::model::{Labels, NO_START_MS, SampleBuf};
use storage::read::{ReadError, Series, SeriesBatch, SeriesSelect};

const SERIES: usize = 2_000;
const SAMPLES: usize = 1_440;
const SCRAPE_MS: i64 = 15_000;

struct Counters(Vec<Arc<Counter>>);

struct Counter {
    labels: Labels,
    samples: SampleBuf,
}

struct Handle(Arc<Counter>);

impl Series for Handle {
    fn labels(&self) -> &Labels {
        &self.0.labels
    }

    fn samples(&self, out: &mut SampleBuf) -> Result<(), ReadError> {
        out.t_ms.extend_from_slice(&self.0.samples.t_ms);
        out.values.extend_from_slice(&self.0.samples.values);
        Ok(())
    }
}

impl Source for Counters {
    fn select(&self, _: &SeriesSelect) -> SeriesBatch {
        let handle = |c: &Arc<Counter>| Box::new(Handle(Arc::clone(c))) as Box<dyn Series>;
        self.0.iter().map(handle).collect()
    }
}

fn counters() -> Counters {
    let counter = |i: usize| {
        let mut samples = SampleBuf::default();
        for k in 0..SAMPLES {
            let value = (k * (i % 7 + 1)) as f64;
            samples.push_float(k as i64 * SCRAPE_MS, value, NO_START_MS);
        }
        let (instance, job) = (format!("host-{}", i / 20), format!("job-{}", i % 20));
        let labels = [
            ("__name__", "requests_total"),
            ("instance", instance.as_str()),
            ("job", job.as_str()),
        ];
        let labels = Labels::from_pairs(labels);
        Arc::new(Counter { labels, samples })
    };
    Counters((0..SERIES).map(counter).collect())
}

fn range_queries(c: &mut Criterion) {
    let source = counters();
    let mut group = c.benchmark_group("range_query");
    group.sample_size(10);
    group.throughput(Throughput::Elements((SERIES * SAMPLES) as u64));
    for query in [
        "requests_total",
        "sum(requests_total)",
        "sum by (job) (rate(requests_total[5m]))",
        "max_over_time(requests_total[1h])",
        "rate(requests_total[5m]) / on (instance, job) rate(requests_total[10m])",
        "topk(5, rate(requests_total[5m]))",
    ] {
        group.bench_function(query, |b| {
            b.iter(|| {
                let expr = parse(query, &ParseOptions::ALL).unwrap();
                let end_ms = SAMPLES as i64 * SCRAPE_MS;
                let options = EvalOptions::range(600_000, end_ms, 60_000);
                black_box(evaluate(expr, options, &source).unwrap())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, range_queries);
criterion_main!(benches);
