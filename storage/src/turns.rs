//! Steps that several threads prepare and that are done one after another, in their order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long a step looks for its turn before its thread goes to sleep. A step that was prepared in time waits a part of what the one
/// before it takes, and to wake a core from sleep may take longer than that.
const LOOKS_FOR: Duration = Duration::from_millis(2);

/// The order of steps 0, 1, 2 and so on, and what belongs to the one whose turn it is.
pub(crate) struct Turns<'s, S> {
    now: AtomicUsize,
    state: Mutex<&'s mut S>,
    over: Condvar,
}

impl<'s, S> Turns<'s, S> {
    pub(crate) const fn new(state: &'s mut S) -> Self {
        Self {
            now: AtomicUsize::new(0),
            state: Mutex::new(state),
            over: Condvar::new(),
        }
    }

    /// What a step waits for its turn with. Each step has one.
    pub(crate) const fn ticket(&self, step: usize) -> Ticket<'_, 's, S> {
        Ticket { turns: self, step }
    }

    fn wait(&self, step: usize) -> MutexGuard<'_, &'s mut S> {
        let until = Instant::now() + LOOKS_FOR;
        let is_early = || self.now.load(Ordering::Acquire) < step;
        while is_early() && Instant::now() < until {
            std::thread::yield_now();
        }
        let mut state = self.state.lock();
        while is_early() {
            self.over.wait(&mut state);
        }
        state
    }
}

/// The right to do one step. Dropped without use, even by a panic, it lets the next one go on.
pub(crate) struct Ticket<'t, 's, S> {
    turns: &'t Turns<'s, S>,
    step: usize,
}

impl<S> Ticket<'_, '_, S> {
    /// Waits for the turn of the step, and does it.
    pub(crate) fn take(self, f: impl FnOnce(&mut S)) {
        f(&mut self.turns.wait(self.step));
    }
}

impl<S> Drop for Ticket<'_, '_, S> {
    fn drop(&mut self) {
        let state = self.turns.wait(self.step);
        self.turns.now.store(self.step + 1, Ordering::Release);
        drop(state);
        self.turns.over.notify_all();
    }
}

/// Calls a function with each number below `count`, lower ones first, on so many threads.
///
/// # Panics
/// As the function does, once all threads have ended.
pub(crate) fn on_threads(threads: usize, count: usize, f: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return;
            }
            f(i);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(work);
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_in_their_order_by_whichever_thread_prepared_them() {
        let mut done = Vec::new();
        let turns = Turns::new(&mut done);
        on_threads(4, 200, |i| {
            let ticket = turns.ticket(i);
            if i % 5 == 0 {
                std::thread::yield_now();
            }
            // Every seventh step turns out to be none.
            if i % 7 != 0 {
                ticket.take(|done: &mut Vec<usize>| done.push(i));
            }
        });
        let expected: Vec<usize> = (0..200).filter(|i| i % 7 != 0).collect();
        assert_eq!(done, expected);
    }

    #[test]
    fn a_panic_in_one_step_ends_all_and_is_passed_on() {
        let mut done = 0;
        let turns = Turns::new(&mut done);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            on_threads(3, 50, |i| {
                let ticket = turns.ticket(i);
                assert!(i != 20, "step 20");
                ticket.take(|done| *done += 1);
            });
        }));
        assert!(outcome.is_err());
        assert!(done >= 20, "{done}");
    }
}
