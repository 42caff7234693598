//! A genuine `prometheus.yml`. `global` and `storage` are honoured; the other sections are parsed
//! and warned about by name, so that nobody believes they work.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_yaml_ng::Value;

use super::units::{format_duration, parse_duration};

/// Sections that Prometheus knows and that have no meaning here yet.
const WITHOUT_MEANING: [&str; 8] = [
    "scrape_configs",
    "scrape_config_files",
    "rule_files",
    "alerting",
    "remote_write",
    "remote_read",
    "tracing",
    "otlp",
];

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrometheusConfig {
    /// Section `global`.
    pub global: GlobalConfig,
    /// `storage.tsdb.out_of_order_time_window`.
    pub out_of_order_window: Option<Duration>,
    /// `storage.exemplars.max_exemplars`.
    pub max_exemplars: Option<usize>,
    /// Sections that the file has and that are not acted upon.
    pub ignored_sections: Vec<String>,
    /// The file's text; empty without a file.
    pub text: String,
}

/// Section `global`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// How often targets are scraped.
    pub scrape_interval: Duration,
    /// How long a scrape may take.
    pub scrape_timeout: Duration,
    /// How often rules are evaluated; also the step of a subquery that names none.
    pub evaluation_interval: Duration,
    /// Labels added to what leaves this process.
    pub external_labels: Vec<(String, String)>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            evaluation_interval: Duration::from_secs(60),
            external_labels: Vec::new(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    global: Option<Global>,
    storage: Option<StorageSection>,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Global {
    scrape_interval: Option<String>,
    scrape_timeout: Option<String>,
    evaluation_interval: Option<String>,
    external_labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StorageSection {
    tsdb: Tsdb,
    exemplars: Exemplars,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tsdb {
    out_of_order_time_window: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Exemplars {
    max_exemplars: Option<usize>,
}

impl PrometheusConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// One line that says what is wrong and where.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        Self::parse(&text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Option<File> =
            serde_yaml_ng::from_str(text).map_err(|e| format!("parsing YAML file: {e}"))?;
        let file = file.unwrap_or_default();
        if let Some(unknown) = file
            .rest
            .keys()
            .find(|k| !WITHOUT_MEANING.contains(&k.as_str()) && k.as_str() != "runtime")
        {
            return Err(format!(
                "parsing YAML file: field {unknown} not found in type config.plain"
            ));
        }
        let mut config = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        config.ignored_sections = file.rest.into_keys().collect();
        if let Some(global) = file.global {
            let g = &mut config.global;
            set(
                &mut g.scrape_interval,
                global.scrape_interval.as_deref(),
                "scrape_interval",
            )?;
            g.scrape_timeout = g.scrape_timeout.min(g.scrape_interval);
            set(
                &mut g.scrape_timeout,
                global.scrape_timeout.as_deref(),
                "scrape_timeout",
            )?;
            if g.scrape_timeout > g.scrape_interval {
                return Err("global scrape timeout greater than scrape interval".to_owned());
            }
            set(
                &mut g.evaluation_interval,
                global.evaluation_interval.as_deref(),
                "evaluation_interval",
            )?;
            g.external_labels = global.external_labels.into_iter().collect();
        }
        if let Some(storage) = file.storage {
            config.max_exemplars = storage.exemplars.max_exemplars;
            if let Some(window) = storage.tsdb.out_of_order_time_window {
                let window = parse_duration(&window)
                    .map_err(|e| format!("storage.tsdb.out_of_order_time_window: {e}"))?;
                config.out_of_order_window = Some(window);
            }
        }
        Ok(config)
    }

    /// The configuration as `/api/v1/status/config` shows it.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let g = &self.global;
        let mut out = format!(
            "global:\n  scrape_interval: {}\n  scrape_timeout: {}\n  evaluation_interval: {}\n",
            format_duration(g.scrape_interval),
            format_duration(g.scrape_timeout),
            format_duration(g.evaluation_interval)
        );
        if !g.external_labels.is_empty() {
            out.push_str("  external_labels:\n");
            for (name, value) in &g.external_labels {
                out.push_str(&format!("    {name}: {value:?}\n"));
            }
        }
        out
    }
}

fn set(target: &mut Duration, text: Option<&str>, name: &str) -> Result<(), String> {
    let Some(text) = text else { return Ok(()) };
    let duration = parse_duration(text).map_err(|e| format!("global.{name}: {e}"))?;
    if !duration.is_zero() {
        *target = duration;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genuine_file_is_read_and_its_other_sections_are_named() {
        let config = PrometheusConfig::parse(
            "global: {scrape_interval: 15s, external_labels: {site: a}}\nscrape_configs: []\nstorage: {tsdb: {out_of_order_time_window: 30m}}\n",
        )
        .unwrap();
        assert_eq!(config.global.scrape_interval, Duration::from_secs(15));
        assert_eq!(config.global.scrape_timeout, Duration::from_secs(10));
        assert_eq!(config.out_of_order_window, Some(Duration::from_secs(1800)));
        assert_eq!(config.ignored_sections, ["scrape_configs"]);
    }

    #[test]
    fn faults_name_what_is_wrong() {
        let fault = |text| PrometheusConfig::parse(text).unwrap_err();
        assert!(fault("globl: {}").contains("globl"));
        assert!(fault("global: {scrape_interval: x}").contains("global.scrape_interval"));
        assert!(fault("global: [").contains("line"));
        assert_eq!(
            PrometheusConfig::parse("").unwrap().global,
            GlobalConfig::default()
        );
    }
}
