//! The index of a block of metrics: matchers → series, and series → rows and pages, reading only the pages that are needed.
//!
//! ```text
//!  index.bin   "TLM2", version
//!              pages of series      labels, times, rows; 128 series each, in the order of series.parquet
//!              pages of values      for each label name its values, sorted, with the ids of the series that have them
//!              pages of row groups  where the pages of samples.parquet lie
//!              directory            where all these are, and the time that all series of a page share
//!              position of the directory (8 bytes, little-endian), "TLM2"
//! ```
//!
//! The id of a series is its row in `series.parquet`. Each page, and the directory, is a zstd frame. Everything can be made again from
//! the Parquet files: the server does so, in memory, for a block that has no index, or a damaged one. That may come to light in the midst
//! of a look-up, which then goes on in the index made: an id means the same series in both, but their pages may hold other ones.

mod directory;
mod front;
mod fuzz;
mod group_pages;
mod lookup;
mod runs;
mod series_page;
mod value_page;
mod writer;

use std::any::Any;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringBitmap;
use tokio::sync::OnceCell;

use super::table::read_rows;
use super::{INDEX_FILE, OpenBlock, SAMPLES_FILE};
use crate::block::{Block, Slot};
use crate::codec::ChunkError;
use crate::error::{Error, Result};
use crate::model::MsRange;
use directory::{Directory, Place};
use series_page::SeriesPage;

pub(crate) use fuzz::block_index;
pub(super) use group_pages::{GroupPages, PagePlace};
pub(in crate::metrics) use series_page::SeriesEntry;
pub(super) use writer::IndexWriter;

const MAGIC: &[u8; 4] = b"TLM2";
const VERSION: u8 = 2;
/// Ends indexes of an earlier version, which are passed over.
const EARLIER_MAGIC: &[u8; 4] = b"TLMX";
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
/// What an opened index is called among all that is kept of its block.
const KEPT: &str = "series";
/// What pages of an index that was made are kept as. They may lie elsewhere than those of the file.
const MADE: &str = "index.bin, made";

/// The index of one block, opened.
#[derive(Debug)]
pub(in crate::metrics) struct SeriesIndex {
    directory: Directory,
    /// The whole index, where it is no file of the block.
    made: Option<Bytes>,
    /// What is asked since the file turned out to be damaged.
    instead: OnceCell<Arc<Self>>,
}

impl SeriesIndex {
    /// Reads the directory, or makes the index of a block that has none, or a damaged one; from the cache where that has it.
    ///
    /// # Errors
    /// `Corrupt`, `Parquet`, or what the object store says.
    pub(super) async fn open(block: &Arc<Block>) -> Result<Arc<Self>> {
        let open = async {
            let of_file = match block.has_file(INDEX_FILE) {
                false => Ok(None),
                true => Self::of_file(block).await,
            };
            let index = match of_file {
                Ok(Some(index)) => index,
                Ok(None) => Self::make(block).await?,
                Err(e) => Self::make_after(block, e).await?,
            };
            let bytes = index.held_bytes();
            Ok((index, bytes))
        };
        block.cached(KEPT, open).await
    }

    /// That of the file; none where an earlier version wrote it.
    async fn of_file(block: &Block) -> Result<Option<Self>> {
        let size = block.file_size(INDEX_FILE)?;
        let start = size.saturating_sub(TAIL_BYTES);
        let tail = block.read(INDEX_FILE, start..size).await?;
        if tail.ends_with(EARLIER_MAGIC) {
            return Ok(None);
        }
        Ok(Some(Self {
            directory: read_directory(block, &tail, start, size).await?,
            made: None,
            instead: OnceCell::new(),
        }))
    }

    /// Makes the index from the tables.
    async fn make(block: &Arc<Block>) -> Result<Self> {
        let mut writer = IndexWriter::new(Vec::new())?;
        read_rows(block, |row| writer.push(row)).await?;
        let samples = block.parquet(SAMPLES_FILE)?.metadata().await?;
        let made = Bytes::from(writer.finish(&samples)?);
        Ok(Self {
            directory: read_directory(block, &made, 0, made.len() as u64).await?,
            made: Some(made),
            instead: OnceCell::new(),
        })
    }

    /// Makes the index of a block after its file was found to be damaged.
    ///
    /// # Errors
    /// What was found, when it is no damage or the tables are damaged too; `Unavailable` when they cannot be read now.
    async fn make_after(block: &Arc<Block>, found: Error) -> Result<Self> {
        if !matches!(found, Error::Corrupt { .. }) {
            return Err(found);
        }
        match Self::make(block).await {
            Ok(made) => {
                tracing::warn!(block = %block.folder(), "its index is damaged: one made from its tables is asked instead");
                Ok(made)
            }
            Err(e @ Error::Unavailable { .. }) => Err(e),
            Err(_) => Err(found),
        }
    }

    /// What is to be asked: this index, or the one that was made because this one is damaged.
    fn current(&self) -> &Self {
        self.instead.get().map_or(self, |made| made)
    }

    /// An index to go on with after an error of this one: it is made from the tables, and asked from now on.
    ///
    /// # Errors
    /// As [`Self::make_after`].
    async fn instead(&self, block: &Arc<Block>, found: Error) -> Result<&Self> {
        if self.made.is_some() {
            return Err(found);
        }
        let make = async {
            let made = Arc::new(Self::make_after(block, found).await?);
            if made.len() != self.len() {
                // Ids that were found already would mean other series.
                return Err(corrupt(block));
            }
            block.keep(Slot::Decoded(KEPT), &made, made.held_bytes());
            Ok(made)
        };
        let made = self.instead.get_or_try_init(|| make).await?;
        Ok(made)
    }

    /// Number of series.
    pub(in crate::metrics) const fn len(&self) -> u32 {
        self.directory.series
    }

    fn held_bytes(&self) -> u64 {
        let made = self.made.as_ref().map_or(0, Bytes::len);
        (self.directory.held_bytes() + made) as u64
    }

    /// Whether every series may have a sample in a range of time.
    pub(super) const fn all_overlap(&self, range: MsRange) -> bool {
        self.directory.common.overlaps(range)
    }

    /// Series that may have no sample in a range of time, by their ids: those of pages of which not all have one.
    pub(super) fn doubtful(&self, range: MsRange) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        let per_page = u64::from(self.directory.series_per_page);
        for (number, page) in (0..).zip(&self.directory.series_pages) {
            if !page.common.overlaps(range) {
                let end = ((number + 1) * per_page).min(u64::from(self.len()));
                ids.insert_range((number * per_page) as u32..end as u32);
            }
        }
        ids
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
        block: &Arc<Block>,
        ids: &RoaringBitmap,
        mut f: impl FnMut(u32, &SeriesEntry),
    ) -> Result<()> {
        let mut left = ids.iter().peekable();
        let index = self.current();
        match index.visit_here(block, &mut left, &mut f).await {
            Err(e) => {
                let made = index.instead(block, e).await?;
                made.visit_here(block, &mut left, &mut f).await
            }
            done => done,
        }
    }

    /// Takes the ids off whose series the function was called with.
    async fn visit_here(
        &self,
        block: &Block,
        left: &mut Peekable<roaring::bitmap::Iter<'_>>,
        f: &mut impl FnMut(u32, &SeriesEntry),
    ) -> Result<()> {
        let per_page = self.directory.series_per_page.max(1);
        let mut numbers: Vec<u32> = left.clone().map(|id| id / per_page).collect();
        numbers.dedup();
        for numbers in numbers.chunks(PAGES_AT_ONCE) {
            let pages = self.series_pages(block, numbers).await?;
            for (number, page) in std::iter::zip(numbers, pages) {
                let first = number * per_page;
                while let Some(&id) = left.peek()
                    && id / per_page == *number
                {
                    let entry = page
                        .get((id - first) as usize)
                        .ok_or_else(|| corrupt(block))?;
                    f(id, entry);
                    left.next();
                }
            }
        }
        Ok(())
    }

    /// Reads pages so that the cache has them: where samples lie, values of labels, series; until they take so many bytes. Answers how
    /// many they take.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn keep_pages(&self, block: &Block, most_bytes: u64) -> Result<u64> {
        let index = self.current();
        let all_rows = 0..u64::MAX;
        index
            .group_pages_here(block, std::slice::from_ref(&all_rows))
            .await?;
        let mut held = 0;
        let of_values = index
            .directory
            .names
            .iter()
            .flat_map(|n| n.pages.chunks(PAGES_AT_ONCE));
        for pages in of_values {
            if held >= most_bytes {
                return Ok(held);
            }
            let pages = index.value_pages(block, pages).await?;
            held += pages.iter().map(|p| p.held_bytes() as u64).sum::<u64>();
        }
        let numbers: Vec<u32> = (0..).take(index.directory.series_pages.len()).collect();
        for numbers in numbers.chunks(PAGES_AT_ONCE) {
            if held >= most_bytes {
                return Ok(held);
            }
            let pages = index.series_pages(block, numbers).await?;
            let bytes = pages.iter().map(|p| series_page::held_bytes(p) as u64);
            held += bytes.sum::<u64>();
        }
        Ok(held)
    }

    /// The page of series that holds one, and where it stands there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn page_of_series(
        &self,
        block: &Arc<Block>,
        id: u32,
    ) -> Result<(Arc<SeriesPage>, usize)> {
        let index = self.current();
        match index.page_of_series_here(block, id).await {
            Err(e) => {
                let made = index.instead(block, e).await?;
                made.page_of_series_here(block, id).await
            }
            page => page,
        }
    }

    async fn page_of_series_here(
        &self,
        block: &Block,
        id: u32,
    ) -> Result<(Arc<SeriesPage>, usize)> {
        let per_page = self.directory.series_per_page.max(1);
        let mut pages = self.series_pages(block, &[id / per_page]).await?;
        let page = pages.pop().ok_or_else(|| corrupt(block))?;
        Ok((page, (id % per_page) as usize))
    }

    /// Pages of series by their numbers.
    async fn series_pages(&self, block: &Block, numbers: &[u32]) -> Result<Vec<Arc<SeriesPage>>> {
        let pages = &self.directory.series_pages;
        let places: Option<Vec<Place>> = numbers
            .iter()
            .map(|n| pages.get(*n as usize).map(|p| p.place))
            .collect();
        let places = places.ok_or_else(|| corrupt(block))?;
        let decode = |bytes: &[u8]| {
            let page = series_page::decode(bytes)?;
            let held = series_page::held_bytes(&page);
            Ok((page, held))
        };
        let pages = self.pages(block, &places, decode).await?;
        let per_page = self.directory.series_per_page.max(1);
        let is_whole = |(number, page): (&u32, &Arc<SeriesPage>)| {
            let rest = self.len() - number * per_page;
            page.len() == per_page.min(rest) as usize
        };
        match std::iter::zip(numbers, &pages).all(is_whole) {
            true => Ok(pages),
            false => Err(corrupt(block)),
        }
    }

    /// The pages of samples, column by column, of the row groups in which ascending rows lie.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn group_pages(
        &self,
        block: &Arc<Block>,
        rows: &[Range<u64>],
    ) -> Result<Vec<Arc<GroupPages>>> {
        let index = self.current();
        match index.group_pages_here(block, rows).await {
            Err(e) => {
                let made = index.instead(block, e).await?;
                made.group_pages_here(block, rows).await
            }
            pages => pages,
        }
    }

    async fn group_pages_here(
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
        let kept = match self.made {
            Some(_) => MADE,
            None => INDEX_FILE,
        };
        let mut found: Vec<Option<Arc<T>>> = places
            .iter()
            .map(|p| block.kept(Slot::DecodedPage(kept, p.offset)))
            .collect();
        let missing: Vec<usize> = (0..places.len()).filter(|i| found[*i].is_none()).collect();
        if !missing.is_empty() {
            let wanted = missing.iter().map(|i| places[*i]).collect();
            let fetched = self.read(block, wanted).await?;
            for (i, bytes) in std::iter::zip(missing, fetched) {
                let unpacked = unpack(&bytes).ok_or_else(|| corrupt(block))?;
                let (page, held) = decode(&unpacked).map_err(|_| corrupt(block))?;
                let page = Arc::new(page);
                let slot = Slot::DecodedPage(kept, places[i].offset);
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

/// Reports that what was read from the index makes no sense. That bytes are not what was written is noted where they are read.
fn corrupt(block: &Block) -> Error {
    let e = OpenBlock::corrupt(block, INDEX_FILE, "its content is not what was written");
    block.note_damage(INDEX_FILE, &e);
    e
}

#[cfg(test)]
mod tests;
