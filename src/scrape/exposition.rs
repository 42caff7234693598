//! What a target shows, whatever the format: the lines that `series` turns into samples.

use std::borrow::Cow;
use std::sync::Arc;

use storage::model::{Histogram, MetricType};

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// The type of a family.
    Type(&'a [u8], MetricType),
    /// The help text of a family.
    Help(&'a [u8], Cow<'a, str>),
    /// The unit of a family.
    Unit(&'a [u8], &'a [u8]),
    /// A sample; [`Exposition`] tells of which series.
    Sample(Sample),
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its value; a NaN is the ordinary one.
    pub value: Value,
    /// Its time, where it has one.
    pub t_ms: Option<i64>,
}

/// The value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// An exemplar of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExemplarText<'a> {
    /// As it is written.
    pub text: &'a [u8],
    /// Its value.
    pub value: f64,
    /// Its time, where it has one.
    pub t_ms: Option<i64>,
}

/// Label pairs, borrowed where nothing is escaped.
pub type TextLabels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Walks over a body. What is said of a sample holds until the next entry is read.
pub trait Exposition<'a> {
    /// The next entry; none at the end. After an error there is no more.
    ///
    /// # Errors
    /// What the body has that it must not have.
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError>;

    /// Bytes that are the same for the same series of this target.
    fn series(&self) -> &[u8];

    /// The labels of the last sample, the metric's name first.
    ///
    /// # Errors
    /// Names that are not UTF-8.
    fn labels(&self, out: &mut TextLabels<'a>) -> Result<(), ParseError>;

    /// When the last sample's series began, where that is known and asked for.
    fn start_ms(&self) -> Option<i64>;

    /// The exemplars of the last sample.
    fn exemplars(&self) -> &[ExemplarText<'a>];

    /// The labels of one of them.
    ///
    /// # Errors
    /// Names that are not UTF-8.
    fn exemplar_labels(&self, index: usize, out: &mut TextLabels<'a>) -> Result<(), ParseError>;
}

/// What is asked of a parser beside the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Take start times of series: in OpenMetrics `_created` lines tell them and are no series then.
    pub created_timestamps: bool,
    /// Add type and unit as labels.
    pub type_and_unit_labels: bool,
}
