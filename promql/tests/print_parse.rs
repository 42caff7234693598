//! The law of the printer, `parse(print(e)) == e`, on random trees and on every recorded query.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use promql::ast::*;
use promql::functions::Func;
use promql::printer::{pretty, print};
use promql::{ParseOptions, parse};
use proptest::prelude::*;
use storage::model::{MatchOp, Matcher};

/// Removes what the law does not cover: places, and the order of matchers.
fn normalized(mut expr: Expr) -> Expr {
    fn duration(d: &mut Duration) {
        if let Duration::Expr(expr) = d {
            duration_expr(expr);
        }
    }
    fn duration_expr(d: &mut DurationExpr) {
        d.span = Span::default();
        match &mut d.kind {
            DurationKind::Number(n) => n.span = Span::default(),
            DurationKind::Binary(_, a, b)
            | DurationKind::MinOf(a, b)
            | DurationKind::MaxOf(a, b) => {
                duration_expr(a);
                duration_expr(b);
            }
            DurationKind::Unary(_, a) => duration_expr(a),
            DurationKind::Step | DurationKind::Range => {}
        }
    }
    fn vector(v: &mut VectorSelector) {
        v.span = Span::default();
        v.matchers.sort_by_key(promql::printer::print_matcher);
        duration(&mut v.offset);
    }
    fn walk(expr: &mut Expr) {
        match expr {
            Expr::Number(e) => e.span = Span::default(),
            Expr::String(e) => e.span = Span::default(),
            Expr::Vector(e) => vector(e),
            Expr::Matrix(e) => {
                e.span = Span::default();
                duration(&mut e.range);
                vector(&mut e.vector);
            }
            Expr::Subquery(e) => {
                e.span = Span::default();
                duration(&mut e.range);
                duration(&mut e.offset);
                if let Some(step) = &mut e.step {
                    duration(step);
                }
            }
            Expr::Call(e) => e.span = Span::default(),
            Expr::Aggregate(e) => e.span = Span::default(),
            Expr::Binary(e) => e.span = Span::default(),
            Expr::Unary(e) => e.span = Span::default(),
            Expr::Paren(e) => e.span = Span::default(),
        }
        for child in expr.children_mut() {
            walk(child);
        }
    }
    walk(&mut expr);
    expr
}

fn assert_law(text: &str, expr: Expr) {
    let expr = normalized(expr);
    for printed in [print(&expr), pretty(&expr)] {
        match parse(&printed, &ParseOptions::ALL) {
            Ok(again) => assert_eq!(normalized(again), expr, "{text}\nprinted as {printed}"),
            Err(error) => panic!("{text}\nprinted as {printed}\n{error}"),
        }
    }
}

fn number() -> impl Strategy<Value = Expr> {
    prop_oneof![
        any::<f64>()
            .prop_filter("only one NaN can be written", |v| !v.is_nan())
            .prop_map(|v| (v, false)),
        Just((f64::NAN, false)),
        (-100_000_000..100_000_000i64).prop_map(|ms| (ms as f64 / 1000.0, true)),
    ]
    .prop_map(|(value, duration)| {
        Expr::Number(NumberLiteral {
            value,
            duration,
            span: Span::default(),
        })
    })
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_][a-z0-9_]{0,5}", "[a-z .\"\\\\é]{1,4}"]
}

fn millis() -> impl Strategy<Value = Duration> {
    (1..1_000_000_000i64).prop_map(Duration::Millis)
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        millis(),
        Just(Duration::Expr(DurationExpr {
            kind: DurationKind::Step,
            wrapped: true,
            span: Span::default()
        })),
    ]
}

fn at() -> impl Strategy<Value = Option<At>> {
    prop_oneof![
        Just(None),
        Just(Some(At::Start)),
        Just(Some(At::End)),
        (-10_000_000_000_000..10_000_000_000_000i64).prop_map(|ms| Some(At::Timestamp(ms))),
    ]
}

fn selector() -> impl Strategy<Value = VectorSelector> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let matcher =
        (label(), op, "[a-z.\n\"é]{1,4}").prop_map(|(l, op, v)| Matcher::new(op, l, v).unwrap());
    let offset = prop_oneof![
        Just(Duration::ZERO),
        duration(),
        (-1000i64..0).prop_map(Duration::Millis)
    ];
    (
        "[a-z_:][a-z0-9_:]{6,9}",
        prop::collection::vec(matcher, 0..3),
        offset,
        at(),
        0..3,
    )
        .prop_map(|(name, mut matchers, offset, at, extended)| {
            matchers.push(Matcher::equal("__name__", name.as_str()));
            VectorSelector {
                name,
                matchers,
                offset,
                at,
                anchored: extended == 1,
                smoothed: extended == 2,
                span: Span::default(),
            }
        })
}

fn paren(expr: Expr) -> Box<Expr> {
    Box::new(Expr::Paren(Paren {
        expr: Box::new(expr),
        span: Span::default(),
    }))
}

/// Instant vectors; operands stand in parentheses, as a tree that the parser made would have them where needed.
fn vector() -> impl Strategy<Value = Expr> {
    selector()
        .prop_map(Expr::Vector)
        .prop_recursive(5, 40, 3, |inner| {
            let labels = || prop::collection::vec(label(), 0..3);
            let fill = prop_oneof![Just(None), any::<i32>().prop_map(|v| Some(f64::from(v)))];
            prop_oneof![
                (selector(), millis()).prop_map(|(vector, range)| call(
                    Func::Rate,
                    vec![Expr::Matrix(MatrixSelector {
                        vector,
                        range,
                        span: Span::default()
                    })]
                )),
                (
                    inner.clone(),
                    // Without a number before its colon a subquery is refused.
                    millis(),
                    prop::option::of(duration()),
                    at()
                )
                    .prop_map(|(expr, range, step, at)| call(
                        Func::MaxOverTime,
                        vec![Expr::Subquery(Subquery {
                            expr: paren(expr),
                            range,
                            step,
                            offset: Duration::ZERO,
                            at,
                            span: Span::default()
                        })]
                    )),
                (inner.clone(), number()).prop_map(|(v, n)| call(Func::ClampMax, vec![v, n])),
                (inner.clone(), label(), ".{0,5}")
                    .prop_map(|(v, a, b)| call(Func::LabelJoin, vec![v, string(a), string(b)])),
                (inner.clone(), labels(), any::<bool>()).prop_map(|(expr, grouping, without)| {
                    Expr::Aggregate(Aggregate {
                        op: AggregateOp::Sum,
                        expr: Box::new(expr),
                        param: None,
                        grouping,
                        without,
                        span: Span::default(),
                    })
                }),
                (inner.clone(), number()).prop_map(|(expr, param)| Expr::Aggregate(Aggregate {
                    op: AggregateOp::Topk,
                    expr: Box::new(expr),
                    param: Some(Box::new(param)),
                    grouping: Vec::new(),
                    without: false,
                    span: Span::default(),
                })),
                inner.clone().prop_map(|expr| Expr::Unary(Unary {
                    op: UnaryOp::Minus,
                    expr: paren(expr),
                    span: Span::default()
                })),
                (
                    inner.clone(),
                    inner,
                    0..BinaryOp::ALL.len(),
                    labels(),
                    any::<bool>(),
                    fill
                )
                    .prop_map(|(lhs, rhs, op, labels, flag, fill)| {
                        let op = BinaryOp::ALL[op];
                        let card = if op.is_set() {
                            Card::ManyToMany
                        } else if flag && !labels.is_empty() {
                            Card::ManyToOne
                        } else {
                            Card::OneToOne
                        };
                        Expr::Binary(Binary {
                            op,
                            lhs: paren(lhs),
                            rhs: paren(rhs),
                            bool_modifier: op.is_comparison() && flag,
                            matching: Some(Matching {
                                card,
                                on: flag,
                                labels,
                                include: Vec::new(),
                                fill_left: fill.filter(|_| !op.is_set()),
                                fill_right: fill.filter(|_| !op.is_set() && flag),
                            }),
                            span: Span::default(),
                        })
                    }),
            ]
        })
}

fn call(func: Func, args: Vec<Expr>) -> Expr {
    Expr::Call(Call {
        func,
        args,
        span: Span::default(),
    })
}

fn string(value: String) -> Expr {
    Expr::String(StringLiteral {
        value,
        invalid_utf8: None,
        span: Span::default(),
    })
}

proptest! {
    #[test]
    fn a_printed_tree_parses_to_itself(expr in vector()) {
        assert_law("a random tree", expr);
    }

    #[test]
    fn a_printed_literal_parses_to_itself(expr in number()) {
        assert_law("a number", expr);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-c0-9(){}\\[\\]+*^=!~<>/@:,.\"'`\\\\ \n#_éxem$-]{0,40}") {
        let _ = parse(&text, &ParseOptions::ALL);
        let _ = promql::parse_selector(&text);
    }
}

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("TRILOBITE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    path.join("conformance")
        .is_dir()
        .then(|| path.join("conformance"))
}

#[test]
fn every_query_of_the_promqltest_scripts_parses_and_prints_back() {
    let Some(shared) = shared() else {
        println!("skipped: no recordings");
        return;
    };
    let mut count = 0;
    for entry in std::fs::read_dir(shared.join("promqltest")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "test") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let Some(query) = script_query(line) else {
                continue;
            };
            match parse(query, &ParseOptions::ALL) {
                Ok(expr) => assert_law(query, expr),
                Err(error) => panic!("{}: {query}\n{error}", path.display()),
            }
            count += 1;
        }
    }
    assert!(count > 1000, "{count} queries found");
}

/// The expression of an `eval` line that is not expected to fail.
fn script_query(line: &str) -> Option<&str> {
    let rest = line.trim_end().strip_prefix("eval")?;
    let rest = ["_ordered", "_warn", "_info", ""]
        .iter()
        .find_map(|mode| rest.strip_prefix(mode).filter(|r| r.starts_with(' ')))?;
    let words = if rest.trim_start().starts_with("instant") {
        3
    } else {
        7
    };
    let mut rest = rest.trim_start();
    for _ in 0..words {
        rest = rest.split_once([' ', '\t'])?.1.trim_start();
    }
    Some(rest)
}

#[test]
fn every_recorded_query_that_upstream_accepts_parses_and_prints_back() {
    let Some(shared) = shared() else {
        println!("skipped: no recordings");
        return;
    };
    let mut count = 0;
    for file in [
        "metrics/instant",
        "metrics/range",
        "metrics/histograms",
        "metrics/errors",
        "metrics/api",
        "compliance/instant",
        "compliance/range",
    ] {
        let text = std::fs::read_to_string(shared.join(format!("{file}.jsonl"))).unwrap();
        for line in text.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let status = case["expect"]["status"].as_u64().unwrap();
            let path = case["request"]["path"].as_str().unwrap();
            let Some(query) = case["request"]["params"].as_array().and_then(|params| {
                params
                    .iter()
                    .find(|p| p[0] == "query")
                    .and_then(|p| p[1].as_str())
            }) else {
                continue;
            };
            if !path.contains("query") {
                continue;
            }
            let result = parse(query, &ParseOptions::ALL);
            if status == 200 || status == 422 {
                match result {
                    Ok(expr) => assert_law(query, expr),
                    Err(error) => panic!("{}: {query}\n{error}", case["id"]),
                }
                count += 1;
            } else if let Some(expected) = case["expect"]["json"]["error"]
                .as_str()
                .and_then(|e| e.strip_prefix("invalid parameter \"query\": "))
                .filter(|e| e.contains("parse error"))
            {
                match result {
                    Ok(_) => panic!("{}: {query} parses\nexpected {expected}", case["id"]),
                    Err(error) => {
                        assert_eq!(error.to_string(), expected, "{}: {query}", case["id"])
                    }
                }
                count += 1;
            }
        }
    }
    assert!(count > 1500, "{count} queries found");
}
