//! Aggregations: `sum by (job) (up)`, `topk(5, up) without (instance)`, and lists of labels in parentheses.

use super::{Parsed, Parser};
use crate::ast::{Aggregate, AggregateOp, Expr, Span};
use crate::lexer::{Keyword, TokenKind, quote_bytes};

impl Parser<'_> {
    pub(super) fn aggregate(&mut self, op: AggregateOp) -> Parsed<Expr> {
        let start = self.next().start;
        self.aggregations += 1;
        let before = self.grouping()?;
        let mut args = self.arguments()?;
        self.aggregations -= 1;
        let (without, grouping) = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or_default(),
        };
        let span = Span::new(start, self.last_end());
        if op.experimental() && !self.options.experimental_functions {
            self.note(
                span,
                format!(
                    "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                    op.as_str()
                ),
            );
        }
        let wanted = if op.takes_param() { 2 } else { 1 };
        let given = args.len();
        if given == 0 {
            return Err(self.stop(span, "no arguments for aggregate expression provided"));
        }
        let operand = args.pop().filter(|_| given == wanted);
        let Some(operand) = operand else {
            return Err(self.stop(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
                ),
            ));
        };
        Ok(Expr::Aggregate(Aggregate {
            op,
            expr: Box::new(operand),
            param: args.pop().map(Box::new),
            grouping,
            without,
            span,
        }))
    }

    /// `by (…)` or `without (…)`, where one comes next.
    fn grouping(&mut self) -> Parsed<Option<(bool, Vec<String>)>> {
        let without = match self.peek().kind {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some((without, self.labels()?)))
    }

    /// `(label, "quoted label", …)`; a comma may follow the last.
    pub(super) fn labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(&TokenKind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while !self.take(&TokenKind::RightParen) {
            labels.push(self.label()?);
            if self.take(&TokenKind::Comma) || self.peek().kind == TokenKind::RightParen {
                continue;
            }
            return Err(self.unexpected(CONTEXT, "\",\" or \")\""));
        }
        Ok(labels)
    }

    fn label(&mut self) -> Parsed<String> {
        let token = self.peek().clone();
        let text = &self.text[token.start..token.end];
        let bytes = match token.kind {
            TokenKind::Identifier
            | TokenKind::MetricIdentifier
            | TokenKind::Keyword(_)
            | TokenKind::Aggregate(_) => text.as_bytes().to_vec(),
            TokenKind::Operator(_) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                text.as_bytes().to_vec()
            }
            TokenKind::String(ref bytes) => bytes.clone(),
            _ => return Err(self.unexpected("grouping opts", "label")),
        };
        self.at += 1;
        match String::from_utf8(bytes) {
            Ok(label) if !label.is_empty() => Ok(label),
            Ok(_) => Err(self.invalid_label(&token, b"")),
            Err(error) => Err(self.invalid_label(&token, error.as_bytes())),
        }
    }

    fn invalid_label(&mut self, token: &crate::lexer::Token, bytes: &[u8]) -> super::Stop {
        let message = format!("invalid label name for grouping: {}", quote_bytes(bytes));
        self.stop(Span::new(token.start, token.end), message)
    }
}
