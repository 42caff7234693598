//! What comes out of the pipelines, and range functions that could not run in them.

use storage::model::Labels;

use super::{Evaluator, Outcome, floats_where, has_twins, same_labels};
use crate::functions::Func;
use crate::plan::node::{Kind, Node};
use crate::plan::pipeline::range::RangeLeaf;
use crate::plan::pipeline::stage::Steps;
use crate::plan::pipeline::{Leaf, Sink};
use crate::plan::{EvalError, MatrixSeries};
use crate::vector::{Grid, StepSeries};

impl Evaluator<'_> {
    /// What a pipeline has collected or reduced.
    pub(super) fn series(&mut self, id: usize) -> Result<Vec<StepSeries>, EvalError> {
        let Some(pipeline) = self.pipelines[id].take() else {
            return Ok(Vec::new());
        };
        match pipeline.sink {
            Sink::Collect(series) => {
                if matches!(pipeline.way.leaf, Leaf::Range(_)) {
                    self.refuse_twins(&series)?;
                }
                self.unite(series, &pipeline.way.grid)
            }
            Sink::Reduce(groups) => Ok(self.reduced(groups)),
            Sink::Fault(message) => Err(EvalError::Execution(message)),
            Sink::Any(_) | Sink::Held(_) | Sink::Raw(_) => Ok(Vec::new()),
        }
    }

    pub(super) fn raw(&mut self, id: usize) -> Result<Vec<MatrixSeries>, EvalError> {
        match self.pipelines[id].take().map(|p| p.sink) {
            Some(Sink::Raw(series)) => Ok(series),
            Some(Sink::Fault(message)) => Err(EvalError::Execution(message)),
            _ => Ok(Vec::new()),
        }
    }

    pub(super) fn held_range(
        &mut self,
        id: usize,
        params: Vec<Node>,
        grid: Grid,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let params = self.scalars(params)?;
        let Some(pipeline) = self.pipelines[id].take() else {
            return Ok(Vec::new());
        };
        let (Sink::Held(held), Leaf::Range(leaf)) = (pipeline.sink, &pipeline.way.leaf) else {
            return Ok(Vec::new());
        };
        let mut out = Vec::new();
        for (labels, samples) in held {
            self.budget.release(samples.len());
            self.scratch.load_held(samples);
            out.extend(self.range_series(leaf, &labels, false, &params, &grid)?);
        }
        self.refuse_twins(&out)?;
        Ok(out)
    }

    pub(super) fn subquery_range(
        &mut self,
        leaf: &RangeLeaf,
        params: Vec<Node>,
        child: Node,
        grid: Grid,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let child_grid = child.grid;
        let vector = self.vector(child)?;
        let params = self.scalars(params)?;
        let mut out = Vec::new();
        for series in vector {
            self.scratch.load_steps(&series, &child_grid);
            let drop_name = series.drop_name;
            out.extend(self.range_series(leaf, &series.labels, drop_name, &params, &grid)?);
        }
        if leaf.func != Func::AbsentOverTime {
            self.refuse_twins(&out)?;
        }
        Ok(out)
    }

    pub(super) fn absent(
        &mut self,
        child: Node,
        labels: Labels,
        grid: Grid,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let mut any = vec![false; grid.steps];
        let reduced = match child.kind {
            Kind::Series(id) => self.pipelines[id]
                .take_if(|p| matches!(p.sink, Sink::Any(_)))
                .map(|p| p.sink),
            _ => None,
        };
        if let Some(Sink::Any(found)) = reduced {
            any = found;
        } else {
            for series in self.vector(child)? {
                for (step, any) in any.iter_mut().enumerate() {
                    *any |= series.has(step);
                }
            }
        }
        let series = floats_where(labels, grid.steps, |step| (!any[step]).then_some(1.0));
        Ok(if series.is_empty() {
            Vec::new()
        } else {
            vec![series]
        })
    }

    fn scalars(&mut self, nodes: Vec<Node>) -> Result<Vec<Steps>, EvalError> {
        let value = |node: Node| match self.node(node)? {
            Outcome::Scalar(steps) => Ok(steps),
            _ => Ok(Steps::Const(f64::NAN)),
        };
        nodes.into_iter().map(value).collect()
    }

    /// A range function over the series that has been loaded.
    fn range_series(
        &mut self,
        leaf: &RangeLeaf,
        labels: &Labels,
        drop_name: bool,
        params: &[Steps],
        grid: &Grid,
    ) -> Result<Option<StepSeries>, EvalError> {
        let series = leaf.series(
            labels,
            drop_name,
            &self.scratch,
            params,
            grid,
            self.options,
            &mut self.annotations,
            &mut self.budget.tally,
        )?;
        self.budget.note_tally()?;
        Ok(series)
    }

    /// Range functions never unite series, whatever their steps.
    fn refuse_twins(&self, series: &[StepSeries]) -> Result<(), EvalError> {
        if !self.options.delayed_name_removal && has_twins(series) {
            return Err(same_labels());
        }
        Ok(())
    }
}
