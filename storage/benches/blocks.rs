//! What a restart and a cut cost, and reading blocks: 20,000 series of an hour.

mod fleet;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::model::{Matcher, MsRange, Record, SampleBuf, Tenant};
use storage::read::SeriesSelect;
use storage::{Options, RecordDecoder, RecordSink, SignalKind, Storage};
use tokio::runtime::Runtime;

use fleet::{REQUEST, SERIES, key, scrape};

const SCRAPES: i64 = 240;

/// Records that say which request of which scrape they were.
struct Requests(Vec<Vec<u8>>);

impl RecordDecoder for Requests {
    fn decode(
        &self,
        _: SignalKind,
        record: Record<'_>,
        sink: &mut dyn RecordSink,
    ) -> Result<(), String> {
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes);
        let (request, n) = record.payload.split_at(8);
        let bad = |_| "not a record of this bench".to_owned();
        let (request, n) = (number(request).map_err(bad)?, number(n).map_err(bad)?);
        let first = request as usize * REQUEST;
        sink.metrics(&scrape(&self.0[first..first + REQUEST], first, n));
        Ok(())
    }
}

async fn open(path: &Path, keys: &Arc<Requests>) -> Arc<Storage> {
    let mut options = Options::new(path);
    options.min_free_bytes = 0;
    options.metrics_retention = None;
    let decoder: Arc<dyn RecordDecoder> = Arc::<Requests>::clone(keys);
    let opened = Storage::open(options, decoder).await;
    opened.expect("an empty folder or our own")
}

async fn write(storage: &Storage, keys: &Requests) {
    let tenant = Tenant::anonymous();
    for n in 0..SCRAPES {
        for request in 0..SERIES / REQUEST {
            let first = request * REQUEST;
            let mut payload = (request as i64).to_le_bytes().to_vec();
            payload.extend(n.to_le_bytes());
            let record = Record {
                kind: 1,
                flags: 0,
                received_ms: 0,
                payload: &payload,
            };
            let batch = scrape(&keys.0[first..first + REQUEST], first, n);
            let report = storage.append_metrics(&tenant, &batch, record).await;
            report.expect("room on disk and in memory");
        }
    }
}

async fn read(storage: &Storage, matchers: Vec<Matcher>) -> usize {
    let range = MsRange::ALL;
    let select = SeriesSelect { matchers, range };
    let set = storage.select_series(&Tenant::anonymous(), &select).await;
    let mut set = set.expect("our own block");
    let (mut buf, mut samples) = (SampleBuf::default(), 0);
    while let Some(batch) = set.next_batch().await.expect("our own block") {
        for series in batch {
            series.samples(&mut buf).expect("our own pages");
            samples += buf.len();
        }
    }
    samples
}

fn blocks(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let keys = Arc::new(Requests((0..SERIES).map(key).collect()));
    let samples = SERIES as u64 * SCRAPES as u64;

    let mut group = c.benchmark_group("block");
    group.sample_size(10);
    group.throughput(Throughput::Elements(samples));
    let write_blocks = |times: u64| -> Duration {
        let once = |_| {
            let folder = tempfile::tempdir().expect("a folder");
            runtime.block_on(async {
                let storage = open(folder.path(), &keys).await;
                write(&storage, &keys).await;
                let start = Instant::now();
                storage.flush().await.expect("room on disk");
                start.elapsed()
            })
        };
        (0..times).map(once).sum()
    };
    group.bench_function("write", |b| b.iter_custom(write_blocks));

    let folder = tempfile::tempdir().expect("a folder");
    let storage = runtime.block_on(async {
        let storage = open(folder.path(), &keys).await;
        write(&storage, &keys).await;
        storage
    });
    drop(storage);
    // The log of a server that was killed.
    group.bench_function("replay", |b| {
        b.iter(|| runtime.block_on(open(folder.path(), &keys)));
    });

    let storage = runtime.block_on(async {
        let storage = open(folder.path(), &keys).await;
        storage.flush().await.expect("room on disk");
        storage
    });
    group.bench_function("read_all_series", |b| {
        b.iter(|| assert_eq!(runtime.block_on(read(&storage, vec![])) as u64, samples));
    });
    group.throughput(Throughput::Elements(SCRAPES as u64));
    group.bench_function("read_one_series", |b| {
        b.iter(|| {
            let matchers = vec![
                Matcher::equal("__name__", "container_metric_number_7_total"),
                Matcher::equal("pod", "checkout-7f9c6d5b4-00042"),
            ];
            assert_eq!(runtime.block_on(read(&storage, matchers)), SCRAPES as usize);
        });
    });
    group.finish();
}

criterion_group!(benches, blocks);
criterion_main!(benches);
