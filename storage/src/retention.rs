//! Retention: which blocks have grown too old, and letting them go.
//!
//! The blocks of archives are kept for ever. Age counts from the earlier of the clock and the tenant's newest block, and a step that would drop more than half of a
//! signal's blocks waits an hour: a clock that jumps must not wipe a store.

pub(crate) mod size;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::block::{Block, Manifest};
use crate::fail_point::{self, FailPoint};
use crate::generation::SignalStore;
use crate::model::Tenant;
use crate::signal::{Head, SignalKind};

/// How long a large step waits.
const DELAY_MS: i64 = 3600 * 1000;

/// Per tenant the first time that is still kept, in the signal's unit. An archive has none.
pub(crate) fn cutoffs<'m>(
    manifests: impl Iterator<Item = &'m Manifest>,
    signal: SignalKind,
    now_ms: i64,
    retention: Duration,
) -> HashMap<&'m str, i64> {
    let unit = signal.units_per_ms();
    let now = now_ms.saturating_mul(unit);
    let kept = i64::try_from(retention.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_mul(unit);
    let mut newest: HashMap<&str, i64> = HashMap::new();
    for m in manifests.filter(|m| !Tenant::is_archive(&m.tenant)) {
        let end = newest.entry(&m.tenant).or_insert(i64::MIN);
        *end = (*end).max(m.max_time);
    }
    newest
        .into_iter()
        .map(|(tenant, end)| (tenant, end.min(now).saturating_sub(kept)))
        .collect()
}

/// The positions of blocks that lie wholly before their tenant's cutoff, oldest end first.
pub(crate) fn expired(
    manifests: &[&Manifest],
    signal: SignalKind,
    now_ms: i64,
    retention: Duration,
) -> Vec<usize> {
    let cutoffs = cutoffs(manifests.iter().copied(), signal, now_ms, retention);
    let mut old: Vec<(i64, usize)> = manifests
        .iter()
        .enumerate()
        .filter(|(_, m)| {
            cutoffs
                .get(m.tenant.as_str())
                .is_some_and(|&cutoff| m.max_time < cutoff)
        })
        .map(|(i, m)| (m.max_time, i))
        .collect();
    old.sort_unstable();
    old.into_iter().map(|(_, i)| i).collect()
}

/// Holds large steps back.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    since_ms: Option<i64>,
}

impl Brake {
    /// Whether a step that drops so many of so many blocks may be done now. The first call for a large step starts
    /// its delay.
    pub(crate) fn admits(&mut self, dropped: usize, of: usize, now_ms: i64) -> bool {
        if dropped * 2 <= of {
            self.since_ms = None;
            return true;
        }
        match self.since_ms {
            Some(since_ms) if now_ms.saturating_sub(since_ms) >= DELAY_MS => {
                self.since_ms = None;
                true
            }
            Some(_) => false,
            None => {
                self.since_ms = Some(now_ms);
                tracing::warn!(
                    dropped,
                    of,
                    "retention would drop more than half of the blocks; it waits an hour before it does"
                );
                false
            }
        }
    }
}

impl<H: Head> SignalStore<H> {
    /// Drops the blocks that are past retention.
    pub(crate) async fn drop_expired(&self, brake: &mut Brake) {
        let Some(retention) = self.context.retention(H::SIGNAL) else {
            return;
        };
        let _removing = self.removing.lock().await;
        let gone = self.expired_blocks(retention, brake);
        if gone.is_empty() {
            return;
        }
        if let Err(e) = self.complete_cuts(&gone, &[]).await {
            tracing::error!(signal = H::SIGNAL.as_str(), error = %e, "blocks past retention stay for now");
            return;
        }
        tracing::info!(
            signal = H::SIGNAL.as_str(),
            blocks = gone.len(),
            "dropping blocks past retention"
        );
        fail_point::reach(FailPoint::RetentionBeforeRemoval);
        self.replace(gone, Vec::new()).await;
    }

    fn expired_blocks(&self, retention: Duration, brake: &mut Brake) -> Vec<Arc<Block>> {
        let view = self.view();
        // Where a manifest cannot be read its block's age is not known.
        let blocks: Vec<_> = view.blocks.iter().filter(|b| !is_unreadable(b)).collect();
        let manifests: Vec<_> = blocks.iter().map(|b| b.manifest()).collect();
        let now_ms = self.context.clock.now_ms();
        let old = expired(&manifests, H::SIGNAL, now_ms, retention);
        if old.is_empty() || !brake.admits(old.len(), manifests.len(), now_ms) {
            return Vec::new();
        }
        let old = old.iter().filter_map(|&i| blocks.get(i));
        old.map(|b| Arc::clone(b)).collect()
    }

    /// Before which time a tenant's items need not be kept, in the signal's unit.
    pub(crate) fn retention_cutoff(&self, tenant: &str) -> Option<i64> {
        let retention = self.context.retention(H::SIGNAL)?;
        let view = self.view();
        let blocks = view.blocks.iter().filter(|b| !is_unreadable(b));
        let manifests = blocks.map(|b| b.manifest());
        let now_ms = self.context.clock.now_ms();
        cutoffs(manifests, H::SIGNAL, now_ms, retention)
            .get(tenant)
            .copied()
    }
}

fn is_unreadable(block: &Block) -> bool {
    block.manifest().is_stand_in()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    fn manifest(tenant: &str, day: i64) -> Manifest {
        let text = serde_json::json!({
            "format_version": 1, "min_reader_version": 1, "ulid": "x", "tenant": tenant, "signal": "metrics",
            "min_time": day * DAY, "max_time": day * DAY + DAY - 1, "resolution_ms": 0, "level": 1,
            "wal_seq_min": 1, "wal_seq_max": 1, "completes_cut": true, "replaces": [], "rows": 1, "groups": 1,
            "raw_bytes": 1, "files": [],
        });
        serde_json::from_value(text).unwrap()
    }

    fn check(blocks: &[(&str, i64)], now_day: i64, expected: &[usize]) {
        let manifests: Vec<_> = blocks.iter().map(|&(t, d)| manifest(t, d)).collect();
        let manifests: Vec<_> = manifests.iter().collect();
        let days = Duration::from_secs(5 * 24 * 3600);
        let old = expired(&manifests, SignalKind::Metrics, now_day * DAY, days);
        assert_eq!(old, expected, "{blocks:?} on day {now_day}");
    }

    #[test]
    fn a_block_goes_when_all_of_it_is_too_old() {
        check(&[("a", 10), ("a", 4), ("a", 5), ("a", 3)], 11, &[3, 1]);
        check(&[("a", 10), ("a", 5)], 10, &[]);
    }

    #[test]
    fn a_clock_that_runs_ahead_drops_nothing_by_itself() {
        check(&[("a", 10), ("a", 9)], 5000, &[]);
        check(&[("a", 10), ("b", 2), ("b", 1)], 5000, &[]);
    }

    #[test]
    fn a_sample_from_the_future_drops_nothing_either() {
        check(&[("a", 5000), ("a", 10), ("a", 9)], 10, &[]);
    }

    #[test]
    fn an_archive_is_kept_for_ever() {
        check(
            &[("a@archive", 1), ("a", 10), ("a", 1), ("a@archive", 9)],
            11,
            &[2],
        );
    }

    #[test]
    fn a_large_step_waits_an_hour() {
        let mut brake = Brake::default();
        assert!(brake.admits(2, 4, 0));
        assert!(!brake.admits(3, 4, 0));
        assert!(!brake.admits(3, 4, DELAY_MS - 1));
        assert!(brake.admits(3, 4, DELAY_MS));
        assert!(!brake.admits(3, 4, DELAY_MS + 1));
    }
}
