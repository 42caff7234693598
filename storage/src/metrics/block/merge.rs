//! Blocks of one tenant → one block with the same answers, in bounded memory: series by series in order of labels.

use std::sync::Arc;

use super::writer::{MERGED_LEVEL, TableWriter};
use super::{OpenBlock, SeriesEntry};
use crate::block::Block;
use crate::error::Result;
use crate::metrics::select::{Entries, Place, Source, load};
use crate::model::{MsRange, SampleBuf};
use crate::read::Series;
use crate::signal::{BlockFiles, BlockStats};
use crate::tombstone::Tombstones;

/// Series whose pages are held at once.
const BATCH_SERIES: usize = 256;

/// See [`crate::signal::Head::merge_blocks`].
pub(in crate::metrics) async fn merge_blocks(
    blocks: &[Arc<Block>],
    drop_before: Option<i64>,
    tombstones: &Tombstones,
    files: &mut dyn BlockFiles,
) -> Result<Option<BlockStats>> {
    let range = MsRange::new(drop_before.unwrap_or(i64::MIN), i64::MAX);
    let mut sources = Vec::with_capacity(blocks.len());
    let mut cursors = Vec::with_capacity(blocks.len());
    for block in blocks {
        let open = OpenBlock::open(Arc::clone(block), tombstones).await?;
        cursors.push(Cursor::new(open.clone()).await?);
        sources.push(Source::Block(open));
    }
    let mut writer = TableWriter::new(files, MERGED_LEVEL);
    let mut samples = SampleBuf::default();
    loop {
        let entries = next_series(&mut cursors).await?;
        if entries.is_empty() {
            return writer.finish();
        }
        for series in load(&sources, entries.into_list(), range, false).await? {
            samples.clear();
            series.read(&mut samples)?;
            if !samples.is_empty() {
                writer.push(series.labels(), &samples)?;
            }
        }
    }
}

/// A place in the series of a block.
struct Cursor {
    block: OpenBlock,
    /// The page in which it is, and where.
    page: Arc<Vec<SeriesEntry>>,
    at: usize,
    id: u32,
}

impl Cursor {
    async fn new(block: OpenBlock) -> Result<Self> {
        let mut cursor = Self {
            block,
            page: Arc::default(),
            at: 0,
            id: 0,
        };
        cursor.turn().await?;
        Ok(cursor)
    }

    fn entry(&self) -> Option<&SeriesEntry> {
        self.page.get(self.at)
    }

    async fn advance(&mut self) -> Result<()> {
        self.at += 1;
        self.id += 1;
        self.turn().await
    }

    /// Goes to the next page at the end of one.
    async fn turn(&mut self) -> Result<()> {
        if self.at >= self.page.len() && self.id < self.block.len() {
            (self.page, self.at) = self.block.page_of_series(self.id).await?;
        }
        Ok(())
    }
}

/// The next label sets over all blocks, in their order.
async fn next_series(cursors: &mut [Cursor]) -> Result<Entries> {
    let mut entries = Entries::default();
    while entries.len() < BATCH_SERIES {
        let fronts = cursors.iter().filter_map(Cursor::entry);
        let Some(least) = fronts.map(|e| &e.labels).min().cloned() else {
            break;
        };
        for (at, cursor) in cursors.iter_mut().enumerate() {
            if let Some(entry) = cursor.entry().filter(|e| e.labels == least) {
                entries.add(least.clone(), Place::of_block(at, cursor.id, entry));
                cursor.advance().await?;
            }
        }
    }
    Ok(entries)
}
