//! What must hold at every moment: each acknowledged item is seen once, wherever it lies and whatever failed.

mod faulty;
mod tiny;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::block::{BlockStore, Cache};
use crate::bucket::{Bucket, Mirror};
use crate::budget::Budget;
use crate::clock::TestClock;
use crate::compact::Extent;
use crate::options::Options;
use crate::recover::Apply;
use crate::retention::Brake;
use crate::signal::SignalKind;
use faulty::Faulty;
use tiny::{HEAVY, Item, TinyHead};

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
        // Memory where there is a folder of it: these tests sync a lot, and none of them pulls the plug.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.unwrap();
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
        self.open_with(None).await
    }

    /// With a bucket that is this folder's.
    async fn open_bucket(&self, bucket: Faulty) -> Store {
        self.open_with(Some(bucket)).await
    }

    async fn open_with(&self, bucket: Option<Faulty>) -> Store {
        let budget = Budget::new(self.options.memory_limit_bytes);
        let local = BlockStore::open(&self.options, &budget).unwrap();
        let bucket = bucket.map(|bucket| {
            let cache = Arc::new(Cache::new(self.options.memory_limit_bytes / 8, &budget));
            let store = BlockStore::over(Arc::new(bucket), cache);
            let mirror = Mirror::new(self.dir.path().join("bucket"));
            mirror.set_url("memory://test").unwrap();
            Arc::new(Bucket::new(store, mirror, "us").unwrap())
        });
        if let Some(bucket) = &bucket {
            // Where it is away, this notes so.
            let _ = bucket.check().await;
        }
        let clock: Arc<TestClock> = Arc::clone(&self.clock);
        let tmp = self.dir.path().join("tmp");
        let context = Context::new(self.options.clone(), clock, budget, local, bucket, tmp);
        let apply: Apply<TinyHead> = Arc::new(|record, _, take| {
            if record.record.kind == 99 {
                return Err("no such kind".to_owned());
            }
            let batch = tiny::decode(record.record.payload);
            take(&mut |head| head.replay(&record.tenant, &batch, &record.refused));
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
    assert!(store.is_cut_due(), "more than its share of the budget");
    let held = store.context.budget.memory_use();
    assert_eq!(held.holders.first().unwrap().0, "heads");
    assert!(held.holders.first().unwrap().1 > 7_500);
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
async fn blocks_of_the_same_series_are_merged_in_the_room_that_one_of_them_takes() {
    let mut rig = Rig::new();
    rig.options.memory_limit_bytes = 40_000;
    let store = rig.open().await;
    for n in 0..5 {
        append(&store, "a", &[(1, n)]).await.unwrap();
        store.cut().await.unwrap();
    }
    store.compact(Extent::All).await.unwrap();
    assert_eq!(store.view().blocks.len(), 1);
    assert_eq!(items(&store, "a").await.len(), 5);
}

#[tokio::test]
async fn fewer_blocks_are_merged_at_once_where_memory_runs_short() {
    let rig = Rig::new();
    let store = rig.open().await;
    for n in [0, HEAVY, 2, 3, 4] {
        append(&store, "a", &[(1, n)]).await.unwrap();
        store.cut().await.unwrap();
    }
    store.compact(Extent::All).await.unwrap();
    let blocks = &store.view().blocks;
    let levels: Vec<u32> = blocks.iter().map(|b| b.manifest().level).collect();
    assert_eq!(blocks.len(), 1, "two at a time, to the end: {levels:?}");
    let found: Vec<u64> = items(&store, "a").await.iter().map(|i| i.1).collect();
    assert_eq!(found, [0, 2, 3, 4, HEAVY]);
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
    let manifests = || {
        let files = files_below(&rig.dir.path().join("blocks"), "json");
        files
            .iter()
            .filter(|p| p.ends_with("manifest.json"))
            .count()
    };
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

/// Where the blocks of a view lie: (on local disk, in the bucket).
fn places(store: &Store) -> (usize, usize) {
    let view = store.view();
    let in_bucket = view.blocks.iter().filter(|b| b.store().is_remote()).count();
    (view.blocks.len() - in_bucket, in_bucket)
}

#[tokio::test]
async fn blocks_go_up_and_leave_local_disk() {
    let rig = Rig::new();
    let memory = Arc::new(InMemory::new());
    let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
    append(&store, "a", &[(1, 1), (DAY, 2)]).await.unwrap();
    store.cut().await.unwrap();
    assert_eq!(places(&store), (2, 0));
    let before = store.view();
    store.sync_bucket().await.unwrap();
    assert_eq!(places(&store), (0, 2));
    store.reap().await;
    let local = || files_below(&rig.dir.path().join("blocks"), "");
    assert_eq!(
        tiny::items(&before, &tenant("a")).await.len(),
        2,
        "a query that began before the move reads on: {:?}",
        local()
    );
    drop(before);
    store.reap().await;
    assert_eq!(local(), Vec::<PathBuf>::new());
    assert_eq!(items(&store, "a").await, [(1, 1), (DAY, 2)]);
    assert!(!store.wants_bucket());
    drop(store);
    let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
    assert_eq!(places(&store), (0, 2));
    assert_eq!(items(&store, "a").await, [(1, 1), (DAY, 2)]);
}

#[tokio::test]
async fn without_its_bucket_a_store_takes_and_serves_what_is_local() {
    let rig = Rig::new();
    let memory = Arc::new(InMemory::new());
    let up = || Faulty::new(&memory, i64::MAX, false);
    let store = rig.open_bucket(up()).await;
    append(&store, "a", &[(1, 1)]).await.unwrap();
    store.cut().await.unwrap();
    store.sync_bucket().await.unwrap();
    store.reap().await;
    drop(store);

    // Started without it, cut without it, started without it again.
    let store = rig.open_bucket(up().unreachable()).await;
    assert_eq!(places(&store), (0, 1), "it is known what is there");
    append(&store, "a", &[(DAY, 2)]).await.unwrap();
    append(&store, "b", &[(DAY, 3)]).await.unwrap();
    store.cut().await.unwrap();
    let refusal = store.sync_bucket().await.unwrap_err();
    assert!(matches!(refusal, Error::Unavailable { .. }), "{refusal}");
    let refusal = store.compact(Extent::All).await;
    assert!(
        refusal.is_ok(),
        "nothing to merge, nothing to ask: {refusal:?}"
    );
    drop(store);
    let bucket = up().unreachable();
    let mend = bucket.reach();
    let store = rig.open_bucket(bucket).await;
    assert_eq!(places(&store), (2, 1));
    assert_eq!(items(&store, "b").await, [(DAY, 3)]);
    let all = tiny::try_items(&store.view(), &tenant("a")).await;
    assert!(
        matches!(all, Err(Error::Unavailable { .. })),
        "less is no answer: {all:?}"
    );
    assert_eq!(store.stats().waiting_blocks, 2);
    assert!(store.wants_bucket());

    mend.store(true, Ordering::SeqCst);
    store.sync_bucket().await.unwrap();
    assert_eq!(places(&store), (0, 3));
    assert_eq!(items(&store, "a").await, [(1, 1), (DAY, 2)]);
    assert_eq!(items(&store, "b").await, [(DAY, 3)]);
    assert_eq!(rig.wal_files(), 0);
}

#[tokio::test]
async fn old_blocks_leave_the_bucket_and_nothing_of_them_stays() {
    let mut rig = Rig::new();
    rig.options.metrics_retention = Some(Duration::from_secs(10 * 24 * 3600));
    let memory = Arc::new(InMemory::new());
    let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
    let days = [80, 90, 95, 100];
    let batch: Vec<Item> = days.iter().map(|d| (d * DAY, *d as u64)).collect();
    append(&store, "a", &batch).await.unwrap();
    store.cut().await.unwrap();
    store.sync_bucket().await.unwrap();
    let before = store.view();
    let names = async || -> Vec<String> {
        let listed: Vec<_> = memory.list(None).try_collect().await.unwrap();
        let names = listed
            .iter()
            .map(|o| o.location.filename().unwrap_or_default().to_owned());
        names.collect()
    };
    let count = async |name: &str| names().await.iter().filter(|n| *n == name).count();
    assert_eq!(count("manifest.json").await, 4);
    rig.clock.set(101 * DAY);
    store.drop_expired(&mut Brake::default()).await;
    assert_eq!(items(&store, "a").await, batch[1..]);
    assert_eq!(count("manifest.json").await, 3, "at once");
    assert_eq!(count("items").await, 4, "files wait for the query");
    assert_eq!(tiny::items(&before, &tenant("a")).await, batch);
    drop(before);
    store.reap().await;
    assert_eq!(count("items").await, 3);
    let mirrored = Mirror::new(rig.dir.path().join("bucket"));
    let mirrored = mirrored.read(SignalKind::Metrics).unwrap();
    assert_eq!(mirrored.manifests.len(), 3);
}

#[tokio::test]
async fn a_damaged_block_fails_its_queries_and_is_left_out_of_merges() {
    let rig = Rig::new();
    let store = rig.open().await;
    for n in 0..3 {
        append(&store, "a", &[(1, n), (DAY, n)]).await.unwrap();
        store.cut().await.unwrap();
    }
    let view = store.view();
    let mut first_day = view.blocks.iter().filter(|b| b.manifest().min_time == 1);
    let (.., path) = first_day.nth(1).unwrap().local_files().remove(0);
    drop(view);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let refusal = tiny::try_items(&store.view(), &tenant("a")).await;
    assert!(matches!(refusal, Err(Error::Corrupt { .. })), "{refusal:?}");
    store.compact(Extent::All).await.unwrap();
    let levels = |store: &Store| -> Vec<(i64, u32)> {
        let view = store.view();
        let levels = view.blocks.iter().map(|b| b.manifest());
        levels.map(|m| (m.min_time, m.level)).collect()
    };
    let mut found = levels(&store);
    found.sort_unstable();
    assert_eq!(found, [(1, 1), (1, 1), (1, 1), (DAY, 2)]);
    assert_eq!(store.context.damage().files().len(), 1);
    drop(store);

    // A start knows nothing of it, until somebody reads; then the others go on.
    let store = rig.open().await;
    let refusal = store.compact(Extent::All).await.unwrap_err();
    assert!(matches!(refusal, Error::Corrupt { .. }), "{refusal}");
    store.compact(Extent::All).await.unwrap();
    for n in 3..5 {
        append(&store, "a", &[(1, n)]).await.unwrap();
        store.cut().await.unwrap();
    }
    store.compact(Extent::All).await.unwrap();
    let mut found = levels(&store);
    found.sort_unstable();
    assert_eq!(found, [(1, 1), (1, 1), (1, 2), (DAY, 2)]);
}

#[tokio::test]
async fn a_block_of_the_first_version_is_read() {
    let rig = Rig::new();
    let store = rig.open().await;
    append(&store, "a", &[(1, 1), (2, 2)]).await.unwrap();
    store.cut().await.unwrap();
    drop(store);
    let blocks = rig.dir.path().join("blocks");
    for path in files_below(&blocks, "json") {
        if path.ends_with("manifest.copy.json") {
            std::fs::remove_file(path).unwrap();
            continue;
        }
        let text = std::fs::read(&path).unwrap();
        let mut manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
        manifest["format_version"] = 1.into();
        manifest
            .as_object_mut()
            .unwrap()
            .remove("checksum")
            .unwrap();
        let file = manifest["files"][0].as_object_mut().unwrap();
        file.remove("crc32c_32k").unwrap();
        std::fs::write(&path, manifest.to_string()).unwrap();
    }
    let memory = Arc::new(InMemory::new());
    let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
    assert_eq!(items(&store, "a").await, [(1, 1), (2, 2)]);
    store.sync_bucket().await.unwrap();
    assert_eq!(places(&store), (0, 1));
    assert_eq!(items(&store, "a").await, [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn another_owner_stops_uploads_and_removals() {
    let rig = Rig::new();
    let memory = Arc::new(InMemory::new());
    let up = || Faulty::new(&memory, i64::MAX, false);
    let store = rig.open_bucket(up()).await;
    for n in 0..2 {
        append(&store, "a", &[(1, n)]).await.unwrap();
        store.cut().await.unwrap();
    }
    store.sync_bucket().await.unwrap();
    let thief = serde_json::json!({"owner": "them"}).to_string();
    let owner = "owner.json".into();
    memory.put(&owner, thief.into()).await.unwrap();
    append(&store, "a", &[(1, 2)]).await.unwrap();
    store.cut().await.unwrap();
    let refusal = store.sync_bucket().await.unwrap_err();
    assert!(matches!(refusal, Error::NotOurs(_)), "{refusal}");
    let refusal = store.compact(Extent::All).await.unwrap_err();
    assert!(matches!(refusal, Error::NotOurs(_)), "{refusal}");
    assert_eq!(places(&store), (1, 2));
    assert_eq!(items(&store, "a").await.len(), 3, "reading goes on");
    let status = store.context.bucket.as_ref().unwrap().status();
    assert!(status.refused.is_some() && status.outage.is_none());
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
            store.sync_bucket().await.unwrap();
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
            store.cut().await.unwrap();
            let done =
                store.sync_bucket().await.is_ok() && store.compact(Extent::All).await.is_ok();
            // Reads fail at once while the bucket is taken for unreachable; a probe ends that.
            let _ = store.context.bucket.as_ref().unwrap().check().await;
            check(&store, "after the failure").await;
            let unfinished = left.load(Ordering::SeqCst) < 0;

            // Another start, while the first process could still go on.
            let revived = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
            check(&revived, "after a crash").await;
            revived.cut().await.unwrap();
            revived.sync_bucket().await.unwrap();
            check(&revived, "after a crash, a cut and uploads").await;
            revived.compact(Extent::All).await.unwrap();
            check(&revived, "after a crash and a compaction").await;
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

/// As before, but the process itself goes on once the bucket is back, and is then started anew.
#[tokio::test]
async fn whatever_a_bucket_interrupted_is_brought_to_its_end() {
    for loses_answer in [false, true] {
        for changes in 0.. {
            let when = format!("{changes} changes, loses_answer {loses_answer}");
            let rig = Rig::new();
            let memory = Arc::new(InMemory::new());
            let bucket = Faulty::new(&memory, i64::MAX, loses_answer);
            let left = bucket.left();
            let store = rig.open_bucket(bucket).await;
            for n in 0..3 {
                append(&store, "a", &[(1, n), (DAY, n + 10)]).await.unwrap();
                store.cut().await.unwrap();
            }
            let expected = items(&store, "a").await;
            left.store(changes, Ordering::SeqCst);
            let done =
                store.sync_bucket().await.is_ok() && store.compact(Extent::All).await.is_ok();
            let unfinished = left.swap(i64::MAX, Ordering::SeqCst) < 0;
            store.sync_bucket().await.unwrap();
            store.compact(Extent::All).await.unwrap();
            store.reap().await;
            assert_eq!(places(&store), (0, 2), "{when}");
            assert_eq!(items(&store, "a").await, expected, "{when}");
            assert!(
                files_below(&rig.dir.path().join("blocks"), "").is_empty(),
                "{when}"
            );
            drop(store);
            let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
            assert_eq!(places(&store), (0, 2), "{when}");
            assert_eq!(items(&store, "a").await, expected, "{when}");
            let listed: Vec<_> = memory.list(None).try_collect().await.unwrap();
            // Two blocks of a file, a manifest and its copy; the owner and what the head remembers of nothing.
            assert_eq!(listed.len(), 7, "{when}: {listed:?}");
            if done && !unfinished {
                break;
            }
        }
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
    let store = rig.open().await;
    append(&store, "a", &[(1, 2)]).await.unwrap();
    store.snapshot().await.unwrap();
    append(&store, "a", &[(2, 4)]).await.unwrap();
    // No block can be written where a file stands in the way.
    let tmp = rig.dir.path().join("tmp");
    let _ = std::fs::remove_dir_all(&tmp);
    std::fs::write(&tmp, "").unwrap();
    store.cut().await.unwrap_err();
    append(&store, "a", &[(3, 6)]).await.unwrap();
    store.snapshot().await.unwrap();
    append(&store, "a", &[(4, 8)]).await.unwrap();
    assert_eq!(snapshots(&rig).len(), 2);
    drop(store);
    std::fs::remove_file(&tmp).unwrap();
    let store = rig.open().await;
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

#[tokio::test]
async fn a_folder_takes_over_the_blocks_of_one_that_was_lost() {
    let lost = Rig::new();
    let memory = Arc::new(InMemory::new());
    let up = || Faulty::new(&memory, i64::MAX, false);
    let store = lost.open_bucket(up()).await;
    append(&store, "a", &[(1, 1), (DAY, 2)]).await.unwrap();
    store.view().active.set_note("help text");
    store.cut().await.unwrap();
    store.sync_bucket().await.unwrap();
    store.reap().await;
    append(&store, "a", &[(1, 3), (DAY, 4)]).await.unwrap();
    store.cut().await.unwrap();
    // The disk goes when one block of a cut is in the bucket and the other is not.
    let bucket = up();
    bucket.left().store(3, Ordering::SeqCst);
    drop(store);
    let store = lost.open_bucket(bucket).await;
    store.sync_bucket().await.unwrap_err();
    assert_eq!(places(&store), (1, 3));
    drop(lost);

    let rig = Rig::new();
    let store = rig.open_bucket(up()).await;
    let kept = items(&store, "a").await;
    assert_eq!(kept, [(1, 1), (1, 3), (DAY, 2)]);
    assert_eq!(store.view().active.note().as_deref(), Some("help text"));
    append(&store, "a", &[(1, 9)]).await.unwrap();
    assert!(
        store.wal.last_seq() > 2,
        "numbers go on behind those of the blocks"
    );
    drop(store);
    let store = rig.open_bucket(up()).await;
    assert_eq!(items(&store, "a").await.len(), 4);
}

/// A cut creates the folders above its blocks and moves them there, while blocks beside them are taken away.
#[tokio::test]
async fn a_block_that_goes_takes_no_folder_along_that_a_cut_may_need() {
    let rig = Rig::new();
    let memory = Arc::new(InMemory::new());
    let store = rig.open_bucket(Faulty::new(&memory, i64::MAX, false)).await;
    append(&store, "a", &[(1, 1)]).await.unwrap();
    store.cut().await.unwrap();
    store.sync_bucket().await.unwrap();
    store.reap().await;
    assert_eq!(places(&store), (0, 1));
    let of_tenant = rig.dir.path().join("blocks/metrics/a");
    assert_eq!(std::fs::read_dir(of_tenant).unwrap().count(), 0);
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
