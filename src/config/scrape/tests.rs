use super::*;
use crate::config::PrometheusConfig;

fn parse(jobs: &str) -> Result<PrometheusConfig, String> {
    PrometheusConfig::parse(&format!(
        "global: {{scrape_interval: 30s, sample_limit: 7}}\nscrape_configs:\n{jobs}"
    ))
}

fn job(yaml: &str) -> ScrapeConfig {
    let config = parse(yaml).unwrap();
    ScrapeConfig::clone(&config.scrape_configs[0])
}

#[test]
fn what_a_job_leaves_out_comes_from_the_global_section() {
    let config = job("- job_name: a\n  body_size_limit: 10MB\n  params: {debug: [1]}\n");
    assert_eq!(config.scrape_interval, Duration::from_secs(30));
    assert_eq!(config.scrape_timeout, Duration::from_secs(10));
    assert_eq!(
        (config.limits.samples, config.limits.body_size_bytes),
        (7, 10 << 20)
    );
    assert_eq!(config.params["debug"], ["1"]);
    assert!(config.honor_timestamps && !config.honor_labels && config.enable_compression);
    assert_eq!(config.metrics_path, "/metrics");
    assert_eq!(config.scrape_protocols, ScrapeProtocol::DEFAULT);
    let short = job("- {job_name: a, scrape_interval: 5s}\n");
    assert_eq!(short.scrape_timeout, Duration::from_secs(5));
    let native = job("- {job_name: a, scrape_native_histograms: true}\n");
    assert_eq!(native.scrape_protocols[0], ScrapeProtocol::PrometheusProto);
}

#[test]
fn targets_and_files_are_read() {
    let config = job(
        "- job_name: a\n  static_configs: [{targets: ['h:1'], labels: {n: 1, e: ''}}, {targets: []}]\n  file_sd_configs: [{files: [x/*.json, /y.yml], refresh_interval: 1m}]\n  kubernetes_sd_configs: [{role: pod}]\n",
    );
    assert_eq!(config.static_configs[0].targets, ["h:1"]);
    assert_eq!(config.static_configs[0].labels["n"], "1");
    assert_eq!(
        config.file_sd_configs,
        [FileDiscovery {
            files: vec!["x/*.json".into(), "/y.yml".into()],
            refresh_interval: Duration::from_secs(60),
        }]
    );
    assert_eq!(config.without_effect(), ["kubernetes_sd_configs"]);
}

#[test]
fn faults_are_named_in_one_line() {
    for (yaml, fault) in [
        (
            "- {job_nam: a}",
            "field job_nam not found in type config.ScrapeConfig",
        ),
        ("- {scheme: http}", "job_name is empty"),
        ("-", "empty or null scrape config section"),
        (
            "- {job_name: a}\n- {job_name: a}",
            "found multiple scrape configs with job name \"a\"",
        ),
        (
            "- {job_name: a, scrape_timeout: 40s}",
            "scrape timeout greater than scrape interval for scrape config with job name \"a\"",
        ),
        (
            "- {job_name: a, scrape_interval: 5}",
            "not a valid duration string: \"5\"",
        ),
        (
            "- {job_name: a, scrape_protocols: []}",
            "scrape_protocols cannot be empty for scrape config with job name \"a\"",
        ),
        (
            "- {job_name: a, scrape_protocols: [x]}",
            "unknown scrape protocol x, supported: [OpenMetricsText0.0.1",
        ),
        (
            "- {job_name: a, fallback_scrape_protocol: x}",
            "invalid fallback_scrape_protocol",
        ),
        (
            "- {job_name: a, static_configs: [{targets: ['http://x/']}]}",
            "\"http://x/\" is not a valid hostname",
        ),
        (
            "- {job_name: a, static_configs: [{target: []}]}",
            "line 3: field target not found",
        ),
        (
            "- {job_name: a, file_sd_configs: [{files: [a.txt]}]}",
            "path name \"a.txt\" is not valid for file discovery",
        ),
        (
            "- {job_name: a, file_sd_configs: [{files: [x*/a.json]}]}",
            "is not valid for file discovery",
        ),
        (
            "- {job_name: a, file_sd_configs: [{}]}",
            "must contain at least one path name",
        ),
        (
            "- {job_name: a, file_sd_configs: [null]}",
            "empty or null section in file_sd_configs",
        ),
        (
            "- {job_name: a, relabel_configs: [{colour: red}]}",
            "line 3: field colour not found in type relabel.plain",
        ),
        (
            "- {job_name: a, relabel_configs: [null]}",
            "empty or null target relabeling rule in scrape config",
        ),
        (
            "- {job_name: a, metric_name_validation_scheme: legacy, relabel_configs: [{target_label: a.b}]}",
            "is invalid 'target_label'",
        ),
        (
            "- {job_name: a, metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}",
            "utf8 metric names requested",
        ),
        (
            "- {job_name: a, basic_auth: {user: x}}",
            "field user not found in type config.plain",
        ),
        ("- {job_name: a, sample_limit: -1}", "sample_limit"),
    ] {
        let error = parse(yaml).unwrap_err();
        assert!(error.contains(fault), "{yaml}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn jobs_in_other_files_count_and_begin_in_their_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let main = write(
        "prometheus.yml",
        "scrape_config_files: [jobs/*.yml]\nscrape_configs: [{job_name: a, file_sd_configs: [{files: [t.json]}]}]\n",
    );
    let other = "scrape_configs: [{job_name: b, file_sd_configs: [{files: [t.json]}]}]\n";
    write("jobs/b.yml", other);
    let config = PrometheusConfig::load(&main).unwrap();
    assert_eq!(config.base_dir, folder.path());
    let files: Vec<_> = config
        .scrape_configs
        .iter()
        .map(|job| job.file_sd_configs[0].files[0].clone())
        .collect();
    assert_eq!(
        files,
        [
            folder.path().join("t.json"),
            folder.path().join("jobs/t.json")
        ]
    );
    assert!(!config.to_yaml().contains("job_name: b"));
    write("jobs/c.yml", other);
    let error = PrometheusConfig::load(&main).unwrap_err();
    assert!(
        error.contains("c.yml") && error.contains("found multiple"),
        "{error}"
    );
}

#[test]
fn the_configuration_prints_as_upstream_prints_it() {
    let config = parse(
        "- job_name: a\n  sample_limit: 9\n  static_configs: [{targets: ['h:1'], labels: {n: 1}}]\n  relabel_configs: [{source_labels: [x], target_label: y}]\n",
    )
    .unwrap();
    let text = config.to_yaml();
    let expected = "\
global:
  scrape_interval: 30s
  scrape_timeout: 10s
  evaluation_interval: 1m
  sample_limit: 7
  metric_name_validation_scheme: utf8
  scrape_native_histograms: false
  extra_scrape_metrics: false
scrape_configs:
- job_name: a
  honor_timestamps: true
  track_timestamps_staleness: false
  scrape_interval: 30s
  scrape_timeout: 10s
  scrape_protocols:
  - OpenMetricsText1.0.0
  - OpenMetricsText0.0.1
  - PrometheusText1.0.0
  - PrometheusText0.0.4
  scrape_native_histograms: false
  always_scrape_classic_histograms: false
  convert_classic_histograms_to_nhcb: false
  metrics_path: /metrics
  scheme: http
  enable_compression: true
  sample_limit: 9
  metric_name_validation_scheme: utf8
  metric_name_escaping_scheme: allow-utf-8
  extra_scrape_metrics: false
  follow_redirects: true
  enable_http2: true
  relabel_configs:
  - source_labels: [x]
    separator: ;
    target_label: \"y\"
    replacement: $1
    action: replace
  static_configs:
  - targets:
    - h:1
    labels:
      \"n\": \"1\"
";
    assert_eq!(text, expected);
    // What is printed can be read again and means the same.
    let again = PrometheusConfig::parse(&text).unwrap();
    assert_eq!(again.scrape_configs, config.scrape_configs);
    assert_eq!(again.global, config.global);
}
