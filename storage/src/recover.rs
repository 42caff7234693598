//! What a start does: sorts out which blocks count, and replays what no block has.
//!
//! A block counts unless another one replaces it, or it is part of a cut that never came to its end. A record is replayed
//! unless a block of its tenant covers its number; so replaying the same folder twice gives the same head.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::path::Path as ObjectPath;

use crate::block::{Block, Manifest, sync_dir};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::generation::{SignalStore, blocking};
use crate::head_snapshot::{self, SnapshotFile};
use crate::model::Tenant;
use crate::signal::Head;
use crate::wal::{Wal, WalOptions, WalRecord};

/// Age from which on a folder without a manifest is nobody's unfinished work.
const ORPHAN_AGE_MS: i64 = 24 * 3600 * 1000;

/// Gives a record to a head: decodes it and takes the batch without admission. The text of an error is logged.
pub(crate) type Apply<H> = Arc<dyn Fn(&H, &WalRecord<'_>) -> Result<(), String> + Send + Sync>;

/// Manifests of one signal, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Those that count.
    pub(crate) visible: Vec<Manifest>,
    /// Those to be removed.
    pub(crate) gone: Vec<Manifest>,
    /// Per tenant: every record up to this number is in a block.
    pub(crate) covered: HashMap<String, u64>,
}

/// Sorts out which blocks count.
pub(crate) fn sort_out(manifests: Vec<Manifest>) -> Sorted {
    let mut sorted = Sorted::default();
    for m in manifests.iter().filter(|m| m.completes_cut) {
        let covered = sorted.covered.entry(m.tenant.clone()).or_insert(0);
        *covered = (*covered).max(m.wal_seq_max);
    }
    let unfinished = |m: &Manifest| {
        !m.completes_cut
            && sorted
                .covered
                .get(&m.tenant)
                .is_none_or(|&c| m.wal_seq_max > c)
    };
    let replaced: HashSet<String> = manifests
        .iter()
        .flat_map(|m| m.replaces.iter().cloned())
        .collect();
    let (gone, visible) = manifests
        .into_iter()
        .partition(|m| unfinished(m) || replaced.contains(&m.ulid));
    sorted.gone = gone;
    sorted.visible = visible;
    sorted
}

impl<H: Head> SignalStore<H> {
    /// Opens a signal: blocks, then the log.
    ///
    /// # Errors
    /// `NotOurs`, `Io`, `ObjectStore`.
    pub(crate) async fn open(context: Arc<Context>, apply: Apply<H>) -> Result<Arc<Self>> {
        let listing = context.blocks.list(H::SIGNAL).await?;
        let sorted = sort_out(listing.manifests);
        for m in &sorted.gone {
            let folder = context.blocks.folder(&m.signal, &m.tenant, &m.ulid);
            tracing::info!(block = %folder, "removing a block that was replaced or never finished");
            context.blocks.delete_manifest(&folder).await?;
            context.blocks.delete_folder(&folder, None).await?;
        }
        sweep(&context, &listing.orphans).await;
        let newest = sorted.visible.iter().map(|m| m.wal_seq_max).max();
        let blocks = sorted
            .visible
            .into_iter()
            .map(|m| Block::new(Arc::clone(&context.blocks), m).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let dir = wal_dir(&context, H::SIGNAL.as_str());
        let options = WalOptions::new(
            dir,
            context.options.wal_sync_interval,
            Arc::clone(&context.options.progress),
        );
        let store = Arc::new(Self::new(context, Wal::open(options)?, blocks));
        store.restore_remembered()?;
        let replaying = Arc::clone(&store);
        let covered = sorted.covered;
        let reached = blocking(move || replaying.replay(&covered, &apply)).await?;
        store.wal.skip_to(reached.max(newest.unwrap_or(0)));
        Ok(store)
    }

    /// Brings the active head to where it was, from snapshots and the log. Answers the highest number that a snapshot covers.
    fn replay(&self, covered: &HashMap<String, u64>, apply: &Apply<H>) -> Result<u64> {
        let mut undecodable = 0;
        let mut replayed = 0u64;
        let mut waiting: VecDeque<SnapshotFile> = match H::SNAPSHOTS {
            true => head_snapshot::list(&self.wal_dir())?.into(),
            false => VecDeque::new(),
        };
        let reached = waiting.iter().map(|s| s.to).max().unwrap_or(0);
        let mut loaded: Vec<SnapshotFile> = Vec::new();
        let stats = self.wal.replay(&mut |record: WalRecord<'_>| {
            // In the order of writing: what a snapshot holds comes behind the records before it.
            while let Some(file) = waiting.pop_front_if(|s| s.from < record.seq) {
                undecodable += self.load_snapshot(&file, covered, &mut loaded)?;
            }
            let tenant = record.tenant.as_str();
            let in_block = covered.get(tenant).is_some_and(|&c| record.seq <= c);
            if in_block || loaded.iter().any(|s| s.covers(record.seq)) {
                return Ok(());
            }
            let head = Arc::clone(&self.view().active);
            if let Err(reason) = apply(&head, &record) {
                undecodable += 1;
                tracing::error!(
                    signal = H::SIGNAL.as_str(),
                    seq = record.seq,
                    tenant,
                    reason,
                    "a record of the write-ahead log cannot be decoded; it is skipped"
                );
                return Ok(());
            }
            replayed += 1;
            self.note_write(&head, &record.tenant, record.record.received_ms, 0);
            drop(head);
            if self.is_oversized() {
                tokio::runtime::Handle::current().block_on(self.cut())?;
            }
            Ok(())
        })?;
        for file in waiting {
            undecodable += self.load_snapshot(&file, covered, &mut loaded)?;
        }
        self.counters
            .corrupt_records
            .fetch_add(stats.corrupt + undecodable, Ordering::Relaxed);
        tracing::info!(
            signal = H::SIGNAL.as_str(),
            records = stats.records,
            replayed,
            corrupt = stats.corrupt + undecodable,
            torn_bytes = stats.torn_bytes,
            "write-ahead log replayed"
        );
        Ok(reached)
    }

    /// Loads a snapshot into the active head and notes it among the loaded ones; answers how much of it was damaged.
    fn load_snapshot(
        &self,
        file: &SnapshotFile,
        covered: &HashMap<String, u64>,
        loaded: &mut Vec<SnapshotFile>,
    ) -> Result<u64> {
        let head = Arc::clone(&self.view().active);
        let wanted = |tenant: &Tenant| covered.get(tenant.as_str()).is_none_or(|&c| c < file.to);
        let result = head_snapshot::load(file, &mut |frame| head.restore(frame, &wanted));
        let damaged = match result {
            Ok(found) => {
                self.oldest_write_ms
                    .fetch_min(found.oldest_write_ms, Ordering::Relaxed);
                loaded.push(file.clone());
                found.corrupt
            }
            Err(e @ (Error::Corrupt { .. } | Error::Io { .. })) => {
                tracing::error!(error = %e, "a snapshot of the head cannot be read; what the log still has is replayed");
                1
            }
            Err(e) => return Err(e),
        };
        if damaged > 0 {
            tracing::error!(file = %file.path.display(), damaged, "a snapshot of the head is damaged; the rest of it was read");
        }
        self.account(&head);
        Ok(damaged)
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
            let draft = path.with_extension("new");
            let mut framed = crc32c::crc32c(&bytes).to_le_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            std::fs::write(&draft, framed).map_err(Error::io(&draft))?;
            std::fs::File::open(&draft)
                .and_then(|f| f.sync_all())
                .map_err(Error::io(&draft))?;
            std::fs::rename(&draft, &path).map_err(Error::io(&path))?;
            path.parent().map_or(Ok(()), sync_dir)
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

    fn remembered_path(&self) -> PathBuf {
        self.wal_dir().join("remembered")
    }

    /// Where the signal's log and snapshots lie.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        wal_dir(&self.context, H::SIGNAL.as_str())
    }
}

fn wal_dir(context: &Context, signal: &str) -> PathBuf {
    context.options.path.join("wal").join(signal)
}

async fn sweep(context: &Context, orphans: &[(ObjectPath, i64)]) {
    let now_ms = context.clock.now_ms();
    for (folder, newest_ms) in orphans {
        if now_ms.saturating_sub(*newest_ms) < ORPHAN_AGE_MS {
            continue;
        }
        tracing::info!(block = %folder, "sweeping a block that was never finished");
        if let Err(e) = context.blocks.delete_folder(folder, None).await {
            tracing::warn!(block = %folder, error = %e, "an unfinished block could not be swept");
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
