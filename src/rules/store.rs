//! What the evaluation of rules reads from and writes to.

use promql::vector::Sample;
use promql::{Expr, Value, VectorSample};
use storage::model::{Labels, Matcher, MsRange};

/// What became of samples that were to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// Places of those that were refused, ascending.
    pub refused: Vec<usize>,
    /// Why the first of them was.
    pub fault: Option<String>,
}

/// The newest sample of a series within a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// The series.
    pub labels: Labels,
    /// Its time in milliseconds.
    pub t_ms: i64,
    /// Its value; the staleness marker where it is one.
    pub value: f64,
}

/// Series to ask and to add to. Calls may block.
pub trait Store: Send + Sync {
    /// Parses a query of a template.
    ///
    /// # Errors
    /// In the parser's words.
    fn parse(&self, text: &str) -> Result<Expr, String>;

    /// Asks an expression at a time in milliseconds.
    ///
    /// # Errors
    /// In the words of the query's error.
    fn query(&self, expr: &Expr, t_ms: i64) -> Result<Value, String>;

    /// Writes samples, each at its own time.
    ///
    /// # Errors
    /// Where nothing could be written at all.
    fn append(&self, samples: &[VectorSample]) -> Result<Appended, String>;

    /// The newest float of each series that all matchers let pass.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn newest(&self, matchers: Vec<Matcher>, range: MsRange) -> Result<Vec<Newest>, String>;
}

/// What an expression gives, as the vector that rules and templates work on.
///
/// # Errors
/// Where it is neither a vector nor a number.
pub(super) fn vector(value: Value) -> Result<Vec<VectorSample>, String> {
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar(t_ms, number) => Ok(vec![VectorSample {
            labels: Labels::empty(),
            t_ms,
            sample: Sample::Float(number),
        }]),
        Value::String(..) | Value::Matrix(_) => {
            Err("rule result is not a vector or scalar".to_owned())
        }
    }
}
