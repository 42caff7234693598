//! Matchers → ids.
//!
//! Matchers that name their values (`=`, alternations of literals) are intersected first; a pattern with a literal prefix reads only the values in
//! the sorted range of that prefix. What is left is decided by the cheaper of two ways: over the values of the label, or over the candidates so far.

use roaring::RoaringBitmap;

use super::postings::{Postings, union};
use super::{Index, Name};
use crate::model::{MatchOp, Matcher};

/// Unsorted values that are searched one by one rather than sorted in.
const MAX_UNSORTED: usize = 64;

impl Index {
    /// Whether [`Self::sort_for`] would make these matchers cheaper.
    #[must_use]
    pub fn wants_sort_for(&self, matchers: &[Matcher]) -> bool {
        let wants = |m: &Matcher| {
            !m.prefix().is_empty()
                && m.set().is_empty()
                && self
                    .name(m.name())
                    .is_some_and(|n| n.pairs.len() - n.sorted > MAX_UNSORTED)
        };
        matchers.iter().any(wants)
    }

    /// Sorts the values of the labels that are searched by a prefix.
    pub fn sort_for(&mut self, matchers: &[Matcher]) {
        for m in matchers.iter().filter(|m| !m.prefix().is_empty()) {
            let Some(symbol) = self.symbols.find(m.name()) else {
                continue;
            };
            let Some(&at) = self.by_name.get(&symbol) else {
                continue;
            };
            let (symbols, all) = (&self.symbols, &self.pairs);
            let name = &mut self.names[at as usize];
            // Mostly sorted already: a merging sort takes the runs as they are.
            name.pairs.sort_by(|&a, &b| {
                symbols
                    .text(all[a as usize].value)
                    .cmp(symbols.text(all[b as usize].value))
            });
            name.sorted = name.pairs.len();
        }
    }

    /// The ids that pass all matchers.
    #[must_use]
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        let Ways {
            named,
            scans,
            complements,
        } = Ways::of(matchers);
        for (m, values) in named {
            self.intersect_values(&mut found, m.name(), &values);
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return RoaringBitmap::new();
            }
        }
        for m in scans {
            let Some(name) = self.name(m.name()) else {
                return RoaringBitmap::new();
            };
            found = Some(match found {
                Some(ids) if ids.len() < name.pairs.len() as u64 => self.filter(&ids, m),
                ids => {
                    let matching = self.matching(name, m, true);
                    match ids {
                        Some(ids) => ids & matching,
                        None => matching,
                    }
                }
            });
        }
        let everything = || {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..self.len() as u32);
            all
        };
        let mut ids = found.unwrap_or_else(everything);
        for m in complements {
            let Some(name) = self.name(m.name()) else {
                continue;
            };
            if ids.len() < name.pairs.len() as u64 {
                ids = self.filter(&ids, m);
            } else {
                ids -= self.matching(name, m, false);
            }
        }
        ids
    }

    fn intersect_values(&self, found: &mut Option<RoaringBitmap>, name: &str, values: &[&str]) {
        let pairs: Vec<&Postings> = values
            .iter()
            .filter_map(|value| self.find_pair(name, value))
            .map(|p| &self.pairs[p as usize].postings)
            .collect();
        match (found.as_mut(), &pairs[..]) {
            (None, [one]) => *found = Some(one.to_bitmap()),
            (Some(ids), [one]) => one.intersect_into(ids),
            (None, _) => *found = Some(union(pairs.into_iter())),
            (Some(ids), _) => *ids &= union(pairs.into_iter()),
        }
    }

    /// Those of the candidates that pass, checked one by one.
    fn filter(&self, ids: &RoaringBitmap, m: &Matcher) -> RoaringBitmap {
        let passes = |id: &u32| m.matches(self.value(*id, m.name()).unwrap_or(""));
        ids.iter().filter(passes).collect()
    }

    /// The ids that have a value of the name for which the matcher says `pass`.
    fn matching(&self, name: &Name, m: &Matcher, pass: bool) -> RoaringBitmap {
        let postings = |&p: &u32| &self.pairs[p as usize].postings;
        let text = |p: u32| self.symbols.text(self.pairs[p as usize].value);
        // A matcher and its negation describe the same values.
        let described = pass != m.op().is_negative();
        if let Some(values) = named_values(m) {
            if described {
                let pairs: Vec<u32> = values
                    .iter()
                    .filter_map(|value| self.find_pair(m.name(), value))
                    .collect();
                return union(pairs.iter().map(postings));
            }
            let others = name.pairs.iter().filter(|p| !values.contains(&text(**p)));
            return union(others.map(postings));
        }
        if described && m.value() == ".+" {
            return union(name.pairs.iter().map(postings));
        }
        let wanted = |p: &&u32| m.matches(text(**p)) == pass;
        let (mut sorted, rest) = name.pairs.split_at(name.sorted);
        if described {
            sorted = self.prefix_range(sorted, m.prefix());
        }
        union(sorted.iter().chain(rest).filter(wanted).map(postings))
    }

    /// The part of pairs sorted by value whose values start with a prefix.
    fn prefix_range<'a>(&self, pairs: &'a [u32], prefix: &str) -> &'a [u32] {
        let value = |p: &u32| self.symbols.text(self.pairs[*p as usize].value);
        let start = pairs.partition_point(|p| value(p) < prefix);
        let rest = &pairs[start..];
        let end = rest.partition_point(|p| value(p).starts_with(prefix));
        &rest[..end]
    }
}

/// Matchers by the way in which they are looked up, in this order.
pub(crate) struct Ways<'m> {
    /// Those that name their values.
    pub(crate) named: Vec<(&'m Matcher, Vec<&'m str>)>,
    /// Others that no label set passes which lacks the label.
    pub(crate) scans: Vec<&'m Matcher>,
    /// Those that a label set passes which lacks the label: what has a value that they do not match is taken away.
    pub(crate) complements: Vec<&'m Matcher>,
}

impl<'m> Ways<'m> {
    /// Leaves out what everything passes.
    pub(crate) fn of(matchers: &'m [Matcher]) -> Self {
        let mut ways = Self {
            named: Vec::new(),
            scans: Vec::new(),
            complements: Vec::new(),
        };
        for m in matchers {
            if m.op() == MatchOp::Regex && m.value() == ".*" {
                continue;
            }
            if m.matches_empty() {
                ways.complements.push(m);
                continue;
            }
            match named_values(m).filter(|_| !m.op().is_negative()) {
                Some(values) => ways.named.push((m, values)),
                None => ways.scans.push(m),
            }
        }
        ways
    }
}

/// The values a matcher (or its negation) describes, where it names them.
pub(crate) fn named_values(m: &Matcher) -> Option<Vec<&str>> {
    match m.op() {
        MatchOp::Equal | MatchOp::NotEqual => Some(vec![m.value()]),
        MatchOp::Regex | MatchOp::NotRegex if !m.set().is_empty() => {
            Some(m.set().iter().map(String::as_str).collect())
        }
        MatchOp::Regex | MatchOp::NotRegex => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Labels;

    /// Of names and values that few series have, so that some match.
    pub(crate) fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let value = prop_oneof![
            Just(""),
            Just("v1"),
            Just("v1|v2"),
            Just("v19|v2|v3"),
            Just("v1|"),
            Just("v.*"),
            Just(".*"),
            Just(".+"),
            Just("v1.+"),
            Just("v(11|2.)"),
            Just("a|z"),
            Just(".*3"),
            Just("nothing"),
        ];
        let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("absent")];
        (op, name, value).prop_map(|(op, name, value)| Matcher::new(op, name, value).unwrap())
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_checking_every_set(
            sets in proptest::collection::vec((0_u32..20, 0_u32..200, 0_u32..3), 0..300),
            matchers in proptest::collection::vec(any_matcher(), 0..4),
            sort in any::<bool>(),
        ) {
            let mut index = Index::new(3);
            let mut all = Vec::new();
            for (a, b, c) in sets {
                let texts = [("a", a), ("b", b), ("c", c)].map(|(n, v)| (n, if v == 0 { String::new() } else { format!("v{v}") }));
                let labels: Vec<_> = texts.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (*n, v.as_str())).collect();
                if index.insert(&labels).1 {
                    all.push(Labels::from_pairs(labels));
                }
            }
            if sort {
                index.sort_for(&matchers);
            }
            let expected: Vec<u32> = (0..all.len() as u32)
                .filter(|&i| matchers.iter().all(|m| m.matches_labels(&all[i as usize])))
                .collect();
            prop_assert_eq!(index.select(&matchers).iter().collect::<Vec<_>>(), expected);
        }
    }
}
