//! Compaction: which blocks are merged (a pure function of manifests), and merging them.
//!
//! Only blocks of one tenant, signal and UTC day are merged, and only such as follow each other in the order of their
//! sequence numbers: that order decides which of two values for one place wins, and a merged block takes one place
//! in it. Small blocks of a day are merged level by level while the day is open, and all of them once it is over.
//!
//! With a bucket, blocks are merged there: those that wait for their upload stay as they are.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::block::{Block, MANIFEST, MANIFEST_COPY, Manifest, write_durably};
use crate::budget::{Holder, Refusal};
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::{Doomed, Merged, SignalStore, Staged, blocking};
use crate::recover::tenant_of;
use crate::signal::{Head, SignalKind};

/// So many blocks of a level make one of the next.
const FAN_IN: usize = 4;

/// Blocks merged at once.
const MAX_INPUTS: usize = 64;

/// Blocks that would come to more are left alone: the gain is small, the rewriting dear.
const MAX_BYTES: u64 = 2 << 30;

/// How long after its end a day is over: late writes have mostly come by then.
const DAY_CLOSES_AFTER_MS: i64 = 3 * 3600 * 1000;

/// How much to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What pays off at this time, in milliseconds.
    Due(i64),
    /// Whatever can be merged.
    All,
}

/// The runs of blocks to be merged, as positions in the list; each at least two, in order of sequence numbers, no
/// block twice. The manifests come in that order. Blocks that are `fixed` stay, and nothing is merged across them.
pub(crate) fn choose(
    manifests: &[&Manifest],
    signal: SignalKind,
    extent: Extent,
    fixed: impl Fn(usize) -> bool,
) -> Vec<Vec<usize>> {
    let mut days: BTreeMap<(&str, i64), Vec<usize>> = BTreeMap::new();
    for (i, m) in manifests.iter().enumerate() {
        let day = signal.day_of(m.min_time);
        if day == signal.day_of(m.max_time) {
            days.entry((&m.tenant, day)).or_default().push(i);
        }
    }
    let run = |day: i64, blocks: &[usize]| match extent {
        Extent::All => first_run(manifests, blocks),
        Extent::Due(now_ms) => {
            let end_ms = signal.day_span(day).max / signal.units_per_ms();
            let closed = now_ms > end_ms.saturating_add(DAY_CLOSES_AFTER_MS);
            if closed && pays_off(manifests, blocks) {
                first_run(manifests, blocks)
            } else {
                level_run(manifests, blocks)
            }
        }
    };
    days.into_iter()
        .filter_map(|((_, day), blocks)| {
            let free = blocks.split(|&i| fixed(i));
            free.map(|blocks| run(day, blocks)).find(|r| r.len() > 1)
        })
        .collect()
}

/// The first run of neighbours that stays within the bounds.
fn first_run(manifests: &[&Manifest], blocks: &[usize]) -> Vec<usize> {
    let mut rest = blocks;
    while !rest.is_empty() {
        let mut bytes = 0;
        let run: Vec<usize> = rest
            .iter()
            .copied()
            .take(MAX_INPUTS)
            .take_while(|&i| {
                bytes += size(manifests, i);
                bytes <= MAX_BYTES
            })
            .collect();
        if run.len() > 1 {
            return run;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    Vec::new()
}

/// A run of at least [`FAN_IN`] neighbours of one level; the lowest level first.
fn level_run(manifests: &[&Manifest], blocks: &[usize]) -> Vec<usize> {
    let level = |i: &usize| manifests.get(*i).map_or(0, |m| m.level);
    blocks
        .chunk_by(|a, b| level(a) == level(b))
        .filter(|run| run.len() >= FAN_IN)
        .min_by_key(|run| run.first().map(level))
        .map(|run| first_run(manifests, run))
        .unwrap_or_default()
}

/// Whether rewriting a day's largest block is worth what the others bring.
fn pays_off(manifests: &[&Manifest], blocks: &[usize]) -> bool {
    let sizes = blocks.iter().map(|&i| size(manifests, i));
    let largest = sizes.clone().max().unwrap_or(0);
    let others = sizes.sum::<u64>() - largest;
    blocks.len() >= FAN_IN || (blocks.len() > 1 && largest / 3 <= others)
}

fn size(manifests: &[&Manifest], i: usize) -> u64 {
    manifests
        .get(i)
        .map_or(0, |m| m.files.iter().map(|f| f.bytes).sum())
}

impl<H: Head> SignalStore<H> {
    /// Merges until nothing is left to merge.
    ///
    /// # Errors
    /// The first failure; answers are unchanged. Damage to one block keeps no other from being merged.
    pub(crate) async fn compact(&self, extent: Extent) -> Result<()> {
        let mut pending = self.removing.lock().await;
        if pending.is_none() && self.runs(extent).is_empty() {
            return Ok(());
        }
        self.may_change_home().await?;
        self.counted(self.finish_merge(&mut pending).await)?;
        let mut damage = None;
        loop {
            let mut progress = false;
            for inputs in self.runs(extent) {
                let merged = match self.merge_what_fits(inputs, &mut pending).await {
                    // There may be room the next time.
                    Err(e @ Error::MemoryLimit { .. }) => {
                        tracing::info!(signal = H::SIGNAL.as_str(), error = %e, "a compaction is put off");
                        continue;
                    }
                    merged => self.counted(merged),
                };
                match merged {
                    Ok(()) => progress = true,
                    Err(e @ Error::Corrupt { .. }) => damage = damage.or(Some(e)),
                    Err(e) => return Err(e),
                }
            }
            if !progress {
                return damage.map_or(Ok(()), Err);
            }
        }
    }

    pub(crate) fn counted(&self, result: Result<()>) -> Result<()> {
        if let Err(e) = &result {
            self.counters
                .compaction_failures
                .fetch_add(1, Ordering::Relaxed);
            tracing::error!(signal = H::SIGNAL.as_str(), error = %e, "a compaction failed");
        }
        result
    }

    /// Whether blocks may be put and removed where they stay.
    ///
    /// # Errors
    /// `Unavailable`, `NotOurs`, `ObjectStore`.
    pub(crate) async fn may_change_home(&self) -> Result<()> {
        let Some(bucket) = &self.context.bucket else {
            return Ok(());
        };
        bucket.check().await?;
        if self.listed.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::Unavailable {
            bucket: bucket.store.name().to_owned(),
            reason: "what it holds was not listed yet".to_owned(),
        })
    }

    /// The blocks to be merged. The view is let go: it would keep the files of merged blocks from being removed.
    fn runs(&self, extent: Extent) -> Vec<Vec<Arc<Block>>> {
        let view = self.view();
        let manifests: Vec<_> = view.blocks.iter().map(|b| b.manifest()).collect();
        let blocks = |run: &Vec<usize>| {
            let blocks = run.iter().filter_map(|&i| view.blocks.get(i));
            blocks.map(Arc::clone).collect()
        };
        let home = self.context.home();
        let fixed = |i: usize| {
            let block = view.blocks.get(i);
            block.is_none_or(|b| b.is_damaged() || !Arc::ptr_eq(b.store(), home))
        };
        choose(&manifests, H::SIGNAL, extent, fixed)
            .iter()
            .map(blocks)
            .collect()
    }

    /// Merges blocks into one, or only the first of them where memory is short.
    ///
    /// # Errors
    /// As [`Self::merge`], of two blocks at least.
    async fn merge_what_fits(
        &self,
        mut inputs: Vec<Arc<Block>>,
        pending: &mut Option<Merged>,
    ) -> Result<()> {
        loop {
            let count = inputs.len();
            // Not held: the files of merged blocks are removed when nobody holds them.
            let first_half = &inputs[..count.div_ceil(2)];
            let first_half: Vec<_> = first_half.iter().map(Arc::downgrade).collect();
            match self.merge(inputs, pending).await {
                Err(Error::MemoryLimit { .. }) if count > 2 => {
                    inputs = first_half.iter().filter_map(Weak::upgrade).collect();
                }
                merged => return merged,
            }
        }
    }

    /// Merges blocks into one. A single block is written anew, without what is deleted of it.
    ///
    /// # Errors
    /// `MemoryLimit` when it has to wait; what disk and bucket say.
    pub(crate) async fn merge(
        &self,
        inputs: Vec<Arc<Block>>,
        pending: &mut Option<Merged>,
    ) -> Result<()> {
        let Some(first) = inputs.first() else {
            return Ok(());
        };
        // Neighbours have mostly the same series. Where they have not, the work stops when memory runs short.
        let groups = inputs.iter().map(|b| b.manifest().groups).max();
        let groups = groups.unwrap_or(0);
        let budget = Arc::clone(&self.context.budget);
        let bytes = groups.saturating_mul(H::MERGE_BYTES);
        let held = budget.reserve_for(Holder::Compaction, "compaction", bytes)?;
        let mut writer = self.new_writer()?;
        let mut manifest = self.new_manifest(&writer, &tenant_of(first.manifest())?);
        let all = || inputs.iter().map(|b| b.manifest());
        manifest.level = all().map(|m| m.level).max().unwrap_or(0) + u32::from(inputs.len() > 1);
        manifest.wal_seq_min = all().map(|m| m.wal_seq_min).min().unwrap_or(0);
        manifest.wal_seq_max = all().map(|m| m.wal_seq_max).max().unwrap_or(0);
        manifest.resolution_ms = first.manifest().resolution_ms;
        // What is visible belongs to cuts that came to their end.
        manifest.completes_cut = true;
        // Also what the inputs replaced: should the removal of one of those have failed, it must not come back.
        manifest.replaces = all()
            .flat_map(|m| std::iter::once(&m.ulid).chain(&m.replaces))
            .cloned()
            .collect();
        let drop_before = self.retention_cutoff(&manifest.tenant);
        // Those that come while this runs hide rows of the merged block too: their numbers are higher.
        let tombstones = Arc::clone(&self.view().tombstones);
        manifest.deleted_through = tombstones.newest_of(&manifest.tenant);
        let blocks = inputs.clone();
        let runtime = tokio::runtime::Handle::current();
        let staged = blocking(move || {
            let merged = H::merge_blocks(&blocks, drop_before, &tombstones, &mut writer);
            let merged = budget.bounded(Refusal::Compactions, "compaction", merged);
            let merged = runtime.block_on(merged);
            drop(held);
            let Some(stats) = merged? else {
                return Ok(None);
            };
            manifest.files = writer.finish()?;
            manifest.describe(&stats);
            Ok(Some(Staged { writer, manifest }))
        })
        .await?;
        *pending = Some(Merged { inputs, staged });
        fail_point::reach(FailPoint::CompactWritten);
        self.finish_merge(pending).await
    }

    /// Brings a merged block to its place and its inputs on their way out. After a failure it is tried again with the
    /// same name.
    pub(crate) async fn finish_merge(&self, pending: &mut Option<Merged>) -> Result<()> {
        let Some(merged) = pending.as_ref() else {
            return Ok(());
        };
        let blocks = self
            .publish(self.context.home(), merged.staged.as_slice())
            .await?;
        fail_point::reach(FailPoint::CompactPublished);
        self.enter(&blocks).await?;
        fail_point::reach(FailPoint::CompactEntered);
        self.complete_cuts(&merged.inputs, &blocks).await?;
        if let Some(Merged { inputs, staged }) = pending.take() {
            self.counters.compactions.fetch_add(1, Ordering::Relaxed);
            if let Some(Staged { writer, manifest }) = staged {
                let files = (0u16..).zip(&manifest.files);
                let files = files.map(|(n, f)| (n, f.clone(), writer.path_of(&f.name)));
                self.context
                    .home()
                    .adopt(writer.ulid(), files.collect())
                    .await;
            }
            fail_point::reach(FailPoint::CompactBeforeRemoval);
            self.replace(inputs, blocks).await;
        }
        Ok(())
    }

    /// Sees to it that on local disk the blocks of a cut count without the one that completes it, should that one go and
    /// nothing come in its place. `removing` is held.
    ///
    /// # Errors
    /// `Io`; nothing may be removed then.
    pub(crate) async fn complete_cuts(
        &self,
        gone: &[Arc<Block>],
        new: &[Arc<Block>],
    ) -> Result<()> {
        let view = self.view();
        let stays = |b: &&Arc<Block>| !gone.iter().any(|g| Arc::ptr_eq(g, b));
        let mut writes = Vec::new();
        for block in view.blocks.iter().filter(stays) {
            let m = block.manifest();
            let completed_by = |b: &Arc<Block>| {
                let other = b.manifest();
                other.completes_cut
                    && other.tenant == m.tenant
                    && other.wal_seq_max >= m.wal_seq_max
            };
            if !gone.iter().any(completed_by)
                || view
                    .blocks
                    .iter()
                    .filter(stays)
                    .chain(new)
                    .any(completed_by)
            {
                continue;
            }
            let mut complete = m.clone();
            complete.completes_cut = true;
            for name in [MANIFEST_COPY, MANIFEST] {
                let path = block.folder().clone().join(name);
                let path = block.store().local_path(&path);
                writes.extend(path.map(|path| (path, complete.encode())));
            }
        }
        drop(view);
        blocking(move || {
            let mut writes = writes.iter();
            writes.try_for_each(|(path, bytes)| {
                write_durably(path, bytes)?;
                fail_point::reach(FailPoint::CompactCutCompleted);
                Ok(())
            })
        })
        .await
    }

    /// Takes blocks out of the view and others in, and begins to remove the former. `removing` is held.
    pub(crate) async fn replace(&self, gone: Vec<Arc<Block>>, new: Vec<Arc<Block>>) {
        self.leave(&gone).await;
        fail_point::reach(FailPoint::RemovalLeft);
        self.switch(|view| {
            view.blocks
                .retain(|b| !gone.iter().any(|g| Arc::ptr_eq(g, b)));
            view.blocks.extend(new);
        });
        self.doomed
            .lock()
            .extend(gone.into_iter().map(Doomed::removed));
        fail_point::reach(FailPoint::RemovalSwitched);
        self.reap().await;
    }

    /// Removes doomed blocks: the manifests of all, the files of those that no query holds. What fails is tried
    /// again the next time.
    pub(crate) async fn reap(&self) {
        let _reaping = self.reaping.lock().await;
        let mut doomed = std::mem::take(&mut *self.doomed.lock());
        let reachable = match &self.context.bucket {
            Some(bucket) if doomed.iter().any(|d| d.block.store().is_remote()) => {
                bucket.outage().is_none() && bucket.check().await.is_ok()
            }
            _ => false,
        };
        let mut left = Vec::new();
        for mut d in doomed.drain(..) {
            let store = d.block.store();
            if store.is_remote() && !reachable {
                left.push(d);
                continue;
            }
            let folder = d.block.folder();
            if !d.manifest_gone {
                match store.delete_manifest(folder).await {
                    Ok(()) => {
                        d.manifest_gone = true;
                        fail_point::reach(FailPoint::RemovalManifest);
                    }
                    Err(e) => {
                        tracing::warn!(block = %folder, error = %e, "a block's manifest could not be removed yet");
                    }
                }
            }
            if !d.manifest_gone || Arc::strong_count(&d.block) > 1 {
                left.push(d);
                continue;
            }
            match &self.context.bucket {
                Some(bucket) if d.moved => {
                    let files = d.block.local_files();
                    bucket.store.adopt(d.block.id(), files).await;
                }
                _ => store.forget(d.block.id()).await,
            }
            if let Err(e) = store.delete_folder(folder).await {
                tracing::warn!(block = %folder, error = %e, "a block's files could not be removed yet");
                left.push(d);
                continue;
            }
            fail_point::reach(FailPoint::RemovalDone);
        }
        self.doomed.lock().extend(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::ManifestFile;

    const HOUR: i64 = 3_600_000;

    fn manifest(n: u64, day: i64, level: u32, bytes: u64) -> Manifest {
        Manifest {
            format_version: 1,
            min_reader_version: 1,
            ulid: format!("{n}"),
            tenant: "t".to_owned(),
            signal: "metrics".to_owned(),
            min_time: day * 24 * HOUR,
            max_time: day * 24 * HOUR + HOUR,
            resolution_ms: 0,
            level,
            wal_seq_min: n * 10,
            wal_seq_max: n * 10 + 9,
            completes_cut: true,
            replaces: Vec::new(),
            deleted_through: 0,
            rows: 1,
            groups: 1,
            raw_bytes: 16,
            files: vec![ManifestFile {
                name: "f".to_owned(),
                bytes,
                ..ManifestFile::default()
            }],
        }
    }

    /// Blocks as (day, level, bytes), in order; the chosen runs.
    fn check(blocks: &[(i64, u32, u64)], extent: Extent, expected: &[&[usize]]) {
        let manifests: Vec<_> = blocks
            .iter()
            .zip(0..)
            .map(|(&(day, level, bytes), n)| manifest(n, day, level, bytes))
            .collect();
        let manifests: Vec<_> = manifests.iter().collect();
        let runs = choose(&manifests, SignalKind::Metrics, extent, |_| false);
        assert_eq!(runs, expected, "{blocks:?}");
    }

    #[test]
    fn an_open_day_is_merged_level_by_level() {
        let noon = Extent::Due(12 * HOUR);
        check(&[(0, 1, 9); 3], noon, &[]);
        check(&[(0, 1, 9); 4], noon, &[&[0, 1, 2, 3]]);
        check(&[(0, 2, 9), (0, 1, 9), (0, 1, 9), (0, 1, 9)], noon, &[]);
        let five = [(0, 2, 9), (0, 1, 9), (0, 1, 9), (0, 1, 9), (0, 1, 9)];
        check(&five, noon, &[&[1, 2, 3, 4]]);
        check(&[(0, 2, 9); 4], noon, &[&[0, 1, 2, 3]]);
    }

    #[test]
    fn a_day_that_is_over_becomes_one_block_where_that_pays() {
        let next_day = Extent::Due(28 * HOUR);
        check(&[(0, 2, 90), (0, 1, 40)], next_day, &[&[0, 1]]);
        check(&[(0, 2, 900), (0, 1, 4)], next_day, &[]);
        check(&[(0, 2, 900), (0, 1, 4)], Extent::All, &[&[0, 1]]);
        check(&[(0, 2, 90), (0, 1, 40)], Extent::Due(26 * HOUR), &[]);
    }

    #[test]
    fn nothing_is_merged_across_a_block_that_stays() {
        let manifests: Vec<_> = (0..6).map(|n| manifest(n, 0, 1, 9)).collect();
        let manifests: Vec<_> = manifests.iter().collect();
        let runs =
            |fixed: usize| choose(&manifests, SignalKind::Metrics, Extent::All, |i| i == fixed);
        assert_eq!(runs(5), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(runs(1), [vec![2, 3, 4, 5]]);
        assert_eq!(runs(2), [vec![0, 1]], "one run of a day at a time");
    }

    #[test]
    fn days_stay_apart_and_large_blocks_alone() {
        let blocks = [(0, 1, 1), (1, 1, 1), (0, 1, 1), (1, 1, 1), (2, 1, 1)];
        check(&blocks, Extent::All, &[&[0, 2], &[1, 3]]);
        check(&[(0, 3, MAX_BYTES), (0, 1, 1)], Extent::All, &[]);
        let around = [(0, 1, 1), (0, 3, MAX_BYTES), (0, 1, 1), (0, 1, 1)];
        check(&around, Extent::All, &[&[2, 3]]);
    }
}
