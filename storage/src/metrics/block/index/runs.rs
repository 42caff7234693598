//! Ascending ids as runs. Neighbours in the order of labels share most labels, so a label pair's ids are few runs.
//!
//! A run is a LEB128 of the gap to the end of the run before, doubled, plus one if the run has more than one id; then, if so, a
//! LEB128 of its length less two.

use roaring::RoaringBitmap;

use crate::codec::ChunkError;
use crate::codec::varint;

/// Encodes ids as they come.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    bytes: Vec<u8>,
    /// End of the last run in `bytes`.
    written: u32,
    /// The run that may still grow; empty before the first id.
    open: std::ops::Range<u32>,
}

impl Runs {
    /// Adds an id greater than all before.
    pub(super) fn push(&mut self, id: u32) {
        if self.open.end == id && !self.open.is_empty() {
            self.open.end += 1;
            return;
        }
        self.close_run();
        self.open = id..id + 1;
    }

    /// The encoded runs.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.close_run();
        self.bytes
    }

    fn close_run(&mut self) {
        let ids = self.open.end - self.open.start;
        if ids == 0 {
            return;
        }
        let gap = u64::from(self.open.start - self.written) << 1;
        varint::put(&mut self.bytes, gap | u64::from(ids > 1));
        if ids > 1 {
            varint::put(&mut self.bytes, u64::from(ids - 2));
        }
        self.written = self.open.end;
    }
}

/// Calls a function with each run as first id and number of ids.
///
/// # Errors
/// `Truncated`, or `Number` when an id is more than 32 bits hold.
pub(super) fn each(mut bytes: &[u8], mut f: impl FnMut(u32, u32)) -> Result<(), ChunkError> {
    let mut end = 0_u64;
    while !bytes.is_empty() {
        let head = varint::take(&mut bytes)?;
        let ids = match head & 1 {
            0 => 1,
            _ => varint::take(&mut bytes)?.saturating_add(2),
        };
        let first = end + (head >> 1);
        end = first.saturating_add(ids);
        let (Ok(first), Ok(ids), true) = (
            u32::try_from(first),
            u32::try_from(ids),
            end <= u64::from(u32::MAX),
        ) else {
            return Err(ChunkError::Number);
        };
        f(first, ids);
    }
    Ok(())
}

/// Adds encoded ids, all of which have to be less than `end`, to a set. They are looked at before: a few bytes can be a run of all
/// ids that there are, and a set of these takes half a gigabyte.
///
/// # Errors
/// `Number` when one is not less; as [`each`].
pub(super) fn add_to(set: &mut RoaringBitmap, bytes: &[u8], end: u32) -> Result<(), ChunkError> {
    check(bytes, end)?;
    each(bytes, |first, ids| match ids {
        1 => {
            set.insert(first);
        }
        _ => {
            set.insert_range(first..first + ids);
        }
    })
}

/// Whether all encoded ids are less than `end`.
///
/// # Errors
/// `Number` when one is not; as [`each`].
pub(super) fn check(bytes: &[u8], end: u32) -> Result<(), ChunkError> {
    match last(bytes)? {
        Some(last) if last >= end => Err(ChunkError::Number),
        _ => Ok(()),
    }
}

/// The last encoded id.
///
/// # Errors
/// As [`each`].
fn last(bytes: &[u8]) -> Result<Option<u32>, ChunkError> {
    let mut last = None;
    each(bytes, |first, ids| last = Some(first + (ids - 1)))?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_read_back_as_written(ids in proptest::collection::btree_set(0_u32..200, 0..80), far in any::<bool>()) {
            let ids: Vec<u32> = ids.into_iter().map(|id| if far { u32::MAX - 300 + id } else { id }).collect();
            let mut runs = Runs::default();
            ids.iter().for_each(|&id| runs.push(id));
            let bytes = runs.finish();
            let mut set = RoaringBitmap::new();
            let end = ids.last().map_or(0, |last| last + 1);
            add_to(&mut set, &bytes, end).unwrap();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), ids.clone());
            prop_assert_eq!(last(&bytes).unwrap(), ids.last().copied());
            if let Some(last) = ids.last() {
                let refused = add_to(&mut RoaringBitmap::new(), &bytes, *last);
                prop_assert_eq!(refused, Err(ChunkError::Number));
            }
        }

        #[test]
        fn any_bytes_are_runs_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut end = 0_u64;
            let _ = each(&bytes, |first, ids| {
                assert!(ids > 0 && u64::from(first) >= end);
                end = u64::from(first) + u64::from(ids);
            });
        }
    }
}
