//! Alerts on their way to one Alertmanager: a bounded queue, emptied in batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use http::{Method, header};
use parking_lot::Mutex;
use storage::model::{Labels, MetricType};
use tokio::sync::Notify;

use super::{Notification, payload};
use crate::config::Config;
use crate::config::alerting::AlertmanagerConfig;
use crate::http_client::{HttpClient, USER_AGENT, describe};
use crate::rules::Summary;
use crate::telemetry::Family;

/// Bounds of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Most alerts that wait.
    pub(super) capacity: usize,
    /// Most alerts of a request.
    pub(super) batch: usize,
    /// What waits when it is closed is still sent.
    pub(super) drains: bool,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Self {
        let rules = &config.rules;
        Self {
            capacity: rules.notification_queue_capacity.max(1),
            batch: rules.notification_batch_size.max(1),
            drains: rules.drain_notification_queue,
        }
    }
}

/// Alerts on their way to one Alertmanager.
#[derive(Debug)]
pub(super) struct Queue {
    url: String,
    config: Arc<AlertmanagerConfig>,
    settings: Settings,
    waiting: Mutex<VecDeque<Notification>>,
    work: Notify,
    closed: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    latency: Summary,
}

impl Queue {
    pub(super) fn new(url: &str, config: Arc<AlertmanagerConfig>, settings: Settings) -> Self {
        Self {
            url: url.to_owned(),
            config,
            settings,
            waiting: Mutex::default(),
            work: Notify::new(),
            closed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            latency: Summary::default(),
        }
    }

    /// Adds alerts; where there is no room the oldest are dropped.
    pub(super) fn add(&self, notifications: &[Notification]) {
        if notifications.is_empty() || self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting.lock();
        waiting.extend(notifications.iter().cloned());
        let excess = waiting.len().saturating_sub(self.settings.capacity);
        waiting.drain(..excess);
        drop(waiting);
        if excess > 0 {
            tracing::warn!("alerts for {}: queue full, {excess} dropped", self.url);
            self.dropped.fetch_add(excess as u64, Ordering::Relaxed);
        }
        self.work.notify_one();
    }

    /// The alerts that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> Vec<Notification> {
        self.waiting.lock().iter().cloned().collect()
    }

    /// No more alerts are taken; [`Self::send_all`] ends.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.work.notify_one();
    }

    /// Sends what comes until the queue is closed.
    pub(super) async fn send_all(self: Arc<Self>) {
        let client = match HttpClient::new(&self.config.http) {
            Ok(client) => client,
            Err(e) => {
                tracing::error!("alerts for {}: {e}", self.url);
                return;
            }
        };
        loop {
            let is_closed = self.closed.load(Ordering::Relaxed);
            if !is_closed || self.settings.drains {
                self.send_batch(&client).await;
            }
            let left = self.waiting.lock().len();
            if is_closed {
                if left > 0 && self.settings.drains {
                    continue;
                }
                self.dropped.fetch_add(left as u64, Ordering::Relaxed);
                return;
            }
            if left == 0 {
                self.work.notified().await;
            }
        }
    }

    async fn send_batch(&self, client: &HttpClient) {
        let batch: Vec<Notification> = {
            let mut waiting = self.waiting.lock();
            let count = waiting.len().min(self.settings.batch);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let begun = Instant::now();
        match self.post(client, payload::encode(&batch)).await {
            Ok(()) => {
                self.sent.fetch_add(count, Ordering::Relaxed);
                self.latency.observe(begun.elapsed());
            }
            Err(e) => {
                tracing::error!("sending {count} alerts to {}: {e}", self.url);
                self.failed.fetch_add(count, Ordering::Relaxed);
                self.dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    async fn post(&self, client: &HttpClient, body: Vec<u8>) -> Result<(), String> {
        let request = client
            .request(Method::POST, &self.url)?
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, "application/json")
            .timeout(self.config.timeout)
            .body(body);
        let answer = request
            .send()
            .await
            .map_err(|e| describe("Post", &self.url, &e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("bad response status {status}"))
    }
}

type Figure = (&'static str, MetricType, &'static str, fn(&Queue) -> f64);

const BY_ALERTMANAGER: [Figure; 4] = [
    (
        "prometheus_notifications_sent_total",
        MetricType::Counter,
        "Alerts sent.",
        |q| q.sent.load(Ordering::Relaxed) as f64,
    ),
    (
        "prometheus_notifications_errors_total",
        MetricType::Counter,
        "Alerts that could not be sent.",
        |q| q.failed.load(Ordering::Relaxed) as f64,
    ),
    (
        "prometheus_notifications_dropped_total",
        MetricType::Counter,
        "Alerts given up, unsent or for want of room.",
        |q| q.dropped.load(Ordering::Relaxed) as f64,
    ),
    (
        "prometheus_notifications_queue_length",
        MetricType::Gauge,
        "Alerts that wait.",
        |q| q.waiting.lock().len() as f64,
    ),
];

/// What `/metrics` tells about the queues.
pub(super) fn families(queues: &[&Arc<Queue>]) -> Vec<Family> {
    let mut families = Vec::new();
    for (name, metric_type, help, value) in BY_ALERTMANAGER {
        let samples = queues.iter().map(|queue| {
            let labels = Labels::from_pairs([("alertmanager", queue.url.as_str())]);
            (labels, value(queue))
        });
        families.push(Family {
            name,
            metric_type,
            help,
            samples: samples.collect(),
        });
    }
    let mut latencies: Option<[Family; 3]> = None;
    for queue in queues {
        let own = queue.latency.families(
            [
                "prometheus_notifications_latency_seconds",
                "prometheus_notifications_latency_seconds_sum",
                "prometheus_notifications_latency_seconds_count",
            ],
            "How long sending takes.",
            [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)],
            &[("alertmanager", &queue.url)],
        );
        match &mut latencies {
            None => latencies = Some(own),
            Some(all) => {
                for (all, own) in all.iter_mut().zip(own) {
                    all.samples.extend(own.samples);
                }
            }
        }
    }
    families.extend(latencies.into_iter().flatten());
    families
}
