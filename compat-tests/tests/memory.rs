//! A server with little memory under series that come and go: it refuses what does not fit, and goes on with the rest.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use compat_tests::feed::metrics::sample;
use compat_tests::http::{Client, Response};
use compat_tests::sample::T0;
use compat_tests::server::{Options, Server};
use compat_tests::wire::{Message, snappy};
use serde_json::Value;

const LIMIT_MIB: u64 = 192;
/// Series of one request.
const BATCH: usize = 5000;
/// Far more requests than fit.
const MAX_REQUESTS: usize = 400;

/// A request of series that nobody has seen before.
fn churn(request: usize) -> Vec<u8> {
    let mut body = Message::new();
    for n in 0..BATCH {
        let pod = format!("web-{request:05}-{n:05}-of-a-deployment-with-a-long-name");
        let mut series = Message::new();
        for (name, value) in [("__name__", "churn_total"), ("pod", &pod)] {
            let mut label = Message::new();
            label.bytes(1, name).bytes(2, value);
            series.message(1, &label);
        }
        let mut point = Message::new();
        point.double_bits(1, 1.0_f64.to_bits());
        point.int(2, T0 * 1000);
        series.message(2, &point);
        body.message(1, &series);
    }
    snappy(&body.0)
}

async fn write(url: &str, body: Vec<u8>) -> Response {
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    let url = format!("{url}/api/v1/write");
    Client::new().post(&url, &headers, body).await.unwrap()
}

/// A line of the process's status, in KiB.
fn status_kib(server: &Server, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn known_value(url: &str) -> Option<String> {
    let at = T0 + 1;
    let url = format!("{url}/api/v1/query?query=known_total&time={at}");
    let answer = Client::new().get(&url).await.unwrap();
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let value = &body["data"]["result"][0]["value"][1];
    value.as_str().map(str::to_owned)
}

/// A sum over the samples of a family on `/metrics`.
async fn metric(url: &str, prefix: &str) -> f64 {
    let answer = Client::new().get(&format!("{url}/metrics")).await.unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let lines = text.lines().filter(|l| l.starts_with(prefix));
    let values = lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// Waits until something holds.
async fn soon(holds: impl AsyncFn() -> bool) {
    for _ in 0..100 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("it does not come");
}

#[tokio::test]
async fn a_server_under_churn_refuses_what_does_not_fit_and_stays_within_its_limit() {
    let options = Options::common().with(format!("--memory.limit={LIMIT_MIB}MiB"));
    let mut server = Server::start(&options).await.unwrap();
    let url = server.urls.web.clone();
    let known = [("__name__", "known_total")];
    sample(&url, &known, T0 * 1000, 1.0).await.unwrap();

    let mut refused = 0;
    for request in (0..MAX_REQUESTS).step_by(4) {
        let writes = (request..request + 4).map(|n| write(&url, churn(n)));
        for answer in futures::future::join_all(writes).await {
            match answer.status {
                204 => {}
                429 => {
                    refused += 1;
                    assert!(answer.headers.contains_key("retry-after"));
                }
                other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
            }
        }
        if refused > 20 {
            break;
        }
    }
    assert!(refused > 0, "the server takes what cannot fit");
    assert!(metric(&url, "trilobite_memory_refusals_total").await > 0.0);
    assert!(metric(&url, "trilobite_memory_used_bytes").await > 0.0);

    // What was there before is written and read on, at the latest when a head has become a block.
    soon(async || sample(&url, &known, T0 * 1000 + 1000, 2.0).await.is_ok()).await;
    soon(async || known_value(&url).await.as_deref() == Some("2")).await;
    assert!(status_kib(&server, "VmHWM:") <= LIMIT_MIB << 10);

    server.restart().await.unwrap();
    let url = server.urls.web.clone();
    soon(async || known_value(&url).await.as_deref() == Some("2")).await;
    assert!(status_kib(&server, "VmHWM:") <= LIMIT_MIB << 10);
}
