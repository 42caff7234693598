//! Log entries read back as they were written, from blocks in which streams share pages and lie across row groups.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use storage::model::{
    BatchEntry, BatchStream, EntryBuf, Labels, LogBatch, MatchOp, Matcher, NsRange, Record, Tenant,
};
use storage::read::{Direction, LogSelect};
use storage::{Options, RecordDecoder, RecordSink, SignalKind, Storage};

struct NoReplay;

impl RecordDecoder for NoReplay {
    fn decode(&self, _: SignalKind, _: Record<'_>, _: &mut dyn RecordSink) -> Result<(), String> {
        Err("nothing is replayed in this test".to_owned())
    }
}

const START_NS: i64 = 1_793_491_200_000_000_000;
const STREAMS: usize = 24;

type Model = BTreeMap<String, Vec<(i64, String, String)>>;

fn labels(n: usize) -> Labels {
    Labels::from_pairs([("app", format!("a{}", n % 3)), ("n", format!("{n:02}"))])
}

/// Entries of stream `n`: the first has few, the last the most, tens of thousands.
fn count(n: usize) -> usize {
    n * n * 60 + 1
}

async fn write(storage: &Storage, round: i64, model: &mut Model) {
    for n in 0..STREAMS {
        let lines: Vec<(i64, String, bool)> = (0..count(n))
            .map(|i| {
                let t_ns = START_NS + round * 3_600_000_000_000 + i as i64 * 1_000_000;
                (t_ns, format!("line {i} of {n}"), i % 7 == 0)
            })
            .collect();
        let mut batch = LogBatch {
            streams: vec![BatchStream {
                labels: labels(n),
                entries: 0..lines.len(),
            }],
            entries: Vec::new(),
            metadata: Vec::new(),
        };
        for (t_ns, line, with_metadata) in &lines {
            let from = batch.metadata.len();
            if *with_metadata {
                let pair = (Cow::Borrowed("trace_id"), Cow::Owned(format!("{t_ns:x}")));
                batch.metadata.push(pair);
            }
            batch.entries.push(BatchEntry {
                t_ns: *t_ns,
                line: Cow::Borrowed(line),
                metadata: from..batch.metadata.len(),
            });
        }
        let record = Record {
            kind: 1,
            flags: 0,
            received_ms: START_NS / 1_000_000,
            payload: b"",
        };
        let tenant = Tenant::anonymous();
        let report = storage.append_logs(&tenant, &batch, record).await.unwrap();
        assert_eq!(report.entries, lines.len());
        let known = model.entry(labels(n).to_string()).or_default();
        for (t_ns, line, with_metadata) in lines {
            let metadata = match with_metadata {
                true => format!("trace_id={t_ns:x}"),
                false => String::new(),
            };
            known.push((t_ns, line, metadata));
        }
    }
}

async fn read(storage: &Storage, select: &LogSelect) -> Model {
    let tenant = Tenant::anonymous();
    let mut pages = storage.select_logs(&tenant, select).await.unwrap();
    let mut found = Model::new();
    let mut buf = EntryBuf::default();
    let mut before = None;
    while let Some(page) = pages.next_page().await.unwrap() {
        let (min, max) = page.bounds_ns();
        let place = match select.direction {
            Direction::Forward => min,
            Direction::Backward => -max,
        };
        assert!(before.is_none_or(|b| b <= place), "pages out of order");
        before = Some(place);
        page.entries(&mut buf).unwrap();
        let own = found.entry(page.stream().labels.to_string()).or_default();
        for e in buf.iter() {
            let pairs: Vec<String> = e.metadata().map(|(k, v)| format!("{k}={v}")).collect();
            own.push((e.t_ns(), e.line().to_owned(), pairs.join(",")));
        }
    }
    for own in found.values_mut() {
        own.sort();
    }
    found.retain(|_, own| !own.is_empty());
    found
}

async fn check(storage: &Storage, model: &Model) {
    let everything = NsRange::new(START_NS, i64::MAX);
    let part = NsRange::new(START_NS + 5_000_000_000, START_NS + 9_000_000_000);
    let one_app = Matcher::new(MatchOp::Equal, "app", "a1").unwrap();
    let any = Matcher::new(MatchOp::Regex, "n", ".+").unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        for range in [everything, part] {
            for matcher in [&any, &one_app] {
                let select = LogSelect {
                    matchers: vec![matcher.clone()],
                    range,
                    direction,
                    needles: Vec::new(),
                };
                let mut expected = model.clone();
                expected.retain(|text, own| {
                    own.retain(|(t, ..)| range.contains(*t));
                    own.sort();
                    !own.is_empty() && (matcher.name() == "n" || text.contains("a1"))
                });
                let found = read(storage, &select).await;
                assert_eq!(
                    found.iter().map(|(k, v)| (k, v.len())).collect::<Vec<_>>(),
                    expected
                        .iter()
                        .map(|(k, v)| (k, v.len()))
                        .collect::<Vec<_>>()
                );
                assert!(found == expected, "{direction:?} {range:?}");
            }
        }
    }
}

#[tokio::test]
async fn entries_of_streams_that_share_pages_come_back_from_head_blocks_and_a_merged_block() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path());
    (options.min_free_bytes, options.logs_retention) = (0, None);
    let storage = Storage::open(options, Arc::new(NoReplay)).await.unwrap();
    let mut model = Model::new();
    write(&storage, 0, &mut model).await;
    check(&storage, &model).await;
    storage.flush().await.unwrap();
    check(&storage, &model).await;
    write(&storage, 1, &mut model).await;
    check(&storage, &model).await;
    storage.flush().await.unwrap();
    check(&storage, &model).await;
    storage.compact().await.unwrap();
    assert_eq!(storage.stats(SignalKind::Logs).blocks, 1);
    check(&storage, &model).await;
    storage.close().await.unwrap();
}
