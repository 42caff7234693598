//! The blocks of all signals share one limit of size, and the oldest go first.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use storage::model::{
    BatchEntry, BatchSeries, BatchStream, LabelError, LabelPairs, Labels, LogBatch, MetricBatch,
    Record, Tenant,
};
use storage::{Options, RecordDecoder, RecordSink, SignalKind, Storage};

const DAY_MS: i64 = 24 * 3600 * 1000;
const RECORD: Record<'static> = Record {
    kind: 1,
    flags: 0,
    received_ms: 0,
    payload: b"",
};

struct NoReplay;

impl RecordDecoder for NoReplay {
    fn decode(&self, _: SignalKind, _: Record<'_>, _: &mut dyn RecordSink) -> Result<(), String> {
        Err("nothing is replayed in this test".to_owned())
    }
}

async fn open(path: &Path, limit_bytes: Option<u64>) -> Arc<Storage> {
    let mut options = Options::new(path);
    options.min_free_bytes = 0;
    (options.metrics_retention, options.logs_retention) = (None, None);
    options.retention_bytes = limit_bytes;
    Storage::open(options, Arc::new(NoReplay)).await.unwrap()
}

fn decode_labels<'k>(_: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    out.push(("__name__", "m"));
    Ok(())
}

async fn write_samples(storage: &Storage, day: i64) {
    let series = BatchSeries {
        key: b"m",
        floats: 0..500,
        histograms: 0..0,
        exemplars: 0..0,
    };
    let batch = MetricBatch {
        series: vec![series],
        decode_labels,
        t_ms: (0..500).map(|i| day * DAY_MS + i).collect(),
        values: (0..500).map(|i| f64::from(i).sqrt()).collect(),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    };
    let tenant = Tenant::anonymous();
    let report = storage.append_metrics(&tenant, &batch, RECORD).await;
    assert_eq!(report.unwrap().floats, 500);
}

async fn write_line(storage: &Storage, day: i64) {
    let batch = LogBatch {
        streams: vec![BatchStream {
            labels: Labels::from_pairs([("app", "a")]),
            entries: 0..1,
        }],
        entries: vec![BatchEntry {
            t_ns: day * DAY_MS * 1_000_000,
            line: Cow::Borrowed("a line"),
            metadata: 0..0,
        }],
        metadata: Vec::new(),
    };
    let tenant = Tenant::anonymous();
    let report = storage.append_logs(&tenant, &batch, RECORD).await;
    assert_eq!(report.unwrap().entries, 1);
}

/// Days of the blocks of metrics and of logs.
fn days(storage: &Storage) -> (Vec<i64>, Vec<i64>) {
    let of = |signal: SignalKind| {
        let blocks = storage.blocks(signal, &Tenant::anonymous());
        let days = blocks
            .iter()
            .map(|m| m.min_time / signal.units_per_ms() / DAY_MS);
        days.collect()
    };
    (of(SignalKind::Metrics), of(SignalKind::Logs))
}

#[tokio::test]
async fn the_oldest_blocks_of_all_signals_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path(), None).await;
    write_samples(&storage, 1).await;
    write_line(&storage, 2).await;
    // Two blocks of one cut: the second completes it, and is younger.
    write_samples(&storage, 3).await;
    storage.flush().await.unwrap();
    assert_eq!(days(&storage), (vec![1, 3], vec![2]));
    let bytes = |signal| storage.stats(signal).block_bytes;
    let (metrics, logs) = (bytes(SignalKind::Metrics), bytes(SignalKind::Logs));
    assert_eq!(storage.size_limit(), (None, 0));
    storage.close().await.unwrap();
    drop(storage);
    for (limit, left, times) in [
        (metrics + logs, (vec![1, 3], vec![2]), 0),
        (metrics + logs - 1, (vec![3], vec![2]), 1),
        (metrics / 2 + logs - 1, (vec![3], vec![]), 1),
        (1, (vec![], vec![]), 1),
    ] {
        let storage = open(folder.path(), Some(limit)).await;
        storage.flush().await.unwrap();
        assert_eq!(days(&storage), left, "{limit} bytes");
        assert_eq!(storage.size_limit(), (Some(limit), times));
        storage.close().await.unwrap();
    }
}
