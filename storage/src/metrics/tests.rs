//! Metrics as a whole: what was appended, cut, merged and selected, against a plain map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::block::{Block, BlockStore, BlockWriter, Manifest};
use crate::budget::Budget;
use crate::codec::histogram::same_histogram;
use crate::model::{
    BatchExemplar, BatchSeries, BucketSpan, Counts, Histogram, LabelError, LabelPairs, Labels,
    MatchOp, Matcher, Metadata, MetricBatch, MetricType, MsRange, NO_START_MS, RefuseReason,
    ResetHint, STALE_NAN, SampleBuf, Tenant,
};
use crate::options::Options;
use crate::read::SeriesSelect;
use crate::signal::{Applied, BlockStats, Head, HeadOptions, SignalKind, View};

/// Keys of tests: a digit that says nothing, then `;name=value` for each label.
fn decode_labels<'k>(key: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    let text = std::str::from_utf8(key).map_err(|e| LabelError(e.to_string()))?;
    for label in text.split(';').skip(1) {
        let pair = label.split_once('=');
        out.push(pair.ok_or_else(|| LabelError(format!("no label: {label}")))?);
    }
    Ok(())
}

fn batch<'a>(samples: &[(&'a str, i64, f64)]) -> MetricBatch<'a> {
    let series = samples
        .iter()
        .enumerate()
        .map(|(i, (key, ..))| BatchSeries {
            key: key.as_bytes(),
            floats: i..i + 1,
            histograms: 0..0,
            exemplars: 0..0,
        });
    MetricBatch {
        series: series.collect(),
        decode_labels,
        t_ms: samples.iter().map(|s| s.1).collect(),
        values: samples.iter().map(|s| s.2).collect(),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    }
}

/// Of a block whose files are written.
pub(super) fn manifest(writer: &mut BlockWriter, tenant: &Tenant, stats: &BlockStats) -> Manifest {
    Manifest {
        format_version: 2,
        min_reader_version: 1,
        ulid: writer.ulid().to_string(),
        tenant: tenant.as_str().to_owned(),
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
        files: writer.finish().unwrap(),
    }
}

fn histogram_batch(key: &str, t_ms: i64, histogram: Histogram) -> MetricBatch<'_> {
    MetricBatch {
        series: vec![BatchSeries {
            key: key.as_bytes(),
            floats: 0..0,
            histograms: 0..1,
            exemplars: 0..0,
        }],
        histograms: vec![(t_ms, NO_START_MS, Arc::new(histogram))],
        ..batch(&[])
    }
}

fn histogram(count: u64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Gauge,
        schema: 3,
        zero_threshold: 0.001,
        sum: 1.5,
        positive_spans: vec![
            BucketSpan {
                offset: -2,
                length: 2,
            },
            BucketSpan {
                offset: 1,
                length: 1,
            },
        ],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count,
            zero_count: 1,
            positive: vec![1, 2, -1],
            negative: Vec::new(),
        },
    }
}

/// A store without log: generations, and blocks on disk.
struct World {
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
    tmp: std::path::PathBuf,
    store: Arc<BlockStore>,
    budget: Arc<Budget>,
    tenant: Tenant,
    view: Arc<View<MetricsHead>>,
}

impl World {
    fn new(window_ms: Option<i64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let budget = Budget::new(1 << 30);
        let options = Options::new(dir.path());
        let head = HeadOptions {
            out_of_order_window_ms: window_ms,
            max_exemplars: 100,
        };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            tmp: dir.path().join("tmp"),
            store: BlockStore::open(&options, &budget).unwrap(),
            budget,
            _dir: dir,
            tenant: Tenant::anonymous(),
            view: Arc::new(View {
                active: Arc::new(MetricsHead::new(head, None)),
                frozen: Vec::new(),
                blocks: Vec::new(),
                tombstones: Arc::default(),
            }),
        }
    }

    fn append(&self, batch: &MetricBatch<'_>) -> Applied<crate::model::MetricReport> {
        append(&self.view.active, &self.tenant, batch, NewSeries::Taken)
    }

    fn freeze(&mut self) {
        let options = self.view.active.options;
        let mut frozen = self.view.frozen.clone();
        frozen.push(Arc::clone(&self.view.active));
        self.view = Arc::new(View {
            active: Arc::new(MetricsHead::new(options, Some(&self.view.active))),
            frozen,
            blocks: self.view.blocks.clone(),
            tombstones: Arc::clone(&self.view.tombstones),
        });
    }

    fn block(&self, writer: &mut BlockWriter, stats: &BlockStats) -> Arc<Block> {
        let manifest = manifest(writer, &self.tenant, stats);
        let put = async {
            self.store.put_files(writer, &manifest).await.unwrap();
            self.store.put_manifest(&manifest).await.unwrap();
        };
        self.runtime.block_on(put);
        Arc::new(Block::new(Arc::clone(&self.store), manifest).unwrap())
    }

    /// Writes the oldest frozen generation as blocks.
    fn write_blocks(&mut self) {
        let mut frozen = self.view.frozen.clone();
        let mut blocks = self.view.blocks.clone();
        if frozen.is_empty() {
            return;
        }
        let head = frozen.remove(0);
        let remembered = head.remembered();
        if head.options.out_of_order_window_ms.is_some() {
            assert!(remembered.is_some());
        }
        for day in head.days(&self.tenant) {
            let mut writer = BlockWriter::create(&self.tmp, Ulid::generate()).unwrap();
            let span = SignalKind::Metrics.day_span(day);
            if let Some(stats) = head.write_block(&self.tenant, span, &mut writer).unwrap() {
                blocks.push(self.block(&mut writer, &stats));
            }
        }
        self.view = Arc::new(View {
            active: Arc::clone(&self.view.active),
            frozen,
            blocks,
            tombstones: Arc::clone(&self.view.tombstones),
        });
    }

    /// Puts a head in place of the active one that was loaded from a snapshot of it.
    fn restart_from_snapshot(&mut self, twice: bool) {
        let before = self.view.frozen.last().map(|h| &**h);
        let restored = MetricsHead::new(self.view.active.options, before);
        let mut frames = Vec::new();
        let mut keep = |frame: &[u8]| {
            frames.push(frame.to_vec());
            Ok(())
        };
        self.view.active.snapshot(&mut keep).unwrap();
        for frame in frames
            .iter()
            .cycle()
            .take(frames.len() * (1 + usize::from(twice)))
        {
            restored.restore(frame, &|_| true).unwrap();
        }
        self.view = Arc::new(View {
            active: Arc::new(restored),
            frozen: self.view.frozen.clone(),
            blocks: self.view.blocks.clone(),
            tombstones: Arc::clone(&self.view.tombstones),
        });
    }

    fn merge(&mut self, drop_before: Option<i64>) {
        let mut writer = BlockWriter::create(&self.tmp, Ulid::generate()).unwrap();
        let merging = MetricsHead::merge_blocks(
            &self.view.blocks,
            drop_before,
            &self.view.tombstones,
            &mut writer,
        );
        let stats = self.runtime.block_on(merging).unwrap();
        let blocks = stats.map(|stats| self.block(&mut writer, &stats));
        self.view = Arc::new(View {
            active: Arc::clone(&self.view.active),
            frozen: self.view.frozen.clone(),
            blocks: blocks.into_iter().collect(),
            tombstones: Arc::clone(&self.view.tombstones),
        });
    }

    fn select(&self, matchers: &[Matcher], range: MsRange) -> BTreeMap<Labels, SampleBuf> {
        let select = SeriesSelect {
            matchers: matchers.to_vec(),
            range,
        };
        self.runtime.block_on(async {
            let view = Arc::clone(&self.view);
            let mut set = select_series(view, &self.budget, &self.tenant, &select)
                .await
                .unwrap();
            let mut out = BTreeMap::new();
            while let Some(batch) = set.next_batch().await.unwrap() {
                for series in batch {
                    let mut samples = SampleBuf::default();
                    series.samples(&mut samples).unwrap();
                    let before = out.insert(series.labels().clone(), samples);
                    assert!(before.is_none(), "{} came twice", series.labels());
                }
            }
            out
        })
    }

    /// What the series of a selection say of the bytes that are still packed: when it is made first, and when they were read.
    fn packed_bytes(&self, matcher: Matcher) -> [usize; 2] {
        let select = SeriesSelect {
            matchers: vec![matcher],
            range: MsRange::ALL,
        };
        let read = || async {
            let view = Arc::clone(&self.view);
            let set = select_series(view, &self.budget, &self.tenant, &select);
            let mut set = set.await.unwrap();
            let mut packed = 0;
            while let Some(batch) = set.next_batch().await.unwrap() {
                for series in batch {
                    packed += series.packed_bytes();
                    series.samples(&mut SampleBuf::default()).unwrap();
                }
            }
            packed
        };
        self.runtime
            .block_on(async { [read().await, read().await] })
    }

    fn floats(&self, range: MsRange) -> BTreeMap<(String, i64), u64> {
        let mut out = BTreeMap::new();
        for (labels, samples) in self.select(&[], range) {
            let name = labels.get("n").unwrap().to_owned();
            assert!(samples.t_ms.is_sorted_by(|a, b| a < b));
            for (t_ms, value) in std::iter::zip(&samples.t_ms, &samples.values) {
                out.insert((name.clone(), *t_ms), value.to_bits());
            }
        }
        out
    }
}

fn key(n: u32, variant: u32) -> String {
    format!("{variant};__name__=m;n={n}")
}

#[test]
fn two_encodings_of_a_label_set_are_one_series() {
    let world = World::new(None);
    let applied = world.append(&batch(&[("1;n=1", 1, 1.0), ("2;n=1", 2, 2.0)]));
    assert_eq!((applied.taken, applied.report.floats), (2, 2));
    assert!(applied.changed);
    let found = world.select(&[], MsRange::ALL);
    assert_eq!(found.len(), 1);
    assert_eq!(found.values().next().unwrap().t_ms, [1, 2]);
    assert_eq!(world.view.active.stats(None).groups, 1);
}

#[test]
fn bad_labels_leave_out_one_series() {
    let world = World::new(None);
    let applied = world.append(&batch(&[("1;bad", 1, 1.0), ("1;n=1", 1, 1.0)]));
    assert_eq!(applied.report.bad_series.len(), 1);
    assert_eq!(applied.report.floats, 1);
    assert_eq!(world.select(&[], MsRange::ALL).len(), 1);
}

#[test]
fn an_equal_duplicate_is_no_error_and_a_differing_one_is_refused() {
    let world = World::new(None);
    world.append(&batch(&[("1;n=1", 10, 1.0), ("1;n=1", 20, STALE_NAN)]));
    let again = world.append(&batch(&[("1;n=1", 10, 1.0), ("1;n=1", 20, STALE_NAN)]));
    assert_eq!((again.report.floats, again.report.refused_count), (2, 0));
    assert!(!again.changed);
    let other = world.append(&batch(&[
        ("1;n=1", 10, 2.0),
        ("1;n=1", 20, f64::NAN),
        ("1;n=1", 30, 3.0),
    ]));
    assert_eq!(other.refused, [0, 1]);
    assert!(
        other
            .report
            .refused
            .iter()
            .all(|r| r.reason == RefuseReason::DuplicateTimestamp)
    );
    assert_eq!(other.report.floats, 1);
    let histogram = world.append(&histogram_batch("1;n=1", 30, histogram(5)));
    assert_eq!(histogram.refused, [0]);
}

#[test]
fn the_window_decides_over_late_samples_across_cuts() {
    let mut world = World::new(Some(100));
    world.append(&batch(&[("1;n=1", 1000, 1.0)]));
    world.freeze();
    let check = |world: &World, t_ms, reason| {
        let applied = world.append(&batch(&[("1;n=1", t_ms, 2.0)]));
        assert_eq!(
            applied.report.refused.first().map(|r| r.reason),
            reason,
            "{t_ms}"
        );
    };
    check(&world, 899, Some(RefuseReason::TooOld));
    check(&world, 900, None);
    world.freeze();
    world.write_blocks();
    world.write_blocks();
    check(&world, 899, Some(RefuseReason::TooOld));
    check(&world, 901, None);

    let world = World::new(Some(0));
    world.append(&batch(&[("1;n=1", 1000, 1.0)]));
    check(&world, 999, Some(RefuseReason::OutOfOrder));
    check(&world, 1000, Some(RefuseReason::DuplicateTimestamp));
    check(&world, 1001, None);
}

#[test]
fn what_must_be_in_order_is_refused_behind_the_newest_whatever_the_window() {
    let world = World::new(None);
    world.append(&batch(&[("0;a=1", 10, 1.0), ("0;a=2", 30, 1.0)]));
    let ends = batch(&[("0;a=1", 20, STALE_NAN), ("0;a=2", 20, STALE_NAN)]);
    let applied = append_in_order(&world.view.active, &world.tenant, &ends, NewSeries::Taken);
    assert_eq!((applied.taken, applied.report.refused_count), (1, 1));
    let refused = &applied.report.refused[0];
    assert_eq!(
        (refused.series, refused.reason),
        (1, RefuseReason::OutOfOrder)
    );
    assert_eq!(world.append(&ends).taken, 2);
}

#[test]
fn a_batch_taken_whole_leaves_nothing_where_a_sample_contradicts_what_is_stored() {
    let mut world = World::new(Some(0));
    world.append(&batch(&[("0;a=1", 10, 1.0), ("0;a=2", 10, 1.0)]));
    world.append(&histogram_batch("0;a=3", 10, histogram(3)));
    let whole = |world: &World, all: &MetricBatch<'_>, expected: Option<RefuseReason>| {
        let stored = || format!("{:?}", world.select(&[], MsRange::ALL));
        let before = stored();
        let applied = append_whole(&world.view.active, &world.tenant, all, NewSeries::Taken);
        let report = &applied.report;
        assert_eq!(report.refused.first().map(|r| r.reason), expected);
        assert_eq!(report.refused_whole, expected.is_some());
        assert_eq!(stored() == before, expected.is_some());
        assert_eq!(applied.changed, expected.is_none());
    };
    let late = [("0;a=4", 20, 1.0), ("0;a=1", 5, 1.0), ("0;a=2", 20, 1.0)];
    whole(&world, &batch(&late), Some(RefuseReason::OutOfOrder));
    let behind_a_good_one = [("0;a=1", 20, 1.0), ("0;a=1", 10, 2.0)];
    let twice = Some(RefuseReason::DuplicateTimestamp);
    whole(&world, &batch(&behind_a_good_one), twice);
    // The same series under a key that was not seen before.
    whole(&world, &batch(&[("1;a=1", 10, 2.0)]), twice);
    whole(&world, &histogram_batch("0;a=3", 10, histogram(4)), twice);
    let mut unsound = histogram(4);
    unsound.positive_spans.clear();
    let bad = Some(RefuseReason::BadHistogram);
    whole(&world, &histogram_batch("0;a=3", 20, unsound), bad);
    // The newest time is known to the generations that follow.
    world.freeze();
    whole(&world, &batch(&late), Some(RefuseReason::OutOfOrder));
    let again = [("0;a=1", 10, 1.0), ("0;a=1", 20, 1.0)];
    whole(&world, &batch(&again), None);
}

#[test]
fn a_batch_taken_whole_may_contradict_itself() {
    let world = World::new(Some(0));
    let all = [
        ("0;a=1", 10, 1.0),
        ("0;a=1", 10, 2.0),
        ("0;a=1", 5, 3.0),
        ("0;a=2", 10, 4.0),
    ];
    let applied = append_whole(
        &world.view.active,
        &world.tenant,
        &batch(&all),
        NewSeries::Taken,
    );
    assert!(!applied.report.refused_whole);
    assert_eq!((applied.taken, &applied.refused[..]), (2, &[1, 2][..]));
}

#[test]
fn a_replay_takes_all_but_the_refused() {
    let world = World::new(Some(0));
    let tenant = &world.tenant;
    let first = batch(&[("1;n=1", 5, 1.0), ("1;n=1", 4, 2.0), ("1;n=1", 3, 3.0)]);
    replay(&world.view.active, tenant, &first, &[1], None);
    replay(&world.view.active, tenant, &first, &[1], None);
    let found = world.select(&[], MsRange::ALL);
    let samples = found.values().next().unwrap();
    assert_eq!(
        (&samples.t_ms[..], &samples.values[..]),
        (&[3, 5][..], &[3.0, 1.0][..])
    );
}

#[test]
fn where_memory_is_short_known_series_are_written_on_and_new_ones_left_out() {
    let mut world = World::new(Some(0));
    world.append(&batch(&[("0;n=1", 10, 1.0)]));
    let write = |world: &World, all: &MetricBatch<'_>| {
        let (head, tenant) = (&world.view.active, &world.tenant);
        append_whole(head, tenant, all, NewSeries::LeftOut)
    };
    // The last is a known one under a key that was not seen before.
    let mixed = batch(&[("0;n=1", 20, 2.0), ("0;n=2", 20, 3.0), ("1;n=1", 30, 4.0)]);
    let applied = write(&world, &mixed);
    assert_eq!((applied.taken, &applied.refused[..]), (2, &[1][..]));
    assert_eq!(applied.report.no_room, 1);
    assert_eq!(applied.report.refused_count, 0, "nothing is wrong with it");
    let none = write(&world, &histogram_batch("0;n=3", 20, histogram(3)));
    assert_eq!((none.changed, &none.refused[..]), (false, &[0][..]));
    // A series goes on being known while the generation before is cut.
    world.freeze();
    assert_eq!(write(&world, &batch(&[("0;n=1", 40, 5.0)])).taken, 1);
    assert_eq!(world.select(&[], MsRange::ALL).len(), 1);

    let replayed = World::new(Some(0));
    let (head, tenant) = (&replayed.view.active, &replayed.tenant);
    let found = find_ahead(head, tenant, &mixed, &applied.refused);
    replay(head, tenant, &mixed, &applied.refused, Some(&found));
    assert_eq!(head.stats(None).groups, 1, "nor does a replay make it");
    assert_eq!(head.stats(None).appended, 2);
}

#[test]
fn series_that_a_replay_found_ahead_in_another_head_are_found_again() {
    let mut world = World::new(Some(0));
    let all = batch(&[("0;n=1", 10, 1.0), ("0;n=2", 10, 2.0)]);
    let found = find_ahead(&world.view.active, &world.tenant, &all, &[]);
    assert!(world.select(&[], MsRange::ALL).is_empty());
    world.freeze();
    let (head, tenant) = (&world.view.active, &world.tenant);
    replay(head, tenant, &all, &[], Some(&found));
    assert_eq!((head.stats(None).groups, head.stats(None).appended), (2, 2));
    let again = find_ahead(head, tenant, &all, &[]);
    replay(
        head,
        tenant,
        &batch(&[("0;n=1", 20, 3.0)]),
        &[],
        Some(&again),
    );
    assert_eq!(head.stats(None).appended, 3);
    assert_eq!(world.select(&[], MsRange::ALL).len(), 2);
}

#[test]
fn histograms_come_back_exactly_from_head_and_block() {
    let mut world = World::new(None);
    let mut expected = BTreeMap::new();
    for i in 0..300_i64 {
        // Every third one is late.
        let t_ms = if i % 3 == 2 {
            1000 * i - 5000
        } else {
            1000 * i
        };
        let mut h = histogram(i as u64);
        if i % 7 == 0 {
            h.counts = Counts::Float {
                count: 0.5 + i as f64,
                zero_count: f64::from_bits(0x7ff8_0000_0000_0001),
                positive: vec![1.0, 0.25, f64::INFINITY],
                negative: Vec::new(),
            };
        }
        if i % 11 == 0 {
            h.schema = crate::model::CUSTOM_BUCKETS_SCHEMA;
            h.custom_values = vec![1.0, 2.0, 5.0];
        }
        let applied = world.append(&histogram_batch("1;n=1", t_ms, h.clone()));
        if applied.report.histograms == 1 {
            expected.insert(t_ms, h);
        }
    }
    world.append(&batch(&[("1;n=1", 500, 7.0)]));
    let check = |world: &World| {
        let found = world.select(&[], MsRange::ALL);
        let samples = found.values().next().unwrap();
        let mut histograms = 0;
        for (i, t_ms) in samples.t_ms.iter().enumerate() {
            match samples.histogram(i) {
                Some(h) => {
                    assert!(
                        same_histogram(h, &expected[t_ms]),
                        "{h:?} {:?}",
                        expected[t_ms]
                    );
                    histograms += 1;
                }
                None => assert_eq!((*t_ms, samples.values[i]), (500, 7.0)),
            }
        }
        assert_eq!(histograms, expected.len());
        assert_eq!(samples.len(), expected.len() + 1);
    };
    check(&world);
    world.freeze();
    check(&world);
    world.write_blocks();
    assert_eq!(
        world.view.blocks.len(),
        1 + usize::from(expected.keys().any(|&t| t < 0))
    );
    check(&world);
    world.merge(None);
    check(&world);
    let mut bad = histogram(1);
    bad.positive_spans.pop();
    let applied = world.append(&histogram_batch("1;n=1", i64::from(i32::MAX), bad));
    assert_eq!(
        applied.report.refused.first().map(|r| r.reason),
        Some(RefuseReason::BadHistogram)
    );
}

#[test]
fn start_timestamps_come_back_from_head_and_block() {
    let mut world = World::new(None);
    let keys: Vec<String> = (0..3).map(|n| key(n, 0)).collect();
    for i in 0..500_i64 {
        let samples: Vec<_> = keys
            .iter()
            .map(|k| (k.as_str(), 1000 * i, i as f64))
            .collect();
        let mut one = batch(&samples);
        // One series without, one with, one with some.
        one.start_ms = vec![NO_START_MS, i - 7, if i >= 250 { 9 } else { NO_START_MS }];
        world.append(&one);
    }
    let check = |world: &World| {
        for (labels, samples) in world.select(&[], MsRange::ALL) {
            assert_eq!(samples.len(), 500);
            let expected: Vec<i64> = match labels.get("n").unwrap() {
                "0" => Vec::new(),
                "1" => (0..500).map(|i| i - 7).collect(),
                _ => (0..500)
                    .map(|i| if i >= 250 { 9 } else { NO_START_MS })
                    .collect(),
            };
            assert_eq!(samples.start_ms, expected, "{labels}");
        }
        let early = world.select(&[], MsRange::new(0, 10_000));
        assert!(early.values().all(|s| s.len() == 11));
    };
    check(&world);
    world.freeze();
    world.write_blocks();
    check(&world);
}

#[test]
fn a_block_of_many_series_is_read_page_by_page() {
    let mut world = World::new(None);
    let keys: Vec<String> = (0..700).map(|n| key(n, 0)).collect();
    for i in 0..40_i64 {
        let samples: Vec<_> = keys
            .iter()
            .map(|k| (k.as_str(), 1000 * i, i as f64))
            .collect();
        world.append(&batch(&samples));
    }
    let before = world.floats(MsRange::ALL);
    assert_eq!(before.len(), 700 * 40);
    let narrow = world.floats(MsRange::new(3000, 7000));
    assert_eq!(narrow.len(), 700 * 5);
    world.freeze();
    world.write_blocks();
    let [packed, kept] = world.packed_bytes(Matcher::equal("n", "499"));
    assert_eq!(packed, 8448 * (4 + 8), "times and values of a page");
    assert_eq!(kept, 0, "pages are unpacked once");
    assert_eq!(world.floats(MsRange::ALL), before);
    assert_eq!(world.floats(MsRange::new(3000, 7000)), narrow);
    let one = world.select(&[Matcher::equal("n", "499")], MsRange::new(5500, i64::MAX));
    assert_eq!(one.len(), 1);
    assert_eq!(one.values().next().unwrap().t_ms.first(), Some(&6000));
    let some = |count| {
        let found = some_series(&world.view.blocks[0], &world.view.tombstones, count);
        let found = world.runtime.block_on(found).unwrap();
        let all: BTreeSet<Labels> = found.into_iter().collect();
        all.len()
    };
    assert_eq!([0, 1, 3, 1000].map(some), [0, 1, 3, 700]);
    // Pages of all columns hold the same rows.
    let file = world.view.blocks[0].parquet("samples.parquet").unwrap();
    let metadata = world.runtime.block_on(file.metadata()).unwrap();
    let index = metadata.page_index().unwrap();
    let rows = |column| -> Vec<i64> {
        let pages = index.page_locations(0, column).unwrap();
        pages.iter().map(|p| p.first_row_index).collect()
    };
    assert_eq!(rows(1), [0, 8448, 16896, 25344]);
    assert!((0..4).all(|column| rows(column) == rows(1)));
}

#[test]
fn a_snapshot_holds_histograms_and_starts_and_is_refused_when_cut_short() {
    let mut world = World::new(None);
    for t_ms in [10, 20, 5, 30, 7] {
        world.append(&histogram_batch("1;n=1", t_ms, histogram(t_ms as u64)));
    }
    let with_start = MetricBatch {
        start_ms: vec![1, NO_START_MS],
        ..batch(&[("1;n=2", 10, 1.0), ("1;n=2", 20, 2.0)])
    };
    world.append(&with_start);
    let all = |world: &World| format!("{:?}", world.select(&[], MsRange::ALL));
    let before = all(&world);
    let held = world.view.active.held_bytes();
    world.restart_from_snapshot(false);
    assert_eq!(all(&world), before);
    assert!(world.view.active.held_bytes() <= held);
    // Writing goes on where it was.
    world.append(&histogram_batch("1;n=1", 40, histogram(40)));
    world.append(&batch(&[("1;n=2", 30, 3.0)]));
    let after = world.select(&[], MsRange::ALL);
    let times: Vec<&[i64]> = after.values().map(|s| &s.t_ms[..]).collect();
    assert_eq!(times, [&[5, 7, 10, 20, 30, 40][..], &[10, 20, 30]]);

    let mut frames = Vec::new();
    let mut keep = |frame: &[u8]| {
        frames.push(frame.to_vec());
        Ok(())
    };
    world.view.active.snapshot(&mut keep).unwrap();
    assert_eq!(frames.len(), 1);
    // Behind the last byte of a series the frame may end; anywhere else it may not.
    let whole = (1..frames[0].len()).filter(|&n| {
        let head = MetricsHead::new(world.view.active.options, None);
        head.restore(&frames[0][..n], &|_| true).is_ok()
    });
    assert_eq!(whole.count(), 2);
}

#[test]
fn labels_of_head_and_block_are_one_answer() {
    let mut world = World::new(None);
    world.append(&batch(&[
        ("1;__name__=a;x=1", 1000, 1.0),
        ("1;__name__=b;y=2", 1000, 1.0),
    ]));
    world.freeze();
    world.write_blocks();
    world.append(&batch(&[
        ("1;__name__=a;x=1", 9000, 1.0),
        ("1;__name__=c;z=3", 9000, 1.0),
    ]));
    let (view, budget, tenant) = (&world.view, &world.budget, &world.tenant);
    let names = |any_of: &[Vec<Matcher>], range| {
        let found = label_names(Arc::clone(view), budget, tenant, any_of, range);
        world.runtime.block_on(found).unwrap()
    };
    let values = |name: &str, any_of: &[Vec<Matcher>], range| {
        let found = label_values(Arc::clone(view), budget, tenant, name, any_of, range);
        world.runtime.block_on(found).unwrap()
    };
    let series = |any_of: &[Vec<Matcher>], limit| {
        let found = series_labels(
            Arc::clone(view),
            budget,
            tenant,
            any_of,
            MsRange::ALL,
            limit,
        );
        world.runtime.block_on(found).unwrap().len()
    };
    assert_eq!(names(&[], MsRange::ALL), ["__name__", "x", "y", "z"]);
    assert_eq!(names(&[], MsRange::new(0, 2000)), ["__name__", "x", "y"]);
    assert_eq!(names(&[], MsRange::new(2000, 9000)), ["__name__", "x", "z"]);
    let b = || vec![Matcher::equal("__name__", "b")];
    assert_eq!(names(&[b()], MsRange::ALL), ["__name__", "y"]);
    assert_eq!(values("__name__", &[], MsRange::ALL), ["a", "b", "c"]);
    let not_b = Matcher::new(MatchOp::NotRegex, "__name__", "b").unwrap();
    assert_eq!(
        values("__name__", &[vec![not_b.clone()]], MsRange::ALL),
        ["a", "c"]
    );
    assert_eq!(series(&[b(), vec![not_b]], 0), 3);
    assert_eq!(series(&[], 2), 2);
    assert_eq!(series(&[vec![Matcher::equal("q", "1")]], 0), 0);
}

#[test]
fn labels_of_a_block_are_those_of_its_series_that_last_through_the_range() {
    let mut world = World::new(None);
    // In order of labels most of those that end early stand together.
    let ends_early = |n: usize| (60..90).contains(&n) || n == 7 || n == 199;
    let keys: Vec<String> = (0..200)
        .map(|n| match ends_early(n) {
            true => format!("1;all={};early={};n={n:03}", n % 3, n % 5),
            false => format!("1;all={};n={n:03}", n % 2),
        })
        .collect();
    for t_ms in [1000, 5000, 9000] {
        let there = |(n, _): &(usize, &String)| t_ms < 5000 || !ends_early(*n);
        let samples = keys.iter().enumerate().filter(there);
        let samples: Vec<_> = samples.map(|(_, k)| (k.as_str(), t_ms, 1.0)).collect();
        world.append(&batch(&samples));
    }
    world.freeze();
    world.write_blocks();
    let (view, budget, tenant) = (&world.view, &world.budget, &world.tenant);
    for range in [
        MsRange::ALL,
        MsRange::new(0, 1000),
        MsRange::new(2000, 9000),
        MsRange::new(0, 900),
    ] {
        let series = series_labels(Arc::clone(view), budget, tenant, &[], range, 0);
        let series = world.runtime.block_on(series).unwrap();
        let pairs: BTreeSet<_> = series.iter().flat_map(|l| l.iter()).collect();
        let names = label_names(Arc::clone(view), budget, tenant, &[], range);
        let names = world.runtime.block_on(names).unwrap();
        let expected: BTreeSet<_> = pairs.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected.into_iter().collect::<Vec<_>>(), "{range:?}");
        for name in ["n", "all", "early", "none"] {
            let values = label_values(Arc::clone(view), budget, tenant, name, &[], range);
            let values = world.runtime.block_on(values).unwrap();
            let expected = pairs.iter().filter(|(n, _)| *n == name);
            let expected: Vec<_> = expected.map(|(_, value)| *value).collect();
            assert_eq!(values, expected, "{name} in {range:?}");
        }
    }
}

#[test]
fn metadata_and_exemplars_outlive_a_cut() {
    let mut world = World::new(None);
    let mut one = batch(&[("1;n=1", 1000, 1.0)]);
    one.exemplars.push(BatchExemplar {
        labels: Labels::from_pairs([("trace_id", "t")]),
        value: 2.0,
        t_ms: 1000,
    });
    one.series[0].exemplars = 0..1;
    one.metadata.push(Metadata {
        family: "m".to_owned(),
        metric_type: MetricType::Counter,
        help: "h".to_owned(),
        unit: String::new(),
    });
    let applied = world.append(&one);
    assert_eq!(applied.report.exemplars, 1);
    world.freeze();
    world.write_blocks();
    assert_eq!(
        metadata(&world.view, &world.tenant, Some("m")),
        one.metadata
    );
    let found = exemplars(&world.view, &world.tenant, &[vec![]], MsRange::ALL);
    assert_eq!(found[0].exemplars[0].value.to_bits(), 2.0_f64.to_bits());
    let restarted = World::new(None);
    let bytes = world.view.active.remembered().unwrap();
    restarted.view.active.remember(&bytes).unwrap();
    assert_eq!(metadata(&restarted.view, &world.tenant, None), one.metadata);
    // An exemplar of an unknown series makes none.
    let mut lone = batch(&[("1;n=9", 1, 1.0)]);
    lone.series[0].floats = 0..0;
    lone.series[0].exemplars = 0..1;
    lone.exemplars.clone_from(&one.exemplars);
    assert!(!world.append(&lone).changed);
}

#[test]
fn held_bytes_follow_what_is_held() {
    let world = World::new(None);
    let keys: Vec<String> = (0..500).map(|n| key(n, 0)).collect();
    for i in 0..500_i64 {
        let samples: Vec<_> = keys
            .iter()
            .map(|k| (k.as_str(), 15_000 * i, i as f64))
            .collect();
        world.append(&batch(&samples));
    }
    let held = world.view.active.held_bytes();
    // Labels, index and entries of a series, and some 1.5 bytes a sample.
    assert!((400_000..900_000).contains(&held), "{held}");
    let stats = world.view.active.stats(Some(&world.tenant));
    assert_eq!(
        (stats.groups, stats.chunks, stats.label_pairs),
        (500, 1500, 501)
    );
    assert_eq!((stats.min_time, stats.max_time), (0, 499 * 15_000));
}

#[derive(Clone, Debug)]
enum Step {
    /// Series, variant of its key, time, value.
    Write(Vec<(u32, u32, i64, u8)>),
    /// A series' next samples, in order.
    Steady(u32, usize),
    Freeze,
    WriteBlocks,
    Merge,
    /// The active generation is written down and read back, twice where asked: the second time changes nothing.
    Snapshot {
        twice: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0_u32..4, 0_u32..2, -2_000_i64..5_000, 0_u8..5);
    prop_oneof![
        5 => proptest::collection::vec(sample, 1..80).prop_map(Step::Write),
        3 => (0_u32..4, 1_usize..400).prop_map(|(n, len)| Step::Steady(n, len)),
        1 => Just(Step::Freeze),
        1 => Just(Step::WriteBlocks),
        1 => Just(Step::Merge),
        1 => any::<bool>().prop_map(|twice| Step::Snapshot { twice }),
    ]
}

fn value(n: u8) -> f64 {
    match n {
        0 => STALE_NAN,
        1 => f64::NAN,
        n => f64::from(n) / 3.0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_first_written(
        steps in proptest::collection::vec(step(), 1..25),
        // Days, so that cuts make several blocks.
        scale in prop_oneof![Just(1_i64), Just(60_000)],
        from in -2_500_i64..6_000,
        len in 0_i64..6_000,
    ) {
        let mut world = World::new(None);
        let mut model: BTreeMap<(String, i64), u64> = BTreeMap::new();
        let mut newest = [0_i64; 4];
        for step in steps {
            match step {
                Step::Write(samples) => {
                    let keys: Vec<String> = samples.iter().map(|s| key(s.0, s.1)).collect();
                    let samples: Vec<_> = std::iter::zip(&keys, &samples)
                        .map(|(key, s)| (key.as_str(), s.2 * scale, value(s.3)))
                        .collect();
                    let applied = world.append(&batch(&samples));
                    let refused: BTreeSet<u32> = applied.refused.into_iter().collect();
                    for (i, (key, t_ms, value)) in samples.into_iter().enumerate() {
                        let n = key.rsplit('=').next().unwrap().to_owned();
                        // Only what differs from something that is there is refused.
                        prop_assert!(!refused.contains(&(i as u32)) || model.contains_key(&(n.clone(), t_ms)));
                        model.entry((n, t_ms)).or_insert(value.to_bits());
                    }
                }
                Step::Steady(n, len) => {
                    let key = key(n, 0);
                    let start = newest[n as usize];
                    let samples: Vec<_> = (0..len as i64).map(|i| (key.as_str(), (start + i) * scale, i as f64)).collect();
                    newest[n as usize] += len as i64;
                    world.append(&batch(&samples));
                    for (_, t_ms, value) in samples {
                        model.entry((n.to_string(), t_ms)).or_insert(value.to_bits());
                    }
                }
                Step::Freeze => world.freeze(),
                Step::WriteBlocks => world.write_blocks(),
                Step::Merge if !world.view.blocks.is_empty() => world.merge(None),
                Step::Merge => {}
                Step::Snapshot { twice } => {
                    let before = world.view.active.stats(None);
                    world.restart_from_snapshot(twice);
                    let after = world.view.active.stats(None);
                    prop_assert_eq!((before.groups, before.min_time, before.max_time), (after.groups, after.min_time, after.max_time));
                }
            }
            prop_assert_eq!(&world.floats(MsRange::ALL), &model);
        }
        let range = MsRange::new(from * scale, (from + len) * scale);
        let mut expected = model;
        expected.retain(|(_, t_ms), _| range.contains(*t_ms));
        prop_assert_eq!(world.floats(range), expected);
        if !world.view.blocks.is_empty() && world.view.frozen.is_empty() {
            world.merge(Some(from * scale));
            let dropped = world.floats(range);
            prop_assert!(dropped.keys().all(|(_, t)| range.contains(*t)));
        }
    }
}
