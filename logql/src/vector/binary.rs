//! Binary operators: with a number, between vectors by matching labels, and on sets.

use std::collections::HashMap;

use super::arithmetic;
use crate::ast::{BinaryExpr, BinaryOp, Cardinality, Grouping, Matching};
use crate::error::Error;
use crate::eval::Series;
use crate::labels::LabelSet;

/// A vector and a number; `swapped` where the number is on the left.
pub(crate) fn with_scalar(
    expr: &BinaryExpr,
    mut series: Vec<Series>,
    scalar: f64,
    swapped: bool,
) -> Vec<Series> {
    for one in &mut series {
        for value in &mut one.values {
            if let Some(v) = *value {
                let (a, b) = if swapped { (scalar, v) } else { (v, scalar) };
                *value = apply(expr, a, b, v);
            }
        }
    }
    series
}

/// The result of an operator; a comparison that holds keeps `kept`.
fn apply(expr: &BinaryExpr, a: f64, b: f64, kept: f64) -> Option<f64> {
    match expr.op {
        BinaryOp::Compare(op) if expr.return_bool => Some(f64::from(u8::from(op.holds(&a, &b)))),
        BinaryOp::Compare(op) => op.holds(&a, &b).then_some(kept),
        op => Some(arithmetic(op, a, b)),
    }
}

/// The labels by which series are matched.
fn signature(matching: Option<&Matching>, labels: &LabelSet) -> LabelSet {
    match matching {
        None => labels.clone(),
        Some(m) => Grouping {
            without: !m.on,
            labels: m.labels.clone(),
        }
        .key(labels),
    }
}

/// Two vectors over `steps` steps.
pub(crate) fn vectors(
    expr: &BinaryExpr,
    left: Vec<Series>,
    right: Vec<Series>,
    steps: usize,
) -> Result<Vec<Series>, Error> {
    if expr.op.is_set() {
        return Ok(sets(expr, left, right, steps));
    }
    let cardinality = expr
        .matching
        .as_ref()
        .map_or(Cardinality::OneToOne, |m| m.cardinality);
    let (many, one) = match cardinality {
        Cardinality::OneToMany => (right, left),
        _ => (left, right),
    };
    let matching = expr.matching.as_ref();
    let signatures = |series: &[Series]| -> Vec<LabelSet> {
        series
            .iter()
            .map(|s| signature(matching, &s.labels))
            .collect()
    };
    let mut one_by_signature: HashMap<LabelSet, Vec<usize>> = HashMap::new();
    for (i, signature) in signatures(&one).into_iter().enumerate() {
        one_by_signature.entry(signature).or_default().push(i);
    }
    check_one_side(&one, &one_by_signature, cardinality, steps)?;
    // For each result its points; two sides that meet at one step are an error.
    let mut results: HashMap<LabelSet, Vec<Option<f64>>> = HashMap::new();
    let mut taken: HashMap<LabelSet, Vec<bool>> = HashMap::new();
    for (series, signature) in many.iter().zip(signatures(&many)) {
        let Some(partners) = one_by_signature.get(&signature) else {
            continue;
        };
        for &partner in partners {
            let other = &one[partner];
            let labels = result_labels(expr, &series.labels, &other.labels, cardinality);
            let points = results
                .entry(labels.clone())
                .or_insert_with(|| vec![None; steps]);
            let taken = taken.entry(labels).or_insert_with(|| vec![false; steps]);
            for step in 0..steps {
                let (Some(m), Some(o)) = (series.values[step], other.values[step]) else {
                    continue;
                };
                if std::mem::replace(&mut taken[step], true) {
                    let message = if cardinality == Cardinality::OneToOne {
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                    } else {
                        "multiple matches for labels: grouping labels must ensure unique matches"
                    };
                    return Err(Error::Matching(message.to_owned()));
                }
                let (a, b) = if cardinality == Cardinality::OneToMany {
                    (o, m)
                } else {
                    (m, o)
                };
                points[step] = apply(expr, a, b, a);
            }
        }
    }
    Ok(results
        .into_iter()
        .map(|(labels, values)| Series { labels, values })
        .collect())
}

/// On the side that may match once no two series may have one signature at one step.
fn check_one_side(
    one: &[Series],
    by_signature: &HashMap<LabelSet, Vec<usize>>,
    cardinality: Cardinality,
    steps: usize,
) -> Result<(), Error> {
    let collides = by_signature
        .values()
        .filter(|all| all.len() > 1)
        .any(|all| {
            (0..steps).any(|step| {
                all.iter()
                    .filter(|i| one[**i].values[step].is_some())
                    .count()
                    > 1
            })
        });
    if collides {
        let side = if cardinality == Cardinality::OneToMany {
            "left"
        } else {
            "right"
        };
        return Err(Error::Matching(format!(
            "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be unique on one side"
        )));
    }
    Ok(())
}

fn result_labels(
    expr: &BinaryExpr,
    many: &LabelSet,
    one: &LabelSet,
    cardinality: Cardinality,
) -> LabelSet {
    let Some(matching) = &expr.matching else {
        return many.clone();
    };
    if cardinality == Cardinality::OneToOne {
        return signature(Some(matching), many);
    }
    matching.include.iter().fold(many.clone(), |labels, name| {
        labels.with(name, one.get(name).unwrap_or(""))
    })
}

fn sets(
    expr: &BinaryExpr,
    mut left: Vec<Series>,
    mut right: Vec<Series>,
    steps: usize,
) -> Vec<Series> {
    let matching = expr.matching.as_ref();
    // For each signature at which steps it is there.
    let present = |series: &[Series]| -> HashMap<LabelSet, Vec<bool>> {
        let mut all: HashMap<LabelSet, Vec<bool>> = HashMap::new();
        for one in series {
            let row = all
                .entry(signature(matching, &one.labels))
                .or_insert_with(|| vec![false; steps]);
            for (there, value) in row.iter_mut().zip(&one.values) {
                *there |= value.is_some();
            }
        }
        all
    };
    let keep = |series: &mut [Series], other: &HashMap<LabelSet, Vec<bool>>, wanted: bool| {
        for one in series {
            let row = other.get(&signature(matching, &one.labels));
            for (step, value) in one.values.iter_mut().enumerate() {
                if row.is_some_and(|row| row[step]) != wanted {
                    *value = None;
                }
            }
        }
    };
    match expr.op {
        BinaryOp::And => keep(&mut left, &present(&right), true),
        BinaryOp::Unless => keep(&mut left, &present(&right), false),
        _ => {
            keep(&mut right, &present(&left), false);
            merge(&mut left, right);
        }
    }
    left
}

/// Adds series; the points of one label set go into one series.
fn merge(left: &mut Vec<Series>, right: Vec<Series>) {
    let known: HashMap<LabelSet, usize> = left
        .iter()
        .enumerate()
        .map(|(i, s)| (s.labels.clone(), i))
        .collect();
    for one in right {
        match known.get(&one.labels) {
            Some(at) => {
                for (value, other) in left[*at].values.iter_mut().zip(one.values) {
                    *value = value.or(other);
                }
            }
            None => left.push(one),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;
    use crate::parser::parse;

    fn series(name: &str, values: &[Option<f64>]) -> Series {
        Series {
            labels: [("s", name)].into_iter().collect(),
            values: values.to_vec(),
        }
    }

    fn operator(text: &str) -> BinaryExpr {
        let Expr::Binary(e) = parse(&format!("vector(1) {text} vector(1)")).unwrap() else {
            panic!("an operation");
        };
        *e
    }

    #[test]
    fn series_meet_where_both_have_a_point() {
        let left = vec![
            series("a", &[Some(1.0), Some(2.0)]),
            series("b", &[Some(3.0), None]),
        ];
        let right = vec![
            series("a", &[Some(10.0), None]),
            series("c", &[Some(1.0), Some(1.0)]),
        ];
        let sum = vectors(&operator("+"), left.clone(), right.clone(), 2).unwrap();
        assert_eq!(sum.len(), 1);
        assert_eq!(sum[0].values, [Some(11.0), None]);
        let either = vectors(&operator("or"), left.clone(), right.clone(), 2).unwrap();
        assert_eq!(either.len(), 3);
        let without = vectors(&operator("unless"), left, right, 2).unwrap();
        assert_eq!(without[0].values, [None, Some(2.0)]);
        assert_eq!(without[1].values, [Some(3.0), None]);
    }

    #[test]
    fn equal_signatures_at_one_step_collide() {
        let left = vec![series("a", &[Some(1.0)])];
        let right = vec![series("a", &[Some(1.0)]), series("b", &[Some(1.0)])];
        let result = vectors(&operator("/ on ()"), left, right, 1);
        assert!(
            matches!(result, Err(Error::Matching(m)) if m.starts_with("found duplicate series on the right"))
        );
    }
}
