//! Finds the series of a batch one after another.
//!
//! Senders send the same series in the same order again and again. So each series notes which one came behind it, and that one is tried
//! before it is looked up: its memory is needed in any case, while a look-up waits for memory of the key table at three more places.

use std::sync::Arc;

use super::head::{KeyHash, TenantHead};
use super::series::{MemSeries, SeriesState};

/// A walk along series in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The series that was visited last.
    last: Option<Arc<MemSeries>>,
    /// The one that came behind it the time before.
    next: Option<Arc<MemSeries>>,
}

impl Walk {
    /// Does something with the series of a key, of a tenant's part of a head; `None` when the key is unknown there.
    #[inline]
    pub(super) fn visit<T>(
        &mut self,
        part: &TenantHead,
        key: KeyHash,
        f: impl FnOnce(&Arc<MemSeries>, &mut SeriesState) -> T,
    ) -> Option<T> {
        if let Some(next) = self.next.take() {
            let mut state = next.state.lock();
            if state.key == key {
                let done = f(&next, &mut state);
                self.next = state.next.upgrade();
                drop(state);
                self.last = Some(next);
                return Some(done);
            }
        }
        let found = part.find_series(key)?;
        Some(self.go_to(found, key, f))
    }

    /// Does something with a series, and notes that it came behind the last one.
    pub(super) fn go_to<T>(
        &mut self,
        series: Arc<MemSeries>,
        key: KeyHash,
        f: impl FnOnce(&Arc<MemSeries>, &mut SeriesState) -> T,
    ) -> T {
        if let Some(last) = self.last.take() {
            last.state.lock().next = Arc::downgrade(&series);
        }
        let mut state = series.state.lock();
        // Of several encodings of its labels the first one met is tried.
        if state.key == KeyHash::NONE {
            state.key = key;
        }
        let done = f(&series, &mut state);
        self.next = state.next.upgrade();
        drop(state);
        self.last = Some(series);
        done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERIES: usize = 6;

    /// A head with some series, each under two keys.
    fn head() -> TenantHead {
        let head = TenantHead::new();
        for n in 0..SERIES {
            for key in keys(n) {
                let key = head.hash_key(key.as_bytes());
                head.add_series(key, &[("n", &n.to_string())], None, || None);
            }
        }
        head
    }

    fn keys(n: usize) -> [String; 2] {
        [format!("{n}"), format!("{n} again")]
    }

    proptest! {
        #[test]
        fn each_key_leads_to_its_series_whatever_came_before(
            walks in proptest::collection::vec(
                proptest::collection::vec((0..SERIES + 1, 0..2_usize), 0..20),
                0..6,
            ),
        ) {
            let head = head();
            for keys_walked in walks {
                let mut walk = Walk::default();
                for (n, which) in keys_walked {
                    let key = head.hash_key(keys(n)[which].as_bytes());
                    let id = walk.visit(&head, key, |s, _| s.id as usize);
                    prop_assert_eq!(id, (n < SERIES).then_some(n));
                }
            }
        }
    }

    #[test]
    fn the_series_that_came_behind_is_tried_first() {
        let head = head();
        let hash = |n: usize| head.hash_key(keys(n)[0].as_bytes());
        let mut walk = Walk::default();
        for n in [0, 1, 2] {
            walk.visit(&head, hash(n), |_, _| ());
        }
        let mut again = Walk::default();
        for n in [0, 1] {
            again.visit(&head, hash(n), |_, _| ());
            assert_eq!(again.next.as_ref().map(|s| s.id as usize), Some(n + 1));
        }
        again.visit(&head, hash(5), |_, _| ());
        let mut third = Walk::default();
        third.visit(&head, hash(1), |_, _| ());
        assert_eq!(third.next.as_ref().map(|s| s.id), Some(5));
    }
}
