//! `rate`, `increase` and `delta` of `anchored` and `smoothed` ranges: without extrapolation, from
//! the values at the two ends of the range.

use std::sync::Arc;

use storage::model::ResetHint;

use super::rate::Change;
use super::window::{Points, Remarks, Value, Window, float, histogram};
use crate::annotation::HistogramOperation;
use crate::histogram::{Combined, FloatHistogram, IncompatibleBuckets};

pub(crate) fn change(kind: Change, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let seconds = (w.end_ms - w.start_ms) as f64 / 1000.0;
    if w.histograms.is_empty() {
        let v = float_change(kind, w)?;
        return float(if kind.per_second { v / seconds } else { v });
    }
    let mut h = histogram_change(kind, w, remarks)?;
    if kind.per_second {
        h.divide(seconds);
    }
    h.reset_hint = ResetHint::Gauge;
    h.compact();
    histogram(h)
}

/// Positions of the first and the last sample that count: the last one not after the start, and
/// the last one, or of a smoothed range the first one not before the end. `None` where all lie before the range.
pub(crate) fn ends<V>(points: &Points<'_, V>, w: &Window<'_>) -> Option<(usize, usize)> {
    let mut last = points.len().checked_sub(1)?;
    let first = points.t_ms[..last]
        .partition_point(|t| *t <= w.start_ms)
        .saturating_sub(1);
    if w.smoothed {
        last = points.t_ms[..last].partition_point(|t| *t < w.end_ms);
    }
    (points.t_ms[last] > w.start_ms).then_some((first, last))
}

/// The same for what changes within the range, which takes a sample that does not lie behind it.
fn ends_of_change<V>(points: &Points<'_, V>, w: &Window<'_>) -> Option<(usize, usize)> {
    ends(points, w).filter(|(first, _)| !w.smoothed || points.t_ms[*first] <= w.end_ms)
}

/// A value between two samples; a counter that went down started again from zero.
pub(crate) fn interpolate(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

/// The values at both ends of a range of floats.
pub(crate) fn float_ends(
    points: &Points<'_, f64>,
    w: &Window<'_>,
    (first, last): (usize, usize),
    counter: bool,
) -> (f64, f64) {
    let at = |i: usize| (points.t_ms[i], points.values[i]);
    let left = if w.smoothed && points.t_ms[first] < w.start_ms {
        interpolate(at(first), at(first + 1), w.start_ms, counter)
    } else {
        points.values[first]
    };
    let right = if w.smoothed && last > 0 && points.t_ms[last] > w.end_ms {
        interpolate(at(last - 1), at(last), w.end_ms, counter)
    } else {
        points.values[last]
    };
    (left, right)
}

/// Positions strictly within the range, given the ends.
pub(crate) fn inside<V>(
    points: &Points<'_, V>,
    w: &Window<'_>,
    (first, last): (usize, usize),
) -> std::ops::Range<usize> {
    let from = first + usize::from(points.t_ms[first] <= w.start_ms);
    let to = last + usize::from(points.t_ms[last] < w.end_ms);
    from..to.max(from)
}

fn float_change(kind: Change, w: &Window<'_>) -> Option<f64> {
    let points = &w.floats;
    let ends = ends_of_change(points, w)?;
    let (left, right) = float_ends(points, w, ends, kind.counter);
    if !kind.counter {
        return Some(right - left);
    }
    let (mut before, mut lost) = (left, 0.0);
    let within = &points.values[inside(points, w, ends)];
    for &v in within.iter().chain([&right]) {
        if v < before {
            lost += before;
        }
        before = v;
    }
    // Summed up before it is added, as upstream does: in another order the last digit is another.
    Some(right - left + lost)
}

type HistogramPoints<'a> = Points<'a, Arc<FloatHistogram>>;

fn histogram_change(
    kind: Change,
    w: &Window<'_>,
    remarks: &mut Remarks<'_>,
) -> Option<FloatHistogram> {
    let points = &w.histograms;
    let (first, last) = ends_of_change(points, w)?;
    let custom = points.values[first].has_custom_buckets();
    for h in &points.values[first..=last] {
        if h.has_custom_buckets() != custom {
            remarks.mixed_buckets();
            return None;
        }
        if kind.counter && h.reset_hint == ResetHint::Gauge {
            remarks.not_counter();
        }
    }
    let left = if w.smoothed && points.t_ms[first] < w.start_ms {
        let between = interpolate_histograms(points, first, w.start_ms, kind.counter, remarks);
        remark_failure(between, remarks)?
    } else {
        points.values[first].as_ref().clone()
    };
    let right = if w.smoothed && last > 0 && points.t_ms[last] > w.end_ms {
        let between = interpolate_histograms(points, last - 1, w.end_ms, kind.counter, remarks);
        remark_failure(between, remarks)?
    } else {
        points.values[last].as_ref().clone()
    };
    let is_gauge = |h: &FloatHistogram| h.reset_hint == ResetHint::Gauge;
    if !kind.counter && [&left, &right].into_iter().any(|h| !is_gauge(h)) {
        remarks.not_gauge();
    }
    let mut result = right.clone();
    remarks.combined(result.subtract(&left), HistogramOperation::Subtraction)?;
    if kind.counter {
        let lost = lost_in_resets(points, w, (first, last), (&left, &right), remarks)?;
        if let Some(lost) = lost {
            remarks.combined(result.add(&lost), HistogramOperation::Addition)?;
        }
    }
    Some(result)
}

/// What was counted before each reset between the ends, summed up.
fn lost_in_resets(
    points: &HistogramPoints<'_>,
    w: &Window<'_>,
    (first, last): (usize, usize),
    (left, right): (&FloatHistogram, &FloatHistogram),
    remarks: &mut Remarks<'_>,
) -> Option<Option<FloatHistogram>> {
    let mut from = first + 1;
    let mut before = left;
    if w.smoothed
        && points.t_ms[first] < w.start_ms
        && points.values[first + 1].is_reset_after(&points.values[first])
    {
        // The interpolated left end lies after that reset already.
        before = &points.values[first + 1];
        from += 1;
    }
    if from > last {
        return Some(None);
    }
    let mut lost: Option<FloatHistogram> = None;
    let within = points.values[from..last].iter().map(AsRef::as_ref);
    for h in within.chain([right]) {
        if h.is_reset_after(before) {
            match &mut lost {
                None => lost = Some(before.clone()),
                Some(sum) => remarks.combined(sum.add(before), HistogramOperation::Addition)?,
            }
        }
        before = h;
    }
    Some(lost)
}

fn remark_failure(
    result: Result<FloatHistogram, IncompatibleBuckets>,
    remarks: &mut Remarks<'_>,
) -> Option<FloatHistogram> {
    if result.is_err() {
        remarks.mixed_buckets();
    }
    result.ok()
}

/// A histogram between samples `i` and `i + 1`; a counter that was reset started again from nothing.
fn interpolate_histograms(
    points: &HistogramPoints<'_>,
    i: usize,
    t: i64,
    counter: bool,
    remarks: &mut Remarks<'_>,
) -> Result<FloatHistogram, IncompatibleBuckets> {
    let a = (points.t_ms[i], points.values[i].as_ref());
    let b = (points.t_ms[i + 1], points.values[i + 1].as_ref());
    between(a, b, t, counter, &mut |combined, operation| {
        // Only a remark: the combination itself succeeded.
        let _ = remarks.combined(Ok(combined), operation);
    })
}

/// A histogram between two others.
///
/// # Errors
/// Where one has exponential and the other custom buckets.
pub(crate) fn between(
    (t1, a): (i64, &FloatHistogram),
    (t2, b): (i64, &FloatHistogram),
    t: i64,
    counter: bool,
    combined: &mut dyn FnMut(Combined, HistogramOperation),
) -> Result<FloatHistogram, IncompatibleBuckets> {
    if t == t1 {
        return Ok(a.clone());
    }
    let mut result = b.clone();
    if t == t2 {
        return Ok(result);
    }
    let fraction = (t - t1) as f64 / (t2 - t1) as f64;
    if counter && b.is_reset_after(a) {
        result.multiply(fraction);
        return Ok(result);
    }
    combined(result.subtract(a)?, HistogramOperation::Subtraction);
    result.multiply(fraction);
    combined(result.add(a)?, HistogramOperation::Addition);
    Ok(result)
}
