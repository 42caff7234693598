//! The only place a setting is declared: flag, environment variable, default, meaning.
//!
//! Each flag `--a.b-c` has an environment variable `TRILOBITE_A_B_C`; the flag wins.

pub mod alerting;
pub mod document;
mod fault;
mod glob;
mod http_client;
mod otlp;
mod prometheus_yml;
pub mod rule_file;
mod scrape;
mod units;
mod yaml;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use regex::Regex;
use storage::model::compile_anchored;

pub use alerting::{AlertingConfig, AlertmanagerConfig};
pub use glob::glob;
pub use http_client::{
    Authorization, BasicAuth, HeaderValues, HttpClientConfig, HttpClientFields, TlsConfig,
    TlsVersion,
};
pub use otlp::{OtlpConfig, Promotion, TranslationStrategy};
pub use prometheus_yml::{GlobalConfig, PrometheusConfig};
pub use scrape::{
    EscapingScheme, FileDiscovery, NameScheme, ScrapeConfig, ScrapeDefaults, ScrapeLimits,
    ScrapeProtocol, TargetGroup, check_address,
};
pub use units::{format_bytes, format_duration, parse_bytes, parse_duration};
pub use yaml::{Yaml, YamlMap};

/// A duration flag; `None` where the text is `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    /// `None` for zero, which means "for ever" or "no limit" where a flag says so.
    #[must_use]
    pub fn unless_zero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

fn span(text: &str) -> Result<Span, String> {
    parse_duration(text).map(Span)
}

/// Shown below the flags.
const SUB_COMMANDS: &str = "Sub-commands (each has its own --help):
  check config FILE...  check configuration files and the rule files they name
  check rules FILE...   check rule files
  test rules FILE...    run unit tests of rules";

/// Settings from the command line and the environment.
#[derive(Clone, Debug, Parser)]
#[command(name = "trilobite", version, about = "Stands in for Prometheus, Loki and Jaeger in one process.", long_about = None, args_override_self = true, max_term_width = 110, after_help = SUB_COMMANDS)]
pub struct Config {
    /// Addresses.
    #[command(flatten)]
    pub listen: Listen,

    /// A Prometheus configuration file
    #[arg(long = "config.file", value_name = "FILE")]
    pub config_file: Option<PathBuf>,

    /// Scrape this process itself (job trilobite) when no configuration file is given
    #[arg(long = "scrape.self", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub scrape_self: bool,

    /// Folder of write-ahead log, head and local blocks or the cache of remote ones
    #[arg(
        long = "storage.path",
        alias = "storage.tsdb.path",
        default_value = "./data",
        value_name = "DIR"
    )]
    pub storage_path: PathBuf,

    /// Object store for blocks: s3://bucket/prefix, gs://…, az://… (usual environment variables); local disk when empty
    #[arg(long = "storage.bucket", value_name = "URL")]
    pub storage_bucket: Option<String>,

    /// Take over the bucket's blocks from the storage folder of this name, whose disk is lost; a start that is refused tells the name
    #[arg(long = "storage.bucket-take-over", value_name = "OWNER")]
    pub storage_bucket_take_over: Option<String>,

    /// Most local disk that keeps what lies in the bucket
    #[arg(long = "storage.cache-size", default_value = "5GiB", value_parser = parse_bytes, value_name = "BYTES")]
    pub cache_bytes: u64,

    /// How long samples are kept; 0: for ever
    #[arg(long = "retention.metrics", alias = "storage.tsdb.retention.time", default_value = "30d", value_parser = span, value_name = "DURATION")]
    pub retention_metrics: Span,

    /// How long log entries are kept; 0: for ever
    #[arg(long = "retention.logs", default_value = "31d", value_parser = span, value_name = "DURATION")]
    pub retention_logs: Span,

    /// How long spans are kept; 0: for ever
    #[arg(long = "retention.traces", default_value = "7d", value_parser = span, value_name = "DURATION")]
    pub retention_traces: Span,

    /// Bytes that all blocks may take together; the oldest go first; 0: no limit
    #[arg(long = "retention.size", alias = "storage.tsdb.retention.size", default_value = "0", value_parser = parse_bytes, value_name = "BYTES")]
    pub retention_bytes: u64,

    /// How far behind the newest of its series or stream a write may lie; the retention when absent, 0 refuses late samples
    #[arg(long = "storage.out-of-order-window", value_parser = span, value_name = "DURATION")]
    pub out_of_order_window: Option<Span>,

    /// Longest time between an acknowledged write and its fsync; 0 syncs before each answer
    #[arg(long = "storage.wal.sync-interval", default_value = "100ms", value_parser = span, value_name = "DURATION")]
    pub wal_sync_interval: Span,

    /// Free disk below which writes are refused with 503
    #[arg(long = "storage.min-free", default_value = "1GiB", value_parser = parse_bytes, value_name = "BYTES")]
    pub min_free_bytes: u64,

    /// Memory that the process stays within, shared by heads, caches, queries and compaction; 60 % of the machine or cgroup when absent
    #[arg(long = "memory.limit", value_parser = parse_bytes, value_name = "BYTES")]
    pub memory_limit: Option<u64>,

    /// Largest request once inflated; larger ones are refused before they are inflated
    #[arg(long = "limits.max-body-bytes", default_value = "32MiB", value_parser = parse_bytes, value_name = "BYTES")]
    pub max_body_bytes: u64,

    /// Require the header X-Scope-OrgID and keep tenants apart
    #[arg(long = "multitenancy", default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub multitenancy: bool,

    /// Features by Prometheus's names, separated by commas, e.g. promql-experimental-functions
    #[arg(long = "enable-feature", value_delimiter = ',', value_name = "NAMES")]
    pub features: Vec<String>,

    /// Offer POST /-/flush, POST /-/compact and Prometheus's admin API
    #[arg(long = "web.enable-admin-api", default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_admin_api: bool,

    /// Offer POST /-/reload (SIGHUP always reloads) and POST /-/quit
    #[arg(long = "web.enable-lifecycle", default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub enable_lifecycle: bool,

    /// Taken so that a Prometheus command line works: the receiver is always on
    #[arg(long = "web.enable-remote-write-receiver", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    pub enable_remote_write_receiver: bool,

    /// Taken so that a Prometheus command line works: the receiver is always on
    #[arg(long = "web.enable-otlp-receiver", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    pub enable_otlp_receiver: bool,

    /// Longest time a PromQL query may take
    #[arg(long = "query.timeout", default_value = "2m", value_parser = span, value_name = "DURATION")]
    pub query_timeout: Span,

    /// Most samples a PromQL query may hold in memory
    #[arg(
        long = "query.max-samples",
        default_value_t = 50_000_000,
        value_name = "N"
    )]
    pub query_max_samples: usize,

    /// Most queries that run at once
    #[arg(long = "query.max-concurrency", default_value_t = 20, value_name = "N")]
    pub query_max_concurrency: usize,

    /// How far back a selector looks for a sample
    #[arg(long = "query.lookback-delta", default_value = "5m", value_parser = span, value_name = "DURATION")]
    pub query_lookback_delta: Span,

    /// 2: range bounds as Prometheus 2.45 had them; a request's header X-Trilobite-Compat-Prometheus wins
    #[arg(long = "compat.prometheus", default_value = "3", value_parser = ["2", "3"], value_name = "VERSION")]
    pub compat_prometheus: String,

    /// Largest correction of clock skew between hosts in a trace; 0: none
    #[arg(long = "jaeger.max-clock-skew-adjustment", default_value = "0s", value_parser = span, value_name = "DURATION")]
    pub jaeger_max_clock_skew_adjustment: Span,

    /// Most spans of a trace that are answered; 0: all
    #[arg(long = "jaeger.max-trace-size", default_value_t = 0, value_name = "N")]
    pub jaeger_max_trace_size: usize,

    /// Keep an archive: POST /api/archive/{id} keeps a trace for ever
    #[arg(long = "jaeger.archive", default_value = "false", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub jaeger_archive: bool,

    /// File of sampling strategies for Jaeger's remote sampling
    #[arg(long = "jaeger.sampling-file", value_name = "FILE")]
    pub jaeger_sampling_file: Option<PathBuf>,

    /// Where others reach this server, for links in alerts; the host's name and the web port when absent
    #[arg(long = "web.external-url", value_name = "URL")]
    pub web_external_url: Option<String>,

    /// Path under which the web port serves Prometheus's API; that of --web.external-url when absent
    #[arg(long = "web.route-prefix", value_name = "PATH")]
    pub web_route_prefix: Option<String>,

    /// Origins from which a browser may call Prometheus's API: a regular expression for the whole origin
    #[arg(long = "web.cors.origin", default_value = ".*", value_parser = compile_anchored, value_name = "REGEX")]
    pub web_cors_origin: Regex,

    /// Rules and alerts.
    #[command(flatten)]
    pub rules: RuleFlags,

    /// error, warn, info, debug or trace
    #[arg(long = "log.level", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,

    /// logfmt or json
    #[arg(long = "log.format", default_value = "logfmt", value_parser = ["logfmt", "json"], value_name = "FORMAT")]
    pub log_format: String,

    /// Where a test wants this process to end at once, as with kill -9: a name, or NAME=N for the N-th time. An unknown name is
    /// answered with all that there are
    #[arg(long = "fail-point", hide = true, value_name = "NAME")]
    pub fail_point: Option<storage::FailAt>,
}

/// Where to listen. An empty value turns a listener off.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Listeners (an empty address turns one off)")]
pub struct Listen {
    /// Every HTTP API at once: Prometheus, Loki, Jaeger, OTLP, Zipkin, Thrift, health, metrics
    #[arg(
        long = "web.listen-address",
        default_value = "0.0.0.0:9090",
        value_name = "ADDRESS"
    )]
    pub web: String,
    /// Loki's API, as Loki's own port answers
    #[arg(
        long = "loki.listen-address",
        default_value = "0.0.0.0:3100",
        value_name = "ADDRESS"
    )]
    pub loki: String,
    /// Jaeger's query API over HTTP
    #[arg(
        long = "jaeger.listen-address",
        default_value = "0.0.0.0:16686",
        value_name = "ADDRESS"
    )]
    pub jaeger: String,
    /// Jaeger's query API over gRPC
    #[arg(
        long = "jaeger.grpc-listen-address",
        default_value = "0.0.0.0:16685",
        value_name = "ADDRESS"
    )]
    pub jaeger_grpc: String,
    /// OTLP over gRPC
    #[arg(
        long = "otlp.grpc-listen-address",
        default_value = "0.0.0.0:4317",
        value_name = "ADDRESS"
    )]
    pub otlp_grpc: String,
    /// OTLP over HTTP
    #[arg(
        long = "otlp.http-listen-address",
        default_value = "0.0.0.0:4318",
        value_name = "ADDRESS"
    )]
    pub otlp_http: String,
    /// Jaeger Thrift over HTTP
    #[arg(
        long = "jaeger.collector-listen-address",
        default_value = "0.0.0.0:14268",
        value_name = "ADDRESS"
    )]
    pub jaeger_collector: String,
    /// Jaeger spans over gRPC
    #[arg(
        long = "jaeger.collector-grpc-listen-address",
        default_value = "0.0.0.0:14250",
        value_name = "ADDRESS"
    )]
    pub jaeger_collector_grpc: String,
    /// Jaeger agent, compact Thrift over UDP
    #[arg(
        long = "jaeger.agent-compact-listen-address",
        default_value = "0.0.0.0:6831",
        value_name = "ADDRESS"
    )]
    pub jaeger_agent_compact: String,
    /// Jaeger agent, binary Thrift over UDP
    #[arg(
        long = "jaeger.agent-binary-listen-address",
        default_value = "0.0.0.0:6832",
        value_name = "ADDRESS"
    )]
    pub jaeger_agent_binary: String,
    /// Jaeger's remote sampling
    #[arg(
        long = "jaeger.sampling-listen-address",
        default_value = "0.0.0.0:5778",
        value_name = "ADDRESS"
    )]
    pub jaeger_sampling: String,
    /// Zipkin v1 and v2
    #[arg(
        long = "zipkin.listen-address",
        default_value = "0.0.0.0:9411",
        value_name = "ADDRESS"
    )]
    pub zipkin: String,
    /// Listen on the upstreams' own ports; false leaves the web port and those that are set explicitly
    #[arg(long = "upstream-ports", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub upstream_ports: bool,
}

/// Rules and alerts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rules and alerts")]
pub struct RuleFlags {
    /// Longest outage after which alerts still know since when they are pending
    #[arg(long = "rules.alert.for-outage-tolerance", default_value = "1h", value_parser = span, value_name = "DURATION")]
    pub for_outage_tolerance: Span,

    /// Shortest time between a restart and an alert that was pending before it
    #[arg(long = "rules.alert.for-grace-period", default_value = "10m", value_parser = span, value_name = "DURATION")]
    pub for_grace_period: Span,

    /// Shortest time until an alert that goes on is sent again
    #[arg(long = "rules.alert.resend-delay", default_value = "1m", value_parser = span, value_name = "DURATION")]
    pub resend_delay: Span,

    /// Taken so that a Prometheus command line works: the rules of a group are evaluated one after the other
    #[arg(
        long = "rules.max-concurrent-evals",
        default_value_t = 4,
        value_name = "N",
        hide = true
    )]
    pub max_concurrent_evals: u64,

    /// Most alerts that wait to be sent to an Alertmanager
    #[arg(
        long = "alertmanager.notification-queue-capacity",
        default_value_t = 10_000,
        value_name = "N"
    )]
    pub notification_queue_capacity: usize,

    /// Most alerts of one request to an Alertmanager
    #[arg(
        long = "alertmanager.notification-batch-size",
        default_value_t = 256,
        value_name = "N"
    )]
    pub notification_batch_size: usize,

    /// Send the alerts that wait when the server stops
    #[arg(long = "alertmanager.drain-notification-queue-on-shutdown", default_value = "true", num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub drain_notification_queue: bool,
}

/// Features by Prometheus's names that have a meaning here.
pub const KNOWN_FEATURES: &[&str] = &[
    "promql-experimental-functions",
    "promql-duration-expr",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "promql-per-step-stats",
    "promql-at-modifier",
    "promql-negative-offset",
    "exemplar-storage",
    "extra-scrape-metrics",
    "native-histograms",
    "type-and-unit-labels",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "st-storage",
    "use-start-timestamps",
    "created-timestamp-zero-ingestion",
];

impl Config {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// Wrong usage, or the request for help; [`clap::Error::exit`] ends the process with the right code.
    pub fn from_args<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let command = Self::command().mut_args(|arg| match arg.get_long() {
            Some(long) if long != "help" && long != "version" => {
                let name = format!("TRILOBITE_{}", long.to_uppercase().replace(['.', '-'], "_"));
                // Once per flag and process.
                arg.env(&*Box::leak(name.into_boxed_str()))
                    .hide_env_values(true)
            }
            _ => arg,
        });
        let matches = command.try_get_matches_from(args)?;
        let mut config = Self::from_arg_matches(&matches)?;
        if !config.listen.upstream_ports {
            let set = |id: &str| {
                matches
                    .value_source(id)
                    .is_some_and(|s| s != clap::parser::ValueSource::DefaultValue)
            };
            config.listen.keep_only(set);
        }
        Ok(config)
    }

    /// Whether a feature is switched on.
    #[must_use]
    pub fn feature(&self, name: &str) -> bool {
        self.features.iter().any(|f| f == name)
    }

    /// Reads the configuration file; without one, an empty configuration.
    ///
    /// # Errors
    /// The file's fault in one line that names flag, file and line.
    pub fn load_file(&self) -> Result<PrometheusConfig, String> {
        match &self.config_file {
            None => Ok(PrometheusConfig::default()),
            Some(path) => {
                let load = || {
                    let mut file = PrometheusConfig::load(path)?;
                    let options = crate::query::parse_options(self);
                    file.rules = rule_file::load_all(&file.alerting.rule_files, &options)?;
                    Ok(file)
                };
                load().map_err(|e: String| format!("--config.file={}: {e}", path.display()))
            }
        }
    }

    /// The path under which Prometheus's API is served: `/`, or one without a slash at the end.
    #[must_use]
    pub fn route_prefix(&self) -> String {
        let of_url = || {
            let url: Option<http::Uri> = self.web_external_url.as_ref()?.parse().ok();
            Some(url?.path().to_owned())
        };
        let prefix = self.web_route_prefix.clone().filter(|p| !p.is_empty());
        let prefix = prefix.or_else(of_url).unwrap_or_default();
        format!("/{}", prefix.trim_matches('/'))
    }

    /// Where this server is reached, without a slash at the end. `web_address` is the web port as bound.
    #[must_use]
    pub fn external_url(&self, web_address: &str) -> String {
        if let Some(url) = self
            .web_external_url
            .as_deref()
            .filter(|url| !url.is_empty())
        {
            return url.trim_end_matches('/').to_owned();
        }
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = match hostname.trim() {
            "" => "localhost",
            hostname => hostname,
        };
        let port = web_address
            .rsplit_once(':')
            .map_or("9090", |(_, port)| port);
        format!("http://{hostname}:{port}")
    }

    /// The settings of storage. The window of the file counts where the flag is absent.
    #[must_use]
    pub fn storage_options(&self, file: &PrometheusConfig) -> storage::Options {
        let mut options = storage::Options::new(&self.storage_path);
        options.bucket = self.storage_bucket.clone().filter(|b| !b.is_empty());
        options.bucket_take_over = self
            .storage_bucket_take_over
            .clone()
            .filter(|owner| !owner.is_empty());
        options.cache_bytes = self.cache_bytes;
        options.metrics_retention = self.retention_metrics.unless_zero();
        options.logs_retention = self.retention_logs.unless_zero();
        options.traces_retention = self.retention_traces.unless_zero();
        options.retention_bytes = (self.retention_bytes > 0).then_some(self.retention_bytes);
        options.out_of_order_window = self
            .out_of_order_window
            .map(|s| s.0)
            .or(file.out_of_order_window);
        options.wal_sync_interval = self.wal_sync_interval.0;
        options.min_free_bytes = self.min_free_bytes;
        options.memory_limit_bytes = self
            .memory_limit
            .unwrap_or_else(units::default_memory_limit);
        options.fail_at = self.fail_point;
        options
    }
}

impl Listen {
    fn keep_only(&mut self, set: impl Fn(&str) -> bool) {
        for (id, address) in [
            ("loki", &mut self.loki),
            ("jaeger", &mut self.jaeger),
            ("jaeger_grpc", &mut self.jaeger_grpc),
            ("otlp_grpc", &mut self.otlp_grpc),
            ("otlp_http", &mut self.otlp_http),
            ("jaeger_collector", &mut self.jaeger_collector),
            ("jaeger_collector_grpc", &mut self.jaeger_collector_grpc),
            ("jaeger_agent_compact", &mut self.jaeger_agent_compact),
            ("jaeger_agent_binary", &mut self.jaeger_agent_binary),
            ("jaeger_sampling", &mut self.jaeger_sampling),
            ("zipkin", &mut self.zipkin),
        ] {
            if !set(id) {
                address.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Config {
        Config::from_args(std::iter::once("trilobite").chain(args.iter().copied())).unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_the_upstreams() {
        let config = parse(&[]);
        assert_eq!(config.listen.web, "0.0.0.0:9090");
        assert_eq!(config.listen.loki, "0.0.0.0:3100");
        assert_eq!(config.retention_traces.0, Duration::from_secs(7 * 86_400));
        assert!(config.scrape_self && !config.multitenancy);
    }

    #[test]
    fn one_port_is_enough_but_explicit_ones_stay() {
        let config = parse(&[
            "--upstream-ports=false",
            "--loki.listen-address=127.0.0.1:1",
        ]);
        assert_eq!(config.listen.loki, "127.0.0.1:1");
        assert_eq!(config.listen.jaeger, "");
        assert_eq!(config.listen.web, "0.0.0.0:9090");
    }

    #[test]
    fn a_prometheus_command_line_works() {
        let config = parse(&[
            "--storage.tsdb.path=/tmp/x",
            "--storage.tsdb.retention.time=15d",
            "--web.enable-lifecycle",
            "--web.enable-remote-write-receiver",
            "--enable-feature=a,b",
        ]);
        assert_eq!(config.storage_path, PathBuf::from("/tmp/x"));
        assert_eq!(config.retention_metrics.0, Duration::from_secs(15 * 86_400));
        assert_eq!(config.features, ["a", "b"]);
    }

    #[test]
    fn wrong_usage_is_refused() {
        for args in [
            ["--no.such.flag"],
            ["--retention.logs=never"],
            ["--memory.limit=-1"],
            ["--fail-point=nowhere"],
        ] {
            let args = std::iter::once("trilobite").chain(args);
            assert_eq!(Config::from_args(args).unwrap_err().exit_code(), 2);
        }
    }
}
