//! What is kept in memory of blocks: pages of remote files, Parquet footers, decoded indexes, pages of samples.
//!
//! One least-recently-used list for all of them but the samples, which have a small one of their own: they are large for what they save.
//! Both are bounded in bytes and counted in the memory budget. Blocks never change, so nothing here ever goes stale.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use ulid::Ulid;

use crate::budget::{Budget, Holder, Reservation};

/// What of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    /// A page of a file, by the file's position in the manifest and the page's number.
    Page(u16, u64),
    /// The metadata of a Parquet file.
    ParquetMetadata(u16),
    /// Something that a signal decoded.
    Decoded(&'static str),
    /// A page that a signal decoded, by the file's name and its position there.
    DecodedPage(&'static str, u64),
    /// A page of a column of samples, by its position in their file.
    SamplesPage(u64),
}

/// The name of a cached thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) block: Ulid,
    pub(crate) slot: Slot,
}

type Value = Arc<dyn Any + Send + Sync>;

struct Kept {
    value: Value,
    bytes: u64,
    used_at: u64,
}

struct Inner {
    kept: HashMap<Key, Kept>,
    /// Keys by the time of their last use.
    order: BTreeMap<u64, Key>,
    tick: u64,
    bytes: u64,
    reservation: Reservation,
}

impl Inner {
    /// Lets the least recently used go until the rest takes no more than this.
    fn shrink(&mut self, bytes: u64) {
        while self.bytes > bytes {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.bytes -= gone.bytes;
            }
        }
        self.reservation.set(self.bytes);
    }
}

/// A bounded list. The lock is held for a few map operations only.
struct List {
    capacity_bytes: u64,
    inner: Mutex<Inner>,
}

/// A bounded cache.
pub(crate) struct Cache {
    samples: List,
    others: List,
}

/// Bytes of samples that are kept at most. Enough for the panels of some dashboards.
const MAX_SAMPLES_BYTES: u64 = 32 << 20;

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("samples_bytes", &self.samples.capacity_bytes)
            .field("others_bytes", &self.others.capacity_bytes)
            .finish()
    }
}

impl Cache {
    /// A cache of so many bytes; a part of it, an eighth at most, is for samples.
    pub(crate) fn new(capacity_bytes: u64, budget: &Arc<Budget>) -> Self {
        let samples_bytes = MAX_SAMPLES_BYTES.min(capacity_bytes / 8);
        Self {
            samples: List::new(samples_bytes, budget),
            others: List::new(capacity_bytes - samples_bytes, budget),
        }
    }

    const fn list(&self, slot: Slot) -> &List {
        match slot {
            Slot::SamplesPage(_) => &self.samples,
            _ => &self.others,
        }
    }

    /// Bytes of samples that it keeps at most.
    pub(crate) const fn samples_capacity_bytes(&self) -> u64 {
        self.samples.capacity_bytes
    }

    /// Bytes of everything else that it keeps at most.
    pub(crate) const fn others_capacity_bytes(&self) -> u64 {
        self.others.capacity_bytes
    }

    /// The value, which becomes the most recently used one.
    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.list(key.slot).get(key)
    }

    /// Keeps a value, in place of the least recently used ones. What is larger than a quarter of the
    /// list is not kept.
    pub(crate) fn put(&self, key: Key, value: Value, bytes: u64) {
        self.list(key.slot).put(key, value, bytes);
    }

    /// Lets go of the least recently used half.
    pub(crate) fn halve(&self) {
        self.samples.halve();
        self.others.halve();
    }

    /// Forgets all of a block.
    pub(crate) fn forget(&self, block: Ulid) {
        self.samples.forget(block);
        self.others.forget(block);
    }
}

impl List {
    fn new(capacity_bytes: u64, budget: &Arc<Budget>) -> Self {
        Self {
            capacity_bytes,
            inner: Mutex::new(Inner {
                kept: HashMap::new(),
                order: BTreeMap::new(),
                tick: 0,
                bytes: 0,
                reservation: budget.gauge(Holder::Caches),
            }),
        }
    }

    fn get(&self, key: &Key) -> Option<Value> {
        let mut inner = self.inner.lock();
        let Inner {
            kept, order, tick, ..
        } = &mut *inner;
        let entry = kept.get_mut(key)?;
        *tick += 1;
        order.remove(&entry.used_at);
        order.insert(*tick, *key);
        entry.used_at = *tick;
        Some(Arc::clone(&entry.value))
    }

    fn put(&self, key: Key, value: Value, bytes: u64) {
        if bytes > self.capacity_bytes / 4 {
            return;
        }
        let mut inner = self.inner.lock();
        inner.tick += 1;
        let used_at = inner.tick;
        let kept = Kept {
            value,
            bytes,
            used_at,
        };
        if let Some(before) = inner.kept.insert(key, kept) {
            inner.order.remove(&before.used_at);
            inner.bytes -= before.bytes;
        }
        inner.order.insert(used_at, key);
        inner.bytes += bytes;
        inner.shrink(self.capacity_bytes);
    }

    fn halve(&self) {
        let mut inner = self.inner.lock();
        let bytes = inner.bytes / 2;
        inner.shrink(bytes);
    }

    fn forget(&self, block: Ulid) {
        let mut inner = self.inner.lock();
        let Inner {
            kept, order, bytes, ..
        } = &mut *inner;
        kept.retain(|key, value| {
            let stays = key.block != block;
            if !stays {
                order.remove(&value.used_at);
                *bytes -= value.bytes;
            }
            stays
        });
        let bytes = *bytes;
        inner.reservation.set(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key {
            block: Ulid::from_parts(n, 0),
            slot: Slot::Page(0, n),
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_budget_follows() {
        let budget = Budget::new(1 << 20);
        let cache = List::new(100, &budget);
        for n in 0..4 {
            cache.put(key(n), Arc::new(n), 25);
        }
        assert!(cache.get(&key(0)).is_some());
        cache.put(key(4), Arc::new(4u64), 25);
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&key(0)).is_some());
        assert_eq!(budget.used(), 100);
        cache.put(key(5), Arc::new(5u64), 26);
        assert!(cache.get(&key(5)).is_none(), "too large to be kept");
        cache.forget(Ulid::from_parts(0, 0));
        assert!(cache.get(&key(0)).is_none());
        assert_eq!(budget.used(), 75);
    }

    #[test]
    fn samples_do_not_push_out_the_rest() {
        let budget = Budget::new(1 << 20);
        let cache = Cache::new(800, &budget);
        cache.put(key(1), Arc::new(1u64), 100);
        for n in 0..40 {
            let slot = Slot::SamplesPage(n);
            let block = Ulid::from_parts(1, 0);
            cache.put(Key { block, slot }, Arc::new(n), 25);
        }
        assert!(cache.get(&key(1)).is_some());
        assert_eq!(budget.used(), 200);
        cache.forget(Ulid::from_parts(1, 0));
        assert_eq!(budget.used(), 0);
    }
}
