//! Label sets of answers. Unlike a stream's labels they may hold empty values: a parser that is told
//! which labels to make sets the missing ones to nothing, and answers show that.

mod builder;

use std::fmt;
use std::sync::Arc;

use storage::model::Labels;

use crate::units::quote;

pub(crate) use builder::{Category, LabelBuilder};

/// Labels sorted by name, each name once. Clones share their memory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LabelSet(Arc<[(Box<str>, Box<str>)]>);

impl LabelSet {
    /// No labels.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(n, _)| (**n).cmp(name))
            .ok()
            .map(|at| &*self.0[at].1)
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These labels with one set; an empty value removes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        self.iter()
            .filter(|(n, _)| *n != name)
            .chain((!value.is_empty()).then_some((name, value)))
            .collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for LabelSet {
    /// In any order; of a name that comes twice the last counts.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut all: Vec<(&str, &str)> = pairs.into_iter().collect();
        if !all.is_sorted_by(|a, b| a.0 < b.0) {
            all.sort_by_key(|(name, _)| *name);
            all.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    kept.1 = later.1;
                }
                same
            });
        }
        Self(all.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl From<&Labels> for LabelSet {
    fn from(labels: &Labels) -> Self {
        labels.iter().collect()
    }
}

impl fmt::Display for LabelSet {
    /// `{a="b", c="d"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(
                f,
                "{}{name}={}",
                if i == 0 { "" } else { ", " },
                quote(value)
            )?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_stay_and_names_come_once() {
        let set: LabelSet = [("b", "1"), ("a", ""), ("b", "2")].into_iter().collect();
        assert_eq!(set.to_string(), r#"{a="", b="2"}"#);
        assert_eq!(set.get("a"), Some(""));
        assert_eq!(set.with("b", "").to_string(), r#"{a=""}"#);
    }
}
