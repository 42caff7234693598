//! Binary operators with their clauses: `a == bool on (x) group_left (y) fill (0) b`.

use super::{Parsed, Parser};
use crate::ast::{Binary, BinaryOp, Card, Expr, Matching, Span};
use crate::lexer::{Keyword, TokenKind};

impl Parser<'_> {
    /// Reads `op` and the right operand, whose operators bind at least as tightly as `least`.
    pub(super) fn binary(&mut self, lhs: Expr, op: BinaryOp, least: u8) -> Parsed<Expr> {
        self.at += 1;
        let bool_modifier = self.take(&TokenKind::Keyword(Keyword::Bool));
        let matching = self.matching()?;
        let rhs = self.operators(least)?;
        let span = Span::new(lhs.span().start, rhs.span().end);
        Ok(Expr::Binary(Binary {
            op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            bool_modifier,
            matching: Some(matching),
            span,
        }))
    }

    fn matching(&mut self) -> Parsed<Matching> {
        let mut matching = Matching {
            card: Card::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.at += 1;
            matching.on = keyword == Keyword::On;
            matching.labels = self.labels()?;
            self.group(&mut matching)?;
        }
        self.fills(&mut matching)?;
        Ok(matching)
    }

    fn group(&mut self, matching: &mut Matching) -> Parsed<()> {
        matching.card = match self.peek().kind {
            TokenKind::Keyword(Keyword::GroupLeft) => Card::ManyToOne,
            TokenKind::Keyword(Keyword::GroupRight) => Card::OneToMany,
            _ => return Ok(()),
        };
        self.at += 1;
        match self.peek().kind {
            TokenKind::LeftParen => matching.include = self.labels()?,
            TokenKind::Keyword(Keyword::On | Keyword::Ignoring | Keyword::Bool) => {
                return Err(self.unexpected("grouping opts", "\"(\""));
            }
            _ => {}
        }
        Ok(())
    }

    /// `fill (v)`, or `fill_left (v)` and `fill_right (v)` in any order. Without a parenthesis they are metric names.
    fn fills(&mut self, matching: &mut Matching) -> Parsed<()> {
        while let TokenKind::Keyword(
            keyword @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight),
        ) = self.peek().kind
        {
            if self.peek_second() != &TokenKind::LeftParen {
                return Ok(());
            }
            let (left, right) = match keyword {
                Keyword::FillLeft => (true, false),
                Keyword::FillRight => (false, true),
                _ => (true, true),
            };
            if (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some()) {
                return Err(self.unexpected("", ""));
            }
            let token = self.next();
            if !self.options.fill_modifiers {
                self.note(
                    Span::new(token.start, token.end),
                    "binop fill modifiers are experimental and not enabled",
                );
            }
            let value = self.fill_value()?;
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(&TokenKind::LeftParen, "fill value", "\"(\"")?;
        let sign = self.sign();
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("fill value", "number"));
        }
        let number = self.number()?.value;
        self.expect(&TokenKind::RightParen, "fill value", "\")\"")?;
        Ok(if sign == Some(crate::ast::UnaryOp::Minus) {
            -number
        } else {
            number
        })
    }
}
