//! `GET|POST /api/v1/parse_query`: the syntax tree of an expression as JSON.

use axum::extract::State;
use axum::response::Response;
use promql::ast::{
    At, Duration, DurationExpr, DurationKind, Expr, Matching, NumberLiteral, VectorSelector,
};
use promql::lexer::format_float;
use serde_json::{Value, json};

use super::error::ApiError;
use super::evaluate;
use super::format::success;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Result<Response, ApiError> {
    let expr = evaluate::parse(&ask, &app)?;
    Ok(success(&tree(&expr)))
}

fn tree(expr: &Expr) -> Value {
    match expr {
        Expr::Number(e) => json!({"type": "numberLiteral", "val": format_float(e.value)}),
        Expr::String(e) => json!({"type": "stringLiteral", "val": e.value}),
        Expr::Vector(e) => selector(e, "vectorSelector"),
        Expr::Matrix(e) => {
            let mut value = selector(&e.vector, "matrixSelector");
            value["range"] = millis(&e.range);
            value["rangeExpr"] = expression(&e.range);
            value
        }
        Expr::Subquery(e) => {
            let (timestamp, start_or_end) = at(e.at);
            json!({
                "type": "subquery",
                "expr": tree(&e.expr),
                "range": millis(&e.range),
                "rangeExpr": expression(&e.range),
                "offset": millis(&e.offset),
                "offsetExpr": expression(&e.offset),
                "step": e.step.as_ref().map_or(json!(0), millis),
                "stepExpr": e.step.as_ref().map_or(Value::Null, expression),
                "timestamp": timestamp,
                "startOrEnd": start_or_end,
            })
        }
        Expr::Call(e) => {
            let signature = e.func.signature();
            json!({
                "type": "call",
                "func": {
                    "name": signature.name,
                    "argTypes": signature.args.iter().map(|t| t.as_str()).collect::<Vec<_>>(),
                    "variadic": signature.variadic,
                    "returnType": signature.returns.as_str(),
                },
                "args": e.args.iter().map(tree).collect::<Vec<_>>(),
            })
        }
        Expr::Aggregate(e) => json!({
            "type": "aggregation",
            "op": e.op.as_str(),
            "expr": tree(&e.expr),
            "param": e.param.as_deref().map(tree),
            "grouping": e.grouping,
            "without": e.without,
        }),
        Expr::Binary(e) => json!({
            "type": "binaryExpr",
            "op": e.op.as_str(),
            "lhs": tree(&e.lhs),
            "rhs": tree(&e.rhs),
            "matching": e.matching.as_ref().map(matching),
            "bool": e.bool_modifier,
        }),
        Expr::Unary(e) => json!({"type": "unaryExpr", "op": e.op.as_str(), "expr": tree(&e.expr)}),
        Expr::Paren(e) => json!({"type": "parenExpr", "expr": tree(&e.expr)}),
    }
}

fn selector(vector: &VectorSelector, kind: &str) -> Value {
    let (timestamp, start_or_end) = at(vector.at);
    let matchers: Vec<Value> = vector
        .matchers
        .iter()
        .map(|m| json!({"name": m.name(), "value": m.value(), "type": m.op().as_str()}))
        .collect();
    json!({
        "type": kind,
        "name": vector.name,
        "offset": millis(&vector.offset),
        "offsetExpr": expression(&vector.offset),
        "matchers": matchers,
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": vector.anchored,
        "smoothed": vector.smoothed,
    })
}

fn matching(matching: &Matching) -> Value {
    json!({
        "card": matching.card.as_str(),
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

/// `timestamp` and `startOrEnd`.
fn at(at: Option<At>) -> (Value, Value) {
    match at {
        None => (Value::Null, Value::Null),
        Some(At::Timestamp(ms)) => (json!(ms), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    }
}

/// Milliseconds; 0 where an expression stands in their place.
fn millis(duration: &Duration) -> Value {
    json!(duration.as_millis().unwrap_or(0))
}

fn expression(duration: &Duration) -> Value {
    match duration {
        Duration::Millis(_) => Value::Null,
        Duration::Expr(expr) => duration_tree(expr),
    }
}

fn duration_tree(expr: &DurationExpr) -> Value {
    let node = |op: &str, lhs: Value, rhs: Value| json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": expr.wrapped});
    match &expr.kind {
        DurationKind::Number(NumberLiteral {
            value, duration, ..
        }) => {
            json!({"type": "numberLiteral", "val": format_float(*value), "duration": duration})
        }
        DurationKind::Binary(op, lhs, rhs) => {
            node(op.as_str(), duration_tree(lhs), duration_tree(rhs))
        }
        DurationKind::Unary(op, inner) => node(op.as_str(), Value::Null, duration_tree(inner)),
        DurationKind::Step => node("step", Value::Null, Value::Null),
        DurationKind::Range => node("range", Value::Null, Value::Null),
        DurationKind::MinOf(lhs, rhs) => node("min_of", duration_tree(lhs), duration_tree(rhs)),
        DurationKind::MaxOf(lhs, rhs) => node("max_of", duration_tree(lhs), duration_tree(rhs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every recorded answer of upstream's, where the recordings lie beside the workspace.
    #[test]
    fn trees_and_layouts_are_those_that_upstream_answered() {
        let shared = std::env::var_os("TRILOBITE_SHARED").map_or_else(
            || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
            std::path::PathBuf::from,
        );
        let Ok(text) = std::fs::read_to_string(shared.join("conformance/metrics/api.jsonl")) else {
            println!("skipped: no recordings");
            return;
        };
        let mut count = 0;
        for line in text.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let path = case["request"]["path"].as_str().unwrap();
            let parse = path == "/api/v1/parse_query";
            if (!parse && path != "/api/v1/format_query") || case["expect"]["status"] != 200 {
                continue;
            }
            let query = case["request"]["params"][0][1].as_str().unwrap();
            let expr = promql::parse(query, &promql::ParseOptions::ALL).unwrap();
            let found = if parse {
                tree(&expr)
            } else {
                json!(promql::printer::pretty(&expr))
            };
            // Through text, so that `0` and `0.0` are the same number.
            let normal = |v: &Value| v.to_string().replace(":0.0", ":0");
            let found: Value = serde_json::from_str(&normal(&found)).unwrap();
            assert_eq!(found, case["expect"]["json"]["data"], "{}", case["id"]);
            count += 1;
        }
        assert!(count > 40, "{count} cases");
    }
}
