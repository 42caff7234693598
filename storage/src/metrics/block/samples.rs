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
use super::page;
use super::writer::samples_schema;
use super::{OpenBlock, SAMPLES_FILE, ZSTD_LEVEL, compression, reaches};
use crate::block::{Block, Slot};
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

/// Fetched pages of three columns.
#[derive(Debug)]
pub(in crate::metrics) struct Pages {
    file: String,
    times: Vec<Arc<Page<i64>>>,
    values: Vec<Arc<Page<f64>>>,
    /// Only pages that hold a start timestamp.
    starts: Vec<Arc<Page<i64>>>,
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
    /// Fetches the pages that hold rows of ascending ranges. `keeps`: few are read in all, and they are worth keeping for the next query.
    pub(super) async fn fetch(
        block: &Arc<Block>,
        index: &SeriesIndex,
        rows: &[Range<u64>],
        keeps: bool,
    ) -> Result<Self> {
        let groups = index.group_pages(block, rows).await?;
        let wanted = |column: usize| -> Vec<PagePlace> {
            let pages = groups.iter().filter_map(|g| g.get(column)).flatten();
            let reached = pages.filter(|p| reaches(rows, p.first_row, p.first_row + p.rows));
            reached.copied().collect()
        };
        let places = [wanted(0), wanted(1), wanted(2)];
        let decoded: u64 = places.iter().flatten().map(|p| p.rows * 8).sum();
        // Many pages would push each other out, so that none would be found again.
        let keeps = keeps && decoded <= block.samples_capacity_bytes() / 4;
        let [times, values, starts] = places;
        let (mut times, mut values, mut starts) = (
            Column::new(block, 0, times, keeps),
            Column::new(block, 1, values, keeps),
            Column::new(block, 2, starts, keeps),
        );
        let ranges: Vec<_> = [times.missing(), values.missing(), starts.missing()].concat();
        if !ranges.is_empty() {
            let mut fetched = block.read_ranges(SAMPLES_FILE, ranges).await?.into_iter();
            let bad =
                || OpenBlock::corrupt(block, SAMPLES_FILE, "its pages are not where they were");
            times.fill(&mut fetched).ok_or_else(bad)?;
            values.fill(&mut fetched).ok_or_else(bad)?;
            starts.fill(&mut fetched).ok_or_else(bad)?;
        }
        Ok(Self {
            file: format!("{}/{SAMPLES_FILE}", block.folder()),
            times: times.pages(),
            values: values.pages(),
            starts: starts.pages(),
        })
    }

    /// Bytes held, those of pages that will be decoded included.
    pub(in crate::metrics) fn held_bytes(&self) -> usize {
        fn of<T>(pages: &[Arc<Page<T>>]) -> usize {
            pages.iter().map(|p| p.held_bytes()).sum()
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
    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.bytes.len() + self.rows * size_of::<T>()
    }

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
    pages: &[Arc<Page<T>>],
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

/// Pages of one column that are being brought together.
struct Column<'b, T> {
    block: &'b Block,
    number: usize,
    keeps: bool,
    pages: Vec<(PagePlace, Option<Arc<Page<T>>>)>,
}

impl<'b, T: Send + Sync + 'static> Column<'b, T> {
    /// What the cache has of some pages.
    fn new(block: &'b Block, number: usize, places: Vec<PagePlace>, keeps: bool) -> Self {
        let kept = |place: &PagePlace| {
            let page = keeps.then(|| block.kept::<Page<T>>(Slot::SamplesPage(place.offset)))??;
            (page.rows as u64 == place.rows).then_some(page)
        };
        let pages = places.into_iter().map(|place| (place, kept(&place)));
        Self {
            block,
            number,
            keeps,
            pages: pages.collect(),
        }
    }

    /// Where the others lie.
    fn missing(&self) -> Vec<Range<u64>> {
        let missing = self.pages.iter().filter(|(_, page)| page.is_none());
        let range = |(p, _): &(PagePlace, _)| p.offset..p.offset + p.bytes;
        missing.map(range).collect()
    }

    /// Takes the bytes of the others, in their order; `None` where they do not make pages.
    fn fill(&mut self, fetched: &mut impl Iterator<Item = Bytes>) -> Option<()> {
        for (place, page) in self.pages.iter_mut().filter(|(_, page)| page.is_none()) {
            let mut bytes = fetched.next()?;
            if self.keeps {
                // What was fetched is a part of more, which would be held with it.
                bytes = Bytes::copy_from_slice(&bytes);
            }
            let read = Arc::new(Page {
                first_row: place.first_row,
                rows: usize::try_from(place.rows).ok()?,
                chunk: one_page(self.number, place)?,
                bytes: PageBytes {
                    offset: place.offset,
                    bytes,
                },
                decoded: OnceLock::new(),
            });
            if self.keeps {
                let held = read.held_bytes() as u64;
                self.block
                    .keep(Slot::SamplesPage(place.offset), &read, held);
            }
            *page = Some(read);
        }
        Some(())
    }

    fn pages(self) -> Vec<Arc<Page<T>>> {
        self.pages.into_iter().filter_map(|(_, p)| p).collect()
    }
}

fn reader<T>(page: &Page<T>) -> Result<Box<SerializedPageReader<PageBytes>>, ParquetError> {
    let bytes = Arc::new(page.bytes.clone());
    SerializedPageReader::new(bytes, &page.chunk, page.rows, None).map(Box::new)
}

fn decode_times(page: &Page<i64>) -> Result<Vec<i64>, ParquetError> {
    if let Some(times) = page::times(&page.bytes.bytes, page.rows) {
        return Ok(times);
    }
    let mut column =
        ColumnReaderImpl::<Int64Type>::new(page.chunk.column_descr_ptr(), reader(page)?);
    let mut values = Vec::with_capacity(page.rows);
    column.read_records(page.rows, None, None, &mut values)?;
    Ok(values)
}

fn decode_values(page: &Page<f64>) -> Result<Vec<f64>, ParquetError> {
    if let Some(values) = page::values(&page.bytes.bytes, page.rows) {
        return Ok(values);
    }
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
