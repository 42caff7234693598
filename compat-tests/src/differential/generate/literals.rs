//! Numbers, durations, texts and times, in every way to write them.

use super::Generator;
use crate::differential::family::{BEGIN_MS, LABEL_NAMES, LENGTH_MS};
use crate::differential::tree::{Expr, quoted};

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "1",
    "2",
    "3",
    "5",
    "10",
    "60",
    "100",
    "0.5",
    ".25",
    "3.",
    "1e3",
    "1e-3",
    "2.5E+2",
    "0x1F",
    "0b101",
    "0o17",
    "017",
    "1_000",
    "Inf",
    "inf",
    "NaN",
    "nan",
    "1h",
    "90s",
    "1m30s",
    "1500ms",
    "1e308",
    "5e-324",
    "9007199254740993",
    "0.1",
    "7",
];
const FRACTIONS: &[&str] = &[
    "0.5", "0.9", "0.99", "0.25", "0", "1", "0.1", "-0.5", "1.5", "NaN", "Inf", "-Inf", "0.001",
];
const DURATIONS: &[&str] = &[
    "1m", "1m", "2m", "5m", "5m", "10m", "30s", "90s", "45s", "1m30s", "15s", "20s", "1s", "20m",
    "300", "61.5", "1h", "500ms", "0x3c", "1d",
];
const DURATION_EXPRESSIONS: &[&str] = &[
    "1m + 30s",
    "2 * 1m",
    "5m / 2",
    "1m ^ 1",
    "7m % 4m",
    "step()",
    "step() * 2",
    "step() + 1m",
    "range()",
    "range() / 4 + 1m",
    "min_of(step(), 1m)",
    "max_of(step(), 2m)",
    "max_of(1m, 90s) + 15",
    "(1m + 1m) * 2",
    "-(1m) + 2m",
    "-step() + 5m",
    "5m - 1m - 1m",
    "1m - 1m",
    "1m - 2m",
    "2 ^ 3 ^ 1 * 10",
];
const LABEL_VALUES: &[&str] = &[
    "api", "web", "a:1", "b:1", "200", "404", "500", "GET", "x", "p", "1.0", "", "none", "Zürich",
    "nan",
];
const REGEXES: &[&str] = &[
    ".*",
    ".+",
    "api|web",
    "a.*",
    "(.*):(.*)",
    "[ab]:1",
    "4..|5..",
    "",
    "x?",
    "(?i)API",
    "^web$",
    "no.*",
    "(?P<host>.+):\\d+",
    "[",
];

impl Generator<'_> {
    /// A number without a sign.
    pub(super) fn number(&mut self) -> String {
        (*self.dice.pick(NUMBERS)).to_owned()
    }

    /// A scalar that is most often from 0 to 1.
    pub(super) fn fraction(&mut self, depth: usize) -> Expr {
        if depth > 0 && self.dice.chance(10) {
            return self.scalar(depth);
        }
        Expr::Number((*self.dice.pick(FRACTIONS)).to_owned())
    }

    /// What stands in the brackets of a range.
    pub(super) fn duration(&mut self) -> String {
        let list = if self.dice.chance(12) {
            DURATION_EXPRESSIONS
        } else {
            DURATIONS
        };
        (*self.dice.pick(list)).to_owned()
    }

    /// The step of a subquery: none so small that the answer grows large.
    pub(super) fn subquery_step(&mut self) -> String {
        (*self.dice.pick(&[
            "15s", "30s", "1m", "7s", "45s", "2m", "step()", "1m / 2", "20",
        ]))
        .to_owned()
    }

    /// What stands behind `offset`.
    pub(super) fn offset(&mut self) -> String {
        if self.dice.chance(15) {
            let term = [
                "step()",
                "-step()",
                "(1m + 30s)",
                "-(1m * 2)",
                "(range() / 4)",
                "max_of(1m, step())",
                "-min_of(30s, step())",
            ];
            return (*self.dice.pick(&term)).to_owned();
        }
        let sign = if self.dice.chance(35) { "-" } else { "" };
        format!("{sign}{}", self.dice.pick(DURATIONS))
    }

    /// What stands behind `@`.
    pub(super) fn at(&mut self) -> String {
        match self.dice.below(6) {
            0 | 1 => "start()".to_owned(),
            2 | 3 => "end()".to_owned(),
            4 => (BEGIN_MS / 1000 + self.dice.between(-60, LENGTH_MS / 1000)).to_string(),
            _ => {
                let ms = BEGIN_MS + self.dice.between(0, LENGTH_MS);
                format!("{}.{:03}", ms / 1000, ms % 1000)
            }
        }
    }

    pub(super) fn label_name(&mut self) -> String {
        (*self.dice.pick(LABEL_NAMES)).to_owned()
    }

    pub(super) fn label_names(&mut self, most: usize) -> Vec<String> {
        (0..self.dice.below(most + 1))
            .map(|_| self.label_name())
            .collect()
    }

    pub(super) fn label_value(&mut self) -> String {
        (*self.dice.pick(LABEL_VALUES)).to_owned()
    }

    pub(super) fn regex(&mut self) -> String {
        // The last of the list is no regular expression.
        let known = if self.dice.chance(3) {
            REGEXES
        } else {
            &REGEXES[..REGEXES.len() - 1]
        };
        (*self.dice.pick(known)).to_owned()
    }

    /// A text in any of the three kinds of quotes.
    pub(super) fn text(&mut self) -> Expr {
        let texts = [
            "x",
            "",
            "a b",
            "é€",
            "new",
            "value",
            "tab\\there",
            "\\u00fc",
            "\\x41",
        ];
        let inner = *self.dice.pick(&texts);
        Expr::Text(match self.dice.below(6) {
            0 => format!("'{inner}'"),
            1 => format!("`{inner}`"),
            _ => format!("\"{inner}\""),
        })
    }

    /// A label's name as a text; rarely one that may not be.
    pub(super) fn label_text(&mut self) -> Expr {
        let odd = ["dst", "new_label", "dst", "~bad", "", "é"];
        let name = if self.dice.chance(40) {
            (*self.dice.pick(&odd)).to_owned()
        } else {
            self.label_name()
        };
        Expr::Text(quoted(&name))
    }

    /// What a `label_replace` puts in place.
    pub(super) fn replacement(&mut self) -> Expr {
        let texts = [
            "$1", "$2-$1", "${1}x", "fixed", "", "$host", "$$", "$9", "é$1",
        ];
        Expr::Text(quoted(self.dice.pick::<&str>(&texts)))
    }
}
