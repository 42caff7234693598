//! Sends alerts to Alertmanagers: every alert to every one, over a queue of its own for each.
//!
//! ```text
//!  rules ─ Notifier::send ─ external labels, alert_relabel_configs ─▶ Queue (bounded) ─ batches ─▶ POST /api/v2/alerts
//!  prometheus.yml, files ─ Endpoints: which Alertmanagers there are ─▶ one Queue each
//! ```
//!
//! Nothing is kept over a restart and nothing is sent twice on purpose: an alert that goes on is sent again by the rules.

mod endpoints;
mod payload;
mod queue;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use storage::model::{Labels, MetricType};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::app::AppState;
use crate::config::PrometheusConfig;
use crate::config::alerting::AlertmanagerConfig;
use crate::config::rule_file::Pairs;
use crate::discovery::LOOK;
use crate::relabel::{RelabelConfig, relabel};
use crate::telemetry::Family;
use endpoints::{Discovery, Endpoints};
use queue::Queue;

/// An alert as it is sent. Times are in nanoseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Labels, which tell it from others.
    pub labels: Labels,
    /// Texts for humans.
    pub annotations: Pairs,
    /// Since when it fires.
    pub starts_at_ns: i64,
    /// When it was resolved, or until when it is to be believed in.
    pub ends_at_ns: i64,
    /// A link to the expression.
    pub generator_url: String,
}

/// Where alerts are sent to.
#[derive(Debug, Default)]
pub struct Notifier {
    /// What the configuration in force says. Held for the time of putting alerts into queues.
    targets: RwLock<Targets>,
}

#[derive(Debug, Default)]
struct Targets {
    external_labels: Vec<(String, String)>,
    relabel_configs: Vec<RelabelConfig>,
    sets: Vec<Set>,
    queue_capacity: usize,
}

/// Alertmanagers of one section of the configuration.
#[derive(Debug)]
struct Set {
    config: Arc<AlertmanagerConfig>,
    endpoints: Endpoints,
    /// By URL.
    queues: BTreeMap<String, Arc<Queue>>,
}

impl Notifier {
    /// Puts alerts into the queues of all Alertmanagers. Never waits: where a queue is full its oldest alerts are dropped.
    pub fn send(&self, notifications: Vec<Notification>) {
        let targets = self.targets.read();
        let with_external = notifications.into_iter().map(|mut notification| {
            let mut builder = notification.labels.to_builder();
            for (name, value) in &targets.external_labels {
                if notification.labels.get(name).is_none() {
                    builder.set(name, value);
                }
            }
            notification.labels = builder.finish();
            notification
        });
        let all = relabeled(&targets.relabel_configs, with_external);
        for set in &targets.sets {
            let own = relabeled(&set.config.alert_relabel_configs, all.iter().cloned());
            for queue in set.queues.values() {
                queue.add(&own);
            }
        }
    }

    /// URLs of the Alertmanagers that are sent to, and of those that relabelling has dropped.
    #[must_use]
    pub fn alertmanagers(&self) -> (Vec<String>, Vec<String>) {
        let targets = self.targets.read();
        let active = targets.sets.iter().flat_map(|set| &set.endpoints.active);
        let dropped = targets.sets.iter().flat_map(|set| &set.endpoints.dropped);
        (active.cloned().collect(), dropped.cloned().collect())
    }

    /// What `/metrics` tells about sending, under upstream's names.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let targets = self.targets.read();
        let queues: Vec<&Arc<Queue>> = targets
            .sets
            .iter()
            .flat_map(|set| set.queues.values())
            .collect();
        let mut families = queue::families(&queues);
        for (name, help, value) in [
            (
                "prometheus_notifications_queue_capacity",
                "Alerts that a queue takes.",
                targets.queue_capacity,
            ),
            (
                "prometheus_notifications_alertmanagers_discovered",
                "Alertmanagers that are sent to.",
                targets
                    .sets
                    .iter()
                    .map(|set| set.endpoints.active.len())
                    .sum(),
            ),
        ] {
            families.push(Family {
                name,
                metric_type: MetricType::Gauge,
                help,
                samples: vec![(Labels::empty(), value as f64)],
            });
        }
        families
    }
}

fn relabeled(
    rules: &[RelabelConfig],
    notifications: impl Iterator<Item = Notification>,
) -> Vec<Notification> {
    let kept = notifications.filter_map(|notification| {
        Some(Notification {
            labels: relabel(rules, &notification.labels)?,
            ..notification
        })
    });
    kept.collect()
}

/// Sends to the Alertmanagers of the configuration in force, until `stopped`; what is queued then is still sent, or dropped, as
/// the settings say.
pub async fn run(app: AppState, mut stopped: watch::Receiver<bool>) {
    let mut file = app.file.subscribe();
    let mut discoveries: Vec<Discovery> = Vec::new();
    let mut senders = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and the first look comes before the loop waits.
    looks.tick().await;
    loop {
        let current = Arc::clone(&file.borrow_and_update());
        discoveries = discoveries_of(&current, discoveries);
        let found = tokio::task::spawn_blocking(move || {
            let found = discoveries
                .iter_mut()
                .map(Discovery::look)
                .collect::<Vec<_>>();
            (discoveries, found)
        });
        match found.await {
            Ok((looked, found)) => {
                update(&app, &current, &looked, found, &mut senders);
                discoveries = looked;
            }
            // Only where the process ends.
            Err(_) => return,
        }
        tokio::select! {
            _ = stopped.wait_for(|s| *s) => break,
            changed = file.changed() => if changed.is_err() { break },
            _ = looks.tick() => {}
            Some(ended) = senders.join_next() => {
                if let Err(e) = ended {
                    tracing::error!("sending alerts: {e}");
                }
            }
        }
    }
    let queues: Vec<Arc<Queue>> = {
        let targets = app.notifier.targets.read();
        let queues = targets.sets.iter().flat_map(|set| set.queues.values());
        queues.cloned().collect()
    };
    queues.iter().for_each(|queue| queue.close());
    while senders.join_next().await.is_some() {}
}

/// The sections of a configuration; those that it had before keep what they have found.
fn discoveries_of(file: &PrometheusConfig, mut old: Vec<Discovery>) -> Vec<Discovery> {
    let sections = file.alerting.alertmanagers.iter();
    let discoveries =
        sections.map(
            |config| match old.iter().position(|known| *known.config == *config) {
                Some(at) => old.swap_remove(at),
                None => Discovery::new(config),
            },
        );
    discoveries.collect()
}

/// Starts queues for the Alertmanagers that are new, and ends those of others.
fn update(
    app: &AppState,
    file: &PrometheusConfig,
    discoveries: &[Discovery],
    found: Vec<Endpoints>,
    senders: &mut JoinSet<()>,
) {
    let settings = queue::Settings::of(&app.config);
    let mut targets = app.notifier.targets.write();
    targets
        .external_labels
        .clone_from(&file.global.external_labels);
    targets
        .relabel_configs
        .clone_from(&file.alerting.alert_relabel_configs);
    targets.queue_capacity = settings.capacity;
    let mut old = std::mem::take(&mut targets.sets);
    for (discovery, endpoints) in discoveries.iter().zip(found) {
        let config = &discovery.config;
        // Queues of an unchanged section go on.
        let same = old.iter().position(|set| Arc::ptr_eq(&set.config, config));
        let mut known = same.map(|at| old.remove(at).queues).unwrap_or_default();
        let mut queues = BTreeMap::new();
        for url in &endpoints.active {
            let queue = known.remove(url).unwrap_or_else(|| {
                let queue = Arc::new(Queue::new(url, Arc::clone(config), settings));
                senders.spawn(Arc::clone(&queue).send_all());
                queue
            });
            queues.insert(url.clone(), queue);
        }
        known.values().for_each(|queue| queue.close());
        targets.sets.push(Set {
            config: Arc::clone(config),
            endpoints,
            queues,
        });
    }
    for set in old {
        set.queues.values().for_each(|queue| queue.close());
    }
}

#[cfg(test)]
mod tests;
