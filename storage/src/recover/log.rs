//! Replays what no block has: snapshots of the head, records of the write-ahead log and deletions, in the order in which they were
//! written. Records are decoded by several threads and taken one after another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use tokio::runtime::Handle;

use super::{Apply, Likely};
use crate::error::{Error, Result};
use crate::generation::SignalStore;
use crate::head_snapshot::{self, SnapshotFile};
use crate::model::Tenant;
use crate::signal::Head;
use crate::tombstone::Tombstone;
use crate::turns::{Turns, on_threads};
use crate::wal::WalRecord;

impl<H: Head> SignalStore<H> {
    /// Replays all there is; answers the last number that snapshots reach. Blocks the thread, which has to be one of the runtime's.
    ///
    /// # Errors
    /// `Io`, `NotOurs` when a newer version wrote a file, and what a cut says that became due.
    pub(super) fn replay(
        &self,
        covered: &HashMap<String, u64>,
        deletions: VecDeque<Arc<Tombstone>>,
        apply: &Apply<H>,
    ) -> Result<u64> {
        let snapshots = match H::SNAPSHOTS {
            true => head_snapshot::list(&self.wal_dir())?,
            false => Vec::new(),
        };
        let mut replay = Replay {
            store: self,
            likely: Arc::new(RwLock::new(Some(Arc::clone(&self.view().active)))),
            covered,
            waiting: snapshots.clone().into(),
            loaded: Vec::new(),
            deletions,
            undecodable: 0,
            replayed: 0,
            outcome: Ok(()),
            runtime: Handle::current(),
        };
        let stats = self.wal.replay(&mut |records| {
            replay.take_all(records, &snapshots, apply);
            std::mem::replace(&mut replay.outcome, Ok(()))
        })?;
        replay.come_to(u64::MAX)?;
        let corrupt = stats.corrupt + replay.undecodable;
        self.counters
            .corrupt_records
            .fetch_add(corrupt, Ordering::Relaxed);
        tracing::info!(
            signal = H::SIGNAL.as_str(),
            records = stats.records,
            replayed = replay.replayed,
            corrupt,
            torn_bytes = stats.torn_bytes,
            "write-ahead log replayed"
        );
        Ok(snapshots.iter().map(|s| s.to).max().unwrap_or(0))
    }
}

/// How far a replay is.
struct Replay<'r, H: Head> {
    store: &'r SignalStore<H>,
    likely: Arc<Likely<H>>,
    /// Per tenant: every record up to this number is in a block.
    covered: &'r HashMap<String, u64>,
    /// Snapshots that were not reached yet.
    waiting: VecDeque<SnapshotFile>,
    loaded: Vec<SnapshotFile>,
    /// Deletions that were not reached yet.
    deletions: VecDeque<Arc<Tombstone>>,
    undecodable: u64,
    replayed: u64,
    /// After an error nothing more is taken.
    outcome: Result<()>,
    runtime: Handle,
}

impl<H: Head> Replay<'_, H> {
    fn take_all(
        &mut self,
        records: &[WalRecord<'_>],
        snapshots: &[SnapshotFile],
        apply: &Apply<H>,
    ) {
        let covered = self.covered;
        let likely = Arc::clone(&self.likely);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let turns = Turns::new(self);
        on_threads(threads, records.len(), |i| {
            let Some(record) = records.get(i) else {
                return;
            };
            let ticket = turns.ticket(i);
            // Whether a snapshot has it is known in its turn. Most likely one has, and it need not be decoded.
            if is_in_block(covered, record) || snapshots.iter().any(|s| s.covers(record.seq)) {
                ticket.take(|replay: &mut Self| replay.take_undecoded(record, apply));
                return;
            }
            let mut ticket = Some(ticket);
            let decoded = apply(record, &likely, &mut |put| {
                if let Some(ticket) = ticket.take() {
                    ticket.take(|replay: &mut Self| replay.take(record, put));
                }
            });
            if let (Err(reason), Some(ticket)) = (decoded, ticket) {
                ticket.take(|replay: &mut Self| replay.pass_over(record, &reason));
            }
        });
    }

    /// Takes a decoded record: `put` gives it to a head.
    fn take(&mut self, record: &WalRecord<'_>, put: &mut dyn FnMut(&H)) {
        if self.outcome.is_ok() {
            self.outcome = self.try_take(record, put);
        }
    }

    fn try_take(&mut self, record: &WalRecord<'_>, put: &mut dyn FnMut(&H)) -> Result<()> {
        self.come_to(record.seq)?;
        if !self.wants(record) {
            return Ok(());
        }
        let store = self.store;
        store.wal.note_replayed(record.seq);
        let head = Arc::clone(&store.view().active);
        put(&head);
        self.replayed += 1;
        store.note_write(&head, &record.tenant, record.record.received_ms, 0);
        drop(head);
        if store.is_oversized() {
            // A head that is cut must not get new series.
            *self.likely.write() = None;
            self.runtime.block_on(store.cut())?;
            *self.likely.write() = Some(Arc::clone(&store.view().active));
        }
        Ok(())
    }

    fn take_undecoded(&mut self, record: &WalRecord<'_>, apply: &Apply<H>) {
        if self.outcome.is_ok() {
            self.outcome = self.come_to(record.seq);
        }
        if self.outcome.is_ok()
            && self.wants(record)
            && let Err(reason) = apply(record, &RwLock::new(None), &mut |put| {
                self.take(record, put)
            })
        {
            self.pass_over(record, &reason);
        }
    }

    fn pass_over(&mut self, record: &WalRecord<'_>, reason: &str) {
        if self.outcome.is_ok() {
            self.outcome = self.come_to(record.seq);
        }
        if !self.wants(record) {
            return;
        }
        self.undecodable += 1;
        tracing::error!(
            signal = H::SIGNAL.as_str(),
            seq = record.seq,
            tenant = record.tenant.as_str(),
            reason,
            "a record of the write-ahead log cannot be decoded; it is skipped"
        );
    }

    /// Whether neither a block nor a snapshot has a record.
    fn wants(&self, record: &WalRecord<'_>) -> bool {
        let in_snapshot = self.loaded.iter().any(|s| s.covers(record.seq));
        !in_snapshot && !is_in_block(self.covered, record)
    }

    /// Does what was done before a record was written: what a snapshot holds comes behind the records before it.
    fn come_to(&mut self, seq: u64) -> Result<()> {
        while let Some(file) = self.waiting.pop_front_if(|s| s.from < seq) {
            self.undecodable += self.load_snapshot(&file)?;
        }
        self.store.replay_deletions(&mut self.deletions, seq);
        Ok(())
    }

    /// Loads a snapshot into the active head and notes it among the loaded ones; answers how much of it was damaged.
    fn load_snapshot(&mut self, file: &SnapshotFile) -> Result<u64> {
        let store = self.store;
        // What was deleted before its generation began is not in it.
        store.replay_deletions(&mut self.deletions, file.from + 1);
        let head = Arc::clone(&store.view().active);
        let covered = self.covered;
        let wanted = |tenant: &Tenant| covered.get(tenant.as_str()).is_none_or(|&c| c < file.to);
        let result = head_snapshot::load(file, &mut |frame| head.restore(frame, &wanted));
        let damaged = match result {
            Ok(found) => {
                store
                    .oldest_write_ms
                    .fetch_min(found.oldest_write_ms, Ordering::Relaxed);
                // These were done when it was written, and must not hit what came after them.
                self.deletions.retain(|t| t.seq > file.to);
                self.loaded.push(file.clone());
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
        store.account(&head);
        Ok(damaged)
    }
}

fn is_in_block(covered: &HashMap<String, u64>, record: &WalRecord<'_>) -> bool {
    let last = covered.get(record.tenant.as_str());
    last.is_some_and(|&last| record.seq <= last)
}
