//! Whether two servers answered a case alike.

use anyhow::Result;
use serde_json::Value;

use super::case::Case;
use super::tree::{Expr, Kind};
use crate::compare::{Part, verbatim};
use crate::http::Response;

/// How far apart numbers may be where the last digits of a function are the libraries' own.
const RELATIVE: f64 = 1e-12;

/// Functions and operators whose last digits Go's mathematical library and that of others round each in its own way.
const TRANSCENDENTAL: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cos",
    "cosh",
    "exp",
    "ln",
    "log10",
    "log2",
    "sin",
    "sinh",
    "tan",
    "tanh",
    "^",
    "histogram_quantile",
    "histogram_quantiles",
    "histogram_fraction",
    "histogram_stddev",
    "histogram_stdvar",
];

/// What came of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The same to the last character.
    Equal,
    /// The same, save for the last digits of a function that has no exact ones, or for a last digit of which two read back
    /// as the same number.
    Close,
    /// The same, save for the order of equal values, which `sort` does not promise.
    Tied,
    /// Upstream breaks down over it.
    Panics,
    /// Not what upstream said first, and upstream says something else each time.
    Varies,
    /// Something else, with what it is.
    Differs(Part, String),
}

/// One server's answer, or why there is none.
pub type Outcome = Result<Response, String>;

/// Holds the answers against each other. `exact` allows no last digits.
#[must_use]
pub fn verdict(case: &Case, upstream: &Outcome, ours: &Outcome, exact: bool) -> Verdict {
    let (a, b) = match (upstream, ours) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(a), Err(b)) if a == b => return Verdict::Equal,
        _ => return Verdict::Differs(Part::Status, "only one of the two answers".to_owned()),
    };
    if a.status != 200 && String::from_utf8_lossy(&a.body).contains(PANIC) {
        return Verdict::Panics;
    }
    if a.status != b.status {
        let text = format!("HTTP {} expected, got {}", a.status, b.status);
        return Verdict::Differs(Part::Status, text);
    }
    let json =
        |answer: &Response| serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    let (a, b) = (json(a), json(b));
    let ordered = is_ordered(&case.expr);
    let Some((part, text)) = verbatim(&a, &b, ordered, &|x, y| x == y) else {
        return Verdict::Equal;
    };
    if part == Part::Result
        && is_sorted_by_value(&case.expr)
        && values(&a) == values(&b)
        && verbatim(&a, &b, false, &|x, y| x == y).is_none()
    {
        return Verdict::Tied;
    }
    let last_digits = has_last_digits(&case.expr);
    let same: &dyn Fn(&Value, &Value) -> bool = if last_digits { &close } else { &tied };
    let is_close = |a: &Value, b: &Value| verbatim(a, b, ordered, same).is_none();
    if !exact && part == Part::Result {
        let counts_values = case
            .expr
            .any(&|expr| matches!(expr, Expr::Aggregate { op, .. } if *op == "count_values"));
        if is_close(&a, &b)
            || last_digits
                && counts_values
                && is_close(&with_rounded_labels(a), &with_rounded_labels(b))
        {
            return Verdict::Close;
        }
    }
    Verdict::Differs(part, text)
}

/// What upstream says where it has run into a fault of its own.
const PANIC: &str = "unexpected error: runtime error";

/// The values of a vector, in order.
fn values(answer: &Value) -> Vec<Option<&Value>> {
    let result = answer.pointer("/data/result").and_then(Value::as_array);
    let series = result.into_iter().flatten();
    series.map(|s| s.pointer("/value/1")).collect()
}

/// The answer with the numbers that `count_values` has made labels of, without their last digits: what only those told apart
/// is counted together.
fn with_rounded_labels(mut answer: Value) -> Value {
    let result = answer.pointer_mut("/data/result");
    let Some(result) = result.and_then(Value::as_array_mut) else {
        return answer;
    };
    let mut together: Vec<Value> = Vec::new();
    for mut series in std::mem::take(result) {
        let metric = series.get_mut("metric").and_then(Value::as_object_mut);
        for value in metric.into_iter().flat_map(|m| m.values_mut()) {
            if let Some(n) = number(value) {
                *value = Value::String(format!("{n:.11e}"));
            }
        }
        let count = |series: &Value| series.pointer("/value/1").and_then(number);
        let same = together
            .iter_mut()
            .find(|s| s["metric"] == series["metric"]);
        match (same, count(&series)) {
            (Some(same), Some(more)) => {
                let sum = count(same).unwrap_or_default() + more;
                same["value"][1] = Value::String(sum.to_string());
            }
            _ => together.push(series),
        }
    }
    *result = together;
    answer
}

fn has_last_digits(expr: &Expr) -> bool {
    expr.any(&|expr| match expr {
        Expr::Call { name, .. } => TRANSCENDENTAL.contains(name),
        Expr::Binary { op, .. } => TRANSCENDENTAL.contains(&op.symbol),
        _ => false,
    })
}

/// Whether the order of the vector that an expression gives is promised.
fn is_ordered(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_ordered(inner),
        Expr::Call { name, .. } => name.starts_with("sort"),
        Expr::Aggregate { op, .. } => matches!(*op, "topk" | "bottomk"),
        _ => expr.kind() != Kind::Vector,
    }
}

/// Whether an expression gives a vector in the order of its values.
fn is_sorted_by_value(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_sorted_by_value(inner),
        Expr::Call { name, .. } => matches!(*name, "sort" | "sort_desc"),
        _ => false,
    }
}

fn number(v: &Value) -> Option<f64> {
    v.as_str()?.parse().ok()
}

fn close(a: &Value, b: &Value) -> bool {
    match (number(a), number(b)) {
        _ if a == b => true,
        (Some(x), Some(y)) => (x - y).abs() <= RELATIVE * x.abs().max(y.abs()),
        _ => false,
    }
}

/// Where two texts of the fewest digits lie equally far from a number, Go writes the even one.
fn tied(a: &Value, b: &Value) -> bool {
    let (Some(x), Some(y)) = (number(a), number(b)) else {
        return a == b;
    };
    let digits = |v: &Value| v.as_str().unwrap_or_default().as_bytes().to_vec();
    let (a, b) = (digits(a), digits(b));
    let unlike = a.iter().zip(&b).filter(|(a, b)| a != b).count();
    a == b || (x == y && a.len() == b.len() && unlike == 1)
}

/// An answer in one line.
#[must_use]
pub fn brief(outcome: &Outcome) -> String {
    let text = match outcome {
        Err(error) => error.clone(),
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body);
            let body = body
                .trim()
                .replacen("{\"status\":\"success\",\"data\":", "{", 1);
            match answer.status {
                200 => body,
                status => format!("HTTP {status} {body}"),
            }
        }
    };
    const SHOWN: usize = 600;
    let cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut + " ..."
    } else {
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::case::Time;

    fn answer(value: &str) -> Outcome {
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#
        );
        Ok(Response {
            status: 200,
            headers: Default::default(),
            body: body.into_bytes(),
        })
    }

    #[test]
    fn last_digits_are_close_where_there_is_no_exact_result_and_more_than_them_differs() {
        let number = Expr::Number("1".to_owned());
        let case = |expr| Case {
            expr,
            fault: None,
            time: Time::Instant(0),
        };
        let sine = case(Expr::Call {
            name: "sin",
            returns: Kind::Vector,
            args: vec![number.clone()],
        });
        let judge = |a, b, exact| verdict(&sine, &answer(a), &answer(b), exact);
        let plain = verdict(
            &case(number),
            &answer("0.1"),
            &answer("0.10000000000000002"),
            false,
        );
        assert!(matches!(plain, Verdict::Differs(Part::Result, _)));
        assert_eq!(
            judge("900719925474099.2", "900719925474099.3", false),
            Verdict::Close
        );
        assert_eq!(judge("1", "1", true), Verdict::Equal);
        assert_eq!(judge("0.1", "0.10000000000000002", false), Verdict::Close);
        for (a, b, exact) in [
            ("0.1", "0.10000000000000002", true),
            ("1", "1.00000001", false),
            ("0", "-0", true),
            ("NaN", "1", false),
        ] {
            let is_result = matches!(judge(a, b, exact), Verdict::Differs(Part::Result, _));
            assert!(is_result, "{a} {b}");
        }
    }

    fn vector(series: &[(&str, &str)]) -> Outcome {
        let series = series.iter().map(|(label, value)| {
            format!(r#"{{"metric":{{"v":"{label}"}},"value":[1,"{value}"]}}"#)
        });
        let series = series.collect::<Vec<_>>().join(",");
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#
        );
        Ok(Response {
            status: 200,
            headers: Default::default(),
            body: body.into_bytes(),
        })
    }

    #[test]
    fn what_upstream_leaves_open_is_told_from_what_differs() {
        let number = || Expr::Number("1".to_owned());
        let call = |name, arg| Expr::Call {
            name,
            returns: Kind::Vector,
            args: vec![arg],
        };
        let judge = |expr: Expr, a: &[(&str, &str)], b: &[(&str, &str)]| {
            let case = Case {
                expr,
                fault: None,
                time: Time::Instant(0),
            };
            verdict(&case, &vector(a), &vector(b), false)
        };
        let (a, b) = (
            [("x", "1"), ("y", "1"), ("z", "2")],
            [("y", "1"), ("x", "1"), ("z", "2")],
        );
        assert_eq!(judge(call("sort", number()), &a, &b), Verdict::Tied);
        let other = [("z", "2"), ("x", "1"), ("y", "1")];
        for (expr, b) in [
            (call("sort", number()), other),
            (call("sort_by_label", number()), b),
        ] {
            let found = judge(expr, &a, &b);
            assert!(
                matches!(found, Verdict::Differs(Part::Result, _)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn last_digits_in_labels_are_no_difference() {
        let number = || Box::new(Expr::Number("1".to_owned()));
        let count_values = |inner| Expr::Aggregate {
            op: "count_values",
            grouping: None,
            param: Some(number()),
            inner,
        };
        let cosine = Expr::Call {
            name: "cos",
            returns: Kind::Vector,
            args: vec![*number()],
        };
        let apart = [("0.2500000000000001", "1"), ("0.25", "2"), ("0.5", "1")];
        let together = [("0.25", "3"), ("0.5", "1")];
        for (inner, is_close) in [(Box::new(cosine), true), (number(), false)] {
            let case = Case {
                expr: count_values(inner),
                fault: None,
                time: Time::Instant(0),
            };
            let found = verdict(&case, &vector(&apart), &vector(&together), false);
            assert_eq!(found == Verdict::Close, is_close, "{found:?}");
        }
    }

    #[test]
    fn what_upstream_breaks_down_over_is_no_difference() {
        let case = Case {
            expr: Expr::Number("1".to_owned()),
            fault: None,
            time: Time::Instant(0),
        };
        let body = br#"{"status":"error","errorType":"execution","error":"unexpected error: runtime error: index out of range [0] with length 0"}"#;
        let broken = Ok(Response {
            status: 422,
            headers: Default::default(),
            body: body.to_vec(),
        });
        assert_eq!(
            verdict(&case, &broken, &answer("1"), false),
            Verdict::Panics
        );
    }
}
