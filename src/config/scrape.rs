//! `scrape_configs`: what is scraped, how, and what is done to it. A job as the program uses it has every global
//! default filled in, so that two equal jobs behave equally.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config.

mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use promql::lexer::quote;
use serde::Deserialize;

pub(super) use written::{LimitFields, ScrapeFields, one_star_in_the_last_part};

use super::http_client::HttpClientConfig;
use super::units::{format_bytes, format_duration};
use super::yaml::{Yaml, YamlMap};
use crate::relabel::RelabelConfig;
use written::GroupFields;

/// Which characters names may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameScheme {
    /// Any UTF-8 text.
    #[default]
    Utf8,
    /// Letters, digits and underscores.
    Legacy,
}

impl NameScheme {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Legacy => "legacy",
        }
    }
}

/// What a target is asked to do with names that have other characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EscapingScheme {
    /// Leave them as they are.
    #[serde(rename = "allow-utf-8")]
    AllowUtf8,
    /// An underscore for each.
    Underscores,
    /// `_dot_` for dots, underscores for the rest.
    Dots,
    /// Their code points.
    Values,
}

impl EscapingScheme {
    /// The word of the configuration, and of the `Accept` header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// A format in which a target may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ScrapeProtocol {
    OpenMetricsText0_0_1,
    OpenMetricsText1_0_0,
    PrometheusProto,
    PrometheusText0_0_4,
    PrometheusText1_0_0,
}

impl ScrapeProtocol {
    const ALL: [(&'static str, Self); 5] = [
        ("OpenMetricsText0.0.1", Self::OpenMetricsText0_0_1),
        ("OpenMetricsText1.0.0", Self::OpenMetricsText1_0_0),
        ("PrometheusProto", Self::PrometheusProto),
        ("PrometheusText0.0.4", Self::PrometheusText0_0_4),
        ("PrometheusText1.0.0", Self::PrometheusText1_0_0),
    ];

    /// What is offered, the most wanted first, where the configuration says nothing.
    const DEFAULT: [Self; 4] = [
        Self::OpenMetricsText1_0_0,
        Self::OpenMetricsText0_0_1,
        Self::PrometheusText1_0_0,
        Self::PrometheusText0_0_4,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The content type by which a target is asked for it.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
            Self::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            Self::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            Self::PrometheusText1_0_0 => "text/plain;version=1.0.0",
        }
    }

    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, p)| *p == self)
            .map_or("", |(name, _)| name)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, protocol)| *protocol).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!(
                "unknown scrape protocol {text}, supported: [{}]",
                names.join(" ")
            )
        })
    }

    pub(super) fn parse_list(texts: &[String]) -> Result<Vec<Self>, String> {
        if texts.is_empty() {
            return Err("scrape_protocols cannot be empty".to_owned());
        }
        let mut out = Vec::new();
        for text in texts {
            let protocol = Self::parse(text).map_err(|e| format!("scrape_protocols: {e}"))?;
            if out.contains(&protocol) {
                return Err(format!(
                    "duplicated protocol in scrape_protocols, got [{}]",
                    texts.join(" ")
                ));
            }
            out.push(protocol);
        }
        Ok(out)
    }
}

/// Limits of a scrape; 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct ScrapeLimits {
    pub body_size_bytes: u64,
    pub samples: usize,
    pub targets: usize,
    pub labels: usize,
    pub label_name_bytes: usize,
    pub label_value_bytes: usize,
    pub dropped_targets: usize,
}

impl ScrapeLimits {
    pub(super) fn add_to(&self, out: &mut YamlMap) {
        out.add_if(
            self.body_size_bytes > 0,
            "body_size_limit",
            format_bytes(self.body_size_bytes),
        );
        for (name, value) in [
            ("sample_limit", self.samples),
            ("target_limit", self.targets),
            ("label_limit", self.labels),
            ("label_name_length_limit", self.label_name_bytes),
            ("label_value_length_limit", self.label_value_bytes),
            ("keep_dropped_targets", self.dropped_targets),
        ] {
            out.add_if(value > 0, name, value);
        }
    }
}

/// Defaults of all jobs, from the global section.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct ScrapeDefaults {
    pub interval: Duration,
    pub timeout: Duration,
    pub protocols: Option<Vec<ScrapeProtocol>>,
    pub limits: ScrapeLimits,
    pub failure_log_file: Option<PathBuf>,
    pub name_scheme: NameScheme,
    pub escaping: Option<EscapingScheme>,
    pub native_histograms: bool,
    pub convert_classic_histograms: bool,
    pub always_classic_histograms: bool,
    pub extra_metrics: bool,
}

impl Default for ScrapeDefaults {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            protocols: None,
            limits: ScrapeLimits::default(),
            failure_log_file: None,
            name_scheme: NameScheme::Utf8,
            escaping: None,
            native_histograms: false,
            convert_classic_histograms: false,
            always_classic_histograms: false,
            extra_metrics: false,
        }
    }
}

impl ScrapeDefaults {
    pub(super) fn add_to(&self, out: &mut YamlMap) {
        if let Some(file) = &self.failure_log_file {
            out.add("scrape_failure_log_file", file.display().to_string());
        }
        self.limits.add_to(out);
        out.add("metric_name_validation_scheme", self.name_scheme.as_str());
        if let Some(escaping) = self.escaping {
            out.add("metric_name_escaping_scheme", escaping.as_str());
        }
        out.add("scrape_native_histograms", self.native_histograms);
        let convert = self.convert_classic_histograms;
        out.add_if(convert, "convert_classic_histograms_to_nhcb", true);
        let always = self.always_classic_histograms;
        out.add_if(always, "always_scrape_classic_histograms", true);
        out.add("extra_scrape_metrics", self.extra_metrics);
    }
}

/// Targets with labels in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "GroupFields")]
pub struct TargetGroup {
    /// Addresses.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

/// Targets in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiscovery {
    /// Patterns of paths, from the folder of the configuration file.
    pub files: Vec<PathBuf>,
    /// How often they are read whether they changed or not.
    pub refresh_interval: Duration,
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the configuration's")]
pub struct ScrapeConfig {
    pub job_name: String,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub params: BTreeMap<String, Vec<String>>,
    pub scrape_interval: Duration,
    pub scrape_timeout: Duration,
    pub scrape_protocols: Vec<ScrapeProtocol>,
    pub fallback_protocol: Option<ScrapeProtocol>,
    pub native_histograms: bool,
    pub always_classic_histograms: bool,
    pub convert_classic_histograms: bool,
    pub failure_log_file: Option<PathBuf>,
    pub metrics_path: String,
    pub scheme: String,
    pub enable_compression: bool,
    pub limits: ScrapeLimits,
    pub histogram_bucket_limit: usize,
    pub histogram_min_bucket_factor: f64,
    pub name_scheme: NameScheme,
    pub escaping: EscapingScheme,
    pub extra_metrics: bool,
    pub http: HttpClientConfig,
    pub relabel_configs: Vec<RelabelConfig>,
    pub metric_relabel_configs: Vec<RelabelConfig>,
    pub static_configs: Vec<TargetGroup>,
    pub file_sd_configs: Vec<FileDiscovery>,
    /// Keys of service discoveries that are not acted upon.
    pub foreign_discoveries: Vec<String>,
}

/// Refuses what is a URL and no address.
///
/// # Errors
/// In upstream's words.
pub fn check_address(address: &str) -> Result<(), String> {
    match address.contains('/') {
        true => Err(format!("{} is not a valid hostname", quote(address))),
        false => Ok(()),
    }
}

impl ScrapeConfig {
    /// A job with all defaults.
    #[must_use]
    pub fn new(job_name: &str, defaults: &ScrapeDefaults) -> Self {
        ScrapeFields::named(job_name)
            .resolve(defaults, Path::new(""))
            .expect("defaults do not contradict each other")
    }

    /// Keys that are taken and have no effect.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&str> {
        let mut out: Vec<&str> = self
            .foreign_discoveries
            .iter()
            .map(String::as_str)
            .collect();
        if self.failure_log_file.is_some() {
            out.push("scrape_failure_log_file");
        }
        if self.http.oauth2.is_some() {
            out.push("oauth2");
        }
        if !self.http.proxy_connect_header.is_empty() {
            out.push("proxy_connect_header");
        }
        if self.convert_classic_histograms {
            out.push("convert_classic_histograms_to_nhcb");
        }
        if self.histogram_bucket_limit > 0 {
            out.push("native_histogram_bucket_limit");
        }
        if self.histogram_min_bucket_factor != 0.0 {
            out.push("native_histogram_min_bucket_factor");
        }
        out
    }

    /// The job as upstream prints it.
    #[must_use]
    pub fn to_yaml(&self) -> Yaml {
        let mut out = Yaml::map();
        out.add("job_name", self.job_name.as_str());
        out.add_if(self.honor_labels, "honor_labels", true);
        out.add("honor_timestamps", self.honor_timestamps);
        out.add(
            "track_timestamps_staleness",
            self.track_timestamps_staleness,
        );
        let params = self.params.iter().map(|(k, v)| (k.clone(), Yaml::texts(v)));
        out.add_some("params", Yaml::Map(params.collect()));
        out.add("scrape_interval", format_duration(self.scrape_interval));
        out.add("scrape_timeout", format_duration(self.scrape_timeout));
        let protocols = self.scrape_protocols.iter().map(|p| p.as_str());
        out.add("scrape_protocols", Yaml::texts(protocols));
        if let Some(fallback) = self.fallback_protocol {
            out.add("fallback_scrape_protocol", fallback.as_str());
        }
        out.add("scrape_native_histograms", self.native_histograms);
        out.add(
            "always_scrape_classic_histograms",
            self.always_classic_histograms,
        );
        out.add(
            "convert_classic_histograms_to_nhcb",
            self.convert_classic_histograms,
        );
        if let Some(file) = &self.failure_log_file {
            out.add("scrape_failure_log_file", file.display().to_string());
        }
        out.add("metrics_path", self.metrics_path.as_str());
        out.add("scheme", self.scheme.as_str());
        out.add("enable_compression", self.enable_compression);
        self.limits.add_to(&mut out);
        out.add_if(
            self.histogram_bucket_limit > 0,
            "native_histogram_bucket_limit",
            self.histogram_bucket_limit,
        );
        let factor = Yaml::Bare(self.histogram_min_bucket_factor.to_string());
        out.add_if(
            self.histogram_min_bucket_factor != 0.0,
            "native_histogram_min_bucket_factor",
            factor,
        );
        out.add("metric_name_validation_scheme", self.name_scheme.as_str());
        out.add("metric_name_escaping_scheme", self.escaping.as_str());
        out.add("extra_scrape_metrics", self.extra_metrics);
        self.http.add_to(&mut out);
        let rules =
            |list: &[RelabelConfig]| Yaml::List(list.iter().map(RelabelConfig::to_yaml).collect());
        out.add_some("relabel_configs", rules(&self.relabel_configs));
        out.add_some(
            "metric_relabel_configs",
            rules(&self.metric_relabel_configs),
        );
        let files = self.file_sd_configs.iter().map(|discovery| {
            let mut map = Yaml::map();
            let files = discovery.files.iter().map(|f| f.display().to_string());
            map.add("files", Yaml::texts(files));
            map.add(
                "refresh_interval",
                format_duration(discovery.refresh_interval),
            );
            map.finish()
        });
        out.add_some("file_sd_configs", Yaml::List(files.collect()));
        let groups = self.static_configs.iter().map(|group| {
            let mut map = Yaml::map();
            map.add("targets", Yaml::texts(&group.targets));
            let labels = group.labels.iter();
            let labels = labels.map(|(n, v)| (n.clone(), Yaml::from(v.as_str())));
            map.add_some("labels", Yaml::Map(labels.collect()));
            map.finish()
        });
        out.add_some("static_configs", Yaml::List(groups.collect()));
        out.finish()
    }
}

#[cfg(test)]
mod tests;
