//! Tokens to tree: the entry points, and expressions by precedence climbing. Each other production has a file of its own.
//!
//! Faults of syntax end the parse at once; what a production finds wrong in what it has read (an unknown function, an
//! offset set twice) is noted and the parse goes on. The first error noted is the one reported.

mod aggregate;
mod binary;
mod call;
mod duration;
mod selector;

use storage::model::Matcher;

use crate::ast::{BinaryOp, Expr, NumberLiteral, Paren, Span, StringLiteral, Unary, UnaryOp};
use crate::check::check;
use crate::error::ParseError;
use crate::lexer::{Keyword, Token, TokenKind, tokens};
use crate::lexer::{parse_duration, parse_number};

/// Parentheses, calls and signs within each other. Each costs stack while parsing.
const MAX_NESTING: usize = 200;
/// Depth of the tree; a chain of operators is as deep as it is long. Each level costs stack in every walk of the tree.
const MAX_DEPTH: usize = 1000;

/// Parts of the language that are off by default, by upstream's names of the features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// `promql-experimental-functions`: functions and aggregations marked as experimental.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything that the language has.
    pub const ALL: Self = Self {
        experimental_functions: true,
        extended_range_selectors: true,
        fill_modifiers: true,
    };
}

/// Parses a query and checks its types.
///
/// # Errors
/// The first error found, with its place.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, *options);
    if parser.tokens.len() == 1 && parser.peek().kind == TokenKind::End {
        return Err(ParseError::new(text, 0, 0, "no expression found in input"));
    }
    let expr = parser.whole(Parser::expression);
    match (expr, parser.errors.into_iter().next()) {
        (Some(mut expr), None) => {
            check(&mut expr, text)?;
            Ok(expr)
        }
        (_, Some(error)) => Err(error),
        (None, None) => Err(ParseError::new(text, 0, 0, "no expression found in input")),
    }
}

/// Parses a selector of series alone (`up{job="node"}`), as `match[]` takes it. It may select everything.
///
/// # Errors
/// The first error found, with its place.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default());
    let selector = parser.whole(Parser::bare_selector);
    match (selector, parser.errors.into_iter().next()) {
        (Some(selector), None) => Ok(selector.matchers),
        (_, Some(error)) => Err(error),
        (None, None) => Err(ParseError::new(text, 0, 0, "unexpected end of input")),
    }
}

/// The parse cannot go on; why is noted in [`Parser::errors`].
struct Stop;

type Parsed<T> = Result<T, Stop>;

struct Parser<'a> {
    text: &'a str,
    /// Never empty: the last one is the end or a fault.
    tokens: Vec<Token>,
    at: usize,
    options: ParseOptions,
    errors: Vec<ParseError>,
    nesting: usize,
    /// Aggregations that are being read, which a fault without a nearer context is told of.
    aggregations: usize,
    /// Depth of the expression read last.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, options: ParseOptions) -> Self {
        let tokens = tokens(text);
        Self {
            text,
            tokens,
            at: 0,
            options,
            errors: Vec::new(),
            nesting: 0,
            aggregations: 0,
            depth: 0,
        }
    }

    /// Reads one production and then the end of the text.
    fn whole<T>(&mut self, production: fn(&mut Self) -> Parsed<T>) -> Option<T> {
        let value = production(self).ok()?;
        if self.peek().kind != TokenKind::End {
            let Stop = self.unexpected("", "");
            return None;
        }
        Some(value)
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.operators(0)
    }

    /// Operands joined by operators that bind at least as tightly as `least`.
    fn operators(&mut self, least: u8) -> Parsed<Expr> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.too_deep());
        }
        let mut lhs = self.signed()?;
        while let TokenKind::Operator(op) = self.peek().kind {
            let binding = precedence(op);
            if binding < least {
                break;
            }
            let depth = self.depth;
            lhs = self.binary(
                lhs,
                op,
                if op == BinaryOp::Pow {
                    binding
                } else {
                    binding + 1
                },
            )?;
            self.deepen(depth)?;
        }
        self.nesting -= 1;
        Ok(lhs)
    }

    /// An operand with signs before it. A sign binds as tightly as a product: `-a ^ b` is `-(a ^ b)`.
    fn signed(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        let Some(op) = self.sign() else {
            let operand = self.operand()?;
            return self.modifiers(operand);
        };
        let operand = self.operators(precedence(BinaryOp::Pow))?;
        if let Expr::Number(mut number) = operand {
            if op == UnaryOp::Minus {
                number.value = -number.value;
            }
            number.span.start = start;
            return Ok(Expr::Number(number));
        }
        self.deepen(0)?;
        let span = Span::new(start, operand.span().end);
        Ok(Expr::Unary(Unary {
            op,
            expr: Box::new(operand),
            span,
        }))
    }

    /// Takes a sign, if one comes next.
    fn sign(&mut self) -> Option<UnaryOp> {
        let op = match self.peek().kind {
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return None,
        };
        self.at += 1;
        Some(op)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        self.depth = 1;
        let token = self.peek().clone();
        let span = Span::new(token.start, token.end);
        match token.kind {
            TokenKind::Number | TokenKind::Duration => Ok(Expr::Number(self.number()?)),
            TokenKind::String(bytes) => {
                self.at += 1;
                Ok(Expr::String(string_literal(bytes, span)))
            }
            TokenKind::LeftParen => {
                self.at += 1;
                let expr = Box::new(self.expression()?);
                let end = self.expect(&TokenKind::RightParen, "", "")?.end;
                self.deepen(0)?;
                Ok(Expr::Paren(Paren {
                    expr,
                    span: Span::new(span.start, end),
                }))
            }
            TokenKind::Identifier
            | TokenKind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range)
                if self.peek_second() == &TokenKind::LeftParen =>
            {
                self.call()
            }
            TokenKind::Aggregate(op)
                if matches!(
                    self.peek_second(),
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without)
                ) =>
            {
                self.aggregate(op)
            }
            _ => Ok(Expr::Vector(self.bare_selector()?)),
        }
    }

    /// A number or a duration in seconds, without a sign.
    fn number(&mut self) -> Parsed<NumberLiteral> {
        let token = self.next();
        let span = Span::new(token.start, token.end);
        let text = &self.text[token.start..token.end];
        let duration = token.kind == TokenKind::Duration;
        let value = if duration {
            parse_duration(text).map(|ms| ms as f64 / 1000.0)
        } else {
            parse_number(text)
        };
        match value {
            Ok(value) => Ok(NumberLiteral {
                value,
                duration,
                span,
            }),
            Err(message) => Err(self.stop(span, message)),
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// What the token after the next one is.
    fn peek_second(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Takes the next token where it is of this kind.
    fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.peek().kind == *kind;
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, kind: &TokenKind, context: &str, expected: &str) -> Parsed<Token> {
        if self.peek().kind == *kind {
            Ok(self.next())
        } else {
            Err(self.unexpected(context, expected))
        }
    }

    /// Where the token taken last ended.
    fn last_end(&self) -> usize {
        self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].end
    }

    /// Notes that the next token cannot stand here.
    fn unexpected(&mut self, context: &str, expected: &str) -> Stop {
        let token = self.peek().clone();
        let mut message = match &token.kind {
            TokenKind::Fault(message) => message.clone(),
            _ => format!("unexpected {}", token.describe(self.text)),
        };
        let context = match context {
            "" if self.aggregations > 0 => "aggregation",
            context => context,
        };
        if !matches!(token.kind, TokenKind::Fault(_)) {
            if !context.is_empty() {
                message.push_str(" in ");
                message.push_str(context);
            }
            if !expected.is_empty() {
                message.push_str(", expected ");
                message.push_str(expected);
            }
        }
        self.stop(Span::new(token.start, token.end), message)
    }

    /// Notes an error that ends the parse.
    fn stop(&mut self, span: Span, message: impl Into<String>) -> Stop {
        self.note(span, message);
        Stop
    }

    /// Notes an error; the parse goes on.
    fn note(&mut self, span: Span, message: impl Into<String>) {
        self.errors
            .push(ParseError::new(self.text, span.start, span.end, message));
    }

    /// The tree grows by one level above the expression read last and a sibling of depth `beside`.
    fn deepen(&mut self, beside: usize) -> Parsed<()> {
        self.depth = self.depth.max(beside) + 1;
        if self.depth > MAX_DEPTH {
            Err(self.too_deep())
        } else {
            Ok(())
        }
    }

    fn too_deep(&mut self) -> Stop {
        let token = self.peek();
        let span = Span::new(token.start, token.end);
        self.stop(span, "expression is nested too deeply")
    }
}

/// How tightly an operator binds; all associate to the left but `^`.
pub(crate) const fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}

fn string_literal(bytes: Vec<u8>, span: Span) -> StringLiteral {
    match String::from_utf8(bytes) {
        Ok(value) => StringLiteral {
            value,
            invalid_utf8: None,
            span,
        },
        Err(error) => StringLiteral {
            value: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            invalid_utf8: Some(error.into_bytes()),
            span,
        },
    }
}

#[cfg(test)]
mod tests;
