//! What a function over a range sees of one series at one step.

use std::sync::Arc;

use crate::annotation::{Annotations, HistogramOperation, Note};
use crate::histogram::{Combined, FloatHistogram, IncompatibleBuckets};
use crate::vector::Sample;

/// The samples of one series in a range, floats and histograms apart, each ascending in time. Of an
/// `anchored` or `smoothed` range also those around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// Time of the step.
    pub(crate) t_ms: i64,
    /// Start of the range, out.
    pub(crate) start_ms: i64,
    /// End of the range, in.
    pub(crate) end_ms: i64,
    /// Floats: times, values, start timestamps (0: none; empty: not to be used).
    pub(crate) floats: Points<'a, f64>,
    /// Histograms.
    pub(crate) histograms: Points<'a, Arc<FloatHistogram>>,
    /// The range ends where a sample lies.
    pub(crate) anchored: bool,
    /// The range ends between samples.
    pub(crate) smoothed: bool,
}

/// Samples of one kind.
#[derive(Debug)]
pub(crate) struct Points<'a, V> {
    pub(crate) t_ms: &'a [i64],
    pub(crate) values: &'a [V],
    /// As long as the others, or empty.
    pub(crate) start_ms: &'a [i64],
}

impl<V> Clone for Points<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Points<'_, V> {}

impl<'a, V> Points<'a, V> {
    pub(crate) const fn len(&self) -> usize {
        self.t_ms.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.t_ms.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, &'a V)> + use<'a, V> {
        self.t_ms.iter().copied().zip(self.values)
    }

    /// Whether the start timestamp of sample `i` (1 or later) says that the counter began anew after the sample before.
    pub(crate) fn restarted(&self, i: usize) -> bool {
        let (Some(&before), Some(&now)) = (self.start_ms.get(i - 1), self.start_ms.get(i)) else {
            return false;
        };
        let previous = self.t_ms[i - 1];
        if now == 0 || now >= self.t_ms[i] || now < previous {
            return false;
        }
        now > previous || (before <= previous && before != 0 && before != previous)
    }

    /// Whether sample `i` (1 or later) claims to start before the sample before it, without having started together.
    pub(crate) fn overlaps(&self, i: usize) -> bool {
        let (Some(&before), Some(&now)) = (self.start_ms.get(i - 1), self.start_ms.get(i)) else {
            return false;
        };
        now != 0 && now < self.t_ms[i - 1] && now != before
    }
}

/// Where remarks about one series go.
pub(crate) struct Remarks<'a> {
    pub(crate) annotations: &'a mut Annotations,
    /// First byte of the range argument in the query.
    pub(crate) position: usize,
    /// Name of the series' metric, may be empty.
    pub(crate) metric: &'a str,
}

impl Remarks<'_> {
    pub(crate) fn add(&mut self, note: &Note<'_>) {
        self.annotations.add(note, self.position);
    }

    pub(crate) fn mixed(&mut self) {
        self.annotations
            .add(&Note::MixedFloatsHistograms(self.metric), self.position);
    }

    pub(crate) fn mixed_buckets(&mut self) {
        self.annotations
            .add(&Note::MixedExponentialCustom(self.metric), self.position);
    }

    pub(crate) fn histograms_ignored(&mut self) {
        let note = Note::HistogramIgnoredInMixedRange(self.metric);
        self.annotations.add(&note, self.position);
    }

    pub(crate) fn not_counter(&mut self) {
        self.annotations
            .add(&Note::NotCounter(self.metric), self.position);
    }

    pub(crate) fn not_gauge(&mut self) {
        self.annotations
            .add(&Note::NotGauge(self.metric), self.position);
    }

    /// Remarks on a combination of histograms; `None` where they could not be combined.
    pub(crate) fn combined(
        &mut self,
        result: Result<Combined, IncompatibleBuckets>,
        operation: HistogramOperation,
    ) -> Option<()> {
        match result {
            Ok(combined) => {
                if combined.bounds_reconciled {
                    self.add(&Note::BoundsReconciled(operation));
                }
                Some(())
            }
            Err(IncompatibleBuckets) => {
                self.mixed_buckets();
                None
            }
        }
    }
}

/// What a function makes of a window.
pub(crate) type Value = Option<Sample>;

pub(crate) const fn float(v: f64) -> Value {
    Some(Sample::Float(v))
}

pub(crate) fn histogram(h: FloatHistogram) -> Value {
    Some(Sample::Histogram(Arc::new(h)))
}
