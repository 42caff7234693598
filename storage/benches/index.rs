//! Matchers → ids over 100,000 label sets.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use storage::index::Index;
use storage::model::{MatchOp, Matcher};

fn index() -> Index {
    let mut index = Index::new(1);
    for i in 0..100_000 {
        let (name, pod, ns) = (
            format!("metric_{}", i % 200),
            format!("pod-{}", i / 200),
            format!("ns-{}", i / 2000),
        );
        index.insert(&[
            ("__name__", name.as_str()),
            ("namespace", ns.as_str()),
            ("pod", pod.as_str()),
        ]);
    }
    index
}

fn lookup(c: &mut Criterion) {
    let mut index = index();
    println!(
        "100,000 label sets hold {} bytes in the index",
        index.held_bytes()
    );
    let m = |op, name: &str, value: &str| Matcher::new(op, name, value).expect("a pattern");
    let cases = [
        (
            "equal",
            vec![
                m(MatchOp::Equal, "__name__", "metric_7"),
                m(MatchOp::Equal, "namespace", "ns-3"),
            ],
        ),
        (
            "set",
            vec![
                m(MatchOp::Equal, "__name__", "metric_7"),
                m(MatchOp::Regex, "pod", "pod-1|pod-2|pod-3"),
            ],
        ),
        ("prefix", vec![m(MatchOp::Regex, "pod", "pod-12.*")]),
        (
            "negation",
            vec![
                m(MatchOp::Equal, "__name__", "metric_7"),
                m(MatchOp::NotEqual, "namespace", "ns-3"),
            ],
        ),
    ];
    let mut group = c.benchmark_group("index");
    for (name, matchers) in cases {
        index.sort_for(&matchers);
        group.bench_function(name, |b| b.iter(|| index.select(black_box(&matchers))));
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
