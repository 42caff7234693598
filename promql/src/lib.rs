//! PromQL: text to value, pure. No await, no clock, no I/O.
//!
//! ```text
//! text ─ parse ─► Expr ─ Plan::new ─► selects ─ evaluate series, take ─► finish ─► value
//!                  └─ print, pretty
//! ```

pub mod ast;
pub mod duration;
pub mod error;
pub mod functions;
pub mod lexer;
pub mod notation;
pub mod parser;
pub mod plan;
pub mod printer;
pub mod vector;

mod annotation;
mod check;
mod eval;
mod histogram;
mod kahan;
mod number;
mod source;

pub use annotation::{Annotations, HistogramOperation, Note};
pub use ast::Expr;
pub use error::ParseError;
pub use histogram::{Bucket, Combined, FloatHistogram, Hist, IncompatibleBuckets};
pub use kahan::Number;
pub use parser::{ParseOptions, parse, parse_selector};
pub use plan::{
    Answer, EvalError, EvalOptions, EvaluatedSeries, Interrupt, MatrixSeries, Plan, PlannedSelect,
    SeriesEvaluator, Stats, Stop, Value, VectorSample,
};
pub use source::{Source, evaluate};
