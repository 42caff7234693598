//! Tombstones: what was deleted and may still lie in blocks.
//!
//! ```text
//!  tombstones/<signal>/<tenant>/<ulid>.json    below the storage folder, and below the bucket's prefix where there is one
//! ```
//!
//! A deletion takes a number of the write-ahead log and writes one file; with that it is durable. The number settles what it means:
//! whatever was written under a smaller one. Heads are rid of it at once, so every block either was cut before (its last
//! number is smaller, the tombstone hides rows of it) or holds nothing of it. A replay deletes again when it comes to the number.
//!
//! Invariant: a tombstone stays as long as a block it hides rows of may be seen, or the log has records before it.

mod file;

use std::sync::Arc;

use ulid::Ulid;

use crate::block::Manifest;
use crate::model::{Matcher, Tenant};
use crate::signal::TimeSpan;

pub(crate) use file::{TombstoneFolder, decode, encode};

/// One deletion of one selector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tombstone {
    /// The file's name.
    pub(crate) id: Ulid,
    pub(crate) tenant: Tenant,
    /// What was written under smaller numbers is deleted. No record and no other deletion has it.
    pub(crate) seq: u64,
    /// Times of what is deleted, in the signal's unit.
    pub(crate) span: TimeSpan,
    /// All must pass.
    pub(crate) matchers: Vec<Matcher>,
    /// When it was asked for, in milliseconds since the epoch.
    pub(crate) deleted_at_ms: i64,
}

impl Tombstone {
    /// Whether a block may have rows that this one hides.
    pub(crate) fn hides_in(&self, block: &Manifest) -> bool {
        block.wal_seq_max < self.seq
            && block.deleted_through < self.seq
            && block.tenant == self.tenant.as_str()
            && block.min_time <= self.span.max
            && self.span.min <= block.max_time
    }

    /// Whether this later deletion means all that an earlier one means.
    pub(crate) fn covers(&self, earlier: &Self) -> bool {
        earlier.seq <= self.seq
            && earlier.tenant == self.tenant
            && self.span.min <= earlier.span.min
            && earlier.span.max <= self.span.max
            && earlier.matchers == self.matchers
    }
}

/// The tombstones of a signal, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones(Vec<Arc<Tombstone>>);

impl Tombstones {
    pub(crate) fn new(mut all: Vec<Arc<Tombstone>>) -> Self {
        all.sort_by_key(|t| (t.seq, t.id));
        Self(all)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that may hide rows of a block.
    pub(crate) fn of<'t>(
        &'t self,
        block: &'t Manifest,
    ) -> impl Iterator<Item = &'t Arc<Tombstone>> {
        self.iter().filter(|t| t.hides_in(block))
    }

    /// The highest number of a tenant's; 0 when there is none.
    pub(crate) fn newest_of(&self, tenant: &str) -> u64 {
        let own = self.iter().filter(|t| t.tenant.as_str() == tenant);
        own.map(|t| t.seq).max().unwrap_or(0)
    }

    /// These and others.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = Arc<Tombstone>>) -> Self {
        Self::new(self.0.iter().map(Arc::clone).chain(more).collect())
    }

    /// These but for some.
    pub(crate) fn without(&self, gone: &[Arc<Tombstone>]) -> Self {
        let stays = |t: &&Arc<Tombstone>| !gone.iter().any(|g| g.id == t.id);
        Self(self.0.iter().filter(stays).map(Arc::clone).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(seq: u64, min: i64, max: i64) -> Tombstone {
        Tombstone {
            id: Ulid::from_parts(seq, 0),
            tenant: Tenant::anonymous(),
            seq,
            span: TimeSpan { min, max },
            matchers: vec![Matcher::equal("a", "b")],
            deleted_at_ms: 0,
        }
    }

    #[test]
    fn a_tombstone_hides_what_was_cut_before_it_and_not_rewritten_since() {
        let block = |wal_seq_max, deleted_through, min_time, max_time| Manifest {
            wal_seq_max,
            deleted_through,
            min_time,
            max_time,
            ..Manifest::unreadable("metrics", "anonymous", "x")
        };
        let t = tombstone(10, 100, 200);
        for (block, expected) in [
            (block(9, 0, 0, 100), true),
            (block(9, 9, 200, 300), true),
            (block(10, 0, 0, 300), false),
            (block(9, 10, 0, 300), false),
            (block(9, 0, 0, 99), false),
            (block(9, 0, 201, 300), false),
        ] {
            assert_eq!(t.hides_in(&block), expected, "{block:?}");
        }
        let other = Manifest {
            tenant: "other".to_owned(),
            ..block(9, 0, 0, 300)
        };
        assert!(!t.hides_in(&other));
    }

    #[test]
    fn a_later_deletion_of_the_same_series_and_more_time_covers_an_earlier_one() {
        let earlier = tombstone(1, 100, 200);
        assert!(tombstone(2, 100, 200).covers(&earlier));
        assert!(tombstone(2, 0, 300).covers(&earlier));
        assert!(!tombstone(2, 101, 300).covers(&earlier));
        assert!(!earlier.covers(&tombstone(2, 100, 200)));
        let other = Tombstone {
            matchers: vec![Matcher::equal("a", "c")],
            ..tombstone(2, 0, 300)
        };
        assert!(!other.covers(&earlier));
    }
}
