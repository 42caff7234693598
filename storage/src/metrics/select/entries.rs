//! The label sets of a selection, each once, with the places that hold samples of it.
//!
//! Few are kept with their labels and rows. Where they are many, only the places are kept, some thirty bytes for each, and what a
//! block or a head says of them is looked up again when they are read: pages of series are read in their order, so that each is
//! unpacked once more and no more.

use std::collections::VecDeque;
use std::ops::Range;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use smallvec::{SmallVec, smallvec};

use super::Source;
use crate::budget::Reservation;
use crate::error::Result;
use crate::metrics::block::SeriesEntry;
use crate::metrics::runs::Run;
use crate::model::Labels;

/// Bytes added after which more memory is asked for.
pub(super) const DRAW_BYTES: u64 = 256 * 1024;
/// Bytes of label sets and rows from which on only places are kept. Tests have few series and are to see both.
const WHOLE_BYTES: u64 = if cfg!(test) { 2048 } else { 16 << 20 };

/// Where samples of a label set are.
#[derive(Debug)]
pub(in crate::metrics) enum Place {
    /// In a head, under its id there.
    Id { at: usize, id: u32 },
    /// In a block: its id and its rows of samples and of histograms.
    Rows {
        at: usize,
        id: u32,
        samples: Range<u64>,
        histograms: Range<u64>,
    },
    /// Copied from a head already.
    Copied {
        at: usize,
        id: u32,
        runs: SmallVec<[Run; 1]>,
    },
}

impl Place {
    /// A series of the block that is the source at a position.
    pub(in crate::metrics) fn of_block(at: usize, id: u32, entry: &SeriesEntry) -> Self {
        Self::Rows {
            at,
            id,
            samples: entry.rows.clone(),
            histograms: entry.histogram_rows.clone(),
        }
    }

    const fn key(&self) -> Key {
        let (Self::Id { at, id } | Self::Rows { at, id, .. } | Self::Copied { at, id, .. }) = self;
        Key {
            at: *at as u32,
            id: *id,
        }
    }
}

/// A label set and its places, oldest first.
#[derive(Debug)]
pub(in crate::metrics) struct Entry {
    pub(super) labels: Labels,
    pub(super) places: SmallVec<[Place; 1]>,
}

impl Entry {
    /// Rows of samples in blocks.
    pub(super) fn block_rows(&self) -> u64 {
        let rows = |place: &Place| match place {
            Place::Rows { samples, .. } => samples.end - samples.start,
            Place::Id { .. } | Place::Copied { .. } => 0,
        };
        self.places.iter().map(rows).sum()
    }
}

/// A series of a source, by the source's position and its id there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    at: u32,
    id: u32,
}

/// The places of label sets, without the label sets.
#[derive(Debug, Default)]
struct Places {
    list: Vec<SmallVec<[Key; 1]>>,
    /// By the hash of the labels. Two label sets with one hash are told apart when they are looked up.
    by_hash: HashMap<u64, u32>,
    copied: HashMap<Key, SmallVec<[Run; 1]>>,
}

impl Places {
    fn add(&mut self, hash: Option<u64>, place: Place) {
        let key = place.key();
        if let Place::Copied { runs, .. } = place {
            self.copied.insert(key, runs);
        }
        let at = match hash {
            Some(hash) => *self.by_hash.entry(hash).or_insert(self.list.len() as u32),
            None => self.list.len() as u32,
        };
        match self.list.get_mut(at as usize) {
            Some(keys) => keys.push(key),
            None => self.list.push(smallvec![key]),
        }
    }

    fn held_bytes(&self) -> u64 {
        let copied = self.copied.values().flatten().map(Run::held_bytes);
        let bytes = self.list.capacity() * size_of::<SmallVec<[Key; 1]>>()
            + self.by_hash.capacity() * 17
            + copied.sum::<usize>();
        bytes as u64
    }
}

/// Label sets, each once, in order of their first place.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Entries {
    list: Vec<Entry>,
    by_labels: HashMap<Labels, usize>,
    /// Takes the place of both where there are many.
    places: Option<Places>,
    sources: usize,
    bytes: u64,
    /// What was drawn from the budget for them, where they can be many.
    held: Option<Reservation>,
    drawn: u64,
}

impl Entries {
    /// For the label sets of so many sources; draws from a budget as they grow.
    pub(super) fn new(sources: usize, held: Reservation) -> Self {
        Self {
            sources,
            held: Some(held),
            ..Self::default()
        }
    }

    /// Adds a place of a label set.
    pub(in crate::metrics) fn add(&mut self, labels: Labels, place: Place) {
        self.count(&labels, &place);
        let at = *self
            .by_labels
            .entry(labels.clone())
            .or_insert(self.list.len());
        match self.list.get_mut(at) {
            Some(entry) => entry.places.push(place),
            None => self.list.push(Entry {
                labels,
                places: smallvec![place],
            }),
        }
    }

    /// Adds a label set that a source has once. Sources come in their order.
    pub(super) fn push(&mut self, labels: Labels, place: Place) -> Result<()> {
        let many = self.sources > 1;
        if let Some(places) = &mut self.places {
            places.add(many.then(|| labels.stable_hash()), place);
            self.bytes += (size_of::<SmallVec<[Key; 1]>>() + 17) as u64;
        } else if many {
            self.add(labels, place);
        } else {
            self.count(&labels, &place);
            self.list.push(Entry {
                labels,
                places: smallvec![place],
            });
        }
        if self.places.is_none() && self.bytes >= WHOLE_BYTES {
            self.keep_places();
        }
        match self.bytes.saturating_sub(self.drawn) < DRAW_BYTES {
            true => Ok(()),
            false => self.draw(),
        }
    }

    /// Goes over to places alone.
    fn keep_places(&mut self) {
        self.by_labels = HashMap::new();
        let many = self.sources > 1;
        let mut places = Places::default();
        for entry in std::mem::take(&mut self.list) {
            let hash = many.then(|| entry.labels.stable_hash());
            for place in entry.places {
                places.add(hash, place);
            }
        }
        self.bytes = places.held_bytes();
        self.drawn = self.bytes;
        if let Some(held) = &mut self.held {
            held.set(self.bytes);
        }
        self.places = Some(places);
    }

    fn count(&mut self, labels: &Labels, place: &Place) {
        let copied = match place {
            Place::Copied { runs, .. } => runs.iter().map(Run::held_bytes).sum(),
            Place::Id { .. } | Place::Rows { .. } => 0,
        };
        self.bytes += (labels.as_bytes().len() + size_of::<Entry>() + 16 + copied) as u64;
    }

    /// Draws what was added since the last time from the budget.
    fn draw(&mut self) -> Result<()> {
        if let Some(held) = &mut self.held {
            held.grow("query", self.bytes - self.drawn)?;
            self.drawn = self.bytes;
        }
        Ok(())
    }

    /// Number of label sets.
    pub(in crate::metrics) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub(in crate::metrics) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The label sets, where all are kept whole.
    pub(in crate::metrics) fn into_list(self) -> Vec<Entry> {
        self.list
    }

    /// All of them, to be taken one after the other.
    pub(super) fn drain(mut self) -> Result<Drain> {
        if let Some(places) = &mut self.places {
            places.by_hash = HashMap::new();
        }
        self.draw()?;
        let (places, copied) = match self.places {
            Some(places) => (places.list, places.copied),
            None => (Vec::new(), HashMap::new()),
        };
        Ok(Drain {
            ready: self.list.into(),
            places: places.into_iter(),
            copied,
            _held: self.held,
        })
    }
}

/// The label sets of a selection that have not been read yet.
#[derive(Debug)]
pub(super) struct Drain {
    ready: VecDeque<Entry>,
    places: std::vec::IntoIter<SmallVec<[Key; 1]>>,
    copied: HashMap<Key, SmallVec<[Run; 1]>>,
    _held: Option<Reservation>,
}

impl Drain {
    /// Rows of blocks that are still to be read; `None` where they are too many to be known.
    pub(super) fn block_rows(&self) -> Option<u64> {
        let is_whole = self.places.as_slice().is_empty();
        is_whole.then(|| self.ready.iter().map(Entry::block_rows).sum())
    }

    /// The next label sets: up to so many, and so many rows of blocks but for the last.
    ///
    /// # Errors
    /// `Corrupt`, or what the object store says.
    pub(super) async fn next(
        &mut self,
        sources: &[Source],
        series: usize,
        rows: u64,
    ) -> Result<Vec<Entry>> {
        if self.ready.is_empty() {
            let places: Vec<_> = self.places.by_ref().take(series).collect();
            self.ready = self.resolved(sources, &places).await?.into();
        }
        let (mut out, mut taken) = (Vec::new(), 0);
        while out.len() < series
            && taken < rows
            && let Some(entry) = self.ready.pop_front()
        {
            taken += entry.block_rows();
            out.push(entry);
        }
        Ok(out)
    }

    /// Looks up what the sources say of label sets of which only the places are known.
    async fn resolved(
        &mut self,
        sources: &[Source],
        places: &[SmallVec<[Key; 1]>],
    ) -> Result<Vec<Entry>> {
        let mut found: Vec<SmallVec<[Entry; 1]>> = Vec::new();
        found.resize_with(places.len(), SmallVec::new);
        for (at, source) in std::iter::zip(0_u32.., sources) {
            let keys = places.iter().enumerate().flat_map(|(i, keys)| {
                let own = keys.iter().filter(move |key| key.at == at);
                own.map(move |key| (key.id, i))
            });
            let mut wanted: Vec<(u32, usize)> = keys.collect();
            wanted.sort_unstable();
            match source {
                Source::Head(head) => {
                    let catalog = head.catalog.read();
                    for (id, i) in wanted {
                        let place = match self.copied.remove(&Key { at, id }) {
                            Some(runs) => Place::Copied {
                                at: at as usize,
                                id,
                                runs,
                            },
                            None => Place::Id {
                                at: at as usize,
                                id,
                            },
                        };
                        put(&mut found[i], catalog.index.labels(id), place);
                    }
                }
                Source::Block(block) => {
                    let ids: RoaringBitmap = wanted.iter().map(|(id, _)| *id).collect();
                    let mut wanted = wanted.into_iter().peekable();
                    let each = |id: u32, entry: &SeriesEntry| {
                        while let Some((_, i)) = wanted.next_if(|(w, _)| *w == id) {
                            let place = Place::of_block(at as usize, id, entry);
                            put(&mut found[i], entry.labels.clone(), place);
                        }
                    };
                    block.visit(&ids, each).await?;
                }
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// Adds a place to the label sets that have one hash: nearly always one.
fn put(entries: &mut SmallVec<[Entry; 1]>, labels: Labels, place: Place) {
    match entries.iter_mut().find(|e| e.labels == labels) {
        Some(entry) => entry.places.push(place),
        None => entries.push(Entry {
            labels,
            places: smallvec![place],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_with_one_hash_stay_apart() {
        let labels = ["a", "b"].map(|v| Labels::from_pairs([("name", v)]));
        let mut entries = SmallVec::new();
        for (id, of) in [(0, 0), (1, 1), (2, 0)] {
            put(&mut entries, labels[of].clone(), Place::Id { at: 0, id });
        }
        let found: Vec<_> = entries
            .iter()
            .map(|e| (&e.labels, e.places.len()))
            .collect();
        assert_eq!(found, [(&labels[0], 2), (&labels[1], 1)]);
    }

    #[test]
    fn many_label_sets_are_kept_as_places_and_counted_as_such() {
        let budget = crate::budget::Budget::new(1 << 20);
        let mut entries = Entries::new(2, budget.reserve("query", 0).unwrap());
        for at in 0..2 {
            for id in 0..100 {
                let labels = Labels::from_pairs([("number", id.to_string())]);
                entries.push(labels, Place::Id { at, id }).unwrap();
            }
        }
        assert!(entries.is_empty(), "no label set is kept");
        let drain = entries.drain().unwrap();
        assert_eq!(drain.block_rows(), None);
        let all: Vec<_> = drain.places.collect();
        assert_eq!(all.len(), 100);
        assert!(all.iter().all(|keys| keys.len() == 2));
    }
}
