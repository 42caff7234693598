//! One case: an expression and how it is asked, drawn from a seed and a number.

use super::dice::Dice;
use super::family::{BEGIN_MS, LENGTH_MS};
use super::generate::Generator;
use super::tree::Expr;
use crate::case::Request;

/// What is asked, and for when.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The expression.
    pub expr: Expr,
    /// A fault in its text, for what is said of it.
    pub fault: Option<Fault>,
    /// The times that are asked for.
    pub time: Time,
}

/// The times of a query, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// At one time.
    Instant(i64),
    /// From the first to the second, every third.
    Range(i64, i64, i64),
}

/// A fault that a hand at a keyboard makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A character is missing.
    Missing(usize),
    /// A character comes twice.
    Twice(usize),
    /// The end is missing from here.
    Cut(usize),
    /// Another character stands there.
    Other(usize, char),
}

impl Fault {
    fn draw(dice: &mut Dice) -> Self {
        let at = dice.below(1000);
        match dice.below(4) {
            0 => Self::Missing(at),
            1 => Self::Twice(at),
            2 => Self::Cut(at),
            _ => Self::Other(
                at,
                *dice.pick(&['(', ')', '"', '@', '!', '-', ',', '5', ' ', '{', '[', 'é']),
            ),
        }
    }

    /// The text with the fault in it; a place beyond the end counts on from the beginning.
    fn apply(self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let place = |at: usize| at % chars.len().max(1);
        match self {
            Self::Missing(at) => {
                let at = place(at);
                chars.remove(at);
            }
            Self::Twice(at) => {
                let at = place(at);
                chars.insert(at, chars[at]);
            }
            Self::Cut(at) => {
                let at = place(at);
                chars.truncate(at);
            }
            Self::Other(at, c) => {
                let at = place(at);
                chars[at] = c;
            }
        }
        chars.into_iter().collect()
    }
}

impl Case {
    /// Case `number` of a seed; it depends on nothing else.
    #[must_use]
    pub fn draw(seed: u64, number: u64) -> Self {
        let mut dice = Dice::new(seed, number);
        let time = Time::draw(&mut dice);
        let fault = dice.chance(4).then(|| Fault::draw(&mut dice));
        let expr = Generator::new(&mut dice).expression();
        Self { expr, fault, time }
    }

    /// The expression as it is sent.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self.expr.to_string();
        match self.fault {
            Some(fault) => fault.apply(&text),
            None => text,
        }
    }

    /// The request, which both servers get.
    #[must_use]
    pub fn request(&self) -> Request {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (path, times) = match self.time {
            Time::Instant(at) => ("/api/v1/query", vec![("time", seconds(at))]),
            Time::Range(start, end, step) => (
                "/api/v1/query_range",
                vec![
                    ("start", seconds(start)),
                    ("end", seconds(end)),
                    ("step", seconds(step)),
                ],
            ),
        };
        let mut params = vec![("query".to_owned(), self.text())];
        params.extend(
            times
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        Request {
            method: "FORM".to_owned(),
            path: path.to_owned(),
            params,
            ..Request::default()
        }
    }

    /// How large it is: shrinking makes it less.
    #[must_use]
    pub fn weight(&self) -> usize {
        let time = match self.time {
            Time::Instant(at) => 1 + usize::from(at % 60_000 != 0),
            Time::Range(start, end, step) => {
                10 + usize::from(start % 60_000 != 0) + ((end - start) / step.max(1)) as usize
            }
        };
        self.expr.weight() + time + 100 * usize::from(self.fault.is_some())
    }
}

impl Time {
    fn draw(dice: &mut Dice) -> Self {
        let sub_second = if dice.chance(25) {
            dice.between(0, 999)
        } else {
            0
        };
        let from = dice.between(-2, LENGTH_MS / 60_000 + 6) * 60_000;
        let from = BEGIN_MS
            + from
            + if dice.chance(40) {
                dice.between(0, 59) * 1000 + sub_second
            } else {
                0
            };
        if dice.chance(45) {
            return Self::Instant(from);
        }
        let step = *dice.pick(&[
            15_000, 60_000, 60_000, 30_000, 7_000, 61_000, 300_000, 1_500, 600_000,
        ]);
        let steps = dice.between(0, 40);
        let end = from + steps * step + if dice.chance(20) { step / 3 } else { 0 };
        Self::Range(from, end, step)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match *self {
            Self::Instant(at) => write!(f, "at {}", seconds(at)),
            Self::Range(start, end, step) => write!(
                f,
                "from {} to {} every {} s",
                seconds(start),
                seconds(end),
                seconds(step)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_same_whenever_it_is_drawn() {
        let all: Vec<Case> = (0..300).map(|n| Case::draw(1, n)).collect();
        assert_eq!(Case::draw(1, 250), all[250]);
        assert_ne!(Case::draw(2, 250), all[250]);
    }

    #[test]
    fn a_fault_changes_the_text_wherever_it_falls() {
        for (fault, text) in [
            (Fault::Missing(1), "rte(é)"),
            (Fault::Twice(5), "rate(éé)"),
            (Fault::Cut(1004), "rat"),
            (Fault::Other(6, '['), "rate(é["),
        ] {
            assert_eq!(fault.apply("rate(é)"), text);
        }
    }
}
