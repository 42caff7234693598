//! Go's text/template: actions, pipelines, variables, `if`, `range`, `with`, `define` and `template`, and
//! Go's own functions. Whoever runs a template is its [`Host`] and brings the data and further functions:
//! `loki` does so for `line_format` and `label_format`, the program for alerts.
//!
//! ```text
//!  text ─ Template::parse (names of functions) ─▶ tree ─ run (Host: data, functions) ─▶ text
//! ```
//!
//! Source: the documentation of Go's text/template. Errors are worded and placed as Go does it, because
//! they reach users: in `__error_details__`, in annotations of alerts.

mod date;
mod exec;
mod functions;
mod loki;
mod parse;
mod printf;
mod value;

use std::fmt::Write as _;

use parse::{Node, Tree};

pub use date::Time;
pub(crate) use loki::{LineTemplate, fields};
pub use value::{Fault, Record, Value};

/// What a template runs in.
pub trait Host {
    /// What `.` and `$` are at first.
    fn data(&self) -> Value;

    /// A member of [`Value::Data`]; empty where there is none.
    fn member(&self, _name: &str) -> String {
        String::new()
    }

    /// The members of [`Value::Data`], ordered by name.
    fn members(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Calls one of the functions that the template was parsed with.
    ///
    /// # Errors
    /// Why there is no value.
    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, Fault>;
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    name: String,
    tree: Tree,
}

impl Template {
    /// Parses a template. `name` is what errors call it, `functions` are those beyond Go's own.
    ///
    /// # Errors
    /// In Go's words, with name and line.
    pub fn parse(name: &str, text: &str, functions: &[&str]) -> Result<Self, String> {
        Ok(Self {
            name: name.to_owned(),
            tree: parse::parse(name, text, functions)?,
        })
    }

    /// Runs the template: computes, never waits. Output, turns of loops and depth are bounded.
    ///
    /// # Errors
    /// In Go's words, with name, line and column.
    pub fn run(&self, host: &dyn Host) -> Result<String, String> {
        // Plain text is by far the most common.
        if let [Node::Text(text)] = self.tree.root.as_slice() {
            return Ok(text.clone());
        }
        exec::run(self, host)
    }
}

/// As Go's `url.QueryEscape`.
#[must_use]
pub fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char);
            }
            b' ' => out.push('+'),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// As Go's `fmt.Sprintf`, for the kinds of values a template has.
#[must_use]
pub fn sprintf(format: &str, arguments: &[Value]) -> String {
    printf::sprintf(format, arguments)
}

#[cfg(test)]
mod tests;
