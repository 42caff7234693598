//! PromQL: text to value, pure. No await, no clock, no I/O.
//!
//! ```text
//! text ─ parse ─► Expr ─ Plan::new ─► selects ─ push (series) ─► finish ─► value
//!                  └─ print, pretty
//! ```

pub mod ast;
pub mod duration;
pub mod error;
pub mod functions;
pub mod lexer;
pub mod parser;
pub mod printer;

mod check;

pub use ast::Expr;
pub use error::ParseError;
pub use parser::{ParseOptions, parse, parse_selector};
