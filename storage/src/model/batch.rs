//! What one write request brings, decoded but still borrowed from its body.
//!
//! `ingest` makes a batch from the wire, `Storage::append_*` writes it, and a replay of the
//! write-ahead log makes the same batch from the same bytes once more.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::histogram::Histogram;
use super::labels::Labels;
use super::metadata::Metadata;
use super::span::Span;

/// The bytes of a request as the write-ahead log keeps them, in one of the forms that the
/// program's [`crate::RecordDecoder`] can turn into a batch again.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Which form. The numbers belong to the program and never change their meaning.
    pub kind: u8,
    /// Settings that change what the payload means (translation, compat), for the decoder.
    pub flags: u32,
    /// When the request came in, milliseconds since the epoch.
    pub received_ms: i64,
    /// The bytes, compressed as the form says.
    pub payload: &'a [u8],
}

/// A label set that cannot be one: the text says which label and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LabelError(pub String);

/// Labels of one series while they are decoded.
pub type LabelPairs<'a> = Vec<(&'a str, &'a str)>;

/// One series of a batch.
#[derive(Clone, Debug)]
pub struct BatchSeries<'a> {
    /// Bytes that determine the label set: equal bytes mean equal labels. The head finds known series by their hash
    /// and does not decode labels at all.
    pub key: &'a [u8],
    /// Range in [`MetricBatch::t_ms`], `values` and `start_ms`: the series' floats, in the sender's order.
    pub floats: Range<usize>,
    /// Range in [`MetricBatch::histograms`].
    pub histograms: Range<usize>,
    /// Range in [`MetricBatch::exemplars`].
    pub exemplars: Range<usize>,
}

/// An exemplar of a batch.
#[derive(Clone, Debug)]
pub struct BatchExemplar {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Its time in milliseconds.
    pub t_ms: i64,
}

/// Samples of many series. Columns are flat, so that decoding allocates nothing per sample.
#[derive(Debug)]
pub struct MetricBatch<'a> {
    /// The series; one label set may come several times.
    pub series: Vec<BatchSeries<'a>>,
    /// Turns a series' key into its labels: sorted by name, each once, no empty value, UTF-8. Called for new series only.
    pub decode_labels: for<'k> fn(&'k [u8], &mut LabelPairs<'k>) -> Result<(), LabelError>,
    /// Times of the floats.
    pub t_ms: Vec<i64>,
    /// Values of the floats.
    pub values: Vec<f64>,
    /// Start timestamps of the floats; empty when none has one, else as long as `t_ms`.
    pub start_ms: Vec<i64>,
    /// Native histograms: time, start timestamp, histogram.
    pub histograms: Vec<(i64, i64, Arc<Histogram>)>,
    /// Exemplars.
    pub exemplars: Vec<BatchExemplar>,
    /// Metadata of families.
    pub metadata: Vec<Metadata>,
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// Older than the series' newest, where no late samples are taken at all.
    OutOfOrder,
    /// Further behind than the out-of-order window allows.
    TooOld,
    /// Another value for a time that has one.
    DuplicateTimestamp,
    /// Outside what the head can take at all (too far in the past with the window off).
    OutOfBounds,
    /// A histogram whose buckets contradict each other.
    BadHistogram,
}

/// A sample that was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedSample {
    /// Index in [`MetricBatch::series`].
    pub series: usize,
    /// Its time.
    pub t_ms: i64,
    /// Why.
    pub reason: RefuseReason,
}

/// What became of a [`MetricBatch`]. What is not refused was taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricReport {
    /// Floats taken, equal duplicates included.
    pub floats: usize,
    /// Native histograms taken.
    pub histograms: usize,
    /// Exemplars taken.
    pub exemplars: usize,
    /// The first refused samples, at most 100.
    pub refused: Vec<RefusedSample>,
    /// Number of all refused samples.
    pub refused_count: usize,
    /// Whether nothing was taken because of the refused samples; see [`crate::Storage::append_metrics_whole`].
    pub refused_whole: bool,
    /// Series that were left out whole, by index, because their labels are bad.
    pub bad_series: Vec<(usize, LabelError)>,
    /// Number of series that were left out whole because they are new and memory is short. Their samples are not among the
    /// refused ones: nothing is wrong with them.
    pub no_room: usize,
}

/// One stream of a log batch.
#[derive(Clone, Debug)]
pub struct BatchStream {
    /// Its labels, as they are stored.
    pub labels: Labels,
    /// Range in [`LogBatch::entries`].
    pub entries: Range<usize>,
}

/// One line of a log batch.
#[derive(Clone, Debug)]
pub struct BatchEntry<'a> {
    /// Nanoseconds since the epoch.
    pub t_ns: i64,
    /// The line.
    pub line: Cow<'a, str>,
    /// Range in [`LogBatch::metadata`].
    pub metadata: Range<usize>,
}

/// Lines of many streams.
#[derive(Clone, Debug, Default)]
pub struct LogBatch<'a> {
    /// The streams; one label set may come several times.
    pub streams: Vec<BatchStream>,
    /// The lines of all streams.
    pub entries: Vec<BatchEntry<'a>>,
    /// Structured metadata of all lines: name and value.
    pub metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What became of a [`LogBatch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Entries taken. Exact duplicates are not counted.
    pub entries: usize,
    /// Exact duplicates that were dropped.
    pub duplicates: usize,
    /// Entries further behind their stream's newest than the window allows: stream index, entry index, oldest acceptable time.
    pub too_far_behind: Vec<(usize, usize, i64)>,
}

/// Spans of one request, in the sender's order.
#[derive(Clone, Debug, Default)]
pub struct SpanBatch {
    /// The spans.
    pub spans: Vec<Span>,
    /// When the request came in, milliseconds since the epoch: that of its [`Record`]. Orders
    /// traces by first reception across restarts and blocks.
    pub received_ms: i64,
}

/// What became of a [`SpanBatch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanReport {
    /// Spans taken.
    pub spans: usize,
}
