//! Rewrites an expression so that every selector and outermost subquery is fixed to one time with
//! `@`: evaluated at any other time it must then say the same.
//!
//! This works on tokens, not on a syntax tree: the server's parser is under test and cannot help.

/// What depends on the time of evaluation whatever the selectors say.
const UNSAFE: [&str; 12] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    // Its second argument looks like a selector and takes no modifier.
    "info",
];

/// Words that are no metric names where they stand alone.
const KEYWORDS: [&str; 19] = [
    "and",
    "or",
    "unless",
    "atan2",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "inf",
    "nan",
    "fill",
    "fill_left",
    "fill_right",
    "anchored",
    "smoothed",
];

/// Keywords that a list of labels in parentheses follows.
const LISTS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// A token: where it begins and ends, and its text.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    start: usize,
    end: usize,
    text: &'a str,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.')
}

/// The tokens of an expression. Braces and brackets with all that is in them are one token each.
fn tokens(expr: &str) -> Option<Vec<Token<'_>>> {
    let mut out = Vec::new();
    let mut rest = expr;
    while let Some(c) = rest.chars().next() {
        let start = expr.len() - rest.len();
        let length = match c {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '#' => {
                let length = rest.find('\n').unwrap_or(rest.len());
                rest = &rest[length..];
                continue;
            }
            '"' | '\'' | '`' => string_length(rest)?,
            '{' | '[' => group_length(rest)?,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        out.push(Token {
            start,
            end: start + length,
            text: &rest[..length],
        });
        rest = &rest[length..];
    }
    Some(out)
}

fn string_length(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            chars.next();
        } else if c == quote {
            return Some(i + 1);
        }
    }
    None
}

fn group_length(text: &str) -> Option<usize> {
    let (open, close) = if text.starts_with('{') {
        ('{', '}')
    } else {
        ('[', ']')
    };
    let mut depth = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if matches!(c, '"' | '\'' | '`') {
            at += string_length(&text[at..])?;
            continue;
        }
        at += c.len_utf8();
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Where the operand that ends at token `last` begins: a selector, or a call or parenthesis.
fn operand_start(tokens: &[Token<'_>], last: usize) -> Option<usize> {
    if tokens[last].text == ")" {
        let mut depth = 0;
        for i in (0..=last).rev() {
            match tokens[i].text {
                ")" => depth += 1,
                "(" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let named = i > 0
                    && tokens[i - 1]
                        .text
                        .starts_with(|c: char| c.is_ascii_alphabetic());
                return Some(if named { i - 1 } else { i });
            }
        }
        return None;
    }
    let braces = tokens[last].text.starts_with('{');
    let named = braces && last > 0 && is_name(tokens[last - 1].text);
    Some(if named { last - 1 } else { last })
}

fn is_name(text: &str) -> bool {
    let keyword = KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(text));
    text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':')) && !keyword
}

/// Whether the modifiers that begin at token `from` hold an `@`.
fn has_at(tokens: &[Token<'_>], from: usize) -> bool {
    let mut i = from;
    while let Some(token) = tokens.get(i) {
        match token.text.to_ascii_lowercase().as_str() {
            "@" => return true,
            "anchored" | "smoothed" => i += 1,
            "offset" => {
                // A sign and a number, or an expression in parentheses.
                i += 1;
                while tokens.get(i).is_some_and(|t| matches!(t.text, "-" | "+")) {
                    i += 1;
                }
                if tokens.get(i + 1).is_some_and(|t| t.text == "(") {
                    i += 1;
                }
                if tokens.get(i).is_some_and(|t| t.text == "(") {
                    let mut depth = 0;
                    while let Some(token) = tokens.get(i) {
                        depth += match token.text {
                            "(" => 1,
                            ")" => -1,
                            _ => 0,
                        };
                        if depth == 0 {
                            break;
                        }
                        i += 1;
                    }
                }
                i += 1;
            }
            _ => return false,
        }
    }
    false
}

/// The expression with `@ at_ms` on every selector that has none; nothing where there is no selector
/// to fix, or where the value depends on the time of evaluation in other ways.
pub(super) fn fixed(expr: &str, at_ms: i64) -> Option<String> {
    let tokens = tokens(expr)?;
    // A call, or an aggregation whose grouping comes first.
    let called = |i: usize| {
        tokens.get(i + 1).is_some_and(|t| {
            t.text == "("
                || ["by", "without"]
                    .iter()
                    .any(|w| w.eq_ignore_ascii_case(t.text))
        })
    };
    if (0..tokens.len()).any(|i| called(i) && UNSAFE.contains(&tokens[i].text)) {
        return None;
    }
    // Token after which the time goes, with the first token of what it fixes.
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let text = tokens[i].text;
        if LISTS.iter().any(|l| l.eq_ignore_ascii_case(text)) && called(i) {
            i += tokens[i..].iter().position(|t| t.text == ")")? + 1;
            continue;
        }
        if text == "@" {
            // The time, or start() and end().
            i += 2;
            continue;
        }
        let selector = text.starts_with('{') || (is_name(text) && !called(i));
        let bracketed = i > 0 && text.starts_with('[');
        if !selector && !bracketed {
            i += 1;
            continue;
        }
        let begin = if selector {
            i
        } else {
            operand_start(&tokens, i - 1)?
        };
        let mut last = i;
        if selector
            && !text.starts_with('{')
            && tokens.get(i + 1).is_some_and(|t| t.text.starts_with('{'))
        {
            last += 1;
        }
        let bracket = |i: usize| tokens.get(i).is_some_and(|t| t.text.starts_with('['));
        let subquery = |i: usize| bracket(i) && tokens[i].text.contains(':');
        if selector && bracket(last + 1) && !subquery(last + 1) {
            last += 1;
        }
        if selector && subquery(last + 1) {
            // The subquery is fixed, not what is in it.
            last += 1;
        }
        // What lies within a subquery stays as it is, whether that has a time already or not.
        if subquery(last) {
            places.retain(|(_, first)| *first < begin);
        }
        if !has_at(&tokens, last + 1) {
            places.push((last, begin));
        }
        i = last + 1;
    }
    if places.is_empty() {
        return None;
    }
    let mut out = String::new();
    let mut from = 0;
    let sign = if at_ms < 0 { "-" } else { "" };
    let time = format!(" @ {sign}{}.{:03}", at_ms.abs() / 1000, at_ms.abs() % 1000);
    for (last, _) in places {
        let end = tokens[last].end;
        out.push_str(&expr[from..end]);
        out.push_str(&time);
        from = end;
    }
    debug_assert!(tokens.first().is_none_or(|t| t.start <= from));
    out.push_str(&expr[from..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_and_outermost_subqueries_are_fixed() {
        let cases = [
            ("a", Some("a @ 5.000")),
            (
                "a{b=\"c\"} + {d=\"e}\"}",
                Some("a{b=\"c\"} @ 5.000 + {d=\"e}\"} @ 5.000"),
            ),
            (
                "rate(a[5m] offset 1m)",
                Some("rate(a[5m] @ 5.000 offset 1m)"),
            ),
            ("sum by (x, y) (a)", Some("sum by (x, y) (a @ 5.000)")),
            ("sum(a) BY (x)", Some("sum(a @ 5.000) BY (x)")),
            (
                "a * on (x) group_left (y) b",
                Some("a @ 5.000 * on (x) group_left (y) b @ 5.000"),
            ),
            (
                "max_over_time(rate(a[1m])[5m:1m])",
                Some("max_over_time(rate(a[1m])[5m:1m] @ 5.000)"),
            ),
            (
                "sum_over_time(a{x=\"y\"}[5m:])",
                Some("sum_over_time(a{x=\"y\"}[5m:] @ 5.000)"),
            ),
            ("sum_over_time((a + b)[5m:] @ 3)", None),
            ("a @ 3", None),
            ("a @ start() + b", Some("a @ start() + b @ 5.000")),
            ("a offset 1m @ 3", None),
            (
                "a offset -(1m + 2m) + b",
                Some("a @ 5.000 offset -(1m + 2m) + b @ 5.000"),
            ),
            ("1 + 2", None),
            ("NaN == bool Inf", None),
            ("time() - a", None),
            (
                "label_replace(a, \"x\", \"$1\", \"y\", \"z\")",
                Some("label_replace(a @ 5.000, \"x\", \"$1\", \"y\", \"z\")"),
            ),
        ];
        for (expr, wanted) in cases {
            assert_eq!(fixed(expr, 5000).as_deref(), wanted, "{expr}");
        }
        assert_eq!(fixed("a", -1500).as_deref(), Some("a @ -1.500"));
    }
}
