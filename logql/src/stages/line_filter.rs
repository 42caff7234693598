//! `|= "a" or "b"`, `!=`, `|~`, `!~`, `|>`, `!>`, and `ip("..")` within them.

use std::borrow::Cow;

use memchr::memmem::Finder;
use regex::Regex;
use storage::model::compile_search;

use super::Stage;
use super::ip::IpRange;
use super::pattern::LinePattern;
use crate::ast::{LineFilter, LineOp, Needle};
use crate::labels::LabelBuilder;

/// A run of line filters: all must let the line through.
pub(super) struct LineFilters(Vec<Filter>);

struct Filter {
    negative: bool,
    any_of: Vec<Test>,
}

enum Test {
    Everything,
    NotEmpty,
    Contains(Box<Finder<'static>>),
    Regex(Regex),
    Pattern(LinePattern),
    Ip(IpRange),
}

impl LineFilters {
    pub(super) fn new(filters: &[LineFilter]) -> Result<Self, String> {
        let compiled = filters.iter().map(|f| {
            let any_of = f
                .any_of
                .iter()
                .map(|n| test(f.op, n))
                .collect::<Result<_, _>>()?;
            Ok(Filter {
                negative: f.op.is_negative(),
                any_of,
            })
        });
        compiled.collect::<Result<_, String>>().map(Self)
    }
}

fn test(op: LineOp, needle: &Needle) -> Result<Test, String> {
    if needle.ip {
        if !matches!(op, LineOp::Contains | LineOp::NotContains) {
            return Err("ip: invalid operation".to_owned());
        }
        return IpRange::new(&needle.text).map(Test::Ip);
    }
    Ok(match op {
        LineOp::Contains | LineOp::NotContains => {
            Test::Contains(Box::new(Finder::new(needle.text.as_bytes()).into_owned()))
        }
        LineOp::Regex | LineOp::NotRegex => match needle.text.as_str() {
            // Loki simplifies these two, and they take newlines then.
            ".*" => Test::Everything,
            ".+" => Test::NotEmpty,
            text => Test::Regex(compile(text)?),
        },
        LineOp::Pattern | LineOp::NotPattern => Test::Pattern(LinePattern::new(&needle.text)?),
    })
}

fn compile(text: &str) -> Result<Regex, String> {
    compile_search(text).map_err(|message| match reversed_range(text) {
        Some(range) => format!("error parsing regexp: invalid character class range: `{range}`"),
        None => message,
    })
}

/// `z-a` within a class, which the error names.
fn reversed_range(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.windows(3).find_map(|w| {
        let reversed =
            w[1] == '-' && w[0].is_alphanumeric() && w[2].is_alphanumeric() && w[0] > w[2];
        (reversed && text.contains('[')).then(|| w.iter().collect())
    })
}

impl Filter {
    fn passes(&self, line: &str) -> bool {
        let found = self.any_of.iter().any(|test| match test {
            Test::Everything => true,
            Test::NotEmpty => !line.is_empty(),
            Test::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            Test::Regex(regex) => regex.is_match(line),
            Test::Pattern(pattern) => pattern.matches(line),
            Test::Ip(range) => range.found_in(line),
        });
        found != self.negative
    }
}

impl Stage for LineFilters {
    fn admits(&self, line: &str) -> bool {
        self.0.iter().all(|filter| filter.passes(line))
    }

    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        _labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        self.admits(&line).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    fn passes(filters: &str, line: &str) -> bool {
        run(filters, line).is_some()
    }

    #[test]
    fn alternatives_are_joined_by_or() {
        assert!(passes(r#"|= "a" or "b""#, "xbx"));
        assert!(!passes(r#"!= "a" or "b""#, "xbx"));
        assert!(passes(r#"!= "a" or "b""#, "xyx"));
        assert!(passes(r#"|~ "q|(?i)B""#, "xbx"));
    }

    #[test]
    fn everything_contains_nothing() {
        assert!(passes(r#"|= """#, ""));
        assert!(!passes(r#"!= """#, "x"));
    }

    #[test]
    fn addresses_are_found_in_lines() {
        assert!(passes(r#"|= ip("10.0.0.0/16")"#, "from 10.0.3.4:80 x"));
        assert!(!passes(r#"|= ip("10.0.0.0/16")"#, "from 10.1.3.4:80 x"));
        assert!(passes(r#"|= ip("2001:db8::/32")"#, "from 2001:db8::5 x"));
        assert!(passes(r#"!= ip("10.0.0.1-10.0.0.9")"#, "none here"));
    }
}
