//! Aggregations that look at all samples of a group at once: quantiles, counts of values, and
//! those that pass some of the series through.

use indexmap::IndexMap;
use storage::model::Labels;

use super::output::{Frame, MatchError, Output};
use super::{ABSENT, Grouping, Sample, StepSeries, is_present};
use crate::annotation::Note;
use crate::number::format_f;

/// An aggregation that passes series through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Pick {
    Topk,
    Bottomk,
    Limitk,
    LimitRatio,
}

/// The positions of the series of each group, groups in the order in which they were first seen.
fn members(input: &[StepSeries], grouping: &Grouping) -> IndexMap<Labels, Vec<usize>> {
    let mut groups: IndexMap<Labels, Vec<usize>> = IndexMap::new();
    for (i, series) in input.iter().enumerate() {
        let key = grouping.labels(&series.labels);
        groups.entry(key).or_default().push(i);
    }
    groups
}

/// `quantile(q, ...)`, with a `q` per step.
pub fn quantile(
    q: &dyn Fn(usize) -> f64,
    input: &[StepSeries],
    grouping: &Grouping,
    steps: usize,
    remark: &mut dyn FnMut(Note<'static>),
) -> Vec<StepSeries> {
    let mut out = Vec::new();
    let mut values = Vec::new();
    for (labels, members) in members(input, grouping) {
        let mut result = StepSeries::absent(labels, steps);
        result.drop_name = members.iter().any(|i| input[*i].drop_name);
        for step in 0..steps {
            values.clear();
            for series in members.iter().map(|i| &input[*i]) {
                if series.histogram(step).is_some() {
                    remark(Note::HistogramIgnoredInAggregation("quantile"));
                } else if series.has(step) {
                    values.push(series.values[step]);
                }
            }
            if !values.is_empty() {
                result.values[step] = quantile_of(q(step), &mut values);
            }
        }
        if !result.is_empty() {
            out.push(result);
        }
    }
    out
}

/// The quantile of some values, interpolated between neighbours; NaN counts as the smallest value.
/// The values are sorted.
#[must_use]
pub fn quantile_of(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| {
        a.partial_cmp(b)
            .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
    });
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor().max(0.0) as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// `count_values("label", ...)`.
///
/// # Errors
/// Where the result has two samples of one label set at one step.
pub fn count_values(
    label: &str,
    input: &[StepSeries],
    names: &[String],
    without: bool,
    frame: Frame,
) -> Result<Vec<StepSeries>, MatchError> {
    let mut names = names.to_vec();
    if !without {
        names.push(label.to_owned());
    }
    let grouping = Grouping::new(&names, without);
    let mut out = Output::new(frame);
    let mut counts: IndexMap<Labels, f64> = IndexMap::new();
    for step in 0..frame.steps {
        counts.clear();
        for series in input {
            let text = match series.get(step) {
                None => continue,
                Some(Sample::Float(v)) => format_f(v),
                Some(Sample::Histogram(h)) => h.to_string(),
            };
            let mut builder = series.labels.to_builder();
            builder.set(label, &text);
            *counts
                .entry(grouping.labels(&builder.finish()))
                .or_insert(0.0) += 1.0;
        }
        for (labels, count) in counts.drain(..) {
            let slot = out.slot(labels, false)?;
            out.put(slot, step, Sample::Float(count))?;
        }
    }
    Ok(out.finish())
}

/// `topk`, `bottomk`, `limitk` and `limit_ratio`, with a parameter per step. Of a single step the
/// result is ordered: groups one after the other, the first of a group first.
pub fn pick(
    op: Pick,
    param: &dyn Fn(usize) -> f64,
    input: &[StepSeries],
    grouping: &Grouping,
    steps: usize,
    remark: &mut dyn FnMut(Note<'static>),
) -> Vec<StepSeries> {
    let groups = members(input, grouping);
    let mut ordered = Vec::new();
    let mut kept: IndexMap<usize, StepSeries> = IndexMap::new();
    for step in 0..steps {
        let param = param(step);
        // Saturates; whoever calls has refused what does not fit.
        let k = (param as i64).clamp(0, input.len() as i64) as usize;
        for members in groups.values() {
            ordered.clear();
            match op {
                Pick::Topk | Pick::Bottomk => {
                    best(op, k, input, members, step, &mut ordered, remark);
                }
                Pick::Limitk => {
                    let present = members.iter().copied().filter(|i| input[*i].has(step));
                    ordered.extend(present.take(k));
                }
                Pick::LimitRatio => {
                    let present = members.iter().copied().filter(|i| input[*i].has(step));
                    let ratio = param.clamp(-1.0, 1.0);
                    let mut heap = Vec::new();
                    for i in present.filter(|i| sampled(ratio, &input[*i].labels)) {
                        let series = &input[i];
                        let is_histogram = series.histogram(step).is_some();
                        let value = if is_histogram {
                            0.0
                        } else {
                            series.values[step]
                        };
                        push(&mut heap, (value, i), &|a, b| a.is_nan() || a < b);
                    }
                    // As they lie in a heap of the smallest, where upstream leaves them.
                    ordered.extend(heap.into_iter().map(|(_, i)| i));
                }
            }
            for &i in &ordered {
                let from = &input[i];
                let to = kept.entry(i).or_insert_with(|| StepSeries {
                    drop_name: from.drop_name,
                    ..StepSeries::absent(from.labels.clone(), steps)
                });
                if let Some(sample) = from.get(step) {
                    to.set(step, sample);
                }
            }
        }
    }
    kept.into_values().collect()
}

/// The `k` largest (smallest) floats of a group, best first. Which of several equal ones are kept,
/// and their order, is what a binary heap with the worst on top yields, as upstream.
fn best(
    op: Pick,
    k: usize,
    input: &[StepSeries],
    members: &[usize],
    step: usize,
    out: &mut Vec<usize>,
    remark: &mut dyn FnMut(Note<'static>),
) {
    let mut heap: Vec<(f64, usize)> = Vec::with_capacity(k.min(members.len()));
    // Whether `a` is worse than `b`; NaN is worse than everything.
    let worse = |a: f64, b: f64| a.is_nan() || if op == Pick::Topk { a < b } else { a > b };
    for &i in members {
        let series = &input[i];
        let value = series.values[step];
        if series.histogram(step).is_some() {
            let name = if op == Pick::Topk { "topk" } else { "bottomk" };
            remark(Note::HistogramIgnoredInAggregation(name));
            continue;
        }
        if !is_present(value) || k == 0 {
            continue;
        }
        if heap.len() < k {
            push(&mut heap, (value, i), &worse);
            continue;
        }
        let top = heap[0].0;
        let better = if op == Pick::Topk {
            top < value
        } else {
            top > value
        };
        if better || (top.is_nan() && !value.is_nan()) {
            heap[0] = (value, i);
            let mut at = 0;
            loop {
                let mut child = 2 * at + 1;
                if child >= heap.len() {
                    break;
                }
                if child + 1 < heap.len() && worse(heap[child + 1].0, heap[child].0) {
                    child += 1;
                }
                if !worse(heap[child].0, heap[at].0) {
                    break;
                }
                heap.swap(at, child);
                at = child;
            }
        }
    }
    if heap.len() <= INSERTION_SORTED {
        for i in 1..heap.len() {
            for at in (1..=i).rev() {
                if !worse(heap[at - 1].0, heap[at].0) {
                    break;
                }
                heap.swap(at - 1, at);
            }
        }
        out.extend(heap.into_iter().map(|(_, i)| i));
        return;
    }
    heap.sort_by(|a, b| match (a.0.is_nan(), b.0.is_nan()) {
        (false, false) if op == Pick::Topk => b.0.total_cmp(&a.0),
        (false, false) => a.0.total_cmp(&b.0),
        (a, b) => a.cmp(&b),
    });
    out.extend(heap.into_iter().map(|(_, i)| i));
}

/// Lists up to this long Go sorts by insertion, which shows in the order of equal values and of NaN.
const INSERTION_SORTED: usize = 12;

/// Adds to a binary heap with the worst on top.
fn push(heap: &mut Vec<(f64, usize)>, entry: (f64, usize), worse: &dyn Fn(f64, f64) -> bool) {
    heap.push(entry);
    let mut at = heap.len() - 1;
    while at > 0 && worse(heap[at].0, heap[(at - 1) / 2].0) {
        heap.swap(at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

/// Whether a series belongs to the sampled part: the lower part of all hashes for a positive
/// ratio, the rest for its complement.
fn sampled(ratio: f64, labels: &Labels) -> bool {
    let offset = hash(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 {
        offset < ratio
    } else {
        offset >= 1.0 + ratio
    }
}

/// The upstream's hash of a label set, so that the same series are sampled: XXH64 of all names and values, each behind its
/// length (one byte, or 255 and three bytes, least significant first).
fn hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::with_capacity(labels.as_bytes().len() + 16);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        match u8::try_from(text.len()) {
            Ok(n) if n < u8::MAX => bytes.push(n),
            _ => {
                bytes.push(u8::MAX);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}

/// Sorts by value, ascending or descending; NaN comes last either way, and histograms are left out.
/// For a single step.
pub fn sort_by_value(input: &mut Vec<StepSeries>, descending: bool) {
    input.retain(|s| {
        s.histogram(0).is_none()
            && s.values.first().copied().unwrap_or(ABSENT).to_bits() != ABSENT.to_bits()
    });
    input.sort_by(|a, b| {
        let (a, b) = (a.values[0], b.values[0]);
        match a.partial_cmp(&b) {
            Some(order) if descending => order.reverse(),
            Some(order) => order,
            None => a.is_nan().cmp(&b.is_nan()),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the series picked, in order.
    fn picked(op: Pick, param: f64, values: &[f64]) -> Vec<usize> {
        let series = values.iter().enumerate().map(|(n, value)| StepSeries {
            values: vec![*value],
            ..StepSeries::absent(Labels::from_pairs([("n", n.to_string().as_str())]), 1)
        });
        let series: Vec<StepSeries> = series.collect();
        let grouping = Grouping::new(&[], false);
        let out = pick(op, &|_| param, &series, &grouping, 1, &mut |_| {});
        let number = |s: &StepSeries| s.labels.get("n").unwrap().parse().unwrap();
        out.iter().map(number).collect()
    }

    #[test]
    fn the_best_come_first_and_nan_last_in_the_order_that_insertion_gives_them() {
        let nan = f64::NAN;
        assert_eq!(picked(Pick::Topk, 3.0, &[1.0, 3.0, 2.0, nan]), [1, 2, 0]);
        assert_eq!(picked(Pick::Bottomk, 2.0, &[1.0, 3.0, 2.0, nan]), [0, 2]);
        // Two that are not numbers change places in the heap and again when sorted.
        assert_eq!(picked(Pick::Topk, 2.0, &[nan, nan]), [0, 1]);
    }

    #[test]
    fn sampled_series_lie_as_in_a_heap_of_the_smallest() {
        assert_eq!(picked(Pick::LimitRatio, 1.0, &[3.0, 1.0, 2.0]), [1, 0, 2]);
    }
}
