//! What is deleted is gone and nothing else is, wherever samples lie and whatever happens to the process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::block::{BlockStore, Cache};
use crate::bucket::{Bucket, Mirror};
use crate::budget::Budget;
use crate::clock::TestClock;
use crate::compact::Extent;
use crate::context::Context;
use crate::metrics::{self, MetricsHead};
use crate::model::{
    BatchSeries, LabelError, LabelPairs, Labels, MatchOp, MetricBatch, MsRange, Record, SampleBuf,
};
use crate::options::Options;
use crate::read::SeriesSelect;
use crate::replay;
use crate::retention::Brake;
use crate::snapshot::Snapshot;
use crate::storage::{RecordDecoder, RecordSink};

type Store = Arc<SignalStore<MetricsHead>>;

const DAY: i64 = 24 * 3600 * 1000;

/// A series' number, a time and a value.
type Sample = (u8, i64, u32);

/// Twelve bytes a sample.
fn encode_samples(samples: &[Sample]) -> Vec<u8> {
    let one = |&(n, t_ms, value): &Sample| {
        let mut bytes = vec![n];
        bytes.extend_from_slice(&t_ms.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
        bytes
    };
    samples.iter().flat_map(one).collect()
}

fn decode_labels<'k>(key: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    let name = ["0", "1", "2", "3"].get(usize::from(key[0]));
    out.push(("__name__", "m"));
    out.push(("n", name.ok_or_else(|| LabelError("no such".to_owned()))?));
    Ok(())
}

fn batch(payload: &[u8]) -> MetricBatch<'_> {
    let samples = || payload.chunks_exact(13);
    MetricBatch {
        series: samples()
            .enumerate()
            .map(|(i, sample)| BatchSeries {
                key: &sample[..1],
                floats: i..i + 1,
                histograms: 0..0,
                exemplars: 0..0,
            })
            .collect(),
        decode_labels,
        t_ms: samples()
            .map(|s| i64::from_le_bytes(s[1..9].try_into().unwrap()))
            .collect(),
        values: samples()
            .map(|s| f64::from(u32::from_le_bytes(s[9..].try_into().unwrap())))
            .collect(),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}

struct Decoder;

impl RecordDecoder for Decoder {
    fn decode(
        &self,
        _: SignalKind,
        record: Record<'_>,
        sink: &mut dyn RecordSink,
    ) -> Result<(), String> {
        sink.metrics(&batch(record.payload));
        Ok(())
    }
}

/// A folder, and perhaps a bucket, that outlive the stores over them.
struct Rig {
    dir: TempDir,
    bucket: Option<Arc<InMemory>>,
}

impl Rig {
    fn new(bucket: Option<Arc<InMemory>>) -> Self {
        // Memory where there is a folder of it: these tests sync a lot, and none of them pulls the plug.
        let memory = Path::new("/dev/shm");
        let dir = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self {
            dir: dir.unwrap(),
            bucket,
        }
    }

    async fn open(&self) -> Store {
        let options = Options {
            min_free_bytes: 0,
            metrics_retention: None,
            ..Options::new(self.dir.path())
        };
        let budget = Budget::new(options.memory_limit_bytes);
        let local = BlockStore::open(&options, &budget).unwrap();
        let bucket = self.bucket.as_ref().map(|memory| {
            let cache = Arc::new(Cache::new(1 << 20, &budget));
            let memory: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(memory);
            let mirror = Mirror::new(self.dir.path().join("bucket"));
            Arc::new(Bucket::new(BlockStore::over(memory, cache), mirror, "us").unwrap())
        });
        if let Some(bucket) = &bucket {
            bucket.check().await.unwrap();
        }
        let clock = Arc::new(TestClock::default());
        clock.set(100 * DAY);
        let tmp = self.dir.path().join("tmp");
        let context = Context::new(options, clock, budget, local, bucket, tmp);
        let apply = replay::metrics(Arc::new(Decoder));
        let store = SignalStore::open(Arc::new(context), apply).await.unwrap();
        if let Some(bucket) = &store.context.bucket {
            bucket.set_known().unwrap();
        }
        store
    }
}

async fn write(store: &Store, samples: &[Sample]) {
    let payload = encode_samples(samples);
    let record = Record {
        kind: 1,
        flags: 0,
        received_ms: 0,
        payload: &payload,
    };
    let tenant = Tenant::anonymous();
    let batch = batch(&payload);
    let apply =
        |head: &MetricsHead| metrics::append(head, &tenant, &batch, metrics::NewSeries::Taken);
    store.append(&tenant, record, apply).await.unwrap();
}

async fn delete(store: &Store, any_of: &[&[Matcher]], min: i64, max: i64) {
    let any_of = any_of.iter().map(|m| m.to_vec()).collect();
    let span = TimeSpan { min, max };
    store
        .delete(&Tenant::anonymous(), any_of, span)
        .await
        .unwrap();
}

async fn read(store: &Store) -> BTreeMap<(u8, i64), u32> {
    let budget = Budget::new(1 << 30);
    let select = SeriesSelect {
        matchers: Vec::new(),
        range: MsRange::ALL,
    };
    let tenant = Tenant::anonymous();
    let mut set = store
        .select(|view| metrics::select_series(view, &budget, &tenant, &select))
        .await
        .unwrap();
    let mut out = BTreeMap::new();
    let mut samples = SampleBuf::default();
    while let Some(batch) = set.next_batch().await.unwrap() {
        for series in batch {
            let n = series.labels().get("n").unwrap().parse().unwrap();
            series.samples(&mut samples).unwrap();
            for (t_ms, value) in std::iter::zip(&samples.t_ms, &samples.values) {
                assert!(out.insert((n, *t_ms), *value as u32).is_none());
            }
        }
    }
    out
}

/// The series that are listed within a range.
async fn listed(store: &Store, range: MsRange) -> BTreeSet<String> {
    let budget = Budget::new(1 << 30);
    let tenant = Tenant::anonymous();
    let label = |view| metrics::label_values(view, &budget, &tenant, "n", &[], range);
    let values: BTreeSet<String> = store.select(label).await.unwrap().into_iter().collect();
    let series = |view| metrics::series_labels(view, &budget, &tenant, &[], range, 0);
    let series: Vec<Labels> = store.select(series).await.unwrap();
    let of_series = series.iter().map(|l| l.get("n").unwrap().to_owned());
    assert_eq!(of_series.collect::<BTreeSet<_>>(), values);
    values
}

fn tombstone_files(dir: &Path) -> usize {
    let dir = dir.join("tombstones/metrics/anonymous");
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

fn n(value: &str) -> Matcher {
    Matcher::equal("n", value)
}

#[tokio::test]
async fn a_deletion_means_what_was_written_before_it() {
    let rig = Rig::new(None);
    let mut store = rig.open().await;
    write(&store, &[(0, 10, 1), (1, 10, 2), (0, 20, 3)]).await;
    store.cut().await.unwrap();
    write(&store, &[(0, 30, 4), (0, 15, 5), (1, DAY, 6)]).await;
    delete(&store, &[&[n("0")]], 15, 30).await;
    let left = BTreeMap::from([((0, 10), 1), ((1, 10), 2), ((1, DAY), 6)]);
    assert_eq!(read(&store).await, left);
    write(&store, &[(0, 20, 7), (0, 30, 8)]).await;
    let mut expected = left;
    expected.extend([((0, 20), 7), ((0, 30), 8)]);
    for step in 0..5 {
        assert_eq!(read(&store).await, expected, "step {step}");
        match step {
            0 | 2 => {
                drop(store);
                store = rig.open().await;
            }
            1 => store.cut().await.unwrap(),
            _ => store.compact(Extent::All).await.unwrap(),
        }
    }
    assert_eq!(tombstone_files(rig.dir.path()), 1);
    store.tidy_tombstones().await.unwrap();
    assert_eq!(
        tombstone_files(rig.dir.path()),
        1,
        "the log was not dropped since the start"
    );
    store.clean_tombstones().await.unwrap();
    assert_eq!(tombstone_files(rig.dir.path()), 0);
    assert_eq!(read(&store).await, expected);
}

#[tokio::test]
async fn a_series_of_which_nothing_is_left_is_listed_no_more() {
    let rig = Rig::new(None);
    let store = rig.open().await;
    write(
        &store,
        &[(0, 10, 1), (1, 10, 2), (0, 2 * DAY, 3), (2, 5, 4)],
    )
    .await;
    let both = |names: &[&str]| {
        names
            .iter()
            .map(|n| (*n).to_owned())
            .collect::<BTreeSet<_>>()
    };
    for in_block in [false, true] {
        if in_block {
            store.cut().await.unwrap();
            delete(&store, &[&[n("2")]], 0, 5).await;
        } else {
            delete(&store, &[&[n("0")]], 0, DAY).await;
        }
        let left: &[&str] = if in_block {
            &["0", "1"]
        } else {
            &["0", "1", "2"]
        };
        assert_eq!(listed(&store, MsRange::ALL).await, both(left));
        let first_day = listed(&store, MsRange::new(0, DAY)).await;
        assert!(!first_day.contains("0"), "{first_day:?}");
    }
}

#[tokio::test]
async fn cleaning_takes_the_space_back_and_a_block_of_nothing_goes() {
    let rig = Rig::new(None);
    let mut store = rig.open().await;
    for day in 0..3 {
        let samples: Vec<Sample> = (0..500).map(|i| (0, day * DAY + i, 1)).collect();
        write(&store, &samples).await;
        write(&store, &[(1, day * DAY, 2)]).await;
        store.cut().await.unwrap();
    }
    let before = store.stats().block_bytes;
    delete(
        &store,
        &[&[n("0")], &[Matcher::equal("__name__", "other")]],
        0,
        4 * DAY,
    )
    .await;
    delete(&store, &[&[n("1")]], 2 * DAY, 3 * DAY).await;
    assert_eq!(store.stats().tombstones, 3);
    assert_eq!(store.stats().block_rows, 3 * 501);
    store.clean_tombstones().await.unwrap();
    let left = BTreeMap::from([((1, 0), 2), ((1, DAY), 2)]);
    for _ in 0..2 {
        assert_eq!(read(&store).await, left);
        assert_eq!((store.stats().blocks, store.stats().block_rows), (2, 2));
        assert!(store.stats().block_bytes < before);
        assert_eq!(
            (store.stats().tombstones, tombstone_files(rig.dir.path())),
            (0, 0)
        );
        drop(store);
        store = rig.open().await;
    }
    write(&store, &[(0, 7, 9)]).await;
    assert_eq!(read(&store).await.len(), 3);
}

#[tokio::test]
async fn the_rest_of_a_cut_counts_without_the_block_that_completed_it() {
    let rig = Rig::new(None);
    let mut store = rig.open().await;
    write(&store, &[(0, 10, 1), (0, DAY, 2), (1, 2 * DAY, 3)]).await;
    store.cut().await.unwrap();
    delete(&store, &[&[n("1")]], 0, 3 * DAY).await;
    store.clean_tombstones().await.unwrap();
    let left = BTreeMap::from([((0, 10), 1), ((0, DAY), 2)]);
    for _ in 0..2 {
        assert_eq!(read(&store).await, left);
        assert_eq!(store.stats().blocks, 2);
        drop(store);
        store = rig.open().await;
    }
}

#[tokio::test]
async fn a_deletion_is_in_the_bucket_with_the_blocks_and_serves_whoever_takes_it_over() {
    let memory = Arc::new(InMemory::new());
    let rig = Rig::new(Some(Arc::clone(&memory)));
    let store = rig.open().await;
    write(&store, &[(0, 10, 1), (1, 10, 2)]).await;
    store.cut().await.unwrap();
    store.sync_bucket().await.unwrap();
    delete(&store, &[&[n("0")]], 0, 50).await;
    assert!(store.wants_bucket());
    store.sync_bucket().await.unwrap();
    assert!(!store.wants_bucket());
    drop(store);
    let left = BTreeMap::from([((1, 10), 2)]);
    // The disk is lost.
    let other = Rig::new(Some(Arc::clone(&memory)));
    let store = other.open().await;
    assert_eq!(read(&store).await, left);
    write(&store, &[(0, 10, 3)]).await;
    store.cut().await.unwrap();
    let with_new = BTreeMap::from([((0, 10), 3), ((1, 10), 2)]);
    assert_eq!(read(&store).await, with_new);
    store.clean_tombstones().await.unwrap();
    store.sync_bucket().await.unwrap();
    let bucket = store.context.bucket.as_ref().unwrap();
    assert!(list(bucket, SignalKind::Metrics).await.unwrap().is_empty());
    drop(store);
    assert_eq!(read(&other.open().await).await, with_new);
}

#[tokio::test]
async fn repeated_deletions_leave_one_tombstone() {
    let rig = Rig::new(None);
    let store = rig.open().await;
    write(&store, &[(0, 10, 1)]).await;
    store.cut().await.unwrap();
    for max in [5, 6, 50, 50] {
        delete(&store, &[&[n("0")]], 0, max).await;
    }
    assert_eq!(tombstone_files(rig.dir.path()), 1);
    delete(&store, &[&[n("0")]], 100, 50).await;
    assert_eq!(tombstone_files(rig.dir.path()), 1, "a range of nothing");
    assert!(read(&store).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_sees_a_deletion_wholly_or_not_at_all() {
    let rig = Rig::new(None);
    let store = rig.open().await;
    for round in 0..20 {
        write(&store, &[(0, 10, 1), (1, 10, 1)]).await;
        store.cut().await.unwrap();
        write(&store, &[(0, 20, 1), (1, 20, 1)]).await;
        let deleting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { delete(&store, &[&[]], 0, 50).await }
        });
        loop {
            let seen = read(&store).await.len();
            assert!(seen == 4 || seen == 0, "round {round}: {seen} samples");
            if seen == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        deleting.await.unwrap();
    }
}

#[tokio::test]
async fn a_deletion_after_a_restart_is_newer_than_those_whose_tombstones_are_gone() {
    for bucket in [None, Some(Arc::default())] {
        let rig = Rig::new(bucket);
        let store = rig.open().await;
        write(&store, &[(0, DAY, 1), (1, DAY, 1)]).await;
        store.cut().await.unwrap();
        delete(&store, &[&[n("0")]], 0, DAY).await;
        store.clean_tombstones().await.unwrap();
        drop(store);
        let store = rig.open().await;
        delete(&store, &[&[]], 0, DAY).await;
        assert!(read(&store).await.is_empty());
    }
}

#[tokio::test]
async fn a_snapshot_is_whole_without_the_bucket_and_hides_what_is_deleted() {
    for bucket in [None, Some(Arc::default())] {
        let rig = Rig::new(bucket);
        let store = rig.open().await;
        write(&store, &[(0, 10, 1), (1, 10, 2)]).await;
        store.cut().await.unwrap();
        store.sync_bucket().await.unwrap();
        write(&store, &[(0, 20, 3), (1, DAY, 4)]).await;
        store.cut().await.unwrap();
        delete(&store, &[&[n("0")]], 0, 10).await;
        let tmp = rig.dir.path().join("tmp");
        for name in ["", "..", "a/b"] {
            assert!(
                Snapshot::begin(rig.dir.path(), &tmp, name).is_err(),
                "{name}"
            );
        }
        let snapshot = Snapshot::begin(rig.dir.path(), &tmp, "s-1").unwrap();
        store.copy_to(&snapshot).await.unwrap();
        snapshot.finish().await.unwrap();
        assert!(Snapshot::begin(rig.dir.path(), &tmp, "s-1").is_err());
        // What becomes of the original does not matter to it.
        delete(&store, &[&[]], 0, 2 * DAY).await;
        store.clean_tombstones().await.unwrap();
        assert!(read(&store).await.is_empty());
        let copy = Rig::new(None);
        let from = rig.dir.path().join("snapshots/s-1");
        for part in ["blocks", "tombstones"] {
            std::fs::rename(from.join(part), copy.dir.path().join(part)).unwrap();
        }
        let store = copy.open().await;
        let held = BTreeMap::from([((0, 20), 3), ((1, 10), 2), ((1, DAY), 4)]);
        assert_eq!(read(&store).await, held);
        write(&store, &[(0, 10, 5)]).await;
        assert_eq!(read(&store).await.get(&(0, 10)), Some(&5));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Sample>),
    Delete(u8, i64, i64),
    Cut,
    Snapshot,
    Compact,
    Clean,
    Tidy,
    Crash,
}

/// Few times on two days, so that steps meet each other.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![0_i64..12, DAY..DAY + 12]
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0_u8..4, time(), 0_u32..1000);
    prop_oneof![
        6 => proptest::collection::vec(sample, 1..8).prop_map(Step::Write),
        4 => (0_u8..8, time(), time()).prop_map(|(n, a, b)| Step::Delete(n, a.min(b), a.max(b))),
        2 => Just(Step::Cut),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Compact),
        1 => Just(Step::Clean),
        1 => Just(Step::Tidy),
        3 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn what_is_read_is_what_a_plain_model_holds(
        steps in proptest::collection::vec(step(), 1..30),
        with_bucket in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new(with_bucket.then(Arc::default));
            let mut store = rig.open().await;
            let mut model: BTreeMap<(u8, i64), u32> = BTreeMap::new();
            for (at, step) in steps.iter().enumerate() {
                match step {
                    Step::Write(samples) => {
                        write(&store, samples).await;
                        for &(n, t_ms, value) in samples {
                            model.entry((n, t_ms)).or_insert(value);
                        }
                    }
                    Step::Delete(which, min, max) => {
                        // One series, or those from a number on.
                        let name = which.to_string();
                        let pattern = format!("[{}-3]", which - (which & 4));
                        let one = Matcher::equal("n", &*name);
                        let from = Matcher::new(MatchOp::Regex, "n", pattern).unwrap();
                        let meant = if *which < 4 { one } else { from };
                        delete(&store, &[&[meant]], *min, *max).await;
                        let is_meant = |n: u8| if *which < 4 { n == *which } else { n >= *which - 4 };
                        model.retain(|(n, t_ms), _| !(is_meant(*n) && (*min..=*max).contains(t_ms)));
                    }
                    Step::Cut => {
                        store.cut().await.unwrap();
                        store.sync_bucket().await.unwrap();
                        store.reap().await;
                    }
                    Step::Snapshot => store.snapshot().await.unwrap(),
                    Step::Compact => {
                        store.drop_expired(&mut Brake::default()).await;
                        store.compact(Extent::All).await.unwrap();
                    }
                    Step::Clean => store.clean_tombstones().await.unwrap(),
                    Step::Tidy => store.tidy_tombstones().await.unwrap(),
                    Step::Crash => {
                        drop(store);
                        store = rig.open().await;
                    }
                }
                assert_eq!(read(&store).await, model, "after step {at}: {step:?}");
                let names: BTreeSet<String> = model.keys().map(|(n, _)| n.to_string()).collect();
                assert!(listed(&store, MsRange::ALL).await.is_superset(&names));
            }
        });
    }
}
