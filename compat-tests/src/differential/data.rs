//! The dataset: a few hundred series, the same for the same seed.

mod native;

use std::collections::BTreeMap;

use super::dice::Dice;
use super::family::{BEGIN_MS, FAMILIES, Family, LE, LENGTH_MS, STEP_MS, Shape};
use crate::feed::metrics::{Dataset, Labels, NAN, Point, PointValue, STALE, Series};
use native::Native;

/// The metric whose series tells which dataset a server holds.
pub const MARK: &str = "differential_dataset";

/// The dataset of a seed, its series in the order of their labels.
///
/// Each series begins with a staleness marker before all else, all at one time: a genuine Prometheus selects from its head
/// in the order in which series were created, and some answers (`limitk`, ties of `topk`, sums) follow that order.
///
/// With `all_buckets` histograms list empty buckets too, so that those of a series are laid out alike. Otherwise upstream puts
/// empty buckets into what it reads: those of all histograms in one of its chunks, and where those end depends on their size.
#[must_use]
pub fn dataset(seed: u64, all_buckets: bool) -> Dataset {
    let mut series: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
    for (at, family) in FAMILIES.iter().enumerate() {
        let mut dice = Dice::new(seed, at as u64);
        for (number, set) in family.label_sets().iter().enumerate() {
            let mut labels: Labels = set
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            labels.insert("__name__".to_owned(), family.name.to_owned());
            if labels.get("kind").is_some_and(|kind| kind == "no-number") && labels["le"] == "0.5" {
                labels.insert("le".to_owned(), "half".to_owned());
            }
            match family.shape {
                Shape::Info => info(&mut series, &mut dice, &labels),
                _ => {
                    let points = points(family, &mut dice, &labels, number, all_buckets);
                    series.insert(labels, points);
                }
            }
        }
    }
    let mark = [
        ("__name__", MARK.to_owned()),
        ("seed", mark(seed, all_buckets)),
    ];
    let mark = mark.map(|(name, value)| (name.to_owned(), value)).into();
    series.insert(mark, times().map(|t_ms| float(t_ms, 1.0)).collect());
    let series = series.into_iter().filter(|(_, points)| !points.is_empty());
    let series = series.map(|(labels, mut points)| {
        points.insert(0, stale(BEGIN_MS - LENGTH_MS));
        Series {
            labels,
            points,
            ..Series::default()
        }
    });
    Dataset {
        series: series.collect(),
        ..Dataset::default()
    }
}

/// What tells a dataset.
#[must_use]
pub fn mark(seed: u64, all_buckets: bool) -> String {
    let suffix = if all_buckets { ", all buckets" } else { "" };
    format!("{seed}{suffix}")
}

fn times() -> impl Iterator<Item = i64> {
    (0..=LENGTH_MS / STEP_MS).map(|k| BEGIN_MS + k * STEP_MS)
}

fn point(t_ms: i64, value: PointValue) -> Point {
    Point {
        t_ms,
        start_ms: None,
        value,
    }
}

fn float(t_ms: i64, value: f64) -> Point {
    let bits = if value.is_nan() { NAN } else { value.to_bits() };
    point(t_ms, PointValue::Float(bits))
}

fn stale(t_ms: i64) -> Point {
    point(t_ms, PointValue::Float(STALE))
}

/// A label changes at some time: one series ends with a staleness marker where the next begins.
fn info(series: &mut BTreeMap<Labels, Vec<Point>>, dice: &mut Dice, labels: &Labels) {
    let change = BEGIN_MS + STEP_MS * dice.between(20, 140);
    for (version, from, to) in [("1.0", i64::MIN, change), ("1.1", change, i64::MAX)] {
        let mut labels = labels.clone();
        labels.insert("version".to_owned(), version.to_owned());
        let mut points: Vec<Point> = times()
            .filter(|t| (from..to).contains(t))
            .map(|t_ms| float(t_ms, 1.0))
            .collect();
        if to != i64::MAX {
            points.push(stale(to));
        }
        series.insert(labels, points);
    }
}

fn points(
    family: &Family,
    dice: &mut Dice,
    labels: &Labels,
    number: usize,
    all_buckets: bool,
) -> Vec<Point> {
    let native = |native: Native| match all_buckets {
        true => native.with_all_buckets(),
        false => native,
    };
    match family.shape {
        Shape::Counter => counter(dice),
        Shape::Gauge | Shape::Info => gauge(dice, number % 5 == 4),
        Shape::Odd => times()
            .map(|t_ms| float(t_ms, odd(&labels["kind"])))
            .collect(),
        Shape::Gappy => gappy(dice),
        Shape::Partial => partial(dice),
        Shape::Buckets => buckets((number / LE.1.len()) as u64, &labels["le"]),
        Shape::BrokenBuckets => broken(dice, labels),
        Shape::Native => native(Native::integer(dice)).points(dice),
        Shape::NativeFloat => native(Native::float(dice, number % 2 == 1)).points(dice),
        Shape::NativeCustom => native(Native::custom(dice, number % 3 == 2)).points(dice),
        Shape::Mixed => native(Native::integer(dice)).mixed(dice),
    }
}

fn counter(dice: &mut Dice) -> Vec<Point> {
    let mut value = dice.between(0, 1000) as f64;
    let fraction = *dice.pick(&[1.0, 1.0, 0.25, 0.1]);
    times()
        .filter_map(|t_ms| {
            if dice.chance(2) {
                value = 0.0;
            }
            value += dice.between(0, 30) as f64 * fraction;
            (!dice.chance(2)).then(|| float(t_ms, value))
        })
        .collect()
}

fn gauge(dice: &mut Dice, odd: bool) -> Vec<Point> {
    let mut value = dice.between(-300, 300);
    times()
        .map(|t_ms| {
            value += dice.between(-9, 9);
            let tenths = value as f64 / 10.0;
            let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
            if odd && dice.chance(8) {
                return float(t_ms, *dice.pick(&special));
            }
            float(t_ms, tenths)
        })
        .collect()
}

fn odd(kind: &str) -> f64 {
    match kind {
        "denormal" => 5e-324,
        "huge" => f64::MAX,
        "inf" => f64::INFINITY,
        "large" => 9_007_199_254_740_993.0,
        "minus-inf" => f64::NEG_INFINITY,
        "minus-zero" => -0.0,
        "nan" => f64::NAN,
        "negative" => -2.5,
        "tiny" => 1e-300,
        _ => 0.0,
    }
}

fn gappy(dice: &mut Dice) -> Vec<Point> {
    let mut out = Vec::new();
    let mut silent_until = 0;
    for t_ms in times() {
        if t_ms < silent_until {
            continue;
        }
        let t_ms = t_ms + dice.between(-4000, 4000);
        match dice.below(30) {
            0 => {
                out.push(stale(t_ms));
                silent_until = t_ms + dice.between(0, 8) * 60_000;
            }
            1 => silent_until = t_ms + dice.between(0, 8) * 60_000,
            _ => out.push(float(t_ms, dice.between(-50, 50) as f64)),
        }
    }
    out
}

fn partial(dice: &mut Dice) -> Vec<Point> {
    let (a, b) = (dice.between(0, 180), dice.between(0, 180));
    let span = BEGIN_MS + a.min(b) * STEP_MS..=BEGIN_MS + a.max(b) * STEP_MS;
    let mut out: Vec<Point> = gauge(dice, false);
    out.retain(|p| span.contains(&p.t_ms));
    if dice.chance(50) {
        out.push(stale(span.end() + STEP_MS));
    }
    out
}

/// Every bucket of one histogram draws the same numbers, for those of a smaller bound are counted in it too.
fn buckets(seed: u64, le: &str) -> Vec<Point> {
    let bounds = ["0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
    let place = bounds.iter().position(|b| *b == le).unwrap_or(0);
    let mut dice = Dice::new(seed, 0);
    let mut count = 0;
    times()
        .filter_map(|t_ms| {
            if dice.chance(2) {
                count = 0;
            }
            for bucket in 0..bounds.len() {
                let observed = dice.between(0, 5);
                count += if bucket <= place { observed } else { 0 };
            }
            (!dice.chance(2)).then(|| float(t_ms, count as f64))
        })
        .collect()
}

fn broken(dice: &mut Dice, labels: &Labels) -> Vec<Point> {
    let le = labels["le"].as_str();
    let number: f64 = le.parse().unwrap_or(f64::INFINITY);
    let missing = match labels["kind"].as_str() {
        "gone" => number.is_finite(),
        "no-inf" => number.is_infinite(),
        _ => false,
    };
    if missing {
        return Vec::new();
    }
    let height = if number.is_finite() {
        number * 10.0
    } else {
        40.0
    };
    times()
        .enumerate()
        .map(|(k, t_ms)| {
            float(
                t_ms,
                (height * k as f64).floor() + dice.between(0, 9) as f64,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_data_and_another_seed_other_data() {
        let text = |seed, all| format!("{:?}", dataset(seed, all).series);
        assert_eq!(text(1, false), text(1, false));
        assert_ne!(text(1, false), text(2, false));
        assert_ne!(text(1, false), text(1, true));
    }

    #[test]
    fn there_are_a_few_hundred_series_with_samples_in_order_of_time() {
        let set = dataset(1, false);
        assert!(
            (200..500).contains(&set.series.len()),
            "{}",
            set.series.len()
        );
        for series in &set.series {
            let times: Vec<i64> = series.points.iter().map(|p| p.t_ms).collect();
            assert!(times.is_sorted_by(|a, b| a < b), "{:?}", series.labels);
        }
        assert!(set.series.is_sorted_by(|a, b| a.labels < b.labels));
    }
}
