//! The index against checking every series, as a file and made again from the tables.

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::block::{BlockStore, BlockWriter, Manifest};
use crate::budget::Budget;
use crate::index::any_matcher;
use crate::metrics::block::SERIES_FILE;
use crate::metrics::block::writer::{CUT_LEVEL, TableWriter};
use crate::metrics::tests::manifest;
use crate::model::{Labels, MatchOp, Matcher, SampleBuf, Tenant};
use crate::options::Options;
use crate::tombstone::Tombstones;

/// A block of series with one sample each, at the time of its position.
async fn write(folder: &std::path::Path, all: &[Labels]) -> (Arc<BlockStore>, Manifest) {
    let store = BlockStore::open(&Options::new(folder), &Budget::new(1 << 30)).unwrap();
    let mut files = BlockWriter::create(&folder.join("tmp"), Ulid::generate()).unwrap();
    let mut writer = TableWriter::new(&mut files, CUT_LEVEL);
    for (at, labels) in (0..).zip(all) {
        let samples = SampleBuf {
            t_ms: vec![at],
            values: vec![at as f64],
            ..SampleBuf::default()
        };
        writer.push(labels, &samples).unwrap();
    }
    let stats = writer.finish().unwrap().unwrap();
    let manifest = manifest(&mut files, &Tenant::anonymous(), &stats);
    store.put_files(&files, &manifest).await.unwrap();
    (store, manifest)
}

async fn open(store: &Arc<BlockStore>, manifest: &Manifest) -> OpenBlock {
    let block = Block::new(Arc::clone(store), manifest.clone()).unwrap();
    let tombstones = Tombstones::default();
    let opened = OpenBlock::open(Arc::new(block), &tombstones).await;
    opened.unwrap()
}

async fn selected(block: &OpenBlock, matchers: &[Matcher], range: MsRange) -> Vec<Labels> {
    let mut found = Vec::new();
    let each = |_: u32, entry: &SeriesEntry| found.push(entry.labels.clone());
    block.select(matchers, range, each).await.unwrap();
    found
}

/// Changes a byte of a file.
fn damage(block: &Block, file: &str, at: usize) {
    let files = block.local_files();
    let (.., path) = files.iter().find(|(_, f, _)| f.name == file).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn label_set() -> impl Strategy<Value = Labels> {
    (0_u32..20, 0_u32..200, 0_u32..3).prop_map(|(a, b, c)| {
        let text = |n: u32| format!("v{n}");
        let all = [("a", a), ("b", b), ("c", c)];
        Labels::from_pairs(
            all.into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| (name, text(n))),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_lookup_agrees_with_checking_every_series(
        all in proptest::collection::btree_set(label_set(), 1..300),
        many in proptest::collection::vec((proptest::collection::vec(any_matcher(), 0..4), -5_i64..310, 0_i64..310), 12),
        (without, damaged) in prop_oneof![Just((false, false)), Just((true, false)), Just((false, true))],
    ) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all: Vec<Labels> = all.into_iter().collect();
        runtime.block_on(async {
            let (store, mut manifest) = write(folder.path(), &all).await;
            if without {
                manifest.files.retain(|f| f.name != INDEX_FILE);
            }
            let block = open(&store, &manifest).await;
            if damaged {
                // The directory is at hand, the pages are not.
                damage(&block.block, INDEX_FILE, 0);
            }
            for (matchers, min_ms, length) in many {
                let range = MsRange::new(min_ms, min_ms + length);
                let passes = |(at, labels): &(i64, &Labels)| {
                    range.contains(*at) && matchers.iter().all(|m| m.matches_labels(labels))
                };
                let expected: Vec<Labels> = (0..).zip(&all).filter(passes).map(|(_, l)| l.clone()).collect();
                assert_eq!(selected(&block, &matchers, range).await, expected, "{matchers:?} {range:?}");
            }
            for name in ["a", "b", "c", "absent"] {
                let mut values = Vec::new();
                block.values(name, |v| values.push(v.to_owned())).await.unwrap();
                let expected: std::collections::BTreeSet<_> = all.iter().filter_map(|l| l.get(name)).map(str::to_owned).collect();
                assert_eq!(values, expected.into_iter().collect::<Vec<_>>());
            }
        });
    }
}

#[tokio::test]
async fn pages_kept_ahead_answer_lookups_without_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<Labels> = (0..100)
        .map(|n| Labels::from_pairs([("__name__", "m".to_owned()), ("n", format!("{n:03}"))]))
        .collect();
    let (store, manifest) = write(folder.path(), &all).await;
    let block = open(&store, &manifest).await;
    let some = block.index.keep_pages(&block.block, 1).await.unwrap();
    let kept = block.index.keep_pages(&block.block, u64::MAX).await;
    assert!((1..kept.unwrap()).contains(&some), "{some} bytes at most");
    let files = block.block.local_files();
    let (.., path) = files.iter().find(|(_, f, _)| f.name == INDEX_FILE).unwrap();
    std::fs::remove_file(path).unwrap();
    let matchers = [Matcher::new(MatchOp::Regex, "n", "0.*").unwrap()];
    assert_eq!(selected(&block, &matchers, MsRange::ALL).await, all);
    assert!(block.index.instead.get().is_none(), "nothing was made anew");
}

#[tokio::test]
async fn rows_of_each_series_are_found_with_and_without_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<Labels> = (0..100)
        .map(|n| Labels::from_pairs([("__name__", "m".to_owned()), ("n", format!("{n:03}"))]))
        .collect();
    let (store, manifest) = write(folder.path(), &all).await;
    let mut without = manifest.clone();
    without.files.retain(|f| f.name != INDEX_FILE);
    for manifest in [manifest, without] {
        // Two of one name share what is kept of it.
        store
            .forget(Ulid::from_string(&manifest.ulid).unwrap())
            .await;
        let block = open(&store, &manifest).await;
        let mut rows = Vec::new();
        let each = |id: u32, entry: &SeriesEntry| {
            assert_eq!(entry.rows, u64::from(id)..u64::from(id) + 1);
            rows.push(entry.rows.clone());
        };
        block.select(&[], MsRange::ALL, each).await.unwrap();
        assert_eq!(rows.len(), all.len());
        let pages = block.pages(&rows[40..60], false).await.unwrap();
        let mut samples = SampleBuf::default();
        pages.read(&rows[41], MsRange::ALL, &mut samples).unwrap();
        assert_eq!(
            (&samples.t_ms[..], &samples.values[..]),
            (&[41][..], &[41.0][..])
        );
    }
}

#[tokio::test]
async fn what_is_no_directory_is_reported_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let all = [Labels::from_pairs([("a", "b")])];
    let (store, manifest) = write(folder.path(), &all).await;
    let block = Block::new(store, manifest.clone()).unwrap();
    let size = block.file_size(INDEX_FILE).unwrap();
    let whole = block.read(INDEX_FILE, 0..size).await.unwrap();
    for at in whole.len() - FOOTER_BYTES..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x55;
        let read = read_directory(&block, &bytes.into(), 0, size).await;
        assert!(matches!(read, Err(Error::Corrupt { .. })), "byte {at}");
    }
    for cut in 0..whole.len() {
        let read = read_directory(&block, &whole.slice(..cut), 0, cut as u64).await;
        assert!(read.is_err(), "{cut} bytes");
    }
}

/// A block whose series are `m{n="000"}` and so on, with one sample each, and its labels.
async fn numbered(folder: &std::path::Path) -> (Arc<BlockStore>, Manifest, Vec<Labels>) {
    let labels = |n| Labels::from_pairs([("__name__", "m".to_owned()), ("n", format!("{n:03}"))]);
    let all: Vec<Labels> = (0..100).map(labels).collect();
    let (store, manifest) = write(folder, &all).await;
    (store, manifest, all)
}

#[tokio::test]
async fn a_damaged_index_is_noted_and_made_anew_before_and_in_the_midst_of_a_look_up() {
    for opened_before in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (store, manifest, all) = numbered(folder.path()).await;
        let mut block = open(&store, &manifest).await;
        if opened_before {
            // One page of series is at hand, so that the others are missed behind it.
            block.page_of_series(0).await.unwrap();
        }
        damage(&block.block, INDEX_FILE, 70);
        if !opened_before {
            store.forget(block.block.id()).await;
            block = open(&store, &manifest).await;
        }

        assert_eq!(selected(&block, &[], MsRange::ALL).await, all);
        let matcher = Matcher::new(MatchOp::Regex, "n", "01.*").unwrap();
        assert_eq!(
            selected(&block, &[matcher], MsRange::ALL).await,
            all[10..20]
        );
        let mut values = 0;
        block.values("n", |_| values += 1).await.unwrap();
        assert_eq!(values, 100);
        let (page, at) = block.page_of_series(99).await.unwrap();
        assert_eq!(page[at].labels, all[99]);
        let mut samples = SampleBuf::default();
        let pages = block
            .pages(std::slice::from_ref(&(41..42)), false)
            .await
            .unwrap();
        pages.read(&(41..42), MsRange::ALL, &mut samples).unwrap();
        assert_eq!(
            (&samples.t_ms[..], &samples.values[..]),
            (&[41][..], &[41.0][..])
        );

        let (damaged, found) = (store.damage().files(), store.damage().found());
        assert!(
            damaged.len() == 1 && damaged[0].ends_with(INDEX_FILE),
            "{damaged:?}"
        );
        // What was made stays: nobody meets the damage again.
        let again = open(&store, &manifest).await;
        assert_eq!(selected(&again, &[], MsRange::ALL).await, all);
        assert_eq!(store.damage().found(), found);
    }
}

#[tokio::test]
async fn each_use_of_an_index_gets_over_damage_that_it_is_the_first_to_meet() {
    for first in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let (store, manifest, all) = numbered(folder.path()).await;
        let block = open(&store, &manifest).await;
        damage(&block.block, INDEX_FILE, 70);
        match first {
            0 => assert_eq!(selected(&block, &[], MsRange::ALL).await, all),
            1 => {
                let mut values = Vec::new();
                let each = |v: &str| values.push(v.to_owned());
                block.values("n", each).await.unwrap();
                assert!(values.len() == 100 && values.is_sorted(), "{values:?}");
            }
            2 => {
                let (page, at) = block.page_of_series(20).await.unwrap();
                assert_eq!(page[at].labels, all[20]);
            }
            _ => drop(
                block
                    .pages(std::slice::from_ref(&(0..100)), false)
                    .await
                    .unwrap(),
            ),
        }
        assert_eq!(store.damage().files().len(), 1);
    }
}

#[tokio::test]
async fn a_damaged_index_over_damaged_tables_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (store, manifest, _) = numbered(folder.path()).await;
    let block = open(&store, &manifest).await;
    store.forget(block.block.id()).await;
    damage(&block.block, INDEX_FILE, 70);
    damage(&block.block, SERIES_FILE, 9);
    let select = block.select(&[], MsRange::ALL, |_, _| {}).await;
    assert!(matches!(select, Err(Error::Corrupt { .. })), "{select:?}");
    let opened = OpenBlock::open(Arc::clone(&block.block), &Tombstones::default()).await;
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    assert_eq!(store.damage().files().len(), 2);
}
