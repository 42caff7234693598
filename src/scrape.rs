//! Scraping: the jobs of the configuration, or this process itself where there is no configuration.
//!
//! ```text
//! configuration ─▶ pool, one a job ─ discovery, relabelling ─▶ targets ─▶ scrape_loop, one a target
//!                                                                            └─▶ client ─▶ text ─▶ series ─▶ write
//! ```
//! One task holds the pools and follows the configuration and the files of service discovery; each target has a task of
//! its own. A reload leaves alone what it does not change.

mod client;
mod counters;
pub mod exposition;
mod families;
mod pool;
mod protobuf;
mod scrape_loop;
mod series;
mod target;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use promql::lexer::quote;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use xxhash_rust::xxh3::xxh3_64;

use crate::app::{App, AppState};
use crate::config::{PrometheusConfig, ScrapeConfig, ScrapeDefaults, TargetGroup};
pub use counters::Counters;
use counters::add;
pub(crate) use pool::PoolView;
use pool::{Loops, Pool, look_at};
pub(crate) use target::Target;

/// The job of the self-scrape.
pub const JOB: &str = "trilobite";

/// Time from one self-scrape to the next.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// What the API sees of scraping: all jobs, by name.
#[derive(Debug, Default)]
pub struct Pools(Mutex<BTreeMap<String, PoolView>>);

impl Pools {
    /// All jobs.
    pub(crate) fn all(&self) -> BTreeMap<String, PoolView> {
        self.0.lock().clone()
    }

    /// One job.
    pub(crate) fn get(&self, job: &str) -> Option<PoolView> {
        self.0.lock().get(job).cloned()
    }
}

/// Scrapes until the process stops.
pub async fn run(app: AppState, mut stopped: watch::Receiver<bool>) {
    let mut file = app.file.subscribe();
    let mut scraping = Scraping {
        app: Arc::clone(&app),
        pools: BTreeMap::new(),
        loops: Loops {
            app: Arc::clone(&app),
            tasks: JoinSet::new(),
            stopped: stopped.clone(),
            seed: 0,
        },
    };
    let mut looks = tokio::time::interval(crate::discovery::LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let config = Arc::clone(&file.borrow_and_update());
        scraping.apply(&config).await;
        loop {
            let tasks = &mut scraping.loops.tasks;
            tokio::select! {
                _ = looks.tick() => scraping.look(false).await,
                changed = file.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(e) = ended {
                        tracing::error!("a scrape loop ended: {e}");
                    }
                }
                () = stop(&mut stopped) => {
                    while tasks.join_next().await.is_some() {}
                    return;
                }
            }
        }
    }
}

/// Ends when the process is to stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Whoever could say so is gone: that is a stop, too.
    let _ = stopped.wait_for(|s| *s).await;
}

/// The jobs that run.
struct Scraping {
    app: AppState,
    pools: BTreeMap<String, Pool>,
    loops: Loops,
}

impl Scraping {
    /// Follows a configuration.
    async fn apply(&mut self, config: &PrometheusConfig) {
        self.loops.seed = seed(config);
        let jobs = jobs(&self.app, config);
        let counters = &self.app.telemetry.scrape;
        let names: BTreeSet<&str> = jobs.iter().map(|j| j.job_name.as_str()).collect();
        self.pools.retain(|name, pool| {
            let stays = names.contains(name.as_str());
            if !stays {
                pool.retire();
                counters.forget(name);
                self.app.scrapes.0.lock().remove(name);
            }
            stays
        });
        let is_own = self.app.config.config_file.is_none();
        for job in jobs {
            let name = job.job_name.clone();
            let outcome = match self.pools.get_mut(&name) {
                Some(pool) => pool.reload(&self.app, job, is_own),
                None => {
                    add(&counters.pools, 1);
                    Pool::new(&self.app, job, is_own)
                        .map(|pool| {
                            self.pools.insert(name.clone(), pool);
                        })
                        .inspect_err(|_| add(&counters.pools_failed, 1))
                }
            };
            if let Err(e) = outcome {
                tracing::error!("job {} is not set up: {e}", quote(&name));
            }
        }
        self.look(true).await;
    }

    /// Looks at the files of service discovery, and determines targets where they changed or where `all` says so.
    async fn look(&mut self, all: bool) {
        let pools = self.pools.iter_mut();
        let mut files: Vec<_> = pools
            .map(|(name, pool)| (name.clone(), pool.take_files()))
            .filter(|(_, files)| !files.is_empty())
            .collect();
        let looked = tokio::task::spawn_blocking(move || {
            let looks = files.iter_mut().map(|(_, files)| look_at(files));
            let looks: Vec<_> = looks.collect();
            files.into_iter().zip(looks)
        });
        let counters = &self.app.telemetry.scrape;
        let mut changed = BTreeSet::new();
        match looked.await {
            Ok(looked) => {
                for ((name, files), look) in looked {
                    add(&counters.file_read_errors, look.errors);
                    if let Some(pool) = self.pools.get_mut(&name) {
                        pool.looked(files);
                    }
                    if look.changed {
                        changed.insert(name);
                    }
                }
            }
            Err(e) => tracing::error!("file_sd_configs: {e}"),
        }
        for (name, pool) in &mut self.pools {
            if all || changed.contains(name) {
                let view = pool.sync(&mut self.loops);
                self.app.scrapes.0.lock().insert(name.clone(), view);
            }
        }
        if all || !changed.is_empty() {
            add(&counters.updates, 1);
            counters.files(self.pools.values().flat_map(Pool::file_times).collect());
        }
    }
}

/// The jobs of the configuration; without a file, this process itself.
fn jobs(app: &App, config: &PrometheusConfig) -> Vec<Arc<ScrapeConfig>> {
    if app.config.config_file.is_some() {
        return config.scrape_configs.clone();
    }
    if !app.config.scrape_self {
        return Vec::new();
    }
    let defaults = ScrapeDefaults {
        interval: INTERVAL,
        ..ScrapeDefaults::default()
    };
    // A target needs an address, even where nobody listens.
    let address = match app.web_address.as_str() {
        "" => "localhost",
        address => address,
    };
    vec![Arc::new(ScrapeConfig {
        static_configs: vec![TargetGroup {
            targets: vec![address.to_owned()],
            labels: BTreeMap::new(),
        }],
        ..ScrapeConfig::new(JOB, &defaults)
    })]
}

/// Servers of one configuration ask their targets at different times.
fn seed(config: &PrometheusConfig) -> u64 {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let labels = &config.global.external_labels;
    xxh3_64(format!("{host}{labels:?}").as_bytes())
}

#[cfg(test)]
mod tests;
