//! A job: its targets as discovered, and a loop for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use promql::lexer::quote;
use storage::model::Labels;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Client;
use super::counters::{OfJob, add};
use super::scrape_loop::{Order, ScrapeLoop, Settings, Source};
use super::target::{Target, discovered_labels};
use crate::app::AppState;
use crate::config::ScrapeConfig;
use crate::discovery::{Files, Look, static_groups};
use crate::ingest::remote_write::now_ms;

/// A job as the API sees it.
#[derive(Clone, Debug)]
pub(crate) struct PoolView {
    /// The job.
    pub(crate) config: Arc<ScrapeConfig>,
    /// What is scraped, by URL.
    pub(crate) active: Vec<Arc<Target>>,
    /// Labels of what relabelling drops, as discovered; no more than the job keeps.
    pub(crate) dropped: Arc<[Labels]>,
    /// How many those are, kept or not.
    pub(crate) dropped_count: usize,
}

/// The loops of all pools.
pub(super) struct Loops {
    pub(super) app: AppState,
    pub(super) tasks: JoinSet<()>,
    pub(super) stopped: watch::Receiver<bool>,
    /// Spreads the scrapes of different servers.
    pub(super) seed: u64,
}

impl Loops {
    fn start(&mut self, target: Arc<Target>, settings: &Arc<Settings>) -> Running {
        let (orders, receiver) = watch::channel(Order::Run(Arc::clone(settings)));
        let scrape_loop = ScrapeLoop::new(&self.app, Arc::clone(&target), Arc::clone(settings));
        let stopped = self.stopped.clone();
        self.tasks
            .spawn(scrape_loop.run(receiver, stopped, self.seed));
        Running { target, orders }
    }
}

/// A job that runs.
pub(super) struct Pool {
    config: Arc<ScrapeConfig>,
    source: Source,
    files: Vec<Files>,
    running: HashMap<u64, Running>,
    forced_error: Option<String>,
}

struct Running {
    target: Arc<Target>,
    orders: watch::Sender<Order>,
}

/// Where the pages of a job come from: this process itself, or the network.
fn source(app: &AppState, config: &ScrapeConfig, is_own: bool) -> Result<Source, String> {
    if is_own {
        return Ok(Source::Own);
    }
    Client::new(config, app.config.max_body_bytes).map(|c| Source::Http(Arc::new(c)))
}

impl Pool {
    /// A job without targets yet.
    ///
    /// # Errors
    /// Settings that no client can have.
    pub(super) fn new(
        app: &AppState,
        config: Arc<ScrapeConfig>,
        is_own: bool,
    ) -> Result<Self, String> {
        Ok(Self {
            source: source(app, &config, is_own)?,
            files: Self::files_of(&config, Vec::new()),
            running: HashMap::new(),
            forced_error: None,
            config,
        })
    }

    /// The files to look at; those that were looked at before keep what was found.
    fn files_of(config: &ScrapeConfig, mut old: Vec<Files>) -> Vec<Files> {
        let discoveries = config.file_sd_configs.iter();
        let files = discoveries.map(|discovery| {
            match old.iter().position(|files| files.config == *discovery) {
                Some(at) => old.swap_remove(at),
                None => Files::new(discovery.clone()),
            }
        });
        files.collect()
    }

    /// Takes a changed job over. Targets that stay go on by it; [`Self::sync`] must follow.
    ///
    /// # Errors
    /// Settings that no client can have; the old job goes on.
    pub(super) fn reload(
        &mut self,
        app: &AppState,
        config: Arc<ScrapeConfig>,
        is_own: bool,
    ) -> Result<(), String> {
        if self.config == config {
            return Ok(());
        }
        add(&app.telemetry.scrape.reloads, 1);
        self.source = source(app, &config, is_own)
            .inspect_err(|_| add(&app.telemetry.scrape.reloads_failed, 1))?;
        self.files = Self::files_of(&config, std::mem::take(&mut self.files));
        self.config = config;
        self.give_settings();
        Ok(())
    }

    /// The files, to be looked at where blocking is allowed; [`Self::looked`] takes them back.
    pub(super) fn take_files(&mut self) -> Vec<Files> {
        std::mem::take(&mut self.files)
    }

    pub(super) fn looked(&mut self, files: Vec<Files>) {
        self.files = files;
    }

    /// Files and when they were changed.
    pub(super) fn file_times(&self) -> impl Iterator<Item = (String, f64)> {
        self.files.iter().flat_map(Files::times)
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::new(Settings {
            config: Arc::clone(&self.config),
            source: self.source.clone(),
            forced_error: self.forced_error.clone(),
        })
    }

    fn give_settings(&self) {
        let settings = self.settings();
        for running in self.running.values() {
            running
                .orders
                .send_replace(Order::Run(Arc::clone(&settings)));
        }
    }

    /// Determines the targets: starts loops for new ones, retires those that are gone.
    pub(super) fn sync(&mut self, loops: &mut Loops) -> PoolView {
        let app = Arc::clone(&loops.app);
        let mut found: HashMap<u64, Target> = HashMap::new();
        let mut dropped = Vec::new();
        let (mut dropped_count, mut discovered, mut failures) = (0, 0, 0);
        let keep = match self.config.limits.dropped_targets {
            0 => usize::MAX,
            keep => keep,
        };
        let written = static_groups(&self.config.static_configs);
        let groups = written.chain(self.files.iter().flat_map(|f| f.groups().cloned()));
        for group in groups {
            for (i, address) in group.targets.iter().enumerate() {
                discovered += 1;
                let labels = discovered_labels(&self.config, &group, address);
                match Target::new(&self.config, labels.clone()) {
                    Ok(Some(target)) => {
                        found.entry(target.identity()).or_insert(target);
                    }
                    Ok(None) => {
                        dropped_count += 1;
                        if dropped.len() < keep {
                            dropped.push(labels);
                        }
                    }
                    Err(e) => {
                        failures += 1;
                        let (job, group) = (quote(&self.config.job_name), &group.source);
                        tracing::error!(
                            "job {job}: creating target failed: instance {i} in group {group}: {e}"
                        );
                    }
                }
            }
        }
        self.running.retain(|identity, running| {
            let stays = found.contains_key(identity);
            if !stays {
                running.orders.send_replace(Order::Retire);
            }
            stays
        });
        self.limit_targets(found.len(), &app);
        let settings = self.settings();
        for (identity, target) in found {
            match self.running.get(&identity) {
                Some(running) => running.target.rediscovered(target.discovered()),
                None => {
                    let running = loops.start(Arc::new(target), &settings);
                    self.running.insert(identity, running);
                }
            }
        }
        let now = OfJob {
            targets: self.running.len(),
            target_limit: self.config.limits.targets,
            discovered,
            updated_ms: now_ms(),
            ..OfJob::default()
        };
        app.telemetry
            .scrape
            .synced(&self.config.job_name, now, failures);
        self.view(dropped, dropped_count)
    }

    fn limit_targets(&mut self, count: usize, app: &AppState) {
        let limit = self.config.limits.targets;
        let exceeded = (limit > 0 && count > limit)
            .then(|| format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
        if exceeded.is_some() {
            add(&app.telemetry.scrape.exceeded_target_limit, 1);
        }
        if self.forced_error != exceeded {
            self.forced_error = exceeded;
            self.give_settings();
        }
    }

    fn view(&self, dropped: Vec<Labels>, dropped_count: usize) -> PoolView {
        let targets = self.running.values().map(|r| Arc::clone(&r.target));
        let mut active: Vec<Arc<Target>> = targets.collect();
        active.sort_unstable_by(|a, b| (&a.url, &a.labels).cmp(&(&b.url, &b.labels)));
        PoolView {
            config: Arc::clone(&self.config),
            active,
            dropped: dropped.into(),
            dropped_count,
        }
    }

    /// Retires all targets.
    pub(super) fn retire(&self) {
        for running in self.running.values() {
            running.orders.send_replace(Order::Retire);
        }
    }
}

/// Looks at files. Blocks on the disk.
pub(super) fn look_at(files: &mut [Files]) -> Look {
    let now = Instant::now();
    let looks = files.iter_mut().map(|f| f.look(now));
    looks.fold(Look::default(), |sum, look| Look {
        changed: sum.changed | look.changed,
        errors: sum.errors + look.errors,
    })
}
