//! Pages of a block's samples: fetched compressed, decoded when the first series that has rows in them is read.
//!
//! Neighbouring series share pages; each page is decoded once for all series of a batch.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::{OpenBlock, SAMPLES_FILE, reaches};
use crate::block::Block;
use crate::error::Result;
use crate::model::{MsRange, NO_START_MS, SampleBuf};
use crate::read::ReadError;

/// Positions of the columns in the schema.
const TIMES: usize = 1;
const VALUES: usize = 2;
const STARTS: usize = 3;

/// Fetched pages of three columns.
#[derive(Debug)]
pub(in crate::metrics) struct Pages {
    file: String,
    times: Vec<Page<i64>>,
    values: Vec<Page<f64>>,
    /// Only pages that hold a start timestamp.
    starts: Vec<Page<i64>>,
}

#[derive(Debug)]
struct Page<T> {
    first_row: u64,
    rows: usize,
    chunk: ColumnChunkMetaData,
    bytes: PageBytes,
    decoded: OnceLock<Result<Vec<T>, String>>,
}

/// Where a page lies in its file.
struct Place {
    first_row: u64,
    rows: usize,
    bytes: Range<u64>,
    chunk: ColumnChunkMetaData,
}

impl Pages {
    /// Fetches the pages that hold rows of ascending ranges.
    pub(super) async fn fetch(block: &Arc<Block>, rows: &[Range<u64>]) -> Result<Self> {
        let file = block.parquet(SAMPLES_FILE)?;
        let metadata = file.metadata().await?;
        let mut places = Vec::with_capacity(3);
        for column in [TIMES, VALUES, STARTS] {
            let found = find_pages(&metadata, column, rows).ok_or_else(|| {
                OpenBlock::corrupt(block, SAMPLES_FILE, "it has no index of its pages")
            })?;
            places.push(found);
        }
        let ranges: Vec<Range<u64>> = places.iter().flatten().map(|p| p.bytes.clone()).collect();
        let mut fetched = block.read_ranges(SAMPLES_FILE, ranges).await?.into_iter();
        let mut places = places.into_iter();
        let mut next = || places.next().unwrap_or_default();
        Ok(Self {
            file: format!("{}/{SAMPLES_FILE}", block.folder()),
            times: pages(next(), &mut fetched),
            values: pages(next(), &mut fetched),
            starts: pages(next(), &mut fetched),
        })
    }

    /// Bytes held, those of pages that will be decoded included.
    pub(in crate::metrics) fn held_bytes(&self) -> usize {
        fn of<T>(pages: &[Page<T>]) -> usize {
            pages.iter().map(|p| p.bytes.bytes.len() + p.rows * 8).sum()
        }
        of(&self.times) + of(&self.values) + of(&self.starts)
    }

    /// Adds the samples of rows that lie in a range of time to an empty buffer.
    pub(in crate::metrics) fn read(
        &self,
        rows: &Range<u64>,
        range: MsRange,
        out: &mut SampleBuf,
    ) -> Result<(), ReadError> {
        let fail = |e: String| ReadError(format!("{}: {e}", self.file));
        copy(&self.times, rows, None, decode_times, &mut out.t_ms).map_err(fail)?;
        // Only the wanted part of the other columns.
        let before = out.t_ms.partition_point(|&t| t < range.min_ms);
        let end = out.t_ms.partition_point(|&t| t <= range.max_ms);
        out.t_ms.truncate(end);
        out.t_ms.drain(..before.min(end));
        let rows = rows.start + before as u64..rows.start + end.max(before) as u64;
        copy(&self.values, &rows, None, decode_values, &mut out.values).map_err(fail)?;
        if self.starts.iter().any(|p| p.reaches(&rows)) {
            let absent = Some(NO_START_MS);
            copy(
                &self.starts,
                &rows,
                absent,
                decode_starts,
                &mut out.start_ms,
            )
            .map_err(fail)?;
            if out.start_ms.iter().all(|&s| s == NO_START_MS) {
                out.start_ms.clear();
            }
        }
        Ok(())
    }
}

impl<T> Page<T> {
    fn reaches(&self, rows: &Range<u64>) -> bool {
        self.first_row < rows.end && rows.start < self.first_row + self.rows as u64
    }
}

/// Adds rows of a column. Rows in no page are `absent`, or an error where there is no such value.
fn copy<T: Copy>(
    pages: &[Page<T>],
    rows: &Range<u64>,
    absent: Option<T>,
    decode: fn(&Page<T>) -> Result<Vec<T>, ParquetError>,
    out: &mut Vec<T>,
) -> Result<(), String> {
    let mut row = rows.start;
    let first = pages.partition_point(|p| p.first_row + p.rows as u64 <= rows.start);
    let mut rest = pages[first..].iter();
    while row < rows.end {
        let page = rest.next().filter(|p| p.first_row < rows.end);
        let gap_end = page.map_or(rows.end, |p| p.first_row.max(row));
        if gap_end > row {
            let absent = absent.ok_or_else(|| format!("row {row} is in no page"))?;
            out.resize(out.len() + (gap_end - row) as usize, absent);
            row = gap_end;
        }
        let Some(page) = page else {
            continue;
        };
        let decoded = page
            .decoded
            .get_or_init(|| match decode(page) {
                Ok(values) if values.len() == page.rows => Ok(values),
                Ok(values) => Err(format!("{} of {} rows in a page", values.len(), page.rows)),
                Err(e) => Err(e.to_string()),
            })
            .as_ref()
            .map_err(Clone::clone)?;
        let start = (row - page.first_row) as usize;
        let end = (rows.end - page.first_row).min(page.rows as u64) as usize;
        out.extend_from_slice(&decoded[start..end]);
        row = page.first_row + end as u64;
    }
    Ok(())
}

/// The pages of a column that hold rows of the ranges and are not null throughout; `None` without a page index.
fn find_pages(
    metadata: &ParquetMetaData,
    column: usize,
    rows: &[Range<u64>],
) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut group_start = 0_u64;
    for (g, group) in metadata.row_groups().iter().enumerate() {
        let group_end = group_start + group.num_rows() as u64;
        if reaches(rows, group_start, group_end) {
            let index = metadata.page_index()?;
            let locations = index.page_locations(g, column)?;
            let nulls = index.column_index(g, column);
            for (i, location) in locations.iter().enumerate() {
                let start = group_start + location.first_row_index as u64;
                let end = locations
                    .get(i + 1)
                    .map_or(group_end, |next| group_start + next.first_row_index as u64);
                if nulls.is_some_and(|n| n.is_null_page(i)) || !reaches(rows, start, end) {
                    continue;
                }
                let offset = u64::try_from(location.offset).ok()?;
                let size = u64::try_from(location.compressed_page_size).ok()?;
                places.push(Place {
                    first_row: start,
                    rows: usize::try_from(end.checked_sub(start)?).ok()?,
                    bytes: offset..offset + size,
                    chunk: one_page(group.columns().get(column)?, offset, size, end - start)?,
                });
            }
        }
        group_start = group_end;
    }
    Some(places)
}

/// Describes one page as if it were a column chunk of its own, for parquet's page reader.
fn one_page(
    chunk: &ColumnChunkMetaData,
    offset: u64,
    size: u64,
    rows: u64,
) -> Option<ColumnChunkMetaData> {
    ColumnChunkMetaData::builder(chunk.column_descr_ptr())
        .set_compression(chunk.compression())
        .set_data_page_offset(i64::try_from(offset).ok()?)
        .set_total_compressed_size(i64::try_from(size).ok()?)
        .set_num_values(i64::try_from(rows).ok()?)
        .build()
        .ok()
}

fn pages<T>(places: Vec<Place>, fetched: &mut impl Iterator<Item = Bytes>) -> Vec<Page<T>> {
    std::iter::zip(places, fetched)
        .map(|(place, bytes)| Page {
            first_row: place.first_row,
            rows: place.rows,
            chunk: place.chunk,
            bytes: PageBytes {
                offset: place.bytes.start,
                bytes,
            },
            decoded: OnceLock::new(),
        })
        .collect()
}

fn reader<T>(page: &Page<T>) -> Result<Box<SerializedPageReader<PageBytes>>, ParquetError> {
    let bytes = Arc::new(page.bytes.clone());
    SerializedPageReader::new(bytes, &page.chunk, page.rows, None).map(Box::new)
}

fn decode_times(page: &Page<i64>) -> Result<Vec<i64>, ParquetError> {
    let mut column =
        ColumnReaderImpl::<Int64Type>::new(page.chunk.column_descr_ptr(), reader(page)?);
    let mut values = Vec::with_capacity(page.rows);
    column.read_records(page.rows, None, None, &mut values)?;
    Ok(values)
}

fn decode_values(page: &Page<f64>) -> Result<Vec<f64>, ParquetError> {
    let mut column =
        ColumnReaderImpl::<DoubleType>::new(page.chunk.column_descr_ptr(), reader(page)?);
    let mut values = Vec::with_capacity(page.rows);
    column.read_records(page.rows, None, None, &mut values)?;
    Ok(values)
}

fn decode_starts(page: &Page<i64>) -> Result<Vec<i64>, ParquetError> {
    let mut column =
        ColumnReaderImpl::<Int64Type>::new(page.chunk.column_descr_ptr(), reader(page)?);
    let (mut levels, mut present) = (Vec::with_capacity(page.rows), Vec::new());
    column.read_records(page.rows, Some(&mut levels), None, &mut present)?;
    let mut present = present.into_iter();
    let start = |level: i16| match level {
        0 => NO_START_MS,
        _ => present.next().unwrap_or(NO_START_MS),
    };
    Ok(levels.into_iter().map(start).collect())
}

/// A part of a file, addressed by offsets in the whole file.
#[derive(Clone, Debug)]
struct PageBytes {
    offset: u64,
    bytes: Bytes,
}

impl PageBytes {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let skipped = start
            .checked_sub(self.offset)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|&n| n <= self.bytes.len())
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} is not in the page")))?;
        Ok(self.bytes.slice(skipped..))
    }
}

impl Length for PageBytes {
    fn len(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl ChunkReader for PageBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are not in the page"
            )));
        }
        Ok(bytes.slice(..length))
    }
}
