//! The built-in scrape of this process itself, so that a newcomer's first query has an answer.

use std::time::{Duration, Instant};

use storage::model::{METRIC_NAME, Metadata, NO_START_MS, Tenant};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::app::AppState;
use crate::ingest::remote_write::{append_written, now_ms};
use crate::telemetry::Family;
use crate::wire::remote_write::Writer;

/// The job of the self-scrape.
pub const JOB: &str = "trilobite";

/// Time from one self-scrape to the next.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// Scrapes this process every 15 seconds until it stops, the first time at once.
pub async fn self_scrape(app: AppState, mut stopped: watch::Receiver<bool>) {
    // With several tenants nobody but the one called anonymous would see it.
    let tenant = Tenant::anonymous();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|s| *s) => return,
        }
        let begun = Instant::now();
        let families = app.telemetry.families(&app.storage, app.started_at);
        let body = encode(&families, &app.web_address, now_ms(), begun.elapsed());
        if let Err(e) = append_written(&app, &tenant, &body).await {
            tracing::warn!("self-scrape: {e}");
        }
    }
}

/// One scrape as a write request: the families, and what Prometheus adds to every scrape.
fn encode(families: &[Family], instance: &str, t_ms: i64, took: Duration) -> Vec<u8> {
    let mut writer = Writer::default();
    let target = [("instance", instance), ("job", JOB)];
    let mut count = 0;
    for family in families {
        writer.metadata(&Metadata {
            family: family.name.to_owned(),
            metric_type: family.metric_type,
            help: family.help.to_owned(),
            unit: String::new(),
        });
        for (labels, value) in &family.samples {
            count += 1;
            writer.series(
                labels
                    .iter()
                    .chain(target)
                    .chain([(METRIC_NAME, family.name)]),
            );
            writer.float(t_ms, *value, NO_START_MS);
        }
    }
    for (name, value) in [
        ("up", 1.0),
        ("scrape_duration_seconds", took.as_secs_f64()),
        ("scrape_samples_scraped", f64::from(count)),
        ("scrape_samples_post_metric_relabeling", f64::from(count)),
    ] {
        writer.series(target.into_iter().chain([(METRIC_NAME, name)]));
        writer.float(t_ms, value, NO_START_MS);
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use storage::model::{Labels, MetricType};

    use super::*;
    use crate::wire::remote_write::{Form, decode};

    #[test]
    fn a_scrape_carries_up_and_the_labels_of_its_target() {
        let family = Family {
            name: "m",
            metric_type: MetricType::Gauge,
            help: "Help.",
            samples: vec![(Labels::from_pairs([("a", "b")]), 3.0)],
        };
        let body = encode(&[family], "here:1", 5, Duration::ZERO);
        let batch = decode(&body, Form { with_start: true }).unwrap();
        let mut pairs = Vec::new();
        let names: Vec<String> = batch
            .series
            .iter()
            .map(|s| {
                (batch.decode_labels)(s.key, &mut pairs).unwrap();
                Labels::from_sorted(pairs.iter().copied()).to_string()
            })
            .collect();
        assert_eq!(
            names[0],
            r#"{__name__="m", a="b", instance="here:1", job="trilobite"}"#
        );
        assert_eq!(
            names[1],
            r#"{__name__="up", instance="here:1", job="trilobite"}"#
        );
        assert_eq!(batch.t_ms, [5; 5]);
        assert_eq!(batch.metadata[0].family, "m");
    }
}
