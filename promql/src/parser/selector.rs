//! Selectors of series and what may follow them: matchers, ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use storage::model::{MatchOp, Matcher};

use super::{Parsed, Parser, Stop};
use crate::ast::{
    At, BinaryOp, Duration, Expr, MatrixSelector, Span, Subquery, UnaryOp, VectorSelector,
};
use crate::lexer::{Keyword, TokenKind};

const METRIC_NAME: &str = "__name__";

impl Parser<'_> {
    /// A metric name, matchers in braces, or both.
    pub(super) fn bare_selector(&mut self) -> Parsed<VectorSelector> {
        let token = self.peek().clone();
        let mut name = String::new();
        if self.is_metric_name(&token.kind) {
            self.at += 1;
            self.text[token.start..token.end].clone_into(&mut name);
        } else if token.kind != TokenKind::LeftBrace {
            return Err(self.unexpected("", ""));
        }
        let mut matchers = Vec::new();
        if self.take(&TokenKind::LeftBrace) {
            matchers = self.matchers()?;
        }
        if !name.is_empty() {
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        Ok(VectorSelector {
            name,
            matchers,
            offset: Duration::ZERO,
            at: None,
            anchored: false,
            smoothed: false,
            span: Span::new(token.start, self.last_end()),
        })
    }

    /// Whether a word is a metric name where an operand is wanted: most keywords are.
    fn is_metric_name(&self, kind: &TokenKind) -> bool {
        match kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => true,
            TokenKind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => true,
            TokenKind::Keyword(keyword) => !matches!(
                keyword,
                Keyword::Bool
                    | Keyword::On
                    | Keyword::Ignoring
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
            ),
            _ => false,
        }
    }

    /// What stands within braces, and the closing one.
    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        const CONTEXT: &str = "label matching";
        let mut matchers = Vec::new();
        loop {
            if self.take(&TokenKind::RightBrace) {
                return Ok(matchers);
            }
            let label = self.next();
            let (name, quoted) = match label.kind {
                TokenKind::Identifier => (self.text[label.start..label.end].to_owned(), false),
                TokenKind::String(bytes) => (lossy(bytes), true),
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected(CONTEXT, "identifier or \"}\""));
                }
            };
            let start = label.start;
            matchers.push(match self.match_op() {
                Some(op) => {
                    let value = match self.next().kind {
                        TokenKind::String(bytes) => lossy(bytes),
                        _ => {
                            self.at -= 1;
                            return Err(self.unexpected(CONTEXT, "string"));
                        }
                    };
                    let span = Span::new(start, self.last_end());
                    match Matcher::new(op, name, value) {
                        Ok(matcher) => matcher,
                        Err(error) => return Err(self.stop(span, error.to_string())),
                    }
                }
                None if quoted => Matcher::equal(METRIC_NAME, name),
                None => return Err(self.unexpected(CONTEXT, "label matching operator")),
            });
            if self.take(&TokenKind::Comma) || self.peek().kind == TokenKind::RightBrace {
                continue;
            }
            return Err(self.unexpected(CONTEXT, "\",\" or \"}\""));
        }
    }

    fn match_op(&mut self) -> Option<MatchOp> {
        let op = match self.peek().kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotRegex => MatchOp::NotRegex,
            _ => return None,
        };
        self.at += 1;
        Some(op)
    }

    /// Everything that may follow an operand.
    pub(super) fn modifiers(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            match self.peek().kind {
                TokenKind::LeftBracket => expr = self.range(expr)?,
                TokenKind::Keyword(Keyword::Offset) => {
                    self.at += 1;
                    let offset = self.offset_value()?;
                    self.set_offset(&mut expr, offset);
                }
                TokenKind::At => {
                    self.at += 1;
                    let at = self.at_value()?;
                    self.set_at(&mut expr, at)?;
                }
                TokenKind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    self.at += 1;
                    self.set_extended(&mut expr, keyword);
                }
                _ => return Ok(expr),
            }
        }
    }

    /// `[range]` or `[range:step]`
    fn range(&mut self, expr: Expr) -> Parsed<Expr> {
        let bracket = self.next();
        let range = self.positive_duration("subquery or range selector")?;
        if self.take(&TokenKind::Colon) {
            let step = if self.peek().kind == TokenKind::RightBracket {
                None
            } else {
                Some(self.positive_duration("subquery selector")?)
            };
            self.expect(&TokenKind::RightBracket, "subquery selector", "\"]\"")?;
            self.deepen(0)?;
            let span = Span::new(expr.span().start, self.last_end());
            let expr = Box::new(expr);
            return Ok(Expr::Subquery(Subquery {
                expr,
                range,
                step,
                offset: Duration::ZERO,
                at: None,
                span,
            }));
        }
        self.expect(
            &TokenKind::RightBracket,
            "subquery or range",
            "\":\" or \"]\"",
        )?;
        let fault = Span::new(bracket.start, self.last_end());
        let Expr::Vector(vector) = expr else {
            return Err(self.stop(fault, "ranges only allowed for vector selectors"));
        };
        if vector.offset != Duration::ZERO {
            self.note(fault, "no offset modifiers allowed before range");
        } else if vector.at.is_some() {
            self.note(fault, "no @ modifiers allowed before range");
        }
        let span = Span::new(vector.span.start, self.last_end());
        Ok(Expr::Matrix(MatrixSelector {
            vector,
            range,
            span,
        }))
    }

    fn set_offset(&mut self, expr: &mut Expr, offset: Duration) {
        let end = self.last_end();
        let (slot, span) = match expr {
            Expr::Vector(e) => (&mut e.offset, &mut e.span),
            Expr::Matrix(e) => (&mut e.vector.offset, &mut e.span),
            Expr::Subquery(e) => (&mut e.offset, &mut e.span),
            _ => {
                self.note(
                    expr.span(),
                    "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                );
                return;
            }
        };
        span.end = end;
        let span = *span;
        if *slot == Duration::ZERO {
            *slot = offset;
        } else {
            self.note(span, "offset may not be set multiple times");
        }
    }

    fn set_at(&mut self, expr: &mut Expr, at: AtValue) -> Parsed<()> {
        let end = self.last_end();
        let (slot, span) = match expr {
            Expr::Vector(e) => (&mut e.at, &mut e.span),
            Expr::Matrix(e) => (&mut e.vector.at, &mut e.span),
            Expr::Subquery(e) => (&mut e.at, &mut e.span),
            _ => {
                return Err(self.stop(
                    expr.span(),
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                ));
            }
        };
        span.end = end;
        let span = *span;
        let at = match at {
            AtValue::Known(at) => at,
            AtValue::Seconds(seconds) => match timestamp_ms(seconds) {
                Some(ms) => At::Timestamp(ms),
                None => {
                    let shown = crate::lexer::format_float(seconds);
                    return Err(self.stop(
                        span,
                        format!("timestamp out of bounds for @ modifier: {shown}"),
                    ));
                }
            },
        };
        if slot.is_some() {
            self.note(span, "@ <timestamp> may not be set multiple times");
        }
        *slot = Some(at);
        Ok(())
    }

    /// `anchored` and `smoothed`: as upstream has it, they are not part of the selector's span.
    fn set_extended(&mut self, expr: &mut Expr, keyword: Keyword) {
        let (span, anchored) = (expr.span(), keyword == Keyword::Anchored);
        let word = if anchored { "anchored" } else { "smoothed" };
        if !self.options.extended_range_selectors {
            self.note(
                span,
                format!("{word} modifier is experimental and not enabled"),
            );
            return;
        }
        let vector = match expr {
            Expr::Vector(e) => e,
            Expr::Matrix(e) => &mut e.vector,
            Expr::Subquery(_) => {
                self.note(
                    span,
                    format!("{word} modifier is not supported for subqueries"),
                );
                return;
            }
            _ => {
                self.note(span, format!("{word} modifier not implemented"));
                return;
            }
        };
        vector.anchored |= anchored;
        vector.smoothed |= !anchored;
        if vector.anchored && vector.smoothed {
            self.note(
                span,
                "anchored and smoothed modifiers cannot be used together",
            );
        }
    }

    fn at_value(&mut self) -> Parsed<AtValue> {
        let fail = |parser: &mut Self| -> Stop { parser.unexpected("@", "timestamp") };
        if let TokenKind::Keyword(keyword @ (Keyword::Start | Keyword::End)) = self.peek().kind {
            self.at += 1;
            for paren in [TokenKind::LeftParen, TokenKind::RightParen] {
                if !self.take(&paren) {
                    return Err(fail(self));
                }
            }
            let at = if keyword == Keyword::Start {
                At::Start
            } else {
                At::End
            };
            return Ok(AtValue::Known(at));
        }
        let sign = self.sign();
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(fail(self));
        }
        let seconds = self.number()?.value;
        Ok(AtValue::Seconds(if sign == Some(UnaryOp::Minus) {
            -seconds
        } else {
            seconds
        }))
    }
}

enum AtValue {
    Known(At),
    Seconds(f64),
}

/// Milliseconds, where they fit.
fn timestamp_ms(seconds: f64) -> Option<i64> {
    let bound = i64::MAX as f64 / 1000.0;
    (seconds.is_finite() && seconds.abs() < bound).then(|| (seconds * 1000.0).round() as i64)
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
