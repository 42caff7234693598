//! The samples of one series, as the leaves read them.

use std::sync::Arc;

use storage::model::{NO_START_MS, ResetHint, SampleBuf, is_stale};

use crate::functions::window::Points;
use crate::histogram::FloatHistogram;
use crate::vector::{Grid, StepSeries};

/// The samples of one series, in order of time; with floats and histograms apart, markers of
/// staleness left out, where there is anything to take apart.
#[derive(Default)]
pub(crate) struct Scratch {
    /// All samples, markers included.
    pub(crate) t_ms: Vec<i64>,
    pub(crate) values: Vec<f64>,
    /// Empty, or one per sample.
    pub(crate) histograms: Vec<Option<Arc<FloatHistogram>>>,
    /// Empty, or one per sample; 0 where there is none.
    pub(crate) start_ms: Vec<i64>,
    /// The histograms as they were before they were stripped of their buckets.
    whole: Vec<Option<Arc<FloatHistogram>>>,
    /// Whether all samples are floats and none is a marker: `t_ms` and `values` serve as they are.
    plain: bool,
    floats: Columns<f64>,
    histogram_points: Columns<Arc<FloatHistogram>>,
}

struct Columns<V> {
    t_ms: Vec<i64>,
    values: Vec<V>,
    start_ms: Vec<i64>,
}

impl<V> Default for Columns<V> {
    fn default() -> Self {
        Self {
            t_ms: Vec::new(),
            values: Vec::new(),
            start_ms: Vec::new(),
        }
    }
}

impl<V> Columns<V> {
    fn clear(&mut self) {
        self.t_ms.clear();
        self.values.clear();
        self.start_ms.clear();
    }
}

impl Scratch {
    /// Loads the samples of a stored series, and takes times and values out of the buffer.
    pub(crate) fn load(&mut self, buf: &mut SampleBuf) {
        std::mem::swap(&mut self.t_ms, &mut buf.t_ms);
        std::mem::swap(&mut self.values, &mut buf.values);
        let start = |s: &i64| if *s == NO_START_MS { 0 } else { *s };
        self.start_ms.clear();
        self.start_ms.extend(buf.start_ms.iter().map(start));
        self.histograms.clear();
        self.whole.clear();
        if !buf.histograms.is_empty() {
            let convert = |h: &Option<Arc<_>>| h.as_ref().map(|h| FloatHistogram::from_stored(h));
            let mut all: Vec<_> = buf.histograms.iter().map(convert).collect();
            settle_hints(&mut all);
            self.histograms
                .extend(all.into_iter().map(|h| h.map(Arc::new)));
        }
        self.split();
    }

    /// Leaves only counts and sums of the histograms, for whoever asks for nothing else. The hints then say what the buckets
    /// would have shown, save those of samples that were sought out without a look at what is before them.
    pub(crate) fn strip_buckets(&mut self, sought: &[usize]) {
        if self.histograms.is_empty() {
            return;
        }
        if self.whole.is_empty() {
            self.whole.clone_from(&self.histograms);
        }
        let mut sought = sought.iter().copied().peekable();
        let mut last: Option<Arc<FloatHistogram>> = None;
        for (i, (slot, whole)) in self.histograms.iter_mut().zip(&self.whole).enumerate() {
            if sought.next_if_eq(&i).is_some() {
                last = None;
            }
            let Some(h) = whole else { continue };
            let mut stripped = FloatHistogram::empty(h.schema, Arc::from([]));
            (stripped.count, stripped.sum) = (h.count, h.sum);
            stripped.reset_hint = match (&last, h.reset_hint) {
                (Some(last), ResetHint::Unknown) if h.is_reset_after(last) => ResetHint::Yes,
                (Some(_), ResetHint::Unknown) => ResetHint::No,
                (_, hint) => hint,
            };
            if !is_stale(h.sum) {
                let mut full = h.as_ref().clone();
                full.reset_hint = stripped.reset_hint;
                last = Some(Arc::new(full));
            }
            *slot = Some(Arc::new(stripped));
        }
        self.split();
    }

    /// Loads what a subquery has evaluated to. The hints of its histograms may miss resets between its steps, so that only
    /// gauges keep theirs.
    pub(crate) fn load_steps(&mut self, series: &StepSeries, grid: &Grid) {
        self.t_ms.clear();
        self.values.clear();
        self.histograms.clear();
        self.start_ms.clear();
        let with_histograms = !series.histograms.is_empty();
        for step in (0..grid.steps).filter(|i| series.has(*i)) {
            self.t_ms.push(grid.at(step));
            self.values.push(series.values[step]);
            if with_histograms {
                let h = series.histogram(step).map(|h| {
                    if h.reset_hint == ResetHint::Gauge || h.reset_hint == ResetHint::Unknown {
                        return Arc::clone(h);
                    }
                    let mut h = h.as_ref().clone();
                    h.reset_hint = ResetHint::Unknown;
                    Arc::new(h)
                });
                self.histograms.push(h);
            }
        }
        self.split();
    }

    /// The floats.
    pub(crate) fn floats(&self) -> Points<'_, f64> {
        if self.plain {
            Points {
                t_ms: &self.t_ms,
                values: &self.values,
                start_ms: &self.start_ms,
            }
        } else {
            points(&self.floats)
        }
    }

    /// The histograms.
    pub(crate) fn histograms(&self) -> Points<'_, Arc<FloatHistogram>> {
        points(&self.histogram_points)
    }

    /// A copy to be loaded again.
    pub(crate) fn to_buf(&self) -> Held {
        Held {
            t_ms: self.t_ms.clone(),
            values: self.values.clone(),
            histograms: self.histograms.clone(),
            start_ms: self.start_ms.clone(),
        }
    }

    /// Loads a copy.
    pub(crate) fn load_held(&mut self, held: Held) {
        self.t_ms = held.t_ms;
        self.values = held.values;
        self.histograms = held.histograms;
        self.start_ms = held.start_ms;
        self.split();
    }

    fn split(&mut self) {
        self.floats.clear();
        self.histogram_points.clear();
        self.plain = self.histograms.is_empty() && !has_marker(&self.values);
        if self.plain {
            return;
        }
        for (i, (&t, &v)) in self.t_ms.iter().zip(&self.values).enumerate() {
            if is_stale(v) {
                continue;
            }
            let start = self.start_ms.get(i).copied();
            match self.histograms.get(i).and_then(Option::as_ref) {
                Some(h) => {
                    self.histogram_points.t_ms.push(t);
                    self.histogram_points.values.push(Arc::clone(h));
                    self.histogram_points.start_ms.extend(start);
                }
                None => {
                    self.floats.t_ms.push(t);
                    self.floats.values.push(v);
                    self.floats.start_ms.extend(start);
                }
            }
        }
    }
}

/// Whether there is a marker of staleness. Looked for in runs, which takes no branch for each value.
fn has_marker(values: &[f64]) -> bool {
    let any = |run: &[f64]| run.iter().fold(false, |any, v| any | is_stale(*v));
    values.chunks(64).any(any)
}

/// The samples of a series, kept until its function's parameters are known.
pub(crate) struct Held {
    t_ms: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<Option<Arc<FloatHistogram>>>,
    start_ms: Vec<i64>,
}

impl Held {
    /// Number of samples.
    pub(crate) const fn len(&self) -> usize {
        self.t_ms.len()
    }
}

fn points<V>(columns: &Columns<V>) -> Points<'_, V> {
    Points {
        t_ms: &columns.t_ms,
        values: &columns.values,
        start_ms: &columns.start_ms,
    }
}

/// Gives counter histograms the hints that the upstream's storage gives them when it is read: "no reset" where a sample
/// continues what is before it, "unknown" where it begins anew, be it for a reset or another layout. What lies before the first
/// sample is not seen here; it is taken for a continuation.
fn settle_hints(all: &mut [Option<FloatHistogram>]) {
    for i in 0..all.len() {
        let (before, now) = all.split_at_mut(i);
        let Some(Some(now)) = now.first_mut() else {
            continue;
        };
        if now.reset_hint == ResetHint::Gauge {
            continue;
        }
        let explicit = now.reset_hint == ResetHint::Yes;
        now.reset_hint = ResetHint::Unknown;
        let continues = match before.last() {
            None => true,
            Some(None) => false,
            Some(Some(before)) => continues(before, now),
        };
        if continues && !explicit {
            now.reset_hint = ResetHint::No;
        }
    }
}

/// Whether a counter histogram goes on with the one before it, in the same layout.
fn continues(before: &FloatHistogram, now: &FloatHistogram) -> bool {
    before.reset_hint != ResetHint::Gauge
        && !is_stale(before.sum)
        && before.schema == now.schema
        && before.zero_threshold == now.zero_threshold
        && before.custom_values == now.custom_values
        && !now.is_reset_after(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripped_histograms_tell_resets_unless_they_were_sought_out() {
        use ResetHint::{No, Unknown, Yes};
        let histogram = |count: f64| {
            let mut h = FloatHistogram::empty(0, Arc::from([]));
            h.count = count;
            h.positive = vec![(1, count)];
            Some(Arc::new(h))
        };
        let mut scratch = Scratch {
            t_ms: vec![0, 1, 2],
            values: vec![0.0; 3],
            histograms: [2.0, 3.0, 1.0].map(histogram).into(),
            ..Scratch::default()
        };
        for (sought, expected) in [
            (&[0][..], [Unknown, No, Yes]),
            (&[0, 2][..], [Unknown, No, Unknown]),
            (&[1][..], [Unknown, Unknown, Yes]),
        ] {
            scratch.strip_buckets(sought);
            let points = scratch.histograms();
            let hints: Vec<_> = points.values.iter().map(|h| h.reset_hint).collect();
            assert_eq!(hints, expected, "{sought:?}");
            assert!(points.values.iter().all(|h| h.positive.is_empty()));
        }
    }
}
