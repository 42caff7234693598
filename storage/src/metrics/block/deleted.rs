//! What tombstones hide of a block: ranges of time, series by series.

use std::sync::Arc;

use roaring::{MultiOps, RoaringBitmap};
use smallvec::SmallVec;

use super::index::{SeriesEntry, SeriesIndex};
use crate::block::Block;
use crate::error::Result;
use crate::model::MsRange;
use crate::tombstone::Tombstone;

/// Ranges of time that are hidden of one series; mostly none.
pub(in crate::metrics) type Hidden = SmallVec<[MsRange; 1]>;

/// Series of a block by their ids, and the range that one tombstone hides of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Deleted(Vec<(RoaringBitmap, MsRange)>);

impl Deleted {
    /// What some tombstones hide of a block.
    ///
    /// # Errors
    /// `Corrupt`, or what the object store says.
    pub(super) async fn of(
        block: &Arc<Block>,
        index: &SeriesIndex,
        tombstones: impl Iterator<Item = &Arc<Tombstone>>,
    ) -> Result<Self> {
        let mut hidden = Vec::new();
        for t in tombstones {
            let range = MsRange::new(t.span.min, t.span.max);
            let (candidates, undecided) = index.candidates(block, &t.matchers).await?;
            let mut ids = RoaringBitmap::new();
            let add = |id, entry: &SeriesEntry| {
                if entry.overlaps(range) && entry.passes(&undecided) {
                    ids.insert(id);
                }
            };
            index.visit(block, &candidates, add).await?;
            if !ids.is_empty() {
                hidden.push((ids, range));
            }
        }
        Ok(Self(hidden))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Series of which something is hidden, by their ids.
    pub(super) fn ids(&self) -> RoaringBitmap {
        self.0.iter().map(|(ids, _)| ids).union()
    }

    /// What is hidden of a series.
    pub(super) fn ranges(&self, id: u32) -> Hidden {
        let own = self.0.iter().filter(|(ids, _)| ids.contains(id));
        own.map(|(_, range)| *range).collect()
    }

    /// Whether all of a range of time is hidden of a series.
    pub(super) fn hides(&self, id: u32, range: MsRange) -> bool {
        let mut hidden = self.ranges(id);
        hidden.sort_unstable_by_key(|r| r.min_ms);
        let mut next_ms = range.min_ms;
        for r in hidden {
            if r.min_ms > next_ms {
                return false;
            }
            if r.max_ms >= range.max_ms {
                return true;
            }
            next_ms = next_ms.max(r.max_ms.saturating_add(1));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(ranges: &[(u32, i64, i64)]) -> Deleted {
        let one = |&(id, min, max): &(u32, i64, i64)| {
            (RoaringBitmap::from_iter([id]), MsRange::new(min, max))
        };
        Deleted(ranges.iter().map(one).collect())
    }

    #[test]
    fn ranges_that_follow_each_other_hide_as_one() {
        let check = |ranges: &[(u32, i64, i64)], (min, max), expected| {
            let found = deleted(ranges).hides(1, MsRange::new(min, max));
            assert_eq!(found, expected, "{ranges:?} over {min} to {max}");
        };
        check(&[], (1, 2), false);
        check(&[(1, 0, 10)], (0, 10), true);
        check(&[(1, 0, 10)], (0, 11), false);
        check(&[(1, 1, 10)], (0, 10), false);
        check(&[(1, 6, 10), (1, 0, 5)], (0, 10), true);
        check(&[(1, 7, 10), (1, 0, 5)], (0, 10), false);
        check(&[(1, 0, 9), (1, 2, 3), (1, 10, 10)], (0, 10), true);
        check(&[(1, 0, 5), (2, 6, 10)], (0, 10), false);
        check(&[(1, i64::MIN, i64::MAX)], (i64::MIN, i64::MAX), true);
    }
}
