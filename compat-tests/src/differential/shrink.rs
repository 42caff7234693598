//! Makes a case that differs smaller while it differs.
//!
//! Every candidate weighs less than the case that it comes from, so shrinking ends whatever the servers say.

use super::case::{Case, Time};
use super::tree::{Expr, Kind, Modifiers, Operator, Selector};

/// The cases one change away that weigh less, the ones that take away most first.
#[must_use]
pub fn candidates(case: &Case) -> Vec<Case> {
    let mut out = Vec::new();
    for expr in smaller(&case.expr) {
        out.push(Case {
            expr,
            ..case.clone()
        });
    }
    if case.fault.is_some() {
        out.push(Case {
            fault: None,
            ..case.clone()
        });
    }
    let times: Vec<Time> = match case.time {
        Time::Instant(at) => vec![Time::Instant(at / 60_000 * 60_000)],
        Time::Range(start, end, step) => {
            let half = (end - start) / step.max(1) / 2 * step;
            vec![
                Time::Instant(start),
                Time::Instant(end),
                Time::Range(start, start, step),
                Time::Range(end, end, step),
                Time::Range(start, start + half, step),
                Time::Range(start + half, end, step),
                Time::Range(start, end - step, step),
                Time::Range(start + step, end, step),
                Time::Range(start / 60_000 * 60_000, end / 60_000 * 60_000, step),
            ]
        }
    };
    let is_range = |time: &Time| !matches!(time, Time::Range(start, end, _) if start > end);
    let times = times.into_iter().filter(is_range);
    out.extend(times.map(|time| Case {
        time,
        ..case.clone()
    }));
    let weight = case.weight();
    let mut weighed: Vec<(usize, Case)> = out.into_iter().map(|c| (c.weight(), c)).collect();
    weighed.retain(|(less, _)| *less < weight);
    weighed.sort_by_key(|(less, _)| *less);
    weighed.into_iter().map(|(_, case)| case).collect()
}

/// The expressions with one node changed.
fn smaller(expr: &Expr) -> Vec<Expr> {
    let mut out = instead(expr);
    for at in 0..expr.children().len() {
        for child in smaller(expr.children()[at]) {
            let mut changed = expr.clone();
            if let Some(place) = changed.children_mut().into_iter().nth(at) {
                *place = child;
                out.push(changed);
            }
        }
    }
    out
}

/// What may stand in the place of a node: something from within it, a leaf of its type, itself with less to it.
fn instead(expr: &Expr) -> Vec<Expr> {
    let kind = expr.kind();
    let mut out = Vec::new();
    within(expr, kind, &mut out);
    let plain = |name: &str| Selector {
        name: Some(name.to_owned()),
        ..Selector::default()
    };
    match kind {
        Kind::Scalar => out.extend(["0", "1", "2"].map(|n| Expr::Number(n.to_owned()))),
        Kind::Vector => {
            out.push(Expr::Instant(plain("level")));
            out.push(Expr::Call {
                name: "vector",
                returns: Kind::Vector,
                args: vec![Expr::Number("1".to_owned())],
            });
        }
        Kind::Matrix => out.push(Expr::Range {
            selector: plain("level"),
            range: "1m".to_owned(),
        }),
        Kind::Text => out.push(Expr::Text("\"\"".to_owned())),
    }
    out.extend(with_less(expr));
    out
}

/// Everything of a type within an expression.
fn within(expr: &Expr, kind: Kind, out: &mut Vec<Expr>) {
    for child in expr.children() {
        if child.kind() == kind {
            out.push(child.clone());
        }
        within(child, kind, out);
    }
}

/// The node itself without one of its parts, or with a simpler one.
fn with_less(expr: &Expr) -> Vec<Expr> {
    let mut out = Vec::new();
    match expr {
        Expr::Number(_) | Expr::Text(_) | Expr::Signed { .. } | Expr::Paren(_) => {}
        Expr::Instant(selector) => {
            out.extend(selectors(selector).into_iter().map(Expr::Instant));
        }
        Expr::Range { selector, range } => {
            let of = |selector, range: &str| Expr::Range {
                selector,
                range: range.to_owned(),
            };
            out.extend(selectors(selector).into_iter().map(|s| of(s, range)));
            out.extend(DURATIONS.iter().map(|range| of(selector.clone(), range)));
        }
        Expr::Subquery {
            inner,
            range,
            step,
            modifiers,
        } => {
            let of = |range: &str, step: Option<&str>, modifiers| Expr::Subquery {
                inner: inner.clone(),
                range: range.to_owned(),
                step: step.map(str::to_owned),
                modifiers,
            };
            let step = step.as_deref();
            out.extend(modified(modifiers).into_iter().map(|m| of(range, step, m)));
            out.extend([None, Some("1m")].map(|step| of(range, step, modifiers.clone())));
            out.extend(
                DURATIONS
                    .iter()
                    .map(|range| of(range, step, modifiers.clone())),
            );
        }
        Expr::Call {
            name,
            returns,
            args,
        } => {
            for at in 0..args.len() {
                let mut args = args.clone();
                args.remove(at);
                out.push(Expr::Call {
                    name,
                    returns: *returns,
                    args,
                });
            }
        }
        Expr::Aggregate {
            op,
            grouping,
            param,
            inner,
        } => {
            let of = |grouping| Expr::Aggregate {
                op,
                grouping,
                param: param.clone(),
                inner: inner.clone(),
            };
            out.push(of(None));
            if let Some(grouping) = grouping {
                for labels in without_one(&grouping.labels) {
                    let mut grouping = grouping.clone();
                    grouping.labels = labels;
                    out.push(of(Some(grouping)));
                }
            }
        }
        Expr::Binary { lhs, op, rhs } => {
            out.extend(operators(op).into_iter().map(|op| Expr::Binary {
                lhs: lhs.clone(),
                op,
                rhs: rhs.clone(),
            }));
        }
    }
    out
}

const DURATIONS: &[&str] = &["1m", "5m", "20m"];

fn without_one(labels: &[String]) -> Vec<Vec<String>> {
    (0..labels.len())
        .map(|at| {
            let mut labels = labels.to_vec();
            labels.remove(at);
            labels
        })
        .collect()
}

fn selectors(selector: &Selector) -> Vec<Selector> {
    let mut out = Vec::new();
    for at in 0..selector.matchers.len() {
        let mut less = selector.clone();
        less.matchers.remove(at);
        out.push(less);
    }
    let plain = selector.quoted.then(|| Selector {
        quoted: false,
        ..selector.clone()
    });
    out.extend(plain);
    out.extend(
        modified(&selector.modifiers)
            .into_iter()
            .map(|modifiers| Selector {
                modifiers,
                ..selector.clone()
            }),
    );
    out
}

fn modified(modifiers: &Modifiers) -> Vec<Modifiers> {
    let plain = modifiers.clone();
    let mut out = vec![
        Modifiers {
            extended: None,
            ..plain.clone()
        },
        Modifiers {
            offset: None,
            ..plain.clone()
        },
        Modifiers {
            at: None,
            ..plain.clone()
        },
    ];
    if modifiers.offset.is_some() {
        out.push(Modifiers {
            offset: Some("1m".to_owned()),
            ..plain
        });
    }
    out
}

fn operators(op: &Operator) -> Vec<Operator> {
    let mut out = vec![
        Operator {
            bool: false,
            ..op.clone()
        },
        Operator {
            matching: None,
            ..op.clone()
        },
        Operator {
            fills: Vec::new(),
            ..op.clone()
        },
    ];
    for (at, (word, _)) in op.fills.iter().enumerate() {
        let mut less = op.clone();
        less.fills[at] = (word, "0".to_owned());
        out.push(less);
    }
    let Some(matching) = &op.matching else {
        return out;
    };
    let mut changed = Vec::new();
    for labels in without_one(&matching.labels) {
        let mut less = matching.clone();
        less.labels = labels;
        changed.push(less);
    }
    if let Some((side, include)) = &matching.group {
        let mut less = matching.clone();
        less.group = None;
        changed.push(less);
        for include in without_one(include) {
            let mut less = matching.clone();
            less.group = Some((side, include));
            changed.push(less);
        }
    }
    out.extend(changed.into_iter().map(|matching| Operator {
        matching: Some(matching),
        ..op.clone()
    }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_candidate_weighs_as_much_as_what_it_comes_from() {
        for number in 0..500 {
            let case = Case::draw(3, number);
            let all = candidates(&case);
            assert!(
                all.iter().all(|c| c.weight() < case.weight()),
                "{}",
                case.text()
            );
        }
    }

    #[test]
    fn shrinking_ends_with_the_smallest_case_that_still_differs() {
        let differs = |case: &Case| case.expr.to_string().contains("rate(");
        let mut shrunk = 0;
        for number in 0..2000 {
            let mut case = Case::draw(4, number);
            if !differs(&case) || case.fault.is_some() {
                continue;
            }
            while let Some(next) = candidates(&case).into_iter().find(|c| differs(c)) {
                case = next;
            }
            assert!(
                case.text().len() <= "irate(level[1m])".len(),
                "{}",
                case.text()
            );
            shrunk += 1;
        }
        assert!(shrunk > 50, "{shrunk}");
    }
}
