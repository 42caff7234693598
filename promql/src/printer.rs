//! Tree to text: the canonical form on one line, and the form broken over lines as `/api/v1/format_query` writes it.
//!
//! Law: `parse(print(e)) == e` but for places and for the order of matchers, which are written sorted.

use std::fmt::Write as _;

use storage::model::Matcher;

use crate::ast::{
    Aggregate, At, Binary, Call, Card, Duration, DurationExpr, DurationKind, Expr, Matching,
    MatrixSelector, NumberLiteral, StringLiteral, Subquery, UnaryOp, VectorSelector,
};
use crate::lexer::{format_duration, format_float, quote, quote_bytes};

/// An expression longer than this is broken over lines.
const MAX_LINE_CHARS: usize = 100;

/// The canonical text, on one line.
#[must_use]
pub fn print(expr: &Expr) -> String {
    let mut out = String::new();
    write_expr(&mut out, expr);
    out
}

/// The text broken over lines where an expression is longer than 100 characters, two blanks a level.
///
/// The cost is quadratic in the depth of the tree: each level measures what lies below it.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    write_pretty(&mut out, expr, 0);
    out
}

fn write_expr(out: &mut String, expr: &Expr) {
    match expr {
        Expr::Number(e) => write_number(out, e),
        Expr::String(e) => write_string(out, e),
        Expr::Vector(e) => {
            write_selector(out, e);
            write_modifiers(out, e);
        }
        Expr::Matrix(e) => write_matrix(out, e),
        Expr::Subquery(e) => {
            write_expr(out, &e.expr);
            write_subquery_suffix(out, e);
        }
        Expr::Call(e) => {
            out.push_str(e.func.name());
            out.push('(');
            for (index, arg) in e.args.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_expr(out, arg);
            }
            out.push(')');
        }
        Expr::Aggregate(e) => {
            write_aggregate_head(out, e);
            out.push('(');
            if let Some(param) = &e.param {
                write_expr(out, param);
                out.push_str(", ");
            }
            write_expr(out, &e.expr);
            out.push(')');
        }
        Expr::Binary(e) => {
            write_expr(out, &e.lhs);
            out.push(' ');
            write_operator(out, e);
            out.push(' ');
            write_expr(out, &e.rhs);
        }
        Expr::Unary(e) => {
            out.push_str(e.op.as_str());
            write_expr(out, &e.expr);
        }
        Expr::Paren(e) => {
            out.push('(');
            write_expr(out, &e.expr);
            out.push(')');
        }
    }
}

fn write_pretty(out: &mut String, expr: &Expr, level: usize) {
    let line = print(expr);
    if line.len() <= MAX_LINE_CHARS {
        indent(out, level);
        out.push_str(&line);
        return;
    }
    match expr {
        Expr::Call(Call { func, args, .. }) => {
            indent(out, level);
            out.push_str(func.name());
            out.push_str("(\n");
            for (index, arg) in args.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                write_pretty(out, arg, level + 1);
            }
            close(out, level);
        }
        Expr::Aggregate(e) => {
            indent(out, level);
            write_aggregate_head(out, e);
            out.push_str("(\n");
            if let Some(param) = &e.param {
                write_pretty(out, param, level + 1);
                out.push_str(",\n");
            }
            write_pretty(out, &e.expr, level + 1);
            close(out, level);
        }
        Expr::Binary(e) => {
            write_pretty(out, &e.lhs, level + 1);
            out.push('\n');
            indent(out, level);
            write_operator(out, e);
            out.push('\n');
            write_pretty(out, &e.rhs, level + 1);
        }
        Expr::Paren(e) => {
            indent(out, level);
            out.push_str("(\n");
            write_pretty(out, &e.expr, level + 1);
            close(out, level);
        }
        Expr::Subquery(e) => {
            write_pretty(out, &e.expr, level);
            write_subquery_suffix(out, e);
        }
        Expr::Unary(e) => {
            let mut inner = String::new();
            write_pretty(&mut inner, &e.expr, level);
            indent(out, level);
            out.push_str(e.op.as_str());
            out.push_str(inner.trim_start());
        }
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => {
            indent(out, level);
            out.push_str(&line);
        }
    }
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level {
        out.push_str("  ");
    }
}

fn close(out: &mut String, level: usize) {
    out.push('\n');
    indent(out, level);
    out.push(')');
}

fn write_number(out: &mut String, number: &NumberLiteral) {
    if number.duration {
        out.push_str(&format_duration((number.value * 1000.0).round() as i64));
    } else {
        out.push_str(&format_float(number.value));
    }
}

fn write_string(out: &mut String, string: &StringLiteral) {
    match &string.invalid_utf8 {
        Some(bytes) => out.push_str(&quote_bytes(bytes)),
        None => out.push_str(&quote(&string.value)),
    }
}

/// Name and braces.
fn write_selector(out: &mut String, vector: &VectorSelector) {
    out.push_str(&vector.name);
    let of_name = |m: &Matcher| {
        !vector.name.is_empty()
            && m.name() == "__name__"
            && m.op() == storage::model::MatchOp::Equal
            && m.value() == vector.name
    };
    let mut matchers: Vec<String> = vector
        .matchers
        .iter()
        .filter(|m| !of_name(m))
        .map(print_matcher)
        .collect();
    if matchers.is_empty() && !vector.name.is_empty() {
        return;
    }
    matchers.sort();
    out.push('{');
    out.push_str(&matchers.join(","));
    out.push('}');
}

/// `name="value"`; the name is quoted where it needs to be.
#[must_use]
pub fn print_matcher(matcher: &Matcher) -> String {
    format!(
        "{}{}{}",
        label(matcher.name()),
        matcher.op().as_str(),
        quote(matcher.value())
    )
}

/// `anchored`, `@` and `offset`, each with a blank before it.
fn write_modifiers(out: &mut String, vector: &VectorSelector) {
    if vector.anchored {
        out.push_str(" anchored");
    }
    if vector.smoothed {
        out.push_str(" smoothed");
    }
    write_at_and_offset(out, vector.at, &vector.offset);
}

fn write_at_and_offset(out: &mut String, at: Option<At>, offset: &Duration) {
    match at {
        Some(At::Start) => out.push_str(" @ start()"),
        Some(At::End) => out.push_str(" @ end()"),
        Some(At::Timestamp(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            let _ = write!(out, " @ {sign}{}.{:03}", ms / 1000, ms % 1000);
        }
        None => {}
    }
    if *offset != Duration::ZERO {
        out.push_str(" offset ");
        write_duration(out, offset);
    }
}

fn write_matrix(out: &mut String, matrix: &MatrixSelector) {
    write_selector(out, &matrix.vector);
    out.push('[');
    write_duration(out, &matrix.range);
    out.push(']');
    write_modifiers(out, &matrix.vector);
}

fn write_subquery_suffix(out: &mut String, subquery: &Subquery) {
    out.push('[');
    write_duration(out, &subquery.range);
    out.push(':');
    if let Some(step) = &subquery.step {
        write_duration(out, step);
    }
    out.push(']');
    write_at_and_offset(out, subquery.at, &subquery.offset);
}

fn write_duration(out: &mut String, duration: &Duration) {
    match duration {
        Duration::Millis(ms) => out.push_str(&format_duration(*ms)),
        Duration::Expr(expr) => write_duration_expr(out, expr),
    }
}

fn write_duration_expr(out: &mut String, expr: &DurationExpr) {
    if expr.wrapped {
        out.push('(');
    }
    match &expr.kind {
        DurationKind::Number(number) => write_number(out, number),
        DurationKind::Binary(op, lhs, rhs) => {
            write_duration_expr(out, lhs);
            let _ = write!(out, " {} ", op.as_str());
            write_duration_expr(out, rhs);
        }
        DurationKind::Unary(op, inner) => {
            // A plus sign changes nothing; upstream keeps a minus only.
            if *op == UnaryOp::Minus {
                out.push('-');
            } else {
                out.push('+');
            }
            write_duration_expr(out, inner);
        }
        DurationKind::Step => out.push_str("step()"),
        DurationKind::Range => out.push_str("range()"),
        DurationKind::MinOf(a, b) => write_bound(out, "min_of", a, b),
        DurationKind::MaxOf(a, b) => write_bound(out, "max_of", a, b),
    }
    if expr.wrapped {
        out.push(')');
    }
}

fn write_bound(out: &mut String, name: &str, a: &DurationExpr, b: &DurationExpr) {
    out.push_str(name);
    out.push('(');
    write_duration_expr(out, a);
    out.push_str(", ");
    write_duration_expr(out, b);
    out.push(')');
}

/// `sum by (job) `; without clause just the name.
fn write_aggregate_head(out: &mut String, aggregate: &Aggregate) {
    out.push_str(aggregate.op.as_str());
    let clause = match (aggregate.without, aggregate.grouping.is_empty()) {
        (true, _) => "without",
        (false, false) => "by",
        (false, true) => return,
    };
    let _ = write!(out, " {clause} ({}) ", labels(&aggregate.grouping));
}

/// The operator with its clauses.
fn write_operator(out: &mut String, binary: &Binary) {
    out.push_str(binary.op.as_str());
    if binary.bool_modifier {
        out.push_str(" bool");
    }
    if let Some(matching) = &binary.matching {
        write_matching(out, matching);
    }
}

fn write_matching(out: &mut String, matching: &Matching) {
    let grouped = matches!(matching.card, Card::ManyToOne | Card::OneToMany);
    if matching.on || grouped || !matching.labels.is_empty() {
        let clause = if matching.on { "on" } else { "ignoring" };
        let _ = write!(out, " {clause} ({})", labels(&matching.labels));
    }
    if grouped {
        let side = if matching.card == Card::ManyToOne {
            "left"
        } else {
            "right"
        };
        let _ = write!(out, " group_{side} ({})", labels(&matching.include));
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            let _ = write!(out, " fill ({})", format_float(left));
        }
        (left, right) => {
            for (side, value) in [("left", left), ("right", right)] {
                if let Some(value) = value {
                    let _ = write!(out, " fill_{side} ({})", format_float(value));
                }
            }
        }
    }
}

fn labels(names: &[String]) -> String {
    names
        .iter()
        .map(|name| label(name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A label name, quoted where it is not `[a-zA-Z_][a-zA-Z0-9_]*`.
fn label(name: &str) -> String {
    let plain = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { name.to_owned() } else { quote(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::{ParseOptions, parse};

    fn check(input: &str, expected: &str) {
        let expr = parse(input, &ParseOptions::ALL).unwrap();
        assert_eq!(print(&expr), expected, "{input}");
    }

    #[test]
    fn selectors_write_their_matchers_sorted_and_quote_names_that_need_it() {
        check(
            "{\"queue.depth\",\"a b\"='c'}",
            "{\"a b\"=\"c\",__name__=\"queue.depth\"}",
        );
        check("a{z='1',b=~'c'}", "a{b=~\"c\",z=\"1\"}");
        check("a{}", "a");
        check("{__name__='up'}", "{__name__=\"up\"}");
    }

    #[test]
    fn modifiers_come_in_one_order() {
        check("foo offset 1h @ start()", "foo @ start() offset 1h");
        check(
            "foo[5m:1m]@start() offset -1h",
            "foo[5m:1m] @ start() offset -1h",
        );
        check("foo[5m:] @ -1.5", "foo[5m:] @ -1.500");
        check("foo[5m] @ 1.5 smoothed", "foo[5m] smoothed @ 1.500");
        check("foo offset -(1m+step())", "foo offset -(1m + step())");
    }

    #[test]
    fn clauses_of_operators_are_written_in_full() {
        check("a+on()b", "a + on () b");
        check(
            "a*ignoring(x)group_right b",
            "a * ignoring (x) group_right () b",
        );
        check(
            "a+on(x)fill_right(1)fill_left(-2)b",
            "a + on (x) fill_left (-2) fill_right (1) b",
        );
        check("a + fill(0) b", "a + fill (0) b");
        check("a >bool 1", "a > bool 1");
        check("a and on(\"b c\") b", "a and on (\"b c\") b");
    }

    #[test]
    fn numbers_are_written_without_exponent_and_durations_in_units() {
        check("0x3d", "61");
        check("1e3", "1000");
        check("-Inf", "-Inf");
        check("90m", "1h30m");
        check("-5m", "-5m");
        check("- - 1", "1");
    }

    #[test]
    fn long_expressions_are_broken_over_lines() {
        let long = "a_metric_name_that_is_long{with=\"a label\"} + on (instance) group_left (job) \
                    another_metric_name_that_is_long{with=\"a label\"} offset 5m";
        let expr = parse(long, &ParseOptions::ALL).unwrap();
        assert_eq!(
            pretty(&expr),
            "  a_metric_name_that_is_long{with=\"a label\"}\n+ on (instance) group_left (job)\n  \
             another_metric_name_that_is_long{with=\"a label\"} offset 5m"
        );
    }
}
