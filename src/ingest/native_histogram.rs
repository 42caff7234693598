//! What a native histogram must be before it is stored: the checks of every door, in Prometheus's words.
//!
//! Source: Prometheus `model/histogram` (what is checked, in which order) and "Native Histograms" specification.

use storage::model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint};

/// Coarsest and finest exponential schema that is stored.
pub(crate) const MIN_SCHEMA: i32 = -4;
/// See [`MIN_SCHEMA`].
pub(crate) const MAX_SCHEMA: i32 = 8;
/// Finest schema that the specification reserves; what lies between is merged down to [`MAX_SCHEMA`].
const MAX_RESERVED_SCHEMA: i32 = 52;

const SPANS_MISMATCH: &str = "histogram spans specify different number of buckets than provided";
const NEGATIVE_OFFSET: &str = "histogram has a span whose offset is negative";
const NEGATIVE_BUCKET: &str = "histogram has a bucket whose observation count is negative";

/// Why a histogram is refused. Nobody acts on the reason; the sender reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HistogramFault(String);

impl HistogramFault {
    fn within(self, part: &str) -> Self {
        Self(format!("{part}: {}", self.0))
    }
}

type Result<T> = std::result::Result<T, HistogramFault>;

fn fault<T>(text: impl Into<String>) -> Result<T> {
    Err(HistogramFault(text.into()))
}

/// Whether [`reduce`] would change a histogram.
pub(crate) const fn is_too_fine(h: &Histogram) -> bool {
    h.schema > MAX_SCHEMA && h.schema <= MAX_RESERVED_SCHEMA
}

/// Merges the buckets of a reserved schema that is too fine down to [`MAX_SCHEMA`]; leaves others as they are.
///
/// # Errors
/// Where spans and buckets contradict each other.
pub(crate) fn reduce(h: &mut Histogram) -> Result<()> {
    if !is_too_fine(h) {
        return Ok(());
    }
    let shift = h.schema - MAX_SCHEMA;
    match &mut h.counts {
        Counts::Integer {
            positive, negative, ..
        } => {
            for (spans, deltas) in [
                (&mut h.positive_spans, positive),
                (&mut h.negative_spans, negative),
            ] {
                let mut sum = 0_i64;
                let absolute = deltas.iter().map(|d| {
                    sum = sum.wrapping_add(*d);
                    sum
                });
                let merged = merge_down(spans, absolute, shift, i64::wrapping_add)?;
                let mut before = 0_i64;
                *deltas = merged
                    .1
                    .into_iter()
                    .map(|n| n.wrapping_sub(std::mem::replace(&mut before, n)))
                    .collect();
                *spans = merged.0;
            }
        }
        Counts::Float {
            positive, negative, ..
        } => {
            for (spans, counts) in [
                (&mut h.positive_spans, positive),
                (&mut h.negative_spans, negative),
            ] {
                let merged = merge_down(spans, counts.iter().copied(), shift, |a, b| a + b)?;
                (*spans, *counts) = merged;
            }
        }
    }
    h.schema = MAX_SCHEMA;
    Ok(())
}

/// The buckets of one side at a resolution that is `shift` powers of two coarser. Ends at the first span that asks for more
/// buckets than there are, so that a span of any length costs nothing.
fn merge_down<N: Copy>(
    spans: &[BucketSpan],
    counts: impl ExactSizeIterator<Item = N>,
    shift: i32,
    add: impl Fn(N, N) -> N,
) -> Result<(Vec<BucketSpan>, Vec<N>)> {
    let have = counts.len();
    let (mut merged_spans, mut merged) = (Vec::<BucketSpan>::new(), Vec::new());
    let mut counts = counts.into_iter();
    let (mut index, mut last, mut needed) = (0_i64, None, 0_usize);
    for (n, span) in spans.iter().enumerate() {
        if n > 0 && span.offset < 0 {
            return fault(negative_offset(n, span));
        }
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else {
                return fault(format!(
                    "have {have} buckets but spans need more: {SPANS_MISMATCH}"
                ));
            };
            needed += 1;
            // Bucket i holds what is at most base^i: the wider bucket is found from the one before.
            let target = ((index - 1) >> shift) + 1;
            match (last, merged.last_mut(), merged_spans.last_mut()) {
                (Some(before), Some(sum), _) if before == target => *sum = add(*sum, count),
                (Some(before), _, Some(open)) if before + 1 == target => {
                    open.length += 1;
                    merged.push(count);
                }
                _ => {
                    let offset = last.map_or(target, |before: i64| target - before - 1);
                    let offset = i32::try_from(offset)
                        .or_else(|_| fault(format!("bucket index {target} is out of range")))?;
                    merged_spans.push(BucketSpan { offset, length: 1 });
                    merged.push(count);
                }
            }
            last = Some(target);
            index += 1;
        }
    }
    if needed != have {
        return fault(mismatch(needed as u64, have));
    }
    Ok((merged_spans, merged))
}

/// Whether a histogram may be stored.
///
/// # Errors
/// The first thing that is wrong, in Prometheus's words.
pub(crate) fn validate(h: &Histogram) -> Result<()> {
    match &h.counts {
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let sides = Sides {
                positive: positive.len(),
                negative: negative.len(),
                zero_is_empty: *zero_count == 0,
            };
            check_layout(h, &sides)?;
            let mut found = *zero_count;
            if h.schema != CUSTOM_BUCKETS_SCHEMA {
                check_deltas(negative, &mut found).map_err(|e| e.within("negative side"))?;
                check_no_bounds(h)?;
            }
            check_deltas(positive, &mut found).map_err(|e| e.within("positive side"))?;
            check_sum(h.sum, found, *count)
        }
        Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let sides = Sides {
                positive: positive.len(),
                negative: negative.len(),
                zero_is_empty: *zero_count == 0.0,
            };
            check_layout(h, &sides)?;
            if h.schema != CUSTOM_BUCKETS_SCHEMA {
                check_counts(negative).map_err(|e| e.within("negative side"))?;
                if *zero_count < 0.0 {
                    return fault(format!(
                        "zero bucket has observation count of {}: {NEGATIVE_BUCKET}",
                        go_value(*zero_count)
                    ));
                }
                check_no_bounds(h)?;
            }
            if *count < 0.0 {
                return fault(format!(
                    "observation count is  {}: histogram's observation count is negative",
                    go_value(*count)
                ));
            }
            check_counts(positive).map_err(|e| e.within("positive side"))
        }
    }
}

/// The zero that belongs at the start timestamp of a histogram: empty, with its layout.
pub(crate) fn zero_of(h: &Histogram) -> Histogram {
    let counts = match h.counts {
        Counts::Integer { .. } => Counts::Integer {
            count: 0,
            zero_count: 0,
            positive: Vec::new(),
            negative: Vec::new(),
        },
        Counts::Float { .. } => Counts::default(),
    };
    Histogram {
        reset_hint: ResetHint::Yes,
        schema: h.schema,
        zero_threshold: h.zero_threshold,
        custom_values: h.custom_values.clone(),
        counts,
        ..Histogram::default()
    }
}

/// What the checks of the layout need to know of the counts.
struct Sides {
    positive: usize,
    negative: usize,
    zero_is_empty: bool,
}

fn check_layout(h: &Histogram, sides: &Sides) -> Result<()> {
    match h.schema {
        CUSTOM_BUCKETS_SCHEMA => {
            check_bounds(&h.custom_values)
                .and_then(|()| check_custom_spans(h, sides.positive))
                .map_err(|e| e.within("custom buckets"))?;
            if !sides.zero_is_empty {
                return fault("custom buckets: must have zero count of 0");
            }
            if h.zero_threshold != 0.0 {
                return fault("custom buckets: must have zero threshold of 0");
            }
            if !h.negative_spans.is_empty() {
                return fault("custom buckets: must not have negative spans");
            }
            if sides.negative > 0 {
                return fault("custom buckets: must not have negative buckets");
            }
            Ok(())
        }
        MIN_SCHEMA..=MAX_SCHEMA => {
            check_spans(&h.positive_spans, sides.positive)
                .map_err(|e| e.within("positive side"))?;
            check_spans(&h.negative_spans, sides.negative).map_err(|e| e.within("negative side"))
        }
        schema => fault(format!(
            "histogram has an invalid schema, which must be between {MIN_SCHEMA} and {MAX_SCHEMA} for exponential buckets, or {CUSTOM_BUCKETS_SCHEMA} for custom buckets, got schema {schema}"
        )),
    }
}

fn check_no_bounds(h: &Histogram) -> Result<()> {
    if h.custom_values.is_empty() {
        return Ok(());
    }
    fault("histogram with exponential schema must not have custom bounds")
}

fn negative_offset(n: usize, span: &BucketSpan) -> String {
    let offset = span.offset;
    format!(
        "span number {} with offset {offset}: {NEGATIVE_OFFSET}",
        n + 1
    )
}

fn mismatch(needed: u64, have: usize) -> String {
    format!("spans need {needed} buckets, have {have} buckets: {SPANS_MISMATCH}")
}

fn check_spans(spans: &[BucketSpan], buckets: usize) -> Result<()> {
    if let Some((n, span)) = spans.iter().enumerate().skip(1).find(|(_, s)| s.offset < 0) {
        return fault(negative_offset(n, span));
    }
    check_lengths(spans, buckets)
}

fn check_lengths(spans: &[BucketSpan], buckets: usize) -> Result<()> {
    let needed: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if needed != buckets as u64 {
        return fault(mismatch(needed, buckets));
    }
    Ok(())
}

fn check_bounds(bounds: &[f64]) -> Result<()> {
    let mut before = f64::NEG_INFINITY;
    for (i, bound) in bounds.iter().enumerate() {
        if bound.is_nan() {
            return fault("histogram custom bounds must not be NaN");
        }
        if i > 0 && *bound <= before {
            return fault(format!(
                "previous bound is {} and current is {}: histogram custom bounds must be in strictly increasing order",
                go_fixed(before),
                go_fixed(*bound)
            ));
        }
        before = *bound;
    }
    if before == f64::INFINITY {
        return fault(
            "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
        );
    }
    Ok(())
}

fn check_custom_spans(h: &Histogram, buckets: usize) -> Result<()> {
    let spans = &h.positive_spans;
    if let Some((n, span)) = spans.iter().enumerate().find(|(_, s)| s.offset < 0) {
        return fault(negative_offset(n, span));
    }
    check_lengths(spans, buckets)?;
    let reach: i64 = spans
        .iter()
        .map(|s| i64::from(s.length) + i64::from(s.offset))
        .sum();
    let bounds = h.custom_values.len();
    if (bounds as i64 + 1) < reach {
        return fault(format!(
            "only {bounds} custom bounds defined which is insufficient to cover total span length of {reach}: histogram custom bounds are too few"
        ));
    }
    Ok(())
}

fn negative_bucket(i: usize, count: impl std::fmt::Display) -> String {
    format!(
        "bucket number {} has observation count of {count}: {NEGATIVE_BUCKET}",
        i + 1
    )
}

/// Checks the buckets of one side and adds what they hold to `found`.
fn check_deltas(deltas: &[i64], found: &mut u64) -> Result<()> {
    let mut count = 0_i64;
    for (i, delta) in deltas.iter().enumerate() {
        count = count.wrapping_add(*delta);
        let Ok(n) = u64::try_from(count) else {
            return fault(negative_bucket(i, count));
        };
        *found = found.wrapping_add(n);
    }
    Ok(())
}

fn check_counts(counts: &[f64]) -> Result<()> {
    match counts.iter().enumerate().find(|(_, c)| **c < 0.0) {
        Some((i, count)) => fault(negative_bucket(i, go_value(*count))),
        None => Ok(()),
    }
}

/// An observation that is NaN is counted and lies in no bucket; the sum tells whether there was one.
fn check_sum(sum: f64, found: u64, count: u64) -> Result<()> {
    let what =
        format_args!("{found} observations found in buckets, but the Count field is {count}")
            .to_string();
    if sum.is_nan() {
        if found > count {
            return fault(format!(
                "{what}: histogram's observation count should be at least the number of observations found in the buckets"
            ));
        }
    } else if found != count {
        return fault(format!(
            "{what}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
        ));
    }
    Ok(())
}

/// A float as Go's `%v` writes it.
fn go_value(v: f64) -> String {
    if !v.is_finite() {
        return go_fixed(v);
    }
    let size = v.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{v:e}");
        if let Some((digits, exponent)) = text.split_once('e') {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            return format!("{digits}e{sign}{:02}", exponent.abs());
        }
    }
    v.to_string()
}

/// A float as Go's `%f` writes it.
fn go_fixed(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{v:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(i32, u32)]) -> Vec<BucketSpan> {
        let span = |&(offset, length): &(i32, u32)| BucketSpan { offset, length };
        pairs.iter().map(span).collect()
    }

    fn integer(schema: i32, count: u64, positive: &[(i32, u32)], deltas: &[i64]) -> Histogram {
        Histogram {
            schema,
            zero_threshold: 0.001,
            sum: 7.5,
            positive_spans: spans(positive),
            counts: Counts::Integer {
                count,
                zero_count: 1,
                positive: deltas.to_vec(),
                negative: Vec::new(),
            },
            ..Histogram::default()
        }
    }

    fn custom(bounds: &[f64], positive: &[(i32, u32)], deltas: &[i64]) -> Histogram {
        let mut sum = 0;
        let count: i64 = deltas
            .iter()
            .map(|d| {
                sum += d;
                sum
            })
            .sum();
        Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            custom_values: bounds.to_vec(),
            positive_spans: spans(positive),
            counts: Counts::Integer {
                count: count as u64,
                zero_count: 0,
                positive: deltas.to_vec(),
                negative: Vec::new(),
            },
            ..Histogram::default()
        }
    }

    fn float(count: f64, zero_count: f64, positive: &[f64]) -> Histogram {
        Histogram {
            positive_spans: spans(&[(0, positive.len() as u32)]),
            counts: Counts::Float {
                count,
                zero_count,
                positive: positive.to_vec(),
                negative: Vec::new(),
            },
            ..Histogram::default()
        }
    }

    fn says(h: &Histogram) -> String {
        validate(h).map_or_else(|e| e.to_string(), |()| "ok".to_owned())
    }

    #[test]
    fn sound_histograms_pass() {
        assert_eq!(says(&integer(2, 6, &[(0, 2), (1, 1)], &[1, 1, 0])), "ok");
        assert_eq!(says(&custom(&[1.0, 2.0], &[(0, 3)], &[1, 0, 0])), "ok");
        assert_eq!(says(&custom(&[], &[(0, 1)], &[1])), "ok");
        assert_eq!(says(&float(6.0, 1.0, &[1.5, 2.5])), "ok");
        // Float counts need not add up, and NaN is no negative number.
        assert_eq!(says(&float(f64::NAN, 0.0, &[f64::NAN])), "ok");
        assert_eq!(says(&Histogram::default()), "ok");
    }

    #[test]
    fn counts_that_do_not_add_up_are_refused() {
        let mut h = integer(2, 99, &[(0, 2)], &[1, 1]);
        assert_eq!(
            says(&h),
            "4 observations found in buckets, but the Count field is 99: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
        );
        h.sum = f64::NAN;
        assert_eq!(says(&h), "ok");
        let mut h = integer(2, 3, &[(0, 2)], &[1, 1]);
        h.sum = f64::NAN;
        assert!(
            says(&h)
                .ends_with("should be at least the number of observations found in the buckets")
        );
    }

    #[test]
    fn spans_must_fit_the_buckets_and_run_forward() {
        assert_eq!(
            says(&integer(2, 6, &[(0, 9)], &[1, 1, 0])),
            "positive side: spans need 9 buckets, have 3 buckets: histogram spans specify different number of buckets than provided"
        );
        assert_eq!(
            says(&integer(2, 6, &[(-7, 2), (-5, 1)], &[1, 1, 0])),
            "positive side: span number 2 with offset -5: histogram has a span whose offset is negative"
        );
        let huge = [(0, u32::MAX), (0, u32::MAX)];
        assert!(says(&integer(2, 6, &huge, &[1])).contains("spans need 8589934590 buckets"));
    }

    #[test]
    fn negative_buckets_are_refused() {
        assert_eq!(
            says(&integer(2, 1, &[(0, 2)], &[1, -2])),
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count is negative"
        );
        assert_eq!(
            says(&float(6.0, 1.0, &[-1.5, 2.5])),
            "positive side: bucket number 1 has observation count of -1.5: histogram has a bucket whose observation count is negative"
        );
        assert!(
            says(&float(6.0, -1.0, &[])).starts_with("zero bucket has observation count of -1:")
        );
        assert!(says(&float(-6e30, 0.0, &[])).starts_with("observation count is  -6e+30:"));
    }

    #[test]
    fn custom_bounds_are_ascending_finite_and_enough() {
        let f = |bounds: &[f64]| says(&custom(bounds, &[(0, 3)], &[1, 0, 0]));
        assert_eq!(
            f(&[2.0, 1.0]),
            "custom buckets: previous bound is 2.000000 and current is 1.000000: histogram custom bounds must be in strictly increasing order"
        );
        assert!(f(&[1.0, f64::INFINITY]).contains("must be finite"));
        assert!(f(&[f64::NAN, 1.0]).contains("must not be NaN"));
        assert_eq!(
            f(&[1.0]),
            "custom buckets: only 1 custom bounds defined which is insufficient to cover total span length of 3: histogram custom bounds are too few"
        );
        assert!(says(&custom(&[1.0], &[(-1, 1)], &[1])).contains("span number 1 with offset -1"));
        let mut h = custom(&[1.0], &[(0, 1)], &[1]);
        h.zero_threshold = 0.5;
        assert_eq!(says(&h), "custom buckets: must have zero threshold of 0");
        h.zero_threshold = 0.0;
        h.negative_spans = spans(&[(0, 0)]);
        assert_eq!(says(&h), "custom buckets: must not have negative spans");
        let mut h = integer(0, 2, &[(0, 1)], &[1]);
        h.custom_values = vec![1.0];
        assert_eq!(
            says(&h),
            "histogram with exponential schema must not have custom bounds"
        );
    }

    #[test]
    fn schemas_out_of_range_are_named() {
        for schema in [-5, 9, 53, -52, i32::MIN] {
            let text = says(&integer(schema, 6, &[(0, 2), (1, 1)], &[1, 1, 0]));
            assert!(text.ends_with(&format!("got schema {schema}")), "{text}");
        }
    }

    #[test]
    fn a_too_fine_schema_is_merged_down() {
        let mut h = integer(30, 6, &[(0, 2), (1, 1)], &[1, 1, 0]);
        reduce(&mut h).unwrap();
        assert_eq!(h.schema, MAX_SCHEMA);
        assert_eq!(h.positive_spans, spans(&[(0, 2)]));
        let Counts::Integer { positive, .. } = &h.counts else {
            panic!("an integer histogram stays one")
        };
        assert_eq!(positive, &[1, 3]);
        assert_eq!(says(&h), "ok");
        let mut h = integer(8, 6, &[(0, 9)], &[]);
        assert_eq!(reduce(&mut h), Ok(()));
        let mut h = integer(9, 6, &[(0, u32::MAX)], &[1]);
        assert!(
            reduce(&mut h)
                .unwrap_err()
                .0
                .contains("have 1 buckets but spans need more")
        );
        let mut h = integer(9, 6, &[(0, 1)], &[1, 2]);
        assert!(
            reduce(&mut h)
                .unwrap_err()
                .0
                .contains("spans need 1 buckets, have 2")
        );
    }

    /// Absolute counts by bucket index, the naive way.
    fn by_index(h: &Histogram) -> std::collections::BTreeMap<i64, f64> {
        let Counts::Float { positive, .. } = &h.counts else {
            return Default::default();
        };
        let (mut out, mut index) = (std::collections::BTreeMap::new(), 0_i64);
        let mut counts = positive.iter();
        for span in &h.positive_spans {
            index += i64::from(span.offset);
            for _ in 0..span.length {
                *out.entry(index).or_default() += counts.next().copied().unwrap_or(0.0);
                index += 1;
            }
        }
        out
    }

    proptest::proptest! {
        #[test]
        fn merging_down_moves_each_bucket_into_the_one_that_covers_it(
            layout in proptest::collection::vec((0..9_i32, 1..4_u32), 1..6),
            first in -300..300_i32,
            schema in 9..14_i32,
        ) {
            let mut layout = layout;
            layout[0].0 = first;
            let buckets: u32 = layout.iter().map(|(_, n)| n).sum();
            let counts: Vec<f64> = (1..=buckets).map(f64::from).collect();
            let mut h = float(1.0, 0.0, &counts);
            h.positive_spans = spans(&layout);
            h.schema = schema;
            let mut expected = std::collections::BTreeMap::new();
            for (index, n) in by_index(&h) {
                let wide = index as f64 / f64::from(1 << (schema - 8));
                *expected.entry(wide.ceil() as i64).or_default() += n;
            }
            reduce(&mut h).unwrap();
            proptest::prop_assert_eq!(by_index(&h), expected);
        }
    }
}
