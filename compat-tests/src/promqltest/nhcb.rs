//! `load_with_nhcb`: classic histograms as native ones with custom buckets.

use std::collections::BTreeMap;

use super::histogram::{Buckets, CUSTOM, FloatHistogram};
use super::script::{Labels, Load, LoadedSample, Value};

/// What the classic series of one histogram say at one time.
#[derive(Default)]
struct Classic {
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native series that stand beside the classic ones, under the family's name. Series that are no
/// part of a classic histogram, and samples that are no floats, are left out.
#[must_use]
pub fn converted(load: &Load) -> Vec<(Labels, Vec<LoadedSample>)> {
    let mut families: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for series in &load.series {
        let Some(name) = series.labels.get("__name__") else {
            continue;
        };
        let Some((base, part)) = ["_bucket", "_count", "_sum"]
            .into_iter()
            .find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)))
        else {
            continue;
        };
        let mut labels = series.labels.clone();
        labels.insert("__name__".to_owned(), base.to_owned());
        let bound = labels.remove("le").and_then(|le| le.parse::<f64>().ok());
        if part == "_bucket" && bound.is_none_or(f64::is_nan) {
            continue;
        }
        let times = families.entry(labels).or_default();
        for (t_ms, _, value) in series.samples(load.step_ms) {
            let Value::Float(x) = value else { continue };
            let classic = times.entry(t_ms).or_default();
            match (part, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, x)),
                ("_count", _) => classic.count = Some(x),
                _ => classic.sum = x,
            }
        }
    }
    families
        .into_iter()
        .map(|(labels, times)| {
            let samples = times
                .into_iter()
                .map(|(t, c)| (t, None, Value::Histogram(Box::new(native(c)))))
                .collect();
            (labels, samples)
        })
        .collect()
}

fn native(mut classic: Classic) -> FloatHistogram {
    classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    classic.buckets.dedup_by(|a, b| a.0 == b.0);
    let count = classic
        .count
        .or(classic.buckets.last().map(|b| b.1))
        .unwrap_or(0.0);
    if classic.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        classic.buckets.push((f64::INFINITY, count));
    }
    let mut below = 0.0;
    let counts = classic
        .buckets
        .iter()
        .map(|(_, cumulative)| {
            let own = cumulative - below;
            below = *cumulative;
            own
        })
        .collect();
    let bounds = classic
        .buckets
        .iter()
        .map(|b| b.0)
        .filter(|b| b.is_finite() || *b < 0.0);
    FloatHistogram {
        schema: CUSTOM,
        count,
        sum: classic.sum,
        positive: Buckets { offset: 0, counts },
        custom_values: bounds.collect(),
        ..FloatHistogram::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promqltest::script::{Action, parse};

    #[test]
    fn cumulative_buckets_become_counts_under_the_family() {
        let script = "load_with_nhcb 1m\n h_bucket{le=\"1\",a=\"b\"} 2\n h_bucket{le=\"+Inf\",a=\"b\"} 5\n h_sum{a=\"b\"} 7\n other 1\n";
        let Action::Load(load) = &parse(script).unwrap()[0].action else {
            panic!()
        };
        let all = converted(load);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0.get("__name__").unwrap(), "h");
        assert!(!all[0].0.contains_key("le"));
        let Value::Histogram(h) = &all[0].1[0].2 else {
            panic!()
        };
        assert_eq!((h.count, h.sum), (5.0, 7.0));
        assert_eq!(h.positive.counts, [2.0, 3.0]);
        assert_eq!(h.custom_values, [1.0]);
    }
}
