//! From the samples of a series to its place in a result, without keeping the samples.

pub(crate) mod instant;
pub(crate) mod range;
pub(crate) mod samples;
pub(crate) mod stage;

use std::sync::Arc;

use storage::model::Labels;

use super::budget::{Budget, Tally};
use super::{EvalError, EvalOptions, MatrixSeries};
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
    /// The first series with which something was wrong is the end of it. The fault comes to light when the series are asked for.
    Fault(String),
}

/// What comes out of the samples of one series.
pub(crate) enum Product {
    Series(StepSeries),
    Held(Labels, Held),
    Raw(MatrixSeries),
    Fault(String),
}

/// What a series' samples go through on their own, up to a sink.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) grid: Grid,
    pub(crate) leaf: Leaf,
    /// Parameters of the leaf's function.
    pub(crate) params: Vec<Steps>,
    pub(crate) stages: Vec<Stage>,
    /// Only counts and sums of histograms are needed.
    pub(crate) without_buckets: bool,
    /// The leaf's parameters are not known yet: the samples are kept.
    pub(crate) holds: bool,
}

/// The way of one selection's series through the query, from the samples to a sink.
pub(crate) struct Pipeline {
    /// Number of the selection.
    pub(crate) select: usize,
    pub(crate) way: Arc<Way>,
    pub(crate) sink: Sink,
    /// All series have one metric name, so that dropping it makes no two alike.
    pub(crate) one_name: bool,
}

impl Pipeline {
    /// Whether further stages can be put behind: the series come out one by one and are kept.
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            (&self.sink, &self.way.leaf),
            (Sink::Collect(_), Leaf::Instant(_) | Leaf::Range(_))
        )
    }

    /// Puts a stage behind.
    pub(crate) fn add_stage(&mut self, stage: Stage) {
        Arc::make_mut(&mut self.way).stages.push(stage);
    }

    /// Has samples kept until the parameters of the leaf are known.
    pub(crate) fn hold_samples(&mut self) {
        Arc::make_mut(&mut self.way).holds = true;
        self.sink = Sink::Held(Vec::new());
    }

    /// Takes what came out of a series.
    pub(crate) fn take(&mut self, product: Product, budget: &mut Budget) -> Result<(), EvalError> {
        match (&mut self.sink, product) {
            (Sink::Collect(sink), Product::Series(series)) => {
                budget.hold(series.size_in_samples())?;
                budget.widen(series.values.len())?;
                sink.push(series);
            }
            (Sink::Reduce(groups), Product::Series(series)) => {
                let before = groups.held_samples();
                groups.push(&series);
                let added = groups.held_samples() - before;
                budget.hold(added)?;
                budget.widen(added)?;
            }
            (Sink::Any(any), Product::Series(series)) => {
                for (step, any) in any.iter_mut().enumerate() {
                    *any |= series.has(step);
                }
            }
            (Sink::Held(sink), Product::Held(labels, held)) => {
                budget.hold(held.len())?;
                sink.push((labels, held));
            }
            (Sink::Raw(sink), Product::Raw(series)) => {
                budget.hold(series.floats.len() + series.histograms.len())?;
                sink.push(series);
            }
            (Sink::Fault(_), _) => {}
            (sink, Product::Fault(message)) => *sink = Sink::Fault(message),
            _ => debug_assert!(false, "a way and its sink are made for each other"),
        }
        Ok(())
    }
}

impl Way {
    /// Samples that upstream comes to by a jump over others rather than by reading on, ascending: at the first step, and wherever
    /// the steps are so far apart that the sample it stands at lies before all that the next one looks at.
    pub(crate) fn sought(&self, t_ms: &[i64], options: &EvalOptions) -> Vec<usize> {
        let (grid, lookback_ms) = (&self.grid, options.lookback_ms);
        let window = |step: usize| match &self.leaf {
            Leaf::Instant(leaf) => (leaf.moment(grid, step), lookback_ms),
            Leaf::Range(leaf) | Leaf::Raw(leaf) => {
                let (behind, ahead) = leaf.margins(lookback_ms);
                let whole = behind + leaf.range_ms + ahead;
                // What the steps have in common is kept from the second one on.
                let kept = if step == 0 {
                    whole
                } else {
                    whole.min(grid.step_ms)
                };
                (leaf.end_ms(grid, step) + ahead, kept)
            }
        };
        let mut sought = Vec::new();
        let mut at = 0;
        for step in 0..grid.steps {
            let Some(&t) = t_ms.get(at) else { break };
            let (max_ms, kept_ms) = window(step);
            if step == 0 || t < max_ms - kept_ms {
                at += t_ms[at..].partition_point(|t| *t < max_ms - kept_ms);
                sought.push(at);
            }
            at += t_ms[at..].partition_point(|t| *t < max_ms);
        }
        sought
    }

    /// Takes the samples that have been loaded as far as they go on their own; `None` where nothing comes of them.
    pub(crate) fn walk(
        &self,
        labels: &Labels,
        scratch: &Scratch,
        options: &EvalOptions,
        annotations: &mut Annotations,
        tally: &mut Tally,
    ) -> Result<Option<Product>, EvalError> {
        if self.holds {
            return Ok(Some(Product::Held(labels.clone(), scratch.to_buf())));
        }
        let grid = &self.grid;
        let series = match &self.leaf {
            Leaf::Instant(leaf) => {
                leaf.series(labels, scratch, grid, options, annotations, tally)?
            }
            Leaf::Range(leaf) => leaf.series(
                labels,
                false,
                scratch,
                &self.params,
                grid,
                options,
                annotations,
                tally,
            )?,
            Leaf::Raw(leaf) => {
                let raw = leaf.raw(labels, scratch, grid, options)?;
                return Ok(raw.map(|series| {
                    let size = series.floats.len() + series.histograms.len();
                    tally.looked_at(0, grid, size, leaf.inner);
                    tally.read(size);
                    Product::Raw(series)
                }));
            }
        };
        let Some(mut series) = series else {
            return Ok(None);
        };
        for stage in &self.stages {
            match stage.apply(series, grid, options, annotations) {
                Some(next) => series = next,
                None => return Ok(None),
            }
        }
        Ok(Some(Product::Series(series)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::Func;

    #[test]
    fn samples_are_sought_out_where_windows_leave_a_gap() {
        let t_ms: Vec<i64> = (0..=12).map(|i| i * 10_000).collect();
        for (range_ms, step_ms, expected) in [
            (1000, 60_000, &[6, 12][..]),
            (60_000, 60_000, &[0][..]),
            (300_000, 30_000, &[0][..]),
            (20_000, 30_000, &[4, 7, 10][..]),
        ] {
            let leaf = RangeLeaf {
                func: Func::SumOverTime,
                range_ms,
                at_ms: None,
                offset_ms: 0,
                anchored: false,
                smoothed: false,
                inner: false,
                stored: true,
                position: 0,
            };
            let way = Way {
                grid: Grid::new(60_000, 120_000, step_ms),
                leaf: Leaf::Range(leaf),
                params: Vec::new(),
                stages: Vec::new(),
                without_buckets: true,
                holds: false,
            };
            let sought = way.sought(&t_ms, &EvalOptions::instant(0));
            assert_eq!(sought, expected, "{range_ms} every {step_ms}");
        }
    }
}
