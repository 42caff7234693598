//! Pages of a block's samples: fetched compressed, decoded when the first series that has rows in them is read.
//!
//! Neighbouring series share pages; each page is decoded once for all series of a batch.

use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::SchemaDescPtr;

use super::column::{Packed, StartTimestamps, Unpacked, Values};
use super::index::{PagePlace, SeriesIndex};
use super::page::Times;
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
    times: Vec<Arc<Page<Times>>>,
    values: Vec<Arc<Page<Values>>>,
    /// Only pages that hold a start timestamp.
    starts: Vec<Arc<Page<StartTimestamps>>>,
}

#[derive(Debug)]
struct Page<U> {
    first_row: u64,
    packed: Packed,
    unpacked: OnceLock<Result<U, String>>,
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
        fn of<U: Unpacked>(pages: &[Arc<Page<U>>]) -> usize {
            pages.iter().map(|p| p.held_bytes()).sum()
        }
        of(&self.times) + of(&self.values) + of(&self.starts)
    }

    /// Bytes that will be held of pages which nobody has unpacked yet.
    pub(in crate::metrics) fn packed_bytes(&self) -> usize {
        fn of<U: Unpacked>(pages: &[Arc<Page<U>>]) -> usize {
            let packed = pages.iter().filter(|p| p.unpacked.get().is_none());
            packed.map(|p| p.unpacked_bytes()).sum()
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
        // Only the wanted part of each column.
        let rows = self.rows_in(rows, range, &mut out.t_ms).map_err(fail)?;
        copy(&self.values, &rows, None, &mut out.values).map_err(fail)?;
        if self.starts.iter().any(|p| p.reaches(&rows)) {
            copy(&self.starts, &rows, Some(NO_START_MS), &mut out.start_ms).map_err(fail)?;
            if out.start_ms.iter().all(|&s| s == NO_START_MS) {
                out.start_ms.clear();
            }
        }
        Ok(())
    }

    /// Those of the rows of a series, whose times ascend, that lie in a range of time; adds their times to an empty list.
    fn rows_in(
        &self,
        rows: &Range<u64>,
        range: MsRange,
        out: &mut Vec<i64>,
    ) -> Result<Range<u64>, String> {
        let mut first = rows.start;
        for_each_part(&self.times, rows, |part| {
            let Part::Rows(times, part) = part else {
                return Err(format!("rows {rows:?} are not all in pages"));
            };
            let within = times.within(part.clone(), range);
            if out.is_empty() {
                first += (within.start - part.start) as u64;
            }
            times.extend(within, out);
            Ok(())
        })?;
        Ok(first..first + out.len() as u64)
    }
}

impl<U: Unpacked> Page<U> {
    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.packed.bytes.len() + self.unpacked_bytes()
    }

    const fn unpacked_bytes(&self) -> usize {
        self.packed.rows * U::ROW_BYTES
    }

    fn end_row(&self) -> u64 {
        self.first_row + self.packed.rows as u64
    }

    /// What it holds; unpacked once.
    fn unpacked(&self) -> Result<&U, String> {
        let unpacked = self.unpacked.get_or_init(|| {
            let rows = self.packed.rows;
            match U::unpack(&self.packed) {
                Ok(unpacked) if unpacked.len() == rows => Ok(unpacked),
                Ok(unpacked) => Err(format!("{} of {rows} rows in a page", unpacked.len())),
                Err(e) => Err(e.to_string()),
            }
        });
        unpacked.as_ref().map_err(Clone::clone)
    }

    fn reaches(&self, rows: &Range<u64>) -> bool {
        self.first_row < rows.end && rows.start < self.end_row()
    }
}

/// Neighbouring rows of a column.
enum Part<'a, U> {
    /// Some of a page.
    Rows(&'a U, Range<usize>),
    /// So many in no page.
    Absent(usize),
}

/// Calls a function with the parts of rows, in order.
fn for_each_part<'a, U: Unpacked>(
    pages: &'a [Arc<Page<U>>],
    rows: &Range<u64>,
    mut f: impl FnMut(Part<'a, U>) -> Result<(), String>,
) -> Result<(), String> {
    let mut row = rows.start;
    let first = pages.partition_point(|p| p.end_row() <= rows.start);
    let mut rest = pages[first..].iter();
    while row < rows.end {
        let page = rest.next().filter(|p| p.first_row < rows.end);
        let gap_end = page.map_or(rows.end, |p| p.first_row.max(row));
        if gap_end > row {
            f(Part::Absent((gap_end - row) as usize))?;
            row = gap_end;
        }
        let Some(page) = page else {
            continue;
        };
        let end = rows.end.min(page.end_row());
        let part = (row - page.first_row) as usize..(end - page.first_row) as usize;
        f(Part::Rows(page.unpacked()?, part))?;
        row = end;
    }
    Ok(())
}

/// Adds rows of a column. Rows in no page are `absent`, or an error where there is no such value.
fn copy<U: Unpacked>(
    pages: &[Arc<Page<U>>],
    rows: &Range<u64>,
    absent: Option<U::Value>,
    out: &mut Vec<U::Value>,
) -> Result<(), String> {
    for_each_part(pages, rows, |part| {
        match part {
            Part::Rows(unpacked, part) => unpacked.extend(part, out),
            Part::Absent(count) => {
                let absent = absent.ok_or_else(|| format!("rows {rows:?} are not all in pages"))?;
                out.resize(out.len() + count, absent);
            }
        }
        Ok(())
    })
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
struct Column<'b, U> {
    block: &'b Block,
    number: usize,
    keeps: bool,
    pages: Vec<(PagePlace, Option<Arc<Page<U>>>)>,
}

impl<'b, U: Unpacked + Send + Sync + 'static> Column<'b, U> {
    /// What the cache has of some pages.
    fn new(block: &'b Block, number: usize, places: Vec<PagePlace>, keeps: bool) -> Self {
        let kept = |place: &PagePlace| {
            let page = keeps.then(|| block.kept::<Page<U>>(Slot::SamplesPage(place.offset)))??;
            (page.packed.rows as u64 == place.rows).then_some(page)
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
            let bytes = fetched.next()?;
            let read = Arc::new(Page {
                first_row: place.first_row,
                packed: Packed {
                    rows: usize::try_from(place.rows).ok()?,
                    chunk: one_page(self.number, place)?,
                    offset: place.offset,
                    bytes,
                    is_kept: self.keeps,
                },
                unpacked: OnceLock::new(),
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

    fn pages(self) -> Vec<Arc<Page<U>>> {
        self.pages.into_iter().filter_map(|(_, p)| p).collect()
    }
}
