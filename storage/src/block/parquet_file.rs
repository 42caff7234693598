//! A Parquet file of a block, for parquet's asynchronous readers.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::Block;
use super::cache::Slot;
use crate::error::{Error, Result};

/// Bytes at the end of a file that are read at once, in the hope that footer and page index are among them.
const FOOTER_GUESS_BYTES: usize = 64 * 1024;

/// A Parquet file of a block. Cheap to clone; holds the block.
#[derive(Clone, Debug)]
pub(crate) struct BlockFile {
    block: Arc<Block>,
    name: String,
    index: u16,
    bytes: u64,
}

impl BlockFile {
    pub(super) fn new(block: Arc<Block>, name: String, index: u16, bytes: u64) -> Self {
        Self {
            block,
            name,
            index,
            bytes,
        }
    }

    /// Footer and page index, from the cache or read now.
    ///
    /// # Errors
    /// What the object store says, or `Parquet`.
    pub(crate) async fn metadata(&self) -> Result<Arc<ParquetMetaData>> {
        let load = async {
            let mut file = self.clone();
            let metadata = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER_GUESS_BYTES))
                .load_and_finish(&mut file, self.bytes)
                .await?;
            let held = metadata.memory_size() as u64;
            Ok((metadata, held))
        };
        self.block
            .cached_slot(Slot::ParquetMetadata(self.index), load)
            .await
    }
}

impl AsyncFileReader for BlockFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            self.block
                .read(&self.name, range)
                .await
                .map_err(into_parquet)
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            self.block
                .read_ranges(&self.name, ranges)
                .await
                .map_err(into_parquet)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move { self.metadata().await.map_err(into_parquet) }.boxed()
    }
}

fn into_parquet(e: Error) -> ParquetError {
    match e {
        Error::Parquet(e) => e,
        e => ParquetError::External(Box::new(e)),
    }
}
