//! The scripts of the Prometheus project's own engine tests: load, evaluate, expect.

#![allow(clippy::unwrap_used)]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/notation.rs"]
mod notation;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use memory::{Memory, Stored, shared};
use notation::{Written, duration_ms, series_line};
use promql::vector::Sample;
use promql::{Answer, EvalOptions, FloatHistogram, ParseOptions, Value, evaluate, parse};
use regex::Regex;
use storage::model::{Labels, ResetHint};

/// Files with the number of evaluations that are as expected.
const EXPECTED: &[(&str, usize)] = &[
    ("aggregators", 160),
    ("at_modifier", 78),
    ("duration_expression", 59),
    ("extended_vectors", 169),
    ("functions", 431),
    ("histograms", 185),
    ("info", 53),
    ("literals", 25),
    ("native_histograms", 522),
    ("operators", 214),
    ("range_queries", 18),
    ("selectors", 31),
    ("start_timestamps", 26),
    ("type_and_unit", 58),
];

#[test]
fn scripts_evaluate_as_expected() {
    let Some(folder) = shared("promqltest") else {
        println!("skipped: no shared material");
        return;
    };
    let folder = std::env::var_os("PROMQLTEST_FOLDER").map_or(folder, Into::into);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "test"));
    files.sort();
    let mut failed = false;
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let (passed, total) = run(&name, &fs::read_to_string(&file).unwrap());
        println!("{name}: {passed} of {total}");
        let expected = EXPECTED.iter().find(|(n, _)| *n == name);
        failed |= expected.is_some_and(|(_, n)| passed < *n);
    }
    assert!(!failed, "fewer evaluations as expected than before");
}

/// What a block expects.
#[derive(Default)]
struct Expectation {
    series: Vec<(Labels, Vec<Option<Written>>)>,
    scalar: Option<f64>,
    string: Option<String>,
    fail: Option<Text>,
    warn: Vec<Text>,
    info: Vec<Text>,
    no_warn: bool,
    no_info: bool,
    ordered: bool,
    /// Start, end and step of the values of a range vector.
    range: Option<(i64, i64, i64)>,
}

enum Text {
    Any,
    Is(String),
    Matches(Regex),
}

impl Text {
    fn parse(text: &str) -> Self {
        match text.trim().split_once(':') {
            Some(("msg", rest)) => Self::Is(rest.trim().to_owned()),
            Some(("regex", rest)) => Self::Matches(Regex::new(rest.trim()).unwrap()),
            _ => Self::Any,
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(wanted) => wanted == text,
            Self::Matches(pattern) => pattern.is_match(text),
        }
    }
}

fn run(name: &str, script: &str) -> (usize, usize) {
    let (mut passed, mut total) = (0, 0);
    let mut memory = Memory::default();
    let mut lines = script.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut block = Vec::new();
        while let Some((_, next)) = lines.peek() {
            let trimmed = next.trim();
            if trimmed.is_empty() || !next.starts_with([' ', '\t']) && !trimmed.starts_with('#') {
                break;
            }
            if !trimmed.starts_with('#') {
                block.push(trimmed);
            }
            lines.next();
        }
        if line == "clear" {
            memory = Memory::default();
        } else if let Some(step) = line.strip_prefix("load_with_nhcb ") {
            notation::load(&mut memory, duration_ms(step.trim()), &block);
            notation::add_custom_histograms(&mut memory, duration_ms(step.trim()), &block);
        } else if let Some(step) = line.strip_prefix("load ") {
            notation::load(&mut memory, duration_ms(step.trim()), &block);
        } else {
            total += 1;
            match check(line, &block, &memory) {
                Ok(()) => passed += 1,
                Err(why) => println!("{name}:{}: {line}: {why}", number + 1),
            }
        }
    }
    (passed, total)
}

fn check(line: &str, block: &[&str], memory: &Memory) -> Result<(), String> {
    let (command, rest) = line.split_once(' ').unwrap();
    let mut expectation = expectation(block);
    match command {
        "eval" => {}
        "eval_fail" => expectation.fail = expectation.fail.or(Some(Text::Any)),
        "eval_warn" => expectation.warn.push(Text::Any),
        "eval_info" => expectation.info.push(Text::Any),
        "eval_ordered" => expectation.ordered = true,
        other => return Err(format!("unknown command {other}")),
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let after = |n: usize| {
        let mut text = rest;
        for _ in 0..n {
            text = text.trim_start();
            text = &text[text.find(char::is_whitespace).unwrap()..];
        }
        text.trim()
    };
    if words[0] == "range" {
        let (start, end, step) = (
            duration_ms(words[2]),
            duration_ms(words[4]),
            duration_ms(words[6]),
        );
        let query = after(7);
        let answer = ask(query, EvalOptions::range(start, end, step), memory);
        return judge(&expectation, answer, query, Some((start, end, step)));
    }
    let (at, query) = (duration_ms(words[2]), after(3));
    let answer = ask(query, EvalOptions::instant(at), memory);
    let is_vector =
        matches!(&answer, Ok(a) if matches!(a.value, Value::Vector(_) | Value::Scalar(..)));
    judge(&expectation, answer, query, None)?;
    let about_query = ["step()", "range()", "start()", "end()"];
    if !is_vector || expectation.ordered || about_query.iter().any(|f| query.contains(f)) {
        return Ok(());
    }
    // The same values must come from the middle of a range query.
    let options = EvalOptions::range(at - 60_000, at + 60_000, 60_000);
    let answer = ask(query, options, memory).map_err(|e| format!("as a range: {e}"))?;
    let Value::Matrix(matrix) = &answer.value else {
        return Err("as a range: no matrix".to_owned());
    };
    let middle: Vec<_> = matrix
        .iter()
        .filter_map(|s| {
            let float = s
                .floats
                .iter()
                .find(|(t, _)| *t == at)
                .map(|(_, v)| Sample::Float(*v));
            let histogram = s.histograms.iter().find(|(t, _)| *t == at);
            let sample = float.or(histogram.map(|(_, h)| Sample::Histogram(Arc::clone(h))))?;
            Some((s.labels.clone(), sample))
        })
        .collect();
    vector(&expectation, &middle).map_err(|e| format!("as a range: {e}"))
}

fn ask(query: &str, mut options: EvalOptions, memory: &Memory) -> Result<Answer, String> {
    options.delayed_name_removal = true;
    options.use_start_timestamps = true;
    let expr = parse(query, &ParseOptions::ALL).map_err(|e| e.to_string())?;
    evaluate(expr, options, memory).map_err(|e| e.to_string())
}

fn expectation(block: &[&str]) -> Expectation {
    let mut e = Expectation::default();
    for line in block {
        let Some(rest) = line.strip_prefix("expect ") else {
            if let Some(text) = line.strip_prefix("expected_fail_message ") {
                e.fail = Some(Text::Is(text.trim().to_owned()));
            } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
                e.fail = Some(Text::Matches(Regex::new(text.trim()).unwrap()));
            } else if let Ok(v) = line.parse() {
                e.scalar = Some(v);
            } else {
                e.series.push(series_line(line));
            }
            continue;
        };
        let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "fail" => e.fail = Some(Text::parse(text)),
            "warn" => e.warn.push(Text::parse(text)),
            "info" => e.info.push(Text::parse(text)),
            "no_warn" => e.no_warn = true,
            "no_info" => e.no_info = true,
            "ordered" => e.ordered = true,
            "string" => e.string = Some(notation::unquote(text.trim())),
            "range" => {
                let words: Vec<&str> = text.split_whitespace().collect();
                let at = |i: usize| duration_ms(words[i]);
                e.range = Some((at(2), at(4), at(6)));
            }
            other => panic!("unknown expectation {other}"),
        }
    }
    e
}

fn judge(
    e: &Expectation,
    answer: Result<Answer, String>,
    query: &str,
    range: Option<(i64, i64, i64)>,
) -> Result<(), String> {
    let answer = match (&e.fail, answer) {
        (Some(text), Err(got)) if text.fits(&got) => return Ok(()),
        (Some(_), Ok(_)) => return Err("an answer instead of an error".to_owned()),
        (_, Err(got)) => return Err(format!("error: {got}")),
        (None, Ok(answer)) => answer,
    };
    let remarks = [
        (
            "warn",
            answer.annotations.warnings(query),
            &e.warn,
            e.no_warn,
        ),
        ("info", answer.annotations.infos(query), &e.info, e.no_info),
    ];
    for (word, got, wanted, none) in remarks {
        let missed = wanted.iter().any(|w| !got.iter().any(|g| w.fits(g)));
        let extra = !wanted.is_empty() && got.iter().any(|g| !wanted.iter().any(|w| w.fits(g)));
        if missed || extra || (none && !got.is_empty()) {
            return Err(format!("{word}: {got:?}"));
        }
    }
    match &answer.value {
        Value::Scalar(_, v) => match e.scalar {
            Some(wanted) if close(*v, wanted) => Ok(()),
            _ => Err(format!("scalar {v}")),
        },
        Value::String(_, text) => match &e.string {
            Some(wanted) if wanted == text => Ok(()),
            _ => Err(format!("string {text:?}")),
        },
        Value::Vector(samples) => {
            let got: Vec<_> = samples
                .iter()
                .map(|s| (s.labels.clone(), s.sample.clone()))
                .collect();
            vector(e, &got)
        }
        Value::Matrix(got) => {
            let (start, _, step) = e.range.or(range).ok_or("a matrix")?;
            let mut wanted: BTreeMap<Labels, Vec<(i64, Written)>> = BTreeMap::new();
            for (labels, values) in &e.series {
                let points = values.iter().enumerate();
                let points =
                    points.filter_map(|(i, v)| Some((start + step * i as i64, v.clone()?)));
                wanted.entry(labels.clone()).or_default().extend(points);
            }
            wanted.retain(|_, points| !points.is_empty());
            let mut matrix: BTreeMap<Labels, Vec<(i64, Sample)>> = BTreeMap::new();
            for s in got {
                let points = matrix.entry(s.labels.clone()).or_default();
                points.extend(s.floats.iter().map(|(t, v)| (*t, Sample::Float(*v))));
                points.extend(
                    s.histograms
                        .iter()
                        .map(|(t, h)| (*t, Sample::Histogram(Arc::clone(h)))),
                );
                points.sort_by_key(|(t, _)| *t);
            }
            if let Some(scalar) = e.scalar {
                let all = matrix.values().flatten();
                let same = all
                    .into_iter()
                    .all(|(_, s)| same(s, &Written::Float(scalar)).is_ok());
                return if same {
                    Ok(())
                } else {
                    Err(format!("{matrix:?}"))
                };
            }
            if matrix.keys().ne(wanted.keys()) {
                let (got, wanted) = (matrix.keys(), wanted.keys());
                return Err(format!("series {got:?} instead of {wanted:?}"));
            }
            for ((labels, got), wanted) in matrix.iter().zip(wanted.values()) {
                let times = |t: &i64| t / 1000;
                let (g, w): (Vec<_>, Vec<_>) = (
                    got.iter().map(|(t, _)| times(t)).collect(),
                    wanted.iter().map(|(t, _)| times(t)).collect(),
                );
                if g != w {
                    return Err(format!("{labels}: at {g:?} instead of {w:?}: {got:?}"));
                }
                for ((t, got), (_, wanted)) in got.iter().zip(wanted) {
                    same(got, wanted).map_err(|e| format!("{labels} at {t}: {e}"))?;
                }
            }
            Ok(())
        }
    }
}

fn vector(e: &Expectation, got: &[(Labels, Sample)]) -> Result<(), String> {
    if let Some(scalar) = e.scalar {
        return match got {
            [(_, sample)] => same(sample, &Written::Float(scalar)),
            _ => Err(format!("{got:?} instead of {scalar}")),
        };
    }
    let mut got: Vec<_> = got.iter().collect();
    let mut wanted: Vec<_> = e.series.iter().collect();
    if !e.ordered {
        got.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
    }
    if got.iter().map(|s| &s.0).ne(wanted.iter().map(|s| &s.0)) {
        let labels: Vec<_> = wanted.iter().map(|s| &s.0).collect();
        return Err(format!("{got:?} instead of {labels:?}"));
    }
    for ((labels, got), (_, wanted)) in got.into_iter().zip(wanted) {
        let Some(Some(wanted)) = wanted.first() else {
            return Err(format!("{labels}: {got:?} instead of nothing"));
        };
        same(got, wanted).map_err(|e| format!("{labels}: {e}"))?;
    }
    Ok(())
}

fn same(got: &Sample, wanted: &Written) -> Result<(), String> {
    let equal = match (got, wanted) {
        (Sample::Float(g), Written::Float(w)) => close(*g, *w),
        (Sample::Histogram(g), Written::Histogram(w)) => same_histogram(g, w),
        _ => false,
    };
    if equal {
        Ok(())
    } else {
        Err(format!("{got:?} instead of {wanted:?}"))
    }
}

fn same_histogram(got: &FloatHistogram, wanted: &FloatHistogram) -> bool {
    let compacted = |h: &FloatHistogram| {
        let mut h = h.clone();
        h.compact();
        h
    };
    let (g, w) = (compacted(got), compacted(wanted));
    let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0 && close(x.1, y.1))
    };
    g.schema == w.schema
        && close(g.count, w.count)
        && close(g.sum, w.sum)
        && close(g.zero_threshold, w.zero_threshold)
        && close(g.zero_count, w.zero_count)
        && g.custom_values == w.custom_values
        && (w.reset_hint == ResetHint::Unknown || w.reset_hint == g.reset_hint)
        && side(&g.positive, &w.positive)
        && side(&g.negative, &w.negative)
}

fn close(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < 1e-6 * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < 1e-6
}

/// Values as the memory takes them.
impl From<Written> for Stored {
    fn from(value: Written) -> Self {
        match value {
            Written::Float(v) => Self::Float(v),
            Written::Histogram(h) => Self::Histogram(std::sync::Arc::new(h.to_stored())),
        }
    }
}
