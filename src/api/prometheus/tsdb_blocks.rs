//! `GET /api/v1/status/tsdb/blocks`: the blocks of metrics, in the form of Prometheus's `meta.json`.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use storage::{Manifest, SignalKind};

use super::format::success;
use super::params::Ask;
use crate::app::AppState;

pub(super) async fn handle(State(app): State<AppState>, ask: Ask) -> Response {
    let manifests = app.storage.blocks(SignalKind::Metrics, &ask.tenant);
    let blocks: Vec<Value> = manifests.iter().map(meta).collect();
    success(&json!({ "blocks": blocks }))
}

fn meta(m: &Manifest) -> Value {
    // A block that was cut from the head is its own source, as it is upstream.
    let sources = match &m.replaces[..] {
        [] => std::slice::from_ref(&m.ulid),
        replaced => replaced,
    };
    json!({
        "ulid": m.ulid,
        "minTime": m.min_time,
        // Upstream's blocks end before this time.
        "maxTime": m.max_time.saturating_add(1),
        "stats": {"numSamples": m.rows, "numSeries": m.groups},
        "compaction": {"level": m.level, "sources": sources},
        "version": m.format_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_behind_its_last_sample_and_names_its_sources() {
        let mut manifest: Manifest = serde_json::from_value(json!({
            "format_version": 1, "min_reader_version": 1, "ulid": "C", "tenant": "anonymous", "signal": "metrics",
            "min_time": 10, "max_time": 20, "resolution_ms": 0, "level": 1, "wal_seq_min": 1, "wal_seq_max": 1,
            "completes_cut": true, "replaces": [], "rows": 7, "groups": 3, "raw_bytes": 1, "files": [],
        }))
        .unwrap();
        assert_eq!(
            meta(&manifest),
            json!({
                "ulid": "C", "minTime": 10, "maxTime": 21, "stats": {"numSamples": 7, "numSeries": 3},
                "compaction": {"level": 1, "sources": ["C"]}, "version": 1,
            })
        );
        manifest.level = 2;
        manifest.replaces = vec!["A".to_owned(), "B".to_owned()];
        assert_eq!(
            meta(&manifest)["compaction"],
            json!({"level": 2, "sources": ["A", "B"]})
        );
    }
}
