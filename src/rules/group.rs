//! A group of rules: evaluates them one after the other and writes what they give.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use promql::VectorSample;
use promql::vector::Sample;
use storage::model::{Labels, Matcher, MsRange, STALE_NAN};

use super::alerting::{Alert, Circumstances, nanos};
use super::rule::{Kind, Rule};
use super::store::{Store, vector};
use super::{Figures, recording};
use crate::config::rule_file::RuleGroup;
use crate::template::Surroundings;

/// A group that can be evaluated.
#[derive(Debug)]
pub struct Group {
    /// Its name, the only one in its file.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// From one evaluation to the next.
    pub interval: Duration,
    /// Most series or alerts a rule may give; none where not positive.
    pub limit: i64,
    /// Its rules, in their order.
    pub rules: Vec<Arc<Rule>>,
    written: RuleGroup,
    /// Series of rules that are no more, to be marked as stale.
    stale: Mutex<Vec<Labels>>,
    /// Counts since the group is known by its file and name.
    pub(super) counts: Arc<Counts>,
    /// When the last evaluation began, nanoseconds since the epoch, and how long it took. 0: there was none.
    last_started_ns: AtomicI64,
    last_took_ns: AtomicU64,
    last_samples: AtomicU64,
}

/// Counts of a group.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) iterations: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) evaluations: AtomicU64,
    pub(super) failures: AtomicU64,
    /// How long the state was looked up for after the start.
    pub(super) restore_ns: AtomicU64,
}

/// When a group is evaluated, and what surrounds it then.
pub struct Moment<'a> {
    /// The slot, in nanoseconds since the epoch.
    pub t_ns: i64,
    /// How far in the past queries are asked where the group does not say it.
    pub query_offset: Duration,
    /// Labels of this server.
    pub external_labels: &'a [(String, String)],
    /// Where this server is reached.
    pub external_url: &'a str,
    /// How long an alert that goes on is not sent again.
    pub resend_delay: Duration,
    /// Takes the alerts of an expression that are to be sent; never none.
    pub notify: &'a dyn Fn(&str, Vec<Alert>),
    /// Whether to leave off before the next rule.
    pub stopped: &'a dyn Fn() -> bool,
    /// The wall clock, in nanoseconds since the epoch.
    pub now_ns: &'a dyn Fn() -> i64,
    /// What is counted over all groups.
    pub figures: &'a Figures,
}

impl Group {
    /// A group of a file. `interval` counts where the group names none; `restored` is false where the state of alerts is to be
    /// looked up first.
    ///
    /// # Errors
    /// A template that does not parse, which the file's reader has refused.
    pub fn new(
        file: &Path,
        written: &RuleGroup,
        interval: Duration,
        restored: bool,
    ) -> Result<Self, String> {
        let rules: Result<Vec<_>, String> = written
            .rules
            .iter()
            .map(|rule| Rule::new(written, rule, restored))
            .collect();
        Ok(Self {
            name: written.name.clone(),
            file: file.to_owned(),
            interval: written.interval.unwrap_or(interval),
            limit: written.limit,
            rules: rules?,
            written: written.clone(),
            stale: Mutex::default(),
            counts: Arc::default(),
            last_started_ns: AtomicI64::new(0),
            last_took_ns: AtomicU64::new(0),
            last_samples: AtomicU64::new(0),
        })
    }

    /// By which a group is known: names come again in other files.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{};{}", self.file.display(), self.name)
    }

    /// Whether the other group is this one, unchanged.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.file == other.file && self.interval == other.interval && self.written == other.written
    }

    /// When the last evaluation began, nanoseconds since the epoch, and how long it took.
    #[must_use]
    pub fn last_evaluation(&self) -> (Option<i64>, Duration) {
        let started = self.last_started_ns.load(Ordering::Relaxed);
        let took = Duration::from_nanos(self.last_took_ns.load(Ordering::Relaxed));
        ((started != 0).then_some(started), took)
    }

    /// Samples that the last evaluation gave.
    pub(super) fn last_samples(&self) -> u64 {
        self.last_samples.load(Ordering::Relaxed)
    }

    fn query_offset(&self, at: &Moment<'_>) -> Duration {
        self.written.query_offset.unwrap_or(at.query_offset)
    }

    /// Continues where another version of the group has stopped: alerts, and the series to be marked as stale.
    pub fn take_over(&mut self, from: &Self) {
        self.counts = Arc::clone(&from.counts);
        let relaxed = Ordering::Relaxed;
        self.last_started_ns
            .store(from.last_started_ns.load(relaxed), relaxed);
        self.last_took_ns
            .store(from.last_took_ns.load(relaxed), relaxed);
        let mut left: Vec<&Arc<Rule>> = from.rules.iter().collect();
        for rule in &self.rules {
            let Some(at) = left.iter().position(|old| rule.is_successor_of(old)) else {
                continue;
            };
            let old = left.remove(at);
            rule.series.lock().clone_from(&old.series.lock());
            if let (Some(new), Some(old)) = (rule.alerting(), old.alerting()) {
                new.take_over(old);
            }
        }
        let mut stale = from.stale.lock().clone();
        stale.extend(left.iter().flat_map(|rule| rule.series.lock().clone()));
        *self.stale.lock() = stale;
    }

    /// Evaluates all rules for one slot.
    pub fn evaluate(&self, store: &dyn Store, at: &Moment<'_>) {
        self.counts.iterations.fetch_add(1, Ordering::Relaxed);
        let (begun, started_ns) = (Instant::now(), (at.now_ns)());
        let mut samples = 0;
        for rule in &self.rules {
            if (at.stopped)() {
                return;
            }
            samples += self.evaluate_rule(rule, store, at);
        }
        self.mark_stale(store, at);
        self.last_samples.store(samples, Ordering::Relaxed);
        let took = begun.elapsed();
        at.figures.iterations.observe(took);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last_took_ns.store(took_ns, Ordering::Relaxed);
        self.last_started_ns.store(started_ns, Ordering::Relaxed);
    }

    /// Evaluates one rule; returns how many samples it gave.
    fn evaluate_rule(&self, rule: &Rule, store: &dyn Store, at: &Moment<'_>) -> u64 {
        self.counts.evaluations.fetch_add(1, Ordering::Relaxed);
        let (begun, started_ns) = (Instant::now(), (at.now_ns)());
        let result = self.result_of(rule, store, at);
        let count = result.as_ref().map_or(0, Vec::len) as u64;
        let written = result.and_then(|samples| {
            if let Kind::Alerting(alerting) = &rule.kind {
                let due = alerting.due(at.t_ns, self.interval, at.resend_delay);
                if !due.is_empty() {
                    (at.notify)(&rule.query, due);
                }
            }
            self.write(rule, store, at, &samples)
        });
        if let Err(e) = &written {
            self.counts.failures.fetch_add(1, Ordering::Relaxed);
            if !(at.stopped)() {
                tracing::warn!(
                    "{}: group {:?}, rule {:?}: {e}",
                    self.file.display(),
                    self.name,
                    rule.name
                );
            }
        }
        rule.set_health(written);
        let took = begun.elapsed();
        at.figures.evaluations.observe(took);
        rule.set_time(started_ns, took);
        count
    }

    fn result_of(
        &self,
        rule: &Rule,
        store: &dyn Store,
        at: &Moment<'_>,
    ) -> Result<Vec<VectorSample>, String> {
        let t_ms = self.sample_t_ms(at);
        let result = vector(store.query(&rule.expr, t_ms)?)?;
        let alerting = match &rule.kind {
            Kind::Recording => {
                return recording::evaluate(&rule.name, &rule.labels, result, self.limit);
            }
            Kind::Alerting(alerting) => alerting,
        };
        let surroundings = Asking {
            store,
            t_ms: at.t_ns.div_euclid(1_000_000),
            at,
        };
        let circumstances = Circumstances {
            t_ns: at.t_ns,
            sample_t_ms: t_ms,
            external_labels: at.external_labels,
            external_url: at.external_url,
            surroundings: &surroundings,
            limit: self.limit,
        };
        alerting.evaluate(rule, &result, &circumstances)
    }

    /// When queries are asked and samples are written.
    fn sample_t_ms(&self, at: &Moment<'_>) -> i64 {
        let asked_ns = at.t_ns.saturating_sub(nanos(self.query_offset(at)));
        asked_ns.div_euclid(1_000_000)
    }

    /// Writes the samples of a rule, and markers for its series that are gone.
    fn write(
        &self,
        rule: &Rule,
        store: &dyn Store,
        at: &Moment<'_>,
        samples: &[VectorSample],
    ) -> Result<(), String> {
        let appended = store.append(samples)?;
        let taken = samples.iter().enumerate();
        let taken = taken.filter(|(i, _)| appended.refused.binary_search(i).is_err());
        let series: HashSet<Labels> = taken.map(|(_, s)| s.labels.clone()).collect();
        let mut before = rule.series.lock();
        let gone: Vec<VectorSample> = before
            .difference(&series)
            .map(|labels| marker(labels, self.sample_t_ms(at)))
            .collect();
        if !gone.is_empty() {
            // A marker that is refused is none that is missing: another rule gives the series now.
            store.append(&gone)?;
        }
        *before = series;
        appended.fault.map_or(Ok(()), Err)
    }

    /// Marks the series of rules that are no more, unless something else has continued them.
    fn mark_stale(&self, store: &dyn Store, at: &Moment<'_>) {
        let mut stale = self.stale.lock();
        if stale.is_empty() {
            return;
        }
        let t_ms = self.sample_t_ms(at);
        let markers: Vec<VectorSample> = stale
            .iter()
            .filter(|labels| !is_continued(store, labels, t_ms))
            .map(|labels| marker(labels, t_ms))
            .collect();
        match store.append(&markers) {
            Ok(_) => stale.clear(),
            Err(e) => tracing::warn!("marking series of removed rules as stale: {e}"),
        }
    }

    /// The group is removed: marks all its series as of a time.
    pub(super) fn mark_all_stale(&self, store: &dyn Store, at: &Moment<'_>) {
        for rule in &self.rules {
            let series = std::mem::take(&mut *rule.series.lock());
            self.stale.lock().extend(series);
        }
        self.mark_stale(store, at);
    }
}

/// Whether a series has a sample at this time or later: it is given by something else then.
fn is_continued(store: &dyn Store, labels: &Labels, t_ms: i64) -> bool {
    let matchers: Vec<Matcher> = labels.iter().map(|(n, v)| Matcher::equal(n, v)).collect();
    let newest = store.newest(matchers, MsRange::new(t_ms, i64::MAX));
    newest.is_ok_and(|series| series.iter().any(|s| s.labels == *labels))
}

fn marker(labels: &Labels, t_ms: i64) -> VectorSample {
    VectorSample {
        labels: labels.clone(),
        t_ms,
        sample: Sample::Float(STALE_NAN),
    }
}

/// Asks the queries of templates.
struct Asking<'a> {
    store: &'a dyn Store,
    t_ms: i64,
    at: &'a Moment<'a>,
}

impl Surroundings for Asking<'_> {
    fn query(&self, text: &str) -> Result<Vec<VectorSample>, String> {
        let expr = self.store.parse(text)?;
        vector(self.store.query(&expr, self.t_ms)?)
    }

    fn now_ms(&self) -> i64 {
        self.t_ms
    }

    fn external_url(&self) -> &str {
        self.at.external_url
    }

    fn count(&self, failed: bool) {
        self.at.figures.expansions.fetch_add(1, Ordering::Relaxed);
        let failures = u64::from(failed);
        self.at
            .figures
            .expansion_failures
            .fetch_add(failures, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
