//! Expressions as the generator makes them: a tree of the test's own, since it tests from outside.
//!
//! The tree knows what a generator and a shrinker need, the type of each node and its children, and nothing of evaluation.
//! Literals, durations and quoted texts are kept as they are written, for how they are written is tested too.

mod print;

pub use print::quoted;

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One number a step.
    Scalar,
    /// An instant vector.
    Vector,
    /// A range vector.
    Matrix,
    /// A text.
    Text,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A number as written.
    Number(String),
    /// A text with its quotes.
    Text(String),
    /// An instant selector.
    Instant(Selector),
    /// A range selector.
    Range {
        /// What is selected.
        selector: Selector,
        /// How far back, as written.
        range: String,
    },
    /// A subquery.
    Subquery {
        /// What is asked at each of its steps.
        inner: Box<Self>,
        /// How far back, as written.
        range: String,
        /// The distance of its steps; the server's own where absent.
        step: Option<String>,
        /// `offset`, `@` and the like.
        modifiers: Modifiers,
    },
    /// A call of a function.
    Call {
        /// The function.
        name: &'static str,
        /// What it returns.
        returns: Kind,
        /// Its arguments.
        args: Vec<Self>,
    },
    /// An aggregation.
    Aggregate {
        /// `sum` and so on.
        op: &'static str,
        /// By or without which labels.
        grouping: Option<Grouping>,
        /// The number or label name of those that take one.
        param: Option<Box<Self>>,
        /// What is aggregated.
        inner: Box<Self>,
    },
    /// A sign before an expression.
    Signed {
        /// `-` or `+`.
        sign: char,
        /// What has it.
        inner: Box<Self>,
    },
    /// Two operands and what is between them.
    Binary {
        /// The left operand.
        lhs: Box<Self>,
        /// The operator with its modifiers.
        op: Operator,
        /// The right operand.
        rhs: Box<Self>,
    },
    /// Parentheses that nothing asks for.
    Paren(Box<Self>),
}

/// The labels of an aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Grouping {
    /// `without` instead of `by`.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Whether it stands behind the parentheses.
    pub behind: bool,
}

/// An operator with its modifiers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Operator {
    /// `+`, `and` and so on.
    pub symbol: &'static str,
    /// `bool`.
    pub bool: bool,
    /// How series find their partners.
    pub matching: Option<Matching>,
    /// `fill` and its kin with their numbers, as written.
    pub fills: Vec<(&'static str, String)>,
    /// Whether operands that are operations go without the parentheses that would keep the tree's shape: the precedence of
    /// the operators then decides.
    pub bare: bool,
}

/// `on` or `ignoring`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// `group_left` or `group_right` with the labels to include.
    pub group: Option<(&'static str, Vec<String>)>,
}

/// A selector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selector {
    /// The metric's name.
    pub name: Option<String>,
    /// Whether the name stands quoted within the braces.
    pub quoted: bool,
    /// Label, operator, value.
    pub matchers: Vec<(String, &'static str, String)>,
    /// `offset`, `@` and the like.
    pub modifiers: Modifiers,
}

/// What may stand behind a selector or a subquery.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Modifiers {
    /// `anchored` or `smoothed`.
    pub extended: Option<&'static str>,
    /// The offset, as written.
    pub offset: Option<String>,
    /// What stands behind `@`.
    pub at: Option<String>,
    /// Whether `@` comes before `offset`.
    pub at_first: bool,
}

impl Expr {
    /// Its type. Of an operation without parentheses it is that of the tree, which the text may not have.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Instant(_) | Self::Aggregate { .. } => Kind::Vector,
            Self::Range { .. } | Self::Subquery { .. } => Kind::Matrix,
            Self::Call { returns, .. } => *returns,
            Self::Signed { inner, .. } | Self::Paren(inner) => inner.kind(),
            Self::Binary { lhs, rhs, .. } => match (lhs.kind(), rhs.kind()) {
                (Kind::Scalar, Kind::Scalar) => Kind::Scalar,
                _ => Kind::Vector,
            },
        }
    }

    /// The expressions directly within, from left to right.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Instant(_) | Self::Range { .. } => Vec::new(),
            Self::Call { args, .. } => args.iter().collect(),
            Self::Aggregate { param, inner, .. } => {
                param.iter().map(Box::as_ref).chain([&**inner]).collect()
            }
            Self::Subquery { inner, .. } | Self::Signed { inner, .. } | Self::Paren(inner) => {
                vec![inner]
            }
            Self::Binary { lhs, rhs, .. } => vec![lhs, rhs],
        }
    }

    /// As [`Self::children`], to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Instant(_) | Self::Range { .. } => Vec::new(),
            Self::Call { args, .. } => args.iter_mut().collect(),
            Self::Aggregate { param, inner, .. } => param
                .iter_mut()
                .map(Box::as_mut)
                .chain([&mut **inner])
                .collect(),
            Self::Subquery { inner, .. } | Self::Signed { inner, .. } | Self::Paren(inner) => {
                vec![inner]
            }
            Self::Binary { lhs, rhs, .. } => vec![lhs, rhs],
        }
    }

    /// Whether it or anything within it is so.
    pub fn any(&self, is_so: &dyn Fn(&Self) -> bool) -> bool {
        is_so(self) || self.children().into_iter().any(|child| child.any(is_so))
    }

    /// How large it is: 16 for every node, and the length of its text. A shrunk expression has less of it.
    #[must_use]
    pub fn weight(&self) -> usize {
        fn nodes(expr: &Expr) -> usize {
            1 + expr.children().into_iter().map(nodes).sum::<usize>()
        }
        16 * nodes(self) + self.to_string().len()
    }
}
