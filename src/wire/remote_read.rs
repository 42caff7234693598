//! Prometheus remote read: the request, and the parts of both kinds of answer.
//!
//! ```text
//!  ReadRequest         { 1: Query*, 2: accepted kinds of answer* }
//!  Query               { 1: start ms, 2: end ms, 3: Matcher* {1 op, 2 name, 3 value}, 4: Hints {2 func, 3 start ms, 4 end ms} }
//!  ReadResponse        { 1: QueryResult* { 1: TimeSeries* { 1: Label*, 2: Sample*, 4: Histogram* } } }
//!  ChunkedReadResponse { 1: ChunkedSeries { 1: Label*, 2: Chunk* {1 min ms, 2 max ms, 3 encoding, 4 data} }, 2: index of the query }
//! ```
//! Source: prometheus.io/docs/specs/prw, `prompb/remote.proto` and `prompb/types.proto`.

use storage::model::{Histogram, ResetHint, SampleBuf};

use super::protobuf::{Reader, Value, WireError, put_bytes, put_fixed64, put_uint, put_varint};
use super::remote_write::put_histogram;
use super::tsdb_chunk::Chunk;

/// Kind of an answer: all samples in one message.
pub(crate) const SAMPLES: u64 = 0;
/// Kind of an answer: a stream of frames with chunks.
pub(crate) const STREAMED_XOR_CHUNKS: u64 = 1;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadRequest {
    /// The queries, each answered on its own.
    pub(crate) queries: Vec<Query>,
    /// Kinds of answers that the reader takes, the best first; empty means [`SAMPLES`].
    pub(crate) accepted: Vec<u64>,
}

/// One selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// First time, in.
    pub(crate) start_ms: i64,
    /// Last time, in.
    pub(crate) end_ms: i64,
    /// All must pass.
    pub(crate) matchers: Vec<Matcher>,
    /// What the reader is about to do.
    pub(crate) hints: Option<Hints>,
}

/// A matcher as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matcher {
    /// `=`, `!=`, `=~`, `!~`, from 0.
    pub(crate) op: u64,
    /// Name of the label.
    pub(crate) name: String,
    /// Value or pattern.
    pub(crate) value: String,
}

/// What a reader is about to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// The function around the selector; `series` where labels alone are wanted.
    pub(crate) func: String,
    /// First time that is needed, in.
    pub(crate) start_ms: i64,
    /// Last time that is needed, in.
    pub(crate) end_ms: i64,
}

impl ReadRequest {
    /// Decodes an inflated request.
    ///
    /// # Errors
    /// Where it is no such message.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut out = Self::default();
        let mut reader = Reader::new(body);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => out.queries.push(Query::decode(bytes)?),
                (2, Value::Varint(kind)) => out.accepted.push(kind),
                (2, Value::Bytes(packed)) => {
                    let mut packed = Reader::new(packed);
                    while !packed.is_done() {
                        out.accepted.push(packed.varint()?);
                    }
                }
                (1 | 2, _) => return Err(wrong("ReadRequest", field)),
                _ => {}
            }
        }
        Ok(out)
    }
}

impl Query {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut out = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Value::Varint(n)) => out.start_ms = n as i64,
                (2, Value::Varint(n)) => out.end_ms = n as i64,
                (3, Value::Bytes(bytes)) => out.matchers.push(Matcher::decode(bytes)?),
                (4, Value::Bytes(bytes)) => out.hints = Some(Hints::decode(bytes)?),
                (1..=4, _) => return Err(wrong("Query", field)),
                _ => {}
            }
        }
        Ok(out)
    }
}

impl Matcher {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut out = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Value::Varint(n)) => out.op = n,
                (2, Value::Bytes(bytes)) => out.name = text(bytes),
                (3, Value::Bytes(bytes)) => out.value = text(bytes),
                (1..=3, _) => return Err(wrong("LabelMatcher", field)),
                _ => {}
            }
        }
        Ok(out)
    }
}

impl Hints {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut out = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (2, Value::Bytes(bytes)) => out.func = text(bytes),
                (3, Value::Varint(n)) => out.start_ms = n as i64,
                (4, Value::Varint(n)) => out.end_ms = n as i64,
                (2..=4, _) => return Err(wrong("ReadHints", field)),
                _ => {}
            }
        }
        Ok(out)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const fn wrong(message: &'static str, field: u32) -> WireError {
    WireError::WrongType { message, field }
}

/// Labels as members of a `TimeSeries` or `ChunkedSeries`, sorted by name.
pub(crate) fn labels<'l>(pairs: impl IntoIterator<Item = (&'l str, &'l str)>) -> Vec<u8> {
    let (mut out, mut label) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        label.clear();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut out, 1, &label);
    }
    out
}

/// Appends a `TimeSeries` as a member of a `QueryResult`.
pub(crate) fn put_series(out: &mut Vec<u8>, labels: &[u8], samples: &SampleBuf) {
    let mut series = labels.to_vec();
    let mut message = Vec::new();
    for (i, t_ms) in samples.t_ms.iter().enumerate() {
        message.clear();
        match samples.histogram(i) {
            None => {
                put_fixed64(&mut message, 1, samples.values[i].to_bits());
                put_uint(&mut message, 2, *t_ms as u64);
                put_bytes(&mut series, 2, &message);
            }
            Some(h) => {
                put_histogram(&mut message, *t_ms, &told(h));
                put_bytes(&mut series, 4, &message);
            }
        }
    }
    put_bytes(out, 1, &series);
}

/// A histogram as it is handed out. That no reset came before it is not said: the reader may have another one before.
fn told(h: &Histogram) -> std::borrow::Cow<'_, Histogram> {
    if h.reset_hint != ResetHint::No {
        return std::borrow::Cow::Borrowed(h);
    }
    std::borrow::Cow::Owned(Histogram {
        reset_hint: ResetHint::Unknown,
        ..h.clone()
    })
}

/// The beginning of a `QueryResult` of so many bytes within a `ReadResponse`.
pub(crate) fn result_head(length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, 1 << 3 | 2);
    put_varint(&mut out, length as u64);
    out
}

/// A `Chunk` as a member of a `ChunkedSeries`.
pub(crate) fn chunk(c: &Chunk) -> Vec<u8> {
    let mut message = Vec::with_capacity(c.data.len() + 24);
    put_uint(&mut message, 1, c.min_ms as u64);
    put_uint(&mut message, 2, c.max_ms as u64);
    put_uint(&mut message, 3, c.encoding as u64);
    put_bytes(&mut message, 4, &c.data);
    let mut out = Vec::with_capacity(message.len() + 4);
    put_bytes(&mut out, 2, &message);
    out
}

/// A frame of a stream: its length, its CRC-32C (big endian), and a `ChunkedReadResponse` with one series.
pub(crate) fn frame(labels: &[u8], chunks: &[u8], query: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(labels.len() + chunks.len() + 16);
    put_varint(&mut message, 1 << 3 | 2);
    put_varint(&mut message, (labels.len() + chunks.len()) as u64);
    message.extend_from_slice(labels);
    message.extend_from_slice(chunks);
    put_uint(&mut message, 2, query as u64);
    let mut out = Vec::with_capacity(message.len() + 9);
    put_varint(&mut out, message.len() as u64);
    out.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
    out.extend_from_slice(&message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tsdb_chunk;

    #[test]
    fn a_request_is_read() {
        let message = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            out
        };
        let matcher = message(&|m| {
            put_uint(m, 1, 2);
            put_bytes(m, 2, b"job");
            put_bytes(m, 3, b"a|b");
        });
        let hints = message(&|m| {
            put_uint(m, 1, 15_000);
            put_bytes(m, 2, b"rate");
            put_uint(m, 3, 5);
            put_uint(m, 4, 6);
        });
        let query = message(&|m| {
            put_uint(m, 1, -1_i64 as u64);
            put_uint(m, 2, 9);
            put_bytes(m, 3, &matcher);
            put_bytes(m, 4, &hints);
        });
        let body = message(&|m| {
            put_bytes(m, 1, &query);
            put_bytes(m, 2, &[1, 0]);
            put_uint(m, 2, 7);
        });
        let expected = ReadRequest {
            queries: vec![Query {
                start_ms: -1,
                end_ms: 9,
                matchers: vec![Matcher {
                    op: 2,
                    name: "job".to_owned(),
                    value: "a|b".to_owned(),
                }],
                hints: Some(Hints {
                    func: "rate".to_owned(),
                    start_ms: 5,
                    end_ms: 6,
                }),
            }],
            accepted: vec![1, 0, 7],
        };
        assert_eq!(ReadRequest::decode(&body), Ok(expected));
        assert!(ReadRequest::decode(&[8, 1]).is_err());
    }

    #[test]
    fn a_frame_has_its_length_and_checksum_before_it() {
        let chunk = chunk(&tsdb_chunk::empty(1, 2));
        let labels = labels([("a", "b")]);
        let frame = frame(&labels, &chunk, 3);
        let message = b"\x0a\x14\x0a\x06\x0a\x01a\x12\x01b\x12\x0a\x08\x01\x10\x02\x18\x01\x22\x02\x00\x00\x10\x03";
        assert_eq!(usize::from(frame[0]), frame.len() - 5);
        assert_eq!(frame[1..5], crc32c::crc32c(&frame[5..]).to_be_bytes());
        assert_eq!(&frame[5..], message);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = ReadRequest::decode(&body);
        }
    }
}
