//! The index against checking every series, as a file and made again from the tables.

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::block::{BlockStore, BlockWriter, Manifest};
use crate::budget::Budget;
use crate::metrics::block::writer::{Packing, TableWriter};
use crate::model::{Labels, MatchOp, Matcher, SampleBuf};
use crate::options::Options;
use crate::tombstone::Tombstones;

/// A block of series with one sample each, at the time of its position.
async fn write(folder: &std::path::Path, all: &[Labels]) -> (Arc<BlockStore>, Manifest) {
    let store = BlockStore::open(&Options::new(folder), &Budget::new(1 << 30)).unwrap();
    let mut files = BlockWriter::create(&folder.join("tmp"), Ulid::generate()).unwrap();
    let mut writer = TableWriter::new(&mut files, Packing::CUT);
    for (at, labels) in (0..).zip(all) {
        let samples = SampleBuf {
            t_ms: vec![at],
            values: vec![at as f64],
            ..SampleBuf::default()
        };
        writer.push(labels, &samples).unwrap();
    }
    let stats = writer.finish().unwrap().unwrap();
    let manifest = Manifest {
        format_version: 2,
        min_reader_version: 1,
        ulid: files.ulid().to_string(),
        tenant: "anonymous".to_owned(),
        signal: "metrics".to_owned(),
        min_time: stats.min_time,
        max_time: stats.max_time,
        resolution_ms: 0,
        level: 1,
        wal_seq_min: 0,
        wal_seq_max: 0,
        completes_cut: true,
        replaces: Vec::new(),
        deleted_through: 0,
        rows: stats.rows,
        groups: stats.groups,
        raw_bytes: stats.raw_bytes,
        files: files.finish().unwrap(),
    };
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

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let value = prop_oneof![
        Just(""),
        Just("v1"),
        Just("v19|v2|v3"),
        Just("v1|"),
        Just("v.*"),
        Just(".*"),
        Just(".+"),
        Just("v1.+"),
        Just("v(11|2.)"),
        Just(".*3"),
        Just("a|z"),
        Just("nothing"),
    ];
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("absent")];
    (op, name, value).prop_map(|(op, name, value)| Matcher::new(op, name, value).unwrap())
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
        many in proptest::collection::vec((proptest::collection::vec(matcher(), 0..4), -5_i64..310, 0_i64..310), 12),
        without in any::<bool>(),
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
