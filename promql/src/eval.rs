//! Evaluation of what the pipelines have left to do: node by node, each for all steps at once.

mod answer;
mod histograms;
mod info;
mod labels;
mod leaves;
mod order;
mod selection;

use hashbrown::HashSet;
use storage::model::Labels;

use crate::annotation::{Annotations, Note};
use crate::plan::budget::Budget;
use crate::plan::node::{Kind, Node};
use crate::plan::pipeline::stage::{Stage, Steps};
use crate::plan::pipeline::{Pipeline, Scratch};
use crate::plan::{Answer, EvalError, EvalOptions, MatrixSeries, Plan};
use crate::vector::aggregate::Aggregation;
use crate::vector::matching;
use crate::vector::output::{Frame, MatchError, Output, SAME_LABELS};
use crate::vector::{Grid, Sample, StepSeries, select, without_metric};

/// The value of a node.
enum Outcome {
    Scalar(Steps),
    Vector(Vec<StepSeries>),
    Matrix(Vec<MatrixSeries>),
    Text(String),
}

/// Computes the answer of a plan whose series have all been pushed.
pub(crate) fn finish(plan: Plan) -> Result<Answer, EvalError> {
    let Plan {
        root,
        root_type,
        options,
        grid,
        pipelines,
        annotations,
        budget,
        ..
    } = plan;
    let mut evaluator = Evaluator {
        options: &options,
        pipelines: pipelines.into_iter().map(Some).collect(),
        annotations,
        budget,
        scratch: Scratch::default(),
    };
    let mut outcome = evaluator.node(root)?;
    if options.delayed_name_removal {
        outcome = clean_names(outcome)?;
    }
    let value = answer::value(outcome, root_type, &grid, options.is_instant());
    Ok(Answer {
        value,
        annotations: evaluator.annotations,
        stats: evaluator.budget.finish(&grid),
    })
}

struct Evaluator<'a> {
    options: &'a EvalOptions,
    /// Each is used once.
    pipelines: Vec<Option<Pipeline>>,
    annotations: Annotations,
    budget: Budget,
    scratch: Scratch,
}

impl Evaluator<'_> {
    fn node(&mut self, node: Node) -> Result<Outcome, EvalError> {
        self.options.interrupt.check()?;
        let grid = node.grid;
        let vector = match node.kind {
            Kind::Nothing => Vec::new(),
            Kind::Discarded(child) => {
                self.node(*child)?;
                Vec::new()
            }
            Kind::Fault { before, message } => {
                for node in before {
                    self.node(node)?;
                }
                return Err(EvalError::Execution(message));
            }
            Kind::Scalar(steps) => return Ok(Outcome::Scalar(steps)),
            Kind::Text(text) => return Ok(Outcome::Text(text)),
            Kind::ScalarOf(child) => {
                let vector = self.vector(*child)?;
                let steps = (0..grid.steps).map(|step| only_float(&vector, step));
                return Ok(Outcome::Scalar(Steps::Each(steps.collect())));
            }
            Kind::ScalarNegate(child) => {
                return Ok(Outcome::Scalar(self.scalar(*child)?.map(|v| -v)));
            }
            Kind::ScalarBinary(op, left, right) => {
                let (left, right) = (self.scalar(*left)?, self.scalar(*right)?);
                return Ok(Outcome::Scalar(left.zip(&right, |a, b| op.apply(a, b))));
            }
            Kind::RawMatrix(id) => return Ok(Outcome::Matrix(self.raw(id)?)),
            Kind::SubqueryMatrix(child) => {
                let grid = child.grid;
                let vector = self.vector(*child)?;
                return Ok(Outcome::Matrix(answer::matrix(vector, &grid)));
            }
            Kind::Replicate(child) => return self.replicate(*child, grid.steps),
            Kind::VectorOf(child) => {
                let scalar = self.scalar(*child)?;
                let mut series = StepSeries::absent(Labels::empty(), grid.steps);
                for (step, value) in series.values.iter_mut().enumerate() {
                    *value = scalar.get(step);
                }
                vec![series]
            }
            Kind::Series(id) => self.series(id)?,
            Kind::Map {
                op,
                scalars,
                child,
                position,
            } => {
                let vector = self.vector(*child)?;
                let scalars = scalars.into_iter().map(|s| self.scalar(s));
                let stage = Stage {
                    op,
                    scalars: scalars.collect::<Result<_, _>>()?,
                    position,
                };
                let (options, annotations) = (self.options, &mut self.annotations);
                let apply = |s| stage.apply(s, &grid, options, annotations);
                let out = vector.into_iter().filter_map(apply).collect();
                self.unite(out, &grid)?
            }
            Kind::HeldRange { pipeline, params } => self.held_range(pipeline, params, grid)?,
            Kind::SubqueryRange {
                leaf,
                params,
                child,
            } => self.subquery_range(&leaf, params, *child, grid)?,
            Kind::Absent { child, labels } => self.absent(*child, labels, grid)?,
            Kind::Reduce {
                op,
                grouping,
                child,
                position,
            } => {
                let mut groups = Aggregation::new(op, grouping, grid.steps, position);
                for series in self.vector(*child)? {
                    groups.push(&series);
                }
                self.reduced(groups)
            }
            Kind::Select {
                op,
                grouping,
                param,
                child,
                position,
                param_position,
            } => {
                let param = self.scalar(*param)?;
                let vector = self.vector(*child)?;
                self.select(
                    &op,
                    &grouping,
                    &param,
                    &vector,
                    grid,
                    position,
                    param_position,
                )?
            }
            Kind::CountValues {
                label,
                names,
                without,
                child,
            } => {
                let vector = self.vector(*child)?;
                select::count_values(&label, &vector, &names, without, self.frame(&grid))?
            }
            Kind::Binary {
                op,
                bool_modifier,
                matching,
                left,
                right,
                position,
            } => {
                let (left, right) = (self.vector(*left)?, self.vector(*right)?);
                let frame = self.frame(&grid);
                let annotations = &mut self.annotations;
                let operation = matching::Operation {
                    op,
                    bool_modifier,
                    frame,
                };
                matching::combine(&operation, &left, &right, &matching, &mut |note| {
                    annotations.add(&note, position);
                })?
            }
            Kind::Set {
                op,
                matching,
                left,
                right,
            } => {
                let (left, right) = (self.vector(*left)?, self.vector(*right)?);
                matching::combine_sets(op, left, right, &matching, self.frame(&grid))?
            }
            Kind::HistogramQuantile {
                quantiles,
                label,
                child,
                position,
            } => self.histogram_quantile(quantiles, label, *child, grid, position)?,
            Kind::HistogramFraction {
                lower,
                upper,
                child,
                position,
            } => self.histogram_fraction(*lower, *upper, *child, grid, position)?,
            Kind::LabelReplace {
                child,
                target,
                replacement,
                source,
                pattern,
            } => {
                let vector = self.vector(*child)?;
                let out = labels::replace(vector, &target, &replacement, &source, &pattern);
                labels::merge_twins(out, grid.steps)?
            }
            Kind::LabelJoin {
                child,
                target,
                separator,
                sources,
            } => {
                let vector = self.vector(*child)?;
                let out = labels::join(vector, &target, &separator, &sources);
                labels::merge_twins(out, grid.steps)?
            }
            Kind::Sort {
                child,
                descending,
                position,
                by,
            } => {
                let mut vector = self.vector(*child)?;
                if grid.is_range() {
                    self.annotations.add(&Note::SortInRangeQuery, position);
                    if by.is_none() {
                        labels::drop_histograms(&mut vector);
                    }
                    vector
                } else {
                    match by {
                        Some(by) => order::sort_by_label(&mut vector, &by, descending),
                        None => select::sort_by_value(&mut vector, descending),
                    }
                    vector
                }
            }
            Kind::Info {
                child,
                info,
                names,
                data,
            } => self.info(*child, info, &names, &data, grid)?,
        };
        self.budget.note(0)?;
        Ok(Outcome::Vector(vector))
    }

    fn vector(&mut self, node: Node) -> Result<Vec<StepSeries>, EvalError> {
        let steps = node.grid.steps;
        match self.node(node)? {
            Outcome::Vector(vector) => Ok(vector),
            Outcome::Scalar(scalar) => {
                let mut series = StepSeries::absent(Labels::empty(), steps);
                for (step, value) in series.values.iter_mut().enumerate() {
                    *value = scalar.get(step);
                }
                Ok(vec![series])
            }
            Outcome::Matrix(_) | Outcome::Text(_) => Ok(Vec::new()),
        }
    }

    fn scalar(&mut self, node: Node) -> Result<Steps, EvalError> {
        match self.node(node)? {
            Outcome::Scalar(steps) => Ok(steps),
            _ => Ok(Steps::Const(f64::NAN)),
        }
    }

    const fn frame(&self, grid: &Grid) -> Frame {
        Frame {
            steps: grid.steps,
            delayed_names: self.options.delayed_name_removal,
            max_cells: self.options.max_cells(),
        }
    }

    fn replicate(&mut self, child: Node, steps: usize) -> Result<Outcome, EvalError> {
        let outcome = self.node(child)?;
        if let Outcome::Scalar(scalar) = outcome {
            return Ok(Outcome::Scalar(Steps::Const(scalar.get(0))));
        }
        let Outcome::Vector(mut vector) = outcome else {
            return Ok(outcome);
        };
        vector.retain(|s| !s.is_empty());
        self.budget.hold(vector.len() * steps.saturating_sub(1))?;
        self.budget.widen(vector.len() * steps)?;
        for series in &mut vector {
            let value = series.values[0];
            series.values.resize(steps, value);
            if let Some(h) = series.histograms.first().cloned() {
                series.histograms.resize(steps, h);
            }
        }
        Ok(Outcome::Vector(vector))
    }

    /// Series of one label set become one where their steps allow it.
    fn unite(&self, vector: Vec<StepSeries>, grid: &Grid) -> Result<Vec<StepSeries>, EvalError> {
        if self.options.delayed_name_removal || !has_twins(&vector) {
            return Ok(vector);
        }
        let mut out = Output::new(self.frame(grid));
        for series in vector {
            out.put_all(series)?;
        }
        Ok(out.finish())
    }

    fn reduced(&mut self, groups: Aggregation) -> Vec<StepSeries> {
        let (series, annotations) = groups.finish();
        self.annotations.merge(annotations);
        series
    }
}

/// The only float of a step; NaN where there is none or several.
fn only_float(vector: &[StepSeries], step: usize) -> f64 {
    let mut floats = vector
        .iter()
        .filter(|s| s.has(step) && s.histogram(step).is_none())
        .map(|s| s.values[step]);
    match (floats.next(), floats.next()) {
        (Some(v), None) => v,
        _ => f64::NAN,
    }
}

/// Whether a label set comes twice.
fn has_twins(vector: &[StepSeries]) -> bool {
    let mut seen = HashSet::with_capacity(vector.len());
    vector.len() > 1 && !vector.iter().all(|s| seen.insert(&s.labels))
}

/// Drops the names that were to be dropped.
fn clean_names(outcome: Outcome) -> Result<Outcome, EvalError> {
    match outcome {
        Outcome::Vector(mut vector) => {
            let steps = vector.first().map_or(0, |s| s.values.len());
            for series in vector.iter_mut().filter(|s| s.drop_name) {
                series.labels = without_metric(&series.labels);
            }
            Ok(Outcome::Vector(labels::merge_twins(vector, steps)?))
        }
        other => Ok(other),
    }
}

impl From<MatchError> for EvalError {
    fn from(e: MatchError) -> Self {
        match e {
            MatchError::Refused(text) => Self::Execution(text),
            MatchError::TooLarge => Self::TooManySamples,
        }
    }
}

/// The error of two samples with one label set.
fn same_labels() -> EvalError {
    EvalError::Execution(SAME_LABELS.to_owned())
}

/// A float at each step where `f` gives one.
fn floats_where(
    labels: Labels,
    steps: usize,
    mut f: impl FnMut(usize) -> Option<f64>,
) -> StepSeries {
    let mut series = StepSeries::absent(labels, steps);
    for step in 0..steps {
        if let Some(v) = f(step) {
            series.set(step, Sample::Float(v));
        }
    }
    series
}
