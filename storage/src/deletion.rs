//! Deletions: heads let go at once, blocks by tombstones, and tombstones go when no block needs them any more.
//!
//! ```text
//!  delete ─▶ a number of the log ─▶ view has the tombstone, heads are rid of it ─▶ file ─▶ answered
//!                                                                                  └─▶ bucket
//!  compaction, clean_tombstones ─▶ blocks without the rows ─▶ the tombstone goes
//! ```
//!
//! A write that is answered before a deletion begins is deleted, one that begins after the deletion was answered is not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use ulid::Ulid;

use crate::block::Patience;
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::{SignalStore, blocking};
use crate::model::{Matcher, Tenant};
use crate::signal::{Head, SignalKind, TimeSpan, View};
use crate::tombstone::{Tombstone, TombstoneFolder, Tombstones, decode, encode};

/// Each query looks at all that reach into its time, so there must not be too many: from this number on the next compaction
/// rewrites the blocks that need them.
const MANY_TOMBSTONES: usize = 64;

/// At this number a deletion waits until blocks were rewritten.
const MAX_TOMBSTONES: usize = 1024;

/// How often a selection is begun anew because of a deletion before it holds the next one up.
const TRIES: usize = 4;

/// Where the deletions of a signal are.
#[derive(Debug, Default)]
pub(crate) struct Deletions {
    /// Held by a deletion until it is durable, and by whoever takes tombstones away.
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Odd while a deletion changes what is seen.
    epoch: AtomicU64,
    /// Nothing up to this number is in the log any more.
    log_dropped: AtomicU64,
    /// Whether the bucket has the tombstones that the folder has.
    in_bucket: AtomicBool,
}

impl Deletions {
    pub(crate) fn note_log_dropped(&self, seq: u64) {
        self.log_dropped.fetch_max(seq, Ordering::SeqCst);
    }

    pub(crate) fn wants_bucket(&self) -> bool {
        !self.in_bucket.load(Ordering::SeqCst)
    }
}

impl<H: Head> SignalStore<H> {
    /// Runs a selection that copies from a view what changes in it, so that it sees a deletion wholly or not at all.
    ///
    /// # Errors
    /// What the selection says.
    pub(crate) async fn select<T, F>(&self, select: impl Fn(Arc<View<H>>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let epoch = || self.deletions.epoch.load(Ordering::SeqCst);
        for _ in 0..TRIES {
            let before = epoch();
            if before % 2 == 1 {
                drop(self.deletions.lock.lock().await);
                continue;
            }
            let selected = select(self.view()).await?;
            if epoch() == before {
                return Ok(selected);
            }
        }
        let _none_meanwhile = self.deletions.lock.lock().await;
        select(self.view()).await
    }

    /// Deletes what passes all matchers of any of the lists within a span of time. When this returns it is seen by no
    /// query that begins, and never again; what is written from now on is.
    ///
    /// # Errors
    /// `Closed`, `Poisoned` before anything was changed; `Io` when the deletion could not be made durable: it then holds
    /// until the process ends.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        tenant: &Tenant,
        any_of: Vec<Vec<Matcher>>,
        span: TimeSpan,
    ) -> Result<()> {
        if self.context.is_closed() {
            return Err(Error::Closed);
        }
        if span.min > span.max {
            return Ok(());
        }
        if self.view().tombstones.len() + any_of.len() > MAX_TOMBSTONES {
            self.clean_tombstones().await?;
        }
        let lock = Arc::clone(&self.deletions.lock).lock_owned().await;
        let (store, tenant) = (Arc::clone(self), tenant.clone());
        // A caller that goes away does not end it halfway.
        blocking(move || {
            let _lock = lock;
            store.delete_now(&tenant, any_of, span)
        })
        .await?;
        self.kick_upload.notify_one();
        Ok(())
    }

    fn delete_now(&self, tenant: &Tenant, any_of: Vec<Vec<Matcher>>, span: TimeSpan) -> Result<()> {
        let deleted_at_ms = self.context.clock.now_ms();
        let time = u64::try_from(deleted_at_ms).unwrap_or(0);
        let mut new = Vec::with_capacity(any_of.len());
        {
            let _gate = self.gate.write();
            for matchers in any_of {
                new.push(Arc::new(Tombstone {
                    id: Ulid::from_parts(time, rand::random()),
                    tenant: tenant.clone(),
                    seq: self.wal.take_number()?,
                    span,
                    matchers,
                    deleted_at_ms,
                }));
            }
            self.deletions.epoch.fetch_add(1, Ordering::SeqCst);
            self.switch(|view| {
                view.tombstones = Arc::new(view.tombstones.with(new.iter().map(Arc::clone)));
            });
            let view = self.view();
            for head in view.generations() {
                new.iter().for_each(|t| head.delete(t));
            }
            self.deletions.epoch.fetch_add(1, Ordering::SeqCst);
            self.account(&view.active);
        }
        fail_point::reach(FailPoint::DeleteApplied);
        let folder = self.tombstone_folder();
        for tombstone in &new {
            folder.keep(tombstone)?;
            fail_point::reach(FailPoint::DeleteKept);
        }
        self.deletions.in_bucket.store(false, Ordering::SeqCst);
        let covered = |old: &&Arc<Tombstone>| new.iter().any(|t| t.id != old.id && t.covers(old));
        let view = self.view();
        let covered: Vec<_> = view.tombstones.iter().filter(covered).collect();
        self.remove_tombstones(&covered.into_iter().map(Arc::clone).collect::<Vec<_>>())?;
        fail_point::reach(FailPoint::DeleteDone);
        Ok(())
    }

    /// Rewrites the blocks of all tenants that have deleted rows, those of the heads included, and lets the tombstones go.
    ///
    /// # Errors
    /// What disk and bucket say; what was deleted stays hidden.
    pub(crate) async fn clean_tombstones(&self) -> Result<()> {
        let tombstones = Arc::clone(&self.view().tombstones);
        if tombstones.is_empty() {
            return Ok(());
        }
        // Tombstones are needed as long as the log has what they mean.
        self.cut().await?;
        self.sync_bucket().await?;
        fail_point::reach(FailPoint::CleanCut);
        let mut clean = HashSet::new();
        let mut damage = None;
        let mut pending = self.removing.lock().await;
        self.may_change_home().await?;
        self.counted(self.finish_merge(&mut pending).await)?;
        let blocks = self.view().blocks.clone();
        for block in blocks {
            let at_home = Arc::ptr_eq(block.store(), self.context.home());
            if !at_home || block.is_damaged() || tombstones.of(block.manifest()).next().is_none() {
                continue;
            }
            let id = block.id();
            let rewritten = match H::has_deleted(&block, &tombstones).await {
                Ok(false) => {
                    clean.insert(id);
                    Ok(())
                }
                Ok(true) => self.counted(self.merge(vec![block], &mut pending).await),
                Err(e) => Err(e),
            };
            match rewritten {
                Ok(()) => fail_point::reach(FailPoint::CleanRewritten),
                Err(e @ Error::Corrupt { .. }) => damage = damage.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        drop(pending);
        self.reap().await;
        fail_point::reach(FailPoint::CleanBeforeTombstones);
        self.drop_tombstones(&tombstones, &clean).await?;
        self.kick_upload.notify_one();
        damage.map_or(Ok(()), Err)
    }

    /// Lets the tombstones go that no block needs any more, and sees to it that there are not too many.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub(crate) async fn tidy_tombstones(&self) -> Result<()> {
        let tombstones = Arc::clone(&self.view().tombstones);
        if tombstones.is_empty() {
            return Ok(());
        }
        self.drop_tombstones(&tombstones, &HashSet::new()).await?;
        if self.view().tombstones.len() < MANY_TOMBSTONES {
            return Ok(());
        }
        self.clean_tombstones().await
    }

    /// Lets those of some tombstones go that no block needs, blocks aside that are known to hold nothing of them.
    async fn drop_tombstones(&self, some: &Tombstones, clean: &HashSet<Ulid>) -> Result<()> {
        let _lock = self.deletions.lock.lock().await;
        let _reaping = self.reaping.lock().await;
        let view = self.view();
        let unneeded = {
            let doomed = self.doomed.lock();
            // A block whose manifest is still there would be back after a crash.
            let visible = doomed.iter().filter(|d| !d.manifest_gone);
            let visible = visible.map(|d| &d.block).chain(&view.blocks);
            let blocks: Vec<_> = visible.filter(|b| !clean.contains(&b.id())).collect();
            let log_dropped = self.deletions.log_dropped.load(Ordering::SeqCst);
            let unneeded = |t: &&Arc<Tombstone>| {
                t.seq <= log_dropped && !blocks.iter().any(|b| t.hides_in(b.manifest()))
            };
            some.iter()
                .filter(unneeded)
                .map(Arc::clone)
                .collect::<Vec<_>>()
        };
        self.remove_tombstones(&unneeded)
    }

    fn remove_tombstones(&self, gone: &[Arc<Tombstone>]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        self.switch(|view| view.tombstones = Arc::new(view.tombstones.without(gone)));
        fail_point::reach(FailPoint::TombstoneBeforeRemoval);
        let folder = self.tombstone_folder();
        for tombstone in gone {
            folder.remove(tombstone)?;
            fail_point::reach(FailPoint::TombstoneRemoved);
        }
        self.deletions.in_bucket.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Brings the folder's tombstones into the view, before the log is replayed; answers them by number.
    ///
    /// # Errors
    /// `Io`, `NotOurs`.
    pub(crate) fn restore_tombstones(&self) -> Result<VecDeque<Arc<Tombstone>>> {
        let (found, damaged) = self.tombstone_folder().read()?;
        for (path, e) in damaged {
            self.context.damage().note(&path.display().to_string(), &e);
            tracing::error!(file = %path.display(), "what this tombstone hid may be seen again: delete it once more, and remove the file");
        }
        let all = Tombstones::new(found);
        let in_order = all.iter().map(Arc::clone).collect();
        self.switch(|view| view.tombstones = Arc::new(all));
        Ok(in_order)
    }

    /// Does the deletions again that came before a record, once all records before them were replayed.
    pub(crate) fn replay_deletions(&self, waiting: &mut VecDeque<Arc<Tombstone>>, before: u64) {
        while let Some(tombstone) = waiting.pop_front_if(|t| t.seq < before) {
            let view = self.view();
            view.generations().for_each(|head| head.delete(&tombstone));
        }
    }

    /// Makes the tombstones in the bucket the same as in the folder.
    ///
    /// # Errors
    /// `Unavailable`, `ObjectStore`: it is done again the next time.
    pub(crate) async fn sync_tombstones(&self, bucket: &Bucket) -> Result<()> {
        if !H::DELETES || self.deletions.in_bucket.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let synced = self.copy_tombstones(bucket).await;
        if synced.is_err() {
            self.deletions.in_bucket.store(false, Ordering::SeqCst);
        }
        synced
    }

    async fn copy_tombstones(&self, bucket: &Bucket) -> Result<()> {
        let mut there = list(bucket, H::SIGNAL).await?;
        let tombstones = Arc::clone(&self.view().tombstones);
        for tombstone in tombstones.iter() {
            let name = format!("{}.json", tombstone.id);
            if there.remove(&name).is_some() {
                continue;
            }
            let folder = root(bucket, H::SIGNAL).join(tombstone.tenant.as_str());
            let content = Bytes::from(encode(H::SIGNAL, tombstone));
            bucket.store.put_small(&folder.join(name), content).await?;
            fail_point::reach(FailPoint::UploadTombstone);
        }
        for path in there.values() {
            bucket.store.delete(path).await?;
            fail_point::reach(FailPoint::UploadTombstoneRemoved);
        }
        Ok(())
    }

    fn tombstone_folder(&self) -> TombstoneFolder {
        TombstoneFolder::new(&self.context.options.path, H::SIGNAL)
    }
}

/// A folder that is new to its bucket takes over the tombstones there.
///
/// # Errors
/// `Unavailable`, `ObjectStore`, `Io`, `NotOurs`; `Corrupt` when one of them is damaged: without it deleted samples would be seen.
pub(crate) async fn fetch_tombstones(
    bucket: &Bucket,
    storage: &std::path::Path,
    signal: SignalKind,
) -> Result<()> {
    let folder = TombstoneFolder::new(storage, signal);
    for path in list(bucket, signal).await?.values() {
        if let Some(found) = bucket.store.get_small(path, Patience::Upload).await? {
            folder.keep(&decode(&bucket.store.label(path), &found.bytes)?)?;
        }
    }
    Ok(())
}

fn root(bucket: &Bucket, signal: SignalKind) -> ObjectPath {
    bucket.store.object("tombstones").join(signal.as_str())
}

/// The tombstones in a bucket by the names of their files.
async fn list(bucket: &Bucket, signal: SignalKind) -> Result<HashMap<String, ObjectPath>> {
    let root = root(bucket, signal);
    let found = bucket.store.objects(&root, Patience::Upload).await?;
    let named = found.into_iter().filter_map(|object| {
        let name = object.location.filename()?.to_owned();
        Some((name, object.location))
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests;
