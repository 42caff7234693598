//! The life of a signal: writes into the active generation and its log, cuts, and the view that queries take.
//!
//! Invariants:
//! - A record's number and its place in the head belong together: both happen under the gate's read lock, and a freeze
//!   takes the write lock. So a frozen generation holds exactly the records between two numbers.
//! - Generations become blocks in the order in which they were frozen; one at most is frozen at a time.
//! - The view changes as a whole, in one step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::block::{Block, BlockStore, BlockWriter, FORMAT_VERSION, Manifest, READER_VERSION};
use crate::budget::{Holder, Reservation};
use crate::context::Context;
use crate::deletion::Deletions;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::model::{Record, Tenant};
use crate::signal::{Applied, Head, View};
use crate::storage::{HeadStats, SignalStats};
use crate::wal::Wal;

/// Refused items for which room is made in the log before their number is known. A longer list finds its room in the same
/// segment or the next one.
const EXPECTED_REFUSED: usize = 64;

/// One signal: log, head and blocks of all tenants.
pub(crate) struct SignalStore<H: Head> {
    pub(crate) context: Arc<Context>,
    pub(crate) wal: Arc<Wal>,
    /// Read: a write is between head and log. Write: no write is.
    pub(crate) gate: RwLock<()>,
    pub(crate) deletions: Deletions,
    view: RwLock<Arc<View<H>>>,
    /// The frozen generation, and how far it is.
    pub(crate) cutting: tokio::sync::Mutex<Option<Cut<H>>>,
    /// The last record before the active generation.
    began_after: AtomicU64,
    /// Bytes of the log at the last snapshot, and the size of that.
    pub(crate) snapshot_mark: AtomicU64,
    pub(crate) snapshot_bytes: AtomicU64,
    /// Held by whoever takes blocks away: compaction, retention. A merged block that could not be brought to its place
    /// has to get there before anything else is merged: it may be visible in the store already.
    pub(crate) removing: tokio::sync::Mutex<Option<Merged>>,
    /// Held by whoever changes what the bucket has: one upload at a time.
    pub(crate) uploading: tokio::sync::Mutex<Uploads>,
    /// Whether the view has what the bucket has. Not so after a start without it.
    pub(crate) listed: AtomicBool,
    /// Blocks that are in no view of a new query any more.
    pub(crate) doomed: Mutex<Vec<Doomed>>,
    /// Held while the doomed are removed: the list is not whole then.
    pub(crate) reaping: tokio::sync::Mutex<()>,
    /// Time of the first write into the active generation.
    pub(crate) oldest_write_ms: AtomicI64,
    /// What the active and the frozen head hold, in the budget.
    held: Mutex<[Reservation; 2]>,
    /// Items taken since start, a tenant.
    appended: Mutex<BTreeMap<Tenant, u64>>,
    pub(crate) kick: Notify,
    /// Tells the uploader that a cut has left blocks.
    pub(crate) kick_upload: Notify,
    pub(crate) counters: Counters,
}

/// Counts since start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) cuts: AtomicU64,
    pub(crate) cut_failures: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_failures: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) corrupt_records: AtomicU64,
    pub(crate) snapshots: AtomicU64,
}

/// A block on its way out.
pub(crate) struct Doomed {
    pub(crate) block: Arc<Block>,
    pub(crate) manifest_gone: bool,
    /// Whether it goes because it lies in the bucket now; what is kept of it in memory serves on.
    pub(crate) moved: bool,
}

impl Doomed {
    pub(crate) const fn removed(block: Arc<Block>) -> Self {
        Self {
            block,
            manifest_gone: false,
            moved: false,
        }
    }
}

/// A frozen generation on its way into blocks. Whatever was done of it is not done again after a failure.
pub(crate) struct Cut<H> {
    head: Arc<H>,
    seq_max: u64,
    done: BTreeMap<Tenant, Vec<Arc<Block>>>,
    staged: Option<(Tenant, Vec<Staged>)>,
}

/// A merged block on its way to its place, and what it stands for.
pub(crate) struct Merged {
    pub(crate) inputs: Vec<Arc<Block>>,
    /// None when nothing was left after retention.
    pub(crate) staged: Option<Staged>,
}

/// What the uploads of a signal remember.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    /// Checksum of what was last put up of what no block holds.
    pub(crate) remembered: Option<u32>,
}

/// A written block that is not at its place yet.
pub(crate) struct Staged {
    pub(crate) writer: BlockWriter,
    pub(crate) manifest: Manifest,
}

impl<H: Head> SignalStore<H> {
    /// A signal with these visible blocks and an empty head.
    pub(crate) fn new(context: Arc<Context>, wal: Wal, blocks: Vec<Arc<Block>>) -> Self {
        let active = Arc::new(H::new(context.head_options(), None));
        let held = [Holder::Heads, Holder::FrozenHeads].map(|h| context.budget.gauge(h));
        let held = Mutex::new(held);
        Self {
            wal: Arc::new(wal),
            gate: RwLock::new(()),
            deletions: Deletions::default(),
            view: RwLock::new(Arc::new(View {
                active,
                frozen: Vec::new(),
                blocks: in_order(blocks),
                tombstones: Arc::default(),
            })),
            cutting: tokio::sync::Mutex::new(None),
            began_after: AtomicU64::new(0),
            snapshot_mark: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
            removing: tokio::sync::Mutex::new(None),
            uploading: tokio::sync::Mutex::default(),
            listed: AtomicBool::new(true),
            doomed: Mutex::new(Vec::new()),
            reaping: tokio::sync::Mutex::new(()),
            oldest_write_ms: AtomicI64::new(i64::MAX),
            held,
            appended: Mutex::new(BTreeMap::new()),
            kick: Notify::new(),
            kick_upload: Notify::new(),
            counters: Counters::default(),
            context,
        }
    }

    /// What a query sees. Its generations and the files of its blocks stay while it is held.
    pub(crate) fn view(&self) -> Arc<View<H>> {
        Arc::clone(&self.view.read())
    }

    /// Gives a batch to the active generation and writes its record; returns when the record is as durable as was
    /// asked for.
    ///
    /// # Errors
    /// `Closed`, `MemoryLimit`, `DiskFull` before anything was changed; `Poisoned`, `Io` when the record could not
    /// be written: it is not acknowledged, and may or may not be seen.
    pub(crate) async fn append<R>(
        &self,
        tenant: &Tenant,
        record: Record<'_>,
        apply: impl FnOnce(&H) -> Applied<R>,
    ) -> Result<Applied<R>> {
        let (seq, applied) = self.append_now(tenant, record, apply)?;
        if let Some(seq) = seq {
            self.wal.commit(seq).await?;
        }
        Ok(applied)
    }

    fn append_now<R>(
        &self,
        tenant: &Tenant,
        record: Record<'_>,
        apply: impl FnOnce(&H) -> Applied<R>,
    ) -> Result<(Option<u64>, Applied<R>)> {
        let gate = self.gate.read();
        self.context.admit_write(H::SIGNAL)?;
        let room = self
            .wal
            .reserve(tenant, record.payload.len(), EXPECTED_REFUSED)?;
        let active = Arc::clone(&self.view.read().active);
        let applied = apply(&active);
        let refused = applied.refused.len() as u64;
        self.counters.refused.fetch_add(refused, Ordering::Relaxed);
        if !applied.changed {
            return Ok((None, applied));
        }
        let seq = self.wal.append(room, tenant, &applied.refused, record)?;
        drop(gate);
        self.note_write(&active, tenant, record.received_ms, applied.taken);
        Ok((Some(seq), applied))
    }

    /// Keeps account of a write, during a replay too.
    pub(crate) fn note_write(&self, head: &Arc<H>, tenant: &Tenant, received_ms: i64, taken: u64) {
        self.counters.accepted.fetch_add(taken, Ordering::Relaxed);
        {
            let mut appended = self.appended.lock();
            match appended.get_mut(tenant) {
                Some(n) => *n += taken,
                None => {
                    appended.insert(tenant.clone(), taken);
                }
            }
        }
        let written_ms = received_ms.min(self.context.clock.now_ms());
        self.oldest_write_ms
            .fetch_min(written_ms, Ordering::Relaxed);
        if self.account(head) || self.wants_snapshot() {
            self.kick.notify_one();
        }
    }

    /// Whether the active head has grown too large.
    pub(crate) fn is_oversized(&self) -> bool {
        self.account(&self.view().active)
    }

    /// Brings the budget up to date; answers whether the active head has grown too large.
    pub(crate) fn account(&self, active: &Arc<H>) -> bool {
        let active_bytes = active.held_bytes();
        let frozen_bytes: u64 = self.view.read().frozen.iter().map(|h| h.held_bytes()).sum();
        let [in_active, in_frozen] = &mut *self.held.lock();
        in_active.set(active_bytes);
        in_frozen.set(frozen_bytes);
        self.context.note_active_bytes(H::SIGNAL, active_bytes)
    }

    /// Whether the active generation is due for a cut, by age or size.
    pub(crate) fn is_cut_due(&self) -> bool {
        let view = self.view();
        if view.active.is_empty() {
            return false;
        }
        let oldest_ms = self.oldest_write_ms.load(Ordering::Relaxed);
        let age_ms = self.context.clock.now_ms().saturating_sub(oldest_ms);
        let max_age_ms = self.context.options.head_max_age.as_millis();
        self.account(&view.active) || u128::try_from(age_ms).is_ok_and(|age| age >= max_age_ms)
    }

    /// Turns everything written before into visible blocks on local disk, and lets the log segments of it go. Whether
    /// the bucket is there does not matter.
    ///
    /// # Errors
    /// What the disk says. The frozen generation then stays in the view and the next cut goes on with it.
    pub(crate) async fn cut(&self) -> Result<()> {
        let mut pending = self.cutting.lock().await;
        let result = self.cut_pending(&mut pending).await;
        if result.is_err() {
            self.counters.cut_failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Whether a frozen generation waits for another attempt.
    pub(crate) fn has_frozen(&self) -> bool {
        !self.view.read().frozen.is_empty()
    }

    async fn cut_pending(&self, pending: &mut Option<Cut<H>>) -> Result<()> {
        if pending.is_some() {
            self.finish(pending).await?;
        }
        let (frozen, seq_max) = self.freeze();
        *pending = frozen;
        if pending.is_some() {
            fail_point::reach(FailPoint::CutFrozen);
            return self.finish(pending).await;
        }
        // Nothing is in the head, so nothing of the log is needed.
        self.drop_log_through(seq_max)
    }

    fn drop_log_through(&self, seq_max: u64) -> Result<()> {
        self.drop_snapshots_through(seq_max)?;
        fail_point::reach(FailPoint::CutSnapshotsDropped);
        self.wal.drop_through(seq_max)?;
        self.deletions.note_log_dropped(seq_max);
        Ok(())
    }

    /// Starts a new generation if the active one holds anything; answers also the number up to which the head holds
    /// nothing any more.
    fn freeze(&self) -> (Option<Cut<H>>, u64) {
        let _gate = self.gate.write();
        let mut view = self.view.write();
        let seq_max = self.wal.seal();
        if view.active.is_empty() {
            return (None, seq_max);
        }
        let head = Arc::clone(&view.active);
        let next = H::new(self.context.head_options(), Some(&head));
        let mut frozen = view.frozen.clone();
        frozen.push(Arc::clone(&head));
        *view = Arc::new(View {
            active: Arc::new(next),
            frozen,
            blocks: view.blocks.clone(),
            tombstones: Arc::clone(&view.tombstones),
        });
        self.oldest_write_ms.store(i64::MAX, Ordering::Relaxed);
        self.began_after.store(seq_max, Ordering::Relaxed);
        let cut = Cut {
            head,
            seq_max,
            done: BTreeMap::new(),
            staged: None,
        };
        (Some(cut), seq_max)
    }

    /// The active generation, the last record before it, and the newest record: it and all before it have been applied.
    pub(crate) fn settled(&self) -> (Arc<H>, u64, u64) {
        let _gate = self.gate.write();
        let to = self.wal.seal();
        let head = Arc::clone(&self.view.read().active);
        (head, self.began_after.load(Ordering::Relaxed), to)
    }

    async fn finish(&self, pending: &mut Option<Cut<H>>) -> Result<()> {
        let Some(cut) = pending.as_mut() else {
            return Ok(());
        };
        // Before the first manifest: a record that a block covers is not replayed, so what only the head knew of it has to
        // be on disk by then.
        self.keep_remembered(&cut.head).await?;
        for tenant in cut.head.tenants() {
            if !cut.done.contains_key(&tenant) {
                self.finish_tenant(cut, &tenant).await?;
            }
        }
        let blocks: Vec<_> = std::mem::take(&mut cut.done)
            .into_values()
            .flatten()
            .collect();
        let (head, seq_max) = (Arc::clone(&cut.head), cut.seq_max);
        *pending = None;
        fail_point::reach(FailPoint::CutBeforeSwitch);
        self.switch(|view| {
            view.frozen.retain(|h| !Arc::ptr_eq(h, &head));
            view.blocks.extend(blocks);
        });
        drop(head);
        self.account(&self.view().active);
        self.counters.cuts.fetch_add(1, Ordering::Relaxed);
        fail_point::reach(FailPoint::CutBeforeLog);
        let dropped = self.drop_log_through(seq_max);
        fail_point::reach(FailPoint::CutDone);
        self.kick_upload.notify_one();
        dropped
    }

    async fn finish_tenant(&self, cut: &mut Cut<H>, tenant: &Tenant) -> Result<()> {
        let staged = match cut.staged.take() {
            Some((owner, staged)) if owner == *tenant => staged,
            _ => self.stage(cut, tenant).await?,
        };
        fail_point::reach(FailPoint::CutStaged);
        match self.publish(&self.context.local, &staged).await {
            Ok(blocks) => {
                cut.done.insert(tenant.clone(), blocks);
                Ok(())
            }
            Err(e) => {
                // The next attempt must use the same names: some may be visible in the store already.
                cut.staged = Some((tenant.clone(), staged));
                Err(e)
            }
        }
    }

    /// Writes a tenant's blocks below `tmp`, oldest day first.
    async fn stage(&self, cut: &Cut<H>, tenant: &Tenant) -> Result<Vec<Staged>> {
        // A cut is never refused: it is what makes room. Writers see what it is about to take.
        let mut held = self.context.budget.gauge(Holder::Cuts);
        held.set(cut.head.held_bytes() / 4 * 3);
        // Everything up to the tenant's last cut is in a block, so this generation goes on behind it.
        let view = self.view();
        let own = view.blocks.iter().map(|b| b.manifest());
        let own = own.filter(|m| m.tenant == tenant.as_str());
        let seq_min = own.map(|m| m.wal_seq_max + 1).max().unwrap_or(1);
        let mut all = Vec::new();
        for day in cut.head.days(tenant) {
            let (head, tenant) = (Arc::clone(&cut.head), tenant.clone());
            let mut writer = self.new_writer()?;
            let mut manifest = self.new_manifest(&writer, &tenant);
            (manifest.wal_seq_min, manifest.wal_seq_max) = (seq_min, cut.seq_max);
            let written = blocking(move || {
                let span = H::SIGNAL.day_span(day);
                let Some(stats) = head.write_block(&tenant, span, &mut writer)? else {
                    return Ok(None);
                };
                manifest.files = writer.finish()?;
                manifest.describe(&stats);
                Ok(Some(Staged { writer, manifest }))
            });
            all.extend(written.await?);
        }
        if let Some(newest) = all.last_mut() {
            newest.manifest.completes_cut = true;
        }
        Ok(all)
    }

    /// Puts blocks into their place: all files, then the manifests in order.
    pub(crate) async fn publish(
        &self,
        store: &Arc<BlockStore>,
        staged: &[Staged],
    ) -> Result<Vec<Arc<Block>>> {
        for Staged { writer, manifest } in staged {
            store.put_files(writer, manifest).await?;
        }
        fail_point::reach(FailPoint::BlockBeforeManifest);
        let mut blocks = Vec::with_capacity(staged.len());
        for Staged { manifest, .. } in staged {
            store.put_manifest(manifest).await?;
            fail_point::reach(FailPoint::BlockManifest);
            let block = Block::new(Arc::clone(store), manifest.clone())?;
            blocks.push(Arc::new(block));
        }
        Ok(blocks)
    }

    pub(crate) fn new_writer(&self) -> Result<BlockWriter> {
        let now_ms = u64::try_from(self.context.clock.now_ms()).unwrap_or(0);
        let ulid = ulid::Ulid::from_parts(now_ms, rand::random());
        BlockWriter::create(&self.context.tmp, ulid)
    }

    pub(crate) fn new_manifest(&self, writer: &BlockWriter, tenant: &Tenant) -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            min_reader_version: READER_VERSION,
            ulid: writer.ulid().to_string(),
            tenant: tenant.as_str().to_owned(),
            signal: H::SIGNAL.as_str().to_owned(),
            min_time: 0,
            max_time: 0,
            resolution_ms: 0,
            level: 1,
            wal_seq_min: 0,
            wal_seq_max: 0,
            completes_cut: false,
            replaces: Vec::new(),
            deleted_through: 0,
            rows: 0,
            groups: 0,
            raw_bytes: 0,
            files: Vec::new(),
        }
    }

    /// Changes the view in one step.
    pub(crate) fn switch(&self, change: impl FnOnce(&mut View<H>)) {
        let mut view = self.view.write();
        let mut next = View {
            active: Arc::clone(&view.active),
            frozen: view.frozen.clone(),
            blocks: view.blocks.clone(),
            tombstones: Arc::clone(&view.tombstones),
        };
        change(&mut next);
        next.blocks = in_order(next.blocks);
        *view = Arc::new(next);
    }

    /// Figures of a tenant's active head.
    pub(crate) fn head_stats(&self, tenant: &Tenant) -> HeadStats {
        let mut stats = self.view().active.stats(Some(tenant));
        stats.appended = self.appended.lock().get(tenant).copied().unwrap_or(0);
        stats
    }

    /// Manifests of a tenant's blocks, in order of their sequence numbers.
    pub(crate) fn manifests(&self, tenant: &Tenant) -> Vec<Manifest> {
        let view = self.view();
        let all = view.blocks.iter().map(|b| b.manifest());
        all.filter(|m| m.tenant == tenant.as_str())
            .cloned()
            .collect()
    }

    /// The blocks on local disk that wait for the bucket, oldest first; those that are damaged wait for ever.
    pub(crate) fn waiting(&self) -> Vec<Arc<Block>> {
        if self.context.bucket.is_none() {
            return Vec::new();
        }
        let view = self.view();
        let waiting = view.blocks.iter().filter(|b| !b.store().is_remote());
        waiting.map(Arc::clone).collect()
    }

    /// Figures over all tenants.
    pub(crate) fn stats(&self) -> SignalStats {
        let view = self.view();
        let waiting = self.waiting();
        let (wal_bytes, wal_segments) = self.wal.size();
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let mut head = view.active.stats(None);
        head.appended = count(&self.counters.accepted);
        SignalStats {
            head,
            head_bytes: view.generations().map(|h| h.held_bytes()).sum(),
            blocks: view.blocks.len() as u64,
            tombstones: view.tombstones.len() as u64,
            block_bytes: view.blocks.iter().map(|b| b.bytes()).sum(),
            block_rows: view.blocks.iter().map(|b| b.manifest().rows).sum(),
            waiting_blocks: waiting.len() as u64,
            waiting_bytes: waiting.iter().map(|b| b.bytes()).sum(),
            wal_bytes,
            wal_segments,
            wal_corrupt_records: count(&self.counters.corrupt_records),
            wal_syncs: self.wal.syncs(),
            cuts: count(&self.counters.cuts),
            cut_failures: count(&self.counters.cut_failures),
            head_snapshots: count(&self.counters.snapshots),
            compactions: count(&self.counters.compactions),
            compaction_failures: count(&self.counters.compaction_failures),
            accepted: count(&self.counters.accepted),
            refused: count(&self.counters.refused),
        }
    }
}

/// Runs something that blocks on the pool for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => match e.try_into_panic() {
            // A broken invariant of ours: it has to reach whoever runs this task.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Closed),
        },
    }
}

/// Oldest records first: where two blocks disagree, the earlier write wins. The blocks of one cut share their records; of
/// those the oldest day comes first, and the one that completes the cut last. Names say nothing of that: they are drawn
/// within a millisecond.
fn in_order(mut blocks: Vec<Arc<Block>>) -> Vec<Arc<Block>> {
    blocks.sort_by(|a, b| {
        let key = |m: &Manifest| (m.wal_seq_min, m.wal_seq_max, m.min_time);
        let (a, b) = (a.manifest(), b.manifest());
        key(a).cmp(&key(b)).then_with(|| a.ulid.cmp(&b.ulid))
    });
    blocks
}

impl Manifest {
    /// Fills in what a written block holds.
    pub(crate) fn describe(&mut self, stats: &crate::signal::BlockStats) {
        self.min_time = stats.min_time;
        self.max_time = stats.max_time;
        self.rows = stats.rows;
        self.groups = stats.groups;
        self.raw_bytes = stats.raw_bytes;
    }
}

#[cfg(test)]
mod tests;
