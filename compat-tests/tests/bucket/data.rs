//! Small batches of the three signals by number, and everything that a server has of them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use compat_tests::feed::metrics::{self, Dataset, Histogram, Point, PointValue, Protocol, Series};
use compat_tests::http::{Client, Response};
use compat_tests::sample::T0;
use compat_tests::server::Urls;
use compat_tests::wire::{Message, snappy};
use serde_json::{Value, json};

/// What a padding takes in the log.
pub(crate) const PADDING_BYTES: usize = 1 << 20;

/// Lines, samples and spans of a batch.
pub(crate) const LINES: usize = 5;

/// Batches from this number on lie a day later.
pub(crate) const NEXT_DAY: usize = 1000;
pub(crate) const DAY_S: i64 = 24 * 3600;

fn start_s(batch: usize) -> i64 {
    let day = if batch >= NEXT_DAY { DAY_S } else { 0 };
    T0 + day + (batch % NEXT_DAY) as i64 * 60
}

/// What a server says of all batches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Time and value of each sample, by series.
    pub(crate) samples: BTreeMap<String, Vec<(i64, String)>>,
    /// Time and count of each native histogram.
    pub(crate) histograms: Vec<(i64, String)>,
    /// How often each line came.
    pub(crate) texts: BTreeMap<String, usize>,
    pub(crate) lines: usize,
    /// Span ids by trace.
    pub(crate) spans: BTreeMap<String, Vec<String>>,
    pub(crate) services: Vec<String>,
}

/// What it should say after these batches.
pub(crate) fn expected(batches: impl IntoIterator<Item = usize>) -> Answers {
    let mut all = Answers::default();
    for batch in batches {
        let series = all.samples.entry(format!("s{}", batch % 2)).or_default();
        for n in 0..LINES {
            let value = (batch * 100 + n).to_string();
            series.push((start_s(batch) + n as i64, value));
            *all.texts.entry(line(batch, n)).or_default() += 1;
            let spans = all.spans.entry(trace_id(batch)).or_default();
            spans.push(span_id(batch, n));
        }
        series.sort();
        all.histograms
            .push((start_s(batch), (batch + 1).to_string()));
        all.lines += LINES;
    }
    all.histograms.sort();
    if all.lines > 0 {
        all.services.push("shop".to_owned());
    }
    all
}

fn line(batch: usize, n: usize) -> String {
    format!("line {n} of batch {batch}")
}

fn trace_id(batch: usize) -> String {
    // Both halves say something: Jaeger writes 16 digits where the upper one is zero.
    format!("{:016x}{:016x}", 1, batch + 1)
}

fn span_id(batch: usize, n: usize) -> String {
    format!("{:016x}", batch * 100 + n + 1)
}

fn dataset(batch: usize) -> Dataset {
    let points = (0..LINES).map(|n| Point {
        t_ms: (start_s(batch) + n as i64) * 1000,
        start_ms: None,
        value: PointValue::Float(((batch * 100 + n) as f64).to_bits()),
    });
    let histogram = Histogram {
        count: (batch + 1) as f64,
        positive_spans: vec![(0, 1)],
        positive: vec![(batch + 1) as f64],
        ..Histogram::default()
    };
    let histogram = Point {
        t_ms: start_s(batch) * 1000,
        start_ms: None,
        value: PointValue::Histogram(Box::new(histogram)),
    };
    let series = |labels: &[(&str, &str)], points| Series {
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        points,
        exemplars: vec![],
    };
    let floats = [
        ("__name__", "bucket_total"),
        ("series", ["s0", "s1"][batch % 2]),
    ];
    Dataset {
        series: vec![
            series(&floats, points.collect()),
            series(&[("__name__", "bucket_sizes")], vec![histogram]),
        ],
        metadata: vec![],
    }
}

fn push(batch: usize) -> Value {
    let values: Vec<Value> = (0..LINES)
        .map(|n| {
            json!([
                ((start_s(batch) + n as i64) * 1_000_000_000).to_string(),
                line(batch, n)
            ])
        })
        .collect();
    json!({"streams": [{"stream": {"app": "bucket"}, "values": values}]})
}

fn export(batch: usize) -> Value {
    let spans: Vec<Value> = (0..LINES)
        .map(|n| {
            let start = (start_s(batch) + n as i64) * 1_000_000_000;
            json!({"traceId": trace_id(batch), "spanId": span_id(batch, n), "name": "buy", "kind": 2,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 1000).to_string()})
        })
        .collect();
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": spans}]}]})
}

async fn post_json(url: &str, body: &Value) -> Result<Response> {
    let headers = [("content-type", "application/json")];
    Client::new()
        .post(url, &headers, body.to_string().into_bytes())
        .await
}

/// Writes a batch of each signal.
pub(crate) async fn write(urls: &Urls, batch: usize) -> Result<()> {
    metrics::feed(
        &Client::new(),
        &urls.web,
        &dataset(batch),
        Protocol::Write1,
        &[],
    )
    .await?;
    let pushed = post_json(&format!("{}/loki/api/v1/push", urls.loki), &push(batch)).await?;
    let exported = post_json(&format!("{}/v1/traces", urls.otlp_http), &export(batch)).await?;
    for answer in [pushed, exported] {
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(
            (200..300).contains(&answer.status),
            "{}: {said}",
            answer.status
        );
    }
    Ok(())
}

/// A sample in a large request: what the server does not know of it is in its log all the same.
pub(crate) async fn pad(urls: &Urls, n: usize) -> Result<Response> {
    let mut label = Message::new();
    label.bytes(1, "__name__").bytes(2, "padding");
    let mut sample = Message::new();
    sample.double_bits(1, 1f64.to_bits());
    sample.int(2, (T0 + n as i64) * 1000);
    let mut series = Message::new();
    series.message(1, &label).message(2, &sample);
    let mut state = n as u64 + 1;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(PADDING_BYTES)
    .collect();
    let mut request = Message::new();
    request.message(1, &series).bytes(15, noise);
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    let url = format!("{}/api/v1/write", urls.web);
    Client::new().post(&url, &headers, snappy(&request.0)).await
}

/// Status and text of writes that are to be refused, one of each signal.
pub(crate) async fn refused_writes(urls: &Urls, batch: usize) -> Vec<(u16, String)> {
    let samples = metrics::feed(
        &Client::new(),
        &urls.web,
        &dataset(batch),
        Protocol::Write1,
        &[],
    )
    .await;
    let samples = samples.unwrap_err().to_string();
    let status = if samples.contains("503") { 503 } else { 0 };
    let mut refusals = vec![(status, samples)];
    for (url, body) in [
        (format!("{}/loki/api/v1/push", urls.loki), push(batch)),
        (format!("{}/v1/traces", urls.otlp_http), export(batch)),
    ] {
        let answer = post_json(&url, &body).await.unwrap();
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        refusals.push((answer.status, said));
    }
    refusals
}

pub(crate) async fn get(url: &str) -> Result<Value, (u16, String)> {
    let answer = Client::new().get(url).await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if answer.status != 200 {
        return Err((answer.status, text));
    }
    Ok(serde_json::from_str(&text).unwrap())
}

fn samples_url(urls: &Urls, name: &str, from_s: i64, until_s: i64) -> String {
    // A range leaves its beginning out, so it begins a moment earlier.
    let window = until_s - from_s;
    format!(
        "{}/api/v1/query?query={name}%5B{window}s1ms%5D&time={}",
        urls.web,
        T0 + until_s
    )
}

fn lines_url(urls: &Urls, from_s: i64, until_s: i64) -> String {
    format!(
        "{}/loki/api/v1/query_range?query=%7Bapp%3D%22bucket%22%7D&start={}&end={}&limit=5000&direction=forward",
        urls.loki,
        (T0 + from_s) * 1_000_000_000,
        (T0 + until_s) * 1_000_000_000,
    )
}

fn traces_url(urls: &Urls, from_s: i64, until_s: i64) -> String {
    format!(
        "{}/api/traces?service=shop&limit=1000&start={}&end={}",
        urls.jaeger,
        (T0 + from_s) * 1_000_000,
        (T0 + until_s) * 1_000_000,
    )
}

/// Everything of all batches.
pub(crate) async fn answers(urls: &Urls) -> Answers {
    answers_since(urls, -60).await
}

/// Everything since a time, in seconds of the first batch.
pub(crate) async fn answers_since(urls: &Urls, from_s: i64) -> Answers {
    let until_s = 2 * DAY_S - 1;
    let mut all = Answers::default();
    for (of, url, at) in [
        (
            Of::Samples,
            samples_url(urls, "bucket_total", from_s, until_s),
            "/data/result",
        ),
        (
            Of::Histograms,
            samples_url(urls, "bucket_sizes", from_s, until_s),
            "/data/result",
        ),
        (Of::Lines, lines_url(urls, from_s, until_s), "/data/result"),
        (Of::Spans, traces_url(urls, from_s, until_s), "/data"),
    ] {
        let answer = get(&url).await.unwrap();
        for entry in list(&answer, at) {
            all.take(of, &entry);
        }
    }
    // The list of services is not of a time, so it may want blocks that are out of reach.
    if from_s <= 0 {
        let answer = get(&format!("{}/api/services", urls.jaeger)).await.unwrap();
        let names = list(&answer, "/data");
        all.services = names.iter().map(|s| text(s, "")).collect();
    } else if all.lines > 0 {
        all.services.push("shop".to_owned());
    }
    all
}

fn list(answer: &Value, at: &str) -> Vec<Value> {
    let list = answer.pointer(at).and_then(Value::as_array).cloned();
    list.unwrap_or_default()
}

fn text(value: &Value, at: &str) -> String {
    let text = value.pointer(at).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no {at} in {value}"))
        .to_owned()
}

impl Answers {
    /// Adds a series, stream or trace of an answer.
    fn take(&mut self, of: Of, entry: &Value) {
        let time_s = |v: &Value| v[0].as_f64().unwrap() as i64;
        match of {
            Of::Samples => {
                let values = list(entry, "/values");
                let values = values.iter().map(|v| (time_s(v), text(v, "/1")));
                self.samples
                    .insert(text(entry, "/metric/series"), values.collect());
            }
            Of::Histograms => {
                let values = list(entry, "/histograms");
                let values = values.iter().map(|v| (time_s(v), text(v, "/1/count")));
                self.histograms.extend(values);
            }
            Of::Lines => {
                for value in list(entry, "/values") {
                    *self.texts.entry(text(&value, "/1")).or_default() += 1;
                    self.lines += 1;
                }
            }
            Of::Spans => {
                let spans = list(entry, "/spans");
                let mut spans: Vec<_> = spans.iter().map(|s| text(s, "/spanID")).collect();
                spans.sort();
                self.spans.insert(text(entry, "/traceID"), spans);
            }
        }
    }
}

/// What a query of the first day answers that has to fail, with the upstream's status.
pub(crate) async fn refusal_of_first_day(urls: &Urls, of: Of) -> String {
    let (url, status) = match of {
        Of::Samples => (samples_url(urls, "bucket_total", -60, 3600), 422),
        Of::Histograms => (samples_url(urls, "bucket_sizes", -60, 3600), 422),
        Of::Lines => (lines_url(urls, -60, 3600), 500),
        Of::Spans => (traces_url(urls, -60, 3600), 500),
    };
    let refusal = get(&url).await.expect_err(&url);
    assert_eq!(refusal.0, status, "{url}: {}", refusal.1);
    if status == 422 {
        assert!(
            refusal
                .1
                .contains(r#""errorType":"execution","error":"expanding series: "#),
            "{}",
            refusal.1
        );
    }
    refusal.1
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Samples,
    Histograms,
    Lines,
    Spans,
}

impl Of {
    pub(crate) const ALL: [Self; 4] = [Self::Samples, Self::Histograms, Self::Lines, Self::Spans];
}

/// Text that does not compress, in one stream.
pub(crate) async fn write_noise(urls: &Urls, bytes: usize) {
    let mut state = 0x7472_696c_6f62_6974_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (batch, line) = (4 << 20, 16 << 10);
    for at in (0..bytes).step_by(batch) {
        let values: Vec<Value> = (0..batch / line)
            .map(|n| {
                // Of each 16 bytes of text 8 are random.
                let text: String = (0..line / 16).map(|_| format!("{:016x}", next())).collect();
                let t_ns = T0 * 1_000_000_000 + (at + n) as i64;
                json!([t_ns.to_string(), text])
            })
            .collect();
        let body = json!({"streams": [{"stream": {"app": "noise"}, "values": values}]});
        let url = format!("{}/loki/api/v1/push", urls.loki);
        let answer = post_json(&url, &body).await.unwrap();
        assert_eq!(
            answer.status,
            204,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
    }
}

/// How many lines of [`write_noise`] there are, and a sum over their texts.
pub(crate) async fn noise_digest(urls: &Urls) -> (usize, u64) {
    let url = format!(
        "{}/loki/api/v1/query_range?query=%7Bapp%3D%22noise%22%7D&start={}&end={}&limit=5000&direction=forward",
        urls.loki,
        T0 * 1_000_000_000,
        (T0 + 60) * 1_000_000_000,
    );
    let answer = get(&url).await.unwrap();
    let values = answer
        .pointer("/data/result/0/values")
        .and_then(Value::as_array)
        .unwrap();
    let sum = values.iter().flat_map(|v| v[1].as_str().unwrap().bytes());
    let sum = sum.fold(0_u64, |sum, b| {
        sum.wrapping_mul(31).wrapping_add(u64::from(b))
    });
    (values.len(), sum)
}

/// What there is of one kind on the first day.
pub(crate) async fn first_day_of(urls: &Urls, of: Of) -> Answers {
    let (url, list) = match of {
        Of::Samples => (samples_url(urls, "bucket_total", -60, 3600), "/data/result"),
        Of::Histograms => (samples_url(urls, "bucket_sizes", -60, 3600), "/data/result"),
        Of::Lines => (lines_url(urls, -60, 3600), "/data/result"),
        Of::Spans => (traces_url(urls, -60, 3600), "/data"),
    };
    let answer = get(&url).await.unwrap();
    let list = answer.pointer(list).and_then(Value::as_array).cloned();
    let mut all = Answers::default();
    for entry in list.unwrap_or_default() {
        all.take(of, &entry);
    }
    all
}

/// The part of one kind.
pub(crate) fn only(all: &Answers, of: Of) -> Answers {
    let mut part = Answers::default();
    match of {
        Of::Samples => part.samples.clone_from(&all.samples),
        Of::Histograms => part.histograms.clone_from(&all.histograms),
        Of::Lines => {
            part.texts.clone_from(&all.texts);
            part.lines = all.lines;
        }
        Of::Spans => part.spans.clone_from(&all.spans),
    }
    part
}
