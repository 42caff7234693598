//! Every function of Prometheus 3.14, and what each takes.

use super::Generator;
use crate::differential::family::Shape;
use crate::differential::tree::{Expr, Kind};

/// What a function takes: a letter each, in one text for each number of arguments that it may have.
///
/// `v` vector, `h` vector of histograms, `b` vector of buckets, `i` vector of info series, `m` range vector, `s` scalar,
/// `q` scalar from 0 to 1, `l` name of a label, `r` regular expression, `x` replacement, `t` any text.
type Takes = &'static [&'static str];

const VECTORS: &[(&str, Takes)] = &[
    ("abs", &["v"]),
    ("absent", &["v"]),
    ("absent_over_time", &["m"]),
    ("acos", &["v"]),
    ("acosh", &["v"]),
    ("asin", &["v"]),
    ("asinh", &["v"]),
    ("atan", &["v"]),
    ("atanh", &["v"]),
    ("avg_over_time", &["m"]),
    ("ceil", &["v"]),
    ("changes", &["m"]),
    ("clamp", &["vss"]),
    ("clamp_max", &["vs"]),
    ("clamp_min", &["vs"]),
    ("cos", &["v"]),
    ("cosh", &["v"]),
    ("count_over_time", &["m"]),
    ("day_of_month", &["", "v"]),
    ("day_of_week", &["", "v"]),
    ("day_of_year", &["", "v"]),
    ("days_in_month", &["", "v"]),
    ("deg", &["v"]),
    ("delta", &["m"]),
    ("deriv", &["m"]),
    ("double_exponential_smoothing", &["mqq"]),
    ("exp", &["v"]),
    ("first_over_time", &["m"]),
    ("floor", &["v"]),
    ("histogram_avg", &["h"]),
    ("histogram_count", &["h"]),
    ("histogram_fraction", &["ssh", "qsb"]),
    ("histogram_quantile", &["qh", "qb"]),
    ("histogram_quantiles", &["hlq", "blqq", "hlqqq"]),
    ("histogram_stddev", &["h"]),
    ("histogram_stdvar", &["h"]),
    ("histogram_sum", &["h"]),
    ("hour", &["", "v"]),
    ("idelta", &["m"]),
    ("increase", &["m"]),
    ("info", &["v", "vi"]),
    ("irate", &["m"]),
    ("label_join", &["vltl", "vltll", "vlt"]),
    ("label_replace", &["vlxlr"]),
    ("last_over_time", &["m"]),
    ("ln", &["v"]),
    ("log10", &["v"]),
    ("log2", &["v"]),
    ("mad_over_time", &["m"]),
    ("max_over_time", &["m"]),
    ("min_over_time", &["m"]),
    ("minute", &["", "v"]),
    ("month", &["", "v"]),
    ("predict_linear", &["ms"]),
    ("present_over_time", &["m"]),
    ("quantile_over_time", &["qm"]),
    ("rad", &["v"]),
    ("rate", &["m"]),
    ("resets", &["m"]),
    ("round", &["v", "vs"]),
    ("sgn", &["v"]),
    ("sin", &["v"]),
    ("sinh", &["v"]),
    ("sort", &["v"]),
    ("sort_by_label", &["vl", "vll", "v"]),
    ("sort_by_label_desc", &["vl", "vll", "v"]),
    ("sort_desc", &["v"]),
    ("sqrt", &["v"]),
    ("start_timestamp", &["v"]),
    ("stddev_over_time", &["m"]),
    ("stdvar_over_time", &["m"]),
    ("sum_over_time", &["m"]),
    ("tan", &["v"]),
    ("tanh", &["v"]),
    ("timestamp", &["v"]),
    ("ts_of_first_over_time", &["m"]),
    ("ts_of_last_over_time", &["m"]),
    ("ts_of_max_over_time", &["m"]),
    ("ts_of_min_over_time", &["m"]),
    ("vector", &["s"]),
    ("year", &["", "v"]),
];

const SCALARS: &[(&str, Takes)] = &[
    ("end", &[""]),
    ("max_of", &["ss"]),
    ("min_of", &["ss"]),
    ("pi", &[""]),
    ("range", &[""]),
    ("scalar", &["v"]),
    ("start", &[""]),
    ("step", &[""]),
    ("time", &[""]),
];

impl Generator<'_> {
    pub(super) fn call(&mut self, returns: Kind, depth: usize) -> Expr {
        let list = match returns {
            Kind::Scalar => SCALARS,
            _ => VECTORS,
        };
        let (mut name, mut takes) = *self.dice.pick(list);
        // The functions of counters are the ones in daily use, and the ones with the most to them.
        if returns == Kind::Vector && self.dice.chance(12) {
            name = *self
                .dice
                .pick(&["rate", "increase", "irate", "delta", "resets", "changes"]);
            takes = &["m"];
        }
        let mut letters = *self.dice.pick(takes);
        if self.dice.chance(1) {
            letters = *self.dice.pick(&["", "v", "ss", "m", "vs"]);
        }
        let args = letters.chars().map(|c| self.argument(c, depth)).collect();
        Expr::Call {
            name,
            returns,
            args,
        }
    }

    fn argument(&mut self, letter: char, depth: usize) -> Expr {
        let shapes: &[Shape] = match letter {
            'h' => &[
                Shape::Native,
                Shape::NativeFloat,
                Shape::NativeCustom,
                Shape::Mixed,
            ],
            'b' => &[Shape::Buckets, Shape::BrokenBuckets],
            'i' => &[Shape::Info],
            _ => &[],
        };
        match letter {
            'm' => self.of_kind(Kind::Matrix, depth),
            's' => self.of_kind(Kind::Scalar, depth),
            'q' => self.fraction(depth),
            'l' => self.label_text(),
            'r' => Expr::Text(crate::differential::tree::quoted(&self.regex())),
            'x' => self.replacement(),
            't' => self.of_kind(Kind::Text, 0),
            'i' => self.info_selector(),
            'v' => self.of_kind(Kind::Vector, depth),
            _ if depth > 0 && self.dice.chance(40) => {
                let inner = self.range_of(shapes);
                let args = vec![inner];
                let name = *self.dice.pick(&[
                    "rate",
                    "increase",
                    "sum_over_time",
                    "last_over_time",
                    "avg_over_time",
                ]);
                let rate = Expr::Call {
                    name,
                    returns: Kind::Vector,
                    args,
                };
                if self.dice.chance(50) {
                    return rate;
                }
                self.summed(rate)
            }
            _ if self.dice.chance(15) => self.of_kind(Kind::Vector, depth),
            _ => self.instant_of(shapes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_sorted_and_as_many_as_upstreams() {
        for list in [VECTORS, SCALARS] {
            assert!(list.is_sorted_by(|a, b| a.0 < b.0));
        }
        assert_eq!(VECTORS.len() + SCALARS.len(), 90);
    }
}
