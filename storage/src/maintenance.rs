//! Background work of a signal: one task cuts, another compacts and drops what is too old. Both end when told to.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::compact::Extent;
use crate::generation::SignalStore;
use crate::retention::Brake;
use crate::signal::Head;

/// How often the head's age and the disk's free space are looked at.
const CUT_CHECK: Duration = Duration::from_secs(1);

/// How often compaction and retention are thought about.
const COMPACT_CHECK: Duration = Duration::from_secs(60);

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
    }
}
