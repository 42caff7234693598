//! LogQL: text to value, without knowing where log lines lie.
//!
//! ```text
//!  text ─ parse ─▶ Expr ─ Plan::new ─▶ Plan ─ selects ─▶ (storage reads pages)
//!                                       ▲                      │
//!                                       └──────── push ◀───────┘ page by page, on the CPU pool
//!                                       └──────── finish ─▶ Answer
//! ```
//!
//! Pure: no await, no clock, no I/O. Answers and errors are those of Loki 3.

mod answer;
mod ast;
mod detected;
mod error;
mod eval;
mod labels;
mod level;
mod lexer;
pub mod params;
mod parser;
mod pipeline;
mod plan;
mod pretty;
mod printer;
mod stages;
pub mod template;
mod units;
mod vector;

pub use answer::{Answer, Categories, Data, EntryResult, SeriesResult, Stats, StreamResult};
pub use ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, Cardinality, CompareOp, Conversion, Expr,
    Extract, FormatSource, Grouping, LabelFilter, LabelReplaceExpr, LabelReplaceText, LabelSelect,
    LineFilter, LineOp, LogExpr, LogRange, Matching, Needle, RangeExpr, RangeOp, StageExpr, Unwrap,
    VariantsExpr,
};
pub use detected::{DetectedField, FieldType, detected_field_values, detected_fields};
pub use error::{Error, ParseError};
pub use labels::LabelSet;
pub use level::{detect_level, discover_service_name};
pub use parser::{parse, parse_matchers};
pub use pipeline::Pipeline;
pub use plan::{Params, Plan};
pub use pretty::pretty;
pub use units::{
    format_go_duration, format_model_duration, format_value, parse_bytes, parse_go_duration,
    parse_model_duration, quote,
};
