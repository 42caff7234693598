//! Background work of a signal: one task cuts, one uploads, one compacts and drops what is too old. They end when told to.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::compact::Extent;
use crate::error::Error;
use crate::generation::SignalStore;
use crate::retention::Brake;
use crate::signal::Head;

/// How often the head's age and the disk's free space are looked at.
const CUT_CHECK: Duration = Duration::from_secs(1);

/// How often compaction and retention are thought about.
const COMPACT_CHECK: Duration = Duration::from_secs(60);

/// How often it is looked whether something waits for the bucket.
const UPLOAD_CHECK: Duration = Duration::from_secs(1);

/// Longest pause between two attempts to reach the bucket.
const MAX_UPLOAD_PAUSE: Duration = Duration::from_secs(10);

/// Longest pause after cuts that failed.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Cuts the head when it is due.
pub(crate) async fn run_cutter<H: Head>(
    store: Arc<SignalStore<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = CUT_CHECK;
    loop {
        let kicked = pause == CUT_CHECK;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = store.kick.notified(), if kicked => {}
            _ = stop.wait_for(|s| *s) => return,
        }
        store.context.refresh_free_bytes();
        if !store.has_frozen() && !store.is_cut_due() {
            pause = CUT_CHECK;
            if store.wants_snapshot()
                && let Err(e) = store.snapshot().await
            {
                pause = MAX_PAUSE;
                tracing::error!(
                    signal = H::SIGNAL.as_str(), error = %e, retry_s = pause.as_secs(),
                    "a snapshot of the head failed; the write-ahead log is kept instead"
                );
            }
            continue;
        }
        match store.cut().await {
            Ok(()) => pause = CUT_CHECK,
            Err(e) => {
                pause = (pause * 2).min(MAX_PAUSE);
                tracing::error!(
                    signal = H::SIGNAL.as_str(), error = %e, retry_s = pause.as_secs(),
                    "a cut failed; its data stays in memory and in the write-ahead log"
                );
            }
        }
    }
}

/// Uploads what waits for the bucket, and tries to reach it again when it is away.
pub(crate) async fn run_uploader<H: Head>(
    store: Arc<SignalStore<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = UPLOAD_CHECK;
    loop {
        let kicked = pause == UPLOAD_CHECK;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = store.kick_upload.notified(), if kicked => {}
            _ = stop.wait_for(|s| *s) => return,
        }
        if !store.wants_bucket() {
            pause = UPLOAD_CHECK;
            continue;
        }
        let synced = tokio::select! {
            synced = store.sync_bucket() => synced,
            _ = stop.wait_for(|s| *s) => return,
        };
        match synced {
            Ok(()) => pause = UPLOAD_CHECK,
            Err(e) => {
                pause = (pause * 2).min(MAX_UPLOAD_PAUSE);
                let signal = H::SIGNAL.as_str();
                match e {
                    // Told where they were found, once.
                    Error::Unavailable { .. } | Error::Corrupt { .. } | Error::NotOurs(_) => {
                        tracing::debug!(signal, error = %e, "an upload failed");
                    }
                    e => {
                        tracing::error!(signal, error = %e, "an upload failed; the block waits on local disk")
                    }
                }
            }
        }
        store.reap().await;
    }
}

/// Compacts, and drops what is past retention.
pub(crate) async fn run_compactor<H: Head>(
    store: Arc<SignalStore<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut brake = Brake::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(COMPACT_CHECK) => {}
            _ = stop.wait_for(|s| *s) => return,
        }
        store.drop_expired(&mut brake).await;
        // A failure was counted and logged.
        let _ = store
            .compact(Extent::Due(store.context.clock.now_ms()))
            .await;
        store.reap().await;
        if let Err(e) = store.tidy_tombstones().await {
            tracing::error!(signal = H::SIGNAL.as_str(), error = %e, "tombstones stay longer than they are needed");
        }
    }
}
