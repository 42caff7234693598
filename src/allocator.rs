//! The allocator's own share of `--memory.limit`: how long it keeps pages that nothing lies in.
//!
//! It keeps them for a second, which is cheap where there is plenty. Under a limit that second is what breaks it: a head that
//! became a block and the buffers of its cut are gone while their pages still count. So pages go back at once whenever
//! resident memory is near the limit, and during a start, which fills heads and cuts them as fast as it can.

use std::ffi::{c_int, c_long};
use std::time::Duration;

// Linked for the two functions below, whoever allocates.
use mimalloc as _;
use storage::Storage;
use tokio::sync::watch;

use crate::app::AppState;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: c_int = 15;
/// What mimalloc starts with.
const DEFAULT_DELAY_MS: c_long = 1000;

const CHECK: Duration = Duration::from_millis(200);

#[expect(unsafe_code, reason = "declares two functions of the allocator")]
mod sys {
    use std::ffi::{c_int, c_long};

    unsafe extern "C" {
        /// Sets an option; an atomic store.
        pub(super) safe fn mi_option_set(option: c_int, value: c_long);
        /// Gives back what this thread, and threads that ended, do not use. May be called at any time.
        pub(super) safe fn mi_collect(force: bool);
    }
}

/// Lets pages go as soon as nothing lies in them.
pub fn keep_nothing() {
    sys::mi_option_set(PURGE_DELAY, 0);
}

/// Has pages kept for a while where there is plenty of memory, and given back at once where there is not.
pub(crate) async fn run(app: AppState, mut stopped: watch::Receiver<bool>) {
    let mut hurries = true;
    loop {
        let is_near = is_near(&app.storage);
        if is_near != hurries {
            hurries = is_near;
            let delay_ms = if is_near { 0 } else { DEFAULT_DELAY_MS };
            sys::mi_option_set(PURGE_DELAY, delay_ms);
        }
        if is_near {
            sys::mi_collect(true);
        }
        tokio::select! {
            () = tokio::time::sleep(CHECK) => {}
            _ = stopped.wait_for(|s| *s) => return,
        }
    }
}

/// Whether more than half of the limit is resident.
fn is_near(storage: &Storage) -> bool {
    let held = storage.memory_use();
    held.resident_bytes > held.limit_bytes / 2
}
