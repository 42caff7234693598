//! What scraping says about itself, under upstream's names.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use storage::model::{MetricType, RefuseReason, RefusedSample};

use crate::telemetry::Collector;

const COUNTER: MetricType = MetricType::Counter;
const GAUGE: MetricType = MetricType::Gauge;
/// Intervals of which quantiles are told: the newest ones.
const REMEMBERED: usize = 1024;
/// Different intervals that are told apart; what comes later is not counted.
const MAX_INTERVALS: usize = 100;

/// Counters of all jobs, and figures of each.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) pools: AtomicU64,
    pub(super) pools_failed: AtomicU64,
    pub(super) reloads: AtomicU64,
    pub(super) reloads_failed: AtomicU64,
    pub(super) exceeded_target_limit: AtomicU64,
    pub(super) exceeded_body_size_limit: AtomicU64,
    pub(super) exceeded_sample_limit: AtomicU64,
    pub(super) exceeded_label_limits: AtomicU64,
    pub(super) cache_flushes: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) out_of_order: AtomicU64,
    pub(super) out_of_bounds: AtomicU64,
    pub(super) updates: AtomicU64,
    pub(super) file_read_errors: AtomicU64,
    by_job: Mutex<BTreeMap<String, OfJob>>,
    files: Mutex<BTreeMap<String, f64>>,
    intervals: Mutex<BTreeMap<String, VecDeque<f64>>>,
}

/// Figures of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfJob {
    pub(super) targets: usize,
    pub(super) target_limit: usize,
    pub(super) discovered: usize,
    pub(super) updated_ms: i64,
    pub(super) syncs: u64,
    pub(super) failed: u64,
}

pub(super) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

impl Counters {
    /// Notes the outcome of a job's discovery.
    pub(super) fn synced(&self, job: &str, now: OfJob, failures: usize) {
        let mut jobs = self.by_job.lock();
        let old = jobs.get(job).copied().unwrap_or_default();
        let new = OfJob {
            syncs: old.syncs + 1,
            failed: old.failed + failures as u64,
            ..now
        };
        jobs.insert(job.to_owned(), new);
    }

    /// Forgets a job.
    pub(super) fn forget(&self, job: &str) {
        self.by_job.lock().remove(job);
    }

    /// Replaces the times at which files of service discovery were changed, seconds since the epoch.
    pub(super) fn files(&self, files: BTreeMap<String, f64>) {
        *self.files.lock() = files;
    }

    /// Notes how long after the last scrape another one began. `interval` is what was wanted.
    pub(super) fn interval(&self, interval: &str, actual: Duration) {
        let mut intervals = self.intervals.lock();
        if intervals.len() >= MAX_INTERVALS && !intervals.contains_key(interval) {
            return;
        }
        let newest = intervals.entry(interval.to_owned()).or_default();
        newest.push_back(actual.as_secs_f64());
        if newest.len() > REMEMBERED {
            newest.pop_front();
        }
    }

    /// Counts samples that storage did not take.
    pub(super) fn refused(&self, refused: &[RefusedSample]) {
        for sample in refused {
            let counter = match sample.reason {
                RefuseReason::DuplicateTimestamp => &self.duplicates,
                RefuseReason::OutOfOrder => &self.out_of_order,
                _ => &self.out_of_bounds,
            };
            add(counter, 1);
        }
    }

    /// Everything, family by family.
    pub(crate) fn collect(&self, out: &mut Collector) {
        for (name, help, counter) in self.totals() {
            let value = counter.load(Ordering::Relaxed) as f64;
            out.one(name, COUNTER, help, value);
        }
        let jobs = self.by_job.lock();
        for (name, kind, help, value) in OF_JOB {
            out.family(name, kind, help);
            for (job, figures) in jobs.iter() {
                out.value(&[("scrape_job", job)], value(figures));
            }
        }
        for (name, help, value) in OF_DISCOVERY {
            out.family(name, GAUGE, help);
            for (job, figures) in jobs.iter() {
                out.value(&[("config", job), ("name", "scrape")], value(figures));
            }
        }
        drop(jobs);
        out.family(
            "prometheus_sd_updates_total",
            COUNTER,
            "Changes of discovered targets that were handed on.",
        );
        let updates = self.updates.load(Ordering::Relaxed);
        out.value(&[("name", "scrape")], updates as f64);
        out.family(
            "prometheus_sd_file_mtime_seconds",
            GAUGE,
            "When files of service discovery were changed, as of the last read.",
        );
        for (file, seconds) in self.files.lock().iter() {
            out.value(&[("filename", file)], *seconds);
        }
        self.collect_intervals(out);
    }

    fn totals(&self) -> [(&'static str, &'static str, &AtomicU64); 13] {
        [
            (
                "prometheus_target_scrape_pools_total",
                "Jobs that were set up.",
                &self.pools,
            ),
            (
                "prometheus_target_scrape_pools_failed_total",
                "Jobs that could not be set up.",
                &self.pools_failed,
            ),
            (
                "prometheus_target_scrape_pool_reloads_total",
                "Jobs that were set up anew after a change.",
                &self.reloads,
            ),
            (
                "prometheus_target_scrape_pool_reloads_failed_total",
                "Jobs that could not be set up anew.",
                &self.reloads_failed,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Times that a job had more targets than allowed.",
                &self.exceeded_target_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Scrapes whose page was too large.",
                &self.exceeded_body_size_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Scrapes with more samples than allowed.",
                &self.exceeded_sample_limit,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Scrapes with labels beyond the limits.",
                &self.exceeded_label_limits,
            ),
            (
                "prometheus_target_scrapes_cache_flush_forced_total",
                "Times that known series were forgotten while scrapes failed.",
                &self.cache_flushes,
            ),
            (
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Samples refused because their time has another value.",
                &self.duplicates,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Samples refused because a newer one is there.",
                &self.out_of_order,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Samples refused because they are too old or too far ahead.",
                &self.out_of_bounds,
            ),
            (
                "prometheus_sd_file_read_errors_total",
                "Files of service discovery that could not be read.",
                &self.file_read_errors,
            ),
        ]
    }

    fn collect_intervals(&self, out: &mut Collector) {
        let intervals = self.intervals.lock();
        out.family(
            "prometheus_target_interval_length_seconds",
            GAUGE,
            "Quantiles of the newest times between scrapes.",
        );
        for (interval, newest) in intervals.iter() {
            let mut sorted: Vec<f64> = newest.iter().copied().collect();
            sorted.sort_unstable_by(f64::total_cmp);
            for quantile in ["0.01", "0.05", "0.5", "0.9", "0.99"] {
                let q: f64 = quantile.parse().unwrap_or(0.5);
                let at = (q * (sorted.len().saturating_sub(1)) as f64).round() as usize;
                let labels = [("interval", interval.as_str()), ("quantile", quantile)];
                out.value(&labels, sorted.get(at).copied().unwrap_or(f64::NAN));
            }
        }
    }
}

type Figure = fn(&OfJob) -> f64;

const OF_JOB: [(&str, MetricType, &str, Figure); 4] = [
    (
        "prometheus_target_scrape_pool_targets",
        GAUGE,
        "Targets of the job.",
        |j| j.targets as f64,
    ),
    (
        "prometheus_target_scrape_pool_target_limit",
        GAUGE,
        "Targets that the job may have; 0: any number.",
        |j| j.target_limit as f64,
    ),
    (
        "prometheus_target_scrape_pool_sync_total",
        COUNTER,
        "Times that the job's targets were determined.",
        |j| j.syncs as f64,
    ),
    (
        "prometheus_target_sync_failed_total",
        COUNTER,
        "Discovered targets that could not be ones.",
        |j| j.failed as f64,
    ),
];

const OF_DISCOVERY: [(&str, &str, Figure); 2] = [
    (
        "prometheus_sd_discovered_targets",
        "Targets that were discovered.",
        |j| j.discovered as f64,
    ),
    (
        "prometheus_sd_last_update_timestamp_seconds",
        "When the targets were last determined.",
        |j| j.updated_ms as f64 / 1000.0,
    ),
];
