//! Ranges of time. Metrics count milliseconds, logs and traces nanoseconds, since the Unix epoch.

/// Milliseconds, both ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsRange {
    /// First millisecond in the range.
    pub min_ms: i64,
    /// Last millisecond in the range.
    pub max_ms: i64,
}

impl MsRange {
    /// All of time.
    pub const ALL: Self = Self {
        min_ms: i64::MIN,
        max_ms: i64::MAX,
    };

    /// A range from its first to its last millisecond.
    #[must_use]
    pub const fn new(min_ms: i64, max_ms: i64) -> Self {
        Self { min_ms, max_ms }
    }

    /// Whether the time lies in the range.
    #[must_use]
    pub const fn contains(self, t_ms: i64) -> bool {
        self.min_ms <= t_ms && t_ms <= self.max_ms
    }

    /// Whether the two have a millisecond in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.min_ms <= other.max_ms && other.min_ms <= self.max_ms
    }
}

/// Nanoseconds, the start in and the end out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NsRange {
    /// First nanosecond in the range.
    pub start_ns: i64,
    /// First nanosecond past the range; `i64::MAX` stands for "no end" and is in.
    pub end_ns: i64,
}

impl NsRange {
    /// All of time.
    pub const ALL: Self = Self {
        start_ns: i64::MIN,
        end_ns: i64::MAX,
    };

    /// A range from its start (in) to its end (out).
    #[must_use]
    pub const fn new(start_ns: i64, end_ns: i64) -> Self {
        Self { start_ns, end_ns }
    }

    /// Whether the time lies in the range.
    #[must_use]
    pub const fn contains(self, t_ns: i64) -> bool {
        self.start_ns <= t_ns && (t_ns < self.end_ns || self.end_ns == i64::MAX)
    }

    /// Whether something from `min_ns` to `max_ns` (both in) reaches into the range.
    #[must_use]
    pub const fn overlaps(self, min_ns: i64, max_ns: i64) -> bool {
        self.start_ns <= max_ns && (min_ns < self.end_ns || self.end_ns == i64::MAX)
    }
}
