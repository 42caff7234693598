//! The ids that have one label pair. Most pairs of a fleet belong to one or a few series: those stay inline,
//! the rest are compressed bitmaps.

use roaring::RoaringBitmap;
use smallvec::SmallVec;

const INLINE: usize = 4;

/// Ascending ids.
#[derive(Debug)]
pub(super) enum Postings {
    Few(SmallVec<[u32; INLINE]>),
    Many(RoaringBitmap),
}

impl Default for Postings {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Postings {
    /// Adds an id greater than all before, or the last one again. Returns by how many bytes it grew, about.
    pub(super) fn add(&mut self, id: u32) -> usize {
        match self {
            Self::Few(ids) if ids.last() == Some(&id) => 0,
            Self::Few(ids) if ids.len() < INLINE => {
                ids.push(id);
                0
            }
            Self::Few(ids) => {
                let mut bitmap: RoaringBitmap = ids.iter().copied().collect();
                bitmap.insert(id);
                *self = Self::Many(bitmap);
                // A container and its first array of two-byte numbers.
                96
            }
            Self::Many(bitmap) => {
                bitmap.insert(id);
                2
            }
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Few(ids) => ids.iter().copied().collect(),
            Self::Many(bitmap) => bitmap.clone(),
        }
    }

    /// Leaves in a bitmap what is here too.
    pub(super) fn intersect_into(&self, bitmap: &mut RoaringBitmap) {
        match self {
            Self::Few(ids) => {
                let kept: RoaringBitmap = ids
                    .iter()
                    .copied()
                    .filter(|&i| bitmap.contains(i))
                    .collect();
                *bitmap = kept;
            }
            Self::Many(other) => *bitmap &= other,
        }
    }
}

/// All ids of several postings.
pub(super) fn union<'a>(all: impl Iterator<Item = &'a Postings>) -> RoaringBitmap {
    let mut bitmap = RoaringBitmap::new();
    let mut loose = Vec::new();
    for postings in all {
        match postings {
            Postings::Few(ids) => loose.extend_from_slice(ids),
            Postings::Many(other) => bitmap |= other,
        }
    }
    loose.sort_unstable();
    loose.dedup();
    if let Ok(sorted) = RoaringBitmap::from_sorted_iter(loose) {
        bitmap |= sorted;
    }
    bitmap
}
