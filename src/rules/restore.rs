//! After a restart: since when alerts have been pending, from the series that told of it before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use storage::model::{Labels, METRIC_NAME, MsRange, is_stale};

use super::alerting::{Alert, Alerting, nanos};
use super::group::Group;
use super::rule::Rule;
use super::store::{Newest, Store};

/// How the state of alerts is restored.
#[derive(Clone, Copy, Debug)]
pub struct Restoration {
    /// An outage that was longer is not bridged.
    pub outage_tolerance: Duration,
    /// An alert that would fire sooner waits for so long first, for its cause may have gone meanwhile.
    pub grace_period: Duration,
}

impl Group {
    /// Restores the alerts that are active by now. From then on their series are written.
    pub fn restore(&self, store: &dyn Store, now_ns: i64, how: Restoration) {
        let begun = Instant::now();
        for rule in &self.rules {
            let Some(alerting) = rule.alerting() else {
                continue;
            };
            // What fires soon anyway need not remember.
            if alerting.hold >= how.grace_period
                && let Err(e) = restore_rule(rule, alerting, store, now_ns, how)
            {
                tracing::error!("restoring the state of alert {:?}: {e}", rule.name);
            }
            alerting.set_restored();
        }
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts
            .restore_ns
            .store(took, std::sync::atomic::Ordering::Relaxed);
    }
}

fn restore_rule(
    rule: &Rule,
    alerting: &Alerting,
    store: &dyn Store,
    now_ns: i64,
    how: Restoration,
) -> Result<(), String> {
    let oldest_ns = now_ns.saturating_sub(nanos(how.outage_tolerance));
    let range = MsRange::new(
        oldest_ns.div_euclid(1_000_000),
        now_ns.div_euclid(1_000_000),
    );
    let series = store.newest(Alerting::state_matchers(rule), range)?;
    let by_labels: HashMap<Labels, &Newest> = series
        .iter()
        .map(|s| (s.labels.without(&[METRIC_NAME]), s))
        .collect();
    alerting.for_each(|alert| {
        if let Some(newest) = by_labels.get(&alert.labels) {
            restore_alert(alert, newest, nanos(alerting.hold), now_ns, how);
        }
    });
    Ok(())
}

fn restore_alert(alert: &mut Alert, newest: &Newest, hold_ns: i64, now_ns: i64, how: Restoration) {
    const SECOND_NS: i64 = 1_000_000_000;
    // It was not active.
    if is_stale(newest.value) {
        return;
    }
    let down_at_ns = newest.t_ms / 1000 * SECOND_NS;
    let active_at_ns = (newest.value as i64).saturating_mul(SECOND_NS);
    let remaining_ns = hold_ns - (down_at_ns - active_at_ns);
    let grace_ns = nanos(how.grace_period);
    alert.active_at_ns = if remaining_ns <= 0 {
        // It was firing, and does so again with the next evaluation.
        active_at_ns
    } else if remaining_ns < grace_ns {
        now_ns + grace_ns - hold_ns
    } else {
        // The outage does not count.
        active_at_ns + (now_ns - down_at_ns)
    };
}

#[cfg(test)]
mod tests {
    use super::super::alerting::State;
    use super::*;

    /// Seconds since it became active, seen at second 10,000, where the last sample was at `down_at`, of an alert that became
    /// active at `active_at` and must hold for 20 minutes.
    fn f(active_at: f64, down_at: i64) -> i64 {
        let mut alert = Alert {
            state: State::Pending,
            labels: Labels::empty(),
            annotations: Default::default(),
            value: 1.0,
            active_at_ns: 9_990_000_000_000,
            fired_at_ns: None,
            resolved_at_ns: None,
            last_sent_at_ns: None,
            valid_until_ns: 0,
            keep_firing_since_ns: None,
        };
        let newest = Newest {
            labels: Labels::empty(),
            t_ms: down_at * 1000,
            value: active_at,
        };
        let how = Restoration {
            outage_tolerance: Duration::from_secs(3600),
            grace_period: Duration::from_secs(600),
        };
        let hold_ns = 1_200_000_000_000;
        restore_alert(&mut alert, &newest, hold_ns, 10_000_000_000_000, how);
        (10_000_000_000_000 - alert.active_at_ns) / 1_000_000_000
    }

    #[test]
    fn the_outage_does_not_count_as_pending() {
        // Pending for 100 s before an outage of 900 s.
        assert_eq!(f(9000.0, 9100), 100);
    }

    #[test]
    fn what_would_fire_soon_waits_for_the_grace_period() {
        // Pending for 1000 s: 200 s are left, less than the 600 s of grace.
        assert_eq!(f(8000.0, 9000), 600);
    }

    #[test]
    fn what_was_firing_fires_again() {
        assert_eq!(f(5000.0, 9000), 5000);
    }

    #[test]
    fn what_was_not_active_begins_anew() {
        assert_eq!(f(storage::model::STALE_NAN, 9000), 10);
    }
}
