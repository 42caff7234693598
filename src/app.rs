//! What every handler shares.

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use storage::Storage;
use tokio::sync::watch;

use crate::config::{Config, PrometheusConfig};
use crate::telemetry::Telemetry;

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
    /// Our own counters.
    pub telemetry: Telemetry,
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

    /// Reads the configuration file again; a bad one is refused and the old one stays.
    ///
    /// # Errors
    /// The file's fault in one line.
    pub fn reload(&self) -> Result<(), String> {
        let result = self.config.load_file();
        self.telemetry.config_reloaded(result.is_ok());
        self.file.send_replace(Arc::new(result?));
        Ok(())
    }
}
