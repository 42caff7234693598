//! Aggregations that need nothing but a few numbers per group and step: series go in one by one
//! and are not kept.

use std::sync::Arc;

use indexmap::IndexMap;
use storage::model::{Labels, METRIC_NAME, ResetHint};

use super::{ABSENT, Grouping, StepSeries, is_present};
use crate::annotation::{HistogramOperation, Note};
use crate::histogram::{FloatHistogram, HistogramSum, IncompatibleBuckets};
use crate::kahan::{Kahan, Mean, Number};

/// An aggregation that streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Reduce {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
}

/// Groups that series are being folded into.
pub struct Aggregation {
    op: Reduce,
    grouping: Grouping,
    steps: usize,
    groups: IndexMap<Labels, Group>,
    /// What is to be remarked about the aggregation's operand.
    notes: crate::annotation::Annotations,
    position: usize,
}

/// Spread around a mean, taken in one value after the other.
/// Source: B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", 1962.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

#[derive(Debug)]
enum Column {
    /// Sums; the flag says whether the step has a float.
    Sums(Vec<(Kahan, bool)>),
    Means(Vec<(Mean, bool)>),
    /// Minima, maxima, counts, or ones.
    Values(Vec<f64>),
    Spreads(Vec<Spread>),
}

#[derive(Debug)]
struct Group {
    column: Column,
    histograms: Vec<Option<Box<HistogramCell>>>,
    drop_name: bool,
}

/// Histograms of one group and step.
#[derive(Debug)]
struct HistogramCell {
    sum: HistogramSum,
    count: f64,
    incremental: bool,
    incompatible: bool,
    reset: bool,
    no_reset: bool,
}

impl Aggregation {
    /// An aggregation over so many steps; remarks will point at `position`.
    #[must_use]
    pub fn new(op: Reduce, grouping: Grouping, steps: usize, position: usize) -> Self {
        Self {
            op,
            grouping,
            steps,
            groups: IndexMap::new(),
            notes: crate::annotation::Annotations::default(),
            position,
        }
    }

    /// Folds a series in.
    pub fn push(&mut self, series: &StepSeries) {
        let key = self.grouping.labels(&series.labels);
        let (op, steps) = (self.op, self.steps);
        let group = self
            .groups
            .entry(key)
            .or_insert_with(|| Group::new(op, steps));
        group.drop_name |= series.drop_name;
        if series.histograms.is_empty() {
            group.floats(op, &series.values);
            return;
        }
        let (mut notes, position) = (std::mem::take(&mut self.notes), self.position);
        for (step, &value) in series.values.iter().enumerate() {
            match series.histogram(step) {
                Some(h) => {
                    let mut remark = |note: &Note<'_>| notes.add(note, position);
                    group.histogram(op, step, h, &series.labels, &mut remark);
                }
                None => group.float(op, step, value),
            }
        }
        self.notes = notes;
    }

    /// Float samples that the groups hold, for limits.
    #[must_use]
    pub fn held_samples(&self) -> usize {
        self.groups.len() * self.steps
    }

    /// The groups as series, in the order in which they were first seen; and what is to be remarked.
    #[must_use]
    pub fn finish(self) -> (Vec<StepSeries>, crate::annotation::Annotations) {
        let mut notes = self.notes;
        let mut out = Vec::with_capacity(self.groups.len());
        for (labels, group) in self.groups {
            let mut remark = |note: &Note<'_>| notes.add(note, self.position);
            let series = group.finish(self.op, labels, &mut remark);
            if !series.is_empty() {
                out.push(series);
            }
        }
        (out, notes)
    }
}

impl Group {
    fn new(op: Reduce, steps: usize) -> Self {
        let column = match op {
            Reduce::Sum => Column::Sums(vec![(Kahan::default(), false); steps]),
            Reduce::Avg => Column::Means(vec![(Mean::default(), false); steps]),
            Reduce::Min | Reduce::Max | Reduce::Count | Reduce::Group => {
                Column::Values(vec![ABSENT; steps])
            }
            Reduce::Stddev | Reduce::Stdvar => Column::Spreads(vec![Spread::default(); steps]),
        };
        Self {
            column,
            histograms: Vec::new(),
            drop_name: false,
        }
    }

    fn floats(&mut self, op: Reduce, values: &[f64]) {
        if !self.histograms.is_empty() {
            for (step, &value) in values.iter().enumerate() {
                self.float(op, step, value);
            }
            return;
        }
        let present = values.iter().copied().enumerate();
        let present = present.filter(|(_, v)| is_present(*v));
        match &mut self.column {
            Column::Sums(sums) => present.for_each(|(i, v)| add(&mut sums[i], v)),
            Column::Means(means) => present.for_each(|(i, v)| {
                means[i].0.add(v);
                means[i].1 = true;
            }),
            Column::Values(cells) => present.for_each(|(i, v)| cells[i] = fold(op, cells[i], v)),
            Column::Spreads(spreads) => present.for_each(|(i, v)| spreads[i].add(v)),
        }
    }

    fn float(&mut self, op: Reduce, step: usize, value: f64) {
        let closed =
            |cell: &Option<Box<HistogramCell>>| cell.as_ref().is_some_and(|c| c.incompatible);
        if !is_present(value) || self.histograms.get(step).is_some_and(closed) {
            return;
        }
        match &mut self.column {
            Column::Sums(sums) => add(&mut sums[step], value),
            Column::Means(means) => {
                means[step].0.add(value);
                means[step].1 = true;
            }
            Column::Values(cells) => cells[step] = fold(op, cells[step], value),
            Column::Spreads(spreads) => spreads[step].add(value),
        }
    }

    fn histogram(
        &mut self,
        op: Reduce,
        step: usize,
        h: &Arc<FloatHistogram>,
        labels: &Labels,
        remark: &mut dyn FnMut(&Note<'_>),
    ) {
        let ignored = match op {
            Reduce::Min => "min",
            Reduce::Max => "max",
            Reduce::Stddev => "stddev",
            Reduce::Stdvar => "stdvar",
            Reduce::Count | Reduce::Group => return self.float(op, step, 0.0),
            Reduce::Sum | Reduce::Avg => "",
        };
        if !ignored.is_empty() {
            remark(&Note::HistogramIgnoredInAggregation(ignored));
            return;
        }
        if self.histograms.is_empty() {
            let steps = match &self.column {
                Column::Sums(c) => c.len(),
                Column::Means(c) => c.len(),
                Column::Values(c) => c.len(),
                Column::Spreads(c) => c.len(),
            };
            self.histograms.resize_with(steps, || None);
        }
        let is_after_float = match &self.column {
            Column::Sums(sums) => sums[step].1,
            Column::Means(means) => means[step].1,
            Column::Values(_) | Column::Spreads(_) => false,
        };
        match &mut self.histograms[step] {
            None => {
                let mut cell = HistogramCell::new(h);
                // Nothing comes of histograms with floats before them; upstream does not even look at how they fit together.
                cell.incompatible = is_after_float;
                self.histograms[step] = Some(Box::new(cell));
            }
            Some(cell) if cell.incompatible => {}
            Some(cell) => match cell.add(op, h) {
                Ok(true) => remark(&Note::BoundsReconciled(HistogramOperation::Aggregation)),
                Ok(false) => {}
                Err(IncompatibleBuckets) => {
                    cell.incompatible = true;
                    let name = labels.get(METRIC_NAME).unwrap_or("");
                    remark(&Note::MixedExponentialCustom(name));
                }
            },
        }
    }

    fn finish(self, op: Reduce, labels: Labels, remark: &mut dyn FnMut(&Note<'_>)) -> StepSeries {
        let values: Vec<f64> = match self.column {
            Column::Sums(sums) => {
                let total = |(sum, seen): (Kahan, bool)| if seen { sum.total() } else { ABSENT };
                sums.into_iter().map(total).collect()
            }
            Column::Means(means) => {
                let get = |(mean, seen): (Mean, bool)| if seen { mean.get() } else { ABSENT };
                means.into_iter().map(get).collect()
            }
            Column::Values(values) => values,
            Column::Spreads(spreads) => {
                let get = |s: Spread| match op {
                    _ if s.count == 0.0 => ABSENT,
                    Reduce::Stddev => (s.squares / s.count).sqrt(),
                    _ => s.squares / s.count,
                };
                spreads.into_iter().map(get).collect()
            }
        };
        let mut series = StepSeries {
            labels,
            drop_name: self.drop_name,
            values,
            histograms: Vec::new(),
        };
        for (step, cell) in self.histograms.into_iter().enumerate() {
            let Some(cell) = cell else { continue };
            if series.has(step) {
                remark(&Note::MixedFloatsHistogramsInAggregation);
                series.remove(step);
                continue;
            }
            if cell.incompatible {
                continue;
            }
            if cell.reset && cell.no_reset {
                remark(&Note::ResetCollision(HistogramOperation::Aggregation));
            }
            let h = cell.finish(op);
            series.set(step, super::Sample::Histogram(Arc::new(h)));
        }
        series
    }
}

fn add(cell: &mut (Kahan, bool), value: f64) {
    if cell.1 {
        cell.0.plus(value);
    } else {
        *cell = (Kahan::of(value), true);
    }
}

#[inline]
fn fold(op: Reduce, cell: f64, value: f64) -> f64 {
    let first = !is_present(cell);
    match op {
        Reduce::Count if first => 1.0,
        Reduce::Count => cell + 1.0,
        Reduce::Group => 1.0,
        _ if first => value,
        Reduce::Min if cell > value || cell.is_nan() => value,
        Reduce::Max if cell < value || cell.is_nan() => value,
        _ => cell,
    }
}

impl Spread {
    #[inline]
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
}

impl HistogramCell {
    fn new(h: &FloatHistogram) -> Self {
        let mut cell = Self {
            sum: HistogramSum::start(h),
            count: 1.0,
            incremental: false,
            incompatible: false,
            reset: false,
            no_reset: false,
        };
        cell.hint(h.reset_hint);
        cell
    }

    fn hint(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Yes;
        self.no_reset |= hint == ResetHint::No;
    }

    /// Adds a histogram; says whether custom bounds had to be reconciled.
    fn add(&mut self, op: Reduce, h: &FloatHistogram) -> Result<bool, IncompatibleBuckets> {
        self.hint(h.reset_hint);
        self.count += 1.0;
        if op == Reduce::Sum {
            return Ok(self.sum.add(h)?.bounds_reconciled);
        }
        add_to_mean(&mut self.sum, self.count, &mut self.incremental, h)
    }

    fn finish(mut self, op: Reduce) -> FloatHistogram {
        if op == Reduce::Avg && !self.incremental {
            self.sum.divide(self.count);
        }
        self.sum.finish()
    }
}

/// Takes the histogram number `count` into a mean that is kept as a sum until the sum overflows.
pub(crate) fn add_to_mean(
    sum: &mut HistogramSum,
    count: f64,
    incremental: &mut bool,
    h: &FloatHistogram,
) -> Result<bool, IncompatibleBuckets> {
    if !*incremental {
        let mut next = sum.clone();
        let combined = next.add(h)?;
        if !next.has_overflow() {
            *sum = next;
            return Ok(combined.bounds_reconciled);
        }
        *incremental = true;
        sum.divide(count - 1.0);
    }
    sum.multiply((count - 1.0) / count);
    let mut part = h.clone();
    part.divide(count);
    Ok(sum.add(&part)?.bounds_reconciled)
}
