//! A block of metrics: three Parquet tables, which any reader can join by `series_id`, and an index.
//!
//! ```text
//!  series.parquet      series_id, __name__, labels (map), min_time, max_time,
//!                      first_row, rows, first_histogram_row, histogram_rows
//!  samples.parquet     series_id, timestamp, value, start_timestamp
//!  histograms.parquet  series_id, timestamp, start_timestamp, and the histogram (only if there are any)
//!  index.bin           for the server alone: see `block/index.rs`
//! ```
//!
//! Rows of `series` are sorted by labels, rows of the others by series in the same order, then by time. So the samples of a series are one run
//! of rows, which `first_row` and `rows` name: reading a series decodes the pages that hold its rows and no other. Pages
//! of `samples` have the same rows in each column. Times are milliseconds since the epoch.
//!
//! `series_id` is the xxh3-64 of the label set as [`Labels::as_bytes`] lays it out, as a signed number; of two label sets of
//! one block with the same hash the later one (in order of labels) is hashed again with a seed, until it has one of its own.

mod column;
mod deleted;
mod histograms;
mod index;
mod merge;
mod page;
mod samples;
mod table;
mod writer;

use std::ops::Range;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use roaring::RoaringBitmap;

use super::head::TenantHead;
use super::runs::{Run, merge};
use crate::block::Block;
use crate::error::{Error, Result};
use crate::model::{Labels, Matcher, MsRange, SampleBuf};
use crate::signal::{BlockFiles, BlockStats, TimeSpan};
use crate::tombstone::Tombstones;

use deleted::Deleted;
pub(super) use deleted::Hidden;
pub(super) use index::SeriesEntry;
use index::SeriesIndex;
pub(crate) use index::block_index;
pub(super) use merge::merge_blocks;
pub(crate) use page::fuzz as samples_page;
pub(super) use samples::Pages;
use writer::{CUT_LEVEL, TableWriter};

pub(super) const INDEX_FILE: &str = "index.bin";
pub(super) const SERIES_FILE: &str = "series.parquet";
pub(super) const SAMPLES_FILE: &str = "samples.parquet";
pub(super) const HISTOGRAMS_FILE: &str = "histograms.parquet";

/// Bytes of an index that are read ahead at a time.
const READ_AHEAD_BYTES: u64 = 1 << 20;

/// A block with its index, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct OpenBlock {
    block: Arc<Block>,
    index: Arc<SeriesIndex>,
    deleted: Deleted,
}

impl OpenBlock {
    /// Opens the index, or takes it from the cache, and finds what tombstones hide.
    ///
    /// # Errors
    /// What the object store says, or `Corrupt`, `Parquet`.
    pub(super) async fn open(block: Arc<Block>, tombstones: &Tombstones) -> Result<Self> {
        let index = SeriesIndex::open(&block).await?;
        let own = tombstones.of(block.manifest());
        let deleted = Deleted::of(&block, &index, own).await?;
        Ok(Self {
            block,
            index,
            deleted,
        })
    }

    /// Calls a function with the series that pass all matchers and may have a sample in the range, in order.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn select(
        &self,
        matchers: &[Matcher],
        range: MsRange,
        mut f: impl FnMut(u32, &SeriesEntry),
    ) -> Result<()> {
        let (ids, undecided) = self.index.candidates(&self.block, matchers).await?;
        let all_in = self.index.all_overlap(range);
        let each = |id, entry: &SeriesEntry| {
            if (all_in || entry.overlaps(range))
                && entry.passes(&undecided)
                && !self.is_hidden(id, entry, range)
            {
                f(id, entry);
            }
        };
        self.index.visit(&self.block, &ids, each).await
    }

    /// Calls a function with series by their ids, in order.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn visit(
        &self,
        ids: &RoaringBitmap,
        f: impl FnMut(u32, &SeriesEntry),
    ) -> Result<()> {
        self.index.visit(&self.block, ids, f).await
    }

    /// The series that have no sample in a range, and what the function says of the labels of each; `None` where so many are in doubt
    /// that all might be visited as well.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn gone<T>(
        &self,
        range: MsRange,
        mut f: impl FnMut(&Labels) -> T,
    ) -> Result<Option<(RoaringBitmap, Vec<T>)>> {
        let doubtful = self.index.doubtful(range) | self.deleted.ids();
        if doubtful.len() > u64::from(self.index.len()) / 2 {
            return Ok(None);
        }
        let (mut gone, mut said) = (RoaringBitmap::new(), Vec::new());
        let each = |id, entry: &SeriesEntry| {
            if !entry.overlaps(range) || self.is_hidden(id, entry, range) {
                gone.insert(id);
                said.push(f(&entry.labels));
            }
        };
        self.index.visit(&self.block, &doubtful, each).await?;
        Ok(Some((gone, said)))
    }

    /// The series that have a label, by their ids.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(super) fn ids_with_name(&self, name: &str) -> Result<RoaringBitmap> {
        self.index.ids_with_name(&self.block, name)
    }

    /// The series that have a label with a value, by their ids.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn ids_with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        let matchers = [Matcher::equal(name, value)];
        // One value is looked up: nothing stays undecided.
        let (ids, _) = self.index.candidates(&self.block, &matchers).await?;
        Ok(ids)
    }

    /// All label names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.index.names()
    }

    /// Calls a function with all values of a label, sorted.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn values(&self, name: &str, f: impl FnMut(&str)) -> Result<()> {
        self.index.values(&self.block, name, f).await
    }

    /// Number of series.
    pub(super) fn len(&self) -> u32 {
        self.index.len()
    }

    /// Series that follow each other, among them one by its id, and where it stands.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn page_of_series(&self, id: u32) -> Result<(Arc<Vec<SeriesEntry>>, usize)> {
        self.index.page_of_series(&self.block, id).await
    }

    /// Whether all that a series may have in the range is deleted.
    fn is_hidden(&self, id: u32, entry: &SeriesEntry, range: MsRange) -> bool {
        let (min_ms, max_ms) = entry.times;
        let held = MsRange::new(min_ms.max(range.min_ms), max_ms.min(range.max_ms));
        !self.deleted.is_empty() && self.deleted.hides(id, held)
    }

    /// What tombstones hide of a series.
    pub(super) fn hidden(&self, id: u32) -> Hidden {
        self.deleted.ranges(id)
    }

    /// Whether tombstones hide anything.
    pub(super) fn has_deleted(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// Fetches the pages that hold rows of samples. The ranges ascend. `keeps`: the selection reads so few that they
    /// are worth keeping for the next one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn pages(&self, rows: &[Range<u64>], keeps: bool) -> Result<Arc<Pages>> {
        let pages = Pages::fetch(&self.block, &self.index, rows, keeps).await?;
        Ok(Arc::new(pages))
    }

    /// Fetches rows of histograms, recoded as chunks: one run for each range. The ranges ascend.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn histograms(&self, rows: &[Range<u64>]) -> Result<Vec<Run>> {
        histograms::fetch(&self.block, rows).await
    }

    /// An error that names a file of the block.
    fn corrupt(block: &Block, file: &str, reason: impl Into<String>) -> Error {
        Error::Corrupt {
            file: format!("{}/{file}", block.folder()),
            offset: 0,
            reason: reason.into(),
        }
    }
}

/// Bytes of the index of a block; nothing where it has none of its own.
pub(crate) fn index_bytes(block: &Block) -> u64 {
    block.file_size(INDEX_FILE).unwrap_or(0)
}

/// Opens a block's index and, where it lies on local disk, keeps its pages for the first look-ups while they take no more than so many
/// bytes, and brings the rest of it into the system's page cache. Answers how many bytes the pages take.
///
/// # Errors
/// As [`OpenBlock::open`].
pub(crate) async fn read_index_ahead(
    block: &Arc<Block>,
    tombstones: &Tombstones,
    most_bytes: u64,
) -> Result<u64> {
    let opened = OpenBlock::open(Arc::clone(block), tombstones).await?;
    if block.store().is_remote() {
        return Ok(0);
    }
    let kept = opened.index.keep_pages(block, most_bytes).await?;
    let size = index_bytes(block);
    let mut start = 0;
    while start < size {
        let end = size.min(start + READ_AHEAD_BYTES);
        block.read(INDEX_FILE, start..end).await?;
        start = end;
    }
    Ok(kept)
}

/// Up to so many of a block's series, as far from each other as they can be.
///
/// # Errors
/// As [`OpenBlock::open`].
pub(crate) async fn some_series(
    block: &Arc<Block>,
    tombstones: &Tombstones,
    count: u32,
) -> Result<Vec<Labels>> {
    let opened = OpenBlock::open(Arc::clone(block), tombstones).await?;
    let all = opened.len() as u64;
    let ids = (0..u64::from(count)).map(|i| (i * all / u64::from(count)) as u32);
    let ids: RoaringBitmap = ids.filter(|&id| u64::from(id) < all).collect();
    let mut found = Vec::new();
    let note = |_, entry: &SeriesEntry| found.push(entry.labels.clone());
    opened.visit(&ids, note).await?;
    Ok(found)
}

/// Writes a tenant's samples within a span of time as the files of a block.
pub(super) fn write_block(
    head: &TenantHead,
    span: TimeSpan,
    files: &mut dyn BlockFiles,
) -> Result<Option<BlockStats>> {
    let range = MsRange::new(span.min, span.max);
    let catalog = head.catalog.read();
    let mut writer = TableWriter::new(files, CUT_LEVEL);
    let (mut samples, mut parts) = (SampleBuf::default(), Vec::new());
    for id in catalog.index.sorted_ids() {
        let Some(series) = catalog.series.get(id as usize) else {
            continue;
        };
        let runs = series.state.lock().snapshot(range);
        samples.clear();
        if let [run] = &runs[..] {
            run.read(range, &mut samples)?;
        } else {
            parts.clear();
            for run in &runs {
                let mut part = SampleBuf::default();
                run.read(range, &mut part)?;
                parts.push(part);
            }
            merge(&mut parts, &mut samples);
        }
        if !samples.is_empty() {
            writer.push(&catalog.index.labels(id), &samples)?;
        }
    }
    writer.finish()
}

/// Of all tables but the samples of merged blocks.
const ZSTD_LEVEL: i32 = 3;

fn compression(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default())
}

/// What all tables have in common: zstd, page index, no hidden copy of the schema.
fn properties(row_group_rows: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by("trilobite".to_owned())
        .set_compression(compression(ZSTD_LEVEL))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(row_group_rows))
}

/// Whether an ascending list of row ranges reaches into `start..end`.
fn reaches(rows: &[Range<u64>], start: u64, end: u64) -> bool {
    let at = rows.partition_point(|r| r.end <= start);
    rows.get(at).is_some_and(|r| r.start < end)
}
