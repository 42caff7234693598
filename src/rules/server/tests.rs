//! Evaluation over the server's own storage: the timers and the network are left out.

use promql::notation::{Written, parse_series};
use std::path::Path;
use storage::model::{Labels, STALE_NAN, is_stale};

use super::*;
use crate::app::testing;

const T_MS: i64 = 1_793_491_200_000;

/// Work on a thread that may block, as evaluation is.
async fn blocking<T: Send + 'static>(
    app: &AppState,
    work: impl FnOnce(&AppState, &ServerStore) -> T + Send + 'static,
) -> T {
    let (app, store) = (
        Arc::clone(app),
        ServerStore::new(app, &Arc::default(), Path::new("rules.yml"), "group"),
    );
    tokio::task::spawn_blocking(move || work(&app, &store))
        .await
        .unwrap()
}

fn sample(series: &str, t_ms: i64) -> VectorSample {
    let (labels, values) = parse_series(series).unwrap();
    VectorSample {
        labels,
        t_ms,
        sample: match &values[0] {
            Written::Float(value) => Sample::Float(*value),
            Written::Histogram(h) => Sample::Histogram(Arc::clone(h)),
            Written::Omitted => panic!("no sample"),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_floats_and_histograms() {
    let folder = tempfile::tempdir().unwrap();
    let app = testing::open(folder.path(), &[]).await;
    blocking(&app, |_, store| {
        let samples = [
            sample("a{x=\"1\"} 2.5", T_MS),
            sample("h {{schema:0 sum:4 count:6 buckets:[1 2 3]}}", T_MS),
        ];
        assert_eq!(store.append(&samples), Ok(Appended::default()));
        let ask = |text: &str| store.query(&store.parse(text).unwrap(), T_MS).unwrap();
        let Value::Vector(found) = ask("a") else {
            panic!("no vector");
        };
        assert_eq!(found[0].sample, Sample::Float(2.5));
        let Value::Vector(found) = ask("histogram_count(h)") else {
            panic!("no vector");
        };
        assert_eq!(found[0].sample, Sample::Float(6.0));
        assert!(
            store
                .parse("a +")
                .unwrap_err()
                .starts_with("1:4: parse error")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_contradicts_another_is_refused_and_the_others_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let app = testing::open(folder.path(), &[]).await;
    blocking(&app, |_, store| {
        store.append(&[sample("a 1", T_MS)]).unwrap();
        let appended = store
            .append(&[sample("b 1", T_MS), sample("a 2", T_MS)])
            .unwrap();
        assert_eq!(appended.refused, [1]);
        let fault = appended.fault.unwrap();
        assert!(fault.contains("duplicate sample for timestamp"), "{fault}");
        let all = vec![Matcher::equal("__name__", "b")];
        assert_eq!(store.newest(all, MsRange::ALL).unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_sample_of_a_series_may_be_a_marker() {
    let folder = tempfile::tempdir().unwrap();
    let app = testing::open(folder.path(), &[]).await;
    blocking(&app, |_, store| {
        let mut marker = sample("a{x=\"1\"} 0", T_MS + 1000);
        marker.sample = Sample::Float(STALE_NAN);
        store
            .append(&[sample("a{x=\"1\"} 1", T_MS), marker])
            .unwrap();
        let newest = store
            .newest(vec![Matcher::equal("x", "1")], MsRange::ALL)
            .unwrap();
        assert_eq!(newest.len(), 1);
        assert_eq!(
            newest[0].labels,
            Labels::from_pairs([("__name__", "a"), ("x", "1")])
        );
        assert_eq!(newest[0].t_ms, T_MS + 1000);
        assert!(is_stale(newest[0].value));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_link_to_their_expression_and_end_by_themselves() {
    let alert = Alert {
        state: super::super::State::Firing,
        labels: Labels::from_pairs([("alertname", "A")]),
        annotations: BTreeMap::new(),
        value: 1.0,
        active_at_ns: 1,
        fired_at_ns: Some(2),
        resolved_at_ns: None,
        last_sent_at_ns: Some(3),
        valid_until_ns: 4,
        keep_firing_since_ns: None,
    };
    let sent = notification(alert.clone(), "http://here/graph");
    assert_eq!((sent.starts_at_ns, sent.ends_at_ns), (2, 4));
    let resolved = Alert {
        resolved_at_ns: Some(3),
        ..alert
    };
    assert_eq!(notification(resolved, "").ends_at_ns, 3);
    let folder = tempfile::tempdir().unwrap();
    let app = testing::open(folder.path(), &["--web.external-url=http://x/prom/"]).await;
    assert_eq!(app.external_url(), "http://x/prom");
}
