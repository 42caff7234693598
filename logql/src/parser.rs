//! Tokens to tree, by recursive descent: one function per production. Each place that refuses a
//! token names what it would take, in the order and with the silence (nothing where there are more
//! than four) of the parser generator that Loki uses.

mod metric;
mod pipeline;
mod selector;

use storage::model::Matcher;

use crate::ast::{BinaryOp, CompareOp, Expr, LogRange};
use crate::error::ParseError;
use crate::lexer::{Kind, Token, tokens};

/// How deep parentheses and functions may nest; a query is walked recursively.
const MAX_DEPTH: usize = 200;
/// How many binary operators a query may have, for the same reason.
const MAX_OPERATORS: usize = 1000;
/// How many brackets the label filters of a query may have. Printed, they have one for each of their operators.
const MAX_FILTER_BRACKETS: usize = MAX_OPERATORS;

/// Parses a query.
///
/// # Errors
/// [`ParseError`] worded as Loki words it.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expr(0)?;
    if parser.peek() != &Kind::End {
        return Err(parser.unexpected(&[]));
    }
    check_selectors(&expr)?;
    Ok(expr)
}

/// Parses a bare selector as the series and volume endpoints take it: `{}` is allowed, nothing may
/// follow.
///
/// # Errors
/// [`ParseError`]; `only label matchers are supported` where a pipeline follows.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expr(0)?;
    if parser.peek() != &Kind::End {
        return Err(parser.unexpected(&[]));
    }
    match expr {
        Expr::Log(log) if log.stages.is_empty() => Ok(log.matchers),
        _ => Err(ParseError::whole("only label matchers are supported")),
    }
}

fn check_selectors(expr: &Expr) -> Result<(), ParseError> {
    let check = |matchers: &[Matcher]| {
        if matchers.iter().all(Matcher::matches_empty) {
            return Err(ParseError::whole(
                "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
            ));
        }
        Ok(())
    };
    let range = |range: &LogRange| check(&range.log.matchers);
    match expr {
        Expr::Log(log) => check(&log.matchers),
        Expr::Range(e) => range(&e.range),
        Expr::Aggregate(e) => check_selectors(&e.inner),
        Expr::Binary(e) => check_selectors(&e.left).and_then(|()| check_selectors(&e.right)),
        Expr::LabelReplace(e) => check_selectors(&e.inner),
        Expr::Variants(e) => {
            range(&e.of)?;
            e.variants.iter().try_for_each(check_selectors)
        }
        Expr::Vector(_) | Expr::Literal(_) => Ok(()),
    }
}

pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    filter_brackets: usize,
    operators: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    fn new(text: &str) -> Parsed<Self> {
        Ok(Self {
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
            filter_brackets: 0,
            operators: 0,
        })
    }

    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Kind {
        &self.token().kind
    }

    fn peek_second(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn advance(&mut self) -> Kind {
        let kind = self.peek().clone();
        self.at += 1;
        kind
    }

    fn is(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(w) if *w == word)
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, word: &'static str, expecting: &[&str]) -> Parsed<()> {
        if self.eat(word) {
            Ok(())
        } else {
            Err(self.unexpected(expecting))
        }
    }

    fn identifier(&mut self, expecting: &[&str]) -> Parsed<String> {
        match self.peek() {
            Kind::Identifier(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(expecting)),
        }
    }

    fn text(&mut self, expecting: &[&str]) -> Parsed<String> {
        match self.peek() {
            Kind::Text(text) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected(expecting)),
        }
    }

    /// `(a, b)`, possibly empty.
    fn label_list(&mut self) -> Parsed<Vec<String>> {
        self.expect("(", &["("])?;
        let mut labels = Vec::new();
        if self.eat(")") {
            return Ok(labels);
        }
        loop {
            let expecting: &[&str] = if labels.is_empty() {
                &["IDENTIFIER", ")"]
            } else {
                &["IDENTIFIER"]
            };
            labels.push(self.identifier(expecting)?);
            if self.eat(")") {
                return Ok(labels);
            }
            self.expect(",", &[",", ")"])?;
        }
    }

    fn unexpected(&self, expecting: &[&str]) -> ParseError {
        let token = self.token();
        let mut message = format!("syntax error: unexpected {}", name(&token.kind));
        for (i, what) in expecting.iter().enumerate() {
            message.push_str(if i == 0 { ", expecting " } else { " or " });
            message.push_str(what);
        }
        ParseError::at(token.line, token.column, message)
    }

    fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(ParseError::whole("expression has too many operators"));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError::whole("expression nests too deeply"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }
}

/// What an error calls a token.
fn name(kind: &Kind) -> String {
    match kind {
        Kind::Identifier(_) => "IDENTIFIER".to_owned(),
        Kind::Text(_) => "STRING".to_owned(),
        Kind::Number(_) => "NUMBER".to_owned(),
        Kind::Duration(_) => "DURATION".to_owned(),
        Kind::Bytes(_) => "BYTES".to_owned(),
        Kind::Range(_) => "RANGE".to_owned(),
        Kind::Flag(_) => "PARSER_FLAG".to_owned(),
        Kind::End => "$end".to_owned(),
        Kind::Word(word) => match *word {
            "bytes" => "BYTES_CONV".to_owned(),
            "duration" => "DURATION_CONV".to_owned(),
            "duration_seconds" => "DURATION_SECONDS_CONV".to_owned(),
            word if metric::is_function(word) => word.to_uppercase(),
            word => word.to_owned(),
        },
    }
}

/// The comparison that a word spells.
fn compare_op(word: &str) -> Option<CompareOp> {
    Some(match word {
        "==" => CompareOp::Equal,
        "!=" => CompareOp::NotEqual,
        ">" => CompareOp::Greater,
        ">=" => CompareOp::GreaterOrEqual,
        "<" => CompareOp::Less,
        "<=" => CompareOp::LessOrEqual,
        _ => return None,
    })
}

fn binary_op(word: &str) -> Option<BinaryOp> {
    Some(match word {
        "or" => BinaryOp::Or,
        "and" => BinaryOp::And,
        "unless" => BinaryOp::Unless,
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Mod,
        "^" => BinaryOp::Pow,
        word => BinaryOp::Compare(compare_op(word)?),
    })
}

#[cfg(test)]
mod tests;
