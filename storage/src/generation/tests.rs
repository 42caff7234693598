//! What must hold at every moment: each acknowledged item is seen once, wherever it lies and whatever failed.

mod faulty;
mod tiny;

use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::memory::InMemory;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::block::BlockStore;
use crate::budget::Budget;
use crate::clock::TestClock;
use crate::compact::Extent;
use crate::options::Options;
use crate::recover::Apply;
use crate::retention::Brake;
use faulty::Faulty;
use tiny::{Item, TinyHead};

type Store = Arc<SignalStore<TinyHead>>;

const DAY: i64 = 24 * 3600 * 1000;

/// A folder, and perhaps a bucket, that outlive the stores opened over them.
struct Rig {
    dir: TempDir,
    clock: Arc<TestClock>,
    options: Options,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            min_free_bytes: 0,
            metrics_retention: None,
            ..Options::new(dir.path())
        };
        let clock = Arc::new(TestClock::default());
        clock.set(100 * DAY);
        Self {
            dir,
            clock,
            options,
        }
    }

    async fn open(&self) -> Store {
        let budget = Budget::new(self.options.memory_limit_bytes);
        let blocks = BlockStore::open(&self.options, &budget).unwrap();
        self.open_over(blocks, budget).await
    }

    async fn open_bucket(&self, bucket: Faulty) -> Store {
        let budget = Budget::new(self.options.memory_limit_bytes);
        let blocks = BlockStore::over(Arc::new(bucket), &budget);
        self.open_over(blocks, budget).await
    }

    async fn open_over(&self, blocks: Arc<BlockStore>, budget: Arc<Budget>) -> Store {
        let clock: Arc<TestClock> = Arc::clone(&self.clock);
        let tmp = self.dir.path().join("tmp");
        let context = Context::new(self.options.clone(), clock, budget, blocks, tmp);
        let apply: Apply<TinyHead> = Arc::new(|head, record| {
            if record.record.kind == 99 {
                return Err("no such kind".to_owned());
            }
            let batch = tiny::decode(record.record.payload);
            head.replay(&record.tenant, &batch, &record.refused);
            Ok(())
        });
        SignalStore::open(Arc::new(context), apply).await.unwrap()
    }

    fn wal_files(&self) -> usize {
        files_below(&self.dir.path().join("wal"), "wal").len()
    }
}

fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) || extension.is_empty() {
            found.push(path);
        }
    }
    found
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

async fn append(store: &Store, name: &str, batch: &[Item]) -> Result<Applied<usize>> {
    append_kind(store, name, batch, 1).await
}

async fn append_kind(
    store: &Store,
    name: &str,
    batch: &[Item],
    kind: u8,
) -> Result<Applied<usize>> {
    let payload = tiny::encode(batch);
    let record = Record {
        kind,
        flags: 0,
        received_ms: store.context.clock.now_ms(),
        payload: &payload,
    };
    let tenant = tenant(name);
    store
        .append(&tenant, record, |head| head.append(&tenant, batch))
        .await
}

async fn items(store: &Store, name: &str) -> Vec<Item> {
    tiny::items(&store.view(), &tenant(name)).await
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_what_was_refused_is_not() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 1), (2, 1001), (3, 1002)])
        .await
        .unwrap();
    append(&store, "b", &[(1, 7)]).await.unwrap();
    let none = append(&store, "a", &[(1, 1001)]).await.unwrap();
    assert!(!none.changed);
    drop(store);
    for _ in 0..2 {
        let store = rig.open().await;
        assert_eq!(items(&store, "a").await, [(1, 1), (3, 1002)]);
        assert_eq!(items(&store, "b").await, [(1, 7)]);
        assert_eq!(store.wal.last_seq(), 2, "nothing taken, nothing logged");
    }
}

#[tokio::test]
async fn a_cut_moves_items_into_one_block_a_day_and_empties_the_log() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 1), (DAY, 2), (9 * DAY, 3), (-1, 4)])
        .await
        .unwrap();
    append(&store, "b", &[(5, 5)]).await.unwrap();
    store.cut().await.unwrap();
    let view = store.view();
    let described: Vec<_> = view
        .blocks
        .iter()
        .map(|b| b.manifest())
        .map(|m| {
            (
                m.tenant.as_str(),
                m.min_time,
                m.completes_cut,
                m.wal_seq_max,
            )
        })
        .collect();
    assert_eq!(described.len(), 5);
    for expected in [
        ("a", -1, false, 2),
        ("a", 1, false, 2),
        ("a", DAY, false, 2),
        ("a", 9 * DAY, true, 2),
        ("b", 5, true, 2),
    ] {
        assert!(described.contains(&expected), "{described:?}");
    }
    assert_eq!(rig.wal_files(), 0);
    assert_eq!(store.stats().cuts, 1);
    assert!(files_below(&rig.dir.path().join("tmp"), "").is_empty());
    drop(store);
    let store = rig.open().await;
    append(&store, "a", &[(2, 6)]).await.unwrap();
    let expected = [(-1, 4), (1, 1), (2, 6), (DAY, 2), (9 * DAY, 3)];
    assert_eq!(items(&store, "a").await, expected);
    store.cut().await.unwrap();
    let newest = store.view().blocks.last().unwrap().manifest().clone();
    assert_eq!((newest.wal_seq_min, newest.wal_seq_max), (3, 3));
}

#[tokio::test]
async fn what_no_block_holds_survives_a_cut_and_a_crash() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 1)]).await.unwrap();
    store.view().active.set_note("help text");
    store.cut().await.unwrap();
    assert_eq!(store.view().active.note().as_deref(), Some("help text"));
    drop(store);
    let store = rig.open().await;
    assert_eq!(store.view().active.note().as_deref(), Some("help text"));
    drop(store);
    let path = rig.dir.path().join("wal/metrics/remembered");
    std::fs::write(&path, b"xxxxyyyy").unwrap();
    let store = rig.open().await;
    assert_eq!(store.view().active.note(), None);
    assert_eq!(store.stats().wal_corrupt_records, 1);
    assert_eq!(items(&store, "a").await, [(1, 1)]);
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_is_counted_and_skipped() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 1)]).await.unwrap();
    append_kind(&store, "a", &[(1, 2)], 99).await.unwrap();
    append(&store, "a", &[(1, 3)]).await.unwrap();
    drop(store);
    let store = rig.open().await;
    assert_eq!(items(&store, "a").await, [(1, 1), (1, 3)]);
    assert_eq!(store.stats().wal_corrupt_records, 1);
}

#[tokio::test]
async fn a_head_is_cut_when_it_is_old_or_large() {
    let mut rig = Rig::new();
    rig.options.memory_limit_bytes = 40_000;
    let store = rig.open().await;
    assert!(!store.is_cut_due(), "nothing to cut");
    append(&store, "a", &[(1, 1)]).await.unwrap();
    assert!(!store.is_cut_due());
    rig.clock.set(100 * DAY + 2 * 3600 * 1000);
    assert!(store.is_cut_due(), "too old");
    store.cut().await.unwrap();
    assert!(!store.is_cut_due());
    append(&store, "a", &[(1, 2); 11]).await.unwrap();
    assert!(store.is_cut_due(), "more than a quarter of the budget");
    append(&store, "a", &[(1, 2); 17]).await.unwrap();
    let refusal = append(&store, "a", &[(1, 3)]).await.unwrap_err();
    assert!(matches!(refusal, Error::MemoryLimit { .. }), "{refusal}");
    store.cut().await.unwrap();
    append(&store, "a", &[(1, 3)]).await.unwrap();
}

#[tokio::test]
async fn a_log_larger_than_the_budget_is_cut_while_it_is_replayed() {
    let mut rig = Rig::new();
    let store = rig.open().await;
    for n in 0..50 {
        append(&store, "a", &[(1, n)]).await.unwrap();
    }
    drop(store);
    rig.options.memory_limit_bytes = 40_000;
    let store = rig.open().await;
    assert_eq!(items(&store, "a").await.len(), 50);
    assert!(store.view().blocks.len() > 2);
    assert!(store.view().active.held_bytes() <= 11_000);
    drop(store);
    assert_eq!(items(&rig.open().await, "a").await.len(), 50);
}

#[tokio::test]
async fn a_query_keeps_what_it_began_with() {
    let rig = Rig::new();
    let store = rig.open().await;
    for n in 0..3 {
        append(&store, "a", &[(1, n)]).await.unwrap();
        store.cut().await.unwrap();
    }
    let before = store.view();
    append(&store, "a", &[(1, 3)]).await.unwrap();
    store.cut().await.unwrap();
    store.compact(Extent::All).await.unwrap();
    assert_eq!(store.view().blocks.len(), 1);
    let manifests = || files_below(&rig.dir.path().join("blocks"), "json").len();
    assert_eq!(manifests(), 1, "manifests go at once");
    let folders = || {
        files_below(&rig.dir.path().join("blocks"), "")
            .iter()
            .filter(|p| p.ends_with("items"))
            .count()
    };
    assert_eq!(folders(), 4, "files wait for the query");
    assert_eq!(
        tiny::items(&before, &tenant("a")).await.len(),
        4,
        "three blocks and the head"
    );
    drop(before);
    store.reap().await;
    assert_eq!(folders(), 1);
    assert_eq!(items(&store, "a").await.len(), 4);
}

#[tokio::test]
async fn old_blocks_are_dropped_and_merges_leave_old_items_out() {
    let mut rig = Rig::new();
    rig.options.metrics_retention = Some(Duration::from_secs(10 * 24 * 3600));
    let store = rig.open().await;
    let day = |d: i64, n: u64| (d * DAY + DAY / 2, n);
    append(
        &store,
        "a",
        &[day(80, 1), day(90, 2), day(95, 3), day(100, 4)],
    )
    .await
    .unwrap();
    store.cut().await.unwrap();
    rig.clock.set(101 * DAY);
    let mut brake = Brake::default();
    store.drop_expired(&mut brake).await;
    // Half an hour into day 100 is the newest; ten days before that keeps day 90.
    let kept: Vec<_> = items(&store, "a").await.iter().map(|i| i.1).collect();
    assert_eq!(kept, [2, 3, 4]);
    append(&store, "a", &[(90 * DAY, 5)]).await.unwrap();
    store.cut().await.unwrap();
    store.compact(Extent::All).await.unwrap();
    let kept: Vec<_> = items(&store, "a").await.iter().map(|i| i.1).collect();
    assert_eq!(
        kept,
        [2, 3, 4],
        "the early morning of day 90 is past retention"
    );
    drop(store);
    let store = rig.open().await;
    assert_eq!(items(&store, "a").await.len(), 3);
}

/// The same story with a bucket that fails after any number of changes: going on and starting anew both find
/// every item once.
#[tokio::test]
async fn a_bucket_that_fails_at_any_moment_loses_and_doubles_nothing() {
    for loses_answer in [false, true] {
        for changes in 0.. {
            let rig = Rig::new();
            let memory = Arc::new(InMemory::new());
            let bucket = Faulty::new(&memory, i64::MAX, loses_answer);
            let left = bucket.left();
            let store = rig.open_bucket(bucket).await;
            let batches: [&[Item]; 3] = [
                &[(1, 1), (DAY, 2), (3 * DAY, 3)],
                &[(2, 4)],
                &[(3, 5), (DAY, 6)],
            ];
            append(&store, "a", batches[0]).await.unwrap();
            store.cut().await.unwrap();
            append(&store, "a", batches[1]).await.unwrap();
            append(&store, "b", batches[1]).await.unwrap();
            store.cut().await.unwrap();
            append(&store, "a", batches[2]).await.unwrap();
            append(&store, "b", batches[0]).await.unwrap();
            let mut a: Vec<Item> = batches.concat();
            a.sort_unstable();
            let mut b: Vec<Item> = [batches[1], batches[0]].concat();
            b.sort_unstable();
            let check = async |store: &Store, when: &str| {
                let when = format!("{when}, {changes} changes, loses_answer {loses_answer}");
                assert_eq!(items(store, "a").await, a, "{when}");
                assert_eq!(items(store, "b").await, b, "{when}");
            };

            left.store(changes, Ordering::SeqCst);
            let done = store.cut().await.is_ok() && store.compact(Extent::All).await.is_ok();
            check(&store, "after the failure").await;
            let unfinished = left.load(Ordering::SeqCst) < 0;

            // Another start, while the first process could still go on.
            let revived = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
            check(&revived, "after a crash").await;
            revived.cut().await.unwrap();
            revived.compact(Extent::All).await.unwrap();
            check(&revived, "after a crash, a cut and a compaction").await;
            drop(revived);
            let again = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
            check(&again, "after the second start").await;
            drop(again);
            if done && !unfinished {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_failed_cut_goes_on_where_it_was() {
    for changes in 0..8 {
        let rig = Rig::new();
        let memory = Arc::new(InMemory::new());
        let bucket = Faulty::new(&memory, changes, false);
        let left = bucket.left();
        let store = rig.open_bucket(bucket).await;
        append(&store, "a", &[(1, 1), (DAY, 2)]).await.unwrap();
        append(&store, "b", &[(1, 3), (DAY, 4)]).await.unwrap();
        let refusal = store.cut().await;
        assert_eq!(refusal.is_err(), store.has_frozen());
        append(&store, "a", &[(1, 5)]).await.unwrap();
        assert_eq!(store.stats().cut_failures, u64::from(refusal.is_err()));
        left.store(i64::MAX, Ordering::SeqCst);
        store.cut().await.unwrap();
        assert_eq!(items(&store, "a").await, [(1, 1), (1, 5), (DAY, 2)]);
        assert_eq!(store.view().blocks.len(), 5, "{changes} changes");
        assert_eq!(rig.wal_files(), 0);
        drop(store);
        let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
        assert_eq!(items(&store, "a").await, [(1, 1), (1, 5), (DAY, 2)]);
        assert_eq!(items(&store, "b").await, [(1, 3), (DAY, 4)]);
        assert_eq!(store.view().blocks.len(), 5, "{changes} changes");
    }
}

fn snapshots(rig: &Rig) -> Vec<PathBuf> {
    files_below(&rig.dir.path().join("wal"), "snapshot")
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_the_log_before_it() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 2), (DAY, 4)]).await.unwrap();
    store.snapshot().await.unwrap();
    assert_eq!((snapshots(&rig).len(), rig.wal_files()), (1, 0));
    append(&store, "b", &[(1, 6)]).await.unwrap();
    drop(store);
    let store = rig.open().await;
    assert_eq!(items(&store, "a").await, [(1, 2), (DAY, 4)]);
    assert_eq!(items(&store, "b").await, [(1, 6)]);
    append(&store, "a", &[(2, 8)]).await.unwrap();
    store.snapshot().await.unwrap();
    assert_eq!(snapshots(&rig).len(), 1);
    drop(store);
    let store = rig.open().await;
    assert_eq!(items(&store, "a").await, [(1, 2), (2, 8), (DAY, 4)]);
    store.cut().await.unwrap();
    assert_eq!((snapshots(&rig).len(), rig.wal_files()), (0, 0));
    assert_eq!(items(&store, "b").await, [(1, 6)]);
}

#[tokio::test]
async fn a_snapshot_beside_a_frozen_generation_lets_nothing_of_that_go() {
    let rig = Rig::new();
    let memory = Arc::new(InMemory::new());
    let faulty = Faulty::new(&memory, i64::MAX, false);
    let left = faulty.left();
    let store = rig.open_bucket(faulty).await;
    append(&store, "a", &[(1, 2)]).await.unwrap();
    store.snapshot().await.unwrap();
    append(&store, "a", &[(2, 4)]).await.unwrap();
    left.store(0, Ordering::SeqCst);
    store.cut().await.unwrap_err();
    append(&store, "a", &[(3, 6)]).await.unwrap();
    store.snapshot().await.unwrap();
    append(&store, "a", &[(4, 8)]).await.unwrap();
    assert_eq!(snapshots(&rig).len(), 2);
    drop(store);
    let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
    assert_eq!(items(&store, "a").await, [(1, 2), (2, 4), (3, 6), (4, 8)]);
    store.cut().await.unwrap();
    assert_eq!((snapshots(&rig).len(), rig.wal_files()), (0, 0));
    assert_eq!(items(&store, "a").await, [(1, 2), (2, 4), (3, 6), (4, 8)]);
}

#[tokio::test]
async fn a_damaged_snapshot_costs_the_frame_that_is_damaged_and_is_counted() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 2)]).await.unwrap();
    append(&store, "b", &[(1, 4)]).await.unwrap();
    store.snapshot().await.unwrap();
    drop(store);
    let path = &snapshots(&rig)[0];
    let whole = std::fs::read(path).unwrap();
    for at in 0..whole.len() {
        for mut bytes in [whole.clone(), whole[..at].to_vec()] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x10;
            }
            std::fs::write(path, &bytes).unwrap();
            // The bytes that say of a version that it is newer.
            if bytes.len() == whole.len() && (8..12).contains(&at) {
                continue;
            }
            let store = rig.open().await;
            let found = (
                items(&store, "a").await.len(),
                items(&store, "b").await.len(),
            );
            let corrupt = store.stats().wal_corrupt_records;
            drop(store);
            // The time of the first write is not worth a checksum: at worst a cut comes early.
            let harmless =
                bytes.len() == whole.len() && ((28..36).contains(&at) || at >= whole.len() - 4);
            assert_eq!(corrupt > 0, !harmless, "byte {at}: {found:?}");
            if at >= 36 + 8 + 18 {
                assert_eq!(found.0, 1, "byte {at}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { tenant: u8, days: Vec<u8> },
    Cut,
    Compact,
    Snapshot,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3, prop::collection::vec(0u8..4, 1..5))
            .prop_map(|(tenant, days)| Step::Append { tenant, days }),
        2 => Just(Step::Cut),
        1 => Just(Step::Compact),
        2 => Just(Step::Snapshot),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_steps_equals_a_plain_list(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let mut store = rig.open().await;
            let mut model: BTreeMap<String, Vec<Item>> = BTreeMap::new();
            let mut next = 0;
            for step in &steps {
                match step {
                    Step::Append { tenant, days } => {
                        let name = format!("t{tenant}");
                        let batch: Vec<Item> = days
                            .iter()
                            .map(|&day| {
                                next += 2;
                                (i64::from(day) * DAY + next as i64, next)
                            })
                            .collect();
                        append(&store, &name, &batch).await.unwrap();
                        model.entry(name).or_default().extend(batch);
                    }
                    Step::Cut => store.cut().await.unwrap(),
                    Step::Compact => store.compact(Extent::All).await.unwrap(),
                    Step::Snapshot => store.snapshot().await.unwrap(),
                    Step::Crash => {
                        drop(store);
                        store = rig.open().await;
                    }
                }
                for (name, expected) in &model {
                    let mut expected = expected.clone();
                    expected.sort_unstable();
                    assert_eq!(items(&store, name).await, expected);
                }
            }
        });
    }
}
