//! Durations of ranges, steps and offsets: literals, and arithmetic of them.

use super::{MAX_NESTING, Parsed, Parser, precedence};
use crate::ast::{BinaryOp, Duration, DurationExpr, DurationKind, NumberLiteral, Span, UnaryOp};
use crate::lexer::{Keyword, TokenKind};

const EXPECTED: &str = "number, duration, step(), or range()";
/// Seconds whose nanoseconds still fit 64 bits.
const MAX_SECONDS: f64 = (i64::MAX / 1_000_000_000) as f64;

impl Parser<'_> {
    /// The inside of square brackets; a literal must be positive.
    pub(super) fn positive_duration(&mut self, context: &'static str) -> Parsed<Duration> {
        let expr = self.duration_operators(0, context)?;
        if let DurationKind::Number(number) = &expr.kind
            && number.value <= 0.0
        {
            self.note(expr.span, "duration must be greater than 0");
        }
        self.duration(expr)
    }

    /// What follows `offset`: one term with an optional sign, so that `a offset 1m + 2` is a sum. As upstream has it, a term
    /// in parentheses goes on instead: `a offset (1m) + 2` is all offset.
    pub(super) fn offset_value(&mut self) -> Parsed<Duration> {
        let expr = match self.peek().kind {
            TokenKind::LeftParen => self.duration_operators(0, "offset")?,
            _ => self.signed_duration(None, "offset")?,
        };
        self.duration(expr)
    }

    fn duration(&mut self, expr: DurationExpr) -> Parsed<Duration> {
        let DurationKind::Number(number) = &expr.kind else {
            return Ok(Duration::Expr(expr));
        };
        if number.value.is_nan() || number.value.abs() > MAX_SECONDS {
            return Err(self.stop(expr.span, "duration out of range"));
        }
        Ok(Duration::Millis((number.value * 1000.0).round() as i64))
    }

    fn duration_operators(&mut self, least: u8, context: &'static str) -> Parsed<DurationExpr> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.too_deep());
        }
        let mut lhs = self.signed_duration(Some(precedence(BinaryOp::Pow)), context)?;
        let mut length = 0;
        while let TokenKind::Operator(op) = self.peek().kind {
            let binding = precedence(op);
            if binding < precedence(BinaryOp::Add).max(least) || op == BinaryOp::Atan2 {
                break;
            }
            let token = self.next();
            let rhs = self.duration_operators(
                if op == BinaryOp::Pow {
                    binding
                } else {
                    binding + 1
                },
                context,
            )?;
            if let DurationKind::Number(NumberLiteral { value, .. }) = rhs.kind
                && value == 0.0
            {
                let fault = Span::new(token.start, token.end);
                match op {
                    BinaryOp::Div => self.note(fault, "division by zero"),
                    BinaryOp::Mod => self.note(fault, "modulo by zero"),
                    _ => {}
                }
            }
            length += 1;
            if length > MAX_NESTING {
                return Err(self.too_deep());
            }
            let span = Span::new(lhs.span.start, rhs.span.end);
            let kind = DurationKind::Binary(op, Box::new(lhs), Box::new(rhs));
            lhs = DurationExpr {
                kind,
                wrapped: false,
                span,
            };
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    /// A term with signs before it. With `least`, a sign covers operators that bind at least so tightly.
    fn signed_duration(
        &mut self,
        least: Option<u8>,
        context: &'static str,
    ) -> Parsed<DurationExpr> {
        let start = self.peek().start;
        let Some(sign) = self.sign() else {
            return self.duration_term(context);
        };
        let mut inner = match least {
            Some(least) => self.duration_operators(least, context)?,
            None => self.duration_term(context)?,
        };
        let span = Span::new(start, inner.span.end);
        if let DurationKind::Number(number) = &mut inner.kind {
            if sign == UnaryOp::Minus {
                number.value = -number.value;
            }
            number.span = span;
            inner.span = span;
            return Ok(inner);
        }
        let kind = DurationKind::Unary(sign, Box::new(inner));
        Ok(DurationExpr {
            kind,
            wrapped: false,
            span,
        })
    }

    fn duration_term(&mut self, context: &'static str) -> Parsed<DurationExpr> {
        let token = self.peek().clone();
        let kind = match token.kind {
            TokenKind::Number | TokenKind::Duration => DurationKind::Number(self.number()?),
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.at += 1;
                self.expect(&TokenKind::LeftParen, context, "\"(\"")?;
                self.expect(&TokenKind::RightParen, context, "\")\"")?;
                if keyword == Keyword::Step {
                    DurationKind::Step
                } else {
                    DurationKind::Range
                }
            }
            TokenKind::Identifier if self.bound_name().is_some() => {
                let least = self.bound_name() == Some("min_of");
                self.at += 1;
                self.expect(&TokenKind::LeftParen, context, "\"(\"")?;
                let a = Box::new(self.duration_operators(0, context)?);
                self.expect(&TokenKind::Comma, context, "\",\"")?;
                let b = Box::new(self.duration_operators(0, context)?);
                self.expect(&TokenKind::RightParen, context, "\")\"")?;
                if least {
                    DurationKind::MinOf(a, b)
                } else {
                    DurationKind::MaxOf(a, b)
                }
            }
            TokenKind::LeftParen => {
                self.at += 1;
                let mut inner = self.duration_operators(0, context)?;
                self.expect(&TokenKind::RightParen, context, "\")\"")?;
                // A literal stays one: parentheses around it are not kept.
                inner.wrapped = !matches!(inner.kind, DurationKind::Number(_));
                inner.span = Span::new(token.start, self.last_end());
                return Ok(inner);
            }
            _ => return Err(self.unexpected(context, EXPECTED)),
        };
        let span = Span::new(token.start, self.last_end());
        Ok(DurationExpr {
            kind,
            wrapped: false,
            span,
        })
    }

    /// `min_of` or `max_of`, where it comes next.
    fn bound_name(&self) -> Option<&'static str> {
        let token = self.peek();
        let name = &self.text[token.start..token.end];
        ["min_of", "max_of"]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known))
    }
}
