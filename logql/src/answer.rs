//! What a query answers.

use std::sync::Arc;

use crate::labels::LabelSet;

/// The answer of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The data.
    pub data: Data,
    /// Warnings, in no order; usually none.
    pub warnings: Vec<String>,
    /// What was read for it.
    pub stats: Stats,
}

/// What a query read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines that went into pipelines.
    pub lines: u64,
    /// Bytes of those lines.
    pub bytes: u64,
}

/// Data of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Log lines, sorted by their streams' labels; each label set comes once.
    Streams(Vec<StreamResult>),
    /// One sample for each series at the time given. Sorted by labels, but for `sort` and `sort_desc`.
    Vector(i64, Vec<(LabelSet, f64)>),
    /// Series sorted by labels, none without a point.
    Matrix(Vec<SeriesResult>),
    /// One number at the time given.
    Scalar(i64, f64),
}

/// Lines of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamResult {
    /// Labels after the pipeline, or the stream's own where labels are categorized.
    pub labels: LabelSet,
    /// In the asked order; not empty.
    pub entries: Vec<EntryResult>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryResult {
    /// Time in nanoseconds.
    pub t_ns: i64,
    /// The line after the pipeline.
    pub line: String,
    /// Set where labels are categorized.
    pub categories: Option<Arc<Categories>>,
}

/// Labels of one line that are not its stream's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    /// From structured metadata.
    pub structured_metadata: LabelSet,
    /// From the pipeline.
    pub parsed: LabelSet,
}

/// Points of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesResult {
    /// Its labels.
    pub labels: LabelSet,
    /// Time in nanoseconds and value, ascending; not empty.
    pub points: Vec<(i64, f64)>,
}
