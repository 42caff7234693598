//! Spans read back as they were written, wherever they lie: head, block, several blocks, one merged.

#![expect(clippy::unwrap_used, reason = "a test ends at the first failure")]

use std::sync::Arc;

use storage::model::{
    AnyValue, Attribute, Link, Record, Resource, Scope, Span, SpanBatch, SpanEvent, SpanId,
    SpanKind, StatusCode, Tenant, Trace, TraceId,
};
use storage::read::{SpanMatch, TraceSelect};
use storage::{Options, RecordDecoder, RecordSink, SignalKind, Storage};

struct NoReplay;

impl RecordDecoder for NoReplay {
    fn decode(&self, _: SignalKind, _: Record<'_>, _: &mut dyn RecordSink) -> Result<(), String> {
        Err("nothing is replayed in this test".to_owned())
    }
}

const START_NS: u64 = 1_793_491_200_000_000_000;

fn pair(key: &str, value: AnyValue) -> Attribute {
    Attribute {
        key: key.to_owned(),
        value,
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue::String(value.to_owned())
}

/// A span that uses every field, and values that text alone could not tell apart.
fn span(trace: u128, id: u64, service: &str) -> Span {
    Span {
        resource: Arc::new(Resource {
            attributes: vec![
                pair("service.name", text(service)),
                pair("pid", AnyValue::Int(7)),
                pair("nan", AnyValue::Double(f64::INFINITY)),
            ],
            dropped_attributes_count: 1,
            schema_url: "https://schema".to_owned(),
        }),
        scope: Arc::new(Scope {
            name: "lib".to_owned(),
            version: "1".to_owned(),
            attributes: vec![pair("s", AnyValue::Bool(true))],
            ..Scope::default()
        }),
        trace_id: TraceId(trace.to_be_bytes()),
        span_id: SpanId(id.to_be_bytes()),
        parent_span_id: SpanId((id - 1).to_be_bytes()),
        trace_state: "a=b".to_owned(),
        flags: 257,
        name: format!("op {}", id % 3),
        kind: SpanKind(if id.is_multiple_of(5) { 99 } else { 2 }),
        start_ns: START_NS + id * 1000,
        end_ns: START_NS + id * 2000,
        attributes: vec![
            pair("n", AnyValue::Int(i64::try_from(id).unwrap())),
            pair("whole", AnyValue::Double(3.0)),
            pair("zero", AnyValue::Double(-0.0)),
            pair("yes", AnyValue::Bool(true)),
            pair("text", text("3")),
            pair("none", AnyValue::Empty),
            pair("bytes", AnyValue::Bytes(vec![0, 255])),
            pair(
                "list",
                AnyValue::Array(vec![
                    AnyValue::Bytes(vec![1]),
                    AnyValue::Map(vec![pair("k", text("v"))]),
                ]),
            ),
        ],
        dropped_attributes_count: 2,
        events: vec![SpanEvent {
            time_ns: START_NS - 5,
            name: "event".to_owned(),
            attributes: vec![pair("e", text("in event"))],
            dropped_attributes_count: 3,
        }],
        dropped_events_count: 4,
        links: vec![Link {
            trace_id: TraceId([9; 16]),
            span_id: SpanId([8; 8]),
            trace_state: "c=d".to_owned(),
            attributes: vec![pair("l", text("in link"))],
            dropped_attributes_count: 5,
            flags: 6,
        }],
        dropped_links_count: 7,
        status_code: StatusCode(if id.is_multiple_of(4) { 2 } else { 0 }),
        status_message: "words".to_owned(),
    }
}

async fn append(storage: &Storage, received_ms: i64, spans: Vec<Span>) {
    let record = Record {
        kind: 1,
        flags: 0,
        received_ms,
        payload: b"spans",
    };
    let batch = SpanBatch { spans, received_ms };
    let tenant = Tenant::anonymous();
    storage.append_spans(&tenant, batch, record).await.unwrap();
}

fn select(limit: usize) -> TraceSelect {
    TraceSelect {
        limit,
        ..TraceSelect::default()
    }
}

fn ids(traces: &[Trace]) -> Vec<u128> {
    let id = |t: &Trace| u128::from_be_bytes(t.trace_id.0);
    traces.iter().map(id).collect()
}

/// Everything that is asked of the spans, wherever they lie.
async fn check(storage: &Storage, where_they_lie: &str) {
    let tenant = Tenant::anonymous();
    for trace in 1..=40u128 {
        let found = storage
            .trace(&tenant, TraceId(trace.to_be_bytes()))
            .await
            .unwrap();
        let first = u64::try_from(trace).unwrap() * 10;
        // The second half of each trace came later, after all first halves.
        let wanted: Vec<Span> = (first..first + 6)
            .map(|id| span(trace, id, if id % 2 == 0 { "even" } else { "odd" }))
            .collect();
        assert_eq!(found.unwrap().spans, wanted, "{where_they_lie}");
    }
    let missing = storage.trace(&tenant, TraceId([7; 16])).await.unwrap();
    assert_eq!(missing, None, "{where_they_lie}");
    let services = storage.services(&tenant).await.unwrap();
    assert_eq!(services, ["even", "odd"], "{where_they_lie}");
    let operations = storage.operations(&tenant, "odd").await.unwrap();
    let names: Vec<(&str, &str)> = operations
        .iter()
        .map(|o| (o.name.as_str(), o.span_kind.as_str()))
        .collect();
    assert!(
        names.contains(&("op 0", "server")),
        "{where_they_lie}: {names:?}"
    );

    let newest: Vec<u128> = (31..=40).rev().collect();
    let found = storage.search_traces(&tenant, &select(10)).await.unwrap();
    assert_eq!(ids(&found), newest, "{where_they_lie}");
    for (key, value, wanted) in [
        ("n", "124", vec![12]),
        ("whole", "3", newest.clone()),
        ("list", "[\"AQ==\",{\"k\":\"v\"}]", newest.clone()),
        ("bytes", "AP8=", newest.clone()),
        ("e", "in event", newest.clone()),
        ("l", "in link", newest.clone()),
        ("s", "true", newest.clone()),
        ("pid", "7", newest.clone()),
        ("whole", "3.0", vec![]),
    ] {
        let mut select = select(10);
        select.matches = vec![SpanMatch::Attribute(key.to_owned(), value.to_owned())];
        let found = storage.search_traces(&tenant, &select).await.unwrap();
        assert_eq!(ids(&found), wanted, "{where_they_lie}: {key}={value}");
    }
    let mut one_span = select(10);
    one_span.service = Some("even".to_owned());
    one_span.start_min_ns = Some(i64::try_from(START_NS + 200_000).unwrap());
    one_span.start_max_ns = Some(i64::try_from(START_NS + 201_000).unwrap());
    one_span.matches = vec![SpanMatch::StatusIn(vec![2])];
    let found = storage.search_traces(&tenant, &one_span).await.unwrap();
    assert_eq!(ids(&found), [20], "{where_they_lie}");
    let range = storage::model::NsRange::ALL;
    let calls = storage.dependencies(&tenant, range).await.unwrap();
    let count: u64 = calls.iter().map(|c| c.call_count).sum();
    assert_eq!((calls.len(), count), (2, 200), "{where_they_lie}");
}

#[tokio::test]
async fn spans_read_the_same_from_head_and_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path());
    options.min_free_bytes = 0;
    let storage = Storage::open(options, Arc::new(NoReplay)).await.unwrap();
    let half = |from: u64, to: u64| {
        move |trace: u128| {
            let first = u64::try_from(trace).unwrap() * 10;
            (first + from..first + to)
                .map(|id| span(trace, id, if id % 2 == 0 { "even" } else { "odd" }))
                .collect::<Vec<_>>()
        }
    };
    for trace in 1..=40 {
        append(
            &storage,
            1000 + trace,
            half(0, 3)(u128::try_from(trace).unwrap()),
        )
        .await;
    }
    storage.flush().await.unwrap();
    for trace in 1..=40 {
        append(
            &storage,
            5000 - trace,
            half(3, 6)(u128::try_from(trace).unwrap()),
        )
        .await;
    }
    check(&storage, "a block and the head").await;
    storage.flush().await.unwrap();
    check(&storage, "two blocks").await;
    storage.compact().await.unwrap();
    check(&storage, "one merged block").await;
    storage.close().await.unwrap();
}
