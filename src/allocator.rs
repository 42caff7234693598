//! The allocator's own share of `--memory.limit`: how long it keeps pages that nothing lies in.
//!
//! It keeps them for some seconds, so that what is asked again meanwhile need not touch new ones, which is dear on a virtual machine.
//! Under a limit those seconds are what breaks it: a head that became a block and the buffers of its cut are gone while their pages
//! still count. So pages go back at once whenever resident memory is near the limit, and during a start, which fills heads and cuts
//! them as fast as it can.
//!
//! Huge pages are not used. The allocator would ask for them, and the first byte that is touched of one has all its two MiB cleared: of what a
//! query or a request holds for some milliseconds that was the dearest part, and a third of resident memory was room in such pages. Misses
//! of the address cache that they would save did not show in any figure.

use std::ffi::{c_int, c_long};
use std::time::Duration;

// Linked for the two functions below, whoever allocates.
use mimalloc as _;
use storage::Storage;
use tokio::sync::watch;

use crate::app::AppState;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: c_int = 15;
/// As long as many a dashboard waits between two looks.
const DEFAULT_DELAY_MS: c_long = 10_000;

const CHECK: Duration = Duration::from_millis(200);
/// Checks after which what is due is given back although nobody allocates: the allocator looks at its clock only when it is used.
const CHECKS_PER_COLLECTION: u32 = 50;

#[expect(unsafe_code, reason = "declares two functions of the allocator")]
mod sys {
    use std::ffi::{c_int, c_long};

    unsafe extern "C" {
        /// Sets an option; an atomic store.
        pub(super) safe fn mi_option_set(option: c_int, value: c_long);
        /// Gives back what this thread, and threads that ended, do not use: all of it by force, else what was kept for long enough. May be
        /// called at any time.
        pub(super) safe fn mi_collect(force: bool);
    }
}

/// Has memory come in small pages, and pages go as soon as nothing lies in them. To be called before much is allocated.
pub fn prepare() {
    // Where this fails more memory is held, and that is all.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    sys::mi_option_set(PURGE_DELAY, 0);
}

/// Has pages kept for a while where there is plenty of memory, and given back at once where there is not.
pub(crate) async fn run(app: AppState, mut stopped: watch::Receiver<bool>) {
    let mut hurries = true;
    for check in (0..CHECKS_PER_COLLECTION).cycle() {
        let is_near = is_near(&app.storage);
        if is_near != hurries {
            hurries = is_near;
            let delay_ms = if is_near { 0 } else { DEFAULT_DELAY_MS };
            sys::mi_option_set(PURGE_DELAY, delay_ms);
        }
        if is_near || check == 0 {
            sys::mi_collect(is_near);
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
