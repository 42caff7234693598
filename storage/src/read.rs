//! The traits through which a query sees series and log pages, and what it may ask for.
//! With [`crate::model`] this is all that a query language knows of storage.

use crate::model::{EntryBuf, Labels, Matcher, MsRange, NsRange, SampleBuf, SpanKind, StreamRef};

/// Stored bytes that cannot be read. The text names the file where one is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// Which series, and which of their samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSelect {
    /// All must pass.
    pub matchers: Vec<Matcher>,
    /// Both ends in.
    pub range: MsRange,
}

/// One series of a selection: its samples from head and blocks, still compressed.
pub trait Series: Send + Sync {
    /// Its labels.
    fn labels(&self) -> &Labels;

    /// Puts the samples of the selected range into a cleared buffer, in order of time, each time
    /// once. Computes, never waits.
    ///
    /// # Errors
    /// [`ReadError`] where stored bytes are corrupt.
    fn samples(&self, out: &mut SampleBuf) -> Result<(), ReadError>;

    /// Bytes that this series holds in memory, for budgets.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Bytes that its samples make somebody unpack first; of those that it has in common with others a share.
    fn packed_bytes(&self) -> usize {
        0
    }
}

/// A bounded number of series. Over all batches of one selection each label set comes once; the
/// order is not defined.
pub type SeriesBatch = Vec<Box<dyn Series>>;

/// In which order log entries are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// Which log entries.
#[derive(Clone, Debug)]
pub struct LogSelect {
    /// All must pass, on the stream's labels.
    pub matchers: Vec<Matcher>,
    /// Start in, end out.
    pub range: NsRange,
    /// Order in which pages come: ascending by their first time, or descending by their last.
    pub direction: Direction,
    /// Texts that each wanted line contains, byte for byte. Storage may skip what has none of them
    /// and need not: the query filters again.
    pub needles: Vec<String>,
}

/// A run of entries of one stream. Pages of one selection may overlap in time, also within a
/// stream, but no entry comes twice.
pub trait LogPage: Send + Sync {
    /// The stream.
    fn stream(&self) -> &StreamRef;

    /// First and last time of its entries, both in; may be wider than the selected range.
    fn bounds_ns(&self) -> (i64, i64);

    /// Puts the entries of the selected range into a cleared buffer, ascending in time; entries of
    /// one time in the order in which they came. Computes, never waits.
    ///
    /// # Errors
    /// [`ReadError`] where stored bytes are corrupt.
    fn entries(&self, out: &mut EntryBuf) -> Result<(), ReadError>;

    /// Bytes that this page holds in memory, for budgets.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// A condition on a span beyond service, operation, time and duration.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanMatch {
    /// The span's status is one of these numbers.
    StatusIn(Vec<i32>),
    /// The span's kind.
    Kind(SpanKind),
    /// Name of the scope.
    ScopeName(String),
    /// Version of the scope.
    ScopeVersion(String),
    /// An attribute of the resource whose text equals the value.
    ResourceAttribute(String, String),
    /// An attribute of span, scope, resource, event or link whose text equals the value.
    Attribute(String, String),
    /// Nothing passes.
    Never,
    /// Any of these.
    AnyOf(Vec<Self>),
}

/// Which traces: those with one span for which everything holds at once.
#[derive(Clone, Debug, Default)]
pub struct TraceSelect {
    /// Exact name of the service.
    pub service: Option<String>,
    /// Exact name of the operation.
    pub operation: Option<String>,
    /// Earliest start of the span in nanoseconds, in.
    pub start_min_ns: Option<i64>,
    /// Latest start of the span in nanoseconds, in.
    pub start_max_ns: Option<i64>,
    /// Shortest duration in nanoseconds, in.
    pub duration_min_ns: Option<u64>,
    /// Longest duration in nanoseconds, in.
    pub duration_max_ns: Option<u64>,
    /// Further conditions, all of them.
    pub matches: Vec<SpanMatch>,
    /// At most so many traces: those whose first span came in last.
    pub limit: usize,
}
