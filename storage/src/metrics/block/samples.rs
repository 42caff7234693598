//! Pages of a block's samples: fetched compressed, decoded when the first series that has rows in them is read.
//!
//! Neighbouring series share pages; each page is decoded once for all series of a batch.

use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::{Buf, Bytes};
use parquet::arrow::ArrowSchemaConverter;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::SchemaDescPtr;

use super::index::{PagePlace, SeriesIndex};
use super::writer::samples_schema;
use super::{OpenBlock, SAMPLES_FILE, ZSTD_LEVEL, compression, reaches};
use crate::block::Block;
use crate::error::Result;
use crate::model::{MsRange, NO_START_MS, SampleBuf};
use crate::read::ReadError;

/// Positions in the schema of the columns that are read: times, values, start timestamps.
pub(super) const COLUMNS: [usize; COLUMN_COUNT] = [1, 2, 3];
pub(super) const COLUMN_COUNT: usize = 3;

/// The schema as Parquet sees it.
static SCHEMA: LazyLock<Option<SchemaDescPtr>> = LazyLock::new(|| {
    let schema = ArrowSchemaConverter::new().convert(&samples_schema());
    schema.ok().map(Arc::new)
});

/// Fetched pages of three columns. A page here may be several of the file that follow each other.
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

impl Pages {
    /// Fetches the pages that hold rows of ascending ranges.
    pub(super) async fn fetch(
        block: &Arc<Block>,
        index: &SeriesIndex,
        rows: &[Range<u64>],
    ) -> Result<Self> {
        let groups = index.group_pages(block, rows).await?;
        let wanted = |column: usize| -> Vec<PagePlace> {
            let pages = groups.iter().filter_map(|g| g.get(column)).flatten();
            let reached = pages.filter(|p| reaches(rows, p.first_row, p.first_row + p.rows));
            joined(reached.copied().collect())
        };
        let [times, values, starts] = [wanted(0), wanted(1), wanted(2)];
        let all = times.iter().chain(&values).chain(&starts);
        let ranges = all.map(|p| p.offset..p.offset + p.bytes).collect();
        let mut fetched = block.read_ranges(SAMPLES_FILE, ranges).await?.into_iter();
        let bad = || OpenBlock::corrupt(block, SAMPLES_FILE, "its pages are not where they were");
        Ok(Self {
            file: format!("{}/{SAMPLES_FILE}", block.folder()),
            times: pages(0, times, &mut fetched).ok_or_else(bad)?,
            values: pages(1, values, &mut fetched).ok_or_else(bad)?,
            starts: pages(2, starts, &mut fetched).ok_or_else(bad)?,
        })
    }

    /// Bytes held, those of pages that will be decoded included.
    pub(in crate::metrics) fn held_bytes(&self) -> usize {
        fn of<T>(pages: &[Page<T>]) -> usize {
            pages.iter().map(|p| p.bytes.bytes.len() + p.rows * 8).sum()
        }
        of(&self.times) + of(&self.values) + of(&self.starts)
    }

    /// Number of pages.
    pub(in crate::metrics) fn len(&self) -> usize {
        self.times.len() + self.values.len() + self.starts.len()
    }

    /// Decodes one of the pages, if that has not been done. Whoever reads its rows is told what fails.
    pub(in crate::metrics) fn prepare(&self, at: usize) {
        let values_at = at.checked_sub(self.times.len());
        let starts_at = values_at.and_then(|at| at.checked_sub(self.values.len()));
        if let Some(page) = self.times.get(at) {
            page.decoded(decode_times);
        } else if let Some(page) = values_at.and_then(|at| self.values.get(at)) {
            page.decoded(decode_values);
        } else if let Some(page) = starts_at.and_then(|at| self.starts.get(at)) {
            page.decoded(decode_starts);
        }
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
    /// Its values; decoded once.
    fn decoded(
        &self,
        decode: fn(&Self) -> Result<Vec<T>, ParquetError>,
    ) -> &Result<Vec<T>, String> {
        self.decoded.get_or_init(|| match decode(self) {
            Ok(values) if values.len() == self.rows => Ok(values),
            Ok(values) => Err(format!("{} of {} rows in a page", values.len(), self.rows)),
            Err(e) => Err(e.to_string()),
        })
    }

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
        let decoded = page.decoded(decode).as_ref().map_err(Clone::clone)?;
        let start = (row - page.first_row) as usize;
        let end = (rows.end - page.first_row).min(page.rows as u64) as usize;
        out.extend_from_slice(&decoded[start..end]);
        row = page.first_row + end as u64;
    }
    Ok(())
}

/// Describes pages as if they were a column chunk of their own, for parquet's page reader.
fn one_page(column: usize, place: &PagePlace) -> Option<ColumnChunkMetaData> {
    let schema = SCHEMA.as_ref()?;
    ColumnChunkMetaData::builder(Arc::clone(schema.columns().get(*COLUMNS.get(column)?)?))
        .set_compression(compression(ZSTD_LEVEL))
        .set_data_page_offset(i64::try_from(place.offset).ok()?)
        .set_total_compressed_size(i64::try_from(place.bytes).ok()?)
        .set_num_values(i64::try_from(place.rows).ok()?)
        .build()
        .ok()
}

/// Pages that follow each other are decoded by one reader, so many at most: it has to be set up for each.
const PAGES_TOGETHER: usize = 8;

/// Brings pages that follow each other in rows and in bytes together.
fn joined(places: Vec<PagePlace>) -> Vec<PagePlace> {
    let mut out: Vec<PagePlace> = Vec::with_capacity(places.len());
    let mut together = 0;
    for next in places {
        match out.last_mut() {
            Some(last)
                if together < PAGES_TOGETHER
                    && next.first_row == last.first_row + last.rows
                    && next.offset == last.offset + last.bytes =>
            {
                last.rows += next.rows;
                last.bytes += next.bytes;
                together += 1;
            }
            _ => {
                out.push(next);
                together = 1;
            }
        }
    }
    out
}

fn pages<T>(
    column: usize,
    places: Vec<PagePlace>,
    fetched: &mut impl Iterator<Item = Bytes>,
) -> Option<Vec<Page<T>>> {
    let page = |(place, bytes): (PagePlace, Bytes)| {
        Some(Page {
            first_row: place.first_row,
            rows: usize::try_from(place.rows).ok()?,
            chunk: one_page(column, &place)?,
            bytes: PageBytes {
                offset: place.offset,
                bytes,
            },
            decoded: OnceLock::new(),
        })
    };
    std::iter::zip(places, fetched).map(page).collect()
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
