//! Rules in the server: the groups of the configuration in force, each with its timer, over the server's own storage.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use promql::vector::Sample;
use promql::{EvalOptions, Expr, Value, VectorSample};
use storage::model::{Matcher, MsRange, NO_START_MS, SampleBuf, Tenant};
use storage::read::SeriesSelect;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::Alert;
use super::alerting::nanos;
use super::figures::{self, Figures};
use super::group::{Group, Moment};
use super::restore::Restoration;
use super::store::{Appended, Newest, Store};
use super::timer::{next_slot, offset_ns, slot_before};
use crate::app::AppState;
use crate::config::PrometheusConfig;
use crate::ingest::remote_write::append_written;
use crate::notify::Notification;
use crate::query::{self, Limits};
use crate::query_log::Origin;
use crate::telemetry::Family;
use crate::template::table_link;
use crate::wire::remote_write::Writer;

/// The groups in force.
#[derive(Debug, Default)]
pub struct Rules {
    /// Ordered by file and name.
    groups: RwLock<Vec<Arc<Group>>>,
    figures: Figures,
}

impl Rules {
    /// The groups, ordered by file and name.
    #[must_use]
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.read().clone()
    }

    /// What `/metrics` tells about them.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        figures::families(&self.groups(), &self.figures)
    }
}

/// A group with its timer.
struct Running {
    group: Arc<Group>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends after the rule that is being evaluated.
    async fn stopped(self) -> Arc<Group> {
        self.stop.send_replace(true);
        if let Err(e) = self.task.await {
            tracing::error!("rule group {:?}: {e}", self.group.name);
        }
        self.group
    }
}

/// Evaluates the rules of the configuration in force until the server stops.
pub async fn run(app: AppState, mut stopped: watch::Receiver<bool>) {
    let mut file = app.file.subscribe();
    let mut running: BTreeMap<(std::path::PathBuf, String), Running> = BTreeMap::new();
    let mut removals = JoinSet::new();
    let canceled: Arc<AtomicBool> = Arc::default();
    let mut is_start = true;
    loop {
        let current = Arc::clone(&file.borrow_and_update());
        let store = |file: &Path, name: &str| ServerStore::new(&app, &canceled, file, name);
        let mut next = BTreeMap::new();
        let mut begun = Vec::new();
        for mut group in groups_of(&current, !is_start) {
            let key = (group.file.clone(), group.name.clone());
            match running.remove(&key) {
                Some(old) if old.group.is_same_as(&group) => {
                    next.insert(key, old);
                    continue;
                }
                Some(old) => group.take_over(&*old.stopped().await),
                None => {}
            }
            begun.push((key, Arc::new(group)));
        }
        for (_, old) in std::mem::take(&mut running) {
            let group = old.stopped().await;
            let store = store(&group.file, &group.name);
            removals.spawn(remove(Arc::clone(&app), store, group));
        }
        for (key, group) in begun {
            let (stop, stopping) = watch::channel(false);
            let timer = Timer {
                app: Arc::clone(&app),
                store: store(&group.file, &group.name),
                group: Arc::clone(&group),
                stopping,
            };
            let task = tokio::spawn(timer.run(is_start));
            next.insert(key, Running { group, stop, task });
        }
        running = next;
        *app.rules.groups.write() = running.values().map(|r| Arc::clone(&r.group)).collect();
        is_start = false;
        tokio::select! {
            changed = file.changed() => if changed.is_err() { break },
            _ = stopped.wait_for(|s| *s) => break,
        }
    }
    canceled.store(true, Ordering::Relaxed);
    removals.shutdown().await;
    for (_, group) in running {
        group.stopped().await;
    }
}

fn groups_of(file: &PrometheusConfig, restored: bool) -> Vec<Group> {
    let mut groups = Vec::new();
    for rules in &file.rules {
        for written in &rules.groups {
            let interval = file.global.evaluation_interval;
            match Group::new(&rules.path, written, interval, restored) {
                Ok(group) => groups.push(group),
                // The file's reader has parsed the same templates.
                Err(e) => tracing::error!("rule group {:?}: {e}", written.name),
            }
        }
    }
    groups
}

/// Marks the series of a removed group as stale, once others that may give them now have had the time to.
async fn remove(app: AppState, store: ServerStore, group: Arc<Group>) {
    let removed_ns = now_ns();
    tokio::time::sleep(group.interval * 2).await;
    let task = tokio::task::spawn_blocking(move || {
        with_moment(&app, removed_ns, &|| false, |at| {
            group.mark_all_stale(&store, at)
        });
    });
    // Canceled only where the process ends.
    let _ = task.await;
}

struct Timer {
    app: AppState,
    store: ServerStore,
    group: Arc<Group>,
    stopping: watch::Receiver<bool>,
}

impl Timer {
    async fn run(mut self, restores: bool) {
        let interval = self.group.interval;
        let file = self.group.file.to_string_lossy().into_owned();
        let offset = offset_ns(&file, &self.group.name, interval);
        let now = now_ns();
        let mut slot = slot_before(now, interval, offset).saturating_add(nanos(interval));
        let wait = Duration::from_nanos(u64::try_from(slot - now).unwrap_or(0));
        if !self.waited(tokio::time::sleep(wait)).await {
            return;
        }
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        self.evaluate(slot).await;
        // By the first evaluation there may be too little data to tell which alerts are active.
        let mut restores = restores;
        while self.waited(ticks.tick()).await {
            let (next, missed) = next_slot(slot, now_ns(), interval);
            slot = next;
            self.group
                .counts
                .missed
                .fetch_add(missed, Ordering::Relaxed);
            self.evaluate(slot).await;
            if std::mem::take(&mut restores) {
                self.restore().await;
            }
        }
    }

    /// Waits for something; false where the group is to stop before.
    async fn waited<T>(&mut self, what: impl Future<Output = T>) -> bool {
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|s| *s) => false,
            _ = what => true,
        }
    }

    async fn evaluate(&self, slot_ns: i64) {
        let stopping = self.stopping.clone();
        self.blocking(move |app, store, group| {
            with_moment(app, slot_ns, &|| *stopping.borrow(), |at| {
                group.evaluate(store, at)
            });
        })
        .await;
    }

    async fn restore(&self) {
        self.blocking(|app, store, group| {
            let how = Restoration {
                outage_tolerance: app.config.rules.for_outage_tolerance.0,
                grace_period: app.config.rules.for_grace_period.0,
            };
            group.restore(store, now_ns(), how);
        })
        .await;
    }

    /// Evaluation waits for storage and computes for long: neither belongs on the threads of connections.
    async fn blocking(&self, work: impl FnOnce(&AppState, &ServerStore, &Group) + Send + 'static) {
        let (app, store, group) = (
            Arc::clone(&self.app),
            self.store.clone(),
            Arc::clone(&self.group),
        );
        let task = tokio::task::spawn_blocking(move || work(&app, &store, &group));
        if let Err(e) = task.await {
            tracing::error!("rule group {:?}: {e}", self.group.name);
        }
    }
}

fn with_moment(
    app: &AppState,
    t_ns: i64,
    stopped: &dyn Fn() -> bool,
    work: impl FnOnce(&Moment<'_>),
) {
    let file = app.file();
    let external_url = app.external_url();
    let notify = |expr: &str, alerts: Vec<Alert>| {
        let generator_url = format!("{external_url}{}", table_link(expr));
        let notifications = alerts.into_iter();
        let notifications = notifications.map(|alert| notification(alert, &generator_url));
        app.notifier.send(notifications.collect());
    };
    work(&Moment {
        t_ns,
        query_offset: file.global.rule_query_offset,
        external_labels: &file.global.external_labels,
        external_url: &external_url,
        resend_delay: app.config.rules.resend_delay.0,
        notify: &notify,
        stopped,
        now_ns: &now_ns,
        figures: &app.rules.figures,
    });
}

fn notification(alert: Alert, generator_url: &str) -> Notification {
    Notification {
        labels: alert.labels,
        annotations: alert.annotations,
        starts_at_ns: alert.fired_at_ns.unwrap_or(alert.active_at_ns),
        ends_at_ns: alert.resolved_at_ns.unwrap_or(alert.valid_until_ns),
        generator_url: generator_url.to_owned(),
    }
}

/// The server's storage. Rules belong to the tenant without a name.
#[derive(Clone)]
struct ServerStore {
    app: AppState,
    runtime: Handle,
    tenant: Tenant,
    limits: Limits,
    origin: Origin,
}

impl ServerStore {
    /// Within the runtime; its methods are called on threads that may block.
    fn new(app: &AppState, canceled: &Arc<AtomicBool>, file: &Path, name: &str) -> Self {
        Self {
            app: Arc::clone(app),
            runtime: Handle::current(),
            tenant: Tenant::anonymous(),
            limits: Limits {
                canceled: Arc::clone(canceled),
                ..Limits::of(&app.config)
            },
            origin: Origin::Rule {
                file: file.to_owned(),
                name: name.to_owned(),
            },
        }
    }
}

impl Store for ServerStore {
    fn parse(&self, text: &str) -> Result<Expr, String> {
        promql::parse(text, &query::parse_options(&self.app.config)).map_err(|e| e.to_string())
    }

    fn query(&self, expr: &Expr, t_ms: i64) -> Result<Value, String> {
        let options = EvalOptions {
            closed_ranges: self.app.config.compat_prometheus == "2",
            ..EvalOptions::instant(t_ms)
        };
        let mut limits = self.limits.clone();
        let origin = || (expr.to_string(), self.origin.clone());
        limits.logged = self.app.query_log.is_on().then(origin);
        let answer = query::run(&self.app, &self.tenant, expr.clone(), options, &limits);
        let answer = self.runtime.block_on(answer);
        answer.map(|(a, _)| a.value).map_err(|e| e.to_string())
    }

    fn append(&self, samples: &[VectorSample]) -> Result<Appended, String> {
        if samples.is_empty() {
            return Ok(Appended::default());
        }
        let mut writer = Writer::default();
        for sample in samples {
            writer.series(&sample.labels);
            match &sample.sample {
                Sample::Float(value) => writer.float(sample.t_ms, *value, NO_START_MS),
                Sample::Histogram(h) => writer.histogram(sample.t_ms, &h.to_stored(), NO_START_MS),
            }
        }
        let body = writer.finish();
        let written = self
            .runtime
            .block_on(append_written(&self.app, &self.tenant, &body))
            .map_err(|e| e.to_string())?;
        let report = &written.report;
        let mut refused: Vec<usize> = report.refused.iter().map(|r| r.series).collect();
        refused.extend(report.bad_series.iter().map(|(at, _)| *at));
        refused.sort_unstable();
        let bad = report.bad_series.first().map(|(_, e)| e.to_string());
        Ok(Appended {
            refused,
            fault: written.fault.or(bad),
        })
    }

    fn newest(&self, matchers: Vec<Matcher>, range: MsRange) -> Result<Vec<Newest>, String> {
        let select = SeriesSelect { matchers, range };
        self.runtime.block_on(async {
            let set = self.app.storage.select_series(&self.tenant, &select).await;
            let mut set = set.map_err(|e| e.to_string())?;
            let (mut newest, mut buf) = (Vec::new(), SampleBuf::default());
            while let Some(batch) = set.next_batch().await.map_err(|e| e.to_string())? {
                for series in batch {
                    buf.clear();
                    series.samples(&mut buf).map_err(|e| e.to_string())?;
                    if let (Some(&t_ms), Some(&value)) = (buf.t_ms.last(), buf.values.last()) {
                        newest.push(Newest {
                            labels: series.labels().clone(),
                            t_ms,
                            value,
                        });
                    }
                }
            }
            Ok(newest)
        })
    }
}

/// The wall clock, in nanoseconds since the epoch.
fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, nanos)
}

#[cfg(test)]
mod tests;
