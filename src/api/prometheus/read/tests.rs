//! The endpoint called without a port. The answers are read by hand, member by member.

use std::sync::Arc;

use http::{Request, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::tests::app;
use super::*;
use crate::config::PrometheusConfig;
use crate::wire::protobuf::{Reader, Value, put_bytes, put_uint};

type Members = Vec<(u32, Vec<u8>)>;

/// Members of a message; numbers as eight bytes.
fn members(bytes: &[u8]) -> Members {
    let (mut out, mut reader) = (Vec::new(), Reader::new(bytes));
    while let Some((field, value)) = reader.next().unwrap() {
        let bytes = match value {
            Value::Bytes(bytes) => bytes.to_vec(),
            Value::Varint(n) | Value::Fixed64(n) => n.to_be_bytes().to_vec(),
            Value::Fixed32(n) => n.to_be_bytes().to_vec(),
        };
        out.push((field, bytes));
    }
    out
}

fn all(members: &Members, field: u32) -> Vec<&[u8]> {
    let of = members.iter().filter(|(f, _)| *f == field);
    of.map(|(_, bytes)| &bytes[..]).collect()
}

fn labels_of(series: &Members) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pairs = all(series, 1).into_iter().map(|label| {
        let label = members(label);
        format!("{}={}", text(all(&label, 1)[0]), text(all(&label, 2)[0]))
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn message(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn matcher(op: u64, name: &str, value: &str) -> Vec<u8> {
    message(|m| {
        put_uint(m, 1, op);
        put_bytes(m, 2, name.as_bytes());
        put_bytes(m, 3, value.as_bytes());
    })
}

fn query(matchers: &[Vec<u8>], func: &str) -> Vec<u8> {
    const T_MS: u64 = 1_793_491_200_000;
    message(|m| {
        put_uint(m, 1, T_MS - 1000);
        put_uint(m, 2, T_MS);
        matchers.iter().for_each(|one| put_bytes(m, 3, one));
        let hints = message(|h| {
            put_bytes(h, 2, func.as_bytes());
            put_uint(h, 3, T_MS - 500);
            put_uint(h, 4, T_MS);
        });
        put_bytes(m, 4, &hints);
    })
}

fn body(queries: &[Vec<u8>], accepted: &[u8]) -> Vec<u8> {
    let request = message(|m| {
        queries.iter().for_each(|q| put_bytes(m, 1, q));
        put_bytes(m, 2, accepted);
    });
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

async fn post(app: &AppState, body: Vec<u8>) -> (u16, HeaderMap, Vec<u8>) {
    let request = Request::post("/api/v1/read")
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Body::from(body))
        .unwrap();
    let router = super::super::router(&app.config).with_state(Arc::clone(app));
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    (parts.status.as_u16(), parts.headers, body)
}

/// Series of each query of an answer of one message: labels, and how many samples.
fn in_one_message(body: &[u8]) -> Vec<Vec<(String, usize)>> {
    let inflated = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let results = members(&inflated);
    let series = |bytes: &[u8]| {
        let series = members(bytes);
        (labels_of(&series), all(&series, 2).len())
    };
    let result = |bytes: &[u8]| all(&members(bytes), 1).into_iter().map(series).collect();
    all(&results, 1).into_iter().map(result).collect()
}

/// Frames of a stream: query, labels, and samples of all chunks.
fn in_frames(mut body: &[u8]) -> Vec<(u64, String, u64)> {
    let mut out = Vec::new();
    while !body.is_empty() {
        let mut reader = Reader::new(body);
        let length = reader.varint().unwrap() as usize;
        let (checksum, rest) = body[reader.position()..].split_at(4);
        let (frame, rest) = rest.split_at(length);
        assert_eq!(checksum, crc32c::crc32c(frame).to_be_bytes());
        body = rest;
        let frame = members(frame);
        let query = all(&frame, 2)
            .first()
            .map_or(0, |n| u64::from_be_bytes((*n).try_into().unwrap()));
        let series = members(all(&frame, 1)[0]);
        let samples = all(&series, 2).into_iter().map(|chunk| {
            let data = all(&members(chunk), 4)[0].to_vec();
            u64::from(u16::from_be_bytes([data[0], data[1]]))
        });
        out.push((query, labels_of(&series), samples.sum()));
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_answers_hold_the_same_series() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    let up = query(&[matcher(0, "__name__", "up")], "");
    let none = query(&[matcher(0, "__name__", "down")], "");
    let b = query(
        &[matcher(0, "__name__", "up"), matcher(2, "job", "b|c")],
        "",
    );
    let queries = [up, none, b];
    let (a_up, b_up) = (
        "__name__=up,job=a".to_owned(),
        "__name__=up,job=b".to_owned(),
    );

    let (status, headers, answer) = post(&app, body(&queries, &[])).await;
    assert_eq!(status, 200);
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    assert_eq!(headers[header::CONTENT_ENCODING], "snappy");
    let mut results = in_one_message(&answer);
    results.iter_mut().for_each(|r| r.sort());
    let expected = [
        vec![(a_up.clone(), 1), (b_up.clone(), 1)],
        vec![],
        vec![(b_up.clone(), 1)],
    ];
    assert_eq!(results, expected);

    let (status, headers, answer) = post(&app, body(&queries, &[1, 0])).await;
    assert_eq!(status, 200);
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
    );
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    assert_eq!(
        in_frames(&answer),
        [(0, a_up, 1), (0, b_up.clone(), 1), (2, b_up, 1)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn external_labels_are_added_and_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    let file = "global: {external_labels: {site: x, job: other}}";
    let file = PrometheusConfig::parse(file).unwrap();
    app.file.send_replace(Arc::new(file));
    let with = |op, value| query(&[matcher(0, "job", "a"), matcher(op, "site", value)], "");
    let queries = [with(0, "x"), with(0, "y"), with(1, "x")];
    let (_, _, answer) = post(&app, body(&queries, &[1])).await;
    let labels = "__name__=up,job=a,site=x".to_owned();
    assert_eq!(in_frames(&answer), [(0, labels.clone(), 1), (2, labels, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_labels_alone_gets_no_samples() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    let queries = [query(&[matcher(0, "job", "a")], "series")];
    let labels = "__name__=up,job=a".to_owned();
    let (_, _, answer) = post(&app, body(&queries, &[])).await;
    assert_eq!(in_one_message(&answer), [[(labels.clone(), 0)]]);
    let (_, _, answer) = post(&app, body(&queries, &[1])).await;
    assert_eq!(in_frames(&answer), [(0, labels, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path(), &[]).await;
    let junk = snap::raw::Encoder::new().compress_vec(b"\xff\xff").unwrap();
    let regex = query(&[matcher(2, "job", "(")], "");
    let op = query(&[matcher(4, "job", "a")], "");
    for (sent, status, words) in [
        (Vec::new(), 400, "snappy: corrupt input"),
        (b"not snappy".to_vec(), 400, "snappy"),
        (junk, 400, "EOF"),
        (
            body(&[], &[2, 3]),
            400,
            "requested response types: [2 3]; supported: map[",
        ),
        (body(&[regex], &[]), 500, "parsing regexp"),
        (body(&[op], &[1]), 500, "invalid matcher type"),
    ] {
        let (got, _, text) = post(&app, sent).await;
        let text = String::from_utf8(text).unwrap();
        assert_eq!(got, status, "{text}");
        assert!(text.contains(words), "{text}");
    }
}
