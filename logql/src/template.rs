//! Go's text/template, as far as `line_format` and `label_format` need it: actions, pipelines,
//! variables, `if`, `range`, `with`, `define` and `template`, Go's own functions and Loki's.
//!
//! Source: the documentation of Go's text/template and of Loki's template functions. Errors are
//! worded as Go words them, because they reach the user in `__error_details__`.

mod date;
mod exec;
mod functions;
mod functions_go;
mod parse;
mod printf;
mod value;

use std::collections::HashMap;
use std::sync::Mutex;

use regex::Regex;
use storage::model::compile_search;

use crate::labels::LabelBuilder;
use parse::{Node, Tree};

/// How many regular expressions a template remembers.
const MAX_REGEXES: usize = 64;

/// A parsed template.
pub(crate) struct Template {
    name: &'static str,
    tree: Tree,
    now_ns: i64,
    /// Guards the expressions compiled so far; they are compiled under it.
    regexes: Mutex<HashMap<String, Result<Regex, String>>>,
}

impl Template {
    /// Parses a template. `name` is what errors call it.
    pub(crate) fn new(name: &'static str, text: &str, now_ns: i64) -> Result<Self, String> {
        let tree = parse::parse(name, text)?;
        Ok(Self {
            name,
            tree,
            now_ns,
            regexes: Mutex::new(HashMap::new()),
        })
    }

    /// Runs the template for one line.
    pub(crate) fn run(
        &self,
        t_ns: i64,
        line: &str,
        labels: &LabelBuilder,
    ) -> Result<String, String> {
        // Plain text and a lone field are by far the most common.
        if let [Node::Text(text)] = self.tree.root.as_slice() {
            return Ok(text.clone());
        }
        exec::run(self, t_ns, line, labels)
    }

    fn regex(&self, pattern: &str) -> Result<Regex, String> {
        let Ok(mut known) = self.regexes.lock() else {
            return compile_search(pattern);
        };
        if let Some(result) = known.get(pattern) {
            return result.clone();
        }
        let result = compile_search(pattern);
        if known.len() < MAX_REGEXES {
            known.insert(pattern.to_owned(), result.clone());
        }
        result
    }
}

/// The labels that a template reads by name; nothing where it may read others, or does not parse.
pub(crate) fn fields(text: &str) -> Option<Vec<String>> {
    let tree = parse::parse("line", text).ok()?;
    let mut names = Vec::new();
    tree.fields(&mut names)?;
    Some(names)
}

#[cfg(test)]
mod tests;
