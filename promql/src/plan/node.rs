//! The nodes of a compiled expression: what remains to be done once the pipelines have run.

use regex::Regex;
use storage::model::{Labels, Matcher};

use super::pipeline::range::RangeLeaf;
use super::pipeline::stage::{MapOp, Steps};
use crate::vector::binary::Operator;
use crate::vector::matching::{Matching, SetOperator};
use crate::vector::select::Pick;
use crate::vector::{Grid, Grouping, aggregate::Reduce};

/// An expression over the steps of a grid.
pub(crate) struct Node {
    pub(crate) grid: Grid,
    pub(crate) kind: Kind,
}

/// A selective aggregation.
pub(crate) enum Selection {
    Pick(Pick),
    Quantile,
}

pub(crate) enum Kind {
    /// A vector without series.
    Nothing,
    /// A vector without series, of an expression that is evaluated for its faults and remarks only.
    Discarded(Box<Node>),
    /// A fault, which comes to light once these have been evaluated.
    Fault {
        before: Vec<Node>,
        message: String,
    },
    /// Numbers that are known without data.
    Scalar(Steps),
    Text(String),
    /// `scalar(v)`
    ScalarOf(Box<Node>),
    ScalarNegate(Box<Node>),
    ScalarBinary(ScalarOperator, Box<Node>, Box<Node>),
    /// `vector(s)`
    VectorOf(Box<Node>),
    /// What a pipeline has collected or reduced.
    Series(usize),
    /// The samples of a range.
    RawMatrix(usize),
    /// The steps of a subquery.
    SubqueryMatrix(Box<Node>),
    /// One step's value at every step.
    Replicate(Box<Node>),
    Map {
        op: MapOp,
        scalars: Vec<Node>,
        child: Box<Node>,
        position: usize,
    },
    /// A range function whose parameters depend on data; its pipeline has kept the samples.
    HeldRange {
        pipeline: usize,
        params: Vec<Node>,
    },
    SubqueryRange {
        leaf: RangeLeaf,
        params: Vec<Node>,
        child: Box<Node>,
    },
    /// 1 with these labels where the child has no sample.
    Absent {
        child: Box<Node>,
        labels: Labels,
    },
    Reduce {
        op: Reduce,
        grouping: Grouping,
        child: Box<Node>,
        position: usize,
    },
    Select {
        op: Selection,
        grouping: Grouping,
        param: Box<Node>,
        child: Box<Node>,
        position: usize,
        param_position: usize,
    },
    CountValues {
        label: String,
        names: Vec<String>,
        without: bool,
        child: Box<Node>,
    },
    Binary {
        op: Operator,
        bool_modifier: bool,
        matching: Matching,
        left: Box<Node>,
        right: Box<Node>,
        position: usize,
    },
    Set {
        op: SetOperator,
        matching: Matching,
        left: Box<Node>,
        right: Box<Node>,
    },
    HistogramQuantile {
        /// Each with the first byte of its expression.
        quantiles: Vec<(Node, usize)>,
        /// Name of the label that tells the quantiles apart, where there are several.
        label: Option<String>,
        child: Box<Node>,
        position: usize,
    },
    HistogramFraction {
        lower: Box<Node>,
        upper: Box<Node>,
        child: Box<Node>,
        position: usize,
    },
    LabelReplace {
        child: Box<Node>,
        target: String,
        replacement: String,
        source: String,
        pattern: Regex,
    },
    LabelJoin {
        child: Box<Node>,
        target: String,
        separator: String,
        sources: Vec<String>,
    },
    Sort {
        child: Box<Node>,
        descending: bool,
        position: usize,
        /// Sorts by these labels rather than by value.
        by: Option<Vec<String>>,
    },
    Info {
        child: Box<Node>,
        /// Pipeline of the info series; their values are the times of their samples.
        info: usize,
        /// What the name of an info series must be.
        names: Vec<Matcher>,
        /// Conditions on the labels to be added, and which labels those are; empty: all.
        data: Vec<Matcher>,
    },
}

/// What is done with two scalars.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScalarOperator {
    Operator(Operator),
    Max,
    Min,
}

impl ScalarOperator {
    pub(crate) fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Operator(op) => op.scalar(a, b),
            Self::Max => crate::functions::math::max(a, b),
            Self::Min => crate::functions::math::min(a, b),
        }
    }
}
