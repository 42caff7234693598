//! A genuine Alertmanager is told of an alert when it fires and when it is resolved.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use compat_tests::feed;
use compat_tests::http::Client;
use compat_tests::process::{Process, on_path};
use compat_tests::server::{Options, Server, free_address};
use serde_json::{Value, json};

/// Debian's name, and upstream's.
const NAMES: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];

fn start_alertmanager(name: &str, address: &str, folder: &Path) -> Process {
    std::fs::write(
        folder.join("alertmanager.yml"),
        "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
    )
    .unwrap();
    let mut command = Command::new(name);
    command
        .args(["--config.file=alertmanager.yml", "--storage.path=am"])
        .arg(format!("--web.listen-address={address}"))
        // No cluster: nothing beyond loopback.
        .arg("--cluster.listen-address=")
        .current_dir(folder);
    Process::start(&mut command).unwrap()
}

async fn json(url: &str) -> Option<Value> {
    let answer = Client::new().get(url).await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

/// Asks until the answer is good.
async fn until(what: &str, url: &str, good: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = json(url).await;
        if let Some(answer) = answer.as_ref().filter(|a| good(a)) {
            return answer.clone();
        }
        assert!(Instant::now() < deadline, "{what} did not come: {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes a sample of `orders` as of now.
async fn write(server: &Server, value: f64) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let labels = [("__name__", "orders"), ("shop", "a")];
    let t_ms = i64::try_from(now.as_millis()).unwrap();
    feed::metrics::sample(&server.urls.web, &labels, t_ms, value)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_arrives_at_alertmanager_and_is_resolved() {
    let Some(name) = NAMES.into_iter().find(|name| on_path(name)) else {
        println!("skipped: no alertmanager on PATH");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = free_address().unwrap();
    let _alertmanager = start_alertmanager(name, &address, folder.path());
    let alerts = format!("http://{address}/api/v2/alerts");
    until("alertmanager", &alerts, Value::is_array).await;
    std::fs::write(
        folder.path().join("rules.yml"),
        r#"
groups:
- name: shop
  rules:
  - alert: TooMany
    expr: orders > 10
    labels: {severity: page, replica: drop-me}
    annotations: {text: "{{ $labels.shop }} has {{ $value }} orders on {{ $externalLabels.site }}"}
"#,
    )
    .unwrap();
    std::fs::write(
        folder.path().join("am.json"),
        json!([{"targets": [address]}]).to_string(),
    )
    .unwrap();
    let config = folder.path().join("prometheus.yml");
    std::fs::write(
        &config,
        r#"
global: {evaluation_interval: 1s, external_labels: {site: here}}
rule_files: ["rules*.yml"]
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: replica}]
  alertmanagers:
  - file_sd_configs: [{files: [am.json]}]
"#,
    )
    .unwrap();
    let options = Options::common()
        .with(format!("--config.file={}", config.display()))
        .with("--web.external-url=http://trilobite.example/")
        .with("--rules.alert.resend-delay=1s");
    let server = Server::start(&options).await.unwrap();
    write(&server, 12.5).await;
    let found = until("the alert", &alerts, |a| !a.as_array().unwrap().is_empty()).await;
    let alert = &found[0];
    assert_eq!(
        alert["labels"],
        json!({"alertname": "TooMany", "severity": "page", "shop": "a", "site": "here"})
    );
    assert_eq!(alert["annotations"]["text"], "a has 12.5 orders on here");
    assert_eq!(alert["status"]["state"], "active");
    assert_eq!(
        alert["generatorURL"],
        "http://trilobite.example/graph?g0.expr=orders+%3E+10&g0.tab=1"
    );
    let ours = format!("{}/api/v1/alertmanagers", server.urls.web);
    let known = json(&ours).await.unwrap();
    assert_eq!(
        known["data"]["activeAlertmanagers"],
        json!([{"url": alerts}])
    );
    let sent = "prometheus_notifications_sent_total";
    let metrics = Client::new()
        .get(&format!("{}/metrics", server.urls.web))
        .await
        .unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let line = metrics.lines().find(|l| l.starts_with(sent)).unwrap();
    assert!(!line.ends_with(" 0"), "{line}");

    write(&server, 3.0).await;
    // Alertmanager lists what is not resolved; a resolved alert goes at once.
    until("the resolution", &alerts, |a| {
        a.as_array().unwrap().is_empty()
    })
    .await;
    let ours = format!("{}/api/v1/alerts", server.urls.web);
    assert_eq!(json(&ours).await.unwrap()["data"]["alerts"], json!([]));
}
