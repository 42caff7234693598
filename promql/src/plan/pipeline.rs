//! From the samples of a series to its place in a result, without keeping the samples.

pub(crate) mod instant;
pub(crate) mod range;
pub(crate) mod samples;
pub(crate) mod stage;

use storage::model::Labels;

use super::{Budget, EvalError, EvalOptions, MatrixSeries};
use crate::annotation::Annotations;
use crate::vector::aggregate::Aggregation;
use crate::vector::{Grid, StepSeries};
use instant::InstantLeaf;
use range::RangeLeaf;
use samples::Held;
pub(crate) use samples::Scratch;
use stage::{Stage, Steps};

/// What becomes of a series' samples first.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    /// The newest sample within the lookback, at each step.
    Instant(InstantLeaf),
    /// A function over the range before each step. Parameters that are not known yet are left out.
    Range(RangeLeaf),
    /// The samples of one range themselves.
    Raw(RangeLeaf),
}

/// Where series end up.
pub(crate) enum Sink {
    Collect(Vec<StepSeries>),
    Reduce(Aggregation),
    /// Whether a step has a sample of any series.
    Any(Vec<bool>),
    /// Samples are kept, because parameters are not known yet.
    Held(Vec<(Labels, Held)>),
    Raw(Vec<MatrixSeries>),
}

/// The way of one selection's series through the query, from the samples to a sink.
pub(crate) struct Pipeline {
    /// Number of the selection.
    pub(crate) select: usize,
    pub(crate) grid: Grid,
    pub(crate) leaf: Leaf,
    /// Parameters of the leaf's function.
    pub(crate) params: Vec<Steps>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) sink: Sink,
    /// Only counts and sums of histograms are needed.
    pub(crate) without_buckets: bool,
    /// All series have one metric name, so that dropping it makes no two alike.
    pub(crate) one_name: bool,
}

impl Pipeline {
    /// Whether further stages can be put behind: the series come out one by one and are kept.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(
            (&self.sink, &self.leaf),
            (Sink::Collect(_), Leaf::Instant(_) | Leaf::Range(_))
        )
    }

    /// Takes a series whose samples have been loaded.
    pub(crate) fn push(
        &mut self,
        labels: &Labels,
        scratch: &Scratch,
        options: &EvalOptions,
        annotations: &mut Annotations,
        budget: &mut Budget,
    ) -> Result<(), EvalError> {
        if let Sink::Held(held) = &mut self.sink {
            budget.hold(scratch.len())?;
            held.push((labels.clone(), scratch.to_buf()));
            return Ok(());
        }
        let series = match &self.leaf {
            Leaf::Instant(leaf) => {
                leaf.series(labels, scratch, &self.grid, options, annotations, budget)?
            }
            Leaf::Range(leaf) => leaf.series(
                labels,
                false,
                scratch,
                &self.params,
                &self.grid,
                options,
                annotations,
                budget,
            )?,
            Leaf::Raw(leaf) => {
                if let (Sink::Raw(sink), Some(series)) = (
                    &mut self.sink,
                    leaf.raw(labels, scratch, &self.grid, options)?,
                ) {
                    let size = series.floats.len() + series.histograms.len();
                    budget.looked_at(0, &self.grid, size, leaf.inner);
                    budget.read(size);
                    budget.hold(size)?;
                    sink.push(series);
                }
                return Ok(());
            }
        };
        let Some(mut series) = series else {
            return Ok(());
        };
        for stage in &self.stages {
            match stage.apply(series, &self.grid, options, annotations) {
                Some(next) => series = next,
                None => return Ok(()),
            }
        }
        match &mut self.sink {
            Sink::Collect(sink) => {
                budget.hold(series.size_in_samples())?;
                budget.widen(series.values.len())?;
                sink.push(series);
            }
            Sink::Reduce(groups) => {
                let before = groups.held_samples();
                groups.push(&series);
                let added = groups.held_samples() - before;
                budget.hold(added)?;
                budget.widen(added)?;
            }
            Sink::Any(any) => {
                for (step, any) in any.iter_mut().enumerate() {
                    *any |= series.has(step);
                }
            }
            Sink::Held(_) | Sink::Raw(_) => {}
        }
        Ok(())
    }
}
