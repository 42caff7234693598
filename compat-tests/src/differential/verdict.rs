//! Whether two servers answered a case alike.

use anyhow::Result;
use serde_json::Value;

use super::case::Case;
use super::tree::{Expr, Kind};
use crate::compare::{Part, verbatim};
use crate::http::Response;

/// How far apart numbers may be where the order of a sum is not defined.
const RELATIVE: f64 = 1e-12;

/// What came of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The same to the last character.
    Equal,
    /// The same, save for the last digits of sums.
    Close,
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
    if !exact && part == Part::Result && verbatim(&a, &b, ordered, &close).is_none() {
        return Verdict::Close;
    }
    Verdict::Differs(part, text)
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

fn close(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_str().and_then(|text| text.parse::<f64>().ok());
    match (number(a), number(b)) {
        _ if a == b => true,
        (Some(x), Some(y)) => (x - y).abs() <= RELATIVE * x.abs().max(y.abs()),
        _ => false,
    }
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
    fn last_digits_are_close_and_more_than_them_differs() {
        let case = Case {
            expr: Expr::Number("1".to_owned()),
            fault: None,
            time: Time::Instant(0),
        };
        let judge = |a, b, exact| verdict(&case, &answer(a), &answer(b), exact);
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
}
