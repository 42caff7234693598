//! Kill -9 in the middle of a load of three signals: what was acknowledged is there afterwards.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use compat_tests::feed::metrics::{self, Dataset, Labels, Point, PointValue, Protocol, Series};
use compat_tests::http::Client;
use compat_tests::sample::T0;
use compat_tests::server::{Options, Server, Urls};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
/// Samples, or lines, in one request.
const BATCH: usize = 5;

/// What the server acknowledged in one round: numbers of samples, of lines, of traces.
#[derive(Default)]
struct Acknowledged {
    samples: Vec<usize>,
    lines: Vec<usize>,
    traces: Vec<usize>,
}

fn labels(round: usize) -> Labels {
    [
        ("__name__", "crash_total".to_owned()),
        ("round", round.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

async fn write_samples(urls: Urls, round: usize, total: Arc<AtomicUsize>) -> Vec<usize> {
    let (client, mut done) = (Client::new(), Vec::new());
    for n in (0..).step_by(BATCH) {
        let points = (n..n + BATCH).map(|n| Point {
            t_ms: T0 * 1000 + n as i64,
            start_ms: None,
            value: PointValue::Float((n as f64).to_bits()),
        });
        let series = Series {
            labels: labels(round),
            points: points.collect(),
            exemplars: vec![],
        };
        let set = Dataset {
            series: vec![series],
            metadata: vec![],
        };
        if metrics::feed(&client, &urls.web, &set, Protocol::Write1, &[])
            .await
            .is_err()
        {
            break;
        }
        done.extend(n..n + BATCH);
        total.fetch_add(1, Ordering::SeqCst);
    }
    done
}

async fn write_lines(urls: Urls, round: usize, total: Arc<AtomicUsize>) -> Vec<usize> {
    let (client, mut done) = (Client::new(), Vec::new());
    for n in (0..).step_by(BATCH) {
        let values: Vec<Value> = (n..n + BATCH)
            .map(|n| json!([(T0 * 1_000_000_000 + n as i64).to_string(), n.to_string()]))
            .collect();
        let body = json!({"streams": [{"stream": {"app": "crash", "round": round.to_string()}, "values": values}]});
        let url = format!("{}/loki/api/v1/push", urls.loki);
        let body = body.to_string().into_bytes();
        match client
            .post(&url, &[("content-type", "application/json")], body)
            .await
        {
            Ok(answer) if (200..300).contains(&answer.status) => done.extend(n..n + BATCH),
            _ => break,
        }
        total.fetch_add(1, Ordering::SeqCst);
    }
    done
}

fn trace_id(round: usize, n: usize) -> String {
    format!("{:032x}", (round + 1) * 1_000_000 + n)
}

async fn write_traces(urls: Urls, round: usize, total: Arc<AtomicUsize>) -> Vec<usize> {
    let (client, mut done) = (Client::new(), Vec::new());
    for n in 0.. {
        let start = T0 * 1_000_000_000 + n as i64;
        let span = json!({"traceId": trace_id(round, n), "spanId": format!("{:016x}", n + 1), "name": "crash",
            "kind": 2, "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1000).to_string()});
        let resource =
            json!({"attributes": [{"key": "service.name", "value": {"stringValue": "crash"}}]});
        let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": [span]}]}]});
        let url = format!("{}/v1/traces", urls.otlp_http);
        let body = body.to_string().into_bytes();
        match client
            .post(&url, &[("content-type", "application/json")], body)
            .await
        {
            Ok(answer) if (200..300).contains(&answer.status) => done.push(n),
            _ => break,
        }
        total.fetch_add(1, Ordering::SeqCst);
    }
    done
}

async fn get(url: &str) -> Value {
    let answer = Client::new().get(url).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{url}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The numbers that the server still has and those of them that must be there.
fn assert_all(what: &str, round: usize, wanted: &[usize], got: &BTreeSet<usize>) {
    let missing: Vec<&usize> = wanted.iter().filter(|n| !got.contains(n)).collect();
    assert!(
        missing.is_empty(),
        "round {round}: {} of {} acknowledged {what} are missing, the first {:?}",
        missing.len(),
        wanted.len(),
        missing.first()
    );
}

async fn check(urls: &Urls, round: usize, acknowledged: &Acknowledged) {
    let query = format!("crash_total%7Bround%3D%22{round}%22%7D%5B1h%5D");
    let answer = get(&format!(
        "{}/api/v1/query?query={query}&time={}",
        urls.web,
        T0 + 1800
    ))
    .await;
    let values = answer
        .pointer("/data/result/0/values")
        .and_then(Value::as_array)
        .cloned();
    let number = |v: &Value| v.get(1)?.as_str()?.parse::<usize>().ok();
    let got = values.iter().flatten().filter_map(number).collect();
    assert_all("samples", round, &acknowledged.samples, &got);

    let mut got = BTreeSet::new();
    let mut start = T0 * 1_000_000_000;
    loop {
        let query = format!("%7Bapp%3D%22crash%22%2Cround%3D%22{round}%22%7D");
        let answer = get(&format!(
            "{}/loki/api/v1/query_range?query={query}&start={start}&end={}&limit=5000&direction=forward",
            urls.loki,
            T0 * 1_000_000_000 + 3_600_000_000_000
        ))
        .await;
        let streams = answer
            .pointer("/data/result")
            .and_then(Value::as_array)
            .cloned();
        let entries: Vec<Value> = streams
            .iter()
            .flatten()
            .filter_map(|s| s.get("values")?.as_array().cloned())
            .flatten()
            .collect();
        got.extend(entries.iter().filter_map(number));
        let latest = entries
            .iter()
            .filter_map(|v| v.get(0)?.as_str()?.parse::<i64>().ok())
            .max();
        match latest {
            Some(latest) if entries.len() >= 5000 => start = latest + 1,
            _ => break,
        }
    }
    assert_all("lines", round, &acknowledged.lines, &got);

    let mut got = BTreeSet::new();
    for n in &acknowledged.traces {
        let url = format!("{}/api/traces/{}", urls.jaeger, trace_id(round, *n));
        if Client::new().get(&url).await.unwrap().status == 200 {
            got.insert(*n);
        }
    }
    assert_all("traces", round, &acknowledged.traces, &got);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_missing_after_kill_9() {
    let mut server = Server::start(&Options::common()).await.unwrap();
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let total = Arc::new(AtomicUsize::new(0));
        let urls = server.urls.clone();
        let samples = tokio::spawn(write_samples(urls.clone(), round, Arc::clone(&total)));
        let lines = tokio::spawn(write_lines(urls.clone(), round, Arc::clone(&total)));
        let traces = tokio::spawn(write_traces(urls, round, Arc::clone(&total)));
        // Each round ends at another place, so that it also ends within cuts and replays.
        let enough = 200 + 137 * round;
        while total.load(Ordering::SeqCst) < enough {
            assert!(
                server.exited().is_none(),
                "ended by itself: {}",
                server.last_words()
            );
            let over = [&samples, &lines, &traces].iter().any(|t| t.is_finished());
            assert!(!over, "a write was refused: {}", server.last_words());
            tokio::task::yield_now().await;
        }
        server.kill();
        let acknowledged = Acknowledged {
            samples: samples.await.unwrap(),
            lines: lines.await.unwrap(),
            traces: traces.await.unwrap(),
        };
        println!(
            "round {round}: {} samples, {} lines, {} traces acknowledged",
            acknowledged.samples.len(),
            acknowledged.lines.len(),
            acknowledged.traces.len()
        );
        rounds.push(acknowledged);
        server.restart().await.unwrap();
        for (round, acknowledged) in rounds.iter().enumerate() {
            check(&server.urls, round, acknowledged).await;
        }
    }
}
