//! From the syntax tree to nodes and pipelines: which grid a part is evaluated on, what has to be
//! read for it, and how far series can be taken one by one.

mod aggregate;
mod call;
mod invariant;
mod labels;
mod selector;

use super::node::{Kind, Node, ScalarOperator};
use super::pipeline::Pipeline;
use super::pipeline::stage::{MapOp, Stage, Steps};
use super::{EvalError, EvalOptions, Plan, PlannedSelect};
use crate::ast::{Binary, BinaryOp, Card, Expr, UnaryOp, ValueType};
use crate::duration::{QueryShape, resolve_durations};
use crate::vector::Grid;
use crate::vector::binary::Operator;
use crate::vector::matching::{Cardinality, Matching, SetOperator};

/// Times beyond this many milliseconds from the epoch are taken for this one, so that sums and differences of times stay
/// within 64 bits. It is 70 million years.
const FAR_MS: i64 = 1 << 61;

/// Compiles an expression.
pub(super) fn plan(mut expr: Expr, mut options: EvalOptions) -> Result<Plan, EvalError> {
    options.start_ms = options.start_ms.clamp(-FAR_MS, FAR_MS);
    options.end_ms = options.end_ms.clamp(-FAR_MS, FAR_MS);
    let root_type = expr.value_type();
    if !options.is_instant() && matches!(root_type, ValueType::String | ValueType::Matrix) {
        return Err(EvalError::BadQuery(format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            root_type.documented()
        )));
    }
    let shape = QueryShape {
        step_ms: options.step_ms,
        range_ms: options.end_ms - options.start_ms,
    };
    resolve_durations(&mut expr, shape).map_err(|e| EvalError::BadQuery(e.to_string()))?;
    let grid = if options.is_instant() {
        Grid::instant(options.start_ms, 1)
    } else {
        Grid::new(options.start_ms, options.end_ms, options.step_ms)
    };
    let mut compiler = Compiler {
        options: &options,
        selects: Vec::new(),
        pipelines: Vec::new(),
        figures: false,
        buckets: false,
        inner: false,
    };
    let root = compiler.node(&expr, grid)?;
    let Compiler {
        selects, pipelines, ..
    } = compiler;
    Ok(Plan::assemble(
        root, root_type, options, grid, selects, pipelines,
    ))
}

struct Compiler<'a> {
    options: &'a EvalOptions,
    selects: Vec<PlannedSelect>,
    pipelines: Vec<Pipeline>,
    /// What is being compiled is below a function that asks for counts or sums of histograms.
    figures: bool,
    /// What is being compiled is below something that asks for their buckets.
    buckets: bool,
    /// What is being compiled stands in a subquery that a function looks at.
    inner: bool,
}

impl Compiler<'_> {
    /// Compiles an expression on a grid; what does not depend on the step is evaluated at the first only.
    fn node(&mut self, expr: &Expr, grid: Grid) -> Result<Node, EvalError> {
        if grid.steps > self.options.max_samples {
            return Err(EvalError::TooManySamples);
        }
        if grid.steps == 0 {
            let kind = match expr.value_type() {
                ValueType::Scalar => Kind::Scalar(Steps::Each(Vec::new())),
                _ => Kind::Nothing,
            };
            return Ok(Node { grid, kind });
        }
        if grid.steps > 1 && invariant::is_worth_it(expr) {
            let first = Grid::instant(grid.start_ms, grid.step_ms);
            let inner = self.node_or_fault(expr, first)?;
            let kind = match inner.kind {
                Kind::Scalar(steps) => Kind::Scalar(Steps::Const(steps.get(0))),
                _ => Kind::Replicate(Box::new(inner)),
            };
            return Ok(Node { grid, kind });
        }
        self.node_or_fault(expr, grid)
    }

    /// What is wrong with an expression whatever the data comes to light in its turn: after what is evaluated before it.
    fn node_or_fault(&mut self, expr: &Expr, grid: Grid) -> Result<Node, EvalError> {
        match self.node_here(expr, grid) {
            Err(EvalError::Execution(message)) => {
                let before = Vec::new();
                let kind = Kind::Fault { before, message };
                Ok(Node { grid, kind })
            }
            node => node,
        }
    }

    fn node_here(&mut self, expr: &Expr, grid: Grid) -> Result<Node, EvalError> {
        let kind = match expr {
            Expr::Number(n) => Kind::Scalar(Steps::Const(n.value)),
            Expr::String(s) => Kind::Text(s.value.clone()),
            Expr::Paren(p) => return self.node(&p.expr, grid),
            Expr::Unary(u) if u.op == UnaryOp::Plus => return self.node(&u.expr, grid),
            Expr::Unary(u) => {
                let child = self.node(&u.expr, grid)?;
                if u.expr.value_type() == ValueType::Scalar {
                    match child.kind {
                        Kind::Scalar(steps) => Kind::Scalar(steps.map(|v| -v)),
                        _ => Kind::ScalarNegate(Box::new(child)),
                    }
                } else {
                    return Ok(self.map(MapOp::Negate, Vec::new(), child, u.span.start));
                }
            }
            Expr::Vector(v) => return self.instant_selector(v, grid),
            Expr::Matrix(m) => return self.raw_matrix(m, grid),
            Expr::Subquery(s) => {
                let child = self.subquery(s, grid)?;
                Kind::SubqueryMatrix(Box::new(child))
            }
            Expr::Aggregate(a) => return self.aggregate(a, grid),
            Expr::Call(c) => return self.call(c, grid),
            Expr::Binary(b) => return self.binary(b, grid),
        };
        Ok(Node { grid, kind })
    }

    /// Compiles something that needs whole histograms.
    fn with_buckets<T>(&mut self, compile: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.buckets, true);
        let compiled = compile(self);
        self.buckets = before;
        compiled
    }

    /// Compiles something that needs no more of histograms than their counts and sums.
    fn with_figures<T>(&mut self, compile: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.figures, true);
        let compiled = compile(self);
        self.figures = before;
        compiled
    }

    /// An operation on every sample of a vector: put behind the vector's pipeline where that can be, else a node.
    fn map(&mut self, op: MapOp, scalars: Vec<Node>, child: Node, position: usize) -> Node {
        if let Kind::Series(id) = child.kind
            && self.pipelines[id].is_open()
            && (self.options.delayed_name_removal
                || self.pipelines[id].one_name
                || !op.drops_name())
            && scalars.iter().all(|s| matches!(s.kind, Kind::Scalar(_)))
        {
            let known = |node: Node| match node.kind {
                Kind::Scalar(steps) => steps,
                _ => Steps::Const(f64::NAN),
            };
            self.pipelines[id].add_stage(Stage {
                op,
                scalars: scalars.into_iter().map(known).collect(),
                position,
            });
            return child;
        }
        let grid = child.grid;
        let child = Box::new(child);
        let kind = Kind::Map {
            op,
            scalars,
            child,
            position,
        };
        Node { grid, kind }
    }

    fn binary(&mut self, b: &Binary, grid: Grid) -> Result<Node, EvalError> {
        let operands = |c: &mut Self| -> Result<_, EvalError> {
            Ok((c.node(&b.lhs, grid)?, c.node(&b.rhs, grid)?))
        };
        let (left, right) = if matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            self.with_buckets(operands)?
        } else {
            operands(self)?
        };
        let position = b.span.start;
        let Some(op) = operator(b.op) else {
            let op = match b.op {
                BinaryOp::And => SetOperator::And,
                BinaryOp::Or => SetOperator::Or,
                _ => SetOperator::Unless,
            };
            let kind = Kind::Set {
                op,
                matching: matching(b),
                left: Box::new(left),
                right: Box::new(right),
            };
            return Ok(Node { grid, kind });
        };
        let scalar = |e: &Expr| e.value_type() == ValueType::Scalar;
        let with_scalar = |swapped| MapOp::Binary {
            op,
            swapped,
            bool_modifier: b.bool_modifier,
        };
        let kind = match (scalar(&b.lhs), scalar(&b.rhs)) {
            (true, true) => {
                let op = ScalarOperator::Operator(op);
                return Ok(scalar_binary(op, left, right));
            }
            (false, true) => return Ok(self.map(with_scalar(false), vec![right], left, position)),
            (true, false) => return Ok(self.map(with_scalar(true), vec![left], right, position)),
            (false, false) => Kind::Binary {
                op,
                bool_modifier: b.bool_modifier,
                matching: matching(b),
                left: Box::new(left),
                right: Box::new(right),
                position,
            },
        };
        Ok(Node { grid, kind })
    }
}

/// Two scalars, computed at once where both are known.
fn scalar_binary(op: ScalarOperator, left: Node, right: Node) -> Node {
    let grid = left.grid;
    let kind = match (&left.kind, &right.kind) {
        (Kind::Scalar(a), Kind::Scalar(b)) => Kind::Scalar(a.zip(b, |a, b| op.apply(a, b))),
        _ => Kind::ScalarBinary(op, Box::new(left), Box::new(right)),
    };
    Node { grid, kind }
}

/// The operator on samples; `None` for set operators.
const fn operator(op: BinaryOp) -> Option<Operator> {
    Some(match op {
        BinaryOp::Add => Operator::Add,
        BinaryOp::Sub => Operator::Sub,
        BinaryOp::Mul => Operator::Mul,
        BinaryOp::Div => Operator::Div,
        BinaryOp::Mod => Operator::Mod,
        BinaryOp::Pow => Operator::Pow,
        BinaryOp::Atan2 => Operator::Atan2,
        BinaryOp::Eq => Operator::Equal,
        BinaryOp::Ne => Operator::NotEqual,
        BinaryOp::Lt => Operator::Less,
        BinaryOp::Le => Operator::LessOrEqual,
        BinaryOp::Gt => Operator::Greater,
        BinaryOp::Ge => Operator::GreaterOrEqual,
        BinaryOp::TrimUpper => Operator::TrimUpper,
        BinaryOp::TrimLower => Operator::TrimLower,
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => return None,
    })
}

fn matching(b: &Binary) -> Matching {
    let Some(m) = &b.matching else {
        return Matching {
            cardinality: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
    };
    Matching {
        cardinality: match m.card {
            Card::OneToOne | Card::ManyToMany => Cardinality::OneToOne,
            Card::ManyToOne => Cardinality::ManyToOne,
            Card::OneToMany => Cardinality::OneToMany,
        },
        on: m.on,
        labels: m.labels.clone(),
        include: m.include.clone(),
        fill_left: m.fill_left,
        fill_right: m.fill_right,
    }
}
