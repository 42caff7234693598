//! The recorded answers of a real Prometheus, against the evaluator with the recorded data in memory.

#![allow(clippy::unwrap_used)]

#[path = "support/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use memory::{Memory, Stored, shared};
use promql::{Answer, EvalOptions, ParseOptions, Value as Answered, evaluate, parse};
use serde_json::Value;
use storage::model::{BucketSpan, Counts, Histogram, Labels, ResetHint, STALE_NAN};

/// Files with the number of cases that are equal.
const EXPECTED: &[(&str, &str, usize)] = &[
    ("metrics", "instant", 863),
    ("metrics", "range", 110),
    ("metrics", "histograms", 320),
    ("compliance", "instant", 539),
    ("compliance", "range", 539),
];

#[test]
fn recorded_queries_are_answered_alike() {
    let mut failed = false;
    for folder in ["metrics", "compliance"] {
        let Some(path) = shared(folder) else {
            println!("skipped: no shared material");
            return;
        };
        let data = load(&fs::read_to_string(path.join("dataset.jsonl")).unwrap());
        for (_, file, expected) in EXPECTED.iter().filter(|(f, ..)| *f == folder) {
            let text = fs::read_to_string(path.join(format!("{file}.jsonl"))).unwrap();
            let cases: Vec<Value> = text
                .lines()
                .map(|l| serde_json::from_str(l).unwrap())
                .collect();
            let mut equal = 0;
            for case in &cases {
                match judge(case, &data) {
                    Ok(()) => equal += 1,
                    Err(why) => println!("{folder}/{file} {}: {why}", case["id"]),
                }
            }
            println!("{folder}/{file}: {equal} of {}", cases.len());
            failed |= equal < *expected;
        }
    }
    assert!(!failed, "fewer recorded answers than before");
}

#[test]
fn samples_are_counted_as_upstream_counts_them() {
    let Some(path) = shared("metrics") else {
        println!("skipped: no shared material");
        return;
    };
    let data = load(&fs::read_to_string(path.join("dataset.jsonl")).unwrap());
    let (t0, t1) = (1_793_491_200_000, 1_793_498_400_000);
    for (query, options, total, read) in [
        (
            "sum(rate(http_requests_total[5m]))",
            EvalOptions::instant(1_793_494_800_000),
            240,
            240,
        ),
        ("up", EvalOptions::range(t0, t1, 600_000), 39, 39),
        (
            "rate(up[10m])",
            EvalOptions::range(t0, t1, 60_000),
            6960,
            723,
        ),
    ] {
        let expr = parse(query, &ParseOptions::ALL).unwrap();
        let stats = evaluate(expr, options, &data).unwrap().stats;
        assert_eq!((stats.total_samples, stats.samples_read), (total, read));
    }
}

fn number(v: &Value) -> f64 {
    match v {
        Value::String(s) if s == "stale" => STALE_NAN,
        Value::String(s) => s.parse().unwrap(),
        v => v.as_f64().unwrap(),
    }
}

fn load(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(labels) = line["labels"].as_object() else {
            continue;
        };
        let labels = Labels::from_pairs(labels.iter().map(|(n, v)| (n, v.as_str().unwrap())));
        for sample in line["samples"].as_array().into_iter().flatten() {
            let t = sample[0].as_i64().unwrap();
            memory.put(&labels, t, Stored::Float(number(&sample[1])), None);
        }
        for sample in line["histograms"].as_array().into_iter().flatten() {
            let h = Arc::new(histogram(&sample[1]));
            let t = sample[0].as_i64().unwrap();
            memory.put(&labels, t, Stored::Histogram(h), None);
        }
    }
    memory
}

fn histogram(v: &Value) -> Histogram {
    let list = |key: &str| v[key].as_array().cloned().unwrap_or_default();
    let spans = |key: &str| {
        let span = |s: &Value| BucketSpan {
            offset: s[0].as_i64().unwrap() as i32,
            length: s[1].as_u64().unwrap() as u32,
        };
        list(key).iter().map(span).collect()
    };
    let floats = |key: &str| list(key).iter().map(number).collect::<Vec<_>>();
    let deltas = |key: &str| list(key).iter().map(|d| d.as_i64().unwrap()).collect();
    let plain = |key: &str| {
        if v[key].is_null() {
            0.0
        } else {
            number(&v[key])
        }
    };
    let counts = if v["float"] == true {
        Counts::Float {
            count: plain("count"),
            zero_count: plain("zero_count"),
            positive: floats("positive_counts"),
            negative: floats("negative_counts"),
        }
    } else {
        Counts::Integer {
            count: plain("count") as u64,
            zero_count: plain("zero_count") as u64,
            positive: deltas("positive_deltas"),
            negative: deltas("negative_deltas"),
        }
    };
    Histogram {
        reset_hint: match &v["reset_hint"] {
            Value::Number(n) => ResetHint::from_number(n.as_u64().unwrap()),
            Value::String(s) if s == "gauge" => ResetHint::Gauge,
            Value::String(s) if s == "yes" || s == "reset" => ResetHint::Yes,
            Value::String(s) if s == "no" || s == "not_reset" => ResetHint::No,
            _ => ResetHint::Unknown,
        },
        schema: v["schema"].as_i64().unwrap_or(0) as i32,
        zero_threshold: plain("zero_threshold"),
        sum: plain("sum"),
        positive_spans: spans("positive_spans"),
        negative_spans: spans("negative_spans"),
        custom_values: floats("custom_values"),
        counts,
    }
}

fn judge(case: &Value, data: &Memory) -> Result<(), String> {
    let params: BTreeMap<&str, &str> = case["request"]["params"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p[0].as_str().unwrap(), p[1].as_str().unwrap()))
        .collect();
    let ms = |key: &str| moment(params[key]);
    let mut options = match params.get("time") {
        Some(_) => EvalOptions::instant(ms("time")),
        None => EvalOptions::range(ms("start"), ms("end"), duration(params["step"])),
    };
    options.subquery_step_ms = 15_000;
    if let Some(lookback) = params.get("lookback_delta") {
        options.lookback_ms = duration(lookback);
    }
    let query = params["query"];
    let expect = &case["expect"];
    let status = expect["status"].as_u64().unwrap();
    let answer = parse(query, &ParseOptions::ALL)
        .map_err(|e| (400, e.to_string()))
        .and_then(|expr| {
            let answer = evaluate(expr, options, data);
            answer.map_err(|e| {
                (
                    if matches!(e, promql::EvalError::BadQuery(_)) {
                        400
                    } else {
                        422
                    },
                    e.to_string(),
                )
            })
        });
    match answer {
        Err((got, _)) if got == status => Ok(()),
        Err((got, text)) => Err(format!("{query}: {got} instead of {status}: {text}")),
        Ok(_) if status != 200 => Err(format!("{query}: an answer instead of {status}")),
        Ok(answer) => compare(case, &answer, query).map_err(|why| format!("{query}: {why}")),
    }
}

/// Seconds, or RFC 3339 within the month of the recordings.
fn moment(text: &str) -> i64 {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds * 1000.0).round() as i64;
    }
    let at = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    assert!(text.starts_with("2026-11-"), "{text}");
    let zone = 19 + text[19..].find(['Z', '+', '-']).unwrap();
    let ahead_min = match &text[zone..=zone] {
        "Z" => 0,
        sign => {
            let minutes = at(zone + 1, zone + 3) * 60 + at(zone + 4, zone + 6);
            if sign == "+" { minutes } else { -minutes }
        }
    };
    let minutes = ((at(8, 10) - 1) * 24 + at(11, 13)) * 60 + at(14, 16) - ahead_min;
    let seconds: f64 = text[17..zone].parse().unwrap();
    1_793_491_200_000 + minutes * 60_000 + (seconds * 1000.0).round() as i64
}

fn duration(text: &str) -> i64 {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds * 1000.0).round() as i64;
    }
    let (mut rest, mut total) = (text, 0);
    while !rest.is_empty() {
        let (n, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap());
        let (unit, tail) = tail.split_at(
            tail.find(|c: char| c.is_ascii_digit())
                .unwrap_or(tail.len()),
        );
        total += n.parse::<i64>().unwrap()
            * match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => panic!("duration {text}"),
            };
        rest = tail;
    }
    total
}

fn compare(case: &Value, answer: &Answer, query: &str) -> Result<(), String> {
    let json = &case["expect"]["json"];
    for (word, got) in [
        ("warnings", !answer.annotations.warnings(query).is_empty()),
        ("infos", !answer.annotations.infos(query).is_empty()),
    ] {
        let wanted = json[word].as_array().is_some_and(|a| !a.is_empty());
        if wanted != got {
            let all = (
                answer.annotations.warnings(query),
                answer.annotations.infos(query),
            );
            return Err(format!("{word}: {:?} {all:?}", json[word]));
        }
    }
    let result = &json["data"]["result"];
    let mut wanted: Vec<(Labels, Vec<Point>)> = Vec::new();
    match json["data"]["resultType"].as_str().unwrap() {
        "scalar" => wanted.push((Labels::empty(), vec![point(result)])),
        "string" => {
            let text = result[1].as_str().unwrap();
            return match &answer.value {
                Answered::String(_, got) if got == text => Ok(()),
                other => Err(format!("{other:?}")),
            };
        }
        _ => {
            for series in result.as_array().unwrap() {
                let metric = series["metric"].as_object().unwrap();
                let labels = metric.iter().map(|(n, v)| (n, v.as_str().unwrap()));
                let mut points = Vec::new();
                for key in ["value", "histogram"] {
                    points.extend((!series[key].is_null()).then(|| point(&series[key])));
                }
                for key in ["values", "histograms"] {
                    points.extend(series[key].as_array().into_iter().flatten().map(point));
                }
                wanted.push((Labels::from_pairs(labels), points));
            }
        }
    }
    let mut got = points(&answer.value);
    if case["compare"] == "count" {
        return if got.len() == wanted.len() {
            Ok(())
        } else {
            Err(format!("{} series instead of {}", got.len(), wanted.len()))
        };
    }
    if case["compare"] != "promql_ordered" {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
    }
    if got.len() != wanted.len() {
        return Err(format!("{} series instead of {}", got.len(), wanted.len()));
    }
    for ((labels, got), (wanted_labels, wanted)) in got.iter().zip(&wanted) {
        if labels != wanted_labels {
            return Err(format!("{labels} instead of {wanted_labels}"));
        }
        if got.len() != wanted.len() {
            let counts = (got.len(), wanted.len());
            return Err(format!(
                "{labels}: {} points instead of {}",
                counts.0, counts.1
            ));
        }
        for (g, w) in got.iter().zip(wanted) {
            let same = g.0 == w.0 && g.1.len() == w.1.len();
            if !same || !g.1.iter().zip(&w.1).all(|(a, b)| close(*a, *b)) {
                return Err(format!("{labels}: {g:?} instead of {w:?}"));
            }
        }
    }
    Ok(())
}

/// Time, and either a value or count, sum and every bucket of a histogram.
type Point = (i64, Vec<f64>);

fn point(v: &Value) -> Point {
    let t = (v[0].as_f64().unwrap() * 1000.0).round() as i64;
    let values = match &v[1] {
        Value::Object(h) => {
            let mut values = vec![number(&h["count"]), number(&h["sum"])];
            let buckets = h.get("buckets").and_then(Value::as_array);
            for bucket in buckets.into_iter().flatten() {
                values.extend(bucket.as_array().unwrap().iter().map(number));
            }
            values
        }
        v => vec![number(v)],
    };
    (t, values)
}

fn points(value: &Answered) -> Vec<(Labels, Vec<Point>)> {
    let of_histogram = |t: i64, h: &promql::FloatHistogram| {
        let mut values = vec![h.count, h.sum];
        for b in h.buckets().filter(|b| b.count != 0.0) {
            let inclusive = match (b.lower_inclusive, b.upper_inclusive) {
                (false, true) => 0.0,
                (true, false) => 1.0,
                (false, false) => 2.0,
                (true, true) => 3.0,
            };
            values.extend([inclusive, b.lower, b.upper, b.count]);
        }
        (t, values)
    };
    match value {
        Answered::Scalar(t, v) => vec![(Labels::empty(), vec![(*t, vec![*v])])],
        Answered::String(..) => Vec::new(),
        Answered::Vector(vector) => vector
            .iter()
            .map(|s| {
                let point = match &s.sample {
                    promql::vector::Sample::Float(v) => (s.t_ms, vec![*v]),
                    promql::vector::Sample::Histogram(h) => of_histogram(s.t_ms, h),
                };
                (s.labels.clone(), vec![point])
            })
            .collect(),
        Answered::Matrix(matrix) => matrix
            .iter()
            .map(|s| {
                let floats = s.floats.iter().map(|(t, v)| (*t, vec![*v]));
                let histograms = s.histograms.iter().map(|(t, h)| of_histogram(*t, h));
                (s.labels.clone(), floats.chain(histograms).collect())
            })
            .collect(),
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 + 1e-10 * a.abs().max(b.abs())
}
