//! The syntax tree of PromQL as plain data: what the parser builds, the printer writes and the evaluator walks.
//!
//! Every node knows the bytes of the query that it came from. A tree that the parser returned is well typed: functions have
//! arguments of the right number and type, matching clauses stand between instant vectors only.

use std::fmt;

use storage::model::Matcher;

use crate::functions::Func;

/// Bytes of the query text that a node came from: `start` is in, `end` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes `start..end`.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// Type of an expression's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number without labels.
    Scalar,
    /// A text.
    String,
    /// At most one sample a series.
    Vector,
    /// Samples of a time range for each series.
    Matrix,
}

impl ValueType {
    /// As the HTTP API spells it: `scalar`, `string`, `vector`, `matrix`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// As error messages spell it: `instant vector`, `range vector`.
    #[must_use]
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// A PromQL expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `3.14`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `up{job="node"} offset 5m`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `rate(up[5m])[1h:1m]`
    Subquery(Subquery),
    /// `rate(up[5m])`
    Call(Call),
    /// `sum by (job) (up)`
    Aggregate(Aggregate),
    /// `a + b`
    Binary(Binary),
    /// `-a`
    Unary(Unary),
    /// `(a)`
    Paren(Paren),
}

impl Expr {
    /// The bytes of the query that the expression came from.
    #[must_use]
    pub const fn span(&self) -> Span {
        match self {
            Self::Number(e) => e.span,
            Self::String(e) => e.span,
            Self::Vector(e) => e.span,
            Self::Matrix(e) => e.span,
            Self::Subquery(e) => e.span,
            Self::Call(e) => e.span,
            Self::Aggregate(e) => e.span,
            Self::Binary(e) => e.span,
            Self::Unary(e) => e.span,
            Self::Paren(e) => e.span,
        }
    }

    /// Type of the result.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(e) => e.func.signature().returns,
            Self::Binary(e) => {
                if e.lhs.value_type() == ValueType::Scalar
                    && e.rhs.value_type() == ValueType::Scalar
                {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            Self::Unary(e) => e.expr.value_type(),
            Self::Paren(e) => e.expr.value_type(),
        }
    }

    /// The expressions directly below, in the order of the text (the parameter of an aggregation before its operand).
    /// The selector inside a [`MatrixSelector`] is no expression of its own.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(e) => vec![&e.expr],
            Self::Call(e) => e.args.iter().collect(),
            Self::Aggregate(e) => e.param.as_deref().into_iter().chain([&*e.expr]).collect(),
            Self::Binary(e) => vec![&e.lhs, &e.rhs],
            Self::Unary(e) => vec![&e.expr],
            Self::Paren(e) => vec![&e.expr],
        }
    }

    /// As [`Expr::children`], to change them.
    #[must_use]
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(e) => vec![&mut e.expr],
            Self::Call(e) => e.args.iter_mut().collect(),
            Self::Aggregate(e) => e
                .param
                .as_deref_mut()
                .into_iter()
                .chain([&mut *e.expr])
                .collect(),
            Self::Binary(e) => vec![&mut e.lhs, &mut e.rhs],
            Self::Unary(e) => vec![&mut e.expr],
            Self::Paren(e) => vec![&mut e.expr],
        }
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn unparenthesized(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }
}

/// A number. A duration is a number of seconds.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    /// The value; seconds where it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration.
    pub duration: bool,
    /// Where it stood.
    pub span: Span,
}

/// NaN equals NaN: two literals are the same where their values have the same bits.
impl PartialEq for NumberLiteral {
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits()
            && self.duration == other.duration
            && self.span == other.span
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// The text with its escapes resolved; with U+FFFD in place of what is no UTF-8.
    pub value: String,
    /// The exact bytes, where they are no UTF-8 (`"\xff"`).
    pub invalid_utf8: Option<Vec<u8>>,
    /// Where it stood.
    pub span: Span,
}

/// A selector of series: one sample of each, or (in a [`MatrixSelector`]) those of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name written before the braces; empty where it stands within them or nowhere.
    pub name: String,
    /// All conditions, in the order of the text; the one for `name` comes last.
    pub matchers: Vec<Matcher>,
    /// How far back to look; negative: ahead.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// `anchored`
    pub anchored: bool,
    /// `smoothed`
    pub smoothed: bool,
    /// Where it stood, modifiers included.
    pub span: Span,
}

/// `selector[range]`; offset, `@`, `anchored` and `smoothed` are those of the selector inside.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The selector.
    pub vector: VectorSelector,
    /// Length of the range.
    pub range: Duration,
    /// Where it stood, modifiers included.
    pub span: Span,
}

/// `expr[range:step]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated at each step.
    pub expr: Box<Expr>,
    /// Length of the range.
    pub range: Duration,
    /// Distance of the steps; absent: the default evaluation interval.
    pub step: Option<Duration>,
    /// How far back to look; negative: ahead.
    pub offset: Duration,
    /// The `@` modifier.
    pub at: Option<At>,
    /// Where it stood, modifiers included.
    pub span: Span,
}

/// The time that `@` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub func: Func,
    /// Arguments as written; optional ones may be missing.
    pub args: Vec<Expr>,
    /// Where it stood.
    pub span: Span,
}

/// `op by (grouping) (param, expr)`
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The aggregation.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// Present exactly where [`AggregateOp::takes_param`].
    pub param: Option<Box<Expr>>,
    /// Labels to keep, or with `without` to drop.
    pub grouping: Vec<String>,
    /// `without` rather than `by`; false also where neither was written.
    pub without: bool,
    /// Where it stood.
    pub span: Span,
}

/// The aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
    CountValues,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// All, in the order in which upstream lists them.
    pub const ALL: [Self; 14] = [
        Self::Avg,
        Self::Bottomk,
        Self::Count,
        Self::CountValues,
        Self::Group,
        Self::LimitRatio,
        Self::Limitk,
        Self::Max,
        Self::Min,
        Self::Quantile,
        Self::Stddev,
        Self::Stdvar,
        Self::Sum,
        Self::Topk,
    ];

    /// The keyword, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::Quantile => "quantile",
            Self::CountValues => "count_values",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether a parameter comes before the operand.
    #[must_use]
    pub const fn takes_param(self) -> bool {
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::Quantile
                | Self::CountValues
                | Self::Limitk
                | Self::LimitRatio
        )
    }

    /// Whether it must be enabled with the experimental functions.
    #[must_use]
    pub const fn experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// `lhs op rhs`
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand: scalar or instant vector.
    pub lhs: Box<Expr>,
    /// Right operand: scalar or instant vector.
    pub rhs: Box<Expr>,
    /// `bool`: a comparison answers 0 or 1 rather than filter.
    pub bool_modifier: bool,
    /// How series pair up; present exactly where both operands are instant vectors.
    pub matching: Option<Matching>,
    /// Where it stood.
    pub span: Span,
}

/// How series of two instant vectors pair up.
#[derive(Clone, Debug)]
pub struct Matching {
    /// How many series of one side may meet one of the other.
    pub card: Card,
    /// `on` rather than `ignoring`; false also where neither was written.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Labels of `group_left` or `group_right`, taken over from the "one" side.
    pub include: Vec<String>,
    /// Value in place of a series that the left side lacks.
    pub fill_left: Option<f64>,
    /// Value in place of a series that the right side lacks.
    pub fill_right: Option<f64>,
}

impl PartialEq for Matching {
    fn eq(&self, other: &Self) -> bool {
        let bits = |fill: Option<f64>| fill.map(f64::to_bits);
        self.card == other.card
            && self.on == other.on
            && self.labels == other.labels
            && self.include == other.include
            && bits(self.fill_left) == bits(other.fill_left)
            && bits(self.fill_right) == bits(other.fill_right)
    }
}

/// How many series of one side may meet one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Card {
    /// The default.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Card {
    /// As the HTTP API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `</`: keeps the part of a histogram below a limit.
    TrimUpper,
    /// `>/`: keeps the part of a histogram above a limit.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// All, arithmetic first.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Mod,
        Self::Pow,
        Self::Atan2,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::TrimUpper,
        Self::TrimLower,
        Self::And,
        Self::Or,
        Self::Unless,
    ];

    /// The operator's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// `==`, `!=`, `<`, `<=`, `>`, `>=`
    #[must_use]
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge
        )
    }

    /// `and`, `or`, `unless`
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// `+expr`, `-expr`
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// [`UnaryOp::Plus`] changes nothing, not even the metric name.
    pub op: UnaryOp,
    /// Scalar or instant vector.
    pub expr: Box<Expr>,
    /// Where it stood.
    pub span: Span,
}

/// The sign before an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

impl UnaryOp {
    /// The operator's text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

/// `(expr)`
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What stands within.
    pub expr: Box<Expr>,
    /// Where it stood, parentheses included.
    pub span: Span,
}

/// A range, step or offset.
///
/// After [`resolve_durations`](crate::duration::resolve_durations) every one is [`Duration::Millis`].
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Milliseconds.
    Millis(i64),
    /// Arithmetic, whose result may depend on the step and range of the query.
    Expr(DurationExpr),
}

impl Duration {
    /// No time at all: an offset that was not written.
    pub const ZERO: Self = Self::Millis(0);

    /// The milliseconds, where they do not depend on an unresolved expression.
    #[must_use]
    pub const fn as_millis(&self) -> Option<i64> {
        match self {
            Self::Millis(ms) => Some(*ms),
            Self::Expr(_) => None,
        }
    }
}

/// Arithmetic of durations; the result is a number of seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What is computed.
    pub kind: DurationKind,
    /// Whether parentheses stand around it.
    pub wrapped: bool,
    /// Where it stood.
    pub span: Span,
}

/// One node of a [`DurationExpr`].
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A number of seconds.
    Number(NumberLiteral),
    /// `+`, `-`, `*`, `/`, `%`, `^` of two.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// A sign.
    Unary(UnaryOp, Box<DurationExpr>),
    /// `step()`: the resolution of the query.
    Step,
    /// `range()`: from the query's start to its end.
    Range,
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
}

/// The canonical text, on one line.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::printer::print(self))
    }
}
