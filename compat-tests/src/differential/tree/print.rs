//! Trees as PromQL text.

use std::fmt::{self, Display, Formatter, Write as _};

use super::{Expr, Grouping, Modifiers, Operator, Selector};

/// A text in double quotes, escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a label name may stand without quotes.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn label(name: &str) -> String {
    if is_plain(name) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn labels(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| label(name)).collect();
    format!("({})", names.join(", "))
}

impl Display for Modifiers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(word) = self.extended {
            write!(f, " {word}")?;
        }
        let at = self.at.as_ref().map(|at| format!(" @ {at}"));
        let at = at.unwrap_or_default();
        if self.at_first {
            f.write_str(&at)?;
        }
        if let Some(offset) = &self.offset {
            write!(f, " offset {offset}")?;
        }
        if self.at_first {
            return Ok(());
        }
        f.write_str(&at)
    }
}

impl Selector {
    /// Everything before a range.
    fn head(&self) -> String {
        let mut inside = Vec::new();
        let mut out = String::new();
        match &self.name {
            Some(name) if self.quoted => inside.push(quoted(name)),
            Some(name) => out.push_str(name),
            None => {}
        }
        for (name, op, value) in &self.matchers {
            inside.push(format!("{}{op}{}", label(name), quoted(value)));
        }
        if !inside.is_empty() || self.name.is_none() {
            let _ = write!(out, "{{{}}}", inside.join(","));
        }
        out
    }
}

impl Display for Operator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol)?;
        if self.bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            let word = if matching.on { "on" } else { "ignoring" };
            write!(f, " {word} {}", labels(&matching.labels))?;
            if let Some((side, include)) = &matching.group {
                write!(f, " {side} {}", labels(include))?;
            }
        }
        for (word, number) in &self.fills {
            write!(f, " {word} ({number})")?;
        }
        Ok(())
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = if self.without { "without" } else { "by" };
        write!(f, "{word} {}", labels(&self.labels))
    }
}

/// An operand; without parentheses only where it needs none, or `bare` says so.
fn operand(expr: &Expr, bare: bool) -> String {
    match expr {
        Expr::Binary { .. } | Expr::Signed { .. } if !bare => format!("({expr})"),
        _ => expr.to_string(),
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(text) | Self::Text(text) => f.write_str(text),
            Self::Instant(selector) => write!(f, "{}{}", selector.head(), selector.modifiers),
            Self::Range { selector, range } => {
                write!(f, "{}[{range}]{}", selector.head(), selector.modifiers)
            }
            Self::Subquery {
                inner,
                range,
                step,
                modifiers,
            } => {
                let step = step.as_deref().unwrap_or("");
                write!(f, "{}[{range}:{step}]{modifiers}", operand(inner, false))
            }
            Self::Call { name, args, .. } => {
                let args: Vec<String> = args.iter().map(Self::to_string).collect();
                write!(f, "{name}({})", args.join(", "))
            }
            Self::Aggregate {
                op,
                grouping,
                param,
                inner,
            } => {
                let param = param.as_ref().map(|param| format!("{param}, "));
                let param = param.unwrap_or_default();
                match grouping {
                    None => write!(f, "{op}({param}{inner})"),
                    Some(by) if by.behind => write!(f, "{op}({param}{inner}) {by}"),
                    Some(by) => write!(f, "{op} {by} ({param}{inner})"),
                }
            }
            Self::Signed { sign, inner } => write!(f, "{sign}{}", operand(inner, false)),
            Self::Binary { lhs, op, rhs } => {
                write!(
                    f,
                    "{} {op} {}",
                    operand(lhs, op.bare),
                    operand(rhs, op.bare)
                )
            }
            Self::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::tree::{Kind, Matching};

    fn metric(name: &str) -> Box<Expr> {
        Box::new(Expr::Instant(Selector {
            name: Some(name.to_owned()),
            ..Selector::default()
        }))
    }

    #[test]
    fn a_tree_prints_as_promql() {
        let selector = Selector {
            name: Some("a b".to_owned()),
            quoted: true,
            matchers: vec![("l.x".to_owned(), "!~", "\"\\.".to_owned())],
            modifiers: Modifiers {
                extended: Some("smoothed"),
                offset: Some("-1m".to_owned()),
                at: Some("end()".to_owned()),
                at_first: true,
            },
        };
        let rate = Expr::Call {
            name: "rate",
            returns: Kind::Vector,
            args: vec![Expr::Range {
                selector,
                range: "5m".to_owned(),
            }],
        };
        assert_eq!(
            rate.to_string(),
            r#"rate({"a b","l.x"!~"\"\\."}[5m] smoothed @ end() offset -1m)"#
        );
        let op = Operator {
            symbol: "*",
            matching: Some(Matching {
                on: true,
                labels: vec!["job".to_owned()],
                group: Some(("group_left", vec![])),
            }),
            fills: vec![("fill_left", "-1".to_owned())],
            ..Operator::default()
        };
        let product = |op: Operator| Expr::Binary {
            lhs: Box::new(Expr::Signed {
                sign: '-',
                inner: metric("x"),
            }),
            op,
            rhs: metric("y"),
        };
        assert_eq!(
            product(op.clone()).to_string(),
            "(-x) * on (job) group_left () fill_left (-1) y"
        );
        let bare = Operator { bare: true, ..op };
        assert!(product(bare).to_string().starts_with("-x * "));
    }
}
