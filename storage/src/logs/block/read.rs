//! Reads pages of a block.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use futures::StreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::{BlockIndex, BlockPage, ENTRIES_FILE, INDEX_FILE, corrupt};
use crate::block::{Block, BlockFile};
use crate::error::Result;
use crate::model::EntryBuf;

/// Rows decoded at once.
const BATCH_ROWS: usize = 4096;
/// `timestamp`, `line`, `structured_metadata`.
const COLUMNS: [usize; 3] = [1, 3, 4];

/// A block's index, from the cache or read now.
pub(in crate::logs) async fn index(block: &Arc<Block>) -> Result<Arc<BlockIndex>> {
    let load = async {
        let size = block.file_size(INDEX_FILE)?;
        let bytes = block.read(INDEX_FILE, 0..size).await?;
        let index = BlockIndex::decode(&bytes)?;
        let labels: usize = index.streams.iter().map(|l| l.as_bytes().len() + 32).sum();
        let held = labels + index.pages.len() * size_of::<BlockPage>() + index.index.held_bytes();
        Ok((index, held as u64))
    };
    block.cached("index", load).await
}

/// Reads pages of one block.
pub(in crate::logs) struct BlockReader {
    file: BlockFile,
    metadata: ArrowReaderMetadata,
}

impl BlockReader {
    pub(in crate::logs) async fn open(block: &Arc<Block>) -> Result<Self> {
        let file = block.parquet(ENTRIES_FILE)?;
        let metadata = file.metadata().await?;
        let metadata = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
        Ok(Self { file, metadata })
    }

    /// Adds the entries of a page that `wanted` names by their times.
    pub(in crate::logs) async fn read(
        &self,
        page: &BlockPage,
        wanted: impl Fn(i64) -> bool,
        out: &mut EntryBuf,
    ) -> Result<()> {
        // Row groups before the page are left out whole: their selectors would be many.
        let (mut skip, mut group_start, mut groups) = (page.first_row, 0_u64, Vec::new());
        let end = page.first_row + u64::from(page.rows);
        for (i, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let rows = group.num_rows() as u64;
            if page.first_row < group_start + rows && group_start < end {
                if groups.is_empty() {
                    skip = page.first_row - group_start;
                }
                groups.push(i);
            }
            group_start += rows;
        }
        let selection = RowSelection::from(vec![
            RowSelector::skip(skip as usize),
            RowSelector::select(page.rows as usize),
        ]);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
            self.file.clone(),
            self.metadata.clone(),
        );
        let mask = ProjectionMask::roots(builder.parquet_schema(), COLUMNS);
        let mut stream = builder
            .with_row_groups(groups)
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(BATCH_ROWS)
            .build()?;
        while let Some(batch) = stream.next().await.transpose()? {
            put(&batch, &wanted, out)?;
        }
        Ok(())
    }
}

fn put(batch: &RecordBatch, wanted: &impl Fn(i64) -> bool, out: &mut EntryBuf) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(corrupt);
    let times = column("timestamp")?
        .as_primitive_opt::<TimestampNanosecondType>()
        .ok_or_else(corrupt)?;
    let lines = column("line")?.as_string_opt::<i32>().ok_or_else(corrupt)?;
    let metadata = column("structured_metadata")?
        .as_map_opt()
        .ok_or_else(corrupt)?;
    let keys = metadata.keys().as_string_opt::<i32>().ok_or_else(corrupt)?;
    let values = metadata
        .values()
        .as_string_opt::<i32>()
        .ok_or_else(corrupt)?;
    let offsets = metadata.value_offsets();
    for at in 0..batch.num_rows() {
        let t_ns = times.value(at);
        if wanted(t_ns) {
            let pairs = offsets[at] as usize..offsets[at + 1] as usize;
            let pairs = pairs.map(|i| (keys.value(i), values.value(i)));
            out.push(t_ns, lines.value(at), pairs);
        }
    }
    Ok(())
}
