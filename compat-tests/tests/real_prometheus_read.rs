//! A genuine Prometheus reads from Trilobite over remote read and answers queries as Trilobite does itself.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use compat_tests::case::Case;
use compat_tests::compare::{Answer, Body, difference};
use compat_tests::feed;
use compat_tests::http::Client;
use compat_tests::server::{Options, Server};
use serde_json::{Value, json};

/// A child process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn on_path(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(name).is_file())
}

/// Between two samples of the dataset, which come every 30 s: releases differ about samples on a window's edge.
const T: i64 = 1_704_070_207;

const INSTANT: [&str; 16] = [
    "requests_total",
    "{__name__=~\"temp.*|noise\", room!=\"attic\"}",
    "sum by (job, code) (rate(requests_total[5m]))",
    "requests_total{code!~\"2..\"} offset 10m",
    "increase(restarts_total[20m])",
    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "special",
    "count_over_time(special{kind=\"nan\"}[10m])",
    "max_over_time(sum(temperature)[10m:1m])",
    "sparse or absent(nothing)",
    "temperature{room=\"kitchen\"} @ 1704067507",
    "topk(2, noise + on () group_right () temperature)",
    "size_bytes",
    "histogram_count(size_bytes)",
    "histogram_quantile(0.5, rate(size_bytes[5m]))",
    "alive{instance=~\"a|b\"} == 1",
];

const RANGE: [&str; 4] = [
    "sum(rate(requests_total[5m]))",
    "temperature",
    "histogram_sum(rate(size_bytes[5m]))",
    "deriv(noise[10m])",
];

async fn ready(client: &Client, base: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !matches!(client.get(&format!("{base}/-/ready")).await, Ok(a) if a.status == 200) {
        assert!(Instant::now() < deadline, "prometheus did not start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn case(path: &str, params: Value) -> Case {
    serde_json::from_value(json!({
        "id": path, "compare": "promql", "expect": {}, "ignore": ["data.stats"],
        "request": {"method": "FORM", "path": path, "params": params},
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_alike_from_what_it_reads() {
    if !on_path("prometheus") {
        println!("skipped: no prometheus on PATH");
        return;
    }
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    // The store adds its external labels, and the reader asks for them.
    let own = folder.path().join("trilobite.yml");
    std::fs::write(&own, "global: {external_labels: {store: left}}").unwrap();
    let mut options = Options::common();
    options
        .args
        .push(format!("--config.file={}", own.display()));
    let server = Server::start(&options).await.unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/metrics/dataset.jsonl");
    feed::dataset(&client, &server.urls, &data).await.unwrap();

    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let read = format!("{}/api/v1/read", server.urls.web);
    let config = format!("remote_read: [{{url: '{read}', read_recent: true}}]");
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let _prometheus = Process(
        Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--enable-feature=native-histograms",
                &format!("--web.listen-address={address}"),
            ])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let theirs = format!("http://{address}");
    ready(&client, &theirs).await;

    let instant = INSTANT.map(|q| {
        case(
            "/api/v1/query",
            json!([["query", q], ["time", T.to_string()]]),
        )
    });
    let range = RANGE.map(|q| {
        let (start, end) = ((T - 2400).to_string(), T.to_string());
        let params = json!([["query", q], ["start", start], ["end", end], ["step", "60"]]);
        case("/api/v1/query_range", params)
    });
    let mut different = Vec::new();
    for case in instant.iter().chain(&range) {
        let query = serde_json::to_string(&case.request.params).unwrap();
        let a = client.call(&theirs, &case.request).await.unwrap();
        let b = client.call(&server.urls.web, &case.request).await.unwrap();
        assert_eq!((a.status, b.status), (200, 200), "{query}");
        let (a, b) = (with_store(&a.body), with_store(&b.body));
        assert_ne!(a["data"]["result"], json!([]), "{query} finds nothing");
        let answer = |body: Value| Answer {
            status: 200,
            body: Body::Json(body),
            headers: std::collections::BTreeMap::new(),
        };
        if let Some(d) = difference(case, &answer(a), &answer(b)) {
            different.push(format!("{query}: {d}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// The answer without the label that the store added.
fn with_store(body: &[u8]) -> Value {
    let mut answer: Value = serde_json::from_slice(body).unwrap();
    for series in answer["data"]["result"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if let Some(metric) = series.get_mut("metric").and_then(Value::as_object_mut) {
            metric.remove("store");
        }
    }
    answer
}
