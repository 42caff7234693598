//! Answers as JSON, in the order of keys and with the notation of numbers that upstream has.
//!
//! The result of a query is written in pieces as the client takes them: beside the values there is never more than one piece
//! of text in memory.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, header};

use promql::vector::Sample;
use promql::{FloatHistogram, MatrixSeries, Value, VectorSample};
use serde::Serialize;
use storage::model::Labels;

/// A piece of an answer grows until it has so many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Room of a whole piece: most series end within what is left.
const PIECE_ROOM: usize = PIECE_BYTES + 16 * 1024;

/// What a series and a point of it take, about.
const SERIES_ROOM: usize = 256;
const POINT_ROOM: usize = 32;

/// `{"status":"success","data":…}`
pub(super) fn success(data: &impl Serialize) -> Response {
    success_with(data, &[])
}

/// As [`success`], with warnings.
pub(super) fn success_with(data: &impl Serialize, warnings: &[String]) -> Response {
    let mut out = b"{\"status\":\"success\",\"data\":".to_vec();
    write_json(&mut out, data);
    write_texts(&mut out, "warnings", warnings);
    out.push(b'}');
    json(Body::from(out))
}

/// What goes along with the result of a query.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// The value of `data.stats`, as JSON.
    pub(super) stats: Option<serde_json::Value>,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// The result of a query.
pub(super) fn query_result(value: Value, extras: &Extras) -> Response {
    let mut pieces = Pieces::new(value, extras);
    let first = pieces.next().unwrap_or_default();
    match pieces.next() {
        None => json(Body::from(first)),
        Some(second) => json(Body::from_stream(stream::iter(
            [first, second]
                .into_iter()
                .chain(pieces)
                .map(Ok::<_, std::convert::Infallible>),
        ))),
    }
}

/// A response of JSON.
pub(super) fn json(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Writes an answer piece by piece.
struct Pieces {
    head: Vec<u8>,
    series: Series,
    /// Written behind the last series; taken then.
    tail: Option<Vec<u8>>,
}

enum Series {
    None,
    Vector(std::vec::IntoIter<VectorSample>),
    Matrix(std::vec::IntoIter<MatrixSeries>),
}

impl Series {
    /// Bytes that what is left takes, about, or a piece's.
    fn room(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Vector(samples) => samples.len() * (SERIES_ROOM + POINT_ROOM),
            Self::Matrix(matrix) => matrix
                .as_slice()
                .iter()
                .take(PIECE_ROOM / SERIES_ROOM)
                .map(|s| SERIES_ROOM + s.floats.len() * POINT_ROOM)
                .sum(),
        }
    }
}

impl Pieces {
    fn new(value: Value, extras: &Extras) -> Self {
        let mut head = b"{\"status\":\"success\",\"data\":{\"resultType\":\"".to_vec();
        let mut tail = Vec::new();
        let series = match value {
            Value::Scalar(t_ms, value) => {
                head.extend_from_slice(b"scalar\",\"result\":[");
                write_seconds(&mut head, t_ms);
                head.push(b',');
                // Alone among values, upstream never gives a scalar an exponent.
                head.push(b'"');
                head.extend_from_slice(promql::lexer::format_float(value).as_bytes());
                head.extend_from_slice(b"\"]");
                Series::None
            }
            Value::String(t_ms, text) => {
                head.extend_from_slice(b"string\",\"result\":[");
                write_seconds(&mut head, t_ms);
                head.push(b',');
                write_text(&mut head, &text);
                head.push(b']');
                Series::None
            }
            Value::Vector(samples) => {
                head.extend_from_slice(b"vector\",\"result\":[");
                tail.push(b']');
                Series::Vector(samples.into_iter())
            }
            Value::Matrix(series) => {
                head.extend_from_slice(b"matrix\",\"result\":[");
                tail.push(b']');
                Series::Matrix(series.into_iter())
            }
        };
        if let Some(stats) = &extras.stats {
            tail.extend_from_slice(b",\"stats\":");
            write_json(&mut tail, stats);
        }
        tail.push(b'}');
        write_texts(&mut tail, "warnings", &extras.warnings);
        write_texts(&mut tail, "infos", &extras.infos);
        tail.push(b'}');
        Self {
            head,
            series,
            tail: Some(tail),
        }
    }

    /// Writes one series with the comma before it; false behind the last.
    fn write_series(&mut self, out: &mut Vec<u8>) -> bool {
        if out.last().is_some_and(|&b| b == b'[') && !self.more() {
            return false;
        }
        match &mut self.series {
            Series::None => false,
            Series::Vector(samples) => {
                let Some(sample) = samples.next() else {
                    return false;
                };
                write_vector_sample(out, &sample);
                if samples.len() > 0 {
                    out.push(b',');
                }
                true
            }
            Series::Matrix(matrix) => {
                let Some(series) = matrix.next() else {
                    return false;
                };
                write_matrix_series(out, &series);
                if matrix.len() > 0 {
                    out.push(b',');
                }
                true
            }
        }
    }

    fn more(&self) -> bool {
        match &self.series {
            Series::None => false,
            Series::Vector(samples) => samples.len() > 0,
            Series::Matrix(matrix) => matrix.len() > 0,
        }
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.tail.as_ref()?;
        let mut out = std::mem::take(&mut self.head);
        out.reserve(self.series.room().min(PIECE_ROOM));
        while out.len() < PIECE_BYTES {
            if !self.write_series(&mut out) {
                out.append(&mut self.tail.take()?);
                break;
            }
        }
        Some(Bytes::from(out))
    }
}

fn write_vector_sample(out: &mut Vec<u8>, sample: &VectorSample) {
    out.extend_from_slice(b"{\"metric\":");
    write_labels(out, &sample.labels);
    match &sample.sample {
        Sample::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            write_point(out, sample.t_ms, *value);
        }
        Sample::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            write_histogram_point(out, sample.t_ms, histogram);
        }
    }
    out.push(b'}');
}

fn write_matrix_series(out: &mut Vec<u8>, series: &MatrixSeries) {
    out.extend_from_slice(b"{\"metric\":");
    write_labels(out, &series.labels);
    write_points(out, "values", &series.floats, |out, (t_ms, value)| {
        write_point(out, *t_ms, *value);
    });
    write_points(
        out,
        "histograms",
        &series.histograms,
        |out, (t_ms, histogram)| {
            write_histogram_point(out, *t_ms, histogram);
        },
    );
    out.push(b'}');
}

fn write_points<T>(out: &mut Vec<u8>, key: &str, points: &[T], write: fn(&mut Vec<u8>, &T)) {
    if points.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":[");
    for (index, point) in points.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, point);
    }
    out.push(b']');
}

fn write_point(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    out.push(b'[');
    write_time(out, t_ms);
    out.push(b',');
    write_value(out, value);
    out.push(b']');
}

fn write_histogram_point(out: &mut Vec<u8>, t_ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    write_time(out, t_ms);
    out.extend_from_slice(b",{\"count\":");
    write_value(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    write_value(out, histogram.sum);
    let mut any = false;
    for bucket in histogram.buckets().filter(|b| b.count != 0.0) {
        out.extend_from_slice(if any { b"," } else { b",\"buckets\":[" });
        any = true;
        let boundaries = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.extend_from_slice(&[b'[', boundaries, b',']);
        write_value(out, bucket.lower);
        out.push(b',');
        write_value(out, bucket.upper);
        out.push(b',');
        write_value(out, bucket.count);
        out.push(b']');
    }
    if any {
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

/// `{"name":"value",…}`
pub(super) fn write_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_text(out, value);
    }
    out.push(b'}');
}

/// Seconds, with three decimals where there is a fraction.
pub(super) fn write_time(out: &mut Vec<u8>, t_ms: i64) {
    let ms = t_ms.unsigned_abs();
    let fraction = ms % 1000;
    if t_ms < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1000).as_bytes());
    if fraction != 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10];
        out.push(b'.');
        out.extend(digits.map(|d| b'0' + d as u8));
    }
}

/// Seconds with as many decimals as it takes, as scalars and texts have them.
fn write_seconds(out: &mut Vec<u8>, t_ms: i64) {
    let text = promql::lexer::format_float(t_ms as f64 / 1000.0);
    out.extend_from_slice(text.as_bytes());
}

/// A number as a JSON text.
pub(super) fn write_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    let size = value.abs();
    if (1.0..1e15).contains(&size) && value.fract() == 0.0 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else if (1e-4..1e15).contains(&size) {
        // Within these bounds it writes no exponent either.
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(value_text(value).as_bytes());
    }
    out.push(b'"');
}

/// The shortest digits; an exponent only below 1e-6 and from 1e21 on.
pub(super) fn value_text(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !value.is_finite() || (1e-6..1e21).contains(&size) {
        return promql::lexer::format_float(value);
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn write_texts(out: &mut Vec<u8>, key: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(format!(",\"{key}\":").as_bytes());
    write_json(out, &texts);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_json(out, text);
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail, and keys of maps are texts throughout.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn text(value: Value, extras: Extras) -> String {
        use http_body_util::BodyExt as _;
        let body = query_result(value, &extras).into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, expected) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (1e21, "1e+21"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1.5e-7, "1.5e-07"),
            (0.000_001, "0.000001"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(value_text(value), expected);
        }
    }

    fn number() -> impl Strategy<Value = f64> {
        let whole = any::<i64>().prop_map(|n| n as f64);
        let rounded = (any::<i32>(), 0..12_i32).prop_map(|(n, p)| f64::from(n) / 10_f64.powi(p));
        prop_oneof![any::<f64>(), whole, rounded, -1e16..1e16]
    }

    proptest! {
        #[test]
        fn what_is_written_fast_is_written_alike(value in number()) {
            let mut out = Vec::new();
            write_value(&mut out, value);
            let expected = format!("\"{}\"", value_text(value));
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        for (t_ms, expected) in [
            (1000, "1"),
            (1001, "1.001"),
            (1500, "1.500"),
            (-1500, "-1.500"),
            (-1, "-0.001"),
        ] {
            let mut out = Vec::new();
            write_time(&mut out, t_ms);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn every_kind_of_result_has_upstreams_shape() {
        assert_eq!(
            text(Value::Scalar(1500, 2.0), Extras::default()).await,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"2"]}}"#
        );
        assert_eq!(
            text(Value::Scalar(1500, 1e-7), Extras::default()).await,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"0.0000001"]}}"#
        );
        let labels = Labels::from_pairs([("a", "x\"y"), ("__name__", "up")]);
        let sample = VectorSample {
            labels: labels.clone(),
            t_ms: 1000,
            sample: Sample::Float(1.0),
        };
        let extras = Extras {
            infos: vec!["an info".to_owned()],
            ..Extras::default()
        };
        assert_eq!(
            text(Value::Vector(vec![sample.clone(), sample]), extras).await,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","a":"x\"y"},"value":[1,"1"]},{"metric":{"__name__":"up","a":"x\"y"},"value":[1,"1"]}]},"infos":["an info"]}"#
        );
        assert_eq!(
            text(Value::Matrix(Vec::new()), Extras::default()).await,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#
        );
    }

    #[tokio::test]
    async fn a_large_result_comes_in_pieces_that_join_to_valid_json() {
        let series = MatrixSeries {
            labels: Labels::from_pairs([("a", "b")]),
            floats: (0..5000).map(|t| (t * 1000, t as f64)).collect(),
            histograms: Vec::new(),
        };
        let text = text(Value::Matrix(vec![series; 50]), Extras::default()).await;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["data"]["result"].as_array().unwrap().len(), 50);
    }
}
