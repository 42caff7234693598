//! `resets` and `changes`: how often a series started again, or took another value.

use std::sync::Arc;

use super::window::{Points, Value, Window, float};
use crate::histogram::FloatHistogram;

/// A sample of either kind, with its position among its kind.
#[derive(Clone, Copy)]
enum Item<'a> {
    Float(i64, i64, f64),
    Histogram(i64, i64, &'a Arc<FloatHistogram>),
}

impl Item<'_> {
    const fn times(&self) -> (i64, i64) {
        match *self {
            Self::Float(t, start, _) | Self::Histogram(t, start, _) => (t, start),
        }
    }
}

pub(crate) fn resets(w: &Window<'_>) -> Value {
    count(w, |a, b| {
        let ((t0, start0), (t1, start1)) = (a.times(), b.times());
        let restarted = Points {
            t_ms: &[t0, t1],
            values: &[(), ()],
            start_ms: &[start0, start1],
        }
        .restarted(1);
        match (a, b) {
            (Item::Float(_, _, x), Item::Float(_, _, y)) => y < x || restarted,
            (Item::Histogram(_, _, x), Item::Histogram(_, _, y)) => {
                restarted || y.is_reset_after(x)
            }
            _ => true,
        }
    })
}

pub(crate) fn changes(w: &Window<'_>) -> Value {
    count(w, |a, b| match (a, b) {
        (Item::Float(_, _, x), Item::Float(_, _, y)) => x != y && !(x.is_nan() && y.is_nan()),
        (Item::Histogram(_, _, x), Item::Histogram(_, _, y)) => !x.same_as(y),
        _ => true,
    })
}

/// Counts neighbours for which something holds, floats and histograms in one order of time.
fn count(w: &Window<'_>, holds: impl Fn(&Item<'_>, &Item<'_>) -> bool) -> Value {
    let start = |starts: &[i64], i: usize| starts.get(i).copied().unwrap_or(0);
    let floats = w
        .floats
        .iter()
        .enumerate()
        .map(|(i, (t, v))| Item::Float(t, start(w.floats.start_ms, i), *v));
    let histograms = w
        .histograms
        .iter()
        .enumerate()
        .map(|(i, (t, h))| Item::Histogram(t, start(w.histograms.start_ms, i), h));
    let mut items: Vec<_> = floats.chain(histograms).collect();
    if !w.floats.is_empty() && !w.histograms.is_empty() {
        items.sort_by_key(|item| item.times().0);
    }
    if w.anchored {
        // The last sample not after the start of the range belongs to it, where one follows.
        let before = items.partition_point(|item| item.times().0 <= w.start_ms);
        if before == items.len() {
            return None;
        }
        items.drain(..before.saturating_sub(1));
    }
    if items.is_empty() {
        return None;
    }
    let hits = items.windows(2).filter(|pair| holds(&pair[0], &pair[1]));
    float(hits.count() as f64)
}
