//! `deriv`, `predict_linear` and `double_exponential_smoothing`: where a series is heading.

use super::window::{Remarks, Value, Window, float};
use crate::kahan::{Kahan, Number};
use crate::number::format_g;

/// The floats of a range, two at least; remarks on histograms beside them.
fn floats<'a>(w: &Window<'a>, remarks: &mut Remarks<'_>) -> Option<(&'a [i64], &'a [f64])> {
    if !w.floats.is_empty() && !w.histograms.is_empty() {
        remarks.histograms_ignored();
    }
    (w.floats.len() >= 2).then_some((w.floats.t_ms, w.floats.values))
}

/// Slope per second and value at a time, by least squares.
fn regression(t_ms: &[i64], values: &[f64], at_ms: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().all(|v| *v == first) {
        return if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        };
    }
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [Kahan::default(); 4];
    for (t, &y) in t_ms.iter().zip(values) {
        let x = (t - at_ms) as f64 / 1e3;
        sum_x.plus(x);
        sum_y.plus(y);
        sum_xy.plus(x * y);
        sum_xx.plus(x * x);
    }
    let n = values.len() as f64;
    let [x, y, xy, xx] = [sum_x, sum_y, sum_xy, sum_xx].map(Number::total);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

pub(crate) fn deriv(w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let (t_ms, values) = floats(w, remarks)?;
    float(regression(t_ms, values, t_ms[0]).0)
}

pub(crate) fn predict_linear(seconds: f64, w: &Window<'_>, remarks: &mut Remarks<'_>) -> Value {
    let (t_ms, values) = floats(w, remarks)?;
    let (slope, intercept) = regression(t_ms, values, w.t_ms);
    float(slope * seconds + intercept)
}

/// Source: C. C. Holt, "Forecasting Trends and Seasonals by Exponentially Weighted Averages", 1957.
///
/// # Errors
/// Where a factor is not between 0 and 1.
pub(crate) fn double_exponential_smoothing(
    smoothing: f64,
    trend: f64,
    w: &Window<'_>,
    remarks: &mut Remarks<'_>,
) -> Result<Value, String> {
    for (name, letter, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            let factor = if factor.is_finite() {
                format!("{factor:.6}")
            } else {
                format_g(factor)
            };
            return Err(format!(
                "invalid {name} factor. Expected: 0 < {letter} < 1, got: {factor}"
            ));
        }
    }
    let Some((_, values)) = floats(w, remarks) else {
        return Ok(None);
    };
    let (mut before, mut level) = (0.0, values[0]);
    let mut slope = values[1] - values[0];
    for (i, v) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * v + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Ok(float(level))
}
