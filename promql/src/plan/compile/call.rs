//! Calls of functions.

use storage::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use super::super::EvalError;
use super::super::node::{Kind, Node, ScalarOperator};
use super::super::pipeline::instant::Take;
use super::super::pipeline::stage::{Figure, MapOp, Steps};
use super::super::pipeline::{Pipeline, Sink};
use super::{Compiler, scalar_binary};
use crate::ast::{Call, Expr, ValueType};
use crate::functions::{Func, math, range};
use crate::vector::Grid;

impl Compiler<'_> {
    pub(super) fn call(&mut self, c: &Call, grid: Grid) -> Result<Node, EvalError> {
        let args: Vec<&Expr> = c.args.iter().map(Expr::unparenthesized).collect();
        if let Some(at) = args
            .iter()
            .position(|e| e.value_type() == ValueType::Matrix)
        {
            return self.range_call(c.func, &args, at, grid);
        }
        let position = c.span.start;
        let kind = match c.func {
            Func::Time => Kind::Scalar(seconds(grid)),
            Func::Pi => Kind::Scalar(Steps::Const(std::f64::consts::PI)),
            Func::Start | Func::End | Func::Range | Func::Step => {
                Kind::Scalar(Steps::Const(self.query_time(c.func)))
            }
            Func::MaxOf | Func::MinOf => {
                let op = if c.func == Func::MaxOf {
                    ScalarOperator::Max
                } else {
                    ScalarOperator::Min
                };
                let (left, right) = (self.node(args[0], grid)?, self.node(args[1], grid)?);
                return Ok(scalar_binary(op, left, right));
            }
            Func::ScalarOf => Kind::ScalarOf(Box::new(self.node(args[0], grid)?)),
            Func::VectorOf => Kind::VectorOf(Box::new(self.node(args[0], grid)?)),
            Func::Timestamp | Func::StartTimestamp => {
                return self.timestamp(c.func, args[0], grid, position);
            }
            Func::Absent => {
                let labels = labels_of_absent(args[0]);
                let child = self.node(args[0], grid)?;
                return Ok(self.absent(child, labels));
            }
            Func::Sort | Func::SortDesc | Func::SortByLabel | Func::SortByLabelDesc => {
                let by_label = matches!(c.func, Func::SortByLabel | Func::SortByLabelDesc);
                Kind::Sort {
                    child: Box::new(self.node(args[0], grid)?),
                    descending: matches!(c.func, Func::SortDesc | Func::SortByLabelDesc),
                    position,
                    by: by_label.then(|| args[1..].iter().map(|e| text(e)).collect()),
                }
            }
            Func::LabelReplace => self.label_replace(&args, grid)?,
            Func::LabelJoin => self.label_join(&args, grid)?,
            Func::HistogramQuantile | Func::HistogramQuantiles | Func::HistogramFraction => {
                self.with_buckets(|compiler| compiler.histogram_call(c.func, &args, grid))?
            }
            Func::Info => self.info(&args, grid)?,
            _ => return self.map_call(c.func, &args, grid, position),
        };
        Ok(Node { grid, kind })
    }

    /// What `start()`, `end()`, `range()` and `step()` say about the query, in seconds.
    fn query_time(&self, func: Func) -> f64 {
        let o = self.options;
        let ms = match func {
            Func::Start => o.start_ms,
            Func::End => o.end_ms,
            Func::Range => o.end_ms - o.start_ms,
            _ if o.start_ms == o.end_ms => 0,
            _ => o.step_ms,
        };
        ms as f64 / 1000.0
    }

    /// Functions of single samples.
    fn map_call(
        &mut self,
        func: Func,
        args: &[&Expr],
        grid: Grid,
        position: usize,
    ) -> Result<Node, EvalError> {
        let constant = |v: f64| Node {
            grid,
            kind: Kind::Scalar(Steps::Const(v)),
        };
        if args.is_empty() {
            // A function of the calendar without an argument is about the step itself.
            let value = math::of_time(func).unwrap_or(|v| v);
            let whole = seconds(grid).map(f64::trunc);
            let scalar = Node {
                grid,
                kind: Kind::Scalar(whole.map(value)),
            };
            let kind = Kind::VectorOf(Box::new(scalar));
            return Ok(Node { grid, kind });
        }
        let figures = matches!(
            func,
            Func::HistogramCount | Func::HistogramSum | Func::HistogramAvg
        );
        let child = if figures {
            self.with_figures(|c| c.node(args[0], grid))?
        } else {
            self.node(args[0], grid)?
        };
        let mut scalars = Vec::new();
        for arg in &args[1..] {
            scalars.push(self.node(arg, grid)?);
        }
        let op = match func {
            Func::Clamp => MapOp::Clamp,
            Func::ClampMin => {
                scalars.push(constant(f64::INFINITY));
                MapOp::Clamp
            }
            Func::ClampMax => {
                scalars.insert(0, constant(f64::NEG_INFINITY));
                MapOp::Clamp
            }
            Func::Round => {
                if scalars.is_empty() {
                    scalars.push(constant(1.0));
                }
                MapOp::Round
            }
            Func::HistogramCount => MapOp::Figure(Figure::Count),
            Func::HistogramSum => MapOp::Figure(Figure::Sum),
            Func::HistogramAvg => MapOp::Figure(Figure::Avg),
            Func::HistogramStddev => MapOp::Figure(Figure::Stddev),
            Func::HistogramStdvar => MapOp::Figure(Figure::Stdvar),
            _ => match math::of_value(func) {
                Some(f) => MapOp::Value(f),
                None => return Err(unknown(func)),
            },
        };
        Ok(self.map(op, scalars, child, position))
    }

    fn timestamp(
        &mut self,
        func: Func,
        arg: &Expr,
        grid: Grid,
        position: usize,
    ) -> Result<Node, EvalError> {
        let start = func == Func::StartTimestamp;
        if start && !(self.options.use_start_timestamps && matches!(arg, Expr::Vector(_))) {
            let kind = Kind::Discarded(Box::new(self.node(arg, grid)?));
            return Ok(Node { grid, kind });
        }
        if let Expr::Vector(v) = arg {
            let take = if start { Take::Start } else { Take::Time };
            let leaf = self.instant_leaf(v, take);
            let kind = Kind::Series(self.instant_pipeline(&v.matchers, leaf, grid));
            return Ok(Node { grid, kind });
        }
        let child = self.node(arg, grid)?;
        Ok(self.map(MapOp::Timestamp, Vec::new(), child, position))
    }

    fn absent(&mut self, child: Node, labels: Labels) -> Node {
        let grid = child.grid;
        if let Kind::Series(id) = child.kind
            && self.pipelines[id].is_open()
        {
            self.pipelines[id].sink = Sink::Any(vec![false; grid.steps]);
        }
        let child = Box::new(child);
        let kind = Kind::Absent { child, labels };
        Node { grid, kind }
    }

    /// A function over a range: a selector's samples, or the steps of a subquery.
    fn range_call(
        &mut self,
        func: Func,
        args: &[&Expr],
        at: usize,
        grid: Grid,
    ) -> Result<Node, EvalError> {
        let position = args[0].span().start;
        let mut params = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            if i != at {
                params.push(self.node(arg, grid)?);
            }
        }
        let node = match args[at] {
            Expr::Matrix(m) => {
                let leaf = self.range_leaf(func, m, position);
                if let Err(message) = range::check_modifier(func, leaf.anchored, leaf.smoothed) {
                    let kind = Kind::Fault {
                        before: params,
                        message,
                    };
                    return Ok(Node { grid, kind });
                }
                let known: Option<Vec<Steps>> = params
                    .iter()
                    .map(|p| match &p.kind {
                        Kind::Scalar(steps) => Some(steps.clone()),
                        _ => None,
                    })
                    .collect();
                let is_known = known.is_some();
                let id = self.range_pipeline(
                    &m.vector.matchers,
                    leaf,
                    false,
                    known.unwrap_or_default(),
                    grid,
                );
                let kind = if is_known {
                    Kind::Series(id)
                } else {
                    self.pipelines[id].hold_samples();
                    Kind::HeldRange {
                        pipeline: id,
                        params,
                    }
                };
                Node { grid, kind }
            }
            Expr::Subquery(s) => {
                let leaf = super::super::pipeline::range::RangeLeaf {
                    func,
                    range_ms: super::selector::millis(&s.range),
                    at_ms: self.at_ms(s.at),
                    offset_ms: super::selector::millis(&s.offset),
                    anchored: false,
                    smoothed: false,
                    inner: self.inner,
                    stored: false,
                    // As upstream has it: a remark points at the first argument, but at the query's start where that is the
                    // subquery.
                    position: if at == 0 { 0 } else { position },
                };
                let outer = std::mem::replace(&mut self.inner, true);
                let child = self.subquery(s, grid);
                self.inner = outer;
                let kind = Kind::SubqueryRange {
                    leaf,
                    params,
                    child: Box::new(child?),
                };
                Node { grid, kind }
            }
            _ => return Err(unknown(func)),
        };
        if func == Func::AbsentOverTime {
            return Ok(self.absent(node, labels_of_absent(args[at])));
        }
        Ok(node)
    }

    fn histogram_call(
        &mut self,
        func: Func,
        args: &[&Expr],
        grid: Grid,
    ) -> Result<Kind, EvalError> {
        let mut quantile = |arg: &Expr| -> Result<(Node, usize), EvalError> {
            Ok((self.node(arg, grid)?, arg.span().start))
        };
        let (quantiles, label, vector) = match func {
            Func::HistogramFraction => {
                return Ok(Kind::HistogramFraction {
                    lower: Box::new(self.node(args[0], grid)?),
                    upper: Box::new(self.node(args[1], grid)?),
                    child: Box::new(self.node(args[2], grid)?),
                    position: args[2].span().start,
                });
            }
            Func::HistogramQuantile => (vec![quantile(args[0])?], None, args[1]),
            _ => {
                let quantiles = args[2..].iter().map(|e| quantile(e));
                let quantiles = quantiles.collect::<Result<_, _>>()?;
                (quantiles, Some(text(args[1])), args[0])
            }
        };
        Ok(Kind::HistogramQuantile {
            quantiles,
            label,
            child: Box::new(self.node(vector, grid)?),
            position: vector.span().start,
        })
    }
}

impl Pipeline {
    /// Whether series come out with the labels they came in with.
    pub(super) fn keeps_labels(&self) -> bool {
        let leaf = match &self.way.leaf {
            super::super::pipeline::Leaf::Instant(leaf) => {
                matches!(leaf.take, Take::Sample | Take::Smoothed)
            }
            super::super::pipeline::Leaf::Range(leaf) => {
                matches!(leaf.func, Func::LastOverTime | Func::FirstOverTime)
            }
            super::super::pipeline::Leaf::Raw(_) => false,
        };
        leaf && self.way.stages.iter().all(|s| !s.op.drops_name())
    }
}

/// The times of the steps in seconds.
fn seconds(grid: Grid) -> Steps {
    Steps::Each(
        (0..grid.steps)
            .map(|i| grid.at(i) as f64 / 1000.0)
            .collect(),
    )
}

/// The text of a literal; the parser lets nothing else stand there.
pub(super) fn text(expr: &Expr) -> String {
    match expr {
        Expr::String(s) => s.value.clone(),
        _ => String::new(),
    }
}

/// The parser knows no function that is not handled.
fn unknown(func: Func) -> EvalError {
    EvalError::BadQuery(format!("unknown function with name {:?}", func.name()))
}

/// The labels that a selector's missing series would have had: those it asks for by equality, once. A matcher that is not by
/// equality takes back what one before it has said, and those that only take series away count as the last: upstream's storage
/// puts them there.
fn labels_of_absent(expr: &Expr) -> Labels {
    let matchers = match expr {
        Expr::Vector(v) => &v.matchers,
        Expr::Matrix(m) => &m.vector.matchers,
        _ => return Labels::empty(),
    };
    let must_be_set = |name: &str| {
        let mut same = matchers.iter().filter(|m| m.name() == name);
        same.any(|m| !m.matches_empty())
    };
    let takes_away =
        |m: &Matcher| !must_be_set(m.name()) || (m.op().is_negative() && m.matches_empty());
    let (last, first): (Vec<_>, Vec<_>) = matchers
        .iter()
        .filter(|m| m.name() != METRIC_NAME)
        .partition(|m| takes_away(m));
    let mut labels = LabelsBuilder::default();
    let mut equal: Vec<&str> = Vec::new();
    for m in first.into_iter().chain(last) {
        if m.op() == MatchOp::Equal && !equal.contains(&m.name()) {
            labels.set(m.name(), m.value());
            equal.push(m.name());
        } else {
            labels.remove(m.name());
        }
    }
    labels.finish()
}
