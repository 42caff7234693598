//! When the log is made durable: each interval, or at once for all who wait (group commit).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::writer::Wal;
use crate::error::{Error, Result};

impl Wal {
    /// Waits until a record is durable, if that was asked for.
    ///
    /// # Errors
    /// `Poisoned` when the fsync failed.
    pub(crate) async fn commit(&self, seq: u64) -> Result<()> {
        if !self.options().sync_interval.is_zero() {
            return Ok(());
        }
        let mut synced = self.synced.subscribe();
        self.wake.notify_one();
        let reached = synced
            .wait_for(|state| {
                matches!(state, Ok(synced_seq) if *synced_seq >= seq) || state.is_err()
            })
            .await
            .map_err(|_| Error::Closed)?;
        match &*reached {
            Ok(_) => Ok(()),
            Err(reason) => Err(Error::Poisoned(reason.clone())),
        }
    }

    /// Syncs until told to stop. One task a log.
    pub(crate) async fn run_sync(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let interval = self.options().sync_interval;
        loop {
            let due = async {
                if interval.is_zero() {
                    self.wake.notified().await;
                } else {
                    tokio::time::sleep(interval).await;
                }
            };
            tokio::select! {
                () = due => {}
                _ = stop.wait_for(|s| *s) => return,
            }
            if !self.is_dirty() {
                continue;
            }
            let wal = Arc::clone(&self);
            let synced = tokio::task::spawn_blocking(move || wal.sync()).await;
            if let Ok(Err(e)) = synced {
                tracing::error!(error = %e, "the write-ahead log cannot be synced; writes are refused from now on");
                return;
            }
        }
    }

    /// Makes everything written so far durable. Blocks the thread.
    ///
    /// # Errors
    /// `Poisoned`; nothing is acknowledged any more.
    pub(crate) fn sync(&self) -> Result<()> {
        let pending = self.take_unsynced()?;
        let result = pending
            .files
            .iter()
            .try_for_each(|(path, file)| file.sync_data().map_err(Error::io(path)));
        let result = result.and_then(|()| {
            if pending.dir_changed {
                crate::block::sync_dir(&self.options().dir)?;
            }
            Ok(())
        });
        self.syncs.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.synced.send_modify(|state| {
                    if let Ok(seq) = state {
                        *seq = (*seq).max(pending.last_seq);
                    }
                });
                Ok(())
            }
            Err(e) => Err(self.poison(&e.to_string())),
        }
    }

    fn is_dirty(&self) -> bool {
        let synced = self.synced.borrow().clone();
        synced.is_ok_and(|seq| seq < self.last_seq())
    }
}
