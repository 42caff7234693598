//! What `/metrics` tells about rules, under upstream's names.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::model::{Labels, MetricType};

use super::group::{Counts, Group};
use crate::telemetry::Family;

/// What is counted over all groups.
#[derive(Debug, Default)]
pub struct Figures {
    /// How long rules take.
    pub evaluations: Summary,
    /// How long groups take.
    pub iterations: Summary,
    /// Templates that were run.
    pub expansions: AtomicU64,
    /// Those that gave no text.
    pub expansion_failures: AtomicU64,
}

/// Quantiles are over the observations of so long a time, as upstream has it,
const WINDOW: Duration = Duration::from_secs(600);
/// of which at most so many are remembered.
const REMEMBERED: usize = 2048;

/// Durations: their number, their sum, and quantiles of the recent ones.
#[derive(Debug, Default)]
pub struct Summary {
    recent: Mutex<VecDeque<(Instant, f64)>>,
    count: AtomicU64,
    sum_ns: AtomicU64,
}

impl Summary {
    /// Adds a duration.
    pub fn observe(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        let mut recent = self.recent.lock();
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((Instant::now(), took.as_secs_f64()));
    }

    /// The quantiles of the recent durations in seconds; NaN where there is none.
    fn quantiles<const N: usize>(&self, wanted: [f64; N]) -> [f64; N] {
        let mut recent = self.recent.lock();
        while recent.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
            recent.pop_front();
        }
        let mut sorted: Vec<f64> = recent.iter().map(|(_, seconds)| *seconds).collect();
        drop(recent);
        sorted.sort_by(f64::total_cmp);
        wanted.map(|q| {
            let rank = (q * sorted.len() as f64).ceil() as usize;
            sorted
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN)
        })
    }

    /// The families of a summary; sum and count stand as families of their own, which reads the same.
    pub fn families<const N: usize>(
        &self,
        names: [&'static str; 3],
        help: &'static str,
        quantiles: [(&'static str, f64); N],
        labels: &[(&str, &str)],
    ) -> [Family; 3] {
        let values = self.quantiles(quantiles.map(|(_, q)| q));
        let samples = quantiles.iter().zip(values).map(|((text, _), value)| {
            let pairs = labels.iter().copied().chain([("quantile", *text)]);
            (Labels::from_pairs(pairs), value)
        });
        let own = Labels::from_pairs(labels.iter().copied());
        let sum = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let count = self.count.load(Ordering::Relaxed) as f64;
        let family = |name, metric_type, samples| Family {
            name,
            metric_type,
            help,
            samples,
        };
        [
            family(names[0], MetricType::Summary, samples.collect()),
            family(names[1], MetricType::Counter, vec![(own.clone(), sum)]),
            family(names[2], MetricType::Counter, vec![(own, count)]),
        ]
    }
}

type Figure = (
    &'static str,
    MetricType,
    &'static str,
    fn(&Group, &Counts) -> f64,
);

fn load(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}

/// What is told of each group.
const BY_GROUP: [Figure; 11] = [
    (
        "prometheus_rule_group_iterations_total",
        MetricType::Counter,
        "Evaluations of the group that were due, carried out or missed.",
        |_, c| load(&c.iterations) + load(&c.missed),
    ),
    (
        "prometheus_rule_group_iterations_missed_total",
        MetricType::Counter,
        "Evaluations of the group that were missed because others took too long.",
        |_, c| load(&c.missed),
    ),
    (
        "prometheus_rule_evaluations_total",
        MetricType::Counter,
        "Evaluations of rules.",
        |_, c| load(&c.evaluations),
    ),
    (
        "prometheus_rule_evaluation_failures_total",
        MetricType::Counter,
        "Evaluations of rules that failed.",
        |_, c| load(&c.failures),
    ),
    (
        "prometheus_rule_group_interval_seconds",
        MetricType::Gauge,
        "Time from one evaluation of the group to the next.",
        |g, _| g.interval.as_secs_f64(),
    ),
    (
        "prometheus_rule_group_last_evaluation_timestamp_seconds",
        MetricType::Gauge,
        "When the group was last evaluated.",
        |g, _| g.last_evaluation().0.map_or(0.0, |ns| ns as f64 / 1e9),
    ),
    (
        "prometheus_rule_group_last_duration_seconds",
        MetricType::Gauge,
        "How long the last evaluation of the group took.",
        |g, _| g.last_evaluation().1.as_secs_f64(),
    ),
    (
        "prometheus_rule_group_last_rule_duration_sum_seconds",
        MetricType::Gauge,
        "How long the rules of the last evaluation took together.",
        |g, _| {
            g.rules
                .iter()
                .map(|r| r.outcome().duration.as_secs_f64())
                .sum()
        },
    ),
    (
        "prometheus_rule_group_last_restore_duration_seconds",
        MetricType::Gauge,
        "How long the state of alerts was looked up for after the start.",
        |_, c| load(&c.restore_ns) / 1e9,
    ),
    (
        "prometheus_rule_group_rules",
        MetricType::Gauge,
        "Rules of the group.",
        |g, _| g.rules.len() as f64,
    ),
    (
        "prometheus_rule_group_last_evaluation_samples",
        MetricType::Gauge,
        "Samples that the last evaluation of the group gave.",
        |g, _| g.last_samples() as f64,
    ),
];

/// Everything, family by family.
pub(super) fn families(groups: &[Arc<Group>], figures: &Figures) -> Vec<Family> {
    let mut families = Vec::new();
    families.extend(figures.evaluations.families(
        [
            "prometheus_rule_evaluation_duration_seconds",
            "prometheus_rule_evaluation_duration_seconds_sum",
            "prometheus_rule_evaluation_duration_seconds_count",
        ],
        "How long rules take.",
        [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)],
        &[],
    ));
    families.extend(figures.iterations.families(
        [
            "prometheus_rule_group_duration_seconds",
            "prometheus_rule_group_duration_seconds_sum",
            "prometheus_rule_group_duration_seconds_count",
        ],
        "How long groups take.",
        [
            ("0.01", 0.01),
            ("0.05", 0.05),
            ("0.5", 0.5),
            ("0.9", 0.9),
            ("0.99", 0.99),
        ],
        &[],
    ));
    for (name, count, help) in [
        (
            "prometheus_template_text_expansions_total",
            &figures.expansions,
            "Templates that were run.",
        ),
        (
            "prometheus_template_text_expansion_failures_total",
            &figures.expansion_failures,
            "Templates that gave no text.",
        ),
    ] {
        families.push(Family {
            name,
            metric_type: MetricType::Counter,
            help,
            samples: vec![(Labels::empty(), load(count))],
        });
    }
    for (name, metric_type, help, value) in BY_GROUP {
        let samples = groups.iter().map(|group| {
            let labels = Labels::from_pairs([("rule_group", group.key())]);
            (labels, value(group, &group.counts))
        });
        families.push(Family {
            name,
            metric_type,
            help,
            samples: samples.collect(),
        });
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_observed() {
        let summary = Summary::default();
        assert!(summary.quantiles([0.5])[0].is_nan());
        for ms in 1..=100 {
            summary.observe(Duration::from_millis(ms));
        }
        assert_eq!(summary.quantiles([0.5, 0.99, 0.01]), [0.05, 0.099, 0.001]);
        let [_, sum, count] = summary.families(["a", "a_sum", "a_count"], "", [("0.5", 0.5)], &[]);
        assert_eq!(sum.samples[0].1, 5.05);
        assert_eq!(count.samples[0].1, 100.0);
    }
}
