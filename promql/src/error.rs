//! Errors of the front end: where in the query, and what.

use std::fmt;

/// A query that does not parse or does not type check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// First byte of the query that is at fault.
    pub start: usize,
    /// Behind the last byte at fault.
    pub end: usize,
    /// Line and column of `start`, counted from 1; absent where the query has no text at all.
    pub position: Option<(usize, usize)>,
    /// What is wrong, in upstream's words.
    pub message: String,
}

impl ParseError {
    /// An error at bytes `start..end` of `text`.
    #[must_use]
    pub fn new(text: &str, start: usize, end: usize, message: impl Into<String>) -> Self {
        Self {
            start,
            end,
            position: position(text, start),
            message: message.into(),
        }
    }
}

/// `1:5: parse error: unexpected end of input`
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{line}:{column}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

/// Line and column of a byte offset, both counted from 1; a column counts bytes, as upstream's do.
#[must_use]
pub fn position(text: &str, offset: usize) -> Option<(usize, usize)> {
    if text.is_empty() {
        return None;
    }
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    Some((line, offset - line_start + 1))
}
