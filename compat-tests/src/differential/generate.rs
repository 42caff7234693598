//! Draws expressions: a function for each type, each of which draws among the ways to build that type.
//!
//! Labels, metrics and times are those of the dataset, so that most expressions find something; a few are of the wrong type
//! on purpose, for what is said of an error is compared too.

mod calls;
mod literals;
mod operations;
mod selectors;

use super::dice::Dice;
use super::tree::{Expr, Kind};

/// How deep trees grow.
const DEPTH: usize = 4;

/// Draws expressions.
#[derive(Debug)]
pub struct Generator<'a> {
    dice: &'a mut Dice,
}

impl<'a> Generator<'a> {
    /// One that draws by these dice.
    pub fn new(dice: &'a mut Dice) -> Self {
        Self { dice }
    }

    /// An expression of any type, most often an instant vector.
    pub fn expression(&mut self) -> Expr {
        let depth = 1 + self.dice.below(DEPTH);
        match self.dice.weighed(&[82, 9, 7, 2]) {
            0 => self.vector(depth),
            1 => self.scalar(depth),
            2 => self.matrix(depth),
            _ => self.text(),
        }
    }

    /// An expression of a type; in one draw of a hundred, of another.
    fn of_kind(&mut self, kind: Kind, depth: usize) -> Expr {
        let kind = if self.dice.chance(1) {
            *self
                .dice
                .pick(&[Kind::Scalar, Kind::Vector, Kind::Matrix, Kind::Text])
        } else {
            kind
        };
        match kind {
            Kind::Scalar => self.scalar(depth),
            Kind::Vector => self.vector(depth),
            Kind::Matrix => self.matrix(depth),
            Kind::Text => self.text(),
        }
    }

    fn vector(&mut self, depth: usize) -> Expr {
        if depth == 0 {
            return self.instant();
        }
        match self.dice.weighed(&[12, 34, 22, 26, 3, 3]) {
            0 => self.instant(),
            1 => self.call(Kind::Vector, depth - 1),
            2 => self.aggregation(depth - 1),
            3 => self.operation(depth - 1),
            4 => self.signed(Kind::Vector, depth - 1),
            _ => Expr::Paren(Box::new(self.of_kind(Kind::Vector, depth - 1))),
        }
    }

    fn scalar(&mut self, depth: usize) -> Expr {
        if depth == 0 {
            return Expr::Number(self.number());
        }
        match self.dice.weighed(&[40, 30, 20, 7, 3]) {
            0 => Expr::Number(self.number()),
            1 => self.call(Kind::Scalar, depth - 1),
            2 => self.scalar_operation(depth - 1),
            3 => self.signed(Kind::Scalar, depth - 1),
            _ => Expr::Paren(Box::new(self.scalar(depth - 1))),
        }
    }

    fn matrix(&mut self, depth: usize) -> Expr {
        if depth == 0 || self.dice.chance(70) {
            return self.range();
        }
        if self.dice.chance(3) {
            return Expr::Paren(Box::new(self.matrix(depth - 1)));
        }
        let kind = if self.dice.chance(8) {
            Kind::Scalar
        } else {
            Kind::Vector
        };
        let inner = Box::new(self.of_kind(kind, depth - 1));
        Expr::Subquery {
            inner,
            range: self.duration(),
            step: self.dice.chance(60).then(|| self.subquery_step()),
            modifiers: self.modifiers(),
        }
    }

    fn signed(&mut self, kind: Kind, depth: usize) -> Expr {
        let sign = if self.dice.chance(80) { '-' } else { '+' };
        let inner = Box::new(self.of_kind(kind, depth));
        Expr::Signed { sign, inner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Expr {
        Generator::new(&mut Dice::new(seed, 7)).expression()
    }

    #[test]
    fn a_seed_draws_the_same_expression() {
        let texts: Vec<String> = (0..200).map(|seed| drawn(seed).to_string()).collect();
        assert!((0..200).all(|seed| drawn(seed).to_string() == texts[seed as usize]));
        let mut other = texts.clone();
        other.sort();
        other.dedup();
        assert!(other.len() > 190, "{} of 200 are different", other.len());
    }

    /// Brackets outside of quotes open and close in pairs, and quotes are closed.
    fn is_balanced(text: &str) -> bool {
        let (mut open, mut quote, mut escaped) = (Vec::new(), None, false);
        for c in text.chars() {
            match (quote, c) {
                (Some(_), _) if escaped => escaped = false,
                (Some('"' | '\''), '\\') => escaped = true,
                (Some(q), c) if c == q => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'' | '`') => quote = Some(c),
                (None, '(' | '[' | '{') => open.push(c),
                (None, ')') if open.pop() != Some('(') => return false,
                (None, ']') if open.pop() != Some('[') => return false,
                (None, '}') if open.pop() != Some('{') => return false,
                (None, _) => {}
            }
        }
        open.is_empty() && quote.is_none()
    }

    #[test]
    fn every_expression_is_balanced_and_no_deeper_than_its_bound() {
        fn depth(expr: &Expr) -> usize {
            1 + expr.children().into_iter().map(depth).max().unwrap_or(0)
        }
        for seed in 0..3000 {
            let expr = drawn(seed);
            assert!(is_balanced(&expr.to_string()), "{expr}");
            assert!(depth(&expr) <= 2 * DEPTH + 2, "{expr}");
        }
    }
}
