//! The notation of series in scripts: `name{a="b"} 1+2x3 _x4 stale {{schema:0 buckets:[1 2]}}x2`.

use std::collections::BTreeMap;
use std::sync::Arc;

use promql::{FloatHistogram, ParseOptions, parse_selector};
use storage::model::{CUSTOM_BUCKETS_SCHEMA, Labels, METRIC_NAME, ResetHint, STALE_NAN};

use crate::memory::Memory;

/// A value as it is written.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Float(f64),
    Histogram(FloatHistogram),
}

/// Loads series, the first sample at the epoch, the others a step apart.
pub(crate) fn load(memory: &mut Memory, step_ms: i64, lines: &[&str]) {
    let mut starts: Option<Vec<Option<i64>>> = None;
    for line in lines {
        let (name, values) = split(line);
        if let Some(of) = name.strip_suffix("@st") {
            assert!(!of.is_empty());
            starts = Some(start_offsets(values));
            continue;
        }
        let (labels, values) = series_line(line);
        let starts = starts.take().unwrap_or_default();
        for (i, value) in values.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let t = i as i64 * step_ms;
            let start = starts.get(i).copied().flatten().map(|offset| t + offset);
            memory.put(&labels, t, value.into(), start);
        }
    }
}

/// Stores each classic histogram as a native one with custom buckets, too.
pub(crate) fn add_custom_histograms(memory: &mut Memory, step_ms: i64, lines: &[&str]) {
    #[derive(Default)]
    struct Classic {
        buckets: BTreeMap<u64, (f64, f64)>,
        count: Option<f64>,
        sum: Option<f64>,
    }
    let mut all: BTreeMap<(Labels, i64), Classic> = BTreeMap::new();
    for line in lines {
        let (labels, values) = series_line(line);
        let name = labels.get(METRIC_NAME).unwrap_or("").to_owned();
        let Some((family, kind)) = name.rsplit_once('_') else {
            continue;
        };
        let mut builder = labels.to_builder();
        builder.set(METRIC_NAME, family).remove("le");
        let upper = labels.get("le").and_then(|le| le.parse::<f64>().ok());
        if kind == "bucket" && upper.is_none() || !["bucket", "count", "sum"].contains(&kind) {
            continue;
        }
        let key = builder.finish();
        for (i, value) in values.into_iter().enumerate() {
            let Some(Written::Float(v)) = value else {
                continue;
            };
            let classic = all.entry((key.clone(), i as i64 * step_ms)).or_default();
            match (kind, upper) {
                ("count", _) => classic.count = Some(v),
                ("sum", _) => classic.sum = Some(v),
                (_, Some(le)) => {
                    let order = if le < 0.0 {
                        !le.to_bits()
                    } else {
                        le.to_bits() | 1 << 63
                    };
                    classic.buckets.insert(order, (le, v));
                }
                _ => {}
            }
        }
    }
    for ((labels, t), classic) in all {
        let buckets: Vec<_> = classic.buckets.into_values().collect();
        let bounds = buckets.iter().map(|b| b.0).filter(|b| b.is_finite());
        let bounds: Arc<[f64]> = bounds.collect::<Vec<_>>().into();
        let count = classic.count.or(buckets.last().map(|b| b.1)).unwrap_or(0.0);
        let mut h = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, bounds);
        (h.count, h.sum) = (count, classic.sum.unwrap_or(0.0));
        let mut before = 0.0;
        for (i, (_, n)) in buckets.iter().enumerate() {
            h.positive.push((i as i32, n - before));
            before = *n;
        }
        if buckets.last().is_none_or(|b| b.0.is_finite()) {
            h.positive.push((buckets.len() as i32, count - before));
        }
        h.compact();
        memory.put(&labels, t, Written::Histogram(h).into(), None);
    }
}

/// Labels and values of a line.
pub(crate) fn series_line(line: &str) -> (Labels, Vec<Option<Written>>) {
    let (name, values) = split(line);
    let labels = if name == "{}" {
        Labels::empty()
    } else {
        let matchers = parse_selector(name);
        let matchers = matchers.unwrap_or_else(|e| panic!("{line}: {e}"));
        Labels::from_pairs(matchers.iter().map(|m| (m.name(), m.value())))
    };
    (labels, values_of(values))
}

/// Splits the series' name and labels from its values.
fn split(line: &str) -> (&str, &str) {
    let (mut depth, mut quote) = (0, None);
    let mut escaped = false;
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(q), '\\') if q != '`' => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => depth -= 1,
            (None, c)
                if c.is_whitespace() && depth == 0 && !line[i..].trim_start().starts_with("{") =>
            {
                return (&line[..i], line[i..].trim());
            }
            (None, c)
                if c.is_whitespace() && depth == 0 && line[i..].trim_start().starts_with("{{") =>
            {
                return (&line[..i], line[i..].trim());
            }
            _ => {}
        }
    }
    (line, "")
}

fn values_of(text: &str) -> Vec<Option<Written>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut depth = 0;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '{' || c == '[') - i32::from(c == '}' || c == ']');
            depth == 0 && c.is_whitespace()
        });
        let (item, tail) = rest.split_at(end.unwrap_or(rest.len()));
        rest = tail.trim_start();
        expand(item, &mut out);
    }
    out
}

fn expand(item: &str, out: &mut Vec<Option<Written>>) {
    let repeated = |from: usize| -> Option<(&str, usize)> {
        let at = item[from..].rfind('x')? + from;
        Some((&item[..at], item[at + 1..].parse().ok()?))
    };
    if let Some(rest) = item.strip_prefix('_') {
        let times = rest.strip_prefix('x').map_or(1, |n| n.parse().unwrap());
        out.extend((0..times).map(|_| None));
        return;
    }
    if item == "stale" {
        out.push(Some(Written::Float(STALE_NAN)));
        return;
    }
    if let Some(body) = item.strip_prefix("{{") {
        let end = body.find("}}").unwrap();
        let first = histogram(&body[..end]);
        let rest = &body[end + 2..];
        if rest.is_empty() {
            out.push(Some(Written::Histogram(first)));
            return;
        }
        let (change, times) = rest.rsplit_once('x').unwrap();
        let times: usize = times.parse().unwrap();
        let mut now = first;
        out.push(Some(Written::Histogram(now.clone())));
        for _ in 0..times {
            if let Some(step) = change.strip_prefix("+{{") {
                now.add(&histogram(step.strip_suffix("}}").unwrap()))
                    .unwrap();
            } else if let Some(step) = change.strip_prefix("-{{") {
                now.subtract(&histogram(step.strip_suffix("}}").unwrap()))
                    .unwrap();
            }
            out.push(Some(Written::Histogram(now.clone())));
        }
        return;
    }
    let Some((base, times)) = repeated(1) else {
        out.push(Some(Written::Float(number(item))));
        return;
    };
    let sign = base
        .char_indices()
        .skip(1)
        .find(|(i, c)| matches!(c, '+' | '-') && !base[..*i].ends_with(['e', 'E']));
    let (mut now, step) = match sign {
        Some((i, _)) => (number(&base[..i]), number(&base[i..])),
        None => (number(base), 0.0),
    };
    for _ in 0..=times {
        out.push(Some(Written::Float(now)));
        now += step;
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("number {text:?}"))
}

fn histogram(body: &str) -> FloatHistogram {
    let mut h = FloatHistogram::empty(0, Arc::from([]));
    let (mut offset, mut n_offset) = (0, 0);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    let mut rest = body.trim();
    while let Some((key, tail)) = rest.split_once(':') {
        let list = tail.strip_prefix('[');
        let (value, tail) = match list {
            Some(list) => list.split_once(']').unwrap(),
            None => tail.split_at(tail.find(char::is_whitespace).unwrap_or(tail.len())),
        };
        rest = tail.trim();
        let numbers = || value.split_whitespace().map(number).collect::<Vec<_>>();
        match key.trim() {
            "schema" => h.schema = value.parse().unwrap(),
            "sum" => h.sum = number(value),
            "count" => h.count = number(value),
            "z_bucket" => h.zero_count = number(value),
            "z_bucket_w" => h.zero_threshold = number(value),
            "offset" => offset = value.parse().unwrap(),
            "n_offset" => n_offset = value.parse().unwrap(),
            "buckets" => buckets = numbers(),
            "n_buckets" => n_buckets = numbers(),
            "custom_values" => h.custom_values = numbers().into(),
            "counter_reset_hint" => {
                h.reset_hint = match value {
                    "gauge" => ResetHint::Gauge,
                    "reset" => ResetHint::Yes,
                    "not_reset" => ResetHint::No,
                    _ => ResetHint::Unknown,
                }
            }
            other => panic!("histogram field {other:?}"),
        }
    }
    let side = |offset: i32, counts: Vec<f64>| (offset..).zip(counts).collect();
    h.positive = side(offset, buckets);
    h.negative = side(n_offset, n_buckets);
    h
}

/// Start timestamps relative to their samples, in milliseconds.
fn start_offsets(text: &str) -> Vec<Option<i64>> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        if let Some(rest) = item.strip_prefix('_') {
            let times = rest.strip_prefix('x').map_or(1, |n| n.parse().unwrap());
            out.extend((0..times).map(|_| None));
            continue;
        }
        let Some((base, times)) = item.rsplit_once('x') else {
            out.push(Some(duration_ms(item)));
            continue;
        };
        let at = base[1..].find(['+', '-']).map(|i| i + 1);
        let (mut now, step) = match at {
            Some(i) => (duration_ms(&base[..i]), duration_ms(&base[i..])),
            None => (duration_ms(base), 0),
        };
        for _ in 0..=times.parse::<usize>().unwrap() {
            out.push(Some(now));
            now += step;
        }
    }
    out
}

/// `5m30s`, `-1h`, `500ms`, or plain seconds.
pub(crate) fn duration_ms(text: &str) -> i64 {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Ok(seconds) = text.parse::<f64>() {
        return sign * (seconds * 1000.0).round() as i64;
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (n, tail) = rest.split_at(digits.unwrap_or_else(|| panic!("duration {text}")));
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total += number(n)
            * match unit {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                "d" => 86_400_000.0,
                "w" => 604_800_000.0,
                "y" => 31_536_000_000.0,
                _ => panic!("duration {text}"),
            };
        rest = tail;
    }
    sign * total.round() as i64
}

/// The text of a quoted string, with the usual escapes.
pub(crate) fn unquote(text: &str) -> String {
    match promql::parse(text, &ParseOptions::ALL) {
        Ok(promql::Expr::String(s)) => s.value,
        other => panic!("string {text}: {other:?}"),
    }
}
