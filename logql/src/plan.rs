//! From tree to answer: what to read, what to do with each page, and the answer at the end.

mod logs;
mod range;
mod streams;

use std::ops::ControlFlow;

use storage::model::NsRange;
use storage::read::{Direction, LogPage, LogSelect};

use crate::answer::{Answer, Data, SeriesResult, Stats};
use crate::ast::{AggregateOp, Expr, Grouping, LogRange, RangeExpr, RangeOp};
use crate::error::Error;
use crate::eval::{self, Steps};
use crate::params::align;
use crate::stages;
use logs::LogQuery;
use range::RangeQuery;

/// How a query is to be run.
#[derive(Clone, Debug)]
pub struct Params {
    /// Start in nanoseconds. A metric range query moves it down to a multiple of the step.
    pub start_ns: i64,
    /// End in nanoseconds: out for log queries, in for metric queries, which move it up to a
    /// multiple of the step. The moment of an instant query.
    pub end_ns: i64,
    /// Step in nanoseconds, above 0 for metric range queries.
    pub step_ns: i64,
    /// Least distance between entries of a log query; 0 for all.
    pub interval_ns: i64,
    /// Most entries of a log query.
    pub limit: usize,
    /// Order of entries.
    pub direction: Direction,
    /// Whether this is an instant query.
    pub instant: bool,
    /// Whether entries tell where each of their labels comes from.
    pub categorize_labels: bool,
    /// Most series of an answer.
    pub max_series: usize,
    /// Answers as Loki 2.8: without the `detected_level` that came with version 3.
    pub compat2: bool,
    /// The time of `now` in templates.
    pub now_ns: i64,
}

impl Default for Params {
    /// An instant query at the epoch with Loki's limits.
    fn default() -> Self {
        Self {
            start_ns: 0,
            end_ns: 0,
            step_ns: 1_000_000_000,
            interval_ns: 0,
            limit: crate::params::DEFAULT_LIMIT,
            direction: Direction::Backward,
            instant: true,
            categorize_labels: false,
            max_series: 500,
            compat2: false,
            now_ns: 0,
        }
    }
}

enum Query {
    Logs(Box<LogQuery>),
    Metric {
        expr: Expr,
        steps: Steps,
        /// In the order in which the tree is walked.
        ranges: Vec<RangeQuery>,
    },
}

/// A query ready to run.
///
/// ```
/// # use logql::{Data, Params, Plan, parse};
/// let expr = parse("vector(1) + 2").unwrap();
/// let plan = Plan::new(expr, Params::default()).unwrap();
/// assert!(plan.selects().is_empty());
/// let answer = plan.finish().unwrap();
/// assert!(matches!(answer.data, Data::Vector(_, v) if v.len() == 1 && v[0].1 == 3.0));
/// ```
pub struct Plan {
    query: Query,
    params: Params,
    stats: Stats,
}

impl Plan {
    /// Prepares a query. A wrong stage is no error here: Loki notices it when a stream matches.
    ///
    /// # Errors
    /// [`Error::LogInstant`], and [`Error::Disabled`] for `approx_topk`.
    pub fn new(expr: Expr, params: Params) -> Result<Self, Error> {
        if uses_approx_topk(&expr) {
            return Err(Error::Disabled(
                "approx_topk is not enabled. See -limits.shard_aggregations".to_owned(),
            ));
        }
        let query = match expr {
            Expr::Log(_) if params.instant => return Err(Error::LogInstant),
            Expr::Log(log) => Query::Logs(Box::new(LogQuery::new(&log, &params))),
            expr => {
                let steps = if params.instant {
                    Steps {
                        start_ns: params.end_ns,
                        step_ns: 1,
                        count: 1,
                    }
                } else {
                    let step_ns = params.step_ns.max(1);
                    let (start_ns, end_ns) = align(params.start_ns, params.end_ns, step_ns);
                    let count =
                        usize::try_from(end_ns.saturating_sub(start_ns) / step_ns).unwrap_or(0) + 1;
                    Steps {
                        start_ns,
                        step_ns,
                        count,
                    }
                };
                let mut ranges = Vec::new();
                collect(&expr, None, None, &steps, &params, &mut ranges);
                Query::Metric {
                    expr,
                    steps,
                    ranges,
                }
            }
        };
        Ok(Self {
            query,
            params,
            stats: Stats::default(),
        })
    }

    /// What to read, in any order; the position is the index that [`Self::push`] takes. May be empty.
    #[must_use]
    pub fn selects(&self) -> Vec<LogSelect> {
        match &self.query {
            Query::Logs(logs) => {
                let (start, mut end) = (self.params.start_ns, self.params.end_ns);
                // A range of no length is one moment.
                if end == start {
                    end = end.saturating_add(1);
                }
                vec![LogSelect {
                    matchers: logs.log().matchers.clone(),
                    range: NsRange::new(start, end),
                    direction: self.params.direction,
                    needles: stages::needles(&logs.log().stages),
                }]
            }
            Query::Metric { ranges, steps, .. } => ranges
                .iter()
                .map(|range| {
                    let (start, end) = range.bounds(steps);
                    LogSelect {
                        matchers: range.matchers().to_vec(),
                        range: NsRange::new(start, end),
                        direction: Direction::Forward,
                        needles: range.needles(),
                    }
                })
                .collect(),
        }
    }

    /// Takes a page of a select. Answers `Break` where no further page of it can matter.
    ///
    /// # Errors
    /// [`Error::Stage`], [`Error::Pipeline`], [`Error::Limit`] and [`Error::Read`].
    pub fn push(&mut self, select: usize, page: &dyn LogPage) -> Result<ControlFlow<()>, Error> {
        match &mut self.query {
            Query::Logs(logs) => logs.push(page, &mut self.stats),
            Query::Metric { ranges, .. } => match ranges.get_mut(select) {
                Some(range) => range
                    .push(page, &mut self.stats)
                    .map(|()| ControlFlow::Continue(())),
                None => Ok(ControlFlow::Break(())),
            },
        }
    }

    /// Bytes that the plan holds by now, roughly: what a budget is charged between pages. Linear in
    /// the number of series or kept entries.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.query {
            Query::Logs(logs) => logs.held_bytes(),
            Query::Metric { ranges, .. } => ranges.iter().map(RangeQuery::held_bytes).sum(),
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// [`Error::Matching`] where vectors do not match, [`Error::Limit`] for too many series.
    pub fn finish(self) -> Result<Answer, Error> {
        let Self {
            query,
            params,
            stats,
        } = self;
        let data = match query {
            Query::Logs(logs) => Data::Streams(logs.finish()),
            Query::Metric {
                expr,
                steps,
                ranges,
            } => {
                let mut series = ranges.into_iter().map(RangeQuery::finish);
                let value = eval::eval(&expr, &steps, &mut series)?;
                answer(value, &expr, &steps, &params)?
            }
        };
        Ok(Answer {
            data,
            warnings: Vec::new(),
            stats,
        })
    }
}

fn answer(value: eval::Value, expr: &Expr, steps: &Steps, params: &Params) -> Result<Data, Error> {
    let mut series = match value {
        eval::Value::Scalar(value) if params.instant => {
            return Ok(Data::Scalar(steps.start_ns, value));
        }
        eval::Value::Scalar(value) => vec![eval::Series::constant(value, steps.count)],
        eval::Value::Vector(series) => series,
    };
    series.retain(|s| s.values.iter().any(Option::is_some));
    if series.len() > params.max_series {
        return Err(Error::Limit(format!(
            "maximum number of series ({}) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()",
            params.max_series
        )));
    }
    let sorted = matches!(expr, Expr::Aggregate(e) if matches!(e.op, AggregateOp::Sort | AggregateOp::SortDesc));
    if !(sorted && params.instant) {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    if params.instant {
        let vector = series
            .into_iter()
            .filter_map(|s| Some((s.labels, s.values.first().copied()??)))
            .collect();
        return Ok(Data::Vector(steps.start_ns, vector));
    }
    let matrix = series
        .into_iter()
        .map(|s| SeriesResult {
            labels: s.labels,
            points: s
                .values
                .iter()
                .enumerate()
                .filter_map(|(i, v)| v.map(|v| (steps.at(i), v)))
                .collect(),
        })
        .collect();
    Ok(Data::Matrix(matrix))
}

fn uses_approx_topk(expr: &Expr) -> bool {
    match expr {
        Expr::Aggregate(e) => e.op == AggregateOp::ApproxTopk || uses_approx_topk(&e.inner),
        Expr::Binary(e) => uses_approx_topk(&e.left) || uses_approx_topk(&e.right),
        Expr::LabelReplace(e) => uses_approx_topk(&e.inner),
        Expr::Variants(e) => e.variants.iter().any(uses_approx_topk),
        Expr::Log(_) | Expr::Range(_) | Expr::Vector(_) | Expr::Literal(_) => false,
    }
}

/// Makes a [`RangeQuery`] of each range function, in the order in which `eval` asks for them.
/// `outer` is the grouping of a sum right around it.
fn collect(
    expr: &Expr,
    outer: Option<&Grouping>,
    variant: Option<&LogRange>,
    steps: &Steps,
    params: &Params,
    out: &mut Vec<RangeQuery>,
) {
    match expr {
        Expr::Range(e) => {
            let injected = outer.filter(|_| sums(e));
            out.push(RangeQuery::new(
                e,
                injected,
                variant.is_some(),
                steps,
                params,
            ));
        }
        Expr::Aggregate(e) => {
            let everything = Grouping {
                without: false,
                labels: Vec::new(),
            };
            let grouping = e.grouping.as_ref().unwrap_or(&everything);
            let outer = (e.op == AggregateOp::Sum).then_some(grouping);
            collect(&e.inner, outer, variant, steps, params, out);
        }
        Expr::Binary(e) => {
            collect(&e.left, None, variant, steps, params, out);
            collect(&e.right, None, variant, steps, params, out);
        }
        Expr::LabelReplace(e) => collect(&e.inner, None, variant, steps, params, out),
        Expr::Variants(e) => {
            for inner in &e.variants {
                collect(inner, None, Some(&e.of), steps, params, out);
            }
        }
        Expr::Log(_) | Expr::Vector(_) | Expr::Literal(_) => {}
    }
}

/// Whether the sum of a function over groups is the function over the group.
fn sums(expr: &RangeExpr) -> bool {
    matches!(
        expr.op,
        RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum
    )
}

#[cfg(test)]
mod tests;
