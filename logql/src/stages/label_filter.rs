//! `| a="b" and (c>1 or d=~"e")`: conditions on labels.

use std::borrow::Cow;

use storage::model::{MatchOp, Matcher};

use super::Stage;
use super::ip::IpRange;
use crate::ast::{CompareOp, LabelFilter};
use crate::labels::LabelBuilder;
use crate::units::{format_bytes, parse_bytes, parse_float, parse_go_duration};

const ERROR: &str = "LabelFilterErr";

/// A compiled condition.
pub(crate) struct Condition(Node);

enum Node {
    Text(Matcher),
    Simple(Matcher, Simple),
    Number(String, CompareOp, f64),
    Duration(String, CompareOp, i64),
    Bytes(String, CompareOp, u64),
    Ip(String, bool, IpRange),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

impl Condition {
    pub(crate) fn new(filter: &LabelFilter) -> Result<Self, String> {
        node(filter).map(Self)
    }

    /// Whether the line stays. A value that cannot be compared makes an error and stays.
    pub(crate) fn passes(&self, labels: &mut LabelBuilder) -> bool {
        self.0.passes(labels)
    }
}

fn node(filter: &LabelFilter) -> Result<Node, String> {
    Ok(match filter {
        LabelFilter::Text(matcher) => match Simple::of(matcher) {
            Some(simple) => Node::Simple(matcher.clone(), simple),
            None => Node::Text(matcher.clone()),
        },
        LabelFilter::Number(name, op, value) => Node::Number(name.clone(), *op, *value),
        LabelFilter::Duration(name, op, ns) => Node::Duration(name.clone(), *op, *ns),
        LabelFilter::Bytes(name, op, bytes) => {
            // Loki hands queries on as text, and its text rounds sizes: `1KiB` becomes `1.0kB`.
            let bytes = parse_bytes(&format_bytes(*bytes)).unwrap_or(*bytes);
            Node::Bytes(name.clone(), *op, bytes)
        }
        LabelFilter::Ip(name, equal, range) => Node::Ip(name.clone(), *equal, IpRange::new(range)?),
        LabelFilter::And(a, b) => Node::And(Box::new(node(a)?), Box::new(node(b)?)),
        LabelFilter::Or(a, b) => Node::Or(Box::new(node(a)?), Box::new(node(b)?)),
    })
}

/// A regular expression of literals and `.*` alone. Loki simplifies it as it does for lines, and so
/// `a.*` on a label asks whether the value contains `a` anywhere.
struct Simple {
    ignore_case: bool,
    any_of: Vec<Part>,
}

enum Part {
    Equals(String),
    Contains(String),
}

impl Simple {
    /// Nothing for expressions that Loki leaves alone: those without `.*`, or with anything else.
    fn of(matcher: &Matcher) -> Option<Self> {
        if !matches!(matcher.op(), MatchOp::Regex | MatchOp::NotRegex) {
            return None;
        }
        let (ignore_case, pattern) = match matcher.value().strip_prefix("(?i)") {
            Some(rest) => (true, rest),
            None => (false, matcher.value()),
        };
        let plain =
            |text: &str| !text.is_empty() && !text.contains(|c| r"\.+*?()|[]{}^$".contains(c));
        let mut any_of = Vec::new();
        let mut part = |text: &str, contains: bool| {
            let text = if ignore_case {
                text.to_lowercase()
            } else {
                text.to_owned()
            };
            any_of.push(if contains {
                Part::Contains(text)
            } else {
                Part::Equals(text)
            });
        };
        let bare = |text: &str| -> (String, bool) {
            let start = text.strip_prefix(".*").unwrap_or(text);
            let both = start.strip_suffix(".*").unwrap_or(start);
            (both.to_owned(), both.len() != text.len())
        };
        let (whole, open) = bare(pattern);
        if let Some(inside) = whole.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
            if !inside.split('|').all(plain) {
                return None;
            }
            inside.split('|').for_each(|text| part(text, open));
        } else {
            for alternative in pattern.split('|') {
                let (text, open) = bare(alternative);
                if !plain(&text) {
                    return None;
                }
                part(&text, open);
            }
        }
        let simplifies = any_of.iter().any(|p| matches!(p, Part::Contains(_)));
        simplifies.then_some(Self {
            ignore_case,
            any_of,
        })
    }

    fn matches(&self, value: &str) -> bool {
        let lower;
        let value = if self.ignore_case {
            lower = value.to_lowercase();
            &lower
        } else {
            value
        };
        self.any_of.iter().any(|part| match part {
            Part::Equals(text) => value == text,
            Part::Contains(text) => value.contains(text.as_str()),
        })
    }
}

/// The labels that a condition looks at.
pub(crate) fn names(filter: &LabelFilter, out: &mut Vec<String>) {
    match filter {
        LabelFilter::Text(matcher) => out.push(matcher.name().to_owned()),
        LabelFilter::Number(name, ..)
        | LabelFilter::Duration(name, ..)
        | LabelFilter::Bytes(name, ..)
        | LabelFilter::Ip(name, ..) => out.push(name.clone()),
        LabelFilter::And(a, b) | LabelFilter::Or(a, b) => {
            names(a, out);
            names(b, out);
        }
    }
}

impl Node {
    fn passes(&self, labels: &mut LabelBuilder) -> bool {
        match self {
            Self::Text(matcher) => matcher.matches(text(labels, matcher.name())),
            Self::Simple(matcher, simple) => {
                simple.matches(text(labels, matcher.name())) != matcher.op().is_negative()
            }
            Self::Number(name, op, wanted) => {
                compare(labels, name, parse_float, |value| op.holds(&value, wanted))
            }
            Self::Duration(name, op, wanted) => compare(labels, name, parse_go_duration, |value| {
                op.holds(&value, wanted)
            }),
            Self::Bytes(name, op, wanted) => {
                compare(labels, name, parse_bytes, |value| op.holds(&value, wanted))
            }
            Self::Ip(name, equal, range) => labels
                .get(name)
                .is_some_and(|value| range.found_in(value) == *equal),
            Self::And(a, b) => a.passes(labels) && b.passes(labels),
            Self::Or(a, b) => a.passes(labels) || b.passes(labels),
        }
    }
}

fn text<'l>(labels: &'l LabelBuilder, name: &str) -> &'l str {
    let value = match name {
        "__error__" => labels.error(),
        "__error_details__" => Some(labels.details()),
        name => labels.get(name),
    };
    value.unwrap_or("")
}

fn compare<T>(
    labels: &mut LabelBuilder,
    name: &str,
    parse: fn(&str) -> Result<T, String>,
    holds: impl Fn(T) -> bool,
) -> bool {
    let Some(text) = labels.get(name) else {
        return false;
    };
    match parse(text) {
        Ok(value) => holds(value),
        Err(details) => {
            labels.set_error(ERROR, &details);
            true
        }
    }
}

impl Stage for Condition {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        self.passes(labels).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    fn passes(filter: &str, line: &str) -> bool {
        run(&format!("| logfmt | {filter}"), line).is_some()
    }

    #[test]
    fn values_are_compared_by_their_kind() {
        assert!(passes("n>1.5e0", "n=2"));
        assert!(passes("d>=1s500ms", "d=2s"));
        assert!(passes("s>=1KiB", "s=1KB"));
        assert!(passes(r#"x!=ip("10.0.0.0/8")"#, "x=11.0.0.1"));
        assert!(!passes("n>1", "m=2"));
        assert!(passes("n<-400", "n=-401"));
    }

    #[test]
    fn plain_prefixes_are_looked_for_anywhere() {
        assert!(passes(r#"a=~"x.*""#, "a=yx"));
        assert!(!passes(r#"a!~"(x|z).*""#, "a=yx"));
        assert!(!passes(r#"a=~"x""#, "a=yx"));
        assert!(!passes(r#"a=~"x.""#, "a=yxy"));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(passes(r#"a="1" and b="1" or c="1""#, "c=1"));
        assert!(passes(r#"c="1" or a="1" and b="1""#, "c=1"));
        assert!(!passes(r#"(c="1" or a="1") and b="1""#, "c=1"));
        assert!(!passes(r#"c="1", b="1""#, "c=1"));
        assert!(!passes(r#"c="1" b="1""#, "c=1"));
    }

    #[test]
    fn what_cannot_be_compared_is_marked_and_stays() {
        assert_eq!(
            run("| logfmt | n>1", "n=x").unwrap().1,
            r#"{__error__="LabelFilterErr", __error_details__="strconv.ParseFloat: parsing \"x\": invalid syntax", app="a", n="x"}"#
        );
        assert!(!passes(r#"n>1 | __error__="""#, "n=x"));
    }
}
