//! Remarks on an answer: warnings and infos, with the place in the query that they are about.
//!
//! The same remark is kept once; the last place wins, the first one where it is counted. Wording is the upstream's, for users and
//! dashboards match on it.

use indexmap::IndexMap;

use crate::number::format_g;

/// Which operation on histograms a remark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramOperation {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramOperation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// A remark, before it is put into words. Names of metrics may be empty.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the words that each is put into explain it")]
pub enum Note<'a> {
    InvalidQuantile(f64),
    InvalidRatio {
        got: f64,
        capped: f64,
    },
    BadBucketLabel {
        metric: &'a str,
        label: &'a str,
    },
    MixedFloatsHistograms(&'a str),
    MixedFloatsHistogramsInAggregation,
    MixedClassicNative(&'a str),
    NotCounter(&'a str),
    NotGauge(&'a str),
    MixedExponentialCustom(&'a str),
    IncompatibleBuckets(&'static str),
    SortInRangeQuery,
    PossibleNonCounter(&'a str),
    PossibleNonCounterType {
        metric: &'a str,
        type_label: &'a str,
    },
    IncompatibleTypes {
        left: &'static str,
        operator: &'static str,
        right: &'static str,
    },
    HistogramIgnoredInAggregation(&'static str),
    HistogramIgnoredInMixedRange(&'a str),
    QuantileIsNan(&'a str),
    QuantileSkewed(&'a str),
    FractionWithoutNans(&'a str),
    ResetCollision(HistogramOperation),
    BoundsReconciled(HistogramOperation),
    StartTimeOverlap(&'a str),
    ForcedMonotonicity {
        metric: &'a str,
        t_ms: (i64, i64),
        buckets: (f64, f64),
        max_diff: f64,
        count: i64,
    },
}

#[derive(Clone, Debug)]
enum Detail {
    Plain,
    StartTimeOverlap {
        count: usize,
    },
    ForcedMonotonicity {
        t_ms: (i64, i64),
        buckets: (f64, f64),
        max_diff: f64,
        count: i64,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    is_info: bool,
    position: usize,
    detail: Detail,
}

/// The remarks on an answer.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    entries: IndexMap<String, Entry>,
}

/// Warnings, and infos, that an answer shows, as upstream's does.
const MAX_SHOWN: usize = 10;

impl Annotations {
    /// Adds a remark about the expression that starts at this byte of the query.
    pub(crate) fn add(&mut self, note: &Note<'_>, position: usize) {
        let (is_info, text) = note.words();
        let detail = match *note {
            Note::StartTimeOverlap(_) => Detail::StartTimeOverlap { count: 1 },
            Note::ForcedMonotonicity {
                t_ms,
                buckets,
                max_diff,
                count,
                ..
            } => Detail::ForcedMonotonicity {
                t_ms,
                buckets,
                max_diff,
                count,
            },
            _ => Detail::Plain,
        };
        let entry = Entry {
            is_info,
            position,
            detail,
        };
        self.put(text, entry);
    }

    /// Takes over another set's remarks.
    pub(crate) fn merge(&mut self, other: Self) {
        for (text, entry) in other.entries {
            self.put(text, entry);
        }
    }

    /// Whether there is no remark.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The warnings, with `(line:column)` in the query.
    #[must_use]
    pub fn warnings(&self, query: &str) -> Vec<String> {
        self.texts(query, false)
    }

    /// The infos, with `(line:column)` in the query.
    #[must_use]
    pub fn infos(&self, query: &str) -> Vec<String> {
        self.texts(query, true)
    }

    fn texts(&self, query: &str, is_info: bool) -> Vec<String> {
        let wanted = self.entries.iter().filter(|(_, e)| e.is_info == is_info);
        let mut texts: Vec<String> = wanted
            .clone()
            .take(MAX_SHOWN)
            .map(|(text, e)| e.text(text, query))
            .collect();
        let omitted = wanted.count() - texts.len();
        if omitted > 0 {
            let kind = if is_info { "info" } else { "warning" };
            texts.push(format!("{omitted} more {kind} annotations omitted"));
        }
        texts
    }

    fn put(&mut self, text: String, mut entry: Entry) {
        if let Some(before) = self.entries.get_mut(&text) {
            entry.detail.join(&before.detail);
            if !matches!(entry.detail, Detail::Plain) {
                entry.position = before.position;
            }
            *before = entry;
        } else {
            self.entries.insert(text, entry);
        }
    }
}

impl Detail {
    fn join(&mut self, other: &Self) {
        match (self, other) {
            (Self::StartTimeOverlap { count }, Self::StartTimeOverlap { count: more }) => {
                *count += more;
            }
            (
                Self::ForcedMonotonicity {
                    t_ms,
                    buckets,
                    max_diff,
                    count,
                },
                Self::ForcedMonotonicity {
                    t_ms: t,
                    buckets: b,
                    max_diff: d,
                    count: more,
                },
            ) => {
                *t_ms = (t_ms.0.min(t.0), t_ms.1.max(t.1));
                *buckets = (buckets.0.min(b.0), buckets.1.max(b.1));
                *max_diff = max_diff.max(*d);
                *count = count.wrapping_add(*more);
            }
            _ => {}
        }
    }
}

impl Entry {
    fn text(&self, text: &str, query: &str) -> String {
        let place = place(query, self.position);
        match &self.detail {
            Detail::Plain => format!("{text} ({place})"),
            Detail::StartTimeOverlap { count } if *count > 1 => {
                format!("{text} ({count} occurrences) ({place})")
            }
            Detail::StartTimeOverlap { .. } => format!("{text} ({place})"),
            Detail::ForcedMonotonicity {
                t_ms,
                buckets,
                max_diff,
                count,
            } => format!(
                "{text}, from buckets {} to {}, with a max diff of {}, over {count} samples from {} to {} ({place})",
                format_g(buckets.0),
                format_g(buckets.1),
                two_digits(*max_diff),
                crate::functions::time::rfc3339_seconds(t_ms.0.div_euclid(1000)),
                crate::functions::time::rfc3339_seconds(t_ms.1.div_euclid(1000)),
            ),
        }
    }
}

/// `line:column` of a byte of the query, both from one, the column in bytes.
fn place(query: &str, position: usize) -> String {
    let Some(before) = query.as_bytes().get(..position) else {
        return "invalid position".to_owned();
    };
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = match before.iter().rposition(|b| *b == b'\n') {
        Some(i) => position - i,
        None => position + 1,
    };
    format!("{line}:{column}")
}

/// Two significant digits, as `%.2g`.
fn two_digits(v: f64) -> String {
    let rounded = format!("{v:.1e}").parse().unwrap_or(v);
    let exponent = format!("{v:.1e}");
    match exponent.split_once('e') {
        Some((digits, e)) => {
            let e: i32 = e.parse().unwrap_or(0);
            if (-4..2).contains(&e) {
                format!("{rounded}")
            } else {
                let digits = digits.trim_end_matches('0').trim_end_matches('.');
                let sign = if e < 0 { '-' } else { '+' };
                format!("{digits}e{sign}{:02}", e.abs())
            }
        }
        None => exponent,
    }
}

impl Note<'_> {
    /// Whether it is an info, and its words.
    fn words(&self) -> (bool, String) {
        let warning = |text: String| (false, format!("PromQL warning: {text}"));
        let info = |text: String| (true, format!("PromQL info: {text}"));
        let named = |text: &str, metric: &str| {
            if metric.is_empty() {
                text.to_owned()
            } else {
                format!("{text} for metric name {metric:?}")
            }
        };
        match self {
            Self::InvalidQuantile(q) => warning(format!(
                "quantile value should be between 0 and 1, got {}",
                format_g(*q)
            )),
            Self::InvalidRatio { got, capped } => warning(format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                format_g(*got),
                format_g(*capped)
            )),
            Self::BadBucketLabel { metric, label } => warning(named(
                &format!("bucket label \"le\" is missing or has a malformed value of {label:?}"),
                metric,
            )),
            Self::MixedFloatsHistograms(m) => warning(format!(
                "encountered a mix of histograms and floats for metric name {m:?}"
            )),
            Self::MixedFloatsHistogramsInAggregation => {
                warning("encountered a mix of histograms and floats for aggregation".to_owned())
            }
            Self::MixedClassicNative(m) => warning(named(
                "vector contains a mix of classic and native histograms",
                m,
            )),
            Self::NotCounter(m) => warning(format!(
                "this native histogram metric is not a counter: {m:?}"
            )),
            Self::NotGauge(m) => warning(format!(
                "this native histogram metric is not a gauge: {m:?}"
            )),
            Self::MixedExponentialCustom(m) => warning(format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {m:?}"
            )),
            Self::IncompatibleBuckets(op) => warning(format!(
                "incompatible bucket layout encountered for binary operator {op}"
            )),
            Self::SortInRangeQuery => warning(
                "sort is ineffective for range queries since results are always ordered by labels"
                    .to_owned(),
            ),
            Self::PossibleNonCounter(m) => info(format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {m:?}"
            )),
            Self::PossibleNonCounterType { metric, type_label } => info(format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {type_label:?}: {metric:?}"
            )),
            Self::IncompatibleTypes {
                left,
                operator,
                right,
            } => info(format!(
                "incompatible sample types encountered for binary operator {operator:?}: {left} {operator} {right}"
            )),
            Self::HistogramIgnoredInAggregation(op) => {
                info(format!("ignored histogram in {op} aggregation"))
            }
            Self::HistogramIgnoredInMixedRange(m) => info(format!(
                "ignored histograms in a range containing both floats and histograms for metric name {m:?}"
            )),
            Self::QuantileIsNan(m) => info(named(
                "input to histogram_quantile has NaN observations, result is NaN",
                m,
            )),
            Self::QuantileSkewed(m) => info(named(
                "input to histogram_quantile has NaN observations, result is skewed higher",
                m,
            )),
            Self::FractionWithoutNans(m) => info(named(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions",
                m,
            )),
            Self::ResetCollision(op) => warning(format!(
                "conflicting counter resets during histogram {}",
                op.as_str()
            )),
            Self::BoundsReconciled(op) => info(format!(
                "mismatched custom buckets were reconciled during {}",
                op.as_str()
            )),
            Self::StartTimeOverlap(m) => warning(format!(
                "sample has start time that overlaps with previous sample timestamp for metric {m:?}"
            )),
            Self::ForcedMonotonicity { metric, .. } => info(named(
                "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                metric,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_kept_once_and_knows_its_place() {
        let mut a = Annotations::default();
        a.add(&Note::PossibleNonCounter("m"), 0);
        a.add(&Note::PossibleNonCounter("m"), 9);
        a.add(&Note::InvalidQuantile(2.0), 0);
        assert_eq!(
            a.infos("x +\n    rate(m[5m])"),
            [
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"m\" (2:6)"
            ]
        );
        assert_eq!(
            a.warnings("x"),
            ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:1)"]
        );
    }

    #[test]
    fn remarks_that_are_counted_keep_the_first_place() {
        let forced = |t_ms| Note::ForcedMonotonicity {
            metric: "",
            t_ms: (t_ms, t_ms),
            buckets: (0.5, 1.0),
            max_diff: 2.0,
            count: 3,
        };
        let mut a = Annotations::default();
        a.add(&forced(1000), 2);
        a.add(&forced(0), 7);
        let shown = a.infos("x + histogram");
        let end = "over 6 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z (1:3)";
        assert!(shown[0].ends_with(end), "{shown:?}");
    }

    #[test]
    fn beyond_ten_remarks_of_a_kind_only_their_number_is_shown() {
        let mut a = Annotations::default();
        (2..14).for_each(|n| a.add(&Note::InvalidQuantile(f64::from(n)), 0));
        let shown = a.warnings("x");
        assert_eq!(shown.len(), 11);
        assert_eq!(shown[10], "2 more warning annotations omitted");
        assert_eq!(a.infos("x"), [""; 0]);
    }
}
