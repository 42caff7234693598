//! Where the pages of one row group of `samples.parquet` lie, so that reading a series needs no Parquet footer.

use parquet::file::metadata::ParquetMetaData;

use super::front;
use crate::codec::ChunkError;
use crate::codec::varint;
use crate::metrics::block::samples::{COLUMN_COUNT, COLUMNS};

/// A page of a column that holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metrics::block) struct PagePlace {
    pub(in crate::metrics::block) first_row: u64,
    pub(in crate::metrics::block) rows: u64,
    pub(in crate::metrics::block) offset: u64,
    pub(in crate::metrics::block) bytes: u64,
}

/// Rows of a row group, which no page of it has more of. Whoever unpacks a page makes room for its rows.
const MAX_PAGE_ROWS: u64 = 1 << 20;

/// The pages of a row group, column by column.
pub(in crate::metrics::block) type GroupPages = [Vec<PagePlace>; COLUMN_COUNT];

/// Row groups of a file: first row and pages of each; `None` when the file has no index of its pages.
pub(super) fn of_file(metadata: &ParquetMetaData) -> Option<Vec<(u64, GroupPages)>> {
    let mut groups = Vec::with_capacity(metadata.row_groups().len());
    let mut group_start = 0_u64;
    for (g, group) in metadata.row_groups().iter().enumerate() {
        let group_end = group_start + group.num_rows() as u64;
        let index = metadata.page_index()?;
        let mut pages = GroupPages::default();
        for (pages, column) in std::iter::zip(&mut pages, COLUMNS) {
            let locations = index.page_locations(g, column)?;
            let nulls = index.column_index(g, column);
            for (i, location) in locations.iter().enumerate() {
                if nulls.is_some_and(|n| n.is_null_page(i)) {
                    continue;
                }
                let first_row = group_start + location.first_row_index as u64;
                let end = locations
                    .get(i + 1)
                    .map_or(group_end, |next| group_start + next.first_row_index as u64);
                pages.push(PagePlace {
                    first_row,
                    rows: end.checked_sub(first_row)?,
                    offset: u64::try_from(location.offset).ok()?,
                    bytes: u64::try_from(location.compressed_page_size).ok()?,
                });
            }
        }
        groups.push((group_start, pages));
        group_start = group_end;
    }
    Some(groups)
}

/// Encodes the pages of a row group.
pub(super) fn encode(first_row: u64, group: &GroupPages) -> Vec<u8> {
    let mut out = Vec::new();
    for pages in group {
        varint::put(&mut out, pages.len() as u64);
        let (mut row, mut offset) = (first_row, 0);
        for page in pages {
            varint::put(&mut out, page.first_row - row);
            varint::put(&mut out, page.rows);
            varint::put(&mut out, page.offset - offset);
            varint::put(&mut out, page.bytes);
            row = page.first_row + page.rows;
            offset = page.offset + page.bytes;
        }
    }
    out
}

/// Decodes the pages of a row group.
///
/// # Errors
/// When they are not what [`encode`] makes.
pub(super) fn decode(first_row: u64, mut rest: &[u8]) -> Result<GroupPages, ChunkError> {
    let mut group = GroupPages::default();
    let add = |a: u64, b: u64| a.checked_add(b).ok_or(ChunkError::Number);
    for pages in &mut group {
        let count = front::take_count(&mut rest, 4)?;
        pages.reserve(count);
        let (mut row, mut offset) = (first_row, 0);
        for _ in 0..count {
            let page = PagePlace {
                first_row: add(row, varint::take(&mut rest)?)?,
                rows: varint::take(&mut rest)?,
                offset: add(offset, varint::take(&mut rest)?)?,
                bytes: varint::take(&mut rest)?,
            };
            if page.rows > MAX_PAGE_ROWS {
                return Err(ChunkError::Number);
            }
            row = add(page.first_row, page.rows)?;
            offset = add(page.offset, page.bytes)?;
            pages.push(page);
        }
    }
    match rest.is_empty() {
        true => Ok(group),
        false => Err(ChunkError::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back_as_written_and_cut_ones_do_not() {
        let page = |first_row, rows, offset, bytes| PagePlace {
            first_row,
            rows,
            offset,
            bytes,
        };
        let group: GroupPages = [
            vec![page(100, 8192, 4, 50), page(8292, 10, 54, 7)],
            vec![page(100, 8192, 61, 9000), page(8292, 10, 9061, 70)],
            vec![page(8292, 10, 9200, 3)],
        ];
        let bytes = encode(100, &group);
        assert_eq!(decode(100, &bytes).unwrap(), group);
        for cut in 0..bytes.len() {
            assert!(decode(100, &bytes[..cut]).is_err(), "{cut}");
        }
        assert!(decode(100, &[&bytes[..], &[0]].concat()).is_err());
        let large: GroupPages = [vec![page(0, 1 << 40, 4, 50)], vec![], vec![]];
        assert!(decode(0, &encode(0, &large)).is_err());
    }
}
