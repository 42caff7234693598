//! What is known about metrics beside their samples: type, help, unit, and exemplars.

use super::labels::Labels;

/// Type of a metric family. The numbers are those of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum MetricType {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetricType {
    /// From the number in the remote-write protocol.
    #[must_use]
    pub const fn from_number(n: u64) -> Self {
        match n {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }

    /// The word the Prometheus API and the exposition formats use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// Metadata of a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Name of the family.
    pub family: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Its help text, may be empty.
    pub help: String,
    /// Its unit, may be empty.
    pub unit: String,
}

/// A measurement kept as an example, with labels of its own (a trace id, usually).
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Labels of the exemplar itself.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Its time in milliseconds.
    pub t_ms: i64,
}

/// The exemplars of one series, ascending in time.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemplarSeries {
    /// Labels of the series.
    pub series: Labels,
    /// Its exemplars, at least one.
    pub exemplars: Vec<Exemplar>,
}
