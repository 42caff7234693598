//! The index of a block of metrics: matchers → series, and series → rows and pages, reading only the pages that are needed.
//!
//! ```text
//!  index.bin   "TLMX", version
//!              pages of series      labels, times, rows; 128 series each, in the order of series.parquet
//!              pages of values      for each label name its values, sorted, with the ids of the series that have them
//!              pages of row groups  where the pages of samples.parquet lie
//!              directory            where all these are
//!              position of the directory (8 bytes, little-endian), "TLMX"
//! ```
//!
//! The id of a series is its row in `series.parquet`. Each page, and the directory, is a zstd frame. Everything can be made again from
//! the Parquet files: the server does so, in memory, for a block that has no index.

mod directory;
mod front;
mod group_pages;
mod lookup;
mod runs;
mod series_page;
mod value_page;
mod writer;

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::table::read_rows;
use super::{INDEX_FILE, OpenBlock, SAMPLES_FILE};
use crate::block::{Block, Slot};
use crate::codec::ChunkError;
use crate::error::{Error, Result};
use crate::model::MsRange;
use directory::{Directory, Place};
use series_page::SeriesPage;

pub(super) use group_pages::{GroupPages, PagePlace};
pub(in crate::metrics) use series_page::SeriesEntry;
pub(super) use writer::IndexWriter;

const MAGIC: &[u8; 4] = b"TLMX";
const VERSION: u8 = 1;
/// A page of them is some 3 KiB in the file and 30 in memory.
const SERIES_PER_PAGE: u32 = if cfg!(test) { 16 } else { 128 };
/// Bytes at the end of the file that are read at once, in the hope that the directory is among them.
const TAIL_BYTES: u64 = 32 * 1024;
const FOOTER_BYTES: usize = 12;
/// Pages that are held at once while many series are visited.
const PAGES_AT_ONCE: usize = 64;
/// Most bytes that a page or the directory unpacks to.
const MAX_UNPACKED_BYTES: usize = 1 << 30;
const ZSTD_LEVEL: i32 = 9;

/// The index of one block, opened.
#[derive(Debug)]
pub(in crate::metrics) struct SeriesIndex {
    directory: Directory,
    /// The whole index, where it is no file of the block.
    made: Option<Bytes>,
}

impl SeriesIndex {
    /// Reads the directory, or makes the index of a block that has none.
    ///
    /// # Errors
    /// `Corrupt`, `Parquet`, or what the object store says.
    pub(super) async fn open(block: &Arc<Block>) -> Result<Self> {
        if !block.has_file(INDEX_FILE) {
            let made = make(block).await?;
            let directory = read_directory(block, &made, 0, made.len() as u64).await?;
            return Ok(Self {
                directory,
                made: Some(made),
            });
        }
        let size = block.file_size(INDEX_FILE)?;
        let start = size.saturating_sub(TAIL_BYTES);
        let tail = block.read(INDEX_FILE, start..size).await?;
        let directory = read_directory(block, &tail, start, size).await?;
        Ok(Self {
            directory,
            made: None,
        })
    }

    /// Number of series.
    pub(in crate::metrics) const fn len(&self) -> u32 {
        self.directory.series
    }

    /// Bytes held.
    pub(super) fn held_bytes(&self) -> usize {
        self.directory.held_bytes() + self.made.as_ref().map_or(0, Bytes::len)
    }

    /// Whether every series may have a sample in a range of time.
    pub(super) const fn all_overlap(&self, range: MsRange) -> bool {
        let (latest_start, earliest_end) = self.directory.common;
        latest_start <= range.max_ms && range.min_ms <= earliest_end
    }

    /// All label names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.directory.names.iter().map(|n| n.name.as_str())
    }

    /// Calls a function with each series of a set, in order.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn visit(
        &self,
        block: &Block,
        ids: &RoaringBitmap,
        mut f: impl FnMut(u32, &SeriesEntry),
    ) -> Result<()> {
        let per_page = self.directory.series_per_page.max(1);
        let mut numbers: Vec<u32> = ids.iter().map(|id| id / per_page).collect();
        numbers.dedup();
        let mut ids = ids.iter().peekable();
        for numbers in numbers.chunks(PAGES_AT_ONCE) {
            let pages = self.series_pages(block, numbers).await?;
            for (number, page) in std::iter::zip(numbers, pages) {
                let first = number * per_page;
                while let Some(id) = ids.next_if(|id| id / per_page == *number) {
                    let entry = page
                        .get((id - first) as usize)
                        .ok_or_else(|| corrupt(block))?;
                    f(id, entry);
                }
            }
        }
        Ok(())
    }

    /// One page of series after the other.
    pub(super) fn page_count(&self) -> u32 {
        self.directory.series_pages.len() as u32
    }

    /// Pages of series by their numbers.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn series_pages(
        &self,
        block: &Block,
        numbers: &[u32],
    ) -> Result<Vec<Arc<SeriesPage>>> {
        let pages = &self.directory.series_pages;
        let places: Option<Vec<Place>> = numbers
            .iter()
            .map(|n| pages.get(*n as usize).copied())
            .collect();
        let places = places.ok_or_else(|| corrupt(block))?;
        let decode = |bytes: &[u8]| {
            let page = series_page::decode(bytes)?;
            let held = series_page::held_bytes(&page);
            Ok((page, held))
        };
        self.pages(block, &places, decode).await
    }

    /// The pages of samples, column by column, of the row groups in which ascending rows lie.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn group_pages(
        &self,
        block: &Block,
        rows: &[Range<u64>],
    ) -> Result<Vec<Arc<GroupPages>>> {
        let groups = &self.directory.groups;
        let mut wanted = Vec::new();
        for (i, (first_row, place)) in groups.iter().enumerate() {
            let end = groups.get(i + 1).map_or(u64::MAX, |(next, _)| *next);
            if super::reaches(rows, *first_row, end) {
                wanted.push((*first_row, *place));
            }
        }
        let mut all = Vec::with_capacity(wanted.len());
        for (first_row, place) in wanted {
            let decode = |bytes: &[u8]| {
                let pages = group_pages::decode(first_row, bytes)?;
                let held = pages.iter().map(|p| size_of_val(&p[..])).sum::<usize>() + 72;
                Ok((pages, held))
            };
            all.extend(self.pages(block, &[place], decode).await?);
        }
        Ok(all)
    }

    /// Pages of one kind, from the cache or read and decoded now.
    async fn pages<T: Any + Send + Sync>(
        &self,
        block: &Block,
        places: &[Place],
        decode: impl Fn(&[u8]) -> Result<(T, usize), ChunkError>,
    ) -> Result<Vec<Arc<T>>> {
        let mut found: Vec<Option<Arc<T>>> = places
            .iter()
            .map(|p| block.kept(Slot::DecodedPage(INDEX_FILE, p.offset)))
            .collect();
        let missing: Vec<usize> = (0..places.len()).filter(|i| found[*i].is_none()).collect();
        if !missing.is_empty() {
            let wanted = missing.iter().map(|i| places[*i]).collect();
            let fetched = self.read(block, wanted).await?;
            for (i, bytes) in std::iter::zip(missing, fetched) {
                let unpacked = unpack(&bytes).ok_or_else(|| corrupt(block))?;
                let (page, held) = decode(&unpacked).map_err(|_| corrupt(block))?;
                let page = Arc::new(page);
                let slot = Slot::DecodedPage(INDEX_FILE, places[i].offset);
                block.keep(slot, &page, held as u64);
                found[i] = Some(page);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Bytes of the index as they are.
    async fn read(&self, block: &Block, places: Vec<Place>) -> Result<Vec<Bytes>> {
        let range = |p: &Place| p.offset..p.offset.saturating_add(p.bytes);
        let Some(made) = &self.made else {
            let ranges = places.iter().map(range).collect();
            return block.read_ranges(INDEX_FILE, ranges).await;
        };
        let part = |p: &Place| {
            let Range { start, end } = range(p);
            (end <= made.len() as u64).then(|| made.slice(start as usize..end as usize))
        };
        let parts: Option<Vec<Bytes>> = places.iter().map(part).collect();
        parts.ok_or_else(|| corrupt(block))
    }
}

/// The directory of an index whose last bytes, from `start` on, are at hand.
async fn read_directory(block: &Block, tail: &Bytes, start: u64, size: u64) -> Result<Directory> {
    let footer = tail.len().checked_sub(FOOTER_BYTES).map(|at| &tail[at..]);
    let position = footer
        .and_then(|f| f.strip_suffix(MAGIC))
        .and_then(|p| p.try_into().ok())
        .map(u64::from_le_bytes);
    let end = size.saturating_sub(FOOTER_BYTES as u64);
    let position = position
        .filter(|p| *p <= end)
        .ok_or_else(|| corrupt(block))?;
    let packed = match position.checked_sub(start) {
        Some(skipped) => tail.slice(skipped as usize..tail.len() - FOOTER_BYTES),
        None => block.read(INDEX_FILE, position..end).await?,
    };
    unpack(&packed)
        .and_then(|bytes| Directory::decode(&bytes).ok())
        .ok_or_else(|| corrupt(block))
}

/// Makes the index of a block that was written without one.
async fn make(block: &Arc<Block>) -> Result<Bytes> {
    let mut writer = IndexWriter::new(Vec::new())?;
    read_rows(block, |row| writer.push(row)).await?;
    let samples = block.parquet(SAMPLES_FILE)?.metadata().await?;
    Ok(writer.finish(&samples)?.into())
}

fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(Error::io(INDEX_FILE))
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let size = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
    let size = usize::try_from(size).ok()?;
    if size > MAX_UNPACKED_BYTES.min(packed.len().saturating_mul(32 * 1024)) {
        return None;
    }
    zstd::bulk::decompress(packed, size).ok()
}

fn corrupt(block: &Block) -> Error {
    OpenBlock::corrupt(block, INDEX_FILE, "its content is not what was written")
}

#[cfg(test)]
mod tests;
