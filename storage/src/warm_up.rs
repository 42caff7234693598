//! After a start nothing of the blocks is at hand, neither here nor in the system's page cache, and the first queries would wait for
//! the disk again and again. What they ask for first is read ahead: the indexes of the newest blocks of metrics, and into the page cache
//! their samples.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::Advice;

use crate::block::Block;
use crate::generation::blocking;
use crate::metrics;
use crate::storage::Storage;

/// Bytes of indexes that are read at most, and of files of local blocks that the system is asked to read.
const MAX_BYTES: u64 = 64 << 20;

impl Storage {
    /// Reads the indexes of the newest blocks of metrics ahead, and tells the time in milliseconds at which the last of them ends. What
    /// fails is left to the query that meets it.
    pub async fn warm_up(&self) -> Option<i64> {
        let view = self.metrics.view();
        let newest = view.blocks.last()?.manifest().max_time;
        let mut left = MAX_BYTES;
        for block in view.blocks.iter().rev() {
            let Some(rest) = left.checked_sub(metrics::index_bytes(block)) else {
                break;
            };
            left = rest;
            let read = metrics::read_index_ahead(Arc::clone(block), &view.tombstones).await;
            if let Err(e) = read {
                tracing::debug!(error = %e, block = %block.folder(), "its index was not read ahead");
            }
        }
        let blocks = view.blocks.clone();
        let asked = blocking(move || {
            ask_for_files(&blocks);
            Ok(())
        });
        if let Err(e) = asked.await {
            tracing::debug!(error = %e, "files of blocks were not read ahead");
        }
        Some(newest)
    }
}

/// Has the system read the files of local blocks into its page cache, those of the newest blocks first.
fn ask_for_files(blocks: &[Arc<Block>]) {
    let mut left = MAX_BYTES;
    for (_, file, path) in blocks.iter().rev().flat_map(|block| block.local_files()) {
        let Some(rest) = left.checked_sub(file.bytes) else {
            return;
        };
        left = rest;
        // What fails is read when it is needed.
        if let Ok(opened) = File::open(&path) {
            let _ = rustix::fs::fadvise(&opened, 0, None, Advice::WillNeed);
        }
    }
}
