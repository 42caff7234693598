//! Functions that sum up the samples of a range: `sum_over_time` and its kin.

use std::sync::Arc;

use storage::model::ResetHint;

use super::window::{Remarks, Value, Window, float, histogram};
use crate::annotation::{HistogramOperation, Note};
use crate::histogram::{FloatHistogram, HistogramSum, IncompatibleBuckets};
use crate::kahan::{Kahan, Mean, Number};
use crate::vector::Sample;
use crate::vector::aggregate::add_to_mean;
use crate::vector::select::quantile_of;

/// `sum_over_time`, or `avg_over_time`.
pub(crate) fn sum(mean: bool, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    if !w.floats.is_empty() && !w.histograms.is_empty() {
        remarks.mixed();
        return None;
    }
    if !w.histograms.is_empty() {
        return histogram_sum(mean, w, remarks);
    }
    if mean {
        let mut mean = Mean::default();
        w.floats.values.iter().for_each(|v| mean.add(*v));
        return float(mean.get());
    }
    let mut sum = Kahan::default();
    w.floats.values.iter().for_each(|v| sum.plus(*v));
    float(sum.total())
}

fn histogram_sum(mean: bool, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let values = w.histograms.values;
    let hinted = |hint| values.iter().any(|h| h.reset_hint == hint);
    let mut reconciled = false;
    let mut incremental = false;
    let mut add_all = || -> Result<FloatHistogram, IncompatibleBuckets> {
        let mut sum = HistogramSum::start(&values[0]);
        for (i, h) in values.iter().enumerate().skip(1) {
            reconciled |= if mean {
                add_to_mean(&mut sum, (i + 1) as f64, &mut incremental, h)?
            } else {
                sum.add(h)?.bounds_reconciled
            };
        }
        if mean && !incremental {
            sum.divide(values.len() as f64);
        }
        Ok(sum.finish())
    };
    let result = add_all();
    if hinted(ResetHint::Yes) && hinted(ResetHint::No) {
        remarks.add(&Note::ResetCollision(HistogramOperation::Aggregation));
    }
    if reconciled {
        remarks.add(&Note::BoundsReconciled(HistogramOperation::Aggregation));
    }
    match result {
        Ok(h) => histogram(h),
        Err(IncompatibleBuckets) => {
            remarks.mixed_buckets();
            None
        }
    }
}

pub(crate) fn count(w: &Window<'_>) -> Value {
    float((w.floats.len() + w.histograms.len()) as f64)
}

/// `first_over_time`, or `last_over_time`.
pub(crate) fn end(last: bool, w: &Window<'_>) -> Value {
    let (f, h) = if last {
        (w.floats.iter().next_back(), w.histograms.iter().next_back())
    } else {
        (w.floats.iter().next(), w.histograms.iter().next())
    };
    match (f, h) {
        (Some((t, v)), Some((u, _))) if (last && u < t) || (!last && t < u) => float(*v),
        (_, Some((_, h))) => Some(Sample::Histogram(Arc::clone(h))),
        (Some((_, v)), None) => float(*v),
        (None, None) => None,
    }
}

/// `ts_of_first_over_time`, or `ts_of_last_over_time`.
pub(crate) fn time_of_end(last: bool, w: &Window<'_>) -> Value {
    let times = [w.floats.t_ms, w.histograms.t_ms];
    let t = if last {
        times.iter().filter_map(|t| t.last()).max()
    } else {
        times.iter().filter_map(|t| t.first()).min()
    };
    t.and_then(|t| float(*t as f64 / 1000.0))
}

/// `max_over_time`, `min_over_time`, or the times of the last such value.
pub(crate) fn extreme(max: bool, time: bool, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let (mut t_best, mut best) = (*w.floats.t_ms.first()?, *w.floats.values.first()?);
    if !w.histograms.is_empty() {
        remarks.histograms_ignored();
    }
    for (t, &v) in w.floats.iter() {
        let better = if max { v > best } else { v < best };
        if better || best.is_nan() || (time && v == best) {
            (t_best, best) = (t, v);
        }
    }
    float(if time { t_best as f64 / 1000.0 } else { best })
}

/// `quantile_over_time`.
pub(crate) fn quantile(q: f64, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    if w.floats.is_empty() {
        return None;
    }
    if !(0.0..=1.0).contains(&q) {
        remarks.add(&Note::InvalidQuantile(q));
    }
    if !w.histograms.is_empty() {
        remarks.histograms_ignored();
    }
    float(quantile_of(q, &mut w.floats.values.to_vec()))
}

/// `mad_over_time`: the median distance from the median.
pub(crate) fn median_deviation(w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    if w.floats.is_empty() {
        return None;
    }
    if !w.histograms.is_empty() {
        remarks.histograms_ignored();
    }
    let mut values = w.floats.values.to_vec();
    if values.iter().any(|v| v.is_nan()) {
        return float(f64::NAN);
    }
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    float(quantile_of(0.5, &mut values))
}

/// `stdvar_over_time`, or `stddev_over_time`.
pub(crate) fn spread(root: bool, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    if w.floats.is_empty() {
        return None;
    }
    if !w.histograms.is_empty() {
        remarks.histograms_ignored();
    }
    let (mut mean, mut squares) = (Kahan::default(), Kahan::default());
    let mut count = 0.0;
    for &v in w.floats.values {
        count += 1.0;
        let delta = v - mean.total();
        mean.plus(delta / count);
        squares.plus(delta * (v - mean.total()));
    }
    let variance = squares.total() / count;
    float(if root { variance.sqrt() } else { variance })
}
