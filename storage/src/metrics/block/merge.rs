//! Blocks of one tenant → one block with the same answers, in bounded memory: series by series in order of labels.

use std::sync::Arc;

use super::OpenBlock;
use super::writer::TableWriter;
use crate::block::Block;
use crate::error::Result;
use crate::metrics::select::{Entries, Place, Source, load};
use crate::model::{Labels, MsRange, SampleBuf};
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
    for block in blocks {
        sources.push(Source::Block(
            OpenBlock::open(Arc::clone(block), tombstones).await?,
        ));
    }
    let mut writer = TableWriter::new(files);
    let mut next: Vec<u32> = vec![0; sources.len()];
    let mut samples = SampleBuf::default();
    loop {
        let entries = next_series(&sources, &mut next);
        if entries.is_empty() {
            return writer.finish();
        }
        for series in load(&sources, entries, range).await? {
            samples.clear();
            series.read(&mut samples)?;
            if !samples.is_empty() {
                writer.push(series.labels(), &samples)?;
            }
        }
    }
}

/// The next label sets over all blocks, in their order; `next` holds the next row of each series table.
fn next_series(sources: &[Source], next: &mut [u32]) -> Entries {
    let mut entries = Entries::default();
    let labels_at = |at: usize, id: u32| match &sources[at] {
        Source::Block(block) if (id as usize) < block.table.index.len() => {
            Some(block.table.index.labels(id))
        }
        _ => None,
    };
    let mut fronts: Vec<Option<Labels>> = (0..sources.len())
        .map(|at| labels_at(at, next[at]))
        .collect();
    while entries.len() < BATCH_SERIES {
        let Some(least) = fronts.iter().flatten().min().cloned() else {
            break;
        };
        for at in 0..sources.len() {
            if fronts[at].as_ref() == Some(&least) {
                entries.add(least.clone(), Place::Id { at, id: next[at] });
                next[at] += 1;
                fronts[at] = labels_at(at, next[at]);
            }
        }
    }
    entries
}
