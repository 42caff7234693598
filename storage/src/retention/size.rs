//! Retention by size: the oldest blocks of the three signals go first when all of them take more than they may.
//!
//! The blocks of archives count and stay.

use std::collections::HashSet;
use std::sync::Arc;

use ulid::Ulid;

use crate::block::Block;
use crate::fail_point::{self, FailPoint};
use crate::generation::SignalStore;
use crate::model::Tenant;
use crate::signal::Head;

/// What counts of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sized {
    pub(crate) id: Ulid,
    /// Its last time in milliseconds.
    pub(crate) end_ms: i64,
    pub(crate) bytes: u64,
    /// Whether it stays whatever it takes.
    pub(crate) is_kept: bool,
}

/// The blocks that have to go so that the others take no more than a limit: the oldest ends first.
pub(crate) fn beyond(mut blocks: Vec<Sized>, limit_bytes: u64) -> HashSet<Ulid> {
    blocks.sort_by_key(|b| (b.end_ms, b.id));
    let mut total: u64 = blocks.iter().map(|b| b.bytes).sum();
    let mut gone = HashSet::new();
    for block in blocks.iter().filter(|b| !b.is_kept) {
        if total <= limit_bytes {
            break;
        }
        total -= block.bytes;
        gone.insert(block.id);
    }
    gone
}

impl<H: Head> SignalStore<H> {
    /// What counts of the visible blocks. Of one whose manifest cannot be read nothing is known: it stays.
    pub(crate) fn sized_blocks(&self) -> Vec<Sized> {
        let sized = |block: &Arc<Block>| {
            let m = block.manifest();
            Sized {
                id: block.id(),
                end_ms: m.max_time.div_euclid(H::SIGNAL.units_per_ms()),
                bytes: block.bytes(),
                is_kept: m.is_stand_in() || Tenant::is_archive(&m.tenant),
            }
        };
        self.view().blocks.iter().map(sized).collect()
    }

    /// Drops the blocks of these names that are this signal's.
    pub(crate) async fn drop_for_size(&self, ids: &HashSet<Ulid>) {
        let _removing = self.removing.lock().await;
        let gone: Vec<Arc<Block>> = {
            let view = self.view();
            let gone = view.blocks.iter().filter(|b| ids.contains(&b.id()));
            gone.map(Arc::clone).collect()
        };
        if gone.is_empty() {
            return;
        }
        if let Err(e) = self.complete_cuts(&gone, &[]).await {
            tracing::error!(signal = H::SIGNAL.as_str(), error = %e, "blocks beyond the size limit stay for now");
            return;
        }
        tracing::info!(
            signal = H::SIGNAL.as_str(),
            blocks = gone.len(),
            bytes = gone.iter().map(|b| b.bytes()).sum::<u64>(),
            "dropping the oldest blocks: all blocks together take more than --retention.size"
        );
        fail_point::reach(FailPoint::RetentionBeforeRemoval);
        self.replace(gone, Vec::new()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks as (end, bytes, kept); the positions of those that go.
    fn check(blocks: &[(i64, u64, bool)], limit_bytes: u64, expected: &[u64]) {
        let sized = (0..)
            .zip(blocks)
            .map(|(n, &(end_ms, bytes, is_kept))| Sized {
                id: Ulid::from_parts(n, 0),
                end_ms,
                bytes,
                is_kept,
            });
        let gone = beyond(sized.collect(), limit_bytes);
        let mut gone: Vec<u64> = gone.iter().map(Ulid::timestamp_ms).collect();
        gone.sort_unstable();
        assert_eq!(gone, expected, "{blocks:?} within {limit_bytes}");
    }

    #[test]
    fn the_oldest_go_until_the_others_fit() {
        let three = [(30, 10, false), (10, 10, false), (20, 10, false)];
        check(&three, 30, &[]);
        check(&three, 29, &[1]);
        check(&three, 20, &[1]);
        check(&three, 19, &[1, 2]);
        check(&three, 0, &[0, 1, 2]);
        check(&[], 0, &[]);
    }

    #[test]
    fn what_is_kept_counts_and_stays() {
        let blocks = [(10, 50, true), (20, 10, false), (30, 10, false)];
        check(&blocks, 60, &[1]);
        check(&blocks, 5, &[1, 2]);
    }
}
