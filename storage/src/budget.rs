//! The memory budget: one count of the large buffers of heads, caches, queries and compaction, and a look at what the process
//! really takes.
//!
//! ```text
//!  0          base        new series   all writes   queries, merges   limit
//!  ├───────────┼───────────────┼────────────┼──────────────┼──────────────┤
//!   code, idle      heads, frozen heads, cuts, caches, queries, bodies, allocator
//! ```
//!
//! Invariant: every byte reserved is released once, when its [`Reservation`] is dropped. What is reserved stays below the part of
//! the limit that leaves room for what is not counted (the allocator, small objects, stacks). Where that turns out to be more
//! than was left for it, resident memory decides: the marks above are refusals, in this order, so that who writes gives way to
//! who asks, and both before the process is in danger.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};

use crate::error::{Error, Result};

/// How long a reading of resident memory is good for. A reading costs some ten microseconds; what a request can allocate
/// meanwhile is far less than lies between two marks.
const FRESH: Duration = Duration::from_millis(4);

/// Who holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Heads that take writes.
    Heads,
    /// Heads on their way into blocks.
    FrozenHeads,
    /// What writing a block takes besides.
    Cuts,
    /// What is kept of blocks.
    Caches,
    /// Queries under way.
    Queries,
    /// Merges under way.
    Compaction,
    /// Bodies of requests that are being written.
    Requests,
}

const HOLDERS: [(Holder, &str); 7] = [
    (Holder::Heads, "heads"),
    (Holder::FrozenHeads, "frozen_heads"),
    (Holder::Cuts, "cuts"),
    (Holder::Caches, "caches"),
    (Holder::Queries, "queries"),
    (Holder::Compaction, "compaction"),
    (Holder::Requests, "requests"),
];

/// What was not done for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A write.
    Writes,
    /// A series that is new in a write.
    NewSeries,
    /// A query, or the rest of one.
    Queries,
    /// A merge, which is put off.
    Compactions,
}

const REFUSALS: [(Refusal, &str); 4] = [
    (Refusal::Writes, "writes"),
    (Refusal::NewSeries, "new_series"),
    (Refusal::Queries, "queries"),
    (Refusal::Compactions, "compactions"),
];

/// Who holds memory, and what was refused for want of it; see [`crate::Storage::memory_use`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The limit.
    pub limit_bytes: u64,
    /// What all holders have drawn.
    pub used_bytes: u64,
    /// Resident memory of the process; 0 where it is not known.
    pub resident_bytes: u64,
    /// Bytes by holder, always the same holders in the same order.
    pub holders: Vec<(&'static str, u64)>,
    /// Times since start that something was refused, by what it was; of new series, their number.
    pub refused: Vec<(&'static str, u64)>,
}

/// One count for the whole process.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// Resident memory before anything was reserved.
    base: u64,
    resident: Option<Resident>,
    used: AtomicU64,
    held: [AtomicU64; HOLDERS.len()],
    refused: [AtomicU64; REFUSALS.len()],
}

/// Bytes drawn from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    holder: Holder,
    bytes: u64,
}

/// Memory that a request takes while it is being written; see [`crate::Storage::hold_request`].
#[derive(Debug)]
pub struct RequestMemory {
    _held: Reservation,
}

impl RequestMemory {
    pub(crate) const fn new(held: Reservation) -> Self {
        Self { _held: held }
    }
}

impl Budget {
    /// A budget of so many bytes that counts only what is reserved.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self::with(limit, None))
    }

    /// A budget of so many bytes of resident memory, for the process as a whole. Where resident memory cannot be read it counts
    /// what is reserved.
    pub(crate) fn of_process(limit: u64) -> Arc<Self> {
        Arc::new(Self::with(limit, Resident::open()))
    }

    fn with(limit: u64, resident: Option<Resident>) -> Self {
        // A limit below what the program itself takes cannot be kept; half of it is then shared out all the same.
        let base = resident.as_ref().map_or(0, Resident::now).min(limit / 2);
        Self {
            limit,
            base,
            resident,
            used: AtomicU64::new(0),
            held: Default::default(),
            refused: Default::default(),
        }
    }

    /// Bytes reserved.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit it was made with.
    pub(crate) const fn limit(&self) -> u64 {
        self.limit
    }

    /// So many sixteenths of what the limit leaves to holders.
    pub(crate) const fn share(&self, sixteenths: u64) -> u64 {
        (self.limit - self.base) / 16 * sixteenths
    }

    /// Draws bytes for a query. `what` names the one who asks, for the error's text.
    ///
    /// # Errors
    /// `MemoryLimit` when less is left; nothing is drawn then.
    pub(crate) fn reserve(self: &Arc<Self>, what: &'static str, bytes: u64) -> Result<Reservation> {
        self.reserve_for(Holder::Queries, what, bytes)
    }

    /// As [`Self::reserve`], for any holder.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub(crate) fn reserve_for(
        self: &Arc<Self>,
        holder: Holder,
        what: &'static str,
        bytes: u64,
    ) -> Result<Reservation> {
        let mut reservation = self.gauge(holder);
        reservation.grow(what, bytes)?;
        Ok(reservation)
    }

    /// An empty reservation that follows something which is bounded elsewhere; see [`Reservation::set`].
    pub(crate) fn gauge(self: &Arc<Self>, holder: Holder) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            holder,
            bytes: 0,
        }
    }

    /// Refuses a write when heads and the rest have come near the limit; new series are refused before, see
    /// [`Self::admits_new_series`].
    ///
    /// # Errors
    /// `MemoryLimit`.
    pub(crate) fn admit_write(&self, what: &'static str) -> Result<()> {
        if self.used() > self.share(11) || self.resident_exceeds(13) {
            self.count(Refusal::Writes, 1);
            return Err(self.limit_reached(what));
        }
        Ok(())
    }

    /// Whether series that are new to a head find room: each of them takes far more than a sample of a known one.
    pub(crate) fn admits_new_series(&self) -> bool {
        self.used() <= self.share(10) && !self.resident_exceeds(12)
    }

    /// Whether memory is so short that work under way has to stop.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.resident_exceeds(14)
    }

    /// Whether memory is short enough for caches to give back what they keep.
    pub(crate) fn is_short(&self) -> bool {
        self.resident_exceeds(11)
    }

    /// Does something as long as there is memory for it. Looked at whenever the work is taken up again.
    ///
    /// # Errors
    /// `MemoryLimit`, or what the work says.
    pub(crate) async fn bounded<T>(
        &self,
        refusal: Refusal,
        what: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match self.check(refusal, what) {
            Ok(()) => work.as_mut().poll(cx),
            Err(e) => std::task::Poll::Ready(Err(e)),
        })
        .await
    }

    /// As [`Self::bounded`], for a query whose answer comes in parts.
    pub(crate) fn bounded_stream<T>(
        self: Arc<Self>,
        what: &'static str,
        mut parts: impl Stream<Item = Result<T>> + Send + Unpin + 'static,
    ) -> BoxStream<'static, Result<T>> {
        stream::poll_fn(move |cx| match self.check(Refusal::Queries, what) {
            Ok(()) => parts.poll_next_unpin(cx),
            Err(e) => std::task::Poll::Ready(Some(Err(e))),
        })
        .boxed()
    }

    fn check(&self, refusal: Refusal, what: &'static str) -> Result<()> {
        if self.is_exhausted() {
            self.count(refusal, 1);
            return Err(self.limit_reached(what));
        }
        Ok(())
    }

    /// The error of one who finds no room.
    pub(crate) fn limit_reached(&self, what: &'static str) -> Error {
        Error::MemoryLimit {
            what,
            used_bytes: self.used().max(self.resident()),
            limit_bytes: self.limit,
        }
    }

    /// Counts what was refused.
    pub(crate) fn count(&self, what: Refusal, times: u64) {
        if let Some(count) = self.refused.get(what as usize) {
            count.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Who holds what.
    pub(crate) fn memory_use(&self) -> MemoryUse {
        let load =
            |all: &[AtomicU64], at: usize| all.get(at).map_or(0, |n| n.load(Ordering::Relaxed));
        MemoryUse {
            limit_bytes: self.limit,
            used_bytes: self.used(),
            resident_bytes: self.resident(),
            holders: HOLDERS
                .map(|(h, name)| (name, load(&self.held, h as usize)))
                .into(),
            refused: REFUSALS
                .map(|(r, name)| (name, load(&self.refused, r as usize)))
                .into(),
        }
    }

    /// Resident memory; 0 where it is not looked at.
    fn resident(&self) -> u64 {
        self.resident.as_ref().map_or(0, Resident::recent)
    }

    fn resident_exceeds(&self, sixteenths: u64) -> bool {
        self.resident() > self.base + self.share(sixteenths)
    }

    /// What reservations may come to: three quarters of the limit; the rest is for what is not counted.
    const fn ceiling(&self) -> u64 {
        self.share(12)
    }
}

impl Reservation {
    /// Draws more.
    ///
    /// # Errors
    /// As [`Budget::reserve`].
    pub(crate) fn grow(&mut self, what: &'static str, bytes: u64) -> Result<()> {
        let budget = &self.budget;
        let ceiling = budget.ceiling();
        let is_resident = budget.resident() + bytes > budget.base + budget.share(14);
        let drawn = budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let sum = used.checked_add(bytes);
                sum.filter(|&sum| sum <= ceiling && (bytes == 0 || !is_resident))
            });
        if drawn.is_err() {
            match self.holder {
                Holder::Queries => budget.count(Refusal::Queries, 1),
                Holder::Requests => budget.count(Refusal::Writes, 1),
                Holder::Compaction => budget.count(Refusal::Compactions, 1),
                _ => {}
            }
            return Err(budget.limit_reached(what));
        }
        self.held().fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        Ok(())
    }

    /// Sets the amount, without asking.
    pub(crate) fn set(&mut self, bytes: u64) {
        for count in [&self.budget.used, self.held()] {
            if bytes >= self.bytes {
                count.fetch_add(bytes - self.bytes, Ordering::Relaxed);
            } else {
                count.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            }
        }
        self.bytes = bytes;
    }

    fn held(&self) -> &AtomicU64 {
        &self.budget.held[self.holder as usize]
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Resident memory of this process, as the kernel counts it.
#[derive(Debug)]
struct Resident {
    /// `/proc/self/statm`, which costs the kernel a fifth of `status`.
    statm: File,
    page_bytes: u64,
    opened: Instant,
    /// Microseconds from `opened` to the last reading.
    read_us: AtomicU64,
    bytes: AtomicU64,
}

impl Resident {
    fn open() -> Option<Self> {
        let resident = Self {
            statm: File::open("/proc/self/statm").ok()?,
            page_bytes: rustix::param::page_size() as u64,
            opened: Instant::now(),
            read_us: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        (resident.now() > 0).then_some(resident)
    }

    /// The last reading, or a new one where that is old.
    fn recent(&self) -> u64 {
        let now_us = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        let read_us = self.read_us.load(Ordering::Relaxed);
        if u128::from(now_us.saturating_sub(read_us)) < FRESH.as_micros() {
            return self.bytes.load(Ordering::Relaxed);
        }
        // Others go by the reading before until this one is there.
        self.read_us.store(now_us, Ordering::Relaxed);
        self.now()
    }

    fn now(&self) -> u64 {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0).unwrap_or(0);
        let pages = resident_pages(text.get(..len).unwrap_or_default()).unwrap_or(0);
        let bytes = pages.saturating_mul(self.page_bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        bytes
    }
}

/// Finds resident memory in the text of `/proc/self/statm`: its second number.
fn resident_pages(statm: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(statm).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_comes_back() {
        let budget = Budget::new(1600);
        let mut a = budget.reserve("a", 700).unwrap();
        assert!(matches!(
            budget.reserve("b", 600),
            Err(Error::MemoryLimit {
                used_bytes: 700,
                ..
            })
        ));
        a.grow("a", 500).unwrap();
        assert_eq!(budget.used(), 1200);
        drop(a);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn writes_are_refused_before_queries_are() {
        let budget = Budget::new(1600);
        let mut heads = budget.gauge(Holder::Heads);
        heads.set(900);
        budget.admit_write("writes").unwrap();
        heads.set(1150);
        assert!(budget.admit_write("writes").is_err());
        budget.reserve("query", 50).unwrap();
    }

    #[test]
    fn who_holds_what_is_told_and_what_was_refused_is_counted() {
        let budget = Budget::new(1600);
        let mut heads = budget.gauge(Holder::Heads);
        heads.set(1000);
        let query = budget.reserve("query", 50).unwrap();
        assert!(budget.reserve("query", 500).is_err());
        let merge = budget.reserve_for(Holder::Compaction, "compaction", 500);
        assert!(merge.is_err());
        heads.set(1150);
        assert!(budget.admit_write("writes").is_err());
        let held = budget.memory_use();
        let named = |all: &[(&'static str, u64)]| -> Vec<(&'static str, u64)> {
            all.iter().copied().filter(|(_, n)| *n > 0).collect()
        };
        assert_eq!(named(&held.holders), [("heads", 1150), ("queries", 50)]);
        let refused = [("writes", 1), ("queries", 1), ("compactions", 1)];
        assert_eq!(named(&held.refused), refused);
        assert_eq!(held.used_bytes, 1200);
        drop((heads, query));
        assert_eq!(named(&budget.memory_use().holders), []);
    }

    #[test]
    fn new_series_are_refused_before_other_writes() {
        let budget = Budget::new(1600);
        let mut heads = budget.gauge(Holder::Heads);
        heads.set(1000);
        assert!(budget.admits_new_series());
        heads.set(1050);
        assert!(!budget.admits_new_series());
        budget.admit_write("writes").unwrap();
    }

    #[tokio::test]
    async fn a_process_beyond_its_limit_refuses_whatever_is_counted() {
        // Any process takes more than this.
        let budget = Budget::of_process(1 << 16);
        assert!(!budget.admits_new_series());
        assert!(budget.admit_write("writes").is_err());
        assert!(budget.reserve("query", 1).is_err());
        let work = budget.bounded(Refusal::Queries, "query", async { Ok(()) });
        assert!(matches!(work.await, Err(Error::MemoryLimit { .. })));
        let roomy = Budget::of_process(1 << 50);
        roomy.admit_write("writes").unwrap();
        let work = roomy.bounded(Refusal::Queries, "query", async { Ok(1) });
        assert_eq!(work.await.unwrap(), 1);
        assert!(roomy.memory_use().resident_bytes > 1 << 16);
    }

    #[test]
    fn resident_memory_is_the_second_number_of_statm() {
        assert_eq!(resident_pages(b"52000 1024 900 3 0 4000 0\n"), Some(1024));
        assert_eq!(resident_pages(b"52000\n"), None);
        assert_eq!(resident_pages(b""), None);
    }
}
