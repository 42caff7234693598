//! Range queries over series in memory, family by family of functions and operators: what the evaluator itself costs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use promql::{EvalOptions, ParseOptions, Source, evaluate, parse};
use storage::model::{Labels, NO_START_MS, SampleBuf};
use storage::read::{ReadError, Series, SeriesBatch, SeriesSelect};

const SERIES: usize = 400;
const SAMPLES: usize = 1_440;
const SCRAPE_MS: i64 = 15_000;
const BOUNDS: [&str; 5] = ["0.1", "0.5", "1", "5", "+Inf"];

/// Families of functions and operators, each with what it is measured by.
const FAMILIES: [(&str, &[&str]); 9] = [
    (
        "select",
        &["a_total", "a_total offset 5m", "a_total @ 3600"],
    ),
    (
        "change",
        &[
            "rate(a_total[5m])",
            "delta(a_total[5m])",
            "irate(a_total[5m])",
            "resets(a_total[5m])",
        ],
    ),
    (
        "over_time",
        &[
            "avg_over_time(a_total[5m])",
            "max_over_time(a_total[5m])",
            "quantile_over_time(0.9, a_total[5m])",
            "stddev_over_time(a_total[5m])",
        ],
    ),
    (
        "trend",
        &["deriv(a_total[5m])", "predict_linear(a_total[5m], 600)"],
    ),
    (
        "aggregate",
        &[
            "sum(a_total)",
            "sum by (job) (a_total)",
            "avg without (instance) (a_total)",
            "stddev by (job) (a_total)",
            "quantile by (job) (0.9, a_total)",
            "topk(5, a_total)",
            "count_values by (job) (\"value\", a_total % 7)",
        ],
    ),
    (
        "binary",
        &[
            "a_total * 2 > 10",
            "a_total / on (instance, job) b_total",
            "a_total * on (job) group_left sum by (job) (b_total)",
            "a_total and on (job) b_total",
            "a_total unless b_total",
        ],
    ),
    (
        "histogram",
        &["histogram_quantile(0.99, sum by (le, job) (rate(a_bucket[5m])))"],
    ),
    (
        "labels",
        &[
            "label_replace(a_total, \"host\", \"$1\", \"instance\", \"host-(.*)\")",
            "label_join(a_total, \"both\", \"/\", \"job\", \"instance\")",
        ],
    ),
    (
        "subquery",
        &[
            "max_over_time(rate(a_total[2m])[30m:1m])",
            "absent(a_total)",
        ],
    ),
];

struct Stored(Vec<Arc<Counter>>);

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

impl Source for Stored {
    fn select(&self, select: &SeriesSelect) -> SeriesBatch {
        let passes =
            |c: &&Arc<Counter>| select.matchers.iter().all(|m| m.matches_labels(&c.labels));
        let handle = |c: &Arc<Counter>| Box::new(Handle(Arc::clone(c))) as Box<dyn Series>;
        self.0.iter().filter(passes).map(handle).collect()
    }
}

/// Two metrics of counters, and one of histograms' buckets.
fn stored() -> Stored {
    let series = |name: &str, i: usize, le: Option<&str>| {
        let mut samples = SampleBuf::default();
        for k in 0..SAMPLES {
            let value = (k * (i % 7 + 1)) as f64;
            samples.push_float(k as i64 * SCRAPE_MS, value, NO_START_MS);
        }
        let (instance, job) = (format!("host-{}", i / 20), format!("job-{}", i % 20));
        let mut labels = vec![
            ("__name__", name),
            ("instance", instance.as_str()),
            ("job", job.as_str()),
        ];
        labels.extend(le.map(|le| ("le", le)));
        let labels = Labels::from_pairs(labels);
        Arc::new(Counter { labels, samples })
    };
    let mut all = Vec::new();
    for i in 0..SERIES {
        all.push(series("a_total", i, None));
        all.push(series("b_total", i, None));
        if i < SERIES / BOUNDS.len() {
            all.extend(BOUNDS.map(|le| series("a_bucket", i, Some(le))));
        }
    }
    Stored(all)
}

fn families(c: &mut Criterion) {
    let source = stored();
    for (family, queries) in FAMILIES {
        let mut group = c.benchmark_group(family);
        group.sample_size(10);
        group.throughput(Throughput::Elements((SERIES * SAMPLES) as u64));
        for query in queries {
            group.bench_function(*query, |b| {
                b.iter(|| {
                    let expr = parse(query, &ParseOptions::ALL).unwrap();
                    let end_ms = SAMPLES as i64 * SCRAPE_MS;
                    let options = EvalOptions::range(3_600_000, end_ms, 60_000);
                    black_box(evaluate(expr, options, &source).unwrap())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, families);
criterion_main!(benches);
