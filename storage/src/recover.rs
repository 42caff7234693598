//! What a start does: sorts out which blocks count, and replays what no block has.
//!
//! A block counts unless another one replaces it, or it is part of a cut that never came to its end. One that lies on local
//! disk and in the bucket is read from disk until it is uploaded again, which changes nothing. A record is replayed
//! unless a block of its tenant covers its number; so replaying the same folder twice gives the same head.

mod log;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::path::Path as ObjectPath;
use parking_lot::RwLock;

use crate::block::{Block, BlockStore, Listing, Manifest, write_durably};
use crate::bucket::Bucket;
use crate::context::Context;
use crate::deletion::fetch_tombstones;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::generation::{Doomed, SignalStore, blocking};
use crate::model::Tenant;
use crate::signal::{Head, SignalKind};
use crate::wal::{Wal, WalOptions, WalRecord};

/// Age from which on a folder without a manifest is nobody's unfinished work.
const ORPHAN_AGE_MS: i64 = 24 * 3600 * 1000;

/// Decodes a record and hands over what puts its batch into a head, without admission, once. The text of an error is logged.
/// What can be looked up in the head that it will most likely be put into is looked up before.
pub(crate) type Apply<H> =
    Arc<dyn Fn(&WalRecord<'_>, &Likely<H>, &mut Take<'_, H>) -> Result<(), String> + Send + Sync>;
/// The head that records are put into; `None` while that is changing. To be held only while something is looked up.
pub(crate) type Likely<H> = RwLock<Option<Arc<H>>>;
/// Takes what puts a batch into a head.
pub(crate) type Take<'a, H> = dyn FnMut(&mut dyn FnMut(&H)) + 'a;

/// Where a block was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Local,
    Bucket,
}

/// Manifests of one signal, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Those that count.
    pub(crate) visible: Vec<(Place, Manifest)>,
    /// Stand-ins for blocks whose manifests cannot be read and which no other block replaces.
    pub(crate) unreadable: Vec<(Place, Manifest)>,
    /// Those to be removed.
    pub(crate) gone: Vec<(Place, Manifest)>,
    /// Per tenant: every record up to this number is in a block.
    pub(crate) covered: HashMap<String, u64>,
}

/// Sorts out which blocks count.
pub(crate) fn sort_out(local: Listing, bucket: Listing) -> Sorted {
    let own: HashSet<String> = local.manifests.iter().map(|m| m.ulid.clone()).collect();
    let uploaded: HashSet<String> = bucket.manifests.iter().map(|m| m.ulid.clone()).collect();
    let in_bucket = bucket.manifests.into_iter();
    let in_bucket = in_bucket.filter(|m| !own.contains(&m.ulid));
    let local_manifests = local.manifests.into_iter().map(|m| (Place::Local, m));
    let all: Vec<_> = local_manifests
        .chain(in_bucket.map(|m| (Place::Bucket, m)))
        .collect();

    let mut sorted = Sorted::default();
    for (_, m) in all.iter().filter(|(_, m)| m.completes_cut) {
        let covered = sorted.covered.entry(m.tenant.clone()).or_insert(0);
        *covered = (*covered).max(m.wal_seq_max);
    }
    let replaced: HashSet<String> = all
        .iter()
        .flat_map(|(_, m)| m.replaces.iter().cloned())
        .collect();
    // A block that cannot be read may be the one that completes a cut: nothing is thrown away on that account.
    let unsure: HashSet<&str> = local.unreadable.iter().map(|m| &*m.tenant).collect();
    let unfinished = |place: Place, m: &Manifest| {
        let covered = sorted.covered.get(&m.tenant);
        place == Place::Local
            && !m.completes_cut
            && !unsure.contains(&*m.tenant)
            && covered.is_none_or(|&c| m.wal_seq_max > c)
    };
    let (gone, visible) = all
        .into_iter()
        .partition(|(place, m)| unfinished(*place, m) || replaced.contains(&m.ulid));
    sorted.gone = gone;
    sorted.visible = visible;
    let local = local.unreadable.into_iter().map(|m| (Place::Local, m));
    let bucket = bucket.unreadable.into_iter().map(|m| (Place::Bucket, m));
    for (place, m) in local.chain(bucket) {
        let is_uploaded = place == Place::Local && uploaded.contains(&m.ulid);
        if is_uploaded || replaced.contains(&m.ulid) {
            sorted.gone.push((place, m));
        } else {
            sorted.unreadable.push((place, m));
        }
    }
    sorted
}

/// What a signal has in the bucket: as it is, and whether that could be found out; else as it was.
async fn look_into(bucket: &Bucket, signal: SignalKind) -> Result<(Listing, bool)> {
    if bucket.outage().is_none() {
        match list_bucket(bucket, signal).await {
            Ok(listing) => return Ok((listing, true)),
            Err(e @ Error::Unavailable { .. }) if bucket.is_known => {
                tracing::warn!(signal = signal.as_str(), error = %e, "the bucket went away; starting without it");
            }
            Err(e) => return Err(e),
        }
    }
    let known = bucket.mirror.read(signal)?;
    let listing = Listing {
        manifests: known.manifests.into_values().collect(),
        unreadable: known.unreadable,
        orphans: Vec::new(),
    };
    Ok((listing, false))
}

/// Lists a signal's blocks in the bucket, and says which of those are missing that should be there.
async fn list_bucket(bucket: &Bucket, signal: SignalKind) -> Result<Listing> {
    let known = bucket.mirror.read(signal)?;
    let listing = bucket.store.list(signal, &known.manifests).await?;
    let all = listing.manifests.iter().chain(&listing.unreadable);
    let found: HashSet<&str> = all.map(|m| &*m.ulid).collect();
    for m in known.manifests.values() {
        if !found.contains(&*m.ulid) {
            let folder = bucket.store.folder(&m.signal, &m.tenant, &m.ulid);
            let path = folder.clone().join("manifest.json");
            let error = Error::Corrupt {
                file: bucket.store.label(&path),
                offset: 0,
                reason: "somebody else has removed it".to_owned(),
            };
            bucket
                .store
                .damage()
                .note(&bucket.store.label(&path), &error);
        }
    }
    Ok(listing)
}

impl<H: Head> SignalStore<H> {
    /// Opens a signal: blocks, then the log.
    ///
    /// # Errors
    /// `NotOurs`, `Io`, `ObjectStore`.
    pub(crate) async fn open(context: Arc<Context>, apply: Apply<H>) -> Result<Arc<Self>> {
        let local = context.local.list(H::SIGNAL, &HashMap::new()).await?;
        sweep(&context, &context.local, &local.orphans).await;
        let (in_bucket, listed) = match &context.bucket {
            None => (Listing::default(), true),
            Some(bucket) => look_into(bucket, H::SIGNAL).await?,
        };
        if let Some(bucket) = &context.bucket {
            sweep(&context, &bucket.store, &in_bucket.orphans).await;
        }
        let sorted = sort_out(local, in_bucket);
        let newest = sorted.visible.iter().map(|(_, m)| m.newest_number()).max();
        let mut blocks = Vec::with_capacity(sorted.visible.len());
        for (place, m) in sorted.visible {
            blocks.push(Arc::new(Block::new(store_at(&context, place), m)?));
        }
        for (place, m) in sorted.unreadable {
            blocks.push(Arc::new(Block::unreadable(store_at(&context, place), m)?));
        }
        if listed && let Some(bucket) = &context.bucket {
            enter_all(bucket, H::SIGNAL, &blocks)?;
            fetch_remembered(bucket, &context, H::SIGNAL).await?;
            if H::DELETES && !bucket.is_known {
                fetch_tombstones(bucket, &context.options.path, H::SIGNAL).await?;
            }
        }
        let dir = wal_dir(&context, H::SIGNAL.as_str());
        let options = WalOptions::new(
            dir,
            context.options.wal_sync_interval,
            Arc::clone(&context.options.progress),
        );
        let store = Arc::new(Self::new(context, Wal::open(options)?, blocks));
        store.listed.store(listed, Ordering::Relaxed);
        store.remove_gone(sorted.gone).await?;
        store.restore_remembered()?;
        let deletions = store.restore_tombstones()?;
        let deleted = deletions.back().map(|t| t.seq);
        let replaying = Arc::clone(&store);
        let covered = sorted.covered;
        let reached = blocking(move || replaying.replay(&covered, deletions, &apply)).await?;
        fail_point::reach(FailPoint::StartReplayed);
        // A number that stands for something must not be given again.
        store
            .wal
            .skip_to(reached.max(newest.max(deleted).unwrap_or(0)));
        Ok(store)
    }

    /// Brings the view up to what the bucket has, after a start without it. `uploading` is held.
    ///
    /// # Errors
    /// `Unavailable`, `NotOurs`, `ObjectStore`, `Io`.
    pub(crate) async fn reconcile(&self, bucket: &Bucket) -> Result<()> {
        let _removing = self.removing.lock().await;
        let listing = list_bucket(bucket, H::SIGNAL).await?;
        let view = self.view();
        let local = view.blocks.iter().filter(|b| !b.store().is_remote());
        let local = Listing {
            manifests: local.map(|b| b.manifest().clone()).collect(),
            ..Listing::default()
        };
        let sorted = sort_out(local, listing);
        let mut blocks = Vec::new();
        for (place, m) in sorted.visible {
            if place == Place::Bucket {
                let known = view
                    .blocks
                    .iter()
                    .find(|b| b.store().is_remote() && b.manifest() == &m);
                blocks.push(match known {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(Block::new(Arc::clone(&bucket.store), m)?),
                });
            }
        }
        for (_, m) in sorted.unreadable {
            blocks.push(Arc::new(Block::unreadable(Arc::clone(&bucket.store), m)?));
        }
        drop(view);
        enter_all(bucket, H::SIGNAL, &blocks)?;
        let newest = blocks.iter().map(|b| b.manifest().newest_number()).max();
        self.wal.skip_to(newest.unwrap_or(0));
        let found = blocks.len();
        self.switch(|view| {
            view.blocks.retain(|b| !b.store().is_remote());
            view.blocks.extend(blocks);
        });
        let in_bucket = sorted.gone.into_iter().filter(|(p, _)| *p == Place::Bucket);
        self.remove_gone(in_bucket.collect()).await?;
        self.listed.store(true, Ordering::Relaxed);
        tracing::info!(
            signal = H::SIGNAL.as_str(),
            blocks = found,
            "the bucket was listed"
        );
        Ok(())
    }

    /// Removes blocks that do not count. On local disk at once: the next cut must not find a part of an unfinished one.
    async fn remove_gone(&self, gone: Vec<(Place, Manifest)>) -> Result<()> {
        for (place, m) in gone {
            let store = store_at(&self.context, place);
            let folder = store.folder(&m.signal, &m.tenant, &m.ulid);
            tracing::info!(
                block = store.label(&folder),
                "removing a block that was replaced or never finished"
            );
            if place == Place::Local {
                store.delete_manifest(&folder).await?;
                fail_point::reach(FailPoint::StartGoneRemoved);
                store.delete_folder(&folder).await?;
            } else {
                let block = Arc::new(Block::new(store, m)?);
                self.doomed.lock().push(Doomed::removed(block));
            }
        }
        self.reap().await;
        Ok(())
    }

    /// Writes down what only the head knows, in place of what was there.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn keep_remembered(&self, head: &Arc<H>) -> Result<()> {
        let path = self.remembered_path();
        let head = Arc::clone(head);
        blocking(move || {
            let Some(bytes) = head.remembered() else {
                return Ok(());
            };
            let mut framed = crc32c::crc32c(&bytes).to_le_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            write_durably(&path, &framed)?;
            fail_point::reach(FailPoint::RememberedWritten);
            Ok(())
        })
        .await
    }

    fn restore_remembered(&self) -> Result<()> {
        let path = self.remembered_path();
        let framed = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(Error::io(&path))?,
        };
        let restored = match framed.split_first_chunk::<4>() {
            Some((crc, bytes)) if crc32c::crc32c(bytes).to_le_bytes() == *crc => {
                self.view().active.remember(bytes)
            }
            _ => Err(Error::Corrupt {
                file: path.display().to_string(),
                offset: 0,
                reason: "the checksum does not match".to_owned(),
            }),
        };
        if let Err(e) = restored {
            self.counters
                .corrupt_records
                .fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = %e, "metadata and exemplars from before the last cut are lost");
        }
        Ok(())
    }

    /// Where the signal's log and snapshots lie.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        wal_dir(&self.context, H::SIGNAL.as_str())
    }

    /// Where [`Self::keep_remembered`] puts it.
    pub(crate) fn remembered_path(&self) -> PathBuf {
        remembered_path(&self.context, H::SIGNAL)
    }
}

fn store_at(context: &Context, place: Place) -> Arc<BlockStore> {
    match (place, &context.bucket) {
        (Place::Bucket, Some(bucket)) => Arc::clone(&bucket.store),
        _ => Arc::clone(&context.local),
    }
}

/// Notes which blocks the bucket has.
fn enter_all(bucket: &Bucket, signal: SignalKind, blocks: &[Arc<Block>]) -> Result<()> {
    let in_bucket = blocks.iter().filter(|b| b.store().is_remote());
    let manifests: Vec<_> = in_bucket.map(|b| b.manifest()).collect();
    bucket.mirror.replace(signal, &manifests)
}

/// A folder that is new to its bucket takes over what no block holds.
async fn fetch_remembered(bucket: &Bucket, context: &Context, signal: SignalKind) -> Result<()> {
    let path = remembered_path(context, signal);
    if !path.exists()
        && let Some(bytes) = bucket.remembered(signal).await?
    {
        write_durably(&path, &bytes)?;
    }
    Ok(())
}

fn remembered_path(context: &Context, signal: SignalKind) -> PathBuf {
    wal_dir(context, signal.as_str()).join("remembered")
}

fn wal_dir(context: &Context, signal: &str) -> PathBuf {
    context.options.path.join("wal").join(signal)
}

async fn sweep(context: &Context, store: &BlockStore, orphans: &[(ObjectPath, i64)]) {
    let now_ms = context.clock.now_ms();
    for (folder, newest_ms) in orphans {
        if now_ms.saturating_sub(*newest_ms) < ORPHAN_AGE_MS {
            continue;
        }
        tracing::info!(
            block = store.label(folder),
            "sweeping a block that was never finished"
        );
        if let Err(e) = store.delete_folder(folder).await {
            tracing::warn!(block = store.label(folder), error = %e, "an unfinished block could not be swept");
        }
    }
}

/// The tenant of a manifest.
///
/// # Errors
/// `Corrupt` when it cannot be one.
pub(crate) fn tenant_of(manifest: &Manifest) -> Result<Tenant> {
    Tenant::from_stored(&manifest.tenant).map_err(|e| Error::Corrupt {
        file: format!("manifest of block {}", manifest.ulid),
        offset: 0,
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(ulid: &str, seq_max: u64, completes_cut: bool) -> Manifest {
        Manifest {
            level: 1,
            wal_seq_max: seq_max,
            completes_cut,
            ..Manifest::unreadable("logs", "t", ulid)
        }
    }

    fn listing(manifests: &[Manifest], unreadable: &[&str]) -> Listing {
        let unreadable = unreadable.iter();
        Listing {
            manifests: manifests.to_vec(),
            unreadable: unreadable
                .map(|u| Manifest::unreadable("logs", "t", u))
                .collect(),
            orphans: Vec::new(),
        }
    }

    /// Names of blocks, each behind where it lies.
    fn names(blocks: &[(Place, Manifest)]) -> Vec<String> {
        let name = |(place, m): &(Place, Manifest)| match place {
            Place::Local => format!("disk {}", m.ulid),
            Place::Bucket => format!("bucket {}", m.ulid),
        };
        blocks.iter().map(name).collect()
    }

    #[test]
    fn an_unfinished_cut_is_one_only_on_local_disk() {
        let cut = [manifest("A", 5, false), manifest("B", 9, false)];
        let sorted = sort_out(listing(&cut, &[]), Listing::default());
        assert_eq!(names(&sorted.gone), ["disk A", "disk B"]);
        let sorted = sort_out(listing(&cut, &[]), listing(&[manifest("C", 5, true)], &[]));
        assert_eq!(names(&sorted.gone), ["disk B"], "A's cut is complete");
        let sorted = sort_out(Listing::default(), listing(&cut, &[]));
        assert_eq!(names(&sorted.visible), ["bucket A", "bucket B"]);
    }

    #[test]
    fn a_block_at_both_places_is_read_from_disk() {
        let both = listing(&[manifest("A", 5, true)], &[]);
        let sorted = sort_out(both, listing(&[manifest("A", 5, true)], &[]));
        assert_eq!(names(&sorted.visible), ["disk A"]);
        assert!(sorted.gone.is_empty());
        let damaged = listing(&[], &["A"]);
        let sorted = sort_out(damaged, listing(&[manifest("A", 5, true)], &[]));
        assert_eq!(names(&sorted.visible), ["bucket A"]);
        assert_eq!(names(&sorted.gone), ["disk A"]);
    }

    #[test]
    fn what_cannot_be_read_throws_nothing_away() {
        let cut = listing(&[manifest("A", 5, false)], &["B"]);
        let sorted = sort_out(cut, Listing::default());
        assert_eq!(names(&sorted.visible), ["disk A"]);
        assert_eq!(names(&sorted.unreadable), ["disk B"]);
        let mut merged = manifest("C", 9, true);
        merged.replaces = vec!["B".to_owned()];
        let sorted = sort_out(listing(&[merged], &["B"]), Listing::default());
        assert_eq!(names(&sorted.visible), ["disk C"]);
        assert_eq!(names(&sorted.gone), ["disk B"]);
    }
}
