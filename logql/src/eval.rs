//! Walks a metric query over step vectors: for each series a value at each step. No arithmetic
//! here.

use crate::ast::{BinaryOp, Expr};
use crate::error::Error;
use crate::labels::LabelSet;
use crate::vector::{aggregate, binary, label_replace};

/// The moments at which a query is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) start_ns: i64,
    /// Above 0.
    pub(crate) step_ns: i64,
    /// At least 1.
    pub(crate) count: usize,
}

impl Steps {
    pub(crate) const fn at(&self, i: usize) -> i64 {
        self.start_ns
            .saturating_add(self.step_ns.saturating_mul(i as i64))
    }

    /// The steps whose window `(t - offset - range, t - offset]` holds a time: the first, and the
    /// first past them.
    pub(crate) fn reached_by(&self, t_ns: i64, range_ns: i64, offset_ns: i64) -> (usize, usize) {
        // The first step at or after a moment.
        let first_from = |moment: i128| {
            let behind = moment - i128::from(self.start_ns);
            if behind <= 0 {
                return 0;
            }
            let step = i128::from(self.step_ns);
            usize::try_from((behind + step - 1) / step)
                .unwrap_or(usize::MAX)
                .min(self.count)
        };
        let from = i128::from(t_ns) + i128::from(offset_ns);
        (first_from(from), first_from(from + i128::from(range_ns)))
    }
}

/// A series with a value, or none, at each step.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: LabelSet,
    pub(crate) values: Vec<Option<f64>>,
}

impl Series {
    pub(crate) fn constant(value: f64, steps: usize) -> Self {
        Self {
            labels: LabelSet::empty(),
            values: vec![Some(value); steps],
        }
    }
}

/// What an expression evaluates to.
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vec<Series>),
}

/// Evaluates an expression. `ranges` gives the series of its range functions, in the order in which
/// the tree is walked.
pub(crate) fn eval(
    expr: &Expr,
    steps: &Steps,
    ranges: &mut dyn Iterator<Item = Vec<Series>>,
) -> Result<Value, Error> {
    Ok(match expr {
        Expr::Literal(value) => Value::Scalar(*value),
        Expr::Vector(value) => Value::Vector(vec![Series::constant(*value, steps.count)]),
        Expr::Range(_) => Value::Vector(ranges.next().unwrap_or_default()),
        Expr::Aggregate(e) => {
            let series = vector(eval(&e.inner, steps, ranges)?, steps);
            Value::Vector(aggregate(e, series, steps.count))
        }
        Expr::LabelReplace(e) => {
            let series = vector(eval(&e.inner, steps, ranges)?, steps);
            Value::Vector(label_replace(&e.text, series)?)
        }
        Expr::Binary(e) => {
            let left = eval(&e.left, steps, ranges)?;
            let right = eval(&e.right, steps, ranges)?;
            match (left, right) {
                (Value::Scalar(a), Value::Scalar(b)) => Value::Scalar(match e.op {
                    BinaryOp::Compare(op) => f64::from(u8::from(op.holds(&a, &b))),
                    op => crate::vector::arithmetic(op, a, b),
                }),
                (Value::Vector(series), Value::Scalar(b)) => {
                    Value::Vector(binary::with_scalar(e, series, b, false))
                }
                (Value::Scalar(a), Value::Vector(series)) => {
                    Value::Vector(binary::with_scalar(e, series, a, true))
                }
                (Value::Vector(left), Value::Vector(right)) => {
                    Value::Vector(binary::vectors(e, left, right, steps.count)?)
                }
            }
        }
        Expr::Variants(e) => {
            let mut all = Vec::new();
            for (i, variant) in e.variants.iter().enumerate() {
                for mut series in vector(eval(variant, steps, ranges)?, steps) {
                    series.labels = series.labels.with("__variant__", &i.to_string());
                    all.push(series);
                }
            }
            Value::Vector(all)
        }
        // The parser lets no log query into a metric query.
        Expr::Log(_) => Value::Vector(Vec::new()),
    })
}

fn vector(value: Value, steps: &Steps) -> Vec<Series> {
    match value {
        Value::Scalar(value) => vec![Series::constant(value, steps.count)],
        Value::Vector(series) => series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_at_its_start() {
        let steps = Steps {
            start_ns: 0,
            step_ns: 10,
            count: 5,
        };
        assert_eq!(steps.reached_by(0, 20, 0), (0, 2));
        assert_eq!(steps.reached_by(1, 20, 0), (1, 3));
        assert_eq!(steps.reached_by(-20, 20, 0), (0, 0));
        assert_eq!(steps.reached_by(-19, 20, 0), (0, 1));
        assert_eq!(steps.reached_by(10, 20, 10), (2, 4));
        assert_eq!(steps.reached_by(41, 20, 0), (5, 5));
    }
}
