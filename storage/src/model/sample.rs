//! Samples of one series, in columns.

use std::sync::Arc;

use super::histogram::Histogram;
use super::time::MsRange;

/// The bits of the staleness marker: a NaN that says "this series ends here".
/// Source: Prometheus `model/value`.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a value. It stays intact as long as no arithmetic touches it.
pub const STALE_NAN: f64 = f64::from_bits(STALE_NAN_BITS);

/// Stands for "no start timestamp".
pub const NO_START_MS: i64 = i64::MIN;

/// Whether a value is the staleness marker, bit for bit.
#[must_use]
#[inline]
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Samples of one series in order of time, each time once, in columns that are reused from series
/// to series.
///
/// `histograms` and `start_ms` are either empty (no sample has one) or as long as `t_ms`. Where
/// `histograms[i]` is set, `values[i]` is the staleness marker if the histogram is one, else 0.
#[derive(Clone, Debug, Default)]
pub struct SampleBuf {
    /// Times in milliseconds, ascending, each once.
    pub t_ms: Vec<i64>,
    /// Float values, bit for bit as written.
    pub values: Vec<f64>,
    /// Native histograms; empty when the series has none.
    pub histograms: Vec<Option<Arc<Histogram>>>,
    /// Start timestamps, [`NO_START_MS`] where absent; empty when no sample has one.
    pub start_ms: Vec<i64>,
}

impl SampleBuf {
    /// Empties the columns and keeps their memory.
    pub fn clear(&mut self) {
        self.t_ms.clear();
        self.values.clear();
        self.histograms.clear();
        self.start_ms.clear();
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.t_ms.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.t_ms.is_empty()
    }

    /// Adds a float. Times must ascend.
    pub fn push_float(&mut self, t_ms: i64, value: f64, start_ms: i64) {
        self.push_start(start_ms);
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
        self.t_ms.push(t_ms);
        self.values.push(value);
    }

    /// Adds a native histogram. Times must ascend.
    pub fn push_histogram(&mut self, t_ms: i64, histogram: Arc<Histogram>, start_ms: i64) {
        self.push_start(start_ms);
        if self.histograms.is_empty() {
            self.histograms.resize(self.t_ms.len(), None);
        }
        self.t_ms.push(t_ms);
        self.values.push(if is_stale(histogram.sum) {
            STALE_NAN
        } else {
            0.0
        });
        self.histograms.push(Some(histogram));
    }

    /// Takes out the samples in any of some ranges.
    pub fn remove(&mut self, ranges: &[MsRange]) {
        let is_gone = |&t_ms: &i64| ranges.iter().any(|r| r.contains(t_ms));
        if !self.t_ms.iter().any(is_gone) {
            return;
        }
        let gone: Vec<bool> = self.t_ms.iter().map(is_gone).collect();
        fn keep<T>(column: &mut Vec<T>, gone: &[bool]) {
            let mut gone = gone.iter();
            column.retain(|_| gone.next() == Some(&false));
        }
        keep(&mut self.t_ms, &gone);
        keep(&mut self.values, &gone);
        keep(&mut self.histograms, &gone);
        keep(&mut self.start_ms, &gone);
    }

    /// The histogram at a position, if that sample is one.
    #[must_use]
    pub fn histogram(&self, i: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(i).and_then(Option::as_ref)
    }

    fn push_start(&mut self, start_ms: i64) {
        if start_ms != NO_START_MS && self.start_ms.is_empty() {
            self.start_ms.resize(self.t_ms.len(), NO_START_MS);
        }
        if start_ms != NO_START_MS || !self.start_ms.is_empty() {
            self.start_ms.push(start_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_aligned_when_a_start_time_comes_late() {
        let mut buf = SampleBuf::default();
        buf.push_float(1, 1.0, NO_START_MS);
        buf.push_float(2, 2.0, 0);
        buf.push_histogram(3, Arc::new(Histogram::default()), NO_START_MS);
        buf.push_float(4, 4.0, NO_START_MS);
        assert_eq!(buf.start_ms, [NO_START_MS, 0, NO_START_MS, NO_START_MS]);
        assert_eq!(
            buf.histograms
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>(),
            [false, false, true, false]
        );
    }

    #[test]
    fn removing_keeps_columns_aligned() {
        let mut buf = SampleBuf::default();
        buf.push_float(1, 1.0, NO_START_MS);
        buf.push_float(2, 2.0, 0);
        buf.push_histogram(3, Arc::new(Histogram::default()), 1);
        buf.push_float(4, 4.0, 2);
        buf.remove(&[MsRange::new(5, 9)]);
        assert_eq!(buf.len(), 4);
        buf.remove(&[MsRange::new(2, 2), MsRange::new(4, 9)]);
        assert_eq!(buf.t_ms, [1, 3]);
        assert_eq!(buf.start_ms, [NO_START_MS, 1]);
        assert!(buf.histogram(0).is_none() && buf.histogram(1).is_some());
        assert_eq!(buf.values, [1.0, 0.0]);
    }

    #[test]
    fn the_marker_is_one_nan_among_many() {
        assert!(is_stale(STALE_NAN));
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(f64::from_bits(0x7ff8_0000_0000_0001)));
    }
}
