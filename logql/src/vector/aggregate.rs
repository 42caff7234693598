//! `sum`, `topk` and the like: series to fewer series, step by step.

use indexmap::IndexMap;

use super::mean_and_variance;
use crate::ast::{AggregateExpr, AggregateOp, Grouping};
use crate::eval::Series;
use crate::labels::LabelSet;

/// Aggregates series over `steps` steps.
pub(crate) fn aggregate(
    expr: &AggregateExpr,
    mut series: Vec<Series>,
    steps: usize,
) -> Vec<Series> {
    if let AggregateOp::Sort | AggregateOp::SortDesc = expr.op {
        let value = |s: &Series| s.values.first().copied().flatten().unwrap_or(f64::NAN);
        series.sort_by(|a, b| {
            let order = value(a).total_cmp(&value(b));
            if expr.op == AggregateOp::Sort {
                order
            } else {
                order.reverse()
            }
        });
        return series;
    }
    let everything = Grouping {
        without: false,
        labels: Vec::new(),
    };
    let grouping = expr.grouping.as_ref().unwrap_or(&everything);
    let mut groups: IndexMap<LabelSet, Vec<Series>> = IndexMap::new();
    for one in series {
        groups
            .entry(grouping.key(&one.labels))
            .or_default()
            .push(one);
    }
    let k = expr.param.unwrap_or(0);
    match expr.op {
        AggregateOp::Topk | AggregateOp::ApproxTopk => groups
            .into_values()
            .flat_map(|group| greatest(group, k, steps, false))
            .collect(),
        AggregateOp::Bottomk => groups
            .into_values()
            .flat_map(|group| greatest(group, k, steps, true))
            .collect(),
        op => groups
            .into_iter()
            .map(|(labels, group)| Series {
                labels,
                values: (0..steps).map(|i| reduce(op, &group, i)).collect(),
            })
            .collect(),
    }
}

fn reduce(op: AggregateOp, group: &[Series], step: usize) -> Option<f64> {
    let values = || {
        group
            .iter()
            .filter_map(|s| s.values.get(step).copied().flatten())
    };
    values().next()?;
    Some(match op {
        AggregateOp::Avg => mean_and_variance(values()).0,
        AggregateOp::Min => values().fold(f64::NAN, |a, b| if b < a || a.is_nan() { b } else { a }),
        AggregateOp::Max => values().fold(f64::NAN, |a, b| if b > a || a.is_nan() { b } else { a }),
        AggregateOp::Count => values().count() as f64,
        AggregateOp::Stddev => mean_and_variance(values()).1.sqrt(),
        AggregateOp::Stdvar => mean_and_variance(values()).1,
        _ => values().sum(),
    })
}

/// At each step only the `k` greatest, or least.
fn greatest(mut group: Vec<Series>, k: usize, steps: usize, least: bool) -> Vec<Series> {
    if group.len() <= k {
        return group;
    }
    // Of equal values the first by labels stays, so that answers do not depend on arrival.
    group.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut order: Vec<(usize, f64)> = Vec::with_capacity(group.len());
    for step in 0..steps {
        order.clear();
        order.extend(
            group
                .iter()
                .enumerate()
                .filter_map(|(i, s)| s.values[step].map(|value| (i, value))),
        );
        order.sort_by(|a, b| match (a.1.is_nan(), b.1.is_nan()) {
            (true, false) => std::cmp::Ordering::Greater,
            (false, true) => std::cmp::Ordering::Less,
            _ if least => a.1.total_cmp(&b.1),
            _ => b.1.total_cmp(&a.1),
        });
        for (i, _) in order.iter().skip(k) {
            group[*i].values[step] = None;
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;

    fn run(op: AggregateOp, param: Option<usize>, values: &[f64]) -> Vec<(String, f64)> {
        let series = values.iter().enumerate().map(|(i, v)| Series {
            labels: [("i", i.to_string().as_str())].into_iter().collect(),
            values: vec![Some(*v)],
        });
        let expr = AggregateExpr {
            op,
            param,
            grouping: None,
            inner: Expr::Literal(0.0),
        };
        aggregate(&expr, series.collect(), 1)
            .into_iter()
            .filter_map(|s| Some((s.labels.to_string(), s.values[0]?)))
            .collect()
    }

    #[test]
    fn series_are_reduced() {
        for (op, value) in [
            (AggregateOp::Sum, 6.0),
            (AggregateOp::Avg, 2.0),
            (AggregateOp::Min, 1.0),
            (AggregateOp::Max, 3.0),
            (AggregateOp::Count, 3.0),
            (AggregateOp::Stdvar, 2.0 / 3.0),
        ] {
            assert_eq!(run(op, None, &[1.0, 3.0, 2.0]), [("{}".to_owned(), value)]);
        }
    }

    #[test]
    fn the_greatest_stay() {
        let names = |all: Vec<(String, f64)>| all.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(
            names(run(AggregateOp::Topk, Some(1), &[1.0, f64::NAN, 2.0])),
            [r#"{i="2"}"#]
        );
        assert_eq!(
            names(run(AggregateOp::Bottomk, Some(1), &[1.0, f64::NAN, 2.0])),
            [r#"{i="0"}"#]
        );
        assert_eq!(
            names(run(AggregateOp::SortDesc, None, &[1.0, 3.0, 2.0])),
            [r#"{i="1"}"#, r#"{i="2"}"#, r#"{i="0"}"#]
        );
    }
}
