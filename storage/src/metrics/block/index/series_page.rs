//! A page of series: labels front coded, then their times and rows, column by column.

use std::ops::Range;

use super::front::{self, Texts};
use crate::codec::ChunkError;
use crate::codec::varint;
use crate::metrics::block::table::SeriesRow;
use crate::model::{Labels, Matcher, MsRange};

/// A series of a block: what is known without reading a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metrics) struct SeriesEntry {
    pub(in crate::metrics) labels: Labels,
    /// First and last time.
    pub(in crate::metrics) times: (i64, i64),
    /// Its rows in the table of samples, may be none.
    pub(in crate::metrics) rows: Range<u64>,
    /// Its rows in the table of histograms, may be none.
    pub(in crate::metrics) histogram_rows: Range<u64>,
}

impl SeriesEntry {
    /// Whether it may have a sample in a range of time.
    pub(in crate::metrics::block) fn overlaps(&self, range: MsRange) -> bool {
        range.overlaps(MsRange::new(self.times.0, self.times.1))
    }

    /// Whether all matchers match its labels.
    pub(in crate::metrics::block) fn passes(&self, matchers: &[&Matcher]) -> bool {
        let value = |m: &Matcher| self.labels.get(m.name()).unwrap_or("");
        matchers.iter().all(|m| m.matches(value(m)))
    }
}

/// More rows than any table has: whoever reckons with rows need not fear that a sum of their bytes overflows.
const MAX_ROWS: u64 = 1 << 48;

/// The series of one page, in order.
pub(super) type SeriesPage = Vec<SeriesEntry>;

/// Bytes that a decoded page holds.
pub(super) fn held_bytes(page: &SeriesPage) -> usize {
    let of = |e: &SeriesEntry| size_of::<SeriesEntry>() + e.labels.as_bytes().len() + 32;
    page.iter().map(of).sum()
}

/// Encodes rows of the series table that follow each other.
pub(super) fn encode(rows: &[SeriesRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 64);
    varint::put(&mut out, rows.len() as u64);
    let mut before: &[u8] = &[];
    for row in rows {
        let labels = row.labels.as_bytes();
        front::put(&mut out, before, labels);
        before = labels;
    }
    let mut min_ms = 0;
    for row in rows {
        varint::put_signed(&mut out, row.min_ms.wrapping_sub(min_ms));
        min_ms = row.min_ms;
    }
    for row in rows {
        varint::put(&mut out, row.max_ms.wrapping_sub(row.min_ms) as u64);
    }
    put_rows(&mut out, rows.iter().map(|r| (r.first_row, r.rows)));
    let histograms = rows
        .iter()
        .map(|r| (r.first_histogram_row, r.histogram_rows));
    put_rows(&mut out, histograms);
    out
}

/// Runs of rows follow each other: the first one's start says where all lie.
fn put_rows(out: &mut Vec<u8>, mut rows: impl Iterator<Item = (u64, u64)>) {
    let Some((first, n)) = rows.next() else {
        return;
    };
    varint::put(out, first);
    varint::put(out, n);
    rows.for_each(|(_, n)| varint::put(out, n));
}

/// Decodes a page.
///
/// # Errors
/// When it is not what [`encode`] makes.
pub(super) fn decode(mut rest: &[u8]) -> Result<SeriesPage, ChunkError> {
    // Shared and own bytes of the labels, two times, two numbers of rows.
    let count = front::take_count(&mut rest, 6)?;
    let mut page = SeriesPage::with_capacity(count);
    let mut texts = Texts::default();
    for _ in 0..count {
        let labels = texts.take(&mut rest)?;
        page.push(SeriesEntry {
            labels: Labels::from_bytes(labels).ok_or(ChunkError::Number)?,
            times: (0, 0),
            rows: 0..0,
            histogram_rows: 0..0,
        });
    }
    let mut min_ms = 0_i64;
    for entry in &mut page {
        min_ms = min_ms.wrapping_add(varint::take_signed(&mut rest)?);
        entry.times.0 = min_ms;
    }
    for entry in &mut page {
        let length = varint::take(&mut rest)? as i64;
        entry.times.1 = entry.times.0.wrapping_add(length);
    }
    take_rows(&mut rest, page.iter_mut().map(|e| &mut e.rows))?;
    take_rows(&mut rest, page.iter_mut().map(|e| &mut e.histogram_rows))?;
    match rest.is_empty() {
        true => Ok(page),
        false => Err(ChunkError::Number),
    }
}

fn take_rows<'p>(
    rest: &mut &[u8],
    mut all: impl Iterator<Item = &'p mut Range<u64>>,
) -> Result<(), ChunkError> {
    let Some(first) = all.next() else {
        return Ok(());
    };
    let mut start = varint::take(rest)?;
    for rows in std::iter::once(first).chain(all) {
        let end = start
            .checked_add(varint::take(rest)?)
            .filter(|end| *end <= MAX_ROWS)
            .ok_or(ChunkError::Number)?;
        *rows = start..end;
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(numbers: &[(i64, u32, u8, u8)]) -> Vec<SeriesRow> {
        let (mut row, mut histogram_row) = (7, 3);
        let mut all = Vec::new();
        for (i, &(min_ms, length, n, h)) in numbers.iter().enumerate() {
            all.push(SeriesRow {
                id: 0,
                labels: Labels::from_pairs([
                    ("__name__", "m".to_owned()),
                    ("n", format!("{i:05}")),
                ]),
                min_ms,
                max_ms: min_ms.saturating_add(i64::from(length)),
                first_row: row,
                rows: u64::from(n),
                first_histogram_row: histogram_row,
                histogram_rows: u64::from(h),
            });
            row += u64::from(n);
            histogram_row += u64::from(h);
        }
        all
    }

    proptest! {
        #[test]
        fn a_page_reads_back_as_written(numbers in proptest::collection::vec(any::<(i64, u32, u8, u8)>(), 0..40)) {
            let rows = rows(&numbers);
            let expected: SeriesPage = rows.iter().map(|r| SeriesEntry {
                labels: r.labels.clone(),
                times: (r.min_ms, r.max_ms),
                rows: r.first_row..r.first_row + r.rows,
                histogram_rows: r.first_histogram_row..r.first_histogram_row + r.histogram_rows,
            }).collect();
            prop_assert_eq!(decode(&encode(&rows)).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_a_page_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_cut_page_is_an_error(cut in 1_usize..200) {
            let bytes = encode(&rows(&[(1, 2, 3, 4); 9]));
            prop_assert!(decode(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
        }
    }
}
