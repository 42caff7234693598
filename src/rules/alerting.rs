//! Alerting rules: which alerts are pending, firing or resolved, and the series that tell of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use promql::VectorSample;
use promql::vector::Sample;
use storage::model::{Labels, METRIC_NAME, Matcher};

use super::rule::Rule;
use crate::config::rule_file::Pairs;
use crate::template::{AlertData, AlertTemplate, Surroundings};

/// The series of alerts by their state.
const ALERTS: &str = "ALERTS";
/// The series of when alerts became active, from which their state is restored after a restart.
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label with an alert's name.
const ALERT_NAME: &str = "alertname";
/// The label of [`ALERTS`] with the state.
const ALERT_STATE: &str = "alertstate";

/// A resolved alert is kept and sent again for so long: should Alertmanager have missed it, it still learns of it.
const RESOLVED_KEPT_NS: i64 = 15 * 60 * 1_000_000_000;

/// State of an alert, or the highest of a rule's alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The rule was not evaluated yet.
    Unknown,
    /// Resolved, or no alert at all.
    Inactive,
    /// The condition holds, but not for long enough.
    Pending,
    /// It has held for long enough.
    Firing,
}

impl State {
    /// Upstream's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert. All times are in nanoseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Never [`State::Unknown`].
    pub state: State,
    /// Labels, which tell it from others.
    pub labels: Labels,
    /// Texts for humans.
    pub annotations: Pairs,
    /// The value of the expression when it was true last; 0 for a histogram.
    pub value: f64,
    /// Since when the condition holds.
    pub active_at_ns: i64,
    /// Since when it fires.
    pub fired_at_ns: Option<i64>,
    /// When it was resolved.
    pub resolved_at_ns: Option<i64>,
    /// When it was last handed to the notifier.
    pub last_sent_at_ns: Option<i64>,
    /// Until when Alertmanager is to believe in it where it hears nothing.
    pub valid_until_ns: i64,
    /// Since when the condition does not hold while it is kept firing.
    pub keep_firing_since_ns: Option<i64>,
}

impl Alert {
    fn needs_sending(&self, now_ns: i64, resend_delay_ns: i64) -> bool {
        if self.state == State::Pending {
            return false;
        }
        match (self.resolved_at_ns, self.last_sent_at_ns) {
            (_, None) => true,
            // Resolved since it was sent.
            (Some(resolved), Some(sent)) if resolved > sent => true,
            (_, Some(sent)) => sent.saturating_add(resend_delay_ns) < now_ns,
        }
    }
}

/// What an alerting rule has beside name, labels and expression.
#[derive(Debug)]
pub struct Alerting {
    /// How long the condition must hold before the alert fires.
    pub hold: Duration,
    /// How long it still fires after the condition.
    pub keep_firing_for: Duration,
    /// Annotations as written.
    pub annotations: Pairs,
    label_templates: Vec<(String, AlertTemplate)>,
    annotation_templates: Vec<(String, AlertTemplate)>,
    /// Alerts by their labels, resolved ones included. Held for the length of a pass over them.
    active: Mutex<BTreeMap<Labels, Alert>>,
    /// The series are written only once the state before a restart has been looked up, which writing would hide.
    restored: AtomicBool,
}

/// When and for whom an alerting rule is evaluated.
pub(super) struct Circumstances<'a> {
    /// Time of the evaluation.
    pub(super) t_ns: i64,
    /// Time of its samples.
    pub(super) sample_t_ms: i64,
    pub(super) external_labels: &'a [(String, String)],
    pub(super) external_url: &'a str,
    pub(super) surroundings: &'a dyn Surroundings,
    /// Most alerts; none where not positive.
    pub(super) limit: i64,
}

impl Alerting {
    pub(super) fn new(
        name: &str,
        (hold, keep_firing_for): (Duration, Duration),
        labels: &Pairs,
        annotations: &Pairs,
        restored: bool,
    ) -> Result<Self, String> {
        let parse = |texts: &Pairs| -> Result<Vec<_>, String> {
            let parsed = texts.iter().map(|(label, text)| {
                AlertTemplate::parse(name, text).map(|template| (label.clone(), template))
            });
            parsed.collect()
        };
        Ok(Self {
            hold,
            keep_firing_for,
            label_templates: parse(labels)?,
            annotation_templates: parse(annotations)?,
            annotations: annotations.clone(),
            active: Mutex::default(),
            restored: AtomicBool::new(restored),
        })
    }

    /// Alerts that are pending or firing, by their labels.
    #[must_use]
    pub fn active(&self) -> Vec<Alert> {
        let active = self.active.lock();
        let unresolved = active.values().filter(|a| a.resolved_at_ns.is_none());
        unresolved.cloned().collect()
    }

    /// The highest state of the alerts.
    #[must_use]
    pub fn state(&self) -> State {
        let active = self.active.lock();
        let highest = active.values().map(|a| a.state).max();
        highest.unwrap_or(State::Inactive)
    }

    /// From now on the series are written.
    pub fn set_restored(&self) {
        self.restored.store(true, Ordering::Relaxed);
    }

    /// Takes the alerts of the rule that this one replaces.
    pub(super) fn take_over(&self, from: &Self) {
        self.active.lock().extend(from.active.lock().clone());
    }

    /// Changes each alert.
    pub(super) fn for_each(&self, mut change: impl FnMut(&mut Alert)) {
        self.active.lock().values_mut().for_each(&mut change);
    }

    /// Moves the alerts on by one evaluation with this result, and gives the samples of their series.
    pub(super) fn evaluate(
        &self,
        rule: &Rule,
        result: &[VectorSample],
        at: &Circumstances<'_>,
    ) -> Result<Vec<VectorSample>, String> {
        let found = self.found(rule, result, at)?;
        let wanted: BTreeSet<Labels> = found.keys().cloned().collect();
        let mut active = self.active.lock();
        for (labels, new) in found {
            match active.get_mut(&labels) {
                Some(known) if known.state != State::Inactive => {
                    known.value = new.value;
                    known.annotations = new.annotations;
                }
                _ => {
                    active.insert(labels, new);
                }
            }
        }
        let (hold_ns, keep_ns) = (nanos(self.hold), nanos(self.keep_firing_for));
        let restored = self.restored.load(Ordering::Relaxed);
        let (mut samples, mut count) = (Vec::new(), 0_usize);
        active.retain(|labels, alert| {
            let mut is_kept = true;
            if wanted.contains(labels) {
                alert.keep_firing_since_ns = None;
            } else {
                let keeps_firing = alert.state == State::Firing && keep_ns > 0 && {
                    let since = *alert.keep_firing_since_ns.get_or_insert(at.t_ns);
                    at.t_ns - since < keep_ns
                };
                let resolved_long = alert
                    .resolved_at_ns
                    .is_some_and(|resolved| at.t_ns - resolved > RESOLVED_KEPT_NS);
                is_kept = alert.state != State::Pending && !resolved_long;
                if alert.state != State::Inactive && !keeps_firing {
                    alert.state = State::Inactive;
                    alert.resolved_at_ns = Some(at.t_ns);
                }
                if !keeps_firing {
                    return is_kept;
                }
            }
            count += 1;
            let held_ns = at.t_ns - alert.active_at_ns;
            if alert.state == State::Pending && held_ns >= hold_ns {
                alert.state = State::Firing;
                alert.fired_at_ns = Some(at.t_ns);
            }
            // The rule may have been changed to hold longer.
            if alert.state == State::Firing && held_ns < hold_ns {
                alert.state = State::Pending;
                alert.fired_at_ns = None;
                alert.last_sent_at_ns = None;
                alert.keep_firing_since_ns = None;
            }
            if restored {
                samples.extend(rule_samples(rule, alert, at.sample_t_ms));
            }
            is_kept
        });
        if usize::try_from(at.limit).is_ok_and(|limit| limit > 0 && count > limit) {
            active.clear();
            return Err(format!(
                "exceeded limit of {} with {count} alerts",
                at.limit
            ));
        }
        Ok(samples)
    }

    /// The alerts of a result, as if none were known before.
    fn found(
        &self,
        rule: &Rule,
        result: &[VectorSample],
        at: &Circumstances<'_>,
    ) -> Result<BTreeMap<Labels, Alert>, String> {
        let mut found = BTreeMap::new();
        for sample in result {
            let data = AlertData {
                labels: &sample.labels,
                external_labels: at.external_labels,
                external_url: at.external_url,
                value: &sample.sample,
            };
            let mut builder = sample.labels.to_builder();
            builder.remove(METRIC_NAME);
            for (label, template) in &self.label_templates {
                builder.set(label, &template.expand(&data, at.surroundings));
            }
            builder.set(ALERT_NAME, &rule.name);
            let labels = builder.finish();
            let annotations = self
                .annotation_templates
                .iter()
                .map(|(name, template)| (name.clone(), template.expand(&data, at.surroundings)));
            let alert = Alert {
                state: State::Pending,
                labels: labels.clone(),
                annotations: annotations.collect(),
                value: match sample.sample {
                    Sample::Float(value) => value,
                    Sample::Histogram(_) => 0.0,
                },
                active_at_ns: at.t_ns,
                fired_at_ns: None,
                resolved_at_ns: None,
                last_sent_at_ns: None,
                valid_until_ns: 0,
                keep_firing_since_ns: None,
            };
            if found.insert(labels, alert).is_some() {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels"
                        .to_owned(),
                );
            }
        }
        Ok(found)
    }

    /// The alerts that are to be sent now: new ones, resolved ones, and those that were sent long ago.
    pub(super) fn due(
        &self,
        now_ns: i64,
        interval: Duration,
        resend_delay: Duration,
    ) -> Vec<Alert> {
        let mut due = Vec::new();
        self.for_each(|alert| {
            if alert.needs_sending(now_ns, nanos(resend_delay)) {
                alert.last_sent_at_ns = Some(now_ns);
                // Room for two evaluations, or two failures to send.
                let validity = nanos(interval.max(resend_delay)).saturating_mul(4);
                alert.valid_until_ns = now_ns.saturating_add(validity);
                due.push(alert.clone());
            }
        });
        due
    }

    /// Selects the series from which the alerts of a rule are restored. What a template makes of a label is not known before.
    pub(super) fn state_matchers(rule: &Rule) -> Vec<Matcher> {
        let mut pairs: BTreeMap<&str, &str> = rule
            .labels
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        pairs.retain(|_, value| !value.contains("{{"));
        pairs.insert(METRIC_NAME, ALERTS_FOR_STATE);
        pairs.insert(ALERT_NAME, &rule.name);
        let matchers = pairs.into_iter();
        matchers
            .map(|(name, value)| Matcher::equal(name, value))
            .collect()
    }
}

/// The samples of an alert's two series.
fn rule_samples(rule: &Rule, alert: &Alert, t_ms: i64) -> [VectorSample; 2] {
    // Labels as written lie below those of the alert, whose templates have been expanded.
    let mut builder = Labels::from_pairs(&rule.labels).to_builder();
    for (name, value) in &alert.labels {
        builder.set(name, value);
    }
    builder.set(METRIC_NAME, ALERTS_FOR_STATE);
    builder.set(ALERT_NAME, &rule.name);
    let for_state = builder.finish();
    builder.set(METRIC_NAME, ALERTS);
    builder.set(ALERT_STATE, alert.state.as_str());
    let sample = |labels, value| VectorSample {
        labels,
        t_ms,
        sample: Sample::Float(value),
    };
    let active_at_s = alert.active_at_ns.div_euclid(1_000_000_000);
    [
        sample(builder.finish(), 1.0),
        sample(for_state, active_at_s as f64),
    ]
}

/// A duration in nanoseconds.
pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
