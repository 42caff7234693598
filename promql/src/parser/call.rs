//! Calls of functions: `name(argument, …)`.

use super::{Parsed, Parser};
use crate::ast::{BinaryOp, Call, Expr, Span};
use crate::functions::Func;
use crate::lexer::{TokenKind, quote};

impl Parser<'_> {
    pub(super) fn call(&mut self) -> Parsed<Expr> {
        let name = self.next();
        let text = self.text[name.start..name.end].to_owned();
        let args = self.arguments()?;
        let span = Span::new(name.start, self.last_end());
        let at = Span::new(name.start, name.end);
        let Some(func) = Func::from_name(&text) else {
            return Err(self.stop(at, format!("unknown function with name {}", quote(&text))));
        };
        if func.signature().experimental && !self.options.experimental_functions {
            self.note(at, format!("function {} is not enabled", quote(&text)));
        }
        Ok(Expr::Call(Call { func, args, span }))
    }

    /// Whether what comes next cannot begin an argument.
    fn ends_arguments(&self) -> bool {
        match self.peek().kind {
            TokenKind::RightParen | TokenKind::Comma | TokenKind::RightBrace => true,
            TokenKind::Operator(op) => {
                let is_word = op.as_str().starts_with(|c: char| c.is_ascii_alphabetic());
                !is_word && !matches!(op, BinaryOp::Add | BinaryOp::Sub)
            }
            _ => false,
        }
    }

    /// `(expr, expr)`; leaves the depth of the deepest, with the level above them.
    pub(super) fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(&TokenKind::LeftParen, "", "")?;
        let mut args = Vec::new();
        let mut depth = 0;
        if !self.take(&TokenKind::RightParen) {
            loop {
                args.push(self.expression()?);
                depth = depth.max(self.depth);
                if self.take(&TokenKind::RightParen) {
                    break;
                }
                let comma = self.expect(&TokenKind::Comma, "", "")?;
                if self.ends_arguments() {
                    let span = Span::new(comma.start, comma.end);
                    return Err(
                        self.stop(span, "trailing commas not allowed in function call args")
                    );
                }
            }
        }
        self.depth = depth;
        self.deepen(0)?;
        Ok(args)
    }
}
