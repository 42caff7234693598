//! Arithmetic over step vectors. The shapes are those of PromQL's, the sums are not: Loki adds
//! plainly, without compensation, divides by zero to NaN, and knows no staleness and no histograms.

mod aggregate;
pub(crate) mod binary;
mod label_replace;
mod over_time;

use crate::ast::BinaryOp;

pub(crate) use aggregate::aggregate;
pub(crate) use label_replace::label_replace;
pub(crate) use over_time::over_time;

/// An arithmetic operator; NaN for the others.
pub(crate) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => f64::NAN,
        BinaryOp::Div => a / b,
        BinaryOp::Mod if b == 0.0 => f64::NAN,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless | BinaryOp::Compare(_) => f64::NAN,
    }
}

/// Mean and variance of the population.
fn mean_and_variance(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut count, mut mean, mut sum) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        sum += delta * (value - mean);
    }
    (mean, sum / count)
}
