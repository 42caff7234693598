//! What was written to the three signals is read back the same, wherever it lies: head, replayed log, blocks of one cut,
//! of several, merged ones, and after each restart.
//!
//! Writes are numbered, and a number tells all that a write holds: the log's record is the number alone, and the model
//! that answers are held against is made from the same numbers.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use storage::model::{
    AnyValue, Attribute, BatchEntry, BatchSeries, BatchStream, BucketSpan, Counts, EntryBuf,
    Histogram, LabelError, LabelPairs, Labels, LogBatch, Matcher, MetricBatch, MsRange,
    NO_START_MS, NsRange, Record, Resource, STALE_NAN, SampleBuf, Span, SpanBatch, SpanId, Tenant,
    TraceId,
};
use storage::read::{Direction, LogSelect, SeriesSelect, TraceSelect};
use storage::{Options, RecordDecoder, RecordSink, SignalKind, Storage};

const T0_MS: i64 = 1_793_491_200_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const NS_PER_MS: i64 = 1_000_000;
/// Writes altogether; times of one lie between those of the others.
const WRITES: i64 = 9;
const SERIES: i64 = 7;
const STREAMS: i64 = 3;
/// Lines that a write adds to a stream: with their text enough for several pages.
const LINES: i64 = 240;
const TRACES: u128 = 5;

/// Times of a write: late ones among them, and on two days, so that a cut writes two blocks.
fn t_ms(write: i64, i: i64) -> i64 {
    T0_MS + (i % 2) * DAY_MS + (i * WRITES + (write * 5) % WRITES) * 100
}

fn decode_labels<'k>(key: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    let text = std::str::from_utf8(key).map_err(|e| LabelError(e.to_string()))?;
    for label in text.split(';') {
        out.push(
            label
                .split_once('=')
                .ok_or_else(|| LabelError(text.to_owned()))?,
        );
    }
    Ok(())
}

fn series_key(series: i64) -> String {
    format!("__name__=metric_{};job=j{series};ünï=code", series % 2)
}

/// A value whose bits tell it from all others; NaNs with a payload among them.
fn value(write: i64, series: i64, i: i64) -> f64 {
    match (write + series + i) % 11 {
        0 => STALE_NAN,
        1 => f64::from_bits(0x7ff8_0000_0000_0001 + i.unsigned_abs()),
        2 => -0.0,
        _ => (write * 1000 + series * 100 + i) as f64 / 3.0,
    }
}

fn start_ms(series: i64, t_ms: i64) -> i64 {
    if series % 3 == 0 {
        t_ms - 50
    } else {
        NO_START_MS
    }
}

fn histogram(write: i64) -> Histogram {
    Histogram {
        schema: 2,
        sum: write as f64,
        positive_spans: vec![BucketSpan {
            offset: -1,
            length: 2,
        }],
        counts: Counts::Integer {
            count: write.unsigned_abs() + 4,
            zero_count: 1,
            positive: vec![1, write],
            negative: Vec::new(),
        },
        ..Histogram::default()
    }
}

/// The keys lie outside, because a batch borrows them.
fn metrics<'a>(write: i64, keys: &'a [String]) -> MetricBatch<'a> {
    let mut batch = MetricBatch {
        series: Vec::new(),
        decode_labels,
        t_ms: Vec::new(),
        values: Vec::new(),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    };
    for (series, key) in (0..).zip(keys) {
        let from = batch.t_ms.len();
        // The last series holds histograms.
        let floats = if series == SERIES - 1 { 0 } else { 20 };
        for i in 0..floats {
            let t = t_ms(write, i);
            batch.t_ms.push(t);
            batch.values.push(value(write, series, i));
            batch.start_ms.push(start_ms(series, t));
        }
        if floats == 0 {
            let sample = (t_ms(write, 0), NO_START_MS, Arc::new(histogram(write)));
            batch.histograms.push(sample);
        }
        batch.series.push(BatchSeries {
            key: key.as_bytes(),
            floats: from..batch.t_ms.len(),
            histograms: 0..batch.histograms.len(),
            exemplars: 0..0,
        });
    }
    batch
}

fn keys() -> Vec<String> {
    (0..SERIES).map(series_key).collect()
}

fn stream_labels(stream: i64) -> Labels {
    Labels::from_pairs([
        ("job", format!("s{stream}")),
        ("quoted", "a\"b\\c\n".to_owned()),
    ])
}

fn logs(write: i64) -> LogBatch<'static> {
    let mut batch = LogBatch::default();
    for stream in 0..STREAMS {
        let from = batch.entries.len();
        for i in 0..LINES {
            let t_ns = t_ms(write, i) * NS_PER_MS + i;
            let first = batch.metadata.len();
            if i % 3 == 0 {
                batch
                    .metadata
                    .push(("write".into(), write.to_string().into()));
                batch.metadata.push(("päir".into(), String::new().into()));
            }
            batch.entries.push(BatchEntry {
                t_ns,
                line: match i % 40 {
                    0 => "".into(),
                    1 => "line\nbreak and ünïcode".into(),
                    _ => format!("write {write} line {i} {}", "x".repeat(200)).into(),
                },
                metadata: first..batch.metadata.len(),
            });
        }
        // What every write repeats is kept once; another line of the same time is kept as well.
        for line in ["repeated".to_owned(), format!("of write {write}")] {
            let end = batch.metadata.len();
            batch.entries.push(BatchEntry {
                t_ns: T0_MS * NS_PER_MS + 7,
                line: line.into(),
                metadata: end..end,
            });
        }
        batch.streams.push(BatchStream {
            labels: stream_labels(stream),
            entries: from..batch.entries.len(),
        });
    }
    batch
}

fn spans(write: i64) -> Vec<Span> {
    let span = |trace: u128| {
        let start_ns = t_ms(write, i64::try_from(trace).unwrap()) * NS_PER_MS;
        Span {
            resource: Arc::new(Resource {
                attributes: vec![Attribute {
                    key: "service.name".to_owned(),
                    value: AnyValue::String(format!("service {}", write % 2)),
                }],
                ..Resource::default()
            }),
            trace_id: TraceId(trace.to_be_bytes()),
            span_id: SpanId((write.unsigned_abs() + 1).to_be_bytes()),
            name: format!("operation {write}"),
            start_ns: start_ns.unsigned_abs(),
            end_ns: start_ns.unsigned_abs() + 5,
            attributes: vec![Attribute {
                key: "nan".to_owned(),
                value: AnyValue::Bytes(vec![0, 255, write.unsigned_abs() as u8]),
            }],
            ..Span::default()
        }
    };
    (1..=TRACES).map(span).collect()
}

/// A record is the number of its write.
struct Numbers;

impl RecordDecoder for Numbers {
    fn decode(
        &self,
        signal: SignalKind,
        record: Record<'_>,
        sink: &mut dyn RecordSink,
    ) -> Result<(), String> {
        let write = i64::from(*record.payload.first().ok_or("an empty record")?);
        match signal {
            SignalKind::Metrics => sink.metrics(&metrics(write, &keys())),
            SignalKind::Logs => sink.logs(&logs(write)),
            SignalKind::Traces => sink.spans(SpanBatch {
                spans: spans(write),
                received_ms: record.received_ms,
            }),
        }
        Ok(())
    }
}

type Sample = (i64, u64, i64, Option<Histogram>);
type Line = (i64, String, Vec<(String, String)>);

/// All that a tenant has.
#[derive(Debug, Default, PartialEq)]
struct Contents {
    samples: BTreeMap<String, Vec<Sample>>,
    lines: BTreeMap<String, Vec<Line>>,
    spans: BTreeMap<TraceId, Vec<Span>>,
}

impl Contents {
    /// What there is after the first writes.
    fn of(writes: std::ops::Range<i64>) -> Self {
        let mut out = Self::default();
        for write in writes {
            out.add_samples(&metrics(write, &keys()));
            out.add_lines(&logs(write));
            for span in spans(write) {
                out.spans.entry(span.trace_id).or_default().push(span);
            }
        }
        out.samples
            .values_mut()
            .for_each(|s| s.sort_by_key(|s| s.0));
        out.lines.values_mut().for_each(|l| l.sort());
        out
    }

    fn add_samples(&mut self, batch: &MetricBatch<'_>) {
        for series in &batch.series {
            let mut pairs = Vec::new();
            decode_labels(series.key, &mut pairs).unwrap();
            let labels = Labels::from_pairs(pairs).to_string();
            let samples = self.samples.entry(labels).or_default();
            for i in series.floats.clone() {
                samples.push((
                    batch.t_ms[i],
                    batch.values[i].to_bits(),
                    batch.start_ms[i],
                    None,
                ));
            }
            if series.floats.is_empty() {
                for (t, start, histogram) in &batch.histograms[series.histograms.clone()] {
                    samples.push((*t, 0, *start, Some(Histogram::clone(histogram))));
                }
            }
        }
    }

    fn add_lines(&mut self, batch: &LogBatch<'_>) {
        for stream in &batch.streams {
            let lines = self.lines.entry(stream.labels.to_string()).or_default();
            let mut known: BTreeSet<(i64, String)> = lines
                .iter()
                .map(|(t, line, _)| (*t, line.clone()))
                .collect();
            for entry in &batch.entries[stream.entries.clone()] {
                let pairs = &batch.metadata[entry.metadata.clone()];
                let pairs = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string()));
                if known.insert((entry.t_ns, entry.line.to_string())) {
                    lines.push((entry.t_ns, entry.line.to_string(), pairs.collect()));
                }
            }
        }
    }

    async fn read(storage: &Storage, tenant: &Tenant) -> Self {
        Self {
            samples: read_samples(storage, tenant).await,
            lines: read_lines(storage, tenant, NsRange::ALL, Direction::Forward).await,
            spans: read_spans(storage, tenant).await,
        }
    }
}

async fn read_samples(storage: &Storage, tenant: &Tenant) -> BTreeMap<String, Vec<Sample>> {
    let select = SeriesSelect {
        matchers: vec![Matcher::equal("ünï", "code")],
        range: MsRange::ALL,
    };
    let mut set = storage.select_series(tenant, &select).await.unwrap();
    let (mut out, mut buf) = (BTreeMap::new(), SampleBuf::default());
    while let Some(batch) = set.next_batch().await.unwrap() {
        for series in batch {
            buf.clear();
            series.samples(&mut buf).unwrap();
            let start = |i: usize| buf.start_ms.get(i).copied().unwrap_or(NO_START_MS);
            let sample = |i: usize| {
                let histogram = buf.histogram(i).map(|h| Histogram::clone(h));
                (buf.t_ms[i], buf.values[i].to_bits(), start(i), histogram)
            };
            let before = out.insert(
                series.labels().to_string(),
                (0..buf.len()).map(sample).collect(),
            );
            assert_eq!(before, None, "a series came twice");
        }
    }
    out
}

/// Lines by stream; those of one time in the order of their texts, which storage leaves open across blocks.
async fn read_lines(
    storage: &Storage,
    tenant: &Tenant,
    range: NsRange,
    direction: Direction,
) -> BTreeMap<String, Vec<Line>> {
    let select = LogSelect {
        matchers: Vec::new(),
        range,
        direction,
        needles: Vec::new(),
    };
    let mut pages = storage.select_logs(tenant, &select).await.unwrap();
    let (mut out, mut buf) = (BTreeMap::<String, Vec<Line>>::new(), EntryBuf::default());
    let mut last = None;
    while let Some(page) = pages.next_page().await.unwrap() {
        let (min, max) = page.bounds_ns();
        let in_order = match direction {
            Direction::Forward => last.is_none_or(|t| t <= min),
            Direction::Backward => last.is_none_or(|t| t >= max),
        };
        assert!(in_order, "pages come in the order that was asked for");
        last = Some(if direction == Direction::Forward {
            min
        } else {
            max
        });
        page.entries(&mut buf).unwrap();
        let lines = out.entry(page.stream().labels.to_string()).or_default();
        assert!(buf.iter().map(|e| e.t_ns()).is_sorted());
        for entry in buf.iter() {
            let pairs = entry.metadata().map(|(n, v)| (n.to_owned(), v.to_owned()));
            lines.push((entry.t_ns(), entry.line().to_owned(), pairs.collect()));
        }
    }
    out.retain(|_, lines| !lines.is_empty());
    out.values_mut().for_each(|l| l.sort());
    out
}

async fn read_spans(storage: &Storage, tenant: &Tenant) -> BTreeMap<TraceId, Vec<Span>> {
    let select = TraceSelect {
        limit: 1000,
        ..TraceSelect::default()
    };
    let found = storage.search_traces(tenant, &select).await.unwrap();
    found.into_iter().map(|t| (t.trace_id, t.spans)).collect()
}

/// The storage of a folder, restarted now and then.
struct World {
    folder: tempfile::TempDir,
    storage: Option<Arc<Storage>>,
    written: i64,
}

impl World {
    async fn new() -> Self {
        let mut world = Self {
            folder: tempfile::tempdir().unwrap(),
            storage: None,
            written: 0,
        };
        world.open().await;
        world
    }

    async fn open(&mut self) {
        let mut options = Options::new(self.folder.path());
        options.min_free_bytes = 0;
        // Cuts come when the test says so, and nothing is too old.
        options.head_max_age = Duration::MAX;
        options.metrics_retention = None;
        options.logs_retention = None;
        options.traces_retention = None;
        self.storage = Some(Storage::open(options, Arc::new(Numbers)).await.unwrap());
    }

    fn storage(&self) -> &Storage {
        self.storage.as_deref().unwrap()
    }

    /// The tenants, both with the same writes, so that a mix-up shows as doubled lines and spans.
    fn tenants() -> [Tenant; 2] {
        [Tenant::anonymous(), Tenant::new("other").unwrap()]
    }

    async fn write(&mut self, writes: i64) {
        for write in self.written..self.written + writes {
            let payload = [u8::try_from(write).unwrap()];
            let record = Record {
                kind: 1,
                flags: 0,
                received_ms: T0_MS + write,
                payload: &payload,
            };
            for tenant in Self::tenants() {
                let storage = self.storage();
                let keys = keys();
                let batch = metrics(write, &keys);
                let report = storage
                    .append_metrics(&tenant, &batch, record)
                    .await
                    .unwrap();
                assert_eq!((report.refused_count, report.bad_series.len()), (0, 0));
                let report = storage
                    .append_logs(&tenant, &logs(write), record)
                    .await
                    .unwrap();
                assert_eq!(report.too_far_behind, []);
                let batch = SpanBatch {
                    spans: spans(write),
                    received_ms: record.received_ms,
                };
                storage.append_spans(&tenant, batch, record).await.unwrap();
            }
        }
        self.written += writes;
    }

    async fn check(&self, where_it_lies: &str) {
        let wanted = Contents::of(0..self.written);
        for tenant in Self::tenants() {
            let read = Contents::read(self.storage(), &tenant).await;
            assert!(read.samples == wanted.samples, "samples: {where_it_lies}");
            assert!(read.lines == wanted.lines, "lines: {where_it_lies}");
            assert_eq!(read.spans, wanted.spans, "{where_it_lies}");
            // A part of the time, from behind.
            let range = NsRange::new(
                (T0_MS + 3000) * NS_PER_MS,
                (T0_MS + DAY_MS + 9000) * NS_PER_MS,
            );
            let part = read_lines(self.storage(), &tenant, range, Direction::Backward).await;
            let mut wanted = wanted.lines.clone();
            for lines in wanted.values_mut() {
                lines.retain(|(t, ..)| range.contains(*t));
            }
            assert!(part == wanted, "a part of the lines: {where_it_lies}");
        }
    }

    /// Ends without a word, as a crash does, and starts again.
    async fn crash(&mut self) {
        self.storage = None;
        self.open().await;
    }

    async fn restart(&mut self) {
        self.storage().close().await.unwrap();
        self.crash().await;
    }

    fn blocks(&self) -> [usize; 3] {
        [SignalKind::Metrics, SignalKind::Logs, SignalKind::Traces].map(|signal| {
            let of = |tenant| self.storage().blocks(signal, &tenant).len();
            Self::tenants().map(of).iter().sum()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_signals_read_the_same_from_head_log_blocks_and_merged_blocks() {
    let mut world = World::new().await;
    world.write(3).await;
    world.check("the head").await;
    world.crash().await;
    world.check("a head replayed from the log").await;
    world.storage().flush().await.unwrap();
    assert_eq!(world.blocks(), [4, 4, 4], "two tenants, two days");
    world.check("blocks of one cut").await;
    world.write(3).await;
    world.check("blocks and the head").await;
    world.crash().await;
    world.check("blocks and a head replayed from the log").await;
    world.restart().await;
    assert_eq!(world.blocks(), [8, 8, 8]);
    world.check("blocks of two cuts, after a restart").await;
    world.write(2).await;
    world.storage().flush().await.unwrap();
    assert_eq!(world.blocks(), [12, 12, 12]);
    world.check("blocks of three cuts").await;
    world.storage().compact().await.unwrap();
    assert_eq!(world.blocks(), [4, 4, 4]);
    world.check("merged blocks").await;
    world.write(1).await;
    world.check("merged blocks and the head").await;
    world.crash().await;
    world.check("merged blocks and a replayed head").await;
    world.storage().flush().await.unwrap();
    world.storage().compact().await.unwrap();
    assert_eq!(world.blocks(), [4, 4, 4]);
    world.restart().await;
    world.check("blocks merged twice, after a restart").await;
    world.storage().close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_lies_beside_its_tenant_and_survives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let mut options = Options::new(folder.path());
        options.min_free_bytes = 0;
        options.head_max_age = Duration::MAX;
        Storage::open(options, Arc::new(Numbers)).await.unwrap()
    };
    let tenant = Tenant::anonymous();
    let append = async |storage: &Storage, tenant: &Tenant, write: u8| {
        let batch = SpanBatch {
            spans: spans(i64::from(write)),
            received_ms: T0_MS,
        };
        let record = Record {
            kind: 1,
            flags: 0,
            received_ms: T0_MS,
            payload: &[write],
        };
        storage.append_spans(tenant, batch, record).await.unwrap();
    };
    let id = TraceId(1_u128.to_be_bytes());
    let names = async |storage: &Storage, tenant: &Tenant| {
        let trace = storage.trace(tenant, id).await.unwrap().unwrap();
        trace.spans.into_iter().map(|s| s.name).collect::<Vec<_>>()
    };
    let storage = open().await;
    append(&storage, &tenant, 0).await;
    append(&storage, &tenant.archive(), 1).await;
    drop(storage);
    let storage = open().await;
    assert_eq!(names(&storage, &tenant).await, ["operation 0"]);
    assert_eq!(names(&storage, &tenant.archive()).await, ["operation 1"]);
    storage.close().await.unwrap();
    drop(storage);
    let storage = open().await;
    assert_eq!(names(&storage, &tenant).await, ["operation 0"]);
    assert_eq!(names(&storage, &tenant.archive()).await, ["operation 1"]);
    storage.close().await.unwrap();
}
