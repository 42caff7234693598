//! `label_replace` and `label_join`, and series that have become alike.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use regex::Regex;
use storage::model::{Labels, METRIC_NAME};

use super::{has_twins, same_labels};
use crate::plan::EvalError;
use crate::vector::{ABSENT, StepSeries};

/// Sets `target` to the replacement wherever the pattern matches the source label.
pub(super) fn replace(
    mut vector: Vec<StepSeries>,
    target: &str,
    replacement: &str,
    source: &str,
    pattern: &Regex,
) -> Vec<StepSeries> {
    let mut text = String::new();
    for series in &mut vector {
        let value = series.labels.get(source).unwrap_or("");
        if let Some(captures) = pattern.captures(value) {
            text.clear();
            captures.expand(replacement, &mut text);
            let mut builder = series.labels.to_builder();
            series.labels = builder.set(target, &text).finish();
            series.drop_name &= target != METRIC_NAME;
        }
    }
    vector
}

/// Sets `target` to the joined values of the sources.
pub(super) fn join(
    mut vector: Vec<StepSeries>,
    target: &str,
    separator: &str,
    sources: &[String],
) -> Vec<StepSeries> {
    for series in &mut vector {
        let values: Vec<&str> = sources
            .iter()
            .map(|s| series.labels.get(s).unwrap_or(""))
            .collect();
        let text = values.join(separator);
        let mut builder = series.labels.to_builder();
        series.labels = builder.set(target, &text).finish();
        series.drop_name &= target != METRIC_NAME;
    }
    vector
}

/// Series of one label set become one.
///
/// # Errors
/// Where two of them have a sample at one step.
pub(super) fn merge_twins(
    vector: Vec<StepSeries>,
    steps: usize,
) -> Result<Vec<StepSeries>, EvalError> {
    if !has_twins(&vector) {
        return Ok(vector);
    }
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<StepSeries> = Vec::with_capacity(vector.len());
    for series in vector {
        match index.entry(series.labels.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(out.len());
                out.push(series);
            }
            Entry::Occupied(entry) => {
                let first = &mut out[*entry.get()];
                for step in 0..steps {
                    let Some(sample) = series.get(step) else {
                        continue;
                    };
                    if first.has(step) {
                        return Err(same_labels());
                    }
                    first.set(step, sample);
                }
            }
        }
    }
    Ok(out)
}

/// Leaves only floats.
pub(super) fn drop_histograms(vector: &mut Vec<StepSeries>) {
    for series in vector.iter_mut() {
        for step in 0..series.histograms.len() {
            if series.histograms[step].is_some() {
                series.values[step] = ABSENT;
            }
        }
        series.histograms = Vec::new();
    }
    vector.retain(|s| !s.is_empty());
}
