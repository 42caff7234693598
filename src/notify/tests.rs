use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::config::AlertingConfig;

fn notification(name: &str) -> Notification {
    Notification {
        labels: Labels::from_pairs([("alertname", name), ("replica", "a"), ("zone", "own")]),
        annotations: Pairs::new(),
        starts_at_ns: 0,
        ends_at_ns: 1,
        generator_url: String::new(),
    }
}

fn config(text: &str, folder: &Path) -> AlertingConfig {
    AlertingConfig::parse(text, folder).unwrap()
}

/// An Alertmanager that notes what it is sent, and answers with a status.
async fn alertmanager(status: StatusCode) -> (String, mpsc::UnboundedReceiver<(HeaderMap, Bytes)>) {
    let (seen, received) = mpsc::unbounded_channel();
    let handler = move |State(seen): State<mpsc::UnboundedSender<(HeaderMap, Bytes)>>,
                        headers: HeaderMap,
                        body: Bytes| async move {
        seen.send((headers, body)).unwrap();
        status
    };
    let router = Router::new()
        .route("/am/api/v2/alerts", post(handler))
        .with_state(seen);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
    (address, received)
}

fn queue(address: &str, batch: usize, capacity: usize) -> Arc<Queue> {
    let text = format!(
        "alerting: {{alertmanagers: [{{path_prefix: am, basic_auth: {{username: u, password: p}}, static_configs: [{{targets: ['{address}']}}]}}]}}"
    );
    let config = config(&text, Path::new(""));
    let settings = queue::Settings {
        capacity,
        batch,
        drains: true,
    };
    let url = format!("http://{address}/am/api/v2/alerts");
    Arc::new(Queue::new(
        &url,
        Arc::new(config.alertmanagers[0].clone()),
        settings,
    ))
}

#[tokio::test]
async fn alerts_are_sent_in_batches_with_the_credentials() {
    let (address, mut received) = alertmanager(StatusCode::OK).await;
    let queue = queue(&address, 2, 10);
    queue.add(&["a", "b", "c"].map(notification));
    queue.close();
    Arc::clone(&queue).send_all().await;
    let mut sizes = Vec::new();
    while let Ok((headers, body)) = received.try_recv() {
        assert_eq!(headers["authorization"], "Basic dTpw");
        assert_eq!(headers["content-type"], "application/json");
        let alerts: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
        sizes.push(alerts.len());
    }
    assert_eq!(sizes, [2, 1]);
    let families = queue::families(&[&queue]);
    let value = |name: &str| families.iter().find(|f| f.name == name).unwrap().samples[0].1;
    assert_eq!(value("prometheus_notifications_sent_total"), 3.0);
    assert_eq!(value("prometheus_notifications_dropped_total"), 0.0);
    assert_eq!(value("prometheus_notifications_latency_seconds_count"), 2.0);
}

#[tokio::test]
async fn alerts_that_are_refused_are_counted_as_errors_and_dropped() {
    let (address, _received) = alertmanager(StatusCode::INTERNAL_SERVER_ERROR).await;
    let queue = queue(&address, 64, 10);
    queue.add(&[notification("a")]);
    queue.close();
    Arc::clone(&queue).send_all().await;
    let families = queue::families(&[&queue]);
    let value = |name: &str| families.iter().find(|f| f.name == name).unwrap().samples[0].1;
    assert_eq!(value("prometheus_notifications_errors_total"), 1.0);
    assert_eq!(value("prometheus_notifications_dropped_total"), 1.0);
    assert_eq!(value("prometheus_notifications_sent_total"), 0.0);
}

#[test]
fn the_oldest_alerts_leave_a_full_queue() {
    let queue = queue("127.0.0.1:1", 64, 2);
    queue.add(&["a", "b", "c"].map(notification));
    let names: Vec<String> = queue
        .waiting()
        .iter()
        .map(|n| n.labels.get("alertname").unwrap().to_owned())
        .collect();
    assert_eq!(names, ["b", "c"]);
}

#[test]
fn external_labels_and_relabelling_come_before_sending() {
    let text = "alerting: {alert_relabel_configs: [{action: labeldrop, regex: replica}], alertmanagers: [{static_configs: [{targets: ['a:1']}]}, {static_configs: [{targets: ['b:1']}], alert_relabel_configs: [{action: drop, source_labels: [alertname], regex: quiet}]}]}";
    let config = config(text, Path::new(""));
    let notifier = Notifier::default();
    let settings = queue::Settings {
        capacity: 10,
        batch: 10,
        drains: false,
    };
    let sets = config.alertmanagers.iter().map(|config| {
        let config = Arc::new(config.clone());
        let queue = Arc::new(Queue::new("x", Arc::clone(&config), settings));
        Set {
            config,
            endpoints: Endpoints::default(),
            queues: BTreeMap::from([("x".to_owned(), queue)]),
        }
    });
    *notifier.targets.write() = Targets {
        external_labels: vec![
            ("site".to_owned(), "s".to_owned()),
            ("zone".to_owned(), "ext".to_owned()),
        ],
        relabel_configs: config.alert_relabel_configs.clone(),
        sets: sets.collect(),
        queue_capacity: 10,
    };
    notifier.send(vec![notification("loud"), notification("quiet")]);
    let targets = notifier.targets.read();
    let labels: Vec<Vec<String>> = targets
        .sets
        .iter()
        .map(|set| {
            set.queues["x"]
                .waiting()
                .iter()
                .map(|n| n.labels.to_string())
                .collect()
        })
        .collect();
    let text = |name: &str| format!(r#"{{alertname="{name}", site="s", zone="own"}}"#);
    assert_eq!(
        labels,
        [vec![text("loud"), text("quiet")], vec![text("loud")]]
    );
}

#[test]
fn alertmanagers_are_found_in_files_and_relabelled() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"[{"targets": ["f:1", "g:1"], "labels": {"keep": "yes"}}]"#;
    std::fs::write(folder.path().join("am.json"), json).unwrap();
    std::fs::write(folder.path().join("am.yml"), "- targets: ['f:1', 'h:1']\n").unwrap();
    let text = "alerting: {alertmanagers: [{scheme: https, path_prefix: /x//, file_sd_configs: [{files: ['am.*']}, {files: [gone.json]}], relabel_configs: [{action: drop, source_labels: [__address__], regex: 'g:.*'}]}]}";
    let text = text.replace("am.*'", "am.json', 'am.yml'");
    let config = config(&text, folder.path());
    let mut discovery = Discovery::new(&config.alertmanagers[0]);
    let endpoints = discovery.look();
    assert_eq!(
        endpoints.active,
        ["https://f:1/x/api/v2/alerts", "https://h:1/x/api/v2/alerts"]
    );
    assert_eq!(endpoints.dropped, ["https://g:1/x/api/v2/alerts"]);
    // A file that cannot be read keeps its Alertmanagers.
    std::fs::write(folder.path().join("am.yml"), "- targets: [").unwrap();
    assert_eq!(discovery.look(), endpoints);
}
