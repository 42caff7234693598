//! Native histograms as written: exact, integer or float, exponential or with custom buckets.
//! Source: Prometheus, "Native Histograms" specification (prometheus.io/docs/specs/native_histograms).

/// The schema number of histograms with custom bucket bounds.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What the writer knew about a counter reset before this sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResetHint {
    /// Nothing: compare with the sample before.
    #[default]
    Unknown = 0,
    /// A reset lies between.
    Yes = 1,
    /// No reset lies between.
    No = 2,
    /// A gauge histogram: resets have no meaning.
    Gauge = 3,
}

impl ResetHint {
    /// From the number in the remote-write protocol; unknown numbers mean "unknown".
    #[must_use]
    pub const fn from_number(n: u64) -> Self {
        match n {
            1 => Self::Yes,
            2 => Self::No,
            3 => Self::Gauge,
            _ => Self::Unknown,
        }
    }
}

/// A run of buckets that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Gap to the end of the span before; for the first span its starting index.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// Counts of a histogram. Bucket lists are as long as the spans of their side say.
#[derive(Clone, Debug, PartialEq)]
pub enum Counts {
    /// Integer counts. Buckets are differences: the first absolute, each next relative to the one before.
    Integer {
        /// All observations.
        count: u64,
        /// Observations in the zero bucket.
        zero_count: u64,
        /// Differences of the positive buckets.
        positive: Vec<i64>,
        /// Differences of the negative buckets.
        negative: Vec<i64>,
    },
    /// Float counts. Buckets are absolute.
    Float {
        /// All observations.
        count: f64,
        /// Observations in the zero bucket.
        zero_count: f64,
        /// Counts of the positive buckets.
        positive: Vec<f64>,
        /// Counts of the negative buckets.
        negative: Vec<f64>,
    },
}

impl Default for Counts {
    fn default() -> Self {
        Self::Float {
            count: 0.0,
            zero_count: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
        }
    }
}

/// One native histogram sample. A histogram whose `sum` is the staleness marker is one itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Reset hint.
    pub reset_hint: ResetHint,
    /// -4 to 8 for exponential buckets, [`CUSTOM_BUCKETS_SCHEMA`] for custom ones.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Spans of the positive buckets.
    pub positive_spans: Vec<Span>,
    /// Spans of the negative buckets.
    pub negative_spans: Vec<Span>,
    /// Upper bounds, ascending, without `+Inf`; only with custom buckets.
    pub custom_values: Vec<f64>,
    /// Counts.
    pub counts: Counts,
}
