//! Every query of the scripts, over data and times that it was not written for: it may be refused,
//! it must not panic.

#![allow(clippy::unwrap_used)]

#[path = "support/memory.rs"]
mod memory;
#[expect(dead_code, reason = "the judge of the scripts uses the rest")]
#[path = "support/notation.rs"]
mod notation;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use memory::{Memory, Stored, shared};
use notation::{Written, duration_ms};
use promql::{EvalOptions, ParseOptions, evaluate, parse};
use storage::model::Labels;

impl From<Written> for Stored {
    fn from(value: Written) -> Self {
        match value {
            Written::Float(v) => Self::Float(v),
            Written::Histogram(h) => Self::Histogram(Arc::new(h.to_stored())),
        }
    }
}

const ODD: &[&str] = &[
    "0+1x5 stale NaN Inf -Inf {{schema:1 count:4 sum:NaN buckets:[1 2 1]}} 1e308x3 -1e308x3 _ 5e-324",
    "{{schema:3 count:4 sum:5 z_bucket:1 z_bucket_w:0.1 buckets:[1 2 1] n_buckets:[3 0 -1]}}x3 {{schema:-53 count:4 custom_values:[1 5] buckets:[1 2 1]}}x3 {{schema:-53 count:4 custom_values:[2 5] buckets:[1 2 1]}}x3 {{schema:-4 count:-1 offset:2000 buckets:[1]}}x3 1 stale {{}}",
    "{{schema:8 count:Inf sum:-Inf z_bucket:Inf z_bucket_w:1e300 offset:-2000000 buckets:[1 Inf NaN]}}x20",
    "100-7x20",
];

#[test]
fn no_query_of_the_scripts_panics_on_odd_data() {
    let Some(folder) = shared("promqltest") else {
        println!("skipped: no shared material");
        return;
    };
    let mut queries = BTreeSet::new();
    let mut names = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let Ok(text) = fs::read_to_string(file.unwrap().path()) else {
            continue;
        };
        for line in text.lines().filter(|l| l.starts_with("eval")) {
            let words = if line.contains("range from") { 8 } else { 4 };
            let mut rest = line;
            for _ in 0..words {
                rest = rest.trim_start();
                rest = &rest[rest.find(' ').unwrap_or(rest.len())..];
            }
            queries.insert(rest.trim().to_owned());
        }
        let loaded = text.lines().filter(|l| l.starts_with([' ', '\t']));
        for word in loaded.filter_map(|l| l.split_whitespace().next()) {
            let name = word.split('{').next().unwrap();
            if name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                names.insert(name.to_owned());
            }
        }
    }
    let mut memory = Memory::default();
    for name in &names {
        for (i, values) in ODD.iter().enumerate() {
            let line = format!("{name}{{job=\"{i}\", instance=\"a\", le=\"{i}\"}} {values}");
            notation::load(&mut memory, duration_ms("30s"), &[&line]);
        }
    }
    let grids = [
        EvalOptions::instant(120_000),
        EvalOptions::range(-90_000, 600_000, 45_000),
        EvalOptions::range(600_000, 0, 1),
        EvalOptions::instant(i64::MAX),
        EvalOptions::range(i64::MIN, i64::MIN + 10, 7),
    ];
    let mut evaluated = 0;
    for query in &queries {
        let Ok(expr) = parse(query, &ParseOptions::ALL) else {
            continue;
        };
        for grid in &grids {
            for delayed in [false, true] {
                let options = EvalOptions {
                    delayed_name_removal: delayed,
                    use_start_timestamps: delayed,
                    closed_ranges: delayed,
                    max_samples: 200_000,
                    ..grid.clone()
                };
                evaluated += usize::from(evaluate(expr.clone(), options, &memory).is_ok());
            }
        }
    }
    println!("{} queries, {evaluated} answers", queries.len());
    assert!(evaluated > queries.len());
}

#[test]
fn label_sets_of_results_come_once() {
    let mut memory = Memory::default();
    for name in ["a", "b"] {
        let labels = Labels::from_pairs([("__name__", name), ("x", "1")]);
        memory.put(&labels, 0, Stored::Float(1.0), None);
    }
    let expr = parse("-{x=\"1\"}", &ParseOptions::ALL).unwrap();
    let error = evaluate(expr, EvalOptions::instant(0), &memory).unwrap_err();
    let text = "vector cannot contain metrics with the same labelset";
    assert_eq!(error.to_string(), text);
}
