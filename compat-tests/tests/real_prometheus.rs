//! A genuine Prometheus scrapes, writes to Trilobite, and both answer the same queries alike.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use compat_tests::case::Case;
use compat_tests::compare::{Answer, difference};
use compat_tests::http::Client;
use compat_tests::process::{Process, on_path};
use compat_tests::server::{Options, Server, free_address};
use serde_json::{Value, json};

fn start(name: &str, args: &[String], folder: &Path) -> Process {
    let mut command = Command::new(name);
    command.args(args).current_dir(folder);
    Process::start(&mut command).unwrap()
}

/// The first value of an instant query.
async fn value(base: &str, query: &str) -> Option<f64> {
    let url = format!("{base}/api/v1/query?query={query}");
    let answer = Client::new().get(&url).await.ok()?;
    let json: Value = serde_json::from_slice(&answer.body).ok()?;
    json.pointer("/data/result/0/value/1")?
        .as_str()?
        .parse()
        .ok()
}

async fn until(what: &str, base: &str, query: &str, good: impl Fn(f64) -> bool) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(x) = value(base, query).await
            && good(x)
        {
            return x;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const QUERIES: [&str; 10] = [
    "up",
    "count by (job) (up)",
    "sum by (job) (scrape_samples_scraped)",
    "rate(process_cpu_seconds_total[8s])",
    "avg_over_time(go_goroutines[8s])",
    "max_over_time(process_resident_memory_bytes[8s])",
    "sum without (instance) (rate(go_memstats_alloc_bytes_total[8s]))",
    "count({__name__=~\"go_.+\"})",
    "quantile_over_time(0.5, go_memstats_heap_inuse_bytes[8s]) / on (instance, job) process_resident_memory_bytes",
    "label_replace(process_start_time_seconds, \"host\", \"$1\", \"instance\", \"(.*):.*\")",
];

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_and_trilobite_answer_alike() {
    if !on_path("prometheus") {
        println!("skipped: no prometheus on PATH");
        return;
    }
    let server = Server::start(&Options::common()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = free_address().unwrap();
    let mut jobs =
        format!("- {{job_name: prometheus, static_configs: [{{targets: ['{address}']}}]}}\n");
    let exporter = ["prometheus-node-exporter", "node_exporter"]
        .into_iter()
        .find(|n| on_path(n));
    let _exporter = exporter.map(|name| {
        let address = free_address().unwrap();
        jobs += &format!("- {{job_name: node, static_configs: [{{targets: ['{address}']}}]}}\n");
        start(
            name,
            &[format!("--web.listen-address={address}")],
            folder.path(),
        )
    });
    if exporter.is_none() {
        println!("skipped: no node exporter; prometheus scrapes itself");
    }
    let write = format!("{}/api/v1/write", server.urls.web);
    let config = format!(
        "global: {{scrape_interval: 1s}}\nremote_write: [{{url: '{write}'}}]\nscrape_configs:\n{jobs}"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let args = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address={address}"),
    ];
    let _prometheus = start("prometheus", &args, folder.path());
    let theirs = format!("http://{address}");
    let ours = &server.urls.web;
    until(
        "a dozen scrapes",
        ours,
        "min(count_over_time(up[1m]))",
        |n| n >= 12.0,
    )
    .await;
    // Between two scrapes, so that no window's edge touches a sample: releases differ about edges.
    let job = if exporter.is_some() {
        "node"
    } else {
        "prometheus"
    };
    let newest = format!("timestamp(up%7Bjob%3D%22{job}%22%7D)");
    let scraped = until("a sample", &theirs, &newest, |_| true).await;
    let other = until(
        "a sample",
        &theirs,
        "timestamp(up%7Bjob%3D%22prometheus%22%7D)",
        |_| true,
    )
    .await;
    let mut fraction = scraped.fract() + 0.25;
    if (other.fract() - fraction.fract()).abs() < 0.05 {
        fraction += 0.25;
    }
    let at = scraped.floor() - 2.0 + fraction;
    // Everything up to then has arrived once something later has, of every job.
    until("later samples", ours, "min(timestamp(up))", |t| {
        t > at + 1.0
    })
    .await;
    let client = Client::new();
    let mut different = Vec::new();
    for query in QUERIES {
        let case: Case = serde_json::from_value(json!({
            "id": query, "compare": "promql", "expect": {},
            "request": {"method": "FORM", "path": "/api/v1/query", "params": [["query", query], ["time", format!("{at:.3}")]]},
        }))
        .unwrap();
        let a = Answer::from(&client.call(&theirs, &case.request).await.unwrap());
        let b = Answer::from(&client.call(ours, &case.request).await.unwrap());
        assert_eq!(a.status, 200, "{query}");
        if let Some(d) = difference(&case, &a, &b) {
            different.push(format!("{query}: {d}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
