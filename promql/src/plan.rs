//! A query being answered: what it needs to read, and what has been computed from it so far.
//!
//! ```text
//!  Expr ── compile ──► nodes over grids of steps        selects() ──► the caller reads series
//!                        │ leaves are pipelines               │
//!                        ▼                                    ▼
//!      way: decode ─► window or lookback ─► stages   ◄── series_evaluator(id).evaluate(series), on any thread
//!                        │
//!                        ▼
//!      sink: series, or groups of an aggregation     ◄── take(), in the order of the series
//!                        │
//!                        ▼
//!      finish(): evaluate the nodes above the sinks ──► Answer
//! ```
//!
//! Samples are dropped as soon as a series has gone its ways; only step vectors stay.

pub(crate) mod budget;
pub(crate) mod compile;
pub(crate) mod node;
pub(crate) mod pipeline;
pub(crate) mod series;

use std::fmt;
use std::sync::Arc;

use storage::model::Labels;
use storage::read::{ReadError, Series, SeriesSelect};

use crate::annotation::Annotations;
use crate::ast::{Expr, ValueType};
use crate::histogram::FloatHistogram;
use crate::vector::{Grid, Sample};
use budget::Budget;
use node::Node;
use pipeline::Pipeline;
pub use series::{EvaluatedSeries, SeriesEvaluator};

/// Why an evaluation is to stop before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nobody waits for the answer any more.
    Canceled,
    /// It has taken too long.
    TimedOut,
    /// There is no memory left for it.
    OutOfMemory,
}

/// Asked regularly whether the evaluation is to stop; must be quick.
#[derive(Clone)]
pub struct Interrupt(Arc<dyn Fn() -> Option<Stop> + Send + Sync>);

impl Interrupt {
    /// From a question.
    pub fn new(question: impl Fn() -> Option<Stop> + Send + Sync + 'static) -> Self {
        Self(Arc::new(question))
    }

    pub(crate) fn check(&self) -> Result<(), EvalError> {
        match (self.0)() {
            None => Ok(()),
            Some(Stop::Canceled) => Err(EvalError::Canceled),
            Some(Stop::TimedOut) => Err(EvalError::TimedOut),
            Some(Stop::OutOfMemory) => Err(EvalError::OutOfMemory),
        }
    }
}

impl Default for Interrupt {
    /// Never stops.
    fn default() -> Self {
        Self::new(|| None)
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupt")
    }
}

/// When and how an expression is evaluated.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// First step in milliseconds.
    pub start_ms: i64,
    /// Last moment in milliseconds, in where a step falls on it.
    pub end_ms: i64,
    /// Distance of the steps in milliseconds; 0 for an instant query, whose start is its end.
    pub step_ms: i64,
    /// How far back an instant selector looks.
    pub lookback_ms: i64,
    /// Step of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Samples that may be held at once.
    pub max_samples: usize,
    /// Names of metrics are dropped at the end rather than by each operator.
    pub delayed_name_removal: bool,
    /// Start timestamps tell counter resets.
    pub use_start_timestamps: bool,
    /// `__type__` rather than the name's ending tells whether a metric is a counter.
    pub type_and_unit_labels: bool,
    /// Ranges and lookback have their start in, as Prometheus 2 had it.
    pub closed_ranges: bool,
    /// Asked whether to stop.
    pub interrupt: Interrupt,
}

impl EvalOptions {
    /// An instant query with the upstream's defaults.
    #[must_use]
    pub fn instant(t_ms: i64) -> Self {
        Self {
            start_ms: t_ms,
            end_ms: t_ms,
            step_ms: 0,
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            max_samples: 50_000_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            closed_ranges: false,
            interrupt: Interrupt::default(),
        }
    }

    /// A range query with the upstream's defaults.
    #[must_use]
    pub fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        Self {
            end_ms,
            step_ms,
            ..Self::instant(start_ms)
        }
    }

    /// Values that may have room at once, present or not: sparse series take more of it than they have samples.
    pub(crate) const fn max_cells(&self) -> usize {
        self.max_samples.saturating_mul(4)
    }

    /// Whether one moment is asked about.
    #[must_use]
    pub const fn is_instant(&self) -> bool {
        self.step_ms == 0 && self.start_ms == self.end_ms
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The query cannot be evaluated at all, whatever the data.
    #[error("{0}")]
    BadQuery(String),
    /// The data does not allow what the query asks.
    #[error("{0}")]
    Execution(String),
    /// More samples than [`EvalOptions::max_samples`].
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// [`Stop::Canceled`].
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// [`Stop::TimedOut`].
    #[error("query timed out in expression evaluation")]
    TimedOut,
    /// [`Stop::OutOfMemory`].
    #[error("query ran out of memory in expression evaluation, try again later or ask for less")]
    OutOfMemory,
    /// Stored bytes are corrupt.
    #[error("expanding series: {0}")]
    Read(#[from] ReadError),
}

/// A selection that the caller is to read.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedSelect {
    /// Its number, for [`Plan::push`].
    pub id: usize,
    /// What to read.
    pub select: SeriesSelect,
}

/// Work done for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Samples looked at, each as often as a step looked at it.
    pub total_samples: u64,
    /// Samples taken out of storage: one that several windows of a range share counts once.
    pub samples_read: u64,
    /// The samples looked at, for each step.
    pub samples_per_step: Vec<(i64, u64)>,
    /// Most samples held at once.
    pub peak_samples: usize,
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// Its labels.
    pub labels: Labels,
    /// Time of the evaluation in milliseconds.
    pub t_ms: i64,
    /// Its value.
    pub sample: Sample,
}

/// One series of a matrix. Floats and histograms come apart, each ascending in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatrixSeries {
    /// Its labels.
    pub labels: Labels,
    /// Times in milliseconds and values.
    pub floats: Vec<(i64, f64)>,
    /// Times in milliseconds and values.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// The result of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number at a time in milliseconds.
    Scalar(i64, f64),
    /// A text at a time in milliseconds.
    String(i64, String),
    /// An instant vector, each label set once. In order for `sort` and `topk`.
    Vector(Vec<VectorSample>),
    /// A range vector or the result of a range query, ordered by labels, each label set once.
    Matrix(Vec<MatrixSeries>),
}

/// What a query answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The result.
    pub value: Value,
    /// Warnings and infos.
    pub annotations: Annotations,
    /// Work done.
    pub stats: Stats,
}

/// A query being answered.
pub struct Plan {
    pub(crate) root: Node,
    pub(crate) root_type: ValueType,
    pub(crate) options: EvalOptions,
    pub(crate) grid: Grid,
    pub(crate) selects: Vec<PlannedSelect>,
    pub(crate) pipelines: Vec<Pipeline>,
    pub(crate) annotations: Annotations,
    pub(crate) budget: Budget,
}

impl Plan {
    /// Prepares an evaluation. `expr` is what the parser returned.
    ///
    /// # Errors
    /// [`EvalError::BadQuery`] where a duration expression has no usable value, or a range query asks for a text or a range;
    /// [`EvalError::TooManySamples`] where there are too many steps.
    pub fn new(expr: Expr, options: EvalOptions) -> Result<Self, EvalError> {
        compile::plan(expr, options)
    }

    /// What is to be read, each selection once.
    #[must_use]
    pub fn selects(&self) -> &[PlannedSelect] {
        &self.selects
    }

    /// Takes some series of a selection: computes all that can be computed from them alone.
    ///
    /// # Errors
    /// Any; the evaluation is over then.
    pub fn push(&mut self, id: usize, batch: &[Box<dyn Series>]) -> Result<(), EvalError> {
        let evaluated = self.series_evaluator(id).evaluate(batch)?;
        self.take(evaluated)
    }

    /// Samples that are held for [`Self::finish`]: a measure of what is left to do.
    #[must_use]
    pub const fn held_samples(&self) -> usize {
        self.budget.held()
    }

    /// Computes the rest. All batches of all selections have been pushed.
    ///
    /// # Errors
    /// Any.
    pub fn finish(self) -> Result<Answer, EvalError> {
        crate::eval::finish(self)
    }

    pub(crate) fn assemble(
        root: Node,
        root_type: ValueType,
        options: EvalOptions,
        grid: Grid,
        selects: Vec<PlannedSelect>,
        pipelines: Vec<Pipeline>,
    ) -> Self {
        let budget = Budget::new(&options, grid.steps);
        Self {
            root,
            root_type,
            options,
            grid,
            selects,
            pipelines,
            annotations: Annotations::default(),
            budget,
        }
    }
}
