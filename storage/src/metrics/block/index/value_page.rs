//! A page of values of one label, sorted, with the ids of the series that have each.
//!
//! Ids of few runs stand in the page; others lie behind it in the file, each on its own, in the order of the values.

use std::ops::Range;

use super::front::{self, Texts};
use crate::codec::ChunkError;
use crate::codec::varint;

/// Encoded ids of at most so many bytes stand in the page.
pub(super) const INLINE_BYTES: usize = if cfg!(test) { 8 } else { 1024 };

/// Where the ids of a value are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// In the page's own bytes.
    Inline(Range<usize>),
    /// So many bytes behind the end of the page, and so many of them.
    Outside(Range<u64>),
}

/// Values and where their ids are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ValuePage {
    /// All values, one after the other.
    text: String,
    /// Ends of the values in `text`.
    ends: Vec<usize>,
    ids: Vec<Ids>,
    /// The ids that stand in the page.
    inline: Vec<u8>,
}

/// Collects values of a page.
#[derive(Debug, Default)]
pub(super) struct ValuePageWriter {
    count: u64,
    values: Vec<u8>,
    inline: Vec<u8>,
    /// The value before.
    before: Vec<u8>,
}

impl ValuePageWriter {
    /// Adds a value whose ids are encoded as [`super::runs`] says.
    pub(super) fn push_inline(&mut self, value: &str, ids: &[u8]) {
        self.push(value, ids.len() as u64, false);
        self.inline.extend_from_slice(ids);
    }

    /// Adds a value whose ids take so many bytes behind the page.
    pub(super) fn push_outside(&mut self, value: &str, bytes: u64) {
        self.push(value, bytes, true);
    }

    fn push(&mut self, value: &str, bytes: u64, outside: bool) {
        self.count += 1;
        front::put(&mut self.values, &self.before, value.as_bytes());
        self.before.clear();
        self.before.extend_from_slice(value.as_bytes());
        varint::put(&mut self.values, bytes << 1 | u64::from(outside));
    }

    /// Bytes collected.
    pub(super) fn len(&self) -> usize {
        self.values.len() + self.inline.len()
    }

    /// The page.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() + 4);
        varint::put(&mut out, self.count);
        out.extend_from_slice(&self.values);
        out.extend_from_slice(&self.inline);
        out
    }
}

impl ValuePage {
    /// Decodes a page.
    ///
    /// # Errors
    /// When it is not what [`ValuePageWriter`] makes.
    pub(super) fn decode(mut rest: &[u8]) -> Result<Self, ChunkError> {
        let count = front::take_count(&mut rest, 3)?;
        let mut page = Self::default();
        let mut values = Texts::default();
        let (mut inline, mut outside) = (0_usize, 0_u64);
        for _ in 0..count {
            let value = values.take(&mut rest)?;
            let text = std::str::from_utf8(value).map_err(|_| ChunkError::Number)?;
            page.text.push_str(text);
            page.ends.push(page.text.len());
            let bytes = varint::take(&mut rest)?;
            if bytes & 1 == 1 {
                let end = outside.checked_add(bytes >> 1).ok_or(ChunkError::Number)?;
                page.ids.push(Ids::Outside(outside..end));
                outside = end;
            } else {
                let bytes = usize::try_from(bytes >> 1).map_err(|_| ChunkError::Number)?;
                let end = inline.checked_add(bytes).ok_or(ChunkError::Number)?;
                page.ids.push(Ids::Inline(inline..end));
                inline = end;
            }
        }
        if inline != rest.len() {
            return Err(ChunkError::Truncated);
        }
        page.inline = rest.to_vec();
        Ok(page)
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// One of them.
    pub(super) fn value(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[at]]
    }

    /// Where a value stands.
    pub(super) fn find(&self, value: &str) -> Option<usize> {
        let at = self.partition_point(|v| v < value);
        (at < self.len() && self.value(at) == value).then_some(at)
    }

    /// The first value for which a condition, which holds for values up to some point, does not hold.
    pub(super) fn partition_point(&self, holds: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match holds(self.value(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Where the ids of a value are.
    pub(super) fn ids(&self, at: usize) -> &Ids {
        &self.ids[at]
    }

    /// Encoded ids that stand in the page.
    pub(super) fn inline(&self, range: &Range<usize>) -> &[u8] {
        &self.inline[range.clone()]
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>()
            + self.text.capacity()
            + self.inline.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.ids.capacity() * size_of::<Ids>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_reads_back_as_written(values in proptest::collection::btree_map("[a-c]{0,6}", (any::<bool>(), 0_usize..20), 0..30)) {
            let mut writer = ValuePageWriter::default();
            for (value, (outside, bytes)) in &values {
                match outside {
                    true => writer.push_outside(value, *bytes as u64),
                    false => writer.push_inline(value, &vec![*bytes as u8; *bytes]),
                }
            }
            let page = ValuePage::decode(&writer.finish()).unwrap();
            prop_assert_eq!(page.len(), values.len());
            let mut outside_end = 0;
            for (at, (value, (outside, bytes))) in values.iter().enumerate() {
                prop_assert_eq!(page.value(at), value);
                prop_assert_eq!(page.find(value), Some(at));
                match page.ids(at) {
                    Ids::Inline(range) => prop_assert!(!outside && page.inline(range) == vec![*bytes as u8; *bytes]),
                    Ids::Outside(range) => {
                        prop_assert!(*outside);
                        prop_assert_eq!(range.clone(), outside_end..outside_end + *bytes as u64);
                        outside_end = range.end;
                    }
                }
            }
            prop_assert_eq!(page.find("d"), None);
        }

        #[test]
        fn any_bytes_are_a_page_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = ValuePage::decode(&bytes);
        }
    }
}
