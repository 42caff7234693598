//! Evaluation in one call, where the series can be had at once.

use storage::read::{SeriesBatch, SeriesSelect};

use crate::ast::Expr;
use crate::plan::{Answer, EvalError, EvalOptions, Plan};

/// Something that has series at hand.
pub trait Source {
    /// The series of a selection, each label set once, with their samples in its range.
    fn select(&self, select: &SeriesSelect) -> SeriesBatch;
}

/// Plans, reads and computes.
///
/// # Errors
/// Any of [`EvalError`].
pub fn evaluate(
    expr: Expr,
    options: EvalOptions,
    source: &dyn Source,
) -> Result<Answer, EvalError> {
    let mut plan = Plan::new(expr, options)?;
    for select in plan.selects().to_vec() {
        plan.push(select.id, &source.select(&select.select))?;
    }
    plan.finish()
}
