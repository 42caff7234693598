//! After a start nothing of the blocks is at hand, neither here nor in the system's page cache, and the first queries would wait for
//! the disk again and again. What they ask for first is read ahead: the indexes of the newest blocks of metrics, of which a bounded part
//! is kept ready to be looked into, and into the page cache their samples.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustix::fs::Advice;

use crate::block::Block;
use crate::generation::blocking;
use crate::metrics;
use crate::model::{Labels, Tenant};
use crate::storage::Storage;

/// Bytes of indexes that are read at most, and of files of local blocks that the system is asked to read.
const MAX_BYTES: u64 = 64 << 20;

/// Of more at once Linux would read only the beginning: as much as it reads ahead of a reader.
const ASKED_AT_ONCE_BYTES: u64 = 128 << 10;

/// Bytes of unpacked pages of indexes that are kept at most, and their share of the cache. Fifty thousand series take some twelve MiB.
const MAX_KEPT_BYTES: u64 = 16 << 20;
const KEPT_SHARE: u64 = 4;

/// What there is to be asked for after a start.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The time in milliseconds at which the newest block of metrics ends.
    pub end_ms: i64,
    /// Whose it is.
    pub tenant: Tenant,
    /// Some of its series.
    pub series: Vec<Labels>,
}

impl Storage {
    /// Reads the indexes of the newest blocks of metrics ahead, and tells what the last of them holds, so many of its series at most; `None`
    /// where there is none. What fails is left to the query that meets it.
    pub async fn warm_up(&self, series: u32) -> Option<Newest> {
        let view = self.metrics.view();
        let newest = view.blocks.last()?;
        let mut left = MAX_BYTES;
        let mut left_kept = MAX_KEPT_BYTES.min(newest.decoded_capacity_bytes() / KEPT_SHARE);
        for block in view.blocks.iter().rev() {
            let Some(rest) = left.checked_sub(metrics::index_bytes(block)) else {
                break;
            };
            left = rest;
            match metrics::read_index_ahead(block, &view.tombstones, left_kept).await {
                Ok(kept) => left_kept = left_kept.saturating_sub(kept),
                Err(e) => {
                    tracing::debug!(error = %e, block = %block.folder(), "its index was not read ahead");
                }
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
        let manifest = newest.manifest();
        let series = metrics::some_series(newest, &view.tombstones, series).await;
        Some(Newest {
            end_ms: manifest.max_time,
            tenant: Tenant::new(&manifest.tenant).ok()?,
            series: series.ok()?,
        })
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
            for start in (0..file.bytes).step_by(ASKED_AT_ONCE_BYTES as usize) {
                let part = NonZeroU64::new(ASKED_AT_ONCE_BYTES);
                let _ = rustix::fs::fadvise(&opened, start, part, Advice::WillNeed);
            }
        }
    }
}
