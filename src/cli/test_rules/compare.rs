//! Expected and found, and how promtool prints both.

use std::fmt::Write as _;

use crate::config::rule_file::Pairs;

/// Labels and annotations of an alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AlertPairs {
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

/// A value of an expression.
#[derive(Clone, Debug)]
pub(super) struct ExprSample {
    pub(super) labels: Pairs,
    /// 0 where it is a histogram.
    pub(super) value: f64,
    /// In the notation of series; empty where it is a float.
    pub(super) histogram: String,
}

impl ExprSample {
    /// Whether the two are the same; with `fuzzy`, up to the last bit of a float.
    fn is_same_as(&self, other: &Self, fuzzy: bool) -> bool {
        let (x, y) = (self.value, other.value);
        let same = x == y || fuzzy && (x.next_down() == y || x.next_up() == y);
        same && self.labels == other.labels && self.histogram == other.histogram
    }
}

/// Sorts both, and tells whether they are the same.
pub(super) fn are_same(expected: &mut [ExprSample], found: &mut [ExprSample], fuzzy: bool) -> bool {
    for samples in [&mut *expected, &mut *found] {
        samples.sort_by(|a, b| a.labels.iter().cmp(&b.labels));
    }
    expected.len() == found.len()
        && expected
            .iter()
            .zip(&*found)
            .all(|(e, f)| e.is_same_as(f, fuzzy))
}

/// `{a="b", c="d"}`
pub(super) fn labels_text(labels: &Pairs) -> String {
    let is_plain = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let pairs = labels.iter().map(|(name, value)| {
        let value = promql::lexer::quote(value);
        if is_plain(name) {
            format!("{name}={value}")
        } else {
            format!("{}={value}", promql::lexer::quote(name))
        }
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// Alerts, one below the other.
pub(super) fn alerts_text(alerts: &[AlertPairs]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut out = "[".to_owned();
    for (i, alert) in alerts.iter().enumerate() {
        let (labels, annotations) = (labels_text(&alert.labels), labels_text(&alert.annotations));
        let comma = if i == 0 { "" } else { "," };
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            "{comma}\n{i}:\n  Labels:{labels}\n  Annotations:{annotations}"
        );
    }
    out + "\n]"
}

/// Every line but the first moved to the right.
pub(super) fn indented(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}

/// Values on one line.
pub(super) fn samples_text(samples: &[ExprSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let texts = samples.iter().map(|sample| {
        let labels = labels_text(&sample.labels);
        if sample.histogram.is_empty() {
            format!("{labels} {}", scientific(sample.value))
        } else {
            format!("{labels} {}", sample.histogram)
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// `1.5E+00`
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return promql::lexer::format_float(value);
    }
    let text = format!("{value:E}");
    let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}E{sign}{exponent:0>2}")
}
