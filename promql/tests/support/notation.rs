//! Series as scripts write them, put into memory: values, start timestamps, classic histograms.

use std::collections::BTreeMap;
use std::sync::Arc;

use promql::notation::{self, parse_series};
use promql::{FloatHistogram, ParseOptions};
use storage::model::{CUSTOM_BUCKETS_SCHEMA, Labels, METRIC_NAME};

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
        if let Some((_, offsets)) = line.split_once("@st ") {
            starts = Some(start_offsets(offsets));
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
    let (labels, values) = parse_series(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    let values = values.into_iter().map(|value| match value {
        notation::Written::Omitted => None,
        notation::Written::Float(v) => Some(Written::Float(v)),
        notation::Written::Histogram(h) => Some(Written::Histogram(Arc::unwrap_or_clone(h))),
    });
    (labels, values.collect())
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
        total += n.parse::<f64>().unwrap()
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
