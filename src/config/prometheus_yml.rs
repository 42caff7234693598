//! A genuine `prometheus.yml`. Sections without a meaning here are parsed and warned about by name, so that nobody
//! believes they work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use promql::lexer::quote;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_yaml_ng::Value;

use super::alerting::AlertingConfig;
use super::fault::{merged, unknown_field, yaml_fault};
use super::glob::glob;
use super::otlp::{OtlpConfig, OtlpSection};
use super::rule_file::RuleFile;
use super::scrape::{
    EscapingScheme, LimitFields, NameScheme, ScrapeConfig, ScrapeDefaults, ScrapeFields,
    ScrapeProtocol, one_star_in_the_last_part,
};
use super::units::{format_duration, parse_duration};
use super::yaml::Yaml;

/// Sections that Prometheus knows and that have no meaning here yet.
const WITHOUT_MEANING: [&str; 3] = ["remote_write", "remote_read", "tracing"];

/// Sections that [`AlertingConfig`] reads.
const ALERTING: [&str; 2] = ["rule_files", "alerting"];

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrometheusConfig {
    /// Section `global`.
    pub global: GlobalConfig,
    /// `storage.tsdb.out_of_order_time_window`.
    pub out_of_order_window: Option<Duration>,
    /// `storage.exemplars.max_exemplars`.
    pub max_exemplars: Option<usize>,
    /// Sections `rule_files` and `alerting`.
    pub alerting: AlertingConfig,
    /// The rule files, read.
    pub rules: Vec<RuleFile>,
    /// Section `otlp`.
    pub otlp: OtlpConfig,
    /// Sections that the file has and that are not acted upon.
    pub ignored_sections: Vec<String>,
    /// The jobs, those of `scrape_config_files` included. Names are unique.
    pub scrape_configs: Vec<Arc<ScrapeConfig>>,
    /// How many of them stand in the file itself: they come first, and they alone are shown.
    own_jobs: usize,
    /// `scrape_config_files` as written.
    pub scrape_config_files: Vec<String>,
    /// The folder of the file: relative paths begin there.
    pub base_dir: PathBuf,
    /// The file's text; empty without a file.
    pub text: String,
}

/// Section `global`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// Defaults of all jobs.
    pub scrape: ScrapeDefaults,
    /// How often rules are evaluated; also the step of a subquery that names none.
    pub evaluation_interval: Duration,
    /// How far in the past rules ask, where their group does not say it.
    pub rule_query_offset: Duration,
    /// Where queries are logged, if they are.
    pub query_log_file: Option<PathBuf>,
    /// Labels added to what leaves this process.
    pub external_labels: Vec<(String, String)>,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape: ScrapeDefaults::default(),
            evaluation_interval: Duration::from_secs(60),
            rule_query_offset: Duration::ZERO,
            query_log_file: None,
            external_labels: Vec::new(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    global: Option<Global>,
    storage: Option<StorageSection>,
    scrape_configs: Option<Vec<Option<ScrapeFields>>>,
    scrape_config_files: Option<Vec<String>>,
    otlp: Option<OtlpSection>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Global {
    scrape_interval: Option<String>,
    scrape_timeout: Option<String>,
    evaluation_interval: Option<String>,
    rule_query_offset: Option<String>,
    query_log_file: Option<PathBuf>,
    external_labels: Option<BTreeMap<String, String>>,
    scrape_protocols: Option<Vec<String>>,
    scrape_failure_log_file: Option<PathBuf>,
    body_size_limit: Option<String>,
    sample_limit: Option<usize>,
    target_limit: Option<usize>,
    label_limit: Option<usize>,
    label_name_length_limit: Option<usize>,
    label_value_length_limit: Option<usize>,
    keep_dropped_targets: Option<usize>,
    metric_name_validation_scheme: Option<NameScheme>,
    metric_name_escaping_scheme: Option<EscapingScheme>,
    scrape_native_histograms: Option<bool>,
    convert_classic_histograms_to_nhcb: Option<bool>,
    always_scrape_classic_histograms: Option<bool>,
    extra_scrape_metrics: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

/// A file of `scrape_config_files`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ScrapeFile {
    scrape_configs: Option<Vec<Option<ScrapeFields>>>,
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
        Self::parse_in(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads the text of a file whose relative paths begin in the current folder.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, Path::new(""))
    }

    fn parse_in(text: &str, base_dir: &Path) -> Result<Self, String> {
        let file: Option<File> = serde_yaml_ng::from_str(&merged(text))
            .map_err(|e| format!("parsing YAML file: {}", yaml_fault(&e)))?;
        let file = file.unwrap_or_default();
        let known =
            |k: &str| WITHOUT_MEANING.contains(&k) || ALERTING.contains(&k) || k == "runtime";
        if let Some(unknown) = file.rest.keys().find(|k| !known(k)) {
            let fault = unknown_field(unknown, "config.plain");
            return Err(format!("parsing YAML file: {fault}"));
        }
        let mut config = Self {
            text: text.to_owned(),
            base_dir: base_dir.to_owned(),
            ..Self::default()
        };
        config.ignored_sections = file.rest.into_keys().collect();
        config
            .ignored_sections
            .retain(|name| !ALERTING.contains(&name.as_str()));
        config.alerting =
            AlertingConfig::parse(text, base_dir).map_err(|e| format!("parsing YAML file: {e}"))?;
        config.otlp = file
            .otlp
            .map_or_else(|| Ok(OtlpConfig::default()), OtlpSection::read)?;
        if let Some(global) = file.global {
            let legacy = matches!(
                global.metric_name_validation_scheme,
                Some(NameScheme::Legacy)
            );
            if legacy && !config.otlp.strategy.escapes() {
                let strategy = config.otlp.strategy.as_str();
                return Err(format!(
                    "OTLP translation strategy {strategy:?} is not allowed when UTF8 is disabled"
                ));
            }
            config.global = global.resolve(base_dir)?;
        }
        if let Some(storage) = file.storage {
            config.max_exemplars = storage.exemplars.max_exemplars;
            if let Some(window) = storage.tsdb.out_of_order_time_window {
                let window = parse_duration(&window)
                    .map_err(|e| format!("storage.tsdb.out_of_order_time_window: {e}"))?;
                config.out_of_order_window = Some(window);
            }
        }
        config.scrape_config_files = file.scrape_config_files.unwrap_or_default();
        config.add_jobs(file.scrape_configs, base_dir)?;
        config.own_jobs = config.scrape_configs.len();
        config.read_scrape_files()?;
        Ok(config)
    }

    fn add_jobs(
        &mut self,
        jobs: Option<Vec<Option<ScrapeFields>>>,
        base_dir: &Path,
    ) -> Result<(), String> {
        for job in jobs.unwrap_or_default() {
            let job = job.ok_or("empty or null scrape config section")?;
            let job = job.resolve(&self.global.scrape, base_dir)?;
            if self
                .scrape_configs
                .iter()
                .any(|j| j.job_name == job.job_name)
            {
                return Err(format!(
                    "found multiple scrape configs with job name {}",
                    quote(&job.job_name)
                ));
            }
            self.scrape_configs.push(Arc::new(job));
        }
        Ok(())
    }

    fn read_scrape_files(&mut self) -> Result<(), String> {
        for pattern in self.scrape_config_files.clone() {
            if !one_star_in_the_last_part(&pattern) {
                let pattern = quote(&pattern);
                return Err(format!("invalid scrape config file path {pattern}"));
            }
            for path in glob(&self.base_dir.join(&pattern)) {
                let fault = |e: String| format!("{}: {e}", quote(&path.display().to_string()));
                let text = std::fs::read_to_string(&path).map_err(|e| fault(e.to_string()))?;
                let file: Option<ScrapeFile> =
                    serde_yaml_ng::from_str(&merged(&text)).map_err(|e| fault(yaml_fault(&e)))?;
                let jobs = file.unwrap_or_default().scrape_configs;
                self.add_jobs(jobs, path.parent().unwrap_or(Path::new("")))
                    .map_err(fault)?;
            }
        }
        Ok(())
    }

    /// What the file asks for and nobody does, a line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let sections = self.ignored_sections.iter();
        let mut out: Vec<String> = sections
            .map(|s| format!("configuration section {s} is not acted upon by this version"))
            .collect();
        out.extend(self.alerting.warnings());
        for job in &self.scrape_configs {
            out.extend(job.without_effect().into_iter().map(|key| {
                format!(
                    "scrape config {}: {key} is not acted upon by this version",
                    quote(&job.job_name)
                )
            }));
        }
        out
    }

    /// The configuration as `/api/v1/status/config` shows it.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut out = Yaml::map();
        out.add("global", self.global.to_yaml());
        out.add_some("alerting", self.alerting.to_yaml());
        let files = self.alerting.rule_files.iter();
        let files = Yaml::texts(files.map(|f| f.to_string_lossy()));
        out.add_some("rule_files", files);
        let files = Yaml::texts(&self.scrape_config_files);
        out.add_some("scrape_config_files", files);
        let jobs = self.scrape_configs.iter().take(self.own_jobs);
        let jobs = jobs.map(|job| job.to_yaml());
        out.add_some("scrape_configs", Yaml::List(jobs.collect()));
        out.finish().to_string()
    }
}

impl Global {
    fn resolve(self, base_dir: &Path) -> Result<GlobalConfig, String> {
        if let Some(unknown) = self.rest.keys().next() {
            let fault = unknown_field(unknown, "config.plain");
            return Err(format!("parsing YAML file: {fault}"));
        }
        let mut out = GlobalConfig::default();
        let scrape = &mut out.scrape;
        set(
            &mut scrape.interval,
            self.scrape_interval.as_deref(),
            "scrape_interval",
        )?;
        scrape.timeout = scrape.timeout.min(scrape.interval);
        set(
            &mut scrape.timeout,
            self.scrape_timeout.as_deref(),
            "scrape_timeout",
        )?;
        if scrape.timeout > scrape.interval {
            return Err("global scrape timeout greater than scrape interval".to_owned());
        }
        set(
            &mut out.evaluation_interval,
            self.evaluation_interval.as_deref(),
            "evaluation_interval",
        )?;
        set(
            &mut out.rule_query_offset,
            self.rule_query_offset.as_deref(),
            "rule_query_offset",
        )?;
        let protocols = self.scrape_protocols.as_deref();
        scrape.protocols = protocols
            .map(ScrapeProtocol::parse_list)
            .transpose()
            .map_err(|e| format!("{e} for global config"))?;
        let limits = LimitFields {
            body_size_limit: self.body_size_limit,
            sample_limit: self.sample_limit,
            target_limit: self.target_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            keep_dropped_targets: self.keep_dropped_targets,
        };
        scrape.limits = limits.resolve(scrape.limits)?;
        let join = |file: PathBuf| base_dir.join(file);
        out.query_log_file = self.query_log_file.map(join);
        let scrape = &mut out.scrape;
        scrape.failure_log_file = self.scrape_failure_log_file.map(join);
        scrape.name_scheme = self.metric_name_validation_scheme.unwrap_or_default();
        scrape.escaping = self.metric_name_escaping_scheme;
        scrape.native_histograms = self.scrape_native_histograms.unwrap_or(false);
        scrape.convert_classic_histograms =
            self.convert_classic_histograms_to_nhcb.unwrap_or(false);
        scrape.always_classic_histograms = self.always_scrape_classic_histograms.unwrap_or(false);
        scrape.extra_metrics = self.extra_scrape_metrics.unwrap_or(false);
        out.external_labels = self
            .external_labels
            .unwrap_or_default()
            .into_iter()
            .collect();
        Ok(out)
    }
}

impl GlobalConfig {
    fn to_yaml(&self) -> Yaml {
        let (mut out, scrape) = (Yaml::map(), &self.scrape);
        out.add("scrape_interval", format_duration(scrape.interval));
        out.add("scrape_timeout", format_duration(scrape.timeout));
        if let Some(protocols) = &scrape.protocols {
            let protocols = protocols.iter().map(|p| p.as_str());
            out.add("scrape_protocols", Yaml::texts(protocols));
        }
        out.add(
            "evaluation_interval",
            format_duration(self.evaluation_interval),
        );
        let offset = self.rule_query_offset;
        out.add_if(
            !offset.is_zero(),
            "rule_query_offset",
            format_duration(offset),
        );
        if let Some(file) = &self.query_log_file {
            out.add("query_log_file", file.display().to_string());
        }
        let labels = self.external_labels.iter();
        let labels = labels.map(|(n, v)| (n.clone(), Yaml::from(v.as_str())));
        out.add_some("external_labels", Yaml::Map(labels.collect()));
        scrape.add_to(&mut out);
        out.finish()
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
            "global: {scrape_interval: 15s, external_labels: {site: a}}\nremote_write: []\nstorage: {tsdb: {out_of_order_time_window: 30m}}\n",
        )
        .unwrap();
        assert_eq!(config.global.scrape.interval, Duration::from_secs(15));
        assert_eq!(config.global.scrape.timeout, Duration::from_secs(10));
        assert_eq!(config.out_of_order_window, Some(Duration::from_secs(1800)));
        assert_eq!(config.ignored_sections, ["remote_write"]);
    }

    #[test]
    fn otlp_names_in_utf8_contradict_the_legacy_scheme() {
        let parse = |scheme: &str| {
            PrometheusConfig::parse(&format!(
                "otlp: {{translation_strategy: NoTranslation}}\nglobal: {{metric_name_validation_scheme: {scheme}}}"
            ))
        };
        assert!(parse("utf8").is_ok());
        assert!(parse("legacy").unwrap_err().contains("UTF8 is disabled"));
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
