//! The memory budget: one count of the large buffers of heads, caches, queries and compaction.
//!
//! Invariant: every byte reserved is released once, when its [`Reservation`] is dropped. The sum
//! stays below the part of the limit that leaves room for what is not counted (the allocator, small
//! objects, stacks).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// One count for the whole process.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

/// Bytes drawn from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes of resident memory.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
        })
    }

    /// Bytes reserved.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit it was made with.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Draws bytes. `what` names the one who asks, for the error's text.
    ///
    /// # Errors
    /// `MemoryLimit` when less is left; nothing is drawn then.
    pub(crate) fn reserve(self: &Arc<Self>, what: &'static str, bytes: u64) -> Result<Reservation> {
        let mut reservation = Reservation {
            budget: Arc::clone(self),
            bytes: 0,
        };
        reservation.grow(what, bytes)?;
        Ok(reservation)
    }

    /// An empty reservation that follows something which is bounded elsewhere; see [`Reservation::set`].
    pub(crate) fn gauge(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Refuses a write when heads and the rest have come near the limit. The heads reach half of it before (see
    /// [`crate::context::Context::note_active_bytes`]), the block cache an eighth.
    ///
    /// # Errors
    /// `MemoryLimit`.
    pub(crate) fn admit_write(&self, what: &'static str) -> Result<()> {
        let used_bytes = self.used();
        if used_bytes > self.limit / 16 * 11 {
            return Err(Error::MemoryLimit {
                what,
                used_bytes,
                limit_bytes: self.limit,
            });
        }
        Ok(())
    }

    /// What reservations may come to: three quarters of the limit; the rest is for what is not counted.
    const fn ceiling(&self) -> u64 {
        self.limit / 4 * 3
    }
}

impl Reservation {
    /// Draws more.
    ///
    /// # Errors
    /// As [`Budget::reserve`].
    pub(crate) fn grow(&mut self, what: &'static str, bytes: u64) -> Result<()> {
        let ceiling = self.budget.ceiling();
        let drawn = self
            .budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= ceiling)
            });
        if let Err(used_bytes) = drawn {
            return Err(Error::MemoryLimit {
                what,
                used_bytes,
                limit_bytes: self.budget.limit,
            });
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Sets the amount, without asking.
    pub(crate) fn set(&mut self, bytes: u64) {
        let used = &self.budget.used;
        if bytes >= self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_comes_back() {
        let budget = Budget::new(1000);
        let mut a = budget.reserve("a", 400).unwrap();
        assert!(matches!(
            budget.reserve("b", 400),
            Err(Error::MemoryLimit {
                used_bytes: 400,
                ..
            })
        ));
        a.grow("a", 350).unwrap();
        assert_eq!(budget.used(), 750);
        drop(a);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn writes_are_refused_before_queries_are() {
        let budget = Budget::new(1600);
        let mut heads = budget.gauge();
        heads.set(900);
        budget.admit_write("writes").unwrap();
        heads.set(1150);
        assert!(budget.admit_write("writes").is_err());
        budget.reserve("query", 50).unwrap();
    }
}
