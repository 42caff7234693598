//! Sections `rule_files` and `alerting` of `prometheus.yml`: which rules there are, and who is told of alerts.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/configuration, "alertmanager_config".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use promql::lexer::quote;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::document::{self, YamlDuration};
use super::http_client::{
    Authorization, BasicAuth, HeaderValues, HttpClientConfig, HttpClientFields, TlsConfig,
};
use super::scrape::{FileDiscovery, TargetGroup, check_address};
use super::yaml::Yaml;
use crate::relabel::RelabelConfig;

/// How often files of file service discovery are read again whether they changed or not.
const FILE_REFRESH: Duration = Duration::from_secs(300);

/// What the two sections say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertingConfig {
    /// Patterns of rule files, relative ones from the folder of the configuration file.
    pub rule_files: Vec<PathBuf>,
    /// Applied to every alert before it is sent.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Who is told of alerts.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// Alertmanagers that are found and spoken to alike.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerConfig {
    /// `http` or `https`.
    pub scheme: String,
    /// Put before the path of the API.
    pub path_prefix: String,
    /// How long a request may take.
    pub timeout: Duration,
    /// Addresses.
    pub static_configs: Vec<TargetGroup>,
    /// Files with addresses.
    pub file_sd_configs: Vec<FileDiscovery>,
    /// Applied to each Alertmanager's labels.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Applied to every alert for these alone.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// How they are spoken to.
    pub http: HttpClientConfig,
    /// Keys that are taken and have no effect.
    pub without_effect: Vec<String>,
}

impl AlertingConfig {
    /// Reads the two sections of a text; others are passed over.
    ///
    /// # Errors
    /// The first fault in one line.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, String> {
        let sections: Sections = document::read(text, type_of)?;
        let mut out = Self::default();
        for pattern in sections.rule_files.unwrap_or_default() {
            if !is_rule_path(&pattern) {
                return Err(format!("invalid rule file path {}", quote(&pattern)));
            }
            out.rule_files.push(base_dir.join(pattern));
        }
        let alerting = sections.alerting.unwrap_or_default();
        out.alert_relabel_configs = present(
            alerting.alert_relabel_configs,
            "empty or null alert relabeling rule",
        )?;
        for fields in alerting.alertmanagers.unwrap_or_default() {
            out.alertmanagers
                .push(fields.unwrap_or_default().resolve(base_dir)?);
        }
        Ok(out)
    }

    /// What the sections ask for and nobody does, a line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let keys = self.alertmanagers.iter().flat_map(|a| &a.without_effect);
        keys.map(|key| format!("alertmanager config: {key} is not acted upon by this version"))
            .collect()
    }

    /// The section `alerting` as upstream prints it.
    #[must_use]
    pub fn to_yaml(&self) -> Yaml {
        let mut out = Yaml::map();
        out.add_some("alert_relabel_configs", rules(&self.alert_relabel_configs));
        let alertmanagers = self.alertmanagers.iter().map(AlertmanagerConfig::to_yaml);
        out.add_some("alertmanagers", Yaml::List(alertmanagers.collect()));
        out.finish()
    }
}

fn rules(rules: &[RelabelConfig]) -> Yaml {
    Yaml::List(rules.iter().map(RelabelConfig::to_yaml).collect())
}

/// A `*` only in the last part of the path.
fn is_rule_path(pattern: &str) -> bool {
    !pattern
        .rsplit_once('/')
        .is_some_and(|(folder, _)| folder.contains('*'))
}

impl AlertmanagerConfig {
    fn to_yaml(&self) -> Yaml {
        let mut out = Yaml::map();
        self.http.add_to(&mut out);
        out.add("scheme", self.scheme.as_str());
        out.add_if(
            !self.path_prefix.is_empty(),
            "path_prefix",
            self.path_prefix.as_str(),
        );
        out.add("timeout", super::format_duration(self.timeout));
        out.add("api_version", "v2");
        out.add_some("relabel_configs", rules(&self.relabel_configs));
        out.add_some("alert_relabel_configs", rules(&self.alert_relabel_configs));
        let files = self.file_sd_configs.iter().map(|discovery| {
            let mut map = Yaml::map();
            map.add(
                "files",
                Yaml::texts(discovery.files.iter().map(|f| f.to_string_lossy())),
            );
            map.add(
                "refresh_interval",
                super::format_duration(discovery.refresh_interval),
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

/// Upstream's names of the types, for unknown fields.
fn type_of(path: &str) -> &'static str {
    for (part, name) in [
        ("relabel_configs", "relabel.plain"),
        ("file_sd_configs", "file.plain"),
        (
            "static_configs",
            "struct { Targets []string; Labels model.LabelSet }",
        ),
        ("tls_config", "config.TLSConfig"),
        ("basic_auth", "config.BasicAuth"),
        ("authorization", "config.Authorization"),
        ("alertmanagers", "config.AlertmanagerConfig"),
    ] {
        if path.contains(part) {
            return name;
        }
    }
    "config.plain"
}

/// The file as far as it is about rules and alerts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sections {
    rule_files: Option<Vec<String>>,
    alerting: Option<Alerting>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Alerting {
    alert_relabel_configs: Option<Vec<Option<RelabelConfig>>>,
    alertmanagers: Option<Vec<Option<AlertmanagerFields>>>,
}

/// Defines the keys of an Alertmanager section with the discoveries that are parsed and not acted upon.
macro_rules! alertmanager_fields {
    ($($discovery:ident)*) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct AlertmanagerFields {
            scheme: Option<String>,
            path_prefix: Option<String>,
            timeout: Option<YamlDuration>,
            api_version: Option<String>,
            relabel_configs: Option<Vec<Option<RelabelConfig>>>,
            alert_relabel_configs: Option<Vec<Option<RelabelConfig>>>,
            static_configs: Option<Vec<Option<TargetGroup>>>,
            file_sd_configs: Option<Vec<Option<FileFields>>>,
            basic_auth: Option<BasicAuth>,
            authorization: Option<Authorization>,
            oauth2: Option<serde_yaml_ng::Value>,
            sigv4: Option<IgnoredAny>,
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
            $($discovery: Option<IgnoredAny>,)*
        }

        impl AlertmanagerFields {
            /// Discoveries that are there and not acted upon.
            fn foreign(&self) -> Vec<String> {
                let all = [$((stringify!($discovery), self.$discovery.is_some()),)*];
                all.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| (*name).to_owned()).collect()
            }
        }
    };
}

alertmanager_fields! {
    aws_sd_configs azure_sd_configs consul_sd_configs digitalocean_sd_configs dns_sd_configs docker_sd_configs
    dockerswarm_sd_configs ec2_sd_configs ecs_sd_configs eureka_sd_configs gce_sd_configs hetzner_sd_configs http_sd_configs
    ionos_sd_configs kubernetes_sd_configs kuma_sd_configs lightsail_sd_configs linode_sd_configs marathon_sd_configs
    nerve_sd_configs nomad_sd_configs openstack_sd_configs ovhcloud_sd_configs puppetdb_sd_configs scaleway_sd_configs
    serverset_sd_configs stackit_sd_configs triton_sd_configs uyuni_sd_configs vultr_sd_configs
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileFields {
    files: Vec<String>,
    refresh_interval: Option<YamlDuration>,
}

/// The entries of a list, none of which may be null.
fn present<T>(list: Option<Vec<Option<T>>>, fault: &str) -> Result<Vec<T>, String> {
    let entries = list.unwrap_or_default().into_iter();
    entries
        .map(|entry| entry.ok_or_else(|| fault.to_owned()))
        .collect()
}

impl AlertmanagerFields {
    fn resolve(self, base_dir: &Path) -> Result<AlertmanagerConfig, String> {
        if let Some(other) = self
            .api_version
            .as_deref()
            .filter(|version| *version != "v2")
        {
            return Err(format!(
                "expected Alertmanager api version to be one of [v2] but got {other}"
            ));
        }
        let mut without_effect = self.foreign();
        if self.sigv4.is_some() {
            if self.basic_auth.is_some() || self.authorization.is_some() || self.oauth2.is_some() {
                return Err(
                    "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured"
                        .to_owned(),
                );
            }
            without_effect.push("sigv4".to_owned());
        }
        let http = HttpClientFields {
            basic_auth: self.basic_auth,
            authorization: self.authorization,
            oauth2: self.oauth2,
            bearer_token: self.bearer_token,
            bearer_token_file: self.bearer_token_file,
            tls_config: self.tls_config,
            follow_redirects: self.follow_redirects,
            enable_http2: self.enable_http2,
            proxy_url: self.proxy_url,
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header,
            http_headers: self.http_headers,
        };
        let http = http.resolve(base_dir)?;
        if http.oauth2.is_some() {
            without_effect.push("oauth2".to_owned());
        }
        let relabel_configs = present(
            self.relabel_configs,
            "empty or null Alertmanager target relabeling rule",
        )?;
        let static_configs = present(
            self.static_configs,
            "empty or null section in static_configs",
        )?;
        // Relabelling may make an address out of anything.
        if relabel_configs.is_empty() {
            let mut addresses = static_configs.iter().flat_map(|group| &group.targets);
            addresses.try_for_each(|a| check_address(a))?;
        }
        let mut file_sd_configs = Vec::new();
        for discovery in present(
            self.file_sd_configs,
            "empty or null section in file_sd_configs",
        )? {
            if discovery.files.is_empty() {
                return Err(
                    "file service discovery config must contain at least one path name".to_owned(),
                );
            }
            let bad = discovery.files.iter().find(|name| !is_discovery_path(name));
            if let Some(name) = bad {
                return Err(format!(
                    "path name {} is not valid for file discovery",
                    quote(name)
                ));
            }
            file_sd_configs.push(FileDiscovery {
                files: discovery.files.iter().map(|f| base_dir.join(f)).collect(),
                refresh_interval: discovery.refresh_interval.map_or(FILE_REFRESH, |d| d.0),
            });
        }
        Ok(AlertmanagerConfig {
            scheme: self.scheme.unwrap_or_else(|| "http".to_owned()),
            path_prefix: self.path_prefix.unwrap_or_default(),
            timeout: self.timeout.map_or(Duration::from_secs(10), |d| d.0),
            static_configs,
            file_sd_configs,
            relabel_configs,
            alert_relabel_configs: present(
                self.alert_relabel_configs,
                "empty or null Alertmanager alert relabeling rule",
            )?,
            http,
            without_effect,
        })
    }
}

/// A file of a known kind, with a `*` only in its name.
fn is_discovery_path(pattern: &str) -> bool {
    let kinds = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    kinds.iter().any(|kind| pattern.ends_with(kind)) && is_rule_path(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AlertingConfig, String> {
        AlertingConfig::parse(text, Path::new("/etc/prometheus"))
    }

    #[test]
    fn sections_are_read_and_paths_are_relative_to_the_file() {
        let config = parse(
            "rule_files: ['rules/*.yml', /abs.yml]\nglobal: {anything: 1}\nalerting:\n  alert_relabel_configs: [{action: labeldrop, regex: replica}]\n  alertmanagers:\n  - scheme: https\n    path_prefix: /am\n    timeout: 3s\n    api_version: v2\n    basic_auth: {username: u, password: 1}\n    static_configs: [{targets: ['am:9093'], labels: {zone: 1}}]\n    file_sd_configs: [{files: [am.json]}]\n    dns_sd_configs: [{names: [x]}]\n  - {}\n",
        )
        .unwrap();
        assert_eq!(
            config.rule_files,
            [
                Path::new("/etc/prometheus/rules/*.yml"),
                Path::new("/abs.yml")
            ]
        );
        let first = &config.alertmanagers[0];
        assert_eq!(
            (first.scheme.as_str(), first.path_prefix.as_str()),
            ("https", "/am")
        );
        assert_eq!(first.timeout, Duration::from_secs(3));
        assert_eq!(first.static_configs[0].labels["zone"], "1");
        assert_eq!(
            first.file_sd_configs[0].files,
            [Path::new("/etc/prometheus/am.json")]
        );
        assert_eq!(
            config.warnings(),
            ["alertmanager config: dns_sd_configs is not acted upon by this version"]
        );
        assert_eq!(config.alertmanagers[1].timeout, Duration::from_secs(10));
        assert_eq!(parse("").unwrap(), AlertingConfig::default());
    }

    #[test]
    fn faults_name_what_is_wrong() {
        for (text, expected) in [
            (
                "rule_files: ['a*/b.yml']",
                "invalid rule file path \"a*/b.yml\"",
            ),
            (
                "alerting: {alertmanager: []}",
                "yaml: unmarshal errors: line 1: field alertmanager not found in type config.plain",
            ),
            (
                "alerting: {alertmanagers: [{static_configs: [{targets: ['http://am']}]}]}",
                "\"http://am\" is not a valid hostname",
            ),
            (
                "alerting: {alertmanagers: [{file_sd_configs: [{files: [a.txt]}]}]}",
                "path name \"a.txt\" is not valid for file discovery",
            ),
            (
                "alerting: {alert_relabel_configs: [null]}",
                "empty or null alert relabeling rule",
            ),
            (
                "alerting: {alertmanagers: [{api_version: v1}]}",
                "expected Alertmanager api version to be one of [v2] but got v1",
            ),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}
