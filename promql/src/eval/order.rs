//! `sort_by_label`: label values in natural order, digits as numbers.

use std::cmp::Ordering;

use crate::vector::StepSeries;

/// Sorts by the values of some labels, then by all labels.
pub(super) fn sort_by_label(vector: &mut [StepSeries], by: &[String], descending: bool) {
    vector.sort_by(|a, b| {
        let mut keys = by.iter().map(|name| {
            let value = |s: &StepSeries| s.labels.get(name).unwrap_or("").to_owned();
            natural(&value(a), &value(b))
        });
        let order = keys
            .find(|o| o.is_ne())
            .unwrap_or_else(|| a.labels.cmp(&b.labels));
        if descending { order.reverse() } else { order }
    });
}

/// Compares runs of digits as numbers and all else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (x, y) = (chunk(&mut a), chunk(&mut b));
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => x.cmp(y),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Takes the run of digits, or of other characters, at the start.
fn chunk<'a>(text: &mut &'a str) -> &'a str {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    let (chunk, rest) = text.split_at(end);
    *text = rest;
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_order_as_numbers() {
        let mut all = ["n10", "n2", "n1a", "n1", "m3", ""];
        all.sort_by(|a, b| natural(a, b));
        assert_eq!(all, ["", "m3", "n1", "n1a", "n2", "n10"]);
    }
}
