use proptest::prelude::*;
use storage::model::{Counts, ResetHint};

use super::*;
use crate::wire::protobuf::{put_bytes, put_fixed64, put_uint, put_varint, zigzag};

/// A message put together field by field.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self::default()
    }
    fn text(mut self, field: u32, text: &str) -> Self {
        put_bytes(&mut self.0, field, text.as_bytes());
        self
    }
    fn uint(mut self, field: u32, n: u64) -> Self {
        put_uint(&mut self.0, field, n);
        self
    }
    fn sint(self, field: u32, n: i64) -> Self {
        self.uint(field, zigzag(n))
    }
    fn double(mut self, field: u32, x: f64) -> Self {
        put_fixed64(&mut self.0, field, x.to_bits());
        self
    }
    fn message(mut self, field: u32, message: &Self) -> Self {
        put_bytes(&mut self.0, field, &message.0);
        self
    }
    fn label(self, name: &str, value: &str) -> Self {
        self.message(1, &Self::new().text(1, name).text(2, value))
    }
    fn delimited(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.0.len() as u64);
        out.extend_from_slice(&self.0);
        out
    }
}

const BOTH: HistogramForms = HistogramForms {
    native: true,
    classic_too: true,
};

fn read(body: &[u8], forms: HistogramForms) -> Result<Vec<String>, String> {
    let options = TextOptions {
        created_timestamps: true,
        ..TextOptions::default()
    };
    let mut parser = ProtobufParser::new(body, options, forms);
    let mut out = Vec::new();
    let mut labels = TextLabels::new();
    while let Some(entry) = parser.next_entry().map_err(|e| e.0)? {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        out.push(match entry {
            Entry::Type(family, t) => format!("type {} {}", text(family), t.as_str()),
            Entry::Help(family, help) => format!("help {} {help}", text(family)),
            Entry::Unit(family, unit) => format!("unit {} {}", text(family), text(unit)),
            Entry::Sample(sample) => {
                parser.labels(&mut labels).map_err(|e| e.0)?;
                let pairs = labels.iter().map(|(n, v)| format!("{n}={v}"));
                let mut line = pairs.collect::<Vec<_>>().join(" ");
                match sample.value {
                    Value::Float(value) => line += &format!(" {value}"),
                    Value::Histogram(h) => line += &format!(" schema {} sum {}", h.schema, h.sum),
                }
                if let Some(t_ms) = sample.t_ms {
                    line += &format!(" @{t_ms}");
                }
                if let Some(start_ms) = parser.start_ms() {
                    line += &format!(" began {start_ms}");
                }
                for (i, e) in parser.exemplars().iter().enumerate() {
                    parser.exemplar_labels(i, &mut labels).map_err(|e| e.0)?;
                    line += &format!(" # {} {} {:?}", labels[0].1, e.value, e.t_ms);
                }
                line
            }
        });
    }
    Ok(out)
}

fn exemplar(id: &str, seconds: Option<u64>) -> Message {
    let e = Message::new().label("trace_id", id).double(2, 0.5);
    match seconds {
        Some(seconds) => e.message(3, &Message::new().uint(1, seconds).uint(2, 5_000_000)),
        None => e,
    }
}

/// A histogram in both forms.
fn histogram() -> Message {
    let bucket = |count, bound| Message::new().uint(1, count).double(2, bound);
    let span = Message::new().sint(1, -2).uint(2, 2);
    Message::new()
        .uint(1, 7)
        .double(2, 3.5)
        .message(3, &bucket(3, 0.5).message(3, &exemplar("b", None)))
        .message(3, &bucket(5, 1.0))
        .sint(5, 3)
        .double(6, 0.001)
        .uint(7, 1)
        .message(12, &span)
        .sint(13, 2)
        .sint(13, 2)
        .message(15, &Message::new().uint(1, 9))
        .message(16, &exemplar("n", Some(4)))
}

fn family(name: &str, kind: u64, metric: &Message) -> Message {
    Message::new()
        .text(1, name)
        .text(2, "Help.")
        .uint(3, kind)
        .message(4, metric)
}

#[test]
fn plain_metrics_are_read() {
    let created = Message::new().uint(1, 2);
    let counter = Message::new()
        .double(1, 5.0)
        .message(2, &exemplar("x", Some(1)))
        .message(3, &created);
    let metric = Message::new()
        .label("a", "b")
        .message(3, &counter)
        .uint(6, 77);
    let gauge = Message::new().message(2, &Message::new().double(1, -1.5));
    let mut body = family("c_total", 0, &metric).text(5, "s").delimited();
    body.extend(family("g", 1, &gauge).delimited());
    body.extend(Message::new().text(1, "empty").delimited());
    let untyped = Message::new().message(5, &Message::new().double(1, 2.0));
    body.extend(family("u", 3, &untyped).delimited());
    assert_eq!(
        read(&body, BOTH).unwrap(),
        [
            "help c_total Help.",
            "unit c_total s",
            "type c_total counter",
            "__name__=c_total a=b 5 @77 began 2000 # x 0.5 Some(1005)",
            "help g Help.",
            "type g gauge",
            "__name__=g -1.5",
            "help u Help.",
            "type u unknown",
            "__name__=u 2",
        ]
    );
    assert_eq!(read(b"", BOTH).unwrap(), [""; 0]);
}

#[test]
fn summaries_and_histograms_have_parts() {
    let quantile = Message::new().double(1, 0.5).double(2, 10.0);
    let summary = Message::new()
        .uint(1, 4)
        .double(2, 30.0)
        .message(3, &quantile);
    let mut body = family("s", 2, &Message::new().message(4, &summary)).delimited();
    body.extend(family("h", 4, &Message::new().message(7, &histogram())).delimited());
    let classic = [
        "__name__=h_count 7 began 9000",
        "__name__=h_sum 3.5 began 9000",
        "__name__=h_bucket le=0.5 3 began 9000 # b 0.5 None",
        "__name__=h_bucket le=1.0 5 began 9000",
        "__name__=h_bucket le=+Inf 7 began 9000",
    ];
    let native = "__name__=h schema 3 sum 3.5 began 9000 # n 0.5 Some(4005)";
    let lines = |native, classic_too| {
        let forms = HistogramForms {
            native,
            classic_too,
        };
        read(&body, forms).unwrap()
    };
    assert_eq!(
        lines(false, false)[..5],
        [
            "help s Help.",
            "type s summary",
            "__name__=s_count 4",
            "__name__=s_sum 30",
            "__name__=s quantile=0.5 10",
        ]
    );
    assert_eq!(lines(false, false)[7..], classic);
    assert_eq!(lines(true, false)[7..], [native]);
    assert_eq!(lines(true, true)[7], native);
    assert_eq!(lines(true, true)[8..], classic);
}

#[test]
fn a_native_histogram_keeps_its_buckets() {
    let message = histogram();
    let read = RawHistogram::read(&message.0)
        .unwrap()
        .native(true)
        .unwrap();
    assert_eq!(read.reset_hint, ResetHint::Gauge);
    assert_eq!(
        read.counts,
        Counts::Integer {
            count: 7,
            zero_count: 1,
            positive: vec![2, 2],
            negative: vec![],
        }
    );
    let odd = message.sint(13, 1);
    let fault = RawHistogram::read(&odd.0)
        .unwrap()
        .native(false)
        .unwrap_err();
    assert_eq!(fault, "positive side: spans need 2 buckets, have 3 buckets");
}

#[test]
fn faults_are_named() {
    let metric = Message::new().message(2, &Message::new().double(1, 1.0));
    for (body, fault) in [
        (family("", 1, &metric).delimited(), "invalid metric name"),
        (
            family("a", 9, &metric).delimited(),
            "unknown metric type for metric \"a\": 9",
        ),
        (vec![5, 1], "proto: unexpected EOF"),
    ] {
        let error = read(&body, BOTH).unwrap_err();
        assert!(error.contains(fault), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body: Vec<u8>) {
        let _ = read(&body, BOTH);
        let mut delimited = Vec::new();
        put_varint(&mut delimited, body.len() as u64);
        delimited.extend_from_slice(&body);
        let _ = read(&delimited, BOTH);
        let _ = RawHistogram::read(&body).map(|h| h.native(false));
    }
}
