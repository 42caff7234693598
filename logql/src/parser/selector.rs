//! `{a="b", c=~"d"}`.

use storage::model::{MatchOp, Matcher};

use super::{Parsed, Parser};
use crate::error::ParseError;
use crate::lexer::Kind;

impl Parser {
    pub(super) fn selector(&mut self) -> Parsed<Vec<Matcher>> {
        self.expect("{", &["{"])?;
        let mut matchers = Vec::new();
        if self.eat("}") {
            return Ok(matchers);
        }
        loop {
            let expecting: &[&str] = if matchers.is_empty() {
                &["IDENTIFIER", "}"]
            } else {
                &["IDENTIFIER"]
            };
            let label = self.identifier(expecting)?;
            let op = self.match_op(&["=", "=~", "!~", "!="])?;
            let value = self.text(&["STRING"])?;
            matchers.push(matcher(op, label, value)?);
            if self.eat("}") {
                return Ok(matchers);
            }
            self.expect(",", &["}", ","])?;
        }
    }

    pub(super) fn match_op(&mut self, expecting: &[&str]) -> Parsed<MatchOp> {
        let op = match self.peek() {
            Kind::Word("=") => MatchOp::Equal,
            Kind::Word("!=") => MatchOp::NotEqual,
            Kind::Word("=~") => MatchOp::Regex,
            Kind::Word("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected(expecting)),
        };
        self.advance();
        Ok(op)
    }
}

pub(super) fn matcher(op: MatchOp, label: String, value: String) -> Parsed<Matcher> {
    Matcher::new(op, label, value).map_err(|e| ParseError::whole(e.0))
}
