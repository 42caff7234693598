//! Matchers → ids: an inverted index over label sets in memory, for heads and for the streams of a block of logs.
//!
//! ```text
//!  symbols   text ↔ number
//!  pairs     (name, value) → postings: ids of the label sets that have it
//!  sets      id → its pairs, in order of names
//!  lookup    matchers → ids
//! ```
//!
//! Invariant: ids are dense, in order of insertion; a label set has one id.

mod lookup;
mod postings;
mod symbols;

use hashbrown::{HashMap, HashTable};

use crate::model::Labels;
#[cfg(test)]
pub(crate) use lookup::tests::any_matcher;
pub(crate) use lookup::{Ways, named_values};
use postings::Postings;
use symbols::Symbols;

/// An inverted index over label sets.
#[derive(Debug)]
pub struct Index {
    symbols: Symbols,
    pairs: Vec<Pair>,
    /// Pairs by their symbols.
    by_pair: HashTable<u32>,
    names: Vec<Name>,
    /// Position in `names` by symbol.
    by_name: HashMap<u32, u32>,
    /// Pairs of all sets, one after the other.
    set_pairs: Vec<u32>,
    /// Ends of the sets in `set_pairs`.
    set_ends: Vec<u32>,
    /// Sets by their pairs.
    by_set: HashTable<u32>,
    postings_bytes: usize,
}

#[derive(Debug)]
struct Pair {
    name: u32,
    value: u32,
    postings: Postings,
}

/// The values of a label name.
#[derive(Debug)]
struct Name {
    symbol: u32,
    pairs: Vec<u32>,
    /// So many of `pairs` are sorted by value; later ones are in order of insertion.
    sorted: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Index {
    /// An empty index. The seed keeps a sender from making all its texts collide.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            symbols: Symbols::new(seed),
            pairs: Vec::new(),
            by_pair: HashTable::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            set_pairs: Vec::new(),
            set_ends: Vec::new(),
            by_set: HashTable::new(),
            postings_bytes: 0,
        }
    }

    /// Number of label sets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set_ends.len()
    }

    /// Whether there is no label set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set_ends.is_empty()
    }

    /// Number of distinct label pairs.
    #[must_use]
    pub fn pair_count(&self) -> usize {
        self.pairs.len()
    }

    /// Bytes held, closely enough for a budget.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let values: usize = self.pairs.len() * 2 * size_of::<u32>();
        self.symbols.held_bytes()
            + self.postings_bytes
            + self.pairs.capacity() * size_of::<Pair>()
            + (self.by_pair.capacity() + self.by_set.capacity()) * 6
            + (self.set_pairs.capacity() + self.set_ends.capacity()) * size_of::<u32>()
            + values
    }

    /// The id of a label set, given as pairs sorted by name; whether it is new.
    pub fn insert(&mut self, labels: &[(&str, &str)]) -> (u32, bool) {
        self.insert_near(labels, None)
    }

    /// As [`Self::insert`], which is quicker when most labels are those of `neighbour`, an id, at the same places.
    pub fn insert_near(&mut self, labels: &[(&str, &str)], neighbour: Option<u32>) -> (u32, bool) {
        let mut set = smallvec::SmallVec::<[u32; 32]>::new();
        for (i, (name, value)) in labels.iter().enumerate() {
            let near = neighbour.and_then(|id| self.pairs_of(id).get(i).copied());
            let shared = near.filter(|&pair| self.pair_text(pair) == (*name, *value));
            set.push(shared.unwrap_or_else(|| self.intern_pair(name, value)));
        }
        let hash = hash_set(&set);
        let (ends, all) = (&self.set_ends, &self.set_pairs);
        let found = self
            .by_set
            .find(hash, |&id| pairs_of(ends, all, id) == &set[..]);
        if let Some(&id) = found {
            return (id, false);
        }
        let id = self.set_ends.len() as u32;
        self.set_pairs.extend_from_slice(&set);
        self.set_ends.push(self.set_pairs.len() as u32);
        let (ends, all) = (&self.set_ends, &self.set_pairs);
        self.by_set
            .insert_unique(hash, id, |&id| hash_set(pairs_of(ends, all, id)));
        for &pair in &set {
            self.postings_bytes += self.pairs[pair as usize].postings.add(id);
        }
        (id, true)
    }

    /// The id of a label set.
    #[must_use]
    pub fn find<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<u32> {
        let mut set = smallvec::SmallVec::<[u32; 32]>::new();
        for (name, value) in labels {
            set.push(self.find_pair(name, value)?);
        }
        let same = |&id: &u32| self.pairs_of(id) == &set[..];
        self.by_set.find(hash_set(&set), same).copied()
    }

    /// A label set as labels. Allocates once.
    #[must_use]
    pub fn labels(&self, id: u32) -> Labels {
        Labels::from_sorted(self.iter_labels(id))
    }

    /// Names and values of a label set, in order of names.
    pub fn iter_labels(&self, id: u32) -> impl Iterator<Item = (&str, &str)> {
        self.pairs_of(id).iter().map(|&pair| self.pair_text(pair))
    }

    /// The value that a label set has for a name.
    #[must_use]
    pub fn value(&self, id: u32, name: &str) -> Option<&str> {
        let name = *self.by_name.get(&self.symbols.find(name)?)?;
        self.value_of(id, name)
    }

    /// For each id its place in the order of label sets (see [`Labels`]); sorts all pairs.
    #[must_use]
    pub fn sorted_ids(&self) -> Vec<u32> {
        let text = |p: u32| self.pair_text(p);
        let mut pairs: Vec<u32> = (0..self.pairs.len() as u32).collect();
        pairs.sort_unstable_by(|&a, &b| text(a).cmp(&text(b)));
        let mut rank = vec![0_u32; pairs.len()];
        for (i, &pair) in pairs.iter().enumerate() {
            rank[pair as usize] = i as u32;
        }
        let ranks = |id: u32| self.pairs_of(id).iter().map(|&p| rank[p as usize]);
        let mut ids: Vec<u32> = (0..self.len() as u32).collect();
        ids.sort_unstable_by(|&a, &b| ranks(a).cmp(ranks(b)));
        ids
    }

    /// All label names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| self.symbols.text(n.symbol))
    }

    /// All values of a name, in no order.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let pairs = self.name(name).map_or(&[][..], |n| &n.pairs);
        pairs
            .iter()
            .map(|&p| self.symbols.text(self.pairs[p as usize].value))
    }

    fn name(&self, name: &str) -> Option<&Name> {
        let at = *self.by_name.get(&self.symbols.find(name)?)?;
        Some(&self.names[at as usize])
    }

    fn pair_text(&self, pair: u32) -> (&str, &str) {
        let pair = &self.pairs[pair as usize];
        (self.name_text(pair.name), self.symbols.text(pair.value))
    }

    fn name_text(&self, name: u32) -> &str {
        self.symbols.text(self.names[name as usize].symbol)
    }

    fn pairs_of(&self, id: u32) -> &[u32] {
        pairs_of(&self.set_ends, &self.set_pairs, id)
    }

    fn value_of(&self, id: u32, name: u32) -> Option<&str> {
        let pair = |&p: &u32| &self.pairs[p as usize];
        let found = self
            .pairs_of(id)
            .iter()
            .map(pair)
            .find(|p| p.name == name)?;
        Some(self.symbols.text(found.value))
    }

    fn find_pair(&self, name: &str, value: &str) -> Option<u32> {
        let name = *self.by_name.get(&self.symbols.find(name)?)?;
        let value = self.symbols.find(value)?;
        let same = |&p: &u32| {
            let p = &self.pairs[p as usize];
            p.name == name && p.value == value
        };
        self.by_pair.find(hash_pair(name, value), same).copied()
    }

    fn intern_pair(&mut self, name: &str, value: &str) -> u32 {
        let symbol = self.symbols.intern(name);
        let value = self.symbols.intern(value);
        let name = *self.by_name.entry(symbol).or_insert_with(|| {
            self.names.push(Name {
                symbol,
                pairs: Vec::new(),
                sorted: 0,
            });
            self.names.len() as u32 - 1
        });
        let hash = hash_pair(name, value);
        let pairs = &self.pairs;
        let same = |&p: &u32| {
            let p = &pairs[p as usize];
            p.name == name && p.value == value
        };
        if let Some(&pair) = self.by_pair.find(hash, same) {
            return pair;
        }
        let id = self.pairs.len() as u32;
        self.pairs.push(Pair {
            name,
            value,
            postings: Postings::default(),
        });
        self.names[name as usize].pairs.push(id);
        let pairs = &self.pairs;
        self.by_pair.insert_unique(hash, id, |&p| {
            let p = &pairs[p as usize];
            hash_pair(p.name, p.value)
        });
        id
    }
}

fn pairs_of<'a>(ends: &[u32], all: &'a [u32], id: u32) -> &'a [u32] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &all[start as usize..ends[id] as usize]
}

fn hash_pair(name: u32, value: u32) -> u64 {
    mix(u64::from(name) << 32 | u64::from(value))
}

fn hash_set(pairs: &[u32]) -> u64 {
    let step = |hash: u64, &pair: &u32| mix(hash.rotate_left(5) ^ u64::from(pair));
    pairs.iter().fold(0x9e37_79b9_7f4a_7c15, step)
}

/// Spreads numbers that the index itself gave out: nobody outside can choose them.
const fn mix(n: u64) -> u64 {
    let wide = (n ^ 0x2d35_8dcc_aa6c_78a5) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
    (wide >> 64) as u64 ^ wide as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_set_has_one_id() {
        let mut index = Index::new(7);
        assert_eq!(index.insert(&[("a", "1"), ("b", "2")]), (0, true));
        assert_eq!(index.insert(&[("a", "1")]), (1, true));
        assert_eq!(index.insert(&[]), (2, true));
        assert_eq!(index.insert(&[("a", "1"), ("b", "2")]), (0, false));
        assert_eq!(index.find([("a", "1")]), Some(1));
        assert_eq!(index.find([("b", "2")]), None);
        assert_eq!(index.labels(0).to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(index.value(0, "b"), Some("2"));
        assert_eq!(index.value(1, "b"), None);
        assert_eq!(index.pair_count(), 2);
    }

    #[test]
    fn a_neighbour_changes_nothing_but_the_way() {
        let sets = [
            &[("__name__", "a"), ("job", "x"), ("le", "1")][..],
            &[("__name__", "a"), ("job", "x"), ("le", "2")],
            &[("__name__", "a"), ("job", "y"), ("le", "2")],
            &[("__name__", "a"), ("le", "x")],
            &[],
            &[("__name__", "a"), ("job", "x"), ("le", "1"), ("z", "1")],
            &[("__name__", "a"), ("job", "x"), ("le", "2")],
        ];
        let (mut alone, mut near) = (Index::new(1), Index::new(1));
        let mut last = None;
        for set in sets {
            let inserted = near.insert_near(set, last);
            assert_eq!(inserted, alone.insert(set));
            last = Some(inserted.0);
        }
        assert_eq!(near.pair_count(), alone.pair_count());
        for id in 0..near.len() as u32 {
            assert_eq!(near.labels(id), alone.labels(id));
        }
    }

    #[test]
    fn ids_sort_as_their_labels_do() {
        let sets = [
            &[("__name__", "b"), ("x", "1")][..],
            &[("__name__", "b")],
            &[("A", "z")],
            &[("__name__", "a"), ("x", "2")],
            &[],
            &[("__name__", "a"), ("x", "10")],
        ];
        let mut index = Index::new(0);
        for set in sets {
            index.insert(set);
        }
        let mut expected: Vec<Labels> = sets
            .iter()
            .map(|s| Labels::from_pairs(s.iter().copied()))
            .collect();
        expected.sort();
        let got: Vec<Labels> = index
            .sorted_ids()
            .iter()
            .map(|&i| index.labels(i))
            .collect();
        assert_eq!(got, expected);
    }
}
