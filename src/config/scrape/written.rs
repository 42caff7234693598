//! Jobs as they are written, and how what is absent is filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use promql::lexer::quote;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{
    EscapingScheme, FileDiscovery, NameScheme, ScrapeConfig, ScrapeDefaults, ScrapeLimits,
    ScrapeProtocol, TargetGroup, check_address,
};
use crate::config::http_client::{
    Authorization, BasicAuth, HeaderValues, HttpClientFields, TlsConfig,
};
use crate::config::units::{parse_bytes, parse_duration};
use crate::relabel::RelabelConfig;

/// How often files of file service discovery are read again whether they changed or not.
const FILE_REFRESH: Duration = Duration::from_secs(300);

/// Service discoveries that Prometheus knows and that are not acted upon.
const FOREIGN_DISCOVERIES: &[&str] = &[
    "aws",
    "azure",
    "consul",
    "digitalocean",
    "dns",
    "docker",
    "dockerswarm",
    "ec2",
    "ecs",
    "elasticache",
    "eureka",
    "gce",
    "hetzner",
    "http",
    "ionos",
    "kubernetes",
    "kuma",
    "lightsail",
    "linode",
    "marathon",
    "msk",
    "nerve",
    "nomad",
    "oci",
    "openstack",
    "outscale",
    "ovhcloud",
    "puppetdb",
    "rds",
    "scaleway",
    "serverset",
    "stackit",
    "triton",
    "uyuni",
    "vultr",
];

/// Limits as they are written, in the global section and in a job.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct LimitFields {
    pub(in crate::config) body_size_limit: Option<String>,
    pub(in crate::config) sample_limit: Option<usize>,
    pub(in crate::config) target_limit: Option<usize>,
    pub(in crate::config) label_limit: Option<usize>,
    pub(in crate::config) label_name_length_limit: Option<usize>,
    pub(in crate::config) label_value_length_limit: Option<usize>,
    pub(in crate::config) keep_dropped_targets: Option<usize>,
}

impl LimitFields {
    pub(in crate::config) fn resolve(
        &self,
        defaults: ScrapeLimits,
    ) -> Result<ScrapeLimits, String> {
        let body = self.body_size_limit.as_deref().map(parse_bytes);
        let body = body
            .transpose()
            .map_err(|e| format!("body_size_limit: {e}"))?;
        let or = |value: Option<usize>, default| value.filter(|v| *v > 0).unwrap_or(default);
        Ok(ScrapeLimits {
            body_size_bytes: body.filter(|b| *b > 0).unwrap_or(defaults.body_size_bytes),
            samples: or(self.sample_limit, defaults.samples),
            targets: or(self.target_limit, defaults.targets),
            labels: or(self.label_limit, defaults.labels),
            label_name_bytes: or(self.label_name_length_limit, defaults.label_name_bytes),
            label_value_bytes: or(self.label_value_length_limit, defaults.label_value_bytes),
            dropped_targets: or(self.keep_dropped_targets, defaults.dropped_targets),
        })
    }
}

/// A job as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::config) struct ScrapeFields {
    job_name: Option<String>,
    honor_labels: Option<bool>,
    honor_timestamps: Option<bool>,
    track_timestamps_staleness: Option<bool>,
    params: Option<BTreeMap<String, Vec<String>>>,
    scrape_interval: Option<String>,
    scrape_timeout: Option<String>,
    scrape_protocols: Option<Vec<String>>,
    fallback_scrape_protocol: Option<String>,
    scrape_native_histograms: Option<bool>,
    always_scrape_classic_histograms: Option<bool>,
    convert_classic_histograms_to_nhcb: Option<bool>,
    scrape_failure_log_file: Option<PathBuf>,
    metrics_path: Option<String>,
    scheme: Option<String>,
    enable_compression: Option<bool>,
    body_size_limit: Option<String>,
    sample_limit: Option<usize>,
    target_limit: Option<usize>,
    label_limit: Option<usize>,
    label_name_length_limit: Option<usize>,
    label_value_length_limit: Option<usize>,
    native_histogram_bucket_limit: Option<usize>,
    native_histogram_min_bucket_factor: Option<f64>,
    keep_dropped_targets: Option<usize>,
    metric_name_validation_scheme: Option<NameScheme>,
    metric_name_escaping_scheme: Option<EscapingScheme>,
    extra_scrape_metrics: Option<bool>,
    basic_auth: Option<BasicAuth>,
    authorization: Option<Authorization>,
    oauth2: Option<serde_yaml_ng::Value>,
    bearer_token: Option<String>,
    bearer_token_file: Option<PathBuf>,
    tls_config: Option<TlsConfig>,
    follow_redirects: Option<bool>,
    enable_http2: Option<bool>,
    proxy_url: Option<String>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<bool>,
    proxy_connect_header: Option<BTreeMap<String, Vec<String>>>,
    http_headers: Option<BTreeMap<String, HeaderValues>>,
    relabel_configs: Option<Vec<Option<RelabelConfig>>>,
    metric_relabel_configs: Option<Vec<Option<RelabelConfig>>>,
    static_configs: Option<Vec<Option<TargetGroup>>>,
    file_sd_configs: Option<Vec<Option<FileFields>>>,
    #[serde(flatten)]
    rest: BTreeMap<String, IgnoredAny>,
}

/// Targets as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GroupFields {
    targets: Option<Vec<String>>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

impl From<GroupFields> for TargetGroup {
    fn from(fields: GroupFields) -> Self {
        let labels = fields.labels.unwrap_or_default().into_iter();
        Self {
            targets: fields.targets.unwrap_or_default(),
            labels: labels.map(|(n, v)| (n, v.unwrap_or_default())).collect(),
        }
    }
}

/// Files as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileFields {
    files: Vec<String>,
    refresh_interval: Option<String>,
}

impl ScrapeFields {
    /// A job of which only the name is written.
    pub(super) fn named(job_name: &str) -> Self {
        Self {
            job_name: Some(job_name.to_owned()),
            ..Self::default()
        }
    }

    /// Checks a job, fills in the defaults and resolves relative paths from a folder.
    pub(in crate::config) fn resolve(
        mut self,
        defaults: &ScrapeDefaults,
        base_dir: &Path,
    ) -> Result<ScrapeConfig, String> {
        let foreign_discoveries = self.foreign_discoveries()?;
        let job_name = self.job_name.take().unwrap_or_default();
        if job_name.is_empty() {
            return Err("job_name is empty".to_owned());
        }
        let limits = self.limits().resolve(defaults.limits)?;
        let http = self.http().resolve(base_dir)?;
        let of_job = format!("for scrape config with job name {}", quote(&job_name));
        let duration = |text: Option<&String>, name: &str| match text {
            None => Ok(Duration::ZERO),
            Some(text) => parse_duration(text).map_err(|e| format!("{name}: {e}")),
        };
        let interval = duration(self.scrape_interval.as_ref(), "scrape_interval")?;
        let timeout = duration(self.scrape_timeout.as_ref(), "scrape_timeout")?;
        let scrape_interval = if interval.is_zero() {
            defaults.interval
        } else {
            interval
        };
        if timeout > scrape_interval {
            return Err(format!(
                "scrape timeout greater than scrape interval {of_job}"
            ));
        }
        let scrape_timeout = if timeout.is_zero() {
            defaults.timeout.min(scrape_interval)
        } else {
            timeout
        };
        let native_histograms = self
            .scrape_native_histograms
            .unwrap_or(defaults.native_histograms);
        let scrape_protocols = match (&self.scrape_protocols, &defaults.protocols) {
            (Some(own), _) => {
                ScrapeProtocol::parse_list(own).map_err(|e| format!("{e} {of_job}"))?
            }
            (None, Some(global)) => global.clone(),
            (None, None) => {
                let first = native_histograms.then_some(ScrapeProtocol::PrometheusProto);
                first.into_iter().chain(ScrapeProtocol::DEFAULT).collect()
            }
        };
        let fallback = self.fallback_scrape_protocol.as_deref();
        let fallback_protocol = fallback
            .filter(|f| !f.is_empty())
            .map(ScrapeProtocol::parse)
            .transpose()
            .map_err(|e| format!("invalid fallback_scrape_protocol {of_job}: {e}"))?;
        let (name_scheme, escaping) = self.names(defaults)?;
        let relabel_configs = rules(self.relabel_configs.take(), "target", name_scheme)?;
        let metric_relabel_configs =
            rules(self.metric_relabel_configs.take(), "metric", name_scheme)?;
        let static_configs = all_given(self.static_configs.take(), "static_configs")?;
        if relabel_configs.is_empty() {
            let mut addresses = static_configs.iter().flat_map(|group| &group.targets);
            addresses.try_for_each(|address| check_address(address))?;
        }
        let files = all_given(self.file_sd_configs.take(), "file_sd_configs")?;
        let files: Result<Vec<_>, String> = files.iter().map(|f| f.resolve(base_dir)).collect();
        let join = |file: PathBuf| base_dir.join(file);
        Ok(ScrapeConfig {
            job_name,
            honor_labels: self.honor_labels.unwrap_or(false),
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: self.track_timestamps_staleness.unwrap_or(false),
            params: self.params.take().unwrap_or_default(),
            scrape_interval,
            scrape_timeout,
            scrape_protocols,
            fallback_protocol,
            native_histograms,
            always_classic_histograms: self
                .always_scrape_classic_histograms
                .unwrap_or(defaults.always_classic_histograms),
            convert_classic_histograms: self
                .convert_classic_histograms_to_nhcb
                .unwrap_or(defaults.convert_classic_histograms),
            failure_log_file: self
                .scrape_failure_log_file
                .take()
                .map(join)
                .or_else(|| defaults.failure_log_file.clone()),
            metrics_path: text_or(self.metrics_path.take(), "/metrics"),
            scheme: text_or(self.scheme.take(), "http"),
            enable_compression: self.enable_compression.unwrap_or(true),
            limits,
            histogram_bucket_limit: self.native_histogram_bucket_limit.unwrap_or(0),
            histogram_min_bucket_factor: self.native_histogram_min_bucket_factor.unwrap_or(0.0),
            name_scheme,
            escaping,
            extra_metrics: self.extra_scrape_metrics.unwrap_or(defaults.extra_metrics),
            http,
            relabel_configs,
            metric_relabel_configs,
            static_configs,
            file_sd_configs: files?,
            foreign_discoveries,
        })
    }

    fn foreign_discoveries(&self) -> Result<Vec<String>, String> {
        let is_foreign = |key: &str| {
            key.strip_suffix("_sd_configs")
                .is_some_and(|kind| FOREIGN_DISCOVERIES.contains(&kind))
        };
        match self.rest.keys().find(|key| !is_foreign(key)) {
            Some(key) => Err(format!("field {key} not found in type config.ScrapeConfig")),
            None => Ok(self.rest.keys().cloned().collect()),
        }
    }

    fn limits(&mut self) -> LimitFields {
        LimitFields {
            body_size_limit: self.body_size_limit.take(),
            sample_limit: self.sample_limit,
            target_limit: self.target_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            keep_dropped_targets: self.keep_dropped_targets,
        }
    }

    fn http(&mut self) -> HttpClientFields {
        HttpClientFields {
            basic_auth: self.basic_auth.take(),
            authorization: self.authorization.take(),
            oauth2: self.oauth2.take(),
            bearer_token: self.bearer_token.take(),
            bearer_token_file: self.bearer_token_file.take(),
            tls_config: self.tls_config.take(),
            follow_redirects: self.follow_redirects,
            enable_http2: self.enable_http2,
            proxy_url: self.proxy_url.take(),
            no_proxy: self.no_proxy.take(),
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header.take(),
            http_headers: self.http_headers.take(),
        }
    }

    fn names(&self, defaults: &ScrapeDefaults) -> Result<(NameScheme, EscapingScheme), String> {
        let scheme = self
            .metric_name_validation_scheme
            .unwrap_or(defaults.name_scheme);
        let natural = |scheme| match scheme {
            NameScheme::Utf8 => EscapingScheme::AllowUtf8,
            NameScheme::Legacy => EscapingScheme::Underscores,
        };
        // A job with a scheme of its own does not take over the global way of escaping.
        let inherited = match self.metric_name_validation_scheme {
            None => defaults.escaping,
            Some(_) => None,
        };
        let escaping = self
            .metric_name_escaping_scheme
            .or(inherited)
            .unwrap_or_else(|| natural(scheme));
        if escaping == EscapingScheme::AllowUtf8 && scheme != NameScheme::Utf8 {
            return Err(
                "utf8 metric names requested but validation scheme is not set to UTF8".to_owned(),
            );
        }
        Ok((scheme, escaping))
    }
}

impl FileFields {
    fn resolve(&self, base_dir: &Path) -> Result<FileDiscovery, String> {
        if self.files.is_empty() {
            return Err(
                "file service discovery config must contain at least one path name".to_owned(),
            );
        }
        for name in &self.files {
            let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
            let stem = known.iter().find_map(|end| name.strip_suffix(end));
            if !stem.is_some_and(one_star_in_the_last_part) {
                return Err(format!(
                    "path name {} is not valid for file discovery",
                    quote(name)
                ));
            }
        }
        let refresh = self.refresh_interval.as_deref().map(parse_duration);
        let refresh = refresh
            .transpose()
            .map_err(|e| format!("refresh_interval: {e}"))?;
        Ok(FileDiscovery {
            files: self.files.iter().map(|f| base_dir.join(f)).collect(),
            refresh_interval: refresh.filter(|r| !r.is_zero()).unwrap_or(FILE_REFRESH),
        })
    }
}

/// Whether a pattern has stars in its last part only, after the first of them no slash.
pub(in crate::config) fn one_star_in_the_last_part(pattern: &str) -> bool {
    pattern
        .find('*')
        .is_none_or(|at| !pattern[at..].contains('/'))
}

fn text_or(text: Option<String>, default: &str) -> String {
    text.filter(|t| !t.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

fn all_given<T>(list: Option<Vec<Option<T>>>, name: &str) -> Result<Vec<T>, String> {
    let list = list.unwrap_or_default().into_iter().collect();
    let list: Option<Vec<T>> = list;
    list.ok_or_else(|| format!("empty or null section in {name}"))
}

fn rules(
    list: Option<Vec<Option<RelabelConfig>>>,
    what: &str,
    scheme: NameScheme,
) -> Result<Vec<RelabelConfig>, String> {
    let list: Option<Vec<RelabelConfig>> = list.unwrap_or_default().into_iter().collect();
    let list =
        list.ok_or_else(|| format!("empty or null {what} relabeling rule in scrape config"))?;
    if scheme == NameScheme::Legacy {
        list.iter()
            .try_for_each(RelabelConfig::check_legacy_names)?;
    }
    Ok(list)
}
