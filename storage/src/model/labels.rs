//! Label sets: sorted by name, each name once, no empty value.
//!
//! Layout: for each label the name and the value, each as a LEB128 length and its bytes. One
//! allocation, shared by clones; equality and hash work on the bytes as they are, because equal
//! label sets have equal bytes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that holds the name of a metric.
pub const METRIC_NAME: &str = "__name__";

/// A label set. Clones share their memory. Ordered as Prometheus orders series: label by label, name before value.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<[u8]>);

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Labels {
    /// The empty label set.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::from(&[][..]))
    }

    /// A label set from pairs in any order. Empty values are dropped; of a name that comes twice the last counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }

    /// A label set from pairs that are already sorted by name, each name once, without empty values.
    /// That is the caller's promise; it is asserted in debug builds.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut bytes = Vec::with_capacity(128);
        #[cfg(debug_assertions)]
        let mut before: Option<&str> = None;
        for (name, value) in pairs {
            #[cfg(debug_assertions)]
            {
                assert!(
                    before.is_none_or(|b| b < name),
                    "labels out of order: {name}"
                );
                assert!(!value.is_empty(), "empty value of {name}");
                before = Some(name);
            }
            put(&mut bytes, name);
            put(&mut bytes, value);
        }
        Self(Arc::from(bytes))
    }

    /// The bytes described in the module's documentation: a key for maps and files.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A label set from bytes made by [`Self::as_bytes`]; `None` when they are anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut before: Option<&str> = None;
        while !rest.is_empty() {
            let name = take_checked(&mut rest)?;
            let value = take_checked(&mut rest)?;
            if value.is_empty() || before.is_some_and(|b| b >= name) {
                return None;
            }
            before = Some(name);
        }
        Some(Self(Arc::from(bytes)))
    }

    /// The labels in order of their names.
    #[must_use]
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// Number of labels. Linear.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a label. Linear.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// The name of the metric, if there is one.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// These labels but for the named ones.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        if !self.iter().any(|(n, _)| names.contains(&n)) {
            return self.clone();
        }
        Self::from_sorted(self.iter().filter(|(n, _)| !names.contains(n)))
    }

    /// Only the named ones of these labels.
    #[must_use]
    pub fn keep(&self, names: &[&str]) -> Self {
        Self::from_sorted(self.iter().filter(|(n, _)| names.contains(n)))
    }

    /// A builder that starts with these labels.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self
                .iter()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect(),
        }
    }

    /// A hash that depends on nothing but the labels, equal in every process.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// `{a="b", c="d"}`, values escaped as in PromQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// Iterates over the labels of a set, in order of their names.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        Some((take(&mut self.rest), take(&mut self.rest)))
    }
}

/// Collects labels in any order.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, each once.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(i) if value.is_empty() => {
                self.pairs.remove(i);
            }
            Ok(i) => value.clone_into(&mut self.pairs[i].1),
            Err(_) if value.is_empty() => {}
            Err(i) => self.pairs.insert(i, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let i = self
            .pairs
            .binary_search_by(|(n, _)| n.as_str().cmp(name))
            .ok()?;
        Some(&self.pairs[i].1)
    }

    /// The label set.
    #[must_use]
    pub fn finish(&self) -> Labels {
        Labels::from_sorted(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    let mut n = text.len();
    while n > 0x7f {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes.extend_from_slice(text.as_bytes());
}

fn take_checked<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (mut n, mut shift) = (0_usize, 0);
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        n |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let (text, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

#[expect(unsafe_code, reason = "argued below")]
fn take<'a>(rest: &mut &'a [u8]) -> &'a str {
    let (mut n, mut shift) = (0_usize, 0);
    while let Some((&byte, tail)) = rest.split_first() {
        *rest = tail;
        n |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    let (text, tail) = rest.split_at(n);
    *rest = tail;
    // SAFETY: the bytes of a `Labels` are private and come from `put`, which copies a whole `&str`
    // behind its length, or from `from_bytes`, which checked them; `n` is that length.
    unsafe { std::str::from_utf8_unchecked(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_writing_does_not_matter() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]);
        let b = Labels::from_pairs([("a", "1"), ("b", "2")]);
        assert_eq!(a, b);
        assert_eq!(a.stable_hash(), b.stable_hash());
        assert_eq!(a.to_string(), r#"{a="1", b="2"}"#);
    }

    #[test]
    fn labels_order_by_name_then_value() {
        let f = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(f(&[("a", "1")]) < f(&[("a", "1"), ("b", "1")]));
        assert!(f(&[("a", "2")]) < f(&[("b", "1")]));
        assert!(f(&[("a", "1"), ("z", "1")]) < f(&[("a", "2")]));
    }

    #[test]
    fn long_values_and_other_scripts_survive() {
        let long = "ü".repeat(20_000);
        let labels = Labels::from_pairs([("a", long.as_str()), ("b", "日本")]);
        assert_eq!(labels.get("a"), Some(long.as_str()));
        assert_eq!(labels.get("b"), Some("日本"));
        assert_eq!(Labels::from_bytes(labels.as_bytes()), Some(labels));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        for bytes in [
            &[1_u8][..],
            &[1, b'a', 0],
            &[1, 0xff, 1, b'x'],
            &[0xff; 9],
            &[1, b'b', 1, b'x', 1, b'a', 1, b'x'],
        ] {
            assert_eq!(Labels::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
