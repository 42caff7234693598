//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction` of classic and native
//! histograms side by side.

use indexmap::IndexMap;
use storage::model::{Labels, METRIC_NAME};

use super::{Evaluator, floats_where};
use crate::annotation::{Annotations, Note};
use crate::functions::classic::{self, ClassicBucket, Forced};
use crate::histogram::{FloatHistogram, QuantileNote};
use crate::number::format_open_metrics;
use crate::plan::EvalError;
use crate::plan::node::Node;
use crate::plan::pipeline::stage::Steps;
use crate::vector::output::{MatchError, Output};
use crate::vector::{Grid, StepSeries, without_metric};

const BUCKET: &str = "le";

/// Series that make up one histogram: the `le` buckets of a classic one, and those with the same
/// other labels whose samples are native ones.
#[derive(Default)]
struct Family {
    buckets: Vec<(f64, usize)>,
    native: Vec<usize>,
}

/// What is asked of a histogram.
enum Question<'a> {
    Quantile(&'a Steps),
    Fraction(&'a Steps, &'a Steps),
}

struct Asking<'a> {
    vector: &'a [StepSeries],
    families: IndexMap<Labels, Family>,
    grid: Grid,
    delayed: bool,
    position: usize,
    annotations: &'a mut Annotations,
    /// Counts that had to be raised, with their steps, by the name that the remark shows.
    forced: IndexMap<String, Vec<(usize, Forced)>>,
}

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(
        &mut self,
        quantiles: Vec<(Node, usize)>,
        label: Option<String>,
        child: Node,
        grid: Grid,
        position: usize,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let mut qs = Vec::new();
        for (node, at) in quantiles {
            let q = self.scalar(node)?;
            for value in (0..grid.steps).map(|step| q.get(step)) {
                if !(0.0..=1.0).contains(&value) {
                    self.annotations.add(&Note::InvalidQuantile(value), at);
                }
            }
            qs.push(q);
        }
        let vector = self.vector(child)?;
        let delayed = self.options.delayed_name_removal;
        let mut out = Output::judged_later(self.frame(&grid));
        let mut asking = Asking::new(&vector, grid, delayed, position, &mut self.annotations);
        for q in &qs {
            for series in asking.answer(&Question::Quantile(q)) {
                match &label {
                    None => out.put_all(series),
                    Some(label) => put_labelled(&mut out, series, label, q),
                }?;
            }
        }
        asking.note_forced();
        Ok(out.finish())
    }

    pub(super) fn histogram_fraction(
        &mut self,
        lower: Node,
        upper: Node,
        child: Node,
        grid: Grid,
        position: usize,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let (lower, upper) = (self.scalar(lower)?, self.scalar(upper)?);
        let vector = self.vector(child)?;
        let delayed = self.options.delayed_name_removal;
        let mut out = Output::judged_later(self.frame(&grid));
        let mut asking = Asking::new(&vector, grid, delayed, position, &mut self.annotations);
        for series in asking.answer(&Question::Fraction(&lower, &upper)) {
            out.put_all(series)?;
        }
        Ok(out.finish())
    }
}

/// Puts a series in with the quantile of each step as a label.
fn put_labelled(
    out: &mut Output,
    series: StepSeries,
    label: &str,
    q: &Steps,
) -> Result<(), MatchError> {
    let labelled = |q: f64| {
        let mut builder = series.labels.to_builder();
        builder.set(label, &format_open_metrics(q)).finish()
    };
    if let Steps::Const(q) = q {
        let labels = labelled(*q);
        return out.put_all(StepSeries { labels, ..series });
    }
    for step in 0..series.values.len() {
        if let Some(sample) = series.get(step) {
            let slot = out.slot(labelled(q.get(step)), series.drop_name)?;
            out.put(slot, step, sample)?;
        }
    }
    Ok(())
}

impl<'a> Asking<'a> {
    fn new(
        vector: &'a [StepSeries],
        grid: Grid,
        delayed: bool,
        position: usize,
        annotations: &'a mut Annotations,
    ) -> Self {
        let mut families: IndexMap<Labels, Family> = IndexMap::new();
        for (i, series) in vector.iter().enumerate() {
            let has_histograms = series.histograms.iter().any(Option::is_some);
            if has_histograms {
                let family = families.entry(series.labels.clone()).or_default();
                family.native.push(i);
            }
            let has_floats =
                (0..grid.steps).any(|s| series.has(s) && series.histogram(s).is_none());
            if !has_floats {
                continue;
            }
            let bound = series.labels.get(BUCKET).unwrap_or("");
            match parse_bound(bound) {
                Some(upper) => {
                    let labels = series.labels.without(&[BUCKET]);
                    families.entry(labels).or_default().buckets.push((upper, i));
                }
                None => {
                    let name = series.labels.get(METRIC_NAME).unwrap_or("");
                    let note = Note::BadBucketLabel {
                        metric: if delayed { name } else { "" },
                        label: bound,
                    };
                    annotations.add(&note, position);
                }
            }
        }
        Self {
            vector,
            families,
            grid,
            delayed,
            position,
            annotations,
            forced: IndexMap::new(),
        }
    }

    fn answer(&mut self, question: &Question<'_>) -> Vec<StepSeries> {
        let mut out = Vec::new();
        let mut buckets = Vec::new();
        let families = std::mem::take(&mut self.families);
        for (labels, family) in &families {
            let name = labels.get(METRIC_NAME).unwrap_or("");
            let shown = if self.delayed { name } else { "" };
            let steps = self.grid.steps;
            let result_labels = if self.delayed {
                labels.clone()
            } else {
                without_metric(labels)
            };
            let mut series = floats_where(result_labels, steps, |step| {
                buckets.clear();
                for &(upper, i) in &family.buckets {
                    let from = &self.vector[i];
                    if from.has(step) && from.histogram(step).is_none() {
                        let count = from.values[step];
                        buckets.push(ClassicBucket { upper, count });
                    }
                }
                let native = family
                    .native
                    .iter()
                    .find_map(|i| self.vector[*i].histogram(step));
                match native {
                    Some(_) if !buckets.is_empty() => {
                        let note = Note::MixedClassicNative(shown);
                        self.annotations.add(&note, self.position);
                        None
                    }
                    Some(h) => Some(self.of_native(question, step, h, shown)),
                    None if buckets.is_empty() => None,
                    None => Some(self.of_classic(question, step, &mut buckets, shown)),
                }
            });
            series.drop_name = true;
            if !series.is_empty() {
                out.push(series);
            }
        }
        self.families = families;
        out
    }

    fn of_native(
        &mut self,
        question: &Question<'_>,
        step: usize,
        h: &FloatHistogram,
        name: &str,
    ) -> f64 {
        let (value, note) = match question {
            Question::Quantile(q) => h.quantile(q.get(step)),
            Question::Fraction(lower, upper) => h.fraction(lower.get(step), upper.get(step)),
        };
        if let Some(note) = note {
            let note = match note {
                QuantileNote::ResultIsNan => Note::QuantileIsNan(name),
                QuantileNote::SkewedHigher => Note::QuantileSkewed(name),
                QuantileNote::ExcludedFromFraction => Note::FractionWithoutNans(name),
            };
            self.annotations.add(&note, self.position);
        }
        value
    }

    fn of_classic(
        &mut self,
        question: &Question<'_>,
        step: usize,
        buckets: &mut Vec<ClassicBucket>,
        name: &str,
    ) -> f64 {
        match question {
            Question::Fraction(lower, upper) => {
                classic::fraction(lower.get(step), upper.get(step), buckets)
            }
            Question::Quantile(q) => {
                let (value, forced) = classic::quantile(q.get(step), buckets);
                if let Some(forced) = forced {
                    let found = self.forced.entry(name.to_owned()).or_default();
                    found.push((step, forced));
                }
                value
            }
        }
    }

    /// Says where counts had to be raised.
    fn note_forced(&mut self) {
        for (metric, mut list) in std::mem::take(&mut self.forced) {
            list.sort_by_key(|(step, _)| *step);
            let steps = list.iter().map(|(step, _)| *step);
            let of = |f: fn(&Forced) -> f64| list.iter().map(move |(_, forced)| f(forced));
            let times = (list.first(), list.last());
            let (Some((first, _)), Some((last, _))) = times else {
                continue;
            };
            let note = Note::ForcedMonotonicity {
                metric: &metric,
                t_ms: (self.grid.at(*first), self.grid.at(*last)),
                buckets: (
                    of(|f| f.min_bucket).fold(f64::INFINITY, f64::min),
                    of(|f| f.max_bucket).fold(f64::NEG_INFINITY, f64::max),
                ),
                max_diff: of(|f| f.max_diff).fold(0.0, f64::max),
                count: forced_count(steps, self.grid.steps),
            };
            self.annotations.add(&note, self.position);
        }
    }
}

/// How many samples upstream counts: at each step after the first one it adds what it has counted so far once more. Over a long
/// range the number runs over, as it does there. `found` has a step for each sample, ascending.
fn forced_count(found: impl Iterator<Item = usize>, steps: usize) -> i64 {
    let mut found = found.peekable();
    let Some(&first) = found.peek() else { return 0 };
    let mut count: i64 = 0;
    for step in first..steps {
        while found.next_if_eq(&step).is_some() {
            count = count.wrapping_add(1);
        }
        if step > first {
            count = count.wrapping_mul(2);
        }
    }
    count
}

/// A bound as Go reads floats.
fn parse_bound(text: &str) -> Option<f64> {
    if text.is_empty() || text.ends_with(char::is_whitespace) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_counts_are_counted_as_often_as_upstream_counts_them() {
        for (found, steps, expected) in [
            (&[][..], 3, 0),
            (&[0, 0, 0, 0], 1, 4),
            (&[0, 0, 1, 1], 2, 8),
            (&[0, 0], 3, 8),
            (&[2, 2], 3, 2),
            (&[0, 1, 2], 3, 10),
            (&[0], 65, 0),
        ] {
            let count = forced_count(found.iter().copied(), steps);
            assert_eq!(count, expected, "{found:?} of {steps}");
        }
    }
}
