//! `rate`, `increase`, `delta`: how much a series changes over a range, extrapolated to the ends of
//! the range; and `irate`, `idelta` from the last two samples.
//! Source: Prometheus 3.14, documentation of these functions.

mod plain;

use std::sync::Arc;

use storage::model::ResetHint;

use super::window::{Points, Remarks, Value, Window, float, histogram};
use crate::annotation::{HistogramOperation, Note};
use crate::histogram::FloatHistogram;

pub(crate) use plain::PlainChange;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Drops are counter resets.
    pub(crate) counter: bool,
    /// The result is per second.
    pub(crate) per_second: bool,
}

pub(crate) fn change(kind: Change, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    if !w.histograms.is_empty() && !w.floats.is_empty() {
        remarks.mixed();
        return None;
    }
    if w.anchored || w.smoothed {
        return super::extended::change(kind, w, remarks);
    }
    if w.histograms.is_empty() {
        float_change(kind, w, remarks)
    } else {
        histogram_change(kind, w, remarks)
    }
}

fn float_change(kind: Change, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let points = &w.floats;
    let (Some(&first), Some(&last)) = (points.values.first(), points.values.last()) else {
        return None;
    };
    let mut result = last - first;
    if kind.counter {
        if points.start_ms.is_empty() {
            let mut before = first;
            for &v in points.values {
                if v < before {
                    result += before;
                }
                before = v;
            }
        } else {
            remark_overlap(points, remarks);
            for i in 1..points.len() {
                let before = points.values[i - 1];
                if points.values[i] < before || points.restarted(i) {
                    result += before;
                }
            }
        }
    }
    let began = kind.counter && began_within(points, w);
    if began {
        result += first;
    }
    let factor = factor(kind, w, points, began, |sampled| {
        (result > 0.0 && first >= 0.0).then(|| sampled * (first / result))
    })?;
    float(result * factor)
}

fn histogram_change(kind: Change, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let points = &w.histograms;
    let first = points.values.first()?;
    let mut result = if points.len() > 1 {
        Some(histogram_difference(kind, points, remarks)?)
    } else {
        None
    };
    let began = kind.counter && began_within(points, w);
    if began {
        match &mut result {
            None => result = Some(first.as_ref().clone()),
            Some(h) => remarks.combined(h.add(first), HistogramOperation::Addition)?,
        }
    }
    let mut result = result?;
    let count = result.count;
    let factor = factor(kind, w, points, began, |sampled| {
        (count > 0.0 && first.count >= 0.0).then(|| sampled * (first.count / count))
    })?;
    result.multiply(factor);
    histogram(result)
}

/// Whether the first sample's counter began within the range, so that all it counts belongs to it.
fn began_within<V>(points: &Points<'_, V>, w: &Window<'_>) -> bool {
    match (points.start_ms.first(), points.t_ms.first()) {
        (Some(&start), Some(&t)) => start != 0 && start > w.start_ms && start < t,
        _ => false,
    }
}

/// By how much the change between the first and the last sample grows when it is extrapolated to the ends of the range: up
/// to the end where a sample is near enough to be expected there, else by half a distance of samples. `to_zero` tells how long before
/// the first sample a counter was at zero.
fn factor<V>(
    kind: Change,
    w: &Window<'_>,
    points: &Points<'_, V>,
    began: bool,
    to_zero: impl FnOnce(f64) -> Option<f64>,
) -> Option<f64> {
    let (Some(&first), Some(&last)) = (points.t_ms.first(), points.t_ms.last()) else {
        return None;
    };
    let gaps = points.len() - 1;
    let mut to_start = (first - w.start_ms) as f64 / 1000.0;
    let mut to_end = (w.end_ms - last) as f64 / 1000.0;
    let mut sampled = (last - first) as f64 / 1000.0;
    let gap = if gaps > 0 { sampled / gaps as f64 } else { 0.0 };
    if began {
        to_start = 0.0;
        sampled = (last - points.start_ms[0]) as f64 / 1000.0;
    } else if gaps == 0 {
        return None;
    } else {
        to_start = extrapolated(to_start, gap);
        if kind.counter
            && let Some(to_zero) = to_zero(sampled)
            && to_zero < to_start
        {
            to_start = to_zero;
        }
    }
    to_end = extrapolated(to_end, gap);
    let range_ms = w.end_ms - w.start_ms;
    Some(grown(kind, sampled, to_start, to_end, range_ms))
}

/// How far it is extrapolated to an end of the range that lies at a distance from the nearest sample: all the way where a
/// sample would be expected there, else half a gap between samples. All in seconds.
fn extrapolated(distance: f64, gap: f64) -> f64 {
    match distance >= gap * 1.1 {
        true => gap / 2.0,
        false => distance,
    }
}

/// By how much a change over so many sampled seconds grows when it is extrapolated to both sides.
fn grown(kind: Change, sampled: f64, to_start: f64, to_end: f64, range_ms: i64) -> f64 {
    let mut factor = 1.0;
    if sampled != 0.0 {
        factor = (sampled + to_start + to_end) / sampled;
    }
    if kind.per_second {
        factor /= range_ms as f64 / 1000.0;
    }
    factor
}

fn remark_overlap<V>(points: &Points<'_, V>, remarks: &mut Remarks<'_>) {
    if (1..points.len()).any(|i| points.overlaps(i)) {
        let note = Note::StartTimeOverlap(remarks.metric);
        remarks.add(&note);
    }
}

/// The last histogram minus the first, plus what was lost in resets. At least two points.
fn histogram_difference(
    kind: Change,
    points: &Points<'_, Arc<FloatHistogram>>,
    remarks: &mut Remarks<'_>,
) -> Option<FloatHistogram> {
    let is_gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    let values = points.values;
    let (first, second, last) = (&values[0], &values[1], &values[values.len() - 1]);
    if kind.counter && (is_gauge(first) || is_gauge(last)) {
        remarks.not_counter();
    }
    let mut start = Arc::clone(first);
    if kind.counter && (points.restarted(1) || second.is_reset_after(first)) {
        // What the first sample counts is gone by the second: start from nothing, in the layout of the second.
        let nothing = FloatHistogram::empty(second.schema, Arc::clone(&second.custom_values));
        start = Arc::new(nothing);
    }
    let custom = start.has_custom_buckets();
    if last.has_custom_buckets() != custom {
        remarks.mixed_buckets();
        return None;
    }
    let mut schema = last.schema.min(start.schema);
    if kind.counter {
        for h in &values[1..values.len() - 1] {
            if is_gauge(h) {
                remarks.not_counter();
            }
            schema = schema.min(h.schema);
            if h.has_custom_buckets() != custom {
                remarks.mixed_buckets();
                return None;
            }
        }
    }
    let mut result = last.as_ref().clone();
    result.reduce_to(schema);
    remarks.combined(result.subtract(&start), HistogramOperation::Subtraction)?;
    if kind.counter {
        remark_overlap(points, remarks);
        let mut before = &start;
        for (i, h) in values.iter().enumerate().skip(1) {
            if points.restarted(i) || h.is_reset_after(before) {
                remarks.combined(result.add(before), HistogramOperation::Addition)?;
            }
            before = h;
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        remarks.not_gauge();
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

/// The last two samples of either kind, in order of time, each with whether it restarted since the one before.
pub(crate) fn instant(per_second: bool, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    #[derive(Clone, Copy)]
    enum Last<'a> {
        Float(f64),
        Histogram(&'a FloatHistogram),
    }
    let floats = (0..w.floats.len()).rev().take(2).map(|i| {
        let start = w.floats.start_ms.get(i).copied().unwrap_or(0);
        (w.floats.t_ms[i], start, Last::Float(w.floats.values[i]))
    });
    let histograms = (0..w.histograms.len()).rev().take(2).map(|i| {
        let start = w.histograms.start_ms.get(i).copied().unwrap_or(0);
        let value = Last::Histogram(&w.histograms.values[i]);
        (w.histograms.t_ms[i], start, value)
    });
    let mut both: Vec<_> = floats.chain(histograms).collect();
    both.sort_by_key(|(t, ..)| std::cmp::Reverse(*t));
    let [(t1, start1, last), (t0, start0, before), ..] = both[..] else {
        return None;
    };
    let (t, starts) = ([t0, t1], [start0, start1]);
    let restarted = Points {
        t_ms: &t,
        values: &[(), ()],
        start_ms: &starts,
    }
    .restarted(1);
    let seconds = (t1 - t0) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    match (before, last) {
        (Last::Float(a), Last::Float(b)) => {
            let reset = per_second && (b < a || restarted);
            let v = if reset { b } else { b - a };
            float(if per_second { v / seconds } else { v })
        }
        (Last::Histogram(a), Last::Histogram(b)) => {
            let gauges = [a, b].map(|h| h.reset_hint == ResetHint::Gauge);
            if per_second && gauges.contains(&true) {
                remarks.not_counter();
            }
            if !per_second && gauges.contains(&false) {
                remarks.not_gauge();
            }
            let mut result = b.clone();
            if !per_second || (!restarted && !b.is_reset_after(a)) {
                remarks.combined(result.subtract(a), HistogramOperation::Subtraction)?;
            }
            result.reset_hint = ResetHint::Gauge;
            result.compact();
            if per_second {
                result.divide(seconds);
            }
            histogram(result)
        }
        _ => {
            remarks.mixed();
            None
        }
    }
}
