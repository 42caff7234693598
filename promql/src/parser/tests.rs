//! Trees and faults of whole queries.

use super::*;
use crate::ast::{At, Card, Duration, DurationKind};
use crate::functions::Func;

fn parsed(text: &str) -> Expr {
    match parse(text, &ParseOptions::ALL) {
        Ok(expr) => expr,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn fault(text: &str) -> String {
    parse(text, &ParseOptions::ALL).unwrap_err().to_string()
}

/// The tree with all its parentheses, to see what binds to what.
fn shape(expr: &Expr) -> String {
    match expr {
        Expr::Binary(e) => format!("[{} {} {}]", shape(&e.lhs), e.op.as_str(), shape(&e.rhs)),
        Expr::Unary(e) => format!("[{}{}]", e.op.as_str(), shape(&e.expr)),
        _ => expr.to_string(),
    }
}

#[test]
fn operators_bind_as_upstreams_do() {
    for (text, expected) in [
        ("a + b * c - d ^ e", "[[a + [b * c]] - [d ^ e]]"),
        ("a ^ b ^ c", "[a ^ [b ^ c]]"),
        ("-a ^ b", "[-[a ^ b]]"),
        ("-a * b", "[[-a] * b]"),
        ("a ^ -b ^ c", "[a ^ [-[b ^ c]]]"),
        ("-1 ^ 2", "[-[1 ^ 2]]"),
        ("a or b unless c and d", "[a or [[b unless c] and d]]"),
        ("a > b >= c </ d + e", "[[[a > b] >= c] </ [d + e]]"),
        ("a atan2 b % c", "[[a atan2 b] % c]"),
        ("a offset 1m ^ 2", "[a offset 1m ^ 2]"),
        ("a offset 100 + 2", "[a offset 1m40s + 2]"),
        ("-a offset 1m", "[-a offset 1m]"),
    ] {
        assert_eq!(shape(&parsed(text)), expected, "{text}");
    }
}

#[test]
fn keywords_are_names_where_nothing_else_can_stand() {
    for text in [
        "sum",
        "by{}",
        "offset",
        "and",
        "sum(sum)",
        "start",
        "step{a='b'}",
        "fill",
        "a + fill",
        "anchored",
        "inf_",
        "sum by (bool, on, atan2, and) (up)",
        "up{on='x',bool='y'}",
        "a + on(by) group_left(group_left) b",
        "Sum(up)",
        "foo:bar",
        "limitk",
    ] {
        parsed(text);
    }
    for text in ["on{}", "bool", "group_left", "ignoring", "atan2", "nan()"] {
        assert!(parse(text, &ParseOptions::ALL).is_err(), "{text}");
    }
}

#[test]
fn modifiers_of_selectors_are_kept_with_their_places() {
    let Expr::Matrix(matrix) = parsed("up{job=\"x\"}[5m] @ 1.5 offset -1h anchored") else {
        panic!("no matrix")
    };
    assert_eq!(matrix.range, Duration::Millis(300_000));
    assert_eq!(matrix.vector.at, Some(At::Timestamp(1500)));
    assert_eq!(matrix.vector.offset, Duration::Millis(-3_600_000));
    assert!(matrix.vector.anchored);
    assert_eq!(matrix.span, Span::new(0, 32));
    assert_eq!(matrix.vector.span, Span::new(0, 11));
    let names: Vec<&str> = matrix.vector.matchers.iter().map(Matcher::name).collect();
    assert_eq!(names, ["job", "__name__"]);
}

#[test]
fn duration_expressions_are_kept_where_they_are_more_than_a_literal() {
    let Expr::Matrix(matrix) = parsed("up[5m * (2 + step())]") else {
        panic!("no matrix")
    };
    let Duration::Expr(expr) = matrix.range else {
        panic!("no expression")
    };
    assert!(matches!(
        expr.kind,
        DurationKind::Binary(BinaryOp::Mul, _, _)
    ));
    let Expr::Matrix(matrix) = parsed("up[((5m))]") else {
        panic!("no matrix")
    };
    assert_eq!(matrix.range, Duration::Millis(300_000));
}

#[test]
fn matching_stands_between_vectors_only() {
    let Expr::Binary(binary) = parsed("a and b") else {
        panic!("no operator")
    };
    assert_eq!(binary.matching.unwrap().card, Card::ManyToMany);
    let Expr::Binary(binary) = parsed("a + 1") else {
        panic!("no operator")
    };
    assert_eq!(binary.matching, None);
}

#[test]
fn calls_name_their_function() {
    let Expr::Call(call) = parsed("rate(up[5m])") else {
        panic!("no call")
    };
    assert_eq!(call.func, Func::Rate);
}

#[test]
fn features_that_are_off_are_refused() {
    let off = ParseOptions::default();
    for (text, expected) in [
        (
            "info(up)",
            "1:1: parse error: function \"info\" is not enabled",
        ),
        (
            "limitk(1, up)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        (
            "up anchored",
            "1:1: parse error: anchored modifier is experimental and not enabled",
        ),
        (
            "a + fill(0) b",
            "1:5: parse error: binop fill modifiers are experimental and not enabled",
        ),
    ] {
        assert_eq!(parse(text, &off).unwrap_err().to_string(), expected);
    }
}

#[test]
fn deep_queries_are_refused_rather_than_exhaust_the_stack() {
    let nested = format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(fault(&nested).ends_with("expression is nested too deeply"));
    let chain = vec!["a"; 100_000].join(" + ");
    assert!(fault(&chain).ends_with("expression is nested too deeply"));
    let signs = format!("{}a", "-".repeat(100_000));
    assert!(fault(&signs).ends_with("expression is nested too deeply"));
    let ranges = format!("a{}", "[1m:]".repeat(100_000));
    assert!(fault(&ranges).ends_with("expression is nested too deeply"));
    let lengths = format!("a[{}1]", "1+".repeat(100_000));
    assert!(fault(&lengths).ends_with("expression is nested too deeply"));
    parsed(&vec!["a"; 900].join(" or "));
    parsed(&format!("{}a{}", "(".repeat(150), ")".repeat(150)));
}

#[test]
fn faults_are_told_in_upstreams_words() {
    for (text, expected) in [
        (
            "",
            "unknown position: parse error: no expression found in input",
        ),
        ("# c", "1:1: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("up\n  up", "2:3: parse error: unexpected identifier \"up\""),
        (
            "up{,}",
            "1:4: parse error: unexpected \",\" in label matching, expected identifier or \"}\"",
        ),
        (
            "sum(up down)",
            "1:8: parse error: unexpected identifier \"down\" in aggregation",
        ),
        (
            "sum by (job) up",
            "1:14: parse error: unexpected identifier \"up\" in aggregation",
        ),
        (
            "sum(up) down",
            "1:9: parse error: unexpected identifier \"down\"",
        ),
        (
            "up @@ 1",
            "1:5: parse error: unexpected <op:@> in @, expected timestamp",
        ),
        (
            "up offset (1m) / up",
            "1:18: parse error: unexpected identifier \"up\" in offset, expected number, duration, step(), or range()",
        ),
        (
            "topk(1,, up)",
            "1:7: parse error: trailing commas not allowed in function call args",
        ),
        ("1 ** 2", "1:4: parse error: unexpected <op:*>"),
        (
            "1 == 1",
            "1:3: parse error: comparisons between scalars must use BOOL modifier",
        ),
        (
            "sum(up[5m])",
            "1:5: parse error: expected type instant vector in aggregation expression, got range vector",
        ),
        (
            "up offset 5m offset 5m",
            "1:1: parse error: offset may not be set multiple times",
        ),
        (
            "up[5m][5m]",
            "1:7: parse error: ranges only allowed for vector selectors",
        ),
        (
            "info(up, up)",
            "1:10: parse error: expected label selectors only, got vector selector instead",
        ),
        (
            "info(up, up + up)",
            "1:10: parse error: expected label selectors only",
        ),
        (
            "info(0, 0)",
            "1:1: parse error: expected type instant vector in call to function \"info\", got scalar",
        ),
        (
            "info(0, {a=\"b\"})",
            "1:6: parse error: expected type instant vector in call to function \"info\", got scalar",
        ),
        (
            "up smoothed + bool up",
            "1:4: parse error: bool modifier can only be used on comparison operators",
        ),
        (
            "up + sum(up) anchored",
            "1:6: parse error: anchored modifier not implemented",
        ),
        (
            "1ee3",
            "1:1: parse error: bad number or duration syntax: \"1ee\"",
        ),
        (
            "0..1",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0..1\": invalid syntax",
        ),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
}

#[test]
fn a_bare_selector_may_select_everything_but_takes_no_modifier() {
    assert_eq!(parse_selector("{}").unwrap(), []);
    assert_eq!(parse_selector("up{a!='b'}").unwrap().len(), 2);
    for (text, expected) in [
        ("", "unknown position: parse error: unexpected end of input"),
        ("up(1)", "1:3: parse error: unexpected \"(\""),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
    ] {
        assert_eq!(parse_selector(text).unwrap_err().to_string(), expected);
    }
}
