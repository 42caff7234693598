//! Samples are deleted and the process is killed: what a deletion was answered for stays away, and all else stays.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::collections::BTreeSet;

use compat_tests::feed::metrics::{self, Dataset, Point, PointValue, Protocol, Series};
use compat_tests::http::Client;
use compat_tests::sample::T0;
use compat_tests::server::{Options, Server};
use serde_json::Value;

const ROUNDS: usize = 4;
const SERIES: [&str; 2] = ["deleted", "kept"];

/// Numbers of samples: each is a second behind the one before.
type Samples = BTreeSet<usize>;

async fn write(server: &Server, series: &str, numbers: &Samples) {
    let points = numbers.iter().map(|&n| Point {
        t_ms: (T0 + n as i64) * 1000,
        start_ms: None,
        value: PointValue::Float((n as f64).to_bits()),
    });
    let labels = [("__name__", "ledger"), ("series", series)];
    let series = Series {
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        points: points.collect(),
        exemplars: vec![],
    };
    let set = Dataset {
        series: vec![series],
        metadata: vec![],
    };
    metrics::feed(
        &Client::new(),
        &server.urls.web,
        &set,
        Protocol::Write1,
        &[],
    )
    .await
    .unwrap();
}

async fn post(server: &Server, path: &str) {
    let url = format!("{}{path}", server.urls.web);
    let answer = Client::new().post(&url, &[], Vec::new()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 204, "{path}: {text}");
}

/// Deletes samples of the first series from one number to another, both included.
async fn delete(server: &Server, from: usize, to: usize) {
    let (from, to) = (T0 + from as i64, T0 + to as i64);
    let query = format!("match[]=ledger%7Bseries%3D%22deleted%22%7D&start={from}&end={to}");
    post(server, &format!("/api/v1/admin/tsdb/delete_series?{query}")).await;
}

async fn read(server: &Server, series: &str) -> Samples {
    let query = format!("ledger%7Bseries%3D%22{series}%22%7D%5B2h%5D");
    let url = format!(
        "{}/api/v1/query?query={query}&time={}",
        server.urls.web,
        T0 + 7000
    );
    let answer = Client::new().get(&url).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let values = answer
        .pointer("/data/result/0/values")
        .and_then(Value::as_array);
    let number = |v: &Value| v.get(1)?.as_str()?.parse::<usize>().ok();
    values.into_iter().flatten().filter_map(number).collect()
}

async fn check(server: &Server, expected: &[Samples; 2]) {
    for (series, expected) in SERIES.iter().zip(expected) {
        assert_eq!(&read(server, series).await, expected, "{series}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_stays_deleted_after_kill_9() {
    let options = Options::common().with("--web.enable-admin-api");
    let mut server = Server::start(&options).await.unwrap();
    let mut expected = [Samples::new(), Samples::new()];
    for round in 0..ROUNDS {
        // Of each round the first half lies in blocks when it is deleted, the rest in the head.
        let first = round * 1000;
        for part in [first..first + 300, first + 300..first + 600] {
            let numbers: Samples = part.collect();
            for (series, expected) in SERIES.iter().zip(&mut expected) {
                write(&server, series, &numbers).await;
                expected.extend(&numbers);
            }
            if numbers.contains(&first) {
                post(&server, "/-/flush").await;
            }
        }
        // The second deletion reaches into the round before.
        let ranges = [
            (first + 250, first + 350),
            (first.saturating_sub(450), first + 10),
        ];
        for (from, to) in ranges {
            delete(&server, from, to).await;
            expected[0].retain(|n| *n < from || to < *n);
        }
        server.kill();
        server.restart().await.unwrap();
        check(&server, &expected).await;

        let again: Samples = [first + 5, first + 260, first + 340].into();
        write(&server, SERIES[0], &again).await;
        expected[0].extend(&again);
        server.kill();
        server.restart().await.unwrap();
        check(&server, &expected).await;
        if round % 2 == 1 {
            post(&server, "/-/flush").await;
            post(&server, "/-/compact").await;
            check(&server, &expected).await;
        }
    }
    post(&server, "/api/v1/admin/tsdb/clean_tombstones").await;
    check(&server, &expected).await;
    let tombstones = server.storage().join("tombstones/metrics/anonymous");
    assert_eq!(std::fs::read_dir(tombstones).unwrap().count(), 0);
    server.kill();
    server.restart().await.unwrap();
    check(&server, &expected).await;
}
