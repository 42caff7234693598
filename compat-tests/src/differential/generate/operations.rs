//! Operators between expressions, and aggregations.

use super::Generator;
use crate::differential::tree::{Expr, Grouping, Kind, Matching, Operator, quoted};

const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
const SETS: &[&str] = &["and", "or", "unless"];
const AGGREGATIONS: &[&str] = &[
    "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar",
];
const WITH_PARAMETER: &[&str] = &[
    "topk",
    "bottomk",
    "limitk",
    "limit_ratio",
    "quantile",
    "count_values",
];

impl Generator<'_> {
    /// An operation that gives a vector.
    pub(super) fn operation(&mut self, depth: usize) -> Expr {
        let (lhs, rhs) = match self.dice.weighed(&[50, 15, 15, 20]) {
            1 => (
                self.of_kind(Kind::Vector, depth),
                self.of_kind(Kind::Scalar, depth),
            ),
            2 => (
                self.of_kind(Kind::Scalar, depth),
                self.of_kind(Kind::Vector, depth),
            ),
            // The same on both sides, or nearly so: such operands surely find partners.
            3 => {
                let lhs = self.of_kind(Kind::Vector, depth);
                let rhs = if self.dice.chance(40) {
                    Expr::Signed {
                        sign: '-',
                        inner: Box::new(lhs.clone()),
                    }
                } else {
                    lhs.clone()
                };
                (lhs, rhs)
            }
            _ => (
                self.of_kind(Kind::Vector, depth),
                self.of_kind(Kind::Vector, depth),
            ),
        };
        let both = lhs.kind() == Kind::Vector && rhs.kind() == Kind::Vector;
        let mut op = self.operator(both);
        if both || self.dice.chance(1) {
            self.modify(&mut op);
        }
        Expr::Binary {
            lhs: Box::new(lhs),
            op,
            rhs: Box::new(rhs),
        }
    }

    pub(super) fn scalar_operation(&mut self, depth: usize) -> Expr {
        let mut op = self.operator(false);
        if COMPARISONS.contains(&op.symbol) {
            op.bool = !self.dice.chance(4);
        }
        let (lhs, rhs) = (self.scalar(depth), self.scalar(depth));
        Expr::Binary {
            lhs: Box::new(lhs),
            op,
            rhs: Box::new(rhs),
        }
    }

    fn operator(&mut self, sets: bool) -> Operator {
        let list = match self.dice.weighed(&[60, 25, if sets { 15 } else { 1 }]) {
            0 => ARITHMETIC,
            1 => COMPARISONS,
            _ => SETS,
        };
        let bool = match list {
            COMPARISONS => self.dice.chance(35),
            _ => self.dice.chance(1),
        };
        Operator {
            symbol: self.dice.pick::<&str>(list),
            bool,
            bare: self.dice.chance(25),
            ..Operator::default()
        }
    }

    fn modify(&mut self, op: &mut Operator) {
        let is_set = SETS.contains(&op.symbol);
        if self.dice.chance(55) {
            let on = self.dice.chance(55);
            let group = (self.dice.chance(if is_set { 1 } else { 45 })).then(|| {
                let side = *self.dice.pick(&["group_left", "group_right"]);
                (side, self.label_names(2))
            });
            // The joins that people write keep job and instance; others find out what is said of a bad one.
            let labels = match self.dice.below(5) {
                0 | 1 if on => vec!["job".to_owned(), "instance".to_owned()],
                0 | 1 => ["code", "method", "version", "shard", "kind", "region"]
                    .map(str::to_owned)
                    .to_vec(),
                2 if on => vec!["job".to_owned()],
                _ => self.label_names(3),
            };
            op.matching = Some(Matching { on, labels, group });
        }
        if self.dice.chance(if is_set { 1 } else { 14 }) {
            let words: &[&'static str] = match self.dice.below(4) {
                0 | 1 => &["fill"],
                2 => &["fill_left", "fill_right"],
                _ => self.dice.pick::<&[_]>(&[&["fill_left"], &["fill_right"]]),
            };
            for word in words {
                let sign = *self.dice.pick(&["", "", "-"]);
                let number = format!("{sign}{}", self.number());
                op.fills.push((word, number));
            }
        }
    }

    /// The sum that people take of the buckets of a histogram.
    pub(super) fn summed(&mut self, inner: Expr) -> Expr {
        let labels: &[&str] = self.dice.pick::<&[_]>(&[&["le"], &["job", "le"], &["job"]]);
        let grouping = Grouping {
            without: false,
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            behind: false,
        };
        let op = *self.dice.pick(&["sum", "sum", "avg"]);
        Expr::Aggregate {
            op,
            grouping: Some(grouping),
            param: None,
            inner: Box::new(inner),
        }
    }

    pub(super) fn aggregation(&mut self, depth: usize) -> Expr {
        let grouping = self.dice.chance(70).then(|| Grouping {
            without: self.dice.chance(35),
            labels: self.label_names(3),
            behind: self.dice.chance(40),
        });
        let inner = Box::new(self.of_kind(Kind::Vector, depth));
        if self.dice.chance(60) {
            let op = *self.dice.pick(AGGREGATIONS);
            return Expr::Aggregate {
                op,
                grouping,
                param: None,
                inner,
            };
        }
        let op = *self.dice.pick(WITH_PARAMETER);
        let param = match op {
            "count_values" => {
                let name = *self
                    .dice
                    .pick(&["value", "job", "v", "instance", "ville.nom", "~"]);
                Expr::Text(quoted(name))
            }
            "quantile" | "limit_ratio" => self.fraction(depth),
            _ if self.dice.chance(15) => self.of_kind(Kind::Scalar, depth),
            _ => Expr::Number(
                (*self
                    .dice
                    .pick(&["1", "2", "3", "5", "0", "100", "-1", "1.7"]))
                .to_owned(),
            ),
        };
        Expr::Aggregate {
            op,
            grouping,
            param: Some(Box::new(param)),
            inner,
        }
    }
}
