//! What every handler shares.

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use storage::Storage;
use tokio::sync::watch;

use crate::config::{Config, PrometheusConfig};
use crate::ingest::otlp_metrics::Totals;
use crate::notify::Notifier;
use crate::query_log::QueryLog;
use crate::rules::Rules;
use crate::telemetry::{Family, Telemetry};

/// Shared by reference between all handlers.
pub struct App {
    /// Settings from flags and environment.
    pub config: Config,
    /// The configuration file in force; replaced as a whole by a reload. What runs by it (scrapes, rules)
    /// subscribes and starts over when it changes.
    pub file: watch::Sender<Arc<PrometheusConfig>>,
    /// The storage.
    pub storage: Arc<Storage>,
    /// Room for PromQL queries, as many as may run at once.
    pub queries: tokio::sync::Semaphore,
    /// The log of those queries.
    pub query_log: QueryLog,
    /// Totals of OTLP deltas, where they are asked for.
    pub otlp_totals: Totals,
    /// Our own counters.
    pub telemetry: Telemetry,
    /// What is scraped.
    pub scrapes: crate::scrape::Pools,
    /// Recording and alerting rules.
    pub rules: Rules,
    /// Who is told of alerts.
    pub notifier: Notifier,
    /// When the process started, by the wall clock.
    pub started_at: SystemTime,
    /// The same by the steady clock.
    pub started: Instant,
    /// The address of the web port as bound, for the instance label of the self-scrape.
    pub web_address: String,
}

/// The state of every router.
pub type AppState = Arc<App>;

impl App {
    /// The configuration file in force.
    #[must_use]
    pub fn file(&self) -> Arc<PrometheusConfig> {
        Arc::clone(&self.file.borrow())
    }

    /// Where this server is reached, without a slash at the end.
    #[must_use]
    pub fn external_url(&self) -> String {
        self.config.external_url(&self.web_address)
    }

    /// What `/metrics` tells, family by family.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.telemetry.families(&self.storage, self.started_at);
        families.extend(self.rules.families());
        families.extend(self.notifier.families());
        families.extend(self.query_log.families());
        families
    }

    /// Reads the configuration file again; a bad one is refused and the old one stays.
    ///
    /// # Errors
    /// The file's fault in one line.
    pub fn reload(&self) -> Result<(), String> {
        let result = self.config.load_file().and_then(|file| {
            let log = file.global.query_log_file.as_deref();
            self.query_log.set_file(log).map(|()| file)
        });
        self.telemetry.config_reloaded(result.is_ok());
        let file = result?;
        for warning in file.warnings() {
            tracing::warn!("{warning}");
        }
        self.file.send_replace(Arc::new(file));
        Ok(())
    }
}
