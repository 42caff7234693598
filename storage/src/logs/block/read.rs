//! Reads pages of a block.

use std::ops::Range;
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

    /// The entries of pages, each in a buffer of its own, that `wanted` names by their times. The pages ascend in rows and do not
    /// overlap. What lies together in the file is fetched and decompressed once, however many pages share it.
    pub(in crate::logs) async fn read(
        &self,
        pages: &[BlockPage],
        wanted: impl Fn(i64) -> bool,
    ) -> Result<Vec<EntryBuf>> {
        let mut out = vec![EntryBuf::default(); pages.len()];
        let (groups, selection) = self.rows_of(pages);
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
        let mut rest = std::iter::zip(pages, &mut out);
        let (mut buf, mut left) = (None, 0);
        while let Some(batch) = stream.next().await.transpose()? {
            let mut at = 0;
            while at < batch.num_rows() {
                if left == 0 {
                    let (page, own) = rest.next().ok_or_else(corrupt)?;
                    (buf, left) = (Some(own), page.rows as usize);
                    continue;
                }
                let rows = left.min(batch.num_rows() - at);
                if let Some(buf) = buf.as_deref_mut() {
                    put(&batch, at..at + rows, &wanted, buf)?;
                }
                (at, left) = (at + rows, left - rows);
            }
        }
        if left > 0 || rest.any(|(page, _)| page.rows > 0) {
            return Err(corrupt());
        }
        Ok(out)
    }

    /// The row groups that hold rows of the pages, and the rows among those of these groups. Other groups are left out whole: their
    /// selectors would be many.
    fn rows_of(&self, pages: &[BlockPage]) -> (Vec<usize>, RowSelection) {
        let (mut groups, mut selectors) = (Vec::new(), Vec::new());
        let (mut group_start, mut next) = (0_u64, 0);
        for (i, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let group_end = group_start + group.num_rows() as u64;
            let mut row = group_start;
            while let Some(page) = pages.get(next).filter(|p| p.first_row < group_end) {
                let start = page.first_row.max(row);
                let page_end = page.first_row + u64::from(page.rows);
                let end = page_end.min(group_end);
                selectors.push(RowSelector::skip((start - row) as usize));
                selectors.push(RowSelector::select((end - start) as usize));
                row = end;
                if page_end > group_end {
                    break;
                }
                next += 1;
            }
            if row > group_start {
                groups.push(i);
                selectors.push(RowSelector::skip((group_end - row) as usize));
            }
            group_start = group_end;
        }
        (groups, RowSelection::from(selectors))
    }
}

fn put(
    batch: &RecordBatch,
    rows: Range<usize>,
    wanted: &impl Fn(i64) -> bool,
    out: &mut EntryBuf,
) -> Result<()> {
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
    for at in rows {
        let t_ns = times.value(at);
        if wanted(t_ns) {
            let pairs = offsets[at] as usize..offsets[at + 1] as usize;
            let pairs = pairs.map(|i| (keys.value(i), values.value(i)));
            out.push(t_ns, lines.value(at), pairs);
        }
    }
    Ok(())
}
