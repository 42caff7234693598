//! Which Alertmanagers there are: addresses of the configuration and of files, relabelled, each once.

use std::sync::Arc;
use std::time::Instant;

use storage::model::{Labels, LabelsBuilder};

use crate::config::alerting::AlertmanagerConfig;
use crate::config::check_address;
use crate::discovery::{Files, Group, static_groups};
use crate::relabel::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

/// Looks for the Alertmanagers of a section.
pub(super) struct Discovery {
    pub(super) config: Arc<AlertmanagerConfig>,
    files: Vec<Files>,
}

/// URLs of Alertmanagers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Endpoints {
    /// Those that are sent to, each once.
    pub(super) active: Vec<String>,
    /// Those that relabelling has dropped.
    pub(super) dropped: Vec<String>,
}

impl Discovery {
    pub(super) fn new(config: &AlertmanagerConfig) -> Self {
        Self {
            files: config
                .file_sd_configs
                .iter()
                .cloned()
                .map(Files::new)
                .collect(),
            config: Arc::new(config.clone()),
        }
    }

    /// The Alertmanagers there are by now. Blocks on the disk.
    pub(super) fn look(&mut self) -> Endpoints {
        let now = Instant::now();
        self.files.iter_mut().for_each(|files| {
            files.look(now);
        });
        let mut endpoints = Endpoints::default();
        for group in static_groups(&self.config.static_configs) {
            endpoints.add(&self.config, &group);
        }
        for group in self.files.iter().flat_map(Files::groups) {
            endpoints.add(&self.config, group);
        }
        endpoints
    }
}

impl Endpoints {
    fn add(&mut self, config: &AlertmanagerConfig, group: &Group) {
        for address in &group.targets {
            let labels = labels_of(config, group, address);
            let Some(relabeled) = relabel(&config.relabel_configs, &labels) else {
                self.dropped.push(url(&labels));
                continue;
            };
            if let Err(e) = check_address(relabeled.get(ADDRESS).unwrap_or_default()) {
                tracing::error!("address of an Alertmanager: {e}");
                continue;
            }
            let url = url(&relabeled);
            if !self.active.contains(&url) {
                self.active.push(url);
            }
        }
    }
}

fn labels_of(config: &AlertmanagerConfig, group: &Group, address: &str) -> Labels {
    let mut labels = LabelsBuilder::default();
    labels.set(SCHEME, &config.scheme);
    labels.set(PATH, &alerts_path(&config.path_prefix));
    for (name, value) in &group.labels {
        labels.set(name, value);
    }
    labels.set(ADDRESS, address);
    labels.finish()
}

/// The path of the API below a prefix, without doubled slashes.
fn alerts_path(prefix: &str) -> String {
    let parts = prefix.split('/').chain(["api", "v2", "alerts"]);
    let parts = parts.filter(|part| !part.is_empty());
    parts.fold(String::new(), |path, part| path + "/" + part)
}

fn url(labels: &Labels) -> String {
    let part = |name| labels.get(name).unwrap_or_default();
    format!("{}://{}{}", part(SCHEME), part(ADDRESS), part(PATH))
}
