//! `format_query`: a tree over several lines where one would be too long.

use crate::ast::{Expr, LogExpr, LogRange};
use crate::printer::selector;
use crate::units::quote;

/// A longer text is split.
const MAX_LINE: usize = 100;

/// The query as `format_query` answers it.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    at(expr, 0)
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn at(expr: &Expr, level: usize) -> String {
    let one_line = expr.to_string();
    let pad = indent(level);
    if one_line.len() <= MAX_LINE {
        return format!("{pad}{one_line}");
    }
    match expr {
        Expr::Log(log) => log_at(log, level),
        Expr::Range(e) => {
            let mut out = format!("{pad}{}(\n", e.op.as_str());
            if let Some(param) = e.param {
                out.push_str(&format!("{}{param},\n", indent(level + 1)));
            }
            out.push_str(&range_at(&e.range, level + 1));
            out.push_str(&format!("\n{pad})"));
            if let Some(grouping) = &e.grouping {
                out.push_str(&format!(" {}", grouping.text(", ")));
            }
            out
        }
        Expr::Aggregate(e) => {
            let mut out = format!("{pad}{}", e.op.as_str());
            if let Some(grouping) = &e.grouping {
                out.push_str(&format!(" {}", grouping.text(", ")));
            }
            out.push_str("(\n");
            if let Some(param) = e.param {
                out.push_str(&format!("{}{param},\n", indent(level + 1)));
            }
            format!("{out}{}\n{pad})", at(&e.inner, level + 1))
        }
        Expr::Binary(e) => format!(
            "{}\n{pad}{}\n{}",
            at(&e.left, level + 1),
            e.op_text(),
            at(&e.right, level + 1)
        ),
        Expr::LabelReplace(e) => {
            let inner = indent(level + 1);
            let texts: Vec<_> = [&e.text.dst, &e.text.replacement, &e.text.src, &e.text.regex]
                .iter()
                .map(|text| format!("{inner}{}", quote(text)))
                .collect();
            format!(
                "{pad}label_replace(\n{},\n{}\n{pad})",
                at(&e.inner, level + 1),
                texts.join(",\n")
            )
        }
        Expr::Variants(e) => {
            let variants: Vec<_> = e.variants.iter().map(|v| at(v, level + 1)).collect();
            format!(
                "{pad}variants(\n{}\n{pad}) of (\n{}\n{pad})",
                variants.join(",\n"),
                range_at(&e.of, level + 1)
            )
        }
        Expr::Vector(_) | Expr::Literal(_) => format!("{pad}{one_line}"),
    }
}

fn log_at(log: &LogExpr, level: usize) -> String {
    let mut out = format!("{}{}", indent(level), selector(&log.matchers));
    for stage in &log.stages {
        out.push_str(&format!("\n{}{stage}", indent(level + 1)));
    }
    out
}

fn range_at(range: &LogRange, level: usize) -> String {
    let one_line = range.to_string();
    if one_line.len() <= MAX_LINE {
        return format!("{}{one_line}", indent(level));
    }
    let mut out = log_at(&range.log, level);
    if let Some(unwrap) = &range.unwrap {
        out.push_str(&format!("\n{}{unwrap}", indent(level + 1)));
    }
    format!("{out} {}", range.range_text())
}
