//! Label matchers: `name="value"`, `!=`, `=~`, `!~`.

use std::fmt;

use regex::Regex;

use super::labels::Labels;
use super::regex_syntax::compile_anchored;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }

    /// Whether the matcher keeps what its value does not describe.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        matches!(self, Self::NotEqual | Self::NotRegex)
    }
}

/// A pattern that is no RE2 pattern. The text is worded as Go words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MatcherError(pub String);

/// One condition on one label. An absent label counts as the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    regex: Regex,
    /// The values that match, where the pattern is a plain alternation of literals.
    set: Vec<String>,
    /// What every match starts with.
    prefix: String,
}

impl Matcher {
    /// A matcher; a regular expression takes Go's RE2 syntax and must match the whole value.
    ///
    /// # Errors
    /// [`MatcherError`] where the pattern is none.
    pub fn new(
        op: MatchOp,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value)?),
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            pattern,
        })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            pattern: None,
        }
    }

    /// Name of the label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    #[must_use]
    pub const fn op(&self) -> MatchOp {
        self.op
    }

    /// The value, or the pattern as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a value passes; the empty value stands for an absent label.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match &self.pattern {
            None => (value == self.value) == (self.op == MatchOp::Equal),
            Some(p) => p.matches(value) == (self.op == MatchOp::Regex),
        }
    }

    /// Whether an absent label passes.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether a label set passes.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }

    /// The only values that the pattern (not its negation) admits, where it is a plain alternation of literals; else empty.
    #[must_use]
    pub fn set(&self) -> &[String] {
        self.pattern.as_ref().map_or(&[], |p| &p.set)
    }

    /// What every value that the pattern (not its negation) admits starts with; may be empty.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.pattern.as_ref().map_or("", |p| &p.prefix)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, MatcherError> {
        let regex = compile_anchored(text).map_err(MatcherError)?;
        let is_meta = |c: char| r"\.+*?()|[]{}^$".contains(c);
        let plain = !text.chars().any(|c| c != '|' && is_meta(c));
        let set = if plain {
            text.split('|').map(str::to_owned).collect()
        } else {
            Vec::new()
        };
        let prefix = match text.find(is_meta) {
            // The last character before a repetition is not certain, and an alternation has no common start.
            _ if text.contains('|') => String::new(),
            None => text.to_owned(),
            Some(end) => {
                let repeats = text[end..].starts_with(['?', '*', '{']);
                let mut chars = text[..end].chars();
                if repeats {
                    chars.next_back();
                }
                chars.as_str().to_owned()
            }
        };
        Ok(Self { regex, set, prefix })
    }

    fn matches(&self, value: &str) -> bool {
        if self.set.is_empty() {
            value.starts_with(&self.prefix) && self.regex.is_match(value)
        } else {
            self.set.iter().any(|s| s == value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, pattern: &str, value: &str) -> bool {
        Matcher::new(op, "l", pattern).unwrap().matches(value)
    }

    #[test]
    fn patterns_match_the_whole_value() {
        assert!(check(MatchOp::Regex, "a.c", "abc"));
        assert!(!check(MatchOp::Regex, "a.c", "xabc"));
        assert!(check(MatchOp::Regex, "a|b", "b"));
        assert!(!check(MatchOp::Regex, "a|b", "ab"));
        assert!(check(MatchOp::NotRegex, "a|b", "c"));
        assert!(check(MatchOp::Regex, "ab?c", "ac"));
        assert!(check(MatchOp::Regex, "a{0}b", "b"));
        assert!(check(MatchOp::Regex, "", ""));
        assert!(!check(MatchOp::Regex, "", "x"));
    }

    #[test]
    fn absent_labels_are_empty_values() {
        assert!(check(MatchOp::NotEqual, "a", ""));
        assert!(check(MatchOp::Regex, ".*", ""));
        assert!(!check(MatchOp::Regex, ".+", ""));
        assert!(Matcher::equal("l", "").matches_labels(&Labels::empty()));
    }
}
