//! What can go wrong with a query: one variant for each decision that a caller can make.

use std::fmt;

use storage::read::ReadError;

/// A text that is no LogQL. Lines and columns count from 1; a column counts characters. Where both are 0 the
/// message is about the query as a whole. Line 0 with a column is what Loki says after tokens of
/// several characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, or 0.
    pub line: usize,
    /// Column, or 0.
    pub column: usize,
    /// What is wrong, in Loki's words.
    pub message: String,
}

impl ParseError {
    pub(crate) fn at(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            message: message.into(),
        }
    }

    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self::at(0, 0, message)
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 && self.column == 0 {
            write!(f, "parse error : {}", self.message)
        } else {
            write!(
                f,
                "parse error at line {}, col {}: {}",
                self.line, self.column, self.message
            )
        }
    }
}

impl std::error::Error for ParseError {}

/// Why a query has no answer. The text of each is what Loki answers as bare text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// No LogQL (400).
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A stage whose pattern or template is wrong, noticed when the first stream matches (400).
    #[error("parse error : stage '{stage}' : {message}")]
    Stage {
        /// The stage as printed.
        stage: String,
        /// What is wrong with it.
        message: String,
    },
    /// A sample of a metric query carries `__error__` (400).
    #[error(
        "pipeline error: '{kind}' for series: '{series}'.\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"{kind}\").\nTo skip all potential errors you can match empty errors.(e.g __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    )]
    Pipeline {
        /// Value of `__error__`.
        kind: String,
        /// Labels of the sample.
        series: String,
    },
    /// A log query where only metric queries are taken (400).
    #[error(
        "log queries are not supported as an instant query type, please change your query to a range query type"
    )]
    LogInstant,
    /// A limit was reached (400).
    #[error("{0}")]
    Limit(String),
    /// Two vectors cannot be matched (500).
    #[error("{0}")]
    Matching(String),
    /// An operation that Loki's defaults switch off (500).
    #[error("{0}")]
    Disabled(String),
    /// Stored entries cannot be read (500).
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Error {
    /// The HTTP status with which Loki answers.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Matching(_) | Self::Disabled(_) | Self::Read(_) => 500,
            _ => 400,
        }
    }
}
